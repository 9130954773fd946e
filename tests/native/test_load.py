#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""load and unload: what they make, what they leave, and loads that end half-way."""

import json
import os
import random
import signal
import struct
import subprocess
import tempfile
import time
import unittest

from native import BPFFS, HOOKS, Case, LOADER, REASONS, hex_bytes, must, run, set_up_module

setUpModule = set_up_module  # pylint: disable=invalid-name


class Loading(Case):
    def test_load_status_unload(self):
        self.load("--dev", "c0")
        self.assertEqual(os.stat(self.dir).st_mode & 0o7777, 0o700)
        status = self.status()
        self.assertEqual(status["counters"], dict.fromkeys(REASONS, 0))
        self.assertEqual(list(status["counters"]), REASONS)
        self.assertEqual(status["kernel"]["release"], os.uname().release)
        self.assertIs(status["kernel"]["btf"], True)
        self.assertIn(status["kernel"]["plain_loads"], [True, False])
        del status["counters"], status["kernel"]
        self.assertEqual(status, {
            "loaded": True, "mode": "enforce", "cgroups": [self.cgroup], "devices": ["c0"],
            "veths": [], "uplinks": [],
            "gone": {"cgroups": [], "devices": [], "veths": [], "uplinks": []}, "latches": 0, "listeners": 0, "broken": 0,
            "max_latches": 65536, "rules": 0, "daemon": False, "vici": None, "kept_back": 0})
        self.assertEqual(sorted(self.cgroup_programs(self.cgroup)), sorted([
            "clatch_ingress", "clatch_egress", "clatch_sockops", "clatch_connect4",
            "clatch_connect6", "clatch_setsockopt",
            "clatch_getsockopt", "clatch_sock_release"]))
        self.assertEqual(self.filters("c0", "ingress"), ["clatch_tc_ingress"])
        self.assertEqual(self.filters("c0", "egress"), ["clatch_tc_egress"])
        self.ok("unload")
        self.nothing_is_left()
        self.fails(1, f"Nothing is loaded at {self.dir}", "unload")

    def test_status_text(self):
        self.load("--audit")
        text = self.ok("status")
        for part in [self.dir, "audit", self.cgroup, "0 of at most 65536", "not running",
                     "table-full"]:
            self.assertIn(part, text)

    def test_status_when_nothing_is_loaded(self):
        done = self.loader("status", "--json")
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertEqual(json.loads(done.stdout), {"loaded": False})
        done = self.loader("status")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("Nothing is loaded", done.stderr)

    def test_output_that_cannot_be_written(self):
        self.load()
        for words in [["status"], ["list"], ["features"]]:
            with self.subTest(words=words), open("/dev/full", "wb") as full:
                done = subprocess.run([LOADER, *words, "-j", "--bpffs", self.dir], stdout=full,
                                      stderr=subprocess.PIPE, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn("No space left on device", json.loads(done.stderr)["error"])

    def test_settings(self):
        self.load("--audit", "--max-latches=1000")
        status = self.status()
        self.assertEqual((status["mode"], status["max_latches"]), ("audit", 1000))
        shown = json.loads(must("bpftool", "-j", "map", "show", "pinned",
                                f"{self.dir}/clatch_latches"))
        self.assertEqual(shown["max_entries"], 1000)
        self.assertEqual(self.settings(), [1])
        self.ok("unload")
        self.load()
        self.assertEqual(self.settings(), [0])

    def settings(self):
        """The constants that the programs were verified with."""
        program = json.loads(must("bpftool", "-j", "prog", "show", "pinned",
                                  f"{self.dir}/progs/clatch_ingress"))
        for number in program["map_ids"]:
            shown = json.loads(must("bpftool", "-j", "map", "show", "id", number))
            if shown["name"].startswith(".rodata.setti"):
                dump = json.loads(must("bpftool", "-j", "map", "dump", "id", number))
                data = bytes(int(b, 16) for b in dump[0]["value"])
                return list(struct.unpack(f"<{len(data) // 4}I", data))
        return None

    def test_load_twice(self):
        self.load()
        before = sorted(os.listdir(self.dir)), self.status()
        self.fails(1, f"Already loaded at {self.dir}", "load", "--cgroup", self.cgroup,
                   "--dev", "c0")
        self.assertEqual((sorted(os.listdir(self.dir)), self.status()), before)
        self.assertEqual(self.filters("c0", "ingress"), [])

    def test_load_without_targets(self):
        done = self.loader("load", "--json")
        self.assertEqual(done.returncode, 0)
        self.assertIn("Nothing is guarded yet", json.loads(done.stderr)["warning"])
        self.assertEqual(self.status()["cgroups"], [])

    def test_named_twice(self):
        self.ok("load", "--cgroup", self.cgroup, "--cgroup", self.cgroup + "/.", "--dev", "c0",
                "--dev=c0")
        self.assertEqual(self.status()["cgroups"], [self.cgroup])
        self.assertEqual(self.filters("c0", "egress"), ["clatch_tc_egress"])

    def test_instances_side_by_side(self):
        other = self.dir + "-2"
        self.load("--dev", "c0")
        self.ok("load", "--cgroup", self.cgroup, "--dev", "c0", bpffs=other)
        self.assertEqual(self.filters("c0", "ingress"), ["clatch_tc_ingress"] * 2)
        self.ok("unload")
        self.assertEqual(self.filters("c0", "ingress"), ["clatch_tc_ingress"])
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)
        status = json.loads(self.ok("status", "--json", bpffs=other))
        self.assertEqual((status["cgroups"], status["devices"]), ([self.cgroup], ["c0"]))
        self.ok("unload", bpffs=other)
        # the second found the first's qdisc; it was not its own to remove
        self.inside("tc", "qdisc", "del", "dev", "c0", "clsact")
        self.nothing_is_left()

    def test_directory_that_was_there(self):
        os.mkdir(self.dir, 0o755)
        os.chmod(self.dir, 0o755)
        self.inside("tc", "qdisc", "add", "dev", "c0", "ingress")
        self.fails(1, "ingress qdisc", "load", "--dev", "c0")
        self.assertEqual(os.stat(self.dir).st_mode & 0o7777, 0o755)
        self.assertEqual(os.listdir(self.dir), [])
        self.load()
        self.assertEqual(os.stat(self.dir).st_mode & 0o7777, 0o700)

    def test_directory_names(self):
        self.ok("load", "--cgroup", self.cgroup, bpffs=self.dir + "/")
        self.assertEqual(self.status()["cgroups"], [self.cgroup])
        name = os.path.basename(self.dir)
        done = run(LOADER, "--bpffs", name, "status", "-j", cwd=BPFFS)
        self.assertEqual(json.loads(done.stdout)["cgroups"], [self.cgroup])
        done = run(LOADER, "unload", f"--bpffs=./{name}", cwd=BPFFS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.nothing_is_left()

    def test_directory_by_other_names(self):
        for name in [self.dir + "/.", f"{tempfile.mkdtemp()}/link"]:
            with self.subTest(name=name):
                os.mkdir(self.dir)
                if name.endswith("link"):
                    os.symlink(self.dir, name)
                    self.addCleanup(run, "rm", "-r", os.path.dirname(name))
                self.ok("load", "--cgroup", self.cgroup, bpffs=name)
                self.ok("unload", bpffs=name)
                self.nothing_is_left()

    def test_unload_removes_only_pins(self):
        """Not files with names like ours elsewhere, nor another's directories and pins."""
        with tempfile.TemporaryDirectory() as place:
            os.mkdir(f"{place}/progs")
            with open(f"{place}/clatch_notes", "w", encoding="utf-8"):
                pass
            self.fails(1, "Nothing is loaded", "unload", bpffs=place)
            self.assertEqual(sorted(os.listdir(place)), ["clatch_notes", "progs"])
        for inner in ["clatch_inner", "another"]:
            os.makedirs(f"{self.dir}/{inner}")
        self.fails(1, "Nothing is loaded", "unload")
        self.load()
        pin = f"{self.dir}/not_clatch_x"
        must("bpftool", "map", "create", pin, "type", "array", "key", "4", "value", "4",
             "entries", "1", "name", "other")
        self.ok("unload")
        self.assertEqual(sorted(os.listdir(self.dir)), ["another", "clatch_inner", "not_clatch_x"])
        os.unlink(pin)
        for inner in ["clatch_inner", "another", ""]:
            os.rmdir(f"{self.dir}/{inner}")

    def test_root_of_a_bpffs(self):
        with tempfile.TemporaryDirectory() as place:
            script = (f"mount -t bpf bpf {place} && ls -A {place} >{place}.before && "
                      f"{LOADER} load --bpffs {place} && {LOADER} status -j --bpffs {place} && "
                      f"{LOADER} unload --bpffs {place} && ls -A {place} >{place}.after")
            self.addCleanup(os.unlink, f"{place}.before")
            self.addCleanup(os.unlink, f"{place}.after")
            done = run("unshare", "-m", "sh", "-c", script)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIs(json.loads(done.stdout)["loaded"], True)
            self.assertEqual(must("cat", f"{place}.after"), must("cat", f"{place}.before"))
        self.nothing_is_left()

    def test_latches_are_counted(self):
        self.load()
        path = f"{self.dir}/clatch_latches"
        shown = json.loads(must("bpftool", "-j", "map", "show", "pinned", path))
        for latch in range(3):  # id 0 is one that is being made
            key = struct.pack("<Q", latch + 1).ljust(shown["bytes_key"], b"\0")
            value = struct.pack("<Q", latch).ljust(shown["bytes_value"], b"\0")
            must("bpftool", "map", "update", "pinned", path, "key", *hex_bytes(key), "value",
                 *hex_bytes(value))
        self.assertEqual(self.status()["latches"], 2)

    def test_daemon(self):
        self.load()
        pid = os.getpid()
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            start = int(file.read().rsplit(")", 1)[1].split()[19])
        self.write_meta(pid=pid, start=start)
        self.assertIs(self.status()["daemon"], True)
        self.assertIs(self.status()["vici"], None)
        for ike, connected, text in (1, False, "not reachable since"), (2, True, "connected since"):
            self.write_meta(pid=pid, start=start, ike=ike)
            vici = self.status()["vici"]
            self.assertIs(vici["connected"], connected)
            self.assertRegex(self.ok("status"), rf"IKE daemon +{text} {vici['since']}\n")
        self.write_meta(pid=pid, start=start + 1, ike=2)
        self.assertIs(self.status()["vici"], None)
        self.assertRegex(self.ok("status"), r"IKE daemon +not asked\n")
        self.assertIs(self.status()["daemon"], False)
        self.write_meta(pid=4194305, start=start)
        self.assertIs(self.status()["daemon"], False)


class HalfWay(Case):
    def test_load_that_fails_leaves_nothing(self):
        self.inside("tc", "qdisc", "add", "dev", "c1", "ingress")
        for words, text in [
            (["--cgroup", self.cgroup, "--cgroup", "/no/such"], "No such file or directory"),
            (["--cgroup", self.cgroup, "--dev", "c0", "--dev", "nope"], "no such device"),
            (["--cgroup", self.cgroup, "--dev", "c0", "--dev", "c1"],
             "Couldn't attach to device 'c1': it has an ingress qdisc"),
        ]:
            with self.subTest(words=words):
                self.fails(1, text, "load", *words)
                self.nothing_is_left()

    def test_cgroup_that_allows_no_other_program(self):
        self.load()
        child = f"{self.make_cgroup('b')}/child"
        os.mkdir(child)
        self.addCleanup(os.rmdir, child)
        must("bpftool", "cgroup", "attach", os.path.dirname(child), "egress", "pinned",
             f"{self.dir}/progs/clatch_egress")
        self.fails(1, f"Couldn't attach to cgroup '{child}': not permitted", "attach",
                   "--dev", "c0", "--cgroup", child)
        self.assertEqual(self.status()["cgroups"], [self.cgroup])
        self.assertEqual(len(os.listdir(f"{self.dir}/links")), HOOKS)
        self.assertNotIn("clsact", self.qdiscs("c0"))

    def test_what_a_killed_load_left(self):
        self.load("--dev", "c0")
        os.unlink(f"{self.dir}/clatch_meta")
        self.assertEqual(json.loads(self.loader("status", "-j").stdout), {"loaded": False})
        self.fails(1, "did not get to its end", "attach", "--dev", "c1")
        done = self.loader("load", "--cgroup", self.cgroup, "--dev", "c0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("warning: Removing what", done.stderr)
        self.assertEqual(self.filters("c0", "ingress"), ["clatch_tc_ingress"])
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)
        os.unlink(f"{self.dir}/clatch_meta")
        self.ok("unload")
        self.nothing_is_left()

    def test_what_a_killed_attach_left(self):
        self.load("--dev", "c0")
        number = os.stat(self.cgroup).st_ino
        os.unlink(f"{self.dir}/links/{number}_clatch_egress")
        self.inside("tc", "filter", "del", "dev", "c0", "egress")
        self.assertEqual(self.status()["gone"]["devices"], ["c0"])
        self.ok("attach", "--cgroup", self.cgroup, "--dev", "c0")
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)
        for side in ["ingress", "egress"]:
            self.assertEqual(self.filters("c0", side), [f"clatch_tc_{side}"])
        self.ok("unload")
        self.nothing_is_left()

    def test_killed_at_any_time(self):
        for _ in range(15):
            for verb in (["load", "--cgroup", self.cgroup, "--dev", "c0"], ["unload"]):
                words = ["nsenter", f"--net=/run/netns/{self.netns}", LOADER, *verb, "--bpffs",
                         self.dir]
                with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
                    time.sleep(random.random() * 0.6)
                    process.send_signal(signal.SIGKILL)
        done = self.loader("load", "--cgroup", self.cgroup, "--dev", "c0")
        self.assertIn(done.returncode, [0, 1], done.stderr)
        self.assertEqual(self.filters("c0", "ingress"), ["clatch_tc_ingress"])
        self.assertEqual(self.filters("c0", "egress"), ["clatch_tc_egress"])
        self.assertEqual(self.status()["devices"], ["c0"])
        self.ok("unload")
        # killed between making the qdisc and recording that, a load leaves it, empty
        run("nsenter", f"--net=/run/netns/{self.netns}", "tc", "qdisc", "del", "dev", "c0",
            "clsact")
        self.nothing_is_left()

    def test_at_the_same_time(self):
        words = ["nsenter", f"--net=/run/netns/{self.netns}", LOADER, "load", "--cgroup",
                 self.cgroup, "--dev", "c0", "--bpffs", self.dir]
        loads = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        errors = sorted(process.communicate()[1] for process in loads)
        self.assertEqual(errors[0], "")
        for error in errors[1:]:
            self.assertIn("Already loaded", error)
        self.assertEqual(self.filters("c0", "ingress"), ["clatch_tc_ingress"])
        words[3:] = ["unload", "--bpffs", self.dir]
        unloads = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        errors = sorted(process.communicate()[1] for process in unloads)
        self.assertEqual(errors[0], "")
        for error in errors[1:]:
            self.assertIn("Nothing is loaded", error)
        self.nothing_is_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
