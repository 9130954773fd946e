# SPDX-License-Identifier: GPL-2.0-only
"""The fast path: it is taken, what goes there is counted, and nothing goes there any more once its
latch is stopped, replaced or gone.  That SAs are told apart there is tested wherever they are
swapped: every connection has sent before."""

import ctypes
import dataclasses
import json
import socket
import struct
import time
import unittest

import ipsec
from case import OTHER, Case
from ipsec import Shape
from lab import run, wait_for

TCP, UDP = Shape(), Shape(upper="udp")
V6 = Shape(family=socket.AF_INET6)
VERIFIED_OUT, LATCH_OF = slice(64, 88), 12  # of struct clatch_fast, clatch_verified
TUNNEL = Shape(mode="tunnel", host_tunnel=True)
XFRM_MSG_NEWAE, XFRMA_REPLAY_ESN_VAL, NETLINK_XFRM = 0x1e, 23, 6
REQUEST_ACK_REPLACE = 0x105


def set_replay_window(host, dst, spi, window):
    """Of an SA with ESN that is in use, as a host does that takes SAs over from another."""
    state = struct.pack("=7I", 1, 1000, 0, 0, 0, window, 0)
    body = struct.pack("=16s4sHBx24xHH", socket.inet_aton(dst), struct.pack(">I", spi),
                       socket.AF_INET, socket.IPPROTO_ESP, 4 + len(state), XFRMA_REPLAY_ESN_VAL)
    body += state
    with host.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as sock:
        sock.send(struct.pack("=IHHII", 16 + len(body), XFRM_MSG_NEWAE, REQUEST_ACK_REPLACE, 1, 0)
                  + body)
        error = struct.unpack_from("=i", sock.recv(4096), 16)[0]
    if error:
        raise OSError(-error, "XFRM_MSG_NEWAE")


class FastCase(Case):
    def entry(self, latch):
        return next(entry for entry in self.guard.dump("clatch_latches")
                    if entry["formatted"]["value"]["id"] == latch["id"])

    def key(self, latch):
        return [byte.removeprefix("0x") for byte in self.entry(latch)["key"]]

    def lookup_slot(self, latch):
        number = self.entry(latch)["formatted"]["value"]["fast"]
        out = run("bpftool", "-j", "map", "lookup", "pinned", f"{self.guard.bpffs}/clatch_fast",
                  "key", "hex", *(f"{byte:02x}" for byte in struct.pack("<I", number))).stdout
        return number, json.loads(out)

    def slot(self, latch):
        """The number of its slot, and that."""
        number, entry = self.lookup_slot(latch)
        return number, entry["formatted"]["value"]

    def timers_ran(self, latch):
        """An SA is looked at anew after that, a second from when it was made."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return all(side["verified"]["expires"] < now for side in self.slot(latch)[1]["side"])

    def ways(self, latch):
        """How many of its directions go this way."""
        return sum(side["latch"] == latch["id"] for side in self.slot(latch)[1]["side"])

    def counted(self, latch):
        shown = self.show(latch)
        return [shown[way][what] for way in ("in", "out") for what in ("packets", "bytes")]


class Fast(FastCase):
    def test_datagrams_are_counted(self):
        for family, header in (socket.AF_INET, 20), (socket.AF_INET6, 40):
            with self.subTest(family=family):
                connection, latch, _ = self.latched(Shape(family=family), "udp")
                before = self.counted(latch)
                for _ in range(50):
                    connection.exchange(b"of 20 bytes, no more")
                packets_in, bytes_in, packets_out, _ = (
                    now - then for now, then in zip(self.counted(latch), before))
                self.assertEqual((packets_in, packets_out), (50, 50))
                self.assertEqual(bytes_in, 50 * (header + 8 + 20))

    def test_it_is_taken(self):
        """Nobody looks the latch up: else one that has gone by hand would be made anew."""
        for proto in "tcp", "udp":
            with self.subTest(proto=proto):
                connection, latch, _ = self.latched(Shape(), proto)
                wait_for("the SAs' first timer to have run", lambda: self.timers_ran(latch))
                connection.exchange()
                self.assertEqual(self.ways(latch), 2)
                run("bpftool", "map", "delete", "pinned", f"{self.guard.bpffs}/clatch_latches",
                    "key", "hex", *self.key(latch))
                for _ in range(10):
                    connection.exchange()
                self.assertIsNone(self.guard.latch(connection))

    def test_what_goes_there(self):
        for shape in TCP, V6, TUNNEL, dataclasses.replace(V6, mode="tunnel", host_tunnel=True):
            with self.subTest(shape=shape):
                connection, latch, _ = self.latched(shape)
                for _ in range(5):
                    connection.exchange()
                self.assertGreater(min(side["packets"] for side in self.slot(latch)[1]["side"]), 3)

    def test_not_while_it_is_broken(self):
        connection, latch, _ = self.latched(TCP)
        connection.exchange()
        self.assertEqual(self.ways(latch), 2)
        # The SA is still there and the socket's route has it; what the policy says is another.
        self.lab.a.ip("xfrm policy flush")
        self.wait_state(connection, "BROKEN")
        self.assertEqual(self.ways(latch), 0)
        ipsec.exchange_shape(self.lab, TCP, OTHER)
        self.wait_state(connection, "ESTABLISHED")
        connection.exchange()
        self.assertEqual(self.ways(latch), 2)

    def test_not_once_it_is_closed(self):
        connection, latch, _ = self.latched(UDP, "udp")
        connection.exchange()
        self.assertEqual(self.ways(latch), 2)
        self.guard.loader("close", str(latch["id"]))
        self.assertEqual(self.ways(latch), 0)
        self.assertRaises(OSError, connection.a.send, b"after the end")
        self.assertRaises(OSError, connection.a.recv, 100)

    def test_a_slot_is_used_again(self):
        self.protect(UDP)
        slots = set()
        for _ in range(3):
            connection = self.connect("udp")
            connection.exchange()
            connection.exchange()
            latch = self.guard.latch(connection)
            slots.add(self.slot(latch)[0])
            self.assertEqual(self.ways(latch), 2)
            connection.close()
            wait_for("the latch to go", lambda: self.guard.latch(connection) is None)
        self.assertEqual(len(slots), 1, "a slot was not given back")

    def test_connect_again(self):
        """Another connection of the same socket, under the same SA: it has a latch of its own."""
        connection, first, _ = self.latched(UDP, "udp")
        connection.exchange()
        self.assertEqual(self.ways(first), 2)
        other = self.lab.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.bind((self.lab.b.v4, 0))
        other.connect(connection.own)
        other.settimeout(20)
        connection.a.connect(other.getsockname())
        connection.a.send(b"to another port")
        self.assertEqual(other.recv(100), b"to another port")
        connection.peer = other.getsockname()
        second = self.guard.latch(connection)
        self.assertIsNotNone(second, "the connection begun anew has no latch")
        self.assertNotEqual(second["id"], first["id"])

    def test_connect_again_tcp(self):
        """The descriptor of a connection that is half closed, used for another."""
        connection, first, _ = self.latched(TCP)
        connection.exchange()
        self.assertEqual(self.ways(first), 2)
        connection.a.shutdown(socket.SHUT_WR)
        self.assertEqual(connection.b.recv(1), b"")
        # what the socket module does not offer: connect() with AF_UNSPEC
        self.assertEqual(ctypes.CDLL(None).connect(connection.a.fileno(), bytes(16), 16), 0)
        listener = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.settimeout(20)
        listener.bind((self.lab.b.v4, 0))
        listener.listen()
        connection.a.connect(listener.getsockname())
        connection.own, connection.peer = connection.a.getsockname(), listener.getsockname()
        connection.b.close()
        connection.b, _ = listener.accept()
        for _ in range(3):
            connection.exchange()
        second = self.guard.latch(connection)
        self.assertNotEqual(second["id"], first["id"])
        self.assertEqual(self.ways(second), 2, "what it sends is not its own latch's")

    def test_not_for_what_is_sent_elsewhere_in_clear(self):
        connection, latch, _ = self.latched(UDP, "udp")
        connection.exchange()
        before = self.counted(latch)
        elsewhere = (self.lab.b.address(socket.AF_INET, True), connection.peer[1])
        self.assertRaises(PermissionError, connection.a.sendto, b"past it", elsewhere)
        self.assert_nothing_in_clear(connection)
        self.assertEqual(self.counted(latch), before)

    def test_a_rekeyed_sa(self):
        connection, latch, shape = self.latched(TCP)
        connection.exchange()
        ipsec.exchange_shape(self.lab, shape, OTHER)
        for _ in range(3):
            connection.exchange()
        self.assertEqual(self.ways(latch), 2)
        self.assertEqual(self.show(latch)["out"]["sa"][0]["spi"], f"{OTHER[0]:#010x}")


class WithoutRun(FastCase):
    follow = False

    def raw(self, latch):
        """Key and value of its slot, as bytes."""
        entry = self.lookup_slot(latch)[1]
        return [bytearray(int(byte, 16) for byte in entry[part]) for part in ("key", "value")]

    def test_the_replay_window_of_an_sa_is_closed(self):
        connection, latch, _ = self.latched(dataclasses.replace(UDP, esn=True), "udp")
        wait_for("the SAs' first timer to have run", lambda: self.timers_ran(latch))
        connection.exchange()
        self.assertEqual(self.ways(latch), 2)
        spi = int(self.show(latch)["out"]["sa"][0]["spi"], 16)
        set_replay_window(self.lab.a, self.lab.b.v4, spi, 0)
        self.assertRaises(PermissionError, connection.a.send, b"without a window")
        set_replay_window(self.lab.a, self.lab.b.v4, spi, 32)
        connection.exchange()

    def write_of(self, latch, of):
        """As a packet of another CPU would."""
        key, value = self.raw(latch)
        struct.pack_into("<Q", value, VERIFIED_OUT.start + LATCH_OF - 4, of)
        self.guard.update("clatch_fast", key, value)
        return value[VERIFIED_OUT]

    def verified_out(self, latch):
        return self.raw(latch)[1][VERIFIED_OUT]

    def test_while_another_cpu_compares(self):
        connection, latch, _ = self.latched(UDP, "udp")
        wait_for("the SAs' first timer to have run", lambda: self.timers_ran(latch))
        connection.exchange()
        before = self.verified_out(latch)
        claimed = self.write_of(latch, 999)  # no CPU's here
        connection.exchange()
        self.assertEqual(self.verified_out(latch), claimed)
        self.write_of(latch, 0)  # as when what is compared has changed
        connection.exchange()
        self.assertEqual(self.verified_out(latch), before)

    def test_what_was_verified_stays_when_another_is_refused(self):
        connection, latch, shape = self.latched(UDP, "udp")
        wait_for("the SAs' first timer to have run", lambda: self.timers_ran(latch))
        connection.exchange()
        before = self.verified_out(latch)
        ipsec.exchange_shape(self.lab, dataclasses.replace(shape, reqid=9), OTHER)
        self.assertRaises(PermissionError, connection.a.send, b"under the new SA")
        self.assertEqual(self.verified_out(latch), before)

    def test_what_was_verified_for_another_latch(self):
        """Written by a packet that was under way when the slot became this latch's."""
        connection, latch, shape = self.latched(UDP, "udp")
        ipsec.exchange_shape(self.lab, dataclasses.replace(shape, reqid=9), OTHER)
        other = self.connect("udp")
        other.exchange()
        other_latch = self.guard.latch(other)
        wait_for("the SAs' first timer to have run", lambda: self.timers_ran(other_latch))
        other.exchange()
        self.assertRaises(PermissionError, connection.a.send, b"under the new SA")
        verified = self.raw(other_latch)[1][VERIFIED_OUT]
        key, value = self.raw(latch)
        value[VERIFIED_OUT] = verified
        self.guard.update("clatch_fast", key, value)
        self.assertRaises(PermissionError, connection.a.send, b"under the new SA")
        self.assertEqual(struct.unpack_from("<I", verified, LATCH_OF)[0], other_latch["id"])
        struct.pack_into("<I", verified, LATCH_OF, latch["id"])
        value[VERIFIED_OUT] = verified  # as if it had been verified for this one
        self.guard.update("clatch_fast", key, value)
        connection.a.send(b"for this test")
        self.assertEqual(connection.b.recv(100), b"for this test")


if __name__ == "__main__":
    unittest.main(verbosity=2)
