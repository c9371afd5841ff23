# SPDX-License-Identifier: ISC
"""Certificates that change on disk are taken without a signal, whole or not at all, and never one
that is older than what is in use."""
import contextlib
import os
import re
import shutil
import signal
import ssl
import threading
import time
import unittest
import unittest.mock

import harness
import test_tls_certificates
import test_upgrade
import tls
from puppet import case
from tls import Secure

DAY = 86400
QUIET_S = 2  # until what has changed is read


def days_from_now(days):
    return int(time.time()) + days * DAY


class Following(test_tls_certificates.Directory):
    """A pair of files in a place of its own, named by TLS_CERTIFICATE and TLS_KEY."""

    def setUp(self):
        super().setUp()
        self.chain, self.key = self.place / "mx.crt", self.place / "mx.key"
        self.put("first")

    def follow(self, sink, **settings):
        return self.caronte(sink, **{**self.settings(), **settings})

    def settings(self):
        return {"TLS_CERTIFICATE": str(self.chain), "TLS_KEY": str(self.key),
                "TLS_FOLLOW_SECONDS": 1}

    def follow_replaceable(self, sink):
        """A daemon whose program USER can execute again, wherever it was built."""
        return test_upgrade.copy(self, sink, **self.settings())

    def new(self, label, names=("mx.test",), **how):
        """A pair that is not in place yet: certificate and key."""
        chain, key = self.made(label, names, **how)
        for path in (chain, key):
            harness.give_to_user(path)
        return chain, key

    def put(self, label, **how):
        """A pair in place, by renaming."""
        for path, to in zip(self.new(label, **how), (self.chain, self.key)):
            path.rename(to)

    def wait_for(self, daemon, label, name="mx.test"):
        harness.wait_until(lambda: self.served(daemon, name) == label)

    def stays(self, daemon, label, seconds=2 * QUIET_S + 2):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.assertEqual(self.served(daemon, "mx.test"), label)
            time.sleep(0.2)
        self.assertEqual(daemon.records("reload"), [])

    def refused(self, daemon, said):
        """The one fault, which is told once, and changes nothing."""
        fault = daemon.record("fault", what="certificate")
        self.assertRegex(fault.get("detail"), said)
        self.stays(daemon, "first")
        self.assertEqual(len(daemon.records("fault", what="certificate")), 1)
        self.assertEqual(daemon.stderr().count(fault.get("detail")), 1)

    def shake_on(self, daemon, over, seen, faults):
        try:
            while not over.is_set():
                with Secure(daemon.port) as client:
                    client.secured()
                    seen.append(client.tls.getpeercert(True))
                    client.quit()
        except (AssertionError, OSError) as fault:
            faults.append(repr(fault))

    @contextlib.contextmanager
    def shaking(self, daemon, count):
        """Clients that shake hands all the time, none of which may fail; what certificates they
        got."""
        seen, faults, over = [], [], threading.Event()
        clients = [threading.Thread(target=self.shake_on, args=(daemon, over, seen, faults))
                   for _ in range(count)]
        for each in clients:
            each.start()
        try:
            yield seen
        finally:
            over.set()
            for each in clients:
                each.join()
        self.assertEqual(faults, [])

    def is_told_nothing(self, daemon):
        """(A client that only looks at the certificate is a fault of its handshake.)"""
        self.assertEqual({each.get("what") for each in daemon.records("fault")} -
                         {"tls-handshake", "client-faults"}, set())

    def reload(self, daemon, label):
        daemon.process.send_signal(signal.SIGHUP)
        self.wait_for(daemon, label)


class Renewals(Following):
    def renewed(self, change, changed="TLS_CERTIFICATE TLS_KEY"):
        with harness.Sink() as sink, self.follow(sink) as daemon:
            with Secure(daemon.port) as client:
                client.secured()
                change(daemon)
                self.wait_for(daemon, "second")
                self.assertEqual(daemon.record("reload").get("changed"), changed)
                self.assertRegex(client.send_message(b"Subject: x\r\n\r\n"), rb"^250 ")
                client.quit()
            self.is_told_nothing(daemon)

    def test_renew_rename(self):
        self.renewed(lambda daemon: self.put("second"))

    def test_renew_in_place_half_written(self):
        """A half is not taken, however long it lies there."""
        def change(daemon):
            (chain, key) = self.new("second")
            text = chain.read_bytes()
            shutil.copyfile(key, self.key)
            with open(self.chain, "r+b") as f:
                f.truncate()
                f.write(text[:len(text) // 2])
                f.flush()
                self.stays(daemon, "first")
                f.write(text[len(text) // 2:])
        self.renewed(change)

    def test_renew_symlink_chain(self):
        """certbot's live leads to archive."""
        self.certbot("mx.test", "mx.test")
        live = self.place / "mx.test"
        with harness.Sink() as sink, \
                self.follow(sink, TLS_CERTIFICATE=str(live / "fullchain.pem"),
                            TLS_KEY=str(live / "privkey.pem")) as daemon:
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            before = self.ders["mx.test"]
            self.certbot("mx.test", "mx.test", turn=2)
            self.assertNotEqual(self.ders["mx.test"], before)
            self.assertEqual(daemon.record("reload").get("changed"), "TLS_CERTIFICATE TLS_KEY")
            self.assertEqual(self.served(daemon, "mx.test"), "mx.test")
            self.is_told_nothing(daemon)

    def test_renew_key_first_cert_first(self):
        """Nothing is taken until both are there, whichever comes first."""
        for order in (self.key, self.chain), (self.chain, self.key):
            def change(daemon, order=order):
                new = dict(zip((self.chain, self.key), self.new("second")))
                new[order[0]].rename(order[0])
                self.stays(daemon, "first")
                new[order[1]].rename(order[1])
            with case(order):
                self.renewed(change)
                self.put("first")

    def test_same_key(self):
        """Of what has changed the certificate alone is named."""
        def change(_):
            chain, key = self.new("second")
            request = chain.with_suffix(".csr")
            tls.openssl("req", "-new", "-key", self.key, "-subj", "/CN=x", "-out", request)
            tls.openssl("x509", "-req", "-in", request, "-signkey", self.key, "-days", 40, "-out",
                        chain, "-extfile", self.names(chain.parent))
            self.ders["second"] = test_tls_certificates.der_of(chain)
            chain.rename(self.chain)
        self.renewed(change, "TLS_CERTIFICATE")

    @staticmethod
    def names(where):
        (where / "names").write_text("subjectAltName=DNS:mx.test\n")
        return where / "names"

    def test_only_touched(self):
        """The same contents are no news."""
        with harness.Sink() as sink, self.follow(sink) as daemon:
            self.chain.touch()
            self.stays(daemon, "first")
            self.put("second")
            self.wait_for(daemon, "second")
            self.assertEqual(len(daemon.records("reload", count=1)), 1)

    def test_configuration_is_not_read(self):
        """What it says by then is for a reload."""
        with harness.Sink() as sink, self.follow(sink) as daemon:
            daemon.configure(MAX_ERRORS=3, LOG_LEVEL=4)
            daemon.conf.write_text(daemon.conf.read_text() + "nonsense\n")
            self.put("second")
            self.wait_for(daemon, "second")
            self.assertEqual(daemon.record("reload").get("changed"), "TLS_CERTIFICATE TLS_KEY")

    def test_switched_off(self):
        with harness.Sink() as sink, self.follow(sink, TLS_FOLLOW_SECONDS=0) as daemon:
            self.put("second")
            self.stays(daemon, "first")
            self.reload(daemon, "second")

    def test_ticket_goes_on(self):
        """That of a certificate which stays what it is; the other one's is of no use."""
        self.pem("other", "other.test")
        how = tls.context(ssl.TLSVersion.TLSv1_2)
        with harness.Sink() as sink, \
                self.follow(sink, TLS_CERTIFICATE_DIR=str(self.place)) as daemon:
            sessions = {}
            for name in ("mx.test", "other.test"):
                with Secure(daemon.port) as client:
                    client.secured(how, name=name)
                    sessions[name] = client.tls.session
                    client.quit()
            self.put("second")
            daemon.record("reload")
            for name, session in sessions.items():
                with case(name), Secure(daemon.port) as client:
                    client.secured(how, name=name, session=session)
                    self.assertEqual(client.tls.session_reused, name == "other.test")
                    client.quit()

    def test_status(self):
        """What is told of certificates is of those in use."""
        run = self.new_dir("run")
        harness.give_to_user(run)

        def table():
            return harness.ctl("status", "--socket", run / "control").stdout
        with harness.Sink() as sink, \
                self.follow(sink, CONTROL_SOCKET=str(run / "control"),
                            PID_FILE=str(run / "pid")) as daemon:
            self.assertRegex(table(), r"\nmx\.test +1 ECDSA P-256 +(29|30) ")
            self.put("second", days=60, kind="rsa")
            daemon.record("reload")
            harness.wait_until(lambda: re.search(r"\nmx\.test +1 RSA 2048 +(59|60) ", table()))

    def test_expiry_is_told_once(self):
        """Of one that is not renewed nothing is told again; of one that is, what is true of it."""
        self.pem("a", "a.test", until=days_from_now(10))
        with harness.Sink() as sink, \
                self.follow(sink, TLS_CERTIFICATE_DIR=str(self.place)) as daemon:
            first = daemon.record("fault", what="certificate").get("detail")
            self.assertRegex(first, "^a.test, .*/a.pem: ends in 10 days")
            self.put("second", days=40)
            daemon.record("reload")
            self.pem("b", "b.test", until=days_from_now(15))
            daemon.records("reload", count=2)
            self.pem("a", "a.test", until=days_from_now(12))
            self.assertRegex(daemon.records("fault", what="certificate", count=3)[2].get("detail"),
                             "^a.test, .*/a.pem: ends in 12 days")
            told = [each.get("detail") for each in daemon.records("fault", what="certificate")]
            self.assertEqual(told[0], first)
            self.assertRegex(told[1], "^b.test, .*/b.pem: ends in 15 days")
            self.assertEqual(len(told), 3)

    def test_upgrade(self):
        """The next program goes on with it."""
        with harness.Sink() as sink, self.follow_replaceable(sink) as daemon:
            self.put("second")
            self.wait_for(daemon, "second")
            daemon.process.send_signal(signal.SIGUSR2)
            daemon.record("reload", changed="program")
            self.put("third")
            self.wait_for(daemon, "third")
            self.is_told_nothing(daemon)

    def test_credentials_dir(self):
        """A name without a slash is a credential's; they do not change while the service runs."""
        place = {"CREDENTIALS_DIRECTORY": str(self.place)}
        with harness.Sink() as sink, unittest.mock.patch.dict(os.environ, place), \
                self.follow(sink, TLS_CERTIFICATE="mx.crt", TLS_KEY="mx.key") as daemon:
            self.assertEqual(self.served(daemon, "mx.test"), "first")
            self.put("second")
            self.wait_for(daemon, "second")

    def test_directory(self):
        """One that is renewed, one that is new, and each by itself."""
        self.chain.rename(self.place / "a.crt")
        self.key.rename(self.place / "a.key")
        with harness.Sink() as sink, \
                self.follow(sink, TLS_CERTIFICATE="", TLS_KEY="",
                            TLS_CERTIFICATE_DIR=str(self.place)) as daemon:
            self.lego("a", "mx.test", days=40)
            self.wait_for(daemon, "a")
            self.pem("b", "b.test")
            self.wait_for(daemon, "b", "b.test")
            self.assertEqual([each.get("changed") for each in daemon.records("reload", count=2)],
                             ["TLS_CERTIFICATE_DIR"] * 2)
            (self.place / "b.pem").unlink()
            self.assertRegex(daemon.record("fault", what="certificate").get("detail"),
                             "/b.pem: is not there any more, and its certificate is in use: "
                             "nothing is renewed until a reload, which goes on without it")
            self.assertEqual(self.served(daemon, "b.test"), "b")
            self.reload(daemon, "a")
            harness.wait_until(lambda: self.served(daemon, "b.test") == "a")


class Refusals(Following):
    def test_monitor(self):
        """It hears that certificates are not taken, and that they are."""
        run = self.new_dir("run")
        harness.give_to_user(run)

        def check():
            return harness.ctl("status", "--check", "--socket", run / "control").stdout
        with harness.Sink() as sink, \
                self.follow(sink, CONTROL_SOCKET=str(run / "control")) as daemon:
            self.assertRegex(check(), "^OK: ")
            self.put("older", days=20)
            self.refused(daemon, "before the one in use")
            harness.wait_until(lambda: re.search(
                "^WARNING: certificates that have changed are not taken: see the log", check()))
            self.assertRegex(harness.ctl("status", "--socket", run / "control").stdout,
                             "\nrenewal +certificates that have changed are not taken")
            self.put("newer", days=40)
            self.wait_for(daemon, "newer")
            harness.wait_until(lambda: check().startswith("OK: "))
            self.put("older", days=20)
            harness.wait_until(lambda: check().startswith("WARNING: "))
            self.reload(daemon, "older")
            self.assertRegex(check(), "^OK: ")

    def test_older_pair_ignored(self):
        with harness.Sink() as sink, self.follow(sink) as daemon:
            self.put("older", days=20)
            self.refused(daemon, "/mx.crt: ends 20.*Z, before the one in use, which ends 20.*Z; a "
                                 "reload takes it all the same$")
            self.put("newer", days=40)
            self.wait_for(daemon, "newer")

    def test_expired_ignored(self):
        with harness.Sink() as sink, self.follow(sink) as daemon:
            self.put("over", names=("mx.test", "other.test"), until=int(time.time()) - 60)
            self.refused(daemon, "/mx.crt: has ended 20.*Z; a reload takes it all the same$")

    def test_reload_still_takes_older(self):
        with harness.Sink() as sink, self.follow(sink) as daemon:
            self.put("older", days=20)
            daemon.record("fault", what="certificate")
            self.reload(daemon, "older")
            self.assertEqual(daemon.record("reload").get("changed"), "TLS_CERTIFICATE TLS_KEY")

    def test_removed_file_keeps_old(self):
        for path in (self.chain, self.key):
            with case(path.name), harness.Sink() as sink, self.follow(sink) as daemon:
                path.rename(path.with_suffix(".old"))
                self.refused(daemon, "%s: cannot be read: No such file" % path)
                path.with_suffix(".old").rename(path)

    def test_world_readable(self):
        with harness.Sink() as sink, self.follow(sink) as daemon:
            self.put("second")
            self.key.chmod(0o644)
            self.refused(daemon, "/mx.key: has a private key, and others")
            self.key.chmod(0o640)
            self.wait_for(daemon, "second")

    @unittest.skipUnless(harness.ROOT, "needs root, who may read what USER may not")
    def test_root_only_reported(self):
        """Its change is seen and told, and nothing else can be done."""
        os.chown(self.key, 0, 0)
        with harness.Sink() as sink, self.follow(sink) as daemon:
            self.assertIn("/mx.key: cannot be read by user nobody: a renewal is not noticed, and "
                          "each reload and upgrade will be refused", daemon.stderr())
            self.stays(daemon, "first")
            self.is_told_nothing(daemon)
            self.put("second")
            os.chown(self.key, 0, 0)
            self.refused(daemon, "/mx.key: has changed, or what belongs to it, and user nobody "
                                 "cannot read it: restart or make it readable$")
            harness.give_to_user(self.key)
            self.wait_for(daemon, "second")


class Load(Following):
    def test_ten_renewals_under_load(self):
        """No connection is lost, and no client gets a pair that does not match."""
        with harness.Sink() as sink, \
                self.follow(sink, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            with self.shaking(daemon, 4) as seen:
                for turn in range(10):
                    self.put("turn %d" % turn)
                    daemon.records("reload", count=turn + 1)
                    self.assertEqual(self.served(daemon, "mx.test"), "turn %d" % turn)
            self.is_told_nothing(daemon)
            self.assertEqual(set(seen) - set(self.ders.values()), set())
            self.assertGreater(len(set(seen)), 8)
