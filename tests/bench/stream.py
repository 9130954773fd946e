# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a TCP stream's throughput over real ESP (AES-GCM), with clatch and its rivals.

Run by scripts/bench in the instruction-counted machine, where 1 ns is 1 instruction.  Both hosts
are on its one CPU: throughput is what both together take for a byte.  The cases take turns, and
what is printed is the median of their ratios to the case without anything in the same round.
"""

import json
import os
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
import results  # noqa: E402
from round_trip import CASES, SPIS  # noqa: E402
from lab import Lab, run  # noqa: E402
from pump import Pump  # noqa: E402

ROUNDS = int(os.environ.get("STREAM_ROUNDS", "5"))
STEP = 1 << 20
WARM, TIMED = 1, 4  # steps
CONNECTIONS = 3  # each has a rhythm of its own, of segments and acknowledgements, and keeps it
COMPARED = "none", "empty", "clatch", "clatch_identity", "nft"
WAYS = {"out": "to the peer", "in": "from the peer"}


def timed(lab, way):
    pump = Pump(lab, way, STEP)
    pump.lap(WARM)
    lap = pump.lap(TIMED)
    pump.close()
    return lap


def throughput(lab, way):
    """In MB/s."""
    laps = [timed(lab, way) for _ in range(CONNECTIONS)]
    return sum(lap.bytes for lap in laps) / sum(lap.ns for lap in laps) * 1000


def program_times():
    """Of all that are loaded: calls, and nanoseconds."""
    programs = json.loads(run("bpftool", "-j", "prog").stdout)
    return [sum(program.get(f"run_{what}", 0) for program in programs) for what in ("cnt", "time_ns")]


def programs_share(lab, way):
    """Calls of BPF programs in a lap of a stream, and what they took of it, measuring included."""
    pump = Pump(lab, way, STEP)
    pump.lap(WARM)
    run("sysctl", "-q", "kernel.bpf_stats_enabled=1")
    before = program_times()
    lap = pump.lap(TIMED)
    run("sysctl", "-q", "kernel.bpf_stats_enabled=0")
    calls, took = (after - before for after, before in zip(program_times(), before))
    pump.close()
    return {"calls": calls, "ns": took, "lap_ns": lap.ns}


def measure(lab, shape):
    """Of every way and case: one figure a round."""
    found = {way: {case: [] for case in COMPARED} for way in WAYS}
    for _ in range(ROUNDS):
        for case in COMPARED:
            with CASES[case](lab, shape.family):
                for way in WAYS:
                    found[way][case].append(throughput(lab, way))
    return found


def account(lab, shape):
    """Of every way and case with programs."""
    shares = {way: {} for way in WAYS}
    for case in "empty", "clatch", "clatch_identity":
        with CASES[case](lab, shape.family):
            for way in WAYS:
                shares[way][case] = programs_share(lab, way)
    return shares


def show(found):
    for way, text in WAYS.items():
        none = found[way]["none"]
        print(f"  {text}")
        for case, rates in found[way].items():
            ratio = statistics.median(rate / base for rate, base in zip(rates, none))
            print(f"    {case:15} {statistics.median(rates):8.2f} MB/s  {ratio:.4f}")


def show_shares(shares):
    print("  what programs took themselves; the kernel's calling them, and TCP's rhythm, are not in it:")
    for way, text in WAYS.items():
        empty = shares[way]["empty"]
        for case, share in shares[way].items():
            each = share["ns"] / share["calls"] - empty["ns"] / empty["calls"]
            print(f"    {text:14} {case:15} {share['calls']:6,} calls, {each:4.0f} instructions each "
                  f"more than an empty one: {each * share['calls'] / share['lap_ns']:.4f} of all")


def main(out, kind="stream"):
    """@kind: "stream_offload": ESP packets are made as late as can be, as a device with TSO has
    them; the hooks see them whole."""
    shape = ipsec.Shape(suite=ipsec.GCM, upper="tcp")
    if kind == "stream_offload":
        run("modprobe", "esp4_offload")
    print(f"A TCP stream over ESP (AES-GCM), IPv4, median of {ROUNDS} rounds of {CONNECTIONS} times "
          f"{TIMED} MB{', with esp4_offload' if kind == 'stream_offload' else ''}:", flush=True)
    with Lab() as lab:
        ipsec.install(lab, shape, SPIS)
        found = measure(lab, shape)
        shares = account(lab, shape)
    show(found)
    show_shares(shares)
    results.add(out, kind, {**found, "programs": shares})


if __name__ == "__main__":
    main(*sys.argv[1:])
