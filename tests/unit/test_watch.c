/* SPDX-License-Identifier: ISC */
/* When files that may change are looked at, read, and told of: each row is a look, one after the
 * other. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "master/watch.h"

#define EVERY_MS 60000
#define BEGIN_MS 1000
#define FIRST	 7 /* how the files look whose contents are in use at the beginning */

struct look {
	uint64_t at_ms;
	uint64_t quiet; /* they are to be read if they look so */
	enum follow_found found;
	uint64_t looks;
	bool told;
	uint64_t next_ms;
};

static void play(struct watch *w, const struct look *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct look *l = &rows[i];

		assert_int_equal(watch_quiet(w, l->at_ms), l->quiet);
		assert_int_equal(watch_saw(w, l->found, l->looks, l->at_ms, EVERY_MS), l->told);
		assert_int_equal(w->due_ms, l->next_ms);
	}
}

#define PLAY(w, rows) play(w, rows, sizeof(rows) / sizeof(*(rows)))

static void begin(struct watch *w)
{
	watch_begin(w, FIRST, BEGIN_MS, EVERY_MS);
	assert_int_equal(w->due_ms, BEGIN_MS + EVERY_MS);
}

static void nothing_changes(void **state)
{
	static const struct look rows[] = {
		{ 61000, 0, FOLLOW_SAME, FIRST, false, 121000 },
		{ 121000, 0, FOLLOW_SAME, FIRST, false, 181000 },
	};
	struct watch w;

	(void)state;
	begin(&w);
	PLAY(&w, rows);
}

static void quiet_at_last(void **state)
{
	static const struct look rows[] = {
		{ 61000, 0, FOLLOW_OTHER, 8, false, 63000 },
		{ 62999, 0, FOLLOW_OTHER, 8, false, 122999 }, /* too early */
		{ 63000, 8, FOLLOW_OTHER, 9, false, 65000 },  /* it changes while it is read */
		{ 64999, 0, FOLLOW_OTHER, 9, false, 124999 },
		{ 65000, 9, FOLLOW_NEW, 9, false, 125000 },
	};
	struct watch w;

	(void)state;
	begin(&w);
	PLAY(&w, rows);
}

/* What was read was what is in use: from then on that is how it looks. */
static void touched(void **state)
{
	static const struct look rows[] = {
		{ 61000, 0, FOLLOW_OTHER, 8, false, 63000 },
		{ 63000, 8, FOLLOW_SAME, 8, false, 123000 },
		{ 123000, 0, FOLLOW_SAME, 8, false, 183000 },
		{ 183000, 0, FOLLOW_OTHER, FIRST, false, 185000 },
	};
	struct watch w;

	(void)state;
	begin(&w);
	PLAY(&w, rows);
	assert_int_equal(w.in_use, 8);
}

/* Half of a change is a fault after ten minutes, counted from when anything had changed. */
static void torn(void **state)
{
	static const struct look rows[] = {
		{ 61000, 0, FOLLOW_OTHER, 8, false, 63000 },
		{ 63000, 8, FOLLOW_TORN, 8, false, 123000 },
		{ 363000, 8, FOLLOW_OTHER, 9, false, 365000 },
		{ 365000, 9, FOLLOW_TORN, 9, false, 425000 },
		{ 660999, 9, FOLLOW_TORN, 9, false, 720999 },
		{ 661000, 9, FOLLOW_TORN, 9, true, 721000 },
		{ 721000, 9, FOLLOW_TORN, 9, false, 781000 },
	};
	static const struct look again[] = {
		{ 781000, 9, FOLLOW_SAME, 9, false, 841000 },
		{ 841000, 0, FOLLOW_OTHER, 10, false, 843000 },
		{ 2000000, 10, FOLLOW_TORN, 10, false, 2060000 },
	};
	struct watch w;

	(void)state;
	begin(&w);
	PLAY(&w, rows);
	/* Once, as long as the same certificates are in use; */
	PLAY(&w, again);
	/* and the time begins anew with each change. */
	begin(&w);
	PLAY(&w, rows);
}

static void others_are_told_at_once(void **state)
{
	static const struct look rows[] = {
		{ 61000, 0, FOLLOW_OTHER, 8, false, 63000 },
		{ 63000, 8, FOLLOW_OLDER, 8, true, 123000 },
		{ 123000, 8, FOLLOW_OLDER, 8, false, 183000 },
		{ 183000, 8, FOLLOW_DENIED, 8, true, 243000 },
		{ 243000, 8, FOLLOW_WRONG, 8, true, 303000 },
		{ 303000, 8, FOLLOW_WRONG, 8, false, 363000 },
		{ 363000, 8, FOLLOW_DENIED, 8, false, 423000 },
	};
	struct watch w;

	(void)state;
	begin(&w);
	PLAY(&w, rows);
	begin(&w);
	PLAY(&w, rows);
}

/* A look that came to nothing says nothing about the files. */
static void failed(void **state)
{
	static const struct look rows[] = {
		{ 61000, 0, FOLLOW_OTHER, 8, false, 63000 },
		{ 63000, 8, FOLLOW_FAILED, 0, true, 123000 },
		{ 123000, 8, FOLLOW_FAILED, 0, false, 183000 },
		{ 183000, 8, FOLLOW_NEW, 8, false, 243000 },
	};
	struct watch w;

	(void)state;
	begin(&w);
	PLAY(&w, rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_changes),
		cmocka_unit_test(quiet_at_last),
		cmocka_unit_test(touched),
		cmocka_unit_test(torn),
		cmocka_unit_test(others_are_told_at_once),
		cmocka_unit_test(failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
