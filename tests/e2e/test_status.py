# SPDX-License-Identifier: ISC
"""carontectl status, drain and ready, the socket behind them, and the figures
for Prometheus, against a daemon that runs."""
import contextlib
import fcntl
import json
import os
import pty
import pwd
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import termios
import threading
import time
import unittest
import urllib.error
import urllib.request

import harness
import test_reload

BODY = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 100


class TestCase(harness.TestCase):
    """Daemons here have a control socket of their own."""

    def caronte(self, destination=None, **settings):
        directory = self.new_dir("run")
        harness.give_to_user(directory)
        self.socket = directory / "control"
        return super().caronte(destination, **{"CONTROL_SOCKET": str(self.socket), **settings})

    def status(self):
        done = harness.ctl("status", "--socket", self.socket, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("\n"), 1)
        return json.loads(done.stdout)

    def until(self, condition):
        """The document, once it is as it should be."""
        return harness.wait_until(lambda: (found := self.status()) and condition(found) and found)

    def ask(self, octets, close=True):
        """What the socket answers to these octets."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(harness.PATIENCE_S)
            s.connect(str(self.socket))
            with contextlib.suppress(BrokenPipeError):
                s.sendall(octets)
                if close:
                    s.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while block := s.recv(65536):
                    answer += block
            return answer

    @contextlib.contextmanager
    def watching(self, *how):
        """`carontectl status --watch`, ended in any case."""
        with subprocess.Popen([harness.CTL, "status", "--socket", self.socket, *how], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
            end = threading.Timer(4 * harness.PATIENCE_S, watch.kill)
            end.start()
            try:
                yield watch
            finally:
                end.cancel()
                watch.kill()

    def drain(self, name, what="drain", status=0):
        done = harness.ctl(what, "--socket", self.socket, name)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout.strip() if status == 0 else done.stderr.strip()


def name_of(sink):
    return "127.0.0.1:%d" % sink.port


class Figures(TestCase):
    dialogs = ("sniff",)  # sessions at destinations: test_gateway.py has what differs

    def test_counts(self):
        with harness.Sink("--auth", "joe:secret", "--reply", "RCPT:full=452 4.2.2 Full", "--reply",
                          "EOD#3=554 5.6.0 No") as sink, self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.send_message(BODY)
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<b@elsewhere.test>", 550)
                client.command("RCPT TO:<full@local.test>", 452)
                client.command("RSET", 250)
                client.command("AUTH PLAIN AGpvZQB3cm9uZw==", 535)
                client.command("AUTH PLAIN AGpvZQBzZWNyZXQ=", 235)
                client.send_message(BODY, recipients=["c@elsewhere.test"])
                self.assertEqual(client.send_message(BODY)[:3], b"554")
                client.quit()
            with harness.Client(daemon.port) as client:
                client.hello()
                client.reset()
            found = self.until(lambda f: sum(f["sessions"]["ends"].values()) == 2)
            self.assertEqual(found["engine"], self.engine if self.engine != "auto" else
                             found["engine"])
            self.assertEqual(found["pid"], daemon.pid)
            self.assertEqual(found["sessions"]["total"], 2)
            self.assertEqual(found["sessions"]["open"], 0)
            self.assertEqual(found["sessions"]["max"], 200)
            self.assertEqual(found["sessions"]["ends"]["quit"], 1)
            self.assertEqual(found["sessions"]["ends"]["lost-client"], 1)
            self.assertEqual(found["messages"], {"accepted": 2, "deferred": 0, "refused": 1})
            self.assertEqual(found["accepted"], {"login": 2, "relay-network": 0, "recipient": 1,
                                                 "guard-off": 0})
            self.assertEqual(found["refused"], {"relaying-denied": 1, "unknown-user": 0,
                                                "destination": 1})
            self.assertEqual(found["logins"], {"accept": 1, "refuse": 1})
            self.assertEqual(found["replies"], {"2xx": 16, "3xx": 3, "4xx": 1, "5xx": 3})
            self.assertEqual(found["octets"], 3 * len(BODY))  # in chunks, without an end
            self.assertEqual(found["log_dropped"], 0)
            destination, = found["destinations"]
            self.assertEqual(destination["name"], name_of(sink))
            self.assertEqual(destination["state"], "up")
            self.assertIs(destination["drained"], False)
            for member, value in (("open", 0), ("total", 2), ("failures", 0), ("messages", 2),
                                  ("octets", found["octets"])):
                self.assertEqual(destination[member], value, member)
            for times in (destination["latency"], found["latency"]):
                self.assertEqual(times["connect"]["count"], 2)
                self.assertEqual(times["reply"]["count"], 3)
                self.assertEqual(times["message"]["count"], 3)
            rates = found["rates"]
            for member, n in (("sessions", 2), ("messages", 2), ("refusals", 2)):
                self.assertAlmostEqual(rates[member] * rates["seconds"], n, delta=0.1)
            self.assertEqual(sum(w["sessions"] for w in found["workers"]), 2)
            self.assertEqual({w["pid"] for w in found["workers"]}, set(daemon.workers()))

    def test_last_words_count_too(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("VRFY x", 502)
                client.send(b"NO\rOP\r\n")
                self.assertEqual(client.reply()[:3], b"500")
                client.end()
            found = self.until(lambda f: f["sessions"]["ends"]["protocol"])
            self.assertEqual(found["replies"]["5xx"], 2)
            replies = daemon.records("reply", count=4, to="client")
            self.assertEqual([r.get("line")[0] for r in replies], ["2", "2", "5", "5"])

    def test_open_sessions(self):
        with harness.Sink() as sink, self.caronte(sink, MAX_SESSIONS_PER_ADDRESS=3) as daemon:
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    stack.enter_context(harness.Client(daemon.port)).hello()
                with harness.Client(daemon.port) as client:
                    self.assertEqual(client.reply()[:9], b"421 4.7.0")
                found = self.until(lambda f: sum(w["open"] for w in f["workers"]) == 3)
                self.assertEqual(found["sessions"]["open"], 3)
                self.assertEqual(found["destinations"][0]["open"], 3)
                self.assertEqual(found["sessions"]["turned_away"],
                                 {"MAX_SESSIONS": 0, "MAX_SESSIONS_PER_ADDRESS": 1})
                self.assertEqual(found["sessions"]["total"], 3)
            found = self.until(lambda f: f["sessions"]["open"] == 0)
            self.assertEqual(found["destinations"][0]["open"], 0)

    def test_latency(self):
        with harness.Sink("--delay", "EOD=300", "--delay", "RCPT=200") as sink, \
                self.caronte(sink) as daemon:
            times = None
            while not times or not times["connect"]["count"]:  # they are those of a minute
                with harness.Client(daemon.port) as client:
                    client.hello()
                    began = time.monotonic()
                    client.send_message(BODY)
                    most = (time.monotonic() - began) * 1.25  # the end of its bucket
                    times = self.until(lambda f: f["latency"]["reply"]["count"])["latency"]
            for quantile in ("p50", "p99"):
                self.assertTrue(0.3 <= times["reply"][quantile] <= most, (times, most))
                self.assertTrue(0.5 <= times["message"][quantile] <= most, (times, most))
                self.assertLess(0, times["connect"][quantile])
                self.assertLess(times["reply"][quantile], times["message"][quantile])

    def test_destination_that_is_down(self):
        with harness.Sink() as sink:
            down = harness.free_port()
            with self.caronte("127.0.0.1:%d %s" % (down, name_of(sink)),
                              COOPERATION_BACKUP=True) as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                found = self.until(lambda f: f["destinations"][1]["total"])
                self.assertEqual([d["state"] for d in found["destinations"]], ["down", "up"])
                self.assertEqual([d["failures"] for d in found["destinations"]], [1, 0])
                self.assertEqual([d["total"] for d in found["destinations"]], [0, 1])

    def test_counters_outlive_workers(self):
        with harness.Sink() as sink, self.caronte(sink, WORKERS=1) as daemon:
            daemon.may_die = True
            with harness.Client(daemon.port) as client:
                client.hello()
                client.send_message(BODY)
                self.assertEqual(self.status()["sessions"]["open"], 1)
                worker, = daemon.workers()
                os.kill(worker, signal.SIGKILL)
                found = self.until(lambda f: f["workers"][0]["pid"] not in (0, worker))
            self.assertEqual(found["workers"][0]["starts"], 2)
            self.assertEqual(found["workers"][0]["open"], 0)
            self.assertEqual(found["sessions"]["open"], 0)
            self.assertEqual(found["sessions"]["total"], 1)
            self.assertEqual({end: n for end, n in found["sessions"]["ends"].items() if n},
                             {"worker-died": 1})
            self.assertEqual(found["messages"]["accepted"], 1)

    def test_status_process_is_started_again(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                self.drain(name_of(sink))
                before, = self.status_processes(daemon)
                os.kill(before, signal.SIGKILL)
                harness.wait_until(lambda: self.status_processes(daemon) not in ([], [before]))
                # It dies; nothing else notices, and nothing is forgotten.
                client.send_message(BODY)
                found = self.until(lambda f: f["messages"]["accepted"] == 1)
            self.assertIs(found["destinations"][0]["drained"], True)
            self.assertEqual(daemon.record("fault", what="status-process-died").get("detail"),
                             "signal 9")

    @staticmethod
    def status_processes(daemon):
        return [pid for pid, name in daemon.processes().items() if name == "caronte-status"]

    def test_it_has_no_privilege_and_no_mail(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, \
                harness.Client(daemon.port) as client:
            client.hello()
            pid, = self.status_processes(daemon)
            with open("/proc/%d/status" % pid, encoding="ascii") as file:
                lines = dict(line.split(":\t", 1) for line in file if ":\t" in line)
            for each in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
                self.assertEqual(int(lines[each], 16), 0, each)
            self.assertEqual(lines["NoNewPrivs"].strip(), "1")
            self.assertNotIn("0", lines["Uid"].split() if harness.ROOT else [])
            if not harness.ROOT:
                return
            sockets = {os.readlink(fd.path) for fd in os.scandir("/proc/%d/fd" % pid)
                       if os.readlink(fd.path).startswith("socket:")}
            self.assertEqual(len(sockets), 1)

    def test_nobody_serves_without_a_setting(self):
        with harness.Sink() as sink, \
                self.caronte(sink, CONTROL_SOCKET=None) as daemon:
            self.assertEqual(self.status_processes(daemon), [])
            done = harness.ctl("status", "-c", daemon.conf)
            self.assertEqual(done.returncode, harness.EX_CONFIG)
            self.assertIn("CONTROL_SOCKET is not set", done.stderr)

    def test_table(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.send_message(BODY)
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<b@elsewhere.test>", 550)
                self.drain(name_of(sink))
                self.until(lambda f: f["messages"]["accepted"] == 1)
                done = harness.ctl("status", "-c", daemon.conf)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for line in (r"Caronte \S+, (io_uring|epoll), pid %d, up 00:00:\d\d" % daemon.pid,
                         r"sessions    1 open of 200, 1 in all",
                         r"per second  \S+ sessions, \S+ messages, \S+ refusals, \S+ \S+ "
                         r"\(last \d+ s\)",
                         r"messages    1: accepted 1", r"accepted    1: recipient 1",
                         r"refused     1: relaying-denied 1",
                         r"octets      1\.2 KB",
                         r"%s +draining +1 +1 +0 +0 +1( +\d+(\.\d)?(us|ms)/\d+(\.\d)?(us|ms)){3}" %
                         re.escape(name_of(sink)),
                         r"[01] +%d +1 +1 +1" % next(w["pid"] for w in self.status()["workers"]
                                                     if w["sessions"])):
                self.assertRegex(done.stdout, re.compile("^%s$" % line, re.M))

    def test_watch(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, \
                harness.Client(daemon.port) as client:
            client.hello()
            client.send_message(BODY)
            for how in (["--watch=1"], ["-w", "1"]):
                with self.watching(*how) as watch:
                    looks = (line for line in watch.stdout if line.startswith("per second"))
                    next(looks)
                    client.send_message(BODY)
                    client.send_message(BODY)
                    # Seen once, in the look behind it; those of the last minute would go on.
                    found = []
                    while len(found) < 20 and (not any(found) or found[-1]):
                        line = next(looks)
                        found.append(float(re.match(r"per second  0\.0 sessions, (\d\.\d) "
                                                    r"messages, .* \(last \d+ s\)$", line)[1]))
                    self.assertTrue(any(found) and found[-1] == 0, found)
            with self.watching("--json", "--watch", "1") as watch:
                first, second = (json.loads(watch.stdout.readline()) for _ in range(2))
            self.assertLess(0.9, second["uptime"] - first["uptime"])

    def on_terminal(self, rows, columns):
        """What `status --watch` shows at once on a terminal of that size."""
        terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        with subprocess.Popen([harness.CTL, "status", "--socket", self.socket, "-w"],
                              stdin=subprocess.DEVNULL, stdout=theirs) as watch:
            os.close(theirs)
            text = b""
            while select.select([terminal], [], [], 0.5 if text else harness.PATIENCE_S)[0]:
                text += os.read(terminal, 65536)
            watch.kill()
        os.close(terminal)
        self.assertEqual(text.count(b"\033[H\033[J"), 1)
        return text.decode().partition("\033[H\033[J")[2].replace("\r\n", "\n")

    def test_watch_fits_the_terminal(self):
        with harness.Sink() as sink, self.caronte(sink):
            whole = self.on_terminal(200, 300)
            self.assertTrue(whole.endswith("\n"))
            lines = whole.splitlines()
            self.assertGreater(len(lines), 10)
            self.assertGreater(max(map(len, lines)), 40)

            def shape(text):  # what changes from one look to the next
                return re.sub(r"\d", "0", text)
            cut = self.on_terminal(8, 30)
            self.assertEqual([shape(line)[:12] for line in cut.split("\n")],
                             [shape(line)[:12] for line in lines[:8]])
            self.assertEqual(max(map(len, cut.split("\n"))), 30)
            self.assertEqual(shape(self.on_terminal(len(lines), 300)), shape(whole).rstrip("\n"))

    @contextlib.contextmanager
    def foreign(self, answer):
        """Somebody else at the socket, who says this, or nothing."""
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
            self.socket = self.new_dir("foreign") / "socket"
            listener.bind(str(self.socket))
            listener.listen()

            def serve():
                with contextlib.suppress(OSError):
                    while True:
                        peer = stack.enter_context(listener.accept()[0])
                        if answer is None:
                            continue
                        peer.recv(100)
                        with contextlib.suppress(BrokenPipeError):  # it has heard enough
                            peer.sendall(answer)
                        peer.close()
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

    def test_no_daemon_of_ours(self):
        rows = [(b"<html>\n", "this is no answer of this version", harness.EX_PROTOCOL),
                (b"220 mail.test ESMTP\r\n", "this is no answer of this version",
                 harness.EX_PROTOCOL),
                (b"", "the daemon gave no whole answer", harness.EX_PROTOCOL),
                (b"[1", "the daemon gave no whole answer", harness.EX_PROTOCOL),
                (b"x" * (17 << 20), "an answer that does not end", harness.EX_PROTOCOL),
                (None, "no answer in 10 seconds", harness.EX_UNAVAILABLE)]
        for answer, words, status in rows:
            with self.subTest(words), self.foreign(answer):
                for what in ["status"], ["status", "--json"], ["drain", "127.0.0.1:25"]:
                    if answer is None and len(what) > 1:
                        continue  # each takes its time
                    done = harness.ctl(*what[:1], "--socket", self.socket, *what[1:])
                    self.assertEqual((done.returncode, done.stdout, done.stderr),
                                     (status, "", "carontectl: %s: %s\n" % (self.socket, words)))
        self.socket = self.new_dir("nobody") / "socket"
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(str(self.socket))
        done = harness.ctl("status", "--socket", self.socket)
        self.assertEqual((done.returncode, done.stderr), (
            harness.EX_UNAVAILABLE, "carontectl: %s: no daemon listens there\n" % self.socket))

    def test_watch_outlives_the_daemon(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, \
                self.watching("--watch", "1") as watch:
            self.assertIn("pid %d" % daemon.pid, watch.stdout.readline())
            daemon.stop()
            self.assertRegex(watch.stderr.readline(), "No such file|reset|no daemon|no whole")
            daemon.start()
            self.assertTrue(any("pid %d" % daemon.pid in line for line in watch.stdout))

    def test_while_it_stops(self):
        with harness.Sink() as sink, self.caronte(sink, STOP_GRACE=5) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                daemon.process.send_signal(signal.SIGTERM)
                harness.wait_until(lambda: harness.refuses(daemon.port))
                self.until(lambda f: f["sessions"]["open"] == 1)
                client.quit()
            daemon.process.wait(harness.PATIENCE_S)
            self.assertFalse(self.socket.exists())

    def test_arguments(self):
        for arguments, status in ((["x"], harness.EX_USAGE), (["--watch=0"], harness.EX_USAGE),
                                  (["--watch", "x"], harness.EX_USAGE),
                                  (["--watch=5", "6", "7"], harness.EX_USAGE),
                                  (["-x"], harness.EX_USAGE), (["--help"], 0),
                                  (["--socket", self.dir / "nothing"], harness.EX_UNAVAILABLE),
                                  (["--socket", "x" * 200], harness.EX_UNAVAILABLE),
                                  (["-c", self.dir / "nothing"], harness.EX_CONFIG)):
            done = harness.ctl("status", *arguments)
            self.assertEqual(done.returncode, status, (arguments, done.stderr))


class Socket(TestCase):
    def test_only_its_group(self):
        with harness.Sink() as sink, self.caronte(sink):
            mode = self.socket.stat()
            self.assertTrue(stat.S_ISSOCK(mode.st_mode))
            self.assertEqual(stat.S_IMODE(mode.st_mode), 0o660)
            if not harness.ROOT:
                self.skipTest("whether others are refused can be seen as root only")
            nobody, other = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
            self.assertEqual((mode.st_uid, mode.st_gid), (nobody.pw_uid, nobody.pw_gid))

            def ask_as(uid, gid):
                code = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(%r); "
                        "s.sendall(b'status\\n'); sys.exit(s.recv(1) != b'{')" % str(self.socket))
                return subprocess.run(["/usr/bin/python3", "-c", code], user=uid, group=gid,
                                      extra_groups=[], stderr=subprocess.PIPE, text=True)
            self.assertEqual(ask_as(other.pw_uid, nobody.pw_gid).returncode, 0)
            refused = ask_as(other.pw_uid, other.pw_gid)
            self.assertIn("PermissionError", refused.stderr)

    def test_requests(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            name = name_of(sink).encode()
            for request in (b"", b"status", b"\0" * 100):
                self.assertEqual(self.ask(request), b"", request)
            for request in (b"\n", b"STATUS\n", b"status \n", b" status\n", b"statusx\n",
                            b"status\0\n", b"status\r\n", b"x" * 511,
                            b"drain " + b"x" * 505 + b"\n", b"x" * 100000, b"drain\n"):
                self.assertEqual(self.ask(request), b"error no such request\n", request[:20])
            for request in (b"drain \n", b"drain  " + name + b"\n", b"drain " + name + b" \n",
                            b"ready x:1\n", b"drain " + b"x" * 504 + b"\n"):
                self.assertRegex(self.ask(request),
                                 b"^error .* is no destination of this daemon\n$")
            self.assertEqual(json.loads(self.ask(b"status\ndrain " + name + b"\n"))["pid"],
                             daemon.pid)
            self.assertIs(self.status()["destinations"][0]["drained"], False)
            # Octet by octet.
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(self.socket))
                for octet in b"drain x:1\n":
                    s.send(bytes([octet]))
                    time.sleep(0.01)
                self.assertEqual(s.recv(1000), b"error x:1 is no destination of this daemon\n")

    def test_silent_clients_are_ended(self):
        with harness.Sink() as sink, self.caronte(sink), contextlib.ExitStack() as stack:
            silent = []
            for _ in range(24):
                s = stack.enter_context(socket.socket(socket.AF_UNIX))
                s.connect(str(self.socket))
                s.settimeout(harness.PATIENCE_S)
                silent.append(s)
            done = harness.ctl("status", "--socket", self.socket)  # it waits for its turn
            self.assertEqual(done.returncode, 0, done.stderr)
            for s in silent[:16]:
                self.assertEqual(s.recv(1), b"")

    def test_answers_that_nobody_reads(self):
        with harness.Sink() as sink, self.caronte(sink), contextlib.ExitStack() as stack:
            for _ in range(16):
                s = stack.enter_context(socket.socket(socket.AF_UNIX))
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                s.connect(str(self.socket))
                s.sendall(b"status\n")
            self.assertEqual(self.status()["sessions"]["open"], 0)

    def test_few_descriptors(self):
        """Who asks waits, the processor rests, and is answered when there are descriptors again."""
        with harness.Sink() as sink, self.caronte(sink) as daemon, \
                contextlib.ExitStack() as stack:
            self.status()
            pid, = [pid for pid, name in daemon.processes().items() if name == "caronte-status"]
            usual = test_reload.set_limit(pid, "nofile", 19)  # what its poll(2) needs
            clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(16)]
            for s in clients:
                s.settimeout(harness.PATIENCE_S)
                s.connect(str(self.socket))
            before = harness.processor_s(pid)
            time.sleep(2)
            self.assertLess(harness.processor_s(pid) - before, 0.2)
            test_reload.set_limit(pid, "nofile", usual)
            clients[-1].sendall(b"status\n")
            self.assertEqual(clients[-1].recv(1), b"{")
            self.assertEqual([pid], [pid for pid, name in daemon.processes().items()
                                     if name == "caronte-status"])

    def test_stale_and_taken(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            daemon.kill()
            self.assertTrue(self.socket.exists())
            daemon.start()
            self.status()
            # A second daemon gets neither the socket nor this one's clients.
            path = self.dir / "second.xml"
            other = harness.run_caronte("-c", daemon.conf, "-o", "LISTEN_PORT=%d" %
                                        harness.free_port(), "-o", "LOG_FILE=%s" %
                                        (daemon.log.parent / path.name))
            self.assertEqual(other.returncode, harness.EX_UNAVAILABLE, other.stderr)
            self.assertIn("another process listens there", other.stderr)
            self.status()
            # To check the configuration is no reason to complain.
            done = harness.run_caronte("-t", "-c", daemon.conf)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(daemon.stop(), 0)
            self.assertFalse(self.socket.exists())

    def test_faults(self):
        with harness.Sink() as sink:
            daemon = self.caronte(sink, LISTEN_PORT=harness.free_port())
            with open(self.socket, "w", encoding="ascii"):
                pass
            rows = [(str(self.socket), "is there already and is no socket"),
                    (str(self.dir / "none/control"), "No such file or directory"),
                    ("/" + "x" * 120, "too long")]
            if harness.ROOT:
                rows.append(("/etc/caronte-control", "Permission denied"))
            for path, what in rows:
                daemon.configure(CONTROL_SOCKET=path)
                for option in ("-t", ""):
                    done = harness.run_caronte("-c", daemon.conf, *[option] * bool(option))
                    self.assertEqual(done.returncode, harness.EX_CONFIG, done.stderr)
                    self.assertRegex(done.stderr, r"caronte\.conf:\d+: CONTROL_SOCKET: .*" + what)


class Check(TestCase):
    """One line for a monitor, and its exit status; test_ctl_status.c has each of its reasons."""
    dialogs = ("sniff",)

    def check(self, *arguments):
        arguments = arguments or ("--socket", self.socket)
        done = harness.ctl("status", "--check", *arguments)
        self.assertEqual(done.stdout.count("\n"), 1, done.stdout)
        return done.returncode, done.stdout.strip()

    def test_good_and_gone(self):
        with harness.Sink() as sink, self.caronte(sink):
            self.assertEqual(self.check(), (0, "OK: 1 destination up, 0 of 200 sessions"))
        gone = (2, "CRITICAL: no daemon answers at %s" % self.socket)
        self.assertEqual(self.check(), gone)
        self.assertEqual(self.check("-c", "/nonexistent")[0], 2)
        done = harness.ctl("status", "--check", "what")
        self.assertEqual((done.returncode, done.stdout), (64, ""))

    def test_destinations(self):
        with harness.Sink("--greeting", "421 too busy") as one, harness.Sink() as two, \
                self.caronte("%s %s" % (name_of(one), name_of(two)),
                             COOPERATION_CLUSTER=True) as daemon:
            while not daemon.records("destination"):
                with harness.Client(daemon.port) as client:
                    client.reply()
            busy = name_of(one) + " is busy: 421 too busy"
            self.assertEqual(self.check(), (1, "WARNING: " + busy))
            found, _ = self.status()["destinations"]
            self.assertEqual((found["state"], found["said"]), ("busy", "421 too busy"))
            self.assertGreaterEqual(found["refused_greetings"], 1)
            self.assertLess(found["busy_seconds"], 60)
            self.assertRegex(harness.ctl("status", "--socket", self.socket).stdout,
                             r"(?m)^%s +busy .*\n  busy for \d+ s: 421 too busy$" % name_of(one))
            self.drain(name_of(two))
            self.assertEqual(self.check(),
                             (2, "CRITICAL: no destination is up; %s; %s is drained" % (
                busy, name_of(two))))

    def test_single_that_refuses(self):
        with harness.Sink("--greeting", "421 too busy") as sink, self.caronte(sink) as daemon:
            for _ in range(3):
                with harness.Client(daemon.port) as client:
                    client.reply()
            self.until(lambda f: f["destinations"][0]["refused_in_minute"] == 3)
            self.assertEqual(self.check(), (
                1, "WARNING: %s has refused 3 connections in the last minute" % name_of(sink)))

    def test_guard_and_reload(self):
        with harness.Sink() as sink, self.caronte(sink, RELAY_GUARD=False) as daemon:
            off = "the relay guard is off: everybody may relay"
            self.assertEqual(self.check(), (1, "WARNING: " + off))
            daemon.configure(MAX_ERRORS="many")
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.record("fault", what="configuration")
            self.until(lambda f: f.get("reload", {}).get("success") is False)
            status, line = self.check()
            self.assertEqual(status, 1)
            self.assertRegex(line, "^WARNING: %s; the last reload or upgrade was refused, "
                             r"\d{4}-\d\d-\d\dT[0-9:.]*Z$" % off)
            self.assertRegex(harness.ctl("status", "--socket", self.socket).stdout,
                             r"(?m)^relay guard off.*\nlast reload \S+Z, refused$")
            daemon.configure(MAX_ERRORS=7, RELAY_GUARD=True)
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.record("reload")
            self.until(lambda f: f["reload"]["success"] and f["relay_guard"])
            self.assertEqual(self.check()[0], 0)


class Drain(TestCase):
    def test_single(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            name = name_of(sink)
            with harness.Client(daemon.port) as running:
                running.hello()
                running.envelope()
                self.assertEqual(self.drain(name), name + " is drained")
                self.assertEqual(self.drain(name), name + " is already drained")
                with harness.Client(daemon.port) as client:
                    self.assertEqual(client.meet()[:9], b"421 4.3.2")
                    self.assertEqual(client.rest(), b"")
                running.command("DATA", 354)
                running.command(".", 250)
                if self.gateway:  # what is drained is for no further transaction
                    with self.assertRaisesRegex(AssertionError, "got b'421 4.3.2"):
                        running.send_message(BODY)
                else:
                    self.assertEqual(running.send_message(BODY)[:3], b"250")
                    running.quit()
            found = self.status()["destinations"][0]
            self.assertEqual((found["state"], found["drained"], found["failures"]),
                             ("up", True, 0))
            self.assertEqual(self.drain(name, "ready"), name + " is ready")
            self.assertEqual(self.drain(name, "ready"), name + " is already ready")
            with harness.Client(daemon.port) as client:
                client.hello()
                client.quit()
            records = daemon.records("destination", count=2)
            self.assertEqual([(r.get("address"), r.get("state"), r.get("why")) for r in records],
                             [(name, "down", "drained"), (name, "up", "ready")])

    def test_ready_while_it_is_down(self):
        with self.caronte("127.0.0.1:%d" % harness.free_port()) as daemon:
            name = daemon.settings["DESTINATIONS"]
            self.drain(name)
            self.drain(name, "ready")
            with harness.Client(daemon.port) as client:
                self.assertEqual(client.meet()[:9], b"421 4.3.2")
            daemon.record("destination", state="down", why="Connection refused")
            self.drain(name)
            self.drain(name, "ready")
            # (With the gateway dialog it may have been found out before the first drain.)
            ready = daemon.records("destination", count=1, state="down", why="ready")
            self.assertIn(len(ready), (1, 2) if self.gateway else (1,))
            done = harness.ctl("status", "-s", self.socket)
            self.assertRegex(done.stdout, r"(?m)^%s +down " % re.escape(name))

    def test_cluster_and_backup(self):
        for mode in ("COOPERATION_CLUSTER", "COOPERATION_BACKUP"):
            with self.subTest(mode), harness.Sink() as one, harness.Sink() as two, \
                    self.caronte("%s %s" % (name_of(one), name_of(two)), **{mode: True}) as daemon:
                self.drain(name_of(one))
                def came(sink):
                    return sum(line.startswith("MAIL") for line in sink.commands())

                def come(count):
                    for _ in range(count):
                        with harness.Client(daemon.port) as client:
                            client.hello()
                            client.envelope()
                            client.quit()
                come(6)
                self.assertEqual((came(one), came(two)), (0, 6))
                self.drain(name_of(one), "ready")
                self.drain(name_of(two))
                come(1)
                self.assertEqual((came(one), came(two)), (1, 6))
                self.drain(name_of(one))
                with harness.Client(daemon.port) as client:
                    self.assertEqual(client.meet()[:9], b"421 4.3.2")

    def test_outlives_workers(self):
        with harness.Sink() as sink, self.caronte(sink, WORKERS=1) as daemon:
            daemon.may_die = True
            self.drain(name_of(sink))
            before = daemon.workers()
            os.kill(before[0], signal.SIGKILL)
            harness.wait_until(lambda: daemon.workers() not in ([], before))
            with harness.Client(daemon.port) as client:
                self.assertEqual(client.meet()[:9], b"421 4.3.2")

    def test_arguments(self):
        with harness.Sink() as sink, self.caronte(sink):
            self.assertEqual(self.drain("x:25", status=harness.EX_USAGE),
                             "carontectl: x:25 is no destination of this daemon")
            for arguments in ([], ["a", "b"], ["x" * 500], ["x:1\ndrain y"], ["-x", "a"]):
                done = harness.ctl("drain", "--socket", self.socket, *arguments)
                self.assertEqual(done.returncode, harness.EX_USAGE, done.stderr)
                self.assertEqual(done.stdout, "")


SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)$')


def parse_metrics(text):
    """{name: {labels: value}}; every line must be as the format has it, each family declared once
    and before its samples."""
    found, types, current = {}, {}, None
    if not text.endswith("\n"):
        raise AssertionError("no line feed at the end")
    for line in text.splitlines():
        if line.startswith("# "):
            kind, name, rest = line[2:].split(" ", 2)
            if kind == "HELP":
                if name in types:
                    raise AssertionError("twice: " + line)
                types[name] = None
            elif kind != "TYPE" or types.get(name, "") is not None:
                raise AssertionError(line)
            else:
                types[name] = rest
            current = name
            continue
        match = SAMPLE.match(line)
        if not match:
            raise AssertionError("no sample: " + line)
        name, labels, value = match.groups()
        family = re.sub("_(bucket|sum|count)$", "", name) if types[current] == "histogram" else name
        if family != current:
            raise AssertionError("not of %s: %s" % (current, line))
        if types[current] == "counter" and not name.endswith("_total"):
            raise AssertionError("a counter without _total: " + line)
        samples = found.setdefault(name, {})
        if labels in samples:
            raise AssertionError("twice: " + line)
        samples[labels or ""] = float(value)
    return found


class Metrics(TestCase):
    def caronte(self, destination=None, host="127.0.0.1", port=None, **settings):
        self.metrics_port = port or harness.free_port()
        self.metrics = "%s:%d" % (host, self.metrics_port)
        return super().caronte(destination, **{"METRICS_ADDRESS": self.metrics, **settings})

    def fetch(self, path="/metrics", method="GET", data=None):
        """Status, headers, text."""
        request = urllib.request.Request("http://%s%s" % (self.metrics, path), method=method,
                                         data=data)
        try:
            with urllib.request.urlopen(request, timeout=harness.PATIENCE_S) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.headers, answer.read().decode()

    def test_figures(self):
        with harness.Sink("--delay", "EOD=20") as sink, self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                for _ in range(3):
                    client.send_message(BODY)
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<b@elsewhere.test>", 550)
                status, headers, text = self.fetch()
                self.assertEqual(status, 200)
                self.assertEqual(headers["Content-Type"],
                                 "text/plain; version=0.0.4; charset=utf-8")
                found = parse_metrics(text)
                document = self.status()
            here = 'destination="%s"' % name_of(sink)
            for name, labels, value in (
                    ("sessions_open", "", 1), ("sessions_total", "", 1), ("sessions_max", "", 200),
                    ("messages_total", 'result="accepted"', 3),
                    ("messages_total", 'result="refused"', 0),
                    ("message_bytes_total", "", document["octets"]),
                    ("recipients_total", 'verdict="accept",rule="recipient"', 3),
                    ("recipients_total", 'verdict="refuse",rule="relaying-denied"', 1),
                    ("recipients_total", 'verdict="refuse",rule="unknown-user"', 0),
                    ("recipients_total", 'verdict="refuse",rule="destination"', 0),
                    ("turned_away_total", 'limit="MAX_SESSIONS"', 0),
                    ("session_ends_total", 'end="quit"', 0), ("replies_total", 'class="5xx"', 1),
                    ("logins_total", 'verdict="accept"', 0), ("log_dropped_total", "", 0),
                    ("replies_total", 'class="3xx"', 3), ("replies_total", 'class="4xx"', 0),
                    ("relay_guard", "", 1), ("stress", "", 0), ("certificates_taken", "", 1),
                    ("last_reload_successful", "", 1),
                    ("destination_busy", here, 0), ("destination_insecure", here, 0),
                    ("destination_unidentified", here, 0),
                    ("handshakes_total", 'result="full"', 0),
                    ("destination_refused_greetings_total", here, 0),
                    ("destination_up", here, 1), ("destination_drained", here, 0),
                    # With the gateway dialog each transaction is one, over warm connections.
                    ("destination_sessions_open", here, self.by_dialog(1, 0)),
                    ("destination_sessions_total", here, self.by_dialog(1, 3)),
                    ("destination_failures_total", here, 0),
                    ("destination_messages_total", here, 3),
                    ("destination_message_bytes_total", here, document["octets"]),
                    ("reply_duration_seconds_count", here, 3),
                    ("message_duration_seconds_count", here, 3), ("worker_up", 'worker="1"', 1),
                    ("worker_starts_total", 'worker="0"', 1),
                    ("build_info", 'version="%s",engine="%s"' % (
                        document["version"], document["engine"]), 1)):
                self.assertEqual(found["caronte_" + name][labels], value, (name, labels))
            # … and only the first may have to connect, in the worker that has none yet.
            self.assertIn(found["caronte_connect_duration_seconds_count"][here],
                          self.by_dialog({1}, {0, 1}))
            self.assertEqual(sum(found["caronte_worker_sessions_open"].values()), 1)
            self.assertAlmostEqual(found["caronte_start_time_seconds"][""], time.time(), delta=60)
            self.assertEqual(found["caronte_last_reload_timestamp_seconds"],
                             found["caronte_start_time_seconds"])
            for files in "log", "archive":
                labels = 'files="%s"' % files
                free = found["caronte_log_disk_free_bytes"][labels]
                self.assertEqual(document["log_disk"][files]["size"],
                                 found["caronte_log_disk_size_bytes"][labels])
                self.assertLessEqual(free, found["caronte_log_disk_size_bytes"][labels])
            buckets = list(found["caronte_reply_duration_seconds_bucket"].items())
            counts = [n for _, n in buckets]
            self.assertEqual(counts, sorted(counts))
            self.assertEqual(buckets[-1], (here + ',le="+Inf"', 3))
            self.assertEqual(dict(buckets)[here + ',le="0.016384"'], 0)
            self.assertTrue(0.06 <= found["caronte_reply_duration_seconds_sum"][here] < 1)

    def test_nothing_else(self):
        with harness.Sink() as sink, self.caronte(sink, CONTROL_SOCKET=None):
            for path in ("/", "/metrics/", "/metricsx", "/x", "/..", "//metrics"):
                self.assertEqual(self.fetch(path)[0], 404, path)
            for method, data in (("POST", b"x" * 100000), ("PUT", b"x"), ("DELETE", None)):
                status, headers, _ = self.fetch(method=method, data=data)
                self.assertEqual((status, headers["Allow"]), (405, "GET"), method)
            self.assertEqual(self.fetch("/metrics?x=1")[0], 200)

    def test_hostile_clients(self):
        with harness.Sink() as sink, self.caronte(sink, CONTROL_SOCKET=None):
            with contextlib.ExitStack() as stack:
                for octets in (b"", b"\0" * 100, b"GET", b"\r\n" * 100, b"x" * 100000,
                               b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 40000, b"GET / HTTP/9\r\n"):
                    s = stack.enter_context(socket.create_connection(
                        ("127.0.0.1", self.metrics_port), timeout=harness.PATIENCE_S))
                    with contextlib.suppress(ConnectionError):
                        s.sendall(octets)
                self.assertEqual(self.fetch()[0], 200)
            # More than are served from one address: those behind are closed, the rest goes on,
            # once the daemon has seen that these are gone.
            with contextlib.ExitStack() as stack:
                for _ in range(40):
                    stack.enter_context(socket.create_connection(
                        ("127.0.0.1", self.metrics_port), timeout=harness.PATIENCE_S))
            harness.wait_until(self.is_served)

    def is_served(self):
        with contextlib.suppress(ConnectionError):
            return self.fetch()[0] == 200
        return False

    def test_ipv6(self):
        if not socket.has_dualstack_ipv6():
            self.skipTest("no IPv6 here")
        try:
            port = harness.free_port("::1")
        except OSError:
            self.skipTest("no IPv6 here")
        with harness.Sink() as sink, self.caronte(sink, host="[::1]", port=port):
            self.assertEqual(self.fetch()[0], 200)

    @unittest.skipUnless(harness.ROOT, "a low port can be bound as root only")
    def test_low_port(self):
        for port in range(880, 900):
            with contextlib.suppress(OSError), socket.socket() as s:
                s.bind(("127.0.0.1", port))
                break
        with harness.Sink() as sink, self.caronte(sink, port=port):
            self.assertEqual(self.fetch()[0], 200)

    def test_faults(self):
        with harness.Sink() as sink:
            daemon = self.caronte(sink, LISTEN_PORT=harness.free_port())
            for address, what in (
                    ("127.0.0.1", "allowed is IP:PORT"), ("localhost:9525", "allowed is IP:PORT"),
                    (":9525", "allowed is IP:PORT"), ("127.0.0.1:0", "allowed is IP:PORT"),
                    ("::1:9525", "allowed is IP:PORT"), ("[127.0.0.1]:9525", "allowed is IP:PORT"),
                    ("127.0.0.1:%d" % daemon.port, "is where this daemon takes mail")):
                daemon.configure(METRICS_ADDRESS=address)
                done = harness.run_caronte("-t", "-c", daemon.conf)
                self.assertEqual(done.returncode, harness.EX_CONFIG, (address, done.stderr))
                self.assertRegex(done.stderr, r"METRICS_ADDRESS: .*" + what)
            with socket.create_server(("127.0.0.1", 0)) as taken:
                daemon.configure(METRICS_ADDRESS="127.0.0.1:%d" % taken.getsockname()[1])
                done = harness.run_caronte("-c", daemon.conf)
                self.assertEqual(done.returncode, harness.EX_UNAVAILABLE, done.stderr)
                self.assertIn("METRICS_ADDRESS", done.stderr)


if __name__ == "__main__":
    unittest.main()
