# SPDX-License-Identifier: ISC
"""Mail through Caronte arrives: from swaks, smtp-source, smtplib and plain sockets, at Postfix,
smtp-sink and caronte-sink; none is lost, none comes twice, and all are equal octet for octet."""
import collections
import functools
import random
import re
import shutil
import smtplib
import subprocess

import harness
import postfix

BODIES = ("BODY_AUTO", "BODY_COPY", "BODY_SPLICE")
MEGABYTE = 1000000


def with_id(name, text):
    return b"X-Id: %s\r\n\r\n" % name.encode() + text


def line_of(octets):
    return octets + b"\r\n"


@functools.cache
def eight_bit():
    """Every octet that a line may hold, in lines of all lengths up to 998."""
    draw = random.Random(8)
    octets = bytes(set(range(256)) - set(b"\r\n\0"))
    return b"".join(line_of(bytes(draw.choices(octets, k=length))) for length in range(0, 999, 7))


@functools.cache
def mixture(size):
    """About SIZE octets of everything that is awkward, in an order that does not repeat itself in
    step with any buffer."""
    piece = (line_of(b"." * 998) + line_of(b"y" * 998) + line_of(b".") * 9 + line_of(b"") * 5 +
             eight_bit() + line_of(b"..") + line_of(b".x") + line_of(b"From here") +
             line_of(b"x" * 61) * 200)
    return (piece * (size // len(piece) + 1))[:size - 2].rstrip(b"\r\n") + b"\r\n"


@functools.cache
def huge():
    return with_id("huge", mixture(50 * MEGABYTE))


@functools.cache
def plain_messages():
    """Messages with a header, which no mail server has a reason to complete."""
    texts = {
        "no-body": b"", "empty-line": line_of(b""), "one-octet": line_of(b"x"),
        "dot-at-end": line_of(b"x") + line_of(b"."), "dots-at-end": line_of(b"..") * 3,
        "dot-first": line_of(b".") + line_of(b"x"), "ends-in-dot": line_of(b"x."),
        "empty-lines-at-end": line_of(b"x") + line_of(b"") * 4,
        "looks-like-the-end": line_of(b"x\t") + line_of(b". ") + line_of(b"QUIT"),
        "lines-of-dots": b"".join(line_of(b"." * n) for n in range(1, 200)),
        "longest-lines": line_of(b"m" * 998) * 50, "longest-dots": line_of(b"." * 998) * 50,
        "eight-bit": eight_bit(), "2-kilobytes": mixture(2000), "32-kibi": mixture(32768),
        "64-kibi-and-1": mixture(65537), "1-megabyte": mixture(MEGABYTE),
    }
    return [with_id(name, text) for name, text in texts.items()]


def odd_messages():
    """Messages that a destination may only keep to the letter when it does not look at them."""
    return [b"", line_of(b""), line_of(b"."), line_of(b"no header"), line_of(b"") * 3,
            with_id("a-long-line", line_of(b"z" * 65000)),
            with_id("a-long-line-of-dots", line_of(b"." * 65000))]


def digests(messages):
    return collections.Counter(map(harness.sha256, messages))


class Delivery(harness.TestCase):
    def check_same(self, sent, arrived):
        """Each once, octet for octet."""
        lost, more = digests(sent) - digests(arrived), digests(arrived) - digests(sent)
        if lost or more:
            self.fail("lost: %s; not sent, or more often: %s" % (
                [m[:60] for m in sent if harness.sha256(m) in lost],
                [(len(m), m[:60]) for m in arrived if harness.sha256(m) in more]))

    def check_records(self, daemon, sent, body=None):
        """A record for each message, all answered by 250, and sessions that ended with QUIT."""
        records = daemon.records("message", count=len(sent))
        self.assertEqual(len(records), len(sent))
        self.assertEqual({record.get("reply")[:3] for record in records}, {"250"})
        # A destination that takes chunks gets no stuffed dots.
        stuffed = [re.sub(rb"^\.", b"..", message, flags=re.M) for message in sent]
        octets = sum(int(record.get("bytes")) for record in records)
        self.assertLessEqual(min(abs(octets - sum(map(len, each))) for each in (sent, stuffed)),
                             8 * len(sent))
        self.assertEqual({record.get("end") for record in daemon.records("session")}, {"quit"})
        if body == "BODY_SPLICE":
            self.assertLessEqual({record.get("body") for record in records},
                                 {"splice", "mixed", "copy"})
            large = {record.get("body") for record in records if int(record.get("bytes")) > 2000}
            if large == {"copy"} and harness.pipes_are_scarce():
                self.skipTest("the pipes of the daemon's user are used up by others")
            # Pieces that lose stuffed dots go from memory.
            self.assertTrue(large & {"splice", "mixed"}, large)
        elif body:
            self.assertEqual({record.get("body") for record in records}, {"copy"})

    def send_all(self, daemon, messages, per_connection):
        for at in range(0, len(messages), per_connection):
            with harness.Client(daemon.port) as client:
                client.hello()
                for message in messages[at:at + per_connection]:
                    self.assertEqual(client.send_message(message)[:3], b"250", message[:60])
                client.quit()


class Bodies(Delivery):
    """Each way of moving a body, to each destination."""

    def to_sink(self, messages, per_connection, body):
        with harness.Sink(maildir=True) as sink, self.caronte(sink, **{body: True}) as daemon:
            self.send_all(daemon, messages, per_connection)
            self.check_same(messages, sink.mails())
            self.check_records(daemon, messages, body)

    def test_all_to_maildir(self):
        for body in BODIES:
            with self.subTest(body):
                self.to_sink(plain_messages() + odd_messages(), 9, body)

    def test_one_for_each_connection(self):
        for body in BODIES:
            with self.subTest(body):
                self.to_sink(plain_messages(), 1, body)

    def test_50_megabytes_to_maildir(self):
        for body in BODIES:
            with self.subTest(body):
                self.to_sink([huge(), *plain_messages()[:3]], 4, body)

    def test_all_to_postfix(self):
        for body in BODIES:
            with self.subTest(body), postfix.Postfix() as server, \
                    self.caronte(server, **{body: True}) as daemon:
                messages = plain_messages() + [b"", line_of(b"")]
                self.send_all(daemon, messages, 9)
                self.check_same(messages, server.mails(len(messages)))
                self.check_records(daemon, messages, body)

    def test_all_to_smtp_sink(self):
        for body in BODIES:
            with self.subTest(body), postfix.SmtpSink() as server, \
                    self.caronte(server, **{body: True}) as daemon:
                self.send_all(daemon, plain_messages(), 9)
                self.check_same(plain_messages(), server.mails())
                self.check_records(daemon, plain_messages(), body)


class Smtplib(Delivery):
    def test_all_sizes_to_postfix(self):
        messages = plain_messages() + [huge()]
        with postfix.Postfix() as server, self.caronte(server) as daemon:
            with smtplib.SMTP("127.0.0.1", daemon.port, "client.test",
                              timeout=harness.PATIENCE_S) as smtp:
                for message in messages:
                    smtp.sendmail("a@client.test", ["b@local.test"], message)
            self.check_same(messages, server.mails(len(messages)))
            self.check_records(daemon, messages)

    def test_parameters_and_several_recipients(self):
        message = "Subject: \u00e4\u00f6\r\n\r\n\u00fc\r\n".encode()
        people = ["b@local.test", "c@local.test", "\u00e4@local.test"]
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            with smtplib.SMTP("127.0.0.1", daemon.port, "client.test") as smtp:
                smtp.ehlo()
                smtp.sendmail("\u00e4@client.test", people, message,
                              ["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS"], ["NOTIFY=DELAY,FAILURE"])
                self.assertEqual(smtp.sendmail("a@client.test", ["x@far.test", "b@local.test"],
                                               message),
                                 {"x@far.test": (550, b"5.7.1 Relaying denied.")})
            self.assertEqual(sink.mails(), [message] * 2)
            first, second = daemon.records("message", count=2)
            self.assertEqual((first.get("recipients"), first.get("sender")),
                             ("3", "\u00e4@client.test"))
            self.assertEqual((second.get("recipients"), second.get("sender")),
                             ("1", "a@client.test"))
            self.assertEqual(daemon.record("session").get("refusals"), "1")


class SmtpSource(Delivery):
    """Many at once."""

    ENVELOPE = ("-f", "a@client.test", "-t", "b@local.test")

    def check_messages(self, messages, count, length):
        """COUNT different ones, each with the same text, as smtp-source makes them."""
        self.assertEqual(len(messages), count)
        ids = {re.search(rb"^Message-Id: (.*)\r$", message, re.M | re.I)[1] for message in messages}
        self.assertEqual(len(ids), count)
        texts = {message.partition(b"\r\n\r\n")[2] for message in messages}
        self.assertEqual(len(texts), 1)
        self.assertEqual(texts, {self.text_without_caronte(length)})

    def text_without_caronte(self, length):
        with harness.Sink(maildir=True) as sink:
            postfix.smtp_source(sink.port, "-l", length, *self.ENVELOPE)
            return sink.mails()[0].partition(b"\r\n\r\n")[2]

    def test_a_thousand_50_at_once_to_postfix(self):
        with postfix.Postfix() as server, \
                self.caronte(server, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            postfix.smtp_source(daemon.port, "-s", 50, "-m", 1000, "-l", 2000, *self.ENVELOPE)
            self.check_messages(server.mails(1000), 1000, 2000)
            records = daemon.records("message", count=1000)
            self.assertEqual(len(records), 1000)
            self.assertEqual(len({record.get("session") for record in records}), 1000)
            self.assertEqual({record.get("reply")[:3] for record in records}, {"250"})

    def test_several_for_each_connection_to_postfix(self):
        with postfix.Postfix() as server, \
                self.caronte(server, MAX_SESSIONS_PER_ADDRESS=0, BODY_SPLICE=True) as daemon:
            postfix.smtp_source(daemon.port, "-d", "-s", 20, "-m", 200, "-l", 50000, *self.ENVELOPE)
            self.check_messages(server.mails(200), 200, 50000)
            records = daemon.records("message", count=200)
            self.assertEqual(len(records), 200)
            self.assertLess(len({record.get("session") for record in records}), 200)

    def test_a_thousand_to_caronte_sink(self):
        for body in BODIES:
            with self.subTest(body), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, MAX_SESSIONS_PER_ADDRESS=0, **{body: True}) as daemon:
                postfix.smtp_source(daemon.port, "-s", 50, "-m", 1000, "-l", 5000, *self.ENVELOPE)
                self.check_messages(sink.mails(), 1000, 5000)
                self.assertEqual(len(daemon.records("message", count=1000)), 1000)

    def test_to_smtp_sink(self):
        with postfix.SmtpSink() as server, \
                self.caronte(server, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            postfix.smtp_source(daemon.port, "-s", 20, "-m", 200, "-l", 20000, *self.ENVELOPE)
            self.check_messages(server.mails(), 200, 20000)


class Swaks(Delivery):
    MESSAGE = (b"From: a@client.test\r\nTo: b@local.test\r\nSubject: by swaks\r\n\r\n"
               b"first line\r\n.\r\n..two\r\n.\tx\r\n\xc3\xa4\r\nlast line\r\n")

    def setUp(self):
        if not shutil.which("swaks"):
            harness.missing("swaks is not installed")

    def swaks(self, daemon, *arguments):
        """The exit status of swaks (24: no recipient was accepted) and the dialog."""
        done = subprocess.run(
            ["swaks", "--server", "127.0.0.1:%d" % daemon.port, "--helo", "client.test", "--from",
             "a@client.test", "--timeout", "20", *arguments], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=harness.PATIENCE_S)
        return done.returncode, done.stdout.decode(errors="replace")

    def send(self, daemon, *arguments):
        path = self.dir / "message"
        path.write_bytes(self.MESSAGE[:-2])  # swaks adds a line's end
        status, said = self.swaks(daemon, "--to", "b@local.test", "--data", "@%s" % path,
                                  *arguments)
        self.assertEqual(status, 0, said)
        return said

    def test_protocols(self):
        ways = [(), ("--pipeline",), ("--protocol", "SMTP"), ("--protocol", "ESMTP")]
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            for count, arguments in enumerate(ways, 1):
                with self.subTest(arguments):
                    self.send(daemon, *arguments)
                    self.assertEqual(sink.mails(), [self.MESSAGE] * count)
            hellos = [line.split()[0] for line in sink.commands() if line[1:4] in ("HLO", "ELO")]
            if self.gateway:  # Caronte's own, at most one for each worker
                self.assertIn(hellos, (["EHLO"], ["EHLO"] * daemon.settings["WORKERS"]))
            else:  # for HELO, too
                self.assertEqual(hellos, ["EHLO"] * len(ways))
            self.check_records(daemon, [self.MESSAGE] * len(ways))

    def test_to_postfix(self):
        with postfix.Postfix() as server, self.caronte(server) as daemon:
            for arguments in ((), ("--pipeline",)):
                said = self.send(daemon, *arguments)
                self.assertRegex(said, "250 2.0.0 Ok: ([0-9]+ bytes )?queued as ")
            self.check_same([self.MESSAGE] * 2, server.mails(2))

    def test_refused(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            for arguments in ((), ("--pipeline",)):
                status, said = self.swaks(daemon, "--to", "x@far.test", *arguments)
                self.assertEqual(status, 24, said)
                self.assertIn(" 550 5.7.1 Relaying denied. \n", said)
            self.assertEqual(sink.mails(), [])

    def test_login(self):
        with harness.Sink("--auth", "joe:secret", maildir=True) as sink, \
                self.caronte(sink) as daemon:
            for mechanism in ("PLAIN", "LOGIN"):
                status, said = self.swaks(daemon, "--to", "x@far.test", "--auth", mechanism,
                                          "--auth-user", "joe", "--auth-password", "secret")
                self.assertEqual(status, 0, said)
            self.assertEqual(len(sink.mails()), 2)
