#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Cgroups by process, unit and container; and the programs of others on the same cgroups."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

from native import BPFFS, HOOKS, LOADER, PREFIX, Case, must, run, set_up_module
from guarded import GuardedCase

PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "program"
sys.path.insert(0, str(PROGRAM))
from container import Container, cgroup2_alone  # pylint: disable=wrong-import-position

setUpModule = set_up_module  # pylint: disable=invalid-name


class Finding(Case):
    def sleeper(self, cgroup):
        """A process in it; its number."""
        process = subprocess.Popen(["sleep", "infinity"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        with open(f"{cgroup}/cgroup.procs", "w", encoding="utf-8") as procs:
            procs.write(str(process.pid))
        return process

    def nested(self, name="nested"):
        path = f"{self.cgroup}/{name}"
        os.mkdir(path)
        self.addCleanup(lambda: os.path.exists(path) and os.rmdir(path))
        return path

    def test_process(self):
        nested = self.nested()
        pid = self.sleeper(nested).pid
        self.ok("load", "--pid", pid)
        self.assertEqual(self.status()["cgroups"], [nested])
        self.fails(1, "already attached", "attach", "--pid", pid)
        self.ok("attach", "--pid", pid, "--ensure")
        self.ok("detach", "--pid", pid)
        self.assertEqual(self.status()["cgroups"], [])
        self.fails(1, "not attached", "detach", "--pid", pid)

    def test_unit_by_the_tree(self):
        """No systemd is asked: the unit is one that none knows."""
        nested = self.nested(f"{PREFIX}.service")
        self.loader("load")  # warns that nothing is guarded
        self.ok("attach", "--unit", f"{PREFIX}.service", wrap=without_systemd())
        self.assertEqual(self.status()["cgroups"], [nested])
        self.ok("detach", "--unit", PREFIX, wrap=without_systemd())
        self.assertEqual(self.status()["cgroups"], [])

    def test_what_is_not_found(self):
        self.load()
        for status, option, name, text in [
            (2, "--pid", "0", "not the number of a process"),
            (1, "--pid", "2000000000", "there is no process 2000000000 here"),
            (1, "--unit", f"{PREFIX}-none", f"{PREFIX}-none.service"),
            (2, "--unit", "a.timer", "expected NAME.service"),
            (1, "--container", f"{PREFIX}-none", "/run/crun, /run/runc"),
            (2, "--container", "*", "not the name or id"),
        ]:
            for verb in "attach", "detach":
                with self.subTest(verb=verb, option=option, name=name):
                    self.fails(status, text, verb, option, name)
                    self.assertEqual(self.status()["cgroups"], [self.cgroup])

    def test_ensure(self):
        """What is guarded already, be it from above, is left as it is; the rest is attached."""
        nested, other = self.nested(), self.make_cgroup("b")
        self.load("--dev", "c0")
        words = ["--cgroup", nested, "--cgroup", self.cgroup, "--cgroup", other,
                 "--dev", "c0", "--dev", "c1"]
        self.fails(1, "already attached", "attach", *words)
        self.ok("attach", "--ensure", *words)
        status = self.status()
        self.assertEqual(set(status["cgroups"]), {self.cgroup, other})
        self.assertEqual(status["devices"], ["c0", "c1"])
        self.ok("attach", "--ensure", *words)
        similar = self.cgroup + "x"  # not below, though its name begins so
        os.mkdir(similar)
        self.addCleanup(os.rmdir, similar)
        self.ok("attach", "--ensure", "--cgroup", similar)
        self.assertEqual(len(self.cgroup_programs(similar)), HOOKS)

    def test_cgroups_made_later(self):
        self.load()
        shown = must("bpftool", "-j", "cgroup", "show", self.nested(), "effective")
        self.assertEqual(len([p for p in json.loads(shown) if p["name"].startswith("clatch_")]),
                         HOOKS)


def without_systemd():
    """For wrap: where systemd runs, it is not asked."""
    return ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o mode=755 tmpfs /run/systemd && '
            'mount -t tmpfs tmpfs /run/dbus; exec "$0" "$@"']


class Others(GuardedCase):
    """Their programs on the same cgroup go on, before and after; here one that drops all."""

    def setUp(self):
        super().setUp()
        self.pin = f"{BPFFS}/{PREFIX}-drop"
        must("clang", "-O2", "-g", "-target", "bpf", "-I",
             f"/usr/include/{must('gcc', '-print-multiarch').strip()}", "-c",
             PROGRAM / "drop.bpf.c", "-o", self.file("", "drop.o"))
        must("bpftool", "prog", "load", f"{self.files.name}/drop.o", self.pin)
        self.addCleanup(os.unlink, self.pin)

    def foreign(self, verb, cgroup, *flags):
        must("bpftool", "cgroup", verb, cgroup, "egress", "pinned", self.pin, *flags)

    def passes(self):
        """Does what a process of the cgroup sends leave?"""
        import socket
        with self.guarded(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"hello", (self.PEER, 5000))
                return True
            except PermissionError:
                return False

    def test_non_link(self):
        self.assertTrue(self.passes())
        self.foreign("attach", self.cgroup, "multi")
        self.load()
        self.assertFalse(self.passes())
        self.ok("detach", "--cgroup", self.cgroup)
        self.assertFalse(self.passes())
        self.ok("attach", "--cgroup", self.cgroup)
        self.foreign("detach", self.cgroup)
        self.assertTrue(self.passes())
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)
        self.foreign("attach", self.cgroup, "multi")  # and one that comes after ours
        self.assertFalse(self.passes())
        self.foreign("detach", self.cgroup)

    def test_links_of_somebody_else(self):
        self.ok("load", "--cgroup", self.cgroup, bpffs=self.dir + "-2")
        self.load()
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), 2 * HOOKS)
        self.ok("unload")
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)

    def test_exclusive(self):
        """What is there alone, or gives way to those below, is not pushed aside: it is an error."""
        below = f"{self.cgroup}/below"
        os.mkdir(below)
        self.addCleanup(os.rmdir, below)
        self.loader("load")
        for flags, text in ([], "allows no others"), (["override"], "would not run here any more"):
            with self.subTest(flags=flags):
                self.foreign("attach", self.cgroup, *flags)
                self.fails(1, text, "attach", "--cgroup", below)
                self.fails(1, "allows no others", "attach", "--cgroup", self.cgroup)
                self.assertFalse(self.passes())
                self.assertEqual(self.cgroup_programs(below), [])
                self.foreign("detach", self.cgroup)


class Veths(Case):
    """Whose veth: of a process, in a network namespace that takes this one for its gateway."""

    def setUp(self):
        super().setUp()
        self.inner = f"{self.netns}-in"
        must("ip", "netns", "add", self.inner)
        self.addCleanup(must, "ip", "netns", "del", self.inner)
        # the indexes of the two ends, of which each namespace has one, are not the same
        self.inside("ip", "link", "add", "v0", "index", "40", "type", "veth", "peer", "name", "v1",
                    "index", "50", "netns", self.inner)
        self.loader("load")  # warns that nothing is guarded

    def sleeper(self, netns):
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{netns}", "sleep", "infinity"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        own = os.stat("/proc/self/ns/net").st_ino
        until = time.monotonic() + 10  # nsenter takes a moment to be there
        while os.stat(f"/proc/{process.pid}/ns/net").st_ino == own and time.monotonic() < until:
            time.sleep(0.01)
        return str(process.pid)

    def test_of_a_process(self):
        pid = self.sleeper(self.inner)
        self.ok("attach", "--pid", pid, "--uplink", "c0")
        status = self.status()
        self.assertEqual((status["veths"], status["uplinks"], status["cgroups"]),
                         (["v0"], ["c0"], []))

    def test_another_device_of_that_index(self):
        """The veth's other end is in a third namespace; here its index is another veth's."""
        self.inside("ip", "link", "del", "v0")
        third = f"{self.netns}-3"
        must("ip", "netns", "add", third)
        self.addCleanup(must, "ip", "netns", "del", third)
        must("ip", "-n", third, "link", "add", "v0", "index", "40", "type", "veth", "peer", "name",
             "v1", "index", "50", "netns", self.inner)
        self.inside("ip", "link", "add", "w0", "index", "40", "type", "veth", "peer", "w1")
        self.fails(1, "no veth in this network namespace", "attach", "--pid",
                   self.sleeper(self.inner), "--uplink", "c0")

    def test_what_is_not_found(self):
        self.fails(1, "guard it without --uplink", "attach", "--pid", self.sleeper(self.netns),
                   "--uplink", "c0")
        self.fails(2, "not the number of a process", "attach", "--pid", "x", "--uplink", "c0")
        self.fails(1, "Couldn't find the veth of container 'none-such'", "attach", "--container",
                   "none-such", "--uplink", "c0")
        self.assertEqual(self.status()["uplinks"], [])


class Hook(Case):
    """clatch-loader hook, called by crun."""

    def setUp(self):
        super().setUp()
        place = tempfile.TemporaryDirectory()
        self.place = place.name
        self.addCleanup(place.cleanup)

    def container(self, name, latch):
        made = Container(f"{PREFIX}-{name}", self.place, LOADER, self.dir, latch,
                         netns="new", wrap=cgroup2_alone())
        self.addCleanup(made.close)
        return made

    def test_must(self):
        container = self.container("must", "must")
        for load, text in (False, "Nothing is loaded"), (True, None):
            if load:
                self.loader("load")
            said = container.start()
            if text:
                self.assertIn(text, said)
                self.assertIn("is not to start without latches", said)
        self.assertIsNone(said)
        cgroup = f"{os.path.dirname(self.cgroup)}/{container.name}"
        self.assertEqual(self.status()["cgroups"], [cgroup])
        self.ok("detach", "--container", container.name)
        self.ok("attach", "--container", container.name)
        self.assertEqual(self.status()["cgroups"], [cgroup])
        container.delete()  # and poststop clears up
        status = self.status()
        self.assertEqual((status["cgroups"], status["gone"]["cgroups"]), ([], []))
        self.fails(1, "/run/crun", "attach", "--container", container.name)

    def test_try_and_none(self):
        self.assertIsNone(self.container("try", "try").start())
        self.loader("load")
        self.assertIsNone(self.container("none", None).start())
        self.assertEqual(self.status()["cgroups"], [])
        wrong = self.container("wrong", "yes")
        self.assertIn("expected must or try", wrong.start())

    def test_states(self):
        self.load()
        for state, status, text in [
            ("", 1, "in JSON"), ("{", 1, "in JSON"), ("[]", 1, "in JSON"),
            ('{"id":"x","pid":1}', 0, ""),
            ('{"id":"x","annotations":{"clatch.latch":"must"}}', 1, "no pid"),
            ('{"id":"x","annotations":{"clatch.latch":null}}', 1, "expected must or try"),
            ('{"id":"x","pid":2000000000,"annotations":{"clatch.latch":"must"}}', 1,
             "there is no process"),
            ('{"id":"x","pid":2000000000,"annotations":{"clatch.latch":"try"}}', 0,
             "starts without latches"),
        ]:
            with self.subTest(state=state):
                done = run(LOADER, "hook", "--bpffs", self.dir, input=state)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(text, done.stderr)
                self.assertEqual(self.status()["cgroups"], [self.cgroup])


if __name__ == "__main__":
    unittest.main(verbosity=2)
