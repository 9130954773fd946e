# SPDX-License-Identifier: GPL-2.0-only
"""A network namespace's SAD by XFRM netlink: SAs that come and go by the hundred, in one call."""

import collections
import ipaddress
import socket
import struct

NETLINK_XFRM = 6
NEWSA, DELSA, GETSA = 0x10, 0x11, 0x12
DONE, ERROR = 3, 2
REQUEST, DUMP = 1, 0x300
GROUP_SA = 1 << 2  # XFRMNLGRP_SA
ESP = socket.IPPROTO_ESP
HEADER = "=IHHII"  # struct nlmsghdr
NEVER = b"\xff" * 32  # limits of bytes and packets; those of time are 0
INFO_SIZE, SPI, REQID = 224, 72, 208  # offsets behind the header
CIPHER, DIGEST = 2, 1  # XFRMA_ALG_CRYPT, XFRMA_ALG_AUTH
AT_ONCE = 100

Sa = collections.namedtuple("Sa", "src dst spi reqid", defaults=(1,))


def _algorithm(kind, name):
    return struct.pack("=HH64sI", 72, kind, name.encode(), 0)


ALGORITHMS = _algorithm(CIPHER, "ecb(cipher_null)") + _algorithm(DIGEST, "digest_null")


def _packed(address):
    return ipaddress.ip_address(address).packed.ljust(16, b"\0")


def _message(kind, body):
    return struct.pack(HEADER, 16 + len(body), kind, REQUEST, 0, 0) + body


def install(sa):
    """ESP, transport mode, neither encrypted nor authenticated: the kernel has no work with it."""
    info = bytearray(INFO_SIZE)
    struct.pack_into("=H", info, 40, socket.AF_INET)
    info[56:72] = _packed(sa.dst)
    struct.pack_into("!IB", info, SPI, sa.spi, ESP)
    info[80:96] = _packed(sa.src)
    info[96:128] = NEVER
    struct.pack_into("=IH", info, REQID, sa.reqid, socket.AF_INET)
    return _message(NEWSA, bytes(info) + ALGORITHMS)


def remove(sa):
    return _message(DELSA, _packed(sa.dst) + struct.pack("!I", sa.spi) +
                    struct.pack("=HBx", socket.AF_INET, ESP))


class Sad:
    """@sock: NETLINK_XFRM, raw, made in the namespace."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.bind((0, 0))

    def change(self, messages):
        """The kernel says nothing but what it refuses."""
        for first in range(0, len(messages), AT_ONCE):
            self.sock.send(b"".join(messages[first:first + AT_ONCE]))
            self._no_error()

    def tell(self, messages):
        """As if the kernel had done it: only those hear who follow."""
        for message in messages:
            self.sock.sendto(message[:6] + bytes(2) + message[8:], (0, GROUP_SA))

    def _no_error(self):
        try:
            answer = self.sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        raise OSError(-struct.unpack_from("=i", answer, 16)[0], "the kernel refused an SA")

    def dump(self):
        """{(destination, SPI): reqid} of every ESP SA."""
        self.sock.send(struct.pack(HEADER, 16, GETSA, REQUEST | DUMP, 1, 0))
        found = {}
        while True:
            answer = self.sock.recv(1 << 16)
            while answer:
                size, kind = struct.unpack_from("=IH", answer)
                if kind in (DONE, ERROR):
                    return found
                info = answer[16:size]
                family = struct.unpack_from("=H", info, REQID + 4)[0]
                address = info[56:60] if family == socket.AF_INET else info[56:72]
                spi, proto = struct.unpack_from("!IB", info, SPI)
                if proto == ESP:
                    found[str(ipaddress.ip_address(address)), spi] = struct.unpack_from(
                        "=I", info, REQID)[0]
                answer = answer[size + 3 & ~3:]

    def close(self):
        self.sock.close()
