# SPDX-License-Identifier: GPL-2.0-only
"""What identities are kept in: SPIs that are used again, a damaged table (RFC 5660 R33), and
`close --peer-id`; on real ESP."""

import contextlib
import errno
import pathlib
import signal
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))

import ipsec  # noqa: E402
import options  # noqa: E402
from case import FIRST, OTHER  # noqa: E402
from ipsec import Shape  # noqa: E402
from lab import run, wait_for  # noqa: E402
from who import NEWCOMER, OWN, PEER, WhoCase, with_new_key  # noqa: E402

ID_TEXT = 512


class List(WhoCase):
    """`identity list` of some."""

    def listed(self, *words):
        return {(x["proto"], int(x["spi"], 16))
                for x in self.guard.json("identity", "list", *words)["identities"]}

    def test_some(self):
        self.protect(with_new_key())
        self.tell(Shape(), FIRST)
        ah = Shape(sa_proto="ah", suite=ipsec.AUTH_ONLY)
        ipsec.states(self.lab, ah, (FIRST[0], OTHER[1]))
        self.tell(ah, (FIRST[0], OTHER[1]))
        out, back, ah_out, ah_back = (("esp", FIRST[0]), ("esp", FIRST[1]), ("ah", FIRST[0]),
                                      ("ah", OTHER[1]))
        to_peer = ("--dst", self.lab.b.v4)
        for words, wanted in (((), {out, back, ah_out, ah_back}),
                              (("--spi", hex(FIRST[0])), {out, ah_out}),
                              (("--spi", FIRST[1]), {back}), (("--spi", 9), set()),
                              (("--proto", "ah"), {ah_out, ah_back}), (to_peer, {out, ah_out}),
                              ((*to_peer, "--proto", "esp"), {out}),
                              ((*to_peer, "--spi", FIRST[1]), set())):
            with self.subTest(words=words):
                self.assertEqual(self.listed(*words), wanted)
        for words in (("--spi", "x"), ("--dst", "x"), ("--proto", "x"), ("--peer-id", "x"),
                      ("--local-id", "x")):
            with self.subTest(words=words):
                done = self.guard.loader("identity", "list", *words, check=False)
                self.assertEqual((done.returncode, done.stdout), (2, ""))


class Marked(WhoCase):
    """The kernel does not find an SA with a mark by its name alone."""

    def add(self, mark, spi=0x7001, ends=None):
        ends = ends or (self.lab.a.v4, self.lab.b.v4)
        line = ipsec.sa_line(with_new_key(), *ends, spi)
        self.lab.a.ip(f"{line} mark {mark} mask 0xff" if mark else line)

    def test_told(self):
        self.add(5)
        self.add(5, 0x7002)
        self.identity("add", Shape(), 0x7001, self.lab.b.v4, "--peer-id", PEER)
        self.assertEqual(self.told(), {"0x00007001": (None, PEER)})

    def test_ipv6(self):
        self.add(5, ends=(self.lab.a.v6, self.lab.b.v6))
        self.identity("add", Shape(), 0x7001, self.lab.b.v6, "--peer-id", PEER)
        self.assertEqual(self.told(), {"0x00007001": (None, PEER)})

    def test_two(self):
        """Also where one has no mark, which the kernel would find by the name."""
        for other in 6, None:
            with self.subTest(other=other):
                self.add(5)
                self.add(other)
                with self.assertRaisesRegex(RuntimeError, "Several SAs with SPI 0x7001 to "):
                    self.identity("add", Shape(), 0x7001, self.lab.b.v4, "--peer-id", PEER)
                self.assertEqual(self.told(), {})
                ipsec.flush(self.lab.a, self.lab.b)


class SpiReuse(WhoCase):
    """The SA of an identity goes, and another takes its SPI: nobody has told whose that is."""

    def play(self, meanwhile):
        connection, latch, shape = self.identified(with_new_key())
        with meanwhile():
            self.become(with_new_key(shape), FIRST)
            self.wire.clear()  # an acknowledgement may have left under the SA that had this SPI
            time.sleep(1.1)
            connection.a.sendall(b"held")
            connection.b.sendall(b"held")
            wait_for("refusals both ways", lambda: all(self.show(latch)[way]["violations"]
                                                       for way in ("in", "out")))
            self.assertFalse(connection.readable(connection.a, 1))
            self.assertFalse(connection.readable(connection.b, 0))
            self.assert_not_used(FIRST)
            self.assertGreater(self.guard.counters()["identity-unknown"], 1)
        self.assertFalse(connection.readable(connection.b, 1.5), "found out with run's help")
        self.assert_not_used(FIRST)
        self.tell(shape, FIRST)
        for sock in connection.a, connection.b:
            self.assertEqual(connection.receive(sock, 4), b"held")

    @contextlib.contextmanager
    def run_stopped(self):
        self.guard.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.guard.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def run_absent(self):
        self.guard.end_run()
        try:
            yield
        finally:
            self.guard.start_run("--reset-after", "never")

    def test_run_sees_it(self):
        self.play(contextlib.nullcontext)

    def test_run_is_stopped(self):
        self.play(self.run_stopped)

    def test_run_is_absent(self):
        self.play(self.run_absent)

    def test_new_connection(self):
        """Of which nobody knows whose it is; reqid stands in."""
        _, _, shape = self.identified(with_new_key())
        with self.run_stopped():
            self.become(with_new_key(shape), FIRST)
            fresh = self.connect()
            fresh.exchange()
            self.assertIsNone(self.guard.latch(fresh)["peer_id"])
            self.assertEqual(self.show(self.guard.latch(fresh))["identity"], "reqid")


class OneEnd(WhoCase):
    """identity add that names the peer alone."""

    def test_local_id_stays(self):
        connection, latch, shape = self.identified(with_new_key())
        self.tell(shape, FIRST, PEER, None)
        self.assertEqual(set(self.told().values()), {(OWN, PEER)})
        connection.exchange()
        self.assertEqual(self.show(latch)["local_id"], OWN)

    def test_of_another_sa(self):
        """What was known of the SA that had its SPI before is not taken over."""
        shape = with_new_key()
        self.protect(shape)
        self.tell(shape, FIRST)
        self.become(with_new_key(shape), FIRST)
        self.tell(shape, FIRST, PEER, None)
        self.assertEqual(set(self.told().values()), {(None, PEER)})


class TwoPeers(WhoCase):
    """TCP to db1.example, and UDP over IPv6 to web7.example."""

    def setUp(self):
        super().setUp()
        self.tcp, self.tcp_latch, self.shape = self.identified()
        shape = Shape(family=socket.AF_INET6, upper="udp")
        ipsec.states(self.lab, shape, OTHER)
        ipsec.policies(self.lab, shape)
        self.tell(shape, OTHER, NEWCOMER)
        self.udp = self.connect("udp", socket.AF_INET6)
        self.udp.exchange()
        self.udp_latch = self.guard.latch(self.udp)
        self.assertEqual(self.udp_latch["peer_id"], NEWCOMER)


class ByPeer(TwoPeers):
    """close --peer-id."""

    def close_peer(self, *words, status=0):
        done = self.guard.loader("close", *words, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def test_pattern(self):
        self.close_peer("--peer-id", "db*")
        with self.assertRaises(ConnectionAbortedError):
            self.tcp.a.recv(1)
        self.guard.wait_event(event="closed", latch=self.tcp_latch["id"], cause="admin")
        self.udp.exchange()
        self.assertEqual(self.guard.latch(self.udp)["state"], "ESTABLISHED")

    def test_the_other(self):
        self.close_peer("--peer-id", NEWCOMER)
        self.guard.wait_event(event="closed", latch=self.udp_latch["id"], cause="admin")
        self.tcp.exchange()

    def test_nobody(self):
        for words in (("--peer-id", "db"), ("--peer-id", "*.org"), ("--peer-id", "DB*"),
                      ("--peer-id", "db*", "--remote", "fd00:9::/64")):
            with self.subTest(words=words):
                self.assertIn(words[1], self.close_peer(*words, status=1))
        self.tcp.exchange()
        self.udp.exchange()

    def test_whoever_is_not_known(self):
        """Is nobody, whatever the pattern."""
        self.tcp.a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.close()
        wait_for("no latch", lambda: not self.guard.latch(self.tcp))
        self.forget(self.shape, FIRST)
        time.sleep(2)  # run looks a second after it was told
        fresh = self.connect()
        fresh.exchange()
        self.close_peer("--peer-id", "*")
        fresh.exchange()
        self.assertEqual(self.guard.latch(self.udp)["state"], "CLOSED")


def seal(number, text):
    """clatch_id_seal()."""
    value = 0xcbf29ce484222325 ^ number
    for byte in text:
        value = (value ^ byte) * 0x100000001b3 & (1 << 64) - 1
    return struct.pack("<Q", value)


class Damage(TwoPeers):
    """RFC 5660 R33: as if the administrator had closed all latches, when the table is used."""

    def run_sleeps(self):
        """So that it is the test that wakes it up."""
        status = pathlib.Path(f"/proc/{self.guard.process.pid}/status")

        def wakeups():
            return status.read_text(encoding="ascii").split("voluntary_ctxt_switches:")[1].split()[0]

        def is_quiet():
            before = wakeups()
            time.sleep(2.5)
            return before == wakeups()
        wait_for("run to sleep", is_quiet, 60)

    def use(self):
        """A program asks for its peer's name."""
        with contextlib.suppress(OSError):  # closed, before it could ask
            options.ids(self.tcp.a)

    def table(self):
        """{text: number}"""
        return {bytes(int(b, 16) for b in entry["value"][:ID_TEXT]).rstrip(b"\0").decode():
                int.from_bytes(bytes(int(b, 16) for b in entry["key"]), "little")
                for entry in self.guard.dump("clatch_ids")}

    def write(self, number, value):
        self.guard.update("clatch_ids", struct.pack("<I", number), value)

    def delete(self, *numbers):
        for number in numbers:
            run("bpftool", "map", "delete", "pinned", f"{self.guard.bpffs}/clatch_ids", "key",
                "hex", *(f"{byte:02x}" for byte in struct.pack("<I", number)), check=False)

    def rename(self):
        """The text alone."""
        self.write(self.table()[PEER], NEWCOMER.encode().ljust(ID_TEXT, b"\0") +
                   seal(self.table()[PEER], PEER.encode().ljust(ID_TEXT, b"\0")))

    def rename_with_its_seal(self):
        number, text = self.table()[PEER], b"mallory.example".ljust(ID_TEXT, b"\0")
        self.write(number, text + seal(number, text))

    def overwrite(self):
        self.write(self.table()[PEER], bytes(ID_TEXT + 8))

    def add(self):
        self.write(40000, bytes(ID_TEXT + 8))

    def delete_first(self):
        self.delete(min(self.table().values()))

    def delete_last(self):
        self.delete(max(self.table().values()))

    def delete_all(self):
        self.delete(*self.table().values())

    def all_are_closed(self):
        began = time.monotonic()
        for latch in self.tcp_latch, self.udp_latch:
            closed = self.guard.wait_event(event="closed", latch=latch["id"])
            self.assertEqual(closed["cause"], "identity-table")
        print(f"# closed after {time.monotonic() - began:.1f} s")
        with self.assertRaises(ConnectionAbortedError):
            self.tcp.a.recv(1)
        with self.assertRaises(OSError):  # it is not connected any more
            self.udp.a.send(b"not to be sent")
        self.assertEqual({latch["state"] for latch in self.guard.json("list")["latches"]} -
                         {"CLOSED"}, set())
        self.assertEqual(self.told(), {})
        self.assertEqual(self.table(), {})

    def new_connections_work(self):
        """And the old numbers have new meanings."""
        self.tell(self.shape, FIRST, NEWCOMER, PEER)
        self.guard.forget()
        fresh = self.connect()
        fresh.exchange()
        latch = self.wait_known(fresh, NEWCOMER)
        got = self.guard.wait_event(event="latched", latch=latch["id"])["got"][0]
        self.assertEqual((got["peer_id"], got["local_id"]), (NEWCOMER, PEER))
        self.guard.end_run()  # the next one does not mind the latches that are CLOSED
        self.guard.start_run()
        fresh.exchange()
        self.assertEqual(self.guard.latch(fresh)["id"], latch["id"])
        self.assertFalse([e for e in self.guard.events if e["event"] == "closed"])

    def test_nothing_is_told_of_a_table_with_a_hole(self):
        """A number that has gone is not given to another."""
        self.guard.end_run()
        self.delete_first()
        with self.assertRaisesRegex(RuntimeError, "the identity table is damaged"):
            self.tell(self.shape, FIRST, "mallory.example")
        self.guard.start_run()
        self.all_are_closed()

    def test_nothing_is_told_of_a_table_without_its_last(self):
        """Which would be given away again, while a latch is held to it."""
        self.guard.end_run()
        self.assertEqual(self.table()[NEWCOMER], max(self.table().values()))
        self.delete_last()
        with self.assertRaisesRegex(RuntimeError, "the identity table is damaged"):
            self.tell(self.shape, FIRST, "mallory.example")
        self.assertNotIn("mallory.example", self.table())
        self.guard.start_run()
        self.all_are_closed()

    def test_new_connection(self):
        """Its latch takes numbers of the table."""
        self.run_sleeps()
        self.overwrite()
        self.connect().close()
        self.all_are_closed()

    def test_new_word(self):
        """Who is at an SA's ends is told."""
        self.run_sleeps()
        self.overwrite()
        with self.assertRaisesRegex(RuntimeError, "the identity table is damaged"):
            self.tell(self.shape, FIRST, "mallory.example")
        self.all_are_closed()

    def test_rule_of_datagrams(self):
        """A rule names the peer of datagrams that have no latch: each of them looks it up."""
        self.rules(f"[rule peer]\nproto = udp\nremote-port = 7\nrequire = esp\n"
                   f"peer-id = {NEWCOMER}\n")
        with self.lab.guarded():
            sock = self.lab.a.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        self.run_sleeps()
        self.rename()
        sock.sendto(b"x", (self.lab.b.v6, 7))
        self.all_are_closed()

    def test_listeners_are_closed(self):
        """A new one is latched as ever."""
        listener = self.listen()
        port = listener.getsockname()[1]
        latch = self.guard.listener(port)
        self.overwrite()
        self.use()
        closed = self.guard.wait_event(event="closed", latch=latch["id"])
        self.assertEqual(closed["cause"], "identity-table")
        with self.assertRaises(OSError) as raised:
            listener.accept()
        self.assertEqual(raised.exception.errno, errno.EINVAL)
        wait_for("no latch of it", lambda: not self.guard.listener(port))
        self.all_are_closed()
        self.assertIsNotNone(self.guard.listener(self.listen().getsockname()[1]))

    def listen(self):
        """A listener of the guarded host."""
        with self.lab.guarded():
            sock = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.bind((self.lab.a.v4, 0))
        sock.listen()
        sock.settimeout(5)
        return sock

    def play(self, damage, stay):
        if not stay:
            self.guard.end_run()
        damage()
        if stay:
            self.use()
        else:
            self.tcp.exchange()  # what is held stays held, to the same SAs
            self.guard.start_run()
        self.all_are_closed()
        self.new_connections_work()


def _add_rows():
    for name in ("rename", "rename_with_its_seal", "overwrite", "add", "delete_first",
                 "delete_last", "delete_all"):
        for stay in True, False:
            if stay or name != "rename_with_its_seal":  # which nobody could know
                setattr(Damage, f"test_{name}_{'under' if stay else 'before'}_run",
                        lambda self, name=name, stay=stay: self.play(getattr(self, name), stay))


_add_rows()
del WhoCase, TwoPeers  # bases, not tests

if __name__ == "__main__":
    unittest.main(verbosity=2)
