# SPDX-License-Identifier: GPL-2.0-only
"""What rekeys and reauthentications of two strongSwan daemons do to a connection that is never
still, with clatch and without: to a stream at full speed, each way, and to a ping-pong.

Run by scripts/bench in the instruction-counted machine, where 1 ns is 1 instruction.  Both hosts
are on its one CPU, and both daemons: throughput is what all of them together take for a byte.

Laps of a fixed number of bytes are timed, with one rekey at the start of each; no lap is timed
while the results of the last are fetched.
"""

import collections
import os
import pathlib
import socket
import statistics
import struct
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ike  # noqa: E402
import results  # noqa: E402
import usage  # noqa: E402
from lab import ESP, ETH_P_ALL, Guard, Lab, wait_for  # noqa: E402
from pump import Pump  # noqa: E402

REKEYS = int(os.environ.get("REKEYS", "120"))  # under streams; a fifth as many reauthentications
LAP_MB = int(os.environ.get("LAP_MB", "16"))  # of a stream: 34 MB are about a second
ROUNDS = 2  # the cases take turns
WARM = 2  # laps that do not count: the kernel still frees what was unloaded before
QUIET = 6  # laps without a rekey before those with one
LISTED = 8  # laps; SAs that were replaced stay for seconds
LINES = 8  # of pump, a lap
CASES = "none", "clatch"
# What one line of pump stands for, and the share of the rekeys.
WAYS = {"out": (LAP_MB << 17, 2), "in": (LAP_MB << 17, 2), "ping": (200, 5)}
SETTINGS = {"daemon": {"make_before_break": "yes"}, "child": {"start_action": "trap"}}
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35

Lap = collections.namedtuple("Lap", "bytes ns gap_ns used")


def time_outs(host):
    """How often TCP's retransmission timer has run out."""
    rows = host.run("cat", "/proc/net/netstat").stdout.splitlines()
    return int(dict(zip(rows[0].split(), rows[1].split()))["TCPTimeouts"])


def segments_sent_again(sock):
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("I", info, 100)[0]


class Changeovers:
    """From the last packet on the wire under one of the guarded host's outbound SAs to the first
    under the next, in microseconds."""

    def __init__(self, host):
        self.sock = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.bind((host.dev, ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.setblocking(False)
        self.spi, self.last, self.took = None, 0, []

    def read(self):
        try:
            while True:
                frame, control, _, address = self.sock.recvmsg(64, 64)
                if address[2] == socket.PACKET_OUTGOING and frame[23] == ESP:
                    self._packet(frame[34:38], *struct.unpack("qq", control[0][2]))
        except BlockingIOError:
            pass

    def _packet(self, spi, seconds, nanoseconds):
        now = seconds * 10**6 + nanoseconds // 1000
        if self.spi not in (None, spi):
            self.took.append(now - self.last)
        self.spi, self.last = spi, now

    def close(self):
        self.read()
        self.sock.close()


class Guarded(Guard):
    """The peer is another machine: `run`, which follows each namespace that has a name, must not
    see that of its namespace.  It is as nice as its service (integration/clatch.service.in)."""

    def _words(self, *words):
        return ["nice", "-n", "-10", "unshare", "--mount", "sh", "-c", 'umount "$0" && exec "$@"',
                f"/run/netns/{self.lab.b.name}", *super()._words(*words)]


class Bench:
    def __init__(self, lab, daemons):
        self.lab = lab
        self.own = daemons.start(lab.a, ike.GUARDED, **SETTINGS)
        self.peer = daemons.start(lab.b, ike.PEER, **SETTINGS)
        self.peer.initiate()
        self.laps = collections.defaultdict(list)  # (case, way, what)
        self.changeovers = collections.defaultdict(list)  # case
        self.told = {}  # SPI of an SA made meanwhile: microseconds
        self.count = collections.Counter()
        self.again = collections.defaultdict(collections.Counter)  # (case, way): segments
        self.timers = collections.defaultdict(collections.Counter)  # (case, way): time-outs

    def settle(self):
        """charon reauthenticates nothing while it keeps SAs that were rekeyed."""
        wait_for("rekeyed SAs to go", lambda: len(self.own.sas()) == len(self.peer.sas()) == 1)

    @staticmethod
    def lap(pump, act, used):
        """And what it took of whom."""
        samples = []

        def begin():
            samples.append(used.sample())
            act()

        return Lap(*pump.lap(LINES, begin), usage.difference(used.sample(), samples[0]))

    def change(self, pump, act, used):
        """A lap during which all SAs are replaced."""
        def newest():
            return max(child for _, child, _, _ in self.own.sas())

        last = newest()
        lap = self.lap(pump, act, used)
        self.count["late"] += newest() == last
        wait_for("new SAs", lambda: newest() > last)
        return lap

    def listed(self, guard):
        return {sa["spi"]: sa["told_after_us"]
                for sa in guard.json("identity", "list")["identities"]}

    def note(self, guard, before):
        self.told.update((spi, told) for spi, told in self.listed(guard).items()
                         if spi not in before)

    def block(self, case, way, guard):
        share = ROUNDS * WAYS[way][1]
        pump = Pump(self.lab, way, WAYS[way][0])
        latch = guard and wait_for("the latch", lambda: (latch := guard.latch(pump.connection)) and
                                   latch["peer_id"] == ike.PEER and latch)
        before = self.listed(guard) if guard else {}
        timers = [time_outs(host) for host in (self.lab.a, self.lab.b)]
        wire = Changeovers(self.lab.a) if way == "ping" else None
        used = usage.Usage({"own": self.own.process, "peer": self.peer.process,
                            **({"run": guard.process} if guard else {})})
        for _ in range(WARM):
            self.lap(pump, int, used)
        acts = [("quiet", int)] * QUIET
        acts += [("reauth", daemon.reauthenticate) for daemon in (self.own, self.peer)
                 for _ in range(REKEYS // 5 // share // 2)]
        acts += [("rekey", daemon.rekey) for _ in range(REKEYS // share // 2)
                 for daemon in (self.own, self.peer)]
        for number, (what, act) in enumerate(acts):
            lap = (self.lap if what == "quiet" else self.change)(pump, act, used)
            self.laps[case, way, what].append(lap)
            if wire:
                wire.read()
            if guard and number % LISTED == LISTED - 1:
                self.note(guard, before)
        if wire:
            wire.close()
            self.changeovers[case] += wire.took
        if guard:
            self.note(guard, before)
            self.check(guard, latch, guard.latch(pump.connection))
        ends = pump.connection.a, pump.connection.b
        self.timers[case, way] += collections.Counter(
            {name: time_outs(host) - timer for name, host, timer in
             zip(("own", "peer"), (self.lab.a, self.lab.b), timers)})
        self.again[case, way] += collections.Counter(
            {name: segments_sent_again(sock) for name, sock in zip(("own", "peer"), ends)})
        pump.close()

    def check(self, guard, before, after):
        status = guard.json("status")
        self.count["kept_back"] += status["kept_back"]
        self.count["violations"] += sum(status["counters"].values())
        self.count["events"] += sum(e["event"] != "latched" for e in guard.events)
        self.count["resets"] += not after or (after["id"], after["state"]) != (
            before["id"], "ESTABLISHED")

    def run(self):
        for _ in range(ROUNDS):
            for way in WAYS:
                for case in CASES:
                    self.settle()
                    if case == "none":
                        self.block(case, way, None)
                        continue
                    with Guarded(self.lab, dev=False, follow=False) as guard:
                        guard.start_run("--vici", self.own.vici, "--reset-after", "never")
                        self.block(case, way, guard)

    def used(self, case, way, what):
        """Of a lap, in millions of instructions: all of it, and whose they were."""
        laps = self.laps[case, way, what]
        total = sum((collections.Counter(lap.used) for lap in laps), collections.Counter())
        total["all"] = sum(lap.ns for lap in laps)
        return {name: ns / len(laps) / 1e6 for name, ns in total.items()} if laps else {}

    def result(self):
        def rate(case, way, *whats):
            laps = [lap for what in whats for lap in self.laps[case, way, what]]
            return sum(lap.bytes for lap in laps) / sum(lap.ns for lap in laps) * 1000

        def longest(case, way):
            return max(lap.gap_ns for what in ("reauth", "rekey")
                       for lap in self.laps[case, way, what]) / 1e6

        def spread(values):
            return {"count": len(values), "median": statistics.median(values), "max": max(values)}

        found = {"rekeys": 0, "reauthentications": 0, **self.count}
        for way in WAYS:
            found["rekeys"] += len(self.laps["clatch", way, "rekey"])
            found["reauthentications"] += len(self.laps["clatch", way, "reauth"])
            found[way] = {
                "longest_ms": {case: longest(case, way) for case in CASES},
                "mb_s": {case: rate(case, way, "reauth", "rekey") for case in CASES},
                "quiet_mb_s": {case: rate(case, way, "quiet") for case in CASES},
            }
            found[way]["timers"] = {case: dict(self.timers[case, way]) for case in CASES}
            found[way]["sent_again"] = {case: dict(self.again[case, way]) for case in CASES}
        found["used"] = {case: {f"{way} {what}": self.used(case, way, what)
                                for way in WAYS for what in ("quiet", "rekey", "reauth")}
                         for case in CASES}
        found["changeover_us"] = {case: spread(self.changeovers[case]) for case in CASES}
        found["told_after_us"] = spread([told for told in self.told.values() if told is not None])
        return found


def show_used(found):
    print("  of a lap, millions of instructions, without / with clatch:")
    names = "all", "idle", "own", "peer", "run"
    print(f"  {'':14}", *(f"{name:>15}" for name in names))
    for lap in found["used"]["none"]:
        none, clatch = (found["used"][case][lap] for case in CASES)
        print(f"  {lap:14}", *(f"{none.get(name, 0):7.2f}/{clatch.get(name, 0):7.2f}"
                               for name in names))
    for key, what in ("sent_again", "segments sent again"), ("timers", "time-outs of TCP"):
        for way in WAYS:
            print(f"  {f'{what}, {way}, of this host and its peer':44}",
                  *("/".join(str(found[way][key][case].get(end, 0))
                             for end in ("own", "peer")).rjust(8) for case in CASES))


def show(found):
    print(f"{found['rekeys']} rekeys, {found['reauthentications']} reauthentications with clatch, "
          f"as many without:")
    print(f"  {'':44} {'without':>8} {'clatch':>8}")
    for way, text in (("out", "stream to the peer"), ("in", "stream from the peer")):
        for key, what in (("mb_s", "a rekey each lap"), ("quiet_mb_s", "no rekey")):
            none, clatch = (found[way][key][case] for case in CASES)
            print(f"  {f'{text}, {what}, MB/s':44} {none:8.2f} {clatch:8.2f}  "
                  f"ratio {clatch / none:.3f}")
    for way in WAYS:
        what = "longest round trip" if way == "ping" else f"longest pause of the stream {way}"
        print(f"  {f'{what}, ms':44}", *(f"{found[way]['longest_ms'][case]:8.1f}"
                                       for case in CASES))
    for what in ("median", "max"):
        print(f"  {f'from the old SA to the new on the wire, {what}, us':44}",
              *(f"{found['changeover_us'][case][what]:8.0f}" for case in CASES))
    show_used(found)
    told = found["told_after_us"]
    print(f"  from `run`'s hearing of an SA to its identity known, us: median {told['median']:.0f}, "
          f"max {told['max']}, of {told['count']} SAs")
    print(f"  violations {found['violations']}, resets {found['resets']}, "
          f"other events {found['events']}, packets kept back {found['kept_back']}, "
          f"late {found['late']}")


def wrong(found):
    """What makes the measurement a failure."""
    return [f"{found[what]} {what}" for what in ("violations", "resets", "events") if found[what]]


def main(out):
    with Lab() as lab, ike.Daemons(lab) as daemons:
        bench = Bench(lab, daemons)
        bench.run()
    found = bench.result()
    show(found)
    results.add(out, "rekey", found)
    if wrong(found):
        sys.exit("rekeys under load: " + ", ".join(wrong(found)))


if __name__ == "__main__":
    main(sys.argv[1])
