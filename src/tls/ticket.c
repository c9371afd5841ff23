/* SPDX-License-Identifier: ISC */
/* ticket: see ticket.h. A key is written while its number is odd, and read again where the number
 * has changed. */
#include "tls/ticket.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <string.h>

#include "base/diag.h"

struct key {
	uint8_t name[TICKET_NAME], aes[32], hmac[32];
	uint64_t from_ms; /* 0: none */
};

struct ticket_page {
	uint32_t layout;
	_Atomic uint32_t number;     /* odd: it is written now */
	struct key key[TICKET_KEYS]; /* the current one first */
};

_Static_assert(sizeof(struct ticket_page) <= TICKET_PAGE_SIZE, "it is one page");

/* A page that stays odd belongs to a master that was killed while it wrote. */
#define TRIES 1000

bool ticket_open(struct ticket_user *u, const struct ticket_page *page)
{
	*u = (struct ticket_user){ page, EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL) };
	return u->cipher != NULL;
}

void ticket_close(struct ticket_user *u)
{
	EVP_CIPHER_free(u->cipher);
	*u = (struct ticket_user){ 0 };
}

/* ---- the page ---- */

void ticket_begin(struct ticket_page *page)
{
	*page = (struct ticket_page){ .layout = TICKET_LAYOUT };
}

bool ticket_fits(const struct ticket_page *page)
{
	return page->layout == TICKET_LAYOUT;
}

static void write_keys(struct ticket_page *page, const struct key key[TICKET_KEYS])
{
	atomic_fetch_add_explicit(&page->number, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memcpy(page->key, key, sizeof(page->key));
	atomic_thread_fence(memory_order_release);
	atomic_fetch_add_explicit(&page->number, 1, memory_order_release);
}

static bool read_keys(const struct ticket_page *page, struct key key[TICKET_KEYS])
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint32_t before = atomic_load_explicit(&page->number, memory_order_acquire);

		memcpy(key, page->key, sizeof(page->key));
		atomic_thread_fence(memory_order_acquire);
		if (!(before & 1) &&
		    atomic_load_explicit(&page->number, memory_order_relaxed) == before)
			return true;
	}
	return false;
}

static bool is_of_age(const struct key *k, uint64_t ms, uint64_t now_ms)
{
	return k->from_ms && now_ms - k->from_ms >= ms;
}

static bool make(struct key *k, uint64_t now_ms)
{
	k->from_ms = now_ms ? now_ms : 1;
	return RAND_bytes(k->name, sizeof(k->name)) == 1 &&
	       RAND_priv_bytes(k->aes, sizeof(k->aes)) == 1 &&
	       RAND_priv_bytes(k->hmac, sizeof(k->hmac)) == 1;
}

uint64_t ticket_turn(struct ticket_page *page, unsigned hours, uint64_t now_ms)
{
	uint64_t half_ms = (uint64_t)hours * 3600 * 1000 / 2;
	struct key key[TICKET_KEYS];

	memcpy(key, page->key, sizeof(key)); /* nobody else writes */
	if (!key[0].from_ms || is_of_age(&key[0], half_ms, now_ms)) {
		key[1] = key[0];
		if (!make(&key[0], now_ms))
			key[0] = (struct key){ 0 };
	}
	if (is_of_age(&key[1], 2 * half_ms, now_ms))
		OPENSSL_cleanse(&key[1], sizeof(key[1]));
	if (memcmp(key, page->key, sizeof(key)) != 0)
		write_keys(page, key);
	OPENSSL_cleanse(key, sizeof(key));
	return page->key[0].from_ms ? page->key[0].from_ms + half_ms : now_ms + 1000;
}

/* ---- OpenSSL's side ---- */

static bool set_mac(EVP_MAC_CTX *mac, struct key *k)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac, sizeof(k->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* What OpenSSL asks for: a context to encrypt or decrypt with, and one that makes the tag. */
struct asked {
	EVP_CIPHER_CTX *ctx;
	EVP_MAC_CTX *mac;
	unsigned char *name, *iv;
};

static int seal(const EVP_CIPHER *cipher, struct key *k, const struct asked *a)
{
	if (!k->from_ms)
		return 0;
	memcpy(a->name, k->name, TICKET_NAME);
	return RAND_bytes(a->iv, EVP_CIPHER_get_iv_length(cipher)) == 1 &&
			       EVP_EncryptInit_ex2(a->ctx, cipher, k->aes, a->iv, NULL) == 1 &&
			       set_mac(a->mac, k)
		       ? 1
		       : -1;
}

/* 1, and never 2: a ticket that is taken is not renewed, or a session could go on for ever. */
static int unseal(const EVP_CIPHER *cipher, struct key key[TICKET_KEYS], const struct asked *a)
{
	for (unsigned i = 0; i < TICKET_KEYS; i++) {
		if (!key[i].from_ms || CRYPTO_memcmp(key[i].name, a->name, TICKET_NAME) != 0)
			continue;
		return EVP_DecryptInit_ex2(a->ctx, cipher, key[i].aes, a->iv, NULL) == 1 &&
				       set_mac(a->mac, &key[i])
			       ? 1
			       : -1;
	}
	return 0;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *ctx,
		     EVP_MAC_CTX *mac, int enc)
{
	const struct ticket_user *u = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct asked asked = { ctx, mac, name, iv };
	struct key key[TICKET_KEYS];
	int ret = 0;

	if (read_keys(u->page, key))
		ret = enc ? seal(u->cipher, &key[0], &asked) : unseal(u->cipher, key, &asked);
	OPENSSL_cleanse(key, sizeof(key));
	return ret;
}

void ticket_use(SSL_CTX *ctx, const struct ticket_user *u)
{
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, u ? 1 : 0);
	if (!u) {
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		return;
	}
	SSL_CTX_set_app_data(ctx, (void *)(uintptr_t)u);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}
