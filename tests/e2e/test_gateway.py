# SPDX-License-Identifier: GPL-2.0-only
"""Forwarded connections, held on a gateway: IPsec on the host, sockets in a container."""

import socket

import ipsec
from gateway import GatewayCase, Tunnel

SIX = Tunnel(family=socket.AF_INET6)


class Forward(GatewayCase):
    def held_through_flush(self, tunnel, proto, **more):
        """Nothing leaves in clear while the policies are gone; it goes on when they are back."""
        connection, latch = self.latched(tunnel, proto, **more)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        for sock in (connection.a, connection.b):
            sock.send(b"must not be seen")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assertFalse(connection.readable(connection.a, 0.3), "delivered in clear")
        self.assertFalse(self.wire.seen(b"must not be seen"))
        self.assert_nothing_in_clear(connection)
        tunnel.policies(self.lab)
        return connection, latch

    def test_tcp_ipv4(self):
        connection, latch = self.held_through_flush(Tunnel(), "tcp")
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")
        self.assertEqual(connection.receive(connection.a, 16), b"must not be seen")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])
        self.assert_nothing_in_clear(connection)

    def test_tcp_ipv6(self):
        connection, _ = self.held_through_flush(SIX, "tcp")
        self.assertEqual(connection.receive(connection.b, 16), b"must not be seen")
        self.assert_nothing_in_clear(connection)

    def test_udp_ipv4(self):
        connection, _ = self.held_through_flush(Tunnel(), "udp")
        connection.a.send(b"again")
        self.assertEqual(connection.b.recv(99), b"again")

    def test_udp_ipv6(self):
        connection, _ = self.held_through_flush(SIX, "udp")
        connection.a.send(b"again")
        self.assertEqual(connection.b.recv(99), b"again")

    def test_server_in_the_container(self):
        connection, _ = self.held_through_flush(Tunnel(), "tcp", server=True)
        self.assertEqual(connection.receive(connection.a, 16), b"must not be seen")
