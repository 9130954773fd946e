# SPDX-License-Identifier: GPL-2.0-only
"""IKE daemons for the lab: strongSwan with certificates, one daemon a host, and a third host that
takes over the peer's address."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from lab import TCP, WAIT, Host, run, wait_for
from vici import Vici

CHARON = "/usr/lib/ipsec/charon"
# What each is called in the tests: the guarded host, its peer, and who takes the peer's address.
GUARDED, PEER, NEWCOMER = "app3.example", "db1.example", "web7.example"

SWANCTL_CONF = """
connections {{
  peer {{
    version = 2
    local_addrs = {own}
    remote_addrs = {peer}
    mobike = no
    proposals = aes128-sha256-ecp256
{connection}
    local {{
      auth = pubkey
      certs = {certificate}
      id = "{own_id}"
    }}
    remote {{
      auth = pubkey
      id = "{peer_id}"
    }}
    children {{
      net {{
        esp_proposals = aes128gcm16
        local_ts = dynamic[tcp]
        remote_ts = dynamic[tcp]
{child}
      }}
    }}
  }}
}}
"""
# Patient: the kernel loads its ciphers when the first SA comes, which may take seconds.  And whose
# cable is gone shall not notice (roam_events).
STRONGSWAN_CONF = """
charon {{
  load = random nonce openssl pem pkcs1 pkcs8 x509 pubkey kdf kernel-netlink socket-default vici
  install_routes = no
  retransmit_timeout = 2.0
  retransmit_base = 1.0
  retransmit_tries = 15
{daemon}
  filelog {{
    lab {{
      path = {log}
      default = 1
      flush_line = yes
    }}
  }}
  plugins {{
    vici {{ socket = unix://{vici} }}
    kernel-netlink {{ roam_events = no }}
  }}
}}
swanctl {{ load = random nonce openssl pem pkcs1 pkcs8 x509 pubkey }}
"""
KEYS = {
    "ecdsa": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("-newkey", "rsa:2048"),
    "ed25519": ("-newkey", "ed25519"),
}


@dataclasses.dataclass(frozen=True)
class Certificate:
    id: str  # as IKE sends it
    file: pathlib.Path
    key: pathlib.Path
    authority: pathlib.Path  # the certificate of who signed it


class Authority:
    """Makes certificates, with openssl."""

    def __init__(self, directory, key="ecdsa", name="Lab CA"):
        self.directory = pathlib.Path(directory, name.replace(" ", "-"))
        self.directory.mkdir()
        self.key = key
        self.file = self.directory / "ca.pem"
        self._openssl("ca", key, f"/O=Lab/CN={name}", "keyUsage=critical,keyCertSign,cRLSign")

    def _openssl(self, stem, key, subject, extension, *more):
        run("openssl", "req", "-x509", "-nodes", "-days", "3650", "-batch", "-sha256",
            *KEYS[key], "-subj", subject, "-addext", extension,
            "-keyout", self.directory / f"{stem}.key", "-out", self.directory / f"{stem}.pem", *more)

    def make(self, identity, key=None):
        """For an FQDN, an email or an IP address, or a DN as /O=Lab/CN=some: then without a name
        besides its subject."""
        stem = identity.strip("/").replace("/", "-")
        more = ("-CA", self.file, "-CAkey", self.directory / "ca.key",
                "-addext", "basicConstraints=critical,CA:false")
        if identity.startswith("/"):
            subject, extension = identity, "keyUsage=digitalSignature"
            identity = ", ".join(identity[1:].split("/"))
        else:
            kind = "email" if "@" in identity else "DNS"
            kind = "IP" if identity.replace(".", "").isdigit() or ":" in identity else kind
            subject, extension = f"/O=Lab/CN={identity}", f"subjectAltName={kind}:{identity}"
        self._openssl(stem, key or self.key, subject, extension, *more)
        return Certificate(identity, self.directory / f"{stem}.pem", self.directory / f"{stem}.key",
                           self.file)


def _settings(settings, indent):
    return "\n".join(f"{' ' * indent}{key} = {value}" for key, value in dict(settings).items())


class Charon:
    """One IKE daemon, in its host's network namespace, with a /run of its own.

    @peer_id: whom it accepts, which may be a pattern; @connection, @child: more settings for
    swanctl.conf; @daemon: more for strongswan.conf.
    """

    def __init__(self, host, peer, directory, certificate, peer_id, connection=(), child=(),
                 daemon=()):
        self.host, self.certificate = host, certificate
        self.directory = pathlib.Path(directory)
        self.vici, self.log = str(self.directory / "vici"), self.directory / "log"
        for part, file in (("x509", certificate.file), ("private", certificate.key),
                           ("x509ca", certificate.authority)):
            (self.directory / part).mkdir()
            shutil.copy(file, self.directory / part)
        (self.directory / "swanctl.conf").write_text(SWANCTL_CONF.format(
            own=host.v4, peer=peer.v4, own_id=certificate.id, peer_id=peer_id,
            certificate=certificate.file.name, connection=_settings(connection, 4),
            child=_settings({"mode": "transport", **dict(child)}, 8)))
        settings = self.directory / "strongswan.conf"
        settings.write_text(STRONGSWAN_CONF.format(log=self.log, vici=self.vici,
                                                   daemon=_settings(daemon, 2)))
        self.env = {**os.environ, "STRONGSWAN_CONF": str(settings),
                    "SWANCTL_DIR": str(self.directory)}
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.host.name}", "unshare", "--mount", "sh", "-c",
             f"mount -t tmpfs tmpfs /run && exec {CHARON}"],
            env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("charon's socket", self._listening)
        done = run("swanctl", "--load-all", "--uri", f"unix://{self.vici}", check=False,
                   env=self.env)
        if done.returncode:
            raise self._failed(f"swanctl: {done.stderr}")

    def _listening(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"charon ended with {self.process.returncode}")
        return os.path.exists(self.vici)

    def _failed(self, what):
        return RuntimeError(f"{what}\n{self.log.read_text()}")

    def request(self, command, **message):
        """As swanctl --COMMAND, which takes a second to start in the emulated machine."""
        with contextlib.closing(Vici(self.vici)) as vici:
            reply = vici.request(command, **message)
        if reply["success"] != "yes":
            raise self._failed(f"{command} {message}: {reply.get('errmsg')}")

    def initiate(self):
        self.request("initiate", child="net")

    def rekey(self):
        self.request("rekey", child="net")

    def rekey_ike(self):
        self.request("rekey", ike="peer")

    def reauthenticate(self):
        self.request("rekey", ike="peer", reauth="yes")

    def terminate(self):
        """The peer is told."""
        self.request("terminate", ike="peer")

    def sas(self):
        """(peer's id, unique id, SPI in, SPI out) of each child SA."""
        with contextlib.closing(Vici(self.vici)) as vici:
            return [(sa.get("remote-id"), int(child["uniqueid"]), int(child["spi-in"], 16),
                     int(child["spi-out"], 16))
                    for message in vici.stream("list-sas", "list-sa") for sa in message.values()
                    for child in sa.get("child-sas", {}).values() if "spi-in" in child]

    def spis(self, peer_id):
        """(in, out) of the newest child SA with a peer."""
        return max(sa[1:] for sa in self.sas() if sa[0] == peer_id)[1:]

    def stop(self):
        """An orderly end: the peer is told."""
        if self.process:
            self._end(self.process.terminate)

    def die(self):
        """As in a crash of the host: the peer is told nothing, and the kernel forgets its SAs."""
        self._end(self.process.kill)
        self.host.ip("xfrm policy flush", "xfrm state flush")

    def _end(self, tell):
        tell()
        self.process.wait(WAIT)
        self.process = None
        pathlib.Path(self.vici).unlink(missing_ok=True)


class Daemons:
    """The daemons of one test, with certificates of one authority."""

    def __init__(self, lab, key="ecdsa"):
        self.lab = lab
        self.directory = tempfile.TemporaryDirectory()
        self.authority = Authority(self.directory.name, key)
        self.started = []

    def start(self, host, identity, certificate=None, **more):
        """The guarded host accepts whom the authority certified; the others, only it."""
        guarded = host is self.lab.a
        daemon = Charon(host, self.lab.b if guarded else self.lab.a,
                        tempfile.mkdtemp(dir=self.directory.name),
                        certificate or self.authority.make(identity),
                        **{"peer_id": "%any" if guarded else GUARDED, **more})
        self.started.append(daemon)
        daemon.start()
        return daemon

    def close(self):
        for daemon in self.started:
            daemon.stop()
        self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Newcomer(Host):
    """A third host with the addresses of the peer, whose cable it gets with plug()."""

    def __init__(self, lab):
        super().__init__(lab, "c", 2)
        self.lab, self.dev, self.plugged = lab, lab.b.dev, False
        self.ip(*self.lines_of_inner())
        self.raw = self.socket(socket.AF_INET, socket.SOCK_RAW, TCP)
        self.raw.setblocking(False)
        self.segments = b""

    def plug(self):
        """The peer runs on, and hears nothing."""
        self._move(self.lab.b, self)
        self.plugged = True

    def unplug(self):
        self._move(self, self.lab.b)
        self.plugged = False

    def _move(self, source, target):
        source.ip(f"link set {self.dev} netns {target.name}")
        target.ip(*target.lines_of_link(self.lab.a))

    def heard(self):
        """All TCP segments that came, decrypted; each from its IP header on."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.segments += self.raw.recv(65536)
        return self.segments

    def forget(self):
        self.heard()
        self.segments = b""

    def close(self):
        if self.plugged:
            self.unplug()  # it would end with this host
        self.raw.close()
        super().close()
