/* SPDX-License-Identifier: ISC */
/*
 * name: what may be said in a greeting and in EHLO, and that what is found for this host may be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "check/name.h"

#define L63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static void test_valid(void **state)
{
	static const char *const good[] = {
		"a", "mail.example.com", "MX-1.example.com",	      "3com.test",
		"1", L63 ".test",	 L63 "." L63 "." L63 "." L63, /* 255 */
	};
	static const char *const bad[] = {
		"",
		".",
		"a.",
		".a",
		"a..b",
		"-a",
		"a-",
		"a.-b",
		"a b",
		"a_b",
		"a\tb",
		"a:25",
		"[192.0.2.1]",
		"m\xc3\xbcx",
		"a/b",
		L63 "x",
		L63 "." L63 "." L63 "." L63 ".a",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (name_valid(bad[i]))
			fail_msg("\"%s\" is taken", bad[i]);
}

static void test_find(void **state)
{
	char name[NAME_MAX_OCTETS + 1];

	(void)state;
	memset(name, 'x', sizeof(name));
	name_find(name);
	assert_non_null(memchr(name, 0, sizeof(name)));
	assert_true(name_valid(name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
