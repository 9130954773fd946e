#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""How many instructions the running kernel's verifier follows in each program.

That is what a load takes its time for.  More than a bound is a mistake, as a rule: something that
is followed way by way, or round by round (bpf/kernel.h: verified_once, unknown_zero).
"""

import ctypes
import os
import platform
import struct
import unittest

from native import BPFFS, LOADER, PREFIX, Case, must, run, set_up_module

setUpModule = set_up_module  # pylint: disable=invalid-name

SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_OBJ_GET = 7
# About twice what it takes on 6.1, 6.12 or 6.18, whichever takes most.
BOUNDS = {
    "ingress": 130_000, "egress": 142_000, "tc_ingress": 31_000, "tc_egress": 63_000,
    "sockops": 20_000, "connect4": 40_000, "connect6": 46_000, "sendmsg4": 30_000,
    "sendmsg6": 26_000, "setsockopt": 36_000, "getsockopt": 30_000, "sock_release": 14_000,
    "control": 16_000, "kick": 500, "gw_to": 112_000, "gw_out": 54_000, "gw_from": 43_000,
}
BOUND = 50_000  # of any other


def verified(pin):
    """Of a pinned program, as the kernel tells of its descriptor."""
    path = ctypes.create_string_buffer(os.fsencode(pin))
    attr = ctypes.create_string_buffer(struct.pack("=QII", ctypes.addressof(path), 0, 0), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    program = libc.syscall(SYS_BPF[platform.machine()], BPF_OBJ_GET, attr, 128)
    if program < 0:
        raise OSError(ctypes.get_errno(), pin)
    try:
        with open(f"/proc/self/fdinfo/{program}", encoding="utf-8") as lines:
            return [int(words[1]) for words in map(str.split, lines)
                    if words[0] == "verified_insns:"][0]
    finally:
        os.close(program)


class Verifier(Case):
    def test_what_the_kernel_can_take_it_takes(self):
        """Where it has plain loads, the objects that use them: the loader would take the others."""
        lines = {line.split()[0]: line.split()[1]
                 for line in self.ok("features").splitlines() if line}
        way = "plain" if lines["plain_loads"] == "yes" else "helper"
        for name in "clatch", "gateway":
            with self.subTest(name=name):
                pins = f"{BPFFS}/{PREFIX}-{name}"
                self.addCleanup(run, "rm", "-r", pins)
                must("bpftool", "prog", "loadall", f"{os.path.dirname(LOADER)}/{name}_{way}.bpf.o",
                     pins)

    def test_instructions(self):
        self.load()
        # loads the gateway's programs, too
        self.ok("attach", "--veth", "c0", "--uplink", "c1")
        places = os.listdir(f"{self.dir}/progs")
        counts = {name.removeprefix("clatch_"): verified(f"{self.dir}/progs/{name}")
                  for name in places}
        told = ", ".join(f"{name} {count:,}" for name, count in
                         sorted(counts.items(), key=lambda item: -item[1]))
        # tests/run shows it
        print(f"# note: verified on Linux {platform.release()}: {sum(counts.values()):,} "
              f"instructions ({told})", flush=True)
        self.assertLessEqual(set(BOUNDS), set(counts))
        for name, count in counts.items():
            with self.subTest(program=name):
                self.assertLessEqual(count, BOUNDS.get(name, BOUND))


if __name__ == "__main__":
    unittest.main()
