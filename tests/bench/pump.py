# SPDX-License-Identifier: GPL-2.0-only
"""A connection of the lab that is never still."""

import collections
import os
import pathlib
import select
import socket
import subprocess

from lab import Connection

BUILD = pathlib.Path(os.environ.get("CLATCH_BUILD", "build"))
BUFFER = 128 << 10  # of both sockets of a stream: else TCP's tuning is what is measured

Lap = collections.namedtuple("Lap", "bytes ns gap_ns")


class Pump:
    """tests/bench/pump.c on a connection; it prints a line each @step bytes."""

    def __init__(self, lab, way, step):
        """@way: a stream `out` of the guarded host or `in`, or a `ping`."""
        self.connection = Connection(lab, timeout=60)
        ends = self.connection.a, self.connection.b
        ends = ends[::-1] if way == "in" else ends
        for sock, option in zip(ends, (socket.SO_SNDBUF, socket.SO_RCVBUF)):
            sock.settimeout(None)
            if way != "ping":
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        fds = [sock.fileno() for sock in ends]
        words = "ping" if way == "ping" else "stream", *fds, step
        self.process = subprocess.Popen([str(w) for w in (BUILD / "pump", *words)], pass_fds=fds,
                                        stdout=subprocess.PIPE)

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the connection has ended")
        return [int(word) for word in line.split()]

    def lap(self, count, act=lambda: None):
        """Times @count lines; @act at the first."""
        while select.select([self.process.stdout], [], [], 0)[0]:
            self._line()
        began, start, _ = self._line()
        act()
        lines = [self._line() for _ in range(count)]
        return Lap(lines[-1][0] - began, lines[-1][1] - start, max(line[2] for line in lines))

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.connection.abort()
