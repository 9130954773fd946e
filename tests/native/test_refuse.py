#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Bad input and missing means: a clear error, and nothing is changed."""

import os
import struct
import tempfile
import unittest

from native import (BPFFS, HOOKS, Case, LAYOUT, LOADER, MAGIC, hex_bytes, mounts, must, run,
                    set_up_module)

setUpModule = set_up_module  # pylint: disable=invalid-name


class Refusing(Case):
    """Bad input and bad surroundings: a clear error, and nothing changed."""

    def tearDown(self):
        self.nothing_is_left()

    def test_targets(self):
        rows = [
            (["--cgroup", "/no/such"], "cgroup '/no/such': No such file or directory"),
            (["--cgroup", "/etc/passwd"], "cgroup '/etc/passwd': Not a directory"),
            (["--cgroup", "/etc"], "cgroup '/etc': it is not a cgroup"),
            (["--dev", "nope"], "device 'nope': no such device"),
            (["--dev", "much-too-long-a-name"], "device 'much-too-long-a-name'"),
        ]
        for words, text in rows:
            with self.subTest(words=words):
                self.fails(1, text, "load", *words)
                self.assertFalse(os.path.exists(self.dir))

    def test_cgroup_v1(self):
        v1 = mounts("cgroup")
        if not v1:
            self.skipTest("no cgroup v1 hierarchy is mounted")
        self.fails(1, f"it is a cgroup v1 path; the cgroup v2 hierarchy is mounted at "
                      f"{mounts('cgroup2')[0]}", "load", "--cgroup", v1[0])

    def test_bpffs(self):
        for path, text in [
            ("/tmp", "not on a BPF file system"),
            ("/tmp/clatch", "not on a BPF file system"),
            (f"{BPFFS}/no/such", "its parent directory does not exist"),
            (f"{BPFFS}/with.dot", "names on a BPF file system have no dot"),
            ("/etc/passwd", "Not a directory"),
            ("/" + "x" * 5000, "File name too long"),
        ]:
            with self.subTest(path=path):
                self.fails(1, text, "load", "--cgroup", self.cgroup, bpffs=path)

    def test_read_only_bpffs(self):
        with tempfile.TemporaryDirectory() as place:
            for path in [place, f"{place}/new"]:
                words = f"{LOADER} load --cgroup {self.cgroup} --bpffs {path}"
                for how in ["remount,ro", "remount,bind,ro"]:
                    done = run("unshare", "-m", "sh", "-c",
                               f"mount -t bpf bpf {place} && mount -o {how} {place} && {words}")
                    self.assertEqual(done.returncode, 1)
                    self.assertIn(f"'{path}' for pins: the BPF file system is mounted read-only",
                                  done.stderr)

    def test_no_btf(self):
        done = self.in_private("mount -t tmpfs none /sys/kernel/btf")
        self.assertIn("kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", done.stderr)

    def test_lockdown(self):
        if not os.path.isdir("/sys/kernel/security"):
            self.skipTest("no /sys/kernel/security to put a lockdown file in")
        done = self.in_private("mount -t tmpfs none /sys/kernel/security && echo 'none integrity "
                               "[confidentiality]' >/sys/kernel/security/lockdown")
        self.assertIn("the kernel is locked down", done.stderr)

    def in_private(self, script):
        """Tries to load in a mount namespace that @script has changed."""
        done = run("unshare", "-m", "sh", "-c", f"{script} && {LOADER} load --cgroup "
                                                f"{self.cgroup} --bpffs {self.dir}")
        self.assertEqual(done.returncode, 1, done.stderr)
        return done

    def test_not_root(self):
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        self.fails(1, "CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON missing; run as root", "load",
                   "--cgroup", self.cgroup, netns=False, wrap=nobody)
        self.load()
        for verb, words in [("status", []), ("unload", []), ("attach", ["--dev", "lo"]),
                            ("detach", ["--cgroup", self.cgroup])]:
            with self.subTest(verb=verb):
                self.fails(1, "not permitted", verb, *words, netns=False, wrap=nobody)
        self.assertEqual(self.status()["cgroups"], [self.cgroup])
        self.ok("unload")

    def test_missing_capability(self):
        for drop, text in [("-net_admin", "not permitted, CAP_NET_ADMIN missing"),
                           ("-sys_admin,-bpf", "not permitted, CAP_BPF missing"),
                           ("-sys_admin,-perfmon", "not permitted, CAP_PERFMON missing")]:
            wrap = ["setpriv", "--bounding-set", drop]
            self.fails(1, text, "load", "--cgroup", self.cgroup, netns=False, wrap=wrap)

    def test_missing_capability_to_change(self):
        """A part of the capabilities would do a part: rather nothing."""
        self.load("--dev", "c0")
        before = self.status()
        for drop, text in [("-net_admin", "CAP_NET_ADMIN"), ("-sys_admin,-bpf", "CAP_BPF"),
                           ("-all", "CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON")]:
            for verb, words in [("unload", []), ("attach", ["--dev", "c1"]), ("run", []),
                                ("detach", ["--cgroup", self.cgroup, "--dev", "c0"])]:
                with self.subTest(verb=verb, drop=drop):
                    enter = ["nsenter", f"--net=/run/netns/{self.netns}", "setpriv"]
                    self.fails(1, f"Couldn't {verb}: not permitted, {text} missing", verb, *words,
                               netns=False, wrap=[*enter, "--bounding-set", drop])
                    self.assertEqual(self.status(), before)
                    self.assertEqual(len(self.cgroup_programs(self.cgroup)), HOOKS)
        self.ok("unload")

    def test_kernel_without_a_feature(self):
        """libbpf's answers replaced by those of a kernel that lacks something."""
        say = "int bpf_object__load(void *object) { (void)object; return -22; }\n"
        probe = "int libbpf_probe_bpf_%s(int what, void *opts) { (void)opts; return what != %d; }"
        for code, text in [
            (probe % ("map_type", 27), "this kernel has no ringbuf, needed to report events"),
            (probe % ("prog_type", 13), "this kernel has no sock_ops, needed to see TCP"),
            ("int libbpf_probe_bpf_helper(int type, int what, void *opts)"
             "{ (void)type; (void)opts; return what != 181; }", "this kernel has no loop"),
            ("", "Couldn't load the BPF programs: Invalid argument"),
        ]:
            with self.subTest(text=text):
                wrap = ["env", f"LD_PRELOAD={self.library(say + code)}",
                        "ASAN_OPTIONS=verify_asan_link_order=0"]
                self.fails(1, text, "load", "--cgroup", self.cgroup, wrap=wrap)
                self.assertFalse(os.path.exists(self.dir))

    def library(self, code):
        """Compiles a library to put before libbpf."""
        place = tempfile.mkdtemp()
        self.addCleanup(run, "rm", "-r", place)
        with open(f"{place}/before.c", "w", encoding="utf-8") as file:
            file.write(code)
        must("cc", "-shared", "-fPIC", "-o", f"{place}/before.so", f"{place}/before.c")
        return f"{place}/before.so"

    def test_another_version(self):
        self.load("--dev", "c0")
        self.write_meta(layout=LAYOUT + 1)
        text = (f"The pins at {self.dir} have layout {LAYOUT + 1}, "
                f"this clatch-loader knows {LAYOUT}")
        for verb, words in [("status", []), ("unload", []), ("attach", ["--dev", "c1"]),
                            ("detach", ["--dev", "c0"]), ("load", ["--cgroup", self.cgroup])]:
            with self.subTest(verb=verb):
                self.fails(1, text, verb, *words)
        self.write_meta(magic=MAGIC + 1)
        self.fails(1, f"The pins at {self.dir} are not clatch's", "unload")
        self.write_meta()
        self.assertEqual(self.status()["devices"], ["c0"])
        self.ok("unload")

    def test_a_longer_record(self):
        """A later version's clatch_meta may be larger; its layout still is what is said."""
        os.mkdir(self.dir)
        path = f"{self.dir}/clatch_meta"
        must("bpftool", "map", "create", path, "type", "array", "key", "4", "value", "64",
             "entries", "1", "name", "clatch_meta")
        must("bpftool", "map", "update", "pinned", path, "key", *hex_bytes(bytes(4)), "value",
             *hex_bytes(struct.pack("<QI52x", MAGIC, 9)))
        self.fails(1, "have layout 9", "load", "--cgroup", self.cgroup)
        os.unlink(path)
        os.rmdir(self.dir)


if __name__ == "__main__":
    unittest.main(verbosity=2)
