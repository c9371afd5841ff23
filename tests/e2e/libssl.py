# SPDX-License-Identifier: ISC
"""OpenSSL itself, without Python's module between it and a test: new keys, tickets and
renegotiations whenever a test likes, padding, words behind the last one, and records that OpenSSL
would never send.

A Context stands where an ssl.SSLContext does, in tls.Secure too. Of it comes, by wrap_bio(), a
Connection, which has more to say than an ssl.SSLObject.
"""
import ctypes
import hmac
import ssl

SSL, CRYPTO = ctypes.CDLL("libssl.so.3"), ctypes.CDLL("libcrypto.so.3")
POINTER, INT, LONG, SIZE, TEXT = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_size_t,
                                  ctypes.c_char_p)
KEYLOG = ctypes.CFUNCTYPE(None, POINTER, TEXT)

HANDSHAKE, ALERT, DATA = 22, 21, 23  # types of records (RFC 8446 5.1)
WARNING, CLOSE_NOTIFY, USER_CANCELED = 1, 0, 90  # alerts (RFC 8446 6)
KEEP_YOURS, NEW_ONES_TOO = 0, 1  # what a KeyUpdate asks of the other side (RFC 8446 4.6.3)


def declare(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


ctx_new = declare(SSL, "SSL_CTX_new", POINTER, POINTER)
ctx_free = declare(SSL, "SSL_CTX_free", None, POINTER)
ctx_ctrl = declare(SSL, "SSL_CTX_ctrl", LONG, POINTER, INT, LONG, POINTER)
ctx_chain = declare(SSL, "SSL_CTX_use_certificate_chain_file", INT, POINTER, TEXT)
ctx_key = declare(SSL, "SSL_CTX_use_PrivateKey_file", INT, POINTER, TEXT, INT)
ctx_keylog = declare(SSL, "SSL_CTX_set_keylog_callback", None, POINTER, KEYLOG)
ctx_padding = declare(SSL, "SSL_CTX_set_block_padding", INT, POINTER, SIZE)
client_method = declare(SSL, "TLS_client_method", POINTER)
server_method = declare(SSL, "TLS_server_method", POINTER)
ssl_new = declare(SSL, "SSL_new", POINTER, POINTER)
ssl_free = declare(SSL, "SSL_free", None, POINTER)
ssl_ctrl = declare(SSL, "SSL_ctrl", LONG, POINTER, INT, LONG, TEXT)
set_bio = declare(SSL, "SSL_set_bio", None, POINTER, POINTER, POINTER)
set_state = {True: declare(SSL, "SSL_set_accept_state", None, POINTER),
             False: declare(SSL, "SSL_set_connect_state", None, POINTER)}
do_handshake = declare(SSL, "SSL_do_handshake", INT, POINTER)
ssl_read = declare(SSL, "SSL_read", INT, POINTER, POINTER, INT)
ssl_write = declare(SSL, "SSL_write", INT, POINTER, TEXT, INT)
ssl_shutdown = declare(SSL, "SSL_shutdown", INT, POINTER)
set_shutdown = declare(SSL, "SSL_set_shutdown", None, POINTER, INT)
get_error = declare(SSL, "SSL_get_error", INT, POINTER, INT)
get_version = declare(SSL, "SSL_get_version", TEXT, POINTER)
key_update = declare(SSL, "SSL_key_update", INT, POINTER, INT)
new_ticket = declare(SSL, "SSL_new_session_ticket", INT, POINTER)
renegotiate = declare(SSL, "SSL_renegotiate", INT, POINTER)
client_random = declare(SSL, "SSL_get_client_random", SIZE, POINTER, TEXT, SIZE)
server_random = declare(SSL, "SSL_get_server_random", SIZE, POINTER, TEXT, SIZE)
bio_new = declare(CRYPTO, "BIO_new", POINTER, POINTER)
bio_mem = declare(CRYPTO, "BIO_s_mem", POINTER)
bio_ctrl = declare(CRYPTO, "BIO_ctrl", LONG, POINTER, INT, LONG, POINTER)
bio_read = declare(CRYPTO, "BIO_read", INT, POINTER, POINTER, INT)
bio_write = declare(CRYPTO, "BIO_write", INT, POINTER, TEXT, INT)
clear_errors = declare(CRYPTO, "ERR_clear_error", None)
first_error = declare(CRYPTO, "ERR_peek_error", ctypes.c_ulong)
error_text = declare(CRYPTO, "ERR_reason_error_string", TEXT, ctypes.c_ulong)
cipher_new = declare(CRYPTO, "EVP_CIPHER_CTX_new", POINTER)
cipher_free = declare(CRYPTO, "EVP_CIPHER_CTX_free", None, POINTER)
aes_256_gcm = declare(CRYPTO, "EVP_aes_256_gcm", POINTER)
encrypt_init = declare(CRYPTO, "EVP_EncryptInit_ex", INT, POINTER, POINTER, POINTER, TEXT, TEXT)
encrypt = declare(CRYPTO, "EVP_EncryptUpdate", INT, POINTER, POINTER, ctypes.POINTER(INT), TEXT,
                  INT)
encrypt_final = declare(CRYPTO, "EVP_EncryptFinal_ex", INT, POINTER, POINTER, ctypes.POINTER(INT))
cipher_ctrl = declare(CRYPTO, "EVP_CIPHER_CTX_ctrl", INT, POINTER, INT, INT, POINTER)

WANT_READ, ZERO_RETURN = 2, 6  # of SSL_get_error()
SET_GROUPS, SET_MIN, SET_MAX, SET_NAME = 92, 123, 124, 55  # commands of SSL_CTX_ctrl()
MEM_EOF_RETURN, GET_TAG = 130, 16
SENT_AND_RECEIVED = 3
CIPHERS = b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"  # AES-256-GCM, as in 1.3
set_ciphers = declare(SSL, "SSL_CTX_set_cipher_list", INT, POINTER, TEXT)


class Context:
    """Takes whatever certificate there is. GROUPS as OpenSSL lists them; PADDING: a record of TLS
    1.3 becomes so long."""

    def __init__(self, version=None, groups=None, padding=0, pair=None):
        self.ctx = ctx_new(server_method() if pair else client_method())
        self.secrets, self.own = {}, {}
        self.keep = KEYLOG(self.on_secret)
        ctx_keylog(self.ctx, self.keep)
        set_ciphers(self.ctx, CIPHERS)
        for command in (SET_MIN, SET_MAX) if version else ():
            ctx_ctrl(self.ctx, command, version, None)
        if groups:
            ctx_ctrl(self.ctx, SET_GROUPS, 0, ctypes.cast(ctypes.c_char_p(groups.encode()),
                                                          POINTER))
        if padding:
            ctx_padding(self.ctx, padding)
        if pair:
            ctx_chain(self.ctx, str(pair[0]).encode())
            ctx_key(self.ctx, str(pair[1]).encode(), 1)

    def __del__(self):
        ctx_free(self.ctx)

    def on_secret(self, connection, line):
        """As SSLKEYLOGFILE has them: `secrets` of the newest connection."""
        label, _, secret = line.split()
        for secrets in self.secrets, self.own.setdefault(connection, {}):
            secrets[label.decode()] = bytes.fromhex(secret.decode())

    def wrap_bio(self, incoming, outgoing, server_side=False, server_hostname=None, session=None):
        return Connection(self, incoming, outgoing, server_side, server_hostname)


class Connection:
    def __init__(self, context, incoming, outgoing, server, name):
        self.context, self.incoming, self.outgoing = context, incoming, outgoing
        self.ssl = ssl_new(context.ctx)
        self.came, self.goes = bio_new(bio_mem()), bio_new(bio_mem())
        set_bio(self.ssl, self.came, self.goes)
        set_state[server](self.ssl)
        if name:
            ssl_ctrl(self.ssl, SET_NAME, 0, name.encode())
        self.written = 0  # records with octets

    def __del__(self):
        ssl_free(self.ssl)

    def step(self, function, *arguments):
        """A call of OpenSSL's, which gets what has come; what it says is outgoing then."""
        if octets := self.incoming.read():
            bio_write(self.came, octets, len(octets))
        if self.incoming.eof:
            bio_ctrl(self.came, MEM_EOF_RETURN, 0, None)
        clear_errors()
        result = function(self.ssl, *arguments)
        why = 0 if result > 0 else get_error(self.ssl, result)
        room = ctypes.create_string_buffer(1 << 16)
        while (n := bio_read(self.goes, room, len(room))) > 0:
            self.outgoing.write(room.raw[:n])
        if why == WANT_READ:
            raise ssl.SSLWantReadError
        if why == ZERO_RETURN:
            raise ssl.SSLZeroReturnError
        if why:
            raise ssl.SSLError(1, (error_text(first_error()) or b"no reason").decode())
        return result

    def do_handshake(self):
        self.step(do_handshake)

    def read(self, most=1 << 16):
        room = ctypes.create_string_buffer(most)
        n = self.step(ssl_read, room, most)
        return room.raw[:n]

    def write(self, octets):
        self.written += -(-len(octets) // 16384)
        return self.step(ssl_write, octets, len(octets))

    def version(self):
        return get_version(self.ssl).decode()

    def unwrap(self):
        """close_notify. It may be followed by more, as it may not (RFC 8446 6.1)."""
        clear_errors()
        try:
            self.step(lambda it: ssl_shutdown(it) + 1)
        finally:
            set_shutdown(self.ssl, 0)

    def key_update(self, kind):
        key_update(self.ssl, kind)
        self.do_handshake()

    def ticket(self):
        """One more, of a server."""
        new_ticket(self.ssl)
        self.do_handshake()

    def renegotiate(self):
        """A ClientHello or, of a server, a HelloRequest."""
        renegotiate(self.ssl)
        self.do_handshake()


def expand(secret, label, n):
    """HKDF-Expand-Label without a context (RFC 8446 7.1), for one block."""
    label = b"tls13 " + label
    info = n.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\1", "sha384")[:n]


def prf(secret, seed, n):
    """RFC 5246 5, with SHA-384."""
    octets, a = b"", seed
    while len(octets) < n:
        a = hmac.digest(secret, a, "sha384")
        octets += hmac.digest(secret, a + seed, "sha384")
    return octets[:n]


def seal(key, nonce, with_it, octets):
    """AES-256-GCM."""
    ctx, out, tag = cipher_new(), ctypes.create_string_buffer(len(octets) + 16), \
        ctypes.create_string_buffer(16)
    n = INT()
    encrypt_init(ctx, aes_256_gcm(), None, key, nonce)
    encrypt(ctx, None, n, with_it, len(with_it))
    if octets:
        encrypt(ctx, out, n, octets, len(octets))
    encrypt_final(ctx, tag, n)
    cipher_ctrl(ctx, GET_TAG, 16, tag)
    cipher_free(ctx)
    return out.raw[:len(octets)] + tag.raw


class Forger:
    """Makes records of a client, with its own keys. From the first one on the Connection itself may
    say nothing more: they count records together."""

    def __init__(self, connection):
        secrets = connection.context.own[connection.ssl]
        self.new = connection.version() == "TLSv1.3"
        if self.new:
            secret = secrets["CLIENT_TRAFFIC_SECRET_0"]
            self.key, self.nonce = expand(secret, b"key", 32), expand(secret, b"iv", 12)
        else:
            seed = b"".join(self.random(connection, each) for each in (server_random,
                                                                       client_random))
            block = prf(secrets["CLIENT_RANDOM"], b"key expansion" + seed, 72)
            self.key, self.nonce = block[:32], block[64:68]
        self.number = connection.written + (not self.new)  # there Finished is the first

    @staticmethod
    def random(connection, which):
        room = ctypes.create_string_buffer(32)
        which(connection.ssl, room, 32)
        return room.raw

    def record(self, kind, octets, padding=0):
        number = self.number.to_bytes(8, "big")
        self.number += 1
        if self.new:
            nonce = bytes(a ^ b for a, b in zip(self.nonce, b"\0\0\0\0" + number))
            octets += bytes([kind]) + bytes(padding)
            head = b"\x17\3\3" + (len(octets) + 16).to_bytes(2, "big")
            return head + seal(self.key, nonce, head, octets)
        with_it = number + bytes([kind]) + b"\3\3" + len(octets).to_bytes(2, "big")
        return bytes([kind]) + b"\3\3" + (len(octets) + 24).to_bytes(2, "big") + number + \
            seal(self.key, self.nonce + number, with_it, octets)
