# SPDX-License-Identifier: GPL-2.0-only
"""Containers made by crun whose network namespace has the IPsec, on real ESP.

The container's only program hands out its sockets (tests/program/agent.py), so that a test can hold
both ends of a connection.  Our hook guards it before that program starts.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import ipsec
from case import FIRST, LAST, NEXT, OTHER, Case
from ipsec import Shape
from lab import LOADER, Guard, Lab, Wire, cgroup2_mount, run, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))
from container import Container  # pylint: disable=wrong-import-position

OWNER, RIVAL = "db1.example", "rival.example"


class HostGuard(Guard):
    """`run` is in the host's network namespace, where there is no IPsec, or in the lab's."""

    def __init__(self, lab, inside):
        self.inside, self.said = inside, tempfile.TemporaryFile("w+")
        super().__init__(lab, dev=False, cgroup=False)
        self.on_device("attach")

    def on_device(self, verb):
        self.lab.a.run(LOADER, verb, "--dev", self.lab.a.dev, "--bpffs", self.bpffs)

    def _words(self, *words):
        return super()._words(*words) if self.inside else [LOADER, *words, "--bpffs", self.bpffs]

    def start_run(self, *options):
        self.process = subprocess.Popen(self._words("run", *options, "--json"), text=True,
                                        stdout=subprocess.PIPE, stderr=self.said)
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        wait_for("run to take over", lambda: self.json("status")["daemon"])

    def close(self):
        self.on_device("detach")
        super().close()
        self.said.close()


class ContainerCase(Case):
    """One latched container and one that is not, in one network namespace, which has the IPsec."""

    inside = False  # is `run` in that namespace?  The containers have the host's network then

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.place = cls.stack.enter_context(tempfile.TemporaryDirectory())
        cls.lab = cls.stack.enter_context(Lab())
        cls.guard = cls.stack.enter_context(HostGuard(cls.lab, cls.inside))
        cls.wire = Wire(cls.lab.a)
        cls.stack.callback(cls.wire.close)
        cls.neighbour = cls.start("neighbour", None)
        cls.latched_one = cls.start("latched", "must")
        cls.lab.guarded = lambda cgroup=None: cls.sockets_of(cls.latched_one)

    @classmethod
    def start(cls, name, latch):
        netns = f"/run/netns/{cls.lab.a.name}"
        wrap = ["nsenter", f"--net={netns}"] if cls.inside else []
        made = cls.stack.enter_context(Container(f"{cls.lab.name}-{name}", cls.place, LOADER,
                                                 cls.guard.bpffs, latch,
                                                 None if cls.inside else netns, wrap))
        said = made.start()
        if said:
            raise RuntimeError(said)
        return made

    @classmethod
    @contextlib.contextmanager
    def sockets_of(cls, container):
        """The guarded host's sockets are made by this container."""
        cls.lab.a.socket = container.socket
        try:
            yield
        finally:
            del cls.lab.a.socket

    def connect_neighbour(self, family):
        guarded = self.lab.guarded
        self.lab.guarded = lambda: self.sockets_of(self.neighbour)
        try:
            return self.connect("tcp", family)
        finally:
            self.lab.guarded = guarded

    def cgroup(self, container):
        return f"{cgroup2_mount()}/{container.name}"

    def in_lab(self, *words):
        """Of clatch-loader, where the SAs are."""
        self.lab.a.run(LOADER, *words, "--bpffs", self.guard.bpffs)

    def tell(self, shape, spis, peer):
        """Whose SAs these are: out, in."""
        own, far = self.lab.a.address(shape.family), self.lab.b.address(shape.family)
        for spi, dst in zip(spis, (far, own)):
            self.in_lab("identity", "add", "--spi", hex(spi), "--dst", dst, "--peer-id", peer)

    def refused(self, connection, latch, reason):
        """What is sent now arrives at neither end."""
        self.guard.forget()
        connection.a.send(b"SECRET")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason=reason, verdict="drop")
        self.assertFalse(connection.readable(connection.b, 0.2))
        self.assertFalse(self.wire.seen(b"SECRET"))
        self.assert_nothing_in_clear(connection)

    def goes_on(self, connection, latch):
        self.wait_state(connection, "ESTABLISHED")
        self.assertEqual(connection.receive(connection.b, 6), b"SECRET")
        connection.exchange(b"as before")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def held(self, family):
        connection, latch, shape = self.latched(Shape(family=family), "tcp")
        neighbour = self.connect_neighbour(family)
        neighbour.exchange()
        self.assertIsNone(self.guard.latch(neighbour))

        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.refused(connection, latch, "clear")
        neighbour.exchange(b"not disturbed")
        self.assertTrue(self.wire.seen(b"not disturbed"))  # so the capture shows what is clear
        ipsec.policies(self.lab, shape)
        self.goes_on(connection, latch)

        ipsec.rekey(self.lab, shape, FIRST, NEXT)
        self.tell(shape, NEXT, OWNER)
        connection.exchange(b"rekeyed")
        wait_for("the latch to learn its peer",
                 lambda: self.guard.latch(connection)["peer_id"] == OWNER)

        ipsec.exchange_shape(self.lab, shape, OTHER)
        self.tell(shape, OTHER, RIVAL)
        neighbour.exchange(b"not disturbed")
        self.refused(connection, latch, "peer-id")
        ipsec.exchange_shape(self.lab, shape, LAST)
        self.tell(shape, LAST, OWNER)
        self.goes_on(connection, latch)

    def restarted(self):
        """A new container with the old one's name and address; what it connects is latched anew."""
        connection, latch, shape = self.latched(Shape(), "tcp")
        before = os.stat(self.cgroup(self.latched_one)).st_ino
        connection.b.close()
        self.assertEqual(connection.a.recv(1), b"")
        connection.a.close()
        self.latched_one.delete()
        wait_for("the latch to end", lambda: not self.guard.latch(connection))
        self.assertEqual(self.guard.json("status")["cgroups"], [])
        self.assertIsNone(self.latched_one.start())
        cgroup = self.cgroup(self.latched_one)
        self.assertNotEqual(os.stat(cgroup).st_ino, before)
        status = self.guard.json("status")
        self.assertEqual((status["cgroups"], status["gone"]["cgroups"]), ([cgroup], []))
        again = self.connect("tcp")
        again.exchange()
        anew = self.guard.latch(again)
        self.assertNotEqual(anew["id"], latch["id"])
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.refused(again, anew, "clear")
        ipsec.policies(self.lab, shape)
        self.goes_on(again, anew)


class OwnNetwork(ContainerCase):
    """The containers' network namespace is not the host's; `run` is outside."""

    def test_ipv4(self):
        self.held(socket.AF_INET)

    def test_ipv6(self):
        self.held(socket.AF_INET6)

    def test_restart(self):
        self.restarted()

    def test_cgroup_removed_while_attached(self):
        """Nobody calls the hook: `status` tells, `run` goes on without a word."""
        container = self.start("gone", None)
        self.guard.loader("attach", "--container", container.name)
        links = len(os.listdir(f"{self.guard.bpffs}/links"))
        number = os.stat(self.cgroup(container)).st_ino
        container.delete()
        self.assertFalse(os.path.exists(self.cgroup(container)))
        self.assertEqual(self.guard.json("status")["gone"]["cgroups"], [number])
        connection, latch, _ = self.latched(Shape(), "tcp")  # the others are held as before
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.refused(connection, latch, "clear")
        self.guard.said.seek(0)
        self.assertEqual(self.guard.said.read(), "")
        self.guard.loader("detach", "--gone")
        status = self.guard.json("status")
        self.assertEqual((status["gone"]["cgroups"], status["cgroups"]),
                         ([], [self.cgroup(self.latched_one)]))
        self.assertLess(len(os.listdir(f"{self.guard.bpffs}/links")), links)


class HostNetwork(ContainerCase):
    """The containers have the host's network, and its IPsec."""

    inside = True

    def test_ipv4(self):
        self.held(socket.AF_INET)

    def test_ipv6(self):
        self.held(socket.AF_INET6)

    def test_restart(self):
        self.restarted()


class NewNamespace(unittest.TestCase):
    """A guarded process in a network namespace of its own, without a name and without a connection;
    `run` knows only its own so far.  Its SAs come into the SA table when it is guarded."""

    def setUp(self):
        self.assertEqual(run("ip", "netns").stdout, "")
        self.cgroup = f"{cgroup2_mount()}/clatch-new-namespace"
        self.bpffs = "/sys/fs/bpf/clatch-new-namespace"
        os.mkdir(self.cgroup)
        self.addCleanup(os.rmdir, self.cgroup)
        run(LOADER, "load", "--bpffs", self.bpffs)
        self.addCleanup(run, LOADER, "unload", "--bpffs", self.bpffs)
        self.end_at_cleanup(subprocess.Popen([LOADER, "run", "--bpffs", self.bpffs],
                                             stderr=subprocess.DEVNULL))
        wait_for("run to take over", lambda: json.loads(run(
            LOADER, "status", "--json", "--bpffs", self.bpffs).stdout)["daemon"])

    def end_at_cleanup(self, process):
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

    def spis(self):
        """Of the SA table, in hexadecimal."""
        dump = json.loads(run("bpftool", "-j", "map", "dump", "pinned",
                              f"{self.bpffs}/clatch_sas").stdout)
        return ["".join(byte[2:] for byte in entry["key"][24:28]) for entry in dump]

    def test_sas(self):
        process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.end_at_cleanup(process)
        wait_for("its namespace", lambda: os.readlink(f"/proc/{process.pid}/ns/net") !=
                 os.readlink("/proc/self/ns/net"))
        run("nsenter", "-t", process.pid, "-n", "ip", "xfrm", "state", "add", "src", "10.1.1.1",
            "dst", "10.1.1.2", "proto", "esp", "spi", "0x77665501", "mode", "transport", "aead",
            "rfc4106(gcm(aes))", "0x" + "11" * 20, "128")
        with open(f"{self.cgroup}/cgroup.procs", "w", encoding="utf-8") as procs:
            procs.write(str(process.pid))
        self.assertEqual(self.spis(), [])
        run(LOADER, "attach", "--cgroup", self.cgroup, "--bpffs", self.bpffs)
        wait_for("its SA in the SA table", lambda: self.spis() == ["77665501"], 60)


if __name__ == "__main__":
    unittest.main(verbosity=2)
