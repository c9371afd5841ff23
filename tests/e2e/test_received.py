# SPDX-License-Identifier: ISC
"""ADD_RECEIVED: the trace on top of a message, and nothing else of it changed."""
import email.utils
import re

import harness
import tls
from puppet import case

TRACE = re.compile(rb"Received: from (\S+) \(\[127\.0\.0\.1\]\)\r\n"
                   rb"\tby caronte\.test \(Caronte\) with (\S+) id ([0-9a-f]+-[0-9a-f]+\.\d+);\r\n"
                   rb"\t(.*)\r\n")
BODY = b"Subject: t\r\n\r\n.dot\r\ntext\r\n"


class Received(tls.TlsCase):
    def parted(self, mail):
        """The words of the trace, and the message behind it."""
        found = TRACE.match(mail)
        self.assertIsNotNone(found, mail[:400])
        self.assertIsNotNone(email.utils.parsedate_to_datetime(found[4].decode()))
        return found, mail[found.end():]

    def test_each_way(self):
        ways = [{"DATA_AS_BDAT": chunks, **body} for chunks in (True, False)
                for body in ({}, {"BODY_COPY": True}, {"BODY_SPLICE": True},
                             {"BARE_NEWLINE_NORMALIZE": True})]
        bodies = [BODY, b"", b"\r\n", b".\r\n", b"S: t\r\n\r\n" + b"0123456789\r\n" * 60000]
        for way in ways:
            with case(way), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, ADD_RECEIVED=True, **way) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                for body in bodies:
                    self.assertEqual(client.send_message(body)[:3], b"250")
                client.quit()
                session = daemon.record("session").get("session")
                for number, (mail, body) in enumerate(zip(sink.mails(), bodies), 1):
                    found, rest = self.parted(mail)
                    self.assertEqual(rest, body)
                    self.assertEqual((found[1], found[2]), (b"client.test", b"ESMTP"))
                    self.assertEqual(found[3].decode(), "%s.%d" % (session, number))

    def test_octet_by_octet(self):
        """A message that begins with the end of data, and with half of it."""
        for chunks in True, False:
            for body in b"\r\n", b".\r\n", b"a\r\n":
                with case(chunks, body), harness.Sink(maildir=True) as sink, \
                        self.caronte(sink, ADD_RECEIVED=True, DATA_AS_BDAT=chunks) as daemon, \
                        harness.Client(daemon.port) as client:
                    client.hello()
                    client.envelope()
                    client.command("DATA", 354)
                    for octet in re.sub(rb"(?m)^\.", b"..", body) + b".\r\n":
                        client.send(bytes([octet]))
                    self.assertEqual(client.reply()[:3], b"250")
                    # A stuffed dot that comes alone may have a blank behind it: the trace is closed
                    # by an empty line.
                    alone = not chunks and body[:1] == b"."
                    self.assertIn(self.parted(sink.mails()[0])[1],
                                  (body, b"\r\n" + body) if alone else (body,))

    def test_names(self):
        """Nobody writes a header by a name."""
        names = {"client.test": b"client.test", "[192.0.2.9]": b"[192.0.2.9]",
                 "[IPv6:2001:db8::1]": b"[IPv6:2001:db8::1]", "a_b-c.test": b"a_b-c.test",
                 "(none)": None, "x;y": None, "M\xdcLLER-PC": None, "a\\": None, "a,b": None,
                 "[192.0.2.9": None, "[]": None, "[a b]": None, "<a@b>": None,
                 "x" * 255: b"x" * 255}
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, ADD_RECEIVED=True) as daemon:
            told = []
            for name, word in names.items():
                with case(name), harness.Client(daemon.port) as client:
                    client.reply()
                    if client.command(b"EHLO " + name.encode("latin-1"))[:3] != b"250":
                        continue
                    self.assertEqual(client.send_message(BODY)[:3], b"250")
                    told.append(word or b"[127.0.0.1]")
            self.assertGreater(len(told), 10)
            self.assertEqual(sorted(self.parted(mail)[0][1] for mail in sink.mails()), sorted(told))

    def test_protocols(self):
        with harness.Sink("--auth", "joe:secret", maildir=True) as sink, \
                self.caronte(sink, ADD_RECEIVED=True,
                             TLS_REQUIRED_FOR_LOGIN=False) as daemon:
            for how in "HELO", "EHLO", "TLS", "AUTH", "TLS AUTH":
                with case(how), tls.Secure(daemon.port) as client:
                    client.reply()
                    client.command("%s client.test" % ("HELO" if how == "HELO" else "EHLO"), 250)
                    if "TLS" in how:
                        client.command("STARTTLS", 220)
                        client.shake(tls.context())
                        client.command("EHLO client.test", 250)
                    if "AUTH" in how:
                        client.command("AUTH PLAIN AGpvZQBzZWNyZXQ=", 235)
                    self.assertEqual(client.send_message(BODY)[:3], b"250")
                    client.quit()
            self.assertEqual(sorted(self.parted(mail)[0][2] for mail in sink.mails()),
                             [b"ESMTP", b"ESMTPA", b"ESMTPS", b"ESMTPSA", b"SMTP"])

    def test_counts_as_the_message(self):
        """A message that fits without it may not fit with it."""
        for chunks in True, False:
            with case(chunks), harness.Sink("--ext", "SIZE 1000", *["--ext", "CHUNKING"] * chunks,
                                            maildir=True) as sink, \
                    self.caronte(sink, ADD_RECEIVED=True, DATA_AS_BDAT=chunks) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                line = b"x" * 98 + b"\r\n"
                self.assertEqual(client.send_message(line * 8)[:3], b"250")
                self.assertEqual(client.send_message(line * 10)[:3], b"552")

    def test_no_chunks_of_the_client(self):
        """They would go on as they come, with whatever trace they bring along."""
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, ADD_RECEIVED=True) as daemon, \
                harness.Client(daemon.port) as client:
            self.assertEqual([line for line in client.hello()
                              if "CHUNKING" in line or "BINARYMIME" in line], [])
            client.envelope()
            client.send(b"BDAT %d LAST\r\n%s" % (len(BODY), BODY))
            self.assertEqual(client.reply()[:1], b"5")
            self.assertEqual(client.rest(), b"")
            self.assertEqual(sink.mails(), [])

    def test_message_that_goes_on(self):
        """Its first line is no more of the trace."""
        for first in b" (helo=x) from [203.0.113.99]", b"\tby x", b". by x":
            for chunks in True, False:
                with case(first, chunks), harness.Sink(maildir=True) as sink, \
                        self.caronte(sink, ADD_RECEIVED=True, DATA_AS_BDAT=chunks) as daemon, \
                        harness.Client(daemon.port) as client:
                    client.hello()
                    body = first + b"\r\n" + BODY
                    client.envelope()
                    client.command("DATA", 354)
                    client.send(body + b".\r\n")
                    self.assertEqual(client.reply()[:3], b"250")
                    head, _, rest = sink.mails()[0].partition(b"\r\n\r\n")
                    self.assertRegex(head, rb"(?s)^Received: from .*;\r\n\t[^\r\n]*\+0000$")
                    self.assertEqual(rest, re.sub(rb"(?m)^\.", b"", body))

    def test_off(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                harness.Client(daemon.port) as client:
            client.hello()
            self.assertEqual(client.send_message(BODY)[:3], b"250")
            self.assertEqual(sink.mails(), [BODY])
