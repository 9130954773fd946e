# SPDX-License-Identifier: GPL-2.0-only
"""A latched connection and a real IKE daemon: strongSwan on both hosts."""

import json
import subprocess
import unittest

import ike
from case import Case
from lab import wait_for


class StrongSwan(Case):
    mode = "transport"

    def setUp(self):
        super().setUp()
        daemons = self.enterContext(ike.Daemons(self.lab))
        more = {"child": {"mode": self.mode}}
        self.own = daemons.start(self.lab.a, ike.GUARDED, **more)
        self.peer = daemons.start(self.lab.b, ike.PEER, **more)

    def test_rekeys_reauthentication_and_the_end_of_the_sa(self):
        self.own.initiate()
        connection = self.connect("tcp")
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["adopted"]), ("ESTABLISHED", False))
        spis = {latch["out"]["sa"][0]["spi"]}
        for _ in range(3):
            self.own.rekey()
            for number in range(20):
                connection.exchange(b"while rekeying %d" % number)
            self.peer.rekey_ike()
            wait_for("a new SA in use", lambda: connection.exchange() or self.spi(connection)
                     not in spis)
            spis.add(self.spi(connection))
        self.assertEqual(sum(self.guard.counters().values()), 0)

        self.own.terminate()
        connection.a.sendall(b"after the SA has gone")
        self.guard.wait_event(event="violation", latch=latch["id"], reason="clear",
                              direction="out", verdict="drop")
        self.assert_nothing_in_clear(connection)
        self.own.initiate()
        self.assertEqual(connection.receive(connection.b, 21), b"after the SA has gone")
        connection.exchange(b"and on it goes")
        self.assert_nothing_in_clear(connection)

    def test_a_real_program_while_rekeying(self):
        self.own.initiate()
        server = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.lab.b.name}",
                                   "iperf3", "--server", "--one-off"], stdout=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        wait_for("iperf3 to listen", lambda: self.lab.b.run("ss", "-Htln", "sport = 5201").stdout)
        with self.lab.guarded():
            client = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.lab.a.name}", "iperf3",
                                       "--client", self.lab.b.v4, "--bytes", "4M", "--bitrate",
                                       "8M", "--json"], stdout=subprocess.PIPE, text=True)
        self.guard.wait_event(event="latched", direction="in")
        for _ in range(3):
            self.own.rekey()
        out, _ = client.communicate(timeout=120)
        self.assertEqual(client.returncode, 0, out)
        self.assertGreaterEqual(json.loads(out)["end"]["sum_sent"]["bytes"], 4 << 20)
        self.assertFalse([e for e in self.guard.events if e["event"] == "violation"])

    def spi(self, connection):
        return self.guard.latch(connection)["out"]["sa"][0]["spi"]


class StrongSwanTunnel(StrongSwan):
    mode = "tunnel"


if __name__ == "__main__":
    unittest.main(verbosity=2)
