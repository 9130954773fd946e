# SPDX-License-Identifier: GPL-2.0-only
"""What rules demand of forwarded connections, on real ESP; and whose policies count for these."""

import socket
import tempfile
import unittest

import ipsec
from case import FIRST
from gateway import GatewayCase, Tunnel

GCM256 = ipsec.GCM256
SIX = socket.AF_INET6


class Rules(GatewayCase):
    def rule(self, *lines):
        """In force until the test ends."""
        self.addCleanup(self._load, "")
        self._load("\n".join(("[rule all]", *lines)) + "\n")

    def _load(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(text)
            file.flush()
            self.guard.loader("policy", "load", file.name)

    def tell(self, tunnel, peer):
        for spi, host in zip(FIRST, (self.lab.b, self.lab.a)):
            self.guard.loader("identity", "add", "--spi", hex(spi), "--dst",
                              host.address(tunnel.family), "--local-id", "gw.example",
                              "--peer-id", peer)

    def passes(self, tunnel, proto="udp"):
        connection = self.connect(proto, tunnel.family)
        connection.exchange(b"as it is demanded")
        latch = self.guard.latch(connection)
        self.assertEqual((latch["rule"], latch["state"], latch["forwarded"]),
                         ("all", "ESTABLISHED", True))
        return latch

    def is_refused(self, tunnel, reason):
        """Nothing leaves, under the SA or in clear."""
        connection = self.connect("udp", tunnel.family)
        self.wire.clear()
        self.guard.forget()
        connection.a.send(b"must not leave")
        self.guard.wait_event(event="violation", direction="out", reason=reason, verdict="drop")
        self.assertFalse(self.wire.spis() or self.wire.seen(b"must not leave"))
        self.assertFalse(connection.readable(connection.b, 0))

    def test_key_length(self):
        for family in socket.AF_INET, SIX:
            with self.subTest(family=family):
                strong = Tunnel(family=family, suite=GCM256)
                strong.install(self.lab)
                self.rule("require = encrypted", "min-key-bits = 256")
                self.passes(strong)
                ipsec.flush(self.lab.a, self.lab.b)
                weak = Tunnel(family=family)
                weak.install(self.lab)
                self.is_refused(weak, "policy")
                ipsec.flush(self.lab.a, self.lab.b)

    def test_mode(self):
        Tunnel().install(self.lab)
        self.rule("require = ipsec", "mode = transport")
        self.is_refused(Tunnel(), "policy")
        self.rule("require = ipsec", "mode = tunnel")
        self.passes(Tunnel(), "tcp")

    def test_protocol(self):
        Tunnel().install(self.lab)
        self.rule("require = ah")
        self.is_refused(Tunnel(), "policy")

    def test_peer(self):
        tunnel = Tunnel()
        tunnel.install(self.lab)
        self.rule("require = ipsec", "peer-id = db*.example")
        self.is_refused(tunnel, "identity-unknown")
        self.tell(tunnel, "web7.example")
        self.is_refused(tunnel, "peer-id")
        self.tell(tunnel, "db1.example")
        latch = self.passes(tunnel, "tcp")
        self.assertEqual((latch["peer_id"], latch["local_id"]), ("db1.example", "gw.example"))

    def test_where_it_goes(self):
        """A rule for the peer's port alone."""
        Tunnel().install(self.lab)
        other = self.connect("udp")
        port = other.peer[1] + 2  # of the next connection
        self.rule("require = ah", f"remote-port = {port}")
        other.exchange(b"not of the rule")
        self.assertIsNone(self.guard.latch(other)["rule"])
        self.is_refused(Tunnel(), "policy")

    def test_reset_after(self):
        """Closed: nobody's socket is reset, and nothing leaves any more."""
        Tunnel().install(self.lab)
        self.rule("require = ipsec", "reset-after = 0s")
        connection = self.connect()
        connection.exchange()
        latch = self.guard.latch(connection)
        self.wait_policed(latch)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="reset-after")
        Tunnel().policies(self.lab)
        self.wire.clear()
        connection.a.send(b"too late")
        self.guard.wait_event(event="violation", latch=latch["id"], reason="broken",
                              direction="out")
        self.assertFalse(self.wire.spis())


class Policies(GatewayCase):
    """What comes in for a container is under the policies of direction fwd, not in."""

    def inbound(self, action, direction):
        near, far, inside, outside = Tunnel().ends(self.lab)
        if action == "delete":
            self.lab.a.ip(f"xfrm policy delete src {outside} dst {inside} dir {direction}")
        else:
            self.lab.a.ip(Tunnel().policy(outside, inside, (far, near), direction))

    def test_fwd_counts(self):
        connection, latch = self.latched()
        self.wait_policed(latch)
        self.inbound("delete", "fwd")
        self.guard.wait_event(event="broken", latch=latch["id"], cause="policy", direction="in")
        self.inbound("add", "fwd")
        self.wait_state(connection, "ESTABLISHED")

    def test_in_does_not(self):
        connection, latch = self.latched()
        self.wait_policed(latch)
        self.inbound("delete", "in")
        self.addCleanup(self.inbound, "add", "in")
        fresh = self.connect("udp")  # whose latch run has judged after that
        fresh.exchange()
        self.wait_policed(self.guard.latch(fresh))
        self.assertEqual(self.guard.latch(connection)["state"], "ESTABLISHED")
        self.assertFalse([e for e in self.guard.events if e["event"] == "broken"])


class Mark(GatewayCase):
    """Those bits of the mark that are not ours are others'."""

    def tc(self, *words):
        self.lab.a.run("tc", *words)

    def test_they_stay(self):
        """Set on the veth before us, and looked at on the way out."""
        veth = self.lab.containers[0].veth
        self.tc("filter", "add", "dev", veth, "ingress", "pref", "1", "handle", "99", "matchall",
                "action", "skbedit", "mark", "0x40021", "continue")
        self.addCleanup(self.tc, "filter", "del", "dev", veth, "ingress", "pref", "1", "handle",
                        "99", "matchall")
        self.addCleanup(self.lab.a.run, "nft", "delete", "table", "inet", "marks")
        self.lab.a.run("nft", "-f", "-", input="table inet marks { chain forward { "
                       "type filter hook forward priority 0; "
                       "meta mark and 0xffffcfff == 0x40021 counter } }\n")
        Tunnel().install(self.lab)
        connection = self.connect("udp")
        connection.exchange(b"marked")
        self.assertIsNotNone(self.guard.latch(connection))
        shown = self.lab.a.run("nft", "list", "table", "inet", "marks").stdout
        self.assertRegex(shown, r"counter packets [1-9]")


del GatewayCase  # a base, not a test

if __name__ == "__main__":
    unittest.main(verbosity=2)
