# SPDX-License-Identifier: GPL-2.0-only
"""Conflicts as rows: lines of ip(8) that change the guarded host's SPD or SAD and undo it, and what
must be found in that; and what their tests share."""

import contextlib
import dataclasses
import socket

import ipsec
from ends import EndsCase, tcp_info
from ipsec import Shape
from lab import wait_for

BASE = Shape()
UDP = Shape(upper="udp")
V6 = socket.AF_INET6


@dataclasses.dataclass(frozen=True)
class Row:
    """Lines of ip(8) with what ipsec.words() has, of the way that is changed."""

    name: str
    change: tuple
    undo: tuple
    way: str = "out"
    cause: str = None  # None: no conflict
    reason: str = None
    fields: tuple = ()
    both: bool = False  # on both hosts


def each_way(name, change, undo, cause=None, reason=None, fields=(), both=False):
    return [Row(f"{name}, {way}", (change,), undo if isinstance(undo, tuple) else (undo,), way,
                cause, reason, fields, both) for way in ("out", "in")]


def policy(name, change, undo, reason, fields=()):
    return each_way(name, change, undo, "policy", reason, fields)


def update(name, templates, reason, fields=()):
    """The policy is replaced by another of the same selector."""
    return policy(name, f"policy update {{selector}} priority 1000 {templates}", RENEW, reason,
                  fields)


def insert(name, more, reason, selector="{wide}"):
    """Sockets that sent under a bypass keep their route: see KeptRoute."""
    return policy(name, f"policy add {selector} priority 1 {more}",
                  (f"policy delete {selector}", RENEW), reason)


def added_sa(name, sa, fields=(), both=False):
    conflict = ("sa-conflict", "sa-mismatch") if fields else (None, None)
    return each_way(name, f"state add {{ends}} proto esp spi 0x5001 {sa}",
                    "state delete {ends} proto esp spi 0x5001", *conflict, fields, both)


def harmless_policy(name, selector, more):
    return each_way(name, f"policy add {selector} {more}", f"policy delete {selector}")


def sa_words(suite, replay="replay-window 32"):
    return f"reqid 7 mode transport {replay} {suite.format(99, 99)}"


RENEW = "policy update {selector} priority 1000 {template}"
BACK = ("policy add {selector} priority 1000 {template}",
        "policy add {selector_in} priority 1000 {template_in}")
DEFAULT = "policy setdefault in {0} out {0}"
STRONGER = sa_words(ipsec.GCM256)
THIS = "{near_far} proto {upper} sport {sport} dport {dport} dir {way}"

POLICIES = [
    *policy("policy deleted", "policy delete {selector}", BACK[0], "clear"),
    Row("all policies flushed", ("policy flush",), BACK, "out", "policy", "clear"),
    Row("flushed under a default of block", (DEFAULT.format("block"), "policy flush"),
        (*BACK, DEFAULT.format("accept")), "out", "policy", "policy"),
    *update("policy that expires", "limit time-hard 2 {template}", "clear"),
    *update("replaced by a bypass", "", "clear"),
    *update("replaced by a block", "action block", "policy"),
    *update("another reqid", "{template_9}", "sa-mismatch", ("reqid",)),
    *update("another mode", "tmpl {ends} proto esp reqid 7 mode tunnel", "sa-mismatch",
            ("mode",)),
    *update("another protocol", "tmpl proto ah reqid 7 mode transport", "sa-mismatch",
            ("proto",)),
    *update("a second SA demanded", "{template} tmpl proto ah reqid 7 mode transport",
            "sa-mismatch", ("nesting", "proto")),
    *insert("bypass inserted", "", "clear"),
    *insert("bypass of this connection alone", "", "clear", THIS),
    *insert("block inserted", "action block", "policy"),
]
SAS = [
    *added_sa("stronger SA", STRONGER, ("aead_key_bits",)),
    *added_sa("SA without confidentiality", sa_words(ipsec.NULL),
              ("aead", "aead_key_bits", "auth", "auth_key_bits")),
    *added_sa("SA without replay protection", sa_words(ipsec.GCM, ""), ("replay",)),
    *added_sa("SA of this transport", f"{STRONGER} sel {{near_far}} proto {{upper}}",
              ("aead_key_bits",)),
    Row("SA that expires",
        (f"state add {{ends}} proto esp spi 0x5001 {STRONGER} limit time-hard 6",), (), "in",
        "sa-conflict", "sa-mismatch", ("aead_key_bits",)),
]
HARMLESS = [
    *harmless_policy("bypass of lower priority", "{wide}", "priority 2000"),
    *harmless_policy("block of lower priority", "{wide}", "priority 2000 action block"),
    *harmless_policy("bypass of equal priority, but younger", "{wide}", "priority 1000"),
    *harmless_policy("bypass between others", "{far_off} dir {way}", "priority 1"),
    *harmless_policy("bypass of another port", "{near_far} proto {upper} dport 9 dir {way}",
                     "priority 1"),
    *harmless_policy("bypass of another mark", "{wide} mark 5 mask 0xff", "priority 1"),
    *harmless_policy("bypass of another if_id", "{wide} if_id 99", "priority 1"),
    *harmless_policy("the same protection, of higher priority", "{wide}",
                     "priority 1 {template}"),
    Row("forwarding policy", ("policy add {near_far} dir fwd priority 1",),
        ("policy delete {near_far} dir fwd",)),
    Row("default of block, with policies", (DEFAULT.format("block"),),
        (DEFAULT.format("accept"),)),
    *each_way("level use, with the SA there",
              "policy update {selector} priority 1000 {template} level use", RENEW),
    *added_sa("SA of another reqid", STRONGER.replace("reqid 7", "reqid 9")),
    *added_sa("SA with the same parameters", sa_words(ipsec.GCM), both=True),
    *added_sa("SA of another transport", f"{STRONGER} sel {{near_far}} proto sctp"),
    *added_sa("SA of another if_id", f"{STRONGER} if_id 99"),
    *each_way("SA between others", f"state add {{far_off}} proto esp spi 0x5001 {STRONGER}",
              "state delete {far_off} proto esp spi 0x5001"),
    *each_way("larval SA", "state allocspi {ends} proto esp mode transport reqid 7 "
              "min 0x5001 max 0x5001", "state delete {ends} proto esp spi 0x5001"),
]
# True of every shape: the other rows are about transport mode.
EVERYWHERE = [row for row in POLICIES + HARMLESS if row.name in (
    "policy deleted, out", "policy deleted, in", "another reqid, out", "another reqid, in",
    "bypass inserted, out", "bypass between others, out")]
KINDS = [
    ("tunnel", "tcp", Shape(mode="tunnel"), {}),
    ("tunnel, IPv6", "udp", Shape(mode="tunnel", family=V6), {}),
    ("xfrm interface", "tcp", Shape(mode="tunnel", if_id=42), {}),
    ("IPv6", "tcp", Shape(family=V6), {}),
    ("accepted", "tcp", BASE, {"server": True}),
    ("v4-mapped", "udp", BASE, {"mapped": True}),
]


class ConflictCase(EndsCase):
    OUT, IN = b"out, while it is broken", b"in, while it is broken"

    def setUp(self):
        super().setUp()
        self.addCleanup(self.lab.a.ip, "xfrm " + DEFAULT.format("accept"))

    def quiet(self, connection):
        """Until nothing is on its way that would suffer from a change."""
        if connection.proto == "tcp":
            for sock in connection.a, connection.b:
                wait_for("the last acknowledgement", lambda s=sock: not tcp_info(s, 24, 4))

    def packets(self, latch):
        """How many packets of each direction were seen, whatever became of them."""
        shown = self.show(latch)
        return [shown[way]["packets"] + shown[way]["violations"] for way in ("out", "in")]

    def transitions(self, latch):
        """Its breaks and what came of them: (event, cause, reason)."""
        return [(e["event"], e["cause"], e.get("reason")) for e in self.guard.events
                if e["event"] in ("broken", "restored", "closed") and e["latch"] == latch["id"]]

    def dropped_in(self, latch):
        """Inbound packets dropped, by clatch or by the kernel's own policy check."""
        with self.lab.a.inside(), open("/proc/thread-self/net/xfrm_stat") as stats:
            kernel = sum(int(n) for name, n in map(str.split, stats) if name.startswith("XfrmIn"))
        return kernel + self.show(latch)["in"]["violations"]

    def check_halted(self, connection, latch):
        """T29: nothing is sent, protected or not, and nothing delivered."""
        before = self.dropped_in(latch)
        for sock, marker in (connection.a, self.OUT), (connection.b, self.IN):
            with contextlib.suppress(OSError):
                sock.sendall(marker)
        wait_for("what came in to be dropped", lambda: self.dropped_in(latch) > before)
        self.assertFalse(connection.readable(connection.a, 0), "it was delivered")
        self.assertFalse(connection.readable(connection.b, 0), "it was sent")
        self.assert_nothing_in_clear(connection)
        self.assertEqual(self.wire.spis(), set())

    def check_works(self, connection, latch, held=False):
        """@held: TCP still owes what was sent while it was broken."""
        if held and connection.proto == "tcp":
            self.assertEqual(connection.receive(connection.b, len(self.OUT)), self.OUT)
            self.assertEqual(connection.receive(connection.a, len(self.IN)), self.IN)
        connection.exchange(b"and on it goes")
        after = self.guard.latch(connection)
        self.assertEqual((after["id"], after["state"], after["causes"]),
                         (latch["id"], "ESTABLISHED", []))
        self.assert_nothing_in_clear(connection)

    def start(self, shape, proto, **more):
        connection, latch, shape = self.latched(shape, proto, **more)
        self.quiet(connection)
        self.wire.clear()
        return connection, latch, shape

    def broken(self, latch, **wanted):
        return self.guard.wait_event(event="broken", latch=latch["id"], **wanted)

    def restored(self, latch):
        return self.guard.wait_event(event="restored", latch=latch["id"])
