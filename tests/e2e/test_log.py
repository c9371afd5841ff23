# SPDX-License-Identifier: ISC
"""The XML log: what is in it at each level, hostile octets, and that it is well-formed whenever
nobody writes to it, whatever was killed. (Credentials: test_guard.py.)"""
import base64
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import harness
import puppet

CLOCK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SESSION = re.compile(r"[0-9a-f]+-[0-9a-f]+")
DENIED = "550 5.7.1 Relaying denied. "
PLAIN = "AUTH PLAIN " + base64.b64encode(b"\0joe\0secret").decode()
WRONG = "AUTH PLAIN " + base64.b64encode(b"\0jim\0wrong").decode()
RULES_OF_LEVELS = [set(), {"start", "stop", "login", "session"},
                   {"recipient", "message", "refusal"},
                   {"command", "reply"}]


def logged(octets):
    """Octets as caronte-log(5) has them."""
    text, at = "", 0
    while at < len(octets):
        for length in (1, 2, 3, 4):
            with contextlib.suppress(UnicodeDecodeError):
                character = octets[at:at + length].decode()
                if len(character) == 1 and (character in "\t\n\r" or " " <= character
                                            and character not in "\ufffe\uffff"):
                    text += "\\\\" if character == "\\" else character
                    at += length
                    break
        else:
            text += "\\x%02X" % octets[at]
            at += 1
    return text


class Levels(harness.TestCase):
    def play(self, daemon):
        """One session of everything."""
        with harness.Client(daemon.port) as client:
            client.hello("helo.test")
            client.command("WHAT", 500)
            client.command("MAIL FROM:<a@client.test> SIZE=100", 250)
            client.command("RCPT TO:<x@far.test>", 550)
            client.command("RCPT TO:<b@local.test>", 250)
            client.command("RCPT TO:<full@local.test>", 452)
            client.command("DATA", 354)
            client.command("Message-ID: <1@client.test>\r\n\r\n..stuffed\r\n.", 250)
            client.command(WRONG, 535)
            client.command(PLAIN, 235)
            client.command("MAIL FROM:<>", 250)
            client.command("RCPT TO:<x@far.test>", 250)
            client.command("DATA", 354)
            client.command(".", 250)
            name = "%s:%d" % client.socket.getsockname()
            client.quit()
        return name

    def sink(self):
        return harness.Sink("--auth", "joe:secret", "--reply", "RCPT:full@=452 4.2.2 Mailbox full")

    def test_names_of_any_length(self):
        """Whatever a client calls itself, and who logs in, is logged whole."""
        lengths = 1, 47, 48, 49, 255

        def name(n):
            return ("h." * n)[:n - 1] + "h"
        for login in lengths:
            user = "u" * login
            with harness.Sink("--auth", user + ":secret") as sink, self.caronte(sink) as daemon:
                for n, helo in enumerate(lengths, 1):
                    with self.subTest(login=login, helo=helo), \
                            harness.Client(daemon.port) as client:
                        client.hello(name(helo))
                        token = base64.b64encode(b"\0%s\0secret" % user.encode())
                        client.command(b"AUTH PLAIN " + token, 235)
                        client.quit()
                        record = daemon.records("session", count=n)[-1]
                        self.assertEqual((record.get("helo"), record.get("login")),
                                         (name(helo), user))

    def test_which_elements(self):
        for level, _ in enumerate(RULES_OF_LEVELS):
            with self.subTest(level), self.sink() as sink:
                with self.caronte(sink, LOG_LEVEL=level) as daemon:
                    self.play(daemon)
                self.assertEqual({record.tag for record in daemon.records()},
                                 set().union(*RULES_OF_LEVELS[:level + 1]))

    def test_attributes_to_the_letter(self):
        with self.sink() as sink:
            with self.caronte(sink, WORKERS=1) as daemon:
                pid = daemon.pid
                client = self.play(daemon)
            destination = "127.0.0.1:%d" % sink.port
        records = daemon.records()
        of_session = {record.get("session") for record in records} - {None}
        self.assertEqual(len(of_session), 1)
        self.assertRegex(of_session.pop(), SESSION)
        seen, last = {}, ""
        for record in records:
            attributes = dict(record.attrib)
            time_of = attributes.pop("time")
            self.assertRegex(time_of, CLOCK)
            if record.tag not in ("start", "stop"):
                attributes.pop("session")
                self.assertGreaterEqual(time_of, last)  # one worker's records are in order
                last = time_of
            seen.setdefault(record.tag, []).append(attributes)
        self.assertRegex(seen["session"][0].pop("seconds"), r"^\d+\.\d{6}$")
        version = subprocess.run([harness.CARONTE, "-V"], stdout=subprocess.PIPE, text=True).stdout
        self.assertEqual(seen["start"], [{"version": version.split()[1], "pid": str(pid)}])
        self.assertEqual(seen["stop"][0].get("pid", str(pid)), str(pid))
        self.assertEqual(len(seen["stop"]), 1)
        ok, bodies = "250 2.1.5 Ok", {"message": "1", "client": client}
        recipient = {**bodies, "sender": "a@client.test"}
        self.assertEqual(seen["recipient"], [
            {**recipient, "recipient": "x@far.test", "verdict": "refuse", "rule": "relaying-denied",
             "reply": DENIED},
            {**recipient, "recipient": "b@local.test", "verdict": "accept", "rule": "recipient",
             "reply": ok},
            {**recipient, "recipient": "full@local.test", "verdict": "refuse",
             "rule": "destination",
             "reply": "452 4.2.2 Mailbox full"},
            {**recipient, "message": "2", "sender": "", "recipient": "x@far.test",
             "verdict": "accept",
             "rule": "login", "reply": ok}])
        size = len("Message-ID: <1@client.test>\r\n\r\n.stuffed\r\n")
        message = {**bodies, "sender": "a@client.test", "recipients": "1", "body": "copy",
                   "destination": destination}
        for each, more in zip(seen["message"], (size, 0)):
            self.assertIn(int(each.pop("bytes")) - more, range(6),
                          "octets of the body or with its end")
        self.assertEqual(seen["message"], [
            {**message, "to": "b@local.test", "id": "<1@client.test>",
             "reply": "250 2.0.0 Ok: queued as C1M1"},
            # After a login that failed the gateway dialog takes another connection.
            {**message, "message": "2", "sender": "", "login": "joe", "to": "x@far.test",
             "reply": "250 2.0.0 Ok: queued as " + self.by_dialog("C1M2", "C2M1")}])
        self.assertEqual([(each.pop("reply")[:3], each) for each in seen["refusal"]], [
            ("500", {"client": client, "command": "other", "by": "caronte"})])
        self.assertEqual(seen["login"], [
            {"client": client, "mechanism": "PLAIN", "name": "jim", "verdict": "refuse",
             "reply": "535 5.7.8 Authentication credentials invalid"},
            {"client": client, "mechanism": "PLAIN", "name": "joe", "verdict": "accept",
             "reply": "235 2.7.0 Authentication successful"}])
        self.assertIn(int(seen["session"][0].pop("bytes")) - size, range(12))
        self.assertEqual(seen["session"], [
            {"client": client, "helo": "helo.test", "login": "joe", "destination": destination,
             "messages": "2", "refusals": "2", "end": "quit", "errors": "3",
             "reply": "535 5.7.8 Authentication credentials invalid"}])
        self.check_dialog(seen)

    def check_dialog(self, seen):
        commands, replies = seen["command"], seen["reply"]
        from_client = [each["line"] for each in commands if each.get("from") == "client"]
        self.assertEqual(from_client[:6], [
            "EHLO helo.test", "WHAT", "MAIL FROM:<a@client.test> SIZE=100", "RCPT TO:<x@far.test>",
            "RCPT TO:<b@local.test>", "RCPT TO:<full@local.test>"])
        to_destination = [each["line"] for each in commands if each.get("to") == "destination"]
        passed = [line for number, line in enumerate(from_client) if number not in (1, 3)]
        if self.gateway:  # EHLO, here that to another connection, is Caronte's own
            self.assertEqual(to_destination.pop(5)[:5], "EHLO ")
            passed.pop(0)
        # Caronte answers DATA; the bodies, one of which is empty, go in chunks.
        chunks = iter(("BDAT 41 LAST", "BDAT 0 LAST"))
        passed = [next(chunks) if line == "DATA" else line for line in passed]
        self.assertEqual(to_destination, passed)
        self.assertEqual(from_client[7:9], ["AUTH PLAIN <credentials>"] * 2)
        to_client = [each["line"] for each in replies if each.get("to") == "client"]
        from_destination = [each["line"] for each in replies if each.get("from") == "destination"]
        self.assertEqual(to_client[3:7], ["250 2.1.0 Ok", DENIED, "250 2.1.5 Ok",
                                          "452 4.2.2 Mailbox full"])
        self.assertIn(DENIED, to_client)
        self.assertNotIn(DENIED, from_destination)
        self.assertIn("\n250-", to_client[1])  # EHLO's lines, joined
        self.assertNotIn("\r", "".join(to_client + from_destination))
        self.assertEqual(len(to_client), len(from_destination) + 2 + 2)
        for each in commands + replies:
            self.assertEqual(len(each), 2, each)

    def test_a_login_without_a_name_is_its_mechanism(self):
        with harness.Sink("--ext", "AUTH TOKEN", "--reply", "AUTH=235 Fine") as sink, \
                self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("AUTH TOKEN c2VjcmV0", 235)
                client.quit()
            self.assertEqual(daemon.record("session").get("login"), "TOKEN")
            login = daemon.record("login")
            self.assertEqual((login.get("mechanism"), login.get("name")), ("TOKEN", None))

    def test_recipients_that_are_answered_by_the_end(self):
        rules = ["--drop", "RCPT:lost@", "--reply", "RCPT:busy@=421 4.3.2 Busy"]
        for end, code in ("lost", "451"), ("busy", "421"):
            with puppet.case(end), harness.Sink(*rules) as sink, self.caronte(sink) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                client.envelope(recipients=())
                client.send(b"RCPT TO:<fine@local.test>\r\nRCPT TO:<%s@local.test>\r\n"
                            b"RCPT TO:<late@local.test>\r\n" % end.encode())
                fine, last = client.reply().decode(), client.reply().decode()
                self.assertEqual((fine[:3], last[:3], client.rest()), ("250", code, b""))
                self.assertEqual(daemon.record("session").get("refusals"), "2")
                self.assertEqual(
                    [[record.get(key)
                      for key in ("sender", "recipient", "verdict", "rule", "reply")]
                     for record in daemon.records("recipient")],
                    [["a@client.test", recipient + "@local.test", *verdict]
                     for recipient, verdict in (
                        ("fine", ("accept", "recipient", fine.strip())),
                        (end, ("refuse", "destination", last.strip())),
                        ("late", ("refuse", "destination", last.strip())))])

    def test_a_session_ends_in_one_of_these_ways(self):
        rules = ["--drop", "RCPT:lost@", "--reply", "RCPT:odd@=354 what"]
        with harness.Sink(*rules) as sink, \
                self.caronte(sink, TIMEOUT_COMMAND=4, MAX_ERRORS=2, WORKERS=1) as daemon:
            whys = {"lost-destination": "closed", "limit": "MAX_ERRORS", "protocol": "bdat-alone"}
            ways = {
                "quit": lambda client: client.command("QUIT", 221),
                "lost-client": lambda client: client.command("NOOP", 250),
                "lost-destination": lambda client: (client.envelope(recipients=()),
                                                    client.command("RCPT TO:<lost@local.test>")),
                "timeout": lambda client: client.rest(),
                "limit": lambda client: (client.command("WHAT", 500), client.command("WHAT", 500)),
                "protocol": lambda client: client.command("BDAT 5 LAST", 503),
            }
            for count, (end, do) in enumerate(ways.items(), 1):
                with puppet.case(end), harness.Client(daemon.port) as client:
                    client.hello()
                    do(client)
                    client.close()
                    record = daemon.records("session", count=count)[-1]
                    self.assertEqual((record.get("end"), record.get("reason")),
                                     (end, whys.get(end)))
        with harness.Sink() as sink, self.caronte(sink, STOP_GRACE=0) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                daemon.process.terminate()
                self.assertEqual(client.reply()[:9], b"421 4.3.2")
            daemon.stop()
            self.assertEqual(daemon.record("session").get("end"), "stop")

    def test_sessions_have_names_of_their_own(self):
        """Across workers and restarts."""
        with harness.Sink() as sink:
            daemon = self.caronte(sink, WORKERS=3)
            for _ in range(3):
                with daemon:
                    for _ in range(20):
                        with harness.Client(daemon.port) as client:
                            client.hello()
                            client.quit()
        self.assertEqual(len(daemon.records("start")), 3)
        names = [record.get("session") for record in daemon.records("session")]
        self.assertEqual((len(names), len(set(names))), (60, 60))

    def test_a_destination_goes_and_comes(self):
        with harness.Sink() as sink, self.caronte(sink, LOG_LEVEL=2, TIMEOUT_CONNECT=1) as daemon:
            if self.gateway:  # a worker has asked what it can do
                harness.wait_until(lambda: len(sink.commands()) == 1)
            sink.kill()
            with harness.Client(daemon.port) as client:
                if self.gateway:
                    client.hello()
                    client.command("MAIL FROM:<>", 250)
                    client.send(puppet.RCPT)
                self.assertEqual(client.reply()[:9], b"421 4.3.2")
            down = daemon.records("destination", state="down", count=1)[0]
            self.assertEqual(down.get("address"), "127.0.0.1:%d" % sink.port)
            self.assertTrue(down.get("why"))
            self.assertEqual(daemon.records("session", count=1)[0].get("end"), "lost-destination")
            self.assertEqual([record.get("reply")[:9] for record in daemon.records("recipient")],
                             ["421 4.3.2"] * self.gateway)
            sink.start()
            sink.expect_status = 0
            up = daemon.records("destination", state="up", count=1)[0]
            self.assertEqual(up.get("address"), "127.0.0.1:%d" % sink.port)


class Schema(harness.TestCase):
    """What every other test relies on."""

    def test_what_is_wrong_is_found(self):
        if not shutil.which("xmllint"):
            harness.missing("xmllint is not installed: logs are parsed and not validated")
        stamp = 'time="2026-01-02T03:04:05.678901Z"'
        good = '<stop %s pid="1"/>' % stamp
        for record in (good, "", "<stop/>", '<stop %s pid="x"/>' % stamp, "<other %s/>" % stamp,
                       '<stop %s pid="1" more=""/>' % stamp, good + "<stop", good + "text",
                       '<fault %s what=""/>' % stamp, good.replace("05.678901Z", "05.678901")):
            path = self.dir / "log.xml"
            path.write_text("<caronte-log>%s</caronte-log><?pad ?>" % record)
            with puppet.case(record):
                if record in (good, ""):
                    harness.validate(path)
                else:
                    self.assertRaises(AssertionError, harness.validate, path)


class Hostile(harness.TestCase):
    PIECES = [bytes([c]) for c in range(1, 256) if c not in b"\r\n"] + [
        b"<", b">", b"&", b'"', b"'", b"\\", b"\\x41", b"]]>", b"?>", b"--", b"<!--", b"&#0;",
        b"&lt;", b"</caronte-log>", b"<?pad ", b"\xed\xa0\x80", b"\xed\xbf\xbf",
        b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80", b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98",
        b"\xf0\x9f\x98\x80",
        "\u00e4\u2028\u0085\ufeff\U0010ffff".encode(),
        b"\t", b" ", b"   "]

    def lines(self):
        draw = random.Random(1)
        yield from self.PIECES
        for _ in range(300):
            yield b"".join(draw.choices(self.PIECES, k=draw.randrange(2, 30)))

    def from_client(self, daemon, count):
        return [record.get("line") for record in daemon.records("command", count=count)
                if record.get("from") == "client"]

    def test_commands(self):
        with harness.Sink() as sink, self.caronte(sink, MAX_ERRORS=100000, WORKERS=1) as daemon:
            sent = []
            with harness.Client(daemon.port) as client:
                client.hello()
                for octets in self.lines():
                    for line in (b"NOOP " + octets, b"VRFY " + octets,
                                 b"MAIL FROM:<" + octets + b"@c>", b"RCPT TO:" + octets,
                                 b"EHLO " + octets):
                        sent.append(line)
                        client.command(line)
                client.quit()
            daemon.records("session", count=1)
            lines = self.from_client(daemon, 1)[1:-1]
            self.assertEqual(len(lines), len(sent))
            for line, octets in zip(lines, sent):
                self.assertEqual(line, logged(octets))

    def test_addresses(self):
        senders = ["\u00e4\u20ac@client.test".encode(), b'"\\""@client.test',
                   b"&'{}|=/*+@client.test",
                   b'"?\xf0\x9f\x98\x80]]&lt;\'"@client.test', b'"\\\\x41"@client.test',
                   b'" "@client.test']
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command(b"EHLO <\xff&>", 250)
                for sender in senders:
                    client.command(b"MAIL FROM:<" + sender + b"> SMTPUTF8", 250)
                    client.command(b"RCPT TO:<" + sender + b">", 550)
                    client.command("RSET", 250)
                client.quit()
            self.assertEqual(daemon.record("session").get("helo"), logged(b"<\xff&>"))
            self.assertEqual([(record.get("sender"), record.get("recipient"))
                              for record in daemon.records("recipient")],
                             [(logged(sender), logged(sender)) for sender in senders])

    def test_replies(self):
        texts = [b"250 " + octets for octets in self.lines()
                 if not re.search(rb"[\x01-\x08\x0b-\x1f\x7f]", octets)]
        texts += [b"250-<&>\r\n250-\xff\xfe\r\n250 \\\"']]>", b"250-\r\n250", b"250 " + b"&" * 2000]
        with puppet.Destination() as destination, self.caronte(destination, WORKERS=1) as daemon:
            until, command = self.by_dialog(("ehlo", b"NOOP\r\n"), ("mail", puppet.RCPT))
            with puppet.Session(daemon.port, destination, until) as session:
                for text in texts:
                    session.both(command, text + b"\r\n")
                session.quit()
            daemon.records("session", count=1)
            # Greeting, EHLO, MAIL and QUIT are left out, as far as each side has them.
            to_client, from_destination = self.by_dialog(([2, -1], [2, -1]), ([3, -1], [1, None]))
            for way, part in ({"to": "client"}, slice(*to_client)), \
                    ({"from": "destination"}, slice(*from_destination)):
                lines = [record.get("line") for record in daemon.records("reply", **way)][part]
                self.assertEqual(lines, [logged(text.replace(b"\r\n", b"\n")) for text in texts])


class Lives(harness.TestCase):
    """The file outlives the processes that write it."""

    # So many for each that a test says: the gateway dialog writes half as much of one.
    noops = 2 if harness.TestCase.gateway else 1

    def tags(self, path):
        return [record.tag for record in harness.parse_log(path)]

    @contextlib.contextmanager
    def traffic(self, daemon):
        """Clients that send mail until the end of the block, whatever happens to the daemon."""
        over = threading.Event()

        def send():
            while not over.is_set():
                with contextlib.suppress(OSError, AssertionError):
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        while not over.is_set():
                            client.send_message(b"text\r\n")
                            over.wait(0.02)  # the log is read again and again meanwhile
                over.wait(0.01)
        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def test_well_formed_while_it_runs(self):
        """The writer is stopped anywhere, and then nobody is writing."""
        with harness.Sink() as sink, self.caronte(sink) as daemon, self.traffic(daemon):
            writer = daemon.writer()
            draw = random.Random(2)
            size = 0
            for _ in range(15):
                time.sleep(draw.random() / 10)
                with harness.frozen(writer):
                    daemon.validate_log()
                    size, before = len(harness.parse_log(daemon.log)), size
                    self.assertGreaterEqual(size, before)
            self.assertGreater(size, 100)

    def test_log_writer_killed_again_and_again(self):
        with harness.Sink() as sink, self.caronte(sink, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            with self.traffic(daemon):
                for count in range(1, 7):
                    time.sleep(0.05)
                    victim = daemon.writer()
                    os.kill(victim, signal.SIGKILL)
                    daemon.records("fault", what="log-writer-died", count=count)
                    daemon.validate_log()
            with harness.Client(daemon.port) as client:
                client.hello("afterwards")
                client.quit()
            daemon.records("session", helo="afterwards", count=1)
            daemon.stop()
            # Nothing is lost or doubled by it.
            names = [r.get("session") + r.get("message") for r in daemon.records("message")]
            self.assertEqual(len(names), len(set(names)))
            self.assertEqual(len(names), sink.report()["messages"])

    def test_all_killed_and_continued(self):
        """kill -9 of every process in the midst of traffic: the file is valid, what stood in it
        still does, and the next start goes on with it."""
        with harness.Sink() as sink:
            daemon = self.caronte(sink)
            draw, before = random.Random(3), []
            for count in range(1, 9):
                with daemon:
                    with self.traffic(daemon):
                        daemon.records("start", count=count)
                        time.sleep(draw.random() / 5)
                        daemon.kill()
                    daemon.validate_log()
                    records = [(r.tag, sorted(r.attrib.items())) for r in daemon.records()]
                    self.assertEqual(records[:len(before)], before)
                    self.assertEqual(sum(tag == "start" for tag, _ in records), count)
                    self.assertGreater(len(records), len(before))
                    before = records
            self.assertGreater(len(before), 100)
            with daemon:
                pass
            self.assertEqual(len(daemon.records("start")), 9)
            self.assertEqual(len(daemon.records("stop")), 1)
            self.assertEqual(list(daemon.archive.iterdir()), [])

    def test_stopped_and_continued(self):
        with harness.Sink() as sink:
            daemon = self.caronte(sink, LOG_LEVEL=1)
            for _ in range(3):
                with daemon:
                    pass
        self.assertEqual([record.tag for record in daemon.records()], ["start", "stop"] * 3)

    def test_a_file_that_is_no_log_is_moved_away(self):
        good = b'<?xml version="1.0" encoding="UTF-8"?>\n<caronte-log>\n'
        for garbage in (b"something else\n", good + b"<start", good + b"</caronte-log><trailing/>",
                        b"\0" * 100000, b"<html></html>"):
            with self.subTest(garbage[:80]), harness.Sink() as sink:
                daemon = self.caronte(sink, LOG_LEVEL=1)
                daemon.log.write_bytes(garbage)
                harness.give_to_user(daemon.log)
                daemon.start()
                harness.wait_until(lambda: "start" in self.tags(daemon.log))
                self.assertEqual(daemon.stop(), 0)
                moved, = daemon.archive.iterdir()
                self.assertEqual(moved.read_bytes(), garbage)
                self.assertRegex(moved.name, r"^caronte-\d{8}-\d{6}(-\d+)?\.xml$")
                moved.unlink()
                daemon.validate_log()
                self.assertEqual([r.get("what") for r in daemon.records("fault")],
                                 ["log-not-well-formed"])

    def test_a_file_that_is_no_log_and_no_archive(self):
        """Which nobody needs where nothing is rotated."""
        with harness.Sink() as sink:
            daemon = self.caronte(sink, LOG_LEVEL=1, LOG_ROTATE_MIB=0, LOG_ROTATE_HOURS=0,
                                  LOG_ARCHIVE_DIR=str(self.dir / "missing"))
            daemon.log.write_bytes(b"something else\n")
            harness.give_to_user(daemon.log)
            daemon.start()
            fault = daemon.record("fault")
            self.assertEqual(daemon.stop(), 0)
            moved, = set(daemon.log.parent.iterdir()) - {daemon.log}
            self.assertRegex(moved.name, r"^caronte-\d{8}-\d{6}(-\d+)?\.xml$")
            self.assertEqual(moved.read_bytes(), b"something else\n")
            self.assertEqual((fault.get("what"), fault.get("detail")),
                             ("log-not-well-formed", "moved to %s" % moved))

    def test_nothing_on_standard_output(self):
        with harness.Sink() as sink, \
                self.caronte(sink, LOG_FILE="-", LOG_LEVEL=0) as daemon:
            self.assertEqual(daemon.stop(), 0)
            self.assertEqual(daemon.stdout(), "")

    def test_rotation_by_size(self):
        count = 2000 * self.noops
        with harness.Sink() as sink:
            with self.caronte(sink, LOG_ROTATE_MIB=1, WORKERS=1) as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    for number in range(1, count + 1):
                        client.command("NOOP %d %s" % (number, "x" * 400), 250)
                    client.quit()
                daemon.records("session", count=1)
            files = sorted(daemon.archive.iterdir())
            self.assertGreaterEqual(len(files), 2)
            for path in files:
                self.assertRegex(path.name, r"^caronte-\d{8}-\d{6}(-\d+)?\.xml$")
                self.assertLessEqual(path.stat().st_size, 1 << 20)
                self.assertGreater(path.stat().st_size, 1 << 19)
            numbers = sorted(int(r.get("line").split()[1]) for r in
                             daemon.records("command", **{"from": "client"})
                             if r.get("line").startswith("NOOP"))
            self.assertEqual(numbers, list(range(1, count + 1)))

    def test_usr1_opens_the_file_again(self):
        with harness.Sink() as sink, self.caronte(sink, LOG_LEVEL=1) as daemon:
            daemon.records("start", count=1)
            daemon.log.rename(daemon.archive / "by-hand.xml")
            daemon.process.send_signal(signal.SIGUSR1)
            # What is logged before the writer has the signal is in the old file.
            harness.wait_until(daemon.log.exists)
            with harness.Client(daemon.port) as client:
                client.hello()
                client.quit()
            harness.wait_until(lambda: self.tags(daemon.log) == ["session"])
            self.assertEqual(self.tags(daemon.archive / "by-hand.xml"), ["start"])

    def test_standard_output(self):
        with harness.Sink() as sink:
            with self.caronte(sink, LOG_FILE="-") as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    client.send_message(b"x\r\n")
                    client.quit()
                # It does not wait for the end.
                harness.wait_until(lambda: "<session " in daemon.stdout())
            harness.validate(daemon.dir / "stdout")
            tags = self.tags(daemon.dir / "stdout")
            self.assertEqual((tags[0], tags[-1]), ("start", "stop"))
            self.assertIn("message", tags)
            self.assertFalse(daemon.log.exists())

    def test_a_log_that_cannot_keep_up_holds_up_no_mail(self):
        """What does not fit is dropped, counted, and the count is written."""
        with harness.Sink() as sink, self.caronte(sink, WORKERS=1, MAX_ERRORS=100000) as daemon:
            sent = 6000 * self.noops
            with harness.frozen(daemon.writer()), harness.Client(daemon.port) as client:
                client.hello()
                for _ in range(sent):
                    client.command("NOOP " + "x" * 400, 250)
                self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                client.quit()
            dropped = int(daemon.records("fault", what="log-dropped", count=1)[0].get("count"))
            self.assertGreater(dropped, 0)
            daemon.stop()
            kept = [r for r in daemon.records() if r.tag not in ("start", "stop", "fault")]
            dropped = sum(int(r.get("count")) for r in daemon.records("fault", what="log-dropped"))
            # Greeting, EHLO, NOOPs, MAIL and RCPT, DATA with BDAT, its answer, and QUIT with all
            # their records.
            everything = self.by_dialog(2 + 4 + 4 * sent + 4 * 2 + 3 + 2 + 4,
                                        1 + 2 + 2 * sent + 4 * 2 + 3 + 2 + 2)
            everything += len(["recipient", "message", "session"])
            self.assertEqual(len(kept) + dropped, everything)

    def test_full_disk(self):
        with harness.Sink() as sink:
            daemon = self.caronte(sink, WORKERS=1)
            if not harness.ROOT or subprocess.run(
                    ["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "caronte-e2e",
                     daemon.log.parent],
                    stderr=subprocess.DEVNULL).returncode:
                self.skipTest("no file system can be mounted here")
            self.addCleanup(subprocess.run, ["umount", "-l", daemon.log.parent], check=True)
            with daemon:
                ballast = daemon.log.parent / "ballast"
                with harness.Client(daemon.port) as client:
                    client.hello()
                    for number in range(800 * self.noops):
                        client.command("NOOP " + "x" * 400, 250)
                    self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                    harness.wait_until(lambda: "No space left" in daemon.stderr())
                    daemon.validate_log()
                    with contextlib.suppress(OSError):
                        ballast.write_bytes(b"x" * (1 << 20))
                    for number in range(6000 * self.noops):
                        client.command("NOOP " + "x" * 400, 250)
                    daemon.validate_log()
                    subprocess.run(["mount", "-o", "remount,size=64m", daemon.log.parent],
                                   check=True)
                    daemon.records("fault", what="log-dropped", count=1)
                    client.quit()
                daemon.records("session", count=1)
