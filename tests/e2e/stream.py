# SPDX-License-Identifier: GPL-2.0-only
"""A connection in use all the time, whatever is done to it meanwhile."""

import contextlib
import socket
import threading

from lab import wait_for


class Stream:
    """Numbered records from the guarded host and to it, all the time."""

    def __init__(self, connection):
        self.connection, self.stopped = connection, threading.Event()
        ends = (connection.a, connection.b), (connection.b, connection.a)
        for sock in connection.a, connection.b:
            sock.settimeout(60)
        self.sent, self.got = [bytearray(), bytearray()], [bytearray(), bytearray()]
        self.threads = [threading.Thread(target=work, args=arguments, daemon=True)
                        for way in (0, 1)
                        for work, arguments in ((self._send, (ends[way][0], self.sent[way])),
                                                (self._receive, (ends[way][1], self.got[way])))]
        for thread in self.threads:
            thread.start()

    def _send(self, sock, sent):
        number = 0
        with contextlib.suppress(OSError):  # then what arrives is not all
            while not self.stopped.wait(0.02):
                record = b"record %9d\n" % number + bytes(50)
                sent += record
                sock.sendall(record)
                number += 1
            sock.shutdown(socket.SHUT_WR)

    @staticmethod
    def _receive(sock, got):
        with contextlib.suppress(OSError):
            while part := sock.recv(65536):
                got += part

    def goes_on(self):
        before = [len(got) for got in self.got]
        wait_for("the stream to go on", lambda: all(len(got) > old + 500 for got, old in
                                                    zip(self.got, before)), 40)

    def end(self):
        """Is what arrived what was sent?"""
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)
        return self.got == self.sent
