# SPDX-License-Identifier: GPL-2.0-only
"""SCTP on real ESP: a latch for each address pair of an association, and many associations on a
socket (RFC 5660 §5, T51)."""

import dataclasses
import signal
import socket
import struct
import types
import unittest

import ipsec
from case import FIRST, LAST
from ends import EndsCase
from lab import Guard, wait_for
from sctp import BASE, BINDX_ADD, MANY, ONE, SCTP, SctpCase, TIMES, V4


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


if __name__ == "__main__":
    unittest.main(verbosity=2)
