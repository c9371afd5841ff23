# SPDX-License-Identifier: ISC
"""LISTEN_TLS_PORT: TLS from the first octet on."""
import smtplib
import socket
import ssl
import time

import harness
import tls
from puppet import RESET, case
from tls import First, FirstCase, Secure

BODY = b"Subject: x\r\n\r\n" + b"".join(b"line %d of a message\r\n" % i for i in range(200))
TAKEN = rb"^250 2\.0\.0 Ok"


class Delivery(FirstCase):
    def test_both_ports(self):
        with harness.Sink("--auth", "joe:secret", maildir=True) as sink, \
                self.caronte(sink) as daemon:
            with First(daemon.port) as client:
                self.assertIn("AUTH PLAIN LOGIN", said := client.hello())
                self.assertNotIn("STARTTLS", said)
                client.command("STARTTLS", 503)
                self.assertRegex(client.send_message(BODY), TAKEN)
                client.quit()
            with Secure(daemon.port) as client:
                client.secured()
                self.assertRegex(client.send_message(BODY), TAKEN)
                client.quit()
            self.assertEqual(sink.mails(), [BODY] * 2)
            sessions = daemon.records("session", count=2)
            self.assertEqual([each.get("start") for each in sessions], ["implicit", "starttls"])
            self.assertEqual(daemon.records("fault"), [])

    def test_smtplib(self):
        with harness.Sink("--auth", "joe:secret", maildir=True) as sink, \
                self.caronte(sink) as daemon:
            with smtplib.SMTP_SSL("127.0.0.1", daemon.settings["LISTEN_TLS_PORT"], "client.test",
                                  context=tls.context(), timeout=harness.PATIENCE_S) as client:
                client.login("joe", "secret")
                client.sendmail("a@client.test", ["b@elsewhere.test"], "Subject: x\r\n\r\nx\r\n")
            self.assertEqual(len(sink.mails()), 1)
            self.assertEqual(daemon.record("login").get("tls"), "yes")
            self.assertEqual(daemon.record("session").get("end"), "quit")

    def test_relaying_is_denied(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, First(daemon.port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", 250)
            self.assertEqual(client.command("RCPT TO:<b@elsewhere.test>"),
                             b"550 5.7.1 Relaying denied. \r\n")

    def test_networks_of_the_operators(self):
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, RELAY_NETWORKS=["127.0.0.0/8"]) as daemon, \
                First(daemon.port) as client:
            client.hello()
            self.assertRegex(client.send_message(BODY, recipients=["b@elsewhere.test"]), TAKEN)

    def test_reload_keeps_it(self):
        directory = self.new_dir("run")
        chain, key = tls.make_pair(directory)
        harness.give_to_user(directory)
        harness.give_to_user(key)
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, CONTROL_SOCKET=str(directory / "caronte"),
                             TLS_CERTIFICATE=str(chain), TLS_KEY=str(key)) as daemon:
            with First(daemon.port) as early:
                early.hello()
                daemon.configure(MAX_ERRORS=7)
                done = harness.ctl("reload", "-c", daemon.conf)
                self.assertIn("reloaded, changed: MAX_ERRORS", done.stdout + done.stderr)
                self.assertRegex(early.send_message(BODY), TAKEN)
            with First(daemon.port) as late:
                late.hello()
                self.assertRegex(late.send_message(BODY), TAKEN)
            self.assertEqual(sink.mails(), [BODY] * 2)


class Door(FirstCase):
    """Who comes here and does not shake hands."""

    def refused(self, detail, octets, sink, daemon):
        with First(daemon.port, shakes=False) as client:
            client.socket.sendall(octets)
            said = client.rest()
            self.assertTrue(said is RESET or not said[:1].isdigit(), said)
        self.assertRegex(daemon.records("fault", what="tls-handshake", count=1)[-1].get("detail"),
                         detail)
        session = daemon.record("session")
        self.assertEqual((session.get("end"), session.get("messages")), ("lost-client", "0"))
        self.assertEqual(self.met(sink), 0)

    @staticmethod
    def met(sink):
        """How many sessions have come to the destination. (The gateway dialog learns by its own.)
        """
        return sum(line.startswith("EHLO client") for line in sink.transcript())

    def test_smtp_in_clear(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.refused("^not-tls$", b"EHLO client.test\r\n", sink, daemon)

    def test_http(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.refused("^not-tls$", b"GET / HTTP/1.1\r\n\r\n", sink, daemon)

    def test_clienthello_64K(self):
        """Of which the beginning says so."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.refused("^protocol$", b"\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03" +
                         bytes(8000), sink, daemon)

    def test_gone_before_a_word(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with First(daemon.port, shakes=False):
                pass
            self.assertEqual(daemon.record("session").get("end"), "lost-client")
            self.assertEqual(daemon.record("fault").get("detail"), "closed")
            with First(daemon.port) as client:
                client.hello()

    def test_silent(self):
        """It has TIMEOUT_TLS, is told nothing, and costs no destination anything."""
        with harness.Sink() as sink, self.caronte(sink, TIMEOUT_TLS=2) as daemon:
            with First(daemon.port, shakes=False) as client:
                began = time.monotonic()
                self.assertIn(client.rest(), (b"", RESET))
                self.assertGreater(time.monotonic() - began, 1.9)
            self.assertEqual(daemon.record("session").get("end"), "timeout")
            self.assertEqual(daemon.record("fault").get("detail"), "timeout")
            self.assertEqual(self.met(sink), 0)

    def test_clienthello_fragmented_1_octet(self):
        """In segments, and in records."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                First(daemon.port, shakes=False) as segments, \
                First(daemon.port, shakes=False) as records:
            segments.shake_slowly()
            records.shake_in_small_records()
            for client in segments, records:
                client.hello()
                self.assertRegex(client.send_message(BODY), TAKEN)
            self.assertEqual(sink.mails(), [BODY] * 2)

    def test_too_many_of_an_address(self):
        with harness.Sink() as sink, self.caronte(sink, MAX_SESSIONS_PER_ADDRESS=2) as daemon:
            others = [First(daemon.port) for _ in range(2)]
            for other in others:
                other.hello()
            with First(daemon.port, shakes=False) as client:
                self.assertIn(client.rest(), (b"", RESET))
            self.assertEqual(daemon.record("session").get("reason"), "MAX_SESSIONS_PER_ADDRESS")
            self.assertEqual(daemon.record("session").get("end"), "limit")
            for other in others:
                other.close()

    def test_stop_in_a_handshake(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, \
                First(daemon.port, shakes=False) as client:
            client.socket.sendall(b"\x16\x03\x01")
            began = time.monotonic()
            self.assertEqual(daemon.stop(), 0)
            self.assertLess(time.monotonic() - began, harness.SOON_S)
            self.assertIn(client.rest(), (b"", RESET))

    def test_alpn(self):
        """Another protocol's client is not served, one that names SMTP or nothing is."""
        for strict in (True, False):
            with case(strict), harness.Sink() as sink, \
                    self.caronte(sink, TLS_ALPN_STRICT=strict) as daemon:
                for names, good in ((["smtp"], True), (["h2", "esmtp"], True), ([], True),
                                    (["h2", "http/1.1"], not strict)):
                    with case(names), First(daemon.port, shakes=False) as client:
                        how = tls.context()
                        if names:
                            how.set_alpn_protocols(names)
                        if good:
                            client.shake(how)
                            client.hello()
                        else:
                            with self.assertRaises((ssl.SSLError, OSError)):
                                client.shake(how)
                            client.tls = None
                            self.assertRegex(daemon.record("fault").get("detail"), "^alpn")

    def test_alpn_of_another_with_starttls(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, Secure(daemon.port) as client:
            how = tls.context()
            how.set_alpn_protocols(["h2"])
            client.secured(how)


class Settings(FirstCase):
    each_engine = False
    dialogs = ("sniff",)

    def fault(self, said, **settings):
        daemon = self.caronte("127.0.0.1:9", LISTEN_PORT=harness.free_port(), **settings)
        daemon.configure()
        done = harness.run_caronte("-c", daemon.conf, "-t")
        self.assertEqual(done.returncode, harness.EX_CONFIG, done.stderr)
        self.assertRegex(done.stderr, "LISTEN_TLS_PORT: " + said)

    def test_without_a_certificate(self):
        self.fault("needs a certificate", TLS_CERTIFICATE="")

    def test_the_same_port(self):
        port = harness.free_port()
        daemon = self.caronte("127.0.0.1:9", LISTEN_PORT=port, LISTEN_TLS_PORT=port)
        daemon.configure()
        done = harness.run_caronte("-c", daemon.conf, "-t")
        self.assertRegex(done.stderr, "LISTEN_TLS_PORT: is LISTEN_PORT too")

    def test_too_many_addresses(self):
        self.fault("with it, 32 addresses are allowed",
                   LISTEN_ADDRESS=" ".join("127.0.1.%d" % i for i in range(1, 34)))

    def test_needs_a_restart(self):
        directory = self.new_dir("run")
        harness.give_to_user(directory)
        with harness.Sink() as sink, \
                self.caronte(sink, CONTROL_SOCKET=str(directory / "caronte")) as daemon:
            daemon.configure(LISTEN_TLS_PORT=harness.free_port())
            done = harness.ctl("reload", "-c", daemon.conf)
            self.assertEqual(done.returncode, 1)
            self.assertIn("LISTEN_TLS_PORT: needs a restart", done.stdout + done.stderr)

    def test_destination_is_not_ours(self):
        """Where TLS comes first, Caronte is no destination of its own either."""
        port = harness.free_port()
        daemon = self.caronte("127.0.0.1:%d" % port, LISTEN_PORT=harness.free_port(),
                              LISTEN_TLS_PORT=port)
        daemon.configure()
        done = harness.run_caronte("-c", daemon.conf, "-t")
        self.assertEqual(done.returncode, harness.EX_CONFIG, done.stderr)

    def test_listens_there(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.assertIn(":%d" % daemon.settings["LISTEN_TLS_PORT"], daemon.stderr())
            with socket.create_connection(("127.0.0.1", daemon.settings["LISTEN_TLS_PORT"])):
                pass
