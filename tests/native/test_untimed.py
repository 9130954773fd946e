#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Latches end in time, whether the kernel has a timer for each or not, as 6.18 beyond some hundreds.

They are written by hand, as this kernel has no ESP, for connections in clear that are audited only.
"""

import contextlib
import json
import os
import socket
import time
import unittest

from guarded import GuardedCase
from layout import latch, tuple_of
from native import must, set_up_module
from test_close import netns_of
from test_scale import netns_cookie, open_map, update_all

setUpModule = set_up_module  # pylint: disable=invalid-name

COUNT, PORT = 1000, 7000
HELD, WAIT = 60, 30  # seconds: TIME_WAIT, and what is waited for beside
UNTIMED = 1024  # CLATCH_UNTIMED
TIME_WAIT = "06"  # in /proc/net/tcp


class Untimed(GuardedCase):
    def connections(self, stack):
        """The guarded ends; the others."""
        with netns_of(self.peer):
            listening = stack.enter_context(socket.create_server((self.PEER, PORT), backlog=COUNT))
        with self.guarded():
            own = [stack.enter_context(socket.socket()) for _ in range(COUNT)]
        others = []
        for sock in own:
            sock.connect((self.PEER, PORT))
            others.append(stack.enter_context(listening.accept()[0]))
        return own, others

    def write_latches(self, socks):
        cookie = netns_cookie(self.netns)
        keys = (tuple_of(cookie, (self.OWN, sock.getsockname()[1]), (self.PEER, PORT), 6)
                for sock in socks)
        fd = open_map(f"{self.dir}/clatch_latches")
        update_all(fd, b"".join(keys), b"".join(latch(i + 1) for i in range(COUNT)), COUNT)
        os.close(fd)

    def dump(self, name):
        lines = must("bpftool", "-j", "map", "dump", "pinned", f"{self.dir}/{name}")
        return [x["formatted"] for x in json.loads(lines) if "formatted" in x]

    def wait_for(self, what, true, seconds=WAIT):
        until = time.monotonic() + seconds
        while not true():
            self.assertLess(time.monotonic(), until, what)
            time.sleep(0.1)

    def in_time_wait(self):
        lines = self.inside("cat", "/proc/net/tcp").splitlines()[1:]
        return sum(line.split()[3] == TIME_WAIT for line in lines)

    def test_time_wait(self):
        self.load("--audit")
        with contextlib.ExitStack() as stack:
            own, others = self.connections(stack)
            self.write_latches(own)
            began = time.monotonic()
            for sock in own + others:
                sock.close()
        self.wait_for("TIME_WAIT", lambda: self.in_time_wait() == COUNT)
        held = self.dump("clatch_latches")
        self.assertEqual(len(held), COUNT)
        untimed = sum(x["value"]["flags"] & UNTIMED > 0 for x in held)
        print(f"# note: this kernel had no timer for {untimed} of {COUNT} latches")
        self.wait_for("their end", lambda: not self.status()["latches"], HELD + WAIT)
        self.assertGreaterEqual(time.monotonic() - began, HELD)
        self.assertEqual(self.dump("clatch_endings"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
