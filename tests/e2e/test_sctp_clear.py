# SPDX-License-Identifier: GPL-2.0-only
"""SCTP's handshake where a rule comes into force in the middle of it: the listener keeps no state
between the INIT and the COOKIE-ECHO, and so the last packet in clear has to be refused by itself."""

import errno
import tempfile
import unittest

from lab import wait_for
from sctp import BASE, SctpCase


class CookieEcho(SctpCase):
    RULE = "[rule all]\nproto = sctp\nrequire = ipsec\n"

    def rules(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(text)
            file.flush()
            self.guard.loader("policy", "load", file.name)

    def hold_back(self):
        """The peer's COOKIE-ECHOs do not leave it."""
        self.lab.b.run("nft", "add table inet hold; add chain inet hold out "
                       "{ type filter hook output priority 0 ; }; "
                       "add rule inet hold out sctp chunk cookie-echo exists counter drop")
        self.addCleanup(self.lab.b.run, "nft", "delete table inet hold", check=False)

    def held_back(self):
        return "counter packets 0" not in self.lab.b.run("nft", "list table inet hold").stdout

    def test_in_clear(self):
        self.none_is_left()
        sock = self.bound(self.lab.a.v4, listen=True)
        client = self.bound(self.lab.b.v4, self.lab.b)
        self.hold_back()
        client.setblocking(False)
        self.assertEqual(client.connect_ex(sock.getsockname()), errno.EINPROGRESS)
        wait_for("a COOKIE-ECHO", self.held_back)
        self.addCleanup(self.rules, "")
        self.rules(self.RULE)
        self.lab.b.run("nft", "delete table inet hold")
        event = self.guard.wait_event(event="violation", latch=None, reason="clear", direction="in",
                                      verdict="drop", proto="sctp")
        self.assertEqual(event["local"]["port"], sock.getsockname()[1])
        self.silent(sock, 0.5)
        self.assertEqual(self.all_latches(), [])
        self.protect(BASE)
        served = self.accept(sock)  # it is repeated, or begun anew
        client.settimeout(20)
        self.exchange(served, client)
        self.assertEqual(self.latch(served)["rule"], "all")


if __name__ == "__main__":
    unittest.main(verbosity=2)
