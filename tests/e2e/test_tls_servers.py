# SPDX-License-Identifier: ISC
"""TLS between Caronte and real mail servers: each of them as its destination, and as its client."""
import json
import pathlib
import re
import subprocess
import unittest

import exim
import harness
import mailserver
import opensmtpd
import postfix
import tls
from puppet import case
from tls import TlsCase

LISTENER = "127.0.0.1:225 inet n - n - 200 smtpd"
SIZES = (100, 20000, 2 << 20)


def mail(size):
    return b"Subject: of %d\r\n\r\n" % size + b"0123456789abcde\r\n" * (size // 17)


def bodies(mails):
    return sorted(octets.split(b"\r\n\r\n", 1)[1] for octets in mails)


class Wrapped(postfix.Postfix):
    """It says nothing before a handshake."""

    def greets(self):
        try:
            with tls.Secure(self.port) as client:
                client.shake(tls.context())
                return client.reply()[:3] == b"220"
        except OSError:  # ssl.SSLError is one
            return False


PKI = """\
pki local.test cert "%s"
pki local.test key "%s"
"""
WRAPPED = opensmtpd.RULES.replace("hostname", "smtps pki local.test hostname")
OFFERED = opensmtpd.RULES.replace("hostname", "tls pki local.test hostname")
# What comes to it goes on to a port, by TLS alone, and to nobody unknown to the authorities.
ON = """\
ca test cert "%s"
listen on 127.0.0.1 port 225 hostname local.test
action onward relay host "smtp+tls://localhost:%d" tls ca test
match from local for any action onward
"""


class OpenSmtpd(opensmtpd.OpenSmtpd):
    """One that TLS may come first to."""

    def greets(self):
        """… of which nothing is heard before a handshake."""
        if "smtps" not in self.rules:
            return super().greets()
        return not harness.refuses(self.port)

    def shakes(self, version=None):
        try:
            with tls.Secure(self.port) as client:
                if "smtps" in self.rules:
                    client.shake(tls.context(version))
                else:
                    client.hello()
                    client.begin_tls(tls.context(version))
                return True
        except OSError:  # ssl.SSLError is one
            return False


class Sender(exim.Exim):
    """An Exim whose mail goes on to a port, by TLS alone, and to nobody unknown to CHAIN."""
    ROUTER = """\
driver = manualroute
  route_list = * localhost byname
  self = send
  transport = out
"""
    TRANSPORT = """\
out:
  driver = smtp
  port = %d
  allow_localhost
  hosts_require_tls = *
  tls_verify_certificates = %s
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
"""

    def __init__(self, port, chain):
        super().__init__(own="domainlist local_domains = nobody.test\n")
        self.to, self.chain = port, chain

    def configuration(self):
        text = super().configuration()
        return text.replace("driver = accept\n  transport = far\n", self.ROUTER) + \
            self.TRANSPORT % (self.to, self.chain)


class Destination(TlsCase):
    """The server offers STARTTLS and is verified; messages come in clear and over TLS."""

    def setUp(self):
        super().setUp()
        where = pathlib.Path(self.new_dir("server"))
        self.chain, self.key = tls.make_pair(where)
        where.chmod(0o755)

    def exchange(self, server, options="tls=verify,name=mx.test", **settings):
        with self.caronte("127.0.0.1:%d,%s" % (server.port, options),
                          TLS_DESTINATION_CA_FILE=str(self.chain), **settings) as daemon:
            for client_of in harness.Client, tls.Automatic:
                with client_of(daemon.port) as client:
                    client.hello()
                    for size in SIZES:
                        self.assertEqual(client.send_message(mail(size))[:3], b"250")
                    client.quit()
            self.assertEqual(bodies(server.mails(2 * len(SIZES))),
                             sorted([mail(size).split(b"\r\n\r\n", 1)[1] for size in SIZES] * 2))
            for session in daemon.records("session", count=2):
                self.assertRegex(session.get("destination-tls"), r"^TLSv1\.[23]$")
            self.assertEqual(daemon.records("fault"), [])

    def test_postfix(self):
        for level in "may", "encrypt":
            with case(level), postfix.Postfix(smtpd_tls_security_level=level,
                                              smtpd_tls_chain_files="%s,%s" % (
                                                  self.key, self.chain)) as server:
                self.exchange(server)

    def test_postfix_where_tls_comes_first(self):
        with Wrapped(listener=LISTENER + " -o smtpd_tls_wrappermode=yes\n",
                     smtpd_tls_security_level="encrypt",
                     smtpd_tls_chain_files="%s,%s" % (self.key, self.chain)) as server:
            self.exchange(server, "tls=verify,wrap,name=mx.test")

    def test_exim(self):
        self.key.chmod(0o644)  # it is another user's, in a directory that is the test's alone
        own = ("tls_advertise_hosts = *\ntls_certificate = %s\ntls_privatekey = %s\n" %
               (self.chain, self.key))
        with exim.Exim(own=own) as server:
            for chunks in True, False:
                with case(chunks):
                    self.exchange(server, DATA_AS_BDAT=chunks)
                    for path in list((server.mail / "box/new").iterdir()):
                        path.unlink()

    def test_opensmtpd(self):
        """(That of Debian 12, with OpenSSL 3.0, signs nothing.)"""
        self.chain, self.key = tls.make_pair(pathlib.Path(self.new_dir("rsa")), kind="rsa")
        for rules, options in (OFFERED, "tls=verify"), (WRAPPED, "tls=verify,wrap"):
            with case(options), OpenSmtpd(PKI % (self.chain, self.key) + rules) as server:
                if not server.shakes():
                    self.skipTest("OpenSMTPD shakes hands with nobody here")
                self.exchange(server, options + ",name=mx.test")


class Client(TlsCase):
    """Servers deliver through Caronte, as they would to any MX."""

    def setUp(self):
        super().setUp()
        where = pathlib.Path(self.new_dir("caronte"))
        self.chain, self.key = tls.make_pair(where, names=("localhost",))
        where.chmod(0o755)

    def test_postfix(self):
        for level in "may", "encrypt", "verify":
            with case(level), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, TLS_CERTIFICATE=str(self.chain),
                                 TLS_KEY=str(self.key)) as daemon:
                # What comes to it goes on to Caronte, over TLS.
                with postfix.Postfix(
                        relayhost="[localhost]:%d" % daemon.port, virtual_mailbox_domains="",
                        default_transport="smtp", relay_transport="smtp",
                        smtp_tls_security_level=level, smtp_tls_CAfile=self.chain,
                        smtp_host_lookup="native", smtp_tls_loglevel=1,
                        local_transport="smtp") as server:
                    with harness.Client(server.port) as client:
                        client.hello()
                        self.assertEqual(client.send_message(mail(20000))[:3], b"250")
                        client.quit()
                    got, = harness.wait_until(sink.mails)
                    self.assertEqual(bodies([got]), bodies([mail(20000)]))
                self.assertRegex(daemon.record("session").get("tls"), r"^TLSv1\.3$")

    def test_exim(self):
        """By GnuTLS, with chunks and without: a size that is one chunk of its own, and more."""
        for size in SIZES:
            with case(size), harness.Sink(maildir=True) as sink, \
                    self.caronte(sink, TLS_CERTIFICATE=str(self.chain),
                                 TLS_KEY=str(self.key)) as daemon:
                with Sender(daemon.port, self.chain) as server, \
                        harness.Client(server.port) as client:
                    client.hello()
                    self.assertEqual(client.send_message(mail(size))[:3], b"250")
                    client.quit()
                    got, = harness.wait_until(sink.mails)
                    self.assertEqual(bodies([got]), bodies([mail(size)]))
                session = daemon.record("session")
                self.assertRegex(session.get("tls"), r"^TLSv1\.3$")
                self.assertEqual(session.get("end"), "quit")
                self.assertEqual(daemon.records("fault"), [])


    def test_opensmtpd(self):
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, TLS_CERTIFICATE=str(self.chain),
                             TLS_KEY=str(self.key)) as daemon:
            with OpenSmtpd(ON % (self.chain, daemon.port)) as server, \
                    harness.Client(server.port) as client:
                client.hello()
                self.assertEqual(client.send_message(mail(20000))[:3], b"250")
                client.quit()
                got, = harness.wait_until(sink.mails)
                self.assertEqual(bodies([got]), bodies([mail(20000)]))
            session = daemon.record("session")
            self.assertRegex(session.get("tls"), r"^TLSv1\.3$")
            self.assertEqual(session.get("messages"), "1")


class Scan(TlsCase):
    """testssl.sh, with the settings that Caronte has by itself and a certificate that an authority
    has signed."""
    each_engine = False
    dialogs = ("sniff",)
    ABOVE_LOW = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
    # What is not Caronte's to have: an authority that answers, and a zone.
    BESIDE = re.compile("OCSP|CAA|revoc|transparency|chain_of_trust", re.I)
    EXTENSIONS = """\
subjectAltName=DNS:mx.test
basicConstraints=CA:false
extendedKeyUsage=serverAuth,clientAuth
keyUsage=digitalSignature
"""

    def signed(self, where):
        """A certificate of an authority's, with the authority behind it; key; and the authority."""
        ca, ca_key = where / "ca.pem", where / "ca.key"
        request, key, leaf, chain = (where / name for name in
                                     ("request", "mx.key", "leaf.pem", "mx.pem"))
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        tls.openssl("req", "-x509", *new, "-subj", "/CN=Test CA", "-keyout", ca_key, "-out", ca,
                    "-days", 90, "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        tls.openssl("req", "-new", *new, "-subj", "/CN=mx.test", "-keyout", key, "-out", request)
        (where / "extensions").write_text(self.EXTENSIONS)
        tls.openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key,
                    "-CAcreateserial", "-days", 89, "-extfile", where / "extensions", "-out", leaf)
        chain.write_text(leaf.read_text() + ca.read_text())
        key.chmod(0o640)
        return chain, key, ca

    @unittest.skipUnless(harness.LONG, "takes minutes: CARONTE_LONG=1 runs it")
    def test_testssl(self):
        program = harness.shutil.which("testssl")
        if not program:
            harness.missing("testssl.sh is not installed")
        where = pathlib.Path(self.new_dir("scan"))
        chain, key, ca = self.signed(where)
        with harness.Sink() as sink, self.caronte(
                sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key), MAX_SESSIONS_PER_ADDRESS=0,
                LISTEN_TLS_PORT=harness.free_port()) as daemon:
            for how in (["--starttls", "smtp", "mx.test:%d" % daemon.port],
                        ["mx.test:%d" % daemon.settings["LISTEN_TLS_PORT"]]):
                out = where / "found.json"
                out.unlink(missing_ok=True)
                with case(how):
                    subprocess.run([program, "--warnings", "off", "--color", "0", "--quiet",
                                    "--ip", "127.0.0.1", "--add-ca", ca, "--jsonfile", out, *how],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   timeout=1200, check=False)
                    found = json.loads(out.read_text())
                    self.assertGreater(len(found), 100)
                    self.assertEqual([each for each in found
                                      if each["severity"] in self.ABOVE_LOW and
                                      not self.BESIDE.search(each["id"])], [])


class Stunnel(harness.Program):
    """Takes clear text, and says it by TLS to a port that it knows by a certificate."""

    def __init__(self, to, protocol, chain):
        super().__init__("stunnel")
        file = "usr/bin/stunnel4"
        self.program = mailserver.runnable(harness.unpacked("stunnel4", file) / file)
        self.port = harness.free_port()
        (self.dir / "conf").write_text(
            "foreground = yes\npid =\n[x]\nclient = yes\naccept = 127.0.0.1:%d\n"
            "connect = 127.0.0.1:%d\n%s\nsni = mx.test\ncheckHost = mx.test\n"
            "verifyChain = yes\nCAfile = %s\n" % (self.port, to, protocol, chain))

    def start(self):
        self.launch([self.program, self.dir / "conf"])
        harness.wait_until(lambda: self.process.poll() is not None or
                           not harness.refuses(self.port))
        return self

    def __exit__(self, *rest):
        self.stop()


class Tools(TlsCase):
    """What people try a server with."""

    @staticmethod
    def program(name):
        return harness.shutil.which(name) or harness.missing(name + " is not installed")

    def tool(self, *argv, **how):
        done = subprocess.run([str(word) for word in argv], capture_output=True,
                              timeout=harness.PATIENCE_S, **how)
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr).decode())
        return done

    def test_swaks(self):
        program = self.program("swaks")
        with harness.Sink("--auth", "joe:secret", maildir=True) as sink, \
                self.caronte(sink, LISTEN_TLS_PORT=harness.free_port()) as daemon:
            common = [program, "-f", "a@client.test", "-t", "b@local.test", "--server",
                      "127.0.0.1", "--ehlo", "client.test", "-n"]
            probe = subprocess.run([program, "--support"], capture_output=True, text=True,
                                   timeout=harness.PATIENCE_S)
            if "TLS supported" not in probe.stdout and \
                    "Net::SSLeay" in probe.stdout + probe.stderr:
                harness.missing("swaks has no TLS here: libnet-ssleay-perl is not installed")
            self.tool(*common, "--port", daemon.port, "-tls")
            self.tool(*common, "--port", daemon.settings["LISTEN_TLS_PORT"], "-tlsc")
            self.tool(*common, "--port", daemon.port, "-tls", "-a", "PLAIN", "-au", "joe", "-ap",
                      "secret")
            self.assertEqual(len(sink.mails()), 3)

    def test_curl(self):
        program = self.program("curl")
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, LISTEN_TLS_PORT=harness.free_port()) as daemon:
            for place in ("smtp://127.0.0.1:%d" % daemon.port,
                          "smtps://127.0.0.1:%d" % daemon.settings["LISTEN_TLS_PORT"]):
                with case(place):
                    self.tool(program, "-sS", "-k", "--ssl-reqd", "--mail-from", "a@client.test",
                              "--mail-rcpt", "b@local.test", "-T", "-", place + "/client.test",
                              input=mail(20000))
            self.assertEqual(sink.mails(), [mail(20000)] * 2)

    def test_msmtp(self):
        program = self.program("msmtp")
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, LISTEN_TLS_PORT=harness.free_port()) as daemon:
            for port, starttls in ((daemon.port, "on"),
                                   (daemon.settings["LISTEN_TLS_PORT"], "off")):
                with case(starttls):
                    self.tool(program, "--host=127.0.0.1", "--port=%d" % port, "--tls=on",
                              "--tls-starttls=" + starttls, "--tls-host-override=mx.test",
                              "--tls-trust-file=%s" % daemon.settings["TLS_CERTIFICATE"],
                              "--domain=client.test", "--from=a@client.test", "b@local.test",
                              input=mail(20000).replace(b"\r\n", b"\n"))
            self.assertEqual(bodies(sink.mails()), bodies([mail(20000)] * 2))

    def test_smtp_source_through_stunnel(self):
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, LISTEN_TLS_PORT=harness.free_port(),
                             MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            for port, protocol in ((daemon.port, "protocol = smtp"),
                                   (daemon.settings["LISTEN_TLS_PORT"], "")):
                with case(protocol), Stunnel(
                        port, protocol, daemon.settings["TLS_CERTIFICATE"]) as tunnel:
                    postfix.smtp_source(tunnel.port, "-m", 40, "-s", 8, "-l", 5000, "-f",
                                        "a@client.test", "-t", "b@local.test")
            self.assertEqual(len(sink.mails()), 80)
            handshakes = daemon.records("session", count=80)
            self.assertEqual({each.get("tls") for each in handshakes}, {"TLSv1.3"})
            self.assertEqual(daemon.records("fault"), [])
