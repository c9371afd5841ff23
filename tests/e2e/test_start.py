# SPDX-License-Identifier: ISC
"""Starting and stopping: arguments, exit statuses, what is said of a faulty configuration, the
ready lines, and what becomes of sessions at a stop."""
import contextlib
import ctypes
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
import unittest

import kconfiglib

import harness
import tls
from puppet import case

GOOD = 0
CONFIG = harness.EX_CONFIG


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as s:
        s.bind(("::1", 0))
        return True
    return False


LONELY = 0x40000000 + os.getpid()  # a user of whom nothing else runs


def forbid_io_uring():
    """In a child before it becomes the daemon: io_uring_setup(2) fails with EPERM (seccomp)."""
    io_uring_setup, errno_eperm, allow = 425, 0x00050001, 0x7fff0000
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, io_uring_setup), (0x06, 0, 0, errno_eperm),
            (0x06, 0, 0, allow)]
    program = b"".join(struct.pack("HBBI", *each) for each in code)
    memory = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ctypes.create_string_buffer(header), 0, 0) == 0  # PR_SET_SECCOMP


class Base(harness.TestCase):
    def run_it(self, daemon, status, *options, **how):
        """Runs DAEMON's configuration until it ends by itself; what it said."""
        if "LISTEN_PORT" not in daemon.settings:
            daemon.settings["LISTEN_PORT"] = harness.free_port()
        daemon.configure()
        done = harness.run_caronte("-c", daemon.conf, *options, **how)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIsNone(harness.SANITIZER.search(done.stderr), done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def faulty(self, expect, daemon=None, options=(), **settings):
        """One fault, found by the check and at a start alike."""
        for extra in (["-t"], []):
            one = self.caronte("127.0.0.1:1", **settings) if daemon is None else daemon
            said = self.run_it(one, CONFIG, *options, *extra)
            self.assertRegex(said, "(?m)^" + expect, settings)
            self.assertEqual(said.count("\n"), 1, said)

    def plain_user(self):
        """What makes a command run as a user without privileges."""
        if not harness.ROOT:
            return []
        if not shutil.which("setpriv"):
            harness.missing("setpriv is not installed")
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all"]

    def reachable_program(self):
        """The daemon where any user can execute it."""
        path = self.dir / "caronte-program"
        if not path.exists():
            shutil.copy(harness.CARONTE, path)
        return path


class Arguments(Base):
    def test_help_and_version(self):
        for option in ("-h", "--help"):
            done = harness.run_caronte(option)
            self.assertEqual((done.returncode, done.stderr), (GOOD, ""))
            for word in ("usage: caronte", "-c", "-o", "-t", "-V", "-h"):
                self.assertIn(word, done.stdout)
        for option in ("-V", "--version"):
            done = harness.run_caronte(option)
            self.assertEqual((done.returncode, done.stderr), (GOOD, ""))
            self.assertRegex(done.stdout, r"^caronte \d+\.\d+\.\d+\n$")

    def test_an_answer_that_cannot_be_written(self):
        for option in "-h", "-V":
            with case(option), open("/dev/full", "w", encoding="utf-8") as full:
                done = harness.run_caronte(option, stdout=full)
                self.assertEqual(done.returncode, harness.EX_IOERR)
                self.assertRegex(done.stderr, r"\A\S*caronte: standard output: .*\n\Z")

    def test_wrong_ones(self):
        for arguments in (["-x"], ["--nonsense"], ["-c"], ["-o"], ["start"], ["-t", "file"]):
            with case(arguments):
                done = harness.run_caronte(*arguments)
                self.assertEqual((done.returncode, done.stdout), (harness.EX_USAGE, ""))
                self.assertRegex(done.stderr, r"(?s)\A\S*caronte: .*usage: caronte ")

    def test_no_file(self):
        for name in ("/nonexistent/caronte.conf", "/", str(self.dir)):
            done = harness.run_caronte("-c", name)
            self.assertEqual(done.returncode, CONFIG)
            self.assertRegex(done.stderr, r"\A%s: .+\n\Z" % name)

    def test_check_only(self):
        """It binds nothing and writes nothing, so it can be asked beside a running daemon."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            daemon.records("start", count=1)
            before = daemon.log.read_bytes()
            said = self.run_it(daemon, GOOD, "-t")
            self.assertEqual(said, "caronte: %s: good\n" % daemon.conf)
            self.assertEqual(daemon.log.read_bytes(), before)
            with harness.Client(daemon.port) as client:
                client.hello()
                client.quit()

    def test_check_makes_no_file(self):
        daemon = self.caronte("127.0.0.1:1")
        self.run_it(daemon, GOOD, "-t")
        self.assertEqual((list(daemon.log.parent.iterdir()), list(daemon.archive.iterdir())),
                         ([], []))

    def test_overrides(self):
        port = harness.free_port()
        with harness.Sink() as sink:
            options = ["-o", "LISTEN_PORT=%d" % port, "-o", "DESTINATIONS=127.0.0.1:%d" % sink.port]
            self.check_overrides(port, options)

    def check_overrides(self, port, options):
        with self.caronte("127.0.0.1:1", LISTEN_PORT=1, options=options) as daemon, \
                harness.Client(port) as client:
            self.assertIn("caronte: ready, listening on 127.0.0.1:%d\n" % port, daemon.stderr())
            client.hello()
            client.quit()

    def test_faulty_overrides(self):
        for override, expect in (("LISTEN_PORT=0", r"-o: LISTEN_PORT: .*1 to 65535"),
                                 ("LISTEN_PROT=25", r"-o: LISTEN_PROT: .*LISTEN_PORT"),
                                 ("CONFIG_LISTEN_PORT=25",
                                  r"-o: CONFIG_LISTEN_PORT: .*LISTEN_PORT"),
                                 ("RELAY_GUARD=maybe", r"-o: RELAY_GUARD: .*y or n"),
                                 ("LISTEN_PORT", r"-o: LISTEN_PORT: .*NAME=VALUE")):
            with case(override):
                self.faulty(expect, options=["-o", override])


class InstalledFile(Base):
    """The file of all settings that `make install` puts into place, made from the Kconfig tree."""

    dialogs = ("sniff",)
    each_engine = False
    PATH = harness.CARONTE.parent / "caronte.conf"

    def setUp(self):
        self.text = self.PATH.read_text()
        self.conf = kconfiglib.Kconfig(str(harness.SOURCES / "Kconfig"), warn_to_stderr=False)
        self.symbols = {each.name: each for each in self.conf.unique_defined_syms}

    def test_each_setting_stands_there_once(self):
        names = re.findall(r"^#? ?CONFIG_([A-Z0-9_]+)", self.text, re.M)
        self.assertEqual(names, list(self.symbols))
        self.assertLess(max(map(len, self.text.splitlines())), 101)
        for symbol in self.symbols.values():
            self.assertIn(symbol.nodes[0].prompt[0], self.text)

    def test_as_it_is_it_says_nothing(self):
        """Every line of it is a comment, for the daemon and for Kconfig."""
        self.assertEqual(re.findall(r"^[^#\n].*", self.text, re.M), [])
        self.conf.load_config(str(self.PATH))
        self.assertEqual(self.conf.warnings, [])
        self.assertEqual([name for name, symbol in self.symbols.items()
                          if symbol.user_value is not None], [])
        done = harness.run_caronte("-c", self.PATH, "-t", "-o", "USER=nobody", "-o",
                                   "LOG_FILE=-", "-o", "LOG_ARCHIVE_DIR=/tmp")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_without_its_comment_signs(self):
        """Each line is then a good one with the default, but for what a choice does not take."""
        path = self.dir / "all.conf"
        others = {other.name for choice in self.conf.unique_choices for other in choice.syms
                  if other is not choice.selection}
        text = re.sub(r"^#(?=CONFIG_([A-Z0-9_]+)=)",
                      lambda m: "#" if m[1] in others else "", self.text, flags=re.M)
        path.write_text(text)
        self.conf.load_config(str(path))
        self.assertEqual(self.conf.warnings, [])
        for name, symbol in self.symbols.items():
            given = symbol.str_value
            symbol.unset_value()
            self.assertEqual(given, symbol.str_value, name)
        done = harness.run_caronte("-c", path, "-t")
        self.assertNotRegex(done.stderr, "unknown|allowed|quotes|twice")
        self.assertEqual(text.count("\nCONFIG_"), len(self.symbols) - len(others))


class Warnings(Base):
    """What `caronte -t` says of what is legal and probably not meant; a start says the worst."""

    dialogs = ("sniff",)
    each_engine = False
    WORLD = "holds all addresses"

    def warnings(self, **settings):
        daemon = self.caronte("127.0.0.1:9", **{"RECIPIENTS": ["@local.test"], **settings})
        daemon.settings.setdefault("LISTEN_PORT", 2525)
        daemon.configure()
        said = self.run_it(daemon, GOOD, "-t")
        self.assertIn("good\n", said)
        lines = [line.split("/caronte.conf", 1)[1] for line in said.splitlines()
                 if "warning: " in line]
        return [re.sub("^:[0-9]+", ":N", line) for line in lines]

    def assert_warns(self, name, word, **settings):
        said = self.warnings(**settings)
        self.assertEqual(len(said), 1, said)
        self.assertRegex(said[0], "^(:N)?: %s: warning: .*%s" % (name, word))

    def test_nothing(self):
        for settings in ({}, {"RECIPIENTS": None, "LISTEN_ADDRESS": "127.0.0.1"},
                         {"RELAY_NETWORKS": "0.0.0.0/1 10.0.0.0/8 2000::/3"},
                         {"METRICS_ADDRESS": "127.0.0.1:9525"}, {"METRICS_ADDRESS": "[::1]:9525"},
                         {"METRICS_ADDRESS": "10.1.2.3:9525"}, {"LOG_LEVEL": 3}):
            self.assertEqual(self.warnings(**settings), [], settings)

    def test_open_relays(self):
        self.assert_warns("RELAY_GUARD", "everybody may relay", RELAY_GUARD=False)
        networks = self.dir / "networks"
        networks.write_text("0.0.0.0/1\n128.0.0.0/2\n")
        for world in ("0.0.0.0/0", "10.0.0.0/8 ::/0", "0.0.0.0/1 128.0.0.0/1",
                      "%s 192.0.0.0/2" % networks):
            self.assert_warns("RELAY_NETWORKS", self.WORLD, RELAY_NETWORKS=world)

    def test_proxies_that_are_everybody(self):
        for name in "PROXY_FROM", "XCLIENT_FROM":
            for world in "0.0.0.0/0", "192.0.2.1 ::/0":
                self.assert_warns(name, self.WORLD + ".* RELAY_NETWORKS .*everybody may relay",
                                  RELAY_NETWORKS="10.0.0.0/8", **{name: world})
                self.assertEqual(self.warnings(**{name: world}), [])

    def test_proxies_that_relay(self):
        for name in "PROXY_FROM", "XCLIENT_FROM":
            self.assert_warns(name, "may relay", RELAY_NETWORKS="10.0.0.0/8",
                              **{name: "192.0.2.1 10.2.3.4"})
            self.assertEqual(self.warnings(RELAY_NETWORKS="10.0.0.0/8",
                                           **{name: "192.0.2.1"}), [])

    def test_no_recipients(self):
        for recipients in None, []:
            self.assert_warns("RECIPIENTS", "nobody but <postmaster>", RECIPIENTS=recipients,
                              LISTEN_ADDRESS="")

    def test_metrics(self):
        self.assert_warns("METRICS_ADDRESS", "every address", METRICS_ADDRESS="0.0.0.0:9525")
        self.assert_warns("METRICS_ADDRESS", "every address", METRICS_ADDRESS="[::]:9525")
        self.assert_warns("METRICS_ADDRESS", "public", METRICS_ADDRESS="192.0.2.1:9525")

    def test_tls(self):
        self.assert_warns("TLS_REQUIRED_FOR_LOGIN", "no effect without a certificate",
                          TLS_REQUIRED_FOR_LOGIN=True)
        self.assert_warns("TLS_CLIENTS_REQUIRED", "no effect without a certificate",
                          TLS_CLIENTS_REQUIRED=True)
        chain, key = tls.make_pair(self.new_dir("tls"))
        with_tls = {"TLS_CERTIFICATE": str(chain), "TLS_KEY": str(key)}
        self.assertEqual(self.warnings(TLS_REQUIRED_FOR_LOGIN=True, **with_tls), [])
        self.assert_warns("TLS_CLIENTS_REQUIRED", "RFC 3207 4", LISTEN_PORT=25,
                          TLS_CLIENTS_REQUIRED=True, **with_tls)
        for place, count in (("192.0.2.1:25", 1), ("192.0.2.1:25,tls=may", 1),
                             ("192.0.2.1:25,tls=require", 0), ("unix:/run/smtp", 0)):
            self.assertEqual(len(self.warnings(DESTINATIONS=place, **with_tls)), count, place)
        self.assertEqual(self.warnings(DESTINATIONS="192.0.2.1:25", TLS_REQUIRED_FOR_LOGIN=False,
                                       **with_tls), [])
        ca = {"TLS_DESTINATION_CA_FILE": str(chain)}
        self.assert_warns("DESTINATIONS", "wrap is meant", DESTINATIONS="192.0.2.1:465")
        self.assert_warns("DESTINATIONS", "name=HOST is meant", **ca,
                          DESTINATIONS="192.0.2.1:25,tls=verify")
        for place in "192.0.2.1:465,tls=require,wrap", "192.0.2.1:25,tls=verify,name=a.test":
            self.assertEqual(self.warnings(DESTINATIONS=place, **ca), [], place)

    def test_server_name(self):
        self.assert_warns("SERVER_NAME", "relay has no dot", SERVER_NAME="relay")

    def test_copies_of_mail(self):
        harness.give_to_user(debug := self.new_dir("debug"))
        self.assert_warns("LOG_LEVEL", "copy of each message", LOG_LEVEL=4, DEBUG_DIR=str(debug))


class Configuration(Base):
    def test_all_faults_in_one_run(self):
        table = self.dir / "table"
        table.write_text("ok@local.test\nno address\n@local.test\nnobody\n")
        networks = self.dir / "networks"
        networks.write_text("10.0.0.0/8\n10.0.0.1/8\n")
        self.dir.chmod(0o755)
        lines = [
            ('CONFIG_LISTEN_ADDRESS="127.0.0.1 nonsense"', r"LISTEN_ADDRESS: .*nonsense"),
            ("CONFIG_LISTEN_PROT=2525", r"LISTEN_PROT: .*LISTEN_PORT"),
            ("CONFIG_LISTEN_PORT=65536", r"LISTEN_PORT: .*1 to 65535"),
            ("CONFIG_LOG_LEVEL=5", r"LOG_LEVEL: .*0 to 4"),
            ("CONFIG_MAX_SESSIONS=many", r"MAX_SESSIONS: .*integer"),
            ("CONFIG_MAX_ERRORS=", r"MAX_ERRORS: .*integer"),
            ("CONFIG_RELAY_GUARD=2", r"RELAY_GUARD: .*y or n"),
            ('CONFIG_RELAY_NETWORKS="300.0.0.0/8 /nonexistent %s"' % networks,
             r"RELAY_NETWORKS: .*300"),
            ('CONFIG_RECIPIENTS="%s"' % table, None),
            ("CONFIG_LOG_ARCHIVE_DIR=nonsense", r"LOG_ARCHIVE_DIR: .*double quotes"),
            ('CONFIG_DESTINATIONS="127.0.0.1:25 127.0.0.2:25"', r"DESTINATIONS: "),
            ("CONFIG_BODY_COPY=y", None),
            ("CONFIG_BODY_SPLICE=y", r"BODY_SPLICE: .*BODY_COPY"),
            ("LISTEN_PORT=25", r"LISTEN_PORT: .*CONFIG_"),
            ("nonsense", r""),
            ("CONFIG_LOG_LEVEL=1", r"LOG_LEVEL: .*line 4"),
            ("# CONFIG_MAX_ERRORS is not set", r"MAX_ERRORS: "),
            ("# only a comment", None),
            ('CONFIG_SERVER_NAME="mail_1.example"',
             r"SERVER_NAME: mail_1.example: is no host name"),
            ('CONFIG_RECIPIENT_DELIMITER="+%"', r"RECIPIENT_DELIMITER: .*another domain"),
        ]
        conf = self.dir / "faulty.conf"
        conf.write_text("".join(line + "\n" for line, _ in lines))
        done = harness.run_caronte("-c", conf, "-o", "USER=nobody")
        self.assertEqual((done.returncode, done.stdout), (CONFIG, ""))
        said = done.stderr.splitlines()
        for number, (line, expect) in enumerate(lines, 1):
            place = "%s:%d: " % (conf, number)
            about = [each[len(place):] for each in said if each.startswith(place)]
            with case(line, about):
                if expect is None:
                    self.assertEqual(about, [])
                else:
                    self.assertTrue(any(re.match(expect, each) for each in about), done.stderr)
        for place in ("%s:2: RECIPIENTS: " % table, "%s:4: RECIPIENTS: " % table,
                      "%s:2: RELAY_NETWORKS: " % networks):
            self.assertEqual(sum(each.startswith(place) for each in said), 1, (place, done.stderr))
        self.assertEqual(sum("/nonexistent" in each for each in said), 1, done.stderr)
        self.assertTrue(all(re.match(r"/\S+(:\d+)?: ", each) for each in said), done.stderr)

    def test_each_by_itself(self):
        here = r"\S+/caronte\.conf(:\d+)?: "
        port = harness.free_port()
        rows = [
            (here + "RECIPIENTS: .*/nonexistent", {"RECIPIENTS": "/nonexistent"}),
            (here + "RECIPIENTS: .*regular file", {"RECIPIENTS": "/dev/null"}),
            (here + "RECIPIENTS: .*write it from / on", {"RECIPIENTS": "recipients"}),
            (here + "RECIPIENTS: @local.test: .*write this into one",
             {"RECIPIENTS": "@local.test"}),
            (here + "RECIPIENTS: .*one is allowed here", {"RECIPIENTS": "/a /b"}),
            (here + "RECIPIENTS: .*plain file, /etc/aliases", {"RECIPIENTS": "hash:/etc/aliases"}),
            (here + "RELAY_NETWORKS: .*separated by blanks",
             {"RELAY_NETWORKS": "10.0.0.0/8,192.0.2.0/24"}),
            (here + "RELAY_NETWORKS: .*from / on", {"RELAY_NETWORKS": "etc/networks"}),
            (here + "RELAY_NETWORKS: .*files are separated by blanks",
             {"RELAY_NETWORKS": "/a,/b"}),
            (here + "SERVER_NAME: .*without the dot", {"SERVER_NAME": "mail.example.net."}),
            (here + "TLS_CERTIFICATE: file:/a.crt: .*without file:",
             {"TLS_CERTIFICATE": "file:/a.crt", "TLS_KEY": "/a.key"}),
            (here + "TLS_KEY: file:/a.key: .*without file:",
             {"TLS_CERTIFICATE": "/a.crt", "TLS_KEY": "file:/a.key"}),
            (here + "LISTEN_ADDRESS: .*LISTEN_PORT", {"LISTEN_ADDRESS": "127.0.0.1:25"}),
            (here + "DESTINATIONS: .*separated by blanks",
             {"DESTINATIONS": "127.0.0.1:25, 127.0.0.2:25", "COOPERATION_CLUSTER": True}),
            (here + "DESTINATIONS: .*write 127.0.0.1:25,identity=xclient",
             {"DESTINATIONS": "127.0.0.1:25, identity=xclient"}),
            (here + "DESTINATIONS: .*no URL", {"DESTINATIONS": "smtp://127.0.0.1:25"}),
            (here + "DESTINATIONS: ", {"DESTINATIONS": ""}),
            (here + "DESTINATIONS: ", {"DESTINATIONS": "127.0.0.1"}),
            (here + "DESTINATIONS: ", {"DESTINATIONS": "127.0.0.1:0"}),
            (here + "DESTINATIONS: ", {"DESTINATIONS": "127.0.0.1:25,max=x"}),
            (here + "DESTINATIONS: .*circle", {"DESTINATIONS": "127.0.0.1:%d" % port,
                                               "LISTEN_PORT": port}),
            (here + "DESTINATIONS: .*circle", {"DESTINATIONS": "localhost:%d" % port,
                                               "LISTEN_PORT": port,
                                               "LISTEN_ADDRESS": ""}),
            (here + "LOG_FILE: ", {"LOG_FILE": "/nonexistent/caronte.xml"}),
            (here + "LOG_FILE: ", {"LOG_FILE": "/proc/caronte.xml"}),
            (here + "LOG_ARCHIVE_DIR: |" + here + "LOG_FILE: ",
             {"LOG_ARCHIVE_DIR": "/nonexistent"}),
        ]
        for expect, settings in rows:
            with case(settings):
                self.faulty(expect, **settings)

    def test_faults_at_the_end_of_large_tables(self):
        """Many networks and recipients, one fault each at their end."""
        networks = ["10.%d.%d.0/24" % (n >> 8, n & 255) for n in range(1 << 16)]
        users = ["user%d@local.test" % n for n in range(100000)]
        daemon = self.caronte("127.0.0.1:1", RELAY_NETWORKS=networks + ["10.0.0.1/8"],
                              RECIPIENTS=users + ["@"])
        said = self.run_it(daemon, CONFIG, "-t")
        self.assertRegex(said, r"(?m)^\S+/recipients:100001: RECIPIENTS: ")
        self.assertRegex(said, r"(?m)^\S+/relay_networks:65537: RELAY_NETWORKS: ")
        self.assertEqual(said.count("\n"), 2)

    @unittest.skipUnless(harness.ROOT, "only root can become another user")
    def test_users(self):
        for user in ("", "root", "no-such-user-here"):
            with case(user):
                said = self.run_it(self.caronte("127.0.0.1:1", USER=user, LOG_FILE="/nowhere/log"),
                                   CONFIG, "-t")
                self.assertRegex(said, r"^\S+/caronte\.conf:\d+: USER: .*\n"
                                       r"caronte: the files that .* were not looked at.*\n$")

    @unittest.skipUnless(harness.ROOT, "only root can become another user")
    def test_a_user_with_root_s_group(self):
        """The privilege of that group would not be gone."""
        users = self.dir / "passwd"
        users.write_text(pathlib.Path("/etc/passwd").read_text() + "wheel:x:4242:0::/:/bin/false\n")
        daemon = self.caronte("127.0.0.1:1", USER="wheel")
        daemon.configure()
        done = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$1" /etc/passwd && '
                               'exec "$2" -t -c "$3"', "sh", users, harness.CARONTE, daemon.conf],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.stderr.startswith("unshare: "):
            self.skipTest("no namespaces here: " + done.stderr.strip())
        self.assertEqual(done.returncode, CONFIG, done.stderr)
        self.assertIn("USER: wheel: has root's group", done.stderr)

    @unittest.skipUnless(harness.ROOT, "as another user files are just files")
    def test_files_are_seen_as_the_user_will_see_them(self):
        for name in ("RECIPIENTS", "RELAY_NETWORKS"):
            path = self.dir / ("secret-" + name.lower())
            path.write_text("")
            path.chmod(0o600)
            with case(name):
                self.faulty(r"\S+/caronte\.conf:\d+: %s: .*%s" % (name, path), **{name: str(path)})
        for name, places in (("LOG_FILE", lambda daemon: daemon.log.parent),
                             ("LOG_ARCHIVE_DIR", lambda daemon: daemon.archive)):
            daemon = self.caronte("127.0.0.1:1")
            os.chown(places(daemon), 0, 0)
            with case(name):
                self.faulty(r"\S+/caronte\.conf:\d+: %s: " % name, daemon)
                self.assertEqual(list(places(daemon).iterdir()), [])  # nor made as root

    @unittest.skipUnless(harness.ROOT, "as another user it is read already")
    def test_configuration_that_only_root_can_read(self):
        """It can start, also from a pipe, but not be read again."""
        daemon = self.caronte("127.0.0.1:1")
        daemon.settings["LISTEN_PORT"] = harness.free_port()
        daemon.configure()
        daemon.conf.chmod(0o600)
        said = self.run_it(daemon, GOOD, "-t")
        self.assertIn("caronte.conf: cannot be read by user nobody (Permission denied): each "
                      "reload will be refused\n", said)
        with daemon:
            self.assertIn("cannot be read by user nobody", daemon.stderr())
        daemon.conf.chmod(0o644)
        self.assertNotIn("cannot be read", self.run_it(daemon, GOOD, "-t"))

    def test_user_is_ignored_without_root(self):
        self.start_as_plain_user(USER="no-such-user-here")
        self.start_as_plain_user(USER="")

    def start_as_plain_user(self, **settings):
        daemon = self.caronte("127.0.0.1:1", LISTEN_PORT=harness.free_port(), **settings)
        harness.give_to_user(daemon.dir)
        daemon.configure()
        daemon.launch([*self.plain_user(), self.reachable_program(), "-c", daemon.conf])
        self.assertTrue(daemon.wait_ready(), daemon.stderr())
        self.assertEqual(daemon.stop(), GOOD)
        daemon.validate_log()

    def test_too_few_open_files(self):
        """As root the limit is raised; as anybody else the figure is said: two for each session and
        one more for every fourth, and a few hundred."""
        daemon = self.caronte("127.0.0.1:1", MAX_SESSIONS=5000)
        daemon.settings["LISTEN_PORT"] = harness.free_port()
        daemon.configure()
        done = subprocess.run(
            [*self.plain_user(), self.reachable_program(), "-t", "-c", daemon.conf], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
        self.assertEqual(done.returncode, CONFIG, done.stderr)
        self.assertRegex(done.stderr,
                         r"(?m)^\S+caronte\.conf:\d+: MAX_SESSIONS: .*\b12\d{3}\b.*\b256\b")

    def test_io_uring_refused(self):
        """Where the kernel refuses it: a fault if nothing else may be used; else epoll, said."""
        daemon = self.caronte("127.0.0.1:1", engine="io_uring")
        said = self.run_it(daemon, CONFIG, "-t", preexec_fn=forbid_io_uring)
        self.assertRegex(said, r"(?m)^\S+caronte\.conf:\d+: ENGINE\w*: .*io_uring")
        with harness.Sink() as sink:
            daemon = self.caronte(sink, engine="auto", LISTEN_PORT=harness.free_port())
            daemon.configure()
            daemon.launch([harness.CARONTE, "-c", daemon.conf], preexec_fn=forbid_io_uring)
            self.assertTrue(daemon.wait_ready(), daemon.stderr())
            with harness.Client(daemon.port) as client:
                client.hello()
                client.quit()
            self.assertEqual(daemon.stop(), GOOD)
            self.assertIn("epoll", daemon.record("fault", what="engine").get("detail"))

    def ask_within(self, octets, *options):
        """-t with so much memory to lock, as a user of whom nothing else runs: its rings count."""
        def become():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (octets, octets))
            os.setgroups([])
            os.setresgid(LONELY, LONELY, LONELY)
            os.setresuid(LONELY, LONELY, LONELY)
        daemon = self.caronte("127.0.0.1:1", engine="io_uring", WORKERS=10,
                              LISTEN_PORT=harness.free_port())
        for each in (daemon.dir, daemon.log.parent, daemon.archive):
            os.chown(each, LONELY, LONELY)
        daemon.configure()
        return subprocess.run([self.reachable_program(), "-t", "-c", daemon.conf, *options],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=become)

    def need(self, octets, *options):
        done = self.ask_within(octets, *options)
        self.assertEqual(done.returncode, CONFIG, done.stderr)
        return 1024 * int(re.search(r"ENGINE_IO_URING: .* need (\d+) KB .* RLIMIT_MEMLOCK",
                                    done.stderr)[1])

    @unittest.skipUnless(harness.ROOT, "needs a user of whom nothing else runs")
    def test_too_little_memory_to_lock(self):
        """Where the kernel counts rings: twice those of all workers, and one."""
        if self.ask_within(0).returncode == GOOD:
            self.skipTest("this kernel does not count the memory of rings")
        self.assertRegex(self.ask_within(0).stderr, "ENGINE_IO_URING: .*RLIMIT_MEMLOCK")
        need = self.need(1 << 20)
        self.assertEqual(self.need(need - 4096), need)
        self.assertEqual(self.ask_within(need).returncode, GOOD)
        one = self.need(1 << 20, "-o", "WORKERS=11") - need
        self.assertEqual(need, one * 21 // 2)

    def test_memory_to_lock_is_raised(self):
        """As far as it may be: up to the hard limit, and as root that one too."""
        def lower():
            hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, hard))
        daemon = self.caronte("127.0.0.1:1", engine="io_uring", LISTEN_PORT=harness.free_port())
        daemon.configure()
        daemon.launch([harness.CARONTE, "-c", daemon.conf], preexec_fn=lower)
        self.assertTrue(daemon.wait_ready(), daemon.stderr())
        for pid in (daemon.pid, *daemon.workers()):
            limits = pathlib.Path("/proc/%d/limits" % pid).read_text(encoding="ascii")
            soft, hard = re.search(r"(?m)^Max locked memory +(\S+) +(\S+)", limits).groups()
            self.assertEqual(soft, hard)
        self.assertEqual(daemon.stop(), GOOD)


class Addresses(Base):
    def test_another_program_has_it(self):
        for address in ("0.0.0.0", "127.0.0.1"):
            with socket.socket() as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind((address, harness.free_port()))
                taken.listen()
                port = taken.getsockname()[1]
                said = self.run_it(self.caronte("127.0.0.1:1", LISTEN_PORT=port),
                                   harness.EX_UNAVAILABLE)
                self.assertRegex(said, r"caronte: 127\.0\.0\.1:%d: " % port)

    def test_another_caronte_has_it(self):
        """In spite of SO_REUSEPORT, and the first one goes on."""
        with harness.Sink() as sink, self.caronte(sink) as first:
            for _ in range(3):
                second = self.caronte(sink, LISTEN_PORT=first.port)
                self.assertIn(":%d: " % first.port, self.run_it(second, harness.EX_UNAVAILABLE))
                for _ in range(4):
                    with harness.Client(first.port) as client:
                        client.hello()
                        client.quit()
            self.assertEqual(len(first.records("session", count=12)), 12)

    def test_another_caronte_writes_the_log(self):
        with harness.Sink() as sink, self.caronte(sink) as first:
            first.records("start", count=1)
            second = self.caronte(sink, LOG_FILE=str(first.log))
            self.assertIn("LOG_FILE", self.run_it(second, CONFIG))

    def test_no_address_of_this_machine(self):
        self.run_it(self.caronte("127.0.0.1:1", LISTEN_ADDRESS="127.0.0.1 192.0.2.77"),
                    harness.EX_UNAVAILABLE)

    def test_low_port_without_privilege(self):
        lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if lowest <= 25:
            self.skipTest("any user may bind port 25 here")
        daemon = self.caronte("127.0.0.1:1", LISTEN_PORT=25)
        harness.give_to_user(daemon.dir)
        daemon.configure()
        done = subprocess.run([*self.plain_user(), self.reachable_program(), "-c", daemon.conf],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, harness.EX_NOPERM, done.stderr)
        self.assertRegex(done.stderr, r"caronte: 127\.0\.0\.1:25: ")

    def test_a_ready_line_for_each_address(self):
        addresses = ["127.0.0.1", "127.0.0.2"] + ["::1"] * has_ipv6()
        with harness.Sink() as sink, self.caronte(sink,
                                                  LISTEN_ADDRESS=" ".join(addresses)) as daemon:
            harness.wait_until(lambda: daemon.stderr().count("ready") == len(addresses))
            self.assertEqual(sorted(daemon.stderr().splitlines()), sorted(
                "caronte: ready, listening on %s:%d" % ("[%s]" % each if ":" in each else each,
                                                        daemon.port)
                for each in addresses))
            for each in addresses:
                with harness.Client(daemon.port, each) as client:
                    client.hello()
                    client.quit()

    def test_every_address(self):
        """IPv4 and IPv6 have sockets of their own, and an IPv4 client is one everywhere."""
        with harness.Sink() as sink, self.caronte(sink, LISTEN_ADDRESS="") as daemon:
            lines = ["0.0.0.0"] + ["[::]"] * has_ipv6()
            harness.wait_until(lambda: daemon.stderr().count("ready") == len(lines))
            self.assertEqual(sorted(re.findall(r"listening on (.*):\d+\n", daemon.stderr())), lines)
            for address, shown in [("127.0.0.1", "127.0.0.1:")] + [("::1", "[::1]:")] * has_ipv6():
                with harness.Client(daemon.port, address) as client:
                    client.hello(shown.strip("[]:"))
                    client.quit()
                harness.wait_until(lambda: any(record.get("client").startswith(shown)
                                               for record in daemon.records("session")))


class Stop(Base):
    def test_idle(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            with self.caronte("127.0.0.1:1", STOP_GRACE=harness.FAR_S) as daemon:
                began = time.monotonic()
                self.assertEqual(daemon.stop(how), GOOD)
                self.assertLess(time.monotonic() - began, harness.SOON_S)
                self.assertEqual(len(daemon.records("stop")), 1)

    def test_a_session_under_way_finishes(self):
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, STOP_GRACE=harness.FAR_S) as daemon:
            began = time.monotonic()
            with harness.Client(daemon.port) as client:
                client.hello()
                client.envelope()
                daemon.process.terminate()
                self.assertTrue(client.silent(0.5))
                self.check_nobody_is_served(daemon)
                client.command("DATA", 354)
                client.command("first\r\n.", 250)
                self.assertEqual(client.send_message(b"second\r\n")[:3], b"250")
                self.assertIsNone(daemon.process.poll())
                client.quit()
            self.assertEqual(daemon.process.wait(harness.PATIENCE_S), GOOD)
            self.assertLess(time.monotonic() - began, harness.FAR_S / 2)
            self.assertEqual(sink.mails(), [b"first\r\n", b"second\r\n"])
            self.assertEqual(daemon.records("session")[0].get("end"), "quit")

    def check_nobody_is_served(self, daemon):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", daemon.port),
                                                                    1) as late:
            late.settimeout(1)
            self.assertNotEqual(late.recv(3), b"220")

    def test_who_stays_is_told(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink, STOP_GRACE=1) as daemon, \
                harness.Client(daemon.port) as idle, harness.Client(daemon.port) as sending:
            idle.hello()
            sending.hello()
            sending.envelope()
            sending.command("DATA", 354)
            sending.send(b"half a message\r\n")
            began = time.monotonic()
            daemon.process.terminate()
            for client in (idle, sending):
                self.assertEqual(client.reply()[:9], b"421 4.3.2")
                self.assertEqual(client.rest(), b"")
                client.close()
            self.assertGreaterEqual(time.monotonic() - began, 0.9)
            self.assertEqual(daemon.process.wait(harness.PATIENCE_S), GOOD)
            self.assertEqual([r.get("end") for r in daemon.records("session")], ["stop", "stop"])
            self.assertEqual(sink.mails(), [])

    def test_the_port_is_free_again(self):
        with harness.Sink() as sink:
            daemon = self.caronte(sink, LISTEN_PORT=harness.free_port())
            for _ in range(3):
                with daemon, harness.Client(daemon.port) as client:
                    client.hello()
                    client.quit()
