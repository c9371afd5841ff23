# SPDX-License-Identifier: ISC
"""What is measured: Caronte in its variants, its peers, and the programs around them.

A Subject is started anew for each sample, in a directory and a control group of its own, and
stopped after it. Peers lie unpacked in BUILD/unpacked (tools/need --unpack puts them there, and
tools/unpack-newer those of a newer release); their configurations are the files of bench/peers,
whose @NAMES@ are filled in here. What is missing or does not run here says so by Missing, and is
left out of the measuring.
"""
import contextlib
import ctypes
import dataclasses
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import meter

HERE = pathlib.Path(__file__).resolve().parent
ROOT = os.getuid() == 0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
USER = "nobody" if ROOT else ""
HAPROXIES = ("haproxy-3.2", "haproxy")  # unpacked as; that of the targets, and the release's own


class Missing(Exception):
    """A subject that this machine cannot run, and why."""


class Fault(Exception):
    """A sample that does not count, and why."""


def wait_until(condition, what, seconds=20):
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise Fault("%s: not within %d s" % (what, seconds))
        time.sleep(0.02)
    return found


class Place:
    """Where the programs run: loopback, or two hosts joined by a cable (network namespaces and a
    veth pair, MTU 1500), the proxy on one, the load and the sinks on the other."""

    outside = inside = "127.0.0.1"

    def elsewhere(self):
        """Arguments of caronte-load for clients with other addresses."""
        return ["--from", ",".join("127.0.9.%d" % n for n in range(1, 65))]

    def command(self, side, argv):
        """What starts ARGV on a side, "inside" (the proxy's) or "outside"."""
        return argv

    def close(self):
        pass


class Veth(Place):
    outside, inside = "10.99.0.1", "10.99.0.2"

    def elsewhere(self):
        return []

    def __init__(self):
        if not ROOT:
            raise Missing("only root can make network namespaces")
        if not shutil.which("ip") or not shutil.which("nsenter"):
            raise Missing("ip(8) or nsenter(1) is missing")
        self.holders = {}
        try:
            for side in ("outside", "inside"):
                self.holders[side] = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                                      preexec_fn=end_with_us)
            ours = os.readlink("/proc/self/ns/net")
            wait_until(lambda: all(os.readlink("/proc/%d/ns/net" % h.pid) != ours
                                   for h in self.holders.values()), "network namespaces")
            self.join()
        except BaseException:
            self.close()
            raise

    def join(self):
        def run(side, *words):
            subprocess.run(self.command(side, ["ip", *words]), check=True)
        run("outside", "link", "add", "cable0", "mtu", "1500", "type", "veth", "peer", "name",
            "cable1", "mtu", "1500", "netns", str(self.holders["inside"].pid))
        for side, device, address in (("outside", "cable0", self.outside),
                                      ("inside", "cable1", self.inside)):
            run(side, "link", "set", "lo", "up")
            run(side, "address", "add", address + "/24", "dev", device)
            run(side, "link", "set", device, "up")

    def command(self, side, argv):
        return ["nsenter", "-t", str(self.holders[side].pid), "-n", "--", *argv]

    def close(self):
        for holder in self.holders.values():
            holder.kill()
            holder.wait()


def end_with_us():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    """A port of no listener, and none that outgoing connections get."""
    low = 10000
    high = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(low, max(high, low + 2000))
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("0.0.0.0", port))
            return port


class Program:
    """A program in the background, with what it says in a file."""

    def __init__(self, bench, name, side, argv, group=None, env=None, own_group=False):
        self.said = bench.dir / (name + ".said")

        def enter():
            end_with_us()
            (group or bench.around).enter()
            if bench.pin and group:
                os.sched_setaffinity(0, bench.pin[0])
            elif bench.pin:
                os.sched_setaffinity(0, bench.pin[1])
        with open(self.said, "wb") as out:
            self.process = subprocess.Popen(
                bench.place.command(side, [str(word) for word in argv]), stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, preexec_fn=enter, env=env, cwd=bench.dir,
                process_group=0 if own_group else None)
        if group:
            group.first = self.process.pid
        bench.running.append(self)

    def text(self):
        return self.said.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGTERM, seconds=15):
        if self.alive():
            self.process.send_signal(how)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


GREETED = r"""
import socket, ssl, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
    if sys.argv[3] == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        s = context.wrap_socket(s)
    ok = s.recv(4) == b"220 "
    s.sendall(b"QUIT\r\n")
    s.recv(100)
sys.exit(not ok)
"""


OFFERED = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES",
           "CHUNKING")


def sink_that_knows(command, answer):
    """Options of caronte-sink for a destination that offers COMMAND, and answers it so."""
    return [*(word for line in (*OFFERED, command + " NAME ADDR PORT PROTO HELO IDENT SOURCE")
              for word in ("--ext", line)), "--reply", "UNKNOWN:%s=%s" % (command, answer)]


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a way of identity asks of Caronte's settings and of the programs around it."""
    title: str
    setting: str = ""
    option: str = ""  # of each destination
    load: tuple = ()  # options of caronte-load
    sink: tuple = ()


IDENTITIES = {
    "": Identity("nobody is told"),
    "from-proxy": Identity("a PROXY header from the client's side", 'CONFIG_PROXY_FROM="0.0.0.0/0"',
                           load=("--proxy", "127.0.0.1")),
    "to-proxy1": Identity("identity=proxy1", option=",identity=proxy1", sink=("--proxy",)),
    "to-proxy2": Identity("identity=proxy2", option=",identity=proxy2", sink=("--proxy",)),
    "to-xclient": Identity("identity=xclient", option=",identity=xclient",
                           sink=sink_that_knows("XCLIENT", "220 sink.test ESMTP")),
    "to-xforward": Identity("identity=xforward", option=",identity=xforward",
                            sink=sink_that_knows("XFORWARD", "250 2.0.0 Ok")),
}


class Secure:
    """TLS of a sample: how it begins, and the file with key and certificate."""

    def __init__(self, how, pem):
        self.how, self.pem = how, pem


class Subject:
    """One way between client and destination."""
    name = None
    dialog = engine = body = None
    holds_idle = True  # can hold ten thousand idle connections
    adds_header = False
    skips_221 = False  # closes the connection behind a refusal
    identity = ""  # how one hears or tells who the client is: a key of IDENTITIES
    secures = ()  # "tls" from the first octet, "starttls": what it can be measured with
    secure = None  # of the sample that runs

    def __init__(self, bench):
        self.bench = bench
        self.program = self.group = None
        self.check()

    def check(self):
        """Raises Missing."""

    def fill(self, template, **names):
        """The text of a file of bench/peers with its names filled in."""
        text = (HERE / "peers" / template).read_text()
        for name, value in names.items():
            text = text.replace("@%s@" % name, str(value))
        if left := re.search(r"@[A-Z_]+@", text):
            raise Missing("%s: %s is not known" % (template, left[0]))
        return text

    def write(self, template, where=None, **names):
        path = self.bench.dir / (where or template)
        path.write_text(self.fill(template, **names))
        return path

    def launch(self, argv, **how):
        self.group = meter.Group("caronte-bench-%d" % os.getpid())
        self.program = Program(self.bench, self.name, "inside", argv, group=self.group, **how)

    def start(self, sinks, sessions, secure=None):
        """Starts, before SINKS ("HOST:PORT" of each), for so many sessions at once."""
        self.host, self.port = self.bench.place.inside, free_port()
        self.secure = secure
        self.open(sinks, sessions)
        wait_until(self.greets, self.name)

    def greets(self):
        """Whether it serves."""
        self.refuse_death()
        done = subprocess.run(self.bench.place.command("outside", [
            "/usr/bin/python3", "-c", GREETED, self.host, str(self.port),
            self.secure.how if self.secure else ""]), stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def refuse_death(self):
        if not self.program.alive():
            raise Fault("%s ended: %s" % (self.name, self.program.text()[-500:]))

    def mark(self):
        """What is done from now on belongs to the load that follows."""

    def settle(self, figures):
        """Waits until what belongs to a load has been done; raises Fault."""
        time.sleep(0.15)

    def stop(self):
        if self.program:
            self.program.stop()
        if self.group:
            wait_until(self.empty, "the end of " + self.name)
            self.group.remove()
        self.program = self.group = None

    def empty(self):
        """Whether all its processes have gone; those that outlive their parent are ended."""
        left = [pid for pid in self.group.pids() if pid != os.getpid()]
        for pid in left if not self.program.alive() and self.group.paths else []:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        return not left or not self.group.paths

    def version(self):
        return ""


class Direct(Subject):
    """No proxy: the limit of client and sink."""
    name = "direct"

    def start(self, sinks, sessions, secure=None):
        self.host, self.port = sinks[0].rsplit(":", 1)
        self.port = int(self.port)


class Caronte(Subject):
    secures = "tls", "starttls"

    prefix = "caronte"

    def __init__(self, bench, dialog="sniff", engine="auto", body="auto", keys=True, identity=""):
        self.dialog, self.engine, self.body, self.keys = dialog, engine, body, keys
        self.identity = identity
        self.build = bench.build
        self.name = "-".join([self.prefix, dialog, *[word for word in (engine, body)
                                                   if word != "auto"],
                              *([] if keys else ["without-key-process"]),
                              *([identity] if identity else [])])
        super().__init__(bench)

    def check(self):
        if self.dialog == "gateway" and not self.bench.has_setting("DIALOG_GATEWAY"):
            raise Missing("this Caronte has no DIALOG_GATEWAY")
        if self.engine == "io_uring" and not self.bench.has_io_uring():
            raise Missing("io_uring is not to be had here")

    def variant(self):
        lines = ["CONFIG_ENGINE_%s=y" % self.engine.upper(), "CONFIG_BODY_%s=y" % self.body.upper(),
                 IDENTITIES[self.identity].setting]
        if self.bench.has_setting("DIALOG_SNIFF"):
            lines.append("CONFIG_DIALOG_%s=y" % self.dialog.upper())
        if self.secure:
            lines.append('CONFIG_TLS_CERTIFICATE="%s"' % self.secure.pem)
            if not self.keys:
                lines.append("# CONFIG_TLS_KEY_PROCESS is not set")
        if self.secure and self.secure.how == "tls":
            lines.append("CONFIG_LISTEN_TLS_PORT=%d" % self.port)
        return "\n".join(lines) + "\n"

    def smtp_port(self):
        return free_port() if self.secure and self.secure.how == "tls" else self.port

    def open(self, sinks, sessions):
        top = self.bench.dir
        for name in ("log", "archive"):
            (top / name).mkdir()
            if ROOT:
                os.chown(top / name, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
        (top / "recipients").write_text("@local.test\n")
        more = "CONFIG_COOPERATION_CLUSTER=y\n" if len(sinks) > 1 else ""
        path = self.write("caronte.conf", HOST=self.host, PORT=self.smtp_port(), USER=USER,
                          WORKERS=self.bench.workers, DIR=top, DESTINATIONS=" ".join(
                              sink + IDENTITIES[self.identity].option for sink in sinks),
                          MAX=sessions + 64, VARIANT=self.variant() + more)
        self.log = top / "log/caronte.xml"
        self.launch([self.build / "caronte", "-c", path])

    def greets(self):
        self.refuse_death()
        return "ready, listening" in self.program.text()

    def uses_io_uring(self):
        for pid in self.group.pids():
            for fd in pathlib.Path("/proc/%d/fd" % pid).glob("*"):
                with contextlib.suppress(OSError):
                    if "io_uring" in os.readlink(fd):
                        return True
        return False

    def counts(self):
        """How many records of each kind the log has."""
        text = self.log.read_bytes() if self.log.exists() else b""
        return {kind: text.count(b"\n<%s " % kind.encode())
                for kind in ("session", "message", "recipient", "fault")} | {
                    "dropped": text.count(b'what="log-dropped"'),
                    "refused": text.count(b'verdict="refuse"')}

    def mark(self):
        self.before = self.counts()

    def settle(self, figures):
        super().settle(figures)
        wanted = {"session": figures["connected"], "message": figures["messages"],
                  "refused": figures["refused"]}

        def written():
            now = self.counts()
            if now["dropped"]:
                raise Fault("%s: the log has lost records" % self.name)
            return all(now[kind] - self.before[kind] >= wanted[kind] for kind in wanted)
        wait_until(written, "records in the log of " + self.name)
        now = self.counts()
        if any(now[kind] - self.before[kind] != wanted[kind] for kind in wanted):
            raise Fault("%s: the log has other records than one a message" % self.name)

    def version(self):
        return "Caronte " + subprocess.run([self.build / "caronte", "-V"], text=True,
                                           stdout=subprocess.PIPE).stdout.split()[-1]


class Beside(Caronte):
    """Another build, to see what a change has cost: its log and settings are as ours."""
    prefix = "beside"
    secures = ()

    def check(self):
        super().check()
        self.build = self.bench.beside


class Peer(Subject):
    """A program that is unpacked, not installed. A tree of a newer release has a loader of its own
    and every library."""
    package = binary = None

    def check(self):
        self.path = self.bench.unpacked / self.package
        if not (self.path / self.binary).exists():
            raise Missing("%s is not unpacked in %s" % (self.package, self.bench.unpacked))
        done = subprocess.run([*(self.loader("--list") or ["ldd"]), self.path / self.binary],
                              env=self.environment(), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        if lacks := re.findall(r"(\S+) => not found", done.stdout):
            raise Missing("it needs " + ", ".join(sorted(set(lacks))))

    def loader(self, *options):
        """What to say before the program; nothing where the system's loader is the one."""
        for loader in self.path.glob("usr/lib/*-linux-gnu*/ld*.so.[0-9]*"):
            return [loader, "--inhibit-cache", "--library-path", loader.parent, *options]
        return []

    def command(self, *words):
        return [*self.loader(), self.path / self.binary, *words]

    def environment(self):
        libraries = [str(path) for path in self.bench.unpacked.glob("lib*/usr/lib/*-linux-gnu")]
        return dict(os.environ, LD_LIBRARY_PATH=":".join(libraries))

    def listen(self):
        return "%s:%d" % (self.host, self.port)


class HAProxy(Peer):
    binary = "usr/sbin/haproxy"
    secures = "tls",

    def __init__(self, bench, package, splice):
        self.package, self.splice = package, splice
        self.name = modes(package)[splice]
        super().__init__(bench)

    def open(self, sinks, sessions):
        servers = "".join("\tserver s%d %s\n" % item for item in enumerate(sinks))
        path = self.write("haproxy.cfg", SPLICE="option splice-auto" if self.splice else "",
                          MAX=sessions + 16, WORKERS=self.bench.workers, SERVERS=servers,
                          LISTEN=self.listen() + (" ssl crt %s" % self.secure.pem if self.secure
                                                  else ""))
        self.launch(self.command("-db", "-q", "-f", path), env=self.environment())

    def version(self):
        return subprocess.run(self.command("-v"), env=self.environment(), text=True,
                              stdout=subprocess.PIPE).stdout.split(" 20")[0]


class Nginx(Peer):
    package, binary = "nginx", "usr/sbin/nginx"
    module = None

    def check(self):
        super().check()
        self.modules = self.bench.unpacked / self.module / "usr/lib/nginx/modules"
        if not self.modules.exists():
            raise Missing("%s is not unpacked" % self.module)

    def run(self, sessions, **names):
        how, secured = self.secure.how if self.secure else "", ""
        if self.secure:
            secured = "ssl_certificate %s; ssl_certificate_key %s;%s" % (
                self.secure.pem, self.secure.pem, " starttls on;" if how == "starttls" else "")
        path = self.write(self.template, MODULES=self.modules, WORKERS=self.bench.workers,
                          FILES=self.bench.files, DIR=self.bench.dir,
                          LISTEN=self.listen() + (" ssl" if how == "tls" else ""), SECURED=secured,
                          CONNECTIONS=min(3 * sessions + 64, self.bench.files - 64), **names)
        self.launch(self.command("-c", path, "-p", self.bench.dir, "-e", "stderr"),
                    env=self.environment())

    def version(self):
        return subprocess.run(self.command("-v"), env=self.environment(), text=True,
                              stderr=subprocess.PIPE).stderr.split(": ")[-1].strip()


class NginxStream(Nginx):
    name, module, template = "nginx-stream", "libnginx-mod-stream", "nginx-stream.conf"
    secures = "tls",

    def open(self, sinks, sessions):
        self.run(sessions, SERVERS="".join("\t\tserver %s;\n" % sink for sink in sinks))


class NginxMail(Nginx):
    skips_221 = True
    secures = "tls", "starttls"
    name, module, template = "nginx-mail", "libnginx-mod-mail", "nginx-mail.conf"

    def open(self, sinks, sessions):
        host, port = sinks[0].rsplit(":", 1)
        self.run(sessions, AUTH="127.0.0.1:%d" % free_port(), DESTINATION_HOST=host,
                 DESTINATION_PORT=port)


class Postfix(Peer):
    name, package, binary = "postfix", "postfix", "usr/lib/postfix/sbin/smtpd"
    holds_idle = False  # a process for each session
    adds_header = True
    QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming",
              "maildrop", "private", "public", "saved", "trace")

    def check(self):
        if not ROOT:
            raise Missing("only root can start it")
        super().check()

    def environment(self):
        return dict(os.environ, LD_LIBRARY_PATH=str(self.path / "usr/lib/postfix"))

    def open(self, sinks, sessions):
        top = self.bench.dir / "postfix"
        owner = pwd.getpwnam("daemon")
        for name in ("", "conf", "queue", "queue/pid"):
            (top / name).mkdir()
        for path in [top / "data", *(top / "queue" / name for name in self.QUEUES)]:
            path.mkdir(mode=0o700)
            os.chown(path, owner.pw_uid, owner.pw_gid)
        for name in ("public", "private"):
            (top / "queue" / name).chmod(0o755)
        library = self.path / "usr/lib/postfix"
        names = {"DIR": top, "LIBRARY": library, "UNPACKED": self.path, "DESTINATION": sinks[0],
                 "LISTEN": self.listen(), "PROCESSES": sessions + 8}
        for name in ("main.cf", "master.cf"):
            path = top / "conf" / name
            path.write_text(self.fill("postfix-" + name, **{
                key: value for key, value in names.items()}))
            os.utime(path, (0, 0))  # it waits until its main.cf is some seconds old
        self.launch(["/bin/sh", "-c", 'exec "$0" -d -c "$1"', library / "sbin/master",
                     top / "conf"], env=self.environment(), own_group=True)

    def version(self):
        done = subprocess.run(["dpkg-query", "-f", "${Version}", "-W", "postfix"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        env = dict(self.environment(), MAIL_CONFIG=str(HERE))
        text = subprocess.run([self.path / "usr/sbin/postconf", "-d", "-h", "mail_version"],
                              env=env, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout.strip()
        return "Postfix " + (text or done.stdout or "of unknown version")


def variants(bench):
    """Every variant of Caronte, the default one of each dialog first."""
    made = []
    for dialog in ("sniff", "gateway"):
        made += [lambda d=dialog: Caronte(bench, d),
                 lambda d=dialog: Caronte(bench, d, engine="epoll"),
                 lambda d=dialog: Caronte(bench, d, body="splice"),
                 lambda d=dialog: Caronte(bench, d, body="copy"),
                 lambda d=dialog: Caronte(bench, d, engine="epoll", body="splice"),
                 lambda d=dialog: Caronte(bench, d, keys=False),
                 *(lambda d=dialog, i=identity: Caronte(bench, d, identity=i)
                   for identity in IDENTITIES if identity)]
        if bench.beside:
            made.append(lambda d=dialog: Beside(bench, d))
    return made


def peers(bench):
    return [*(lambda p=package, s=splice: HAProxy(bench, p, s)
              for package in HAPROXIES for splice in (False, True)),
            lambda: NginxStream(bench), lambda: NginxMail(bench), lambda: Postfix(bench)]


def modes(haproxy):
    """The subjects of a HAProxy: one that copies, one that splices."""
    return haproxy, haproxy + "-splice"


def anchors(names):
    """The HAProxies among subjects, the one first that the targets are for."""
    names = set(names)
    return [haproxy for haproxy in HAPROXIES if names.intersection(modes(haproxy))]
