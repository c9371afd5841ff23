/* SPDX-License-Identifier: ISC */
/* peer: see peer.h. */
#include "tls/peer.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "tls/set.h"

struct tls_peer {
	SSL_CTX *ctx;
	char *name; /* for SNI and the certificate; "": none */
	bool is_address;
	enum tls_trust trust;
	unsigned pins;
	uint8_t (*pin)[TLS_DIGEST];
	SSL_SESSION *session; /* the newest; NULL: none */
	struct resumption *others;
	unsigned place;
	uint64_t version;
};

static bool refuse(char why[TLS_WHY_MAX], const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(why, TLS_WHY_MAX, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
	ERR_clear_error();
	return false;
}

const char *tls_trust_name(enum tls_trust trust)
{
	static const char *const names[] = {
		[TLS_TRUST_NONE] = "none",
		[TLS_TRUST_VERIFIED] = "verified",
		[TLS_TRUST_PINNED] = "pinned",
	};

	return names[trust];
}

/* ---- judging ---- */

static bool is_pinned(const struct tls_peer *peer, const X509 *cert)
{
	uint8_t digest[TLS_DIGEST];

	if (!cert || !tls_key_digest(cert, digest))
		return false;
	for (unsigned i = 0; i < peer->pins; i++)
		if (CRYPTO_memcmp(peer->pin[i], digest, sizeof(digest)) == 0)
			return true;
	return false;
}

/* In place of OpenSSL's own judgement. */
static int judge_pin(X509_STORE_CTX *store, void *arg)
{
	if (is_pinned(arg, X509_STORE_CTX_get0_cert(store))) {
		X509_STORE_CTX_set_error(store, X509_V_OK);
		return 1;
	}
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

static bool set_name(struct tls_peer *peer, bool verify)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(peer->ctx);

	if (!verify)
		return true;
	if (peer->is_address)
		return X509_VERIFY_PARAM_set1_ip_asc(param, peer->name) == 1;
	/* The common name is no name any more (RFC 9525 2). */
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, peer->name, 0) == 1;
}

static bool set_trust(struct tls_peer *peer, const struct tls_peer_want *want)
{
	SSL_CTX_set_verify(peer->ctx, SSL_VERIFY_NONE, NULL);
	if (want->pins) {
		peer->trust = TLS_TRUST_PINNED;
		SSL_CTX_set_verify(peer->ctx, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set_cert_verify_callback(peer->ctx, judge_pin, peer);
	} else if (want->verify) {
		peer->trust = TLS_TRUST_VERIFIED;
		SSL_CTX_set_verify(peer->ctx, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set1_cert_store(peer->ctx, want->verify);
	}
	return set_name(peer, want->verify);
}

const char *tls_peer_fault(SSL *ssl)
{
	long result = SSL_get_verify_result(ssl);

	if (result == X509_V_OK)
		return NULL;
	if (result == X509_V_ERR_APPLICATION_VERIFICATION)
		return "its key is none of those that are pinned";
	return X509_verify_cert_error_string(result);
}

/* ---- sessions ---- */

static int peer_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index;
}

static void share(const struct tls_peer *peer, SSL_SESSION *session)
{
	unsigned char octets[RESUMPTION_MAX], *p = octets;
	int n = peer->others ? i2d_SSL_SESSION(session, NULL) : 0;

	if (n <= 0 || n > RESUMPTION_MAX)
		return;
	n = i2d_SSL_SESSION(session, &p);
	resumption_keep(peer->others, peer->place, peer->version, span_of(octets, (size_t)n));
	OPENSSL_cleanse(octets, sizeof(octets));
}

/* One that another worker has had; NULL: there is none. */
static SSL_SESSION *shared_session(const struct tls_peer *peer)
{
	unsigned char octets[RESUMPTION_MAX];
	const unsigned char *p = octets;
	size_t n =
		peer->others ? resumption_get(peer->others, peer->place, peer->version, octets) : 0;
	SSL_SESSION *session = n ? d2i_SSL_SESSION(NULL, &p, (long)n) : NULL;

	OPENSSL_cleanse(octets, n);
	return session;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_peer *peer = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), peer_index());

	if (!peer)
		return 0;
	SSL_SESSION_free(peer->session);
	peer->session = session;
	share(peer, session);
	return 1; /* it is ours now */
}

/* A copy: OpenSSL would use one of TLS 1.3 once, so that nobody can tell that two connections are
 * of the same client. Between two servers of one operator that is no secret. */
static bool resume(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION *copy = SSL_SESSION_dup(session);
	bool good = copy && SSL_set_session(ssl, copy) == 1;

	SSL_SESSION_free(copy);
	return good;
}

static bool resume_shared(SSL *ssl, const struct tls_peer *peer)
{
	SSL_SESSION *session = shared_session(peer);
	bool good = !session || SSL_set_session(ssl, session) == 1;

	SSL_SESSION_free(session);
	return good;
}

bool tls_peer_prepare(SSL *ssl, const void *arg)
{
	const struct tls_peer *peer = arg;

	if (*peer->name && !peer->is_address && SSL_set_tlsext_host_name(ssl, peer->name) != 1)
		return false;
	return peer->session ? resume(ssl, peer->session) : resume_shared(ssl, peer);
}

/* ---- life ---- */

static bool take_want(struct tls_peer *peer, const struct tls_peer_want *want)
{
	struct addr ip;

	peer->name = strdup(want->name);
	peer->is_address = addr_parse_ip(&ip, want->name) == 0;
	peer->pins = want->pins;
	peer->others = want->others;
	peer->place = want->place;
	peer->version = want->version;
	peer->pin = calloc(want->pins ? want->pins : 1, sizeof(*peer->pin));
	if (!peer->name || !peer->pin)
		return false;
	if (want->pins)
		memcpy(peer->pin, want->pin, want->pins * sizeof(*peer->pin));
	return true;
}

static bool set_up(struct tls_peer *peer, const struct tls_peer_want *want)
{
	SSL_CTX *ctx = peer->ctx;

	tls_context_usual(ctx, want->kernel);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	return SSL_CTX_set_ex_data(ctx, peer_index(), peer) == 1 &&
	       SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && set_trust(peer, want);
}

struct tls_peer *tls_peer_make(const struct tls_peer_want *want, char why[TLS_WHY_MAX])
{
	struct tls_peer *peer = calloc(1, sizeof(*peer));

	ERR_clear_error();
	if (peer && take_want(peer, want))
		peer->ctx = SSL_CTX_new(TLS_client_method());
	if (peer && peer->ctx && set_up(peer, want))
		return peer;
	refuse(why, "no memory");
	tls_peer_free(peer);
	return NULL;
}

void tls_peer_free(struct tls_peer *peer)
{
	if (!peer)
		return;
	/* Connections may live on, and get tickets. */
	if (peer->ctx)
		SSL_CTX_set_ex_data(peer->ctx, peer_index(), NULL);
	SSL_SESSION_free(peer->session);
	SSL_CTX_free(peer->ctx);
	free(peer->name);
	free(peer->pin);
	free(peer);
}

SSL_CTX *tls_peer_context(const struct tls_peer *peer)
{
	return peer->ctx;
}

enum tls_trust tls_peer_trust(const struct tls_peer *peer)
{
	return peer->trust;
}

/* ---- authorities ---- */

/* How many; one that cannot be read ends them. */
static unsigned add_all(X509_STORE *store, BIO *in)
{
	unsigned n = 0;
	X509 *cert;

	while ((cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
		n += X509_STORE_add_cert(store, cert) == 1;
		X509_free(cert);
	}
	return n;
}

X509_STORE *tls_authorities(struct span text, char why[TLS_WHY_MAX])
{
	X509_STORE *store = X509_STORE_new();
	BIO *in = text.n > 0 && text.n <= INT32_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
	unsigned n;

	ERR_clear_error();
	n = store && in ? add_all(store, in) : 0;
	BIO_free(in);
	if (n > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
		ERR_clear_error();
		return store;
	}
	ERR_clear_error();
	snprintf(why, TLS_WHY_MAX, "%s",
		 n > 0 ? "a certificate in it cannot be read" : "no certificate that can be read");
	X509_STORE_free(store);
	return NULL;
}
