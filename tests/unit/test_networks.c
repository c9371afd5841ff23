/* SPDX-License-Identifier: ISC */
/*
 * networks: what an entry may be, where a fault is, and longest-prefix match against a plain search
 * through a list, at random and at the edges of every network.
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

struct collected {
	struct policy_faults faults;
	unsigned n;
	unsigned line[16];
	char what[16][120];
};

static void collect(struct policy_faults *f, unsigned line, const char *what)
{
	struct collected *c = (void *)f;

	assert_true(c->n < 16);
	c->line[c->n] = line;
	snprintf(c->what[c->n++], sizeof(c->what[0]), "%s", what);
}

/* An image of TEXTS in memory of just the room asked for; NULL: faults. */
static struct policy_networks *build(const struct span *texts, struct policy_faults **faults,
				     size_t n, size_t *used)
{
	size_t room = policy_networks_room(texts, n);
	void *mem = aligned_alloc(16, (room + 15) & ~(size_t)15);

	assert_non_null(mem);
	memset(mem, 0, room);
	size_t got = policy_networks_build(mem, room, texts, faults, n);

	assert_true(got <= room);
	if (used)
		*used = got;
	if (got)
		return mem;
	free(mem);
	return NULL;
}

static struct policy_networks *build_one(const char *text)
{
	struct span s = feed_guard(span_str(text));

	return build(&s, NULL, 1, NULL);
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, text), 0);
	return a;
}

static bool matches(const struct policy_networks *t, const char *text)
{
	struct addr a = ip(text);

	return policy_networks_match(t, &a);
}

static void test_entries(void **state)
{
	static const struct {
		const char *entry;
		const char *fault; /* a part of it, NULL: good */
	} rows[] = {
		{ "10.0.0.0/8", NULL },
		{ "0.0.0.0/0", NULL },
		{ "10.0.0.1", NULL },
		{ "10.0.0.1/32", NULL },
		{ "255.255.255.255", NULL },
		{ "2001:db8::/32", NULL },
		{ "::/0", NULL },
		{ "::1", NULL },
		{ "2001:db8::1/128", NULL },
		{ "2001:DB8:0012::1.2.3.4", NULL },
		{ "::ffff:10.0.0.0/104", NULL },
		{ "::ffff:0:0/96", NULL },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128", NULL },
		{ "10.0.0.1/8", "not zero, write the network's own address: 10.0.0.0/8" },
		{ "128.0.0.0/0", "address: 0.0.0.0/0" },
		{ "2001:db8::1/127", "address: 2001:db8::/127" },
		{ "::ffff:10.0.0.1/104", "address: 10.0.0.0/8" },
		{ "::ffff:10.0.0.0/95", "mapped" },
		{ "::ffff:10.0.0.0/129", "0 to 128" },
		{ "10.0.0.0/33", "0 to 32" },
		{ "10.0.0.0/", "0 to 32" },
		{ "10.0.0.0/-1", "0 to 32" },
		{ "10.0.0.0/+8", "0 to 32" },
		{ "10.0.0.0/08", "0 to 32" },
		{ "10.0.0.0/8/8", "0 to 32" },
		{ "10.0.0.0/8 ", "blank" },
		{ "10.0.0.0/4294967304", "0 to 32" },
		{ "10.0.0.0/255.0.0.0", "0 to 32" },
		{ "::/129", "0 to 128" },
		{ "010.0.0.0/8", "leading zero" },
		{ "10.00.0.0", "leading zero" },
		{ "10.0.0.01", "leading zero" },
		{ "::ffff:010.0.0.1", "leading zero" },
		{ "fe80::1%eth0", "zone" },
		{ "fe80::%1/64", "zone" },
		{ "10.0.0", "no IP address" },
		{ "10", "no IP address" },
		{ "10.0.0.256", "no IP address" },
		{ "0x0a.0.0.1", "no IP address" },
		{ "[::1]", "no IP address" },
		{ "10.0.0.0:25", "no IP address" },
		{ "example.com", "no IP address" },
		{ "/8", "no IP address" },
		{ "", "no IP address" },
		{ "10.0.0.0/8 # office", "one address or network a line" },
		{ "10.0.0.0/8\t10.9.0.1", "one address or network a line" },
		{ "1:2:3:4:5:6:7:8:9", "no IP address" },
		{ "2001:db8::00000000000000000000000000000000000000000000000000000000000000001",
		  "no IP address" },
	};
	char why[POLICY_NETWORK_WHY];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *got = policy_network_check(feed_guard(span_str(rows[i].entry)), why);

		if (!rows[i].fault && got)
			fail_msg("\"%s\": %s", rows[i].entry, got);
		if (rows[i].fault && (!got || !strstr(got, rows[i].fault)))
			fail_msg("\"%s\": %s", rows[i].entry, got ? got : "taken");
	}
	assert_non_null(policy_network_check(feed_guard(SPAN("10.0.0.1\0")), why));
	assert_non_null(policy_network_check(feed_guard(SPAN("10.0.0.1\0.2")), why));
}

static void test_lines(void **state)
{
	struct policy_networks *t = build_one("# office\r\n"
					      "\n"
					      "  \t \r\n"
					      " 10.0.0.0/8\t\r\n"
					      "#192.0.2.0/24\n"
					      "2001:db8::/32");

	(void)state;
	assert_non_null(t);
	assert_true(matches(t, "10.255.255.255"));
	assert_false(matches(t, "11.0.0.0"));
	assert_false(matches(t, "9.255.255.255"));
	assert_false(matches(t, "192.0.2.1"));
	assert_true(matches(t, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"));
	assert_false(matches(t, "2001:db9::"));
	free(t);
}

static void test_faults_have_lines(void **state)
{
	struct collected a = { .faults = { collect } }, b = { .faults = { collect } };
	struct policy_faults *faults[] = { &a.faults, NULL, &b.faults };
	struct span texts[] = { SPAN("10.0.0.0/8\n# x\n\n10.0.0.1/8\r\nx\n"), SPAN("10.1.0.0/16\n"),
				SPAN("\xef\xbb\xbf"
				     "10.0.0.0/8\n #10.0.0.0/8\n") };

	(void)state;
	assert_null(build(texts, faults, 3, NULL));
	assert_int_equal(a.n, 2);
	assert_int_equal(a.line[0], 4);
	assert_non_null(strstr(a.what[0], "not zero"));
	assert_int_equal(a.line[1], 5);
	assert_int_equal(b.n, 2);
	assert_int_equal(b.line[0], 1);
	assert_non_null(strstr(b.what[0], "byte order mark"));
	assert_int_equal(b.line[1], 2); /* no comment: not at the start of the line */
	/* Faults that nobody wants to hear of are faults all the same. */
	assert_null(build(texts, NULL, 1, NULL));
}

static void test_empty(void **state)
{
	struct span nothing = { NULL, 0 };
	struct policy_networks *t = build(&nothing, NULL, 1, NULL);
	struct addr none = { 0 };
	char text[ADDR_TEXT_MAX];

	(void)state;
	assert_non_null(t);
	assert_false(matches(t, "0.0.0.0"));
	assert_false(matches(t, "255.255.255.255"));
	assert_false(matches(t, "::"));
	assert_false(policy_networks_explain(t, &none, text, sizeof(text)));
	free(t);
	t = build(NULL, NULL, 0, NULL);
	assert_non_null(t);
	assert_false(matches(t, "::1"));
	free(t);
	t = build_one("0.0.0.0/0\n::/0");
	assert_false(policy_networks_match(t, &none));
	assert_true(matches(t, "255.255.255.255"));
	assert_true(matches(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
	free(t);
	none = ip("10.0.0.1");
	assert_false(policy_networks_match(NULL, &none));
}

static void test_everybody(void **state)
{
	static const struct {
		const char *text;
		bool everybody;
	} rows[] = {
		{ "", false },
		{ "10.0.0.0/8\n2001:db8::/32", false },
		{ "0.0.0.0/0", true },
		{ "::/0\n10.0.0.0/8", true },
		{ "0.0.0.0/0\n10.0.0.0/8\n255.255.255.255", true },
		{ "0.0.0.0/1\n128.0.0.0/1", true },
		{ "::ffff:0:0/96", true },
		{ "0.0.0.0/1\n128.0.0.0/2\n192.0.0.0/3\n224.0.0.0/4", false },
		{ "8000::/1", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy_networks *t = build_one(rows[i].text);

		assert_int_equal(policy_networks_everybody(t), rows[i].everybody);
		free(t);
	}
	assert_false(policy_networks_everybody(NULL));
}

static void test_families_are_apart(void **state)
{
	struct policy_networks *t = build_one("::/0");

	(void)state;
	assert_false(matches(t, "10.0.0.1"));
	assert_false(matches(t, "::ffff:10.0.0.1")); /* a mapped address is IPv4 everywhere */
	free(t);
	t = build_one("::ffff:10.0.0.0/104");
	assert_true(matches(t, "10.1.2.3"));
	assert_true(matches(t, "::ffff:10.1.2.3"));
	assert_false(matches(t, "11.0.0.0"));
	assert_false(matches(t, "a00::"));
	free(t);
}

static void explains(const struct policy_networks *t, const char *address, const char *prefix)
{
	char text[ADDR_TEXT_MAX] = "";
	struct addr a = ip(address);

	assert_int_equal(policy_networks_explain(t, &a, text, sizeof(text)), prefix != NULL);
	assert_string_equal(text, prefix ? prefix : "");
}

static void test_explain(void **state)
{
	struct policy_networks *t = build_one("10.0.0.0/8\n10.1.0.0/16\n10.1.2.0/24\n10.1.2.3\n"
					      "10.2.0.0/16\n10.3.0.0/16\n10.1.0.0/16\n"
					      "2001:db8::/32\n2001:db8:0:1::/64\n");

	(void)state;
	explains(t, "10.0.0.0", "10.0.0.0/8");
	explains(t, "10.1.0.0", "10.1.0.0/16");
	explains(t, "10.1.2.2", "10.1.2.0/24");
	explains(t, "10.1.2.3", "10.1.2.3/32");
	explains(t, "10.1.2.4", "10.1.2.0/24");
	explains(t, "10.1.3.0", "10.1.0.0/16");
	explains(t, "10.2.9.9", "10.2.0.0/16"); /* neighbours of one length are one range */
	explains(t, "10.3.9.9", "10.3.0.0/16");
	explains(t, "10.4.0.0", "10.0.0.0/8");
	explains(t, "11.0.0.0", NULL);
	explains(t, "2001:db8::1", "2001:db8::/32");
	explains(t, "2001:db8:0:1::ff", "2001:db8:0:1::/64");
	explains(t, "2001:db8:0:2::", "2001:db8::/32");
	free(t);
}

static void test_deepest_nesting(void **state)
{
	static char text[2 * 129 * 50];
	size_t n = 0;

	(void)state;
	/* Every length of one address, all ones, so that no host part is left; and all of it twice.
	 */
	for (unsigned i = 0; i < 2 * 129; i++) {
		unsigned length = i % 129;
		struct addr a = { .family = 6 };
		char net[ADDR_TEXT_MAX];

		for (unsigned bit = 0; bit < length; bit++)
			a.ip[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
		addr_format_ip(&a, net);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s/%u\n", net, length);
	}
	struct policy_networks *t = build_one(text);

	explains(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128");
	explains(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127");
	explains(t, "ffff:ffff:ffff:ffff:7fff::", "ffff:ffff:ffff:ffff::/64");
	explains(t, "7fff::", "::/0");
	free(t);
}

/* ---- against a plain search ---- */

#define NETS 300

struct net {
	struct addr a;
	unsigned length;
};

static unsigned bit_of(const struct addr *a, unsigned i)
{
	return a->ip[i / 8] >> (7 - i % 8) & 1;
}

static int plain_search(const struct net *nets, size_t n, const struct addr *a)
{
	int best = -1;

	for (size_t i = 0; i < n; i++) {
		unsigned b = 0;

		if (nets[i].a.family != a->family)
			continue;
		while (b < nets[i].length && bit_of(&nets[i].a, b) == bit_of(a, b))
			b++;
		if (b == nets[i].length && (int)b > best)
			best = (int)b;
	}
	return best;
}

static void agrees(const struct policy_networks *t, const struct net *nets, const struct addr *a)
{
	char got[ADDR_TEXT_MAX] = "", want[ADDR_TEXT_MAX + 16] = "", text[ADDR_TEXT_MAX];
	int length = plain_search(nets, NETS, a);

	if (length >= 0) {
		struct addr net = *a;

		for (unsigned b = (unsigned)length; b < 128; b++)
			net.ip[b / 8] &= (uint8_t) ~(0x80 >> b % 8);
		addr_format_ip(&net, text);
		snprintf(want, sizeof(want), "%s/%d", text, length);
	}
	assert_int_equal(policy_networks_match(t, a), length >= 0);
	assert_int_equal(policy_networks_explain(t, a, got, sizeof(got)), length >= 0);
	assert_string_equal(got, want);
}

/* Adds STEP (1 or -1) to the address as a number. */
static void step_address(struct addr *a, int step)
{
	unsigned bits = a->family == 4 ? 4 : 16;

	for (unsigned i = bits; i-- > 0;) {
		a->ip[i] = (uint8_t)(a->ip[i] + step);
		if (a->ip[i] != (step > 0 ? 0 : 0xff))
			break;
	}
}

/* Few distinct octets, so that networks overlap and addresses hit. */
static struct addr random_address(void)
{
	static const uint8_t octets[] = { 0, 1, 0x7f, 0x80, 0xff };
	struct addr a = { .family = random() % 2 ? 4 : 6 };

	for (unsigned i = 0; i < (a.family == 4 ? 4u : 16u); i++)
		a.ip[i] = octets[random() % 5];
	return a;
}

static void random_round(void)
{
	static char text[NETS * 64];
	struct net nets[NETS];
	size_t n = 0, used;

	for (size_t i = 0; i < NETS; i++) {
		char net[ADDR_TEXT_MAX];
		struct addr a = random_address();
		unsigned length = (unsigned)random() % (a.family == 4 ? 33 : 129);

		for (unsigned b = length; b < 128; b++)
			a.ip[b / 8] &= (uint8_t) ~(0x80 >> b % 8);
		addr_format_ip(&a, net);
		assert_int_equal(ip(net).family,
				 a.family); /* no mapped one: twelve octets fell well */
		nets[i] = (struct net){ a, length };
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s/%u\n", net, length);
	}
	struct span s = span_of(text, n);
	struct policy_networks *t = build(&s, NULL, 1, &used);

	assert_non_null(t);
	/* No pointers inside: the image works wherever it lies. */
	struct policy_networks *moved = aligned_alloc(16, (used + 15) & ~(size_t)15);

	memcpy(moved, t, used);
	memset(t, 0xa5, used);
	free(t);
	for (size_t i = 0; i < NETS; i++) {
		struct addr a = nets[i].a;

		agrees(moved, nets, &a);
		step_address(&a, -1);
		agrees(moved, nets, &a);
		a = nets[i].a;
		for (unsigned b = nets[i].length; b < (a.family == 4 ? 32u : 128u); b++)
			a.ip[b / 8] |= (uint8_t)(0x80 >> b % 8);
		agrees(moved, nets, &a);
		step_address(&a, 1);
		agrees(moved, nets, &a);
		a = random_address();
		agrees(moved, nets, &a);
	}
	free(moved);
}

static void test_random(void **state)
{
	(void)state;
	srandom(7);
	for (unsigned i = 0; i < 40; i++)
		random_round();
}

/* Of the processor's time, which is ours alone. */
static double used_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void test_many(void **state)
{
	enum { MANY = 100000, LOOKUPS = 1000000 };
	size_t cap = (size_t)MANY * 64, n = 0, used, hits = 0;
	char *text = malloc(cap);

	(void)state;
	assert_non_null(text);
	srandom(1);
	for (unsigned i = 0; i < MANY; i++) {
		unsigned x = (unsigned)random();

		if (i % 4)
			n += (size_t)snprintf(text + n, cap - n, "%u.%u.%u.0/24\n", x & 0xff,
					      x >> 8 & 0xff, x >> 16 & 0xff);
		else
			n += (size_t)snprintf(text + n, cap - n, "2001:%x:%x::/48\n", x & 0xffff,
					      x >> 16);
	}
	struct span s = span_of(text, n);
	double begin = used_s();
	struct policy_networks *t = build(&s, NULL, 1, &used);
	double built = used_s();

	assert_non_null(t);
	for (unsigned i = 0; i < LOOKUPS; i++) {
		struct addr a = { .family = 4 };
		uint32_t x = (uint32_t)random();

		memcpy(a.ip, &x, 4);
		hits += policy_networks_match(t, &a);
	}
	double end = used_s();

	assert_true(hits > 0 && hits < LOOKUPS);
	print_message("%d networks: %.1f ms, %zu octets, %.0f ns a lookup\n", MANY,
		      (built - begin) * 1e3, used, (end - built) * 1e9 / LOOKUPS);
	assert_true(built - begin < 10);
	assert_true(end - built < 20);
	free(t);
	free(text);
}

static void meet(const char *one, const char *two, bool want)
{
	struct policy_networks *a = build_one(one), *b = build_one(two);

	assert_int_equal(policy_networks_meet(a, b), want);
	assert_int_equal(policy_networks_meet(b, a), want);
	assert_int_equal(policy_networks_meet(a, a), *one != '\0');
	free(a);
	free(b);
}

static void test_meet(void **state)
{
	(void)state;
	meet("10.0.0.0/8", "10.1.2.3", true);
	meet("10.0.0.0/8", "9.255.255.255\n11.0.0.0", false);
	meet("10.0.0.0/8\n10.0.0.0/9", "10.255.255.255", true);
	meet("0.0.0.0/0", "255.255.255.255", true);
	meet("0.0.0.0/0", "::/0", false);
	meet("::/0", "ffff::1", true);
	meet("2001:db8::/32", "2001:db8::/48\n10.0.0.1", true);
	meet("10.0.0.0/9", "10.128.0.0/9", false);
	meet("1.1.1.1\n3.3.3.3\n5.5.5.5", "2.2.2.2\n4.4.4.4\n6.6.6.6", false);
	meet("1.1.1.1\n3.3.3.3\n5.5.5.5", "2.2.2.2\n4.4.4.4\n5.5.5.5", true);
	assert_false(policy_networks_meet(NULL, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_faults_have_lines),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_everybody),
		cmocka_unit_test(test_families_are_apart),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_deepest_nesting),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
