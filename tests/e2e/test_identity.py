# SPDX-License-Identifier: GPL-2.0-only
"""Who is at the other end: strongSwan with certificates, and a third host that takes the peer's
address."""

import os
import pathlib
import socket
import struct
import time
import unittest

import ike
from case import Case
from lab import TCP, Guard, segment, wait_for
from stream import Stream

REKEYS = int(os.environ.get("REKEYS", "20"))  # and a fifth as many reauthentications; 100 by VM_ENV
NFT = pathlib.Path(__file__).resolve().parent.parent / "bench/latch.nft"
PSH_ACK, RST = 0x18, 0x04
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
RECV_QUEUE, SEND_QUEUE, REPAIR_OFF = 1, 2, -1
FORGED = b"from web7"
BEFORE, HELD, AFTER = (word * 1000 for word in (b"before ", b"while held ", b"after "))


def numbers(sock):
    """The sequence numbers of the next byte in, and of the next byte out."""
    def of(queue):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        return sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xffffffff

    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    both = of(RECV_QUEUE), of(SEND_QUEUE)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF)
    return both


class DaemonCase(Case):
    """app3.example is the guarded host, which accepts all whom the authority certified."""

    guard_options = None
    own_settings, peer_settings = {}, {}

    def setUp(self):
        super().setUp()
        self.daemons = self.enterContext(ike.Daemons(self.lab))
        self.own = self.daemons.start(self.lab.a, ike.GUARDED, **self.own_settings)
        self.peer = self.daemons.start(self.lab.b, ike.PEER, **self.peer_settings)

    def take_over(self):
        """web7.example has the peer's cable, and SAs; it, and its daemon."""
        newcomer = ike.Newcomer(self.lab)
        self.addCleanup(newcomer.close)
        newcomer.plug()
        daemon = self.daemons.start(newcomer, ike.NEWCOMER)
        daemon.initiate()
        return newcomer, daemon

    def forge(self, newcomer, connection):
        """What web7 sends into the old connection, as the peer would: bytes, and a reset."""
        seq, ack = numbers(connection.a)
        raw = newcomer.socket(socket.AF_INET, socket.SOCK_RAW, TCP)
        self.addCleanup(raw.close)
        for flags, at, data in (PSH_ACK, seq, FORGED), (RST, seq + len(FORGED), b""):
            raw.sendto(segment(connection.peer, connection.own, flags, at & 0xffffffff, ack, data),
                       (self.lab.a.v4, 0))

    def give_back(self, newcomer, daemon):
        daemon.stop()
        newcomer.unplug()
        self.peer.rekey()


class IdentityCase(DaemonCase):
    def setUp(self):
        super().setUp()
        self.guard = Guard(self.lab, follow=False)
        self.addCleanup(self.guard.close)
        self.start_run()

    def start_run(self):
        self.guard.start_run("--vici", self.own.vici, "--reset-after", "never")

    def known(self, connection, peer_id=ike.PEER):
        """The latch of a connection, as soon as it knows who is at the other end."""
        return wait_for(f"the latch to know {peer_id}",
                        lambda: (latch := self.guard.latch(connection)) and
                        latch["peer_id"] == peer_id and latch)

    def identified(self):
        self.peer.initiate()
        connection = self.connect(timeout=60)  # TCP waits ever longer before it tries again
        connection.exchange(BEFORE)
        latch = self.known(connection)
        self.guard.forget()
        self.wire.clear()
        return connection, latch

    def wait_other_peer(self, latch, direction):
        event = self.guard.wait_event(event="violation", latch=latch["id"], reason="peer-id",
                                      direction=direction, verdict="drop")
        self.assertEqual((event["expected"][0]["peer_id"], event["got"][0]["peer_id"]),
                         (ike.PEER, ike.NEWCOMER))

    def assert_broken_for_good(self, connection, latch):
        self.guard.wait_event(60, event="broken", latch=latch["id"], cause="dead-peer")
        fresh = self.connect()
        fresh.exchange()
        self.known(fresh)
        connection.a.sendall(b"to a peer that has lost its memory")
        time.sleep(2)
        latch = self.guard.latch(connection)
        self.assertEqual(latch["state"], "BROKEN")
        self.assertIn("dead-peer", latch["causes"])
        self.assertFalse(connection.readable(connection.b, 0))
        self.assertFalse([e for e in self.guard.events
                          if (e["event"], e["latch"]) == ("restored", latch["id"])])

    def assert_nothing_for(self, newcomer, spi):
        self.assertFalse(newcomer.heard(), "web7 got bytes of the old connection")
        self.assertNotIn(spi, self.wire.spis())


class Takeover(IdentityCase):
    def test_ids_are_shown(self):
        _, latch = self.identified()
        self.assertEqual((latch["local_id"], latch["peer_id"]), (ike.GUARDED, ike.PEER))
        self.assertEqual(self.show(latch)["peer_id"], ike.PEER)

    def test_another_takes_the_peers_address(self):
        connection, latch = self.identified()
        newcomer, web7 = self.take_over()
        spi = self.own.spis(ike.NEWCOMER)[1]
        self.forge(newcomer, connection)
        self.wait_other_peer(latch, "in")
        self.assertFalse(connection.readable(connection.a, 0.2), "web7 reached the program")
        connection.a.sendall(HELD)
        connection.b.sendall(HELD)
        self.wait_other_peer(latch, "out")
        broken = self.guard.wait_event(event="broken", latch=latch["id"])
        self.assertEqual(broken["got"][0]["peer_id"], ike.NEWCOMER)
        self.assertEqual(self.guard.latch(connection)["state"], "BROKEN")
        time.sleep(3)  # TCP tries again, and again
        self.assert_nothing_for(newcomer, spi)

        self.give_back(newcomer, web7)
        for sock in connection.a, connection.b:
            self.assertEqual(connection.receive(sock, len(HELD)), HELD)
        self.guard.wait_event(event="restored", latch=latch["id"])
        connection.exchange(AFTER)
        self.assertEqual(self.known(connection)["id"], latch["id"])
        self.assert_nothing_for(newcomer, spi)
        self.assert_nothing_in_clear(connection)

    def test_the_newcomer_goes_without_a_word(self):
        """Its SAs are there still when the peer is back."""
        connection, latch = self.identified()
        newcomer, web7 = self.take_over()
        connection.a.sendall(HELD)
        self.wait_other_peer(latch, "out")
        web7.die()
        newcomer.unplug()
        self.peer.rekey()
        self.assertEqual(connection.receive(connection.b, len(HELD)), HELD)
        connection.exchange(AFTER)

    def test_whoever_is_refused_kills_nobody(self):
        """Another authority's db1.example does not get in; for charon an IKE SA has ended then."""
        connection, latch = self.identified()
        newcomer = ike.Newcomer(self.lab)
        self.addCleanup(newcomer.close)
        newcomer.plug()
        stranger = ike.Authority(self.daemons.directory.name, name="Another CA").make(ike.PEER)
        with self.assertRaisesRegex(RuntimeError, "AUTHENTICATION_FAILED"):
            self.daemons.start(newcomer, ike.PEER, stranger).initiate()
        newcomer.unplug()
        time.sleep(1)
        connection.exchange(AFTER)
        self.assertEqual(self.guard.latch(connection)["causes"], [])
        self.assertFalse([e for e in self.guard.events if e["latch"] == latch["id"]])

    def test_a_new_connection_is_the_newcomers(self):
        self.identified()
        newcomer, _ = self.take_over()
        listener = newcomer.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind((newcomer.v4, 7001))
        listener.listen()
        with self.lab.guarded():
            sock = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.connect((newcomer.v4, 7001))
        wait_for("the latch to know web7", lambda: [
            latch for latch in self.guard.json("list")["latches"]
            if latch["remote"] and latch["remote"]["port"] == 7001 and
            latch["peer_id"] == ike.NEWCOMER])


class Kinds(IdentityCase):
    """What IKE calls a peer, and the keys by which it proves that."""

    def test_kinds_of_identity_and_of_key(self):
        self.peer.stop()
        for name, key in (("alice@example.org", "rsa"), (self.lab.b.v4, "ed25519"),
                          ("/C=CH/O=Lab/CN=the other host", "ecdsa")):
            with self.subTest(name=name, key=key):
                certificate = self.daemons.authority.make(name, key)
                peer = self.daemons.start(self.lab.b, name, certificate)
                peer.initiate()
                connection = self.connect()
                connection.exchange()
                self.known(connection, certificate.id)
                connection.close()
                peer.stop()


class DeadPeer(IdentityCase):
    own_settings = {"connection": {"dpd_delay": "1s"}, "daemon": {"retransmit_tries": 2}}

    def test_does_not_answer(self):
        connection, latch = self.identified()
        self.peer.die()
        self.guard.wait_event(60, event="broken", latch=latch["id"], cause="dead-peer")
        self.peer.start()
        self.peer.initiate()
        self.assert_broken_for_good(connection, latch)

    def test_an_orderly_end_is_no_death(self):
        connection, latch = self.identified()
        for end in self.own.terminate, self.peer.terminate, self.peer.stop:
            end()
            connection.a.sendall(HELD)
            self.guard.wait_event(event="broken", latch=latch["id"])
            self.assertNotIn("dead-peer", self.guard.latch(connection)["causes"])
            if not self.peer.process:
                self.peer.start()
            self.peer.initiate()
            self.assertEqual(connection.receive(connection.b, len(HELD)), HELD)
            self.guard.wait_event(event="restored", latch=latch["id"])
            self.guard.forget()


class Rebooted(IdentityCase):
    """It says so itself: INITIAL_CONTACT."""

    peer_settings = {"connection": {"unique": "replace"}}

    def test_has_rebooted(self):
        connection, latch = self.identified()
        self.peer.die()
        self.peer.start()
        self.peer.initiate()
        self.assert_broken_for_good(connection, latch)


class Late(IdentityCase):
    """What is latched before `run` can know, and what happens while charon is away."""

    def test_run_is_told_later_whom_to_ask(self):
        self.guard.end_run()
        self.guard.start_run()
        self.peer.initiate()
        connection = self.connect()
        connection.exchange()
        self.assertIsNone(self.guard.latch(connection)["peer_id"])
        self.guard.end_run()
        self.start_run()
        self.assertEqual(self.known(connection)["local_id"], ike.GUARDED)
        connection.exchange()
        newcomer, _ = self.take_over()
        connection.a.sendall(HELD)
        self.wait_other_peer(self.guard.latch(connection), "out")
        self.assertFalse(newcomer.heard())

    def wait_vici(self, connected):
        """`status` says whether `run` has an IKE daemon, and since when."""
        return wait_for("`status` to tell of the IKE daemon", lambda: (
            vici := self.guard.json("status")["vici"])["connected"] is connected and vici)["since"]

    def test_charon_is_restarted(self):
        connection, latch = self.identified()
        since = self.wait_vici(True)
        self.own.stop()
        self.assertGreaterEqual(self.wait_vici(False), since)
        self.own.start()
        self.wait_vici(True)
        self.own.initiate()
        connection.exchange(AFTER)
        self.assertEqual(self.known(connection)["id"], latch["id"])
        fresh = self.connect()
        fresh.exchange()
        self.known(fresh)

    def test_run_starts_before_charon(self):
        self.guard.end_run()
        self.own.stop()
        self.start_run()
        self.own.start()
        self.own.initiate()
        connection = self.connect()
        connection.exchange()
        self.known(connection)


class Damaged(IdentityCase):
    """RFC 5660 R33: all is closed; then charon is asked anew who everybody is."""

    def test_identity_table(self):
        connection, latch = self.identified()
        self.guard.update("clatch_ids", struct.pack("<I", 1), bytes(520))
        self.guard.wait_event(event="closed", latch=latch["id"], cause="identity-table")
        with self.assertRaises(ConnectionAbortedError):
            connection.a.recv(1)
        fresh = self.connect()
        fresh.exchange()
        self.assertEqual(self.known(fresh)["local_id"], ike.GUARDED)
        newcomer, _ = self.take_over()
        self.guard.forget()
        fresh.a.sendall(HELD)
        self.wait_other_peer(self.guard.latch(fresh), "out")
        self.assertFalse(newcomer.heard())


class Rekeys(IdentityCase):
    """Make before break: between two IKE SAs there is always one."""

    own_settings = peer_settings = {"daemon": {"make_before_break": "yes"},
                                    "child": {"start_action": "trap"}}

    def uniqueid(self):
        return max(child for _, child, _, _ in self.own.sas())

    def change(self, rekey):
        last = self.uniqueid()
        rekey()
        wait_for("new SAs", lambda: self.uniqueid() > last)

    def test_rekeys_and_reauthentications(self):
        connection, latch = self.identified()
        stream = Stream(connection)
        for number in range(REKEYS):
            daemon = (self.own, self.peer)[number % 2]
            self.change(daemon.rekey)
            if number % 5 == 4:
                self.change(daemon.reauthenticate)
            stream.goes_on()
        self.assertEqual(self.known(connection)["id"], latch["id"])
        self.assertTrue(stream.end(), "the stream is not complete")  # and closed, its latch with it
        self.assertEqual([(e["time"], e["direction"], e["reason"], e["count"])
                          for e in self.guard.events if e["event"] == "violation"], [])
        self.assertEqual(sum(self.guard.counters().values()), 0)


class Rivals(DaemonCase):
    """That the rows above can fail: what becomes of the old connection without clatch."""

    def taken_over(self):
        self.peer.initiate()
        connection = self.connect()
        connection.exchange(BEFORE)
        return connection, self.take_over()[0]

    def assert_leaks(self):
        connection, newcomer = self.taken_over()
        connection.a.sendall(HELD)
        wait_for("web7 to hear it", lambda: HELD[:500] in newcomer.heard())

    def test_nothing_at_all(self):
        self.assert_leaks()

    def test_nothing_keeps_the_newcomer_out(self):
        connection, newcomer = self.taken_over()
        self.forge(newcomer, connection)
        self.assertEqual(connection.receive(connection.a, len(FORGED)), FORGED)
        with self.assertRaises(ConnectionResetError):
            connection.a.recv(1)

    def test_nftables_latch(self):
        rules = NFT.read_text(encoding="ascii").replace("udp ", "tcp ")
        self.lab.a.run("nft", "-f", "-", input=rules)
        self.addCleanup(self.lab.a.run, "nft", "flush", "ruleset")
        self.assert_leaks()
        rules = self.lab.a.run("nft", "list", "ruleset").stdout
        self.assertEqual(rules.count("counter packets 0 bytes 0 drop"), 2, rules)


if __name__ == "__main__":
    unittest.main(verbosity=2)
