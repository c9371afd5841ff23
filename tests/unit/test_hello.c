/* SPDX-License-Identifier: ISC */
/*
 * hello: each row of the table with each kind of reply, the ways through it, and what is kept of
 * what a destination has said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/hello.h"

#define NAME "me.example"

static struct smtp_hello h;

static enum smtp_hello_result hear(const char *text)
{
	struct smtp_reply reply;
	size_t consumed;

	assert_int_equal(smtp_reply_parse(span_str(text), &reply, &consumed), SMTP_REPLY_OK);
	return smtp_hello_heard(&h, &reply);
}

/* What is said by each step, and what comes of each reply to it; ON: the step that comes then. */
static void test_rows(void **state)
{
	static const struct {
		enum smtp_hello_step step;
		const char *line, *reply;
		enum smtp_hello_result how;
		enum smtp_hello_step next;
	} rows[] = {
		{ SMTP_HELLO_GREETING, "", "220 x\r\n", SMTP_HELLO_ON, SMTP_HELLO_EHLO },
		{ SMTP_HELLO_GREETING, "", "250 x\r\n", SMTP_HELLO_ON, SMTP_HELLO_EHLO },
		{ SMTP_HELLO_GREETING, "", "354 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_GREETING, "", "421 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_GREETING, "", "450 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_GREETING, "", "554 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_EHLO, "EHLO " NAME "\r\n", "250 x\r\n", SMTP_HELLO_GOOD, 0 },
		{ SMTP_HELLO_EHLO, "EHLO " NAME "\r\n", "251 x\r\n", SMTP_HELLO_GOOD, 0 },
		{ SMTP_HELLO_EHLO, "EHLO " NAME "\r\n", "354 x\r\n", SMTP_HELLO_ON,
		  SMTP_HELLO_HELO },
		{ SMTP_HELLO_EHLO, "EHLO " NAME "\r\n", "421 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_EHLO, "EHLO " NAME "\r\n", "450 x\r\n", SMTP_HELLO_ON,
		  SMTP_HELLO_HELO },
		{ SMTP_HELLO_EHLO, "EHLO " NAME "\r\n", "502 x\r\n", SMTP_HELLO_ON,
		  SMTP_HELLO_HELO },
		{ SMTP_HELLO_HELO, "HELO " NAME "\r\n", "250 x\r\n", SMTP_HELLO_GOOD, 0 },
		{ SMTP_HELLO_HELO, "HELO " NAME "\r\n", "354 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_HELO, "HELO " NAME "\r\n", "421 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_HELO, "HELO " NAME "\r\n", "502 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_RSET, "RSET\r\n", "250 x\r\n", SMTP_HELLO_GOOD, 0 },
		{ SMTP_HELLO_RSET, "RSET\r\n", "220 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_RSET, "RSET\r\n", "421 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_RSET, "RSET\r\n", "503 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_QUIT, "QUIT\r\n", "221 x\r\n", SMTP_HELLO_GOOD, 0 },
		{ SMTP_HELLO_QUIT, "QUIT\r\n", "250 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_QUIT, "QUIT\r\n", "421 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_QUIT, "QUIT\r\n", "500 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_OWN_GREETING, "", "220 x\r\n", SMTP_HELLO_ON, SMTP_HELLO_OWN_EHLO },
		{ SMTP_HELLO_OWN_GREETING, "", "554 x\r\n", SMTP_HELLO_BAD, 0 },
		{ SMTP_HELLO_OWN_EHLO, "EHLO " NAME "\r\n", "250 x\r\n", SMTP_HELLO_ON,
		  SMTP_HELLO_XCLIENT },
		{ SMTP_HELLO_OWN_EHLO, "EHLO " NAME "\r\n", "502 x\r\n", SMTP_HELLO_BAD, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		smtp_hello_begin(&h, rows[i].step, NAME);
		assert_int_equal(h.step, rows[i].step);
		assert_string_equal(h.line, rows[i].line);
		if (hear(rows[i].reply) != rows[i].how ||
		    (rows[i].how == SMTP_HELLO_ON && h.step != rows[i].next))
			fail_msg("%d: %s", rows[i].step, rows[i].reply);
	}
	assert_string_equal(smtp_hello_quit, "QUIT\r\n");
}

static void test_ehlo(void **state)
{
	(void)state;
	smtp_hello_begin(&h, SMTP_HELLO_GREETING, NAME);
	assert_int_equal(hear("220-mx.example\r\n220 hello\r\n"), SMTP_HELLO_ON);
	assert_string_equal(h.words, "220-mx.example\n220 hello");
	assert_string_equal(h.line, "EHLO " NAME "\r\n");
	assert_int_equal(hear("250-mx.example\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n"
			      "250 SIZE 1000\r\n"),
			 SMTP_HELLO_GOOD);
	assert_int_equal(h.offer.ext, SMTP_EXT_PIPELINING | SMTP_EXT_AUTH | SMTP_EXT_SIZE);
	assert_int_equal(h.offer.size_max, 1000);
	assert_string_equal(h.offer.mechanisms, "PLAIN LOGIN");
	assert_false(h.lmtp);
	/* Only a 250 offers. */
	smtp_hello_begin(&h, SMTP_HELLO_EHLO, NAME);
	assert_int_equal(hear("251-mx.example\r\n251 PIPELINING\r\n"), SMTP_HELLO_GOOD);
	assert_int_equal(h.offer.ext, 0);
}

/* XCLIENT, as far as it was offered. */
static void test_xclient(void **state)
{
	struct addr client, to;

	(void)state;
	assert_int_equal(addr_parse_ip(&client, "192.0.2.1"), 0);
	assert_int_equal(addr_parse_ip(&to, "127.0.0.1"), 0);
	client.port = 4321;
	smtp_hello_begin(&h, SMTP_HELLO_OWN_EHLO, NAME);
	h.client = &client;
	h.to = &to;
	assert_int_equal(hear("250-mx.example\r\n250 XCLIENT ADDR PORT\r\n"), SMTP_HELLO_ON);
	assert_true(smtp_hello_can_present(&h));
	assert_string_equal(h.line, "XCLIENT ADDR=192.0.2.1 PORT=4321\r\n");
	assert_int_equal(hear("220 mx.example\r\n"), SMTP_HELLO_GOOD);
	smtp_hello_begin_xclient(&h, SMTP_ATTRIBUTE_ADDR, &client, &to);
	assert_string_equal(h.line, "XCLIENT ADDR=192.0.2.1\r\n");
	assert_int_equal(hear("250 Ok\r\n"), SMTP_HELLO_BAD);
	/* Where it is not offered, nothing is said. */
	smtp_hello_begin(&h, SMTP_HELLO_OWN_EHLO, NAME);
	assert_int_equal(hear("250-mx.example\r\n250 XCLIENT NAME\r\n"), SMTP_HELLO_ON);
	assert_false(smtp_hello_can_present(&h));
	assert_string_equal(h.line, "");
}

static void test_helo(void **state)
{
	(void)state;
	smtp_hello_begin(&h, SMTP_HELLO_GREETING, NAME);
	assert_int_equal(hear("220 mx.example\r\n"), SMTP_HELLO_ON);
	assert_int_equal(hear("502-5.5.1 not known\r\n502 PIPELINING\r\n"), SMTP_HELLO_ON);
	assert_string_equal(h.line, "HELO " NAME "\r\n");
	/* Whatever its lines say, it offers nothing (RFC 5321 4.1.1.1). */
	assert_int_equal(hear("250-mx.example\r\n250 PIPELINING\r\n"), SMTP_HELLO_GOOD);
	assert_int_equal(h.offer.ext, 0);
	assert_int_equal(h.offer.size_max, 0);
	assert_string_equal(h.offer.mechanisms, "");
}

static void test_turned_away(void **state)
{
	(void)state;
	smtp_hello_begin(&h, SMTP_HELLO_GREETING, NAME);
	assert_int_equal(hear("554-5.7.1 go\r\n554 away\r\n"), SMTP_HELLO_BAD);
	assert_string_equal(h.words, "554-5.7.1 go\n554 away");
	/* A 421 ends it, and HELO is not tried. */
	smtp_hello_begin(&h, SMTP_HELLO_GREETING, NAME);
	assert_int_equal(hear("220 mx.example\r\n"), SMTP_HELLO_ON);
	assert_int_equal(hear("421 4.3.2 busy\r\n"), SMTP_HELLO_BAD);
	assert_string_equal(h.words, "421 4.3.2 busy");
	/* Of a refusal that follows a refusal, the last one is told. */
	smtp_hello_begin(&h, SMTP_HELLO_EHLO, NAME);
	assert_int_equal(hear("500 what?\r\n"), SMTP_HELLO_ON);
	assert_int_equal(hear("501 no\r\n"), SMTP_HELLO_BAD);
	assert_string_equal(h.words, "501 no");
}

static void test_lmtp(void **state)
{
	static const char port[] = "this is an LMTP port, SMTP is needed: ";

	(void)state;
	/* By its greeting, */
	smtp_hello_begin(&h, SMTP_HELLO_GREETING, NAME);
	assert_int_equal(hear("220 mx.example LMTP\r\n"), SMTP_HELLO_ON);
	assert_true(h.lmtp);
	assert_memory_equal(h.words, port, sizeof(port) - 1);
	assert_int_equal(hear("500 what?\r\n"), SMTP_HELLO_ON);
	assert_int_equal(hear("500 what?\r\n"), SMTP_HELLO_BAD);
	assert_string_equal(h.words, "this is an LMTP port, SMTP is needed: 500 what?");
	/* or by how it refuses EHLO or HELO; */
	smtp_hello_begin(&h, SMTP_HELLO_EHLO, NAME);
	assert_int_equal(hear("500 5.5.1 Use LHLO instead\r\n"), SMTP_HELLO_ON);
	assert_true(h.lmtp);
	smtp_hello_begin(&h, SMTP_HELLO_HELO, NAME);
	assert_false(h.lmtp);
	assert_int_equal(hear("500 lmtp\r\n"), SMTP_HELLO_BAD);
	assert_true(h.lmtp);
	/* a refusal in place of the greeting is one too, */
	smtp_hello_begin(&h, SMTP_HELLO_GREETING, NAME);
	assert_int_equal(hear("554 LMTP only\r\n"), SMTP_HELLO_BAD);
	assert_string_equal(h.words, "this is an LMTP port, SMTP is needed: 554 LMTP only");
	/* and the answer to EHLO is not. */
	smtp_hello_begin(&h, SMTP_HELLO_EHLO, NAME);
	assert_int_equal(hear("250-mx.example\r\n250 LMTP\r\n"), SMTP_HELLO_GOOD);
	assert_false(h.lmtp);
}

static void test_no_reply(void **state)
{
	char said[2 * SMTP_HELLO_WORDS_MAX];

	(void)state;
	for (int step = 0; step < SMTP_HELLO_STEPS; step++) {
		smtp_hello_begin(&h, (enum smtp_hello_step)step, NAME);
		assert_int_equal(smtp_hello_lost(&h, true), SMTP_HELLO_BAD);
		assert_string_equal(h.words, "no greeting in time");
		assert_int_equal(smtp_hello_lost(&h, false), SMTP_HELLO_BAD);
		assert_string_equal(h.words, "connection closed in place of a greeting");
		assert_int_equal(smtp_hello_malformed(&h, SPAN("SSH-2.0-x\r\nmore")),
				 SMTP_HELLO_BAD);
		assert_string_equal(h.words, "malformed greeting: SSH-2.0-x");
	}
	memset(said, 'x', sizeof(said));
	smtp_hello_malformed(&h, span_of(said, sizeof(said)));
	assert_int_equal(strlen(h.words), SMTP_HELLO_WORDS_MAX - 1);
}

/* Long words are cut, and the longest name fits. */
static void test_lengths(void **state)
{
	char name[SMTP_HELLO_NAME_MAX + 1], reply[600];

	(void)state;
	memset(name, 'n', SMTP_HELLO_NAME_MAX);
	name[SMTP_HELLO_NAME_MAX] = '\0';
	smtp_hello_begin(&h, SMTP_HELLO_EHLO, name);
	assert_int_equal(strlen(h.line), SMTP_HELLO_NAME_MAX + 7);
	assert_memory_equal(h.line, "EHLO n", 6);
	assert_string_equal(h.line + SMTP_HELLO_NAME_MAX + 4, "n\r\n");
	memset(reply, 'x', sizeof(reply));
	memcpy(reply, "554 ", 4);
	strcpy(reply + sizeof(reply) - 3, "\r\n");
	assert_int_equal(hear(reply), SMTP_HELLO_ON);
	assert_int_equal(strlen(h.words), SMTP_HELLO_WORDS_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),	    cmocka_unit_test(test_ehlo),
		cmocka_unit_test(test_helo),	    cmocka_unit_test(test_xclient),
		cmocka_unit_test(test_turned_away), cmocka_unit_test(test_lmtp),
		cmocka_unit_test(test_no_reply),    cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
