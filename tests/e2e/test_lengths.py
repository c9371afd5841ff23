# SPDX-License-Identifier: ISC
"""Lines of every length, through to real mail servers: wherever one of them cuts a line, or gives
up a message, what comes next is text for it and no command.

Each line ends in a dot, so that it is the end of the message for a server that begins anew right
before the dot; the next line is a dot too. What follows it is a transaction for somebody elsewhere,
which each server would relay. A message has many such lines, and is sent by HELO or by EHLO. What
is checked is what the servers then have: each message to the letter, and nothing else.

The gate (test_gate.py) waits at each MAIL, so that by default not every line has a transaction
after it. A server that took a line's dot for the end would cut the message there all the same. With
CARONTE_LONG set each has one, everything is sent over a wire that takes time, too, and each server
has both dialogs and engines in front of it.

A server that takes chunks (Postfix and Exim do, OpenSMTPD and sendmail do not) has the messages in
both ways: with DATA, and counted (DATA_AS_BDAT), where nothing waits at the gate.
"""
import collections
import concurrent.futures
import contextlib
import itertools
import os
import re
import subprocess

import exim
import harness
import mailserver
import namespace
import opensmtpd
import postfix
import puppet
import sendmail
from puppet import DATA, EHLO, MAIL, RCPT, case
from wire import Wire

LONG = bool(os.environ.get("CARONTE_LONG"))
HELO = b"HELO client.test\r\n"
HEAD = (b"From: a@client.test\r\nDate: Fri, 27 Nov 2026 20:00:00 +0000\r\n"
        b"Message-Id: <1@client.test>\r\nSubject: t\r\n")
COMMANDS = [b"MAIL FROM:<evil@evil.test>", b"RCPT TO:<victim@far.test>", b"DATA",
            b"Subject: smuggled", b"", b"smuggled", b"."]
LENGTHS = list(range(1, 4301))
POWERS = [length for power in range(3, 17) for length in range((1 << power) - 2, (1 << power) + 3)]
FEWER = 7  # one of so many of them, where the body is counted
PER_MESSAGE = 50  # lines, with a transaction after each
AT_A_TIME = 24
CONNECTIONS = 6  # for messages that are taken
WIRE_S = 0.002


def chosen(some, all_of_them):
    return all_of_them if LONG else some


def line_of(length, begin=b""):
    return begin + b"x" * (length - len(begin) - 1) + b"."


def in_body(lengths, every, number):
    """A message with a line of each length in its body; after every so many a transaction. Lines
    of its header, lines of its body."""
    lines = []
    for at, length in enumerate(lengths):
        lines += [line_of(length), b".", *(COMMANDS if at % every == number % every else ())]
    return [], [*lines, b"", b"seen %d" % number]


def in_header(lengths, begin, number):
    """… as header fields, or continued lines of one. The transaction stands after the last one,
    where no empty line has ended the header."""
    fields = [line_of(max(length, len(begin) + 2), begin) for length in lengths]
    return [b"X-Long: 1", *fields], [b".", *COMMANDS, b"", b"seen %d" % number]


def field(lengths, every, number):
    return in_header(lengths, b"X:", number)


def folded(lengths, every, number):
    return in_header(lengths, b"\t", number)


def stuffed(lines):
    return b"".join(line.replace(b".", b"..", line.startswith(b".")) + b"\r\n" for line in lines)


def send(port, hello, texts):
    """The codes that these messages get, each a piece of octets or more, one connection for all."""
    codes = []
    with puppet.client(port) as c, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        c.socket.settimeout(120)
        c.reply()
        c.send(hello)
        c.reply()
        for text in texts:
            for command in MAIL, RCPT, DATA:
                c.send(command)
                codes += c.codes(1)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                c.send(text)
            codes += c.codes(1)
        c.send(b"QUIT\r\n")
    return codes


def send_all(port, hello, texts, at_a_time=AT_A_TIME):
    """The last code of each, in order; each over a connection of its own."""
    with concurrent.futures.ThreadPoolExecutor(at_a_time) as threads:
        return [(codes or [0])[-1] for codes in
                threads.map(lambda text: send(port, hello, [text]), texts)]


class Servers:
    each_engine = LONG
    takes_chunks = False

    def each_mode(self):
        """Settings, one after the other: where the server takes chunks, without them, too."""
        for counted in (False, True) if self.takes_chunks else (True,):
            with case(counted):
                yield {"DATA_AS_BDAT": counted}

    def commands(self):
        """How messages went: by DATA, or by BDAT."""
        verbs = {record.get("line").split()[0] for daemon in self.daemons
                 for record in daemon.records("command", to="destination")}
        return verbs & {"BDAT", "DATA"}

    def expected(self, counted):
        return {"BDAT"} if counted and self.takes_chunks else {"DATA"}

    def heard_of_nobody_else(self, server):
        self.assertEqual(server.mails(box=mailserver.FAR), [])
        heard = getattr(server, "recipients", list)()
        self.assertEqual([each for each in heard if "victim" in each], [])
        self.assertIsNone(re.search("to=<?victim", server.log()))

    @contextlib.contextmanager
    def ways(self, server, **settings):
        """Ports that lead there through Caronte, by name."""
        with contextlib.ExitStack() as stack:
            wire = stack.enter_context(Wire(server.port, WIRE_S))
            ways = {name: stack.enter_context(self.caronte(
                to, MAX_SESSIONS_PER_ADDRESS=0, WORKERS=1, **settings))
                    for name, to in (("direct", server), ("wire", wire))}
            self.daemons = list(ways.values())
            yield {name: daemon.port for name, daemon in ways.items()}


class Lengths(Servers):
    """Those for each server. What it does with a header is its own; the body must be the same."""
    LONGEST = (64 << 10) - 1  # of MAX_LINE_KIB, and a CR
    strict = False  # it refuses a header without an end
    at_a_time = AT_A_TIME

    def check(self, server, port, make, lengths, every):
        """One message after the other, many at a time."""
        count = -(-len(lengths) // PER_MESSAGE)
        made = [make(lengths[at::count], every, at) for at in range(count)]
        empty = b"\r\n" if self.strict or make is in_body else b""
        texts = [HEAD + stuffed(header) + empty + stuffed(body) + b".\r\n" for header, body in made]
        before = len(server.mails())
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as threads:
            sent = [threads.submit(send, port, (EHLO, HELO)[at % 2], texts[at::CONNECTIONS])
                    for at in range(CONNECTIONS)]
            for at, each in enumerate(sent):
                self.assertEqual(each.result(), [250, 250, 354, 250] * len(texts[at::CONNECTIONS]))
        mails = server.mails(before + count)
        self.assertEqual(len(mails), before + count)
        bodies = collections.Counter(b"\r\n".join(body) + b"\r\n" for _, body in made)
        for body in bodies:
            self.assertTrue([mail for mail in mails if mail.endswith(b"\r\n" + body)], body[-400:])
        self.heard_of_nobody_else(server)

    def test_lengths(self):
        for mode in self.each_mode():
            counted = mode["DATA_AS_BDAT"]
            some = LENGTHS[::FEWER if counted and self.takes_chunks and not LONG else 1]
            with self.server() as server, self.ways(server, **mode) as ports:
                for way, port in ports.items():
                    for make in in_body, field, folded:
                        lengths = some if way == "direct" or LONG else []
                        lengths = [each for each in lengths + POWERS if each <= self.LONGEST]
                        with case(way, make.__name__):
                            self.check(server, port, make, lengths, 1 if LONG else PER_MESSAGE)
                self.assertEqual(self.commands(), self.expected(counted))

    SIZE_LIMIT = 110000  # Exim returns 100,000 with a bounce
    HEADER_LIMIT = 8 << 10  # of Caronte; the server's is a little more
    NEAR = range(-4, chosen(12, 100))

    # What comes before the line with the dot, none too long for MAX_LINE_KIB.
    SIZES = [HEAD + b"\r\n" + (b"y" * length + b"\r\n") * count
             for length, count in ((60000, 1), (78, 1000))]
    HEADERS = [HEAD + b"X:", HEAD + b"X: y\r\n\t"]

    def up_to(self, size, begin):
        """Messages that have the dot of a line's end after about so many octets, be it that CRs are
        counted, be it that they are not, and commands after it."""
        for length in (size + offset + crs for offset in self.NEAR
                       for crs in {0, begin.count(b"\r")}):
            yield begin + line_of(length - len(begin)) + b"\r\n" + stuffed(COMMANDS) + b".\r\n"

    def check_limit(self, server, size, begins, **settings):
        """Refused by Caronte, or taken by the server where it is just short enough."""
        texts = [text for begin in begins for text in self.up_to(size, begin)]
        with self.ways(server, **settings) as ports:
            for way, port in ports.items():
                with case(way):
                    taken = len(server.mails())
                    codes = [code for hello in (EHLO, HELO)
                             for code in send_all(port, hello, texts, self.at_a_time)]
                    self.assertIn(552, codes)
                    self.assertLessEqual(set(codes), {250, 552})
                    self.assertEqual(len(server.mails()), taken + codes.count(250))
                    self.heard_of_nobody_else(server)
            # Of what is refused in its first octets no chunk is sent.
            self.assertLessEqual(self.commands(), self.expected(settings["DATA_AS_BDAT"]))

    def test_size_limit(self):
        for mode in self.each_mode():
            with self.small_server(self.SIZE_LIMIT) as server:
                self.check_limit(server, self.SIZE_LIMIT, self.SIZES, **mode)


class WithHeaderLimit:
    def test_header_limit(self):
        for mode in self.each_mode():
            with self.limited_server(self.HEADER_LIMIT + 2) as server:
                self.check_limit(server, self.HEADER_LIMIT, self.HEADERS,
                                 MAX_HEADER_KIB=self.HEADER_LIMIT >> 10, **mode)


class Exim(Lengths, WithHeaderLimit, harness.TestCase):
    takes_chunks = True
    server = small_server = exim.Exim

    def limited_server(self, size):
        return exim.Exim(own="header_maxsize = %d\n" % size)

    def test_the_server_alone_is_deceived(self):
        """Or what is sent here were no attack."""
        for make, size, begins in ((self.small_server, self.SIZE_LIMIT, self.SIZES),
                                   (self.limited_server, self.HEADER_LIMIT + 2, self.HEADERS)):
            for begin in begins:
                with case(size, begin[-20:]), make(size) as server:
                    send_all(server.port, EHLO, self.up_to(size, begin))
                    # (What comes right after its DATA it does not take.)
                    self.assertIn(COMMANDS[1].decode(), server.recipients())


class Postfix(Lengths, harness.TestCase):
    takes_chunks = True
    server = postfix.Postfix
    dialogs = chosen(("gateway",), ("sniff", "gateway"))

    def small_server(self, size):
        return postfix.Postfix(message_size_limit=size)


class OpenSmtpd(Lengths, harness.TestCase):
    server = opensmtpd.OpenSmtpd
    dialogs = chosen(("sniff",), ("sniff", "gateway"))
    LONGEST = (64 << 10) - 3  # it takes no more, and says so
    strict = True
    at_a_time = 4  # its queue of connections holds five (see sendmail.py)

    def small_server(self, size):
        return opensmtpd.OpenSmtpd("smtp max-message-size %d\n" % size + opensmtpd.RULES)


class Sendmail(Lengths, WithHeaderLimit, harness.TestCase):
    server = small_server = sendmail.Sendmail
    dialogs = chosen(("sniff",), ("sniff", "gateway"))

    def limited_server(self, size):
        return sendmail.Sendmail(header_limit=size)


class FullSpool(Servers):
    PAGE = 4096
    ROOM = 8  # pages

    @classmethod
    def setUpClass(cls):
        namespace.enter()

    @contextlib.contextmanager
    def small_spool(self):
        """A server that has so many pages for messages."""
        server = self.server()
        server.spool.mkdir(mode=0o755)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs",
                               server.spool], capture_output=True, text=True)
        if done.returncode:
            self.skipTest("no small spool: " + done.stderr.strip())
        try:
            with server:
                room = os.statvfs(server.spool)
                (server.spool / "filler").write_bytes(
                    bytes(room.f_bavail * room.f_bsize - self.ROOM * self.PAGE))
                yield server
        finally:
            subprocess.run(["umount", "-l", server.spool], check=True)

    def test_full_spool(self):
        """Wherever it ends, in the last page that there is or in the next, which a server may have
        kept to itself meanwhile: each line there, or a few octets of it, is taken by a server that
        lost its place for the end, and has a transaction after it. (One such message, to the octet,
        is in test_gate.py; to find it again all of them are needed.)"""
        for mode in self.each_mode():
            self.fill(**mode)

    def fill(self, **settings):
        unit = stuffed([b"xx.", *COMMANDS[:3]])
        units = chosen(10, 20)
        with self.small_spool() as server, self.ways(server, **settings) as ports:
            for pages, shift in itertools.product(
                    (self.ROOM, self.ROOM + 1), range(0, len(unit), chosen(len(unit) // 2, 1))):
                fits = pages * self.PAGE - units // 2 * len(unit)
                text = (HEAD + b"\r\n" + b"y" * shift + b"\r\n" + (b"y" * 78 + b"\r\n") * (
                    fits // 79) + unit * units + (b"y" * 78 + b"\r\n") * 500 + b".\r\n")
                for way, port in ports.items():
                    with case(pages, shift, way):
                        self.assertNotIn(250, send(port, EHLO, [text])[3:])
            self.heard_of_nobody_else(server)
            self.assertEqual(self.commands(), self.expected(settings["DATA_AS_BDAT"]))


class FullExim(FullSpool, harness.TestCase):
    takes_chunks = True
    server = exim.Exim


class FullPostfix(FullSpool, harness.TestCase):
    takes_chunks = True
    server = postfix.Postfix


class FullOpenSmtpd(FullSpool, harness.TestCase):
    server = opensmtpd.OpenSmtpd


class FullSendmail(FullSpool, harness.TestCase):
    server = sendmail.Sendmail
