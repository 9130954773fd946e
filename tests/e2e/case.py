# SPDX-License-Identifier: GPL-2.0-only
"""What the end-to-end tests share: a lab, a guard on it, and a latched connection."""

import contextlib
import dataclasses
import unittest

import ipsec
from lab import Connection, Guard, Lab, Wire, wait_for

# SPIs a to b, b to a: at first, after a rekey, under other parameters, and when all is well again.
FIRST, NEXT, OTHER, LAST = (0x1001, 0x2001), (0x1101, 0x2101), (0x3001, 0x4001), (0x1201, 0x2201)


class Case(unittest.TestCase):
    """One lab for all tests of a class, and one instance of clatch unless @guard_options is None."""

    guard_options = ()
    follow = True

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.lab = cls.stack.enter_context(Lab())
        if cls.guard_options is not None:
            cls.guard = cls.stack.enter_context(Guard(cls.lab, *cls.guard_options,
                                                      follow=cls.follow))
        cls.wire = Wire(cls.lab.a)
        cls.stack.callback(cls.wire.close)

    def setUp(self):
        self.wire.clear()
        if self.guard_options is not None:
            self.guard.forget()
        # the first to be added is the last to run: connections are closed under protection
        self.addCleanup(ipsec.flush, self.lab.a, self.lab.b)

    def protect(self, shape):
        """Puts the shape in force until the test ends."""
        if shape.if_id:
            self.addCleanup(ipsec.remove_interfaces, self.lab)
        for encap in ipsec.install(self.lab, shape, FIRST):
            self.addCleanup(encap.close)

    def connect(self, proto="tcp", *rest, **more):
        connection = Connection(self.lab, proto, *rest, **more)
        self.addCleanup(connection.abort)
        return connection

    def latched(self, shape, proto="tcp", **more):
        """A connection that was protected from the start, its latch, and the shape in force."""
        shape = dataclasses.replace(shape, upper=proto)
        self.protect(shape)
        connection = self.connect(proto, shape.family, shape.inner, **more)
        connection.exchange(b"protected from the start")
        latch = self.guard.latch(connection)
        self.assertIsNotNone(latch, "the connection has no latch")
        self.assertEqual(latch["state"], "ESTABLISHED")
        if self.follow:
            self.wait_policed(latch)
        self.wire.clear()
        self.guard.forget()
        return connection, latch, shape

    def show(self, latch):
        return self.guard.json("show", latch["id"])

    def wait_policed(self, latch):
        """Until `run` knows that the SPD demands what is latched: then its absence is a conflict."""
        wait_for("run to see the policies",
                 lambda: self.show(latch)["policed"] == {"in": True, "out": True})

    def wait_state(self, connection, state):
        return wait_for(state, lambda: (latch := self.guard.latch(connection)) and
                        latch["state"] == state and latch)

    def assert_nothing_in_clear(self, connection):
        self.assertFalse(self.wire.ports(connection.proto, connection.own[1]),
                         "packets left in clear")
