# SPDX-License-Identifier: ISC
"""One sample: a subject and its sinks are started, loaded, looked at, and stopped.

A sample counts only where nothing went wrong anywhere: every message as expected at the client, the
octets at the sink those that were sent (a SHA-256 of each message, as often as it was
acknowledged), and for Caronte a record of each message and nothing dropped from the log. Else it
raises Fault. Of a subject that puts a header on top, Postfix, the messages are only counted.
"""
import collections
import dataclasses
import json
import signal
import subprocess
import time

import meter
import subjects
from subjects import Fault

IDLE_S = 5  # until a proxy has given back what coming up has taken


@dataclasses.dataclass(frozen=True)
class Load:
    name: str
    title: str
    arguments: tuple  # of caronte-load
    connections: int
    messages: int  # in a full run
    quick: int  # in a quick one
    warm: int = 64  # messages before the clock starts
    octets: int = 2048
    per_connection: int = 1
    refused: bool = False
    big: bool = False  # the way of the body matters
    extra: bool = False  # not in the table of targets; full runs only
    tls: str = ""  # "tls" from the first octet, "starttls"
    key: str = "p256"  # of the certificate
    resumed: bool = False
    identity: bool = False  # of each way in which the client's identity is heard or told

    def words(self, messages):
        return [*self.arguments, *(["--" + self.tls] if self.tls else []),
                *(["--resume"] if self.resumed else []), "-c", str(self.connections), "-k",
                str(self.per_connection),
                "-m", str(messages)]


LOADS = [
    Load("2k", "2 KB, one per connection", ("-s", "2048"), 32, 5000, 3000),
    Load("2k-10", "2 KB, ten per connection", ("-s", "2048"), 32, 10000, 6000, warm=320,
         per_connection=10),
    Load("50k", "50 KB", ("-s", "51200"), 32, 3000, 1500, octets=51200, big=True),
    Load("1m", "1 MB, DATA", ("-s", "1048576"), 8, 400, 200, warm=8, octets=1 << 20, big=True),
    Load("16m", "16 MB, DATA", ("-s", "16777216"), 4, 32, 16, warm=4, octets=1 << 24, big=True),
    Load("1m-bdat", "1 MB, BDAT", ("-s", "1048576", "-b"), 8, 400, 200, warm=8, octets=1 << 20,
         big=True),
    Load("refused", "refused spam, one RCPT", ("-x",), 32, 5000, 3000, octets=0, refused=True),
    Load("2k-pipelined", "2 KB, pipelined", ("-s", "2048", "-p"), 32, 5000, 0, extra=True),
    Load("2k-10-pipelined", "2 KB, pipelined, ten per connection", ("-s", "2048", "-p"), 32, 10000,
         0, warm=320, per_connection=10, extra=True),
    Load("mail", "sizes as of real mail", ("-s", "mail"), 32, 2000, 0, octets=0, extra=True),
    Load("tls-2k", "TLS, 2 KB, a full handshake each, P-256", ("-s", "2048"), 32, 3000, 2000,
         tls="tls"),
    Load("tls-2k-resumed", "TLS, 2 KB, a resumed session each", ("-s", "2048"), 32, 3000, 2000,
         tls="tls", resumed=True),
    Load("tls-2k-rsa", "TLS, 2 KB, a full handshake each, RSA-2048", ("-s", "2048"), 32, 3000, 2000,
         tls="tls", key="rsa"),
    Load("tls-2k-10", "TLS, 2 KB, ten per connection", ("-s", "2048"), 32, 6000, 4000, warm=320,
         per_connection=10, tls="tls"),
    Load("tls-1m", "TLS, 1 MB", ("-s", "1048576"), 8, 300, 200, warm=8, octets=1 << 20, tls="tls"),
    Load("starttls-2k", "STARTTLS, 2 KB, a full handshake each, P-256", ("-s", "2048"), 32, 3000,
         2000, tls="starttls"),
    Load("identity-2k", "2 KB, one per connection", ("-s", "2048"), 32, 5000, 3000, identity=True),
    Load("identity-2k-10", "2 KB, ten per connection", ("-s", "2048"), 32, 10000, 6000, warm=320,
         per_connection=10, identity=True),
]
HALF_OPEN = {"": "nobody", "connect": "connections without a ClientHello",
             "hello": "connections that stop behind their ClientHello"}
REFUSE = "RCPT:@stranger.test=550 5.7.1 Relaying denied. "


class NotOffered(Exception):
    """BDAT through a subject that does not offer CHUNKING."""


@dataclasses.dataclass
class Sample:
    cpu_us: float  # of the subject's processes, per message
    busy_us: float  # of the machine, per message
    per_second: float
    megabytes: float
    latency: dict
    memory: int  # PSS of the subject's processes, octets
    shares: list  # messages at each sink
    sink_connections: int
    load_cpu: float  # share of a processor that the load generator took
    foreign: float  # share of the machine's busy time that was somebody else's
    uses_io_uring: bool = False


def identity_of(subject):
    return subjects.IDENTITIES[subject.identity]


def sink_command(bench, port, more):
    return [bench.build / "caronte-sink", "--listen", "%s:%d" % (bench.sink_host, port), "--name",
            "sink.test", "--report", "report-%d" % port, "--digest", "--reply", REFUSE, *more]


class Sinks:
    """As many destinations as asked."""

    def __init__(self, bench, subject, count, sessions, more=()):
        self.bench = bench
        # Without a proxy the sink is the other end of the cable.
        side = "inside" if subject.name == "direct" else "outside"
        bench.sink_host = getattr(bench.place, side)
        self.ports = [subjects.free_port() for _ in range(count)]
        self.programs = [subjects.Program(bench, "sink-%d" % port, side, sink_command(
            bench, port, ["--max", str(sessions + 64), *more, *identity_of(subject).sink]))
            for port in self.ports]
        for program in self.programs:
            subjects.wait_until(lambda: "ready" in program.text() or not program.alive(),
                                "the sink")
            if not program.alive():
                raise Fault("caronte-sink ended: " + program.text())

    def addresses(self):
        return ["%s:%d" % (self.bench.sink_host, port) for port in self.ports]

    def reports(self):
        """Stops them, and reads what they have counted."""
        for program in self.programs:
            program.stop()
        return [json.loads((self.bench.dir / ("report-%d" % port)).read_text())
                for port in self.ports]


def figures_of(bench, subject, program):
    """What one load generator has measured."""
    try:
        status = program.process.wait(300)
    except subprocess.TimeoutExpired:
        raise Fault("caronte-load does not end") from None
    try:
        figures = json.loads(program.text())
    except ValueError:
        raise Fault("caronte-load: status %d, %s" % (status, program.text()[-500:])) from None
    if "not-offered" in figures["errors"]:
        raise NotOffered("CHUNKING is not offered")
    if subject.skips_221:
        figures["errors"].pop("no-221", None)
    if status or figures["failed"] or figures["errors"]:
        raise Fault("%s: %s%s" % (subject.name, figures["errors"], "" if not subject.program or
                                  subject.program.alive() else ", and it has ended"))
    return figures


def check_handshakes(load, connections, figures):
    """All as they should have been; the first on each connection have nothing to resume."""
    full = figures["connected"] - figures["resumed"]
    if figures["handshakes"] != (figures["connected"] if load.tls else 0) or \
            (full > 2 * connections if load.resumed else figures["resumed"]):
        raise Fault("%d handshakes, of which %d resumed, on %d connections" % (
            figures["handshakes"], figures["resumed"], figures["connected"]))


def run_load(bench, subject, words, digests, generators=1):
    """The figures of a load, which several generators may share (then a latency is the worst of
    theirs)."""
    programs = [subjects.Program(bench, "load-%d" % n, "outside", [
        bench.build / "caronte-load", *words, *identity_of(subject).load,
        *(["--seed", str(100 + n)] if n else []), "--digests", "%s-%d" % (digests, n),
        "%s:%d" % (subject.host, subject.port)]) for n in range(generators)]
    every = [figures_of(bench, subject, program) for program in programs]
    merged = {key: sum(figures[key] for figures in every) for key in (
        "messages", "refused", "connected", "handshakes", "resumed", "octets", "cpu_seconds",
        "messages_per_second", "megabytes_per_second")}
    merged["seconds"] = max(figures["seconds"] for figures in every)
    merged["latency_us"] = {key: max(figures["latency_us"][key] for figures in every)
                            for key in every[0]["latency_us"]}
    return merged


def check_bodies(bench, subject, reports):
    names = [path.name for path in bench.dir.glob("*.digests-*")]
    if subject.adds_header:
        count = sum(len((bench.dir / name).read_text().split()) for name in names)
        if count != sum(report["messages"] for report in reports):
            raise Fault("%d messages acknowledged, other at the sink" % count)
        return
    sent = collections.Counter()
    for name in names:
        sent.update((bench.dir / name).read_text().split())
    came = collections.Counter(digest["sha256"] for report in reports
                               for digest in report["digests"])
    if sent != came:
        raise Fault("the bodies at the sink are not those that were acknowledged: %d missing, %d "
                    "too many" % ((sent - came).total(), (came - sent).total()))


def measure(bench, subject, load, messages, rate=None, sinks=1, sink_options=(), connections=None,
            generators=1):
    """A Sample: MESSAGES of LOAD from each generator."""
    connections = connections or load.connections
    words = load.words(messages)
    words[words.index("-c") + 1] = str(connections)
    bench.new_dir()
    try:
        # Under overload there are more sessions than connections: some are still being ended.
        sessions = 2 * connections * generators
        targets = Sinks(bench, subject, sinks, sessions, sink_options)
        subject.start(targets.addresses(), sessions, bench.secure(load.tls, load.key))
        subject.mark()
        subject.settle(run_load(bench, subject, [*load.words(load.warm), "--seed", "7"],
                                "warm.digests"))
        subject.mark()
        cpu, busy = subject.group.cpu_us() if subject.group else 0, meter.busy_s()
        around = bench.around.cpu_us() + cpu
        figures = run_load(bench, subject, words + (["-r", "%.1f" % rate] if rate else []),
                           "sent.digests", generators)
        busy = meter.busy_s() - busy
        around = bench.around.cpu_us() + (subject.group.cpu_us() if subject.group else 0) - around
        check_handshakes(load, connections * generators, figures)
        subject.settle(figures)
        cpu = subject.group.cpu_us() - cpu if subject.group else 0
        memory = subject.group.pss() if subject.group else 0
        ring = isinstance(subject, subjects.Caronte) and subject.uses_io_uring()
        subject.stop()
        reports = targets.reports()
        check_bodies(bench, subject, reports)
    finally:
        bench.end_all()
        subject.stop()
    done = messages * generators
    return Sample(cpu / done, busy * 1e6 / done, figures["messages_per_second"],
                  figures["megabytes_per_second"], figures["latency_us"], memory,
                  [report["messages"] for report in reports],
                  sum(report["connections"] for report in reports),
                  figures["cpu_seconds"] / max(figures["seconds"], 1e-9),
                  max(0, busy - around / 1e6) / max(busy, 1e-9), ring)


def hold(bench, subject, sessions, words):
    """A load generator that holds so many connections."""
    program = subjects.Program(bench, "held", "outside", [
        bench.build / "caronte-load", "-i", str(sessions), *words,
        "%s:%d" % (subject.host, subject.port)])
    subjects.wait_until(lambda: "idle, " in program.text() or not program.alive(),
                        "idle connections", 120)
    if "idle, %d connections" % sessions not in program.text():
        raise Fault("%s: not all connections came up: %s" % (subject.name, program.text()))
    return program


def idle_memory(bench, subject, sessions, tls=""):
    """Octets for each idle session (greeted, EHLO done) above the empty program: of its processes,
    and of the kernel for it (None: the kernel does not say)."""
    bench.new_dir()
    try:
        targets = Sinks(bench, subject, 1, sessions)
        subject.start(targets.addresses(), sessions, bench.secure(tls))
        time.sleep(1)
        before, kernel_before = subject.group.pss(), subject.group.kernel()
        program = hold(bench, subject, sessions, ["--" + tls] if tls else [])
        time.sleep(IDLE_S)
        after, kernel_after = subject.group.pss(), subject.group.kernel()
        program.stop(signal.SIGINT)
        kernel = None if kernel_before is None else (kernel_after - kernel_before) / sessions
        return (after - before) / sessions, kernel, before
    finally:
        bench.end_all()
        subject.stop()


def half_open(bench, subject, sessions, where, messages):
    """Beside so many connections from elsewhere that stop WHERE (of HALF_OPEN) in their handshake:
    octets that the subject's processes have grown by, and the figures of honest clients, who
    shake hands for each message of 2 KB."""
    load = next(load for load in LOADS if load.name == "tls-2k")
    bench.new_dir()
    try:
        targets = Sinks(bench, subject, 1, sessions)
        # Twice as many places as connections: no limit is near.
        subject.start(targets.addresses(), 2 * sessions, bench.secure("tls"))
        run_load(bench, subject, [*load.words(load.warm), "--seed", "7"], "warm.digests")
        time.sleep(1)
        before = subject.group.pss()
        if where:
            program = hold(bench, subject, sessions, ["--tls", "--half-open", where,
                                                      *bench.place.elsewhere()])
        grown = subject.group.pss() - before
        words = load.words(messages)
        words[words.index("-c") + 1] = "8"
        figures = run_load(bench, subject, words, "sent.digests")
        if where:
            program.stop(signal.SIGINT)
        return grown, figures
    finally:
        bench.end_all()
        subject.stop()
