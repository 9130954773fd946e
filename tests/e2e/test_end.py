# SPDX-License-Identifier: GPL-2.0-only
"""A connection that comes to nothing leaves no latch, on real ESP, whoever tells of its end."""

import contextlib
import socket
import threading
import unittest

import ipsec
from case import FIRST, Case
from ipsec import Shape
from lab import Connection, wait_for

PROTECTED = Shape()
ROUTED = Shape(mode="tunnel", if_id=42)
OPENING = 4  # of enum clatch_latch_flag


class Refused(Case):
    """Nobody listens: the peer's reset ends it."""

    def begin(self, inner=False):
        Connection.port += 2
        with self.lab.guarded():
            client = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect((self.lab.b.address(socket.AF_INET, inner), Connection.port))
        return client

    def ends(self):
        """It is told while the program still has the socket."""
        self.guard.wait_event(event="latched", direction="out")
        self.guard.wait_event(event="closed")

    def test_by_its_route(self):
        self.protect(PROTECTED)
        self.begin()
        self.ends()

    def test_through_an_xfrm_interface(self):
        self.protect(ROUTED)
        self.begin(inner=True)
        self.ends()

    def test_when_the_sa_comes_later(self):
        """The route knows of no SA: the SYN waits for one, or is lost and repeated."""
        for drop in 0, 1:
            with self.subTest(drop=drop):
                self.lab.a.run("sysctl", "-q", f"net.core.xfrm_larval_drop={drop}")
                ipsec.policies(self.lab, PROTECTED)
                self.begin()
                ipsec.states(self.lab, PROTECTED, FIRST)
                self.ends()
                ipsec.flush(self.lab.a, self.lab.b)
                self.guard.forget()


class Unseen(Case):
    """The SYN went in clear, and was lost; protection comes, and its repeat makes the latch."""

    def begin(self):
        Connection.port += 2
        self.peer = self.lab.b.v4, Connection.port
        self.lab.b.run("nft", "add table ip lost; add chain ip lost in "
                       "{ type filter hook input priority 0; }; "
                       f"add rule ip lost in meta secpath missing tcp dport {self.peer[1]} drop")
        self.addCleanup(self.lab.b.run, "nft", "delete table ip lost")
        with self.lab.guarded():
            client = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(self.peer)
        wait_for("the SYN", lambda: self.wire.ports("tcp", self.peer[1]))
        return client

    def latches(self):
        return [x for x in self.guard.json("list")["latches"]
                if x["remote"] and x["remote"]["port"] == self.peer[1]]

    def repeated(self, reset):
        client = self.begin()
        if not reset:
            self.lab.b.run("nft", f"add rule ip lost in tcp dport {self.peer[1]} drop")
        self.protect(PROTECTED)
        self.guard.wait_event(event="latched", direction="out")
        if reset:
            wait_for("the reset", lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        self.assertEqual([x["adopted"] for x in self.latches()], [True])
        client.close()
        self.guard.wait_event(event="closed")
        self.assertEqual(self.latches(), [])

    def test_closed_before_there_is_an_answer(self):
        self.repeated(reset=False)

    def test_reset(self):
        self.repeated(reset=True)

    def test_reset_of_a_connect_that_waits(self):
        """Its socket is disconnected at once, and its close() tells nothing: the latch has a timer."""
        client = self.begin()
        client.setblocking(True)
        failed = []

        def go_on():
            try:
                client.connect(self.peer)
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=go_on)
        thread.start()
        self.protect(PROTECTED)
        thread.join(60)
        self.assertEqual([type(error) for error in failed], [ConnectionRefusedError])
        flags, = [entry["formatted"]["value"]["flags"] for entry in self.guard.dump("clatch_latches")
                  if entry["formatted"]["key"]["remote_port"] == self.peer[1]]
        self.assertTrue(flags & OPENING)


del Case  # a base, not a test

if __name__ == "__main__":
    unittest.main(verbosity=2)
