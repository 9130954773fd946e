#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A flood of violations: counters, the latch, and each reader's lines with their counts, together
with what they report as lost, come to exactly as many as were refused."""

import ctypes
import json
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

from guarded import MAY_PROTECT, GuardedCase
from native import LOADER, set_up_module
from test_scale import bpf, open_map

setUpModule = set_up_module  # pylint: disable=invalid-name

PORT = 7000
RULE = "[rule all]\nproto = udp\nrequire = ipsec\n"
WAIT = 60
GET_NEXT_KEY = 4
CPUS = sorted(os.sched_getaffinity(0))[:2]
FULL = 8192  # entries of clatch_reports


def flood(sock, cpu, addresses, rounds, stop, refused):
    """Sends to each address in turn, or on a connection; counts what is refused."""
    os.sched_setaffinity(0, {cpu})
    count = 0
    while not stop.is_set() and (not rounds or count < rounds * len(addresses)):
        for address in addresses:
            try:
                sock.sendmsg([b"x"], [], 0, *address)
            except PermissionError:
                count += 1
    with refused:
        refused.value += count


class Reader:
    """What `run` or `monitor` prints."""

    def __init__(self, words):
        self.events, self.more = [], threading.Condition()
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self.more:
                self.events.append(json.loads(line))
                self.more.notify_all()

    def wait(self, what, condition):
        with self.more:
            if not self.more.wait_for(condition, WAIT):
                raise TimeoutError(f"{what}: {self.total()} of {len(self.events)} lines, the last "
                                   f"{self.events[-3:]}")

    def counts(self, kind):
        return [event["count"] for event in self.events if event["event"] == kind]

    def total(self):
        return sum(self.counts("violation") + self.counts("lost"))

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(WAIT)
        self.thread.join(WAIT)
        self.process.stdout.close()


class Flood(GuardedCase):
    def setUp(self):
        super().setUp()
        self.load()
        self.put_in_force(RULE)
        self.reports = open_map(f"{self.dir}/clatch_reports")
        self.addCleanup(os.close, self.reports)
        self.before = 0  # of the counter
        self.stop, self.refused = multiprocessing.Event(), multiprocessing.Value("Q")

    def reader(self, verb):
        reader = Reader(["nsenter", f"--net=/run/netns/{self.netns}", LOADER, verb, "--json",
                         "--bpffs", self.dir])
        self.addCleanup(reader.end)
        return reader

    def readers(self):
        """`run` and a monitor that follow already: both have printed something, not counted here."""
        readers = [self.reader("run"), self.reader("monitor")]
        with self.guarded(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not all(reader.events for reader in readers):
                with self.assertRaises(PermissionError):
                    sock.sendto(b"x", (self.PEER, PORT - 1))
                self.wait_until_reported()
        for reader in readers:
            reader.events.clear()
        self.before = self.counter()
        return readers

    def counter(self):
        return self.status()["counters"]["clear"]

    def begin(self, sock, addresses=((),), rounds=0):
        """From two CPUs at once."""
        both = [multiprocessing.Process(target=flood, args=(sock, cpu, addresses, rounds, self.stop,
                                                            self.refused)) for cpu in CPUS]
        for one in both:
            one.start()
        return both

    def finish(self, both):
        for one in both:
            one.join(WAIT)
            self.assertEqual(one.exitcode, 0)

    def wait_until_reported(self):
        """No repeat waits for its second to end any more."""
        key = ctypes.create_string_buffer(32)
        try:
            while True:
                bpf(GET_NEXT_KEY, struct.pack("<I4xQQ", self.reports, 0, ctypes.addressof(key)))
                time.sleep(0.05)
        except FileNotFoundError:
            pass

    def assert_exact(self, readers):
        """Of what each is to report: all has come, and no more."""
        for reader in readers:
            reader.wait("not all was reported", lambda r=reader: r.total() >= self.refused.value)
        self.wait_until_reported()
        for reader in readers:
            self.assertEqual(reader.total(), self.refused.value)
        self.assertEqual(self.counter() - self.before, self.refused.value)

    def socket(self):
        with self.guarded():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        return sock

    def ports(self, count):
        """Each is a kind of violation of its own."""
        return [((self.PEER, PORT + number),) for number in range(count)]


class Merged(Flood):
    """Over the end of several seconds, at which what was counted is sent and counting goes on."""

    def merged(self, sock, addresses=((),)):
        readers = self.readers()
        both = self.begin(sock, addresses)
        for reader in readers:
            reader.wait("no merged lines",
                        lambda r=reader: sum(n > 1000 for n in r.counts("violation")) >= 2)
        self.stop.set()
        self.finish(both)
        self.assert_exact(readers)
        for reader in readers:
            self.assertEqual(reader.counts("lost"), [])

    def test_without_a_latch(self):
        self.merged(self.socket(), self.ports(1))

    def test_of_a_latch(self):
        self.policy(*MAY_PROTECT)
        sock = self.socket()
        sock.connect((self.PEER, PORT))
        self.merged(sock)
        latch = json.loads(self.ok("list", "--json"))["latches"][0]
        self.assertEqual(latch["out"]["violations"], self.refused.value)


class Lost(Flood):
    """There is no room: the ring's, as its reader is held up, or that for merging."""

    KINDS, ROUNDS = 2000, 3

    def refuse(self, kinds):
        self.finish(self.begin(self.socket(), self.ports(kinds), self.ROUNDS))

    def test_ring_is_full(self):
        readers = self.readers()
        for reader in readers:
            reader.process.send_signal(signal.SIGSTOP)
        self.refuse(self.KINDS)
        self.wait_until_reported()
        for reader in readers:
            reader.process.send_signal(signal.SIGCONT)
        self.assert_exact(readers)
        for reader in readers:
            self.assertGreater(sum(reader.counts("lost")), self.KINDS)

    def test_nobody_reads(self):
        self.refuse(self.KINDS)
        self.wait_until_reported()
        first = self.reader("run")
        self.assert_exact([first])
        self.assertGreater(sum(first.counts("lost")), self.KINDS)
        first.end()
        before = self.refused.value
        self.refuse(self.KINDS)
        self.wait_until_reported()
        second = self.reader("run")
        second.wait("not all was reported", lambda: second.total() >= self.refused.value - before)
        self.assertEqual(second.total(), self.refused.value - before)

    def test_more_kinds_than_are_merged(self):
        readers = self.readers()
        self.refuse(FULL + 2000)
        self.assert_exact(readers)


if __name__ == "__main__":
    unittest.main(verbosity=2)
