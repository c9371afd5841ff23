# SPDX-License-Identifier: ISC
"""Crowds that ask for TLS: those who say nothing, or half of it, and those who mean it. What they
cost, and that others are served meanwhile."""
import contextlib
import pathlib
import select
import ssl
import time

import harness
import test_limits
import test_memory
import tls
from puppet import RESET
from tls import First, FirstCase, Secure

BODY = b"Subject: x\r\n\r\n" + b"".join(b"line %d of a message\r\n" % i for i in range(200))
TAKEN = rb"^250 2\.0\.0 Ok"
KIB, MIB = 1 << 10, 1 << 20
CROWD = 10000 if harness.LONG else 500


def client_hello():
    """What a client begins with."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="mx.test").do_handshake()
    return outgoing.read()


class Silent(FirstCase):
    """As many as there is room for, who do not go on. An SSL object would be 8.7 KB of each, one
    that has seen a ClientHello 41 KB."""
    EACH = 2 * KIB

    @contextlib.contextmanager
    def crowd(self, octets, **settings):
        if "-asan" in harness.BUILD.name:
            self.skipTest("memory of AddressSanitizer's own would be counted")
        harness.allow_descriptors(4 * CROWD)
        with harness.Sink(maildir=True) as sink, self.caronte(
                sink, MAX_SESSIONS=CROWD * 3 // 2, MAX_SESSIONS_PER_ADDRESS=0, TIMEOUT_TLS=3600,
                LOG_LEVEL=2, **settings) as daemon, contextlib.ExitStack() as stack:
            with Secure(daemon.port) as kept:
                kept.secured()
                harness.wait_until(lambda: test_memory.settled(daemon))
                before = test_memory.pss(daemon)
                for _ in range(CROWD):
                    client = stack.enter_context(test_limits.come_from(
                        "127.0.0.1", daemon.settings["LISTEN_TLS_PORT"]))
                    client.send(octets)
                harness.wait_until(lambda: test_memory.settled(daemon))
                yield daemon, test_memory.pss(daemon) - before
                self.assertRegex(kept.send_message(BODY), TAKEN)
                kept.quit()
            with harness.Client(daemon.port) as client:
                client.hello()
                self.assertRegex(client.send_message(BODY), TAKEN)
                client.quit()
            self.assertEqual(sink.mails(), [BODY] * 2)

    def test_10k_connect_silent(self):
        with self.crowd(b"") as (daemon, cost):
            self.assertLess(cost, CROWD * self.EACH + MIB)
            with First(daemon.port) as client:
                client.hello()
                client.quit()

    def test_10k_clienthello_then_silent(self):
        handshakes = 256 if harness.LONG else 8
        with self.crowd(client_hello(), TLS_HANDSHAKES=handshakes) as (daemon, cost):
            self.assertLess(cost, CROWD * self.EACH + MIB +
                            len(daemon.workers()) * handshakes * 50 * KIB)


class Signatures(FirstCase):
    """The most that a client can ask for."""
    CROWD = 3000 if harness.LONG else 600

    def test_rsa_flood_latency(self):
        """A session waits for some of the crowd's signatures at a time, and not for all of them."""
        chain, key = tls.make_pair(pathlib.Path(self.new_dir("tls")), kind="rsa")
        harness.allow_descriptors(4 * self.CROWD)
        hello = client_hello()
        with harness.Sink() as sink, self.caronte(
                sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key), WORKERS=1,
                TLS_HANDSHAKES=self.CROWD, MAX_SESSIONS=2 * self.CROWD,
                MAX_SESSIONS_PER_ADDRESS=0) as daemon, \
                harness.Client(daemon.port) as client, contextlib.ExitStack() as stack:
            client.hello()
            waiting, poll = {}, select.poll()
            for _ in range(self.CROWD):
                peer = stack.enter_context(test_limits.come_from(
                    "127.0.0.1", daemon.settings["LISTEN_TLS_PORT"]))
                waiting[peer.socket.fileno()] = peer
                poll.register(peer.socket, select.POLLIN)
            began, waits = time.monotonic(), []
            for peer in waiting.values():
                peer.send(hello)
            while waiting:
                asked = time.monotonic()
                client.command("NOOP", 250)
                waits.append(time.monotonic() - asked)
                for number, _ in poll.poll(0):
                    poll.unregister(number)
                    self.assertEqual(waiting.pop(number).socket.recv(1), b"\x16")
            took = time.monotonic() - began
            self.assertLess(sorted(waits)[len(waits) // 2], took / 8)


class Stress(FirstCase):
    def test_stress_shortens_tls(self):
        """A stranger's handshake is waited for less long, and no one's else."""
        friend = "127.0.0.3"
        with harness.Sink() as sink, self.caronte(
                sink, MAX_SESSIONS=40, MAX_SESSIONS_PER_ADDRESS=0, TIMEOUT_TLS=120,
                RELAY_NETWORKS=friend, TIMEOUT_COMMAND=3600) as daemon, \
                contextlib.ExitStack() as stack:
            port = daemon.settings["LISTEN_TLS_PORT"]
            trusted = stack.enter_context(test_limits.come_from(friend, port))
            stranger = stack.enter_context(test_limits.come_from("127.0.0.1", port))
            time.sleep(1)
            began = time.monotonic()
            others = [stack.enter_context(test_limits.come_from("127.0.0.1", daemon.port))
                      for _ in range(33)]
            for each in others:
                self.assertEqual(each.reply()[:3], b"220")
            daemon.record("fault", what="stress")
            self.assertTrue(stranger.silent())
            self.assertIn(stranger.rest(), (b"", RESET))
            self.assertGreater(time.monotonic() - began, 5)
            self.assertLess(time.monotonic() - began, 60)
            self.assertTrue(trusted.silent())
            self.assertEqual(daemon.record("fault", what="tls-handshake").get("detail"), "timeout")


class Leak(FirstCase):
    COUNT = 10000 if harness.LONG else 600

    def come_and_go(self, daemon, how):
        """A whole session, or one that ends in the middle of its handshake or behind it."""
        with First(daemon.port, shakes=how > 0) as client:
            if how == 0:
                client.socket.sendall(client_hello())
                client.socket.recv(1)
            elif how == 1:
                client.hello()
                client.quit()
            else:
                client.reset()

    def test_ssl_object_leak_10k(self):
        """What they needed is given back, and the next ones need no more than the first did."""
        if "-asan" in harness.BUILD.name:
            self.skipTest("memory of AddressSanitizer's own would be counted")
        with harness.Sink(told=False) as sink, self.caronte(
                sink, WORKERS=1, MAX_SESSIONS=1000, LOG_LEVEL=1,
                MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            for i in range(100):
                self.come_and_go(daemon, i % 3)
            harness.wait_until(lambda: test_memory.settled(daemon))
            before = test_memory.pss(daemon)
            for i in range(self.COUNT):
                self.come_and_go(daemon, i % 3)
            harness.wait_until(lambda: test_memory.pss(daemon) - before < MIB, harness.SOON_S)
            self.crowd(daemon, before)

    def crowd(self, daemon, before):
        """At the same time. What is left are the pages of sessions, and what lies among them: no
        more after the third crowd."""
        peak = 0
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                for _ in range(300):
                    stack.enter_context(First(daemon.port)).hello()
                peak = peak or test_memory.pss(daemon) - before
            harness.wait_until(lambda: test_memory.pss(daemon) - before < peak / 2,
                               harness.SOON_S)
