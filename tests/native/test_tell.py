# SPDX-License-Identifier: GPL-2.0-only
"""`identity add` where there is nothing to tell: wrong words, and SAs that are not there."""

import json
import unittest

from native import Case, must, set_up_module

setUpModule = set_up_module  # pylint: disable=invalid-name
SA = ("--spi", "0xc0ffee01", "--dst", "10.9.0.2")


class Tell(Case):
    def setUp(self):
        super().setUp()
        self.load()

    def ids(self):
        return json.loads(must("bpftool", "-j", "map", "dump", "pinned", f"{self.dir}/clatch_ids"))

    def test_wrong_words(self):
        for words, text in (
                (("--dst", "10.9.0.2", "--peer-id", "x"), "Which SA? Give its --spi and --dst"),
                (("--spi", "1", "--peer-id", "x"), "Which SA? Give its --spi and --dst"),
                (SA, "Who is it? Give --peer-id"),
                ((*SA, "--local-id", "x"), "Who is it? Give --peer-id"),
                *(((*SA, "--peer-id", name), "--peer-id is no identity: up to 511 bytes")
                  for name in ("two\nlines", "\x1b[31m", "x\u0085", "x" * 512)),
                ((*SA, "--peer-id", "x", "--local-id", "\t"), "--local-id is no identity"),
                *(((*SA[:3], dst, "--peer-id", "x"), f"--dst '{dst}' is no address")
                  for dst in ("db1.example", "10.9.0.2/32", "fe80::1%c0")),
                ((*SA, "--peer-id", "x", "--proto", "50"), "--proto '50' is neither esp nor ah"),
                *((("--spi", spi, *SA[2:], "--peer-id", "x"),
                   f"--spi '{spi}' is no SPI: from 1 to 0xffffffff, hexadecimal as 0x")
                  for spi in ("0", "0x0", "c0ffee01", "0x100000000", "-1", " 1"))):
            with self.subTest(words=words):
                self.fails(2, text, "identity", "add", *words)
        self.assertEqual(self.ids(), [])

    def test_sa_that_is_not_there(self):
        """Names that nobody has take up none of the numbers there are."""
        for number in range(3):
            self.fails(1, "No SA with SPI 0xc0ffee01 to 10.9.0.2 in this network namespace",
                       "identity", "add", *SA, "--peer-id", f"db{number}.example")
        self.fails(1, "No SA with SPI 0xc0ffee01 to 10.9.0.2", "identity", "del", *SA)
        self.assertEqual(self.ids(), [])
        self.assertEqual(json.loads(self.ok("identity", "list", "--json")), {"identities": []})


if __name__ == "__main__":
    unittest.main(verbosity=2)
