# SPDX-License-Identifier: GPL-2.0-only
"""Packets and breaks at the same time, on real ESP (RFC 5660 T54)."""

import socket
import threading
import time
import unittest

from conflict import BASE, STRONGER, ConflictCase
from lab import wait_for

SO_MARK, SO_RCVBUFFORCE = 36, 33


class Race(ConflictCase):
    """Good and bad packets, thousands of them.  The peer sends both; the kernel takes both."""

    COUNT = 10000
    GOOD, BAD = b"good", b"bad!"

    def two_sas(self):
        """The peer chooses by mark: 1 is the SA that differs.  Both have what our policy wants."""
        self.bad_sa = (f"xfrm state add src {self.lab.b.v4} dst {self.lab.a.v4} proto esp "
                       f"spi 0x4001 {STRONGER}")
        self.lab.b.ip(self.bad_sa.replace("reqid 7", "reqid 9"),
                      f"xfrm policy add src {self.lab.b.v4} dst {self.lab.a.v4} dir out mark 1 "
                      "priority 1 tmpl proto esp reqid 9 mode transport")

    def begin(self):
        connection, latch, _ = self.start(BASE, "udp")
        self.two_sas()
        connection.a.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        return connection, latch

    def send(self, connection, count, first=0):
        for number in range(first, first + count):
            mark = number & 1
            connection.b.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            connection.b.send((self.BAD if mark else self.GOOD) + b"%d" % number)

    @staticmethod
    def drain(connection):
        got = []
        while connection.readable(connection.a, 0):
            got.append(connection.a.recv(100))
        return got


class RacePackets(Race):
    """Packet by packet: `run` is not there to break the latch."""

    follow = False

    def test_ten_thousand(self):
        connection, latch = self.begin()
        self.lab.a.ip(self.bad_sa)
        self.send(connection, self.COUNT)
        wait_for("the last", lambda: self.show(latch)["in"]["violations"] == self.COUNT // 2)
        got = self.drain(connection)  # in about this order
        self.assertEqual(sorted(got), sorted(self.GOOD + b"%d" % number
                                             for number in range(0, self.COUNT, 2)))
        self.assertEqual(self.guard.counters()["sa-mismatch"], self.COUNT // 2)


class RaceBreaks(Race):
    def test_ten_thousand(self):
        """The bad SA comes and goes meanwhile: the latch is broken and restored all the time."""
        connection, latch = self.begin()
        stopped = threading.Event()

        def change():
            while not stopped.is_set():
                self.lab.a.ip(self.bad_sa)
                time.sleep(0.1)
                self.lab.a.ip(f"xfrm state delete src {self.lab.b.v4} dst {self.lab.a.v4} "
                              "proto esp spi 0x4001")
                time.sleep(0.1)

        changes = threading.Thread(target=change)
        changes.start()
        try:
            self.send(connection, self.COUNT)
        finally:
            stopped.set()
            changes.join()
        got = self.drain(connection)
        self.assertTrue(got)
        self.assertEqual([x for x in got if not x.startswith(self.GOOD)], [])
        self.assertGreater(self.show(latch)["in"]["violations"], 0)
        self.assertIn("restored", [e[0] for e in self.transitions(latch)])
        self.wait_state(connection, "ESTABLISHED")
        connection.b.setsockopt(socket.SOL_SOCKET, SO_MARK, 0)
        self.drain(connection)
        self.check_works(connection, latch)


del Race


if __name__ == "__main__":
    unittest.main(verbosity=2)
