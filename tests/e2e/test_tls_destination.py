# SPDX-License-Identifier: ISC
"""TLS with destinations: another Caronte is the one that speaks it, with a sink behind, or a server
of the test's own that does what no server should."""
import contextlib
import hashlib
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time

import harness
import libssl
import puppet
import tls
from puppet import case
from tls import TlsCase

BODY = b"Subject: x\r\n\r\n" + b"".join(b"line %d of a message\r\n" % i for i in range(200))
TAKEN = rb"^250 2\.0\.0 Ok"


def pin_of(chain):
    """SHA-256 of the certificate's public key, as TLSA 3 1 1 has it."""
    key = subprocess.run(["openssl", "x509", "-in", chain, "-noout", "-pubkey"], check=True,
                         stdout=subprocess.PIPE).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True,
                         stdout=subprocess.PIPE).stdout
    return hashlib.sha256(der).hexdigest()


class Case(TlsCase):
    def setUp(self):
        super().setUp()
        self.chain, self.key = tls.make_pair(pathlib.Path(self.new_dir("server")))

    @contextlib.contextmanager
    def server(self, *arguments, **settings):
        """A Caronte with TLS before a sink: what is sent to it must be let through."""
        with harness.Sink(*arguments, maildir=True) as sink:
            self.sink = sink
            with self.caronte(sink, TLS_CERTIFICATE=str(self.chain), TLS_KEY=str(self.key),
                              LISTEN_TLS_PORT=harness.free_port(), **settings) as server:
                yield server

    def front(self, destination, **settings):
        return super(TlsCase, self).caronte(destination, **settings)

    def deliver(self, daemon, body=BODY):
        with harness.Client(daemon.port) as client:
            client.hello()
            self.assertRegex(client.send_message(body), TAKEN)
            client.quit()

    def refused(self, daemon, why, what="destination-tls"):
        with harness.Client(daemon.port) as client:
            self.assertEqual(client.meet()[:9], b"421 4.7.5")
        self.assertEqual(daemon.record("session").get("reason"), "destination-tls")
        self.assertRegex(daemon.records("fault", count=1, what=what)[0].get("detail"), why)


class Delivery(Case):
    def test_starttls(self):
        for word in "may", "require":
            with case(word), self.server() as server, \
                    self.front("127.0.0.1:%d,tls=%s" % (server.port, word)) as daemon:
                self.deliver(daemon)
                self.assertEqual(self.sink.mails(), [BODY])
                session = daemon.record("session")
                self.assertEqual(session.get("destination-tls"), "TLSv1.3")
                self.assertEqual(session.get("destination-trust"), "none")
                daemon.stop()
                server.records("session", count=1, start="starttls", tls="TLSv1.3")

    def test_the_next_session_is_in_clear(self):
        """What is told of one session's TLS with its destination is not told of the next one's."""
        with self.server() as server, self.front("127.0.0.1:%d,tls=require" % server.port,
                                                 WORKERS=1) as daemon:
            self.deliver(daemon)
            daemon.records("session", count=1)
            daemon.configure(DESTINATIONS="127.0.0.1:%d" % self.sink.port)
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.record("reload")
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<x@far.test>", 550)  # is kept for the record
                client.quit()
            first, second = daemon.records("session", count=2)
            self.assertEqual(first.get("destination-tls"), "TLSv1.3")
            self.assertIsNone(second.get("destination-tls"))
            self.assertIsNone(second.get("destination-trust"))

    def test_wrap(self):
        with self.server() as server, self.front(
                "127.0.0.1:%d,wrap" % server.settings["LISTEN_TLS_PORT"]) as daemon:
            self.deliver(daemon)
            self.assertEqual(self.sink.mails(), [BODY])
            self.assertEqual(daemon.record("session").get("destination-tls"), "TLSv1.3")
            daemon.stop()
            server.records("session", count=1, start="implicit")

    def test_sizes_and_ways(self):
        """Bodies by DATA and by BDAT, from a client in clear and from one over TLS."""
        sizes = (0, 100, 20000, 200000, 3 << 20)
        for chunks in True, False:
            with case(chunks), self.server() as server, \
                    TlsCase.caronte(self, "127.0.0.1:%d,tls=require" % server.port,
                                    DATA_AS_BDAT=chunks) as daemon:
                for client_of in harness.Client, tls.Automatic:
                    with client_of(daemon.port) as client:
                        client.hello()
                        for size in sizes:
                            self.assertRegex(client.send_message(self.body(size)), TAKEN)
                        client.envelope()
                        client.send(b"BDAT %d\r\n" % len(BODY) + BODY)
                        self.assertEqual(client.reply()[:3], b"250")
                        client.send(b"BDAT 3 LAST\r\nx\r\n")
                        self.assertRegex(client.reply(), TAKEN)
                        client.quit()
                self.assertEqual(sorted(map(len, self.sink.mails())),
                                 sorted(([len(self.body(size)) for size in sizes] +
                                         [len(BODY) + 3]) * 2))
                self.assertLessEqual({self.body(size) for size in sizes},
                                     set(self.sink.mails()))

    @staticmethod
    def body(size):
        return b"Subject: y\r\n\r\n" + b"0123456789abcde\r\n" * (size // 17)

    def test_login(self):
        """What a server offers over TLS alone is offered on, without what cannot be passed on."""
        with self.server("--auth", "joe:secret") as server, \
                self.front("127.0.0.1:%d,tls=require" % server.port) as daemon, \
                harness.Client(daemon.port) as client:
            self.assertIn("AUTH PLAIN LOGIN", said := client.hello())
            self.assertNotIn("STARTTLS", said)
            client.command("AUTH PLAIN AGpvZQBzZWNyZXQ=", 235)
            self.assertRegex(client.send_message(BODY, recipients=["b@elsewhere.test"]), TAKEN)

    def test_name_is_asked_for(self):
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=require,name=mx.test" % server.port) as daemon:
            self.deliver(daemon)
            daemon.stop()
            self.assertEqual({each.get("sni") for each in server.records("session", count=1)},
                             {"mx.test"})

    def test_resumed(self):
        """A worker that comes back need not shake hands in full."""
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=require" % server.port, WORKERS=1) as daemon:
            for _ in range(4):
                self.deliver(daemon)
            if not self.gateway:  # where there is one connection for all of them
                self.assertEqual(len(server.records("session", count=3, resumed="yes")), 3)

    def test_resumption_across_workers(self):
        """… and a worker that comes for the first time need not, where another one has been."""
        if self.gateway:
            self.skipTest("which keeps its connections")
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=require" % server.port, WORKERS=2) as daemon:
            count, workers = 0, set()
            while len(workers) < 2:
                self.deliver(daemon)
                count += 1
                workers = {each.get("session").split("-")[0]
                           for each in daemon.records("session", count=count)}
            self.assertEqual(len(server.records("session", count=count - 1, resumed="yes")),
                             count - 1)

    def test_warm_pool_over_tls_100_uses(self):
        """So many messages go over one connection of the gateway dialog, and the next over another
        one. (What was learnt may have been by one more.)"""
        if not self.gateway:
            self.skipTest("the gateway dialog keeps connections")
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=require" % server.port, WORKERS=1) as daemon:
            for _ in range(101):
                self.deliver(daemon)
            self.assertEqual(len(self.sink.mails()), 101)
            daemon.stop()
            counts = sorted(int(each.get("messages")) for each in server.records(
                "session", tls="TLSv1.3", count=2))
            self.assertEqual((sum(counts), counts[-1]), (101, 100))
            self.assertLessEqual(len(counts), 3)
            self.assertEqual(daemon.records("fault"), [])

    def test_session_not_resumed_to_other_name_or_policy(self):
        """What was agreed on under one configuration is of no use to another one, which may ask for
        more. (The second time it is resumed, each time.)"""
        if self.gateway:
            self.skipTest("which keeps its connections")
        pin = "pin=" + pin_of(self.chain)
        with self.server() as server:
            place = "127.0.0.1:%d," % server.port
            ways = ("tls=require", "none"), ("tls=require,name=mx.test", "none"), \
                ("tls=verify,name=mx.test", "verified"), (pin, "pinned")
            with self.front(place + ways[0][0], WORKERS=1,
                            TLS_DESTINATION_CA_FILE=str(self.chain)) as daemon:
                for turn, (way, trust) in enumerate(ways):
                    if turn:
                        daemon.configure(DESTINATIONS=place + way)
                        daemon.process.send_signal(signal.SIGHUP)
                        daemon.records("reload", count=turn)
                    for _ in range(2):
                        self.deliver(daemon)
                    with case(way):
                        told = daemon.records("session", count=2 * turn + 2)[-2:]
                        self.assertEqual([each.get("destination-trust") for each in told],
                                         [trust] * 2)
                        self.assertEqual([each.get("resumed") for each in server.records(
                            "session", count=2 * turn + 2)[-2:]], [None, "yes"])
                daemon.configure(DESTINATIONS=place + "pin=" + "00" * 32)
                daemon.process.send_signal(signal.SIGHUP)
                daemon.records("reload", count=len(ways))
                with harness.Client(daemon.port) as client:
                    self.assertEqual(client.meet()[:9], b"421 4.7.5")

    def test_half_handshakes_of_clients(self):
        """They keep other clients waiting, and no destination."""
        with self.server() as server, TlsCase.caronte(
                self, "127.0.0.1:%d,tls=require" % server.port, TLS_HANDSHAKES=8, WORKERS=1,
                LISTEN_TLS_PORT=harness.free_port(), MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            halves = []
            for _ in range(12):
                half = socket.create_connection(("127.0.0.1",
                                                 daemon.settings["LISTEN_TLS_PORT"]))
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                with self.assertRaises(ssl.SSLWantReadError):
                    tls.context().wrap_bio(incoming, outgoing).do_handshake()
                half.sendall(outgoing.read())
                halves.append(half)
            time.sleep(0.2)
            began = time.monotonic()
            self.deliver(daemon)
            self.assertLess(time.monotonic() - began, harness.SOON_S)
            for half in halves:
                half.close()

    def test_large_while_the_server_is_slow(self):
        with self.server() as server, \
                self.front("127.0.0.1:%d,tls=require" % server.port) as daemon:
            body = self.body(16 << 20)
            self.deliver(daemon, body)
            self.assertEqual(self.sink.mails(), [body])


class Trust(Case):
    def setUp(self):
        super().setUp()
        self.authorities = str(self.chain)

    def test_verified(self):
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=verify,name=mx.test" % server.port,
                TLS_DESTINATION_CA_FILE=self.authorities) as daemon:
            self.deliver(daemon)
            self.assertEqual(daemon.record("session").get("destination-trust"), "verified")

    def test_verify_wrong_name(self):
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=verify,name=other.test" % server.port,
                TLS_DESTINATION_CA_FILE=self.authorities) as daemon:
            self.refused(daemon, "certificate: hostname mismatch")
            self.assertEqual(self.sink.mails(), [])

    def test_verify_expired(self):
        self.chain, self.key = tls.make_pair(pathlib.Path(self.new_dir("old")),
                                             until=int(time.time()) - 3600)
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=verify,name=mx.test" % server.port,
                TLS_DESTINATION_CA_FILE=str(self.chain)) as daemon:
            self.refused(daemon, "certificate: certificate has expired")
            self.assertEqual(self.sink.mails(), [])

    def test_verify_partial_wildcard(self):
        """A wildcard stands for a whole label (RFC 9525 6.3)."""
        for name, good in ("*.wild.test", True), ("m*.wild.test", False):
            chain, key = tls.make_pair(pathlib.Path(self.new_dir("wild")), names=(name,))
            with case(name), harness.Sink(maildir=True) as sink:
                relay = tls.Relay(sink.port, chain, key)
                self.addCleanup(relay.close)
                with self.front(relay.place + ",wrap,tls=verify,name=mx.wild.test",
                                TLS_DESTINATION_CA_FILE=str(chain)) as daemon:
                    if good:
                        self.deliver(daemon)
                    else:
                        self.refused(daemon, "certificate: hostname mismatch")
                self.assertEqual(len(sink.mails()), good)

    def test_verify_IP(self):
        """Which the certificate is not for."""
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=verify" % server.port,
                TLS_DESTINATION_CA_FILE=self.authorities) as daemon:
            self.refused(daemon, "certificate: IP address mismatch")

    def test_common_name_alone(self):
        """It is no name any more (RFC 9525)."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mx.test", "-keyout",
                        self.key, "-out", self.chain], check=True, capture_output=True)
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=verify,name=mx.test" % server.port,
                TLS_DESTINATION_CA_FILE=str(self.chain)) as daemon:
            self.refused(daemon, "certificate: hostname mismatch")

    def test_verify_self_signed(self):
        other, _ = tls.make_pair(pathlib.Path(self.new_dir("other")))
        with self.server() as server, self.front(
                "127.0.0.1:%d,tls=verify,name=mx.test" % server.port,
                TLS_DESTINATION_CA_FILE=str(other)) as daemon:
            self.refused(daemon, "certificate: .*self.signed")

    def pinned(self, server, *pins):
        return self.front("127.0.0.1:%d,name=other.test%s" % (
            server.port, "".join(",pin=" + each for each in pins)))

    def test_pin_ok_with_expired_wrong_name(self):
        """It is the key that is known, and nothing else is looked at (RFC 7672 3.1.1)."""
        self.chain, self.key = tls.make_pair(pathlib.Path(self.new_dir("old")),
                                             until=int(time.time()) - 3600)
        with self.server() as server, self.pinned(server, pin_of(self.chain)) as daemon:
            self.deliver(daemon)
            self.assertEqual(daemon.record("session").get("destination-trust"), "pinned")

    def test_pin_rollover_two(self):
        """A second pin is for the key that comes next, of any kind; a third key is nobody's."""
        pairs = [tls.make_pair(pathlib.Path(self.new_dir("key")), kind=kind)
                 for kind in ("ec", "rsa", "ec")]
        pins = [pin_of(chain) for chain, _ in pairs[:2]]
        for turn, (self.chain, self.key) in enumerate(pairs):
            with case(turn), self.server() as server, self.pinned(server, *pins) as daemon:
                if turn < 2:
                    self.deliver(daemon)
                    self.assertEqual(daemon.record("session").get("destination-trust"), "pinned")
                else:
                    self.refused(daemon, "certificate: its key is none of those that are pinned")

    def test_another_key(self):
        with self.server() as server, self.front(
                "127.0.0.1:%d,pin=%s" % (server.port, "00" * 32)) as daemon:
            self.refused(daemon, "certificate: its key is none of those that are pinned")

    def test_without_authorities(self):
        daemon = self.front("127.0.0.1:9,tls=verify", LISTEN_PORT=harness.free_port(),
                            TLS_DESTINATION_CA_FILE=str(self.key))
        daemon.configure()
        done = harness.run_caronte("-c", daemon.conf, "-t")
        self.assertEqual(done.returncode, harness.EX_CONFIG, done.stderr)
        self.assertIn("TLS_DESTINATION_CA_FILE: ", done.stderr)


class Check(Case):
    """carontectl check-destination speaks to it as the daemon would."""
    each_engine = False
    dialogs = ("sniff",)

    def check(self, place, *more):
        done = harness.ctl("check-destination", "-c", "/dev/null", "-n", "5", "-t", "5", "-o",
                           "DESTINATIONS=" + place, *more)
        return done.returncode, done.stdout

    def test_each_way(self):
        pin = "pin=" + pin_of(self.chain)
        with self.server("--auth", "joe:secret") as server:
            first = "127.0.0.1:%d," % server.settings["LISTEN_TLS_PORT"]
            for place, how in (("127.0.0.1:%d,tls=require" % server.port, "not looked at"),
                               ("127.0.0.1:%d,tls=may" % server.port, "not looked at"),
                               ("127.0.0.1:%d,tls=verify,name=mx.test" % server.port, "verified"),
                               ("127.0.0.1:%d,%s" % (server.port, pin), "pinned"),
                               (first + "wrap", "not looked at")):
                with case(place):
                    status, said = self.check(place, "-o",
                                              "TLS_DESTINATION_CA_FILE=%s" % self.chain)
                    self.assertEqual(status, 0, said)
                    self.assertIn("TLS: TLSv1.3, TLS_AES_256_GCM_SHA384, certificate " + how, said)
                    self.assertIn("it offers AUTH", said)

    def test_with_messages(self):
        with self.server() as server:
            status, said = self.check("127.0.0.1:%d,tls=require" % server.port,
                                      "-r", "b@local.test")
            self.assertNotIn("not tried", said)
            self.assertNotIn("silence", said)

    def test_what_is_wrong(self):
        with harness.Sink() as plain, self.server() as server:
            for place, why in (("127.0.0.1:%d,tls=require" % plain.port, "does not offer STARTTLS"),
                               ("127.0.0.1:%d,wrap" % plain.port, "the handshake fails"),
                               ("127.0.0.1:%d,tls=verify" % server.port, "IP address mismatch"),
                               ("127.0.0.1:%d,pin=%s" % (server.port, "00" * 32),
                                "none of those that are pinned")):
                with case(place):
                    status, said = self.check(place, "-o",
                                              "TLS_DESTINATION_CA_FILE=%s" % self.chain)
                    self.assertEqual(status, 1, said)
                    self.assertRegex(said, "warning: no TLS: .*" + why)
                    self.assertIn("cure: TLS does not come first at this port: " if "wrap" in place
                                  else "cure: its certificate must be as tls= ", said)

    def test_may_be_in_clear(self):
        with harness.Sink() as sink:
            _, said = self.check("127.0.0.1:%d,tls=may" % sink.port)
            self.assertIn("TLS: it is spoken to in clear, since it does not offer STARTTLS", said)


class Puppet(threading.Thread):
    """A server that says what it is told to; {tls} is a handshake. Serves every connection so."""

    def __init__(self, script, chain, key):
        super().__init__(daemon=True)
        self.script, self.heard, self.ends = script, [], False
        self.connections = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, key)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *rest):
        self.socket.close()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.socket.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        with contextlib.suppress(OSError):
            for step in self.script:
                if step is ssl:
                    peer = self.context.wrap_socket(peer, server_side=True)
                    continue
                peer.sendall(step)
                if self.ends and step is self.script[-1]:
                    peer.close()
                    return
                self.heard.append(peer.recv(65536))
            while octets := peer.recv(65536):
                self.heard.append(octets)


class Odd(Case):
    """A server that does not offer TLS, or takes it back, or says more than it was asked."""
    GREETING, OFFER = b"220 mx.test ESMTP\r\n", b"250-mx.test\r\n250 STARTTLS\r\n"

    def said(self, *script):
        return Puppet(script, self.chain, self.key)

    def test_require_not_offered_421(self):
        with harness.Sink() as sink, \
                self.front("127.0.0.1:%d,tls=require" % sink.port) as daemon:
            self.refused(daemon, "does not offer STARTTLS")
            self.assertNotIn("MAIL", {line.split()[0] for line in sink.commands()})

    @staticmethod
    def is_taken(daemon):
        """Whether a message is; else its session is refused, at whatever command."""
        with harness.Client(daemon.port) as client:
            client.reply()
            for words in puppet.EHLO, puppet.MAIL, puppet.RCPT, puppet.DATA, b"\r\n.\r\n":
                client.send(words)
                reply = client.reply()
                if reply[:1] not in (b"2", b"3"):
                    return False
        return True

    def test_cluster(self):
        """One with which there is no TLS refuses its session, and the next ones go elsewhere."""
        with harness.Sink() as bad, harness.Sink("--delay", "EOD=300") as good, \
                self.front("127.0.0.1:%d,tls=require 127.0.0.1:%d" % (bad.port, good.port),
                           COOPERATION_CLUSTER=True) as daemon:
            taken = sum(self.is_taken(daemon) for _ in range(20))
            self.assertGreaterEqual(taken, 17)
            self.assertIn("no TLS", daemon.records("destination", state="busy")[0].get("why"))
            self.assertNotIn("MAIL", {line.split()[0] for line in bad.commands()})

    def test_in_the_status(self):
        directory = self.new_dir("run")
        harness.give_to_user(directory)
        with harness.Sink() as sink, self.front(
                "127.0.0.1:%d,tls=require" % sink.port,
                CONTROL_SOCKET=str(directory / "caronte")) as daemon:
            self.refused(daemon, "does not offer STARTTLS")
            self.assertIn("there is no TLS with it", harness.ctl("status", "-c",
                                                                 daemon.conf).stdout)
            done = harness.ctl("status", "--check", "-c", daemon.conf)
            self.assertEqual(done.returncode, 2)
            self.assertIn("there is no TLS with 127.0.0.1:%d" % sink.port, done.stdout)

    def test_may_not_offered(self):
        with harness.Sink(maildir=True) as sink, \
                self.front("127.0.0.1:%d,tls=may" % sink.port) as daemon:
            self.deliver(daemon)
            self.assertEqual(sink.mails(), [BODY])
            self.assertIsNone(daemon.record("session").get("destination-tls"))

    def test_require_refused(self):
        with self.said(self.GREETING, self.OFFER, b"454 4.7.0 no\r\n") as server, \
                self.front("127.0.0.1:%d,tls=require" % server.port) as daemon:
            self.refused(daemon, "454 4.7.0 no")

    def test_no_tls_behind_a_header(self):
        """It knows the client by then, and may have refused that one alone: nobody is busy."""
        if self.gateway:
            self.skipTest("what is learnt is of no client")
        for script in (self.GREETING, b"250 mx.test\r\n"), \
                (self.GREETING, b"550 5.7.1 not you\r\n"), \
                (self.GREETING, self.OFFER, b"454 4.7.0 too many\r\n"), \
                (self.GREETING, self.OFFER, b"220 go ahead\r\n", b"no TLS at all\r\n"):
            with case(script), self.said(*script, b"") as one, self.said(*script, b"") as two, \
                    self.front("127.0.0.1:%d,tls=require,identity=proxy2 "
                               "127.0.0.1:%d,tls=require,identity=proxy2" % (one.port, two.port),
                               COOPERATION_CLUSTER=True) as daemon:
                for _ in range(4):
                    with harness.Client(daemon.port) as client:
                        self.assertEqual(client.meet()[:3], b"421")
                self.assertEqual([each for each in daemon.records("destination")
                                  if each.get("state") == "busy"], [])

    def test_may_454(self):
        """It goes on in clear, on the same connection."""
        with self.said(self.GREETING, self.OFFER, b"454 4.7.0 no\r\n", b"250 mx.test\r\n") as \
                server, self.front("127.0.0.1:%d,tls=may" % server.port) as daemon, \
                harness.Client(daemon.port) as client:
            client.hello()
            harness.wait_until(lambda: len([each for each in server.heard
                                            if each.startswith(b"EHLO")]) >= 2)

    def test_may_handshake_fails_no_clear_fallback(self):
        with self.said(self.GREETING, self.OFFER, b"220 go ahead\r\n", b"no TLS at all\r\n") as \
                server, self.front("127.0.0.1:%d,tls=may" % server.port) as daemon:
            self.refused(daemon, "handshake: ")

    def test_response_injection_behind_220(self):
        for word in "may", "require":
            with case(word), self.said(self.GREETING, self.OFFER,
                                       b"220 go ahead\r\n250 mx.test\r\n") as server, \
                    self.front("127.0.0.1:%d,tls=%s" % (server.port, word)) as daemon:
                self.refused(daemon, "behind its answer to STARTTLS", "starttls-injection")

    def test_response_injection_multiline_220(self):
        with self.said(self.GREETING, self.OFFER, b"220-go\r\n220 ahead\r\n", b"") as server, \
                self.front("127.0.0.1:%d,tls=require" % server.port, TIMEOUT_TLS=1) as daemon:
            self.refused(daemon, "handshake: ")

    def test_more_behind_a_refusal(self):
        with self.said(self.GREETING, self.OFFER, b"454 4.7.0 no\r\n250 mx.test\r\n") as server, \
                self.front("127.0.0.1:%d,tls=may" % server.port) as daemon:
            self.refused(daemon, "more has come behind an answer")

    def test_may_and_odd_answers(self):
        """Only one that says that it has no TLS is spoken to in clear."""
        odd = [(self.OFFER, answer) for answer in
               (b"250 ok\r\n", b"354 go ahead\r\n", b"421 4.3.2 bye\r\n")]
        for answers in odd + [(b"421 4.3.2 bye\r\n",), (b"334 what\r\n",)]:
            with case(answers), self.said(self.GREETING, *answers, b"") as server, \
                    self.front("127.0.0.1:%d,tls=may" % server.port) as daemon:
                self.refused(daemon, ": [234]")
                heard = b"".join(server.heard)
                self.assertLessEqual(heard.count(b"EHLO"), server.connections)
                self.assertNotIn(b"MAIL", heard)

    def test_closed_behind_220(self):
        """An end is no injection."""
        server = self.said(self.GREETING, self.OFFER, b"220 go ahead\r\n")
        server.ends = True
        with server, self.front("127.0.0.1:%d,tls=require" % server.port) as daemon:
            self.refused(daemon, "closed")
            self.assertEqual(daemon.records("fault", what="starttls-injection"), [])

    def test_malformed(self):
        with self.said(self.GREETING, b"what?\r\n") as server, \
                self.front("127.0.0.1:%d,tls=may" % server.port) as daemon:
            self.refused(daemon, r"EHLO gets a malformed answer: what\?$")

    def test_wrap_of_one_in_clear(self):
        with harness.Sink() as sink, \
                self.front("127.0.0.1:%d,wrap" % sink.port) as daemon:
            self.refused(daemon, "handshake: ")

    def test_silent_in_the_handshake(self):
        with self.said(self.GREETING, self.OFFER, b"220 go ahead\r\n", b"") as server, \
                self.front("127.0.0.1:%d,tls=require" % server.port, TIMEOUT_TLS=1) as daemon:
            self.refused(daemon, "handshake: timeout")

    def test_greeting_421_is_the_clients(self):
        """A refusal of the destination's is no fault of TLS."""
        if self.gateway:
            self.skipTest("in the gateway dialog no client is greeted by it")
        with self.said(b"421 4.3.2 Server BUSY\r\n") as server, \
                self.front("127.0.0.1:%d,tls=require" % server.port) as daemon, \
                harness.Client(daemon.port) as client:
            self.assertEqual(client.reply(), b"421 4.3.2 Server BUSY\r\n")

    def test_backup_not_taken_for_tls_failure(self):
        with harness.Sink() as first, harness.Sink(maildir=True) as second, \
                self.front("127.0.0.1:%d,tls=require 127.0.0.1:%d" % (first.port, second.port),
                           COOPERATION_BACKUP=True) as daemon:
            if self.gateway:
                harness.wait_until(lambda: daemon.records("fault", what="destination-tls"))
            with harness.Client(daemon.port) as client:
                self.assertEqual(client.meet()[:9], b"421 4.7.5")
            self.assertEqual(second.mails(), [])


class Records(Case):
    """A server whose records are made by hand."""

    def accept(self, listener):
        """The connection behind the handshake, and what stands behind the server's end."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        peer = listener.accept()[0]
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        self.go_on(peer, incoming, outgoing, server.do_handshake)
        return peer, server, incoming, outgoing

    def test_bad_record(self):
        """What the destination says is lost, and the log says why."""
        if self.gateway:
            self.skipTest("a puppet that would have to learn")
        with socket.create_server(("127.0.0.1", 0)) as listener, self.front(
                "127.0.0.1:%d,wrap" % listener.getsockname()[1]) as daemon, \
                harness.Client(daemon.port) as client:
            peer, server, _, outgoing = self.accept(listener)
            server.write(b"220 d.test\r\n")
            record = bytearray(outgoing.read())
            record[-1] ^= 1
            peer.sendall(record)
            self.assertEqual(client.rest()[:3], b"421")
            fault = daemon.record("fault", what="destination-tls")
            self.assertRegex(fault.get("detail"), r"^127\.0\.0\.1:\d+: protocol: decryption failed")
            self.assertEqual(fault.get("session"), daemon.record("session").get("session"))
            peer.close()

    def test_gate(self):
        """It gives up in a body, and its answer comes in two segments of one record. The beginning
        of an answer is one: the line at the gate never goes."""
        if self.gateway:
            self.skipTest("the same gate, and a puppet that would have to learn")
        evil = b"MAIL FROM:<evil@evil.test>\r\n"
        with socket.create_server(("127.0.0.1", 0)) as listener, self.front(
                "127.0.0.1:%d,wrap" % listener.getsockname()[1], DATA_AS_BDAT=False) as daemon, \
                harness.Client(daemon.port) as client:
            peer, server, incoming, outgoing = self.accept(listener)

            def say(octets):
                server.write(octets)
                peer.sendall(outgoing.read())

            def hear():
                return self.go_on(peer, incoming, outgoing, lambda: server.read(1 << 16))

            say(b"220 d.test\r\n")
            client.reply()
            for command, answer in ((b"EHLO c\r\n", b"250 d.test\r\n"),
                                    (b"MAIL FROM:<a@client.test>\r\n", b"250 ok\r\n"),
                                    (b"RCPT TO:<b@local.test>\r\n", b"250 ok\r\n"),
                                    (b"DATA\r\n", b"354 go ahead\r\n")):
                client.send(command)
                hear()
                say(answer)
                client.reply()
            client.send(BODY + evil + b"x\r\n.\r\n")
            got = b""
            while not got.endswith(BODY[-20:]):
                got += hear()
            server.write(b"552 5.3.4 too much\r\n")
            record = outgoing.read()
            peer.sendall(record[:10])
            time.sleep(1.5)
            peer.sendall(record[10:])
            self.assertEqual(client.reply()[:3], b"552")
            peer.settimeout(harness.PATIENCE_S)
            while octets := peer.recv(1 << 16):
                incoming.write(octets)
            with contextlib.suppress(ssl.SSLError):
                while octets := server.read(1 << 16):
                    got += octets
            self.assertNotIn(evil, got)
            peer.close()

    @staticmethod
    def go_on(peer, incoming, outgoing, step):
        while True:
            try:
                result = step()
                peer.sendall(outgoing.read())
                return result
            except ssl.SSLWantReadError:
                peer.sendall(outgoing.read())
                incoming.write(peer.recv(1 << 16))


class Played(Case):
    """A server on whose TLS, and on whose words, the test has its hands."""

    @contextlib.contextmanager
    def played(self, version=None, more="", **settings):
        with puppet.Destination() as destination:
            by = tls.Puppeteer(destination.port, self.chain, self.key, version)
            self.addCleanup(by.close)
            with self.front(by.place + ",wrap" + more, WORKERS=1, **settings) as daemon:
                yield daemon, destination, by

    def begun(self, daemon, destination):
        """A session up to the middle of a message."""
        return puppet.Session(daemon.port, destination, "body")

    def finish(self, session):
        """The rest of its message goes through, and is taken."""
        for octets in b"more of it\r\n", b".\r\n":
            session.client.send(octets)
            session.server.expect(octets)
        session.server.send(puppet.OK)
        session.client.expect(puppet.OK)

    def lost(self, daemon, session):
        """The client's message is not taken."""
        reply = session.client.reply()
        self.assertEqual(reply[:1], b"4", reply)
        session.client.close()
        self.assertEqual([each.get("reply")[:1] for each in daemon.records("message", count=1)],
                         ["4"])

    def test_keyupdate_mid_body(self):
        for kind in libssl.KEEP_YOURS, libssl.NEW_ONES_TOO:
            with case(kind), self.played(ssl.TLSVersion.TLSv1_3) as (daemon, destination, by), \
                    self.begun(daemon, destination) as session:
                secrets = by.context.secrets
                theirs = secrets["CLIENT_TRAFFIC_SECRET_0"]
                for turn in range(5):
                    self.assertTrue(by.each(libssl.Connection.key_update, kind))
                    session.client.send(b"line %d\r\n" % turn)
                    session.server.expect(b"line %d\r\n" % turn)
                self.finish(session)
                self.assertEqual(secrets.get("CLIENT_TRAFFIC_SECRET_N", theirs) != theirs,
                                 kind == libssl.NEW_ONES_TOO)
                self.assertEqual(daemon.records("fault"), [])

    def test_ticket_in_mid_dialog(self):
        """Before each command and each answer."""
        with self.played(ssl.TLSVersion.TLSv1_3) as (daemon, destination, by), \
                puppet.Session(daemon.port, destination, "greeting") as session:
            for step in "ehlo", "mail", "rcpt", "data", "body":
                self.assertTrue(by.each(libssl.Connection.ticket))
                getattr(session, "do_" + step)()
            by.each(libssl.Connection.ticket)
            session.client.send(b".\r\n")
            session.server.expect(b".\r\n")
            by.each(libssl.Connection.ticket)
            session.server.send(puppet.OK)
            session.client.expect(puppet.OK)
            self.assertEqual(daemon.records("fault"), [])

    def test_ticket_from_destination_while_warm(self):
        """An idle connection is not given up for one: it says nothing."""
        if not self.gateway:
            self.skipTest("the gateway dialog keeps connections")
        with self.played(ssl.TLSVersion.TLSv1_3) as (daemon, destination, by):
            with self.begun(daemon, destination) as session:
                self.finish(session)
                session.client.send(b"QUIT\r\n")
                session.client.reply()
                server = session.server
                count = len(by.lines)
                for _ in range(5):
                    self.assertTrue(by.each(libssl.Connection.ticket))
                    time.sleep(0.1)
                with harness.Client(daemon.port) as client:
                    client.hello()
                    client.command("MAIL FROM:<a@client.test>", 250)
                    client.send(puppet.RCPT)
                    server.expect(puppet.MAIL + puppet.RCPT)
                    server.send(puppet.SENDER_OK + puppet.OK)
                    self.assertEqual(client.reply(), puppet.OK)
                self.assertEqual(len(by.lines), count)

    def test_a_word_while_warm(self):
        """… and one that says something is."""
        if not self.gateway:
            self.skipTest("the gateway dialog keeps connections")
        with self.played(ssl.TLSVersion.TLSv1_3) as (daemon, destination, by), \
                self.begun(daemon, destination) as session:
            self.finish(session)
            session.client.send(b"QUIT\r\n")
            session.client.reply()
            session.server.send(b"250 what?\r\n")
            self.assertNotIn(b"MAIL", session.server.rest())

    def test_renegotiation_destination(self):
        """It is refused (no_renegotiation), and OpenSSL, as a server, gives up then: so the message
        is none, and that is said."""
        with self.played(ssl.TLSVersion.TLSv1_2) as (daemon, destination, by):
            with self.begun(daemon, destination) as session:
                secret = by.context.secrets["CLIENT_RANDOM"]
                self.assertTrue(by.each(libssl.Connection.renegotiate))
                session.client.send(b"x\r\n.\r\n")
                self.lost(daemon, session)
                self.assertEqual(by.context.secrets["CLIENT_RANDOM"], secret)
                self.assertEqual(by.lines[-1].fault, "no renegotiation")
            with self.begun(daemon, destination) as session:
                self.finish(session)

    def test_destination_fin_in_reply(self):
        """Half of an answer is none, whatever it begins with."""
        for half in b"250 2.0.0 Ok: queued", b"250-2.0.0 Ok\r\n", b"25":
            with case(half), self.played() as (daemon, destination, by), \
                    self.begun(daemon, destination) as session:
                session.client.send(b".\r\n")
                session.server.expect(b".\r\n")
                session.server.send(half)
                session.server.close()
                self.lost(daemon, session)

    def test_destination_close_notify_before_250(self):
        """Its last word was said by then: what comes behind it is none."""
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            with case(version), self.played(version) as (daemon, destination, by), \
                    self.begun(daemon, destination) as session:
                session.client.send(b".\r\n")
                session.server.expect(b".\r\n")
                by.each(libssl.Connection.unwrap)
                session.server.send(puppet.OK)
                self.lost(daemon, session)

    def test_max_freed_with_close_notify(self):
        """The end of a connection is said, and the place is another's when the server has said its
        own, though its socket is open."""
        if self.gateway:
            self.skipTest("which keeps its connections")
        with self.played(more=",max=1") as (daemon, destination, by):
            waits = []
            for turn in range(3):
                first = puppet.client(daemon.port)
                server = destination.accept()
                server.send(puppet.GREETING)
                first.expect(puppet.GREETING)
                second = puppet.client(daemon.port)
                self.assertTrue(second.silent(0.2))
                first.close()
                self.assertEqual(server.rest(), b"")
                self.assertTrue(by.lines[-1].tidy)
                self.assertTrue(second.silent(0.2))
                self.assertEqual(len(by.lines), 2 * turn + 1)
                began = time.monotonic()
                by.each(libssl.Connection.unwrap)
                later = destination.accept()
                waits.append(time.monotonic() - began)
                later.send(puppet.GREETING)
                second.expect(puppet.GREETING)
                server.close()
                second.close()
                later.close()
            # A server that says nothing is waited for for two seconds.
            self.assertLess(min(waits), 1.5)
