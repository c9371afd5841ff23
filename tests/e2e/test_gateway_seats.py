# SPDX-License-Identifier: ISC
"""The gateway's connections as their destinations count them: max=, also over an upgrade and in
workers that come later.
"""
import contextlib
import os
import select
import signal
import threading
import time
import unittest

import harness
import puppet
import test_gateway
import test_upgrade
from puppet import DATA, GO_AHEAD, GREETING, MAIL, OK, RCPT, SENDER_OK, case
from test_gateway import END, TICK_S


class Seats(test_gateway.Base):
    """An idle connection is one in its destination's eyes: max= holds with it, and never waits for
    it."""

    @contextlib.contextmanager
    def busy(self, port):
        """A client that sends one message after another, meanwhile."""
        over, faults = threading.Event(), []

        def send_all_the_time():
            with harness.Client(port) as client:
                client.hello()
                while not over.is_set() and not faults:
                    if client.send_message(b"x\r\n")[:3] != b"250":
                        faults.append("refused")
                client.quit()

        thread = threading.Thread(target=send_all_the_time)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        self.assertEqual(faults, [])

    def test_others_connections_are_looked_at(self):
        """However often one with a place is given back."""
        with harness.Sink() as sink, puppet.Destination(by_hand=True) as second:
            with self.caronte("127.0.0.1:%d,max=4 127.0.0.1:%d" % (sink.port, second.port),
                              COOPERATION_BACKUP=True, WORKERS=1) as daemon, \
                    self.learnt(second) as peer, self.busy(daemon.port):
                time.sleep(2 * TICK_S)
                peer.send(b"421 4.4.2 Idle for too long\r\n")
                self.assertIn(peer.rest(), (b"", puppet.RESET))

    def test_a_place_goes_round(self):
        """Who waits for one gets it, though a busy client would have it again at once."""
        def one_transaction(port):
            with harness.Client(port) as client:
                client.hello()
                client.command("MAIL FROM:<a@client.test>", 250)
                replies.append(client.command("RCPT TO:<b@local.test>"))

        for workers in 1, 2:
            replies = []
            with case(workers), harness.Sink() as sink, \
                    self.caronte("127.0.0.1:%d,max=1" % sink.port, WORKERS=workers,
                                 TIMEOUT_CONNECT=8) as daemon, self.busy(daemon.port):
                time.sleep(TICK_S)
                threads = [threading.Thread(target=one_transaction, args=(daemon.port,))
                           for _ in range(6)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual([reply[:3] for reply in replies], [b"250"] * 6)

    def test_idle_connections_turn_no_client_away(self):
        """They count at their destination, and not against MAX_SESSIONS."""
        with harness.Sink() as sink, self.caronte(
                "127.0.0.1:%d,max=9" % sink.port, WORKERS=1, MAX_SESSIONS=4) as daemon:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(harness.Client(daemon.port)) for _ in range(3)]
                for client in clients:
                    client.hello()
                    client.envelope()
                for client in clients:
                    client.command("RSET", 250)
                    client.quit()
            harness.wait_until(lambda: len(daemon.records("session")) == 3)
            with contextlib.ExitStack() as stack:
                for _ in range(4):
                    stack.enter_context(harness.Client(daemon.port)).hello()
                with puppet.client(daemon.port) as one_more:
                    self.assertEqual(one_more.reply()[:9], b"421 4.3.2")

    def test_max_and_an_upgrade(self):
        """The program that goes waits until the destination has seen its connections end."""
        with puppet.Destination(by_hand=True) as destination, test_upgrade.copy(
                self, "127.0.0.1:%d,max=1" % destination.port, WORKERS=1) as daemon, \
                contextlib.ExitStack() as self.stack:
            with self.learnt(destination) as learner:
                learner.expect(b"QUIT\r\n")  # a place is not kept for nothing
                self.assertEqual(learner.rest(), b"")
            c = self.client(daemon)
            c.send(MAIL + RCPT + DATA)
            peer = self.stack.enter_context(destination.accept())
            peer.send(GREETING)
            self.hello(peer)
            peer.expect(MAIL + RCPT + DATA)
            peer.send(SENDER_OK + OK + GO_AHEAD)
            c.expect(SENDER_OK + OK + GO_AHEAD)
            c.send(END)
            peer.expect(END)
            peer.send(OK)
            c.expect(OK)
            self.quit(c)
            daemon.process.send_signal(signal.SIGUSR2)
            peer.expect(b"QUIT\r\n")
            self.assertEqual(peer.rest(), b"")
            self.assertEqual(select.select([destination.socket], [], [], 0.5)[0], [])
            peer.close()
            with self.learnt(destination):
                pass

    def test_max_is_never_exceeded(self):
        with harness.Sink() as sink, self.caronte(
                "127.0.0.1:%d,max=2" % sink.port, MAX_SESSIONS_PER_ADDRESS=0,
                WORKERS=2) as daemon:
            done = []

            def send():
                for _ in range(15):
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        done.append(client.send_message(b"x\r\n")[:3])
                        client.quit()

            threads = [threading.Thread(target=send) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(done, [b"250"] * 90)
            self.assertEqual(sink.report()["peak"], 2)

    def test_who_comes_later_knows(self):
        """What one worker has learnt all know, and those that come later, though no connection can
        be had to ask again: the only place is taken."""
        with harness.Sink() as sink, test_upgrade.copy(
                self, "127.0.0.1:%d,max=1" % sink.port, MAX_SESSIONS_PER_ADDRESS=0,
                TIMEOUT_CONNECT=1, WORKERS=2) as daemon, harness.Client(daemon.port) as holder:
            def all_greet():
                for _ in range(12):
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        client.quit()
            holder.hello()
            holder.envelope()
            first = set(daemon.workers())
            all_greet()
            for count, by in enumerate((signal.SIGHUP, signal.SIGUSR2), 1):
                daemon.process.send_signal(by)
                daemon.records("reload", count=count)
                all_greet()
            # The holder's is the program's that has gone.
            daemon.may_die = True
            young = [each for each in daemon.workers() if each not in first]
            self.assertEqual(len(young), 2)
            for worker in young:
                os.kill(worker, signal.SIGKILL)
                harness.wait_until(lambda: worker not in daemon.workers() and
                                   len(set(daemon.workers()) - first) == 2)
                all_greet()

    def test_killed_while_it_learns(self):
        """Its successor asks at once, and does not wait for it."""
        with puppet.Destination(by_hand=True) as destination, \
                self.caronte(destination, WORKERS=1, TIMEOUT_CONNECT=60) as daemon, \
                destination.accept() as first:
            daemon.may_die = True
            first.send(GREETING)
            self.assertRegex(first.line(), rb"^EHLO ")
            os.kill(daemon.workers()[0], signal.SIGKILL)
            with self.learnt(destination), harness.Client(daemon.port) as client:
                client.hello()


if __name__ == "__main__":
    unittest.main()
