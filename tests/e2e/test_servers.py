# SPDX-License-Identifier: ISC
"""Real mail servers that trust us, Exim and OpenSMTPD: what is let through arrives to the letter,
and no end of data, no recipient and no octet in a chunk makes them do what Caronte has not judged.
(Postfix is in test_delivery.py, test_guard.py, test_bdat.py and test_status.py.)

That the attacks here are attacks is shown, too: each server falls for one when nobody stands before
it.
"""
import collections
import contextlib
import functools
import re

import exim
import harness
import mailserver
import opensmtpd
import puppet
import test_delivery
import test_guard
from puppet import DATA, EHLO, MAIL, RCPT, case, sending
from test_bdat import BODIES, EVIL, bdat
from test_smuggling import ENDINGS, HEAD, INNOCENT, SMUGGLED, SMUGGLED_TEXT, end_of_data, \
    repaired

LF_HEAD = HEAD.replace(b"\r\n", b"\n")  # from it Exim learns that lines end in LF
COMPLETE = (b"From: a@client.test\r\nDate: Fri, 27 Nov 2026 20:00:00 +0000\r\n"
            b"Message-Id: <1@client.test>\r\n")  # what servers would add
NOTIFY = b"RCPT TO:<b@local.test> NOTIFY=SUCCESS\r\n"
CUT = SMUGGLED.index(b"Subject:")
SMUGGLED_COMMANDS = SMUGGLED[:CUT].splitlines(keepends=True)
SMUGGLED_MESSAGE = SMUGGLED[CUT:end_of_data(SMUGGLED)]
PAUSE_S = 0.01


def delivered(body):
    """What comes of a body with its end, behind the message's header."""
    return re.sub(rb"(?m)^\.", b"", body[:-3]).partition(b"\r\n\r\n")[2]


def attack(port, head, ending, patience_s=PAUSE_S):
    """The codes that one gets who sends an ending and, if it is answered, what he smuggles, line by
    line; else all of it is text of his message."""
    replies = []
    with puppet.client(port) as c, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        c.reply()
        for command in (EHLO, MAIL, RCPT, DATA):
            c.send(command)
            c.reply()
        c.send(head + ending)
        if c.silent(patience_s):
            c.send(b"".join(SMUGGLED_COMMANDS))
        else:
            for command in SMUGGLED_COMMANDS:
                replies.append(c.reply())
                c.send(command)
            replies.append(c.reply())
        c.send(SMUGGLED_MESSAGE)
        replies.append(c.reply())
    return [int(reply[:3]) for reply in replies if reply]


class Tests:
    """Those for each server. TAKEN: the beginning of a message, and an ending that it takes."""
    each_engine = False

    def bodies(self, server, count):
        """What has been delivered behind headers, once COUNT messages have."""
        return collections.Counter(mail.partition(b"\r\n\r\n")[2] for mail in server.mails(count))

    def check_unharmed(self, server, recipients):
        """No mail has gone to where no client may send any."""
        self.assertEqual(server.mails(box=mailserver.FAR), [])
        self.assertEqual(server.recipients(), recipients)

    def test_arrives_to_the_letter(self):
        messages = [COMPLETE + each for each in test_delivery.plain_messages()]
        with self.server() as server, self.caronte(server) as daemon:
            self.send_all(daemon, messages, 7)
            self.check_same(messages, server.mails(len(messages)))
            self.check_records(daemon, messages)

    def test_innocent_neighbours_of_an_end(self):
        bodies = [HEAD + text + SMUGGLED_TEXT for text in INNOCENT]
        bodies = [body[:end_of_data(body)] for body in bodies]
        with self.server() as server, self.caronte(server) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                for body in bodies:
                    with case(body):
                        client.envelope()
                        client.command("DATA", 354)
                        client.send(body)
                        self.assertEqual(client.reply()[:3], b"250")
                client.quit()
            self.assertEqual(self.bodies(server, len(bodies)),
                             collections.Counter(map(delivered, bodies)))

    def test_the_server_alone_is_deceived(self):
        """Where this fails it has learned better: then look for another ending that it takes."""
        with self.server() as server:
            self.assertEqual(attack(server.port, *self.TAKEN, patience_s=harness.PATIENCE_S),
                             [250, 250, 250, 354, 250])
            self.assertEqual(self.bodies(server, 1), {b"seen\r\n": 1})
            smuggled, = server.mails(1, mailserver.FAR)
            self.assertTrue(smuggled.endswith(b"\r\n\r\nsmuggled\r\n"), smuggled)
            self.assertEqual(len(server.recipients()), 2)

    def test_smuggling_is_refused(self):
        attacks = [(HEAD, ending) for ending in ENDINGS] + [self.TAKEN]
        with self.server() as server, self.caronte(server) as daemon:
            for head, ending in attacks:
                with case(head, ending):
                    self.assertEqual(attack(daemon.port, head, ending), [521])
            with harness.Client(daemon.port) as client:
                client.hello()
                client.send_message(HEAD + b"\r\n")
                client.quit()
            self.assertEqual(self.bodies(server, 1), {b"seen\r\n": 1})
            self.check_unharmed(server, [RCPT.decode().strip()] * (len(attacks) + 1))

    def test_smuggling_is_repaired(self):
        bodies, head = [], self.TAKEN[0]
        with self.server() as server, \
                self.caronte(server, BARE_NEWLINE_NORMALIZE=True) as daemon:
            for ending in ENDINGS:
                with case(ending):
                    whole = head + ending + SMUGGLED
                    bodies.append(delivered(repaired(whole)))
                    is_end = end_of_data(whole) <= len(head + ending)
                    codes = attack(daemon.port, head, ending,
                                   harness.PATIENCE_S if is_end else PAUSE_S)
                    self.assertEqual(codes, [250, 250, 550, 554, 500] if is_end else [250])
            self.assertEqual(self.bodies(server, len(bodies)), collections.Counter(bodies))
            self.check_unharmed(server, [RCPT.decode().strip()] * len(bodies))

    def test_relays_for_nobody(self):
        """Whatever the server reads as an address elsewhere it would send there."""
        forms = test_guard.Addresses
        table = ["@local.test", "only@one.test"]
        local = {given: sent or given for given, sent in forms.LOCAL.items()
                 if "%" not in given and "quo@ted" not in given}
        with self.server() as server, \
                self.caronte(server, RECIPIENTS=table, MAX_ERRORS=100000) as daemon:
            taken, sent = 0, []
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("MAIL FROM:<a@client.test>", 250)
                for path in [*forms.LOCAL, *forms.STRANGE, *forms.BAD, *forms.BESIDE]:
                    reply = client.command("RCPT TO:" + path)
                    if path in local:
                        sent.append("RCPT TO:" + local[path])
                    if reply[:3] == b"250":
                        client.command("DATA", 354)
                        client.command("Subject: x\r\n\r\nx\r\n.", 250)
                        client.command("MAIL FROM:<a@client.test>", 250)
                        taken += 1
                client.quit()
            self.assertGreater(taken, 8)
            self.assertEqual(len(server.mails(taken)), taken)
            self.check_unharmed(server, sent)
            strange = len(forms.STRANGE) + len(forms.LOCAL) - len(local)
            refused = daemon.records("recipient", rule="relaying-denied", count=strange - 1)
            refused += daemon.records("recipient", rule="unknown-user")
            self.assertEqual(refused[-1].get("recipient"), "other@one.test")
            self.assertEqual(len(refused), strange)
            self.assertEqual({record.get("reply") for record in refused},
                             {test_guard.DENIED.decode().rstrip("\r\n")})

    def test_no_notice_to_a_stranger(self):
        """The server alone sends one to whoever stands there as the sender."""
        with self.server() as server, self.caronte(server) as daemon:
            for port, notices in ((daemon.port, 0), (server.port, 1)):
                with harness.Client(port) as client:
                    self.assertIn("DSN", client.hello())
                    for command in (MAIL, NOTIFY, DATA, HEAD + b"\r\n.\r\n", b"QUIT\r\n"):
                        client.send(command)
                        self.assertIn(client.reply()[:1], b"23")
                self.assertEqual(self.bodies(server, 1 + notices), {b"seen\r\n": 1 + notices})
                self.assertEqual(len(server.mails(notices, mailserver.FAR)), notices)


class Exim(Tests, test_delivery.Delivery):
    server = exim.Exim
    TAKEN = LF_HEAD, b"\n.\n"

    def chunks(self, client, parts):
        """A message in chunks, all of it at once."""
        with sending(client.send, MAIL + RCPT, *map(bdat, parts[:-1]), bdat(parts[-1], True)):
            self.assertEqual(client.codes(2 + len(parts)), [250] * (2 + len(parts)))

    def test_chunks_arrive_to_the_letter(self):
        message = COMPLETE + test_delivery.with_id("chunks", test_delivery.mixture(100000))
        with self.server() as server:
            for body in BODIES:
                with case(body), self.caronte(server, **{body: True}) as daemon, \
                        harness.Client(daemon.port) as client:
                    self.assertIn("CHUNKING", client.hello())
                    for size in len(message), 5000:
                        self.chunks(client, [message[at:at + size]
                                             for at in range(0, len(message), size)])
                    self.chunks(client, [message, b""])
                    client.quit()
            self.check_same([message] * 9, server.mails(9))

    def test_refused_chunk(self):
        """Exim insists on CR LF in a header that comes in a chunk. It has read all of it, so that
        the same connection can go on."""
        with self.server() as server, self.caronte(server) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                for last in (False, True):
                    client.send(MAIL + RCPT + bdat(LF_HEAD + b"\r\n", last))
                    self.assertEqual(client.codes(3), [250, 250, 552])
                    client.command("RSET", 250)
                    self.chunks(client, [HEAD, b"\r\n"])
                client.quit()
            self.assertEqual(self.bodies(server, 2), {b"seen\r\n": 2})

    def test_nothing_in_a_chunk_is_a_command_or_an_end(self):
        texts = [HEAD + ending + SMUGGLED for ending in ENDINGS]
        texts += [HEAD + b"\r\n.\r\n" + EVIL, EVIL, b".\r\n" + EVIL, b"BDAT 0 LAST\r\n" + EVIL]
        with self.server() as server, self.caronte(server, MAX_ERRORS=1000) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                for text in texts:
                    with case(text):
                        self.chunks(client, [text[:20], text[20:50], text[50:]])
                        # Out of order, and for nobody.
                        client.send(MAIL + b"RCPT TO:<victim@far.test>\r\n" + bdat(EVIL, True) +
                                    b"RSET\r\n")
                        self.assertEqual(client.codes(4), [250, 550, 554, 250])
                client.quit()
            self.assertEqual(len(server.mails(len(texts))), len(texts))
            self.check_unharmed(server, [RCPT.decode().strip()] * len(texts))


class LostPlaces(harness.TestCase):
    """Where Exim gives up a message in the middle of a line, it takes what comes next for the
    beginning of one, or of a command."""
    each_engine = False
    dialogs = ("sniff", "gateway")
    LIMIT = 200000
    HIDDEN = b"From: evil@evil.test\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"
    COMMANDS = (b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\n" +
                bdat(HIDDEN, True))

    def attack(self, port, *octets):
        """The codes that one gets who sends this as a message, and leaves."""
        codes = []
        with puppet.client(port) as c:
            c.reply()
            c.send(EHLO)
            c.reply()
            c.send(MAIL + RCPT + (b"" if octets[0].startswith(b"BDAT") else DATA))
            c.codes(2)
            with sending(functools.partial(self.push, c), *octets, b"QUIT\r\n"), \
                    contextlib.suppress(ConnectionResetError):
                while reply := c.reply():
                    codes.append(int(reply[:3]))
        return codes

    def push(self, client, octets):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(octets)

    def check(self, size_limit, *octets):
        with exim.Exim(size_limit) as server:
            self.attack(server.port, *octets)
            hidden, = server.mails(1, mailserver.FAR)
            self.assertIn(b"\r\nSubject: smuggled\r\n", hidden)
            known = len(server.recipients())
            for body in BODIES:
                with case(body), self.caronte(server, **{body: True}) as daemon:
                    codes = self.attack(daemon.port, *octets)
                    # (What comes behind a refused chunk is refused, too.)
                    self.assertEqual([code for code in codes if code not in (250, 354, 503)],
                                     self.by_dialog([552, 421], [552, 221]))
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        client.send_message(HEAD + b"\r\n")
                        client.quit()
                    self.assertEqual([record.get("reply")[:3] for record in
                                      daemon.records("message", count=2)], ["552", "250"])
            self.assertEqual(len(server.mails(len(BODIES))), len(BODIES))
            self.assertEqual(len(server.mails(1, mailserver.FAR)), 1)
            self.assertEqual(server.recipients()[known:],
                             [RCPT.decode().strip()] * 2 * len(BODIES))

    def fill(self, begin, size):
        return begin + b"x" * (size - len(begin))

    def test_header(self):
        text = self.fill(b"X: ", 1 << 20) + b".\r\n"
        self.check(0, text + self.COMMANDS + b"\r\n.\r\n")

    def test_size(self):
        """Exim does not count the CRs, of which there are three."""
        text = self.fill(b"Subject: t\r\n\r\n", self.LIMIT + 3) + b".\r\n"
        self.check(self.LIMIT, text + self.COMMANDS + b"\r\n.\r\n")

    def test_size_of_chunks(self):
        text = self.fill(b"From: a@client.test\r\nSubject: t\r\n\r\n", self.LIMIT + 4)
        self.check(self.LIMIT, bdat(text), bdat(b"Z" + self.COMMANDS))


class OpenSmtpd(Tests, test_delivery.Delivery):
    server = opensmtpd.OpenSmtpd
    TAKEN = HEAD, b"\r\n.\0\r\n"

    def test_chunks_are_not_offered(self):
        with self.server() as server, self.caronte(server) as daemon:
            with harness.Client(daemon.port) as client:
                self.assertNotIn("CHUNKING", client.hello())
                client.envelope()
                client.send(bdat(EVIL, True))
                self.assertEqual(client.reply()[:9], b"502 5.5.1")
                self.assertEqual(client.rest(), b"")
            self.assertEqual(server.mails(), [])
            self.check_unharmed(server, [RCPT.decode().strip()])

    def test_a_client_that_does_not_wait(self):
        """Pipelining is not offered, and what is sent ahead all the same is answered in order."""
        with self.server() as server, self.caronte(server) as daemon:
            with harness.Client(daemon.port) as client:
                self.assertNotIn("PIPELINING", client.hello())
                for _ in range(3):
                    client.send(MAIL + RCPT * 20 + DATA)
                    self.assertEqual(client.codes(22), [250] * 21 + [354])
                    client.send(HEAD + b"\r\n.\r\nNOOP\r\n")
                    self.assertEqual(client.codes(2), [250, 250])
                client.quit()
            self.assertEqual(self.bodies(server, 60), {b"seen\r\n": 60})
