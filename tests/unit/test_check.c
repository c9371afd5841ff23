/* SPDX-License-Identifier: ISC */
/*
 * check: what is found wrong before anything is bound, all of it in one run, with the exact texts
 * where they are this module's own. Run as root it becomes nobody for the files; as anybody else
 * the cases that need root are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <cap-ng.h>
#include <errno.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "machine.h"
#include "check/check.h"
#include "check/limits.h"
#include "config/load.h"
#include "io/net.h"
#include "shared/seats.h"

static char dir[64]; /* belongs to who the daemon would be; for this test alone */
static struct check checked;

static int setup(void **state)
{
	const struct passwd *pw = getpwnam("nobody");

	(void)state;
	strcpy(dir, "/tmp/caronte-check-XXXXXX");
	if (!pw || !mkdtemp(dir))
		return -1;
	return geteuid() == 0 ? chown(dir, pw->pw_uid, pw->pw_gid) : 0;
}

static int teardown(void **state)
{
	(void)state;
	return remove_folder(dir);
}

static char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *out = path[turn++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
	return out;
}

static void put_file(const char *name, const char *text, mode_t mode)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fchmod(fileno(f), mode), 0);
	assert_int_equal(fclose(f), 0);
}

/* A configuration that is good here, with LINES behind it: later lines win as -o arguments would.
 */
static struct config *load(const char *const *lines, size_t n)
{
	char log[160], archive[160];
	const char *all[24] = { "USER=nobody",	      "LISTEN_ADDRESS=127.0.0.1",
				"LISTEN_PORT=2525",   "DESTINATIONS=127.0.0.1:2526",
				"MAX_SESSIONS=100",   "WORKERS=2",
				"LOG_ROTATE_HOURS=0", "LOG_ROTATE_MIB=0" };
	size_t count = 8;

	snprintf(log, sizeof(log), "LOG_FILE=%s/log.xml", dir);
	snprintf(archive, sizeof(archive), "LOG_ARCHIVE_DIR=%s", dir);
	all[count++] = log;
	all[count++] = archive;
	for (size_t i = 0; i < n; i++)
		all[count++] = lines[i];
	return config_load(NULL, all, count);
}

static void run(struct config *c)
{
	char why[PROBE_TEXT_MAX] = "";
	int status = check_run(&checked, c, why, sizeof(why));

	if (status)
		fail_msg("check_run: %d: %s", status, why);
}

static bool has_fault(const struct config *c, const char *text)
{
	for (size_t i = 0; i < c->fault_count; i++)
		if (strcmp(c->faults[i].text, text) == 0)
			return true;
	return false;
}

static void assert_faults(const struct config *c, const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!has_fault(c, texts[i])) {
			config_print_faults(c, stderr);
			fail_msg("missing: %s", texts[i]);
		}
	if (c->fault_count != n)
		config_print_faults(c, stderr);
	assert_int_equal(c->fault_count, n);
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void a_good_configuration(void **state)
{
	static const char *const more[] = { "RELAY_NETWORKS=10.0.0.0/8  2001:db8::/32",
					    "ENGINE_EPOLL=y" };
	struct config *c = load(more, COUNT(more));
	struct addr in, out;

	(void)state;
	run(c);
	assert_faults(c, NULL, 0);
	assert_int_equal(checked.workers, 2);
	assert_int_equal(checked.listen.count, 1);
	assert_int_equal(checked.route.count, 1);
	assert_int_equal(checked.probe.resolved[0].n, 1);
	assert_int_equal(checked.probe.engine, IO_ENGINE_EPOLL);
	assert_string_equal(checked.probe.engine_why, "");
	assert_true(checked.policy.guard);
	assert_null(checked.policy.recipients);
	assert_int_equal(addr_parse_ip(&in, "10.9.8.7"), 0);
	assert_int_equal(addr_parse_ip(&out, "11.0.0.1"), 0);
	assert_true(policy_networks_match(checked.policy.networks, &in));
	assert_false(policy_networks_match(checked.policy.networks, &out));
	config_free(c);
	/* Nothing was made. */
	assert_int_equal(access(in_dir("log.xml"), F_OK), -1);
}

static void one_worker_for_each_processor(void **state)
{
	static const char *const more[] = { "WORKERS=0" };
	struct config *c = load(more, COUNT(more));
	cpu_set_t set;

	(void)state;
	run(c);
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	assert_int_equal(checked.workers, CPU_COUNT(&set));
	config_free(c);
}

static void all_faults_in_one_run(void **state)
{
	static const char *const more[] = {
		"LISTEN_ADDRESS=127.0.0.1 nowhere",
		"DESTINATIONS=127.0.0.1:2525",
		"RELAY_NETWORKS=10.0.0.1/8 /nowhere/networks",
		"RECIPIENTS=/nowhere/recipients",
		"LOG_FILE=/nowhere/log.xml",
		"NO_SUCH_NAME=1",
	};
	struct config *c = load(more, COUNT(more));
	char wrong_network[256], why[POLICY_NETWORK_WHY];
	size_t config_faults = c->fault_count;

	(void)state;
	assert_int_equal(config_faults, 1);
	run(c);
	snprintf(wrong_network, sizeof(wrong_network), "-o: RELAY_NETWORKS: 10.0.0.1/8: %s",
		 policy_network_check(SPAN("10.0.0.1/8"), why));
	assert_true(has_fault(c, "-o: LISTEN_ADDRESS: nowhere is no IP address; allowed are "
				 "addresses like 192.0.2.1 and 2001:db8::1"));
	assert_true(has_fault(c,
			      "-o: DESTINATIONS: is 127.0.0.1:2525, where this daemon listens "
			      "itself: mail would run in a circle; allowed is any other address or "
			      "port"));
	assert_true(has_fault(c, wrong_network));
	assert_true(has_fault(c, "-o: RELAY_NETWORKS: /nowhere/networks: cannot be read: No such "
				 "file or directory"));
	assert_true(has_fault(c, "-o: RECIPIENTS: /nowhere/recipients: cannot be read: No such "
				 "file or directory"));
	assert_int_equal(c->fault_count, config_faults + 6);
	config_free(c);
}

static void circle_by_every_address(void **state)
{
	static const char *const more[] = { "LISTEN_ADDRESS=", "DESTINATIONS=127.0.0.9:2525" };
	static const char *const named[] = { "LISTEN_ADDRESS=", "DESTINATIONS=localhost:2525" };
	struct config *c = load(more, COUNT(more));

	(void)state;
	run(c);
	assert_int_equal(c->fault_count, 1);
	assert_non_null(strstr(c->faults[0].text, "DESTINATIONS: is 127.0.0.9:2525, where"));
	config_free(c);
	c = load(named, COUNT(named));
	run(c);
	if (!checked.probe.resolved[0].n) {
		print_message("localhost does not resolve: that circle is not tried\n");
	} else {
		assert_int_equal(c->fault_count, 1);
		assert_non_null(strstr(c->faults[0].text, "localhost:2525 is "));
	}
	config_free(c);
}

static void faults_of_tables_have_their_lines(void **state)
{
	char networks[160], recipients[160], expected[7][320], why[POLICY_NETWORK_WHY];
	const char *const more[] = { networks, recipients };
	const char *const texts[] = { expected[0], expected[1], expected[4], expected[5],
				      expected[6], expected[2], expected[3] };
	struct config *c;

	(void)state;
	put_file("networks",
		 "# ours\n10.0.0.0/8\n300.0.0.0/8\n\n10.0.0.1-10.0.0.9\n"
		 "10.1.0.0/16,10.2.0.0/16\n10.1.0.0/16 # ours\n./nets\n",
		 0644);
	put_file("recipients", "@example.org\nuser@example.net\nno-at-sign\n\n<a@b>\n", 0644);
	snprintf(networks, sizeof(networks), "RELAY_NETWORKS=192.0.2.1 %s", in_dir("networks"));
	snprintf(recipients, sizeof(recipients), "RECIPIENTS=%s", in_dir("recipients"));
	c = load(more, COUNT(more));
	run(c);
	snprintf(expected[0], sizeof(expected[0]), "%s:3: RELAY_NETWORKS: %s", in_dir("networks"),
		 policy_network_check(SPAN("300.0.0.0/8"), why));
	snprintf(expected[1], sizeof(expected[1]),
		 "%s:5: RELAY_NETWORKS: no range: write networks, like 192.0.2.0/25",
		 in_dir("networks"));
	for (unsigned i = 0; i < 2; i++)
		snprintf(expected[4 + i], sizeof(expected[4 + i]),
			 "%s:%u: RELAY_NETWORKS: one address or network a line is needed, and "
			 "nothing after it%s",
			 in_dir("networks"), 6 + i,
			 i ? ": a comment stands on a line of its own" : "");
	snprintf(expected[6], sizeof(expected[6]), "%s:8: RELAY_NETWORKS: %s", in_dir("networks"),
		 policy_network_check(SPAN("./nets"), why));
	snprintf(expected[2], sizeof(expected[2]),
		 "%s:3: RECIPIENTS: no @, user@domain or @domain is needed", in_dir("recipients"));
	snprintf(expected[3], sizeof(expected[3]),
		 "%s:5: RECIPIENTS: angle bracket, user@domain or @domain is needed without them",
		 in_dir("recipients"));
	assert_faults(c, texts, COUNT(texts));
	config_free(c);
}

static void tables_are_built_read_only(void **state)
{
	static const struct policy_address known = { .local = { (const uint8_t *)"user", 4 },
						     .domain = { (const uint8_t *)"example.net",
								 11 } };
	char networks[160], recipients[160];
	const char *const more[] = { networks, recipients };
	struct policy_address other = known;
	struct addr in;
	struct config *c;
	int status;
	pid_t pid;

	(void)state;
	put_file("networks", "172.16.0.0/12\n", 0644);
	put_file("recipients", "user@example.net\n", 0644);
	snprintf(networks, sizeof(networks), "RELAY_NETWORKS=%s 192.0.2.1", in_dir("networks"));
	snprintf(recipients, sizeof(recipients), "RECIPIENTS=%s", in_dir("recipients"));
	c = load(more, COUNT(more));
	run(c);
	assert_faults(c, NULL, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(addr_parse_ip(&in, i ? "172.31.255.255" : "192.0.2.1"), 0);
		assert_true(policy_networks_match(checked.policy.networks, &in));
	}
	assert_true(policy_recipients_match(checked.policy.recipients, &known, "", NULL));
	other.local = SPAN("other");
	assert_false(policy_recipients_match(checked.policy.recipients, &other, "", NULL));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)(uintptr_t)checked.policy.recipients = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	config_free(c);
}

/* A wrong file has a fault on each line; what is printed stays readable. */
static void faults_of_one_file_are_bounded(void **state)
{
	char recipients[160], expected[320];
	const char *const more[] = { recipients };
	struct config *c;
	FILE *f = fopen(in_dir("recipients"), "w");

	(void)state;
	assert_non_null(f);
	for (int i = 0; i < 100000; i++)
		fputs("this is no address\n", f);
	assert_int_equal(fclose(f), 0);
	snprintf(recipients, sizeof(recipients), "RECIPIENTS=%s", in_dir("recipients"));
	c = load(more, COUNT(more));
	run(c);
	assert_int_equal(c->fault_count, 51);
	snprintf(expected, sizeof(expected),
		 "%s:51: RECIPIENTS: and more lines from here on are wrong", in_dir("recipients"));
	assert_string_equal(c->faults[50].text, expected);
	config_free(c);
}

static void files_that_are_none(void **state)
{
	char networks[160], recipients[160], expected[2][256];
	const char *const more[] = { networks, recipients };
	const char *const texts[] = { expected[0], expected[1] };
	struct config *c;

	(void)state;
	/* Opening a FIFO would wait for a writer for ever. */
	assert_int_equal(mkfifo(in_dir("fifo"), 0644), 0);
	snprintf(networks, sizeof(networks), "RELAY_NETWORKS=%s", in_dir("fifo"));
	snprintf(recipients, sizeof(recipients), "RECIPIENTS=%s", dir);
	c = load(more, COUNT(more));
	run(c);
	snprintf(expected[0], sizeof(expected[0]), "-o: RELAY_NETWORKS: %s: is no regular file",
		 in_dir("fifo"));
	snprintf(expected[1], sizeof(expected[1]), "-o: RECIPIENTS: %s: is no regular file", dir);
	assert_faults(c, texts, 2);
	config_free(c);
}

static bool need_root(void)
{
	if (geteuid() == 0)
		return true;
	print_message("skipped: only root becomes another user\n");
	return false;
}

/* What root can read and USER cannot is a fault. */
static void files_are_seen_as_user(void **state)
{
	char recipients[160], expected[256];
	const char *const more[] = { recipients };
	const char *const texts[] = { expected };
	struct config *c;

	(void)state;
	if (!need_root())
		skip();
	put_file("secret", "@example.org\n", 0600);
	snprintf(recipients, sizeof(recipients), "RECIPIENTS=%s", in_dir("secret"));
	c = load(more, COUNT(more));
	run(c);
	snprintf(expected, sizeof(expected),
		 "-o: RECIPIENTS: %s: cannot be read by user nobody: Permission denied",
		 in_dir("secret"));
	assert_faults(c, texts, 1);
	config_free(c);
}

static void log_is_tried_as_user(void **state)
{
	char log[160];
	const char *const more[] = { log };
	struct config *c;

	(void)state;
	if (!need_root())
		skip();
	assert_int_equal(mkdir(in_dir("roots"), 0755), 0);
	snprintf(log, sizeof(log), "LOG_FILE=%s/log.xml", in_dir("roots"));
	c = load(more, COUNT(more));
	run(c);
	assert_int_equal(c->fault_count, 1);
	assert_ptr_equal(strstr(c->faults[0].text, "-o: LOG_FILE: "), c->faults[0].text);
	assert_non_null(strstr(c->faults[0].text, "Permission denied"));
	assert_int_equal(access(in_dir("roots/log.xml"), F_OK), -1);
	config_free(c);
}

/* All of them in one run, each at its own setting. */
static void places_of_the_log(void **state)
{
	static const char *const wrong[] = { "LOG_ROTATE_HOURS=1",
					     "LOG_ARCHIVE_DIR=", "LOG_FILE=/nowhere/log.xml",
					     "LOG_LEVEL=4", "DEBUG_DIR=/nowhere" };
	static const char *const texts[] = { "-o: LOG_ARCHIVE_DIR: no directory is named",
					     "-o: LOG_FILE: /nowhere: No such file or directory",
					     "-o: DEBUG_DIR: /nowhere: No such file or directory" };
	/* What is not used may be wrong. */
	static const char *const archive[] = { "LOG_ROTATE_HOURS=1", "LOG_ARCHIVE_DIR=/nowhere",
					       "DEBUG_DIR=" };
	static const char *const archive_texts[] = {
		"-o: LOG_ARCHIVE_DIR: /nowhere: No such file or directory"
	};
	struct config *c = load(wrong, COUNT(wrong));

	(void)state;
	run(c);
	assert_faults(c, texts, COUNT(texts));
	config_free(c);
	c = load(archive, COUNT(archive));
	run(c);
	assert_faults(c, archive_texts, COUNT(archive_texts));
	config_free(c);
}

/* Sockets of ours and of others: the path from / on, and nothing else in its place. A number of
 * sessions that is wrong is not told of again by what RLIMIT_NOFILE says of the default. */
static void places_of_sockets(void **state)
{
	static const char *const wrong[] = { "CONTROL_SOCKET=control", "LOG_SYSLOG=/dev/null",
					     "MAX_SESSIONS=100000000" };
	static const char *const texts[] = {
		"-o: CONTROL_SOCKET: \"control\": is no absolute path; write it from / on",
		"-o: LOG_SYSLOG: /dev/null: is there and is no socket",
		"-o: MAX_SESSIONS: 100000000 is out of range, allowed is an integer from 1 to 1000000",
	};
	struct config *c = load(wrong, COUNT(wrong));

	(void)state;
	run(c);
	assert_faults(c, texts, COUNT(texts));
	config_free(c);
}

static void unix_destinations(void **state)
{
	char list[700], expected[3][256], note[200], out[1000];
	const char *const more[] = { "COOPERATION_CLUSTER=y", list };
	const char *const texts[] = { expected[0], expected[1], expected[2] };
	static const char *const sockets[] = { "good", "shut/s", "forbidden" };
	struct config *c;
	FILE *f;

	(void)state;
	if (!need_root())
		skip();
	assert_int_equal(mkdir(in_dir("shut"), 0700), 0);
	put_file("file", "", 0666);
	for (size_t i = 0; i < COUNT(sockets); i++) {
		int fd = net_listen_path(in_dir(sockets[i]), 1, 0666);

		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(chmod(in_dir("forbidden"), 0600), 0);
	snprintf(
		list, sizeof(list),
		"DESTINATIONS=unix:%s/good unix:%s/none unix:%s/shut/s unix:%s/file unix:%s/forbidden",
		dir, dir, dir, dir, dir);
	c = load(more, COUNT(more));
	run(c);
	snprintf(expected[0], sizeof(expected[0]),
		 "-o: DESTINATIONS: %s/shut/s: cannot be connected to by user nobody, who may not "
		 "enter %s/shut",
		 dir, dir);
	snprintf(expected[1], sizeof(expected[1]),
		 "-o: DESTINATIONS: %s/file: is there and is no socket", dir);
	snprintf(
		expected[2], sizeof(expected[2]),
		"-o: DESTINATIONS: %s/forbidden: cannot be connected to by user nobody: Permission "
		"denied",
		dir);
	assert_faults(c, texts, 3);
	/* One that is not there is no fault. */
	snprintf(note, sizeof(note), "caronte: unix:%s/none is not there now; it is tried again\n",
		 dir);
	f = fmemopen(out, sizeof(out), "w");
	check_print_notes(&checked, c, f);
	fclose(f);
	assert_string_equal(out, note);
	config_free(c);
	check_release(&checked);
}

static void own_socket(void **state)
{
	static const char *const more[] = { "CONTROL_SOCKET=/tmp/control",
					    "DESTINATIONS=unix:/tmp/control" };
	static const char *const texts[] = {
		"-o: DESTINATIONS: unix:/tmp/control is CONTROL_SOCKET of this daemon, where no "
		"mail is taken; allowed is any other socket"
	};
	struct config *c = load(more, COUNT(more));

	(void)state;
	run(c);
	assert_faults(c, texts, 1);
	config_free(c);
}

/* What the start could not do, the check cannot do either, and says so. */
static void privilege_that_cannot_be_dropped(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (!need_root())
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct config *c = load(NULL, 0);
		char why[PROBE_TEXT_MAX] = "";

		capng_get_caps_process();
		capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SETUID);
		if (capng_apply(CAPNG_SELECT_CAPS) != 0)
			_exit(99);
		status = check_run(&checked, c, why, sizeof(why));
		_exit(strstr(why, "cannot drop privileges: ") == why ? status : 98);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EX_NOPERM);
}

static void users(void **state)
{
	static const struct {
		const char *line, *text;
	} rows[] = {
		{ "USER=no-such-user-here", "-o: USER: no-such-user-here: no such user" },
		{ "USER=root", "-o: USER: root: is the superuser; a user with another uid than 0 "
			       "is needed" },
		{ "USER=", "-o: USER: is empty; started as root, a user to become is needed" },
	};

	(void)state;
	if (!need_root())
		skip();
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *const more[] = { rows[i].line, "LISTEN_ADDRESS=127.0.0.256",
					     "DESTINATIONS=127.0.0.1:2525" };
		const char *const texts[] = {
			rows[i].text,
			"-o: LISTEN_ADDRESS: 127.0.0.256 is no IP address; allowed are addresses "
			"like 192.0.2.1 and 2001:db8::1",
		};
		struct config *c = load(more, COUNT(more));

		run(c);
		assert_faults(c, texts, 2);
		config_free(c);
	}
}

/* Started as another user, USER is not looked at. In a child, for there is no way back. */
static void another_user_ignores_user(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		static const char *const more[] = { "USER=no-such-user-here" };
		const struct passwd *pw = getpwnam("nobody");
		char why[PROBE_TEXT_MAX];
		struct config *c;

		if (geteuid() == 0 && setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
			_exit(99);
		c = load(more, COUNT(more));
		if (check_run(&checked, c, why, sizeof(why)) != 0)
			_exit(98);
		config_print_faults(c, stderr);
		_exit(c->fault_count == 0 && !checked.id.change ? 0 : 97);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Where no number is set, it is the greatest that the limit carries. */
static int carried_child(void)
{
	struct config *c = load(NULL, 0);
	char why[PROBE_TEXT_MAX];
	int status = 0;
	unsigned n;

	c->set.max_sessions = 10000;
	c->where[SETTING_MAX_SESSIONS].file = NULL; /* as if load() had not set it */
	if (check_run(&checked, c, why, sizeof(why)) != 0 || c->fault_count != 0)
		return 94;
	n = (unsigned)c->set.max_sessions;
	if (limits_descriptors(n, 2, 1) > 2000 || limits_descriptors(n + 1, 2, 1) <= 2000 ||
	    checked.sessions_wished != 10000)
		status = 93;
	config_free(c);
	return status;
}

/* In a child, too: a limit once lowered stays. */
static int limit_child(void)
{
	static const char *const more[] = { "MAX_SESSIONS=1000" };
	static const char *const fewer[] = { "MAX_SESSIONS=50" };
	const struct passwd *pw = getpwnam("nobody");
	struct rlimit limit = { 256, 2000 };
	char why[PROBE_TEXT_MAX], expected[256];
	struct config *c;

	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 ||
	    (geteuid() == 0 && setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0))
		return 99;
	c = load(more, COUNT(more));
	if (check_run(&checked, c, why, sizeof(why)) != 0)
		return 98;
	snprintf(expected, sizeof(expected),
		 "-o: MAX_SESSIONS: 1000 sessions need %llu open files, and RLIMIT_NOFILE allows "
		 "2000; raise the limit or lower the number",
		 (unsigned long long)limits_descriptors(1000, 2, 1));
	if (c->fault_count != 1 || !has_fault(c, expected))
		return 97;
	config_free(c);
	c = load(fewer, COUNT(fewer));
	if (check_run(&checked, c, why, sizeof(why)) != 0 || c->fault_count != 0)
		return 96;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
	    limit.rlim_cur != limits_descriptors(50, 2, 1) || limit.rlim_max != 2000)
		return 95;
	config_free(c);
	return carried_child();
}

static void open_files_must_carry_the_sessions(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(limit_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(limits_descriptors(10000, 256, 64) > 20000 + 256 * 64);
	assert_int_equal(limits_descriptors(1000000, 256, 64) - limits_descriptors(999996, 256, 64),
			 4 * 2 + 1);
	assert_int_equal(limits_descriptors(1, 2, 3) - limits_descriptors(1, 1, 3), 3);
	/* What may be open at once beside them: parting connections, pipes, checks and idle ones of
	 * destinations, copies of messages. */
	assert_true(limits_descriptors(8, 1, 1) >= 2 * 8 + SEATS_PLACES(8) + WORKER_REFUSALS +
							   2 * WORKER_PIPES + 1 + DESTINATIONS_MAX +
							   WARM_MAX + COPY_OPEN + 16);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_good_configuration),
		TEST(one_worker_for_each_processor),
		TEST(all_faults_in_one_run),
		TEST(circle_by_every_address),
		TEST(faults_of_tables_have_their_lines),
		TEST(tables_are_built_read_only),
		TEST(faults_of_one_file_are_bounded),
		TEST(files_that_are_none),
		TEST(files_are_seen_as_user),
		TEST(log_is_tried_as_user),
		TEST(places_of_the_log),
		TEST(places_of_sockets),
		TEST(unix_destinations),
		TEST(own_socket),
		TEST(privilege_that_cannot_be_dropped),
		TEST(users),
		TEST(another_user_ignores_user),
		TEST(open_files_must_carry_the_sessions),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
