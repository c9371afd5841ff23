# SPDX-License-Identifier: ISC
"""Where records go beside the log file: the system's log, and copies of messages at level 4."""
import itertools
import os
import socket
import stat

import harness

BODY = b"Subject: kept\r\n\r\n" + b"..a dot\r\n" + (b"x" * 35000 + b"\r\n") * 2


class Syslog(harness.TestCase):
    def listener(self):
        path = self.dir / "devlog"
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(str(path))
        os.chmod(path, 0o666)
        s.settimeout(harness.PATIENCE_S)
        self.addCleanup(s.close)
        return path, s

    def test_levels_one_and_two(self):
        path, log = self.listener()
        with harness.Sink() as sink, \
                self.caronte(sink, LOG_SYSLOG=str(path), LOG_LEVEL=3) as daemon:
            with harness.Client(daemon.port) as client:
                client.hello()
                client.send_message(b"x\r\n")
                client.quit()
            seen = []
            while not seen or b"<session " not in seen[-1]:
                seen.append(log.recv(1 << 16))
        self.assertTrue(all(line.startswith(b"<22>caronte: <") for line in seen), seen)
        names = [line.split(b"<")[2].split()[0] for line in seen]
        self.assertEqual(names, [b"start", b"recipient", b"message", b"session"])

    def test_nobody_is_there(self):
        """It is said once, until somebody was."""
        path = self.dir / "devlog"
        with harness.Sink() as sink, \
                self.caronte(sink, LOG_SYSLOG=str(path), MAX_SESSIONS_PER_ADDRESS=0) as daemon:
            for spell in 1, 2:
                for _ in range(3):
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        client.quit()
                    said = daemon.records("fault", count=spell, what="log-syslog")
                    self.assertEqual(said[0].get("detail"), "%s: No such file or directory" % path)
                path, log = self.listener()
                with harness.Client(daemon.port) as client:
                    client.hello()
                    client.quit()
                log.recv(1 << 16)
                log.close()
                path.unlink()

    def test_what_can_be_no_socket(self):
        for path in "dev/log", "/" + 107 * "x":
            daemon = self.caronte("127.0.0.1:1", LOG_SYSLOG=path)
            daemon.configure()
            done = harness.run_caronte("-t", "-c", daemon.conf)
            self.assertEqual(done.returncode, harness.EX_CONFIG)
            self.assertRegex(done.stderr, "LOG_SYSLOG: .* allowed is the path of a socket")

    def test_reader_that_is_not_there_or_hangs(self):
        """The file is the log: it is whole whatever the socket does."""
        path, log = self.listener()
        for where in (self.dir / "nobody", path):
            with harness.Sink() as sink, \
                    self.caronte(sink, LOG_SYSLOG=str(where), MAX_SESSIONS_PER_ADDRESS=0) as daemon:
                for _ in range(40):
                    with harness.Client(daemon.port) as client:
                        client.hello()
                        client.quit()
                daemon.records("session", count=40)


class Copies(harness.TestCase):
    def test_copy_of_each_message(self):
        copies = self.dir / "copies"
        copies.mkdir()
        harness.give_to_user(copies)
        for body, counted in itertools.product(("BODY_AUTO", "BODY_SPLICE"), (False, True)):
            with harness.Sink() as sink, self.caronte(
                    sink, LOG_LEVEL=4, DEBUG_DIR=str(copies), DATA_AS_BDAT=counted,
                    **{body: True}) as daemon:
                with harness.Client(daemon.port) as client:
                    client.hello()
                    for octets in BODY, b"":
                        self.assertEqual(client.send_message(octets)[:3], b"250")
                    client.quit()
                records = daemon.records("debug", count=2, what="copy")
                session = daemon.record("session").get("session")
            for number, (record, octets) in enumerate(zip(records, (BODY, b"")), 1):
                path = copies / ("%s-%d.eml" % (session, number))
                self.assertEqual(record.get("copy"), str(path))
                self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
                sent = octets.replace(b"\r\n.", b"\r\n..")
                if counted:
                    self.assertEqual(path.read_bytes(), octets)
                else:
                    self.assertIn(path.read_bytes(), (octets + b".\r\n", sent + b".\r\n"))

    def test_directory_that_cannot_be_written(self):
        settings = ["LOG_LEVEL=4", "DEBUG_DIR=/nonexistent", "LOG_FILE=-", "LOG_ROTATE_MIB=0",
                    "LOG_ROTATE_HOURS=0", "MAX_SESSIONS=200", "USER=" + harness.DEFAULTS["USER"]]
        faults = harness.run_caronte("-c", os.devnull, "-t",
                                     *(word for one in settings for word in ("-o", one)))
        self.assertEqual(faults.returncode, harness.EX_CONFIG)
        self.assertEqual(faults.stderr,
                         "-o: DEBUG_DIR: /nonexistent: No such file or directory\n")

    def test_no_room_for_copies(self):
        """A copy that cannot be made is said, and the message goes through."""
        copies = self.dir / "copies"
        copies.mkdir()
        harness.give_to_user(copies)
        with harness.Sink() as sink, \
                self.caronte(sink, LOG_LEVEL=4, DEBUG_DIR=str(copies)) as daemon:
            copies.rename(self.dir / "elsewhere")
            with harness.Client(daemon.port) as client:
                client.hello()
                self.assertEqual(client.send_message(b"x\r\n")[:3], b"250")
                client.quit()
            daemon.record("debug", what="no-copy")
