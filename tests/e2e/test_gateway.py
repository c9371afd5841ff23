# SPDX-License-Identifier: ISC
"""What only the gateway dialog has: a pool of connections that belong to no session, capabilities
that were learnt ahead, and transactions that go over whatever connection there is. Destinations
here do everything by hand, unless they are caronte-sink.
"""
import contextlib
import json
import select
import socket
import subprocess
import time
import unittest

import harness
import namespace
import puppet
from puppet import DATA, EHLO, EXTENSIONS, GO_AHEAD, GREETING, MAIL, OK, RCPT, SENDER_OK, case

BYE = b"221 2.0.0 Bye\r\n"
END = b".\r\n"
UNCOVERED = b"451 4.3.0 "
TICK_S = 0.25
DELAY_S = 0.25  # of Far, either way: longer than a busy machine lets a test wait


def extensions(*lines):
    lines = [b"puppet.test", *lines]
    return b"".join(b"250-%s\r\n" % line for line in lines[:-1]) + b"250 %s\r\n" % lines[-1]


class Base(harness.TestCase):
    dialogs = ("gateway",)

    def learnt(self, destination, answer=EXTENSIONS):
        """The connection over which a worker has asked what the destination can do."""
        peer = destination.accept()
        peer.send(GREETING)
        self.hello(peer, answer)
        return peer

    def hello(self, peer, answer=EXTENSIONS):
        self.assertRegex(peer.line(), rb"^EHLO [\w.-]+\r\n$")
        peer.send(answer)

    @contextlib.contextmanager
    def one_worker(self, answer=EXTENSIONS, **settings):
        """The daemon, its destination, and the one connection that it has there."""
        with puppet.Destination(by_hand=True) as destination:
            daemon = self.caronte(destination, WORKERS=1, **settings)
            # It is ready before it knows what it can offer.
            with daemon, contextlib.ExitStack() as self.stack:
                yield daemon, destination, self.stack.enter_context(
                    self.learnt(destination, answer))

    def client(self, daemon):
        """… that is gone before the daemon is stopped."""
        c = self.stack.enter_context(puppet.client(daemon.port))
        self.assertRegex(c.reply(), rb"^220 [\w.-]+ ESMTP Caronte\r\n$")
        c.send(EHLO)
        self.assertEqual(c.codes(1), [250])
        return c

    def offered(self, daemon):
        with puppet.client(daemon.port) as c:
            c.reply()
            c.send(EHLO)
            return [line[4:] for line in c.reply().decode().splitlines()[1:]]

    def answer(self, peer, *answers):
        """Each command with its answer."""
        for command, reply in answers:
            peer.expect(command)
            peer.send(reply)

    def message(self, c, peer, answer=OK):
        c.send(MAIL + RCPT + DATA)
        self.answer_message(c, peer, answer)

    def answer_message(self, c, peer, answer=OK):
        """One whose commands the client has sent."""
        peer.expect(MAIL + RCPT + DATA)
        peer.send(SENDER_OK + OK + GO_AHEAD)
        c.expect(SENDER_OK + OK + GO_AHEAD)
        c.send(b"text\r\n" + END)
        peer.expect(b"text\r\n" + END)
        peer.send(answer)
        c.expect(answer)

    def quit(self, c):
        c.send(b"QUIT\r\n")
        c.expect(BYE)
        self.assertEqual(c.rest(), b"")


class Pool(Base):
    def test_server_name(self):
        """What clients and destinations are told, and a destination that wants a full name."""
        for name in "mx.local.test", "":
            with self.subTest(name), harness.Sink() as sink, \
                    self.caronte(sink, SERVER_NAME=name) as daemon:
                with harness.Client(daemon.port) as client:
                    said = client.reply().decode().split()[1]
                    client.command("EHLO c", 250)
                    client.send_message(b"text\r\n")
                    client.quit()
                heard = {line.split()[1] for line in sink.commands() if line[:4] == "EHLO"}
                self.assertEqual(heard, {said})
                if name:
                    self.assertEqual(said, name)
                else:
                    self.assertIn(said, {socket.gethostname(), socket.getfqdn(), "localhost"})

    def test_one_connection_for_many_clients(self):
        with self.one_worker() as (daemon, destination, peer):
            for _ in range(6):
                c = self.client(daemon)
                self.message(c, peer)
                self.message(c, peer)
                self.quit(c)
            self.assertTrue(peer.silent(0.05))
            self.assertEqual(select.select([destination.socket], [], [], 0)[0], [])
            records = daemon.records("message", count=12)
            self.assertEqual({r.get("destination") for r in records}, {destination.place})
            self.assertEqual({r.get("destination") for r in daemon.records("session", count=6)},
                             {destination.place})

    def test_a_refused_message_ends_the_connection(self):
        """What the destination may still say to octets of that message answers nothing else, not
        even the same client's next message."""
        with self.one_worker() as (daemon, destination, peer):
            for refusal in b"554 5.7.1 Spam\r\n", b"452 4.3.1 Full\r\n":
                with case(refusal):
                    c = self.client(daemon)
                    self.message(c, peer, refusal)
                    self.assertIn(peer.rest(), (b"", b"QUIT\r\n"))
                    c.send(MAIL + RCPT + DATA)
                    peer = self.stack.enter_context(self.learnt(destination))
                    self.answer_message(c, peer)
                    self.quit(c)

    def test_spam_causes_no_connection(self):
        with self.one_worker() as (daemon, destination, peer):
            peer.close()
            for _ in range(20):
                c = self.client(daemon)
                c.send(MAIL + b"RCPT TO:<victim@far.test>\r\n"
                       b"RCPT TO:<x%far.test@local.test>\r\n")
                self.assertEqual(c.codes(3), [250, 550, 550])
                self.quit(c)
            self.assertEqual(select.select([destination.socket], [], [], 0.1)[0], [])
            session = daemon.records("session", count=20)[0]
            self.assertEqual((session.get("destination"), session.get("refusals")), (None, "2"))

    def test_a_begun_transaction_is_reset_first(self):
        """Nobody gets a connection whose RSET was not answered by a 250 alone."""
        rows = [(OK, True), (b"250-a\r\n250 b\r\n", True), (b"502 What\r\n", False),
                (OK + OK, False), (b"garbage\r\n", False), (b"", False)]
        for reply, good in rows:
            with case(reply), self.one_worker() as (daemon, destination, peer):
                c = self.client(daemon)
                c.send(MAIL + RCPT)
                self.answer(peer, (MAIL, SENDER_OK), (RCPT, OK))
                c.expect(SENDER_OK + OK)
                c.send(b"RSET\r\n")
                c.expect(OK)
                peer.expect(b"RSET\r\n")
                # It is not waited for: who comes meanwhile gets another one.
                c.send(MAIL + RCPT)
                with destination.accept() as other:
                    other.send(GREETING)
                    self.hello(other)
                    self.answer(other, (MAIL, SENDER_OK), (RCPT, b"550 5.1.1 No\r\n"))
                    c.expect(SENDER_OK + b"550 5.1.1 No\r\n")
                    other.close()
                if reply:
                    peer.send(reply)
                else:
                    peer.end()
                self.assertTrue(peer.silent(0.02) == good or not good)
                c.close()
                c = self.client(daemon)
                if not good:
                    self.assertIn(peer.rest(), (b"", puppet.RESET))
                    c.send(MAIL + RCPT + DATA)
                    with destination.accept() as peer:
                        peer.send(GREETING)
                        self.hello(peer)
                        peer.expect(MAIL + RCPT + DATA)
                else:
                    self.message(c, peer)

    def test_words_before_reset(self):
        """They wait in the socket behind the last answer, and do not answer the RSET."""
        def padded(octets):
            """A refusal of so many octets in four lines."""
            return b"".join(b"550%c%s\r\n" % (mark, b"x" * (octets // 4 - 6)) for mark in b"--- ")
        refusal = b"550 no\r\n"
        block = refusal + padded(8192) + padded(8184)  # as much as is received at once
        self.assertEqual(len(block), 16384)
        with self.one_worker() as (daemon, destination, peer):
            worker, = daemon.workers()
            c = self.client(daemon)
            c.send(MAIL + RCPT * 2)
            peer.expect(MAIL + RCPT * 2)
            with harness.frozen(worker):
                peer.send(block + OK)
                time.sleep(0.05)
            c.expect(SENDER_OK + refusal * 2)
            self.assertIn(peer.rest(), (b"", puppet.RESET))

    def test_words_that_nobody_asked_for(self):
        """On an idle connection they retire it, and no client hears of them: at once where nobody
        needs it, and also when it is needed in the same moment."""
        for words in b"421 4.4.2 Idle for too long\r\n", OK, b"x", b"":
            for waits in True, False:
                with case(words, waits), self.one_worker() as (daemon, destination, peer):
                    c = self.client(daemon)
                    if words:
                        peer.send(words)
                    else:
                        peer.end()
                    if waits:
                        self.assertIn(peer.rest(), (b"", puppet.RESET))
                        peer.close()
                    c.send(MAIL + RCPT)
                    with destination.accept() as other:
                        other.send(GREETING)
                        self.hello(other)
                        self.answer(other, (MAIL, SENDER_OK), (RCPT, OK))
                        c.expect(SENDER_OK + OK)
                    self.assertEqual(c.reply()[:9], b"421 4.4.2")  # that one has closed
                    if not waits:
                        self.assertIn(peer.rest(), (b"", puppet.RESET))

    def test_dead_when_it_is_used(self):
        """Once more over a fresh one, as long as nothing has been answered, and only once."""
        for leave in puppet.Peer.close, puppet.Peer.reset:
            for group in MAIL + RCPT, MAIL + RCPT + DATA:
                with case(leave.__name__, group), \
                        self.one_worker() as (daemon, destination, peer):
                    c = self.client(daemon)
                    c.send(group)
                    peer.expect(group)
                    leave(peer)
                    with destination.accept() as other:
                        other.send(GREETING)
                        self.hello(other)
                        other.expect(group)
                        leave(other)
                    c.expect(SENDER_OK)
                    self.assertEqual(c.reply()[:9], b"451 4.4.2")
                    self.assertEqual(c.rest(), b"")
                    self.assertEqual(select.select([destination.socket], [], [], 0.05)[0], [])
                    daemon.records("session", count=1, end="lost-destination")

    def test_dead_after_an_octet(self):
        for octets in b"2", b"250 2.1.0", SENDER_OK, SENDER_OK + b"250":
            with case(octets), self.one_worker() as (daemon, destination, peer):
                c = self.client(daemon)
                c.send(MAIL + RCPT)
                peer.expect(MAIL + RCPT)
                peer.send(octets)
                peer.close()
                c.expect(SENDER_OK)
                self.assertEqual(c.reply()[:9], b"451 4.4.2")
                self.assertEqual(c.rest(), b"")
                self.assertEqual(select.select([destination.socket], [], [], 0.05)[0], [])

    def test_refused_sender(self):
        """Of each of his recipients it is said, of those that come later too, and the connection
        serves others afterwards."""
        refusal = b"550-5.1.8 Not\r\n550 5.1.8 him\r\n"
        with self.one_worker() as (daemon, destination, peer):
            c = self.client(daemon)
            c.send(MAIL + RCPT + RCPT)
            peer.expect(MAIL + RCPT + RCPT)
            peer.send(refusal + b"503 5.5.1 No sender\r\n" + OK)
            c.expect(SENDER_OK + refusal * 2)
            self.answer(peer, (b"RSET\r\n", OK))
            c.send(RCPT + b"RCPT TO:<x@far.test>\r\nNOOP\r\n")
            c.expect(refusal + b"550 5.7.1 Relaying denied. \r\n" + OK)
            c.send(DATA)
            self.assertEqual(c.reply()[:9], b"554 5.5.1")
            c.send(b"RSET\r\n")
            c.expect(OK)
            self.message(c, peer)
            self.quit(c)
            rules = [r.get("rule") for r in daemon.records("recipient", count=5)]
            self.assertEqual(rules, ["destination"] * 3 + ["relaying-denied", "recipient"])

    def test_a_long_refusal_of_many_recipients(self):
        """However long it is, it answers each of them, and what it does not fit into goes on."""
        count = 60
        text = b"The user is receiving mail at a rate that prevents more from being delivered"
        for lines in 3, 60:
            refusal = b"".join(b"450%c4.2.1 %s %d\r\n" % (b"- "[i == lines - 1], text, i)
                               for i in range(lines))
            for greeting, answer in (refusal, None), (GREETING, refusal):
                with case(lines, greeting[:3]), \
                        self.one_worker(extensions(b"SIZE 10000"), MAX_ERRORS=100) as (
                            daemon, destination, peer):
                    peer.close()
                    c = self.client(daemon)
                    c.send(MAIL + RCPT * count)
                    other = self.stack.enter_context(destination.accept())
                    other.send(greeting)
                    if answer:
                        self.hello(other, extensions(b"SIZE 10000"))
                        self.answer(other, (MAIL, answer))
                    c.expect(SENDER_OK + refusal * count)
                    c.send(b"NOOP\r\n")
                    c.expect(b"250 2.0.0 Ok\r\n")
                    self.quit(c)

    def test_refused_too_often(self):
        """What earlier clients have earned does not fall on the next one."""
        refusal = b"550 5.1.1 Nobody\r\n"
        with self.one_worker() as (daemon, destination, peer):
            for worn in False, True:
                c = self.client(daemon)
                c.send(MAIL + RCPT * 4)
                peer.expect(MAIL + RCPT * 4)
                peer.send(SENDER_OK + refusal * 4)
                c.expect(SENDER_OK + refusal * 4)
                c.send(b"RSET\r\n")
                c.expect(OK)
                if not worn:
                    self.answer(peer, (b"RSET\r\n", OK))
                self.quit(c)
            self.assertIn(peer.rest(), (b"", puppet.RESET))
            c = self.client(daemon)
            c.send(MAIL + RCPT)
            with destination.accept() as other:
                other.send(GREETING)
                self.hello(other)
                self.answer(other, (MAIL + RCPT, SENDER_OK + OK))
                c.expect(SENDER_OK + OK)

    def test_login_is_never_shared(self):
        auth = b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"
        answer = extensions(b"PIPELINING", b"AUTH PLAIN")
        with self.one_worker(answer) as (daemon, destination, peer):
            joe = self.client(daemon)
            joe.send(auth)
            self.answer(peer, (auth, b"235 2.7.0 Welcome\r\n"))
            joe.expect(b"235 2.7.0 Welcome\r\n")
            self.message(joe, peer)
            # Another client, while it is idle: never over joe's.
            c = self.client(daemon)
            c.send(MAIL + RCPT)
            other = destination.accept()
            other.send(GREETING)
            self.hello(other, answer)
            self.answer(other, (MAIL + RCPT, SENDER_OK + OK))
            c.expect(SENDER_OK + OK)
            c.send(b"RSET\r\n")
            c.expect(OK)
            self.answer(other, (b"RSET\r\n", OK))
            # Joe's connection is lost: there is another one, and it is not his.
            peer.close()
            self.assertEqual(joe.reply()[:9], b"421 4.4.2")
            self.assertEqual(joe.rest(), b"")
            self.message(c, other)
            self.quit(c)
            # One who leaves takes his connection with him.
            jim = self.client(daemon)
            jim.send(auth)
            self.answer(other, (auth, b"235 2.7.0 Welcome\r\n"))
            jim.expect(b"235 2.7.0 Welcome\r\n")
            jim.send(b"QUIT\r\n")
            self.answer(other, (b"QUIT\r\n", BYE))
            jim.expect(BYE)
            self.assertEqual(other.rest(), b"")
            # So does one who has failed to log in.
            eve = self.client(daemon)
            eve.send(auth)
            with destination.accept() as third:
                third.send(GREETING)
                self.hello(third, answer)
                self.answer(third, (auth, b"535 5.7.8 No\r\n"))
                eve.expect(b"535 5.7.8 No\r\n")
                self.assertEqual(third.rest(), b"")
            eve.send(MAIL + b"RCPT TO:<x@far.test>\r\n")
            self.assertEqual(eve.codes(2), [250, 550])
            self.quit(eve)

    def test_idle_connection_and_a_login_that_fails(self):
        """It is closed as a fresh one is."""
        auth, no = b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n", b"535 5.7.8 No\r\n"
        with self.one_worker(extensions(b"PIPELINING", b"AUTH PLAIN")) as (daemon, _, peer):
            client = self.client(daemon)
            client.send(auth)
            self.answer(peer, (auth, no))
            client.expect(no)
            self.assertEqual(peer.rest(), b"")

    def test_half_a_group_and_another_client(self):
        """A reply that comes late is for nobody else: what owes one is never idle."""
        with self.one_worker() as (daemon, destination, peer):
            first = self.client(daemon)
            first.send(MAIL + RCPT)
            peer.expect(MAIL + RCPT)
            first.reset()
            self.assertEqual(peer.rest(), b"")
            c = self.client(daemon)
            c.send(MAIL + RCPT)
            with destination.accept() as other:
                other.send(GREETING)
                self.hello(other)
                self.answer(other, (MAIL + RCPT, SENDER_OK + b"550 5.1.1 No\r\n"))
                c.expect(SENDER_OK + b"550 5.1.1 No\r\n")

    def test_used_up(self):
        """No connection is used for ever."""
        with harness.Sink() as sink, self.caronte(sink, WORKERS=1) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                for _ in range(250):
                    self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                client.quit()
            self.assertEqual(sink.report()["connections"], 3)
            self.assertEqual(sink.commands().count("QUIT"), 2)

    def test_drained_reloaded_and_stopped(self):
        """Idle connections are gone when their destination is not to be used, when there is
        another configuration, and at the end."""
        with self.one_worker() as (daemon, destination, peer):
            daemon.configure(MAX_ERRORS=7)
            daemon.process.send_signal(harness.signal.SIGHUP)
            peer.expect(b"QUIT\r\n")
            self.assertEqual(peer.rest(), b"")
            # What was learnt is still known.
            c = self.client(daemon)
            c.send(MAIL + RCPT)
            with self.learnt(destination) as peer:
                self.answer(peer, (MAIL + RCPT, SENDER_OK + OK))
                c.expect(SENDER_OK + OK)
                c.send(b"RSET\r\n")
                self.answer(peer, (b"RSET\r\n", OK))
                c.expect(OK)
                self.message(c, peer)
                daemon.process.terminate()
                peer.expect(b"QUIT\r\n")
                self.assertEqual(peer.rest(), b"")
                # A session that runs may still send.
                c.send(MAIL + RCPT)
                with destination.accept() as other:
                    other.send(GREETING)
                    self.hello(other)
                    self.answer(other, (MAIL + RCPT, SENDER_OK + OK))
                    c.expect(SENDER_OK + OK)
                    c.send(b"QUIT\r\n")
                    c.expect(BYE)

    def test_a_session_keeps_its_dialog(self):
        """A reload that changes it holds for sessions that begin afterwards."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink, WORKERS=1) as daemon:
            with harness.Client(daemon.port) as old:
                old.hello()
                daemon.configure(DIALOG_GATEWAY=None)
                daemon.process.send_signal(harness.signal.SIGHUP)
                daemon.records("reload", count=1)
                with harness.Client(daemon.port) as new:
                    self.assertIn("sink.test", new.hello()[0])
                    self.assertEqual(new.send_message(b"new\r\n")[:3], b"250")
                    new.quit()
                self.assertEqual(old.send_message(b"old\r\n")[:3], b"250")
                old.quit()
            self.assertEqual(sink.mails(), [b"new\r\n", b"old\r\n"])


class Figures(Base):
    def test_sessions_at_a_destination_are_transactions(self):
        with harness.Sink() as sink:
            directory = self.new_dir("control")
            harness.give_to_user(directory)
            control = directory / "control"
            with self.caronte(sink, WORKERS=1, CONTROL_SOCKET=str(control)) as daemon, \
                    harness.Client(daemon.port) as idle, harness.Client(daemon.port) as busy:
                def figures():
                    done = subprocess.run([harness.BUILD / "carontectl", "status", "-s", control,
                                           "--json"], stdout=subprocess.PIPE, check=True)
                    destination, = json.loads(done.stdout)["destinations"]
                    return [destination[name] for name in ("open", "total", "messages")] + [
                        destination["latency"]["connect"]["count"]]
                idle.hello()
                busy.hello()
                harness.wait_until(lambda: figures() == [0, 0, 0, 0])
                busy.envelope()
                harness.wait_until(lambda: figures() == [1, 1, 0, 0])
                busy.command("DATA", 354)
                busy.command(".", 250)
                harness.wait_until(lambda: figures() == [0, 1, 1, 0])
                idle.envelope()
                busy.envelope()  # there was one warm connection: now there are two
                harness.wait_until(lambda: figures() == [2, 3, 1, 1])


class Offers(Base):
    @contextlib.contextmanager
    def cluster(self, *offers, **settings):
        """Sinks that offer these, and a daemon before them."""
        with contextlib.ExitStack() as stack:
            sinks = [stack.enter_context(harness.Sink(
                *(word for line in offer.split(",") for word in ("--ext", line))))
                for offer in offers]
            destinations = " ".join("127.0.0.1:%d" % sink.port for sink in sinks)
            yield stack.enter_context(self.caronte(
                destinations, COOPERATION_CLUSTER=True, WORKERS=1, **settings)), sinks

    def test_only_what_all_can_do(self):
        one = "PIPELINING,SIZE 1000,DSN,SMTPUTF8,AUTH PLAIN LOGIN"
        two = "8BITMIME,SIZE 500,DSN,AUTH LOGIN CRAM-MD5"
        with self.cluster(one, two) as (daemon, _):
            harness.wait_until(lambda: self.offered(daemon) == [
                "SIZE 500", "DSN", "AUTH LOGIN"])
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("MAIL FROM:<a@client.test> SMTPUTF8", 555)
                client.command("MAIL FROM:<a@client.test> BODY=8BITMIME", 555)
                client.command("MAIL FROM:<a@client.test> SIZE=501", 552)
                client.command("MAIL FROM:<a@client.test> SIZE=500", 250)

    def test_one_that_is_down_does_not_count(self):
        with self.cluster("PIPELINING", "DSN") as (daemon, sinks):
            harness.wait_until(lambda: self.offered(daemon) == [])
            sinks[1].kill()
            for _ in range(4):  # one of them goes there, and fails
                with harness.Client(daemon.port) as client:
                    client.hello()
                    self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
            daemon.records("destination", state="down", count=1)
            harness.wait_until(lambda: self.offered(daemon) == ["PIPELINING"])
            sinks[1].start()
            sinks[1].expect_status = 0
            harness.wait_until(lambda: self.offered(daemon) == [])

    def test_nothing_is_stripped(self):
        """A connection that cannot do what it is to: 451, and it is of use for others."""
        for offer in (b"PIPELINING", b"SIZE 50"), (b"PIPELINING", b"DSN"):
            with case(offer), self.one_worker(extensions(b"PIPELINING", b"DSN", b"SIZE 100")) as \
                    (daemon, destination, peer):
                c = self.client(daemon)
                peer.close()
                c.send(b"MAIL FROM:<a@client.test> SIZE=70 RET=FULL\r\n" + RCPT + RCPT)
                with destination.accept() as other:
                    other.send(GREETING)
                    self.hello(other, extensions(*offer))
                    c.expect(SENDER_OK)
                    self.assertEqual([r[:10] for r in c.replies(2)], [UNCOVERED] * 2)
                    c.send(b"RSET\r\n")
                    c.expect(OK)
                    self.message(c, other)
                    self.quit(c)

    def test_another_connection_may_do(self):
        """One that cannot do it is idle: a new one is made, for it alone."""
        with self.one_worker(extensions(b"PIPELINING", b"DSN")) as (daemon, destination, peer):
            old, c = self.client(daemon), self.client(daemon)
            peer.close()
            c.send(MAIL + RCPT)
            other = self.stack.enter_context(destination.accept())
            other.send(GREETING)
            self.hello(other, extensions(b"PIPELINING"))
            self.answer(other, (MAIL + RCPT, SENDER_OK + OK))
            c.expect(SENDER_OK + OK)
            c.send(b"RSET\r\n")
            c.expect(OK)
            self.answer(other, (b"RSET\r\n", OK))
            dsn = b"MAIL FROM:<a@client.test> RET=FULL\r\n"
            old.send(dsn + RCPT)
            while True:  # it may be asked anew what it can do, too
                able = self.stack.enter_context(destination.accept())
                able.send(GREETING)
                self.hello(able, extensions(b"PIPELINING", b"DSN"))
                if not able.silent(0.3):
                    break
            self.answer(able, (dsn + RCPT, SENDER_OK + OK))
            old.expect(SENDER_OK + OK)
            self.message(c, other)

    def test_learns_what_has_changed(self):
        with self.one_worker(extensions(b"PIPELINING", b"DSN")) as (daemon, destination, peer):
            self.assertEqual(self.offered(daemon), ["PIPELINING", "DSN"])
            peer.close()
            c = self.client(daemon)
            c.send(MAIL + RCPT)
            with destination.accept() as other:
                other.send(GREETING)
                self.hello(other, extensions(b"8BITMIME"))
                self.answer(other, (MAIL, SENDER_OK), (RCPT, OK))
                c.expect(SENDER_OK + OK)
                c.send(b"RSET\r\n")
                c.expect(OK)
                # That was another answer than before, so it is asked again.
                with self.learnt(destination, extensions(b"8BITMIME")):
                    harness.wait_until(lambda: self.offered(daemon) == ["8BITMIME"])

    def test_not_known_yet(self):
        """Clients wait for it as long as for a destination; then they are told."""
        with puppet.Destination(by_hand=True) as destination, self.caronte(
                destination, WORKERS=1, TIMEOUT_CONNECT=harness.FAR_S) as daemon:
            with destination.accept() as silent:
                with puppet.client(daemon.port) as early:
                    self.assertTrue(early.silent(0.3))
                    silent.send(GREETING)
                    self.hello(silent)
                    self.assertEqual(early.reply()[:4], b"220 ")
        with puppet.Destination(by_hand=True) as destination, self.caronte(
                destination, WORKERS=1, TIMEOUT_CONNECT=1) as daemon, \
                destination.accept():
            began = time.monotonic()
            with puppet.client(daemon.port) as early:
                self.assertEqual(early.reply()[:9], b"421 4.3.2")
                self.assertGreater(time.monotonic() - began, 0.9)
                self.assertEqual(early.rest(), b"")

    def test_no_destination_from_the_start(self):
        port = harness.free_port()
        with self.caronte("127.0.0.1:%d" % port, WORKERS=1) as daemon:
            daemon.records("destination", state="down", count=1)
            with puppet.client(daemon.port) as c:
                self.assertEqual(c.reply()[:9], b"421 4.3.2")
            with puppet.Destination(port):
                daemon.records("destination", state="up", count=1)
                harness.wait_until(lambda: self.greeted(daemon))

    def greeted(self, daemon):
        with puppet.client(daemon.port) as c:
            return c.reply()[:3] == b"220"

    def test_old_destination(self):
        """EHLO is refused: HELO, nothing is offered, and one command at a time."""
        def greet(destination):
            peer = destination.accept()
            peer.send(GREETING)
            self.hello(peer, b"502 5.5.1 What is EHLO?\r\n")
            self.assertRegex(peer.line(), rb"^HELO [\w.-]+\r\n$")
            peer.send(extensions(b"PIPELINING", b"DSN"))  # of no meaning here
            return peer
        with puppet.Destination(by_hand=True) as destination, \
                self.caronte(destination, WORKERS=1) as daemon, \
                contextlib.ExitStack() as self.stack:
            with greet(destination) as peer:
                self.assertEqual(self.offered(daemon), [])
            c = self.client(daemon)
            c.send(MAIL + RCPT + DATA)
            with greet(destination) as peer:
                for command, reply in (MAIL, SENDER_OK), (RCPT, OK), (DATA, GO_AHEAD):
                    peer.expect(command)
                    self.assertTrue(peer.silent(0.01))
                    peer.send(reply)
                c.expect(SENDER_OK + OK + GO_AHEAD)


class Fresh(Base):
    """Connections that the pool could not give, and destinations that are slow or odd."""

    def test_silence(self):
        steps = b"", GREETING
        for said in steps:
            with case(said), self.one_worker(TIMEOUT_GREETING=3, TIMEOUT_REPLY=3) as \
                    (daemon, destination, peer):
                c = self.client(daemon)
                peer.close()
                c.send(MAIL + RCPT)
                with destination.accept() as other:
                    other.send(said)
                    c.expect(SENDER_OK)
                    self.assertEqual(c.reply()[:9], b"451 4.4.2")
                    self.assertEqual(c.rest(), b"")
                daemon.records("session", count=1, end="lost-destination")

    def test_odd_answers_to_ehlo(self):
        rows = [(b"421 4.3.2 Full\r\n", b"421 4.3.2 Full\r\n"), (b"354 Go\r\n", b"451 4.3.0 "),
                (b"250 a\n", b"451 4.3.0 "), (b"250-a\r\n251 b\r\n", b"451 4.3.0 "),
                (OK + OK, b"451 4.3.0 "), (None, b"451 4.4.2 ")]
        for answer, reply in rows:
            with case(answer), self.one_worker() as (daemon, destination, peer):
                c = self.client(daemon)
                peer.close()
                c.send(MAIL + RCPT)
                with destination.accept() as other:
                    other.send(GREETING)
                    self.assertEqual(other.line()[:4], b"EHLO")
                    if answer:
                        other.send(answer)
                    else:
                        other.close()
                    c.expect(SENDER_OK)
                    self.assertEqual(c.reply()[:len(reply)], reply)
                    self.assertEqual(c.rest(), b"")

    def test_client_leaves_while_it_is_reached(self):
        for leave in puppet.Peer.close, puppet.Peer.reset:
            with case(leave.__name__), self.one_worker() as (daemon, destination, peer):
                peer.close()
                c = self.client(daemon)
                c.send(MAIL + RCPT)
                with destination.accept() as other:
                    c.expect(SENDER_OK)  # it does not wait for a connection
                    leave(c)
                    if leave is puppet.Peer.close:  # what it said is still answered
                        other.send(GREETING)
                        self.hello(other)
                        other.expect(MAIL + RCPT)
                        other.send(SENDER_OK + OK)
                    self.assertEqual(other.rest(), b"")
                daemon.records("session", count=1, end="lost-client")

    def test_octets_behind_auth_while_it_is_reached(self):
        answer = extensions(b"AUTH PLAIN")
        with self.one_worker(answer) as (daemon, destination, peer):
            peer.close()
            c = self.client(daemon)
            c.send(b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n")
            with destination.accept() as other:
                c.send(MAIL)
                self.assertEqual(c.reply()[:9], b"503 5.5.0")
                self.assertEqual(c.rest(), b"")
                self.assertEqual(other.rest(), b"")


class Silence(Base):
    """A machine that is gone says nothing."""

    @classmethod
    def setUpClass(cls):
        namespace.enter()

    def test_dead_without_a_word(self):
        """What nobody acknowledges in TIMEOUT_CONNECT goes over a fresh connection; what is
        acknowledged and not answered does not."""
        gone = namespace.FILTERED[0]
        namespace.open_up(gone)
        with puppet.Destination(by_hand=True, address=gone) as first, \
                puppet.Destination(by_hand=True) as second, \
                self.caronte("%s:%d 127.0.0.1:%d" % (gone, first.port, second.port),
                             COOPERATION_BACKUP=True, WORKERS=1, TIMEOUT_CONNECT=1) as daemon, \
                contextlib.ExitStack() as self.stack:
            peer = self.stack.enter_context(self.learnt(first))
            other = self.stack.enter_context(self.learnt(second))
            slow = self.client(daemon)
            c = self.client(daemon)
            slow.send(MAIL + RCPT)
            peer.expect(MAIL + RCPT)
            peer.send(SENDER_OK + OK)
            slow.expect(SENDER_OK + OK)
            slow.send(b"RSET\r\n")
            slow.expect(OK)
            self.answer(peer, (b"RSET\r\n", OK))
            namespace.filter_out(gone)
            c.send(MAIL + RCPT + DATA)
            fresh = self.stack.enter_context(second.accept())
            fresh.send(GREETING)
            self.hello(fresh)
            fresh.expect(MAIL + RCPT + DATA)
            fresh.send(SENDER_OK + OK + GO_AHEAD)
            c.expect(SENDER_OK + OK + GO_AHEAD)
            c.send(END)
            fresh.expect(END)
            # It is acknowledged, and slow: that is no reason for another one.
            slow.send(MAIL + RCPT)
            other.expect(MAIL + RCPT)
            self.assertEqual(select.select([second.socket], [], [], 2.5)[0], [])
            other.send(SENDER_OK + OK)
            slow.expect(SENDER_OK + OK)


class Far(Base):
    """A destination a long way off, that says one reply too many: it is under way when its
    connection changes hands, and answers nobody."""
    NO_USER = b"550 5.1.1 No such user\r\n"

    @classmethod
    def setUpClass(cls):
        namespace.enter()
        namespace.stretch(DELAY_S)

    @contextlib.contextmanager
    def far(self):
        with puppet.Destination(by_hand=True, address=namespace.NEAR) as destination:
            at = "%s:%d" % (namespace.FAR, destination.port)
            with self.caronte(at, WORKERS=1) as daemon, contextlib.ExitStack() as self.stack:
                peer = self.stack.enter_context(self.learnt(destination))
                time.sleep(3 * DELAY_S)  # its answer is under way
                yield daemon, destination, peer

    def refused_afresh(self, destination, c):
        """The client's own connection, and its own replies."""
        fresh = self.stack.enter_context(destination.accept())
        fresh.send(GREETING)
        self.hello(fresh)
        fresh.expect(MAIL + RCPT)
        fresh.send(SENDER_OK + self.NO_USER)
        c.expect(SENDER_OK + self.NO_USER)

    def test_before_rset(self):
        with self.far() as (daemon, destination, peer):
            one, two = self.client(daemon), self.client(daemon)
            one.send(MAIL + RCPT)
            peer.expect(MAIL + RCPT)
            peer.send(SENDER_OK + OK)
            one.expect(SENDER_OK + OK)
            time.sleep(3 * DELAY_S)
            one.send(b"RSET\r\n")
            one.expect(OK)
            peer.send(b"250 2.0.0 One too many\r\n")
            time.sleep(1.2 * DELAY_S)
            two.send(MAIL + RCPT)
            peer.expect(b"RSET\r\n")
            self.refused_afresh(destination, two)

    def is_refused_afresh(self, daemon, destination, peer):
        """False: the word has come before the next client needed the connection, which was closed
        then."""
        one, two = self.client(daemon), self.client(daemon)
        one.send(MAIL + RCPT + DATA)
        peer.expect(MAIL + RCPT + DATA)
        peer.send(SENDER_OK + OK + GO_AHEAD)
        one.expect(SENDER_OK + OK + GO_AHEAD)
        one.send(END)
        peer.expect(END)
        time.sleep(3 * DELAY_S)
        peer.send(OK)
        time.sleep(0.8 * DELAY_S)
        peer.send(b"250 2.0.0 One too many\r\n")
        one.expect(OK)
        two.send(MAIL + RCPT)
        taken = peer.take(len(MAIL + RCPT))
        if not taken:
            return False
        self.assertEqual(taken, MAIL + RCPT)
        self.refused_afresh(destination, two)
        return True

    def test_behind_a_message(self):
        for _ in range(10):  # a busy machine may be late
            with self.far() as (daemon, destination, peer):
                if self.is_refused_afresh(daemon, destination, peer):
                    return
        self.fail("the word always came first")


if __name__ == "__main__":
    unittest.main()
