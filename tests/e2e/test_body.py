# SPDX-License-Identifier: ISC
"""Bodies on their way: only scanned octets go on, all of them, in order, and no more are held than
fit into the buffers of one step.
"""
import contextlib
import hashlib
import mmap
import os
import re
import resource
import shutil
import select
import socket
import tempfile
import threading
import unittest

import harness
import puppet
from puppet import OK, case, sending

BODIES = ("BODY_AUTO", "BODY_COPY", "BODY_SPLICE")
BLOCK = 16 * 1024  # WORKER_BLOCK: the first octets of a body come in one
STEP = 512 * 1024  # WORKER_BODY
LINE = b"0123456789abcdef" * 4 + b"\r\n"
END = b".\r\n"
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
REFUSED = b"521 5.5.2 Bare CR, LF or NUL in message, closing connection\r\n"


def text(size):
    """So many octets of whole lines, none of which is a header's."""
    lines = b"\r\n" + LINE * (size // len(LINE) + 1)
    return lines[:size - 2] + b"\r\n"


class Ways(harness.TestCase):
    def each_body(self, rcvbuf=0, **settings):
        for body in BODIES:
            with puppet.Destination(rcvbuf=rcvbuf) as destination, \
                    self.caronte(destination, **{body: True}, **settings) as daemon:
                yield body, daemon, destination

    def messages(self, daemon):
        daemon.stop()
        return [(r.get("body"), int(r.get("bytes"))) for r in daemon.records("message")]

    def carry(self, s, body):
        """A message that arrives to the letter; its destination lets it pile up first."""
        s.envelope()
        with sending(s.client.send, body):
            s.server.expect(body)
        self.assertTrue(s.server.silent())
        s.server.send(OK)
        s.client.expect(OK)

    def test_log_says_how(self):
        bodies = [END, b"\r\n" + END, b"x\r\n" + END, b"..\r\n" + END, text(STEP + BLOCK) + END]
        for body, daemon, destination in self.each_body():
            with puppet.Session(daemon.port, destination) as s:
                for octets in bodies:
                    self.carry(s, octets)
                s.quit()
            how = "splice" if body == "BODY_SPLICE" else "copy"
            self.assertEqual(self.messages(daemon), [(how, len(b) - 3) for b in bodies])
            session, = daemon.records("session")
            self.assertEqual(int(session.get("bytes")), sum(len(b) - 3 for b in bodies))

    def test_repair_is_never_spliced(self):
        with puppet.Destination() as destination, self.caronte(
                destination, BODY_SPLICE=True, BARE_NEWLINE_NORMALIZE=True) as daemon:
            with puppet.Session(daemon.port, destination) as s:
                self.carry(s, text(STEP) + END)
                s.quit()
            self.assertEqual(self.messages(daemon), [("copy", STEP)])

    def test_line_ends_at_the_borders_of_steps(self):
        """Dot-stuffed lines that begin around each multiple of a block, so that every part of
        CR LF dot dot comes to lie on each side of each border."""
        for body, daemon, destination in self.each_body(rcvbuf=4096):
            with puppet.Session(daemon.port, destination) as s:
                for shift in range(-4, 3):
                    octets = b""
                    for border in range(BLOCK, STEP + 3 * BLOCK, BLOCK):
                        octets += text(border + shift - len(octets)) + b"..a\r\n"
                    with case(body, shift):
                        self.carry(s, octets + END)
                s.quit()

    def test_ends_at_the_borders_of_steps(self):
        for body, daemon, destination in self.each_body(rcvbuf=4096):
            with puppet.Session(daemon.port, destination) as s:
                for border in BLOCK, STEP, BLOCK + STEP:
                    for shift in range(-6, 2):
                        with case(body, border, shift):
                            self.carry(s, text(border + shift) + END)
                s.quit()

    def test_bare_newlines_at_the_borders_of_steps(self):
        """Nothing of the offender or behind it gets through."""
        for body, daemon, destination in self.each_body(rcvbuf=4096):
            for border in BLOCK, STEP, BLOCK + STEP:
                for shift in range(-3, 1):
                    for bare in b"\n.\r\n", b".\n", b".\r\r\n", b"x\r.\r\n", b".\0\r\n":
                        octets = text(border + shift) + bare
                        with case(body, border, shift, bare), \
                                puppet.Session(daemon.port, destination, "data") as s:
                            with sending(s.client.send, octets + text(BLOCK)):
                                got = s.server.rest()
                            self.assertEqual(s.client.reply(), REFUSED)
                            self.assertTrue(octets[:BARE.search(octets).start()].startswith(got))

    def test_urgent_octets_stay_where_they_are(self):
        """MSG_OOB makes one octet urgent: for mail it is an octet like any other."""
        start, rest = b"Subject: t\r\n\r\n", b"..\r\nlast line\r\n" + END
        whole = start + text(BLOCK) + b"urgent\r\n" + rest
        places = [1, len(start) - 1, len(start), BLOCK - 1, BLOCK, BLOCK + 1,
                  *range(len(whole) - len(rest) - 2, len(whole) + 1)]
        for body, daemon, destination in self.each_body():
            with puppet.Session(daemon.port, destination) as s:
                for place in places:
                    with case(body, place):
                        s.envelope()
                        s.client.send(whole[:place - 1])
                        s.client.socket.send(whole[place - 1:place], socket.MSG_OOB)
                        s.client.send(whole[place:])
                        s.server.expect(whole)
                        s.server.send(OK)
                        s.client.expect(OK)
                s.quit()
            ways = {way for way, octets in self.messages(daemon)}
            self.assertLessEqual(ways, {"splice", "mixed"} if body == "BODY_SPLICE" else {"copy"})

    def test_many_urgent_octets_in_a_large_body(self):
        for body, daemon, destination in self.each_body(rcvbuf=4096):
            with puppet.Session(daemon.port, destination, "data") as s:
                whole = text(STEP + 1000) + END
                pieces = puppet.cuts(whole, (1, 100, 5000, BLOCK))
                with sending(s.client.send_urgent, *pieces):
                    s.server.expect(whole)
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()
            (way, octets), = self.messages(daemon)
            self.assertEqual(octets, len(whole) - 3)
            self.assertEqual(way, "mixed" if body == "BODY_SPLICE" else "copy")

    def test_urgent_octets_in_commands_and_bare_newlines(self):
        with puppet.Destination() as destination, self.caronte(destination) as daemon:
            with puppet.Session(daemon.port, destination, "mail") as s:
                s.client.send(b"RCPT TO:<victim@far.tes")
                s.client.socket.send(b"t", socket.MSG_OOB)
                s.client.send(b">\r\n")
                self.assertEqual(s.client.codes(1), [550])
                self.assertTrue(s.server.silent())
        for body, daemon, destination in self.each_body():
            with puppet.Session(daemon.port, destination, "data") as s:
                s.client.send(b"text\r\n.")
                s.client.socket.send(b"\n", socket.MSG_OOB)
                s.client.send(puppet.MAIL)
                self.assertEqual(s.client.reply(), REFUSED)
                self.assertNotIn(b"MAIL", s.server.rest())

    def test_more_bodies_than_pipes(self):
        """A body that finds no pipe is copied. Their number is limited for a user: as another one
        the daemon leaves those of other tests alone."""
        count, part, user = 260, text(1000), "daemon"
        if not harness.ROOT:
            self.skipTest("needs a user of its own, which root alone can become")
        if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 16 * count:
            self.skipTest("RLIMIT_NOFILE does not carry so many sessions and pipes")
        daemon = self.caronte(None, BODY_SPLICE=True, WORKERS=1, MAX_SESSIONS=count, USER=user,
                              MAX_SESSIONS_PER_ADDRESS=0)
        for each in daemon.log.parent, daemon.archive:
            shutil.chown(each, user)
        with puppet.Destination() as destination, contextlib.ExitStack() as stack:
            daemon.settings["DESTINATIONS"] = "127.0.0.1:%d" % destination.port
            stack.enter_context(daemon)
            sessions = [stack.enter_context(puppet.Session(daemon.port, destination, "data"))
                        for _ in range(count)]
            for step in part, part + END:
                for s in sessions:
                    s.client.send(step)
                for s in sessions:
                    s.server.expect(step)
            for s in sessions:
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()
            ways = [way for way, octets in self.messages(daemon)]
            self.assertEqual(len(ways), count)
            self.assertGreaterEqual(ways.count("copy"), 1)


class BackPressure(harness.TestCase):
    SIZE = 50 << 20

    def test_a_slow_destination_slows_its_client(self):
        whole = b"\r\n" + text(self.SIZE) + END
        for body in BODIES:
            with puppet.Destination(rcvbuf=65536) as destination, \
                    self.caronte(destination, **{body: True}) as daemon, \
                    puppet.Session(daemon.port, destination, "data", sndbuf=65536) as s, case(body):
                before = most = daemon.memory()
                digest, sent, got = hashlib.sha256(), 0, 0
                s.client.socket.setblocking(False)
                view = memoryview(whole)
                # The destination reads only when the client cannot send any more.
                while got < len(whole):
                    waits = [s.client.socket] if sent < len(whole) else []
                    if select.select([], waits, [], 0.02)[1]:
                        sent += s.client.socket.send(view[sent:sent + (1 << 20)])
                        self.assertLess(sent - got, 24 << 20)
                        continue
                    most = max(most, daemon.memory())
                    while select.select([s.server.socket], [], [], 0)[0]:
                        octets = s.server.socket.recv(1 << 20)
                        self.assertTrue(octets)
                        digest.update(octets)
                        got += len(octets)
                self.assertEqual(digest.digest(), hashlib.sha256(whole).digest())
                self.assertLess(most - before, 3 << 20)
                s.client.socket.settimeout(puppet.PATIENCE_S)
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()


class SameKernel(harness.TestCase):
    """A client on this kernel sends a file by sendfile(2): its pages are not copied but queued, and
    change when it writes to the file afterwards. What BODY_AUTO and BODY_COPY send on is what they
    have scanned, be it old or new. BODY_SPLICE promises no such thing and says so in its help: it
    is for machines whose clients all come over a network, and stays out of these tests.
    """

    ATTACK = b"\r\n.\r\nMAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\n"
    INNOCENT = b"x" * len(ATTACK)
    PAGE = mmap.PAGESIZE

    def setUp(self):
        self.file = tempfile.TemporaryFile()
        self.addCleanup(self.file.close)

    def write_file(self, pages):
        """Pages of lines, each with innocent text where the attack is to come."""
        page = self.INNOCENT + b"\r\n"
        page += text(self.PAGE - len(page))
        self.file.seek(0)
        self.file.write(page * pages)
        self.file.flush()

    def rewrite(self, what, pages):
        for page in pages:
            os.pwrite(self.file.fileno(), what, page * self.PAGE)

    def test_the_set_up_is_real(self):
        """Without Caronte: what was looked at in a receive queue is not what is spliced from it."""
        self.write_file(1)
        with socket.create_server(("127.0.0.1", 0)) as server, \
                socket.create_connection(server.getsockname()) as sender:
            receiver, _ = server.accept()
            with receiver:
                os.sendfile(sender.fileno(), self.file.fileno(), 0, self.PAGE)
                self.assertTrue(receiver.recv(100, socket.MSG_PEEK).startswith(self.INNOCENT))
                self.rewrite(self.ATTACK, [0])
                out, into = os.pipe()
                try:
                    os.splice(receiver.fileno(), into, self.PAGE)
                    self.assertTrue(os.read(out, 100).startswith(self.ATTACK))
                finally:
                    os.close(out)
                    os.close(into)

    def send_file(self, s, pages):
        at = 0
        while at < pages * self.PAGE:
            try:
                at += os.sendfile(s.client.socket.fileno(), self.file.fileno(), at,
                                  pages * self.PAGE - at)
            except (BrokenPipeError, ConnectionResetError):
                return  # refused meanwhile
            except BlockingIOError:
                select.select([], [s.client.socket], [], puppet.PATIENCE_S)

    def check(self, s, begin):
        """The destination's side up to the end of one message, and then nothing unasked."""
        message = s.server.until(b"\r\n.\r\n")
        self.assertTrue(message.startswith(begin) and message.endswith(b"\r\n.\r\n"))
        self.assertNotIn(b"MAIL", message)
        self.assertTrue(s.server.silent(0.01))
        s.server.send(OK)
        # From here on all is commands, and judged.
        self.assertEqual(s.client.codes(1), [250])

    def test_file_rewritten_while_its_octets_wait(self):
        pages = 64
        for body in "BODY_AUTO", "BODY_COPY":
            with puppet.Destination(rcvbuf=65536) as destination, \
                    self.caronte(destination, **{body: True}) as daemon, \
                    puppet.Session(daemon.port, destination, "data") as s, case(body):
                self.write_file(pages)
                filler = text(BLOCK)
                s.client.send(b"\r\n")
                s.client.socket.setblocking(False)
                # The proxy's own buffers fill up: what follows waits in the queue before it.
                while select.select([], [s.client.socket], [], 0.05)[1]:
                    s.client.socket.send(filler)
                s.client.socket.settimeout(puppet.PATIENCE_S)
                sender = threading.Thread(target=self.send_file, args=(s, pages))
                sender.start()
                self.rewrite(self.ATTACK, range(pages // 2, pages))
                self.check(s, b"\r\n" + filler)
                if not self.gateway:  # else it never hears of him
                    s.server.expect(b"MAIL FROM:<evil@evil.test>\r\n")
                    s.server.send(OK)
                self.assertEqual(s.client.codes(2), [250, 550])
                sender.join()
                s.client.send(b"\r\nQUIT\r\n")
                s.client.end()
                if self.gateway:
                    s.client.rest()
                    self.assertTrue(s.server.silent())
                    continue
                while line := s.server.line():
                    self.assertNotIn(b"victim", line)
                    if line.startswith((b"MAIL", b"QUIT")):
                        s.server.send(OK)

    def test_file_rewritten_all_the_time(self):
        """The same as a race, many times: nothing is sent that the scan has not seen."""
        pages = 48
        for body in "BODY_AUTO", "BODY_COPY":
            with puppet.Destination(rcvbuf=16384) as destination, \
                    self.caronte(destination, **{body: True}) as daemon:
                for attempt in range(20):
                    with case(body, attempt), \
                            puppet.Session(daemon.port, destination, "data") as s:
                        self.write_file(pages)
                        over = threading.Event()

                        def toggle():
                            while not over.is_set():
                                self.rewrite(self.ATTACK, range(pages))
                                self.rewrite(self.INNOCENT, range(pages))

                        threads = [threading.Thread(target=toggle),
                                   threading.Thread(target=self.send_whole, args=(s, pages))]
                        for thread in threads:
                            thread.start()
                        try:
                            self.check_race(s)
                        finally:
                            over.set()
                            s.close()
                            for thread in threads:
                                thread.join()

    def send_whole(self, s, pages):
        self.send_file(s, pages)
        try:
            s.client.send(END)
        except OSError:
            pass

    def check_race(self, s):
        message = s.server.until(b"\r\n.\r\n")
        self.assertNotIn(b"MAIL", message)
        if message.endswith(b"\r\n.\r\n"):  # else a page was caught half written, and refused
            self.assertTrue(s.server.silent(0.005))


if __name__ == "__main__":
    unittest.main()
