# SPDX-License-Identifier: GPL-2.0-only
"""What a datagram costs that is refused as its latch is BROKEN, counted, and merged with others into
a line; beside one that an nftables rule drops at the output hook, and tells nobody.

Run by scripts/bench in the instruction-counted machine, where 1 ns is 1 instruction.
"""

import contextlib
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
import results  # noqa: E402
from lab import Connection, Guard, Lab, wait_for  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CLATCH_BUILD", "build"))
DATAGRAMS = 20_000
SHAPE = ipsec.Shape(upper="udp", suite=ipsec.NULL_BOTH)
DROP = "table ip flooded {{ chain c {{ type filter hook output priority 0; udp dport {} drop; }}; }}"


def send(sock):
    """Instructions a datagram; all are refused."""
    words = BUILD / "flood", sock.fileno(), "-", 0, DATAGRAMS, 0
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True,
                          pass_fds=[sock.fileno()])
    each, _, refused, _ = map(int, done.stdout.split())
    if refused != DATAGRAMS:
        raise RuntimeError(f"{DATAGRAMS - refused} were not refused")
    return each


def told(guard):
    with guard.more:
        return sum(e["count"] for e in guard.events if e["event"] == "violation")


def by_nft(lab, connection):
    lab.a.run("nft", DROP.format(connection.peer[1]))
    cost = send(connection.a)
    lab.a.run("nft", "flush", "ruleset")
    return cost


def by_clatch(lab, guard, connection):
    """The SPD and the SAs are flushed: it would go on in clear."""
    connection.exchange()
    ipsec.flush(lab.a, lab.b)
    wait_for("it to be BROKEN", lambda: guard.latch(connection)["state"] == "BROKEN")
    cost = send(connection.a)
    wait_for("all to be reported", lambda: told(guard) >= DATAGRAMS)
    return cost


def main(out):
    with Lab() as lab:
        with contextlib.closing(Connection(lab, "udp")) as connection:
            found = {"nft": by_nft(lab, connection)}
        ipsec.install(lab, SHAPE)
        with Guard(lab, dev=False) as guard:
            with contextlib.closing(Connection(lab, "udp")) as connection:
                found["clatch"] = by_clatch(lab, guard, connection)
            print(f"Instructions of a datagram that is refused: nftables {found['nft']:,}, "
                  f"clatch {found['clatch']:,}; reported {told(guard):,} in {len(guard.events)} lines")
    results.add(out, "refused", found)


if __name__ == "__main__":
    main(sys.argv[1])
