# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a connection whose latch is BROKEN or closed, on real ESP: it waits and loses
nothing, or it is reset (RFC 5660 R18, R30, R31, R35-R37)."""

import contextlib
import dataclasses
import datetime
import hashlib
import os
import socket
import threading
import time
import unittest

import ipsec
from ends import EndsCase, tcp_info
from ipsec import Shape
from lab import wait_for

BASE = Shape()
UDP = Shape(upper="udp")
# no cost of its own: it is the stream that is tested
CHEAP = Shape(suite=ipsec.NULL_BOTH)


class DispositionCase(EndsCase):
    run_options = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.run_options:
            cls.guard.end_run()
            cls.guard.start_run(*cls.run_options)

    def start(self, shape=BASE, proto="tcp", **more):
        connection, latch, shape = self.latched(shape, proto, **more)
        if proto == "tcp":  # nothing is on its way
            for sock in connection.a, connection.b:
                wait_for("the last acknowledgement", lambda s=sock: not tcp_info(s, 24, 4))
        self.wire.clear()
        return connection, latch, shape

    def break_it(self, latch):
        ipsec.flush_policies(self.lab.a)
        self.guard.wait_event(event="broken", latch=latch["id"], cause="policy")

    def check_seconds(self, latch, wanted):
        """How long it was broken, as the events tell."""
        times = [datetime.datetime.fromisoformat(self.guard.wait_event(
            event=event, latch=latch["id"])["time"].replace("Z", "+00:00"))
            for event in ("broken", "closed")]
        seconds = (times[1] - times[0]).total_seconds()
        self.assertGreater(seconds, wanted - 0.1)
        self.assertLess(seconds, wanted + 15)  # emulated machines are slow

    def repair(self, shape):
        ipsec.flush_policies(self.lab.b)
        ipsec.policies(self.lab, shape)

    def closed(self, latch, cause, old_state):
        event = self.guard.wait_event(40, event="closed", latch=latch["id"])
        self.assertEqual((event["cause"], event["old_state"], event["state"]),
                         (cause, old_state, "CLOSED"))

    def gone(self, latch):
        wait_for("the latch to go",
                 lambda: self.guard.loader("show", latch["id"], check=False).returncode == 1)

    def assert_aborted(self, sock):
        with self.assertRaises(ConnectionAbortedError):
            sock.recv(100)
        with self.assertRaises(BrokenPipeError):
            sock.send(b"after the end")

    def assert_nothing_left(self, connection):
        """Neither in clear nor under ESP."""
        self.assert_nothing_in_clear(connection)
        self.assertEqual(self.wire.spis(), set())


class Hold(DispositionCase):
    """R30, R35: to TCP it is as if packets were lost."""

    SIZE = 50 << 20

    def stream(self, source, target, interrupt):
        digests = [hashlib.sha256(), hashlib.sha256()]
        done = []

        def send():
            for _ in range(self.SIZE >> 20):
                part = os.urandom(1 << 20)
                digests[0].update(part)
                source.sendall(part)
            done.append(True)

        sender = threading.Thread(target=send)
        sender.start()
        received = 0
        while received < self.SIZE:
            part = target.recv(1 << 20)
            self.assertTrue(part, "the stream ended")
            digests[1].update(part)
            before, received = received, received + len(part)
            if before < self.SIZE // 2 <= received:
                interrupt()
        sender.join()
        self.assertTrue(done)
        self.assertEqual(digests[0].digest(), digests[1].digest())

    def play(self, outwards):
        connection, latch, shape = self.latched(CHEAP)
        ends = (connection.a, connection.b) if outwards else (connection.b, connection.a)
        for sock in ends:
            sock.settimeout(60)

        def interrupt():
            self.break_it(latch)
            time.sleep(3)
            self.assertEqual(self.show(latch)["state"], "BROKEN")
            self.repair(shape)

        began = time.monotonic()
        self.stream(*ends, interrupt)
        print(f"# {self.SIZE >> 20} MB in {time.monotonic() - began:.1f} s")
        self.guard.wait_event(event="restored", latch=latch["id"])
        after = self.guard.latch(connection)
        self.assertEqual((after["id"], after["state"]), (latch["id"], "ESTABLISHED"))
        self.assert_nothing_in_clear(connection)

    def test_a_stream_out(self):
        self.play(True)

    def test_a_stream_in(self):
        self.play(False)


class ResetAfter(DispositionCase):
    run_options = ("--reset-after", "2s")

    def reset(self, **more):
        connection, latch, _ = self.start(**more)
        self.break_it(latch)
        self.closed(latch, "reset-after", "BROKEN")
        self.check_seconds(latch, 2)
        self.assert_aborted(connection.a)
        self.gone(latch)
        self.assert_nothing_left(connection)

    def test_client(self):
        self.reset()

    def test_server(self):
        self.reset(server=True)

    def test_ipv6(self):
        self.reset(shape=Shape(family=socket.AF_INET6))

    def test_v4_mapped(self):
        self.reset(mapped=True)

    def test_with_data_unsent(self):
        """It is lost with the connection, and does not leave."""
        connection, latch, _ = self.start()
        self.break_it(latch)
        connection.a.send(b"unsent")
        self.closed(latch, "reset-after", "BROKEN")
        self.assert_aborted(connection.a)
        self.gone(latch)
        self.assert_nothing_left(connection)

    def test_broken_by_its_own_packet(self):
        """Level use: there is no conflict that the judgement of run could find."""
        self.protect(dataclasses.replace(UDP, optional=True))
        connection = self.connect("udp")
        connection.exchange()
        latch = self.guard.latch(connection)
        self.lab.a.ip("xfrm state flush")
        with self.assertRaises(PermissionError):
            connection.a.send(b"in clear")
        self.closed(latch, "reset-after", "BROKEN")
        self.assertEqual([e["cause"] for e in self.guard.events if e["event"] == "broken"],
                         ["out-clear"])

    def test_udp(self):
        """Later sends fail, whatever the address and the policy, until the socket is closed."""
        connection, latch, shape = self.start(UDP, "udp")
        self.break_it(latch)
        self.closed(latch, "reset-after", "BROKEN")
        self.repair(shape)
        for _ in range(3):
            with self.assertRaises(OSError):
                connection.a.send(b"after the end")
            with self.assertRaises(OSError):
                connection.a.sendto(b"after the end", connection.peer)
        self.assertEqual(self.show(latch)["state"], "CLOSED")
        self.assertFalse(connection.readable(connection.b, 0.2))
        self.assert_nothing_left(connection)
        connection.a.close()
        self.gone(latch)

    def test_udp_delivers_nothing(self):
        connection, latch, shape = self.start(UDP, "udp")
        self.break_it(latch)
        self.closed(latch, "reset-after", "BROKEN")
        self.repair(shape)
        with contextlib.suppress(ConnectionAbortedError):
            connection.a.recv(1)
        with contextlib.suppress(OSError):
            connection.b.send(b"to a closed one")
        self.assertFalse(connection.readable(connection.a, 0.5) and connection.a.recv(100))

    def test_restored_in_time(self):
        """And each break has its own time."""
        connection, latch, shape = self.start()
        for _ in range(2):
            self.guard.forget()
            self.break_it(latch)
            time.sleep(1)
            self.repair(shape)
            self.guard.wait_event(event="restored", latch=latch["id"])
        time.sleep(2.5)
        connection.exchange()
        self.assertEqual(self.show(latch)["state"], "ESTABLISHED")
        self.assertFalse([e for e in self.guard.events if e["event"] == "closed"])

    def test_only_what_is_broken(self):
        """One of two connections suffers."""
        connection, latch, shape = self.start()
        other = self.connect("tcp")
        other.exchange()
        words = ipsec.words(self.lab, shape, "out")
        self.lab.a.ip(f"xfrm policy add src {words['near']} dst {words['far']} proto tcp "
                      f"dport {connection.peer[1]} dir out priority 1 action block")
        self.closed(latch, "reset-after", "BROKEN")
        self.assert_aborted(connection.a)
        other.exchange()


class ResetAtOnce(DispositionCase):
    run_options = ("--reset-after", "0s")

    def test_tcp(self):
        connection, latch, _ = self.start()
        self.break_it(latch)
        self.closed(latch, "reset-after", "BROKEN")
        self.assert_aborted(connection.a)
        self.gone(latch)
        self.assert_nothing_left(connection)

    def test_udp(self):
        connection, latch, shape = self.start(UDP, "udp")
        self.break_it(latch)
        self.closed(latch, "reset-after", "BROKEN")
        self.repair(shape)
        with self.assertRaises(OSError):
            connection.a.send(b"after the end")
        self.assert_nothing_left(connection)


class ResetNever(DispositionCase):
    run_options = ("--reset-after", "never")

    def test_tcp(self):
        connection, latch, shape = self.start()
        self.break_it(latch)
        connection.a.send(b"held for long")
        time.sleep(5)
        self.assertEqual(self.show(latch)["state"], "BROKEN")
        self.repair(shape)
        self.assertEqual(connection.receive(connection.b, 13), b"held for long")
        connection.exchange()
        self.assert_nothing_in_clear(connection)


class Default(DispositionCase):
    """No option: 30 s."""

    def test_tcp(self):
        connection, latch, _ = self.start()
        self.break_it(latch)
        self.assertFalse(connection.readable(connection.a, 25))
        self.closed(latch, "reset-after", "BROKEN")
        self.check_seconds(latch, 30)
        self.assert_aborted(connection.a)


class Close(DispositionCase):
    """Administrative close: R31, R37."""

    def close(self, *words):
        return self.guard.json("close", *words)

    def check_reset(self, connection, latch):
        """Of an established one: the peer is told, under ESP."""
        self.closed(latch, "admin", "ESTABLISHED")
        self.assert_aborted(connection.a)
        with self.assertRaises(ConnectionResetError):
            connection.b.recv(100)
        self.assert_nothing_in_clear(connection)
        self.assertEqual(self.wire.spis(), {0x1001})
        self.gone(latch)

    def test_client(self):
        connection, latch, _ = self.start()
        self.assertEqual(self.close(latch["id"]), {"closed": [latch["id"]]})
        self.check_reset(connection, latch)

    def test_server(self):
        connection, latch, _ = self.start(server=True)
        self.close(latch["id"])
        self.check_reset(connection, latch)
        self.assertIsNotNone(self.guard.listener(connection.own[1]), "the listener is another")

    def test_ipv6_tunnel(self):
        connection, latch, _ = self.start(Shape(mode="tunnel", family=socket.AF_INET6))
        self.close(latch["id"])
        self.check_reset(connection, latch)

    def test_v4_mapped(self):
        connection, latch, _ = self.start(mapped=True)
        self.close(latch["id"])
        self.check_reset(connection, latch)

    def test_while_a_program_reads(self):
        """It is told at once."""
        connection, latch, _ = self.start()
        errors = []

        def read():
            try:
                connection.a.recv(100)
            except OSError as error:
                errors.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        self.close(latch["id"])
        reader.join(10)
        self.assertEqual([type(e) for e in errors], [ConnectionAbortedError])

    def test_broken(self):
        """No reset leaves, in clear or otherwise."""
        connection, latch, _ = self.start()
        self.break_it(latch)
        connection.a.send(b"unsent")
        self.close(latch["id"])
        self.closed(latch, "admin", "BROKEN")
        self.assert_aborted(connection.a)
        self.gone(latch)
        self.assert_nothing_left(connection)

    def test_listener(self):
        """Nobody is accepted any more; what was accepted goes on."""
        connection, latch, _ = self.start(server=True)
        listener = self.guard.listener(connection.own[1])
        self.close(listener["id"])
        self.closed(listener, "admin", "LISTENER")
        with self.assertRaises(OSError):
            connection.listener.accept()
        with self.assertRaises(ConnectionRefusedError):
            self.client(self.lab.a.v4, connection.own[1])
        connection.exchange()
        self.gone(listener)
        self.assertEqual(self.show(latch)["state"], "ESTABLISHED")

    def test_udp(self):
        connection, latch, _ = self.start(UDP, "udp")
        self.close(latch["id"])
        self.closed(latch, "admin", "ESTABLISHED")
        for _ in range(2):
            with self.assertRaises(OSError):
                connection.a.send(b"after the end")
        with self.assertRaises(OSError):
            connection.a.sendto(b"after the end", connection.peer)
        self.assertFalse(connection.readable(connection.b, 0.2))
        self.assert_nothing_left(connection)
        self.assertEqual(self.show(latch)["state"], "CLOSED")
        connection.a.close()
        self.gone(latch)

    def test_remote(self):
        """One of two, by address and port; then by address alone."""
        first, latch, _ = self.start()
        second = self.connect("tcp")
        second.exchange()
        other = self.guard.latch(second)
        self.assertEqual(self.close("--remote", f"{self.lab.b.v4}:{first.peer[1]}"),
                         {"closed": [latch["id"]]})
        self.assert_aborted(first.a)
        second.exchange()
        self.assertEqual(self.close("--remote", self.lab.b.v4), {"closed": [other["id"]]})
        self.assert_aborted(second.a)

    def test_all(self):
        connection, latch, _ = self.start(server=True)
        other = self.connect("tcp")
        other.exchange()
        ids = {latch["id"], self.guard.latch(other)["id"],
               self.guard.listener(connection.own[1])["id"]}
        self.assertEqual(set(self.close("--all")["closed"]), ids)
        for one in connection.a, other.a:
            self.assert_aborted(one)
        self.none_is_left()
        for number in ids:
            self.guard.wait_event(event="closed", latch=number, cause="admin")

    def test_none(self):
        self.assertEqual(self.guard.loader("close", "999999", check=False).returncode, 1)


class CloseAlone(DispositionCase):
    """Without `run`."""

    follow = False

    def test_tcp(self):
        connection, latch, _ = self.start()
        self.guard.loader("close", latch["id"])
        self.assert_aborted(connection.a)
        with self.assertRaises(ConnectionResetError):
            connection.b.recv(100)
        self.assert_nothing_in_clear(connection)
        self.gone(latch)


if __name__ == "__main__":
    unittest.main(verbosity=2)
