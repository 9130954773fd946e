# SPDX-License-Identifier: GPL-2.0-only
"""The socket options of include/clatch.h, as a Python program has them."""

import ctypes
import socket

SOL_CLATCH = 0x434c
INQUIRE, REQUIRE, DISPOSITION, OFF, LOCAL_ID, PEER_ID = range(1, 7)
UNPROTECTED, PROTECTED, ESP, AH, ENCRYPTED = range(5)
DEFAULT, HOLD, RESET, RESET_AFTER = range(4)
STATES = "NONE LISTENER LARVAL ESTABLISHED BROKEN CLOSED".split()
LATCHED, ADOPTED, DEMANDED, AUDIT, BINDING = 1, 2, 4, 8, 16


class Requirement(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint16), ("protection", ctypes.c_uint8),
                ("mode", ctypes.c_uint8), ("min_key_bits", ctypes.c_uint16),
                ("reserved", ctypes.c_uint16), ("peer_id", ctypes.c_char * 128)]


class Disposition(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint16), ("action", ctypes.c_uint16),
                ("milliseconds", ctypes.c_uint32)]


class Parameters(ctypes.Structure):
    _fields_ = [("encryption", ctypes.c_char * 32), ("integrity", ctypes.c_char * 32),
                ("encryption_key_bits", ctypes.c_uint16), ("integrity_key_bits", ctypes.c_uint16),
                ("icv_bits", ctypes.c_uint16), ("protocol", ctypes.c_uint8),
                ("mode", ctypes.c_uint8), ("encapsulation", ctypes.c_uint8),
                ("flags", ctypes.c_uint8), ("reserved", ctypes.c_uint16),
                ("spi", ctypes.c_uint32), ("reqid", ctypes.c_uint32), ("if_id", ctypes.c_uint32)]


class Direction(ctypes.Structure):
    _fields_ = [("sa", Parameters * 4), ("src", ctypes.c_uint8 * 16), ("dst", ctypes.c_uint8 * 16),
                ("nat_sport", ctypes.c_uint16), ("nat_dport", ctypes.c_uint16),
                ("sas", ctypes.c_uint32), ("packets", ctypes.c_uint64),
                ("bytes", ctypes.c_uint64), ("violations", ctypes.c_uint64)]


class Inquiry(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint16), ("size", ctypes.c_uint16),
                ("flags", ctypes.c_uint32), ("id", ctypes.c_uint64), ("state", ctypes.c_uint32),
                ("causes", ctypes.c_uint32), ("incoming", Direction), ("out", Direction),
                ("binding", ctypes.c_uint8 * 32)]


def require(sock, protection, mode=0, min_key_bits=0, peer_id=b"", version=1, reserved=0):
    value = Requirement(version, protection, mode, min_key_bits, reserved, peer_id)
    sock.setsockopt(SOL_CLATCH, REQUIRE, bytes(value))


def requirement(sock):
    value = Requirement.from_buffer_copy(
        sock.getsockopt(SOL_CLATCH, REQUIRE, ctypes.sizeof(Requirement)))
    return value.protection, value.mode, value.min_key_bits, value.peer_id


def dispose(sock, action, milliseconds=0, version=1):
    sock.setsockopt(SOL_CLATCH, DISPOSITION, bytes(Disposition(version, action, milliseconds)))


def disposition(sock):
    value = Disposition.from_buffer_copy(sock.getsockopt(SOL_CLATCH, DISPOSITION, 8))
    return value.action, value.milliseconds


def inquire(sock):
    return Inquiry.from_buffer_copy(
        sock.getsockopt(SOL_CLATCH, INQUIRE, ctypes.sizeof(Inquiry)))


def ids(sock):
    """(local, peer)"""
    return tuple(sock.getsockopt(SOL_CLATCH, name, 512)[:-1].decode()
                 for name in (LOCAL_ID, PEER_ID))


def turn_off(sock, value=1):
    sock.setsockopt(SOL_CLATCH, OFF, value)


def error_of(call, *words, **more):
    """The number of the error that a call ends with, 0 if with none."""
    try:
        call(*words, **more)
    except socket.timeout:
        return -1
    except OSError as error:
        return error.errno
    return 0
