# SPDX-License-Identifier: GPL-2.0-only
"""Identities told by `identity add`, on real ESP: what latches make of them."""

import dataclasses
import socket
import time
import unittest

import ipsec
from case import FIRST, LAST, NEXT, OTHER
from ipsec import AUTH_ONLY, Shape
from lab import wait_for
from test_sctp import SctpCase
from who import NEWCOMER, OWN, PEER, WhoCase, with_new_key

V6 = socket.AF_INET6
BASE = Shape()
# In what shapes another peer is told from the first one.
SHAPES = {  # shape, transport, more of the connection
    "tcp": (BASE, "tcp", {}),
    "tcp_server": (BASE, "tcp", {"server": True}),
    "udp": (BASE, "udp", {}),
    "ipv6": (Shape(family=V6), "tcp", {}),
    "tunnel": (Shape(mode="tunnel"), "tcp", {}),
    "tunnel_ipv6_udp": (Shape(mode="tunnel", family=V6), "udp", {}),
    "ah": (Shape(sa_proto="ah", suite=AUTH_ONLY), "tcp", {}),
    "nat": (Shape(encap=True), "tcp", {}),
}


class Told(WhoCase):
    """Without `run`: it is seen with the next packet."""

    follow = False

    def test_next_packet(self):
        connection, latch, shape = self.latched(with_new_key())
        shown = self.show(latch)
        self.assertEqual((shown["identity"], shown["peer_id"], shown["local_id"]),
                         ("reqid", None, None))
        self.tell(shape, FIRST)
        self.assertEqual(self.told(), {"0x00001001": (OWN, PEER), "0x00002001": (OWN, PEER)})
        connection.exchange()
        shown = self.show(latch)
        self.assertEqual((shown["identity"], shown["peer_id"], shown["local_id"]),
                         ("ike", PEER, OWN))
        for way in "in", "out":
            self.assertEqual((shown[way]["sa"][0]["peer_id"], shown[way]["sa"][0]["local_id"]),
                             (PEER, OWN))

    def test_peer_alone(self):
        """The local id may come later, or never."""
        connection, latch, shape = self.latched(with_new_key())
        self.tell(shape, FIRST, local=None)
        connection.exchange()
        self.assertEqual((self.show(latch)["peer_id"], self.show(latch)["local_id"]), (PEER, None))
        self.tell(shape, FIRST)
        connection.exchange()
        self.assertEqual(self.show(latch)["local_id"], OWN)

    def test_twice(self):
        connection, latch, shape = self.latched(with_new_key())
        self.tell(shape, FIRST)
        self.tell(shape, FIRST)
        connection.exchange()
        self.assertEqual(self.show(latch)["peer_id"], PEER)
        self.assertEqual(len(self.told()), 2)

    def test_told_otherwise(self):
        """Of the same SA, and at once: no verdict is remembered."""
        connection, _, shape = self.latched(with_new_key())
        self.tell(shape, FIRST)
        connection.exchange()
        before = self.guard.counters()["peer-id"]
        self.tell(shape, FIRST, NEWCOMER)
        self.wire.clear()
        connection.a.sendall(b"held")
        wait_for("a refusal", lambda: self.guard.counters()["peer-id"] > before)
        connection.b.sendall(b"held")
        self.assertFalse(connection.readable(connection.a, 1))
        self.assert_not_used(FIRST)
        self.tell(shape, FIRST)
        for sock in connection.a, connection.b:
            self.assertEqual(connection.receive(sock, 4), b"held")

    def test_forgotten(self):
        """Nothing passes until it is told again."""
        connection, latch, shape = self.latched(with_new_key())
        self.tell(shape, FIRST)
        connection.exchange()
        time.sleep(1.1)  # what is younger is not counted by its reason
        self.forget(shape, FIRST)
        self.assertEqual(self.told(), {})
        before = self.guard.counters()["identity-unknown"]
        self.wire.clear()
        connection.a.sendall(b"held")
        connection.b.sendall(b"held")
        wait_for("refusals both ways", lambda: all(self.show(latch)[way]["violations"]
                                                   for way in ("in", "out")))
        self.assertGreaterEqual(self.guard.counters()["identity-unknown"], before + 2)
        self.assertFalse(connection.readable(connection.a, 1))
        self.assert_not_used(FIRST)
        self.assertEqual(self.show(latch)["state"], "ESTABLISHED")
        self.tell(shape, FIRST)
        for sock in connection.a, connection.b:
            self.assertEqual(connection.receive(sock, 4), b"held")


class Late(WhoCase):
    """With `run`."""

    def test_idle(self):
        """Not one packet comes that could bring it."""
        for proto in "tcp", "udp":
            with self.subTest(proto=proto):
                connection, latch, shape = self.latched(BASE, proto)
                before = self.show(latch)
                self.assertEqual(before["identity"], "reqid")
                self.tell(shape, FIRST)
                wait_for("the latch to know its peer", lambda latch=latch: self.show(latch)[
                    "peer_id"] == PEER)
                now = self.show(latch)
                self.assertEqual((now["identity"], now["local_id"]), ("ike", OWN))
                self.assertEqual([now[way]["packets"] for way in ("in", "out")],
                                 [before[way]["packets"] for way in ("in", "out")])
                connection.close()
                ipsec.flush(self.lab.a, self.lab.b)

    def test_idle_then_replaced(self):
        """Whom it heard of while it was still, it holds to."""
        connection, latch, shape = self.latched(BASE)
        self.tell(shape, FIRST)
        self.wait_known(connection)
        self.become(shape, OTHER, NEWCOMER)
        connection.a.sendall(b"held")
        self.violation(latch, "peer-id", "out")
        self.assert_not_used(OTHER)

    def test_told_otherwise_just_before(self):
        """A connection is not judged by what its SAs were told to be before."""
        idle, before, shape = self.latched(with_new_key())
        self.tell(shape, FIRST, NEWCOMER)
        self.wait_known(idle, NEWCOMER)  # by `run`, so it has heard
        self.tell(shape, FIRST)
        connection = self.connect("tcp")
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual(latch["peer_id"], PEER)
        self.guard.wait_event(event="broken", latch=before["id"])
        self.assertFalse([event for event in self.guard.events
                          if (event["event"], event["latch"]) == ("broken", latch["id"])])

    def test_event(self):
        connection, latch, shape = self.identified()
        time.sleep(1.1)
        self.forget(shape, FIRST)
        connection.a.sendall(b"held")
        event = self.violation(latch, "identity-unknown", "out")
        self.assertEqual(event["expected"][0]["peer_id"], PEER)
        self.assertIsNone(event["got"][0].get("peer_id"))
        self.tell(shape, FIRST)
        self.assertEqual(connection.receive(connection.b, 4), b"held")

    def test_rekey(self):
        """The new SAs are told of after the kernel has them."""
        connection, latch, shape = self.identified()
        ipsec.rekey(self.lab, shape, FIRST, NEXT)
        connection.a.sendall(b"held")
        self.assertFalse(connection.readable(connection.b, 0.3))
        self.tell(shape, NEXT)
        self.assertEqual(connection.receive(connection.b, 4), b"held")
        connection.exchange()
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])
        self.assertEqual(set(self.told()), {f"0x{spi:08x}" for spi in NEXT})


class Swap(WhoCase):
    """The same suite, addresses and reqid: another peer."""

    def wait_refused(self, latch, direction, **got):
        """@got: what is not as it was."""
        event = self.violation(latch, "peer-id", direction)
        self.assertEqual(event["fields"], list(got))
        expected = {"peer_id": PEER, "local_id": OWN}
        for side, ids in ("expected", expected), ("got", {**expected, **got}):
            self.assertEqual({key: event[side][0][key] for key in ids}, ids)

    def play(self, shape, proto, more):
        connection, latch, shape = self.identified(shape, proto, **more)
        self.become(shape, OTHER, NEWCOMER)
        self.send(connection.b, b"from web7")
        self.wait_refused(latch, "in", peer_id=NEWCOMER)
        self.send(connection.a, b"to db1")
        self.wait_refused(latch, "out", peer_id=NEWCOMER)
        self.assertFalse(connection.readable(connection.a, 0.5), "web7 reached the program")
        self.assertFalse(connection.readable(connection.b, 0))
        self.assertEqual(self.guard.latch(connection)["state"], "BROKEN")
        self.become(shape, LAST, PEER)
        self.goes_on(connection, proto)
        self.assert_not_used(OTHER)
        self.assert_nothing_in_clear(connection)

    def goes_on(self, connection, proto):
        """What TCP was refused comes now."""
        if proto == "tcp":
            self.assertEqual(connection.receive(connection.b, 6), b"to db1")
            self.assertEqual(connection.receive(connection.a, 9), b"from web7")
        else:
            wait_for("run to see that all is well", lambda: not {"policy", "sa-conflict"} &
                     set(self.guard.latch(connection)["causes"]))
        connection.exchange(b"and on it goes")

    def test_another_local_id(self):
        """The same peer, which thinks that it talks to another."""
        connection, latch, shape = self.identified()
        self.become(shape, OTHER, PEER, "admin.example")
        connection.b.sendall(b"held")
        connection.a.sendall(b"held")
        for direction in "in", "out":
            self.wait_refused(latch, direction, local_id="admin.example")
        self.assert_not_used(OTHER)

    def test_another_reqid(self):
        """Nothing stands in where it is known who it is."""
        connection, latch, shape = self.identified()
        self.become(dataclasses.replace(shape, reqid=9), OTHER, PEER)
        connection.exchange()
        shown = self.show(latch)
        self.assertEqual((shown["state"], shown["out"]["sa"][0]["reqid"]), ("ESTABLISHED", 9))
        self.assertEqual([shown[way]["violations"] for way in ("in", "out")], [0, 0])

    def test_two_directions(self):
        """Whom the SAs of the two directions name must be one."""
        for server in False, True:
            with self.subTest(server=server):
                self.protect(BASE)
                before = self.guard.counters()["peer-id"]
                ends = (NEWCOMER, PEER) if server else (PEER, NEWCOMER)
                for (spi, dst), peer in zip(self._ends(BASE, FIRST), ends):
                    self.identity("add", BASE, spi, dst, "--peer-id", peer, "--local-id", OWN)
                with self.assertRaises(TimeoutError):
                    self.connect(server=server, timeout=3)
                self.assertGreater(self.guard.counters()["peer-id"], before)
                event = self.guard.wait_event(event="violation", reason="peer-id",
                                              direction="out" if server else "in")
                self.assertEqual(event["verdict"], "drop")
                ipsec.flush(self.lab.a, self.lab.b)
                self.guard.forget()


class Sctp(SctpCase, WhoCase):
    def test_swap(self):
        shape = dataclasses.replace(BASE, upper="sctp")
        self.protect(shape)
        self.tell(shape, FIRST)
        a, b = self.pair()
        self.exchange(a, b)
        latch = self.latch(a)
        self.assertEqual(latch["peer_id"], PEER)
        self.wait_policed(latch)
        self.wire.clear()
        self.become(shape, OTHER, NEWCOMER)
        b.send(b"from web7")
        a.send(b"to db1")
        for direction in "in", "out":
            event = self.violation(latch, "peer-id", direction)
            self.assertEqual((event["fields"], event["got"][0]["peer_id"]), (["peer_id"], NEWCOMER))
        self.silent(a, 0.5)
        self.assert_not_used(OTHER)
        self.become(shape, LAST, PEER)
        self.assertEqual((a.recv(100), b.recv(100)), (b"from web7", b"to db1"))
        self.exchange(a, b)


def _add_rows():
    for name, row in SHAPES.items():
        setattr(Swap, f"test_{name}", lambda self, row=row: self.play(*row))


_add_rows()
del WhoCase, SctpCase  # bases, not tests

if __name__ == "__main__":
    unittest.main(verbosity=2)
