# SPDX-License-Identifier: ISC
"""HUP: another configuration, taken whole or not at all, while sessions run."""
import contextlib
import itertools
import json
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import threading
import time

import harness


def open_files(pid):
    """What the descriptors of a process stand for; one that is closed meanwhile may be missing."""
    harness.only_root_sees()
    for each in pathlib.Path("/proc/%d/fd" % pid).iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(each)


def memory_of_versions(daemon):
    """The images that are in memory, whoever holds them: by descriptor or mapped."""
    harness.only_root_sees()
    found = set()
    for pid in (daemon.pid, *daemon.processes()):
        place = pathlib.Path("/proc/%d" % pid)
        try:
            found |= {line.split()[4] for line in (place / "maps").read_text().splitlines()
                      if "memfd:caronte-version" in line}
            for each in (place / "fd").iterdir():
                if "memfd:caronte-version" in os.readlink(each):
                    found.add(str(os.stat(each).st_ino))
        except OSError:
            pass  # it ends
    return found


def set_limit(pid, which, soft):
    """Of a process of the daemon's; what it was before. Only a process of the same user may."""
    user = dict(user="nobody", group=pwd.getpwnam("nobody").pw_gid,
                extra_groups=[]) if harness.ROOT else {}
    prlimit = ["prlimit", "--pid", str(pid)]
    before = subprocess.run([*prlimit, "--" + which, "--noheadings", "--output", "SOFT"],
                            check=True, stdout=subprocess.PIPE, text=True, **user).stdout.strip()
    subprocess.run([*prlimit, "--%s=%s:" % (which, soft)], check=True, **user)
    return before


def ask(path, request):
    """What the status process answers; it may be starting again just now."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(harness.PATIENCE_S)
        s.connect(str(path))
        s.sendall(request + b"\n")
        s.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))


def ask_status(path):
    return json.loads(ask(path, b"status"))


class Traffic:
    """Clients that go on sending messages over short sessions, and one that keeps its session. What
    goes wrong for any of them is kept in .faults."""

    def __init__(self, port, clients=4, messages=3):
        self.port = port
        self.messages = messages
        self.over = threading.Event()
        self.faults = []
        self.delivered = 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(clients)]

    def run(self, number):
        try:
            while not self.over.is_set():
                self.session(b"%d" % number)
        except Exception as fault:  # whatever it is, it is a fault of this test
            self.faults.append("client %d: %r" % (number, fault))

    def session(self, name):
        with harness.Client(self.port) as client:
            client.hello()
            for each in range(self.messages):
                reply = client.send_message(b"%s\r\n%s" % (name, b"x" * 5000 + b"\r\n"))
                if reply[:3] != b"250":
                    raise AssertionError("message got %r" % reply)
                with self.lock:
                    self.delivered += 1
            client.quit()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(60)


class Base(harness.TestCase):
    def settle(self, daemon, sink):
        """A reload leaves the gateway dialog without a connection, unless it is just then time to
        learn what the destination offers."""
        if self.gateway:
            harness.wait_until(lambda: self.reload(daemon) and
                               not harness.connections_to(sink.port))

    def descriptors(self, daemon, sink):
        """How many each process has open, by its name, which for a worker has a number. That time
        to learn comes when it comes, soon after an upgrade too: such a connection does not count.
        """
        pids = {daemon.pid: "master", **daemon.processes()}
        files = [(name.rstrip("0123456789"), list(open_files(pid)))
                 for pid, name in pids.items() if name != "caronte-check"]
        apart = harness.connections_to(sink.port) if self.gateway else set()
        return sorted((name, sum(each not in apart for each in some)) for name, some in files)

    def reload(self, daemon, **settings):
        """Waits for what came of it: the `reload` record, or the fault."""
        reloads, faults = len(daemon.records("reload")), self.refused(daemon)
        daemon.configure(**settings)
        os.kill(daemon.pid, signal.SIGHUP)
        harness.wait_until(lambda: len(daemon.records("reload")) > reloads
                           or self.refused(daemon) > faults)
        return self.refused(daemon) == faults

    def refused(self, daemon):
        return len(daemon.records("fault", what="configuration"))

    def verdict(self, port, recipient):
        with harness.Client(port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", 250)
            reply = client.command("RCPT TO:<%s>" % recipient)
            client.quit()
        return reply[:3]


class Reload(Base):
    def test_tables_are_read_again(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"550")
            with harness.Client(daemon.port) as before:
                before.hello()
                self.assertTrue(self.reload(daemon, RECIPIENTS=["@new.test"]))
                self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")
                self.assertEqual(self.verdict(daemon.port, "x@local.test"), b"550")
                # A session keeps what it began with.
                before.command("MAIL FROM:<a@client.test>", 250)
                before.command("RCPT TO:<x@new.test>", 550)
                before.command("RCPT TO:<x@local.test>", 250)
                before.quit()
            self.assertEqual(daemon.record("reload").get("changed"), "RECIPIENTS")

    def test_destinations_change(self):
        with harness.Sink() as first, harness.Sink() as second, \
                self.caronte(first) as daemon:
            with harness.Client(daemon.port) as before:
                before.hello()
                self.assertTrue(self.reload(daemon, DESTINATIONS="127.0.0.1:%d" % second.port))
                with harness.Client(daemon.port) as after:
                    after.hello()
                    self.assertEqual(after.send_message(b"after\r\n")[:3], b"250")
                    after.quit()
                self.assertEqual(before.send_message(b"before\r\n")[:3], b"250")
                before.quit()
            self.assertEqual(first.report()["messages"], 1)
            self.assertEqual(second.report()["messages"], 1)

    def test_max_counts_sessions_of_earlier_configurations(self):
        with harness.Sink() as one, harness.Sink() as two:
            there, other = ("127.0.0.1:%d" % sink.port for sink in (one, two))
            with self.caronte(there + ",max=2", TIMEOUT_CONNECT=1) as daemon:
                # What makes a client need its destination, and what that hears of it.
                needs = self.by_dialog(harness.Client.hello, lambda client: (
                    client.hello(), client.envelope()))
                heard = self.by_dialog("EHLO", "RCPT")
                with harness.Client(daemon.port) as first:
                    needs(first)
                    self.assertTrue(self.reload(
                        daemon, COOPERATION_CLUSTER=True, BALANCE_SOURCE=True,
                        DESTINATIONS="%s %s,max=1" % (other, there)))
                    held = []
                    # All go to the one that has room; the other is at its max= already.
                    for _ in range(6):
                        client = harness.Client(daemon.port)
                        needs(client)
                        held.append(client)
                    self.assertEqual(sum(line.startswith(heard) for line in two.commands()), 6)
                    for client in held:
                        client.quit()
                    first.quit()

    def test_log_level_and_file_change(self):
        with harness.Sink() as sink, self.caronte(sink, LOG_LEVEL=1) as daemon:
            old = daemon.log
            daemon.log = old.with_name("other.xml")
            writer = daemon.writer()
            daemon.configure(LOG_LEVEL=3, LOG_FILE=str(daemon.log))
            os.kill(daemon.pid, signal.SIGHUP)
            harness.wait_until(lambda: daemon.log.exists() and daemon.records("reload"))
            self.assertNotEqual(daemon.writer(), writer)
            with harness.Client(daemon.port) as client:
                client.hello()
                client.quit()
            self.assertTrue(daemon.records("command", count=2))
            self.assertEqual(daemon.record("reload").get("changed"), "LOG_LEVEL LOG_FILE")
            harness.validate(old)
            self.assertFalse([r for r in harness.parse_log(old) if r.tag == "reload"])

    def test_faulty_configuration_changes_nothing(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            self.assertFalse(self.reload(daemon, RECIPIENTS=["@new.test"], TIMEOUT_REPLY=0,
                                         RELAY_NETWORKS="10.0.0.300"))
            fault = daemon.record("fault", what="configuration").get("detail")
            for text in (fault, daemon.stderr()):
                self.assertIn("TIMEOUT_REPLY", text)
                self.assertIn("10.0.0.300", text)
            self.assertEqual(self.verdict(daemon.port, "x@local.test"), b"250")
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"550")
            self.assertTrue(self.reload(daemon, TIMEOUT_REPLY=10, RELAY_NETWORKS=""))
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")

    def test_log_of_another_daemon(self):
        with harness.Sink() as sink, self.caronte(sink) as other, self.caronte(sink) as daemon:
            other.record("start")
            for path in other.log, daemon.log.parent:
                harness.give_to_user(path)
            self.assertFalse(self.reload(daemon, LOG_FILE=str(other.log)))
            self.assertIn("LOG_FILE: %s: another process writes this log" % other.log,
                          daemon.record("fault", what="configuration").get("detail"))
            # Its own one stays as it is, and may change to one that nobody writes.
            self.assertTrue(self.reload(daemon, LOG_FILE=str(daemon.log), LOG_LEVEL=2))
            new = daemon.log.with_name("new.xml")
            daemon.configure(LOG_FILE=str(new))
            os.kill(daemon.pid, signal.SIGHUP)
            harness.wait_until(lambda: new.exists() and "<reload " in new.read_text())
            self.assertTrue(self.reload(daemon, LOG_FILE=str(daemon.log)))

    def test_file_that_is_gone(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            daemon.conf.unlink()
            os.kill(daemon.pid, signal.SIGHUP)
            fault = daemon.record("fault", what="configuration")
            self.assertIn("No such file", fault.get("detail"))
            self.assertEqual(self.verdict(daemon.port, "x@local.test"), b"250")

    def test_what_needs_a_restart(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            engine = {"ENGINE_EPOLL": self.engine != "epoll" or None,
                      "ENGINE_IO_URING": None, "ENGINE_AUTO": self.engine == "epoll" or None}
            for settings in ({"LISTEN_PORT": harness.free_port()}, {"LISTEN_ADDRESS": "127.0.0.2"},
                             {"WORKERS": 1}, {"MAX_SESSIONS": 100}, {"USER": "daemon"},
                             engine):
                with self.subTest(settings):
                    before = dict(daemon.settings)
                    self.assertFalse(self.reload(daemon, MAX_ERRORS=7, **settings))
                    daemon.settings = before
                    fault = daemon.records("fault", what="configuration")[-1].get("detail")
                    self.assertIn("needs a restart", fault)
                    self.assertIn(next(name for name in settings if settings[name]), fault)
            self.assertTrue(self.reload(daemon))

    def test_dead_worker_comes_back_with_the_newest(self):
        with harness.Sink() as sink, self.caronte(sink, WORKERS=1) as daemon:
            daemon.may_die = True
            self.assertTrue(self.reload(daemon, RECIPIENTS=["@new.test"]))
            worker, = daemon.workers()
            os.kill(worker, signal.SIGKILL)
            harness.wait_until(lambda: daemon.workers() not in ([worker], []))
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")

    def test_each_is_told(self):
        """Also one that is asked for while a worker has yet to hear of the one before."""
        with harness.Sink() as sink, self.caronte(sink, WORKERS=2) as daemon:
            with harness.frozen(daemon.workers()[0]):
                for name, value in ("MAX_ERRORS", 33), ("STOP_GRACE", 7):
                    daemon.configure(**{name: value})
                    os.kill(daemon.pid, signal.SIGHUP)
                    time.sleep(0.5)
            self.assertEqual([each.get("changed") for each in daemon.records("reload", count=2)],
                             ["MAX_ERRORS", "STOP_GRACE"])

    def test_memory_comes_back(self):
        """Of a configuration that no session has any more nothing stays, in no process."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with harness.Client(daemon.port) as kept:
                kept.hello()
                for n in range(3):
                    self.assertTrue(self.reload(daemon, RECIPIENTS=["u%d@x.test" % n]))
                # The session's own, and the newest.
                harness.wait_until(lambda: len(memory_of_versions(daemon)) == 2)
                kept.quit()
            harness.wait_until(lambda: len(memory_of_versions(daemon)) == 1)

    def test_all_destinations_are_others(self):
        """As many as there may be, and then as many others, and what those before have counted is
        not theirs."""
        with harness.Sink() as sink:
            path = self.new_dir("run") / "control"
            harness.give_to_user(path.parent)

            def others(n):
                return " ".join("127.9.%d.%d:%d" % (n, i, sink.port) for i in range(64))
            with self.caronte(others(0), COOPERATION_CLUSTER=True, TIMEOUT_CONNECT=1, MAX_ERRORS=9,
                              CONTROL_SOCKET=str(path)) as daemon:
                for n in range(1, 4):
                    with harness.Client(daemon.port) as client:
                        self.assertRegex(client.reply(), rb"^421 4\.3\.2 ")
                    self.assertTrue(self.reload(daemon, DESTINATIONS=others(n)))
                    status = ask_status(path)
                    self.assertEqual({each["failures"] for each in status["destinations"]}, {0})
                self.assertTrue(self.reload(daemon, DESTINATIONS="127.0.0.1:%d" % sink.port))
                self.assertEqual(self.verdict(daemon.port, "x@local.test"), b"250")

    def test_hup_meanwhile(self):
        """As many as come while one is under way are one more, and that one is not put off."""
        with harness.Sink() as sink, self.caronte(sink, MAX_ERRORS=9) as daemon:
            for _ in range(3):
                before = len(daemon.records("reload"))
                os.kill(daemon.pid, signal.SIGHUP)
                harness.wait_until(lambda: "caronte-check" in daemon.processes().values()
                                   or len(daemon.records("reload")) > before)
                daemon.configure(MAX_ERRORS=daemon.settings["MAX_ERRORS"] + 1)
                os.kill(daemon.pid, signal.SIGHUP)
                daemon.records("reload", count=before + 2)

    def test_drained_meanwhile(self):
        """What an operator was told of a destination holds, however close to a reload; and he is
        told, though the process that he has asked may be one that goes."""
        def ctl(*arguments):
            done = harness.ctl(*arguments, "--socket", path)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return done.stdout

        def reload_all_the_time():
            while not over.is_set():
                os.kill(daemon.pid, signal.SIGHUP)
                time.sleep(0.01)

        with harness.Sink() as sink:
            path = self.new_dir("run") / "control"
            harness.give_to_user(path.parent)
            with self.caronte(sink, CONTROL_SOCKET=str(path)) as daemon:
                name, = [each["name"] for each in ask_status(path)["destinations"]]
                over = threading.Event()
                thread = threading.Thread(target=reload_all_the_time)
                thread.start()
                try:
                    for turn in itertools.count():
                        if turn >= 100 and len(daemon.records("reload")) >= 20:
                            break
                        what, state = ("ready", "ready") if turn % 2 else ("drain", "drained")
                        self.assertRegex(ctl(what, name), "^%s is (already )?%s" % (name, state))
                        destination, = json.loads(ctl("status", "--json"))["destinations"]
                        self.assertIs(destination["drained"], what == "drain", turn)
                finally:
                    over.set()
                    thread.join()

    def test_worker_without_descriptors(self):
        """It cannot take the news, says so, and takes it once it can."""
        with harness.Sink() as sink, self.caronte(sink, WORKERS=1) as daemon:
            worker, = daemon.workers()
            limit = set_limit(worker, "nofile", 3)
            daemon.configure(RECIPIENTS=["@new.test"])
            os.kill(daemon.pid, signal.SIGHUP)
            fault = daemon.record("fault", what="reload")
            self.assertIn("Too many open files", fault.get("detail"))
            time.sleep(2.5)
            self.assertEqual(len(daemon.records("fault", what="reload")), 1)
            self.assertEqual(daemon.records("reload"), [])
            set_limit(worker, "nofile", limit)
            daemon.record("reload")
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")
            self.assertEqual(daemon.workers(), [worker])

    def test_name_that_does_not_resolve(self):
        """No fault of the configuration, but said."""
        with harness.Sink() as sink, self.caronte(sink, COOPERATION_BACKUP=True) as daemon:
            name = "no-such-host.invalid:25"
            self.assertTrue(self.reload(daemon,
                                        DESTINATIONS="127.0.0.1:%d %s" % (sink.port, name)))
            self.assertIn(name, daemon.record("fault", what="resolve").get("detail"))
            self.assertIn(name + " does not resolve now", daemon.stderr())
            self.assertEqual(self.verdict(daemon.port, "x@local.test"), b"250")

    def test_many_under_load(self):
        rounds = 100 if harness.LONG else 20
        with harness.Sink() as sink, \
                self.caronte(sink, LOG_LEVEL=1, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            self.assertTrue(self.reload(daemon, MAX_ERRORS=9))
            with harness.Client(daemon.port) as kept, Traffic(daemon.port) as traffic:
                kept.hello()
                for n in range(rounds):
                    self.assertTrue(self.reload(daemon, MAX_ERRORS=10 + n % 2,
                                                RECIPIENTS=["@local.test", "u%d@x.test" % n]))
                    self.assertEqual(kept.send_message(b"kept\r\n")[:3], b"250")
                kept.quit()
            self.assertEqual(traffic.faults, [])
            self.assertGreater(traffic.delivered, rounds)
            self.assertEqual(len(daemon.records("reload")), rounds + 1)
            self.assertEqual(sink.report()["messages"], traffic.delivered + rounds)
            self.settle(daemon, sink)
            before = self.descriptors(daemon, sink)
            for _ in range(3):
                self.assertTrue(self.reload(daemon))
            self.settle(daemon, sink)
            harness.wait_until(lambda: self.descriptors(daemon, sink) == before)
