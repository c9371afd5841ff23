# SPDX-License-Identifier: ISC
"""Nothing unjudged reaches a destination: no end of data but CR LF dot CR LF, however a body is cut
and paced, and no command that hides in the octets of another one.

A destination here either is a puppet, which sees every octet and the moment of it, or caronte-sink
with lax line ends, which falls for everything that real servers have fallen for.
"""
import collections
import itertools
import re
import time
import unittest

import harness
import puppet
from puppet import DATA, EHLO, MAIL, OK, RCPT, SENDER_OK, case

# What stands between text and a smuggled envelope. None of them is an end of data, but each has
# been taken for one by some server, or is next to one that has.
ENDINGS = [
    b"\n.\n", b"\n.\r\n", b"\n.\r", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\r\n.\r\r", b"\r.\r",
    b"\r.\r\n", b"\r.\n", b"\n\r.\n\r", b"\r\n\r.\r\n", b"\r\r\n.\r\n", b"\n\r\n.\r\n",
    b"\r\n.\0\r\n", b"\r\n\0.\r\n", b"\r\n.\r\0\n", b"\r\0\n.\r\n", b"\r\n.\r\0\r\n",
    b"\0\r\n.\r\n", b"\r\n..\n", b"\r\n..\r\r\n", b"\r\n.\0", b"\n.\0\n", b"\r\0\n.\r\0\n",
]
# Neighbours that are good text: they go through to the letter.
INNOCENT = [
    b"\r\n..\r\n", b"\r\n. \r\n", b"\r\n.\t\r\n", b"\r\n.\x0b\r\n", b"\r\n.\x1a\r\n",
    b"\r\n.\x85\r\n", "\r\n.\u2028\r\n".encode(), b"\x85.\x85", b"\x0c.\x0c", b".\r\n",
    b"\r\n.QUIT\r\n", b"\r\n...\r\n",
    b"\r\n\r\n.a\r\n", b"\r\n \r\n.\x04\r\n", b"\x8d\x8a.\x8d\x8a", b"\r\n.\xff\r\n",
]
SMUGGLED = (b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\n"
            b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\nQUIT\r\n")
# That of it which is text for a client that goes on talking behind an end that was none.
SMUGGLED_TEXT = SMUGGLED[:SMUGGLED.index(b".\r\nQUIT") + 3]
# The same without a line that waits at the gate (test_gate.py).
UNGATED_TEXT = SMUGGLED_TEXT.replace(b"MAIL FROM", b"VRFY")
HEAD = b"Subject: t\r\n\r\nseen"
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
REFUSED = b"521 5.5.2 Bare CR, LF or NUL in message, closing connection\r\n"
PAUSE_S = 0.002
BODIES = ("BODY_AUTO", "BODY_COPY", "BODY_SPLICE")


def safe(octets):
    """What of these octets, the beginning of a body, may go on at once."""
    return octets[:-1] if octets.endswith(b"\r") else octets


def end_of_data(octets):
    """Where the client's own end of data ends; 0: nowhere."""
    if octets.startswith(b".\r\n"):
        return 3
    at = octets.find(b"\r\n.\r\n")
    return at + 5 if at >= 0 else 0


def bare_at(octets):
    found = BARE.search(octets)
    return found.start() if found else len(octets)


def repaired(octets):
    """What BARE_NEWLINE_NORMALIZE makes of a body that has its end: line by line, as
    caronte.conf(5) says it."""
    content = octets[:end_of_data(octets) - 3]
    out, own_start = [], True  # own_start: the line begins behind the client's own CR LF
    for line, newline in re.findall(rb"([^\r\n]*)(\r+\n|\r|\n|\Z)", content):
        if not line and not newline:
            continue
        text = line.replace(b"\0", b"")
        if text.startswith(b".") and (not own_start or line.startswith(b"\0")):
            text = b"." + text  # made to begin with one
        elif text == b"." and not (line == b"." and newline == b"\r\n"):
            text = b".."  # made a lone one
        out.append(text + (b"\r\n" if newline else b""))
        own_start = newline.endswith(b"\r\n")
    return b"".join(out) + b".\r\n"


def canonical(octets):
    """One message and nothing else."""
    return bare_at(octets) == len(octets) and end_of_data(octets) == len(octets)


class Bodies(harness.TestCase):
    """One daemon for each way of moving a body; each message is cut by the test and judged at the
    destination octet for octet."""

    def each_body(self, **settings):
        for body in BODIES:
            with puppet.Destination() as destination, \
                    self.caronte(destination, **{body: True}, **settings) as daemon:
                yield body, daemon, destination

    def refused(self, daemon, destination, pieces):
        """Sends PIECES, each once the destination has what may go on of those before. Nothing but
        the text before the offending octet may arrive, and nothing behind it."""
        body = b"".join(pieces)
        allowed = body[:bare_at(body)]
        with puppet.Session(daemon.port, destination, "data") as s:
            sent = got = b""
            for piece in pieces:
                s.client.send(piece)
                sent += piece
                if bare_at(sent) < len(safe(sent)):
                    continue  # it knows by now: the rest is sent into a refusal
                due = safe(sent)[len(got):]
                if due:
                    s.server.expect(due)
                    got += due
                else:
                    time.sleep(PAUSE_S)
            self.assertEqual(s.client.reply(), REFUSED, pieces)
            self.assertEqual(s.client.rest(), b"", pieces)
            got += s.server.rest()
            self.assertTrue(allowed.startswith(got), (pieces, got))
            self.assertNotIn(b"evil", got)
            self.assertFalse(end_of_data(got))

    def check_refusals(self, daemon, count):
        messages = daemon.records("message")
        self.assertEqual(len(messages), count)
        for record in messages:
            self.assertEqual(record.get("reply").encode(), REFUSED.strip())
        self.assertEqual({r.get("end") for r in daemon.records("session")}, {"protocol"})

    def test_every_ending_in_every_cut_is_refused(self):
        for body, daemon, destination in self.each_body():
            count = 0
            for ending in ENDINGS:
                whole = HEAD + ending + SMUGGLED
                cuts = range(len(HEAD), len(HEAD) + len(ending) + 1)
                with case(body, ending):
                    self.refused(daemon, destination, [whole])
                    for cut in cuts:
                        self.refused(daemon, destination, [whole[:cut], whole[cut:]])
                count += 1 + len(cuts)
            daemon.stop()
            self.check_refusals(daemon, count)

    def test_every_ending_in_three_pieces_and_octet_by_octet_is_refused(self):
        for body, daemon, destination in self.each_body():
            for ending in ENDINGS:
                whole = HEAD + ending + SMUGGLED
                cuts = range(len(HEAD), len(HEAD) + len(ending) + 1)
                with case(body, ending):
                    for one, two in itertools.combinations(cuts, 2):
                        self.refused(daemon, destination,
                                     [whole[:one], whole[one:two], whole[two:]])
                    self.refused(daemon, destination, [HEAD] + [
                        whole[at:at + 1] for at in cuts] + [SMUGGLED[1:]])

    def test_first_line_of_a_body(self):
        """Behind DATA's own CR LF a dot can be the end at once."""
        for body, daemon, destination in self.each_body():
            for start in (b".\n", b".\r\r\n", b".\0\r\n", b"\n.\n", b"\0.\r\n", b".\r\0\n",
                          b"\r.\r\n", b"\r\n.\n", b"\n", b"\0", b"\r\r\n.\r\n"):
                whole = start + SMUGGLED
                with case(body, start):
                    for cut in range(1, len(start) + 1):
                        self.refused(daemon, destination, [whole[:cut], whole[cut:]])

    def test_innocent_text_passes_to_the_letter(self):
        for body, daemon, destination in self.each_body():
            with puppet.Session(daemon.port, destination) as s:
                for text in INNOCENT:
                    whole = HEAD + text + UNGATED_TEXT
                    for cut in range(len(HEAD), len(HEAD) + len(text) + 1):
                        with case(body, text, cut):
                            s.envelope()
                            s.client.send(whole[:cut])
                            s.server.expect(safe(whole[:cut]))
                            s.client.send(whole[cut:])
                            s.server.expect(whole[len(safe(whole[:cut])):])
                            s.server.send(OK)
                            s.client.expect(OK)
                s.quit()

    def test_commands_behind_the_end_are_commands(self):
        """Whatever follows a message, in whatever cut, is judged."""
        own_end = HEAD + b"\r\n.\r\n"
        whole = own_end + SMUGGLED
        for body, daemon, destination in self.each_body():
            for cut in range(len(HEAD), len(own_end) + len(MAIL)):
                with case(body, cut), \
                        puppet.Session(daemon.port, destination, "data") as s:
                    s.client.send(whole[:cut])
                    s.server.expect(safe(own_end[:cut]))
                    s.client.send(whole[cut:])
                    s.server.expect(own_end[len(safe(own_end[:cut])):])
                    self.assertTrue(s.server.silent())
                    s.server.send(OK)
                    if not self.gateway:  # else it hears of no sender without a recipient
                        s.server.expect(b"MAIL FROM:<evil@evil.test>\r\n")
                        s.server.send(SENDER_OK)
                    s.client.expect(OK + SENDER_OK + b"550 5.7.1 Relaying denied. \r\n")
                    # What follows DATA would be a message: it is no command, refused or not.
                    self.assertEqual(s.client.reply()[:9], b"554 5.5.0")
                    self.assertEqual(s.client.rest(), b"")
                    if self.gateway:
                        self.assertTrue(s.server.silent())
                    else:
                        self.assertEqual(s.server.rest(), b"")

    def test_normalize_repairs_in_every_cut(self):
        for body, daemon, destination in self.each_body(BARE_NEWLINE_NORMALIZE=True):
            with puppet.Session(daemon.port, destination) as s:
                for ending in ENDINGS + INNOCENT:
                    whole = HEAD + ending + UNGATED_TEXT
                    whole = whole[:end_of_data(whole)]
                    fixed = repaired(whole)
                    self.assertTrue(canonical(fixed), (ending, fixed))
                    for cut in range(len(HEAD), min(len(HEAD) + len(ending) + 1, len(whole))):
                        with case(body, ending, cut):
                            s.envelope()
                            s.client.send(whole[:cut])
                            s.server.expect(HEAD)
                            s.client.send(whole[cut:])
                            s.server.expect(fixed[len(HEAD):])
                            self.assertTrue(s.server.silent())
                            s.server.send(OK)
                            s.client.expect(OK)
                s.quit()


class Sink(harness.TestCase):
    """Against a destination that takes LF for a line's end: it must not get the occasion."""

    settings = {"DATA_AS_BDAT": False}
    begins_body = DATA

    def whole(self, text):
        """What the destination must have of a message and its end of data."""
        return text

    def attack(self, daemon, ending, mail=MAIL):
        """The whole dialog of an attacker; what he was answered."""
        with puppet.client(daemon.port) as c:
            c.reply()
            c.send(EHLO)
            c.reply()
            c.send(mail + RCPT + DATA)
            self.assertEqual(c.codes(3), [250, 250, 354])
            c.send(HEAD + ending + SMUGGLED)
            replies = []
            while reply := c.reply():
                replies.append(reply)
            return replies

    def commands(self, sink, connection):
        start = "%d C: " % connection
        return [line[len(start):] for line in sink.transcript() if line.startswith(start)]

    def check(self, sink, connection, mails=1, before=0):
        """So many transactions were begun over the connection; BEFORE: octets of those before."""
        lines = self.commands(sink, connection)
        self.assertEqual(sum(line.startswith("MAIL") for line in lines), mails, lines)
        raw = sink.raw(connection)[before:]
        self.assertNotIn(b"RCPT TO:<victim@far.test>\r\n", raw.partition(self.begins_body)[0])
        self.assertEqual(bare_at(raw), len(raw))

    def test_reject(self):
        for body in BODIES:
            with harness.Sink("--line-ends", "lax", maildir=True) as sink, \
                    self.caronte(sink, WORKERS=1, **self.settings, **{body: True}) as daemon:
                for number, ending in enumerate(ENDINGS, 1):
                    with case(body, ending):
                        self.assertEqual(self.attack(daemon, ending), [REFUSED])
                        self.check(sink, number)
                        self.assertNotIn(b"evil", sink.raw(number))
                self.assertEqual(sink.mails(), [])

    def test_seven_bits(self):
        """sendmail takes the eighth bit off a message that was said to have none."""
        mail = MAIL.replace(b"\r\n", b" BODY=7BIT\r\n")
        for settings in *({body: True} for body in BODIES), {"BARE_NEWLINE_NORMALIZE": True}:
            with harness.Sink("--line-ends", "lax", maildir=True) as sink, \
                    self.caronte(sink, WORKERS=1, **self.settings, **settings) as daemon:
                for ending in b"\r\n\xae\r\n", b"\x8d\x8a\xae\x8d\x8a", b"\x8d\x8a.\x8d\x8a":
                    with case(settings, ending):
                        before = sink.mails()
                        replies = self.attack(daemon, ending, mail)
                        self.assertEqual([r[:3] for r in replies], [b"250", b"221"])
                        self.assertEqual(sink.mails(),
                                         before + [HEAD + ending + SMUGGLED_TEXT[:-3]])
                self.assertFalse([line for line in sink.commands() if "victim" in line])

    def test_normalize(self):
        for body in BODIES:
            with harness.Sink("--line-ends", "lax", maildir=True) as sink, \
                    self.caronte(sink, BARE_NEWLINE_NORMALIZE=True, WORKERS=1, **self.settings,
                                 **{body: True}) as daemon:
                before = 0
                for number, ending in enumerate(ENDINGS, 1):
                    with case(body, ending):
                        whole = HEAD + ending + SMUGGLED
                        if end_of_data(whole) <= len(HEAD + ending):
                            continue
                        replies = self.attack(daemon, ending)
                        self.assertEqual([r[:3] for r in replies], [b"250", b"221"])
                        connection = self.by_dialog(len(sink.mails()), 1)
                        raw = sink.raw(connection)
                        end = self.by_dialog(b"QUIT\r\n", b"")
                        self.assertTrue(raw.endswith(self.whole(repaired(whole)) + end))
                        self.check(sink, connection, self.by_dialog(1, len(sink.mails())), before)
                        before = self.by_dialog(0, len(raw))


class CountedSink(Sink):
    """The same, where the body goes in chunks."""

    settings = {"DATA_AS_BDAT": True}
    begins_body = b"BDAT "

    def whole(self, text):
        return re.sub(rb"^\.", b"", text[:-3], flags=re.M)


GREETED = EHLO
IN_MAIL = EHLO + MAIL
IN_RCPT = EHLO + MAIL + RCPT
EVIL = b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\nx\r\n.\r\n"
EVIL_RCPT = b"RCPT TO:<victim@far.test>\r\n"
QUIT = b"QUIT\r\n"
# A BDAT that was offered is a matter of test_bdat.py.
NO_CHUNKING = [word for line in ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN",
                                 "ENHANCEDSTATUSCODES", "HELP", "AUTH PLAIN LOGIN")
               for word in ("--ext", line)]


def transactions(passed):
    """What of these commands a destination hears with the gateway dialog: those transactions that
    have a recipient."""
    lines = re.sub(rb"(?m)^(?!MAIL|RCPT|DATA).*\r\n", b"", passed)
    return re.findall(rb"MAIL.*\r\n(?:RCPT.*\r\n)+", lines)


ENDED = None  # in place of a code: the session has ended, what follows was never read


class Commands(harness.TestCase):
    """What a client hides in, or behind, commands. A row: the octets, what the destination must
    have received in the end, to the letter, and the codes that the client gets."""

    BAD_LINES = [b"NOOP\n", b"NOOP\r", b"NO\0OP\r\n", b"NOOP \0\r\n", b"\nNOOP\r\n", b"\0",
                 b"\r\r\n", b"NOOP \r" + EVIL_RCPT, b"NOOP \n" + EVIL_RCPT,
                 b"RCPT TO:<b@local.test>\n",
                 b"RCPT TO:<b@local.test>\r\r\n", b"RCPT TO:<b@local.test>\0\r\n",
                 b"RCPT TO:<b@local.test\0>\r\n", b"MAIL FROM:<a@client.test>\rRCPT TO:<x@far>\r\n",
                 b"NOOP " + b"x" * 4090 + b"\r\n", b"x" * 5000 + b"\r\n",
                 b"NOOP " + b"x" * 8000 + b"\r\n", b"RCPT TO:<" + b"b" * 5000 + b"@local.test>\r\n"]
    BDATS = [b"BDAT %d LAST\r\n" % len(EVIL), b"BDAT %d\r\n" % len(EVIL), b"bdat 0 LAST\r\n",
             b"BDAT\r\n", b"BDAT x LAST\r\n", b"BDAT 18446744073709551616 LAST\r\n", b"BDAT -1\r\n"]
    ROWS = [
        # Text beside, inside and around a path.
        (IN_MAIL + b"RCPT TO:<b@local.test>,<victim@far.test>\r\n" + QUIT, IN_MAIL + QUIT,
         [250, 250, 501, 221]),
        (IN_MAIL + b"RCPT TO:<victim@far.test>@local.test>\r\n" + QUIT, IN_MAIL + QUIT,
         [250, 250, 501, 221]),
        (IN_MAIL + b"RCPT TO:<@local.test:victim@far.test>\r\n" + QUIT, IN_MAIL + QUIT,
         [250, 250, 501, 221]),
        (IN_MAIL + b"RCPT TO:<victim%far.test@local.test>\r\n"
         b"RCPT TO:<far.test!victim@local.test>\r\n"
         b"RCPT TO:<\"victim@far.test\"@local.test>\r\n" + QUIT,
         IN_MAIL + QUIT, [250, 250, 550, 550, 550, 221]),
        (IN_MAIL + b"RCPT TO:<b@local.test>RCPT TO:<victim@far.test>\r\n" + QUIT, IN_MAIL + QUIT,
         [250, 250, 501, 221]),
        (IN_MAIL + b"rcpt to: <b@LOCAL.test.>  \r\n" + QUIT,
         IN_MAIL + b"RCPT TO:<b@LOCAL.test>\r\n" + QUIT, [250, 250, 250, 221]),
        (EHLO + b"MAIL FROM:<a@client.test> RCPT TO:<victim@far.test>\r\n" + QUIT, EHLO + QUIT,
         [250, 555, 221]),
        (EHLO + b"MAIL FROM:<a@client.test> SIZE=9 SIZE=9\r\n" + QUIT, EHLO + QUIT,
         [250, 501, 221]),
        # Every recipient is judged, whatever came before it.
        (IN_MAIL + EVIL_RCPT + RCPT + EVIL_RCPT + b"RSET\r\n" + MAIL + EVIL_RCPT + EHLO + MAIL +
         EVIL_RCPT + DATA + QUIT,
         IN_RCPT + b"RSET\r\n" + MAIL + EHLO + MAIL,
         [250, 250, 550, 250, 550, 250, 250, 550, 250, 250, 550, 554, ENDED]),
        (EHLO + EVIL_RCPT + QUIT, EHLO + QUIT, [250, 503, 221]),
        (EHLO + EVIL_RCPT + DATA + EVIL, EHLO, [250, 503, 554, ENDED]),
        (IN_MAIL + EVIL_RCPT + DATA + EVIL, IN_MAIL, [250, 250, 550, 554, ENDED]),
        (EHLO + b"AUTH X-NONE\r\n" + EVIL, EHLO, [250, 503, ENDED]),
        (IN_RCPT + MAIL + QUIT, IN_RCPT + QUIT, [250, 250, 250, 503, 221]),
        # STARTTLS is refused, and what was sent with it stays a command.
        (EHLO + b"STARTTLS\r\n" + MAIL + EVIL_RCPT + QUIT, IN_MAIL + QUIT,
         [250, 502, 250, 550, 221]),
        # Verbs that would be taken from a trusted address.
        (EHLO + b"XCLIENT ADDR=127.0.0.1\r\nXFORWARD ADDR=127.0.0.1\r\nETRN far.test\r\nTURN\r\n"
         b"SEND FROM:<a@x>\r\nSOML FROM:<a@x>\r\nSAML FROM:<a@x>\r\nVRFY root\r\nEXPN root\r\n"
         b"BURL imap://x LAST\r\nATRN\r\nDEBUG\r\n" + QUIT, EHLO + QUIT,
         [250] + [502] * 11 + [500, 221]),
        # Text that a server with short lines might cut in two.
        (EHLO + b"NOOP " + b"x" * 505 + EVIL_RCPT + QUIT, EHLO + QUIT, [250, 501, 221]),
        (EHLO + b"NOOP x\r\nHELP MAIL\r\n" + QUIT, EHLO + b"NOOP x\r\nHELP MAIL\r\n" + QUIT,
         [250, 250, 214, 221]),
        (b"EHLO client.test\tMAIL\r\nEHLO a b\r\nEHLO\r\nHELO " + b"x" * 300 + b"\r\n" + QUIT, QUIT,
         [501] * 4 + [221]),
        # Nothing may follow AUTH and DATA before their answers.
        (EHLO + b"AUTH PLAIN\r\n" + EVIL, EHLO, [250, 503, ENDED]),
        (IN_RCPT + DATA + EVIL, IN_RCPT, [250, 250, 250, 554, ENDED]),
        (IN_RCPT + DATA + b".\r\n", IN_RCPT, [250, 250, 250, 554, ENDED]),
        (IN_RCPT + DATA + b"\r\n.\r\n", IN_RCPT, [250, 250, 250, 554, ENDED]),
    ]
    ROWS += [(IN_MAIL + line + EVIL, IN_MAIL, [250, 250, 500, ENDED]) for line in BAD_LINES]
    ROWS += [(before + bdat + EVIL, before, [250] * before.count(b"\n") + [502, ENDED])
             for bdat in BDATS for before in (b"", GREETED, IN_MAIL, IN_RCPT)]

    def talk(self, daemon, pieces, codes):
        """Sends all and reads to the end; what is not read by the daemon may not reset it."""
        with puppet.client(daemon.port) as c:
            self.assertEqual(c.reply()[:3], b"220")
            try:
                for piece in pieces:
                    c.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has heard enough
            ended = codes[-1] is ENDED
            self.assertEqual(c.codes(len(codes) - ended), codes[:len(codes) - ended])
            self.assertEqual(c.rest(), b"")

    def run_rows(self, rows, cut):
        with harness.Sink("--line-ends", "lax", "--auth", "joe:secret", *NO_CHUNKING) as sink, \
                self.caronte(sink) as daemon:
            heard = collections.Counter()
            for number, (octets, passed, codes) in enumerate(rows, 1):
                with case(octets):
                    self.talk(daemon, cut(octets), codes)
                    if self.gateway:
                        heard.update(transactions(passed))
                        harness.wait_until(lambda: self.heard(sink) == heard)
                    else:
                        harness.wait_until(lambda: "%d -: " % number in sink.transcript()[-1])
                        self.assertEqual(sink.raw(number), passed)
            if self.gateway:
                self.assertEqual(self.heard(sink), heard)
            self.assertEqual(sink.mails(), [])

    def heard(self, sink):
        """The transactions that a destination has heard of so far; Caronte's own commands, of
        which only these may be, are left out."""
        heard = collections.Counter()
        for path in (sink.dir / "raw").iterdir():
            own = re.sub(rb"(?m)^(EHLO [\w.-]+|RSET|QUIT)\r\n", b"", path.read_bytes())
            heard.update(re.findall(rb"(?s)MAIL.*?(?=MAIL|\Z)", own) if own else [])
            self.assertTrue(not own or own.startswith(b"MAIL"), own)
        return heard

    def test_whole(self):
        self.run_rows(self.ROWS, lambda octets: [octets])

    def test_octet_by_octet(self):
        """Cut finely the rows that end at an early octet are other dialogs: puppets have those."""
        early = ([503, ENDED], [554, ENDED])
        rows = [row for row in self.ROWS if len(row[0]) < 1000 and row[2][-2:] not in early]
        self.run_rows(rows, lambda octets: [bytes([octet]) for octet in octets])

    def test_cut_in_two_everywhere(self):
        rows = []
        for row in self.ROWS[-len(self.BDATS) * 4 - len(self.BAD_LINES):]:
            if len(row[0]) < 400:
                rows.append(row)
        for fraction in 0.3, 0.5, 0.7:
            self.run_rows(rows, lambda octets: [octets[:int(len(octets) * fraction)],
                                                octets[int(len(octets) * fraction):]])


class Early(harness.TestCase):
    """Octets that come between a command and its answer."""

    def test_behind_data(self):
        for body in BODIES:
            with puppet.Destination() as destination, \
                    self.caronte(destination, **{body: True}) as daemon:
                for early in EVIL, b".\r\n", b"x", b"\n", QUIT:
                    with case(body, early), \
                            puppet.Session(daemon.port, destination, "rcpt") as s:
                        s.client.send(DATA)
                        s.server.expect(DATA)
                        s.client.send(early)
                        self.assertEqual(s.client.reply()[:9], b"554 5.5.0")
                        self.assertEqual(s.client.rest(), b"")
                        self.assertEqual(s.server.rest(), b"")

    def test_behind_auth(self):
        """… and the 235 that comes later logs nobody in."""
        extensions = b"250-puppet.test\r\n250 AUTH PLAIN LOGIN\r\n"
        with puppet.Destination(extensions=extensions) as destination, \
                self.caronte(destination) as daemon:
            for lines in ([b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"],
                          [b"AUTH LOGIN\r\n", b"am9l\r\n"],
                          [b"AUTH LOGIN\r\n", b"am9l\r\n", b"c2VjcmV0\r\n"]):
                for early in EVIL, b"x", b"AAAA\r\n", QUIT:
                    with case(lines, early), puppet.Session(
                            daemon.port, destination) as s:
                        for line in lines[:-1]:
                            s.both(line, b"334 VXNlcm5hbWU6\r\n")
                        s.client.send(lines[-1])
                        s.server.expect(lines[-1])
                        s.client.send(early)
                        self.assertEqual(s.client.reply()[:9], b"503 5.5.0")
                        self.assertEqual(s.client.rest(), b"")
                        self.assertEqual(s.server.rest(), b"")
            daemon.stop()
            self.assertEqual({r.get("verdict") for r in daemon.records("login")}, {"refuse"})
            self.assertEqual([r for r in daemon.records("session") if r.get("login")], [])

    def test_no_dot_is_sent_for_nobody(self):
        """All recipients refused, and a destination that says 354 all the same."""
        with puppet.Destination() as destination, self.caronte(destination) as daemon:
            with puppet.Session(daemon.port, destination, "mail") as s:
                s.client.send(RCPT + DATA)
                s.server.expect(RCPT + DATA)
                s.server.send(b"550 5.1.1 Nobody\r\n354 Go ahead\r\n")
                self.assertEqual([r[:9] for r in s.client.replies(2)],
                                 [b"550 5.1.1", b"554 5.5.1"])
                self.assertEqual(s.server.rest(), b"")
                if self.gateway:
                    s.server = puppet.Later(s)
                    s.message()
                    s.quit()
                else:
                    self.assertEqual(s.client.reply()[:9], b"421 4.3.2")
                    self.assertEqual(s.client.rest(), b"")

    def test_recipients_behind_a_refused_sender(self):
        """A destination may take them all the same: it gets no body for them."""
        with puppet.Destination() as destination, self.caronte(destination) as daemon:
            with puppet.Session(daemon.port, destination) as s:
                s.client.send(MAIL)
                if not self.gateway:
                    s.server.expect(MAIL)
                s.client.send(RCPT + EVIL_RCPT + DATA)
                if self.gateway:
                    s.server.expect(MAIL)
                self.assertEqual(s.server.take(len(RCPT + DATA)), RCPT + DATA)
                s.server.send(b"550 5.1.8 No\r\n" + OK + b"354 Go ahead\r\n")
                # Caronte has taken the sender: that he is refused is said of his recipient.
                self.assertEqual([r[:9] for r in s.client.replies(4)], self.by_dialog(
                    [b"550 5.1.8", b"250 2.0.0", b"550 5.7.1", b"554 5.5.1"],
                    [b"250 2.1.0", b"550 5.1.8", b"550 5.7.1", b"554 5.5.1"]))
                self.assertEqual(s.server.rest(), b"")
                if not self.gateway:
                    self.assertEqual(s.client.reply()[:9], b"421 4.3.2")


if __name__ == "__main__":
    unittest.main()
