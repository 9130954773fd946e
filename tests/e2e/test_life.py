# SPDX-License-Identifier: GPL-2.0-only
"""The life of a latch on real ESP: how it begins, what it survives, and that it ends."""

import contextlib
import dataclasses
import socket
import struct
import time
import unittest

import ipsec
from case import FIRST, LAST, NEXT, OTHER, Case
from ipsec import Shape
from lab import TCP, Connection, segment, wait_for

BASE = Shape()
UDP = Shape(upper="udp")
ROUTED = Shape(mode="tunnel", if_id=42)


class Begin(Case):
    def test_larval_until_both_ways_are_known(self):
        self.protect(UDP)
        connection = self.connect("udp")
        connection.a.send(b"one way")
        connection.b.recv(100)
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["in"]["sa"]), ("LARVAL", []))
        self.assertFalse(latch["adopted"])
        connection.b.send(b"and back")
        connection.a.recv(100)
        latch = self.guard.latch(connection)
        self.assertEqual(latch["state"], "ESTABLISHED")
        for direction in "in", "out":
            self.guard.wait_event(event="latched", latch=latch["id"], direction=direction)

    def listener(self):
        connection = Connection.__new__(Connection)
        Connection.port += 2
        connection.proto = "tcp"
        connection.own = (self.lab.a.v4, Connection.port)
        connection.peer = (self.lab.b.v4, Connection.port + 1)
        with self.lab.guarded():
            listening = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        client = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        for s, address in ((listening, connection.own), (client, connection.peer)):
            self.addCleanup(s.close)
            s.settimeout(20)
            s.bind(address)
        listening.listen()
        return connection, listening, client

    def test_the_syn_latches_and_binds_the_accepted_socket(self):
        self.protect(BASE)
        connection, listening, client = self.listener()
        client.connect(connection.own)
        latch = self.guard.latch(connection)
        self.assertIsNotNone(latch, "not latched before accept()")
        self.assertTrue(latch["in"]["sa"])
        ipsec.exchange_shape(self.lab, dataclasses.replace(BASE, reqid=9), OTHER)
        accepted, _ = listening.accept()
        self.addCleanup(accepted.close)
        client.send(b"first data, by another SA")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="sa-mismatch", fields=["reqid"])
        ipsec.exchange_shape(self.lab, BASE, LAST)
        self.assertEqual(Connection.receive(accepted, 25), b"first data, by another SA")

    def test_a_syn_ack_in_clear_does_not_leave(self):
        self.protect(BASE)
        connection, _, client = self.listener()
        self.lab.a.ip(f"xfrm policy delete src {self.lab.a.v4} dst {self.lab.b.v4} proto tcp "
                      "dir out")
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(connection.own)
        self.guard.wait_event(event="violation", direction="out", reason="clear", verdict="drop",
                              proto="tcp")
        self.assert_nothing_in_clear(connection)
        ipsec.exchange_shape(self.lab, BASE, LAST)
        client.settimeout(20)
        wait_for("the connection", lambda: client.connect_ex(connection.own) in (0, 106))
        self.assert_nothing_in_clear(connection)

    def test_clear_connections_are_not_latched(self):
        connection = self.connect("tcp")
        connection.exchange()
        self.assertIsNone(self.guard.latch(connection))

    def test_a_clear_connection_latches_at_its_first_protected_packet(self):
        connection = self.connect("tcp")
        connection.exchange()
        self.protect(BASE)
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["adopted"]), ("ESTABLISHED", True))

    def test_unconnected_udp_is_not_latched(self):
        self.protect(UDP)
        with self.lab.guarded():
            a = self.lab.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
        b = self.lab.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(a.close)
        self.addCleanup(b.close)
        b.settimeout(20)
        b.bind((self.lab.b.v4, 5353))
        a.sendto(b"to whom it may concern", (self.lab.b.v4, 5353))
        self.assertEqual(b.recv(100), b"to whom it may concern")
        latches = self.guard.json("list", "--proto", "udp")["latches"]
        self.assertEqual(latches, [])


class Rekeying(Case):
    def rekeyed(self, shape, proto):
        connection, latch, shape = self.latched(shape, proto)
        spis = [FIRST, NEXT, LAST, (0x1301, 0x2301)]
        for old, new in zip(spis, spis[1:]):
            for number in range(10):
                connection.exchange(b"before %d" % number)
            ipsec.rekey(self.lab, shape, old, new)
            for number in range(10):
                connection.exchange(b"after %d" % number)
        self.assertFalse([e for e in self.guard.events
                          if e["event"] == "violation" and e["latch"] == latch["id"]])
        after = self.guard.latch(connection)
        self.assertEqual(after["id"], latch["id"])
        self.assertEqual((after["in"]["violations"], after["out"]["violations"]), (0, 0))
        self.assertEqual(after["out"]["sa"][-1]["spi"], f"{spis[-1][0]:#010x}")  # ESP
        self.assertEqual(after["in"]["sa"][-1]["spi"], f"{spis[-1][1]:#010x}")


class WithoutRun(Rekeying):
    """The SA table is as old as `load`: the new SAs are found in the kernel's own SAD."""

    follow = False

    def test_over_the_xfrm_interface(self):
        self.rekeyed(ROUTED, "udp")

    def test_over_the_xfrm_interface_ipv6(self):
        self.rekeyed(dataclasses.replace(ROUTED, family=socket.AF_INET6), "tcp")

    def test_broken_and_restored(self):
        """What a packet of ours broke, the next that matches restores."""
        connection, latch, shape = self.latched(BASE, "udp")
        ipsec.flush_policies(self.lab.a, self.lab.b)
        with self.assertRaises(PermissionError):
            connection.a.send(b"in clear")
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["causes"]), ("BROKEN", ["out-clear"]))
        ipsec.policies(self.lab, shape)
        connection.b.send(b"inbound does not restore it")
        self.assertFalse(connection.readable(connection.a, 0.5))
        self.assertEqual(self.guard.latch(connection)["state"], "BROKEN")
        self.assertEqual(self.guard.counters()["broken"], 1)
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["causes"]), ("ESTABLISHED", []))


class Survive(Rekeying):
    def test_rekeys_udp(self):
        self.rekeyed(BASE, "udp")  # a lost datagram would end the exchange

    def test_rekeys_tcp(self):
        self.rekeyed(BASE, "tcp")

    def test_rekeys_over_the_xfrm_interface(self):
        """Also: its first, clear pass is not mistaken for a leak."""
        self.rekeyed(ROUTED, "udp")

    def test_rekeys_nested(self):
        self.rekeyed(Shape(nested=True), "udp")

    def test_rekeys_nat_t(self):
        self.rekeyed(Shape(encap=True), "tcp")

    def test_the_same_spi_again_with_other_parameters(self):
        connection, latch, shape = self.latched(BASE, "udp")
        for _ in range(3):
            ipsec.exchange_shape(self.lab, dataclasses.replace(shape, reqid=9), FIRST)
            with self.assertRaises(PermissionError):
                connection.a.send(b"same SPI, other reqid")
            ipsec.exchange_shape(self.lab, shape, FIRST)
            self.guard.wait_event(event="restored", latch=latch["id"])
            self.guard.forget()
            self.wait_state(connection, "ESTABLISHED")
            connection.exchange(b"as it was")

    def test_broken_and_restored(self):
        connection, latch, shape = self.latched(BASE, "udp")
        ipsec.flush_policies(self.lab.a, self.lab.b)
        with self.assertRaises(PermissionError):
            connection.a.send(b"in clear")
        event = self.guard.wait_event(event="broken", latch=latch["id"], cause="out-clear")
        self.assertEqual(event["reason"], "clear")
        self.assertEqual(self.guard.latch(connection)["state"], "BROKEN")
        ipsec.policies(self.lab, shape)
        event = self.guard.wait_event(event="restored", latch=latch["id"])
        self.assertIn("out-clear", event["causes"])
        self.assertEqual(self.guard.latch(connection)["state"], "ESTABLISHED")
        connection.exchange()


class Report(Case):
    """With nothing else that could be counted."""

    def test_repeats_are_merged_and_counted_exactly(self):
        connection, latch, _ = self.latched(BASE, "udp")
        before = self.guard.counters()["clear"]
        ipsec.flush_policies(self.lab.a, self.lab.b)
        start = time.monotonic()
        for _ in range(500):
            with self.assertRaises(PermissionError):
                connection.a.send(b"in clear")
        seconds = time.monotonic() - start

        def lines():
            return [e["count"] for e in self.guard.events
                    if e["event"] == "violation" and e["latch"] == latch["id"]]

        wait_for("all 500 in the lines", lambda: sum(lines()) == 500)
        self.assertLessEqual(len(lines()), seconds + 2)
        self.assertEqual(self.guard.counters()["clear"] - before, 500)
        self.assertEqual(self.guard.latch(connection)["out"]["violations"], 500)


class End(Case):
    def gone(self, connection, latch):
        self.guard.wait_event(event="closed", latch=latch["id"])
        self.assertIsNone(self.guard.latch(connection))

    def test_udp_close(self):
        connection, latch, _ = self.latched(BASE, "udp")
        connection.close()
        self.gone(connection, latch)

    def test_tcp_closed_by_the_peer(self):
        connection, latch, _ = self.latched(BASE)
        connection.b.close()
        self.assertEqual(connection.a.recv(100), b"")
        connection.close()
        self.gone(connection, latch)

    def test_tcp_accepted_and_closed_by_the_peer(self):
        connection, latch, _ = self.latched(BASE, server=True)
        connection.b.close()
        self.assertEqual(connection.a.recv(100), b"")
        connection.close()
        self.gone(connection, latch)

    def test_tcp_reset(self):
        connection, latch, _ = self.latched(BASE)
        connection.b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.b.close()
        with self.assertRaises(ConnectionResetError):
            connection.a.recv(100)
        connection.close()
        self.gone(connection, latch)

    def test_time_wait_is_held_and_ends(self):
        """Without a full socket, tc holds what would leave or enter in clear."""
        connection, latch, shape = self.latched(BASE)
        connection.a.close()
        self.assertEqual(connection.b.recv(100), b"")
        connection.close()
        raw = self.lab.b.socket(socket.AF_INET, socket.SOCK_RAW, TCP)
        self.addCleanup(raw.close)
        stray = segment(connection.peer, connection.own, 0x10)
        self.lab.a.ip(f"xfrm policy delete src {self.lab.a.v4} dst {self.lab.b.v4} proto tcp "
                      "dir out")
        raw.sendto(stray, (self.lab.a.v4, 0))  # protected: TIME_WAIT answers
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear")
        ipsec.flush(self.lab.a, self.lab.b)
        raw.sendto(stray, (self.lab.a.v4, 0))
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="clear")
        self.assert_nothing_in_clear(connection)
        event = self.guard.wait_event(90, event="closed", latch=latch["id"])
        self.assertEqual((event["old_state"], event["cause"]), ("BROKEN", "reset-after"))
        wait_for("the latch to go", lambda: not self.guard.latch(connection), 60)

    def test_udp_reconnect_to_another_peer(self):
        connection, latch, _ = self.latched(BASE, "udp")
        other = self.lab.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.settimeout(20)
        other.bind((self.lab.b.v4, 6363))
        connection.a.connect((self.lab.b.v4, 6363))
        connection.a.send(b"to another")
        other.recv(100)
        self.gone(connection, latch)
        connection.peer = (self.lab.b.v4, 6363)
        again = self.guard.latch(connection)
        self.assertFalse(again["adopted"])
        connection.close()
        self.gone(connection, again)

    def test_udp_disconnect_and_reconnect_latches_anew(self):
        connection, latch, shape = self.latched(BASE, "udp")
        # what the socket module does not offer: connect() with AF_UNSPEC
        import ctypes
        ctypes.CDLL(None).connect(connection.a.fileno(), bytes(16), 16)
        ipsec.exchange_shape(self.lab, dataclasses.replace(shape, reqid=9), OTHER)
        connection.a.connect(connection.peer)
        connection.exchange(b"under the new SA")
        again = self.guard.latch(connection)
        self.assertNotEqual(again["id"], latch["id"])
        self.assertEqual(again["out"]["sa"][0]["reqid"], 9)


    def test_tcp_closed_with_data_unread(self):
        """The kernel closes the socket first and sends the reset after."""
        connection, latch, _ = self.latched(BASE)
        connection.b.send(b"nobody reads this")
        wait_for("the data", lambda: connection.readable(connection.a, 1))
        ipsec.flush_policies(self.lab.a, self.lab.b)
        connection.a.close()
        self.guard.wait_event(event="violation", latch=latch["id"], reason="clear",
                              direction="out")  # the reset
        self.gone(connection, latch)
        self.assert_nothing_in_clear(connection)


class Many(Case):
    follow = False

    def test_ten_thousand_connections_leave_nothing(self):
        self.protect(BASE)
        with self.lab.guarded():
            listening = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.addCleanup(listening.close)
            listening.bind((self.lab.a.v4, 7070))
            listening.listen(64)
        self.lab.b.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65000")
        made = 0
        for _ in range(100):
            clients = [self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(100)]
            accepted = []
            for client in clients:
                client.connect((self.lab.a.v4, 7070))
                accepted.append(listening.accept()[0])
            made += len(accepted)
            if made == 100:
                self.assertEqual(self.guard.json("status")["latches"], 100)
            for client in clients:
                client.close()
            for server in accepted:
                self.assertEqual(server.recv(1), b"")
                server.close()
        self.assertEqual(made, 10000)
        try:
            wait_for("no latch but the listener's", lambda: self.left() == [])
        except TimeoutError:
            self.fail(f"left behind: {self.left()[:3]}")

    def left(self):
        return [x for x in self.guard.json("list")["latches"] if x["remote"]]


if __name__ == "__main__":
    unittest.main(verbosity=2)
