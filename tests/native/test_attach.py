#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""attach and detach, and traffic in clear under a guard."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from native import HOOKS, LOADER, RULE_HOOKS, Case, REASONS, must, set_up_module
from test_events import wait_for

setUpModule = set_up_module  # pylint: disable=invalid-name


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
                self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)
                self.assertNotIn("clsact", self.qdiscs("c1"))

    @contextlib.contextmanager
    def rules_file(self, count):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("".join(f"[rule {n}]\nrequire = ipsec\n" for n in range(count)))
            file.flush()
            yield file.name

    def rules(self, count, **options):
        with self.rules_file(count) as name:
            return self.loader("policy", "load", name, **options)

    def hooks(self):
        return {cgroup: len(self.cgroup_programs(cgroup)) for cgroup in self.status()["cgroups"]}

    def test_what_only_rules_need(self):
        """Hooks of sendmsg(): there before rules are in force, wherever and however they came."""
        other, gone = self.make_cgroup("b"), self.make_cgroup("gone")
        self.load()
        self.ok("attach", "--cgroup", gone)
        os.rmdir(gone)
        self.assertEqual(self.hooks(), {self.cgroup: HOOKS})
        self.assertEqual(self.rules(1).returncode, 0)
        self.assertEqual(self.hooks(), {self.cgroup: HOOKS + RULE_HOOKS})
        self.ok("attach", "--cgroup", other)
        self.assertEqual(self.rules(2).returncode, 0)
        self.assertEqual(self.hooks(), dict.fromkeys((self.cgroup, other), HOOKS + RULE_HOOKS))
        self.lose_link(other, "clatch_sendmsg6")
        self.ok("attach", "--ensure", "--cgroup", other)
        self.assertEqual(self.hooks()[other], HOOKS + RULE_HOOKS)
        self.assertEqual(self.rules(0).returncode, 0)
        self.assertEqual(self.hooks(), dict.fromkeys((self.cgroup, other), HOOKS))
        self.ok("detach", "--cgroup", other)
        self.assertEqual(self.cgroup_programs(other), [])

    def occupy(self, cgroup, program, kind):
        """By a program that allows no others beside it."""
        words = cgroup, kind, "pinned", f"{self.dir}/progs/{program}"
        must("bpftool", "cgroup", "attach", *words)
        self.addCleanup(must, "bpftool", "cgroup", "detach", *words)

    def test_no_rules_without_what_they_need(self):
        """All or none: where one cannot be attached, none of the others stays."""
        other = self.make_cgroup("b")
        self.load()
        self.ok("attach", "--cgroup", other)
        self.occupy(self.cgroup, "clatch_sendmsg6", "cgroup_udp6_sendmsg")
        done = self.rules(1)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Couldn't load the policy: what its rules need cannot be attached", done.stderr)
        self.assertEqual(self.status()["rules"], 0)
        self.assertEqual(self.hooks(), {self.cgroup: HOOKS + 1, other: HOOKS})

    def link(self, cgroup, program):
        return f"{self.dir}/links/{os.stat(cgroup).st_ino}_{program}"

    def links(self, cgroup):
        """By the programs' names: a link that was taken off and put on anew has another id."""
        number = os.stat(cgroup).st_ino
        return {name: json.loads(must("bpftool", "-j", "link", "show", "pinned",
                                      f"{self.dir}/links/{name}"))["id"]
                for name in os.listdir(f"{self.dir}/links") if name.startswith(f"{number}_")}

    def lose_link(self, cgroup, program):
        """As where an attach was killed.  The rest is returned."""
        count = len(self.cgroup_programs(cgroup))
        os.unlink(self.link(cgroup, program))
        self.assertTrue(wait_for(lambda: len(self.cgroup_programs(cgroup)) < count))
        return self.links(cgroup)

    def test_repair_adds_only_what_is_missing(self):
        """What is there guards all the while."""
        self.load()
        rest = self.lose_link(self.cgroup, "clatch_egress")
        self.ok("attach", "--cgroup", self.cgroup)
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)
        after = self.links(self.cgroup)
        self.assertEqual(len(after), HOOKS)
        self.assertEqual({name: after[name] for name in rest}, rest)
        self.fails(1, "already attached", "attach", "--cgroup", self.cgroup)

    def repair_fails(self, at):
        """Of two cgroups, for what is on the one or on the other: what is left is what was there."""
        self.load()
        self.lose_link(self.cgroup, "clatch_egress")
        rest = self.lose_link(self.cgroup, "clatch_getsockopt")
        other = self.make_cgroup("b")
        self.occupy(other if at == "the other" else self.cgroup, "clatch_getsockopt",
                    "cgroup_getsockopt")
        self.fails(1, "another BPF program there allows no others",
                   "attach", "--cgroup", self.cgroup, "--cgroup", other)
        self.assertEqual((self.links(self.cgroup), self.links(other)), (rest, {}))

    def test_repair_that_fails_takes_nothing_off(self):
        self.repair_fails(at="itself")

    def test_repair_that_is_undone_takes_nothing_else_off(self):
        self.repair_fails(at="the other")

    def test_rules_where_something_else_is_at_the_path(self):
        """As a cgroup that was made anew: it is not guarded, and not to be taken for the other."""
        other = self.make_cgroup("b")
        self.load()
        cover = "unshare", "--mount", "sh", "-c", 'mount --bind $0 $1; shift; exec "$@"'
        done = self.rules(1, wrap=[*cover, other, self.cgroup])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS + RULE_HOOKS)
        self.assertEqual(self.cgroup_programs(other), [])

    def test_rules_where_cgroups_cannot_be_opened_by_id(self):
        gone = self.make_cgroup("gone")
        self.load()
        self.ok("attach", "--cgroup", gone)
        os.rmdir(gone)
        done = self.rules(1, wrap=["setpriv", "--bounding-set", "-dac_read_search"])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS + RULE_HOOKS)

    def test_run_with_rules_repairs(self):
        """What it guards, it looks at when its rules are in force: they bring what only they need."""
        self.load()
        self.assertEqual(self.rules(1).returncode, 0)
        before = self.links(self.cgroup)
        rest = self.lose_link(self.cgroup, "clatch_sendmsg6")
        with self.rules_file(2) as name, subprocess.Popen(
                [LOADER, "run", "--bpffs", self.dir, "--cgroup", self.cgroup, "--policy", name],
                stderr=subprocess.PIPE, text=True) as process:
            said = []
            while "enforcing" not in "".join(said[-1:]) and (line := process.stderr.readline()):
                said.append(line)
            process.terminate()
            self.assertEqual(process.wait(20), 0, said)
        after = self.links(self.cgroup)
        self.assertEqual(after.keys(), before.keys())
        self.assertEqual({name: after[name] for name in rest}, rest)

    def test_rules_that_cannot_be_read(self):
        """Not known whether all is there: nothing is taken off, and it is an error."""
        self.load()
        before = self.links(self.cgroup)
        os.unlink(f"{self.dir}/clatch_policy")
        for words in [[], ["--ensure"]]:
            self.fails(1, "No such file", "attach", "--cgroup", self.cgroup, *words)
            self.assertEqual(self.links(self.cgroup), before)

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
        self.assertEqual(self.status()["gone"],
                         {"cgroups": [], "devices": [], "veths": [], "uplinks": []})
        self.assertEqual(len(os.listdir(f"{self.dir}/links")), HOOKS)

    def shown(self, kind, pin):
        return json.loads(must("bpftool", "-j", kind, "show", "pinned", f"{self.dir}/{pin}"))

    def test_the_gateway_reads_the_same_variables(self):
        self.load()
        self.ok("attach", "--veth", "c0", "--uplink", "c1")
        for program in "clatch_ingress", "clatch_gw_to":
            maps = self.shown("prog", f"progs/{program}")["map_ids"]
            for variable in "clatch_generation", "clatch_policy":
                with self.subTest(program=program, variable=variable):
                    self.assertIn(self.shown("map", variable)["id"], maps)

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
