# SPDX-License-Identifier: GPL-2.0-only
"""Manually keyed IPsec between the lab's hosts, in every shape that clatch tells apart."""

import dataclasses
import socket

GCM = "aead rfc4106(gcm(aes)) 0x{:040x} 128"
GCM256 = "aead rfc4106(gcm(aes)) 0x{:072x} 128"
GCM_ICV8 = "aead rfc4106(gcm(aes)) 0x{:040x} 64"
CHACHA = "aead rfc7539esp(chacha20,poly1305) 0x{:072x} 128"
GMAC = "aead rfc4543(gcm(aes)) 0x{:040x} 128"
CBC = "enc cbc(aes) 0x{:032x} auth-trunc hmac(sha256) 0x{:064x} 128"
CBC_SHA1 = "enc cbc(aes) 0x{:032x} auth-trunc hmac(sha1) 0x{:040x} 96"
CBC256 = "enc cbc(aes) 0x{:064x} auth-trunc hmac(sha256) 0x{:064x} 128"
NULL = "enc ecb(cipher_null) \"\" auth-trunc hmac(sha256) 0x{:064x} 128"
NULL_BOTH = "enc ecb(cipher_null) \"\" auth digest_null \"\""  # no cost of its own
AUTH_ONLY = "auth-trunc hmac(sha256) 0x{:064x} 128"

FLUSH = ("xfrm policy flush", "xfrm state flush")


@dataclasses.dataclass(frozen=True)
class Shape:
    """How two hosts protect their traffic.  Nearly all of it is latched."""

    mode: str = "transport"
    suite: str = GCM
    sa_proto: str = "esp"
    reqid: int = 7
    family: int = socket.AF_INET
    esn: bool = False
    replay: int = 32
    encap: bool = False
    if_id: int = 0  # not 0: route-based, over an xfrm interface
    nested: bool = False  # AH around ESP
    upper: str = "tcp"  # which transport the policies are for
    host_tunnel: bool = False  # tunnel mode between the hosts' own addresses
    optional: bool = False  # the policies say level use; not latched

    @property
    def inner(self):
        return self.mode == "tunnel" and not self.host_tunnel


def _state(shape, src, dst, spi, proto=None, suite=None):
    key = spi + 1
    words = f"xfrm state add src {src} dst {dst} proto {proto or shape.sa_proto} spi {spi:#x}"
    words += f" reqid {shape.reqid} mode {shape.mode}"
    words += f" replay-window {shape.replay}" if shape.replay else ""
    words += " flag esn" if shape.esn else ""
    words += f" if_id {shape.if_id}" if shape.if_id else ""
    words += " " + (suite or shape.suite).format(key, key)
    words += " encap espinudp 4500 4500 0.0.0.0" if shape.encap else ""
    return words


def _addresses(lab, shape):
    six = shape.family == socket.AF_INET6
    outer = [h.v6 if six else h.v4 for h in (lab.a, lab.b)]
    if not shape.inner:
        return outer, outer
    return outer, [h.net6 if six else h.net4 for h in (lab.a, lab.b)]


def _template(shape, src, dst, proto=None):
    ends = f"src {src} dst {dst}" if shape.mode == "tunnel" else ""
    level = " level use" if shape.optional else ""
    return (f" tmpl {ends} proto {proto or shape.sa_proto} reqid {shape.reqid} mode {shape.mode}"
            f"{level}")


def _policy(shape, inner, outer, direction, priority):
    words = f"xfrm policy add src {inner[0]} dst {inner[1]} proto {shape.upper}"
    words += f" dir {direction} priority {priority}"
    words += f" if_id {shape.if_id}" if shape.if_id else ""
    if shape.nested:
        words += _template(shape, *outer, "esp") + _template(shape, *outer, "ah")
    else:
        words += _template(shape, *outer)
    return words


def _state_lines(lab, shape, spis):
    (a, b), _ = _addresses(lab, shape)
    lines = []
    for (src, dst), spi in zip(((a, b), (b, a)), spis):
        if shape.nested:
            lines.append(_state(shape, src, dst, spi, "esp"))
            lines.append(_state(shape, src, dst, spi + 1, "ah", AUTH_ONLY))
        else:
            lines.append(_state(shape, src, dst, spi))
    return lines


def sa_line(shape, src, dst, spi):
    """An SA between any two addresses."""
    return _state(shape, src, dst, spi)


def _policy_lines(lab, shape, host, priority=1000):
    outer, inner = _addresses(lab, shape)
    if host is lab.b:
        outer, inner = outer[::-1], inner[::-1]
    return [_policy(shape, inner, outer, "out", priority),
            _policy(shape, inner[::-1], outer[::-1], "in", priority)]


def states(lab, shape, spis):
    """SAs both ways; @spis: a to b, b to a."""
    for host in (lab.a, lab.b):
        host.ip(*_state_lines(lab, shape, spis))


def words(lab, shape, direction):
    """Of the guarded host's IPsec in one direction, for lines of ip(8): a policy's selector and
    template, an SA's ends."""
    outer, inner = _addresses(lab, shape)
    src, dst = outer if direction == "out" else outer[::-1]
    near, far = inner if direction == "out" else inner[::-1]
    if_id = f" if_id {shape.if_id}" if shape.if_id else ""
    wide = f"src {near} dst {far}"
    return {"selector": f"{wide} proto {shape.upper} dir {direction}{if_id}",
            "wide": f"{wide} dir {direction}{if_id}", "near": near, "far": far,
            "template": _template(shape, src, dst), "ends": f"src {src} dst {dst}"}


def policies(lab, shape, priority=1000):
    for host in (lab.a, lab.b):
        host.ip(*_policy_lines(lab, shape, host, priority))


def interfaces(lab, shape):
    """Route-based: an xfrm interface on both hosts, with the peer's inner net behind it."""
    for host, other in ((lab.a, lab.b), (lab.b, lab.a)):
        host.ip(f"link add ipsec0 type xfrm dev {host.dev} if_id {shape.if_id}",
                "link set ipsec0 up",
                f"route replace {other.net4} dev ipsec0 src {host.inner4}",
                f"route replace {other.net6} dev ipsec0 src {host.inner6}")


def install(lab, shape, spis=(0x1001, 0x2001)):
    exchange_shape(lab, shape, spis)
    if shape.if_id:
        interfaces(lab, shape)
    return encap_sockets(lab, shape) if shape.encap else []


def encap_sockets(lab, shape):
    """What an IKE daemon holds: the UDP socket through which ESP comes in."""
    return [_encap_socket(host, shape) for host in (lab.a, lab.b)]


def _encap_socket(host, shape):
    sock = host.socket(shape.family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host.address(shape.family), 4500))
    sock.setsockopt(socket.IPPROTO_UDP, 100, 2)  # UDP_ENCAP, UDP_ENCAP_ESPINUDP
    return sock


def flush(*hosts):
    for host in hosts:
        host.ip(*FLUSH)


def flush_policies(*hosts):
    for host in hosts:
        host.ip("xfrm policy flush")


def remove_interfaces(lab):
    for host, other in ((lab.a, lab.b), (lab.b, lab.a)):
        host.run("ip", "link", "del", "ipsec0", check=False)
        host.ip(f"route replace {other.net4} via {other.v4} src {host.inner4}",
                f"route replace {other.net6} via {other.v6} src {host.inner6}")


def rekey(lab, shape, old, new):
    """As an IKE daemon does it: new SAs first, inbound before outbound, then the old ones go."""
    states(lab, shape, new)
    (a, b), _ = _addresses(lab, shape)
    protos = [(0, "esp"), (1, "ah")] if shape.nested else [(0, shape.sa_proto)]
    for host in (lab.a, lab.b):
        host.ip(*(f"xfrm state delete src {src} dst {dst} proto {proto} spi {spi + add:#x}"
                  for (src, dst), spi in zip(((a, b), (b, a)), old) for add, proto in protos))


def exchange_shape(lab, shape, spis=(0x3001, 0x4001)):
    """The same selectors, protected otherwise: what a live connection must not follow."""
    for host in (lab.a, lab.b):
        host.ip(*FLUSH, *_state_lines(lab, shape, spis), *_policy_lines(lab, shape, host))
