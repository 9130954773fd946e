# SPDX-License-Identifier: GPL-2.0-only
"""Tests that make their sockets one by one: listeners, clients, both ends of odd connections."""

import contextlib
import socket
import struct

from case import Case
from lab import wait_for

SYN_SENT, SYN_RECV = 2, 3  # as in TCP_INFO


def tcp_info(sock, offset, length):
    """A number of struct tcp_info: the state at 0, segments that are not acknowledged at 24."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[offset:offset + length], "little")


class EndsCase(Case):
    """Connections are reset at the end of a test: no TIME_WAIT is left of them."""

    port = 8000

    def next_port(self):
        EndsCase.port += 1
        return EndsCase.port

    @staticmethod
    def linger(*socks, reset=1):
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))

    def connect(self, proto="tcp", *rest, **more):
        connection = super().connect(proto, *rest, **more)
        if proto == "tcp":
            self.linger(connection.a, connection.b)
        return connection

    def accept(self, sock):
        accepted, _ = sock.accept()
        self.linger(accepted)
        self.addCleanup(accepted.close)
        return accepted

    def new_socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, host=None):
        """A socket on the guarded host, and guarded; or on @host."""
        with contextlib.nullcontext() if host else self.lab.guarded():
            sock = (host or self.lab.a).socket(family, kind)
        self.addCleanup(sock.close)
        sock.settimeout(20)
        return sock

    def listening(self, address=None, port=0, family=socket.AF_INET, reuse=None, listen=True):
        """A listening socket of the guarded host, and its port."""
        sock = self.new_socket(family)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, reuse, 1)
        sock.bind((address or self.lab.a.address(family), port))
        if listen:
            sock.listen()
        return sock, sock.getsockname()[1]

    def client(self, address, port, own_port=0, family=socket.AF_INET):
        """A connection of the peer to the guarded host."""
        sock = self.new_socket(family, host=self.lab.b)
        sock.bind((self.lab.b.address(family), own_port))
        sock.connect((address, port))
        return sock

    def hang_up(self, connection):
        """The peer closes first: no TIME_WAIT on the guarded host."""
        self.linger(connection.a, connection.b, reset=0)
        connection.b.close()
        self.assertEqual(connection.a.recv(1), b"")
        connection.a.close()

    def story(self, latch):
        """What became of a latch: (event, old state, state, cause)."""
        return [(e["event"], e["old_state"], e["state"], e["cause"]) for e in self.guard.events
                if e["event"] != "violation" and e["latch"] == latch]

    def all_latches(self):
        return self.guard.json("list")["latches"]

    def none_is_left(self):
        wait_for("no latch", lambda: not self.all_latches())
