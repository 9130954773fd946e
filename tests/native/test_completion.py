#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Completion in bash: scripts/completion, called as bash calls it."""

import os
import re
import tempfile
import unittest

from native import Case, HERE, LOADER, PREFIX, must, set_up_module
from test_show import Shown

setUpModule = set_up_module  # pylint: disable=invalid-name

SCRIPT = os.path.join(HERE, "../../scripts/completion")
GLOBAL = ["--bpffs", "--help", "--json"]
ASK = """set -u; . "$1"; shift
COMP_WORDS=(clatch-loader "${@:2}") COMP_CWORD=$(($# - 1))
_clatch_loader "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}" """


def complete(*words):
    """What can stand for the last word."""
    return sorted(must("bash", "-c", ASK, "-", SCRIPT, LOADER, *words).splitlines())


def help_of(*verb):
    return must(LOADER, *verb, "--help")


class Completion(unittest.TestCase):
    def test_commands(self):
        verbs = sorted(re.findall(r"^  ([a-z]+) ", help_of(), re.M))
        self.assertGreater(len(verbs), 12)
        self.assertEqual(complete(""), verbs)
        self.assertEqual(complete("help", ""), verbs)
        self.assertEqual(complete("--bpffs", "/x", "--json", "lo"), ["load"])
        self.assertEqual(complete("nothing", ""), [])
        self.assertEqual(complete("--"), sorted([*GLOBAL, "--version"]))

    def test_options(self):
        for verb in complete(""):
            if verb == "help":
                continue
            with self.subTest(verb=verb):
                options = sorted(re.findall(r"^  (--[a-z-]+) ", help_of(verb), re.M))
                self.assertLessEqual(set(GLOBAL), set(options))
                self.assertEqual(complete(verb, "--"), options)
        self.assertEqual(complete("load", "--audit", "--c"), ["--cgroup", "--container"])

    def test_words(self):
        self.assertEqual(complete("policy", ""), ["check", "load", "show"])
        self.assertEqual(complete("identity", "--spi", "1", ""), ["add", "del", "list"])
        for words in (["policy", "show", ""], ["policy", "check", "x", ""], ["load", ""],
                      ["identity", "add", ""], ["list", ""]):
            self.assertEqual(complete(*words), [], words)

    def test_values(self):
        self.assertEqual(complete("list", "--state", ""),
                         ["BROKEN", "CLOSED", "ESTABLISHED", "LARVAL", "LISTENER"])
        self.assertEqual(complete("list", "--proto", ""), ["sctp", "tcp", "udp"])
        self.assertEqual(complete("identity", "--proto", "="), ["ah", "esp"])
        self.assertEqual(complete("identity", "--proto", "=", "e"), ["esp"])
        self.assertEqual(complete("load", "--dev", "l"),
                         sorted(n for n in os.listdir("/sys/class/net") if n.startswith("l")))
        self.assertEqual(complete("load", "--max-latches", ""), [])

    def test_files(self):
        with tempfile.TemporaryDirectory() as place:
            os.mkdir(f"{place}/dir")
            with open(f"{place}/a file", "w", encoding="utf-8"):
                pass
            both = [f"{place}/a file", f"{place}/dir"]
            for words in (["load", "--policy"], ["run", "--vici"], ["policy", "check"],
                          ["policy", "load"], ["policy", "--json", "load"]):
                self.assertEqual(complete(*words, f"{place}/"), both, words)
            for words in (["load", "--bpffs"], ["--bpffs"], ["run", "--cgroup"], ["--bpffs", "="]):
                self.assertEqual(complete(*words, f"{place}/"), both[1:], words)


class Latches(Case):
    write, put, fill = Shown.write, Shown.put, Shown.fill

    def test_units(self):
        for name in f"{PREFIX}.service", f"{PREFIX}$(touch x).service", f"{PREFIX}-other":
            os.mkdir(f"{self.cgroup}/{name}")
            self.addCleanup(os.rmdir, f"{self.cgroup}/{name}")
        self.assertEqual(complete("attach", "--unit", PREFIX), [f"{PREFIX}.service"])
        self.assertFalse(os.path.exists("x"))

    def test_ids(self):
        self.load()
        self.fill()
        for place in (["--bpffs", self.dir], ["--bpffs", "=", self.dir]):
            self.assertEqual(complete("show", *place, ""), ["1", "2", "3", "4", "5"])
            self.assertEqual(complete(*place, "close", "1", ""), ["1", "2", "3", "4", "5"])
        self.assertEqual(complete("show", "--bpffs", self.dir, "1", ""), [])
        self.assertEqual(complete("show", "--bpffs", self.dir + "-none", ""), [])


del Shown  # or its tests would run here as well

if __name__ == "__main__":
    unittest.main(verbosity=2)
