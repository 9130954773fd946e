#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""close: the program's error, what becomes of the latch, and what is said.

The latches are written by hand, for real connections in a network namespace.
"""

import contextlib
import errno
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import time
import unittest

from layout import ESTABLISHED, LISTENER, latch, tuple_of
from native import Case, LOADER, hex_bytes, must, run, set_up_module

setUpModule = set_up_module  # pylint: disable=invalid-name

SO_NETNS_COOKIE, SO_COOKIE = 71, 57
NOWHERE = (bytes(16), 0)

# Says where it is connected; then how that came to its end.
NAMELESS = """
import errno, socket, struct, subprocess
open("%(procs)s", "w").write("0")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server = listener.accept()[0]
cookie = struct.unpack("<Q", client.getsockopt(socket.SOL_SOCKET, %(cookie)d, 8))[0]
print(cookie, client.getsockname()[1], client.getpeername()[1], flush=True)
input()
try:
    client.recv(1)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def enter_netns(path):
    import ctypes  # os.setns() came with Python 3.12
    with open(path, "rb") as netns:
        if ctypes.CDLL(None, use_errno=True).setns(netns.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), path)


@contextlib.contextmanager
def netns_of(name):
    """Sockets made in here are of that namespace."""
    home = f"/proc/{os.getpid()}/ns/net"
    with open(home, "rb") as own:
        enter_netns(f"/run/netns/{name}")
        try:
            yield
        finally:
            enter_netns(f"/proc/self/fd/{own.fileno()}")


def packed(address):
    number = ipaddress.ip_address(address[0])
    mapped = b"\0" * 10 + b"\xff\xff" if number.version == 4 else b""
    return mapped + number.packed, address[1]


def guarded(cgroup):
    """A process of that cgroup, in a network namespace without a name."""
    script = NAMELESS % {"cookie": SO_NETNS_COOKIE, "procs": f"{cgroup}/cgroup.procs"}
    return subprocess.Popen(["unshare", "--net", sys.executable, "-c", script],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


class Words(unittest.TestCase):
    def test_wrong_words(self):
        for words, text in [
            ([], "Which latches? Give their numbers, --remote, --peer-id or --all"),
            (["x"], "'x' is not a latch's number"),
            (["1", "0x2"], "'0x2' is not a latch's number"),
            (["1", "--all"], "not both"),
            (["1", "--remote", "10.9.0.1"], "not both"),
            (["1", "--peer-id", "a"], "not both"),
            (["--all", "--remote", "10.9.0.1"], "--all leaves nothing to narrow"),
            (["--all", "--peer-id", "a"], "--all leaves nothing to narrow"),
            (["--remote", "db.example"], "--remote 'db.example' is not ADDR[/LEN][:PORT]"),
            (["--remote"], "Option '--remote' needs a value"),
            (["--remote", ":"], "--remote ':' is not"),
        ]:
            with self.subTest(words=words):
                done = run(LOADER, "close", *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(text, done.stderr)
                done = run(LOADER, "close", *words, "--json")
                self.assertEqual(done.returncode, 2)
                self.assertIn(text, json.loads(done.stderr)["error"])


class Closing(Case):
    """Latches 1, 2, …, as they are put there; what a test opens is of its namespace."""

    def setUp(self):
        super().setUp()
        self.last = 100
        self.cookie = 0
        with netns_of(self.netns), socket.socket() as any_socket:
            raw = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
            self.cookie = struct.unpack("<Q", raw)[0]

    def put(self, proto, local, remote, state=ESTABLISHED, socket_cookie=0):
        """Writes a latch and returns its number."""
        self.last += 1
        key = tuple_of(self.cookie, local, remote, proto)
        value = latch(self.last, state, cookie=socket_cookie)
        must("bpftool", "map", "update", "pinned", f"{self.dir}/clatch_latches", "key",
             *hex_bytes(key), "value", *hex_bytes(value))
        return self.last

    def put_for(self, connection):
        proto, cookie = 6, 0
        if connection.type == socket.SOCK_DGRAM:
            proto = 17
            cookie = struct.unpack("<Q", connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
        return self.put(proto, packed(connection.getsockname()), packed(connection.getpeername()),
                        socket_cookie=cookie)

    def put_listener(self, listener):
        return self.put(6, packed(listener.getsockname()), NOWHERE, LISTENER)

    def open_listener(self, address="127.0.0.1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns_of(self.netns):
            listener = socket.socket(family)
        self.addCleanup(listener.close)
        listener.bind((address, 0))
        listener.listen()
        return listener

    def connect(self, address="127.0.0.1", to=None):
        """Client and server."""
        listener = self.open_listener(address)
        family = socket.AF_INET6 if ":" in (to or address) else socket.AF_INET
        with netns_of(self.netns):
            client = socket.socket(family)
        client.connect((to or address, listener.getsockname()[1]))
        server = listener.accept()[0]
        listener.close()
        for end in (client, server):
            end.settimeout(10)
            self.addCleanup(end.close)
        return client, server

    def connect_udp(self, address="127.0.0.1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns_of(self.netns):
            server = socket.socket(family, socket.SOCK_DGRAM)
            client = socket.socket(family, socket.SOCK_DGRAM)
        for end in (client, server):
            end.bind((address, 0))
            self.addCleanup(end.close)
        client.connect(server.getsockname())
        server.settimeout(1)
        client.settimeout(10)
        return client, server

    def states(self):
        latches = json.loads(self.ok("list", "--json"))["latches"]
        return {latch["id"]: latch["state"] for latch in latches}

    def closed(self, *words, **options):
        return json.loads(self.ok("close", "--json", *words, **options))["closed"]

    def assert_reset(self, end, peer):
        self.assertEqual(error_of(end.recv, 1), "ECONNABORTED")
        self.assertEqual(error_of(peer.recv, 1), "ECONNRESET")

    def assert_not_open(self, *ids):
        """Gone, or CLOSED for the moment that the packet path keeps it."""
        states = self.states()
        self.assertEqual([i for i in ids if states.get(i, "CLOSED") != "CLOSED"], [])

    def test_nothing_there(self):
        self.fails(1, "Nothing is loaded at", "close", "1")
        self.load()
        self.fails(1, "No latch 17", "close", "17")
        self.fails(1, "No latch", "close", "--all")
        self.fails(1, "No latch to 10.9.0.0/16", "close", "--remote", "10.9.0.0/16")

    def test_not_root(self):
        self.load()
        self.fails(1, "Couldn't close: not permitted", "close", "--all", netns=False,
                   wrap=["setpriv", "--reuid", "65534", "--clear-groups"])

    def test_tcp(self):
        self.load()
        for address, to in [("127.0.0.1", None), ("::1", None), ("::", "127.0.0.1"),
                            ("::", "::ffff:127.0.0.1")]:
            with self.subTest(address=address, to=to):
                client, server = self.connect(address, to)
                first = self.put_for(client)
                self.assertEqual(self.ok("close", first), "Closed 1 connection\n")
                self.assert_reset(client, server)
                self.assert_not_open(first)
                client, server = self.connect(address, to)
                second = self.put_for(server)
                self.assertEqual(self.closed(second), [second])
                self.assert_reset(server, client)
                self.assert_not_open(second)

    def test_from_another_namespace(self):
        """Found by its name: no guarded process is in it."""
        self.load()
        client, server = self.connect()
        number = self.put_for(client)
        self.assertEqual(self.closed(number, netns=False), [number])
        self.assert_reset(client, server)

    def test_namespace_of_a_guarded_process(self):
        """It has no name, and the process is in a cgroup below."""
        self.load()
        below = f"{self.cgroup}/below"
        os.mkdir(below)
        self.addCleanup(os.rmdir, below)
        with guarded(below) as child:
            self.cookie, local, remote = map(int, child.stdout.readline().split())
            number = self.put(6, packed(("127.0.0.1", local)), packed(("127.0.0.1", remote)))
            self.assertEqual(self.closed(number), [number])
            self.assertEqual(child.communicate("\n", timeout=20)[0], "ECONNABORTED\n")
        self.assert_not_open(number)

    def test_guarded_listener(self):
        """The latch that listen() made goes with the sockets."""
        self.load()
        with guarded(self.cgroup) as child:
            remote = int(child.stdout.readline().split()[2])
            latches = json.loads(self.ok("list", "--json", "--local", f":{remote}"))["latches"]
            self.assertEqual([(x["state"], x["remote"]) for x in latches], [("LISTENER", None)])
            self.assertEqual(self.ok("close", latches[0]["id"]), "Closed 1 listener\n")
            self.assertEqual(self.states(), {})
            child.kill()

    def test_namespace_that_is_not_found(self):
        """Nothing passes any more, but the program cannot be told: the rest is closed."""
        self.load()
        client, server = self.connect()
        good = self.put_for(client)
        self.cookie += 1 << 40
        lost = self.put(6, packed(("10.9.0.1", 1)), packed(("10.9.0.2", 80)))
        done = self.loader("close", "--all", "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["closed"], [good])
        self.assertEqual(json.loads(done.stderr)["warning"],
                         f"Couldn't end the connection of latch {lost}, to 10.9.0.2:80: its "
                         "network namespace was not found")
        self.assert_reset(client, server)
        self.assertEqual(self.states()[lost], "CLOSED")
        self.fails(1, "No latch", "close", "--all")  # it is CLOSED, if not gone
        self.assertEqual(self.loader("close", lost).returncode, 1)

    def test_connection_that_is_gone(self):
        """Its listener, which the kernel finds in its place, goes on."""
        self.load()
        listener = self.open_listener()
        local = packed(listener.getsockname())
        number = self.put(6, local, packed(("127.0.0.1", 9)))
        udp = self.put(17, packed(("127.0.0.1", 9)), packed(("127.0.0.1", 10)), socket_cookie=1)
        self.assertEqual(sorted(self.closed(number, udp)), [number, udp])
        self.assertEqual(self.states(), {})
        with netns_of(self.netns):
            socket.create_connection(listener.getsockname()).close()
        listener.accept()[0].close()

    def test_udp(self):
        self.load()
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"]:
            with self.subTest(address=address):
                client, server = self.connect_udp(address)
                number = self.put_for(client)
                self.assertEqual(self.closed(number), [number])
                self.assertEqual(error_of(client.recv, 1), "ECONNABORTED")
                self.assertEqual(error_of(client.send, b"x"), "EDESTADDRREQ")
                self.assertRaises(TimeoutError, server.recv, 1)
                self.assert_not_open(number)

    def test_listener(self):
        self.load()
        for address in ["127.0.0.1", "0.0.0.0", "::1", "::"]:
            with self.subTest(address=address):
                listener = self.open_listener(address)
                client, server = self.connect()
                numbers = [self.put_listener(listener), self.put_for(client)]
                self.assertEqual(self.ok("close", "--all"),
                                 "Closed 1 connection and 1 listener\n")
                self.assertEqual(error_of(listener.accept), "EINVAL")
                self.assert_reset(client, server)
                self.assertNotIn(numbers[0], self.states())
                self.assert_not_open(*numbers)

    def test_several(self):
        """Those asked for by number are closed all or none; --remote chooses, and no listener."""
        self.load()
        pairs = [self.connect() for _ in range(3)]
        ids = [self.put_for(client) for client, _ in pairs]
        listener = self.put_listener(self.open_listener())
        self.fails(1, "No latch 99", "close", ids[0], "99", ids[1])
        self.assertEqual(set(self.states().values()), {"ESTABLISHED", "LISTENER"})
        self.fails(1, "No latch to 127.0.0.2", "close", "--remote", "127.0.0.2")
        self.fails(1, "No latch to 127.0.0.1:1", "close", "--remote", "127.0.0.1:1")
        port = pairs[1][0].getpeername()[1]
        self.assertEqual(self.closed("--remote", f"127.0.0.0/8:{port}"), [ids[1]])
        self.assert_reset(*pairs[1])
        self.assertEqual(self.ok("close", "--remote", "127.0.0.1"), "Closed 2 connections\n")
        self.assert_reset(*pairs[0])
        self.assert_reset(*pairs[2])
        self.assertEqual(self.states()[listener], "LISTENER")

    def test_peer_id(self):
        self.load()
        client, server = self.connect()
        number = self.put_for(client)
        self.fails(1, "No latch has the peer identity 'db1.example'", "close", "--peer-id", "db1.example")
        self.fails(1, "No latch to 127.0.0.1 has the peer identity 'x'", "close", "--peer-id", "x",
                   "--remote", "127.0.0.1")
        self.assertEqual(self.states()[number], "ESTABLISHED")
        client.send(b"x")
        self.assertEqual(server.recv(1), b"x")

    def test_event(self):
        """Each latch's end is told once, with its reason."""
        self.load()
        with guarded(self.cgroup) as child, subprocess.Popen(
                [LOADER, "monitor", "--json", "--bpffs", self.dir], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True) as monitor:
            self.cookie, local, remote = map(int, child.stdout.readline().split())
            number = self.put(6, packed(("127.0.0.1", local)), packed(("127.0.0.1", remote)))
            self.wait_for_reader(monitor)
            ids = sorted(self.states())
            self.assertEqual(len(ids), 2)
            self.assertIn(number, ids)
            self.assertEqual(sorted(self.closed("--all")), ids)
            child.communicate("\n", timeout=20)
            time.sleep(1.5)  # latches stay for a moment
            monitor.terminate()
            events = [json.loads(line) for line in monitor.stdout]
        events = [(e["latch"], e["cause"]) for e in events if e["event"] == "closed"]
        self.assertEqual(sorted(events), [(number, "admin") for number in ids])

    @staticmethod
    def wait_for_reader(process):
        """Until it has the ring buffer open: it waits there."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                with open(f"/proc/{process.pid}/wchan", encoding="utf-8") as wchan:
                    if "poll" in wchan.read():
                        return
            except OSError:
                pass
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main(verbosity=2)
