/* SPDX-License-Identifier: ISC */
/*
 * carontectl log: times, filters, and what reaches a terminal. carontectl is no part of the
 * library: its files are compiled in here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h wants the four above first */
#include <cmocka.h>

#include <libxml/parser.h>

#include "xmllog/format.h"

#include "ctl/log_filter.c"
#include "ctl/log_print.c"
#include "ctl/log_table.c"
#include "ctl/log_text.c"
#include "ctl/log_time.c"

#define NOW  1795378434000000 /* 2026-11-22T20:13:54Z, a Sunday */
#define HOUR INT64_C(3600000000)

/* ---- times ---- */

struct time_row {
	const char *text;
	int64_t us; /* -1: refused */
};

static void check_times(const struct time_row *rows, size_t n, bool local)
{
	for (size_t i = 0; i < n; i++) {
		int64_t us = -1;
		bool good = log_time_parse(rows[i].text, NOW, local, &us);

		if (good != (rows[i].us != -1) || (good && us != rows[i].us))
			fail_msg("%s: %d, %lld", rows[i].text, good, (long long)us);
	}
}

static void test_times(void **state)
{
	static const struct time_row rows[] = {
		{ "now", NOW },
		{ "today", NOW - NOW % (24 * HOUR) },
		{ "yesterday", NOW - NOW % (24 * HOUR) - 24 * HOUR },
		{ "-0s", NOW },
		{ "-45s", NOW - 45000000 },
		{ "-30m", NOW - HOUR / 2 },
		{ "-2h", NOW - 2 * HOUR },
		{ "-1h30m", NOW - HOUR * 3 / 2 },
		{ "-1d", NOW - 24 * HOUR },
		{ "-2w", NOW - 14 * 24 * HOUR },
		{ "2026-11-22T20:13:54Z", NOW },
		{ "2026-11-22T20:13:54", NOW },
		{ "2026-11-22 20:13:54", NOW },
		{ "2026-11-22t20:13:54z", NOW },
		{ "2026-11-22T20:13:54.000001Z", NOW + 1 },
		{ "2026-11-22T20:13:54.5", NOW + 500000 },
		{ "2026-11-22T20:13:54.1234569", NOW + 123456 },
		{ "2026-11-22T20:13", NOW - 54000000 },
		{ "2026-11-22T21:13:54+01:00", NOW },
		{ "2026-11-22T21:13:54+0100", NOW },
		{ "2026-11-22T21:13:54+01", NOW },
		{ "2026-11-22T14:43:54-05:30", NOW },
		{ "2026-11-22", NOW - NOW % (24 * HOUR) },
		{ "20:13:54", NOW },
		{ "20:13", NOW - 54000000 },
		{ "00:00", NOW - NOW % (24 * HOUR) },
		{ "1970-01-01", 0 },
		{ "1970-01-01T00:00:00+00:01", -60000000 },
		{ "2024-02-29", INT64_C(1709164800000000) },
		{ "2000-02-29", INT64_C(951782400000000) },
		{ "2016-12-31T23:59:60Z", INT64_C(1483228800000000) },
		{ "2026-02-29", -1 },
		{ "2100-02-29", -1 },
		{ "2026-11-31", -1 },
		{ "2026-00-10", -1 },
		{ "2026-13-10", -1 },
		{ "2026-11-00", -1 },
		{ "2026-1-2", -1 },
		{ "26-11-22", -1 },
		{ "20261122", -1 },
		{ "2026-11-22T", -1 },
		{ "2026-11-22T2", -1 },
		{ "2026-11-22T24:00", -1 },
		{ "2026-11-22T20:60", -1 },
		{ "2026-11-22T20:13:61", -1 },
		{ "2026-11-22T20:13:54.", -1 },
		{ "2026-11-22T20:13:54.5.5", -1 },
		{ "2026-11-22T20:13:54+", -1 },
		{ "2026-11-22T20:13:54+1", -1 },
		{ "2026-11-22T20:13:54+15:00", -1 },
		{ "2026-11-22T20:13:54+01:60", -1 },
		{ "2026-11-22T20:13:54ZZ", -1 },
		{ "2026-11-22T20:13.5", -1 },
		{ "2026-11-22x20:13", -1 },
		{ "20:13x", -1 },
		{ "20:", -1 },
		{ "", -1 },
		{ "-", -1 },
		{ "-h", -1 },
		{ "-2", -1 },
		{ "-2x", -1 },
		{ "-2h3", -1 },
		{ "- 2h", -1 },
		{ "-9999999999w", -1 },
		{ "-99999999999999999999s", -1 },
		{ "tomorrow", -1 },
		{ "todayx", -1 },
	};

	(void)state;
	check_times(rows, sizeof(rows) / sizeof(rows[0]), false);
}

static void test_local_times(void **state)
{
	/* Summer time ended on the 25th of October in 2026: that day had 25 hours. */
	static const struct time_row rows[] = {
		{ "2026-11-22T21:13:54", NOW },
		{ "21:13:54", NOW },
		{ "today", NOW - NOW % (24 * HOUR) - HOUR },
		{ "2026-10-25", INT64_C(1792879200000000) },
		{ "2026-10-26", INT64_C(1792969200000000) },
		{ "2026-11-22T20:13:54Z", NOW },
		{ "2026-11-22T20:13:54+00:00", NOW },
	};
	char text[LOG_TIME_TEXT];
	int64_t us;

	(void)state;
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	check_times(rows, sizeof(rows) / sizeof(rows[0]), true);
	assert_true(log_time_parse("yesterday", INT64_C(1792969200000000) + HOUR, true, &us));
	assert_true(us == INT64_C(1792879200000000));
	assert_true(log_time_text(NOW + 999999, true, text));
	assert_string_equal(text, "2026-11-22 21:13:54.999");
	unsetenv("TZ");
	tzset();
	assert_true(log_time_text(NOW + 999999, false, text));
	assert_string_equal(text, "2026-11-22 20:13:54.999");
	assert_false(log_time_text(INT64_MAX, false, text));
	assert_false(log_time_text(INT64_MIN, false, text));
}

/* Every day of four centuries against the C library. */
static void test_calendar(void **state)
{
	(void)state;
	for (int64_t day = -25567; day < 120000; day++) {
		time_t s = (time_t)(day * 86400);
		char text[64];
		struct tm tm;
		int64_t us;

		gmtime_r(&s, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT00:00:00.000000Z", &tm);
		assert_true(log_time_record(span_str(text), &us));
		assert_true(us == day * 24 * HOUR);
	}
}

/* ---- filters ---- */

static struct log_record record_of(const char *element, const char *const *pairs)
{
	struct log_record r = { .element = span_str(element) };

	for (; pairs[0]; pairs += 2)
		r.attr[r.n++] = (struct log_attr){ span_str(pairs[0]), span_str(pairs[1]) };
	return r;
}

struct filter_row {
	const char *option, *text;
	bool fits;
};

static void test_filters(void **state)
{
	static const char *const pairs[] = { "time",	    "2026-11-22T20:13:54.000000Z",
					     "session",	    "64d-5",
					     "client",	    "192.0.2.7:4242",
					     "sender",	    "Joe@X.test",
					     "recipient",   "\"a@b\"@local.test",
					     "verdict",	    "refuse",
					     "destination", "[2001:db8::1]:25",
					     NULL };
	static const struct filter_row rows[] = {
		{ "client", "192.0.2.7", true },
		{ "client", "192.0.2.0/24", true },
		{ "client", "::ffff:192.0.2.7", true },
		{ "client", "192.0.2.8", false },
		{ "client", "2001:db8::/32", false },
		{ "client", "0.0.0.0/0", true },
		{ "sender", "joe@x.TEST", true },
		{ "sender", "<joe@x.test>", true },
		{ "sender", "@x.test", true },
		{ "sender", "@X.TEST", true },
		{ "sender", "x.test", false },
		{ "sender", "@test", false },
		{ "sender", "oe@x.test", false },
		{ "sender", "", false },
		{ "sender", "<>", false },
		{ "recipient", "@local.test", true },
		{ "recipient", "\"a@b\"@local.test", true },
		{ "recipient", "a@b", false },
		{ "recipient", "@b\"@local.test", true },
		{ "session", "64d-5", true },
		{ "session", "64d-", false },
		{ "session", "64D-5", false },
		{ "verdict", "refuse", true },
		{ "verdict", "accept", false },
		{ "destination", "[2001:db8::1]:25", true },
		{ "destination", "2001:db8::1", true },
		{ "destination", "[2001:DB8::1]", true },
		{ "destination", "2001:db8::1:25", false },
		{ "destination", "[2001:db8::1]:26", false },
		{ "element", "recipient", true },
		{ "element", "message,recipient", true },
		{ "element", "message", false },
		{ "level", "1", false },
		{ "level", "2", true },
		{ "level", "4", true },
		{ "since", "2026-11-22T20:13:54Z", true },
		{ "since", "2026-11-22T20:13:54.000001Z", false },
		{ "until", "2026-11-22T20:13:54Z", false },
		{ "until", "2026-11-22T20:13:54.000001Z", true },
	};
	struct log_record r = record_of("recipient", pairs);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *o = rows[i].option, *wrong = NULL;
		char *text = strdup(rows[i].text);
		struct log_filter f;

		log_filter_init(&f);
		if (strcmp(o, "client") == 0)
			wrong = log_filter_client(&f, text);
		else if (strcmp(o, "verdict") == 0)
			wrong = log_filter_verdict(&f, text);
		else if (strcmp(o, "element") == 0)
			wrong = log_filter_elements(&f, text);
		else if (strcmp(o, "level") == 0)
			wrong = log_filter_level(&f, text);
		else if (strcmp(o, "since") == 0)
			assert_true(log_time_parse(text, NOW, false, &f.since_us));
		else if (strcmp(o, "until") == 0)
			assert_true(log_time_parse(text, NOW, false, &f.until_us));
		else
			wrong = log_filter_add(strcmp(o, "sender") == 0	     ? &f.sender
					       : strcmp(o, "recipient") == 0 ? &f.recipient
					       : strcmp(o, "session") == 0   ? &f.session
									     : &f.destination,
					       text);
		assert_null(wrong);
		assert_true(log_filter_ready(&f));
		if (log_filter_match(&f, &r) != rows[i].fits)
			fail_msg("--%s %s", o, rows[i].text);
		log_filter_free(&f);
		free(text);
	}
}

static bool fits_with(const struct log_record *r, const char *verdict, const char *reply,
		      const char *recipient)
{
	struct log_filter f;

	log_filter_init(&f);
	if (verdict)
		assert_null(log_filter_verdict(&f, verdict));
	if (reply)
		assert_null(log_filter_add(&f.reply, reply));
	if (recipient)
		assert_null(log_filter_add(&f.recipient, recipient));
	return log_filter_match(&f, r);
}

/* A message has several recipients, and its reply is its verdict; a refusal says it by its name. */
static void test_verdicts(void **state)
{
	static const char *const pairs[] = { "to", "a@x.test b@y.test", "reply", "250 kept", NULL };
	static const char *const bad[] = { "to", "a@x.test", "reply", "452 4.3.1 full", NULL };
	static const char *const said[] = { "command", "mail", "reply", "550 5.7.1 no", NULL };
	struct log_record kept = record_of("message", pairs), refused = record_of("message", bad);
	struct log_record refusal = record_of("refusal", said);

	(void)state;
	assert_true(fits_with(&kept, "accept", "2", "a@x.test"));
	assert_true(fits_with(&kept, NULL, "250 kept", "@Y.test"));
	assert_false(fits_with(&kept, NULL, "250 kept more", NULL));
	assert_false(fits_with(&kept, NULL, NULL, "x.test b@y.test"));
	assert_false(fits_with(&kept, "refuse", NULL, NULL));
	assert_true(fits_with(&refused, "refuse", "452", "a@x.test"));
	assert_false(fits_with(&refused, "accept", NULL, NULL));
	assert_false(fits_with(&refused, NULL, NULL, "b@y.test"));
	assert_true(fits_with(&refusal, "refuse", "550 5.7.1", NULL));
	assert_false(fits_with(&refusal, "accept", NULL, NULL));
	assert_false(fits_with(&refusal, NULL, NULL, "a@x.test"));
}

static void test_filters_together(void **state)
{
	static const char *const pairs[] = { "client", "[2001:db8::7]:1", "sender", "", NULL };
	struct log_record r = record_of("recipient", pairs);
	struct log_filter f;

	(void)state;
	log_filter_init(&f);
	assert_null(log_filter_client(&f, "10.0.0.0/8"));
	assert_null(log_filter_client(&f, "2001:db8::/64"));
	assert_null(log_filter_add(&f.sender, "<>"));
	assert_true(log_filter_ready(&f));
	assert_true(log_filter_match(&f, &r));
	/* An attribute that is not there fits nothing, not even the empty text. */
	assert_null(log_filter_add(&f.recipient, ""));
	assert_false(log_filter_match(&f, &r));
	log_filter_free(&f);
	log_filter_init(&f);
	f.since_us = 0;
	assert_false(log_filter_match(&f, &r));
	/* A destination's own record is found by the same option. */
	static const char *const down[] = { "address", "mail.test:25", "state", "down", NULL };

	r = record_of("destination", down);
	log_filter_init(&f);
	assert_null(log_filter_add(&f.destination, "mail.test"));
	assert_true(log_filter_match(&f, &r));
	/* An element of a later version is shown at any level. */
	r = record_of("later", down);
	log_filter_init(&f);
	f.level = 1;
	assert_true(log_filter_match(&f, &r));
}

static void test_wrong_filters(void **state)
{
	char good[] = "login,fault", bad[] = "login,faults", empty[] = "login,";
	struct log_filter f;

	(void)state;
	log_filter_init(&f);
	assert_non_null(log_filter_client(&f, "10.0.0.1/8"));
	assert_non_null(log_filter_client(&f, "10.0.0"));
	assert_non_null(log_filter_client(&f, ""));
	assert_non_null(log_filter_client(&f, "10.0.0.1\n10.0.0.2"));
	assert_non_null(log_filter_verdict(&f, "accepted"));
	assert_null(log_filter_elements(&f, good));
	assert_non_null(log_filter_elements(&f, bad));
	assert_non_null(log_filter_elements(&f, empty));
	assert_non_null(log_filter_level(&f, "0"));
	assert_non_null(log_filter_level(&f, "5"));
	assert_non_null(log_filter_level(&f, "22"));
	for (size_t i = 0; i < LOG_FILTER_MAX; i++)
		assert_null(log_filter_add(&f.session, "x"));
	assert_non_null(log_filter_add(&f.session, "x"));
}

/* Our names of the elements are those that the log writer uses. */
static void test_element_names(void **state)
{
	struct format format;

	(void)state;
	assert_int_equal(format_open(&format), 0);
	for (size_t i = 0; i < XMLLOG_ELEMENTS; i++) {
		struct record r = { .element = (enum xmllog_element)i };
		struct span text;
		const char *name = log_element_name(i);

		format_restart(&format);
		assert_int_equal(format_record(&format, &r), 0);
		text = format_text(&format);
		assert_memory_equal(text.p + 1, name, strlen(name));
		assert_int_equal(text.p[1 + strlen(name)], ' ');
	}
	assert_null(log_element_name(XMLLOG_ELEMENTS));
	format_close(&format);
}

/* ---- printing ---- */

static void check_print(enum log_format format, bool utf8, const struct log_record *r,
			const char *wanted)
{
	struct log_print k = { .format = format, .utf8 = utf8 };
	struct log_text out = { 0 };

	log_print_record(&k, r, &out);
	log_text_add(&out, "", 1);
	assert_string_equal(out.p, wanted);
	log_text_free(&out);
}

#define HOSTILE                                                                                    \
	"a\x1b[2J\x7f\xc2\x9b\t\n\r\"<>&\\x1B\\\\\xc3\xa9\xe2\x80\xae\xf0\x9f\x90\xbb\xf3\xa0\x80\x81z"

static void test_printing(void **state)
{
	static const char *const pairs[] = {
		"time", "2026-11-22T20:13:54.123456Z", "what", HOSTILE, "count", "12", "extra", "1",
		NULL
	};
	struct log_record r = record_of("fault", pairs);

	(void)state;
	check_print(LOG_TABLE, true, &r,
		    "2026-11-22 20:13:54.123  -                   fault        "
		    "a\\u001b[2J\\u007f\\u009b\\t\\n\\r\"<>&\\x1B\\\\\xc3\xa9\\u202e"
		    "\xf0\x9f\x90\xbb\\U000e0001z (12) extra=1\n");
	check_print(LOG_TABLE, false, &r,
		    "2026-11-22 20:13:54.123  -                   fault        "
		    "a\\u001b[2J\\u007f\\u009b\\t\\n\\r\"<>&\\x1B\\\\\\u00e9\\u202e"
		    "\\U0001f43b\\U000e0001z (12) extra=1\n");
	check_print(LOG_JSON, true, &r,
		    "{\"element\":\"fault\",\"time\":\"2026-11-22T20:13:54.123456Z\",\"what\":\""
		    "a\\u001b[2J\\u007f\\u009b\\u0009\\u000a\\u000d\\\"<>&\\\\x1B\\\\\\\\\\u00e9"
		    "\\u202e\\ud83d\\udc3b\\udb40\\udc01z\",\"count\":12,\"extra\":\"1\"}\n");
	check_print(LOG_XML, true, &r,
		    "<fault time=\"2026-11-22T20:13:54.123456Z\" what=\""
		    "a&#27;[2J&#x7F;&#x9B;&#9;&#10;&#13;&quot;&lt;&gt;&amp;\\x1B\\\\&#xE9;&#x202E;"
		    "&#x1F43B;&#xE0001;z\" count=\"12\" extra=\"1\"/>\n");
}

static void test_numbers(void **state)
{
	static const char *const pairs[] = { "bytes",	   "0",
					     "count",	   "007",
					     "pid",	   "1.5",
					     "seconds",	   "0.000001",
					     "messages",   "1e5",
					     "refusals",   "-1",
					     "recipients", "1234567890123456",
					     "message",	   "",
					     NULL };
	struct log_record r = record_of("x", pairs);

	(void)state;
	check_print(LOG_JSON, true, &r,
		    "{\"element\":\"x\",\"bytes\":0,\"count\":\"007\",\"pid\":1.5,"
		    "\"seconds\":0.000001,\"messages\":\"1e5\",\"refusals\":\"-1\","
		    "\"recipients\":\"1234567890123456\",\"message_no\":\"\"}\n");
}

static void test_table(void **state)
{
	static const char *const bare[] = { "time", "soon\n", NULL };
	static const char *const session[] = { "time",	   "2026-11-22T20:13:54.123456Z",
					       "session",  "64d-5",
					       "client",   "192.0.2.7:4242",
					       "end",	   "quit",
					       "messages", "1",
					       "refusals", "2",
					       "bytes",	   "3",
					       "seconds",  "0.5",
					       "login",	   "joe",
					       NULL };
	struct log_record r = record_of("session", session);

	(void)state;
	check_print(LOG_TABLE, true, &r,
		    "2026-11-22 20:13:54.123  64d-5               session      192.0.2.7:4242      "
		    "   quit             1 messages, 2 refusals, 3 octets, 0.5 s, login <joe>\n");
	r = record_of("session", bare);
	check_print(LOG_TABLE, true, &r,
		    "soon\\n                   -                   session      -                  "
		    "    -                - messages, - refusals, - octets, - s\n");
	r = record_of("later", bare);
	check_print(LOG_TABLE, true, &r, "soon\\n                   -                   later\n");
}

/* What the log writer escapes comes out of --xml as it went in. */
static void test_xml_as_it_was(void **state)
{
	char text[256 * 16], *at;
	struct log_print k = { .format = LOG_XML };
	struct log_text out = { 0 };
	struct log_record r;
	uint8_t octets[256];
	char line[sizeof(text) + 128];
	xmlDocPtr doc;
	xmlChar *value;

	(void)state;
	for (int i = 0; i < 256; i++)
		octets[i] = (uint8_t)i;
	at = text + format_escape(span_of(octets, sizeof(octets)), text);
	*at = '\0';
	snprintf(line, sizeof(line), "<fault time=\"x\" what=\"%s\"/>\n", text);
	doc = xmlReadMemory(line, (int)strlen(line), NULL, NULL, XML_PARSE_NONET);
	assert_non_null(doc);
	value = xmlGetProp(xmlDocGetRootElement(doc), BAD_CAST "what");
	r = (struct log_record){ .element = SPAN("fault"),
				 .n = 2,
				 .attr = { { SPAN("time"), SPAN("x") },
					   { SPAN("what"), span_str((const char *)value) } } };
	log_print_record(&k, &r, &out);
	assert_int_equal(out.n, strlen(line));
	assert_memory_equal(out.p, line, out.n);
	log_text_free(&out);
	xmlFree(value);
	xmlFreeDoc(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times),	      cmocka_unit_test(test_local_times),
		cmocka_unit_test(test_calendar),      cmocka_unit_test(test_filters),
		cmocka_unit_test(test_verdicts),      cmocka_unit_test(test_filters_together),
		cmocka_unit_test(test_wrong_filters), cmocka_unit_test(test_element_names),
		cmocka_unit_test(test_printing),      cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_table),	      cmocka_unit_test(test_xml_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
