#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The story that `make demo` tells.  Every sentence that claims something is checked first."""

import contextlib
import hashlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import ipsec  # noqa: E402
from lab import Connection, Guard, Lab, Wire, run, wait_for  # noqa: E402

PINS = "/sys/fs/bpf/clatch"
MODULES = ["esp4", "esp6", "ah4", "ah6", "xfrm_user", "xfrm_interface", "veth", "dummy"]
LINE = b"%06d Meyer, account 4711, salary 5200\n"
SECRET = b"account 4711"
WIDTH = 120
HELD = 3  # seconds for which the stream is held without protection
SPIS, NEW_SPIS = (0x1001, 0x2001), (0x1101, 0x2101)

BOLD, DIM, RED, GREEN, NORMAL = (
    ("\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[0m")
    if os.environ.get("CLATCH_DEMO_COLOUR") else ("",) * 5)


def say(text=""):
    print(text, flush=True)


def chapter(number, title):
    say(f"\n{BOLD}{number}. {title}{NORMAL}")


def remark(text):
    say(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   "))


def show(words, output="", left_out=0):
    """A command and what it printed; long lines are folded."""
    say(f"   {DIM}# {words}{NORMAL}")
    for line in output.splitlines():
        say(textwrap.fill(line, WIDTH, initial_indent="   ", subsequent_indent="       ",
                          break_long_words=False, break_on_hyphens=False))
    if left_out:
        say(f"   ... and {left_out} lines more")


def claim(text, true):
    """Says what was seen; ends the demo if it was not."""
    say(f"   {GREEN}ok{NORMAL} {text}" if true else f"   {RED}NOT TRUE: {text}{NORMAL}")
    if not true:
        sys.exit(1)


def hexdump(data, start):
    for at in range(0, len(data), 16):
        part = data[at:at + 16]
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in part)
        say(f"   {RED}{start + at:04x}  {part.hex(' '):47}  {text}{NORMAL}")


class Stream:
    """Numbered lines from the guarded host to its peer, all the time."""

    def __init__(self, connection):
        self.connection = connection
        self.sent, self.got = bytearray(), bytearray()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._send, self._receive)]
        for s in (connection.a, connection.b):
            s.settimeout(None)
        for thread in self.threads:
            thread.start()

    def _send(self):
        number = 0
        with contextlib.suppress(OSError):  # the demo failed: its sockets are closed
            while not self.stopped.wait(0.05):
                line = LINE % number
                self.connection.a.sendall(line)
                self.sent += line
                number += 1
            self.connection.a.shutdown(1)  # SHUT_WR: the peer reads to the end

    def _receive(self):
        while part := self.connection.b.recv(65536):
            self.got += part

    def goes_on(self, lines=20):
        """Waits until that many more lines have arrived."""
        target = len(self.got) + lines * len(LINE % 0)
        wait_for("the stream to go on", lambda: len(self.got) >= target)

    def end(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)


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
        shown = next(n for n, line in enumerate(lines) if line.endswith("},{"))
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
        Story(stack.enter_context(Lab("clatch-demo")), stack).tell()
    say(f"\n{BOLD}The demo showed all it claimed{NORMAL}, in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
