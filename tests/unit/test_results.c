/* SPDX-License-Identifier: ISC */
/* Results of reloads, upgrades and the stop, from the master's words to those of who waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "shared/results.h"

static char *print(const struct results *r)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	results_print(r, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static struct result parse(const struct results *r, enum results_kind kind)
{
	struct result x, cut;
	char *text = print(r);

	assert_true(results_parse(text, kind, &x));
	text[strlen(text) - 1] = '\0'; /* carontectl has no newline at the end */
	assert_true(results_parse(text, kind, &cut));
	assert_int_equal(cut.begun, x.begun);
	assert_int_equal(cut.at_s, x.at_s);
	free(text);
	return x;
}

static void test_each_kind_by_itself(void **state)
{
	struct results *r = results_make();
	struct result x;

	(void)state;
	assert_non_null(r);
	for (enum results_kind kind = 0; kind < RESULTS_KINDS; kind++) {
		x = parse(r, kind);
		assert_int_equal(x.begun + x.ended, 0);
		assert_int_equal(x.how, RESULTS_NONE);
	}
	results_begin(r, RESULTS_RELOAD);
	results_begin(r, RESULTS_UPGRADE);
	x = parse(r, RESULTS_RELOAD);
	assert_int_equal(x.begun, 1);
	assert_int_equal(x.ended, 0);
	results_end(r, RESULTS_RELOAD, RESULTS_REFUSED, "one: wrong\n\ntwo: wrong\n");
	x = parse(r, RESULTS_RELOAD);
	assert_int_equal(x.ended, 1);
	assert_int_equal(x.how, RESULTS_REFUSED);
	assert_string_equal(x.text, "one: wrong\ntwo: wrong\n");
	assert_true(x.at_s > 0);
	assert_int_equal(results_begun(r, RESULTS_UPGRADE), 1);
	assert_int_equal(results_ended(r, RESULTS_UPGRADE), 0);
	assert_string_equal(parse(r, RESULTS_UPGRADE).text, "");
	results_end(r, RESULTS_UPGRADE, RESULTS_DONE, "upgraded\nstop 9 9 done 1");
	assert_string_equal(parse(r, RESULTS_UPGRADE).text, "upgraded\nstop 9 9 done 1\n");
	assert_int_equal(parse(r, RESULTS_STOP).ended, 0);
}

static void test_an_upgrade_is_under_way(void **state)
{
	static const uint64_t begun[RESULTS_KINDS] = { 7, 3, 0 };
	struct results *r = results_make();

	(void)state;
	results_continue(r, begun);
	assert_int_equal(results_ended(r, RESULTS_RELOAD), 7);
	assert_int_equal(results_begun(r, RESULTS_UPGRADE), 3);
	assert_int_equal(results_ended(r, RESULTS_UPGRADE), 2);
	assert_int_equal(results_ended(r, RESULTS_STOP), 0);
}

static void test_long_words_are_cut(void **state)
{
	static char text[3 * RESULTS_TEXT];
	struct results *r = results_make();

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	results_begin(r, RESULTS_RELOAD);
	results_end(r, RESULTS_RELOAD, RESULTS_DONE, text);
	assert_int_equal(strlen(parse(r, RESULTS_RELOAD).text), RESULTS_TEXT - 1);
	for (size_t i = 79; i < sizeof(text) - 1; i += 80)
		text[i] = '\n';
	results_begin(r, RESULTS_RELOAD);
	results_end(r, RESULTS_RELOAD, RESULTS_DONE, text);
	assert_true(strlen(parse(r, RESULTS_RELOAD).text) > RESULTS_TEXT - 90);
	assert_int_equal(parse(r, RESULTS_UPGRADE).begun, 0);
}

static void test_what_is_none(void **state)
{
	static const char *const texts[] = { "",
					     "error no such request",
					     "reload",
					     "reload 1 1",
					     "reload 1 1 well 5\n",
					     "reload x 1 done 5\n",
					     "reloads 1 1 done 5\n",
					     " reload 1 1 done 5\n",
					     "stop 1 1 done 5\n" };
	struct result x;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(results_parse(texts[i], RESULTS_RELOAD, &x));
	assert_int_equal(results_kind("reload", 6), RESULTS_RELOAD);
	assert_int_equal(results_kind("reload", 5), RESULTS_KINDS);
	assert_int_equal(results_kind("", 0), RESULTS_KINDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_by_itself),
		cmocka_unit_test(test_an_upgrade_is_under_way),
		cmocka_unit_test(test_long_words_are_cut),
		cmocka_unit_test(test_what_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
