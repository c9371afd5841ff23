# SPDX-License-Identifier: ISC
"""The filter for fail2ban, tried by fail2ban-regex (unpacked, not installed) on a log that the
daemon has written: who failed to log in is found, and nobody else, whatever the client writes.
"""
import base64
import os
import subprocess
import sys
import unittest

import harness
import puppet
import test_limits

FILTER = harness.SOURCES / "fail2ban/filter.conf"


def found(log, filter=FILTER):
    """The addresses that it would ban, one for each line that it found."""
    root = harness.unpacked("fail2ban", "usr/bin/fail2ban-regex")
    done = subprocess.run(
        [sys.executable, root / "usr/bin/fail2ban-regex", "-c", root / "etc/fail2ban",
         "-o", "ip", log, filter], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=str(root / "usr/lib/python3/dist-packages")))
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout.split()


def plain(name, password):
    return b"AUTH PLAIN " + base64.b64encode(b"\0" + name + b"\0" + password) + b"\r\n"


class Logins(harness.TestCase):
    def attempts(self, daemon, address, *rows):
        with test_limits.come_from(address, daemon.port) as c:
            c.reply()
            c.send(puppet.EHLO)
            c.reply()
            for command, code in rows:
                c.send(command)
                self.assertEqual(c.codes(1), [code])

    def test_failures_are_found(self):
        with harness.Sink("--auth", "joe:secret") as sink, \
                self.caronte(sink, LOG_LEVEL=1) as daemon:
            self.attempts(daemon, "127.0.0.11", (plain(b"joe", b"wrong"), 535),
                          (plain(b"jim", b"secret"), 535))
            self.attempts(daemon, "127.0.0.12", (plain(b"joe", b"secret"), 235))
            self.attempts(daemon, "127.0.0.13", (plain(b"joe", b"wrong"), 535),
                          (plain(b"joe", b"secret"), 235))
            daemon.records("login", count=5)
            self.assertEqual(sorted(found(daemon.log)),
                             ["127.0.0.11", "127.0.0.11", "127.0.0.13"])

    def test_nobody_has_guessed(self):
        """A destination that cannot say, or does not know the mechanism, and a client that gives up
        or leaves: none of them is a wrong password."""
        def when(name, reply):
            return "--reply", "AUTH:%s=%s" % (plain(name, b"x")[11:19].decode(), reply)
        with harness.Sink("--auth", "joe:secret", *when(b"later", "454 4.7.0 Later"),
                          *when(b"other", "504 5.5.4 What"),
                          *when(b"guess", r"535-5.7.8 No\r\n535 5.7.8 no\r\n")) as sink, \
                self.caronte(sink, LOG_LEVEL=1) as daemon:
            self.attempts(daemon, "127.0.0.11", (plain(b"later", b"x"), 454))
            self.attempts(daemon, "127.0.0.12", (plain(b"other", b"x"), 504))
            self.attempts(daemon, "127.0.0.13", (plain(b"guess", b"x"), 535))
            self.attempts(daemon, "127.0.0.14", (b"AUTH LOGIN\r\n", 334), (b"*\r\n", 501))
            self.attempts(daemon, "127.0.0.15", (b"AUTH LOGIN\r\n", 334))
            self.assertEqual({record.get("verdict") for record in daemon.records("login", count=5)},
                             {"refuse"})
            self.assertEqual(found(daemon.log), ["127.0.0.13"])

    def test_records_that_are_being_written(self):
        """The first of a batch has the old end of the log before it for a moment."""
        with harness.Sink("--auth", "joe:secret") as sink, \
                self.caronte(sink, LOG_LEVEL=1) as daemon:
            self.attempts(daemon, "127.0.0.11", (plain(b"joe", b"wrong"), 535))
            daemon.record("login")
            log = self.dir / "moment.xml"
            forged = daemon.log.read_bytes().replace(b"<login", b"</caronte-log><?pad <login")
            log.write_bytes(forged)
            self.assertEqual(found(log), ["127.0.0.11"])

    def test_names_that_forge_nothing(self):
        """What a client can write into the log accuses nobody else, and hides nothing."""
        forged = b'" client="192.0.2.1:25" mechanism="PLAIN" verdict="refuse'
        with harness.Sink("--auth", "joe:secret") as sink, \
                self.caronte(sink, LOG_LEVEL=3) as daemon:
            self.attempts(
                daemon, "127.0.0.11",
                *[(plain(name, b"x"), 535) for name in (
                    forged, b'x"/>\n<login time="2026-01-01T00:00:00Z"' + forged[1:], b"\xff\x01",
                    b"' verdict='accept' x='", b"x" * 200)])
            self.attempts(daemon, "127.0.0.12",
                          (b"EHLO <login" + forged.replace(b" ", b"") + b"\r\n",
                                                 250), (plain(b"joe", b"secret"), 235))
            daemon.records("login", count=6)
            self.assertEqual(found(daemon.log), ["127.0.0.11"] * 5)

    def test_ipv6(self):
        """As the daemon writes such a client (the daemon's own log, its address replaced)."""
        with harness.Sink("--auth", "joe:secret") as sink, \
                self.caronte(sink, LOG_LEVEL=1) as daemon:
            self.attempts(daemon, "127.0.0.11", (plain(b"joe", b"wrong"), 535))
            daemon.record("login")
            log = self.dir / "six.xml"
            log.write_bytes(daemon.log.read_bytes().replace(b'client="127.0.0.11:',
                                                            b'client="[2001:db8::7]:'))
            self.assertEqual(found(log), ["2001:db8::7"])


if __name__ == "__main__":
    unittest.main()
