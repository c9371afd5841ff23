# SPDX-License-Identifier: ISC
"""Both ends of a session in one test's hand: the client, and a destination that says and does
nothing by itself. So each step of a dialog is an event that the test waits for, and octets can be
sent, cut and held back between any two of them.
"""
import contextlib
import select
import socket
import struct

PATIENCE_S = 10  # nothing that a test waits for takes nearly as long
GREETING = b"220 puppet.test ESMTP\r\n"
EHLO = b"EHLO client.test\r\n"
MAIL = b"MAIL FROM:<a@client.test>\r\n"
RCPT = b"RCPT TO:<b@local.test>\r\n"
DATA = b"DATA\r\n"
EXTENSIONS = b"250-puppet.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
OK = b"250 2.0.0 Ok\r\n"
GO_AHEAD = b"354 Go ahead\r\n"
RESET = object()


@contextlib.contextmanager
def case(*what):
    """Says in which case of many a test has failed."""
    try:
        yield
    except BaseException as error:
        error.add_note("case: %r" % (what,))
        raise


class Peer:
    """One end of a connection."""

    def __init__(self, sock):
        sock.settimeout(PATIENCE_S)
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
            raise AssertionError("got %r, not %r" % (taken, octets))

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


class Destination:
    """A listening socket whose connections the test takes one by one."""

    def __init__(self, port=0, rcvbuf=0):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(256)
        self.socket.settimeout(PATIENCE_S)
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self.socket.close()

    def close(self):
        self.socket.close()

    def accept(self):
        return Peer(self.socket.accept()[0])


def client(port, sndbuf=0, rcvbuf=0):
    sock = socket.socket()
    if sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(PATIENCE_S)
    sock.connect(("127.0.0.1", port))
    return Peer(sock)


class Session:
    """A client and its destination, led up to the step whose name stands in UNTIL: "connect",
    "greeting", "ehlo", "mail", "rcpt", "data", "body" (some of it has gone through)."""

    STEPS = ("connect", "greeting", "ehlo", "mail", "rcpt", "data", "body")
    BODY = b"Subject: t\r\n\r\nsome text\r\n"

    def __init__(self, port, destination, until="ehlo", greeting=GREETING, extensions=EXTENSIONS,
                 **buffers):
        self.client = client(port, **buffers)
        self.server = destination.accept()
        for step in self.STEPS[1:self.STEPS.index(until) + 1]:
            getattr(self, "do_" + step)(**{"greeting": {"answer": greeting},
                                           "ehlo": {"answer": extensions}}.get(step, {}))

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

    def do_greeting(self, answer=GREETING):
        self.server.send(answer)
        self.client.expect(answer)

    def do_ehlo(self, answer=EXTENSIONS):
        self.client.send(EHLO)
        self.server.expect(EHLO)
        self.server.send(answer)
        self.client.reply()

    def do_mail(self):
        self.both(MAIL, OK)

    def do_rcpt(self):
        self.both(RCPT, OK)

    def do_data(self):
        self.both(DATA, GO_AHEAD)

    def do_body(self):
        self.client.send(self.BODY)
        self.server.expect(self.BODY)

    def envelope(self):
        """Up to the 354, in one group."""
        self.client.send(MAIL + RCPT + DATA)
        self.server.expect(MAIL + RCPT + DATA)
        self.server.send(OK + OK + GO_AHEAD)
        self.client.expect(OK + OK + GO_AHEAD)

    def message(self, body=b"text\r\n.\r\n", answer=OK):
        """A whole message."""
        self.envelope()
        self.client.send(body)
        self.server.expect(body)
        self.server.send(answer)
        self.client.expect(answer)

    def quit(self):
        self.both(b"QUIT\r\n", b"221 2.0.0 Bye\r\n")
        if self.client.rest() != b"" or self.server.rest() != b"":
            raise AssertionError("octets behind 221")
        self.close()
