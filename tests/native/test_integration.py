#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What `make install` puts in place for systemd, OCI runtimes and Kubernetes: is it well-formed?"""

import json
import os
import pathlib
import shutil
import tempfile
import unittest

import yaml

from native import HERE, must, run

ROOT = pathlib.Path(HERE).resolve().parent.parent
EXPOSURE = 30  # in tenths, at most: `systemd-analyze security` on Debian 12 says 2.9

# Of the Kubernetes API, what the manifest uses: {key: type, or what is in it}.  A type is what
# yaml makes of it; [x] is a list of x; {"*": x} has any keys.
META = {"name": str, "namespace": str, "labels": {"*": str}, "annotations": {"*": str}}
CONTAINER = {
    "name": str, "image": str, "command": [str], "args": [str],
    "securityContext": {
        "privileged": bool, "readOnlyRootFilesystem": bool, "runAsUser": int,
        "allowPrivilegeEscalation": bool, "seccompProfile": {"type": str},
        "capabilities": {"drop": [str], "add": [str]}},
    "resources": {"requests": {"*": str}, "limits": {"*": str}},
    "livenessProbe": {"exec": {"command": [str]}, "initialDelaySeconds": int,
                      "periodSeconds": int},
    "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool}]}
POD = {
    "automountServiceAccountToken": bool, "hostPID": bool, "hostNetwork": bool,
    "priorityClassName": str, "terminationGracePeriodSeconds": int,
    "tolerations": [{"operator": str, "key": str, "effect": str}],
    "containers": [CONTAINER],
    "volumes": [{"name": str, "hostPath": {"path": str, "type": str}}]}
KINDS = {
    ("v1", "Namespace"): {"apiVersion": str, "kind": str, "metadata": META},
    ("apps/v1", "DaemonSet"): {
        "apiVersion": str, "kind": str, "metadata": META,
        "spec": {"selector": {"matchLabels": {"*": str}},
                 "template": {"metadata": META, "spec": POD}}}}


def mistakes(value, schema, place=""):
    """Where a manifest is not as the schema says."""
    if isinstance(schema, list):
        if not isinstance(value, list) or not value:
            return [f"{place}: no list"]
        return [m for i, item in enumerate(value) for m in mistakes(item, schema[0],
                                                                   f"{place}[{i}]")]
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return [f"{place}: no object"]
        found = []
        for key, item in value.items():
            wanted = schema.get(key, schema.get("*"))
            found += mistakes(item, wanted, f"{place}.{key}") if wanted else [f"{place}.{key}"]
        return found
    return [] if type(value) is schema else [f"{place}: not {schema.__name__}"]  # pylint: disable=C0123


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(place.cleanup)
        cls.prefix = pathlib.Path(place.name)
        must("make", "-s", "-C", ROOT, "install", f"PREFIX={cls.prefix}", "DESTDIR=",
             "SANITIZE=")
        cls.loader = cls.prefix / "sbin/clatch-loader"
        cls.share = cls.prefix / "share/clatch"

    def test_nothing_is_left_to_fill_in(self):
        for file in self.prefix.rglob("*"):
            if file.is_file() and file != self.loader:
                self.assertNotIn(b"@LOADER@", file.read_bytes(), file)
                self.assertNotIn(b"@SHARE@", file.read_bytes(), file)

    def verify(self, units, name):
        done = run("systemd-analyze", "verify", "--man=no", units / name,
                   env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_unit(self):
        units = self.prefix / "lib/systemd/system"
        self.verify(units, "clatch.service")
        must("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}",
             units / "clatch.service")
        broken = self.prefix / "broken"
        broken.mkdir()
        (broken / "clatch.service").write_text((units / "clatch.service").read_text().replace(
            "NoNewPrivileges", "NoSuchSetting"))
        done = run("systemd-analyze", "verify", "--man=no", broken / "clatch.service")
        self.assertIn("NoSuchSetting", done.stderr)

    def test_drop_ins(self):
        for name in "clatch-unit.conf", "clatch-bpfprogram.conf":
            with self.subTest(name=name):
                units = self.prefix / name / "units"
                (units / "some.service.d").mkdir(parents=True)
                shutil.copy(self.prefix / "lib/systemd/system/clatch.service", units)
                shutil.copy(self.share / name, units / "some.service.d")
                (units / "some.service").write_text("[Service]\nExecStart=/bin/true\n")
                self.verify(units, "some.service")

    def test_hook(self):
        with open(self.prefix / "share/containers/oci/hooks.d/clatch.json",
                  encoding="utf-8") as file:
            hook = json.load(file)
        self.assertEqual(hook["hook"]["path"], str(self.loader))
        self.assertEqual(hook["version"], "1.0.0")
        self.assertEqual(hook["stages"], ["createRuntime", "poststop"])
        self.assertIn("guard a container", must(hook["hook"]["path"], *hook["hook"]["args"][1:],
                                                "--help").lower())

    def test_daemonset(self):
        with open(self.share / "clatch-daemonset.yaml", encoding="utf-8") as file:
            objects = list(yaml.safe_load_all(file))
        for thing in objects:
            self.assertEqual(mistakes(thing, KINDS[thing["apiVersion"], thing["kind"]]), [])
        daemon = objects[1]["spec"]
        pod = daemon["template"]["spec"]
        container = pod["containers"][0]
        self.assertEqual(daemon["selector"]["matchLabels"], daemon["template"]["metadata"]["labels"])
        self.assertEqual({mount["name"] for mount in container["volumeMounts"]},
                         {volume["name"] for volume in pod["volumes"]})
        # every option is one of the program's
        options = must(self.loader, container["args"][0], "--help")
        for word in container["args"]:
            self.assertTrue(not word.startswith("--") or f"  {word} " in options, word)
        self.assertFalse(container["securityContext"]["privileged"])
        container["securityContext"]["privilged"] = True
        container["args"].append(1)
        self.assertEqual(len(mistakes(objects[1], KINDS["apps/v1", "DaemonSet"])), 2)

    def test_the_same_capabilities_everywhere(self):
        """In the unit and in the manifest."""
        unit = (self.prefix / "lib/systemd/system/clatch.service").read_text(encoding="utf-8")
        line = [l for l in unit.splitlines() if l.startswith("CapabilityBoundingSet=")][0]
        with open(self.share / "clatch-daemonset.yaml", encoding="utf-8") as file:
            pod = list(yaml.safe_load_all(file))[1]["spec"]["template"]["spec"]
        added = pod["containers"][0]["securityContext"]["capabilities"]["add"]
        self.assertEqual(set(line.split("=")[1].split()), {f"CAP_{name}" for name in added})


if __name__ == "__main__":
    unittest.main(verbosity=2)
