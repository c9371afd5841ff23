# SPDX-License-Identifier: ISC
"""PROXY_FROM: what stands before Caronte says whose connection it is."""
import contextlib
import os
import signal
import socket
import struct
import time

import harness
import knower
import puppet
import tls
from puppet import case

CLIENT = "198.51.100.7"
LINE = b"PROXY TCP4 198.51.100.7 203.0.113.25 4321 25\r\n"
SIGNATURE = knower.SIGNATURE
DIRECT = "127.0.0.2"  # a client's address, of no balancer


def address(text):
    which = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(which, text)


def header(source=CLIENT, to="203.0.113.25", port=4321, more=b"", kind=0x21):
    body = address(source) + address(to) + struct.pack("!HH", port, 25) + more
    family = 0x21 if ":" in source else 0x11
    return SIGNATURE + struct.pack("!BBH", kind, family, len(body)) + body


LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
GOOD = {
    "line": LINE,
    "line of IPv6": b"PROXY TCP6 2001:db8::7 2001:db8::25 4321 25\r\n",
    "binary": header(),
    "binary of IPv6": header("2001:db8::7", "2001:db8::25"),
    "binary with values": header(more=b"\x04\x00\x03xyz\xea\x00\x00"),
    "mapped": header("::ffff:198.51.100.7", "::ffff:203.0.113.25"),
}
BAD = {
    "none": b"EHLO client.test\r\n",
    "none, QUIT": b"QUIT\r\n",
    "half": LINE[:20],
    "half, and more": LINE[:20] + b"\r\nEHLO x\r\n",
    "half a binary": header()[:20],
    "line in binary": SIGNATURE + LINE,
    "binary in line": b"PROXY " + header(),
    "length 65535": SIGNATURE + b"\x21\x11\xff\xff" + bytes(600),
    "length 11": SIGNATURE + b"\x21\x11\x00\x0b" + bytes(12),
    "version 3": header(kind=0x31),
    "command 2": header(kind=0x22),
    "UDP": SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
    "TCP4 with ::1": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "leading zero": b"PROXY TCP4 198.51.100.7 203.0.113.25 04321 25\r\n",
    "leading zero in an address": b"PROXY TCP4 198.51.100.07 203.0.113.25 4321 25\r\n",
    "108 octets": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "LF only": LINE[:-2] + b"\n",
    "NUL": LINE[:20] + b"\0" + LINE[20:],
    "lower case": LINE.lower(),
    "two blanks": LINE.replace(b" 25\r", b"  25\r"),
    "wrong checksum": header(more=b"\x03\x00\x04\x00\x00\x00\x00"),
    "value over the end": header(more=b"\x04\x00\x09xyz"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


class Balancers(harness.TestCase):
    def before(self, destination=None, **settings):
        if destination is None:
            destination = self.enterContext(harness.Sink())
        return self.enterContext(self.caronte(
            destination, **{"PROXY_FROM": "127.0.0.1", **settings}))

    def message_of(self, daemon, octets, recipient="b@local.test"):
        """A client behind the balancer that says OCTETS first: what became of its message."""
        with harness.Client(daemon.port) as client:
            client.send(octets)
            client.hello()
            reply = client.send_message(b"x\r\n", recipients=[recipient])
            client.quit()
        return reply

    def test_headers(self):
        daemon = self.before()
        for number, (name, octets) in enumerate(GOOD.items(), 1):
            with case(name):
                self.assertEqual(self.message_of(daemon, octets)[:3], b"250")
                session = daemon.records("session", count=number)[-1]
                self.assertEqual(session.get("client"), "[2001:db8::7]:4321" if "IPv6" in name
                                 else "198.51.100.7:4321")
                self.assertRegex(session.get("proxy"), r"^127\.0\.0\.1:\d+$")
                message = daemon.records("message", count=number)[-1]
                self.assertEqual(message.get("client"), session.get("client"))
        self.assertEqual(daemon.records("fault"), [])

    def test_cut_at_each_octet(self):
        """The header, and what the client says with it, in two pieces."""
        daemon = self.before(MAX_SESSIONS=50)
        count = 0
        for name in "line", "binary":
            octets = GOOD[name] + puppet.EHLO
            for at in range(1, len(octets)):
                with case(name, at), harness.Client(daemon.port) as client:
                    client.send(octets[:at])
                    time.sleep(0.002)
                    client.send(octets[at:])
                    self.assertEqual(client.codes(2), [220, 250])
                    client.quit()
                    count += 1
        for session in daemon.records("session", count=count):
            self.assertEqual(session.get("client"), "198.51.100.7:4321")

    def test_octet_by_octet(self):
        daemon = self.before()
        for name in "line", "binary":
            with case(name), harness.Client(daemon.port) as client:
                for octet in GOOD[name]:
                    client.send(bytes([octet]))
                client.hello()
                client.quit()

    def test_own_connections(self):
        """LOCAL and UNKNOWN: the balancer looks for itself. It is exempt from nothing."""
        daemon = self.before(RELAY_NETWORKS="198.51.100.0/24")
        own = LOCAL, b"PROXY UNKNOWN\r\n", header(kind=0x20), SIGNATURE + b"\x21\x00\x00\x00"
        for number, octets in enumerate(own, 1):
            with case(octets):
                with harness.Client(daemon.port) as client:
                    client.send(octets)
                    client.hello()
                    client.command("MAIL FROM:<a@client.test>", 250)
                    client.command("RCPT TO:<x@far.test>", 550)
                    client.quit()
                session = daemon.records("session", count=number)[-1]
                self.assertRegex(session.get("client"), r"^127\.0\.0\.1:\d+$")

    def test_wrong_headers(self):
        """Not a word is said, nobody is served, and the log says why."""
        daemon = self.before(LOG_LEVEL=2)
        for name, octets in BAD.items():
            with case(name), harness.Client(daemon.port) as client:
                client.send(octets)
                if name.startswith("half"):
                    with contextlib.suppress(OSError):  # it is closed already, perhaps
                        client.end()
                self.assertIn(client.rest(), (b"", puppet.RESET))
                time.sleep(0.11)  # ten faults of clients a second are told
        for fault in daemon.records("fault", count=len(BAD)):
            self.assertEqual(fault.get("what"), "proxy-header")
            self.assertRegex(fault.get("client"), r"^127\.0\.0\.1:\d+$")
            self.assertRegex(fault.get("detail"), "^PROXY_FROM: (a wrong header: .|closed in )")
        self.assertEqual(daemon.records("session"), [])

    def test_nothing_comes(self):
        daemon = self.before()
        with harness.Client(daemon.port) as silent, harness.Client(daemon.port) as slow:
            slow.send(LINE[:10])
            self.assertEqual((silent.rest(), slow.rest()), (b"", b""))
        for fault in daemon.records("fault", count=2, what="proxy-header"):
            self.assertEqual(fault.get("detail"), "PROXY_FROM: no header in 5 seconds")

    def test_looks_whether_it_is_there(self):
        daemon = self.before()
        for _ in range(3):
            harness.Client(daemon.port).close()
        self.message_of(daemon, LINE)
        self.assertEqual(daemon.records("fault"), [])
        self.assertEqual(len(daemon.records("session", count=1)), 1)

    def test_too_many_wait(self):
        """Those that come to the door are bounded, and nobody else is kept away by them."""
        daemon = self.before(WORKERS=1)
        with harness.Client(daemon.port, source=DIRECT) as direct:
            waiting = [harness.Client(daemon.port) for _ in range(300)]
            harness.wait_until(lambda: daemon.records("fault", what="proxy-header"))
            direct.hello()
            self.assertEqual(direct.send_message(b"x\r\n")[:3], b"250")
            for each in waiting:
                each.close()
        self.assertIn("too many", daemon.records("fault", what="proxy-header")[0].get("detail"))

    def test_from_anybody_else(self):
        """It is no SMTP, whatever it says."""
        daemon = self.before(RELAY_NETWORKS="198.51.100.0/24")
        for name, octets in GOOD.items():
            with case(name), harness.Client(daemon.port, source=DIRECT) as client:
                client.reply()
                client.send(octets + b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<x@far.test>\r\n")
                self.assertRegex(client.reply(), b"^5[02]")
                self.assertNotIn(b"250", client.rest())
        self.assertEqual({session.get("client").split(":")[0]
                          for session in daemon.records("session", count=len(GOOD))}, {DIRECT})

    def test_direct_clients_on_the_same_port(self):
        daemon = self.before()
        with harness.Client(daemon.port, source=DIRECT) as client:
            client.hello()
            self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
            client.quit()
        session = daemon.record("session")
        self.assertRegex(session.get("client"), r"^127\.0\.0\.2:\d+$")
        self.assertIsNone(session.get("proxy"))

    def test_networks(self):
        """Who may relay goes by the header's address; a listed balancer is believed."""
        daemon = self.before(RELAY_NETWORKS="198.51.100.0/24 127.0.0.9")
        for source, may in ((CLIENT, True), ("203.0.113.1", False), ("127.0.0.9", True),
                            ("127.0.0.1", False)):
            with case(source), harness.Client(daemon.port) as client:
                client.send(header(source))
                client.hello()
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<x@far.test>", 250 if may else 550)

    def test_limits(self):
        """Sessions are counted by the header's address."""
        daemon = self.before(MAX_SESSIONS_PER_ADDRESS=2)
        with harness.Client(daemon.port) as one, harness.Client(daemon.port) as two:
            for client in one, two:
                client.send(header())
                client.hello()
            with harness.Client(daemon.port) as third:
                third.send(header())
                self.assertEqual(third.reply(), b"421 4.7.0 Server BUSY\r\n")
            for number in range(4):
                with harness.Client(daemon.port) as other:
                    other.send(header("198.51.100.%d" % (100 + number)))
                    other.hello()

    def test_told_on(self):
        """The destination is told of the client, and of what it has connected to."""
        for identity in "proxy2", "xclient":
            with case(identity), knower.Knower(header=identity == "proxy2") as server:
                daemon = self.before("%s,identity=%s" % (server.place, identity))
                self.assertEqual(self.message_of(daemon, header())[:3], b"250")
                who = server.messages[0].who
                self.assertEqual((who["ADDR"], who["PORT"]), (CLIENT, "4321"))
                self.assertEqual((who["DESTADDR"], who["DESTPORT"]), ("203.0.113.25", "25"))

    def test_reload(self):
        daemon = self.before(PROXY_FROM=None)
        daemon.configure(PROXY_FROM=["127.0.0.0/8"])
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.records("reload", count=1)
        self.assertEqual(self.message_of(daemon, LINE)[:3], b"250")

    def test_stop(self):
        """A connection that waits at the door does not hold up the end."""
        daemon = self.before(STOP_GRACE=60)
        with harness.Client(daemon.port) as client:
            client.send(LINE[:5])
            time.sleep(0.2)
            began = time.monotonic()
            self.assertEqual(daemon.stop(), 0)
            self.assertLess(time.monotonic() - began, harness.SOON_S)
            self.assertIn(client.rest(), (b"", puppet.RESET))


class Renamed(tls.TlsCase):
    """XCLIENT_FROM: a proxy that speaks SMTP says whose session it is."""
    XCLIENT = "XCLIENT ADDR=198.51.100.7 PORT=4321 NAME=[UNAVAILABLE]"
    WRONG = ("XCLIENT", "XCLIENT ADDR", "XCLIENT ADDR=", "XCLIENT ADDR=[UNAVAILABLE]",
             "XCLIENT ADDR=198.51.100.256", "XCLIENT ADDR=2001:db8::1",
             "XCLIENT ADDR=IPV6:1.2.3.4",
             "XCLIENT PORT=65536", "XCLIENT ADDR=1.2.3.4 ADDR=1.2.3.4", "XCLIENT WHAT=x",
             "XCLIENT SOURCE=REMOTE", "XCLIENT ADDR=1.2.3.4 LOGIN=joe", "XCLIENT NAME=",
             "XCLIENT ADDR=1.2.3.4 NAME=a\x01b", "XCLIENT NAME=" + "x" * 300)

    def behind(self, destination=None, **settings):
        return self.enterContext(self.caronte(
            destination or self.enterContext(harness.Sink()),
            **{"XCLIENT_FROM": "127.0.0.1", **settings}))

    def test_named(self):
        daemon = self.behind(LOG_LEVEL=2)
        with harness.Client(daemon.port) as client:
            self.assertIn("XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT", client.hello())
            self.assertEqual(client.command(self.XCLIENT)[:3], b"220")
            client.command("MAIL FROM:<a@client.test>", 503)  # it begins anew
            client.command("EHLO client.test", 250)
            self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
            client.quit()
        proxy, session = daemon.records("session", count=2)
        self.assertEqual((proxy.get("end"), session.get("end")), ("xclient", "quit"))
        self.assertEqual(session.get("client"), "198.51.100.7:4321")
        self.assertEqual(session.get("proxy"), proxy.get("client"))
        self.assertEqual(daemon.record("message").get("client"), "198.51.100.7:4321")

    def test_greeting_is_another_one(self):
        daemon = self.behind(self.enterContext(harness.Sink("--greeting", "220 hello to you")),
                             XCLIENT_FROM="127.0.0.1 2001:db8::/32")
        with harness.Client(daemon.port) as client:
            first = client.reply()
            client.command("EHLO client.test", 250)
            self.assertEqual(client.command("XCLIENT ADDR=IPV6:2001:db8::7"), first)
            client.command("EHLO client.test", 250)
            # And another client, over the same connection; who is no proxy.
            self.assertEqual(client.command("xclient addr=198.51.100.8 port=1"), first)
            self.assertNotIn(b"XCLIENT", client.command("EHLO client.test", 250))
            client.command("XCLIENT ADDR=127.0.0.1", 502)
            client.quit()
        self.assertEqual([record.get("client")
                          for record in daemon.records("session", count=3)][1:],
                         ["[2001:db8::7]:0", "198.51.100.8:1"])

    def test_wrong(self):
        """The proxy must not go on as itself."""
        daemon = self.behind(RELAY_NETWORKS="127.0.0.1")
        relays = (b"EHLO c.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<x@far.test>\r\n")
        for line in (*self.WRONG, self.XCLIENT):
            with case(line), harness.Client(daemon.port) as client:
                client.hello()
                client.send(line.encode() + b"\r\n" + relays)
                self.assertIn(client.rest(), (b"501 5.5.4 XCLIENT must be right, alone and in "
                                              b"order, closing connection\r\n", puppet.RESET))
        for session in daemon.records("session", count=len(self.WRONG) + 1):
            self.assertEqual((session.get("end"), session.get("reason")), ("protocol", "xclient"))
        with harness.Client(daemon.port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", 250)
            client.command(self.XCLIENT, 501)
            self.assertEqual(client.rest(), b"")

    def test_behind_others(self):
        """What was asked before is answered before."""
        daemon = self.behind()
        with harness.Client(daemon.port) as client:
            client.hello()
            client.send(b"RSET\r\nNOOP\r\n" + self.XCLIENT.encode() + b"\r\n")
            self.assertEqual(client.codes(3), [250, 250, 220])

    def test_client_that_says_it(self):
        """A proxy passes on whatever its client says: that names nobody."""
        daemon = self.behind(RELAY_NETWORKS="10.0.0.0/8")
        with harness.Client(daemon.port) as client:
            client.hello()
            client.command(self.XCLIENT, 220)
            self.assertNotIn(b"XCLIENT", client.command("EHLO client.test", 250))
            client.command("XCLIENT ADDR=10.0.0.1", 502)
            client.command("MAIL FROM:<a@client.test>", 250)
            client.command("RCPT TO:<x@far.test>", 550)

    def test_behind_a_balancer(self):
        """The address in the header is the client's: the balancer is no proxy."""
        daemon = self.behind(PROXY_FROM="127.0.0.1", XCLIENT_FROM="127.0.0.1 203.0.113.9")
        for name, code in ((CLIENT, 502), ("203.0.113.9", 220)):
            with case(name), harness.Client(daemon.port) as client:
                client.send(b"PROXY TCP4 %s 203.0.113.25 4321 25\r\n" % name.encode())
                client.hello()
                client.command("XCLIENT ADDR=10.1.2.3", code)

    def test_reload(self):
        """One that is no proxy any more."""
        daemon = self.behind(XCLIENT_FROM="127.0.0.1 198.51.100.0/24", LOG_LEVEL=2,
                             TLS_CERTIFICATE=None, TLS_KEY=None)
        with harness.Client(daemon.port) as client:
            client.hello()
            client.command(self.XCLIENT, 220)
            client.command("EHLO client.test", 250)
            daemon.configure(XCLIENT_FROM=["192.0.2.1"])
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.records("reload", count=1)
            client.command(self.XCLIENT, 220)  # a session ends by its own configuration
            client.command("EHLO client.test", 250)
            client.command(self.XCLIENT, 502)

    def test_behind_a_login(self):
        daemon = self.behind(self.enterContext(harness.Sink("--auth", "joe:secret")),
                             TLS_REQUIRED_FOR_LOGIN=False)
        with harness.Client(daemon.port) as client:
            client.hello()
            client.command("AUTH PLAIN AGpvZQBzZWNyZXQ=", 235)
            client.command(self.XCLIENT, 501)

    def test_anybody_else(self):
        daemon = self.behind()
        with harness.Client(daemon.port, source=DIRECT) as client:
            self.assertEqual([word for word in client.hello() if "XCLIENT" in word], [])
            client.command(self.XCLIENT, 502)
            client.command("XCLIENT what", 502)

    def test_networks_and_limits(self):
        daemon = self.behind(RELAY_NETWORKS="198.51.100.0/24", MAX_SESSIONS_PER_ADDRESS=2)
        stranger = "XCLIENT ADDR=203.0.113.9"
        with harness.Client(daemon.port) as near, harness.Client(daemon.port) as one, \
                harness.Client(daemon.port) as two, harness.Client(daemon.port) as three:
            for client, words, code in ((near, self.XCLIENT, 250), (one, stranger, 550),
                                        (two, stranger, 550)):
                client.hello()
                client.command(words, 220)
                client.command("EHLO client.test", 250)
                client.command("MAIL FROM:<a@client.test>", 250)
                client.command("RCPT TO:<x@far.test>", code)
            three.hello()
            self.assertEqual(three.command(stranger), b"421 4.7.0 Server BUSY\r\n")
            self.assertEqual(three.rest(), b"")

    @contextlib.contextmanager
    def over_tls(self, daemon):
        """A proxy that has begun TLS."""
        with tls.Secure(daemon.port) as client:
            client.reply()
            client.command("EHLO proxy.test", 250)
            client.command("STARTTLS", 220)
            client.shake(tls.context())
            client.command("EHLO proxy.test", 250)
            yield client

    def test_over_tls(self):
        daemon = self.behind()
        with self.over_tls(daemon) as client:
            client.command(self.XCLIENT, 220)
            offered = client.command("EHLO client.test", 250)
            self.assertNotIn(b"STARTTLS", offered)
            self.assertEqual(client.send_message(b"y\r\n" * 50000)[:3], b"250")
            client.quit()
        for session in daemon.records("session", count=2):
            self.assertRegex(session.get("tls"), "^TLSv1")

    def test_handshakes_of_many(self):
        """They are its clients', not the proxy's own."""
        daemon = self.behind(TLS_HANDSHAKES_PER_ADDRESS=2)
        for number in range(5):
            with self.over_tls(daemon) as client:
                client.command("XCLIENT ADDR=198.51.100.%d" % number, 220)

    def test_told_on(self):
        for identity in "proxy2", "xclient":
            with case(identity), knower.Knower(header=identity == "proxy2") as server:
                daemon = self.behind("%s,identity=%s" % (server.place, identity))
                with harness.Client(daemon.port) as client:
                    client.hello()
                    client.command(self.XCLIENT + " DESTADDR=203.0.113.25 DESTPORT=25", 220)
                    client.command("EHLO client.test", 250)
                    self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                who = server.messages[0].who
                self.assertEqual((who["ADDR"], who["PORT"]), (CLIENT, "4321"))
                self.assertEqual((who["DESTADDR"], who["DESTPORT"]), ("203.0.113.25", "25"))

    def test_caronte_behind_caronte(self):
        inner = self.behind(LOG_LEVEL=2)
        with self.caronte("127.0.0.1:%d,identity=xclient" % inner.port) as outer, \
                harness.Client(outer.port, source=DIRECT) as client:
            client.hello()
            for _ in range(3):
                self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
            client.quit()
            for message in inner.records("message", count=3):
                self.assertTrue(message.get("client").startswith(DIRECT + ":"))

    def test_many(self):
        """Nothing of them stays."""
        daemon = self.behind(MAX_SESSIONS=20, WORKERS=1, MAX_SESSIONS_PER_ADDRESS=0)
        for number in range(100):
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command(self.XCLIENT, 220)
                if number % 2:
                    client.reset()
        with harness.Client(daemon.port) as client:
            client.hello()
            self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
        harness.wait_until(lambda: len(daemon.records("session")) >= 201)


class Told(harness.TestCase):
    """What people and programs hear of it."""
    dialogs = ("sniff",)
    each_engine = False

    def explain(self, *arguments, status=0):
        done = harness.ctl("explain", "-c", "/dev/null", "-o", "PROXY_FROM=127.0.0.1 10.0.0.0/8",
                           "-o", "USER=" + harness.DEFAULTS["USER"],
                           "-o", "RELAY_NETWORKS=198.51.100.0/24", *arguments,
                           "a@client.test", "x@far.test")
        self.assertEqual(done.returncode, status, (done.stdout, done.stderr))
        return done.stdout

    def test_explain(self):
        said = self.explain("--proxy", "10.1.2.3", CLIENT)
        self.assertIn("rule:     relay-network", said)
        self.assertIn("note:     by the word of 10.1.2.3, which is in PROXY_FROM", said)
        self.assertIn("rule:     relay-network", self.explain(CLIENT))
        said = self.explain("127.0.0.1", status=1)
        self.assertIn("because:  127.0.0.1 is in PROXY_FROM: a connection from there without a "
                      "header is", said)
        said = self.explain("-p", "192.0.2.1", CLIENT, status=1)
        self.assertIn("reply:    521 5.5.1 ", said)
        self.assertIn("because:  192.0.2.1 is in no network of PROXY_FROM", said)
        self.explain("-p", "nobody", CLIENT, status=harness.EX_USAGE)

    def test_faults(self):
        for value, fault in (("10.0.0.0/33", "prefix"), ("10.0.0.1,10.0.0.2", "blanks"),
                             ("/nonexistent", "No such file")):
            with case(value):
                done = harness.run_caronte("-t", "-c", "/dev/null",
                                           "-o", "DESTINATIONS=127.0.0.1:1",
                                           "-o", "USER=" + harness.DEFAULTS["USER"],
                                           "-o", "PROXY_FROM=" + value)
                self.assertEqual(done.returncode, harness.EX_CONFIG)
                self.assertRegex(done.stderr, "PROXY_FROM: .*" + fault)

    def test_status(self):
        control = self.new_dir("control")
        harness.give_to_user(control)
        with harness.Sink() as sink, self.caronte(
                "127.0.0.1:%d,identity=xforward" % sink.port,
                CONTROL_SOCKET=str(control / "socket")) as daemon:
            said = harness.ctl("status", "-c", daemon.conf).stdout
            self.assertIn("is told of the clients by xforward", said)


class Secure(tls.TlsCase):
    """The header comes before TLS."""

    def test_both(self):
        with harness.Sink() as sink, self.caronte(
                sink, LISTEN_TLS_PORT=(port := harness.free_port()),
                PROXY_FROM="127.0.0.1") as daemon:
            for first in True, False:
                with case(first), tls.Secure(port if first else daemon.port) as client:
                    client.send(header())
                    if not first:
                        client.reply()
                        client.command("EHLO client.test", 250)
                        client.command("STARTTLS", 220)
                    client.shake(tls.context())
                    if first:
                        client.reply()
                    client.command("EHLO client.test", 250)
                    self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                    client.quit()
            for session in daemon.records("session", count=2):
                self.assertEqual(session.get("client"), "198.51.100.7:4321")
                self.assertIsNotNone(session.get("tls"))
