# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the running kernel, from tests/native, that must hold on Debian's kernels as well."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "native"))

import native  # noqa: E402
import test_connect  # noqa: E402
import test_early  # noqa: E402
import test_option_values  # noqa: E402
import test_policy  # noqa: E402
import test_verifier  # noqa: E402

setUpModule = native.set_up_module  # pylint: disable=invalid-name


class Known(test_connect.Known):
    pass


class Exempt(test_connect.Exempt):
    pass


class Datagrams(test_connect.Datagrams):
    pass


class Take(test_option_values.Take):
    # net.core.optmem_max is of all namespaces up to 6.7: test_datagram.NoMemory sets that
    test_no_memory_to_note_the_latch = None


class Others(test_option_values.Others):
    pass


class Bounds(test_option_values.Bounds):
    pass


class Off(test_option_values.Off):
    pass


class Handshake(test_early.Handshake):
    pass


class Mptcp(test_early.Mptcp):
    pass


class FirstMatch(test_policy.InForce):
    """What rules do on this kernel; what policy files are does not differ."""


for name in set(unittest.TestLoader().getTestCaseNames(FirstMatch)) - {
        "test_first_match_wins", "test_latches_keep_their_rule"}:
    setattr(FirstMatch, name, None)


class Verifier(test_verifier.Verifier):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
