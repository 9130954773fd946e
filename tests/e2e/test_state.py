# SPDX-License-Identifier: GPL-2.0-only
"""The states of RFC 5660 on real ESP: listeners, what is not established yet, ALERT, inquiry."""

import errno
import socket
import subprocess
import unittest

import ipsec
from case import FIRST
from ends import SYN_SENT, EndsCase, tcp_info
from ipsec import Shape
from lab import TCP, Connection, Guard, segment, wait_for

BASE = Shape()
V4, V6 = socket.AF_INET, socket.AF_INET6
SYN = 0x02


class Listener(EndsCase):
    def test_listen_and_close(self):
        sock, port = self.listening()
        latch = self.guard.listener(port)
        self.assertEqual((latch["proto"], latch["local"], latch["remote"], latch["state"],
                          latch["sockets"], latch["adopted"], latch["listener"]),
                         ("tcp", {"addr": self.lab.a.v4, "port": port}, None, "LISTENER", 1,
                          False, None))
        event = self.guard.wait_event(event="listening", latch=latch["id"])
        self.assertEqual((event["remote"], event["spawned"]), (None, None))
        sock.close()
        self.guard.wait_event(event="closed", latch=latch["id"])
        self.assertEqual(self.story(latch["id"]),
                         [("listening", None, "LISTENER", "listen"),
                          ("closed", "LISTENER", "CLOSED", "released")])
        self.assertEqual(self.all_latches(), [])

    def test_on_all_addresses(self):
        for family, address in (V4, "0.0.0.0"), (V6, "::"), (V6, self.lab.a.v6):
            with self.subTest(address=address):
                sock, port = self.listening(address, family=family)
                self.assertEqual(self.guard.listener(port)["local"],
                                 {"addr": address, "port": port})
                sock.close()
                self.assertIsNone(self.guard.listener(port))

    def test_listen_without_bind(self):
        """The kernel chooses the port at listen()."""
        sock = self.new_socket()
        sock.listen()
        port = sock.getsockname()[1]
        self.assertEqual(self.guard.listener(port)["local"], {"addr": "0.0.0.0", "port": port})
        sock.listen(5)  # another backlog, not another listener
        self.assertEqual(self.guard.listener(port)["sockets"], 1)
        sock.close()
        self.none_is_left()

    def test_sockets_that_share_their_port(self):
        one, port = self.listening(reuse=socket.SO_REUSEPORT)
        other, _ = self.listening(port=port, reuse=socket.SO_REUSEPORT)
        latch = self.guard.listener(port)
        self.assertEqual(latch["sockets"], 2)
        one.close()
        again = self.guard.listener(port)
        self.assertEqual((again["id"], again["sockets"]), (latch["id"], 1))
        other.close()
        self.guard.wait_event(event="closed", latch=latch["id"])
        self.assertEqual(len(self.story(latch["id"])), 2)
        self.none_is_left()

    def test_a_second_listener_on_the_same_address(self):
        """The kernel refuses it, and so there is one latch: the first one's."""
        one, port = self.listening(reuse=socket.SO_REUSEADDR, listen=False)
        other, _ = self.listening(port=port, reuse=socket.SO_REUSEADDR, listen=False)
        one.listen()
        latch = self.guard.listener(port)
        with self.assertRaises(OSError) as refused:
            other.listen()
        self.assertEqual(refused.exception.errno, errno.EADDRINUSE)
        other.close()
        self.assertEqual([(x["id"], x["sockets"]) for x in self.all_latches()],
                         [(latch["id"], 1)])
        one.close()
        self.none_is_left()

    def test_shutdown(self):
        sock, port = self.listening(port=self.next_port())
        latch = self.guard.listener(port)
        sock.shutdown(socket.SHUT_RDWR)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="released")
        self.none_is_left()
        sock.listen()  # allowed, the socket is still bound
        again = self.guard.listener(port)
        self.assertGreater(again["id"], latch["id"])
        sock.close()
        self.none_is_left()

    def test_a_bound_socket_does_not_listen(self):
        self.listening(listen=False)
        self.new_socket(kind=socket.SOCK_DGRAM).bind((self.lab.a.v4, 0))
        self.assertEqual(self.all_latches(), [])

    def test_outside_the_cgroup(self):
        sock = self.new_socket(host=self.lab.a)
        sock.bind((self.lab.a.v4, 0))
        sock.listen()
        self.assertEqual(self.all_latches(), [])

    def test_clear_connections_spawn_nothing(self):
        sock, port = self.listening()
        self.client(self.lab.a.v4, port)
        self.accept(sock)
        self.assertEqual([x["state"] for x in self.all_latches()], ["LISTENER"])

    def spawn(self, sock, address, port, family=V4):
        """A protected connection to a listener: its latch as shown, and the listener's."""
        client = self.client(address, port, family=family)
        accepted = self.accept(sock)
        client.send(b"to the listener")
        self.assertEqual(accepted.recv(100), b"to the listener")
        latch = [x for x in self.all_latches() if x["remote"] and x["local"]["port"] == port and
                 x["remote"]["port"] == client.getsockname()[1]][0]
        return self.show(latch), self.guard.listener(port)

    def check_spawned(self, latch, listener):
        """R19: the listener's event names the latch, and the latch its listener."""
        self.assertEqual((latch["listener"], latch["state"]), (listener["id"], "ESTABLISHED"))
        event = self.guard.wait_event(event="listening", latch=listener["id"],
                                      spawned=latch["id"])
        self.assertEqual((event["old_state"], event["state"], event["cause"]),
                         ("LISTENER", "LISTENER", "packet"))
        self.assertEqual(event["local"], listener["local"])
        for state in "LARVAL", "ESTABLISHED":
            self.guard.wait_event(event="latched", latch=latch["id"], state=state,
                                  listener=listener["id"])

    def test_spawns(self):
        self.protect(BASE)
        sock, port = self.listening()
        for _ in range(3):
            self.check_spawned(*self.spawn(sock, self.lab.a.v4, port))

    def test_spawns_ipv6(self):
        self.protect(Shape(family=V6))
        sock, port = self.listening("::", family=V6)
        self.check_spawned(*self.spawn(sock, self.lab.a.v6, port, V6))

    def test_a_listener_on_all_ipv6_addresses_serves_ipv4(self):
        self.protect(BASE)
        sock, port = self.listening("::", family=V6)
        latch, listener = self.spawn(sock, self.lab.a.v4, port)
        self.check_spawned(latch, listener)
        self.assertEqual(listener["local"]["addr"], "::")
        self.assertEqual((latch["local"], latch["remote"]["addr"]),
                         ({"addr": self.lab.a.v4, "port": port}, self.lab.b.v4))

    def test_close_leaves_the_connections(self):
        self.protect(BASE)
        sock, port = self.listening()
        latch, listener = self.spawn(sock, self.lab.a.v4, port)
        sock.close()
        self.guard.wait_event(event="closed", latch=listener["id"], cause="released")
        self.assertEqual([x["id"] for x in self.all_latches()], [latch["id"]])

    def test_status_counts(self):
        self.protect(BASE)
        one, port = self.listening()
        self.listening()
        self.spawn(one, self.lab.a.v4, port)
        self.spawn(one, self.lab.a.v4, port)

        def counts():
            status = self.guard.json("status")
            return status["latches"], status["listeners"], status["broken"]

        self.assertEqual(counts(), (2, 2, 0))
        for latch in self.all_latches():
            if latch["remote"]:
                self.wait_policed(latch)
        ipsec.flush_policies(self.lab.a)
        wait_for("both to be broken", lambda: counts() == (2, 2, 2))


class Older(EndsCase):
    """Listeners that were there before the guard."""

    guard_options = None

    def adopted(self):
        self.protect(BASE)
        sock, port = self.listening()
        self.guard = Guard(self.lab)
        self.addCleanup(self.guard.close)
        self.assertEqual(self.all_latches(), [])
        client = self.client(self.lab.a.v4, port)
        listener = self.guard.listener(port)
        self.assertTrue(listener["adopted"])
        latch = [x for x in self.all_latches() if x["remote"]][0]
        self.guard.wait_event(event="listening", latch=listener["id"], spawned=latch["id"])
        self.assertEqual(self.story(listener["id"]),
                         [("listening", None, "LISTENER", "listen"),
                          ("listening", "LISTENER", "LISTENER", "packet")])
        self.assertEqual(latch["listener"], listener["id"])
        self.assertFalse(latch["adopted"])
        return sock, listener, client

    def test_closed(self):
        sock, listener, _ = self.adopted()
        sock.close()
        self.guard.wait_event(event="closed", latch=listener["id"], cause="released")
        self.assertIsNone(self.guard.listener(listener["local"]["port"]))

    def test_shut_down_and_closed(self):
        sock, listener, _ = self.adopted()
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        self.guard.wait_event(event="closed", latch=listener["id"], cause="released")
        self.assertIsNone(self.guard.listener(listener["local"]["port"]))


class Early(EndsCase):
    """Under a rule that demands protection: what is before it is there."""

    def setUp(self):
        super().setUp()
        self.guard.demand_protection(TCP)
        self.addCleanup(self.guard.demand_protection, TCP, False)

    def begin(self):
        """The guarded host connects and cannot yet."""
        peer = self.new_socket(host=self.lab.b)
        peer.bind((self.lab.b.v4, self.next_port()))
        peer.listen()
        client = self.new_socket()
        client.bind((self.lab.a.v4, self.next_port()))
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.connect(peer.getsockname())
        connection = Connection.__new__(Connection)
        connection.proto = "tcp"
        connection.own, connection.peer = client.getsockname(), peer.getsockname()
        connection.a, connection.listener = client, peer
        return connection

    def finish(self, connection):
        connection.a.settimeout(40)
        wait_for("the connection", lambda: connection.a.connect_ex(connection.peer) in (0, 106))
        connection.b = self.accept(connection.listener)
        self.linger(connection.a)
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["demanded"], latch["rule"]),
                         ("ESTABLISHED", True, "all"))
        self.assert_nothing_in_clear(connection)

    def refuse_forged_syn(self, connection):
        """A SYN would move a socket that is in SYN_SENT on to SYN_RECV."""
        raw = self.lab.b.socket(V4, socket.SOCK_RAW, TCP)
        self.addCleanup(raw.close)
        raw.sendto(segment(connection.peer, connection.own, SYN), (self.lab.a.v4, 0))
        latch = self.guard.latch(connection)
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="clear", verdict="drop")
        self.assertEqual(tcp_info(connection.a, 0, 1), SYN_SENT)

    def test_no_clear_syn_and_no_early_inbound(self):
        connection = self.begin()
        latch = self.guard.latch(connection)
        event = self.guard.wait_event(event="violation", latch=latch["id"], direction="out")
        self.assertEqual((event["reason"], event["verdict"]), ("clear", "drop"))
        self.refuse_forged_syn(connection)
        self.assert_nothing_in_clear(connection)
        self.protect(BASE)
        self.finish(connection)
        self.assertEqual(self.story(latch["id"]),
                         [("latched", None, "LARVAL", "rule"),
                          ("broken", "LARVAL", "BROKEN", "out-clear"),
                          ("latched", "BROKEN", "BROKEN", "packet"),
                          ("restored", "BROKEN", "LARVAL", "out-clear"),
                          ("latched", "LARVAL", "ESTABLISHED", "packet")])

    def test_waiting_for_an_sa_is_like_loss(self):
        """With a policy and no SA the kernel asks the IKE daemon for one, and holds the SYN."""
        monitor = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.lab.a.name}", "ip", "xfrm",
                                    "monitor", "acquire"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(monitor.stdout.close)
        self.addCleanup(monitor.wait)
        self.addCleanup(monitor.terminate)
        wait_for("the monitor", lambda: " 00000001 " in self.lab.a.run(
            "cat", f"/proc/{monitor.pid}/net/netlink").stdout)
        ipsec.policies(self.lab, BASE)
        connection = self.begin()
        self.assertIn("acquire", monitor.stdout.readline())
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["out"]["packets"]), ("LARVAL", 0))
        self.assertEqual(self.wire.spis(), set())
        ipsec.states(self.lab, BASE, FIRST)
        self.finish(connection)
        self.assertEqual(self.story(latch["id"]),
                         [("latched", None, "LARVAL", "rule"),
                          ("latched", "LARVAL", "LARVAL", "packet"),
                          ("latched", "LARVAL", "ESTABLISHED", "packet")])

    def test_a_clear_syn_to_a_listener(self):
        sock, port = self.listening()
        client = self.new_socket(host=self.lab.b)
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.connect((self.lab.a.v4, port))
        event = self.guard.wait_event(event="violation", direction="in", reason="clear")
        self.assertEqual((event["latch"], event["verdict"], event["local"]["port"]),
                         (None, "drop", port))
        self.assertEqual([x["state"] for x in self.all_latches()], ["LISTENER"])
        self.assertFalse(self.wire.ports("tcp", port), "it was answered")
        self.protect(BASE)
        self.accept(sock)
        self.assertFalse(self.wire.ports("tcp", port))
        latch = [x for x in self.all_latches() if x["remote"]][0]
        self.assertEqual((latch["state"], latch["rule"]), ("ESTABLISHED", "all"))

    def test_a_connect_that_is_given_up(self):
        connection = self.begin()
        latch = self.guard.latch(connection)
        connection.a.close()
        self.guard.wait_event(event="closed", latch=latch["id"], cause="released")
        self.assertIsNone(self.guard.latch(connection))


class Alert(EndsCase):
    """Every transition is an event, in order."""

    def quiet(self, connection):
        """Until nothing is on its way that a policy's end would catch."""
        for one in connection.a, connection.b:
            wait_for("the last acknowledgement", lambda one=one: not tcp_info(one, 24, 4))

    def test_client(self):
        self.protect(BASE)
        connection = self.connect()
        connection.exchange()
        latch = self.guard.latch(connection)["id"]
        self.wait_policed({"id": latch})
        self.quiet(connection)
        ipsec.flush_policies(self.lab.a)
        self.guard.wait_event(event="broken", latch=latch, cause="policy")
        ipsec.flush_policies(self.lab.b)
        ipsec.policies(self.lab, BASE)
        self.guard.wait_event(event="restored", latch=latch)
        connection.exchange()
        self.hang_up(connection)
        self.guard.wait_event(event="closed", latch=latch)
        self.assertEqual(self.story(latch), [("latched", None, "LARVAL", "packet"),
                                             ("latched", "LARVAL", "ESTABLISHED", "packet"),
                                             ("broken", "ESTABLISHED", "BROKEN", "policy"),
                                             ("restored", "BROKEN", "ESTABLISHED", "policy"),
                                             ("closed", "ESTABLISHED", "CLOSED", "released")])

    def test_server(self):
        self.protect(BASE)
        connection = self.connect(server=True)
        connection.exchange()
        latch, listener = self.guard.latch(connection), self.guard.listener(connection.own[1])
        self.hang_up(connection)
        connection.listener.close()
        for one in latch, listener:
            self.guard.wait_event(event="closed", latch=one["id"])
        self.assertEqual(self.story(listener["id"]),
                         [("listening", None, "LISTENER", "listen"),
                          ("listening", "LISTENER", "LISTENER", "packet"),
                          ("closed", "LISTENER", "CLOSED", "released")])
        self.assertEqual(self.story(latch["id"]),
                         [("latched", None, "LARVAL", "packet"),
                          ("latched", "LARVAL", "ESTABLISHED", "packet"),
                          ("closed", "ESTABLISHED", "CLOSED", "released")])
        directions = [e["direction"] for e in self.guard.events
                      if e["event"] == "latched" and e["latch"] == latch["id"]]
        self.assertEqual(directions, ["in", "out"])

    def test_a_second_cause(self):
        """Found by `run`, and then by a packet: two causes, two events, one way back."""
        connection, latch, shape = self.latched(BASE, "udp")
        ipsec.flush_policies(self.lab.a)
        self.guard.wait_event(event="broken", latch=latch["id"], cause="policy")
        with self.assertRaises(PermissionError):
            connection.a.send(b"in clear")
        event = self.guard.wait_event(event="broken", latch=latch["id"], cause="out-clear")
        self.assertEqual((event["old_state"], event["state"], event["causes"]),
                         ("BROKEN", "BROKEN", ["out-clear", "policy"]))
        self.assertEqual(self.show(latch)["causes"], ["out-clear", "policy"])
        ipsec.flush_policies(self.lab.b)
        ipsec.policies(self.lab, shape)
        event = self.guard.wait_event(event="restored", latch=latch["id"])
        self.assertEqual((event["old_state"], event["state"], event["causes"]),
                         ("BROKEN", "ESTABLISHED", ["out-clear", "policy"]))
        connection.exchange()

    def test_rejected_connection(self):
        """The peer resets the SYN: the latch is released."""
        self.protect(BASE)
        client = self.new_socket()
        client.bind((self.lab.a.v4, 0))
        port = client.getsockname()[1]
        with self.assertRaises(ConnectionRefusedError):
            client.connect((self.lab.b.v4, 9))
        event = self.guard.wait_event(event="closed", cause="released")
        self.assertEqual((event["local"]["port"], event["remote"]["port"]), (port, 9))
        self.assertEqual(self.all_latches(), [])
        self.assertFalse(self.wire.ports("tcp", port))

    def test_a_syn_to_no_listener(self):
        self.protect(BASE)
        with self.assertRaises(ConnectionRefusedError):
            self.client(self.lab.a.v4, 9)
        self.assertEqual(self.all_latches(), [])

    def test_a_client_that_times_out(self):
        self.protect(BASE)
        self.lab.a.run("sysctl", "-qw", "net.ipv4.tcp_syn_retries=1")
        self.addCleanup(self.lab.a.run, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=6")
        self.lab.b.run("nft", "-f", "-", input="table inet d { chain i { type filter hook input "
                       "priority 0; meta l4proto esp counter drop\n }\n }\n")
        self.addCleanup(self.lab.b.run, "nft", "flush", "ruleset")
        with self.assertRaises(TimeoutError) as error:
            self.new_socket().connect((self.lab.b.v4, 9))
        self.assertEqual(error.exception.errno, errno.ETIMEDOUT)
        latch = self.guard.wait_event(event="latched")["latch"]
        self.guard.wait_event(event="closed", latch=latch)
        self.assertEqual(self.story(latch), [("latched", None, "LARVAL", "packet"),
                                             ("closed", "LARVAL", "CLOSED", "released")])
        self.assertEqual(self.all_latches(), [])


class Expire(EndsCase):
    def test_a_handshake_that_comes_to_nothing(self):
        """Its SYN comes from nobody: the peer resets the SYN-ACK, which no hook sees."""
        self.protect(BASE)
        _, port = self.listening()
        raw = self.lab.b.socket(V4, socket.SOCK_RAW, TCP)
        self.addCleanup(raw.close)
        raw.sendto(segment((self.lab.b.v4, 1234), (self.lab.a.v4, port), SYN), (self.lab.a.v4, 0))
        latch = self.guard.wait_event(event="latched", direction="in")["latch"]
        self.assertIn(latch, [x["id"] for x in self.all_latches()])
        event = self.guard.wait_event(100, event="closed", latch=latch)
        self.assertEqual(event["cause"], "expired")
        self.assertEqual([x["state"] for x in self.all_latches()], ["LISTENER"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
