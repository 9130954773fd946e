# SPDX-License-Identifier: GPL-2.0-only
"""Every instruction that is executed, by the emulator's own log ("scripts/vm -M"), and whose it is.

QEMU is told, by its monitor, to translate one instruction at a time and to log each that it executes.
"""

import bisect
import collections
import contextlib
import json
import os
import pathlib
import tty

from lab import run

BUILD = pathlib.Path(os.environ.get("CLATCH_BUILD", "build"))
HOOK = "__cgroup_bpf_run_filter_skb"  # calls the programs
CALL = 5  # bytes of a call of a known function

# Whose instructions are: @function's of the kernel that @line of a program has called, FILE:NUMBER;
# without a function the program's own; without a line the kernel's own in calling the program.
Place = collections.namedtuple("Place", "line function")


class Monitor:
    """QEMU's own; it writes @log, in a directory that is shared with this machine."""

    def __init__(self, log):
        self.log = log
        self.fd = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)
        self.replies = os.fdopen(self.fd, "rb", 0)
        self.replies.readline()  # its greeting
        self.ask(execute="qmp_capabilities")
        self.tell(f"logfile {log}")

    def ask(self, **command):
        os.write(self.fd, json.dumps(command).encode() + b"\n")
        reply = json.loads(self.replies.readline())
        if reply.get("return", "failed"):
            raise RuntimeError(f"{command}: {reply}")

    def tell(self, words):
        self.ask(execute="human-monitor-command", arguments={"command-line": words})

    @contextlib.contextmanager
    def logging(self):
        self.tell("singlestep on")
        self.tell("log exec,nochain")
        yield
        self.tell("log none")
        self.tell("singlestep off")

    def executed(self):
        """The kernel's addresses; without what was announced and then not done."""
        found = []
        with open(self.log, encoding="ascii") as log:
            for line in log:
                if line.startswith("Trace") and "/ffff" in line:
                    found.append(int(line.split("/")[1], 16))
                elif line.startswith("Stopped") and found and f"[{found[-1]:x}]" in line:
                    found.pop()
        os.truncate(self.log, 0)
        return found


class Table:
    """What is known of the last address at or before one."""

    def __init__(self, rows):
        self.addresses = sorted(rows)
        self.values = [rows[address] for address in self.addresses]

    def find(self, address):
        at = bisect.bisect_right(self.addresses, address) - 1
        return self.values[at] if at >= 0 else None


class Code:
    """Functions of the kernel, and lines of the programs that are loaded now."""

    def __init__(self):
        self.symbols, lines = {}, {}
        with open("/proc/kallsyms", encoding="ascii") as symbols:
            for address, kind, name, *_ in map(str.split, symbols):
                if kind in "tTwW":
                    self.symbols.setdefault(name, int(address, 16))
        self.functions = Table({address: name for name, address in self.symbols.items()})
        known = [line.split() for line in run(BUILD / "lines").stdout.splitlines()]
        for kind, address, size, _ in known:
            if kind == "code":
                lines[int(address, 16) + int(size)] = None
        for kind, address, file, number in known:
            if kind == "line" and number != "0":  # what is of no line is of that before
                lines[int(address, 16)] = f"{os.path.relpath(file)}:{number}"
        self.lines = Table(lines)


class Call:
    """One of the hook, for which one program is attached."""

    def __init__(self, code):
        self.code, self.count = code, collections.Counter()
        self.line = None  # of the program, where it was last
        self.outside = []  # addresses since then

    def feed(self, address):
        line = self.code.lines.find(address)
        if not line:
            self.outside.append(address)
            return
        self.settle(self.line)
        self.count[Place(line, None)] += 1
        self.line = line

    def settle(self, caller):
        """What was outside belongs to the line that it comes back to; before the program's first, and
        after its last, it is the kernel's own."""
        if caller and self.outside:
            self.count[Place(caller, self.code.functions.find(self.outside[0]))] += len(self.outside)
        else:
            self.count.update(Place(None, self.code.functions.find(address))
                              for address in self.outside)
        self.outside = []


def hook(code, executed):
    """What its calls executed, from the first instruction to the return, and what called it."""
    count, callers = collections.Counter(), set()
    call, end, before = None, None, None
    for address in executed:
        if call and address == end:
            call.settle(None)
            count += call.count
            call = None
        if address == code.symbols[HOOK]:
            call, end = Call(code), before + CALL
            callers.add(code.functions.find(before))
        if call:
            call.feed(address)
        before = address
    return count, callers
