# SPDX-License-Identifier: ISC
"""What a peer may do with records beside sending octets in them: new keys in the middle of a
message, padding, alerts that mean nothing, records with nothing in them, and another handshake.
Clients here, and servers in test_tls_destination.py."""
import ssl

import harness
import libssl
from puppet import RESET, case
from tls import First, FirstCase, Secure, TlsCase

BODY = b"Subject: x\r\n\r\n" + b"".join(b"line %d of a message\r\n" % i for i in range(200))
TAKEN = rb"^250 2\.0\.0 Ok"
VERSIONS = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Games(TlsCase):
    def begun(self, client, how):
        """A message has begun."""
        client.secured(how)
        client.envelope()
        client.command("DATA", 354)

    def ended(self, daemon, sink, client, detail):
        """The session is over, its message is none, and others are served."""
        said = client.rest()
        self.assertTrue(said is RESET or b"250" not in said, said)
        fault = daemon.record("fault", what="tls-record")
        self.assertRegex(fault.get("detail"), detail)
        self.assertEqual(daemon.record("session").get("end"), "lost-client")
        self.assertEqual(sink.mails(), [])
        with Secure(daemon.port) as other:
            other.secured()
            self.assertRegex(other.send_message(BODY), TAKEN)
            other.quit()

    def test_keyupdate_mid_body(self):
        """Of either kind, often enough; new keys of our own are told where they are asked for."""
        for kind in libssl.KEEP_YOURS, libssl.NEW_ONES_TOO:
            with case(kind), harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                    Secure(daemon.port) as client:
                how = libssl.Context(ssl.TLSVersion.TLSv1_3)
                self.begun(client, how)
                ours = how.secrets["SERVER_TRAFFIC_SECRET_0"]
                for at in range(0, len(BODY), 300):
                    client.send(BODY[at:at + 300])
                    client.tls.key_update(kind)
                    client.flush()
                client.send(b".\r\n")
                self.assertRegex(client.reply(), TAKEN)
                client.quit()
                self.assertEqual(sink.mails(), [BODY])
                self.assertEqual(daemon.records("fault"), [])
                self.assertEqual(how.secrets.get("SERVER_TRAFFIC_SECRET_N", ours) != ours,
                                 kind == libssl.NEW_ONES_TOO)

    def forged(self, records, detail):
        """A client of each version that sends RECORDS(forger) in the middle of a message, and the
        rest of it; DETAIL: how that ends, None: well."""
        for version in VERSIONS:
            with case(version), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink) as daemon, Secure(daemon.port) as client:
                self.begun(client, libssl.Context(version))
                client.send(BODY[:100])
                forger = libssl.Forger(client.tls)
                try:
                    for record in records(forger):
                        client.socket.sendall(record)
                    client.socket.sendall(forger.record(libssl.DATA, BODY[100:] + b".\r\n"))
                except (BrokenPipeError, ConnectionResetError):
                    self.assertIsNotNone(detail)
                if detail:
                    self.ended(daemon, sink, client, detail)
                    continue
                self.assertRegex(client.reply(), TAKEN)
                client.socket.sendall(forger.record(libssl.DATA, b"QUIT\r\n"))
                self.assertEqual(client.reply()[:3], b"221")
                self.assertEqual(sink.mails(), [BODY])
                self.assertEqual(daemon.records("fault"), [])

    def test_empty_records_flood(self):
        """Some of them are nothing, and one after another without end is an attack."""
        self.forged(lambda forger: [forger.record(libssl.DATA, b"") for _ in range(10)], None)
        self.forged(lambda forger: [forger.record(libssl.DATA, b"") for _ in range(2000)],
                    "^protocol: ")

    def test_empty_records_between_octets(self):
        """As many, and each of them after an octet."""
        def records(forger):
            for _ in range(200):
                yield forger.record(libssl.DATA, b"")
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            self.begun(client, libssl.Context(ssl.TLSVersion.TLSv1_3))
            forger = libssl.Forger(client.tls)
            client.socket.sendall(b"".join(
                empty + forger.record(libssl.DATA, BODY[i:i + 1]) for i, empty in
                enumerate(records(forger))))
            client.socket.sendall(forger.record(libssl.DATA, BODY[200:] + b".\r\n"))
            self.assertRegex(client.reply(), TAKEN)
            self.assertEqual(sink.mails(), [BODY])

    def test_alert_warning_flood(self):
        """user_canceled says nothing of the session (RFC 8446 6.1). Some of them are not heard."""
        alert = bytes([libssl.WARNING, libssl.USER_CANCELED])
        self.forged(lambda forger: [forger.record(libssl.ALERT, alert) for _ in range(3)], None)
        self.forged(lambda forger: [forger.record(libssl.ALERT, alert) for _ in range(2000)],
                    "^protocol: too many warn alerts")

    def test_tls_max_padding(self):
        """Records of 16 KiB, with an octet or some in each."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            self.begun(client, libssl.Context(ssl.TLSVersion.TLSv1_3, padding=16384))
            for at in range(0, len(BODY), 50):
                record = client.records(BODY[at:at + 50])
                self.assertEqual(len(record), 5 + 16384 + 16)
                client.socket.sendall(record)
            client.send(b".\r\n")
            self.assertRegex(client.reply(), TAKEN)
            client.quit()
            self.assertEqual(sink.mails(), [BODY])

    def test_renegotiation_client(self):
        """It is refused: who insists is gone, and its message with it."""
        for within in False, True:
            with case(within), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink) as daemon, Secure(daemon.port) as client:
                how = libssl.Context(ssl.TLSVersion.TLSv1_2)
                client.secured(how)
                if within:
                    client.envelope()
                    client.command("DATA", 354)
                    client.send(BODY)
                secret = how.secrets["CLIENT_RANDOM"]
                with self.assertRaises(ssl.SSLWantReadError):
                    client.tls.renegotiate()
                client.flush()
                with self.assertRaisesRegex(ssl.SSLError, "no renegotiation"):
                    while True:
                        try:
                            client.tls.do_handshake()
                            self.fail("there was one")
                        except ssl.SSLWantReadError:
                            self.assertTrue(client.feed())
                self.assertEqual(how.secrets["CLIENT_RANDOM"], secret)
                client.close()
                daemon.record("session")
                self.assertEqual(sink.mails(), [])

    def test_hello_retry(self):
        """The client has guessed a group that is not taken, and knows another one."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.hello()
            client.command("STARTTLS", 220)
            flights, plain = [], client.flush

            def count():
                octets = client.outgoing.read()
                flights.append(octets)
                client.outgoing.write(octets)
                plain()
            client.flush = count
            client.shake(libssl.Context(ssl.TLSVersion.TLSv1_3, groups="P-384:P-256"))
            client.flush = plain
            # Two of them begin with a ClientHello, or the change of ciphers that stands before it.
            self.assertEqual(len([each for each in flights if each]), 3)
            client.hello_again()
            self.assertRegex(client.send_message(BODY), TAKEN)
            client.quit()
            self.assertEqual(sink.mails(), [BODY])


class Retry(FirstCase):
    def test_hello_retry_where_tls_comes_first(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, \
                First(daemon.port, shakes=False) as client:
            client.shake(libssl.Context(ssl.TLSVersion.TLSv1_3, groups="P-384:X25519"))
            client.hello()
            self.assertRegex(client.send_message(BODY), TAKEN)
