# SPDX-License-Identifier: GPL-2.0-only
"""Tests with sockets of the guarded cgroup, and a peer in a network namespace of its own."""

import contextlib
import ipaddress
import json
import os
import tempfile

from native import (BPFFS, LOADER, PREFIX, Case, assert_no_objects_but, must, our_objects, run)
from test_close import netns_of

# What may protect, as far as can be known before: of this mark no packet is.
MAY_PROTECT = ("src", "0.0.0.0/0", "dst", "0.0.0.0/0", "dir", "out", "mark", "7", "mask", "7",
               "tmpl", "proto", "esp", "mode", "transport")


class GuardedCase(Case):
    OWN, PEER = "10.7.0.1", "10.7.0.2"
    OWN6, PEER6 = "fd07::1", "fd07::2"

    def setUp(self):
        super().setUp()
        self.files = tempfile.TemporaryDirectory()
        self.addCleanup(self.files.cleanup)
        self.peer = self.netns + "-peer"
        must("ip", "netns", "add", self.peer)
        self.addCleanup(must, "ip", "netns", "del", self.peer)
        self.inside("ip", "link", "set", "c1", "netns", self.peer)
        for netns, dev, addresses in ((self.netns, "c0", (self.OWN, self.OWN6)),
                                      (self.peer, "c1", (self.PEER, self.PEER6))):
            for address in addresses:
                length = 24 if "." in address else 64
                must("ip", "-n", netns, "address", "add", f"{address}/{length}", "dev", dev,
                     *([] if "." in address else ["nodad"]))
            must("ip", "-n", netns, "link", "set", dev, "up")

    def file(self, text, name="policy.conf"):
        path = f"{self.files.name}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def put_in_force(self, text):
        self.assertEqual(self.ok("policy", "load", self.file(text)), "")

    @contextlib.contextmanager
    def guarded(self, cgroup=None):
        """Sockets made in here are of the guarded cgroup, and of the host that it is on."""
        with open("/proc/self/cgroup", encoding="utf-8") as lines:
            home = [line.split(":")[2].strip() for line in lines if line.startswith("0:")][0]
        top = os.path.dirname(self.cgroup)
        with open(f"{cgroup or self.cgroup}/cgroup.procs", "w", encoding="utf-8") as procs:
            procs.write("0")
        try:
            with netns_of(self.netns):
                yield
        finally:
            with open(f"{top}{home}/cgroup.procs", "w", encoding="utf-8") as procs:
                procs.write("0")

    def policy(self, *words):
        """One of the host's SPD."""
        self.inside("ip", "xfrm", "policy", "add", *words)

    @staticmethod
    def is_v6(address):
        return ipaddress.ip_address(address).version == 6


class SharedCase(GuardedCase):
    """One instance for all tests of a class, as a load takes seconds in emulation; each has a
    cgroup and network namespaces of its own, and begins without rules and latches."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = f"{BPFFS}/{PREFIX}-{cls.__name__}"
        cls.addClassCleanup(assert_no_objects_but, our_objects())
        must(LOADER, "load", "--bpffs", cls.shared)
        cls.addClassCleanup(must, LOADER, "unload", "--bpffs", cls.shared)

    def setUp(self):
        super().setUp()
        self.dir = self.shared
        self.ok("attach", "--cgroup", self.cgroup)

    def unload_quietly(self):
        """In place of that, when the test's sockets are closed."""
        self.loader("detach", "--cgroup", self.cgroup)
        self.ok("policy", "load", "/dev/null")
        latches = f"{self.shared}/clatch_latches"
        for entry in json.loads(must("bpftool", "-j", "map", "dump", "pinned", latches)):
            # a timer may be faster
            run("bpftool", "map", "delete", "pinned", latches, "key", "hex",
                *[byte.removeprefix("0x") for byte in entry["key"]])
        must("ip", "netns", "del", self.netns)
