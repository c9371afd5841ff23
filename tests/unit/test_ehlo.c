/* SPDX-License-Identifier: ISC */
/* EHLO answers: only what both sides can do, always one well-formed reply (smtp/ehlo.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "feed.h"
#include "smtp/ehlo.h"
#include "smtp/offer.h"

#define S(lit)                                                                                     \
	{                                                                                          \
		(const uint8_t *)(lit), sizeof(lit) - 1                                            \
	}
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define RFC                                                                                        \
	(SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8 |             \
	 SMTP_EXT_DSN | SMTP_EXT_ENHANCED | SMTP_EXT_AUTH | SMTP_EXT_HELP)
#define ALL 0x7ff

struct row {
	struct span in;
	uint32_t mask, ext;
	uint64_t size;
	const char *want;
};

static const struct row rows[] = {
	{ S("250 c\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250\r\n"), RFC, 0, 0, "250\r\n" },
	{ S("250 c greets <u>  \xc3\xbc \r\n"), RFC, 0, 0, "250 c greets <u>  \xc3\xbc \r\n" },
	{ S("250-c at your service \r\n250 HELP\r\n"), RFC, SMTP_EXT_HELP, 0,
	  "250-c at your service \r\n250 HELP\r\n" },
	/* Only the first line is left. */
	{ S("250-c\r\n250 STARTTLS\r\n"), RFC, SMTP_EXT_STARTTLS, 0, "250 c\r\n" },
	{ S("250-\r\n250 X\r\n"), RFC, 0, 0, "250 \r\n" },
	{ S("250-c\r\n250\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250-\r\n250 \r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250-SIZE 5\r\n250 DSN\r\n"), 0, SMTP_EXT_SIZE | SMTP_EXT_DSN, 5,
	  "250 c\r\n" },
	/* Postfix, all of it. */
	{ S("250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n"
	    "250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN LOGIN\r\n"
	    "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n"
	    "250 CHUNKING\r\n"),
	  RFC,
	  SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_STARTTLS | SMTP_EXT_AUTH |
		  SMTP_EXT_ENHANCED | SMTP_EXT_8BITMIME | SMTP_EXT_DSN | SMTP_EXT_SMTPUTF8 |
		  SMTP_EXT_CHUNKING,
	  10240000,
	  "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-AUTH PLAIN LOGIN\r\n"
	  "250-AUTH=PLAIN LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n"
	  "250 SMTPUTF8\r\n" },
	/* Exchange. */
	{ S("250-ex Hello [10.0.0.1]\r\n250-SIZE 37748736\r\n250-PIPELINING\r\n250-DSN\r\n"
	    "250-ENHANCEDSTATUSCODES\r\n250-X-ANONYMOUSTLS\r\n250-AUTH NTLM\r\n"
	    "250-X-EXPS GSSAPI NTLM\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n"
	    "250-XEXCH50\r\n250-XRDST\r\n250 XSHADOWREQUEST\r\n"),
	  RFC,
	  SMTP_EXT_SIZE | SMTP_EXT_PIPELINING | SMTP_EXT_DSN | SMTP_EXT_ENHANCED | SMTP_EXT_AUTH |
		  SMTP_EXT_8BITMIME | SMTP_EXT_CHUNKING,
	  37748736,
	  "250-ex Hello [10.0.0.1]\r\n250-SIZE 37748736\r\n250-PIPELINING\r\n250-DSN\r\n"
	  "250-ENHANCEDSTATUSCODES\r\n250-AUTH NTLM\r\n250 8BITMIME\r\n" },
	/* What the mask lets through later. */
	{ S("250-c\r\n250-SIZE\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 STARTTLS\r\n"), ALL,
	  SMTP_EXT_SIZE | SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME | SMTP_EXT_STARTTLS, 0,
	  "250-c\r\n250-SIZE\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 STARTTLS\r\n" },
	/* CHUNKING without SIZE hides a limit that lies in a chunk; so does one that is no SIZE. */
	{ S("250-c\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 DSN\r\n"), ALL, SMTP_EXT_DSN, 0,
	  "250-c\r\n250 DSN\r\n" },
	{ S("250-c\r\n250-SIZE x\r\n250 CHUNKING\r\n"), ALL, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250-CHUNKING\r\n250 SIZE 5\r\n"), ALL, SMTP_EXT_SIZE | SMTP_EXT_CHUNKING, 5,
	  "250-c\r\n250-CHUNKING\r\n250 SIZE 5\r\n" },
	/* BINARYMIME is of no use without CHUNKING, in whatever order they come. */
	{ S("250-c\r\n250-BINARYMIME\r\n250-SIZE\r\n250 CHUNKING\r\n"), ALL,
	  SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME | SMTP_EXT_SIZE, 0,
	  "250-c\r\n250-BINARYMIME\r\n250-SIZE\r\n250 CHUNKING\r\n" },
	{ S("250-c\r\n250-BINARYMIME\r\n250 DSN\r\n"), ALL, SMTP_EXT_DSN, 0,
	  "250-c\r\n250 DSN\r\n" },
	{ S("250-c\r\n250 BINARYMIME\r\n"), ALL, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250-SIZE\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"),
	  SMTP_EXT_SIZE | SMTP_EXT_BINARYMIME, SMTP_EXT_SIZE | SMTP_EXT_CHUNKING, 0,
	  "250-c\r\n250 SIZE\r\n" },
	/* Case; parameters that mean nothing; blanks. */
	{ S("250-c\r\n250-pipelining x\r\n250-8bitmime \r\n250 Dsn  RFC3461\r\n"), RFC,
	  SMTP_EXT_PIPELINING | SMTP_EXT_8BITMIME | SMTP_EXT_DSN, 0,
	  "250-c\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n" },
	/* SIZE. */
	{ S("250-c\r\n250 SIZE\r\n"), RFC, SMTP_EXT_SIZE, 0, "250-c\r\n250 SIZE\r\n" },
	{ S("250-c\r\n250 size  0\r\n"), RFC, SMTP_EXT_SIZE, 0, "250-c\r\n250 SIZE\r\n" },
	{ S("250-c\r\n250 SIZE 18446744073709551615\r\n"), RFC, SMTP_EXT_SIZE, UINT64_MAX,
	  "250-c\r\n250 SIZE 18446744073709551615\r\n" },
	{ S("250-c\r\n250 SIZE 18446744073709551616\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 SIZE 5 6\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 SIZE -5\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 SIZE=5\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 SIZE five\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250-SIZE 5\r\n250 SIZE 6\r\n"), RFC, SMTP_EXT_SIZE, 5,
	  "250-c\r\n250 SIZE 5\r\n" },
	{ S("250-c\r\n250-SIZE x\r\n250 SIZE 6\r\n"), RFC, SMTP_EXT_SIZE, 6,
	  "250-c\r\n250 SIZE 6\r\n" },
	/* AUTH in its two forms. */
	{ S("250-c\r\n250 AUTH=LOGIN\r\n"), RFC, SMTP_EXT_AUTH, 0, "250-c\r\n250 AUTH=LOGIN\r\n" },
	{ S("250-c\r\n250 auth=LOGIN plain\r\n"), RFC, SMTP_EXT_AUTH, 0,
	  "250-c\r\n250 AUTH=LOGIN PLAIN\r\n" },
	{ S("250-c\r\n250-AUTH=LOGIN\r\n250 AUTH LOGIN \r\n"), RFC, SMTP_EXT_AUTH, 0,
	  "250-c\r\n250-AUTH=LOGIN\r\n250 AUTH LOGIN\r\n" },
	/* Several lines are one; each mechanism once. */
	{ S("250-c\r\n250-AUTH PLAIN\r\n250-DSN\r\n250-auth login plain\r\n250 AUTH XOAUTH2\r\n"),
	  RFC, SMTP_EXT_AUTH | SMTP_EXT_DSN, 0,
	  "250-c\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 DSN\r\n" },
	{ S("250-c\r\n250-AUTH A\r\n250-AUTH=B\r\n250-AUTH C\r\n250 AUTH=D\r\n"), RFC,
	  SMTP_EXT_AUTH, 0, "250-c\r\n250-AUTH A B C D\r\n250 AUTH=A B C D\r\n" },
	{ S("250-c\r\n250 AUTH\r\n"), RFC, 0, 0, "250 c\r\n" },
	/* Never offered; nor is what is no name. */
	{ S("250-c\r\n250-AUTH external LOGIN ANONYMOUS ? AAAAAAAAAAAAAAAAAAAAA\r\n250 DSN\r\n"),
	  RFC, SMTP_EXT_AUTH | SMTP_EXT_DSN, 0, "250-c\r\n250-AUTH LOGIN\r\n250 DSN\r\n" },
	{ S("250-c\r\n250-AUTH EXTERNAL\r\n250 AUTH=Anonymous\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 AUTH=\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 AUTH= LOGIN\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 AUTH PLAIN\tLOGIN\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 AUTH PL\xc3\xbc\r\n"), RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250 AUTH PLAIN\r\n"), RFC & ~(uint32_t)SMTP_EXT_AUTH, SMTP_EXT_AUTH, 0,
	  "250 c\r\n" },
	{ S("250-c\r\n250 AUTH=PLAIN\r\n"), RFC & ~(uint32_t)SMTP_EXT_AUTH, SMTP_EXT_AUTH, 0,
	  "250 c\r\n" },
	/* No keyword lines. */
	{ S("250-c\r\n250- DSN\r\n250-DSN;\r\n250-DSNX\r\n250-DS\r\n250-DSN=1\r\n250 \tDSN\r\n"),
	  RFC, 0, 0, "250 c\r\n" },
	{ S("250-c\r\n250-DSN \x80\r\n250 HELP\r\n"), RFC, SMTP_EXT_HELP, 0,
	  "250-c\r\n250 HELP\r\n" },
	{ S("250-c\r\n250-DSN\tx\r\n250 HELP\r\n"), RFC, SMTP_EXT_HELP, 0,
	  "250-c\r\n250 HELP\r\n" },
	{ S("250-c\r\n250-XCLIENT NAME ADDR\r\n250-XFORWARD NAME\r\n250 LIMITS RCPTMAX=5\r\n"), RFC,
	  SMTP_EXT_XCLIENT, 0, "250 c\r\n" },
	{ S("250-c\r\n250 XCLIENT NAME LOGIN\r\n"), RFC | SMTP_EXT_XCLIENT, SMTP_EXT_XCLIENT, 0,
	  "250-c\r\n250 XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT\r\n" },
	/* Each once. */
	{ S("250-c\r\n250-DSN\r\n250-dsn\r\n250 DSN\r\n"), RFC, SMTP_EXT_DSN, 0,
	  "250-c\r\n250 DSN\r\n" },
	/* Another code is nobody's offer. */
	{ S("502 no\r\n"), RFC, 0, 0, "502 no\r\n" },
	{ S("550-c\r\n550 DSN\r\n"), RFC, 0, 0, "550-c\r\n550 DSN\r\n" },
	{ S("251-c\r\n251 DSN\r\n"), RFC, 0, 0, "251-c\r\n251 DSN\r\n" },
};

/* What REPLY offers, as the client sees it. */
static int filter(const struct smtp_reply *reply, uint32_t mask, uint32_t *ext, uint64_t *size,
		  struct buf *out)
{
	struct smtp_offer offer;

	smtp_offer_read(&offer, reply);
	if (!(offer.ext & mask & SMTP_EXT_SIZE)) /* each is of no use without the other */
		offer.ext &= ~(uint32_t)SMTP_EXT_CHUNKING;
	if (!(offer.ext & mask & SMTP_EXT_CHUNKING))
		offer.ext &= ~(uint32_t)SMTP_EXT_BINARYMIME;
	*ext = offer.ext;
	*size = offer.size_max;
	return smtp_ehlo_filter(reply, &offer, mask, out);
}

static void parse_whole(struct span in, struct smtp_reply *reply)
{
	size_t consumed;

	assert_int_equal(smtp_reply_parse(in, reply, &consumed), SMTP_REPLY_OK);
	assert_int_equal(consumed, in.n);
}

static void check_row(const struct row *row, struct span in)
{
	static uint8_t room[SMTP_REPLY_MAX];
	struct smtp_reply reply;
	size_t n = strlen(row->want);
	uint64_t size;
	uint32_t ext;
	struct buf out;

	parse_whole(in, &reply);
	for (size_t cap = 0; cap <= n; cap++) { /* beside two octets that stay as they are */
		buf_init(&out, room, cap + 2);
		assert_int_equal(buf_put(&out, SPAN("xy")), 0);
		assert_int_equal(filter(&reply, row->mask, &ext, &size, &out),
				 cap < n ? -ENOBUFS : 0);
		assert_int_equal(buf_len(&out), cap < n ? 2 : n + 2);
		assert_memory_equal(room, "xy", 2);
	}
	if (!span_eq(span_from(buf_span(&out), 2), span_str(row->want)))
		fail_msg("row %zu: %.*s", (size_t)(row - rows), (int)buf_len(&out), room);
	assert_int_equal(ext, row->ext);
	assert_true(size == row->size);
	assert_true(n <= in.n + SMTP_EHLO_GROWS);
}

static void ehlo_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		check_row(&rows[i], feed_guard(rows[i].in));
		/* Filtered again it is the same: nothing is left to take out. */
		struct row again = rows[i];

		again.in = span_str(rows[i].want);
		again.ext &= again.mask;
		again.size = again.ext & SMTP_EXT_SIZE ? again.size : 0;
		check_row(&again, feed_guard(again.in));
	}
}

/* Answers of random lines: the result is one well-formed reply, no longer, and offers just the
 * mask. */
static void ehlo_random(void **state)
{
	static const char *const lines[] = { "DSN",	   "SIZE 5",	 "SIZE x",
					     "AUTH LOGIN", "AUTH PLAIN", "AUTH=LOGIN",
					     "XCLIENT x",  "STARTTLS",	 "CHUNKING",
					     "",	   " ",		 "-",
					     "8BITMIME x", "HELP",	 "PIPELINING",
					     "BINARYMIME", "SMTPUTF8",	 "\xff",
					     "=",	   "\t",	 "ENHANCEDSTATUSCODES" };

	(void)state;
	srandom(5);
	for (unsigned round = 0; round < 20000; round++) {
		char text[1024];
		uint8_t room[1024 + SMTP_EHLO_GROWS];
		size_t n = 0, count = (size_t)random() % 24;
		uint32_t mask = (uint32_t)random() & ALL, ext, ext_again;
		struct smtp_reply reply, answer;
		struct buf out, again;
		uint64_t size;

		for (size_t i = 0; i <= count; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "250%c%s\r\n",
					      i < count ? '-' : ' ',
					      lines[(size_t)random() % COUNT(lines)]);
		parse_whole(feed_guard(span_of(text, n)), &reply);
		buf_init(&out, room, sizeof(room));
		assert_int_equal(filter(&reply, mask, &ext, &size, &out), 0);
		parse_whole(buf_span(&out), &answer);
		buf_init(&again, text, sizeof(text));
		assert_int_equal(filter(&answer, ALL, &ext_again, &size, &again), 0);
		assert_int_equal(ext_again, ext & mask);
		assert_true(span_eq(buf_span(&out), buf_span(&again)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ehlo_rows),
		cmocka_unit_test(ehlo_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
