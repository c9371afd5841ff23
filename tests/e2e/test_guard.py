# SPDX-License-Identifier: ISC
"""The relay guard: a stranger's mail goes to local recipients only, whatever form the address has
and whatever went before; each of three exceptions lets the same client through. What is refused,
the destination never hears of."""
import base64
import contextlib
import http.client
import re
import socket

import harness
import postfix
from puppet import case

DENIED = b"550 5.7.1 Relaying denied. \r\n"
FAR = "x@far.test"
USER, PASSWORD = "joe", "sEcret+wOrd"
AUTH = ("--auth", "%s:%s" % (USER, PASSWORD))


def coded(text):
    return base64.b64encode(text.encode()).decode()


def plain(password=PASSWORD, user=USER):
    return coded("\0%s\0%s" % (user, password))


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


class Guard(harness.TestCase):
    def rcpt(self, client, recipient=FAR):
        return client.command("RCPT TO:<%s>" % recipient)

    def try_far(self, port, before=(), address="127.0.0.1"):
        """What a client that has sent these commands gets for a recipient elsewhere."""
        with harness.Client(port, address) as client:
            client.hello()
            for line, code in before:
                client.command(line, code)
            client.command("MAIL FROM:<a@client.test>", 250)
            reply = self.rcpt(client)
            client.quit()
        return reply

    def check_unheard(self, sink, name=b"far.test"):
        """The destination has got no octet of it."""
        for number in range(1, sink.report()["connections"] + 1):
            self.assertNotIn(name, sink.raw(number))
        self.assertNotIn(name.decode(), "\n".join(sink.transcript()))


class Stranger(Guard):
    def test_refused_to_the_letter_at_every_place(self):
        with harness.Sink(*AUTH, maildir=True) as sink, \
                self.caronte(sink, MAX_ERRORS=1000) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("MAIL FROM:<a@client.test>", 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.command("RCPT TO:<b@local.test>", 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.command("RSET", 250)
                client.command("MAIL FROM:<a@client.test>", 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.command("EHLO again.test", 250)
                client.command("MAIL FROM:<>", 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.command("RSET", 250)
                self.assertEqual(client.send_message(b"one\r\n")[:3], b"250")
                client.command("MAIL FROM:<a@client.test>", 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.command("DATA", 554)
                client.command("HELO old.test", 250)
                client.command("MAIL FROM:<a@local.test>", 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.command("RSET", 250)
                client.command("AUTH PLAIN " + plain("wrong"), 535)  # there are devices that do so
                client.command("AUTH EXTERNAL =", 504)
                client.command("EHLO new.test", 250)
                client.command("AUTH PLAIN " + plain("wrong"), 535)
                client.command("MAIL FROM:<a@client.test>", 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.quit()
            self.check_unheard(sink)
            self.assertEqual(sink.mails(), [b"one\r\n"])
            refused = daemon.records("recipient", verdict="refuse", count=7)
            self.assertEqual(len(refused), 7)
            for record in refused:
                self.assertEqual((record.get("rule"), record.get("recipient"), record.get("reply")),
                                 ("relaying-denied", FAR, DENIED.decode().rstrip("\r\n")))

    def test_pipelined_groups(self):
        """Local and foreign recipients mixed: each answer at its place."""
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, MAX_ERRORS=1000) as daemon, \
                harness.Client(daemon.port) as client:
            client.hello()
            for pattern in ("f", "lf", "fl", "fff", "lflflfl", "ffffflfffff", "l" * 10 + "f" * 10):
                with case(pattern):
                    client.send(b"MAIL FROM:<a@client.test>\r\n" + b"".join(
                        b"RCPT TO:<u%d@%s.test>\r\n" % (number, b"far" if kind == "f" else b"local")
                        for number, kind in enumerate(pattern)) + b"DATA\r\n")
                    self.assertEqual(client.reply()[:3], b"250")
                    for kind in pattern:
                        reply = client.reply()
                        self.assertEqual(reply if kind == "f" else reply[:3],
                                         DENIED if kind == "f" else b"250")
                    if "l" in pattern:
                        self.assertEqual(client.reply()[:3], b"354")
                        client.send(b"text\r\n.\r\n")
                        self.assertEqual(client.reply()[:3], b"250")
                    else:
                        self.assertEqual(client.reply()[:3], b"554")
                        client.command("RSET", 250)
            client.quit()
            self.check_unheard(sink)
            self.assertEqual(len(sink.mails()), 5)

    def test_too_many_refusals_end_the_session(self):
        with harness.Sink() as sink, self.caronte(sink, MAX_ERRORS=4) as daemon, \
                harness.Client(daemon.port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", 250)
            for _ in range(3):
                self.assertEqual(self.rcpt(client), DENIED)
            client.send(b"RCPT TO:<x@far.test>\r\nRCPT TO:<b@local.test>\r\n")
            self.assertEqual(client.reply(), DENIED)
            self.assertEqual(client.reply()[:9], b"421 4.7.0")
            self.assertEqual(client.rest(), b"")
            client.close()
            self.assertEqual(daemon.record("session").get("end"), "limit")
            self.check_unheard(sink)


class Exceptions(Guard):
    def check_rules(self, daemon, *rules):
        self.assertEqual([(record.get("verdict"), record.get("rule"))
                          for record in daemon.records("recipient", count=len(rules))], list(rules))

    def test_login(self):
        ways = {
            "PLAIN, at once": [("AUTH PLAIN " + plain(), 235)],
            "PLAIN, asked": [("AUTH PLAIN", 334), (plain(), 235)],
            "LOGIN, asked": [("AUTH LOGIN", 334), (coded(USER), 334), (coded(PASSWORD), 235)],
            "LOGIN, at once": [("AUTH LOGIN " + coded(USER), 334), (coded(PASSWORD), 235)],
            "small letters": [("auth plain " + plain(), 235)],
            "after a failure": [("AUTH PLAIN " + plain("wrong"), 535),
                                ("AUTH PLAIN " + plain(), 235)],
            "then RSET": [("AUTH PLAIN " + plain(), 235), ("RSET", 250)],
            "then EHLO": [("AUTH PLAIN " + plain(), 235), ("EHLO again.test", 250)],
            "then again": [("AUTH PLAIN " + plain(), 235), ("AUTH PLAIN " + plain(), 503)],
            "then STARTTLS": [("AUTH PLAIN " + plain(), 235), ("STARTTLS", 503)],
        }
        with harness.Sink(*AUTH) as sink, self.caronte(sink) as daemon:
            for way, before in ways.items():
                with case(way):
                    self.assertEqual(self.try_far(daemon.port, before)[:3], b"250")
                    self.assertEqual(self.try_far(daemon.port), DENIED)  # another connection
            rules = [("accept", "login"), ("refuse", "relaying-denied")]
            self.check_rules(daemon, *rules * len(ways))
            self.assertEqual({r.get("login") for r in daemon.records("session")}, {USER, None})
            for record in daemon.records("login", verdict="accept"):
                self.assertEqual((record.get("name"), record.get("reply")[:3]), (USER, "235"))

    def test_a_failed_login_is_none(self):
        ways = {
            "wrong password": [("AUTH PLAIN " + plain("wrong"), 535)],
            "wrong user": [("AUTH LOGIN", 334), (coded("jim"), 334), (coded(PASSWORD), 535)],
            "cancelled": [("AUTH PLAIN", 334), ("*", 501)],
            "cancelled later": [("AUTH LOGIN", 334), (coded(USER), 334), ("*", 501)],
            "unknown mechanism": [("AUTH CRAM-MD5", 504)],
            "no mechanism": [("AUTH", 501)],
            "twice": [("AUTH PLAIN " + plain("wrong"), 535)] * 2,
        }
        with harness.Sink(*AUTH) as sink, self.caronte(sink) as daemon:
            for way, before in ways.items():
                with case(way):
                    self.assertEqual(self.try_far(daemon.port, before), DENIED)
            self.check_unheard(sink)
            sessions = daemon.records("session", count=len(ways))
            self.assertEqual({r.get("login") for r in sessions}, {None})
            self.assertEqual({r.get("verdict") for r in daemon.records("login")}, {"refuse"})

    def test_only_235_logs_in(self):
        disagreement = b"451 4.3.0 Destination answered out of order\r\n"
        malformed = b"451 4.3.0 Destination answered something malformed\r\n"
        answers = {"250 2.7.0 Fine": b"250 2.7.0 Fine\r\n", "200 Fine": b"200 Fine\r\n",
                   "234 Fine": b"234 Fine\r\n", "354 Fine": disagreement,
                   "250-235 Fine\\r\\n235 Fine": malformed, "2350 Fine": malformed}
        for answer, expected in answers.items():
            with harness.Sink(*AUTH, "--reply", "AUTH=" + answer) as sink, \
                    self.caronte(sink) as daemon, case(answer):
                with harness.Client(daemon.port) as client:
                    client.hello()
                    self.assertEqual(client.command("AUTH PLAIN " + plain()), expected)
                    if expected[:1] == b"4":  # the two sides disagree
                        self.assertEqual(client.rest(), b"")
                    else:
                        client.command("MAIL FROM:<a@client.test>", 250)
                        self.assertEqual(self.rcpt(client), DENIED)
                self.check_unheard(sink)
                self.assertEqual(daemon.record("login").get("verdict"), "refuse")

    def test_relay_networks(self):
        let_in = ["127.0.0.1", "127.0.0.0/8", "192.0.2.1 127.0.0.1/32 2001:db8::/32", "0.0.0.0/0",
                  "::ffff:127.0.0.0/104", ["# a file", "10.0.0.0/8", "", "127.0.0.0/30"]]
        left_out = ["", "127.0.0.2", "10.0.0.0/8 192.168.0.0/16", "::1", "128.0.0.0/1",
                    ["# 127.0.0.1"]]
        with harness.Sink() as sink:
            for networks in left_out + let_in:
                with case(networks), self.caronte(sink, RELAY_NETWORKS=networks) as daemon:
                    reply = self.try_far(daemon.port)
                    if networks in let_in:
                        self.assertEqual(reply[:3], b"250")
                        self.check_rules(daemon, ("accept", "relay-network"))
                    else:
                        self.assertEqual(reply, DENIED)
                        self.check_unheard(sink)

    def test_ipv6_networks(self):
        if not has_ipv6():
            self.skipTest("no IPv6 on loopback")
        with harness.Sink() as sink:
            for networks, lets_in in (("::1", True), ("::/64", True), ("127.0.0.1", False),
                                      ("0.0.0.0/0", False), ("::2", False)):
                with case(networks), self.caronte(sink, LISTEN_ADDRESS="::1",
                                                  RELAY_NETWORKS=networks) as daemon:
                    reply = self.try_far(daemon.port, address="::1")
                    self.assertEqual(reply[:3], b"250" if lets_in else b"550")
                    self.assertRegex(daemon.record("recipient").get("client"), r"^\[::1\]:\d+$")

    def test_recipients(self):
        with harness.Sink() as sink:
            for lines, lets_in in ((["x@far.test"], True), (["@FAR.test"], True),
                                   (["X@Far.Test."], True),
                                   (["y@far.test"], False), (["# @far.test"], False),
                                   (["@ar.test", "@far.tes", "@far", "@test"], False), ([], False)):
                with case(lines), self.caronte(sink, RECIPIENTS=lines) as daemon:
                    reply = self.try_far(daemon.port)
                    self.assertEqual(reply[:3], b"250" if lets_in else b"550")
                    self.check_rules(daemon, ("accept", "recipient") if lets_in else
                                     ("refuse", "unknown-user" if lines == ["y@far.test"]
                                      else "relaying-denied"))

    def test_extensions(self):
        """RECIPIENT_DELIMITER: what is judged without its extension goes on with it."""
        forms = {"<joe+news@local.test>": True, "<JOE+a+b@local.test>": True,
                 "<joes+a@local.test>": False, "<+joe@local.test>": False,
                 "<joe%far.test+x@local.test>": False, '<"joe+x"@local.test>': False,
                 "<prvs=1234abcdef=joe@local.test>": False, "<joe-x@local.test>": False}
        bounces = {"<prvs=1234abcdef=joe@local.test>": True,
                   "<prvs=1234abcdef=ann@local.test>": False,
                   "<joe+news@local.test>": True}
        with harness.Sink() as sink:
            for delimiter, names in ("+", forms), ("", dict.fromkeys(forms, False)):
                with case(delimiter), self.caronte(
                        sink, RECIPIENTS=["joe@local.test"], RECIPIENT_DELIMITER=delimiter,
                        MAX_ERRORS=1000) as daemon, harness.Client(daemon.port) as client:
                    client.hello()
                    client.command("MAIL FROM:<a@client.test>", 250)
                    for path, taken in names.items():
                        reply = client.command("RCPT TO:" + path)
                        self.assertEqual(reply[:3] if taken else reply,
                                         b"250" if taken else DENIED, path)
                    client.command("RSET", 250)
                    client.command("MAIL FROM:<>", 250)
                    for path, taken in bounces.items():
                        reply = client.command("RCPT TO:" + path)
                        self.assertEqual(reply[:3], b"250" if taken and delimiter else b"550", path)
                    client.quit()
            heard = [line.partition(":")[2] for line in sink.commands() if line[:4] == "RCPT"]
            self.assertEqual(heard, [path for path, taken in [*forms.items(), *bounces.items()]
                                     if taken])

    def test_guard_off(self):
        with harness.Sink() as sink, self.caronte(sink, RELAY_GUARD=False) as daemon:
            self.assertEqual(self.try_far(daemon.port)[:3], b"250")
            self.check_rules(daemon, ("accept", "guard-off"))
            self.assertEqual(len(daemon.records("fault")), 1)
            self.assertRegex(daemon.stderr(), r"(?m)^caronte: .*RELAY_GUARD.* off")

    def test_the_destinations_own_refusal_is_said_so(self):
        with harness.Sink("--reply", "RCPT:full@=452 4.2.2 Mailbox full") as sink, \
                self.caronte(sink) as daemon, harness.Client(daemon.port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", 250)
            self.assertEqual(self.rcpt(client, "full@local.test"), b"452 4.2.2 Mailbox full\r\n")
            client.quit()
            self.check_rules(daemon, ("refuse", "destination"))


class Addresses(Guard):
    """Forms of an address, each as one RCPT of a stranger. @local.test is local."""

    TABLE = ["@local.test", "exact%route@local.test", '"quo@ted"@local.test', "only@one.test"]
    LOCAL = {  # what the destination gets
        "<b@local.test>": "<b@local.test>", " <b@local.test>": "<b@local.test>",
        "<b@local.test.>": "<b@local.test>", "<B@LOCAL.TEST>": "<B@LOCAL.TEST>",
        "<postmaster>": "<postmaster>", "<PostMaster>": "<postmaster>",
        "<postmaster@local.test>": "<postmaster@local.test>",
        "<postmaster@one.test>": "<postmaster@one.test>",
        "<only@one.test>": "<only@one.test>", '<"b"@local.test>': '<"b"@local.test>',
        "<exact%route@local.test>": "<exact%route@local.test>",
        "<EXACT%Route@Local.test>": "<EXACT%Route@Local.test>",
        '<"quo@ted"@local.test>': '<"quo@ted"@local.test>', "<%s@local.test>" % ("l" * 243): None,
    }
    STRANGE = [
        "<x@far.test>", "<b@local.test.far.test>", "<b@far.local.test>", "<b@xlocal.test>",
        "<b@local.tes>",
        "<b@local.testx>", "<postmaster@far.test>", "<other@one.test>", "<b@[127.0.0.1]>",
        "<u%far.test@local.test>", "<far.test!u@local.test>", '<"u@far.test"@local.test>',
        '<"u%far.test"@local.test>', '<"far.test!u"@local.test>', '<"u:far"@local.test>',
        '<"u\\\\far"@local.test>', "<u%x%far.test@local.test>", "<exact%route@one.test>",
        "<far!exact%route@local.test>", "<postmaster%far.test@local.test>",
        "<=?utf-8?q?u=25far.test?=@local.test>", '<"=?utf-8?b?dUBmYXIudGVzdA==?="@local.test>',
    ]
    BAD = [
        "<u@far.test@local.test>", "<u\\@far.test@local.test>", "<b@local.test@far.test>",
        "<@far.test:b@local.test>", "<@local.test:x@far.test>", "<@a.test,@b.test:b@local.test>",
        "b@local.test", "<b@local.test", "b@local.test>", "<<b@local.test>>",
        "<b@local.test>x@far.test", "<b@local.test><x@far.test>", "<b@local.test,x@far.test>",
        "  <b@local.test>", "\t<b@local.test>", "x <b@local.test>", '"Name" <b@local.test>',
        "<b @local.test>", "<b@local.test >", "< b@local.test>", "<b(x)@local.test>",
        "<b@local.test(far)>", "<b@local.test\x01>", "<b\x7f@local.test>", "<b>", "<b@>",
        "<@local.test>", '<""@local.test>', "<>", "<", "", "<%s@local.test>" % ("l" * 244),
        "<b@%s.test>" % ("d" * 64 + "." + "d" * 250), "<u:far.test@local.test>", "<b@local.test..>",
        "<b@.local.test>", '<"b@local.test>', '<b"@local.test>', '<b."x@far.test"@local.test>',
    ]
    BESIDE = ["<b@local.test> <x@far.test>", "<b@local.test> x@far.test",
              "<b@local.test> ,<x@far.test>"]

    def one(self, client, path):
        client.command("RSET", 250)
        client.command("MAIL FROM:<a@client.test>", 250)
        return client.command(b"RCPT TO:" + path.encode())

    def test_forms(self):
        with harness.Sink() as sink, \
                self.caronte(sink, RECIPIENTS=self.TABLE, MAX_ERRORS=100000) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                for path in self.LOCAL:
                    with case(path):
                        self.assertEqual(self.one(client, path)[:3], b"250")
                for path in self.STRANGE:
                    with case(path):
                        self.assertEqual(self.one(client, path), DENIED)
                for path in self.BAD:
                    with case(path):
                        self.assertEqual(self.one(client, path)[:9], b"501 5.1.3")
                for path in self.BESIDE:
                    with case(path):
                        self.assertRegex(self.one(client, path),
                                         b"^(501 5.1.3|555 5.5.4|501 5.5.4) ")
                client.quit()
            self.assertEqual([line.partition(":")[2] for line in sink.commands()
                              if line[:4] == "RCPT"],
                             [sent or given for given, sent in self.LOCAL.items()])

    def test_senders_are_no_exception(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon, \
                harness.Client(daemon.port) as client:
            client.hello()
            for sender in ("<>", "<postmaster@local.test>", "<b@local.test>",
                           "<joe@far.test> AUTH=<joe>"):
                client.command("MAIL FROM:" + sender)
                client.command("RSET", 250)
                client.command("MAIL FROM:" + sender.split()[0], 250)
                self.assertEqual(self.rcpt(client), DENIED)
                client.command("RSET", 250)
            client.quit()
            self.check_unheard(sink, b"x@far.test")

    def test_nothing_that_is_let_through_leaves_a_real_postfix(self):
        """Postfix trusts us: whatever it reads as an address elsewhere it would relay."""
        paths = [*self.LOCAL, *self.STRANGE, *self.BAD, *self.BESIDE]
        table = ["@local.test", "only@one.test"]
        with postfix.Postfix() as server, \
                self.caronte(server, RECIPIENTS=table, MAX_ERRORS=100000) as daemon:
            taken = 0
            with harness.Client(daemon.port) as client:
                client.hello()
                for path in paths:
                    if self.one(client, path)[:3] == b"250":
                        client.command("DATA", 354)
                        client.command("Subject: x\r\n\r\nx\r\n.", 250)
                        taken += 1
                client.quit()
            self.assertGreater(taken, 8)
            harness.wait_until(lambda: server.log().count(": removed\n") >= taken)
            self.assertEqual(re.findall(r".*postfix/discard.*", server.log()), [])
            self.assertEqual(len(server.mails(taken)), taken)


class OtherProtocols(Guard):
    """From a relay network, where one RCPT would do: whoever cannot speak SMTP is not heard."""

    SMTP = (b"EHLO x\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<x@far.test>\r\nDATA\r\n"
            b"Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")

    def test_http(self):
        """A web application that can be told what to fetch, and with which body."""
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, RELAY_NETWORKS="127.0.0.0/8") as daemon:
            for method in "GET", "POST", "PUT":
                with case(method):
                    web = http.client.HTTPConnection("127.0.0.1", daemon.port,
                                                     timeout=harness.PATIENCE_S)
                    with contextlib.suppress(OSError):
                        web.request(method, "/", body=self.SMTP)
                    with contextlib.suppress(http.client.HTTPException, OSError):
                        web.getresponse()
                    web.close()
            for record in daemon.records("session", count=3):
                self.assertEqual((record.get("end"), record.get("reason")), ("protocol", "http"))
            self.assertEqual(sink.mails(), [])
            self.check_unheard(sink)

    def test_proxy_headers(self):
        """The fault that tells of a balancer comes once, its sessions go no further."""
        headers = {"1": b"PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\r\n",
                   "2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x19"
                        b"\x9c\x40\0\x19"}
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, RELAY_NETWORKS="127.0.0.0/8", WORKERS=1) as daemon:
            for version, header in headers.items():
                for step in 1, 1000:
                    with case((version, step)), harness.Client(daemon.port) as client:
                        octets = header + self.SMTP
                        for at in range(0, len(octets), step):
                            with contextlib.suppress(OSError):
                                client.send(octets[at:at + step])
                        if not client.reply().startswith(b"521"):
                            self.assertEqual(client.reply()[:9], b"521 5.5.1")
            for record in daemon.records("session", count=4):
                self.assertEqual((record.get("end"), record.get("reason")),
                                 ("protocol", "proxy-header"))
            fault, = daemon.records("fault", what="proxy-header")
            self.assertIn("127.0.0.1", fault.get("detail"))
            self.assertEqual(sink.mails(), [])
            self.check_unheard(sink)


class Credentials(Guard):
    """Passwords and what carries them are in no log, not even at level 3."""

    FORMS = [  # lines of one session each; None: whatever comes, the session may have ended
        ["EHLO c", "AUTH PLAIN " + plain()],
        ["EHLO c", "AUTH PLAIN", plain()],
        ["EHLO c", "AUTH LOGIN", coded(USER), coded(PASSWORD)],
        ["EHLO c", "AUTH LOGIN " + coded(USER), coded(PASSWORD)],
        ["EHLO c", "auth login", coded(USER), coded(PASSWORD)],
        ["EHLO c", "AUTH PLAIN " + plain("wrong"), PASSWORD, coded(PASSWORD), plain()],
        ["EHLO c", "AUTH LOGIN", coded(USER), coded("wrong"), PASSWORD, PASSWORD + " x",
         coded(PASSWORD)],
        ["EHLO c", "AUTH LOGIN", "*", PASSWORD, coded(PASSWORD)],
        ["EHLO c", "AUTH PLAIN", PASSWORD],
        ["EHLO c", "AUTH LOGIN", coded(USER), " " + coded(PASSWORD)],
        ["EHLO c", "AUTH LOGIN", coded(USER), PASSWORD + " in two words"],
        ["EHLO c", "AUTH XOAUTH2 " + plain(), coded(PASSWORD)],
        ["EHLO c", "AUTH " + plain()],
        ["EHLO c", "AUTH " + PASSWORD],
        ["EHLO c", "AUTH PLAIN %s %s" % (plain(), coded(PASSWORD)), PASSWORD],
        ["EHLO c", "AUTH  PLAIN  " + plain()],
        ["EHLO c", "AUTH\tPLAIN\t" + plain()],
        ["EHLO c", " AUTH PLAIN " + plain()],
        ["EHLO c", "AUTH PLAIN\t" + plain()],
        ["EHLO c", "AUTH PLAIN=" + plain()],
        ["EHLO c", "AUTH:PLAIN " + plain()],
        ["EHLO c", "AUTH PLAIN " + plain() + " "],
        ["EHLO c", "AUTH PLAIN " + plain() + "\r", "x"],
        ["EHLO c", "AUTH PLAIN " + plain() + "\nAUTH PLAIN " + plain()],
        ["EHLO c", "AUTH PLAIN \0" + plain()],
        ["EHLO c", "AUTH PLAIN " + plain() * 400],
        ["EHLO c", "AUTH PLAIN", plain() * 2000],
        ["AUTH PLAIN " + plain(), PASSWORD, coded(PASSWORD)],
        ["HELO c", "AUTH PLAIN " + plain(), plain()],
        ["EHLO c", "MAIL FROM:<a@c>", "AUTH PLAIN " + plain(), PASSWORD],
        ["EHLO c", "AUTH PLAIN " + plain(), "AUTH PLAIN " + plain(), plain(), PASSWORD],
        ["EHLO c", "AUTH PLAIN " + plain() + "\r\nAUTH PLAIN " + plain()],
        ["EHLO c", "AUTH LOGIN\r\n" + coded(USER) + "\r\n" + coded(PASSWORD)],
        ["EHLO c", "AUTH LOGIN", coded(USER) + "\r\n" + coded(PASSWORD)],
    ]

    def try_form(self, port, lines, cut):
        """Sends each line once the one before it has its answer; CUT: the last one has no end."""
        with harness.Client(port) as client:
            client.reply()
            for line in lines[:-1]:
                client.send(line.encode() + b"\r\n")
                if not client.reply():
                    return
            client.send(lines[-1].encode() + b"\r\n" * (not cut))
            if cut:
                client.end()
                client.rest()
            else:
                client.reply()

    def check(self, daemon):
        wanted = [PASSWORD, coded(PASSWORD), plain(), coded(PASSWORD).rstrip("="), plain()[:-4]]
        texts = [path.read_text("latin-1") for path in daemon.logs()]
        texts += [daemon.stderr(), daemon.stdout()]
        for text in texts:
            for secret in wanted:
                at = text.lower().find(secret.lower())
                self.assertEqual(at, -1, text[max(at - 200, 0):at + 100])

    def test_in_no_log(self):
        with harness.Sink(*AUTH) as sink, self.caronte(sink, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            for count, lines in enumerate(self.FORMS, 1):
                for cut in (False, True):
                    with case(lines, cut):
                        self.try_form(daemon.port, lines, cut)
                        daemon.records("session", count=2 * count - (not cut))
                        self.check(daemon)

    def test_where_the_destination_offers_no_login(self):
        with harness.Sink() as sink, self.caronte(sink, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            for count, lines in enumerate(self.FORMS, 1):
                with case(lines):
                    self.try_form(daemon.port, lines, False)
                    daemon.records("session", count=count)
                    self.check(daemon)

    def test_each_attempt_is_a_record(self):
        with harness.Sink(*AUTH) as sink, self.caronte(sink, LOG_LEVEL=1) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.command("AUTH LOGIN", 334)
                client.command(coded("jim"), 334)
                client.command(coded("wrong"), 535)
                client.command("AUTH PLAIN", 334)
                client.command("*", 501)
                client.command("AUTH CRAM-MD5", 504)
                client.command("AUTH PLAIN " + plain(), 235)
                name = "%s:%d" % client.socket.getsockname()
                client.quit()
            records = daemon.records("login", count=4)
            self.assertEqual([(r.get("mechanism"), r.get("name"), r.get("verdict"),
                               r.get("reply")[:3],
                               r.get("client")) for r in records],
                             [("LOGIN", "jim", "refuse", "535", name),
                              ("PLAIN", None, "refuse", "501", name),
                              ("CRAM-MD5", None, "refuse", "504", name),
                              ("PLAIN", USER, "accept", "235", name)])
            self.assertEqual(daemon.record("session").get("login"), USER)
