# SPDX-License-Identifier: ISC
"""carontectl reload, upgrade and stop: they ask the running daemon, by CONTROL_SOCKET or PID_FILE,
wait, and say what became of it; and PID_FILE itself."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

import harness
import test_upgrade

# Locks the file for reading, and ends with its standard input.
LOCK = """
import fcntl, sys
with open(sys.argv[1]) as file:
    print("waiting", flush=True)
    fcntl.lockf(file, fcntl.LOCK_SH)
    print("locked", flush=True)
    sys.stdin.read()
"""


class Base(test_upgrade.Base):
    dialogs = ("sniff",)
    each_engine = False
    WAYS = "CONTROL_SOCKET", "PID_FILE"

    def directory(self):
        directory = self.new_dir("run")
        harness.give_to_user(directory)
        return directory

    def way(self, name):
        """The settings of a daemon that can be found in this way alone."""
        return {name: str(self.directory() / "caronte")}

    def ctl(self, what, daemon, *options, status=0):
        """What it says, on both streams."""
        done = subprocess.run([harness.CTL, what, "-c", daemon.conf, *map(str, options)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout


class Steer(Base):
    def test_reload(self):
        for way in self.WAYS:
            with self.subTest(way), harness.Sink() as sink, self.copy(
                    sink, RECIPIENTS=["@local.test"], **self.way(way)) as daemon:
                daemon.configure(RECIPIENTS=["@local.test", "@other.test"])
                self.assertEqual(self.ctl("reload", daemon), "reloaded, changed: RECIPIENTS\n")
                self.assertEqual(self.verdict(daemon.port, "a@other.test"), b"250")
                self.assertEqual(self.ctl("reload", daemon), "reloaded, nothing has changed\n")
                daemon.configure(MAX_ERRORS=0, DESTINATIONS="127.0.0.1")
                said = self.ctl("reload", daemon, status=1)
                for word in ("MAX_ERRORS: 0 is out of range",
                             "DESTINATIONS: \"127.0.0.1\": no port",
                             "the reload was refused, nothing has changed"):
                    self.assertIn(word, said)
                self.assertEqual(self.verdict(daemon.port, "a@other.test"), b"250")
                daemon.configure(MAX_ERRORS=20, DESTINATIONS="127.0.0.1:%d" % sink.port)
                self.assertEqual(self.ctl("reload", daemon), "reloaded, nothing has changed\n")

    def test_upgrade(self):
        for way in self.WAYS:
            with self.subTest(way), harness.Sink() as sink, self.copy(
                    sink, **self.way(way)) as daemon:
                pid, program = daemon.pid, daemon.program.read_bytes()
                for _ in range(2):
                    self.assertRegex(self.ctl("upgrade", daemon),
                                     r"^upgraded, this is version \S+\n$")
                self.assertEqual(daemon.pid, pid)
                daemon.replace(pathlib.Path("/bin/false").read_bytes())
                said = self.ctl("upgrade", daemon, status=1)
                self.assertIn("exit status 1", said)
                self.assertIn("the upgrade was refused, nothing has changed", said)
                daemon.replace(program)
                self.ctl("upgrade", daemon)
                self.assertIn("reloaded", self.ctl("reload", daemon))
                self.deliver(daemon)

    def test_stop(self):
        for way in self.WAYS:
            with self.subTest(way), harness.Sink() as sink, self.copy(
                    sink, STOP_GRACE=2, **self.way(way)) as daemon:
                with harness.Client(daemon.port) as stays, harness.Client(daemon.port) as goes:
                    stays.hello()
                    goes.hello()
                    stopping = subprocess.Popen([harness.CTL, "stop", "-c", daemon.conf], text=True,
                                                stdout=subprocess.PIPE)
                    harness.wait_until(lambda: harness.refuses(daemon.port))
                    goes.quit()
                    said = stopping.communicate(timeout=harness.PATIENCE_S)[0]
                    self.assertEqual(stopping.returncode, 0)
                    # (Whoever tried whether the port refuses may be one more.)
                    self.assertRegex(said, r"^stopped; sessions that ended by themselves: [1-9], "
                                     r"that were cut off: 1\n$")
                # When it returns, the daemon is no more.
                self.assertIsNotNone(daemon.process.poll())
                self.assertEqual(daemon.process.returncode, 0)

    def test_requests_while_one_is_under_way(self):
        """Each is told of a reload that began after it was asked for."""
        with harness.Sink() as sink, self.copy(sink, **self.way("CONTROL_SOCKET")) as daemon:
            running = [subprocess.Popen([harness.CTL, "reload", "-c", daemon.conf], text=True,
                                        stdout=subprocess.PIPE) for _ in range(6)]
            for each in running:
                self.assertIn("reloaded", each.communicate(timeout=harness.PATIENCE_S)[0])
                self.assertEqual(each.returncode, 0)

    def test_socket_that_moves(self):
        """Without the old one the daemon is not found; with it the new one is waited on."""
        with harness.Sink() as sink, self.copy(sink, **self.way("CONTROL_SOCKET")) as daemon:
            old = daemon.settings["CONTROL_SOCKET"]
            daemon.configure(**self.way("CONTROL_SOCKET"))
            self.assertIn("name the old one with -s", self.ctl("reload", daemon, status=69))
            self.assertIn("changed: CONTROL_SOCKET", self.ctl("reload", daemon, "-s", old))
            self.assertIn("nothing has changed", self.ctl("reload", daemon))

    def test_time_limit(self):
        with harness.Sink() as sink, self.copy(sink, STOP_GRACE=600,
                                               **self.way("CONTROL_SOCKET")) as daemon:
            with harness.frozen(*daemon.workers()):
                began = time.monotonic()
                said = self.ctl("reload", daemon, "-t", 1, status=75)
                self.assertLess(time.monotonic() - began, harness.SOON_S)
                self.assertIn("no result of the reload in 1 seconds", said)
            with harness.Client(daemon.port) as client:
                client.hello()
                said = self.ctl("stop", daemon, "--timeout", 1, status=75)
                self.assertIn("STOP_GRACE", said)
                # A second one waits for the same stop.
                with subprocess.Popen([harness.CTL, "stop", "-c", daemon.conf], text=True,
                                      stdout=subprocess.PIPE) as again:
                    harness.wait_until(lambda: self.knows_the_daemon(again.pid))
                    time.sleep(0.3)
                    client.quit()
                    self.assertIn("stopped; ", again.communicate(timeout=harness.PATIENCE_S)[0])

    @staticmethod
    def knows_the_daemon(pid):
        return any("pidfd" in os.readlink(fd.path) for fd in os.scandir("/proc/%d/fd" % pid))

    def test_nobody_is_there(self):
        with harness.Sink() as sink, self.copy(sink) as daemon:
            said = self.ctl("reload", daemon, status=78)
            self.assertIn("CONTROL_SOCKET", said)
            self.assertIn("PID_FILE", said)
        for way, word in (("CONTROL_SOCKET", "no daemon listens there"),
                          ("PID_FILE", "no daemon runs with this PID_FILE")):
            with harness.Sink() as sink, self.copy(sink, **self.way(way)) as daemon:
                self.ctl("stop", daemon)
                for what in "reload", "upgrade", "stop":
                    self.assertIn(word, self.ctl(what, daemon, status=69))

    def test_daemon_that_dies(self):
        with harness.Sink() as sink, self.copy(sink, STOP_GRACE=600,
                                               **self.way("PID_FILE")) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                with subprocess.Popen([harness.CTL, "stop", "-c", daemon.conf], text=True,
                                      stdout=subprocess.PIPE) as stopping:
                    harness.wait_until(lambda: harness.refuses(daemon.port))
                    daemon.kill()
                    said = stopping.communicate(timeout=harness.PATIENCE_S)[0]
                    self.assertIn("is not known", said)
            # What it left behind is seen for what it is.
            self.assertIn("a dead one left it", self.ctl("reload", daemon, status=69))

    @harness.unittest.skipUnless(os.geteuid() == 0, "to be somebody else")
    def test_who_may(self):
        program = self.new_dir("open")
        os.chmod(program, 0o755)
        ctl = pathlib.Path(shutil.copy(harness.CTL, program))
        for way, word in (("CONTROL_SOCKET", "Permission denied"),
                          ("PID_FILE", "only that user and root may signal it")):
            with harness.Sink() as sink, self.copy(sink, **self.way(way)) as daemon:
                os.chmod(pathlib.Path(daemon.settings[way]).parent, 0o755)
                done = subprocess.run([ctl, "stop", "-c", "/dev/null", "-o",
                                       "%s=%s" % (way, daemon.settings[way])], text=True,
                                      stderr=subprocess.PIPE, timeout=60, user=64123, group=64123,
                                      extra_groups=[])
                self.assertEqual((done.returncode, word in done.stderr), (77, True), done.stderr)
                self.deliver(daemon)


class PidFile(Base):
    def text(self, daemon):
        return pathlib.Path(daemon.settings["PID_FILE"]).read_text()

    def test_it_is_there_as_long_as_the_daemon_is(self):
        with harness.Sink() as sink, self.copy(sink, **self.way("PID_FILE")) as daemon:
            path = pathlib.Path(daemon.settings["PID_FILE"])
            self.assertEqual(self.text(daemon), "%d\n" % daemon.pid)
            status = path.stat()
            self.assertEqual(status.st_mode & 0o7777, 0o644)
            if os.geteuid() == 0:
                self.assertNotEqual(status.st_uid, 0)
            self.assertTrue(self.upgrade(daemon))
            self.assertEqual(self.text(daemon), "%d\n" % daemon.pid)
            self.assertTrue(self.reload(daemon))
            self.assertEqual(self.text(daemon), "%d\n" % daemon.pid)
            # Checking a configuration of a daemon that runs is good.
            harness.run_caronte("-c", daemon.conf, "-t", check=True)
            daemon.stop()
            self.assertFalse(path.exists())
            self.assertEqual([each.name for each in path.parent.iterdir()], ["caronte.result"])

    def test_it_follows_its_setting(self):
        with harness.Sink() as sink, self.copy(sink, **self.way("PID_FILE")) as daemon:
            paths = [pathlib.Path(daemon.settings["PID_FILE"])]
            for how in self.reload, self.upgrade:
                daemon.configure(**self.way("PID_FILE"))
                self.assertTrue(how(daemon))
                paths.append(pathlib.Path(daemon.settings["PID_FILE"]))
                self.assertEqual(self.text(daemon), "%d\n" % daemon.pid)
                self.assertFalse(paths[-2].exists())
                self.assertIn("reloaded", self.ctl("reload", daemon))
            daemon.configure(PID_FILE=None)
            self.assertTrue(self.reload(daemon))
            self.assertFalse(paths[-1].exists())

    def test_of_a_dead_and_of_a_running_daemon(self):
        with harness.Sink() as sink, self.copy(sink, **self.way("PID_FILE")) as daemon:
            path = daemon.settings["PID_FILE"]
            other = self.copy(sink, PID_FILE=path)
            with self.assertRaisesRegex(AssertionError, "PID_FILE: %s: a daemon that runs has it, "
                                        "process %d" % (path, daemon.pid)):
                other.start()
            self.assertEqual(other.process.returncode, 78)
            self.assertEqual(self.text(daemon), "%d\n" % daemon.pid)
            other.clean_up()
            daemon.kill()
            self.assertEqual(self.text(daemon), "%d\n" % daemon.pid)
            with self.copy(sink, PID_FILE=path) as third:
                self.assertEqual(self.text(third), "%d\n" % third.pid)

    def test_others_who_can_read_it_lock_nobody_out(self):
        with harness.Sink() as sink, self.copy(sink, **self.way("PID_FILE")) as daemon:
            path = daemon.settings["PID_FILE"]
            # Waits for the daemon's death, as everybody can who can read the file.
            with subprocess.Popen([sys.executable, "-c", LOCK, path], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE) as other:
                self.assertEqual(other.stdout.readline(), b"waiting\n")
                daemon.kill()
                self.assertEqual(other.stdout.readline(), b"locked\n")
                said = self.ctl("reload", daemon, status=69)
                self.assertIn("no daemon runs with this PID_FILE: a dead one left it", said)
                with self.copy(sink, PID_FILE=path) as third:
                    self.assertEqual(self.text(third), "%d\n" % third.pid)
                    self.assertIn("reloaded", self.ctl("reload", third))
                other.stdin.close()
                self.assertEqual(other.wait(harness.PATIENCE_S), 0)

    def test_faults(self):
        with harness.Sink() as sink, self.copy(sink) as daemon:
            directory = self.directory()
            (directory / "there").mkdir()
            for path, word in (("run/caronte.pid", "write it from / on"),
                               (directory / "none/caronte.pid", "cannot be made in"),
                               (directory / "there", "is no regular file"),
                               ("/" + "x" * 250, "too long")):
                done = harness.run_caronte("-c", daemon.conf, "-t", "-o", "PID_FILE=%s" % path)
                self.assertEqual(done.returncode, 78)
                self.assertRegex(done.stderr, "-o: PID_FILE: .*%s" % word)
