# SPDX-License-Identifier: GPL-2.0-only
"""A latched connection and Libreswan on both hosts: scripts/updown tells who is at the other end."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

from case import Case
from lab import LOADER, WAIT, wait_for
from pluto import Pluto

UPDOWN = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../scripts/updown"))
OWN, FIRST, OTHER = "@app3.example", "@db1.example", "@web7.example"


class Libreswan(Case):
    def setUp(self):
        super().setUp()
        self.env = {"CLATCH_LOADER": os.path.abspath(LOADER), "CLATCH_BPFFS": self.guard.bpffs}
        settings = " ".join(f"{name}={value}" for name, value in self.env.items())
        self.peer = self.start(self.lab.b, self.lab.a, FIRST, {"net": OWN})
        self.own = self.start(self.lab.a, self.lab.b, OWN, {"first": FIRST, "other": OTHER},
                              f"{settings} {UPDOWN}")

    def start(self, host, peer, own_id, peers, updown=""):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        daemon = Pluto(host, peer, directory, own_id, peers, updown)
        self.addCleanup(daemon.close)
        return daemon

    def follow(self):
        """The service beside pluto."""
        process = subprocess.Popen(self.own.inside(UPDOWN, "--follow"),
                                   env={**os.environ, **self.env})
        self.addCleanup(process.wait, WAIT)
        self.addCleanup(process.terminate)

    def sas(self):
        """The SPIs in use, both directions."""
        latch = self.guard.latch(self.connection)
        return {latch[direction]["sa"][0]["spi"] for direction in ("in", "out")}

    def open(self):
        self.own.initiate("first")
        self.connection = self.connect(timeout=4 * WAIT)  # its retransmissions grow rare
        self.connection.exchange()
        return self.guard.latch(self.connection)

    def refused(self, latch, reason):
        return self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                                     reason=reason, verdict="drop")

    def test_a_rekey_is_refused_until_it_is_told_whose_it_is(self):
        latch = self.open()
        self.assertEqual((latch["state"], latch["local_id"], latch["peer_id"]),
                         ("ESTABLISHED", "app3.example", "db1.example"))
        self.own.rekey("first")
        self.connection.a.sendall(b"rekeyed")
        self.refused(latch, "identity-unknown")
        self.assertFalse(self.connection.readable(self.connection.b, 1))
        self.follow()
        self.assertEqual(self.connection.receive(self.connection.b, 7), b"rekeyed")

        for daemon, name in (self.own, "first"), (self.peer, "net"), (self.own, "first"):
            before = self.sas()
            daemon.rekey(name)
            wait_for("both new SAs in use",
                     lambda: self.connection.exchange() or not before & self.sas())
        latch = self.guard.latch(self.connection)
        self.assertEqual((latch["state"], latch["peer_id"]), ("ESTABLISHED", "db1.example"))
        counters = self.guard.counters()
        del counters["identity-unknown"]  # until the script has asked
        self.assertEqual(sum(counters.values()), 0)
        self.assert_nothing_in_clear(self.connection)

    def test_another_peer_takes_the_address(self):
        latch = self.open()
        self.own.delete("first")
        self.peer.close()
        other = self.start(self.lab.b, self.lab.a, OTHER, {"net": OWN})
        self.own.initiate("other")
        self.wire.clear()
        self.connection.a.sendall(b"for db1 alone")
        event = self.refused(latch, "peer-id")
        self.assertIn("web7.example", json.dumps(event["got"]))
        self.assertFalse(self.connection.readable(self.connection.b, 1))
        self.assertEqual(self.wire.spis(), set(), "something left under the newcomer's SA")

        self.own.delete("other")
        other.close()
        self.peer = self.start(self.lab.b, self.lab.a, FIRST, {"net": OWN})
        self.own.add("first")
        self.own.initiate("first")
        self.assertEqual(self.connection.receive(self.connection.b, 13), b"for db1 alone")
        self.connection.exchange(b"and on it goes")
        self.assert_nothing_in_clear(self.connection)


if __name__ == "__main__":
    unittest.main(verbosity=2)
