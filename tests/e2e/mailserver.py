# SPDX-License-Identifier: ISC
"""What real mail servers as destinations of a test have in common: postfix.py, exim.py,
opensmtpd.py and sendmail.py.

A package lies in BUILD/unpacked, where `make` puts it (tools/need --unpack; a BUILD that ends in
-asan uses that of the plain one), and is never installed, since that would start a server.
Configuration, queue and mail are below the test's directory. Only root can start one, so as another
user tests with it are skipped.

Each is set up as a mail server behind a proxy is: it trusts loopback, and takes from there what is
for anybody. Mail for local.test and one.test goes into one Maildir (mails()), mail for anybody else
into another one, or is thrown away: what is there, mails(box=FAR), an open relay would have sent.
Nothing ever leaves the machine.

A server of which users and paths are compiled in is a Confined one: it sees, in a mount namespace
of its own, directories of the test in place of the machine's, where users are that the machine has
not. All its processes are in a process namespace too, and end with the first one.
"""
import functools
import os
import re
import signal
import socket
import subprocess
import unittest

import harness

BOX, FAR = "box", "far"
# What servers and their delivery put on top of a message.
ADDED = re.compile(rb"(?:(?:Return-Path|X-Original-To|Delivered-To|Received): ?[^\n]*\n"
                   rb"(?:[ \t][^\n]*\n)*)+")
FIRST_ID = 65001  # of users that are known in a namespace alone: Debian gives them to nobody
# $1 is to be seen at $2, and so on, up to --. The shell stays the first process, since a program
# with a set-user-ID bit would not get the signal at its parent's death.
CONFINE = """\
while [ "$1" != -- ]; do
	mount --bind "$1" "$2" || exit
	shift 2
done
shift
"$@"
exit
"""


def runnable(path, environment=None):
    """PATH, a program that runs here: no library is missing."""
    said = subprocess.run(["ldd", path], env=environment, stdout=subprocess.PIPE, text=True).stdout
    if lacks := re.findall(r"(\S+) => not found", said):
        harness.missing("%s needs %s" % (path.name, ", ".join(lacks)))
    return path


class MailServer(harness.Program):
    title = ""
    fatal = r"fatal|panic"  # never in its log
    address = "127.0.0.1"

    def __init__(self):
        if not harness.ROOT:
            raise unittest.SkipTest("only root can start " + self.title)
        super().__init__(self.title.lower())
        self.port = None
        self.mail = self.dir / "mail"

    def log(self):
        """All that it has logged so far."""
        return self.stderr()

    def has_logged(self, text):
        """Once TEXT is in its log, all of that. A server may write it behind its answer."""
        try:
            harness.wait_until(lambda: text in self.log())
        except AssertionError:
            raise AssertionError("%r is not in the log: %s" % (text, self.log())) from None
        return self.log()

    def queues(self):
        """Directories with a file or more for each message that is taken and not delivered."""
        raise NotImplementedError

    def greets(self):
        if self.process.poll() is not None:
            raise AssertionError("%s ended: %s %s" % (self.title, self.stderr(), self.log()))
        try:
            with socket.create_connection((self.address, self.port),
                                          timeout=harness.PATIENCE_S) as s:
                return s.recv(4) == b"220 "
        except OSError:
            return False

    def queued(self):
        """How many messages, about, it has taken and not delivered."""
        return sum(len(files) for path in self.queues() for _, _, files in os.walk(path))

    def mails(self, count=0, box=BOX):
        """Messages as they were sent, with CR LF line ends, once COUNT are there and none comes
        any more."""
        new = self.mail / box / "new"
        harness.wait_until(lambda: not self.queued() and
                           (not count or new.exists() and len(os.listdir(new)) >= count), 60)
        return [self.content(path) for path in new.iterdir()] if new.exists() else []

    def content(self, path):
        return ADDED.sub(b"", path.read_bytes(), count=1).replace(b"\n", b"\r\n")

    def clean_up(self):
        if self.process and self.process.poll() is None:
            self.stop()

    def __exit__(self, kind, *rest):
        self.stop()
        if kind is None and (bad := re.search(r"(?m)^.*(?:%s).*" % self.fatal, self.log())):
            raise AssertionError("%s: %s" % (self.title, bad[0]))


@functools.cache
def why_not_confined():
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.strip() if done.returncode else ""


class Confined(MailServer):
    users = ()

    def __init__(self):
        super().__init__()
        if why := why_not_confined():
            raise unittest.SkipTest("no namespaces here: " + why)
        self.etc = self.dir / "etc"

    def make_etc(self):
        """An /etc with its users, and without a name server."""
        self.etc.mkdir()
        ids = range(FIRST_ID, FIRST_ID + len(self.users))
        (self.etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\n" + "".join(
            "%s:x:%d:%d::%s:/bin/sh\n" % (name, each, each, self.mail)
            for name, each in zip(self.users, ids)))
        (self.etc / "group").write_text("root:x:0:\nmail:x:8:\n" + "".join(
            "%s:x:%d:\n" % row for row in zip(self.users, ids)))
        (self.etc / "hosts").write_text("127.0.0.1 localhost\n")
        (self.etc / "nsswitch.conf").write_text("hosts: files\n")
        (self.etc / "resolv.conf").write_text("lookup file\n")

    def make_for(self, user, *paths):
        """Directories that are a user's from now on."""
        number = FIRST_ID + self.users.index(user)
        for path in paths:
            path.mkdir(exist_ok=True)
            os.chown(path, number, number)

    def launch_confined(self, argv, places):
        """PLACES: what is seen, instead of what is there, by path."""
        mounts = [word for place, path in places.items() for word in (path, place)]
        # If we are killed, unshare goes, and with it the first process and all the others.
        self.launch(["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork",
                     "--kill-child", "sh", "-c", CONFINE, "sh", *mounts, "--", *argv],
                    process_group=0)
        harness.wait_until(self.greets)

    def stop(self, how=signal.SIGKILL):
        """When the first process is gone, so are all."""
        for pid in harness.child_pids(self.process.pid):
            os.kill(pid, how)
        return self.process.wait(harness.PATIENCE_S)
