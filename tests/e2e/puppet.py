# SPDX-License-Identifier: ISC
"""Both ends of a session in one test's hand: the client, and a destination that says and does
nothing by itself. So each step of a dialog is an event that the test waits for, and octets can be
sent, cut and held back between any two of them.

With the gateway dialog (DIALOG=gateway in the environment) a session has no destination before its
first recipient, or AUTH, and what happens on connections until then is no session's: a Destination
sees to it by itself. A Session's server then is the connection that MAIL comes over; where the
session had been led up to MAIL, it is read and answered there before anything else is.
"""
import contextlib
import os
import queue
import random
import select
import socket
import struct
import threading

PATIENCE_S = 90  # nothing that a test waits for takes nearly as long, on a busy machine neither
SOON_S = 20  # what waits for nothing takes less, on a busy machine too
FAR_S = 600  # a deadline that has nothing to do with it
GREETING = b"220 puppet.test ESMTP\r\n"
EHLO = b"EHLO client.test\r\n"
MAIL = b"MAIL FROM:<a@client.test>\r\n"
RCPT = b"RCPT TO:<b@local.test>\r\n"
DATA = b"DATA\r\n"
EXTENSIONS = b"250-puppet.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
OK = b"250 2.0.0 Ok\r\n"
SENDER_OK = b"250 2.1.0 Ok\r\n"
GO_AHEAD = b"354 Go ahead\r\n"
RESET = object()
GATEWAY = os.environ.get("DIALOG") == "gateway"


@contextlib.contextmanager
def case(*what):
    """Says in which case of many a test has failed."""
    try:
        yield
    except BaseException as error:
        error.add_note("case: %r" % (what,))
        raise


@contextlib.contextmanager
def sending(send, *pieces):
    """Sends each, by a Peer's method, meanwhile: so that the test can receive."""
    def send_all():
        for piece in pieces:
            send(piece)

    thread = threading.Thread(target=send_all)
    thread.start()
    yield
    thread.join()


def cuts(octets, sizes, seed=1):
    """In pieces of these sizes, by chance."""
    chance = random.Random(seed)
    while octets:
        size = chance.choice(sizes)
        yield octets[:size]
        octets = octets[size:]


class Peer:
    """One end of a connection."""

    def __init__(self, sock):
        sock.settimeout(PATIENCE_S)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.got = b""  # received and not taken yet

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self.socket.close()

    def name(self):
        return "%s:%d" % self.socket.getsockname()

    def send(self, octets):
        self.socket.sendall(octets)

    def send_urgent(self, octets):
        """The last octet is urgent."""
        self.send(octets[:-1])
        self.socket.sendall(octets[-1:], socket.MSG_OOB)

    def more(self):
        octets = self.socket.recv(1 << 20)
        self.got += octets
        return octets

    def take(self, count):
        """So many octets, fewer at the end of the stream."""
        taken = bytearray(self.got)
        self.got = b""
        while len(taken) < count and self.more():
            taken += self.got
            self.got = b""
        self.got = bytes(taken[count:])
        return bytes(taken[:count])

    def line(self):
        while b"\n" not in self.got and self.more():
            pass
        line, end, self.got = self.got.partition(b"\n")
        return line + end

    def until(self, end):
        """Everything up to and with END, or up to the end of the stream."""
        taken, looked = bytearray(self.got), 0
        self.got = b""
        while (at := taken.find(end, looked)) < 0:
            looked = max(len(taken) - len(end), 0)
            if not self.more():
                return bytes(taken)
            taken += self.got
            self.got = b""
        self.got = bytes(taken[at + len(end):])
        return bytes(taken[:at + len(end)])

    def reply(self):
        """One reply with all its lines; empty at the end of the stream."""
        reply = b""
        while True:
            line = self.line()
            reply += line
            if line[3:4] != b"-":
                return reply

    def replies(self, count):
        return [self.reply() for _ in range(count)]

    def codes(self, count):
        return [int(reply[:3] or 0) for reply in self.replies(count)]

    def expect(self, octets):
        """The next octets must be these."""
        taken = self.take(len(octets))
        if taken != octets:
            at = next((i for i, (a, b) in enumerate(zip(taken, octets)) if a != b), len(taken))
            around = slice(max(at - 100, 0), at + 100)
            raise AssertionError("got %d octets of %d; from octet %d on %r, not %r" % (
                len(taken), len(octets), at, taken[around], octets[around]))

    def rest(self):
        """Everything up to the end of the stream; a reset is RESET."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            return RESET
        rest, self.got = self.got, b""
        return rest

    def silent(self, seconds=0):
        """Nothing comes within so many seconds, not even an end."""
        poll = select.poll()  # which takes any descriptor
        poll.register(self.socket, select.POLLIN)
        return not self.got and not poll.poll(seconds * 1000)

    def end(self):
        """A FIN; the other direction stays."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes by a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Idle(threading.Thread):
    """The connections of a destination that belong to no session: greets, answers EHLO, HELO, RSET
    and QUIT, and hands over the one on which anything else begins, unread."""

    def __init__(self, destination):
        super().__init__(daemon=True)
        self.destination = destination
        self.begun = queue.Queue()
        self.peers = {}
        self.stop_at, self.stop_from = socket.socketpair()
        self.start()

    def run(self):
        listener = self.destination.socket
        while True:
            ready = select.select([self.stop_at, listener, *self.peers], [], [])[0]
            if self.stop_at in ready:
                break
            for sock in ready:
                with contextlib.suppress(OSError):
                    if sock is listener:
                        self.greet(Peer(listener.accept()[0]))
                    else:
                        self.serve(self.peers[sock])
        for sock in (self.stop_at, self.stop_from, listener, *self.peers):
            sock.close()

    def greet(self, peer):
        greeting = self.destination.greeting
        if callable(greeting):
            greeting(peer)
        else:
            self.peers[peer.socket] = peer
            peer.send(greeting)

    def serve(self, peer):
        word = peer.socket.recv(4, socket.MSG_PEEK)
        if word in (b"EHLO", b"HELO", b"RSET"):
            peer.line()
            peer.send({b"EHLO": self.destination.extensions}.get(word, OK))
        else:
            del self.peers[peer.socket]
            if word in (b"", b"QUIT"):
                peer.close()
            else:
                self.begun.put(peer)

    def drop(self):
        """Closes them, so that the next session gets a fresh one."""
        for sock in list(self.peers):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    def stop(self):
        self.stop_from.send(b"x")
        self.join()


class Destination:
    """A listening socket whose connections the test takes one by one; with the gateway dialog, and
    unless BY_HAND, they are looked after up to their first command (see Idle). PATH: a Unix socket;
    `new_path` makes one for each where none is given."""
    new_path = None

    def __init__(self, port=0, rcvbuf=0, greeting=GREETING, extensions=EXTENSIONS, by_hand=False,
                 address="127.0.0.1", path=None, backlog=256):
        self.greeting, self.extensions = greeting, extensions
        self.path = path or self.new_path and self.new_path()
        self.socket = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if self.path:
            self.bind(self.path)
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind((address, port))
            self.port = self.socket.getsockname()[1]
            self.place = "%s:%d" % (address, self.port)
        self.socket.listen(backlog)
        self.socket.settimeout(PATIENCE_S)
        self.idle = Idle(self) if GATEWAY and not by_hand else None

    def bind(self, path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.port = 0
        self.place = "unix:" + path

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self.close()

    def close(self):
        if self.idle:
            self.idle.stop()
        self.idle = None
        self.socket.close()

    def accept(self):
        return Peer(self.socket.accept()[0])

    def begun(self):
        """The connection over which a session has begun to speak."""
        return self.idle.begun.get(timeout=PATIENCE_S)


def connect(port, sndbuf=0, rcvbuf=0):
    sock = socket.socket()
    if sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(PATIENCE_S)
    sock.connect(("127.0.0.1", port))
    return sock


def client(port, **buffers):
    return Peer(connect(port, **buffers))


class Later:
    """The destination of a session that has none yet: it becomes one when it is asked for."""

    def __init__(self, session):
        self.session = session

    def __getattr__(self, name):
        return getattr(self.session.reach(), name)

    def close(self):
        pass

    def expect(self, octets):
        if octets:
            self.session.reach().expect(octets)

    def silent(self, seconds=0):
        return not select.select([], [], [], seconds)[0]

    def rest(self):
        """No connection, no octets."""
        return b""


class Session:
    """A client and its destination, led up to the step whose name stands in UNTIL: "connect",
    "greeting", "ehlo", "mail", "rcpt", "data", "body" (some of it has gone through)."""

    # Caronte itself greets at once: there is nothing before that to be led up to.
    STEPS = ("connect", "greeting", "ehlo", "mail", "rcpt", "data", "body")[GATEWAY:]
    BODY = b"Subject: t\r\n\r\nsome text\r\n"

    def __init__(self, port, destination, until="ehlo", **buffers):
        self.destination = destination
        self.client = client(port, **buffers)
        self.server = Later(self) if GATEWAY else destination.accept()
        self.answers_mail = False  # MAIL is still to be read and answered at the destination
        for step in self.STEPS[:self.STEPS.index(until) + 1]:
            getattr(self, "do_" + step)()

    def reach(self):
        """The gateway dialog has taken a connection for the session."""
        if isinstance(self.server, Later):
            self.server = self.destination.begun()
            if self.answers_mail:
                self.server.expect(MAIL)
                self.server.send(SENDER_OK)
                self.answers_mail = False
        return self.server

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self.close()

    def close(self):
        self.client.close()
        self.server.close()

    def both(self, command, answer):
        """A command, passed on to the letter, and its answer."""
        self.client.send(command)
        self.server.expect(command)
        self.server.send(answer)
        self.client.expect(answer)

    def do_connect(self):
        """Done."""

    def do_greeting(self):
        if not GATEWAY:
            self.server.send(self.destination.greeting)
        greeting = self.client.reply()
        if greeting[:3] != (b"220" if GATEWAY else self.destination.greeting[:3]):
            raise AssertionError("another greeting: %r" % greeting)

    def do_ehlo(self):
        self.client.send(EHLO)
        if not GATEWAY:
            self.server.expect(EHLO)
            self.server.send(self.destination.extensions)
        self.client.reply()

    def do_mail(self):
        if GATEWAY:
            self.client.send(MAIL)
            self.client.expect(SENDER_OK)
            self.answers_mail = True
        else:
            self.both(MAIL, SENDER_OK)

    def do_rcpt(self):
        if self.answers_mail and not isinstance(self.server, Later):  # it has been used before
            self.answers_mail = False
            self.client.send(RCPT)
            self.server.expect(MAIL + RCPT)
            self.server.send(SENDER_OK + OK)
            self.client.expect(OK)
        else:
            self.both(RCPT, OK)

    def do_data(self):
        self.both(DATA, GO_AHEAD)

    def do_body(self):
        self.client.send(self.BODY)
        self.server.expect(self.BODY)

    def envelope(self):
        """Up to the 354, in one group."""
        self.answers_mail = False
        self.client.send(MAIL + RCPT + DATA)
        if GATEWAY and not isinstance(self.server, Later) and \
                self.server.socket.recv(4, socket.MSG_PEEK) in (b"QUIT", b""):
            self.server.close()  # it has been used often enough
            self.server = Later(self)
        self.server.expect(MAIL + RCPT + DATA)
        self.server.send(SENDER_OK + OK + GO_AHEAD)
        self.client.expect(SENDER_OK + OK + GO_AHEAD)

    def message(self, body=b"text\r\n.\r\n", answer=OK):
        """A whole message."""
        self.envelope()
        self.client.send(body)
        self.server.expect(body)
        self.server.send(answer)
        self.client.expect(answer)

    def quit(self):
        if GATEWAY:
            self.client.send(b"QUIT\r\n")
            self.client.expect(b"221 2.0.0 Bye\r\n")
        else:
            self.both(b"QUIT\r\n", b"221 2.0.0 Bye\r\n")
        if self.client.rest() != b"" or not GATEWAY and self.server.rest() != b"":
            raise AssertionError("octets behind 221")
        self.close()
