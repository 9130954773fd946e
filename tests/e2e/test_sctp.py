# SPDX-License-Identifier: GPL-2.0-only
"""SCTP on real ESP: a latch for each address pair of an association (RFC 5660 §5, T51)."""

import contextlib
import dataclasses
import errno
import select
import signal
import socket
import struct
import types
import unittest

import ipsec
from case import FIRST, LAST, NEXT, OTHER
from ends import EndsCase
from ipsec import Shape
from lab import Guard, wait_for

SCTP = 132
BINDX_ADD = 100  # SCTP_SOCKOPT_BINDX_ADD
V4, V6 = socket.AF_INET, socket.AF_INET6
ONE, MANY = socket.SOCK_STREAM, socket.SOCK_SEQPACKET  # associations that a socket may have
BASE = Shape(upper="sctp")
TUNNEL = dataclasses.replace(BASE, mode="tunnel")
IPV6 = dataclasses.replace(BASE, family=V6)
# What is lost is sent again soon, and an association stands 10 losses.
TIMES = {"rto_initial": 300, "rto_min": 200, "rto_max": 1000, "hb_interval": 500,
         "association_max_retrans": 10}
# shape, whether the guarded host is the server
WAYS = {"client": (BASE, False), "server": (BASE, True), "client in a tunnel": (TUNNEL, False),
        "server in a tunnel": (TUNNEL, True), "client over IPv6": (IPV6, False),
        "server over IPv6": (IPV6, True)}
NOT_IPV6 = [way for way, (shape, _) in WAYS.items() if shape is not IPV6]


class SctpCase(EndsCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tune(**TIMES)

    def setUp(self):
        super().setUp()
        self.guarded = set()  # sockets

    @classmethod
    def tune(cls, **values):
        for host in (cls.lab.a, cls.lab.b):
            host.run("sysctl", "-q", "-w", *(f"net.sctp.{k}={v}" for k, v in values.items()))

    def dies_soon(self):
        """Associations from now on give up after two losses."""
        self.addCleanup(self.tune, **TIMES)
        self.tune(association_max_retrans=2)

    def new_socket(self, family=V4, kind=ONE, host=None):
        with contextlib.nullcontext() if host else self.lab.guarded():
            sock = (host or self.lab.a).socket(family, kind, SCTP)
        self.addCleanup(sock.close)
        if not host:
            self.guarded.add(sock)
        sock.settimeout(20)
        return sock

    def accept(self, sock):
        """The kernel puts an accepted socket of SCTP into the cgroup of the process that accepts
        it, not, as TCP, into the listener's."""
        with self.lab.guarded() if sock in self.guarded else contextlib.nullcontext():
            return super().accept(sock)

    def bound(self, address, host=None, family=V4, kind=ONE, listen=False):
        sock = self.new_socket(family, kind, host)
        sock.bind((address, self.next_port()))
        if listen:
            sock.listen()
        return sock

    def pair(self, family=V4, inner=False, server=False):
        """An association of one-to-one sockets: the guarded host's end and its peer's."""
        ends = [self.bound(h.address(family, inner), host, family) for h, host in
                ((self.lab.a, None), (self.lab.b, self.lab.b))]
        own, peer = ends
        passive, active = (own, peer) if server else (peer, own)
        passive.listen()
        active.connect(passive.getsockname()[:2])
        accepted = self.accept(passive)
        return (accepted, peer) if server else (own, accepted)

    def exchange(self, a, b, payload=b"hello"):
        for one, other in ((a, b), (b, a)):
            one.send(payload)
            self.assertEqual(other.recv(100), payload)

    def latches(self, sock):
        """The latches of the connections from a socket's port."""
        port = sock.getsockname()[1]
        return [x for x in self.guard.json("list", "--proto", "sctp")["latches"]
                if x["remote"] and x["local"]["port"] == port]

    def latch(self, a):
        found = self.latches(a)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def wait_all(self, sock, state, count=1):
        """All latches of a socket, of which there are @count, once all are in a state."""
        def all_there():
            found = self.latches(sock)
            return [x["state"] for x in found] == [state] * count and found

        return wait_for(f"{count} {state}", all_there)

    def associated(self, shape=BASE, server=False):
        self.protect(shape)
        a, b = self.pair(shape.family, shape.inner, server)
        self.exchange(a, b, b"protected from the start")
        latch = self.latch(a)
        self.wait_policed(latch)
        self.wire.clear()
        self.guard.forget()
        return a, b, latch

    def sent_in_clear(self):
        return [data for _, _, proto, data in self.wire.transport() if proto == SCTP]

    def assert_nothing_in_clear(self, *_):
        self.assertEqual(self.sent_in_clear(), [])

    def silent(self, sock, seconds=0):
        self.assertFalse(select.select([sock], [], [], seconds)[0], "a payload arrived")

    def violation(self, latch, reason, direction):
        return self.guard.wait_event(event="violation", latch=latch["id"], reason=reason,
                                     direction=direction, verdict="drop", proto="sctp")


class WaysCase(SctpCase):
    def goes_on(self, a, b, latch, shape, sent, received):
        ipsec.exchange_shape(self.lab, shape, LAST)
        self.assertEqual((b.recv(100), a.recv(100)), (sent, received))
        self.exchange(a, b, b"and on it goes")
        self.assertEqual(self.wait_all(a, "ESTABLISHED")[0]["id"], latch["id"])
        self.guard.wait_event(event="restored", latch=latch["id"])
        self.assert_nothing_in_clear()


class Latched(WaysCase):
    def check_latched(self, shape, server):
        self.protect(shape)
        a, b = self.pair(shape.family, shape.inner, server)
        self.exchange(a, b)
        latch = self.latch(a)
        end = [{"addr": x[0], "port": x[1]} for x in (a.getsockname(), b.getsockname())]
        self.assertEqual((latch["proto"], latch["local"], latch["remote"], latch["state"],
                          latch["adopted"]), ("sctp", *end, "ESTABLISHED", False))
        for way, spi in zip(("out", "in"), FIRST):
            sa, = latch[way]["sa"]
            self.assertEqual((sa["spi"], sa["reqid"], sa["mode"]),
                             (f"0x{spi:08x}", 7, shape.mode))
            self.assertGreater(latch[way]["packets"], 1)
        self.assertEqual(self.story(latch["id"])[-1],
                         ("latched", "LARVAL", "ESTABLISHED", "packet"))
        self.assertEqual(bool(latch["listener"]), server)
        self.assert_nothing_in_clear()

    def check_flushed(self, shape, server):
        """Neither way anything passes in clear; with the protection back it goes on."""
        a, b, latch = self.associated(shape, server)
        ipsec.flush(self.lab.a, self.lab.b)
        a.send(b"out, in clear")
        b.send(b"in, in clear")
        for direction in ("out", "in"):
            self.violation(latch, "clear", direction)
        self.guard.wait_event(event="broken", latch=latch["id"])
        self.assertEqual(self.latch(a)["state"], "BROKEN")
        self.silent(a, 1)
        self.silent(b)
        self.assert_nothing_in_clear()
        self.goes_on(a, b, latch, shape, b"out, in clear", b"in, in clear")


class Held(WaysCase):
    def check_mismatch(self, shape, server):
        a, b, latch = self.associated(shape, server)
        ipsec.exchange_shape(self.lab, dataclasses.replace(shape, reqid=9), OTHER)
        a.send(b"out, reqid 9")
        b.send(b"in, reqid 9")
        for direction in ("out", "in"):
            event = self.violation(latch, "sa-mismatch", direction)
            self.assertEqual(event["fields"], ["reqid"])
            self.assertEqual([s["reqid"] for s in event["expected"] + event["got"]], [7, 9])
        self.silent(a, 1)
        self.silent(b)
        self.assertFalse(self.wire.spis() & set(OTHER), "packets left under the wrong SA")
        self.goes_on(a, b, latch, shape, b"out, reqid 9", b"in, reqid 9")

    def check_rekeyed(self, shape, server):
        a, b, latch = self.associated(shape, server)
        ipsec.rekey(self.lab, shape, FIRST, NEXT)
        self.exchange(a, b, b"under new keys")
        again = self.latch(a)
        self.assertEqual((again["id"], again["state"]), (latch["id"], "ESTABLISHED"))
        for way, spi in zip(("out", "in"), NEXT):
            self.assertEqual((again[way]["sa"][0]["spi"], again[way]["violations"]),
                             (f"0x{spi:08x}", 0))

    def check_closed(self, shape, server):
        for first in (0, 1):
            a, b, latch = self.associated(shape, server)
            self.linger(*(s for s in (a, b) if s.type == ONE), reset=0)
            (a, b)[first].close()
            (a, b)[not first].close()
            self.guard.wait_event(event="closed", latch=latch["id"], cause="released")
            ipsec.flush(self.lab.a, self.lab.b)
        wait_for("no connection's latch", lambda: not [
            x for x in self.all_latches() if x["remote"]])


def _add_ways(case, check, ways):
    for way in ways:
        setattr(case, f"test_{check}_{way}", lambda self, given=WAYS[way]:
                getattr(self, f"check_{check}")(*given))


_add_ways(Latched, "latched", WAYS)
_add_ways(Latched, "flushed", WAYS)
_add_ways(Held, "mismatch", NOT_IPV6)
_add_ways(Held, "rekeyed", NOT_IPV6)
_add_ways(Held, "closed", NOT_IPV6)


class Ends(SctpCase):
    """How an association begins and ends, and what a listener is."""

    def test_clear_is_not_latched(self):
        self.none_is_left()
        a, b = self.pair()
        self.exchange(a, b, b"in clear")
        served, client = self.pair(server=True)
        self.exchange(served, client, b"in clear")
        self.assertEqual(self.all_latches(), [])
        self.assertTrue(self.sent_in_clear())
        self.protect(BASE)
        self.exchange(a, b, b"protected later")
        latch = self.wait_all(a, "ESTABLISHED")[0]
        self.assertTrue(latch["adopted"])
        # the peer's IPsec comes a moment later than ours: a SACK of it may still have been in clear
        self.assertFalse([e for e in self.guard.events
                          if e["event"] == "violation" and e["direction"] == "out"])

    def test_listener(self):
        """Its latch is made at the first protected INIT, as no hook sees SCTP's listen()."""
        self.none_is_left()
        sock = self.bound(self.lab.a.v4, listen=True)
        port = sock.getsockname()[1]
        self.assertEqual(self.all_latches(), [])
        self.protect(BASE)
        clients = []
        for _ in range(2):
            clients.append(self.bound(self.lab.b.v4, self.lab.b))
            clients[-1].connect(sock.getsockname())
        served = [self.accept(sock) for _ in clients]
        for a, b in zip(served, clients):
            self.exchange(a, b)
        listener = self.guard.listener(port)
        self.assertEqual((listener["proto"], listener["remote"], listener["local"]["addr"]),
                         ("sctp", None, self.lab.a.v4))
        latches = self.wait_all(sock, "ESTABLISHED", 2)
        self.assertEqual([x["listener"] for x in latches], [listener["id"]] * 2)
        for latch in latches:
            event = self.guard.wait_event(event="listening", latch=listener["id"],
                                          spawned=latch["id"])
            self.assertEqual(event["old_state"], "LISTENER")
        served[0].close()  # which has the listener's address and port
        self.guard.wait_event(event="closed", cause="released")
        self.assertEqual(self.guard.listener(port)["id"], listener["id"])
        sock.close()
        self.guard.wait_event(event="closed", latch=listener["id"], cause="released")
        self.assertEqual(self.story(listener["id"]),
                         [("listening", None, "LISTENER", "listen"),
                          ("listening", "LISTENER", "LISTENER", "packet"),
                          ("listening", "LISTENER", "LISTENER", "packet"),
                          ("closed", "LISTENER", "CLOSED", "released")])
        self.exchange(served[1], clients[1], b"its connection stands")
        served[1].close()
        self.none_is_left()

    def test_an_ipv6_socket_for_ipv4(self):
        self.protect(BASE)
        listener = self.bound(self.lab.b.v4, self.lab.b, listen=True)
        a = self.bound("::ffff:" + self.lab.a.v4, family=V6)
        a.connect(("::ffff:" + self.lab.b.v4, listener.getsockname()[1]))
        b = self.accept(listener)
        self.exchange(a, b)
        self.assertEqual(self.latch(a)["local"]["addr"], self.lab.a.v4)
        ipsec.flush(self.lab.a, self.lab.b)
        a.send(b"in clear")
        self.violation(self.latch(a), "clear", "out")
        self.assert_nothing_in_clear()
        ipsec.exchange_shape(self.lab, BASE, LAST)
        self.assertEqual(b.recv(100), b"in clear")

    def demand(self):
        self.guard.demand_protection(SCTP)
        self.addCleanup(self.guard.demand_protection, SCTP, False)

    def test_clear_init_to_a_listener_under_a_rule(self):
        self.none_is_left()
        self.demand()
        sock = self.bound(self.lab.a.v4, listen=True)
        client = self.bound(self.lab.b.v4, self.lab.b)
        client.setblocking(False)
        self.assertEqual(client.connect_ex(sock.getsockname()), errno.EINPROGRESS)
        event = self.guard.wait_event(event="violation", reason="clear", direction="in",
                                      verdict="drop", proto="sctp")
        self.assertEqual((event["latch"], event["local"]["port"]),
                         (None, sock.getsockname()[1]))
        self.silent(sock, 0.5)
        self.assert_nothing_in_clear()
        self.assertEqual(self.all_latches(), [])
        self.protect(BASE)
        served = self.accept(sock)  # INIT is repeated
        client.settimeout(20)
        self.exchange(served, client)
        self.assertEqual(self.latch(served)["rule"], "all")

    def test_no_init_in_clear_under_a_rule(self):
        self.demand()
        listener = self.bound(self.lab.b.v4, self.lab.b, listen=True)
        a = self.new_socket()
        a.setblocking(False)
        self.assertEqual(a.connect_ex(listener.getsockname()), errno.EINPROGRESS)
        self.guard.wait_event(event="violation", latch=None, reason="clear", direction="out",
                              verdict="drop", proto="sctp")
        self.silent(listener, 0.5)
        self.assert_nothing_in_clear()
        self.protect(BASE)
        b = self.accept(listener)
        a.settimeout(20)
        self.exchange(a, b)

    def test_refused(self):
        """The peer answers our INIT with ABORT."""
        self.protect(BASE)
        nobody = self.bound(self.lab.b.v4, self.lab.b)
        with self.assertRaises(ConnectionRefusedError):
            self.bound(self.lab.a.v4).connect(nobody.getsockname())
        self.guard.wait_event(event="closed", cause="released")
        self.none_is_left()

    def test_aborted(self):
        for side in (0, 1):
            ends = self.associated()[:2]
            self.linger(*ends)
            ends[side].close()
            self.guard.wait_event(event="closed", cause="released")
            self.none_is_left()
            ipsec.flush(self.lab.a, self.lab.b)

    def test_dies_while_broken(self):
        """Its last word, ABORT, is stopped too, but tells that it has ended."""
        self.dies_soon()
        a, _, latch = self.associated()
        ipsec.flush(self.lab.a, self.lab.b)
        a.send(b"never to arrive")
        with self.assertRaises(OSError) as died:
            a.recv(100)
        self.assertEqual(died.exception.errno, errno.ETIMEDOUT)
        self.guard.wait_event(event="closed", latch=latch["id"], old_state="BROKEN",
                              cause="released")
        self.none_is_left()
        self.assert_nothing_in_clear()

    def test_close(self):
        """The kernel cannot end an association by order: its latch lets nothing pass any more."""
        self.dies_soon()
        a, b, latch = self.associated()
        done = self.guard.loader("close", latch["id"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot end its sockets", done.stderr)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="admin",
                              state="CLOSED")
        self.assertEqual(self.latch(a)["state"], "CLOSED")
        self.wire.clear()
        a.send(b"out, after the close")
        b.send(b"in, after the close")
        self.violation(latch, "broken", "out")
        self.violation(latch, "broken", "in")
        wait_for("its retransmission to be stopped",
                 lambda: self.latch(a)["out"]["violations"] > 1)
        # Once it is dead, the peer's own retransmissions are answered, as any stranger's.
        self.assertEqual(self.wire.spis(), set())
        with self.assertRaises(OSError) as died:
            a.recv(100)
        self.assertEqual(died.exception.errno, errno.ETIMEDOUT)
        self.assert_nothing_in_clear()
        self.none_is_left()


class Many(SctpCase):
    """One-to-many sockets: one socket, many associations."""

    def replies(self, many, peer):
        peer.send(b"reply")
        self.assertEqual(many.recvfrom(100)[0], b"reply")

    def peers(self, many, count=2):
        """Peers that @many begins to send to."""
        found = []
        for _ in range(count):
            listener = self.bound(self.lab.b.v4, self.lab.b, listen=True)
            many.sendto(b"hello", listener.getsockname())
            found.append(self.accept(listener))
            self.assertEqual(found[-1].recv(100), b"hello")
            self.replies(many, found[-1])
        return found

    def check_each(self, many, peers):
        """Broken and restored together, ended one by one."""
        latches = self.wait_all(many, "ESTABLISHED", len(peers))
        self.assertEqual({x["remote"]["port"] for x in latches},
                         {p.getsockname()[1] for p in peers})
        for latch in latches:
            self.wait_policed(latch)
        self.wire.clear()
        ipsec.flush(self.lab.a, self.lab.b)
        for peer in peers:
            many.sendto(b"in clear", peer.getsockname())
        for latch in latches:
            self.violation(latch, "clear", "out")
        self.wait_all(many, "BROKEN", len(peers))
        self.assert_nothing_in_clear()
        ipsec.exchange_shape(self.lab, BASE, LAST)
        for peer in peers:
            self.assertEqual(peer.recv(100), b"in clear")
            self.replies(many, peer)
        self.wait_all(many, "ESTABLISHED", len(peers))
        gone = peers[0].getsockname()[1]
        peers[0].close()
        wait_for("one to go", lambda: [x["remote"]["port"] for x in self.latches(many)] == [
            p.getsockname()[1] for p in peers[1:]])
        many.close()
        self.none_is_left()
        self.assertNotEqual(gone, peers[1].getsockname()[1])

    def test_begins_both(self):
        self.protect(BASE)
        many = self.bound(self.lab.a.v4, kind=MANY)
        self.check_each(many, self.peers(many))

    def test_serves_both(self):
        self.protect(BASE)
        many = self.bound(self.lab.a.v4, kind=MANY, listen=True)
        peers = []
        for _ in range(2):
            peers.append(self.bound(self.lab.b.v4, self.lab.b))
            peers[-1].connect(many.getsockname())
            self.replies(many, peers[-1])
            many.sendto(b"hello", peers[-1].getsockname())
            self.assertEqual(peers[-1].recv(100), b"hello")
        self.check_each(many, peers)


class ByPort(Many):
    """One association is protected and one is not; both share a route when neither is.  No
    program on the device: that on the cgroup must tell them apart."""

    guard_options = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guard = cls.stack.enter_context(Guard(cls.lab, dev=False))

    test_begins_both = test_serves_both = None

    def by_port(self, port):
        for host, way, back in (self.lab.a, "out", "in"), (self.lab.b, "in", "out"):
            for direction, ends, ports in ((way, (self.lab.a, self.lab.b), f"dport {port}"),
                                           (back, (self.lab.b, self.lab.a), f"sport {port}")):
                host.ip(f"xfrm policy add src {ends[0].v4} dst {ends[1].v4} proto sctp {ports} "
                        f"dir {direction} priority 1 tmpl proto esp reqid 7 mode transport")

    def test_each_is_judged_by_its_own(self):
        for protected_first in (True, False):
            with self.subTest(protected_first=protected_first):
                self.play(protected_first)

    def play(self, protected_first):
        ipsec.states(self.lab, BASE, FIRST)
        many = self.bound(self.lab.a.v4, kind=MANY)
        # the next two ports are the peers'
        protected_port = EndsCase.port + (1 if protected_first else 2)
        self.by_port(protected_port)
        peers = self.peers(many)
        protected, clear = peers if protected_first else peers[::-1]
        self.assertEqual(protected.getsockname()[1], protected_port)
        self.assertEqual([x["remote"]["port"] for x in self.latches(many)], [protected_port])
        latch = self.latch(many)
        ipsec.flush(self.lab.a, self.lab.b)
        self.wire.clear()
        many.sendto(b"for the protected", protected.getsockname())
        many.sendto(b"for the other", clear.getsockname())
        self.assertEqual(clear.recv(100), b"for the other")
        wait_for("violations", lambda: self.latch(many)["out"]["violations"])
        self.silent(protected, 0.5)
        self.assertFalse(self.wire.seen(b"for the protected"))
        self.replies(many, clear)
        self.assertEqual(self.latch(many)["id"], latch["id"])
        many.close()


class Multihomed(SctpCase):
    """T51: two address pairs, each with a policy and SAs of its own."""

    OTHER_PAIR = ("10.9.1.1", "10.9.1.2")
    SHAPES = (BASE, dataclasses.replace(BASE, reqid=8))
    SPIS = (FIRST, (0x1002, 0x2002))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        hosts = (cls.lab.a, cls.lab.b)
        for host, address in zip(hosts, cls.OTHER_PAIR):
            host.ip(f"addr add {address}/24 dev {host.dev}")
        cls.second = types.SimpleNamespace(**{
            letter: types.SimpleNamespace(v4=address, ip=host.ip)
            for letter, host, address in zip("ab", hosts, cls.OTHER_PAIR)})
        cls.tune(path_max_retrans=1, association_max_retrans=100)  # lost heartbeats count too

    def setUp(self):
        super().setUp()
        for lab, shape, spis in zip((self.lab, self.second), self.SHAPES, self.SPIS):
            ipsec.states(lab, shape, spis)
            ipsec.policies(lab, shape)

    def bound_to_both(self, ends, host=None, kind=ONE):
        sock, port = self.new_socket(kind=kind, host=host), self.next_port()
        sock.setsockopt(SCTP, BINDX_ADD, b"".join(
            struct.pack("=H", V4) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)
            for address in ends))
        return sock, port

    def multihomed(self, server=False):
        """The ends of an association of two pairs."""
        (own, own_port), (peer, peer_port) = [
            self.bound_to_both(pair, host) for pair, host in zip(
                zip((self.lab.a.v4, self.lab.b.v4), self.OTHER_PAIR), (None, self.lab.b))]
        if server:
            own.listen()
            peer.connect((self.lab.a.v4, own_port))
            return self.accept(own), peer
        peer.listen()
        own.connect((self.lab.b.v4, peer_port))
        return own, self.accept(peer)

    def associated(self, server=False):
        """The same, and the latches of the pairs: the one in use, the other."""
        a, b = self.multihomed(server)
        self.exchange(a, b)
        latches = self.wait_all(a, "ESTABLISHED", 2)
        for latch in latches:
            self.wait_policed(latch)
        self.wire.clear()
        self.guard.forget()
        return a, b, *sorted(latches, key=lambda x: x["remote"]["addr"])

    def end_policies(self, lab, shape):
        """Of one pair, on both hosts."""
        out, back = (ipsec.words(lab, shape, way)["selector"] for way in ("out", "in"))
        lab.a.ip(f"xfrm policy delete {out}", f"xfrm policy delete {back}")
        lab.b.ip(f"xfrm policy delete {out[:-3]}in", f"xfrm policy delete {back[:-2]}out")

    def state_of(self, latch):
        return self.show(latch)["state"]

    def check_failover(self, server):
        a, b, first, other = self.associated(server)
        for latch, (local, remote), shape in zip((first, other), (
                (self.lab.a.v4, self.lab.b.v4), self.OTHER_PAIR), self.SHAPES):
            self.assertEqual((latch["local"]["addr"], latch["remote"]["addr"],
                              latch["out"]["sa"][0]["reqid"], latch["in"]["sa"][0]["reqid"]),
                             (local, remote, shape.reqid, shape.reqid))
        self.end_policies(self.lab, BASE)
        a.send(b"over the other pair")
        self.assertEqual(b.recv(100), b"over the other pair")
        b.send(b"and back")
        self.assertEqual(a.recv(100), b"and back")
        self.violation(first, "clear", "out")
        self.assertEqual((self.state_of(first), self.state_of(other)), ("BROKEN", "ESTABLISHED"))
        self.exchange(a, b, b"more of it")
        self.assert_nothing_in_clear()
        ipsec.policies(self.lab, BASE)
        wait_for("the pair to be restored", lambda: self.state_of(first) == "ESTABLISHED")
        self.exchange(a, b, b"whatever the pair")
        self.assertEqual(self.show(other)["out"]["violations"], 0)
        self.assert_nothing_in_clear()

    def test_another_run_takes_over(self):
        """Whatever it can find out of the association: a live pair keeps its latch."""
        a, b, first, other = self.associated()
        self.addCleanup(self.guard.forget)
        self.guard.end_run(signal.SIGKILL)
        self.guard.start_run()
        self.exchange(a, b, b"as before")
        self.assertEqual({x["id"] for x in self.latches(a)}, {first["id"], other["id"]})
        self.assertFalse([e for e in self.guard.events if e["event"] == "closed"])

    def test_failover_of_a_client(self):
        self.check_failover(False)

    def test_failover_of_a_server(self):
        self.check_failover(True)

    def test_both_pairs_broken(self):
        a, b, *latches = self.associated()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        a.send(b"by no pair")
        for latch in latches:
            self.violation(latch, "clear", "out")
        self.wait_all(a, "BROKEN", 2)
        self.silent(b, 0.5)
        self.assert_nothing_in_clear()
        for lab, shape in zip((self.lab, self.second), self.SHAPES):
            ipsec.policies(lab, shape)
        self.assertEqual(b.recv(100), b"by no pair")
        self.wait_all(a, "ESTABLISHED", 2)

    def test_the_other_pair_in_clear(self):
        """It has no policy and so no latch, but what the latched one cannot send it must not."""
        self.end_policies(self.second, self.SHAPES[1])
        for server in (False, True):
            with self.subTest(server=server):
                a, b = self.multihomed(server)
                self.exchange(a, b)
                latch = self.latch(a)
                self.assertEqual(latch["remote"]["addr"], self.lab.b.v4)
                for direction in ("out", "in"):  # of its heartbeats
                    event = self.guard.wait_event(
                        event="violation", latch=None, reason="clear", direction=direction,
                        verdict="drop", proto="sctp")
                    self.assertEqual((event["local"]["addr"], event["remote"]["addr"]),
                                     self.OTHER_PAIR)
                ipsec.flush_policies(self.lab.a, self.lab.b)
                a.send(b"by no pair")
                b.send(b"by any pair")
                self.violation(latch, "clear", "out")
                self.silent(a, 1)
                self.silent(b)
                self.assert_nothing_in_clear()
                ipsec.policies(self.lab, BASE)
                self.assertEqual((b.recv(100), a.recv(100)), (b"by no pair", b"by any pair"))
                self.guard.forget()

    def test_two_associations_with_the_same_ports(self):
        """Of one socket, with peers at different addresses: one ends, and the other stays."""
        self.addCleanup(self.tune, hb_interval=TIMES["hb_interval"])
        self.tune(hb_interval=60000)  # what still sends keeps its latch
        many, _ = self.bound_to_both((self.lab.a.v4, self.OTHER_PAIR[0]), kind=MANY)
        port, listeners, peers = self.next_port(), [], []
        for address in (self.lab.b.v4, self.OTHER_PAIR[1]):
            listeners.append(self.new_socket(host=self.lab.b))
            listeners[-1].bind((address, port))
            listeners[-1].listen()
            many.sendto(b"hello", (address, port))
            peers.append(self.accept(listeners[-1]))
            self.assertEqual(peers[-1].recv(100), b"hello")
        for ended, left in ((1, 0), (0, 1)):
            with self.subTest(ended=ended):
                latches = self.wait_all(many, "ESTABLISHED", 2)
                addresses = [p.getsockname()[0] for p in peers]
                self.assertEqual({x["remote"]["addr"] for x in latches}, set(addresses))
                self.linger(peers[ended])
                peers[ended].close()
                wait_for("one to go", lambda: [
                    x["remote"]["addr"] for x in self.latches(many)] == [addresses[left]])
                with self.assertRaises(TimeoutError):
                    self.guard.wait_event(2, event="closed", latch=[
                        x["id"] for x in latches if x["remote"]["addr"] == addresses[left]][0])
                many.sendto(b"again", (addresses[ended], port))
                peers[ended] = self.accept(listeners[ended])

    def test_ends(self):
        """Of both pairs, as the end is told on one of them."""
        for first in (0, 1):
            a, b, *latches = self.associated()
            self.linger(a, b, reset=0)
            (a, b)[first].close()
            (a, b)[not first].close()
            for latch in latches:
                self.guard.wait_event(event="closed", latch=latch["id"], cause="released")
            self.none_is_left()


del WaysCase  # a base, not a test

if __name__ == "__main__":
    unittest.main(verbosity=2)
