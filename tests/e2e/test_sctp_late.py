# SPDX-License-Identifier: GPL-2.0-only
"""SCTP's packets that come at an association's end, or after it, on real ESP: the latch goes all
the same, and that of the next association stays."""

import ctypes
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

from lab import run, wait_for
from sctp import BASE, SCTP, SctpCase, TIMES

HOLD = pathlib.Path(__file__).resolve().parent.parent / "program" / "hold.bpf.c"
ARMED, HOLDS, LET_GO = 1, 2, 3  # as there


def crc32c(data):
    value = 0xffffffff
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    return value ^ 0xffffffff


def heartbeat(source_port, target_port):
    """A HEARTBEAT without the association's tag: SCTP takes it for nothing."""
    head = struct.pack("!HHI", source_port, target_port, 0)
    chunk = struct.pack("!BBHHHI", 4, 0, 12, 1, 8, 0)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


class Held:
    """tests/program/hold.bpf.c, attached."""

    def __init__(self, case):
        self.bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
        for name in ("bpf_object__open_file", "bpf_object__find_program_by_name",
                     "bpf_program__attach"):
            getattr(self.bpf, name).restype = ctypes.c_void_p
        with tempfile.TemporaryDirectory() as files:
            run("clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-I",
                f"/usr/include/{run('gcc', '-print-multiarch').stdout.strip()}",
                "-c", HOLD, "-o", f"{files}/hold.o")
            self.object = ctypes.c_void_p(
                self.bpf.bpf_object__open_file(f"{files}/hold.o".encode(), None))
        case.assertEqual(self.bpf.bpf_object__load(self.object), 0)
        case.addCleanup(self.bpf.bpf_object__close, self.object)
        link = self.bpf.bpf_program__attach(ctypes.c_void_p(
            self.bpf.bpf_object__find_program_by_name(self.object, b"hold")))
        case.assertTrue(link)
        case.addCleanup(self.bpf.bpf_link__destroy, ctypes.c_void_p(link))
        self.map = self.bpf.bpf_object__find_map_fd_by_name(self.object, b"held")

    def set(self, step):
        self.bpf.bpf_map_update_elem(self.map, bytes(4), struct.pack("=I", step), 0)

    def step(self):
        value = ctypes.c_uint32()
        self.bpf.bpf_map_lookup_elem(self.map, bytes(4), ctypes.byref(value))
        return value.value


class Late(SctpCase):
    def served(self):
        """The ends of an association of a listener that stays, and their latch."""
        self.protect(BASE)
        listener = self.bound(self.lab.a.v4, listen=True)
        peer = self.bound(self.lab.b.v4, self.lab.b)
        peer.connect(listener.getsockname())
        own = self.accept(listener)
        self.exchange(own, peer)
        latch, = self.latches(own)
        self.linger(own, peer, reset=0)
        return own, peer, latch

    def stop_at_peer(self, chunk):
        self.lab.b.run("nft", "add table inet late; add chain inet late in "
                       "{ type filter hook input priority 0 ; }; "
                       f"add rule inet late in sctp chunk {chunk} exists counter drop")
        self.addCleanup(self.lab.b.run, "nft", "delete table inet late", check=False)

    def stopped(self):
        listed = self.lab.b.run("nft", "list table inet late").stdout
        return int(listed.split("packets ")[1].split()[0])

    def test_the_peer_has_not_heard_of_the_end(self):
        """It repeats its SHUTDOWN-ACK, and the listener answers."""
        own, _, latch = self.served()
        self.stop_at_peer("shutdown-complete")
        own.close()
        wait_for("answers for some seconds", lambda: self.stopped() >= 6)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="released")
        self.lab.b.run("nft", "delete table inet late")
        self.none_but_the_listener()

    def none_but_the_listener(self):
        wait_for("no connection's latch", lambda: not [
            x for x in self.all_latches() if x["remote"]])

    def other_cpu_sends(self, peer, own):
        """One packet of the association, on another CPU than the test's, by a process of its own:
        that cannot leave its CPU while it is held."""
        packet = heartbeat(peer.getsockname()[1], own.getsockname()[1])
        sender = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.lab.b.name}", "taskset", "-c", "1", sys.executable,
             "-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, "
             f"{SCTP}).sendto({packet}, ({self.lab.a.v4!r}, 0))"])
        self.addCleanup(sender.wait)

    def test_a_packet_is_under_way_on_another_cpu(self):
        """It has seen that the association lives, and says so after that has ended."""
        own, peer, latch = self.served()
        held = Held(self)
        with self.lab.a.inside():  # a process that enters would wait for the CPU that is held
            associations = self.enterContext(open("/proc/thread-self/net/sctp/assocs"))
        self.addCleanup(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        os.sched_setaffinity(0, {0})
        held.set(ARMED)
        self.other_cpu_sends(peer, own)
        self.addCleanup(held.set, LET_GO)
        wait_for("it to be held", lambda: held.step() == HOLDS)
        own.close()
        self.assertEqual(peer.recv(100), b"")  # SHUTDOWN
        peer.close()
        wait_for("the association to end", lambda: associations.seek(0) or len(
            associations.readlines()) == 1)
        held.set(LET_GO)
        self.guard.wait_event(event="closed", latch=latch["id"], cause="released")

    def check_next(self, server):
        """The next association has the same addresses and ports, at once, and is idle then."""
        self.addCleanup(self.tune, hb_interval=TIMES["hb_interval"])
        self.tune(hb_interval=60000)
        self.protect(BASE)
        ends = [(self.lab.a.v4, self.next_port(), None), (self.lab.b.v4, self.next_port(),
                                                           self.lab.b)]
        for last in (False, True):
            own, peer = (self.new_socket(host=host) for _, _, host in ends)
            for sock, (address, port, _) in zip((own, peer), ends):
                sock.bind((address, port))
            passive, active = (own, peer) if server else (peer, own)
            passive.listen()
            active.connect(passive.getsockname())
            accepted = self.accept(passive)
            self.exchange(active, accepted)
            if last:
                break
            passive.close()
            self.linger(active, accepted)
            active.close()
            accepted.close()
        latch, = self.latches(own)
        with self.assertRaises(TimeoutError):
            self.guard.wait_event(4, event="closed", latch=latch["id"])

    def test_the_next_association_of_a_client(self):
        self.check_next(False)

    def test_the_next_association_of_a_server(self):
        self.check_next(True)

    def test_a_latch_that_was_closed_goes_though_its_program_tries_again(self):
        """Each INIT is refused while that is there, and does not keep it."""
        own, peer, latch = self.associated()
        ends = own.getsockname(), peer.getsockname()
        self.guard.loader("close", latch["id"], check=False)  # SCTP has no way to end its socket
        self.linger(own, peer)
        own.close()
        peer.close()
        again = self.new_socket()
        again.bind(ends[0])
        again.connect(ends[1])  # whose listener is still there
        self.assertNotEqual(self.latch(again)["id"], latch["id"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
