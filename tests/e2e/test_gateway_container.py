# SPDX-License-Identifier: GPL-2.0-only
"""A gateway's containers made by crun: their veths are found by the container, and held."""

import pathlib
import shutil
import socket
import sys
import tempfile
import unittest

import gateway
import ipsec
import test_gateway
from case import LAST, OTHER
from gateway import GatewayCase, Tunnel
from lab import LOADER, run, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))
import container  # pylint: disable=wrong-import-position


class Crun(gateway.Container):
    """As a network plugin does it: the runtime makes the namespace, the veth comes after."""

    def make(self):
        self.place = tempfile.mkdtemp()
        self.crun = container.Container(self.name, self.place, LOADER, "/sys/fs/bpf/none", None,
                                        netns="new")
        said = self.crun.start()
        if said:
            raise RuntimeError(said)
        run("ip", "netns", "attach", self.name, self.crun.state()["pid"])

    def socket(self, family, kind, proto=0):
        return self.crun.socket(family, kind, proto)

    def close(self):
        self.crun.close()
        shutil.rmtree(self.place)
        super().close()


class Runtime(GatewayCase):
    container = Crun

    @classmethod
    def attach(cls):
        cls.guard.loader("attach", "--container", cls.lab.containers[0].name, "--uplink", "a0",
                         "--ensure")

    def refused(self, connection, latch, reason, neighbour):
        """What is sent now does not arrive; the container that is not guarded is not disturbed."""
        self.guard.forget()
        connection.a.send(b"SECRET")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason=reason, verdict="drop")
        self.assertFalse(self.wire.seen(b"SECRET"))
        self.assert_nothing_in_clear(connection)
        neighbour.exchange(b"not disturbed")

    def held(self, family):
        self.assertEqual(self.guard.json("status")["veths"], [self.lab.containers[0].veth])
        tunnel = Tunnel(family=family)
        connection, latch = self.latched(tunnel)
        neighbour = self.connect("tcp", family, container=1)
        neighbour.exchange()
        self.assertIsNone(self.guard.latch(neighbour))

        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.refused(connection, latch, "clear", neighbour)
        self.assertTrue(self.wire.seen(b"not disturbed"))  # so the capture shows what is clear
        tunnel.policies(self.lab)
        self.assertEqual(connection.receive(connection.b, 6), b"SECRET")

        tunnel.rekey(self.lab)
        self.wait_passed(connection, b"rekeyed")

        ipsec.flush(self.lab.a, self.lab.b)
        Tunnel(family=family, reqid=9).install(self.lab, OTHER)
        self.refused(connection, latch, "sa-mismatch", neighbour)
        ipsec.flush(self.lab.a, self.lab.b)
        tunnel.install(self.lab, LAST)
        self.assertEqual(connection.receive(connection.b, 6), b"SECRET")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])

    def test_ipv4(self):
        self.held(socket.AF_INET)

    def test_ipv6(self):
        self.held(socket.AF_INET6)

    def test_restart(self):
        """Another container of the same name and address: attached anew, latched anew."""
        connection, latch = self.latched()
        for sock in connection.a, connection.b:
            sock.close()
        one = self.lab.containers[0]
        one.close()
        wait_for("the veth to go", lambda: one.veth in self.guard.json("status")["gone"]["veths"])
        self.lab.containers[0] = Crun(self.lab, 1)
        self.guard.loader("detach", "--gone")
        self.attach()
        status = self.guard.json("status")
        self.assertEqual((status["veths"], status["gone"]["veths"]), ([one.veth], []))
        again = self.connect()
        again.exchange()
        anew = self.guard.latch(again)
        self.assertNotEqual(anew["id"], latch["id"])
        ipsec.flush_policies(self.lab.a, self.lab.b)
        again.a.send(b"SECRET")
        self.guard.wait_event(event="violation", latch=anew["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assertFalse(self.wire.seen(b"SECRET"))


class Two(test_gateway.TwoContainers):
    """Of the same peer, both made by the runtime."""

    container = Crun


class Nat(test_gateway.Nat):
    container = Crun


if __name__ == "__main__":
    unittest.main(verbosity=2)
