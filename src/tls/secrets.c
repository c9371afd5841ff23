/* SPDX-License-Identifier: ISC */
/* secrets: see secrets.h. */
#include "tls/secrets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "tls/conn.h"

#define DIGEST 48 /* of SHA-384: the longest secret */

struct tls_secrets {
	uint8_t client[DIGEST], server[DIGEST];
	size_t client_n, server_n;
};

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The secret at the end of a line of the key log: hexadecimal digits. How many octets. */
static size_t secret_of(const char *line, uint8_t out[DIGEST])
{
	const char *at = strrchr(line, ' ');
	size_t n = 0;

	for (at = at ? at + 1 : ""; n < DIGEST && digit(at[0]) >= 0 && digit(at[1]) >= 0; at += 2)
		out[n++] = (uint8_t)(digit(at[0]) << 4 | digit(at[1]));
	return n;
}

/* The secrets of TLS 1.3 behind the handshake (RFC 8446 7.1), as SSLKEYLOGFILE has them. */
static void on_key(const SSL *ssl, const char *line)
{
	struct tls_conn *c = SSL_get_app_data(ssl);
	bool client = strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0;
	bool server = strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0;

	if (!client && !server)
		return;
	if (!c->secrets)
		c->secrets = calloc(1, sizeof(*c->secrets));
	if (c->secrets && client)
		c->secrets->client_n = secret_of(line, c->secrets->client);
	else if (c->secrets)
		c->secrets->server_n = secret_of(line, c->secrets->server);
}

void tls_secrets_told(SSL_CTX *ctx)
{
	SSL_CTX_set_keylog_callback(ctx, on_key);
}

static bool derive(const char *kind, const OSSL_PARAM *params, uint8_t *out, size_t n)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, kind, NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool good = ctx && EVP_KDF_derive(ctx, out, n, params) == 1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return good;
}

/* HKDF-Expand-Label(SECRET, LABEL, "", N) (RFC 8446 7.1). */
static bool expand(const char *digest, const uint8_t *secret, size_t secret_n, char *label,
		   uint8_t *out, size_t n)
{
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	char prefix[] = "tls13 ";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)digest,
						 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret,
						  secret_n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, strlen(prefix)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, label, strlen(label)),
		OSSL_PARAM_construct_end(),
	};

	return derive("TLS13-KDF", params, out, n);
}

static bool keys_1_3(const char *digest, const uint8_t *secret, size_t secret_n, size_t key_n,
		     struct offload_keys *out)
{
	char key[] = "key", nonce[] = "iv";

	return secret_n > 0 && expand(digest, secret, secret_n, key, out->key, key_n) &&
	       expand(digest, secret, secret_n, nonce, out->nonce, OFFLOAD_NONCE);
}

/* What a server has sent with its keys already are tickets, each in a record of its own. */
static bool all_keys_1_3(const struct tls_conn *c, const char *digest, size_t key_n,
			 struct offload_keys *ours, struct offload_keys *theirs)
{
	const struct tls_secrets *s = c->secrets;
	bool server = c->role.server;

	if (!s)
		return false;
	ours->sequence[OFFLOAD_SEQUENCE - 1] = c->tickets;
	return keys_1_3(digest, s->client, s->client_n, key_n, server ? theirs : ours) &&
	       keys_1_3(digest, s->server, s->server_n, key_n, server ? ours : theirs);
}

/* The key block: both keys, then both salts, the client's first (RFC 5246 6.3). */
static bool key_block(const struct tls_conn *c, const char *digest, uint8_t *out, size_t n)
{
	uint8_t master[SSL_MAX_MASTER_KEY_LENGTH], client[SSL3_RANDOM_SIZE],
		server[SSL3_RANDOM_SIZE];
	char label[] = "key expansion";
	size_t master_n =
		SSL_SESSION_get_master_key(SSL_get0_session(c->ssl), master, sizeof(master));
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)digest,
						 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, master_n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, label, strlen(label)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, server, sizeof(server)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, client, sizeof(client)),
		OSSL_PARAM_construct_end(),
	};
	bool good;

	SSL_get_client_random(c->ssl, client, sizeof(client));
	SSL_get_server_random(c->ssl, server, sizeof(server));
	good = derive("TLS1-PRF", params, out, n);
	OPENSSL_cleanse(master, sizeof(master));
	return good;
}

/* Each side has sent one record with its keys, Finished. The kernel goes on counting from the
 * nonce of ours, since none may come twice (RFC 5288 3). */
static bool all_keys_1_2(const struct tls_conn *c, const char *digest, size_t key_n,
			 struct offload_keys *ours, struct offload_keys *theirs)
{
	struct offload_keys *client = c->role.server ? theirs : ours,
			    *server = c->role.server ? ours : theirs;
	uint8_t block[2 * OFFLOAD_KEY + 2 * OFFLOAD_SALT];
	size_t n = 2 * key_n + 2 * OFFLOAD_SALT;

	if (!c->finished || !key_block(c, digest, block, n))
		return false;
	memcpy(client->key, block, key_n);
	memcpy(server->key, block + key_n, key_n);
	memcpy(client->nonce, block + 2 * key_n, OFFLOAD_SALT);
	memcpy(server->nonce, block + 2 * key_n + OFFLOAD_SALT, OFFLOAD_SALT);
	OPENSSL_cleanse(block, sizeof(block));
	memcpy(ours->nonce + OFFLOAD_SALT, c->nonce, sizeof(c->nonce));
	for (size_t i = OFFLOAD_NONCE; i > OFFLOAD_SALT && ++ours->nonce[i - 1] == 0; i--)
		;
	ours->sequence[OFFLOAD_SEQUENCE - 1] = theirs->sequence[OFFLOAD_SEQUENCE - 1] = 1;
	return true;
}

/* Octets of a key; 0: a cipher that stays with OpenSSL. */
static size_t key_octets(const SSL_CIPHER *cipher)
{
	switch (SSL_CIPHER_get_cipher_nid(cipher)) {
	case NID_aes_128_gcm:
		return 16;
	case NID_aes_256_gcm:
		return 32;
	default:
		return 0;
	}
}

bool tls_secrets_keys(const struct tls_conn *c, struct offload *out)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(c->ssl);
	const EVP_MD *md = SSL_CIPHER_get_handshake_digest(cipher);
	const char *digest = md ? EVP_MD_get0_name(md) : NULL;

	*out = (struct offload){ .version = SSL_version(c->ssl), .key_n = key_octets(cipher) };
	if (!digest || !out->key_n)
		return false;
	if (out->version == TLS1_3_VERSION)
		return all_keys_1_3(c, digest, out->key_n, &out->ours, &out->theirs);
	return out->version == TLS1_2_VERSION &&
	       all_keys_1_2(c, digest, out->key_n, &out->ours, &out->theirs);
}

void tls_secrets_forget(struct tls_conn *c)
{
	if (c->secrets)
		OPENSSL_cleanse(c->secrets, sizeof(*c->secrets));
	free(c->secrets);
	c->secrets = NULL;
}
