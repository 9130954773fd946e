#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The socket options of include/clatch.h: what they take, refuse, and leave alone.

What they do to protected connections is tested on real ESP, tests/e2e/test_options.py.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../program"))

import options as o  # noqa: E402
from guarded import MAY_PROTECT, SharedCase
from native import must, set_up_module
from test_close import netns_of

setUpModule = set_up_module  # pylint: disable=invalid-name

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
TCP_INFO, IP_MSFILTER = 11, 41
RULE = "[rule all]\nproto = tcp\nrequire = esp\nmode = transport\nmin-key-bits = 128\n" \
       "peer-id = *.example\n"


class OptionCase(SharedCase):
    def socket(self, proto="tcp", family=socket.AF_INET, cgroup=None):
        with self.guarded(cgroup):
            one = socket.socket(family, KINDS[proto])
        self.addCleanup(one.close)
        one.settimeout(0.3)
        return one

    def unguarded(self, proto="tcp"):
        with netns_of(self.netns):
            one = socket.socket(socket.AF_INET, KINDS[proto])
        self.addCleanup(one.close)
        return one

    def assert_error(self, number, call, *words, **more):
        self.assertEqual(errno.errorcode.get(o.error_of(call, *words, **more), 0),
                         errno.errorcode.get(number, 0))

    def asked(self):
        """What programs asked for, by latch."""
        return json.loads(must("bpftool", "-j", "map", "dump", "pinned",
                               f"{self.dir}/clatch_asked"))


class Take(OptionCase):
    """Values, sizes and times."""

    def test_require(self):
        for proto in KINDS:
            for family in (socket.AF_INET, socket.AF_INET6):
                one = self.socket(proto, family)
                self.assertEqual(o.requirement(one), (0, 0, 0, b""))
                o.require(one, o.ENCRYPTED, 2, 256, b"*.example")
                self.assertEqual(o.requirement(one), (o.ENCRYPTED, 2, 256, b"*.example"))
                o.require(one, o.AH)
                self.assertEqual(o.requirement(one), (o.AH, 0, 0, b""))
                o.require(one, o.UNPROTECTED)
                self.assertEqual(o.requirement(one), (0, 0, 0, b""))

    def test_disposition_of_a_latch_of_another(self):
        """Of the same 5-tuple: what is asked for it stays."""
        self.policy(*MAY_PROTECT)
        one, other = self.socket("udp"), self.socket("udp")
        for each in (one, other):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((self.OWN, 6100))
            each.connect((self.PEER, 7000))
        o.require(one, o.ENCRYPTED)
        self.assertRaises(PermissionError, one.send, b"x")
        before = self.asked()
        self.assertEqual(len(before), 1)
        o.dispose(other, o.RESET)
        self.assertEqual(self.asked(), before)
        o.dispose(one, o.RESET)
        self.assertNotEqual(self.asked(), before)

    def test_disposition_while_its_latch_goes(self):
        """Whoever comes first: nothing is left of what was asked for."""
        self.policy(*MAY_PROTECT)
        one = self.socket("udp")
        o.require(one, o.ENCRYPTED)
        child = os.fork()  # a thread would wait for this one
        if not child:
            while True:
                o.dispose(one, o.HOLD)
        try:
            for number in range(2000):
                one.connect((self.PEER, 7000 + number % 2))
                self.assertRaises(PermissionError, one.send, b"x")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self.assertEqual(len(self.asked()), 1)
        one.close()
        self.assertEqual(self.asked(), [])

    def test_no_memory_to_note_the_latch(self):
        """Of which no socket would know that it is its own."""
        self.policy(*MAY_PROTECT)
        self.put_in_force("[rule all]\nrequire = ipsec\n")
        one = self.socket("udp")
        self.inside("sysctl", "-qw", "net.core.optmem_max=1")
        one.connect((self.PEER, 7000))
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.list(), [])
        self.assertEqual(self.status()["counters"]["table-full"], 1)
        self.inside("sysctl", "-qw", "net.core.optmem_max=100000")
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual([x["state"] for x in self.list()], ["BROKEN"])

    def test_wrong_values(self):
        one = self.socket()
        for more in ({"version": 0}, {"version": 2}, {"reserved": 1}, {"mode": 3},
                     {"protection": 5}, {"protection": 255},
                     {"protection": o.AH, "min_key_bits": 1},
                     {"protection": o.UNPROTECTED, "min_key_bits": 128},
                     {"protection": o.UNPROTECTED, "mode": 1},
                     {"protection": o.UNPROTECTED, "peer_id": b"a"},
                     {"peer_id": b"x" * 128}):
            with self.subTest(more=more):
                self.assert_error(errno.EINVAL, o.require, one, **{"protection": o.ESP, **more})
        self.assertEqual(o.requirement(one), (0, 0, 0, b""))
        o.require(one, o.ESP, peer_id=b"x" * 127)
        for more in ({"version": 2}, {"action": 4}, {"action": o.HOLD, "milliseconds": 1}):
            with self.subTest(more=more):
                self.assert_error(errno.EINVAL, o.dispose, one, **{"action": o.RESET, **more})
        self.assert_error(errno.EINVAL, o.turn_off, one, 2)
        self.assert_error(errno.EINVAL, o.turn_off, one, -1)

    def test_what_is_behind_the_text_is_not_kept(self):
        one = self.socket()
        value = bytearray(bytes(o.Requirement(1, o.ESP, 0, 0, 0, b"db")))
        value[20:24] = b"junk"
        one.setsockopt(o.SOL_CLATCH, o.REQUIRE, value)
        raw = one.getsockopt(o.SOL_CLATCH, o.REQUIRE, 136)
        self.assertEqual(raw[8:], b"db" + bytes(126))

    def test_wrong_sizes(self):
        one = self.socket()
        right = {o.REQUIRE: bytes(o.Requirement(1, o.ESP)), o.DISPOSITION: bytes([1, 0] * 4),
                 o.OFF: bytes(4)}
        right[o.DISPOSITION] = bytes(o.Disposition(1, o.HOLD))
        for name, value in right.items():
            for size in (0, 1, len(value) - 1, len(value) + 1, 2 * len(value), 5000):
                with self.subTest(name=name, size=size):
                    wrong = (value + bytes(5000))[:size]
                    self.assert_error(errno.EINVAL, one.setsockopt, o.SOL_CLATCH, name, wrong)
            one.setsockopt(o.SOL_CLATCH, name, value)
        for name, size in ((o.INQUIRE, ctypes.sizeof(o.Inquiry)), (o.REQUIRE, 136),
                           (o.DISPOSITION, 8), (o.OFF, 4)):
            for less in (1, size - 1):
                with self.subTest(name=name, less=less):
                    self.assert_error(errno.EINVAL, one.getsockopt, o.SOL_CLATCH, name, less)
            for more in (0, 1, 1024 - size):  # a later version's; Python has no more
                self.assertEqual(len(one.getsockopt(o.SOL_CLATCH, name, size + more)), size)
        for name in (o.LOCAL_ID, o.PEER_ID):
            self.assert_error(errno.EINVAL, one.getsockopt, o.SOL_CLATCH, name, 511)

    def test_unknown_options(self):
        one = self.socket()
        for name in (0, 7, 100, -1):
            self.assert_error(errno.ENOPROTOOPT, one.getsockopt, o.SOL_CLATCH, name, 8)
            self.assert_error(errno.ENOPROTOOPT, one.setsockopt, o.SOL_CLATCH, name, bytes(8))
        self.assert_error(errno.ENOPROTOOPT, one.setsockopt, o.SOL_CLATCH, o.INQUIRE, bytes(8))

    def test_not_guarded(self):
        one = self.unguarded()
        self.assertIn(o.error_of(o.inquire, one), (errno.ENOPROTOOPT, errno.EOPNOTSUPP))
        self.assertIn(o.error_of(o.require, one, o.ESP), (errno.ENOPROTOOPT, errno.EOPNOTSUPP))

    def test_disposition(self):
        one = self.socket()
        self.assertEqual(o.disposition(one), (o.DEFAULT, 0))
        for action, time in ((o.HOLD, 0), (o.RESET_AFTER, 1500), (o.RESET, 0), (o.DEFAULT, 0)):
            o.dispose(one, action, time)
            self.assertEqual(o.disposition(one), (action, time))
        o.dispose(one, o.RESET_AFTER, 0)
        self.assertEqual(o.disposition(one), (o.RESET, 0))
        o.require(one, o.ESP)  # and the one leaves the other alone
        o.dispose(one, o.HOLD)
        self.assertEqual((o.requirement(one)[0], o.disposition(one)), (o.ESP, (o.HOLD, 0)))

    def test_not_latched(self):
        one = self.socket()
        said = o.inquire(one)
        self.assertEqual((said.version, said.size), (1, ctypes.sizeof(o.Inquiry)))
        self.assertEqual(bytes(said)[4:], bytes(said.size - 4))
        self.assertEqual(o.ids(one), ("", ""))

    def test_listener(self):
        one = self.socket()
        one.bind((self.OWN, 0))
        o.require(one, o.ESP, peer_id=b"db*")
        o.dispose(one, o.HOLD)
        one.listen()
        said = o.inquire(one)
        self.assertEqual((said.flags & o.LATCHED, o.STATES[said.state]), (1, "LISTENER"))
        self.assertEqual(self.list()[0]["id"], said.id)
        self.assert_error(errno.EISCONN, o.require, one, o.AH)
        o.dispose(one, o.RESET)

    def list(self):
        return json.loads(self.ok("list", "--json"))["latches"]

    def test_too_late(self):
        server = self.peer_listener()
        one = self.socket()
        one.connect(server.getsockname())
        self.assert_error(errno.EISCONN, o.require, one, o.ESP)
        self.assert_error(errno.EISCONN, o.turn_off, one)
        o.dispose(one, o.HOLD)

    def test_too_late_for_datagrams(self):
        """After the first, be it refused."""
        self.policy(*MAY_PROTECT)
        one = self.socket("udp")
        o.require(one, o.ENCRYPTED)
        one.connect((self.PEER, 7000))
        o.require(one, o.ESP)
        self.assertRaises(PermissionError, one.send, b"x")
        self.assert_error(errno.EISCONN, o.require, one, o.ENCRYPTED)
        self.assert_error(errno.EISCONN, o.turn_off, one)

    def peer_listener(self):
        with netns_of(self.peer):
            server = socket.create_server((self.PEER, 0))
        self.addCleanup(server.close)
        return server


class Others(OptionCase):
    """Levels and options that are not ours."""

    def same(self, call):
        """What a guarded socket is told is what any other is told."""
        def said(sock):
            try:
                return call(sock)
            except OSError as error:
                return error.errno
        self.assertEqual(said(self.socket()), said(self.unguarded()))

    def test_same_as_ever(self):
        for call in (
                lambda s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                lambda s: s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                lambda s: s.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 8),
                lambda s: len(s.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1024)),
                lambda s: s.setsockopt(socket.SOL_SOCKET, 9999, 1),
                lambda s: s.getsockopt(socket.SOL_SOCKET, 9999, 8),
                lambda s: s.getsockopt(0x434d, 1, 8), lambda s: s.setsockopt(0x434d, 2, bytes(136)),
                lambda s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno"),
                lambda s: s.setsockopt(socket.IPPROTO_IP, IP_MSFILTER, bytes(3)),
                lambda s: s.setsockopt(socket.IPPROTO_IP, IP_MSFILTER, bytes(20000)),
                lambda s: s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes(5000))):
            self.same(call)

    def test_long_options(self):
        """Longer than what the hook sees: the kernel gets all of it."""
        one = self.socket("udp")
        self.inside("sysctl", "-qw", "net.ipv4.igmp_max_msf=2000")
        sources = [struct.pack("!I", 0x0a080000 + i) for i in range(1500)]
        group, own = (socket.inet_aton(a) for a in ("239.1.2.3", self.OWN))
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)
        one.setsockopt(socket.IPPROTO_IP, IP_MSFILTER,
                       group + own + struct.pack("=II", 1, len(sources)) + b"".join(sources))
        with open("/proc/self/net/mcfilter", encoding="utf-8"):
            pass
        filters = self.inside("cat", "/proc/net/mcfilter").splitlines()
        self.assertEqual(len([line for line in filters if "0xef010203" in line]), len(sources))

    def test_local_sockets(self):
        with self.guarded():
            pair = socket.socketpair()
        for one in pair:
            self.addCleanup(one.close)
            self.assertNotEqual(o.error_of(o.inquire, one), 0)
            self.assertNotEqual(o.error_of(o.require, one, o.ESP), 0)
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def test_raw_sockets(self):
        """They may have a transport's number, but not its connections."""
        with self.guarded():
            one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self.addCleanup(one.close)
        for call in (o.inquire, lambda sock: o.require(sock, o.ESP)):
            self.assertIn(o.error_of(call, one), (errno.ENOPROTOOPT, errno.EOPNOTSUPP))


class Bounds(OptionCase):
    """What the policy leaves a program to ask for."""

    def test_weaker(self):
        self.put_in_force(RULE)
        one = self.socket()
        for words in ((o.PROTECTED,), (o.AH,), (o.UNPROTECTED,), (o.ESP, 2), (o.ESP, 0, 127),
                      (o.ESP, 0, 0, b"db.elsewhere"), (o.ENCRYPTED, 0, 64)):
            with self.subTest(words=words):
                self.assert_error(errno.EACCES, o.require, one, *words)
        self.assertEqual(o.requirement(one), (0, 0, 0, b""))

    def test_weaker_than_encrypted(self):
        self.put_in_force("[rule all]\nrequire = encrypted\n")
        for wanted in (o.PROTECTED, o.ESP, o.AH, o.UNPROTECTED):
            self.assert_error(errno.EACCES, o.require, self.socket(), wanted)
        o.require(self.socket(), o.ENCRYPTED)

    def test_as_strict_or_stricter(self):
        self.put_in_force(RULE)
        one = self.socket()
        for words in ((o.ESP,), (o.ENCRYPTED,), (o.ESP, 1), (o.ESP, 0, 128), (o.ESP, 1, 256),
                      (o.ESP, 0, 0, b"db.example"), (o.ESP, 0, 0, b"*.example")):
            o.require(one, *words)

    def test_other_rules_are_not_its(self):
        self.put_in_force("[rule a]\nproto = udp\nrequire = encrypted\n"
                          "[rule b]\nproto = tcp\nlocal-port = 9000\nrequire = encrypted\n"
                          "[rule c]\nproto = tcp\nlocal = 2001:db8::/32\nrequire = encrypted\n")
        o.require(self.socket(), o.PROTECTED)
        self.assert_error(errno.EACCES, o.require, self.socket("udp"), o.PROTECTED)
        bound = self.socket()
        bound.bind((self.OWN, 9000))
        self.assert_error(errno.EACCES, o.require, bound, o.PROTECTED)
        other = self.socket()
        other.bind((self.OWN, 9001))
        o.require(other, o.PROTECTED)

    def test_told_at_connect(self):
        """Which rule it is depends on the peer."""
        self.policy(*MAY_PROTECT)
        self.put_in_force("[rule strict]\nproto = tcp\nremote = 10.7.0.0/24\nrequire = encrypted\n"
                          "[rule rest]\nproto = tcp\nremote = 10.8.0.0/16\nrequire = ipsec\n")
        self.inside("ip", "route", "add", "10.8.0.0/16", "dev", "c0")
        one = self.socket()
        o.require(one, o.PROTECTED)
        self.assert_error(errno.EACCES, one.connect, (self.PEER, 7000))
        self.assertEqual(o.error_of(one.connect, ("10.8.0.1", 7000)), -1)  # held

    def test_nothing_may_protect(self):
        one = self.socket()
        o.require(one, o.PROTECTED)
        self.assert_error(errno.EPERM, one.connect, (self.PEER, 7000))
        udp = self.socket("udp")
        o.require(udp, o.PROTECTED)
        self.assert_error(errno.EPERM, udp.sendto, b"x", (self.PEER, 7000))
        self.assert_error(errno.EPERM, udp.connect, (self.PEER, 7000))

    def test_held_by_its_own_demand(self):
        self.policy(*MAY_PROTECT)
        one = self.socket()
        o.require(one, o.PROTECTED, peer_id=b"db.example")
        o.dispose(one, o.RESET_AFTER, 1000)
        self.assertEqual(o.error_of(one.connect, (self.PEER, 7000)), -1)
        said = o.inquire(one)
        self.assertEqual((said.flags, o.STATES[said.state]), (o.LATCHED | o.DEMANDED, "BROKEN"))
        self.assertEqual([e["formatted"]["key"] for e in self.asked()], [said.id])
        self.assertEqual(json.loads(self.ok("show", str(said.id), "--json"))["asked"], {
            "require": "ipsec", "mode": "any", "min_key_bits": 0, "peer_id": "db.example",
            "reset_after": "1s"})
        self.assertIn("requires ipsec, mode any, key bits 0, peer db.example, reset after 1s",
                      self.ok("show", str(said.id)))
        one.close()
        self.wait_for_no_latch()
        self.assertEqual(self.asked(), [])

    def wait_for_no_latch(self):
        for _ in range(200):
            if not json.loads(self.ok("list", "--json"))["latches"]:
                return
        self.fail("the latch stays")


class Off(OptionCase):
    """Protection turned off."""

    def test_not_without_the_policy(self):
        self.assert_error(errno.EACCES, o.turn_off, self.socket())
        self.put_in_force(f"[clatch]\nmay-turn-off = {self.make_cgroup('b')}\n")
        self.assert_error(errno.EACCES, o.turn_off, self.socket())
        o.turn_off(self.socket(), 0)

    def test_where_the_policy_allows_it(self):
        below = f"{self.cgroup}/below"
        os.mkdir(below)
        self.addCleanup(lambda: os.path.exists(below) and os.rmdir(below))
        self.put_in_force(f"[clatch]\nmay-turn-off = {self.make_cgroup('b')}\n"
                          f"may-turn-off = {self.cgroup}\n{RULE}")
        with netns_of(self.peer):
            server = socket.create_server((self.PEER, 0))
        self.addCleanup(server.close)
        for cgroup in (self.cgroup, below):
            one = self.socket(cgroup=cgroup)
            self.assert_error(errno.EPERM, one.connect, server.getsockname())
            o.turn_off(one)
            one.connect(server.getsockname())
            server.accept()[0].close()
            self.assertEqual(one.getsockopt(o.SOL_CLATCH, o.OFF), 1)
        self.assertEqual(json.loads(self.ok("list", "--json"))["latches"], [])

    def test_policy_replaced(self):
        self.put_in_force(f"[clatch]\nmay-turn-off = {self.cgroup}\n")
        self.assertIn(f"may-turn-off = {self.cgroup}\n", self.ok("policy", "show"))
        self.put_in_force("")
        self.assert_error(errno.EACCES, o.turn_off, self.socket())

    def test_permission_taken_back(self):
        """Sockets that are off already are under the rules again, and so is what they accept."""
        every = "[rule every]\nrequire = ipsec\n"
        allowed = f"[clatch]\nmay-turn-off = {self.cgroup}\n"
        self.put_in_force(allowed + every)
        with netns_of(self.peer):
            receiver, client = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        receiver.bind((self.PEER, 0))
        one, listener = self.socket("udp"), self.socket()
        for sock in receiver, client:
            self.addCleanup(sock.close)
        for sock in one, listener:
            o.turn_off(sock)
        one.connect(receiver.getsockname())
        one.send(b"x")
        listener.bind((self.OWN, 0))
        listener.listen()
        self.put_in_force(f"{allowed}[rule other]\nproto = sctp\nrequire = esp\n{every}")
        one.send(b"still allowed")
        self.assertEqual(one.getsockopt(o.SOL_CLATCH, o.OFF), 1)
        self.put_in_force(every)
        self.assert_error(errno.EPERM, one.send, b"x")
        self.assertEqual(one.getsockopt(o.SOL_CLATCH, o.OFF), 0)
        client.settimeout(0.5)
        self.assertRaises(TimeoutError, client.connect, listener.getsockname())

    def test_no_cgroup(self):
        self.put_in_force(f"[clatch]\nmay-turn-off = {self.cgroup}\n")
        self.fails(1, "may-turn-off names '/nowhere', which is no cgroup", "policy", "load",
                   self.file("[clatch]\nmay-turn-off = /nowhere\n"))
        o.turn_off(self.socket())

    def test_demands_nothing_any_more(self):
        self.put_in_force(f"[clatch]\nmay-turn-off = {self.cgroup}\n")
        one = self.socket()
        o.require(one, o.ENCRYPTED)
        o.turn_off(one)
        self.assertEqual(o.requirement(one), (0, 0, 0, b""))
        o.require(one, o.ENCRYPTED)
        self.assertEqual(one.getsockopt(o.SOL_CLATCH, o.OFF), 0)


if __name__ == "__main__":
    unittest.main()
