/* SPDX-License-Identifier: ISC */
/* route: the list of destinations and its faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "feed.h"
#include "route/parse.h"

#define OPTIONS "weight=N, max=N, tls=, pin=, name=, wrap and identity="
#define PIN16	"0123456789abcdef"
#define PIN	PIN16 PIN16 PIN16 PIN16

struct reported {
	unsigned n;
	char what[8][300];
};

static void report(void *ctx, const char *what)
{
	struct reported *r = ctx;

	if (r->n < 8)
		snprintf(r->what[r->n], sizeof(r->what[0]), "%s", what);
	r->n++;
}

#define LABEL "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk" /* 63 */

#define PATH_10	  "abcdefghij"
#define PATH_50	  PATH_10 PATH_10 PATH_10 PATH_10 PATH_10
#define PATH_106  PATH_50 PATH_50 "uvwxyz"
#define QUOTED_74 PATH_50 PATH_10 PATH_10 "abcd" /* of it, as far as a fault repeats an entry */

struct row {
	const char *list;
	enum route_cooperation cooperation;
	const char *fault; /* the whole of the only one, NULL: good */
};

static void check_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct span text = feed_guard(span_of(rows[i].list, strlen(rows[i].list) + 1));
		struct reported r = { 0 };
		struct route route;
		bool good = route_parse(&route, (const char *)text.p, rows[i].cooperation,
					ROUTE_LEAST_SESSIONS, report, &r);

		if (r.n != (rows[i].fault != NULL) || good != !rows[i].fault ||
		    (r.n && strcmp(r.what[0], rows[i].fault) != 0))
			fail_msg("\"%s\": %u faults, %s", rows[i].list, r.n, r.what[0]);
	}
}

static void test_list_faults(void **state)
{
	static const struct row rows[] = {
		{ "127.0.0.1:225", ROUTE_SINGLE, NULL },
		{ " \t mail.example.com:25\t", ROUTE_SINGLE, NULL },
		{ "[2001:db8::1]:25", ROUTE_SINGLE, NULL },
		{ "[::ffff:10.0.0.1]:25", ROUTE_SINGLE, NULL },
		{ "[10.0.0.1]:25", ROUTE_SINGLE, NULL }, /* Postfix' habit */
		{ "[mail.example.com]:25", ROUTE_SINGLE,
		  "\"[mail.example.com]:25\": no IP address in the brackets, like [2001:db8::1]:25" },
		{ "localhost:65535,weight=1000,max=1000000", ROUTE_SINGLE, NULL },
		{ "mx_1.example.com.:25,max=0,weight=1", ROUTE_SINGLE, NULL },
		{ "3com.example:25", ROUTE_SINGLE, NULL },
		{ LABEL "." LABEL "." LABEL "." LABEL ":25", ROUTE_SINGLE,
		  "\"" LABEL ".abcdefghijklmnop...\": no host, an IPv4 address, an IPv6 address in "
		  "brackets or a host name is allowed" },
		{ LABEL "." LABEL "." LABEL ":65535", ROUTE_SINGLE, NULL },
		{ "a:25 b:25", ROUTE_CLUSTER, NULL },
		{ "a:25 a:26", ROUTE_BACKUP, NULL },
		{ "a:25", ROUTE_CLUSTER, NULL },
		{ "10.0.0.1", ROUTE_SINGLE, "\"10.0.0.1\": no port, HOST:PORT is needed" },
		{ "[::1]", ROUTE_SINGLE, "\"[::1]\": no port, HOST:PORT is needed" },
		{ "[2001:db8::1]", ROUTE_SINGLE,
		  "\"[2001:db8::1]\": no port, HOST:PORT is needed" },
		{ "[::1]25", ROUTE_SINGLE, "\"[::1]25\": no port, HOST:PORT is needed" },
		{ "::1:25", ROUTE_SINGLE,
		  "\"::1:25\": an IPv6 address needs brackets, like [2001:db8::1]:25" },
		{ "[::1:25", ROUTE_SINGLE,
		  "\"[::1:25\": bracket that is not closed, [ADDRESS]:PORT is needed" },
		{ "[]:25", ROUTE_SINGLE,
		  "\"[]:25\": bracket that is not closed, [ADDRESS]:PORT is needed" },
		{ "[10.0.0.256]:25", ROUTE_SINGLE,
		  "\"[10.0.0.256]:25\": no IP address in the brackets, like [2001:db8::1]:25" },
		{ "[fe80::1%lo]:25", ROUTE_SINGLE,
		  "\"[fe80::1%lo]:25\": no IP address in the brackets, like [2001:db8::1]:25" },
		{ ":25", ROUTE_SINGLE, "\":25\": no host, HOST:PORT is needed" },
		{ "a:", ROUTE_SINGLE, "\"a:\": wrong port, 1 to 65535 is allowed" },
		{ "a:0", ROUTE_SINGLE, "\"a:0\": wrong port, 1 to 65535 is allowed" },
		{ "a:65536", ROUTE_SINGLE, "\"a:65536\": wrong port, 1 to 65535 is allowed" },
		{ "a:4294967321", ROUTE_SINGLE,
		  "\"a:4294967321\": wrong port, 1 to 65535 is allowed" },
		{ "a:+25", ROUTE_SINGLE, "\"a:+25\": wrong port, 1 to 65535 is allowed" },
		{ "a:smtp", ROUTE_SINGLE, "\"a:smtp\": wrong port, 1 to 65535 is allowed" },
		{ "0.0.0.0:25", ROUTE_SINGLE,
		  "\"0.0.0.0:25\": the address of no host, an IPv4 address, an IPv6 address in "
		  "brackets or a host name is allowed" },
		{ "10.0.0.256:25", ROUTE_SINGLE,
		  "\"10.0.0.256:25\": no host, an IPv4 address, an IPv6 address in brackets or a host "
		  "name is allowed" },
		{ "-a:25", ROUTE_SINGLE,
		  "\"-a:25\": no host, an IPv4 address, an IPv6 address in brackets or a host name is "
		  "allowed" },
		{ "a..b:25", ROUTE_SINGLE,
		  "\"a..b:25\": no host, an IPv4 address, an IPv6 address in brackets or a host name "
		  "is allowed" },
		{ "a\x1b[m:25", ROUTE_SINGLE,
		  "\"a?[m:25\": no host, an IPv4 address, an IPv6 address in brackets or a host name is "
		  "allowed" },
		{ "a:25,", ROUTE_SINGLE,
		  "\"a:25,\": destinations are separated by blanks; behind a comma options like "
		  "weight=N and max=N are allowed" },
		{ "a:25,b:25", ROUTE_CLUSTER,
		  "\"a:25,b:25\": destinations are separated by blanks; behind a comma options like "
		  "weight=N and max=N are allowed" },
		{ "a:25;", ROUTE_CLUSTER, "\"a:25;\": destinations are separated by blanks" },
		{ "smtp://a:25", ROUTE_SINGLE, "\"smtp://a:25\": no URL: write HOST:PORT" },
		{ "smtp:[a]:25", ROUTE_SINGLE,
		  "\"smtp:[a]:25\": no transport in front: write HOST:PORT" },
		{ "inet:a:25", ROUTE_SINGLE,
		  "\"inet:a:25\": no transport in front: write HOST:PORT" },
		{ "smtp:25", ROUTE_SINGLE, NULL }, /* a host may be called so */
		{ "a:25,wight=1", ROUTE_SINGLE,
		  "\"a:25,wight=1\": unknown option, allowed are " OPTIONS },
		{ "a:25,max", ROUTE_SINGLE, "\"a:25,max\": unknown option, allowed are " OPTIONS },
		{ "a:25,weight=0", ROUTE_SINGLE,
		  "\"a:25,weight=0\": wrong weight, 1 to 1000 is allowed" },
		{ "a:25,weight=1001", ROUTE_SINGLE,
		  "\"a:25,weight=1001\": wrong weight, 1 to 1000 is allowed" },
		{ "a:25,weight=", ROUTE_SINGLE,
		  "\"a:25,weight=\": wrong weight, 1 to 1000 is allowed" },
		{ "a:25,max=1000001", ROUTE_SINGLE,
		  "\"a:25,max=1000001\": wrong max, 0 to 1000000 is allowed" },
		{ "a:25,max=-1", ROUTE_SINGLE,
		  "\"a:25,max=-1\": wrong max, 0 to 1000000 is allowed" },
		{ "a:25,max=1,max=2", ROUTE_SINGLE,
		  "\"a:25,max=1,max=2\": max twice, once is allowed" },
		{ "a:25, max=2", ROUTE_SINGLE,
		  "a blank before an option, allowed is a comma alone: write a:25,max=2" },
		{ "a:25 identity=xclient", ROUTE_SINGLE,
		  "a blank before an option, allowed is a comma alone: write a:25,identity=xclient" },
		{ "a:25 ,max=2", ROUTE_SINGLE,
		  "a blank before an option, allowed is a comma alone: write a:25,max=2" },
		{ "a:465\twrap,\ttls=verify", ROUTE_SINGLE,
		  "a blank before an option, allowed is a comma alone: write a:465,wrap,tls=verify" },
		{ "identity=xclient,weight=2", ROUTE_SINGLE,
		  "\"identity=xclient,weight=2\": an option stands behind HOST:PORT and a comma" },
		{ "", ROUTE_SINGLE, "no destination, at least one HOST:PORT is needed" },
		{ " \t", ROUTE_CLUSTER, "no destination, at least one HOST:PORT is needed" },
		{ "a:25 b:25", ROUTE_SINGLE,
		  "2 destinations, one is allowed with COOPERATION_SINGLE (more with "
		  "COOPERATION_CLUSTER or COOPERATION_BACKUP)" },
		{ "a:25 A.:025", ROUTE_CLUSTER,
		  "\"A.:025\": stands there twice, each destination is named once" },
		{ "10.0.0.1:25 [::ffff:10.0.0.1]:25", ROUTE_BACKUP,
		  "\"[::ffff:10.0.0.1]:25\": stands there twice, each destination is named once" },
		{ "[::1]:25 [0:0::1]:25", ROUTE_BACKUP,
		  "\"[0:0::1]:25\": stands there twice, each destination is named once" },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_secure_faults(void **state)
{
	static const struct row rows[] = {
		{ "a:25,tls=may,weight=2 b:25,tls=require c:25,tls=verify,name=mx.example "
		  "10.0.0.1:25,tls=verify",
		  ROUTE_CLUSTER, NULL },
		{ "a:465,wrap b:465,tls=verify,wrap", ROUTE_CLUSTER, NULL },
		{ "a:25,pin=" PIN ",pin=" PIN " b:25,tls=pin,pin=" PIN, ROUTE_CLUSTER, NULL },
		{ "unix:/run/a,tls=verify,name=mx.example", ROUTE_SINGLE, NULL },
		{ "unix:/run/a,tls=verify", ROUTE_SINGLE,
		  "\"unix:/run/a,tls=verify\": tls=verify of a Unix socket needs name=" },
		{ "a:25,tls=yes", ROUTE_SINGLE,
		  "\"a:25,tls=yes\": wrong tls, none, may, require, verify or pin is allowed" },
		{ "a:25,tls=pin", ROUTE_SINGLE,
		  "\"a:25,tls=pin\": tls=pin needs pin= with the SHA-256 of a public key" },
		{ "a:25,pin=12", ROUTE_SINGLE,
		  "\"a:25,pin=12\": wrong pin, 64 hexadecimal digits are needed: SHA-256 of the "
		  "public key, as in TLSA 3 1 1" },
		{ "a:25,name=mx.example", ROUTE_SINGLE,
		  "\"a:25,name=mx.example\": name= says nothing without tls=" },
		{ "a:25,tls=require,name=10.0.0.1", ROUTE_SINGLE,
		  "\"a:25,tls=require,name=10.0.0.1\": wrong name, a host name is allowed, without a "
		  "dot at its end" },
		{ "a:465,wrap,tls=may", ROUTE_SINGLE,
		  "\"a:465,wrap,tls=may\": wrap and tls=may, TLS from the first octet on is no "
		  "choice" },
		{ "a:25,tls=may,tls=may", ROUTE_SINGLE,
		  "\"a:25,tls=may,tls=may\": tls twice, once is allowed" },
		{ "a:25,wrapped", ROUTE_SINGLE,
		  "\"a:25,wrapped\": unknown option, allowed are " OPTIONS },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_unix_faults(void **state)
{
	static const struct row rows[] = {
		{ "unix:/run/smtp", ROUTE_SINGLE, NULL },
		{ "unix:/var/spool/postfix/public/caronte,max=20 mx.example:25", ROUTE_BACKUP,
		  NULL },
		{ "unix:/a unix:/b,weight=3 127.0.0.1:25", ROUTE_CLUSTER, NULL },
		{ "unix:/" PATH_106, ROUTE_SINGLE, NULL },
		{ "unix:/" PATH_106 "x", ROUTE_SINGLE,
		  "\"unix:/" QUOTED_74 "...\": path too long, 107 octets are allowed (unix(7))" },
		{ "unix:", ROUTE_SINGLE, "\"unix:\": no path from / on, unix:/PATH is needed" },
		{ "unix:run/smtp", ROUTE_SINGLE,
		  "\"unix:run/smtp\": no path from / on, unix:/PATH is needed" },
		{ "unix:@smtp", ROUTE_SINGLE,
		  "\"unix:@smtp\": no path from / on, unix:/PATH is needed" },
		{ "unix:/run/smtp/", ROUTE_SINGLE,
		  "\"unix:/run/smtp/\": the path of no socket: nothing stands after its last /" },
		{ "unix:/run/\"x\"", ROUTE_SINGLE,
		  "\"unix:/run/\"x\"\": a path may hold visible ASCII characters but a comma, a "
		  "quotation mark and a backslash" },
		{ "unix:/run/\xc3\xa9", ROUTE_SINGLE,
		  "\"unix:/run/?"
		  "?\": a path may hold visible ASCII characters but a comma, a "
		  "quotation mark and a backslash" },
		{ "unix:/run/a,b", ROUTE_SINGLE,
		  "\"unix:/run/a,b\": the path of a Unix socket cannot hold a comma; behind one "
		  "options like weight=N and max=N are allowed" },
		{ "unix:/run/a,wight=3", ROUTE_SINGLE,
		  "\"unix:/run/a,wight=3\": unknown option, allowed are " OPTIONS },
		{ "unix:/run/a b", ROUTE_CLUSTER,
		  "\"b\": no port, HOST:PORT is needed; the path of a Unix socket cannot hold a "
		  "blank" },
		{ "unix:/run/a mx.example", ROUTE_CLUSTER,
		  "\"mx.example\": no port, HOST:PORT is needed; the path of a Unix socket cannot "
		  "hold a blank" },
		{ "unix:/run/a unix:/run/a", ROUTE_CLUSTER,
		  "\"unix:/run/a\": stands there twice, each destination is named once" },
		{ "/run/smtp", ROUTE_SINGLE, "\"/run/smtp\": a Unix socket is written unix:/PATH" },
		{ "unix:///run/smtp", ROUTE_SINGLE, NULL },
		{ "UNIX:/run/smtp", ROUTE_SINGLE,
		  "\"UNIX:/run/smtp\": a Unix socket is written unix:/PATH" },
		{ "unix@/run/smtp", ROUTE_SINGLE,
		  "\"unix@/run/smtp\": a Unix socket is written unix:/PATH" },
		{ "lmtp:unix:/run/smtp", ROUTE_SINGLE,
		  "\"lmtp:unix:/run/smtp\": no transport in front: write HOST:PORT" },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_names(void **state)
{
	static const struct {
		const char *list, *name;
	} rows[] = {
		{ "Mx.Example.COM.:025", "Mx.Example.COM.:025" },
		{ "192.0.2.1:025,max=3", "192.0.2.1:25" },
		{ "[192.0.2.1]:025,max=3", "192.0.2.1:25" },
		{ "[2001:DB8:0::1]:25", "[2001:db8::1]:25" },
		{ "[::FFFF:192.0.2.1]:26", "192.0.2.1:26" },
		{ "[::FFFF:c000:0201]:26", "192.0.2.1:26" },
	};
	static const char *const same[] = { "mx.example.com:25",     "192.0.2.1:25",
					    "[192.0.2.1]:25",	     "[2001:db8::1]:25",
					    "[::ffff:192.0.2.1]:26", "192.0.2.1:26" };
	static const char *const none[] = {
		"",
		":",
		":25",
		"192.0.2.1",
		"192.0.2.1:25 ",
		" 192.0.2.1:25",
		"192.0.2.1:26",
		"192.0.2.1:25,max=3",
		"[192.0.2.2]:25",
		"mx.example.com:0",
		"2001:db8::1:25",
	};
	struct reported r = { 0 };
	struct route route;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(route_parse(&route, rows[i].list, ROUTE_SINGLE, ROUTE_LEAST_SESSIONS,
					report, &r));
		assert_string_equal(route.destination[0].name, rows[i].name);
		assert_int_equal(route_find(&route, rows[i].name), 0);
		assert_int_equal(route_find(&route, same[i]), 0);
	}
	assert_true(route_parse(&route, "192.0.2.1:25 [2001:DB8::1]:25 mx.example.com:25",
				ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS, report, &r));
	assert_int_equal(route_find(&route, "[2001:DB8:0:0::1]:25"), 1);
	assert_int_equal(route_find(&route, "MX.example.com:25"), 2);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (route_find(&route, none[i]) >= 0)
			fail_msg("\"%s\" is one", none[i]);
}

/* A Unix socket is an address that is never resolved; its path stands in its name alone. */
static void test_unix_sockets(void **state)
{
	struct reported r = { 0 };
	struct route route;
	struct addr a, b;

	(void)state;
	assert_true(route_parse(&route, "unix:/run/a,weight=2,max=7 unix:/run/A 127.0.0.1:25",
				ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS, report, &r));
	assert_int_equal(route.count, 3);
	assert_string_equal(route.destination[0].name, "unix:/run/a");
	assert_int_equal(route.destination[0].weight, 2);
	assert_int_equal(route.destination[0].max, 7);
	assert_string_equal(route_path(route.destination[1].name), "/run/A");
	assert_null(route_path(route.destination[2].name));
	assert_null(route_path("mx.example:25"));
	assert_int_equal(route_find(&route, "unix:/run/a"), 0);
	assert_int_equal(route_find(&route, "unix:/run/A"), 1);
	assert_int_equal(route_find(&route, "unix:/run/b"), -1);
	assert_int_equal(route_find(&route, "unix:run/a"), -1);
	assert_int_equal(route_find(&route, "/run/a"), -1);
	assert_int_equal(route_port("unix:/run/x:25"), 0);
	assert_true(route_literal("unix:/run/x:25", &a) && route_literal("unix:/y", &b));
	assert_int_equal(a.family, ADDR_UNIX);
	assert_true(addr_same_ip(&a, &b) && a.port == b.port);
}

static void test_all_faults_in_one_run(void **state)
{
	struct reported r = { 0 };
	struct route route;

	(void)state;
	assert_false(route_parse(&route, "a b:0,x=1,weight=0 c:25", ROUTE_SINGLE,
				 ROUTE_LEAST_SESSIONS, report, &r));
	assert_int_equal(r.n, 5);
	assert_non_null(strstr(r.what[0], "no port"));
	assert_non_null(strstr(r.what[1], "wrong port"));
	assert_non_null(strstr(r.what[2], "unknown option"));
	assert_non_null(strstr(r.what[3], "wrong weight"));
	assert_non_null(strstr(r.what[4], "3 destinations"));
}

static void test_most_destinations(void **state)
{
	char list[(DESTINATIONS_MAX + 1) * 16], longest[2 * DESTINATION_NAME_MAX];
	struct reported r = { 0 };
	struct route route;
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < DESTINATIONS_MAX; i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "h%u:%u ", i, i + 1);
	assert_true(route_parse(&route, list, ROUTE_CLUSTER, ROUTE_SOURCE, report, &r));
	assert_int_equal(route.count, DESTINATIONS_MAX);
	assert_int_equal(route.cooperation, ROUTE_CLUSTER);
	assert_int_equal(route.balance, ROUTE_SOURCE);
	assert_string_equal(route.destination[63].name, "h63:64");
	assert_int_equal(route.destination[63].weight, 1);
	assert_int_equal(route.destination[63].max, 0);
	strcat(list, "more:25");
	assert_false(route_parse(&route, list, ROUTE_CLUSTER, ROUTE_SOURCE, report, &r));
	assert_int_equal(r.n, 1);
	assert_string_equal(r.what[0], "65 destinations, 64 are allowed");
	for (size_t length = 1; length < sizeof(longest); length++) {
		memset(longest, 'a', length);
		longest[length] = '\0';
		r.n = 0;
		assert_false(route_parse(&route, longest, ROUTE_SINGLE, ROUTE_SOURCE, report, &r));
		assert_int_equal(r.n, 1);
	}
}

/* What the options mean. */
static void test_secure(void **state)
{
	static const char list[] = "a:25,pin=" PIN ",pin=FF" PIN16 PIN16 PIN16 "0123456789abcd "
				   "b:465,wrap c:25,tls=verify,name=MX.example d:25";
	const struct route_secure *s;
	struct route r;

	(void)state;
	assert_true(route_parse(&r, list, ROUTE_CLUSTER, ROUTE_ROUND_ROBIN, NULL, NULL));
	s = &r.destination[0].secure;
	assert_int_equal(s->tls, ROUTE_TLS_PIN);
	assert_int_equal(s->pins, 2);
	assert_int_equal(s->pin[0][1], 0x23);
	assert_int_equal(s->pin[1][0], 0xff);
	assert_int_equal(s->pin[1][ROUTE_PIN - 1], 0xcd);
	assert_true(r.destination[1].secure.wrap);
	assert_int_equal(r.destination[1].secure.tls, ROUTE_TLS_REQUIRE);
	assert_int_equal(r.destination[2].secure.tls, ROUTE_TLS_VERIFY);
	assert_string_equal(r.destination[2].secure.name, "MX.example");
	assert_int_equal(r.destination[3].secure.tls, ROUTE_TLS_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_faults),
		cmocka_unit_test(test_secure_faults),
		cmocka_unit_test(test_unix_faults),
		cmocka_unit_test(test_secure),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_unix_sockets),
		cmocka_unit_test(test_all_faults_in_one_run),
		cmocka_unit_test(test_most_destinations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
