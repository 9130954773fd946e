#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""policy: files that are right and wrong, what is in force, and replacing it under traffic.

No SA is needed: a connection that a rule wants protected is latched at connect(), and held, as
long as the SPD may yet protect it.
"""

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from guarded import MAY_PROTECT, GuardedCase
from layout import BROKEN, latch, tuple_of
from native import LOADER, must, run, set_up_module
from test_close import SO_NETNS_COOKIE, error_of, netns_of, packed

setUpModule = set_up_module  # pylint: disable=invalid-name

MAX_RULES, ALL_RULES = 256, 4096
TCP = 6
SYS_BPF, MAP_UPDATE, OBJ_GET = 321, 2, 7  # x86_64
NO_RULES = "[clatch]\nmode = enforce\nmax-latches = 65536\n"
GUARD = "[rule %s]\nproto = tcp\nremote-port = %d\nrequire = ipsec\n"

# Connects without end: to the first port, which no policy leaves open, and to the second, which
# all do.  Says how often each went as it must not, and how often both were tried.
CONNECTS = """
import select, socket, sys
open(sys.argv[1], "w").write("0")
shut, open_, tried, leaked, refused = int(sys.argv[3]), int(sys.argv[4]), 0, 0, 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((sys.argv[2], shut))
    leaked += bool(select.select([], [one], [], 0.0005)[1])
    one.close()
    try:
        socket.create_connection((sys.argv[2], open_), 5).close()
    except OSError:
        refused += 1
    tried += 1
print(tried, leaked, refused)
"""


class Map:
    """A pinned map, written without a process for each entry."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        name = ctypes.create_string_buffer(path.encode())
        self.fd = self.bpf(OBJ_GET, struct.pack("<QII", ctypes.addressof(name), 0, 0))

    def bpf(self, command, attributes):
        done = self.libc.syscall(SYS_BPF, command, attributes, len(attributes))
        if done < 0:
            raise OSError(ctypes.get_errno(), "bpf")
        return done

    def update(self, key, value):
        key, value = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
        self.bpf(MAP_UPDATE, struct.pack("<IIQQQ", self.fd, 0, ctypes.addressof(key),
                                         ctypes.addressof(value), 0))

    def close(self):
        os.close(self.fd)


class Files(unittest.TestCase):
    """Files alone: nothing is loaded, and nothing of the kernel is needed."""

    def check(self, text, *words):
        if isinstance(text, str):
            text = text.encode()
        with tempfile.NamedTemporaryFile(suffix=".conf") as file:
            file.write(text)
            file.flush()
            return file.name, run(LOADER, "policy", "check", file.name, *words)

    def test_words(self):
        for words, text in [
            ([], "Which of check FILE, show and load FILE?"),
            (["look"], "Unknown word 'look': expected check, show or load"),
            (["check"], "policy check needs a FILE"),
            (["load"], "policy load needs a FILE"),
            (["show", "x"], "Unexpected argument 'x'"),
            (["check", "x", "y"], "Unexpected argument 'y'"),
        ]:
            with self.subTest(words=words):
                done = run(LOADER, "policy", *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(text, done.stderr)
                done = run(LOADER, "policy", *words, "--json")
                self.assertEqual(done.returncode, 2)
                self.assertIn(text, json.loads(done.stderr)["error"])

    def test_right(self):
        for text in ["", "; nothing", "[rule a]", "\ufeff[rule a]\r\nproto = tcp\r\n",
                     "".join(f"[rule {i}]\n" for i in range(MAX_RULES))]:
            for words in [[], ["--json"]]:
                _, done = self.check(text, *words)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_every_mistake_in_one_run(self):
        text = (b"[clatch]\nmode = off\n[rule a]\nproto = icmp\nlocal-port = 9-1\n"
                b"\n[rule a]\nremote = \xff\nmode = tunnel\n")
        name, done = self.check(text)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr.splitlines(), [
            f"{name}:2: mode: 'off': expected enforce or audit",
            f"{name}:4: proto: 'icmp': expected tcp, udp, sctp or any",
            f"{name}:5: local-port: '9-1' ends before it begins: expected 1-9",
            f"{name}:7: another rule 'a': expected a name of its own, this is that of line 3",
            f"{name}:8: remote: is not UTF-8: expected text in UTF-8",
            f"{name}:9: mode: demands nothing of a connection in clear: expected require = ipsec, "
            "esp, ah or encrypted with it"])
        name, again = self.check(text, "--json")
        self.assertEqual((again.returncode, again.stdout), (1, ""))
        errors = json.loads(again.stderr)["errors"]
        self.assertEqual([(e["file"], e["line"], e["key"]) for e in errors], [
            (name, 2, "mode"), (name, 4, "proto"), (name, 5, "local-port"), (name, 7, None),
            (name, 8, "remote"), (name, 9, "mode")])
        self.assertEqual(errors[0]["error"], "'off': expected enforce or audit")

    def test_files_that_are_none(self):
        with tempfile.NamedTemporaryFile() as large:
            large.write(b"\n" * ((1 << 20) + 1))
            large.flush()
            for path, text in [("/nowhere", "Couldn't read '/nowhere': No such file"),
                               ("/", "Couldn't read '/': Is a directory"),
                               ("/dev/zero", "a policy has at most 1048576 bytes"),
                               (large.name, "a policy has at most 1048576 bytes")]:
                done = run(LOADER, "policy", "check", path)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(text, done.stderr)


class InForce(GuardedCase):
    def setUp(self):
        super().setUp()
        self.policy(*MAY_PROTECT)

    def show(self):
        return json.loads(self.ok("policy", "show", "--json"))

    def rule_count(self):
        """Of all generations."""
        return len(json.loads(must("bpftool", "-j", "map", "dump", "pinned",
                                   f"{self.dir}/clatch_rules")))

    def connect_in_clear(self, port):
        """A connection of a guarded socket that a rule may hold."""
        with self.guarded():
            one = socket.socket()
        self.addCleanup(one.close)
        one.setblocking(False)
        one.connect_ex((self.PEER, port))
        return one

    def rules_of_latches(self):
        return {latch["remote"]["port"]: latch["rule"]
                for latch in json.loads(self.ok("list", "--json"))["latches"]}

    def test_nothing_loaded(self):
        self.fails(1, "Nothing is loaded at", "policy", "show")
        self.fails(1, "Nothing is loaded at", "policy", "load", self.file(""))

    def test_show(self):
        self.load()
        self.assertEqual(self.ok("policy", "show"), NO_RULES)
        self.assertEqual(self.show(), {
            "generation": 1, "mode": "enforce", "max_latches": 65536, "reset_after": None,
            "may_turn_off": [], "rules": []})
        text = (NO_RULES + "reset-after = 90s\n\n[rule db]\nproto = tcp\nlocal = 10.9.0.1/32\n"
                "remote = 10.20.0.0/16\nremote-port = 5000-5010\nrequire = encrypted\n"
                "mode = transport\nmin-key-bits = 128\nlocal-id = app3.example\n"
                "peer-id = *.db.example.org\nreset-after = never\n\n[rule rest]\nrequire = none\n")
        self.put_in_force(text)
        self.assertEqual(self.ok("policy", "show"), text)
        shown = self.show()
        self.assertEqual((shown["generation"], shown["reset_after"]), (2, "90s"))
        self.assertEqual(shown["rules"][0], {
            "name": "db", "proto": "tcp", "local": "10.9.0.1/32", "local_port": None,
            "remote": "10.20.0.0/16", "remote_port": "5000-5010", "require": "encrypted",
            "mode": "transport", "min_key_bits": 128, "local_id": "app3.example",
            "peer_id": "*.db.example.org", "reset_after": "never"})
        self.assertEqual(self.status()["rules"], 2)
        self.put_in_force("")
        self.assertEqual(self.ok("policy", "show"), NO_RULES)

    def test_wrong_file_changes_nothing(self):
        self.load()
        self.put_in_force("[rule a]\n")
        before = self.show()
        wrong = self.file("[rule b]\n[rule c]\nproto = x\n")
        for verb in (["policy", "load", wrong], ["policy", "check", wrong]):
            done = self.loader(*verb)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(done.stderr,
                             f"{wrong}:3: proto: 'x': expected tcp, udp, sctp or any\n")
        self.fails(1, "Couldn't read '/nowhere'", "policy", "load", "/nowhere")
        self.assertEqual(self.show(), before)

    def test_load_with_a_policy(self):
        wrong = self.file("[clatch]\nmode = x\n")
        for verb in ("load", "run"):
            self.assertEqual(self.loader(verb, "--policy", wrong).returncode, 1)
            self.assertFalse(os.path.exists(self.dir))
        right = self.file("[clatch]\nmode = audit\nmax-latches = 1000\n[rule a]\n")
        self.load("--policy", right)
        status = self.status()
        self.assertEqual((status["mode"], status["max_latches"], status["rules"]),
                         ("audit", 1000, 1))
        self.ok("unload")
        self.load("--policy", right, "--max-latches", "2000")
        self.assertEqual(self.status()["max_latches"], 2000)
        self.ok("unload")
        self.load("--policy", self.file("[clatch]\nmode = enforce\n"), "--audit")
        self.assertEqual(self.status()["mode"], "audit")

    def test_what_is_fixed_by_load(self):
        self.load()
        path = self.file("[clatch]\nmode = audit\nmax-latches = 7\n[rule a]\n")
        done = self.loader("policy", "load", path)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertIn("enforces: mode = audit would need unload first", done.stderr)
        self.assertIn("room for 65536 latches: max-latches = 7 would need unload", done.stderr)
        status = self.status()
        self.assertEqual((status["mode"], status["max_latches"], status["rules"]),
                         ("enforce", 65536, 1))

    def test_first_match_wins(self):
        self.load()
        filler = "".join(f"[rule {i}]\nremote-port = {20000 + i}\n" for i in range(MAX_RULES - 4))
        self.put_in_force(filler + GUARD % ("first", 7000) + GUARD % ("second", 7000)
                          + "[rule six]\nremote = ::/0\nrequire = ipsec\n"
                          + "[rule last]\nremote = 10.7.0.0/16\nrequire = ipsec\n")
        self.assertEqual(self.status()["rules"], MAX_RULES)
        for port in (7000, 7001, 20000 + MAX_RULES - 5):
            self.connect_in_clear(port)
        self.assertEqual(self.rules_of_latches(), {7000: "first", 7001: "last"})

    def test_latches_keep_their_rule(self):
        self.load()
        self.put_in_force(GUARD % ("old", 7000) + "[rule unused]\n")
        self.connect_in_clear(7000)
        for count in range(4):
            self.put_in_force(GUARD % (f"new {count}", 7001) + "[rule unused]\n")
            self.assertEqual(self.rules_of_latches(), {7000: "old"})
        self.assertEqual(self.rule_count(), 2 + 2 + 1)  # in force, the one before, the latch's
        self.connect_in_clear(7001)
        self.assertEqual(self.rules_of_latches(), {7000: "old", 7001: "new 3"})
        self.assertEqual(self.show()["generation"], 6)

    def test_full(self):
        self.load()
        numbers = range(1000 * MAX_RULES, 1000 * MAX_RULES + ALL_RULES - MAX_RULES)
        with (contextlib.closing(Map(f"{self.dir}/clatch_rules")) as rules,
              contextlib.closing(Map(f"{self.dir}/clatch_latches")) as latches):
            for number in numbers:
                rules.update(struct.pack("<I", number), bytes(352))
                latches.update(tuple_of(1, ("::", number % 65536), ("::", 1), TCP),
                               latch(number, rule=number))
        full = "".join(f"[rule {i}]\n" for i in range(MAX_RULES))
        self.put_in_force(full)
        before = self.ok("policy", "show", "--json")
        self.fails(1, "there is no room for its rules", "policy", "load", self.file("[rule a]\n"))
        self.assertEqual(self.ok("policy", "show", "--json"), before)
        self.assertEqual(self.rule_count(), ALL_RULES)
        self.put_in_force("")  # what takes no room can be loaded; then there is room again
        self.put_in_force("[rule a]\n")
        self.assertEqual(self.rule_count(), ALL_RULES - MAX_RULES + 1)

    def test_no_connection_sees_half_a_policy(self):
        """One policy has the rule at its end, the other alone: what is between them leaks."""
        self.load()
        with netns_of(self.peer):
            shut, open_ = (socket.create_server((self.PEER, 0), backlog=4096) for _ in "12")
        for server in (shut, open_):
            self.addCleanup(server.close)
        guard = GUARD % ("guard", shut.getsockname()[1])
        filler = "".join(f"[rule {i}]\nremote = 10.9.0.1\n" for i in range(MAX_RULES - 1))
        policies = [self.file(filler + guard, "long"), self.file(guard, "short")]
        self.ok("policy", "load", policies[0])
        with netns_of(self.netns):
            child = subprocess.Popen(
                [sys.executable, "-c", CONNECTS, f"{self.cgroup}/cgroup.procs", self.PEER,
                 str(shut.getsockname()[1]), str(open_.getsockname()[1])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.kill)
        self.assertEqual(child.stdout.readline(), "ready\n")
        for count in range(100):
            self.ok("policy", "load", policies[(count + 1) % 2])
            while select.select([open_], [], [], 0)[0]:
                open_.accept()[0].close()
        child.stdin.write("\n")
        child.stdin.flush()
        until = time.monotonic() + 20
        while child.poll() is None and time.monotonic() < until:
            if select.select([open_], [], [], 0.1)[0]:
                open_.accept()[0].close()
        tried, leaked, refused = map(int, child.communicate(timeout=20)[0].split())
        self.assertEqual((leaked, refused), (0, 0))
        self.assertGreater(tried, 100)
        self.assertFalse(select.select([shut], [], [], 0)[0], "a connection in clear arrived")

    def start_run(self, *words):
        child = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.netns}", LOADER, "run", "--bpffs", self.dir,
             "--json", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(child.communicate)
        self.addCleanup(child.terminate)
        until = time.monotonic() + 20
        while not self.status()["daemon"]:
            self.assertLess(time.monotonic(), until, "run does not start")
            time.sleep(0.05)
        return child

    def test_run_with_a_policy(self):
        self.load()
        self.start_run("--policy", self.file("[rule a]\n"))
        self.assertEqual([rule["name"] for rule in self.show()["rules"]], ["a"])
        self.put_in_force("[rule b]\n[rule c]\n")
        self.assertEqual(self.status()["rules"], 2)

    def test_reset_after_of_rules(self):
        """Of three that are BROKEN since the machine started: one waits by the policy, one by its
        rule, and for longer than the machine is up, one does not."""
        self.load()
        self.put_in_force("[clatch]\nreset-after = never\n[rule waits]\nreset-after = 8760h\n"
                          "[rule resets]\nreset-after = 0s\n")
        first = self.show()["generation"] * MAX_RULES
        ends = [self.broken(rule) for rule in (0xffffffff, first, first + 1)]
        self.start_run()
        self.assertEqual([error_of(end.recv, 1) for end in ends],
                         ["EAGAIN", "EAGAIN", "ECONNABORTED"])
        # and by another policy
        self.put_in_force("[clatch]\nreset-after = 0s\n")
        ends[0].settimeout(8)  # run is told: it does not wait for anything else
        self.assertEqual(error_of(ends[0].recv, 1), "ECONNABORTED")
        self.assertEqual(error_of(ends[1].recv, 1), "EAGAIN")

    def broken(self, rule):
        """A connection in clear of which a latch is written by hand."""
        with netns_of(self.netns):
            server = socket.create_server(("127.0.0.1", 0))
            client = socket.create_connection(server.getsockname())
            raw = client.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        for end in (server.accept()[0], server, client):
            self.addCleanup(end.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 500000))
        local, remote = packed(client.getsockname()), packed(client.getpeername())
        key = tuple_of(struct.unpack("<Q", raw)[0], local, remote, TCP)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        with contextlib.closing(Map(f"{self.dir}/clatch_latches")) as latches:
            latches.update(key, latch(local[1], BROKEN, since=now, changed=now, rule=rule, causes=1))
        return client


if __name__ == "__main__":
    unittest.main()
