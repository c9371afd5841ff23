# SPDX-License-Identifier: ISC
"""Certificates of clients: asked for, told of in the log, and nothing more."""
import hashlib
import pathlib
import signal
import ssl
import time
import unittest.mock

import harness
import tls
from puppet import case
from tls import Secure

VERSIONS = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def fingerprint(chain):
    der = ssl.PEM_cert_to_DER_cert(chain.read_text().split("-----END")[0] +
                                   "-----END CERTIFICATE-----\n")
    return "sha256:" + hashlib.sha256(der).hexdigest()


def one_by_one(client):
    """Secure.flush(), a record at a time."""
    octets = client.outgoing.read()
    while octets:
        n = 5 + int.from_bytes(octets[3:5], "big")
        client.socket.sendall(octets[:n])
        octets = octets[n:]
        time.sleep(0.05)


class Clients(tls.TlsCase):
    def setUp(self):
        super().setUp()
        self.place = pathlib.Path(self.new_dir("clients"))
        self.ca, self.ca_key = tls.make_pair(self.place, ["An authority"], name="ca")

    def signed(self, name, days=30):
        """A certificate of the authority's, and its key."""
        return tls.make_pair(self.place, [name], "rsa", days, "signed",
                             authority=(self.ca, self.ca_key))

    def ask(self, sink, **settings):
        return self.caronte(sink, **{"TLS_CLIENT_CERTIFICATES_ASK": True,
                                     "TLS_CLIENT_CA_FILE": str(self.ca), **settings})

    def deliver(self, daemon, version, pair=None):
        """A message of a client that has the pair; its session in the log, and in TLS."""
        how = tls.context(version)
        if pair:
            how.load_cert_chain(*pair)
        with Secure(daemon.port) as client:
            client.secured(how)
            self.assertRegex(client.send_message(b"Subject: x\r\n\r\n"), rb"^250 ")
            client.quit()
            return client.tls.session

    def peers(self, daemon, count):
        return [each.get("peer") for each in daemon.records("session", count=count)]

    def test_told_of(self):
        """An authority's, one that nobody stands for, one that has ended, and none."""
        other = tls.make_pair(self.place, ["An impostor"], name="other")
        with harness.Sink() as sink, self.ask(sink) as daemon:
            count, told = 0, []
            for version in VERSIONS:
                for what in "good", "old", "impostor", "none":
                    pair = {"good": lambda: self.signed("A friend"),
                            "old": lambda: self.signed("A friend", days=-1),
                            "impostor": lambda: other, "none": lambda: None}[what]()
                    told.append({"good": "A friend", "none": None}.get(
                        what, pair and fingerprint(pair[0])))
                    with case(version, what):
                        self.deliver(daemon, version, pair)
                        count += 1
                        self.assertEqual(self.peers(daemon, count), told)
            self.assertEqual(daemon.records("fault"), [])

    def test_without_authorities(self):
        pair = self.signed("A friend")
        with harness.Sink() as sink, self.ask(sink, TLS_CLIENT_CA_FILE="") as daemon:
            self.deliver(daemon, None, pair)
            self.assertEqual(self.peers(daemon, 1), [fingerprint(pair[0])])

    def test_not_asked(self):
        """By default nobody is, and a client that has one does not tell."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            for version in VERSIONS:
                self.deliver(daemon, version, self.signed("A friend"))
            self.assertEqual(self.peers(daemon, 2), [None, None])

    def test_no_session_is_resumed(self):
        """What is resumed has no certificate to tell of: so there are no tickets, and one from
        before clients were asked counts for nothing."""
        chain, key = tls.make_pair(self.place)
        for path in (chain, key):
            harness.give_to_user(path)
        with harness.Sink() as sink, self.caronte(sink, TLS_CERTIFICATE=str(chain),
                                                  TLS_KEY=str(key)) as daemon:
            how = tls.context(ssl.TLSVersion.TLSv1_3)
            with Secure(daemon.port) as client:
                client.secured(how)
                client.quit()
                before = client.tls.session
            self.assertTrue(before.has_ticket)
            daemon.configure(TLS_CLIENT_CERTIFICATES_ASK=True, TLS_CLIENT_CA_FILE=str(self.ca))
            daemon.process.send_signal(signal.SIGHUP)
            self.assertRegex(daemon.record("reload").get("changed"), "TLS_CLIENT_CA_FILE")
            for session in before, None:
                with Secure(daemon.port) as client:
                    client.secured(how, session=session)
                    self.assertFalse(client.tls.session_reused)
                    client.quit()
                    self.assertFalse(client.tls.session and client.tls.session.has_ticket)

    def test_long_chain(self):
        """One of more than 8 KiB is no certificate of anybody's."""
        chain, key = self.signed("A friend")
        long = self.place / "long.pem"
        long.write_text(chain.read_text() + 40 * self.ca.read_text())
        with harness.Sink() as sink, self.ask(sink) as daemon:
            for version in VERSIONS:
                with case(version), self.assertRaises((OSError, AssertionError)):
                    self.deliver(daemon, version, (long, key))
            for fault in daemon.records("fault", what="tls-handshake", count=2):
                self.assertRegex(fault.get("detail"), "excessive message size")
            self.deliver(daemon, None, (chain, key))

    def test_another_authority_of_the_same_name(self):
        """Whose signatures are not good; and records that come one by one."""
        (self.place / "other").mkdir()
        ca, key = tls.make_pair(self.place / "other", ["An authority"], name="ca")
        pair = self.signed("A friend")
        with harness.Sink() as sink, self.ask(sink, TLS_CLIENT_CA_FILE=str(ca)) as daemon:
            for count, version in enumerate(VERSIONS, 1):
                with case(version), unittest.mock.patch.object(Secure, "flush", one_by_one):
                    self.deliver(daemon, version, pair)
                    self.assertEqual(self.peers(daemon, count), [fingerprint(pair[0])] * count)
            self.assertEqual(daemon.records("fault"), [])

    def test_wrong_file(self):
        for text, said in (None, "No such file"), ("", "no certificate that can be read"):
            path = self.place / "wrong.pem"
            if text is not None:
                path.write_text(text)
            daemon = self.ask("127.0.0.1:9", TLS_CLIENT_CA_FILE=str(path),
                              LISTEN_PORT=harness.free_port())
            daemon.configure()
            done = harness.run_caronte("-c", daemon.conf, "-t")
            self.assertEqual(done.returncode, harness.EX_CONFIG, done.stderr)
            self.assertRegex(done.stderr, r"TLS_CLIENT_CA_FILE: %s: .*%s" % (path, said))
