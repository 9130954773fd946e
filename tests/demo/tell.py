# SPDX-License-Identifier: GPL-2.0-only
"""How the demo speaks, and the stream that it watches."""

import contextlib
import os
import pathlib
import sys
import textwrap
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "e2e"))

from lab import wait_for  # noqa: E402

LINE = b"%06d Meyer, account 4711, salary 5200\n"
SECRET = b"account 4711"
WIDTH = 120

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
