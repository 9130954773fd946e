# SPDX-License-Identifier: GPL-2.0-only
"""What a flood of violations costs others: the round trips of a good flow while 100,000 datagrams a
second are refused on another CPU.

On the running kernel, in clear.  The good flow is UDP from and to the guarded cgroup, on which the
policy has a rule for other ports; its rate is that of tests/bench/round_trip.c on one CPU.
On the other is tests/bench/flood.c:
  quiet   it is not there
  spin    it sends nothing, and takes as much CPU time for each datagram as under clatch: what comes
          of this is the neighbour's being busy at all, as CPUs share caches, or a core
  nft     what it sends is dropped by an nftables rule
  clatch  it is refused by clatch, and reported, with `run` printing
and, each way:
  out  a local program sends: refused at the output hook, or cgroup egress
  in   the peer sends: dropped at the input hook, or cgroup ingress
The cases take turns; each ratio is of neighbours, and the median of these is what counts.

Then 100,000 a second for 30 s in one go: all that was refused has to be in the counter, and in what
`run` has printed, or reported as lost.
"""

import contextlib
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import results  # noqa: E402
from lab import Guard, Host, Lab, cgroup2_mount, wait_for  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CLATCH_BUILD", "build"))
PAIRS = int(os.environ.get("PAIRS", "9"))
SECONDS = int(os.environ.get("FLOOD_SECONDS", "30"))
RATE = 100_000  # datagrams a second
ROUNDS = 12_000  # of which there are five batches
PORT = 9
RULE = f"[rule flooded]\nproto = udp\n{{way}}-port = {PORT}\nrequire = ipsec\n"
WAYS = {"out": "remote", "in": "local"}
CHAIN = {"out": "output", "in": "input"}
CASES = "quiet", "spin", "nft", "clatch"
GOOD, FLOOD = sorted(os.sched_getaffinity(0))[:2]


class Clear(Lab):
    """Without the networks behind the hosts: not every kernel has devices for them."""

    def __init__(self):  # pylint: disable=super-init-not-called
        self.name = f"clatch{os.getpid()}"
        self.a, self.b = Host(self, "a", 1), Host(self, "b", 2)
        self.a.ip(f"link add {self.a.dev} type veth peer name {self.b.dev} netns {self.b.name}")
        for host in (self.a, self.b):
            host.ip("link set lo up", f"link set {host.dev} up",
                    f"addr add {host.v4}/24 dev {host.dev}")
        self.cgroup = f"{cgroup2_mount()}/{self.name}"
        os.mkdir(self.cgroup)


class Flood:
    """One flooder, from its start on.  clatch looks at the sockets of the guarded cgroup only."""

    def __init__(self, lab, way, *, guarded, count=0):
        if way == "out":
            self.socks, address = [_socket(lab, lab.a, guarded)], lab.b.v4
        else:
            self.socks = [_socket(lab, lab.b, False), _socket(lab, lab.a, guarded, PORT)]
            address = lab.a.v4
        self.way = way
        self.process = _flood(self.socks[0].fileno(), address, PORT, count, socks=self.socks)

    def end(self):
        """Numbers of flood.c; how many were refused.  The sender hears nothing of what is dropped
        on its way in: all are."""
        pace, sent, refused, cpu = map(int, self.process.communicate()[0].split())
        for sock in self.socks:
            sock.close()
        return {"datagram_ns": pace, "cpu_ns": cpu,
                "refused": refused if self.way == "out" else sent}


def _socket(lab, host, guarded, port=0):
    with lab.guarded() if guarded else contextlib.nullcontext():
        sock = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host.v4, port))
    return sock


def _flood(fd, address, port, count, socks=()):
    words = "taskset", "-c", FLOOD, BUILD / "flood", fd, address, port, count, RATE
    return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE,
                            pass_fds=[sock.fileno() for sock in socks], text=True)


class Bench:
    def __init__(self, lab, guard, way):
        self.lab, self.guard, self.way = lab, guard, way
        self.took = {case: [] for case in CASES}
        self.floods = {case: [] for case in ("nft", "clatch")}
        self.counted = self.counter()
        self.guard.forget()
        with tempfile.NamedTemporaryFile("w") as rules:
            rules.write(RULE.format(way=WAYS[way]))
            rules.flush()
            guard.loader("policy", "load", rules.name)

    def counter(self):
        return self.guard.counters()["clear"]

    def round_trip(self):
        words = ("taskset", "-c", GOOD, BUILD / "round_trip", "udp",
                 f"/run/netns/{self.lab.a.name}", f"/run/netns/{self.lab.b.name}", self.lab.a.v4,
                 self.lab.b.v4, self.lab.cgroup, ROUNDS)
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True)
        return int(done.stdout)

    @contextlib.contextmanager
    def flooded(self, case):
        flood = Flood(self.lab, self.way, guarded=case == "clatch")
        try:
            yield
        finally:
            flood.process.terminate()
            self.floods[case].append(flood.end())

    @contextlib.contextmanager
    def spin(self):
        busy = statistics.median(flood["cpu_ns"] for flood in self.floods["clatch"])
        process = _flood(-int(busy), "-", 0, 0)
        try:
            yield
        finally:
            process.terminate()
            process.communicate()

    @contextlib.contextmanager
    def nft(self):
        self.lab.a.run("nft", f"table ip flooded {{ chain c {{ type filter hook "
                              f"{CHAIN[self.way]} priority 0; udp dport {PORT} drop; }}; }}")
        try:
            with self.flooded("nft"):
                yield
        finally:
            self.lab.a.run("nft", "flush", "ruleset")

    def neighbour(self, case):
        return {"quiet": contextlib.nullcontext, "spin": self.spin, "nft": self.nft,
                "clatch": lambda: self.flooded("clatch")}[case]()

    def turns(self):
        with self.flooded("clatch"):  # what it takes is what the others are to spin
            self.round_trip()
        for _ in range(PAIRS):
            for case in CASES:
                with self.neighbour(case):
                    self.took[case].append(self.round_trip())

    def ratio(self, case, to):
        return statistics.median(a / b for a, b in zip(self.took[case], self.took[to]))

    def at_length(self):
        """One flood, and the good flow's median beside it."""
        flood = Flood(self.lab, self.way, guarded=True, count=SECONDS * RATE)
        took = []
        while flood.process.poll() is None:
            took.append(self.round_trip())
        found = flood.end()
        self.floods["clatch"].append(found)
        return {**found, "round_trip_ns": statistics.median(took),
                "ratio": statistics.median(took) / statistics.median(self.took["quiet"])}

    def run(self):
        self.turns()
        long = self.at_length()
        counted = self.counter() - self.counted
        wait_for("all to be reported", lambda: self.told("violation", "lost") >= counted)
        return {"round_trip_ns": {case: statistics.median(self.took[case]) for case in CASES},
                "to_quiet": {case: self.ratio(case, "quiet") for case in CASES[1:]},
                "to_spin": {case: self.ratio(case, "spin") for case in CASES[2:]},
                "cpu_ns": {case: statistics.median(flood["cpu_ns"] for flood in floods)
                           for case, floods in self.floods.items()},
                "at_length": long, "counted": counted, "told": self.told("violation", "lost"),
                "lost": self.told("lost"), "lines": len(self.guard.events),
                "refused": sum(flood["refused"] for flood in self.floods["clatch"])}

    def told(self, *kinds):
        with self.guard.more:
            return sum(event["count"] for event in self.guard.events if event["event"] in kinds)


def show(way, found):
    print(f"  {way:9} round trip  to quiet  to spin  CPU time of a refused datagram")
    for case in CASES:
        ratios = "".join(f"{found[to].get(case, 1):{width}.3f}" if case in found[to] else " " * width
                         for to, width in (("to_quiet", 10), ("to_spin", 9)))
        cpu = f"{found['cpu_ns'][case]:,.0f} ns" if case in found["cpu_ns"] else ""
        print(f"    {case:7} {found['round_trip_ns'][case]:7,.0f} ns{ratios:19}  {cpu}".rstrip())
    long = found["at_length"]
    print(f"    for {SECONDS} s: {long['refused']:,} refused, one each {long['datagram_ns']:,} ns, round "
          f"trip {long['round_trip_ns']:,.0f} ns ({long['ratio']:.3f} to quiet)\n"
          f"    in all: refused {found['refused']:,}, counted {found['counted']:,}, told "
          f"{found['told']:,}, of them lost {found['lost']:,}, in {found['lines']} lines")


def main(out):
    print("A good flow's round trip while 100,000 datagrams a second are refused on another CPU:")
    result = {}
    with Clear() as lab, Guard(lab, dev=False) as guard:
        for way in WAYS:
            result[way] = Bench(lab, guard, way).run()
            show(way, result[way])
    results.add(out, "flood", result)
    wrong = [way for way, found in result.items()
             if not found["refused"] == found["counted"] == found["told"]]
    if wrong:
        sys.exit("not all was counted and reported: " + ", ".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1])
