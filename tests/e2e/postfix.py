# SPDX-License-Identifier: ISC
"""A real Postfix as destination (see mailserver.py), and its smtp-source and smtp-sink.

Postfix runs as users that every Debian has, since its own are made by its installation only. What
Caronte lets through to strangers it throws away. smtp-source and smtp-sink run as anybody.
"""
import functools
import os
import pwd
import socket
import subprocess

import harness
import mailserver

OWNER, GROUP, MAIL_USER = "daemon", "mail", "nobody"
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming",
          "maildrop", "private", "public", "saved", "trace")
LISTENER = "127.0.0.1:225 inet n - n - 200 smtpd\n"
SERVICES = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
discard unix - - n - - discard
smtp unix - - n - - smtp
retry unix - - n - - error
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def unpacked():
    """Where the package lies."""
    return harness.unpacked("postfix", "usr/sbin/smtp-source")


def environment():
    return dict(os.environ, LD_LIBRARY_PATH=str(unpacked() / "usr/lib/postfix"), MAIL_CONFIG="/")


@functools.cache
def program(name):
    """The path of a program that runs here (libraries may be missing)."""
    return mailserver.runnable(unpacked() / "usr/sbin" / name, environment())


def empty_configuration():
    """smtp-source and smtp-sink read a main.cf too, with nothing in it that they need."""
    path = harness.TestCase.running.dir / "no-postfix"
    path.mkdir(exist_ok=True)
    (path / "main.cf").write_text("compatibility_level=3.6\nmyhostname=source.test\n"
                                  "inet_protocols=ipv4\n")
    return dict(environment(), MAIL_CONFIG=str(path))


def smtp_source(port, *arguments):
    """Runs smtp-source against a port of loopback until it is done; fails where it does."""
    done = subprocess.run([program("smtp-source"), *map(str, arguments), "127.0.0.1:%d" % port],
                          env=empty_configuration(), stdout=subprocess.PIPE, timeout=240,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode or "fatal" in done.stdout or "warning" in done.stdout:
        raise AssertionError("smtp-source: status %d, %s" % (done.returncode, done.stdout))


class SmtpSink(harness.Program):
    """smtp-sink, each message in a file of its own."""

    def __init__(self, *arguments):
        super().__init__("smtp-sink")
        self.arguments = arguments
        self.port = None
        (self.dir / "mails").mkdir()

    def start(self):
        self.port = harness.free_port()
        user = ["-u", "root"] if harness.ROOT else []
        self.launch([program("smtp-sink"), *user, "-d", "mails/%M", *self.arguments,
                     "127.0.0.1:%d" % self.port, "200"], env=empty_configuration())
        harness.wait_until(self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError("smtp-sink ended: %s" % self.stderr())
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def mails(self):
        """Messages without the headers that smtp-sink puts on top, with CR LF line ends."""
        def content(path):
            octets = path.read_bytes()
            octets = octets[octets.index(b"\nReceived: ") + 1:]
            # It also adds an empty line behind the message.
            return mailserver.ADDED.sub(b"", octets, count=1)[:-1].replace(b"\n", b"\r\n")
        return [content(path) for path in sorted((self.dir / "mails").iterdir())]

    def __exit__(self, *rest):
        self.stop()


class Postfix(mailserver.MailServer):
    title = "Postfix"
    fatal = "fatal: |panic: |error: "

    def __init__(self, listener=LISTENER, **settings):
        """LISTENER: a line of master.cf, with the port 225."""
        super().__init__()
        program("../lib/postfix/sbin/smtpd")
        self.listener = listener
        self.own_settings = settings
        self.queue = self.spool = self.dir / "queue"

    def make_directories(self):
        owner, user = pwd.getpwnam(OWNER), pwd.getpwnam(MAIL_USER)
        for name in ("conf", "queue", "queue/pid"):
            (self.dir / name).mkdir(exist_ok=True)
        for path in [self.dir / "data", *(self.queue / name for name in QUEUES)]:
            path.mkdir(mode=0o700)
            os.chown(path, owner.pw_uid, owner.pw_gid)
        for name in ("public", "private"):
            (self.queue / name).chmod(0o755)
        self.mail.mkdir()
        os.chown(self.mail, user.pw_uid, user.pw_gid)

    def settings(self):
        library = unpacked() / "usr/lib/postfix"
        user = pwd.getpwnam(MAIL_USER)
        return {
            "compatibility_level": "3.6", "mail_owner": OWNER, "setgid_group": GROUP,
            "queue_directory": self.queue, "data_directory": self.dir / "data",
            "daemon_directory": library / "sbin", "shlib_directory": library,
            "command_directory": unpacked() / "usr/sbin", "meta_directory": self.dir / "conf",
            "import_environment": "MAIL_CONFIG TZ LANG=C LD_LIBRARY_PATH=%s" % library,
            "maillog_file": self.dir / "maillog", "maillog_file_prefixes": self.dir,
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8",
            "myhostname": "postfix.test", "myorigin": "local.test", "mydestination": "",
            "alias_maps": "",
            "local_recipient_maps": "",
            "disable_dns_lookups": "yes", "smtpd_peername_lookup": "no",
            "smtpd_recipient_restrictions": "permit_mynetworks, reject",
            "local_header_rewrite_clients": "", "default_transport": "discard",
            "virtual_mailbox_domains": "local.test one.test", "virtual_mailbox_base": self.mail,
            "virtual_mailbox_maps": "static:box/", "virtual_mailbox_limit": "0",
            "virtual_uid_maps": "static:%d" % user.pw_uid,
            "virtual_gid_maps": "static:%d" % user.pw_gid, "virtual_minimum_uid": "1",
            "message_size_limit": "0", "in_flow_delay": "0",
            "smtpd_client_connection_count_limit": "0",
            "initial_destination_concurrency": "20", **self.own_settings,
        }

    def start(self):
        self.make_directories()
        self.port = harness.free_port()
        (self.dir / "conf/master.cf").write_text(
            self.listener.replace(":225 ", ":%d " % self.port) + SERVICES)
        (self.dir / "conf/main.cf").write_text(
            "".join("%s = %s\n" % item for item in self.settings().items()))
        # Postfix waits until its main.cf is some seconds old.
        os.utime(self.dir / "conf/main.cf", (0, 0))
        # A process group of its own, since its master ends its children by it.
        self.launch(["setpriv", "--pdeathsig", "TERM", unpacked() / "usr/lib/postfix/sbin/master",
                     "-d", "-c", self.dir / "conf"], env=environment(), process_group=0)
        harness.wait_until(self.greets)
        return self

    def log(self):
        path = self.dir / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def queues(self):
        return [self.queue / name for name in ("incoming", "active", "deferred", "corrupt", "hold")]
