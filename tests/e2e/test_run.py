# SPDX-License-Identifier: ISC
"""tools/run, which is `make run`: what it says of itself is so, also of two beside each other."""
import re
import subprocess
import sys

import harness


class Run(harness.TestCase):
    dialogs = ("sniff",)
    each_engine = False

    def setUp(self):
        self.build = self.dir / "build"
        self.build.mkdir()
        self.build.chmod(0o755)
        for program in (harness.CARONTE, harness.SINK):
            (self.build / program.name).symlink_to(program)

    def run_it(self):
        process = subprocess.Popen([sys.executable, harness.SOURCES / "tools/run", self.build],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.terminate)
        said = ""
        for line in process.stdout:
            said += line
            if "swaks -tls --server" in line:
                return process, said
        raise AssertionError(said)

    def test_two(self):
        """Each has files and ports of its own; the next one has those of one that has ended."""
        first, said = self.run_it()
        mail = re.search(r"^It arrived, byte for byte .*\n  (\S+)$", said, re.M)[1]
        self.assertIn("/build/run/maildir/new/", mail)
        second, said_second = self.run_it()
        self.assertIn("/build/run-2/maildir/new/", said_second)
        ports = [re.search(r"Serving on 127\.0\.0\.1:(\d+);", text)[1]
                 for text in (said, said_second)]
        self.assertNotEqual(*ports)
        for port in ports:
            with harness.Client(int(port)) as client:
                client.hello()
                client.quit()
        with open(mail, "rb") as f:
            self.assertIn(b"\r\nSubject: the first message\r\n", f.read())
        first.terminate()
        self.assertEqual(first.wait(harness.PATIENCE_S), 0)
        self.assertIn("/build/run/maildir/new/", self.run_it()[1])
        self.assertEqual(second.poll(), None)
