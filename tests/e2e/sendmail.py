# SPDX-License-Identifier: ISC
"""A real sendmail as destination, Debian's sendmail-bin: see mailserver.py.

Its configuration is written here, since what m4 makes of sendmail's macros would need their package
and m4. sendmail delivers by programs alone, so a shell puts messages away. (A program that does not
get the recipient, $u, would have to speak SMTP.) Its queue of connections is longer than by
default: where one does not fit, the kernel drops the end of its handshake, and the client, which
knows nothing of that, waits for a greeting.
"""
import harness
import mailserver

PACKAGE = "sendmail-bin"
CONFIGURATION = """\
V10/Berkeley
Djsendmail.test
DMlocal.test
DnMAILER-DAEMON
Ckauthor
O DaemonPortOptions=Name=MTA, Addr=127.0.0.1, Port={port}, Listen=200
O DeliveryMode=background
O QueueDirectory={top}/spool/queue
O PidFile={top}/pid
O StatusFile={top}/statistics
O HelpFile=/dev/null
O LogLevel=14
O DefaultUser=keeper:keeper
O DontBlameSendmail=Safe,GroupReadableSASLDBFile
O QueueLA=1000
O RefuseLA=1000
O MaxMessageSize={size_limit}
O MaxHeadersLength={header_limit}
O MinFreeBlocks=0
O EightBitMode=pass8
O SendMimeErrors=True
O Timeout.ident=0
O PrivacyOptions=noetrn
O OperatorChars=.:%@!^/[]+
O SmtpGreetingMessage=$j
O UnixFromLine=From $g $d
Troot
H?D?Date: $a
H?M?Message-Id: <$t.$i@$j>
H?F?From: $g
HReceived: $?sfrom $s $.by $j; $b
SCanonify=3
R$* < $* > $*	$2
SParse=0
R$* @ local.test	$#local $: $1
R$* @ one.test	$#local $: $1
R$*	$#far $: $1
Mlocal, P=/bin/sh, F=lsDFMn8, L=0, A=sh {top}/keep box $u
Mfar, P=/bin/sh, F=lsDFMn8, L=0, A=sh {top}/keep far $u
Mprog, P=/bin/sh, F=lsD, A=sh -c $u
"""
# $1: the box.
KEEP = """\
cat >{top}/mail/$1/tmp/$$ && mv {top}/mail/$1/tmp/$$ {top}/mail/$1/new/$$.$(date +%s%N)
"""


class Sendmail(mailserver.Confined):
    title = "sendmail"
    fatal = r"SYSERR|panic"
    users = ("smmsp", "keeper")

    def __init__(self, size_limit=0, header_limit=1 << 20):
        super().__init__()
        self.size_limit, self.header_limit = size_limit, header_limit
        self.spool = self.dir / "spool"
        self.program = mailserver.runnable(
            harness.unpacked(PACKAGE, "usr/libexec/sendmail/sendmail") /
            "usr/libexec/sendmail/sendmail")

    def start(self):
        self.make_etc()
        self.make_for("keeper", self.mail, *(
            self.mail / box / name for box in (mailserver.BOX, mailserver.FAR)
            for name in ("", "new", "tmp")))
        (self.spool / "queue").mkdir(mode=0o700, parents=True)
        self.port = harness.free_port()
        (self.dir / "keep").write_text(KEEP.format(top=self.dir))
        (self.etc / "service.switch").write_text("hosts files\n")
        (self.etc / "sendmail.cf").write_text(CONFIGURATION.format(
            top=self.dir, port=self.port, size_limit=self.size_limit,
            header_limit=self.header_limit))
        self.launch_confined([self.program, "-C/etc/sendmail.cf", "-bD"], {"/etc": self.etc})
        return self

    def queues(self):
        return [self.spool / "queue"]
