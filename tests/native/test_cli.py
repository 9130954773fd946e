#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The command line on the running kernel: load, attach, status, unload, and every error.

Needs root, a cgroup2 hierarchy and a bpffs. Guards only cgroups, devices and pins that it
makes itself; traffic is in clear, on loopback, in network namespaces of its own.
"""

import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
LOADER = os.environ.get("CLATCH_LOADER", os.path.join(HERE, "../../build/clatch-loader"))
LOADER = os.path.realpath(LOADER)
BPFFS = "/sys/fs/bpf"
PREFIX = f"clatch-test-{os.getpid()}"
REASONS = ["clear", "sa-mismatch", "peer-id", "identity-unknown", "unknown-sa", "policy",
           "broken", "table-full"]
META = "<QIIIIQ"  # struct clatch_meta
MAGIC, LAYOUT = 0x68637461632e3031, 1


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


def our_objects():
    """Names and ids of every program and map of clatch in the kernel."""
    found = set()
    for kind in ("prog", "map"):
        for thing in json.loads(must("bpftool", "-j", kind, "show")):
            if thing.get("name", "").startswith("clatch"):
                found.add((kind, thing["id"], thing["name"]))
    return found


def setUpModule():  # pylint: disable=invalid-name
    if os.geteuid():
        raise AssertionError("these tests need root")
    if not os.access(LOADER, os.X_OK):
        raise AssertionError(f"no {LOADER}: run make first")
    if not mounts("cgroup2") or BPFFS not in mounts("bpf"):
        raise AssertionError(f"these tests need cgroup2, and a bpffs at {BPFFS}")


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
        """The kernel frees programs and maps a while after their last reference."""
        until = time.monotonic() + 10
        while our_objects() - self.objects and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual(our_objects() - self.objects, set())

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

    def write_meta(self, magic=MAGIC, layout=LAYOUT, audit=0, pid=0, start=0):
        value = struct.pack(META, magic, layout, audit, 65536, pid, start)
        must("bpftool", "map", "update", "pinned", f"{self.dir}/clatch_meta", "key",
             *hex_bytes(bytes(4)), "value", *hex_bytes(value))


class Words(unittest.TestCase):
    """What needs no root: the command line itself."""

    def test_wrong_words(self):
        for words, text in [
            (["bogus"], "Unknown command 'bogus'"),
            (["--bogus", "load"], "Unknown option '--bogus'"),
            (["load", "--bogus"], "Unknown option '--bogus'"),
            (["load", "-x"], "Unknown option '-x'"),
            (["load", "--audit=yes"], "Option '--audit' takes no value"),
            (["load", "more"], "Unexpected argument 'more'"),
            (["load", "--", "--audit"], "Unexpected argument '--audit'"),
            (["load", "--cgroup"], "Option '--cgroup' needs a value: --cgroup PATH"),
            (["load", "--cgroup", "--audit"], "Option '--cgroup' needs a value"),
            (["load", "--cgroup="], "Option '--cgroup' needs a PATH"),
            (["load", "--bpffs", ""], "Option '--bpffs' needs a DIR"),
            (["load", "--max-latches"], "Option '--max-latches' needs a value"),
            (["unload", "--cgroup", "/x"], "Unknown option '--cgroup'"),
            (["attach"], "give --cgroup or --dev"),
            (["detach"], "give --cgroup, --dev or --gone"),
        ]:
            with self.subTest(words=words):
                done = run(LOADER, *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(text, done.stderr)
                done = run(LOADER, "--json", *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(text, json.loads(done.stderr)["error"])

    def test_wrong_numbers(self):
        for number in ["0", "16777217", "12x", "x", "", " 1", "+1", "-1", "1.5", "0x10",
                       "99999999999999999999999"]:
            with self.subTest(number=number):
                done = run(LOADER, "load", "--max-latches", number, "--json")
                self.assertEqual(done.returncode, 2)
                self.assertEqual(json.loads(done.stderr)["error"],
                                 f"Wrong number '{number}' for --max-latches: "
                                 "must be from 1 to 16777216")

    def test_names_that_are_not_utf8(self):
        """Errors stay JSON: each byte of no character is a question mark."""
        for name, shown in [(b"\xff\xc3", "??"), (b"\xed\xa0\x80", "???"), ("é\U0001f512".encode(),
                            "é\U0001f512"), (b"\xf8\x80", "??"), (b"\xc0\xaf", "??")]:
            with self.subTest(name=name):
                done = subprocess.run([LOADER, "-j", name], capture_output=True, check=False)
                self.assertEqual(json.loads(done.stderr.decode("utf-8")),
                                 {"error": f"Unknown command '{shown}'"})

    def test_no_command(self):
        done = run(LOADER)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("Usage:", done.stderr)
        done = run(LOADER, "-j")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(json.loads(done.stderr), {"error": "No command"})

    def test_help(self):
        usage = must(LOADER, "help")
        self.assertEqual(must(LOADER, "--help"), usage)
        verbs = re.findall(r"^  ([a-z]+)", usage, re.M)
        self.assertGreater(len(verbs), 9)
        for verb in set(verbs) - {"help"}:
            with self.subTest(verb=verb):
                text = must(LOADER, verb, "--help")
                self.assertIn(f"Usage: clatch-loader {verb}", text)
                self.assertIn("--bpffs DIR", text)
                self.assertEqual(must(LOADER, "help", verb), text)
        for option in ["--cgroup PATH", "--dev NAME", "--audit", "--max-latches N"]:
            self.assertIn(option, must(LOADER, "load", "-h"))

    def test_version(self):
        self.assertRegex(must(LOADER, "--version"), r"^clatch-loader \d+\.\d+\.\d+\n$")


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
            "gone": {"cgroups": [], "devices": []}, "latches": 0, "max_latches": 65536,
            "daemon": False})
        self.assertEqual(sorted(self.cgroup_programs(self.cgroup)), sorted([
            "clatch_ingress", "clatch_egress", "clatch_sockops", "clatch_connect4",
            "clatch_connect6", "clatch_sock_release"]))
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
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), 6)
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
        self.write_meta(pid=pid, start=start + 1)
        self.assertIs(self.status()["daemon"], False)
        self.write_meta(pid=4194305, start=start)
        self.assertIs(self.status()["daemon"], False)


class Attaching(Case):
    def test_attach_and_detach(self):
        other = self.make_cgroup("b")
        self.load()
        self.ok("attach", "--cgroup", other, "--dev", "c0", "--dev", "c1")
        status = self.status()
        self.assertEqual(set(status["cgroups"]), {self.cgroup, other})
        self.assertEqual(status["devices"], ["c0", "c1"])
        self.ok("detach", "--cgroup", self.cgroup, "--dev", "c0")
        status = self.status()
        self.assertEqual((status["cgroups"], status["devices"]), ([other], ["c1"]))
        self.assertEqual(self.cgroup_programs(self.cgroup), [])
        self.assertNotIn("clsact", self.qdiscs("c0"))
        self.ok("attach", "--dev", "c0")
        self.ok("unload")
        self.nothing_is_left()

    def test_twice_and_not_at_all(self):
        other = self.make_cgroup("b")
        self.load("--dev", "c0")
        for verb, words, text in [
            ("attach", ["--cgroup", self.cgroup], "already attached"),
            ("attach", ["--dev", "c0"], "already attached"),
            ("attach", ["--cgroup", other, "--dev", "c1", "--dev", "c0"], "already attached"),
            ("attach", ["--cgroup", other, "--dev", "nope"], "no such device"),
            ("detach", ["--cgroup", other], "not attached"),
            ("detach", ["--dev", "c1"], "not attached"),
            ("detach", ["--cgroup", self.cgroup, "--dev", "c1"], "not attached"),
            ("detach", ["--cgroup", self.cgroup, "--cgroup", other], "not attached"),
            ("detach", ["--cgroup", "/no/such"], "No such file or directory"),
        ]:
            with self.subTest(verb=verb, words=words):
                self.fails(1, text, verb, *words)
                status = self.status()
                self.assertEqual((status["cgroups"], status["devices"]), ([self.cgroup], ["c0"]))
                self.assertEqual(self.cgroup_programs(other), [])
                self.assertEqual(len(self.cgroup_programs(self.cgroup)), 6)
                self.assertNotIn("clsact", self.qdiscs("c1"))

    def test_nothing_loaded(self):
        for verb in ["attach", "detach"]:
            self.fails(1, "Nothing is loaded", verb, "--cgroup", self.cgroup)

    def test_many_devices(self):
        self.inside("sh", "-c", "for i in $(seq 33); do ip link add a$i type veth peer b$i; done")
        names = [f"{side}{i}" for i in range(1, 34) for side in "ab"]
        self.ok("load", *[f"--dev={name}" for name in names[:64]])
        self.assertEqual(self.status()["devices"], names[:64])
        self.fails(1, "no room for more devices", "attach", "--dev", names[64])
        self.ok("detach", "--dev", names[7])
        self.ok("attach", "--dev", names[64])
        self.ok("unload")
        self.fails(1, "Too many devices", "load", *[f"--dev={name}" for name in names])
        self.nothing_is_left()

    def test_cgroup_that_was_removed(self):
        other = self.make_cgroup("b")
        self.load()
        self.ok("attach", "--cgroup", other)
        number = os.stat(other).st_ino
        os.rmdir(other)
        status = self.status()
        self.assertEqual(status["cgroups"], [self.cgroup])
        self.assertEqual(status["gone"]["cgroups"], [number])
        self.assertIn(f"{number} (an id; removed since)", self.ok("status"))
        self.ok("detach", "--gone")
        self.assertEqual(self.status()["gone"], {"cgroups": [], "devices": []})
        self.assertEqual(len(os.listdir(f"{self.dir}/links")), 6)

    def test_device_that_was_removed(self):
        self.load("--dev", "c0", "--dev", "c1")
        index = json.loads(self.inside("ip", "-j", "link", "show", "c0"))[0]["ifindex"]
        self.inside("ip", "link", "del", "c0")
        self.assertEqual(self.status()["gone"]["devices"], ["c0", "c1"])
        # the same name and index again, and not ours: its qdisc stays
        self.inside("ip", "link", "add", "c0", "index", index, "type", "veth", "peer", "c1")
        self.inside("tc", "qdisc", "add", "dev", "c0", "clsact")
        self.assertEqual(self.status()["devices"], [])
        self.ok("detach", "--gone")
        self.assertIn("clsact", self.qdiscs("c0"))
        self.ok("attach", "--dev", "c0")
        self.assertEqual(self.status()["devices"], ["c0"])
        self.ok("unload")
        self.assertIn("clsact", self.qdiscs("c0"))

    def test_index_used_again_while_recorded(self):
        self.load("--dev", "c0")
        index = json.loads(self.inside("ip", "-j", "link", "show", "c0"))[0]["ifindex"]
        self.inside("ip", "link", "del", "c0")
        self.inside("ip", "link", "add", "c0", "index", index, "type", "veth", "peer", "c1")
        self.ok("attach", "--dev", "c0")
        self.assertEqual(self.status()["devices"], ["c0"])

    def test_device_that_was_renamed(self):
        self.load("--dev", "c0")
        self.inside("ip", "link", "set", "c0", "name", "d0")
        self.assertEqual(self.status()["devices"], ["d0"])
        self.ok("detach", "--dev", "d0")

    def test_device_elsewhere(self):
        self.load("--dev", "c0")
        self.assertEqual(json.loads(self.ok("status", "-j", netns=False))["devices"], ["c0"])
        self.fails(1, "another network namespace", "detach", "--dev", "c0", netns=False)
        done = self.loader("unload", netns=False)
        self.assertEqual(done.returncode, 0)
        self.assertIn("is in another network namespace", done.stderr)
        commands = re.findall(r"tc filter del dev c0 \w+ pref \d+", done.stderr)
        self.assertEqual(len(commands), 2)
        for command in commands:
            self.inside(*command.split())
        self.inside("tc", "qdisc", "del", "dev", "c0", "clsact")
        self.nothing_is_left()

    def add_foreign_filter(self, side):
        """A filter that is not this instance's, though it runs the same code."""
        other = self.dir + "-2"
        self.assertEqual(self.loader("load", bpffs=other).returncode, 0)
        self.inside("tc", "filter", "add", "dev", "c0", side, "pref", "7", "bpf",
                    "direct-action", "object-pinned", f"{other}/progs/clatch_tc_{side}")
        self.ok("unload", bpffs=other)

    def preferences(self, side):
        lines = json.loads(self.inside("tc", "-j", "filter", "show", "dev", "c0", side))
        return [f["pref"] for f in lines if "options" in f]

    def test_qdisc_that_was_there_stays(self):
        self.inside("tc", "qdisc", "add", "dev", "c0", "clsact")
        self.add_foreign_filter("ingress")
        self.load("--dev", "c0")
        self.assertEqual(self.preferences("ingress"), [6, 7])  # in front
        self.ok("unload")
        self.assertIn("clsact", self.qdiscs("c0"))
        self.assertEqual(self.preferences("ingress"), [7])
        self.assertEqual(self.preferences("egress"), [])
        self.inside("tc", "qdisc", "del", "dev", "c0", "clsact")

    def test_first_place(self):
        """Between filters of its kind there is room before preference 1; else it is refused."""
        self.load("--dev", "c0")
        program = f"{self.dir}/progs/clatch_tc_ingress"
        for device, protocol in [("c1", "all"), ("lo", "ip")]:
            self.inside("tc", "qdisc", "add", "dev", device, "clsact")
            self.inside("tc", "filter", "add", "dev", device, "ingress", "pref", "1", "protocol",
                        protocol, "handle", "77", "bpf", "direct-action", "object-pinned",
                        program)
        other = self.dir + "-2"
        self.fails(1, "a filter of preference 1", "load", "--dev", "lo", bpffs=other)
        self.ok("load", "--dev", "c1", bpffs=other)
        lines = json.loads(self.inside("tc", "-j", "filter", "show", "dev", "c1", "ingress"))
        handles = [f["options"]["handle"] for f in lines if "options" in f]
        self.assertEqual(len(handles), 2)
        self.assertEqual(handles[1], "0x4d")
        self.ok("unload", bpffs=other)
        self.inside("tc", "qdisc", "del", "dev", "c1", "clsact")
        self.inside("tc", "qdisc", "del", "dev", "lo", "clsact")

    def test_our_qdisc_stays_for_others_filters(self):
        self.load("--dev", "c0")
        self.add_foreign_filter("egress")
        self.ok("unload")
        self.assertEqual(self.preferences("egress"), [7])
        self.assertEqual(self.preferences("ingress"), [])
        self.inside("tc", "qdisc", "del", "dev", "c0", "clsact")


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
        self.assertEqual(len(os.listdir(f"{self.dir}/links")), 6)
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
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), 6)
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
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), 6)
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


class Refusing(Case):
    """Bad input and bad surroundings: a clear error, and nothing changed."""

    def tearDown(self):
        self.nothing_is_left()

    def test_targets(self):
        rows = [
            (["--cgroup", "/no/such"], "cgroup '/no/such': No such file or directory"),
            (["--cgroup", "/etc/passwd"], "cgroup '/etc/passwd': Not a directory"),
            (["--cgroup", "/etc"], "cgroup '/etc': it is not a cgroup"),
            (["--dev", "nope"], "device 'nope': no such device"),
            (["--dev", "much-too-long-a-name"], "device 'much-too-long-a-name'"),
        ]
        for words, text in rows:
            with self.subTest(words=words):
                self.fails(1, text, "load", *words)
                self.assertFalse(os.path.exists(self.dir))

    def test_cgroup_v1(self):
        v1 = mounts("cgroup")
        if not v1:
            self.skipTest("no cgroup v1 hierarchy is mounted")
        self.fails(1, f"it is a cgroup v1 path; the cgroup v2 hierarchy is mounted at "
                      f"{mounts('cgroup2')[0]}", "load", "--cgroup", v1[0])

    def test_bpffs(self):
        for path, text in [
            ("/tmp", "not on a BPF file system"),
            ("/tmp/clatch", "not on a BPF file system"),
            (f"{BPFFS}/no/such", "its parent directory does not exist"),
            (f"{BPFFS}/with.dot", "names on a BPF file system have no dot"),
            ("/etc/passwd", "Not a directory"),
            ("/" + "x" * 5000, "File name too long"),
        ]:
            with self.subTest(path=path):
                self.fails(1, text, "load", "--cgroup", self.cgroup, bpffs=path)

    def test_read_only_bpffs(self):
        with tempfile.TemporaryDirectory() as place:
            for path in [place, f"{place}/new"]:
                words = f"{LOADER} load --cgroup {self.cgroup} --bpffs {path}"
                for how in ["remount,ro", "remount,bind,ro"]:
                    done = run("unshare", "-m", "sh", "-c",
                               f"mount -t bpf bpf {place} && mount -o {how} {place} && {words}")
                    self.assertEqual(done.returncode, 1)
                    self.assertIn(f"'{path}' for pins: the BPF file system is mounted read-only",
                                  done.stderr)

    def test_no_btf(self):
        done = self.in_private("mount -t tmpfs none /sys/kernel/btf")
        self.assertIn("kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", done.stderr)

    def test_lockdown(self):
        if not os.path.isdir("/sys/kernel/security"):
            self.skipTest("no /sys/kernel/security to put a lockdown file in")
        done = self.in_private("mount -t tmpfs none /sys/kernel/security && echo 'none integrity "
                               "[confidentiality]' >/sys/kernel/security/lockdown")
        self.assertIn("the kernel is locked down", done.stderr)

    def in_private(self, script):
        """Tries to load in a mount namespace that @script has changed."""
        done = run("unshare", "-m", "sh", "-c", f"{script} && {LOADER} load --cgroup "
                                                f"{self.cgroup} --bpffs {self.dir}")
        self.assertEqual(done.returncode, 1, done.stderr)
        return done

    def test_not_root(self):
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        self.fails(1, "CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON missing; run as root", "load",
                   "--cgroup", self.cgroup, netns=False, wrap=nobody)
        self.load()
        for verb, words in [("status", []), ("unload", []), ("attach", ["--dev", "lo"]),
                            ("detach", ["--cgroup", self.cgroup])]:
            with self.subTest(verb=verb):
                self.fails(1, "not permitted", verb, *words, netns=False, wrap=nobody)
        self.assertEqual(self.status()["cgroups"], [self.cgroup])
        self.ok("unload")

    def test_missing_capability(self):
        for drop, text in [("-net_admin", "not permitted, CAP_NET_ADMIN missing"),
                           ("-sys_admin,-bpf", "not permitted, CAP_BPF missing"),
                           ("-sys_admin,-perfmon", "not permitted, CAP_PERFMON missing")]:
            wrap = ["setpriv", "--bounding-set", drop]
            self.fails(1, text, "load", "--cgroup", self.cgroup, netns=False, wrap=wrap)

    def test_missing_capability_to_change(self):
        """A part of the capabilities would do a part: rather nothing."""
        self.load("--dev", "c0")
        before = self.status()
        for drop, text in [("-net_admin", "CAP_NET_ADMIN"), ("-sys_admin,-bpf", "CAP_BPF"),
                           ("-all", "CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON")]:
            for verb, words in [("unload", []), ("attach", ["--dev", "c1"]), ("run", []),
                                ("detach", ["--cgroup", self.cgroup, "--dev", "c0"])]:
                with self.subTest(verb=verb, drop=drop):
                    enter = ["nsenter", f"--net=/run/netns/{self.netns}", "setpriv"]
                    self.fails(1, f"Couldn't {verb}: not permitted, {text} missing", verb, *words,
                               netns=False, wrap=[*enter, "--bounding-set", drop])
                    self.assertEqual(self.status(), before)
                    self.assertEqual(len(self.cgroup_programs(self.cgroup)), 6)
        self.ok("unload")

    def test_kernel_without_a_feature(self):
        """libbpf's answers replaced by those of a kernel that lacks something."""
        say = "int bpf_object__load(void *object) { (void)object; return -22; }\n"
        probe = "int libbpf_probe_bpf_%s(int what, void *opts) { (void)opts; return what != %d; }"
        for code, text in [
            (probe % ("map_type", 27), "this kernel has no ringbuf, needed to report events"),
            (probe % ("prog_type", 13), "this kernel has no sock_ops, needed to see TCP"),
            ("int libbpf_probe_bpf_helper(int type, int what, void *opts)"
             "{ (void)type; (void)opts; return what != 181; }", "this kernel has no loop"),
            ("", "Couldn't load the BPF programs: Invalid argument"),
        ]:
            with self.subTest(text=text):
                wrap = ["env", f"LD_PRELOAD={self.library(say + code)}",
                        "ASAN_OPTIONS=verify_asan_link_order=0"]
                self.fails(1, text, "load", "--cgroup", self.cgroup, wrap=wrap)
                self.assertFalse(os.path.exists(self.dir))

    def library(self, code):
        """Compiles a library to put before libbpf."""
        place = tempfile.mkdtemp()
        self.addCleanup(run, "rm", "-r", place)
        with open(f"{place}/before.c", "w", encoding="utf-8") as file:
            file.write(code)
        must("cc", "-shared", "-fPIC", "-o", f"{place}/before.so", f"{place}/before.c")
        return f"{place}/before.so"

    def test_another_version(self):
        self.load("--dev", "c0")
        self.write_meta(layout=7)
        text = f"The pins at {self.dir} have layout 7, this clatch-loader knows {LAYOUT}"
        for verb, words in [("status", []), ("unload", []), ("attach", ["--dev", "c1"]),
                            ("detach", ["--dev", "c0"]), ("load", ["--cgroup", self.cgroup])]:
            with self.subTest(verb=verb):
                self.fails(1, text, verb, *words)
        self.write_meta(magic=MAGIC + 1)
        self.fails(1, f"The pins at {self.dir} are not clatch's", "unload")
        self.write_meta()
        self.assertEqual(self.status()["devices"], ["c0"])
        self.ok("unload")

    def test_a_longer_record(self):
        """A later version's clatch_meta may be larger; its layout still is what is said."""
        os.mkdir(self.dir)
        path = f"{self.dir}/clatch_meta"
        must("bpftool", "map", "create", path, "type", "array", "key", "4", "value", "64",
             "entries", "1", "name", "clatch_meta")
        must("bpftool", "map", "update", "pinned", path, "key", *hex_bytes(bytes(4)), "value",
             *hex_bytes(struct.pack("<QI52x", MAGIC, 9)))
        self.fails(1, "have layout 9", "load", "--cgroup", self.cgroup)
        os.unlink(path)
        os.rmdir(self.dir)


class Features(unittest.TestCase):
    REQUIRED = {"btf", "kernel_memory", "cgroup2", "bpffs", "cgroup_skb", "sock_ops",
                "cgroup_sock_addr", "cgroup_sock", "sched_cls", "ringbuf", "sk_storage",
                "timer", "loop", "xfrm_netlink"}
    OPTIONAL = {"plain_loads", "esp4", "esp6"}

    def test_complete(self):
        done = run(LOADER, "features", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        answer = json.loads(done.stdout)
        self.assertIs(answer["complete"], True)
        features = {f["name"]: f for f in answer["features"]}
        self.assertEqual({n for n, f in features.items() if f["required"]}, self.REQUIRED)
        self.assertEqual(set(features) - self.REQUIRED, self.OPTIONAL)
        self.assertTrue(all(features[name]["available"] for name in self.REQUIRED))
        self.assertIn(features["cgroup2"]["detail"], mounts("cgroup2"))
        self.assertEqual(len(must(LOADER, "features").splitlines()), len(features))

    def test_missing(self):
        for name, script in [
            ("btf", "mount -t tmpfs none /sys/kernel/btf"),
            ("cgroup2", f"umount -R {mounts('cgroup2')[0]}"),
            ("bpffs", "umount -a -t bpf"),
        ]:
            with self.subTest(name=name):
                done = run("unshare", "-m", "sh", "-c", f"{script} && {LOADER} features -j")
                self.assertEqual(done.returncode, 1, done.stderr)
                answer = json.loads(done.stdout)
                self.assertIs(answer["complete"], False)
                self.assertEqual([f["name"] for f in answer["features"]
                                  if f["required"] and not f["available"]], [name])

    def test_not_root(self):
        done = run("setpriv", "--reuid", "65534", "--clear-groups", LOADER, "features")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^cgroup_skb +unknown ")
        self.assertIn("run as root", done.stderr)


class Traffic(Case):
    """Clear connections of guarded processes pass, and are no latches."""

    def test_clear_traffic(self):
        for family, address in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with self.subTest(address=address, kind=kind.name):
                    self.ok("load", "--cgroup", self.cgroup, "--dev", "lo")
                    self.assertEqual(self.in_guarded_child(echo, family, kind, address), 0)
                    status = self.status()
                    self.assertEqual(status["latches"], 0)
                    self.assertEqual(status["counters"], dict.fromkeys(REASONS, 0))
                    listed = json.loads(self.ok("list", "--json"))
                    self.assertEqual(listed, {"latches": []})
                    self.ok("unload")
        self.nothing_is_left()

    def in_guarded_child(self, function, *arguments):
        """Calls it in the cgroup and the network namespace; the child's exit status."""
        pid = os.fork()
        if not pid:
            try:
                signal.alarm(20)
                with open(f"{self.cgroup}/cgroup.procs", "w", encoding="utf-8") as procs:
                    procs.write("0")
                enter_netns(f"/run/netns/{self.netns}")
                function(*arguments)
                os._exit(0)
            except BaseException as error:  # pylint: disable=broad-except
                print(repr(error))
            os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def enter_netns(path):
    import ctypes  # os.setns() came with Python 3.12
    with open(path, "rb") as netns:
        if ctypes.CDLL(None, use_errno=True).setns(netns.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), path)


def echo(family, kind, address):
    """100 messages to and fro over one connection."""
    with socket.socket(family, kind) as server, socket.socket(family, kind) as client:
        server.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        client.connect(server.getsockname()[:2])
        if kind == socket.SOCK_STREAM:
            peer = server.accept()[0]
        else:
            peer = server
            server.connect(client.getsockname()[:2])
        for number in range(100):
            message = b"message %d" % number
            client.send(message)
            assert peer.recv(100) == message
            peer.send(message)
            assert client.recv(100) == message
        if peer is not server:
            peer.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
