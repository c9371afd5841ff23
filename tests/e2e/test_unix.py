# SPDX-License-Identifier: ISC
"""Destinations at Unix sockets: tests of other modules once more, with such a destination in the
place of one at a TCP port; and what is different there.
"""
import contextlib
import os
import socket
import time

import harness
import postfix
import puppet
import test_upgrade
import test_bdat
import test_body
import test_counted
import test_delivery
import test_gate
import test_gateway
from puppet import DATA, GO_AHEAD, OK, case
from test_bdat import OFFER, bdat

BODY = b"Subject: x\r\n\r\nhere\r\n"
GONE = b"421 4.3.2 No destination is available, try later\r\n"
MORE = b"250 2.0.0 more\r\n"
DISAGREE = b"451 4.3.0 Destination answered out of order\r\n"


class OverUnix:
    """Every destination that a test makes is at a Unix socket, where it says nothing else."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        puppet.Destination.new_path = staticmethod(
            lambda: str(harness.TestCase.running.new_dir("place") / "s"))
        harness.Sink.unix = True


class Gate(OverUnix, test_gate.Gate):
    """Silence is counted from when all was seen to be read."""


class Delivered(OverUnix, test_delivery.Bodies):
    test_all_to_postfix = test_all_to_smtp_sink = test_one_for_each_connection = None


class Ways(OverUnix, test_body.Ways):
    test_more_bodies_than_pipes = None  # which looks for connections to a port


class BackPressure(OverUnix, test_body.BackPressure):
    pass


class Chunks(OverUnix, test_bdat.Delivery):
    test_to_postfix = test_50_megabytes = test_offers_of_a_cluster = None


class Moving(OverUnix, test_bdat.Moving):
    test_more_chunks_than_pipes = None  # which looks for connections to a port
    test_memory_of_sessions_between_chunks = None


class Ends(OverUnix, test_bdat.Ends):
    test_client_goes_away = test_client_goes_away_between_chunks = test_timeouts = None
    test_min_rate = test_min_rate_of_small_chunks = test_stop = None


class Pool(OverUnix, test_gateway.Pool):
    pass


class Fresh(OverUnix, test_gateway.Fresh):
    pass


class When(OverUnix, test_counted.When):
    pass


class Counted(OverUnix, test_counted.Delivery):
    pass


class OneChunk(OverUnix, test_counted.Counted):
    """How many octets have been read is not known, only whether all have."""

    def test_the_next_waits_for_the_answer(self):
        for daemon, destination in self.each_way():
            with test_bdat.session(daemon, destination) as s:
                test_counted.begin(s)
                s.client.send(b"one\r\n")
                s.server.expect(bdat(b"one\r\n"))
                s.client.send(b"two\r\n")
                s.client.send(b"three\r\n.\r\n")
                self.assertTrue(s.server.silent(0.1))
                s.server.send(MORE)
                octets, last = test_counted.chunk(s.server)
                while not last:
                    s.server.send(MORE)
                    more, last = test_counted.chunk(s.server)
                    octets += more
                self.assertEqual(octets, b"two\r\nthree\r\n")
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_an_answer_before_the_octets_were_read(self):
        """Also where some of them were, which TCP does not tell."""
        for end in b"", b".\r\n":
            for read in 0, 3:
                for daemon, destination in self.each_way():
                    with test_bdat.session(daemon, destination) as s, case(end, read):
                        test_counted.begin(s)
                        s.client.send(b"one\r\n" + end)
                        harness.wait_until(lambda: not s.server.silent())
                        s.server.socket.recv(read) if read else None
                        s.server.send(OK if end else MORE)
                        s.client.send(b".\r\n"[:3 - len(end)])
                        s.client.expect(DISAGREE)
                        if not end:
                            self.no_last_came(s.server)


class Early(OverUnix, harness.TestCase):
    """Who answers a message that it has not read has not taken it."""

    def test_answers_and_goes(self):
        """Octets that nobody reads any more are not read, though none of them waits."""
        for extensions in puppet.EXTENSIONS, OFFER:
            for read in 0, 5:
                with puppet.Destination(extensions=extensions) as destination, \
                        self.caronte(destination) as daemon, case(extensions, read), \
                        puppet.Session(daemon.port, destination, "rcpt") as s:
                    s.client.send(DATA)
                    if extensions is puppet.EXTENSIONS:
                        s.server.expect(DATA)
                        s.server.send(GO_AHEAD)
                    self.assertEqual(s.client.reply()[:3], b"354")
                    s.client.send(BODY + b".\r\n")
                    harness.wait_until(lambda: not s.server.silent())
                    time.sleep(0.05)
                    s.server.socket.recv(read) if read else None
                    with harness.frozen(*daemon.workers()):  # it sees both at once
                        s.server.send(OK)
                        s.server.close()
                    self.assertEqual(s.client.reply()[:1], b"4")
                    self.assertEqual([r.get("reply")[:1] for r in daemon.records(
                        "message", count=1)], ["4"])

    def test_reads_and_goes(self):
        """Who has read all of it has taken it, also where it closes at once."""
        with puppet.Destination() as destination, self.caronte(destination) as daemon, \
                puppet.Session(daemon.port, destination, "data") as s:
            s.client.send(BODY + b".\r\n")
            s.server.expect(BODY + b".\r\n")
            s.server.send(OK)
            s.server.close()
            s.client.expect(OK)
            self.assertEqual(daemon.record("message").get("reply"), OK.decode().strip())


class Own(harness.TestCase):
    def path(self):
        return str(self.new_dir("place") / "s")

    def deliver(self, daemon, body=BODY):
        with harness.Client(daemon.port) as client:
            client.hello()
            self.assertEqual(client.send_message(body)[:3], b"250")
            client.quit()

    def first_words(self, daemon):
        with harness.Client(daemon.port) as client:
            return client.meet()

    def stand(self, daemon, state, why):
        return daemon.records("destination", count=1, state=state, why=why)[-1]


class Server(Own):
    def test_killed_and_back(self):
        """One that was killed leaves its socket, which refuses; the next one takes its place."""
        with harness.Sink("--name", "a.test", unix=True) as sink, self.caronte(sink) as daemon:
            self.deliver(daemon)
            sink.kill()
            self.assertEqual(self.first_words(daemon), GONE)
            self.assertEqual(self.stand(daemon, "down", "Connection refused").get("address"),
                             sink.place)
            sink.start()
            sink.expect_status = 0
            daemon.records("destination", count=1, state="up")
            self.deliver(daemon)
            self.assertEqual({r.get("destination") for r in daemon.records("message", count=2)},
                             {sink.place})

    def test_not_there_yet(self):
        """No fault: its server may come later."""
        sink = harness.Sink(unix=True)
        with self.caronte(sink) as daemon:
            self.assertIn("caronte: %s is not there now; it is tried again\n" % sink.place,
                          daemon.stderr())
            self.assertEqual(self.first_words(daemon), GONE)
            self.stand(daemon, "down", "No such file or directory")
            with sink:
                daemon.records("destination", count=1, state="up")
                harness.wait_until(lambda: self.offers(daemon))
                self.deliver(daemon)

    def offers(self, daemon):
        """The gateway dialog serves when it knows what its destination can do."""
        if not self.gateway:
            return True
        with harness.Client(daemon.port) as client:
            return client.reply()[:3] == b"220"

    def test_backup(self):
        with harness.Sink("--name", "first.test", unix=True) as one, \
                harness.Sink("--name", "second.test") as two, \
                self.caronte("%s 127.0.0.1:%d" % (one.place, two.port),
                             COOPERATION_BACKUP=True) as daemon:
            self.assertEqual(harness.name_of(self.first_words(daemon)), "first.test")
            one.kill()
            self.assertEqual(harness.name_of(self.first_words(daemon)), "second.test")
            one.start()
            one.expect_status = 0
            daemon.records("destination", count=1, state="up")
            self.assertEqual(harness.name_of(self.first_words(daemon)), "first.test")

    def test_mixed_cluster(self):
        """With a max= for each."""
        with harness.Sink("--name", "here.test", unix=True) as one, \
                harness.Sink("--name", "there.test") as two, \
                self.caronte("%s,max=2 127.0.0.1:%d,max=2" % (one.place, two.port),
                             COOPERATION_CLUSTER=True) as daemon, contextlib.ExitStack() as stack:
            found = [harness.name_of(stack.enter_context(harness.Client(daemon.port)).meet())
                     for _ in range(4)]
            self.assertEqual(sorted(found), ["here.test"] * 2 + ["there.test"] * 2)


class Full(Own):
    @contextlib.contextmanager
    def full(self, **settings):
        """A destination whose queue has no room left, and a daemon that has not been there."""
        with puppet.Destination(path=self.path(), by_hand=True, backlog=0) as destination, \
                self.caronte(destination, **settings) as daemon, \
                socket.socket(socket.AF_UNIX) as other:
            other.connect(destination.path)
            yield daemon, destination

    dialogs = ("sniff",)  # the gateway dialog connects the same way

    def test_waits_for_room(self):
        with self.full() as (daemon, destination), harness.Client(daemon.port) as client:
            self.assertTrue(client.silent(0.3))
            destination.accept().close()
            with destination.accept() as server:
                server.send(puppet.GREETING)
                client.expect(puppet.GREETING)
            self.assertEqual(daemon.records("destination"), [])

    def test_waits_no_longer(self):
        with self.full(TIMEOUT_CONNECT=1) as (daemon, _), harness.Client(daemon.port) as client:
            since = time.monotonic()
            client.expect(GONE)
            self.assertGreater(time.monotonic() - since, 0.9)
            self.stand(daemon, "down", "Connection timed out")

    def test_client_goes_meanwhile(self):
        with self.full() as (daemon, destination):
            with harness.Client(daemon.port) as client:
                self.assertTrue(client.silent(0.1))
                client.reset()
            self.assertEqual(daemon.record("session").get("end"), "lost-client")

    def test_stop(self):
        with self.full(STOP_GRACE=1) as (daemon, _), harness.Client(daemon.port) as client:
            self.assertTrue(client.silent(0.1))
            since = time.monotonic()
            self.assertEqual(daemon.stop(), 0)
            self.assertLess(time.monotonic() - since, 8)


class Permission(Own):
    dialogs = ("sniff",)

    def setUp(self):
        if not harness.ROOT:
            self.skipTest("only root becomes another user")

    def test_at_start(self):
        """What USER may not connect to is a fault, though root may."""
        with puppet.Destination(path=self.path()) as destination:
            os.chmod(destination.path, 0o600)
            daemon = self.caronte(destination, LISTEN_PORT=harness.free_port())
            daemon.configure()
            done = harness.run_caronte("-c", daemon.conf)
            self.assertEqual(done.returncode, 78)
            self.assertIn("DESTINATIONS: %s: cannot be connected to by user nobody: Permission "
                          "denied\n" % destination.path, done.stderr)
            os.chmod(destination.path, 0o666)
            os.chmod(os.path.dirname(destination.path), 0o700)
            done = harness.run_caronte("-t", "-c", daemon.conf)
            self.assertEqual(done.returncode, 78)
            self.assertIn("by user nobody, who may not enter %s\n" %
                          os.path.dirname(destination.path), done.stderr)

    def test_later(self):
        """It is then a destination that cannot be reached."""
        with puppet.Destination(path=self.path()) as destination, \
                self.caronte(destination) as daemon:
            os.chmod(destination.path, 0o600)
            self.assertEqual(self.first_words(daemon), GONE)
            self.stand(daemon, "down", "Permission denied")
            os.chmod(destination.path, 0o666)
            daemon.records("destination", count=1, state="up")


class Steered(Own):
    """What an operator does with it."""

    def ctl(self, daemon, *arguments):
        done = harness.ctl(*arguments, "-c", daemon.conf)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test(self):
        with harness.Sink("--name", "tcp.test") as one, \
                harness.Sink("--name", "unix.test", unix=True) as two, \
                test_upgrade.copy(self, one, CONTROL_SOCKET=str(self.control())) as daemon:
            self.assertEqual(harness.name_of(self.first_words(daemon)), "tcp.test")
            daemon.configure(DESTINATIONS=two.place + ",max=9")
            self.ctl(daemon, "reload")
            self.assertEqual(harness.name_of(self.first_words(daemon)), "unix.test")
            self.assertIn(two.place, self.ctl(daemon, "status"))
            self.ctl(daemon, "drain", two.place)
            self.ctl(daemon, "upgrade")
            self.assertEqual(self.first_words(daemon), GONE)
            self.ctl(daemon, "ready", two.place)
            self.assertEqual(harness.name_of(self.first_words(daemon)), "unix.test")

    def control(self):
        path = self.new_dir("run")
        harness.give_to_user(path)
        return path / "control"


class Check(Own):
    """carontectl check-destination."""
    dialogs = ("sniff",)
    each_engine = False

    def check(self, place, *arguments):
        done = harness.ctl("check-destination", "-c", "/dev/null", "-o", "DESTINATIONS=" + place,
                           "--timeout", 5, *arguments, patience_s=600)
        return done.returncode, done.stdout

    def test(self):
        with harness.Sink("--reply", "RCPT:caronte-relay-check@=550 5.7.1 no", maildir=True,
                          unix=True) as sink:
            status, said = self.check(sink.place)
            self.assertEqual((status, said.splitlines()[-1]), (0, "0 warnings"), said)
            self.assertIn("%s: good: it takes 100 connections at a time\n" % sink.place, said)
            status, said = self.check(sink.place, "--recipient", "a@local.test")
            self.assertEqual(status, 0, said)
        status, said = self.check(sink.place)
        self.assertEqual(status, 1)
        self.assertIn("%s: warning: cannot be connected to: Connection refused\n" % sink.place,
                      said)


class Workers(Own):
    """caronte-sink with several: they share the socket."""
    dialogs = ("sniff",)

    def test(self):
        with harness.Sink("--workers", "2", digest=True, unix=True) as sink, \
                self.caronte(sink) as daemon:
            for _ in range(20):
                self.deliver(daemon)
            self.assertEqual(len(sink.report()["digests"]), 20)
            self.assertIn("ready, listening on %s\n" % sink.place, sink.stderr())


class Postfix(Own):
    """A real server; what it takes its client for is in the recipe's test."""
    LISTENER = "127.0.0.1:225 inet n - n - 200 smtpd\nservice unix n - n - 20 smtpd\n"

    def test(self):
        messages = [BODY, b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 3000,
                    b"Subject: x\r\n\r\n" + b"y\r\n.z\r\n" * 80000]
        sent = []
        with postfix.Postfix(self.LISTENER) as server:
            place = "unix:%s/public/service" % server.queue
            for settings in {}, {"DATA_AS_BDAT": False}, {"BODY_SPLICE": True}:
                with case(settings), self.caronte(place, **settings) as daemon:
                    for message in messages:
                        self.deliver(daemon, message)
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        client.envelope()
                        client.send(bdat(messages[1], True))
                        self.assertEqual(client.reply()[:3], b"250")
                        client.quit()
                    sent += messages + messages[1:2]
                    self.assertEqual(sorted(map(harness.sha256, server.mails(len(sent)))),
                                     sorted(map(harness.sha256, sent)))
                    self.assertEqual({r.get("destination")
                                      for r in daemon.records("message", count=4)}, {place})
            server.has_logged("connect from localhost[127.0.0.1]")
