/* SPDX-License-Identifier: ISC */
/*
 * The file of the log: well-formed and by the schema after each single write, after a writer that
 * was killed inside a write at any octet (inside a page only where the write may be cut there),
 * after a full disk; continued, replaced or moved to the archive as what is found calls for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "logcheck.h"
#include "size.h"
#include "xmllog/logfile.h"
#include "xmllog/logopen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RECORD	 "<debug time=\"2026-01-02T03:04:05.%06uZ\" what=\"r?\" detail=\"%u %0*d\"/>\n"

static char dir[64], path[96], archive[96];

/* What write_at does: shared with the child that writes. */
static struct plan {
	int at;		/* the write that is the last one, from 0; -1: none */
	size_t octets;	/* of it, how many get through */
	int fail_at;	/* the write that gets through and is said to have failed; -1: none */
	int writes;	/* made so far */
	uint64_t room;	/* a disk of that many octets; 0: no end */
	size_t n[4096]; /* each write's length */
} * plan;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/caronte-logfile-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/log.xml", dir);
	snprintf(archive, sizeof(archive), "%s/archive", dir);
	memset(plan, 0, sizeof(*plan));
	plan->at = plan->fail_at = -1;
	return mkdir(archive, 0700);
}

static int teardown(void **state)
{
	(void)state;
	remove_tree(dir);
	return 0;
}

static size_t flatten(const struct iovec *iov, int n, char *out)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++) {
		memcpy(out + sum, iov[i].iov_base, iov[i].iov_len);
		sum += iov[i].iov_len;
	}
	return sum;
}

static ssize_t write_at(int fd, const struct iovec *iov, int n, off_t at)
{
	static char all[4u << 20];
	size_t len = flatten(iov, n, all);
	int k = plan->writes++;

	if (k < (int)COUNT(plan->n))
		plan->n[k] = len;
	if (k == plan->at) {
		if (pwrite(fd, all, plan->octets, at) != (ssize_t)plan->octets)
			abort();
		_exit(0);
	}
	if (k == plan->fail_at) {
		if (pwrite(fd, all, len, at) != (ssize_t)len)
			abort();
		errno = EIO;
		return -1;
	}
	if (plan->room && (uint64_t)at + len > plan->room) {
		if ((uint64_t)at >= plan->room) {
			errno = ENOSPC;
			return -1;
		}
		len = plan->room - (uint64_t)at;
	}
	return pwrite(fd, all, len, at);
}

static void file_init(struct logfile *f, uint64_t limit)
{
	logfile_init(f, path, archive, limit);
	f->pwritev = write_at;
}

/* N records from number FROM on, each about LEN octets longer than the shortest. */
static char *records(unsigned from, unsigned n, int len, size_t *octets)
{
	size_t cap = (size_t)n * ((size_t)len + 200) + 1, at = 0;
	char *text = malloc(cap);

	for (unsigned i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, cap - at, RECORD, from + i, from + i, len, 0);
	*octets = at;
	return text;
}

static int append(struct logfile *f, unsigned from, unsigned n, int len)
{
	size_t octets;
	char *text = records(from, n, len, &octets);
	int rc = logfile_prepare(f, text, octets);

	if (rc == 0)
		rc = logfile_commit(f, 1);
	free(text);
	return rc;
}

/* The file is good and holds the records 0 to N - 1; the number N. */
static unsigned check_file(const char *name)
{
	xmlDocPtr doc = log_load(name);
	unsigned n = 0;

	assert_non_null(doc);
	for (xmlNodePtr r = log_first(doc); r; r = xmlNextElementSibling(r), n++)
		assert_int_equal(log_num(r, "detail"), n);
	xmlFreeDoc(doc);
	return n;
}

static char *slurp(const char *name, size_t *n)
{
	FILE *f = fopen(name, "r");
	struct stat st;
	char *p;

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	p = malloc((size_t)st.st_size + 1);
	assert_non_null(p);
	*n = fread(p, 1, (size_t)st.st_size, f);
	assert_int_equal(*n, st.st_size);
	p[*n] = '\0';
	fclose(f);
	return p;
}

/* As caronte-log(5) has it: the tag, blanks only, the end. Each record begins a line. */
static void check_shape(void)
{
	size_t n;
	char *p = slurp(path, &n), *tail = strstr(p, LOGFILE_TAIL), *c;

	assert_non_null(tail);
	assert_int_equal(strncmp(p, LOGFILE_HEAD, strlen(LOGFILE_HEAD)), 0);
	assert_true(tail[-1] == '\n' || tail[-1] == ' ');
	for (c = tail + LOGFILE_TAIL_LEN; *c == ' '; c++)
		;
	assert_string_equal(c, "?>");
	assert_true(c + 2 == p + n);
	for (c = p; (c = strstr(c, "<debug")); c++)
		assert_int_equal(c[-1], '\n');
	free(p);
}

/* What every round writes: small batches, some larger than a page, some than a growth step. */
static const struct {
	unsigned n;
	int len;
} batches[] = { { 1, 1 }, { 3, 50 },	{ 1, 3900 }, { 40, 100 }, { 1, 4000 }, { 55, 3900 },
		{ 2, 1 }, { 40, 3900 }, { 1, 1 },    { 1, 3967 }, { 1, 3968 }, { 5, 500 } };

/* Opens, goes on behind the N records that are there, writes all batches, closes. */
static void write_all(unsigned n)
{
	struct logfile f;

	file_init(&f, 0);
	if (logfile_open(&f) < 0)
		_exit(1);
	for (size_t i = 0; i < COUNT(batches); i++) {
		if (append(&f, n, batches[i].n, batches[i].len) < 0)
			_exit(2);
		n += batches[i].n;
	}
	logfile_close(&f);
}

/* In a child that ends inside write AT after OCTETS of it. Whether there was such a write. */
static int killed_at(int at, size_t octets, unsigned n)
{
	int status;
	pid_t pid;

	plan->at = at;
	plan->octets = octets;
	plan->writes = 0;
	pid = fork();
	if (pid == 0) {
		write_all(n);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	plan->at = -1;
	return plan->writes > at;
}

/* Continues what a killed writer left: the file is good, before and after. */
static unsigned check_and_continue(void)
{
	struct logfile f;
	unsigned n;

	if (access(path, F_OK) < 0)
		n = 0; /* killed before the new file got its name */
	else
		n = check_file(path);
	file_init(&f, 0);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(f.moved[0], 0);
	assert_int_equal(check_file(path), n);
	check_shape();
	assert_int_equal(append(&f, n, 3, 10), 0);
	logfile_close(&f);
	assert_int_equal(check_file(path), n + 3);
	check_shape();
	return n + 3;
}

/* Writes up to that length change what the file means, within one page: the kernel never cuts them.
 */
#define ATOMIC 20

static void test_killed_inside_every_write(void **state)
{
	size_t lengths[256], step = size_of(1, 5), skip = 0;
	int writes;

	(void)state;
	assert_true(killed_at(100000, 0, 0) == 0);
	writes = plan->writes;
	assert_in_range(writes, 2 * COUNT(batches), COUNT(lengths) - 1);
	memcpy(lengths, plan->n, sizeof(lengths));
	assert_int_equal(check_file(path), 151);
	for (int k = 0; k < writes; k++) {
		size_t len = lengths[k];
		size_t cuts[] = { 0,	   len,	    1,	     2,	       len / 3, len / 2,
				  len - 1, len - 6, len - 7, len - 20, 4096,	8191 };

		for (size_t i = 0; i < COUNT(cuts); i++) {
			if (cuts[i] > len || (len <= ATOMIC && i > 1) || skip++ % step)
				continue;
			unlink(path);
			assert_true(killed_at(k, cuts[i], 0));
			check_and_continue();
		}
	}
}

/* A second writer is killed while it cleans up and goes on, and a third: what they leave adds up.
 */
static void test_killed_again_and_again(void **state)
{
	(void)state;
	srandom(5);
	for (unsigned round = 0; round < size_of(40, 8); round++) {
		unsigned n = 0;

		unlink(path);
		for (int life = 0; life < 4; life++) {
			int k = (int)(random() % (life ? 12 : 30));
			size_t cut = 0;

			/* The length is known only from a run; a copy of the file takes it. */
			char keep[128], back[300];
			snprintf(keep, sizeof(keep), "%s/keep", dir);
			snprintf(back, sizeof(back), "cp -f %s %s 2>/dev/null", path, keep);
			unlink(keep);
			if (life)
				assert_int_equal(system(back), 0);
			if (killed_at(k, 0, n)) {
				size_t len = plan->n[k];

				cut = len <= ATOMIC ? (random() & 1) * len
						    : (size_t)random() % (len + 1);
			}
			unlink(path);
			if (life)
				assert_int_equal(rename(keep, path), 0);
			killed_at(k, cut, n);
			n = access(path, F_OK) == 0 ? check_file(path) : 0;
			if (access(path, F_OK) < 0)
				life = -1; /* not born yet */
		}
		check_and_continue();
	}
}

/*
 * A batch that failed leaves its octets in the padding, and then another one is cut short: the "?"
 * of the one and the ">" of the other must not meet.
 */
static void test_no_seam(void **state)
{
	char text[700];
	int len;

	(void)state;
	len = snprintf(text, sizeof(text), "<debug time=\"2026-01-02T03:04:05.000000Z\" what=\"");
	memset(text + len, '?', sizeof(text) - (size_t)len);
	memcpy(text + sizeof(text) - 4, "\"/>\n", 4);
	for (size_t cut = 50; cut <= 250; cut += size_of(1, 7)) {
		pid_t pid;
		int status;

		unlink(path);
		plan->writes = 0;
		plan->at = plan->fail_at = -1;
		pid = fork();
		if (pid == 0) {
			struct logfile f;

			file_init(&f, 0);
			if (logfile_open(&f) < 0 || append(&f, 0, 1, 1) < 0)
				_exit(1);
			plan->fail_at = plan->writes;
			if (append(&f, 1, 9, 1) != -EIO)
				_exit(2);
			/* The write that blanks is the first one now, the batch's the second. */
			plan->at = plan->writes + 1;
			plan->octets = cut;
			if (logfile_prepare(&f, text, sizeof(text)) < 0)
				_exit(3);
			_exit(4);
		}
		waitpid(pid, &status, 0);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		assert_int_equal(check_file(path), 1);
	}
	plan->at = plan->fail_at = -1;
}

static void test_full_disk(void **state)
{
	(void)state;
	for (uint64_t room = 4096; room < 500000;
	     room += size_of(1, 3) * (room < 9000 ? 197 : 40009)) {
		struct logfile f;
		unsigned n = 0;
		int failures = 0;

		unlink(path);
		file_init(&f, 0);
		assert_int_equal(logfile_open(&f), 0);
		plan->room = room;
		for (size_t i = 0; i < COUNT(batches); i++) {
			while (append(&f, n, batches[i].n, batches[i].len) < 0) {
				assert_int_equal(check_file(path), n);
				/* Some room comes free, then more. */
				plan->room += ++failures % 3 ? 1000 : 300000;
			}
			n += batches[i].n;
		}
		if (room < 400000)
			assert_true(failures > 0);
		plan->room = 0;
		logfile_close(&f);
		assert_int_equal(check_file(path), n);
		check_shape();
	}
}

static void put_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

#define DEBUG(n) "<debug time=\"2026-01-02T03:04:05.000000Z\" what=\"x\" detail=\"" #n "\"/>\n"

static void test_what_is_there(void **state)
{
	static const struct {
		const char *text;
		int records; /* -1: to the archive */
	} rows[] = {
		{ "", 0 },
		{ LOGFILE_HEAD "</caronte-log><?pad ?>", 0 },
		{ LOGFILE_HEAD DEBUG(0) DEBUG(1) "</caronte-log><?pad    ?>", 2 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad    ?>\n \t\r\n", 1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad   ?> \n <?pad ?>", 1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad   ?> \n <?pad ?>\n", 1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad   ?><?pad ?><?pad ?>", 1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log>", 1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log>\n\n", 1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log>\n<?pad ?>", 1 },
		/* what a killed writer had put into the padding */
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad " DEBUG(1) "</caronte-log><?pad   ?>",
		  1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad " DEBUG(1) "<debug detail=\"a?   ?>",
		  1 },
		/* not well-formed */
		{ " ", -1 },
		{ LOGFILE_HEAD, -1 },
		{ LOGFILE_HEAD DEBUG(0), -1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad   ", -1 },
		{ LOGFILE_HEAD DEBUG(0) "</caronte-log><?pad ?> x", -1 },
		{ LOGFILE_HEAD "<debug what=\"\xff\"/></caronte-log><?pad ?>", -1 },
		{ LOGFILE_HEAD "<debug></caronte-log><?pad ?>", -1 },
		/* well-formed, but nothing that could be continued */
		{ "<a/>", -1 },
		{ "<caronte-log></caronte-log><?pad ?>", -1 },
		{ "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<caronte-log>\n</caronte-log>",
		  -1 },
		{ LOGFILE_HEAD "</caronte-log ><?pad ?>", -1 },
		{ LOGFILE_HEAD "</caronte-log><?other ?>", -1 },
		{ LOGFILE_HEAD "</caronte-log><!-- --><?pad ?>", -1 },
		{ LOGFILE_HEAD "<caronte-log></caronte-log></caronte-log><?pad ?>", -1 },
		{ LOGFILE_HEAD "<!-- </caronte-log><?pad ?> --></caronte-log><?pad ?>", -1 },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct logfile f;
		unsigned n = rows[i].records > 0 ? (unsigned)rows[i].records : 0;

		teardown(state);
		setup(state);
		put_file(path, rows[i].text);
		file_init(&f, 0);
		assert_int_equal(logfile_open(&f), 0);
		assert_int_equal(check_file(path), n);
		assert_int_equal(f.moved[0] != 0, rows[i].records < 0);
		assert_int_equal(f.first_us != 0, rows[i].records > 0);
		if (rows[i].records < 0) {
			size_t len;
			char *was = slurp(f.moved, &len);

			assert_string_equal(was, rows[i].text);
			free(was);
		}
		assert_int_equal(append(&f, n, 1, 5), 0);
		logfile_close(&f);
		assert_int_equal(check_file(path), n + 1);
		if (rows[i].text[0] && rows[i].records <= 0)
			check_shape();
	}
}

/* Closing tags at each place around a page's end, in our shape and in others. */
static void test_tail_across_pages(void **state)
{
	static const char *const ends[] = { "</caronte-log>", "</caronte-log><?pad ?>",
					    "</caronte-log><?pad          ?>" };
	char text[3 * 4096];

	(void)state;
	for (int at = 4096 - 45; at < 4096 + 5; at++) {
		for (size_t k = 0; k < COUNT(ends); k++) {
			int fill = at - (int)strlen(LOGFILE_HEAD);
			struct logfile f;

			snprintf(text, sizeof(text), "%s%*s%s", LOGFILE_HEAD, fill, "\n", ends[k]);
			put_file(path, text);
			file_init(&f, 0);
			assert_int_equal(logfile_open(&f), 0);
			assert_int_equal(f.moved[0], 0);
			assert_int_equal(append(&f, 0, 2, 5), 0);
			assert_int_equal(check_file(path), 2);
			logfile_close(&f);
			assert_int_equal(check_file(path), 2);
		}
	}
}

static void test_new_file(void **state)
{
	struct logfile f;
	struct stat st;
	mode_t old = umask(0);

	(void)state;
	file_init(&f, 0);
	assert_int_equal(logfile_open(&f), 0);
	umask(old);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(check_file(path), 0);
	check_shape();
	logfile_close(&f);
	check_shape();
	assert_null(log_archived(archive, 0));
}

static void test_refused_places(void **state)
{
	char other[128];
	struct logfile f;

	(void)state;
	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(symlink(other, path), 0);
	file_init(&f, 0);
	assert_int_equal(logfile_open(&f), -ELOOP);
	assert_int_equal(access(other, F_OK), -1);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(logfile_open(&f), -EISDIR);
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(logfile_open(&f), -EINVAL);
	unlink(path);
	f.path = "/tmp/caronte-no-such-directory/log.xml";
	assert_int_equal(logfile_open(&f), -ENOENT);
	assert_int_equal(f.fd, -1);
	/* A symbolic link in the way of the new file is not followed either. */
	f.path = path;
	snprintf(other, sizeof(other), "%s.new", path);
	assert_int_equal(symlink("/tmp/caronte-no-such-file", other), 0);
	assert_int_equal(logfile_open(&f), -ELOOP);
}

static void test_one_writer(void **state)
{
	struct logfile f, g;

	(void)state;
	file_init(&f, 0);
	file_init(&g, 0);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(logfile_open(&g), -EBUSY);
	assert_int_equal(append(&f, 0, 1, 1), 0);
	logfile_close(&f);
	assert_int_equal(logfile_open(&g), 0);
	assert_int_equal(append(&g, 1, 1, 1), 0);
	logfile_close(&g);
	assert_int_equal(check_file(path), 2);
}

static void test_rotate(void **state)
{
	struct logfile f;
	unsigned n = 0, sum = 0;

	(void)state;
	file_init(&f, 1u << 20);
	assert_int_equal(logfile_open(&f), 0);
	assert_false(logfile_full(&f, 2u << 20)); /* a file without records is never full */
	while (!logfile_full(&f, 1200)) {
		struct stat st;

		assert_int_equal(append(&f, n++, 1, 1000), 0);
		assert_int_equal(fstat(f.fd, &st), 0);
		assert_true(st.st_size <= 1 << 20);
	}
	for (int i = 0; i < 3; i++) { /* within one second too */
		assert_int_equal(logfile_rotate(&f), 0);
		assert_int_equal(check_file(path), 0);
		assert_true(logfile_intact(&f));
		assert_int_equal(f.first_us, 0);
		assert_int_equal(append(&f, 0, 4, 10), 0);
	}
	logfile_close(&f);
	assert_int_equal(check_file(path), 4);
	for (size_t i = 0; i < 3; i++)
		sum += check_file(log_archived(archive, i));
	assert_int_equal(sum, n + 4 + 4);
	assert_null(log_archived(archive, 3));
}

static void assert_nothing_beside(void)
{
	char new[128];

	snprintf(new, sizeof(new), "%s.new", path);
	assert_int_equal(access(new, F_OK), -1);
}

/* A log without room for the next one stays where it is, whatever the next one lacked. */
static void test_rotate_without_room(void **state)
{
	struct logfile f;

	(void)state;
	file_init(&f, 0);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(append(&f, 0, 4, 10), 0);
	for (uint64_t room = 1; room < LOGFILE_PAGE; room += 819) {
		plan->room = room;
		assert_int_equal(logfile_rotate(&f), -ENOSPC);
		plan->room = 0;
		assert_nothing_beside();
		assert_null(log_archived(archive, 0));
		assert_true(logfile_intact(&f));
	}
	assert_int_equal(append(&f, 4, 4, 10), 0);
	assert_int_equal(check_file(path), 8);
	assert_int_equal(logfile_rotate(&f), 0);
	logfile_close(&f);
	assert_int_equal(check_file(path), 0);
	assert_int_equal(check_file(log_archived(archive, 0)), 8);
}

/* Goes on for ever, with up to three records a file; how many there are is counted in plan->at. */
static void rotate_for_ever(void)
{
	struct logfile f;
	unsigned n;

	logfile_init(&f, path, archive, 0);
	if (logfile_open(&f) < 0)
		_exit(1);
	for (n = check_file(path);; n = 0) {
		for (; n < 3; n++) {
			if (append(&f, n, 1, 10) < 0)
				_exit(2);
			plan->at++;
		}
		if (logfile_rotate(&f) < 0)
			_exit(3);
	}
}

static int archived_records(void)
{
	char *name;
	int sum = 0;

	for (size_t i = 0; (name = log_archived(archive, i)); i++) {
		int records = (int)check_file(name);

		assert_true(records > 0);
		sum += records;
	}
	return sum;
}

/* At any moment: no record is lost or in two places, no log without a record is in the archive, and
 * nothing stays beside it. */
static void test_killed_while_rotating(void **state)
{
	(void)state;
	srandom(7);
	for (unsigned round = 0; round < size_of(60, 20); round++) {
		struct timespec t = { .tv_nsec = random() % 3000000 };
		struct logfile f;
		int status, found;
		pid_t pid;

		teardown(state);
		setup(state);
		file_init(&f, 0);
		assert_int_equal(logfile_open(&f), 0);
		logfile_close(&f);
		plan->at = 0;
		pid = fork();
		if (pid == 0)
			rotate_for_ever();
		nanosleep(&t, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));
		found = archived_records();
		if (access(path, F_OK) == 0) /* not between two renames */
			found += (int)check_file(path);
		assert_in_range(found, plan->at, plan->at + 1);
		plan->at = -1;
		assert_int_equal(logfile_open(&f), 0);
		assert_int_equal(f.moved[0], 0);
		assert_nothing_beside();
		assert_int_equal((int)check_file(path) + archived_records(), found);
		logfile_close(&f);
	}
}

/* What a writer that was killed had begun for the next log goes when the log is opened. */
static void test_left_beside(void **state)
{
	char new[128];
	struct logfile f;

	(void)state;
	file_init(&f, 0);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(append(&f, 0, 4, 10), 0);
	logfile_close(&f);
	snprintf(new, sizeof(new), "%s.new", path);
	put_file(new, LOGFILE_HEAD);
	assert_int_equal(logfile_open(&f), 0);
	assert_nothing_beside();
	assert_int_equal(check_file(path), 4);
	logfile_close(&f);
}

static void test_rotate_fails(void **state)
{
	struct logfile f;

	(void)state;
	file_init(&f, 1u << 20);
	f.archive_dir = "/tmp/caronte-no-such-directory";
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(append(&f, 0, 4, 10), 0);
	assert_int_equal(logfile_rotate(&f), -ENOENT);
	assert_nothing_beside();
	assert_int_equal(check_file(path), 4);
	assert_int_equal(append(&f, 4, 400, 1000), 0);
	logfile_close(&f);
	assert_int_equal(check_file(path), 404);
}

/* The archive on another file system: copied, whole, and nothing half-made is left. */
static void test_rotate_across_file_systems(void **state)
{
	char far[] = "/dev/shm/caronte-archive-XXXXXX", part[128];
	struct stat here, there;
	struct logfile f;

	(void)state;
	if (stat(dir, &here) < 0 || !mkdtemp(far))
		skip();
	assert_int_equal(stat(far, &there), 0);
	if (here.st_dev == there.st_dev) {
		rmdir(far);
		skip();
	}
	file_init(&f, 0);
	f.archive_dir = far;
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(append(&f, 0, 500, 1000), 0);
	assert_int_equal(logfile_rotate(&f), 0);
	assert_nothing_beside();
	assert_int_equal(check_file(path), 0);
	assert_int_equal(append(&f, 0, 3, 10), 0);
	logfile_close(&f);
	assert_int_equal(check_file(path), 3);
	snprintf(archive, sizeof(archive), "%s", far);
	assert_int_equal(check_file(log_archived(archive, 0)), 500);
	assert_null(log_archived(archive, 1));
	snprintf(part, sizeof(part), "%s/.caronte-archive.part", far);
	assert_int_equal(access(part, F_OK), -1);
	remove_tree(far);
}

static void test_notices_interference(void **state)
{
	struct logfile f;

	(void)state;
	file_init(&f, 0);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(append(&f, 0, 4, 10), 0);
	assert_true(logfile_intact(&f));
	assert_int_equal(truncate(path, 0), 0);
	assert_false(logfile_intact(&f));
	logfile_close(&f);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(append(&f, 0, 4, 10), 0);
	assert_int_equal(unlink(path), 0);
	assert_false(logfile_intact(&f));
	logfile_close(&f);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(check_file(path), 0);
	/* Moved away and told nobody: rotating leaves what stands there now alone. */
	assert_int_equal(append(&f, 0, 4, 10), 0);
	char moved[128];
	snprintf(moved, sizeof(moved), "%s/moved", dir);
	assert_int_equal(rename(path, moved), 0);
	put_file(path, "somebody else's");
	assert_int_equal(logfile_rotate(&f), 0);
	assert_int_equal(check_file(moved), 4);
	assert_null(log_archived(archive, 0));
}

/* A large file is read through before it is continued, and its first record tells its age. */
static void test_large_file(void **state)
{
	struct logfile f;

	(void)state;
	file_init(&f, 0);
	f.pwritev = pwritev;
	assert_int_equal(logfile_open(&f), 0);
	for (unsigned i = 0; i < 24; i++)
		assert_int_equal(append(&f, i * 1000, 1000, 1000), 0);
	assert_true(f.size > 24u << 20);
	logfile_close(&f);
	file_init(&f, 0);
	assert_int_equal(logfile_open(&f), 0);
	assert_int_equal(f.first_us, 1767323045000000);
	assert_int_equal(append(&f, 24000, 1, 1), 0);
	logfile_close(&f);
	assert_int_equal(check_file(path), 24001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_inside_every_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_again_and_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_seam, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tail_across_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused_places, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_writer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotate_without_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_while_rotating, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_beside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotate_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotate_across_file_systems, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notices_interference, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_file, setup, teardown),
	};

	plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (plan == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
