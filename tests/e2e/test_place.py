# SPDX-License-Identifier: GPL-2.0-only
"""Sockets that move between processes and cgroups, and network namespaces, on real ESP."""

import contextlib
import os
import socket
import unittest

import ipsec
from case import FIRST, LAST
from corner import CornerCase
from ipsec import Shape
from lab import LOADER, Connection, Lab, cgroup2_mount, run, wait_for

BASE = Shape()
UDP = Shape(upper="udp")


class Processes(CornerCase):
    """Whoever holds the descriptor: a socket stays in the cgroup in which it was made."""

    def setUp(self):
        super().setUp()
        self.other = f"{cgroup2_mount()}/{self.lab.name}-other"
        os.mkdir(self.other)
        self.addCleanup(os.rmdir, self.other)

    def child(self, take, cgroup=None):
        """A process in another cgroup; each word sent to it is sent on @take()'s socket."""
        mine, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                mine.close()
                self.lab._enter(cgroup or self.other)
                taken = take(theirs)
                self.work(taken, theirs)
            os._exit(0)
        theirs.close()
        mine.settimeout(20)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(mine.close)
        return mine, pid

    @staticmethod
    def work(sock, orders):
        orders.send(b"ready")
        while word := orders.recv(100):
            try:
                sock.send(word)
                orders.send(b"sent")
            except PermissionError:
                orders.send(b"held")

    def say(self, child, word):
        child.send(word)
        return child.recv(100)

    def held(self, connection, latch, shape, child):
        """The child's packets pass while they are protected, and do not when they are not."""
        self.assertEqual(child.recv(100), b"ready")
        self.assertEqual(self.say(child, b"protected"), b"sent")
        self.assertEqual(connection.b.recv(100), b"protected")
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.assertEqual(self.say(child, b"SECRET"), b"held")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="out",
                              reason="clear", verdict="drop")
        self.assert_nothing_in_clear(connection)
        ipsec.policies(self.lab, shape)
        self.wait_state(connection, "ESTABLISHED")
        self.assertEqual(self.say(child, b"protected"), b"sent")
        self.assertEqual(connection.b.recv(100), b"protected")
        self.assertEqual(self.guard.latch(connection)["id"], latch["id"])
        child.close()  # and with its last descriptor the latch goes
        self.guard.wait_event(event="closed", latch=latch["id"], cause="released")

    def test_descriptor_passed_to_a_process_outside(self):
        child, _ = self.child(lambda orders: socket.socket(
            fileno=socket.recv_fds(orders, 1, 1)[1][0]))
        connection, latch, shape = self.latched(BASE, "udp")
        socket.send_fds(child, [b"x"], [connection.a.fileno()])
        self.assertEqual(child.recv(100, socket.MSG_PEEK), b"ready")
        connection.a.close()
        self.held(connection, latch, shape, child)

    def test_inherited_by_a_child_outside(self):
        connection, latch, shape = self.latched(BASE, "udp")
        child, _ = self.child(lambda _: connection.a)
        connection.a.close()
        self.held(connection, latch, shape, child)

    def test_a_process_that_moves_out(self):
        """Its connections stay held, and what it connects later is not latched."""
        self.protect(UDP)
        pair = self.pair(socket.SOCK_DGRAM)  # for its addresses
        pair.a.close()
        pair.b.connect(pair.own)

        def connect(_):
            sock = self.lab.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(pair.own)
            sock.connect(pair.peer)
            sock.send(b"hello")
            return sock

        child, pid = self.child(connect, self.lab.cgroup)
        self.assertEqual(pair.b.recv(100), b"hello")
        pair.b.send(b"hello")
        latch = self.wait_state(pair, "ESTABLISHED")
        self.wait_policed(latch)
        with open(f"{self.other}/cgroup.procs", "w", encoding="utf-8") as procs:
            procs.write(str(pid))
        self.held(pair, latch, UDP, child)

    def test_a_socket_made_outside_is_not_latched(self):
        """Even if its process moves in."""
        self.protect(UDP)
        pair = self.pair(socket.SOCK_DGRAM)
        pair.a.close()
        pair.a = self.new_socket(kind=socket.SOCK_DGRAM, host=self.lab.a)
        pair.a.bind(pair.own)
        with self.lab.guarded():
            pair.a.connect(pair.peer)
            pair.b.connect(pair.own)
            pair.exchange()
        self.assertIsNone(self.guard.latch(pair))


class Namespaces(CornerCase):
    """Two network namespaces with the same addresses, one cgroup, one `run` in the first."""

    def second(self):
        """Another lab; self.leave() ends it, if not the test's end does."""
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.leave = stack.close
        second = stack.enter_context(Lab(f"{self.lab.name}x"))
        second.guarded = self.lab.guarded  # the first one's cgroup
        self.loader_in(second, "attach", "--dev", second.a.dev)
        stack.callback(self.loader_in, second, "detach", "--dev", second.a.dev)
        stack.callback(ipsec.flush, second.a, second.b)
        return second

    def loader_in(self, lab, *words):
        lab.a.run(LOADER, *words, "--bpffs", self.guard.bpffs)

    def connect_in(self, lab, proto, port):
        Connection.port = port
        connection = Connection(lab, proto)
        self.addCleanup(connection.close)
        if proto == "tcp":
            self.linger(connection.a, connection.b)
        connection.exchange()
        return connection

    def latch_in(self, connection):
        """The latch of this connection, and not of its double."""
        cookie = connection.lab.a.netns_cookie()
        shown = [self.show(x) for x in self.all_latches() if x["remote"] and
                 x["local"]["port"] == connection.own[1]]
        self.assertEqual(len(shown), 2)
        return [x for x in shown if x["netns"] == cookie][0]

    def told_apart(self, proto, shape):
        """In both places; what breaks one does not break the other."""
        labs = self.lab, self.second()
        for lab, spis in zip(labs, (FIRST, LAST)):
            ipsec.install(lab, shape, spis)
        port = Connection.port
        both = [self.connect_in(lab, proto, port) for lab in labs]
        self.assertEqual((both[0].own, both[0].peer), (both[1].own, both[1].peer))
        latches = [self.latch_in(connection) for connection in both]
        self.assertNotEqual(latches[0]["id"], latches[1]["id"])
        self.assertEqual([x["out"]["sa"][0]["spi"] for x in latches],
                         [f"{spis[0]:#010x}" for spis in (FIRST, LAST)])
        for latch in latches:
            self.wait_policed(latch)
        for here, there in (0, 1), (1, 0):
            self.guard.forget()
            ipsec.flush_policies(labs[here].a, labs[here].b)
            self.guard.wait_event(event="broken", latch=latches[here]["id"], cause="policy")
            both[there].exchange(b"not concerned")
            self.assertEqual(self.show(latches[there])["state"], "ESTABLISHED")
            ipsec.policies(labs[here], shape)
            self.guard.wait_event(event="restored", latch=latches[here]["id"])
            both[here].exchange(b"and on it goes")
            self.assertEqual({e["latch"] for e in self.guard.events}, {latches[here]["id"]})
        return labs, both, latches

    def test_tcp(self):
        labs, both, latches = self.told_apart("tcp", BASE)
        both[1].close()
        self.guard.wait_event(event="closed", latch=latches[1]["id"], cause="released")
        both[0].exchange(b"still there")

    def test_udp(self):
        self.told_apart("udp", UDP)

    def sas(self, lab):
        cookie = lab.a.netns_cookie()
        return sum(e["formatted"]["key"]["netns"] == cookie for e in self.guard.dump("clatch_sas"))

    def test_sas_are_read_where_they_are(self):
        """A flush names no SA: the SAD is read anew, and in its own namespace."""
        second = self.second()
        for lab, spis in ((self.lab, FIRST), (second, LAST)):
            ipsec.install(lab, UDP, spis)
        self.connect_in(second, "udp", Connection.port)
        wait_for("run to see both", lambda: (self.sas(self.lab), self.sas(second)) == (2, 2))
        second.a.ip("xfrm state flush")
        wait_for("run to see the flush", lambda: self.sas(second) != 2)
        self.assertEqual((self.sas(self.lab), self.sas(second)), (2, 0))

    def test_a_namespace_that_goes(self):
        """run goes on without it, and does not keep it alive."""
        labs, both, latches = self.told_apart("udp", UDP)
        witness = "clatch-w0"  # its other end goes with the namespace
        run("ip", "link", "add", witness, "type", "veth", "peer", "name", "w1", "netns",
            labs[1].a.name)
        self.addCleanup(run, "ip", "link", "del", witness, check=False)
        both[1].close()
        self.guard.wait_event(event="closed", latch=latches[1]["id"], cause="released")
        self.leave()
        wait_for("the namespace to go",
                 lambda: run("ip", "link", "show", witness, check=False).returncode, 40)
        ipsec.flush_policies(self.lab.a, self.lab.b)
        self.guard.wait_event(event="broken", latch=latches[0]["id"], cause="policy")
        ipsec.policies(self.lab, UDP)
        self.wait_state(both[0], "ESTABLISHED")
        both[0].exchange(b"still there")


if __name__ == "__main__":
    unittest.main(verbosity=2)
