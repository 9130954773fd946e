# SPDX-License-Identifier: GPL-2.0-only
"""What UDP sockets send to addresses that they name, on real ESP: by which rule it is judged, though
the packet does not show its ports, nor in a tunnel its addresses."""

import dataclasses
import socket
import struct
import threading
import unittest

import ipsec
from case import FIRST
from ipsec import Shape
from lab import run
from who import WhoCase

V4, V6 = socket.AF_INET, socket.AF_INET6
BASE = Shape(upper="udp")
TUNNEL = Shape(upper="udp", mode="tunnel")
SECOND = "10.8.1.9"  # another address of the guarded host, inside the tunnel
STRICT = "require = encrypted\nmin-key-bits = 256\n"  # more than the SAs have, but for GCM256
IP_PKTINFO = 8
UDP_CORK = 1


class DatagramCase(WhoCase):
    def own(self, family=V4, bind=None, connect=None):
        """A socket of the guarded host."""
        with self.lab.guarded():
            one = self.lab.a.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(one.close)
        one.settimeout(10)
        if bind:
            one.bind((bind, 0))
        if connect:
            one.connect(connect.getsockname()[:2])
        return one

    def peer(self, address):
        family = V6 if ":" in address else V4
        one = self.lab.b.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(one.close)
        one.settimeout(10)
        one.bind((address, 0))
        return one

    def arrives(self, own, peer, *more):
        own.sendmsg([b"there"], *more or [[]], 0, peer.getsockname()[:2])
        self.assertEqual(peer.recv(9), b"there")

    def refused(self, own, peer, *more, reason="policy"):
        """Neither does the program believe that it was sent, nor does it leave."""
        self.wire.clear()
        self.guard.forget()
        self.assertRaises(PermissionError, own.sendmsg, [b"there"], *more or [[]], 0,
                          peer.getsockname()[:2])
        self.assertEqual((self.wire.spis(), self.wire.ports("udp", peer.getsockname()[1])),
                         (set(), []))
        return self.guard.wait_event(event="violation", reason=reason, direction="out",
                                     proto="udp", verdict="drop")


class Source(DatagramCase):
    """A rule that names the local address, which a packet in a tunnel does not show."""

    def setUp(self):
        super().setUp()
        self.lab.a.ip(f"addr add {SECOND}/24 dev inner")
        self.addCleanup(self.lab.a.ip, f"addr del {SECOND}/24 dev inner")

    def strict_for(self, local):
        self.rules(f"[rule strict]\nproto = udp\nlocal = {local}\n{STRICT}")

    @staticmethod
    def source(address):
        return [(socket.IPPROTO_IP, IP_PKTINFO,
                 struct.pack("@i4s4s", 0, socket.inet_aton(address), bytes(4)))]

    def test_in_a_tunnel_not_bound(self):
        """Whose source only the route knows: the rule may hold, and so it does."""
        self.protect(TUNNEL)
        peer = self.peer(self.lab.b.inner4)
        self.arrives(self.own(), peer)
        for local in (self.lab.a.inner4, SECOND):
            self.strict_for(local)
            event = self.refused(self.own(), peer)
            self.assertEqual(event["remote"], {"addr": self.lab.b.inner4,
                                               "port": peer.getsockname()[1]})
        self.strict_for(self.lab.a.v4)  # the tunnel's own
        self.refused(self.own(), peer)

    def test_in_a_tunnel_that_is_strong_enough(self):
        self.protect(dataclasses.replace(TUNNEL, suite=ipsec.GCM256))
        self.strict_for(self.lab.a.inner4)
        self.arrives(self.own(), self.peer(self.lab.b.inner4))

    def test_in_a_tunnel_bound(self):
        self.protect(TUNNEL)
        peer = self.peer(self.lab.b.inner4)
        own = self.own(bind=self.lab.a.inner4)
        self.strict_for(self.lab.a.inner4)
        self.refused(own, peer)
        for local in (SECOND, self.lab.a.v4):
            self.strict_for(local)
            self.arrives(own, peer)

    def test_in_a_tunnel_with_a_source(self):
        """Which IP_PKTINFO names."""
        self.protect(TUNNEL)
        peer, own = self.peer(self.lab.b.inner4), self.own()
        self.strict_for(SECOND)
        self.arrives(own, peer, self.source(self.lab.a.inner4))
        self.refused(own, peer, self.source(SECOND))

    def test_in_transport_mode(self):
        """Where the header tells."""
        self.protect(BASE)
        peer = self.peer(self.lab.b.v4)
        self.strict_for(self.lab.a.inner4)
        self.arrives(self.own(), peer)
        self.strict_for(self.lab.a.v4)
        self.refused(self.own(), peer)

    def ipv6_in_ipv4(self, suite):
        for host, (spi_out, spi_in), other in ((self.lab.a, FIRST, self.lab.b),
                                               (self.lab.b, FIRST[::-1], self.lab.a)):
            for spi, src, dst in ((spi_out, host, other), (spi_in, other, host)):
                host.ip(f"xfrm state add src {src.v4} dst {dst.v4} proto esp spi {spi:#x} reqid 7 "
                        f"mode tunnel flag af-unspec replay-window 32 {suite.format(spi, spi)}",
                        f"xfrm policy add src {src.net6} dst {dst.net6} proto udp "
                        f"dir {'out' if src is host else 'in'} "
                        f"tmpl src {src.v4} dst {dst.v4} proto esp reqid 7 mode tunnel")

    def test_ipv6_in_ipv4(self):
        self.ipv6_in_ipv4(ipsec.GCM)
        peer = self.peer(self.lab.b.inner6)
        for key in (f"remote = {self.lab.b.net6}", f"local = {self.lab.a.net6}"):
            with self.subTest(key=key):
                self.rules(f"[rule strict]\nproto = udp\n{key}\n{STRICT}")
                self.refused(self.own(V6), peer)
                self.refused(self.own(V6, self.lab.a.inner6), peer)
        self.rules(f"[rule strict]\nproto = udp\nremote = 0.0.0.0/0\n{STRICT}")
        self.arrives(self.own(V6), peer)
        self.arrives(self.own(V6, self.lab.a.inner6), peer)

    def test_ipv6_in_ipv4_that_is_strong_enough(self):
        self.ipv6_in_ipv4(ipsec.GCM256)
        self.rules(f"[rule strict]\nproto = udp\nlocal = {self.lab.a.net6}\n{STRICT}")
        self.arrives(self.own(V6), self.peer(self.lab.b.inner6))


class Threads(DatagramCase):
    """Several of them, on one socket."""

    def setUp(self):
        super().setUp()
        self.protect(BASE)
        self.strict, self.loose = (self.peer(self.lab.b.v4) for _ in range(2))
        self.rules(f"[rule strict]\nproto = udp\nremote-port = {self.strict.getsockname()[1]}\n"
                   f"{STRICT}")

    def test_each_by_its_own(self):
        own = self.own()
        begin = threading.Barrier(2)
        wrong = []

        def send(peer, refused):
            begin.wait()
            for _ in range(500):
                try:
                    own.sendto(b"x", peer.getsockname())
                    wrong.extend([peer] if refused else [])
                except PermissionError:
                    wrong.extend([] if refused else [peer])

        threads = [threading.Thread(target=send, args=words)
                   for words in ((self.strict, True), (self.loose, False))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_put_together_by_two(self):
        """The last call of which would have gone elsewhere, had it been the first."""
        own = self.own()
        own.sendto(b"x", self.loose.getsockname())
        first = threading.Thread(target=own.sendto, args=(b"x", socket.MSG_MORE,
                                                          self.strict.getsockname()))
        first.start()
        first.join()
        self.assertRaises(PermissionError, own.sendto, b"y", self.loose.getsockname())
        self.strict.setblocking(False)
        self.assertRaises(BlockingIOError, self.strict.recv, 9)
        own.sendto(b"z", self.loose.getsockname())
        self.assertEqual([self.loose.recv(9) for _ in range(2)], [b"x", b"z"])


class Detour(DatagramCase):
    """sendto() of a connected socket to another than its peer, under an SA that both share."""

    def set_up(self, shape=BASE):
        self.protect(shape)
        self.near, self.strict, self.loose = (self.peer(self.lab.b.v4) for _ in range(3))
        self.rules(f"[rule strict]\nproto = udp\nremote-port = {self.strict.getsockname()[1]}\n"
                   f"{STRICT}")
        return self.own(connect=self.near)

    def latch_of(self, own):
        return next(x for x in self.guard.json("list")["latches"]
                    if x["local"]["port"] == own.getsockname()[1])

    def test_less_than_demanded(self):
        own = self.set_up()
        own.send(b"x")
        event = self.refused(own, self.strict)
        self.assertEqual((event["latch"], event["local"]["addr"], event["remote"]),
                         (None, self.lab.a.v4, {"addr": self.lab.b.v4,
                                                "port": self.strict.getsockname()[1]}))
        self.assertEqual(self.near.recv(9), b"x")
        for peer in (self.loose, self.near):
            self.arrives(own, peer)
        latch = self.latch_of(own)
        self.assertEqual((latch["state"], latch["out"]["violations"], latch["rule"]),
                         ("LARVAL", 0, None))

    def test_as_much_as_demanded(self):
        own = self.set_up(dataclasses.replace(BASE, suite=ipsec.GCM256))
        own.send(b"x")
        self.arrives(own, self.strict)

    def test_not_known_yet(self):
        """The other's SA would be what is latched."""
        own = self.set_up(dataclasses.replace(BASE, suite=ipsec.GCM256))
        self.refused(own, self.strict)
        self.arrives(own, self.loose)  # nothing is demanded
        self.arrives(own, self.strict)

    def test_not_known_any_more(self):
        own = self.set_up(dataclasses.replace(BASE, suite=ipsec.GCM256))
        for peer in (self.near, self.loose):
            own.send(b"x")
            own.connect(peer.getsockname())
            self.refused(own, self.strict)
            own.send(b"x")
            self.arrives(own, self.strict)


class NoMemory(DatagramCase):
    """To note for the socket which latch is its own: then there is none, as where there is no room."""

    def optmem(self, value):
        words = ("sysctl", "-q", "-w", f"net.core.optmem_max={value}")
        run(*words)  # of all namespaces, up to 6.7
        self.lab.a.run(*words, check=False)

    def lacking(self, own):
        self.addCleanup(self.optmem, 131072)
        self.optmem(1)
        self.guard.forget()
        own.connect(self.near.getsockname())

    def test_without_a_rule(self):
        self.protect(BASE)
        self.near = self.peer(self.lab.b.v4)
        own = self.own()
        self.lacking(own)
        own.send(b"x")
        self.assertEqual(self.near.recv(9), b"x")
        self.guard.wait_event(event="violation", reason="table-full", verdict="pass")
        self.assertEqual(self.guard.json("list")["latches"], [])
        self.optmem(131072)
        own.send(b"y")
        self.assertEqual(len(self.guard.json("list")["latches"]), 1)
        own.close()
        self.assertEqual(self.guard.json("list")["latches"], [])

    def test_under_a_rule(self):
        self.protect(BASE)
        self.rules("[rule all]\nproto = udp\nrequire = encrypted\n")
        self.near = self.peer(self.lab.b.v4)
        own = self.own()
        self.lacking(own)
        self.assertRaises(PermissionError, own.send, b"x")
        self.guard.wait_event(event="violation", reason="table-full", verdict="drop")
        self.assertEqual(self.guard.json("list")["latches"], [])
        self.assertEqual(self.wire.spis(), set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
