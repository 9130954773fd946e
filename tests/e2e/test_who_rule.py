# SPDX-License-Identifier: GPL-2.0-only
"""Rules that name who may be at the two ends, on real ESP."""

import dataclasses
import socket
import threading
import time
import unittest

import ipsec
from case import FIRST, OTHER
from ipsec import Shape
from who import NEWCOMER, OWN, PEER, WhoCase

BASE = Shape()
WAYS = {  # transport, more of the connection
    "client": ("tcp", {}),
    "server": ("tcp", {"server": True}),
    "udp": ("udp", {}),
    "client over IPv6": ("tcp", {"family": socket.AF_INET6}),
}
# keys of the rule, who the peer is, and whom the host is; is that admitted?
ROWS = (
    ("peer-id = db1.example", PEER, OWN, True),
    ("peer-id = db*", PEER, OWN, True),
    ("peer-id = *.example", PEER, OWN, True),
    ("peer-id = *b1*mple", PEER, OWN, True),
    ("peer-id = *", PEER, None, True),
    ("peer-id = C=CH, O=*, CN=the other host", "C=CH, O=Lab, CN=the other host", OWN, True),
    ("peer-id = *, CN=the * host", "C=CH, O=Lab, CN=the other host", OWN, True),
    ("local-id = app3.example", PEER, OWN, True),
    ("local-id = app*\npeer-id = db*", PEER, OWN, True),
    ("peer-id = db*", NEWCOMER, OWN, False),
    ("peer-id = db", PEER, OWN, False),
    ("peer-id = *.example", "db1.example.org", OWN, False),
    ("peer-id = DB1.example", PEER, OWN, False),
    ("peer-id = C=CH, O=Lab, CN=the other host", "C=CH, O=Lab, CN=the other  host", OWN, False),
    ("local-id = web*", PEER, OWN, False),
    ("local-id = app*\npeer-id = db*", NEWCOMER, OWN, False),
    ("local-id = web*\npeer-id = db*", PEER, OWN, False),
)


class RuleCase(WhoCase):
    def rule(self, keys, proto="tcp"):
        self._load_rules(f"[rule who]\nproto = {proto}\nrequire = ipsec\n{keys}\n")

    def setUp(self):
        super().setUp()
        self.addCleanup(self._load_rules, "")

    def under(self, keys, peer, local, way="client"):
        """SAs of these ends are there, and the rule; the shape, and what a connection takes."""
        proto, more = WAYS[way]
        shape = dataclasses.replace(BASE, upper=proto, family=more.get("family", BASE.family))
        ipsec.install(self.lab, shape, FIRST)
        if peer:
            self.tell(shape, FIRST, peer, local)
        self.rule(keys, proto)
        self.wire.clear()
        self.guard.forget()
        return shape, proto, more

    def admitted(self, proto, more):
        connection = self.connect(proto, **more)
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["rule"]), ("ESTABLISHED", "who"))
        connection.close()
        return latch

    def refused(self, reason, proto, more):
        """Neither comes anything in, nor goes anything out."""
        before = self.guard.counters()[reason]
        if proto == "udp":
            connection = self.connect("udp", timeout=1, **more)
            self.send(connection.a, b"to nobody")
            self.send(connection.b, b"from nobody")
            for sock in connection.a, connection.b:
                with self.assertRaises(TimeoutError):
                    sock.recv(100)
        else:
            with self.assertRaises(TimeoutError):
                self.connect(proto, timeout=2, **more)
        self.assertGreater(self.guard.counters()[reason], before)
        event = self.guard.wait_event(event="violation", reason=reason, verdict="drop")
        self.assertFalse(self.wire.spis(), "packets left under the SA")
        return event


class Patterns(RuleCase):
    def play(self, keys, peer, local, passes, way):
        _, proto, more = self.under(keys, peer, local, way)
        if passes:
            self.assertEqual(self.admitted(proto, more)["peer_id"], peer)
        else:
            event = self.refused("peer-id", proto, more)
            self.assertEqual(event["got"][0]["peer_id"], peer)
        ipsec.flush(self.lab.a, self.lab.b)

    def test_rows(self):
        for row in ROWS:
            with self.subTest(row=row):
                self.play(*row, "client")

    def test_who_is_at_fault(self):
        for keys, fields in (("local-id = web*", ["local_id"]),
                             ("local-id = app*\npeer-id = web*", ["peer_id"]),
                             ("local-id = web*\npeer-id = db*", ["local_id"]),
                             ("local-id = web*\npeer-id = web*", ["local_id", "peer_id"])):
            for way in "client", "server":
                with self.subTest(keys=keys, way=way):
                    _, proto, more = self.under(keys, PEER, OWN, way)
                    self.assertEqual(self.refused("peer-id", proto, more)["fields"], fields)
                    ipsec.flush(self.lab.a, self.lab.b)

    def test_ways(self):
        for way in WAYS:
            for peer, passes in (PEER, True), (NEWCOMER, False):
                with self.subTest(way=way, peer=peer):
                    self.play("peer-id = db*\nlocal-id = app*", peer, OWN, passes, way)

    def test_long(self):
        """As long as an identity may be, and the worst pattern for it."""
        peer = "a" * 510 + "b"
        self.play("peer-id = *a*a*a*a*a*b", peer, None, True, "client")
        self.play("peer-id = *a*a*a*a*a*c", peer, None, False, "client")


class Unknown(RuleCase):
    def test_ways(self):
        """Refused, until it is told: then it passes."""
        for way in WAYS:
            with self.subTest(way=way):
                shape, proto, more = self.under("peer-id = db*", None, None, way)
                time.sleep(1.1)
                self.refused("identity-unknown", proto, more)
                self.tell(shape, FIRST)
                self.assertEqual(self.admitted(proto, more)["peer_id"], PEER)
                ipsec.flush(self.lab.a, self.lab.b)

    def test_told_while_it_waits(self):
        """connect() goes on, and the SYN that comes again is let in."""
        for server in False, True:
            with self.subTest(server=server):
                shape, *_ = self.under("peer-id = db*", None, None)
                timer = threading.Timer(1.5, self.tell, (shape, FIRST))
                began = time.monotonic()
                timer.start()
                connection = self.connect(server=server)
                self.assertGreater(time.monotonic() - began, 1.5)
                timer.join()
                connection.exchange()
                self.assertEqual(self.guard.latch(connection)["peer_id"], PEER)
                connection.close()
                ipsec.flush(self.lab.a, self.lab.b)

    def test_local_id_is_not_told(self):
        _, proto, more = self.under("peer-id = db*\nlocal-id = app*", PEER, None)
        time.sleep(1.1)
        self.refused("identity-unknown", proto, more)

    def test_one_direction(self):
        """The SYN leaves; its answer comes under an SA that nobody is told of."""
        shape, _, _ = self.under("peer-id = db*", None, None)
        spi, dst = next(iter(self._ends(shape, FIRST)))
        self.identity("add", shape, spi, dst, "--peer-id", PEER)
        time.sleep(1.1)
        with self.assertRaises(TimeoutError):
            self.connect(timeout=3)
        self.guard.wait_event(event="violation", reason="identity-unknown", direction="in",
                              verdict="drop")

    def test_latched_before(self):
        """A latch keeps the rule that it was made under; a new connection has the new one."""
        connection, _, shape = self.identified(BASE, peer=NEWCOMER)
        self.rule("peer-id = db*")
        connection.exchange()
        with self.assertRaises(TimeoutError):
            self.connect(timeout=2)
        connection.exchange()

    def test_swap_within_the_pattern(self):
        """Both are whom the rule asks for; the connection is the first one's all the same."""
        self.rule("peer-id = *.example")
        connection, latch, shape = self.identified(BASE)
        self.become(shape, OTHER, NEWCOMER)
        connection.a.sendall(b"held")
        self.violation(latch, "peer-id", "out")
        self.assert_not_used(OTHER)


del WhoCase, RuleCase  # bases, not tests

if __name__ == "__main__":
    unittest.main(verbosity=2)
