# SPDX-License-Identifier: GPL-2.0-only
"""What an IKE daemon says of who is at the other end, and what of it was proved."""

import unittest

import ipsec
from case import FIRST
from lab import Guard, wait_for
from vici_server import ViciServer
from who import OWN, PEER, WhoCase, with_new_key


class Proved(WhoCase):
    guard_options = None

    def setUp(self):
        super().setUp()
        self.server = ViciServer()
        self.addCleanup(self.server.close)
        self.guard = Guard(self.lab, follow=False)
        self.addCleanup(self.guard.close)
        self.guard.start_run("--vici", self.server.path)

    def list_sas(self, *more):
        """One IKE SA for each, all with the same SAs."""
        child = {"protocol": "ESP", "spi-in": f"{FIRST[1]:08x}", "spi-out": f"{FIRST[0]:08x}"}
        self.server.sas = [
            {"peer": {"state": "ESTABLISHED", "local-host": self.lab.a.v4,
                      "remote-host": self.lab.b.v4, "local-id": OWN, "remote-id": PEER, **facts,
                      "child-sas": {"net-1": child}}} for facts in more]
        ipsec.install(self.lab, with_new_key(), FIRST)

    def test_by_eap(self):
        """The IKE identity is only what the peer claims."""
        self.list_sas({"remote-eap-id": "alice"})
        connection = self.connect()
        connection.exchange()
        self.assertEqual(wait_for("run to know the peer", lambda: self.guard.latch(
            connection)["peer_id"]), "alice")

    def test_not_yet(self):
        """No number of the table is for whoever only begins to talk to the IKE daemon."""
        self.list_sas({"state": "CONNECTING", "remote-id": "anybody.example"}, {})
        wait_for("run to know the peer", self.told)
        texts = {bytes(int(byte, 16) for byte in entry["value"][:16]).rstrip(b"\0")
                 for entry in self.guard.dump("clatch_ids")}
        self.assertEqual(texts, {OWN.encode(), PEER.encode()})


del WhoCase  # a base, not a test

if __name__ == "__main__":
    unittest.main(verbosity=2)
