# SPDX-License-Identifier: GPL-2.0-only
"""What TCP sends under an SA of unknown identity, once that is told: on real ESP.

The guarded host's RTO is made so long that what arrives cannot have waited for it.
"""

import ctypes
import ipaddress
import os
import socket
import struct
import time
import unittest

import ipsec
from case import FIRST, NEXT, Case
from ipsec import Shape
from lab import run, wait_for

V4, V6 = socket.AF_INET, socket.AF_INET6
RTO = 10  # seconds
OBJ_GET, LINK_CREATE, ITER_CREATE, TRACE_ITER = 7, 28, 33, 28
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, *words):
    """bpf(2), with an attribute of 64-bit words."""
    attribute = ctypes.create_string_buffer(struct.pack(f"<{len(words)}Q", *words), 64)
    result = _libc.syscall(321 if os.uname().machine == "x86_64" else 280, command, attribute, 64)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return result


def key_tag(key):
    """clatch_key_tag() of the first 16 bytes."""
    first, second = struct.unpack("<2Q", key[:16])
    mask = (1 << 64) - 1
    value = ((first ^ 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd) & mask
    return ((value ^ (value >> 32) ^ second) * 0xc4ceb9fe1a85ec53 & mask) >> 32


def tcp_info(sock):
    """RTO in seconds, segments in flight."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("I", info, 8)[0] / 1e6, struct.unpack_from("I", info, 24)[0]


class Kick(Case):
    follow = False  # nobody else writes the SA table
    generation = 0

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        a, b = cls.lab.a, cls.lab.b
        a.ip(f"route replace 10.9.0.0/24 dev {a.dev} proto kernel scope link src {a.v4}"
             f" rto_min {RTO}s",
             f"route replace {b.net4} via {b.v4} src {a.inner4} rto_min {RTO}s",
             f"route replace fd00:9::/64 dev {a.dev} proto kernel metric 256 rto_min {RTO}s",
             f"route replace {b.net6} via {b.v6} src {a.inner6} rto_min {RTO}s")

    def tell(self, shape, spis, who=(1, 2)):
        """Who is at the ends of two SAs, as numbers of identities that nobody asks for."""
        netns = self.lab.a.netns_cookie()
        for host, spi in zip((self.lab.b, self.lab.a), spis):
            dst = ipaddress.ip_address(host.address(shape.family))
            dst = dst.packed if dst.version == 6 else bytes(10) + b"\xff\xff" + dst.packed
            tag = key_tag((spi + 1).to_bytes(20, "big"))  # as ipsec.py makes keys
            self.guard.update("clatch_sas", struct.pack("<Q16s4sI", netns, dst,
                                                        spi.to_bytes(4, "big"), 50),
                              struct.pack("<92x2H32xI4x", *who, tag))
        Kick.generation += 1
        self.guard.update("clatch_generation", bytes(4), struct.pack("<I", Kick.generation))

    def kick(self):
        """As loader/kick.c does it."""
        path = ctypes.create_string_buffer(f"{self.guard.bpffs}/progs/clatch_kick".encode())
        program = bpf(OBJ_GET, ctypes.addressof(path))
        link = bpf(LINK_CREATE, program, TRACE_ITER)
        with self.lab.a.inside():
            iterator = bpf(ITER_CREATE, link)
        self.assertEqual(os.read(iterator, 1), b"")
        for fd in iterator, link, program:
            os.close(fd)

    def refusals(self, latch):
        """While the SA is new, a packet is kept back; later, it is a violation."""
        return (self.show(latch)["out"]["violations"] +
                self.guard.json("status")["kept_back"])

    def refused(self, shape=Shape(), send=b"held", **more):
        """A connection, whose peer is known, that wants to send after a rekey, and may not yet."""
        self.tell(shape, FIRST)
        self.tell(shape, NEXT, (0, 0))
        connection, latch, shape = self.latched(shape, **more)
        wait_for("all to be acknowledged",
                 lambda: not any(tcp_info(s)[1] for s in (connection.a, connection.b)))
        before = self.refusals(latch)
        ipsec.rekey(self.lab, shape, FIRST, NEXT)
        if send:
            connection.a.sendall(send)
        else:
            connection.a.shutdown(socket.SHUT_WR)
        self.assertGreaterEqual(self.refusals(latch) - before, 1)
        rto, in_flight = tcp_info(connection.a)
        self.assertGreaterEqual(rto, RTO)
        self.assertEqual(in_flight, 0)
        self.assertFalse(connection.readable(connection.b, 0.3))
        return connection, latch, shape

    def assert_arrives(self, connection, sent):
        began = time.monotonic()
        self.kick()
        self.assertEqual(connection.receive(connection.b, len(sent)) if sent
                         else connection.b.recv(1), sent)
        took = time.monotonic() - began
        print(f"# arrived {took * 1000:.0f} ms after its identity was told")
        self.assertLess(took, RTO / 2)

    def test_rows(self):
        inner = Shape(mode="tunnel")
        rows = [  # shape, more
            (Shape(), {}),
            (Shape(), {"server": True}),
            (Shape(), {"mapped": True}),
            (Shape(family=V6), {}),
            (inner, {}),
            (Shape(mode="tunnel", family=V6), {"server": True}),
        ]
        for shape, more in rows:
            with self.subTest(shape=shape, **more):
                connection, _, shape = self.refused(shape, **more)
                self.tell(shape, NEXT)
                self.assert_arrives(connection, b"held")
                connection.exchange()
                connection.close()
                ipsec.flush(self.lab.a, self.lab.b)

    def test_much(self):
        sent = os.urandom(20000)
        connection, _, shape = self.refused(send=sent)
        self.tell(shape, NEXT)
        self.assert_arrives(connection, sent)

    def test_fin(self):
        connection, _, shape = self.refused(send=b"")
        self.tell(shape, NEXT)
        self.assert_arrives(connection, b"")

    def test_nodelay_stays(self):
        for value in False, True:
            with self.subTest(nodelay=value):
                connection, _, shape = self.refused()
                connection.a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, value)
                self.tell(shape, NEXT)
                self.assert_arrives(connection, b"held")
                self.assertEqual(bool(connection.a.getsockopt(socket.IPPROTO_TCP,
                                                              socket.TCP_NODELAY)), value)
                connection.close()
                ipsec.flush(self.lab.a, self.lab.b)

    def test_not_told(self):
        """It is held to the identity all the same, and held again."""
        connection, latch, shape = self.refused()
        for _ in range(2):
            before = self.refusals(latch)
            self.kick()
            self.assertEqual(self.refusals(latch), before + 1)
        self.assertFalse(self.wire.spis() & set(NEXT))
        self.tell(shape, NEXT)
        self.assert_arrives(connection, b"held")

    def test_once(self):
        """The namespace is noted for the loader; what was sent is not held any more."""
        connection, latch, shape = self.refused()
        run("bpftool", "map", "lookup", "pinned", f"{self.guard.bpffs}/clatch_held", "key", "hex",
            *(f"{byte:02x}" for byte in struct.pack("<Q", self.lab.a.netns_cookie())))
        self.tell(shape, NEXT)
        self.assert_arrives(connection, b"held")
        before = self.show(latch)["out"]
        self.kick()
        self.assertEqual(self.show(latch)["out"], before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
