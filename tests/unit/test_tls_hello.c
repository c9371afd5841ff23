/* SPDX-License-Identifier: ISC */
/*
 * What the first octets of a connection are: a ClientHello, of any number of records, cut anywhere;
 * or something else, which is known as early as can be.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "feed.h"
#include "tls/hello.h"

/* A message of type TYPE with N octets behind its head, in records of PIECE octets. */
static size_t make(uint8_t *out, uint8_t type, size_t n, size_t piece)
{
	uint8_t message[2 * TLS_HELLO_MAX] = { type, (uint8_t)(n >> 16), (uint8_t)(n >> 8),
					       (uint8_t)n };
	size_t len = 4 + n, used = 0;

	memset(message + 4, 0xa5, n);
	for (size_t at = 0; at < len; at += piece) {
		size_t part = len - at < piece ? len - at : piece;
		uint8_t head[] = { 22, 3, 1, (uint8_t)(part >> 8), (uint8_t)part };

		memcpy(out + used, head, 5);
		memcpy(out + used + 5, message + at, part);
		used += 5 + part;
	}
	return used;
}

/* Ends at a page that nobody may read. */
static enum tls_hello_result look(const uint8_t *p, size_t n)
{
	return tls_hello_look(feed_guard(span_of(p, n)));
}

static void whole_when_all_is_here(void **state)
{
	static const size_t pieces[] = { 1, 3, 4, 5, 100, 16384 };
	uint8_t in[16 * TLS_HELLO_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		size_t n = make(in, 1, 512, pieces[i]);

		for (size_t cut = 0; cut < n; cut++)
			assert_int_equal(look(in, cut), TLS_HELLO_MORE);
		assert_int_equal(look(in, n), TLS_HELLO_WHOLE);
		in[n] = 0xff; /* what follows is not looked at */
		assert_int_equal(look(in, n + 1), TLS_HELLO_WHOLE);
	}
}

static void bounded(void **state)
{
	uint8_t in[16 * TLS_HELLO_MAX];
	size_t n = make(in, 1, TLS_HELLO_MAX - 4 - 5, 16384);

	(void)state;
	assert_int_equal(look(in, n), TLS_HELLO_WHOLE);
	make(in, 1, TLS_HELLO_MAX - 3, 16384);
	assert_int_equal(look(in, 8), TLS_HELLO_MORE);
	assert_int_equal(look(in, 9), TLS_HELLO_TOO_LARGE);
	/* In records of one octet the message is not large, but what brings it is. */
	n = make(in, 1, 1000, 1);
	assert_int_equal(look(in, TLS_HELLO_MAX - 1), TLS_HELLO_MORE);
	assert_int_equal(look(in, TLS_HELLO_MAX), TLS_HELLO_TOO_LARGE);
	assert_true(n > TLS_HELLO_MAX);
}

static void something_else(void **state)
{
	static const struct {
		const char *octets;
		size_t n, at; /* how many tell it */
	} rows[] = {
		{ "EHLO client.test\r\n", 18, 1 },
		{ "GET / HTTP/1.1\r\n", 16, 1 },
		{ "\x80\x2e\x01\x03\x01", 5, 1 }, /* a ClientHello of SSL 2.0 */
		{ "\x16\x02\x00\x00\x05", 5, 2 }, /* another major version */
		{ "\x16\x03\x01\x00\x00", 5, 5 }, /* a record without an octet */
		{ "\x16\x03\x01\x40\x01", 5, 5 }, /* more than a record can have */
		{ "\x16\x03\x01\x41", 4, 4 },
		{ "\x16\x03\x01\x00\x05\x02", 6, 6 },	  /* a ServerHello */
		{ "\x16\x03\x01\x00\x01\x01\x17", 7, 7 }, /* another record within it */
		{ "\x15\x03\x01\x00\x02\x01\x00", 7, 1 }, /* an alert */
		{ "\x17\x03\x03\x00\x02\x01\x00", 7, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const uint8_t *p = (const uint8_t *)rows[i].octets;

		for (size_t n = 0; n <= rows[i].n; n++)
			assert_int_equal(look(p, n),
					 n < rows[i].at ? TLS_HELLO_MORE : TLS_HELLO_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_when_all_is_here),
		cmocka_unit_test(bounded),
		cmocka_unit_test(something_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
