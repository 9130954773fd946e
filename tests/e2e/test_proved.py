# SPDX-License-Identifier: GPL-2.0-only
"""What an IKE daemon says of who is at the other end, and what of it was proved."""

import time
import unittest

import ipsec
from case import FIRST
from ipsec import Shape
from lab import Guard, wait_for
from vici_server import ViciServer
from who import OWN, PEER, WhoCase, with_new_key

ROWS = {  # what more is listed of the IKE SA, and who the peer is
    "nothing more": ({}, PEER),
    "EAP": ({"remote-eap-id": "alice"}, "alice"),
    "XAUTH": ({"version": "1", "remote-xauth-id": "alice"}, "alice"),
    "EAP by a name that is not told": ({"remote-eap-id": "%any"}, None),
    "XAUTH by a name that is not printed": ({"remote-xauth-id": "Z??rich"}, None),
}


STATES = {  # of an IKE SA that ends, its version: is its peer dead?
    ("CONNECTING", "2"): False,
    ("CONNECTING", "1"): False,
    ("REKEYING", "1"): False,  # replaced
    ("REKEYED", "2"): False,
    ("DELETING", "2"): False,
    ("REKEYING", "2"): True,  # the peer did not answer
    ("ESTABLISHED", "2"): True,
    ("ESTABLISHED", "1"): True,
}


class ServerCase(WhoCase):
    guard_options = None

    def ike_sa(self, more):
        child = {"protocol": "ESP", "spi-in": f"{FIRST[1]:08x}", "spi-out": f"{FIRST[0]:08x}"}
        return {"peer": {"state": "ESTABLISHED", "local-host": self.lab.a.v4,
                         "remote-host": self.lab.b.v4, "local-id": OWN, "remote-id": PEER, **more,
                         "child-sas": {"net-1": child}}}

    def setUp(self):
        super().setUp()
        self.server = ViciServer()
        self.addCleanup(self.server.close)
        self.guard = Guard(self.lab, follow=False)
        self.addCleanup(self.guard.close)
        self.guard.start_run("--vici", self.server.path)


class Proved(ServerCase):
    """With EAP or XAUTH the IKE identity is only what the peer claims."""

    def peer_of(self, more):
        """Whom a latch knows once `run` was told of its SAs."""
        self.server.sas = [self.ike_sa(more)]
        before = self.server.asked
        ipsec.install(self.lab, with_new_key(), FIRST)
        wait_for("run to ask whose the SAs are", lambda: self.server.asked > before)
        time.sleep(0.5)  # it has read the answer
        connection = self.connect()
        connection.exchange()
        peer = self.guard.latch(connection)["peer_id"]
        connection.abort()
        return peer

    def test_rows(self):
        for name, (more, peer) in ROWS.items():
            with self.subTest(name):
                self.assertEqual(self.peer_of(more), peer)
                ipsec.flush(self.lab.a, self.lab.b)

    def test_not_yet(self):
        """No number of the table is for whoever only begins to talk to the IKE daemon."""
        self.server.sas = [self.ike_sa({"state": "CONNECTING", "remote-id": "anybody.example"}),
                           self.ike_sa({})]
        ipsec.install(self.lab, with_new_key(), FIRST)
        wait_for("run to know the peer", self.told)
        texts = {bytes(int(byte, 16) for byte in entry["value"][:16]).rstrip(b"\0")
                 for entry in self.guard.dump("clatch_ids")}
        self.assertEqual(texts, {OWN.encode(), PEER.encode()})


class Ended(ServerCase):
    """Whose IKE SA ends is dead if charon gave it up, or it forgot that SA: not else."""

    def test_states(self):
        ipsec.install(self.lab, with_new_key(), FIRST)
        self.tell(Shape(), FIRST)
        wait_for("run to ask", lambda: self.server.asked)
        for (state, version), dead in STATES.items():
            with self.subTest(state=state, version=version):
                connection = self.connect()
                connection.exchange()
                self.server.say("ike-updown", self.ike_sa({"state": state, "version": version}))
                time.sleep(0.5)
                self.assertEqual("dead-peer" in self.guard.latch(connection)["causes"], dead)
                connection.abort()


del WhoCase, ServerCase  # bases, not tests

if __name__ == "__main__":
    unittest.main(verbosity=2)
