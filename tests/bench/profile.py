# SPDX-License-Identifier: GPL-2.0-only
"""Where the instructions of a guarded round trip go: by program, and in it by function or helper.

Run by scripts/bench in the instruction-counted machine, where a sample at equal times is one at
equal numbers of instructions.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import bench  # noqa: E402: finds the lab
import ipsec  # noqa: E402
from lab import Guard, Lab, run  # noqa: E402

ROUNDS = 5000
SAMPLES = 10000  # a second, which is a thousand million instructions
OURS = re.compile(r"bpf_prog_[0-9a-f]+_(\w+)")
LEAST = 0.01  # of a program's own: what is less is told as "other"


def stacks(data):
    """Of each sample, the functions from the innermost on."""
    out = subprocess.run(["perf", "script", "-i", data, "-F", "ip,sym"], capture_output=True,
                         text=True, check=True).stdout
    for sample in out.split("\n\n"):
        names = [line.split(None, 1)[1] for line in sample.splitlines() if len(line.split()) > 1]
        if names:
            yield [name.split("+0x")[0] for name in names]


def place(stack):
    """(program, function) where a sample is clatch's: a helper counts as what calls it does."""
    ours = [i for i, name in enumerate(stack) if OURS.match(name)]
    if not ours:
        return None
    leaf = stack[ours[0] - 1] if ours[0] else OURS.match(stack[0])[1]
    return OURS.match(stack[ours[-1]])[1], leaf


def samples(lab, shape):
    """How many there are by place; None: not clatch's."""
    with tempfile.NamedTemporaryFile() as data:
        subprocess.run(["perf", "record", "-q", "-a", "-g", "-e", "cpu-clock", "-F", str(SAMPLES),
                        "-o", data.name, bench.BUILD / "round_trip", shape.upper,
                        f"/run/netns/{lab.a.name}", f"/run/netns/{lab.b.name}",
                        lab.a.address(shape.family), lab.b.address(shape.family), lab.cgroup,
                        str(ROUNDS)], check=True, stdout=subprocess.DEVNULL)
        return collections.Counter(map(place, stacks(data.name)))


def profile(lab, shape):
    """Instructions of a round trip by program and function."""
    ipsec.install(lab, shape, bench.SPIS)
    with Guard(lab, dev=False, follow=False):
        trip = bench.round_trip(lab, shape.upper, shape.family)
        found = samples(lab, shape)
    ipsec.flush(lab.a, lab.b)
    by_program = collections.defaultdict(dict)
    for where, count in found.most_common():
        if where:
            by_program[where[0]][where[1]] = round(count / found.total() * trip)
    return by_program


def tell(by_program):
    for program, parts in by_program.items():
        total = sum(parts.values())
        print(f"    {program} {total:,}", flush=True)
        for name, count in parts.items():
            if count >= LEAST * total:
                print(f"      {count:6,} {name}", flush=True)


def main(out):
    path = pathlib.Path(out)
    both = json.loads(path.read_text()) if path.exists() else {}
    both["profile"] = {}
    run("sysctl", "-w", "kernel.perf_event_max_sample_rate=100000", "kernel.kptr_restrict=0",
        "kernel.perf_cpu_time_max_percent=0")
    for name in ("udp, ipv4", "tcp, ipv4"):
        proto, family = bench.ROUND_TRIPS[name]
        print(f"  {name}, instructions by program", flush=True)
        with Lab() as lab:
            both["profile"][name] = profile(lab, ipsec.Shape(suite=ipsec.NULL_BOTH, upper=proto,
                                                             family=family))
        tell(both["profile"][name])
    path.write_text(json.dumps(both) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
