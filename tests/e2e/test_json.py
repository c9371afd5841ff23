# SPDX-License-Identifier: ISC
"""LOG_JSON_FILE: the log's records as JSON, for programs that follow a file as it grows. They see
each record once, across rotations, whoever rotates and whoever is killed."""
import json
import os
import signal

import harness
import mailserver

RECORDS = 1000
FOLLOWED = "module(load=\"imfile\")\n" \
    "template(name=\"raw\" type=\"string\" string=\"%%msg%%\\n\")\n" \
    "input(type=\"imfile\" File=\"%s\" Tag=\"caronte\" ruleset=\"all\")\n" \
    "ruleset(name=\"all\") { action(type=\"omfile\" file=\"%s\" template=\"raw\" " \
    "asyncWriting=\"off\") }\n"


class Follower(harness.Program):
    """Follows PATH from its first line on, until `with` is left; its lines come into self.out."""
    def __init__(self, path):
        super().__init__(type(self).__name__.lower())
        self.path = path

    def start(self):
        self.launch(self.argv())
        return self

    def __exit__(self, *_):
        self.stop()


class Tail(Follower):
    def argv(self):
        self.out = self.dir / "stdout"
        return ["tail", "-n", "+1", "-F", self.path]


class Rsyslog(Follower):
    def __init__(self, path, own=None):
        """OWN: what it does, in place of writing the lines into its .out."""
        super().__init__(path)
        self.own = own

    def argv(self):
        root = harness.unpacked("rsyslog", "usr/sbin/rsyslogd")
        self.out = self.dir / "out"
        conf = self.dir / "rsyslog.conf"
        conf.write_text("global(workDirectory=\"%s\")\n" % self.dir +
                        (self.own or FOLLOWED % (self.path, self.out)))
        return [mailserver.runnable(root / "usr/sbin/rsyslogd"), "-n", "-f", conf,
                "-i", self.dir / "pid", "-M", next(root.glob("usr/lib/*/rsyslog"))]


def lines(path):
    """The whole lines: the last one may be under way."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


class Json(harness.TestCase):
    dialogs = ("sniff",)

    def setUp(self):
        super().setUp()
        self.file = self.dir / "json"
        self.file.mkdir()
        harness.give_to_user(self.file)
        self.file = self.file / "caronte.json"

    def json_caronte(self, sink, **settings):
        return self.caronte(sink, LOG_JSON_FILE=str(self.file), MAX_ERRORS=100000, **settings)

    def refused(self, daemon, n, first=0):
        """So many records of recipients that are refused, each of about 700 octets."""
        with harness.Client(daemon.port) as client:
            client.hello()
            client.command(b"MAIL FROM:<%s@client.test>" % (b"s" * 60), 250)
            for i in range(first, first + n):
                client.command(b"RCPT TO:<%d@%s.far.test>" % (i, b".".join([b"d" * 60] * 3)), 550)
            client.quit()

    def numbers(self, rows):
        return [int(row["recipient"].split("@")[0]) for row in map(json.loads, rows)
                if row["element"] == "recipient"]

    def all_lines(self, daemon):
        rows = []
        for path in sorted(daemon.archive.glob("*.json")) + [self.file]:
            rows += lines(path)
        return rows

    def test_same_records(self):
        """What the log has, the file has: names, order and values."""
        with harness.Sink() as sink, self.json_caronte(sink, LOG_LEVEL=3) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command(b"VRFY \\ \" <x>", 502)
                client.send_message(b"x\r\n", sender="")
                client.quit()
            daemon.record("session")
            daemon.stop()
            records = daemon.records()
            rows = [json.loads(line) for line in lines(self.file)]
            self.assertEqual([row.pop("element") for row in rows], [r.tag for r in records])
            for row, record in zip(rows, records):
                want = {"message_no" if k == "message" else k: v for k, v in record.items()}
                self.assertEqual(list(row), list(want))
                for name, value in row.items():
                    number = not isinstance(value, str)
                    self.assertEqual(value, float(want[name]) if number else want[name])

    def followers_see_all(self, rotate):
        with harness.Sink() as sink, \
                self.json_caronte(sink, LOG_ROTATE_MIB=1) as daemon, \
                Tail(self.file) as tail, Rsyslog(self.file) as rsyslog:
            def see(count):
                for follower in tail, rsyslog:
                    harness.wait_until(lambda: len(self.numbers(lines(follower.out))) >= count)
                    self.assertEqual(self.numbers(lines(follower.out)), list(range(count)))

            half = RECORDS // 2
            self.refused(daemon, half)
            see(half)  # tail leaves a file that was renamed where it stands in it
            rotate(daemon)
            self.refused(daemon, half, half)
            see(RECORDS)
            return daemon

    def test_followers_across_our_rotation(self):
        """`tail -F` and rsyslog's imfile; LOG_ROTATE_MIB's own rotation."""
        def until_rotated(daemon):
            before = len(list(daemon.archive.glob("*.json")))
            while len(list(daemon.archive.glob("*.json"))) == before:
                with harness.Client(daemon.port) as client:
                    client.hello("x" * 250)
                    for _ in range(100):
                        client.command(b"RCPT TO:<a@%s>" % (b"y" * 60), 503)
                    client.quit()
        daemon = self.followers_see_all(until_rotated)
        self.assertTrue(list(daemon.archive.glob("*.json")))

    def test_followers_across_logrotate(self):
        """As logrotate does it: rename, then USR1."""
        def by_hand(daemon):
            os.rename(self.file, str(self.file) + ".1")
            os.kill(daemon.pid, signal.SIGUSR1)
            harness.wait_until(self.file.exists)
        self.followers_see_all(by_hand)

    def test_killed_writer(self):
        """The log writer is killed again and again: each record is there once, in order."""
        with harness.Sink() as sink, self.json_caronte(sink) as daemon:
            daemon.may_die = True
            for part in range(10):
                self.refused(daemon, 100, part * 100)
                victim = daemon.writer()
                os.kill(victim, signal.SIGKILL)
                harness.wait_until(lambda: harness.is_gone(victim))
            daemon.records("session", count=10)
            daemon.stop()
            self.assertEqual(self.numbers(self.all_lines(daemon)), list(range(RECORDS)))

    def test_reload_names_it(self):
        """It comes and goes with a reload."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.assertFalse(self.file.exists())
            daemon.configure(LOG_JSON_FILE=str(self.file))
            os.kill(daemon.pid, signal.SIGHUP)
            harness.wait_until(self.file.exists)
            self.refused(daemon, 1)
            harness.wait_until(lambda: self.numbers(lines(self.file)) == [0])

    def test_what_it_may_not_be(self):
        daemon = self.caronte("127.0.0.1:1")
        daemon.configure()
        for path, why in ((daemon.log, "this is LOG_FILE"),
                          (self.dir, "not a regular file|Is a directory"),
                          (self.dir / "nowhere/x.json", "No such file")):
            daemon.configure(LOG_JSON_FILE=str(path))
            done = harness.run_caronte("-t", "-c", daemon.conf)
            self.assertEqual(done.returncode, harness.EX_CONFIG)
            self.assertRegex(done.stderr, "LOG_JSON_FILE: .*(%s)" % why)
