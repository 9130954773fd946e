#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""No event is lost without being counted, however many there are and wherever they come from."""

import ctypes
import json
import multiprocessing
import os
import select
import signal
import struct
import subprocess
import time
import unittest

from layout import ESTABLISHED, tuple_of
from native import LOADER, must, set_up_module
from test_scale import bpf, netns_cookie, open_map, write_latches
from test_show import DEAD_PEER, POLICED_IN, Written

setUpModule = set_up_module  # pylint: disable=invalid-name

TEST_RUN = 10
POLICY, SA = 4, 8  # causes
POLICED_OUT = 32
OUT, CLEAR = 1, 1
OWN, PEER = ("10.9.0.1", 80), ("10.9.0.2", 4000)
ORDER = "<QBBBBBBBBII16x136x"  # struct clatch_order behind its tuple
ORDERS, TIMES = 16, 1000


def order(set_causes, clear):
    return tuple_of(1, OWN, PEER, 6) + struct.pack(ORDER, 1, 0, set_causes, clear, 0, OUT, CLEAR, 0, 0, 0, 0)


def carry_out(program, orders, times=1):
    """Runs clatch_control, as `run` does."""
    packet = ctypes.create_string_buffer(bytes(14) + b"".join(orders))
    bpf(TEST_RUN, struct.pack("<IIIIQQII40x", program, 0, len(packet.raw) - 1, 0,
                              ctypes.addressof(packet), 0, times, 0))


def wait_for(true, seconds=20):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


class Together(Written):
    """Events of one latch that differ in nothing but their cause, from two CPUs."""

    def setUp(self):
        super().setUp()
        self.put(1, OWN, PEER, ESTABLISHED)
        self.program = open_map(f"{self.dir}/progs/clatch_control")
        self.addCleanup(os.close, self.program)

    def lost(self):
        entry = must("bpftool", "-j", "map", "lookup", "pinned", f"{self.dir}/clatch_lost",
                     "key", "hex", "00", "00", "00", "00")
        return int.from_bytes(bytes(int(b, 16) for b in json.loads(entry)["value"]), "little")

    def received(self, count):
        """What `run` finds in its ring, up to @count."""
        process = subprocess.Popen([LOADER, "run", "--json", "--bpffs", self.dir],
                                   stdout=subprocess.PIPE)
        text = b""
        try:
            while text.count(b"\n") < count and select.select([process.stdout], [], [], 5)[0]:
                text += os.read(process.stdout.fileno(), 1 << 16)
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()
        return [json.loads(line) for line in text.splitlines()]

    def test_each_is_told(self):
        carry_out(self.program, [order(DEAD_PEER, 0)])  # it stays BROKEN, whatever else goes
        both = [multiprocessing.Process(target=carry_out, args=(
            self.program, [order(cause, 0), order(0, cause)] * (ORDERS // 2), TIMES))
            for cause in (POLICY, SA)]
        for one in both:
            one.start()
        for one in both:
            one.join()
            self.assertEqual(one.exitcode, 0)
        told = 1 + len(both) * TIMES * ORDERS // 2
        lost = self.lost()
        self.assertGreater(lost, 0)
        *lines, last = self.received(told - lost + 1)
        # by then `run` may have missed the connection, and its event found no room either
        self.assertEqual((last["event"], last["count"]), ("lost", self.lost()))
        self.assertEqual({line["event"] for line in lines}, {"broken"})
        self.assertEqual(len(lines) + lost, told)


class Missed(Together):
    """`run` judges all latches when it has missed an event, though nobody reads what it prints."""

    test_each_is_told = None

    def write_latch(self, number):
        """Of a connection whose policy has gone."""
        write_latches(self.dir, netns_cookie(self.netns), range(number, number + 1),
                      flags=POLICED_IN | POLICED_OUT)

    def judged(self, count):
        return wait_for(lambda: self.status()["broken"] == count)

    def test_nobody_reads(self):
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.netns}", LOADER, "run",
                                    "--json", "--bpffs", self.dir], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)
        self.assertTrue(wait_for(lambda: self.status()["daemon"]))
        carry_out(self.program, [order(DEAD_PEER, 0)])
        self.write_latch(10)
        must("ip", "-n", self.netns, "xfrm", "policy", "add", "src", "203.0.113.1", "dst",
             "203.0.113.2", "dir", "fwd")
        self.assertTrue(self.judged(2), "a policy changed")
        self.write_latch(11)  # which no event tells of
        process.stdout.close()
        process.send_signal(signal.SIGSTOP)
        carry_out(self.program, [order(POLICY, 0), order(0, POLICY)] * (ORDERS // 2), TIMES)
        self.assertGreater(self.lost(), 0)
        process.send_signal(signal.SIGCONT)
        self.assertTrue(self.judged(3), "events were missed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
