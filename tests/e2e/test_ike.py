# SPDX-License-Identifier: GPL-2.0-only
"""A latched connection and a real IKE daemon: strongSwan on both hosts."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

from case import Case
from lab import WAIT, run, wait_for

CHARON = "/usr/lib/ipsec/charon"
SWANCTL_CONF = """
connections {{
  peer {{
    version = 2
    local_addrs = {own}
    remote_addrs = {peer}
    proposals = aes128-sha256-modp2048
    local {{ auth = psk
      id = {own_id} }}
    remote {{ auth = psk
      id = {peer_id} }}
    children {{
      net {{
        mode = {mode}
        esp_proposals = aes128gcm16
        local_ts = dynamic[tcp]
        remote_ts = dynamic[tcp]
      }}
    }}
  }}
}}
secrets {{
  ike {{ secret = "for the lab only" }}
}}
"""
STRONGSWAN_CONF = """
charon {{
  load = random nonce openssl kdf kernel-netlink socket-default vici
  install_routes = no
  filelog {{
    lab {{
      path = {log}
      default = 1
    }}
  }}
  plugins {{ vici {{ socket = unix://{vici} }} }}
}}
"""


class Charon:
    """One IKE daemon, in its host's network namespace, with a /run of its own."""

    def __init__(self, host, peer, directory, mode):
        self.vici = f"{directory}/{host.dev}.vici"
        self.config = f"{directory}/{host.dev}.conf"
        self.log = f"{directory}/{host.dev}.log"
        with open(self.config, "w") as config:
            config.write(SWANCTL_CONF.format(own=host.v4, peer=peer.v4, mode=mode,
                                             own_id=f"{host.dev}.example",
                                             peer_id=f"{peer.dev}.example"))
        self.settings = f"{directory}/{host.dev}.strongswan.conf"
        with open(self.settings, "w") as strongswan:
            strongswan.write(STRONGSWAN_CONF.format(log=self.log, vici=self.vici))
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.name}", "unshare", "--mount", "sh", "-c",
             f"mount -t tmpfs tmpfs /run && exec {CHARON}"],
            env={**os.environ, "STRONGSWAN_CONF": self.settings},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("charon's socket", self.listening)
        self.swanctl("--load-all", "--file", self.config)

    def listening(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"charon ended with {self.process.returncode}")
        return os.path.exists(self.vici)

    def swanctl(self, *words):
        done = run("swanctl", *words, "--uri", f"unix://{self.vici}", check=False,
                   env={**os.environ, "STRONGSWAN_CONF": self.settings})
        if done.returncode:
            with open(self.log) as log:
                raise RuntimeError(f"swanctl {words}: {done.stderr}\n{log.read()}")

    def close(self):
        self.process.terminate()
        self.process.wait(WAIT)


class StrongSwan(Case):
    mode = "transport"

    def setUp(self):
        super().setUp()
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.own = Charon(self.lab.a, self.lab.b, directory, self.mode)
        self.addCleanup(self.own.close)
        self.peer = Charon(self.lab.b, self.lab.a, directory, self.mode)
        self.addCleanup(self.peer.close)

    def initiate(self):
        self.own.swanctl("--initiate", "--child", "net")

    def test_rekeys_reauthentication_and_the_end_of_the_sa(self):
        self.initiate()
        connection = self.connect("tcp")
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual((latch["state"], latch["adopted"]), ("ESTABLISHED", False))
        spis = {latch["out"]["sa"][0]["spi"]}
        for _ in range(3):
            self.own.swanctl("--rekey", "--child", "net")
            for number in range(20):
                connection.exchange(b"while rekeying %d" % number)
            self.peer.swanctl("--rekey", "--ike", "peer")
            wait_for("a new SA in use", lambda: connection.exchange() or self.spi(connection)
                     not in spis)
            spis.add(self.spi(connection))
        self.assertEqual(sum(self.guard.counters().values()), 0)

        self.own.swanctl("--terminate", "--ike", "peer")
        connection.a.sendall(b"after the SA has gone")
        self.guard.wait_event(event="violation", latch=latch["id"], reason="clear",
                              direction="out", verdict="drop")
        self.assert_nothing_in_clear(connection)
        self.initiate()
        self.assertEqual(connection.receive(connection.b, 21), b"after the SA has gone")
        connection.exchange(b"and on it goes")
        self.assert_nothing_in_clear(connection)

    def test_a_real_program_while_rekeying(self):
        self.initiate()
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
            self.own.swanctl("--rekey", "--child", "net")
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
