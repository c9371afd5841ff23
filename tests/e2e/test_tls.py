# SPDX-License-Identifier: ISC
"""TLS with clients: STARTTLS and what may not slip past it, ends that are none, records of every
kind, certificates, and what the log says."""
import base64
import json
import os
import pathlib
import smtplib
import socket
import ssl
import struct
import subprocess
import time

import harness
import libssl
import puppet
import tls
from puppet import RESET, case
from tls import Secure, TlsCase

BODY = b"Subject: x\r\n\r\n" + b"".join(b"line %d of a message\r\n" % i for i in range(200))
TAKEN = rb"^250 2\.0\.0 Ok"


def body(octets, seed=7):
    """Lines of base64, as an attachment has them."""
    line = bytes(65 + (i * seed) % 26 for i in range(76)) + b"\r\n"
    return b"Subject: large\r\n\r\n" + line * (octets // len(line))


class Delivery(TlsCase):
    def test_versions_and_sizes(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            sizes = (100, 16 << 10, 200 << 10, 3 << 20)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                for size in sizes:
                    with case(version, size), Secure(daemon.port) as client:
                        client.secured(tls.context(version))
                        self.assertEqual(client.tls.version(),
                                         {771: "TLSv1.2", 772: "TLSv1.3"}[version])
                        self.assertRegex(client.send_message(body(size)), TAKEN)
                        client.quit()
            mails = sink.mails()
            self.assertEqual(sorted(map(len, mails)),
                             sorted([len(body(size)) for size in sizes] * 2))
            self.assertEqual(set(mails), {body(size) for size in sizes})
            sessions = daemon.records("session", count=8)
            self.assertEqual({each.get("tls") for each in sessions}, {"TLSv1.2", "TLSv1.3"})
            self.assertEqual({each.get("sni") for each in sessions}, {"mx.test"})
            self.assertEqual({each.get("end") for each in sessions}, {"quit"})

    def test_chunks(self):
        """BDAT, whose octets no kernel may move."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            client.envelope()
            mail = body(300 << 10)
            client.send(b"BDAT 100000\r\n" + mail[:100000])
            self.assertRegex(client.reply(), rb"^250 ")
            client.send(b"BDAT %d LAST\r\n" % (len(mail) - 100000) + mail[100000:])
            self.assertRegex(client.reply(), TAKEN)
            client.quit()
            self.assertEqual(sink.mails(), [mail])

    def test_pipelined(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@local.test>\r\n"
                        b"RCPT TO:<c@stranger.test>\r\nDATA\r\n")
            self.assertEqual([client.reply()[:3] for _ in range(4)],
                             [b"250", b"250", b"550", b"354"])
            client.send(BODY + b".\r\nQUIT\r\n")
            self.assertRegex(client.reply(), TAKEN)
            self.assertEqual(client.reply()[:3], b"221")
            self.assertEqual(client.rest(), b"")
            self.assertEqual(sink.mails(), [BODY])

    def test_goodbye(self):
        """Our end is said (RFC 8446 6.1), after 221 as after last words."""
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            for last, code in (b"QUIT\r\n", b"221"), (b"GET / HTTP/1.0\r\n", b"521"):
                with case(version, last), harness.Sink() as sink, \
                        self.caronte(sink) as daemon, Secure(daemon.port) as client:
                    client.secured(tls.context(version))
                    client.send(last)
                    self.assertEqual(client.reply()[:3], code)
                    self.assertEqual(client.tls_read(), b"")

    def test_quit_without_close_notify_is_no_fault(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            client = smtplib.SMTP("127.0.0.1", daemon.port, "client.test",
                                  timeout=harness.PATIENCE_S)
            client.starttls(context=tls.context())
            client.sendmail("a@client.test", ["b@local.test"], "Subject: x\r\n\r\nx\r\n")
            client.quit()
            self.assertEqual(daemon.record("session").get("end"), "quit")
            self.assertEqual(daemon.records("fault"), [])


class Injection(TlsCase):
    """One octet more behind STARTTLS, and the words of a secure session would be somebody else's
    (CVE-2011-0411 and its like)."""

    def refused(self, daemon, sink, *pieces):
        with Secure(daemon.port) as client:
            client.hello()
            for piece in pieces:
                client.send(piece)
                time.sleep(0.05 * (len(pieces) > 1))
            self.ended(client, daemon)
        self.assertNotIn("MAIL", {line.split()[0] for line in sink.commands()})

    def ended(self, client, daemon):
        """Without a word of TLS."""
        said = client.rest()  # it may be reset, with octets of ours unread
        self.assertTrue(said is RESET or b"220 " not in said, said)
        self.assertEqual(daemon.record("session", end="protocol").get("reason"),
                         "starttls-injection")
        self.assertEqual(len(daemon.records("fault", what="starttls-injection", count=1)), 1)

    def test_starttls_injected_command_same_segment(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.refused(daemon, sink, b"STARTTLS\r\nMAIL FROM:<a@client.test>\r\n")

    def test_starttls_injected_command_next_segment_before_220(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, Secure(daemon.port) as client:
            client.hello()
            with harness.frozen(*daemon.workers()):  # they see nothing for a while
                client.send(b"STARTTLS\r\n")
                time.sleep(0.05)
                client.send(b"MAIL FROM:<evil@client.test>\r\n")
                time.sleep(0.05)
            self.ended(client, daemon)
            self.assertFalse([line for line in sink.commands() if "evil" in line])

    def test_starttls_injected_command_next_segment_while_it_waits(self):
        """The 220 cannot be said yet, since the destination owes an answer: what comes by then
        stays in the kernel."""
        if self.gateway:
            self.skipTest("where no destination owes anything then")
        with puppet.Destination() as destination, self.caronte(destination) as daemon, \
                Secure(daemon.port) as client:
            server = destination.accept()
            server.send(puppet.GREETING)
            client.reply()
            client.send(puppet.EHLO)
            server.expect(puppet.EHLO)
            server.send(puppet.EXTENSIONS)
            client.reply()
            client.send(b"NOOP\r\nSTARTTLS\r\n")
            server.expect(b"NOOP\r\n")
            client.send(b"MAIL FROM:<evil@client.test>\r\n")
            time.sleep(0.1)
            server.send(puppet.OK)
            self.assertEqual(client.reply(), puppet.OK)
            self.ended(client, daemon)
            self.assertNotIn(b"evil", server.rest())
            server.close()

    def test_starttls_injected_command_split_mid_line(self):
        """In the middle of STARTTLS, and of what comes behind it."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.refused(daemon, sink, b"STARTT", b"LS\r\nMAIL FR", b"OM:<a@client.test>\r\n")

    def test_starttls_injected_command_ehlo_starttls_mail_pipelined(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.refused(daemon, sink, b"EHLO x.test\r\nSTARTTLS\r\nMAIL FROM:<a@client.test>\r\n")

    def test_starttls_one_octet(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.refused(daemon, sink, b"STARTTLS\r\n\r")

    def test_starttls_then_plain_ehlo(self):
        """Words in clear behind the 220 are no ClientHello."""
        with harness.Sink() as sink, self.caronte(sink) as daemon, Secure(daemon.port) as client:
            client.hello()
            client.command("STARTTLS", 220)
            client.send(b"EHLO second.test\r\nMAIL FROM:<a@client.test>\r\n")
            self.assertIn(client.rest(), (b"", RESET))
            self.assertEqual(daemon.record("fault").get("detail"), "not-tls")
            daemon.record("session")
            self.assertNotIn("EHLO second.test", sink.commands())

    def test_end_behind_starttls_is_no_injection(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with Secure(daemon.port) as client:
                client.hello()
                client.send(b"STARTTLS\r\n")
                client.socket.shutdown(socket.SHUT_WR)
                self.assertIn(client.rest(), (b"", b"220 2.0.0 Ready to start TLS\r\n"))
            self.assertEqual(daemon.record("session").get("end"), "lost-client")
            self.assertEqual(daemon.records("fault", what="starttls-injection"), [])

    def test_starttls_injected_command_next_segment(self):
        """Whether it comes before the 220 or behind it: nothing of it reaches anybody."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            for delay in (0, 0.0001, 0.0005, 0.001, 0.003):
                with case(delay), Secure(daemon.port) as client:
                    client.hello()
                    client.send(b"STARTTLS\r\n")
                    time.sleep(delay)
                    client.send(b"MAIL FROM:<evil@client.test>\r\n")
                    self.assertIn(client.rest(),
                                  (b"", RESET, b"220 2.0.0 Ready to start TLS\r\n"))
            daemon.records("session", count=5)
            self.assertFalse([line for line in sink.commands() if "evil" in line])


class Order(TlsCase):
    LOGIN = "AUTH PLAIN AGpvZQBzZWNyZXQ="

    def test_ehlo_capabilities_stripped_and_restored(self):
        with harness.Sink("--auth", "joe:secret") as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            clear = client.hello()
            self.assertIn("STARTTLS", clear)
            self.assertFalse([line for line in clear if line.startswith("AUTH")])
            client.begin_tls()
            secure = client.hello_again()
            self.assertNotIn("STARTTLS", secure)
            self.assertIn("AUTH PLAIN LOGIN", secure)
            self.assertEqual(set(clear) - {"STARTTLS"}, set(secure) - {"AUTH PLAIN LOGIN"})
            client.command(self.LOGIN, 235)
            client.quit()
            self.assertEqual(daemon.record("login").get("tls"), "yes")

    def test_starttls_twice(self):
        """Over TLS it comes too late, and two in clear are one and an injected one."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with Secure(daemon.port) as client:
                client.secured()
                client.command("STARTTLS", 503)
                self.assertRegex(client.send_message(BODY), TAKEN)
                client.quit()
            with Secure(daemon.port) as client:
                client.hello()
                client.send(b"STARTTLS\r\nSTARTTLS\r\n")
                self.assertIn(client.rest(), (b"", RESET))
            self.assertEqual(daemon.record("session", end="protocol").get("reason"),
                             "starttls-injection")

    def test_starttls_with_argument(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, Secure(daemon.port) as client:
            client.hello()
            for argument in "now", "TLSv1.3 now", ";":
                client.command("STARTTLS " + argument, 501)
            client.begin_tls()
            client.hello_again()
            self.assertRegex(client.send_message(BODY), TAKEN)
            client.quit()

    def test_starttls_after_login(self):
        """Who has logged in in clear, where that is allowed, cannot begin anew."""
        with harness.Sink("--auth", "joe:secret") as sink, \
                self.caronte(sink, TLS_REQUIRED_FOR_LOGIN=False) as daemon:
            for first in False, True:
                with case(first), Secure(daemon.port) as client:
                    client.secured() if first else client.hello()
                    client.command(self.LOGIN, 235)
                    client.command("STARTTLS", 503)
                    client.command("STARTTLS now", 503)
                    self.assertRegex(client.send_message(BODY, recipients=["b@elsewhere.test"]),
                                     TAKEN)
                    client.quit()

    def test_starttls_in_transaction(self):
        """It is refused, and the transaction goes on in clear."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", 250)
            client.command("STARTTLS", 503)
            client.command("RCPT TO:<b@local.test>", 250)
            client.command("STARTTLS", 503)
            client.command("DATA", 354)
            client.send(BODY + b".\r\n")
            self.assertRegex(client.reply(), TAKEN)
            self.assertEqual(sink.mails(), [BODY])
            client.begin_tls()
            client.hello_again()
            client.quit()

    def test_mail_without_new_ehlo(self):
        """EHLO from before the handshake was somebody's, and not the secure session's."""
        with harness.Sink() as sink, self.caronte(sink) as daemon, Secure(daemon.port) as client:
            client.hello("first.test")
            client.begin_tls()
            client.command("MAIL FROM:<a@client.test>", 503)
            client.hello_again("second.test")
            self.assertRegex(client.send_message(BODY), TAKEN)
            client.quit()
            self.assertEqual(sum(line.startswith("MAIL") for line in sink.commands()), 1)

    def test_plus_and_external_never_offered(self):
        """A destination may offer them, in clear and over TLS: whose certificate, and whose channel
        they stand for, it cannot know."""
        offer = b"250-puppet.test\r\n250-AUTH EXTERNAL SCRAM-SHA-256-PLUS PLAIN\r\n" \
            b"250-AUTH=EXTERNAL SCRAM-SHA-1-PLUS PLAIN\r\n250 8BITMIME\r\n"
        with puppet.Destination(extensions=offer) as destination, \
                self.caronte(destination, TLS_REQUIRED_FOR_LOGIN=False) as daemon, \
                Secure(daemon.port) as client:
            server = None if self.gateway else destination.accept()
            for begin in client.reply, client.begin_tls:
                if server and begin == client.reply:
                    server.send(puppet.GREETING)
                begin()
                client.send(puppet.EHLO)
                if server:
                    server.expect(puppet.EHLO)
                    server.send(offer)
                said = client.reply()
                self.assertRegex(said, rb"250.AUTH PLAIN\r\n")
                self.assertNotIn(b"EXTERNAL", said)
                self.assertNotIn(b"PLUS", said)
                for name in "EXTERNAL", "SCRAM-SHA-256-PLUS", "scram-sha-1-plus":
                    client.command("AUTH %s AAAA" % name, 504)
            if server:
                self.assertTrue(server.silent(0.1))
                server.close()

    def test_auth_in_clear_530_nothing_reaches_destination(self):
        with harness.Sink("--auth", "joe:secret") as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.hello()
            client.command(self.LOGIN, 530)
            client.command("AUTH LOGIN", 530)
            client.quit()
            daemon.record("session")
            self.assertFalse([line for line in sink.commands() if line.startswith("AUTH")])
            self.assertNotIn(b"AGpvZQ", sink.raw() if sink.commands() else b"")
            self.assertEqual(daemon.records("login"), [])

    def test_credentials_of_refused_auth_not_logged(self):
        """Neither behind AUTH nor in a line of their own."""
        words = [base64.b64encode(each).decode() for each in (b"joe", b"secret of joe")]
        with harness.Sink("--auth", "joe:secret") as sink, \
                self.caronte(sink, LOG_LEVEL=3) as daemon, Secure(daemon.port) as client:
            client.hello()
            client.command("AUTH PLAIN " + words[1], 530)
            client.command("AUTH LOGIN", 530)
            for word in words:  # it waits for no answer, as some do
                client.command(word, 500)
            client.quit()
            daemon.record("session")
            logged = daemon.log.read_bytes()
            self.assertIn(b"AUTH", logged)
            for word in words:
                self.assertNotIn(word.encode(), logged)

    def test_login_in_clear_where_it_may(self):
        with harness.Sink("--auth", "joe:secret") as sink, \
                self.caronte(sink, TLS_REQUIRED_FOR_LOGIN=False) as daemon, \
                Secure(daemon.port) as client:
            self.assertIn("AUTH PLAIN LOGIN", client.hello())
            client.command("AUTH PLAIN AGpvZQBzZWNyZXQ=", 235)
            client.quit()
            self.assertEqual(daemon.record("login").get("tls"), "no")

    def test_state_before_tls_forgotten(self):
        """EHLO, sender, recipients and size from before do not count, nor does a login that was
        tried."""
        with harness.Sink("--auth", "joe:secret", maildir=True) as sink, \
                self.caronte(sink, TLS_REQUIRED_FOR_LOGIN=False) as daemon, \
                Secure(daemon.port) as client:
            client.hello("first.test")
            client.command("MAIL FROM:<first@client.test> SIZE=20", 250)
            client.command("RCPT TO:<first@local.test>", 250)
            client.command("RSET", 250)
            client.command("AUTH PLAIN AGpvZQB3cm9uZw==", 535)
            client.begin_tls()
            client.command("RCPT TO:<b@local.test>", 503)
            client.command("DATA", 503)
            client.hello_again("second.test")
            client.command("RCPT TO:<b@local.test>", 503)
            client.command("MAIL FROM:<a@client.test>", 250)
            client.command("RCPT TO:<b@elsewhere.test>", 550)
            client.command("DATA", 554)
            client.command("RSET", 250)
            self.assertRegex(client.send_message(BODY), TAKEN)
            client.quit()
            self.assertEqual(sink.mails(), [BODY])
            self.assertEqual(daemon.record("session").get("helo"), "second.test")
            told = daemon.records("message", count=1)[-1]
            self.assertEqual(told.get("sender"), "a@client.test")

    def test_clients_required(self):
        with harness.Sink() as sink, \
                self.caronte(sink, TLS_CLIENTS_REQUIRED=True) as daemon, \
                Secure(daemon.port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", 530)
            client.begin_tls()
            client.hello_again()
            self.assertRegex(client.send_message(BODY), TAKEN)
            client.quit()

    def test_relaying_is_denied(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, Secure(daemon.port) as client:
            client.secured()
            client.command("MAIL FROM:<a@client.test>", 250)
            self.assertEqual(client.command("RCPT TO:<x@stranger.test>"),
                             b"550 5.7.1 Relaying denied. \r\n")
            client.quit()


class Cut(TlsCase):
    """A message that was cut off is none, however its connection ended."""

    def cut(self, end, before=BODY, begin=b"DATA\r\n", how=None):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            with Secure(daemon.port) as client:
                client.secured(how)
                client.envelope()
                client.send(begin)
                if begin.startswith(b"DATA"):
                    self.assertEqual(client.reply()[:3], b"354")
                client.send(before)
                time.sleep(0.1)
                end(client)
                said = client.rest()
                self.assertTrue(said is RESET or b"250" not in said, said)
            self.assertIn(daemon.record("session").get("end"), ("lost-client", "protocol"))
            self.assertEqual(sink.mails(), [])
            self.assertEqual(daemon.records("message", reply=None, verdict="accept"), [])

    def test_fin_in_body(self):
        self.cut(lambda client: client.socket.shutdown(socket.SHUT_WR))

    def test_close_notify_in_body(self):
        def end(client):
            try:
                client.tls.unwrap()
            except ssl.SSLError:
                pass
            client.flush()
            client.socket.shutdown(socket.SHUT_WR)
        self.cut(end)

    def test_rst_in_body(self):
        def end(client):
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()
            client.rest = bytes
        self.cut(end)

    def test_fin_mid_bdat(self):
        for last in b"", b" LAST":
            with case(last):
                self.cut(lambda client: client.socket.shutdown(socket.SHUT_WR),
                         begin=b"BDAT %d%s\r\n" % (len(BODY) + 1, last))

    def test_close_notify_then_data(self):
        """What comes behind the last word is none (RFC 8446 6.1), and completes nothing."""
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            for begin, rest in (b"DATA\r\n", b".\r\n"), (
                    b"BDAT %d LAST\r\n" % (len(BODY) + 1), b"x"):
                def end(client, rest=rest):
                    client.tls.unwrap()
                    client.socket.sendall(client.outgoing.read() + client.records(rest))
                with case(version, begin):
                    self.cut(end, begin=begin, how=libssl.Context(version))

    def test_fin_inside_record(self):
        def end(client):
            client.socket.sendall(client.records(b".\r\n")[:-3])
            client.socket.shutdown(socket.SHUT_WR)
        self.cut(end)

    def test_bad_mac_in_body(self):
        def end(client):
            record = bytearray(client.records(b".\r\n"))
            record[-1] ^= 1
            client.socket.sendall(record)
            client.rest()
        self.cut(end)

    def test_fin_between_dot_and_reply(self):
        """It is answered all the same: there is a whole message, and it is delivered once."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            with Secure(daemon.port) as client:
                client.secured()
                client.envelope()
                client.command("DATA", 354)
                client.send(BODY + b".\r\n")
                client.socket.shutdown(socket.SHUT_WR)
                self.assertRegex(client.reply(), TAKEN)
            daemon.record("session")
            self.assertEqual(sink.mails(), [BODY])


class Records(TlsCase):
    def deliver(self, send, mail=BODY):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            client.envelope()
            client.command("DATA", 354)
            send(client, mail + b".\r\n")
            self.assertRegex(client.reply(), TAKEN)
            client.quit()
            self.assertEqual(sink.mails(), [mail])

    def test_16K_records(self):
        """The largest that there may be."""
        def send(client, octets):
            for at in range(0, len(octets), 16384):
                record = client.records(octets[at:at + 16384])
                self.assertEqual(len(record), 5 + 16384 + 17)
                client.socket.sendall(record)
        line = b"x" * 62 + b"\r\n"
        self.deliver(send, b"Subject: x\r\n\r\n" + (5 * 16384 - 17) // 64 * line +
                     b"y" * 45 + b"\r\n")

    def test_record_across_blocks(self):
        """Records of which none ends where a buffer of the reader's does."""
        def send(client, octets):
            client.socket.sendall(b"".join(client.records(octets[at:at + 10007])
                                           for at in range(0, len(octets), 10007)))
        self.deliver(send, body(1 << 20))

    def test_one_octet_records_body(self):
        def send(client, octets):
            client.socket.sendall(b"".join(client.records(octets[i:i + 1])
                                           for i in range(len(octets))))
        self.deliver(send)

    def test_one_octet_segments(self):
        """Records that come octet by octet."""
        def send(client, octets):
            for octet in client.records(octets[:-40]):
                client.socket.sendall(bytes([octet]))
            client.send(octets[-40:])
        self.deliver(send)

    def test_part_of_a_record_in_a_chunk(self):
        """Who waits for the rest of it sleeps."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink, WORKERS=1) as daemon:
            worker, = daemon.workers()
            for part in (1, 3, 5, 6, 20):
                with case(part), Secure(daemon.port) as client:
                    client.secured()
                    client.envelope()
                    client.send(b"BDAT %d LAST\r\n" % len(BODY))
                    time.sleep(0.1)
                    records = client.records(BODY)
                    client.socket.sendall(records[:part])
                    before = harness.processor_s(worker)
                    time.sleep(0.5)
                    self.assertLess(harness.processor_s(worker) - before, 0.25)
                    client.socket.sendall(records[part:])
                    self.assertRegex(client.reply(), TAKEN)
                    client.quit()

    def test_CR_LF_split(self):
        """Each CR ends a record, and its LF begins the next one; an octet of another kind between
        them does not go through."""
        def send(client, octets):
            *lines, _ = octets.split(b"\r\n")
            client.socket.sendall(b"".join(
                client.records((b"\n" if i else b"") + line + b"\r")
                for i, line in enumerate(lines)) + client.records(b"\n"))
        self.deliver(send)
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            client.envelope()
            client.command("DATA", 354)
            client.socket.sendall(b"".join(map(client.records, (
                BODY + b"one\r", b"\n.\r", b"x\r\n.\r", b"\n"))))
            self.assertRegex(client.reply(), rb"^5")
            self.assertEqual(sink.mails(), [])

    def test_dot_split_over_records(self):
        for cut in range(1, 5):
            def send(client, octets, cut=cut):
                client.send(octets[:-cut])
                time.sleep(0.05)
                client.send(octets[-cut:])
            with case(cut):
                self.deliver(send)

    def test_all_in_one(self):
        """Commands and message in one record."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            client.envelope()
            client.send(b"BDAT %d LAST\r\n" % len(BODY) + BODY + b"NOOP\r\nQUIT\r\n")
            self.assertRegex(client.reply(), TAKEN)
            self.assertEqual(client.reply()[:3], b"250")
            self.assertEqual(client.reply()[:3], b"221")
            self.assertEqual(sink.mails(), [BODY])


class Handshakes(TlsCase):
    def refused(self, how, detail, **settings):
        with harness.Sink() as sink, self.caronte(sink, **settings) as daemon:
            with Secure(daemon.port) as client:
                client.hello()
                client.command("STARTTLS", 220)
                try:
                    client.shake(how)
                except (ssl.SSLError, OSError):
                    pass
                else:
                    self.fail("it was not refused")
                finally:
                    client.tls = None
            self.assertRegex(daemon.record("fault", what="tls-handshake").get("detail"), detail)
            daemon.record("session")

    def test_p384_only_client_refused(self):
        self.refused(tls.context(ssl.TLSVersion.TLSv1_3, "secp384r1"), "^cipher")

    def test_version(self):
        self.refused(tls.context(ssl.TLSVersion.TLSv1_2), "^version", TLS_MIN_VERSION_1_3=True)

    def test_handshake_slow_drip_deadline(self):
        """TIMEOUT_TLS is for the whole of it, not for each octet."""
        with harness.Sink() as sink, self.caronte(sink, TIMEOUT_TLS=2) as daemon:
            with Secure(daemon.port) as client:
                client.hello()
                client.command("STARTTLS", 220)
                began = time.monotonic()
                hello = b"\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x03\x03" + bytes(300)
                try:
                    for octet in hello:
                        client.socket.sendall(bytes([octet]))
                        time.sleep(0.1)
                    self.fail("it went on")
                except OSError:
                    pass
                self.assertGreater(time.monotonic() - began, 1.9)
                self.assertLess(time.monotonic() - began, harness.SOON_S)
            self.assertEqual(daemon.record("session").get("end"), "timeout")
            self.assertEqual(daemon.record("fault").get("detail"), "timeout")

    def test_slots_full_others_served(self):
        """Those that stop in a handshake take the places of others' for a while, and no more."""
        with harness.Sink() as sink, \
                self.caronte(sink, TIMEOUT_TLS=6, TLS_HANDSHAKES=8, WORKERS=1,
                             MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            hellos = [Secure(daemon.port) for _ in range(20)]
            for client in hellos:
                client.hello()
                client.command("STARTTLS", 220)
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                started = tls.context().wrap_bio(incoming, outgoing)
                try:
                    started.do_handshake()
                except ssl.SSLWantReadError:
                    client.socket.sendall(outgoing.read())
            time.sleep(3)  # it waits for the end of their time, and has as much after that
            with Secure(daemon.port) as client:
                client.secured()
                self.assertRegex(client.send_message(BODY), TAKEN)
                client.quit()
            for client in hellos:
                client.close()

    def test_resumption_across_workers(self):
        directory = self.new_dir("run")
        harness.give_to_user(directory)
        with harness.Sink() as sink, \
                self.caronte(sink, WORKERS=2, CONTROL_SOCKET=str(directory / "caronte")) as daemon:
            how = tls.context(ssl.TLSVersion.TLSv1_2)
            session = None
            for i in range(12):
                with Secure(daemon.port) as client:
                    client.hello()
                    client.begin_tls(how, session=session)
                    client.hello_again()
                    self.assertEqual(client.tls.session_reused, i > 0)
                    session = session or client.tls.session
                    client.quit()
            self.assertEqual(len(daemon.records("session", resumed="yes", count=11)), 11)
            done = harness.ctl("status", "--json", "-c", daemon.conf)
            self.assertEqual(json.loads(done.stdout)["handshakes"],
                             {"full": 1, "resumed": 11, "failed": 0})

    def test_per_address_rate(self):
        """Full ones alone count, and not those of relay networks; a refused client can go on in
        clear, and come back."""
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, TLS_HANDSHAKES_PER_ADDRESS=2) as daemon:
            how, session = tls.context(ssl.TLSVersion.TLSv1_2), None
            for resumed in False, True, True, False:
                with Secure(daemon.port) as client:
                    client.hello()
                    client.begin_tls(how, session=session if resumed else None)
                    client.hello_again()
                    session = session or client.tls.session
                    client.quit()
            with Secure(daemon.port) as client:
                client.hello()
                self.assertEqual(client.command("STARTTLS")[:10], b"454 4.7.0 ")
                self.assertRegex(client.send_message(BODY), TAKEN)
                self.assertEqual(client.command("STARTTLS")[:10], b"454 4.7.0 ")
            self.assertEqual(sink.mails(), [BODY])

    def test_relay_networks_are_not_counted(self):
        with harness.Sink() as sink, \
                self.caronte(sink, TLS_HANDSHAKES_PER_ADDRESS=1,
                             RELAY_NETWORKS=["127.0.0.0/8"]) as daemon:
            for _ in range(3):
                with Secure(daemon.port) as client:
                    client.secured()
                    client.quit()

    def test_no_tickets(self):
        with harness.Sink() as sink, self.caronte(sink, TLS_TICKET_HOURS=0) as daemon:
            how = tls.context(ssl.TLSVersion.TLSv1_2)
            session = None
            for _ in range(2):
                with Secure(daemon.port) as client:
                    client.hello()
                    client.begin_tls(how, session=session)
                    self.assertFalse(client.tls.session_reused)
                    session = client.tls.session
                    client.hello_again()
                    client.quit()


class Behind(TlsCase):
    """TLS that fails behind the handshake: the log says why the client is lost."""

    def told(self, daemon, what, detail):
        fault = daemon.record("fault", what=what)
        self.assertRegex(fault.get("detail"), detail)
        ended = daemon.record("session")
        self.assertEqual(fault.get("session"), ended.get("session"))
        self.assertEqual(fault.get("client"), ended.get("client"))

    def test_bad_record(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with Secure(daemon.port) as client:
                client.secured()
                record = bytearray(client.records(b"NOOP\r\n"))
                record[-1] ^= 1
                client.socket.sendall(record)
                self.assertEqual(client.rest(), b"")
            self.told(daemon, "tls-record", "^protocol: decryption failed")

    def test_certificate_is_not_taken(self):
        """In TLS 1.3 its alert comes behind our end of the handshake."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            how = tls.context(version)
            how.verify_mode = ssl.CERT_REQUIRED
            with case(version), harness.Sink() as sink, self.caronte(sink) as daemon:
                with Secure(daemon.port) as client:
                    client.hello()
                    client.command("STARTTLS", 220)
                    with self.assertRaises(ssl.SSLCertVerificationError):
                        client.shake(how)
                    client.flush()
                    client.tls = None
                self.told(daemon, "tls-handshake", "^certificate: .*alert unknown ca")

    def test_keyupdate_flood(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with subprocess.Popen(
                    ["openssl", "s_client", "-starttls", "smtp", "-tls1_3", "-connect",
                     "127.0.0.1:%d" % daemon.port], stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
                until = time.monotonic() + harness.PATIENCE_S
                while client.poll() is None and time.monotonic() < until:
                    try:
                        os.write(client.stdin.fileno(), b"k\n")
                    except BrokenPipeError:
                        break
                    time.sleep(0.02)
                client.kill()
            self.told(daemon, "tls-key-update", "^key-update$")


class Certificates(TlsCase):
    each_engine = False
    dialogs = ("sniff",)

    def pair(self, **how):
        return tls.make_pair(pathlib.Path(self.new_dir("made")), **how)

    def refused(self, chain, key, said):
        daemon = self.caronte("127.0.0.1:9", TLS_CERTIFICATE=str(chain), TLS_KEY=str(key),
                              LISTEN_PORT=harness.free_port())
        daemon.configure()
        done = harness.run_caronte("-c", daemon.conf, "-t")
        self.assertEqual(done.returncode, harness.EX_CONFIG, done.stderr)
        self.assertRegex(done.stderr, said)

    def test_wrong_pair(self):
        chain, key = self.pair()[0], self.pair()[1]
        self.refused(chain, key, "%s: the private key belongs to none of the certificates; the key "
                                 "is in %s\n" % (chain, key))

    def test_world_readable(self):
        chain, key = self.pair()
        key.chmod(0o644)
        self.refused(chain, key, "others than its owner and its group may read it")

    def test_half_written(self):
        chain, key = self.pair()
        chain.write_bytes(chain.read_bytes()[:-60])
        self.refused(chain, key, "cannot be read; it may be written just now")

    def test_two_of_a_kind(self):
        one, other = self.pair(), self.pair()
        self.refused("%s %s" % (one[0], other[0]), "%s %s" % (one[1], other[1]),
                     "one before it has the same kind of key, .* TLS_CERTIFICATE_DIR")

    def test_small_key(self):
        self.refused(*self.pair(kind="small"), "its key is too small for TLS_SECURITY_LEVEL")

    def test_rsa_and_ecdsa_by_sigalg(self):
        rsa, ec = self.pair(kind="rsa"), self.pair()
        with harness.Sink() as sink, \
                self.caronte(sink, TLS_CERTIFICATE="%s %s" % (rsa[0], ec[0]),
                             TLS_KEY="%s %s" % (rsa[1], ec[1])) as daemon:
            for cipher, kind in (("ECDHE-RSA-AES128-GCM-SHA256", "rsa"),
                                 ("ECDHE-ECDSA-AES128-GCM-SHA256", "ec")):
                with case(kind), Secure(daemon.port) as client:
                    how = tls.context(ssl.TLSVersion.TLSv1_2)
                    how.set_ciphers(cipher)
                    client.secured(how)
                    self.assertEqual(client.tls.cipher()[0], cipher)
                    client.quit()


class Peers(TlsCase):
    """Programs of others."""

    def test_openssl(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            for version in ("-tls1_2", "-tls1_3"):
                words = subprocess.run(
                    ["openssl", "s_client", "-starttls", "smtp", "-connect",
                     "127.0.0.1:%d" % daemon.port, version, "-quiet", "-ign_eof"],
                    input=b"EHLO client.test\r\nQUIT\r\n", capture_output=True,
                    timeout=harness.PATIENCE_S)
                with case(version):
                    self.assertIn(b"221 ", words.stdout)
            self.assertEqual([each.get("tls") for each in daemon.records("session", count=2)],
                             ["TLSv1.2", "TLSv1.3"])
