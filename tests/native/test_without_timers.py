#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Latches end in time, whether the kernel has a timer for each or not, as 6.18 beyond some hundreds.

They are written by hand, as this kernel has no ESP, for connections in clear that are audited only.
"""

import contextlib
import json
import os
import socket
import struct
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
    def clients(self, stack):
        """Of the peer, bound, not connected yet."""
        with netns_of(self.peer):
            socks = [stack.enter_context(socket.socket()) for _ in range(COUNT)]
        for sock in socks:
            sock.bind((self.PEER, 0))
        return socks

    def write_all(self, name, entries):
        fd = open_map(f"{self.dir}/{name}")
        update_all(fd, b"".join(entries), b"".join(entries.values()), len(entries))
        os.close(fd)

    def write_latches(self, ports):
        """Of connections that these ports of the peer are to make."""
        cookie = netns_cookie(self.netns)
        self.write_all("clatch_latches", {
            tuple_of(cookie, (self.OWN, PORT), (self.PEER, port), 6): latch(i + 1)
            for i, port in enumerate(ports)})
        self.write_all("clatch_ports", {struct.pack("<I", PORT ^ port): struct.pack("<I", 1)
                                        for port in ports})

    def accepted(self, stack, clients):
        with self.guarded():
            listening = stack.enter_context(socket.create_server((self.OWN, PORT)))
        for client in clients:
            client.connect((self.OWN, PORT))
            yield stack.enter_context(listening.accept()[0])

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
            clients = self.clients(stack)
            self.write_latches([sock.getsockname()[1] for sock in clients])
            accepted = list(self.accepted(stack, clients))
            began = time.monotonic()
            for sock in accepted + clients:
                sock.close()
        self.wait_for("TIME_WAIT", lambda: self.in_time_wait() == COUNT)
        held = [x for x in self.dump("clatch_latches") if x["key"]["remote_port"]]
        self.assertEqual(len(held), COUNT)
        untimed = sum(x["value"]["flags"] & UNTIMED > 0 for x in held)
        print(f"# note: this kernel had no timer for {untimed} of {COUNT} latches")
        self.wait_for("their end", lambda: not self.status()["latches"], HELD + WAIT)
        self.assertGreaterEqual(time.monotonic() - began, HELD)
        self.assertEqual(self.dump("clatch_endings"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
