# SPDX-License-Identifier: ISC
"""carontectl trace: the story of a message, from the records of real sessions."""
import json
import os
import re
import shutil
import signal
import subprocess
import unittest

import harness
import puppet
from harness import wait_until

TOO_MUCH = b"x" * 70 + b"\r\n"


class Trace(harness.TestCase):
    each_engine = False  # the records are the same

    def trace(self, daemon, *arguments, status=0):
        """What is printed; what was said on standard error is in self.said."""
        done = harness.ctl("trace", "-c", daemon.conf, *arguments)
        self.said = done.stderr
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def assert_told(self, story, *wanted):
        """The texts are there, in this order."""
        at = 0
        for text in wanted:
            found = story.find(text, at)
            self.assertGreaterEqual(found, 0, "%s\nis not in its place in\n%s" % (text, story))
            at = found + len(text)

    def send_to_two(self, daemon, name="one", message_id="1@client.test"):
        """A session with a recipient that is refused, one that is accepted, and a message: its
        queue id."""
        with harness.Client(daemon.port) as client:
            client.hello(name + ".test")
            client.command("MAIL FROM:<%s@client.test>" % name, 250)
            client.command("RCPT TO:<x@far.test>", 550)
            client.command("RCPT TO:<b@local.test>", 250)
            client.command("DATA", 354)
            client.send(b"Message-ID: <%s>\r\n\r\nx\r\n.\r\n" % message_id.encode())
            reply = client.reply().decode()
            self.assertEqual(reply[:3], "250")
            client.quit()
        return re.search(r"queued as (\S+)", reply)[1]

    def test_every_way_to_find_it(self):
        with harness.Sink() as sink, self.caronte(sink, LOG_LEVEL=2) as daemon:
            queue_id = self.send_to_two(daemon)
            other = self.send_to_two(daemon, "two", "2@client.test")
            one, two = (r.get("session") for r in daemon.records("session", count=2))
            story = self.trace(daemon, queue_id)
            self.assert_told(
                story, "session %s, 20" % one, "client 127.0.0.1:", ", HELO one.test",
                "message 1 from <one@client.test>\n",
                "to <x@far.test>: refused here: the recipient is not in RECIPIENTS and the client "
                "is no relay client", "| 550 5.7.1 Relaying denied.",
                "to <b@local.test>: accepted: the recipient is in RECIPIENTS\n",
                "octets for 1 recipient, Message-ID <1@client.test>, to 127.0.0.1:%d: accepted\n" %
                sink.port, "| 250 ", queue_id, "end after ", "the client said QUIT [quit]",
                "delivered: 1")
            self.assertNotIn(two, story)
            for what in ("<1@client.test>", "1@client.test", "one@client.test",
                         "<One@client.test>", one, daemon.record("session", session=one).get(
                             "client")):
                self.assertEqual(self.trace(daemon, what), story, what)
            both = story + "\n" + self.trace(daemon, other)
            for what in "127.0.0.1", "127.0.0.0/8", "@client.test", "b@local.test", "x@far.test":
                self.assertEqual(self.trace(daemon, what), both, what)
            # The last one alone, and that there are more.
            self.assertEqual(
                self.trace(daemon, "-n", "1", "@client.test"),
                "1 earlier session had to do with it too, see --last and --until\n\n" +
                self.trace(daemon, two))
            self.assertEqual(self.trace(daemon, "--until", "-1h", one, status=1), "")
            self.assertIn("no records of the time that was asked for", self.said)
            # The same records for scripts, and from a pipe.
            self.assertEqual(self.trace(daemon, "--json", queue_id),
                             harness.ctl("log", "--json", "--session", one, daemon.log).stdout)
            with open(daemon.log, "rb") as log, subprocess.Popen(
                    ["cat"], stdin=log, stdout=subprocess.PIPE) as pipe:
                piped = subprocess.run([harness.CTL, "trace", queue_id, "-"], stdin=pipe.stdout,
                                       stdout=subprocess.PIPE, text=True, check=True)
            self.assertEqual(piped.stdout, story)
            self.assertEqual(self.trace(daemon, "none@client.test", status=1), "")
            self.assertRegex(self.said, r"^carontectl trace: nothing about none@client.test in "
                             r"%s, %s: \d+ records from 20\S+Z to 20\S+Z\n$" %
                             (daemon.archive, daemon.log))

    def test_refused_by_the_destination(self):
        with harness.Sink("--reply", "RCPT=550 5.1.1 No such mailbox here") as sink, \
                self.caronte(sink, LOG_LEVEL=2) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<b@local.test>", 550)
                client.quit()
            daemon.records("session", count=1)
            self.assert_told(self.trace(daemon, "b@local.test"), "message 1 from <a@client.test>",
                             "to <b@local.test>: refused by the destination",
                             "| 550 5.1.1 No such mailbox here", "the client said QUIT")

    def test_refused_messages(self):
        """Too large for the destination, and a line feed on its own."""
        with harness.Sink("--ext", "SIZE 10000") as sink, \
                self.caronte(sink, LOG_LEVEL=2) as daemon:
            for name, body in ("big", TOO_MUCH * 300), ("bare", b"one\ntwo\r\n"):
                with harness.Client(daemon.port) as client:
                    client.hello()
                    self.assertEqual(client.send_message(body, name + "@client.test")[:1], b"5")
            daemon.records("session", count=2)
            self.assert_told(self.trace(daemon, "big@client.test"), "message 1 from <big@",
                             "to <b@local.test>: accepted", "octets for 1 recipient", ": refused\n",
                             "| 552 5.3.4 ", "end after ")
            self.assert_told(self.trace(daemon, "bare@client.test"), "message 1 from <bare@",
                             ": refused\n", "| 521 5.5.2 ", "end after ",
                             "a message held a CR, LF or NUL on its own "
                             "(BARE_NEWLINE_NORMALIZE would repair it) [protocol, bare-newline]")

    def test_lost_destination(self):
        with harness.Sink("--drop", "EOD") as sink, self.caronte(sink, LOG_LEVEL=2) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                self.assertEqual(client.send_message(b"x\r\n")[:1], b"4")
            daemon.records("session", count=1)
            self.assert_told(self.trace(daemon, "a@client.test"), "to <b@local.test>: accepted",
                             "refused for now, the client may try again\n", "| 4", "end after ",
                             "the destination closed the connection [lost-destination, closed]")

    def meet_a_refusal(self, daemon):
        with harness.Client(daemon.port) as client:
            self.assertEqual(client.meet()[:1], b"4")

    def test_busy_destinations(self):
        """Their state is told beside the session that met it."""
        said = "421 4.3.2 too busy"
        with harness.Sink("--greeting", said) as one, harness.Sink("--greeting", said) as two, \
                self.caronte("127.0.0.1:%d 127.0.0.1:%d" % (one.port, two.port),
                             COOPERATION_CLUSTER=True, LOG_LEVEL=2) as daemon:
            meetings = 0
            while meetings == 0 or len(daemon.records("destination", state="busy")) < 2:
                meetings += 1
                self.meet_a_refusal(daemon)
            self.meet_a_refusal(daemon)
            daemon.records("session", count=meetings + 1)
            story = self.trace(daemon, "-n", "1", "127.0.0.1")
            self.assertIn("destination 127.0.0.1:%d is busy: %s\n" % (one.port, said), story)
            self.assert_told(story, "| 421 4.3.2 ", "end after ", *self.by_dialog(
                sniff=["the destination greeted with a refusal [refused]"], gateway=[]))

    def test_who_has_named_the_client(self):
        with harness.Sink() as sink, self.caronte(sink, XCLIENT_FROM="127.0.0.1") as daemon:
            with harness.Client(daemon.port) as client:
                client.hello("proxy.test")
                client.command("XCLIENT ADDR=198.51.100.7 PORT=4321", 220)
                client.command("EHLO client.test", 250)
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<x@far.test>", 550)
                client.quit()
            daemon.records("session", count=2)
            for what in "198.51.100.7", "127.0.0.1", "x@far.test":
                self.assert_told(self.trace(daemon, what), "client 198.51.100.7:4321, by the word "
                                 "of 127.0.0.1:", "to <x@far.test>: refused here")

    def test_before_a_session(self):
        with harness.Sink() as sink, self.caronte(sink, PROXY_FROM="127.0.0.1",
                                                  LOG_LEVEL=1) as daemon:
            for count in 1, 2, 3:
                with harness.Client(daemon.port) as client:
                    client.send(b"EHLO client.test\r\n")
                    self.assertIn(client.rest(), (b"", puppet.RESET))
                daemon.records("fault", count=count, what="proxy-header")
            story = self.trace(daemon, "127.0.0.1")
            self.assertEqual(len(re.findall(r"fault proxy-header, client 127\.0\.0\.1:\d+: "
                                            "PROXY_FROM: a wrong header", story)), 3)
            self.assert_told(story, "outside of sessions\n")
            found = self.trace(daemon, "--json", "127.0.0.1").splitlines()
            self.assertEqual([json.loads(line)["what"] for line in found], ["proxy-header"] * 3)
            self.trace(daemon, "127.0.0.9", status=1)

    def test_rotated_in_the_middle(self):
        """It is one story, told without a name of a file; and while it is still going on."""
        with harness.Sink() as sink, self.caronte(sink, LOG_LEVEL=2) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.envelope()
                session = daemon.records("recipient", count=1)[0].get("session")
                story = self.trace(daemon, "b@local.test")
                self.assert_told(story, "session %s, " % session, "to <b@local.test>: accepted",
                                 "no end is in the log: it is still running")
                daemon.log.rename(daemon.archive / "caronte-20260101-000000.xml")
                os.kill(daemon.pid, signal.SIGUSR1)
                wait_until(daemon.log.exists)
                client.command("DATA", 354)
                client.send(b"x\r\n.\r\n")
                queue_id = re.search(r"queued as (\S+)", client.reply().decode())[1]
                client.quit()
            daemon.records("session", count=1)
            self.assert_told(self.trace(daemon, queue_id), "to <b@local.test>: accepted",
                             " octets for 1 recipient", queue_id,
                             "the client said QUIT")
            self.assertNotIn("to <b@local.test>", self.trace(daemon, queue_id, daemon.log))

    def test_nothing_of_a_message_at_level_1(self):
        with harness.Sink() as sink, self.caronte(sink, LOG_LEVEL=1) as daemon:
            self.send_to_two(daemon)
            daemon.records("session", count=1)
            self.trace(daemon, "b@local.test", status=1)
            self.assertIn("LOG_LEVEL is 1", self.said)
            self.assert_told(self.trace(daemon, "127.0.0.1"), "HELO one.test",
                             "the client said QUIT", "refused recipients: 1")

    def test_wrong_arguments(self):
        for arguments in ([], [""], ["-n", "0", "x"], ["-n", "1001", "x"], ["--what", "x"],
                          ["--since", "tomorrow", "x"], ["--until", "2026-02-30", "x"]):
            done = harness.ctl("trace", "-c", "/dev/null", *arguments)
            self.assertEqual((done.returncode, done.stdout), (harness.EX_USAGE, ""), arguments)
            self.assertTrue(done.stderr.startswith("carontectl trace: "), done.stderr)

    @unittest.skipUnless(harness.ROOT, "needs root")
    def test_a_log_that_may_not_be_read(self):
        closed = self.dir / "log"
        closed.mkdir(mode=0o700)
        (closed / "caronte.xml").write_text("")
        self.dir.chmod(0o711)
        program = shutil.copy(harness.CTL, self.dir)
        done = subprocess.run(
            [program, "trace", "-c", "/dev/null", "-o", "USER=nobody", "-o",
             "LOG_FILE=%s/caronte.xml" % closed, "-o", "LOG_ARCHIVE_DIR=%s/archive" % closed, "x"],
            stderr=subprocess.PIPE, text=True, user="daemon", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("carontectl trace: %s/caronte.xml: Permission denied (root and user nobody "
                      "may read it)\n" % closed, done.stderr)


class Json(harness.TestCase):
    each_engine = False
    dialogs = ("sniff",)

    def test_each_record_of_all_sessions_found(self):
        with harness.Sink() as sink, self.caronte(sink, LOG_LEVEL=3) as daemon:
            for number in range(3):
                with harness.Client(daemon.port) as client:
                    client.hello("h%d.test" % number)
                    client.send_message(b"x\r\n", "s%d@client.test" % (number % 2))
                    client.quit()
            daemon.records("session", count=3)
            done = harness.ctl("trace", "--json", "s0@client.test", daemon.log)
            found = {record["session"] for record in map(json.loads, done.stdout.splitlines())}
            wanted = {r.get("session") for r in daemon.records("message", sender="s0@client.test")}
            self.assertEqual(found, wanted)
            self.assertEqual(len(done.stdout.splitlines()),
                             len([r for r in daemon.records() if r.get("session") in wanted]))
