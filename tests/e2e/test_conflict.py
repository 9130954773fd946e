# SPDX-License-Identifier: GPL-2.0-only
"""Conflicts on real ESP: what `run` must find in a change of the guarded host's SPD or SAD before
any packet suffers (RFC 5660 R22-R26)."""

import contextlib
import dataclasses
import os
import socket
import threading
import time
import unittest

import ipsec
from case import LAST
from conflict import (BASE, EVERYWHERE, HARMLESS, KINDS, POLICIES, RENEW, SAS, STRONGER, UDP, V6,
                      ConflictCase)
from ipsec import Shape
from lab import wait_for


class Rows(ConflictCase):
    """Plays one row."""

    def lines(self, lines, row, shape, connection):
        words = ipsec.words(self.lab, shape, row.way)
        nine = dataclasses.replace(shape, reqid=9)
        ports = connection.own[1], connection.peer[1]
        words.update({f"{k}_in": v for k, v in ipsec.words(self.lab, shape, "in").items()},
                     template_9=ipsec.words(self.lab, nine, row.way)["template"],
                     way=row.way, upper=shape.upper,
                     near_far=f"src {words['near']} dst {words['far']}",
                     far_off="src fd00:99::1 dst fd00:99::2" if shape.family == V6 else
                     "src 10.99.0.1 dst 10.99.0.2")
        words["sport"], words["dport"] = ports if row.way == "out" else ports[::-1]
        return ["xfrm " + line.format(**words) for line in lines]

    def change(self, lines, row, shape, connection):
        for host in (self.lab.a, self.lab.b)[:2 if row.both else 1]:
            host.ip(*self.lines(lines, row, shape, connection))

    def play(self, row, shape=BASE, proto="tcp", **more):
        connection, latch, shape = self.start(shape, proto, **more)
        if row.cause:
            self.play_conflict(row, connection, latch, shape)
        else:
            self.play_harmless(row, connection, latch, shape)

    def play_conflict(self, row, connection, latch, shape):
        before = self.packets(latch)
        self.change(row.change, row, shape, connection)
        event = self.broken(latch)
        self.assertEqual(self.packets(latch), before, "a packet was sent before the event")
        self.check_event(row, event, latch)
        listed = self.guard.latch(connection)
        self.assertEqual((listed["id"], listed["state"], listed["causes"]),
                         (latch["id"], "BROKEN", [row.cause]))
        self.check_halted(connection, latch)
        self.change(row.undo, row, shape, connection)
        event = self.restored(latch)
        self.assertEqual((event["old_state"], event["state"]), ("BROKEN", "ESTABLISHED"))
        self.assertIn(row.cause, event["causes"])
        self.check_works(connection, latch, held=True)

    def check_event(self, row, event, latch):
        self.assertEqual((event["cause"], event["causes"], event["direction"], event["reason"]),
                         (row.cause, [row.cause], row.way, row.reason))
        self.assertEqual((event["old_state"], event["state"]), ("ESTABLISHED", "BROKEN"))
        self.assertEqual(set(event["fields"]), set(row.fields))
        self.assertEqual([sa["reqid"] for sa in event["expected"]],
                         [sa["reqid"] for sa in latch[row.way]["sa"]])
        self.assertEqual(len(event["got"]), 1 if row.fields else 0)

    def play_harmless(self, row, connection, latch, shape):
        """A block after it is the first that `run` finds: it has looked at the change by then."""
        self.change(row.change, row, shape, connection)
        selector = ipsec.words(self.lab, shape, "out")["selector"]
        selector = selector.replace(" dir ", f" dport {connection.peer[1]} dir ")
        self.lab.a.ip(f"xfrm policy add {selector} priority 0 action block")
        self.broken(latch)
        self.lab.a.ip(f"xfrm policy delete {selector}")
        self.restored(latch)
        self.assertEqual(self.transitions(latch), [("broken", "policy", "policy"),
                                             ("restored", "policy", None)])
        self.check_works(connection, latch)
        self.change(row.undo, row, shape, connection)
        self.check_works(connection, latch)


class PolicyTcp(Rows):
    pass


class PolicyUdp(Rows):
    pass


class Sa(Rows):
    pass


class Harmless(Rows):
    pass


class Kinds(Rows):
    """Some rows over other shapes and kinds of sockets."""


def _add(case, rows, proto, shape=BASE, kind=None, more=None):
    first = len([name for name in vars(case) if name.startswith("test_")])
    for number, row in enumerate(rows, first):
        setattr(case, f"test_{number:03}_{kind or proto}: {row.name}",
                lambda self, row=row: self.play(row, shape, proto, **more or {}))


_add(PolicyTcp, POLICIES, "tcp")
_add(PolicyUdp, POLICIES, "udp")
_add(Sa, SAS, "tcp")
_add(Sa, SAS, "udp")
_add(Harmless, HARMLESS, "udp")
for _kind, _proto, _shape, _more in KINDS:
    _add(Kinds, EVERYWHERE, _proto, _shape, _kind, _more)
del Rows  # a base, not a test


class Order(ConflictCase):
    """Of two policies with the same priority `run` chooses as this kernel does: before 6.12 the
    one between single addresses, since then the older."""

    def test_as_the_kernel(self):
        connection, latch, shape = self.start(Shape(mode="tunnel"), "udp")
        inner = f"src {self.lab.a.inner4} dst {self.lab.b.inner4} dir out"
        self.lab.a.ip(f"xfrm policy add {inner} priority 1000")
        other = self.lab.a.socket(socket.AF_INET, socket.SOCK_DGRAM)  # not guarded
        self.addCleanup(other.close)
        other.bind((self.lab.a.inner4, 0))
        other.sendto(b"of no connection", (self.lab.b.inner4, 9))
        in_clear = bool(self.wire.ports("udp", 9))
        self.assertEqual(in_clear, not self.wire.spis())
        self.lab.a.ip(f"xfrm policy add {inner} mark 5 priority 1 action block",  # of no effect
                      f"xfrm policy update {ipsec.words(self.lab, shape, 'in')['selector']} "
                      "priority 1000 action block")
        event = self.broken(latch)
        self.assertEqual((event["direction"], event["reason"]),
                         ("out", "clear") if in_clear else ("in", "policy"))


class Several(ConflictCase):
    """T23: BROKEN while any conflict is left."""

    def begin(self):
        self.connection, self.latch, shape = self.start(BASE, "udp")
        self.words = {way: ipsec.words(self.lab, shape, way) for way in ("out", "in")}

    def block(self, way, on):
        words = self.words[way]["wide"]
        self.lab.a.ip(f"xfrm policy add {words} priority 1 action block" if on else
                      f"xfrm policy delete {words}")

    def sa(self, way, on):
        words = f"{self.words[way]['ends']} proto esp spi 0x5001"
        self.lab.a.ip(f"xfrm state add {words} {STRONGER}" if on else
                      f"xfrm state delete {words}")

    def still(self, *causes):
        wait_for(f"causes {causes}", lambda: self.show(self.latch)["causes"] == list(causes))
        self.assertEqual(self.show(self.latch)["state"], "BROKEN")
        self.check_halted(self.connection, self.latch)

    def second(self, cause):
        """Told of as well."""
        event = self.broken(self.latch, cause=cause)
        self.assertEqual((event["old_state"], event["state"], event["causes"]),
                         ("BROKEN", "BROKEN", ["policy", "sa-conflict"]))

    def well_again(self):
        event = self.restored(self.latch)
        self.assertEqual((event["old_state"], event["state"]), ("BROKEN", "ESTABLISHED"))
        self.assertEqual([e[0] for e in self.transitions(self.latch)].count("restored"), 1)
        self.check_works(self.connection, self.latch)

    def test_the_policy_is_well_again_first(self):
        self.begin()
        self.block("out", True)
        self.broken(self.latch, cause="policy")
        self.sa("in", True)
        self.second("sa-conflict")
        self.block("out", False)
        self.still("sa-conflict")
        self.sa("in", False)
        self.well_again()

    def test_the_sa_is_gone_first(self):
        self.begin()
        self.sa("in", True)
        self.broken(self.latch, cause="sa-conflict")
        self.block("out", True)
        self.second("policy")
        self.sa("in", False)
        self.still("policy")
        self.block("out", False)
        self.well_again()

    def test_two_of_one_cause(self):
        self.begin()
        self.block("out", True)
        self.broken(self.latch, cause="policy")
        self.block("in", True)
        self.block("out", False)
        self.still("policy")
        self.block("in", False)
        self.well_again()

    def test_one_behind_the_other(self):
        """A block leads to no SA: the conflicting one counts once the block has gone."""
        self.begin()
        self.block("out", True)
        self.broken(self.latch, cause="policy")
        self.sa("out", True)
        self.still("policy")
        self.block("out", False)
        self.broken(self.latch, cause="sa-conflict", old_state="BROKEN")
        self.assertEqual([e[0] for e in self.transitions(self.latch)].count("restored"), 0)
        self.still("sa-conflict")
        self.sa("out", False)
        self.well_again()


class Burst(ConflictCase):
    """Conflicts that come and go at once, many times."""

    def play(self, proto, lines):
        connection, latch, shape = self.start(BASE, proto)
        words = ipsec.words(self.lab, shape, "out"), ipsec.words(self.lab, shape, "in")
        lines = ["xfrm " + line.format(**w) for line in lines for w in words]
        for _ in range(5):
            self.lab.a.ip(*lines * 20)
        self.wait_state(connection, "ESTABLISHED")
        # what run has yet to see, it sees before this
        self.lab.a.ip(f"xfrm policy add {words[0]['wide']} priority 1 action block")
        wait_for("the block to be seen", lambda: [e for e in self.transitions(latch)
                                                  if e == ("broken", "policy", "policy")])
        self.lab.a.ip(f"xfrm policy delete {words[0]['wide']}")
        self.wait_state(connection, "ESTABLISHED")
        self.check_works(connection, latch)
        self.assertNotIn("closed", [e[0] for e in self.transitions(latch)])

    def test_policies(self):
        self.play("tcp", ("policy delete {selector}",
                          "policy add {selector} priority 1000 {template}"))

    def test_sas(self):
        self.play("udp", (f"state add {{ends}} proto esp spi 0x5001 {STRONGER}",
                          "state delete {ends} proto esp spi 0x5001"))

    def test_under_traffic(self):
        """A stream arrives complete, and not a byte of it in clear."""
        connection, _, shape = self.start(BASE, "tcp")
        out = ipsec.words(self.lab, shape, "out")
        data = os.urandom(1 << 20)
        sender = threading.Thread(target=connection.a.sendall, args=(data,))
        sender.start()
        for _ in range(10):
            self.lab.a.ip(f"xfrm policy delete {out['selector']}")
            time.sleep(0.05)
            self.lab.a.ip(f"xfrm policy add {out['selector']} priority 1000 {out['template']}")
            time.sleep(0.2)
        connection.b.settimeout(60)
        self.assertEqual(connection.receive(connection.b, len(data)), data)
        sender.join()
        self.assert_nothing_in_clear(connection)


class Optional(ConflictCase):
    """Level use: no SA, no conflict; but nothing leaves in clear."""

    def test_without_its_sa(self):
        self.protect(dataclasses.replace(UDP, optional=True))
        connection = self.connect("udp")
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual(latch["state"], "ESTABLISHED")
        self.lab.a.ip("xfrm state flush")
        with self.assertRaises(PermissionError):
            connection.a.send(b"in clear")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        event = self.broken(latch)
        self.assertEqual((event["cause"], event["causes"]), ("out-clear", ["out-clear"]))
        self.assert_nothing_in_clear(connection)
        self.assertEqual(self.show(latch)["policed"], {"in": False, "out": False})
        ipsec.flush(self.lab.a, self.lab.b)
        ipsec.states(self.lab, UDP, LAST)
        ipsec.policies(self.lab, UDP)
        connection.exchange(b"with SAs again")
        self.restored(latch)


class KeptRoute(ConflictCase):
    """What was sent under a bypass leaves the socket with a route in clear, which the kernel goes
    on using when the bypass has gone: until then, clatch is all that holds the connection."""

    def play(self, family):
        connection, latch, shape = self.start(dataclasses.replace(BASE, family=family), "udp")
        words = ipsec.words(self.lab, shape, "out")
        self.lab.a.ip(f"xfrm policy add {words['wide']} priority 1")
        self.broken(latch, cause="policy")
        self.check_halted(connection, latch)
        self.lab.a.ip(f"xfrm policy delete {words['wide']}")
        self.restored(latch)
        with contextlib.suppress(PermissionError):
            connection.a.send(b"perhaps in clear")
            connection.b.recv(100)
        self.assert_nothing_in_clear(connection)
        self.lab.a.ip("xfrm " + RENEW.format(**words))  # ends all routes
        self.wait_state(connection, "ESTABLISHED")
        self.check_works(connection, latch)

    def test_ipv4(self):
        self.play(socket.AF_INET)

    def test_ipv6(self):
        self.play(V6)


class Before(ConflictCase):
    """Conflicts that were there before the connection (R23, T35)."""

    def protect(self, shape):
        super().protect(shape)
        ends = ipsec.words(self.lab, shape, "in")["ends"] + " proto esp spi 0x5001"
        self.lab.a.ip(f"xfrm state add {ends} {STRONGER}")
        self.undo = f"xfrm state delete {ends}"

    def soon_broken(self):
        event = self.guard.wait_event(event="broken")
        self.assertEqual((event["cause"], event["direction"], event["fields"], event["state"]),
                         ("sa-conflict", "in", ["aead_key_bits"], "BROKEN"))
        latch = {"id": event["latch"]}
        self.assertEqual((self.show(latch)["causes"], self.show(latch)["state"]),
                         (["sa-conflict"], "BROKEN"))
        return latch

    def well_again(self, connection, latch):
        self.lab.a.ip(self.undo)
        self.restored(latch)
        self.check_works(connection, latch, held=True)

    def test_client(self):
        """Broken by its SYN, or by the answer: it may be before the peer has accepted it."""
        self.protect(BASE)
        listener = self.new_socket(host=self.lab.b)
        listener.bind((self.lab.b.v4, 0))
        listener.listen()
        client = self.new_socket()
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.connect(listener.getsockname())
        latch = self.soon_broken()
        self.lab.a.ip(self.undo)
        self.restored(latch)
        listener.settimeout(20)
        accepted = self.accept(listener)
        accepted.settimeout(20)
        client.settimeout(20)
        client.send(b"hello")
        self.assertEqual(accepted.recv(100), b"hello")
        self.assertEqual(self.show(latch)["state"], "ESTABLISHED")

    def test_udp(self):
        self.protect(UDP)
        connection = self.connect("udp")
        connection.a.send(b"this way")
        connection.b.recv(100)
        connection.b.send(b"and back")
        latch = self.soon_broken()
        if connection.readable(connection.a, 0):
            connection.a.recv(100)  # it was there before
        self.wire.clear()
        self.check_halted(connection, latch)
        self.well_again(connection, latch)

    def test_server(self):
        """Broken by its SYN: the handshake waits."""
        self.protect(BASE)
        sock, port = self.listening()
        client = self.new_socket(host=self.lab.b)
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.connect((self.lab.a.v4, port))
        latch = self.soon_broken()
        self.lab.a.ip(self.undo)
        self.restored(latch)
        accepted = self.accept(sock)
        accepted.send(b"welcome")
        client.settimeout(20)
        self.assertEqual(client.recv(100), b"welcome")
        self.assertEqual(self.show(latch)["state"], "ESTABLISHED")


class Unpoliced(ConflictCase):
    def test_no_policy_from_the_start_is_no_conflict(self):
        """Then what packets carry decides: an IKE daemon may not install one for each way."""
        self.protect(UDP)
        words = ipsec.words(self.lab, UDP, "in")
        self.lab.a.ip(f"xfrm policy delete {words['selector']}")
        connection = self.connect("udp")
        connection.exchange()
        latch = self.guard.latch(connection)
        wait_for("run to see the policy",
                 lambda: self.show(latch)["policed"] == {"in": False, "out": True})
        self.lab.a.ip(f"xfrm policy add {words['wide']} priority 3000 action block")
        self.broken(latch, reason="policy", direction="in")
        self.lab.a.ip(f"xfrm policy delete {words['wide']}")
        self.restored(latch)
        self.assertEqual([e[0] for e in self.transitions(latch)], ["broken", "restored"])
        self.check_works(connection, latch)


if __name__ == "__main__":
    unittest.main(verbosity=2)
