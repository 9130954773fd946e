# SPDX-License-Identifier: GPL-2.0-only
"""Streams on real ESP, whatever the kernel makes of large packets."""

import dataclasses
import os
import socket
import threading
import unittest

import ipsec
from case import OTHER, Case
from ipsec import Shape
from lab import Connection, run

BASE = Shape()
ROUTED = Shape(mode="tunnel", if_id=42)


def stream(connection, size):
    """Sends a lot from the guarded host and back; whatever the kernel makes of large packets."""
    sent = os.urandom(size)
    for one, other in (connection.a, connection.b), (connection.b, connection.a):
        sender = threading.Thread(target=one.sendall, args=(sent,))
        sender.start()
        received = Connection.receive(other, size)
        sender.join()
        if received != sent:
            raise RuntimeError("the stream was changed")


class Bulk(Case):
    size = 4 << 20

    def streams(self, shape):
        connection, _, shape = self.latched(shape)
        stream(connection, self.size)
        latch = self.guard.latch(connection)
        self.assertEqual((latch["in"]["violations"], latch["out"]["violations"]), (0, 0))
        self.assertGreater(latch["out"]["bytes"], self.size)
        self.assert_nothing_in_clear(connection)
        ipsec.exchange_shape(self.lab, dataclasses.replace(shape, reqid=9), OTHER)
        connection.a.sendall(b"under the wrong SA")
        self.guard.wait_event(event="violation", latch=latch["id"], reason="sa-mismatch",
                              direction="out")
        self.assertNotIn(OTHER[0], self.wire.spis())

    def test_transport(self):
        self.streams(BASE)

    def test_tunnel_ipv6(self):
        self.streams(Shape(mode="tunnel", family=socket.AF_INET6))

    def test_over_the_xfrm_interface(self):
        self.streams(ROUTED)


class BulkOffload(Bulk):
    """With the kernel's ESP offload modules, segmentation comes after the hook."""

    @classmethod
    def setUpClass(cls):
        run("modprobe", "-a", "esp4_offload", "esp6_offload")
        cls.addClassCleanup(run, "rmmod", "esp4_offload", "esp6_offload")
        super().setUpClass()


if __name__ == "__main__":
    unittest.main(verbosity=2)
