/* SPDX-License-Identifier: ISC */
/* identity: what a server offers of XCLIENT and XFORWARD, and the commands, whatever a client calls
 * itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "feed.h"
#include "smtp/identity.h"

#define ALL                                                                                        \
	(SMTP_ATTRIBUTE_NAME | SMTP_ATTRIBUTE_ADDR | SMTP_ATTRIBUTE_PORT | SMTP_ATTRIBUTE_PROTO |  \
	 SMTP_ATTRIBUTE_HELO | SMTP_ATTRIBUTE_SOURCE | SMTP_ATTRIBUTE_IDENT |                      \
	 SMTP_ATTRIBUTE_DESTADDR | SMTP_ATTRIBUTE_DESTPORT)

static uint32_t offered(const char *text, const char *keyword)
{
	struct smtp_reply reply;
	size_t consumed;

	assert_int_equal(smtp_reply_parse(feed_guard(span_str(text)), &reply, &consumed),
			 SMTP_REPLY_OK);
	return smtp_identity_offered(&reply, span_str(keyword));
}

static void offers(void **state)
{
	static const char postfix[] =
		"250-mx\r\n250-PIPELINING\r\n"
		"250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT\r\n"
		"250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n";

	(void)state;
	assert_int_equal(offered(postfix, "XCLIENT"),
			 ALL & ~(unsigned)(SMTP_ATTRIBUTE_SOURCE | SMTP_ATTRIBUTE_IDENT));
	assert_int_equal(offered(postfix, "XFORWARD"),
			 ALL & ~(unsigned)(SMTP_ATTRIBUTE_DESTADDR | SMTP_ATTRIBUTE_DESTPORT));
	assert_int_equal(offered("250-mx\r\n250 xclient addr  Name what\r\n", "XCLIENT"),
			 SMTP_ATTRIBUTE_ADDR | SMTP_ATTRIBUTE_NAME);
	assert_int_equal(offered("250-mx\r\n250 XCLIENT\r\n", "XCLIENT"), 0);
	assert_int_equal(offered("250-mx\r\n250 XCLIENTADDR ADDR\r\n", "XCLIENT"), 0);
	/* The first line is a name, and only a 250 offers. */
	assert_int_equal(offered("250 XCLIENT ADDR\r\n", "XCLIENT"), 0);
	assert_int_equal(offered("251-mx\r\n251 XCLIENT ADDR\r\n", "XCLIENT"), 0);
}

static struct addr address(const char *text, uint16_t port)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, text), 0);
	a.port = port;
	return a;
}

static void check(int res, const struct buf *out, const char *want)
{
	assert_int_equal(res, 0);
	if (!span_eq(buf_span(out), span_str(want)))
		fail_msg("%.*s", (int)buf_len(out), (const char *)buf_span(out).p);
}

static void xclient(void **state)
{
	struct addr four = address("192.0.2.1", 4321), six = address("2001:db8::1", 65535);
	struct addr to = address("127.0.0.1", 25);
	uint8_t mem[SMTP_IDENTITY_LINE_MAX];
	struct buf out;

	(void)state;
	buf_init(&out, mem, sizeof(mem));
	check(smtp_identity_xclient(ALL, &four, &to, &out), &out,
	      "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4321 DESTADDR=127.0.0.1 "
	      "DESTPORT=25\r\n");
	buf_clear(&out);
	check(smtp_identity_xclient(SMTP_ATTRIBUTE_ADDR, &six, &to, &out), &out,
	      "XCLIENT ADDR=IPV6:2001:db8::1\r\n");
}

static void xforward(void **state)
{
	struct addr four = address("192.0.2.1", 4321), six = address("2001:db8::1", 65535);
	uint8_t mem[SMTP_IDENTITY_LINE_MAX];
	struct buf out;

	(void)state;
	buf_init(&out, mem, sizeof(mem));
	check(smtp_identity_xforward(ALL, &four, "client.test", true, "5f-1", &out), &out,
	      "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4321 PROTO=ESMTP "
	      "HELO=client.test IDENT=5f-1 SOURCE=REMOTE\r\n");
	buf_clear(&out);
	check(smtp_identity_xforward(SMTP_ATTRIBUTE_ADDR | SMTP_ATTRIBUTE_PROTO, &six, "c", false,
				     "5f-1", &out),
	      &out, "XFORWARD ADDR=IPV6:2001:db8::1 PROTO=SMTP\r\n");
}

/* What a client can call itself never ends its value, nor stands for a word of the protocol. */
static void names(void **state)
{
	static const struct {
		const char *helo, *value;
	} rows[] = {
		{ "", "[UNAVAILABLE]" },
		{ "a b=c+d\r\n\t", "a+20b+3Dc+2Bd+0D+0A+09" },
		{ "[192.0.2.1]", "[UNAVAILABLE]" },
		{ "[TEMPUNAVAIL]", "[UNAVAILABLE]" },
		{ "M\xc3\x9cLLER-PC", "M+C3+9CLLER-PC" },
		{ "\x7f\x01", "+7F+01" },
		{ "<>\"\\,;()~!", "<>\"\\,;()~!" },
	};
	struct addr four = address("192.0.2.1", 4321);
	uint8_t mem[SMTP_IDENTITY_LINE_MAX];
	char want[SMTP_IDENTITY_LINE_MAX];
	struct buf out;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(want, sizeof(want), "XFORWARD ADDR=192.0.2.1 HELO=%s\r\n", rows[i].value);
		buf_init(&out, mem, sizeof(mem));
		check(smtp_identity_xforward(SMTP_ATTRIBUTE_ADDR | SMTP_ATTRIBUTE_HELO, &four,
					     rows[i].helo, true, "", &out),
		      &out, want);
	}
}

/* The longest of all fits, and a name that would be too long is not said. */
static void lengths(void **state)
{
	struct addr six = address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535);
	uint8_t mem[SMTP_IDENTITY_LINE_MAX];
	char helo[300];
	struct buf out;

	(void)state;
	for (size_t n = 0; n < sizeof(helo); n++) {
		memset(helo, n % 2 ? 'h' : '+', n);
		helo[n] = '\0';
		buf_init(&out, mem, sizeof(mem));
		assert_int_equal(smtp_identity_xforward(ALL, &six, helo, true,
							"ffffffffffffffff-ffffffff", &out),
				 0);
		assert_true(buf_len(&out) <= SMTP_IDENTITY_LINE_MAX);
		assert_int_equal(memmem(mem, buf_len(&out), "HELO=[UNAVAILABLE]", 18) != NULL,
				 n == 0 || n > (n % 2 ? 255 : 85));
	}
}

/* What a proxy says of its client; "-": that is not to be understood. */
static void heard(void **state)
{
	static const struct {
		const char *args, *client, *to;
	} rows[] = {
		{ "ADDR=198.51.100.7", "198.51.100.7:0", "" },
		{ "addr=198.51.100.7 Port=65535 ", "198.51.100.7:65535", "" },
		{ "PORT=25 ADDR=IPV6:2001:db8::1", "[2001:db8::1]:25", "" },
		{ "ADDR=1.2.3.4 DESTADDR=5.6.7.8 DESTPORT=25", "1.2.3.4:0", "5.6.7.8:25" },
		{ "ADDR=1.2.3.4 DESTADDR=[UNAVAILABLE] DESTPORT=[TEMPUNAVAIL]", "1.2.3.4:0", "" },
		{ "NAME=a+20b HELO=[UNAVAILABLE] PROTO=ESMTP LOGIN=[UNAVAILABLE]", "", "" },
		{ "REVERSE_NAME=x", "", "" },
		{ "", "-", NULL },
		{ "ADDR", "-", NULL },
		{ "=", "-", NULL },
		{ "ADDR=", "-", NULL },
		{ "ADDR=1.2.3", "-", NULL },
		{ "ADDR=1.2.3.4.5", "-", NULL },
		{ "ADDR=[UNAVAILABLE]", "-", NULL },
		{ "ADDR=::1", "-", NULL },
		{ "ADDR=IPV6:", "-", NULL },
		{ "ADDR=IPV6:1.2.3.4", "-", NULL },
		{ "ADDR=1.2.3.4 ADDR=1.2.3.4", "-", NULL },
		{ "ADDR=1.2.3.4 addr=1.2.3.4", "-", NULL },
		{ "ADDR=1.2.3.4 PORT=65536", "-", NULL },
		{ "ADDR=1.2.3.4 PORT=-1", "-", NULL },
		{ "ADDR=1.2.3.4 DESTADDR=x", "-", NULL },
		{ "ADDR=1.2.3.4 LOGIN=joe", "-", NULL },
		{ "ADDR=1.2.3.4 SOURCE=LOCAL", "-", NULL },
		{ "ADDR=1.2.3.4 IDENT=x", "-", NULL },
		{ "ADDR=1.2.3.4 WHAT=x", "-", NULL },
		{ "ADDR=1.2.3.4 NAME=a\x80", "-", NULL },
	};
	char client[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtp_identity said;
		bool good = smtp_identity_parse(feed_guard(span_str(rows[i].args)), &said);

		assert_int_equal(good, *rows[i].client != '-');
		if (!good)
			continue;
		*client = *to = '\0';
		if (said.has_client)
			addr_format(&said.client, client);
		if (said.has_to)
			addr_format(&said.to, to);
		assert_string_equal(client, rows[i].client);
		assert_string_equal(to, rows[i].to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offers), cmocka_unit_test(xclient), cmocka_unit_test(xforward),
		cmocka_unit_test(names),  cmocka_unit_test(lengths), cmocka_unit_test(heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
