# SPDX-License-Identifier: ISC
"""Messages in chunks (BDAT, RFC 3030): counted octets that nobody reads, whatever they look like,
and that are never taken for commands, nor commands for them.
"""
import collections
import contextlib
import functools
import hashlib
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import time
import unittest

import harness
import namespace
import postfix
import puppet
from puppet import EHLO, MAIL, OK, RCPT, SENDER_OK, case, sending

BODIES = ("BODY_AUTO", "BODY_COPY", "BODY_SPLICE")
BLOCK = 16 * 1024  # WORKER_BLOCK
STEP = 512 * 1024  # WORKER_BODY
OFFER = b"250-puppet.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"
EVIL = b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\nx\r\n.\r\n"
QUIT = b"QUIT\r\n"
CLOSING = b"421 4.3.2 Closing connection\r\n"
MORE_THAN_KERNEL = 24 << 20  # the socket buffers on the way hold less


def bdat(octets, last=False):
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


@functools.lru_cache(maxsize=8)
def noise(size, seed=1):
    """So many octets, which hold lines, commands and ends of data."""
    chance = random.Random(seed)
    octets = chance.randbytes(min(size, 1 << 20))
    evil = b"\r\n.\r\nQUIT\r\n" + EVIL + b"BDAT 5 LAST\r\n\0\n\r.\n"
    cuts = sorted(chance.randrange(len(octets) + 1) for _ in range(min(size // 300, 200)))
    octets = evil.join(octets[at:to] for at, to in zip([0, *cuts], [*cuts, len(octets)]))
    return (octets * (size // max(len(octets), 1) + 1))[:size]


def puppet_destination(**how):
    return puppet.Destination(extensions=OFFER, **how)


def session(daemon, destination, until="rcpt", **how):
    return puppet.Session(daemon.port, destination, until, **how)


def next_transaction(s):
    """Up to a recipient, over the connection that the session has, or has just had."""
    s.client.send(MAIL + RCPT)
    s.server.expect(MAIL + RCPT)
    s.server.send(SENDER_OK + OK)
    s.client.expect(SENDER_OK + OK)


def spoken(octets):
    """The commands that a connection was used for, as a server reads them that counts the octets of
    chunks by itself: a chunk, or a part of one, belongs to its BDAT."""
    commands = []
    while octets:
        line, end, octets = octets.partition(b"\n")
        size = int(line.split()[1]) if line.startswith(b"BDAT ") else 0
        commands.append(line + end + octets[:size])
        octets = octets[size:]
    return commands


def transactions(octets):
    """Of these commands, what a destination must hear with the gateway dialog: the transactions
    that have a recipient, without what Caronte says there by itself."""
    found = []
    for command in spoken(octets):
        word = command[:4]
        if word == b"MAIL":
            found.append(command)
        elif word in (b"EHLO", b"HELO", b"RSET", b"NOOP", b"QUIT"):
            found.append(None)
        elif found and found[-1]:
            found[-1] += command
        else:
            found.append(command)
    return [each for each in found if each and (b"RCPT" in each or not each.startswith(b"MAIL"))]


def heard(sink):
    """How often it has heard each transaction so far, over all connections."""
    return collections.Counter(each for path in (sink.dir / "raw").iterdir()
                               for each in transactions(path.read_bytes()))


def wait_for_offer(daemon, offers):
    """Until clients are, or are not, offered chunks."""
    def asked():
        with harness.Client(daemon.port) as client:
            found = "CHUNKING" in client.hello()
            client.quit()
            return found is offers
    harness.wait_until(asked)


class Delivery(harness.TestCase):
    SIZES = [0, 1, 2, 5, 1000, BLOCK - 20, BLOCK - 1, BLOCK, BLOCK + 1, STEP - 1, STEP, STEP + 1,
             3 * STEP + 7, 1 << 20, 5 << 20]

    def check_records(self, daemon, sizes):
        records = daemon.records("message", count=len(sizes))
        self.assertEqual([(r.get("body"), int(r.get("bytes"))) for r in records],
                         [("bdat", size) for size in sizes])
        self.assertEqual({r.get("reply")[:3] for r in records}, {"250"})
        self.assertEqual(int(daemon.record("session").get("bytes")), sum(sizes))

    def test_all_sizes_in_one_chunk(self):
        messages = [noise(size) for size in self.SIZES]
        for body in BODIES:
            with case(body), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, **{body: True}) as daemon:
                with harness.Client(daemon.port) as client:
                    self.assertTrue({"CHUNKING", "BINARYMIME"} <= set(client.hello()))
                    for message in messages:
                        client.send(MAIL + RCPT)
                        self.assertEqual(client.codes(2), [250, 250])
                        client.send(bdat(message, True))
                        self.assertEqual(client.reply()[:3], b"250")
                    client.quit()
                self.assertEqual([*map(harness.sha256, sink.mails())],
                                 [*map(harness.sha256, messages)])
                self.check_records(daemon, self.SIZES)

    def test_50_megabytes(self):
        """In one chunk, in large ones, and with DATA before and behind it."""
        message = noise(50 << 20)
        parts = [message[at:at + (7 << 20)] for at in range(0, len(message), 7 << 20)]
        for body in BODIES:
            with case(body), harness.Sink(digest=True) as sink, \
                    self.caronte(sink, **{body: True}) as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    client.send_message(b"x\r\n")
                    client.envelope()
                    client.send(bdat(message, True))
                    self.assertEqual(client.reply()[:3], b"250")
                    client.send_message(b"x\r\n")
                    client.envelope()
                    for part in parts:
                        client.send(bdat(part, part is parts[-1]))
                        self.assertEqual(client.reply()[:3], b"250")
                    client.send_message(b"x\r\n")
                    client.quit()
                mails = [mail["sha256"] for mail in sink.report()["digests"]]
                small, large = harness.sha256(b"x\r\n"), harness.sha256(message)
                self.assertEqual(mails, [small, large, small, large, small])
                self.assertEqual([r.get("body") for r in daemon.records("message", count=5)],
                                 ["copy" if body != "BODY_SPLICE" else "splice", "bdat"] * 2 +
                                 ["copy" if body != "BODY_SPLICE" else "splice"])

    def test_many_chunks(self):
        """… each waited for, or all in one go."""
        chance = random.Random(7)
        sizes = [chance.choice((0, 1, 100, 3000, 40000)) for _ in range(300)]
        parts = [noise(size, seed) for seed, size in enumerate(sizes)]
        chunks = [bdat(part) for part in parts]
        for body in BODIES:
            with case(body), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, **{body: True}) as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    client.envelope()
                    for chunk in chunks:
                        client.send(chunk)
                        self.assertEqual(client.reply()[:3], b"250")
                    client.command("BDAT 0 LAST", 250)
                    with sending(client.send, MAIL + RCPT, *chunks, b"BDAT 0 LAST\r\n", QUIT):
                        codes = client.codes(len(chunks) + 4)
                    self.assertEqual(codes, [250] * (len(chunks) + 3) + [221])
                whole = b"".join(parts)
                self.assertEqual([*map(harness.sha256, sink.mails())], [harness.sha256(whole)] * 2)
                self.check_records(daemon, [len(whole)] * 2)

    def test_however_it_is_cut(self):
        """The same octets in pieces of many sizes are the same dialog."""
        octets = EHLO + MAIL + RCPT + bdat(EVIL) + bdat(b"") + bdat(QUIT) + bdat(EVIL, True) + \
            b"NOOP\r\n" + MAIL + RCPT + bdat(noise(700), True) + QUIT
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            expected = collections.Counter()
            for number, size in enumerate((1, 2, 3, 7, 50, len(octets)), 1):
                with case(size), harness.Client(daemon.port) as client:
                    client.reply()
                    for at in range(0, len(octets), size):
                        client.send(octets[at:at + size])
                    self.assertEqual(client.codes(12), [250] * 11 + [221])
                    self.assertEqual(client.rest(), b"")
                    self.assertEqual(collections.Counter(sink.mails()),
                                     {EVIL + QUIT + EVIL: number, noise(700): number})
                    if self.gateway:
                        expected.update(transactions(octets))
                        self.assertEqual(heard(sink), expected)
                    else:
                        self.assertEqual(sink.raw(number), octets)

    def test_copies_of_the_debug_level(self):
        """A copy needs the octets: it is whole over all chunks."""
        copies = self.new_dir("copies")
        harness.give_to_user(copies)
        parts = [noise(3 * STEP), b"", noise(5)]
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, LOG_LEVEL=4, DEBUG_DIR=str(copies)) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                for last in b"tail", b"":
                    client.envelope()
                    for part in parts:
                        client.send(bdat(part))
                        client.reply()
                    client.send(bdat(last, True))
                    client.reply()
                client.envelope()
                client.send(bdat(parts[0]))
                client.reply()
                client.command("RSET", 250)
                client.envelope()
                client.send(bdat(b"one", True))
                client.reply()
                client.quit()
            daemon.record("session")  # the last one
            written = daemon.records("debug", count=4, what="copy")
            self.assertEqual([pathlib.Path(r.get("copy")).read_bytes() for r in written],
                             [b"".join(parts) + b"tail", b"".join(parts), parts[0], b"one"])
            self.assertEqual(sink.mails(), [b"".join(parts) + b"tail", b"".join(parts), b"one"])
            steps = [record.get("detail") for record in daemon.records("debug", what="message")]
            chunk = ["COMING -> WHOLE", "WHOLE -> GIVEN"]
            more = [*chunk, "GIVEN -> COMING"]
            whole = ["NONE -> COMING", *(more * 3), *chunk, "GIVEN -> NONE"]
            self.assertEqual(steps, [*(whole * 2), "NONE -> COMING", *more, "COMING -> NONE",
                                     "NONE -> COMING", *chunk, "GIVEN -> NONE"])

    def test_to_postfix(self):
        lines = b"".join(b"%d . some text, and a line\r\n.\r\n" % n for n in range(20000))
        message = b"Subject: chunks\r\n\r\n" + lines
        for body in BODIES:
            with case(body), postfix.Postfix() as server, \
                    self.caronte(server, **{body: True}) as daemon:
                with harness.Client(daemon.port) as client:
                    self.assertIn("CHUNKING", client.hello())
                    for size in len(message), 50000, 300000:
                        client.send(MAIL + RCPT)
                        parts = [message[at:at + size] for at in range(0, len(message), size)]
                        with sending(client.send, *map(bdat, parts), b"BDAT 0 LAST\r\n"):
                            self.assertEqual(client.codes(len(parts) + 3),
                                             [250] * (len(parts) + 3))
                    # Out of order, and again in order.
                    client.send(MAIL + b"RCPT TO:<x@far.test>\r\n" + bdat(EVIL, True) +
                                b"RSET\r\n" + MAIL + RCPT + bdat(message, True))
                    self.assertEqual(client.codes(7), [250, 550, 554, 250, 250, 250, 250])
                    client.quit()
                self.assertEqual(server.mails(4), [message] * 4)
                self.check_records(daemon, [len(message)] * 4)

    def test_offers(self):
        """What the destination offers, BINARYMIME only together with CHUNKING, and that only
        together with SIZE."""
        rows = [((), {"CHUNKING", "BINARYMIME"}), (("CHUNKING", "size"), {"CHUNKING"}),
                (("BINARYMIME", "SIZE"), set()),
                (("BINARYMIME", "chunking", "SIZE 1000"), {"CHUNKING", "BINARYMIME"}),
                (("BINARYMIME", "CHUNKING"), set()), (("PIPELINING",), set()), (("none",), set())]
        for lines, offered in rows:
            arguments = [word for line in lines for word in ("--ext", line)]
            with case(lines), harness.Sink(*arguments) as sink, self.caronte(sink) as daemon, \
                    harness.Client(daemon.port) as client:
                self.assertEqual({"CHUNKING", "BINARYMIME"} & set(client.hello()), offered)
                reply = client.command("MAIL FROM:<a@client.test> BODY=BINARYMIME")
                self.assertEqual(reply[:3], b"250" if "BINARYMIME" in offered else b"555")
                if offered:
                    client.command("RSET", 250)
                    client.envelope()
                    client.send(bdat(b"x", True))
                    self.assertEqual(client.reply()[:3], b"250")
                else:
                    client.command("BDAT 1 LAST", 502)
                    self.assertEqual(client.rest(), b"")

    def test_offers_of_a_cluster(self):
        """Each session gets those of its own destination; with the gateway dialog, which does not
        know it yet, those that are common to all."""
        with harness.Sink(maildir=True) as one, harness.Sink("--ext", "SIZE", maildir=True) as two:
            both = "127.0.0.1:%d 127.0.0.1:%d" % (one.port, two.port)
            with self.caronte(both, COOPERATION_CLUSTER=True, BALANCE_ROUND_ROBIN=True,
                              WORKERS=1) as daemon:
                if self.gateway:
                    wait_for_offer(daemon, False)
                offers = []
                for _ in range(4):
                    with harness.Client(daemon.port) as client:
                        offers.append("CHUNKING" in client.hello())
                        client.envelope()
                        client.send(bdat(b"x", True))
                        self.assertEqual(client.reply()[:3], b"250" if offers[-1] else b"502")
                with_chunks = self.by_dialog(2, 0)
                self.assertEqual(sorted(offers), [False] * (4 - with_chunks) + [True] * with_chunks)
                self.assertEqual((one.mails(), two.mails()), ([b"x"] * with_chunks, []))


class Moving(harness.TestCase):
    def each_body(self, rcvbuf=0, **settings):
        for body in BODIES:
            with puppet_destination(rcvbuf=rcvbuf) as destination, case(body), \
                    self.caronte(destination, **{body: True}, **settings) as daemon:
                yield body, daemon, destination

    def spliced(self, daemon, do):
        """How many octets the worker splices meanwhile, in and out. Its user's pipes may be used
        up by others, and then it copies."""
        harness.only_root_sees()
        if not shutil.which("strace"):
            harness.missing("strace is not here")
        worker, = daemon.workers()
        path = self.dir / "strace"
        tracer = subprocess.Popen(["strace", "-qq", "-e", "trace=splice", "-o", path,
                                   "-p", str(worker)], stderr=subprocess.PIPE, text=True)
        try:
            status = pathlib.Path("/proc/%d/status" % worker)
            harness.wait_until(lambda: tracer.poll() is not None or
                               "TracerPid:\t0\n" not in status.read_text())
            if tracer.poll() is not None:
                harness.missing("strace cannot trace: %s" % tracer.stderr.read())
            harness.wait_until(lambda: not harness.pipes_are_scarce())
            do()
        finally:
            tracer.terminate()
            tracer.communicate()
        moved = sum(map(int, re.findall(r"^splice\(.*\) += (\d+)", path.read_text(), re.M)))
        if not moved and harness.pipes_are_scarce():
            self.skipTest("the pipes of the daemon's user are used up by others")
        return moved

    def test_nobody_reads_it(self):
        """All but what came together with the command is spliced, in and out."""
        size = 20 << 20
        for body in BODIES:
            with case(body), harness.Sink(digest=True) as sink, \
                    self.caronte(sink, WORKERS=1, **{body: True}) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()

                def message():
                    client.send(MAIL + RCPT)
                    client.codes(2)
                    client.send(bdat(noise(size), True))
                    self.assertEqual(client.reply()[:3], b"250")

                moved = self.spliced(daemon, message)
                if body == "BODY_COPY":
                    self.assertEqual(moved, 0)
                else:
                    self.assertGreaterEqual(moved, 2 * (size - 2 * BLOCK))
                    self.assertLessEqual(moved, 2 * size)
                self.assertEqual(sink.report()["digests"][0]["sha256"],
                                 harness.sha256(noise(size)))

    def test_what_waits_is_not_read(self):
        """Behind a chunk that must wait for an answer nothing is read: it will be spliced."""
        size = 4 << 20
        with puppet_destination() as destination, \
                self.caronte(destination, WORKERS=1) as daemon, \
                session(daemon, destination, "mail") as s:
            def message():
                with sending(s.client.send, RCPT + bdat(noise(size), True)):
                    s.server.expect(RCPT)
                    time.sleep(0.3)
                    s.server.send(OK)
                    s.server.expect(bdat(noise(size), True))
                # The worker has come back from its last splice, which is then seen.
                s.server.send(OK)
                s.client.expect(OK + OK)

            self.assertGreaterEqual(self.spliced(daemon, message), 2 * (size - 2 * BLOCK))

    def test_urgent_octets_stay_where_they_are(self):
        whole = noise(BLOCK + 3000)
        places = [1, 2, 1000, BLOCK - 1, BLOCK, BLOCK + 1, len(whole) - 1, len(whole)]
        for body, daemon, destination in self.each_body():
            with session(daemon, destination, "ehlo") as s:
                for place in places:
                    with case(place):
                        next_transaction(s)
                        s.client.send(b"BDAT %d LAST\r\n" % len(whole))
                        s.server.expect(b"BDAT %d LAST\r\n" % len(whole))
                        s.client.send(whole[:place - 1])
                        s.client.socket.send(whole[place - 1:place], socket.MSG_OOB)
                        s.client.send(whole[place:] + b"NOOP\r\n")
                        s.server.expect(whole)
                        s.server.send(OK)
                        if not self.gateway:  # else Caronte answers that
                            s.server.expect(b"NOOP\r\n")
                            s.server.send(OK)
                        s.client.expect(OK + OK)
                s.quit()

    def test_many_urgent_octets_in_a_large_chunk(self):
        for body, daemon, destination in self.each_body(rcvbuf=4096):
            with session(daemon, destination) as s:
                whole = noise(3 * STEP + 1000)
                s.client.send(b"BDAT %d LAST\r\n" % len(whole))
                pieces = puppet.cuts(whole, (1, 100, 5000, BLOCK))
                with sending(s.client.send_urgent, *pieces):
                    s.server.expect(bdat(whole, True))
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_a_slow_destination_slows_its_client(self):
        size = 50 << 20
        whole = bdat(noise(size), True)
        for body, daemon, destination in self.each_body(rcvbuf=65536):
            with session(daemon, destination, sndbuf=65536) as s:
                digest, sent, got = hashlib.sha256(), 0, 0
                s.client.socket.setblocking(False)
                view = memoryview(whole)
                # The destination reads only when the client cannot send any more.
                while got < len(whole):
                    waits = [s.client.socket] if sent < len(whole) else []
                    if select.select([], waits, [], 0.02)[1]:
                        sent += s.client.socket.send(view[sent:sent + (1 << 20)])
                        self.assertLess(sent - got, MORE_THAN_KERNEL)
                        continue
                    while select.select([s.server.socket], [], [], 0)[0]:
                        octets = s.server.socket.recv(1 << 20)
                        self.assertTrue(octets)
                        digest.update(octets)
                        got += len(octets)
                self.assertEqual(digest.digest(), hashlib.sha256(whole).digest())
                s.client.socket.settimeout(puppet.PATIENCE_S)
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_a_slow_destination_is_not_a_dead_one(self):
        """What it takes in TIMEOUT_DATA is little of what waits in the client's socket."""
        whole = bdat(noise(30 << 20), True)
        with puppet_destination(rcvbuf=65536) as destination, \
                self.caronte(destination, TIMEOUT_DATA=6) as daemon, \
                session(daemon, destination) as s, sending(s.client.send, whole):
            end = time.monotonic() + 14
            got = b""
            while time.monotonic() < end:
                got += s.server.take(100000)
                time.sleep(0.1)
            got += s.server.take(len(whole) - len(got))
            self.assertEqual(harness.sha256(got), harness.sha256(whole))
            s.server.send(OK)
            s.client.expect(OK)

    def test_more_chunks_than_pipes(self):
        """A chunk that finds no pipe is copied. Their number is limited for a user: as another one
        the daemon leaves those of other tests alone."""
        count, part, user = 260, noise(1000), "daemon"
        if not harness.ROOT:
            self.skipTest("needs a user of its own, which root alone can become")
        daemon = self.caronte(None, WORKERS=1, MAX_SESSIONS=count, USER=user,
                              MAX_SESSIONS_PER_ADDRESS=0)
        for each in daemon.log.parent, daemon.archive:
            shutil.chown(each, user)
        with puppet_destination() as destination, contextlib.ExitStack() as stack:
            daemon.settings["DESTINATIONS"] = "127.0.0.1:%d" % destination.port
            stack.enter_context(daemon)
            sessions = [stack.enter_context(session(daemon, destination)) for _ in range(count)]
            for step in b"BDAT 3000 LAST\r\n", part, part, part:
                for s in sessions:
                    s.client.send(step)
                for s in sessions:
                    s.server.expect(step)
            for s in sessions:
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_memory_of_sessions_between_chunks(self):
        """No pipe and no buffer is left behind: many sessions in turn, many chunks each."""
        harness.only_root_sees()
        with harness.Sink("--count") as sink, self.caronte(sink, WORKERS=1) as daemon:
            worker, = daemon.workers()

            def files():
                return len(os.listdir("/proc/%d/fd" % worker))

            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(harness.Client(daemon.port)) for _ in range(10)]
                for client in clients:
                    client.hello()
                    client.envelope()
                    client.send(bdat(noise(STEP)))
                    self.assertEqual(client.reply()[:3], b"250")
                before = files()
                for _ in range(20):
                    for client in clients:
                        client.send(bdat(noise(STEP)))
                        self.assertEqual(client.reply()[:3], b"250")
                self.assertLessEqual(files(), before)


class Ends(harness.TestCase):
    """Sides that go away, or disagree, within a chunk."""

    def sessions(self, until="rcpt", **settings):
        for body in BODIES:
            with puppet_destination() as destination, case(body), \
                    self.caronte(destination, **{body: True}, **settings) as daemon:
                yield daemon, destination

    def end_of(self, daemon):
        return daemon.records("session", count=1)[-1].get("end")

    def one_deadline(self, what, seconds=1):
        """All others are so far away that nothing waits for them here."""
        for body in BODIES[:2]:
            with puppet_destination(rcvbuf=4096) as destination, case(body), \
                    self.caronte(destination, **{
                        "TIMEOUT_DATA": harness.FAR_S, "TIMEOUT_REPLY": harness.FAR_S,
                        "TIMEOUT_DATA_DONE": harness.FAR_S, what: seconds,
                        body: True}) as daemon:
                yield daemon, destination

    def test_client_goes_away(self):
        """The destination gets what came and then the end, never LAST."""
        for last in b"", b" LAST":
            for how in "close", "reset", "end":
                for daemon, destination in self.sessions():
                    with case(last, how), session(daemon, destination) as s:
                        s.client.send(b"BDAT 100%s\r\n" % last + b"x" * 40)
                        s.server.expect(b"BDAT 100%s\r\n" % last + b"x" * 40)
                        s.client.send(b"y" * 30)
                        s.server.expect(b"y" * 30)
                        getattr(s.client, how)()
                        self.assertIn(s.server.rest(), (b"", puppet.RESET))
                        self.assertEqual(self.end_of(daemon), "lost-client")
                        self.assertEqual(daemon.records("message"), [])

    def test_client_goes_away_between_chunks(self):
        for daemon, destination in self.sessions():
            with session(daemon, destination) as s:
                s.both(bdat(noise(1000)), OK)
                s.client.close()
                self.assertEqual(s.server.rest(), b"")
                self.assertEqual(self.end_of(daemon), "lost-client")

    def test_fewer_octets_than_announced_deliver_nothing(self):
        for body in BODIES:
            with case(body), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, **{body: True}) as daemon:
                for tail in b"", b"abcd", QUIT[:4]:
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        client.envelope()
                        client.send(b"BDAT 5 LAST\r\n" + tail)
                        client.end()
                        self.assertEqual(client.rest(), b"")
                daemon.records("session", count=3, end="lost-client")
                self.assertEqual(sink.mails(), [])

    def test_all_sent_and_then_the_end(self):
        """A client that sends all it has and closes its half is answered."""
        for body in BODIES:
            with case(body), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, **{body: True}) as daemon:
                for size in 10, 3 * STEP:
                    with harness.Client(daemon.port) as client:
                        octets = noise(size)
                        with sending(client.send, EHLO + MAIL + RCPT + bdat(octets) +
                                     bdat(octets, True)):
                            self.assertEqual(client.codes(6), [220] + [250] * 5)
                            client.end()
                        self.assertEqual(client.rest(), b"")
                        self.assertIn(harness.sha256(octets * 2),
                                      map(harness.sha256, sink.mails()))

    def test_destination_goes_away(self):
        for daemon, destination in self.sessions():
            for number, how in enumerate(("close", "reset", "end"), 1):
                with case(how), session(daemon, destination) as s:
                    s.client.send(b"BDAT 100000 LAST\r\n" + b"x" * 40)
                    s.server.expect(b"BDAT 100000 LAST\r\n" + b"x" * 40)
                    getattr(s.server, how)()
                    s.client.send(b"QUIT\r\n" * 3000)
                    self.assertTrue(s.client.silent(0.1))
                    s.client.send(b"y" * (100000 - 18040) + b"NOOP\r\n")
                    self.assertEqual(s.client.reply()[:9], b"451 4.4.2")
                    self.assertEqual(s.client.rest(), b"")
                    record = daemon.records("message", count=number)[-1]
                    self.assertEqual(record.get("reply")[:9], "451 4.4.2")
            self.assertEqual(self.end_of(daemon), "lost-destination")

    def test_destination_is_killed_in_a_large_chunk(self):
        for body in BODIES:
            with case(body), harness.Sink("--slow", "20000000", maildir=True) as sink, \
                    self.caronte(sink, **{body: True}) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                client.envelope()
                with sending(client.send, bdat(noise(50 << 20), True)):
                    time.sleep(0.3)
                    sink.kill()
                    self.assertEqual(client.reply()[:9], b"451 4.4.2")
                self.assertEqual(client.rest(), b"")
                self.assertEqual(sink.mails(), [])

    def early(self, said, answers, last, bytes_sent=500):
        """SAID within a chunk: that connection ends, the chunk is read to its end, then ANSWERS.
        The gateway dialog goes on where the destination has only refused, with what lies behind the
        chunk."""
        refused = answers[-1] is CLOSING
        if self.gateway and refused:
            answers = answers[:-1]
        for daemon, destination in self.sessions():
            with case(said, last), session(daemon, destination) as s:
                head = b"BDAT 1000%s\r\n" % (b" LAST" if last else b"") + b"x" * bytes_sent
                s.client.send(head)
                s.server.expect(head)
                s.server.send(said)
                self.assertIn(s.server.rest(), (b"", puppet.RESET))
                self.assertTrue(s.client.silent(0.05))
                s.client.send(b"y" * (1000 - bytes_sent) + EVIL)
                s.client.expect(b"".join(answers))
                if self.gateway and refused:  # EVIL; behind its DATA octets came too early
                    self.assertEqual(s.client.codes(3),
                                     [250, 550, 554] if last else [503, 503, 554])
                self.assertEqual(s.client.rest(), b"")
                record, = daemon.records("message", count=1)
                self.assertEqual(record.get("reply"), answers[0].decode().rstrip())
                self.assertEqual(self.end_of(daemon), "protocol" if self.gateway and refused
                                 else "lost-destination")

    def test_answers_within_a_chunk(self):
        disagree = b"451 4.3.0 Destination answered out of order\r\n"
        for last in False, True:
            self.early(b"552 5.3.4 too big\r\n", [b"552 5.3.4 too big\r\n", CLOSING], last)
            self.early(b"452 4.3.1 full\r\n", [b"452 4.3.1 full\r\n", CLOSING], last, 0)
            self.early(b"250 kept\r\n", [disagree], last)
            self.early(b"354 go\r\n", [disagree], last, 999)
            self.early(b"what\r\n",
                       [b"451 4.3.0 Destination answered something malformed\r\n"], last)
            self.early(b"421 4.3.2 going\r\n", [b"421 4.3.2 going\r\n"], last)

    def test_half_an_answer_within_a_chunk(self):
        """A reply that began too early answers nothing, whenever it ends."""
        for daemon, destination in self.sessions():
            with session(daemon, destination) as s:
                s.client.send(b"BDAT 10 LAST\r\n12345")
                s.server.expect(b"BDAT 10 LAST\r\n12345")
                s.server.send(b"250 ke")
                time.sleep(0.1)
                s.client.send(b"67890")
                s.server.expect(b"67890")
                s.server.send(b"pt\r\n")
                self.assertEqual(s.client.reply()[:9], b"451 4.3.0")
                self.assertEqual(s.client.rest(), b"")

    def test_an_answer_before_the_octets_were_read(self):
        """The last octets were sent, and are not acknowledged: nobody can have answered them."""
        for body in BODIES:
            with puppet_destination(rcvbuf=2048) as destination, case(body), \
                    self.caronte(destination, **{body: True}) as daemon, \
                    session(daemon, destination) as s:
                command = b"BDAT 300000 LAST\r\n"
                s.client.send(command + noise(300000))
                self.assertEqual(s.server.socket.recv(len(command), socket.MSG_WAITALL), command)
                time.sleep(0.2)
                s.server.send(OK)
                self.assertEqual(s.client.reply()[:9], b"451 4.3.0")
                self.assertEqual(s.client.rest(), b"")

    def test_refused_chunk(self):
        """Its answer goes to the letter, later chunks get 503, RSET makes all good."""
        for daemon, destination in self.sessions():
            with session(daemon, destination) as s:
                s.client.send(bdat(b"one") + bdat(EVIL) + bdat(b"", True) + bdat(EVIL, True) +
                              b"RSET\r\n")
                s.server.expect(bdat(b"one"))
                s.server.send(b"452-4.3.1 disk\r\n452 4.3.1 full\r\n")
                s.client.expect(b"452-4.3.1 disk\r\n452 4.3.1 full\r\n")
                self.assertEqual(s.client.codes(3), [503] * 3)
                s.server.expect(b"RSET\r\n")
                if self.gateway:  # Caronte answers, and the pool says it, which gets no answer here
                    s.server.close()
                    s.server = puppet.Later(s)
                else:
                    s.server.send(OK)
                s.client.expect(OK)
                s.do_mail()
                s.do_rcpt()
                s.both(bdat(noise(1000), True), OK)
                s.quit()
            self.assertEqual([r.get("reply")[:3] for r in daemon.records("message", count=2)],
                             ["452", "250"])

    def test_timeouts(self):
        def ends(s, answer):
            self.assertEqual(s.client.reply()[:9], answer)
            self.assertEqual(s.client.rest(), b"")

        for sent in b"", b"x" * 50:
            for daemon, destination in self.one_deadline("TIMEOUT_DATA", 4):
                with session(daemon, destination) as s, case("the client stops", sent):
                    s.client.send(b"BDAT 100\r\n" + sent)
                    s.server.expect(b"BDAT 100\r\n" + sent)
                    for _ in range(4):
                        time.sleep(1.2)
                        since = time.monotonic()
                        s.client.send(b"y")
                        s.server.expect(b"y")
                    ends(s, b"421 4.4.2")
                    self.assertGreater(time.monotonic() - since, 3.9)
                    self.assertIn(s.server.rest(), (b"", puppet.RESET))
                self.assertEqual(self.end_of(daemon), "timeout")
        for daemon, destination in self.one_deadline("TIMEOUT_DATA"):
            with session(daemon, destination, "mail") as s, case("in what is thrown away"):
                s.client.send(b"RCPT TO:<x@far.test>\r\nBDAT 100\r\nx")
                self.assertEqual(s.client.codes(1), [550])
                ends(s, b"421 4.4.2")
            self.assertEqual(self.end_of(daemon), "timeout")
        for last, what in (False, "TIMEOUT_REPLY"), (True, "TIMEOUT_DATA_DONE"):
            for daemon, destination in self.one_deadline(what, 4):
                with session(daemon, destination) as s, case("no answer", last):
                    since = time.monotonic()
                    s.client.send(bdat(b"abc", last))
                    s.server.expect(bdat(b"abc", last))
                    ends(s, b"451 4.4.2")
                    self.assertGreater(time.monotonic() - since, 3.9)
                self.assertEqual(self.end_of(daemon), "lost-destination")
        for daemon, destination in self.one_deadline("TIMEOUT_DATA"):
            with session(daemon, destination) as s, case("it does not read"), \
                    sending(s.client.send, bdat(noise(20 << 20), True)):
                self.assertEqual(s.client.reply()[:9], b"451 4.4.2")
            self.assertEqual(self.end_of(daemon), "lost-destination")

    @unittest.skipUnless(harness.LONG, "takes more than a minute: CARONTE_LONG=1 runs it")
    def test_min_rate(self):
        """It counts the octets of chunks."""
        with puppet_destination() as destination, \
                self.caronte(destination, MIN_RATE=10) as daemon, \
                session(daemon, destination) as s, session(daemon, destination) as fast:
            fast.client.send(b"BDAT 100000\r\n" + b"x" * 700)
            s.client.send(b"BDAT 100000\r\n" + b"x" * 500)
            began = time.monotonic()
            s.client.socket.settimeout(80)
            self.assertEqual(s.client.reply()[:9], b"421 4.4.2")
            self.assertGreater(time.monotonic() - began, 57)
            self.assertTrue(fast.client.silent())

    @unittest.skipUnless(harness.LONG, "takes more than a minute: CARONTE_LONG=1 runs it")
    def test_min_rate_of_small_chunks(self):
        """It is that of the message: the client's pauses between chunks count, what the destination
        takes for its answers does not."""
        def chunk(s, answer_s):
            s.client.send(bdat(b"x" * 20))
            s.server.expect(bdat(b"x" * 20))
            time.sleep(answer_s)
            s.server.send(OK)
            s.client.expect(OK)
        with puppet_destination() as destination, \
                self.caronte(destination, MIN_RATE=10) as daemon, \
                session(daemon, destination) as s, session(daemon, destination) as waits:
            began = time.monotonic()
            while time.monotonic() - began < 59:
                chunk(s, 0)
                chunk(waits, 5)
            time.sleep(began + 61 - time.monotonic())
            s.client.send(bdat(b"x" * 20))
            self.assertEqual(s.client.reply()[:9], b"421 4.4.2")
            self.assertIn(s.server.rest(), (b"", puppet.RESET))
            chunk(waits, 0)
            daemon.record("session", end="timeout")

    def test_stop(self):
        with puppet_destination() as destination, \
                self.caronte(destination, STOP_GRACE=1) as daemon, \
                session(daemon, destination) as s:
            s.client.send(b"BDAT 100 LAST\r\nx")
            s.server.expect(b"BDAT 100 LAST\r\nx")
            daemon.process.send_signal(signal.SIGTERM)
            self.assertEqual(s.client.reply()[:9], b"421 4.3.2")
            self.assertEqual(s.client.rest(), b"")
            self.assertIn(s.server.rest(), (b"", puppet.RESET))


class Stuck(harness.TestCase):
    """A destination that takes little more than a command at a time, and then nothing."""

    @classmethod
    def setUpClass(cls):
        namespace.enter()
        pathlib.Path("/proc/sys/net/ipv4/tcp_wmem").write_text("4096 4608 8192")

    def test_a_client_that_is_gone_meanwhile(self):
        """The message is on its way: the destination's deadline ends the session, not nothing."""
        with puppet_destination(rcvbuf=1) as destination, self.caronte(
                destination, TIMEOUT_REPLY=3, TIMEOUT_DATA=3, TIMEOUT_DATA_DONE=3) as daemon:
            destination.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)
            with session(daemon, destination, sndbuf=1 << 17) as s:
                s.client.send(bdat(b"x" * (BLOCK - 30), True))  # Caronte gets it all at once
                s.server.expect(b"BDAT")
                self.assertFalse(daemon.records("session"))
                s.client.reset()
                ended = daemon.record("session", end="lost-destination")
                self.assertLess(float(ended.get("seconds")), harness.SOON_S)


class Gateway(harness.TestCase):
    """What only the gateway dialog has: connections that go from one client to the next."""
    dialogs = ("gateway",)

    def test_a_destination_that_cannot_do_it_any_more(self):
        """It offers less than the client was offered: Caronte's own 451, chunks are thrown away by
        their number, the destination hears of none."""
        for body in BODIES:
            with case(body), puppet_destination() as destination, \
                    self.caronte(destination, WORKERS=1, **{body: True}) as daemon:
                wait_for_offer(daemon, True)
                with session(daemon, destination, "mail") as s:
                    destination.extensions = puppet.EXTENSIONS
                    destination.idle.drop()
                    s.do_rcpt()
                    s.client.send(bdat(EVIL * 2000) + bdat(EVIL, True) + MAIL + b"RSET\r\n")
                    self.assertEqual([r[:9] for r in s.client.replies(4)],
                                     [b"451 4.3.0", b"503 5.5.1", b"503 5.5.1", b"250 2.0.0"])
                    s.server.expect(b"RSET\r\n")
                    self.assertTrue(s.server.silent(0.05))
                    s.server.close()
                    s.client.send(b"MAIL FROM:<a@client.test> BODY=BINARYMIME\r\n" + RCPT +
                                  bdat(EVIL, True))
                    self.assertEqual([r[:9] for r in s.client.replies(3)],
                                     [b"250 2.1.0", b"451 4.3.0", b"554 5.5.1"])
                    s.quit()

    def test_what_becomes_of_the_connection(self):
        """Clean after a message that was taken, closed after one that was refused; else RSET is
        due."""
        bye, full = b"221 2.0.0 Bye\r\n", b"452 4.3.1 full\r\n"
        rset = b"RSET\r\n"
        # A chunk, its answer, what comes behind it, the reply to that if it matters, and what the
        # destination hears in the end (None: no more).
        rows = [(bdat(EVIL, True), full, b"", b"", None),
                (bdat(EVIL, True), b"554 5.7.1 spam\r\n", b"", b"", None),
                (bdat(EVIL), OK, rset, OK, rset), (bdat(EVIL), OK, EHLO, b"", rset),
                (bdat(EVIL), full, bdat(b"x") + rset, b"", rset),
                (bdat(EVIL), OK, QUIT, bye, None), (bdat(EVIL), full, QUIT, bye, None)]
        for body in BODIES:
            with case(body), puppet_destination() as destination, \
                    self.caronte(destination, WORKERS=1, **{body: True}) as daemon:
                for chunk, answer, behind, reply, heard_last in rows:
                    with case(chunk, answer, behind), session(daemon, destination) as s:
                        s.client.send(chunk + behind)
                        s.server.expect(chunk)
                        s.server.send(answer)
                        s.client.expect(answer + reply)
                        if heard_last is None:
                            self.assertIn(s.server.rest(), (b"", puppet.RESET))
                        else:
                            s.server.expect(heard_last)
                            self.assertTrue(s.server.silent(0.02))
                with session(daemon, destination) as s:
                    s.both(bdat(EVIL), OK)
                    s.both(b"BDAT 0 LAST\r\n", OK)
                    next_transaction(s)
                    s.both(bdat(EVIL, True), OK)
                    self.assertTrue(s.server.silent(0.02))
                    s.quit()


IN_RCPT = EHLO + MAIL + RCPT
FAR = b"RCPT TO:<victim@far.test>\r\n"
ENDED = None  # in place of a code: the session has ended, what follows was never read


class Smuggling(harness.TestCase):
    """A row: the octets, what the destination must have received in the end, to the letter (with
    the gateway dialog its transactions, over whatever connections), and the codes that the client
    gets."""

    BAD = [b"BDAT\r\n", b"BDAT x LAST\r\n", b"BDAT -1\r\n", b"BDAT +7\r\n", b"BDAT  7\r\n",
           b"BDAT 7  LAST\r\n", b"BDAT 7 LASTLY\r\n", b"BDAT 7 LAST 7\r\n",
           b"BDAT\t7\r\n", b"BDAT 7\tLAST\r\n", b" BDAT 7 LAST\r\n", b"BDAT7\r\n",
           b"BDAT 0x7 LAST\r\n", b"BDAT 7,5\r\n", b"BDAT 2147483648 LAST\r\n",
           b"BDAT 4294967303 LAST\r\n", b"BDAT 18446744073709551616 LAST\r\n",
           b"BDAT 18446744073709551623 LAST\r\n", b"BDAT 000000000000000000007\r\n"]
    LINES = [b"BDAT 7\n", b"BDAT 7 LAST\n", b"BDAT 7\0\r\n", b"BDAT 7\r\r\n", b"BDAT 7\rLAST\r\n"]
    ROWS = [
        # Chunks that look like commands.
        (IN_RCPT + bdat(EVIL, True) + QUIT, IN_RCPT + bdat(EVIL, True) + QUIT, [250] * 4 + [221]),
        (IN_RCPT + bdat(EVIL) + bdat(b".\r\n" + EVIL, True) + QUIT,
         IN_RCPT + bdat(EVIL) + bdat(b".\r\n" + EVIL, True) + QUIT, [250] * 5 + [221]),
        (IN_RCPT + bdat(b"\r\n.\r\n" + QUIT, True) + MAIL + FAR + QUIT,
         IN_RCPT + bdat(b"\r\n.\r\n" + QUIT, True) + MAIL + QUIT, [250] * 5 + [550, 221]),
        # A blank after the number, or after LAST, is forgiven.
        (IN_RCPT + bdat(EVIL).replace(b"\r\n", b" \r\n", 1) +
         bdat(b"y", True).replace(b"\r\n", b" \r\n", 1) + QUIT,
         IN_RCPT + bdat(EVIL) + bdat(b"y", True) + QUIT, [250] * 5 + [221]),
        # Commands right behind chunks are judged.
        (IN_RCPT + bdat(b"x") + FAR + bdat(b"y", True) + FAR + MAIL + FAR + QUIT,
         IN_RCPT + bdat(b"x") + bdat(b"y", True) + MAIL + QUIT,
         [250] * 4 + [503, 250, 503, 250, 550, 221]),
        (IN_RCPT + bdat(b"x") + b"RSET\r\n" + MAIL + FAR + bdat(EVIL) + FAR + bdat(EVIL, True) +
         b"RSET\r\n" + QUIT,
         IN_RCPT + bdat(b"x") + b"RSET\r\n" + MAIL + b"RSET\r\n" + QUIT,
         [250] * 6 + [550, 554, 503, 503, 250, 221]),
        # Nobody to receive it: nothing goes on, the octets are no commands.
        (EHLO + MAIL + FAR + bdat(EVIL, True) + b"RSET\r\n" + QUIT,
         EHLO + MAIL + b"RSET\r\n" + QUIT,
         [250, 250, 550, 554, 250, 221]),
        (EHLO + MAIL + FAR + bdat(EVIL) + RCPT + bdat(EVIL, True) + QUIT, EHLO + MAIL + QUIT,
         [250, 250, 550, 554, 503, 503, 221]),
        (EHLO + b"MAIL FROM:<a@client.test> FOO=1\r\n" + RCPT + bdat(EVIL, True) + QUIT,
         EHLO + QUIT, [250, 555, 503, 503, 221]),
        # No transaction, no recipient, a transaction that is over.
        (bdat(EVIL, True), b"", [502, ENDED]),
        (b"HELO client.test\r\n" + MAIL + RCPT + bdat(EVIL, True),
         EHLO + MAIL + RCPT, [250] * 3 + [502, ENDED]),
        (EHLO + bdat(EVIL, True), EHLO, [250, 503, ENDED]),
        (EHLO + b"BDAT 0\r\n" + EVIL, EHLO, [250, 503, ENDED]),
        (EHLO + MAIL + bdat(EVIL, True), EHLO + MAIL, [250, 250, 503, ENDED]),
        (IN_RCPT + b"RSET\r\n" + bdat(EVIL, True), IN_RCPT + b"RSET\r\n", [250] * 4 + [503, ENDED]),
        (IN_RCPT + bdat(b"x", True) + bdat(EVIL, True), IN_RCPT + bdat(b"x", True),
         [250] * 4 + [503, ENDED]),
        (IN_RCPT + EHLO + bdat(EVIL, True), IN_RCPT + EHLO, [250] * 4 + [503, ENDED]),
        # DATA and BDAT do not mix, and octets behind a DATA are not a message.
        (IN_RCPT + bdat(b"x") + b"DATA\r\n" + EVIL, IN_RCPT + bdat(b"x"), [250] * 4 + [554, ENDED]),
        (IN_RCPT + b"DATA\r\n" + bdat(EVIL, True), IN_RCPT, [250] * 3 + [554, ENDED]),
        (EHLO + b"MAIL FROM:<a@client.test> BODY=BINARYMIME\r\n" + RCPT + b"DATA\r\n" + EVIL,
         EHLO + b"MAIL FROM:<a@client.test> BODY=BINARYMIME\r\n" + RCPT, [250] * 3 + [554, ENDED]),
        (IN_RCPT + bdat(b"x") + b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n" + EVIL, IN_RCPT + bdat(b"x"),
         [250] * 4 + [503, ENDED]),
        # The last chunk is not whole.
        (IN_RCPT + b"BDAT 500 LAST\r\n" + EVIL, IN_RCPT + b"BDAT 500 LAST\r\n" + EVIL,
         [250] * 3 + [ENDED]),
    ]
    ROWS += [(before + bad + EVIL, before, [250] * before.count(b"\n") + [501, ENDED])
             for bad in BAD for before in (EHLO, EHLO + MAIL, IN_RCPT)]
    ROWS += [(IN_RCPT + bdat(b"x") + bad + EVIL, IN_RCPT + bdat(b"x"), [250] * 4 + [501, ENDED])
             for bad in BAD]
    ROWS += [(IN_RCPT + line + EVIL, IN_RCPT, [250] * 3 + [500, ENDED]) for line in LINES]

    def talk(self, daemon, pieces, codes):
        with puppet.client(daemon.port) as c:
            self.assertEqual(c.reply()[:3], b"220")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in pieces:
                    c.send(piece)
                c.end()
            ended = codes[-1] is ENDED
            self.assertEqual(c.codes(len(codes) - ended), codes[:len(codes) - ended])
            self.assertEqual(c.rest(), b"")

    def run_rows(self, rows, cut):
        """The sink reads lines as leniently as the worst of servers."""
        for body in BODIES:
            with harness.Sink("--line-ends", "lax", "--auth", "joe:secret") as sink, \
                    self.caronte(sink, **{body: True}) as daemon:
                expected = collections.Counter()
                for number, (octets, passed, codes) in enumerate(rows, 1):
                    with case(body, octets):
                        self.talk(daemon, cut(octets), codes)
                        if self.gateway:
                            expected.update(transactions(passed))
                            harness.wait_until(lambda: heard(sink) == expected)
                        else:
                            harness.wait_until(lambda: "%d -: " % number in sink.transcript()[-1])
                            self.assertEqual(sink.raw(number), passed)
                if self.gateway:
                    self.assertEqual(heard(sink), expected)

    def test_whole(self):
        self.run_rows(self.ROWS, lambda octets: [octets])

    def test_octet_by_octet(self):
        """Cut finely, rows that end at an early octet are other dialogs."""
        early = [row for row in self.ROWS if b"DATA\r\n" in row[0].replace(EVIL, b"")
                 or b"AUTH" in row[0]]
        rows = [row for row in self.ROWS if row not in early][:40]
        self.run_rows(rows, lambda octets: [octets[at:at + 1] for at in range(len(octets))])

    def test_cut_at_random(self):
        chance = random.Random(3)
        rows = [row for row in self.ROWS if b"DATA\r\n" not in row[0].replace(EVIL, b"")
                and b"AUTH" not in row[0]]

        def cut(octets):
            places = sorted(chance.randrange(len(octets)) for _ in range(6))
            return [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)])]

        self.run_rows(rows, cut)
