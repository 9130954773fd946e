#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What `run` could not do for an error, it does as soon as it can; and what it comes to know late.

This kernel has no ESP: what root sends to the netlink group is heard as if the kernel had said it.
"""

import contextlib
import json
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../program"))

import sad  # noqa: E402
from layout import BROKEN, latch, outer, side, tuple_of  # noqa: E402
from native import LOADER, Case, hex_bytes, must, set_up_module  # noqa: E402
from test_close import netns_of  # noqa: E402
from test_scale import OWN, netns_cookie, network, write_latches  # noqa: E402

setUpModule = set_up_module  # pylint: disable=invalid-name

FLUSHSA, OUT_CLEAR = 0x1c, 1
FLUSH = struct.pack(sad.HEADER + "B", 17, FLUSHSA, sad.REQUEST, 0, 0, 0)
WAIT = 30


def wait_for(what, true):
    until = time.monotonic() + WAIT
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(what)
        time.sleep(0.05)


@contextlib.contextmanager
def starved(process):
    """It can open nothing more."""
    last = max(int(fd) for fd in os.listdir(f"/proc/{process.pid}/fd"))
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    free = set(range(last)) - {int(fd) for fd in os.listdir(f"/proc/{process.pid}/fd")}
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (min(free, default=last + 1), before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)


class Behind(Case):
    def setUp(self):
        super().setUp()
        self.load()
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.netns}", LOADER, "run",
                                         "--bpffs", self.dir], stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL)
        self.addCleanup(self.end_run)
        wait_for("run to take over", lambda: self.status()["daemon"])
        with netns_of(self.netns):
            self.told = sad.Sad(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW,
                                              sad.NETLINK_XFRM))
        self.addCleanup(self.told.sock.close)

    def end_run(self):
        self.process.terminate()
        self.process.communicate(timeout=20)

    def warned(self, text):
        said = b""
        while text.encode() not in said:
            self.assertTrue(select.select([self.process.stderr], [], [], WAIT)[0], said)
            said += os.read(self.process.stderr.fileno(), 4096)

    def dump(self, name):
        lines = must("bpftool", "-j", "map", "dump", "pinned", f"{self.dir}/{name}")
        return [x["formatted"] for x in json.loads(lines) if "formatted" in x]

    def tell_of(self, spi):
        self.told.tell([sad.install(sad.Sa("10.98.0.1", "10.98.0.2", spi))])

    def spis(self):
        return {socket.ntohl(x["key"]["spi"]) for x in self.dump("clatch_sas")}

    def broken(self, number):
        return {x["id"]: x for x in json.loads(self.ok("list", "--json"))["latches"]}[number][
            "state"] == "BROKEN"

    def policed(self, number):
        return json.loads(self.ok("show", str(number), "--json"))["policed"]["out"]

    def test_sas_are_read_again(self):
        """After a flush, which only a dump can tell the outcome of: here, that there are none."""
        self.tell_of(1)
        wait_for("the SA", lambda: self.spis() == {1})
        with starved(self.process):
            self.told.tell([FLUSH])
            self.warned("Couldn't read the SAs")
            self.tell_of(2)
            self.assertEqual(self.spis(), {1})
        wait_for("a dump", lambda: not self.spis())
        self.tell_of(3)
        wait_for("the next SA", lambda: self.spis() == {3})

    def test_resets_are_tried_again(self):
        key = tuple_of(netns_cookie(self.netns), (OWN, 40000), ("10.0.0.1", 5000), 6)
        value = latch(1, BROKEN, causes=OUT_CLEAR, sides=2 * (side(),), ends=outer(OWN, OWN))
        with starved(self.process):
            must("bpftool", "map", "update", "pinned", f"{self.dir}/clatch_latches", "key",
                 *hex_bytes(key), "value", *hex_bytes(value))
            self.tell_of(1)
            self.warned("Couldn't reset what is BROKEN")
            self.assertTrue(self.broken(1))
        wait_for("its end", lambda: not self.status()["latches"])

    def test_the_pins_are_renamed(self):
        """Nothing is loaded any more where it was."""
        other = self.dir + "-renamed"
        os.rename(self.dir, other)
        try:
            self.warned(f"Unloaded: nothing is left to run at {self.dir}")
            self.assertEqual(self.process.wait(WAIT), 0)
        finally:
            os.rename(other, self.dir)

    def test_a_namespace_that_is_found_late(self):
        """Its latches are judged as soon as it is."""
        with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as hidden:
            hidden.stdin.write(b"x")
            hidden.stdin.flush()
            self.assertEqual(os.read(hidden.stdout.fileno(), 1), b"x")
            path = f"/proc/{hidden.pid}/ns/net"
            cookie = int(must("nsenter", f"--net={path}", sys.executable, "-c",
                              "import socket; print(int.from_bytes(socket.socket().getsockopt("
                              "socket.SOL_SOCKET, 71, 8), 'little'))"))
            must("nsenter", f"--net={path}", "ip", "xfrm", "policy", "add", "src", OWN, "dst",
                 f"{network(0)}.0/24", "dir", "out", "action", "block")
            write_latches(self.dir, cookie, range(0, 1))
            write_latches(self.dir, netns_cookie(self.netns), range(1, 2))
            self.inside("ip", "xfrm", "policy", "add", "src", OWN, "dst", f"{network(1)}.0/24",
                        "dir", "out", "tmpl", "proto", "esp", "reqid", "7", "mode", "transport")
            wait_for("all to be judged", lambda: self.policed(2))
            self.assertFalse(self.broken(1))
            name = f"{self.netns}-late"
            must("ip", "netns", "attach", name, str(hidden.pid))
            self.addCleanup(must, "ip", "netns", "del", name)
            wait_for("its latch to be judged", lambda: self.broken(1))
            hidden.stdin.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
