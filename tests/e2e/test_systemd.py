# SPDX-License-Identifier: ISC
"""The service manager's side: the units, the sockets that it hands over (sd_listen_fds(3)), and
what it is told (sd_notify(3)). The tests are the service manager; of systemd only systemd-analyze
is used, where there is one.
"""
import os
import re
import shutil
import socket
import subprocess
import unittest

import harness
import test_reload
import test_upgrade

UNITS = harness.SOURCES / "systemd"
FIRST_FD = 3


class Managed(test_upgrade.Copy):
    """A daemon as a service manager starts it: SOCKETS handed over, a socket to tell it on."""

    def __init__(self, *arguments, sockets=(), notify=None, abstract=False, **settings):
        super().__init__(*arguments, **settings)
        self.sockets = sockets
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.settimeout(harness.PATIENCE_S)
        self.address = "@caronte-test-%d" % os.getpid() if abstract else str(self.dir / "notify")
        self.manager.bind(self.address.replace("@", "\0", 1))
        if not abstract:
            os.chmod(self.address, 0o777)

    def launch(self, argv, **how):
        def hand_over():
            # High up first: they may stand where they are to go.
            high = [os.dup(s.fileno()) for s in self.sockets]
            high = [fd if fd >= 40 else os.dup2(fd, 40 + n) for n, fd in enumerate(high)]
            for n, fd in enumerate(high):
                os.dup2(fd, FIRST_FD + n, inheritable=True)
        environment = dict(os.environ, NOTIFY_SOCKET=self.address)
        if self.sockets:
            environment.update(LISTEN_FDS=str(len(self.sockets)), LISTEN_FDNAMES="smtp")
            argv = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *self.to_program(argv)]
            return harness.Caronte.launch(self, argv, env=environment, preexec_fn=hand_over,
                                          close_fds=False, **how)
        return super().launch(argv, env=environment, **how)

    def to_program(self, argv):
        if not self.program.exists():
            shutil.copy(argv[0], self.program)
        return [self.program, *argv[1:]]

    def told(self):
        """The next thing that the daemon tells, by name."""
        text = self.manager.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    def clean_up(self):
        self.manager.close()
        super().clean_up()


def listener(address="127.0.0.1", port=0):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.listen(128)
    return s


class Base(test_upgrade.Base):
    def managed(self, destination, **settings):
        return Managed(destination, **{"engine": self.engine, **settings})


class Told(Base):
    def test_states(self):
        with harness.Sink() as sink, self.managed(sink) as daemon:
            said = daemon.told()
            self.assertEqual(said["READY"], "1")
            self.assertEqual(said["MAINPID"], str(daemon.pid))
            self.assertTrue(self.reload(daemon, MAX_ERRORS=9))
            said = daemon.told()
            self.assertEqual(said["RELOADING"], "1")
            self.assertTrue(said["MONOTONIC_USEC"].isdigit())
            self.assertIn("READY", daemon.told())
            self.assertFalse(self.reload(daemon, MAX_ERRORS=0))
            self.assertIn("RELOADING", daemon.told())
            said = daemon.told()
            self.assertIn("READY", said)
            self.assertIn("refused", said["STATUS"])
            daemon.configure(MAX_ERRORS=9)
            self.assertTrue(self.upgrade(daemon))
            self.assertIn("RELOADING", daemon.told())
            said = daemon.told()
            self.assertIn("READY", said)
            self.assertEqual(said["MAINPID"], str(daemon.pid))
            daemon.stop()
            self.assertEqual(daemon.told()["STOPPING"], "1")

    def test_abstract_socket(self):
        with harness.Sink() as sink, self.managed(sink, abstract=True) as daemon:
            self.assertIn("READY", daemon.told())

    def test_manager_that_does_not_listen(self):
        with harness.Sink() as sink:
            daemon = self.managed(sink)
            daemon.manager.close()
            with daemon:
                self.deliver(daemon)


class HandedOver(Base):
    def handed(self, sink, *sockets, **settings):
        return self.managed(sink, sockets=sockets, LISTEN_PORT=sockets[0].getsockname()[1],
                            **settings)

    def test_serves_on_it(self):
        """One socket, two workers, and LISTEN_* that say something else."""
        with listener() as s, harness.Sink() as sink, \
                self.managed(sink, sockets=[s], LISTEN_ADDRESS="192.0.2.1") as daemon:
            port = s.getsockname()[1]
            self.assertIn("ready, listening on 127.0.0.1:%d\n" % port, daemon.stderr())
            daemon.settings["LISTEN_PORT"] = port
            for _ in range(8):
                self.deliver(daemon)

    def test_two_of_them(self):
        with listener() as one, listener("::1") as two, harness.Sink() as sink, \
                self.handed(sink, one, two) as daemon:
            harness.wait_until(lambda: daemon.stderr().count("ready, listening") == 2)
            for address, s in (("127.0.0.1", one), ("::1", two)):
                with harness.Client(s.getsockname()[1], address) as client:
                    client.hello()
                    client.quit()

    def test_stays_open_over_a_restart(self):
        """Who connects while nobody serves waits, and is served by the next start."""
        with listener() as s, harness.Sink() as sink:
            for killed in False, True:
                with self.subTest(killed=killed), self.handed(sink, s) as daemon:
                    self.deliver(daemon)
                    if killed:
                        children = daemon.reap_master()
                        harness.wait_until(lambda: all(map(harness.is_gone, children)))
                with harness.Client(s.getsockname()[1]) as waiting:
                    with self.handed(sink, s):
                        waiting.hello()
                        self.assertEqual(waiting.send_message(b"late\r\n")[:3], b"250")
                        waiting.quit()

    def test_restarts_under_load(self):
        rounds = 10 if harness.LONG else 3
        with listener() as s, harness.Sink() as sink, \
                test_reload.Traffic(s.getsockname()[1], clients=2, messages=1) as traffic:
            for _ in range(rounds):
                with self.handed(sink, s, STOP_GRACE=20) as daemon:
                    before = traffic.delivered
                    harness.wait_until(lambda: traffic.delivered > before + 20 or traffic.faults)
            with self.handed(sink, s, STOP_GRACE=20):
                traffic.over.set()
                for thread in traffic.threads:
                    thread.join()
        self.assertEqual(traffic.faults, [])

    def test_reload_and_upgrade(self):
        with listener() as s, harness.Sink() as sink, self.handed(sink, s) as daemon:
            self.assertTrue(self.reload(daemon, RECIPIENTS=["@new.test"]))
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")
            self.assertTrue(self.upgrade(daemon))
            self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")
            self.assertTrue(self.reload(daemon, RECIPIENTS=["@newer.test"]))
            self.assertTrue(self.upgrade(daemon))
            self.assertEqual(self.verdict(daemon.port, "x@newer.test"), b"250")

    def test_no_socket_for_us(self):
        with socket.socket() as silent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, \
                socket.socketpair()[0] as pair, socket.socket(socket.AF_UNIX) as local:
            local.bind(str(self.dir / "local"))
            local.listen()
            for s in (silent, udp, pair, local):
                with self.subTest(s):
                    daemon = self.managed("127.0.0.1:9", sockets=[s], LISTEN_PORT=2525)
                    daemon.launch_once()
                    status = daemon.process.wait(harness.PATIENCE_S)
                    self.assertEqual(status, harness.EX_UNAVAILABLE)
                    self.assertIn("descriptor 3, handed over as a socket, ", daemon.stderr())

    def test_meant_for_another_process(self):
        """LISTEN_PID is not ours: the descriptors are none of our business."""
        with listener() as s, harness.Sink() as sink:
            daemon = self.managed(sink)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
            try:
                with daemon:
                    self.assertNotEqual(daemon.port, s.getsockname()[1])
                    self.deliver(daemon)
            finally:
                del os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"]


class Reload(Base):
    dialogs = ("sniff",)
    each_engine = False

    def commands(self, what, daemon):
        """The unit's lines of that name, for a daemon of the tests."""
        text = (UNITS / "caronte.service").read_text().replace("\\\n", " ")
        for old, new in (("/usr/local/sbin/caronte", str(harness.CARONTE)),
                         ("/etc/caronte/caronte.conf", str(daemon.conf)),
                         ("/run/caronte", str(daemon.log.parent))):
            text = text.replace(old, new)
        return [line.split() for line in re.findall("^%s=(.*)$" % what, text, re.M)]

    def reload_by_unit(self, daemon):
        """As systemd does: one after the other, up to the first that fails."""
        said = ""
        for command in self.commands("ExecReload", daemon):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=harness.PATIENCE_S)
            said += done.stdout
            if done.returncode:
                break
        return done.returncode, said

    def test_what_the_unit_runs(self):
        with harness.Sink() as sink:
            daemon = self.managed(sink, RECIPIENTS=["@local.test"])
            daemon.options = self.commands("ExecStart", daemon)[0][3:]
            with daemon:
                self.assertEqual(self.reload_by_unit(daemon)[0], 0)
                daemon.configure(RECIPIENTS=["@new.test"])
                status, said = self.reload_by_unit(daemon)
                self.assertEqual((status, said.splitlines()[-1]),
                                 (0, "reloaded, changed: RECIPIENTS"))
                daemon.configure(MAX_ERRORS=0)
                before = self.refused(daemon)
                status, said = self.reload_by_unit(daemon)
                self.assertEqual(status, 78)
                self.assertIn("MAX_ERRORS: 0 is out of range", said)
                self.assertEqual(self.refused(daemon), before)
                # What only the running daemon knows is told too.
                daemon.configure(MAX_ERRORS=20, WORKERS=3)
                status, said = self.reload_by_unit(daemon)
                self.assertEqual(status, 1)
                self.assertIn("WORKERS: needs a restart", said)
                self.assertEqual(self.verdict(daemon.port, "x@new.test"), b"250")


@unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze")
class Units(Base):
    def setUp(self):
        for path in UNITS.iterdir():
            text = path.read_text().replace("/usr/local/sbin/caronte", str(harness.CARONTE))
            (self.dir / path.name).write_text(text)

    def analyze(self, *arguments):
        done = subprocess.run(["systemd-analyze", *map(str, arguments)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def test_verify(self):
        units = sorted(path for path in self.dir.iterdir()
                       if path.suffix in (".service", ".socket"))
        self.assertEqual([unit.name for unit in units], ["caronte.service", "caronte.socket"])
        self.assertEqual(self.analyze("verify", "--man=no", *units), (0, ""))

    def test_verify_finds_faults(self):
        unit = self.dir / "caronte.service"
        unit.write_text(unit.read_text() + "\n[Service]\nNoSuchSetting=yes\n")
        self.assertIn("NoSuchSetting", self.analyze("verify", "--man=no", unit)[1])

    def test_exposure(self):
        status, text = self.analyze("security", "--offline=true", "--no-pager", "--threshold=25",
                                    self.dir / "caronte.service")
        if "--offline" in text and "unrecognized" in text:
            self.skipTest("this systemd-analyze knows no --offline")
        self.assertEqual(status, 0, text[-2000:])

    def test_grace_fits(self):
        """What systemd waits at a stop is more than what the daemon takes by default."""
        text = (UNITS / "caronte.service").read_text()
        grace = 30 + 5 + 10  # STOP_GRACE, STOP_MARGIN_MS, CLOSE_MS
        self.assertGreater(int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1]), grace)
