# SPDX-License-Identifier: GPL-2.0-only
"""What guarding costs those who have no IPsec: traffic in clear between two network namespaces,
without rules and without latches.

  clear.py native OUT    on this kernel, in a second of CPU time
  clear.py counted OUT   in the instruction-counted machine, where 1 ns is 1 instruction

Run by scripts/bench.  Natively, a rate is what one CPU can do in a second of its time, with the work of both
hosts.  Other work on the machine shows all the same, in the caches if nowhere else: so the cases
take turns, each rate is compared with that without anything in the same round, and the quartiles of
these ratios are printed with their median.

A stream that sends and receives what there is room for differs from round to round by more than any case
costs it, as TCP's rhythm does: how large the segments are, and how many are acknowledged at once.  So
it is measured once more with a rhythm that cannot differ, in blocks.
"""

import contextlib
import os
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import results  # noqa: E402
from round_trip import BUILD, empty_pair, nft  # noqa: E402
from lab import Guard, Host, Lab, cgroup2_mount, run  # noqa: E402

ROUNDS = int(os.environ.get("CLEAR_ROUNDS", "15"))
MS = int(os.environ.get("CLEAR_MS", "300"))  # of each rate
MB = 1e6
BLOCKS = "out_blocks", "in_blocks"
COUNTED = *BLOCKS, "connect", "sent", "sendto", "received"
WHATS = {
    "out": "TCP stream to the peer, bytes",
    "in": "TCP stream from the peer, bytes",
    "out_blocks": "the same to the peer, in blocks of 64 kB",
    "in_blocks": "the same from the peer",
    "connect": "TCP connections, from connect() to close()",
    "sent": "UDP datagrams sent, and received by the peer",
    "sendto": "the same, unconnected",
    "received": "UDP datagrams sent by the peer, and received",
}


class Link(Lab):
    """Two hosts, and nothing behind them."""

    def __init__(self):  # pylint: disable=super-init-not-called
        self.name = f"clatch{os.getpid()}"
        self.a, self.b = Host(self, "a", 1), Host(self, "b", 2)
        self.a.ip(f"link add {self.a.dev} type veth peer name {self.b.dev} netns {self.b.name}")
        for host in (self.a, self.b):
            host.ip(f"link set {host.dev} up", f"addr add {host.v4}/24 dev {host.dev}")
        # Else the peer, which closes first, has more and more connections that wait to be gone.
        self.b.run("sysctl", "-q", "net.ipv4.tcp_max_tw_buckets=0")
        self.cgroup = f"{cgroup2_mount()}/{self.name}"
        os.mkdir(self.cgroup)


def rate(lab, what, ms=MS):
    return float(run(BUILD / "rate", what, f"/run/netns/{lab.a.name}", f"/run/netns/{lab.b.name}",
                     lab.a.v4, lab.b.v4, lab.cgroup, ms).stdout)


@contextlib.contextmanager
def attached(guard):
    """It is loaded once, as that takes long; what is attached nowhere costs nothing."""
    guard.loader("attach", "--cgroup", guard.lab.cgroup)
    yield
    guard.loader("detach", "--cgroup", guard.lab.cgroup)


def cases(lab, guard):
    return {
        "none": contextlib.nullcontext,
        "empty": lambda: empty_pair(lab, None),
        "clatch": lambda: attached(guard),
        "nft": lambda: nft(lab, None),
    }


def measure(lab, guard):
    """Of each what and case: one rate a round."""
    enter = cases(lab, guard)
    found = {what: {case: [] for case in enter} for what in WHATS}
    names = list(enter)
    for number in range(ROUNDS):
        for what in WHATS:
            for case in names[number % len(names):] + names[:number % len(names)]:
                with enter[case]():
                    found[what][case].append(rate(lab, what))
    return found


def instructions(lab, what):
    """Of a stream, for a million bytes: the middle of some runs, short ones, as to copy a byte takes an
    instruction.  Else for one, the least of some: where the kernel's tables put a socket differs."""
    if what in BLOCKS:
        return round(1e9 * MB / statistics.median(rate(lab, what, MS // 8) for _ in range(9)))
    return round(1e9 / max(rate(lab, what) for _ in range(3)))


def counted(lab, guard):
    """Of each what and case: instructions."""
    found = {}
    print("Instructions of traffic in clear, of a stream for a million bytes, and the share of what can be "
          "done in a second:", flush=True)
    for what in COUNTED:
        found[what] = {}
        for case, enter in cases(lab, guard).items():
            with enter():
                found[what][case] = instructions(lab, what)
        none = found[what]["none"]
        print(f"  {WHATS[what]}: {none:,}", flush=True)
        for case, cost in found[what].items():
            if case != "none":
                print(f"    {case:15} {cost - none:+,}  ({none / cost:.3f})", flush=True)
    return found


def show(found):
    for what, text in WHATS.items():
        none = found[what]["none"]
        print(f"  {text}: {statistics.median(none):,.0f}")
        for case, rates in found[what].items():
            if case != "none":
                ratios = [rate / base for rate, base in zip(rates, none)]
                low, median, high = statistics.quantiles(ratios, n=4)
                print(f"    {case:15} {median:.3f}  ({low:.3f} to {high:.3f})")


def native(lab, guard):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"Traffic in clear, Linux {os.uname().release}: in a second of CPU time, and the share of "
          f"that; median of {ROUNDS} rounds (quartiles):", flush=True)
    found = measure(lab, guard)
    show(found)
    return found


def main(mode, out):
    with Link() as lab, Guard(lab, dev=False, cgroup=False, follow=False) as guard:
        found = {"native": native, "counted": counted}[mode](lab, guard)
        if guard.json("status")["latches"]:
            raise RuntimeError("something was latched")
    results.add(out, "clear" if mode == "native" else "clear_counted", found)


if __name__ == "__main__":
    main(*sys.argv[1:])
