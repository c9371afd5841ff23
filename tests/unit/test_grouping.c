/* SPDX-License-Identifier: ISC */
/* Which certificates go together. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "certs.h"
#include "tls/grouping.h"

struct row {
	const char *label, *names;
	bool rsa;
	int want; /* a group, or -errno */
	const char *other;
};

static void put(struct grouping *g, const struct row *row)
{
	struct tls_pair p = cert_make(&(struct cert_wish){ .names = row->names, .rsa = row->rsa });
	const char *other = NULL;
	unsigned group = 99;
	int got = grouping_find(g, &p, row->label, &group, &other);

	assert_int_equal(got ? got : (int)group, row->want);
	if (row->other)
		assert_string_equal(other, row->other);
	tls_pair_free(&p);
}

static void same_names(void **state)
{
	static const struct row rows[] = {
		{ "one", "DNS:a.test,DNS:b.test", false, 0, NULL },
		{ "two", "DNS:a.test", false, 1, NULL },
		{ "three", "DNS:b.test,DNS:a.test", true, 0, NULL }, /* in whatever order */
		{ "four", "DNS:A.test,DNS:b.test,DNS:a.test", true, -ENOTUNIQ, "three" },
		{ "five", "DNS:a.test,DNS:b.test", false, -ENOTUNIQ, "one" },
		{ "six", "DNS:*.a.test", false, 2, NULL },
		{ "seven", "DNS:a.test,DNS:b.test,DNS:c.test", false, 3, NULL },
		{ "eight", "DNS:a.test", true, 1, NULL },
	};
	struct grouping g = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		put(&g, &rows[i]);
	assert_int_equal(g.groups, 4);
	grouping_free(&g);
}

/* Those of the first group have it whatever their names; others join them by their names. */
static void first_group(void **state)
{
	static const struct row rows[] = {
		{ "three", "DNS:b.test", true, 0, NULL },
		{ "four", "DNS:c.test", true, 1, NULL },
	};
	struct tls_pair a = cert_make(&(struct cert_wish){ .names = "DNS:a.test" });
	struct tls_pair b = cert_make(&(struct cert_wish){ .names = "DNS:b.test" });
	struct grouping g = { 0 };

	(void)state;
	assert_int_equal(grouping_first(&g, &a, "one"), 0);
	assert_int_equal(grouping_first(&g, &b, "two"), 0);
	assert_int_equal(g.groups, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		put(&g, &rows[i]);
	grouping_free(&g);
	tls_pair_free(&a);
	tls_pair_free(&b);
}

static void the_very_same(void **state)
{
	struct tls_pair a = cert_make(&(struct cert_wish){ .names = "DNS:a.test" });
	struct grouping g = { 0 };
	const char *other;
	unsigned group;

	(void)state;
	assert_int_equal(grouping_first(&g, &a, "one"), 0);
	assert_int_equal(grouping_find(&g, &a, "two", &group, &other), -EEXIST);
	assert_int_equal(g.count, 1);
	grouping_free(&g);
	tls_pair_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_names),
		cmocka_unit_test(first_group),
		cmocka_unit_test(the_very_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
