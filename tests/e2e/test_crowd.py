# SPDX-License-Identifier: ISC
"""The gateway dialog between a crowd of clients and destinations that refuse, are slow, die and say
421 as chance has it. Each reply of a destination names what it answers, and each octet of a message
whose it is, so that each client can tell whether it has heard what was meant for it. And a crowd
that only takes up room.
"""
import base64
import contextlib
import random
import signal
import socket
import threading
import time
import unittest

import harness
import puppet
import test_limits
import test_upgrade
from puppet import EHLO

CLIENTS = 8
SECONDS = 3
OFFERS = "250-puppet.test\r\n%s250-8BITMIME\r\n250-SIZE\r\n250 CHUNKING\r\n"


class Destination:
    """Takes messages, and notes what must not be."""

    def __init__(self, seed):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.seed = seed
        self.taken = {}  # the recipients of each message, by its sender
        self.wrong = []
        self.lock = threading.Lock()
        self.open = self.peak = 0
        threading.Thread(target=self.run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self.listener.close()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                sock = self.listener.accept()[0]
                self.seed += 1
                threading.Thread(target=Server(self, sock, self.seed).run, daemon=True).start()

    def count(self, change):
        with self.lock:
            self.open += change
            self.peak = max(self.peak, self.open)


class Dies(Exception):
    pass


class Server:
    """One connection."""

    def __init__(self, destination, sock, seed):
        self.at, self.peer, self.chance = destination, puppet.Peer(sock), random.Random(seed)
        self.mail, self.rcpts = None, []
        destination.count(1)

    def happens(self, probability):
        return self.chance.random() < probability

    def say(self, text):
        octets = text.encode() + b"\r\n"
        if self.happens(0.15):
            time.sleep(self.chance.random() * 0.03)
        if self.happens(0.1):
            cut = self.chance.randrange(len(octets))
            self.peer.send(octets[:cut])
            time.sleep(0.005)
            octets = octets[cut:]
        self.peer.send(octets)

    def run(self):
        with contextlib.suppress(OSError, Dies):
            self.say("220 puppet.test")
            while line := self.peer.line():
                if self.happens(0.01):
                    if self.happens(0.5):
                        self.say("421 4.3.2 Bye")
                    raise Dies
                getattr(self, "on_" + line[:4].decode().lower())(line)
                if self.happens(0.02) and self.peer.silent(self.chance.random() * 0.1):
                    self.say("421 4.4.2 Idle")
                    raise Dies
        # It is gone in our eyes before it is in theirs.
        self.at.count(-1)
        self.peer.reset() if self.happens(0.2) else self.peer.close()

    def wrong(self, *what):
        self.at.wrong.append(what)

    def on_ehlo(self, line):
        self.say(OFFERS.rstrip() % ("250-PIPELINING\r\n" if self.happens(0.8) else ""))

    def on_rset(self, line):
        self.mail = None
        self.say("250 RSET")

    def on_quit(self, line):
        self.say("221 Bye")
        raise Dies

    def on_mail(self, line):
        name = line.split(b"<")[1].split(b"@")[0].decode()
        if self.mail:
            self.wrong("a MAIL within a transaction", self.mail, name)
        if self.happens(0.05):
            self.say("550 " + name)
        else:
            self.mail, self.rcpts, self.chunks = name, [], b""
            self.say("250 " + name)

    def on_rcpt(self, line):
        name = line.split(b"<")[1].split(b"@")[0].decode()
        if self.mail and name.split(".")[0] != self.mail:
            self.wrong("a recipient of another message", self.mail, name)
        if self.mail and self.happens(0.85):
            self.rcpts.append(name)
            self.say("250 " + name)
        else:
            self.say("550 " + name)

    def on_data(self, line):
        if not self.mail or not self.rcpts or self.happens(0.05):
            self.say("451 %s" % self.mail)
            return
        self.say("354 " + self.mail)
        while (line := self.peer.line()) != b".\r\n":
            if line != b"%s\r\n" % self.mail.encode():
                if line:
                    self.wrong("another message's line", self.mail, line[:50])
                raise Dies
            if self.happens(0.0001):
                self.say("452 " + self.mail)
                raise Dies
        self.take()

    def on_bdat(self, line):
        size = int(line.split()[1])
        octets = self.peer.take(size)
        if len(octets) < size:
            raise Dies
        if not self.mail or not self.rcpts:
            self.wrong("a chunk of no message", self.mail, octets[:50])
            raise Dies
        # What came by DATA is cut anywhere.
        self.chunks += octets
        last = b"LAST" in line
        name = self.mail.encode()
        if last and self.chunks.replace(name + b";", b"").replace(name + b"\r\n", b""):
            self.wrong("another message's chunk", self.mail, self.chunks[:50])
        if last:
            self.take()
        else:
            self.say("250 " + self.mail)

    def take(self):
        """The end of a message."""
        if self.happens(0.1):
            self.say("452 " + self.mail)
        else:
            if self.at.taken.setdefault(self.mail, self.rcpts) is not self.rcpts:
                self.wrong("twice", self.mail)
            self.say("250 " + self.mail)
        self.mail = None


OWN_354 = "End data with <CR><LF>.<CR><LF>"  # of Caronte, where the body goes in chunks


class Over(Exception):
    """The session."""


class Client(threading.Thread):
    def __init__(self, port, name, seed, until):
        super().__init__(daemon=True)
        self.port, self.name, self.until = port, name, until
        self.chance = random.Random(seed)
        self.serial = 0
        self.told = {}  # of each message that was accepted, the recipients that were
        self.wrong = []

    def run(self):
        while time.monotonic() < self.until:
            with contextlib.suppress(Over), puppet.client(self.port) as self.peer:
                self.reply()
                self.ask(EHLO)
                for _ in range(self.chance.randrange(1, 6)):
                    self.transaction()
                self.ask(b"QUIT\r\n")

    def reply(self, *names):
        """Code and text of a reply; one of a destination must be to one of these."""
        text = self.peer.reply().decode().rstrip()
        code = int(text[:3] or 421)
        # The session is over, and it is said of whatever was asked.
        if code == 421 or text.startswith("451 4.4.2"):
            raise Over
        if names and text[4] not in "245" and text[4:] not in (*names, "None"):
            if not text.endswith("Relaying denied."):
                self.wrong.append((names, text))
        return code, text[4:]

    def ask(self, octets, *names):
        self.peer.send(octets)
        return self.reply(*names)

    def transaction(self):
        self.serial += 1
        self.mail, self.good = "%sx%d" % (self.name, self.serial), []
        rcpts = ["%s.%d" % (self.mail, i) for i in range(self.chance.randrange(1, 5))]
        group = ["MAIL FROM:<%s@c.test>" % self.mail] + [
            "RCPT TO:<%s@%s.test>" % (name, self.chance.choice(("local", "local", "far")))
            for name in rcpts]
        chunks = self.chance.random() < 0.4
        self.peer.send("".join(line + "\r\n" for line in group).encode() +
                       b"DATA\r\n" * (not chunks))
        self.reply()
        for name in rcpts:
            if self.reply(name, self.mail)[0] == 250:
                self.good.append(name)
        if chunks:
            self.send_chunks() if self.good else None
        elif self.reply(self.mail, OWN_354)[0] == 354:
            if not self.good:
                self.wrong.append(("354 for nobody", self.mail))
            self.leave(0.02)
            self.peer.send(b"%s\r\n" % self.mail.encode() * self.chance.choice((0, 1, 3, 9999)))
            self.end(self.ask(b".\r\n", self.mail))
        if self.ask(b"RSET\r\n") != (250, "2.0.0 Ok"):
            self.wrong.append(("RSET", self.mail))

    def leave(self, probability):
        if self.chance.random() < probability:
            self.peer.close()
            raise Over

    def send_chunks(self):
        words = self.chance.choice(([b""], [b" LAST"], [b"", b" LAST"], [b"", b"", b" LAST"]))
        for word in words:
            octets = b"%s;" % self.mail.encode() * self.chance.choice((0, 1, 10, 9999))
            self.peer.send(b"BDAT %d%s\r\n" % (len(octets), word) + octets)
            self.leave(0.01)
        for word in words:
            reply = self.reply(self.mail)
        if words[-1]:
            self.end(reply)

    def end(self, reply):
        if reply[0] == 250:
            self.told[self.mail] = self.good
            if reply[1] != self.mail:
                self.wrong.append(("accepted by nobody", self.mail, reply))


class Crowd(harness.TestCase):
    dialogs = ("gateway",)

    def logged(self, daemon):
        return {record.get("sender").split("@")[0] for record in daemon.records("message")
                if record.get("reply").startswith("250")}

    def crowd(self, **settings):
        seed = random.randrange(1 << 20)
        with Destination(seed) as one, Destination(seed + 10000) as two:
            names = " ".join("127.0.0.1:%d,max=4" % each.port for each in (one, two))
            with puppet.case("seed", seed), test_upgrade.copy(
                    self, names, COOPERATION_CLUSTER=True, MAX_SESSIONS_PER_ADDRESS=0, WORKERS=2,
                    MAX_ERRORS=1000, **settings) as daemon:
                until = time.monotonic() + SECONDS
                clients = [Client(daemon.port, "c%d" % i, seed + i, until) for i in range(CLIENTS)]
                for client in clients:
                    client.start()
                time.sleep(SECONDS / 3)
                daemon.process.send_signal(signal.SIGHUP)
                time.sleep(SECONDS / 3)
                daemon.process.send_signal(signal.SIGUSR2)
                for client in clients:
                    client.join(60)
                    self.assertFalse(client.is_alive())
                    self.assertEqual(client.wrong, [])
                told = {mail: good for client in clients for mail, good in client.told.items()}
                self.assertGreater(len(told), 10)
                harness.wait_until(lambda: self.logged(daemon) >= set(told))
                harness.wait_until(lambda: len(daemon.records("reload")) == 2)
                # What a client left behind may be taken now; the log tells of it afterwards.
                logged = self.logged(daemon)
                taken = {**one.taken, **two.taken}
                self.assertLessEqual(logged, set(taken))
                self.assertEqual({mail: taken.get(mail) for mail in told}, told)
                self.assertEqual(set(one.taken) & set(two.taken), set())
                self.assertEqual(one.wrong + two.wrong, [])
                self.assertLessEqual(max(one.peak, two.peak), 4)

    def test_everything_at_once(self):
        for body in "BODY_AUTO", "BODY_SPLICE":
            with self.subTest(body):
                self.crowd(**{body: True})


SEATS = 1000 if harness.LONG else 200  # taken long before the first one is idle for too long
IDLE_S = 30  # who has been of no use for so long loses its seat
SERVED_S = IDLE_S + harness.SOON_S


class Useless(harness.TestCase):
    """As many clients as there are seats, from many addresses, each doing next to nothing, with
    deadlines that none of them comes near."""

    def come(self, n, port, rcvbuf=None):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, test_limits.IP_BIND_ADDRESS_NO_PORT, 1)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.bind(("127.1.%d.%d" % (n // 100, n % 100 + 1), 0))
        sock.connect(("127.0.0.1", port))
        return self.stack.enter_context(puppet.Peer(sock))

    def prepare(self, n, port):
        """A client of one of the kinds, and what it sends every five seconds."""
        kind = n % 6
        c = self.come(n, port, 4096 if kind == 4 else None)
        c.reply()
        if kind == 4:  # never reads again
            c.send(EHLO * 80)
        elif kind in (2, 3):  # in the middle of a body
            c.send(EHLO + puppet.MAIL + puppet.RCPT)
            self.assertEqual(c.codes(3), [250] * 3)
            c.send(puppet.DATA)
            self.assertEqual(c.codes(1), [354])
            c.send(b"Subject: x\r\n\r\n" + b"x" * 1000)
        return c, (b"NOOP\r\n", b"N", b"x", b"", b"", b"")[kind], kind

    def run_crowd(self, crowd, began):
        while not self.over.wait(5):
            for c, octets, kind in crowd:
                # It is told that this is none, and lingers for longer than the others have time.
                late = kind == 5 and time.monotonic() - began > IDLE_S - 3
                with contextlib.suppress(OSError):
                    c.send(octets or b"NOOP\n" * late)

    def honest(self, port):
        """Whether it is served."""
        with harness.Client(port) as client:
            client.got = client.reply()
            if client.got[:3] != b"220":
                return False
            client.hello()
            self.assertEqual(client.send_message(b"honest\r\n")[:3], b"250")
            client.quit()
            return True

    def send_slowly(self, c, rate):
        """A large message, as a bad line would bring it."""
        c.send(EHLO + puppet.MAIL + puppet.RCPT)
        self.assertEqual(c.codes(4), [220] + [250] * 3)
        c.send(puppet.DATA)
        self.assertEqual(c.codes(1), [354])
        c.send(b"Subject: large\r\n\r\n")
        while not self.over.wait(1):
            c.send(b"x" * 78 + b"\r\n" + (b"y" * 78 + b"\r\n") * (rate // 80))

    def test_honest_client_is_served(self):
        """When others have been idle for too long, and from then on at once. Relay networks and
        logins keep their seats, and so does who sends a large message, slowly."""
        self.over = threading.Event()
        with harness.Sink("--auth", "joe:secret") as sink, self.caronte(
                sink, MAX_SESSIONS=SEATS, RELAY_NETWORKS="127.0.0.3", TIMEOUT_COMMAND=3600,
                TIMEOUT_DATA=3600, LOG_LEVEL=2) as daemon, contextlib.ExitStack() as self.stack:
            friend, user, large = (
                self.stack.enter_context(test_limits.come_from("127.0.0.%d" % n, daemon.port))
                for n in (3, 4, 5))
            for c in friend, user:
                c.send(EHLO)
                self.assertEqual(c.codes(2), [220, 250])
            user.send(b"AUTH PLAIN " + base64.b64encode(b"\0joe\0secret") + b"\r\n")
            self.assertEqual(user.codes(1), [235])
            crowd = [self.prepare(n, daemon.port) for n in range(SEATS - 3)]
            began = time.monotonic()
            for target, arguments in (self.run_crowd, (crowd, began)), (
                    self.send_slowly, (large, 1024)):
                thread = threading.Thread(target=target, args=arguments)
                thread.start()
                self.stack.callback(thread.join)
            self.stack.callback(self.over.set)
            self.assertFalse(self.honest(daemon.port))
            while not self.honest(daemon.port):
                self.assertLess(time.monotonic() - began, SERVED_S)
                time.sleep(1)
            for _ in range(20):
                self.assertTrue(self.honest(daemon.port))
            self.over.set()
            for c in friend, user:
                c.send(b"NOOP\r\n")
                self.assertEqual(c.codes(1), [250])
            large.send(b"\r\n.\r\n")
            self.assertEqual(large.codes(1), [250])
            ended = harness.wait_until(lambda: daemon.records("session", end="limit"))
            self.assertEqual({record.get("reason") for record in ended}, {"MAX_SESSIONS"})
            told = [c for c, _, kind in crowd if kind < 4 and not c.silent(0)]
            words = {c.socket.recv(1 << 16).split(b"\r\n")[-2] for c in told if c}
            self.assertIn(b"421 4.3.2 Too many sessions, idle ones are ended", words)


if __name__ == "__main__":
    unittest.main()
