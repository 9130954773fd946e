# SPDX-License-Identifier: GPL-2.0-only
"""What `run` takes to follow 10,000 SAs that are installed, and as many that are removed, in each
second, while a connection is held.

Run by scripts/bench in the instruction-counted machine, where 1 ns is 1 instruction, and a second
10^9 of them, on one CPU: the kernel, who installs, and `run` share it.
"""

import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
import results  # noqa: E402
from lab import Connection, Guard, Lab  # noqa: E402
from storm import Storm  # noqa: E402

RATE = 10_000  # SAs a second
SECONDS = int(os.environ.get("STORM_SECONDS", "3"))


def cpu_ns(process):
    return int(pathlib.Path(f"/proc/{process.pid}/schedstat").read_text().split()[0])


def keep_pace(storm):
    """How long it took."""
    began = time.monotonic()
    for number in range(RATE * SECONDS // storm.batch):
        while time.monotonic() < began + number * storm.batch / RATE:
            time.sleep(0.001)
        storm.step()
    return time.monotonic() - began


def follow(lab, guard, connection):
    connection.exchange()
    latch = guard.latch(connection)
    storm = Storm(lab, guard)
    storm.prepare(RATE * SECONDS // storm.batch)
    guard.forget()
    before = cpu_ns(guard.process)
    took = keep_pace(storm)
    storm.wait_followed()
    cpu = cpu_ns(guard.process) - before
    connection.exchange()
    kept = guard.latch(connection)
    return {"sas": RATE * SECONDS, "seconds": took, "run_instructions": cpu / RATE / SECONDS,
            "messages_lost": storm.overruns(), "events": len(guard.events),
            "kept": (kept["id"], kept["state"]) == (latch["id"], "ESTABLISHED")}


def main(out):
    with Lab() as lab:
        ipsec.install(lab, ipsec.Shape(upper="udp"))
        with Guard(lab, dev=False) as guard:
            found = follow(lab, guard, Connection(lab, "udp"))
    print(f"{found['sas']:,} SAs installed and removed in {found['seconds']:.2f} s: `run` takes "
          f"{found['run_instructions']:,.0f} instructions for each; {found['messages_lost']} "
          f"messages were lost to it")
    results.add(out, "sas", found)
    if found["events"] or not found["kept"]:
        sys.exit("a latch suffered from SAs that are none of its own")


if __name__ == "__main__":
    main(sys.argv[1])
