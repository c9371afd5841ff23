# SPDX-License-Identifier: ISC
"""What the end-to-end tests share: the daemon, caronte-sink and a client, started and cleaned up.

A test class derives from harness.TestCase; tests/e2e/run runs it once for each engine
(self.engine), or for one where `each_engine` is False, and each dialog that its `dialogs` names
(self.dialog, self.gateway). What a test expects of one dialog alone it says with
self.by_dialog(sniff=…, gateway=…).

    class Small(harness.TestCase):
        def test_one(self):
            with harness.Sink("--auth", "joe:secret", maildir=True) as sink, \\
                    self.caronte(sink, MAX_ERRORS=3, BODY_COPY=True) as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    self.assertEqual(client.send_message(b"x\\r\\n")[:3], b"250")
                self.assertEqual(daemon.record("session").get("end"), "quit")

self.caronte(destination, **settings) is a Caronte: DESTINATION is anything with a .place
("HOST:PORT" or "unix:/PATH") or a .port, such a text itself, or None (no DESTINATIONS at all).
Settings are named as in caronte.conf(5), without prefix; a bool is a switch, a list becomes a file
with one item a line, None is left out.
What the harness sets where a test says nothing stands in DEFAULTS. `with` starts it; leaving stops
it with TERM and fails the test where

- it has not exited with 0, or a sanitizer reported anything on standard error,
- a process of it outlives it,
- a worker died that the test did not kill: a test that kills sets daemon.may_die = True,
- a log file, rotated ones too, is not valid against the schema.

Caronte:  .port .pid .dir .log (path) .archive (path) .recipients (path) .conf (path)
          .start() .stop(signal) -> exit status .kill() (kill -9 of every process of it)
          .reap_master() (kill -9 of the master alone)
          .processes() -> {pid: name}, without the master  .workers() .writer() -> pids
          .memory() -> octets, of the workers
          .stderr() .stdout() -> text so far
          .records(name=None, count=None, **attributes) -> ElementTree elements, rotated files
          first; with COUNT it waits until there are so many
          .record(name, **attributes) -> waits for one, and there must be one only
          .validate_log()
Sink:     .port .dir .transcript() (lines) .raw(connection) .mails() (octets, in order)
          .report() (asks for it while it runs) .stop() .kill() .start() (again, on the same port)
Client:   a puppet.Peer (send, line, reply, replies, codes, expect, rest, silent, end, reset) with
          hello(), command(), send_message(), envelope(), quit()

What a test needs and this machine lacks is a reason to skip it, which is said, but where CI=true a
failure: see missing().

Nothing leaves loopback. As root the daemon becomes `nobody`. Each test has a directory of its own,
test.dir, that stays where the test fails. Only processes that the harness has started are ended, by
their id.
"""
import contextlib
import functools
import hashlib
import itertools
import json
import os
import pathlib
import pwd
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

import puppet

SOURCES = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", SOURCES / "build")).resolve()
CTL = BUILD / "carontectl"
SCHEMA = SOURCES / "src/xmllog/caronte-log.rng"
CARONTE = BUILD / "caronte"
SINK = BUILD / "caronte-sink"
ROOT = os.getuid() == 0
LONG = bool(os.environ.get("CARONTE_LONG"))  # tests at their full size, and those of minutes
PATIENCE_S, SOON_S, FAR_S = puppet.PATIENCE_S, puppet.SOON_S, puppet.FAR_S
LOCAL = "@local.test"
SANITIZER = re.compile(r"Sanitizer|runtime error:|CHECK failed", re.I)
EX_USAGE, EX_UNAVAILABLE, EX_SOFTWARE, EX_IOERR = 64, 69, 70, 74
EX_PROTOCOL, EX_NOPERM, EX_CONFIG = 76, 77, 78

DEFAULTS = {
    "LISTEN_ADDRESS": "127.0.0.1",
    "USER": "nobody" if ROOT else "",
    "LOG_LEVEL": 3,
    "RECIPIENTS": [LOCAL],
    "WORKERS": 2,
    "MAX_SESSIONS": 200,  # what a small RLIMIT_NOFILE carries
    "MAX_IDLE_COMMANDS": 1000000,  # tests say many a NOOP to see whether all is well
    "STOP_GRACE": 2,
    "SERVER_NAME": "caronte.test",  # the host's own name may be a question to a name server
}
if os.environ.get("CARONTE_TLS_KERNEL"):  # see test_tls_kernel.py
    DEFAULTS["TLS_KERNEL_AUTO"] = True


def wait_until(condition, seconds=PATIENCE_S):
    """What CONDITION returns, once it is true."""
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError("did not come about in %g s" % seconds)
        time.sleep(min(0.01 + waited / 10, 0.5))
    return found


def ctl(*arguments, patience_s=3 * PATIENCE_S):
    """carontectl run to its end, whatever comes of it."""
    done = subprocess.run([CTL, *map(str, arguments)], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=patience_s)
    if SANITIZER.search(done.stderr):
        raise AssertionError(done.stderr)
    return done


def missing(what):
    """Ends a test for which this machine lacks something."""
    if os.environ.get("CI") == "true":
        raise AssertionError(what)
    raise unittest.SkipTest(what)


def allow_descriptors(count):
    """So many for this process, and what it starts; skips the test where that may not be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    except (ValueError, OSError):
        raise unittest.SkipTest("%d open files are not allowed here" % count) from None


@functools.cache
def unpacked(package, program):
    """Where a package lies that was unpacked and not installed, with PROGRAM in it."""
    plain = BUILD.with_name(BUILD.name.removesuffix("-asan"))
    for build in (BUILD, plain):
        if (build / "unpacked" / package / program).exists():
            return build / "unpacked" / package
    missing("%s is not unpacked in %s (tools/need --unpack does it)" %
            (package, plain / "unpacked"))


def sha256(octets):
    return hashlib.sha256(octets).hexdigest()


@functools.cache
def first_ephemeral_port():
    return int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def own_ports(low, high):
    """Those of them that no other job takes."""
    place, places = map(int, os.environ.get("PORTS", "0/1").split("/"))
    return range(low + place, high, places)


reserved = []  # UDP sockets, which nothing else here has: a port's belongs to who uses the port


def reserve(port, address="127.0.0.1"):
    """Whether nobody listens there and no job has reserved the port, another run's neither: two
    daemons of one user may share a port without a word. It stays reserved while the job lasts."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    mark = socket.socket(family, socket.SOCK_DGRAM)
    with socket.socket(family) as s, contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mark.bind((address, port))
        s.bind((address, port))
        reserved.append(mark)
        return True
    mark.close()
    return False


def free_port(address="127.0.0.1"):
    """A port that nobody listens on, that the kernel gives to no outgoing connection, and that no
    other job takes."""
    ports = own_ports(10000, max(first_ephemeral_port(), 12000))
    while not reserve(port := random.choice(ports), address):
        pass
    return port


def connections_to(port):
    """What are open, or half closed, at their own end: names as in /proc/PID/fd."""
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {"socket:[%s]" % row[9] for row in rows
            if row[2].endswith(":%04X" % port) and row[3] in ("01", "08")}


def name_of(first_words):
    """The --name of the sink that said this first: see Client.meet()."""
    words = first_words.decode().split()
    return words[2] if TestCase.gateway else words[1]


def refuses(at):
    """Whether nobody listens there: a port, or "unix:/PATH"."""
    path = isinstance(at, str) and at.removeprefix("unix:")
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as s:
        return s.connect_ex(path or ("127.0.0.1", at)) != 0


def run_caronte(*arguments, stdout=subprocess.PIPE, **how):
    """The daemon for as long as it runs by itself: a CompletedProcess with text."""
    return subprocess.run([CARONTE, *map(str, arguments)], stdin=subprocess.DEVNULL, text=True,
                          stdout=stdout, stderr=subprocess.PIPE, timeout=PATIENCE_S, **how)


def give_to_user(path):
    """Makes what lies at PATH the daemon's own."""
    if ROOT:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def pipes_are_scarce():
    """Whether the kernel gives the daemon's user, who is another run's too, no whole pipe now."""
    how = {"user": "nobody", "extra_groups": []} if ROOT else {}
    said = subprocess.run(["/usr/bin/python3", "-c", "import fcntl, os\n"
                           "print(fcntl.fcntl(os.pipe()[0], fcntl.F_GETPIPE_SZ))"],
                          stdout=subprocess.PIPE, check=True, cwd="/", **how).stdout
    return int(said) < 65536


def child_pids(pid):
    """The children of a process; empty when it is gone."""
    with contextlib.suppress(OSError):
        return [int(word) for task in pathlib.Path("/proc/%d/task" % pid).iterdir()
                for word in (task / "children").read_text().split()]
    return []


def only_root_sees():
    """What stands in memory and descriptors of Caronte's processes."""
    if not ROOT:
        raise unittest.SkipTest("only root can look into Caronte's processes")


def limit_descriptors(pid, soft):
    """As the user that the process is of, who needs no privilege for that; the limit so far."""
    who = dict(user="nobody", group=pwd.getpwnam("nobody").pw_gid, extra_groups=[]) if ROOT else {}
    return subprocess.run(
        ["prlimit", "--pid", str(pid), "--nofile=%s:" % soft] if soft else
        ["prlimit", "--pid", str(pid), "--nofile", "--noheadings", "--output", "SOFT"],
        check=True, stdout=subprocess.PIPE, text=True, **who).stdout.strip()


def state_of(pid):
    """The letter of a process's state, as in /proc/PID/stat; "X" once it is reaped."""
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0]
    return "X"


def stands_still(pid):
    """Whether none of its threads runs any more, be it that it has ended."""
    for stat in pathlib.Path("/proc/%d/task" % pid).glob("*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(")")
            # (The kernel's own threads, for io_uring, hear no signal.)
            if rest.split()[0] not in "TXZ" and "(iou-" not in name:
                return False
    return True


@contextlib.contextmanager
def frozen(*pids):
    """These processes stand still meanwhile, with all of their threads: those that have not taken
    the signal run on until the one that has is run again."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for pid in pids:
            wait_until(lambda: stands_still(pid))
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def processor_s(pid):
    """Processor time that a process has taken so far."""
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def is_gone(pid):
    """Whether a process has ended, reaped or not."""
    return state_of(pid) in "XZ"


def parse_log(path):
    """The records of a log file, which must be well-formed whenever nobody writes to it; it may be
    written to right now, so it gets some chances."""
    for chances_left in reversed(range(20)):
        try:
            return list(xml.etree.ElementTree.fromstring(path.read_bytes()))
        except (xml.etree.ElementTree.ParseError, FileNotFoundError):
            if not chances_left:
                raise
            time.sleep(0.01)


def validate(*paths):
    """Fails where a log file is not valid against the schema, or, without xmllint (test_log.py says
    so), not well-formed. One that was written to meanwhile is looked at again."""
    if not shutil.which("xmllint"):
        for path in paths:
            parse_log(path)
        return
    deadline = time.monotonic() + PATIENCE_S
    while True:
        before = [(s.st_size, s.st_mtime_ns) for s in map(os.stat, paths)]
        done = subprocess.run(["xmllint", "--noout", "--huge", "--relaxng", SCHEMA, *paths],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not done.returncode:
            return
        after = [(s.st_size, s.st_mtime_ns) for s in map(os.stat, paths)]
        if before == after or time.monotonic() > deadline:
            raise AssertionError("log not valid: %s" % done.stdout[-2000:])


class Program:
    """A program that runs in the background and says on standard error when it is ready."""

    def __init__(self, name):
        self.dir = TestCase.running.new_dir(name)
        self.process = None
        TestCase.running.addCleanup(self.clean_up)

    def clean_up(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def launch(self, argv, **how):
        with open(self.dir / "stdout", "ab") as out, open(self.dir / "stderr", "wb") as err:
            self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=err, cwd=self.dir, **how)

    def wait_ready(self, lines=1):
        """False where it ended before it was ready."""
        def ready():
            return self.stderr().count(": ready, listening on ") >= lines or \
                self.process.poll() is not None
        wait_until(ready)
        return self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def stderr(self):
        return (self.dir / "stderr").read_text(errors="backslashreplace")

    def stdout(self):
        return (self.dir / "stdout").read_text(errors="backslashreplace")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self.start()

    def refuse_reports(self):
        if found := SANITIZER.search(self.stderr()):
            raise AssertionError("%s: %s" % (self.dir.name, self.stderr()[found.start():][:4000]))


class Caronte(Program):
    def __init__(self, destination, engine="auto", dialog="sniff", options=(), **settings):
        super().__init__("caronte")
        self.options = options
        self.may_die = False
        self.killed = False
        self.conf = self.dir / "caronte.conf"
        self.log = self.dir / "log/caronte.xml"
        self.archive = self.dir / "archive"
        for each in (self.log.parent, self.archive):
            each.mkdir()
            give_to_user(each)
        self.settings = dict(DEFAULTS, LOG_FILE=str(self.log), LOG_ARCHIVE_DIR=str(self.archive))
        if destination is not None:
            self.settings["DESTINATIONS"] = destination if isinstance(destination, str) \
                else getattr(destination, "place", None) or "127.0.0.1:%d" % destination.port
        if engine != "auto":
            self.settings["ENGINE_" + engine.upper()] = True
        if dialog != "sniff":
            self.settings["DIALOG_" + dialog.upper()] = True
        self.settings.update(settings)
        self.wants_port = "LISTEN_PORT" not in self.settings

    @property
    def port(self):
        return self.settings["LISTEN_PORT"]

    @property
    def recipients(self):
        return self.dir / "recipients"

    def configure(self, **settings):
        """Writes the configuration, with other settings than before."""
        self.settings.update(settings)
        self.conf.write_text("".join(map(self.line, *zip(*self.settings.items()))))

    def line(self, name, value):
        if value is None:
            return ""
        if value is False:
            return "# CONFIG_%s is not set\n" % name
        if value is True:
            return "CONFIG_%s=y\n" % name
        if isinstance(value, int):
            return "CONFIG_%s=%d\n" % (name, value)
        if isinstance(value, list):
            path = self.dir / name.lower()
            path.write_text("".join(item + "\n" for item in value))
            value = str(path)
        return 'CONFIG_%s="%s"\n' % (name, re.sub(r'(["\\])', r"\\\1", value))

    def launch_once(self):
        if self.wants_port:
            self.settings["LISTEN_PORT"] = free_port()
        self.configure()
        self.launch([CARONTE, "-c", self.conf, *self.options])
        return self.wait_ready()

    def start(self):
        self.killed = False
        until = time.monotonic() + PATIENCE_S
        goes_on = self.log.exists()
        for chance in itertools.count(1):
            if self.launch_once():
                return self
            if self.lacks_ring() and not goes_on and time.monotonic() < until:
                time.sleep(1)  # the kernel takes those of what has ended a while later
                self.log.unlink(missing_ok=True)
            elif chance == 5 or not self.wants_port or \
                    self.process.returncode != EX_UNAVAILABLE:
                break
        raise AssertionError("caronte did not start, status %d: %s" % (
            self.process.returncode, self.stderr()))

    def lacks_ring(self):
        said = self.stderr() + (self.log.read_text() if self.log.exists() else "")
        return "no memory for a ring" in said

    def clean_up(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def kill(self):
        """kill -9 of the master and of all its children, so that none of them sees it coming."""
        children = list(self.processes())
        for pid in (self.pid, *children):
            os.kill(pid, signal.SIGSTOP)
        for pid in (self.pid, *children):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.killed = True
        wait_until(lambda: all(map(is_gone, children)))

    def reap_master(self):
        """kill -9 of it alone: its children, who are nobody's now, must end."""
        children = list(self.processes())
        self.process.kill()
        self.process.wait()
        self.killed = True
        return children

    def processes(self):
        """Names of the children, as they call themselves."""
        names = {}
        for pid in child_pids(self.pid):
            with contextlib.suppress(OSError):
                names[pid] = pathlib.Path("/proc/%d/comm" % pid).read_text().strip()
        return names

    def workers(self):
        return [pid for pid, name in self.processes().items() if name.startswith("caronte-w")]

    def memory(self):
        """Octets of memory that no file backs, of all workers."""
        total = 0
        for pid in self.workers():
            with open("/proc/%d/status" % pid, encoding="ascii") as f:
                total += sum(int(line.split()[1]) << 10 for line in f
                             if line.startswith(("RssAnon:", "RssShmem:")))
        return total

    def writer(self):
        """The log writer, which may be starting (again) just now."""
        return wait_until(lambda: [pid for pid, name in self.processes().items()
                                   if name == "caronte-log"])[0]

    def logs(self):
        return sorted(self.archive.glob("*.xml")) + [self.log] * self.log.exists()

    def records(self, name=None, count=None, **attributes):
        def found():
            return [record for path in self.logs() for record in parse_log(path)
                    if name in (None, record.tag)
                    and all(record.get(key) == str(value) for key, value in attributes.items())]
        if count is None:
            return found()
        records = []

        def enough():
            records[:] = found()
            return len(records) >= count
        try:
            wait_until(enough)
        except AssertionError:
            raise AssertionError("%d records <%s %r>, not %d" % (
                len(records), name, attributes, count)) from None
        return records

    def record(self, name, **attributes):
        records = self.records(name, count=1, **attributes)
        if len(records) > 1:
            raise AssertionError("%d records <%s %r>" % (len(records), name, attributes))
        return records[0]

    def validate_log(self):
        if self.logs():
            validate(*self.logs())

    def __exit__(self, kind, *rest):
        if kind is KeyboardInterrupt:
            self.clean_up()
            return
        children = [] if self.killed or self.process.poll() is not None else list(self.processes())
        status = self.stop() if not self.killed else 0
        try:
            wait_until(lambda: all(map(is_gone, children)))
            self.refuse_reports()
            if status != 0:
                raise AssertionError("caronte: exit status %d, %s" % (status, self.stderr()))
            self.validate_log()
            if not self.may_die and (died := self.records("fault", what="worker-died")):
                raise AssertionError("a worker died: %r" % died[0].attrib)
        except AssertionError as fault:
            if kind is None:
                raise
            rest[0].add_note("and afterwards: %s" % fault)


class Sink(Program):
    """caronte-sink with these arguments, a transcript, raw octets and a report; at a Unix socket in
    its directory where `unix` says so. Not `told`: only the report, so it waits for no disk."""
    unix = False

    def __init__(self, *arguments, maildir=False, digest=False, unix=None, told=True):
        super().__init__("sink")
        self.files = ["--transcript", "transcript", "--raw", "raw"] if told else []
        self.place = "unix:%s/socket" % self.dir if self.unix or unix else None
        if TestCase.gateway and "--name" in arguments:  # see name_of()
            name = arguments[arguments.index("--name") + 1]
            arguments = ("--reply", "RCPT=250 2.1.5 " + name, *arguments)
        self.arguments = list(arguments) + ["--maildir", "mails"] * maildir + ["--digest"] * digest
        self.port = None
        self.expect_status = 0

    def start(self):
        """At the same port as before, where it ran before."""
        for chance in range(5):
            port = self.port or free_port()
            self.launch([SINK, "--listen", self.place or "127.0.0.1:%d" % port, "--name",
                         "sink.test", *self.files, "--report", "report", *self.arguments])
            if self.wait_ready():
                self.port = port
                return self
            if self.port or "in use" not in self.stderr():
                break
        raise AssertionError("caronte-sink did not start: %s" % self.stderr())

    def __exit__(self, kind, *rest):
        status = self.stop()
        if kind is None:
            self.refuse_reports()
            if status != self.expect_status:
                raise AssertionError("caronte-sink: exit status %d, %s" % (status, self.stderr()))

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait()
        self.expect_status = -signal.SIGKILL
        # The kernel takes a ring's sockets down a moment after its process.
        wait_until(lambda: refuses(self.place or self.port))

    def transcript(self):
        """Lines `CONNECTION TAG: text`."""
        return (self.dir / "transcript").read_text("ascii").splitlines()

    def commands(self, connection=None):
        """The lines that clients sent, of one connection or of all."""
        return [line.split(" ", 2)[2] for line in self.transcript()
                if re.match(r"%s C: " % (connection or r"\d+"), line)]

    def raw(self, connection=1):
        return (self.dir / "raw" / ("connection-%d.raw" % connection)).read_bytes()

    def mails(self):
        def number(path):
            found = re.search(r"C(\d+)M(\d+)\.", path.name)
            return int(found[1]), int(found[2])
        return [path.read_bytes() for path in sorted((self.dir / "mails/new").glob("*"),
                                                     key=number)]

    def report(self):
        path = self.dir / "report"
        if self.process.poll() is None:
            path.unlink(missing_ok=True)
            self.process.send_signal(signal.SIGUSR1)
            wait_until(path.exists)
        return json.loads(path.read_text())


class Client(puppet.Peer):
    def __init__(self, port, address="127.0.0.1", source=None):
        super().__init__(socket.create_connection((address, port), PATIENCE_S,
                                                  source and (source, 0)))
        self.socket.settimeout(PATIENCE_S)

    def command(self, line, code=None):
        """The reply to a line, which must begin with CODE where that is given."""
        self.send(line.encode() + b"\r\n" if isinstance(line, str) else line + b"\r\n")
        reply = self.reply()
        if code is not None and reply[:3] != b"%d" % code:
            raise AssertionError("%r: got %r, not %d" % (line[:200], reply, code))
        return reply

    def hello(self, name="client.test"):
        """The greeting and EHLO; the lines of the reply without codes."""
        greeting = self.reply()
        if greeting[:3] != b"220":
            raise AssertionError("greeting is %r" % greeting)
        reply = self.command("EHLO " + name, 250).decode()
        return [line[4:] for line in reply.splitlines()]

    def begin(self):
        """So far that the next reply is the first thing that the destination has to say: its
        greeting or, with the gateway dialog, its answer to a recipient. (Where Caronte knows of
        no destination at all, its own greeting is that.)"""
        if TestCase.gateway:
            greeting = self.reply()
            self.got = greeting + self.got
            if greeting[:3] == b"220":
                self.hello()
                self.command("MAIL FROM:<a@client.test>", 250)
                self.send(b"RCPT TO:<b@local.test>\r\n")

    def meet(self):
        """The destination's first words."""
        self.begin()
        return self.reply()

    def envelope(self, sender="a@client.test", recipients=("b@local.test",)):
        self.command("MAIL FROM:<%s>" % sender, 250)
        for recipient in recipients:
            self.command("RCPT TO:<%s>" % recipient, 250)

    def send_message(self, body, sender="a@client.test", recipients=("b@local.test",)):
        """A whole transaction; BODY has CR LF at the end of each line, or is empty, and is stuffed
        here. The answer to the end of data."""
        self.envelope(sender, recipients)
        self.command("DATA", 354)
        self.send(re.sub(rb"^\.", b"..", body, flags=re.M) + b".\r\n")
        return self.reply()

    def quit(self):
        self.command("QUIT", 221)
        if self.rest() != b"":
            raise AssertionError("octets behind 221")
        self.close()


class TestCase(unittest.TestCase):
    engine = os.environ.get("ENGINE", "auto")
    dialog = os.environ.get("DIALOG", "sniff")
    gateway = dialog == "gateway"
    dialogs = ("sniff", "gateway")  # that concern a class
    each_engine = True  # False: the class runs with one of them only
    running = None  # the test that runs
    kept = []  # directories of tests that failed
    maxDiff = 4000

    def run(self, result=None):
        result = self.defaultTestResult() if result is None else result
        faults = len(result.failures) + len(result.errors)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="caronte-e2e-"))
        self.dir.chmod(0o755)
        TestCase.running = self
        try:
            super().run(result)
        except KeyboardInterrupt:
            self.doCleanups()
            raise
        finally:
            TestCase.running = None
            if len(result.failures) + len(result.errors) == faults:
                shutil.rmtree(self.dir)
            else:
                TestCase.kept.append((self.id(), self.dir))

    def new_dir(self, name):
        """A directory of this name, numbered."""
        number = 1
        while (path := self.dir / ("%s-%d" % (name, number))).exists():
            number += 1
        path.mkdir()
        path.chmod(0o755)
        return path

    def caronte(self, destination=None, **settings):
        return Caronte(destination, **{"engine": self.engine, "dialog": self.dialog, **settings})

    def by_dialog(self, sniff, gateway):
        """What is true of the dialog at hand."""
        return gateway if self.gateway else sniff
