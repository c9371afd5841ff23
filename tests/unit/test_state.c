/* SPDX-License-Identifier: ISC */
/* state: what one program hands to the next. Read back as it was written, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "master/state.h"
#include "route/note.h"

#define WORKERS	  3u
#define ADDRESSES 2u

static int listen_fds[] = { 10, 11, 12, 13, 14, 15 };
static struct state_worker workers[] = { { 0, 1000, 5, 12, 30 },
					 { 2, 1002, 5, 11, 0 },
					 { 4, 99999, 31, UINT64_MAX, 86400 } };
static struct state_address addresses[] = {
	{ "mail.test:25", { .family = 4, .port = 25, .ip = { 192, 0, 2, 1 } } },
	{ "mail.test:25", { .family = 6, .port = 25, .ip = { 0x20, 1, 0xd, 0xb8 } } },
};

static struct state_note notes[] = { { "mail.test:25", 11, "250 note\r\n\xff" },
				     { "[2001:db8::1]:25", ROUTE_NOTE_MAX, "x" } };

static struct state example(void)
{
	struct state s = {
		.last_epoch_us = UINT64_MAX - 7,
		.number = 12,
		.workers = WORKERS,
		.files = { 5, 6, 7, 14 },
		.wake_fd = 8,
		.life = { 20, 21 },
		.control_fd = -1,
		.metrics_fd = 23,
		.metrics_at = "[::1]:9100",
		.found = { 24, 25 },
		.reload = true,
		.upgrade = false,
		.handed = true,
		.writer = 77,
		.listen_count = ADDRESSES,
		.listen_fds = listen_fds,
		.worker_count = 3,
		.worker = workers,
		.other_count = 1,
		.other_seats = { 31 },
		.drained_count = 1,
		.drained = { "[2001:db8::1]:25" },
		.down_count = 2,
		.down = { "[2001:db8::1]:25", "mail.test:25" },
		.unwell_count = 1,
		.unwell = { "mail.test:25" },
		.busy_count = 1,
		.busy = { { "mail.test:25", 12, "421-no\n421 no" } },
		.address_count = 2,
		.address = addresses,
		.note_count = 2,
		.note = notes,
		.fixed = "LISTEN_ADDRESS=127.0.0.1 ::1\nWORKERS=3\nUSER=\n",
	};

	s.slots.slot[3].last = 11;
	strcpy(s.slots.slot[3].name, "mail.test:25");
	s.slots.slot[SEATS_DESTINATIONS - 1].last = 12;
	memset(s.slots.slot[SEATS_DESTINATIONS - 1].name, 'a', DESTINATION_NAME_MAX - 1);
	return s;
}

static int file_of(const char *text, size_t n)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), (ssize_t)n);
	return fd;
}

static size_t text_of(const struct state *s, char *out, size_t cap)
{
	int fd = file_of("", 0);
	ssize_t n;

	assert_int_equal(state_write(fd, s), 0);
	n = pread(fd, out, cap - 1, 0);
	assert_in_range(n, 1, cap - 2);
	out[n] = '\0';
	close(fd);
	return (size_t)n;
}

static bool reads(struct state *s, const char *text, size_t n)
{
	int fd = file_of(text, n);
	bool good = state_read(s, fd);

	close(fd);
	return good;
}

static void comes_back_as_it_was(void **state)
{
	struct state s = example(), r;
	char text[16384];
	size_t n = text_of(&s, text, sizeof(text));

	(void)state;
	assert_true(reads(&r, text, n));
	assert_memory_equal(r.listen_fds, listen_fds, sizeof(listen_fds));
	assert_int_equal(r.worker_count, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(r.worker[i].slot, workers[i].slot);
		assert_int_equal(r.worker[i].pid, workers[i].pid);
		assert_int_equal(r.worker[i].seats, workers[i].seats);
		assert_true(r.worker[i].oldest == workers[i].oldest);
		assert_int_equal(r.worker[i].grace_s, workers[i].grace_s);
	}
	assert_true(r.last_epoch_us == s.last_epoch_us && r.number == s.number);
	assert_int_equal(r.workers, WORKERS);
	assert_int_equal(r.listen_count, ADDRESSES);
	assert_memory_equal(&r.files, &s.files, sizeof(r.files));
	assert_memory_equal(r.life, s.life, sizeof(r.life));
	assert_int_equal(r.wake_fd, 8);
	assert_int_equal(r.control_fd, -1);
	assert_string_equal(r.control_at, "");
	assert_int_equal(r.metrics_fd, 23);
	assert_string_equal(r.metrics_at, "[::1]:9100");
	assert_true(r.reload && !r.upgrade);
	assert_true(state_oldest(&r) == 11);
	assert_int_equal(r.found.image, 24);
	assert_int_equal(r.found.keys, 25);
	assert_true(r.handed);
	assert_int_equal(r.writer, 77);
	assert_int_equal(r.other_count, 1);
	assert_int_equal(r.other_seats[0], 31);
	assert_int_equal(r.drained_count, 1);
	assert_string_equal(r.drained[0], s.drained[0]);
	assert_int_equal(r.down_count, 2);
	assert_string_equal(r.down[1], "mail.test:25");
	assert_int_equal(r.unwell_count, 1);
	assert_string_equal(r.unwell[0], "mail.test:25");
	assert_int_equal(r.busy_count, 1);
	assert_string_equal(r.busy[0].name, "mail.test:25");
	assert_int_equal(r.busy[0].n, 12);
	assert_memory_equal(r.busy[0].text, "421-no\n421 n", 13);
	assert_int_equal(r.address_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_string_equal(r.address[i].name, "mail.test:25");
		assert_memory_equal(&r.address[i].addr, &addresses[i].addr, sizeof(struct addr));
	}
	assert_int_equal(r.note_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_string_equal(r.note[i].name, notes[i].name);
		assert_int_equal(r.note[i].n, notes[i].n);
		assert_memory_equal(r.note[i].text, notes[i].text, notes[i].n);
	}
	assert_string_equal(r.fixed, s.fixed);
	for (unsigned i = 0; i < SEATS_DESTINATIONS; i++) {
		assert_string_equal(r.slots.slot[i].name, s.slots.slot[i].name);
		assert_true(r.slots.slot[i].last == s.slots.slot[i].last);
	}
	state_free(&r);
}

/* Cut anywhere, it is none. */
static void half_of_it_is_none(void **state)
{
	struct state s = example(), r;
	char text[16384];
	size_t n = text_of(&s, text, sizeof(text));

	(void)state;
	for (size_t cut = 0; cut < n; cut++) {
		assert_false(reads(&r, text, cut));
		state_free(&r);
	}
}

static void refuse_with(const char *from, const char *to)
{
	struct state s = example(), r;
	char text[16384], other[20000];
	char *at;

	text_of(&s, text, sizeof(text));
	at = strstr(text, from);
	assert_non_null(at);
	snprintf(other, sizeof(other), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	if (reads(&r, other, strlen(other)))
		fail_msg("taken: \"%s\" for \"%s\"", to, from);
	state_free(&r);
}

static void another_one_is_refused(void **state)
{
	char layout[64], next[64];

	(void)state;
	snprintf(layout, sizeof(layout), "caronte-state %d\n", STATE_LAYOUT);
	snprintf(next, sizeof(next), "caronte-state %d\n", STATE_LAYOUT + 1);
	refuse_with(layout, "caronte-state 0\n");
	refuse_with(layout, next);
	refuse_with(layout, "caronte-stats 1\n");
	refuse_with(layout, "");
	refuse_with("wake 8\n", "wake x\n");
	refuse_with("wake 8\n", "wake\n");
	refuse_with("wake 8\n", "woken 8\n");
	refuse_with("workers 3 2\n", "workers 0 2\n");
	refuse_with("workers 3 2\n", "workers 257 2\n");
	refuse_with("workers 3 2\n", "workers 3 65\n");
	refuse_with("workers 3 2\n", "workers 3 2\nworkers 3 2\n");
	refuse_with("workers 3 2\n", "workers 2 2\n"); /* a socket too many */
	refuse_with("workers 3 2\n", "workers 4 2\n"); /* two too few */
	refuse_with("workers 3 2\n", "");
	refuse_with("worker 0 1000 ", "worker 48 1000 "); /* slots end at 47 */
	refuse_with("worker 0 1000 ", "worker 0 1 ");	  /* never init */
	refuse_with("worker 0 1000 ", "worker 0 -1 ");	  /* … or everybody */
	refuse_with("down [", "down \ndown [");
	refuse_with("slot 3 ", "slot 128 ");
	refuse_with("worker 0 1000 5 12 30\n", "worker 0 1000 5 12\n");
	refuse_with("worker 0 1000 5 12 30\n", "worker 0 1000 5 12 -1\n");
	refuse_with("address 192.0.2.1:25 ", "address ");
	refuse_with("address 192.0.2.1:25 ", "address x 192.0.2.1:25 ");
	refuse_with("note mail.test:25 3235", "note mail.test:25 325");
	refuse_with("note mail.test:25 3235", "note mail.test:25 3G35");
	refuse_with("note mail.test:25 3235", "note mail.test:25 \nnote x 3235");
	refuse_with("note [2001:db8::1]:25 78", "note [2001:db8::1]:25 7878");
	refuse_with("note mail.test:25 ", "note  ");
	refuse_with("metrics 23 ", "metrics ");
	refuse_with("control -1 ", "control -1");
	refuse_with("mail.test:25", "");
	refuse_with("drained [", "drained \ndrained [");
	refuse_with("end\n", "end\nwake 8\n");
	refuse_with("end\n", "");
}

static void more_than_fits_is_refused(void **state)
{
	static char text[200000];
	struct state s = example(), r;
	size_t n = text_of(&s, text, sizeof(text)) - strlen("end\n");

	(void)state;
	for (unsigned i = 0; i < STATE_OTHER_TABLES + 1; i++)
		n += (size_t)sprintf(text + n, "other-seats %u\n", i);
	strcpy(text + n, "end\n");
	assert_false(reads(&r, text, strlen(text)));
	state_free(&r);
	n = text_of(&s, text, sizeof(text)) - strlen("end\n");
	while (n < 100000)
		n += (size_t)sprintf(text + n, "fixed A=%u\n", (unsigned)n);
	strcpy(text + n, "end\n");
	assert_false(reads(&r, text, strlen(text)));
	state_free(&r);
}

static void descriptors_are_kept_or_not(void **state)
{
	struct state s = { .files = { -1, -1, -1, -1 },
			   .wake_fd = -1,
			   .life = { -1, -1 },
			   .control_fd = -1,
			   .metrics_fd = -1,
			   .found = { -1, -1 },
			   .workers = 1,
			   .listen_count = 1 };
	int fd = file_of("", 0);

	(void)state;
	s.listen_fds = &fd;
	assert_true(state_keep_descriptors(&s, true));
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_true(state_keep_descriptors(&s, false));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	assert_false(state_keep_descriptors(&s, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_as_it_was),
		cmocka_unit_test(half_of_it_is_none),
		cmocka_unit_test(another_one_is_refused),
		cmocka_unit_test(more_than_fits_is_refused),
		cmocka_unit_test(descriptors_are_kept_or_not),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
