#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""`list` of very many latches, written by hand: in little memory, while others come and go, and
with a progress line on a terminal."""

import collections
import ctypes
import json
import os
import re
import select
import struct
import subprocess
import threading
import time
import tty
import unittest

from native import Case, LOADER, peak_kb, set_up_module
from test_scale import bpf, open_map, pair, update_all, write_latches

setUpModule = set_up_module  # pylint: disable=invalid-name

MOST_KB = 12 << 10

MAP_DELETE_BATCH = 27
PROGRESS = re.compile(rb"\rRead: \d+ latches, of at most \d+")
CLEARED = b"\r\x1b[K"


def delete_all(fd, keys, count):
    keys = ctypes.create_string_buffer(keys)
    bpf(MAP_DELETE_BATCH, struct.pack("<QQQQIIQQ", 0, 0, ctypes.addressof(keys), 0, count, fd, 0, 0))


def read_all(process):
    """What it prints, and its peak in KiB: looked at all the time, as none is left at its end."""
    parts, peak = [], 0
    while part := os.read(process.stdout.fileno(), 1 << 16):
        parts.append(part)
        peak = max(peak, peak_kb(process.pid))
    return b"".join(parts), peak


class Many(Case):
    max_latches = 250_000

    def setUp(self):
        super().setUp()
        self.load("--max-latches", str(self.max_latches))

    def write(self, numbers):
        write_latches(self.dir, 1, numbers, slots=self.max_latches)

    def start(self, *words, **options):
        process = subprocess.Popen([LOADER, "list", "--bpffs", self.dir, *words], **options)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


class Memory(Many):
    def peak(self, *words):
        process = self.start(*words, stdout=subprocess.PIPE)
        out, peak = read_all(process)
        self.assertEqual(process.wait(20), 0)
        return out.count(b"10.0.7."), peak

    def test_it_does_not_grow(self):
        """Were they kept, 200,000 would take more than 40 MB."""
        self.write(range(200_000))
        for way in (), ("--json",), ("--remote", "10.0.7.0/24"):
            with self.subTest(way=way):
                found, most = self.peak(*way)
                self.assertGreater(found, 300)
                self.assertLess(most, MOST_KB)

    def test_it_is_printed_as_it_is_read(self):
        self.write(range(20_000))
        process = self.start("--remote", "10.0.0.0/16", stdout=subprocess.PIPE)
        self.assertIn(b" ESTABLISHED tcp", os.read(process.stdout.fileno(), 4096))
        # the pipe holds less than what is left
        self.assertIsNone(process.poll())

    def test_remote(self):
        self.write(range(150_000))
        found = json.loads(self.ok("list", "--json", "--remote", "10.0.7.0/24"))["latches"]
        self.assertEqual(len(found), 300)
        self.assertTrue(all(x["remote"]["addr"].startswith("10.0.7.") for x in found))

    def test_show(self):
        self.write(range(100_000))
        self.assertEqual(json.loads(self.ok("show", "77777", "--json"))["id"], 77777)
        for none in ("0", "100001"):
            self.fails(1, f"No latch {none}", "show", none)


class Churn(Many):
    """20,000 latches stay, as many others come and go all the time."""

    def setUp(self):
        super().setUp()
        self.write(range(20_000))
        self.stop = threading.Event()
        self.rounds = 0
        thread = threading.Thread(target=self.churn)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.stop.set)

    def churn(self):
        keys, values = (b"".join(parts) for parts in zip(*(pair(1, n) for n in
                                                           range(20_000, 40_000))))
        latches = open_map(f"{self.dir}/clatch_latches")
        while not self.stop.is_set():
            update_all(latches, keys, values, 20_000)
            delete_all(latches, keys, 20_000)
            self.rounds += 1
        os.close(latches)

    def test_each_once(self):
        lists = 0
        while lists < 3 or self.rounds < 3:
            ids = collections.Counter(
                x["id"] for x in json.loads(self.ok("list", "--json"))["latches"])
            self.assertEqual([n for n, times in ids.items() if times > 1], [])
            self.assertEqual([n for n in range(1, 20_001) if n not in ids], [])
            self.assertLessEqual(max(ids), 40_000)
            lists += 1


class Progress(Many):
    """Its reader takes its time, so that a list of a few takes more than a second."""

    LATCHES = 5000

    def setUp(self):
        super().setUp()
        self.write(range(self.LATCHES))
        self.terminal, self.inside = os.openpty()
        tty.setraw(self.inside)  # what is written is what is read
        for fd in (self.terminal, self.inside):
            self.addCleanup(os.close, fd)
        self.shown = b""

    def look(self):
        """What is on the terminal by now."""
        while select.select([self.terminal], [], [], 0.01)[0]:
            self.shown += os.read(self.terminal, 1 << 16)

    def rest(self, process):
        """All that comes until its end, on the terminal or not."""
        rest = read_all(process)[0] if process.stdout else b""
        while process.poll() is None:
            self.look()
        self.look()
        self.assertEqual(process.returncode, 0)
        return rest

    def test_beside_a_pipe(self):
        process = self.start(stdout=subprocess.PIPE, stderr=self.inside)
        out, until = b"", time.monotonic() + 20
        while not PROGRESS.search(self.shown) and time.monotonic() < until:
            out += os.read(process.stdout.fileno(), 4096)
            self.look()
        out += self.rest(process)
        self.assertRegex(self.shown, PROGRESS)
        self.assertTrue(self.shown.endswith(CLEARED), self.shown)
        self.assertEqual(out.count(b"\n"), self.LATCHES + 1)
        self.assertNotIn(b"\r", out)

    def late(self, *words, stdout):
        """Nothing is read for longer than it takes for progress to be shown."""
        process = self.start(*words, stdout=stdout, stderr=self.inside)
        time.sleep(1.2)
        return self.rest(process)

    def test_on_the_same_terminal(self):
        self.late(stdout=self.inside)
        self.assertRegex(self.shown, PROGRESS)
        rows = re.sub(PROGRESS.pattern + re.escape(CLEARED), b"", self.shown)
        self.assertEqual(rows.count(b"\n"), self.LATCHES + 1)
        self.assertNotIn(b"\r", rows)

    def test_not_beside_json_on_the_same_terminal(self):
        self.late("--json", stdout=self.inside)
        self.assertEqual(len(json.loads(self.shown)["latches"]), self.LATCHES)

    def test_not_without_a_terminal(self):
        process = self.start(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        time.sleep(1.2)
        self.rest(process)
        self.assertEqual(process.stderr.read(), b"")


if __name__ == "__main__":
    unittest.main(verbosity=2)
