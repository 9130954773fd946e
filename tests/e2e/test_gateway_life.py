# SPDX-License-Identifier: GPL-2.0-only
"""How a forwarded connection begins and ends where no socket tells, and what becomes of devices."""

import contextlib
import socket
import struct

from case import NEXT
from gateway import GatewayCase, Tunnel
import ipsec
from lab import Guard, Wire, segment, wait_for

STAGES = ("new", "opening", "open", "ended", "reset", "datagrams")
MARK_MASK = 0x3000
SYN, RST, ACK = 2, 4, 16


class LifeCase(GatewayCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.still)

    def still(self, **seconds):
        """How long a connection may be still, by its stage; an hour where it is not said."""
        times = [int(seconds.get(stage, 3600) * 1e9) for stage in STAGES]
        self.guard.update("clatch_gateway", bytes(4), struct.pack("=II6Q", MARK_MASK, 0, *times))

    def forwards(self):
        return [entry["formatted"] for entry in self.guard.dump("clatch_forwards")]

    def stage(self, connection):
        """What is known of the connection's end."""
        for entry in self.forwards():
            if (entry["key"]["local_port"], entry["key"]["remote_port"]) == (
                    connection.own[1], connection.peer[1]):
                return STAGES[entry["value"]["stage"]]
        return None

    def closed(self, latch, cause):
        self.guard.wait_event(event="closed", latch=latch["id"], cause=cause)

    def forge(self, connection, flags, seq=1, ack=1):
        """A segment of the connection that its peer's socket did not send."""
        raw = self.lab.b.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.addCleanup(raw.close)
        raw.bind((connection.peer[0], 0))
        raw.sendto(segment(connection.peer, connection.own, flags, seq, ack),
                   (connection.own[0], 0))

    @staticmethod
    def reset(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


class Life(LifeCase):
    def test_both_ends_close(self):
        connection, latch = self.latched()
        self.still(ended=0.2)
        connection.a.close()
        self.assertEqual(connection.b.recv(1), b"")
        self.assertEqual(self.stage(connection), "open")  # half closed
        connection.b.close()
        self.closed(latch, "released")
        wait_for("its record to go", lambda: not self.stage(connection))

    def test_the_container_resets(self):
        connection, latch = self.latched()
        self.still(reset=0.2)
        self.reset(connection.a)
        self.closed(latch, "released")

    def test_the_peer_resets(self):
        connection, latch = self.latched()
        self.still(reset=0.2)
        self.reset(connection.b)
        self.closed(latch, "released")

    def test_a_reset_that_nobody_believes(self):
        connection, latch = self.latched()
        before = self.guard.latch(connection)["in"]["packets"]
        self.forge(connection, RST)
        wait_for("it to pass", lambda: self.guard.latch(connection)["in"]["packets"] > before)
        self.assertEqual(self.stage(connection), "open")
        self.wait_passed(connection, b"goes on")

    def test_a_syn_from_outside_ends_nothing(self):
        connection, latch = self.latched()
        self.forge(connection, SYN)
        self.wait_passed(connection, b"goes on")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def test_a_syn_that_nobody_answers(self):
        Tunnel().install(self.lab)
        self.still(opening=0.5)
        sock = self.lab.containers[0].socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.setblocking(False)
        sock.connect_ex(("10.8.2.77", 9))
        latched = self.guard.wait_event(event="latched", state="LARVAL")
        self.addCleanup(self.still)
        sock.close()
        self.closed({"id": latched["latch"]}, "expired")

    def test_still_datagrams(self):
        connection, latch = self.latched(proto="udp")
        self.assertEqual(self.stage(connection), "datagrams")
        self.still(datagrams=0.2)
        # the record's timer runs for the time that was allowed when it was set
        other = self.connect("udp")
        other.exchange(b"begins with the new time")
        self.closed({"id": self.guard.wait_event(event="latched")["latch"]}, "released")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def test_without_timers(self):
        """As 6.18 has none beyond some hundreds."""
        Tunnel().install(self.lab)
        with self.guard.no_timers("clatch_forwards"):
            lives, ends = self.connect(), self.connect()
            for connection in (lives, ends):
                connection.exchange()
        latch = self.guard.latch(ends)
        self.assertEqual({entry["key"]["local_port"] for entry in self.forwards()
                          if entry["value"]["untimed"]}, {lives.own[1], ends.own[1]})
        self.still(ended=0.2)
        ends.a.close()
        self.assertEqual(ends.b.recv(1), b"")
        ends.b.close()
        self.closed(latch, "released")
        wait_for("its record to go", lambda: not self.stage(ends))
        self.assertEqual(self.stage(lives), "open")
        lives.exchange(b"lives on")

    def test_ports_used_again(self):
        """A SYN of the container's is a new connection: under another peer, if that is so now."""
        connection, latch = self.latched()
        self.lab.containers[0].ip("link set eth0 down")  # it forgets its end without a word
        self.reset(connection.a)
        self.lab.containers[0].ip("link set eth0 up", "route add default via 10.7.1.1")
        ipsec.flush(self.lab.a, self.lab.b)
        Tunnel(reqid=9).install(self.lab, NEXT)
        self.reset(connection.b)
        again = self.lab.containers[0].socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(again.close)
        again.settimeout(20)
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(connection.own)
        again.connect(connection.peer)
        self.closed(latch, "replaced")
        now = wait_for("its latch", lambda: self.guard.latch(connection))
        self.assertEqual(now["out"]["sa"][0]["reqid"], 9)
        self.assertNotEqual(now["id"], latch["id"])

    def test_clear_connections_leave_records_but_no_latch(self):
        connection = self.connect(inner=False)
        connection.exchange(b"in clear")
        self.assertEqual(self.stage(connection), "open")
        self.assertIsNone(self.guard.latch(connection))


class WithoutRun(LifeCase):
    follow = False

    def test_one_that_only_receives(self):
        """What the peer repeats makes the container answer, and that shows that all is well."""
        connection, _ = self.latched()
        out = f"src 10.7.0.0/16 dst {self.lab.b.net4} dir out"
        self.lab.a.ip(f"xfrm policy delete {out}")
        connection.b.send(b"arrives")
        self.assertEqual(connection.receive(connection.a, 7), b"arrives")
        self.wait_state(connection, "BROKEN")
        self.lab.a.ip(f"xfrm policy add {out} priority 1000 tmpl src {self.lab.a.v4} "
                      f"dst {self.lab.b.v4} proto esp reqid 7 mode tunnel")
        self.wait_state(connection, "ESTABLISHED")
        connection.b.send(b"more")
        self.assertEqual(connection.receive(connection.a, 4), b"more")
        self.assert_nothing_in_clear(connection)


class Devices(LifeCase):
    def status(self):
        return self.guard.json("status")

    def test_veth_deleted_and_made_again(self):
        """A container that is started again has another veth, and the same address."""
        container = self.lab.containers[0]
        connection, latch = self.latched()
        self.lab.a.ip(f"link del {container.veth}")
        self.assertEqual(self.status()["gone"]["veths"], [container.veth])
        self.guard.loader("detach", "--gone")
        self.assertEqual((self.status()["gone"]["veths"], self.status()["veths"]), ([], []))
        container.plug(1)
        self.guard.loader("attach", "--veth", container.veth)
        self.assertEqual(self.status()["veths"], [container.veth])
        self.wait_passed(connection, b"the same connection")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def test_uplink_renamed_down_and_up(self):
        a, b = self.lab.a, self.lab.b
        connection, latch = self.latched()
        self.addCleanup(self.named_as_before)
        a.ip("link set a0 down", "link set a0 name up0", "link set up0 up",
             f"route replace {b.net4} via {b.v4} src {a.inner4}")
        self.assertEqual(self.status()["uplinks"], ["up0"])
        wire = Wire(a, "up0")
        self.addCleanup(wire.close)
        ipsec.flush_policies(a, b)
        connection.a.send(b"must not be seen")
        self.guard.wait_event(event="violation", latch=latch["id"], reason="clear",
                              direction="out")
        self.assertFalse(wire.seen(b"must not be seen"))

    def named_as_before(self):
        a, b = self.lab.a, self.lab.b
        a.ip("link set up0 down", "link set up0 name a0", "link set a0 up",
             f"route replace {b.net4} via {b.v4} src {a.inner4}",
             f"addr add {a.v6}/64 dev a0 nodad",
             f"route replace {b.net6} via {b.v6} src {a.inner6}")
        with contextlib.suppress(OSError):  # the capture is told that its device was down
            self.wire.read()

    def qdiscs(self):
        return self.lab.a.run("tc", "qdisc", "show").stdout.count("clsact")

    def test_a_device_in_two_roles(self):
        """Each goes by itself; the qdisc goes with the last."""
        before = self.qdiscs()
        veth = self.lab.containers[1].veth
        self.guard.loader("attach", "--dev", veth)
        self.guard.loader("attach", "--veth", veth)
        self.assertEqual(self.qdiscs(), before + 1)
        self.guard.loader("detach", "--dev", veth)
        self.assertIn(veth, self.status()["veths"])
        self.assertEqual(self.qdiscs(), before + 1)
        self.guard.loader("detach", "--veth", veth)
        self.assertEqual(self.qdiscs(), before)

    def test_half_of_it(self):
        """An instance with a veth and no uplink holds nothing, and says so."""
        with Guard(self.lab, dev=False, cgroup=False, follow=False,
                   bpffs=f"{self.guard.bpffs}-2") as other:
            done = other.loader("attach", "--veth", self.lab.containers[1].veth)
            self.assertIn("No uplink is guarded", done.stderr)
            done = other.loader("attach", "--uplink", "a0")
            self.assertEqual(done.stderr, "")
        self.assertIn("clsact", self.lab.a.run("tc", "qdisc", "show", "dev", "a0").stdout)
