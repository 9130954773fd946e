# SPDX-License-Identifier: GPL-2.0-only
"""The second story: another takes the peer's address, and the local IKE daemon accepts it."""

import contextlib
import hashlib
import os
import pathlib
import time

from tell import LINE, SECRET, Stream, chapter, claim, hexdump, remark, show

import ike
from lab import Connection, Guard, Wire, wait_for

NFT = pathlib.Path(__file__).parent.parent / "bench/latch.nft"
PINS = "/sys/fs/bpf/clatch"
HELD = 3  # seconds for which the stream is held


class Takeover:
    """app3.example is guarded; db1.example is its peer; web7.example takes the peer's address."""

    def __init__(self, lab, stack):
        self.lab, self.stack = lab, stack
        self.wire = Wire(lab.a)
        daemons = stack.enter_context(ike.Daemons(lab))
        self.own = daemons.start(lab.a, ike.GUARDED)
        self.peer = daemons.start(lab.b, ike.PEER)
        self.newcomer = ike.Newcomer(lab)
        stack.callback(self.newcomer.close)
        self.start_web7 = lambda: daemons.start(self.newcomer, ike.NEWCOMER)
        self.connection = self.stream = self.web7 = None

    def connect(self):
        self.connection = Connection(self.lab)
        self.stack.enter_context(contextlib.closing(self.connection))
        self.stream = Stream(self.connection)
        self.stack.callback(self.stream.stopped.set)
        self.stream.goes_on()

    def sas(self):
        """How the SAs of the guarded host look to the kernel."""
        lines = self.lab.a.run("ip", "xfrm", "state").stdout.splitlines()
        return "\n".join(f"{one} {other.strip()}" for one, other in zip(lines, lines[1:])
                         if one.startswith("src"))

    def take_over(self):
        self.newcomer.plug()
        if self.web7 is None:
            self.web7 = self.start_web7()
        else:
            self.web7.start()
        self.web7.initiate()
        remark(f"{ike.PEER} went silent; {ike.NEWCOMER} has its address {self.lab.b.v4}, and a "
               f"certificate that {ike.GUARDED} accepts. Its SAs are the newest:")
        show("ip xfrm state | grep -A1 ^src", self.sas())

    def give_back(self):
        self.web7.stop()
        self.newcomer.unplug()
        self.peer.rekey()

    def leaks_with_nftables(self):
        chapter(7, "Addresses change hands: an nftables latch on the reqid does not see it")
        rules = NFT.read_text(encoding="ascii").replace("udp ", "tcp ")
        self.lab.a.run("nft", "-f", "-", input=rules)
        self.peer.initiate()
        self.connect()
        remark(f"{ike.GUARDED} is connected to {ike.PEER}: strongSwan, with certificates.")
        self.take_over()
        heard = wait_for("web7 to hear it", lambda: SECRET in self.newcomer.heard() and
                         self.newcomer.heard())
        remark(f"Decrypted at {ike.NEWCOMER}:")
        at = heard.index(LINE[4:].strip()[:12]) // 16 * 16
        hexdump(heard[at:at + 48], at)
        drops = [line for line in self.lab.a.run("nft", "list", "ruleset").stdout.splitlines()
                 if "counter packets" in line]
        claim(f"{ike.NEWCOMER} got bytes meant for {ike.PEER}; the rules dropped none",
              len(drops) == 2 and all("packets 0 " in line for line in drops))
        self.stream.stopped.set()
        self.lab.a.run("nft", "flush", "ruleset")
        self.give_back()

    def holds_with_clatch(self):
        chapter(8, "With clatch: the connection is held to its peer")
        pins = PINS if not os.path.exists(PINS) else f"{PINS}-demo"
        guard = self.guard = Guard(self.lab, bpffs=pins, follow=False)
        self.stack.callback(guard.close)
        guard.start_run("--vici", self.own.vici, "--reset-after", "5m")
        show("clatch-loader run --vici /run/charon.vici --reset-after 5m")
        self.connect()
        latch = wait_for("the peer's id", lambda: (found := guard.latch(self.connection)) and
                         found["peer_id"] and found)
        claim(f"the latch of the new connection knows its peer: {latch['peer_id']}",
              latch["peer_id"] == ike.PEER)
        self.newcomer.forget()
        self.wire.clear()
        self.take_over()
        event = guard.wait_event(event="violation", direction="out", reason="peer-id",
                                 latch=latch["id"])
        time.sleep(HELD)
        expected, got = event["expected"][0]["peer_id"], event["got"][0]["peer_id"]
        claim(f"reason {event['reason']}: expected {expected}, got {got}",
              (expected, got) == (ike.PEER, ike.NEWCOMER))
        self.spi = self.own.spis(ike.NEWCOMER)[1]
        claim(f"in {HELD} s not one packet left under the newcomer's SA, SPI {self.spi:#010x}",
              self.spi not in self.wire.spis() and not self.newcomer.heard())

    def goes_on(self):
        chapter(9, "The peer returns: the stream goes on")
        self.give_back()
        self.stream.goes_on()
        self.stream.end()
        sent, got = self.stream.sent, self.stream.got
        claim(f"{sent.count(10)} lines sent, {got.count(10)} lines received, "
              f"SHA-256 {hashlib.sha256(got).hexdigest()[:16]}... on both ends", sent == got)
        claim(f"{ike.NEWCOMER} heard nothing of it",
              self.spi not in self.wire.spis() and not self.newcomer.heard())

    def tell(self):
        self.leaks_with_nftables()
        self.holds_with_clatch()
        self.goes_on()
