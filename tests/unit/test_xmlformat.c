/* SPDX-License-Identifier: ISC */
/* Records as text: whatever the octets of a value, the line is XML, plain ASCII, and gives them
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include <libxml/parser.h>

#include "ringcheck.h"
#include "xmllog/format.h"

static void test_escape(void **state)
{
	static const struct {
		struct span in;
		const char *out;
	} rows[] = {
		{ SPAN(""), "" },
		{ SPAN("plain text!~"), "plain text!~" },
		{ SPAN("a\\b"), "a\\\\b" },
		{ SPAN("\\x41"), "\\\\x41" },
		{ SPAN("<a href='x'>&amp;\""), "&lt;a href='x'&gt;&amp;amp;&quot;" },
		{ SPAN("]]>"), "]]&gt;" },
		{ SPAN("?>"), "?&gt;" },
		{ SPAN("<?pad "), "&lt;?pad " },
		{ SPAN("250-a\n250 b"), "250-a&#10;250 b" },
		{ SPAN("\t\r"), "&#9;&#13;" },
		{ SPAN("\0\1\x08\x0b\x0c\x0e\x1f\x7f"),
		  "\\x00\\x01\\x08\\x0B\\x0C\\x0E\\x1F&#x7F;" },
		{ SPAN("\xc2\x80\xc2\x9b\xc3\xa9"), "&#x80;&#x9B;&#xE9;" },
		{ SPAN("\xe2\x82\xac\xf0\x9f\x93\xa7"), "&#x20AC;&#x1F4E7;" },
		{ SPAN("\xf4\x8f\xbf\xbf"), "&#x10FFFF;" },
		{ SPAN("\xef\xbf\xbd"), "&#xFFFD;" },
		/* no characters of XML 1.0 */
		{ SPAN("\xef\xbf\xbe"), "\\xEF\\xBF\\xBE" },
		{ SPAN("\xef\xbf\xbf"), "\\xEF\\xBF\\xBF" },
		/* surrogates, too large, overlong */
		{ SPAN("\xed\xa0\x80"), "\\xED\\xA0\\x80" },
		{ SPAN("\xed\xbf\xbf"), "\\xED\\xBF\\xBF" },
		{ SPAN("\xed\x9f\xbf\xee\x80\x80"), "&#xD7FF;&#xE000;" },
		{ SPAN("\xf4\x90\x80\x80"), "\\xF4\\x90\\x80\\x80" },
		{ SPAN("\xf8\x88\x80\x80\x80"), "\\xF8\\x88\\x80\\x80\\x80" },
		{ SPAN("\xc0\x80"), "\\xC0\\x80" },
		{ SPAN("\xc1\xbf"), "\\xC1\\xBF" },
		{ SPAN("\xe0\x9f\xbf"), "\\xE0\\x9F\\xBF" },
		{ SPAN("\xf0\x8f\xbf\xbf"), "\\xF0\\x8F\\xBF\\xBF" },
		/* cut short, alone, in the wrong place */
		{ SPAN("\x80"), "\\x80" },
		{ SPAN("\xc3"), "\\xC3" },
		{ SPAN("\xe2\x82"), "\\xE2\\x82" },
		{ SPAN("\xe2\x82x"), "\\xE2\\x82x" },
		{ SPAN("\xf0\x9f\x93"), "\\xF0\\x9F\\x93" },
		{ SPAN("\xc3\xc3\xa9"), "\\xC3&#xE9;" },
		{ SPAN("\xff\xfe"), "\\xFF\\xFE" },
	};
	char out[256];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = format_escape(rows[i].in, out);

		assert_true(n <= rows[i].in.n * FORMAT_EXPAND);
		out[n] = '\0';
		assert_string_equal(out, rows[i].out);
	}
}

static int unhex(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* The octets that an attribute's value stands for. */
static size_t unescape(const char *v, uint8_t *out)
{
	size_t n = 0;

	for (; *v; v++) {
		if (*v != '\\') {
			out[n++] = (uint8_t)*v;
		} else if (v[1] == '\\') {
			out[n++] = '\\';
			v++;
		} else {
			assert_int_equal(v[1], 'x');
			out[n++] = (uint8_t)(unhex(v[2]) << 4 | unhex(v[3]));
			v += 3;
		}
	}
	return n;
}

/* One line as a document of its own. */
static xmlDocPtr parse_line(struct format *f, const struct record *r)
{
	struct span text;
	xmlDocPtr doc;

	format_restart(f);
	assert_int_equal(format_record(f, r), 0);
	text = format_text(f);
	assert_true(text.n > 1 && text.p[text.n - 1] == '\n');
	assert_null(memmem(text.p, text.n, "?>", 2));
	for (size_t i = 0; i + 1 < text.n; i++)
		assert_in_range(text.p[i], 0x20, 0x7e);
	doc = xmlReadMemory((const char *)text.p, (int)text.n, NULL, NULL, XML_PARSE_NONET);
	assert_non_null(doc);
	return doc;
}

/* Any octets come back from the XML. */
static void test_escaped_values_come_back(void **state)
{
	static const char seeds[] =
		"ab\\<>&\"?\t\r\n \0\x7f\x80\x9f\xa0\xbf\xc2\xc3\xe0\xe2\x82\xac"
		"\xed\xef\xbf\xbe\xf0\x9f\xf4\xff";
	struct format f;

	(void)state;
	srandom(3);
	assert_int_equal(format_open(&f), 0);
	for (int round = 0; round < 3000; round++) {
		uint8_t in[64], back[256];
		size_t n = (size_t)random() % sizeof(in);
		struct record r;
		xmlDocPtr doc;
		xmlChar *v;

		for (size_t i = 0; i < n; i++)
			in[i] = (uint8_t)seeds[(size_t)random() % (sizeof(seeds) - 1)];
		record_fault(&r, "x", NULL, 0);
		r.attr[0].text = span_of(in, n);
		doc = parse_line(&f, &r);
		v = xmlGetNoNsProp(xmlDocGetRootElement(doc), (const xmlChar *)"what");
		assert_non_null(v);
		assert_int_equal(unescape((const char *)v, back), n);
		assert_memory_equal(back, in, n);
		xmlFree(v);
		xmlFreeDoc(doc);
	}
	format_close(&f);
}

static void test_format(void **state)
{
	static const struct xmllog_session session = { 0x18f3a2b4c5d6e, 0xff };
	struct xmllog_ring *ring = ring_new(4096);
	struct addr v4 = { .family = 4, .port = 25, .ip = { 192, 0, 2, 1 } };
	struct addr v6 = { .family = 6, .port = 65535, .ip = { 0x20, 1, 0xd, 0xb8, [15] = 1 } };
	struct addr none = { 0 };
	struct format f;
	struct span text;
	struct take t;
	struct xmllog l;
	struct record r;

	(void)state;
	xmllog_open(&l, ring, -1, 1);
	assert_true(xmllog_begin(&l, XMLLOG_SESSION, &session));
	xmllog_addr(&l, XMLLOG_A_CLIENT, &v4);
	xmllog_text(&l, XMLLOG_A_HELO, "");
	xmllog_addr(&l, XMLLOG_A_DESTINATION, &v6);
	xmllog_addr(&l, XMLLOG_A_ADDRESS, &none);
	xmllog_num(&l, XMLLOG_A_BYTES, UINT64_MAX);
	xmllog_seconds(&l, XMLLOG_A_SECONDS, 61000250);
	xmllog_end(&l);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	take_begin(&t);
	assert_true(take_next(&t, &r));
	r.time_us = 1767323045123456; /* 2026-01-02T03:04:05.123456Z */
	assert_int_equal(format_open(&f), 0);
	assert_int_equal(format_record(&f, &r), 0);
	record_fault(&r, "log-dropped", NULL, 3);
	r.time_us = 253402300799999999;
	assert_int_equal(format_record(&f, &r), 0);
	text = format_text(&f);
	assert_true(span_eq(
		text,
		SPAN("<session time=\"2026-01-02T03:04:05.123456Z\" session=\"18f3a2b4c5d6e-ff\""
		     " client=\"192.0.2.1:25\" helo=\"\" destination=\"[2001:db8::1]:65535\""
		     " bytes=\"18446744073709551615\" seconds=\"61.000250\"/>\n"
		     "<fault time=\"9999-12-31T23:59:59.999999Z\" what=\"log-dropped\""
		     " count=\"3\"/>\n")));
	format_close(&f);
	take_close(&t);
	ring_free(ring);
}

/* Octets anywhere in the ring are changed: whatever comes out is XML, and nothing falls over. */
static void test_any_damage(void **state)
{
	struct xmllog_ring *ring = ring_new(4096);
	struct format f;
	struct take t;
	struct xmllog l;
	struct record r;

	(void)state;
	srandom(4);
	assert_int_equal(format_open(&f), 0);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	for (int round = 0; round < 4000; round++) {
		struct addr a = { .family = 6, .port = 1 };
		int flips = (int)(random() % 4);

		xmllog_open(&l, ring, -1, 4);
		for (uint64_t i = 0; i < 5; i++)
			make_numbered(&l, (uint64_t)random());
		assert_true(xmllog_begin(&l, XMLLOG_REPLY, &(struct xmllog_session){ 1, 2 }));
		xmllog_addr(&l, XMLLOG_A_CLIENT, &a);
		xmllog_seconds(&l, XMLLOG_A_SECONDS, 5);
		xmllog_end(&l);
		for (int i = 0; i < flips; i++)
			ring->data[random() % ring->size] = (uint8_t)random();
		if (random() % 50 == 0)
			atomic_store(&ring->tail, (uint32_t)random());
		take_begin(&t);
		while (take_next(&t, &r))
			xmlFreeDoc(parse_line(&f, &r));
		while (take_damage(&t, &r))
			xmlFreeDoc(parse_line(&f, &r));
		commit(&t);
		take_begin(&t);
		assert_false(take_next(&t, &r));
	}
	take_close(&t);
	format_close(&f);
	ring_free(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escaped_values_come_back),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_any_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
