# SPDX-License-Identifier: ISC
"""COOPERATION_BACKUP: a failed TCP connection is the one reason to go to the next destination."""
import contextlib
import errno
import socket
import time

import harness
import namespace

REFUSALS = (
    b"421 4.3.2 Busy, come again tomorrow\r\n",
    b"554 No SMTP service here\r\n",
    b"421-4.3.2 two lines,\r\n421 4.3.2  and  blanks \r\n",
)


def first_line(daemon):
    """The name of the destination that a new client meets, and how long it took."""
    began = time.monotonic()
    with harness.Client(daemon.port) as client:
        words = client.meet()
        client.send(b"QUIT\r\n")
        client.rest()
    return harness.name_of(words), time.monotonic() - began


def wait_closed(sink, address="127.0.0.1"):
    """Until its port refuses: io_uring lets go of a socket some time after its process."""
    def refuses():
        with socket.socket() as sock:
            return sock.connect_ex((address, sink.port)) == errno.ECONNREFUSED
    harness.wait_until(refuses)


def stop(sink, address="127.0.0.1"):
    sink.stop()
    wait_closed(sink, address)


class BackupCase(harness.TestCase):
    def backups(self, *destinations, **settings):
        names = ["127.0.0.1:%d" % each.port if hasattr(each, "port") else each
                 for each in destinations]
        return self.caronte(" ".join(names), **dict({"COOPERATION_BACKUP": True}, **settings))

    @contextlib.contextmanager
    def pair(self, *first, max="", second=(), **settings):
        """A first destination with these options, its backup, and Caronte."""
        with harness.Sink("--name", "first.test", *first) as one, \
                harness.Sink("--name", "second.test", *second) as two, \
                self.backups("127.0.0.1:%d%s" % (one.port, max), two, **settings) as daemon:
            yield one, two, daemon


class Refused(BackupCase):
    def test_refused_and_back(self):
        with self.pair(TIMEOUT_CONNECT=harness.FAR_S) as (one, two, daemon):
            self.assertEqual(first_line(daemon)[0], "first.test")
            stop(one)
            for _ in range(5):
                name, seconds = first_line(daemon)
                self.assertEqual(name, "second.test")
                self.assertLess(seconds, harness.SOON_S)
            down = daemon.record("destination")
            self.assertEqual(down.get("address"), "127.0.0.1:%d" % one.port)
            self.assertEqual(down.get("state"), "down")
            self.assertEqual(down.get("why"), "Connection refused")
            with harness.Client(daemon.port) as client:
                client.hello()
                one.start()
                up = daemon.records("destination", count=2)[1]
                self.assertEqual((up.get("address"), up.get("state"), up.get("why")),
                                 (down.get("address"), "up", "connected"))
                self.assertEqual(first_line(daemon)[0], "first.test")
                # A session that runs stays where it is; the gateway dialog's is nowhere now.
                self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                self.assertEqual(self.by_dialog(two, one).report()["messages"], 1)

    def test_in_order(self):
        with contextlib.ExitStack() as stack:
            sinks = [stack.enter_context(harness.Sink("--name", "sink%d.test" % i))
                     for i in range(3)]
            daemon = stack.enter_context(self.backups(*sinks))
            for i in range(3):
                self.assertEqual(first_line(daemon)[0], "sink%d.test" % i)
                stop(sinks[i])
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.meet(), rb"^421 4\.3\.2 ")
                self.assertEqual(client.rest(), b"")
            self.assertEqual({each.get("address")
                              for each in daemon.records("destination", count=3, state="down")},
                             {"127.0.0.1:%d" % sink.port for sink in sinks})
            for i in reversed(range(3)):
                sinks[i].start()
                daemon.record("destination", state="up",
                              address="127.0.0.1:%d" % sinks[i].port)
                self.assertEqual(first_line(daemon)[0], "sink%d.test" % i)
            self.assertEqual(len(daemon.records("session", end="lost-destination")), 1)

    def test_single_is_tried_all_the_same(self):
        """Nobody is refused on old news: the first client after the return gets through."""
        sink = harness.Sink("--name", "single.test").start()
        with self.caronte(sink) as daemon:
            stop(sink)
            for _ in range(3):
                with harness.Client(daemon.port) as client:
                    self.assertRegex(client.meet(), rb"^421 4\.3\.2 ")
            time.sleep(2)
            sink.start()
            self.assertEqual(first_line(daemon)[0], "single.test")
            self.assertEqual([each.get("state") for each in daemon.records("destination", count=2)],
                             ["down", "up"])
        sink.stop()


class NoReason(BackupCase):
    """Whatever a destination says or does once it is connected, the backup sees no connection."""

    def assert_connections(self, sink, count):
        """So many; the gateway dialog tries again by itself to hear what it can do."""
        connections = sink.report()["connections"]
        if self.gateway:
            self.assertGreaterEqual(connections, count)
        else:
            self.assertEqual(connections, count)

    def assert_unmoved(self, daemon, two):
        """(The gateway dialog asks the backup what it can do, and no more.)"""
        self.assertLessEqual(two.report()["connections"], self.by_dialog(0, 1))
        self.assertLessEqual({line.split()[0] for line in two.commands()},
                             self.by_dialog(set(), {"EHLO", "QUIT"}))
        self.assertEqual(daemon.records("destination"), [])

    def test_refusing_greetings_to_the_letter(self):
        for refusal in REFUSALS:
            text = refusal.decode().replace("\r", "\\r").replace("\n", "\\n")
            with self.pair("--greeting", text) as (one, two, daemon):
                for _ in range(3):
                    with harness.Client(daemon.port) as client:
                        self.assertEqual(client.meet(), refusal)
                        if refusal.startswith(b"421"):
                            self.assertEqual(client.rest(), b"")
                self.assert_connections(one, 3)
                self.assert_unmoved(daemon, two)

    def test_busy_destination(self):
        """One that takes so many sessions itself, and says 421 to the next. (The backup is silent:
        what a client of the gateway dialog is offered then comes from the first, over the
        connection that its message takes.)"""
        with self.pair("--max", "1", second=("--stall", "GREETING"),
                       WORKERS=1) as (one, two, daemon):
            with harness.Client(daemon.port) as client:
                self.assertEqual(harness.name_of(client.meet()), "first.test")
                with harness.Client(daemon.port) as late:
                    self.assertEqual(late.meet(), b"421 4.3.2 Too many sessions\r\n")
                    self.assertEqual(late.rest(), b"")
            self.assert_unmoved(daemon, two)

    def test_silent(self):
        with self.pair("--stall", "GREETING", TIMEOUT_GREETING=1,
                       TIMEOUT_CONNECT=harness.FAR_S) as (one, two, daemon):
            began = time.monotonic()
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.meet(), self.by_dialog(rb"^421 4\.4\.2 ",
                                                               rb"^451 4\.4\.2 "))
                self.assertEqual(client.rest(), b"")
            self.assertGreaterEqual(time.monotonic() - began, 0.9)
            self.assertLess(time.monotonic() - began, harness.SOON_S)
            self.assert_connections(one, 1)
            self.assert_unmoved(daemon, two)

    def test_slow(self):
        """It greets late, within its time."""
        with self.pair("--delay", "GREETING=2500", TIMEOUT_CONNECT=1) as (one, two, daemon):
            name, seconds = first_line(daemon)
            self.assertEqual(name, "first.test")
            self.assertGreater(seconds, 2.4)
            self.assert_unmoved(daemon, two)

    def test_dying(self):
        """Also where it is gone again before Caronte has looked (a few times, for that)."""
        for how in ("close", "fin", "rst"):
            with self.pair("--drop", "GREETING=" + how, MAX_SESSIONS_PER_ADDRESS=0) as (
                    one, two, daemon):
                for _ in range(50):
                    with harness.Client(daemon.port) as client:
                        self.assertRegex(client.meet(), rb"^4[25]1 4\.\d\.\d ")
                        self.assertEqual(client.rest(), b"")
                self.assert_connections(one, 50)
                self.assert_unmoved(daemon, two)

    def test_dying_within_a_message(self):
        with self.pair("--drop", "EOD=rst") as (one, two, daemon):
            with harness.Client(daemon.port) as client:
                client.hello()
                self.assertEqual(client.send_message(b"x\r\n")[:3], b"451")
            self.assert_unmoved(daemon, two)

    def test_full_first_is_waited_for(self):
        with self.pair(max=",max=1", TIMEOUT_CONNECT=harness.FAR_S) as (one, two, daemon):
            first = harness.Client(daemon.port)
            first.meet()
            with harness.Client(daemon.port) as second:
                second.begin()
                self.assertTrue(second.silent(1.5))
                first.quit()
                self.assertEqual(harness.name_of(second.reply()), "first.test")
                second.send(b"QUIT\r\n")
                second.rest()
            self.assertEqual(one.report()["peak"], 1)
            self.assert_unmoved(daemon, two)

    def test_full_first_for_too_long(self):
        with self.pair(max=",max=1", TIMEOUT_CONNECT=6) as (one, two, daemon):
            with harness.Client(daemon.port) as first:
                first.meet()
                with harness.Client(daemon.port) as second:
                    second.begin()
                    self.assertTrue(second.silent(1))
                    self.assertRegex(second.reply(), rb"^421 4\.3\.2 ")
                    self.assertEqual(second.rest(), b"")
                self.assert_connections(one, 1)
            self.assert_unmoved(daemon, two)

    def test_waits_and_then_first_dies(self):
        """While a client waits for a place at the first one, that goes: now there is a reason."""
        with self.pair(max=",max=1", TIMEOUT_CONNECT=harness.FAR_S) as (one, two, daemon):
            first = harness.Client(daemon.port)
            first.meet()
            with harness.Client(daemon.port) as second:
                second.begin()
                self.assertTrue(second.silent(0.5))
                one.kill()
                self.assertEqual(harness.name_of(second.reply()), "second.test")
                second.send(b"QUIT\r\n")
                second.rest()
            self.assertRegex(first.reply(), rb"^4[25]1 ")
            first.close()
            self.assertEqual(daemon.record("destination").get("state"), "down")


class Filtered(BackupCase):
    """Destinations whose packets are dropped, in a network of our own."""
    @classmethod
    def setUpClass(cls):
        namespace.enter()

    def test_unreachable(self):
        with harness.Sink("--name", "second.test") as two, \
                self.backups(namespace.UNREACHABLE + ":25", two,
                             TIMEOUT_CONNECT=harness.FAR_S) as daemon:
            name, seconds = first_line(daemon)
            self.assertEqual(name, "second.test")
            self.assertLess(seconds, harness.SOON_S)
            self.assertEqual(daemon.record("destination").get("why"), "No route to host")

    def test_each_attempt_has_its_time(self):
        gone = [address + ":25" for address in namespace.FILTERED[:2]]
        with harness.Sink("--name", "last.test") as last, \
                self.backups(*gone, last, TIMEOUT_CONNECT=6) as daemon:
            name, seconds = first_line(daemon)
            self.assertEqual(name, "last.test")
            # The gateway dialog has found out before.
            self.assertGreater(seconds, self.by_dialog(11.9, 0))
            self.assertLess(seconds, 18)
            # From then on they are set aside: nobody waits.
            for _ in range(20):
                name, seconds = first_line(daemon)
                self.assertEqual(name, "last.test")
                self.assertLess(seconds, 5)
                time.sleep(0.05)
            self.assertEqual(sorted((each.get("address"), each.get("state"), each.get("why"))
                                    for each in daemon.records("destination")),
                             [(each, "down", "Connection timed out") for each in gone])

    def test_all_are_gone(self):
        gone = [address + ":25" for address in namespace.FILTERED[:2]]
        with self.backups(*gone, TIMEOUT_CONNECT=1) as daemon:
            began = time.monotonic()
            with harness.Client(daemon.port) as client:
                self.assertRegex(client.meet(), rb"^421 4\.3\.2 ")
                self.assertEqual(client.rest(), b"")
            self.assertLess(time.monotonic() - began, harness.SOON_S)
            self.assertEqual(daemon.record("session").get("end"), "lost-destination")

    def test_many_clients_at_once(self):
        """All of them are there when it goes, and it is one change."""
        gone = namespace.FILTERED[0] + ":25"
        with harness.Sink("--name", "second.test") as two, \
                self.backups(gone, two, TIMEOUT_CONNECT=2, MAX_SESSIONS_PER_ADDRESS=0,
                             WORKERS=3) as daemon:
            clients = [harness.Client(daemon.port) for _ in range(60)]
            if self.gateway:
                for client in clients:
                    client.send(b"EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@local.test>\r\n")
                    self.assertEqual(client.codes(3), [220, 250, 250])
            for client in clients:
                self.assertEqual(harness.name_of(client.reply()), "second.test")
                client.close()
            self.assertEqual(daemon.record("destination").get("state"), "down")
