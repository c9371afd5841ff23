# SPDX-License-Identifier: ISC
"""A real OpenSMTPD as destination: see mailserver.py."""
import re

import harness
import mailserver

PACKAGE = "opensmtpd"
ACTIONS = """\
table everybody { "@" = "keeper" }
action box maildir "TOP/mail/box" virtual <everybody>
action far maildir "TOP/mail/far" virtual <everybody>
"""
RULES = """\
listen on 127.0.0.1 port 225 hostname local.test
match from local for domain { "local.test", "one.test" } action box
match from local for any action far
"""


class OpenSmtpd(mailserver.Confined):
    title = "OpenSMTPD"
    fatal = r"fatal|smtpd: process .* closed|unknown user"
    users = ("opensmtpd", "opensmtpq", "keeper")

    def __init__(self, rules=RULES):
        """RULES: where it listens, with the port 225, and what goes into which box."""
        super().__init__()
        self.rules = rules
        self.spool = self.dir / "spool"
        self.root = harness.unpacked(PACKAGE, "usr/sbin/smtpd")
        self.program = mailserver.runnable(self.root / "usr/sbin/smtpd")

    def start(self):
        self.make_etc()
        for name in ("run", "lib/opensmtpd/empty", "spool/smtpd"):
            (self.dir / name).mkdir(parents=True)
        (self.dir / "spool/smtpd").chmod(0o711)
        self.make_for("keeper", self.mail, self.mail / mailserver.BOX, self.mail / mailserver.FAR)
        self.port = harness.free_port()
        (self.etc / "smtpd.conf").write_text(ACTIONS.replace("TOP", str(self.dir)) +
                                             self.rules.replace("port 225", "port %d" % self.port))
        self.launch_confined([self.program, "-d", "-T", "smtp"], {
            "/etc": self.etc, "/run": self.dir / "run", "/var/lib": self.dir / "lib",
            "/var/spool": self.dir / "spool", "/usr/libexec": self.root / "usr/libexec"})
        return self

    def queues(self):
        return [self.dir / "spool/smtpd" / name for name in ("incoming", "queue")]

    def recipients(self):
        """The RCPT commands that it has heard."""
        return re.findall(r": <<< (RCPT .*)", self.log())
