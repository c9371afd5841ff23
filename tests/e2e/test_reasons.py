# SPDX-License-Identifier: ISC
"""The table in caronte-log(5) of every way in which a message can fail: each row is provoked, its
command is run on the log of the default level, and what it prints must hold the row's record, and
`carontectl trace` must tell the same in words.
"""
import datetime
import json
import os
import re
import shlex
import signal
import time
import unittest

import harness
import puppet
import tls
from puppet import EHLO, MAIL, RCPT

MANUAL = harness.SOURCES / "doc/caronte-log.5"
CLIENT, SENDER, RECIPIENT = "127.0.0.1", "a@client.test", "b@local.test"
BODY = b"Subject: t\r\n\r\n" + b"text\r\n" * 10


def rows():
    """{title: (element, {attribute: value}, command)}, as the manual has them."""
    text = MANUAL.read_text().partition(".Ss Why mail did not come\n")[2].partition("\n.El\n")[0]
    found = {}
    for item in re.split(r"^\.It ", text, flags=re.M)[1:]:
        parts = re.fullmatch(r"(.*)\n\.Ql (.*)\n\.Dl \$ (.*)", item.strip())
        title, record, command = parts.groups()
        element, *attributes = shlex.split(record)
        found[title] = element, dict(word.split("=", 1) for word in attributes), command
    return found


WAYS = {}
NO_SESSION = "worker-died", "accept"  # faults of which trace tells nothing


def way(title, sender=SENDER, recipient=RECIPIENT, **settings):
    """Decorates what provokes the row TITLE; SETTINGS are the daemon's. It gets a Way."""
    def add(provoke):
        WAYS[title] = provoke, sender, recipient, settings
        return provoke
    return add


class Way:
    def __init__(self, test, settings):
        self.test, self.settings = test, settings

    def sink(self, *arguments, **settings):
        """A daemon before a sink with these arguments."""
        self.test.destination = self.test.enterContext(harness.Sink(*arguments))
        return self.daemon(self.test.destination, **settings)

    def daemon(self, destination, **settings):
        self.test.caronte_runs = self.test.enterContext(self.test.caronte(
            destination, LOG_LEVEL=2, WORKERS=1, **{**self.settings, **settings}))
        return self.test.caronte_runs

    def client(self, daemon):
        return self.test.enterContext(harness.Client(daemon.port))

    def after_hello(self, *arguments, **settings):
        client = self.client(self.sink(*arguments, **settings))
        client.hello()
        return client


# ---- limits of sessions ----

@way("MAX_SESSIONS is reached", MAX_SESSIONS=1, MAX_SESSIONS_PER_ADDRESS=0)
def max_sessions(w):
    daemon = w.sink()
    w.client(daemon).hello()
    assert w.client(daemon).reply()[:9] == b"421 4.3.2"


@way("MAX_SESSIONS_PER_ADDRESS is reached", MAX_SESSIONS_PER_ADDRESS=1)
def max_sessions_per_address(w):
    daemon = w.sink()
    w.client(daemon).hello()
    assert w.client(daemon).reply()[:9] == b"421 4.7.0"


def with_certificate(w, arguments=(), **settings):
    chain, key = tls.make_pair(w.test.new_dir("tls"))
    return w.sink(*arguments, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key),
                  TLS_HANDSHAKES_PER_ADDRESS=1, LISTEN_TLS_PORT=harness.free_port(), **settings)


def shake_once(w, daemon):
    with tls.Secure(daemon.port) as client:
        client.secured()
        client.quit()


@way("TLS_HANDSHAKES_PER_ADDRESS is reached, where TLS comes first")
def handshakes_first(w):
    daemon = with_certificate(w)
    shake_once(w, daemon)
    port = daemon.settings["LISTEN_TLS_PORT"]
    client = w.test.enterContext(harness.Client(port))
    assert client.rest() in (b"", puppet.RESET)


@way("TLS_HANDSHAKES_PER_ADDRESS is reached, by STARTTLS")
def handshakes(w):
    daemon = with_certificate(w)
    shake_once(w, daemon)
    client = w.client(daemon)
    client.hello()
    client.command("STARTTLS", 454)


@way("MAX_ERRORS is reached", MAX_ERRORS=1)
def max_errors(w):
    w.after_hello().command("WHAT", 500)


@way("MAX_IDLE_COMMANDS is reached", MAX_IDLE_COMMANDS=10)
def max_idle_commands(w):
    client = w.after_hello()
    client.send(b"NOOP\r\n" * 10)  # EHLO is one too
    assert client.codes(10)[-1] == 421


# ---- no destination ----

@way("no destination accepts a connection")
def no_connection(w):
    client = w.client(w.daemon("127.0.0.1:%d" % harness.free_port(), TIMEOUT_CONNECT=1))
    assert client.reply()[:9] == b"421 4.3.2"


@way("there is no TLS with a destination that must have it")
def destination_tls(w):
    sink = w.test.enterContext(harness.Sink())
    client = w.client(w.daemon("127.0.0.1:%d,tls=require" % sink.port))
    assert client.meet()[:9] == b"421 4.7.5"


@way("a destination does not take the client's identity")
def identity(w):
    sink = w.test.enterContext(harness.Sink())
    client = w.client(w.daemon("127.0.0.1:%d,identity=xclient" % sink.port))
    assert client.meet()[:9] == b"421 4.3.2"


@way("all destinations have their max= sessions")
def full(w):
    sink = w.test.enterContext(harness.Sink())
    daemon = w.daemon("127.0.0.1:%d,max=1" % sink.port, TIMEOUT_CONNECT=1)
    client = w.client(daemon)
    client.hello()
    client.envelope()
    assert w.client(daemon).meet()[:9] == b"421 4.3.2"


@way("the destination greets with a refusal (DIALOG_SNIFF)")
def refused_greeting(w):
    client = w.client(w.sink("--greeting", "554 5.3.2 not today"))
    assert client.reply()[:3] == b"554"
    client.quit()


@way("the destination greets with a refusal (DIALOG_GATEWAY)")
def refused_fresh_greeting(w):
    daemon = w.sink("--reply", "2/GREETING=554 5.3.2 not today")
    client = w.client(daemon)
    client.hello()
    client.envelope()  # the one connection that was greeted well
    assert w.client(daemon).meet()[:3] == b"554"


# ---- the beginning ----

@way("the destination refuses EHLO (DIALOG_SNIFF)")
def refused_ehlo(w):
    client = w.client(w.sink("--reply", "EHLO=502 5.5.1 what", "--reply", "HELO=502 5.5.1 what"))
    client.reply()
    client.command("EHLO client.test", 502)


@way("the client gives no name that is one")
def bad_name(w):
    client = w.client(w.sink())
    client.reply()
    client.command("EHLO two words", 501)


@way("the client says no STARTTLS, which TLS_CLIENTS_REQUIRED wants", TLS_CLIENTS_REQUIRED=True)
def tls_required(w):
    client = w.client(with_certificate(w))
    client.hello()
    client.command("MAIL FROM:<%s>" % SENDER, 530)


@way("a command comes out of order")
def out_of_order_command(w):
    client = w.client(w.sink())
    client.reply()
    client.command("MAIL FROM:<a@client.test>", 503)


@way("a command is unknown")
def unknown(w):
    w.after_hello().command("WHAT", 500)


def first_words(w, octets):
    client = w.client(w.sink())
    client.reply()
    client.send(octets)
    assert client.reply()[:9] == b"521 5.5.1"


@way("ETRN, VRFY and the like, or XCLIENT from a client that is not in XCLIENT_FROM")
def unserved(w):
    client = w.after_hello()
    for line in "XCLIENT ADDR=192.0.2.1", "ETRN local.test", "VRFY b":
        w.test.assertEqual(client.command(line), b"502 5.5.1 Command not served here\r\n")


@way("the fifth unknown command, or one before EHLO or HELO")
def unknown_verb(w):
    first_words(w, b"WHAT\r\n")


@way("the client speaks HTTP")
def http(w):
    first_words(w, b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n")


@way("a balancer that is not in PROXY_FROM sends a PROXY header")
def proxy_header(w):
    first_words(w, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n")


@way("a balancer in PROXY_FROM sends no header, or a wrong one", PROXY_FROM="127.0.0.1")
def proxy_header_wrong(w):
    daemon = w.sink()
    for octets in b"EHLO client.test\r\n", b"PROXY TCP4 192.0.2.1\r\n":
        client = w.client(daemon)
        client.send(octets)
        assert client.rest() in (b"", puppet.RESET)
    faults = daemon.records("fault", count=2, what="proxy-header")
    w.test.assertEqual({fault.get("client").partition(":")[0] for fault in faults}, {CLIENT})
    w.test.assertEqual(daemon.records("session"), [])


@way("the client begins with TLS")
def tls_hello(w):
    first_words(w, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64))


@way("the client wants STARTTLS")
def starttls(w):
    w.after_hello().command("STARTTLS", 502)


@way("the client sends more behind STARTTLS")
def starttls_injection(w):
    chain, key = tls.make_pair(w.test.new_dir("tls"))
    client = w.after_hello(TLS_CERTIFICATE=str(chain), TLS_KEY=str(key))
    client.send(b"STARTTLS\r\nNOOP\r\n")


@way("a client's TLS handshake fails")
def handshake_fails(w):
    client = w.client(with_certificate(w))
    client.hello()
    client.command("STARTTLS", 220)
    client.send(b"EHLO client.test\r\n")
    client.rest()


@way("a proxy says XCLIENT wrongly")
def xclient(w):
    w.after_hello(XCLIENT_FROM="127.0.0.1").command("XCLIENT ADDR=nobody", 501)


# ---- login ----

AUTH = "--auth", "joe:secret"


@way("a login fails")
def login(w):
    w.after_hello(*AUTH).command("AUTH PLAIN AGpvZQB3cm9uZw==", 535)


@way("a way to log in that is not offered")
def login_unoffered(w):
    w.after_hello(*AUTH).command("AUTH CRAM-MD5", 504)


@way("a login in clear, which TLS_REQUIRED_FOR_LOGIN forbids")
def login_in_clear(w):
    client = w.client(with_certificate(w, AUTH))
    client.hello()
    client.command("AUTH PLAIN AGpvZQBzZWNyZXQ=", 530)
    client.quit()
    w.test.caronte_runs.record("session")
    w.test.assertEqual(w.test.caronte_runs.records("login"), [])


@way("the client does not wait for the answer to AUTH")
def early_auth(w):
    client = w.after_hello(*AUTH)
    client.send(b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\nNOOP\r\n")
    assert client.reply()[:3] == b"503"


@way("a step of a login is no base64")
def bad_continuation(w):
    client = w.after_hello(*AUTH)
    client.command("AUTH LOGIN", 334)
    client.command("???", 501)


# ---- sender ----

@way("the sender cannot be read", sender="a@@client.test")
def bad_sender(w):
    w.after_hello().command("MAIL FROM:<a@@client.test>", 501)


@way("a parameter is not known, or was not offered")
def bad_parameter(w):
    client = w.after_hello()
    client.command("MAIL FROM:<%s> COLOUR=red" % SENDER, 555)
    client.command("MAIL FROM:<%s>" % SENDER, 250)
    client.command("RCPT TO:<%s> COLOUR=red" % RECIPIENT, 555)


@way("a parameter comes twice, or its value is none")
def bad_value(w):
    w.after_hello().command("MAIL FROM:<%s> SIZE=1 SIZE=1" % SENDER, 501)


@way("the destination refuses the sender (DIALOG_SNIFF)")
def refused_sender(w):
    w.after_hello("--reply", "MAIL=550 5.7.1 not you").command("MAIL FROM:<%s>" % SENDER, 550)


@way("the destination refuses the sender (DIALOG_GATEWAY)")
def refused_sender_later(w):
    client = w.after_hello("--reply", "MAIL=550 5.7.1 not you")
    client.command("MAIL FROM:<%s>" % SENDER, 250)
    client.command("RCPT TO:<%s>" % RECIPIENT, 550)


@way("the message is announced as too large")
def announced(w):
    client = w.after_hello("--ext", "SIZE 1000")
    client.command("MAIL FROM:<%s> SIZE=1001" % SENDER, 552)


# ---- recipients ----

@way("the recipient is none of ours", recipient="b@elsewhere.test")
def denied(w):
    client = w.after_hello()
    client.envelope(recipients=())
    client.command("RCPT TO:<b@elsewhere.test>", 550)


@way("the domain is ours and the user is unknown", recipient="c@local.test",
     RECIPIENTS=["b@local.test"])
def unknown_user(w):
    client = w.after_hello()
    client.envelope(recipients=())
    client.command("RCPT TO:<c@local.test>", 550)


@way("the recipient cannot be read", recipient="b@@local.test")
def bad_recipient(w):
    client = w.after_hello()
    client.envelope(recipients=())
    client.command("RCPT TO:<b@@local.test>", 501)


@way("the destination refuses the recipient")
def refused_recipient(w):
    client = w.after_hello("--reply", "RCPT=550 5.1.1 who")
    client.envelope(recipients=())
    client.command("RCPT TO:<%s>" % RECIPIENT, 550)


@way("the destination cannot do what was offered (DIALOG_GATEWAY)")
def uncovered(w):
    daemon = w.sink("--reply", "2/EHLO=250 sink.test")
    first, client = w.client(daemon), w.client(daemon)
    first.hello()
    first.envelope()  # by the one connection whose EHLO said all
    client.hello()
    client.command("MAIL FROM:<%s> BODY=8BITMIME" % SENDER, 250)
    client.command("RCPT TO:<%s>" % RECIPIENT, 451)


# ---- the message ----

@way("no recipient was accepted")
def no_recipient(w):
    client = w.after_hello()
    client.envelope(recipients=())
    client.command("RCPT TO:<b@elsewhere.test>", 550)
    client.command("DATA", 554)


@way("the destination refuses DATA")
def refused_data(w):
    client = w.after_hello("--reply", "DATA=451 4.3.0 later", DATA_AS_BDAT=False)
    client.envelope()
    client.command("DATA", 451)


@way("a message that was announced as binary comes by DATA")
def binary_by_data(w):
    client = w.after_hello()
    client.command("MAIL FROM:<%s> BODY=BINARYMIME" % SENDER, 250)
    client.command("RCPT TO:<%s>" % RECIPIENT, 250)
    client.command("DATA", 503)


@way("the destination asks for a message without recipients (DIALOG_SNIFF)")
def asked_without_recipients(w):
    client = w.after_hello("--reply", "RCPT=550 5.1.1 who", "--reply", "DATA=354 all the same",
                           "--delay", "RCPT=300", DATA_AS_BDAT=False)
    client.send(MAIL + RCPT + b"DATA\r\n")
    assert client.codes(4) == [250, 550, 554, 421]


@way("the client does not wait for the answer to DATA")
def early_data(w):
    client = w.after_hello()
    client.envelope()
    client.send(b"DATA\r\nSubject: t\r\n")
    assert client.reply()[:3] == b"554"


@way("the destination refuses the message")
def refused_message(w):
    client = w.after_hello("--reply", "EOD=554 5.7.1 no")
    assert client.send_message(BODY)[:3] == b"554"


@way("the destination refuses the message before its end")
def refused_before(w):
    client = w.after_hello("--say", "BODY@20=452 4.3.1 full")
    client.envelope()
    client.command("DATA", 354)
    client.send(BODY)
    time.sleep(0.5)
    client.send(b".\r\n")
    assert client.reply()[:3] == b"452"


@way("the destination refuses a chunk")
def refused_chunk(w):
    client = w.after_hello("--reply", "BDAT=452 4.3.1 full")
    client.envelope()
    client.send(b"BDAT 5\r\nabc\r\n")
    assert client.reply()[:3] == b"452"


@way("a chunk follows one that was refused")
def chunk_behind(w):
    client = w.after_hello("--reply", "BDAT=452 4.3.1 full")
    client.envelope()
    client.send(b"BDAT 5\r\nabc\r\nBDAT 5 LAST\r\nabc\r\n")
    assert client.codes(2) == [452, 503]


@way("the message is larger than the destination's SIZE or MAX_MESSAGE_MIB")
def too_big(w):
    assert w.after_hello("--ext", "SIZE 1000").send_message(BODY * 20)[:3] == b"552"


@way("its header is larger than MAX_HEADER_KIB", MAX_HEADER_KIB=1)
def header_too_big(w):
    assert w.after_hello().send_message(b"X-Line: y\r\n" * 200 + BODY)[:3] == b"552"


@way("a line is longer than MAX_LINE_KIB", MAX_LINE_KIB=1)
def line_too_long(w):
    assert w.after_hello().send_message(BODY + b"x" * 2000 + b"\r\n")[:3] == b"552"


@way("many of its lines look like MAIL")
def mail_lines(w):
    client = w.after_hello(DATA_AS_BDAT=False)
    client.envelope()
    client.command("DATA", 354)
    client.socket.settimeout(60)
    client.send(b"Subject: t\r\n\r\n" + b"MAIL FROM:<a@client.test>\r\n" * 101 + b".\r\n")
    assert client.reply()[:9] == b"554 5.7.0"


@way("a CR, LF or NUL on its own in the message")
def bare_newline(w):
    client = w.after_hello()
    client.envelope()
    client.command("DATA", 354)
    client.send(b"Subject: t\r\n\r\none\ntwo\r\n.\r\n")
    assert client.reply()[:3] == b"521"


@way("a line of a command is too long or ends in anything but CR LF")
def bad_line(w):
    client = w.after_hello()
    client.send(b"NOOP\n")
    assert client.reply()[:3] == b"500"


@way("BDAT is not offered")
def bdat_unoffered(w):
    w.after_hello("--ext", "SIZE").command("BDAT 5", 502)


@way("BDAT has no number")
def bdat_size(w):
    w.after_hello().command("BDAT five", 501)


@way("BDAT where no message can begin")
def bdat_alone(w):
    w.after_hello().command("BDAT 5", 503)


# ---- who goes ----

@way("the client is out of time", TIMEOUT_COMMAND=3)
def client_slow(w):
    assert w.after_hello().reply()[:9] == b"421 4.4.2"


@way("the client's connection breaks")
def client_lost(w):
    client = w.after_hello()
    client.envelope()
    client.command("DATA", 354)
    client.close()


def with_recipient(w, *arguments, **settings):
    """What comes of a recipient."""
    client = w.after_hello(*arguments, **settings)
    client.command("MAIL FROM:<%s>" % SENDER, 250)
    return client.command("RCPT TO:<%s>" % RECIPIENT)


@way("the destination closes the connection")
def closed(w):
    assert with_recipient(w, "--drop", "RCPT")[:9] == b"451 4.4.2"


@way("the destination says 421")
def says_421(w):
    # (A pooled connection that says so to a transaction's first command is replaced once.)
    assert with_recipient(w, "--reply", "RCPT=421 4.3.2 going")[:3] == b"421"


@way("the destination is out of time", TIMEOUT_REPLY=3)
def destination_slow(w):
    assert with_recipient(w, "--stall", "RCPT")[:9] == b"451 4.4.2"


@way("the destination's reply is malformed")
def malformed(w):
    assert with_recipient(w, "--reply", "RCPT=25 ok")[:9] == b"451 4.3.0"


@way("the destination answers what was not asked")
def out_of_order(w):
    assert with_recipient(w, "--reply", "RCPT=354 go ahead")[:9] == b"451 4.3.0"


@way("what it was that the destination said")
def odd_words(w):
    malformed(w)
    fault, = w.test.caronte_runs.records("fault", count=1, what="destination-reply")
    w.test.assertEqual(fault.get("detail"), "127.0.0.1:%d: 25 ok\r\n" % w.test.destination.port)


@way("a worker dies")
def worker_dies(w):
    client = w.after_hello()
    client.envelope()
    w.test.caronte_runs.may_die = True
    os.kill(*w.test.caronte_runs.workers(), signal.SIGKILL)
    client.rest()
    w.test.caronte_runs.records("fault", count=1, what="worker-died")
    w.test.assertEqual(w.test.caronte_runs.records("session"), [])


@way("descriptors or memory are wanting", MAX_SESSIONS_PER_ADDRESS=0)
def no_descriptors(w):
    daemon = w.sink()
    w.client(daemon).hello()
    worker, = daemon.workers()
    harness.only_root_sees()
    harness.limit_descriptors(worker, max(map(int, os.listdir("/proc/%d/fd" % worker))) + 8)
    for _ in range(30):
        w.client(daemon)


@way("the daemon is stopped", STOP_GRACE=0)
def stopped(w):
    client = w.after_hello()
    w.test.caronte_runs.process.terminate()
    assert client.reply()[:9] == b"421 4.3.2"


# ---- the table ----

def fits(record, element, attributes):
    """A reply by its beginning."""
    return record["element"] == element and all(
        str(record.get(name, "")).startswith(value) if name == "reply" else
        record.get(name) == value for name, value in attributes.items())


class Walk(harness.TestCase):
    each_engine = False

    def walk(self, title):
        element, attributes, command = rows()[title]
        provoke, sender, recipient, settings = WAYS[title]
        way = Way(self, settings)
        provoke(way)
        daemon = self.caronte_runs
        words = {"CLIENT": CLIENT, "SENDER": sender, "RECIPIENT": recipient, "FILE": daemon.log}
        program, verb, *arguments = [words.get(word, word) for word in command.split()]
        self.assertEqual([program, verb], ["carontectl", "log"])

        def told():
            done = harness.ctl(verb, "--json", *arguments)
            records = [json.loads(line) for line in done.stdout.splitlines()]
            return [record for record in records if fits(record, element, attributes)]
        found = harness.wait_until(told)
        if attributes.get("what") in NO_SESSION:
            self.assertNotIn("session", found[0])
            return
        self.check_trace(element, attributes, next(
            (words[word] for word in command.split() if word in words), None))

    def check_trace(self, element, attributes, what):
        """The same in words."""
        story = harness.ctl("trace", CLIENT if element == "fault" else what,
                            self.caronte_runs.log).stdout
        wanted = [r"\| " + re.escape(attributes[name]) for name in attributes if name == "reply"]
        if element == "session":
            wanted.append(r"end after \d+\.\d+ s: \w.* \[%s\b" % ", ".join(
                attributes[name] for name in ("end", "reason") if name in attributes))
        if element == "recipient":
            # It was not asked where it cannot do what was offered.
            by = "by the destination" if attributes["rule"] == "destination" and \
                not attributes.get("reply", "").startswith("451 4.3.0") else "here"
            wanted.append(r"to <[^ ]+>: refused %s" % by)
        if element == "refusal":
            wanted.append(r"was refused %s" % {"caronte": "here"}.get(
                attributes.get("by"), "(here|by the destination)"))
        if element == "fault":
            wanted.append("fault %s(, client \\S+)?: " % attributes["what"])
        for text in wanted:
            self.assertRegex(story, text)


class Both(Walk):
    def test_every_row_has_a_way(self):
        self.assertEqual(list(rows()), list(WAYS))


class Sniff(Walk):
    dialogs = "sniff",


class Gateway(Walk):
    dialogs = "gateway",


def class_for(title):
    return Sniff if title.endswith("(DIALOG_SNIFF)") else \
        Gateway if title.endswith("(DIALOG_GATEWAY)") else Both


for number, each in enumerate(WAYS):
    setattr(class_for(each), "test_%02d_%s" % (number, WAYS[each][0].__name__),
            lambda self, title=each: self.walk(title))

class Odd(harness.TestCase):
    """A destination's words against the protocol, whoever hears them."""
    each_engine = False

    def test_greeting(self):
        """A session hears it, in the gateway dialog the pool; and a check."""
        for check in False, True:
            with self.subTest(check=check), harness.Sink("--greeting", "22 what") as sink, \
                    self.caronte(sink, LOG_LEVEL=1, WORKERS=2, CHECK_SMTP=check,
                                 CHECK_INTERVAL=1) as daemon:
                def heard(count):
                    if not check:
                        with harness.Client(daemon.port) as client:
                            client.rest()
                    return len(daemon.records("fault", what="destination-reply")) >= count
                harness.wait_until(lambda: heard(3))
                faults = daemon.records("fault", what="destination-reply")
                self.assertEqual({fault.get("detail") for fault in faults},
                                 {"127.0.0.1:%d: 22 what\r\n" % sink.port})
                times = [datetime.datetime.fromisoformat(fault.get("time")) for fault in faults]
                for one, next_one in zip(times, times[1:]):
                    self.assertGreater((next_one - one).total_seconds(), 0.9)


if __name__ == "__main__":
    unittest.main()
