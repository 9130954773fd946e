# SPDX-License-Identifier: GPL-2.0-only
"""Fragments of forwarded datagrams, which have no ports."""

import socket

import ipsec
from gateway import GatewayCase, Tunnel
from lab import wait_for

SIX = Tunnel(family=socket.AF_INET6)
BIG = 3000  # bytes of a datagram that takes more than one packet


class Fragments(GatewayCase):
    """Datagrams that take several packets, and no connection tracking that puts them together."""

    def latched_big(self, tunnel=Tunnel()):
        connection, latch = self.latched(tunnel, "udp")
        for sock in (connection.a, connection.b):
            if tunnel.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, DONT
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, 24, 1280)  # IPV6_MTU
        self.exchange_big(connection)
        return connection, latch

    @staticmethod
    def big(letter):
        return letter * BIG

    def exchange_big(self, connection):
        for one, other, letter in ((connection.a, connection.b, b"x"),
                                   (connection.b, connection.a, b"y")):
            one.send(self.big(letter))
            self.assertEqual(other.recv(BIG + 1), self.big(letter))

    def none_in_clear(self, tunnel):
        connection, latch = self.latched_big(tunnel)
        self.wire.clear()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        before = self.clear_refused()
        connection.a.send(self.big(b"x"))
        wait_for("all its fragments to be refused", lambda: self.clear_refused() >= before + 3)
        self.assertFalse(self.wire.seen(b"x" * 64), "a fragment left in clear")
        before = self.clear_refused()
        connection.b.send(self.big(b"y"))
        wait_for("all its fragments to be refused", lambda: self.clear_refused() >= before + 3)
        self.assertFalse(connection.readable(connection.a, 0))
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def test_ipv4(self):
        self.none_in_clear(Tunnel())

    def test_ipv6(self):
        self.none_in_clear(SIX)

    def test_of_what_is_encrypted(self):
        """ESP itself is cut: one packet inside that only just fits the wire."""
        connection, _ = self.latched_big()
        self.wire.clear()
        payload = b"z" * (1500 - 28)
        connection.a.send(payload)
        self.assertEqual(connection.b.recv(2000), payload)
        connection.b.send(payload)
        self.assertEqual(connection.a.recv(2000), payload)
        self.assertGreater(len([p for *_, p, _ in self.wire.transport() if p == 50]), 1)

    def test_clear_connections_have_some_too(self):
        connection = self.connect("udp", inner=False)
        for sock in (connection.a, connection.b):
            sock.setsockopt(socket.IPPROTO_IP, 10, 0)
        self.exchange_big(connection)

    def test_a_later_one_without_its_first(self):
        """Nobody knows whose it is: it does not leave in clear."""
        container = self.lab.containers[0]
        raw = container.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.addCleanup(raw.close)
        header = bytes((0x45, 0)) + (20 + 64).to_bytes(2, "big") + bytes((7, 7, 0, 185, 64, 17, 0, 0))
        before = self.clear_refused()
        raw.sendto(header + socket.inet_aton(container.v4) + socket.inet_aton(self.lab.b.inner4) +
                   b"q" * 64, (self.lab.b.inner4, 0))
        self.wait_refused(before)
        self.assertFalse(self.wire.seen(b"q" * 64))
