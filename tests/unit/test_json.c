/* SPDX-License-Identifier: ISC */
/*
 * The file of JSON: each record is one line that any parser reads; a full disk cuts no line, and
 * what is lost is told of; a writer that is killed anywhere, in the middle of a line too, and
 * started again leaves each record there once and in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "writerproc.h"
#include "xmllog/json.h"
#include "xmllog/jsonfile.h"

static char json_path[96];

static int setup_json(void **state)
{
	int rc = setup(state);

	snprintf(json_path, sizeof(json_path), "%s/log.json", dir);
	config.json = json_path;
	return rc;
}

/* ---- the form ---- */

static struct record record_of(enum xmllog_attr attr, struct span value)
{
	struct record r = { .element = XMLLOG_FAULT, .time_us = 1000000, .attrs = 1 };

	r.attr[0] = (struct record_attr){ .attr = attr, .kind = KIND_TEXT, .text = value };
	return r;
}

static void test_values(void **state)
{
	static const struct {
		struct span in;
		const char *out;
	} rows[] = {
		{ SPAN(""), "" },
		{ SPAN("plain text!~</>&'"), "plain text!~</>&'" },
		{ SPAN("a\"b"), "a\\\"b" },
		{ SPAN("a\\b"), "a\\\\\\\\b" },
		{ SPAN("250-a\n250 b\t\r"), "250-a\\u000a250 b\\u0009\\u000d" },
		{ SPAN("\0\x1f"), "\\\\x00\\\\x1F" },
		{ SPAN("\x7f\xc3\xa9\xe2\x82\xac"), "\\u007f\\u00e9\\u20ac" },
		{ SPAN("\xf0\x9f\x93\xa7"), "\\ud83d\\udce7" },
		{ SPAN("\xff\xc3"), "\\\\xFF\\\\xC3" },
	};
	struct format f;

	(void)state;
	assert_int_equal(format_open(&f), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct record r = record_of(XMLLOG_A_DETAIL, rows[i].in);
		char want[256];
		int n = snprintf(want, sizeof(want),
				 "{\"element\":\"fault\",\"time\":\"1970-01-01T00:00:01.000000Z\","
				 "\"detail\":\"%s\"}\n",
				 rows[i].out);

		format_restart(&f);
		assert_int_equal(json_record(&f, &r), 0);
		assert_int_equal(format_text(&f).n, n);
		assert_memory_equal(format_text(&f).p, want, (size_t)n);
	}
	format_close(&f);
}

static void test_members(void **state)
{
	struct record r = { .element = XMLLOG_MESSAGE,
			    .has_session = true,
			    .session = { 0x1f, 2 },
			    .time_us = 1000000,
			    .attrs = 3 };
	struct format f;
	json_t *doc;

	(void)state;
	r.attr[0] = (struct record_attr){ .attr = XMLLOG_A_MESSAGE, .kind = KIND_NUM, .num = 7 };
	r.attr[1] = (struct record_attr){ .attr = XMLLOG_A_SECONDS,
					  .kind = KIND_SECONDS,
					  .num = 1000250 };
	r.attr[2] = (struct record_attr){ .attr = XMLLOG_A_CLIENT,
					  .kind = KIND_ADDR,
					  .addr = { .family = 6, .port = 25, .ip = { [15] = 1 } } };
	assert_int_equal(format_open(&f), 0);
	assert_int_equal(json_record(&f, &r), 0);
	doc = json_loadb((const char *)format_text(&f).p, format_text(&f).n, 0, NULL);
	assert_non_null(doc);
	assert_string_equal(json_string_value(json_object_get(doc, "element")), "message");
	assert_string_equal(json_string_value(json_object_get(doc, "session")), "1f-2");
	assert_int_equal(json_integer_value(json_object_get(doc, "message_no")), 7);
	assert_null(json_object_get(doc, "message"));
	assert_true(json_real_value(json_object_get(doc, "seconds")) == 1.000250);
	assert_string_equal(json_string_value(json_object_get(doc, "client")), "[::1]:25");
	json_decref(doc);
	format_close(&f);
}

/* ---- the file ---- */

static size_t room; /* octets that the disk has left */

static ssize_t write_as_far(int fd, const void *p, size_t n)
{
	size_t k = n < room ? n : room;

	if (k == 0) {
		errno = ENOSPC;
		return -1;
	}
	room -= k;
	return write(fd, p, k);
}

static void read_whole(const char *name, char *out, size_t cap)
{
	int fd = open(name, O_RDONLY);
	ssize_t n = read(fd, out, cap - 1);

	assert_true(fd >= 0 && n >= 0);
	out[n] = '\0';
	close(fd);
}

static void open_json(struct jsonfile *f)
{
	int rotation;

	jsonfile_init(f, json_path, archive, 0, 0);
	f->write = write_as_far;
	assert_int_equal(jsonfile_ready(f, 0, 1, &rotation), 0);
}

/* However little room there is, no line is cut for good, and none comes twice. */
static void test_full_disk_cuts_no_line(void **state)
{
	char text[256];

	(void)state;
	for (size_t k = 0; k <= 24; k++) {
		struct jsonfile f;

		unlink(json_path);
		open_json(&f);
		room = k;
		(void)!jsonfile_add(&f, SPAN("{\"a\":1}\n{\"b\":2}\n"));
		(void)!jsonfile_add(&f, SPAN("{\"c\":3}\n"));
		room = SIZE_MAX;
		assert_int_equal(jsonfile_add(&f, SPAN("{\"d\":4}\n")), 0);
		assert_int_equal(jsonfile_take_lost(&f), 0);
		jsonfile_close(&f);
		read_whole(json_path, text, sizeof(text));
		assert_string_equal(text, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n{\"d\":4}\n");
	}
}

static void test_lost_lines_are_counted(void **state)
{
	static const char line[1001] = { [0 ... 999] = 'x', '\n' };
	struct jsonfile f;
	struct stat st;
	uint64_t n = 0, lost;

	(void)state;
	open_json(&f);
	room = 500; /* half of the first one */
	for (; n < 3000; n++)
		assert_int_equal(jsonfile_add(&f, span_of(line, sizeof(line))), -ENOSPC);
	assert_int_equal(jsonfile_take_lost(&f), 0); /* not before the rest is there */
	room = SIZE_MAX;
	assert_int_equal(jsonfile_flush(&f), 0);
	lost = jsonfile_take_lost(&f);
	assert_int_equal(jsonfile_take_lost(&f), 0);
	assert_int_equal(stat(json_path, &st), 0);
	assert_true(lost > 1000);
	assert_int_equal((uint64_t)st.st_size, (n - lost) * sizeof(line));
	jsonfile_close(&f);
}

/* A line of which the beginning went away with the file is lost, not torn. */
static void test_moved_away_in_the_middle_of_a_line(void **state)
{
	char text[256];
	struct jsonfile f;
	int rotation;

	(void)state;
	open_json(&f);
	room = 11;
	assert_int_equal(jsonfile_add(&f, SPAN("{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n")), -ENOSPC);
	unlink(json_path);
	room = SIZE_MAX;
	assert_int_equal(jsonfile_ready(&f, 0, 1, &rotation), 0);
	assert_int_equal(jsonfile_add(&f, SPAN("{\"d\":4}\n")), 0);
	assert_int_equal(jsonfile_take_lost(&f), 1);
	jsonfile_close(&f);
	read_whole(json_path, text, sizeof(text));
	assert_string_equal(text, "{\"c\":3}\n{\"d\":4}\n");
}

static void test_a_part_of_a_line_is_ended(void **state)
{
	char text[256];
	struct jsonfile f;
	int fd = open(json_path, O_CREAT | O_WRONLY, 0600);

	(void)state;
	assert_int_equal(write(fd, "{\"a\":", 5), 5);
	close(fd);
	room = SIZE_MAX;
	open_json(&f);
	assert_int_equal(jsonfile_add(&f, SPAN("{\"b\":2}\n")), 0);
	jsonfile_close(&f);
	read_whole(json_path, text, sizeof(text));
	assert_string_equal(text, "{\"a\":\n{\"b\":2}\n");
}

/* By size and by age; the age is that of the first line, also after a new start. */
static void test_rotates(void **state)
{
	static const char line[] =
		"{\"element\":\"stop\",\"time\":\"2026-01-02T03:04:05.000000Z\"}\n";
	const uint64_t hour = 3600000000u, then = 1767323045000000u;
	struct jsonfile f;
	struct stat st;
	int rotation;

	(void)state;
	room = SIZE_MAX;
	jsonfile_init(&f, json_path, archive, 100, hour);
	assert_int_equal(jsonfile_ready(&f, 1000, then, &rotation), 0);
	assert_int_equal(jsonfile_add(&f, SPAN(line)), 0);
	assert_int_equal(jsonfile_ready(&f, 40, then, &rotation), 0);
	jsonfile_close(&f);
	jsonfile_init(&f, json_path, archive, 100, hour);
	assert_int_equal(jsonfile_ready(&f, 0, then + hour - 1, &rotation), 0);
	assert_int_equal(stat(json_path, &st), 0);
	assert_int_equal(st.st_size, sizeof(line) - 1);
	assert_int_equal(jsonfile_ready(&f, 0, then + hour, &rotation), 0);
	assert_int_equal(stat(json_path, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(jsonfile_add(&f, SPAN(line)), 0);
	assert_int_equal(jsonfile_ready(&f, 60, then, &rotation), 0);
	assert_int_equal(stat(json_path, &st), 0);
	assert_int_equal(st.st_size, 0);
	/* An archive that cannot take it: the file goes on. */
	assert_int_equal(jsonfile_add(&f, SPAN(line)), 0);
	remove_tree(archive);
	assert_int_equal(jsonfile_ready(&f, 60, then, &rotation), 0);
	assert_int_equal(rotation, -ENOENT);
	assert_int_equal(jsonfile_add(&f, SPAN(line)), 0);
	jsonfile_close(&f);
	assert_int_equal(stat(json_path, &st), 0);
	assert_int_equal(st.st_size, 2 * (sizeof(line) - 1));
}

/* ---- the writer ---- */

/* Reads the lines of NAME: each ring's numbers go on at NEXT; the number of lines. */
static long read_json(const char *name, uint64_t next[RINGS])
{
	FILE *in = fopen(name, "r");
	char *line = NULL;
	size_t cap = 0;
	long lines = 0;

	assert_non_null(in);
	for (; getline(&line, &cap, in) > 0; lines++) {
		json_t *doc = json_loads(line, 0, NULL);
		const char *what;

		assert_non_null(doc);
		assert_non_null(strchr(line, '\n'));
		what = json_string_value(json_object_get(doc, "what"));
		assert_int_equal(what[0], 'r');
		assert_int_equal(json_integer_value(json_object_get(doc, "count")),
				 next[what[1] - '0']++);
		json_decref(doc);
	}
	free(line);
	fclose(in);
	return lines;
}

/* What a write that was cut short would have left of the last batch. */
static bool tear_last_batch(void)
{
	struct stat st;

	if (!rings[0]->json_valid || !rings[0]->commit_valid || stat(json_path, &st) < 0 ||
	    (uint64_t)st.st_size == rings[0]->json_size)
		return false;
	assert_int_equal(
		truncate(json_path, (off_t)(rings[0]->json_size +
					    ((uint64_t)st.st_size - rings[0]->json_size) / 2)),
		0);
	return true;
}

/* At every system call that it makes: each record is there once, whole and in order. */
static void test_killed_at_every_call(void **state)
{
	bool refused = false, torn = false;

	for (int stop = 1;; stop++) {
		uint64_t next[RINGS] = { 0 };
		struct xmllog l[RINGS];
		bool killed;

		teardown(state);
		assert_int_equal(setup_json(state), 0);
		open_producers(l, 1);
		for (uint64_t i = 0; i < 50; i++)
			for (unsigned k = 0; k < RINGS; k++)
				numbered(&l[k], k, i);
		close(life[1]);
		life[1] = -1;
		killed = killed_at_call(stop, &refused);
		if (refused)
			skip();
		torn |= tear_last_batch();
		assert_int_equal(end_writer(start_writer()), EX_OK);
		assert_int_equal(read_json(json_path, next), 50 * RINGS);
		if (!killed) {
			assert_true(torn && stop > 60);
			return;
		}
	}
}

/* One that cannot be written is told of once in the log, which goes on; then it is there again. */
static void test_no_directory_for_it(void **state)
{
	uint64_t next[RINGS] = { 0 };
	char away[128];
	struct xmllog l[RINGS];
	pid_t pid;

	(void)state;
	snprintf(away, sizeof(away), "%s/away/log.json", dir);
	config.json = away;
	open_producers(l, 1);
	pid = start_writer();
	for (uint64_t i = 0; i < 3; i++) {
		numbered(&l[0], 0, i);
		wait_drained();
	}
	for (int ms = 0; log_count(path) < 4; ms++) {
		assert_true(ms < WAIT_MS);
		pause_us(1000);
	}
	*strrchr(away, '/') = '\0';
	assert_int_equal(mkdir(away, 0700), 0);
	away[strlen(away)] = '/';
	numbered(&l[0], 0, 3);
	assert_int_equal(end_writer(pid), EX_OK);
	assert_int_equal(log_count(path), 5);
	/* The fault of the log stands among them. */
	FILE *in = fopen(away, "r");
	char *line = NULL;
	size_t cap = 0;
	int faults = 0;

	assert_non_null(in);
	while (getline(&line, &cap, in) > 0) {
		if (strstr(line, "\"log-json\""))
			faults++;
		else
			assert_non_null(strstr(line, "\"r0\""));
		next[0]++;
	}
	free(line);
	fclose(in);
	assert_int_equal(faults, 1);
	assert_int_equal(next[0], 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_members),
		cmocka_unit_test_setup_teardown(test_full_disk_cuts_no_line, setup_json, teardown),
		cmocka_unit_test_setup_teardown(test_lost_lines_are_counted, setup_json, teardown),
		cmocka_unit_test_setup_teardown(test_moved_away_in_the_middle_of_a_line, setup_json,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_part_of_a_line_is_ended, setup_json,
						teardown),
		cmocka_unit_test_setup_teardown(test_rotates, setup_json, teardown),
		cmocka_unit_test_setup_teardown(test_killed_at_every_call, setup_json, teardown),
		cmocka_unit_test_setup_teardown(test_no_directory_for_it, setup_json, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
