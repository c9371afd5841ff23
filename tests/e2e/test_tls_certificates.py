# SPDX-License-Identifier: ISC
"""Certificates: many of them in a directory, in the ways in which certbot and lego leave them
there, and which of them a client gets."""
import hashlib
import json
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import time
import unittest
import urllib.request

import harness
import test_status
import tls
from puppet import case
from tls import Secure, TlsCase

DAY = 86400


def der_of(chain):
    return ssl.PEM_cert_to_DER_cert(chain.read_text())


class Directory(TlsCase):
    """A directory of certificates, and helpers to fill and to ask it."""
    each_engine = False
    dialogs = ("sniff",)

    def setUp(self):
        super().setUp()
        self.place = self.new_dir("certificates")
        self.ders = {}  # by the name of a file or directory there

    def made(self, label, names, **how):
        chain, key = tls.make_pair(pathlib.Path(self.new_dir("made")), names=names, **how)
        self.ders[label] = der_of(chain)
        return chain, key

    def pem(self, label, *names, **how):
        chain, key = self.made(label, names, **how)
        path = self.place / (label + ".pem")
        path.touch(mode=0o640)
        path.write_bytes(chain.read_bytes() + key.read_bytes())
        harness.give_to_user(path)
        return path

    def lego(self, label, *names, **how):
        chain, key = self.made(label, names, **how)
        shutil.move(chain, self.place / (label + ".crt"))
        shutil.move(key, self.place / (label + ".key"))
        harness.give_to_user(self.place / (label + ".key"))

    def certbot(self, label, *names, turn=1, **how):
        """live/NAME leads to archive/NAME by links, as after the TURN-th renewal."""
        chain, key = self.made(label, names, **how)
        live, archive = self.place / label, self.place.parent / "archive" / label
        archive.mkdir(parents=True, exist_ok=True)
        live.mkdir(exist_ok=True)
        for made, name in ((chain, "fullchain"), (key, "privkey")):
            link = live / (name + ".pem")
            link.unlink(missing_ok=True)
            shutil.move(made, archive / ("%s%d.pem" % (name, turn)))
            link.symlink_to("../../archive/%s/%s%d.pem" % (label, name, turn))
            harness.give_to_user(archive / ("%s%d.pem" % (name, turn)))

    def serve(self, sink, **settings):
        return self.caronte(sink, **{"TLS_CERTIFICATE": "", "TLS_CERTIFICATE_DIR": str(self.place),
                                     **settings})

    def served(self, daemon, name, real=None, how=None):
        """The label of the certificate that a client gets that asks for NAME (bytes, put in place
        of REAL in its ClientHello); one of TLS 1.2, where it is sent in clear. None: an alert."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        shaking = (how or tls.context(ssl.TLSVersion.TLSv1_2)).wrap_bio(
            incoming, outgoing, server_hostname=real or name)
        with Secure(daemon.port) as client:
            client.hello()
            client.command("STARTTLS", 220)
            try:
                shaking.do_handshake()
            except ssl.SSLWantReadError:
                pass
            hello = outgoing.read()
            if real:
                self.assertEqual((len(real), hello.count(real.encode())), (len(name), 1))
                hello = hello.replace(real.encode(), name)
            client.socket.sendall(hello)
            got = b""
            while not (found := [label for label, der in self.ders.items() if der in got]):
                octets = client.socket.recv(1 << 16)
                if not octets:
                    self.assertEqual(got[:1], b"\x15", got)
                    return None
                got += octets
            self.assertEqual(len(found), 1)
            return found[0]

    def refused(self, said, **settings):
        daemon = self.serve("127.0.0.1:9", LISTEN_PORT=harness.free_port(), **settings)
        daemon.configure()
        done = harness.run_caronte("-c", daemon.conf, "-t")
        self.assertEqual(done.returncode, harness.EX_CONFIG, done.stderr)
        self.assertRegex(done.stderr, said)


class Names(Directory):
    """Which certificate a client gets."""

    def asked(self, rows):
        self.pem("a-first", "first.test")
        self.pem("b-exact", "mx.test", "mail.test")
        self.pem("c-wild", "*.wild.test")
        self.pem("d-idn", "xn--bcher-kva.test")
        with harness.Sink() as sink, self.serve(sink) as daemon:
            for name, real, want in rows:
                with case(name):
                    self.assertEqual(self.served(daemon, name, real), want)
            daemon.records("session", count=len(rows))

    def test_sni_exact(self):
        self.asked((("mx.test", None, "b-exact"), ("mail.test", None, "b-exact"),
                    ("MX.TEST", None, "b-exact"), ("first.test", None, "a-first")))

    def test_sni_wildcard(self):
        self.asked((("mx.wild.test", None, "c-wild"), ("wild.test", None, "a-first"),
                    ("a.mx.wild.test", None, "a-first")))

    def test_sni_unknown(self):
        self.asked((("other.test", None, "a-first"),))

    def test_sni_none(self):
        self.asked(((None, None, "a-first"),))

    def test_sni_IP(self):
        self.asked(((b"192.0.2.1", "x92.0.2.1", "a-first"),))

    def test_sni_idn(self):
        self.asked((("xn--bcher-kva.test", None, "d-idn"),
                    ("bücher.test".encode(), "xxxcher.test"[:len("bücher.test".encode())],
                     "a-first")))

    def test_sni_NUL(self):
        """OpenSSL takes no such name: unrecognized_name."""
        self.asked(((b"mx.test\0.evil.test", "mx.testx.evil.test", None),
                    (b"mx.test\0", "mx.testx", None),
                    (b"a\0b.wild.test", "axb.wild.test", None)))

    def test_rsa_and_ecdsa_by_sigalg(self):
        self.pem("a-first", "first.test")
        self.pem("mx-rsa", "mx.test", "mail.test", kind="rsa")
        self.lego("mx-ec", "mail.test", "mx.test")
        with harness.Sink() as sink, self.serve(sink) as daemon:
            for cipher, want in (("ECDHE-RSA-AES128-GCM-SHA256", "mx-rsa"),
                                 ("ECDHE-ECDSA-AES128-GCM-SHA256", "mx-ec")):
                how = tls.context(ssl.TLSVersion.TLSv1_2)
                how.set_ciphers(cipher)
                with case(want):
                    self.assertEqual(self.served(daemon, "mx.test", how=how), want)
            daemon.records("session", count=2)

    def test_behind_the_setting(self):
        """TLS_CERTIFICATE is what a client gets that asks for nothing known, and its names are its
        own."""
        self.pem("a-first", "mx.test", "a.test")
        chain, key = self.made("setting", ("mx.test",))
        with harness.Sink() as sink, \
                self.serve(sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key)) as daemon:
            for name, want in (("other.test", "setting"), ("mx.test", "setting"),
                               ("a.test", "a-first")):
                with case(name):
                    self.assertEqual(self.served(daemon, name), want)
            daemon.records("session", count=3)


class Layouts(Directory):
    def test_layouts(self):
        """All of them together, and what is none of them."""
        self.certbot("certbot.test", "certbot.test")
        self.lego("lego.test", "lego.test")
        (self.place / "lego.test.issuer.crt").write_text("no certificate\n")
        (self.place / "lego.test.json").write_text("{}\n")
        self.pem("plain", "plain.test")
        shutil.copy(self.place / "plain.pem", self.place / ".hidden.pem")
        (self.place / "README").write_text("This directory contains your keys.\n")
        (self.place / "empty").mkdir()
        with harness.Sink() as sink, self.serve(sink) as daemon:
            for name, want in (("certbot.test", "certbot.test"), ("lego.test", "lego.test"),
                               ("plain.test", "plain"), ("other.test", "certbot.test")):
                with case(name):
                    self.assertEqual(self.served(daemon, name), want)
            daemon.records("session", count=4)

    def test_certbot_renews(self):
        """The links lead to other files by then, and a reload follows them; of what has changed the
        setting is named, and the certificate."""
        self.certbot("mx.test", "mx.test")
        with harness.Sink() as sink, self.serve(sink) as daemon:
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            before = self.ders["mx.test"]
            self.certbot("mx.test", "mx.test", turn=2)
            self.assertNotEqual(self.ders["mx.test"], before)
            daemon.process.send_signal(signal.SIGHUP)
            reload = daemon.record("reload")
            self.assertEqual(reload.get("changed"), "TLS_CERTIFICATE_DIR")
            self.assertEqual(reload.get("certificates"), "mx.test (ECDSA P-256, another key)")
            self.assertIn("reloaded, changed: TLS_CERTIFICATE_DIR; certificates: mx.test (",
                          daemon.stderr())
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            daemon.records("session", count=2)

    def test_the_same_once(self):
        """lego writes a certificate twice with --pem, and TLS_CERTIFICATE may name one that is in
        the directory too."""
        self.lego("mx.test", "mx.test")
        chain, key = self.place / "mx.test.crt", self.place / "mx.test.key"
        (self.place / "mx.test.pem").touch(mode=0o640)
        (self.place / "mx.test.pem").write_bytes(chain.read_bytes() + key.read_bytes())
        with harness.Sink() as sink, \
                self.serve(sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key)) as daemon:
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            daemon.record("session")

    @unittest.skipUnless(harness.ROOT, "needs root, who may read what USER may not")
    def test_of_root_alone(self):
        """As certbot leaves it: root reads it at the start, and a reload, which is not root, is
        refused and changes nothing."""
        self.certbot("mx.test", "mx.test")
        for place in (self.place, self.place.parent / "archive"):
            place.chmod(0o700)
        with harness.Sink() as sink, self.serve(sink) as daemon:
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            daemon.process.send_signal(signal.SIGHUP)
            self.assertRegex(daemon.record("fault", what="configuration").get("detail"),
                             "TLS_CERTIFICATE_DIR: .*: cannot be read by user nobody")
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            daemon.records("session", count=2)

    @unittest.skipUnless(harness.ROOT, "needs root, who may read what USER may not")
    def test_directory_of_root_alone_in_it(self):
        """USER sees that there is one, and cannot enter it."""
        self.pem("a-first", "first.test")
        self.certbot("mx.test", "mx.test")
        (self.place / "mx.test").chmod(0o700)
        with harness.Sink() as sink, self.serve(sink) as daemon:
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            daemon.record("session")


class Faults(Directory):
    def test_world_readable(self):
        self.pem("good", "good.test")
        self.lego("mx", "mx.test")
        (self.place / "mx.key").chmod(0o644)
        self.refused("TLS_CERTIFICATE_DIR: .*/mx.key: has a private key, and others")

    def test_wrong_pair(self):
        self.lego("mx", "mx.test")
        self.lego("other", "other.test")
        shutil.copy(self.place / "other.key", self.place / "mx.key")
        self.refused("mx.crt: the private key belongs to none of the certificates")

    def test_no_key(self):
        chain, _ = self.made("mx", ("mx.test",))
        shutil.move(chain, self.place / "mx.pem")
        self.refused(r"mx.pem: no private key \(BEGIN PRIVATE KEY\) that can be read\n")

    def test_all_of_them_are_told(self):
        for label in ("a", "b", "c"):
            (self.place / (label + ".pem")).write_text("nothing\n")
        self.refused("a.pem: no certificate.*\n.*b.pem: no certificate.*\n.*c.pem: no certificate")

    def test_link_to_nowhere(self):
        self.certbot("mx.test", "mx.test")
        (self.place.parent / "archive/mx.test/privkey1.pem").unlink()
        self.refused("mx.test/privkey.pem: cannot be read: No such file")

    def test_two_for_the_same(self):
        self.lego("a", "mx.test", "mail.test")
        self.pem("b", "mail.test", "mx.test")
        self.refused("b.pem: is for the same names, with the same kind of key, as .*/a.crt")

    def test_too_large(self):
        self.pem("a", "mx.test")
        (self.place / "b.pem").write_bytes(bytes(300 << 10))
        self.refused("b.pem: has more than 256 KiB")

    def test_directory(self):
        self.refused("TLS_CERTIFICATE_DIR: .*: has no certificate: NAME.pem")
        self.refused("TLS_CERTIFICATE_DIR: .*/missing: cannot be read: No such file",
                     TLS_CERTIFICATE_DIR=str(self.place / "missing"))
        self.refused("TLS_CERTIFICATE_DIR: certificates: write it from / on",
                     TLS_CERTIFICATE_DIR="certificates")
        path = self.pem("a", "mx.test")
        self.refused("TLS_CERTIFICATE_DIR: .*/a.pem: cannot be read: Not a directory",
                     TLS_CERTIFICATE_DIR=str(path))

    def test_reload_is_refused_as_a_whole(self):
        self.pem("a", "a.test")
        with harness.Sink() as sink, self.serve(sink) as daemon:
            before = self.ders["a"]
            self.pem("a", "a.test")
            self.pem("b", "b.test").write_bytes(b"half of it")
            daemon.process.send_signal(signal.SIGHUP)
            self.assertRegex(daemon.record("fault", what="configuration").get("detail"),
                             "TLS_CERTIFICATE_DIR: .*/b.pem: no certificate")
            self.ders["a"] = before
            self.assertEqual(self.served(daemon, "a.test"), "a")
            daemon.record("session")


class Expiry(Directory):
    """The end of a certificate is told of, and refuses nothing."""

    def fill(self, **left):
        now = time.time()
        for label, seconds in left.items():
            self.pem(label, label + ".test", until=int(now + seconds))

    def told(self, daemon, count):
        """What was said of each, without the rest of the words."""
        said = [re.match(r"(\w+)\.test, .*: (ends in|has ended) (\d+) (\w+)",
                         each.get("detail")).groups()
                for each in daemon.records("fault", what="certificate", count=count)]
        return [(label, int(number), unit) if how == "ends in" else (label, -int(number), unit)
                for label, how, number, unit in said]

    def test_expired_start_warns(self):
        self.fill(over=-3 * DAY - 60)
        with harness.Sink(maildir=True) as sink, self.serve(sink) as daemon:
            done = harness.run_caronte("-c", daemon.conf, "-t")
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stderr, r"TLS_CERTIFICATE_DIR: warning: over.test, /.*/over.pem: "
                                          r"has ended 3 days ago, 20.*Z; renew it\n")
            self.assertEqual(self.told(daemon, 1), [("over", -3, "days")])
            harness.wait_until(lambda: "certificate: over.test" in daemon.stderr())
            with Secure(daemon.port) as client:
                client.secured(name="over.test")
                self.assertRegex(client.send_message(b"Subject: x\r\n\r\n"), rb"^250 ")
                client.quit()
            daemon.record("session")

    def test_expiry_21_7_1(self):
        """Each step once, at the start and while it runs; a reload begins anew."""
        self.fill(a22=22 * DAY, b21=21 * DAY - 60, c7=7 * DAY - 60, d1=DAY - 60, e0=-60)
        first = [("b21", 21, "days"), ("c7", 7, "days"), ("d1", 24, "hours")]
        with harness.Sink() as sink, self.serve(sink) as daemon:
            told = self.told(daemon, 4)
            self.assertEqual(told[:3], first)
            self.assertEqual((told[3][0], told[3][2]), ("e0", "seconds"))
            daemon.process.send_signal(signal.SIGHUP)
            daemon.record("reload")
            told = self.told(daemon, 8)
            self.assertEqual(told[4:7], first)
            done = harness.run_caronte("-c", daemon.conf, "-t")
            self.assertEqual(re.findall(r"warning: (\w+)\.test,", done.stderr),
                             ["b21", "c7", "d1", "e0"])

    def test_while_it_runs(self):
        """A step that is taken later, to the second."""
        self.fill(a=21 * DAY + 12, b=7 * DAY + 12, c=DAY + 12, d=12)
        with harness.Sink() as sink, self.serve(sink) as daemon:
            self.assertEqual([label for label, _, _ in self.told(daemon, 3)], ["b", "c", "d"])
            told = self.told(daemon, 7)[3:]
            self.assertEqual(told[:3], [("a", 21, "days"), ("b", 7, "days"), ("c", 24, "hours")])
            self.assertEqual(told[3][0], "d")
            time.sleep(1)
            self.assertEqual(len(self.told(daemon, 7)), 7)

    def test_without_its_issuer(self):
        """certbot's cert.pem in place of fullchain.pem."""
        where = pathlib.Path(self.new_dir("authority"))
        authority = tls.make_pair(where, ["An authority"], name="ca")
        self.pem("alone", "alone.test", authority=authority)
        whole = self.pem("whole", "whole.test", authority=authority)
        whole.write_bytes(whole.read_bytes() + authority[0].read_bytes())
        self.pem("own", "own.test")
        with harness.Sink() as sink, self.serve(sink) as daemon:
            done = harness.run_caronte("-c", daemon.conf, "-t")
            self.assertEqual(done.returncode, 0)
            self.assertEqual(re.findall(r"warning: (\S+): has no certificate of its issuer",
                                        done.stderr), [str(self.place / "alone.pem")])

    def test_setting(self):
        """TLS_CERTIFICATE as well."""
        chain, key = self.made("one", ("one.test",), until=int(time.time() + DAY / 2))
        with harness.Sink() as sink, \
                self.serve(sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key),
                           TLS_CERTIFICATE_DIR="") as daemon:
            self.assertEqual(self.told(daemon, 1), [("one", 12, "hours")])
            done = harness.run_caronte("-c", daemon.conf, "-t")
            self.assertRegex(done.stderr, "TLS_CERTIFICATE: warning: one.test, ")


def tlsa_of(chain):
    """TLSA 3 1 1 of a certificate's key, by openssl(1)."""
    key = subprocess.run(["openssl", "x509", "-in", chain, "-noout", "-pubkey"], check=True,
                         capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True,
                         capture_output=True).stdout
    return "3 1 1 " + hashlib.sha256(der).hexdigest()


class Told(Directory):
    """What a running daemon tells of its certificates."""

    def setUp(self):
        super().setUp()
        run = self.new_dir("run")
        harness.give_to_user(run)
        self.socket = run / "control"
        self.now = int(time.time()) + 1800  # no test is at the edge of a day
        self.pem("a", "mx.test", "*.wild.test", "two.test", until=self.now + 40 * DAY)
        self.lego("b", "b.test", kind="rsa", until=self.now + 3 * DAY)

    def serve(self, sink, **settings):
        return super().serve(sink, CONTROL_SOCKET=str(self.socket), **settings)

    def ctl(self, *arguments):
        return harness.ctl(arguments[0], "--socket", self.socket, *arguments[1:])

    def test_document(self):
        with harness.Sink() as sink, self.serve(sink):
            one, other = json.loads(self.ctl("status", "--json").stdout)["certificates"]
            for each, left in ((one, 40 * DAY), (other, 3 * DAY)):
                self.assertAlmostEqual(each.pop("seconds_left"), left + 1800,
                                       delta=harness.PATIENCE_S)
                until = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(self.now + left))
                self.assertEqual(each.pop("until"), until)
            self.assertEqual(one, {
                "names": ["mx.test", "*.wild.test", "two.test"], "key": "ECDSA P-256",
                "file": str(self.place / "a.pem"), "ends_soon": False,
                "tlsa": tlsa_of(self.place / "a.pem")})
            self.assertEqual(other, {
                "names": ["b.test"], "key": "RSA 2048", "file": str(self.place / "b.crt"),
                "ends_soon": True, "tlsa": tlsa_of(self.place / "b.crt")})

    def test_table(self):
        with harness.Sink() as sink, self.serve(sink):
            table = self.ctl("status").stdout
            self.assertRegex(table, r"\ncertificate  names key +days until +file\n"
                                    r"mx\.test +3 ECDSA P-256 +40 20\S+Z /\S+/a\.pem\n"
                                    r" +TLSA 3 1 1 [0-9a-f]{64}\n"
                                    r"b\.test +1 RSA 2048 +3 20\S+Z /\S+/b\.crt\n")
            done = self.ctl("status", "--check")
            self.assertEqual((done.returncode, done.stdout),
                             (1, "WARNING: the certificate of b.test ends in 3.0 days\n"))

    def test_tlsa(self):
        self.pem("c", "b.test")  # and "b" has another key for the same name
        self.pem("d\n_25._tcp.evil", "*.d.test")
        with harness.Sink() as sink, self.serve(sink):
            one, other, third, last = (tlsa_of(self.place / name) for name in (
                "a.pem", "b.crt", "c.pem", "d\n_25._tcp.evil.pem"))
            done = self.ctl("tlsa")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(done.stdout.splitlines(), [
                "; %s/a.pem, ECDSA P-256" % self.place,
                "_25._tcp.mx.test. IN TLSA " + one,
                "; *.wild.test is for hosts of other names: _25._tcp.HOST. IN TLSA " + one,
                "_25._tcp.two.test. IN TLSA " + one,
                "; %s/b.crt, RSA 2048" % self.place,
                "_25._tcp.b.test. IN TLSA " + other,
                "; %s/c.pem, ECDSA P-256" % self.place,
                "_25._tcp.b.test. IN TLSA " + third,
                "; %s/d?_25._tcp.evil.pem, ECDSA P-256" % self.place,
                "; *.d.test is for hosts of other names: _25._tcp.HOST. IN TLSA " + last])
        with harness.Sink() as sink, self.serve(sink, TLS_CERTIFICATE_DIR=""):
            done = self.ctl("tlsa")
            self.assertEqual((done.returncode, done.stdout, done.stderr),
                             (1, "", "carontectl: the daemon has no certificate\n"))
        done = self.ctl("tlsa")
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertEqual(self.ctl("tlsa", "more").returncode, harness.EX_USAGE)

    def test_none(self):
        with harness.Sink() as sink, self.serve(sink, TLS_CERTIFICATE_DIR=""):
            self.assertEqual(json.loads(self.ctl("status", "--json").stdout)["certificates"], [])
            self.assertNotIn("certificate", self.ctl("status").stdout)

    def test_metrics(self):
        # One of the same name, as a renewal has left it.
        self.pem("c", "mx.test", "more.test", until=self.now - DAY)
        port = harness.free_port()
        with harness.Sink() as sink, self.serve(sink, METRICS_ADDRESS="127.0.0.1:%d" % port):
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port,
                                        timeout=harness.PATIENCE_S) as answer:
                found = test_status.parse_metrics(answer.read().decode())
            found = found["caronte_certificate_expiry_seconds"]
            for label, name, key, left in (("a.pem", "mx.test", "ECDSA P-256", 40 * DAY),
                                           ("b.crt", "b.test", "RSA 2048", 3 * DAY),
                                           ("c.pem", "mx.test", "ECDSA P-256", -DAY)):
                value = found.pop('name="%s",key="%s",file="%s"' % (name, key, self.place / label))
                self.assertAlmostEqual(value, left + 1800, delta=harness.PATIENCE_S)
            self.assertEqual(found, {})

    def test_reload(self):
        """It tells of those that it has then."""
        with harness.Sink() as sink, self.serve(sink) as daemon:
            self.pem("a", "new.test")
            daemon.process.send_signal(signal.SIGHUP)
            daemon.record("reload")
            harness.wait_until(lambda: self.ctl("status").stdout.count("\nnew.test ") == 1)


class Many(Directory):
    def fill(self, count):
        key = self.made("key", ("mx.test",))[1]
        for i in range(count):
            path = self.place / ("%03d.pem" % i)
            tls.openssl("req", "-x509", "-new", "-key", key, "-days", 90, "-subj", "/CN=x",
                        "-out", path, "-addext",
                        "subjectAltName=DNS:mx%d.test,DNS:%d.test" % (i, i))
            self.ders[i] = der_of(path)
            path.write_bytes(path.read_bytes() + key.read_bytes())
            path.chmod(0o640)
            harness.give_to_user(path)

    def test_200_certificates_memory(self):
        self.fill(200)
        alone = self.made("alone", ("alone.test",))
        with harness.Sink() as sink, \
                self.caronte(sink, WORKERS=1, TLS_CERTIFICATE=str(alone[0]),
                             TLS_KEY=str(alone[1])) as daemon:
            self.assertEqual(self.served(daemon, "mx7.test"), "alone")
            before = daemon.memory()
            daemon.record("session")
        with harness.Sink() as sink, self.serve(sink, WORKERS=1, MAX_SESSIONS=10) as daemon:
            for i in (0, 1, 42, 199):
                self.assertEqual(self.served(daemon, "mx%d.test" % i), i)
                self.assertEqual(self.served(daemon, "%d.test" % i), i)
            each = (daemon.memory() - before) / 200
            daemon.records("session", count=8)
            if not harness.BUILD.name.endswith("-asan"):  # which keeps what was freed
                self.assertLess(each, 40e3)  # 23,000: half of it is OpenSSL's context

    def test_200_certificates_reload(self):
        """Sessions go on while they are loaded; of two reloads, the second is what counts."""
        self.fill(200)
        with harness.Sink() as sink, self.serve(sink, MAX_SESSIONS=10) as daemon, \
                Secure(daemon.port) as client:
            client.secured(name="mx7.test")
            for turn in range(3):
                self.pem("%03d" % turn, "mx%d.test" % turn)
                daemon.process.send_signal(signal.SIGHUP)
                client.command("NOOP", 250)
            for turn in range(3):
                harness.wait_until(
                    lambda turn=turn: self.served(daemon, "mx%d.test" % turn) == "%03d" % turn)
            self.assertEqual(self.served(daemon, "mx7.test"), 7)
            self.assertRegex(client.send_message(b"Subject: x\r\n\r\n"), rb"^250 ")
            client.quit()
