# SPDX-License-Identifier: ISC
"""The processes of the daemon: none has a privilege, and whichever of them dies, the others do what
is right.
"""
import contextlib
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
import unittest

import harness
import puppet
from puppet import case

NONE = "0000000000000000"
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def status_of(pid):
    """The fields of /proc/PID/status."""
    text = pathlib.Path("/proc/%d/status" % pid).read_text()
    return {name: value.strip() for name, _, value in (
        line.partition(":") for line in text.splitlines())}


def low_port():
    """A port that only a privileged process may bind, and that is free."""
    ports = harness.own_ports(600, 1000)
    while not harness.reserve(port := random.choice(ports)):
        pass
    return port


class Base(harness.TestCase):
    def all_of(self, daemon):
        """All processes: master, workers and log writer at the least."""
        pids = [daemon.pid, *daemon.processes()]
        self.assertGreaterEqual(len(pids), 1 + daemon.settings["WORKERS"] + 1)
        return pids

    def serves(self, daemon, destination):
        with puppet.Session(daemon.port, destination) as s:
            s.message()
            s.quit()


class Privileges(Base):
    def nobody(self):
        user = pwd.getpwnam("nobody")
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def check(self, daemon, bounding):
        user = pwd.getpwnam("nobody") if harness.ROOT else pwd.getpwuid(os.getuid())
        for pid in self.all_of(daemon):
            status = status_of(pid)
            with case(status["Name"]):
                for name in CAPABILITIES:
                    if name != "CapBnd" or bounding:
                        self.assertEqual(status[name], NONE, name)
                self.assertEqual(status["NoNewPrivs"], "1")
                self.assertEqual(set(status["Uid"].split()), {str(user.pw_uid)})
                if harness.ROOT:
                    self.assertEqual(set(status["Gid"].split()), {str(user.pw_gid)})
                    self.assertEqual(status["Groups"], "")

    def run_one(self, daemon, destination, bounding):
        """While it is new, with a session and behind it."""
        self.check(daemon, bounding)
        with puppet.Session(daemon.port, destination, "body"):
            self.check(daemon, bounding)
        daemon.records("session", count=1)
        self.serves(daemon, destination)

    @unittest.skipUnless(harness.ROOT, "needs root: gives up its privileges")
    def test_started_as_root(self):
        with puppet.Destination() as destination, self.caronte(destination) as daemon:
            self.run_one(daemon, destination, bounding=True)
            # One that was started again has none either.
            daemon.may_die = True
            before = set(daemon.processes())
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            harness.wait_until(lambda: len(set(daemon.processes()) - before) >= 3)
            self.run_one(daemon, destination, bounding=True)

    @unittest.skipUnless(harness.ROOT, "needs root: binds a low port")
    def test_low_port(self):
        with puppet.Destination() as destination, \
                self.caronte(destination, LISTEN_PORT=low_port()) as daemon:
            self.run_one(daemon, destination, bounding=True)

    def started_by(self, daemon, *prefix, **how):
        launch = daemon.launch
        daemon.launch = lambda argv: launch([*prefix, *argv], **how)
        return daemon

    def skip_unless_readable(self):
        """Somebody else must be able to run the program that is tested."""
        if not harness.ROOT:
            return
        if subprocess.run(["test", "-x", harness.CARONTE], **self.nobody()).returncode:
            self.skipTest("an ordinary user cannot read %s" % harness.BUILD)

    def test_started_without_root(self):
        """USER is then of no account."""
        self.skip_unless_readable()
        how = self.nobody() if harness.ROOT else {}
        with puppet.Destination() as destination:
            daemon = self.started_by(self.caronte(destination, USER="root"), **how)
            with daemon:
                self.run_one(daemon, destination, bounding=False)

    @unittest.skipUnless(harness.ROOT and shutil.which("setpriv"), "needs root and setpriv")
    def test_started_with_one_capability(self):
        """As a service manager does that gives a user the right to bind low ports."""
        self.skip_unless_readable()
        user = self.nobody()
        prefix = ["setpriv", "--reuid", str(user["user"]), "--regid", str(user["group"]),
                  "--clear-groups", "--inh-caps", "+net_bind_service",
                  "--ambient-caps", "+net_bind_service"]
        if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("setpriv cannot give ambient capabilities here")
        with puppet.Destination() as destination:
            daemon = self.started_by(self.caronte(destination, LISTEN_PORT=low_port()), *prefix)
            with daemon:
                self.run_one(daemon, destination, bounding=False)


class Deaths(Base):
    def test_worker(self):
        """It is started again, its seats are free, and the log says how many were lost."""
        with puppet.Destination() as destination, self.caronte(
                destination, MAX_SESSIONS_PER_ADDRESS=3) as daemon:
            daemon.may_die = True
            for turn in 1, 2:
                with case(turn), contextlib.ExitStack() as stack:
                    sessions = [stack.enter_context(puppet.Session(daemon.port, destination))
                                for _ in range(3)]
                    with puppet.client(daemon.port) as one_more:
                        self.assertEqual(one_more.reply(), b"421 4.7.0 Server BUSY\r\n")
                    workers = daemon.workers()
                    for pid in workers:
                        os.kill(pid, signal.SIGKILL)
                    for s in sessions:
                        self.assertIn(s.client.rest(), (b"", puppet.RESET))
                        self.assertIn(s.server.rest(), (b"", puppet.RESET))
                died = daemon.records("fault", count=2 * turn, what="worker-died")
                self.assertEqual(sum(int(r.get("detail").split(", ")[1].split()[0])
                                     for r in died), 3 * turn)
                self.assertEqual({r.get("detail").split(",")[0] for r in died},
                                 {"worker 0: signal 9", "worker 1: signal 9"})
                harness.wait_until(lambda: len(set(daemon.workers()) - set(workers)) == 2)
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    stack.enter_context(puppet.Session(daemon.port, destination))
                with puppet.client(daemon.port) as one_more:
                    self.assertEqual(one_more.reply(), b"421 4.7.0 Server BUSY\r\n")

    def test_one_worker_leaves_the_other_alone(self):
        with puppet.Destination() as destination, self.caronte(
                destination, MAX_SESSIONS_PER_ADDRESS=0) as daemon, contextlib.ExitStack() as stack:
            daemon.may_die = True
            sessions = [stack.enter_context(puppet.Session(daemon.port, destination))
                        for _ in range(30)]
            victim, other = daemon.workers()
            os.kill(victim, signal.SIGKILL)
            record, = daemon.records("fault", count=1, what="worker-died")
            lost = int(record.get("detail").split(", ")[1].split()[0])
            alive = harness.wait_until(lambda: (
                found := [s for s in sessions if s.client.silent()],
                len(found) == len(sessions) - lost)[1] and found)
            self.assertGreater(len(alive), 0)
            for s in alive:
                s.message()
                s.quit()
            self.assertIn(other, daemon.workers())

    def test_log_writer(self):
        """Records wait in the rings for the next one. What it was writing may be lost, no more."""
        kills, each = 5, 20
        with puppet.Destination() as destination, self.caronte(
                destination, MAX_SESSIONS_PER_ADDRESS=0, LOG_LEVEL=1) as daemon:
            for _ in range(kills):
                for _ in range(each // 2):
                    self.serves(daemon, destination)
                writer = daemon.writer()
                os.kill(writer, signal.SIGKILL)
                for _ in range(each // 2):
                    self.serves(daemon, destination)
                harness.wait_until(lambda: [pid for pid, name in daemon.processes().items()
                                            if name == "caronte-log" and pid != writer])
                daemon.validate_log()
            daemon.stop()
            self.assertEqual(len(daemon.records("fault", what="log-writer-died")), kills)
            names = [r.get("session") for r in daemon.records("session")]
            self.assertGreaterEqual(len(set(names)), kills * (each - 1))
            self.assertEqual(len(daemon.records("stop")), 1)

    def test_master_without_sessions(self):
        with puppet.Destination() as destination, self.caronte(
                destination, STOP_GRACE=harness.FAR_S) as daemon:
            self.serves(daemon, destination)
            children = daemon.reap_master()
            harness.wait_until(lambda: all(map(harness.is_gone, children)))
            daemon.validate_log()
            self.assertEqual(len(daemon.records("session")), 1)
            with self.assertRaises(ConnectionRefusedError):
                puppet.client(daemon.port)

    def test_master_with_sessions(self):
        """They may go on for STOP_GRACE, as after TERM, and are told then."""
        with puppet.Destination() as destination, self.caronte(
                destination, STOP_GRACE=6) as daemon, \
                puppet.Session(daemon.port, destination) as idle, \
                puppet.Session(daemon.port, destination) as busy:
            children = daemon.reap_master()
            self.assertEqual(len(daemon.records("fault", count=2, what="master-died")), 2)
            for _ in range(4):  # each worker has a queue of its own
                with self.assertRaises(ConnectionRefusedError):
                    puppet.client(daemon.port)
            busy.message()
            busy.quit()
            self.assertEqual(idle.client.reply()[:9], b"421 4.3.2")
            self.assertEqual(idle.client.rest(), b"")
            idle.client.close()
            harness.wait_until(lambda: all(map(harness.is_gone, children)))
            daemon.validate_log()
            ends = sorted(r.get("end") for r in daemon.records("session"))
            self.assertEqual(ends, ["quit", "stop"])
            # What was bound is free: it can be started again, and goes on with the log.
            daemon.wants_port = False
            daemon.start()
            self.serves(daemon, destination)
            daemon.stop()
            self.assertEqual(len(daemon.records("start")), 2)
            self.assertEqual(len(daemon.records("session")), 3)


class Stops(Base):
    def test_a_client_that_stays_does_not_hold_it_up(self):
        with puppet.Destination() as destination, self.caronte(
                destination, STOP_GRACE=0) as daemon, \
                puppet.Session(daemon.port, destination) as s:
            self.assertEqual(daemon.stop(), 0)
            self.assertEqual(s.client.reply()[:9], b"421 4.3.2")
            self.assertEqual(s.client.rest(), b"")
            self.assertEqual(daemon.record("session").get("end"), "stop")
            self.assertEqual(len(daemon.records("stop")), 1)

    def test_interrupted_it_ends_at_once(self):
        with puppet.Destination() as destination, self.caronte(
                destination, STOP_GRACE=harness.FAR_S) as daemon, contextlib.ExitStack() as stack:
            sessions = [stack.enter_context(puppet.Session(daemon.port, destination, until))
                        for until in puppet.Session.STEPS]
            began = time.monotonic()
            self.assertEqual(daemon.stop(signal.SIGINT), 0)
            self.assertLess(time.monotonic() - began, harness.SOON_S)
            for s in sessions:
                self.assertIn(s.server.rest(), (b"", puppet.RESET))
            self.assertEqual({r.get("end") for r in daemon.records("session")}, {"stop"})
            self.assertEqual(len(daemon.records("session")), len(sessions))


class Unread(harness.Caronte):
    """Its standard error is a pipe, or such a socket as a journal has, that nobody reads once it is
    ready."""

    def __init__(self, destination, kind, **settings):
        super().__init__(destination, **settings)
        self.kind = kind

    def launch(self, argv, **how):
        self.ends = socket.socketpair() if self.kind == "socket" else \
            [open(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb"))]
        self.process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.ends[1],
                                        cwd=self.dir)
        self.ends[1].close()
        harness.TestCase.running.addCleanup(self.ends[0].close)

    def wait_ready(self, lines=1):
        said = b""
        while b": ready, listening on " not in said \
                and (more := os.read(self.ends[0].fileno(), 999)):
            said += more
        return bool(said)

    def stderr(self):
        os.set_blocking(self.ends[0].fileno(), False)
        said = b""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self.ends[0].fileno(), 65536):
                said += more
        return said.decode()


class StandardError(Base):
    def test_that_nobody_reads(self):
        """It is full, and the master goes on: it restarts, reloads and stops."""
        for kind, times in ("pipe", 8), ("socket", 24):
            with self.subTest(kind), puppet.Destination() as destination, \
                    Unread(destination, kind, engine=self.engine, dialog=self.dialog) as daemon:
                daemon.may_die = True
                good = daemon.conf.read_text()
                daemon.conf.write_text("".join("CONFIG_NONE_%d=y\n" % n for n in range(500)))
                for refused in range(times):
                    os.kill(daemon.pid, signal.SIGHUP)
                    daemon.records("fault", count=refused + 1, what="configuration")
                workers = set(daemon.workers())
                os.kill(min(workers), signal.SIGKILL)
                harness.wait_until(lambda: set(daemon.workers()) - workers)
                daemon.conf.write_text(good)
                os.kill(daemon.pid, signal.SIGHUP)
                daemon.records("reload", count=1)
                self.serves(daemon, destination)
                began = time.monotonic()
                self.assertEqual(daemon.stop(), 0)
                self.assertLess(time.monotonic() - began, harness.SOON_S)
                said = daemon.stderr()
                self.assertGreater(len(said), 30000)
                self.assertTrue(said.endswith("\n"))
                self.assertIn("caronte: SIGHUP: refused, nothing has changed\n", said)


if __name__ == "__main__":
    unittest.main()
