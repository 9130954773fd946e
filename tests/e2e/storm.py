# SPDX-License-Identifier: GPL-2.0-only
"""SAs that come and go faster than any IKE daemon's, on the guarded host; and what `run` makes of
them."""

import ipaddress
import multiprocessing
import pathlib
import socket
import struct
import sys

from lab import wait_for

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "program"))

import sad  # noqa: E402

REQID = 84  # in struct clatch_sa


class Storm:
    """Each SA lives while @kept more batches are installed."""

    def __init__(self, lab, guard, batch=100, kept=3):
        self.lab, self.guard, self.batch, self.kept = lab, guard, batch, kept
        self.sad = sad.Sad(lab.a.socket(socket.AF_NETLINK, socket.SOCK_RAW, sad.NETLINK_XFRM))
        self.spi = 0x100000
        self.ready, self.live = [], []  # requests

    def _batch(self):
        """Requests for SAs between the lab's hosts and between others, of various reqids: that they
        come, and that they go."""
        first, self.spi = self.spi, self.spi + self.batch
        sas = [sad.Sa(self.lab.a.v4, self.lab.b.v4, spi, 100 + spi % 7) if spi % 2 else
               sad.Sa("10.99.0.1", f"10.99.1.{spi % 200}", spi) for spi in range(first, self.spi)]
        return [sad.install(sa) for sa in sas], [sad.remove(sa) for sa in sas]

    def prepare(self, batches):
        """To have less work with them later."""
        self.ready += [self._batch() for _ in range(batches)]

    def step(self):
        """One batch comes, one goes."""
        come, go = self.ready.pop(0) if self.ready else self._batch()
        self.live.append(go)
        self.sad.change(come)
        if len(self.live) > self.kept:
            self.remove(1)

    def remove(self, batches):
        for _ in range(batches):
            self.sad.change(self.live.pop(0))

    def _forever(self, begun):
        while True:
            self.step()
            begun.set()

    def start(self):
        """Goes on in a process of its own, for ever."""
        begun = multiprocessing.Event()
        process = multiprocessing.Process(target=self._forever, args=(begun,), daemon=True)
        process.start()
        begun.wait()
        return process

    def table(self):
        """What the packet path knows: {(destination, SPI): reqid}."""
        netns, found = self.lab.a.netns_cookie(), {}
        for entry in self.guard.dump("clatch_sas"):
            key, value = (bytes(int(byte, 16) for byte in entry[part]) for part in ("key", "value"))
            cookie, dst, spi = struct.unpack_from("<Q16s4s", key)
            if cookie == netns:
                found[str(ipaddress.IPv6Address(dst).ipv4_mapped),
                      int.from_bytes(spi, "big")] = struct.unpack_from("<I", value, REQID)[0]
        return found

    def wait_followed(self):
        """The SAD does not change meanwhile: how many SAs there are."""
        kernel = self.sad.dump()
        wait_for("the SA table to be as the SAD", lambda: self.table() == kernel, 60)
        return len(kernel)

    def overruns(self):
        """Messages of the group that were lost on the way to somebody."""
        with self.lab.a.inside(), open("/proc/thread-self/net/netlink", encoding="utf-8") as lines:
            rows = [line.split() for line in lines][1:]
        return sum(int(row[8]) for row in rows
                   if int(row[1]) == sad.NETLINK_XFRM and int(row[3], 16) & sad.GROUP_SA)

    def close(self):
        self.sad.close()
