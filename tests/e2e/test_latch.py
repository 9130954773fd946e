# SPDX-License-Identifier: GPL-2.0-only
"""The main job on real ESP, as rows: given, action, expected verdict, expected counter.

Each row runs twice.  In enforce mode nothing may leave or arrive: the wire's capture and the
receiving socket say so.  In audit mode the same row must leak: that shows that the row can fail,
and that what stopped it was clatch.
"""

import contextlib
import dataclasses
import socket
import unittest

import ipsec
from case import LAST, OTHER, Case
from ipsec import Shape
from lab import wait_for

V6 = socket.AF_INET6
WRONG = {OTHER[0], OTHER[0] + 1}  # the guarded host's; with AH around it
BASE = Shape()


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    given: Shape  # how the connection starts
    becomes: Shape = None  # how it is protected then; None = not at all
    direction: str = "out"
    reason: str = "clear"
    fields: tuple = ()
    proto: str = "tcp"
    more: dict = dataclasses.field(default_factory=dict)  # for Connection


def changed(name, fields, proto="tcp", base=BASE, more=None, **change):
    """A row each way for a change of parameters."""
    return [Row(f"{name}, {direction}", base, dataclasses.replace(base, **change), direction,
                "sa-mismatch", fields, proto, more or {}) for direction in ("out", "in")]


def cleared(name, given, proto="tcp", **more):
    return [Row(f"{name}, {direction}", given, None, direction, "clear", (), proto, more)
            for direction in ("out", "in")]


TUNNEL = Shape(mode="tunnel")
ROUTED = Shape(mode="tunnel", if_id=42)
ROUTED6 = Shape(mode="tunnel", if_id=42, family=V6)
ROWS = [
    *cleared("policy flushed, TCP", BASE),
    *cleared("policy flushed, UDP", BASE, "udp"),
    *cleared("policy flushed, TCP over IPv6", Shape(family=V6)),
    *cleared("policy flushed, UDP over IPv6", Shape(family=V6), "udp"),
    *cleared("policy flushed, v4-mapped TCP", BASE, mapped=True),
    *cleared("policy flushed, v4-mapped UDP", BASE, "udp", mapped=True),
    *cleared("policy flushed, accepted socket", BASE, server=True),
    *cleared("policy flushed, accepted on an IPv6 socket", BASE, server=True, mapped=True),
    *cleared("policy flushed, tunnel", TUNNEL),
    *cleared("policy flushed, UDP in an IPv6 tunnel", Shape(mode="tunnel", family=V6), "udp"),
    *cleared("policy flushed, cbc and hmac", Shape(suite=ipsec.CBC)),
    *cleared("policy flushed, AH", Shape(sa_proto="ah", suite=ipsec.AUTH_ONLY)),
    *cleared("policy flushed, NAT-T", Shape(encap=True)),
    *cleared("policy flushed, AH around ESP", Shape(nested=True)),
    *cleared("route taken from the xfrm interface", ROUTED),
    *cleared("route taken from the xfrm interface, UDP", ROUTED, "udp"),
    *cleared("route taken from the xfrm interface, IPv6", ROUTED6),
    *changed("reqid", ("reqid",), reqid=9),
    *changed("reqid, UDP", ("reqid",), "udp", reqid=9),
    *changed("key length", ("aead_key_bits",), suite=ipsec.GCM256),
    *changed("ICV length", ("icv_bits",), suite=ipsec.GCM_ICV8),
    *changed("cipher", ("aead",), suite=ipsec.CHACHA),
    *changed("confidentiality lost: null cipher", ("aead", "auth"), suite=ipsec.NULL),
    *changed("confidentiality lost: GMAC", ("aead",), suite=ipsec.GMAC),
    *changed("confidentiality lost: AH", ("proto",), sa_proto="ah", suite=ipsec.AUTH_ONLY),
    *changed("integrity algorithm", ("auth",), base=Shape(suite=ipsec.CBC), suite=ipsec.CBC_SHA1),
    *changed("cipher key length, cbc", ("enc_key_bits",), base=Shape(suite=ipsec.CBC),
             suite=ipsec.CBC256),
    *changed("mode", ("mode",), mode="tunnel", host_tunnel=True),
    *changed("replay protection lost", ("replay",), replay=0),
    *changed("nesting lost", ("nesting",), base=Shape(nested=True), nested=False),
    *changed("nesting gained", ("nesting",), nested=True),
    *changed("encapsulation", ("encap",), encap=True),
    *changed("reqid, accepted socket", ("reqid",), more={"server": True}, reqid=9),
    *changed("reqid, IPv6", ("reqid",), base=Shape(family=V6), reqid=9),
    *changed("reqid, tunnel", ("reqid",), base=TUNNEL, reqid=9),
    *changed("reqid, over the xfrm interface", ("reqid",), base=ROUTED, reqid=9),
    *changed("reqid, over the xfrm interface, IPv6 UDP", ("reqid",), "udp", ROUTED6, reqid=9),
]


class Mode(Case):
    """Plays one row."""

    verdict = None

    def change(self, row, shape):
        """Makes the IPsec of both hosts what the row says."""
        if row.becomes and row.becomes.encap and not shape.encap:
            for encap in ipsec.encap_sockets(self.lab, row.becomes):
                self.addCleanup(encap.close)
        if row.becomes is None:
            ipsec.flush(self.lab.a, self.lab.b)
            if shape.if_id:
                ipsec.remove_interfaces(self.lab)
        else:
            ipsec.exchange_shape(self.lab, dataclasses.replace(row.becomes, upper=row.proto), OTHER)

    def send(self, row, connection, marker):
        """EPERM is how UDP says that our packet was dropped."""
        sender = connection.a if row.direction == "out" else connection.b
        with contextlib.suppress(PermissionError):
            sender.sendall(marker)

    def restore(self, shape):
        ipsec.exchange_shape(self.lab, shape, LAST)
        if shape.if_id:
            with contextlib.suppress(RuntimeError):
                ipsec.interfaces(self.lab, shape)

    def run_sees(self, latch, event):
        """`run` judges too: until it did, what it does to the latch may yet come."""
        wait_for(f"{event} by policy or SA", lambda: [
            e for e in self.guard.events if e["event"] == event and e["latch"] == latch["id"] and
            {"policy", "sa-conflict"} & set(e["causes"])])

    def check_event(self, row, latch):
        event = self.guard.wait_event(event="violation", latch=latch["id"], reason=row.reason,
                                      direction=row.direction)
        self.assertEqual(event["verdict"], self.verdict)
        self.assertEqual(event["proto"], row.proto)
        self.assertEqual((event["local"], event["remote"]), (latch["local"], latch["remote"]))
        self.assertTrue(set(row.fields) <= set(event["fields"]), event["fields"])
        self.assertEqual(bool(event["got"]), row.becomes is not None)
        self.assertTrue(event["expected"])

    def play(self, row):
        marker = b"MARKER " + row.name.encode() + b" MARKER"
        connection, latch, shape = self.latched(row.given, row.proto, **row.more)
        before = self.guard.counters()[row.reason]
        self.change(row, shape)
        self.send(row, connection, marker)
        self.check_event(row, latch)
        self.run_sees(latch, "broken")
        self.assertGreater(self.guard.counters()[row.reason], before)
        self.outcome(row, connection, shape, marker)


class Enforce(Mode):
    verdict = "drop"

    def outcome(self, row, connection, shape, marker):
        """Nothing left, nothing arrived; and with the protection back the connection goes on."""
        if row.direction == "in":
            self.assertFalse(connection.readable(connection.a, 0), "the payload arrived")
        self.restore(shape)
        if row.proto == "tcp":
            receiver = connection.b if row.direction == "out" else connection.a
            self.assertEqual(connection.receive(receiver, len(marker)), marker)
        else:
            wait_for("run to see that all is well", lambda: not {"policy", "sa-conflict"} &
                     set(self.guard.latch(connection)["causes"]))
        connection.exchange(b"and on it goes")
        self.assert_nothing_in_clear(connection)
        self.assertFalse(self.wire.spis() & WRONG, "packets left under the wrong SA")


class Audit(Mode):
    """The same rows leak: what holds them in enforce mode is clatch."""

    guard_options = ("--audit",)
    verdict = "audit"

    def outcome(self, row, connection, shape, marker):
        if row.direction == "in":
            self.assertEqual(connection.receive(connection.a, len(marker)), marker)
        elif row.becomes is None:
            wait_for("a clear packet", lambda: self.wire.ports(row.proto, connection.own[1]))
        else:
            wait_for("the wrong SA on the wire", lambda: self.wire.spis() & WRONG)


def _add_rows():
    for number, row in enumerate(ROWS):
        for mode in (Enforce, Audit):
            setattr(mode, f"test_{number:03}_{row.name}",
                    lambda self, row=row: self.play(row))


_add_rows()
del Mode  # a base, not a test

if __name__ == "__main__":
    unittest.main(verbosity=2)
