# SPDX-License-Identifier: GPL-2.0-only
"""What `run` takes to follow 10,000 SAs that are installed, and as many that are removed, in each
second; and what a refused packet costs beside one that an nftables rule drops at the same place.

Run by scripts/bench in the instruction-counted machine, where 1 ns is 1 instruction, and a second
10^9 of them, on one CPU: the kernel, who installs, and `run` share it.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
from lab import Connection, Guard, Lab, wait_for  # noqa: E402
from storm import Storm  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CLATCH_BUILD", "build"))
RATE = 10_000  # SAs a second
SECONDS = int(os.environ.get("STORM_SECONDS", "3"))
DATAGRAMS = 20_000
SHAPE = ipsec.Shape(upper="udp", suite=ipsec.NULL_BOTH)
DROP = "table ip flooded { chain c { type filter hook output priority 0; udp dport %d drop; }; }"


def cpu_ns(process):
    return int(pathlib.Path(f"/proc/{process.pid}/schedstat").read_text().split()[0])


def follow(lab):
    """The storm, while a connection is held."""
    ipsec.install(lab, SHAPE)
    with Guard(lab, dev=False) as guard:
        connection = Connection(lab, "udp")
        connection.exchange()
        latch = guard.latch(connection)
        storm = Storm(lab, guard)
        guard.forget()
        before, began = cpu_ns(guard.process), time.monotonic()
        for number in range(RATE * SECONDS // storm.batch):
            while time.monotonic() < began + number * storm.batch / RATE:
                time.sleep(0.001)
            storm.step()
        took, overruns = time.monotonic() - began, storm.overruns()
        storm.wait_followed()
        cpu = cpu_ns(guard.process) - before
        connection.exchange()
        kept = guard.latch(connection)
        found = {"sas": RATE * SECONDS, "seconds": took, "run_instructions": cpu / RATE / SECONDS,
                 "overruns": overruns, "events": len(guard.events),
                 "kept": (kept["id"], kept["state"]) == (latch["id"], "ESTABLISHED")}
        storm.close()
        connection.close()
    ipsec.flush(lab.a, lab.b)
    return found


def send(sock, count=DATAGRAMS):
    """Instructions a datagram; all are refused."""
    words = BUILD / "flood", sock.fileno(), "-", 0, count, 0
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True,
                          pass_fds=[sock.fileno()])
    each, _, refused = map(int, done.stdout.split())
    if refused != count:
        raise RuntimeError(f"{count - refused} were not refused")
    return each


@contextlib.contextmanager
def connected(lab):
    connection = Connection(lab, "udp")
    try:
        yield connection
    finally:
        connection.close()


def refuse(lab):
    """A socket that goes on sending in clear."""
    found = {}
    with connected(lab) as connection:
        lab.a.run("nft", DROP % connection.peer[1])
        found["nft"] = send(connection.a)
        lab.a.run("nft", "flush", "ruleset")
    ipsec.install(lab, SHAPE)
    with Guard(lab, dev=False) as guard, connected(lab) as connection:
        connection.exchange()
        ipsec.flush(lab.a, lab.b)
        wait_for("run to have seen it", lambda: guard.latch(connection)["state"] == "BROKEN")
        found["clatch"] = send(connection.a)
        wait_for("all to be told", lambda: sum(e["count"] for e in guard.events
                                               if e["event"] == "violation") >= DATAGRAMS)
        found["lines"] = len(guard.events)
    return found


def show(found):
    storm, cost = found["storm"], found["refused"]
    print(f"{storm['sas']:,} SAs installed and removed in {storm['seconds']:.2f} s:")
    print(f"  `run`, instructions for each, there and gone: {storm['run_instructions']:,.0f}; "
          f"messages lost: {storm['overruns']}")
    print("Instructions of a datagram that is refused:")
    print(f"  nftables {cost['nft']:,}   clatch {cost['clatch']:,}, "
          f"{DATAGRAMS:,} reported in {cost['lines']} lines")


def main(out):
    with Lab() as lab:
        found = {"storm": follow(lab), "refused": refuse(lab)}
    show(found)
    path = pathlib.Path(out)
    both = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**both, **found}) + "\n")
    if found["storm"]["events"] or not found["storm"]["kept"]:
        sys.exit("a latch suffered from SAs that are none of its own")


if __name__ == "__main__":
    main(sys.argv[1])
