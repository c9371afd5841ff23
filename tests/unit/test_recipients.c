/* SPDX-License-Identifier: ISC */
/*
 * recipients: what a line may be, where a fault is, what matches and, above all, what does not; and
 * a million of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/diag.h"
#include "feed.h"
#include "policy/policy.h"
#include "size.h"

struct collected {
	struct policy_faults faults;
	unsigned n;
	unsigned line;
	char what[120];
};

static void collect(struct policy_faults *f, unsigned line, const char *what)
{
	struct collected *c = (void *)f;

	c->n++;
	c->line = line;
	snprintf(c->what, sizeof(c->what), "%s", what);
}

static struct policy_recipients *build_span(struct span text, struct policy_faults *faults,
					    size_t *used)
{
	size_t room = policy_recipients_room(text);
	void *mem = aligned_alloc(64, (room + 63) & ~(size_t)63);

	assert_non_null(mem);
	memset(mem, 0, room);
	size_t got = policy_recipients_build(mem, room, text, faults);

	assert_true(got <= room);
	if (used)
		*used = got;
	if (got)
		return mem;
	free(mem);
	return NULL;
}

static struct policy_recipients *build(const char *text)
{
	return build_span(feed_guard(span_str(text)), NULL, NULL);
}

/* The word for LOCAL@DOMAIN, NULL: not local. */
static const char *ask(const struct policy_recipients *t, struct policy_address a)
{
	const char *which = NULL;
	bool found = policy_recipients_match(t, &a, "+", &which);

	assert_int_equal(found, which != NULL);
	assert_int_equal(policy_recipients_match(t, &a, "+", NULL), found);
	return which;
}

static const char *plain(const struct policy_recipients *t, const char *local, const char *domain)
{
	return ask(t,
		   (struct policy_address){ .local = span_str(local), .domain = span_str(domain) });
}

static const char *routed(const struct policy_recipients *t, const char *local, const char *domain)
{
	return ask(t, (struct policy_address){ .local = span_str(local),
					       .domain = span_str(domain),
					       .routed = true,
					       .quoted = local[0] == '"' });
}

#define L64 "0123456789012345678901234567890123456789012345678901234567890123"
#define D100                                                                                       \
	"abcdefghi.abcdefghi.abcdefghi.abcdefghi.abcdefghi.abcdefghi.abcdefghi.abcdefghi."         \
	"abcdefghi.abcdefghi."
#define L240 L64 L64 L64 "012345678901234567890123456789012345678901234567"
#define D252 D100 D100 "abcdefghi.abcdefghi.abcdefghi.abcdefghi.abcdefghi.ab"
#define D255 D100 D100 "abcdefghi.abcdefghi.abcdefghi.abcdefghi.abcdefghi.abcde"

static void test_line_faults(void **state)
{
	static const struct {
		const char *line;
		const char *fault; /* a part of it, NULL: good */
	} rows[] = {
		{ "user@example.com", NULL },
		{ "@example.com", NULL },
		{ "user@localhost.", NULL },
		{ "us.er+tag=x/y!z%w@e", NULL },
		{ "\"a b\"@example.com", NULL },
		{ "\"a@b\"@example.com", NULL },
		{ "\"a\\\"b\"@example.com", NULL },
		{ "\"<>\"@example.com", NULL },
		{ "user@[192.0.2.1]", NULL },
		{ "user@[IPv6:2001:db8::1]", NULL },
		{ "j\xc3\xbcrgen@b\xc3\xbc"
		  "cher.example",
		  NULL },
		{ "u@under_score.example", NULL },
		{ L64 "@example.com", NULL },
		{ L64 "x@example.com", NULL },	 /* more than RFC 5321 asks for */
		{ L240 "xx@example.com", NULL }, /* 254, and 256 in a path */
		{ "u@" D252, NULL },
		{ "u@" D252 ".", NULL },
		{ "@" D255, NULL },
		{ "user", "no @" },
		{ "\"user\"", "no @" },
		{ "user@", "empty domain" },
		{ "user@.", "empty domain" },
		{ "@", "empty domain" },
		{ "user@example.com..", "empty label" },
		{ "@.example.com", "empty label" },
		{ "*@example.com", "no wildcard" },
		{ "user@example..com", "empty label" },
		{ "us er@example.com", "blank" },
		{ "user@example.com other@example.com", "blank" },
		{ "user@example.com # joe", "blank" },
		{ "user @example.com", "blank" },
		{ "us\ter@example.com", "control" },
		{ "us\x7f"
		  "er@example.com",
		  "control" },
		{ "us\rer@example.com", "control" },
		{ "\"us\x01\"@example.com", "control" },
		{ "<user@example.com>", "angle bracket" },
		{ "user@example.com>", "angle bracket" },
		{ "a\"b@example.com", "quotes" },
		{ "evil@else@example.com", "quotes" },
		{ "u:x@example.com", "quotes" },
		{ "user@example.com:other@example.net", "quotes" },
		{ "u\\@evil@example.com", "quotes" },
		{ "x\\y@example.com", "quotes" },
		{ "a(c)@example.com", "quotes" },
		{ "a,b@example.com", "one address a line" },
		{ "a;b@example.com", "one address a line" },
		{ "a[b@example.com", "quotes" },
		{ "\"user@example.com", "well-formed" },
		{ "\"user\\\"@example.com", "well-formed" },
		{ "\"user\"x@example.com", "well-formed" },
		{ "\"a\"\"b\"@example.com", "well-formed" },
		{ "\"", "well-formed" },
		{ "\"user\"@", "empty domain" },
		{ "\"user\"@a@b", "domain" },
		{ "\"user\"@a b", "domain" },
		{ "user@*", "domain" },
		{ "user@exam,ple", "domain" },
		{ "user@[192.0.2.1", "domain" },
		{ "user@[]", "domain" },
		{ "@[300.1.2.3]", "no address" },
		{ "@[2001:db8::1]", "no address" },
		{ "@[IPv6:192.0.2.1]", "no address" },
		{ "@[IPv6:]", "no address" },
		{ "@[example.com]", "no address" },
		{ "user@[a]b", "domain" },
		{ "user@example.com:25", "domain" },
		{ L240 "xxx@example.com", "254" },
		{ "\"" L240 "x\"@example.com", "254" },
		{ L240 "0123456789abc@e", "252" },
		{ "u@x" D252, "254" },
		{ "u@x" D255, "255" },
		{ "@x" D255, "255" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct collected c = { .faults = { collect } };
		struct policy_recipients *t =
			build_span(feed_guard(span_str(rows[i].line)), &c.faults, NULL);

		if (!rows[i].fault && (!t || c.n || policy_recipients_count(t) != 1))
			fail_msg("\"%s\": %s", rows[i].line, c.what);
		if (rows[i].fault && (t || c.n != 1 || !strstr(c.what, rows[i].fault)))
			fail_msg("\"%s\": %s", rows[i].line, c.n ? c.what : "taken");
		free(t);
	}
}

static void test_nul_is_a_fault(void **state)
{
	struct collected c = { .faults = { collect } };

	(void)state;
	assert_null(build_span(feed_guard(SPAN("a@b\nu\0@example.com\n")), &c.faults, NULL));
	assert_int_equal(c.line, 2);
	assert_non_null(strstr(c.what, "control"));
}

static void test_lines(void **state)
{
	struct collected c = { .faults = { collect } };
	struct policy_recipients *t = build("# the office\r\n"
					    "\r\n"
					    "\t \n"
					    " \tJoe@Example.COM. \t\r\n"
					    "joe@example.com\n"
					    "#not@example.com\n"
					    " #hash@example.com\n"
					    "last@example.com");

	(void)state;
	assert_non_null(t);
	assert_int_equal(policy_recipients_count(t), 3); /* joe stands there twice */
	assert_string_equal(plain(t, "joe", "example.com"), "address");
	assert_string_equal(plain(t, "JOE", "EXAMPLE.com"), "address");
	assert_string_equal(plain(t, "last", "example.com"), "address");
	assert_string_equal(plain(t, "#hash", "example.com"), "address");
	assert_null(plain(t, "not", "example.com"));
	assert_null(plain(t, "#not", "example.com"));
	free(t);
	assert_null(build_span(feed_guard(SPAN("a@b\r\n\r\n#\nbad\n")), &c.faults, NULL));
	assert_int_equal(c.line, 4);
	c.n = 0;
	assert_null(build_span(feed_guard(SPAN("\xef\xbb\xbf"
					       "a@b\n")),
			       &c.faults, NULL));
	assert_int_equal(c.n, 1);
	assert_non_null(strstr(c.what, "byte order mark"));
	assert_null(build("bad")); /* nobody asked, a fault all the same */
}

static void test_empty(void **state)
{
	struct policy_address pm = { .postmaster = true };
	struct policy_recipients *t = build("");

	(void)state;
	assert_non_null(t);
	assert_int_equal(policy_recipients_count(t), 0);
	assert_int_equal(policy_recipients_count(NULL), 0);
	assert_null(plain(t, "a", "b"));
	assert_null(plain(t, "postmaster", "b"));
	assert_null(plain(NULL, "a", "b"));
	/* <postmaster> is local without any table (RFC 5321 4.5.1). */
	assert_string_equal(ask(t, pm), "postmaster");
	assert_string_equal(ask(NULL, pm), "postmaster");
	free(t);
}

static void test_domains(void **state)
{
	struct policy_recipients *t = build("@all.example\nuser@one.example\nall@all.example\n");

	(void)state;
	assert_string_equal(plain(t, "anybody", "ALL.example"), "domain");
	assert_string_equal(plain(t, "all", "all.example"), "address");
	assert_string_equal(plain(t, "postmaster", "all.example"), "domain");
	assert_string_equal(plain(t, "PostMaster", "one.example"), "postmaster");
	assert_null(plain(t, "postmaster", "two.example"));
	assert_null(plain(t, "anybody", "one.example"));
	assert_null(plain(t, "anybody", "sub.all.example"));
	assert_null(plain(t, "anybody", "l.example"));
	assert_null(plain(t, "anybody", "all.example."));
	assert_null(plain(t, "anybody", "all.exampl"));
	assert_null(plain(t, "anybody", ""));
	assert_null(plain(t, "", "all.example"));
	assert_null(plain(t, "", "one.example"));
	/* The text of an entry is local part and domain: where one ends must count. */
	assert_null(plain(t, "userone", ".example"));
	assert_null(plain(t, "user@one", "example"));
	assert_null(plain(t, "use", "rone.example"));
	free(t);
	/* Whatever comes first, the line or the mention. */
	t = build("user@one.example\n@one.example\n@ONE.example.\n");
	assert_int_equal(policy_recipients_count(t), 2);
	assert_string_equal(plain(t, "anybody", "one.example"), "domain");
	free(t);
}

static void test_routing(void **state)
{
	struct policy_recipients *t = build("@local.example\n"
					    "a%b@local.example\n"
					    "gate!user@local.example\n"
					    "\"u@x\"@local.example\n"
					    "postmaster@listed.example\n");

	(void)state;
	assert_string_equal(routed(t, "a%b", "local.example"), "address");
	assert_string_equal(routed(t, "A%B", "local.example"), "address");
	assert_string_equal(routed(t, "gate!user", "local.example"), "address");
	assert_string_equal(routed(t, "\"u@x\"", "local.example"), "address");
	assert_null(routed(t, "u%evil.example", "local.example"));
	assert_null(routed(t, "evil.example!u", "local.example"));
	assert_null(routed(t, "\"u@evil\"", "local.example"));
	assert_null(routed(t, "u@evil.example", "local.example"));
	assert_null(routed(t, "u@else", "local.example"));
	assert_null(routed(t, "u\\@evil.example", "local.example"));
	assert_null(routed(t, "u@x", "local.example")); /* the line has quotes, this has none */
	assert_null(routed(t, "postmaster%x", "local.example"));
	free(t);
}

static void test_quoted(void **state)
{
	struct policy_recipients *t =
		build("user@d.example\n\"Strange one\"@d.example\n@all.example");
	struct policy_address a = { .domain = SPAN("d.example"), .quoted = true };

	(void)state;
	a.local = SPAN("\"strange ONE\"");
	assert_string_equal(ask(t, a), "address");
	a.local = SPAN("\"user\""); /* not the line without quotes: compared as it is */
	assert_null(ask(t, a));
	a.local = SPAN("\"postmaster\"");
	assert_null(ask(t, a));
	a.domain = SPAN("all.example");
	assert_string_equal(ask(t, a), "domain");
	a.routed = true;
	assert_null(ask(t, a));
	assert_null(plain(t, "strange one", "d.example"));
	free(t);
}

static void test_case_is_ascii_only(void **state)
{
	struct policy_recipients *t = build("J\xc3\xbcrgen@example.com\n[a@example.com\n"
					    "`x@example.com\n");

	(void)state;
	assert_null(t); /* the bracket needs quotes */
	t = build("J\xc3\xbcrgen@example.com\n`x@example.com\n");
	assert_string_equal(plain(t, "j\xc3\xbcRGEN", "example.com"), "address");
	assert_null(plain(t, "j\xc3\x9crgen", "example.com")); /* capital u umlaut */
	assert_null(plain(t, "@x", "example.com")); /* 0x60 and 0x40 differ by the case bit */
	free(t);
}

static void test_long_parts(void **state)
{
	static char big[70000];
	struct policy_recipients *t =
		build("u@" D252 "\n" L240 "xx@Example.com\n@x.test\n@" D255 "\n");

	(void)state;
	memset(big, 'a', sizeof(big) - 1);
	assert_string_equal(plain(t, "u", D252), "address");
	assert_string_equal(plain(t, L240 "XX", "example.com"), "address");
	assert_string_equal(plain(t, "any", D255), "domain");
	assert_null(plain(t, L240 "xy", "example.com"));
	assert_null(plain(t, L240 "x", "example.com"));
	assert_null(plain(t, "ux", D252));
	assert_null(plain(t, "u", D252 "x"));
	/* The longest local part is not taken for the mark of an `@domain` line. */
	assert_null(plain(t, "any", "example.com"));
	/* The lengths are kept in octets: what would be right modulo 256 is not. */
	assert_null(ask(t, (struct policy_address){ .local = span_of(big, 256 + 4),
						    .domain = SPAN("example.com") }));
	assert_null(ask(t, (struct policy_address){ .local = SPAN("user"),
						    .domain = span_of(big, 65536 + 11) }));
	free(t);
}

static void test_extensions(void **state)
{
	static const struct {
		const char *local, *delimiters;
		bool bounce, quoted, routed;
		const char *word;
	} rows[] = {
		{ "user+tag", "+", false, false, false, "extension" },
		{ "USER+", "+", false, false, false, "extension" },
		{ "user+a+b", "+", false, false, false, "extension" },
		{ "user-a+b", "+-", false, false, false, "extension" },
		{ "user+tag", "", false, false, false, NULL },
		{ "user-tag", "+", false, false, false, NULL },
		{ "user+tag", "-=", false, false, false, NULL },
		{ "users+tag", "+", false, false, false, NULL },
		{ "+user", "+", false, false, false, NULL },
		{ "+", "+", false, false, false, NULL },
		{ "++user", "+", false, false, false, NULL },
		/* An exact entry comes first, and one that holds a delimiter is no other user's. */
		{ "list+owner", "+", false, false, false, "address" },
		{ "list+other", "+", false, false, false, NULL },
		{ "list", "+", false, false, false, NULL },
		{ "list+owner+x", "+", false, false, false, NULL },
		{ "postmaster+x", "+", false, false, false, "extension" },
		/* What could be read as another address has no extension. */
		{ "user+x%else.example", "+", false, false, true, NULL },
		{ "user%else.example+x", "+", false, false, true, NULL },
		{ "\"user+tag\"", "+", false, true, false, NULL },
		{ "\"user\"+tag", "+", false, true, false, NULL },
		/* Bounces. */
		{ "prvs=1234abcdef=user", "+", true, false, false, "bounce" },
		{ "PRVS=1=User", "+", true, false, false, "bounce" },
		{ "prvs=1234abcdef=list+owner", "+", true, false, false, "bounce" },
		{ "prvs=1234abcdef=user+tag", "+", true, false, false, "bounce" },
		{ "prvs=1234abcdef=user", "+", false, false, false, NULL },
		{ "prvs=1234abcdef=user", "", true, false, false, NULL },
		{ "prvs=1234abcdef=users", "+", true, false, false, NULL },
		{ "prvs=1234abcdef=", "+", true, false, false, NULL },
		{ "prvs==user", "+", true, false, false, NULL },
		{ "prvs=user", "+", true, false, false, NULL },
		{ "prvs=a.b=user", "+", true, false, false, NULL },
		{ "prvs=1=prvs=1=user", "+", true, false, false, NULL },
		{ "xprvs=1=user", "+", true, false, false, NULL },
		{ "user+tag", "+", true, false, false, "extension" },
		{ "prvs=1=user%else", "+", true, false, true, NULL },
		{ "\"prvs=1=user\"", "+", true, true, false, NULL },
	};
	struct policy_recipients *t = build("user@e.test\nlist+owner@e.test\n@all.test\n");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy_address a = {
			.local = feed_guard(span_str(rows[i].local)),
			.domain = SPAN("e.test"),
			.routed = rows[i].routed,
			.quoted = rows[i].quoted,
			.bounce = rows[i].bounce,
		};
		const char *word = NULL;

		policy_recipients_match(t, &a, rows[i].delimiters, &word);
		if ((word == NULL) != (rows[i].word == NULL) ||
		    (word && strcmp(word, rows[i].word) != 0))
			fail_msg("%s: %s", rows[i].local, word ? word : "none");
		assert_true(policy_recipients_domain(t, &a));
		a.domain = SPAN("f.test");
		assert_false(policy_recipients_match(t, &a, rows[i].delimiters, NULL));
		assert_false(policy_recipients_domain(t, &a));
	}
	free(t);
}

static void test_delimiters(void **state)
{
	(void)state;
	assert_null(policy_delimiter_check(""));
	assert_null(policy_delimiter_check("+"));
	assert_null(policy_delimiter_check("+-=_."));
	for (const char *c = "%!@:\\"; *c; c++) {
		char text[] = { '+', *c, '\0' };

		assert_non_null(strstr(policy_delimiter_check(text), "another domain"));
	}
	assert_non_null(policy_delimiter_check("+a"));
	assert_non_null(policy_delimiter_check("0"));
	assert_non_null(policy_delimiter_check(" "));
	assert_non_null(policy_delimiter_check("\""));
	assert_non_null(policy_delimiter_check("\xc3\xbc"));
	assert_non_null(policy_delimiter_check("+++++++++++++++++"));
}

/* Names that share their lengths, so that only text tells them apart; odd ones are in the table. */
static void test_random(void **state)
{
	enum { N = 20000 };
	char *text = malloc((size_t)N * 32), name[16], domain[16];
	size_t n = 0, used;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 1; i < N; i += 2)
		n += (size_t)snprintf(text + n, 32, "u%05u@d%03u.example\n", i, i % 500);
	struct policy_recipients *t = build_span(span_of(text, n), NULL, &used);

	assert_non_null(t);
	assert_int_equal(policy_recipients_count(t), N / 2);
	struct policy_recipients *moved = aligned_alloc(64, (used + 63) & ~(size_t)63);

	memcpy(moved, t, used);
	memset(t, 0xa5, used);
	free(t);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "U%05u", i);
		snprintf(domain, sizeof(domain), "d%03u.example", i % 500);
		assert_int_equal(plain(moved, name, domain) != NULL, i % 2);
		snprintf(domain, sizeof(domain), "d%03u.example", (i + 2) % 500);
		assert_null(plain(moved, name, domain));
		assert_int_equal(plain(moved, "postmaster", domain) != NULL, i % 2);
	}
	free(moved);
	free(text);
}

/* Of the processor's time, which is ours alone: what else the machine does, says nothing of us. */
static double used_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t look_up_many(const struct policy_recipients *t, unsigned many, unsigned domains,
			   unsigned lookups)
{
	size_t hits = 0;

	for (unsigned i = 0; i < lookups; i++) {
		unsigned x = i * 2654435761u % (2 * many);
		char name[16], domain[32];
		int a = snprintf(name, sizeof(name), "user.%u", x);
		int b = snprintf(domain, sizeof(domain), "customer%u.example", x % domains);
		struct policy_address address = { .local = span_of(name, (size_t)a),
						  .domain = span_of(domain, (size_t)b) };

		hits += policy_recipients_match(t, &address, "+", NULL);
	}
	return hits;
}

static void many(unsigned domains)
{
	unsigned count = size_of(1000000, 50000), lookups = count;
	size_t cap = (size_t)count * 48, n = 0, used;
	char *text = malloc(cap);

	assert_non_null(text);
	for (unsigned i = 0; i < count; i++)
		n += (size_t)snprintf(text + n, cap - n, "user.%u@customer%u.example\n", i,
				      i % domains);
	double begin = used_s();
	struct policy_recipients *t = build_span(span_of(text, n), NULL, &used);
	double built = used_s();

	assert_non_null(t);
	assert_int_equal(policy_recipients_count(t), count);
	size_t hits = look_up_many(t, count, domains, lookups);
	double end = used_s();

	/* What making the names takes. */
	assert_int_equal(look_up_many(NULL, count, domains, lookups), 0);
	double empty = used_s() - end;

	assert_true(hits > lookups / 3 && hits < lookups);
	print_message("%u addresses, %u domains: %.0f ms, %.1f octets each, %.0f ns a lookup\n",
		      count, domains, (built - begin) * 1e3, (double)used / count,
		      (end - built - empty) * 1e9 / lookups);
	assert_true(used < (size_t)count * 100);
	assert_true(built - begin < 30);
	assert_true(end - built < 30);
	free(t);
	free(text);
}

static void test_many(void **state)
{
	(void)state;
	many(20);
	many(1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_faults), cmocka_unit_test(test_nul_is_a_fault),
		cmocka_unit_test(test_lines),	    cmocka_unit_test(test_empty),
		cmocka_unit_test(test_domains),	    cmocka_unit_test(test_routing),
		cmocka_unit_test(test_quoted),	    cmocka_unit_test(test_case_is_ascii_only),
		cmocka_unit_test(test_long_parts),  cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_delimiters),  cmocka_unit_test(test_random),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
