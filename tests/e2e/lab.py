# SPDX-License-Identifier: GPL-2.0-only
"""The lab: two hosts as network namespaces, IPsec between them, sockets, and the wire.

Host `a` is the guarded one.  Everything runs in this process: sockets stay in the namespace and
the cgroup in which they were made, so one program can hold both ends of a connection.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

LOADER = os.path.abspath(os.environ.get("CLATCH_LOADER", "build/clatch-loader"))
WAIT = 20.0  # seconds: emulated machines are slow; every wait ends at its event
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
ESP, AH, TCP, UDP = 50, 51, 6, 17
PROTOS = {TCP: "tcp", UDP: "udp", socket.IPPROTO_SCTP: "sctp"}

_libc = ctypes.CDLL(None, use_errno=True)


def run(*words, check=True, **more):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **more)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.returncode}")
    return done


def cgroup2_mount():
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            left, right = line.split(" - ")
            if right.split()[0] == "cgroup2":
                return left.split()[4]
    raise RuntimeError("no cgroup2 mounted")


def wait_for(what, true, seconds=WAIT):
    """Polls for a fact that has no event of its own."""
    end = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def checksum(data):
    """The internet's, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def segment(source, target, flags, seq=1, ack=1, data=b""):
    """A TCP segment without options from one (address, port) to another."""
    head = struct.pack("!HHIIBBHHH", source[1], target[1], seq, ack, 5 << 4, flags, 1000, 0, 0)
    pseudo = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    length = len(head) + len(data)
    total = checksum(pseudo + struct.pack("!HH", TCP, length) + head + data + bytes(length % 2))
    return head[:16] + struct.pack("!H", total) + head[18:] + data


class Host:
    """A network namespace with one end of the veth pair."""

    def __init__(self, lab, letter, number):
        self.name = f"{lab.name}-{letter}"
        self.dev = f"{letter}0"
        self.v4, self.v6 = f"10.9.0.{number}", f"fd00:9::{number}"
        # inside the tunnel
        self.inner4, self.inner6 = f"10.8.{number}.1", f"fd00:8:{number}::1"
        self.net4, self.net6 = f"10.8.{number}.0/24", f"fd00:8:{number}::/64"
        run("ip", "netns", "add", self.name)
        self.fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)

    def ip(self, *lines):
        """Runs lines of ip(8), all in one process."""
        run("ip", "-n", self.name, "-batch", "-", input="\n".join(lines) + "\n")

    def lines_of_inner(self):
        """For ip(): the network behind this host."""
        return ("link set lo up", "link add inner type dummy", "link set inner up",
                f"addr add {self.inner4}/24 dev inner",
                f"addr add {self.inner6}/64 dev inner nodad")

    def lines_of_link(self, other):
        """For ip(): the link to the other host, and what is behind that one."""
        return (f"link set {self.dev} up", f"addr add {self.v4}/24 dev {self.dev}",
                f"addr add {self.v6}/64 dev {self.dev} nodad",
                f"route add {other.net4} via {other.v4} src {self.inner4}",
                f"route add {other.net6} via {other.v6} src {self.inner6}")

    def run(self, *words, **more):
        return run("nsenter", f"--net=/run/netns/{self.name}", *words, **more)

    @contextlib.contextmanager
    def inside(self):
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            if _libc.setns(self.fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            _libc.setns(home, CLONE_NEWNET)
            os.close(home)

    def socket(self, family, kind, *rest):
        with self.inside():
            return socket.socket(family, kind, *rest)

    def netns_cookie(self):
        """How clatch names the network namespace."""
        with self.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 71, 8), "little")

    def address(self, family, inner=False):
        if family == socket.AF_INET6:
            return self.inner6 if inner else self.v6
        return self.inner4 if inner else self.v4

    def close(self):
        os.close(self.fd)
        run("ip", "netns", "del", self.name, check=False)


class Lab:
    host = Host

    def __init__(self, name=None):
        self.name = name or f"clatch{os.getpid()}"
        self.a, self.b = self.host(self, "a", 1), self.host(self, "b", 2)
        self.a.ip(f"link add {self.a.dev} type veth peer name {self.b.dev} netns {self.b.name}")
        for host, other in ((self.a, self.b), (self.b, self.a)):
            host.ip(*host.lines_of_inner(), *host.lines_of_link(other))
        self.cgroup = f"{cgroup2_mount()}/{self.name}"
        os.mkdir(self.cgroup)

    @contextlib.contextmanager
    def guarded(self, cgroup=None):
        """Sockets made inside belong to the guarded cgroup, or to another one."""
        with open("/proc/self/cgroup") as groups:
            home = [g.strip().split("::")[1] for g in groups if "::" in g][0]
        self._enter(cgroup or self.cgroup)
        try:
            yield
        finally:
            self._enter(cgroup2_mount() + home)

    @staticmethod
    def _enter(path):
        with open(f"{path}/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))

    def close(self):
        self.a.close()
        self.b.close()
        os.rmdir(self.cgroup)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Wire:
    """Captures every frame that leaves a host by its device, behind all that could stop it.

    What comes in is not looked at: in tunnel mode the kernel shows there what it decrypted.
    """

    def __init__(self, host, dev=None):
        self.sock = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.bind((dev or host.dev, ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.sock.setblocking(False)
        self.frames = []

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, *_) = self.sock.recvfrom(65536)
                if kind == socket.PACKET_OUTGOING:
                    self.frames.append(frame)
        return self.frames

    def clear(self):
        self.read()
        self.frames = []

    def seen(self, payload):
        return any(payload in f for f in self.read())

    def transport(self):
        """(src, dst, protocol, bytes from the transport header on) of every IP frame."""
        for f in self.read():
            if f[12:14] == b"\x08\x00":
                yield f[26:30], f[30:34], f[23], f[14 + (f[14] & 15) * 4:]
            elif f[12:14] == b"\x86\xdd":
                yield f[22:38], f[38:54], f[20], f[54:]

    def spis(self):
        """SPIs of ESP, AH and UDP-encapsulated ESP."""
        found = set()
        for _, _, proto, data in self.transport():
            if proto == ESP:
                found.add(struct.unpack("!I", data[:4])[0])
            elif proto == AH:
                found.add(struct.unpack("!I", data[4:8])[0])
            elif proto == UDP and struct.unpack("!H", data[:2])[0] == 4500:
                found.add(struct.unpack("!I", data[8:12])[0])
        return found

    def ports(self, proto, port):
        """Segments or datagrams of a port, in clear."""
        number = {"tcp": TCP, "udp": UDP}[proto]
        return [d for _, _, p, d in self.transport()
                if p == number and port in struct.unpack("!HH", d[:4])]

    def close(self):
        self.sock.close()


class Connection:
    """A TCP or UDP connection between the guarded host and its peer."""

    port = 20000

    def __init__(self, lab, proto="tcp", family=socket.AF_INET, inner=False, server=False,
                 mapped=False, timeout=WAIT, ports=None):
        """@server: the guarded host accepts; @mapped: it uses an IPv6 socket for IPv4; @ports: the
        guarded host's and its peer's, else some that nobody had."""
        Connection.port += 2
        self.lab, self.proto, self.listener = lab, proto, None
        self.guarded_port, self.peer_port = ports or (Connection.port, Connection.port + 1)
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        own, peer = lab.a.address(family, inner), lab.b.address(family, inner)
        with lab.guarded():
            self.a = lab.a.socket(socket.AF_INET6 if mapped else family, kind)
        self.b = lab.b.socket(family, kind)
        prefix = "::ffff:" if mapped else ""
        self.own, self.peer = (own, self.guarded_port), (peer, self.peer_port)
        for s, addr in ((self.a, (prefix + own, self.guarded_port)), (self.b, self.peer)):
            s.settimeout(timeout)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(addr)
        if proto == "udp":
            self.a.connect((prefix + peer, self.peer_port))
            self.b.connect(self.own)
        elif server:
            self.a.listen()
            self.listener = self.a
            self.b.connect(self.own)
            self.a, _ = self.listener.accept()
        else:
            self.b.listen()
            self.listener = self.b
            self.a.connect((prefix + peer, self.peer_port))
            self.b, _ = self.listener.accept()
        for s in (self.a, self.b):
            s.settimeout(timeout)

    def exchange(self, payload=b"hello"):
        """Both ways, and both arrive."""
        for one, other in ((self.a, self.b), (self.b, self.a)):
            one.sendall(payload)
            got = self.receive(other, len(payload))
            if got != payload:
                raise RuntimeError(f"got {got!r}, wanted {payload!r}")

    @staticmethod
    def receive(sock, length):
        got = b""
        while len(got) < length:
            part = sock.recv(length - len(got))
            if not part:
                raise RuntimeError(f"the connection ended after {got!r}")
            got += part
        return got

    def readable(self, sock, seconds):
        return bool(select.select([sock], [], [], seconds)[0])

    def close(self):
        for s in (self.a, self.b, self.listener):
            if s is not None:
                s.close()

    def abort(self):
        """Ends at once at both ends: nothing of it is repeated into the next test."""
        for s in (self.a, self.b):
            if self.proto == "tcp" and s.fileno() >= 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Guard:
    """clatch-loader on the lab's cgroup, with `run` in the background for its events."""

    def __init__(self, lab, *options, dev=True, cgroup=True, bpffs=None, follow=True):
        """@follow: with `run`, for its events; else `load` alone."""
        self.lab = lab
        self.bpffs = bpffs or f"/sys/fs/bpf/{lab.name}"
        self.events, self.more = [], threading.Condition()
        self.mode = [o for o in options if o == "--audit"]
        words = list(options)
        words += ["--cgroup", lab.cgroup] if cgroup else []
        words += ["--dev", lab.a.dev] if dev else []
        self.loader("load", *words)
        self.process = None
        if follow:
            self.start_run()

    def _words(self, *words):
        return ["nsenter", f"--net=/run/netns/{self.lab.a.name}", LOADER, *words,
                "--bpffs", self.bpffs]

    def loader(self, *words, check=True):
        return run(*self._words(*words), check=check)

    def json(self, *words):
        return json.loads(self.loader(*words, "--json", check=False).stdout)

    def start_run(self, *options):
        """The daemon for what is loaded; its events are read from now on."""
        self.process = subprocess.Popen(self._words("run", *self.mode, *options, "--json"),
                                        stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        wait_for("run to take over", lambda: self.json("status")["daemon"])

    def end_run(self, number=signal.SIGTERM):
        """Its exit status, with all that it printed read."""
        self.process.send_signal(number)
        status = self.process.wait(WAIT)
        self.reader.join(WAIT)
        self.process.stdout.close()
        self.process = None
        return status

    def _read(self, process):
        for line in process.stdout:
            with self.more:
                self.events.append(json.loads(line))
                self.more.notify_all()

    def wait_event(self, seconds=WAIT, **wanted):
        """The first event since forget() that has these values."""
        def find():
            for event in self.events:
                if all(event.get(k) == v for k, v in wanted.items()):
                    return event
            return None

        with self.more:
            if not self.more.wait_for(find, seconds):
                raise TimeoutError(f"no event {wanted} in {seconds} s; there were {self.events}")
            return find()

    def forget(self):
        with self.more:
            self.events.clear()

    def counters(self):
        return self.json("status")["counters"]

    def latch(self, connection):
        """The latch of a connection, or None."""
        for latch in self.json("list")["latches"]:
            if latch["remote"] and (latch["local"]["port"], latch["remote"]["port"]) == (
                    connection.own[1], connection.peer[1]):
                return latch
        return None

    def listener(self, port):
        """The latch of the socket that listens on a port, or None."""
        for latch in self.json("list", "--state", "LISTENER")["latches"]:
            if latch["local"]["port"] == port:
                return latch
        return None

    def dump(self, name):
        """The entries of a pinned map; of one that goes meanwhile bpftool has no value."""
        out = run("bpftool", "-j", "map", "dump", "pinned", f"{self.bpffs}/{name}").stdout
        return [entry for entry in json.loads(out) if "formatted" in entry]

    def update(self, name, key, value):
        """Writes an entry of a pinned map."""
        run("bpftool", "map", "update", "pinned", f"{self.bpffs}/{name}", "key", "hex",
            *(f"{byte:02x}" for byte in key), "value", "hex", *(f"{byte:02x}" for byte in value))

    @contextlib.contextmanager
    def no_timers(self, name):
        """The kernel refuses new timers in a map that nobody holds but programs: no pin, no `run`."""
        pin = f"{self.bpffs}/{name}"
        number = str(json.loads(run("bpftool", "-j", "map", "show", "pinned", pin).stdout)["id"])
        os.unlink(pin)
        try:
            yield
        finally:
            run("bpftool", "map", "pin", "id", number, pin)

    def demand_protection(self, proto, demanded=True):
        """One rule for all of a transport, require ipsec; or none.  Whether the SPD protects is not
        known before the first packet: else connect() would fail at once."""
        for anywhere in ("0.0.0.0/0", "::/0") if demanded else ():
            self.lab.a.ip(f"xfrm policy update src {anywhere} dst {anywhere} dir out mark 7 mask 7 "
                          "tmpl proto esp mode transport")
        rules = f"[rule all]\nproto = {PROTOS[proto]}\nrequire = ipsec\n" if demanded else ""
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(rules)
            file.flush()
            self.loader("policy", "load", file.name)

    def close(self):
        if self.process:
            self.end_run()
        self.loader("unload")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
