# SPDX-License-Identifier: ISC
"""identity= of DESTINATIONS: the destination is told whose connection it is, and its own rules hold
for strangers again. See caronte.conf(5)."""
import concurrent.futures
import contextlib
import itertools
import json
import random
import re
import time

import exim
import harness
import knower
import namespace
import opensmtpd
import postfix
import tls
from puppet import case

STRANGER = "192.0.2.1"  # an address of this host that no server here trusts
BODY = b"Subject: t\r\n\r\ntext\r\n"
RULES = "permit_mynetworks, reject_unauth_destination"
XFORWARD_ALONE = "XFORWARD NAME ADDR"  # and no PIPELINING
PROXIED = "-o smtpd_upstream_proxy_protocol=haproxy"


class Servers(harness.TestCase):
    """Real ones, which trust our own address, and do the relay's work themselves."""

    @classmethod
    def setUpClass(cls):
        namespace.enter()

    def through(self, server, identity, **settings):
        return self.caronte("127.0.0.1:%d,identity=%s" % (server.port, identity),
                            LISTEN_ADDRESS="0.0.0.0", RELAY_GUARD=False, **settings)

    def exchange(self, daemon):
        """The stranger relays nothing, and its message for a local user arrives; a client of the
        server's own network relays."""
        with harness.Client(daemon.port, address=STRANGER) as client:
            client.hello("stranger.test")
            client.command("MAIL FROM:<a@client.test>", 250)
            self.assertEqual(client.command("RCPT TO:<x@far.test>")[:3], b"554")
            client.command("RCPT TO:<b@local.test>", 250)
            client.command("DATA", 354)
            client.send(BODY + b".\r\n")
            self.assertEqual(client.reply()[:3], b"250")
            client.quit()
        with harness.Client(daemon.port) as client:
            client.hello("near.test")
            self.assertEqual(client.send_message(BODY, recipients=["x@far.test"])[:3], b"250")
            client.quit()

    def test_postfix_forward(self):
        """Its log names the client; its rules see us."""
        with Server(smtpd_authorized_xforward_hosts="127.0.0.1") as server, \
                self.caronte("127.0.0.1:%d,identity=xforward" % server.port,
                             LISTEN_ADDRESS="0.0.0.0") as daemon:
            for source in STRANGER, "127.0.0.1":
                with harness.Client(daemon.port, address=source) as client:
                    client.hello("stra+nger.test")
                    for _ in range(2):
                        self.assertEqual(client.send_message(BODY)[:3], b"250")
                    client.quit()
            self.assertEqual(server.mails(4), [BODY] * 4)
            self.assertNotIn("warning", server.has_logged("orig_client=unknown[192.0.2.1]"))

    def test_postfix(self):
        listeners = {"xclient": postfix.LISTENER,
                     "proxy1": postfix.LISTENER.replace("smtpd\n", "smtpd %s\n" % PROXIED),
                     "proxy2": postfix.LISTENER.replace("smtpd\n", "smtpd %s\n" % PROXIED)}
        for identity, listener in listeners.items():
            with case(identity), Server(listener=listener,
                                        smtpd_authorized_xclient_hosts="127.0.0.1",
                                        smtpd_relay_restrictions=RULES,
                                        smtpd_recipient_restrictions=RULES) as server:
                with self.through(server, identity) as daemon:
                    self.exchange(daemon)
                    self.assertEqual(server.mails(1), [BODY])
                    self.assertRegex(server.raw()[0], rb"Received: from stranger\.test \(unknown "
                                           rb"\[192\.0\.2\.1\]\)")
                    self.assertNotIn("warning", server.has_logged("client=unknown[192.0.2.1]"))


    def relayed(self, daemon, refused):
        """As exchange(), with servers that have other words."""
        for source, recipient, code in ((STRANGER, "x@far.test", refused),
                                        (STRANGER, "b@local.test", b"250"),
                                        ("127.0.0.1", "x@far.test", b"250")):
            with case(source, recipient), harness.Client(daemon.port, address=source) as client:
                self.transact(client, recipient, code)

    def transact(self, client, recipient, code):
        client.hello("client.test")
        client.command("MAIL FROM:<a@client.test>", 250)
        self.assertEqual(client.command("RCPT TO:<%s>" % recipient)[:3], code)
        if code == b"250":
            client.command("DATA", 354)
            client.send(BODY + b".\r\n")
            self.assertEqual(client.reply()[:3], b"250")
        client.quit()

    def test_exim(self):
        for identity in "proxy1", "proxy2":
            with case(identity), exim.Heavy("127.0.0.1") as server, \
                    self.through(server, identity) as daemon:
                self.relayed(daemon, b"550")
                self.assertEqual(server.mails(1), [BODY])
                server.has_logged("H=(client.test) [192.0.2.1]")

    def test_opensmtpd(self):
        """The clients come by a balancer: OpenSMTPD takes each address of this host for itself."""
        rules = opensmtpd.RULES.replace("port 225", "port 225 proxy-v2") + \
            "match from any for domain \"local.test\" action box\n"
        with Prompted(rules) as server, self.through(server, "proxy2",
                                                     PROXY_FROM="127.0.0.1") as daemon:
            for source, recipient, code in (("198.51.100.7", "x@far.test", b"550"),
                                            ("198.51.100.7", "b@local.test", b"250"),
                                            ("127.0.0.1", "x@far.test", b"250")):
                with case(source, recipient), harness.Client(daemon.port) as client:
                    client.send(b"PROXY TCP4 %s 127.0.0.1 4321 25\r\n" % source.encode())
                    self.transact(client, recipient, code)
            self.assertRegex(server.mails(1)[0], b"(?s)^Subject: t\r\n.*text\r\n$")
            server.has_logged("address=198.51.100.7")


class Secure(tls.TlsCase):
    """The same by TLS: a header comes before it, XCLIENT behind it."""

    def test_postfix(self):
        where = self.new_dir("server")
        chain, key = tls.make_pair(where)
        where.chmod(0o755)
        for identity, wraps in itertools.product(("proxy1", "proxy2", "xclient"), (False, True)):
            listener = postfix.LISTENER.replace("smtpd\n", "smtpd%s%s\n" % (
                " " + PROXIED if identity != "xclient" else "",
                " -o smtpd_tls_wrappermode=yes" if wraps else ""))
            with case(identity, wraps), Silent(
                    listener=listener, smtpd_authorized_xclient_hosts="127.0.0.1",
                    smtpd_relay_restrictions=RULES, smtpd_recipient_restrictions=RULES,
                    smtpd_tls_security_level="encrypt",
                    smtpd_tls_chain_files="%s,%s" % (key, chain)) as server:
                options = "tls=verify,name=mx.test,identity=" + identity + ",wrap" * wraps
                with self.caronte("127.0.0.1:%d,%s" % (server.port, options), RELAY_GUARD=False,
                                  PROXY_FROM="127.0.0.1", TLS_DESTINATION_CA_FILE=str(chain)) \
                        as daemon, harness.Client(daemon.port) as client:
                    client.send(b"PROXY TCP4 198.51.100.7 127.0.0.1 4321 25\r\n")
                    client.hello("stranger.test")
                    client.command("MAIL FROM:<a@client.test>", 250)
                    self.assertEqual(client.command("RCPT TO:<x@far.test>")[:3], b"554")
                    client.command("RCPT TO:<b@local.test>", 250)
                    client.command("DATA", 354)
                    client.send(BODY + b".\r\n")
                    self.assertEqual(client.reply()[:3], b"250")
                    client.quit()
                    self.assertRegex(daemon.record("session").get("destination-tls"), "^TLSv1")
                server.has_logged("client=unknown[198.51.100.7]")

    def test_offered_behind_starttls_alone(self):
        """What is offered in clear counts for nothing."""
        where = self.new_dir("server")
        chain, key = tls.make_pair(where)
        where.chmod(0o755)
        for level, reply in (("may", b"220"), ("none", b"421")):
            with case(level), postfix.Postfix(
                    smtpd_authorized_xclient_hosts="127.0.0.1" if level == "may" else "",
                    smtpd_tls_security_level=level,
                    smtpd_tls_chain_files="%s,%s" % (key, chain)) as server, \
                    self.caronte("127.0.0.1:%d,tls=may,identity=xclient" % server.port) as daemon, \
                    harness.Client(daemon.port) as client:
                client.begin()
                self.assertEqual(client.reply()[:3],
                                 b"250" if self.gateway and reply == b"220" else reply)


class Known(harness.TestCase):
    """Whom a destination of the test's own takes the client for."""

    def told(self, identity, **odd):
        """The server, a daemon before it and a client that has sent two messages."""
        server = self.enterContext(knower.Knower(header=identity.startswith("proxy"), **odd))
        daemon = self.enterContext(self.caronte("%s,identity=%s" % (server.place, identity)))
        with harness.Client(daemon.port) as client:
            client.hello()
            for _ in range(2):
                self.assertEqual(client.send_message(BODY)[:3], b"250")
            port = str(client.socket.getsockname()[1])
            client.quit()
        session = daemon.record("session")
        self.assertEqual(server.faults, [])
        self.assertEqual(daemon.records("fault"), [])
        self.assertEqual(len(server.messages), 2)
        return server, daemon, port, session

    def test_by_header(self):
        for identity in "proxy1", "proxy2":
            with case(identity):
                server, daemon, port, session = self.told(identity)
                for message in server.messages:
                    self.assertEqual(message.who["ADDR"], "127.0.0.1")
                    self.assertEqual(message.who["PORT"], port)
                    self.assertEqual(message.who["DESTPORT"], str(daemon.port))
                    self.assertEqual(message.helo, "client.test")
                    if identity == "proxy2":
                        self.assertEqual(message.who[5].decode(), session.get("session"))

    def test_by_xclient(self):
        server, daemon, port, _ = self.told("xclient")
        for message in server.messages:
            self.assertEqual(message.who, {
                "NAME": "[UNAVAILABLE]", "ADDR": "127.0.0.1", "PORT": port,
                "DESTADDR": "127.0.0.1", "DESTPORT": str(daemon.port)})
            self.assertEqual(message.helo, "client.test")
        # It is said once for a client.
        self.assertEqual(len(server.heard("XCLIENT")), 1)

    def test_by_xforward(self):
        server, _, port, session = self.told("xforward")
        for message in server.messages:
            self.assertEqual(message.who, {
                "NAME": "[UNAVAILABLE]", "ADDR": "127.0.0.1", "PORT": port, "PROTO": "ESMTP",
                "HELO": "client.test", "SOURCE": "REMOTE", "IDENT": session.get("session")})
        self.assertEqual(len(server.heard("XFORWARD")), 2)

    def test_in_pieces(self):
        self.told("xclient", cut=True)

    def test_what_counts_is_offered_afterwards(self):
        server = self.enterContext(knower.Knower(after="PIPELINING\nXCLIENT ADDR"))
        daemon = self.enterContext(self.caronte("%s,identity=xclient" % server.place))
        with harness.Client(daemon.port) as client:
            offered = client.hello()
            client.command("MAIL FROM:<a@client.test> BODY=8BITMIME",
                           self.by_dialog(sniff=555, gateway=250))
            if self.gateway:  # what clients are offered is what the destination offers us
                client.command("RCPT TO:<b@local.test>", 451)
            else:
                self.assertEqual([word for word in offered if "SIZE" in word or "8BIT" in word], [])
        self.assertEqual(server.messages, [])


class Crowd(harness.TestCase):
    """Many clients over few connections, which are cut off at random: no message is ever under
    another client's identity, at the destination's own word."""
    CLIENTS, AT_A_TIME = 1000 if harness.LONG else 200, 8

    def client(self, daemon, number, done):
        """Says in each message who it is; comes again until both are taken."""
        chance = random.Random(number)
        taken = 0
        while taken < 2:
            with contextlib.suppress(OSError, AssertionError), \
                    harness.Client(daemon.port) as client:
                port = client.socket.getsockname()[1]
                client.hello("c%d.test" % number)
                while taken < 2:
                    reply = client.send_message(
                        BODY, sender="p%d@c%d.test" % (port, number))
                    if reply[:3] != b"250":
                        break
                    taken += 1
                    done.append((number, port))
                if chance.random() < 0.5:
                    client.quit()
            time.sleep(0.01)

    def storm(self, identity, kill_one_in, **odd):
        chance = random.Random(7)
        server = self.enterContext(knower.Knower(
            kill=lambda: chance.randrange(kill_one_in) == 0, **odd))
        daemon = self.enterContext(self.caronte(
            "%s,identity=%s" % (server.place, identity), MAX_SESSIONS_PER_ADDRESS=0,
            TIMEOUT_CONNECT=30, MAX_ERRORS=1000, LOG_LEVEL=1))
        done = []
        with concurrent.futures.ThreadPoolExecutor(self.AT_A_TIME) as pool:
            list(pool.map(lambda number: self.client(daemon, number, done), range(self.CLIENTS)))
        self.assertEqual(len(done), 2 * self.CLIENTS)
        self.assertEqual(server.faults, [])
        self.assertGreater(server.cut, 10)
        for message in server.messages:
            number = message.sender.partition("@c")[2].partition(".")[0]
            self.assertEqual(message.who["PORT"], message.sender[1:].partition("@")[0])
            self.assertEqual(message.who["ADDR"], "127.0.0.1")
            self.assertEqual(message.helo, self.helo(identity, number))
        # What was promised is there, each under its own client.
        there = {message.sender for message in server.messages}
        self.assertLessEqual({"p%d@c%d.test" % (port, number) for number, port in done}, there)
        return server

    def helo(self, identity, number):
        return "caronte.test" if self.gateway and identity == "xforward" else "c%s.test" % number

    def test_xclient(self):
        server = self.storm("xclient", 60)
        if self.gateway:  # connections went from client to client
            self.assertLess(server.connections, 2 * len(server.heard("XCLIENT")) // 3)

    def test_xclient_that_is_taken_once(self):
        """As Postfix does: behind it, it is not offered."""
        self.storm("xclient", 100, after="PIPELINING")

    def test_xforward(self):
        self.storm("xforward", 60)

    def test_header(self):
        self.storm("proxy2", 60, header=True)


class Refused(harness.TestCase):
    """The destination is not told: no mail goes there, and the operator learns why."""

    def refused(self, server, options, why, settings=None, reply=b"421 4.3.2 "):
        with self.caronte("%s,%s" % (server.place, options), **settings or {}) as daemon:
            with harness.Client(daemon.port) as client:
                client.begin()
                self.assertEqual(client.reply()[:len(reply)], reply)
                self.assertEqual(client.rest(), b"")
            session = daemon.record("session")
            self.assertEqual((session.get("end"), session.get("reason")),
                             ("lost-destination", "identity"))
            self.assertRegex(daemon.records("fault", count=1, what="identity")[0].get("detail"),
                             "^%s: %s" % (re.escape(server.place), why))
        self.assertEqual(server.messages, [])
        self.assertEqual(server.heard("MAIL") + server.heard("RCPT"), [])

    def test_not_offered(self):
        for extensions in "PIPELINING", "", "XCLIENT NAME PORT", "XFORWARD NAME ADDR":
            with case(extensions), knower.Knower(extensions=extensions) as server:
                self.refused(server, "identity=xclient", "it does not offer XCLIENT with ADDR")

    def test_status(self):
        """Until it takes a message of a client that it was told of."""
        control = self.new_dir("control") / "socket"
        harness.give_to_user(control.parent)
        for identity in "xclient", "xforward":
            with case(identity), knower.Knower(extensions="PIPELINING") as server, \
                    self.caronte("%s,identity=%s" % (server.place, identity),
                                 CONTROL_SOCKET=str(control)) as daemon:
                self.assertFalse(self.is_served(daemon))
                self.assertTrue(self.unidentified(daemon))
                self.assertIn("could not be told to it", self.status(daemon))
                self.assertIn("could not be told to " + server.place,
                              self.status(daemon, "--check"))
                server.odd.clear()
                harness.wait_until(lambda: self.is_served(daemon))
                harness.wait_until(lambda: not self.unidentified(daemon))

    def is_served(self, daemon):
        with harness.Client(daemon.port) as client, contextlib.suppress(AssertionError):
            client.hello()
            return client.send_message(BODY)[:3] == b"250"
        return False

    def status(self, daemon, *options):
        return harness.ctl("status", "-c", daemon.conf, *options).stdout

    def unidentified(self, daemon):
        return json.loads(self.status(daemon, "--json"))["destinations"][0]["unidentified"]

    def test_answered_in_any_other_way(self):
        for reply in (b"550 5.7.0 no\r\n", b"501 5.5.4 no\r\n", b"503 5.5.1 no\r\n",
                      b"250 2.0.0 Ok\r\n", b"354 go\r\n", b"220 a\r\n220 b\r\n", b"what?\r\n"):
            with case(reply), knower.Knower(xclient=reply) as server:
                self.refused(server, "identity=xclient", "")

    def test_closed(self):
        with knower.Knower(close=True) as server:
            # A connection of the pool may have been closed for another reason.
            self.refused(server, "identity=xclient", "XCLIENT gets no answer: the connection is ")

    def test_late(self):
        with knower.Knower(xclient=b"") as server:
            self.refused(server, "identity=xclient", "XCLIENT gets no answer in time",
                         {"TIMEOUT_REPLY": 1, "MAX_SESSIONS": 50})

    def test_xforward_not_offered(self):
        for extensions in "PIPELINING", "PIPELINING\nXFORWARD NAME", XFORWARD_ALONE:
            with case(extensions), knower.Knower(extensions=extensions) as server, \
                    self.caronte("%s,identity=xforward" % server.place) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                if self.gateway:
                    client.command("MAIL FROM:<a@client.test>", 250)
                    client.command("RCPT TO:<b@local.test>", 421)
                else:
                    client.command("MAIL FROM:<a@client.test>", 421)
                self.assertEqual(client.rest(), b"")
                self.assertEqual(daemon.record("session").get("reason"), "identity")
                refused = daemon.record(self.by_dialog("refusal", "recipient"))
                self.assertEqual((refused.get("command"), refused.get("sender")),
                                 (self.by_dialog("mail", None), "a@client.test"))
                daemon.records("fault", count=1, what="identity")
                self.assertEqual(server.heard("MAIL"), [])

    def test_xforward_refused(self):
        for reply in b"550 5.7.0 no\r\n", b"503 5.5.1 no\r\n", b"450 4.7.0 later\r\n":
            with case(reply), knower.Knower(xforward=reply) as server, \
                    self.caronte("%s,identity=xforward" % server.place) as daemon, \
                    harness.Client(daemon.port) as client:
                client.hello()
                client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@local.test>\r\n")
                if self.gateway:
                    self.assertEqual(client.reply()[:3], b"250")
                self.assertEqual(client.reply()[:10], b"421 4.3.2 ")
                self.assertEqual(client.rest(), b"")
                self.assertEqual(daemon.record("session").get("reason"), "identity")
                daemon.records("fault", count=1, what="identity")
                self.assertEqual(server.messages, [])

    def test_verdict_on_the_client(self):
        """It is told to the client, and is no reason to keep others away."""
        for reply in b"554 5.7.1 not you\r\n", b"421 4.7.0 too often\r\n":
            with case(reply), knower.Knower(xclient=reply) as server, \
                    knower.Knower(xclient=reply) as other, \
                    self.caronte("%s,identity=xclient %s,identity=xclient" % (
                        server.place, other.place), COOPERATION_CLUSTER=True) as daemon:
                with harness.Client(daemon.port) as client:
                    self.assertEqual(client.meet(), reply)
                self.assertEqual(daemon.records("destination") + daemon.records("fault"), [])
                self.assertEqual(server.heard("MAIL") + other.heard("MAIL"), [])

    def test_header_that_is_not_known(self):
        """A server that takes it for commands."""
        for identity in "proxy1", "proxy2":
            with case(identity), postfix.Postfix() as server:
                with self.caronte("127.0.0.1:%d,identity=%s" % (server.port, identity)) as daemon:
                    with harness.Client(daemon.port) as client:
                        client.send(b"EHLO client.test\r\n")
                        said = client.rest()
                    self.assertIn(b"421 4.3.2 ", said)
                    self.assertEqual(daemon.record("session").get("reason"), "identity")
                self.assertNotIn("client=", server.has_logged("disconnect from"))

    def test_header_answered_with_the_first_command(self):
        with knower.Knower(pairs=True) as server, \
                self.caronte(server.place + ",identity=proxy1") as daemon:
            with harness.Client(daemon.port) as client:
                client.send(b"EHLO client.test\r\n")
                self.assertIn(b"421 4.3.2 The destination does not take your identity",
                              client.rest())
            self.assertEqual(daemon.record("session").get("reason"), "identity")
            daemon.records("fault", count=1, what="identity")

    def test_xclient_that_is_not_allowed(self):
        with postfix.Postfix() as server:
            with self.caronte("127.0.0.1:%d,identity=xclient" % server.port) as daemon:
                with harness.Client(daemon.port) as client:
                    client.begin()
                    self.assertEqual(client.reply()[:10], b"421 4.3.2 ")
                daemon.records("fault", count=1, what="identity")


class Looks(harness.TestCase):
    """At a destination of a cluster that does not offer what clients are named by."""

    def serve(self, daemon):
        """What a client is told of its message."""
        with harness.Client(daemon.port) as client:
            client.send(b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n"
                        b"RCPT TO:<b@local.test>\r\nQUIT\r\n")
            return client.rest()

    def test_busy_until_it_offers_it(self):
        for identity in "xclient", "xforward":
            with case(identity), knower.Knower(extensions="PIPELINING") as lacks, \
                    knower.Knower() as good, self.caronte(
                        "%s,identity=%s %s,identity=%s" % (lacks.place, identity, good.place,
                                                           identity),
                        COOPERATION_CLUSTER=True, WORKERS=1, CHECK_SMTP=True,
                        CHECK_INTERVAL=1) as daemon:
                daemon.records("destination", count=1, state="busy")
                harness.wait_until(lambda: len(lacks.heard("EHLO")) > 4)
                for _ in range(10):
                    self.assertNotIn(b"421", self.serve(daemon))
                self.assertEqual(daemon.records("destination", state="up"), [])
                del lacks.odd["extensions"]
                daemon.records("destination", count=1, state="up")
                self.assertEqual(lacks.faults, [])


class Strangers(harness.TestCase):
    """Nothing that one client is, says or is told takes a destination away from the others."""

    def refused(self, identity, name="client.test", first=None, **odd):
        """Each of a cluster of two refuses two clients; what the last one was told."""
        header = identity.startswith("proxy")
        with knower.Knower(header=header, **odd) as one, \
                knower.Knower(header=header, **odd) as two, \
                self.caronte("%s,identity=%s %s,identity=%s" % (
                    one.place, identity, two.place, identity),
                    COOPERATION_CLUSTER=True, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            return self.refused_by(daemon, name, first)

    def refused_by(self, daemon, name, first):
        for _ in range(4):
            with harness.Client(daemon.port) as client:
                client.begin()
                if first:
                    client.send(first)
                client.send(b"EHLO %s\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@local.test>\r\n"
                            % name.encode())
                client.end()
                said = client.rest()
        self.assertEqual(len(daemon.records("session", count=4)), 4)
        self.assertEqual(daemon.records("destination"), [])
        return said

    def test_greeting(self):
        for identity, greeting in itertools.product(
                ("proxy1", "proxy2", "xclient"),
                (b"421 4.7.0 too many from you\r\n", b"554 5.7.1 not you\r\n", b"", b"what?\r\n")):
            with case(identity, greeting):
                odd = {"greeting": greeting} if identity != "xclient" else {"xclient": greeting}
                odd["close"] = identity == "xclient" and not greeting
                self.refused(identity, **odd)

    def test_name(self):
        """An EHLO that is refused for its name."""
        for identity in "proxy1", "proxy2", "xclient", "xforward":
            with case(identity):
                said = self.refused(identity, "a_b", ehlo=b"501 5.5.2 what a name\r\n")
                self.assertNotIn(b"\r\n354", said)

    def test_first_command(self):
        for identity in "proxy1", "proxy2":
            with case(identity):
                self.refused(identity, first=b"HELP\r\n")

    def test_answers_to_xclient(self):
        for reply in (b"550 5.7.1 blocked\r\n", b"550 5.7.0 no\r\n", b"501 5.5.4 IPV6\r\n",
                      b"451 4.3.0 later\r\n", b"502 5.5.1 what\r\n", b"530 5.7.0 TLS\r\n"):
            with case(reply):
                said = self.refused("xclient", xclient=reply)
                verdict = reply.startswith(b"550 5.7.1")
                self.assertEqual(b"421 4.3.2 " in said, not verdict)

    def test_answers_to_xforward(self):
        self.assertIn(b"421 4.3.2 ", self.refused("xforward", xforward=b"501 5.5.4 IPV6\r\n"))

    def test_mail_that_is_refused_too(self):
        """It is refused as it would be without XFORWARD, and the session goes on."""
        server = self.enterContext(knower.Knower(
            xforward=b"503 5.5.1 in progress\r\n", mail=b"503 5.5.1 nested\r\n"))
        daemon = self.enterContext(self.caronte("%s,identity=xforward" % server.place))
        with harness.Client(daemon.port) as client:
            client.hello()
            client.command("MAIL FROM:<a@client.test>", self.by_dialog(sniff=503, gateway=250))
            client.command("RCPT TO:<b@local.test>", 503)
            client.command("NOOP", 250)
            client.quit()
        self.assertEqual(daemon.records("fault"), [])

    def test_name_that_changes(self):
        """A connection of before does not speak in the name that the client has given up."""
        server = self.enterContext(knower.Knower())
        daemon = self.enterContext(self.caronte("%s,identity=xclient" % server.place))
        with harness.Client(daemon.port) as client:
            client.begin()
            client.reply()
            for name in "one.test", "two.test", "two.test":
                client.command("EHLO " + name, 250)
                self.assertEqual(client.send_message(BODY)[:3], b"250")
        self.assertEqual([message.helo for message in server.messages],
                         ["one.test", "two.test", "two.test"])

    def test_places(self):
        """A connection that is given up has its place until the destination has closed it."""
        for second in b"421 4.7.0 no\r\n", b"501 no\r\n", b"554 no\r\n":
            with case(second), knower.Knower(second=second, lasts=0.3) as server, \
                    self.caronte("%s,identity=xclient,max=1" % server.place,
                                 WORKERS=1) as daemon:
                for _ in range(3):
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        client.send_message(BODY)
                        client.quit()
                self.assertEqual(server.peak, 1)


class Check(harness.TestCase):
    """carontectl check-destination: a client at 192.0.2.1 must not relay."""
    dialogs = ("sniff",)
    each_engine = False

    def check(self, place, status, **settings):
        settings = {"MAX_MESSAGE_MIB": 1, "DESTINATIONS": place, **settings}
        done = harness.ctl("check-destination", "-c", "/dev/null", "--timeout", 20, *(
            word for item in settings.items() for word in ("-o", "%s=%s" % item)))
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def told(self, protocols):
        """A Postfix that is told of clients, in each way, and its place."""
        for identity in "xclient", "proxy1", "proxy2":
            listener = postfix.LISTENER
            if identity != "xclient":
                listener = listener.replace("smtpd\n", "smtpd %s\n" % PROXIED)
            with case(identity), Server(listener=listener, inet_protocols=protocols,
                                        smtpd_authorized_xclient_hosts="127.0.0.1",
                                        smtpd_relay_restrictions=RULES) as server:
                yield server, "127.0.0.1:%d,identity=%s" % (server.port, identity)

    def test_postfix(self):
        for server, place in self.told("all"):
            with case(place):
                said = self.check(place, 0)
                for client in "192.0.2.1", "2001:db8::1":
                    self.assertIn("told that the client is %s, it refuses mail to "
                                  "<caronte-relay-check@example.com>: 554" % client, said)
                self.assertIn("note: it relays for our own address", said)
                server.has_logged("from unknown[192.0.2.1]: 554")
                server.has_logged("from unknown[2001:db8::1]: 554")

    def test_knows_no_ipv6(self):
        """It takes no client of IPv6, which nobody is told of where none can come."""
        for _, place in self.told("ipv4"):
            with case(place):
                said = self.check(place, 1)
                self.assertRegex(said, "warning: .*client (is )?2001:db8::1")
                self.assertIn("cure: Postfix inet_protocols = all", said)
                self.assertNotIn("2001:db8::1", self.check(place, 0, LISTEN_ADDRESS="0.0.0.0"))

    def test_xforward(self):
        with postfix.Postfix(smtpd_authorized_xforward_hosts="127.0.0.1") as server:
            said = self.check("127.0.0.1:%d,identity=xforward" % server.port, 1)
            self.assertIn("good: it offers XFORWARD", said)
            self.assertIn("warning: it relays for our address", said)
        with postfix.Postfix() as server:
            self.assertIn("warning: it does not offer XFORWARD", self.check(
                "127.0.0.1:%d,identity=xforward" % server.port, 1))

    def test_goes_by_our_address_all_the_same(self):
        for identity in "xclient", "proxy1", "proxy2":
            with case(identity), knower.Knower(header=identity != "xclient") as server:
                said = self.check("%s,identity=%s" % (server.place, identity), 1)
                self.assertIn("warning: it relays for the client 192.0.2.1: RCPT "
                              "TO:<caronte-relay-check@example.com> gets 250", said)
                self.assertIn("note: its log must name 192.0.2.1", said)

    def test_takes_the_header_for_a_command(self):
        """Nothing is asked then: each answer would be that to what was said before."""
        for make in postfix.Postfix, exim.Exim, opensmtpd.OpenSmtpd:
            for identity in "proxy1", "proxy2":
                with case(make.__name__, identity), make() as server:
                    said = self.check("127.0.0.1:%d,identity=%s" % (server.port, identity), 1)
                    self.assertRegex(said, "warning: (it greets with|EHLO gets) 5.*: it seems to "
                                     "take the PROXY header for a command\n")
                    self.assertIn("cure: it must know the PROXY header: Postfix "
                                  "smtpd_upstream_proxy_protocol=haproxy", said)
                    self.assertRegex(said, "\n1 warning\n$")
                    self.assertNotIn("RCPT", said)
        with postfix.Postfix() as server:
            for secure in "may", "require":
                said = self.check("127.0.0.1:%d,identity=proxy1,tls=%s" % (server.port, secure), 1)
                self.assertRegex(said, "warning: no TLS: EHLO gets .*\n.*cure: it must know the "
                                 "PROXY header.*\n1 warning\n$")

    def test_does_not_take_it(self):
        with postfix.Postfix() as server:
            said = self.check("127.0.0.1:%d,identity=xclient" % server.port, 1)
            self.assertIn("warning: it does not offer XCLIENT with ADDR: no mail goes there", said)
            self.assertIn("cure: Postfix smtpd_authorized_xclient_hosts", said)
        with knower.Knower(xclient=b"550 5.7.0 no\r\n") as server:
            self.assertIn("warning: XCLIENT for the client 192.0.2.1 gets 550 5.7.0 no: no mail "
                          "goes there", self.check(server.place + ",identity=xclient", 1))


class Silent(postfix.Postfix):
    """It may say nothing before a header or a handshake: that it listens must do."""

    def greets(self):
        return not harness.refuses(self.port)


class Prompted(opensmtpd.OpenSmtpd):
    """It waits for a header before it greets."""

    def greets(self):
        with contextlib.suppress(OSError), harness.Client(self.port) as client:
            client.send(knower.SIGNATURE + b"\x20\x00\x00\x00")
            return client.reply()[:3] == b"220"
        return False


class Server(postfix.Postfix):
    """The same, where it is told to."""

    def raw(self):
        """Messages with the lines that it has put in front."""
        return [path.read_bytes() for path in (self.mail / "box/new").iterdir()]

    def greets(self):
        if PROXIED not in self.listener:
            return super().greets()
        with contextlib.suppress(OSError), harness.Client(self.port) as client:
            client.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n")
            return client.reply()[:3] == b"220"
        return False
