# SPDX-License-Identifier: ISC
"""Destinations that go and come back: no client waits for them, their return is noticed, each
change is one record. Checks, and names whose addresses change."""
import contextlib
import functools
import os
import select
import signal
import time
import unittest

import harness
import namespace
import puppet
import test_upgrade
import tls
from test_backup import BackupCase, first_line, stop


def states(daemon, address=None):
    records = sorted(daemon.records("destination"), key=lambda each: each.get("time"))
    return [each.get("state") for each in records if address in (None, each.get("address"))]


def greeted_by(daemon):
    """Nothing where the connection ends before a greeting."""
    with contextlib.suppress(OSError, IndexError):
        return first_line(daemon)[0]


class GoesAndComes(BackupCase):
    def test_one_record_a_change(self):
        """However many clients and workers see it."""
        with self.pair(WORKERS=4, MAX_SESSIONS_PER_ADDRESS=0) as (one, two, daemon):
            for _ in range(3):
                stop(one)
                for _ in range(40):
                    self.assertEqual(first_line(daemon)[0], "second.test")
                one.start()
                began = time.monotonic()
                while first_line(daemon)[0] != "first.test":
                    self.assertLess(time.monotonic() - began, harness.SOON_S)
                for _ in range(20):
                    self.assertEqual(first_line(daemon)[0], "first.test")
            harness.wait_until(lambda: len(states(daemon)) >= 6)
            self.assertEqual(states(daemon), ["down", "up"] * 3)

    def test_upgrade(self):
        """What is known of a destination the next program knows too."""
        self.caronte = functools.partial(test_upgrade.copy, self)
        with self.pair() as (one, two, daemon):
            stop(one)
            self.assertEqual(first_line(daemon)[0], "second.test")
            for count in 1, 2:
                os.kill(daemon.pid, signal.SIGUSR2)
                daemon.records("reload", count=count)
                self.assertEqual(first_line(daemon)[0], "second.test")
            self.assertEqual(states(daemon), ["down"])
            one.start()
            daemon.records("destination", count=2)
            self.assertEqual(first_line(daemon)[0], "first.test")
            self.assertEqual(states(daemon), ["down", "up"])

    def test_tries_are_few(self):
        """The pauses grow: a destination that is there again is found by one try, of one worker."""
        with puppet.Destination() as gone, harness.Sink("--name", "second.test") as two, \
                self.backups(gone, two, WORKERS=4) as daemon:
            gone.close()
            self.assertEqual(first_line(daemon)[0], "second.test")
            time.sleep(4)
            with puppet.Destination(gone.port, by_hand=True) as back, back.accept() as visitor:
                self.assertEqual(visitor.rest(), b"")
                daemon.records("destination", count=2)
                if self.gateway:
                    return  # now each worker asks what it can do
                back.socket.settimeout(1)
                with self.assertRaises(TimeoutError):
                    back.accept()

    def test_worker_dies(self):
        """What a killed worker knew about destinations the others know as well."""
        with self.pair(WORKERS=2) as (one, two, daemon):
            daemon.may_die = True
            stop(one)
            self.assertEqual(first_line(daemon)[0], "second.test")
            old = set(daemon.workers())
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            harness.wait_until(lambda: len(set(daemon.workers()) - old) == 2)
            # (The ring of a killed process may still take a connection to its grave.)
            self.assertEqual(harness.wait_until(lambda: greeted_by(daemon)), "second.test")
            one.start()
            daemon.records("destination", count=2)
            self.assertEqual(states(daemon), ["down", "up"])


class Filtered(BackupCase):
    @classmethod
    def setUpClass(cls):
        namespace.enter()

    def setUp(self):
        self.address = namespace.FILTERED[0]
        self.port = harness.free_port()
        self.opened = False

    def tearDown(self):
        if self.opened:
            self.filter_out()

    def open_up(self):
        namespace.open_up(self.address)
        self.opened = True

    def filter_out(self):
        namespace.filter_out(self.address)
        self.opened = False

    @contextlib.contextmanager
    def filtered_and_backup(self, *first, **settings):
        with harness.Sink("--name", "first.test", *first, "--listen", "0.0.0.0:%d" % self.port), \
                harness.Sink("--name", "second.test") as two, \
                self.backups("%s:%d" % (self.address, self.port), two, **settings) as daemon:
            yield daemon

    def test_nobody_waits(self):
        """The first one finds out, and pays for it. After that, also when a pause is over and the
        destination is tried, every client is served at once."""
        with self.filtered_and_backup(TIMEOUT_CONNECT=6) as daemon:
            name, seconds = first_line(daemon)
            self.assertEqual(name, "second.test")
            self.assertGreater(seconds, 5.9)
            end = time.monotonic() + 9
            while time.monotonic() < end:
                name, seconds = first_line(daemon)
                self.assertEqual(name, "second.test")
                self.assertLess(seconds, 5)
                time.sleep(0.05)
            self.open_up()
            began = time.monotonic()
            while first_line(daemon)[0] != "first.test":
                self.assertLess(time.monotonic() - began, harness.SOON_S)
                time.sleep(0.05)
            # And again: it goes without a word, and comes back.
            self.filter_out()
            self.assertEqual(first_line(daemon)[0], "second.test")
            self.open_up()
            daemon.records("destination", count=4)
            self.assertEqual(first_line(daemon)[0], "first.test")
            self.assertEqual(states(daemon), ["down", "up"] * 2)

    def test_return_is_noticed_whatever_the_timeout(self):
        """Tries that hang do not hold up the next ones."""
        with self.filtered_and_backup(TIMEOUT_CONNECT=harness.FAR_S, CHECK_TCP=True,
                                      CHECK_TIMEOUT=1, WORKERS=1) as daemon:
            daemon.record("destination", state="down")
            time.sleep(8)  # the pauses have grown to five seconds
            self.open_up()
            began = time.monotonic()
            while first_line(daemon)[0] != "first.test":
                self.assertLess(time.monotonic() - began, harness.SOON_S)
                time.sleep(0.05)

    def test_tcp_check(self):
        """It finds out without any client."""
        with self.filtered_and_backup(TIMEOUT_CONNECT=harness.FAR_S, CHECK_TCP=True,
                                      CHECK_INTERVAL=1, CHECK_TIMEOUT=1) as daemon:
            down = daemon.record("destination")
            self.assertEqual((down.get("state"), down.get("why")), ("down", "Connection timed out"))
            name, seconds = first_line(daemon)
            self.assertEqual(name, "second.test")
            self.assertLess(seconds, harness.SOON_S)
            self.open_up()
            daemon.records("destination", count=2)
            self.assertEqual(first_line(daemon)[0], "first.test")
            time.sleep(2.5)
            self.assertEqual(states(daemon), ["down", "up"])


class CheckCase(BackupCase):
    def check(self, *first, max="", **settings):
        return self.pair(*first, max=max, **dict({
            "CHECK_INTERVAL": 1, "CHECK_TIMEOUT": harness.SOON_S}, **settings))


class Checks(CheckCase):
    dialogs = ("sniff",)  # they know of no dialog, and are counted here among no other connections

    def test_off(self):
        with self.check() as (one, two, daemon):
            time.sleep(1.5)
            self.assertEqual(one.report()["connections"], 0)

    def checked(self, sink, began):
        """The report of a sink that has been checked three times, and never twice in a second."""
        report = harness.wait_until(lambda: (now := sink.report())["connections"] >= 3 and now)
        self.assertLessEqual(report["connections"], time.monotonic() - began + 1)
        return report

    def test_tcp(self):
        """Every second, by one of the workers, and nothing is said."""
        began = time.monotonic()
        with self.check(CHECK_TCP=True, WORKERS=4) as (one, two, daemon):
            time.sleep(4)
            for sink in (one, two):
                report = self.checked(sink, began)
                self.assertEqual(report["peak"], 1)
                self.assertEqual(report["commands"], 0)
            stop(two)
            down = daemon.record("destination")
            self.assertEqual((down.get("address"), down.get("why")),
                             ("127.0.0.1:%d" % two.port, "Connection refused"))
            two.start()
            daemon.record("destination", state="up")
            self.assertEqual(first_line(daemon)[0], "first.test")

    def test_smtp(self):
        began = time.monotonic()
        with self.check(CHECK_SMTP=True, WORKERS=4) as (one, two, daemon):
            time.sleep(4)
            for sink in (one, two):
                report = self.checked(sink, began)
                self.assertEqual(report["peak"], 1)
                self.assertEqual(report["lost"], 0)
            self.assertEqual(set(one.commands()), {"QUIT"})
            self.assertEqual(daemon.records("destination"), [])
            checks = len(one.commands())
            harness.wait_until(lambda: len(one.commands()) > checks)
            stop(one)  # between two of them: one that is cut off has something to say, too
            daemon.record("destination", state="down")
            one.start()
            daemon.record("destination", state="up")
            self.assertEqual(first_line(daemon)[0], "first.test")
            self.assertEqual(states(daemon), ["down", "up"])

    def test_reload(self):
        """Checks begin and end with a reload, and what is known about destinations stays."""
        with self.check("--greeting", "554 no") as (one, two, daemon):
            stop(two)
            time.sleep(1.5)
            self.assertEqual(daemon.records("destination"), [])
            daemon.configure(CHECK_SMTP=True)
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.records("destination", count=2)
            time.sleep(2)
            seen = sorted((each.get("address"), each.get("state"))
                          for each in daemon.records("destination"))
            self.assertEqual(seen, sorted([("127.0.0.1:%d" % one.port, "up"),
                                           ("127.0.0.1:%d" % two.port, "down")]))
            daemon.configure(CHECK_SMTP=None, LOG_LEVEL=1)
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.records("reload", count=2)
            time.sleep(1.5)
            before = one.report()["connections"]
            two.start()
            daemon.records("destination", count=3)
            time.sleep(1)
            self.assertEqual(one.report()["connections"], before)
            self.assertEqual(len(daemon.records("destination")), 3)

    def test_reload_during_a_check(self):
        """The check that is under way is the newest configuration's too: the next one comes in its
        time, not when the patience for a lost one is over."""
        with self.check("--stall", "1/GREETING", CHECK_SMTP=True, CHECK_TIMEOUT=4) as (
                one, two, daemon):
            harness.wait_until(lambda: one.report()["open"] == 1)
            daemon.configure(MAX_ERRORS=7, DESTINATIONS="127.0.0.1:%d 127.0.0.1:%d" % (
                two.port, one.port))
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.record("reload")
            harness.wait_until(lambda: one.report()["connections"] >= 3,
                               harness.SOON_S)

    def test_full_destination_is_not_checked(self):
        with self.check(max=",max=1", CHECK_SMTP=True) as (one, two, daemon):
            harness.wait_until(lambda: one.report()["connections"] >= 1)
            with harness.Client(daemon.port) as client:
                client.hello()
                before = one.report()["connections"]
                time.sleep(2.5)
                self.assertEqual(one.report()["connections"], before)
                client.quit()
            harness.wait_until(lambda: one.report()["connections"] > before)
            self.assertEqual(one.report()["peak"], 1)
            self.assertEqual(daemon.records("destination"), [])

    def test_who_does_not_greet_keeps_its_place(self):
        """Until it closes: it has the session still."""
        with puppet.Destination(by_hand=True) as destination, \
                self.caronte("127.0.0.1:%d,max=1" % destination.port, CHECK_SMTP=True,
                             CHECK_INTERVAL=1, CHECK_TIMEOUT=1):
            with destination.accept() as first:
                self.assertEqual(first.rest(), b"")
                self.assertFalse(select.select([destination.socket], [], [], 1)[0])
            destination.accept().close()

    def test_worker_dies_in_a_check(self):
        """The check is another worker's when the lease of the dead one is over."""
        with self.check("--reply", r"1/GREETING=\p60000;220 late", CHECK_SMTP=True,
                        CHECK_INTERVAL=1,
                        CHECK_TIMEOUT=1, WORKERS=2) as (one, two, daemon):
            daemon.may_die = True
            harness.wait_until(lambda: one.report()["open"] == 1)
            for pid in daemon.workers():
                os.kill(pid, signal.SIGKILL)
            harness.wait_until(lambda: one.report()["connections"] >= 3)

    def test_sessions_do_not_feel_it(self):
        """Checks that hang hold up nobody."""
        with self.check("--delay", "GREETING=6000", CHECK_SMTP=True, CHECK_TIMEOUT=10,
                        WORKERS=1) as (one, two, daemon):
            with harness.Client(daemon.port) as client:
                client.hello()
                for _ in range(40):
                    began = time.monotonic()
                    client.command("NOOP", 250)
                    self.assertLess(time.monotonic() - began, 4)
                    time.sleep(0.05)


class BadGreetings(CheckCase):
    dialogs = ("sniff",)  # as Checks

    def assert_said_and_unmoved(self, why, greeting, *first, **settings):
        """One record, and clients go there as before."""
        with self.check(*first, CHECK_SMTP=True, **settings) as (one, two, daemon):
            record = daemon.record("destination")
            self.assertEqual(record.get("address"), "127.0.0.1:%d" % one.port)
            self.assertEqual(record.get("state"), "up")
            self.assertEqual(record.get("why"), "check: %s; mail still goes there" % why)
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.reply(), greeting)
            time.sleep(2.5)
            self.assertEqual(len(daemon.records("destination")), 1)
            self.assertEqual(two.report()["connections"], len(two.commands()))  # checks alone
            return one

    def test_refusing_greeting(self):
        one = self.assert_said_and_unmoved(
            "421-4.3.2 full\n421 4.3.2 today", rb"^421-4.3.2 full\r\n421 4.3.2 today\r\n$",
            "--greeting", r"421-4.3.2 full\r\n421 4.3.2 today\r\n")
        self.assertEqual(set(one.commands()) - {"QUIT"}, set())
        self.assert_said_and_unmoved("554 no", rb"^554 no\r\n$", "--greeting", "554 no")

    def test_no_greeting(self):
        self.assert_said_and_unmoved("no greeting in CHECK_TIMEOUT", rb"^421 4\.4\.2 ",
                                     "--stall", "GREETING", TIMEOUT_GREETING=2, CHECK_TIMEOUT=1)
        self.assert_said_and_unmoved("connection closed in place of a greeting", rb"^4[25]1 ",
                                     "--drop", "GREETING=close")
        self.assert_said_and_unmoved("malformed greeting: 2200 what?", rb"^4[25]1 ",
                                     "--greeting", "2200 what?")

    def test_good_again(self):
        with self.check(r"--reply", r"1/GREETING=554 not yet", CHECK_SMTP=True) as (
                one, two, daemon):
            bad, good = daemon.records("destination", count=2)
            self.assertEqual(bad.get("why"), "check: 554 not yet; mail still goes there")
            self.assertEqual(good.get("why"), "check: 220 first.test ESMTP caronte-sink")
            self.assertEqual({bad.get("state"), good.get("state")}, {"up"})
            self.assertEqual(first_line(daemon)[0], "first.test")


class Names(BackupCase):
    @classmethod
    def setUpClass(cls):
        namespace.enter()
        if not namespace.allows_several_addresses():
            raise unittest.SkipTest("/etc/host.conf lets a name have one address alone")

    def setUp(self):
        self.port = harness.free_port()
        self.set_hosts = self.enterContext(namespace.hosts())

    @contextlib.contextmanager
    def sink_at(self, address):
        sink = harness.Sink("--name", address, "--listen", "%s:%d" % (address, self.port))
        sink.port = self.port
        with sink:
            yield sink

    def named(self, **settings):
        return self.caronte("mx.test:%d" % self.port, **settings)

    def test_several_addresses(self):
        self.set_hosts("127.0.0.11 mx.test", "127.0.0.12 mx.test", "127.0.0.13 mx.test")
        with self.sink_at("127.0.0.12") as only, self.named() as daemon:
            for _ in range(5):
                self.assertEqual(first_line(daemon)[0], "127.0.0.12")
            self.assertEqual(daemon.records("destination"), [])
            # It dies and another address of the name comes.
            stop(only, "127.0.0.12")
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.meet(), rb"^421 4\.3\.2 ")
            with self.sink_at("127.0.0.13"):
                daemon.records("destination", count=2)
                self.assertEqual(first_line(daemon)[0], "127.0.0.13")
            self.assertEqual(states(daemon), ["down", "up"])

    def test_filtered_address(self):
        """One address of several does not answer: each attempt has its time, the first one pays."""
        self.set_hosts(namespace.FILTERED[0] + " mx.test", "127.0.0.12 mx.test")
        with self.sink_at("127.0.0.12"), self.named(TIMEOUT_CONNECT=6) as daemon:
            times = []
            for _ in range(5):
                name, seconds = first_line(daemon)
                self.assertEqual(name, "127.0.0.12")
                times.append(seconds)
            self.assertLess(times[0], 12)
            self.assertLess(max(times[1:]), 5)
            self.assertEqual(daemon.records("destination"), [])

    def test_address_changes(self):
        self.set_hosts("127.0.0.11 mx.test")
        with self.named() as daemon:
            with self.sink_at("127.0.0.11") as old:
                self.assertEqual(first_line(daemon)[0], "127.0.0.11")
                stop(old, "127.0.0.11")
            with self.sink_at("127.0.0.14"):
                self.set_hosts("127.0.0.14 mx.test")
                began = time.monotonic()
                while first_line(daemon)[0] != "127.0.0.14":
                    self.assertLess(time.monotonic() - began, harness.SOON_S)
                    time.sleep(0.1)
                self.assertEqual(first_line(daemon)[0], "127.0.0.14")
                # The gateway dialog has asked it at once, before it was there.
                changes = ["down", "up"] * self.by_dialog(1, 2)
                harness.wait_until(lambda: states(daemon) == changes)

    def test_changes_later_without_a_client(self):
        """The name gets its new address only a while after the old one has gone, and nobody
        connects meanwhile."""
        self.set_hosts("127.0.0.11 mx.test")
        with self.named() as daemon:
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.meet(), rb"^421 4\.3\.2 ")
            time.sleep(3)
            self.set_hosts("127.0.0.14 mx.test")
            with self.sink_at("127.0.0.14"):
                daemon.record("destination", state="up")
                self.assertEqual(first_line(daemon)[0], "127.0.0.14")

    def test_name_service_fails_at_an_upgrade(self):
        """What a name meant last is good until it means another, for the next program too."""
        self.caronte = functools.partial(test_upgrade.copy, self)
        self.set_hosts("127.0.0.11 mx.test")
        with self.sink_at("127.0.0.11"), self.named() as daemon:
            self.assertEqual(first_line(daemon)[0], "127.0.0.11")
            self.set_hosts()
            os.kill(daemon.pid, signal.SIGUSR2)
            daemon.record("reload", changed="program")
            self.assertEqual(first_line(daemon)[0], "127.0.0.11")
            self.assertIn("mx.test", daemon.record("fault", what="resolve").get("detail"))

    def test_renewed_certificate(self):
        """What a name means by now stays so, though nothing but certificates was read."""
        self.set_hosts("127.0.0.16 mx.test")
        place = self.new_dir("tls")
        chain, key = tls.make_pair(place)
        harness.give_to_user(key)
        with self.sink_at("127.0.0.17"), \
                self.named(TLS_CERTIFICATE=str(chain), TLS_KEY=str(key),
                           TLS_FOLLOW_SECONDS=1) as daemon:
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.meet(), rb"^421 4\.3\.2 ")
            self.set_hosts("127.0.0.17 mx.test")
            harness.wait_until(lambda: first_line(daemon)[0] == "127.0.0.17")
            new = tls.make_pair(self.new_dir("new"), days=40)
            harness.give_to_user(new[1])
            for made, to in zip(new, (chain, key)):
                made.rename(to)
            daemon.record("reload", changed="TLS_CERTIFICATE TLS_KEY")
            for _ in range(4):
                self.assertEqual(first_line(daemon)[0], "127.0.0.17")
            self.assertEqual(daemon.records("fault"), [])

    def test_resolves_late(self):
        with self.sink_at("127.0.0.15"), self.named() as daemon:
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.meet(), rb"^421 4\.3\.2 ")
            self.set_hosts("127.0.0.15 mx.test")
            began = time.monotonic()
            while first_line(daemon)[0] != "127.0.0.15":
                self.assertLess(time.monotonic() - began, 10)
                time.sleep(0.1)
