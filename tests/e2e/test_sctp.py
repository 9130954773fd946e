# SPDX-License-Identifier: GPL-2.0-only
"""SCTP on real ESP: how the latch of an association begins, is held and ends (RFC 5660 §5)."""

import dataclasses
import errno
import unittest

import ipsec
from case import FIRST, LAST, NEXT, OTHER
from lab import wait_for
from sctp import BASE, IPV6, ONE, SCTP, SctpCase, TUNNEL, V6

# shape, whether the guarded host is the server
WAYS = {"client": (BASE, False), "server": (BASE, True), "client in a tunnel": (TUNNEL, False),
        "server in a tunnel": (TUNNEL, True), "client over IPv6": (IPV6, False),
        "server over IPv6": (IPV6, True)}
NOT_IPV6 = [way for way, (shape, _) in WAYS.items() if shape is not IPV6]


class WaysCase(SctpCase):
    def goes_on(self, a, b, latch, shape, sent, received):
        ipsec.exchange_shape(self.lab, shape, LAST)
        self.assertEqual((b.recv(100), a.recv(100)), (sent, received))
        self.exchange(a, b, b"and on it goes")
        self.assertEqual(self.wait_all(a, "ESTABLISHED")[0]["id"], latch["id"])
        self.guard.wait_event(event="restored", latch=latch["id"])
        self.assert_nothing_in_clear()


class Latched(WaysCase):
    def check_latched(self, shape, server):
        self.protect(shape)
        a, b = self.pair(shape.family, shape.inner, server)
        self.exchange(a, b)
        latch = self.latch(a)
        end = [{"addr": x[0], "port": x[1]} for x in (a.getsockname(), b.getsockname())]
        self.assertEqual((latch["proto"], latch["local"], latch["remote"], latch["state"],
                          latch["adopted"]), ("sctp", *end, "ESTABLISHED", False))
        for way, spi in zip(("out", "in"), FIRST):
            sa, = latch[way]["sa"]
            self.assertEqual((sa["spi"], sa["reqid"], sa["mode"]),
                             (f"0x{spi:08x}", 7, shape.mode))
            self.assertGreater(latch[way]["packets"], 1)
        self.assertEqual(self.story(latch["id"])[-1],
                         ("latched", "LARVAL", "ESTABLISHED", "packet"))
        self.assertEqual(bool(latch["listener"]), server)
        self.assert_nothing_in_clear()

    def check_flushed(self, shape, server):
        """Neither way anything passes in clear; with the protection back it goes on."""
        a, b, latch = self.associated(shape, server)
        ipsec.flush(self.lab.a, self.lab.b)
        a.send(b"out, in clear")
        b.send(b"in, in clear")
        for direction in ("out", "in"):
            self.violation(latch, "clear", direction)
        self.guard.wait_event(event="broken", latch=latch["id"])
        self.assertEqual(self.latch(a)["state"], "BROKEN")
        self.silent(a, 1)
        self.silent(b)
        self.assert_nothing_in_clear()
        self.goes_on(a, b, latch, shape, b"out, in clear", b"in, in clear")


class Held(WaysCase):
    def check_mismatch(self, shape, server):
        a, b, latch = self.associated(shape, server)
        ipsec.exchange_shape(self.lab, dataclasses.replace(shape, reqid=9), OTHER)
        a.send(b"out, reqid 9")
        b.send(b"in, reqid 9")
        for direction in ("out", "in"):
            event = self.violation(latch, "sa-mismatch", direction)
            self.assertEqual(event["fields"], ["reqid"])
            self.assertEqual([s["reqid"] for s in event["expected"] + event["got"]], [7, 9])
        self.silent(a, 1)
        self.silent(b)
        self.assertFalse(self.wire.spis() & set(OTHER), "packets left under the wrong SA")
        self.goes_on(a, b, latch, shape, b"out, reqid 9", b"in, reqid 9")

    def check_rekeyed(self, shape, server):
        a, b, latch = self.associated(shape, server)
        ipsec.rekey(self.lab, shape, FIRST, NEXT)
        self.exchange(a, b, b"under new keys")
        again = self.latch(a)
        self.assertEqual((again["id"], again["state"]), (latch["id"], "ESTABLISHED"))
        for way, spi in zip(("out", "in"), NEXT):
            self.assertEqual((again[way]["sa"][0]["spi"], again[way]["violations"]),
                             (f"0x{spi:08x}", 0))

    def check_closed(self, shape, server):
        for first in (0, 1):
            a, b, latch = self.associated(shape, server)
            self.linger(*(s for s in (a, b) if s.type == ONE), reset=0)
            (a, b)[first].close()
            (a, b)[not first].close()
            self.guard.wait_event(event="closed", latch=latch["id"], cause="released")
            ipsec.flush(self.lab.a, self.lab.b)
        wait_for("no connection's latch", lambda: not [
            x for x in self.all_latches() if x["remote"]])


def _add_ways(case, check, ways):
    for way in ways:
        setattr(case, f"test_{check}_{way}", lambda self, given=WAYS[way]:
                getattr(self, f"check_{check}")(*given))


_add_ways(Latched, "latched", WAYS)
_add_ways(Latched, "flushed", WAYS)
_add_ways(Held, "mismatch", NOT_IPV6)
_add_ways(Held, "rekeyed", NOT_IPV6)
_add_ways(Held, "closed", NOT_IPV6)


class Ends(SctpCase):
    """How an association begins and ends, and what a listener is."""

    def test_clear_is_not_latched(self):
        self.none_is_left()
        a, b = self.pair()
        self.exchange(a, b, b"in clear")
        served, client = self.pair(server=True)
        self.exchange(served, client, b"in clear")
        self.assertEqual(self.all_latches(), [])
        self.assertTrue(self.sent_in_clear())
        self.protect(BASE)
        self.exchange(a, b, b"protected later")
        latch = self.wait_all(a, "ESTABLISHED")[0]
        self.assertTrue(latch["adopted"])
        # the peer's IPsec comes a moment later than ours: a SACK of it may still have been in clear
        self.assertFalse([e for e in self.guard.events
                          if e["event"] == "violation" and e["direction"] == "out"])

    def test_listener(self):
        """Its latch is made at the first protected INIT, as no hook sees SCTP's listen()."""
        self.none_is_left()
        sock = self.bound(self.lab.a.v4, listen=True)
        port = sock.getsockname()[1]
        self.assertEqual(self.all_latches(), [])
        self.protect(BASE)
        clients = []
        for _ in range(2):
            clients.append(self.bound(self.lab.b.v4, self.lab.b))
            clients[-1].connect(sock.getsockname())
        served = [self.accept(sock) for _ in clients]
        for a, b in zip(served, clients):
            self.exchange(a, b)
        listener = self.guard.listener(port)
        self.assertEqual((listener["proto"], listener["remote"], listener["local"]["addr"]),
                         ("sctp", None, self.lab.a.v4))
        latches = self.wait_all(sock, "ESTABLISHED", 2)
        self.assertEqual([x["listener"] for x in latches], [listener["id"]] * 2)
        for latch in latches:
            event = self.guard.wait_event(event="listening", latch=listener["id"],
                                          spawned=latch["id"])
            self.assertEqual(event["old_state"], "LISTENER")
        served[0].close()  # which has the listener's address and port
        self.guard.wait_event(event="closed", cause="released")
        self.assertEqual(self.guard.listener(port)["id"], listener["id"])
        sock.close()
        self.guard.wait_event(event="closed", latch=listener["id"], cause="released")
        self.assertEqual(self.story(listener["id"]),
                         [("listening", None, "LISTENER", "listen"),
                          ("listening", "LISTENER", "LISTENER", "packet"),
                          ("listening", "LISTENER", "LISTENER", "packet"),
                          ("closed", "LISTENER", "CLOSED", "released")])
        self.exchange(served[1], clients[1], b"its connection stands")
        served[1].close()
        self.none_is_left()

    def test_an_ipv6_socket_for_ipv4(self):
        self.protect(BASE)
        listener = self.bound(self.lab.b.v4, self.lab.b, listen=True)
        a = self.bound("::ffff:" + self.lab.a.v4, family=V6)
        a.connect(("::ffff:" + self.lab.b.v4, listener.getsockname()[1]))
        b = self.accept(listener)
        self.exchange(a, b)
        self.assertEqual(self.latch(a)["local"]["addr"], self.lab.a.v4)
        ipsec.flush(self.lab.a, self.lab.b)
        a.send(b"in clear")
        self.violation(self.latch(a), "clear", "out")
        self.assert_nothing_in_clear()
        ipsec.exchange_shape(self.lab, BASE, LAST)
        self.assertEqual(b.recv(100), b"in clear")

    def demand(self):
        self.guard.demand_protection(SCTP)
        self.addCleanup(self.guard.demand_protection, SCTP, False)

    def test_clear_init_to_a_listener_under_a_rule(self):
        self.none_is_left()
        self.demand()
        sock = self.bound(self.lab.a.v4, listen=True)
        client = self.bound(self.lab.b.v4, self.lab.b)
        client.setblocking(False)
        self.assertEqual(client.connect_ex(sock.getsockname()), errno.EINPROGRESS)
        event = self.guard.wait_event(event="violation", latch=None, reason="clear", direction="in",
                                      verdict="drop", proto="sctp")
        self.assertEqual(event["local"]["port"], sock.getsockname()[1])
        self.silent(sock, 0.5)
        self.assert_nothing_in_clear()
        self.assertEqual(self.all_latches(), [])
        self.protect(BASE)
        served = self.accept(sock)  # INIT is repeated
        client.settimeout(20)
        self.exchange(served, client)
        self.assertEqual(self.latch(served)["rule"], "all")

    def test_no_init_in_clear_under_a_rule(self):
        self.demand()
        listener = self.bound(self.lab.b.v4, self.lab.b, listen=True)
        a = self.new_socket()
        a.setblocking(False)
        self.assertEqual(a.connect_ex(listener.getsockname()), errno.EINPROGRESS)
        self.guard.wait_event(event="violation", latch=None, reason="clear", direction="out",
                              verdict="drop", proto="sctp")
        self.silent(listener, 0.5)
        self.assert_nothing_in_clear()
        self.protect(BASE)
        b = self.accept(listener)
        a.settimeout(20)
        self.exchange(a, b)

    def test_refused(self):
        """The peer answers our INIT with ABORT."""
        self.protect(BASE)
        nobody = self.bound(self.lab.b.v4, self.lab.b)
        with self.assertRaises(ConnectionRefusedError):
            self.bound(self.lab.a.v4).connect(nobody.getsockname())
        self.guard.wait_event(event="closed", cause="released")
        self.none_is_left()

    def test_aborted(self):
        for side in (0, 1):
            ends = self.associated()[:2]
            self.linger(*ends)
            ends[side].close()
            self.guard.wait_event(event="closed", cause="released")
            self.none_is_left()
            ipsec.flush(self.lab.a, self.lab.b)

    def test_dies_while_broken(self):
        """Its last word, ABORT, is stopped too, but tells that it has ended."""
        self.dies_soon()
        a, _, latch = self.associated()
        ipsec.flush(self.lab.a, self.lab.b)
        a.send(b"never to arrive")
        with self.assertRaises(OSError) as died:
            a.recv(100)
        self.assertEqual(died.exception.errno, errno.ETIMEDOUT)
        self.guard.wait_event(event="closed", latch=latch["id"], old_state="BROKEN",
                              cause="released")
        self.none_is_left()
        self.assert_nothing_in_clear()

    def test_close(self):
        """The kernel cannot end an association by order: its latch lets nothing pass any more."""
        self.dies_soon()
        a, b, latch = self.associated()
        done = self.guard.loader("close", latch["id"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot end its sockets", done.stderr)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="admin",
                              state="CLOSED")
        self.assertEqual(self.latch(a)["state"], "CLOSED")
        self.wire.clear()
        a.send(b"out, after the close")
        b.send(b"in, after the close")
        self.violation(latch, "broken", "out")
        self.violation(latch, "broken", "in")
        wait_for("its retransmission to be stopped",
                 lambda: self.latch(a)["out"]["violations"] > 1)
        # Once it is dead, the peer's own retransmissions are answered, as any stranger's.
        self.assertEqual(self.wire.spis(), set())
        with self.assertRaises(OSError) as died:
            a.recv(100)
        self.assertEqual(died.exception.errno, errno.ETIMEDOUT)
        self.assert_nothing_in_clear()
        self.none_is_left()


del WaysCase  # a base, not a test


if __name__ == "__main__":
    unittest.main(verbosity=2)
