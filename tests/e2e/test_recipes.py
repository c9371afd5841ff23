# SPDX-License-Identifier: ISC
"""doc/recipes.md: each box of it, as it stands there, in the configuration of the real program that
it is for. Ports, paths and names of machines are changed, and nothing else."""
import contextlib
import gzip
import os
import pwd
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request

import exim
import harness
import mailserver
import opensmtpd
import postfix
import puppet
import test_identity
import test_json
import test_status
import tls

LOG_DIR, ARCHIVE = "/var/log/caronte", "/var/log/caronte/archive"
OURS, FAR = "joe@example.net", "victim@far.test"
BODY = b"Subject: x\r\n\r\nacross\r\n"
BOX = re.compile(r"(?m)^(?:## (?P<title>.*)|```(?P<name>\S.*)\n(?P<text>(?s:.*?))^```)$")


def read():
    """{(heading, name of the box): [texts]}"""
    found, title = {}, None
    for match in BOX.finditer((harness.SOURCES / "doc/recipes.md").read_text()):
        title = match["title"] or title
        if match["name"]:
            found.setdefault((title, match["name"]), []).append(match["text"])
    return found


def replaced(text, changes):
    """TEXT with other ports and paths; each must be there, or a change would do nothing."""
    for old, new in changes.items():
        if old not in text:
            raise AssertionError("%s is not in %s" % (old, text))
        text = text.replace(old, str(new))
    return text


def settings(text):
    """What a caronte.conf says, as the harness has it."""
    def value(word):
        return word[1:-1] if word[0] == '"' else int(word)
    return {name: value(word) for name, word in
            re.findall(r'(?m)^CONFIG_(\w+)=("[^"]*"|\d+)$', text)}


class Recipe(harness.TestCase):
    title = None  # the heading
    boxes = {}  # below it: how many of a name
    each_engine = False
    dialogs = ("sniff",)

    def box(self, name, **changes):
        text, = read()[self.title, name]
        return replaced(text, changes)

    def configured(self, changes, name="caronte.conf"):
        text = self.box(name, **changes)
        found = settings(text)
        self.assertEqual(len(found), len(text.splitlines()), text)
        return found

    def caronte(self, destination=None, **own):
        return super().caronte(destination, **{"RECIPIENTS": ["@example.net"], **own})

    def send(self, port, *recipients):
        """A message to each; the codes of RCPT, and of the message where one was taken."""
        with harness.Client(port) as client:
            client.hello()
            client.command("MAIL FROM:<ann@client.test>", 250)
            codes = [int(client.command("RCPT TO:<%s>" % each)[:3]) for each in recipients]
            if 250 in codes:
                client.command("DATA", 354)
                client.send(BODY + b".\r\n")
                codes.append(int(client.reply()[:3]))
            client.quit()
        return codes


class Whole(harness.TestCase):
    each_engine = False
    dialogs = ("sniff",)

    def test_no_box_is_untried(self):
        recipes = [each for kind in (Recipe, Server, BeforeCaronte, SeesClients)
                   for each in kind.__subclasses__()]
        tried = {(each.title, name): count for each in recipes
                 for name, count in each.boxes.items()}
        self.assertEqual({key: len(texts) for key, texts in read().items()}, tried)


class Server(Recipe):
    """What each mail server is asked; a class that has recipe() and `title` is one of them."""
    dialogs = ("sniff", "gateway")

    def behind(self, server, **own):
        changes = {"127.0.0.1:225": "127.0.0.1:%d" % server.port}
        return self.caronte(None, **{**self.configured(changes), **own})

    def check_mail(self, daemon, server):
        """Ours comes through, the rest is refused, and the server itself is no open relay."""
        self.assertEqual(self.send(daemon.port, FAR, OURS), [550, 250, 250])
        self.assertEqual(len(server.mails(1)), 1)
        self.assertEqual(daemon.record("recipient", verdict="refuse").get("rule"),
                         "relaying-denied")
        self.assertEqual(self.send(server.port, FAR, OURS)[1:], [250, 250])
        refused, = self.send(server.port, FAR)
        self.assertIn(refused // 100, (4, 5))
        self.assertEqual(len(server.mails(2)), 2)

    def check_lock(self, server):
        """Caronte lets through what the server does not relay."""
        with self.behind(server, RELAY_NETWORKS="127.0.0.1") as daemon:
            refused, = self.send(daemon.port, FAR)
            self.assertIn(refused // 100, (4, 5))
            self.assertEqual(daemon.record("recipient").get("rule"), "destination")
        self.assertEqual(server.mails(box=mailserver.FAR), [])

    def check_size(self, daemon, size):
        with harness.Client(daemon.port) as client:
            self.assertIn("SIZE %d" % size, client.hello())
            client.quit()

    def check_crowd(self, daemon, count):
        """So many, each of which has its connection to the server."""
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                client = stack.enter_context(harness.Client(daemon.port))
                client.hello()
                client.envelope(recipients=[OURS])


class ByPostfix:
    def postfix(self, more="", **changed):
        """As the boxes have it, and the lines of MORE in its master.cf."""
        own = dict(re.findall(r"(?m)^(\w+) =[ ]?(.*)$", self.box("main.cf")))
        self.assertEqual(len(own), len(self.box("main.cf").splitlines()))
        # The rest is as Postfix has it where nothing is said, but for the number of connections:
        # 3 in place of 50.
        return postfix.Postfix(self.box("master.cf") + more, **{
            "virtual_mailbox_domains": "example.net", "smtpd_recipient_restrictions": "",
            "smtpd_client_connection_count_limit": "3", **own, **changed})


class Postfix(ByPostfix, Server):
    title = "Postfix behind Caronte"
    boxes = {"master.cf": 1, "main.cf": 1, "caronte.conf": 1}

    def server(self):
        return self.postfix()

    def test(self):
        with self.server() as server:
            with self.behind(server, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
                self.check_size(daemon, 52428800)
                self.check_mail(daemon, server)
                self.check_crowd(daemon, 8)
            self.check_lock(server)


class PostfixBySocket(ByPostfix, Server):
    title = "Postfix behind Caronte, by a Unix socket"
    boxes = {"master.cf": 1, "main.cf": 1, "sh": 1, "caronte.conf": 1}

    def server(self, **changed):
        # A port beside it, for what somebody else on the machine would hear.
        return self.postfix("127.0.0.1:225 inet n - n - - smtpd\n", **changed)

    def behind(self, server, **own):
        changes = {"/var/spool/postfix": server.queue}
        return self.caronte(None, **{**self.configured(changes), **own})

    def test(self):
        with self.server() as server:
            with self.behind(server, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
                self.check_size(daemon, 52428800)
                self.check_mail(daemon, server)
                self.check_crowd(daemon, 8)
            self.check_lock(server)
            server.has_logged("connect from localhost[127.0.0.1]")

    def test_trusted(self):
        """What the page warns of: with localhost in mynetworks it relays."""
        with self.server(mynetworks="127.0.0.0/8") as server:
            with self.behind(server, RELAY_NETWORKS="127.0.0.1") as daemon:
                self.assertEqual(self.send(daemon.port, FAR), [250, 250])

    def test_permission(self):
        """Caronte's user may connect after that line, and not before."""
        if not shutil.which("setfacl"):
            harness.missing("setfacl (package acl)")
        with self.server() as server:
            os.chmod(server.queue / "public", 0o710)
            daemon = self.behind(server, LISTEN_PORT=harness.free_port())
            daemon.configure()
            done = harness.run_caronte("-t", "-c", daemon.conf)
            self.assertEqual(done.returncode, 78)
            self.assertIn("by user nobody, who may not enter %s/public\n" % server.queue,
                          done.stderr)
            command = self.box("sh", **{"caronte:": "nobody:", "/var/spool/postfix": server.queue})
            subprocess.run(shlex.split(command), check=True)
            with self.behind(server) as daemon:
                self.assertEqual(self.send(daemon.port, OURS), [250, 250])


class Exim(Server):
    title = "Exim behind Caronte"
    boxes = {"exim.conf": 1, "caronte.conf": 1}

    def test(self):
        with exim.Exim(own=self.box("exim.conf")) as server:
            with self.behind(server, MAX_SESSIONS_PER_ADDRESS=0) as daemon:
                self.check_size(daemon, 50 << 20)
                self.check_mail(daemon, server)
                self.check_crowd(daemon, 24)
            self.check_lock(server)

    def test_full_spool(self):
        """What could not be stored is not begun."""
        server = exim.Exim(own=self.box("exim.conf", **{"= 500M": "= 500000G"}))
        with server, self.behind(server) as daemon, harness.Client(daemon.port) as client:
            client.hello()
            client.send(b"MAIL FROM:<ann@client.test>\r\nRCPT TO:<%s>\r\n" % OURS.encode())
            self.assertEqual(client.codes(2)[-1], self.by_dialog(503, 452))


class OpenSmtpd(Server):
    title = "OpenSMTPD behind Caronte"
    boxes = {"smtpd.conf": 1, "caronte.conf": 1}

    def test(self):
        rules = self.box("smtpd.conf", **{'"local_mail"': "box", '"outbound"': "far"})
        with opensmtpd.OpenSmtpd(rules) as server:
            with self.behind(server) as daemon:
                self.check_size(daemon, 50 << 20)
                self.check_mail(daemon, server)
            self.check_lock(server)


class Balancer(harness.Program):
    def __init__(self, configuration):
        super().__init__("haproxy")
        self.root = harness.unpacked("haproxy", "usr/sbin/haproxy")
        self.configuration = configuration

    def start(self):
        libraries = self.root.parent.glob("lib*/usr/lib/*-linux-gnu")
        environment = dict(os.environ, LD_LIBRARY_PATH=":".join(map(str, libraries)))
        program = mailserver.runnable(self.root / "usr/sbin/haproxy", environment)
        self.port = harness.free_port()
        (self.dir / "haproxy.cfg").write_text(
            replaced(self.configuration, {"bind :25": "bind 127.0.0.1:%d" % self.port}))
        self.launch([program, "-db", "-f", "haproxy.cfg"], env=environment)
        harness.wait_until(lambda: self.process.poll() is not None or
                           not harness.refuses(self.port))
        return self

    def __exit__(self, kind, *rest):
        self.stop()
        if kind is None and "[ALERT]" in self.stderr():
            raise AssertionError(self.stderr())


class BeforeCaronte(Recipe):
    """A balancer that says whose each connection is; it has the address 127.0.0.1 here."""

    def before(self, sink, **own):
        return self.caronte(sink, **{**self.configured({"192.0.2.10": "127.0.0.1"}), **own})

    def both(self, sink, **own):
        return self.before(sink, **own), self.before(sink, **own)

    def check_clients(self, balancer, *daemons):
        """Its clients have their own addresses, and each is limited for itself: 30 of 30."""
        clients = ["127.0.0.%d" % number for number in range(11, 41)]
        with contextlib.ExitStack() as stack:
            for source in clients:
                client = stack.enter_context(harness.Client(balancer.port, source=source))
                client.hello()
                self.assertEqual(client.send_message(BODY, recipients=[OURS])[:3], b"250")

        def sessions():  # without a proxy's own, before it has said XCLIENT
            return [record for each in daemons for record in each.records("session")
                    if record.get("end") != "xclient"]
        harness.wait_until(lambda: set(clients) <= {record.get("client").rpartition(":")[0]
                                                    for record in sessions()})
        self.assertTrue(all(record.get("proxy").startswith("127.0.0.1:") for record in sessions()))


class HAProxy(BeforeCaronte):
    title = "HAProxy in front of Caronte"
    boxes = {"haproxy.cfg": 1, "caronte.conf": 1}
    dialogs = ("sniff", "gateway")

    def in_front(self, one, two, check="check inter 2s", **changes):
        return Balancer(self.box("haproxy.cfg", **{
            "192.0.2.11:25": "127.0.0.1:%d" % one.port, "192.0.2.12:25": "127.0.0.1:%d" % two.port,
            "check inter 10s": check, **changes}))

    def test(self):
        with harness.Sink(maildir=True) as sink:
            one, two = self.both(sink, MAX_SESSIONS_PER_ADDRESS=10)
            with one, two, self.in_front(one, two) as balancer:
                def both_had_mail():
                    self.assertEqual(self.send(balancer.port, FAR, OURS), [550, 250, 250])
                    return one.records("message") and two.records("message")
                harness.wait_until(both_had_mail)
                for daemon in one, two:  # and that checks them
                    daemon.records("session", count=1, helo="balancer.example.net", end="quit")
                self.check_clients(balancer, one, two)

    def test_without_the_header(self):
        """What the page tells of each side alone."""
        with harness.Sink() as sink:
            one, two = self.both(sink)
            with one, two, self.in_front(one, one, "", **{" send-proxy-v2": ""}) as balancer:
                with puppet.client(balancer.port) as client:
                    client.send(b"EHLO x\r\n")
                    self.assertIn(client.rest(), (b"", puppet.RESET))
                one.records("fault", count=1, what="proxy-header")
            with self.before(sink, PROXY_FROM=None) as daemon, \
                    self.in_front(daemon, daemon, "") as balancer:
                with puppet.client(balancer.port) as client:
                    self.assertIn(b"521 5.5.1 ", client.rest())
                daemon.records("fault", count=1, what="proxy-header")
                daemon.records("session", count=1, reason="proxy-header")

    def test_relay_networks(self):
        """What the page warns of."""
        with harness.Sink() as sink:
            one, two = self.both(sink, RELAY_NETWORKS="127.0.0.1", PROXY_FROM=None)
            with one, two, self.in_front(one, two, **{" send-proxy-v2": ""}) as balancer:
                self.assertEqual(self.send(balancer.port, FAR), [250, 250])


class NginxBalancer(harness.Program):
    """With a configuration for one of its modules, "stream" or "mail"."""

    def __init__(self, module, configuration):
        super().__init__("nginx")
        self.root = harness.unpacked("nginx", "usr/sbin/nginx")
        file = "usr/lib/nginx/modules/ngx_%s_module.so" % module
        self.module = harness.unpacked("libnginx-mod-" + module, file) / file
        self.configuration = configuration

    def start(self):
        program = mailserver.runnable(self.root / "usr/sbin/nginx", os.environ)
        self.port = harness.free_port()
        (self.dir / "nginx.conf").write_text(
            "load_module %s;\n"
            "daemon off; pid nginx.pid; error_log stderr;\nevents {}\n" % self.module +
            replaced(self.configuration, {"listen 25;": "listen 127.0.0.1:%d;" % self.port}))
        self.launch([program, "-p", self.dir, "-e", "stderr", "-c", self.dir / "nginx.conf"])
        harness.wait_until(lambda: self.process.poll() is not None or
                           not harness.refuses(self.port))
        return self

    def __exit__(self, *rest):
        self.stop()


class Nginx(BeforeCaronte):
    title = "nginx in front of Caronte"
    boxes = {"nginx.conf": 1, "caronte.conf": 1}

    def test(self):
        with harness.Sink() as sink:
            one, two = self.both(sink, MAX_SESSIONS_PER_ADDRESS=10)
            with one, two, NginxBalancer("stream", self.box("nginx.conf", **{
                    "192.0.2.11:25": "127.0.0.1:%d" % one.port,
                    "192.0.2.12:25": "127.0.0.1:%d" % two.port})) as balancer:
                self.check_clients(balancer, one, two)


class NginxMail(BeforeCaronte):
    title = "nginx' mail proxy in front of Caronte"
    boxes = {"nginx.conf": 1, "caronte.conf": 1}
    dialogs = ("sniff", "gateway")

    def test(self):
        places = "".join("%s_temp_path %s; " % (name, name) for name in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        auth = "127.0.0.1:%d" % harness.free_port()
        with harness.Sink() as sink, self.before(sink, MAX_SESSIONS_PER_ADDRESS=10) as daemon, \
                NginxBalancer("mail", self.box("nginx.conf", **{
                    "http {": "http { access_log off; " + places,
                    "auth_http 127.0.0.1:9000": "auth_http " + auth,
                    "listen 127.0.0.1:9000": "listen " + auth,
                    "Auth-Server 192.0.2.11": "Auth-Server 127.0.0.1",
                    "Auth-Port 25": "Auth-Port %d" % daemon.port})) as balancer:
            self.check_clients(balancer, daemon)
            with harness.Client(balancer.port, source="127.0.0.9") as client:
                client.hello()
                client.command("MAIL FROM:<ann@client.test>", 250)
                self.assertRegex(client.command("RCPT TO:<%s>" % FAR), b"^550 5.7.1 Relaying")
            refusal = daemon.records("recipient", count=1, verdict="refuse")[0]
            self.assertEqual(refusal.get("client"), "127.0.0.9:0")


class SeesClients(Recipe):
    """The server's own rules hold for clients: a stranger's relaying is refused by the server, with
    RELAY_GUARD off. (Strangers come by a balancer, which says so.)"""
    dialogs = ("sniff", "gateway")
    STRANGER = b"PROXY TCP4 198.51.100.7 127.0.0.1 4321 25\r\n"

    def behind(self, server, name="caronte.conf"):
        changes = {"127.0.0.1:225": "127.0.0.1:%d" % server.port}
        return self.caronte(None, RELAY_GUARD=False, PROXY_FROM="127.0.0.1",
                            **self.configured(changes, name))

    def check_stranger(self, server, name="caronte.conf"):
        self.check_relaying(self.behind(server, name))
        server.has_logged("198.51.100.7")

    def check_relaying(self, behind):
        with behind as daemon, harness.Client(daemon.port) as client:
            client.send(self.STRANGER)
            client.hello()
            client.command("MAIL FROM:<ann@client.test>", 250)
            self.assertRegex(client.command("RCPT TO:<%s>" % FAR), b"^[45]5")
            client.command("RCPT TO:<%s>" % OURS, 250)
            client.command("DATA", 354)
            client.send(BODY + b".\r\n")
            self.assertEqual(client.reply()[:3], b"250")
            client.quit()


class PostfixSees(SeesClients):
    title = "Postfix that sees the clients"
    boxes = {"main.cf xclient": 1, "caronte.conf xclient": 1, "master.cf proxy": 1,
             "caronte.conf proxy": 1}

    def test_xclient(self):
        own = dict(re.findall(r"(?m)^(\w+) =[ ]?(.*)$", self.box("main.cf xclient")))
        with postfix.Postfix(virtual_mailbox_domains="example.net",
                             smtpd_recipient_restrictions="", **own) as server:
            self.check_stranger(server, "caronte.conf xclient")

    def test_proxy(self):
        listener = self.box("master.cf proxy", **{" n - y - - smtpd": " n - n - - smtpd"})
        with test_identity.Server(listener=listener, virtual_mailbox_domains="example.net",
                                  smtpd_recipient_restrictions="") as server:
            self.check_stranger(server, "caronte.conf proxy")


    def test_by_socket(self):
        """What the page names in place of the port."""
        hosts, = re.findall("`smtpd_authorized_xclient_hosts = (.*)`",
                            (harness.SOURCES / "doc/recipes.md").read_text())
        line = "caronte unix n - n - - smtpd"
        for identity, option, protocols in (
                ("xclient", "", "ipv4"), ("xclient", "", "all"),
                ("proxy2", " -o smtpd_upstream_proxy_protocol=haproxy", "all")):
            with test_identity.Server(
                    line + option + "\n" + postfix.LISTENER, inet_protocols=protocols,
                    inet_interfaces="127.0.0.1", smtpd_authorized_xclient_hosts=hosts,
                    virtual_mailbox_domains="example.net",
                    smtpd_recipient_restrictions="") as server, puppet.case(identity, protocols):
                daemon = self.caronte(
                    "unix:%s/public/caronte,identity=%s" % (server.queue, identity),
                    RELAY_GUARD=False, PROXY_FROM="127.0.0.1")
                self.check_relaying(daemon)
                server.has_logged("198.51.100.7")


class EximSees(SeesClients):
    title = "Exim that sees the clients"
    boxes = {"exim.conf": 1, "caronte.conf": 1}

    def test(self):
        line = self.box("exim.conf")
        self.assertEqual(line, "hosts_proxy = 127.0.0.1\n")
        with exim.Heavy("127.0.0.1") as server:
            self.check_stranger(server)


class OpenSmtpdSees(SeesClients):
    title = "OpenSMTPD that sees the clients"
    boxes = {"smtpd.conf": 1, "caronte.conf": 1}

    def test(self):
        rules = self.box("smtpd.conf") + \
            "match from any for domain \"example.net\" action box\n" \
            "match from local for any action far\n"
        with test_identity.Prompted(rules) as server:
            self.check_stranger(server)


class Secured(Recipe):
    """Caronte itself is the server, with a sink behind it."""
    title = "TLS to a destination"
    boxes = {"caronte.conf require": 1, "caronte.conf verify": 1, "sh": 1, "caronte.conf pin": 1}
    dialogs = ("sniff", "gateway")

    def check_trust(self, server, trust, name, changes=None, **own):
        at = "127.0.0.1:%d" % server.port
        box = self.box("caronte.conf " + name)
        place, = re.findall(r'="(\S+?:25),', box)
        found = self.configured({place: at, **(changes or {})}, "caronte.conf " + name)
        with self.caronte(None, **found, **own) as daemon:
            self.assertEqual(self.send(daemon.port, OURS), [250, 250])
            self.assertEqual(daemon.record("session").get("destination-trust"), trust)

    def test(self):
        chain, key = tls.make_pair(self.new_dir("tls"), names=("mx1.example.net",))
        with harness.Sink() as sink, \
                self.caronte(sink, TLS_CERTIFICATE=str(chain), TLS_KEY=str(key)) as server:
            self.check_trust(server, "none", "require")
            self.check_trust(server, "verified", "verify", TLS_DESTINATION_CA_FILE=str(chain))
            command = self.box("sh", **{"192.0.2.20:25": "127.0.0.1:%d" % server.port})
            said = subprocess.run(["sh", "-c", command], check=True, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
            of_file = subprocess.run(
                ["sh", "-c", command.partition("|\n")[2].replace("x509", "x509 -in %s" % chain)],
                check=True, text=True, stdout=subprocess.PIPE).stdout
            self.assertEqual(said, of_file)
            self.check_trust(server, "pinned", "pin", {"HEX": said.split()[0]})


class Shipping(Recipe):
    title = "Sending the log elsewhere"
    boxes = {"caronte.conf": 1, "rsyslog.conf": 1, "sh": 1, "caronte.conf syslog": 1}

    def logging(self, sink):
        directory = self.new_dir("json")
        harness.give_to_user(directory)
        return self.caronte(sink, **self.configured({LOG_DIR: directory}))

    def test_rsyslog(self):
        with socket.create_server(("127.0.0.1", 0)) as there, harness.Sink() as sink, \
                self.logging(sink) as daemon:
            file = daemon.settings["LOG_JSON_FILE"]
            conf = self.box("rsyslog.conf", **{
                LOG_DIR + "/caronte.json": file, "logs.example.net": "127.0.0.1",
                "514": there.getsockname()[1]})
            with test_json.Rsyslog(file, conf):
                self.send(daemon.port, OURS)
                there.settimeout(harness.PATIENCE_S)
                with there.accept()[0] as connection, connection.makefile("rb") as lines:
                    connection.settimeout(harness.PATIENCE_S)
                    seen = [next(lines)]
                    while b'"element":"session"' not in seen[-1]:
                        seen.append(next(lines))
            for line in seen:
                self.assertRegex(line, rb'^<22>.* caronte: ?\{"element":.*\}\n$')

    def test_terminal(self):
        with harness.Sink() as sink, self.logging(sink) as daemon:
            command = self.box("sh", **{LOG_DIR + "/caronte.json":
                                        daemon.settings["LOG_JSON_FILE"]})
            tail = test_json.Tail(None)
            tail.argv = lambda: shlex.split(command)
            with tail:
                time.sleep(0.5)  # it says nothing when it is ready
                self.send(daemon.port, OURS)
                harness.wait_until(lambda: '"session"' in tail.stdout())

    def test_syslog(self):
        path = self.dir / "devlog"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log, harness.Sink() as sink:
            log.bind(str(path))
            path.chmod(0o666)
            log.settimeout(harness.PATIENCE_S)
            own = self.configured({"/dev/log": path}, "caronte.conf syslog")
            with self.caronte(sink, **own) as daemon:
                self.send(daemon.port, OURS)
                while not (line := log.recv(1 << 16)).startswith(b"<22>caronte: <session "):
                    self.assertTrue(line.startswith(b"<22>caronte: <"), line)


class OldLogs(Recipe):
    title = "Old logs"
    boxes = {"tmpfiles.conf": 1, "cron": 1, "caronte.conf": 1, "logrotate.conf": 1}

    def archive(self):
        """One with files of 40 and of 20 days."""
        path = self.new_dir("archive")
        for days in (40, 20):
            for end in "xml", "json":
                file = path / ("caronte-202601%02d-000000.%s" % (days // 2, end))
                file.write_text("")
                os.utime(file, (time.time(), time.time() - days * 86400))
        return path

    def check_archive(self, path):
        self.assertEqual(sorted(each.name[-8:] for each in path.iterdir()),
                         ["000.json", "0000.xml"])

    def test_tmpfiles(self):
        path = self.archive()
        conf = self.dir / "tmpfiles.conf"
        conf.write_text(self.box("tmpfiles.conf", **{ARCHIVE: path}))
        try:
            subprocess.run(["systemd-tmpfiles", "--clean", conf], check=True)
        except FileNotFoundError:
            harness.missing("systemd-tmpfiles is not installed")
        self.check_archive(path)

    def test_cron(self):
        path = self.archive()
        line, = self.box("cron", **{ARCHIVE: path}).splitlines()
        minute, hour, *any_day, user, command = line.split(None, 6)
        self.assertEqual((any_day, user), (["*"] * 3, "root"))
        self.assertLess(int(hour) * 60 + int(minute), 24 * 60)
        subprocess.run(["sh", "-c", command], check=True)
        self.check_archive(path)

    def rotate(self, conf):
        root = harness.unpacked("logrotate", "usr/sbin/logrotate")
        libraries = root.parent.glob("libpopt0*/usr/lib/*-linux-gnu")
        environment = dict(os.environ, LD_LIBRARY_PATH=":".join(map(str, libraries)))
        done = subprocess.run([mailserver.runnable(root / "usr/sbin/logrotate", environment),
                               "--force", "--verbose", "--state", self.dir / "state", conf],
                              env=environment, text=True, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("error:", done.stderr)

    def test_logrotate(self):
        directory = self.new_dir("logs")
        harness.give_to_user(directory)
        paths = {LOG_DIR + "/": "%s/" % directory, "/run/caronte/": "%s/" % directory}
        own = {**self.configured(paths), "LOG_FILE": str(directory / "caronte.xml")}
        conf = self.dir / "logrotate.conf"
        user = {"su caronte caronte": "su nobody nogroup"} if harness.ROOT else \
            {"\tsu caronte caronte\n": ""}
        conf.write_text(self.box("logrotate.conf", **paths, **user))
        conf.chmod(0o644)
        log = directory / "caronte.xml"
        with harness.Sink() as sink, self.caronte(sink, **own) as daemon:
            daemon.log = log
            for number in range(3):
                self.send(daemon.port, *["x%d@far.test" % number] * (number + 1))
                daemon.records("session", count=1)
                self.rotate(conf)
                harness.wait_until(log.exists)
            daemon.stop()
            for end, octets in ((".3.gz", gzip.open), (".2.gz", gzip.open), (".1", open)):
                for name in "caronte.xml", "caronte.json":
                    with octets(directory / (name + end), "rt") as file:
                        text = file.read()
                    want = {".3.gz": 1, ".2.gz": 2, ".1": 3}[end]
                    self.assertEqual(len(re.findall(r"far.test[^\n]*relaying-denied", text)), want)
            harness.validate(directory / "caronte.xml.1")
            shown = subprocess.run(["sh", "-c", "zcat %s/caronte.xml.*.gz | %s log --summary -" %
                                    (directory, harness.CTL)], text=True, capture_output=True)
            self.assertRegex(shown.stdout, r" 3 +recipient refuse relaying-denied")


class Acme(Recipe):
    title = "Certificates by ACME"
    boxes = {"caronte.conf": 1, "directory": 1, "certbot": 1, "lego": 1, "acme.sh": 1}

    def run_box(self, name, changes, **environ):
        group = "-g %d" % pwd.getpwnam("nobody").pw_gid if harness.ROOT else ""
        owner = {"-o root": ""} if name == "directory" and not harness.ROOT else {}
        text = self.box(name, **{"-g caronte": group, **owner, **changes})
        subprocess.run(["sh", "-e", "-c", text], env={**os.environ, **environ}, check=True)

    def acme(self, where):
        """A program that writes as acme.sh does, by cat(1) into what is there."""
        program = where / "acme.sh"
        program.write_text("#!/bin/sh -e\n"
                           '[ "$1 $2 $3 $4 $6" = '
                           '"--install-cert -d example.net --key-file --fullchain-file" ]\n'
                           'cat %s/tls.key >"$5"\ncat %s/tls.pem >"$7"\n' % (where, where))
        program.chmod(0o755)
        return {"acme.sh --install": "%s --install" % program}

    def test(self):
        to = self.new_dir("etc") / "certificates"
        changes = {"/etc/caronte/certificates": to}
        self.run_box("directory", changes)
        names = {self.new_dir(name): name for name in ("certbot.test", "lego.test", "example.net")}
        live, lego, acme = names
        for where in names:
            where.chmod(0o700)

        def renew(days):
            for where, name in names.items():
                tls.make_pair(where, names=(name,), days=days)
            shutil.copy(live / "tls.pem", live / "fullchain.pem")
            shutil.copy(live / "tls.key", live / "privkey.pem")
            self.run_box("certbot", changes, RENEWED_LINEAGE=str(live))
            for end, made in (("crt", "pem"), ("key", "key")):
                shutil.copy(lego / ("tls." + made), lego / ("lego.test." + end))
            self.run_box("lego", changes, LEGO_CERT_PATH=str(lego / "lego.test.crt"),
                         LEGO_CERT_KEY_PATH=str(lego / "lego.test.key"))
            self.run_box("acme.sh", {**changes, **self.acme(acme)})
            return {name: ssl.PEM_cert_to_DER_cert((where / "tls.pem").read_text())
                    for where, name in names.items()}

        def served(daemon, name):
            with tls.Secure(daemon.port) as client:
                client.secured(name=name)
                der = client.tls.getpeercert(True)
                client.quit()
            return der

        first = renew(30)
        own = self.configured(changes)
        with harness.Sink() as sink, self.caronte(sink, TLS_FOLLOW_SECONDS=1, **own) as daemon:
            for name, der in first.items():
                self.assertEqual(served(daemon, name), der)
            for name, der in renew(40).items():
                harness.wait_until(lambda name=name, der=der: served(daemon, name) == der)
            self.assertEqual(daemon.records("fault"), [])


class Prometheus(Recipe):
    title = "Alerts by Prometheus"
    boxes = {"caronte.conf": 1, "prometheus.yml": 1, "rules.yml": 1}

    def test_rules(self):
        port = harness.free_port()
        address = {"127.0.0.1:9525": "127.0.0.1:%d" % port}
        metrics = self.configured(address)["METRICS_ADDRESS"]
        chain, key = tls.make_pair(self.new_dir("tls"))
        with harness.Sink() as sink, \
                self.caronte(sink, METRICS_ADDRESS=metrics, TLS_CERTIFICATE=str(chain),
                             TLS_KEY=str(key)) as daemon:
            self.assertIn('targets: ["%s"]' % metrics, self.box("prometheus.yml", **address))
            self.send(daemon.port, OURS)
            with urllib.request.urlopen("http://%s/metrics" % metrics,
                                        timeout=harness.PATIENCE_S) as answer:
                known = test_status.parse_metrics(answer.read().decode())
        rules = self.box("rules.yml")
        used = re.findall(r"\b(caronte_\w+)(?:\{(.*?)\})?", rules)
        self.assertEqual(len(used), rules.count("caronte_"))
        self.assertGreater(len(used), 15)
        for name, labels in used:
            self.assertIn(name, known)
            self.assertTrue(any(labels in row for row in known[name]), (name, labels, known[name]))


class Monitor(Recipe):
    title = "A monitor"
    boxes = {"caronte.conf": 1, "nrpe.cfg": 1, "monit": 1}

    def test(self):
        directory = self.new_dir("run")
        harness.give_to_user(directory)
        own = self.configured({"/run/caronte/": "%s/" % directory})
        commands = [re.search(r"(?m)=(/\S+ .*)$", self.box("nrpe.cfg"))[1],
                    re.search(r'path "(.*)"\n\tif status != 0 for \d+ cycles then alert\n$',
                              self.box("monit"))[1]]
        self.assertEqual(commands[0], commands[1])
        program, *arguments = commands[0].split()
        self.assertEqual(program, "/usr/local/sbin/carontectl")
        with harness.Sink() as sink:
            with self.caronte(sink, **own) as daemon:
                done = harness.ctl(*arguments, "-c", daemon.conf)
                self.assertEqual((done.returncode, done.stdout[:2], done.stdout.count("\n")),
                                 (0, "OK", 1), done)
            done = harness.ctl(*arguments, "-c", daemon.conf)
            self.assertEqual((done.returncode, done.stdout[:8], done.stdout.count("\n")),
                             (2, "CRITICAL", 1), done)
