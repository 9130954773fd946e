# SPDX-License-Identifier: GPL-2.0-only
"""Containers made by crun(1), whose sockets a test can hold."""

import json
import os
import pathlib
import shutil
import socket
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
HOOK = HERE.parent.parent / "integration/clatch-oci-hook.json.in"


def hooks(loader, bpffs):
    """What podman and CRI-O make of our file: an entry for each of its stages."""
    text = HOOK.read_text(encoding="utf-8").replace("@LOADER@", str(loader))
    ours = json.loads(text)
    hook = dict(ours["hook"])
    hook["args"] = [*hook["args"], "--bpffs", bpffs]
    return {stage: [hook] for stage in ours["stages"]}


class Container:
    """@netns: a path, "new", or None: that of whoever starts it; @latch: the annotation's value."""

    def __init__(self, name, place, loader, bpffs, latch="must", netns=None, wrap=()):
        self.name, self.wrap, self.orders = name, list(wrap), None
        self.bundle = pathlib.Path(place) / name
        rootfs = self.bundle / "rootfs"
        for directory in ("usr", "proc", "dev", "clatch"):
            (rootfs / directory).mkdir(parents=True)
        for link in ("bin", "lib", "lib64"):
            (rootfs / link).symlink_to(f"usr/{link}")
        shared = self.bundle / "shared"
        shared.mkdir()
        shutil.copy(HERE / "agent.py", shared)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(shared / "orders"))
        self.listener.listen()
        self.listener.settimeout(60)
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
        if netns:
            namespaces.append({"type": "network", **({"path": netns} if netns != "new" else {})})
        config = {
            "ociVersion": "1.0.0",
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/usr/bin"],
                        "args": ["/usr/bin/python3", "-I", "-S", "/clatch/agent.py"]},
            "root": {"path": "rootfs"},
            "annotations": {**({"clatch.latch": latch} if latch else {}),
                            "run.oci.hooks.stderr": str(self.bundle / "hook.log")},
            "mounts": [
                {"destination": "/usr", "type": "bind", "source": "/usr",
                 "options": ["rbind", "ro"]},
                {"destination": "/clatch", "type": "bind", "source": str(shared),
                 "options": ["rbind"]},
                {"destination": "/proc", "type": "proc", "source": "proc"}],
            "hooks": hooks(loader, bpffs),
            "linux": {"cgroupsPath": f"/{name}", "namespaces": namespaces},
        }
        (self.bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def crun(self, *words):
        """With files in place of pipes, which the container would hold open."""
        log = self.bundle / "crun.log"
        with open(log, "w", encoding="utf-8") as out:
            done = subprocess.run([*self.wrap, "crun", "--cgroup-manager=cgroupfs", *words],
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60,
                                  check=False)
        return done.returncode, log.read_text(encoding="utf-8")

    def start(self):
        """None, or what crun said when it refused."""
        status, text = self.crun("run", "--detach", "--bundle", str(self.bundle), self.name)
        if status:
            log = self.bundle / "hook.log"
            return text + (log.read_text(encoding="utf-8") if log.exists() else "")
        self.orders = self.listener.accept()[0]
        self.orders.settimeout(60)
        return None

    def state(self):
        return json.loads(self.crun("state", self.name)[1])

    def socket(self, family, kind, proto=0):
        self.orders.send(f"{int(family)} {int(kind)} {proto}".encode())
        text, fds, _, _ = socket.recv_fds(self.orders, 200, 1)
        if not fds:
            raise RuntimeError(f"container {self.name}: {text.decode()}")
        return socket.socket(fileno=fds[0])

    def delete(self):
        """Ends it, if it runs."""
        if self.orders:
            self.orders.close()
            self.orders = None
            return self.crun("delete", "--force", self.name)
        return 0, ""

    def close(self):
        self.delete()
        self.listener.close()
        shutil.rmtree(self.bundle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def cgroup2_alone():
    """For @wrap: crun does without version 1 only where it does not see it."""
    if os.path.exists("/sys/fs/cgroup/cgroup.procs"):
        return []
    return ["unshare", "--mount", "sh", "-c",
            'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$0" "$@"']
