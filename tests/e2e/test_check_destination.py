# SPDX-License-Identifier: ISC
"""carontectl check-destination, against servers that misbehave, and real ones."""
import re
import unittest

import exim
import harness
import opensmtpd
import postfix
import test_places


def name_of(server):
    return "127.0.0.1:%d" % server.port


class GivingUp(test_places.Flushing):
    """Gives a message up at an octet, announces no SIZE, and swallows the rest from there on as if
    a line began, as Exim does."""
    SIZE = b""

    def __init__(self, limit):
        self.limit = limit
        super().__init__()

    def take_data(self, peer, held):
        for text, reply in ((held[:self.limit], b"250 queued\r\n"),
                            (b"\r\n" + held[self.limit:], b"552 too big\r\n")):
            if (at := text.find(b"\r\n.\r\n")) >= 0:
                peer.sendall(reply)
                return (text if reply[:1] == b"5" else held)[at + 5:], False
        return held, True


class Cutting(test_places.Flushing):
    """Cuts lines to pieces of this size, each a line for it."""
    LONGEST = 998
    LONG = re.compile(rb"[^\n]{999}")

    def take_data(self, peer, held):
        if not self.LONG.search(held):
            end = (b"\r\n" + held).find(b"\r\n.\r\n")
            if end >= 0:
                peer.sendall(b"250 queued\r\n")
                return held[end + 3:], False
            return held[max(held.rfind(b"\r\n", 0, -4), 0):], True
        at = 0
        while at < len(held):
            end = held.find(b"\r\n", at, at + self.LONGEST + 2)
            if end < 0 and len(held) - at < self.LONGEST + 2:
                break
            behind = end + 2 if end >= 0 else at + self.LONGEST
            if held[at:behind] == b".\r\n":
                peer.sendall(b"250 queued\r\n")
                return held[behind:], False
            at = behind
        return held[at:], True


class CheckDestination(harness.TestCase):
    dialogs = ("sniff",)  # it needs no daemon
    each_engine = False
    RELAYS = "it relays for our address"
    REFUSE = ("--reply", "RCPT:caronte-relay-check@=550 5.7.1 Not here")
    LAX = ("LF . LF", "LF . LF behind a head with LF", "LF . CR LF", "CR LF . LF",
           "CR LF . CR CR LF")
    STRICT = ("CR LF . CR", "CR . CR", "CR LF . NUL CR LF")
    EIGHTH = ("CR LF . CR LF with the eighth bit",)

    def check(self, destinations, *arguments, status):
        done = harness.ctl("check-destination", "-c", "/dev/null",
                           "-o", "DESTINATIONS=" + destinations,
                           "-o", "MAX_MESSAGE_MIB=1", "--timeout", 20, *arguments, patience_s=600)
        self.assertEqual(done.returncode, status, (done.stdout, done.stderr))
        lines = done.stdout.splitlines()
        warnings = [line.split(": ", 2)[2] for line in lines if ": warning: " in line]
        self.assertEqual(lines[-1], "%d warning%s" % (len(warnings), "s" * (len(warnings) != 1)))
        return lines, warnings

    def notes(self, lines):
        return [line.split(": ", 2)[2] for line in lines if ": note: " in line]

    def test_good(self):
        with harness.Sink("--auth", "joe:secret", *self.REFUSE) as sink:
            lines, warnings = self.check(name_of(sink), status=0)
            self.assertEqual(warnings, [])
            for domain in ("example.com", "[192.0.2.1]"):
                self.assertIn("%s: good: it refuses mail from our address to "
                              "<caronte-relay-check@%s>: 550 5.7.1 Not here" %
                              (name_of(sink), domain), lines)
            self.assertEqual([line.split(" ")[0] for line in sink.commands()][:6],
                             ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "QUIT"])
            self.assertIn(name_of(sink) + ": good: it takes 100 connections at a time", lines)

    def test_unsafe(self):
        with harness.Sink("--ext", "SIZE 1000") as sink:
            lines, warnings = self.check(name_of(sink), status=1)
            self.assertEqual(len(warnings), 2)
            self.assertIn(self.RELAYS, warnings[1])
            self.assertIn("PIPELINING", warnings[0])
            # What cures it stands below each.
            for i, line in enumerate(lines):
                if ": warning: " in line:
                    self.assertIn(name_of(sink) + ": cure: ", lines[i + 1])
            self.assertEqual(self.notes(lines), ["it offers no AUTH: nobody can log in through "
                                                 "Caronte"])
            self.assertEqual(sink.report()["messages"], 0)
            self.assertNotIn("DATA", sink.commands())
        with harness.Sink("--ext", "STARTTLS", "--ext", "PIPELINING", *self.REFUSE) as sink:
            lines, _ = self.check(name_of(sink), status=0)
            size, auth = self.notes(lines)
            self.assertIn("does not say its SIZE: MAX_MESSAGE_MIB is taken for it", size)
            self.assertIn("perhaps only after STARTTLS", auth)

    def test_relay_that_refuses_what_has_no_mail_server(self):
        with harness.Sink("--auth", "joe:secret", "--reply",
                          "RCPT:example.com=556 5.1.10 Null MX") as sink:
            _, warnings = self.check(name_of(sink), status=1)
            self.assertEqual(len(warnings), 1)
            self.assertIn(self.RELAYS, warnings[0])
            self.assertIn("<caronte-relay-check@[192.0.2.1]>", warnings[0])

    def test_not_known(self):
        for reply, what in (("RCPT=450 4.2.0 Greylisted", "whether it relays is not known"),
                            ("MAIL=550 5.7.1 No", "whether it relays is not known"),
                            ("EHLO=502 5.5.1 No", "EHLO gets 502 5.5.1 No"),
                            ("RSET=220 2.0.0 Ok", "RSET gets 220"),
                            ("QUIT=250 2.0.0 Ok", "QUIT gets 250")):
            with self.subTest(reply), harness.Sink("--auth", "joe:secret", "--reply", reply,
                                                   *self.REFUSE) as sink:
                _, warnings = self.check(name_of(sink), status=1)
                self.assertEqual(len(warnings), 1)
                self.assertRegex(warnings[0], what)

    def test_no_helo_after_421(self):
        with harness.Sink("--reply", "EHLO=421 4.3.2 Busy") as sink:
            _, warnings = self.check(name_of(sink), status=1)
            self.assertEqual(warnings, ["EHLO gets 421 4.3.2 Busy"])
            self.assertEqual([line.split(" ")[0] for line in sink.commands()], ["EHLO"])

    def test_trouble(self):
        for options, what in (
                (["--greeting", "554 5.7.1 Not you"], "it greets with 554 5.7.1 Not you"),
                (["--greeting", "421 4.3.2 Busy"], "it greets with 421 4.3.2 Busy"),
                (["--greeting", "hello"], 'it greets with a malformed reply: "hello\\r\\n"'),
                (["--greeting", "220 \\x1b[31mred\\x9b1m\"\\\\"],
                 'it greets with a malformed reply: "220 \\x1b[31mred\\x9b1m\\"\\\\\\r\\n"'),
                (["--greeting", "-ERR " + "x" * 100],
                 'it greets with a malformed reply: "-ERR %s"...' % ("x" * 55)),
                (["--greeting", "220 mail.test LMTP"],
                 "it greets with (this is an LMTP port, SMTP is needed) 220 mail.test LMTP"),
                (["--drop", "GREETING"], "it greets with a closed connection"),
                (["--stall", "GREETING"], "it greets with silence")):
            with self.subTest(options), harness.Sink(*options) as sink:
                lines, warnings = self.check(name_of(sink), "--timeout", 1, status=1)
                self.assertEqual(warnings, [what])
                self.assertEqual(any("waits for a PROXY header (identity=proxy2) or for TLS (wrap)"
                                     in line for line in lines), "silence" in what)

    def test_words_are_printable(self):
        with harness.Sink("--greeting", "220 \\xc2\\x9b31m", "--auth", "a:b", *self.REFUSE) as sink:
            lines, _ = self.check(name_of(sink), status=0)
            self.assertEqual(lines[0], name_of(sink) + ": good: it greets with 220 ??31m")

    def test_every_destination(self):
        with harness.Sink("--auth", "joe:secret", *self.REFUSE) as sink:
            down = "127.0.0.1:%d" % harness.free_port()
            lines, warnings = self.check("%s %s x.invalid:25" % (down, name_of(sink)), status=1)
            self.assertEqual(lines[0], down + ": warning: cannot be connected to: "
                             "Connection refused")
            self.assertEqual(lines[-3], "x.invalid:25: warning: does not resolve")
            self.assertEqual(len(warnings), 2)
            self.assertEqual(len(lines), 11)

    def test_ends_of_data(self):
        for mode, taken, refused in (("strict", (), self.LAX + self.STRICT + self.EIGHTH),
                                     ("lax", self.LAX, self.STRICT + self.EIGHTH),
                                     ("7bit", self.EIGHTH, self.LAX + self.STRICT)):
            with self.subTest(mode), harness.Sink("--auth", "joe:secret", "--line-ends", mode,
                                                  *self.REFUSE, maildir=True) as sink:
                lines, warnings = self.check(name_of(sink), "--recipient", "b@local.test",
                                             status=1 if taken else 0)
                self.assertEqual(lines[0], "up to 85 messages may be delivered to b@local.test at "
                                 "each address of each of 1 destinations")
                self.assertEqual(warnings, ["it takes %s as the end of a message" % end
                                            for end in taken])
                for end in refused:
                    self.assertIn("%s: good: it does not take %s as the end of a message" %
                                  (name_of(sink), end), lines)
                # Nothing but NOOP was ever smuggled. The other messages ask for lost places.
                everything = sink.mails()
                mails = [mail for mail in everything if b"what ends a message" in mail]
                self.assertEqual(len(mails), 9)
                self.assertEqual(len(everything), 9 + 7)
                commands = sink.commands()
                self.assertEqual(commands.count("NOOP"), len(taken))
                self.assertEqual(commands.count("."), len(taken))
                self.assertEqual({line.split(" ")[0] for line in commands} - {"NOOP", "."},
                                 {"EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT", "RSET"})
                self.assertEqual(sum(b"NOOP" in mail for mail in mails), len(refused))
                self.assertEqual([line for line in commands if line.startswith("RCPT")][2:],
                                 ["RCPT TO:<b@local.test>"] * (9 + 7))

    def check_server(self, server, pipelining, takes, *arguments):
        """A mail server that trusts us, and the ends that it takes. What it says of its place."""
        with server:
            lines, warnings = self.check(name_of(server), "-r", "b@local.test", *arguments,
                                         status=1)
            self.assertEqual("%s: good: it knows PIPELINING" % name_of(server) in lines, pipelining)
            self.assertTrue(any(self.RELAYS in each for each in warnings), lines)
            self.assertTrue(any("it offers no AUTH" in each for each in self.notes(lines)), lines)
            taken = [re.match("it takes (.*) as the end of a message", each)
                     for each in warnings]
            self.assertEqual(tuple(match[1] for match in taken if match), takes, lines)
            self.assertFalse([line for line in warnings if "not known" in line], lines)
            return lines

    def said(self, lines, what):
        """The one line with this."""
        found = [line.split(": ", 1)[1] for line in lines
                 if what in line and ": cure: " not in line]
        self.assertEqual(len(found), 1, lines)
        return found[0]

    def test_postfix(self):
        """Of 8 connections it lets 5 in."""
        lines = self.check_server(postfix.Postfix(smtpd_client_connection_count_limit="5",
                                                  smtpd_client_event_limit_exceptions="",
                                                  message_size_limit="200000"),
                                  True, self.LAX, "-n", "8")
        for what in ("a long line", "lines of many lengths", "a big header", "a big message"):
            self.assertRegex(self.said(lines, " in %s: " % what), "^good: it keeps its place")
        self.assertRegex(self.said(lines, "connections at a time"),
                         "^warning: of 8 connections at a time it refuses 3, the [0-9]. as the "
                         "first: \"421 4.7.0 postfix.test Error: too many connections")
        self.assertTrue(any("cure: " in line and "smtpd_client_event_limit_exceptions" in line
                            for line in lines))

    def lost(self, lines, kind, what):
        match = re.match("%s: it loses its place in %s after ([0-9]+) to ([0-9]+) octets" %
                         (kind, what), self.said(lines, "its place in " + what))
        self.assertTrue(match, lines)
        return range(int(match[1]), int(match[2]) + 1)

    def test_exim(self):
        """It gives up at 1 MiB of header, and at the SIZE that it announces, without the CRs: of
        four octets one. More than Caronte lets through is worth a note only."""
        ends = ("LF . LF behind a head with LF",)
        lines = self.check_server(exim.Exim(200000), True, ends, "-n", "0")
        # So small a message is refused before it has so much header.
        self.assertTrue(self.lost(lines, "note", "a big message").start >= 200000)
        self.assertLess(self.lost(lines, "note", "a big message").stop, 280000)
        lines = self.check_server(exim.Exim(), True, ends, "-n", "0")
        header = self.lost(lines, "note", "a big header")
        self.assertIn(header.start * 3 // 4 // 1024, (1023, 1024))
        lines = self.check_server(exim.Exim(), True, ends, "-n", "0", "-o", "MAX_HEADER_KIB=2048")
        header = self.lost(lines, "warning", "a big header")
        self.assertIn(1 << 20, range(header.start * 3 // 4 - 1024, header.stop))

    def test_opensmtpd(self):
        """It refuses whatever is sent behind an end, without PIPELINING."""
        lines = self.check_server(opensmtpd.OpenSmtpd("smtp max-message-size 200K\n" +
                                                      opensmtpd.RULES), False,
                                  (*self.LAX[:4], "CR LF . NUL CR LF"), "-n", "5")
        for what in ("a long line", "lines of many lengths"):
            self.assertRegex(self.said(lines, "it refuses %s," % what), "^note: .*Line too long")
        self.assertRegex(self.said(lines, " its place in a big message"), "^good: it keeps")

    def test_a_line_that_is_flushed(self):
        """A note where Caronte's own bound is less, and a warning where it is not."""
        for bound, kind in (64, "note"), (128, "warning"):
            with self.subTest(bound), test_places.Flushing() as server:
                lines, _ = self.check(name_of(server), "-r", "b@local.test", "-n", "0", "-o",
                                      "MAX_LINE_KIB=%d" % bound, status=1)
                place = self.lost(lines, kind, "a long line")
                # (It looks at what it reads, which may be two pieces or three.)
                self.assertIn(test_places.Flushing.LONGEST,
                              range(place.start - 2 * 8192, place.stop))
                self.assertLess(len(place), 8194)
                if kind == "warning":
                    self.assertIn("%s: cure: MAX_LINE_KIB of Caronte must stay below that" %
                                  name_of(server), lines)
                self.assertEqual({command for command in server.commands if command.isalpha()},
                                 {b"QUIT", b"RSET", b"DATA", b"NOOP"})

    def test_a_message_that_is_given_up(self):
        """At an octet that is not announced."""
        for limit in (100000, 100001, 100002, 100003):
            with self.subTest(limit), GivingUp(limit) as server:
                lines, _ = self.check(name_of(server), "-r", "b@local.test", "-n", "0", "-o",
                                      "MAX_HEADER_KIB=16", status=1)
                place = self.lost(lines, "warning", "a big message")
                self.assertTrue(place.start < limit < place.stop + 1000, place)
                self.assertLess(len(place), 1024)

    def test_lines_that_are_cut(self):
        with Cutting() as server:
            lines, _ = self.check(name_of(server), "-r", "b@local.test", "-n", "0", status=1)
            self.assertRegex(self.said(lines, "lines of many lengths"),
                             "^warning: it loses its place in lines of many lengths after "
                             "%d octets:" % Cutting.LONGEST)

    def test_connections(self):
        with harness.Sink("--max", "5", "--auth", "joe:secret", *self.REFUSE) as sink:
            for options, count, refused in (
                    (["-n", "8"], 8, 3), (["-n", "5"], 5, 0), (["-n", "0"], 0, 0),
                    (["-o", "MAX_SESSIONS=6"], 6, 1), ([], 100, 95)):
                with self.subTest(options):
                    lines, _ = self.check(name_of(sink), *options, status=1 if refused else 0)
                    if refused:
                        self.assertIn(" of %d connections at a time it refuses %d, " %
                                      (count, refused), self.said(lines, "connections at a time"))
                    else:
                        self.assertEqual(any("it takes %d connections at a time" % count in line
                                             for line in lines), count > 0)
            # max= of the configuration, also for the one that is named
            limited = name_of(sink) + ",max=4"
            for arguments in [], [name_of(sink)], [limited]:
                lines, _ = self.check(limited, *arguments, status=0)
                self.assertIn("good: it takes 4 connections", self.said(lines, "connections"))

    def test_one_that_is_named(self):
        with harness.Sink("--auth", "joe:secret", *self.REFUSE) as sink:
            lines, _ = self.check("127.0.0.1:%d" % harness.free_port(), name_of(sink), status=0)
            self.assertTrue(lines[0].startswith(name_of(sink) + ": good: it greets"))
            self.check(name_of(sink), "-o", "SERVER_NAME=gate.local.test", status=0)
            self.assertIn("EHLO gate.local.test", sink.commands())
            self.check_options(name_of(sink))
        self.assertEqual(harness.ctl("check-destination", "-c", "/dev/null", "-o",
                                     "SERVER_NAME=a b").returncode, 78)
        done = harness.ctl("check-destination", "x")
        self.assertEqual(done.returncode, 64)
        self.assertIn('carontectl check-destination: "x": ', done.stderr)

    def check_options(self, name):
        """Those of DESTINATIONS are taken where there are none behind the argument."""
        for argument, taken in (name, True), (name + ",identity=none", False):
            lines, warnings = self.check(name + ",identity=xforward", argument,
                                         status=1 if taken else 0)
            self.assertEqual(["XFORWARD" in each for each in warnings], [True] * taken)
            self.assertEqual([each.startswith("it is spoken to by its options in DESTINATIONS")
                              for each in self.notes(lines)], [True] * taken)

    def test_lmtp(self):
        with harness.Sink("--reply", "EHLO=500 5.5.1 LHLO is needed here",
                          "--reply", "HELO=500 5.5.1 No") as sink:
            lines, warnings = self.check(name_of(sink), status=1)
            self.assertEqual(warnings, ["EHLO gets (this is an LMTP port, SMTP is needed) "
                                        "500 5.5.1 LHLO is needed here"])
            self.assertIn("%s: cure: name the port of SMTP in DESTINATIONS of Caronte" %
                          name_of(sink), lines)

    def test_ends_that_are_refused(self):
        with harness.Sink("--auth", "joe:secret", "--reply", "EOD=550 5.6.0 Bare newline",
                          *self.REFUSE) as sink:
            lines, warnings = self.check(name_of(sink), "--recipient", "b@local.test", status=0)
            self.assertEqual(sum("end of a message: 550 5.6.0 Bare newline" in line
                                 for line in lines), 9)
        # Whether it has read one message or two is not known of one that is gone.
        with harness.Sink("--auth", "joe:secret", "--reply", "EOD=554 5.6.0 Bare newline\\!",
                          *self.REFUSE) as sink:
            lines, warnings = self.check(name_of(sink), "--recipient", "b@local.test", status=0)
            self.assertEqual(sum("it refuses a message with " in line for line in lines), 9)
            self.assertFalse([line for line in lines if "does not take" in line])
        # One without PIPELINING is asked again, and by silence says that it takes none of them.
        with harness.Sink("--ext", "AUTH PLAIN", "--reply", "EOD=554 5.6.0 Bare newline\\!",
                          *self.REFUSE) as sink:
            lines, warnings = self.check(name_of(sink), "-r", "b@local.test", "-t", 1, status=1)
            self.assertEqual(len(warnings), 1)
            self.assertEqual(sum("goes away: 554 5.6.0 Bare newline" in line for line in lines), 9)
        with harness.Sink("--auth", "joe:secret", "--reply", "RCPT=550 5.1.1 Unknown") as sink:
            lines, warnings = self.check(name_of(sink), "-r", "b@local.test", status=1)
            self.assertEqual(len(warnings), 9)
            self.assertEqual(warnings[0], "LF . LF: RCPT gets 550 5.1.1 Unknown: not tried")
            self.assertNotIn("DATA", sink.commands())

    def test_arguments(self):
        for arguments, status in (
                (["x:25", "y"], 64), (["--recipient", "x"], 64),
                (["-r", "a@b>\r\nRCPT TO:<c@d"], 64),
                (["-r", "a b@c"], 64), (["-r", "@c"], 64), (["-r", "a@"], 64),
                (["--timeout", "0"], 64), (["--timeout", "86401"], 64),
                (["-t", "x"], 64), (["-n", "x"], 64), (["-n", "1001"], 64),
                (["--help"], 0),
                (["-c", self.dir / "nothing"], 78), (["-c", "/dev/null", "-o", "X=1"], 78),
                (["-c", "/dev/null", "-o", "DESTINATIONS=x"], 78)):
            done = harness.ctl("check-destination", *arguments)
            self.assertEqual(done.returncode, status, (arguments, done.stdout, done.stderr))
            if status == 64:
                said = "carontectl check-destination: " + arguments[-1].splitlines()[0]
                self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
