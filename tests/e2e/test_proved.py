# SPDX-License-Identifier: GPL-2.0-only
"""Which of the identities that an IKE daemon lists is the peer's: the one that it proved."""

import time
import unittest

import ipsec
from case import FIRST
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


class Proved(WhoCase):
    """With EAP or XAUTH the IKE identity is only what the peer claims."""

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


del WhoCase  # a base, not a test

if __name__ == "__main__":
    unittest.main(verbosity=2)
