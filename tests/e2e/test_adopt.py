# SPDX-License-Identifier: GPL-2.0-only
"""Connections older than clatch, and clatch without its processes; the SA table."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import struct
import subprocess
import unittest

import ipsec
from case import FIRST, NEXT, Case
from ipsec import Shape
from lab import Guard, run, wait_for

BASE = Shape()
UDP = Shape(upper="udp")
LAST_SLOT = 2  # enum last_number


class Adopt(Case):
    guard_options = None

    def adopt(self, proto):
        self.protect(dataclasses.replace(BASE, upper=proto))
        connection = self.connect(proto)
        connection.exchange(b"before clatch")
        with Guard(self.lab) as guard:
            connection.exchange(b"with clatch")
            latch = guard.latch(connection)
            self.assertEqual((latch["adopted"], latch["state"]), (True, "ESTABLISHED"))
            ipsec.flush_policies(self.lab.a, self.lab.b)
            with contextlib.suppress(PermissionError):
                connection.a.send(b"in clear")
            guard.wait_event(event="violation", latch=latch["id"], reason="clear")
            self.assert_nothing_in_clear(connection)

    def test_tcp(self):
        self.adopt("tcp")

    def test_udp(self):
        self.adopt("udp")

    def listening(self):
        sock = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.bind((self.lab.b.v4, 4020))
        sock.listen()
        return sock

    def test_an_adopted_client_that_is_reset_leaves_nothing(self):
        """Its port was the kernel's choice, and is given back before the socket is released."""
        self.protect(BASE)
        listening = self.listening()
        with self.lab.guarded():
            client = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.connect((self.lab.b.v4, 4020))
        accepted, _ = listening.accept()
        with Guard(self.lab) as guard:
            client.send(b"adopted")
            self.assertEqual(accepted.recv(100), b"adopted")
            self.assertEqual([x["adopted"] for x in guard.json("list")["latches"]], [True])
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            with self.assertRaises(ConnectionResetError):
                client.recv(100)
            client.close()
            guard.wait_event(event="closed")
            self.assertEqual(guard.json("list")["latches"], [])

    def connected(self, listening, port):
        """A client whose port is no choice of the kernel's, and its server's end."""
        with self.lab.guarded():
            client = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((self.lab.a.v4, port))
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
        self.addCleanup(accepted.close)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return client, accepted

    def test_a_socket_closed_late_leaves_the_next_ones_latch(self):
        """Both had the same port in turn; the first is released when the second is latched."""
        self.protect(BASE)
        listening = self.listening()
        first, accepted = self.connected(listening, 4021)
        accepted.close()
        with self.assertRaises(ConnectionResetError):
            first.recv(100)
        second, accepted = self.connected(listening, 4021)
        with Guard(self.lab) as guard:
            second.send(b"adopted")
            self.assertEqual(accepted.recv(100), b"adopted")
            latch, = guard.json("list")["latches"]
            first.close()
            self.assertEqual([x["id"] for x in guard.json("list")["latches"]], [latch["id"]])
            accepted.close()
            with self.assertRaises(ConnectionResetError):
                second.recv(100)
            second.close()
            guard.wait_event(event="closed", latch=latch["id"])

    def test_enforcement_outlives_the_loader(self):
        self.protect(UDP)
        with Guard(self.lab) as guard:
            connection = self.connect("udp")
            connection.exchange()
            guard.end_run(signal.SIGKILL)
            self.assertFalse(guard.json("status")["daemon"])
            ipsec.flush_policies(self.lab.a, self.lab.b)
            with self.assertRaises(PermissionError):
                connection.a.send(b"in clear")
            self.assert_nothing_in_clear(connection)
            self.assertEqual(guard.counters()["clear"], 1)
            guard.start_run()
            self.assertEqual(guard.latch(connection)["state"], "BROKEN")

    def test_terminated_run_leaves_enforcement(self):
        self.protect(UDP)
        with Guard(self.lab) as guard:
            connection = self.connect("udp")
            connection.exchange()
            self.assertEqual(guard.end_run(), 0)
            ipsec.flush_policies(self.lab.a, self.lab.b)
            with self.assertRaises(PermissionError):
                connection.a.send(b"in clear")

    def test_a_reader_that_stalls_does_not_stop_run(self):
        self.protect(UDP)
        with Guard(self.lab, follow=False) as guard:
            reader, writer = os.pipe2(os.O_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, bytes(4096))
            os.set_blocking(writer, True)
            daemon = subprocess.Popen(guard._words("run", "--json"), stdout=writer)
            os.close(writer)
            wait_for("run to take over", lambda: guard.json("status")["daemon"])
            self.connect("udp").exchange()
            ipsec.states(self.lab, UDP, NEXT)
            wait_for("new SAs", lambda: self.sas(guard) == {*FIRST, *NEXT})
            daemon.terminate()
            self.assertEqual(daemon.wait(20), 0)
            os.close(reader)

    def test_table_full(self):
        self.protect(UDP)
        with Guard(self.lab, "--max-latches", "1") as guard:
            first, second = self.connect("udp"), self.connect("udp")
            first.exchange()
            second.exchange()
            self.assertIsNone(guard.latch(second))
            event = guard.wait_event(event="violation", reason="table-full")
            self.assertEqual((event["verdict"], event["latch"]), ("pass", None))
            self.assertGreater(guard.counters()["table-full"], 0)
            guard.forget()
            guard.demand_protection(17)  # UDP
            with self.assertRaises(PermissionError):
                second.a.send(b"unwatched")
            guard.wait_event(event="violation", reason="table-full", verdict="drop")
            first.exchange(b"the latched one goes on")
            last = {x["formatted"]["key"]: x["formatted"]["value"] for x in json.loads(
                run("bpftool", "-j", "map", "dump", "pinned", f"{guard.bpffs}/clatch_last").stdout)}
            self.assertEqual(last[LAST_SLOT], 1, "what found no slot was given a number")

    def test_no_room_for_nested_sas(self):
        """Refused, without a rule: what is not kept could not be held.  It goes on when there is."""
        self.protect(Shape(nested=True, upper="udp"))
        with Guard(self.lab, "--max-latches", "4") as guard:
            others = [struct.pack("<Q", 1000 + i) for i in range(4)]
            for key in others:
                guard.update("clatch_more", key, bytes(200))
            connection = self.connect("udp")
            with self.assertRaises(PermissionError):
                connection.a.send(b"not to be sent")
            guard.wait_event(event="violation", reason="table-full", verdict="drop",
                             direction="out")
            self.assertFalse(self.wire.spis() or self.wire.seen(b"not to be sent"))
            run("bpftool", "map", "delete", "pinned", f"{guard.bpffs}/clatch_more", "key", "hex",
                *(f"{byte:02x}" for byte in others[0]))
            connection.exchange()
            latch = guard.latch(connection)
            self.assertEqual(latch["state"], "ESTABLISHED")
            self.assertEqual([sa["proto"] for sa in latch["out"]["sa"]], ["ah", "esp"])

    def test_table_full_under_a_rule(self):
        """No latch, no connection: a SYN in clear does not leave for want of room either."""
        self.protect(UDP)
        with Guard(self.lab, "--max-latches", "1") as guard:
            self.connect("udp").exchange()
            guard.demand_protection(6)  # TCP
            listener = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.addCleanup(listener.close)
            listener.bind((self.lab.b.v4, 0))
            listener.listen()
            with self.lab.guarded():
                client = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            event = guard.wait_event(event="violation", proto="tcp", direction="out")
            self.assertEqual((event["reason"], event["verdict"], event["latch"]),
                             ("table-full", "drop", None))
            self.assertEqual(self.wire.ports("tcp", listener.getsockname()[1]), [])

    def sas(self, guard):
        cookie = self.lab.a.netns_cookie()  # of others run has the SAs too
        entries = [e["formatted"] for e in guard.dump("clatch_sas")]
        return {socket.ntohl(e["value"]["spi"]) for e in entries if e["key"]["netns"] == cookie}

    def test_sa_table_follows_the_kernel(self):
        self.protect(UDP)
        with Guard(self.lab) as guard:
            self.assertEqual(self.sas(guard), set(FIRST))
            ipsec.states(self.lab, UDP, NEXT)
            wait_for("new SAs", lambda: self.sas(guard) == {*FIRST, *NEXT})
            self.lab.a.ip(f"xfrm state delete src {self.lab.a.v4} dst {self.lab.b.v4} proto esp "
                          f"spi {FIRST[0]:#x}")
            wait_for("a deleted SA", lambda: self.sas(guard) == {FIRST[1], *NEXT})
            self.lab.a.ip("xfrm state flush")
            wait_for("flushed SAs", lambda: not self.sas(guard))

    def test_sa_table_recovers_from_an_overrun(self):
        """The daemon is stopped while more happens than its socket holds."""
        with Guard(self.lab) as guard:
            os.kill(guard.process.pid, signal.SIGSTOP)
            for start in range(0x10000, 0x10000 + 4000, 1000):
                self.lab.a.ip(*(f"xfrm state add src {self.lab.a.v4} dst {self.lab.b.v4} proto esp "
                                f"spi {spi:#x} {ipsec.GCM.format(spi)}"
                                for spi in range(start, start + 1000)))
            self.lab.a.ip("xfrm state flush")
            ipsec.states(self.lab, UDP, FIRST)
            os.kill(guard.process.pid, signal.SIGCONT)
            wait_for("the table to be true", lambda: self.sas(guard) == set(FIRST))

    def test_load_alone_fills_the_sa_table(self):
        self.protect(UDP)
        with Guard(self.lab, follow=False) as guard:
            self.assertEqual(self.sas(guard), set(FIRST))


if __name__ == "__main__":
    unittest.main(verbosity=2)
