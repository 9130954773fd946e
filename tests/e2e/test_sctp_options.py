# SPDX-License-Identifier: GPL-2.0-only
"""What programs ask of their SCTP sockets, on real ESP."""

import errno
import pathlib
import sys
import unittest

import ipsec
from ipsec import Shape
from sctp import BASE, MANY, SctpCase

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))

import options as o  # noqa: E402

AH = Shape(sa_proto="ah", suite=ipsec.AUTH_ONLY, upper="sctp")


class Options(SctpCase):
    def too_late(self, sock):
        for call in (o.require, sock, o.PROTECTED), (o.turn_off, sock, 0):
            self.assertEqual(o.error_of(*call), errno.EISCONN)

    def test_met(self):
        self.protect(BASE)
        own, peer = self.bound(self.lab.a.v4), self.bound(self.lab.b.v4, self.lab.b, listen=True)
        o.require(own, o.ENCRYPTED)
        own.connect(peer.getsockname())
        accepted = self.accept(peer)
        self.exchange(own, accepted)
        said = o.inquire(own)
        self.assertEqual((o.STATES[said.state], said.flags & (o.LATCHED | o.DEMANDED)),
                         ("ESTABLISHED", o.LATCHED | o.DEMANDED))
        self.too_late(own)

    def test_not_met(self):
        self.protect(AH)
        own, peer = self.bound(self.lab.a.v4), self.bound(self.lab.b.v4, self.lab.b, listen=True)
        o.require(own, o.ENCRYPTED)
        own.setblocking(False)
        own.connect_ex(peer.getsockname())
        self.guard.wait_event(event="violation", reason="policy", direction="out",
                              verdict="drop", proto="sctp")
        self.assertFalse(self.wire.spis(), "something left")

    def test_many_associations(self):
        """Whether one has begun no state of the socket tells."""
        self.protect(BASE)
        many = self.bound(self.lab.a.v4, kind=MANY)
        o.require(many, o.ENCRYPTED)
        peer = self.bound(self.lab.b.v4, self.lab.b, listen=True)
        many.sendto(b"hello", peer.getsockname())
        self.assertEqual(self.accept(peer).recv(100), b"hello")
        self.too_late(many)


if __name__ == "__main__":
    unittest.main(verbosity=2)
