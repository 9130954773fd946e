#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What status, list and show make of the latch database.  The latches are written by hand."""

import json
import struct
import unittest

from layout import (BROKEN, CLOSED, ESTABLISHED, LARVAL, LISTENER, counts, latch, side, tuple_of)
from native import Case, hex_bytes, must, set_up_module

setUpModule = set_up_module  # pylint: disable=invalid-name

OUT_CLEAR, DEAD_PEER = 1, 16
DEMANDED, POLICED_IN = 8, 16


class Written(Case):
    """Latches that no packet made."""

    def setUp(self):
        super().setUp()
        self.load()

    def write(self, name, key, value):
        must("bpftool", "map", "update", "pinned", f"{self.dir}/{name}", "key", *hex_bytes(key),
             "value", *hex_bytes(value))

    def put(self, number, local, remote, state, *, proto=6, **more):
        self.write("clatch_latches", tuple_of(1, local, remote, proto),
                   latch(number, state, changed=2 * 10 ** 9, **more))


class Shown(Written):
    def fill(self):
        self.put(1, ("0.0.0.0", 80), None, LISTENER, listener=2)
        self.put(2, ("10.9.0.1", 80), ("10.9.0.2", 4000), ESTABLISHED, listener=1,
                 flags=DEMANDED | POLICED_IN, slot=9, sides=(side(), side(mark=42, ifindex=3)))
        self.write("clatch_fast", struct.pack("<I", 9), counts((1, 60, 0), (7, 800, 5)))
        self.put(3, ("10.9.0.1", 80), ("10.9.0.2", 4001), BROKEN, causes=OUT_CLEAR | DEAD_PEER)
        self.put(4, ("10.9.0.1", 80), ("10.9.0.2", 4002), CLOSED, proto=132)
        self.put(5, ("10.9.0.1", 81), None, CLOSED, proto=132)
        self.put(0, ("10.9.0.1", 80), ("10.9.0.2", 4003), LARVAL)  # one that is being made

    def ids(self, *words):
        return sorted(x["id"] for x in json.loads(self.ok("list", "--json", *words))["latches"])

    def test_status(self):
        self.assertEqual([self.status()[k] for k in ("latches", "listeners", "broken")], [0, 0, 0])
        self.fill()
        status = self.status()
        self.assertEqual([status[k] for k in ("latches", "listeners", "broken")], [3, 2, 1])
        self.assertEqual(list(status)[7:10], ["latches", "listeners", "broken"])
        text = self.ok("status")
        self.assertRegex(text, r"(?m)^latches +3 of at most 65536, 1 broken$")
        self.assertRegex(text, r"(?m)^listeners +2$")

    def test_list(self):
        self.fill()
        self.assertEqual(self.ids(), [1, 2, 3, 4, 5])
        self.assertEqual(self.ids("--state", "LISTENER"), [1])
        self.assertEqual(self.ids("--state", "CLOSED", "--state", "broken"), [3, 4, 5])
        rows = {line.split()[0]: line.split() for line in self.ok("list").splitlines()}
        self.assertEqual(rows["1"][1:5], ["LISTENER", "tcp", "0.0.0.0:80", "*"])
        self.assertEqual(rows["4"][1:5], ["CLOSED", "sctp", "10.9.0.1:80", "10.9.0.2:4002"])
        self.assertEqual(rows["5"][1:5], ["CLOSED", "sctp", "10.9.0.1:81", "*"])

    def test_show_connection(self):
        self.fill()
        shown = json.loads(self.ok("show", "2", "--json"))
        self.assertEqual((shown["listener"], shown["demanded"]), (1, True))
        self.assertEqual(shown["policed"], {"in": True, "out": False})
        self.assertEqual(shown["out"], {"sa": [], "packets": 7, "bytes": 800, "violations": 5,
                                        "mark": 42, "ifindex": 3})
        self.assertNotEqual(shown["changed"], shown["since"])
        self.assertNotIn("sockets", shown)
        listed = {x["id"]: x for x in json.loads(self.ok("list", "--json"))["latches"]}[2]
        self.assertEqual(shown["identity"], "reqid")
        for key in ("netns", "policed", "asked", "identity", "local_certificate", "certificate",
                    "channel_binding"):
            del shown[key]
        for way in ("in", "out"):
            del shown[way]["mark"], shown[way]["ifindex"]
        self.assertEqual(shown, listed)  # show has all that list has
        text = self.ok("show", "2")
        for part in ["  listener: 1\n", "  demanded: yes\n", "  policed:  in\n",
                     "    mark 0x2a\n", "    device number 3\n"]:
            self.assertIn(part, text)

    def test_show_broken(self):
        self.fill()
        shown = json.loads(self.ok("show", "3", "--json"))
        self.assertEqual((shown["state"], shown["causes"]), ("BROKEN", ["out-clear", "dead-peer"]))
        self.assertIn("  state:    BROKEN (out-clear, dead-peer)\n", self.ok("show", "3"))

    def test_show_listener(self):
        self.fill()
        shown = json.loads(self.ok("show", "1", "--json"))
        self.assertEqual((shown["local"], shown["remote"], shown["sockets"], shown["listener"]),
                         ({"addr": "0.0.0.0", "port": 80}, None, 2, None))
        self.assertIn("  remote:   *\n", self.ok("show", "1"))
        self.assertIn("  sockets:  2\n", self.ok("show", "1"))
        self.fails(1, "No latch 6", "show", "6")

    def test_bpftool_names_every_field(self):
        self.fill()
        dump = must("bpftool", "-j", "map", "dump", "pinned", f"{self.dir}/clatch_latches")
        self.assertNotIn('"":', dump.replace(" ", ""))
        values = {x["formatted"]["value"]["id"]: x["formatted"]["value"] for x in json.loads(dump)}
        self.assertEqual([values[i]["listener"] for i in (1, 2)],
                         [{"id": 2, "sockets": 2}, {"id": 1, "sockets": 1}])


if __name__ == "__main__":
    unittest.main(verbosity=2)
