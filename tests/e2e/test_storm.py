# SPDX-License-Identifier: GPL-2.0-only
"""SAs by the thousand: `run` loses track of none, nor of what is latched."""

import signal
import unittest

import ipsec
from conflict import BASE, RENEW, STRONGER, ConflictCase
from storm import Storm


class Storms(ConflictCase):
    def setUp(self):
        super().setUp()
        self.storm = Storm(self.lab, self.guard)
        self.addCleanup(self.storm.close)

    def ip(self, line):
        self.lab.a.ip("xfrm " + line.format(**ipsec.words(self.lab, BASE, "out")))

    def conflicts(self, latch):
        """An SA that the kernel could use is seen to come and to go."""
        self.ip(f"state add {{ends}} proto esp spi 0x5001 {STRONGER}")
        self.broken(latch, cause="sa-conflict")
        self.ip("state delete {ends} proto esp spi 0x5001")
        self.restored(latch)

    def test_followed(self):
        connection, latch, _ = self.start(BASE, "tcp")
        for _ in range(30):
            self.storm.step()
            connection.exchange(b"meanwhile")
        self.assertEqual(self.storm.wait_followed(), 2 + self.storm.kept * self.storm.batch)
        self.check_works(connection, latch)
        self.assertEqual(self.transitions(latch), [])
        self.assertEqual(sum(self.guard.counters().values()), 0)
        self.storm.remove(self.storm.kept)
        self.assertEqual(self.storm.wait_followed(), 2)

    def test_overrun(self):
        """What came and what went is among what is lost."""
        connection, latch, _ = self.start(BASE, "tcp")
        for _ in range(self.storm.kept):
            self.storm.step()
        self.storm.wait_followed()
        self.guard.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.guard.process.send_signal, signal.SIGCONT)
        while not self.storm.overruns():
            self.storm.step()
        self.storm.step()
        self.storm.remove(1)
        self.guard.process.send_signal(signal.SIGCONT)
        self.storm.wait_followed()
        self.check_works(connection, latch)
        self.assertEqual(self.transitions(latch), [])
        self.conflicts(latch)
        self.check_works(connection, latch)
        self.storm.remove(len(self.storm.live))
        self.assertEqual(self.storm.wait_followed(), 2)

    def test_conflict_meanwhile(self):
        connection, latch, _ = self.start(BASE, "tcp")
        process = self.storm.start()
        try:
            self.ip("policy delete {selector}")
            self.broken(latch, cause="policy")
            self.ip(RENEW)
            self.restored(latch)
            self.conflicts(latch)
            self.assertTrue(process.is_alive())
        finally:
            process.kill()
            process.join()
        self.storm.wait_followed()
        self.check_works(connection, latch)


if __name__ == "__main__":
    unittest.main(verbosity=2)
