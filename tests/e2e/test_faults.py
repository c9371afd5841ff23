# SPDX-License-Identifier: ISC
"""Peers that fail, lie or leave, at every step of a session. Whatever they do, the client gets one
well-formed answer, no 250 that the destination has not given for that message, and the daemon goes
on as if nothing had been.
"""
import contextlib
import os
import threading
import unittest

import harness
import puppet
from puppet import DATA, EHLO, GREETING, MAIL, OK, RCPT, SENDER_OK, case

BODIES = ("BODY_AUTO", "BODY_COPY", "BODY_SPLICE")
END = b".\r\n"
NOOP = b"NOOP\r\n"
QUIT = b"QUIT\r\n"
BYE = b"221 2.0.0 Bye\r\n"
STEP = 512 * 1024
# What the daemon itself says: the codes are promised, the words are not.
DISAGREED = b"451 4.3.0 "
LOST = b"451 4.4.2 "
LOST_IDLE = b"421 4.4.2 "
CLOSING = b"421 4.3.2 "
CLOSE, RST, HOLD = object(), object(), object()  # what a destination does in place of an answer


class Base(harness.TestCase):
    def act(self, peer, action):
        if action is CLOSE:
            peer.close()
        elif action is RST:
            peer.reset()
        elif action is not HOLD:
            peer.send(action)

    def get(self, client, expected):
        """Whole replies, or beginnings of such."""
        for each in expected:
            reply = client.reply()
            begins = not each.endswith(b"\n") and reply.endswith(b"\r\n") and \
                reply.startswith(each)
            self.assertTrue(reply == each or begins, "%r, not %r" % (reply, each))

    def ended(self, s, action):
        self.assertEqual(s.client.rest(), b"")
        if action not in (CLOSE, RST):
            self.assertEqual(s.server.rest(), b"")

    def descriptors(self, daemon, destination):
        """… when none of them is a connection that the gateway dialog keeps."""
        harness.only_root_sees()
        if destination.idle:
            destination.idle.drop()
            harness.wait_until(lambda: not harness.connections_to(destination.port))
        return sum(len(os.listdir("/proc/%d/fd" % pid)) for pid in daemon.workers())

    def turned_away(self, c, words=CLOSING):
        """No destination for this client: told where it needs one, and the end."""
        if self.gateway:
            self.assertEqual(c.reply()[:3], b"220")
            c.send(EHLO + MAIL + RCPT)
            self.assertEqual(c.codes(2), [250, 250])
        self.get(c, [words])
        self.assertEqual(c.rest(), b"")

    def serves(self, daemon, destination):
        with puppet.Session(daemon.port, destination) as s:
            s.message()
            s.quit()

    @contextlib.contextmanager
    def daemon(self, **settings):
        """… which must be as it was when all is over: no descriptor and no session left."""
        with puppet.Destination() as destination, self.caronte(
                destination, MAX_SESSIONS_PER_ADDRESS=0, **settings) as daemon:
            for _ in range(4 * daemon.settings["WORKERS"]):
                self.serves(daemon, destination)
            self.sessions = 4 * daemon.settings["WORKERS"]
            daemon.records("session", count=self.sessions)
            before = self.descriptors(daemon, destination)
            yield daemon, destination
            self.serves(daemon, destination)
            daemon.records("session", count=self.sessions + 1)
            # In a body's time a worker makes pipes for itself, and keeps them.
            if "BODY_SPLICE" not in settings:
                harness.wait_until(lambda: self.descriptors(daemon, destination) == before)

    def check_end(self, daemon, end):
        self.sessions += 1
        record = daemon.records("session", count=self.sessions)[-1]
        self.assertEqual(record.get("end"), end)
        return record

    def run_row(self, daemon, destination, until, said, action, replies, end):
        with case(until, said, action), puppet.Session(daemon.port, destination, until) as s:
            s.client.send(said)
            s.server.expect(said)
            self.act(s.server, action)
            self.get(s.client, replies)
            if end:
                self.ended(s, action)
            else:
                s.quit()
                end = "quit"
        return self.check_end(daemon, end)


class Destinations(Base):
    """Rows: how far the session has come, what the client says then, what the destination does,
    what the client gets, and how the session's record says it ended; None: it goes on."""

    def test_greetings(self):
        rows = [
            (b"421 4.3.2 Full\r\n", [b"421 4.3.2 Full\r\n"], "refused"),
            (b"421-4.3.2 a\r\n421 4.3.2 b\r\n", [b"421-4.3.2 a\r\n421 4.3.2 b\r\n"],
             "refused"),
            (b"220-puppet.test\r\n220-\r\n220 \xc3\xa4\r\n",
             [b"220-puppet.test\r\n220-\r\n220 \xc3\xa4\r\n"], None),
            (b"220\r\n", [b"220\r\n"], None),
            (b"354 Go\r\n", [DISAGREED], "lost-destination"),
            (b"220 a\n", [DISAGREED], "lost-destination"),
            (b"220 a\r\r\n", [DISAGREED], "lost-destination"),
            (b"220 a\0b\r\n", [DISAGREED], "lost-destination"),
            (b"220-a\r\n221 b\r\n", [DISAGREED], "lost-destination"),
            (b"SSH-2.0-x\r\n", [DISAGREED], "lost-destination"),
            (b"120 a\r\n", [DISAGREED], "lost-destination"),
            (b"620 a\r\n", [DISAGREED], "lost-destination"),
            (b"220 " + b"x" * 2048 + b"\r\n", [DISAGREED], "lost-destination"),
            (b"220-x\r\n" * 2000 + b"220 x\r\n", [DISAGREED], "lost-destination"),
            (b"220 a\r\n250 b\r\n", [b"220 a\r\n", DISAGREED], "lost-destination"),
            (CLOSE, [LOST_IDLE], "lost-destination"),
            # It may come so soon that it is the connection that has failed.
            (RST, [b"421 4."], "lost-destination"),
        ]
        with self.daemon() as (daemon, destination):
            for greeting, replies, end in rows:
                if self.gateway:
                    self.greet(daemon, destination, greeting, replies, end)
                else:
                    self.run_row(daemon, destination, "connect", b"", greeting, replies, end)

    def greet(self, daemon, destination, greeting, replies, end):
        """A fresh connection is greeted so, on behalf of a recipient; a greeting that is good is
        not for the client to see."""
        what = {CLOSE: puppet.Peer.close, RST: puppet.Peer.reset}
        replies = {CLOSE: [LOST], RST: [b"4"]}.get(greeting, replies[-1:])
        destination.idle.drop()
        destination.greeting = what.get(greeting, greeting)
        with case(greeting), puppet.Session(daemon.port, destination, "mail") as s:
            s.client.send(RCPT)
            if end:
                self.get(s.client, replies)
                self.assertEqual(s.client.rest(), b"")
            else:
                s.server.expect(RCPT)
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()
        destination.greeting = GREETING
        self.check_end(daemon, end or "quit")

    def test_a_greeting_that_refuses(self):
        """It leaves the client nothing but QUIT; with the gateway dialog, where it refuses only
        the connection for this transaction, it is the answer to each of its recipients."""
        refusal = b"554-5.3.2 No\r\n554 5.3.2 service\r\n"
        with self.daemon() as (daemon, destination):
            if self.gateway:
                destination.idle.drop()
            destination.greeting = refusal
            with puppet.Session(daemon.port, destination, self.by_dialog("greeting", "mail")) as s:
                if self.gateway:
                    s.client.send(RCPT + RCPT + b"RCPT TO:<x@far.test>\r\n" + RCPT)
                    self.get(s.client, [refusal, refusal, b"550 5.7.1 ", refusal])
                    s.client.send(DATA)
                    self.assertEqual(s.client.codes(1), [554])
                    s.client.send(b"RSET\r\n")
                    s.client.expect(OK)
                    destination.greeting = GREETING
                    s.message()
                else:
                    s.client.send(EHLO + MAIL + RCPT)
                    self.assertEqual(s.client.codes(3), [503] * 3)
                s.quit()
            destination.greeting = GREETING
            self.check_end(daemon, self.by_dialog("refused", "quit"))

    def test_ehlo_refused_then_helo(self):
        helo, refusal = b"HELO client.test\r\n", b"502 5.5.1 What is EHLO?\r\n"
        if self.gateway:
            self.skipTest("test_gateway.py: Caronte's own HELO")
        with self.daemon() as (daemon, destination), \
                puppet.Session(daemon.port, destination, "greeting") as s:
            s.both(EHLO, refusal)
            s.client.send(MAIL)
            self.assertEqual(s.client.codes(1), [503])
            # Whether it knows EHLO does not hang on what this client has said.
            s.client.send(helo)
            s.server.expect(EHLO)
            s.server.send(refusal)
            s.server.expect(helo)
            s.server.send(b"250 puppet.test\r\n")
            s.client.expect(b"250 puppet.test\r\n")
            s.client.send(b"MAIL FROM:<a@client.test> SIZE=1\r\n")
            self.assertEqual(s.client.codes(1), [555])
            # Nothing is offered, so nothing is pipelined to it either.
            s.client.send(MAIL + RCPT + DATA)
            for command in MAIL, RCPT, DATA:
                s.server.expect(command)
                self.assertTrue(s.server.silent(0.01))
                s.server.send(OK if command != DATA else b"354 Go\r\n")
            self.get(s.client, [OK, OK, b"354 Go\r\n"])
            s.client.send(END)
            s.server.expect(END)
            s.server.send(OK)
            s.client.expect(OK)
            s.quit()
            self.check_end(daemon, "quit")

    # Those that the destination answers.
    COMMANDS = [("greeting", EHLO), ("ehlo", MAIL), ("ehlo", NOOP), ("ehlo", b"RSET\r\n"),
                ("mail", RCPT), ("rcpt", RCPT), ("rcpt", DATA)][4 * harness.TestCase.gateway:]

    def test_answers_to_commands(self):
        rows = [
            (b"421 4.3.2 I\r\n", [b"421 4.3.2 I\r\n"], "lost-destination"),
            (b"421-4.3.2 I\r\n421 go\r\n", [b"421-4.3.2 I\r\n421 go\r\n"], "lost-destination"),
            (b"451-4.3.0 \xe4\r\n451 later\r\n", [b"451-4.3.0 \xe4\r\n451 later\r\n"], None),
            (b"550 5.1.1 No\r\n", [b"550 5.1.1 No\r\n"], None),
            (b"334 \r\n", [DISAGREED], "lost-destination"),
            (b"3\r\n", [DISAGREED], "lost-destination"),
            (b"2500 x\r\n", [DISAGREED], "lost-destination"),
            (b"250x\r\n", [DISAGREED], "lost-destination"),
            (b"\r\n", [DISAGREED], "lost-destination"),
            (b"450 a\r\n250 b\r\n", [b"450 a\r\n", DISAGREED], "lost-destination"),
            (b"450 a\r\n421 b\r\n", [b"450 a\r\n", b"421 b\r\n"], "lost-destination"),
            (CLOSE, [LOST], "lost-destination"),
            (RST, [LOST], "lost-destination"),
        ]
        with self.daemon() as (daemon, destination):
            for until, command in self.COMMANDS:
                for answer, replies, end in rows:
                    # Behind a refused DATA the gateway dialog has done with its destination.
                    if self.gateway and command == DATA and len(replies) == 2:
                        replies, end = replies[:1], None
                    self.run_row(daemon, destination, until, command, answer, replies, end)
            for until, command in self.COMMANDS[:-1]:
                self.run_row(daemon, destination, until, command, b"354 Go\r\n", [DISAGREED],
                             "lost-destination")
            self.run_row(daemon, destination, "rcpt", DATA, OK, [DISAGREED], "lost-destination")
            self.run_row(daemon, destination, "rcpt", DATA, b"355 Go\r\n", [DISAGREED],
                         "lost-destination")

    def test_half_an_answer_and_the_end(self):
        with self.daemon() as (daemon, destination):
            for until, command in self.COMMANDS:
                for half in b"2", b"250-x\r\n", b"250 x", b"250 x\r":
                    with case(until, half), puppet.Session(daemon.port, destination, until) as s:
                        s.client.send(command)
                        s.server.expect(command)
                        s.server.send(half)
                        s.server.close()
                        self.get(s.client, [LOST])
                        self.ended(s, CLOSE)
                    self.check_end(daemon, "lost-destination")

    def test_words_that_nobody_asked_for(self):
        rows = [
            (OK, [DISAGREED]), (b"354 Go\r\n", [DISAGREED]), (b"550 No\r\n", [DISAGREED]),
            (b"x\r\n", [DISAGREED]), (b"421 4.3.2 I close\r\n", [b"421 4.3.2 I close\r\n"]),
            (CLOSE, [LOST_IDLE]), (RST, [LOST_IDLE]),
        ]
        with self.daemon() as (daemon, destination):
            for until in self.by_dialog(("greeting", "ehlo", "mail", "rcpt"), ("rcpt",)):
                for words, replies in rows:
                    self.run_row(daemon, destination, until, b"", words, replies,
                                 "lost-destination")

    def test_an_answer_too_few_or_too_many_in_a_group(self):
        group = MAIL + RCPT + RCPT + DATA
        good = [SENDER_OK, OK, OK]
        rows = [
            (b"".join(good), good + [LOST]),
            (SENDER_OK + b"421 I\r\n", [SENDER_OK, b"421 I\r\n"]),
            (SENDER_OK + b"garbage\r\n", [SENDER_OK, DISAGREED]),
        ]
        refused = good + [b"550 a\r\n"]
        with self.daemon() as (daemon, destination):
            for answers, replies in rows + [(b"".join(refused) + b"250 b\r\n",
                                             refused + self.by_dialog([DISAGREED], []))]:
                with case(answers), puppet.Session(daemon.port, destination) as s:
                    s.client.send(group)
                    s.server.expect(MAIL)
                    s.server.expect(RCPT + RCPT + DATA)
                    s.server.send(answers)
                    s.server.end()
                    self.get(s.client, replies)
                    # Between transactions the gateway dialog has no destination to lose.
                    lost = replies != refused
                    if lost:
                        self.assertEqual(s.client.rest(), b"")
                    else:
                        s.quit()
                self.check_end(daemon, "lost-destination" if lost else "quit")

    def test_quit(self):
        rows = [(b"221-a\r\n221 b\r\n", [b"221-a\r\n221 b\r\n"], "quit"),
                (b"500 What\r\n", [b"500 What\r\n"], "quit"),
                (b"421 4.3.2 I\r\n", [b"421 4.3.2 I\r\n"], "lost-destination"),
                (CLOSE, [BYE], "quit"), (RST, [BYE], "quit")]
        with self.daemon() as (daemon, destination):
            for until in "greeting", "ehlo", "rcpt":
                if self.gateway:
                    with case(until), puppet.Session(daemon.port, destination, until) as s:
                        s.client.send(QUIT)
                        s.client.expect(BYE)
                        self.ended(s, None)
                    self.check_end(daemon, "quit")
                    continue
                for answer, replies, end in rows:
                    self.run_row(daemon, destination, until, QUIT, answer, replies, end)

    def refused(self, s, replies, more=b""):
        """The client gets these. True: with the gateway dialog the session goes on in place of a
        closing 421, with MORE, and ended by QUIT."""
        goes_on = self.gateway and replies[-1] is CLOSING
        self.get(s.client, replies[:-1] if goes_on else replies)
        if goes_on:
            s.client.expect(more)
            s.quit()
        else:
            self.assertEqual(s.client.rest(), b"")
        return goes_on

    def test_answers_in_the_midst_of_a_body(self):
        """The destination's connection is closed at once, the client's body read to its end, and
        then answered. The gateway dialog goes on where the destination has only refused."""
        too_large = b"552-5.3.4 Too\r\n552 5.3.4 large\r\n"
        rows = [
            (too_large, [too_large, CLOSING]),
            (b"452 4.3.1 Full\r\n", [b"452 4.3.1 Full\r\n", CLOSING]),
            (b"421 4.3.2 I\r\n", [b"421 4.3.2 I\r\n"]),
            (OK, [DISAGREED]), (b"354 Go\r\n", [DISAGREED]), (b"garbage\r\n", [DISAGREED]),
            (too_large + OK, [too_large, CLOSING]), (OK + b"421 I\r\n", [DISAGREED]),
            (CLOSE, [LOST]), (RST, [LOST]),
        ]
        for body in BODIES:
            with self.daemon(**{body: True}) as (daemon, destination):
                for until in "data", "body":
                    for action, replies in rows:
                        with case(body, until, action), \
                                puppet.Session(daemon.port, destination, until) as s:
                            self.act(s.server, action)
                            if action not in (CLOSE, RST):
                                self.assertEqual(s.server.rest(), b"")
                            s.client.send(b"x" * 70 + b"\r\n..\r\n" * (3 * STEP // 6))
                            self.assertTrue(s.client.silent(0.005))
                            s.client.send(END + NOOP)
                            goes_on = self.refused(s, replies, OK)
                        record = self.check_end(daemon,
                                                "quit" if goes_on else "lost-destination")
                        self.assertEqual(record.get("messages"), "0")
                replies = [r.get("reply") for r in daemon.records("message") if
                           not r.get("reply").startswith("250")]
                self.assertEqual(len(replies), 2 * len(rows))
                self.assertEqual(replies[0], too_large.decode().replace("\r\n", "\n").strip())

    def test_an_answer_begun_in_the_midst_of_a_body(self):
        """… and finished behind its end is no answer to the message."""
        for body in BODIES:
            with self.daemon(**{body: True}) as (daemon, destination):
                for answer in OK, b"250-2.0.0 a\r\n250 b\r\n", b"421 4.3.2 I\r\n":
                    for cut in 1, 3, 8, len(answer) - 1:
                        with case(body, answer, cut), \
                                puppet.Session(daemon.port, destination, "body") as s:
                            s.server.send(answer[:cut])
                            s.client.send(b"x\r\n")
                            s.server.expect(b"x\r\n")
                            s.client.send(END)
                            with contextlib.suppress(ConnectionError):
                                s.server.until(END)
                                s.server.send(answer[cut:])
                            self.assertNotEqual(s.client.reply()[:1], b"2")
                            self.assertEqual(s.client.rest(), b"")
                        record = self.check_end(daemon, "lost-destination")
                        self.assertEqual(record.get("messages"), "0")

    def test_a_body_that_is_thrown_away_is_watched_too(self):
        for body in BODIES:
            with self.daemon(**{body: True}) as (daemon, destination):
                for leave in puppet.Peer.close, puppet.Peer.reset:
                    with puppet.Session(daemon.port, destination, "body") as s:
                        s.server.send(b"552 5.3.4 Large\r\n")
                        self.assertEqual(s.server.rest(), b"")
                        s.client.send(b"x\r\n")
                        leave(s.client)
                    self.check_end(daemon, "lost-client")
                with puppet.Session(daemon.port, destination, "body") as s:
                    s.server.send(b"552 5.3.4 Large\r\n")
                    self.assertEqual(s.server.rest(), b"")
                    s.client.send(b"x\r\n.\n" + MAIL)
                    self.get(s.client, [b"521 5.5.2 "])
                    self.assertEqual(s.client.rest(), b"")
                self.check_end(daemon, "protocol")

    def test_answer_while_the_last_block_is_on_its_way(self):
        """The client has sent all and its end, the destination answers without having read it: that
        is no answer to the message, however much of it the kernel has taken off our hands."""
        refusal = b"552 5.3.4 Large\r\n"
        line = b"0123456789abcdef" * 4 + b"\r\n"
        others = [(OK, [DISAGREED]), (RST, [LOST]),
                  (b"421 4.3.2 I\r\n", [b"421 4.3.2 I\r\n"])]
        for body in BODIES:
            with puppet.Destination(rcvbuf=4096) as destination, self.caronte(
                    destination, MAX_SESSIONS_PER_ADDRESS=0, **{body: True}) as daemon:
                sizes = range(100 << 10, 4 << 20, 112 << 10)
                rows = [(size, refusal, [refusal, CLOSING]) for size in sizes]
                rows += [(size, *others[number % 3]) for number, size in enumerate(sizes)]
                for size, answer, replies in rows:
                    octets = b"\r\n" + line * (size // len(line)) + END
                    with case(body, size, answer), \
                            puppet.Session(daemon.port, destination, "data") as s:
                        sender = threading.Thread(target=s.client.send, args=(octets,))
                        sender.start()
                        s.server.expect(octets[:1000])
                        self.act(s.server, answer)
                        sender.join()
                        self.refused(s, replies)
                daemon.stop()
                self.assertEqual(len(daemon.records("message")), len(rows))

    def test_answers_to_the_end_of_data(self):
        """All rows for which 250 may be said say it themselves."""
        refused = b"554-5.7.1 \xe4\r\n554 5.7.1 Spam\r\n"
        rows = [
            (b"250-2.0.0 a\r\n250 b\r\n", [b"250-2.0.0 a\r\n250 b\r\n"], None, 1),
            (refused, [refused], None, 0),
            (b"452 4.3.1 Full\r\n", [b"452 4.3.1 Full\r\n"], None, 0),
            (b"421 4.3.2 I\r\n", [b"421 4.3.2 I\r\n"], "lost-destination", 0),
            (b"354 Go\r\n", [DISAGREED], "lost-destination", 0),
            (b"250\n", [DISAGREED], "lost-destination", 0),
            (b"250-a\r\n251 b\r\n", [DISAGREED], "lost-destination", 0),
            # What comes behind it is only the gateway dialog's pool's concern.
            (OK + OK, *self.by_dialog(([OK, DISAGREED], "lost-destination"), ([OK], None)), 1),
            (OK + b"421 I\r\n",
             *self.by_dialog(([OK, b"421 I\r\n"], "lost-destination"), ([OK], None)), 1),
            (CLOSE, [LOST], "lost-destination", 0), (RST, [LOST], "lost-destination", 0),
        ]
        for body in BODIES:
            with self.daemon(**{body: True}) as (daemon, destination):
                for answer, replies, end, messages in rows:
                    record = self.run_row(daemon, destination, "body", END, answer, replies, end)
                    self.assertEqual(record.get("messages"), str(messages), (body, answer))
                for half in b"2", b"250", b"250-x\r\n", b"250 x\r":
                    with case(body, half), \
                            puppet.Session(daemon.port, destination, "body") as s:
                        s.client.send(END)
                        s.server.expect(END)
                        s.server.send(half)
                        self.assertTrue(s.client.silent(0.005))
                        s.server.close()
                        self.get(s.client, [LOST])
                        self.ended(s, CLOSE)
                    self.check_end(daemon, "lost-destination")

    def test_silence(self):
        """All wait at the same time, so it takes no longer than one of them."""
        steps = [("body", END, LOST)]
        steps += self.by_dialog([("connect", b"", LOST_IDLE), ("ehlo", QUIT, LOST)], [])
        steps += [(until, said, LOST) for until, said in self.COMMANDS]
        with self.daemon(TIMEOUT_GREETING=4, TIMEOUT_REPLY=4, TIMEOUT_DATA_DONE=4) as \
                (daemon, destination), contextlib.ExitStack() as stack:
            waiting = []
            for until, said, reply in steps:
                for half in b"", b"250", b"250-x\r\n":
                    s = stack.enter_context(puppet.Session(daemon.port, destination, until))
                    s.client.send(said)
                    s.server.expect(said)
                    s.server.send(half if said or not half else b"220")
                    waiting.append((s, reply, (until, said, half)))
            for s, reply, what in waiting:
                with case(*what):
                    self.get(s.client, [reply])
                    self.ended(s, HOLD)
                s.close()
            self.sessions += len(waiting)
            ends = [r.get("end") for r in daemon.records("session", count=self.sessions)]
            self.assertEqual(ends[-len(waiting):].count("lost-destination"), len(waiting))




class Clients(Base):
    def test_reset_before_they_are_accepted(self):
        """As balancers do that only look whether somebody listens."""
        with harness.Sink() as sink, self.caronte(
                sink, WORKERS=1, MAX_SESSIONS_PER_ADDRESS=0) as daemon, \
                harness.Client(daemon.port) as other:
            other.hello()
            worker, = daemon.workers()
            names = set()
            with harness.frozen(worker):
                for _ in range(20):
                    with puppet.client(daemon.port) as c:
                        names.add(c.name())
                        c.reset()
            ended = daemon.records("session", count=20)
            self.assertEqual({record.get("client") for record in ended}, names)
            self.assertEqual({record.get("end") for record in ended}, {"lost-client"})
            self.assertEqual(daemon.workers(), [worker])
            other.command("NOOP", 250)
            other.quit()

    def test_leave_at_every_step(self):
        """By FIN and by RST. The destination never gets an end of data."""
        leaves = puppet.Peer.close, puppet.Peer.end, puppet.Peer.reset
        for body in BODIES:
            with self.daemon(**{body: True}) as (daemon, destination):
                for until in puppet.Session.STEPS:
                    for leave in leaves:
                        with case(body, until, leave.__name__), \
                                puppet.Session(daemon.port, destination, until) as s:
                            leave(s.client)
                            if until == "connect":
                                s.server.send(GREETING)  # a client is not read before it
                            self.assertEqual(s.server.rest(), b"")
                            if leave is puppet.Peer.end:
                                self.assertEqual(s.client.rest(),
                                                 GREETING if until == "connect" else b"")
                        self.check_end(daemon, "lost-client")

    def test_leave_twice(self):
        """A client that has only ended its own direction is still looked after."""
        with self.daemon() as (daemon, destination), \
                puppet.Session(daemon.port, destination, "mail") as s:
            s.client.send(RCPT)
            s.server.expect(RCPT)
            s.client.end()
            self.assertTrue(s.client.silent(0.2))
            s.client.reset()
            self.assertEqual(s.server.rest(), b"")
            ended = self.check_end(daemon, "lost-client")
            self.assertLess(float(ended.get("seconds")), harness.SOON_S)

    def test_leave_with_half_a_command(self):
        with self.daemon() as (daemon, destination):
            for until, command in ("ehlo", MAIL), ("mail", RCPT), ("rcpt", DATA), ("ehlo", QUIT):
                for leave in puppet.Peer.close, puppet.Peer.end, puppet.Peer.reset:
                    for half in command[:3], command[:-1]:
                        with case(until, half, leave.__name__), \
                                puppet.Session(daemon.port, destination, until) as s:
                            s.client.send(half)
                            leave(s.client)
                            self.assertEqual(s.server.rest(), b"")
                        self.check_end(daemon, "lost-client")

    def test_leave_before_the_answer(self):
        """A FIN says only that no more commands will come: what is open is still answered."""
        with self.daemon() as (daemon, destination):
            for until, command in Destinations.COMMANDS:
                with case(until, command), \
                        puppet.Session(daemon.port, destination, until) as s:
                    s.client.send(command)
                    s.client.end()
                    s.server.expect(command)
                    answer = b"354 Go\r\n" if command == DATA else OK
                    s.server.send(answer)
                    s.client.expect(answer)
                    self.assertEqual((s.client.rest(), s.server.rest()), (b"", b""))
                self.check_end(daemon, "lost-client")
                with case(until, command), \
                        puppet.Session(daemon.port, destination, until) as s:
                    s.client.send(command)
                    s.server.expect(command)
                    s.client.reset()
                    self.assertEqual(s.server.rest(), b"")
                self.check_end(daemon, "lost-client")

    def test_leave_with_commands_in_flight(self):
        """QUIT or not, a FIN behind pipelined commands cuts none of them off."""
        with self.daemon() as (daemon, destination):
            for more, end in (b"", "lost-client"), (QUIT, "quit"):
                with puppet.Session(daemon.port, destination, "mail") as s:
                    s.client.send(RCPT * 3 + b"RSET\r\n" + MAIL + more)
                    s.client.end()
                    # RSET comes to the destination in the gateway dialog too: by the pool.
                    passed = RCPT * 3, b"RSET\r\n", *self.by_dialog((MAIL, more), ())
                    for command in passed:
                        s.server.expect(command)
                        s.server.send(SENDER_OK if command == MAIL else BYE if command == QUIT
                                      else OK * command.count(b"\n"))
                    s.client.expect(OK * 4 + SENDER_OK + BYE * (more == QUIT))
                    self.assertEqual(s.client.rest(), b"")
                    if not self.gateway:
                        self.assertEqual(s.server.rest(), b"")
                self.check_end(daemon, end)

    def test_leave_behind_the_end_of_data(self):
        """The message is the destination's: it is delivered, and the log says so."""
        for body in BODIES:
            with self.daemon(**{body: True}) as (daemon, destination):
                for leave in puppet.Peer.close, puppet.Peer.end, puppet.Peer.reset:
                    for waits in False, True:
                        with case(body, leave.__name__, waits), \
                                puppet.Session(daemon.port, destination, "body") as s:
                            s.client.send(END)
                            if waits:
                                s.server.expect(END)
                            leave(s.client)
                            if not waits and s.server.until(END) != END:
                                # A reset may overtake what was sent: then there is no message.
                                self.assertIs(leave, puppet.Peer.reset)
                                self.check_end(daemon, "lost-client")
                                continue
                            s.server.send(OK)
                            if leave is puppet.Peer.end:
                                s.client.expect(OK)
                            if not self.gateway:  # else it stays, for others
                                self.assertEqual(s.server.rest(), b"")
                            record = self.check_end(daemon, "lost-client")
                        self.assertEqual(record.get("messages"), "1")


if __name__ == "__main__":
    unittest.main()
