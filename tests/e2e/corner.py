# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of corners have in common."""

import contextlib
import socket

import ipsec
from ends import EndsCase
from ipsec import Shape
from lab import Connection


class CornerCase(EndsCase):
    def hold(self, host):
        """No ESP comes in at @host until the function that is returned is called."""
        host.run("nft", "-f", "-", input="table inet hold { chain i { type filter hook input "
                 "priority 0; meta l4proto esp counter drop\n }\n }\n")
        self.addCleanup(host.run, "nft", "flush", "ruleset")
        return lambda: host.run("nft", "flush", "ruleset")

    def setting(self, host, name, value):
        before = host.run("sysctl", "-n", name).stdout.strip()
        host.run("sysctl", "-qw", f"{name}={value}")
        self.addCleanup(host.run, "sysctl", "-qw", f"{name}={before}")

    @staticmethod
    def count(host, name):
        """A counter of /proc/net/netstat."""
        lines = host.run("cat", "/proc/net/netstat").stdout.splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            found = dict(zip(names.split(), values.split()))
            if name in found:
                return int(found[name])
        raise KeyError(name)

    def pair(self, kind=socket.SOCK_STREAM):
        """A guarded socket and one of the peer's, bound, as a Connection that is to be made."""
        pair = Connection.__new__(Connection)
        pair.proto = "tcp" if kind == socket.SOCK_STREAM else "udp"
        pair.a, pair.b = self.new_socket(kind=kind), self.new_socket(kind=kind, host=self.lab.b)
        pair.listener = None
        for sock, host in (pair.a, self.lab.a), (pair.b, self.lab.b):
            sock.bind((host.v4, self.next_port()))
        pair.own, pair.peer = pair.a.getsockname(), pair.b.getsockname()
        return pair

    def breaks(self, connection):
        """It is held: without its policies nothing leaves, and with them it goes on."""
        latch = self.wait_state(connection, "ESTABLISHED")
        ipsec.flush_policies(self.lab.a, self.lab.b)
        with contextlib.suppress(PermissionError):
            connection.a.send(b"SECRET")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assert_nothing_in_clear(connection)
        ipsec.policies(self.lab, Shape(upper=connection.proto))
        self.wait_state(connection, "ESTABLISHED")
        if connection.proto == "tcp":
            self.assertEqual(connection.receive(connection.b, 6), b"SECRET")
        connection.exchange()
        self.assert_nothing_in_clear(connection)
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])
        return latch
