# SPDX-License-Identifier: GPL-2.0-only
"""Latches as the pinned maps have them (include/clatch/latch.h, fast.h), written by hand."""

import ipaddress
import struct

NO_RULE = 0xffffffff
LISTENER, LARVAL, ESTABLISHED, BROKEN, CLOSED = 1, 2, 3, 4, 5
TUPLE = "<Q16s16sHHI"  # struct clatch_tuple
SIDE = "<HHIIIHHII"  # struct clatch_side: its SA, mark and device
OUTER = "<16s16sHH"
HEAD, TAIL = "<QQQQQII", "<BB2x16xII"  # struct clatch_latch around struct clatch_held
SLOT_SIDE = "<Q24xQQQ"  # struct clatch_fast_side: latch, packets, bytes, violations


def address(text):
    """Of 16 bytes, IPv4 v4-mapped."""
    number = ipaddress.ip_address(text)
    return number.packed if number.version == 6 else b"\0" * 10 + b"\xff\xff" + number.packed


def tuple_of(netns, local, remote, proto):
    """Of (address, port); a listener's remote is None.  Addresses as bytes or text."""
    ends = [(end if isinstance(end, bytes) else address(end), port)
            for end, port in (local, remote or (bytes(16), 0))]
    return struct.pack(TUPLE, netns, ends[0][0], ends[1][0], ends[0][1], ends[1][1], proto)


def side(suite=0, count=0, reqid=0, mark=0, ifindex=0):
    return struct.pack(SIDE, suite, count, reqid, 0, 0, 0, 0, mark, ifindex)


def outer(local, remote):
    return struct.pack(OUTER, address(local), address(remote), 0, 0)


NO_OUTER = bytes(struct.calcsize(OUTER))


def latch(number, state=ESTABLISHED, *, since=10 ** 9, changed=10 ** 9, cookie=0, listener=0,
          rule=NO_RULE, flags=0, causes=0, sides=(side(), side()), ends=NO_OUTER, slot=0):
    """@listener: of a LISTENER, how many listen; @sides: in, out."""
    return (struct.pack(HEAD, number, since, changed, cookie, listener, rule, flags) +
            b"".join(sides) + ends + struct.pack(TAIL, state, causes, 0, slot))


def counts(*ways):
    """A slot; @ways: (packets, bytes, violations) in, out."""
    return b"".join(struct.pack(SLOT_SIDE, 0, *way) for way in ways)
