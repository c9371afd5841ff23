/* SPDX-License-Identifier: ISC */
/* set: see set.h. */
#include "tls/set.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "tls/client.h"
#include "tls/conn.h"
#include "tls/secrets.h"

/* A name that a group is for. */
struct name {
	char *text;
	unsigned group;
};

struct group {
	SSL_CTX *ctx;
	EVP_MD_CTX *digest; /* of its certificates, until the set is ready */
};

struct tls_set {
	struct tls_policy policy;
	char *ciphers, *groups_list;
	struct ticket_user tickets;
	struct group *group;
	unsigned groups;
	struct name *name; /* in order once the set is ready */
	unsigned names;
};

static bool refuse(char why[TLS_WHY_MAX], const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(why, TLS_WHY_MAX, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
	ERR_clear_error();
	return false;
}

/* ---- one context ---- */

/* What the peer says behind the handshake is counted, and the tickets that we send. */
static void on_message(int sent, int version, int type, const void *p, size_t n, SSL *ssl,
		       void *unused)
{
	struct tls_conn *c = SSL_get_app_data(ssl);

	(void)unused;
	if (sent && type == SSL3_RT_HANDSHAKE && version == TLS1_3_VERSION && n > 0 &&
	    *(const uint8_t *)p == SSL3_MT_NEWSESSION_TICKET)
		c->tickets++;
	if (!sent && type == SSL3_RT_HANDSHAKE && c->state == TLS_OPEN && c->late < UINT16_MAX)
		c->late++;
}

void tls_context_usual(SSL_CTX *ctx, bool kernel)
{
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_msg_callback(ctx, on_message);
	if (kernel)
		tls_secrets_told(ctx);
}

/* "smtp" is what some devices ask for, and nothing registered says otherwise. A client that asks
 * for neither, at a port where TLS comes first, is another protocol's (RFC 9325 3.7). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
		   const unsigned char *in, unsigned in_n, void *unused)
{
	const struct tls_conn *c = SSL_get_app_data(ssl);

	(void)unused;
	for (unsigned i = 0; i < in_n && in[i] < in_n - i; i += 1u + in[i]) {
		struct span name = span_of(in + i + 1, in[i]);

		if (!span_eq(name, SPAN("smtp")) && !span_eq(name, SPAN("esmtp")))
			continue;
		*out = name.p;
		*out_n = (unsigned char)name.n;
		return SSL_TLSEXT_ERR_OK;
	}
	return c->role.alpn ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

static int on_hello(SSL *ssl, int *alert, void *arg);

static bool set_versions(SSL_CTX *ctx, const struct tls_policy *p, enum tls_part *part,
			 char why[TLS_WHY_MAX])
{
	*part = TLS_PART_VERSION;
	SSL_CTX_set_security_level(ctx, p->level);
	if (p->min_version < TLS1_2_VERSION && p->level > 0)
		return refuse(why, "TLS 1.0 and 1.1 need level 0");
	if (SSL_CTX_set_min_proto_version(ctx, p->min_version) != 1)
		return refuse(why, "OpenSSL refuses it");
	*part = TLS_PART_CIPHERS;
	if (SSL_CTX_set_cipher_list(ctx, *p->ciphers ? p->ciphers : TLS_CIPHERS_USUAL) != 1)
		return refuse(why, "OpenSSL refuses it");
	*part = TLS_PART_GROUPS;
	if (SSL_CTX_set1_groups_list(ctx, *p->groups ? p->groups : TLS_GROUPS_USUAL) != 1)
		return refuse(why, "OpenSSL refuses it: allowed are names separated by colons");
	*part = TLS_PART_OTHER;
	return true;
}

static SSL_CTX *make_context(struct tls_set *set, enum tls_part *part, char why[TLS_WHY_MAX])
{
	const struct tls_policy *p = &set->policy;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx) {
		refuse(why, "no memory");
		return NULL;
	}
	tls_context_usual(ctx, p->kernel);
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_client_hello_cb(ctx, on_hello, set);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	/* A session that is resumed has no certificate to tell of. */
	ticket_use(ctx, p->ticket_hours && !p->client_asked ? &set->tickets : NULL);
	SSL_CTX_set_timeout(ctx, (long)p->ticket_hours * 3600);
	if (p->client_asked)
		client_ask(ctx, p->client_authorities);
	if (set_versions(ctx, p, part, why))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

/* ---- names ---- */

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* Those of a text in the order of their groups. */
static int compare_all(const void *a, const void *b)
{
	unsigned x = ((const struct name *)a)->group, y = ((const struct name *)b)->group;
	int by_text = compare(a, b);

	return by_text ? by_text : (x > y) - (x < y);
}

/* In order, and each for the group that has it first. */
static void sort_names(struct tls_set *set)
{
	unsigned kept = 0;

	qsort(set->name, set->names, sizeof(*set->name), compare_all);
	for (unsigned i = 0; i < set->names; i++)
		if (kept > 0 && compare(&set->name[kept - 1], &set->name[i]) == 0)
			free(set->name[i].text);
		else
			set->name[kept++] = set->name[i];
	set->names = kept;
}

static const struct name *find(const struct tls_set *set, const char *text)
{
	struct name want = { .text = (char *)(uintptr_t)text };

	return bsearch(&want, set->name, set->names, sizeof(*set->name), compare);
}

/* Exactly, or by a `*` in place of the first label (RFC 6125 6.4.3). */
static const struct name *find_for(const struct tls_set *set, const char *host)
{
	const struct name *n = find(set, host);
	const char *dot = strchr(host, '.');
	char star[TLS_NAME_MAX + 1];

	if (n || !dot || dot == host)
		return n;
	snprintf(star, sizeof(star), "*%s", dot);
	return find(set, star);
}

/* The host name in the extension: a list of one entry of type 0 (RFC 6066 3). False: there is none
 * that could be looked for. */
static bool name_asked(SSL *ssl, char out[TLS_NAME_MAX])
{
	const unsigned char *p;
	size_t n, len;

	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) || n < 5)
		return false;
	len = (size_t)p[3] << 8 | p[4];
	if (p[2] != TLSEXT_NAMETYPE_host_name || len != n - 5 || len == 0 || len >= TLS_NAME_MAX)
		return false;
	p += 5;
	if (p[len - 1] == '.')
		len--;
	for (size_t i = 0; i < len; i++) {
		if (p[i] <= ' ' || p[i] >= 0x7f || p[i] == '*')
			return false;
		out[i] = (char)ascii_lower(p[i]);
	}
	out[len] = '\0';
	return len > 0;
}

static int on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_set *set = arg;
	char host[TLS_NAME_MAX];
	const struct name *n;

	(void)alert;
	if (!name_asked(ssl, host))
		return SSL_CLIENT_HELLO_SUCCESS;
	n = find_for(set, host);
	if (n && n->group > 0)
		SSL_set_SSL_CTX(ssl, set->group[n->group].ctx);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- the set ---- */

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

static bool new_group(struct tls_set *set, enum tls_part *part, char why[TLS_WHY_MAX])
{
	struct group *all = realloc(set->group, (set->groups + 1) * sizeof(*all));
	struct group *g;

	if (!all)
		return refuse(why, "no memory");
	set->group = all;
	g = &all[set->groups];
	*g = (struct group){ make_context(set, part, why), EVP_MD_CTX_new() };
	if (!g->ctx || !g->digest) {
		SSL_CTX_free(g->ctx);
		EVP_MD_CTX_free(g->digest);
		return false;
	}
	set->groups++;
	return EVP_DigestInit_ex(g->digest, EVP_sha256(), NULL) == 1;
}

struct tls_set *tls_set_make(const struct tls_policy *policy, enum tls_part *part,
			     char why[TLS_WHY_MAX])
{
	struct tls_set *set = calloc(1, sizeof(*set));
	bool good = false;

	*part = TLS_PART_OTHER;
	if (set) {
		set->policy = *policy;
		set->policy.ciphers = set->ciphers = copy(policy->ciphers);
		set->policy.groups = set->groups_list = copy(policy->groups);
		good = set->ciphers && set->groups_list &&
		       (!policy->client_authorities ||
			X509_STORE_up_ref(policy->client_authorities) == 1) &&
		       ticket_open(&set->tickets, policy->tickets);
	}
	if (!good)
		refuse(why, "no memory");
	if (good && new_group(set, part, why))
		return set;
	tls_set_free(set);
	return NULL;
}

static bool add_name(struct tls_set *set, unsigned group, const char *text)
{
	struct name *all = realloc(set->name, (set->names + 1) * sizeof(*all));

	if (!all)
		return false;
	set->name = all;
	all[set->names] = (struct name){ strdup(text), group };
	return all[set->names++].text != NULL;
}

static bool add_names(struct tls_set *set, unsigned group, const struct tls_pair *pair)
{
	char name[TLS_NAME_MAX];

	for (unsigned i = 0; tls_pair_name(pair, i, name); i++)
		if (!add_name(set, group, name))
			return false;
	return true;
}

static bool add_digest(struct group *g, const X509 *cert)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n;

	return X509_digest(cert, EVP_sha256(), digest, &n) == 1 &&
	       EVP_DigestUpdate(g->digest, digest, n) == 1;
}

/* What OpenSSL has against a certificate, in words that name the cure; NULL: its own are said. */
static const char *meant(int reason)
{
	switch (reason) {
	case SSL_R_NOT_REPLACING_CERTIFICATE:
		return "one before it has the same kind of key, and one for each kind is allowed; "
		       "certificates for other names go into TLS_CERTIFICATE_DIR";
	case SSL_R_EE_KEY_TOO_SMALL:
		return "its key is too small for TLS_SECURITY_LEVEL";
	case SSL_R_CA_KEY_TOO_SMALL:
		return "a key of its chain is too small for TLS_SECURITY_LEVEL";
	case SSL_R_CA_MD_TOO_WEAK:
		return "it is signed by a digest that is too weak for TLS_SECURITY_LEVEL";
	default:
		return NULL;
	}
}

static bool refuse_pair(char why[TLS_WHY_MAX])
{
	const char *words = meant(ERR_GET_REASON(ERR_peek_last_error()));

	if (!words)
		return refuse(why, "OpenSSL does not take it");
	ERR_clear_error();
	return refuse(why, words);
}

bool tls_set_add(struct tls_set *set, unsigned group, const struct tls_pair *pair,
		 char why[TLS_WHY_MAX])
{
	enum tls_part part;

	if (group > set->groups)
		return refuse(why, "one before it could not be added");
	if (group == set->groups && !new_group(set, &part, why))
		return false;
	if (SSL_CTX_use_cert_and_key(set->group[group].ctx, pair->own, pair->key, pair->chain, 0) !=
	    1)
		return refuse_pair(why);
	if (!add_names(set, group, pair) || !add_digest(&set->group[group], pair->own))
		return refuse(why, "no memory");
	return true;
}

/* A session is resumed only where it would be made: with the same certificates. */
static bool set_session_context(struct group *g)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n;
	bool good = EVP_DigestFinal_ex(g->digest, digest, &n) == 1 &&
		    SSL_CTX_set_session_id_context(g->ctx, digest, n) == 1;

	EVP_MD_CTX_free(g->digest);
	g->digest = NULL;
	return good;
}

bool tls_set_ready(struct tls_set *set)
{
	sort_names(set);
	for (unsigned i = 0; i < set->groups; i++)
		if (!set_session_context(&set->group[i]))
			return false;
	return true;
}

SSL_CTX *tls_set_context(const struct tls_set *set)
{
	return set->group[0].ctx;
}

void tls_set_free(struct tls_set *set)
{
	if (!set)
		return;
	for (unsigned i = 0; i < set->groups; i++) {
		SSL_CTX_free(set->group[i].ctx);
		EVP_MD_CTX_free(set->group[i].digest);
	}
	for (unsigned i = 0; i < set->names; i++)
		free(set->name[i].text);
	ticket_close(&set->tickets);
	X509_STORE_free(set->policy.client_authorities);
	free(set->group);
	free(set->name);
	free(set->ciphers);
	free(set->groups_list);
	free(set);
}
