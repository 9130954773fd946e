#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Words on the command line, help, and what the kernel has."""

import json
import re
import subprocess
import unittest

from native import LOADER, mounts, must, run, set_up_module

setUpModule = set_up_module  # pylint: disable=invalid-name


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
            (["load", "--cgroup="], "Option '--cgroup' is empty: expected --cgroup PATH"),
            (["load", "--bpffs", ""], "Option '--bpffs' is empty: expected --bpffs DIR"),
            (["load", "--max-latches"], "Option '--max-latches' needs a value"),
            (["unload", "--cgroup", "/x"], "Unknown option '--cgroup'"),
            (["attach"], "--container, --dev, --veth or --uplink"),
            (["detach"], "--container, --dev, --veth, --uplink or --gone"),
            (["list", "--state", "NONE"], "--state 'NONE' is none of LISTENER, LARVAL, "),
            (["list", "--state", "BROKE"], "--state 'BROKE' is none of LISTENER, LARVAL, "),
            (["list", "--proto", "esp"], "--proto 'esp' is none of "),
            (["list", "--local", "10.9.0.1:x"], "--local '10.9.0.1:x' is not ADDR"),
            (["run", "--vici", "/" + "x" * 107], "--vici is longer than 107 bytes"),
            (["show"], "Which latch? Its number is missing"),
            (["show", "-1"], "Unknown option '-1'"),
            (["show", "0x1"], "'0x1' is not a latch's number"),
            (["show", "1", "2"], "Unexpected argument '2'"),
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
        states = re.search(r"--state STATE +(.*) \(several", must(LOADER, "list", "-h"))
        self.assertEqual(states[1], "LISTENER, LARVAL, ESTABLISHED, BROKEN, CLOSED")

    def test_version(self):
        self.assertRegex(must(LOADER, "--version"), r"^clatch-loader \d+\.\d+\.\d+\n$")


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


if __name__ == "__main__":
    unittest.main(verbosity=2)
