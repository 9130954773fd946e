# SPDX-License-Identifier: GPL-2.0-only
"""Where the instructions go that clatch costs a packet over real ESP: in which part of its programs, in
which helper of the kernel's, and in the kernel's calling of the programs.

Run by scripts/bench in the instruction-counted machine with a monitor ("scripts/vm -c -M").  A round
trip is 64 bytes out of the guarded host, and 64 back, as in round_trip.py; what that measures is
printed beside the sum.
"""

import collections
import contextlib
import os
import pathlib
import socket
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
import results  # noqa: E402
from round_trip import SPIS, SteadyLab, empty_pair, round_trip  # noqa: E402
from lab import Connection, Guard  # noqa: E402
from trace import Code, Monitor, Place, hook  # noqa: E402

WARM, TRACED = 50, 8  # round trips
AROUND = "before and after"  # the kernel's code from which the hook is called


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


Case = collections.namedtuple("Case", "kind shape")


def shape(proto, **more):
    return ipsec.Shape(suite=ipsec.NULL_BOTH, upper=proto, **more)


CASES = {
    "UDP": Case(Connection, shape("udp")),
    "TCP": Case(Connection, shape("tcp")),
    "UDP, ESP in AH": Case(Connection, shape("udp", nested=True)),
    "UDP, unconnected": Case(Unconnected, shape("udp")),
    "UDP in clear": Case(Connection, None),
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
        proto = case.shape.upper if case.shape else "udp"
        with protected(lab, case.shape):
            with contextlib.closing(case.kind(lab, proto)) as connection:
                self.executed = self.traced(connection, monitor)
            self.measured = round_trip(lab, proto, socket.AF_INET) if case.kind is Connection else 0
        self.code = Code()

    @staticmethod
    def traced(connection, monitor):
        """The middle one of some, by what it took."""
        code = Code()
        for _ in range(WARM):
            connection.exchange(bytes(64))
        with monitor.logging():
            for _ in range(TRACED):
                connection.exchange(bytes(64))
        executed = monitor.executed()
        sends = [at for at, address in enumerate(executed)
                 if address == code.symbols["__x64_sys_sendto"]]
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
    def trips(*cases):
        found = {}
        for case in cases:
            found[case] = Trip(lab, monitor, CASES[case])
            print(f"    {case}", len(found[case].executed), found[case].measured, flush=True)
        return found

    none = trips(*CASES)
    with empty_pair(lab, None):
        found = {"empty pair": trips("UDP")["UDP"]}
    with Guard(lab, dev=False, follow=False):
        found |= trips(*CASES)
    result = {}
    for name, trip in found.items():
        base = none.get(name, none["UDP"])
        result[name] = {
            "where": [{"line": place.line, "function": place.function, "instructions": count}
                      for place, count in trip.more_than(base).items()],
            "all": len(trip.executed) - len(base.executed),
            "round_trip": trip.measured - base.measured,
        }
    return result


def main(out):
    print("Where the instructions of a round trip are (64 bytes, ESP with the null cipher):", flush=True)
    monitor = Monitor(pathlib.Path(out).resolve().with_name("trace.log"))
    with SteadyLab() as lab:
        found = measure(lab, monitor)
    for name, case in found.items():
        print(name, case["all"], case["round_trip"], sum(x["instructions"] for x in case["where"]))
    results.add(out, "profile", found)


if __name__ == "__main__":
    main(sys.argv[1])
