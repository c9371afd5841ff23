# SPDX-License-Identifier: ISC
"""Servers that lose their place: they give up a message, or a line of it, and take the next octet
for the beginning of a line. A dot there is an end of data for them and text for Caronte, and what
comes after it are commands that nobody has judged.

Over a wire that takes time they are all there before the server's answer is, so no answer can be
the defence: the octet must never leave. That each attack is one is shown without Caronte.
"""
import contextlib
import socket
import threading

import exim
import harness
import mailserver
import puppet
from puppet import DATA, EHLO, MAIL, RCPT, case
from wire import Wire, push

HELO = b"HELO client.test\r\n"
HEAD = b"Subject: t\r\n\r\n"
VICTIM = b"victim@far.test"
# What is a line for itself is a piece for itself: after HELO nothing may be sent ahead.
SMUGGLED = [b".\r\n", b"MAIL FROM:<evil@evil.test>\r\n", b"RCPT TO:<%s>\r\n" % VICTIM, DATA,
            b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n", b"QUIT\r\n"]
WIRE_S, PAUSE_S = 0.3, 0.03  # all pieces are sent before an answer to the first can be there


def attack(port, hello, text, ahead=True, pushes=lambda peer, pieces: push(peer, pieces, PAUSE_S)):
    """The codes that one gets who sends this, and then what is smuggled, as a message. Not AHEAD:
    its body waits for its own 354, as a server wants that looks what has come too soon. PUSHES: how
    pieces are sent."""
    codes = []
    first = text + SMUGGLED if ahead else text + SMUGGLED[:4]
    with puppet.client(port) as c:
        c.reply()
        for command in hello, MAIL, RCPT, DATA:
            c.send(command)
            codes += c.codes(1)
        pushes(c, first)
        with contextlib.suppress(ConnectionResetError):
            while reply := c.reply():
                codes.append(int(reply[:3]))
                if codes[-1] == 354 and not ahead:
                    pushes(c, SMUGGLED[4:])
    return codes


class Flushing:
    """A server that takes a message in pieces as hMailServer does: what is read is looked at for
    the end as it comes, whole lines are put away, and so is a line without an end at 100,000
    octets. What is read next then stands where a line begins."""
    LONGEST = 100000
    SIZE = b"250-SIZE 20480000\r\n"

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.commands, self.messages, self.octets = [], 0, 0
        self.peers, self.threads = [], []
        self.start(self.accept)

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        for each in [self.socket, *self.peers]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for each in self.threads:
            each.join()
        for each in [self.socket, *self.peers]:
            each.close()

    def start(self, run, *arguments):
        self.threads.append(threading.Thread(target=run, args=arguments, daemon=True))
        self.threads[-1].start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.peers.append(self.socket.accept()[0])
                self.start(self.serve, self.peers[-1])

    def serve(self, peer):
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(b"220 flushing.test\r\n")
            held, in_data, line = b"", False, b""
            while octets := peer.recv(1 << 20):
                self.octets += len(octets)
                held += octets
                if in_data:
                    held, in_data = self.take_data(peer, held)
                while not in_data and b"\n" in held:
                    line, _, held = held.partition(b"\n")
                    in_data = self.take_command(peer, line.strip())
                if line.strip() == b"QUIT":
                    break
            peer.close()

    def take_command(self, peer, line):
        """True: its message comes next."""
        self.commands.append(line)
        reply = {b"EHLO": b"250-flushing.test\r\n%s250 HELP\r\n" % self.SIZE,
                 b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}
        peer.sendall(reply.get(line[:4], b"250 ok\r\n"))
        return line == b"DATA"

    def take_data(self, peer, held):
        if held == b".\r\n" or held.endswith(b"\n.\r\n"):
            self.messages += 1
            peer.sendall(b"250 queued\r\n")
            return b"", False
        if len(held) > self.LONGEST:
            held = held[held.rfind(b"\n") + 1:]
        return b"" if len(held) > self.LONGEST else held, True

    def push(self, peer, pieces):
        """Each of them when it has read the one before."""
        for piece in pieces:
            until = self.octets + len(piece)
            peer.send(piece)
            harness.wait_until(lambda: self.octets >= until)

    def hears_of_the_victim(self):
        return any(VICTIM in command for command in self.commands)


class OverAWire(harness.TestCase):
    LIMIT = 200000

    def check_refused(self, daemon, codes, code):
        self.assertEqual(codes, [250] * 3 + [354] + self.by_dialog([code, 421], [code, 221]))
        self.assertEqual(daemon.record("message").get("reply")[:3], str(code))

    def test_exim_after_helo(self):
        """It counts no CRs, of which there are three."""
        text = [HEAD + b"x" * (self.LIMIT + 3 - len(HEAD))]
        with exim.Exim(self.LIMIT) as server:
            attack(server.port, EHLO, text, ahead=False)
            self.assertEqual(len(server.mails(1, mailserver.FAR)), 1)
            for hello in HELO, EHLO:
                with case(hello), Wire(server.port, WIRE_S) as wire, \
                        self.caronte(wire) as daemon:
                    codes = attack(daemon.port, hello, text)
                    self.assertEqual(len(server.mails(1, mailserver.FAR)), 1)
                    self.check_refused(daemon, codes, 552)
            self.assertEqual(server.recipients().count(SMUGGLED[2].decode().strip()), 1)

    def test_a_line_without_an_end(self):
        text = [HEAD + b"x" * Flushing.LONGEST, b"x"]
        with Flushing() as server:
            attack(server.port, HELO, text, pushes=server.push)
            self.assertTrue(server.hears_of_the_victim())
        for hello in HELO, EHLO:
            with case(hello), Flushing() as server, Wire(server.port, WIRE_S) as wire, \
                    self.caronte(wire) as daemon:
                codes = attack(daemon.port, hello, text)
                self.assertFalse(server.hears_of_the_victim())
                self.assertEqual(server.messages, 0)
                self.check_refused(daemon, codes, 552)

    def test_lines_that_are_long_enough(self):
        """As long as they may be, and a line of usual length after each."""
        body = HEAD + (b"x" * 65535 + b"\r\n" + b"y\r\n") * 3
        with Flushing() as server, Wire(server.port, 0.001) as wire, \
                self.caronte(wire) as daemon, harness.Client(daemon.port) as client:
            client.hello()
            self.assertEqual(client.send_message(body)[:3], b"250")
            client.quit()
            self.assertEqual(server.messages, 1)
