#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""clatch_ports, by which what is in clear passes without its latch being looked up, has each latch as
long as it is there, and nothing else."""

import contextlib
import json
import socket
import time
import unittest

from guarded import MAY_PROTECT, GuardedCase
from native import must, set_up_module

setUpModule = set_up_module  # pylint: disable=invalid-name
RULE = "[rule all]\nproto = tcp\nrequire = ipsec\n"


class Counted(GuardedCase):
    def setUp(self):
        super().setUp()
        self.ok("load", "--cgroup", self.cgroup, "--max-latches", "2")

    def count(self, *ports):
        """Of all latches whose ports look like these."""
        index = ports[0] ^ ports[-1] if len(ports) > 1 else ports[0]
        entry = must("bpftool", "-j", "map", "lookup", "pinned", f"{self.dir}/clatch_ports", "key",
                     *(str(byte) for byte in index.to_bytes(4, "little")))
        return json.loads(entry)["formatted"]["value"]

    def listener(self, port):
        with self.guarded():
            sock = socket.create_server((self.OWN, port))
        self.addCleanup(sock.close)
        return sock

    def test_listeners(self):
        """Of the third there is none, for want of room."""
        ports = 7001, 7002, 7003
        socks = [self.listener(port) for port in ports]
        self.assertEqual([self.count(port) for port in ports], [1, 1, 0])
        socks.pop(0).close()
        self.assertEqual([self.count(port) for port in ports], [0, 1, 0])
        socks.append(self.listener(7001))
        self.assertEqual([self.count(port) for port in ports], [1, 1, 0])

    def test_two_that_look_alike(self):
        with self.guarded():
            socks = [socket.create_server((address, 7004), family=family) for family, address in
                     ((socket.AF_INET, self.OWN), (socket.AF_INET6, self.OWN6))]
        for left in 2, 1:
            self.assertEqual(self.count(7004), left)
            socks.pop().close()
        self.assertEqual(self.count(7004), 0)

    def test_a_connection(self):
        """Its latch is there before its first packet, which is refused."""
        self.policy(*MAY_PROTECT)
        self.put_in_force(RULE)
        with self.guarded():
            sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind((self.OWN, 7005))
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect((self.PEER, 7777))
        self.assertEqual(self.status()["latches"], 1)
        self.assertEqual(self.count(7005, 7777), 1)
        sock.close()
        while self.status()["latches"]:
            time.sleep(0.01)
        self.assertEqual(self.count(7005, 7777), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
