# SPDX-License-Identifier: GPL-2.0-only
"""What scripts/updown tells clatch-loader, with the programs that it calls replaced by recorders."""

import os
import shutil
import tempfile
import unittest

from native import HERE, run

UPDOWN = os.path.join(HERE, "../../scripts/updown")
# Words end in NUL; an empty one ends a call.  It answers with the file NAME-WORD-WORD.
RECORDER = """#!/bin/sh
printf '%s\\0' "${{0##*/}}" "$@" '' >>{dir}/calls
[ ! -e "{dir}/${{0##*/}}-$1-$2" ] || cat "{dir}/${{0##*/}}-$1-$2"
case $0 in
*/ipsec) exit ${{STATUS_ipsec-0}} ;;
*/clatch-loader) exit ${{STATUS_loader-0}} ;;
esac
"""

# As Libreswan 4.10 passes it, seen on real SAs.
LIBRESWAN = {
    "PLUTO_VERB": "up-host", "PLUTO_STACK": "xfrm", "PLUTO_SA_TYPE": "ESP",
    "PLUTO_ME": "10.9.0.1", "PLUTO_PEER": "10.9.0.2", "SPI_IN": "0xb02dbc7e",
    "SPI_OUT": "0xe5ff5a6f", "PLUTO_MY_ID": "@app3.example", "PLUTO_PEER_ID": "@db1.example",
}
STRONGSWAN = {
    "PLUTO_VERB": "up-host", "PLUTO_VERSION": "1.1", "PLUTO_PROTO": "esp", "PLUTO_REQID": "1",
    "PLUTO_ME": "10.9.0.1", "PLUTO_PEER": "10.9.0.2", "PLUTO_MY_ID": "app3.example",
    "PLUTO_PEER_ID": "db1.example",
}
STATE = """src 10.9.0.1 dst 10.9.0.2
\tproto esp spi 0x{:08x} reqid 1 mode transport
\treplay-window 0 flag esn
"""
# One connection in transport mode, an instance in tunnel mode, and one that is down.
TRAFFIC = """006 #2: "net", type=ESP, add_time=1795528886, inBytes=115, maxBytes=2^63B, id='{peer}'
006 #9: "any"[1] 10.9.0.3, type=ESP, add_time=1795528886, id='@c', lease=10.7.0.1/32
"""
STATES = """000 #1: "net":500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); newest; idle;
000 #2: "net":500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); newest; IKE SA #1; idle;
000 #2: "net" esp.b02dbc7e@10.9.0.2 esp.a86a@10.9.0.1 Traffic: ESPin=115B ESPout=147B ESPmax=2^63B
000 #9: "any"[1] 10.9.0.3 esp.2@10.9.0.3 esp.3@10.9.0.1 tun.0@10.9.0.3 tun.0@10.9.0.1 Traffic:
"""
STATUS = """000 "net": 10.9.0.1/32===10.9.0.1[@app3.example]...10.9.0.2[{peer}]===10.9.0.2/32
000 "net":   our idtype: ID_FQDN; our id=@app3.example; their idtype: ID_FQDN; their id={peer}
000 "any"[1] 10.9.0.3:   our idtype: ID_FQDN; our id=@app3.example; their idtype: ID_FQDN; their id=@c
000 "off":   our idtype: ID_FQDN; our id=@app3.example; their idtype: ID_FQDN; their id=@web7.example
"""
HOSTILE = [
    # as pluto puts it into the environment, and as it is told
    (r"CN=x\134; their id\134=@app3.example", r"CN=x\; their id\=@app3.example"),
    (r"C=CH, O=Jack\047s \042Inc\042, CN=*", "C=CH, O=Jack's \"Inc\", CN=*"),
    (r"CN=\044(touch x) \140touch x\140 %s%n", "CN=$(touch x) `touch x` %s%n"),
    (r"CN=Z\134C3\134BCrich, O=a\134047b", r"CN=Z\C3\BCrich, O=a\047b"),
    ("$(touch x); `touch x` && touch x | touch x", "$(touch x); `touch x` && touch x | touch x"),
    ("two\nlines", "two\nlines"),
    ("@--help", "--help"),
    ("-j", "-j"),
    # an "@" goes only from what can be nothing but a host name
    ("@db1.example", "db1.example"),
    (r"@it\047s \044(touch x)", "@it's $(touch x)"),
    ("@10.9.0.2", "@10.9.0.2"),
    ("@fd00:9::2", "@fd00:9::2"),
    ("@#0x67726f7570", "@#0x67726f7570"),
    ("@joe@db1.example", "@joe@db1.example"),
    ("@CN=db1.example", "@CN=db1.example"),
    ("joe@db1.example", "joe@db1.example"),
    ("10.9.0.2", "10.9.0.2"),
    # what could be two identities is none
    (r"@db1.exam\000ple", None),
    (r"joe\012@db1.example", None),
    (r"@db1\134000.example", None),
]


class Updown(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        self.write("calls", "")
        for name in ("clatch-loader", "ipsec", "ip"):
            self.write(name, RECORDER.format(dir=self.dir))
            os.chmod(f"{self.dir}/{name}", 0o755)

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def calls(self, given, *words, status=0, **more):
        """What was called, in order."""
        path = f"{self.dir}:{os.environ['PATH']}"
        done = run(UPDOWN, *words, cwd=self.dir, env={"PATH": path, **given, **more})
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertFalse(os.path.exists(f"{self.dir}/x"), "something of an identity was executed")
        with open(f"{self.dir}/calls", encoding="utf-8") as calls:
            found = [call.split("\0") for call in calls.read().split("\0\0")[:-1]]
        self.write("calls", "")
        return found

    def added(self, spi, dst, peer, own="app3.example", proto="esp"):
        return ["clatch-loader", "identity", "add", f"--proto={proto}", f"--spi={spi}",
                f"--dst={dst}", f"--local-id={own}", f"--peer-id={peer}"]

    def told(self, *rest, **more):
        return [call for call in self.calls(*rest, **more) if call[0] == "clatch-loader"]

    def test_libreswan_comes_up(self):
        told = [self.added("0xb02dbc7e", "10.9.0.2", "db1.example"),
                self.added("0xe5ff5a6f", "10.9.0.1", "db1.example")]
        self.assertEqual(self.calls(LIBRESWAN, "--route", "yes"),
                         [*told, ["ipsec", "_updown", "--route", "yes"]])
        for call in told:
            call[3] = "--proto=ah"
        given = {**LIBRESWAN, "PLUTO_VERB": "up-client-v6", "PLUTO_SA_TYPE": "AH"}
        self.assertEqual(self.told(given), told)

    def test_the_other_verbs_are_only_passed_on(self):
        for verb in ("prepare-host", "route-client", "down-host", "unroute-host-v6"):
            given = {**LIBRESWAN, "PLUTO_VERB": verb}
            self.assertEqual(self.calls(given), [["ipsec", "_updown"]])
        given = {**LIBRESWAN, "PLUTO_SA_TYPE": "IPCOMP"}
        self.assertEqual(self.calls(given), [["ipsec", "_updown"]])

    def test_the_exit_status_is_that_of_the_default_script(self):
        for loader, default in (1, 0), (0, 3), (2, 3):
            calls = self.calls(LIBRESWAN, status=default, STATUS_loader=str(loader),
                               STATUS_ipsec=str(default))
            self.assertEqual(calls[-1], ["ipsec", "_updown"])

    def test_no_loader(self):
        os.unlink(f"{self.dir}/clatch-loader")
        self.assertEqual(self.calls(LIBRESWAN), [["ipsec", "_updown"]])

    def test_where_the_pins_are(self):
        for call in self.told(LIBRESWAN, CLATCH_BPFFS="/sys/fs/bpf/x y"):
            self.assertEqual(call[-1], "--bpffs=/sys/fs/bpf/x y")

    def test_identities_stay_one_argument(self):
        for given, told in HOSTILE:
            with self.subTest(given):
                calls = self.told({**LIBRESWAN, "PLUTO_PEER_ID": given, "PLUTO_MY_ID": given})
                self.assertEqual(calls, [] if told is None else [
                    self.added("0xb02dbc7e", "10.9.0.2", told, told),
                    self.added("0xe5ff5a6f", "10.9.0.1", told, told)])

    def test_a_peer_without_an_identity(self):
        for peer in ("", "ID_NULL", "(none)", "%fromcert"):
            given = {**LIBRESWAN, "PLUTO_PEER_ID": peer}
            self.assertEqual(self.calls(given), [["ipsec", "_updown"]])

    def test_users_of_xauth(self):
        """The identity is their group's; and --follow could not tell them after a rekey."""
        self.assertEqual(self.calls({**LIBRESWAN, "PLUTO_USERNAME": "alice"}),
                         [["ipsec", "_updown"]])
        self.assertEqual(len(self.told({**LIBRESWAN, "PLUTO_USERNAME": ""})), 2)

    def test_strongswan_comes_up(self):
        self.write("ip-xfrm-state", STATE.format(0x1001))
        self.assertEqual(self.told(STRONGSWAN), [
            self.added("0x00001001", "10.9.0.2", "db1.example"),
            self.added("0x00001001", "10.9.0.1", "db1.example")])
        for given, _ in HOSTILE:
            calls = self.told({**STRONGSWAN, "PLUTO_PEER_ID": given})
            self.assertEqual(calls[0], self.added("0x00001001", "10.9.0.2", given))

    def test_strongswan_names_that_stand_for_several_peers(self):
        """It prints a "?" for each byte of a name that it cannot print."""
        self.write("ip-xfrm-state", STATE.format(0x1001))
        for given in "C=CH, O=Z??rich, CN=db1", "(invalid ID_IPV4_ADDR)", "%any":
            self.assertEqual(self.told({**STRONGSWAN, "PLUTO_PEER_ID": given}), [])
            calls = self.told({**STRONGSWAN, "PLUTO_MY_ID": given})
            self.assertEqual([call[6:] for call in calls], [["--peer-id=db1.example"]] * 2)

    def test_who_logs_in_may_call_himself_as_he_likes_besides(self):
        """EAP and XAUTH authenticate another name than that of the IKE SA."""
        self.write("ip-xfrm-state", STATE.format(0x1001))
        given = {**STRONGSWAN, "PLUTO_XAUTH_ID": "alice@example.org"}
        self.assertEqual([call[-1] for call in self.told(given)],
                         ["--peer-id=alice@example.org"] * 2)
        self.assertEqual(self.told({**given, "PLUTO_XAUTH_ID": "al?ce"}), [])

    def test_strongswan_with_the_sas_of_two_peers(self):
        for states in "", STATE.format(0x1001) + STATE.format(0x1002):
            self.write("ip-xfrm-state", states)
            self.assertEqual(self.told(STRONGSWAN), [])

    def follow(self, peer="@db1.example", traffic=TRAFFIC, **more):
        """Until the end of the events of the kernel: there is one."""
        self.write("ip--o-xfrm", "src 10.9.0.1 dst 10.9.0.2\\\tproto esp spi 0xb02dbc7e\n")
        self.write("ipsec-whack---trafficstatus", traffic.format(peer=peer))
        self.write("ipsec-whack---showstates", STATES)
        # as pluto prints it there, a line feed is one
        self.write("ipsec-whack---status", STATUS.format(peer=peer.replace(r"\n", "\n")))
        return self.told({}, "--follow", status=1, **more)

    def net(self, peer="db1.example"):
        return [self.added("0xb02dbc7e", "10.9.0.2", peer), self.added("0xa86a", "10.9.0.1", peer)]

    def test_follow(self):
        rest = [self.added("0x2", "10.9.0.3", "c"), self.added("0x3", "10.9.0.1", "c")]
        self.assertEqual(self.follow(), self.net() + rest)
        self.assertEqual(self.follow(STATUS_loader="1"), (self.net() + rest) * 2)

    def test_follow_hostile_identities(self):
        for peer in (
                "@x', id='@db1.example", "@x', lease=10.7.0.1/32", "@it's $(touch x) `touch x` %d",
                '@x:   our idtype: ID_FQDN; our id=@y; their idtype: ID_FQDN; their id=@z',
                "@it's, type=ESP, id='", r"C=CH, O=Jack's \; $(touch x), CN=db1.example"):
            with self.subTest(peer):
                calls = self.follow(peer)
                self.assertEqual(calls[:2], self.net(peer))
                self.assertEqual(len(calls), 4)

    def test_follow_identities_with_line_feeds(self):
        forged = r"\n006 #9: " + '"any"[1] 10.9.0.3, type=ESP, add_time=1, id=' + "'@db1.example'"
        self.assertEqual(len(self.follow("@x" + forged)), 2)
        forged = r'@x\n000 "any"[1] 10.9.0.3:   our idtype: X; our id=@y; their idtype: X; their id=@z'
        calls = self.follow(forged)
        self.assertEqual([call[-1] for call in calls], ["--peer-id=c"] * 2)
        forged = TRAFFIC.replace(", type=ESP", ", username=x\n006 #2: \"net\", type=ESP", 1)
        self.assertEqual(self.follow(traffic=forged), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
