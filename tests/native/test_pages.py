#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The manual pages: do they say all that the program and its parsers know, and is it well-formed?"""

import pathlib
import re
import tempfile
import unittest

from native import HERE, LOADER, must, run

ROOT = pathlib.Path(HERE).parent.parent
BUILD = pathlib.Path(LOADER).parent
PAGES = ["clatch-loader.8", "clatch.conf.5", "clatch.7"]
GLOBAL = {"--bpffs", "--json", "--help"}


def page(name):
    """As it is read, without the breaking of lines inside words."""
    return must("env", "MANWIDTH=200", "man", "--no-hyphenation", "--no-justification", "-E",
                "ascii", "-l", BUILD / name)


def section(text, title):
    found = re.search(rf"^{title}\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    return found[1] if found else ""


def commands(text):
    """{"policy check FILE": its text} of the page."""
    parts = re.split(r"^   (?=\S)(.*)\n", section(text, "COMMANDS"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def entries(text):
    """{"--cgroup": its text}: what begins a paragraph, and what is under it."""
    parts = re.split(r"^ {7}(?=\S)(.*\n)", text, flags=re.M)
    found = {}
    for head, body in zip(parts[1::2], parts[2::2]):
        for name in re.match(r"([^\s,]+(?:, [^\s,]+)*)", head)[1].split(", "):
            found[name] = found.get(name, "") + " ".join((head + body).split()) + " "
    return found


def options(text):
    return {name for name in entries(text) if name.startswith("--")}


def help_of(*verb):
    return must(LOADER, *verb, "--help")


def helps():
    """{"policy": (["check FILE", ...], {"--bpffs", ...})}"""
    found = {}
    for verb in re.findall(r"^  ([a-z]+) ", help_of(), re.M):
        if verb != "help":
            text = help_of(verb)
            words = re.search(r"^Words:\n(.*?)\n\n", text, re.M | re.S)
            words = re.findall(r"^  (\S+(?: \S+)?)  ", words[1], re.M) if words else []
            found[verb] = words, set(re.findall(r"^  (--\S+)", text, re.M))
    return found


def differences(text):
    """What the program's --help and the page do not have in common."""
    told, wrong = commands(text), []
    known = options(section(text, "OPTIONS OF EVERY COMMAND"))
    wrong += [f"option {name}" for name in known ^ GLOBAL]
    for verb, (words, wanted) in helps().items():
        heads = {h for h in told if h.split()[0] == verb}
        wrong += [f"command {verb} {w}" for w in words if f"{verb} {w}" not in heads]
        wrong += [f"command {h}" for h in heads if words and h.split(" ", 1)[1] not in words]
        wrong += [] if heads else [f"command {verb}"]
        found = set().union(*(options(told[h]) for h in heads))
        wrong += [f"option {verb} {name}" for name in (wanted - GLOBAL) ^ found]
    return sorted(wrong + [f"command {h}" for h in told if h.split()[0] not in helps()])


def check(text, *words):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        return run(LOADER, "policy", "check", file.name, *words)


def keys_of(heading):
    """{key: what is expected of it}: the parser's own table, as it tells it."""
    known = re.search(r"expected (.*)", check(f"[{heading}]\nno-such = 1\n").stderr)[1]
    keys = re.split(", | or ", known)
    text = f"[{heading}]\n" + "".join(f"{key} =\n" for key in keys)
    return dict(re.findall(r": ([a-z-]+): no value: expected (.*)", check(text).stderr))


def names_in_code(table):
    """Of a table of loader/names.c."""
    code = (ROOT / "loader/names.c").read_text(encoding="utf-8")
    body = re.search(rf"\b{table}\[\] = {{(.*?)}};", code, re.S)[1]
    return set(re.findall(r'"([^"]+)"', body)) - {"ok", "none", "NONE"}


class Clean(unittest.TestCase):
    def test_no_warning(self):
        for name in PAGES:
            with self.subTest(page=name):
                done = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", BUILD / name)
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_they_name_each_other(self):
        for name in PAGES:
            stem, number = name.rsplit(".", 1)
            for other in set(PAGES) - {name}:
                self.assertIn(f"{stem}({number})", section(page(other), "SEE ALSO"))


class Loader(unittest.TestCase):
    def test_all_commands_and_options(self):
        self.assertEqual(differences(page("clatch-loader.8")), [])

    def test_what_is_missing_is_found(self):
        text = page("clatch-loader.8")
        for line, wrong in [("              --gone", "option detach --gone"),
                            ("       --vici SOCKET", "option run --vici"),
                            ("   features", "command features"),
                            ("   policy check FILE", "command policy check FILE")]:
            self.assertIn(line.strip(), text)
            cut = re.sub(rf"^ +{line.strip()}\n", "", text, flags=re.M)
            self.assertIn(wrong, differences(cut))
        more = text.replace("   unload\n", "   unload\n\n       --hard\n              Harder.\n")
        self.assertEqual(differences(more), ["option unload --hard"])


class Conf(unittest.TestCase):
    def test_every_key_and_value(self):
        text = page("clatch.conf.5")
        settings, rules = section(text, "SETTINGS"), section(text, "RULES")
        for told, keys in [(settings, keys_of("clatch")), (rules, keys_of("rule a"))]:
            self.assertGreater(len(keys), 2)
            found = {name: body for name, body in entries(told).items() if "=" in body[:30]}
            self.assertEqual(set(found), set(keys))
            for key, expected in keys.items():
                self.assertIn("Default: ", found[key], key)
                if re.fullmatch(r"[a-z]+(, [a-z]+)* or [a-z]+", expected):
                    for value in re.split(", | or ", expected):
                        self.assertRegex(found[key], rf"\b{value}\b", key)
                for number in re.findall(r"\d+", expected if "number" in expected else ""):
                    self.assertIn(number if number != "30" else "30s", found[key] + settings)

    def test_example(self):
        source = (ROOT / "docs/clatch.conf.5.scd").read_text(encoding="utf-8")
        examples = re.findall(r"^```\n(.*?)^```", source, re.M | re.S)
        self.assertEqual(len(examples), 1)
        done = check(examples[0])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertLessEqual(set(keys_of("clatch")),
                             set(re.findall(r"^(\S+) =", examples[0], re.M)))


class Concepts(unittest.TestCase):
    def test_every_name(self):
        text = page("clatch.7")
        for title, table in [("STATES", "states"), ("CAUSES", "causes"), ("REASONS", "reasons"),
                             ("VERDICTS", "verdicts"), ("EVENTS", "events")]:
            with self.subTest(table=table):
                shown = names_in_code(table) - {"asked"}  # an event for `run` alone
                self.assertEqual(set(entries(section(text, title))) & shown, shown)
        for end in names_in_code("ends"):
            self.assertIn(end, entries(section(text, "EVENTS"))["closed"])

    def test_socket_options(self):
        """Each option with its number, and every error that the header names."""
        header = (ROOT / "include/clatch.h").read_text(encoding="utf-8")
        text = section(page("clatch.7"), "SOCKET OPTIONS")
        found = re.findall(r"^\t(CLATCH_SO_\w+) = (\d+),", header, re.M)
        self.assertGreater(len(found), 3)
        for name, number in found:
            self.assertIn(f"{name} ({number})", text)
        for error in set(re.findall(r"\bE[A-Z]{4,}\b", header)) - {"ESTABLISHED"}:
            self.assertRegex(text, rf"\b{error}\b")
        for word in re.findall(r"\b(?:SOL_)?CLATCH_[A-Z_0-9]+\b", text):
            self.assertRegex(header, rf"\b{word}\b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
