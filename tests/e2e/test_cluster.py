# SPDX-License-Identifier: ISC
"""COOPERATION_CLUSTER: the shares of the destinations, their max=, and those that are busy or die.

CARONTE_LONG=1 sends 20,000 messages past dying destinations, else it is a tenth of that.
"""
import collections
import contextlib
import datetime
import functools
import os
import random
import re
import signal
import socket
import threading
import time
import unittest

import harness
import puppet
import test_upgrade
from test_backup import wait_closed

WEIGHTS = (4, 2, 1, 1)
SESSIONS = 2000
MESSAGES = 20000 if harness.LONG else 2000
DEATHS = 4


def list_of(sinks, *options):
    """DESTINATIONS, each with its text of options."""
    return " ".join("127.0.0.1:%d%s" % (sink.port, option)
                    for sink, option in zip(sinks, options or [""] * len(sinks)))


class ClusterCase(harness.TestCase):
    @contextlib.contextmanager
    def sinks(self, count, *arguments, **how):
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(harness.Sink("--name", "sink%d.test" % i, *arguments, **how))
                   for i in range(count)]

    def cluster(self, destinations, **settings):
        return self.caronte(destinations, **dict({
            "COOPERATION_CLUSTER": True, "WORKERS": 2, "MAX_SESSIONS_PER_ADDRESS": 0,
            "LOG_LEVEL": 1}, **settings))

    def assert_alternating(self, daemon):
        """Each change of state is one record, though every worker sees it."""
        states = collections.defaultdict(list)
        for record in sorted(daemon.records("destination"), key=lambda each: each.get("time")):
            states[record.get("address")].append(record.get("state"))
        for address, seen in states.items():
            self.assertNotEqual(seen[0], "up", address)
            for before, after in zip(seen, seen[1:]):
                self.assertNotEqual(before, after, (address, seen))
        return states


class Shares(ClusterCase):
    @classmethod
    def setUpClass(cls):
        harness.allow_descriptors(6 * SESSIONS)

    def setUp(self):
        self.open, self.names = [], {}
        self.addCleanup(self.leave, lambda sock: True)

    def come(self, daemon, count):
        """Sessions that come at once, all of them, and are all greeted."""
        new = []
        for _ in range(count):
            sock = socket.socket()
            sock.settimeout(harness.PATIENCE_S)
            sock.connect(("127.0.0.1", daemon.port))
            new.append(sock)
        self.open += new
        for sock in new if self.gateway else ():
            sock.sendall(puppet.EHLO + puppet.MAIL + puppet.RCPT)
        for sock in new:
            with puppet.Peer(socket.socket(fileno=sock.fileno())) as peer:
                if self.gateway:
                    self.assertEqual(peer.codes(3), [220, 250, 250])
                words = peer.reply()
                peer.socket.detach()
            self.names[sock] = harness.name_of(words)

    def leave(self, which):
        for sock in self.open:
            if which(sock):
                sock.close()
        self.open = [sock for sock in self.open if sock.fileno() >= 0]

    def assert_shares(self, sinks, total):
        harness.wait_until(lambda: sum(sink.report()["open"] for sink in sinks) == total)
        shares = [sink.report()["open"] for sink in sinks]
        for share, weight in zip(shares, WEIGHTS):
            fair = total * weight / sum(WEIGHTS)
            self.assertLessEqual(abs(share - fair), 0.05 * fair, shares)

    def weighted(self, sinks):
        return list_of(sinks, *(",weight=%d" % weight for weight in WEIGHTS))

    def test_least_sessions(self):
        with self.sinks(4) as sinks, \
                self.cluster(self.weighted(sinks), MAX_SESSIONS=SESSIONS,
                             TIMEOUT_COMMAND=3600) as daemon:
            self.come(daemon, SESSIONS)
            self.assert_shares(sinks, SESSIONS)
            # Whoever goes, what comes next evens it out: most of two destinations' leave.
            self.assertEqual(set(self.names.values()), {"sink%d.test" % i for i in range(4)})
            self.leave(lambda sock: self.names[sock] in ("sink0.test", "sink2.test")
                       and random.random() < 0.8)
            left = len(self.open)
            self.assertLess(left, SESSIONS * 0.6)
            harness.wait_until(lambda: sum(sink.report()["open"] for sink in sinks) == left)
            self.come(daemon, SESSIONS - left)
            self.assert_shares(sinks, SESSIONS)
            self.leave(lambda sock: True)

    def test_round_robin(self):
        with self.sinks(4) as sinks, \
                self.cluster(self.weighted(sinks), BALANCE_ROUND_ROBIN=True,
                             MAX_SESSIONS=SESSIONS) as daemon:
            self.come(daemon, SESSIONS)
            self.assert_shares(sinks, SESSIONS)
            self.leave(lambda sock: True)


class Source(ClusterCase):
    ADDRESSES = ["127.%d.%d.%d" % (1 + i % 200, i // 7, 1 + i % 31) for i in range(300)]

    def where(self, daemon):
        """For each client address, the destination that greets it."""
        found = {}
        for address in self.ADDRESSES:
            with harness.Client(daemon.port, source=address) as client:
                found[address] = harness.name_of(client.meet())
        return found

    def test_one_less_moves_only_its_own(self):
        with self.sinks(4) as sinks, \
                self.cluster(list_of(sinks, ",weight=4", ",weight=2", "", ""),
                             BALANCE_SOURCE=True) as daemon:
            before = self.where(daemon)
            self.assertEqual(self.where(daemon), before)
            count = collections.Counter(before.values())
            self.assertEqual(len(count), 4)
            self.assertGreater(count["sink0.test"], count["sink2.test"] + count["sink3.test"])
            sinks[1].stop()
            without = self.where(daemon)
            for address in self.ADDRESSES:
                if before[address] == "sink1.test":
                    self.assertNotEqual(without[address], "sink1.test")
                else:
                    self.assertEqual(without[address], before[address])
            sinks[1].start()
            daemon.records("destination", count=1, state="up")
            self.assertEqual(self.where(daemon), before)
            states, = self.assert_alternating(daemon).values()
            # A connection that it closed as it went, in place of a greeting, is told first.
            self.assertIn(states, (["down", "up"], ["busy", "up"], ["busy", "down", "up"]))


class Full(ClusterCase):
    MAX = (5, 3, 1)
    CLIENTS = 24
    EACH = 12

    def client(self, daemon, number):
        for i in range(self.EACH):
            with harness.Client(daemon.port) as client:
                client.hello()
                reply = client.send_message(b"Subject: %d.%d\r\n" % (number, i))
                if reply[:3] != b"250":
                    raise AssertionError("got %r" % reply)
                if i % 4 == 0:
                    client.quit()
                elif i % 4 == 1:
                    client.reset()
                elif i % 4 == 2:
                    client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@local.test>\r\n")

    def run_all(self, work, count):
        faults = []

        def guarded(i):
            try:
                work(i)
            except Exception as fault:
                faults.append(fault)
        threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]

    def check(self, **settings):
        options = [",max=%d" % most for most in self.MAX]
        with self.sinks(3) as sinks, \
                self.cluster(list_of(sinks, *options), TIMEOUT_CONNECT=harness.FAR_S,
                             **settings) as daemon:
            self.run_all(lambda i: self.client(daemon, i), self.CLIENTS)
            reports = [sink.report() for sink in sinks]
            for report, most in zip(reports, self.MAX):
                self.assertEqual(report["peak"], most)
            self.assertEqual(sum(report["messages"] for report in reports),
                             self.CLIENTS * self.EACH)
            self.assertEqual(daemon.records("session", reason="full"), [])

    def test_least_sessions(self):
        self.check()

    def test_round_robin(self):
        self.check(BALANCE_ROUND_ROBIN=True)

    def test_with_checks(self):
        """A check is a session in the destination's eyes."""
        self.check(CHECK_SMTP=True, CHECK_INTERVAL=1)

    def test_out_of_patience(self):
        with self.sinks(2) as sinks, \
                self.cluster(list_of(sinks, ",max=1", ",max=1"), TIMEOUT_CONNECT=1) as daemon:
            with harness.Client(daemon.port) as one, harness.Client(daemon.port) as two:
                for client in one, two:
                    client.hello()
                    if self.gateway:
                        client.envelope()
                began = time.monotonic()
                with harness.Client(daemon.port) as third:
                    if self.gateway:
                        third.hello()
                        third.command("MAIL FROM:<a@client.test>", 250)
                        third.send(b"RCPT TO:<b@local.test>\r\n")
                    self.assertRegex(third.reply(), rb"^421 4\.3\.2 ")
                    self.assertEqual(third.rest(), b"")
                self.assertGreaterEqual(time.monotonic() - began, 0.9)
                self.assertLess(time.monotonic() - began, harness.SOON_S)
                self.assertEqual([sink.report()["peak"] for sink in sinks], [1, 1])
            daemon.records("session", count=3)
            full, = daemon.records("session", reason="full")
            self.assertEqual(full.get("end"), "lost-destination")
            self.assertEqual(daemon.records("destination"), [])


class Busy(ClusterCase):
    """A destination that takes connections and turns them away is done with them sooner than any
    other: it must not get more of them for that."""
    MESSAGES = 300
    CLIENTS = 8
    SAID = "421 4.3.2 too busy"

    def send(self, daemon, count):
        """So many messages, each in a session of its own; what those that were refused heard."""
        refused, numbers, lock = [], iter(range(count)), threading.Lock()

        def work():
            while True:
                with lock:
                    number = next(numbers, None)
                    if number is None:
                        return
                with harness.Client(daemon.port, source="127.0.1.%d" % (number % 250)) as client:
                    first = client.meet()
                    if first[:1] != b"2":
                        with lock:
                            refused.append(first)
                        continue
                    if not self.gateway:
                        client.command("EHLO client.test", 250)
                        client.envelope()
                    client.command("DATA", 354)
                    client.send(b"Subject: t\r\n\r\n.\r\n")
                    if client.reply()[:3] != b"250":
                        raise AssertionError("a message was refused")
                    client.quit()
        threads = [threading.Thread(target=work) for _ in range(self.CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return refused

    @contextlib.contextmanager
    def one_of_three(self, *arguments, **settings):
        with harness.Sink("--name", "sink0.test", *arguments) as bad, self.sinks(2) as good, \
                self.cluster(list_of([bad, *good]), **settings) as daemon:
            yield bad, good, daemon

    def check(self, *arguments, said=SAID, **settings):
        arguments = arguments or ("--greeting", said)
        with self.one_of_three(*arguments, **settings) as (bad, good, daemon):
            refused = self.send(daemon, self.MESSAGES)
            self.assertLessEqual(len(refused), 10)
            self.assertEqual(sum(sink.report()["messages"] for sink in good),
                             self.MESSAGES - len(refused))
            record = daemon.record("destination")
            self.assertEqual((record.get("address"), record.get("state"), record.get("why")),
                             ("127.0.0.1:%d" % bad.port, "busy", said))
            return refused

    def test_least_sessions(self):
        refused = self.check()
        self.assertEqual(set(refused) - {b"421 4.3.2 too busy\r\n"}, set())

    def test_round_robin(self):
        self.check(BALANCE_ROUND_ROBIN=True)

    def test_source(self):
        self.check(BALANCE_SOURCE=True)

    def test_refused_for_good(self):
        self.check(said="554 5.3.2 not here")

    def test_malformed(self):
        self.check("--greeting", "SSH-2.0-OpenSSH_9.2",
                   said="malformed greeting: SSH-2.0-OpenSSH_9.2")

    def test_closed(self):
        self.check("--drop", "GREETING=close", said="connection closed in place of a greeting")

    def test_all_are_busy(self):
        """A busy one is used rather than none, and its client hears what it says."""
        with harness.Sink("--greeting", self.SAID) as one, \
                harness.Sink("--greeting", "421 4.3.2 busy too") as two, \
                self.cluster(list_of([one, two])) as daemon:
            heard = []
            while len(set(heard)) < (1 if self.gateway else 2):
                with harness.Client(daemon.port) as client:
                    heard.append(client.meet())
            daemon.records("destination", count=2)
            if not self.gateway:  # which does not greet where it has learnt nothing
                self.assertEqual(set(heard), {b"421 4.3.2 too busy\r\n", b"421 4.3.2 busy too\r\n"})
            self.assertEqual([each.get("state") for each in daemon.records("destination")],
                             ["busy"] * 2)

    def test_one_look_a_pause(self):
        """Of all workers, and no client pays for it: after 2 s, then 4 s."""
        with self.one_of_three("--greeting", self.SAID, WORKERS=4) as (bad, good, daemon):
            while not daemon.records("destination"):
                self.send(daemon, 3)
            said, = daemon.records("destination")
            began = time.monotonic()
            before = bad.report()["connections"]
            while time.monotonic() - began < 9:
                self.assertEqual(self.send(daemon, 3), [])
            # When the kernel made each one's file: the sink itself has seen it then.
            times = [(bad.dir / "raw" / ("connection-%d.raw" % number)).stat().st_mtime
                     for number in range(before + 1, bad.report()["connections"] + 1)]
            # In the gateway dialog there is also who asks what it can do.
            self.assertLessEqual(len(times), 5 if self.gateway else 2)
            if not self.gateway:
                self.assertEqual(len(times), 2, times)
                # The pauses are 2 and 4 s.
                said_at = datetime.datetime.fromisoformat(said.get("time")).timestamp()
                self.assertGreater(times[0] - said_at, 1.9)
                self.assertGreater(times[1] - times[0], 3)
            self.assertEqual(len(daemon.records("destination")), 1)

    def test_good_again(self):
        with self.one_of_three("--reply", "1/GREETING=" + self.SAID) as (bad, good, daemon):
            while not daemon.records("destination"):
                self.send(daemon, 3)
            first = daemon.record("destination")
            self.assertEqual((first.get("state"), first.get("why")), ("busy", self.SAID))
            harness.wait_until(lambda: len(daemon.records("destination")) == 2)
            last = daemon.records("destination")[-1]
            self.assertEqual((last.get("address"), last.get("state")),
                             ("127.0.0.1:%d" % bad.port, "up"))
            for _ in range(10):  # while it is the slowest it gets the fewest
                self.assertEqual(self.send(daemon, 30), [])
                if bad.report()["messages"] > 3:
                    return
            self.fail("it got %d of 300" % bad.report()["messages"])

    def test_reload_and_upgrade(self):
        """What is known stays known."""
        self.caronte = functools.partial(test_upgrade.copy, self)
        with self.one_of_three("--greeting", self.SAID) as (bad, good, daemon):
            while not daemon.records("destination"):
                self.send(daemon, 3)
            for count, sign in enumerate((signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR2), 1):
                os.kill(daemon.pid, sign)
                daemon.records("reload", count=count)
                self.assertEqual(self.send(daemon, 30), [])
            self.assertEqual(len(daemon.records("destination")), 1)


class Lmtp(ClusterCase):
    """A port that wants LHLO is told as what it is."""
    dialogs = ("gateway",)
    PORT = ("--greeting", "220 sink0.test LMTP ready", "--reply", "EHLO=500 5.5.1 Unknown",
            "--reply",
            "HELO=500 5.5.1 Unknown")

    def test_cluster(self):
        with harness.Sink("--name", "sink0.test", *self.PORT) as bad, self.sinks(1) as good, \
                self.cluster(list_of([bad, *good])) as daemon:
            record = daemon.record("destination")
            self.assertEqual((record.get("address"), record.get("state"), record.get("why")), (
                "127.0.0.1:%d" % bad.port, "busy",
                "this is an LMTP port, SMTP is needed: 500 5.5.1 Unknown"))

    def test_single(self):
        for arguments in self.PORT, ("--reply", "EHLO=502 5.5.1 Use LHLO here", "--reply",
                                     "HELO=500 5.5.1 Unknown"):
            with harness.Sink(*arguments) as bad, self.caronte(list_of([bad]), WORKERS=1) as daemon:
                record = daemon.record("fault")
                self.assertEqual((record.get("what"), record.get("detail")), (
                    "destination-refuses", "127.0.0.1:%d: this is an LMTP port, SMTP is needed: "
                    "500 5.5.1 Unknown" % bad.port))
                self.assertEqual(daemon.records("destination"), [])


class LmtpInSniff(ClusterCase):
    dialogs = ("sniff",)

    def test_cluster(self):
        """Its greeting alone is no reason; that it refuses EHLO then is."""
        with harness.Sink("--name", "sink0.test", *Lmtp.PORT) as bad, self.sinks(1) as good, \
                self.cluster(list_of([bad, *good])) as daemon:
            while not daemon.records("destination"):
                with harness.Client(daemon.port) as client:
                    client.reply()
                    client.command("EHLO client.test")
            self.assertEqual(daemon.record("destination").get("why"),
                             "this is an LMTP port, SMTP is needed: 500 5.5.1 Unknown")
            time.sleep(2.5)
            for _ in range(20):
                with harness.Client(daemon.port) as client:
                    client.hello()
            self.assertEqual(len(daemon.records("destination")), 1)

    def test_a_stranger_calls_itself_so(self):
        """A refusal that repeats the client's name says nothing about the destination."""
        refuses = "--reply", "EHLO=501 5.5.2 <lmtp>: Helo command rejected: Invalid name"
        with harness.Sink(*refuses) as one, harness.Sink(*refuses) as two, \
                self.cluster(list_of([one, two])) as daemon:
            for _ in range(4):
                with harness.Client(daemon.port) as client:
                    client.reply()
                    self.assertEqual(client.command("EHLO lmtp")[:4], b"501 ")
            daemon.records("session", count=4)
            self.assertEqual(daemon.records("destination"), [])


class NoCluster(harness.TestCase):
    """A refusal is no reason to go to a backup, nor for anything else: a client gets what its
    destination says."""
    dialogs = ("sniff",)  # the gateway does not greet before it has learnt something

    def said_to(self, daemon):
        for _ in range(5):
            with harness.Client(daemon.port) as client:
                self.assertEqual(client.reply(), b"421 4.3.2 too busy\r\n")

    def test_backup(self):
        with harness.Sink("--greeting", Busy.SAID) as one, harness.Sink() as two, \
                self.caronte(list_of([one, two]), COOPERATION_BACKUP=True) as daemon:
            self.said_to(daemon)
            self.assertEqual(two.report()["connections"], 0)
            self.assertEqual(one.report()["connections"], 5)
            time.sleep(2.5)
            self.said_to(daemon)
            self.assertEqual(one.report()["connections"], 10)
            self.assertEqual(two.report()["connections"], 0)
            self.assertEqual(daemon.records("destination"), [])

    def test_single(self):
        with harness.Sink("--greeting", Busy.SAID) as sink, self.caronte(list_of([sink])) as daemon:
            self.said_to(daemon)
            self.assertEqual(sink.report()["connections"], 5)
            self.assertEqual(daemon.records("destination"), [])


class Deaths(ClusterCase):
    """Destinations that are killed and come back, while messages go through."""
    CLIENTS = 24

    def setUp(self):
        self.lock = threading.Lock()
        self.next = self.deaths = 0
        self.acknowledged = set()
        self.over = threading.Event()

    def take(self):
        """The next message's number; there are more than MESSAGES where they went too fast."""
        with self.lock:
            if self.next >= MESSAGES and self.deaths >= DEATHS:
                return None
            self.next += 1
            return self.next

    def deliver(self, daemon, number):
        """Sends a message until it is acknowledged, in a session that carries some more."""
        while number and not self.over.is_set():
            try:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    for _ in range(random.randrange(1, 8)):
                        reply = client.send_message(b"Subject: t\r\n\r\nnumber %d.\r\n" % number)
                        if reply[:3] != b"250":
                            break
                        with self.lock:
                            self.acknowledged.add(number)
                        number = self.take()
                        if not number:
                            break
            except (OSError, AssertionError):
                time.sleep(0.01)

    def kill_at_random(self, sinks):
        while not self.over.wait(random.uniform(0.02, 0.15)):
            sink = random.choice(sinks)
            sink.kill()
            self.deaths += 1
            wait_closed(sink)
            self.over.wait(random.uniform(0, 0.3))
            sink.start()
            sink.expect_status = 0

    def test_no_acknowledged_message_is_lost(self):
        with self.sinks(4, maildir=True) as sinks, self.cluster(list_of(sinks)) as daemon:
            threads = [threading.Thread(target=lambda: self.deliver(daemon, self.take()))
                       for _ in range(self.CLIENTS)]
            for thread in threads:
                thread.start()
            watch = threading.Thread(
                target=lambda: ([thread.join() for thread in threads], self.over.set()))
            watch.start()
            try:
                self.kill_at_random(sinks)
            finally:
                self.over.set()
                watch.join()
            self.assertGreaterEqual(self.deaths, DEATHS)
            self.assertEqual(len(self.acknowledged), self.next)
            found = set()
            for sink in sinks:
                for path in (sink.dir / "mails/new").iterdir():
                    found.add(int(re.search(rb"number (\d+)\.", path.read_bytes())[1]))
            self.assertEqual(self.acknowledged - found, set())
            self.assert_alternating(daemon)


if __name__ == "__main__":
    unittest.main()
