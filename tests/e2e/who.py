# SPDX-License-Identifier: GPL-2.0-only
"""Identities told by hand: what an IKE daemon without VICI does, and manual keys' only way."""

import contextlib
import dataclasses
import secrets
import tempfile

import ipsec
from case import FIRST, OTHER, Case
from ipsec import Shape
from lab import wait_for

OWN, PEER, NEWCOMER = "app3.example", "db1.example", "web7.example"


def with_new_key(shape=Shape()):
    """SAs with keys that no other SA had: the lab's own begin alike, whatever the SPI."""
    return dataclasses.replace(shape, suite="aead rfc4106(gcm(aes)) "
                               f"0x{secrets.token_hex(16)}{{:08x}} 128")


class WhoCase(Case):
    def identity(self, action, shape, spi, dst, *more):
        """On the guarded host; one direction."""
        return self.guard.loader("identity", action, "--spi", hex(spi), "--dst", dst,
                                 "--proto", shape.sa_proto, *more)

    def _ends(self, shape, spis):
        """(SPI, destination) of both directions: out, in."""
        return zip(spis, (h.address(shape.family) for h in (self.lab.b, self.lab.a)))

    def tell(self, shape, spis, peer=PEER, local=OWN):
        """Who is at the ends of SAs that are there, both ways."""
        local = ("--local-id", local) if local else ()
        for spi, dst in self._ends(shape, spis):
            self.identity("add", shape, spi, dst, "--peer-id", peer, *local)

    def forget(self, shape, spis):
        for spi, dst in self._ends(shape, spis):
            self.identity("del", shape, spi, dst)

    def told(self):
        return {entry["spi"]: (entry["local_id"], entry["peer_id"])
                for entry in self.guard.json("identity", "list")["identities"]}

    def rules(self, text):
        """A policy in force until the test ends."""
        self.addCleanup(self._load_rules, "")
        self._load_rules(text)

    def _load_rules(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(text)
            file.flush()
            self.guard.loader("policy", "load", file.name)

    def identified(self, shape=Shape(), proto="tcp", peer=PEER, **more):
        """As latched(), with the identities told before the connection."""
        shape = dataclasses.replace(shape, upper=proto)
        self.protect(shape)
        self.tell(shape, FIRST, peer)
        connection = self.connect(proto, shape.family, shape.inner, **more)
        connection.exchange(b"protected from the start")
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["local_id"], latch["peer_id"]),
                         ("ESTABLISHED", OWN, peer))
        if self.guard.process:
            self.wait_policed(latch)
        self.wire.clear()
        self.guard.forget()
        return connection, latch, shape

    def become(self, shape, spis=OTHER, peer=None, local=OWN):
        """The SAs are replaced, all at once; what they are told to be, unless @peer is None."""
        ipsec.exchange_shape(self.lab, shape, spis)
        if peer:
            self.tell(shape, spis, peer, local)

    def send(self, sock, data):
        """EPERM is how UDP says that our packet was dropped."""
        with contextlib.suppress(PermissionError):
            sock.sendall(data)

    def violation(self, latch, reason, direction):
        return self.guard.wait_event(event="violation", latch=latch["id"], reason=reason,
                                     direction=direction, verdict="drop")

    def wait_known(self, connection, peer=PEER):
        return wait_for(f"the latch to know {peer}",
                        lambda: (latch := self.guard.latch(connection)) and
                        latch["peer_id"] == peer and latch)

    def assert_not_used(self, spis):
        self.assertFalse(self.wire.spis() & set(spis), "packets left under the SA")
