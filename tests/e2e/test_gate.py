# SPDX-License-Identifier: ISC
"""The gate: a line of a body that begins like a MAIL command does not reach a destination that has
given up the message, and says so: neither one nearby nor one a long way off.
"""
import contextlib
import subprocess
import time

import exim
import harness
import mailserver
import namespace
import puppet
from puppet import DATA, EHLO, MAIL, OK, RCPT, case, sending
from test_bdat import BODIES
from test_smuggling import HEAD

EVIL = (b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\n"
        b"From: evil@evil.test\r\nSubject: smuggled\r\n\r\nsmuggled\r\n")
FULL = b"452 4.3.1 Space shortage, please try later\r\n"
QUIET_S = 0.1  # the least time for which a destination must be silent
MOST = 100  # such lines in a message
DELAY_S = 0.02  # of the long line, either way


class Gate(harness.TestCase):
    """A destination that the test is itself."""
    extensions = puppet.EXTENSIONS
    round_trip_s = 0

    @contextlib.contextmanager
    def destination(self):
        with puppet.Destination(extensions=self.extensions) as destination:
            yield destination, destination

    def each_body(self, **settings):
        for body in BODIES:
            with self.destination() as (destination, at), \
                    self.caronte(at, **{body: True}, **settings) as daemon, case(body):
                yield daemon, destination

    def passes(self, before):
        """Who reads on and says nothing gets all of it, after a while. BEFORE: what stands in the
        line before the command."""
        for daemon, destination in self.each_body():
            with puppet.Session(daemon.port, destination, "data") as s:
                text = HEAD + b".\r\n" + before
                s.client.send(text + EVIL + b".\r\n")
                s.server.expect(text)
                since = time.monotonic()
                s.server.expect(EVIL + b".\r\n")
                self.assertGreaterEqual(time.monotonic() - since, 0.9 * QUIET_S)
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_passes(self):
        self.passes(b"")

    def test_far_behind_the_start_of_a_line(self):
        """A server that gives up reads lines of commands, and has no room for all of this one."""
        self.passes(b"x" * 16385)

    def test_given_up(self):
        """Who has taken something for the end says so, and hears nothing more."""
        for daemon, destination in self.each_body():
            for cut in (b"", HEAD + b".\r", HEAD + b".\r\nMAIL", HEAD + b".\r\nMAIL FROM"):
                with puppet.Session(daemon.port, destination, "data") as s, case(cut):
                    text = HEAD + b".\r\n"
                    whole = text + EVIL + b".\r\n"
                    if cut:
                        s.client.send(cut)
                        time.sleep(QUIET_S / 2)
                    s.client.send(whole[len(cut):])
                    s.server.expect(text)
                    s.server.send(FULL)
                    self.assertTrue(b"MAIL FROM".startswith(s.server.rest()))
                    s.client.expect(FULL)

    def test_half_a_reply(self):
        """Who has begun to answer is not silent."""
        for daemon, destination in self.each_body():
            with puppet.Session(daemon.port, destination, "data") as s:
                text = HEAD + b".\r\n"
                s.client.send(text + EVIL + b".\r\n")
                s.server.expect(text)
                s.server.send(FULL[:10])
                self.assertTrue(s.server.silent(5 * QUIET_S + 4 * self.round_trip_s))
                s.server.send(FULL[10:])
                self.assertEqual(s.server.rest(), b"")
                s.client.expect(FULL)

    def test_repaired(self):
        with self.destination() as (destination, at), \
                self.caronte(at, BARE_NEWLINE_NORMALIZE=True) as daemon:
            with puppet.Session(daemon.port, destination, "data") as s:
                s.client.send(HEAD + b"\nMA\0IL FROM:<evil@evil.test>\r\n.\r\n")
                s.server.expect(HEAD + b"\r\nMA")
                s.server.send(FULL)
                self.assertEqual(s.server.rest(), b"")
                s.client.expect(FULL)

    def test_chunks_are_counted(self):
        self.extensions = puppet.EXTENSIONS.replace(b"250 SIZE", b"250-CHUNKING\r\n250 SIZE")
        with self.destination() as (destination, at), self.caronte(at) as daemon:
            with puppet.Session(daemon.port, destination, "ehlo") as s:
                chunk = b"BDAT %d LAST\r\n" % len(EVIL) + EVIL
                for _ in range(50):
                    s.do_mail()
                    s.do_rcpt()
                    since = time.monotonic()
                    s.client.send(chunk)
                    s.server.expect(chunk)
                    seconds = time.monotonic() - since
                    s.server.send(OK)
                    s.client.expect(OK)
                    # What waits always does, and a machine may always have something else to do:
                    # one that was quick shows that nothing waited.
                    if seconds < 0.9 * QUIET_S + self.round_trip_s:
                        break
                else:
                    self.fail("each took longer than a destination must be silent")
                s.quit()


class FarGate(Gate):
    """The same over a long line: the answer comes later than the acknowledgement of what is sent
    meanwhile would."""
    round_trip_s = 2 * DELAY_S

    @classmethod
    def setUpClass(cls):
        namespace.enter()
        namespace.stretch(DELAY_S)

    @contextlib.contextmanager
    def destination(self):
        with puppet.Destination(extensions=self.extensions,
                                address=namespace.NEAR) as destination:
            yield destination, "%s:%d" % (namespace.FAR, destination.port)


class Many(harness.TestCase):
    def test_no_more_than_so_many(self):
        """They would hold a seat for as long as one liked."""
        with puppet.Destination() as destination, self.caronte(destination) as daemon:
            for count, reply in ((MOST, OK), (MOST + 1, b"554 5.7.0 Too many lines like a MAIL "
                                              b"command in message\r\n")):
                with puppet.Session(daemon.port, destination, "data") as s, case(count):
                    s.client.socket.settimeout(60)
                    with sending(s.client.send, HEAD + b"\r\n" + MAIL * count + b".\r\n"):
                        s.server.expect(HEAD + b"\r\n" + MAIL * (2 * MOST - count))
                        if count == MOST:
                            s.server.expect(b".\r\n")
                            s.server.send(OK)
                        else:
                            self.assertEqual(s.server.rest(), b"")
                        s.client.expect(reply)

    def test_time_is_not_the_clients(self):
        """MIN_RATE does not count it, nor does a deadline end it."""
        with puppet.Destination() as destination, \
                self.caronte(destination, MIN_RATE=1000000, TIMEOUT_DATA=5) as daemon:
            with puppet.Session(daemon.port, destination, "data") as s:
                s.client.socket.settimeout(60)
                s.client.send(HEAD + b"\r\n" + MAIL * 60 + b".\r\n")
                s.server.expect(HEAD + b"\r\n" + MAIL * 60 + b".\r\n")
                s.server.send(OK)
                s.client.expect(OK)


class FullSpool(harness.TestCase):
    """Exim, with a spool that has no room for the message."""
    PAGE = 4096
    ROOM = 6  # pages
    each_engine = False

    @classmethod
    def setUpClass(cls):
        namespace.enter()

    @contextlib.contextmanager
    def server(self):
        """With room for so many pages of a message."""
        server = exim.Exim()
        with contextlib.ExitStack() as stack:
            place = server.dir / "small"
            place.mkdir()
            size = "size=%d" % ((self.ROOM + 10) * self.PAGE)
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place],
                                  capture_output=True, text=True)
            if done.returncode:
                self.skipTest("no small spool: " + done.stderr.strip())
            stack.callback(subprocess.run, ["umount", "-l", place], check=True)
            server.small = place / "input"
            server.make_for("Debian-exim", server.small)
            stack.enter_context(server)
            (place / "filler").write_bytes(bytes(10 * self.PAGE))
            yield server

    def text(self):
        """A message that ends, for this Exim, with the dot in the middle of a line: the octet
        before it is the one that it could not write. (It writes no CR, and 18 of its own.)"""
        size = (self.ROOM + 1) * self.PAGE - 18
        lines, rest = divmod(size, 79)
        return b"Subject: t\r\n\r\n" + (b"x" * 78 + b"\r\n") * lines + b"x" * rest + b".\r\n"

    def attack(self, port, before=b""):
        """The codes that one gets who fills the spool with it. BEFORE: what stands in the line
        before the first command."""
        codes = []
        with puppet.client(port) as c, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            c.reply()
            c.send(EHLO)
            c.reply()
            c.send(MAIL + RCPT + DATA)
            c.codes(3)
            commands, data, message = EVIL.partition(DATA)
            c.send(self.text() + before + commands + data)
            time.sleep(2 * QUIET_S)  # what comes too early after DATA, Exim refuses
            c.send(message + b".\r\nQUIT\r\n")
            while reply := c.reply():
                codes.append(int(reply[:3]))
        return codes

    @staticmethod
    def smuggled(server):
        """The message that was, when nothing of its delivery has to be written any more: Exim
        panics where the next attack has filled the spool."""
        mail, = server.mails(1, mailserver.FAR)
        harness.wait_until(lambda: " Completed\n" in server.log())
        return mail

    def test(self):
        ours, victim = RCPT.decode().strip(), "RCPT TO:<victim@far.test>"
        with self.server() as server:
            self.assertEqual(self.attack(server.port), [451, 250, 250, 354, 250, 221])
            self.assertEqual(server.recipients(), [ours, victim])
            self.assertIn(b"\r\nSubject: smuggled\r\n", self.smuggled(server))
            for body in BODIES:
                with case(body), self.caronte(server, DATA_AS_BDAT=False,
                                              **{body: True}) as daemon:
                    self.assertEqual(self.attack(daemon.port), [451, self.by_dialog(421, 221)])
                    self.assertIn("DATA", [record.get("line") for record in
                                           daemon.records("command", to="destination")])
            self.assertEqual(server.recipients(), [ours, victim] + [ours] * len(BODIES))

    def test_far_behind_the_start_of_a_line(self):
        """Of a line that is longer than its room for a command, this Exim takes the rest for the
        next one."""
        before, victim = b"x" * 16385, "RCPT TO:<victim@far.test>"
        with self.server() as server:
            self.assertEqual(self.attack(server.port, before), [451, 500, 250, 250, 354, 250, 221])
            self.assertIn(victim, server.recipients())
            heard = server.recipients().count(victim)
            self.smuggled(server)
            for body in BODIES:
                with case(body), self.caronte(server, DATA_AS_BDAT=False,
                                              **{body: True}) as daemon:
                    self.assertEqual(self.attack(daemon.port, before),
                                     [451, self.by_dialog(421, 221)])
            self.assertEqual(server.recipients().count(victim), heard)
            self.assertEqual(len(server.mails(1, mailserver.FAR)), 1)
