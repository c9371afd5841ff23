# SPDX-License-Identifier: ISC
"""Memory that clients cost who take their time, and that a crowd has needed."""
import contextlib
import re
import time

import harness
import puppet
import test_limits
from puppet import DATA, EHLO, MAIL, RCPT

MIB = 1 << 20
HEAD = b"Subject: t\r\n\r\n"
LINE = b"x" * 78 + b"\r\n"


def pss(daemon):
    """Octets of memory of all of Caronte's processes, what they share counted once: without those
    of files, of which other daemons on the machine bear a part while they run."""
    harness.only_root_sees()
    total = 0
    for pid in [daemon.pid, *daemon.processes()]:
        with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
            total += sum(int(kib) << 10 for kib in
                         re.findall(r"(?m)^Pss_(?:Anon|Shmem): +(\d+) kB", f.read()))
    return total


def queued(port):
    """Octets in the kernel that have come from, or are to go to, connections with PORT."""
    total = 0
    with open("/proc/net/tcp", encoding="ascii") as f:
        for line in list(f)[1:]:
            _, local, remote, _, queues, *_ = line.split()
            if "%04X" % port in (local[-4:], remote[-4:]):
                total += sum(int(n, 16) for n in queues.split(":"))
    return total


def settled(daemon):
    """Nothing of it is given back any more."""
    before = pss(daemon)
    time.sleep(1.5)
    return before - pss(daemon) < MIB / 4


class Crowd(harness.TestCase):
    COUNT = 1000

    @contextlib.contextmanager
    def crowd(self, **settings):
        harness.allow_descriptors(6 * self.COUNT)
        if "-asan" in harness.BUILD.name:
            self.skipTest("memory of AddressSanitizer's own would be counted")
        with harness.Sink(told=False) as sink, self.caronte(
                sink, MAX_SESSIONS=2 * self.COUNT, MAX_SESSIONS_PER_ADDRESS=0,
                **settings) as daemon, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(test_limits.come_from("127.0.0.1", daemon.port))
                       for _ in range(self.COUNT)]
            for c in clients:
                c.reply()
                c.send(EHLO)
                c.reply()
            harness.wait_until(lambda: settled(daemon))
            yield daemon, sink, clients, pss(daemon)

    def each(self, clients, octets, codes=()):
        for c in clients:
            c.send(octets)
        for c in clients:
            if codes:
                self.assertEqual(c.codes(len(codes)), list(codes))


class Stalled(Crowd):
    """Clients that stop in the middle of a message, and say an octet now and then."""
    MOST = 8 * MIB

    def check(self, daemon, sink, before):
        try:
            harness.wait_until(lambda: pss(daemon) - before < self.MOST)
        except AssertionError as fault:
            raise AssertionError("%s: %d KiB more than before, %d octets are in clients' sockets "
                                 "and %d in those with the sink" % (
                                     fault, (pss(daemon) - before) >> 10, queued(daemon.port),
                                     queued(sink.port))) from fault

    def test_bodies(self):
        for settings in {}, {"BARE_NEWLINE_NORMALIZE": True}, {"BODY_SPLICE": True}:
            with puppet.case(settings), self.crowd(**settings) as (daemon, sink, clients, before):
                self.each(clients, MAIL + RCPT + DATA, (250, 250, 354))
                self.each(clients, HEAD + LINE * 1000)
                self.check(daemon, sink, before)
                for _ in range(3):
                    self.each(clients, b"y")
                self.check(daemon, sink, before)
                self.each(clients, b"\r\n.\r\n", (250,))

    def test_chunks(self):
        octets = HEAD + LINE * 1000
        for settings in {}, {"BODY_COPY": True}:
            with puppet.case(settings), self.crowd(**settings) as (daemon, sink, clients, before):
                self.each(clients, MAIL + RCPT + b"BDAT %d LAST\r\n" % (len(octets) + 1) + octets,
                          (250, 250))
                self.check(daemon, sink, before)
                self.each(clients, b"\n", (250,))


class Pipes(Crowd):
    """Clients whose chunks are received while others have all pipes, and spliced when one is
    free."""
    COUNT = 600
    PIPES = 256  # WORKER_PIPES

    def test(self):
        part = LINE * 500
        begin = MAIL + RCPT + b"BDAT %d LAST\r\n" % (len(HEAD) + 2 * len(part) + 1) + HEAD + part
        with self.crowd(WORKERS=1) as (daemon, sink, clients, before):
            first, others = clients[:self.PIPES], clients[self.PIPES:]
            self.each(first, begin, (250, 250))
            self.each(others, begin, (250, 250))
            self.each(first, part + b"\n", (250,))
            self.each(others, part)
            Stalled.check(self, daemon, sink, before)
            self.each(others, b"\n", (250,))

    MOST = 8 * MIB


class Unread(harness.TestCase):
    COUNT = 150
    MOST = 50 * MIB  # 64 of them may keep what a long step brought, all others a usual one

    def test(self):
        """Clients that read no replies, and send commands behind a message that came fast."""
        if "-asan" in harness.BUILD.name:
            self.skipTest("memory of AddressSanitizer's own would be counted")
        harness.allow_descriptors(6 * self.COUNT)
        with harness.Sink() as sink, self.caronte(
                sink, WORKERS=1, LOG_LEVEL=2, MAX_SESSIONS_PER_ADDRESS=0,
                MAX_IDLE_COMMANDS=1000000) as daemon, \
                contextlib.ExitStack() as stack:
            clients = [stack.enter_context(puppet.client(daemon.port, rcvbuf=4096))
                       for _ in range(self.COUNT)]
            for c in clients:
                c.reply()
                c.send(EHLO)
                c.reply()
                c.send(MAIL + RCPT + DATA)
                self.assertEqual(c.codes(3), [250, 250, 354])
            before = pss(daemon)
            for c in clients:
                c.socket.setblocking(False)
            octets = memoryview(HEAD + LINE * 12000 + b".\r\n" + b"NOOP\r\n" * 100000)
            left = dict.fromkeys(clients, octets)
            for _ in range(40):
                for c, rest in left.items():
                    with contextlib.suppress(BlockingIOError):
                        left[c] = rest[c.socket.send(rest):]
                time.sleep(0.1)
            harness.wait_until(lambda: pss(daemon) - before < self.MOST, harness.SOON_S)


class Burst(Crowd):
    COUNT = 1500
    GIVEN_BACK_S = harness.SOON_S

    def test(self):
        """What many needed at the same time is given back within seconds, though they stay."""
        with self.crowd(WORKERS=1) as (daemon, _, clients, before):
            for _ in range(2):
                self.each(clients, b"NOOP\r\nNOOP", (250,))
                busy = pss(daemon) - before
                self.assertGreater(busy, 4096 * self.COUNT)
                self.each(clients, b"\r\n", (250,))
            since = time.monotonic()
            harness.wait_until(lambda: pss(daemon) - before < busy / 10)
            self.assertLess(time.monotonic() - since, self.GIVEN_BACK_S)
