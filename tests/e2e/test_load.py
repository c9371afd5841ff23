# SPDX-License-Identifier: ISC
"""caronte-load against caronte-sink: what it says it sent has come, what goes wrong is counted."""
import collections
import json
import re
import signal
import subprocess
import time
import unittest

import harness
import tls

LOAD = harness.BUILD / "caronte-load"
EX_USAGE, EX_UNAVAILABLE, EX_PROTOCOL = 64, 69, 76


@unittest.skipUnless(LOAD.exists(), "caronte-load is not built")
class LoadCase(harness.TestCase):
    def load(self, port, *arguments, status=0, seconds=harness.PATIENCE_S):
        """The figures of a run."""
        done = subprocess.run([LOAD, *map(str, arguments), "127.0.0.1:%d" % port], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds)
        self.assertEqual((done.returncode, done.stderr), (status, ""), done.stdout)
        return json.loads(done.stdout)


class Load(LoadCase):
    def bodies_equal(self, *arguments, count):
        with harness.Sink(digest=True) as sink:
            figures = self.load(sink.port, "-m", count, "--digests", self.dir / "sent", *arguments)
            report = sink.report()
        self.assertEqual((figures["messages"], figures["failed"], figures["errors"]),
                         (count, 0, {}))
        self.assertEqual(report["octets"], figures["octets"])
        self.assertEqual(report["lost"], 0)
        sent = (self.dir / "sent").read_text().split()
        self.assertEqual(len(set(sent)), count)
        self.assertEqual(collections.Counter(sent),
                         collections.Counter(each["sha256"] for each in report["digests"]))
        return report, figures

    def test_data(self):
        report, figures = self.bodies_equal("-s", 5000, count=60)
        self.assertEqual((report["connections"], figures["octets"]), (60, 300000))

    def test_pipelined_and_kept_connections(self):
        report, _ = self.bodies_equal("-p", "-k", 7, "-c", 3, count=50)
        self.assertLess(report["connections"], 12)

    def test_every_small_size(self):
        sizes = ",".join(str(size) for size in range(180, 240))
        self.bodies_equal("-s", sizes, count=200)

    def test_sizes_like_mail(self):
        self.bodies_equal("-s", "mail", count=100)

    def test_chunks(self):
        report, _ = self.bodies_equal("-b", "--chunk", 999, "-s", 100000, "-k", 5, count=20)
        self.assertGreater(report["commands"], 20 * 101)

    def test_chunks_pipelined(self):
        self.bodies_equal("-b", "-p", "--chunk", 1000, "-s", 300000, count=20)

    def test_open_loop(self):
        _, figures = self.bodies_equal("-r", 25, "-k", 3, "-c", 50, count=100)
        self.assertGreater(figures["seconds"], 3.9)
        self.assertLess(figures["seconds"], 8)

    def test_open_loop_counts_waiting(self):
        """One connection and 500 ms a message: the last of ten, all due at once, waits for nine."""
        with harness.Sink("--delay", "EOD=500") as sink:
            figures = self.load(sink.port, "-m", 10, "-c", 1, "-r", 100000)
        self.assertGreater(figures["latency_us"]["max"], 4900000)
        self.assertGreater(figures["latency_us"]["p50"], 2400000)
        self.assertLess(figures["latency_us"]["p50"], 0.8 * figures["latency_us"]["max"])

    def test_refused(self):
        with harness.Sink("--reply", "RCPT:@stranger.test=550 5.7.1 No") as sink:
            figures = self.load(sink.port, "-x", "-m", 40, "-k", 4, "-c", 2)
            self.assertEqual((figures["refused"], figures["messages"], figures["failed"]),
                             (40, 0, 0))
            self.assertEqual((sink.report()["messages"], sink.report()["refusals"]), (0, 40))

    def test_a_recipient_that_should_have_been_refused(self):
        with harness.Sink() as sink:
            figures = self.load(sink.port, "-x", "-m", 5, status=EX_PROTOCOL)
        self.assertEqual((figures["refused"], figures["failed"], figures["errors"]),
                         (0, 5, {"250": 5}))

    def test_unexpected_replies(self):
        with harness.Sink("--reply", "MAIL=451 4.0.0 Later", "--reply", "2/EOD=554 5.0.0 No",
                          "--reply", "2/MAIL=250 Ok") as sink:
            figures = self.load(sink.port, "-m", 4, "-c", 1, status=EX_PROTOCOL)
        self.assertEqual((figures["messages"], figures["failed"]), (0, 4))
        self.assertEqual(figures["errors"], {"451": 4})

    def test_lost_connections(self):
        with harness.Sink("--drop", "1/EOD=rst", "--drop", "2/DATA=close", "--reply",
                          "3/RCPT=25\\x00 what") as sink:
            figures = self.load(sink.port, "-m", 5, "-c", 1, status=EX_PROTOCOL)
        self.assertEqual((figures["messages"], figures["failed"]), (2, 3))
        self.assertEqual(figures["errors"], {"lost": 2, "malformed": 1})

    def test_quit_unanswered(self):
        with harness.Sink("--drop", "QUIT=fin") as sink:
            figures = self.load(sink.port, "-m", 5)
        self.assertEqual((figures["messages"], figures["errors"]), (5, {"no-221": 5}))

    def test_silence(self):
        with harness.Sink("--stall", "1/DATA") as sink:
            figures = self.load(sink.port, "-m", 2, "-c", 1, "--timeout", 1, status=EX_PROTOCOL)
        self.assertEqual((figures["messages"], figures["errors"]), (1, {"timeout": 1}))

    def test_nobody_there(self):
        figures = self.load(harness.free_port(), "-m", 3, status=EX_UNAVAILABLE)
        self.assertEqual(figures["errors"], {"no-connection": 3})

    def test_chunking_not_offered(self):
        with harness.Sink("--ext", "PIPELINING") as sink:
            figures = self.load(sink.port, "-b", "-m", 10, "-c", 1, status=EX_UNAVAILABLE)
            self.assertEqual((figures["messages"], figures["errors"]), (0, {"not-offered": 1}))
            self.assertEqual(sink.commands(), ["EHLO load.test", "QUIT"])

    def test_idle(self):
        with harness.Sink() as sink:
            held = subprocess.Popen([LOAD, "-i", "100", "127.0.0.1:%d" % sink.port], text=True,
                                    stdout=subprocess.PIPE)
            self.assertEqual(held.stdout.readline(), "caronte-load: idle, 100 connections\n")
            time.sleep(0.2)
            self.assertEqual(sink.report()["open"], 100)
            held.send_signal(signal.SIGTERM)
            self.assertEqual(json.loads(held.communicate()[0])["idle"], 100)
            self.assertEqual(held.returncode, 0)

    def test_starttls_not_offered(self):
        with harness.Sink() as sink:
            figures = self.load(sink.port, "--starttls", "-m", 10, "-c", 1, status=EX_UNAVAILABLE)
        self.assertEqual((figures["messages"], figures["errors"]), (0, {"not-offered": 1}))

    def test_tls_with_somebody_who_has_none(self):
        with harness.Sink() as sink:
            figures = self.load(sink.port, "--tls", "-m", 3, "-c", 1, status=EX_PROTOCOL)
        self.assertEqual((figures["messages"], figures["errors"]), (0, {"no-tls": 3}))

    def test_proxy_headers(self):
        """Of the clients in turn, before whatever else is said; a sink without one knows none."""
        clients = "192.0.2.7,2001:db8::1"
        with harness.Sink("--proxy") as sink:
            figures = self.load(sink.port, "--proxy", clients, "-m", 4, "-c", 1)
            self.assertEqual((figures["messages"], figures["errors"]), (4, {}))
            told = re.findall(r"N: a PROXY header, of (.*):\d+$", "\n".join(sink.transcript()),
                              re.M)
        self.assertEqual(told, ["192.0.2.7", "[2001:db8::1]"] * 2)
        with harness.Sink() as sink:
            figures = self.load(sink.port, "--proxy", clients, "-m", 1, status=EX_PROTOCOL)
        self.assertEqual(figures["failed"], 1)

    def test_wrong_arguments(self):
        for words in ([], ["here"], ["127.0.0.1"], ["127.0.0.1:0"], ["::1:25"], ["-m", "0"],
                      ["-m", "x"], ["-s", "127"], ["-s", "2000:0"], ["-s", "2000,"], ["-r", "0"],
                      ["-r", "nan"], ["-x", "-b"], ["--chunk", "5"], ["--from", "::1"],
                      ["--proxy", "x"], ["--sender", "a\r\nb"], ["--nonsense"], ["-i", "1", "-x"],
                      ["--resume"], ["--tls", "--starttls"], ["--half-open", "hello"],
                      ["-i", "1", "--tls", "--half-open", "never"]):
            to = [] if words and not words[0].startswith("-") else ["127.0.0.1:1"]
            done = subprocess.run([LOAD, *words, *(to if words else [])], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  timeout=harness.PATIENCE_S)
            self.assertEqual((done.returncode, done.stdout), (EX_USAGE, ""), words)
            self.assertIn("caronte-load: ", done.stderr)


class Secured(LoadCase, tls.TlsCase):
    """Through a Caronte, which has a certificate."""

    def bodies_equal(self, *arguments, count):
        with harness.Sink(digest=True) as sink, self.caronte(
                sink, LISTEN_TLS_PORT=harness.free_port(), MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            port = daemon.settings["LISTEN_TLS_PORT" if "--tls" in arguments else "LISTEN_PORT"]
            figures = self.load(port, "-m", count, "--digests", self.dir / "sent", *arguments)
            report = sink.report()
        self.assertEqual((figures["messages"], figures["failed"], figures["errors"]),
                         (count, 0, {}))
        self.assertEqual(collections.Counter((self.dir / "sent").read_text().split()),
                         collections.Counter(each["sha256"] for each in report["digests"]))
        return figures

    def test_data(self):
        for how in "--tls", "--starttls":
            figures = self.bodies_equal(how, "-s", "5000:9,100000:1", count=60)
            self.assertEqual((figures["handshakes"], figures["resumed"]), (60, 0))

    def test_resumed(self):
        for how in "--tls", "--starttls":
            figures = self.bodies_equal(how, "--resume", "-c", 2, count=40)
            self.assertEqual(figures["handshakes"], 40)
            self.assertGreaterEqual(figures["resumed"], 36)

    def test_chunks(self):
        figures = self.bodies_equal("--tls", "-b", "-p", "--chunk", 999, "-s", 100000, "-k", 5,
                                    "-c", 2, count=20)
        self.assertLess(figures["handshakes"], 6)

    def test_held(self):
        with harness.Sink() as sink, self.caronte(
                sink, LISTEN_TLS_PORT=harness.free_port(), MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            to = "127.0.0.1:%d" % daemon.settings["LISTEN_TLS_PORT"]
            for more in [], ["--half-open", "connect"], ["--half-open", "hello"]:
                held = subprocess.Popen([LOAD, "-i", "40", "--tls", *more, to], text=True,
                                        stdout=subprocess.PIPE)
                self.assertEqual(held.stdout.readline(), "caronte-load: idle, 40 connections\n")
                held.send_signal(signal.SIGTERM)
                figures = json.loads(held.communicate()[0])
                self.assertEqual((figures["idle"], figures["handshakes"]),
                                 (40, 0 if more else 40))
