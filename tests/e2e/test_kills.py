# SPDX-License-Identifier: ISC
"""kill -9 of a destination and of the workers, and a destination that is not there: nothing that
was acknowledged is lost, and the daemon serves again by itself.
"""
import contextlib
import os
import re
import signal
import socket
import threading
import time
import unittest

import harness
import puppet
from puppet import DATA, EHLO, GREETING, MAIL, OK, RCPT, case
from test_faults import CLOSING, END, LOST, LOST_IDLE, Base


def numbered(number):
    return b"Subject: number %d\r\n\r\n" % number + b"text\r\n" * 50


class Kills(Base):
    """kill -9 of a destination and of the workers, at each stage of a transaction: what was
    acknowledged is in the Maildir, once."""

    # What the client has done, what of it the sink has stalled, and what it then gets, with the
    # end of data sent where there is a body.
    STAGES = [
        ("connect", "CONNECT", LOST_IDLE), ("greeting", None, LOST_IDLE), ("ehlo", None, LOST_IDLE),
        ("ehlo", "EHLO", LOST), ("mail", None, LOST_IDLE), ("mail", "MAIL", LOST),
        ("rcpt", None, LOST_IDLE), ("rcpt", "RCPT", LOST), ("data", "DATA", LOST),
        ("data", None, LOST), ("body", None, LOST), ("eod", "EOD", LOST), ("done", None, LOST_IDLE),
    ]
    # The gateway dialog: nothing is lost with a destination that the client has no need of.
    GATEWAY_STAGES = [(until, None, None) for until in ("greeting", "ehlo", "mail", "done")] + \
        STAGES[6:-1]
    COMMANDS = {"connect": b"", "greeting": b"", "ehlo": EHLO, "mail": MAIL, "rcpt": RCPT,
                "data": DATA, "body": numbered(0)[:99], "eod": numbered(0)[99:] + END, "done": b""}
    STEPS = list(COMMANDS)

    def lead(self, client, sink, until, stalled):
        """The client does all up to a stage, and the sink has got it."""
        sent = b""
        for step in self.STEPS[:self.STEPS.index(until) + 1]:
            client.send(self.COMMANDS[step])
            sent += self.COMMANDS[step]
            if stalled and step == until:
                break
            if step not in ("connect", "body", "eod"):
                self.assertIn(client.reply()[:1], b"23", (until, stalled))
        raw = sink.dir / "raw/connection-1.raw"
        rest = sent.partition(b"\r\n")[2]  # behind EHLO, which may be Caronte's own
        if not self.gateway or RCPT in rest:
            harness.wait_until(lambda: raw.exists() and
                               raw.read_bytes().partition(b"\r\n")[2] == rest)

    def deliver(self, daemon, number):
        with harness.Client(daemon.port) as client:
            client.hello()
            self.assertEqual(client.send_message(numbered(number))[:3], b"250")
            client.quit()

    def start(self, sink, *arguments):
        """Again. A killed process's listening socket may outlive it for a moment."""
        def is_free():
            with socket.socket() as s, contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", sink.port))
                return True
        harness.wait_until(is_free)
        sink.arguments = ["--maildir", "mails", *arguments]
        sink.start()

    def test_destination(self):
        sink = harness.Sink(maildir=True)
        with sink, self.caronte(sink, DATA_AS_BDAT=False) as daemon:
            acknowledged = []
            stages = self.by_dialog(self.STAGES, self.GATEWAY_STAGES)
            for number, (until, stalled, reply) in enumerate(stages, 1):
                sink.stop()
                for raw in (sink.dir / "raw").glob("*"):
                    raw.unlink()
                self.start(sink, *["--stall", "1/" + stalled] if stalled else [])
                with case(until, stalled), harness.Client(daemon.port) as client:
                    self.lead(client, sink, until, stalled)
                    if until == "done":
                        acknowledged.append(numbered(0))
                    sink.kill()
                    if until in ("data", "body") and not stalled:
                        client.send(END)
                    if reply:
                        self.get(client, [reply])
                        self.assertEqual(client.rest(), b"")
                    self.start(sink)
                    if not reply:
                        client.send(b"RSET\r\n" if until != "greeting" else EHLO)
                        self.assertEqual(client.codes(1), [250])
                        acknowledged.append(numbered(100 + number))
                        self.assertEqual(client.send_message(acknowledged[-1])[:3], b"250")
                        client.quit()
                    self.deliver(daemon, number)
                    acknowledged.append(numbered(number))
                    self.assertEqual(sorted(sink.mails()), sorted(acknowledged))
            sink.expect_status = 0

    def test_worker(self):
        with puppet.Destination() as destination, \
                self.caronte(destination, MAX_SESSIONS=3) as daemon:
            daemon.may_die = True
            for kills, until in enumerate(puppet.Session.STEPS + ("eod", "done"), 1):
                reached = until if until not in ("eod", "done") else "body"
                with case(until), puppet.Session(daemon.port, destination, reached) as s:
                    if reached != until:
                        s.client.send(END)
                        s.server.expect(END)
                    if until == "done":
                        s.server.send(OK)
                        s.client.expect(OK)
                    workers = daemon.workers()
                    for pid in workers:
                        os.kill(pid, signal.SIGKILL)
                    self.assertIn(s.client.rest(), (b"", puppet.RESET))
                    self.assertIn(s.server.rest(), (b"", puppet.RESET))
                harness.wait_until(lambda: len(set(daemon.workers()) - set(workers)) == 2)
                with puppet.Session(daemon.port, destination) as s:
                    s.message()
                    s.quit()
                self.assertEqual(len(daemon.records("fault", count=2 * kills, what="worker-died")),
                                 2 * kills)
                lost = sum(int(re.search(r"(\d+) sessions lost", r.get("detail"))[1])
                           for r in daemon.records("fault"))
                self.assertEqual(lost, kills)
            # No seat is lost: as many as ever are served, and not one more.
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    stack.enter_context(puppet.Session(daemon.port, destination))
                with puppet.client(daemon.port) as one_more:
                    self.assertEqual(one_more.reply()[:9], b"421 4.3.2")

    def send_many(self, daemon, numbers, acknowledged, tried):
        for number in numbers:
            tried.append(number)
            try:
                with harness.Client(daemon.port) as client:
                    client.socket.settimeout(puppet.PATIENCE_S)
                    client.hello()
                    if client.send_message(numbered(number))[:3] == b"250":
                        acknowledged.append(number)
            except (AssertionError, OSError):
                pass  # 421, or the end of the stream: not acknowledged

    def test_while_many_messages_pass(self):
        """Each message is sent once, so it is there at most once; one that was acknowledged is."""
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            daemon.may_die = True
            acknowledged, tried = [], []
            threads = [threading.Thread(target=self.send_many, args=(
                daemon, range(first, first + 100), acknowledged, tried))
                for first in range(0, 400, 100)]
            for thread in threads:
                thread.start()
            for kills in range(1, 9):
                harness.wait_until(lambda: len(tried) >= kills * 40 or
                                   not any(map(threading.Thread.is_alive, threads)))
                if kills % 4 == 0:
                    sink.kill()
                    self.start(sink)
                else:
                    os.kill(harness.wait_until(daemon.workers)[0], signal.SIGKILL)
            for thread in threads:
                thread.join()
            sink.expect_status = 0
            mails = sink.mails()
            numbers = [int(re.match(rb"Subject: number (\d+)", mail)[1]) for mail in mails]
            self.assertEqual(len(numbers), len(set(numbers)))
            self.assertLessEqual(set(acknowledged), set(numbers))
            self.assertEqual([mail for mail, n in zip(mails, numbers) if mail != numbered(n)], [])
            self.assertGreater(len(acknowledged), 40)
            self.deliver(daemon, 1000)


class Full(Base):
    """kill -9 of all workers at a destination with a max= that is slow to see what has ended, and
    so has what it had: the next one comes when it would have come without a kill."""
    PARTING_S = 2

    def daemon(self, destination, most, **settings):
        return self.caronte("127.0.0.1:%d,max=%d" % (destination.port, most), TIMEOUT_CONNECT=9,
                            **settings)

    def next_comes_late(self, daemon, destination):
        daemon.may_die = True
        deaths = len(daemon.records("fault", what="worker-died"))
        ended = len(daemon.records("session"))
        killed = time.monotonic()
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        # (The first has a successor maybe before the last one's seats are free.)
        daemon.records("fault", count=deaths + 2, what="worker-died")
        with puppet.Session(daemon.port, destination, "rcpt"):
            self.assertGreaterEqual(time.monotonic() - killed, self.PARTING_S - 0.01)
        daemon.records("session", count=ended + 1)  # its seat is free for who comes next

    def test_sessions(self):
        """Everything else that they had is free at once: nobody is turned away."""
        with puppet.Destination() as destination, self.daemon(
                destination, 2, MAX_SESSIONS=2, MAX_SESSIONS_PER_ADDRESS=2) as daemon:
            for _ in range(2):
                with puppet.Session(daemon.port, destination, "rcpt"), \
                        puppet.Session(daemon.port, destination, "rcpt"):
                    self.next_comes_late(daemon, destination)

    def test_idle_connection(self):
        if not self.gateway:
            self.skipTest("no connection is idle in this dialog")
        with puppet.Destination() as destination, self.daemon(destination, 1) as daemon, \
                puppet.Session(daemon.port, destination) as s:
            s.message()
            s.client.send(b"QUIT\r\n")
            self.assertEqual(s.client.codes(1), [221])
            self.next_comes_late(daemon, destination)


class Down(Base):
    def test_down_and_up_again(self):
        destination = puppet.Destination()
        with self.caronte(destination, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            self.serves(daemon, destination)
            self.assertEqual(daemon.records("destination"), [])
            for turn in 1, 2:
                destination.close()
                for _ in range(3):
                    with puppet.client(daemon.port) as c:
                        self.turned_away(c)
                record = daemon.records("destination", count=2 * turn - 1)[-1]
                self.assertEqual((record.get("state"), record.get("address")),
                                 ("down", "127.0.0.1:%d" % destination.port))
                destination = puppet.Destination(destination.port)
                # It is tried in the background: nobody has to come and be refused.
                if not self.gateway:
                    probe = destination.accept()
                    self.assertEqual(probe.rest(), b"")
                    probe.close()
                record = daemon.records("destination", count=2 * turn)[-1]
                self.assertEqual(record.get("state"), "up")
                self.serves(daemon, destination)
            self.assertEqual(len(daemon.records("destination")), 4)
            ends = [r.get("end") for r in daemon.records("session", count=9)]
            self.assertEqual((ends.count("quit"), ends.count("lost-destination")), (3, 6))
        destination.close()

    def test_waiting_clients_are_served_when_it_is_back(self):
        """The first connection that reaches it again is enough, be it a client's own."""
        destination = puppet.Destination()
        with self.caronte(destination) as daemon:
            self.serves(daemon, destination)
            destination.close()
            with puppet.client(daemon.port) as c:
                self.turned_away(c)
            destination = puppet.Destination(destination.port)

            def answered():
                with puppet.client(daemon.port) as c:
                    c.send(EHLO + MAIL + RCPT)
                    self.assertEqual(c.codes(3), [220, 250, 250])
                    if not c.silent(0.2):
                        return False
                    destination.begun().close()
                return True

            def greeted():
                with puppet.client(daemon.port) as c:
                    peer = destination.accept()
                    with peer:
                        try:
                            peer.send(GREETING)
                        except OSError:
                            return False
                        return c.reply() == GREETING
            harness.wait_until(self.by_dialog(greeted, answered))
            self.assertEqual(len(daemon.records("destination", count=2)), 2)
        destination.close()


if __name__ == "__main__":
    unittest.main()
