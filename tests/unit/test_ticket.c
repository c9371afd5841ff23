/* SPDX-License-Identifier: ISC */
/*
 * Keys of session tickets: how they turn, and what that means for a client that comes back: to any
 * worker, within the time that a ticket is good for, and never to other certificates.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "certs.h"
#include "tls/conn.h"
#include "tls/set.h"

#define HOUR_MS 3600000ull

static struct ticket_page *fresh_page(void)
{
	struct ticket_page *page = calloc(1, TICKET_PAGE_SIZE);

	assert_non_null(page);
	ticket_begin(page);
	assert_true(ticket_fits(page));
	return page;
}

static struct tls_set *make_set(const struct ticket_page *page, const struct tls_pair *pair)
{
	struct tls_policy policy = { .min_version = TLS1_2_VERSION,
				     .level = 2,
				     .ciphers = "",
				     .groups = "",
				     .ticket_hours = page ? 2 : 0,
				     .tickets = page };
	char why[TLS_WHY_MAX];
	enum tls_part part;
	struct tls_set *set = tls_set_make(&policy, &part, why);

	assert_non_null(set);
	assert_true(tls_set_add(set, 0, pair, why));
	assert_true(tls_set_ready(set));
	return set;
}

/* What is said in memory, until both sides have nothing more to say. */
static bool shake(SSL *client, SSL *server)
{
	char c;

	for (unsigned i = 0; i < 10; i++) {
		(void)SSL_do_handshake(client);
		(void)SSL_do_handshake(server);
	}
	(void)SSL_read(client, &c, 1); /* takes a ticket in */
	return SSL_is_init_finished(client) && SSL_is_init_finished(server);
}

static SSL_SESSION *kept;

static int keep(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

/* A client of VERSION that comes with the session that it got last. True: it was resumed. */
static bool visit(struct tls_set *set, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls_conn nobody = { 0 };
	SSL *client, *server;
	BIO *a, *b;
	bool resumed;

	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	SSL_CTX_set_max_proto_version(ctx, version);
	client = SSL_new(ctx);
	server = SSL_new(tls_set_context(set));
	SSL_set_app_data(server, &nobody);
	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL_set_bio(client, a, a);
	SSL_set_bio(server, b, b);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	if (kept) { /* a copy, or OpenSSL would use one of TLS 1.3 once */
		SSL_SESSION *copy = SSL_SESSION_dup(kept);

		SSL_set_session(client, copy);
		SSL_SESSION_free(copy);
	}
	assert_true(shake(client, server));
	resumed = SSL_session_reused(server);
	/* One that ends untidily would take its session with it. */
	SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(ctx);
	return resumed;
}

static void forget(void)
{
	SSL_SESSION_free(kept);
	kept = NULL;
}

/* With two hours, a key is used for one and taken for one more. */
static void keys_turn(void **state)
{
	struct ticket_page *page = fresh_page();
	uint8_t before[TICKET_PAGE_SIZE];

	(void)state;
	assert_int_equal(ticket_turn(page, 2, 5), 5 + HOUR_MS);
	memcpy(before, page, sizeof(before));
	assert_int_equal(ticket_turn(page, 2, 5 + HOUR_MS - 1), 5 + HOUR_MS);
	assert_memory_equal(before, page, sizeof(before));
	assert_int_equal(ticket_turn(page, 2, 5 + HOUR_MS), 5 + 2 * HOUR_MS);
	assert_memory_not_equal(before, page, sizeof(before));
	free(page);
}

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static void resumed_by_another_worker(void **state)
{
	struct tls_pair pair = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct ticket_page *page = fresh_page();
		struct tls_set *one = make_set(page, &pair), *other = make_set(page, &pair);

		ticket_turn(page, 2, 1);
		assert_false(visit(one, versions[i]));
		assert_true(visit(other, versions[i]));
		forget();
		tls_set_free(one);
		tls_set_free(other);
		free(page);
	}
	tls_pair_free(&pair);
}

/* Taken when the keys have turned once. It is not renewed then, so that the next key, and the one
 * behind it, know nothing of it; what is given away after that is good for as long. */
static void ticket_after_rotation_1_2_3(void **state)
{
	struct tls_pair pair = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned turns = 1; turns <= 3; turns++) {
			struct ticket_page *page = fresh_page();
			struct tls_set *set = make_set(page, &pair);

			ticket_turn(page, 2, 1);
			assert_false(visit(set, versions[i]));
			for (unsigned turn = 1; turn <= turns; turn++) {
				ticket_turn(page, 2, 1 + turn * HOUR_MS);
				if (turn < turns && turn == 1)
					assert_true(visit(set, versions[i]));
			}
			assert_int_equal(visit(set, versions[i]), turns == 1);
			assert_true(visit(set, versions[i]));
			forget();
			tls_set_free(set);
			free(page);
		}
	}
	tls_pair_free(&pair);
}

static void ticket_other_certificate_refused(void **state)
{
	struct tls_pair a = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	struct tls_pair b = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	struct ticket_page *page = fresh_page();
	struct tls_set *one = make_set(page, &a), *other = make_set(page, &b);

	(void)state;
	ticket_turn(page, 2, 1);
	assert_false(visit(one, TLS1_3_VERSION));
	assert_false(visit(other, TLS1_3_VERSION));
	forget();
	assert_false(visit(one, TLS1_2_VERSION));
	assert_false(visit(other, TLS1_2_VERSION));
	forget();
	tls_set_free(one);
	tls_set_free(other);
	free(page);
	tls_pair_free(&a);
	tls_pair_free(&b);
}

static void none(void **state)
{
	struct tls_pair pair = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	struct tls_set *set = make_set(NULL, &pair);
	struct ticket_page *page = fresh_page(); /* … whose first key is not there yet */
	struct tls_set *early = make_set(page, &pair);

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_false(visit(set, i ? TLS1_3_VERSION : TLS1_2_VERSION));
		assert_null(kept && SSL_SESSION_is_resumable(kept) && i ? kept : NULL);
		assert_false(visit(set, i ? TLS1_3_VERSION : TLS1_2_VERSION));
		forget();
		assert_false(visit(early, i ? TLS1_3_VERSION : TLS1_2_VERSION));
		assert_false(visit(early, i ? TLS1_3_VERSION : TLS1_2_VERSION));
		forget();
	}
	tls_set_free(set);
	tls_set_free(early);
	free(page);
	tls_pair_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_turn),
		cmocka_unit_test(resumed_by_another_worker),
		cmocka_unit_test(ticket_after_rotation_1_2_3),
		cmocka_unit_test(ticket_other_certificate_refused),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
