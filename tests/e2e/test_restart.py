# SPDX-License-Identifier: GPL-2.0-only
"""`run` killed, stopped and started again, on real ESP: no latch is lost, nothing leaks."""

import json
import os
import random
import signal
import socket
import threading
import time
import unittest

import ipsec
from case import FIRST, NEXT, Case
from ipsec import Shape
from layout import ESTABLISHED, LISTENER, latch, tuple_of
from lab import TCP, UDP, Guard, run, segment, wait_for
from stream import Stream

BASE = Shape()
SYN = 0x02


class RestartCase(Case):
    """A guard for each test: it is ended in the middle, and what it left is looked at."""

    guard_options = None

    def setUp(self):
        super().setUp()
        self.guard = Guard(self.lab)
        self.addCleanup(self.guard.close)
        self.streams = []

    def ids(self):
        return sorted(x["id"] for x in self.guard.json("list")["latches"])

    def set_up(self, shape=BASE, **more):
        connection = self.connect(shape.upper, **more)
        connection.exchange()
        self.wait_policed(self.guard.latch(connection))
        return connection

    def stream(self, **more):
        connection = self.set_up(**more)
        self.streams.append(Stream(connection))
        return connection

    def all_go_on(self):
        for stream in self.streams:
            stream.goes_on()

    def check_streams(self):
        """All that was sent arrived, and nothing else; not a byte of it in clear."""
        for stream in self.streams:
            self.assertTrue(stream.end(), "not what was sent arrived")
            self.assert_nothing_in_clear(stream.connection)
        self.assertFalse(self.wire.seen(b"record "))

    def kill(self):
        self.guard.end_run(signal.SIGKILL)
        self.assertFalse(self.guard.json("status")["daemon"])

    def start(self):
        self.guard.forget()
        self.guard.start_run()

    def closed(self):
        return [e for e in self.guard.events if e["event"] == "closed"]


class Killed(RestartCase):
    def end_run(self):
        self.kill()

    def test_while_all_is_well(self):
        self.protect(BASE)
        self.stream()
        self.stream(server=True)
        before = self.ids()
        self.assertEqual(len(before), 3)  # with the listener
        self.end_run()
        self.all_go_on()
        self.assertEqual(self.ids(), before)
        self.start()
        self.all_go_on()
        ipsec.rekey(self.lab, BASE, FIRST, NEXT)
        self.all_go_on()
        self.assertEqual(self.ids(), before)
        self.assertEqual(self.closed(), [])
        self.check_streams()
        self.assertEqual(sum(self.guard.counters().values()), 0)

    def test_during_a_conflict(self):
        """It stays broken while nobody is there; the next run finds the conflict gone."""
        self.protect(BASE)
        connection = self.stream()
        before = self.ids()
        ipsec.flush_policies(self.lab.a)
        latch = self.guard.latch(connection)["id"]
        self.guard.wait_event(event="broken", latch=latch, cause="policy")
        self.end_run()
        self.assertIn("policy", self.guard.latch(connection)["causes"])
        ipsec.flush_policies(self.lab.b)
        ipsec.policies(self.lab, BASE)
        time.sleep(1)
        self.assertEqual(self.guard.latch(connection)["state"], "BROKEN")
        self.start()
        event = self.guard.wait_event(event="restored", latch=latch)
        self.assertIn("policy", event["causes"])
        self.all_go_on()
        self.assertEqual((self.ids(), self.closed()), (before, []))
        self.check_streams()

    def test_a_conflict_while_nobody_is_there(self):
        """Streams are held all the same; what sends nothing is broken by the next run."""
        self.protect(BASE)
        idle, busy = self.set_up(), self.stream()
        before = self.ids()
        self.end_run()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.wait_state(busy, "BROKEN")
        self.assertEqual(self.guard.latch(busy)["causes"], ["out-clear"])
        self.assertEqual(self.guard.latch(idle)["state"], "ESTABLISHED")
        self.start()
        for connection, old_state in (idle, "ESTABLISHED"), (busy, "BROKEN"):
            event = self.guard.wait_event(event="broken", cause="policy",
                                          latch=self.guard.latch(connection)["id"])
            self.assertEqual((event["old_state"], event["reason"]), (old_state, "clear"))
        ipsec.policies(self.lab, BASE)
        for connection in idle, busy:
            self.wait_state(connection, "ESTABLISHED")
        self.all_go_on()
        idle.exchange()
        self.assertEqual((self.ids(), self.closed()), (before, []))
        self.check_streams()

    def test_a_conflict_that_came_and_went(self):
        self.protect(BASE)
        connection = self.stream()
        self.end_run()
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.wait_state(connection, "BROKEN")
        ipsec.policies(self.lab, BASE)
        self.wait_state(connection, "ESTABLISHED")  # by its own packet
        self.start()
        self.all_go_on()
        self.check_streams()

    def test_at_any_moment(self):
        """Policies come and go, SAs are exchanged, and run is ended somewhere in between."""
        self.protect(BASE)
        self.stream()
        self.stream(server=True)
        before, spis = self.ids(), [FIRST]
        for number in range(4):
            changes = threading.Thread(target=self.change, args=(number, spis))
            changes.start()
            time.sleep(random.random() / 2)
            self.end_run()
            changes.join()
            self.start()
        self.all_go_on()
        self.assertEqual(self.ids(), before)
        self.check_streams()

    def change(self, number, spis):
        ipsec.flush_policies(self.lab.a, self.lab.b)
        spis.append((0x5001 + number, 0x6001 + number))
        ipsec.rekey(self.lab, BASE, *spis[-2:])
        time.sleep(0.2)
        ipsec.policies(self.lab, BASE)


class Stopped(Killed):
    """The same where run ends as it should."""

    def end_run(self):
        self.assertEqual(self.guard.end_run(), 0)
        self.assertFalse(self.guard.json("status")["daemon"])


class Reconcile(RestartCase):
    """Latches whose connection went away unseen."""

    def forge(self, number, local, remote, proto=TCP, state=ESTABLISHED):
        """A latch of a connection that there is not."""
        self.guard.update("clatch_latches",
                          tuple_of(self.lab.a.netns_cookie(), local, remote, proto),
                          latch(number, state, cookie=77))

    def everything(self):
        """One latch of every kind, by name."""
        client, server = self.set_up(), self.set_up(server=True)
        mapped = self.connect(mapped=True)
        six = self.connect(family=socket.AF_INET6)
        udp = self.connect("udp")
        time_wait, closing = self.set_up(), self.set_up()
        for connection in mapped, six, udp:
            connection.exchange()
        time_wait.a.close()
        self.assertEqual(time_wait.b.recv(1), b"")
        time_wait.b.close()
        closing.a.shutdown(socket.SHUT_WR)  # FIN_WAIT2
        self.assertEqual(closing.b.recv(1), b"")
        connections = {"client": client, "server": server, "mapped": mapped, "IPv6": six,
                       "UDP": udp, "TIME_WAIT": time_wait, "FIN_WAIT2": closing}
        latches = {name: self.guard.latch(c) for name, c in connections.items()}
        latches["listener"] = self.guard.listener(server.own[1])
        for name, latch in latches.items():
            self.assertIsNotNone(latch, name)
        return latches

    def protect(self):
        """TCP and UDP, IPv4 and IPv6: one SA for both transports."""
        for family in socket.AF_INET, socket.AF_INET6:
            ipsec.states(self.lab, Shape(family=family), FIRST)
            for upper in "tcp", "udp":
                ipsec.policies(self.lab, Shape(family=family, upper=upper))

    def test_what_is_gone_goes_and_what_is_there_stays(self):
        self.protect()
        kept = self.everything()
        a, b = self.lab.a, self.lab.b
        gone = {900: ((a.v4, 5001), (b.v4, 5002)), 901: ((a.v6, 5001), (b.v6, 5002)),
                902: ((a.v4, 5003), ("::", 0)), 903: (("::", 5004), ("::", 0)),
                904: ((a.v4, 5005), (b.v4, 5006)), 905: ((a.v4, kept["server"]["local"]["port"]),
                                                         (b.v4, 5007))}
        self.kill()
        for number, (local, remote) in gone.items():
            self.forge(number, local, remote, UDP if number == 904 else TCP,
                       ESTABLISHED if remote[1] else LISTENER)
        self.assertEqual(self.ids(), sorted([*gone, *(x["id"] for x in kept.values())]))
        self.start()
        for number in gone:
            event = self.guard.wait_event(event="closed", latch=number)
            self.assertEqual((event["cause"], event["state"]), ("gone", "CLOSED"))
        self.assertEqual({e["latch"] for e in self.closed()}, set(gone))
        self.assertEqual(self.ids(), sorted(x["id"] for x in kept.values()))

    def test_a_handshake_under_way_stays(self):
        self.protect()
        connection = self.set_up(server=True)
        self.lab.b.run("nft", "-f", "-", input="table inet d { chain i { type filter hook input "
                       "priority 0; meta l4proto esp counter drop\n }\n }\n")
        self.addCleanup(self.lab.b.run, "nft", "flush", "ruleset")
        raw = self.lab.b.socket(socket.AF_INET, socket.SOCK_RAW, TCP)
        self.addCleanup(raw.close)
        raw.sendto(segment((self.lab.b.v4, 1234), connection.own, SYN), (self.lab.a.v4, 0))
        wait_for("its latch", lambda: len(self.ids()) == 3)
        before = self.ids()
        self.kill()
        self.forge(999, (self.lab.a.v4, 5001), (self.lab.b.v4, 5002))  # its end shows run's work
        self.start()
        self.guard.wait_event(event="closed", latch=999)
        self.assertEqual(self.ids(), before)

    def test_a_connection_on_the_same_ports_is_not_mistaken(self):
        """UDP: the latch is of another socket, which is gone; its ports are in use again."""
        self.protect()
        self.kill()
        self.forge(900, (self.lab.a.v4, 5001), (self.lab.b.v4, 5002), UDP)
        with self.lab.guarded():
            sock = self.lab.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind((self.lab.a.v4, 5001))
        sock.connect((self.lab.b.v4, 5002))
        self.start()
        self.guard.wait_event(event="closed", latch=900, cause="gone")


class Unload(RestartCase):
    def ours(self):
        return [x["id"] for kind in ("prog", "map") for x in
                self.bpftool(kind, "show") if x.get("name", "").startswith(("clatch", ".data.clatch"))]

    @staticmethod
    def bpftool(*words):
        return json.loads(run("bpftool", "-j", *words).stdout)

    def spd_and_sad(self):
        return [self.lab.a.run("ip", "xfrm", what).stdout for what in ("policy", "state")]

    def test_leaves_nothing(self):
        """And until then clatch has changed nothing in the SPD or the SAD (R1, R13)."""
        self.protect(BASE)
        before = self.spd_and_sad()
        self.stream()
        self.all_go_on()
        self.kill()
        self.start()
        self.assertEqual([self.without_use(x) for x in self.spd_and_sad()],
                         [self.without_use(x) for x in before])
        self.check_streams()
        self.guard.end_run()
        self.assertTrue(self.ours())
        self.guard.loader("unload")
        self.assertFalse(os.path.exists(self.guard.bpffs))
        wait_for("the kernel to free all", lambda: not self.ours())
        self.assertEqual([self.without_use(x) for x in self.spd_and_sad()],
                         [self.without_use(x) for x in before])
        self.guard.loader("load", "--cgroup", self.lab.cgroup)  # for close()

    @staticmethod
    def without_use(text):
        """Less what traffic changes."""
        return [line for line in text.splitlines() if "seq 0x" not in line and
                "lastused" not in line]

    def test_under_run(self):
        self.guard.loader("unload")
        self.assertEqual(self.guard.process.wait(20), 0)
        self.assertFalse(os.path.exists(self.guard.bpffs))
        self.guard.loader("load", "--cgroup", self.lab.cgroup)  # for close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
