#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks docs/rfc5660.md: every requirement and test of the RFC has one row, and every test that a
row names exists.  A row is "met" only with a test.

A row:    | R5 | what it demands | met, partly, not met or not applicable | how | tests |
A test:   `test_latch.Enforce` or `test_life.End.test_udp_close` of tests/e2e or tests/native, or
          `test_state.c: test_every_state_and_step` of tests/unit
"""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs/rfc5660.md"
WANTED = [f"R{n}" for n in range(1, 39)] + [f"T{n}" for n in range(1, 57)]
ANSWERS = ("met", "partly", "not met", "not applicable")


def python_tests():
    """Names of all tests, and of the classes that have any."""
    for directory in "tests/e2e", "tests/native":
        sys.path.insert(0, str(ROOT / directory))
        waiting = [unittest.TestLoader().discover(ROOT / directory, top_level_dir=ROOT / directory)]
        while waiting:
            test = waiting.pop()
            if isinstance(test, unittest.TestSuite):
                waiting.extend(test)
            else:
                yield test.id()
                yield test.id().rsplit(".", 1)[0]


def unit_tests():
    for path in (ROOT / "tests/unit").glob("test_*.c"):
        for name in re.findall(r"cmocka_unit_test\w*\(\s*(\w+)", path.read_text()):
            yield f"{path.name}: {name}"


def table_rows():
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and re.fullmatch(r"[RT]\d+", cells[0]):
            yield cells


def check_row(row, known):
    number, _, answer, how, tests = row
    named = re.findall(r"`([^`]+)`", tests)
    if answer not in ANSWERS:
        yield f"{number}: '{answer}' is none of {', '.join(ANSWERS)}"
    if answer in ("met", "partly") and not named:
        yield f"{number}: {answer}, but no test"
    if answer != "met" and len(how) < 10:
        yield f"{number}: {answer}, but it is not said why"
    for name in named:
        if name not in known:
            yield f"{number}: there is no test {name}"


def problems():
    known = {*python_tests(), *unit_tests()}
    rows = list(table_rows())
    numbers = [row[0] for row in rows]
    for number in WANTED:
        if numbers.count(number) != 1:
            yield f"{number} has {numbers.count(number)} rows"
    for row in rows:
        yield from check_row(row, known)


def main():
    found = list(problems())
    for problem in found:
        print(f"docs/rfc5660.md: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
