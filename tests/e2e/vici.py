# SPDX-License-Identifier: GPL-2.0-only
"""A client for VICI, the control protocol of strongSwan's charon; Debian has none for Python."""

import socket
import struct

(CMD_REQUEST, CMD_RESPONSE, CMD_UNKNOWN, EVENT_REGISTER, EVENT_UNREGISTER, EVENT_CONFIRM,
 EVENT_UNKNOWN, EVENT) = range(8)
SECTION_START, SECTION_END, KEY_VALUE, LIST_START, LIST_ITEM, LIST_END = range(1, 7)
PATIENCE = 60.0  # seconds: some commands end only when the peer has answered


def encode(message):
    """A message of text alone: no command here needs a section or a list."""
    return b"".join(bytes([KEY_VALUE, len(key)]) + key.encode() +
                    struct.pack("!H", len(value)) + value.encode()
                    for key, value in message.items())


def decode(data):
    """Sections become dicts, lists lists; what is not text, as certificates are, stays bytes."""
    at = 0

    def take(width):
        nonlocal at
        length = int.from_bytes(data[at:at + width], "big")
        part = data[at + width:at + width + length]
        at += width + length
        try:
            return part.decode("ascii")
        except UnicodeDecodeError:
            return part

    stack = [{}]
    items = None
    while at < len(data):
        kind = data[at]
        at += 1
        if kind == SECTION_START:
            stack.append(stack[-1].setdefault(take(1), {}))
        elif kind == SECTION_END:
            stack.pop()
        elif kind == KEY_VALUE:
            key = take(1)
            stack[-1][key] = take(2)
        elif kind == LIST_START:
            items = stack[-1].setdefault(take(1), [])
        elif kind == LIST_ITEM:
            items.append(take(2))
    return stack[0]


class Vici:
    """One connection to charon."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.events = []  # what came between

    def _read(self, length):
        data = b""
        while len(data) < length:
            part = self.sock.recv(length - len(data))
            if not part:
                raise ConnectionError("charon closed its VICI socket")
            data += part
        return data

    def _send(self, kind, name, body=b""):
        packet = bytes([kind, len(name)]) + name.encode() + body
        self.sock.sendall(struct.pack("!I", len(packet)) + packet)

    def _reply(self, wanted):
        while True:
            packet = self._read(int.from_bytes(self._read(4), "big"))
            if packet[0] == wanted:
                return decode(packet[1:])
            if packet[0] != EVENT:
                raise RuntimeError(f"charon answers {packet[0]}, not {wanted}")
            self.events.append(decode(packet[2 + packet[1]:]))

    def request(self, command, **message):
        self._send(CMD_REQUEST, command, encode(message))
        return self._reply(CMD_RESPONSE)

    def stream(self, command, event):
        """The messages of a command such as list-sas, which come as events."""
        self._send(EVENT_REGISTER, event)
        self._reply(EVENT_CONFIRM)
        self.request(command)
        return self.events

    def close(self):
        self.sock.close()
