# SPDX-License-Identifier: GPL-2.0-only
"""What `show` says of both ends' certificates, with clatch at both of them; and of what they bind."""

import contextlib
import hashlib
import os
import pathlib
import socket
import subprocess
import sys
import types
import unittest

import ike
from case import Case
from lab import Guard, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))

import options as o  # noqa: E402


def openssl(*words, data=None):
    return subprocess.run(["openssl", *map(str, words)], check=True, input=data,
                          stdout=subprocess.PIPE).stdout


def fingerprints(certificate):
    """SHA-256 of a certificate file and of its public key, both in DER, by openssl."""
    der = openssl("x509", "-in", certificate.file, "-outform", "DER")
    pem = openssl("x509", "-in", certificate.file, "-noout", "-pubkey")
    key = openssl("pkey", "-pubin", "-outform", "DER", data=pem)
    return hashlib.sha256(der).digest(), hashlib.sha256(key).digest()


class CertificateCase(Case):
    guard_options = None

    def setUp(self):
        super().setUp()
        self.far = types.SimpleNamespace(name=f"{self.lab.name}-far", a=self.lab.b,
                                         cgroup=f"{self.lab.cgroup}-far")
        os.mkdir(self.far.cgroup)
        self.addCleanup(os.rmdir, self.far.cgroup)
        self.daemons = self.enterContext(ike.Daemons(self.lab))

    def start(self, host, name, key, **more):
        certificate = self.daemons.authority.make(name, key)
        return self.daemons.start(host, name, certificate, **more)

    def guard_both(self, own, peer):
        guards = Guard(self.lab, dev=False, follow=False), Guard(self.far, dev=False, follow=False)
        for guard, daemon in zip(guards, (own, peer)):
            self.addCleanup(guard.close)
            guard.start_run("--vici", daemon.vici)
        return guards

    @contextlib.contextmanager
    def connected(self):
        """A connection whose two sockets are both guarded; its port, and our socket."""
        with self.lab.guarded(self.far.cgroup):
            listener = self.lab.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((self.lab.b.v4, 0))
        listener.listen()
        with self.lab.guarded():
            client = self.lab.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.settimeout(20)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        client.sendall(b"hello")
        server.recv(5)
        server.sendall(b"hello")
        client.recv(5)
        yield listener.getsockname()[1], client
        for sock in client, server, listener:
            sock.close()

    @staticmethod
    def shown(guard, port):
        for latch in guard.json("list")["latches"]:
            if latch["remote"] and port in (latch["local"]["port"], latch["remote"]["port"]):
                return guard.json("show", latch["id"])
        return None

    def wait_shown(self, guard, port, wanted):
        return wait_for(f"{wanted} to be shown", lambda: (latch := self.shown(guard, port)) and
                        latch[wanted] and latch)


class Certificates(CertificateCase):
    def check(self, key, before):
        """@before: the IKE SA is there before `run` is."""
        own = self.start(self.lab.a, ike.GUARDED, key)
        peer = self.start(self.lab.b, ike.PEER, key)
        if before:
            peer.initiate()
        guards = self.guard_both(own, peer)
        if not before:
            peer.initiate()
        with self.connected() as (port, sock):
            near, far = (self.wait_shown(g, port, "channel_binding") for g in guards)
            said = o.inquire(sock)
            self.assertTrue(said.flags & o.BINDING)
            self.assertEqual(bytes(said.binding).hex(), near["channel_binding"])
        certificate, public = fingerprints(peer.certificate)
        shown = near["certificate"]
        self.assertEqual((shown["subject"], shown["issuer"]),
                         (f"O=Lab, CN={ike.PEER}", "O=Lab, CN=Lab CA"))
        self.assertEqual((shown["sha256"], shown["public_key_sha256"]),
                         (certificate.hex(), public.hex()))
        self.assertEqual(shown["anchor"]["subject"], "O=Lab, CN=Lab CA")
        self.assertEqual(far["certificate"]["subject"], f"O=Lab, CN={ike.GUARDED}")
        own_public = fingerprints(own.certificate)[1]
        binding = bytes(x ^ y for x, y in zip(own_public, public)).hex()
        self.assertEqual((near["channel_binding"], far["channel_binding"]), (binding, binding))
        self.assertEqual(near["identity"], "ike")
        return binding

    def test_rsa(self):
        self.check("rsa", False)

    def test_ed25519_and_another_pair(self):
        binding = self.check("ed25519", False)
        self.doCleanups()
        self.setUp()
        self.assertNotEqual(self.check("ecdsa", False), binding)

    def test_run_is_told_later(self):
        self.check("ecdsa", True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
