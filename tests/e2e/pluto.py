# SPDX-License-Identifier: GPL-2.0-only
"""Libreswan's IKE daemon, one for each host.

Debian's package is in conflict with strongSwan's.  scripts/setup unpacks it, and each daemon has
it laid over its own /usr, as if it were installed.
"""

import os
import subprocess

from lab import WAIT, run, wait_for

UNPACKED = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../build/libreswan"))
SECRET = ': PSK "for the lab only, but long enough for it"\n'
CONN = """
conn {name}
  left={own}
  leftid="{own_id}"
  right={peer}
  rightid="{peer_id}"
  authby=secret
  type={mode}
  leftprotoport=tcp
  rightprotoport=tcp
  ike=aes128-sha2_256-modp2048
  esp=aes_gcm128-null
  leftupdown="{updown}"
"""


class Pluto:
    """One IKE daemon, in its host's network namespace, with a /run of its own.

    @peers: a connection's name → the identity that its peer must prove; @updown: "" for none.
    """

    def __init__(self, host, peer, directory, own_id, peers, updown="", mode="transport"):
        self.host, self.directory = host, directory
        self.log = self.write("log", "")
        self.config = self.write("ipsec.conf", "config setup\n" + "".join(
            CONN.format(name=name, own=host.v4, own_id=own_id, peer=peer.v4, peer_id=peer_id,
                        mode=mode, updown=updown) for name, peer_id in peers.items()))
        secrets = self.write("ipsec.secrets", SECRET)
        run("certutil", "-N", "-d", f"sql:{directory}", "--empty-password")
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.name}", "unshare", "--mount", "sh", "-ec",
             f"mount -t tmpfs tmpfs /run; mkdir /run/pluto; "
             f"mount -t overlay -o ro,lowerdir={UNPACKED}/usr:/usr overlay /usr; "
             f"exec /usr/libexec/ipsec/pluto --nofork --config {self.config} "
             f"--secretsfile {secrets} --nssdir {directory} --logfile {self.log} "
             f"--no-dnssec --nhelpers 0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("pluto's socket", self.listening)
        self.ipsec("whack", "--listen")
        for name in peers:
            self.add(name)

    def write(self, name, text):
        path = f"{self.directory}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def listening(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"pluto ended with {self.process.returncode}:\n{self.logged()}")
        return os.path.exists(f"/proc/{self.process.pid}/root/run/pluto/pluto.ctl")

    def logged(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def inside(self, *words):
        """The words of a command that sees what the daemon sees."""
        return ["nsenter", "--mount", "--net", "-t", str(self.process.pid), *words]

    def ipsec(self, *words):
        done = run(*self.inside("ipsec", *words), check=False)
        if done.returncode:
            raise RuntimeError(f"ipsec {words}: {done.stdout}{done.stderr}\n{self.logged()}")
        return done.stdout

    def initiate(self, name):
        out = self.ipsec("whack", "--initiate", "--name", name)
        if "established Child SA" not in out:
            raise RuntimeError(f"{name}: {out}\n{self.logged()}")

    def rekey(self, name):
        self.ipsec("whack", "--rekey-ipsec", "--name", name)

    def add(self, name):
        self.ipsec("addconn", "--config", self.config, name)

    def delete(self, name):
        """Its place in the SPD too: connections with the same selectors take turns."""
        self.ipsec("whack", "--delete", "--name", name)

    def close(self):
        self.process.terminate()
        self.process.wait(WAIT)
