# SPDX-License-Identifier: GPL-2.0-only
"""Who had the one CPU, and how long nobody wanted it."""

import pathlib


def _nanoseconds(pid):
    """Of all threads; what softirqs did meanwhile counts as theirs."""
    total = 0
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # that thread has ended
    return total


def _idle():
    return float(pathlib.Path("/proc/uptime").read_text().split()[1]) * 1e9


class Usage:
    """@processes: by name."""

    def __init__(self, processes):
        self.pids = {name: process.pid for name, process in processes.items()}

    def sample(self):
        return {"idle": _idle(), **{name: _nanoseconds(pid) for name, pid in self.pids.items()}}


def difference(after, before):
    return {name: after[name] - before[name] for name in after}
