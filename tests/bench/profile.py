# SPDX-License-Identifier: GPL-2.0-only
"""Where the instructions go that clatch costs a packet over real ESP: to which part of its programs, to
the kernel's helpers that this part calls, and to the kernel's calling of the programs.

Run by scripts/bench in the instruction-counted machine with a monitor ("scripts/vm -c -M").  A round
trip is 64 bytes out of the guarded host, and 64 back, as in round_trip.py; what that measures is
printed beside the sum.
"""

import collections
import contextlib
import pathlib
import socket
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
import results  # noqa: E402
from executed import Code, Monitor, Place, hook  # noqa: E402
from parts import PARTS, described, part  # noqa: E402
from round_trip import SPIS, SteadyLab, empty_pair, round_trip  # noqa: E402
from lab import Connection, Guard  # noqa: E402

WARM, TRACED = 50, 8  # round trips
TOLERANCE = 0.02
AROUND = "around it"  # the code of the kernel that the hook is called from
CALLING = "the kernel's calling of the programs"


class Unconnected(Connection):
    """The guarded host's socket names the address each time."""

    def __init__(self, lab, proto):
        super().__init__(lab, proto)
        self.a.close()
        with lab.guarded():
            self.a = lab.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.a.bind(self.own)

    def exchange(self, payload=b"hello"):
        self.a.sendto(payload, self.peer)
        self.b.recv(len(payload))
        self.b.send(payload)
        self.a.recv(len(payload))


class Unlike(Connection):
    """Its ports look like those of no latch (bpf/latch.h); the lab's look all alike."""

    def __init__(self, lab, proto):
        super().__init__(lab, proto, ports=(15000, 25000))


Case = collections.namedtuple("Case", "kind shape")


def shape(proto, **more):
    return ipsec.Shape(suite=ipsec.NULL_BOTH, upper=proto, **more)


EMPTY = "empty pair"
CASES = {
    "UDP": Case(Connection, shape("udp")),
    "TCP": Case(Connection, shape("tcp")),
    "UDP, ESP in AH": Case(Connection, shape("udp", nested=True)),
    "UDP, unconnected": Case(Unconnected, shape("udp")),
    "UDP in clear": Case(Unlike, None),
}


@contextlib.contextmanager
def protected(lab, how):
    if how:
        ipsec.install(lab, how, SPIS)
    yield
    ipsec.flush(lab.a, lab.b)


class Trip:
    """A round trip of which every instruction of the kernel is known."""

    def __init__(self, lab, monitor, case):
        self.code = Code()
        proto = case.shape.upper if case.shape else "udp"
        with protected(lab, case.shape):
            with contextlib.closing(case.kind(lab, proto)) as connection:
                self.executed = self.traced(connection, monitor)
            self.measured = (round_trip(lab, proto, socket.AF_INET)
                             if case.kind is not Unconnected else 0)

    def traced(self, connection, monitor):
        """The middle one of some, by what it took."""
        for _ in range(WARM):
            connection.exchange(bytes(64))
        with monitor.logging():
            for _ in range(TRACED):
                connection.exchange(bytes(64))
        executed = monitor.executed()
        sends = [at for at, address in enumerate(executed)
                 if address == self.code.symbols["__x64_sys_sendto"]]
        trips = [executed[start:end] for start, end in zip(sends[::2], sends[2::2])]
        return sorted(trips, key=len)[len(trips) // 2]

    def spent_in(self, functions):
        return sum(self.code.functions.find(address) in functions for address in self.executed)

    def more_than(self, none):
        """Where the instructions are that the trip has more than the one without anything, @none."""
        count, callers = hook(self.code, self.executed)
        count[Place(None, AROUND)] = self.spent_in(callers) - none.spent_in(callers)
        return count


def measure(lab, monitor):
    def trips(*names):
        return {name: Trip(lab, monitor, CASES[name]) for name in names}

    none = trips(*CASES)
    with empty_pair(lab, None):
        found = {EMPTY: trips("UDP")["UDP"]}
    with Guard(lab, dev=False, follow=False):
        found |= trips(*CASES)
    return {name: result(trip, none.get(name, none["UDP"])) for name, trip in found.items()}


def result(trip, none):
    where = trip.more_than(none)
    return {"where": [{"line": place.line, "function": place.function, "instructions": count}
                      for place, count in where.items()],
            "sum": sum(where.values()), "round_trip": trip.measured - none.measured}


def sums(case, name_of):
    """By name: a program's own instructions, and those of the helpers that it calls."""
    own, helpers = collections.Counter(), collections.Counter()
    for where in case["where"]:
        name = name_of(where["line"]) if where["line"] else CALLING
        (helpers if where["line"] and where["function"] else own)[name] += where["instructions"]
    return {name: f"{own[name]:,}" + (f" + {helpers[name]:,}" if helpers[name] else "")
            for name in own}


def show(found):
    columns = {name: sums(case, part) for name, case in found.items()}
    rows = {name: [column.get(name, "-") for column in columns.values()]
            for name in (CALLING, *PARTS)}
    rows["sum"] = [f"{case['sum']:,}" for case in found.values()]
    rows["round_trip.py"] = [f"{case['round_trip']:,}" if case["round_trip"] else "-"
                             for case in found.values()]
    print(f"  {'':37}", *(f"{name:>16}" for name in columns))
    for name, row in rows.items():
        print(f"  {name:37}", *(f"{cell:>16}" for cell in row))
    print("  UDP, by function (+ in helpers that it calls):")
    for name, count in sorted(sums(found["UDP"], lambda line: described(line)[0]).items()):
        print(f"    {name:45} {count:>10}")


def main(out):
    print("Where the instructions of a round trip go (64 bytes, ESP with the null cipher; a program's "
          "own + its helpers'):", flush=True)
    monitor = Monitor(pathlib.Path(out).resolve().with_name("trace.log"))
    with SteadyLab() as lab:
        found = measure(lab, monitor)
    monitor.log.unlink()
    show(found)
    results.add(out, "profile", found)
    wrong = [name for name, case in found.items()
             if case["round_trip"] and abs(case["sum"] / case["round_trip"] - 1) > TOLERANCE]
    if wrong:
        sys.exit("the sum is not what a round trip takes: " + ", ".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1])
