# SPDX-License-Identifier: GPL-2.0-only
"""What programs ask of their connections, include/clatch.h, on real ESP; and what no rule catches,
with a real IKE daemon in the guarded cgroup."""

import errno
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))

import ike  # noqa: E402
import ipsec  # noqa: E402
import options as o  # noqa: E402
from case import FIRST, Case  # noqa: E402
from ipsec import Shape  # noqa: E402
from lab import Guard, run, wait_for  # noqa: E402
from test_demand import AH, NULL, TUNNEL  # noqa: E402
from who import OWN, PEER, WhoCase, with_new_key  # noqa: E402

LATCHED = pathlib.Path(__file__).resolve().parent.parent.parent / "build/latched"
DEMAND = 272  # sizeof(struct clatch_demand)
MODES = {"transport": 1, "tunnel": 2}
# what is asked for, the SA, and whether that is given
ROWS = (
    ((o.PROTECTED,), AH, True),
    ((o.ESP,), NULL, True),
    ((o.ESP,), AH, False),
    ((o.AH,), AH, True),
    ((o.AH,), Shape(), False),
    ((o.ENCRYPTED,), Shape(), True),
    ((o.ENCRYPTED,), NULL, False),
    ((o.ENCRYPTED, MODES["transport"]), Shape(), True),
    ((o.ENCRYPTED, MODES["tunnel"]), Shape(), False),
    ((o.ENCRYPTED, MODES["tunnel"]), TUNNEL, True),
    ((o.ENCRYPTED, 0, 128), Shape(), True),
    ((o.ENCRYPTED, 0, 129), Shape(), False),
)


class OptionCase(WhoCase):
    def pair(self, server, *wanted, kind=socket.SOCK_STREAM, off=False):
        """The guarded socket, and the peer's, not connected; one of them listens."""
        with self.lab.guarded():
            own = self.lab.a.socket(socket.AF_INET, kind)
        peer = self.lab.b.socket(socket.AF_INET, kind)
        for one, host in ((own, self.lab.a), (peer, self.lab.b)):
            self.addCleanup(one.close)
            one.settimeout(10)
            one.bind((host.v4, 0))
        if wanted:
            o.require(own, *wanted)
        if off:
            o.turn_off(own)
        if kind == socket.SOCK_STREAM:
            (own if server else peer).listen()
        return own, peer

    def under_way(self, server, *wanted):
        """Both ends of a TCP connection."""
        own, peer = self.pair(server, *wanted)
        listener, client = (own, peer) if server else (peer, own)
        client.connect(listener.getsockname())
        accepted = listener.accept()[0]
        self.addCleanup(accepted.close)
        accepted.settimeout(10)
        ends = (accepted, client) if server else (client, accepted)
        for one, other in (ends, ends[::-1]):
            one.sendall(b"x")
            self.assertEqual(other.recv(1), b"x")
        return ends


class NoRoom(OptionCase):
    guard_options = ("--max-latches", "4")

    def test_what_a_program_asked(self):
        """Refused as if the latches' own table were full.  It goes on when there is room."""
        self.protect(Shape())
        keys = [struct.pack("<Q", 1000 + i) for i in range(4)]
        for key in keys:
            self.guard.update("clatch_asked", key, bytes(DEMAND))
        own, peer = self.pair(False, o.PROTECTED)
        own.setblocking(False)
        own.connect_ex(peer.getsockname())
        self.guard.wait_event(event="violation", reason="table-full", verdict="drop",
                              direction="out", latch=None)
        self.assertEqual(self.guard.json("list")["latches"], [])
        self.assertFalse(self.wire.spis())
        run("bpftool", "map", "delete", "pinned", f"{self.guard.bpffs}/clatch_asked", "key", "hex",
            *(f"{byte:02x}" for byte in keys[0]))
        accepted, _ = peer.accept()  # the SYN is repeated
        self.addCleanup(accepted.close)
        accepted.sendall(b"x")
        own.settimeout(10)
        self.assertEqual(own.recv(1), b"x")
        self.assertEqual([x["state"] for x in self.guard.json("list")["latches"]], ["ESTABLISHED"])


class Require(OptionCase):
    """What is asked for is given, or nothing passes."""

    def check(self, wanted, shape, given, server):
        self.protect(shape)
        if given:
            own, _ = self.under_way(server, *wanted)
            said = o.inquire(own)
            self.assertEqual(o.STATES[said.state], "ESTABLISHED")
            self.assertTrue(said.flags & o.DEMANDED)
            self.assertEqual(o.requirement(own)[0], wanted[0])
            self.assertEqual(o.error_of(o.require, own, *wanted), errno.EISCONN)
            return
        own, peer = self.pair(server, *wanted)
        listener, client = (own, peer) if server else (peer, own)
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        self.guard.wait_event(event="violation", reason="policy", verdict="drop",
                              direction="in" if server else "out")
        self.assertFalse(self.wire.spis() & {FIRST[0], FIRST[0] + 1}, "something left")
        listener.setblocking(False)
        self.assertRaises(BlockingIOError, listener.accept)

    def test_clear_to_a_listener(self):
        own, peer = self.pair(True, o.PROTECTED)
        peer.setblocking(False)
        peer.connect_ex(own.getsockname())
        self.guard.wait_event(event="violation", reason="clear", direction="in", verdict="drop")
        own.setblocking(False)
        self.assertRaises(BlockingIOError, own.accept)

    def test_peer_id(self):
        shape = with_new_key()
        for wanted, given in ((b"db*.example", True), (b"web7.example", False)):
            with self.subTest(wanted=wanted):
                self.protect(shape)
                self.tell(shape, FIRST)
                if given:
                    own, _ = self.under_way(False, o.ENCRYPTED, 0, 0, wanted)
                    self.assertEqual(o.ids(own), (OWN, PEER))
                    own.close()
                else:
                    own, peer = self.pair(False, o.ENCRYPTED, 0, 0, wanted)
                    own.setblocking(False)
                    own.connect_ex(peer.getsockname())
                    event = self.guard.wait_event(event="violation", reason="peer-id")
                    self.assertEqual(event["fields"], ["peer_id"])
                ipsec.flush(self.lab.a, self.lab.b)

    def datagrams(self, shape, *wanted):
        self.protect(shape)
        return self.pair(False, *wanted, kind=socket.SOCK_DGRAM)

    def test_datagrams_of_no_connection(self):
        own, peer = self.datagrams(Shape(upper="udp"), o.ENCRYPTED, 0, 128)
        own.sendto(b"there", peer.getsockname())
        self.assertEqual(peer.recv(9), b"there")
        peer.sendto(b"back", own.getsockname())
        self.assertEqual(own.recv(9), b"back")

    def test_datagrams_under_too_little(self):
        own, peer = self.datagrams(Shape(upper="udp"), o.ENCRYPTED, 0, 256)
        self.assertRaises(PermissionError, own.sendto, b"there", peer.getsockname())
        self.guard.wait_event(event="violation", reason="policy", direction="out", proto="udp")
        self.assertEqual(self.wire.spis(), set())
        peer.sendto(b"back", own.getsockname())
        self.guard.wait_event(event="violation", reason="policy", direction="in", proto="udp")
        own.settimeout(0.2)
        self.assertRaises(TimeoutError, own.recv, 9)

    def test_datagrams_under_a_rule(self):
        """Which rule it is depends on where the datagram goes: ESP does not show the port."""
        own, peer = self.datagrams(Shape(upper="udp"))
        self.rules(f"[rule one]\nproto = udp\nremote-port = {peer.getsockname()[1]}\n"
                   "require = encrypted\nmin-key-bits = 256\n")
        other = self.lab.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.bind((self.lab.b.v4, 0))
        other.settimeout(10)
        for _ in range(2):
            self.assertRaises(PermissionError, own.sendto, b"no", peer.getsockname())
            own.sendto(b"yes", other.getsockname())
            self.assertEqual(other.recv(9), b"yes")
        peer.setblocking(False)
        self.assertRaises(BlockingIOError, peer.recv, 9)


def add_rows():
    for number, (wanted, shape, given) in enumerate(ROWS):
        for server in (False, True):
            def test(self, row=(wanted, shape, given, server)):
                self.check(*row)
            setattr(Require, f"test_{number:02}_{'server' if server else 'client'}", test)


add_rows()


class Inquire(OptionCase):
    """The option says what `show` says."""

    def same(self, shown, said):
        self.assertEqual((said.id, o.STATES[said.state]), (shown["id"], shown["state"]))
        for name, direction in (("in", said.incoming), ("out", said.out)):
            self.assertEqual(direction.sas, len(shown[name]["sa"]))
            for want, sa in zip(shown[name]["sa"], direction.sa):
                aead = "aead" in want
                self.assertEqual(
                    (sa.encryption.decode() or None, sa.encryption_key_bits, sa.mode,
                     {50: "esp", 51: "ah"}[sa.protocol], sa.reqid, sa.icv_bits,
                     f"0x{socket.ntohl(sa.spi):08x}", bool(sa.flags & 4), bool(sa.flags & 2)),
                    (want.get("aead" if aead else "enc"),
                     want.get("aead_key_bits" if aead else "enc_key_bits") or 0,
                     MODES[want["mode"]], want["proto"], want["reqid"], want["icv_bits"],
                     want["spi"], want["replay"], want["esn"]))
            self.assertEqual((direction.packets, direction.bytes, direction.violations),
                             tuple(shown[name][x] for x in ("packets", "bytes", "violations")))
            self.assertEqual(socket.inet_ntop(socket.AF_INET6, bytes(direction.src)),
                             "::ffff:" + shown[name]["sa"][0]["src"])

    def told(self, sock):
        """What either says, with no packet in between: an acknowledgement may be under way."""
        def still():
            said = o.inquire(sock)
            shown = self.guard.json("show", said.id)
            return bytes(said) == bytes(o.inquire(sock)) and (shown, said)

        return wait_for("a moment without a packet", still)

    def check(self, shape, server=False):
        self.protect(shape)
        own, _ = self.under_way(server)
        self.same(*self.told(own))

    def test_shapes(self):
        for shape in (Shape(), AH, TUNNEL, Shape(suite=ipsec.CBC256), Shape(nested=True)):
            with self.subTest(shape=shape):
                self.check(shape)
                ipsec.flush(self.lab.a, self.lab.b)

    def test_accepted(self):
        self.check(Shape(), server=True)

    def test_udp(self):
        connection, _, _ = self.latched(Shape(), "udp")
        self.same(*self.told(connection.a))

    def test_broken(self):
        connection, latch, _ = self.latched(Shape())
        ipsec.flush_policies(self.lab.a)
        self.guard.wait_event(event="broken", latch=latch["id"])
        said = o.inquire(connection.a)
        self.assertEqual((o.STATES[said.state], said.causes & 4), ("BROKEN", 4))

    def test_program(self):
        """A program in C that does all of it."""
        shape = with_new_key()
        self.protect(shape)
        self.tell(shape, FIRST)
        server = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(server.close)
        server.bind((self.lab.b.v4, 0))
        server.listen()
        server.settimeout(20)
        words = [LATCHED, *map(str, server.getsockname()), PEER]
        with self.lab.guarded(), self.lab.a.inside():
            program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True)
        self.addCleanup(program.kill)
        peer, _ = server.accept()
        program.stdin.write("question")
        program.stdin.close()
        self.assertEqual(peer.recv(20), b"question")
        peer.sendall(b"answer, ")
        peer.close()
        newest = self.guard.wait_event(event="latched", state="ESTABLISHED")["latch"]
        self.assertEqual(program.stdout.read(),
                         f"answer, latch {newest}, state 3, rfc4106(gcm(aes)), 128 bits, "
                         f"peer {PEER}\n")
        self.assertEqual(program.wait(20), 0)


class Dispose(OptionCase):
    """What is done when the latch breaks; the daemon's own is 30 s."""

    def broken(self, action, milliseconds=0, server=False):
        self.protect(Shape())
        own, peer = self.pair(server)
        listener = own if server else peer
        if server:
            o.dispose(own, action, milliseconds)
        (peer if server else own).connect(listener.getsockname())
        accepted = listener.accept()[0]
        self.addCleanup(accepted.close)
        accepted.settimeout(10)
        own = accepted if server else own
        if not server:
            o.dispose(own, action, milliseconds)
        self.assertEqual(o.disposition(own), (action, milliseconds))
        own.sendall(b"x")
        latch = self.guard.json("show", o.inquire(own).id)
        self.wait_policed(latch)
        ipsec.flush_policies(self.lab.a)
        self.guard.wait_event(event="broken", latch=latch["id"])
        return own, latch

    def test_reset(self):
        for server in (False, True):
            own, latch = self.broken(o.RESET, server=server)
            self.guard.wait_event(event="closed", latch=latch["id"], cause="reset-after")
            self.assertEqual(o.error_of(own.recv, 9), errno.ECONNABORTED)
            ipsec.flush(self.lab.a, self.lab.b)

    def test_reset_after(self):
        own, latch = self.broken(o.RESET_AFTER, 1000)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="reset-after")
        self.assertEqual(o.error_of(own.recv, 9), errno.ECONNABORTED)

    def test_when_broken_already(self):
        for words in ((o.RESET,), (o.RESET_AFTER, 500)):
            own, latch = self.broken(o.HOLD)
            o.dispose(own, *words)
            self.guard.wait_event(event="closed", latch=latch["id"], cause="reset-after")
            self.assertEqual(o.error_of(own.recv, 9), errno.ECONNABORTED)
            self.assertNotIn("asked", {e["event"] for e in self.guard.events})
            ipsec.flush(self.lab.a, self.lab.b)

    def test_hold(self):
        self.rules("[clatch]\nreset-after = 0s\n")
        own, latch = self.broken(o.HOLD)
        other, closed = self.broken(o.DEFAULT)
        self.guard.wait_event(event="closed", latch=closed["id"], cause="reset-after")
        self.assertEqual(o.error_of(other.recv, 9), errno.ECONNABORTED)
        self.assertEqual(o.STATES[o.inquire(own).state], "BROKEN")
        self.assertEqual(self.show(latch)["state"], "BROKEN")


class Off(OptionCase):
    """Not latched where the policy allows that to the program's cgroup."""

    def test_off(self):
        self.rules(f"[clatch]\nmay-turn-off = {self.lab.cgroup}\n[rule all]\nrequire = ipsec\n")
        self.protect(Shape())
        for server in (False, True):
            own, peer = self.pair(server, off=True)
            listener, client = (own, peer) if server else (peer, own)
            client.connect(listener.getsockname())
            accepted = listener.accept()[0]
            self.addCleanup(accepted.close)
            accepted.sendall(b"x")
            self.assertEqual(client.recv(1), b"x")
            self.assertEqual(o.inquire(accepted if server else own).flags, 0)
        self.assertEqual([x for x in self.guard.json("list")["latches"] if x["remote"]], [])


class Others(OptionCase):
    """Options that are not ours."""

    def test_long(self):
        """Of which the hook is shown a part: up to 6.5 the kernel would stumble over the rest."""
        own, _ = self.pair(False)
        self.assertEqual(o.error_of(own.setsockopt, socket.IPPROTO_IP, socket.IP_OPTIONS,
                                    bytes(5000)), errno.EINVAL)


class IkeInside(Case):
    """charon in the guarded cgroup, under a rule for everything: it is not caught."""

    guard_options = None

    def test_negotiates_and_rekeys(self):
        daemons = self.enterContext(ike.Daemons(self.lab))
        guard = Guard(self.lab)
        self.addCleanup(guard.close)
        guard.loader("policy", "load", self.rule())
        with self.lab.guarded():
            own = daemons.start(self.lab.a, ike.GUARDED)
        peer = daemons.start(self.lab.b, ike.PEER)
        own.initiate()
        first = wait_for("SAs", own.sas)
        own.rekey()
        second = wait_for("new SAs", lambda: (sas := own.sas()) != first and sas)
        peer.rekey()
        wait_for("newer SAs", lambda: own.sas() != second)
        self.assertFalse(any(guard.json("status")["counters"].values()))

    def rule(self):
        file = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.addCleanup(file.close)
        file.write("[rule all]\nrequire = encrypted\n")
        file.flush()
        return file.name


if __name__ == "__main__":
    unittest.main(verbosity=2)
