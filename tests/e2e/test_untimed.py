# SPDX-License-Identifier: GPL-2.0-only
"""Latches end though the kernel has no timer for them, as 6.18 has none beyond some hundreds."""

import contextlib
import socket
import time
import unittest

import sctp
from case import Case
from ends import EndsCase
from ipsec import Shape
from lab import Guard, segment, wait_for

SYN, TCP = 2, socket.IPPROTO_TCP
UNTIMED = 1024  # CLATCH_UNTIMED


class UntimedCase(EndsCase):
    guard_options = None

    def guarded_by(self, stack):
        """Without `run`, which holds the map."""
        self.guard = stack.enter_context(Guard(self.lab, follow=False))

    def untimed(self):
        """The ports of the peers of latches whose end is without a timer."""
        return {entry["key"]["remote_port"] for entry in (
            x["formatted"] for x in self.guard.dump("clatch_latches"))
            if entry["value"]["flags"] & UNTIMED}

    def ports(self):
        """Of the peers of all latches but listeners'."""
        return {x["remote"]["port"] for x in self.all_latches() if x["remote"]}

    def endings(self):
        return len(self.guard.dump("clatch_endings"))


class Tcp(UntimedCase):
    def syn(self, port, own_port):
        """From nobody: the handshake comes to nothing."""
        raw = self.lab.b.socket(socket.AF_INET, socket.SOCK_RAW, TCP)
        self.addCleanup(raw.close)
        raw.sendto(segment((self.lab.b.v4, own_port), (self.lab.a.v4, port), SYN),
                   (self.lab.a.v4, 0))

    def test_all_ends_come(self):
        """And none before its time: of what lives on, none comes."""
        self.protect(Shape())
        adopted = Case.connect(self)
        with contextlib.ExitStack() as stack:
            self.guarded_by(stack)
            listening, port = self.listening()
            adopted.exchange(b"adopted")
            active, passive = Case.connect(self), Case.connect(self)
            with self.guard.no_timers("clatch_latches"):
                lives = self.client(self.lab.a.v4, port)
                accepted = self.accept(listening)
                passive.b.close()
                self.assertEqual(passive.a.recv(1), b"")
                passive.close()
                active.a.close()
                self.assertEqual(active.b.recv(1), b"")
                active.close()
                self.syn(port, 1234)
                self.syn(port, 1234)  # repeated
                began = time.monotonic()
                adopted.a.close()
                self.assertEqual(adopted.b.recv(1), b"")
            gone = {"passive": passive.peer[1], "active": active.peer[1], "syn": 1234,
                    "adopted": adopted.peer[1]}
            lives_on = lives.getsockname()[1]
            wait_for("the first end", lambda: gone["passive"] not in self.ports())
            self.assertEqual(self.ports(), {*gone.values(), lives_on} - {gone["passive"]})
            self.assertEqual(self.untimed(), {gone[x] for x in ("active", "syn", "adopted")})
            for name, after in (("active", 60), ("syn", 75), ("adopted", 130)):
                wait_for(f"the end of {name}", lambda n=name: gone[n] not in self.ports(), 100)
                self.assertGreaterEqual(time.monotonic() - began, after - 2)
            self.assertEqual((self.ports(), self.endings()), ({lives_on}, 0))
            lives.sendall(b"held")
            self.assertEqual(accepted.recv(10), b"held")
            lives.close(), accepted.close()


class Sctp(UntimedCase, sctp.SctpCase):
    def test_ends(self):
        self.protect(sctp.BASE)
        with contextlib.ExitStack() as stack:
            self.guarded_by(stack)
            lives, ends = self.pair(), self.pair()
            for pair in (lives, ends):
                self.exchange(*pair)
            with self.guard.no_timers("clatch_latches"):
                self.linger(*ends)
                port = ends[1].getsockname()[1]
                ends[0].close()
            wait_for("its end", lambda: port not in self.ports())
            self.assertEqual((self.ports(), self.endings()), ({lives[1].getsockname()[1]}, 0))
            self.exchange(*lives)


if __name__ == "__main__":
    unittest.main(verbosity=2)
