# SPDX-License-Identifier: ISC
"""A real Exim as destination, Debian's exim4-daemon-light or -heavy: see mailserver.py.

Exim delivers as its own user, so that it needs no set-user-ID bit. The program itself runs as that
user too, so it stands in the test's directory, which everybody may enter: a home directory may be
closed. A client that sends something too early is thrown out, as Exim does unless it is told
otherwise.
"""
import contextlib
import re

import harness
import mailserver

CONFIGURATION = """\
exim_user = Debian-exim
deliver_drop_privilege
never_users = root
keep_environment =
exim_path = {program}
spool_directory = {top}/spool
log_file_path = {top}/log/%slog
pid_file_path = {top}/spool/pid
primary_hostname = exim.test
qualify_domain = local.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
hostlist relay_from_hosts = 127.0.0.1
domainlist local_domains = local.test : one.test : example.net
rfc1413_hosts =
tls_advertise_hosts =
dsn_advertise_hosts = *
smtp_accept_queue_per_connection = 0
smtp_accept_max = 200
check_spool_space = 0
message_size_limit = {size_limit}
acl_smtp_rcpt = recipient
begin acl
recipient:
  warn logwrite = heard: $smtp_command
  accept hosts = +relay_from_hosts
  accept domains = +local_domains
  deny message = relay not permitted
begin routers
local:
  driver = accept
  domains = +local_domains
  transport = box
foreign:
  driver = accept
  transport = far
begin transports
box:
  driver = appendfile
  directory = {top}/mail/box
  maildir_format
  user = Debian-exim
far:
  driver = appendfile
  directory = {top}/mail/far
  maildir_format
  user = Debian-exim
"""


class Exim(mailserver.Confined):
    title = "Exim"
    package = "exim4-daemon-light"
    users = ("Debian-exim",)

    def __init__(self, size_limit=0, own=""):
        """OWN: a configuration, of which a line takes the place of the one that sets the same."""
        super().__init__()
        self.size_limit = size_limit
        self.own = own
        self.spool = self.dir / "spool"
        self.small = None  # a directory for messages that are taken, in place of its own
        self.unpacked = mailserver.runnable(
            harness.unpacked(self.package, "usr/sbin/exim4") / "usr/sbin/exim4")
        self.program = self.dir / "sbin/exim4"

    def start(self):
        self.make_etc()
        self.make_for("Debian-exim", self.spool, self.dir / "log", self.mail)
        if self.small:
            (self.dir / "spool/input").symlink_to(self.small)
        self.port = harness.free_port()
        (self.etc / "exim4").mkdir()
        self.program.parent.mkdir()
        (self.etc / "exim4/exim4.conf").write_text(self.configuration())
        self.launch_confined([self.program, "-bdf"], {
            "/etc": self.etc, self.program.parent: self.unpacked.parent})
        return self

    def configuration(self):
        text = CONFIGURATION.format(
            top=self.dir, port=self.port, program=self.program, size_limit=self.size_limit)
        for name in re.findall(r"(?m)^([a-z_ ]+?) *=", self.own):
            text = re.sub(r"(?m)^%s =.*\n" % name, "", text)
        return self.own.replace("= 225\n", "= %d\n" % self.port) + text

    def queues(self):
        return [self.dir / "spool/input"]

    def log(self):
        paths = sorted((self.dir / "log").glob("*log"))  # a paniclog where it panics
        return "".join("%s: %s" % (path.name, line) for path in paths
                       for line in path.read_text(errors="replace").splitlines(keepends=True))

    def recipients(self):
        """The RCPT commands that it has heard."""
        return re.findall(r" heard: (.*)", self.log())


class Heavy(Exim):
    """The one that knows the PROXY protocol. PROXIES: from whom it expects a header."""
    package = "exim4-daemon-heavy"

    def __init__(self, proxies):
        super().__init__(own="hosts_proxy = %s\n" % proxies)

    def greets(self):
        if self.process.poll() is not None:
            return super().greets()
        with contextlib.suppress(OSError), harness.Client(self.port) as client:
            client.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n")
            return client.reply()[:3] == b"220"
        return False
