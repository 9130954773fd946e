#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""SAs that come and go faster than `run` can follow leave it time to judge the latches.

This kernel has no ESP: what root sends to the netlink group is heard as if the kernel had said it.
"""

import json
import multiprocessing
import os
import select
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../program"))

import sad  # noqa: E402
from native import set_up_module
from test_close import netns_of
import test_scale
from test_scale import OWN, network

setUpModule = set_up_module  # pylint: disable=invalid-name

BATCH = 100
WAIT = 20


def storm(told, begun):
    """Each SA is of a class of its own, so that all latches are to be judged at each."""
    spi = 1
    while True:
        sas = [sad.Sa("10.98.0.1", "10.98.0.2", spi + i, spi + i) for i in range(BATCH)]
        told.tell([message for sa in sas for message in (sad.install(sa), sad.remove(sa))])
        spi += BATCH
        begun.set()


class Storm(test_scale.Judge):
    networks = latches = 1

    def test_a_change_is_judged_in_time(self):
        begun = multiprocessing.Event()
        for _ in range(2):
            with netns_of(self.netns):
                told = sad.Sad(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, sad.NETLINK_XFRM))
            self.addCleanup(told.close)
            process = multiprocessing.Process(target=storm, args=(told, begun))
            process.start()
            self.addCleanup(process.join)
            self.addCleanup(process.kill)
        begun.wait()
        self.ip([f"xfrm policy delete src {OWN} dst {network(0)}.0/24 dir out"])
        self.assertTrue(select.select([self.process.stdout], [], [], WAIT)[0], "not judged")
        event = json.loads(self.process.stdout.readline())
        self.assertEqual((event["event"], event["cause"]), ("broken", "policy"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
