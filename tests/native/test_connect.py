#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""connect() where a rule demands protection: refused at once if the SPD is known to leave it in
clear, and never for what no rule catches.  Datagrams in clear are refused one by one."""

import errno
import json
import os
import select
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../program"))

import options  # noqa: E402
from guarded import MAY_PROTECT, SharedCase
from native import must, set_up_module
from test_close import netns_of

setUpModule = set_up_module  # pylint: disable=invalid-name

PORT = 7000
RULE = "[rule all]\nrequire = ipsec\n"
ESP = "tmpl proto esp mode transport".split()
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
ETH_P_ALL = 3
IP_PKTINFO = 8
IP_XFRM_POLICY = 17
# struct xfrm_userpolicy_info: the SPD's IPv4 out policy that lets all pass
BYPASS = struct.pack("@56s64s32sIIBBBB4x", struct.pack("@40xH14x", socket.AF_INET), bytes(64),
                     bytes(32), 0, 0, 1, 0, 0, 0)


class ConnectCase(SharedCase):
    def setUp(self):
        super().setUp()
        self.wire = self.capture()

    def only_audit(self, rules=RULE):
        """Guarded by another instance, which drops nothing."""
        self.ok("detach", "--cgroup", self.cgroup)
        other = self.dir + "-audit"
        self.addCleanup(self.loader, "unload", bpffs=other)
        self.ok("load", "--cgroup", self.cgroup, "--audit", "--policy", self.file(rules),
                bpffs=other)

    def capture(self):
        with netns_of(self.peer):
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.addCleanup(wire.close)
        wire.bind(("c1", ETH_P_ALL))
        return wire

    def seen(self):
        """Transport protocols of the frames that have come to the peer, as numbers."""
        found = []
        while select.select([self.wire], [], [], 0.2)[0]:
            frame = self.wire.recv(2000)
            kind = struct.unpack("!H", frame[12:14])[0]
            if kind in (0x0800, 0x86dd):
                found.append(frame[23] if kind == 0x0800 else frame[20])
        return [proto for proto in found if proto in (6, 17)]

    def socket(self, proto="tcp", address=None, bind=None):
        address = address or self.PEER
        with self.guarded():
            one = socket.socket(socket.AF_INET6 if self.is_v6(address) else socket.AF_INET,
                                KINDS[proto])
        self.addCleanup(one.close)
        one.settimeout(0.2)
        if bind:
            one.bind(bind)
        return one

    def listener(self, address=None, port=PORT):
        address = address or self.PEER
        with netns_of(self.peer if address in (self.PEER, self.PEER6) else self.netns):
            server = socket.create_server(
                (address, port), family=socket.AF_INET6 if self.is_v6(address) else socket.AF_INET)
        self.addCleanup(server.close)
        return server

    def attempt(self, *words, port=PORT, **more):
        """What connect() says: 0, or an error."""
        one = self.socket(*words, **more)
        address = words[1] if len(words) > 1 else more.get("address") or self.PEER
        try:
            one.connect((address, port))
        except TimeoutError:
            return errno.ETIMEDOUT
        except OSError as error:
            return error.errno
        return 0


class Known(ConnectCase):
    """Whether it is known that nothing will protect the connection."""

    def setUp(self):
        super().setUp()
        self.listener()
        self.listener(self.PEER6)
        self.put_in_force(RULE)

    def refused(self, *words, **more):
        self.assertEqual(self.attempt(*words, **more), errno.EPERM)

    def held(self, *words, **more):
        """Nothing is known: the SYN is sent, and held."""
        self.assertEqual(self.attempt("tcp", *words, **more), errno.ETIMEDOUT)
        self.assertEqual(self.seen(), [])

    def test_no_policy_at_all(self):
        for proto in KINDS:
            for address in (self.PEER, self.PEER6):
                with self.subTest(proto=proto, address=address):
                    self.refused(proto, address)
        self.assertEqual(self.seen(), [])
        self.assertEqual(json.loads(self.ok("list", "--json"))["latches"], [])

    def test_mapped_address(self):
        with self.guarded():
            one = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self.addCleanup(one.close)
        self.assertRaises(PermissionError, one.connect, ("::ffff:" + self.PEER, PORT))

    def test_policies_that_are_not_for_it(self):
        for words in (("dst", "10.7.0.3/32", "dir", "out"), ("dst", self.PEER, "dir", "in"),
                      ("dst", self.PEER, "proto", "udp", "dir", "out"),
                      ("dst", self.PEER, "proto", "tcp", "dport", "7001", "dir", "out"),
                      ("src", "::/0", "dst", "::/0", "dir", "out"),
                      ("src", "10.7.0.9/32", "dst", "0.0.0.0/0", "dir", "fwd")):
            self.policy(*words, *ESP)
        self.refused()

    def test_it_may_be_protected(self):
        self.policy(*MAY_PROTECT)
        self.held()

    def test_which_source_address_is_not_known(self):
        """A policy for a mark and one source: bound to that, to none, and to another."""
        self.policy("src", self.OWN, *MAY_PROTECT[2:])
        self.held()
        self.held(bind=(self.OWN, 0))
        self.inside("ip", "address", "add", "10.7.0.8/24", "dev", "c0")
        self.refused(bind=("10.7.0.8", 0))

    def test_source_ports(self):
        self.policy("src", "0.0.0.0/0", "dst", "0.0.0.0/0", "proto", "tcp", "sport", "4000",
                    *MAY_PROTECT[4:])
        self.held()
        self.held(bind=(self.OWN, 4000))
        self.refused(bind=(self.OWN, 4001))

    def test_bypass_before_what_protects(self):
        self.policy(*MAY_PROTECT[:6], "priority", "20", *MAY_PROTECT[6:])
        self.held()
        self.policy("dst", self.PEER, "proto", "tcp", "dport", str(PORT), "dir", "out",
                    "priority", "10")
        self.refused()

    def test_bypass_behind_what_protects(self):
        self.policy(*MAY_PROTECT[:6], "priority", "20", *MAY_PROTECT[6:])
        self.policy("dst", self.PEER, "dir", "out", "priority", "30")
        self.held()

    def test_ipv6_selectors(self):
        self.policy("dst", "fd07:0:0:1::/64", "dir", "out", "mark", "7", "mask", "7", *ESP)
        self.refused("tcp", self.PEER6)
        self.policy("dst", "fd07::/64", "dir", "out", "mark", "7", "mask", "7", *ESP)
        self.held(self.PEER6)

    def test_many_policies(self):
        lines = "".join(f"xfrm policy add dst 10.{i >> 8}.{i & 255}.0/24 dir out priority 1 "
                        f"{' '.join(ESP)}\n" for i in range(9 << 8, 12 << 8))
        with open(self.file(lines, "batch"), encoding="utf-8") as batch:
            must("ip", "-n", self.netns, "-batch", batch.name)
        self.refused()
        self.policy(*MAY_PROTECT)
        self.held()

    def test_fast_open(self):
        """Its SYN would carry data."""
        self.inside("sysctl", "-qw", "net.ipv4.tcp_fastopen=5")  # without a cookie
        one = self.socket()
        self.assertRaises(PermissionError, one.sendto, b"secret", socket.MSG_FASTOPEN,
                          (self.PEER, PORT))
        self.policy(*MAY_PROTECT)
        self.socket().sendto(b"secret", socket.MSG_FASTOPEN, (self.PEER, PORT))
        self.assertEqual(self.seen(), [])

    def test_audit(self):
        self.only_audit()
        self.assertEqual(self.attempt(), 0)
        self.assertEqual(self.attempt("udp"), 0)


class Exempt(ConnectCase):
    """What no rule catches."""

    def setUp(self):
        super().setUp()
        self.put_in_force(RULE)

    def test_loopback(self):
        own = (("127.0.0.1", self.OWN), ("127.9.9.9", "127.0.0.1"), (self.OWN, self.OWN),
               (self.OWN, "127.0.0.1"), ("::1", "::1"), (self.OWN6, self.OWN6))
        for number, (to, source) in enumerate(own):
            with self.subTest(to=to, source=source):
                server = self.listener(to, 7100 + number)
                self.assertEqual(self.attempt("tcp", to, port=7100 + number,
                                              bind=(source, 0)), 0)
                server.accept()[0].close()
                receiver = self.socket("udp", to, bind=(to, 7100 + number))
                self.socket("udp", to, bind=(source, 0)).sendto(b"x", (to, 7100 + number))
                self.assertEqual(receiver.recv(9), b"x")

    def test_no_address_is_this_host(self):
        for number, to in enumerate(("0.0.0.0", "::", "::ffff:0.0.0.0")):
            server = self.listener("127.0.0.1" if number != 1 else "::1", 7200 + number)
            self.assertEqual(self.attempt("tcp", to, port=7200 + number), 0)
            server.accept()[0].close()

    def test_no_other_address_is_own(self):
        self.assertEqual(self.attempt("tcp", "10.7.0.3"), errno.EPERM)
        self.assertEqual(self.attempt("tcp", "fd07::3"), errno.EPERM)

    def test_dhcp(self):
        for own, peer, ports in ((self.OWN, self.PEER, (68, 67)), (self.OWN, self.PEER, (67, 67)),
                                 (self.OWN6, self.PEER6, (546, 547))):
            with self.subTest(ports=ports):
                one = self.socket("udp", peer, bind=(own, ports[0]))
                one.sendto(b"discover", (peer, ports[1]))
                one.connect((peer, ports[1]))
                one.send(b"renew")
                self.assertEqual(self.seen(), [17, 17])

    def test_not_dhcp(self):
        for ports in ((68, 53), (5000, 67), (546, 547)):
            one = self.socket("udp", bind=(self.OWN, ports[0]))
            self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, ports[1]))
        self.assertEqual(self.seen(), [])

    def test_socket_past_the_spd(self):
        """As IKE daemons have them.  A port alone makes no IKE daemon."""
        one = self.socket("udp", bind=(self.OWN, 4500))
        self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, 4500))
        self.assertRaises(PermissionError, one.connect, (self.PEER, 4500))
        one.setsockopt(socket.IPPROTO_IP, IP_XFRM_POLICY, BYPASS)
        one.sendto(b"x", (self.PEER, 4500))
        one.connect((self.PEER, 4500))
        one.send(b"x")
        self.assertEqual(self.seen(), [17, 17])

    def test_neighbours_are_found(self):
        for dev in (("-n", self.netns, "neigh", "flush", "dev", "c0"),
                    ("-n", self.peer, "neigh", "flush", "dev", "c1")):
            must("ip", *dev)
        self.socket("udp", self.PEER6, bind=(self.OWN6, 546)).sendto(b"x", (self.PEER6, 547))
        self.assertEqual(self.seen(), [17])


class Datagrams(ConnectCase):
    """UDP, one by one."""

    def setUp(self):
        super().setUp()
        self.put_in_force("[rule one]\nproto = udp\nremote = 10.7.0.2\nremote-port = 7000\n"
                          "require = ipsec\n[rule six]\nproto = udp\nremote = fd07::/16\n"
                          "local-port = 6000\nrequire = ipsec\n")

    def test_out(self):
        one = self.socket("udp")
        for _ in range(2):
            self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, 7000))
        one.sendto(b"x", (self.PEER, 7001))
        self.assertEqual(self.seen(), [17])
        six = self.socket("udp", self.PEER6, bind=(self.OWN6, 6000))
        self.assertRaises(PermissionError, six.sendto, b"x", (self.PEER6, 7001))
        self.assertEqual(self.seen(), [])

    def test_out_of_a_dual_socket(self):
        one = self.socket("udp", self.PEER6)
        self.assertRaises(PermissionError, one.sendto, b"x", ("::ffff:" + self.PEER, 7000))
        one.sendto(b"x", ("::ffff:" + self.PEER, 7001))
        self.assertEqual(self.seen(), [17])

    def test_out_by_a_way_of_its_own(self):
        """Source routing: the header names the first place on the way, and not the last."""
        hop = socket.inet_aton("10.7.0.9")
        for connected in (False, True):
            one = self.socket("udp")
            one.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([131, 7, 4]) + hop + b"\0")
            if connected:
                one.connect((self.PEER, 7001))
            self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, 7000))
        self.assertEqual(self.seen(), [])

    def test_out_on_a_connection(self):
        self.policy(*MAY_PROTECT)
        one = self.socket("udp")
        one.connect((self.PEER, 7000))
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.seen(), [])
        latch = json.loads(self.ok("list", "--json"))["latches"][0]
        self.assertEqual((latch["rule"], latch["state"]), ("one", "BROKEN"))

    def connected(self):
        """To where no rule demands anything."""
        with netns_of(self.peer):
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(peer.close)
        peer.bind((self.PEER, 7001))
        one = self.socket("udp")
        one.connect((self.PEER, 7001))
        return one

    def test_out_of_a_connection_to_another(self):
        one = self.connected()
        for _ in range(2):
            one.send(b"x")
            self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, 7000))
            one.sendto(b"x", (self.PEER, 7001))
        self.assertEqual(self.seen(), [17] * 4)

    def test_out_of_a_connection_with_another_source(self):
        """Which IP_PKTINFO names."""
        self.inside("ip", "address", "add", "10.7.0.8/24", "dev", "c0")
        self.put_in_force("[rule source]\nlocal = 10.7.0.8\nrequire = ipsec\n")
        one = self.connected()
        one.send(b"x")
        source = struct.pack("@i4s4s", 0, socket.inet_aton("10.7.0.8"), bytes(4))
        self.assertRaises(PermissionError, one.sendmsg, [b"x"],
                          [(socket.IPPROTO_IP, IP_PKTINFO, source)])
        self.assertEqual(self.seen(), [17])

    def test_what_is_asked_for_later(self):
        one = self.connected()
        one.send(b"x")
        options.require(one, options.ENCRYPTED)
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.seen(), [17])

    def test_from_loopback_to_a_device(self):
        self.put_in_force(RULE)
        self.inside("ip", "address", "add", "10.9.9.9/32", "dev", "lo")
        self.inside("ip", "route", "add", "default", "via", self.PEER)
        receiver = self.socket("udp", bind=("10.9.9.9", 7001))
        one = self.socket("udp")
        one.connect(("10.9.9.9", 7001))
        for _ in range(2):
            one.send(b"x")
            self.assertEqual(receiver.recv(9), b"x")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"c0")
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.seen(), [])

    def test_out_on_a_connection_begun_anew(self):
        self.policy(*MAY_PROTECT)
        one = self.socket("udp")
        for _ in range(3):
            one.connect((self.PEER, 7000))
            self.assertRaises(PermissionError, one.send, b"x")
            self.assertRaises(PermissionError, one.sendto, b"x", (self.PEER, 7000))
        self.assertEqual(self.seen(), [])

    def test_connection_without_a_rule(self):
        """That needs no protection is kept, until there is another policy."""
        one = self.connected()
        for _ in range(3):
            one.send(b"x")
        self.assertEqual(self.seen(), [17] * 3)
        self.put_in_force(RULE)
        self.assertRaises(PermissionError, one.send, b"x")
        self.assertEqual(self.seen(), [])

    def send_in(self, port, source):
        with netns_of(self.peer), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((self.PEER, source))
            peer.sendto(b"from %d" % source, (self.OWN, port))

    def test_in(self):
        one = self.socket("udp", bind=(self.OWN, 5000))
        for source in (7000, 7001):
            self.send_in(5000, source)
        self.assertEqual(one.recv(20), b"from 7001")
        self.assertRaises(TimeoutError, one.recv, 20)

    def test_in_on_a_connection(self):
        self.policy(*MAY_PROTECT)
        one = self.socket("udp", bind=(self.OWN, 5000))
        one.connect((self.PEER, 7000))
        self.send_in(5000, 7000)
        self.assertRaises(TimeoutError, one.recv, 20)

    def test_audit(self):
        self.only_audit()
        one = self.socket("udp", bind=(self.OWN, 5000))
        one.sendto(b"x", (self.PEER, 7000))
        self.assertEqual(self.seen(), [17])
        self.send_in(5000, 7000)
        self.assertEqual(one.recv(20), b"from 7000")


if __name__ == "__main__":
    unittest.main()
