# SPDX-License-Identifier: GPL-2.0-only
"""Which part of clatch's work a line of its programs does."""

import functools
import pathlib
import re

from executed import Table

# The first is meant whose pattern is in a line's "FILE FUNCTION TEXT".
PARTS = {
    "counters": r"__sync_fetch_and_add|fast_count",
    "identity": r"identity\.h|sa_told|key_tag",
    "rules, what programs ask for": r"rule\.h|must\.h|ask\.h|clear_watched|datagram|udp_closed",
    "lookup of the latch": r"lookup_elem|storage_get|place->|slot|fast_get|fast_side|held\.h",
    "reading the SA": r"protection\.h|fast_(in|out)bound|esp_spi|sa_(read|facts|know)|alg_name|"
                      r"suite_algorithms|replay_on|addr_xfrm",
    "building the key": r"packet\.h|header_ports|clear_(ports|latched)|flow_|in_clear",
    "comparing": r"fast\.h|sa\.h|hold\.h",
    "start, end, the rest": "",
}


@functools.cache
def source(file):
    """Its lines, and the function that each is in."""
    lines = pathlib.Path(file).read_text(encoding="utf-8").splitlines()
    starts = ((number, re.match(r"(?!SEC)\w[^;]*?(\w+)\(", line))
              for number, line in enumerate(lines, 1))
    return lines, Table({number: start[1] for number, start in starts if start})


def described(line):
    """FILE FUNCTION, and the text."""
    file, number = line.split(":")
    lines, functions = source(file)
    return f"{file} {functions.find(int(number))}", lines[int(number) - 1]


def part(line):
    text = " ".join(described(line))
    return next(name for name, pattern in PARTS.items() if re.search(pattern, text))
