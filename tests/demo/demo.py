#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The story that `make demo` tells.  Every sentence that claims something is checked first."""

import contextlib
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time

# first: it knows where the modules of the tests are
from tell import (BOLD, LINE, NORMAL, SECRET, Stream, chapter, claim, hexdump, remark, say,
                  show)

import ipsec
from identity import Takeover
from lab import Connection, Guard, Lab, Wire, run, wait_for

PINS = "/sys/fs/bpf/clatch"
MODULES = ["esp4", "esp6", "ah4", "ah6", "xfrm_user", "xfrm_interface", "veth", "dummy"]
HELD = 3  # seconds for which the stream is held without protection
SPIS, NEW_SPIS = (0x1001, 0x2001), (0x1101, 0x2101)


class Story:
    def __init__(self, lab, stack):
        self.lab, self.stack = lab, stack
        self.pins = PINS if not os.path.exists(PINS) else f"{PINS}-demo"
        self.shape = ipsec.Shape()
        self.wire = Wire(lab.a)
        self.guard = None
        ipsec.install(lab, self.shape, SPIS)

    def shown(self, *words):
        where = [] if self.pins == PINS else ["--bpffs", self.pins]
        return shlex.join(["clatch-loader", *map(str, words), *where])

    def list(self, *options):
        columns = 117  # to the end of IN; OUT is the same
        lines = self.guard.loader("list", *options).stdout.splitlines()
        show(f"{self.shown('list', *options)} | cut -c-{columns}",
             "\n".join(line[:columns] for line in lines))

    def load(self):
        show(self.shown("load", "--cgroup", self.lab.cgroup, "--dev", self.lab.a.dev))
        self.guard = Guard(self.lab, bpffs=self.pins)
        self.stack.callback(self.unload)

    def unload(self):
        if self.guard:
            self.guard.close()
        self.guard = None

    def latch(self):
        return wait_for("the latch", lambda: self.guard.latch(self.connection))

    def established(self):
        wait_for("the latch", lambda: self.latch()["state"] == "ESTABLISHED")

    def clear_packets(self):
        return len(self.wire.ports("tcp", self.connection.own[1]))

    def flush(self):
        self.wire.clear()
        show("ip xfrm policy flush        (on both hosts)")
        ipsec.flush_policies(self.lab.a, self.lab.b)

    def is_latched(self):
        chapter(1, "A TCP connection over ESP is latched")
        self.load()
        self.connection = Connection(self.lab)
        self.stack.enter_context(contextlib.closing(self.connection))
        self.stream = Stream(self.connection)
        self.stack.callback(self.stream.stopped.set)
        self.stream.goes_on()
        self.established()
        self.list()
        latch = self.latch()
        claim("the latch knows the protection of both directions",
              all(latch[way]["sa"][0]["reqid"] == self.shape.reqid for way in ("in", "out")))
        claim(f"all {len(self.wire.read())} packets on the wire are ESP",
              self.wire.frames and not self.clear_packets())

    def rekeys(self):
        chapter(2, "A rekey passes: new keys and SPIs, the same protection")
        self.wire.clear()
        show("ip xfrm state add ...; ip xfrm state delete ...        (on both hosts)")
        ipsec.rekey(self.lab, self.shape, SPIS, NEW_SPIS)
        wait_for("the new SA", lambda: NEW_SPIS[0] in self.wire.spis())
        self.stream.goes_on()
        latch = self.latch()
        spi = latch["out"]["sa"][0]["spi"]
        claim(f"SPI {SPIS[0]:#010x} became {spi}, and the stream went on",
              int(spi, 16) == NEW_SPIS[0])
        claim("no violation", not any(self.guard.counters().values()))

    def leaks_without(self):
        chapter(3, "Without clatch: the IPsec policy goes away, the stream goes on in clear")
        show(self.shown("unload"))
        self.unload()
        self.flush()
        frame = wait_for("a clear packet",
                         lambda: next((f for f in self.wire.read() if SECRET in f), None))
        remark("Captured on the wire:")
        at = frame.index(LINE[4:].strip()[:12]) // 16 * 16
        hexdump(frame[at:at + 48], at)
        self.stream.goes_on()
        claim(f"{self.clear_packets()} packets left in clear; neither program noticed",
              self.clear_packets() > 0)
        ipsec.policies(self.lab, self.shape)

    def holds_with(self):
        chapter(4, "With clatch: the same happens, and nothing leaves")
        self.load()
        self.stream.goes_on()
        self.established()
        remark("The policy was back before, so the stream is under ESP again; clatch latched it in mid-flow.")
        self.monitor = subprocess.Popen(self.guard._words("monitor"), stdout=subprocess.PIPE,
                                        text=True)
        time.sleep(1)
        self.flush()
        self.guard.wait_event(event="violation", direction="out", reason="clear")
        before = len(self.stream.got)
        time.sleep(HELD)
        self.list("--state", "BROKEN")
        claim(f"{self.clear_packets()} packets left in clear in {HELD} s",
              not self.clear_packets() and not self.wire.seen(SECRET))
        claim("the peer got nothing, and the connection is still there",
              len(self.stream.got) == before)

    def goes_on(self):
        chapter(5, "The policy comes back: the stream goes on")
        ipsec.policies(self.lab, self.shape)
        show("ip xfrm policy add ...        (on both hosts)")
        self.stream.goes_on()
        self.established()
        self.stream.end()
        sent, got = self.stream.sent, self.stream.got
        claim(f"{sent.count(10)} lines sent, {got.count(10)} lines received, "
              f"SHA-256 {hashlib.sha256(got).hexdigest()[:16]}... on both ends", sent == got)
        claim("still no packet in clear", not self.clear_packets())

    def monitored(self):
        """What monitor printed: whole, and the lines that tell the story."""
        self.guard.wait_event(event="restored")
        time.sleep(1)
        self.monitor.terminate()
        lines = self.monitor.communicate()[0].splitlines()
        kinds = {word: [line for line in lines if f" {word} latch " in line]
                 for word in ("broken", "violation", "restored")}
        return lines, [*kinds["broken"][:1], *kinds["violation"][:2], *kinds["restored"]]

    def reports(self):
        chapter(6, "The report")
        lines, story = self.monitored()
        show(self.shown("monitor"), "\n".join(story), len(lines) - len(story))
        status = self.guard.loader("status").stdout.splitlines()
        show(f"{self.shown('status')} | grep -v ' 0$'",
             "\n".join(line for line in status if not line.endswith(" 0")))
        pin = f"{self.pins}/clatch_latches"
        dump = run("bpftool", "map", "dump", "pinned", pin).stdout
        lines = dump.splitlines()
        shown = next(n for n, line in enumerate(lines) if '"mark"' in line)  # one direction
        show(f"bpftool map dump pinned {pin}", "\n".join(lines[:shown]), len(lines) - shown)
        claim("the violations were reported, and so was that the protection is back",
              len(story) == 4 and " restored " in story[3])
        claim("each was counted", self.guard.counters()["clear"] > 1)
        claim("the map holds the latch", '"state": "CLATCH_ESTABLISHED"' in dump)

    def tell(self):
        self.is_latched()
        self.rekeys()
        self.leaks_without()
        self.holds_with()
        self.goes_on()
        self.reports()


def main():
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run("modprobe", "-aq", *MODULES, check=False)
    say(f"\nTwo hosts on Linux {os.uname().release}: 10.9.0.1 is guarded, 10.9.0.2 is its peer. "
        "ESP between them,\nAES-GCM, transport mode, manual keys.")
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab("clatch-demo"))
        with contextlib.ExitStack() as first:
            Story(lab, first).tell()
        ipsec.flush(lab.a, lab.b)
        Takeover(lab, stack).tell()
    say(f"\n{BOLD}The demo showed all it claimed{NORMAL}, in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
