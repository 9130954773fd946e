# SPDX-License-Identifier: GPL-2.0-only
"""A gateway: host `a` has the IPsec, containers behind veths have the sockets."""

import contextlib
import dataclasses
import os
import socket
import types

import ipsec
from case import FIRST, NEXT, Case
from lab import Connection, Guard, Host, Lab, Wire, run, wait_for

NETS = {socket.AF_INET: "10.7.0.0/16", socket.AF_INET6: "fd00:7::/32"}


class Container:
    """A network namespace behind a veth of host `a`; it has no IPsec."""

    def __init__(self, lab, number):
        self.name, self.veth, self.host = f"{lab.name}-c{number}", f"vethc{number}", lab.a
        self.v4, self.v6 = f"10.7.{number}.2", f"fd00:7:{number}::2"
        self.make()
        self.fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        self.plug(number)

    def make(self):
        run("ip", "netns", "add", self.name)

    def plug(self, number):
        self.host.ip(f"link add {self.veth} type veth peer name eth0 netns {self.name}",
                     f"link set {self.veth} up",
                     f"addr add 10.7.{number}.1/24 dev {self.veth}",
                     f"addr add fd00:7:{number}::1/64 dev {self.veth} nodad")
        self.ip("link set lo up", "link set eth0 up", f"addr add {self.v4}/24 dev eth0",
                f"addr add {self.v6}/64 dev eth0 nodad",
                f"route add default via 10.7.{number}.1",
                f"route add default via fd00:7:{number}::1")

    ip, inside, socket = Host.ip, Host.inside, Host.socket

    def address(self, family, _inner=False):
        return self.v6 if family == socket.AF_INET6 else self.v4

    def close(self):
        os.close(self.fd)
        self.host.run("ip", "link", "del", self.veth, check=False)
        run("ip", "netns", "del", self.name, check=False)


def write(host, path, value):
    with host.inside(), open(f"/proc/sys/net/{path}", "w") as file:
        file.write(value)


class GatewayLab(Lab):
    """The lab with two containers behind the guarded host."""

    def __init__(self, make=Container):
        super().__init__()
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            write(self.a, path, "1")
        self.containers = []
        try:
            for number in (1, 2):
                self.containers.append(make(self, number))
        except BaseException:
            self.close()
            raise
        for family, net in NETS.items():
            self.b.ip(f"route add {net} via {self.a.address(family)}")

    def view(self, container):
        """The container in the place of the guarded host, for Connection."""
        return types.SimpleNamespace(a=container, b=self.b, guarded=contextlib.nullcontext)

    def close(self):
        for container in self.containers:
            container.close()
        super().close()


@dataclasses.dataclass(frozen=True)
class Tunnel:
    """How what the containers send is protected on its way to what is behind host `b`."""

    family: int = socket.AF_INET
    suite: str = ipsec.GCM
    reqid: int = 7
    net: str = None  # what is protected at this end; else the containers' nets
    if_id: int = 0
    encap: bool = False

    def ends(self, lab):
        near, far = lab.a.address(self.family), lab.b.address(self.family)
        return near, far, self.net or NETS[self.family], (
            lab.b.net6 if self.family == socket.AF_INET6 else lab.b.net4)

    def state(self, src, dst, spi):
        words = f"xfrm state add src {src} dst {dst} proto esp spi {spi:#x} reqid {self.reqid}"
        words += " mode tunnel replay-window 32" + (f" if_id {self.if_id}" if self.if_id else "")
        words += " " + self.suite.format(spi, spi)
        return words + (" encap espinudp 4500 4500 0.0.0.0" if self.encap else "")

    def policy(self, src, dst, ends, direction):
        words = f"xfrm policy add src {src} dst {dst} dir {direction} priority 1000"
        words += f" if_id {self.if_id}" if self.if_id else ""
        return words + (f" tmpl src {ends[0]} dst {ends[1]} proto esp reqid {self.reqid} "
                        "mode tunnel")

    def states(self, lab, spis):
        near, far, *_ = self.ends(lab)
        for host in (lab.a, lab.b):
            host.ip(self.state(near, far, spis[0]), self.state(far, near, spis[1]))

    def policies(self, lab):
        near, far, inside, outside = self.ends(lab)
        lab.a.ip(self.policy(inside, outside, (near, far), "out"),
                 self.policy(outside, inside, (far, near), "in"),
                 self.policy(outside, inside, (far, near), "fwd"))
        lab.b.ip(self.policy(outside, inside, (far, near), "out"),
                 self.policy(inside, outside, (near, far), "in"))

    def install(self, lab, spis=FIRST):
        self.states(lab, spis)
        self.policies(lab)

    def rekey(self, lab, old=FIRST, new=NEXT):
        near, far, *_ = self.ends(lab)
        self.states(lab, new)
        for host in (lab.a, lab.b):
            host.ip(f"xfrm state delete src {near} dst {far} proto esp spi {old[0]:#x}",
                    f"xfrm state delete src {far} dst {near} proto esp spi {old[1]:#x}")


class GatewayCase(Case):
    """One lab for all tests of a class, its containers and its uplink guarded."""

    uplinks = ("a0",)
    attach_options = ()
    follow = True
    container = Container

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.lab = cls.stack.enter_context(GatewayLab(cls.container))
        cls.guard = cls.stack.enter_context(Guard(cls.lab, *cls.guard_options, dev=False,
                                                  cgroup=False, follow=cls.follow))
        cls.wire = Wire(cls.lab.a)
        cls.stack.callback(cls.wire.close)
        cls.attach()

    @classmethod
    def attach(cls):
        words = [w for c in cls.lab.containers[:1] for w in ("--veth", c.veth)]
        words += [w for uplink in cls.uplinks for w in ("--uplink", uplink)]
        cls.guard.loader("attach", *words, *cls.attach_options)

    def connect(self, proto="tcp", family=socket.AF_INET, container=0, inner=True, **more):
        connection = Connection(self.lab.view(self.lab.containers[container]), proto, family,
                                inner, **more)
        self.addCleanup(connection.abort)
        return connection

    def latched(self, tunnel=Tunnel(), proto="tcp", **more):
        """A forwarded connection that was protected from the start, and its latch."""
        tunnel.install(self.lab)
        connection = self.connect(proto, tunnel.family, **more)
        connection.exchange(b"protected from the start")
        latch = self.guard.latch(connection)
        self.assertIsNotNone(latch, "the connection has no latch")
        self.assertEqual(latch["state"], "ESTABLISHED")
        self.wire.clear()
        self.guard.forget()
        return connection, latch

    def wait_passed(self, connection, payload):
        connection.exchange(payload)
        self.assertFalse(self.wire.seen(payload), "it left in clear")

    def clear_refused(self):
        """Packets in clear that were refused until now."""
        return self.guard.counters()["clear"]

    def wait_refused(self, before, reason="clear"):
        return wait_for(f"a packet to be refused: {reason}",
                        lambda: self.guard.counters()[reason] > before)
