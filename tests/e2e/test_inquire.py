# SPDX-License-Identifier: GPL-2.0-only
"""Inquiry (RFC 5660 R7) on real ESP: what show and list say of a latch."""

import datetime
import socket
import struct
import unittest

import ipsec
from case import FIRST
from ends import EndsCase
from ipsec import Shape
from lab import run

BASE = Shape()
V4, V6 = socket.AF_INET, socket.AF_INET6


class Apart(EndsCase):
    def apart(self):
        """A tunnel whose packets come from another address of the peer than they go to."""
        a, b, other = self.lab.a.v4, self.lab.b.v4, "10.9.0.22"
        tunnel = Shape(mode="tunnel")
        self.lab.b.ip(f"address add {other}/24 dev {self.lab.b.dev}")
        self.addCleanup(self.lab.b.ip, f"address del {other}/24 dev {self.lab.b.dev}")
        for host, out, back in (self.lab.a, "out", "in"), (self.lab.b, "in", "out"):
            host.ip(*(ipsec.sa_line(tunnel, *sa) for sa in ((a, other, FIRST[0]),
                                                            (b, a, FIRST[1]))),
                    *(f"xfrm policy add src {src} dst {dst} proto tcp dir {way} tmpl src {src} "
                      f"dst {end} proto esp reqid 7 mode tunnel"
                      for src, dst, way, end in ((a, b, out, other), (b, a, back, a))))
        return [b, a], [a, other]


class Inquire(Apart):
    """show gives all that is known (R7)."""

    def recent(self, text):
        age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(
            text.replace("Z", "+00:00"))
        self.assertLess(abs(age), datetime.timedelta(seconds=60), text)

    def test_everything(self):
        connection, latch, _ = self.latched(BASE)
        shown = self.show(latch)
        self.recent(shown.pop("since"))
        self.recent(shown.pop("changed"))
        with self.lab.a.inside():
            index = socket.if_nametoindex(self.lab.a.dev)
        for side in shown["in"], shown["out"]:
            self.assertGreater(side.pop("packets"), 1)
            self.assertGreater(side.pop("bytes"), 100)

        def side(spi, src, dst):
            return {"sa": [{"proto": "esp", "mode": "transport", "aead": "rfc4106(gcm(aes))",
                            "aead_key_bits": 128, "icv_bits": 128, "esn": False, "replay": True,
                            "encap": None, "reqid": 7, "if_id": 0, "spi": f"{spi:#010x}",
                            "src": src, "dst": dst, "local_id": None, "peer_id": None}],
                    "violations": 0, "mark": 0, "ifindex": index}

        a, b = self.lab.a.v4, self.lab.b.v4
        self.assertEqual(shown, {
            "id": latch["id"], "proto": "tcp", "local": {"addr": a, "port": connection.own[1]},
            "remote": {"addr": b, "port": connection.peer[1]}, "state": "ESTABLISHED",
            "causes": [], "adopted": False, "demanded": False,
            "forwarded": False, "rule": None, "listener": None,
            "in": side(FIRST[1], b, a), "out": side(FIRST[0], a, b), "local_id": None,
            "peer_id": None, "netns": self.lab.a.netns_cookie(),
            "policed": {"in": True, "out": True}, "asked": None,
            "identity": "reqid", "local_certificate": None, "certificate": None, "channel_binding": None})

    def test_counters(self):
        connection, latch, shape = self.latched(BASE, "udp")
        before = self.show(latch)
        for _ in range(10):
            connection.exchange(bytes(100))
        ipsec.flush(self.lab.b)
        connection.b.send(b"in clear")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in")
        after = self.show(latch)
        for way, violations in ("in", 1), ("out", 0):
            self.assertEqual(after[way]["packets"] - before[way]["packets"], 10)
            self.assertEqual(after[way]["bytes"] - before[way]["bytes"] >= 1280, True)
            self.assertEqual(after[way]["violations"], violations)

    def test_inner_and_outer_addresses(self):
        for family in V4, V6:
            with self.subTest(family=family):
                connection, latch, _ = self.latched(Shape(mode="tunnel", family=family))
                shown = self.show(latch)
                outer = [h.address(family) for h in (self.lab.a, self.lab.b)]
                inner = [h.address(family, True) for h in (self.lab.a, self.lab.b)]
                self.assertEqual([shown["local"]["addr"], shown["remote"]["addr"]], inner)
                for way, ends in ("out", outer), ("in", outer[::-1]):
                    self.assertEqual([shown[way]["sa"][0]["src"], shown[way]["sa"][0]["dst"]],
                                     ends)
                text = self.guard.loader("show", latch["id"]).stdout
                self.assertIn(f"{outer[0]} -> {outer[1]}", text)
                connection.close()
                ipsec.flush(self.lab.a, self.lab.b)

    def test_nat_traversal(self):
        _, latch, _ = self.latched(Shape(encap=True))
        shown = self.show(latch)
        for way in "in", "out":
            sa = shown[way]["sa"][0]
            self.assertEqual((sa["encap"], sa["encap_src_port"], sa["encap_dst_port"]),
                             ("udp", 4500, 4500))
        self.assertIn(f"{self.lab.a.v4}:4500 -> {self.lab.b.v4}:4500",
                      self.guard.loader("show", latch["id"]).stdout)

    def test_nesting(self):
        _, latch, _ = self.latched(Shape(nested=True))
        for way in "in", "out":
            self.assertEqual([sa["proto"] for sa in self.show(latch)[way]["sa"]], ["ah", "esp"])

    def test_outer_ends_that_differ(self):
        ends = self.apart()
        connection = self.connect()
        connection.exchange()
        latch = self.guard.latch(connection)
        shown = self.show(latch)
        self.assertEqual([[shown[way]["sa"][0][end] for end in ("src", "dst")]
                          for way in ("in", "out")], list(ends))
        self.wait_policed(latch)
        ipsec.flush_policies(self.lab.b)  # in clear
        connection.b.send(b"in clear")
        for direction, wanted in zip(("in", "out"), ends):
            if direction == "out":
                ipsec.flush_policies(self.lab.a)
                connection.a.send(b"in clear")
            event = self.guard.wait_event(event="violation", latch=latch["id"],
                                          direction=direction)
            self.assertEqual([event["expected"][0][end] for end in ("src", "dst")], wanted)
        more = run("bpftool", "map", "dump", "pinned", f"{self.guard.bpffs}/clatch_more").stdout
        self.assertIn(f'"key": {latch["id"]}', more)
        connection.abort()
        self.guard.wait_event(event="closed", latch=latch["id"])
        more = run("bpftool", "map", "dump", "pinned", f"{self.guard.bpffs}/clatch_more").stdout
        self.assertNotIn(f'"key": {latch["id"]}', more)

    def test_route_based(self):
        _, latch, _ = self.latched(Shape(mode="tunnel", if_id=42))
        for way in "in", "out":
            self.assertEqual([sa["if_id"] for sa in self.show(latch)[way]["sa"]], [42])

    def test_broken(self):
        connection, latch, shape = self.latched(BASE, "udp")
        before = self.show(latch)
        ipsec.flush_policies(self.lab.a)
        self.guard.wait_event(event="broken", latch=latch["id"])
        shown = self.show(latch)
        self.assertEqual((shown["state"], shown["causes"]), ("BROKEN", ["policy"]))
        self.assertEqual(shown["since"], before["since"])
        self.assertIn("BROKEN (policy)", self.guard.loader("show", latch["id"]).stdout)
        for key in "in", "out", "local", "remote", "netns", "policed":
            self.assertEqual(shown[key], before[key])
        ipsec.flush_policies(self.lab.b)
        ipsec.policies(self.lab, shape)
        self.wait_state(connection, "ESTABLISHED")

    def test_by_id_and_by_connection(self):
        """find_latch() and inquire_latch() of the RFC, and their errors."""
        first, latch, _ = self.latched(BASE)
        other = self.connect()
        other.exchange()
        ends = [f"{addr}:{port}" for addr, port in (first.own, first.peer)]
        found = self.guard.json("list", "--local", ends[0], "--remote", ends[1])["latches"]
        self.assertEqual([x["id"] for x in found], [latch["id"]])
        self.assertEqual(self.guard.json("list", "--remote", f"{self.lab.b.v4}:9")["latches"], [])
        for words, status in ([latch["id"] + 1000], 1), (["0"], 1), (["x"], 2), ([], 2):
            done = self.guard.loader("show", *words, "--json", check=False)
            self.assertEqual((done.returncode, done.stdout), (status, ""), words)
            self.assertIn("error", done.stderr)


class NoRoom(Apart):
    guard_options = ("--max-latches", "4")

    def test_outer_ends_that_differ(self):
        """Where these cannot be kept they are shown as the other direction's; the rest is held."""
        for i in range(4):
            self.guard.update("clatch_more", struct.pack("<Q", 1000 + i), bytes(200))
        (_, own), (_, peer) = self.apart()
        connection = self.connect()
        connection.exchange()
        latch = self.guard.latch(connection)
        self.assertEqual(latch["state"], "ESTABLISHED")
        shown = self.show(latch)
        self.assertEqual([[shown[way]["sa"][0][end] for end in ("src", "dst")]
                          for way in ("out", "in")], [[own, peer], [peer, own]])
        ipsec.flush_policies(self.lab.b)
        connection.b.send(b"in clear")
        self.guard.wait_event(event="violation", latch=latch["id"], direction="in",
                              reason="clear")
        connection.abort()
        self.guard.wait_event(event="closed", latch=latch["id"])
        keys = {entry["key"] for entry in (x["formatted"] for x in self.guard.dump("clatch_more"))}
        self.assertEqual(keys, {1000, 1001, 1002, 1003})


if __name__ == "__main__":
    unittest.main(verbosity=2)
