#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs unittest tests and prints TAP (testanything.org), the one form that tests/run counts.

  tests/tap.py DIR NAME...   NAME: a module of DIR, a class in it, or a test
  tests/tap.py --list DIR    "NAME COUNT", a line for each class
"""

import collections
import pathlib
import sys
import time
import traceback
import unittest


class Tap(unittest.TestResult):
    """One line a test, told when it has ended; what went wrong follows as comments."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.outcome, self.comments, self.began = None, [], 0.0

    def startTest(self, test):
        super().startTest(test)
        self.outcome, self.comments, self.began = None, [], time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        seconds = time.monotonic() - self.began
        self._print(test, self.outcome or "failed", f" ({seconds:.1f} s)")

    def _print(self, test, outcome, more=""):
        self.number += 1
        word = "not ok" if outcome == "failed" else "ok"
        skip = f" # SKIP {outcome[5:]}" if outcome.startswith("skip ") else ""
        print(f"{word} {self.number} - {test.id()}{more}{skip}")
        for line in "".join(self.comments).splitlines():
            print(f"# {line}")
        sys.stdout.flush()
        self.comments = []

    def _end(self, test, outcome, comment=""):
        self.comments.append(comment)
        if isinstance(test, unittest.TestCase):
            self.outcome = self.outcome if self.outcome == "failed" else outcome
        else:  # not a test: a class or module that could not be set up or taken down
            self._print(test, outcome)

    def addSuccess(self, test):
        self._end(test, "passed")

    def addSkip(self, test, reason):
        self._end(test, "skip " + " ".join(reason.split()))

    def addError(self, test, err):
        self._end(test, "failed", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._end(test, "failed", f"{subtest.id()}\n{self._exc_info_to_string(err, test)}")

    def addExpectedFailure(self, test, err):
        self._end(test, "passed")

    def addUnexpectedSuccess(self, test):
        self._end(test, "failed", "passed, which was not expected\n")


def tests(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests(item)
        else:
            yield item


def load(name):
    """A name that leads to no tests, or a module with a mistake in it, is a test that fails."""
    try:
        found = unittest.defaultTestLoader.loadTestsFromName(name)
        if found.countTestCases():
            return found
        text = f"no tests in {name}"
    except Exception:  # pylint: disable=broad-except
        text = traceback.format_exc()

    def fail():
        raise RuntimeError(text)

    test = unittest.FunctionTestCase(fail)
    test.id = lambda: name
    return unittest.TestSuite([test])


def main(words):
    listing = words[:1] == ["--list"]
    directory, *names = words[1:] if listing else words
    sys.dont_write_bytecode = True
    sys.path.insert(0, directory)
    names = names or sorted(p.stem for p in pathlib.Path(directory).glob("test_*.py"))
    suite = unittest.TestSuite(map(load, names))
    if listing:
        classes = (test.id().rsplit(".", 1)[0] for test in tests(suite))
        for name, count in collections.Counter(classes).items():
            print(name, count)
        return 0
    print(f"1..{suite.countTestCases()}", flush=True)
    result = Tap()
    suite.run(result)
    return 0 if result.number >= suite.countTestCases() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
