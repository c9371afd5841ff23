# SPDX-License-Identifier: ISC
"""TLS for tests: certificates made by openssl(1), and a client's connection that becomes a TLS one.

A Secure is a Peer whose TLS is in the test's hands: what OpenSSL makes of octets lies in memory, so
a test can cut, change and hold back records.
"""
import contextlib
import pathlib
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import harness
import libssl
import puppet


def openssl(*arguments):
    if not shutil.which("openssl"):
        raise unittest.SkipTest("openssl(1) is not installed")
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


CA = """
[ca]
default_ca=x
[x]
database={0}/index
new_certs_dir={0}
rand_serial=yes
default_md=sha256
policy=any
copy_extensions=copy
unique_subject=no
[any]
commonName=supplied
"""


def sign_by(authority, request, chain, days):
    """The authority: its certificate, and its key."""
    openssl("x509", "-req", "-in", request, "-CA", authority[0], "-CAkey", authority[1],
            "-CAcreateserial", "-copy_extensions", "copy", "-days", days, "-out", chain)


def sign_until(where, request, key, chain, until):
    """A certificate of the key's own that ends at UNTIL, in seconds since 1970."""
    (where / "index").touch()
    (where / "ca.conf").write_text(CA.format(where))
    begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at))
                  for at in (until - 90 * 86400, until))
    openssl("ca", "-config", where / "ca.conf", "-batch", "-selfsign", "-notext", "-in", request,
            "-keyfile", key, "-out", chain, "-startdate", begin, "-enddate", end)


def make_pair(where, names=("mx.test",), kind="ec", days=30, name="tls", until=None,
              authority=None):
    """A certificate for these names and its key; their paths. UNTIL: the second that it ends at, in
    place of DAYS. AUTHORITY: a pair that has signed it, in place of itself."""
    chain, key = where / (name + ".pem"), where / (name + ".key")
    how = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"],
           "small": ["rsa:1024"]}[kind]
    made = ["-newkey", *how, "-nodes", "-subj", "/CN=" + names[0], "-keyout", key, "-addext",
            "subjectAltName=" + ",".join("DNS:" + each for each in names)]
    if until is None and authority is None:
        openssl("req", "-x509", *made, "-days", days, "-out", chain)
    else:
        with tempfile.TemporaryDirectory() as space:
            request = pathlib.Path(space, "request")
            openssl("req", "-new", *made, "-out", request)
            if authority:
                sign_by(authority, request, chain, days)
            else:
                sign_until(pathlib.Path(space), request, key, chain, until)
    chain.chmod(0o644)
    key.chmod(0o640)
    return chain, key


def context(version=None, groups=None):
    """A client's, which takes whatever certificate there is."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if version:
        made.minimum_version = made.maximum_version = version
    if groups:
        made.set_ecdh_curve(groups)
    return made


class Secure(harness.Client):
    """A client that can begin TLS. One thread may send while another one receives."""
    tls = None

    def __init__(self, *where):
        super().__init__(*where)
        self.lock = threading.Lock()  # OpenSSL's objects are one thread's at a time

    def begin_tls(self, how=None, name="mx.test", session=None):
        """STARTTLS, and the handshake."""
        self.command("STARTTLS", 220)
        self.shake(how or context(), name, session)

    def shake(self, how, name="mx.test", session=None):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = how.wrap_bio(self.incoming, self.outgoing, server_hostname=name,
                                session=session)
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()

    def flush(self):
        self.socket.sendall(self.outgoing.read())

    def feed(self):
        octets = self.socket.recv(1 << 16)
        with self.lock:
            if octets:
                self.incoming.write(octets)
            else:
                self.incoming.write_eof()
        return octets

    def records(self, octets):
        """What would be sent for them."""
        with self.lock:
            self.tls.write(octets)
            return self.outgoing.read()

    def send(self, octets):
        if not self.tls:
            super().send(octets)
        for at in range(0, len(octets) if self.tls else 0, 1 << 20):
            self.socket.sendall(self.records(octets[at:at + (1 << 20)]))

    def more(self):
        if not self.tls:
            return super().more()
        while True:
            try:
                with self.lock:
                    octets = self.tls.read(1 << 20)
            except ssl.SSLWantReadError:
                if not self.feed():
                    return b""
                continue
            except ssl.SSLError:  # the peer's goodbye, or its alert
                return b""
            self.got += octets
            return octets

    def tls_read(self):
        """An octet; none at the peer's goodbye. An end without one is an error of OpenSSL's."""
        while True:
            try:
                return self.tls.read(1)
            except ssl.SSLWantReadError:
                self.feed()

    def silent(self, seconds=0):
        """What is TLS's own, as tickets are, is no word."""
        until = time.monotonic() + seconds
        while self.tls and super().silent(max(until - time.monotonic(), 0)) is False:
            try:
                with self.lock:
                    self.got += self.tls.read(1 << 20)
                return False
            except ssl.SSLWantReadError:
                if not self.feed():
                    return False
        return not self.got if self.tls else super().silent(seconds)

    def hello_again(self, name="client.test"):
        """EHLO after the handshake; the lines of the reply without codes."""
        reply = self.command("EHLO " + name, 250).decode()
        return [line[4:] for line in reply.splitlines()]

    def secured(self, how=None, **more):
        """From the greeting to EHLO over TLS."""
        self.hello()
        self.begin_tls(how, **more)
        return self.hello_again()


class TlsCase(harness.TestCase):
    def caronte(self, destination=None, **settings):
        """With a certificate of its own, unless the settings name one."""
        if "TLS_CERTIFICATE" not in settings:
            chain, key = make_pair(pathlib.Path(self.new_dir("tls")))
            settings.update(TLS_CERTIFICATE=str(chain), TLS_KEY=str(key))
        return super().caronte(destination, **settings)


class First(Secure):
    """A client at the LISTEN_TLS_PORT of the daemon that has this port."""
    daemons = []

    def __init__(self, port, *where, shakes=True):
        super().__init__(self.tls_port(port), *where)
        if shakes:
            self.shake(context())

    @classmethod
    def tls_port(cls, port):
        for each in reversed(cls.daemons):
            if each.settings.get("LISTEN_PORT") == port:
                return each.settings["LISTEN_TLS_PORT"]
        return None

    @classmethod
    def client(cls, port, **buffers):
        """As puppet.client(), which somebody else's port still has."""
        own = cls.tls_port(port)
        made = cls.__new__(cls if own else harness.Client)
        puppet.Peer.__init__(made, puppet.connect(own or port, **buffers))
        if own:
            made.lock = threading.Lock()
            made.shake(context())
        return made

    def shake_slowly(self):
        """The ClientHello goes octet by octet."""
        socket_of_its_own, self.socket = self.socket, Slow(self.socket)
        self.shake(context())
        self.socket = socket_of_its_own

    def shake_in_small_records(self):
        """The ClientHello is in records of one octet each. (A small one: six times as much must be
        no more than may come.)"""
        plain = self.flush

        def split():
            self.flush = plain
            record = self.outgoing.read()
            self.socket.sendall(b"".join(record[:3] + b"\0\1" + bytes([octet])
                                         for octet in record[5:]))
        self.flush = split
        self.shake(context(groups="prime256v1"))


class Slow:
    """A socket whose first octets go one by one."""

    def __init__(self, sock):
        self.socket, self.left = sock, 600

    def __getattr__(self, name):
        return getattr(self.socket, name)

    def sendall(self, octets):
        for at in range(min(self.left, len(octets))):
            self.socket.sendall(octets[at:at + 1])
            time.sleep(0.001)
        self.socket.sendall(octets[self.left:])
        self.left = max(self.left - len(octets), 0)


class FirstCase(TlsCase):
    """Caronte listens on another port too, where TLS comes first."""

    def caronte(self, destination=None, **settings):
        settings.setdefault("LISTEN_TLS_PORT", harness.free_port())
        made = super().caronte(destination, **settings)
        First.daemons.append(made)
        return made


class Automatic(Secure):
    """A client that has begun TLS when it has said hello."""

    def hello(self, name="client.test"):
        super().hello(name)
        self.begin_tls()
        return self.hello_again(name)


class OverTlsFirst(FirstCase):
    """Tests of other modules once more, whose clients begin with TLS."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        harness.Client = First
        puppet.client = First.client


class Relay(threading.Thread):
    """A server that ends TLS, which comes first, and passes all octets on to PORT and back. An end
    on either side is one on the other."""

    def __init__(self, port, chain, key):
        super().__init__(daemon=True)
        self.behind = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, key)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.place = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.socket.accept()[0],),
                                 daemon=True).start()

    def serve(self, near):
        with contextlib.suppress(OSError), near:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.context.wrap_socket(near, server_side=True) as near, \
                    socket.create_connection(("127.0.0.1", self.behind)) as far:
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.pass_on(near, far)

    @staticmethod
    def pass_on(near, far):
        """One thread, since OpenSSL's object is one's at a time."""
        ends = [near, far]
        while far in ends:
            for end in select.select(ends, [], [])[0]:
                try:
                    near.setblocking(end is not near)
                    octets = end.recv(1 << 14)  # a record: nothing of it stays behind
                except ssl.SSLWantReadError:
                    continue
                near.setblocking(True)
                if octets:
                    (near if end is far else far).sendall(octets)
                    continue
                ends.remove(end)
                if end is near:
                    far.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()


class Puppeteer(threading.Thread):
    """The same by libssl: each connection, to PORT and back, is in the test's hands too, to say on
    it what a server should not, or rarely does. `version`: of ssl.TLSVersion."""

    def __init__(self, port, chain, key, version=None):
        super().__init__(daemon=True)
        self.behind = port
        self.context = libssl.Context(version, pair=(chain, key))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.place = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.lock = threading.Lock()
        self.lines = []  # all that there have been
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                line = Line(self, self.socket.accept()[0])
                self.lines.append(line)
                line.start()

    def each(self, do, *arguments):
        """Connection.DO(…) on each that is open. How many were there."""
        done = 0
        for line in list(self.lines):
            with self.lock, contextlib.suppress(OSError):  # ssl.SSLError is one
                if line.opened:
                    done += 1
                    with contextlib.suppress(ssl.SSLWantReadError):
                        do(line.tls, *arguments)
                    line.flush()
        return done

    def close(self):
        self.socket.close()


class Line(threading.Thread):
    """One connection of a Puppeteer."""

    def __init__(self, puppeteer, near):
        super().__init__(daemon=True)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.by, self.near, self.opened = puppeteer, near, False
        self.over = threading.Event()
        self.tidy = self.fault = None  # whether it has heard close_notify before the end
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def flush(self):
        self.near.sendall(self.outgoing.read())

    def hear(self, step):
        """What STEP gives once enough has come; b"" at the end, tidy or not."""
        while True:
            with self.by.lock:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    self.tidy = True
                    return b""
                except ssl.SSLError as error:
                    self.fault = error.strerror
                    raise
                finally:
                    self.flush()
            octets = self.near.recv(1 << 16)
            if not octets:
                self.tidy = False
                return b""
            with self.by.lock:
                self.incoming.write(octets)

    def run(self):
        with contextlib.suppress(OSError), self.near:
            self.tls = self.by.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
            if self.hear(self.tls.do_handshake) == b"":
                return
            self.opened = True  # before a word of the server's can be heard
            with socket.create_connection(("127.0.0.1", self.by.behind)) as far:
                threading.Thread(target=self.say_on, args=(far,), daemon=True).start()
                try:
                    while octets := self.hear(self.tls.read):
                        far.sendall(octets)
                finally:
                    far.shutdown(socket.SHUT_WR)
                self.over.wait()
        self.opened = False

    def say_on(self, far):
        """What the server says, up to its end, which is one without a word."""
        with contextlib.suppress(OSError):
            while octets := far.recv(1 << 16):
                with self.by.lock:
                    self.tls.write(octets)
                    self.flush()
            self.near.shutdown(socket.SHUT_WR)
        self.over.set()


class OverTlsDestination(TlsCase):
    """Tests of other modules once more, whose destination is spoken to by TLS."""

    def caronte(self, destination=None, **settings):
        port = getattr(destination, "port", None)
        if port:
            relay = Relay(port, *make_pair(pathlib.Path(self.new_dir("relay"))))
            self.addCleanup(relay.close)
            destination = relay.place + ",wrap"
        return harness.TestCase.caronte(self, destination, **settings)


class OverTls(TlsCase):
    """Tests of other modules once more, whose clients say hello over TLS."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        harness.Client = Automatic
