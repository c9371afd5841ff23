# SPDX-License-Identifier: ISC
"""caronte-sink by itself: each option does what its manual says.

Run: tests/e2e/run build test_sink
"""
import base64
import concurrent.futures
import glob
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import tempfile
import time
import unittest

import puppet

SINK = os.path.abspath(os.path.join(os.environ.get("BUILD", "build"), "caronte-sink"))
ENGINE = os.environ.get("SINK_ENGINE", "auto")
HELLO = b"EHLO c\r\n"
ENVELOPE = HELLO + b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n"


class Sink:
    """A running sink; what it has written lies in self.dir."""

    def __init__(self, *args):
        self.dir = tempfile.mkdtemp(prefix="caronte-sink-")
        self.process = subprocess.Popen(
            [SINK, "-l", "127.0.0.1:0", "-n", "sink.test", "--engine", ENGINE,
             "--transcript", self.path("transcript"), "--raw", self.path("raw"),
             "--report", self.path("report"), *args],
            stderr=subprocess.PIPE, cwd=self.dir)
        ready = self.process.stderr.readline().decode()
        match = re.fullmatch(r"caronte-sink: ready, listening on 127\.0\.0\.1:(\d+)\n", ready)
        if not match:
            raise AssertionError("no ready line: %r" % ready)
        self.port = int(match[1])

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if self.process.poll() is None:
            status = self.stop()
            if kind is None and status != 0:
                raise AssertionError("exit status %d" % status)
        self.process.stderr.close()
        shutil.rmtree(self.dir)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(puppet.PATIENCE_S)

    def smtp(self):
        return smtplib.SMTP("127.0.0.1", self.port, "client.test", timeout=puppet.PATIENCE_S)

    def talk(self):
        return Talk(self.port)

    def transcript(self):
        with open(self.path("transcript"), encoding="ascii") as f:
            return f.read().splitlines()

    def raw(self, connection=1):
        return read(self.path("raw", "connection-%d.raw" % connection))

    def report(self):
        with open(self.path("report"), encoding="ascii") as f:
            return json.load(f)

    def ask_report(self):
        if os.path.exists(self.path("report")):
            os.unlink(self.path("report"))
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(self.path("report")))
        return self.report()

    def mails(self):
        return [read(p) for p in sorted(glob.glob(self.path("md", "new", "*")),
                                        key=message_number)]


def read(path):
    with open(path, "rb") as f:
        return f.read()


def message_number(path):
    match = re.search(r"C(\d+)M(\d+)\.", path)
    return int(match[1]), int(match[2])


def wait_until(condition, seconds=puppet.PATIENCE_S):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("did not come about in %d s" % seconds)
        time.sleep(0.01)


class Talk(puppet.Peer):
    """A raw connection."""

    def __init__(self, port):
        super().__init__(socket.create_connection(("127.0.0.1", port)))

    def rest(self):
        if (rest := super().rest()) is puppet.RESET:
            raise ConnectionResetError
        return rest

    def silent(self, seconds=0.3):
        return super().silent(seconds)


class Delivery(unittest.TestCase):
    def test_maildir_keeps_octets_to_the_letter(self):
        bodies = [b"", b"\r\n", b"Subject: x\r\n\r\nhello\r\n", b".\r\n..\r\n.a\r\n",
                  bytes(c for c in range(256) if c not in b"\r\n") + b"\r\n",
                  b"bare\rcr bare\nlf\n.dot\r\n", b"x" * 300000 + b"\r\n"]
        with Sink("--maildir", "md") as sink, sink.talk() as t:
            t.reply()
            t.send(HELLO)
            t.reply()
            for body in bodies:
                stuffed = re.sub(rb"(\A|\r\n)\.", rb"\1..", body)
                t.send(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n")
                self.assertEqual(t.codes(3), [250, 250, 354])
                t.send(stuffed + b".\r\n")
                self.assertEqual(t.codes(1), [250])
            self.assertEqual(sink.mails(), bodies)
            self.assertEqual(os.listdir(sink.path("md", "tmp")), [])
            self.assertTrue(os.path.isdir(sink.path("md", "cur")))

    def test_smtplib_unicode_and_eight_bit(self):
        with Sink("--maildir", "md", "--fsync") as sink:
            with sink.smtp() as smtp:
                smtp.ehlo()
                smtp.sendmail("\u00e4@x", ["b@y", "c@y"], "Subject: \u00e4\r\n\r\nx\r\n".encode(),
                              ["SMTPUTF8", "BODY=8BITMIME", "RET=FULL"], ["NOTIFY=NEVER"])
            self.assertEqual(sink.mails(), ["Subject: \u00e4\r\n\r\nx\r\n".encode()])

    def test_250_only_after_new_and_nothing_left_of_broken(self):
        with Sink("--maildir", "md") as sink:
            with sink.talk() as t:
                t.reply()
                t.send(ENVELOPE + b"DATA\r\n")
                self.assertEqual(t.codes(4), [250, 250, 250, 354])
                t.send(b"half of it\r\n")
                wait_until(lambda: os.listdir(sink.path("md", "tmp")))
                self.assertEqual(sink.mails(), [])
            wait_until(lambda: sink.transcript()[-2:] == [
                "1 N: message broken off after 12 octets", "1 -: lost"])
            self.assertEqual(os.listdir(sink.path("md", "tmp")), [])
            self.assertEqual(sink.mails(), [])
            report = sink.ask_report()
            self.assertEqual((report["broken_messages"], report["lost"], report["messages"]),
                             (1, 1, 0))

    def test_a_message_that_cannot_be_stored_gets_no_250(self):
        with Sink("--maildir", "md") as sink, sink.talk() as t:
            os.rmdir(sink.path("md", "tmp"))
            t.reply()
            t.send(ENVELOPE + b"DATA\r\n")
            t.codes(4)
            t.send(b"x\r\n.\r\n")
            self.assertEqual(t.reply()[:9], b"451 4.3.0")
            self.assertEqual(sink.mails(), [])

    def test_stop_takes_half_a_message_away(self):
        with Sink("--maildir", "md") as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"DATA\r\nhalf")
            t.codes(4)
            wait_until(lambda: os.listdir(sink.path("md", "tmp")))
            self.assertEqual(sink.stop(signal.SIGINT), 0)
            self.assertEqual(os.listdir(sink.path("md", "tmp")), [])

    def test_counts_and_digests(self):
        bodies = [b"one\r\n", b".two\r\n" * 1000, b"three\r\n" * 50000]
        with Sink("--count", "--digest") as sink:
            with sink.smtp() as smtp:
                for body in bodies:
                    smtp.sendmail("a@x", "b@y", body)
            report = sink.ask_report()
            self.assertEqual(report["messages"], 3)
            self.assertEqual(report["octets"], sum(map(len, bodies)))
            self.assertEqual([d["sha256"] for d in report["digests"]],
                             [hashlib.sha256(b).hexdigest() for b in bodies])
            self.assertEqual([(d["connection"], d["message"]) for d in report["digests"]],
                             [(1, 1), (1, 2), (1, 3)])
            self.assertEqual(report["received"], len(sink.raw()))

    def test_ends_after_so_many_messages(self):
        with Sink("--messages", "3") as sink:
            with sink.smtp() as smtp:
                for _ in range(3):
                    smtp.sendmail("a@x", "b@y", b"x\r\n")
            self.assertEqual(sink.process.wait(puppet.PATIENCE_S), 0)
            self.assertEqual(sink.report()["messages"], 3)

    def test_many_at_once(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = min(1000, limit[1] // 4)
        with Sink() as sink:
            talks = [sink.talk() for _ in range(count)]
            for t in talks:
                self.assertEqual(t.reply()[:3], b"220")
            for t in talks:
                t.send(ENVELOPE + b"DATA\r\n")
            for t in talks:
                self.assertEqual(t.codes(4), [250, 250, 250, 354])
                t.send(b"x\r\n.\r\nQUIT\r\n")
            for t in talks:
                self.assertEqual(t.codes(2), [250, 221])
                t.socket.close()
            report = sink.ask_report()
            self.assertEqual((report["messages"], report["peak"]), (count, count))
            wait_until(lambda: sink.ask_report()["open"] == 0)


class Dialog(unittest.TestCase):
    def test_default_dialog(self):
        with Sink() as sink, sink.talk() as t:
            self.assertEqual(t.reply(), b"220 sink.test ESMTP caronte-sink\r\n")
            t.send(b"MAIL FROM:<a@x>\r\nHELO c\r\nRCPT TO:<a@x>\r\nDATA\r\nFOO\r\nNOOP\r\nHELP\r\n"
                   b"VRFY x\r\nSTARTTLS\r\nAUTH PLAIN\r\nEHLO\r\n")
            self.assertEqual(t.codes(11),
                             [503, 250, 503, 503, 500, 250, 214, 252, 502, 502, 501])
            t.send(HELLO)
            self.assertEqual(t.reply().replace(b"\r\n", b"\n").decode(), (
                "250-sink.test\n250-PIPELINING\n250-SIZE 104857600\n250-8BITMIME\n250-SMTPUTF8\n"
                "250-DSN\n250-ENHANCEDSTATUSCODES\n250-HELP\n250-CHUNKING\n250 BINARYMIME\n"))
            t.send(b"MAIL FROM:<a@x> SIZE=200000000\r\nMAIL FROM:<a@x> FOO=1\r\nMAIL a@x\r\n"
                   b"MAIL FROM:<a@x\r\nMAIL FROM:<> SIZE=3 BODY=8BITMIME\r\nMAIL FROM:<>\r\n"
                   b"DATA\r\nRCPT TO:<b@y> SIZE=3\r\nRCPT TO:<\">\"@y> NOTIFY=NEVER\r\nRSET\r\n"
                   b"RCPT TO:<b@y>\r\nQUIT\r\n")
            self.assertEqual(t.codes(12), [552, 555, 501, 501, 250, 503, 503, 555, 250, 250,
                                           503, 221])
            self.assertEqual(t.rest(), b"")

    def test_extensions(self):
        with Sink("--ext", "SIZE 1000", "--ext", "X-FOO bar") as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE)
            self.assertEqual(t.reply(), b"250-sink.test\r\n250-SIZE 1000\r\n250 X-FOO bar\r\n")
            t.codes(2)
            t.send(b"BDAT 4 LAST\r\nNOOPRSET\r\nRSET\r\nMAIL FROM:<a@x> SMTPUTF8\r\n")
            self.assertEqual(t.codes(4), [502, 500, 250, 555])
            t.send(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n")
            self.assertEqual(t.codes(3), [250, 250, 354])
            t.send(b"x" * 1001 + b"\r\n.\r\n")
            self.assertEqual(t.codes(1), [552])
        with Sink("--ext", "none") as sink, sink.talk() as t:
            t.reply()
            t.send(HELLO)
            self.assertEqual(t.reply(), b"250 sink.test\r\n")

    def test_answers_of_a_group_leave_together(self):
        with Sink() as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"NOOP\r\n" * 20)
            wait_until(lambda: len(sink.transcript()) > 30)
            self.assertEqual(t.more().count(b"\r\n"), 10 + 2 + 20)

    def test_commands_cut_anywhere(self):
        with Sink("--maildir", "md") as sink, sink.talk() as t:
            t.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in ENVELOPE + b"DATA\r\n.." + b"\r\n.x\r\n.\r\nQUIT\r\n":
                t.send(bytes([octet]))
            self.assertEqual(t.codes(7), [220, 250, 250, 250, 354, 250, 221])
            self.assertEqual(sink.mails(), [b".\r\nx\r\n"])

    def test_chunks(self):
        with Sink("--maildir", "md") as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"BDAT 5\r\n.\r\n\0\nBDAT 0\r\nBDAT 7 LAST\r\nQUIT\r\n\n"
                   b"MAIL FROM:<a@x> BODY=BINARYMIME\r\nRCPT TO:<b@y>\r\nDATA\r\n"
                   b"BDAT 2 LAST\r\n\r\r")
            self.assertEqual(t.codes(10), [250, 250, 250, 250, 250, 250, 250, 250, 503, 250])
            self.assertEqual(sink.mails(), [b".\r\n\0\nQUIT\r\n\n", b"\r\r"])
            t.send(b"BDAT 4\r\nQUITBDAT x\r\nBDAT 1 FIRST\r\nBDAT -1\r\nNOOP\r\n")
            self.assertEqual(t.codes(5), [503, 501, 501, 501, 250])
            t.send(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 1\r\nxRCPT TO:<c@y>\r\nDATA\r\n"
                   b"RSET\r\nBDAT 1 LAST\r\nx")
            self.assertEqual(t.codes(7), [250, 250, 250, 503, 503, 250, 503])
            self.assertEqual(len(sink.mails()), 2)

    def test_auth(self):
        plain = base64.b64encode(b"\0joe\0secret")
        good = [
            [b"AUTH PLAIN " + plain, 235],
            [b"AUTH PLAIN", 334, plain, 235],
            [b"auth plain " + base64.b64encode(b"joe\0joe\0secret"), 235],
            [b"AUTH LOGIN", 334, base64.b64encode(b"joe"), 334, base64.b64encode(b"secret"), 235],
            [b"AUTH LOGIN " + base64.b64encode(b"joe"), 334, base64.b64encode(b"secret"), 235],
        ]
        bad = [
            [b"AUTH PLAIN " + base64.b64encode(b"\0joe\0wrong"), 535],
            [b"AUTH PLAIN " + base64.b64encode(b"joe"), 535],
            [b"AUTH PLAIN =", 535],
            [b"AUTH PLAIN", 334, b"*", 501],
            [b"AUTH PLAIN", 334, b"%%%", 501],
            [b"AUTH LOGIN", 334, base64.b64encode(b"x"), 334, base64.b64encode(b"secret"), 535],
            [b"AUTH CRAM-MD5", 504],
        ]
        with Sink("--auth", "joe:secret") as sink:
            for dialog in good + bad:
                with sink.talk() as t:
                    t.reply()
                    t.send(HELLO)
                    self.assertTrue(t.reply().endswith(b"250 AUTH PLAIN LOGIN\r\n"))
                    for line, code in zip(dialog[::2], dialog[1::2]):
                        t.send(line + b"\r\n")
                        self.assertEqual(t.codes(1), [code], dialog)
                    t.send(b"AUTH PLAIN " + plain + b"\r\n")
                    self.assertEqual(t.codes(1), [503 if dialog in good else 235])
            with sink.smtp() as smtp:
                smtp.login("joe", "secret")
            report = sink.ask_report()
            self.assertEqual(report["logins"], len(good) + len(bad) + 1)

    def test_bad_lines(self):
        for line in b"NO\nOP\r\n", b"NO\rOP\r\n", b"NO\0OP\r\n", b"x" * 20000:
            with self.subTest(line=line[:10]), Sink() as sink, sink.talk() as t:
                t.reply()
                t.send(line)
                self.assertEqual(t.codes(1), [500])
                self.assertEqual(t.rest(), b"")

    def test_proxy_headers(self):
        """Nothing is said before a header is there and whole, and nothing to whoever has none."""
        header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n"
        with Sink("--proxy") as sink:
            with sink.talk() as t:
                t.send(header[:20])
                self.assertTrue(t.silent())
                t.send(header[20:] + b"EHLO c\r\n")
                self.assertEqual(t.codes(2), [220, 250])
            with sink.talk() as t:
                t.send(b"EHLO c\r\n")
                self.assertEqual(t.rest(), b"")
            wait_until(lambda: sum(" -: " in line for line in sink.transcript()) == 2)
            said = [line for line in sink.transcript() if " N: " in line or " -: " in line]
            self.assertIn("1 N: a PROXY header, of 192.0.2.7:4711", said)
            self.assertIn("2 -: no PROXY header", said)

    def test_only_crlf_dot_crlf_ends_data(self):
        body = b"a\n.\nb\n.\r\nc\r\n.\nd\r\n.\r\r\ne\r.\rf\r\n.\0\r\ng\r\n"
        with Sink("--maildir", "md") as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"DATA\r\n")
            t.codes(4)
            t.send(body + b".\r\n")
            self.assertEqual(t.codes(1), [250])
            self.assertEqual(sink.mails(), [body.replace(b"\r\n.", b"\r\n")])

    def test_lax_ends(self):
        evil = b"MAIL FROM:<evil@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nsmuggled\r\n.\r\n"
        for end in b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r\r\n":
            with self.subTest(end=end):
                with Sink("--maildir", "md", "--line-ends", "lax") as sink, sink.talk() as t:
                    t.reply()
                    t.send(b"EHLO c\nMAIL FROM:<a@x>\r\r\nRCPT TO:<b@y>\nDATA\n")
                    self.assertEqual(t.codes(4), [250, 250, 250, 354])
                    t.send(b"seen" + end + evil)
                    self.assertEqual(t.codes(5), [250, 250, 250, 354, 250])
                    self.assertEqual(sink.mails(), [b"seen" + end[:end.index(b".")],
                                                    b"smuggled\r\n"])

    def test_eighth_bit(self):
        evil = b"MAIL FROM:<\xc3\xa9@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nsmuggled\xae\r\n.\r\n"
        for ends, body, end, split in (("7bit", b"", b"\x8d\x8a\xae\x8d\x8a", True),
                                       ("7bit", b" BODY=8BITMIME", b"\r\n\xae\r\n", True),
                                       ("lax", b" BODY=7BIT", b"\r\n\xae\r\n", True),
                                       ("lax", b" BODY=8BITMIME", b"\r\n\xae\r\n", False),
                                       ("strict", b" BODY=7BIT", b"\r\n\xae\r\n", False)):
            with self.subTest((ends, body)), Sink("--maildir", "md", "--line-ends", ends) as sink, \
                    sink.talk() as t:
                t.reply()
                t.send(HELLO + b"MAIL FROM:<a@x>%s\r\nRCPT TO:<b@y>\r\nDATA\r\n" % body)
                self.assertEqual(t.codes(4), [250, 250, 250, 354])
                t.send(b"seen" + end + evil)
                if split:
                    self.assertEqual(t.codes(5), [250, 250, 250, 354, 250])
                    self.assertEqual(sink.mails(), [
                        b"seen\r\n", b"smuggled%c\r\n" % (0xae if ends == "lax" else 0x2e)])
                else:
                    self.assertEqual(t.codes(1), [250])
                    self.assertEqual(sink.mails(), [b"seen" + end + evil[:-3]])


class Records(unittest.TestCase):
    def test_transcript_and_raw(self):
        said = ENVELOPE + b"DATA\r\n"
        with Sink() as sink:
            with sink.talk() as t:
                name = "%s:%d" % t.socket.getsockname()
                t.reply()
                t.send(said)
                t.codes(4)
                t.send(b"x\r\n..\r\n.\r\n")
                t.codes(1)
                self.assertEqual(sink.transcript()[-2:],
                                 ["1 B: 6", "1 S: 250 2.0.0 Ok: queued as C1M1"])
                t.send(b"N\\\xe4\tx\r\nQUIT\r\n")
                t.codes(2)
                self.assertEqual(t.rest(), b"")
                t.send(b"behind")
            with sink.talk() as t:
                t.reply()
            wait_until(lambda: "2 -: lost" in sink.transcript() and
                       "1 -: quit" in sink.transcript())
            lines = [li for li in sink.transcript() if li.startswith("1 ")]
            self.assertEqual(lines[:3], ["1 +: " + name, "1 S: 220 sink.test ESMTP caronte-sink",
                                         "1 C: EHLO c"])
            self.assertIn("1 C: N\\\\\\xe4\\x09x", lines)
            self.assertEqual(sink.raw(1), said + b"x\r\n..\r\n.\r\nN\\\xe4\tx\r\nQUIT\r\nbehind")
            self.assertEqual(sink.raw(2), b"")

    def test_octets_before_an_answer_are_told(self):
        with Sink() as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"DATA\r\nearly\r\n.\r\n")
            t.codes(5)
            self.assertIn("1 N: 10 octets came before this answer", sink.transcript())

    def test_wrong_arguments(self):
        for args in (["--listen", "here:25"], ["--listen", "127.0.0.1:x"], ["--reply", "FOO=1"],
                     ["--reply", "MAIL"], ["--reply", "MAIL#0=x"], ["--reply", "MAIL=\\q"],
                     ["--reply", "BODY@3=x"], ["--drop", "BODY"], ["--drop", "EOD=no"],
                     ["--delay", "EOD=x"], ["--stall", "EOD=x"], ["--say", "EOD=x"],
                     ["--auth", "joe"], ["--max", "0"], ["--line-ends", "x"], ["extra"],
                     ["--nonsense"]):
            with self.subTest(args=args):
                done = subprocess.run([SINK, *args], capture_output=True, timeout=puppet.PATIENCE_S)
                self.assertEqual(done.returncode, 64)
                self.assertTrue(done.stderr)

    def test_help_and_version(self):
        for key in "--help", "-h":
            self.assertIn(b"--transcript", subprocess.run([SINK, key], capture_output=True,
                                                          check=True).stdout)
        self.assertRegex(subprocess.run([SINK, "-V"], capture_output=True, check=True).stdout,
                         rb"^caronte-sink \d")

    def test_no_place_for_the_report(self):
        """Said at the start, not when a run is over."""
        with tempfile.TemporaryDirectory() as place:
            done = subprocess.run([SINK, "-l", "127.0.0.1:0", "--report",
                                   place + "/missing/report"],
                                  capture_output=True, timeout=puppet.PATIENCE_S)
            self.assertEqual(done.returncode, 73)
            self.assertIn(b"/missing/report.part: No such file or directory", done.stderr)

    def test_address_taken(self):
        with Sink() as sink:
            for more in [], ["--workers", "2"]:
                done = subprocess.run([SINK, "-l", "127.0.0.1:%d" % sink.port, *more],
                                      capture_output=True, timeout=puppet.PATIENCE_S)
                self.assertEqual(done.returncode, 69)


class Script(unittest.TestCase):
    def ask(self, t, line):
        t.send(line + b"\r\n")
        return t.reply()

    def test_greeting_to_the_letter(self):
        for text, sent in (("554 No", b"554 No\r\n"),
                           ("220-a\\r\\n220 b\\r\\n", b"220-a\r\n220 b\r\n"),
                           ("2\\x32\\0\\t\\\\\\n", b"22\0\t\\\n"), ("220\\c", b"220"), ("", b""),
                           ("220 a\\p50;\\r\\n", b"220 a\r\n")):
            with self.subTest(text=text), Sink("--greeting", text) as sink, sink.talk() as t:
                t.socket.settimeout(0.3)
                with self.assertRaises(socket.timeout):
                    t.rest()
                self.assertEqual(t.got, sent)

    def test_replies(self):
        with Sink("--reply", "RCPT#2=452 second", "--reply", "RCPT#4+=451 later",
                  "--reply", "RCPT:bad@=550 5.1.1 bad", "--reply", "MAIL:a\\=b=553 eq",
                  "--reply", "2/NOOP=250 two", "--reply", "UNKNOWN:XYZ=299 known",
                  "--reply", "ANY:evil=500 evil") as sink:
            with sink.talk() as t:
                t.reply()
                t.send(HELLO)
                t.reply()
                self.assertEqual(self.ask(t, b"MAIL FROM:<a=b@x>"), b"553 eq\r\n")
                self.assertEqual(self.ask(t, b"RCPT TO:<b@y>"),
                                 b"503 5.5.1 Bad sequence of commands\r\n")
                self.assertEqual(self.ask(t, b"MAIL FROM:<a@x>"), b"250 2.1.0 Ok\r\n")
                self.assertEqual(self.ask(t, b"RCPT TO:<b@y>"), b"452 second\r\n")
                self.assertEqual(self.ask(t, b"RCPT TO:<bad@y>"), b"550 5.1.1 bad\r\n")
                self.assertEqual(self.ask(t, b"DATA")[:3], b"503")
                self.assertEqual(self.ask(t, b"RCPT TO:<b@y>"), b"451 later\r\n")
                self.assertEqual(self.ask(t, b"RCPT TO:<b@y>"), b"451 later\r\n")
                self.assertEqual(self.ask(t, b"NOOP"), b"250 2.0.0 Ok\r\n")
                self.assertEqual(self.ask(t, b"XYZ"), b"299 known\r\n")
                self.assertEqual(self.ask(t, b"HELP evil"), b"500 evil\r\n")
            with sink.talk() as t:
                t.reply()
                self.assertEqual(self.ask(t, b"NOOP"), b"250 two\r\n")

    def test_effects_follow_the_answer(self):
        with Sink("--maildir", "md", "--reply", "DATA#1=250 no body", "--reply", "EOD#1=451 no",
                  "--reply", "EOD#3=2\\!") as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"DATA\r\nNOOP\r\nDATA\r\n")
            self.assertEqual(t.codes(6), [250, 250, 250, 250, 250, 354])
            t.send(b"one\r\n.\r\n")
            self.assertEqual(t.codes(1), [451])
            for body in b"two", b"three":
                t.send(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n")
                t.codes(3)
                t.send(body + b"\r\n.\r\n")
                self.assertEqual(t.line()[:1], b"2")
            self.assertEqual(t.rest(), b"")
            self.assertEqual(sink.mails(), [b"two\r\n", b"three\r\n"])
            self.assertEqual(sink.ask_report()["refused_messages"], 1)

    def test_chunk_replies(self):
        with Sink("--maildir", "md", "--reply", "BDAT#2=452 full",
                  "--reply", "3/EOD=550 spam") as sink:
            for bdats, codes in ((b"BDAT 1\r\nxBDAT 1\r\nxBDAT 1 LAST\r\nx", [250, 452, 503]),
                                 (b"BDAT 1\r\nxBDAT 1 LAST\r\nx", [250, 452]),
                                 (b"BDAT 1 LAST\r\nx", [550])):
                with sink.talk() as t:
                    t.reply()
                    t.send(ENVELOPE + bdats)
                    t.replies(3)
                    self.assertEqual(t.codes(len(codes)), codes)
            self.assertEqual(sink.mails(), [])

    def test_scripted_auth(self):
        with Sink("--ext", "AUTH X-TEST", "--reply", "AUTH=334 YQ==",
                  "--reply", "AUTHDATA#1=334 Yg==", "--reply", "AUTHDATA#2=235 in") as sink, \
                sink.talk() as t:
            t.reply()
            self.assertEqual(self.ask(t, b"EHLO c"), b"250-sink.test\r\n250 AUTH X-TEST\r\n")
            self.assertEqual(self.ask(t, b"AUTH X-TEST"), b"334 YQ==\r\n")
            self.assertEqual(self.ask(t, b"one"), b"334 Yg==\r\n")
            self.assertEqual(self.ask(t, b"two"), b"235 in\r\n")
            self.assertEqual(self.ask(t, b"NOOP"), b"250 2.0.0 Ok\r\n")

    def test_endings_of_replies(self):
        with Sink("--reply", "NOOP=421 bye\\!", "--reply", "HELP=214 x\\^") as sink:
            with sink.talk() as t:
                t.reply()
                t.send(b"NOOP\r\nMAIL FROM:<a@x>\r\n")
                self.assertEqual(t.rest(), b"421 bye\r\n")
            with sink.talk() as t:
                t.reply()
                t.send(b"HELP\r\n")
                with self.assertRaises(ConnectionResetError):
                    t.rest()

    def test_long_reply(self):
        text = "".join("250-%s\\r\\n" % ("x" * 70) for _ in range(500)) + "250 end\\r\\n"
        with Sink("--reply", "NOOP=" + text) as sink, sink.talk() as t:
            t.reply()
            t.send(b"NOOP\r\n" * 3)
            self.assertEqual([len(r) for r in t.replies(3)], [500 * 76 + 9] * 3)

    def test_delays(self):
        with Sink("--delay", "NOOP=1200", "--delay", "GREETING=800", "--delay", "CONNECT=400",
                  "--delay", "BODY@3=250",
                  "--reply", "HELP=214-a\\r\\n\\p1200;214 b\\r\\n") as sink:
            for step in "greet", b"NOOP", b"HELP":
                if step == "greet":
                    begin = time.monotonic()
                    t = sink.talk()
                    t.reply()
                else:
                    begin = time.monotonic()
                    self.ask(t, step)
                self.assertGreaterEqual(time.monotonic() - begin, 1.2)
                self.assertLess(time.monotonic() - begin, puppet.SOON_S)
            t.send(ENVELOPE + b"DATA\r\n")
            t.codes(4)
            begin = time.monotonic()
            t.send(b"abcd\r\n.\r\n")
            t.codes(1)
            self.assertGreaterEqual(time.monotonic() - begin, 0.25)
            t.socket.close()

    def test_earlier_answers_leave_before_a_delay(self):
        with Sink("--delay", "DATA=60000") as sink, sink.talk() as t:
            t.reply()
            begin = time.monotonic()
            t.send(ENVELOPE + b"DATA\r\n")
            self.assertEqual(t.codes(3), [250, 250, 250])
            self.assertLess(time.monotonic() - begin, puppet.SOON_S)

    def test_drops(self):
        for when in "GREETING", "CONNECT", "MAIL", "DATA", "EOD", "BODY@2":
            for how in "", "=fin", "=rst":
                with self.subTest(when=when, how=how):
                    self.drop(when, how)

    def drop(self, when, how):
        with Sink("--maildir", "md", "--drop", when + how) as sink:
            try:
                with sink.talk() as t:
                    self.be_dropped(t, when)
                self.assertNotEqual(how, "=rst")
            except (ConnectionResetError, BrokenPipeError):
                self.assertNotEqual(how, "=fin")
            wait_until(lambda: any(li == "1 -: dropped" for li in sink.transcript()))
            self.assertEqual(sink.mails(), [])

    def be_dropped(self, t, when):
        if when not in ("GREETING", "CONNECT"):
            t.reply()
            t.send(ENVELOPE)
            t.replies(1 if when == "MAIL" else 3)
        if when in ("DATA", "EOD", "BODY@2"):
            t.send(b"DATA\r\n")
        if when in ("EOD", "BODY@2"):
            t.reply()
            t.send(b"abc\r\n.\r\n")
        self.assertEqual(t.rest(), b"")

    def test_say_in_a_body(self):
        with Sink("--say", "BODY@4=552 too much", "--say", "BODY#2@0=421 go\\!") as sink, \
                sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"DATA\r\n")
            t.codes(4)
            t.send(b"abc")
            self.assertTrue(t.silent())
            t.send(b"d")
            self.assertEqual(t.reply(), b"552 too much\r\n")
            t.send(b"\r\n.\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n")
            self.assertEqual(t.codes(5), [250, 250, 250, 354, 421])
            self.assertEqual(t.rest(), b"")

    def test_places_in_chunks_count_over_all_of_them(self):
        with Sink("--say", "BODY@5=452 here") as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"BDAT 3\r\nabcBDAT 3 LAST\r\ndef")
            self.assertEqual(t.codes(6), [250, 250, 250, 250, 452, 250])

    def test_stalls(self):
        with Sink("--stall", "BODY@1000", "--stall", "HELP", "--rcvbuf", "4096") as sink:
            with sink.talk() as t:
                t.reply()
                t.send(ENVELOPE + b"DATA\r\n")
                t.codes(4)
                t.socket.settimeout(0.5)
                with self.assertRaises(socket.timeout):
                    t.send(b"x" * 50000000)
                self.assertLess(len(sink.raw()), 500000)
            with sink.talk() as t:
                t.reply()
                t.send(b"NOOP\r\nHELP\r\nNOOP\r\n")
                self.assertEqual(t.codes(1), [250])
                self.assertTrue(t.silent())
            # The first client's FIN waits behind what is not read; the second one's is seen.
            wait_until(lambda: sink.ask_report()["open"] == 1)
            self.assertIn("2 -: lost while stalled", sink.transcript())

    def test_slow(self):
        with Sink("--slow", "20000") as sink, sink.talk() as t:
            t.reply()
            t.send(ENVELOPE + b"DATA\r\n")
            t.codes(4)
            begin = time.monotonic()
            t.send(b"x" * 20000 + b"\r\n.\r\n")
            t.codes(1)
            self.assertGreaterEqual(time.monotonic() - begin, 0.9)
            self.assertLess(time.monotonic() - begin, puppet.SOON_S)

    def test_max(self):
        with Sink("--max", "2") as sink:
            talks = [sink.talk() for _ in range(2)]
            for t in talks:
                t.reply()
            with sink.talk() as t:
                self.assertEqual(t.rest(), b"421 4.3.2 Too many sessions\r\n")
            talks[0].send(b"QUIT\r\n")
            talks[0].rest()
            talks[0].socket.close()
            wait_until(lambda: sink.ask_report()["open"] == 1)
            with sink.talk() as t:
                self.assertEqual(t.codes(1), [220])
            talks[1].socket.close()
            self.assertEqual(sink.ask_report()["turned_away"], 1)

    def test_half_closed_and_reset_clients(self):
        with Sink() as sink:
            with sink.talk() as t:
                t.reply()
                t.send(b"NOOP\r\n")
                t.socket.shutdown(socket.SHUT_WR)
                self.assertEqual(t.rest(), b"250 2.0.0 Ok\r\n")
            with sink.talk() as t:
                t.reply()
                t.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: sink.ask_report()["lost"] == 2)


class Workers(unittest.TestCase):
    def send(self, port, number):
        with smtplib.SMTP("127.0.0.1", port, "c", timeout=puppet.PATIENCE_S) as smtp:
            for i in range(5):
                smtp.sendmail("a@x", "b@y", b"%d %d\r\n" % (number, i))

    def test_workers_share_numbers_and_report(self):
        with Sink("--workers", "3", "--digest", "--maildir", "md") as sink:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda n: self.send(sink.port, n), range(20)))
            report = sink.ask_report()
            self.assertEqual((report["messages"], report["connections"]), (100, 20))
            self.assertEqual(len(report["digests"]), 100)
            self.assertEqual(len(set(sink.mails())), 100)
            self.assertEqual(len(os.listdir(sink.path("raw"))), 20)
            self.assertEqual(sink.stop(), 0)
            self.assertEqual(sink.report()["messages"], 100)

    def test_all_end_after_so_many_messages(self):
        with Sink("--workers", "2", "--messages", "10") as sink:
            self.send(sink.port, 1)
            self.send(sink.port, 2)
            self.assertEqual(sink.process.wait(puppet.PATIENCE_S), 0)
            self.assertEqual(sink.report()["messages"], 10)

    def test_a_worker_that_dies_ends_all(self):
        with Sink("--workers", "2") as sink:
            with open("/proc/%d/task/%d/children" % ((sink.process.pid,) * 2)) as f:
                children = [int(pid) for pid in f.read().split()]
            self.assertEqual(len(children), 2)
            os.kill(children[0], signal.SIGKILL)
            self.assertEqual(sink.process.wait(puppet.PATIENCE_S), 70)
            self.assertFalse(os.path.exists("/proc/%d" % children[1]))


if __name__ == "__main__":
    unittest.main()
