# SPDX-License-Identifier: ISC
"""A destination that is told whom a connection speaks for (XCLIENT, XFORWARD, a PROXY header), and
keeps that with each message. It serves any number of connections at a time.

    with knower.Knower() as server:
        ... self.caronte("%s,identity=xclient" % server.place) ...
        server.messages   # [Message], in the order of their 250s
        server.commands   # all lines that it has got

`odd` makes it behave otherwise: see the class.
"""
import contextlib
import dataclasses
import socket
import struct
import threading
import time

import puppet

XCLIENT = "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
XFORWARD = "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@dataclasses.dataclass
class Message:
    who: dict  # the attributes in force: "ADDR", "PORT", ...; empty: nobody was named
    helo: str
    sender: str
    body: bytes
    number: int = 0  # of the connection


class Knower:
    """ODD, by name:
    extensions   what EHLO offers, in place of both commands
    xclient      the reply to XCLIENT (octets; several replies, or none, are one too)
    greeting     the first greeting of clients; empty: closed in place of it
    ehlo         the reply to EHLO of a name with an underscore
    mail         the reply to MAIL
    second       the reply to the second XCLIENT of a connection
    lasts        so long a connection is open after its end, in seconds
    after        what EHLO offers once XCLIENT was said
    cut          XCLIENT's reply comes octet by octet
    close        the connection is closed in place of that reply
    header       connections begin with a PROXY header
    pairs        behind the greeting replies leave two at a time
    kill         a function: asked before each reply whether the connection is cut off
    """

    def __init__(self, **odd):
        self.odd = odd
        self.messages, self.commands, self.faults = [], [], []
        self.connections = self.cut = self.peak = 0
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.socket.getsockname()[1]
        self.place = "127.0.0.1:%d" % self.port
        self.open = set()

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *rest):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for peer in list(self.open):
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer = puppet.Peer(self.socket.accept()[0])
                self.connections += 1
                threading.Thread(target=self.serve, args=(peer, self.connections),
                                 daemon=True).start()

    def serve(self, peer, number):
        with self.lock:
            self.open.add(peer)
            self.peak = max(self.peak, len(self.open))
        with contextlib.suppress(OSError), peer:
            try:
                Talk(self, peer, number).run()
                time.sleep(self.odd.get("lasts", 0))
            finally:
                with self.lock:
                    self.open.discard(peer)

    def heard(self, verb):
        return [line for line in self.commands if line.startswith(verb)]


class Cut(OSError):
    """The connection ends here."""


class Talk:
    """One connection."""

    def __init__(self, server, peer, number):
        self.server, self.peer, self.number = server, peer, number
        self.who, self.helo, self.sender = {}, "", None
        self.xclient = self.greeted = False
        self.kept = b""

    def say(self, octets):
        kill = self.server.odd.get("kill")
        if kill and kill():
            self.server.cut += 1
            raise Cut
        if self.server.odd.get("pairs") and self.greeted and not self.kept:
            self.kept = octets
            return
        self.peer.send(self.kept + octets)
        self.greeted, self.kept = True, b""

    def run(self):
        if self.server.odd.get("header"):
            self.who = self.read_header()
        greeting = b"220 knower.test ESMTP\r\n"
        # (A header of version 1 names Caronte itself where it speaks for nobody.)
        is_own = self.who.get("DESTPORT") in (None, str(self.server.port))
        if not is_own or not self.server.odd.get("header"):
            greeting = self.server.odd.get("greeting", greeting)
        if not greeting:
            return
        self.say(greeting)
        while line := self.peer.line():
            text = line.decode("latin-1").rstrip("\r\n")
            self.server.commands.append(text)
            verb, _, rest = text.partition(" ")
            if not getattr(self, "do_" + verb.lower(), self.unknown)(rest):
                break

    def read_header(self):
        first = self.peer.take(16)
        if first.startswith(SIGNATURE):
            kind, family, length = struct.unpack("!BBH", first[12:])
            body = self.peer.take(length)
            if kind & 15 == 0:
                return {}
            size = {0x11: 4, 0x21: 16}[family]
            ports = struct.unpack("!HH", body[2 * size:2 * size + 4])
            which = {4: socket.AF_INET, 16: socket.AF_INET6}[size]
            who = {"ADDR": socket.inet_ntop(which, body[:size]), "PORT": str(ports[0]),
                   "DESTADDR": socket.inet_ntop(which, body[size:2 * size]),
                   "DESTPORT": str(ports[1])}
            rest = body[2 * size + 4:]
            while rest:
                kind, length = struct.unpack("!BH", rest[:3])
                who[kind] = rest[3:3 + length]
                rest = rest[3 + length:]
            return who
        words = (first + self.peer.line()).decode().split()
        if words[:2] == ["PROXY", "UNKNOWN"]:
            return {}
        return dict(zip(("ADDR", "DESTADDR", "PORT", "DESTPORT"), words[2:]))

    def do_ehlo(self, name):
        if "_" in name and "ehlo" in self.server.odd:
            self.say(self.server.odd["ehlo"])
            return True
        self.helo = name
        usual = "PIPELINING\nSIZE 10000000\n8BITMIME\n%s\n%s" % (XCLIENT, XFORWARD)
        offers = self.server.odd.get("extensions", usual)
        if self.xclient:
            offers = self.server.odd.get("after", offers)
        lines = ["knower.test", *offers.split("\n")] if offers else ["knower.test"]
        self.say("".join("250%s%s\r\n" % ("-" if line is not lines[-1] or n + 1 < len(lines)
                                          else " ", line)
                         for n, line in enumerate(lines)).encode())
        return True

    def do_xclient(self, rest):
        if self.sender is not None:
            self.server.faults.append("XCLIENT within a transaction")
        if self.server.odd.get("close"):
            return False
        reply = self.server.odd.get("xclient", b"220 knower.test ESMTP again\r\n")
        if self.xclient:
            reply = self.server.odd.get("second", reply)
        if reply[:3] == b"220":
            self.who = dict(word.split("=", 1) for word in rest.split())
            self.xclient, self.helo = True, ""
        if self.server.odd.get("cut"):
            for octet in reply:
                self.say(bytes([octet]))
        else:
            self.say(reply)
        return True

    def do_xforward(self, rest):
        if self.sender is not None:
            self.server.faults.append("XFORWARD within a transaction")
        self.who = dict(word.split("=", 1) for word in rest.split())
        self.say(self.server.odd.get("xforward", puppet.OK))
        return True

    def do_mail(self, rest):
        if not self.helo:
            self.server.faults.append("MAIL without EHLO")
        reply = self.server.odd.get("mail", puppet.SENDER_OK)
        if reply[:1] == b"2":
            self.sender = rest[len("FROM:<"):].partition(">")[0]
        self.say(reply)
        return True

    def do_rcpt(self, _):
        self.say(puppet.OK)
        return True

    def do_data(self, _):
        self.say(puppet.GO_AHEAD)
        body = self.peer.until(b"\r\n.\r\n")
        if not body.endswith(b"\r\n.\r\n"):
            return False
        message = Message(dict(self.who), self.helo, self.sender, body, self.number)
        with self.server.lock:
            self.server.messages.append(message)
        self.end()
        self.say(puppet.OK)
        return True

    def end(self):
        """A transaction is over; so is what XFORWARD has said."""
        self.sender = None
        if not self.xclient and not self.server.odd.get("header"):
            self.who = {}

    def do_rset(self, _):
        self.end()
        self.say(puppet.OK)
        return True

    do_noop = do_rset

    def do_quit(self, _):
        self.say(b"221 2.0.0 Bye\r\n")
        return False

    def unknown(self, _):
        self.say(b"500 5.5.2 What?\r\n")
        return True
