# SPDX-License-Identifier: GPL-2.0-only
"""What very many latches cost: packets, kernel memory, and the commands that read them.

  growth.py native OUT    on this kernel, in seconds, bytes and nanoseconds
  growth.py counted OUT   in the instruction-counted machine, where 1 ns is 1 instruction

Run by scripts/bench.  The latches are written by hand (tests/native/test_scale.py), as nobody can
open a million connections in the time; those of the round trips are real.
"""

import contextlib
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent / where) for where in ("e2e", "native", ".")]

import ipsec  # noqa: E402
import native  # noqa: E402
import results  # noqa: E402
from round_trip import SPIS, SteadyLab, round_trip  # noqa: E402
from lab import Guard, Host, Lab, run, wait_for  # noqa: E402
from test_scale import write_latches  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CLATCH_BUILD", "build"))
LATCHES = [int(n) for n in os.environ.get("LATCHES", "1000,100000,1000000").split(",")]
MAX_LATCHES = LATCHES[-1] + 1000  # room for those of real connections
LOOKUPS = 1000  # of one run of lookup.bpf.c
OF_LATCHES = ("clatch_latches", "clatch_ports", "clatch_fast", "clatch_fast_free", "clatch_more",
              "clatch_asked")
REMOTE = "10.0.7.0/24"
IDLE = 20  # seconds


def best(measure, times=3):
    return min(measure() for _ in range(times))


class PlainHost(Host):
    """Nothing behind it: not every kernel has dummy devices."""

    def lines_of_inner(self):
        return ("link set lo up",)

    def lines_of_link(self, other):
        return super().lines_of_link(other)[:3]


class PlainLab(Lab):
    host = PlainHost


class Growing:
    """An instance that is filled step by step."""

    def __init__(self, guard):
        self.guard, self.written = guard, 0
        self.netns = guard.lab.a.netns_cookie()

    def grow(self, latches):
        write_latches(self.guard.bpffs, self.netns, range(self.written, latches),
                      slots=MAX_LATCHES)
        self.written = latches


@contextlib.contextmanager
def lookup_program(guard):
    pin = f"/sys/fs/bpf/{guard.lab.name}-lookup"
    run("bpftool", "prog", "load", BUILD / "lookup.bpf.o", pin, "map", "name", "clatch_latches",
        "pinned", f"{guard.bpffs}/clatch_latches")
    try:
        yield pin
    finally:
        os.unlink(pin)


def lookups(pin, growing, idle):
    with tempfile.NamedTemporaryFile() as frame:
        frame.write(struct.pack("<14xBxI4xQ", idle, growing.written, growing.netns))
        frame.flush()
        # the last of some runs: its retval is what the program measured
        done = json.loads(run("bpftool", "-j", "prog", "run", "pinned", pin, "data_in", frame.name,
                              "repeat", 20).stdout)
    if not done["retval"]:
        raise RuntimeError("a latch was not found")
    return done["retval"]


def lookup(pin, growing):
    """Of one, for random latches."""
    return best(lambda: lookups(pin, growing, 0) - lookups(pin, growing, 1), 5) / LOOKUPS


def told(name, latches, **figures):
    """Printed, and kept."""
    words = (f"{key.replace('_', ' ')} {value:,.{3 if value < 10 else 0}f}"
             for key, value in figures.items())
    print(f"  {latches:9,} {name}: {', '.join(words)}", flush=True)
    return figures


def trips(lab):
    """Instructions of a round trip, of each transport; the kernel may be at other work for a second
    after very many latches were written."""
    found = {}
    for proto in ("udp", "tcp"):
        ipsec.install(lab, ipsec.Shape(suite=ipsec.NULL_BOTH, upper=proto), SPIS)
        found[proto] = best(lambda: round_trip(lab, proto, socket.AF_INET))
        ipsec.flush(lab.a, lab.b)
    return found


def counted():
    result = {}
    with SteadyLab() as lab:
        none = told("no clatch", 0, **trips(lab))
        with Guard(lab, "--max-latches", str(MAX_LATCHES), dev=False, follow=False) as guard, \
                lookup_program(guard) as pin:
            growing = Growing(guard)
            for latches in LATCHES:
                growing.grow(latches)
                result[latches] = told("instructions", latches, **trips(lab),
                                       lookup=lookup(pin, growing))
    return {"none": none, "latches": result}


def cpu_of_children():
    """Seconds, of those that have ended: hardly more on a busy machine than on a quiet one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def spent(pid):
    """Nanoseconds of CPU."""
    with open(f"/proc/{pid}/schedstat", encoding="utf-8") as fields:
        return int(fields.read().split()[0])


def kernel_bytes():
    """All that the kernel has allocated for itself in large and small pieces, when it is at rest:
    what was unloaded is freed a while later."""
    def taken():
        with open("/proc/meminfo", encoding="utf-8") as lines:
            return sum(int(line.split()[1]) for line in lines
                       if line.split(":")[0] in ("VmallocUsed", "Slab", "Percpu")) << 10

    last = 0
    while abs((now := taken()) - last) > 1 << 20:
        last = now
        time.sleep(1)
    return now


def command(guard, *words):
    """Seconds, those of CPU, and the most memory that it took; its output goes through a pipe."""
    began, cpu, peak, length = time.monotonic(), cpu_of_children(), 0, 0
    with subprocess.Popen(guard._words(*words), stdout=subprocess.PIPE) as process:
        while part := os.read(process.stdout.fileno(), 1 << 20):
            if not length or length >> 20 != (length + len(part)) >> 20:
                peak = max(peak, native.peak_kb(process.pid))
            length += len(part)
    if process.returncode:
        raise RuntimeError(f"{words}: {process.returncode}")
    return {"seconds": time.monotonic() - began, "cpu": cpu_of_children() - cpu,
            "peak_mb": peak / 1024, "mb": length / 1e6}


def commands(guard, latches):
    ways = {"list": ["list"], "list --json": ["list", "--json"],
            f"list --remote {REMOTE}": ["list", "--remote", REMOTE],
            "show": ["show", str(latches)], "status": ["status"]}
    return {name: told(name, latches, **min((command(guard, *words) for _ in range(3)),
                                            key=lambda c: c["cpu"]))
            for name, words in ways.items()}


def judge_all(guard, pid):
    """Has `run` judge all latches; until it is at rest again."""
    for change in ("add", "delete"):
        guard.lab.a.ip(f"xfrm policy {change} src 203.0.113.1 dst 203.0.113.2 dir fwd")
    before = -1

    def at_rest():
        nonlocal before
        last, before = before, spent(pid)
        time.sleep(0.5)
        return spent(pid) - last < 5e6

    wait_for("run to rest", at_rest, 60)


def fall_asleep(pid):
    """Until it has not run for longer than the second after which it looks once more."""
    def sleeps():
        before = spent(pid)
        time.sleep(2.5)
        return spent(pid) == before

    wait_for("run to sleep", sleeps, 60)


def daemon(guard, latches):
    pid = guard.process.pid
    before = spent(pid)
    judge_all(guard, pid)
    judged = spent(pid) - before
    fall_asleep(pid)
    before = spent(pid)
    time.sleep(IDLE)
    idle = spent(pid) - before
    with open(f"/proc/{pid}/status", encoding="utf-8") as lines:
        kb = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
    return told("run", latches, rss_mb=kb["VmRSS"] / 1024, peak_mb=kb["VmHWM"] / 1024,
                judging_ms=judged / 1e6, idle_us_a_second=idle / 1e3 / IDLE)


def load_seconds(lab, latches):
    began, cpu = time.monotonic(), cpu_of_children()
    with Guard(lab, "--max-latches", str(latches), dev=False, follow=False):
        return time.monotonic() - began, cpu_of_children() - cpu


def map_bytes(guard):
    """As the kernel tells; of a map with room for all latches from the start, all of them."""
    return {name: json.loads(run("bpftool", "-j", "map", "show", "pinned",
                                 f"{guard.bpffs}/{name}").stdout)["bytes_memlock"]
            for name in OF_LATCHES}


def policies(lab):
    """What protects them all: the first judgement has an order for each."""
    lab.a.ip(*(f"xfrm policy add src {src} dst {dst} dir {way} tmpl proto esp reqid 7 mode transport"
               for src, dst, way in (("192.0.2.1", "10.0.0.0/8", "out"),
                                     ("10.0.0.0/8", "192.0.2.1", "in"))))


def on_this_kernel():
    result = {"load": {}, "latches": {}}
    with PlainLab() as lab:
        for latches in (65536, MAX_LATCHES):
            seconds, cpu = best(lambda most=latches: load_seconds(lab, most), 5)
            result["load"][latches] = told("load", latches, seconds=seconds, cpu=cpu)
        taken = [kernel_bytes()]
        with Guard(lab, "--max-latches", str(MAX_LATCHES), dev=False, follow=False) as guard:
            taken.append(kernel_bytes())
            policies(lab)
            guard.start_run()
            with lookup_program(guard) as pin:
                growing = Growing(guard)
                for latches in LATCHES:
                    growing.grow(latches)
                    result["latches"][latches] = {
                        "commands": commands(guard, latches),
                        "run": daemon(guard, latches),
                        **told("ns", latches, lookup=lookup(pin, growing),
                               udp=round_trip(lab, "udp", socket.AF_INET)),
                    }
            taken.append(kernel_bytes())
            maps = map_bytes(guard)
        result["memory"] = told(
            "bytes a latch", MAX_LATCHES,
            **{name: size / MAX_LATCHES for name, size in maps.items()},
            told=sum(maps.values()) / MAX_LATCHES,
            taken_by_load=(taken[1] - taken[0]) / MAX_LATCHES,
            taken_by_latches=(taken[2] - taken[1]) / LATCHES[-1])
    return result


@contextlib.contextmanager
def bpffs():
    mounted = native.BPFFS in native.mounts("bpf")
    if not mounted:
        run("mount", "-t", "bpf", "bpf", native.BPFFS)
    yield
    if not mounted:
        run("umount", native.BPFFS)


def main(mode, out):
    with bpffs():
        results.add(out, f"growth_{mode}", {"native": on_this_kernel, "counted": counted}[mode]())


if __name__ == "__main__":
    main(*sys.argv[1:])
