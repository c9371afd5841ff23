/* SPDX-License-Identifier: ISC */
/*
 * The log writer where things go wrong: full disks, directories that are not there, damaged files,
 * a second writer, standard output that nobody reads; and the check before the start. Mail is never
 * held up: the producers drop and count, and the count is in the log when writing works again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "writerproc.h"
#include "xmllog/check.h"

static void write_old_log(time_t age)
{
	time_t then = time(NULL) - age;
	char when[32];
	struct tm tm;
	FILE *f = fopen(path, "w");

	gmtime_r(&then, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(f,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<caronte-log>\n"
		"<fault time=\"%s.000000Z\" what=\"old\"/>\n</caronte-log><?pad ?>",
		when);
	fclose(f);
}

static void test_rotates_by_age(void **state)
{
	struct xmllog l[RINGS];

	(void)state;
	config.rotate_hours = 2;
	open_producers(l, 1);
	write_old_log(7100);
	numbered(&l[0], 0, 0);
	assert_int_equal(end_writer(start_writer()), EX_OK);
	assert_int_equal(log_count(path), 2);
	assert_null(log_archived(archive, 0));
	assert_int_equal(pipe2(life, O_CLOEXEC), 0);
	write_old_log(7300);
	numbered(&l[0], 0, 1);
	assert_int_equal(end_writer(start_writer()), EX_OK);
	assert_int_equal(log_count(path), 1);
	assert_int_equal(log_count(log_archived(archive, 0)), 1);
}

static void test_damaged_file_is_archived(void **state)
{
	struct xmllog l[RINGS];
	FILE *f = fopen(path, "w");
	xmlDocPtr doc;

	(void)state;
	fputs("<caronte-log><fault", f);
	fclose(f);
	open_producers(l, 1);
	numbered(&l[0], 0, 0);
	assert_int_equal(end_writer(start_writer()), EX_OK);
	doc = log_load(path);
	assert_non_null(doc);
	assert_true(log_has(log_first(doc), "what", "log-not-well-formed"));
	assert_true(log_has(xmlNextElementSibling(log_first(doc)), "what", "r0"));
	xmlFreeDoc(doc);
	assert_non_null(log_archived(archive, 0));
}

static void test_failed_rotation_is_told(void **state)
{
	struct xmllog l[RINGS];

	(void)state;
	config.rotate_hours = 1;
	config.archive_dir = "/tmp/caronte-no-such-directory";
	write_old_log(7300);
	open_producers(l, 1);
	numbered(&l[0], 0, 0);
	numbered(&l[0], 0, 1);
	pid_t pid = start_writer();
	wait_drained();
	numbered(&l[0], 0, 2);
	assert_int_equal(end_writer(pid), EX_OK);
	assert_int_equal(log_count(path), 5); /* the old one, three, and the fault */
}

static void test_two_writers(void **state)
{
	struct xmllog l[RINGS];
	pid_t pid = start_writer();
	char out[256];

	(void)state;
	open_producers(l, 1);
	numbered(&l[0], 0, 0);
	wait_drained();
	assert_true(xmllog_writer_busy(&config));
	assert_null(xmllog_writer_check(&config, out, sizeof(out)));
	kill_writer(pid);
	assert_false(xmllog_writer_busy(&config));
	assert_int_equal(end_writer(start_writer()), EX_OK);
}

static void test_check(void **state)
{
	struct xmllog_writer_config c = config;
	char other[128], out[256];
	struct stat before, after;

	(void)state;
	assert_null(xmllog_writer_check(&c, out, sizeof(out)));
	assert_int_equal(access(path, F_OK), -1); /* made nothing */
	c.file = "-";
	assert_null(xmllog_writer_check(&c, out, sizeof(out)));
	c.file = "";
	assert_non_null(xmllog_writer_check(&c, out, sizeof(out)));
	c.file = "/tmp/caronte-no-such-directory/log.xml";
	assert_non_null(strstr(xmllog_writer_check(&c, out, sizeof(out)), "No such file"));
	c.file = dir;
	assert_non_null(xmllog_writer_check(&c, out, sizeof(out)));
	c.file = "/dev/null";
	assert_non_null(strstr(xmllog_writer_check(&c, out, sizeof(out)), "not a regular file"));
	snprintf(other, sizeof(other), "%s/link", dir);
	assert_int_equal(symlink(path, other), 0);
	c.file = other;
	assert_non_null(strstr(xmllog_writer_check(&c, out, sizeof(out)), "symbolic link"));
	c.file = path;
	c.archive_dir = "/tmp/caronte-no-such-directory";
	assert_null(xmllog_archive_check(&c, out, sizeof(out))); /* no rotation, no archive */
	c.rotate_mib = 1;
	assert_non_null(strstr(xmllog_archive_check(&c, out, sizeof(out)), c.archive_dir));
	assert_null(xmllog_writer_check(&c, out, sizeof(out)));
	c.archive_dir = "";
	assert_string_equal(xmllog_archive_check(&c, out, sizeof(out)), "no directory is named");
	c.archive_dir = archive;
	assert_null(xmllog_archive_check(&c, out, sizeof(out)));
	write_old_log(1);
	assert_int_equal(stat(path, &before), 0);
	assert_null(xmllog_writer_check(&c, out, sizeof(out)));
	assert_int_equal(stat(path, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
	if (geteuid() == 0)
		return; /* root may write anywhere */
	chmod(path, 0400);
	assert_non_null(strstr(xmllog_writer_check(&c, out, sizeof(out)), "Permission denied"));
	chmod(path, 0600);
	chmod(dir, 0500);
	assert_non_null(strstr(xmllog_writer_check(&c, out, sizeof(out)), "Permission denied"));
	chmod(dir, 0700);
}

/* Reads all of it until its end. */
static char *read_all(int fd, size_t *n)
{
	char *p = malloc(4u << 20);
	ssize_t k;

	*n = 0;
	while ((k = read(fd, p + *n, (4u << 20) - 1 - *n)) > 0)
		*n += (size_t)k;
	p[*n] = '\0';
	return p;
}

static void test_standard_output(void **state)
{
	struct xmllog l[RINGS];
	xmlDocPtr doc;
	int out[2];
	size_t n;
	char *text;
	pid_t pid;

	(void)state;
	config.file = "-";
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	open_producers(l, 1);
	for (uint64_t i = 0; i < 100; i++)
		numbered(&l[0], 0, i);
	pid = start_writer_on(out[1], -1);
	close(out[1]);
	close(life[1]);
	life[1] = -1;
	text = read_all(out[0], &n);
	assert_int_equal(wait_for(pid), EX_OK);
	doc = xmlReadMemory(text, (int)n, NULL, NULL, 0);
	assert_non_null(doc);
	assert_true(log_validates(doc, "standard output", 0));
	assert_int_equal(xmlChildElementCount(xmlDocGetRootElement(doc)), 100);
	assert_null(strstr(text, "<?pad"));
	xmlFreeDoc(doc);
	free(text);
	close(out[0]);
}

/* A reader that does not read, and one that is gone: nobody waits, and the writer ends in time. */
static void test_stuck_output(void **state)
{
	(void)state;
	config.file = "-";
	for (int gone = 0; gone < 2; gone++) {
		struct xmllog l[RINGS];
		int out[2], status = 0;
		int said = memfd_create("said", MFD_CLOEXEC);
		char text[512] = "";
		pid_t pid;

		assert_int_equal(pipe2(out, O_CLOEXEC), 0);
		if (gone) {
			close(out[0]);
			assert_int_equal(pipe2(life, O_CLOEXEC), 0);
		}
		pid = start_writer_on(out[1], said);
		open_producers(l, 1);
		for (uint64_t i = 0; i < 5000; i++)
			numbered(&l[0], 0, i);
		assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		assert_int_equal(end_writer(pid), EX_IOERR);
		assert_true(pread(said, text, sizeof(text) - 1, 0) > 0);
		assert_non_null(strstr(text, "standard output: its last records could not be "
					     "written\n"));
		close(said);
		close(out[1]);
		if (!gone)
			close(out[0]);
	}
}

/* Fills the log until drops are told of a disk that is full; MAKE_ROOM frees it. */
static void fill_and_free(pid_t pid, void (*make_room)(pid_t))
{
	uint64_t dropped = 0, kept = 0, made = 0;
	struct xmllog l[RINGS];
	xmlDocPtr doc;

	open_producers(l, 1);
	do { /* until the writer has had the time to get stuck */
		for (uint64_t i = 0; i < 3000; i++, made++) {
			numbered(&l[0], 0, i);
			if (i % 100 == 0)
				pause_us(3000);
		}
		assert_true(made < 300000);
	} while (atomic_load(&rings[0]->dropped) == 0 || drained() || log_count(path) <= 100);
	make_room(pid);
	wait_drained();
	assert_int_equal(end_writer(pid), EX_OK);
	doc = log_load(path);
	assert_non_null(doc);
	for (xmlNodePtr r = log_first(doc); r; r = xmlNextElementSibling(r))
		if (log_has(r, "what", "log-dropped"))
			dropped += log_num(r, "count");
		else
			kept++;
	xmlFreeDoc(doc);
	assert_true(dropped > 0);
	assert_int_equal(kept + dropped, made);
}

static void raise_limit(pid_t pid)
{
	struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };

	assert_int_equal(prlimit(pid, RLIMIT_FSIZE, &no_limit, NULL), 0);
}

/* A limit of the file's size is a full disk for everybody. */
static void test_file_size_limit(void **state)
{
	struct rlimit limit = { 1000000, RLIM_INFINITY };
	pid_t pid = start_writer();

	(void)state;
	assert_int_equal(prlimit(pid, RLIMIT_FSIZE, &limit, NULL), 0);
	fill_and_free(pid, raise_limit);
}

static void grow_disk(pid_t pid)
{
	(void)pid;
	assert_int_equal(mount(NULL, archive, NULL, MS_REMOUNT, "size=32m"), 0);
}

/* A real full disk, where we may mount one: in a mount namespace of our own. */
static void test_full_disk(void **state)
{
	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", archive, "tmpfs", 0, "size=600k") < 0)
		skip();
	snprintf(path, sizeof(path), "%.64s/archive/log.xml", dir);
	fill_and_free(start_writer(), grow_disk);
	umount2(archive, MNT_DETACH);
}

/* A log that is too old on a disk that is full: it stays, and goes on when there is room. */
static void test_rotates_on_a_full_disk(void **state)
{
	static const char block[4096] = "x";
	struct xmllog l[RINGS];
	char ballast[128];
	int fd;
	pid_t pid;

	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", archive, "tmpfs", 0, "size=1m") < 0)
		skip();
	snprintf(path, sizeof(path), "%.64s/archive/log.xml", dir);
	snprintf(ballast, sizeof(ballast), "%.64s/archive/ballast", dir);
	config.rotate_hours = 2;
	write_old_log(7300);
	fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
	open_producers(l, 1);
	numbered(&l[0], 0, 0);
	pid = start_writer();
	for (int i = 0; i < 300; i++) {
		assert_int_equal(log_count(path), 1);
		pause_us(1000);
	}
	assert_null(log_archived(archive, 0));
	unlink(ballast);
	wait_drained();
	assert_int_equal(end_writer(pid), EX_OK);
	assert_null(log_archived(archive, 0));
	assert_int_equal(log_count(path), 3); /* the old one, the fault, and what waited */
	umount2(archive, MNT_DETACH);
}

/* The directory is not there yet: the records wait. */
static void test_late_directory(void **state)
{
	struct xmllog l[RINGS];
	char late[128];
	pid_t pid;

	(void)state;
	snprintf(late, sizeof(late), "%s/late/log.xml", dir);
	config.file = late;
	open_producers(l, 1);
	numbered(&l[0], 0, 0);
	pid = start_writer();
	pause_us(100000);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	late[strlen(late) - strlen("/log.xml")] = '\0';
	assert_int_equal(access(late, F_OK), -1); /* not made by the writer */
	assert_int_equal(mkdir(late, 0700), 0);
	late[strlen(late)] = '/';
	assert_int_equal(end_writer(pid), EX_OK);
	assert_int_equal(log_count(late), 1);
}

/* Nor does standard error that nobody reads hold it up. */
static void test_stuck_error(void **state)
{
	struct xmllog l[RINGS];
	char full[4096] = "";
	int said[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(said, O_CLOEXEC), 0);
	assert_int_equal(fcntl(said[1], F_SETPIPE_SZ, sizeof(full)), sizeof(full));
	assert_int_equal(write(said[1], full, sizeof(full)), sizeof(full));
	assert_int_equal(rename(archive, path), 0); /* a directory: no log */
	open_producers(l, 1);
	numbered(&l[0], 0, 0);
	pid = start_writer_on(-1, said[1]);
	pause_us(200000);
	assert_int_equal(rmdir(path), 0);
	wait_drained();
	assert_int_equal(end_writer(pid), EX_OK);
	assert_int_equal(log_count(path), 1);
	close(said[0]);
	close(said[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rotates_by_age, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_file_is_archived, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_rotation_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_writers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check, setup, teardown),
		cmocka_unit_test_setup_teardown(test_standard_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stuck_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_size_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotates_on_a_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stuck_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
