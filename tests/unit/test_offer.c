/* SPDX-License-Identifier: ISC */
/* What destinations offer, one and several, and how it is said to a client (smtp/offer.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/offer.h"

#define ALL UINT32_MAX

static struct smtp_offer offer_of(const char *answer)
{
	struct smtp_offer o;
	struct smtp_reply reply;
	size_t consumed;

	assert_int_equal(smtp_reply_parse(span_str(answer), &reply, &consumed), SMTP_REPLY_OK);
	assert_int_equal(consumed, strlen(answer));
	smtp_offer_read(&o, &reply);
	return o;
}

static void assert_written(const struct smtp_offer *o, uint32_t mask, const char *want)
{
	uint8_t mem[2048], small[2048];
	struct smtp_reply reply;
	struct buf out;
	size_t consumed;

	buf_init(&out, mem, sizeof(mem));
	assert_int_equal(buf_put(&out, SPAN("before")), 0);
	assert_int_equal(smtp_offer_write(o, mask, "p.example", &out), 0);
	buf_consume(&out, strlen("before"));
	assert_int_equal(buf_len(&out), strlen(want));
	assert_memory_equal(buf_span(&out).p, want, strlen(want));
	assert_int_equal(smtp_reply_parse(buf_span(&out), &reply, &consumed), SMTP_REPLY_OK);
	assert_int_equal(consumed, strlen(want));
	for (size_t room = 0; room < strlen(want); room++) {
		buf_init(&out, small, room);
		assert_int_equal(smtp_offer_write(o, mask, "p.example", &out), -ENOBUFS);
		assert_int_equal(buf_len(&out), 0);
	}
}

static void test_read(void **state)
{
	static const struct {
		const char *answer;
		uint32_t ext;
		uint64_t size;
		const char *mechanisms;
		bool old_auth;
	} rows[] = {
		{ "250 d\r\n", 0, 0, "", false },
		{ "502 what\r\n", 0, 0, "", false },
		{ "251-d\r\n251 DSN\r\n", 0, 0, "", false },
		{ "250-d\r\n250-dsn\r\n250-X-OWN\r\n250 size 77\r\n", SMTP_EXT_DSN | SMTP_EXT_SIZE,
		  77, "", false },
		{ "250-d\r\n250-SIZE\r\n250 SIZE 5\r\n", SMTP_EXT_SIZE, 0, "", false },
		{ "250-d\r\n250 SIZE x\r\n", 0, 0, "", false },
		{ "250-d\r\n250 AUTH\r\n", 0, 0, "", false },
		{ "250-d\r\n250 AUTH ?\r\n", 0, 0, "", false },
		{ "250-d\r\n250 AUTH plain  Login PLAIN\r\n", SMTP_EXT_AUTH, 0, "PLAIN LOGIN",
		  false },
		{ "250-d\r\n250 AUTH=LOGIN\r\n", SMTP_EXT_AUTH, 0, "LOGIN", true },
		{ "250-d\r\n250-AUTH PLAIN\r\n250 AUTH=LOGIN\r\n", SMTP_EXT_AUTH, 0, "PLAIN LOGIN",
		  true },
		{ "250-d\r\n250 AUTH SCRAM-SHA-256 A_B ABCDEFGHIJKLMNOPQRSTU 1\r\n", SMTP_EXT_AUTH,
		  0, "SCRAM-SHA-256 A_B 1", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtp_offer o = offer_of(rows[i].answer);

		assert_int_equal(o.ext, rows[i].ext);
		assert_int_equal(o.size_max, rows[i].size);
		assert_string_equal(o.mechanisms, rows[i].mechanisms);
		assert_int_equal(o.old_auth, rows[i].old_auth);
	}
}

static void test_meet(void **state)
{
	struct smtp_offer a = offer_of("250-a\r\n250-PIPELINING\r\n250-SIZE 9\r\n250-DSN\r\n"
				       "250-AUTH=PLAIN\r\n250 AUTH PLAIN LOGIN CRAM-MD5\r\n");
	struct smtp_offer b = offer_of("250-b\r\n250-8BITMIME\r\n250-SIZE 7\r\n250-DSN\r\n"
				       "250 AUTH CRAM-MD5 PLAIN XPLAIN\r\n");
	struct smtp_offer c = offer_of("250-c\r\n250-SIZE\r\n250-DSN\r\n250 AUTH LOGIN\r\n");
	struct smtp_offer none = offer_of("250 none\r\n");

	(void)state;
	assert_written(&a, ALL,
		       "250-p.example\r\n250-PIPELINING\r\n250-SIZE 9\r\n250-DSN\r\n"
		       "250-AUTH PLAIN LOGIN CRAM-MD5\r\n250 AUTH=PLAIN LOGIN CRAM-MD5\r\n");
	smtp_offer_meet(&a, &b);
	assert_written(&a, ALL,
		       "250-p.example\r\n250-SIZE 7\r\n250-DSN\r\n250 AUTH PLAIN CRAM-MD5\r\n");
	assert_written(&a, SMTP_EXT_DSN, "250-p.example\r\n250 DSN\r\n");
	smtp_offer_meet(&a, &c);
	assert_written(&a, ALL, "250-p.example\r\n250-SIZE 7\r\n250 DSN\r\n");
	assert_int_equal(a.ext, SMTP_EXT_SIZE | SMTP_EXT_DSN);
	smtp_offer_meet(&a, &none);
	assert_written(&a, ALL, "250 p.example\r\n");
	b = c;
	smtp_offer_meet(&c, &b);
	assert_written(&c, ALL, "250-p.example\r\n250-SIZE\r\n250-DSN\r\n250 AUTH LOGIN\r\n");
}

/* What is in the text is in the set, and the other way round. */
static void assert_same(const struct smtp_offer *o)
{
	struct smtp_mechanisms set = { 0 };
	char text[SMTP_MECHANISMS_MAX];

	strcpy(text, o->mechanisms);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
		assert_true(smtp_mechanisms_have(&o->login, span_str(word)));
		assert_true(smtp_mechanisms_add(&set, span_str(word)));
	}
	assert_memory_equal(&set, &o->login, sizeof(set));
}

/* More mechanisms than there is room for: whole names only, and few that nobody knows. */
static void test_many_mechanisms(void **state)
{
	static const char known[] =
		"PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-1-PLUS SCRAM-SHA-256 "
		"SCRAM-SHA-256-PLUS SCRAM-SHA-512 SCRAM-SHA-512-PLUS SCRAM-SHA3-512 "
		"SCRAM-SHA3-512-PLUS XOAUTH2 XOAUTH OAUTHBEARER OAUTH10A GSSAPI GSS-SPNEGO "
		"GS2-KRB5 GS2-KRB5-PLUS KERBEROS_V4 KERBEROS_V5 SPNEGO SPNEGO-PLUS";
	char answer[1600] = "250-d\r\n250-AUTH";
	struct smtp_offer o, copy;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		snprintf(answer + strlen(answer), sizeof(answer) - strlen(answer),
			 " MECHANISM-NUMBER-%02u", i);
	snprintf(answer + strlen(answer), sizeof(answer) - strlen(answer), "\r\n250 AUTH %s\r\n",
		 known);
	o = offer_of(answer);
	assert_in_range(strlen(o.mechanisms), SMTP_MECHANISMS_MAX - 21, SMTP_MECHANISMS_MAX - 1);
	assert_ptr_equal(strstr(o.mechanisms, "MECHANISM-NUMBER-00"), o.mechanisms);
	assert_non_null(strstr(o.mechanisms, " MECHANISM-NUMBER-03 PLAIN LOGIN "));
	assert_null(strstr(o.mechanisms, "MECHANISM-NUMBER-04"));
	assert_same(&o);
	copy = o;
	smtp_offer_meet(&o, &copy);
	assert_string_equal(o.mechanisms, copy.mechanisms);
	assert_same(&o);
}

/* Two of them are never offered, whatever the destination says. */
static void test_forbidden_mechanisms(void **state)
{
	static const char *const names[] = { "ANONYMOUS", "EXTERNAL", "anonymous", "External" };
	struct smtp_mechanisms set = { 0 };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_true(smtp_mechanism_forbidden(span_str(names[i])));
		assert_false(smtp_mechanisms_add(&set, span_str(names[i])));
		assert_false(smtp_mechanisms_have(&set, span_str(names[i])));
	}
	assert_true(smtp_mechanisms_empty(&set));
	assert_true(smtp_mechanisms_add(&set, SPAN("x-own")));
	assert_true(smtp_mechanisms_have(&set, SPAN("X-OWN")));
	assert_false(smtp_mechanisms_have(&set, SPAN("X-OWN2")));
	assert_false(smtp_mechanisms_have(&set, SPAN("PLAIN")));
	assert_false(smtp_mechanisms_empty(&set));
}

static void test_covers(void **state)
{
	(void)state;
	assert_true(smtp_offer_covers(0, 0, 0, 0));
	assert_true(smtp_offer_covers(SMTP_EXT_DSN | SMTP_EXT_SIZE, 0, SMTP_EXT_DSN, UINT64_MAX));
	assert_false(smtp_offer_covers(SMTP_EXT_SIZE, 0, SMTP_EXT_DSN | SMTP_EXT_SIZE, 0));
	assert_true(smtp_offer_covers(SMTP_EXT_SIZE, 10, SMTP_EXT_SIZE, 10));
	assert_false(smtp_offer_covers(SMTP_EXT_SIZE, 10, SMTP_EXT_SIZE, 11));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_meet),
		cmocka_unit_test(test_many_mechanisms),
		cmocka_unit_test(test_forbidden_mechanisms),
		cmocka_unit_test(test_covers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
