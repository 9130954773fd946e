# SPDX-License-Identifier: GPL-2.0-only
"""Forwarded connections, held on a gateway: IPsec on the host, sockets in a container."""

import contextlib
import dataclasses
import json
import socket

import ipsec
from case import FIRST, LAST, NEXT, OTHER
from gateway import GatewayCase, Tunnel
from lab import Wire, run, wait_for

SIX = Tunnel(family=socket.AF_INET6)
BIG = 3000  # bytes of a datagram that takes more than one packet


class Forward(GatewayCase):
    def send_both(self, connection, payload=b"must not be seen"):
        for sock in (connection.a, connection.b):
            sock.send(payload)

    def held_through_flush(self, tunnel, proto, **more):
        """Nothing leaves in clear while the policies are gone; it goes on when they are back."""
        connection, latch = self.latched(tunnel, proto, **more)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.send_both(connection)
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="clear", verdict="drop")
        self.assertFalse(connection.readable(connection.a, 0), "delivered in clear")
        self.assertFalse(self.wire.seen(b"must not be seen"))
        self.assert_nothing_in_clear(connection)
        tunnel.policies(self.lab)
        return connection, latch

    def test_tcp_ipv4(self):
        connection, latch = self.held_through_flush(Tunnel(), "tcp")
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")
        self.assertEqual(connection.receive(connection.a, 16), b"must not be seen")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])
        self.assert_nothing_in_clear(connection)

    def test_tcp_ipv6(self):
        connection, _ = self.held_through_flush(SIX, "tcp")
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")
        self.assert_nothing_in_clear(connection)

    def test_udp_ipv4(self):
        self.udp_goes_on(Tunnel())

    def test_udp_ipv6(self):
        self.udp_goes_on(SIX)

    def udp_goes_on(self, tunnel):
        connection, _ = self.held_through_flush(tunnel, "udp")
        self.wait_state(connection, "ESTABLISHED")  # by `run`
        connection.exchange(b"again")

    def test_server_in_the_container(self):
        connection, _ = self.held_through_flush(Tunnel(), "tcp", server=True)
        self.assertEqual(connection.receive(connection.a, 16), b"must not be seen")

    def test_rekey(self):
        connection, latch = self.latched()
        Tunnel().rekey(self.lab)
        self.wait_passed(connection, b"under new keys")
        self.assertEqual(self.wire.spis(), {NEXT[0]})
        self.assertEqual(self.guard.latch(connection)["out"]["violations"], 0)
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def refused(self, tunnel, other, proto, field):
        """Neither way passes under other SAs; a connection that begins then does."""
        connection, latch = self.latched(tunnel, proto)
        ipsec.flush(self.lab.a, self.lab.b)
        other.install(self.lab, OTHER)
        self.send_both(connection)
        for direction in ("out", "in"):
            event = self.guard.wait_event(event="violation", latch=latch["id"], verdict="drop",
                                          direction=direction, reason="sa-mismatch")
            self.assertIn(field, event["fields"])
        self.assertFalse(self.wire.spis() & {OTHER[0]}, "sent under another SA")
        self.assertFalse(connection.readable(connection.a, 0))
        ipsec.flush(self.lab.a, self.lab.b)
        tunnel.install(self.lab, LAST)
        return connection

    def test_another_peer(self):
        connection = self.refused(Tunnel(), Tunnel(reqid=9), "tcp", "reqid")
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")
        self.assertEqual(connection.receive(connection.a, 16), b"must not be seen")

    def test_another_peer_udp_ipv6(self):
        self.refused(SIX, dataclasses.replace(SIX, reqid=9), "udp", "reqid")

    def test_other_algorithms(self):
        self.refused(Tunnel(), Tunnel(suite=ipsec.CBC), "tcp", "aead")

    def tell(self, spis, peer):
        """Whose SAs these are."""
        for spi, host in zip(spis, (self.lab.b, self.lab.a)):
            self.guard.loader("identity", "add", "--spi", hex(spi), "--dst", host.v4,
                              "--peer-id", peer)

    def test_another_identity(self):
        """The same reqid and algorithms: only who it is tells the other peer from the first."""
        connection, latch = self.latched()
        self.tell(FIRST, "db1.example")
        wait_for("the latch to learn its peer",
                 lambda: self.guard.latch(connection)["peer_id"] == "db1.example")
        ipsec.flush(self.lab.a, self.lab.b)
        Tunnel().install(self.lab, OTHER)
        self.tell(OTHER, "web7.example")
        self.send_both(connection)
        for direction in ("out", "in"):
            self.guard.wait_event(event="violation", latch=latch["id"], verdict="drop",
                                  direction=direction, reason="peer-id")
        self.assertNotIn(OTHER[0], self.wire.spis())
        self.assertFalse(connection.readable(connection.a, 0))
        ipsec.flush(self.lab.a, self.lab.b)
        Tunnel().install(self.lab, LAST)
        self.tell(LAST, "db1.example")
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")
        self.assertEqual(connection.receive(connection.a, 16), b"must not be seen")

    def test_a_packet_in_clear_from_outside(self):
        """Whatever the peer says in clear on a latched 5-tuple does not reach the container."""
        connection, latch = self.latched(proto="udp")
        for host in (self.lab.a, self.lab.b):  # the kernel's own policies would refuse it too
            host.ip("xfrm policy flush")
        connection.b.send(b"forged")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="clear", verdict="drop")
        self.assertFalse(connection.readable(connection.a, 0))
        self.assertNotIn("out-clear", self.guard.latch(connection)["causes"])

    def test_udp_encapsulation(self):
        tunnel = Tunnel(encap=True)
        shape = ipsec.Shape(mode="tunnel", encap=True)
        for sock in ipsec.encap_sockets(self.lab, shape):
            self.addCleanup(sock.close)
        connection, latch = self.held_through_flush(tunnel, "tcp")
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")
        self.assertEqual(latch["out"]["sa"][0]["encap"] is None, False)

    def route_based(self):
        self.addCleanup(self.to_wire)
        for host, net, source in ((self.lab.a, self.lab.b.net4, self.lab.a.inner4),
                                  (self.lab.b, "10.7.0.0/16", self.lab.b.inner4)):
            host.ip(f"link add ipsec0 type xfrm dev {host.dev} if_id 5", "link set ipsec0 up",
                    f"route replace {net} dev ipsec0 src {source}")

    def test_xfrm_interface(self):
        """Route-based: what carries the number goes through another device first."""
        self.route_based()
        connection, latch = self.latched(Tunnel(if_id=5))
        self.assertEqual(latch["out"]["sa"][0]["if_id"], 5)
        self.to_wire()
        connection.a.send(b"must not be seen")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assert_nothing_in_clear(connection)

    def test_xfrm_interface_as_an_uplink(self):
        """It is not where packets leave; the device below it is, and compares."""
        self.route_based()
        self.guard.loader("attach", "--uplink", "ipsec0")
        self.addCleanup(self.guard.loader, "detach", "--gone")
        self.addCleanup(self.to_wire)
        self.refused(Tunnel(if_id=5), Tunnel(if_id=5, reqid=9), "tcp", "reqid")

    def test_a_number_that_nobody_has(self):
        """As where something on the way gave the packet another hash: not known, so it stays."""
        connection, _ = self.latched()
        numbers = f"{self.guard.bpffs}/clatch_numbers"
        for entry in json.loads(run("bpftool", "-j", "map", "dump", "pinned", numbers).stdout):
            run("bpftool", "map", "delete", "pinned", numbers, "key", "hex",
                *(byte.removeprefix("0x") for byte in entry["key"]))
        ipsec.flush(self.lab.a, self.lab.b)
        Tunnel(reqid=9).install(self.lab, OTHER)
        before = self.clear_refused()
        connection.a.send(b"must not be seen")
        self.wait_refused(before)
        self.assertNotIn(OTHER[0], self.wire.spis())

    def test_mpls(self):
        """Not IP any more where it leaves, and in clear."""
        connection, _ = self.latched()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.lab.a.ip(f"route replace {self.lab.b.net4} encap mpls 100 via inet {self.lab.b.v4} "
                      f"dev {self.lab.a.dev}")
        self.addCleanup(self.lab.a.ip, f"route replace {self.lab.b.net4} via {self.lab.b.v4}")
        before = self.clear_refused()
        connection.a.send(b"must not be seen")
        self.wait_refused(before, "clear")
        self.assertFalse(self.wire.seen(b"must not be seen"))

    def to_wire(self):
        for host, net, other in ((self.lab.a, self.lab.b.net4, self.lab.b),
                                 (self.lab.b, "10.7.0.0/16", self.lab.a)):
            host.run("ip", "link", "del", "ipsec0", check=False)
            host.ip(f"route replace {net} via {other.v4}")

    def test_mid_flow(self):
        """A connection that was there before the veth was guarded is latched as it goes on."""
        Tunnel().install(self.lab)
        veth = self.lab.containers[0].veth
        self.guard.loader("detach", "--veth", veth)
        with contextlib.ExitStack() as stack:
            stack.callback(self.guard.loader, "attach", "--veth", veth)
            connection = self.connect()
            connection.exchange(b"nobody looks")
        connection.exchange(b"now they do")
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["adopted"], latch["forwarded"]),
                         ("ESTABLISHED", True, True))

    def test_neighbours(self):
        """What is not latched passes: of the same container, of another, of the host."""
        connection, _ = self.latched()
        clear = [self.connect("tcp", inner=False, container=number) for number in (0, 1)]
        ipsec.flush_policies(self.lab.a, self.lab.b)
        connection.a.send(b"must not be seen")
        for other in clear:
            other.exchange(b"as ever")
            self.assertIsNone(self.guard.latch(other))
        own, peer = (host.socket(socket.AF_INET, socket.SOCK_DGRAM) for host in (self.lab.a, self.lab.b))
        peer.bind((self.lab.b.v4, 4009))
        own.sendto(b"the host's own", (self.lab.b.v4, 4009))
        self.assertEqual(peer.recv(20), b"the host's own")
        own.close()
        peer.close()
        self.assertFalse(self.wire.seen(b"must not be seen"))

    def test_a_new_connection_is_not_held(self):
        connection, _ = self.latched()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.connect("udp").exchange(b"never was protected")
        self.assert_nothing_in_clear(connection)

    def test_broken_and_restored_by_run(self):
        connection, latch = self.latched()
        self.wait_policed(latch)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.guard.wait_event(event="broken", latch=latch["id"], cause="policy")
        Tunnel().policies(self.lab)
        self.guard.wait_event(event="restored", latch=latch["id"])
        self.wait_passed(connection, b"goes on")

    def test_close(self):
        connection, latch = self.latched()
        self.guard.loader("close", latch["id"])
        self.assertEqual(self.guard.latch(connection)["state"], "CLOSED")
        connection.a.send(b"too late")
        self.guard.wait_event(event="violation", latch=latch["id"], reason="broken")
        self.assertFalse(self.wire.spis())

    def test_restart_of_run(self):
        connection, latch = self.latched()
        self.guard.end_run()
        self.guard.start_run()
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])
        self.wait_passed(connection, b"goes on")

    def test_a_rule_demands(self):
        """In clear from its first packet on: nothing leaves, nothing comes in."""
        self.addCleanup(self.guard.demand_protection, socket.IPPROTO_UDP, False)
        self.guard.demand_protection(socket.IPPROTO_UDP)
        connection = self.connect("udp")
        connection.a.send(b"first in clear")
        self.guard.wait_event(event="violation", direction="out", reason="clear", verdict="drop")
        self.assertFalse(self.wire.seen(b"first in clear"))
        before = self.clear_refused()
        connection.b.send(b"forged")
        self.wait_refused(before)
        self.assertFalse(connection.readable(connection.a, 0))


class TwoContainers(GatewayCase):
    @classmethod
    def attach(cls):
        cls.guard.loader("attach", *(w for c in cls.lab.containers for w in ("--veth", c.veth)),
                         "--uplink", "a0")

    def test_the_same_peer_and_ports(self):
        """Each is held for itself: one's protection goes, the other's stays."""
        Tunnel().install(self.lab)
        peer = self.lab.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind((self.lab.b.inner4, 4000))
        self.addCleanup(peer.close)
        socks = []
        for container in self.lab.containers:
            sock = container.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(sock.close)
            sock.bind((container.v4, 4001))
            sock.connect((self.lab.b.inner4, 4000))
            sock.send(b"hello")
            self.assertEqual(peer.recvfrom(9), (b"hello", (container.v4, 4001)))
            peer.sendto(b"and back", (container.v4, 4001))
            self.assertEqual(sock.recv(9), b"and back")
            socks.append(sock)
        latches = {l["local"]["addr"]: l for l in self.guard.json("list")["latches"]}
        self.assertEqual(set(latches), {c.v4 for c in self.lab.containers})
        first = self.lab.containers[0].v4
        self.lab.a.ip(f"xfrm policy add src {first} dst {self.lab.b.net4} dir out priority 1")
        for sock in socks:
            sock.send(b"whose?")
        self.assertEqual(peer.recvfrom(9), (b"whose?", (self.lab.containers[1].v4, 4001)))
        self.guard.wait_event(event="violation", latch=latches[first]["id"], reason="clear")
        self.assertFalse(self.wire.seen(b"whose?"))


class Nat(GatewayCase):
    """The policies are for the host's own address, which SNAT gives to what the containers send."""

    tunnel = Tunnel(net="10.8.1.0/24")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.a.run("nft", "-f", "-", input="table ip n { chain p { type nat hook postrouting "
                      f"priority 100; ip saddr 10.7.0.0/16 snat to {cls.lab.a.inner4}\n }}\n }}\n")

    def test_source_nat_before_the_tunnel(self):
        self.translated("udp")

    def test_source_nat_tcp(self):
        self.translated("tcp")

    def translated(self, proto):
        self.tunnel.install(self.lab)
        container, kind = self.lab.containers[0], (
            socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        peer = self.lab.b.socket(socket.AF_INET, kind)
        sock = container.socket(socket.AF_INET, kind)
        for s, address in (peer, (self.lab.b.inner4, 5002)), (sock, (container.v4, 5001)):
            self.addCleanup(s.close)
            s.settimeout(20)
            s.bind(address)
        if proto == "tcp":
            peer.listen()
        sock.connect((self.lab.b.inner4, 5002))
        sock.send(b"translated")
        if proto == "tcp":
            peer, source = peer.accept()
            self.addCleanup(peer.close)
            self.assertEqual(peer.recv(10), b"translated")
            peer.send(b"and back")
        else:
            _, source = peer.recvfrom(10)
            peer.sendto(b"and back", source)
        self.assertEqual(source[0], self.lab.a.inner4)
        self.assertEqual(sock.recv(9), b"and back")
        latch = [l for l in self.guard.json("list", "--proto", proto)["latches"]
                 if l["local"]["port"] == 5001][0]
        self.assertEqual((latch["local"]["addr"], latch["state"]), (container.v4, "ESTABLISHED"))
        self.wire.clear()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        sock.send(b"must not be seen")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assertFalse(self.wire.seen(b"must not be seen"))
        self.assertFalse(self.wire.ports(proto, 5002))
        if proto == "udp":
            self.no_fragment_leaves(sock)

    def no_fragment_leaves(self, sock):
        """Connection tracking puts them together, translates, and takes them apart again."""
        sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, DONT
        before = self.clear_refused()
        sock.send(b"x" * BIG)
        self.wait_refused(before)  # the kernel gives up after the first
        self.assertFalse(self.wire.seen(b"x" * 64))


class Bridge(GatewayCase):
    """As docker0: the host's end of the veth is a bridge's port."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        veth = cls.lab.containers[0].veth
        cls.lab.a.ip("link add br0 type bridge", "link set br0 up", f"addr flush dev {veth}",
                     f"link set {veth} master br0", "addr add 10.7.1.1/24 dev br0",
                     "addr add fd00:7:1::1/64 dev br0 nodad")

    def test_ipv4(self):
        self.held(Tunnel())

    def test_ipv6(self):
        self.held(SIX)

    def held(self, tunnel):
        connection, latch = self.latched(tunnel)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        for sock in (connection.a, connection.b):
            sock.send(b"must not be seen")
        for direction in ("out", "in"):
            self.guard.wait_event(event="violation", latch=latch["id"], direction=direction,
                                  reason="clear", verdict="drop")
        self.assert_nothing_in_clear(connection)
        tunnel.policies(self.lab)
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")


class Uplinks(GatewayCase):
    """Two ways out, and bits of the mark that were moved there."""

    uplinks = ("a0", "a1")
    attach_options = ("--mark-mask", "0xc0000")

    @classmethod
    def attach(cls):
        a, b = cls.lab.a, cls.lab.b
        a.ip(f"link add a1 type veth peer name b1 netns {b.name}", "link set a1 up",
             "addr add 10.19.0.1/24 dev a1")
        b.ip("link set b1 up", "addr add 10.19.0.2/24 dev b1")
        cls.second = Wire(a, "a1")
        cls.stack.callback(cls.second.close)
        super().attach()

    def test_the_other_way_out(self):
        connection, latch = self.latched()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.addCleanup(self.lab.a.ip, f"route replace {self.lab.b.net4} via {self.lab.b.v4}")
        self.lab.a.ip(f"route replace {self.lab.b.net4} via 10.19.0.2")
        self.second.clear()
        connection.a.send(b"must not be seen")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assertFalse(self.second.seen(b"must not be seen"))
        self.assertFalse(self.wire.seen(b"must not be seen"))

    def test_others_bits_of_the_mark_stay(self):
        """What a rule marks by other bits is routed by them, and held all the same."""
        self.addCleanup(self.lab.a.run, "nft", "flush", "ruleset")
        self.lab.a.run("nft", "-f", "-", input="table inet n {\n"
                       "chain p { type filter hook prerouting priority 0; "
                       "iifname \"vethc1\" meta mark set meta mark or 0x3005\n }\n"
                       "chain o { type filter hook postrouting priority 0; "
                       "meta mark and 0xf00f == 0x3005 counter name kept\n }\n"
                       "counter kept { }\n }\n")
        connection, _ = self.latched()
        self.wait_passed(connection, b"marked")
        kept = self.lab.a.run("nft", "list", "counter", "inet", "n", "kept").stdout
        self.assertNotIn("packets 0", kept)

    def test_another_mask_is_refused(self):
        done = self.guard.loader("attach", "--veth", self.lab.containers[1].veth, "--mark-mask",
                                 "0x3000", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("0xc0000 is in use", done.stderr)

    def test_not_a_mask(self):
        for words in ("5", "0x1000", "0x7000", "x", ""):
            done = self.guard.loader("attach", "--veth", "vethc2", "--mark-mask", words, check=False)
            self.assertEqual(done.returncode, 2, words)


class Audit(GatewayCase):
    guard_options = ("--audit",)

    def test_nothing_is_dropped(self):
        connection, latch = self.latched(proto="udp")
        ipsec.flush_policies(self.lab.a, self.lab.b)
        connection.exchange(b"in clear, and passes")
        for direction in ("out", "in"):
            self.guard.wait_event(event="violation", latch=latch["id"], direction=direction,
                                  verdict="audit")
