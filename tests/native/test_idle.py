#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""`run` does not wake up while nothing happens, and hears of what does happen."""

import contextlib
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../program"))

import options
from guarded import GuardedCase
from layout import latch, side, tuple_of
from native import LOADER, must, set_up_module
from test_behind import starved
from test_events import wait_for
from test_scale import netns_cookie

setUpModule = set_up_module  # pylint: disable=invalid-name

QUIET = 11  # seconds: longer than any period of `run`
ID_TEXT, PEER = 512, b"db1.example"
TCP = 6
RULE = "[rule all]\nproto = udp\nremote-port = 9\nrequire = esp\n"

# A host of its own, which says its pid when it is there, and sends when it is told to.
HOST = """
import os, socket, subprocess
open("%s/cgroup.procs", "w").write("0")
subprocess.run(["ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1"], check=True)
subprocess.run(["ip", "address", "add", "10.7.2.1/24", "dev", "d0"], check=True)
for device in "d0", "d1":
    subprocess.run(["ip", "link", "set", device, "up"], check=True)
print(os.getpid(), flush=True)
input()
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("10.7.2.2", 9))
except OSError as error:
    print(error.errno, flush=True)
input()
"""


def seal(number, text):
    """clatch_id_seal()."""
    value = 0xcbf29ce484222325 ^ number
    for byte in text:
        value = (value ^ byte) * 0x100000001b3 & (1 << 64) - 1
    return struct.pack("<Q", value)


class IdleCase(GuardedCase):
    propagation = "private"  # of mounts: what others mount is nothing that happens here

    def setUp(self):
        super().setUp()
        self.load()

    def start_run(self):
        self.warnings = pathlib.Path(self.file("", "warnings"))
        with self.warnings.open("w", encoding="utf-8") as warnings:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", self.propagation, "nsenter",
                 f"--net=/run/netns/{self.netns}", LOADER, "run", "--json", "--bpffs", self.dir],
                stdout=subprocess.DEVNULL, stderr=warnings)
        self.addCleanup(self.process.wait, 20)
        self.addCleanup(self.process.terminate)
        self.assertTrue(wait_for(lambda: self.status()["daemon"]))

    def wakeups(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(text.split("voluntary_ctxt_switches:")[1].split()[0])

    def assert_sleeps(self, seconds=QUIET):
        """Not one wakeup for that long, after whatever was before."""
        began = quiet_since = time.monotonic()
        before = self.wakeups()
        while time.monotonic() < quiet_since + seconds:
            self.assertLess(time.monotonic(), began + 4 * QUIET, "run wakes up by itself")
            time.sleep(0.2)
            if self.wakeups() != before:
                before, quiet_since = self.wakeups(), time.monotonic()
        print(f"# asleep after {quiet_since - began:.1f} s")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def host(self):
        """A network namespace of a guarded process."""
        process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", HOST % self.cgroup],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), f"{process.pid}\n")
        return process

    @staticmethod
    def end(process):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)

    def write(self, name, key, value):
        must("bpftool", "map", "update", "pinned", f"{self.dir}/{name}", "key", "hex",
             *(f"{b:02x}" for b in key), "value", "hex", *(f"{b:02x}" for b in value))

    def identity(self, text, sealed=None):
        """The first of the table; @sealed: what its seal says, if that is not so."""
        text, sealed = (t.ljust(ID_TEXT, b"\0") for t in (text, sealed or text))
        self.write("clatch_ids", struct.pack("<I", 1), text + seal(1, sealed))

    def known(self):
        """A connection in clear, with a latch written by hand that knows its peer."""
        with self.guarded():
            server = socket.create_server(("127.0.0.1", 0))
            client = socket.create_connection(server.getsockname())
        for end in (server.accept()[0], server, client):
            self.addCleanup(end.close)
        client.settimeout(10)
        known = side(1, 1)[:16] + struct.pack("<HH", 1, 1) + side()[20:]
        key = tuple_of(netns_cookie(self.netns), client.getsockname(), client.getpeername(), TCP)
        self.write("clatch_latches", key, latch(1, sides=(known, known)))
        return client


class Sleep(IdleCase):
    def test_nothing_happens(self):
        """With a namespace of a process and a named one to look after, and a known peer."""
        self.host()
        self.identity(PEER)
        self.known()
        self.start_run()
        self.assert_sleeps()
        before = self.wakeups()
        self.put_in_force("")
        self.assertTrue(wait_for(lambda: self.wakeups() > before), "this is no measure")
        self.assert_sleeps()


class Hear(IdleCase):
    def test_damaged_identities(self):
        """A program reads its peer's name: then all connections are closed."""
        self.identity(PEER)
        client = self.known()
        self.start_run()
        self.assertEqual(options.ids(client), (PEER.decode(), PEER.decode()))
        self.assert_sleeps(3)
        self.identity(b"mallory.example", PEER)
        options.ids(client)
        with self.assertRaises(ConnectionAbortedError):
            client.recv(1)

    def test_process_ends(self):
        """It does not keep the network namespace of a process that has gone."""
        self.start_run()
        before = self.open_files()
        host = self.host()
        self.ok("attach", "--cgroup", self.make_cgroup("b"))  # is heard, and all are looked for
        self.assertTrue(wait_for(lambda: self.open_files() > before), "the namespace is not seen")
        self.end(host)
        self.assertTrue(wait_for(lambda: self.open_files() == before, 40), "it is kept")

    def test_detached(self):
        """Nor of one that goes on, and is not guarded any more."""
        self.start_run()
        before = self.open_files()
        self.host()
        self.ok("attach", "--cgroup", self.make_cgroup("b"))
        self.assertTrue(wait_for(lambda: self.open_files() > before), "the namespace is not seen")
        self.ok("detach", "--cgroup", self.cgroup)
        self.assertTrue(wait_for(lambda: self.open_files() == before), "it is kept")

    def has_warned(self):
        return "Couldn't watch" in self.warnings.read_text(encoding="utf-8")

    def violate(self, host):
        host.stdin.write("\n")
        host.stdin.flush()
        self.assertEqual(host.stdout.readline(), "1\n")  # EPERM

    def test_violation(self):
        """A namespace that was not known is watched from its first event on."""
        self.put_in_force(RULE)
        self.start_run()
        before = self.open_files()
        self.violate(self.host())
        self.assertTrue(wait_for(lambda: self.open_files() > before), "the namespace is not seen")

    def test_starved(self):
        """And if that cannot be done for want of files, it is as soon as it can."""
        self.put_in_force(RULE)
        self.start_run()
        host = self.host()
        before = self.open_files()
        with starved(self.process):
            self.violate(host)
            self.assertTrue(wait_for(self.has_warned))
            self.assertEqual(self.open_files(), before)
        self.assertTrue(wait_for(lambda: self.open_files() > before, 40), "it is lost")


class Named(IdleCase):
    propagation = "slave"

    def test_named(self):
        self.start_run()
        before = self.open_files()
        name = f"{self.netns}-more"
        must("ip", "netns", "add", name)
        try:
            self.assertTrue(wait_for(lambda: self.open_files() > before), "it is not seen")
        finally:
            must("ip", "netns", "del", name)
        self.assertTrue(wait_for(lambda: self.open_files() == before, 40), "it is kept")


if __name__ == "__main__":
    unittest.main(verbosity=2)
