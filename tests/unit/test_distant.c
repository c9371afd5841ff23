/* SPDX-License-Identifier: ISC */
/* Private keys in another process (tls/distant.h, tls/signer.h): handshakes without a key of their
 * own, a signer that is away for a while or for good, and what it refuses. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/err.h>

#include "certs.h"
#include "tls/conn.h"
#include "tls/fault.h"
#include "tls/load.h"
#include "tls/signer.h"

enum { EC, RSA_, PAIRS };

struct world {
	struct tls_pair pair[PAIRS];
	struct keyring keyring;
	int fd[2]; /* [0] is asked at, [1] answered at */
	struct signer *signer;
	struct distant *distant;
	struct tls_set *set;
	pthread_t thread;
};

static void setup(struct world *w)
{
	const struct tls_policy policy = {
		.min_version = TLS1_2_VERSION, .level = 2, .ciphers = "", .groups = ""
	};
	struct tls_keys keys = { 0 };
	struct tls_loading l;
	char why[TLS_WHY_MAX];
	struct span packed;

	*w = (struct world){ .set = NULL };
	for (unsigned i = 0; i < PAIRS; i++) {
		w->pair[i] =
			cert_make(&(struct cert_wish){ .names = "DNS:a.test", .rsa = i == RSA_ });
		assert_int_equal(keyring_add(&w->keyring, 0, "/x", &w->pair[i]), 0);
	}
	packed = span_of(w->keyring.keys, w->keyring.keys_n);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, w->fd), 0);
	w->signer = signer_make(&packed, 1);
	w->distant = keys.distant = distant_make(w->fd[0]);
	assert_true(w->signer && w->distant);
	assert_true(tls_load_begin(&l, &policy, span_of(w->keyring.chains, w->keyring.chains_n),
				   &keys, why));
	assert_int_equal(tls_load_some(&l, PAIRS, why), TLS_LOADED);
	w->set = l.set;
}

static void *serve(void *arg)
{
	struct world *w = arg;

	assert_int_equal(signer_serve(w->signer, &w->fd[1], 1), 0);
	return NULL;
}

static void begin_serving(struct world *w)
{
	assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
}

static void end_serving(struct world *w)
{
	int fd = dup(w->fd[1]);

	close(w->fd[0]);
	assert_int_equal(pthread_join(w->thread, NULL), 0);
	w->fd[0] = fd;
}

static void teardown(struct world *w)
{
	tls_set_free(w->set);
	distant_free(w->distant);
	signer_free(w->signer);
	keyring_free(&w->keyring);
	for (unsigned i = 0; i < PAIRS; i++)
		tls_pair_free(&w->pair[i]);
	close(w->fd[0]);
	close(w->fd[1]);
}

/* Whether a client of VERSION that verifies ALGORITHMS, or any, comes to a session; ERROR: else the
 * first one of the server's. */
static bool shakes(struct world *w, int version, const char *algorithms, unsigned long *error)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *client = SSL_new(ctx), *server = SSL_new(tls_set_context(w->set));
	struct tls_conn conn = { .state = TLS_SHAKING };
	BIO *one, *other;
	int c = 0, s = 0;

	assert_int_equal(BIO_new_bio_pair(&one, 0, &other, 0), 1);
	SSL_set_bio(client, one, one);
	SSL_set_bio(server, other, other);
	SSL_set_app_data(server, &conn);
	assert_int_equal(SSL_set_max_proto_version(client, version), 1);
	assert_int_equal(SSL_set_min_proto_version(client, version), 1);
	if (algorithms)
		assert_int_equal(SSL_set1_sigalgs_list(client, algorithms), 1);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	*error = 0;
	for (unsigned i = 0; i < 8 && (c != 1 || s != 1) && !*error; i++) {
		c = SSL_do_handshake(client);
		ERR_clear_error();
		s = SSL_do_handshake(server);
		if (s != 1 && SSL_get_error(server, s) == SSL_ERROR_SSL)
			*error = ERR_peek_error();
	}
	ERR_clear_error();
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(ctx);
	return c == 1 && s == 1;
}

/* Each version and signature; the client verifies what was signed. */
static void handshakes(void **state)
{
	static const struct {
		int version;
		const char *algorithms;
	} rows[] = {
		{ TLS1_3_VERSION, NULL },
		{ TLS1_3_VERSION, "ecdsa_secp256r1_sha256" },
		{ TLS1_3_VERSION, "rsa_pss_rsae_sha256" },
		{ TLS1_3_VERSION, "rsa_pss_rsae_sha512" },
		{ TLS1_2_VERSION, "ECDSA+SHA256" },
		{ TLS1_2_VERSION, "ECDSA+SHA384" },
		{ TLS1_2_VERSION, "RSA+SHA256" },
		{ TLS1_2_VERSION, "RSA+SHA512" },
		{ TLS1_2_VERSION, "rsa_pss_rsae_sha384" },
	};
	unsigned long error;
	struct world w;

	(void)state;
	setup(&w);
	begin_serving(&w);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_true(shakes(&w, rows[i].version, rows[i].algorithms, &error));
		assert_int_equal(error, 0);
	}
	end_serving(&w);
	teardown(&w);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Nobody signs: the handshake fails, with the reason, after two seconds, the next ones at once; and
 * when somebody does again, they do not. */
static void nobody_signs(void **state)
{
	unsigned long error;
	struct world w;
	double since = seconds();

	(void)state;
	setup(&w);
	assert_false(shakes(&w, TLS1_3_VERSION, NULL, &error));
	assert_true(seconds() - since > 1.9);
	assert_int_equal(tls_fault_of(error), TLS_FAULT_RESOURCES);
	assert_non_null(strstr(tls_fault_reason(error), "does not sign"));
	since = seconds();
	for (unsigned i = 0; i < 10; i++)
		assert_false(shakes(&w, TLS1_3_VERSION, NULL, &error));
	assert_true(seconds() - since < 15);
	begin_serving(&w);
	while (!shakes(&w, TLS1_3_VERSION, NULL, &error)) /* a busy machine takes a while for it */
		assert_true(seconds() - since < 60);
	assert_true(shakes(&w, TLS1_3_VERSION, "rsa_pss_rsae_sha256", &error));
	end_serving(&w);
	teardown(&w);
}

/* One that has taken a question with it when it ended. */
static void *take_one_and_serve(void *arg)
{
	struct world *w = arg;
	struct signing_ask ask;

	assert_int_equal(recv(w->fd[1], &ask, sizeof(ask), 0), sizeof(ask));
	return serve(arg);
}

static void asked_again(void **state)
{
	unsigned long error;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(pthread_create(&w.thread, NULL, take_one_and_serve, &w), 0);
	assert_true(shakes(&w, TLS1_3_VERSION, NULL, &error));
	end_serving(&w);
	teardown(&w);
}

/* What KEY is asked for, of N octets that end with LAST. */
static uint32_t signs(struct world *w, const struct tls_pair *pair, enum signing_kind kind,
		      size_t n, uint8_t last)
{
	struct signing_ask ask = { .number = 7, .kind = kind, .n = (uint32_t)n };
	struct signing_answer answer;

	assert_true(tls_key_digest(pair->own, ask.key));
	if (n > 0 && n <= SIGNING_MOST)
		ask.octets[n - 1] = last;
	signer_answer(w->signer, &ask, &answer);
	assert_int_equal(answer.number, 7);
	return answer.n;
}

static void refusals(void **state)
{
	struct tls_pair other = cert_make(&(struct cert_wish){ .names = "DNS:b.test" });
	struct world w;

	(void)state;
	setup(&w);
	assert_int_not_equal(signs(&w, &w.pair[EC], SIGNING_ECDSA, 32, 1), 0);
	assert_int_equal(signs(&w, &w.pair[RSA_], SIGNING_RSA_PKCS1, 51, 1), 256);
	/* Another block than one of PSS may be what somebody has encrypted. */
	assert_int_equal(signs(&w, &w.pair[RSA_], SIGNING_RSA_PSS, 256, 0xbc), 0);
	assert_int_equal(signs(&w, &w.pair[RSA_], SIGNING_RSA_PSS, 255, 0xbc), 0);
	assert_int_equal(signs(&w, &w.pair[RSA_], SIGNING_RSA_PKCS1, 0, 0), 0);
	assert_int_equal(signs(&w, &w.pair[RSA_], SIGNING_RSA_PKCS1, 246, 1), 0);
	assert_int_equal(signs(&w, &w.pair[RSA_], SIGNING_RSA_PKCS1, SIGNING_MOST + 1, 1), 0);
	assert_int_equal(signs(&w, &w.pair[RSA_], SIGNING_ECDSA, 32, 1), 0);
	assert_int_equal(signs(&w, &w.pair[EC], SIGNING_RSA_PKCS1, 32, 1), 0);
	assert_int_equal(signs(&w, &w.pair[EC], (enum signing_kind)9, 32, 1), 0);
	assert_int_equal(signs(&w, &other, SIGNING_ECDSA, 32, 1), 0);
	tls_pair_free(&other);
	teardown(&w);
}

/* The block that KEY has signed, with MD and a salt of SALT octets (-1: as long as the digest). */
static size_t block_of(EVP_PKEY *key, const EVP_MD *md, int salt, uint8_t out[SIGNING_MOST])
{
	uint8_t digest[EVP_MAX_MD_SIZE] = { 7 }, signature[SIGNING_MOST];
	EVP_PKEY_CTX *sign = EVP_PKEY_CTX_new(key, NULL), *open = EVP_PKEY_CTX_new(key, NULL);
	size_t n = sizeof(signature), block_n = SIGNING_MOST;

	assert_int_equal(EVP_PKEY_sign_init(sign), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(sign, RSA_PKCS1_PSS_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_signature_md(sign, md), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(sign, salt), 1);
	assert_int_equal(EVP_PKEY_sign(sign, signature, &n, digest, (size_t)EVP_MD_get_size(md)),
			 1);
	assert_int_equal(EVP_PKEY_encrypt_init(open), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(open, RSA_NO_PADDING), 1);
	assert_int_equal(EVP_PKEY_encrypt(open, out, &block_n, signature, n), 1);
	EVP_PKEY_CTX_free(sign);
	EVP_PKEY_CTX_free(open);
	return block_n;
}

/* Of sizes that are a whole number of octets and not; and each bit of a block counts, but for those
 * of the digest and the salt, from which the rest follows. */
static void blocks_of_pss(void **state)
{
	static const unsigned sizes[] = { 2048, 2047, 2049, 2050, 3072 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct tls_pair pair = cert_make(&(struct cert_wish){ .names = "DNS:a.test" });
		const EVP_MD *const digests[] = { EVP_sha256(), EVP_sha384(), EVP_sha512() };
		struct keyring k = { 0 };
		struct signer *signer;
		struct span packed;

		EVP_PKEY_free(pair.key);
		pair.key = EVP_RSA_gen(sizes[i]);
		assert_int_equal(X509_set_pubkey(pair.own, pair.key), 1);
		assert_int_equal(keyring_add(&k, 0, "/x", &pair), 0);
		packed = span_of(k.keys, k.keys_n);
		signer = signer_make(&packed, 1);
		for (size_t d = 0; d < 3; d++) {
			struct signing_ask ask = { .kind = SIGNING_RSA_PSS };
			struct signing_answer answer;

			assert_true(tls_key_digest(pair.own, ask.key));
			ask.n = (uint32_t)block_of(pair.key, digests[d], -1, ask.octets);
			signer_answer(signer, &ask, &answer);
			assert_int_equal(answer.n, ask.n);
			for (size_t at = 0; at < ask.n; at += 5) {
				ask.octets[at] ^= 0x40;
				signer_answer(signer, &ask, &answer);
				/* (A bit of the salt alone makes another block.) */
				assert_true(answer.n == 0 || at > 100);
				ask.octets[at] ^= 0x40;
			}
			ask.n = (uint32_t)block_of(pair.key, digests[d], 20, ask.octets);
			signer_answer(signer, &ask, &answer);
			assert_int_equal(answer.n, 0);
		}
		signer_free(signer);
		keyring_free(&k);
		tls_pair_free(&pair);
	}
}

/* A signer that is slow, after one that was away: what it answers too late tells that it is there.
 */
static void *serve_slowly(void *arg)
{
	struct world *w = arg;
	struct signing_answer answer;
	struct signing_ask ask;

	while (recv(w->fd[1], &ask, sizeof(ask), 0) == (ssize_t)sizeof(ask)) {
		usleep(50000);
		signer_answer(w->signer, &ask, &answer);
		(void)!send(w->fd[1], &answer, sizeof(answer), MSG_NOSIGNAL);
	}
	return NULL;
}

static void slow_after_silence(void **state)
{
	unsigned long error;
	unsigned tries = 0;
	struct world w;

	(void)state;
	setup(&w);
	assert_false(shakes(&w, TLS1_3_VERSION, NULL, &error));
	assert_int_equal(pthread_create(&w.thread, NULL, serve_slowly, &w), 0);
	while (!shakes(&w, TLS1_3_VERSION, NULL, &error))
		assert_true(++tries < 1000);
	end_serving(&w);
	teardown(&w);
}

/* A packet of no octets is no end. */
static void empty_packets(void **state)
{
	unsigned long error;
	struct world w;

	(void)state;
	setup(&w);
	begin_serving(&w);
	assert_int_equal(send(w.fd[0], "", 0, 0), 0);
	assert_true(shakes(&w, TLS1_3_VERSION, NULL, &error));
	end_serving(&w);
	teardown(&w);
}

/* A process that asks has no private key, and none of another kind is taken for one. */
static void kinds(void **state)
{
	struct tls_pair ed = cert_make(&(struct cert_wish){ .names = "DNS:ed.test" });
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIGNUM *number = NULL;
	struct world w;
	char why[TLS_WHY_MAX];

	(void)state;
	setup(&w);
	for (unsigned i = 0; i < PAIRS; i++) {
		EVP_PKEY *stub = distant_key(w.distant, w.pair[i].own, why);

		assert_non_null(stub);
		assert_true(distant_takes(stub));
		assert_int_equal(EVP_PKEY_eq(stub, w.pair[i].key), 1);
		(void)EVP_PKEY_get_bn_param(stub, i == EC ? "priv" : "d", &number);
		assert_true(!number || BN_is_zero(number));
		BN_free(number);
		number = NULL;
		ERR_clear_error();
		EVP_PKEY_free(stub);
	}
	assert_int_equal(X509_set_pubkey(ed.own, key), 1);
	assert_false(distant_takes(key));
	assert_null(distant_key(w.distant, ed.own, why));
	assert_non_null(strstr(why, "of this kind"));
	EVP_PKEY_free(key);
	tls_pair_free(&ed);
	teardown(&w);
}

/* Octets that were cut: no signer. */
static void wrong_octets(void **state)
{
	struct world w;

	(void)state;
	setup(&w);
	for (size_t n = 1; n < w.keyring.keys_n; n += 7) {
		struct span packed = span_of(w.keyring.keys, w.keyring.keys_n - n);
		struct signer *s = signer_make(&packed, 1);

		signer_free(s); /* a whole key may be left: then it is one */
		assert_true(!s || n > 200);
	}
	teardown(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshakes),	 cmocka_unit_test(nobody_signs),
		cmocka_unit_test(asked_again),	 cmocka_unit_test(refusals),
		cmocka_unit_test(kinds),	 cmocka_unit_test(wrong_octets),
		cmocka_unit_test(blocks_of_pss), cmocka_unit_test(slow_after_silence),
		cmocka_unit_test(empty_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
