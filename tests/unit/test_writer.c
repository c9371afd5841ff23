/* SPDX-License-Identifier: ISC */
/*
 * The log writer as a process, with producers beside it: killed at any moment and started again it
 * loses no record and writes none twice; the file is good after each kill; USR1 and rotation;
 * records of every kind are what the schema says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "size.h"
#include "writerproc.h"

/* Adds what the file holds: each ring's numbers go on at NEXT. Drops that it tells are added up. */
static void read_log(const char *name, uint64_t next[RINGS], uint64_t *dropped)
{
	xmlDocPtr doc = log_load(name);

	assert_non_null(doc);
	for (xmlNodePtr r = log_first(doc); r; r = xmlNextElementSibling(r)) {
		if (log_has(r, "what", "log-dropped")) {
			*dropped += log_num(r, "count");
			continue;
		}
		for (int k = 0; k < RINGS; k++) {
			char what[8];

			snprintf(what, sizeof(what), "r%d", k);
			if (log_has(r, "what", what))
				assert_true(log_num(r, "count") == next[k]++);
		}
	}
	xmlFreeDoc(doc);
}

static void make_session_records(struct xmllog *l, const struct xmllog_session *s,
				 const struct addr *client, const struct addr *dest)
{
	assert_true(xmllog_begin(l, XMLLOG_LOGIN, s));
	xmllog_addr(l, XMLLOG_A_CLIENT, client);
	xmllog_text(l, XMLLOG_A_MECHANISM, "PLAIN");
	xmllog_text(l, XMLLOG_A_NAME, "u@example.org");
	xmllog_text(l, XMLLOG_A_VERDICT, "accept");
	xmllog_text(l, XMLLOG_A_REPLY, "235 2.7.0 ok");
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_RECIPIENT, s));
	xmllog_num(l, XMLLOG_A_MESSAGE, 1);
	xmllog_addr(l, XMLLOG_A_CLIENT, client);
	xmllog_text(l, XMLLOG_A_SENDER, "");
	xmllog_text(l, XMLLOG_A_RECIPIENT, "x@y");
	xmllog_text(l, XMLLOG_A_VERDICT, "refuse");
	xmllog_text(l, XMLLOG_A_RULE, "relaying-denied");
	xmllog_text(l, XMLLOG_A_REPLY, "550 5.7.1 Relaying denied. ");
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_MESSAGE, s));
	xmllog_num(l, XMLLOG_A_MESSAGE, 1);
	xmllog_addr(l, XMLLOG_A_CLIENT, client);
	xmllog_text(l, XMLLOG_A_SENDER, "a@b");
	xmllog_num(l, XMLLOG_A_RECIPIENTS, 1);
	xmllog_num(l, XMLLOG_A_BYTES, 50000000000);
	xmllog_text(l, XMLLOG_A_BODY, "copy");
	xmllog_addr(l, XMLLOG_A_DESTINATION, dest);
	xmllog_text(l, XMLLOG_A_REPLY, "250-one\n250 two");
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_COMMAND, s));
	xmllog_text(l, XMLLOG_A_FROM, "client");
	xmllog_span(l, XMLLOG_A_LINE, SPAN("EHLO \xff\0\\?>]]>"));
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_REPLY, s));
	xmllog_text(l, XMLLOG_A_FROM, "destination");
	xmllog_text(l, XMLLOG_A_TO, "client");
	xmllog_text(l, XMLLOG_A_LINE, "250 ok");
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_SESSION, s));
	xmllog_addr(l, XMLLOG_A_CLIENT, client);
	xmllog_text(l, XMLLOG_A_HELO, "h");
	xmllog_text(l, XMLLOG_A_LOGIN, "PLAIN");
	xmllog_addr(l, XMLLOG_A_DESTINATION, dest);
	xmllog_num(l, XMLLOG_A_MESSAGES, 1);
	xmllog_num(l, XMLLOG_A_REFUSALS, 1);
	xmllog_num(l, XMLLOG_A_BYTES, 10);
	xmllog_seconds(l, XMLLOG_A_SECONDS, 1000250);
	xmllog_text(l, XMLLOG_A_END, "lost-client");
	xmllog_end(l);
}

static void make_process_records(struct xmllog *l, const struct xmllog_session *s)
{
	assert_true(xmllog_begin(l, XMLLOG_START, NULL));
	xmllog_text(l, XMLLOG_A_VERSION, "0.1.0");
	xmllog_num(l, XMLLOG_A_PID, 1);
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_STOP, NULL));
	xmllog_num(l, XMLLOG_A_PID, 1);
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_RELOAD, NULL));
	xmllog_num(l, XMLLOG_A_PID, 1);
	xmllog_text(l, XMLLOG_A_CHANGED, "RELAY_GUARD RECIPIENTS");
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_FAULT, s));
	xmllog_text(l, XMLLOG_A_WHAT, "configuration");
	xmllog_text(l, XMLLOG_A_DETAIL, "x:1: y");
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_DESTINATION, NULL));
	xmllog_text(l, XMLLOG_A_ADDRESS, "mail.example.org:25");
	xmllog_text(l, XMLLOG_A_STATE, "down");
	xmllog_text(l, XMLLOG_A_WHY, "Connection refused");
	xmllog_end(l);
	assert_true(xmllog_begin(l, XMLLOG_DEBUG, s));
	xmllog_text(l, XMLLOG_A_WHAT, "copy");
	xmllog_text(l, XMLLOG_A_COPY, "/var/lib/caronte/debug/a-1.eml");
	xmllog_end(l);
}

static void test_every_element(void **state)
{
	static const char *const order[] = { "start",	    "stop",    "reload", "fault",
					     "destination", "debug",   "login",	 "recipient",
					     "message",	    "command", "reply",	 "session" };
	struct addr v4 = { .family = 4, .port = 1025, .ip = { 192, 0, 2, 1 } };
	struct addr v6 = { .family = 6, .port = 25, .ip = { 0x20, 1, 0xd, 0xb8, [15] = 1 } };
	struct xmllog_session s = { 0x18f3a2b4c5d6e, 7 };
	struct xmllog l[RINGS];
	pid_t pid = start_writer();
	xmlNodePtr r;
	xmlDocPtr doc;
	size_t n = 0;

	(void)state;
	open_producers(l, 4);
	make_process_records(&l[0], &s);
	make_session_records(&l[0], &s, &v4, &v6);
	assert_int_equal(end_writer(pid), EX_OK);
	doc = log_load(path);
	assert_non_null(doc);
	for (r = log_first(doc); r; r = xmlNextElementSibling(r))
		assert_true(log_is(r, order[n++]));
	assert_int_equal(n, 12);
	for (r = log_first(doc); !log_is(r, "message"); r = xmlNextElementSibling(r))
		;
	assert_true(log_has(r, "reply", "250-one\n250 two"));
	assert_true(log_has(r, "client", "192.0.2.1:1025"));
	assert_true(log_has(r, "destination", "[2001:db8::1]:25"));
	assert_true(log_has(r, "session", "18f3a2b4c5d6e-7"));
	r = xmlNextElementSibling(r);
	assert_true(log_has(r, "line", "EHLO \\xFF\\x00\\\\?>]]>"));
	xmlFreeDoc(doc);
}

/* The schema refuses what caronte-log(5) does not have. */
static void test_schema_refuses(void **state)
{
#define T "time=\"2026-01-02T03:04:05.123456Z\" "
#define S T "session=\"1f-2\" "
	static const char *const bad[] = {
		"<other " T "/>",
		"<fault what=\"x\"/>",
		"<fault " T "/>",
		"<fault " T "what=\"x\" count=\"-1\"/>",
		"<fault " T "what=\"x\" other=\"1\"/>",
		"<fault time=\"2026-01-02 03:04:05.123456Z\" what=\"x\"/>",
		"<fault time=\"2026-01-02T03:04:05Z\" what=\"x\"/>",
		"<fault time=\"2026-13-02T03:04:05.123456Z\" what=\"x\"/>",
		"<fault " T "what=\"x\">text</fault>",
		"<fault " T "session=\"1F-2\" what=\"x\"/>",
		"<fault " T "session=\"12\" what=\"x\"/>",
		"<destination " T "address=\"a:1\" state=\"away\"/>",
		"<login " T "client=\"1.2.3.4:5\" mechanism=\"PLAIN\" verdict=\"accept\"/>",
		"<login " S "client=\"1.2.3.4\" mechanism=\"PLAIN\" verdict=\"accept\"/>",
		"<login " S "client=\"2001:db8::1:5\" mechanism=\"PLAIN\" verdict=\"accept\"/>",
		"<login " S "client=\"1.2.3.4:5\" mechanism=\"PLAIN\" verdict=\"maybe\"/>",
		"<session " S "client=\"1.2.3.4:5\" messages=\"1\" refusals=\"0\" bytes=\"0\" "
		"seconds=\"1.5\" end=\"quit\"/>",
		"<session " S "client=\"1.2.3.4:5\" messages=\"1\" refusals=\"0\" bytes=\"0\" "
		"seconds=\"1.500000\" end=\"bored\"/>",
		"<command " S "line=\"x\"/>",
		"<command " S "from=\"me\" line=\"x\"/>",
		"text",
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		bool good = i == sizeof(bad) / sizeof(bad[0]);
		xmlDocPtr doc;

		snprintf(text, sizeof(text), "<caronte-log>%s</caronte-log><?pad ?>",
			 good ? "<fault what=\"x\" " T "/>" : bad[i]);
		doc = xmlReadMemory(text, (int)strlen(text), NULL, NULL, 0);
		assert_non_null(doc);
		assert_int_equal(log_validates(doc, "row", 1), good);
		xmlFreeDoc(doc);
	}
}

/* Producers that never let their ring run over, at full speed with pauses, for both rings 0 and 1.
 */
static pid_t start_load(uint64_t *made)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct xmllog l[RINGS];

		open_producers(l, 1);
		for (uint64_t i = made[0];; i++) {
			for (unsigned k = 0; k < 2; k++) {
				while (RING_SIZE - (atomic_load(&rings[k]->tail) -
						    atomic_load(&rings[k]->head)) <
				       8192)
					pause_us(200);
				numbered(&l[k], k, i);
				made[k] = i + 1;
			}
			if (i % 8 == 0)
				pause_us(1000);
		}
	}
	assert_true(pid > 0);
	return pid;
}

static void test_killed_at_random(void **state)
{
	uint64_t *made =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned rounds = size_of(120, 30);
	uint64_t sum = 0;
	pid_t load, writer;

	(void)state;
	srandom(6);
	config.rotate_mib = 1;
	load = start_load(made);
	/* What a machine with much else to do lets a writer reach in that time may be nothing: then
	 * it gets more. */
	for (unsigned round = 0; round < rounds || made[0] <= 500; round++) {
		writer = start_writer();
		pause_us(random() % (round % 4 ? 6000 : 40000) * (1 + round / rounds));
		kill_writer(writer);
		if (access(path, F_OK) == 0)
			assert_true(log_count(path) >= 0);
	}
	kill(load, SIGKILL);
	wait_for(load);
	writer = start_writer();
	wait_drained();
	assert_int_equal(end_writer(writer), EX_OK);
	/* As many as were made. */
	for (size_t i = 0; log_archived(archive, i); i++) {
		long n = log_count(log_archived(archive, i));

		assert_true(n > 0);
		sum += (uint64_t)n;
	}
	/* The last one may be made and not yet counted. */
	assert_in_range(sum + (uint64_t)log_count(path), made[0] + made[1], made[0] + made[1] + 1);
	assert_true(made[0] > 500);
	munmap(made, 4096);
}

/* Without rotation the order can be checked, too. */
static void test_killed_in_order(void **state)
{
	uint64_t *made =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t next[RINGS] = { 0 }, dropped = 0;
	pid_t load = start_load(made), writer;

	(void)state;
	for (int round = 0; round < 30; round++) {
		writer = start_writer();
		pause_us(random() % 15000);
		kill_writer(writer);
	}
	kill(load, SIGKILL);
	wait_for(load);
	assert_int_equal(end_writer(start_writer()), EX_OK);
	read_log(path, next, &dropped);
	assert_int_equal(dropped, 0);
	for (int k = 0; k < 2; k++)
		assert_in_range(next[k], made[k], made[k] + 1);
	munmap(made, 4096);
}

/* At every system call that it makes, from the new file over several batches to its end. */
static void test_killed_at_every_call(void **state)
{
	bool refused = false;

	/* An odd step: as it enters calls and as it leaves them. */
	for (int stop = 1;; stop += (int)size_of(1, 7)) {
		uint64_t next[RINGS] = { 0 }, dropped = 0;
		struct xmllog l[RINGS];
		bool killed;

		teardown(state);
		assert_int_equal(setup(state), 0);
		open_producers(l, 1);
		for (uint64_t i = 0; i < 50; i++)
			for (unsigned k = 0; k < RINGS; k++)
				numbered(&l[k], k, i);
		close(life[1]);
		life[1] = -1;
		killed = killed_at_call(stop, &refused);
		if (refused)
			skip();
		if (access(path, F_OK) == 0)
			assert_true(log_count(path) >= 0);
		assert_int_equal(end_writer(start_writer()), EX_OK);
		read_log(path, next, &dropped);
		for (int k = 0; k < RINGS; k++)
			assert_int_equal(next[k], 50);
		if (!killed) {
			assert_true(stop > 60);
			return;
		}
	}
}

/* Whether it sleeps; if not, it does something or waits for a processor. */
static bool asleep(pid_t pid)
{
	char name[32], text[128] = "", *state;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	f = fopen(name, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'S';
}

static void test_wakes_and_ignores_signals(void **state)
{
	struct xmllog l[RINGS];
	pid_t pid = start_writer();

	(void)state;
	open_producers(l, 1);
	numbered(&l[0], 0, 0);
	wait_drained();
	for (uint64_t i = 1; i < 4; i++) {
		pause_us(50000); /* asleep by now */
		kill(pid, i == 1 ? SIGINT : i == 2 ? SIGTERM : SIGHUP);
		numbered(&l[0], 0, i);
		for (int ms = 0; !drained(); ms += asleep(pid)) {
			assert_true(ms < 1500); /* woken, not at the time-out */
			pause_us(1000);
		}
		assert_int_equal(log_count(path), i + 1);
	}
	assert_int_equal(end_writer(pid), EX_OK);
}

static void test_drops_are_told(void **state)
{
	uint64_t next[RINGS] = { 0 }, dropped = 0;
	struct xmllog l[RINGS];
	pid_t pid;

	(void)state;
	open_producers(l, 1);
	/* Nobody takes anything: the rings run full. */
	for (uint64_t i = 0; i < 3000; i++)
		numbered(&l[2], 2, i);
	assert_true(atomic_load(&rings[2]->dropped) > 0);
	pid = start_writer();
	wait_drained();
	assert_int_equal(end_writer(pid), EX_OK);
	xmlDocPtr doc = log_load(path);
	assert_non_null(doc);
	for (xmlNodePtr r = log_first(doc); r; r = xmlNextElementSibling(r))
		if (log_has(r, "what", "log-dropped"))
			dropped += log_num(r, "count");
		else
			next[2]++;
	xmlFreeDoc(doc);
	assert_true(dropped == atomic_load(&rings[2]->dropped));
	assert_int_equal(next[2] + dropped, 3000);
}

static void test_usr1(void **state)
{
	uint64_t next[RINGS] = { 0 }, dropped = 0;
	struct xmllog l[RINGS];
	pid_t pid = start_writer();
	char moved[128];

	(void)state;
	snprintf(moved, sizeof(moved), "%s/moved.xml", dir);
	open_producers(l, 1);
	for (uint64_t i = 0; i < 10; i++)
		numbered(&l[1], 1, i);
	wait_drained();
	assert_int_equal(rename(path, moved), 0);
	numbered(&l[1], 1, 10); /* still goes to the old one */
	wait_drained();
	assert_int_equal(access(path, F_OK), -1);
	kill(pid, SIGUSR1);
	for (int ms = 0; access(path, F_OK) < 0; ms++) {
		assert_true(ms < WAIT_MS);
		pause_us(1000);
	}
	numbered(&l[1], 1, 11);
	assert_int_equal(end_writer(pid), EX_OK);
	assert_int_equal(log_count(moved), 11);
	assert_int_equal(log_count(path), 1);
	read_log(moved, next, &dropped);
	read_log(path, next, &dropped);
	assert_int_equal(next[1], 12);
}

/* As the master starts it: the signal waits until it is wanted. */
static void block_usr2(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Writers that take over from one another under load: each record once, in order. */
static void test_usr2_hands_over(void **state)
{
	uint64_t *made =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t next[RINGS] = { 0 }, dropped = 0;
	pid_t load = start_load(made), writer;

	(void)state;
	block_usr2();
	for (unsigned round = 0; round < size_of(40, 12); round++) {
		writer = start_writer();
		pause_us(round % 3 ? random() % 15000 : 0);
		kill(writer, SIGUSR2);
		assert_int_equal(wait_for(writer), EX_OK);
		if (round > 0 || access(path, F_OK) == 0)
			assert_true(log_count(path) >= 0);
	}
	kill(load, SIGKILL);
	wait_for(load);
	assert_int_equal(end_writer(start_writer()), EX_OK);
	read_log(path, next, &dropped);
	assert_int_equal(dropped, 0);
	for (int k = 0; k < 2; k++)
		assert_in_range(next[k], made[k], made[k] + 1);
	munmap(made, 4096);
}

/* From standard output to a file and back: what each holds is whole. */
static void test_usr2_to_another_file(void **state)
{
	char stream[128], again[128];
	uint64_t next[RINGS] = { 0 }, dropped = 0;
	struct xmllog l[RINGS];
	pid_t pid;
	int fd[2];

	(void)state;
	block_usr2();
	snprintf(stream, sizeof(stream), "%s/stream.xml", dir);
	snprintf(again, sizeof(again), "%s/again.xml", dir);
	fd[0] = open(stream, O_CREAT | O_WRONLY | O_APPEND, 0600);
	fd[1] = open(again, O_CREAT | O_WRONLY | O_APPEND, 0600);
	assert_true(fd[0] >= 0 && fd[1] >= 0);
	open_producers(l, 1);
	config.file = "-";
	for (uint64_t i = 0; i < 2; i++) { /* twice to the same */
		pid = start_writer_on(fd[0], -1);
		numbered(&l[1], 1, i);
		wait_drained();
		kill(pid, SIGUSR2);
		assert_int_equal(wait_for(pid), EX_OK);
	}
	config.file = path;
	pid = start_writer_on(fd[0], -1);
	numbered(&l[1], 1, 2);
	wait_drained();
	kill(pid, SIGUSR2);
	assert_int_equal(wait_for(pid), EX_OK);
	config.file = "-";
	pid = start_writer_on(fd[1], -1);
	numbered(&l[1], 1, 3);
	wait_drained();
	assert_int_equal(end_writer(pid), EX_OK);
	assert_int_equal(log_count(stream), 2);
	assert_int_equal(log_count(path), 1);
	assert_int_equal(log_count(again), 1);
	read_log(stream, next, &dropped);
	read_log(path, next, &dropped);
	read_log(again, next, &dropped);
	assert_int_equal(next[1], 4);
	close(fd[0]);
	close(fd[1]);
}

static void test_rotates_by_size(void **state)
{
	struct xmllog l[RINGS];
	pid_t pid = start_writer();
	long sum = 0;

	(void)state;
	kill_writer(pid);
	config.rotate_mib = 1;
	pid = start_writer();
	open_producers(l, 1);
	for (uint64_t i = 0; i < 2000; i++) {
		while (RING_SIZE - (atomic_load(&rings[0]->tail) - atomic_load(&rings[0]->head)) <
		       8192)
			pause_us(200);
		numbered(&l[0], 0, i);
	}
	assert_int_equal(end_writer(pid), EX_OK);
	for (size_t i = 0; log_archived(archive, i); i++) {
		struct stat st;

		assert_int_equal(stat(log_archived(archive, i), &st), 0);
		assert_in_range(st.st_size, 500000, 1 << 20);
		sum += log_count(log_archived(archive, i));
	}
	assert_non_null(log_archived(archive, 1));
	assert_int_equal(sum + log_count(path), 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_element, setup, teardown),
		cmocka_unit_test_setup_teardown(test_schema_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_at_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_at_every_call, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wakes_and_ignores_signals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drops_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usr1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usr2_hands_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usr2_to_another_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotates_by_size, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
