# SPDX-License-Identifier: GPL-2.0-only
"""What the tests on the running kernel share.

They need root and a cgroup2 hierarchy.  They guard only cgroups, devices and pins that they make
themselves; traffic is in clear, in network namespaces of their own.
"""

import json
import os
import random
import re
import struct
import subprocess
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
LOADER = os.environ.get("CLATCH_LOADER", os.path.join(HERE, "../../build/clatch-loader"))
LOADER = os.path.realpath(LOADER)
BPFFS = "/sys/fs/bpf"
PREFIX = f"clatch-test-{os.getpid()}"
HOOKS, RULE_HOOKS = 8, 2  # of a cgroup; and more, when there are rules
REASONS = ["clear", "sa-mismatch", "peer-id", "identity-unknown", "unknown-sa", "policy",
           "broken", "table-full"]
META = "<QIIIIQQI4x"  # struct clatch_meta
MAGIC, LAYOUT = 0x68637461632e3031, 10


def run(*words, **options):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=120,
                          check=False, **options)


def must(*words):
    done = run(*words)
    if done.returncode:
        raise AssertionError(f"{words}: {done.returncode}: {done.stderr}")
    return done.stdout


def mounts(kind):
    with open("/proc/mounts", encoding="utf-8") as lines:
        fields = [line.split() for line in lines]
    return [f[1] for f in fields if f[2] == kind and (kind != "cgroup" or "name=" not in f[3])]


def hex_bytes(data):
    return ["hex"] + [f"{b:02x}" for b in data]


def peak_kb(pid):
    """What a process has taken at most so far; 0 where it has ended."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def our_objects():
    """Names and ids of every program and map of clatch in the kernel."""
    found = set()
    for kind in ("prog", "map"):
        for thing in json.loads(must("bpftool", "-j", kind, "show")):
            if thing.get("name", "").startswith(("clatch", ".data.clatch")):
                found.add((kind, thing["id"], thing["name"]))
    return found


def assert_no_objects_but(before):
    """The kernel frees programs and maps a while after their last reference."""
    until = time.monotonic() + 10
    while our_objects() - before and time.monotonic() < until:
        time.sleep(0.1)
    if our_objects() - before:
        raise AssertionError(f"these are left: {our_objects() - before}")


def set_up_module():
    """What every module here needs; a missing bpffs is mounted for as long as they run."""
    if os.geteuid():
        raise AssertionError("these tests need root")
    if not os.access(LOADER, os.X_OK):
        raise AssertionError(f"no {LOADER}: run make first")
    if not mounts("cgroup2"):
        raise AssertionError("these tests need cgroup2")
    if BPFFS not in mounts("bpf"):
        must("mount", "-t", "bpf", "bpf", BPFFS)
        unittest.addModuleCleanup(must, "umount", BPFFS)


class Case(unittest.TestCase):
    """One instance, one cgroup, and one network namespace with a veth pair c0-c1."""

    def setUp(self):
        self.objects = our_objects()
        name = re.sub(r"\W", "-", self.id().rsplit(".", 1)[-1])[:40]
        self.dir = f"{BPFFS}/{PREFIX}-{name}"
        self.cgroup = self.make_cgroup("a")
        self.netns = f"{PREFIX}-{random.randrange(1 << 16):x}"
        must("ip", "netns", "add", self.netns)
        self.addCleanup(self.unload_quietly)
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "link", "add", "c0", "type", "veth", "peer", "name", "c1")

    def unload_quietly(self):
        for place in [self.dir, self.dir + "-2"]:
            self.loader("unload", bpffs=place)
            self.assertFalse(os.path.exists(place), "unload left pins")
        must("ip", "netns", "del", self.netns)
        self.assert_no_objects()

    def assert_no_objects(self):
        assert_no_objects_but(self.objects)

    def make_cgroup(self, name):
        path = f"{mounts('cgroup2')[0]}/{PREFIX}-{name}-{random.randrange(1 << 16):x}"
        os.mkdir(path)
        self.addCleanup(lambda: os.path.exists(path) and os.rmdir(path))
        return path

    def loader(self, verb, *words, bpffs=None, netns=True, wrap=()):
        enter = ["nsenter", f"--net=/run/netns/{self.netns}"] if netns else []
        return run(*wrap, *enter, LOADER, verb, "--bpffs", bpffs or self.dir, *words)

    def ok(self, verb, *words, **options):
        done = self.loader(verb, *words, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""), (verb, words))
        return done.stdout

    def fails(self, status, text, verb, *words, **options):
        """Exit status and a part of the error, in text and, the same, in JSON."""
        done = self.loader(verb, *words, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertIn(text, done.stderr)
        again = self.loader(verb, *words, "--json", **options)
        self.assertEqual(again.returncode, status, again.stderr)
        errors = [json.loads(line) for line in again.stderr.splitlines()]
        self.assertEqual(len([e for e in errors if "error" in e]), 1, again.stderr)
        self.assertIn(text, [e for e in errors if "error" in e][0]["error"])

    def load(self, *words):
        return self.ok("load", "--cgroup", self.cgroup, *words)

    def status(self):
        return json.loads(self.ok("status", "--json"))

    def inside(self, *words):
        return must("nsenter", f"--net=/run/netns/{self.netns}", *words)

    def filters(self, device, side):
        """The programs, or else kinds, of the filters on one side of a device, first to last."""
        lines = json.loads(self.inside("tc", "-j", "filter", "show", "dev", device, side))
        names = [f["options"].get("bpf_name", f["kind"]) for f in lines if "options" in f]
        # the kernel cuts off names; libbpf adds the program's id
        return [f"clatch_tc_{side}" if name.startswith(f"clatch_tc_{side}"[:15]) else name
                for name in names]

    def qdiscs(self, device):
        lines = json.loads(self.inside("tc", "-j", "qdisc", "show", "dev", device))
        return [q["kind"] for q in lines]

    def nothing_is_left(self):
        self.assertFalse(os.path.exists(self.dir))
        self.assertNotIn("clsact", self.qdiscs("c0"))
        self.assertEqual(self.cgroup_programs(self.cgroup), [])
        self.assert_no_objects()

    def cgroup_programs(self, cgroup):
        shown = run("bpftool", "-j", "cgroup", "show", cgroup).stdout.strip()
        return [p["name"] for p in json.loads(shown)] if shown else []

    def write_meta(self, magic=MAGIC, layout=LAYOUT, audit=0, pid=0, start=0, ike=0):
        value = struct.pack(META, magic, layout, audit, 65536, pid, start, ike * 10**9, ike)
        must("bpftool", "map", "update", "pinned", f"{self.dir}/clatch_meta", "key",
             *hex_bytes(bytes(4)), "value", *hex_bytes(value))
