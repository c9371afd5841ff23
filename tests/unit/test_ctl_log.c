/* SPDX-License-Identifier: ISC */
/*
 * carontectl log: damage, and a log that is being written. carontectl is no part of the library:
 * its files are compiled in here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h wants the four above first */
#include <cmocka.h>

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "xmllog/logfile.h"

/* What a test does where log_file.c waits for the writer, and after it has read: it is the writer
 * then, and no clock says when. */
static void (*on_doubt)(void), (*on_pread)(void);

static int doubt_sleep(const struct timespec *pause, struct timespec *rest)
{
	if (!on_doubt)
		return nanosleep(pause, rest);
	on_doubt();
	return 0;
}

static ssize_t watched_pread(int fd, void *buf, size_t n, off_t at)
{
	ssize_t got = pread(fd, buf, n, at);

	if (on_pread)
		on_pread();
	return got;
}

#define nanosleep doubt_sleep
#define pread	  watched_pread
#include "ctl/log_file.c"
#undef nanosleep
#undef pread
#include "ctl/log_parse.c"
#include "xmllog/logopen.h"

#define HEAD_TEXT "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<caronte-log>\n"

/* ---- parsing and damage ---- */

struct got {
	unsigned records, damages;
	uint64_t line; /* of the first damage */
	char what[128], text[4096];
	unsigned next; /* the number that the next record has, where they are numbered */
};

/* Takes the attribute `n` of each record down, with a blank behind. */
static void got_record(void *ctx, const struct log_record *r)
{
	struct got *g = ctx;
	struct span n = log_record_get(r, "n");
	size_t used = strlen(g->text);

	g->records++;
	if (used + n.n + 2 < sizeof(g->text))
		snprintf(g->text + used, sizeof(g->text) - used, "%.*s ", (int)n.n, n.p);
}

static void got_damage(void *ctx, uint64_t line, const char *what)
{
	struct got *g = ctx;

	if (g->damages++ == 0) {
		g->line = line;
		snprintf(g->what, sizeof(g->what), "%s", what);
	}
}

static void write_all(int fd, const void *p, size_t n, off_t at)
{
	assert_int_equal(pwrite(fd, p, n, at), n);
}

/* Reads TEXT as a file, or (CUT octets at a time) through a pipe. */
static struct got read_text(const char *text, size_t n, size_t cut)
{
	struct got g = { 0 };
	const struct log_sink sink = { got_record, got_damage, &g };
	char path[] = "/tmp/caronte-test-XXXXXX";
	struct log_parse p;
	struct log_file f;
	int fd = mkstemp(path), ends[2];
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	bool any;

	assert_true(fd >= 0);
	write_all(fd, text, n, 0);
	/* Nobody writes it: nothing is read twice. */
	assert_int_equal(futimens(fd, old), 0);
	assert_true(log_parse_open(&p, &sink));
	assert_int_equal(log_file_open(&f, path), 0);
	if (cut) {
		assert_int_equal(pipe(ends), 0);
		close(f.fd);
		f.fd = ends[0];
		f.seekable = false;
		assert_true(fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) >= (int)n);
		assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
		for (size_t at = 0; at < n; at += cut) {
			size_t k = n - at < cut ? n - at : cut;

			assert_int_equal(write(ends[1], text + at, k), k);
			/* EAGAIN, when it has read what there is. */
			assert_int_equal(log_file_read(&f, &p, false, &any), -EAGAIN);
		}
		close(ends[1]);
	}
	assert_int_equal(log_file_read(&f, &p, false, &any), 0);
	log_file_close(&f);
	log_parse_close(&p);
	close(fd);
	unlink(path);
	return g;
}

#define R(n)   "<fault time=\"2026-11-22T20:13:54.000000Z\" n=\"" n "\" what=\"x\"/>"
#define TAIL   "</caronte-log><?pad "
#define LOG(s) HEAD_TEXT s TAIL "   ?>"

struct damage_row {
	const char *text, *records;
	unsigned damages;
	uint64_t line;
};

static const struct damage_row damage_rows[] = {
	{ LOG(""), "", 0, 0 },
	{ LOG(R("1") "\n" R("2") "\n"), "1 2 ", 0, 0 },
	/* as the writer leaves them: blanks before a line, and padding that holds anything */
	{ LOG("                   \n" R("1") "\n      "), "1 ", 0, 0 },
	{ HEAD_TEXT R("1") "\n" TAIL R("2") "\n   " TAIL "  ?>", "1 ", 0, 0 },
	{ HEAD_TEXT R("1") "\n</caronte-log>\n", "1 ", 0, 0 },
	/* other people's shapes */
	{ "<?xml version=\"1.0\"?><caronte-log>" R("1") R("2") "</caronte-log>", "1 2 ", 0, 0 },
	{ "\xef\xbb\xbf" HEAD_TEXT R("1") TAIL "?>", "1 ", 0, 0 },
	{ LOG("<!-- " R("0") " -->\n" R("1") "\n"), "1 ", 0, 0 },
	{ LOG("<fault\n time='2026-11-22T20:13:54.000000Z'\n n='1'\n/>\n"), "1 ", 0, 0 },
	{ LOG("<fault time=\"2026-11-22T20:13:54.000000Z\" n=\"1\">" R("0") "</fault>\n" R("2")),
	  "1 2 ", 0, 0 },
	/* records alone */
	{ R("1") "\n" R("2") "\n", "1 2 ", 0, 0 },
	{ "\n\n" R("1"), "1 ", 0, 0 },
	{ R("1") "\n<fault time=\"2026", "1 ", 1, 2 },
	/* cut off */
	{ HEAD_TEXT, "", 1, 3 },
	{ HEAD_TEXT R("1") "\n", "1 ", 1, 4 },
	{ HEAD_TEXT R("1") "\n<fault time=\"2026-11-22T20:13:54.000000Z\" n=\"2\"", "1 ", 1, 4 },
	{ HEAD_TEXT R("1") "\n</caronte-lo", "1 ", 1, 4 },
	{ "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<caronte", "", 1, 2 },
	/* nothing yet */
	{ "", "", 0, 0 },
	{ "\n", "", 0, 0 },
	/* what the writer has escaped */
	{ LOG("<fault time=\"\" n=\"r&amp;d &#38;amp; &lt;&quot;&gt; &amp;#38; '&apos;\"/>\n"),
	  "r&d &amp; <\"> &#38; '' ", 0, 0 },
	/* a damaged line costs itself alone */
	{ LOG(R("1") "\n<fault time=\"\n" R("3") "\n"), "1 3 ", 1, 5 },
	{ LOG(R("1") "\n<fault time=\"2026\" n=\"2\" n=\"2\"/>\n" R("3") "\n"), "1 3 ", 1, 4 },
	{ LOG(R("1") "\nbroken\n" R("3") "\n"), "1 3 ", 1, 5 },
	{ LOG(R("1") "\n" R("2") "broken" R("0") "\n" R("3") "\n"), "1 2 3 ", 1, 4 },
	{ LOG(R("1") "\n<fault time=\"x\" n=\"\x01\"/>\n" R("3") "\n"), "1 3 ", 1, 4 },
	{ LOG(R("1") "\n<fault time=\"x\" n=\"\xff\"/>\n" R("3") "\n"), "1 3 ", 1, 4 },
	{ LOG(R("1") "\n<fault time=\"x\" n=\"&x;\"/>\n" R("3") "\n"), "1 3 ", 1, 4 },
	{ LOG(R("1") "\n</fault>\n" R("3") "\n"), "1 3 ", 1, 4 },
	{ LOG("<a>\n" R("2") "\n"), "2 ", 1, 3 },
	{ LOG(R("1") "\n<b n=\"2\"/>\n" R("3") "\n"), "1 3 ", 1, 4 },
	{ LOG("<a time=\"\"><b><b><b><b><b><b><b><b><b>\n" R("1") "\n"), " 1 ", 1, 3 },
	{ LOG("<![CDATA[x]]>\n" R("1") "\n"), "1 ", 1, 3 },
	/* entities are no way to fill the memory */
	{ "<?xml version=\"1.0\"?>\n<!DOCTYPE caronte-log [ <!ENTITY a \"b\"> ]>\n<caronte-log>\n" R(
		  "1") "\n</caronte-log>",
	  "1 ", 1, 2 },
	/* no log at all */
	{ "<?xml version=\"1.0\"?>\n<html time=\"\">\n" R("0") "\n</html>\n", "", 1, 2 },
	{ "root:x:0:0\n", "", 1, 2 },
};

static void check_damage(const struct damage_row *row, size_t i, size_t cut)
{
	struct got g = read_text(row->text, strlen(row->text), cut);

	if (strcmp(g.text, row->records) != 0 || !!g.damages != !!row->damages ||
	    (row->damages && g.line != row->line))
		fail_msg("row %zu, cut %zu: records %s, %u damages, line %llu: %s", i, cut, g.text,
			 g.damages, (unsigned long long)g.line, g.what);
}

static void test_damage(void **state)
{
	static const size_t cuts[] = { 0, 1, 2, 3, 7, 64, 4096 };

	(void)state;
	for (size_t i = 0; i < sizeof(damage_rows) / sizeof(damage_rows[0]); i++)
		for (size_t j = 0; j < sizeof(cuts) / sizeof(cuts[0]); j++)
			check_damage(&damage_rows[i], i, cuts[j]);
}

/* A pipe brings several logs, with their padding between them. */
static void test_several_behind_each_other(void **state)
{
	static const char text[] = LOG(R("1") "\n") LOG(R("2") "\n") "\n" HEAD_TEXT R("3") "\n";
	static const char padded[] = HEAD_TEXT R("1") "\n" TAIL R("2") "\n" TAIL "   ?>";

	(void)state;
	/* Through a pipe in pieces, and as a file (0). */
	for (size_t cut = 0; cut < sizeof(text); cut++) {
		struct got g = read_text(text, sizeof(text) - 1, cut);

		assert_string_equal(g.text, "1 2 3 ");
		assert_int_equal(g.damages, 1);
		assert_string_equal(g.what, "is cut off");
	}
	/* Records behind the end that begin no log are padding: they are being written. */
	for (size_t cut = 0; cut < sizeof(padded); cut++) {
		struct got g = read_text(padded, sizeof(padded) - 1, cut);

		assert_string_equal(g.text, "1 ");
		assert_int_equal(g.damages, 0);
	}
}

/* Lines and values longer than any buffer: read, or refused, and the next line is read. */
static void test_long_lines(void **state)
{
	static const size_t sizes[] = { ROOM - 200, ROOM, ROOM + 1, 3 * ROOM, 11u << 20 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = sizes[i];
		char *text = malloc(n + 1000);
		int at = sprintf(text, HEAD_TEXT "<fault time=\"x\" n=\"1\" what=\"");
		struct got g;

		memset(text + at, 'a', n);
		n += (size_t)at;
		n += (size_t)sprintf(text + n, "\"/>\n" R("2") "\n" TAIL "?>");
		g = read_text(text, n, 0);
		if (i < 4)
			assert_string_equal(g.text, "1 2 ");
		else
			assert_string_equal(g.text, "2 ");
		assert_int_equal(g.damages > 0, i == 4);
		free(text);
	}
}

/* ---- a log that is being written ---- */

struct live {
	char dir[64], path[96];
	struct logfile log;
};

static void live_open(struct live *l)
{
	strcpy(l->dir, "/tmp/caronte-test-XXXXXX");
	assert_non_null(mkdtemp(l->dir));
	snprintf(l->path, sizeof(l->path), "%s/log.xml", l->dir);
	logfile_init(&l->log, l->path, l->dir, 0);
	assert_int_equal(logfile_open(&l->log), 0);
}

static void live_close(struct live *l)
{
	logfile_close(&l->log);
	unlink(l->path);
	assert_int_equal(rmdir(l->dir), 0);
}

#define BATCHES 3000

/* Records numbered from 0, 0 to 6 in a batch, as fast as it goes. */
static void *write_batches(void *ctx)
{
	struct live *l = ctx;
	unsigned number = 0;

	for (unsigned i = 0; i < BATCHES; i++) {
		char text[8192];
		size_t n = 0;

		for (unsigned j = 0; j < 1 + i % 6; j++)
			n += (size_t)snprintf(
				text + n, sizeof(text) - n,
				"<fault time=\"2026-11-22T20:13:54.000000Z\" n=\"%u\" "
				"what=\"%.*s\"/>\n",
				number++, (int)(i * 37 % 900),
				"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
				"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
				"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		if (logfile_prepare(&l->log, text, n) != 0 || logfile_commit(&l->log, 1) != 0)
			return "a write failed";
		if (i % 16 == 0)
			sched_yield();
	}
	return NULL;
}

static unsigned numbered(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BATCHES; i++)
		n += 1 + i % 6;
	return n;
}

static void take_number(void *ctx, const struct log_record *r)
{
	struct got *g = ctx;
	struct span n = log_record_get(r, "n");
	char text[16] = "";

	if (n.n && n.n < sizeof(text))
		memcpy(text, n.p, n.n);
	assert_int_equal(strtoul(text, NULL, 10), g->next);
	g->next++;
}

/* Followed from the start: each record once, in order, and no damage. */
static void test_follow(void **state)
{
	struct got g = { 0 };
	const struct log_sink sink = { take_number, got_damage, &g };
	struct live l;
	struct log_parse p;
	struct log_file f;
	pthread_t writer;
	void *wrong;
	bool any;

	(void)state;
	live_open(&l);
	assert_true(log_parse_open(&p, &sink));
	assert_int_equal(log_file_open(&f, l.path), 0);
	assert_int_equal(pthread_create(&writer, NULL, write_batches, &l), 0);
	for (unsigned i = 0; g.next < numbered() && i < 600000; i++) {
		assert_int_equal(log_file_read(&f, &p, true, &any), 0);
		if (!any)
			usleep(50);
	}
	pthread_join(writer, &wrong);
	assert_null(wrong);
	assert_int_equal(g.next, numbered());
	assert_int_equal(log_file_read(&f, &p, true, &any), 0);
	assert_false(any);
	assert_false(log_file_moved(&f, l.path));
	assert_false(log_file_cut(&f));
	assert_int_equal(log_file_read(&f, &p, false, &any), 0);
	assert_int_equal(g.next, numbered());
	if (g.damages)
		fail_msg("line %llu %s", (unsigned long long)g.line, g.what);
	log_file_close(&f);
	log_parse_close(&p);
	live_close(&l);
}

/* Read again and again while it grows: always whole, never less than before. */
static void test_read_while_written(void **state)
{
	struct got g = { 0 };
	const struct log_sink sink = { take_number, got_damage, &g };
	struct live l;
	pthread_t writer;
	unsigned before = 0;
	void *wrong;
	bool any;

	(void)state;
	live_open(&l);
	assert_int_equal(pthread_create(&writer, NULL, write_batches, &l), 0);
	for (unsigned i = 0; before < numbered() && i < 100000; i++) {
		struct log_parse p;
		struct log_file f;

		g.next = 0;
		assert_true(log_parse_open(&p, &sink));
		assert_int_equal(log_file_open(&f, l.path), 0);
		assert_int_equal(log_file_read(&f, &p, false, &any), 0);
		log_file_close(&f);
		log_parse_close(&p);
		if (g.damages)
			fail_msg("line %llu %s", (unsigned long long)g.line, g.what);
		assert_true(g.next >= before);
		before = g.next;
	}
	pthread_join(writer, &wrong);
	assert_null(wrong);
	assert_int_equal(before, numbered());
	live_close(&l);
}

static struct {
	int fd;
	off_t at;
	unsigned doubts; /* before it is mended */
} torn;

static void mend(void)
{
	static const char line[] = "                   \n";

	write_all(torn.fd, line, LOGFILE_TAIL_LEN, torn.at);
}

static void mend_later(void)
{
	if (torn.doubts && --torn.doubts == 0)
		mend();
}

/* The closing tag is seen half overwritten, in every way; when it is looked at again, it is whole.
 */
static void check_torn(unsigned from, unsigned to, bool grows)
{
	static const char blanks[] = "                   \n";
	static const char text[] = LOG(R("1") "\n" TAIL R("2") "\n  ");
	struct got g = { 0 };
	const struct log_sink sink = { got_record, got_damage, &g };
	char path[] = "/tmp/caronte-test-XXXXXX";
	struct log_parse p;
	struct log_file f;
	bool any;

	torn.fd = mkstemp(path);
	torn.at = strstr(text, TAIL) - text;
	torn.doubts = DOUBTS / 2;
	write_all(torn.fd, text, sizeof(text) - 1, 0);
	write_all(torn.fd, blanks + from, to - from, torn.at + from);
	assert_true(log_parse_open(&p, &sink));
	assert_int_equal(log_file_open(&f, path), 0);
	on_doubt = mend_later;
	assert_int_equal(log_file_read(&f, &p, grows, &any), 0);
	on_doubt = NULL;
	mend();
	if (grows) {
		assert_int_equal(log_file_read(&f, &p, grows, &any), 0);
		assert_string_equal(g.text, "1 2 ");
	} else if (strcmp(g.text, "1 ") != 0) {
		/* The old end, where it could be seen, was the end a moment ago. */
		assert_string_equal(g.text, "1 2 ");
	}
	if (g.damages)
		fail_msg("%u to %u: line %llu %s", from, to, (unsigned long long)g.line, g.what);
	log_file_close(&f);
	log_parse_close(&p);
	close(torn.fd);
	unlink(path);
}

static void test_torn_tag(void **state)
{
	(void)state;
	for (unsigned n = 1; n < LOGFILE_TAIL_LEN; n++) {
		check_torn(0, n, false);
		check_torn(LOGFILE_TAIL_LEN - n, LOGFILE_TAIL_LEN, false);
		check_torn(0, n, true);
		check_torn(LOGFILE_TAIL_LEN - n, LOGFILE_TAIL_LEN, true);
	}
	for (unsigned from = 1; from < LOGFILE_TAIL_LEN; from += 3)
		for (unsigned to = from + 1; to < LOGFILE_TAIL_LEN; to += 4)
			check_torn(from, to, true);
}

/* As the writer may have been an hour ago, so that nothing is doubted any more. */
static void mend_long_ago(void)
{
	const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };

	mend();
	assert_int_equal(futimens(torn.fd, old), 0);
}

/*
 * What fits the buffer ends within the closing tag, and the rest is read a long time after: who
 * reads what we print may be slow. The tag has been overwritten meanwhile.
 */
static void test_half_a_tag(void **state)
{
	const size_t head = strlen(HEAD_TEXT R("1") "\n");
	static char text[2 * ROOM];
	char path[] = "/tmp/caronte-test-XXXXXX";

	(void)state;
	torn.fd = mkstemp(path);
	for (size_t cut = 1; cut < CLOSING_LEN; cut++) {
		struct got g = { 0 };
		const struct log_sink sink = { got_record, got_damage, &g };
		struct log_parse p;
		struct log_file f;
		bool any;
		int n;

		torn.at = (off_t)(ROOM - cut);
		n = snprintf(text, sizeof(text), "%s%*s%s", HEAD_TEXT R("1") "\n",
			     (int)(ROOM - cut - head), "\n", TAIL R("2") "\n" TAIL "?>");
		assert_int_equal(ftruncate(torn.fd, 0), 0);
		write_all(torn.fd, text, (size_t)n, 0);
		assert_true(log_parse_open(&p, &sink));
		assert_int_equal(log_file_open(&f, path), 0);
		on_pread = mend_long_ago;
		assert_int_equal(log_file_read(&f, &p, false, &any), 0);
		on_pread = NULL;
		if (g.damages)
			fail_msg("%zu: line %llu %s", cut, (unsigned long long)g.line, g.what);
		assert_string_equal(g.text, "1 2 ");
		log_file_close(&f);
		log_parse_close(&p);
	}
	close(torn.fd);
	unlink(path);
}

static void write_second(void)
{
	static const char text[] = R("2") "\n" TAIL;

	write_all(torn.fd, text, sizeof(text) - 1, torn.at);
}

/* The overwritten tag was seen, and what had been written after it was not yet: padding, then. */
static void test_blanks_beyond_the_buffer(void **state)
{
	static const char head[] = HEAD_TEXT R("1") "\n                   \n";
	static char text[2 * ROOM];

	(void)state;
	for (int grows = 0; grows < 2; grows++) {
		struct got g = { 0 };
		const struct log_sink sink = { got_record, got_damage, &g };
		char path[] = "/tmp/caronte-test-XXXXXX";
		struct log_parse p;
		struct log_file f;
		bool any;
		int n = snprintf(text, sizeof(text), "%-*s?>", (int)(sizeof(text) - 3), head);

		torn.fd = mkstemp(path);
		torn.at = sizeof(head) - 1;
		write_all(torn.fd, text, (size_t)n, 0);
		assert_true(log_parse_open(&p, &sink));
		assert_int_equal(log_file_open(&f, path), 0);
		on_doubt = write_second;
		assert_int_equal(log_file_read(&f, &p, grows, &any), 0);
		on_doubt = NULL;
		if (g.damages)
			fail_msg("line %llu %s", (unsigned long long)g.line, g.what);
		assert_string_equal(g.text, "1 2 ");
		log_file_close(&f);
		log_parse_close(&p);
		close(torn.fd);
		unlink(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_several_behind_each_other),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_follow),
		cmocka_unit_test(test_read_while_written),
		cmocka_unit_test(test_torn_tag),
		cmocka_unit_test(test_half_a_tag),
		cmocka_unit_test(test_blanks_beyond_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
