# SPDX-License-Identifier: GPL-2.0-only
"""What a rule demands of the SA of a connection's first packet: rows of rule, SA, and verdict."""

import dataclasses
import socket
import struct
import tempfile
import unittest

import ipsec
from case import FIRST, Case
from ipsec import Shape

AH = Shape(sa_proto="ah", suite=ipsec.AUTH_ONLY)
NULL, GMAC = Shape(suite=ipsec.NULL), Shape(suite=ipsec.GMAC)
TUNNEL = Shape(mode="tunnel", host_tunnel=True)


@dataclasses.dataclass(frozen=True)
class Row:
    rule: str  # lines of the policy file
    shape: Shape
    accepted: bool


ROWS = [
    Row("require = ipsec", AH, True),
    Row("require = ipsec", Shape(), True),
    Row("require = esp", Shape(), True),
    Row("require = esp", NULL, True),
    Row("require = esp", AH, False),
    Row("require = esp", Shape(nested=True), True),
    Row("require = ah", AH, True),
    Row("require = ah", Shape(), False),
    Row("require = encrypted", Shape(), True),
    Row("require = encrypted", Shape(suite=ipsec.CHACHA), True),
    Row("require = encrypted", Shape(suite=ipsec.CBC), True),
    Row("require = encrypted", NULL, False),
    Row("require = encrypted", GMAC, False),
    Row("require = encrypted", AH, False),
    Row("require = esp\nmode = transport", Shape(), True),
    Row("require = esp\nmode = transport", TUNNEL, False),
    Row("require = esp\nmode = tunnel", TUNNEL, True),
    Row("require = esp\nmode = tunnel", Shape(), False),
    Row("require = encrypted\nmin-key-bits = 128", Shape(), True),
    Row("require = encrypted\nmin-key-bits = 129", Shape(), False),
    Row("require = encrypted\nmin-key-bits = 256", Shape(suite=ipsec.GCM256), True),
    Row("require = encrypted\nmin-key-bits = 256", Shape(suite=ipsec.CHACHA), True),
    Row("require = encrypted\nmin-key-bits = 257", Shape(suite=ipsec.GCM256), False),
    Row("require = encrypted\nmin-key-bits = 256", Shape(suite=ipsec.CBC256), True),
    Row("require = ipsec\nmin-key-bits = 128", AH, False),
]


class Demand(Case):
    """The guarded host as client, and as server."""

    def load_rule(self, lines):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(f"[rule it]\nproto = tcp\n{lines}\n")
            file.flush()
            self.guard.loader("policy", "load", file.name)

    def begin(self, server):
        """A connection under way, from either side: its listener."""
        with self.lab.guarded():
            own = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        peer = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener, client = (own, peer) if server else (peer, own)
        self.addCleanup(own.close)
        self.addCleanup(peer.close)
        listener.bind(((self.lab.a if server else self.lab.b).v4, 0))
        listener.listen()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        return listener

    def end(self, accepted):
        """At once, by RST: a FIN sent again would meet the next row's SAs, of the same SPIs."""
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()

    def check(self, row, server):
        self.load_rule(row.rule)
        self.protect(row.shape)
        listener = self.begin(server)
        if row.accepted:
            listener.settimeout(10)
            accepted = listener.accept()[0]
            accepted.sendall(b"both ways")
            self.guard.wait_event(event="latched", state="ESTABLISHED")
            self.end(accepted)
            port = listener.getsockname()[1]
            self.assertFalse([e for e in self.guard.events if e["event"] == "violation"
                              and port in (e["local"]["port"], e["remote"]["port"])])
            return
        self.guard.wait_event(event="violation", reason="policy", verdict="drop",
                              direction="in" if server else "out")
        self.assertFalse(self.wire.spis() & {FIRST[0], FIRST[0] + 1}, "something left")
        listener.setblocking(False)
        self.assertRaises(BlockingIOError, listener.accept)


def add_rows():
    for number, row in enumerate(ROWS):
        for server in (False, True):
            def test(self, row=row, server=server):
                self.check(row, server)
            words = row.rule.replace("\n", ", ").replace(" = ", " ")
            name = f"test_{number:02}_{'server' if server else 'client'}, {words}"
            setattr(Demand, name, test)


add_rows()

if __name__ == "__main__":
    unittest.main(verbosity=2)
