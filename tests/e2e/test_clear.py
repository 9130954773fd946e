# SPDX-License-Identifier: GPL-2.0-only
"""The short way of what is in clear (bpf/clear.h) is not for what only looks so, on real ESP: each
first packet here is protected, comes alone, and makes a latch."""

import contextlib
import socket
import struct
import types
import unittest

import ipsec
from case import FIRST, Case
from ipsec import Shape
from lab import Guard, checksum, wait_for


class Clear(Case):
    def is_latched(self, connection, way):
        """By the one packet that there was."""
        latch = wait_for("a latch", lambda: self.guard.latch(connection), 5)
        self.assertEqual([len(latch[w]["sa"]) for w in ("in", "out")],
                         [way == "in", way == "out"])
        return latch

    def test_what_comes_in(self):
        for family in socket.AF_INET, socket.AF_INET6:
            with self.subTest(family=family):
                self.protect(Shape(family=family, upper="udp"))
                connection = self.connect("udp", family)
                connection.b.send(b"the first")
                self.assertEqual(connection.a.recv(20), b"the first")
                self.is_latched(connection, "in")

    def test_a_syn(self):
        """ESP shows no ports, and the socket's are those of no latch."""
        for family in socket.AF_INET, socket.AF_INET6:
            with self.subTest(family=family):
                self.protect(Shape(family=family))
                ipsec.flush(self.lab.b)  # it does not answer
                with self.lab.guarded():
                    sock = self.lab.a.socket(family, socket.SOCK_STREAM)
                self.addCleanup(sock.close)
                sock.setblocking(False)
                sock.connect_ex((self.lab.b.address(family), 4012))
                self.is_latched(types.SimpleNamespace(own=sock.getsockname(), peer=(None, 4012)), "out")
                ipsec.flush(self.lab.a)

    def test_esp_in_udp(self):
        """Of a UDP socket: the outer header is UDP as well, in clear."""
        self.protect(Shape(upper="udp", encap=True))
        connection = self.connect("udp")
        connection.a.send(b"the first")
        self.assertEqual(self.wire.spis(), {FIRST[0]})
        latch = self.is_latched(connection, "out")
        self.assertEqual(latch["out"]["sa"][0]["encap"], "udp")

    def test_esp_in_udp_of_the_same_port(self):
        """In the tunnel the socket has the port that the tunnel has outside."""
        shape = Shape(upper="udp", mode="tunnel", encap=True)
        self.protect(shape)
        connection = self.connect("udp", inner=True, ports=(4500, 4502))
        connection.a.send(b"the first")
        self.assertEqual(connection.b.recv(20), b"the first")
        self.is_latched(connection, "out")
        self.assertEqual(self.wire.spis(), {FIRST[0]})
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.wire.clear()
        with self.assertRaises(PermissionError):
            connection.a.send(b"not in clear")
        self.assertFalse(self.wire.seen(b"not in clear"))

    def test_esp_in_udp_over_ipv6(self):
        self.protect(Shape(family=socket.AF_INET6, upper="udp", mode="tunnel", encap=True))
        connection = self.connect("udp", socket.AF_INET6, inner=True)
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual([latch[way]["sa"][0]["encap"] for way in ("in", "out")], ["udp"] * 2)


def behind_headers(count, connection, payload):
    """A datagram of the peer's, behind so many headers of destination options that do nothing."""
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, end[0])
                         for end in (connection.peer, connection.own))
    length = 8 + len(payload)
    udp = struct.pack("!HHH", connection.peer[1], connection.own[1], length)
    total = checksum(addresses + struct.pack("!II", length, socket.IPPROTO_UDP) + udp + payload +
                     bytes(length % 2))
    options = bytes((0, 1, 4, 0, 0, 0, 0))
    headers = (bytes((socket.IPPROTO_DSTOPTS,)) + options) * (count - 1)
    upper = headers + bytes((socket.IPPROTO_UDP,)) + options + udp + struct.pack("!H", total) + payload
    return struct.pack("!IHBB", 6 << 28, len(upper), socket.IPPROTO_DSTOPTS, 64) + addresses + upper


class Forged(Case):
    follow = False  # `run` would end the latch with its policy

    def test_what_looks_like_esp(self):
        """A datagram in clear that begins as ESP in UDP does, with the SPI of the very SA, and has
        its ports."""
        self.protect(Shape(upper="udp", encap=True))
        connection = self.connect("udp", ports=(4500, 4502))
        connection.a.send(b"the first")
        self.assertIsNotNone(self.guard.latch(connection))
        ipsec.flush_policies(self.lab.a)
        payload = struct.pack("!II", FIRST[0], 1000) + b"in clear"
        self.wire.clear()
        with self.assertRaises(PermissionError):
            connection.a.send(payload)
        self.assertFalse(self.wire.seen(payload))
        self.assertEqual(self.guard.counters()["clear"], 1)


class Held(Case):
    """What has a latch is found to have one.  By the cgroup alone: a device would find it as well."""

    guard_options = None

    def test_both_ways(self):
        with Guard(self.lab, dev=False) as self.guard:
            for family in socket.AF_INET, socket.AF_INET6:
                for proto in "tcp", "udp":
                    with self.subTest(family=family, proto=proto):
                        self.in_clear(*self.latched(Shape(family=family), proto)[:2])
                        ipsec.flush(self.lab.a, self.lab.b)

    def test_behind_headers(self):
        """IPv6: as many as are read, and more."""
        with Guard(self.lab, dev=False) as self.guard:
            connection, latch, _ = self.latched(Shape(family=socket.AF_INET6), "udp")
            ipsec.flush_policies(self.lab.a, self.lab.b)
            raw = self.lab.b.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self.addCleanup(raw.close)
            for number, headers in enumerate((1, 7), 1):
                packet = behind_headers(headers, connection, b"received in clear")
                raw.sendto(packet, (connection.own[0], 0))
                wait_for("it to be refused", lambda: self.guard.counters()["clear"] == number)
            self.assertEqual(self.show(latch)["in"]["violations"], 2)
            self.assertFalse(connection.readable(connection.a, 0))

    def in_clear(self, connection, latch):
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.wire.clear()
        with contextlib.suppress(PermissionError):
            connection.a.send(b"sent in clear")
        connection.b.send(b"received in clear")
        for direction in "out", "in":
            self.guard.wait_event(event="violation", latch=latch["id"], direction=direction,
                                  reason="clear", verdict="drop")
        self.assertFalse(self.wire.seen(b"sent in clear"))
        self.assertFalse(connection.readable(connection.a, 0))


del Case  # a base, not a test

if __name__ == "__main__":
    unittest.main(verbosity=2)
