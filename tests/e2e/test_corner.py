# SPDX-License-Identifier: GPL-2.0-only
"""Corners of TCP, UDP, processes and namespaces in which a latch could be missed, on real ESP."""

import contextlib
import ctypes
import socket
import time
import unittest

import ipsec
from case import FIRST, LAST
from corner import CornerCase
from ends import SYN_RECV, SYN_SENT, tcp_info
from ipsec import Shape
from lab import TCP, Connection, wait_for

BASE = Shape()
ESTABLISHED = 1  # as in TCP_INFO
MSG_FASTOPEN = 0x20000000
OPENING = 4  # a latch's flag while its handshake is under way


class SimultaneousOpen(CornerCase):
    def begin(self):
        pair = self.pair()
        for sock in pair.a, pair.b:
            sock.setblocking(False)
            self.linger(sock)
        with self.assertRaises(BlockingIOError):
            pair.a.connect(pair.peer)
        with self.assertRaises(BlockingIOError):
            pair.b.connect(pair.own)
        return pair

    def finish(self, pair):
        for sock in pair.a, pair.b:
            wait_for("the connection", lambda sock=sock: tcp_info(sock, 0, 1) == ESTABLISHED, 40)
            sock.settimeout(20)
        pair.exchange()

    def test_with_equal_parameters(self):
        self.protect(BASE)
        releases = [self.hold(host) for host in (self.lab.a, self.lab.b)]
        pair = self.begin()
        self.assertEqual(self.guard.latch(pair)["state"], "LARVAL")
        releases[0]()  # the peer's SYN comes again and meets a socket that has sent its own
        wait_for("SYN meets SYN", lambda: tcp_info(pair.a, 0, 1) == SYN_RECV)
        releases[1]()
        self.finish(pair)
        latch = self.guard.latch(pair)
        self.assertEqual((latch["adopted"], latch["listener"]), (False, None))
        self.assertEqual(self.story(latch["id"]), [("latched", None, "LARVAL", "packet"),
                                                   ("latched", "LARVAL", "ESTABLISHED", "packet")])
        self.breaks(pair)

    def test_with_a_peer_in_clear(self):
        """Its SYN would move the guarded socket on to SYN_RECV."""
        self.protect(BASE)
        self.lab.a.ip(f"xfrm policy delete src {self.lab.b.v4} dst {self.lab.a.v4} proto tcp "
                      "dir in")
        self.lab.b.ip("xfrm policy flush")
        release = self.hold(self.lab.b)
        pair = self.begin()
        latch = self.guard.latch(pair)
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="clear", verdict="drop")
        self.assertEqual(tcp_info(pair.a, 0, 1), SYN_SENT)
        release()
        ipsec.exchange_shape(self.lab, BASE, LAST)
        self.finish(pair)
        self.assert_nothing_in_clear(pair)


class Reuse(CornerCase):
    """The same addresses and ports again: another connection, another latch."""

    def again(self, connection, latch):
        """A new latch, which is not the old one's to end."""
        connection.exchange()
        new = self.guard.latch(connection)
        self.assertGreater(new["id"], latch["id"])
        self.assertEqual((new["state"], new["adopted"]), ("ESTABLISHED", False))
        self.guard.wait_event(event="closed", latch=latch["id"])
        time.sleep(0.2)
        self.assertEqual(self.guard.latch(connection)["id"], new["id"])
        self.breaks(connection)

    def client_again(self, connection):
        connection.a = self.new_socket()
        connection.a.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.a.bind(connection.own)
        connection.a.connect(connection.peer)
        connection.b = self.accept(connection.listener)
        self.linger(connection.a)

    def server_again(self, connection):
        connection.b = self.new_socket(host=self.lab.b)
        connection.b.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.b.bind(connection.peer)
        connection.b.connect(connection.own)
        connection.a = self.accept(connection.listener)
        self.linger(connection.b)

    def into_time_wait(self, connection, latch):
        self.linger(connection.a, connection.b, reset=0)
        connection.a.close()
        self.assertEqual(connection.b.recv(1), b"")
        connection.b.close()
        time.sleep(2.1)  # the kernel allows to use it again when its timestamps have moved on
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def test_time_wait_of_a_client(self):
        self.setting(self.lab.a, "net.ipv4.tcp_tw_reuse", 1)
        connection, latch, _ = self.latched(BASE)
        self.into_time_wait(connection, latch)
        self.client_again(connection)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="replaced")
        self.again(connection, latch)

    def test_time_wait_of_a_server(self):
        connection, latch, _ = self.latched(BASE, server=True)
        self.into_time_wait(connection, latch)
        self.server_again(connection)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="replaced")
        self.again(connection, latch)

    def test_a_client_at_once(self):
        connection, latch, _ = self.latched(BASE)
        connection.b.close()
        with self.assertRaises(ConnectionResetError):
            connection.a.recv(1)
        connection.a.close()
        self.client_again(connection)
        self.again(connection, latch)

    def test_a_server_at_once(self):
        connection, latch, _ = self.latched(BASE, server=True)
        connection.b.close()
        with self.assertRaises(ConnectionResetError):
            connection.a.recv(1)
        connection.a.close()
        self.server_again(connection)
        self.again(connection, latch)

    def test_udp_at_once(self):
        connection, latch, _ = self.latched(BASE, "udp")
        connection.a.close()
        connection.a = self.new_socket(kind=socket.SOCK_DGRAM)
        connection.a.bind(connection.own)
        connection.a.connect(connection.peer)
        self.again(connection, latch)


class FastOpen(CornerCase):
    """Data in a SYN leaves and arrives before there is a connection."""

    def setUp(self):
        super().setUp()
        for host in self.lab.a, self.lab.b:
            self.setting(host, "net.ipv4.tcp_fastopen", 3)
            self.setting(host, "net.ipv4.tcp_fastopen_blackhole_timeout_sec", 0)
        self.protect(BASE)

    def server(self, sock, host):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        sock.bind((host.v4, self.next_port()))
        sock.listen()
        return sock

    def open(self, client, server, data):
        """Connects, with data in the SYN if there is a cookie: then how much."""
        client.setblocking(False)
        self.linger(client)
        try:
            return client.sendto(data, MSG_FASTOPEN, server.getsockname())
        except BlockingIOError:
            return 0

    def get_cookie(self, client, server, host):
        """Of the server, in a first connection; a second one shows that it is of use."""
        self.assertEqual(self.open(client(), server, b""), 0)
        self.accept(server)
        used = self.count(host, "TCPFastOpenActive")
        self.assertEqual(self.open(client(), server, b"second"), 6)
        accepted = self.accept(server)
        self.assertEqual(accepted.recv(100), b"second")
        wait_for("the counter", lambda: self.count(host, "TCPFastOpenActive") > used)

    def test_client_under_a_rule(self):
        server = self.server(self.new_socket(host=self.lab.b), self.lab.b)
        port = server.getsockname()[1]
        self.get_cookie(self.new_socket, server, self.lab.a)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.assertEqual(self.open(self.new_socket(), server, b"NO RULE"), 7)
        self.assertEqual(self.accept(server).recv(100), b"NO RULE")
        self.assertTrue(self.wire.seen(b"NO RULE"), "without a rule it leaves in clear")
        self.wire.clear()

        self.guard.demand_protection(TCP)
        self.addCleanup(self.guard.demand_protection, TCP, False)
        client = self.new_socket()
        self.assertEqual(self.open(client, server, b"SECRET"), 6)
        self.guard.wait_event(event="violation", direction="out", reason="clear", verdict="drop")
        self.assertFalse(self.wire.ports("tcp", port))
        ipsec.policies(self.lab, BASE)
        self.assertEqual(self.accept(server).recv(100), b"SECRET")
        self.assertFalse(self.wire.ports("tcp", port))
        self.assertFalse(self.wire.seen(b"SECRET"))
        latch = [x for x in self.all_latches() if x["demanded"]][0]
        self.assertEqual(latch["state"], "ESTABLISHED")

    def test_server_under_a_rule(self):
        server = self.server(self.new_socket(), self.lab.a)
        port = server.getsockname()[1]
        self.get_cookie(lambda: self.new_socket(host=self.lab.b), server, self.lab.b)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.assertEqual(self.open(self.new_socket(host=self.lab.b), server, b"NO RULE"), 7)
        self.assertEqual(self.accept(server).recv(100), b"NO RULE")
        self.wire.clear()

        self.guard.demand_protection(TCP)
        self.addCleanup(self.guard.demand_protection, TCP, False)
        self.assertEqual(self.open(self.new_socket(host=self.lab.b), server, b"FORGED"), 6)
        event = self.guard.wait_event(event="violation", direction="in", reason="clear",
                                      verdict="drop", latch=None)
        self.assertEqual(event["local"]["port"], port)
        server.setblocking(False)
        with self.assertRaises(BlockingIOError):
            server.accept()
        self.assertFalse(self.wire.ports("tcp", port))

    def test_an_answer_before_the_handshake_is_over(self):
        """The server has the SYN's data and answers; what protected the SYN has gone."""
        server = self.server(self.new_socket(), self.lab.a)
        self.get_cookie(lambda: self.new_socket(host=self.lab.b), server, self.lab.b)
        release = self.hold(self.lab.b)
        client = self.new_socket(host=self.lab.b)
        self.assertEqual(self.open(client, server, b"question"), 8)
        accepted = self.accept(server)
        self.assertEqual(accepted.recv(100), b"question")
        self.assertEqual(tcp_info(accepted, 0, 1), SYN_RECV)
        connection = Connection.__new__(Connection)
        connection.proto, connection.a, connection.b = "tcp", accepted, client
        connection.own, connection.peer = accepted.getsockname(), accepted.getpeername()
        latch = self.guard.latch(connection)
        self.assertEqual(latch["listener"], self.guard.listener(connection.own[1])["id"])
        ipsec.flush_policies(self.lab.a)
        accepted.send(b"SECRET")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assert_nothing_in_clear(connection)
        ipsec.flush_policies(self.lab.b)
        ipsec.policies(self.lab, BASE)
        release()
        client.settimeout(20)
        self.assertEqual(client.recv(100), b"SECRET")
        self.assert_nothing_in_clear(connection)
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])


class SynCookies(CornerCase):
    """The kernel keeps nothing of a SYN: its SYN-ACK belongs to no socket."""

    def setUp(self):
        super().setUp()
        self.setting(self.lab.a, "net.ipv4.tcp_syncookies", 2)  # always

    def flags(self, latch):
        return [e["formatted"]["value"]["flags"] for e in self.guard.dump("clatch_latches")
                if e["formatted"]["value"]["id"] == latch["id"]][0]

    def test_latched_and_held(self):
        before = self.count(self.lab.a, "SyncookiesRecv")
        connection, latch, _ = self.latched(BASE, server=True)
        self.assertGreater(self.count(self.lab.a, "SyncookiesRecv"), before)
        self.assertEqual(latch["listener"], self.guard.listener(connection.own[1])["id"])
        self.assertFalse(self.flags(latch) & OPENING, "it would expire")
        self.breaks(connection)

    def test_a_syn_ack_in_clear(self):
        self.protect(BASE)
        _, port = self.listening()
        self.lab.a.ip(f"xfrm policy delete src {self.lab.a.v4} dst {self.lab.b.v4} proto tcp "
                      "dir out")
        client = self.new_socket(host=self.lab.b)
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.connect((self.lab.a.v4, port))
        self.guard.wait_event(event="violation", direction="out", reason="clear", verdict="drop")
        self.assertFalse(self.wire.ports("tcp", port))


class Disconnect(CornerCase):
    """UDP's connect() with AF_UNSPEC, which no hook sees."""

    def disconnected(self):
        connection, latch, _ = self.latched(BASE, "udp")
        ctypes.CDLL(None).connect(connection.a.fileno(), bytes(16), 16)
        with self.assertRaises(OSError):
            connection.a.getpeername()
        return connection, latch

    def released(self, connection, latch):
        self.guard.wait_event(event="closed", latch=latch["id"], cause="released")
        self.assertIsNone(self.guard.latch(connection))

    def test_the_next_packet_out_releases(self):
        connection, latch = self.disconnected()
        connection.a.sendto(b"to whom it may concern", connection.peer)
        connection.b.recv(100)
        self.released(connection, latch)
        connection.a.connect(connection.peer)
        connection.exchange()
        self.assertGreater(self.guard.latch(connection)["id"], latch["id"])

    def test_the_next_packet_in_releases(self):
        connection, latch = self.disconnected()
        connection.b.send(b"to whom it may concern")
        self.assertEqual(connection.a.recv(100), b"to whom it may concern")
        self.released(connection, latch)


class Optional(CornerCase):
    """IPsec policies of level use: protected where there is an SA, else in clear."""

    def begin(self, proto, sas=True):
        shape = Shape(upper=proto, optional=True)
        ipsec.policies(self.lab, shape)
        if sas:
            ipsec.states(self.lab, shape, FIRST)
        connection = self.connect(proto)
        connection.exchange()
        return connection, shape

    def held_without_sa(self, proto):
        connection, shape = self.begin(proto)
        latch = self.guard.latch(connection)
        self.assertEqual(latch["state"], "ESTABLISHED")
        for host in self.lab.a, self.lab.b:
            host.ip("xfrm state flush")
        connection.b.send(b"SECRET")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="clear", verdict="drop")
        self.assertEqual(self.guard.latch(connection)["state"], "ESTABLISHED")  # not a conflict
        with contextlib.suppress(PermissionError):
            connection.a.send(b"SECRET")
        event = self.guard.wait_event(event="broken", latch=latch["id"])
        self.assertEqual((event["cause"], event["causes"]), ("out-clear", ["out-clear"]))
        self.assertFalse(connection.readable(connection.a, 0))
        self.assert_nothing_in_clear(connection)
        ipsec.states(self.lab, shape, LAST)
        # the socket's route in clear would stay in use: the kernel looks again when policies change
        ipsec.flush_policies(self.lab.a, self.lab.b)
        ipsec.policies(self.lab, shape)
        if proto == "tcp":
            for sock in connection.a, connection.b:
                self.assertEqual(connection.receive(sock, 6), b"SECRET")
        connection.exchange()
        self.assert_nothing_in_clear(connection)
        again = self.guard.latch(connection)
        self.assertEqual((again["id"], again["state"]), (latch["id"], "ESTABLISHED"))

    def test_tcp(self):
        self.held_without_sa("tcp")

    def test_udp(self):
        self.held_without_sa("udp")

    def test_begun_in_clear(self):
        for proto in "tcp", "udp":
            with self.subTest(proto=proto):
                connection, _ = self.begin(proto, sas=False)
                self.assertIsNone(self.guard.latch(connection))
                self.assertTrue(self.wire.ports(proto, connection.own[1]))
                ipsec.flush(self.lab.a, self.lab.b)


if __name__ == "__main__":
    unittest.main(verbosity=2)
