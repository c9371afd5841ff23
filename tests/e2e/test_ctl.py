# SPDX-License-Identifier: ISC
"""carontectl explain and log, on what the daemon decides and writes; bash completion."""
import bz2
import collections
import contextlib
import datetime
import gzip
import json
import lzma
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import time
import unicodedata
import unittest
import xml.etree.ElementTree

import harness
from puppet import case

COMPLETION = harness.SOURCES / "completion/bash/caronte"
LOCALES = {"LC_ALL": "C.UTF-8"}
DENIED = b"550 5.7.1 Relaying denied. "


def ctl(*arguments, status=0, env=None, **how):
    """carontectl run to its end, with this status; its standard output."""
    done = subprocess.run([harness.CTL, *map(str, arguments)], text=True, errors="surrogateescape",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          env=dict(os.environ, **(env or LOCALES)),
                          **(how or {"stdin": subprocess.DEVNULL}))
    if done.returncode != status or harness.SANITIZER.search(done.stderr):
        raise AssertionError("carontectl %r: status %d, %s%s" % (
            arguments, done.returncode, done.stdout[-2000:], done.stderr))
    ctl.stderr = done.stderr
    return done.stdout


def as_records(text, **how):
    return [json.loads(line, **how) for line in text.splitlines()]


def fields(text):
    """What explain prints, as a dictionary."""
    return dict(re.findall(r"^(\w+): +(.*(?:\n .*)*)", text, re.M))


class Explain(harness.TestCase):
    RECIPIENTS = ["# local", "@local.test", "joe@other.test", "o%dd@other.test"]

    def explain(self, daemon, *arguments, status=0):
        return fields(ctl("explain", "-c", daemon.conf, *arguments, status=status))

    def test_it_says_what_the_daemon_says(self):
        """Verdict and rule of each recipient are those of the log record that a session leaves."""
        recipients = ["a@local.test", "A@LOCAL.TEST.", "joe@other.test", "ann@other.test",
                      "postmaster", "postmaster@other.test", "u%evil@local.test",
                      "o%dd@other.test", '"u@evil"@local.test', '"a b"@local.test', "a@far.test",
                      "a@[192.0.2.1]", "joe+x@other.test", "ann+x@other.test",
                      "postmaster+x@other.test", '"joe+x"@other.test', "joe+x%y@other.test",
                      "prvs=0123abcdef=joe@other.test"]
        for networks, sender in (("", "s@client.test"), ("", ""), ("127.0.0.0/8", "s@client.test")):
            with harness.Sink() as sink, self.caronte(
                    sink, RECIPIENTS=self.RECIPIENTS, RELAY_NETWORKS=networks) as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    client.command("MAIL FROM:<%s>" % sender, 250)
                    for number, recipient in enumerate(recipients, 1):
                        reply = client.command("RCPT TO:<%s>" % recipient)
                        said = self.explain(daemon, "127.0.0.1", sender, recipient,
                                            status=0 if reply[:1] == b"2" else 1)
                        record = daemon.records("recipient", count=number)[-1]
                        self.assertEqual((said["verdict"], said["rule"]),
                                         (record.get("verdict"), record.get("rule")), recipient)
                        if reply[:1] != b"2":
                            self.assertEqual(reply.rstrip(b"\r\n"), DENIED)
                    client.quit()

    def test_refused_addresses(self):
        """What the daemon answers with 501 is 501 here, with a reason."""
        with harness.Sink() as sink, self.caronte(
                sink, RECIPIENTS=self.RECIPIENTS, MAX_ERRORS=100) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("MAIL FROM:<>", 250)
                for recipient, words in (
                        ("a@b@local.test", "More than one @ outside of quotes"),
                        ("a", "Domain is missing"),
                        ("@relay.test:a@local.test", "Source route, or local part is missing"),
                        ("", "Recipient is empty"), ("a b@local.test", "Blank outside of quotes"),
                        ("a\\@b@local.test", ": or \\ outside of quotes"),
                        ("a@local..test", "Empty label in the domain"),
                        ("x" * 253 + "@local.test", "Local part too long"),
                        ("a(b)@local.test", "Comment in the address")):
                    with case(recipient):
                        reply = client.command("RCPT TO:<%s>" % recipient, 501)
                        self.assertEqual(reply, b"501 5.1.3 %s\r\n" % words.encode())
                        said = self.explain(daemon, "127.0.0.1", "<>", recipient or "<>", status=1)
                        self.assertEqual((said["verdict"], said["reply"]),
                                         ("refuse", reply.decode().rstrip("\r\n")))
                client.command("RSET", 250)
                for sender, words in (("s@x@client.test", "More than one @ outside of quotes"),
                                      ("root", "Domain is missing")):
                    with case(sender):
                        reply = client.command("MAIL FROM:<%s>" % sender, 501)
                        self.assertEqual(reply, b"501 5.1.7 %s\r\n" % words.encode())
                        said = self.explain(daemon, "127.0.0.1", sender, "a@local.test", status=1)
                        self.assertEqual(said["reply"], reply.decode().rstrip("\r\n"))
                client.quit()

    def test_addresses_that_need_smtputf8(self):
        with harness.Sink() as sink, self.caronte(sink, RECIPIENTS=self.RECIPIENTS) as daemon:
            for sender, recipient, who in (("\u00fc@far.test", "a@local.test", "sender"),
                                           ("", "\u00fc@local.test", "recipient")):
                said = self.explain(daemon, "203.0.113.1", sender, recipient)
                self.assertIn("the %s needs SMTPUTF8" % who, said["note"])
            self.assertNotIn("note", self.explain(daemon, "203.0.113.1", "", "a@local.test"))

    def test_where_it_stands(self):
        networks = self.dir / "networks"
        networks.write_text("# ours\n10.0.0.0/8\n10.9.0.0/16\n")
        with harness.Sink() as sink, self.caronte(
                sink, RECIPIENTS=self.RECIPIENTS,
                RELAY_NETWORKS="192.0.2.0/24 %s 2001:db8::/32" % networks) as daemon:
            for ip, entry in (("10.1.2.3", "%s:2: 10.0.0.0/8" % networks),
                              ("10.9.1.1", "%s:3: 10.9.0.0/16" % networks),
                              ("::ffff:10.9.1.1", "%s:3: 10.9.0.0/16" % networks),
                              ("192.0.2.9", "RELAY_NETWORKS: 192.0.2.0/24"),
                              ("2001:db8::9", "RELAY_NETWORKS: 2001:db8::/32")):
                said = self.explain(daemon, ip, "", "a@far.test")
                self.assertEqual((said["rule"], said["entry"]), ("relay-network", entry))
            for recipient, entry in (("a@LOCAL.test", ":2: @local.test"),
                                     ("Joe@other.test", ":3: joe@other.test"),
                                     ("postmaster@other.test", ":3: joe@other.test")):
                said = self.explain(daemon, "203.0.113.1", "<s@client.test>", "<%s>" % recipient)
                self.assertEqual((said["rule"], said["entry"]),
                                 ("recipient", str(daemon.recipients) + entry))
            said = self.explain(daemon, "203.0.113.1", "", "a%far.test@local.test", status=1)
            self.assertIn("carries routing", said["because"])
            said = self.explain(daemon, "--login", "203.0.113.1", "", "a@far.test")
            self.assertEqual(said["rule"], "login")
            said = self.explain(daemon, "-o", "RELAY_GUARD=n", "203.0.113.1", "", "a@far.test")
            self.assertEqual(said["rule"], "guard-off")

    def test_addresses_as_the_log_has_them(self):
        for address in ("10.0.0.1", "10.0.0.1:4711", "[::ffff:10.0.0.1]:4711", "::ffff:a00:1",
                        "[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:4711"):
            said = fields(ctl("explain", "-c", "/dev/null", "-o", "USER=nobody", "-o",
                              "RELAY_NETWORKS=10.0.0.1 2001:db8::1", address, "", "a@b.test"))
            self.assertEqual(said["rule"], "relay-network", address)
        for address in "[10.0.0.1", "10.0.0.1:", "[]", "10.0.0.1:65536", "":
            ctl("explain", "-c", "/dev/null", address, "", "a@b.test", status=64)
            self.assertIn("is no IP address", ctl.stderr)

    def test_faults(self):
        ctl("explain", "-c", "/dev/null", "10.0.0.1", "a@b.test", status=64)
        ctl("explain", "-c", "/dev/null", "10.0.0.1", "", "a@b.test", "more", status=64)
        ctl("explain", "-c", "/dev/null", "10.0.0", "", "a@b.test", status=64)
        ctl("explain", "--what", "10.0.0.1", "", "a@b.test", status=64)
        ctl("explain", "-c", self.dir / "none", "10.0.0.1", "", "a@b.test", status=78)
        self.assertIn("none", ctl.stderr)
        user = "USER=nobody"
        for option, word in (("RELAY_NETWORKS=10.0.0.1/8", "-o: RELAY_NETWORKS"),
                             ("RECIPIENTS=%s/none" % self.dir, "cannot be read"),
                             ("RECIPIENTS=%s" % self.dir, "no regular file"),
                             ("LISTEN_PORTS=1", "LISTEN_PORT")):
            said = ctl("explain", "-c", "/dev/null", "-o", user, "-o", option, "10.0.0.1", "",
                       "a@b.test", status=78)
            self.assertEqual(said, "")
            self.assertIn(word, ctl.stderr)
        faulty = self.dir / "faulty"
        faulty.write_text("@good.test\nfaulty\n")
        ctl("explain", "-c", "/dev/null", "-o", user, "-o", "RECIPIENTS=%s" % faulty, "10.0.0.1",
            "", "a@good.test", status=78)
        self.assertIn("%s:2: " % faulty, ctl.stderr)

    @unittest.skipUnless(harness.ROOT, "needs root")
    def test_files_are_read_as_the_daemon_reads_them(self):
        secret = self.dir / "secret"
        secret.write_text("@local.test\n")
        secret.chmod(0o600)
        ctl("explain", "-c", "/dev/null", "-o", "USER=nobody", "-o", "RECIPIENTS=%s" % secret,
            "10.0.0.1", "", "a@local.test", status=78)
        self.assertRegex(ctl.stderr, "cannot be read by user [^:]+: Permission denied")


class Log(harness.TestCase):
    dialogs = ("sniff",)  # the file is the same, and here filled with what a NOOP writes

    def two_sessions(self, sink, **settings):
        """A Caronte that has had a session with a message and a refusal, and a short one."""
        daemon = self.caronte(sink, **settings).start()
        for name in "one", "two":
            with harness.Client(daemon.port) as client:
                client.hello(name + ".test")
                if name == "one":
                    client.send_message(b"x\r\n", "Ann@client.test", ("b@local.test",
                                                                      "c@local.test"))
                    client.command("MAIL FROM:<>", 250)
                    client.command("RCPT TO:<x@far.test>", 550)
                client.quit()
        daemon.records("session", count=2)
        return daemon

    def test_formats(self):
        with harness.Sink() as sink, contextlib.ExitStack() as stack:
            daemon = self.two_sessions(sink)
            stack.push(daemon)
            all_records = daemon.records()
            # JSON and XML hold all that is in the log, in its order.
            printed = ctl("log", "--json", daemon.log)
            self.assertEqual(as_records(printed, parse_int=str, parse_float=str),
                             [{"element": r.tag, **{"message_no" if k == "message" else k: v
                                                    for k, v in r.attrib.items()}}
                              for r in all_records])
            message = next(r for r in as_records(printed) if r["element"] == "message")
            self.assertEqual((message["bytes"], message["recipients"]), (3, 2))
            again = self.dir / "again.xml"
            again.write_text(ctl("log", "--xml", daemon.log))
            harness.validate(again)
            self.assertEqual([(r.tag, r.attrib) for r in harness.parse_log(again)],
                             [(r.tag, r.attrib) for r in all_records])
            self.assertEqual(ctl("log", "--xml", again), again.read_text())
            # The records are octet for octet the lines of the log.
            lines = [line for line in daemon.log.read_text().splitlines()
                     if re.match("<[a-z]+ ", line)]
            self.assertEqual(again.read_text().splitlines()[2:-1], lines)
            table = ctl("log", daemon.log).splitlines()
            self.assertEqual(len(table), 1 + len(all_records))
            self.assertRegex(table[0], r"^TIME \(UTC\) +SESSION +RECORD +WHAT$")
            refusal = next(line for line in table if "x@far.test" in line and " recipient " in line)
            self.assertRegex(refusal, r"refuse relaying-denied +<> -> <x@far.test>: 550 5.7.1")
            self.assertEqual(ctl("log", "--no-header", daemon.log).splitlines(), table[1:])
            # Local times are the same ones.
            local = ctl("log", "--local", "-n1", "--no-header", daemon.log,
                        env=dict(LOCALES, TZ="UTC-5:30")).split()
            utc = ctl("log", "-n1", "--no-header", daemon.log).split()
            between = datetime.datetime.fromisoformat(" ".join(local[:2])) - \
                datetime.datetime.fromisoformat(" ".join(utc[:2]))
            self.assertEqual(between, datetime.timedelta(hours=5, minutes=30))

    def test_filters(self):
        with harness.Sink() as sink, contextlib.ExitStack() as stack:
            daemon = self.two_sessions(sink)
            stack.push(daemon)

            def found(*arguments):
                return [record["element"] for record in
                        as_records(ctl("log", "--json", *arguments, daemon.log))]
            everything = found()
            one, two = (r.get("session") for r in daemon.records("session"))
            self.assertEqual(found("--session", two), [r.tag for r in daemon.records(session=two)])
            self.assertEqual(len(found("--session", two, "--session", one)), len(everything) - 1)
            self.assertEqual(found("--sender", "ann@CLIENT.test"),
                             ["recipient", "recipient", "message"])
            self.assertEqual(found("--sender", "<>"), ["recipient"])
            self.assertEqual(found("--sender", "@client.test", "--sender", ""),
                             ["recipient"] * 2 + ["message", "recipient"])
            self.assertEqual(found("--recipient", "@local.test", "--verdict", "accept"),
                             ["recipient"] * 2 + ["message"])
            self.assertEqual(found("--verdict", "refuse"), ["recipient"])
            self.assertEqual(found("--element", "session,message"),
                             ["message", "session", "session"])
            self.assertEqual(found("--level", "1"), ["start", "session", "session"])
            self.assertEqual(set(found("--level", "2")),
                             {"start", "session", "recipient", "message"})
            self.assertEqual(found("--level", "4"), everything)
            self.assertEqual(found("--destination", "127.0.0.1:%d" % sink.port),
                             ["message", "session", "session"])
            self.assertEqual(found("--destination", "127.0.0.1"), ["message", "session", "session"])
            self.assertEqual(found("--destination", "127.0.0.1:1"), [])
            self.assertEqual(found("--client", "127.0.0.0/8", "--level", "1"), ["session"] * 2)
            self.assertEqual(found("--client", "127.0.0.2", "--client", "::1"), [])
            self.assertEqual(found("-n", "2"), everything[-2:])
            self.assertEqual(found("--last=0"), [])
            self.assertEqual(found("-n", "100000"), everything)
            # Time: from a record on, and before it.
            at = daemon.record("message").get("time")
            self.assertEqual(found("--since", at),
                             [r.tag for r in daemon.records() if r.get("time") >= at])
            self.assertEqual(found("--until", at),
                             [r.tag for r in daemon.records() if r.get("time") < at])
            self.assertEqual(found("--since", "-1h"), everything)
            self.assertEqual(found("--until", "-1h"), [])

    def test_summary(self):
        with harness.Sink() as sink, contextlib.ExitStack() as stack:
            daemon = self.two_sessions(sink)
            stack.push(daemon)
            summary = ctl("log", "--summary", "--level", "2", daemon.log)
            counts = {kind: int(n) for n, kind in re.findall(r"^ *(\d+)  (.*)$", summary, re.M)}
            self.assertEqual(
                {kind: n for kind, n in counts.items() if not kind.startswith("records")},
                {"start": 1, "session quit": 2, "recipient accept recipient": 2,
                 "recipient refuse relaying-denied": 1, "message 2xx": 1})
            self.assertRegex(summary, r"\n *7  records from \S+Z to \S+Z\n$")

    def test_without_a_file(self):
        """Then the configuration's log and its archive."""
        with harness.Sink() as sink, contextlib.ExitStack() as stack:
            daemon = self.two_sessions(sink)
            stack.push(daemon)
            everything = ctl("log", "--json", daemon.log)
            self.assertEqual(ctl("log", "--json", "-c", daemon.conf), everything)
            rotated = daemon.archive / "caronte-20260101-000000.xml"
            rotated.write_text(HEAD + record(1) + TAIL)
            self.assertEqual(ctl("log", "--json", "-c", daemon.conf),
                             ctl("log", "--json", rotated) + everything)
            with self.following("--json", "-c", daemon.conf) as follower:
                self.assertEqual(follower.stdout.readline(),
                                 "".join(everything.splitlines(True)[-10:-9]))
            # The archive may be missing, the log may not.
            none = self.dir / "none"
            self.assertEqual(ctl("log", "--json", "-c", daemon.conf, "-o",
                                 "LOG_ARCHIVE_DIR=%s" % none), everything)
            ctl("log", "-c", daemon.conf, "-o", "LOG_FILE=%s" % none, status=1)
            self.assertEqual(ctl.stderr, "carontectl log: %s: No such file or directory\n" % none)
            ctl("log", "-c", daemon.conf, "-o", "LOG_FILE=-", status=78)
            self.assertIn("LOG_FILE is \"-\"", ctl.stderr)
            ctl("log", "-c", none, status=78)
            self.assertIn("FILE may be named instead", ctl.stderr)
            # A fault in another line is the daemon's to tell.
            daemon.configure(MAX_ERRORS="many")
            self.assertEqual(ctl("log", "--json", "-c", daemon.conf, "-o",
                                 "LOG_ARCHIVE_DIR=%s" % none), everything)
            self.assertEqual(ctl.stderr, "")

    def test_rotated_files(self):
        """A directory is its rotated logs in order; other files in it are left alone."""
        with harness.Sink() as sink, self.caronte(
                sink, LOG_ROTATE_MIB=1, LOG_LEVEL=3, MAX_ERRORS=100000) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                while len(list(daemon.archive.glob("*.xml"))) < 3:
                    client.send(b"".join(b"NOOP %05d%s\r\n" % (i, b"x" * 400)
                                         for i in range(200)))
                    for _ in range(200):
                        client.reply()
                client.quit()
            daemon.records("session", count=1)
            archive = shutil.copytree(daemon.archive, self.dir / "archive")
            (archive / "caronte-notes.xml").write_text("not a log")
            (archive / "other.xml").write_text("not a log")
            wanted = [(r.tag, r.get("time"), r.get("line")) for r in daemon.records()]
            printed = as_records(ctl("log", "--json", archive, daemon.log))
            self.assertEqual(
                collections.Counter((r["element"], r["time"], r.get("line")) for r in printed),
                collections.Counter(wanted))
            # (Those of several processes stand in the order in which the writer has met them.)
            times = [r["time"] for r in printed if r["element"] == "command"]
            self.assertGreater(len(times), 1000)
            self.assertEqual(times, sorted(times))
            self.assertEqual(ctl("log", archive, "--since", "2100-01-01"), "")

    def test_rotation_while_earlier_files_are_read(self):
        """What is in the last file then is printed, and once."""
        for directory in [], [self.dir / "archive"]:
            log, rotated = self.dir / "log.xml", self.dir / "archive/caronte-20260101-000000.xml"
            rotated.parent.mkdir(exist_ok=True)
            rotated.unlink(missing_ok=True)
            log.write_text(HEAD + record(2) + TAIL)
            with subprocess.Popen([harness.CTL, "log", "--json", "-", *directory, log],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
                fds = pathlib.Path("/proc/%d/fd" % reader.pid)
                harness.wait_until(lambda: any(each.exists() and each.samefile(log)
                                               for each in fds.iterdir()))
                log.rename(rotated)
                log.write_text(HEAD + record(3) + TAIL)
                printed, _ = reader.communicate((HEAD + record(1) + TAIL).encode())
            self.assertEqual([r["detail"] for r in as_records(printed.decode())], ["1", "2"])

    def test_follow_through_rotation(self):
        """Also where files are begun and rotated faster than they are looked at."""
        with harness.Sink() as sink, self.caronte(sink, LOG_ROTATE_MIB=1) as daemon, \
                self.following("--json", "-n0", "--element", "command", daemon.log) as follower:
            # The first records that are seen tell that it follows.
            with harness.Client(daemon.port) as client:
                client.hello()
                deadline = time.monotonic() + harness.PATIENCE_S
                while not select.select([follower.stdout], [], [], 0.05)[0]:
                    client.command("NOOP start", 250)
                    self.assertLess(time.monotonic(), deadline)
                number = 0
                while len(list(daemon.archive.glob("*.xml"))) < 4:
                    client.send(b"".join(b"NOOP %06d%s\r\n" % (number + i, b"x" * 400)
                                         for i in range(100)))
                    for _ in range(100):
                        client.reply()
                    number += 100
                client.command("NOOP end", 250)
                seen = []
                while True:
                    line = json.loads(follower.stdout.readline())
                    if line.get("from") == "client" and line["line"].startswith("NOOP"):
                        seen.append(line["line"][5:11].rstrip("x"))
                        if seen[-1] == "end":
                            break
                client.quit()
            seen = [word for word in seen if word not in ("start", "end")]
            self.assertEqual(seen, ["%06d" % i for i in range(number)])
            follower.send_signal(signal.SIGTERM)
            self.assertEqual(follower.wait(harness.PATIENCE_S), 0)

    @contextlib.contextmanager
    def following(self, *arguments):
        with subprocess.Popen([harness.CTL, "log", "-f", *map(str, arguments)],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as follower:
            try:
                yield follower
            finally:
                if follower.poll() is None:
                    follower.terminate()
            said = follower.stderr.read()
            self.assertEqual(said, "")

    def test_follow_what_is_not_there(self):
        """Of the files before it all is printed."""
        log = self.dir / "log.xml"
        log.write_text(HEAD + record(1) + TAIL)
        self.assertEqual([r["detail"] for r in as_records(
            ctl("log", "-f", "--json", log, self.dir / "missing", status=1))], ["1"])
        self.assertIn("missing: No such file", ctl.stderr)

    def test_follow_ends_whole_and_with_its_reader(self):
        log = self.dir / "log.xml"
        log.write_text(HEAD + record(1) + record(2) + TAIL)
        with self.following("--xml", log) as follower:
            for _ in range(4):
                follower.stdout.readline()
            follower.send_signal(signal.SIGINT)
            self.assertEqual(follower.wait(harness.PATIENCE_S), 0)
            self.assertEqual(follower.stdout.read(), "</caronte-log>\n")
        with self.following(log) as follower:
            follower.stdout.readline()
            follower.stdout.close()
            follower.wait(harness.PATIENCE_S)

    def test_follow_begins_with_the_last_ten(self):
        log = self.dir / "log.xml"
        log.write_text(HEAD + "".join(map(record, range(30))) + TAIL)
        for arguments, first in ((), 20), (("-n", "3"), 27), (("--since", "2000-01-01"), 0):
            with self.following("--json", *arguments, log) as follower:
                for number in range(first, 30):
                    self.assertEqual(json.loads(follower.stdout.readline())["detail"],
                                     str(number))

    def test_follow_what_cannot_be_read(self):
        """As without following."""
        for arguments in [], ["-f"]:
            ctl("log", *arguments, self.dir / "none", status=1)
            self.assertEqual(ctl.stderr, "carontectl log: %s: No such file or directory\n" %
                             (self.dir / "none"))

    def test_compressed(self):
        """Not read, but not passed over without a word either."""
        text = (HEAD + record(1) + TAIL).encode()
        for suffix, pack, program in ((".gz", gzip.compress, "zcat"),
                                      (".xz", lzma.compress, "xzcat"),
                                      (".bz2", bz2.compress, "bzcat")):
            path = self.dir / ("caronte-20261122-101112.xml" + suffix)
            path.write_bytes(pack(text))
            self.assertEqual(ctl("log", "--json", path, status=1), "")
            self.assertEqual(ctl.stderr, "carontectl log: %s: is compressed: %s %s | carontectl "
                             "log -\n" % (path, program, path))
        (self.dir / "caronte-20261122-101112.xml.old").write_bytes(b"")
        (self.dir / "caronte-20261123-101112.xml").write_bytes(text)
        self.assertEqual(ctl("log", "--json", self.dir, status=1).count("\n"), 1)
        self.assertRegex(ctl.stderr, r"^carontectl log: \S+: 3 compressed logs are left out: .*\n$")
        ctl("log", "--json", "--since", "2026-11-23", self.dir)

    def test_clients_as_the_log_has_them(self):
        log = self.dir / "log.xml"
        clients = "192.0.2.1:25", "192.0.2.1:26", "[2001:db8::1]:25"
        log.write_text(HEAD + "".join(record(n).replace("/>", ' client="%s"/>' % client)
                                      for n, client in enumerate(clients)) + TAIL)
        for client, wanted in (("192.0.2.1", "01"), ("192.0.2.1:26", "1"), ("[2001:db8::1]", "2"),
                               ("[2001:db8::1]:25", "2"), ("2001:db8::1", "2"),
                               ("2001:db8::/32", "2"),
                               ("[::ffff:192.0.2.1]:25", "0"), ("::ffff:c000:201", "01"),
                               ("192.0.2.1:27", "")):
            printed = as_records(ctl("log", "--json", "--client", client, log))
            self.assertEqual("".join(r["detail"] for r in printed), wanted, client)
        printed = as_records(ctl("log", "--json", "--client", "192.0.2.1:25", "--client",
                                 "2001:db8::/32", log))
        self.assertEqual("".join(r["detail"] for r in printed), "02")

    def test_wrong_arguments(self):
        log = self.dir / "log.xml"
        log.write_text(HEAD + TAIL)
        for arguments in (["--since", "tomorrow", log], ["--until", "2026-02-30", log],
                          ["--client", "10.0.0.1/8", log], ["--client", "mail.test", log],
                          ["--verdict", "maybe", log], ["--element", "sessions", log],
                          ["--level", "0", log], ["--level", "5", log], ["-n", "-1", log],
                          ["-n", "x", log], ["--json", "--xml", log], ["--json", "--summary", log],
                          ["--client", "[]", log], ["--client", "[::1]:", log],
                          ["--summary", "-f", log], ["-f", self.dir], ["-f", "-"],
                          ["--nothing", log]):
            self.assertEqual(ctl("log", *arguments, status=64), "", arguments)
            self.assertIn("carontectl log: ", ctl.stderr)
        ctl("log", "--element", "start,,stop", log, status=64)
        self.assertIn("--element: start,,stop: a name is missing\n", ctl.stderr)
        ctl("log", "--element", "start,none,stop", log, status=64)
        self.assertIn("--element: start,none,stop: no such element\n", ctl.stderr)
        for arguments, said in ((["status", "extra"], "status: extra: no such argument\n"),
                                (["status", "-w0"], "status: 0: a number of seconds from 1 to "),
                                (["drain"], "drain: one DESTINATION is wanted\n"),
                                (["ready", "a:25", "b:25"], "ready: one DESTINATION is wanted\n")):
            ctl(*arguments, status=64)
            self.assertIn("carontectl " + said, ctl.stderr)
        ctl(status=64)
        ctl("nothing", status=64)
        self.assertIn("explain", ctl("--help"))
        self.assertIn("--since", ctl("log", "--help"))
        self.assertIn("--login", ctl("explain", "-h"))
        self.assertRegex(ctl("-V"), r"^carontectl \d")


HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<caronte-log>\n'
TAIL = "</caronte-log><?pad    ?>"


def record(number, what="x"):
    return '<fault time="2026-11-22T20:13:54.000000Z" what="%s" detail="%s"/>\n' % (what, number)


# Controls, formats, surrogates, private use, separators of lines and paragraphs.
NOT_PRINTABLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
NEW_FORMATS = set(map(chr, range(0x13439, 0x13440)))  # of Unicode 15, which Python 3.11 has not


class Hostile(harness.TestCase):
    """Logs that no daemon has written."""

    def file(self, text, name="log.xml"):
        path = self.dir / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(path, (1, 1))  # not being written
        return path

    def details(self, path, status=0):
        return [r["detail"] for r in as_records(ctl("log", "--json", path, status=status))]

    def test_damage(self):
        middle = record(1) + "<fault time=\n" + record(3)
        path = self.file(HEAD + middle + TAIL)
        self.assertEqual(self.details(path, status=1), ["1", "3"])
        self.assertRegex(ctl.stderr, r"^carontectl log: %s:5: is damaged\n$" % path)
        self.assertEqual(self.details(self.file(HEAD + record(1)), status=1), ["1"])
        self.assertIn("is cut off", ctl.stderr)
        whole = HEAD + record(1) + record(2)
        self.assertEqual(self.details(self.file("")), [])
        for cut in range(7, len(whole), 7):
            wanted = [n for n in "12" if whole[:cut].count(' detail="%s"/>' % n)]
            self.assertEqual(self.details(self.file(whole[:cut]), status=1), wanted)
        # Many places are not many lines.
        self.details(self.file(HEAD + "</x>\n" * 1000 + record(1) + TAIL), status=1)
        self.assertLessEqual(len(ctl.stderr.splitlines()), 4)
        self.assertIn("more places", ctl.stderr)

    def test_damaged_file_does_not_hide_the_next(self):
        good = self.file(HEAD + record(2) + TAIL, "good.xml")
        bad = self.file(HEAD + record(1), "bad.xml")
        none = self.dir / "none.xml"
        printed = as_records(ctl("log", "--json", bad, none, good, status=1))
        self.assertEqual([r["detail"] for r in printed], ["1", "2"])
        self.assertIn("none.xml: No such file", ctl.stderr)

    def test_no_log_at_all(self):
        for content in b"\0" * 10000, os.urandom(300000), b"<html>\n" * 100, \
                b'<?xml version="1.0"?><x time=""><y time=""/></x>', b"root:x:0:0::/:\n" * 20:
            self.assertEqual(ctl("log", "--json", self.file(content), status=1), "")

    def test_entities(self):
        """No entity is defined, none is fetched, and none fills the memory."""
        secret = self.file("secret", "secret")
        bomb = "".join('<!ENTITY e%d "%s">\n' % (i + 1, "&e%d;" % i * 10) for i in range(12))
        for doctype in ("<!DOCTYPE caronte-log [\n<!ENTITY e0 \"boom\">\n%s]>\n" % bomb,
                        '<!DOCTYPE caronte-log [<!ENTITY e12 SYSTEM "file://%s">]>\n' % secret,
                        '<!DOCTYPE caronte-log SYSTEM "file://%s">\n' % secret):
            head, root = HEAD.splitlines(keepends=True)
            path = self.file(head + doctype + root + record("&e12;") + record(2) + TAIL)
            self.assertEqual(self.details(path, status=1), ["2"])

    def test_nothing_reaches_the_terminal(self):
        """Whatever a value holds, a record is one line of printable text."""
        points = [*range(1, 0x3000), *range(0xd7f0, 0xd800), *range(0xe000, 0x10000, 3),
                  *range(0x10000, 0x20000, 5), 0xfeff, 0xfffd, 0x110bd, 0xe0001, 0xe0041, 0xf0000,
                  0x10fffd]
        valid = [p for p in points if (p in (9, 10, 13) or p >= 32) and p not in (0xfffe, 0xffff)]
        text = HEAD + "".join(record("&#%d;" % p) for p in valid) + TAIL
        for env in LOCALES, {"LC_ALL": "C"}:
            lines = ctl("log", "--no-header", self.file(text), env=env).split("\n")
            self.assertEqual(len(lines), len(valid) + 1)
            for point, line in zip(valid, lines):
                kinds = set(map(unicodedata.category, line))
                self.assertFalse(kinds & NOT_PRINTABLE or NEW_FORMATS & set(line),
                                 "U+%04X: %r" % (point, line))
                if env["LC_ALL"] == "C":
                    self.assertTrue(line.isascii())
            for form in "--json", "--xml":
                printed = ctl("log", form, self.file(text), env=env)
                self.assertTrue(printed.isascii())
                self.assertTrue(printed.replace("\n", "").isprintable())
        # In the names too, and in what is said on standard error.
        ctl("log", self.file(HEAD + record(1).replace("fault", "f\u202eault") + TAIL), status=1)
        self.assertTrue(ctl.stderr.replace("\n", "").isprintable())

    def test_records_of_later_versions(self):
        later = '<later time="2026-11-22T20:13:54.000000Z" new="1" session="1-1"/>\n'
        path = self.file(HEAD + later + record(1).replace("/>", ' new="a b"/>') + TAIL)
        lines = ctl("log", "--no-header", path).splitlines()
        self.assertRegex(lines[0], r"1-1 +later +new=1$")
        self.assertRegex(lines[1], r"fault +x: 1 new=a b$")

    def test_pipes(self):
        """Several logs through a pipe, and records alone, as zcat and grep give them."""
        logs = [HEAD + record(n) + TAIL for n in range(3)]
        for text in "".join(logs), "\n".join(logs), "".join(map(record, range(3))):
            printed = ctl("log", "--json", "-", input=text)
            self.assertEqual([r["detail"] for r in as_records(printed)], ["0", "1", "2"])
        # The same in a file, whose lines are counted on.
        path = self.file("".join(logs))
        self.assertEqual(self.details(path), ["0", "1", "2"])
        with open(path) as file:
            printed = ctl("log", "--json", "-", stdin=file)
        self.assertEqual([r["detail"] for r in as_records(printed)], ["0", "1", "2"])
        path = self.file("".join(logs[:2]) + HEAD + "\n</x>\n" + record(2) + TAIL)
        self.assertEqual(self.details(path, status=1), ["0", "1", "2"])
        line = path.read_text().split("\n").index("</x>") + 1
        self.assertEqual(ctl.stderr, "carontectl log: %s:%d: is damaged\n" % (path, line))
        # What comes is printed when it comes.
        with subprocess.Popen([harness.CTL, "log", "--json", "-"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as reader:
            reader.stdin.write(HEAD + record(1))
            reader.stdin.flush()
            self.assertEqual(json.loads(reader.stdout.readline())["detail"], "1")
            reader.stdin.write(record(2) + TAIL)
            reader.stdin.close()
            self.assertEqual(json.loads(reader.stdout.readline())["detail"], "2")
            self.assertEqual(reader.wait(harness.PATIENCE_S), 0)

    def test_full_output(self):
        path = self.file(HEAD + record(1) + TAIL)
        for command in (["log", path], ["log", "--summary", path], ["--help"], ["--version"],
                        ["explain", "-c", "/dev/null", "-o", "USER=" + harness.DEFAULTS["USER"],
                         "192.0.2.1", "", "a@b.test"],
                        ["check-destination", "-c", "/dev/null", "-t", "1",
                         "-o", "DESTINATIONS=127.0.0.1:%d" % harness.free_port()]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([harness.CTL, *command], stdout=full, stderr=subprocess.PIPE,
                                      text=True, timeout=harness.PATIENCE_S)
            self.assertEqual(done.returncode, harness.EX_IOERR, (command, done.stderr))
            self.assertIn("No space left", done.stderr)

    def test_follow_of_a_file_that_shrinks_or_comes_late(self):
        path = self.file(HEAD + record(1) + record(2) + TAIL)
        with subprocess.Popen([harness.CTL, "log", "-f", "--json", path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as follower:
            for number in "12":
                self.assertEqual(json.loads(follower.stdout.readline())["detail"], number)
            path.write_text(HEAD)
            path.write_text(HEAD + record(3) + TAIL)
            self.assertEqual(json.loads(follower.stdout.readline())["detail"], "3")
            path.rename(self.dir / "old.xml")
            time.sleep(0.3)
            path.write_text(HEAD + record(4) + TAIL)
            self.assertEqual(json.loads(follower.stdout.readline())["detail"], "4")
            follower.terminate()
            follower.wait(harness.PATIENCE_S)
            self.assertIn("has become shorter", follower.stderr.read())


@unittest.skipUnless(shutil.which("bash"), "no bash")
class Completion(harness.TestCase):
    dialogs = ("sniff",)

    SCRIPT = r"""
        source "$1" || exit 2
        COMP_LINE=$2 COMP_POINT=${#2} COMPREPLY=()
        read -ra COMP_WORDS <<<"$2"
        spec=$(complete -p "${COMP_WORDS[0]}") || exit 3
        function=${spec#*-F }
        "${function%% *}" || exit 4
        for word in "${COMPREPLY[@]}"; do printf '%s\n' "$word"; done
    """

    def complete(self, line):
        done = subprocess.run(["bash", "--norc", "-c", self.SCRIPT, "bash", COMPLETION, line],
                              env=dict(os.environ, HOME=str(self.dir)), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              cwd=self.dir, timeout=harness.PATIENCE_S)
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return done.stdout.splitlines()

    def setUp(self):
        self.conf = self.dir / "some.conf"
        self.conf.write_text('CONFIG_LISTEN_PORT=25\nCONFIG_RELAY_GUARD=y\n'
                             '# CONFIG_BODY_COPY is not set\n'
                             'CONFIG_DESTINATIONS="10.0.0.1:25,weight=2 [::1]:26 mail.test:25"\n')

    def help_options(self, *command):
        done = subprocess.run([harness.BUILD / command[0], *command[1:], "--help"], text=True,
                              stdout=subprocess.PIPE, check=True)
        return set(re.findall(r"^ +(?:-\w, +| )?(?:-\?, +)?(--[a-z-]+)", done.stdout, re.M))

    def test_every_option_and_no_other(self):
        commands = re.findall(r"^  ([a-z][a-z-]*) ", ctl("--help"), re.M)
        self.assertIn("log", commands)
        offered = set(self.complete("carontectl "))
        self.assertEqual({word for word in offered if not word.startswith("-")}, set(commands))
        for command in [("caronte",), ("caronte-sink",),
                        *(("carontectl", name) for name in commands)]:
            offered = set(self.complete(" ".join(command) + " --"))
            self.assertEqual(offered, self.help_options(*command), command)

    def test_values(self):
        c = "-c " + str(self.conf)
        for line, wanted in (
                ("caronte --co", ["--config"]),
                ("caronte -c s", ["some.conf"]),
                ("caronte --config=s", ["some.conf"]),
                ("caronte %s -o " % c, ["LISTEN_PORT=", "RELAY_GUARD=", "BODY_COPY=",
                                        "DESTINATIONS="]),
                ("caronte %s -o RELAY_" % c, ["RELAY_GUARD="]),
                ("caronte %s -o RELAY_GUARD=" % c, ["y", "n"]),
                ("caronte --config=%s --option=BODY_COPY=" % self.conf, ["y", "n"]),
                ("caronte %s -o LISTEN_PORT=" % c, []),
                ("caronte -c none -o ", []),
                ("carontectl lo", ["log"]),
                ("carontectl explain %s -o RELAY_GUARD=" % c, ["y", "n"]),
                ("carontectl log so", ["some.conf"]),
                ("carontectl log --since=to", ["today"]),
                ("carontectl log --since y", ["yesterday"]),
                ("carontectl log --verdict ", ["accept", "refuse"]),
                ("carontectl log --element recipient,me", ["recipient,message"]),
                ("carontectl drain %s " % c, ["10.0.0.1:25", "[::1]:26", "mail.test:25"]),
                ("carontectl drain %s [::" % c, ["1]:26"]),
                ("carontectl drain -c ~/some.conf mail.test:", ["25"]),
                ("carontectl drain %s mail.test:" % c, ["25"]),
                ("caronte-sink --engine ", ["auto", "io_uring", "epoll"]),
                ("caronte-sink --engine=e", ["epoll"]),
                ("caronte-sink --reply EO", ["EOD="]),
                ("caronte-sink --drop GR", ["GREETING"])):
            self.assertEqual(self.complete(line), wanted, line)

    def test_elements_are_those_of_the_schema(self):
        grammar = xml.etree.ElementTree.parse(harness.SCHEMA)
        names = {element.get("name") for element in
                 grammar.iter("{http://relaxng.org/ns/structure/1.0}element")}
        self.assertEqual(set(self.complete("carontectl log --element ")), names - {"caronte-log"})
