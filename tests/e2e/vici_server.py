# SPDX-License-Identifier: GPL-2.0-only
"""An IKE daemon's VICI socket, of which a test says what SAs are listed there."""

import contextlib
import os
import socket
import struct
import tempfile
import threading

from vici import (CMD_REQUEST, CMD_RESPONSE, EVENT, EVENT_CONFIRM, KEY_VALUE, SECTION_END,
                  SECTION_START)


def encode(message):
    """Sections are dicts."""
    data = b""
    for key, value in message.items():
        name = bytes([len(key)]) + key.encode()
        if isinstance(value, dict):
            data += bytes([SECTION_START]) + name + encode(value) + bytes([SECTION_END])
        else:
            data += (bytes([KEY_VALUE]) + name + struct.pack("!H", len(value.encode())) +
                     value.encode())
    return data


class ViciServer:
    """Answers clients, one after the other, until it is closed."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "vici")
        self.sas = []  # messages, for list-sas
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client, contextlib.suppress(OSError):
                    self._answer_all(client)

    def _answer_all(self, client):
        with client.makefile("rb") as packets:
            while header := packets.read(4):
                packet = packets.read(*struct.unpack("!I", header))
                if packet[0] != CMD_REQUEST:
                    self._send(client, bytes([EVENT_CONFIRM]))
                    continue
                asked = packet[2:2 + packet[1]] == b"list-sas"
                for message in self.sas if asked else ():
                    self._send(client, bytes([EVENT, 7]) + b"list-sa" + encode(message))
                self._send(client, bytes([CMD_RESPONSE]))

    @staticmethod
    def _send(client, packet):
        client.sendall(struct.pack("!I", len(packet)) + packet)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.directory.cleanup()
