#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What is refused at connect() and sendmsg(), before there is a packet, is counted and reported; and
what a UDP socket may send to others than its peer."""

import ctypes
import errno
import json
import queue
import socket
import struct
import subprocess
import sys
import threading
import unittest

from guarded import MAY_PROTECT
from native import HERE, LOADER, must, set_up_module
import test_close
from test_close import netns_of
from test_connect import BYPASS, IP_XFRM_POLICY, RULE, ConnectCase

sys.path.insert(0, f"{HERE}/../program")

import options  # noqa: E402

setUpModule = set_up_module  # pylint: disable=invalid-name


class Monitor:
    """`clatch-loader monitor`; its events one by one."""

    def __init__(self, bpffs):
        self.process = subprocess.Popen([LOADER, "monitor", "--json", "--bpffs", bpffs],
                                        stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def next(self):
        return self.lines.get(timeout=20)

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.reader.join()
        self.process.stdout.close()


class Reported(ConnectCase):
    """One event a second for each service, with its own addresses."""

    def setUp(self):
        super().setUp()
        self.own_instance()
        self.monitor = Monitor(self.dir)
        self.addCleanup(self.monitor.close)
        test_close.Closing.wait_for_reader(self.monitor.process)

    def own_instance(self):
        """As what other tests caused is counted, and merged with what this one does."""
        self.ok("detach", "--cgroup", self.cgroup)
        own = self.dir + "-own"
        self.addCleanup(self.loader, "unload", bpffs=own)
        self.addCleanup(setattr, self, "dir", self.dir)
        self.dir = own
        self.ok("load", "--cgroup", self.cgroup, "--policy", self.file(RULE))

    def counter(self, reason):
        return self.status()["counters"][reason]

    def refusal(self):
        event = self.monitor.next()
        self.assertEqual((event["event"], event["latch"], event["direction"], event["verdict"]),
                         ("violation", None, "out", "drop"))
        return event

    def test_connect(self):
        for number, (proto, address, port) in enumerate((
                ("tcp", self.PEER, 7000), ("udp", self.PEER, 7000), ("tcp", self.PEER, 7001),
                ("tcp", self.PEER6, 7002))):
            self.assertEqual(self.attempt(proto, address, port=port), errno.EPERM)
            event = self.refusal()
            self.assertEqual((event["proto"], event["remote"], event["reason"], event["count"]),
                             (proto, {"addr": address, "port": port}, "clear", 1))
            self.assertEqual(self.counter("clear"), number + 1)

    def test_from_where(self):
        self.assertEqual(self.attempt(bind=(self.OWN, 4000)), errno.EPERM)
        self.assertEqual(self.refusal()["local"], {"addr": self.OWN, "port": 4000})

    def test_repeated(self):
        for _ in range(3):
            self.assertEqual(self.attempt(), errno.EPERM)
        self.assertEqual([self.refusal()["count"] for _ in range(2)], [1, 2])
        self.assertEqual(self.counter("clear"), 3)

    def test_less_asked_for(self):
        self.put_in_force("[rule strict]\nremote-port = 7000\nrequire = encrypted\n")
        one = self.socket()
        options.require(one, options.PROTECTED)
        self.assertEqual(options.error_of(one.connect, (self.PEER, 7000)), errno.EACCES)
        self.assertEqual((self.refusal()["reason"], self.counter("policy")), ("policy", 1))

    def test_datagrams(self):
        """In clear: refused one by one, and none under another's name."""
        one = self.socket("udp")
        for port in (7000, 7001):
            self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, port))
            self.assertEqual(self.refusal()["remote"], {"addr": self.PEER, "port": port})

    def test_to_another(self):
        self.put_in_force("[rule strict]\nremote-port = 7000\nrequire = ipsec\n")
        one = self.socket("udp", bind=(self.OWN, 4000))
        one.connect((self.PEER, 7001))
        self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, 7000))
        event = self.refusal()
        self.assertEqual((event["reason"], event["local"], event["remote"], event["proto"]),
                         ("policy", {"addr": self.OWN, "port": 4000},
                          {"addr": self.PEER, "port": 7000}, "udp"))
        self.assertEqual(self.counter("policy"), 1)

    def test_audit_to_another(self):
        """What passes as its connection does is told all the same."""
        self.only_audit("[rule strict]\nremote-port = 7000\nrequire = ipsec\n")
        one = self.socket("udp")
        one.connect((self.PEER, 7001))
        one.sendto(b"x", (self.PEER, 7000))
        self.assertEqual(self.seen(), [17])


class Mptcp(ConnectCase):
    """Its subflows are TCP connections, and under the same rules."""

    def mptcp(self):
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        self.addCleanup(one.close)
        one.settimeout(0.5)
        return one

    def test_client(self):
        server = self.listener()
        with self.guarded():
            before, after = self.mptcp(), self.mptcp()
        before.connect(server.getsockname())  # so that it is the rule that refuses the other
        self.assertIn(6, self.seen())
        self.put_in_force(RULE)
        self.assertRaises(OSError, after.connect, server.getsockname())
        self.assertEqual(self.seen(), [])

    def test_server(self):
        with self.guarded():
            server = self.mptcp()
        server.bind((self.OWN, 0))
        server.listen()
        self.put_in_force(RULE)
        for make in self.mptcp, socket.socket:
            with netns_of(self.peer):
                client = make()
            self.addCleanup(client.close)
            client.settimeout(0.5)
            self.assertRaises(TimeoutError, client.connect, server.getsockname())
        self.assertRaises(TimeoutError, server.accept)


class Handshake(ConnectCase):
    """A handshake in clear that began before its rule does not end under it."""

    HELD = ("table inet held { chain out { type filter hook output priority 0; "
            "tcp flags & (syn | ack) == ack drop; }; }")

    def in_peer(self, *words):
        must("nsenter", f"--net=/run/netns/{self.peer}", *words)

    def check(self, cookies):
        self.inside("sysctl", "-q", f"net.ipv4.tcp_syncookies={cookies}")
        server = self.socket(bind=(self.OWN, 0))
        server.listen()
        self.in_peer("nft", self.HELD)
        with netns_of(self.peer):
            client = socket.create_connection(server.getsockname(), 5)
        self.addCleanup(client.close)
        self.put_in_force(RULE)
        self.in_peer("nft", "delete", "table", "inet", "held")
        before = self.status()["counters"]["clear"]
        client.send(b"in clear")
        server.settimeout(0.5)
        self.assertRaises(TimeoutError, server.accept)
        self.assertGreater(self.status()["counters"]["clear"], before)

    def test_half_open(self):
        self.check(0)

    def test_syn_cookie(self):
        self.check(2)  # always


class Another(ConnectCase):
    """sendto() of a connected socket to another than its peer: what no rule catches."""

    def setUp(self):
        super().setUp()
        self.put_in_force("[rule peer]\nproto = udp\nremote-port = 7001\nrequire = none\n" + RULE)

    def connected(self, port=0):
        one = self.socket("udp", bind=(self.OWN, port))
        one.connect((self.PEER, 7001))
        return one

    def test_caught(self):
        one = self.connected()
        one.sendto(b"x", (self.PEER, 7001))
        for port in (7000, 67):
            self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, port))
        self.assertEqual(self.seen(), [17])

    def test_own_address(self):
        receiver = self.socket("udp", bind=(self.OWN, 7500))
        self.connected().sendto(b"x", (self.OWN, 7500))
        self.assertEqual(receiver.recv(9), b"x")

    def test_dhcp(self):
        self.connected(68).sendto(b"x", (self.PEER, 67))
        self.assertEqual(self.seen(), [17])

    def test_past_the_spd(self):
        one = self.connected()
        one.setsockopt(socket.IPPROTO_IP, IP_XFRM_POLICY, BYPASS)
        one.sendto(b"x", (self.PEER, 7000))
        self.assertEqual(self.seen(), [17])

    def test_turned_off(self):
        self.put_in_force(f"[clatch]\nmay-turn-off = {self.cgroup}\n" + RULE)
        one = self.socket("udp", bind=(self.OWN, 0))
        options.turn_off(one)
        one.connect((self.PEER, 7001))
        one.sendto(b"x", (self.PEER, 7000))
        self.assertEqual(self.seen(), [17])


class Ahead(ConnectCase):
    """What is known at connect(), and what only may be."""

    def setUp(self):
        super().setUp()
        self.listener()

    def test_rule_that_demands_nothing(self):
        """Before the one that does."""
        self.put_in_force("[rule free]\nremote-port = 7000\nrequire = none\n" + RULE)
        self.assertEqual(self.attempt(), 0)
        self.assertEqual(self.attempt(port=7001), errno.EPERM)

    def test_rule_of_the_other_family(self):
        self.put_in_force("[rule six]\nremote = ::/0\nrequire = ipsec\n")
        self.assertEqual(self.attempt(), 0)
        self.assertEqual(self.attempt("tcp", self.PEER6), errno.EPERM)

    def test_family_is_not_known(self):
        """A socket of IPv6 may connect to IPv4, whose rule is the less strict."""
        self.put_in_force("[rule six]\nremote = ::/0\nrequire = encrypted\n"
                          "[rule four]\nremote = 0.0.0.0/0\nrequire = ipsec\n")
        one = self.socket("tcp", self.PEER6)
        options.require(one, options.PROTECTED)
        bound = self.socket("tcp", self.PEER6, bind=(self.OWN6, 0))
        self.assertEqual(options.error_of(options.require, bound, options.PROTECTED),
                         errno.EACCES)

    def test_bypass_for_a_mark(self):
        """Which this packet may have, or not."""
        self.put_in_force(RULE)
        self.policy(*MAY_PROTECT[:6], "priority", "20", *MAY_PROTECT[6:])
        self.policy("dst", self.PEER, "dir", "out", "priority", "10", "mark", "8", "mask", "8")
        self.assertEqual(self.attempt(), errno.ETIMEDOUT)

    def test_own_policy_that_would_protect(self):
        """It is no bypass; and as it is optional, it lets the datagram go in clear."""
        template = struct.pack("@20xB3xH18xIBBB1xIII", socket.IPPROTO_ESP, socket.AF_INET, 7, 0, 0,
                               1, 0xffffffff, 0xffffffff, 0xffffffff)
        self.put_in_force(RULE)
        one = self.socket("udp", bind=(self.OWN, 4500))
        one.setsockopt(socket.IPPROTO_IP, IP_XFRM_POLICY, BYPASS + template)
        self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, 7000))
        one.connect((self.PEER, 7000))  # what a socket has of its own is not looked into
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.seen(), [])

    def test_own_address_and_a_demand(self):
        """No rule catches it; what is asked for is held to, be it less than the rule's."""
        self.policy(*MAY_PROTECT)
        self.put_in_force("[rule strict]\nremote = 10.7.0.0/24\nrequire = encrypted\n")
        self.listener(self.OWN)
        for address, number in ((self.OWN, -1), (self.PEER, errno.EACCES)):
            one = self.socket()
            options.require(one, options.PROTECTED)
            self.assertEqual(options.error_of(one.connect, (address, 7000)), number)


class Anew(ConnectCase):
    """A UDP connection begun anew: each is under its own rule."""

    def setUp(self):
        super().setUp()
        self.put_in_force("[rule port]\nproto = udp\nremote-port = 7000\nrequire = ipsec\n"
                          "[rule peer]\nproto = udp\nremote = 10.7.0.3\nrequire = ipsec\n"
                          "[rule own]\nproto = udp\nlocal = 10.7.0.8\nrequire = ipsec\n")
        self.policy(*MAY_PROTECT)
        with netns_of(self.peer):
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(peer.close)
        peer.bind((self.PEER, 7001))
        self.inside("ip", "address", "add", "10.7.0.8/24", "dev", "c0")
        self.inside("ip", "neigh", "add", "10.7.0.3", "lladdr", "02:00:00:00:00:03", "dev", "c0")

    def test_from_a_peer_without_a_rule(self):
        for strict in ((self.PEER, 7000), ("10.7.0.3", 7001)):
            one = self.socket("udp")
            for _ in range(2):
                one.connect((self.PEER, 7001))
                one.send(b"x")
                one.connect(strict)
                for _ in range(2):
                    self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.seen(), [17] * 4)

    def test_from_an_address_without_a_rule(self):
        """The same ports; another own address, as the route has changed."""
        one = self.socket("udp", bind=("", 4000))
        one.connect((self.PEER, 7001))
        one.send(b"x")
        self.inside("ip", "route", "add", self.PEER, "dev", "c0", "src", "10.7.0.8")
        self.assertEqual(ctypes.CDLL(None).connect(one.fileno(), bytes(16), 16), 0)  # AF_UNSPEC
        one.connect((self.PEER, 7001))
        self.assertEqual(one.getsockname(), ("10.7.0.8", 4000))
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.seen(), [17])


if __name__ == "__main__":
    unittest.main()
