# SPDX-License-Identifier: ISC
"""Every limit: exact where it counts, in force while the client trickles, floods or does not read,
and said in one well-formed answer.
"""
import base64
import contextlib
import os
import resource
import select
import socket
import threading
import time
import unittest

import harness
import namespace
import puppet
from puppet import DATA, EHLO, MAIL, OK, RCPT, case

TOO_MANY = b"421 4.3.2 "
BUSY = b"421 4.7.0 Server BUSY\r\n"
TOO_MANY_ERRORS = b"421 4.7.0 "
CLIENT_SLOW = b"421 4.4.2 "
DESTINATION_SLOW = b"451 4.4.2 "
DENIED = b"550 5.7.1 Relaying denied. \r\n"
BYE = b"221 2.0.0 Bye\r\n"
STEP_S = 0.2  # between octets that trickle
PATIENCE_S = 60  # many deadlines


IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>


def come_from(address, port):
    sock = socket.socket()
    # Else the port would have to be one that no other connection has, to whomever.
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((address, 0))
    sock.settimeout(puppet.PATIENCE_S)
    sock.connect(("127.0.0.1", port))
    return puppet.Peer(sock)


class Sessions(harness.TestCase):
    @contextlib.contextmanager
    def daemon(self, destination, **settings):
        """Clients that self.connect() has made are gone before it is stopped."""
        with self.caronte(destination, **settings) as daemon, contextlib.ExitStack() as stack:
            self.stack = stack
            yield daemon

    def connect(self, daemon, count, address="127.0.0.1"):
        """So many clients at once, and what each is told first."""
        clients = [self.stack.enter_context(come_from(address, daemon.port))
                   for _ in range(count)]
        return clients, [each.reply() for each in clients]

    def quit(self, client):
        client.send(b"QUIT\r\n")
        self.assertEqual(client.codes(1), [221])
        self.assertEqual(client.rest(), b"")
        client.close()

    def test_max_sessions(self):
        """Exact, whichever worker a client comes to; a seat that is free again is given away."""
        limit, more = 7, 13
        with harness.Sink() as sink, self.daemon(
                sink, MAX_SESSIONS=limit, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            over = 0
            for turn in range(1, 4):
                with case(turn):
                    clients, said = self.connect(daemon, limit + more)
                    served = [c for c, reply in zip(clients, said) if reply.startswith(b"220")]
                    refused = [(c, reply) for c, reply in zip(clients, said) if c not in served]
                    self.assertEqual(len(served), limit)
                    for c, reply in refused:
                        self.assertTrue(reply.startswith(TOO_MANY), reply)
                        self.assertEqual(c.rest(), b"")
                        c.close()
                    over += more
                    self.quit(served.pop())
                    daemon.records("session", count=over + 1)
                    one, = self.connect(daemon, 1)[0]
                    served.append(one)
                    for c in served:
                        self.quit(c)
                    over += limit + 1
                    daemon.records("session", count=over)
            self.assertEqual(len(daemon.records("session", end="limit")), 3 * more)
            self.assertEqual(sink.report()["connections"], self.by_dialog(3 * (limit + 1), 1))

    def test_max_sessions_in_a_rush(self):
        """All come at the same time: never one too many is served, or reaches the destination."""
        limit, clients = 10, 60
        with puppet.Destination() as destination, self.caronte(
                destination, MAX_SESSIONS=limit, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            told, over = [], threading.Event()

            def come():
                with puppet.client(daemon.port) as c:
                    told.append(c.reply()[:3])
                    over.wait()

            threads = [threading.Thread(target=come) for _ in range(clients)]
            for thread in threads:
                thread.start()
            servers = [] if self.gateway else [destination.accept() for _ in range(limit)]
            harness.wait_until(lambda: len(told) == clients - len(servers))
            self.assertEqual(told.count(TOO_MANY[:3]), clients - limit)
            for server in servers:
                server.send(puppet.GREETING)
            harness.wait_until(lambda: len(told) == clients)
            self.assertEqual(told.count(puppet.GREETING[:3]), limit)
            over.set()
            for thread in threads:
                thread.join()
            self.assertEqual(select.select([destination.socket], [], [], 0)[0], [])
            for server in servers:
                server.close()

    def test_max_sessions_per_address(self):
        with harness.Sink("--auth", "joe:secret") as sink, self.daemon(
                sink, MAX_SESSIONS_PER_ADDRESS=3,
                RELAY_NETWORKS="127.0.0.3 127.0.4.0/24") as daemon:
            clients, said = self.connect(daemon, 5)
            self.assertEqual(sorted(reply[:3] for reply in said), [b"220"] * 3 + [b"421"] * 2)
            for c, reply in zip(clients, said):
                if not reply.startswith(b"220"):
                    self.assertEqual(reply, BUSY)
                    self.assertEqual(c.rest(), b"")
            # Others have their own count, relay networks none.
            said = self.connect(daemon, 4, "127.0.0.2")[1]
            self.assertEqual(sorted(reply[:3] for reply in said), [b"220"] * 3 + [b"421"])
            for exempt in "127.0.0.3", "127.0.4.9":
                said = self.connect(daemon, 8, exempt)[1]
                self.assertEqual({reply[:3] for reply in said}, {b"220"})
            # A login takes a session out of the count, a failed one does not.
            c = next(c for c in clients if c.silent())
            self.login(c, b"wrong", 535)
            self.assertEqual(self.connect(daemon, 1)[1], [BUSY])
            self.login(c, b"secret", 235)
            said = self.connect(daemon, 2)[1]
            self.assertEqual(sorted(reply[:3] for reply in said), [b"220", b"421"])

    def login(self, c, password, code):
        c.send(EHLO)
        c.reply()
        c.send(b"AUTH PLAIN " + base64.b64encode(b"\0joe\0" + password) + b"\r\n")
        self.assertEqual(c.codes(1), [code])

    def test_refused_clients_that_stay_keep_nobody_out(self):
        """What is over a limit is told so, and may not use up what others need."""
        with harness.Sink() as sink, self.daemon(
                sink, MAX_SESSIONS=6, MAX_SESSIONS_PER_ADDRESS=2) as daemon:
            stay = [self.stack.enter_context(come_from("127.0.0.1", daemon.port))
                    for _ in range(600)]
            said = self.connect(daemon, 2, "127.0.0.2")[1]
            self.assertEqual([reply[:3] for reply in said], [b"220"] * 2)
            told = [c.reply() for c in stay]
            self.assertEqual(sum(reply.startswith(b"220") for reply in told), 2)
            # Past a number of them there is no room for good-byes.
            self.assertGreaterEqual(told.count(BUSY), 200)
            self.assertEqual(2 + told.count(BUSY) + told.count(b""), len(told))

    def test_max_errors(self):
        """The error that reaches it is answered, then it ends. The destination's refusals count,
        its 4xx do not."""
        with puppet.Destination() as destination, \
                self.caronte(destination, MAX_ERRORS=3) as daemon:
            with puppet.Session(daemon.port, destination) as s:
                s.client.send(b"VRFY x\r\nRCPT TO:<x@far.test>\r\nETRN x\r\nNOOP\r\n")
                self.assertEqual([reply[:9] for reply in s.client.replies(4)],
                                 [b"502 5.5.1", b"503 5.5.1", b"502 5.5.1", TOO_MANY_ERRORS[:9]])
                self.assertEqual((s.client.rest(), s.server.rest()), (b"", b""))
            with puppet.Session(daemon.port, destination, "mail") as s:
                for answer in b"450 4.2.1 Later\r\n", b"550 5.1.1 No\r\n", b"452 4.5.3 Later\r\n":
                    s.both(RCPT, answer)
                s.client.send(b"RCPT TO:<x@far.test>\r\n")
                s.client.expect(DENIED)
                s.client.send(RCPT)
                s.server.expect(RCPT)
                s.server.send(b"553 5.1.1 No\r\n")
                s.client.expect(b"553 5.1.1 No\r\n")
                self.assertEqual(s.client.reply()[:9], TOO_MANY_ERRORS[:9])
                self.assertEqual((s.client.rest(), s.server.rest()), (b"", b""))
            self.assertEqual(len(daemon.records("session", count=2, end="limit")), 2)

    def test_max_idle_commands(self):
        """A hundred, where nothing else is set; a message begins the count anew, and relay networks
        and logins have none."""
        with harness.Sink("--auth", "joe:secret") as sink, self.daemon(
                sink, MAX_IDLE_COMMANDS=None, RELAY_NETWORKS="127.0.0.3") as daemon:
            friend, user, stranger, sender = (
                self.connect(daemon, 1, "127.0.0.%d" % n)[0][0] for n in (3, 4, 5, 6))
            self.login(user, b"secret", 235)
            for c in friend, user:
                c.send(b"NOOP\r\n" * 150)
                self.assertEqual(c.codes(150), [250] * 150)
            stranger.send(EHLO + b"NOOP\r\nRSET\r\nHELP\r\n" * 33)
            self.assertEqual({code // 100 for code in stranger.codes(100)}, {2})
            stranger.send(b"RCPT TO:<x@far.test>\r\nNOOP\r\nNOOP\r\n")
            self.assertEqual(stranger.codes(1), [503])
            self.assertEqual(stranger.reply(),
                             b"421 4.7.0 Too many commands without a message\r\n")
            self.assertEqual(stranger.rest(), b"")
            record, = daemon.records("session", count=1)
            self.assertEqual((record.get("end"), record.get("reason")),
                             ("limit", "MAX_IDLE_COMMANDS"))
            sender.send(EHLO)
            sender.reply()
            for _ in range(2):
                sender.send(b"NOOP\r\n" * 90)
                self.assertEqual(sender.codes(90), [250] * 90)
                sender.send(MAIL + RCPT)
                self.assertEqual(sender.codes(2), [250] * 2)
                sender.send(DATA)
                self.assertEqual(sender.codes(1), [354])
                sender.send(b"x\r\n.\r\n")
                self.assertEqual(sender.codes(1), [250])
            self.quit(sender)


class Deadlines(harness.TestCase):
    """Short deadlines. Sessions wait side by side, so a test takes little more than one of them. On
    a busy machine it may take longer: what must not be is that it goes on as long as octets
    trickle."""

    def trickle(self, rows, seconds):
        """Each row: a peer, and the octets that it sends one by one. Ends early when none of the
        peers waits any more."""
        end = time.monotonic() + seconds
        at = 0
        while rows and time.monotonic() < end:
            for peer, octets, answered in rows:
                with contextlib.suppress(OSError):
                    peer.send(octets[at % len(octets):][:1])
            rows = [row for row in rows if row[2].silent()]
            at += 1
            time.sleep(STEP_S)
        return not rows

    def told(self, s, words):
        self.assertTrue(s.client.reply().startswith(words))
        self.assertEqual(s.client.rest(), b"")

    def test_client_is_slow_with_a_command(self):
        """The deadline is for the whole line: octets that trickle do not put it off."""
        steps = "greeting", "ehlo", "mail", "rcpt"
        with puppet.Destination() as destination, self.caronte(
                destination, TIMEOUT_COMMAND=4) as daemon, contextlib.ExitStack() as stack:
            idle, slow = ([stack.enter_context(puppet.Session(daemon.port, destination, until))
                           for until in steps] for _ in range(2))
            self.assertTrue(self.trickle(
                [(s.client, b"NOOP " + b"x" * 100, s.client) for s in slow], PATIENCE_S))
            for s in [*idle, *slow]:
                self.told(s, CLIENT_SLOW)
                self.assertEqual(s.server.rest(), b"")
                s.close()
            self.assertEqual(len(daemon.records("session", count=8, end="timeout")), 8)

    def test_client_is_slow_with_a_body(self):
        """The deadline is for each block: who goes on sending may take long, who stops may not."""
        with puppet.Destination() as destination, self.caronte(
                destination, TIMEOUT_DATA=6) as daemon, contextlib.ExitStack() as stack:
            silent, slow, whole = (
                stack.enter_context(puppet.Session(daemon.port, destination, "body"))
                for _ in range(3))
            text = b"x" * 100
            self.assertFalse(self.trickle([(slow.client, text, slow.client),
                                           (whole.client, text, whole.client)], 9))
            self.told(silent, CLIENT_SLOW)
            whole.client.send(b"\r\n.\r\n")
            self.assertTrue(whole.server.until(b"\r\n.\r\n").endswith(b"\r\n.\r\n"))
            whole.server.send(OK)
            whole.client.expect(OK)
            whole.quit()
            self.told(slow, CLIENT_SLOW)
            for s in silent, slow:
                self.assertNotIn(b".\r\n", s.server.rest())
                s.close()
            self.assertEqual(len(daemon.records("session", count=2, end="timeout")), 2)
            self.assertEqual(daemon.records("message", count=1)[0].get("reply"), "250 2.0.0 Ok")

    def test_destination_is_slow(self):
        """The deadline is for the whole reply, and the client cannot put it off either."""
        with puppet.Destination() as destination, self.caronte(
                destination, TIMEOUT_GREETING=4, TIMEOUT_REPLY=4, TIMEOUT_DATA_DONE=4) as daemon, \
                contextlib.ExitStack() as stack:
            slow = []
            early = (("connect", b""), ("greeting", EHLO), ("ehlo", MAIL))
            for until, command in (*self.by_dialog(early, ()), ("mail", RCPT), ("rcpt", DATA),
                                   ("body", b".\r\n")):
                s = stack.enter_context(puppet.Session(daemon.port, destination, until))
                s.client.send(command)
                s.server.expect(command)
                slow.append((s, b"220-" if until == "connect" else b"250-"))
            # Its client meanwhile says one thing after the other.
            talks = stack.enter_context(puppet.Session(daemon.port, destination, "mail"))
            talks.client.send(RCPT)
            talks.server.expect(RCPT)
            self.assertTrue(self.trickle(
                [(s.server, start + b"x" * 100, s.client) for s, start in slow] +
                [(talks.client, b"X\r\n" * 100, talks.client)], PATIENCE_S))
            for s, _ in slow:
                first = s is slow[0][0] and not self.gateway
                self.told(s, CLIENT_SLOW if first else DESTINATION_SLOW)
                s.close()
            self.assertTrue(talks.client.reply().startswith(DESTINATION_SLOW))
            talks.close()
            count = len(slow) + 1
            self.assertEqual(
                len(daemon.records("session", count=count, end="lost-destination")), count)

    def test_destination_does_not_take_a_body(self):
        """The destination is out of time, not the client, who is told so at the end of its body."""
        text = b"\r\n" + b"0123456789abcde\r\n" * (16 << 20 >> 4)
        for body in "BODY_AUTO", "BODY_SPLICE":
            with puppet.Destination(rcvbuf=4096) as destination, self.caronte(
                    destination, TIMEOUT_DATA=2, **{body: True}) as daemon, \
                    puppet.Session(daemon.port, destination, "data") as s, case(body):
                s.client.send(text + b".\r\n")  # takes until the rest is thrown away
                self.assertTrue(s.client.reply().startswith(DESTINATION_SLOW))
                self.assertEqual(s.client.rest(), b"")
                s.close()
                daemon.record("session", end="lost-destination")

    def test_client_does_not_read(self):
        """Replies wait for it, but not for ever, and not in more memory than one session has."""
        with harness.Sink() as sink, \
                self.caronte(sink, MAX_ERRORS=1000000, LOG_LEVEL=1, TIMEOUT_COMMAND=6) as daemon:
            with harness.Client(daemon.port) as warm_up:
                warm_up.hello()
                warm_up.quit()
            before = daemon.memory()
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", daemon.port))
            with puppet.Peer(sock) as c:
                c.send(EHLO)
                sock.setblocking(False)
                flood, sent = b"HELP\r\n" * 100 + b"RCPT TO:<x@far.test>\r\n" * 1000, 0
                while select.select([], [sock], [], 0.1)[1]:
                    sent += sock.send(flood)
                self.assertLess(sent, 32 << 20)
                self.assertLess(daemon.memory() - before, 4 << 20)
                # The destination's connection, where there is one, is given up with the client.
                if not self.gateway:
                    harness.wait_until(lambda: any(line.startswith("2 -: ")
                                                   for line in sink.transcript()), PATIENCE_S)
                record = daemon.records("session", count=2)[-1]
            self.assertEqual(record.get("end"), "timeout")

    def test_min_rate_is_that_of_a_minute(self):
        """Nobody is too slow before, however little there was, in each message of a session."""
        for body in "BODY_AUTO", "BODY_COPY", "BODY_SPLICE":
            with harness.Sink() as sink, \
                    self.caronte(sink, MIN_RATE=1000, **{body: True}) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                for _ in range(2):
                    client.envelope()
                    client.command("DATA", 354)
                    for piece in b"a", b"b\r\n", b".\r\n":
                        time.sleep(0.3)
                        client.socket.sendall(piece)
                    self.assertEqual(client.reply()[:3], b"250")
                client.quit()

    @unittest.skipUnless(harness.LONG, "takes more than a minute: CARONTE_LONG=1 runs it")
    def test_min_rate(self):
        """A body that never stops is too slow all the same; one that is fast enough is not."""
        with puppet.Destination() as destination, self.caronte(
                destination, MIN_RATE=10) as daemon, contextlib.ExitStack() as stack:
            fast, slow = (stack.enter_context(puppet.Session(daemon.port, destination, "data"))
                          for _ in range(2))
            began = time.monotonic()
            while slow.client.silent(1):
                slow.client.send(b"x" * 5)
                fast.client.send(b"x" * 20)
            self.assertAlmostEqual(time.monotonic() - began, 60, delta=3)
            self.assertTrue(slow.client.reply().startswith(CLIENT_SLOW))
            self.assertTrue(fast.client.silent())
            slow.close()
            daemon.record("session", end="timeout")

    @unittest.skipUnless(harness.LONG, "takes more than a minute: CARONTE_LONG=1 runs it")
    def test_min_rate_of_counted_bodies(self):
        """What the destination takes for its answers does not count, the client's pauses after them
        do."""
        text = b"x" * 20

        def piece(s, answer_s):
            s.client.send(text)
            s.server.expect(b"BDAT 20\r\n" + text)
            time.sleep(answer_s)
            s.server.send(puppet.OK)

        offer = b"250-puppet.test\r\n250-SIZE\r\n250 CHUNKING\r\n"
        with puppet.Destination(extensions=offer) as destination, self.caronte(
                destination, MIN_RATE=10) as daemon, contextlib.ExitStack() as stack:
            slow, waits = (stack.enter_context(puppet.Session(daemon.port, destination, "rcpt"))
                           for _ in range(2))
            for s in slow, waits:
                s.client.send(puppet.DATA)
                self.assertEqual(s.client.reply()[:3], b"354")
            began = time.monotonic()
            while time.monotonic() - began < 55:
                piece(slow, 0)
                piece(waits, 5)
            self.assertTrue(slow.client.reply().startswith(CLIENT_SLOW))
            self.assertAlmostEqual(time.monotonic() - began, 60, delta=3)
            piece(waits, 0)
            slow.close()
            daemon.record("session", end="timeout")


class Networks(harness.TestCase):
    """An IPv6 client is its /64: whoever has one has all of its addresses."""
    HERE, OTHER = "2001:db8:0:1::%x", "2001:db8:0:2::%x"

    @classmethod
    def setUpClass(cls):
        namespace.enter()
        for address in ("2001:db8::25", *(net % n for net in (cls.HERE, cls.OTHER)
                                          for n in range(1, 6))):
            namespace.add_ipv6(address)

    def come(self, stack, port, address):
        sock = socket.socket(socket.AF_INET6)
        sock.bind((address, 0))
        sock.settimeout(puppet.PATIENCE_S)
        sock.connect(("2001:db8::25", port))
        return stack.enter_context(puppet.Peer(sock)).reply()

    def test_ipv6(self):
        with harness.Sink() as sink, self.caronte(
                sink, LISTEN_ADDRESS="2001:db8::25 127.0.0.1",
                MAX_SESSIONS_PER_ADDRESS=3) as daemon, contextlib.ExitStack() as stack:
            for net in self.HERE, self.OTHER:
                said = [self.come(stack, daemon.port, net % n) for n in range(1, 6)]
                self.assertEqual(sorted(reply[:3] for reply in said), [b"220"] * 3 + [b"421"] * 2)
                self.assertEqual({reply for reply in said if reply[:3] == b"421"}, {BUSY})
            self.assertEqual(len(daemon.records("session", count=4, end="limit")), 4)

    def test_wider_networks(self):
        """A /56 has four times as many, whatever it has of /64s."""
        nets = ["2001:db8:0:1%02x::1" % n for n in range(6)]
        for address in nets:
            namespace.add_ipv6(address)
        with harness.Sink() as sink, self.caronte(
                sink, LISTEN_ADDRESS="2001:db8::25", MAX_SESSIONS_PER_ADDRESS=1) as daemon, \
                contextlib.ExitStack() as stack:
            said = [self.come(stack, daemon.port, address) for address in nets]
            self.assertEqual([reply[:3] for reply in said], [b"220"] * 4 + [b"421"] * 2)
            self.assertEqual(self.come(stack, daemon.port, self.HERE % 1)[:3], b"220")


SLOW_CLIENTS = 5000 if harness.LONG else 500
STRESS_S = 60 if harness.LONG else 20  # a command's deadline then; longer than to connect them


class Stress(harness.TestCase):
    """What is scarce goes to those who use it."""

    def test_slow_clients(self):
        """Thousands that send an octet every ten seconds: an honest message passes at once, they
        end by a deadline that is shorter for strangers while there is stress, and for strangers
        only."""
        relay = "127.0.0.3"
        with harness.Sink(maildir=True) as sink, self.caronte(
                sink, MAX_SESSIONS=SLOW_CLIENTS * 5 // 4, MAX_SESSIONS_PER_ADDRESS=0,
                TIMEOUT_COMMAND=10 * STRESS_S, LOG_LEVEL=2, RELAY_NETWORKS=relay) as daemon, \
                contextlib.ExitStack() as stack:
            friend = stack.enter_context(come_from(relay, daemon.port))
            slow = [stack.enter_context(come_from("127.0.0.1", daemon.port))
                    for _ in range(SLOW_CLIENTS)]
            for c in [friend, *slow]:
                self.assertEqual(c.reply()[:3], b"220")
            # They are waited for from here on: to connect them all may take longer than those that
            # time out first stay, and with these gone there is no stress.
            since = time.monotonic()
            for c in [friend, *slow]:
                c.send(b"NOOP\r\nN")
            for c in [friend, *slow]:
                self.assertEqual(c.codes(1), [250])
            begin = daemon.record("fault", what="stress")
            detail = begin.get("detail")
            self.assertTrue(detail.endswith("strangers are waited for a tenth as long"))
            began = time.monotonic()
            with harness.Client(daemon.port) as client:
                client.hello()
                self.assertEqual(client.send_message(b"honest\r\n")[:3], b"250")
                client.quit()
            self.assertLess(time.monotonic() - began, STRESS_S / 2)
            self.assertTrue(all(c.silent(0) for c in slow))
            time.sleep(max(0, since + STRESS_S - 4 - time.monotonic()))
            self.assertTrue(slow[-1].silent())
            for c in slow:
                with contextlib.suppress(OSError):
                    c.send(b"O")
            for c in slow:
                self.assertTrue(c.reply().startswith(CLIENT_SLOW))
            self.assertLess(time.monotonic() - began, 3 * STRESS_S)
            self.assertTrue(friend.silent())
            friend.send(b"OOP\r\n")
            self.assertEqual(friend.codes(1), [250])
            faults = daemon.records("fault", count=2, what="stress")
            self.assertTrue(faults[1].get("detail").endswith("as long as before"))
            for c in slow:
                c.close()
            self.assertEqual(len(daemon.records("session", count=SLOW_CLIENTS, end="timeout")),
                             SLOW_CLIENTS)

    def test_places_at_a_destination(self):
        """Strangers who idle at one that takes few do not keep others out."""
        most = 3
        with harness.Sink() as sink, self.caronte(
                "127.0.0.1:%d,max=%d" % (sink.port, most), MAX_SESSIONS_PER_ADDRESS=0,
                LOG_LEVEL=2) as daemon, contextlib.ExitStack() as stack:
            idle = []
            for _ in range(most):
                client = stack.enter_context(harness.Client(daemon.port))
                client.hello()
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<b@local.test>", 250)
                idle.append(client)
            time.sleep(31)  # SEATS_IDLE_MS
            honest = [stack.enter_context(harness.Client(daemon.port)) for _ in range(2)]
            for client in honest:
                client.send(b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n"
                            b"RCPT TO:<b@local.test>\r\n")
            for client in honest:
                self.assertEqual([client.reply()[:3] for _ in range(4)],
                                 [b"220", b"250", b"250", b"250"])
            for client in idle[:2]:
                self.assertEqual(client.reply(),
                                 b"421 4.3.2 Too many sessions, idle ones are ended\r\n")
            self.assertTrue(idle[2].silent())
            sessions = daemon.records("session", count=2, end="limit")
            self.assertEqual([each.get("reason") for each in sessions], ["full"] * 2)

    def test_memory_is_given_back(self):
        """What a crowd needed while it was busy is not kept once it is idle."""
        count = 300
        with harness.Sink() as sink, self.caronte(
                sink, WORKERS=1, MAX_SESSIONS=2 * count, MAX_SESSIONS_PER_ADDRESS=0) as daemon, \
                contextlib.ExitStack() as stack:
            clients = [stack.enter_context(come_from("127.0.0.1", daemon.port))
                       for _ in range(count)]
            for c in clients:
                self.assertEqual(c.reply()[:3], b"220")
            # In the first round AddressSanitizer takes memory of its own for theirs, and keeps it.
            for _ in range(2):
                for c in clients:
                    c.send(b"NOOP\r\nNOOP")
                for c in clients:
                    self.assertEqual(c.codes(1), [250])
                busy = daemon.memory()
                for c in clients:
                    c.send(b"\r\n")
                    self.assertEqual(c.codes(1), [250])
            less = count * 2 * resource.getpagesize()
            harness.wait_until(lambda: daemon.memory() < busy - less, PATIENCE_S)
            for c in clients:
                c.send(b"NOOP\r\n")
            for c in clients:
                self.assertEqual(c.codes(1), [250])

    def test_few_descriptors(self):
        """Connections wait in the queue, the processor rests, and all goes on when there are
        descriptors again. Who was let in gets an answer in any case."""
        with harness.Sink() as sink, self.caronte(
                sink, WORKERS=1, MAX_SESSIONS_PER_ADDRESS=0) as daemon, \
                contextlib.ExitStack() as stack:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.quit()
            worker, = daemon.workers()
            harness.only_root_sees()
            usual = harness.limit_descriptors(worker, "")
            harness.limit_descriptors(worker, max(map(int, os.listdir("/proc/%d/fd" % worker))) + 8)
            clients = [stack.enter_context(come_from("127.0.0.1", daemon.port))
                       for _ in range(30)]
            daemon.record("fault", what="accept")
            before = harness.processor_s(worker)
            time.sleep(2)
            self.assertLess(harness.processor_s(worker) - before, 0.2)
            self.assertGreater(sum(c.silent(0) for c in clients), 10)
            harness.limit_descriptors(worker, usual)
            said = [c.reply()[:9] for c in clients]
            self.assertGreaterEqual(sum(reply.startswith(b"220") for reply in said), 20)
            self.assertLessEqual({reply for reply in said if not reply.startswith(b"220")},
                                 {b"421 4.3.2"})
            with harness.Client(daemon.port) as client:
                client.hello()
                self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
            first, last = daemon.records("fault", count=2, what="accept")
            self.assertEqual(first.get("detail"), "Too many open files")
            self.assertRegex(last.get("detail"), "^Accepting again after [0-9]+ failures$")


class Pipelining(harness.TestCase):
    def test_a_thousand_recipients_in_one_write(self):
        """Local answers and the destination's, in the order of the commands."""
        count = 1000
        commands, expected = [], []
        for i in range(count):
            if i % 3 == 0:
                commands.append(b"RCPT TO:<u%d@far.test>\r\n" % i)
                expected.append(DENIED)
            elif i % 7 == 0:
                commands.append(b"RCPT TO:<bad%d\r\n" % i)
                expected.append(b"501 5.1.3 ")
            else:
                commands.append(b"RCPT TO:<u%d@local.test>\r\n" % i)
                expected.append(b"250 2.1.5 u%d\r\n" % i)
        with puppet.Destination() as destination, self.caronte(
                destination, MAX_ERRORS=count) as daemon:
            for groups in 1, 5, 64:
                with case(groups), puppet.Session(daemon.port, destination, "mail") as s:
                    server = threading.Thread(target=self.answer, args=(s.server, groups))
                    server.start()
                    s.client.send(b"".join(commands) + DATA)
                    replies = s.client.replies(count + 1)
                    for number, (reply, each) in enumerate(zip(replies, expected)):
                        self.assertTrue(reply.startswith(each), (number, reply, each))
                    self.assertEqual(replies[-1], puppet.GO_AHEAD)
                    s.client.send(b".\r\n")
                    s.client.expect(OK)
                    s.client.send(b"QUIT\r\n")
                    s.client.expect(BYE)
                    server.join()
                self.assertEqual(self.heard, [b"u%d@local.test" % i for i in range(count)
                                              if i % 3 and i % 7])

    def answer(self, server, group):
        """Answers recipients by name, so many at a time; the last ones when DATA has come."""
        self.heard, waiting = [], b""
        while line := server.line():
            if line.startswith(b"RCPT TO:<"):
                address = line[9:line.index(b">")]
                self.heard.append(address)
                waiting += b"250 2.1.5 %s\r\n" % address.partition(b"@")[0]
                if len(self.heard) % group == 0 or not server.got:
                    server.send(waiting)
                    waiting = b""
            elif line == DATA:
                server.send(waiting + puppet.GO_AHEAD)
            elif line == b".\r\n":
                server.send(OK)
                if self.gateway:  # QUIT is not for it
                    return
            else:
                server.send(BYE)
                return

    def test_more_outstanding_than_there_are_places(self):
        """What does not fit waits in order, in the kernel if need be, until answers come."""
        count = 300
        commands = [b"RCPT TO:<u%d@local.test>\r\n" % i for i in range(count)]
        with puppet.Destination() as destination, self.caronte(destination) as daemon, \
                puppet.Session(daemon.port, destination, "mail") as s:
            s.client.send(b"".join(commands))
            heard = answered = most = 0
            while answered < count:
                # Everything that it is going to hear before it says something.
                while heard < count and not s.server.silent(0.02):
                    s.server.expect(commands[heard])
                    heard += 1
                most = max(most, heard - answered)
                s.server.send(b"250 u%d\r\n" % answered)
                answered += 1
                s.client.expect(b"250 u%d\r\n" % (answered - 1))
                if answered == 5:  # it is known by now: the rest by the dozen
                    while heard < count:
                        while answered < heard:
                            s.server.send(b"250 u%d\r\n" % answered)
                            s.client.expect(b"250 u%d\r\n" % answered)
                            answered += 1
                        s.server.expect(commands[heard])
                        heard += 1
            self.assertIn(most, range(32, 65))
            s.quit()


if __name__ == "__main__":
    unittest.main()
