/* SPDX-License-Identifier: ISC */
/* proxy: headers of the PROXY protocol, cut at each octet, changed in each octet, and written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"
#include "smtp/proxy.h"

#define SIGNATURE  "\r\n\r\n\0\r\nQUIT\n"
#define ADDRESSES4 "\xc0\x00\x02\x01\x7f\x00\x00\x01\x10\xe1\x00\x19"
#define S(text)	   SPAN(text)
#define FROM4	   "192.0.2.1:4321"
#define TO4	   "127.0.0.1:25"
#define ZEROS8	   "\0\0\0\0\0\0\0\0"
#define MAPPED	   ZEROS8 "\0\0\xff\xff"
#define ADDRESSES6 "\x20\x01\x0d\xb8" ZEROS8 "\0\0\0\x01" ZEROS8 ZEROS8 "\x10\xe1\x00\x19"
#define FOREVER	   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

/* FROM: of the client; "": the connection is the balancer's own; NULL: a bad header, by WHY. */
static const struct {
	struct span in;
	const char *from, *to, *why;
} rows[] = {
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 4321 25\r\n"), FROM4, TO4, NULL },
	{ S("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535",
	  "255.255.255.255:65535", NULL },
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 0 0\r\n"), "192.0.2.1:0", "127.0.0.1:0", NULL },
	{ S("PROXY TCP6 2001:db8::1 2001:DB8::2 4321 25\r\n"), "[2001:db8::1]:4321",
	  "[2001:db8::2]:25", NULL },
	{ S("PROXY TCP6 " FOREVER " " FOREVER " 65535 65535\r\n"), "[" FOREVER "]:65535",
	  "[" FOREVER "]:65535", NULL },
	{ S("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:127.0.0.1 4321 25\r\n"), FROM4, TO4, NULL },
	{ S("PROXY UNKNOWN\r\n"), "", "", NULL },
	{ S("PROXY UNKNOWN " FOREVER " " FOREVER " 65535 65535\r\n"), "", "", NULL },
	{ S("PROXY UNKNOWN  what ever\t\r\n"), "", "", NULL },
	{ S("EHLO x\r\n"), NULL, NULL, "no header" },
	{ S("proxy TCP4 192.0.2.1 127.0.0.1 4321 25\r\n"), NULL, NULL, "no header" },
	{ S("PROXY\r\n"), NULL, NULL, "no header" },
	{ S("PROXY  TCP4 192.0.2.1 127.0.0.1 4321 25\r\n"), NULL, NULL,
	  "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY tcp4 192.0.2.1 127.0.0.1 4321 25\r\n"), NULL, NULL,
	  "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY UDP4 192.0.2.1 127.0.0.1 4321 25\r\n"), NULL, NULL,
	  "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY \r\n"), NULL, NULL, "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY TCP4\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP4 ::1 127.0.0.1 4321 25\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP6 192.0.2.1 ::1 4321 25\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP4 192.0.2.01 127.0.0.1 4321 25\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP4 192.0.2.256 127.0.0.1 4321 25\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP4 192.0.2.1  127.0.0.1 4321 25\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP6 fe80::1%lo ::1 4321 25\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP4 192.0.2.1\0 127.0.0.1 4321 25\r\n"), NULL, NULL, "an address is wrong" },
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 4321\r\n"), NULL, NULL, "a port is wrong" },
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 04321 25\r\n"), NULL, NULL, "a port is wrong" },
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 4321 65536\r\n"), NULL, NULL, "a port is wrong" },
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 4321 +25\r\n"), NULL, NULL, "a port is wrong" },
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 4321 25 \r\n"), NULL, NULL, "a port is wrong" },
	{ S("PROXY TCP4 192.0.2.1 127.0.0.1 4321 25\n"), NULL, NULL,
	  "a line that does not end with CR LF" },
	{ S("PROXY \n"), NULL, NULL, "a line that does not end with CR LF" },
	{ S("PROXY UNKNOWN " FOREVER " " FOREVER " 65535 655355\r\n"), NULL, NULL,
	  "a line of more than 107 octets" },

	{ S(SIGNATURE "\x21\x11\x00\x0c" ADDRESSES4), FROM4, TO4, NULL },
	{ S(SIGNATURE "\x21\x21\x00\x24" ADDRESSES6), "[2001:db8::1]:4321", "[::]:25", NULL },
	{ S(SIGNATURE "\x21\x21\x00\x24" MAPPED "\xc0\x00\x02\x01" MAPPED "\x7f\x00\x00\x01"
		      "\x10\xe1\x00\x19"),
	  FROM4, TO4, NULL },
	{ S(SIGNATURE "\x20\x00\x00\x00"), "", "", NULL },
	{ S(SIGNATURE "\x20\x11\x00\x0c" ADDRESSES4), "", "", NULL },
	{ S(SIGNATURE "\x20\xff\x00\x01x"), "", "", NULL },
	{ S(SIGNATURE "\x21\x00\x00\x03xyz"), "", "", NULL },
	/* Values behind the addresses: types that are not known, the right checksum, and not. */
	{ S(SIGNATURE "\x21\x11\x00\x17" ADDRESSES4 "\x04\x00\x00\xea\x00\x05hello"), FROM4, TO4,
	  NULL },
	{ S(SIGNATURE "\x21\x11\x00\x13" ADDRESSES4 "\x03\x00\x04\xe2\x48\xba\xa2"), FROM4, TO4,
	  NULL },
	{ S(SIGNATURE "\x21\x11\x00\x13" ADDRESSES4 "\x03\x00\x04\xe2\x48\xba\xa3"), NULL, NULL,
	  "a wrong checksum" },
	{ S(SIGNATURE "\x21\x11\x00\x12" ADDRESSES4 "\x03\x00\x03\x0b\xa5\x05"), NULL, NULL,
	  "a wrong checksum" },
	{ S(SIGNATURE "\x21\x11\x00\x0e" ADDRESSES4 "\x04\x00"), NULL, NULL,
	  "octets behind the addresses that are cut off" },
	{ S(SIGNATURE "\x21\x11\x00\x10" ADDRESSES4 "\x04\x00\x02x"), NULL, NULL,
	  "a value behind the addresses that is longer than the header" },
	{ S(SIGNATURE "\x21\x11\x00\x10" ADDRESSES4 "\x04\xff\xffx"), NULL, NULL,
	  "a value behind the addresses that is longer than the header" },
	{ S(SIGNATURE "\x21\x11\x00\x0b" ADDRESSES4), NULL, NULL, "shorter than its addresses" },
	{ S(SIGNATURE "\x21\x21\x00\x0c" ADDRESSES4), NULL, NULL, "shorter than its addresses" },
	{ S(SIGNATURE "\x21\x11\x02\x19"), NULL, NULL, "longer than 552 octets" },
	{ S(SIGNATURE "\x21\x11\xff\xff"), NULL, NULL, "longer than 552 octets" },
	{ S(SIGNATURE "\x11\x11\x00\x0c" ADDRESSES4), NULL, NULL, "another version or command" },
	{ S(SIGNATURE "\x22\x11\x00\x0c" ADDRESSES4), NULL, NULL, "another version or command" },
	{ S(SIGNATURE "\x21\x12\x00\x0c" ADDRESSES4), NULL, NULL, "another family or protocol" },
	{ S(SIGNATURE "\x21\x31\x00\x0c" ADDRESSES4), NULL, NULL, "another family or protocol" },
	{ S("\r\n\r\n\0\r\nQUIT\r\n"), NULL, NULL, "no header" },
	/* One in the other. */
	{ S("PROXY " SIGNATURE "\x21\x11\x00\x0c" ADDRESSES4), NULL, NULL,
	  "neither TCP4, TCP6 nor UNKNOWN" },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const char *text_of(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	*out = '\0';
	if (a->family)
		addr_format(a, out);
	return out;
}

static void check_good(size_t i, const struct smtp_proxy *h)
{
	char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];

	if (h->n != rows[i].in.n || h->local != !*rows[i].from ||
	    strcmp(text_of(&h->from, from), rows[i].from) != 0 ||
	    strcmp(text_of(&h->to, to), rows[i].to) != 0)
		fail_msg("row %zu: %zu octets, %s to %s", i, h->n, from, to);
}

/* All that has come so far, an octet more each time: a good header is one with its last octet and
 * not before, a bad one never is. */
static void headers(void **state)
{
	struct smtp_proxy h;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		bool good = rows[i].why == NULL;

		for (size_t n = 0; n <= rows[i].in.n; n++) {
			struct span in = feed_guard(span_of(rows[i].in.p, n));
			enum smtp_proxy_result res = smtp_proxy_parse(in, &h, &why);
			bool whole = n == rows[i].in.n;

			if (good ? res != (whole ? SMTP_PROXY_OK : SMTP_PROXY_MORE)
				 : res == SMTP_PROXY_OK || (whole && res != SMTP_PROXY_BAD))
				fail_msg("row %zu, %zu octets: %d", i, n, res);
			if (res == SMTP_PROXY_BAD)
				assert_string_equal(why, rows[i].why);
		}
		if (good)
			check_good(i, &h);
	}
}

/* What follows the header is not looked at, and not counted. */
static void behind(void **state)
{
	struct smtp_proxy h;
	uint8_t mem[1024];
	const char *why;

	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		size_t n = rows[i].in.n;

		if (rows[i].why)
			continue;
		memcpy(mem, rows[i].in.p, n);
		memcpy(mem + n, "EHLO x\r\n", 8);
		assert_int_equal(smtp_proxy_parse(feed_guard(span_of(mem, n + 8)), &h, &why),
				 SMTP_PROXY_OK);
		check_good(i, &h);
	}
}

/* Each octet with each of its bits turned: whatever comes of it, nothing is read beyond the end. */
static void changed(void **state)
{
	struct smtp_proxy h;
	uint8_t mem[1024];
	const char *why;

	(void)state;
	for (size_t i = 0; i < ROWS; i++)
		for (size_t at = 0; at < rows[i].in.n * 8; at++) {
			memcpy(mem, rows[i].in.p, rows[i].in.n);
			mem[at / 8] ^= (uint8_t)(1u << at % 8);
			struct span in = feed_guard(span_of(mem, rows[i].in.n));

			if (smtp_proxy_parse(in, &h, &why) == SMTP_PROXY_OK)
				assert_true(h.n <= in.n);
		}
}

static struct addr address(const char *text, uint16_t port)
{
	struct addr a = { 0 };

	if (*text)
		assert_int_equal(addr_parse_ip(&a, text), 0);
	a.port = port;
	return a;
}

static void written(void **state)
{
	static const struct {
		const char *from, *to, *line;
		struct span binary;
	} cases[] = {
		{ "192.0.2.1", "127.0.0.1", "PROXY TCP4 192.0.2.1 127.0.0.1 4321 25\r\n",
		  S(SIGNATURE "\x21\x11\x00\x0c" ADDRESSES4) },
		{ "2001:db8::1", "::", "PROXY TCP6 2001:db8::1 :: 4321 25\r\n",
		  S(SIGNATURE "\x21\x21\x00\x24" ADDRESSES6) },
		{ "192.0.2.1", "::", "PROXY TCP6 ::ffff:192.0.2.1 :: 4321 25\r\n",
		  S(SIGNATURE "\x21\x21\x00\x24" MAPPED "\xc0\x00\x02\x01" ZEROS8 ZEROS8
			      "\x10\xe1\x00\x19") },
		{ "", "", "PROXY UNKNOWN\r\n", S(SIGNATURE "\x20\x00\x00\x00") },
	};
	const struct smtp_proxy_more none = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr from = address(cases[i].from, 4321), to = address(cases[i].to, 25);
		uint8_t mem[SMTP_PROXY_MAX];
		struct buf out;

		buf_init(&out, mem, sizeof(mem));
		assert_int_equal(smtp_proxy_write_line(&from, &to, &out), 0);
		assert_true(span_eq(buf_span(&out), span_str(cases[i].line)));
		buf_clear(&out);
		assert_int_equal(smtp_proxy_write(&from, &to, &none, &out), 0);
		assert_true(span_eq(buf_span(&out), cases[i].binary));
	}
}

/* The length of a header that says MORE of a client, which can be read; where it does not fit,
 * nothing of it is there. */
static size_t written_length(const struct smtp_proxy_more *more)
{
	struct addr from = address("2001:db8::1", 65535), to = address("2001:db8::2", 25);
	uint8_t mem[SMTP_PROXY_MAX];
	struct smtp_proxy h;
	const char *why;
	struct buf out;

	buf_init(&out, mem, sizeof(mem));
	assert_int_equal(smtp_proxy_write(&from, &to, more, &out), 0);
	assert_int_equal(smtp_proxy_parse(buf_span(&out), &h, &why), SMTP_PROXY_OK);
	assert_int_equal(h.n, buf_len(&out));
	assert_true(addr_same(&h.from, &from) && addr_same(&h.to, &to));
	return h.n;
}

static void written_with_more(void **state)
{
	struct addr from = address("2001:db8::1", 65535), to = address("2001:db8::2", 25);
	char id[200 + 1];
	struct smtp_proxy_more more = { NULL, "TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256", id };
	uint8_t mem[SMTP_PROXY_MAX];
	struct buf out;

	(void)state;
	memset(id, 'i', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	/* UNIQUE_ID of 128, SSL with its version and cipher. */
	assert_int_equal(written_length(&more), 16 + 36 + 3 + 128 + 3 + 5 + 3 + 7 + 3 + 28);
	for (size_t room = 0; room < 232; room++) {
		buf_init(&out, mem, room);
		assert_int_equal(smtp_proxy_write(&from, &to, &more, &out), -ENOBUFS);
		assert_int_equal(buf_len(&out), 0);
	}
}

/* A client asks by TLS for whatever it likes: no octet of it that is no host's, and none that makes
 * the header longer than Exim takes, which then reads the rest as commands. */
static void names_that_are_written(void **state)
{
	static const char *const bad[] = {
		"", "a b", "x\r\nRSET", "x\ny", "a/b", "a\"b", "\xc3\xbc"
	};
	const size_t others = 16 + 36 + 3;
	char name[255 + 1];
	const struct smtp_proxy_more more = { .name = name };

	(void)state;
	strcpy(name, "mx-1.local_host.test");
	assert_int_equal(written_length(&more), others + strlen(name));
	memset(name, 'n', sizeof(name) - 1);
	name[232 - others] = '\0';
	assert_int_equal(written_length(&more), 232);
	strcpy(name + 232 - others, "n");
	assert_int_equal(written_length(&more), 16 + 36);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		strcpy(name, bad[i]);
		assert_int_equal(written_length(&more), 16 + 36);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers),	     cmocka_unit_test(behind),
		cmocka_unit_test(changed),	     cmocka_unit_test(written),
		cmocka_unit_test(written_with_more), cmocka_unit_test(names_that_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
