# SPDX-License-Identifier: GPL-2.0-only
"""What a flood of violations costs others: the round trips of a good flow while 100,000 datagrams a
second are refused on another CPU.

On the running kernel, in clear.  The good flow is UDP from and to the guarded cgroup, on which the
policy has a rule for other ports; its rate is that of tests/bench/round_trip.c on one CPU.
On the other, tests/bench/flood.c keeps the same pace in each case: it sends nothing; what it sends
is dropped by an nftables rule; or it is refused by clatch, and reported, with `run` printing.
  out  a local program sends: refused at the output hook, or cgroup egress
  in   the peer sends: dropped at the input hook, or cgroup ingress
The cases take turns; each ratio is of neighbours, and the median of these is what counts.

All that was refused has to be in the counter, and in what `run` has printed.
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
RATE = 100_000  # datagrams a second
ROUNDS = 12_000  # of which there are five batches
PORT = 9
RULE = f"[rule flooded]\nproto = udp\n{{way}}-port = {PORT}\nrequire = ipsec\n"
WAYS = {"out": "remote", "in": "local"}
CHAIN = {"out": "output", "in": "input"}
CASES = "pace", "nft", "clatch"
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


class Bench:
    def __init__(self, lab, guard, way):
        self.lab, self.guard, self.way = lab, guard, way
        self.refused = 0
        self.took = {case: [] for case in CASES}
        with tempfile.NamedTemporaryFile("w") as rules:
            rules.write(RULE.format(way=WAYS[way]))
            rules.flush()
            guard.loader("policy", "load", rules.name)

    def socket(self, host, guarded, port=0):
        with self.lab.guarded() if guarded else contextlib.nullcontext():
            sock = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host.v4, port))
        return sock

    def flood(self, case):
        """The flooder, and its sockets: clatch looks at those of the guarded cgroup only."""
        guarded = case == "clatch"
        if self.way == "out":
            socks = [self.socket(self.lab.a, guarded)]
            address = self.lab.b.v4
        else:
            socks = [self.socket(self.lab.b, False), self.socket(self.lab.a, guarded, PORT)]
            address = self.lab.a.v4
        fd = -1 if case == "pace" else socks[0].fileno()
        words = "taskset", "-c", FLOOD, BUILD / "flood", fd, address, PORT, 0, RATE
        return socks, subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE,
                                       pass_fds=[s.fileno() for s in socks], text=True)

    def round_trip(self):
        words = ("taskset", "-c", GOOD, BUILD / "round_trip", "udp",
                 f"/run/netns/{self.lab.a.name}", f"/run/netns/{self.lab.b.name}", self.lab.a.v4,
                 self.lab.b.v4, self.lab.cgroup, ROUNDS)
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True)
        return int(done.stdout)

    def nft(self):
        self.lab.a.run("nft", f"table ip flooded {{ chain c {{ type filter hook "
                              f"{CHAIN[self.way]} priority 0; udp dport {PORT} drop; }}; }}")

    def measure(self, case):
        if case == "nft":
            self.nft()
        socks, process = self.flood(case)
        self.took[case].append(self.round_trip())
        process.terminate()
        pace, sent, refused = map(int, process.communicate()[0].split())
        for sock in socks:
            sock.close()
        if case == "nft":
            self.lab.a.run("nft", "flush", "ruleset")
        if case == "clatch":
            self.refused += refused if self.way == "out" else sent
        return pace

    def run(self):
        paces = {case: [] for case in CASES}
        before = self.guard.counters()["clear"]
        self.guard.forget()
        for _ in range(PAIRS):
            for case in CASES:
                paces[case].append(self.measure(case))
        counted = self.guard.counters()["clear"] - before
        wait_for("all to be reported", lambda: self.told() >= counted)
        ratio = {case: statistics.median(a / b for a, b in zip(self.took[case], self.took["pace"]))
                 for case in CASES[1:]}
        return {"round_trip_ns": {case: statistics.median(self.took[case]) for case in CASES},
                "ratio": ratio, "datagram_ns": {case: statistics.median(paces[case])
                                                for case in CASES},
                "refused": self.refused, "counted": counted, "told": self.told(),
                "lines": len(self.guard.events)}

    def told(self):
        with self.guard.more:
            return sum(event["count"] for event in self.guard.events
                       if event["event"] in ("violation", "lost"))


def show(way, found):
    times, ratio = found["round_trip_ns"], found["ratio"]
    print(f"  {way:4} nothing sent {times['pace']:7,.0f} ns   nftables {times['nft']:7,.0f} "
          f"({ratio['nft']:.3f})   clatch {times['clatch']:7,.0f} ({ratio['clatch']:.3f})")
    print(f"       refused {found['refused']:,}, counted {found['counted']:,}, reported "
          f"{found['told']:,} in {found['lines']} lines")


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
