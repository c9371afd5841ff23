# SPDX-License-Identifier: ISC
"""Bodies that come by DATA and go on in chunks (DATA_AS_BDAT): what a destination that offers
CHUNKING hears of them, whatever it says and whenever it says it, and what the client is told.
"""
import contextlib
import random
import select
import signal
import time

import harness
import namespace
import puppet
from puppet import DATA, EHLO, MAIL, OK, RCPT, SENDER_OK, case, sending
from test_bdat import (BLOCK, BODIES, CLOSING, EVIL, OFFER, QUIT, STEP, bdat, next_transaction,
                       puppet_destination, session)
from wire import Wire

PLENTY = 16  # lines, sent one by one
GO = b"354 End data with <CR><LF>.<CR><LF>\r\n"
FULL = b"552 5.3.4 too much\r\n"
DISAGREE = b"451 4.3.0 Destination answered out of order\r\n"
MORE = b"250 2.0.0 more\r\n"
ALONE = OFFER.replace(b"250-PIPELINING\r\n", b"")
WAYS = [*({body: True} for body in BODIES), {"BARE_NEWLINE_NORMALIZE": True}]
QUIET_S = 0.1  # nothing comes
HEAD = b"Subject: t\r\n\r\n"


def stuffed(message):
    """As a client sends it by DATA, with its end."""
    return message.replace(b"\r\n.", b"\r\n..").replace(b".", b"..", message.startswith(b".")) + \
        b".\r\n"


def lines(size, seed=1):
    """A message of about so many octets, with dots and commands at the beginning of lines."""
    kinds = (b"%d some text\r\n", b".%d\r\n", b"..%d\r\n", b".\r\n%d\r\n", b"%d.\r\n",
             b"%d\r\n" + EVIL)
    chance = random.Random(seed)
    return HEAD + b"".join(chance.choice(kinds) % at for at in range(size // 24))


def plain(size):
    """A message of exactly so many octets, two at least, whose lines begin with no dot."""
    line = b"x" * 70 + b"\r\n"
    text = HEAD * (size > 100)
    text += line * ((size - len(text) - 2) // len(line))
    return text + b"y" * (size - len(text) - 2) + b"\r\n"


def chunk(peer):
    """The next chunk at a destination: its octets, and whether it is the last; None at the end of
    the stream."""
    words = peer.line().split()
    if not words:
        return None
    if words[0] != b"BDAT" or len(words) > 3 or words[2:] not in ([], [b"LAST"]):
        raise AssertionError("no chunk: %r" % words)
    octets = peer.take(int(words[1]))
    if len(octets) != int(words[1]):
        raise AssertionError("%d octets of %r" % (len(octets), words))
    return octets, words[2:] == [b"LAST"]


def one_by_one(s):
    """The next transaction, up to a recipient, for a destination without PIPELINING, too."""
    s.client.send(MAIL + RCPT)
    s.server.expect(MAIL)
    s.server.send(SENDER_OK)
    s.server.expect(RCPT)
    s.server.send(OK)
    s.client.expect(SENDER_OK + OK)


def begin(s):
    """DATA, of which the destination hears nothing."""
    s.client.send(DATA)
    s.client.expect(GO)


class Counted(harness.TestCase):
    def each_way(self, offer=OFFER, rcvbuf=0, **settings):
        for way in WAYS:
            with puppet.Destination(extensions=offer, rcvbuf=rcvbuf) as destination, case(way), \
                    self.caronte(destination, **way, **settings) as daemon:
                yield daemon, destination

    def pieces(self, s, count, first=0):
        """So many lines, each a chunk of its own; the last one is not answered."""
        for number in range(first, first + count):
            if number > first:
                s.server.send(MORE)
            line = b"line %d\r\n" % number
            s.client.send(line)
            s.server.expect(bdat(line))

    def is_over(self, s):
        self.assertIn(s.server.rest(), (b"", puppet.RESET))

    def no_last_came(self, peer):
        """What is left at the destination holds no last chunk, though it takes all others."""
        while True:
            try:
                found = chunk(peer)
            except (ConnectionResetError, AssertionError):  # the rest is no whole one
                break
            if not found:
                break
            self.assertFalse(found[1])
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                peer.send(MORE)

    def end_of(self, daemon, count=1):
        return daemon.records("session", count=count)[-1].get("end")


class Delivery(Counted):
    def test_one_chunk(self):
        """A message that comes at once, and fits the buffer, is one chunk, to the letter."""
        dots = b".\r\n..\r\n.x\r\nx.\r\n\r\n.." + b"\r\n" + EVIL + b".\r\n"
        messages = [b"", b"\r\n", b".\r\n", HEAD, dots, HEAD + EVIL + b"BDAT 5 LAST\r\n" + QUIT,
                    *map(plain, (2, 1000, 4095, 4096, 4097, BLOCK - 4, BLOCK - 3))]
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                for number, message in enumerate(messages):
                    with case(message[:50], len(message)):
                        if number:
                            next_transaction(s)
                        begin(s)
                        s.client.send(stuffed(message))
                        s.server.expect(bdat(message, True))
                        self.assertTrue(s.client.silent(0.01))
                        s.server.send(OK)
                        s.client.expect(OK)
                s.quit()
            records = daemon.records("message", count=len(messages))
            self.assertEqual([int(r.get("bytes")) for r in records], [*map(len, messages)])
            self.assertEqual({r.get("reply") for r in records}, {"250 2.0.0 Ok"})
            octets = sum(map(len, messages))
            self.assertEqual(int(daemon.record("session").get("bytes")), octets)

    def deliver(self, s, message, pieces=None):
        """The chunks of it, each answered at once."""
        chunks = []
        begin(s)
        with sending(s.client.send, *(pieces or [stuffed(message)])):
            while not chunks or not chunks[-1][1]:
                chunks.append(chunk(s.server))
                if not chunks[-1][1]:
                    s.server.send(MORE)
        self.assertTrue(s.client.silent(0.01))
        s.server.send(OK)
        s.client.expect(OK)
        self.assertEqual(b"".join(octets for octets, _ in chunks), message)
        self.assertTrue(all(octets for octets, _ in chunks[:-1]))  # an empty one says nothing
        return chunks

    def test_long_ones(self):
        """… are several chunks, whose octets together are the message."""
        sizes = (BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, STEP - 3, STEP, STEP + 1, 3 * STEP + 7)
        messages = [*map(plain, sizes), *(lines(size) for size in (20000, 3 * STEP, 1 << 20))]
        for offer in OFFER, ALONE:
            for daemon, destination in self.each_way(offer):
                with session(daemon, destination) as s, case(offer):
                    for number, message in enumerate(messages):
                        with case(len(message)):
                            if number:
                                one_by_one(s)
                            chunks = self.deliver(s, message)
                            self.assertTrue(len(chunks) > 1 or len(message) <= 3 * STEP)
                    s.quit()
                records = daemon.records("message", count=len(messages))
                self.assertEqual([int(r.get("bytes")) for r in records], [*map(len, messages)])

    def test_however_it_is_cut(self):
        """A dot, or an end of data, in pieces."""
        message = HEAD + b".\r\n..\r\nx\r\n.y\r\n" + EVIL + b"z\r\n"
        for daemon, destination in self.each_way(WORKERS=1):
            with session(daemon, destination) as s:
                for number, sizes in enumerate(((1,), (1, 2, 3), (5, 7, 30))):
                    with case(sizes):
                        if number:
                            next_transaction(s)
                        self.deliver(s, message, list(puppet.cuts(stuffed(message), sizes)))
                s.quit()

    def test_cr_that_was_held_back(self):
        """… is the first octet of the next chunk, and counted there."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                begin(s)
                s.client.send(b"one\r")
                s.server.expect(bdat(b"one"))
                s.server.send(MORE)
                s.client.send(b"\n..two\r\n.\r")
                s.server.expect(bdat(b"\r\n.two\r\n"))
                s.server.send(MORE)
                s.client.send(b"\n")
                s.server.expect(bdat(b"", True))
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_what_is_repaired(self):
        """… is what is counted."""
        with puppet_destination() as destination, \
                self.caronte(destination, BARE_NEWLINE_NORMALIZE=True) as daemon, \
                session(daemon, destination) as s:
            begin(s)
            s.client.send(b"one\n.\nt\0wo\rthree\r\n..x\n.y\r\n.\r\n")
            octets, last = chunk(s.server)
            self.assertEqual((octets, last),
                             (b"one\r\n.\r\ntwo\r\nthree\r\n.x\r\n.y\r\n", True))
            s.server.send(OK)
            s.client.expect(OK)
            s.quit()
            self.assertEqual(int(daemon.record("message").get("bytes")), len(octets))

    def test_bare_newline(self):
        """Where they are not repaired they end the session, and no last chunk follows."""
        for bad in b"a\nb\r\n.\r\n", b".\n", b"a\rb\r\n.\r\n", b"\0\r\n.\r\n", b"\n.\r\n":
            for body in BODIES:
                with puppet_destination() as destination, case(body, bad), \
                        self.caronte(destination, **{body: True}) as daemon, \
                        session(daemon, destination) as s:
                    begin(s)
                    self.pieces(s, 1)
                    s.server.send(MORE)
                    s.client.send(bad + EVIL)
                    self.assertEqual(s.client.reply()[:9], b"521 5.5.2")
                    self.is_over(s)

    def test_records(self):
        """How the octets went, and the chunks' commands at LOG_LEVEL 3."""
        rows = (("BODY_COPY", b"x\r\n", "copy"), ("BODY_SPLICE", b"x\r\n", "splice"),
                ("BODY_SPLICE", b"x\r\n.y\r\n", "mixed"),
                ("BARE_NEWLINE_NORMALIZE", b"x\r\n", "copy"))
        for setting, text, way in rows:
            harness.wait_until(lambda: not harness.pipes_are_scarce())
            with puppet_destination() as destination, case(setting, text), \
                    self.caronte(destination, **{setting: True}) as daemon, \
                    session(daemon, destination) as s:
                begin(s)
                self.pieces(s, 1)
                s.server.send(MORE)
                s.client.send(stuffed(text))
                s.server.expect(bdat(text, True))
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()
                record = daemon.record("message")
                self.assertEqual((int(record.get("bytes")), record.get("reply")),
                                 (len(text) + 8, "250 2.0.0 Ok"))
                self.assertEqual(record.get("body"), way)
                self.assertEqual([r.get("line") for r in daemon.records("command", to="destination")
                                  if r.get("line")[:4] in ("BDAT", "DATA")],
                                 ["BDAT 8", "BDAT %d LAST" % len(text)])

    def test_chunks_of_the_clients_own(self):
        """Before and after a body that is counted, over the same connection."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                for number in range(3):
                    if number:
                        next_transaction(s)
                    s.both(bdat(b"own\n"), OK)
                    s.both(bdat(EVIL, True), OK)
                    next_transaction(s)
                    self.deliver(s, lines(3000))
                s.quit()

    def test_many_megabytes(self):
        message = lines(2 << 20) * 5
        for way in WAYS:
            with harness.Sink(digest=True) as sink, case(way), \
                    self.caronte(sink, **way) as daemon, harness.Client(daemon.port) as client:
                client.hello()
                self.assertEqual(client.send_message(message)[:3], b"250")
                client.quit()
                self.assertEqual([mail["sha256"] for mail in sink.report()["digests"]],
                                 [harness.sha256(message)])
                self.assertFalse(any(line.startswith("DATA") for line in sink.commands()))
                self.assertEqual(int(daemon.record("message").get("bytes")), len(message))


class When(Counted):
    """DATA, and who is asked."""

    def test_data_waits_for_recipients(self):
        """Caronte answers it, once all of them are answered; the destination hears nothing."""
        for daemon, destination in self.each_way():
            with session(daemon, destination, "mail") as s:
                s.client.send(RCPT * 3 + DATA)
                s.server.expect(RCPT)
                for answer in OK, b"550 no\r\n", OK:
                    self.assertTrue(s.client.silent(QUIET_S / 4))
                    s.server.send(answer)
                    s.client.expect(answer)
                s.client.expect(GO)
                s.server.expect(RCPT * 2)
                self.assertTrue(s.server.silent(QUIET_S))
                s.client.send(b"x\r\n.\r\n")
                s.server.expect(bdat(b"x\r\n", True))
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_nobody_is_left(self):
        for daemon, destination in self.each_way():
            with session(daemon, destination, "mail") as s:
                s.client.send(RCPT + DATA)
                s.server.expect(RCPT)
                s.server.send(b"550 5.1.1 unknown\r\n")
                s.client.expect(b"550 5.1.1 unknown\r\n554 5.5.1 No valid recipients\r\n")
                self.assertTrue(s.server.silent(QUIET_S))
                s.client.send(EVIL[:-len(b"DATA\r\nx\r\n.\r\n")] + DATA)
                self.assertEqual(s.client.codes(3)[1:], [550, 554])

    def test_too_early(self):
        """Octets that come before the 354 are no message."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                s.client.send(DATA + b"x\r\n.\r\n")
                self.assertEqual(s.client.reply()[:9], b"554 5.5.0")
                self.is_over(s)

    def test_switched_off(self):
        """Then DATA goes as it came."""
        for daemon, destination in self.each_way(DATA_AS_BDAT=False):
            with session(daemon, destination, "data") as s:
                text = HEAD + b"..x\r\n.\r\n"
                s.client.send(text)
                s.server.expect(text)
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_not_offered(self):
        for daemon, destination in self.each_way(puppet.EXTENSIONS):
            with session(daemon, destination, "data") as s:
                text = HEAD + b"..x\r\n.\r\n"
                s.client.send(text)
                s.server.expect(text)
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def test_hello_without_extensions(self):
        """A client that says HELO: the destination was told EHLO, and offers chunks."""
        for daemon, destination in self.each_way():
            with session(daemon, destination, "greeting") as s:
                s.client.send(b"HELO client.test\r\n")
                if not self.gateway:
                    s.server.expect(EHLO)
                    s.server.send(OFFER)
                self.assertEqual(s.client.codes(1), [250])
                s.do_mail()
                s.do_rcpt()
                begin(s)
                s.client.send(b"..x\r\n.\r\n")
                s.server.expect(bdat(b".x\r\n", True))
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()


class Open(Counted):
    """A chunk goes on when the one before is answered, and when answers count."""

    def test_one_and_no_more(self):
        """Whether commands may be pipelined or not."""
        for offer in OFFER, ALONE:
            for daemon, destination in self.each_way(offer):
                with session(daemon, destination) as s, case(offer):
                    begin(s)
                    self.pieces(s, 1)
                    s.client.send(b"and")
                    self.assertTrue(s.server.silent(QUIET_S))
                    s.client.send(b" more\r\n")
                    self.assertTrue(s.server.silent(QUIET_S))
                    s.server.send(MORE)
                    taken = b""
                    while taken != b"and more\r\n":  # in one chunk, or two
                        octets, last = chunk(s.server)
                        self.assertFalse(last)
                        taken += octets
                        s.server.send(MORE)
                    s.client.send(b".\r\n")
                    s.server.expect(b"BDAT 0 LAST\r\n")
                    self.assertTrue(s.client.silent(QUIET_S / 4))

    def test_the_last_one_waits_too(self):
        for offer in OFFER, ALONE:
            for daemon, destination in self.each_way(offer):
                with session(daemon, destination) as s, case(offer):
                    begin(s)
                    self.pieces(s, 1)
                    s.client.send(b"x\r\n.\r\n")
                    self.assertTrue(s.server.silent(QUIET_S))
                    s.server.send(MORE)
                    s.server.expect(bdat(b"x\r\n", True))
                    self.assertTrue(s.client.silent(QUIET_S / 4))
                    s.server.send(OK)
                    s.client.expect(OK)
                    s.quit()

    def test_nothing_behind_one_that_is_refused(self):
        """Servers made with go-smtp end the transaction with the chunk that they refuse, refuse the
        next one for want of a recipient, and take its octets for commands."""
        text = b"no header\r\n" + EVIL.replace(b"\r\n.\r\n", b"\r\n..\r\n") * 3000
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                begin(s)
                with sending(s.client.send, text):
                    octets, last = chunk(s.server)
                    self.assertFalse(last)
                    self.assertTrue(text.replace(b"\r\n..", b"\r\n.").startswith(octets))
                    self.assertTrue(s.server.silent(QUIET_S))
                    s.server.send(b"554 5.6.0 No header\r\n")
                    self.assertEqual(s.server.rest(), b"")
                s.client.send(b".\r\n")
                s.client.expect(b"554 5.6.0 No header\r\n")

    def test_an_answer_in_pieces(self):
        """… octet by octet, and in halves, with the end of the body there already."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                for number, size in enumerate((1, 7, len(MORE))):
                    with case(size):
                        if number:
                            next_transaction(s)
                        begin(s)
                        self.pieces(s, 1)
                        s.client.send(b"x\r\n.\r\n")
                        for at in range(0, len(MORE), size):
                            self.assertTrue(s.server.silent(0))
                            s.server.send(MORE[at:at + size])
                            time.sleep(0.001)
                        s.server.expect(bdat(b"x\r\n", True))
                        s.server.send(OK)
                        s.client.expect(OK)
                s.quit()

    def test_over_a_line_that_takes_time(self):
        message = lines(3 * STEP)
        for way in WAYS:
            with case(way), harness.Sink(maildir=True) as sink, Wire(sink.port, 0.01) as wire, \
                    self.caronte(wire, **way) as daemon, harness.Client(daemon.port) as client:
                client.hello()
                for _ in range(2):
                    self.assertEqual(client.send_message(message)[:3], b"250")
                client.quit()
                self.assertEqual(sink.mails(), [message] * 2)

    def test_an_answer_before_the_octets_were_read(self):
        """What is not acknowledged nobody can have answered: the connection ends, and no 250
        comes."""
        message = plain(40 * STEP)
        for said in OK, MORE * 2, MORE * 20:
            for daemon, destination in self.each_way(rcvbuf=2048):
                with session(daemon, destination) as s, case(said):
                    begin(s)
                    with sending(s.client.send, stuffed(message)):
                        self.assertEqual(s.server.take(5), b"BDAT ")
                        time.sleep(0.2)
                        s.server.send(said)
                        s.client.expect(DISAGREE)
                    self.assertEqual(s.client.rest(), b"")
                record = daemon.record("message")
                self.assertEqual(record.get("reply"), DISAGREE.decode().rstrip())
                self.assertEqual(self.end_of(daemon), "lost-destination")

    def test_an_answer_before_the_last_octets_were_read(self):
        """The same when all was sent that there is to send."""
        message = plain(BLOCK - 3)
        for daemon, destination in self.each_way(rcvbuf=2048):
            with session(daemon, destination) as s:
                begin(s)
                s.client.send(stuffed(message))
                self.assertEqual(s.server.take(5), b"BDAT ")
                time.sleep(0.2)
                s.server.send(OK)
                s.client.expect(DISAGREE)
                self.assertEqual(s.client.rest(), b"")
            self.assertEqual(daemon.record("message").get("reply")[:3], "451")

    def test_answers_too_many(self):
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                begin(s)
                self.pieces(s, 1)
                s.server.send(MORE * 2)
                self.is_over(s)
                self.assertTrue(s.client.silent(QUIET_S / 4))
                s.client.send(EVIL)
                s.client.expect(DISAGREE)
                self.assertEqual(s.client.rest(), b"")
                self.assertEqual(daemon.record("message").get("reply")[:3], "451")

    def test_a_slow_destination_slows_its_client(self):
        """It answers nothing: what the client can send meanwhile is what sockets hold."""
        for daemon, destination in self.each_way(rcvbuf=65536):
            with session(daemon, destination, sndbuf=65536) as s:
                begin(s)
                s.client.socket.setblocking(False)
                sent, text = 0, plain(1 << 20)
                while select.select([], [s.client.socket], [], 0.3)[1]:
                    sent += s.client.socket.send(text[sent % len(text):])
                    self.assertLess(sent, 24 << 20)


class Refused(Counted):
    """Destinations that refuse, or go away, in the middle."""

    def refused(self, s, answer):
        """… and the client goes on: with the gateway dialog over another connection."""
        s.client.expect(answer)
        if not self.gateway:
            s.client.expect(CLOSING)
            self.assertEqual(s.client.rest(), b"")
            return
        s.server = puppet.Later(s)
        s.do_mail()
        s.do_rcpt()
        begin(s)
        s.client.send(b"x\r\n.\r\n")
        s.server.expect(bdat(b"x\r\n", True))
        s.server.send(OK)
        s.client.expect(OK)
        s.quit()

    def test_a_chunk(self):
        """Its connection ends, the rest is thrown away, and that answers the end of data."""
        for count in 1, 3:
            for said in FULL, b"452-4.3.1 disk\r\n452 4.3.1 full\r\n":
                for daemon, destination in self.each_way():
                    with session(daemon, destination) as s, case(count, said):
                        begin(s)
                        self.pieces(s, count)
                        s.server.send(said)
                        self.is_over(s)
                        s.client.send(EVIL[:-3] + plain(3 * STEP))
                        self.assertTrue(s.client.silent(QUIET_S / 4))
                        s.client.send(b".\r\n")
                        self.refused(s, said)
                    record = daemon.records("message", count=1)[0]
                    self.assertEqual(record.get("reply")[:3], said[:3].decode())

    def test_a_chunk_when_the_rest_has_come(self):
        """… is the answer to the message, whatever else the destination says of it."""
        for behind in b"", b"503 5.5.1 what\r\n", MORE + OK:
            for daemon, destination in self.each_way():
                with session(daemon, destination) as s, case(behind):
                    begin(s)
                    self.pieces(s, 2)
                    s.client.send(b"x\r\n.\r\n")
                    s.server.send(FULL + behind)
                    self.is_over(s)
                    self.refused(s, FULL)
                self.assertEqual(daemon.records("message", count=1)[0].get("reply"),
                                 FULL.decode().rstrip())

    def test_the_last_chunk(self):
        """It is the answer to the message, as after DATA."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                begin(s)
                self.pieces(s, 2)
                s.server.send(MORE)
                s.client.send(b"x\r\n.\r\n")
                s.server.expect(bdat(b"x\r\n", True))
                s.server.send(FULL)
                s.client.expect(FULL)
                self.assertEqual(daemon.record("message").get("reply"), FULL.decode().rstrip())
                if self.gateway:
                    self.is_over(s)
                    s.server = puppet.Later(s)
                    s.do_mail()
                    s.do_rcpt()
                else:
                    next_transaction(s)
                begin(s)
                s.client.send(b".\r\n")
                s.server.expect(b"BDAT 0 LAST\r\n")
                s.server.send(OK)
                s.client.expect(OK)
                s.quit()

    def ends(self, lose, answer, count=2):
        """LOSE after so many chunks: the rest is thrown away, ANSWER to its end, and no more."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                begin(s)
                self.pieces(s, count)
                lose(s.server)
                self.assertTrue(s.client.silent(QUIET_S))
                s.client.send(EVIL[:-3] + plain(3 * STEP) + b".\r\nNOOP\r\n")
                self.assertEqual(s.client.reply()[:len(answer)], answer)
                self.assertEqual(s.client.rest(), b"")
            self.assertEqual(daemon.record("message").get("reply")[:3], answer[:3].decode())
            self.assertEqual(self.end_of(daemon), "lost-destination")

    def test_421(self):
        for count in 0, 2:
            self.ends(lambda server: server.send(b"421 4.3.2 going\r\n"), b"421 4.3.2 going\r\n",
                      count)

    def test_destination_goes_away(self):
        for how in "close", "end", "reset":
            with case(how):
                self.ends(lambda server: getattr(server, how)(), b"451 4.4.2")

    def test_something_else(self):
        self.ends(lambda server: server.send(b"354 go\r\n"), DISAGREE)
        self.ends(lambda server: server.send(b"what\r\n"),
                  b"451 4.3.0 Destination answered something malformed\r\n")

    def test_goes_away_when_all_have_gone(self):
        for how in "close", "end", "reset":
            for daemon, destination in self.each_way():
                with session(daemon, destination) as s, case(how):
                    begin(s)
                    self.pieces(s, 2)
                    s.client.send(b"x\r\n.\r\n")
                    s.server.send(MORE)
                    s.server.expect(bdat(b"x\r\n", True))
                    getattr(s.server, how)()
                    self.assertEqual(s.client.reply()[:9], b"451 4.4.2")
                    self.assertEqual(s.client.rest(), b"")
                self.assertEqual(daemon.record("message").get("reply")[:9], "451 4.4.2")

    def test_silence(self):
        """Who answers no chunk is lost after TIMEOUT_REPLY, or TIMEOUT_DATA_DONE after the last."""
        far = dict.fromkeys(("TIMEOUT_REPLY", "TIMEOUT_DATA_DONE", "TIMEOUT_DATA"), harness.FAR_S)
        for last, what in (False, "TIMEOUT_REPLY"), (True, "TIMEOUT_DATA_DONE"):
            for daemon, destination in self.each_way(**{**far, what: 1}):
                with session(daemon, destination) as s, case(last):
                    begin(s)
                    since = time.monotonic()
                    self.pieces(s, 0 if last else 1)
                    s.client.send(b"x\r\n.\r\n")
                    if last:
                        s.server.expect(bdat(b"x\r\n", True))
                    self.assertEqual(s.client.reply()[:9], b"451 4.4.2")
                    self.assertTrue(0.9 < time.monotonic() - since < harness.SOON_S)
                    self.assertEqual(s.client.rest(), b"")
                    self.no_last_came(s.server)

    def test_too_big(self):
        """A limit of ours: no last chunk follows, and the client is told at the end."""
        message = plain((1 << 20) + 2)
        for daemon, destination in self.each_way(MAX_MESSAGE_MIB=1):
            with session(daemon, destination) as s:
                begin(s)
                with sending(s.client.send, stuffed(message)):
                    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        while found := chunk(s.server):
                            self.assertFalse(found[1])
                            s.server.send(MORE)
                s.client.expect(b"552 5.3.4 Message too big\r\n")

    def test_as_big_as_may_be(self):
        """To the octet: dots that stuffed lines do not count."""
        message = HEAD + b"." * (62 - len(HEAD)) + b"\r\n" + (b"." * 62 + b"\r\n") * ((1 << 14) - 1)
        self.assertEqual(len(message), 1 << 20)
        for way in WAYS:
            with case(way), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, MAX_MESSAGE_MIB=1, **way) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                self.assertEqual(client.send_message(message)[:3], b"250")
                client.quit()
                self.assertEqual(sink.mails(), [message])


class Client(Counted):
    """Clients that go away, or take their time, in the middle."""

    def test_goes_away(self):
        """The destination never gets a last chunk, and nothing is delivered."""
        for how in "close", "reset", "end":
            for daemon, destination in self.each_way():
                for number, tail in enumerate((b"", b"x", b"x\r", b"x\r\n.", b"x\r\n.\r"), 1):
                    with case(how, tail), session(daemon, destination) as s:
                        begin(s)
                        self.pieces(s, 2)
                        s.server.send(MORE)
                        s.client.send(tail)
                        time.sleep(0.01)
                        getattr(s.client, how)()
                        self.no_last_came(s.server)
                        self.assertEqual(self.end_of(daemon, number), "lost-client")
                self.assertFalse([r for r in daemon.records("message")
                                  if r.get("reply")[:1] == "2"])

    def test_goes_away_while_answers_are_waited_for(self):
        for how in "close", "reset":
            for daemon, destination in self.each_way():
                with case(how), session(daemon, destination) as s:
                    begin(s)
                    self.pieces(s, 1)
                    s.client.send(b"x\r\n")
                    time.sleep(0.05)
                    getattr(s.client, how)()
                    s.server.send(MORE)
                    self.no_last_came(s.server)
                    self.assertEqual(self.end_of(daemon), "lost-client")

    def test_closes_its_half_after_all(self):
        """… and is answered."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                begin(s)
                self.pieces(s, 1)
                s.client.send(b"x\r\n.\r\n")
                s.client.end()
                self.assertTrue(s.server.silent(QUIET_S / 2))
                s.server.send(MORE)
                s.server.expect(bdat(b"x\r\n", True))
                s.server.send(OK)
                s.client.expect(OK)
                self.assertEqual(s.client.rest(), b"")

    def test_timeout(self):
        for daemon, destination in self.each_way(TIMEOUT_DATA=3):
            for count in 0, 2:
                with session(daemon, destination) as s, case(count):
                    since = time.monotonic()  # before: its time begins within
                    begin(s)
                    self.pieces(s, count)
                    s.server.send(MORE if count else b"")
                    self.assertEqual(s.client.reply()[:9], b"421 4.4.2")
                    self.assertTrue(2.9 < time.monotonic() - since < harness.SOON_S)
                    self.assertEqual(s.client.rest(), b"")
                    self.no_last_came(s.server)

    def test_the_destinations_time_is_not_the_clients(self):
        """While answers are waited for, TIMEOUT_DATA does not end it."""
        for daemon, destination in self.each_way(TIMEOUT_DATA=4, TIMEOUT_REPLY=harness.FAR_S):
            with session(daemon, destination) as s:
                begin(s)
                self.pieces(s, 1)
                s.client.send(b"x\r\n.\r\n")
                self.assertTrue(s.client.silent(5))
                s.server.send(MORE)
                s.server.expect(bdat(b"x\r\n", True))
                s.server.send(OK)
                s.client.expect(OK)

    def test_stop(self):
        """A stop in the middle: no last chunk."""
        for daemon, destination in self.each_way(STOP_GRACE=1):
            with session(daemon, destination) as s:
                begin(s)
                self.pieces(s, 2)
                daemon.process.send_signal(signal.SIGTERM)
                self.assertEqual(s.client.reply()[:9], b"421 4.3.2")
                self.assertEqual(s.client.rest(), b"")
                self.no_last_came(s.server)


class FarAway(Counted):
    """Over a long line, where the acknowledgement of a chunk comes later than the next is sent."""
    DELAY_S = 0.05

    @classmethod
    def setUpClass(cls):
        namespace.enter()
        namespace.stretch(cls.DELAY_S)

    def each_way(self, **settings):
        for way in WAYS:
            with puppet.Destination(extensions=OFFER, address=namespace.NEAR) as destination, \
                    case(way), self.caronte("%s:%d" % (namespace.FAR, destination.port), **way,
                                            **settings) as daemon:
                yield daemon, destination

    def test_an_answer_before_the_octets_are_there(self):
        """Before the first chunk is acknowledged, and with it on its way."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                begin(s)
                s.server.send(MORE)
                time.sleep(self.DELAY_S / 2)
                s.client.send(b"x\r\n")
                self.no_last_came(s.server)
                s.client.send(b".\r\n")
                s.client.expect(DISAGREE)
                self.assertEqual(s.client.rest(), b"")

    def test_answers_on_their_way(self):
        """Many chunks, whose answers come with what acknowledges them."""
        for daemon, destination in self.each_way():
            with session(daemon, destination) as s:
                for number in range(3):
                    if number:
                        next_transaction(s)
                    begin(s)
                    for at in range(PLENTY):
                        s.client.send(b"line %d\r\n" % at)
                        time.sleep(self.DELAY_S / 5)
                    s.client.send(b".\r\n")
                    taken, last = b"", False
                    while not last:
                        octets, last = chunk(s.server)
                        taken += octets
                        s.server.send(OK if last else MORE)
                    self.assertEqual(taken, b"".join(b"line %d\r\n" % at
                                                     for at in range(PLENTY)))
                    s.client.expect(OK)
                s.quit()
