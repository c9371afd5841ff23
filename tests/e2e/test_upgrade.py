# SPDX-License-Identifier: ISC
"""USR2: another program takes the place of the running one, and nobody notices."""
import contextlib
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time
import unittest
import unittest.mock
import xml.etree.ElementTree

import harness
import puppet
import test_reload
import tls


class Copy(harness.Caronte):
    """A daemon with a program file of its own, which can be replaced."""

    called = None  # its name on the command line, where it is another

    @property
    def program(self):
        return self.dir / "caronte"

    def launch(self, argv, **how):
        if not self.program.exists():
            shutil.copy(argv[0], self.program)
        super().launch([self.called or self.program, *argv[1:]], **how)

    def replace(self, octets, mode=0o755):
        """Puts another file at the program's name, as an installation does."""
        new = self.program.with_name("caronte.new")
        new.write_bytes(octets)
        new.chmod(mode)
        new.rename(self.program)


def copy(case, destination=None, **settings):
    return Copy(destination, **{"engine": case.engine, "dialog": case.dialog, **settings})


class Base(test_reload.Base):
    copy = copy

    def upgraded(self, daemon):
        return len(daemon.records("reload", changed="program"))

    def upgrade(self, daemon):
        """Whether it was done."""
        before, faults = self.upgraded(daemon), self.refused(daemon)
        os.kill(daemon.pid, signal.SIGUSR2)
        harness.wait_until(lambda: self.upgraded(daemon) > before or self.refused(daemon) > faults)
        return self.upgraded(daemon) > before

    def deliver(self, daemon):
        with harness.Client(daemon.port) as client:
            client.hello()
            self.assertEqual(client.send_message(b"hello\r\n")[:3], b"250")
            client.quit()

    def assert_refused(self, daemon, because):
        children = set(daemon.workers())
        self.assertFalse(self.upgrade(daemon))
        self.assertIn(because, daemon.records("fault", what="configuration")[-1].get("detail"))
        self.assertEqual(set(daemon.workers()), children)
        self.deliver(daemon)


class Tls(Base):
    each_engine = False
    dialogs = ("sniff",)

    def change(self, daemon, by):
        """A reload, or an upgrade."""
        if by == "reload":
            daemon.configure(MAX_ERRORS=daemon.settings.get("MAX_ERRORS", 20) + 1)
            done = len(daemon.records("reload"))
            daemon.process.send_signal(signal.SIGHUP)
            daemon.records("reload", count=done + 1)
        else:
            daemon.replace(daemon.program.read_bytes())
            self.assertTrue(self.upgrade(daemon))

    def test_reload_and_upgrade_keep_tickets_and_sessions(self):
        """Any program and any version know the keys of tickets that those before gave away, and
        who has begun with one of them goes on, in the middle of a message too."""
        chain, key = tls.make_pair(pathlib.Path(self.new_dir("tls")))
        harness.give_to_user(key)  # an upgrade is not root any more
        how = tls.context(ssl.TLSVersion.TLSv1_2)
        session = None
        with harness.Sink(maildir=True) as sink, self.copy(
                sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key), STOP_GRACE=60) as daemon, \
                tls.Secure(daemon.port) as kept:
            kept.secured()
            kept.envelope()
            kept.command("DATA", 354)
            for by in None, "reload", "upgrade", "reload", "upgrade":
                if by:
                    self.change(daemon, by)
                kept.send(b"%a\r\n" % by)
                with puppet.case(by), tls.Secure(daemon.port) as client:
                    client.hello()
                    client.begin_tls(how, session=session)
                    client.hello_again()
                    self.assertEqual(client.tls.session_reused, by is not None)
                    session = session or client.tls.session
                    client.quit()
            kept.send(b".\r\n")
            self.assertEqual(kept.reply()[:3], b"250")
            kept.quit()
            self.assertEqual(sink.mails(), [b"None\r\n" + b"'reload'\r\n'upgrade'\r\n" * 2])


class Upgrade(Base):
    def test_takes_over(self):
        with harness.Sink() as sink, self.copy(sink) as daemon:
            old = set(daemon.workers())
            program = daemon.program.stat().st_ino
            with harness.Client(daemon.port) as kept:
                kept.hello()
                kept.envelope()
                daemon.replace(daemon.program.read_bytes())
                self.assertTrue(self.upgrade(daemon))
                # The same process, another file, other workers; the session goes on.
                if harness.ROOT:
                    self.assertNotEqual(os.stat("/proc/%d/exe" % daemon.pid).st_ino, program)
                self.assertEqual(pathlib.Path("/proc/%d/comm" % daemon.pid).read_text(),
                                 "caronte\n")
                self.deliver(daemon)
                harness.wait_until(lambda: len(old & set(daemon.workers())) <= 1)
                self.assertEqual(len(old & set(daemon.workers())), 1)
                kept.command("DATA", 354)
                kept.send(b"through it all\r\n.\r\n")
                self.assertEqual(kept.reply()[:3], b"250")
                kept.quit()
            harness.wait_until(lambda: not old & set(daemon.workers()))
            self.assertEqual(len(daemon.workers()), 2)
            self.assertEqual(len(daemon.records("start")), 1)
            self.assertEqual(sink.report()["messages"], 2)

    def test_by_its_symbolic_link(self):
        """What the name leads to at the time, whether it was given in full or found in PATH."""
        harness.only_root_sees()
        for in_path in False, True:
            with self.subTest(in_path=in_path), harness.Sink() as sink:
                daemon = self.copy(sink)
                versions = [daemon.dir / ("caronte-%d" % i) for i in range(3)]
                for path in versions:
                    shutil.copy(harness.CARONTE, path)
                daemon.program.symlink_to(versions[0])
                if in_path:
                    daemon.called = "caronte"
                with unittest.mock.patch.dict(os.environ, PATH="%s:%s" % (
                        daemon.dir, os.environ["PATH"])), daemon:
                    for path in versions[1:]:
                        daemon.program.unlink()
                        daemon.program.symlink_to(path)
                        self.assertTrue(self.upgrade(daemon))
                        self.assertEqual(os.readlink("/proc/%d/exe" % daemon.pid), str(path))
                    self.deliver(daemon)

    def test_no_privilege_comes_back(self):
        with harness.Sink() as sink, self.copy(sink) as daemon:
            def facts(pid):
                lines = pathlib.Path("/proc/%d/status" % pid).read_text().splitlines()
                return [line for line in lines if line.split(":")[0] in (
                    "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
                    "NoNewPrivs", "SigIgn")]

            before = facts(daemon.pid)
            owner = os.stat("/proc/%d/fd" % daemon.pid).st_uid
            self.assertTrue(self.upgrade(daemon))
            self.assertEqual(facts(daemon.pid), before)
            # Root's: nobody of the user's other processes can look into it.
            self.assertEqual({owner, os.stat("/proc/%d/fd" % daemon.pid).st_uid}, {0})

    def test_bad_program(self):
        with harness.Sink() as sink, self.copy(sink) as daemon:
            good = daemon.program.read_bytes()
            daemon.replace(b"\x7fELF, but no program\n")
            self.assert_refused(daemon, "Exec format error")
            daemon.replace(pathlib.Path("/bin/false").read_bytes())
            self.assert_refused(daemon, "status 1")
            daemon.replace(pathlib.Path("/bin/true").read_bytes())
            self.assert_refused(daemon, "is no program that can take over")
            daemon.replace(good, mode=stat.S_IRUSR)
            self.assert_refused(daemon, "Permission denied")
            daemon.program.unlink()
            self.assert_refused(daemon, "No such file")
            daemon.replace(good.replace(b"caronte-state ", b"caronte-other "))
            self.assert_refused(daemon, "another layout")
            daemon.replace(good)
            self.assertTrue(self.upgrade(daemon))

    def test_bad_configuration(self):
        with harness.Sink() as sink, self.copy(sink) as daemon:
            daemon.configure(TIMEOUT_REPLY=0)
            self.assert_refused(daemon, "TIMEOUT_REPLY")
            daemon.configure(TIMEOUT_REPLY=10, WORKERS=1)
            self.assert_refused(daemon, "needs a restart")
            # What a reload may change, an upgrade may too.
            daemon.configure(WORKERS=2, RECIPIENTS=["@new.test"])
            self.assertTrue(self.upgrade(daemon))
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")

    @unittest.skipUnless(harness.ROOT, "another user's limits are nobody's to lower")
    def test_the_limits_of_its_start(self):
        """A program that wants more open files for copies than the one before serves without them;
        one that finds no memory for rings says so."""
        with harness.Sink() as sink, self.copy(sink, engine="auto") as daemon:
            said = subprocess.run([daemon.program, "-t", "-c", daemon.conf], text=True,
                                  stderr=subprocess.PIPE, preexec_fn=lambda: (
                                      resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
                                      os.setuid(pwd.getpwnam("nobody").pw_uid))).stderr
            need = int(re.search(r"sessions need (\d+) open files", said)[1])
            subprocess.run(["prlimit", "--pid", str(daemon.pid), "--nofile=%d" % (need - 64),
                            "--memlock=4096"], check=True, user="nobody", extra_groups=[],
                           group=pwd.getpwnam("nobody").pw_gid)
            self.assertTrue(self.upgrade(daemon), daemon.stderr())
            self.deliver(daemon)
            rings = any("io_uring" in each for pid in daemon.workers()
                        for each in test_reload.open_files(pid))
            said = daemon.records("fault", what="engine")
            self.assertEqual([] if rings else ["epoll is used"],
                             [record.get("detail").split(",")[0] for record in said])

    @unittest.skipIf(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 20000,
                     "RLIMIT_NOFILE is less than this test's")
    def test_as_many_sessions_as_the_limit_carries(self):
        """MAX_SESSIONS is not set, and nobody may raise RLIMIT_NOFILE: the number is made smaller,
        said at the start, and the same to a reload and to an upgrade, whatever these find."""
        def become():
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 20000))
            if harness.ROOT:
                os.setgroups([])
                os.setuid(pwd.getpwnam("nobody").pw_uid)
        with harness.Sink() as sink:
            daemon = self.copy(sink, engine="auto", MAX_SESSIONS=None,
                               LISTEN_PORT=harness.free_port())
            daemon.configure()
            for each in daemon.dir, daemon.conf:
                harness.give_to_user(each)
            daemon.launch([harness.CARONTE, "-c", daemon.conf], preexec_fn=become)
            self.assertTrue(daemon.wait_ready(), daemon.stderr())
            said = re.search(r"MAX_SESSIONS is (\d+) and not 10000: RLIMIT_NOFILE", daemon.stderr())
            self.assertTrue(8000 < int(said[1]) < 9000, said)
            self.deliver(daemon)
            self.assertTrue(self.reload(daemon), daemon.stderr())
            self.assertTrue(self.upgrade(daemon), daemon.stderr())
            subprocess.run(["prlimit", "--pid", str(daemon.pid), "--nofile=19950"], check=True,
                           **({"user": "nobody", "extra_groups": []} if harness.ROOT else {}))
            self.assertTrue(self.reload(daemon), daemon.stderr())
            self.assertTrue(self.upgrade(daemon), daemon.stderr())
            self.deliver(daemon)
            daemon.configure(MAX_SESSIONS=int(said[1]))
            self.assertTrue(self.reload(daemon), daemon.stderr())
            daemon.configure(MAX_SESSIONS=int(said[1]) - 1)
            self.assert_refused(daemon, "MAX_SESSIONS: needs a restart")
            self.assertEqual(daemon.stop(), 0)

    def signal_all(self, pids, sig):
        """Those that the first ones' signals have ended are gone."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)

    def test_all_processes_are_signalled(self):
        """As pkill does. What the master refuses no worker does on its own."""
        with harness.Sink() as sink, self.copy(sink) as daemon, contextlib.ExitStack() as stack:
            daemon.may_die = True  # the log writer makes room for another one
            daemon.configure(TIMEOUT_REPLY=0)
            stay = [stack.enter_context(harness.Client(daemon.port)) for _ in range(8)]
            for client in stay:
                client.hello()
            for sig in signal.SIGUSR2, signal.SIGTERM, signal.SIGINT:
                self.signal_all(daemon.workers(), sig)
            self.signal_all((daemon.pid, *daemon.processes()), signal.SIGUSR2)
            daemon.record("fault", what="configuration")
            for _ in range(12):
                self.deliver(daemon)
            for client in stay:
                client.command("NOOP", 250)
                client.quit()
            daemon.configure(TIMEOUT_REPLY=10)
            self.assertTrue(self.upgrade(daemon))
            self.signal_all((daemon.pid, *daemon.workers()), signal.SIGTERM)
            self.assertEqual(daemon.process.wait(harness.PATIENCE_S), 0)

    def test_reload_after_it(self):
        with harness.Sink() as sink, self.copy(sink) as daemon:
            self.assertTrue(self.upgrade(daemon))
            self.assertTrue(self.reload(daemon, RECIPIENTS=["@new.test"]))
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")
            self.assertTrue(self.upgrade(daemon))
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")

    def has_heard(self, pid):
        """Whether a worker has taken the signal that it is to stop accepting."""
        with contextlib.suppress(OSError):
            pending = re.search(r"^ShdPnd:\s*(\w+)", pathlib.Path(
                "/proc/%d/status" % pid).read_text(), re.M)[1]
            return not int(pending, 16) >> (signal.SIGUSR2 - 1) & 1
        return True  # and has ended

    def other_layout(self, program):
        """… of the seats: also where the compiler has made a number of the end of the name."""
        return re.sub(rb"(yout )\d(\0\0)", rb"\1x\2", program)

    def assert_tables(self, daemon, change):
        harness.only_root_sees()
        maps = pathlib.Path("/proc/%d/maps" % daemon.pid).read_text()
        self.assertEqual(len(set(re.findall(r"(\d+) +/memfd:caronte-seats", maps))),
                         2 if change == self.other_layout else 1)

    def limits_count_both(self, change):
        """Sessions of old and new workers together: in all, of an address, at a destination."""
        with harness.Sink() as sink:
            # (By the greetings it is seen who has a place: the seats know no dialog.)
            with self.copy("127.0.0.1:%d,max=3" % sink.port, dialog="sniff", MAX_SESSIONS=5,
                           TIMEOUT_CONNECT=1, MAX_SESSIONS_PER_ADDRESS=4) as daemon:
                held = []

                def connect(expect):
                    client = harness.Client(daemon.port)
                    self.assertEqual(client.reply()[:9], expect)
                    held.append(client)

                connect(b"220 sink.")
                connect(b"220 sink.")
                old = daemon.workers()
                daemon.replace(change(daemon.program.read_bytes()))
                self.assertTrue(self.upgrade(daemon))
                self.assert_tables(daemon, change)
                harness.wait_until(lambda: all(map(self.has_heard, old)))
                connect(b"220 sink.")
                connect(b"421 4.3.2")  # max=3 at the destination
                for client in held[3:]:
                    client.close()
                self.assertTrue(self.reload(daemon, DESTINATIONS="127.0.0.1:%d" % sink.port))
                connect(b"220 sink.")
                connect(b"421 4.7.0")  # of one address
                self.assertTrue(self.reload(daemon, MAX_SESSIONS_PER_ADDRESS=0))
                connect(b"220 sink.")
                connect(b"421 4.3.2")  # in all
                for client in held[:2]:
                    client.quit()
                harness.wait_until(lambda: len(daemon.workers()) == 2)
                connect(b"220 sink.")
                connect(b"220 sink.")
                connect(b"421 4.3.2")
                for client in held:
                    client.close()

    def test_limits_count_both(self):
        self.limits_count_both(lambda program: program)

    def test_limits_count_both_tables(self):
        self.limits_count_both(self.other_layout)

    def killed_worker(self, destination, change, before):
        """What it had at a destination with a max= is free when that must have seen its end, be it
        killed BEFORE the upgrade or after it."""
        with self.copy("127.0.0.1:%d,max=1" % destination.port, dialog="sniff", WORKERS=1,
                       TIMEOUT_CONNECT=9) as daemon, \
                harness.Client(daemon.port), destination.accept():
            daemon.may_die = True
            worker, = daemon.workers()
            daemon.replace(change(daemon.program.read_bytes()))
            if not before:
                self.assertTrue(self.upgrade(daemon))
            killed = time.monotonic()
            os.kill(worker, signal.SIGKILL)
            if before:
                daemon.record("fault", what="worker-died")
                self.assertTrue(self.upgrade(daemon))
            self.assert_tables(daemon, change)
            with harness.Client(daemon.port), destination.accept():
                self.assertGreaterEqual(time.monotonic() - killed, 1.99)

    def test_killed_worker(self):
        for change in (lambda program: program), self.other_layout:
            for before in True, False:
                with puppet.case(change, before), \
                        puppet.Destination(by_hand=True) as destination:
                    self.killed_worker(destination, change, before)

    def test_status_and_drained_destinations(self):
        """What the operator has said of a destination outlives reload and upgrade, and the socket
        follows its setting."""
        with harness.Sink() as one, harness.Sink() as two:
            names = ["127.0.0.1:%d" % sink.port for sink in (one, two)]
            paths = [self.new_dir("run") / "control" for _ in range(2)]
            for path in paths:
                harness.give_to_user(path.parent)
            with self.copy(" ".join(names), COOPERATION_BACKUP=True,
                           CONTROL_SOCKET=str(paths[0])) as daemon:
                def drained(path):
                    status = test_reload.ask_status(path)
                    return [each["name"] for each in status["destinations"] if each["drained"]]

                test_reload.ask(paths[0], b"drain " + names[0].encode())
                self.assertEqual(drained(paths[0]), names[:1])
                self.assertTrue(self.reload(daemon, DESTINATIONS=" ".join(reversed(names)),
                                            CONTROL_SOCKET=str(paths[1])))
                self.assertEqual(drained(paths[1]), names[:1])
                self.assertFalse(paths[0].exists())
                self.assertTrue(self.upgrade(daemon))
                self.assertEqual(drained(paths[1]), names[:1])
                there = set(daemon.workers())  # idle ones of before may be ending
                workers = test_reload.ask_status(paths[1])["workers"]
                self.assertLessEqual({each["pid"] for each in workers if each["pid"]}, there)
                self.assertTrue(self.reload(daemon, CONTROL_SOCKET=None))
                self.assertFalse(paths[1].exists())
                # One that cannot be made is refused, and with it everything else.
                self.assertFalse(self.reload(daemon, CONTROL_SOCKET=str(self.dir / "no/control"),
                                             RECIPIENTS=["@new.test"]))
                self.deliver(daemon)

    def test_what_checks_have_found(self):
        """Is said when it begins, and not anew."""
        with harness.Sink("--greeting", "554 no") as sink, \
                self.copy(sink, CHECK_SMTP=True, CHECK_INTERVAL=1) as daemon:
            daemon.records("destination", count=1)
            self.assertTrue(self.upgrade(daemon))
            before = sink.report()["connections"]
            harness.wait_until(lambda: sink.report()["connections"] >= before + 5)
            self.assertEqual([each.get("why") for each in daemon.records("destination")],
                             ["check: 554 no; mail still goes there"])

    def test_workers_are_called_the_same_everywhere(self):
        """In the log, in the status and by themselves, those of both programs."""
        path = self.new_dir("run") / "control"
        harness.give_to_user(path.parent)
        with harness.Sink() as sink, self.copy(sink, CONTROL_SOCKET=str(path)) as daemon:
            daemon.may_die = True
            with harness.Client(daemon.port) as kept:
                kept.hello()
                old = set(daemon.workers())
                self.assertTrue(self.upgrade(daemon))
                harness.wait_until(lambda: len(old & set(daemon.workers())) == 1)
                workers = {each["pid"]: each["worker"]
                           for each in test_reload.ask_status(path)["workers"] if each["pid"]}
                self.assertEqual({pid: "caronte-w%d" % number for pid, number in workers.items()},
                                 {pid: daemon.processes()[pid] for pid in daemon.workers()})
                for kills, pid in enumerate(workers, 1):
                    os.kill(pid, signal.SIGKILL)
                    died = daemon.records("fault", count=kills, what="worker-died")[-1]
                    self.assertEqual(died.get("detail").split(":")[0], "worker %d" % workers[pid])

    def test_status_socket_follows_its_setting(self):
        with harness.Sink() as sink:
            paths = [self.new_dir("run") / "control" for _ in range(2)]
            for path in paths:
                harness.give_to_user(path.parent)
            metrics = "127.0.0.1:%d" % harness.free_port()
            with self.copy(sink, CONTROL_SOCKET=str(paths[0])) as daemon:
                daemon.configure(CONTROL_SOCKET=str(paths[1]), METRICS_ADDRESS=metrics)
                self.assertTrue(self.upgrade(daemon))
                self.assertFalse(paths[0].exists())
                self.assertEqual(test_reload.ask_status(paths[1])["pid"], daemon.pid)
                socket.create_connection(("127.0.0.1", int(metrics.split(":")[1]))).close()
                # What cannot be had is said, and mail goes on.
                with socket.create_server(("127.0.0.1", 0)) as other:
                    daemon.configure(CONTROL_SOCKET=None,
                                     METRICS_ADDRESS="127.0.0.1:%d" % other.getsockname()[1])
                    self.assertTrue(self.upgrade(daemon))
                    self.assertIn("METRICS_ADDRESS",
                                  daemon.record("fault", what="status").get("detail"))
                self.assertFalse(paths[1].exists())
                self.deliver(daemon)
                self.assertTrue(self.reload(daemon, METRICS_ADDRESS=metrics))
                socket.create_connection(("127.0.0.1", int(metrics.split(":")[1]))).close()

    def test_destinations_that_were_renamed(self):
        """Names that nobody uses any more stand in nobody's way."""
        with harness.Sink() as sink, self.copy(sink) as daemon:
            def others(n):
                return " ".join("127.9.%d.%d:%d" % (n, i, sink.port) for i in range(64))
            for n in range(3):
                self.assertTrue(self.reload(daemon, COOPERATION_CLUSTER=True,
                                            DESTINATIONS=others(n)))
            daemon.configure(DESTINATIONS=others(3))
            self.assertTrue(self.upgrade(daemon))
            self.assertTrue(self.reload(daemon, DESTINATIONS="127.0.0.1:%d" % sink.port))
            self.deliver(daemon)

    @staticmethod
    def stopped(pid):
        """Stops a process, unless it was faster and has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            harness.wait_until(lambda: harness.state_of(pid) in "TXZ")
        return harness.state_of(pid) == "T"

    def stop_in_check(self, daemon):
        """USR2; the pid of the process that checks, stopped behind its reading of the
        configuration. Where it was faster than we are, again."""
        for _ in range(20):
            before = self.upgraded(daemon)
            os.kill(daemon.pid, signal.SIGUSR2)
            while self.upgraded(daemon) == before:
                until = time.monotonic() + 0.2
                while time.monotonic() < until:
                    for pid in harness.child_pids(daemon.pid):
                        # (It has a child itself once the configuration is read.)
                        if harness.child_pids(pid) and self.stopped(pid):
                            return pid
            harness.wait_until(lambda: len(daemon.workers()) == 2)
        self.fail("nobody checks")

    def test_hup_meanwhile(self):
        """A HUP that comes while another program is checked is not forgotten."""
        table = ["u%d@table.test" % n for n in range(200000)]
        with harness.Sink() as sink, self.copy(sink, RECIPIENTS=table) as daemon:
            checks = self.stop_in_check(daemon)
            before = len(daemon.records("reload"))
            daemon.configure(RECIPIENTS=["@new.test"])
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.configure(MAX_ERRORS=7)
            os.kill(daemon.pid, signal.SIGUSR2)
            os.kill(checks, signal.SIGCONT)
            harness.wait_until(lambda: len(daemon.records("reload")) >= before + 3)
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")
            self.assertEqual([each.get("changed") == "program"
                              for each in daemon.records("reload")[before:]], [True, False, True])

    def test_generations_are_used_up(self):
        """Workers of many programs at the same time, all with a session: one upgrade too many
        changes nothing, and is done when there is room again."""
        with harness.Sink() as sink, \
                self.copy(sink, WORKERS=1, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            held = []
            for _ in range(15):
                held.append(harness.Client(daemon.port))
                held[-1].hello()
                old = daemon.workers()
                self.assertTrue(self.upgrade(daemon))
                harness.wait_until(lambda: all(map(self.has_heard, old)))
            held.append(harness.Client(daemon.port))
            held[-1].hello()
            self.assertEqual(len(daemon.workers()), 16)
            self.assert_refused(daemon, "workers of 15 earlier upgrades still have sessions")
            self.assertTrue(self.reload(daemon))
            first = set(daemon.workers())
            held.pop(7).quit()
            harness.wait_until(lambda: len(daemon.workers()) == 15)
            self.assertTrue(self.upgrade(daemon))
            self.deliver(daemon)
            for client in held:
                self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                client.quit()
            harness.wait_until(lambda: len(daemon.workers()) == 1)
            self.assertFalse(first & set(daemon.workers()))
            self.assertEqual(daemon.records("fault", what="worker-died"), [])

    def test_log_on_standard_output(self):
        """One document, whoever writes it."""
        with harness.Sink() as sink, self.copy(sink, LOG_FILE="-") as daemon:
            for n in range(3):
                self.deliver(daemon)
                os.kill(daemon.pid, signal.SIGUSR2)
                harness.wait_until(lambda: daemon.stderr().count("upgraded") == n + 1)
            self.deliver(daemon)
            daemon.stop()
            records = list(xml.etree.ElementTree.fromstring(daemon.stdout()))
            self.assertEqual([sum(r.tag == tag for r in records)
                              for tag in ("start", "reload", "message", "session", "stop")],
                             [1, 3, 4, 4, 1])

    def test_check_is_killed(self):
        table = ["u%d@table.test" % n for n in range(200000)]
        with harness.Sink() as sink, self.copy(sink, RECIPIENTS=["@local.test", *table]) as daemon:
            checks = self.stop_in_check(daemon)
            os.kill(checks, signal.SIGKILL)
            fault = daemon.record("fault", what="configuration")
            self.assertEqual(fault.get("detail"), "SIGUSR2: refused: caronte: %s: ended its check "
                             "with signal 9" % (daemon.dir / "caronte"))
            self.deliver(daemon)
            self.assertTrue(self.upgrade(daemon))

    def test_workers_do_not_start(self):
        """The old ones serve until others do; one that ends meanwhile is no fault."""
        with harness.Sink() as sink, self.copy(sink) as daemon:
            daemon.may_die = True
            with harness.Client(daemon.port) as kept:
                kept.hello()
                self.assertTrue(self.upgrade(daemon))
                first = set(daemon.workers())
                # Enough for the master, not for what a worker takes.
                size = re.search(r"VmSize:\s*(\d+)", pathlib.Path(
                    "/proc/%d/status" % daemon.pid).read_text())[1]
                limit = test_reload.set_limit(daemon.pid, "as", int(size) * 1024 + (64 << 20))
                os.kill(daemon.pid, signal.SIGUSR2)
                daemon.records("fault", count=3, what="worker-died")
                self.deliver(daemon)
                kept.quit()
                harness.wait_until(lambda: len(first & set(daemon.workers())) == 2)
                # Another program may come; the old ones are still there.
                test_reload.set_limit(daemon.pid, "as", limit)
                harness.wait_until(lambda: self.upgraded(daemon) == 2)
            harness.wait_until(lambda: not first & set(daemon.workers()))
            self.assertEqual({each.get("detail").split(": ")[1]
                              for each in daemon.records("fault", what="worker-died")},
                             {"exit status 71, 0 sessions lost"})
            self.deliver(daemon)

    def test_stop_ends_the_old_ones_too(self):
        with harness.Sink() as sink, self.copy(sink, STOP_GRACE=0) as daemon:
            with harness.Client(daemon.port) as kept:
                kept.hello()
                self.assertTrue(self.upgrade(daemon))
                os.kill(daemon.pid, signal.SIGTERM)
                self.assertEqual(kept.reply()[:9], b"421 4.3.2")

    def test_the_old_ones_keep_their_grace(self):
        """Longer than what the new ones have and a killer waits."""
        with harness.Sink() as sink, self.copy(sink, STOP_GRACE=7) as daemon:
            with harness.Client(daemon.port) as kept:
                kept.hello()
                daemon.configure(STOP_GRACE=0)
                self.assertTrue(self.upgrade(daemon))
                os.kill(daemon.pid, signal.SIGTERM)
                self.assertEqual(kept.reply()[:9], b"421 4.3.2")
            daemon.process.wait()
            self.assertEqual(daemon.records("fault"), [])

    def test_many_under_load(self):
        rounds = 10 if harness.LONG else 3
        with harness.Sink() as sink, \
                self.copy(sink, LOG_LEVEL=1, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            self.assertTrue(self.upgrade(daemon))
            self.deliver(daemon)
            harness.wait_until(lambda: len(daemon.workers()) == 2)
            self.settle(daemon, sink)
            before = self.descriptors(daemon, sink)
            with harness.Client(daemon.port) as kept, test_reload.Traffic(daemon.port) as traffic:
                kept.hello()
                for _ in range(rounds):
                    daemon.replace(daemon.program.read_bytes())
                    self.assertTrue(self.upgrade(daemon))
                    self.assertTrue(self.reload(daemon))
                    self.assertEqual(kept.send_message(b"kept\r\n")[:3], b"250")
                kept.quit()
            self.assertEqual(traffic.faults, [])
            self.assertGreater(traffic.delivered, rounds)
            self.assertEqual(sink.report()["messages"], traffic.delivered + rounds + 1)
            harness.wait_until(lambda: len(daemon.workers()) == 2)
            self.settle(daemon, sink)
            harness.wait_until(lambda: self.descriptors(daemon, sink) == before)
            ended = daemon.records("session", count=traffic.delivered // 3 + 2)
            self.assertEqual({record.get("end") for record in ended}, {"quit"})
