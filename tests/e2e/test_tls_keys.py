# SPDX-License-Identifier: ISC
"""Private keys in a process of their own, which signs for all workers."""
import itertools
import os
import re
import signal
import struct
import subprocess
import time

import harness
import tls
from puppet import case
from test_tls_certificates import Directory
from test_tls_follow import Following
from tls import Secure

NAME = "caronte-keys"


def private_octets(key):
    """What of a PEM key is secret, in every shape in which a program may have it: each number as
    octets from either end, and the lines of the file."""
    text = subprocess.run(["openssl", "pkey", "-in", str(key), "-noout", "-text"], check=True,
                          stdout=subprocess.PIPE, encoding="ascii").stdout
    found = {}
    for part in re.finditer(r"^(priv|privateExponent|prime1|prime2):\n((?:[ ]+[0-9a-f:]+\n)+)",
                            text, re.M):
        octets = bytes.fromhex(re.sub(r"[\s:]", "", part[2])).lstrip(b"\0")
        found[part[1]] = octets
        found[part[1] + ", as numbers are kept"] = octets[::-1]
    for number, line in enumerate(key.read_bytes().splitlines()[1:-1]):
        if number > 0 and len(line) == 64:  # the first one says what kind of key it is
            found["line %d" % number] = line
    return found


PAGE = os.sysconf("SC_PAGESIZE")
THERE = 3 << 62  # in memory, or swapped: proc_pid_pagemap(5)


def runs(pagemap, begin, end):
    """Where pages are, from BEGIN to END: the others have nothing in them."""
    count = (end - begin) // PAGE
    entries = struct.unpack("<%dQ" % count,
                            os.pread(pagemap.fileno(), 8 * count, begin // PAGE * 8))
    for there, pages in itertools.groupby(enumerate(entries), lambda e: bool(e[1] & THERE)):
        numbers = [number for number, _ in pages]
        if there:
            yield begin + numbers[0] * PAGE, len(numbers) * PAGE


def memory_of(pid):
    """Each piece of a process's memory, the kernel's own left out."""
    with open("/proc/%d/maps" % pid, encoding="utf-8") as maps, \
            open("/proc/%d/pagemap" % pid, "rb", 0) as pagemap, \
            open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            place, allowed, rest = line.split(maxsplit=2)
            if "r" not in allowed or "[v" in rest:
                continue
            for at, n in runs(pagemap, *(int(x, 16) for x in place.split("-"))):
                try:
                    yield os.pread(memory.fileno(), n, at)
                except OSError:  # that of a device, or of a ring
                    continue


def secrets_in(pid, secrets):
    return {name for octets in memory_of(pid) for name, secret in secrets.items()
            if secret in octets}


class Keys(Following):
    refused = Directory.refused

    def key_process(self, daemon):
        def find():
            return [pid for pid, name in daemon.processes().items() if name == NAME]
        return harness.wait_until(find)[0]

    def shakes(self, daemon):
        with Secure(daemon.port) as client:
            client.secured()
            client.quit()

    def holders(self, daemon, secrets):
        """Which processes have some of them, by name."""
        if "-asan" in harness.BUILD.name:
            self.skipTest("AddressSanitizer has terabytes of memory, and keeps what was given back")
        harness.only_root_sees()
        found = {}
        for pid, name in [(daemon.pid, "caronte"), *daemon.processes().items()]:
            if secrets_in(pid, secrets):
                found[name] = sorted(secrets_in(pid, secrets))
        return found

    def no_other_has(self, daemon, secrets):
        self.assertEqual(list(self.holders(daemon, secrets)), [NAME])

    def test_worker_memory_holds_no_key(self):
        """The private octets are in one process: when it has started, and read them again."""
        for kind in "ec", "rsa":
            with case(kind), harness.Sink() as sink:
                self.put("first " + kind, kind=kind)
                with self.follow(sink) as daemon:
                    secrets = private_octets(self.key)
                    self.assertGreater(len(secrets), 1)
                    self.shakes(daemon)
                    self.no_other_has(daemon, secrets)
                    self.put("second " + kind, kind=kind)
                    self.wait_for(daemon, "second " + kind)
                    self.shakes(daemon)
                    self.no_other_has(daemon, private_octets(self.key))
                    daemon.process.send_signal(signal.SIGHUP)
                    daemon.records("reload", count=2)
                    self.shakes(daemon)
                    self.no_other_has(daemon, private_octets(self.key))

    def test_found_where_it_is(self):
        """What looks for keys in memory finds them where they are."""
        with harness.Sink() as sink, self.follow(sink, TLS_KEY_PROCESS=False) as daemon:
            self.shakes(daemon)
            self.assertNotIn(NAME, daemon.processes().values())
            found = self.holders(daemon, private_octets(self.key))
            self.assertTrue(all(name.startswith("caronte-w") for name in found), found)
            self.assertEqual(len(found), len(daemon.workers()))

    def test_key_process_killed_mid_handshake(self):
        """It is started again, and who shakes hands meanwhile waits."""
        with harness.Sink() as sink, self.follow(sink, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            with self.shaking(daemon, 3):
                for turn in range(3):
                    before = self.key_process(daemon)
                    os.kill(before, signal.SIGKILL)
                    harness.wait_until(lambda: self.key_process(daemon) != before)
                    daemon.records("fault", what="key-process-died", count=turn + 1)
            self.shakes(daemon)

    def test_worker_that_died(self):
        """The next one speaks over another pair of sockets, and is served."""
        with harness.Sink() as sink, self.follow(sink, WORKERS=1) as daemon:
            daemon.may_die = True
            before = self.key_process(daemon)
            worker, = daemon.workers()
            os.kill(worker, signal.SIGKILL)
            harness.wait_until(lambda: daemon.workers() not in ([], [worker]))
            harness.wait_until(lambda: self.key_process(daemon) != before)
            self.shakes(daemon)

    def test_looked_into_by_root_alone(self):
        """… whoever has started it: another process of USER takes nothing out of it."""
        with harness.Sink() as sink, self.follow(sink) as daemon:
            for pid in daemon.pid, *daemon.processes():
                self.assertEqual(os.stat("/proc/%d/mem" % pid).st_uid, 0)

    def test_stopped_key_process(self):
        """One that does not answer: the handshake fails with a reason, mail in clear goes on, and
        so does TLS when it answers again."""
        with harness.Sink() as sink, self.follow(sink) as daemon:
            with harness.frozen(self.key_process(daemon)):
                with Secure(daemon.port) as client:
                    client.reply()
                    client.send(b"EHLO client.test\r\n")
                    client.reply()
                    with self.assertRaises((OSError, AssertionError)):
                        client.begin_tls()
                fault = daemon.record("fault", what="tls-handshake")
                self.assertEqual(fault.get("detail"), "resources: the process with the private "
                                                      "keys does not sign")
                with harness.Client(daemon.port) as client:
                    client.reply()
                    client.send(b"EHLO client.test\r\n")
                    client.reply()
                    self.assertRegex(client.send_message(b"Subject: x\r\n\r\n"), rb"^250 ")
            until = time.monotonic() + harness.SOON_S
            while True:
                try:
                    self.shakes(daemon)
                    break
                except (AssertionError, OSError):
                    self.assertLess(time.monotonic(), until)

    def test_upgrade(self):
        """The next program has a process of its own, and the one before serves its workers on."""
        with harness.Sink() as sink, self.follow_replaceable(sink) as daemon, \
                Secure(daemon.port) as client:
            client.reply()
            before = self.key_process(daemon)
            daemon.process.send_signal(signal.SIGUSR2)
            self.assertEqual(daemon.record("reload").get("changed"), "program")
            self.shakes(daemon)
            self.assertEqual(sorted(daemon.processes().values()).count(NAME), 2)
            client.send(b"EHLO client.test\r\n")
            client.reply()
            client.begin_tls()
            client.send(b"EHLO client.test\r\n")
            client.reply()
            client.quit()
            harness.wait_until(lambda: harness.is_gone(before))
            self.shakes(daemon)

    def test_reload_of_the_same_keys(self):
        """A reload, or a certificate for the same key, leaves the process alone; without
        certificates there is none."""
        with harness.Sink() as sink, self.follow(sink) as daemon:
            before = self.key_process(daemon)
            daemon.process.send_signal(signal.SIGHUP)
            daemon.records("reload", count=1)
            self.assertEqual(self.key_process(daemon), before)
        with harness.Sink() as sink, \
                self.caronte(sink, TLS_CERTIFICATE=None, TLS_KEY=None) as daemon:
            with harness.Client(daemon.port) as client:
                client.reply()
            self.assertNotIn(NAME, daemon.processes().values())

    def test_kinds_that_cannot_be_apart(self):
        key, chain = self.place / "ed.key", self.place / "ed.crt"
        tls.openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=mx.test",
                    "-addext", "subjectAltName=DNS:mx.test", "-days", "9", "-keyout", str(key),
                    "-out", str(chain))
        for path in (key, chain):
            harness.give_to_user(path)
        settings = {"TLS_CERTIFICATE": str(chain), "TLS_KEY": str(key)}
        self.refused(r"TLS_KEY: %s: a key of this kind cannot be in a process of its own: "
                     r".*TLS_KEY_PROCESS=n" % key, **settings)
        with harness.Sink() as sink, \
                self.caronte(sink, TLS_KEY_PROCESS=False, **settings) as daemon:
            self.shakes(daemon)

    def test_needs_a_restart(self):
        with harness.Sink() as sink, self.follow(sink) as daemon:
            daemon.configure(TLS_KEY_PROCESS=False)
            daemon.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: "TLS_KEY_PROCESS: needs a restart" in daemon.stderr())
