#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""include/clatch.h by itself: each compiler takes it, and the tests' structs are its own."""

import ctypes
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../program"))

import options as o  # noqa: E402
from native import HERE, must, run

ROOT = os.path.realpath(f"{HERE}/../..")


class Header(unittest.TestCase):
    def compile(self, compiler, *words):
        with tempfile.TemporaryDirectory() as place:
            must(*compiler, "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{ROOT}/include",
                 f"{ROOT}/tests/program/latched.c", *words, "-o", f"{place}/latched")
            done = run(f"{place}/latched")
            self.assertEqual(done.returncode, 2)

    def test_c(self):
        self.compile(["cc", "-std=c99", "-D_POSIX_C_SOURCE=200809L"])

    def test_cpp(self):
        self.compile(["c++", "-x", "c++", "-std=c++11"])

    def test_alone(self):
        for compiler, language in (("cc", "c"), ("c++", "c++")):
            done = subprocess.run([compiler, "-x", language, "-Wall", "-Wextra", "-pedantic",
                                   "-Werror", "-fsyntax-only", "-"],
                                  input=f'#include "{ROOT}/include/clatch.h"\n', text=True,
                                  capture_output=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_layout(self):
        """Python's structs are C's."""
        names = {"requirement": o.Requirement, "disposition": o.Disposition,
                 "sa_parameters": o.Parameters, "direction": o.Direction, "inquiry": o.Inquiry}
        lines = [f'_Static_assert(sizeof(struct clatch_{name}) == {ctypes.sizeof(kind)}, "{name}");'
                 for name, kind in names.items()]
        lines += [f"_Static_assert(__builtin_offsetof(struct clatch_{name}, {field.strip('_')}) == "
                  f'{getattr(kind, field).offset}, "{field}");'
                  for name, kind in names.items() for field, _ in kind._fields_
                  if field != "incoming"]
        done = subprocess.run(["cc", "-x", "c", "-fsyntax-only", "-"], text=True, check=False,
                              input=f'#include "{ROOT}/include/clatch.h"\n' + "\n".join(lines),
                              capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
