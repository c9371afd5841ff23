# SPDX-License-Identifier: ISC
"""TLS_KERNEL: the kernel's record layer. Where this machine's kernel has none, its tests run in a
virtual machine with the kernel of Debian (tests/vm)."""
import contextlib
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time
import unittest

import harness
import libssl
import puppet
import test_bdat
import test_upgrade
import tls
from puppet import case
from tls import Secure, TlsCase

TCP_ULP = 31
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
TAKEN = rb"^250 2\.0\.0 Ok"
EVIL = b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@far.test>\r\n"


def kernel_has_tls():
    """Its module is there (any cipher is tried by Caronte itself)."""
    with socket.create_server(("127.0.0.1", 0)) as server, \
            socket.create_connection(server.getsockname()) as client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        except OSError:
            return False
    return True


HERE = kernel_has_tls()


def body(octets):
    line = b"kernel " * 10 + b"\r\n"
    return b"Subject: k\r\n\r\n" + line * (octets // len(line))


class Probe(TlsCase):
    each_engine = False
    dialogs = ("sniff",)

    @unittest.skipIf(HERE, "this kernel has TLS")
    def test_probe_off_here(self):
        """The start says why not, and all goes on with OpenSSL."""
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, TLS_KERNEL_AUTO=True) as daemon:
            fault = daemon.record("fault", what="kernel-tls")
            self.assertRegex(fault.get("detail"), "the kernel has no TLS, or its module is not "
                                                  "loaded")
            with Secure(daemon.port) as client:
                client.secured()
                self.assertRegex(client.send_message(body(1000)), TAKEN)
                client.quit()
            self.assertIsNone(daemon.record("session").get("kernel"))

    def test_needs_a_restart(self):
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            daemon.configure(TLS_KERNEL_AUTO=True)
            done = harness.run_caronte("-c", daemon.conf, "-t")
            self.assertEqual(done.returncode, 0, done.stderr)
            os.kill(daemon.pid, signal.SIGHUP)
            fault = daemon.record("fault", what="configuration")
            self.assertRegex(fault.get("detail"), "TLS_KERNEL.*needs a restart")


class Kernel(TlsCase):
    def caronte(self, destination=None, **settings):
        return super().caronte(destination, TLS_KERNEL_AUTO=True, **settings)

    def is_kernels(self, daemon, count=1):
        for session in daemon.records("session", count=count):
            self.assertEqual(session.get("kernel"), "yes")
            if not session.get("resumed"):  # in TLS 1.2 OpenSSL does not say then
                self.assertEqual(session.get("sni"), "mx.test")

    def test_probe_on(self):
        """The start tries it, and has nothing to complain of; both versions are the kernel's."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            for version in VERSIONS:
                with Secure(daemon.port) as client:
                    client.secured(tls.context(version))
                    client.quit()
            self.is_kernels(daemon, 2)
            self.assertEqual(daemon.records("fault"), [])

    def test_12_13_rx_bodies_equal(self):
        """Both versions, both lengths of a key."""
        ciphers = {"AES128": "ECDHE-ECDSA-AES128-GCM-SHA256",
                   "AES256": "ECDHE-ECDSA-AES256-GCM-SHA384"}
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            sizes = (100, 16 << 10, 200 << 10, 1 << 20)
            sent = 0
            for version in VERSIONS:
                for cipher in ciphers.values():
                    how = tls.context(version)
                    how.set_ciphers(cipher)
                    with case(version, cipher), Secure(daemon.port) as client:
                        client.secured(how)
                        for size in sizes:
                            self.assertRegex(client.send_message(body(size)), TAKEN)
                            sent += 1
                        client.quit()
            mails = sink.mails()
            self.assertEqual(len(mails), sent)
            self.assertEqual(set(mails), {body(size) for size in sizes})
            self.is_kernels(daemon, 4)
            self.assertEqual(daemon.records("fault"), [])

    def test_from_the_first_octet(self):
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, LISTEN_TLS_PORT=harness.free_port()) as daemon, \
                Secure(daemon.settings["LISTEN_TLS_PORT"]) as client:
            client.shake(tls.context())
            client.hello()
            self.assertRegex(client.send_message(body(50000)), TAKEN)
            client.quit()
            self.is_kernels(daemon)
            self.assertEqual(sink.mails(), [body(50000)])

    def test_resumed(self):
        """Tickets that were sent before the kernel took over are counted."""
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            for version in VERSIONS:
                how, session = tls.context(version), None
                for resumed in False, True, True:
                    with case(version, resumed), Secure(daemon.port) as client:
                        client.secured(how, session=session)
                        self.assertEqual(client.tls.session_reused, resumed)
                        self.assertRegex(client.send_message(body(30000)), TAKEN)
                        session = client.tls.session
                        client.quit()
            self.assertEqual(len(sink.mails()), 6)
            self.is_kernels(daemon, 6)

    def test_fallback_chacha(self):
        how = tls.context(ssl.TLSVersion.TLSv1_2)
        how.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.secured(how)
            self.assertRegex(client.send_message(body(50000)), TAKEN)
            client.quit()
            self.assertIsNone(daemon.record("session").get("kernel"))
            self.assertEqual(sink.mails(), [body(50000)])

    def test_tx_bodies_equal(self):
        """Both sides, by both ways of a body."""
        chain, key = tls.make_pair(pathlib.Path(self.new_dir("server")))
        for chunks in True, False:
            with case(chunks), harness.Sink(maildir=True) as sink, \
                    super().caronte(sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key)) as server, \
                    self.caronte("127.0.0.1:%d,tls=require" % server.port,
                                 DATA_AS_BDAT=chunks) as daemon:
                with Secure(daemon.port) as client:
                    client.secured()
                    for size in 100, 300000:
                        self.assertRegex(client.send_message(body(size)), TAKEN)
                    client.quit()
                self.assertEqual(sorted(map(len, sink.mails())),
                                 sorted(len(body(size)) for size in (100, 300000)))
                self.is_kernels(daemon)
                self.assertEqual(daemon.records("fault"), [])

    def test_bdat_splice_both(self):
        """Chunks of a client in clear go to a TLS connection, unread by anybody; those of one over
        TLS are received, and are the same."""
        chain, key = tls.make_pair(pathlib.Path(self.new_dir("server")))
        mail = EVIL + b".\r\n" + body(600000)
        with harness.Sink(maildir=True) as sink, \
                super().caronte(sink, TLS_CERTIFICATE=str(chain),
                                TLS_KEY=str(key)) as server, \
                self.caronte("127.0.0.1:%d,tls=require" % server.port,
                             WORKERS=1) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.envelope()

                def message():
                    client.send(b"BDAT 300000\r\n" + mail[:300000])
                    self.assertRegex(client.reply(), rb"^250 ")
                    rest = mail[300000:]
                    client.send(b"BDAT %d LAST\r\n" % len(rest) + rest + b"NOOP\r\n")
                    self.assertRegex(client.reply(), TAKEN)
                    self.assertRegex(client.reply(), rb"^250 ")

                moved = test_bdat.Moving.spliced(self, daemon, message)
                client.quit()
            # The second chunk, in and out, but for what came with its command: the header is
            # over there.
            self.assertGreater(moved, 2 * (len(mail) - 300000 - 16384))
            with Secure(daemon.port) as client:
                client.secured()
                client.envelope()
                client.send(b"BDAT %d LAST\r\n" % len(mail) + mail)
                self.assertRegex(client.reply(), TAKEN)
                client.quit()
            self.assertEqual(sink.mails(), [mail] * 2)

    def test_control_record_at_head_of_splice(self):
        """One that stands before the octets of a chunk is none of them: user_canceled says nothing,
        and close_notify is the end."""
        mail = body(100000)
        for version in VERSIONS:
            for alert, good in (libssl.USER_CANCELED, True), (libssl.CLOSE_NOTIFY, False):
                with case(version, alert), harness.Sink(maildir=True) as sink, \
                        self.caronte(sink) as daemon, Secure(daemon.port) as client:
                    client.secured(libssl.Context(version))
                    client.envelope()
                    client.send(b"BDAT %d LAST\r\n" % len(mail))
                    time.sleep(0.5)
                    forger = libssl.Forger(client.tls)
                    client.socket.sendall(
                        forger.record(libssl.ALERT, bytes([libssl.WARNING, alert])) +
                        b"".join(forger.record(libssl.DATA, mail[at:at + 16384])
                                 for at in range(0, len(mail), 16384)))
                    if good:
                        self.assertRegex(client.reply(), TAKEN)
                    else:
                        self.assertIn(client.rest(), (b"", puppet.RESET))
                        self.assertEqual(daemon.record("session").get("end"), "lost-client")
                    self.assertEqual(sink.mails(), [mail] * good)

    def growth(self, daemon):
        """Octets of a worker that idle sessions have made necessary, all of them together."""
        with contextlib.ExitStack() as stack:
            before = 0
            for count in range(60):
                if count == 10:
                    before = daemon.memory()
                stack.enter_context(Secure(daemon.port)).secured()
            return daemon.memory() - before

    def test_memory(self):
        """A session whose records the kernel has keeps nothing of OpenSSL's."""
        with harness.Sink() as sink, self.caronte(
                sink, WORKERS=1, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            kernels = self.growth(daemon)
            self.is_kernels(daemon, 60)
        with harness.Sink() as sink, super().caronte(
                sink, WORKERS=1, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            self.assertLess(kernels, self.growth(daemon) / 2)

    def test_keyupdate_61_dies_loudly(self):
        """Before a body and within one: no message, and the log says why."""
        for within in False, True:
            with case(within), harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
                with subprocess.Popen(
                        ["openssl", "s_client", "-starttls", "smtp", "-tls1_3", "-crlf",
                         "-connect", "127.0.0.1:%d" % daemon.port], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
                    def say(line, answer):
                        os.write(client.stdin.fileno(), line)
                        while answer and answer not in client.stdout.readline():
                            pass

                    say(b"EHLO x\n", b"250 ")
                    if within:
                        say(b"mail FROM:<a@client.test>\n", b"250 ")
                        say(b"rcpt TO:<b@local.test>\n", b"250 ")
                        say(b"data\n", b"354 ")
                    say(b"k\n", b"")
                    fault = daemon.record("fault", what="tls-key-update")
                    client.kill()
                self.assertRegex(fault.get("detail"), "^key-update$")
                self.assertEqual(sink.mails(), [])

    def test_close_notify_vs_fin(self):
        """An end in a body is no message, however it comes; at rest it is no fault."""
        for how in "close_notify", "fin", "reset":
            for where in "rest", "body":
                with case(how, where), harness.Sink(maildir=True) as sink, \
                        self.caronte(sink) as daemon:
                    with Secure(daemon.port) as client:
                        client.secured()
                        if where == "body":
                            client.envelope()
                            client.command("DATA", 354)
                            client.send(body(3000))
                        if how == "close_notify":
                            try:
                                client.tls.unwrap()
                            except ssl.SSLWantReadError:
                                client.flush()
                        if how == "reset":
                            client.reset()
                        else:
                            client.end()
                            client.rest()
                    self.assertEqual(daemon.record("session").get("end"), "lost-client")
                    self.assertEqual(daemon.records("fault"), [])
                    self.assertEqual(sink.mails(), [])

    def test_goodbye(self):
        """221 and close_notify, then the end."""
        with harness.Sink() as sink, self.caronte(sink) as daemon, Secure(daemon.port) as client:
            client.secured()
            client.command("QUIT", 221)
            self.assertEqual(client.tls_read(), b"")

    def test_bad_record(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon:
            with Secure(daemon.port) as client:
                client.secured()
                client.envelope()
                client.command("DATA", 354)
                record = bytearray(client.records(body(3000) + b".\r\n"))
                record[-1] ^= 1
                client.socket.sendall(record)
                self.assertIn(client.rest(), (b"", puppet.RESET))
            self.assertEqual(daemon.record("fault").get("what"), "tls-record")
            self.assertEqual(sink.mails(), [])

    def test_one_octet_records(self):
        with harness.Sink(maildir=True) as sink, self.caronte(sink) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            client.envelope()
            client.command("DATA", 354)
            mail = body(300) + b"..x\r\n"
            for octet in mail + b".\r\n":
                client.send(bytes([octet]))
            self.assertRegex(client.reply(), TAKEN)
            client.quit()
            self.assertEqual(sink.mails(), [body(300) + b".x\r\n"])

    def test_half_a_record(self):
        """Nobody is busy with it until the rest has come."""
        def seconds(pid):
            fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
            return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

        with harness.Sink() as sink, self.caronte(sink, WORKERS=1) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            record = client.records(b"NOOP\r\n")
            client.socket.sendall(record[:10])
            worker, = daemon.workers()
            time.sleep(1)
            before = seconds(worker)
            time.sleep(3)
            self.assertLess(seconds(worker) - before, 1)
            client.socket.sendall(record[10:])
            self.assertRegex(client.reply(), rb"^250 ")
            client.quit()

    def test_small_records_were_agreed_on(self):
        """The kernel knows nothing of that: OpenSSL goes on."""
        with harness.Sink() as sink, self.caronte(sink) as daemon:
            with subprocess.Popen(
                    ["openssl", "s_client", "-starttls", "smtp", "-maxfraglen", "512", "-crlf",
                     "-connect", "127.0.0.1:%d" % daemon.port], stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
                client.stdin.write(b"quit\n")
                client.stdin.flush()
                session = daemon.record("session")
                client.kill()
            self.assertEqual(session.get("tls"), "TLSv1.3")
            self.assertIsNone(session.get("kernel"))

    def test_normalize(self):
        with harness.Sink(maildir=True) as sink, \
                self.caronte(sink, BARE_NEWLINE_NORMALIZE=True) as daemon, \
                Secure(daemon.port) as client:
            client.secured()
            self.assertRegex(client.send_message(b"Subject: x\n\na\nb\r\n"), TAKEN)
            client.quit()
            self.assertEqual(sink.mails(), [b"Subject: x\r\n\r\na\r\nb\r\n"])

    def test_upgrade_with_kernel_sessions(self):
        """Old sessions go on, new ones begin."""
        chain, key = tls.make_pair(pathlib.Path(self.new_dir("server")))
        harness.give_to_user(key)
        with harness.Sink(maildir=True) as sink, test_upgrade.copy(
                self, sink, TLS_KERNEL_AUTO=True, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key),
                STOP_GRACE=60) as daemon, Secure(daemon.port) as old:
            old.secured()
            os.kill(daemon.pid, signal.SIGUSR2)
            daemon.records("reload", count=1, changed="program")
            self.assertRegex(old.send_message(body(20000)), TAKEN)
            with Secure(daemon.port) as new:
                new.secured()
                self.assertRegex(new.send_message(body(20000)), TAKEN)
                new.quit()
            old.quit()
            self.assertEqual(sink.mails(), [body(20000)] * 2)
            self.is_kernels(daemon, 2)


if not HERE:  # then Machine has them run where it has
    del Kernel


class Machine(harness.TestCase):
    """The same in a virtual machine, and some of the tests of TLS, with Debian's kernel. It is
    emulated where it cannot run by itself, so minutes pass."""
    each_engine = False
    dialogs = ("sniff",)
    ALSO = ("test_tls.Cut", "test_tls.Records", "test_tls.Injection", "test_tls.Order",
            "test_tls.Behind.test_certificate", "test_tls.Behind.test_keyupdate_flood")

    @unittest.skipIf(HERE, "this kernel has TLS itself")
    @unittest.skipIf("-asan" in harness.BUILD.name, "terabytes of shadow memory, emulated")
    @unittest.skipUnless(harness.LONG, "takes minutes: CARONTE_LONG=1 runs it")
    def test_in_a_virtual_machine(self):
        tests = harness.SOURCES / "tests"
        command = "CARONTE_TLS_KERNEL=1 %s/e2e/run --jobs 2 %s test_tls_kernel." \
            "Kernel %s" % (tests, harness.BUILD, " ".join(self.ALSO))
        done = subprocess.run([tests / "vm", harness.BUILD / "unpacked", command],
                              stdout=subprocess.PIPE, text=True, errors="replace", timeout=3600)
        if done.returncode == os.EX_UNAVAILABLE:
            self.skipTest(done.stdout.strip().splitlines()[-1])
        self.assertEqual(done.returncode, 0, done.stdout[-5000:])
        self.assertRegex(done.stdout, r"(?m)^[1-9][0-9]+ passed, 0 failed")
