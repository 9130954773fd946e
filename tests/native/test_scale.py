#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""How long `run` takes to judge a change: 100,000 latches, 1,000 policies.

The latches are written by hand, as this kernel has no ESP; the policies are real.
"""

import ctypes
import json
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time
import unittest

from layout import latch, outer, side, tuple_of
from native import Case, LOADER, peak_kb, set_up_module
from test_close import netns_of

setUpModule = set_up_module  # pylint: disable=invalid-name

LATCHES, POLICIES = 100_000, 1000
OWN, NETWORKS, PEERS = "192.0.2.1", POLICIES // 2, 200  # behind each network
AT_ONCE = 50_000
MORE_KB = 4096  # that many latches may take more than few, of a process
WAIT = 60
LIMIT = 1  # seconds; a quiet machine takes less than a tenth of it, and says so
SO_NETNS_COOKIE = 71
BPF, MAP_UPDATE_BATCH, OBJ_GET = 321, 26, 7
SUITE_INDEX = 1023  # the last: the packet path gives them from 1 up
SIDES = 2 * (side(SUITE_INDEX, 1, 7),)
SUITE = struct.pack("<32s32sHHHBBBB6x", b"rfc4106(gcm(aes))", b"", 160, 0, 128, 50, 0, 0, 5)

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    done = libc.syscall(BPF, command, buffer, 128)
    if done < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return done


def open_map(path):
    name = ctypes.create_string_buffer(path.encode())
    return bpf(OBJ_GET, struct.pack("<QII", ctypes.addressof(name), 0, 0))


def update_all(fd, keys, values, count):
    keys, values = ctypes.create_string_buffer(keys), ctypes.create_string_buffer(values)
    bpf(MAP_UPDATE_BATCH, struct.pack("<QQQQIIQQ", 0, 0, ctypes.addressof(keys),
                                      ctypes.addressof(values), count, fd, 0, 0))


def network(number):
    return f"10.{number // 256}.{number % 256}"


def netns_cookie(netns):
    with netns_of(netns), socket.socket() as inside:
        return struct.unpack("Q", inside.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]


def pair(cookie, number, flags=0, slot=0):
    """Key and value of latch @number, from 0 on.  tests/bench/lookup.bpf.c makes the same keys."""
    port, place = divmod(number, NETWORKS * PEERS)
    peer = f"{network(place % NETWORKS)}.{place // NETWORKS + 1}"
    return (tuple_of(cookie, (OWN, 40000 + port), (peer, 5000), 6),
            latch(number + 1, flags=flags, sides=SIDES, ends=outer(OWN, peer), slot=slot))


def write_latches(directory, cookie, numbers, flags=0, slots=0):
    """Into the instance pinned at @directory.  @slots: each has one in clatch_fast, that number and
    down from it; the packet path gives them from 1 up."""
    suites, latches = (open_map(f"{directory}/{name}") for name in ("clatch_suites",
                                                                    "clatch_latches"))
    try:
        update_all(suites, struct.pack("<I", SUITE_INDEX), SUITE, 1)
        for first in range(numbers.start, numbers.stop, AT_ONCE):
            some = range(first, min(first + AT_ONCE, numbers.stop))
            keys, values = zip(*(pair(cookie, n, flags, slots and slots - n) for n in some))
            update_all(latches, b"".join(keys), b"".join(values), len(some))
    finally:
        os.close(suites)
        os.close(latches)


class Judge(Case):
    """Half of the policies are outbound, half inbound; 200 peers are behind each."""

    networks, latches = NETWORKS, LATCHES

    def setUp(self):
        super().setUp()
        self.load("--max-latches", str(LATCHES + 1000))
        self.ip(f"xfrm policy add src {src} dst {dst} dir {way} priority 1000 "
                "tmpl proto esp reqid 7 mode transport"
                for net in map(network, range(self.networks))
                for src, dst, way in ((OWN, f"{net}.0/24", "out"),
                                      (f"{net}.0/24", OWN, "in")))
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.netns}", LOADER, "run",
                                         "--json", "--reset-after", "1h", "--bpffs", self.dir],
                                        text=True, stdout=subprocess.PIPE)
        self.addCleanup(self.end_run)
        while not self.status()["daemon"]:
            time.sleep(0.02)
        self.peak = peak_kb(self.process.pid)
        write_latches(self.dir, netns_cookie(self.netns), range(self.latches))
        # the first judgement also notes of each latch that there is a policy: not what is measured
        self.ip(["xfrm policy add src 203.0.113.1 dst 203.0.113.2 dir fwd"])
        while not json.loads(self.ok("show", "1", "--json"))["policed"]["out"]:
            time.sleep(0.1)
        while not self.sleeps():
            pass

    def sleeps(self):
        """Is `run` done with all latches?"""
        def naps():
            text = status.read_text(encoding="ascii")
            return "(sleeping)" in text and text.split("voluntary_ctxt_switches:")[1].split()[0]

        status = pathlib.Path(f"/proc/{self.process.pid}/status")
        before = naps()
        time.sleep(0.5)
        return before and before == naps()

    def end_run(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()

    def ip(self, lines):
        subprocess.run(["ip", "-n", self.netns, "-batch", "-"], input="\n".join(lines) + "\n",
                       text=True, check=True)

    def broken(self, count, change):
        """Seconds from a change to the last of @count latches that it breaks."""
        began = time.monotonic()
        too_long = threading.Timer(WAIT, self.process.kill)
        self.addCleanup(too_long.cancel)
        too_long.start()
        self.ip([change])
        while count:
            event = json.loads(self.process.stdout.readline() or "{}")
            self.assertEqual((event.get("event"), event.get("cause")), ("broken", "policy"))
            count -= 1
        too_long.cancel()
        return time.monotonic() - began

    def test_a_change_is_judged_in_time(self):
        times = [self.broken(200, f"xfrm policy delete src {OWN} dst {network(n)}.0/24 dir out")
                 for n in range(5)]
        print(f"# {LATCHES} latches, {POLICIES} policies, 200 latches broken: "
              + ", ".join(f"{t * 1000:.0f} ms" for t in times))
        self.assertLess(min(times), LIMIT)
        self.assertLess(peak_kb(self.process.pid) - self.peak, MORE_KB)
        self.assertEqual(self.status()["broken"], 5 * 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
