# SPDX-License-Identifier: GPL-2.0-only
"""What a guarded round trip over real ESP costs, beside nothing and beside its rivals.

Run by scripts/bench in the instruction-counted machine, where 1 ns is 1 instruction.  The cipher
is the null cipher, so that the packet path is measured and not AES.
"""

import contextlib
import json
import os
import pathlib
import socket
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
import results  # noqa: E402
from lab import Guard, Lab, run  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CLATCH_BUILD", "build"))
SPIS = 0x1001, 0x2001
ROUNDS = int(os.environ.get("ROUNDS", "4000"))


class SteadyLab(Lab):
    """The hosts do not forget each other's hardware address: sending takes some 85 instructions more
    while the kernel makes sure of one."""

    def __init__(self):
        super().__init__()
        for host, other in ((self.a, self.b), (self.b, self.a)):
            link = json.loads(run("ip", "-n", other.name, "-j", "link", "show", other.dev).stdout)[0]
            host.ip(*(f"neigh replace {address} lladdr {link['address']} dev {host.dev} "
                      "nud permanent" for address in (other.v4, other.v6)))


@contextlib.contextmanager
def empty_pair(lab, _):
    pins = f"/sys/fs/bpf/{lab.name}-empty"
    run("bpftool", "prog", "loadall", BUILD / "empty.bpf.o", pins)
    pair = [(kind, f"{pins}/empty_{kind}") for kind in ("ingress", "egress")]
    for kind, pin in pair:
        run("bpftool", "cgroup", "attach", lab.cgroup, kind, "pinned", pin, "multi")
    yield
    for kind, pin in pair:
        run("bpftool", "cgroup", "detach", lab.cgroup, kind, "pinned", pin)
        os.unlink(pin)
    os.rmdir(pins)


@contextlib.contextmanager
def identity(lab, family):
    """Both ends are known by name, and a rule asks for them: else nothing would pass."""
    with Guard(lab, dev=False, follow=False) as guard, tempfile.NamedTemporaryFile("w") as rules:
        rules.write("".join(
            f"[rule {proto}]\nproto = {proto}\nrequire = ipsec\npeer-id = *.example\n"
            for proto in ("udp", "tcp")))
        rules.flush()
        guard.loader("policy", "load", rules.name)
        for spi, host in zip(SPIS, (lab.b, lab.a)):
            guard.loader("identity", "add", "--spi", hex(spi), "--dst", host.address(family),
                         "--local-id", "app3.example", "--peer-id", "db1.example")
        yield
        if any(guard.counters().values()):
            raise RuntimeError(f"refused: {guard.counters()}")


@contextlib.contextmanager
def nft(lab, _):
    lab.a.run("nft", "-f", HERE / "latch.nft")
    yield
    lab.a.run("nft", "flush", "ruleset")


CASES = {
    "none": lambda lab, _: contextlib.nullcontext(),
    "empty": empty_pair,
    "clatch": lambda lab, _: Guard(lab, dev=False, follow=False),
    "clatch_identity": identity,
    "clatch_dev": lambda lab, _: Guard(lab, follow=False),
    "nft": nft,
}


ROUND_TRIPS = {
    "udp, ipv4": ("udp", socket.AF_INET),
    "udp, ipv6": ("udp", socket.AF_INET6),
    "tcp, ipv4": ("tcp", socket.AF_INET),
    "tcp, ipv6": ("tcp", socket.AF_INET6),
}


def round_trip(lab, proto, family):
    """The better of two processes: one in fifty takes thousands more, each time, to its end."""
    return min(int(run(BUILD / "round_trip", proto, f"/run/netns/{lab.a.name}",
                       f"/run/netns/{lab.b.name}", lab.a.address(family), lab.b.address(family),
                       lab.cgroup, ROUNDS).stdout) for _ in range(2))


def measure(lab, shape):
    """Of every case: instructions of a round trip."""
    result = {}
    ipsec.install(lab, shape, SPIS)
    for name, case in CASES.items():
        with case(lab, shape.family):
            result[name] = round_trip(lab, shape.upper, shape.family)
        print(f"    {name:15} {result[name]:8,}  +{result[name] - result['none']:,}", flush=True)
    ipsec.flush(lab.a, lab.b)
    return result


def main(out):
    print("Instructions per round trip (64 bytes, ESP with the null cipher):", flush=True)
    result = {}
    for name, (proto, family) in ROUND_TRIPS.items():
        print(f"  {name}", flush=True)
        with SteadyLab() as lab:
            result[name] = measure(lab, ipsec.Shape(suite=ipsec.NULL_BOTH, upper=proto,
                                                    family=family))
    results.add(out, "round_trip", result)


if __name__ == "__main__":
    main(sys.argv[1])
