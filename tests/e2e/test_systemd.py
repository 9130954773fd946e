# SPDX-License-Identifier: GPL-2.0-only
"""Our units under systemd itself, as process 1 of namespaces of its own."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from lab import LOADER, cgroup2_mount, run, wait_for

UNITS = pathlib.Path(__file__).resolve().parent.parent.parent / "integration"
# What every unit depends on; there are no others than ours.
TARGETS = ("sysinit", "basic", "shutdown", "umount", "network", "multi-user")
# systemd's own filter goes on beside ours: one address is refused, the other is not.
SERVICE = """[Service]
ExecStart=/bin/sleep infinity
IPAddressDeny=127.0.0.2
PrivateNetwork=yes
ExecStartPost=/bin/bash -c '! echo x >/dev/udp/127.0.0.2/9'
ExecStartPost=/bin/bash -c 'echo x >/dev/udp/127.0.0.1/9'
"""
UNASSERTED = "[Service]\nExecStart=/bin/sleep infinity\nBPFProgram=egress:{}/none\n"
BOOT = """set -e
mount -t proc proc /proc
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
exec /lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=null
"""


class Systemd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        # not in /tmp: the unit has its own, and must find the program
        cls.place = pathlib.Path(cls.stack.enter_context(
            tempfile.TemporaryDirectory(dir="/var/lib", prefix="clatch-test-")))
        cls.loader_file = shutil.copy(LOADER, cls.place)
        cls.bpffs = f"/sys/fs/bpf/{cls.place.name}"
        cls.units = cls.place / "units"
        cls.units.mkdir()
        for name in TARGETS:
            (cls.units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        cls.write("clatch.service", cls.unit("clatch.service"))
        cls.write("clatch.service.d/log.conf",
                  f"[Service]\nStandardError=append:{cls.place}/said\n")
        for service, dropin in (("unit", "clatch-unit.conf"),
                                ("program", "clatch-bpfprogram.conf")):
            cls.write(f"{service}.service", SERVICE)
            cls.write(f"{service}.service.d/clatch.conf", cls.unit(dropin))
        cls.write("unasserted.service", UNASSERTED.format(cls.bpffs))
        cls.boot()

    @classmethod
    def unit(cls, name):
        """As it is installed, with a directory for pins that nobody else uses."""
        text = (UNITS / f"{name}.in").read_text(encoding="utf-8")
        text = text.replace("/sys/fs/bpf/clatch/", cls.bpffs + "/")
        return text.replace("@LOADER@", f"{cls.loader_file} --bpffs {cls.bpffs}")

    @classmethod
    def write(cls, name, text):
        (cls.units / name).parent.mkdir(exist_ok=True)
        (cls.units / name).write_text(text, encoding="utf-8")

    @classmethod
    def boot(cls):
        cls.cgroup = f"{cgroup2_mount()}/{cls.place.name}"
        os.mkdir(cls.cgroup)
        cls.stack.callback(cls.remove_cgroups)
        process = subprocess.Popen(
            ["sh", "-c", f"echo $$ >{cls.cgroup}/cgroup.procs; exec unshare --pid --fork --mount "
             f"--cgroup --kill-child bash -c '{BOOT}'"],
            env={"PATH": os.environ["PATH"], "container": "clatch-test",
                 "SYSTEMD_UNIT_PATH": str(cls.units)})
        cls.stack.callback(run, cls.loader_file, "unload", "--bpffs", cls.bpffs, check=False)
        cls.stack.callback(process.wait)
        cls.stack.callback(process.kill)  # what ends it ends all of its process namespace
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        cls.pid = wait_for("process 1", lambda: children.read_text(encoding="ascii").strip())
        wait_for("systemd", lambda: cls.inside("systemctl", "is-active", "multi-user.target",
                                               check=False).returncode == 0, 60)

    @classmethod
    def remove_cgroups(cls):
        """They are empty as soon as the last process has gone."""
        def gone():
            for place, _, _ in os.walk(cls.cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(place)
            return not os.path.exists(cls.cgroup)

        wait_for("the cgroups to be removed", gone)

    @classmethod
    def inside(cls, *words, check=True):
        return run("nsenter", "-t", cls.pid, "-m", "-p", "-C", *words, check=check)

    def systemctl(self, *words, status=0):
        done = self.inside("systemctl", *words, check=False)
        if done.returncode != status:
            shown = self.inside("systemctl", "status", "--no-pager", "clatch", words[-1],
                                check=False).stdout
            said = self.place / "said"
            shown += said.read_text(encoding="utf-8") if said.exists() else ""
            self.fail(f"{words}: {done.returncode}: {done.stderr}\n{shown}")
        return done.stdout.strip()

    def status(self):
        done = self.inside(self.loader_file, "status", "--json", "--bpffs", self.bpffs, check=False)
        return json.loads(done.stdout)

    def programs(self, unit):
        """Of its cgroup itself: (name, attach flags)."""
        shown = run("bpftool", "-j", "cgroup", "show", f"{self.cgroup}/system.slice/{unit}.service")
        return {program["name"]: program["attach_flags"]
                for program in json.loads(shown.stdout.strip() or "[]")}

    def test_guarded_by_our_drop_in(self):
        self.systemctl("start", "unit")  # which starts clatch.service before
        cgroup = f"{cgroup2_mount()}/system.slice/unit.service"  # as seen there
        status = self.status()
        self.assertEqual((status["daemon"], status["cgroups"]), (True, [cgroup]))
        daemon = self.systemctl("show", "clatch", "--property=MainPID", "--value")
        self.assertEqual(self.inside("ps", "-o", "ni=", daemon).stdout.strip(), "-10")
        self.assertIn("sd_fw_egress", self.programs("unit"))
        # `run`, with no more than its unit allows, follows the service's network namespace
        pid = self.systemctl("show", "-P", "MainPID", "unit")
        self.inside("nsenter", "-t", pid, "-n", "ip", "xfrm", "state", "add", "src", "10.1.1.1", "dst",
            "10.1.1.2", "proto", "esp", "spi", "0x77665501", "mode", "transport", "aead",
            "rfc4106(gcm(aes))", "0x" + "11" * 20, "128")
        wait_for("its SA in the SA table", lambda: json.loads(run(
            "bpftool", "-j", "map", "dump", "pinned", f"{self.bpffs}/clatch_sas").stdout), 60)
        self.systemctl("restart", "unit")
        status = self.status()
        self.assertEqual((status["cgroups"], status["gone"]["cgroups"]), ([cgroup], []))
        said = (self.place / "said").read_text(encoding="utf-8")
        self.assertNotIn("ouldn't", said)
        self.assertIn("enforcing", said)
        self.systemctl("stop", "unit")

    def test_guarded_by_bpfprogram(self):
        self.systemctl("start", "program")
        found = self.programs("program")
        ours = {name for name in found if name.startswith("clatch")}
        self.assertEqual(len(ours), 9, found)
        self.assertNotIn("clatch_sock_rel", {name[:15] for name in ours})
        self.assertEqual({found[name] for name in ours}, {"multi"})
        self.systemctl("stop", "program")
        os.rename(f"{self.bpffs}/progs/clatch_egress", f"{self.bpffs}/progs/away")
        try:
            self.systemctl("start", "program", status=1)
        finally:
            os.rename(f"{self.bpffs}/progs/away", f"{self.bpffs}/progs/clatch_egress")
        self.assertEqual(self.systemctl("show", "-P", "AssertResult", "program"), "no")
        self.systemctl("start", "unasserted")  # what the assertions are for
        self.assertEqual(self.programs("unasserted"), {})
        self.systemctl("stop", "unasserted")

    def test_no_start_without_clatch(self):
        self.systemctl("stop", "clatch")
        run(self.loader_file, "unload", "--bpffs", self.bpffs, check=False)
        self.write("clatch.service.d/off.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n")
        self.systemctl("daemon-reload")
        try:
            for unit in "unit", "program":
                self.systemctl("start", unit, status=1)
                self.assertNotEqual(self.systemctl("is-active", unit, status=3), "active")
        finally:
            (self.units / "clatch.service.d/off.conf").unlink()
            self.systemctl("daemon-reload")


if __name__ == "__main__":
    unittest.main(verbosity=2)
