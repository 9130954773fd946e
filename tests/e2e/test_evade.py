# SPDX-License-Identifier: GPL-2.0-only
"""Ways in which a latched connection could slip away, on real ESP."""

import contextlib
import socket
import unittest

import ipsec
from case import Case
from ipsec import Shape
from lab import wait_for

BASE = Shape()


class Evade(Case):
    """Ways in which a latched connection could slip away."""

    def refused(self, connection, sock=None):
        ipsec.flush_policies(self.lab.a, self.lab.b)
        with self.assertRaises(PermissionError):
            (sock or connection.a).send(b"in clear")
        self.assert_nothing_in_clear(connection)

    def test_source_nat(self):
        """The packet in clear has another source than the socket."""
        self.protect(Shape(mode="tunnel", upper="udp"))
        self.lab.a.run("nft", "-f", "-", input="table ip n { chain p { type nat hook postrouting "
                       f"priority 100; ip daddr {self.lab.b.net4} snat to {self.lab.a.inner4}\n }}\n }}\n")
        self.addCleanup(self.lab.a.run, "nft", "flush", "ruleset")
        with self.lab.guarded():
            a = self.lab.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
        b = self.lab.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for s, address in (a, (self.lab.a.v4, 4001)), (b, (self.lab.b.inner4, 4002)):
            self.addCleanup(s.close)
            s.settimeout(20)
            s.bind(address)
        a.connect((self.lab.b.inner4, 4002))
        a.send(b"translated")
        _, source = b.recvfrom(100)
        self.assertEqual(source[0], self.lab.a.inner4)
        b.sendto(b"and back", source)
        a.recv(100)
        self.guard.wait_event(event="latched", direction="in", state="ESTABLISHED")
        self.wire.clear()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        with self.assertRaises(PermissionError):
            a.send(b"in clear")
        self.assertFalse(self.wire.ports("udp", 4002))

    def test_a_second_socket_on_the_same_connection(self):
        connection, latch, _ = self.latched(BASE, "udp")
        with self.lab.guarded():
            second = self.lab.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(connection.own)
        second.connect(connection.peer)
        second.send(b"from the second")
        connection.b.recv(100)
        second.close()
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])
        self.refused(connection)

    def test_a_connect_that_fails(self):
        connection, latch, _ = self.latched(BASE, "udp")
        with self.assertRaises(OSError):
            connection.a.connect(("10.9.0.255", 99))  # broadcast
        self.assertEqual(connection.a.getpeername(), connection.peer)
        self.refused(connection)
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def test_the_syn_comes_again(self):
        """Its SYN-ACK was lost: the handshake keeps its latch."""
        self.protect(BASE)
        with self.lab.guarded():
            listening = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        client = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        for s, address in (listening, (self.lab.a.v4, 4010)), (client, (self.lab.b.v4, 4011)):
            self.addCleanup(s.close)
            s.bind(address)
        listening.listen()
        self.lab.b.run("nft", "-f", "-", input="table inet d { chain i { type filter hook input "
                       "priority 0; meta l4proto esp counter drop\n }\n }\n")
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect((self.lab.a.v4, 4010))
        first = self.guard.wait_event(event="latched", direction="out")
        wait_for("two more SYNs", lambda: [x["in"]["packets"] for x in
                                           self.guard.json("list")["latches"]
                                           if x["local"]["port"] == 4010 and
                                           x["in"]["packets"] >= 3])
        self.lab.b.run("nft", "flush", "ruleset")
        client.settimeout(60)
        wait_for("the connection", lambda: client.connect_ex((self.lab.a.v4, 4010)) in (0, 106))
        latches = [x["id"] for x in self.guard.json("list")["latches"]
                   if x["remote"] and x["local"]["port"] == 4010]
        self.assertEqual(latches, [first["latch"]])


if __name__ == "__main__":
    unittest.main(verbosity=2)
