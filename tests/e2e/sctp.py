# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of SCTP share: associations between the guarded host and its peer."""

import contextlib
import dataclasses
import select
import socket

from ends import EndsCase
from ipsec import Shape
from lab import wait_for

SCTP = 132
BINDX_ADD = 100  # SCTP_SOCKOPT_BINDX_ADD
V4, V6 = socket.AF_INET, socket.AF_INET6
ONE, MANY = socket.SOCK_STREAM, socket.SOCK_SEQPACKET  # associations that a socket may have
BASE = Shape(upper="sctp")
TUNNEL = dataclasses.replace(BASE, mode="tunnel")
IPV6 = dataclasses.replace(BASE, family=V6)
# What is lost is sent again soon, and an association stands 10 losses.
TIMES = {"rto_initial": 300, "rto_min": 200, "rto_max": 1000, "hb_interval": 500,
         "association_max_retrans": 10}


class SctpCase(EndsCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tune(**TIMES)

    def setUp(self):
        super().setUp()
        self.guarded = set()  # sockets

    @classmethod
    def tune(cls, **values):
        for host in (cls.lab.a, cls.lab.b):
            host.run("sysctl", "-q", "-w", *(f"net.sctp.{k}={v}" for k, v in values.items()))

    def dies_soon(self):
        """Associations from now on give up after two losses."""
        self.addCleanup(self.tune, **TIMES)
        self.tune(association_max_retrans=2)

    def new_socket(self, family=V4, kind=ONE, host=None):
        with contextlib.nullcontext() if host else self.lab.guarded():
            sock = (host or self.lab.a).socket(family, kind, SCTP)
        self.addCleanup(sock.close)
        if not host:
            self.guarded.add(sock)
        sock.settimeout(20)
        return sock

    def accept(self, sock):
        """The kernel puts an accepted socket of SCTP into the cgroup of the process that accepts
        it, not, as TCP, into the listener's."""
        with self.lab.guarded() if sock in self.guarded else contextlib.nullcontext():
            return super().accept(sock)

    def bound(self, address, host=None, family=V4, kind=ONE, listen=False):
        sock = self.new_socket(family, kind, host)
        sock.bind((address, self.next_port()))
        if listen:
            sock.listen()
        return sock

    def pair(self, family=V4, inner=False, server=False):
        """An association of one-to-one sockets: the guarded host's end and its peer's."""
        ends = [self.bound(h.address(family, inner), host, family) for h, host in
                ((self.lab.a, None), (self.lab.b, self.lab.b))]
        own, peer = ends
        passive, active = (own, peer) if server else (peer, own)
        passive.listen()
        active.connect(passive.getsockname()[:2])
        accepted = self.accept(passive)
        return (accepted, peer) if server else (own, accepted)

    def exchange(self, a, b, payload=b"hello"):
        for one, other in ((a, b), (b, a)):
            one.send(payload)
            self.assertEqual(other.recv(100), payload)

    def latches(self, sock):
        """The latches of the connections from a socket's port."""
        port = sock.getsockname()[1]
        return [x for x in self.guard.json("list", "--proto", "sctp")["latches"]
                if x["remote"] and x["local"]["port"] == port]

    def latch(self, a):
        found = self.latches(a)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def wait_all(self, sock, state, count=1):
        """All latches of a socket, of which there are @count, once all are in a state."""
        def all_there():
            found = self.latches(sock)
            return [x["state"] for x in found] == [state] * count and found

        return wait_for(f"{count} {state}", all_there)

    def associated(self, shape=BASE, server=False):
        self.protect(shape)
        a, b = self.pair(shape.family, shape.inner, server)
        self.exchange(a, b, b"protected from the start")
        latch = self.latch(a)
        self.wait_policed(latch)
        self.wire.clear()
        self.guard.forget()
        return a, b, latch

    def sent_in_clear(self):
        return [data for _, _, proto, data in self.wire.transport() if proto == SCTP]

    def assert_nothing_in_clear(self, *_):
        self.assertEqual(self.sent_in_clear(), [])

    def silent(self, sock, seconds=0):
        self.assertFalse(select.select([sock], [], [], seconds)[0], "a payload arrived")

    def violation(self, latch, reason, direction):
        return self.guard.wait_event(event="violation", latch=latch["id"], reason=reason,
                                     direction=direction, verdict="drop", proto="sctp")
