/* SPDX-License-Identifier: ISC */
/*
 * master: the real master and log writer with workers of the test's own, which do what a table in
 * shared memory says. The daemon runs in a child; its standard error is read here. Started as root
 * it becomes nobody, else it stays who it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"
#include "runtime/channel.h"
#include "master/start.h"
#include "runtime/runtime.h"
#include "check/version.h"

#define WORKERS	    2
#define PATIENCE_MS 60000

enum behaviour {
	OBEY,	    /* ends on TERM and INT */
	LINGER,	    /* ends on INT alone */
	FAIL_EARLY, /* ends with status 71 before it is ready */
	CRASH,	    /* is ready and dies */
	DEAF,	    /* hears nothing of the master's news until it is told to OBEY */
};

/* What test and workers have in common. */
struct table {
	_Atomic int behaviour[WORKERS];
	_Atomic unsigned starts[WORKERS];
	_Atomic pid_t pid[WORKERS];
	_Atomic uint64_t epoch[WORKERS];
	_Atomic unsigned terms[WORKERS];
	_Atomic int max_errors[WORKERS]; /* by the newest version that it was told of */
};

static struct table *table;
static char dir[64];
static uint16_t port;
static pid_t daemon_pid;
static int daemon_stderr;
static char said[8192];

/* A version is taken, or not: DEAF. */
static void take_news(int fd, unsigned worker)
{
	struct channel_report report;
	struct channel_news news;
	struct channel_files files;

	while (table->behaviour[worker] != DEAF && channel_hear(fd, &news, &files) == 1) {
		struct version v;

		if (version_map(&v, files.image) == 0)
			table->max_errors[worker] = v.config.set.max_errors;
		version_unmap(&v);
		channel_close_files(&files);
		report = (struct channel_report){ news.number, news.number };
		channel_report(fd, &report);
	}
}

/* The stand-in for src/worker/worker.c. */
int worker_main(const struct runtime *rt, unsigned worker, uint64_t epoch_us)
{
	struct timespec tick = { .tv_nsec = 10000000 };
	sigset_t set;

	table->epoch[worker] = epoch_us;
	table->pid[worker] = getpid();
	table->starts[worker]++;
	if (table->behaviour[worker] == FAIL_EARLY)
		return EX_OSERR;
	runtime_ready(rt, worker);
	if (table->behaviour[worker] == CRASH)
		raise(SIGKILL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	for (;;) {
		int sig = sigtimedwait(&set, NULL, &tick);

		take_news(rt->channel_fd, worker);
		if (sig == SIGTERM)
			table->terms[worker]++;
		if (sig == SIGINT || (sig == SIGTERM && table->behaviour[worker] == OBEY))
			return 0;
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *out = path[turn++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
	return out;
}

static struct addr listen_address(uint16_t p)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, "127.0.0.1"), 0);
	a.port = p;
	return a;
}

/* 0: somebody listens; else the errno of connecting. */
static int knock(void)
{
	struct addr a = listen_address(port);
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&a, &ss);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int err = connect(fd, (struct sockaddr *)&ss, len) == 0 ? 0 : errno;

	close(fd);
	return err;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	const struct passwd *pw = getpwnam("nobody");

	(void)state;
	strcpy(dir, "/tmp/caronte-master-XXXXXX");
	if (!pw || !mkdtemp(dir))
		return -1;
	if (geteuid() == 0 && chown(dir, pw->pw_uid, pw->pw_gid) != 0)
		return -1;
	write_file("caronte.conf", "");
	memset(table, 0, sizeof(*table));
	said[0] = '\0';
	daemon_pid = 0;
	port = free_port();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (daemon_pid) {
		/* A failed test left it: its workers end with it, and the log writer with them. */
		kill(daemon_pid, SIGKILL);
		waitpid(daemon_pid, NULL, 0);
		for (int i = 0; i < WORKERS; i++)
			if (table->pid[i])
				kill(table->pid[i], SIGINT);
	}
	if (daemon_stderr > 0)
		close(daemon_stderr);
	daemon_stderr = 0;
	return remove_folder(dir);
}

static int run_daemon(const char *more)
{
	char log[160], archive[160], debug[160], listen_port[64];
	const char *lines[] = { "USER=nobody",
				"LISTEN_ADDRESS=127.0.0.1",
				"WORKERS=2",
				"DESTINATIONS=127.0.0.1:9",
				"MAX_SESSIONS=50",
				"LOG_LEVEL=3",
				"LOG_ROTATE_HOURS=0",
				"LOG_ROTATE_MIB=0",
				log,
				archive,
				debug,
				listen_port,
				more };
	static struct check check;
	struct config *c;
	int status;

	snprintf(log, sizeof(log), "LOG_FILE=%s/log.xml", dir);
	snprintf(archive, sizeof(archive), "LOG_ARCHIVE_DIR=%s", dir);
	snprintf(debug, sizeof(debug), "DEBUG_DIR=%s", dir);
	snprintf(listen_port, sizeof(listen_port), "LISTEN_PORT=%u", port);
	struct master_start s = {
		.source = { .file = in_dir("caronte.conf"),
			    .overrides = lines,
			    .override_count = sizeof(lines) / sizeof(lines[0]) - (more ? 0 : 1) },
	};

	if (check_load(&check, &c, &s.source, stderr) != 0)
		return EX_CONFIG;
	status = master_run(&s, c, &check);
	config_free(c);
	return status;
}

/* Starts the daemon, with one more setting (may be NULL). */
static void start(const char *more)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	daemon_pid = fork();
	assert_true(daemon_pid >= 0);
	if (daemon_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(fds[1], STDERR_FILENO);
		_exit(run_daemon(more));
	}
	close(fds[1]);
	daemon_stderr = fds[0];
}

/* Reads the daemon's standard error until it holds TEXT. */
static void hear(const char *text)
{
	uint64_t until = now_ms() + PATIENCE_MS;
	struct pollfd fd = { .fd = daemon_stderr, .events = POLLIN };

	while (!strstr(said, text)) {
		size_t have = strlen(said);
		ssize_t n;

		if (now_ms() > until || poll(&fd, 1, PATIENCE_MS) != 1)
			fail_msg("not said: %s\nbut: %s", text, said);
		n = read(daemon_stderr, said + have, sizeof(said) - 1 - have);
		if (n <= 0)
			fail_msg("ended without: %s\nbut: %s", text, said);
		said[have + (size_t)n] = '\0';
	}
}

static void start_and_wait(const char *more)
{
	char ready[96];

	start(more);
	snprintf(ready, sizeof(ready), "caronte: ready, listening on 127.0.0.1:%u\n", port);
	hear(ready);
}

/* The daemon's exit status; a signal that ended it fails. */
static int ended(void)
{
	uint64_t until = now_ms() + PATIENCE_MS;
	int status;
	pid_t got;

	while ((got = waitpid(daemon_pid, &status, WNOHANG)) == 0 && now_ms() < until)
		usleep(5000);
	assert_int_equal(got, daemon_pid);
	daemon_pid = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool eventually(bool (*holds)(void))
{
	uint64_t until = now_ms() + PATIENCE_MS;

	while (!holds() && now_ms() < until)
		usleep(5000);
	return holds();
}

static char *read_file(const char *path)
{
	static char text[65536];
	FILE *f = fopen(path, "r");
	size_t n = 0;

	if (f) {
		n = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
	}
	text[n] = '\0';
	return text;
}

static char *the_log(void)
{
	return read_file(in_dir("log.xml"));
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* A child of the daemon with that name; 0: none. */
/* The child of that name, or 0. */
static pid_t find_child(const char *name)
{
	char path[64], *next;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", daemon_pid, daemon_pid);
	static char children[1024];
	snprintf(children, sizeof(children), "%.1000s", read_file(path));
	for (char *at = children; *at; at = next) {
		pid_t pid = (pid_t)strtol(at, &next, 10);
		size_t n;

		if (next == at)
			break;
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		read_file(path);
		n = strlen(name);
		if (strncmp(read_file(path), name, n) == 0 && read_file(path)[n] == '\n')
			return pid;
	}
	return 0;
}

/* The same, once it is there: a process takes its name a moment after it was made. */
static pid_t child_named(const char *name)
{
	pid_t pid = find_child(name);

	for (int i = 0; i < 1000 && pid == 0; i++) {
		usleep(5000);
		pid = find_child(name);
	}
	return pid;
}

static void starts_serves_and_stops(void **state)
{
	char *log;

	(void)state;
	start_and_wait(NULL);
	assert_int_equal(knock(), 0);
	assert_int_equal(count(said, "ready, listening"), 1);
	assert_int_equal(kill(daemon_pid, SIGTERM), 0);
	assert_int_equal(ended(), 0);
	assert_int_equal(knock(), ECONNREFUSED);
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(table->starts[i], 1);
		assert_int_equal(table->terms[i], 1);
	}
	assert_int_not_equal(table->epoch[0], table->epoch[1]);
	log = the_log();
	assert_int_equal(count(log, "<start "), 1);
	assert_int_equal(count(log, "<stop "), 1);
	assert_int_equal(count(log, "worker-died"), 0);
	assert_non_null(strstr(log, "version=\"" CARONTE_VERSION "\""));
}

static void no_process_has_a_capability(void **state)
{
	static const char *const names[] = { NULL, "caronte-log", "caronte-w0", "caronte-w1" };
	const struct passwd *pw = getpwnam("nobody");
	bool root = geteuid() == 0;
	char path[64], uid[64];

	(void)state;
	start_and_wait(NULL);
	snprintf(uid, sizeof(uid), "\nUid:\t%u\t%u\t%u\t%u\n", pw->pw_uid, pw->pw_uid, pw->pw_uid,
		 pw->pw_uid);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		pid_t pid = names[i] ? child_named(names[i]) : daemon_pid;
		char *status;

		assert_int_not_equal(pid, 0);
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		status = read_file(path);
		assert_non_null(strstr(status, "\nCapInh:\t0000000000000000\n"));
		assert_non_null(strstr(status, "\nCapPrm:\t0000000000000000\n"));
		assert_non_null(strstr(status, "\nCapEff:\t0000000000000000\n"));
		assert_non_null(strstr(status, "\nCapAmb:\t0000000000000000\n"));
		assert_non_null(strstr(status, "\nNoNewPrivs:\t1\n"));
		if (!root)
			continue;
		assert_non_null(strstr(status, "\nCapBnd:\t0000000000000000\n"));
		assert_non_null(strstr(status, uid));
		assert_non_null(strstr(status, "\nGroups:\t \n"));
	}
	kill(daemon_pid, SIGINT);
	assert_int_equal(ended(), 0);
}

static bool worker_is_back(void)
{
	return table->starts[1] == 2;
}

static void dead_worker_is_started_again(void **state)
{
	uint64_t epoch;
	char *log;

	(void)state;
	start_and_wait(NULL);
	epoch = table->epoch[1];
	assert_int_equal(kill(table->pid[1], SIGXCPU), 0);
	assert_true(eventually(worker_is_back));
	assert_true(table->epoch[1] > epoch);
	assert_int_equal(table->starts[0], 1);
	assert_int_equal(knock(), 0);
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	log = the_log();
	assert_int_equal(count(log, "what=\"worker-died\""), 1);
	assert_non_null(strstr(log, "worker 1: signal 24"));
	assert_int_equal(count(said, "ready, listening"), 1);
}

static bool worker_was_started_again(void)
{
	return table->starts[0] >= 4;
}

/* One that keeps dying does not keep the processor busy. */
static void dying_worker_is_started_ever_later(void **state)
{
	uint64_t begin = now_ms();
	unsigned starts, most = 2;

	(void)state;
	table->behaviour[0] = CRASH;
	start_and_wait(NULL);
	usleep(1000 * 1000);
	assert_true(eventually(worker_was_started_again));
	/* At 0, 0, 10, 30, 70, 150, 310, 630, 1270 ms at the earliest. */
	starts = table->starts[0];
	for (uint64_t ms = 10, all = now_ms() - begin; ms <= all; ms = 2 * ms + 10)
		most++;
	assert_in_range(starts, 4, most);
	table->behaviour[0] = OBEY;
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	assert_int_equal(count(the_log(), "worker 0: signal 9"),
			 table->starts[0] - (table->starts[0] > starts));
}

static void worker_that_cannot_start_ends_the_start(void **state)
{
	(void)state;
	table->behaviour[1] = FAIL_EARLY;
	start(NULL);
	hear("caronte: worker 1 could not start: exit status 71\n");
	assert_int_equal(ended(), EX_OSERR);
	assert_int_equal(count(said, "ready"), 0);
	assert_int_equal(table->starts[1], 1);
}

static bool all_have_term(void)
{
	for (int i = 0; i < WORKERS; i++)
		if (table->terms[i] == 0)
			return false;
	return true;
}

static bool nobody_listens(void)
{
	return knock() == ECONNREFUSED;
}

static void sessions_go_on_after_term(void **state)
{
	uint64_t begin;

	(void)state;
	for (int i = 0; i < WORKERS; i++)
		table->behaviour[i] = LINGER;
	start_and_wait("STOP_GRACE=60");
	kill(daemon_pid, SIGTERM);
	assert_true(eventually(all_have_term));
	/* New connections are refused, not left waiting; workers live. */
	assert_true(eventually(nobody_listens));
	usleep(300 * 1000);
	assert_int_equal(waitpid(daemon_pid, NULL, WNOHANG), 0);
	kill(daemon_pid, SIGTERM);
	usleep(200 * 1000);
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(table->terms[i], 1);
		assert_int_equal(kill(table->pid[i], 0), 0);
	}
	begin = now_ms();
	kill(daemon_pid, SIGINT);
	assert_int_equal(ended(), 0);
	assert_true(now_ms() - begin < 30000); /* half of the grace */
	assert_int_equal(count(the_log(), "<stop "), 1);
}

static void worker_that_does_not_end_is_killed(void **state)
{
	uint64_t begin;

	(void)state;
	table->behaviour[0] = LINGER;
	start_and_wait("STOP_GRACE=0");
	begin = now_ms();
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	assert_true(now_ms() - begin >= 4500);
	assert_non_null(strstr(the_log(), "worker 0: signal 9"));
	assert_int_equal(count(the_log(), "<stop "), 1);
}

static pid_t first_writer;

static bool another_writer(void)
{
	pid_t pid = child_named("caronte-log");

	return pid && pid != first_writer;
}

static bool log_is_there(void)
{
	return strstr(the_log(), "<start ") != NULL;
}

static void dead_log_writer_is_started_again(void **state)
{
	char *log;

	(void)state;
	start_and_wait(NULL);
	assert_true(eventually(log_is_there));
	first_writer = child_named("caronte-log");
	assert_int_not_equal(first_writer, 0);
	assert_int_equal(kill(first_writer, SIGKILL), 0);
	assert_true(eventually(another_writer));
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	log = the_log();
	assert_int_equal(count(log, "<start "), 1);
	assert_non_null(strstr(log, "what=\"log-writer-died\""));
	assert_int_equal(count(log, "<stop "), 1);
}

static bool log_is_begun(void)
{
	return access(in_dir("log.xml"), F_OK) == 0;
}

static void usr1_reaches_the_log_writer(void **state)
{
	(void)state;
	start_and_wait(NULL);
	assert_true(eventually(log_is_there));
	assert_int_equal(rename(in_dir("log.xml"), in_dir("moved.xml")), 0);
	kill(daemon_pid, SIGUSR1);
	assert_true(eventually(log_is_begun));
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	assert_non_null(strstr(the_log(), "<stop "));
	assert_null(strstr(the_log(), "<start "));
	assert_non_null(strstr(read_file(in_dir("moved.xml")), "<start "));
}

static bool log_is_reloaded(void)
{
	return strstr(the_log(), "<reload ") != NULL;
}

static void hup_reads_again(void **state)
{
	(void)state;
	start_and_wait(NULL);
	write_file("caronte.conf", "CONFIG_MAX_ERRORS=7\n");
	kill(daemon_pid, SIGHUP);
	assert_true(eventually(log_is_reloaded));
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(table->max_errors[i], 7);
	assert_non_null(strstr(the_log(), "changed=\"MAX_ERRORS\""));
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	assert_int_equal(count(the_log(), "<reload "), 1);
	assert_int_equal(count(the_log(), "what=\"configuration\""), 0);
}

static void faulty_reload_changes_nothing(void **state)
{
	(void)state;
	start_and_wait(NULL);
	write_file("caronte.conf", "CONFIG_MAX_ERRORS=0\nCONFIG_TIMEOUT_DATA=x\n");
	kill(daemon_pid, SIGHUP);
	hear("caronte: SIGHUP: refused, nothing has changed\n");
	assert_non_null(strstr(said, "caronte.conf:1: MAX_ERRORS: "));
	assert_non_null(strstr(said, "caronte.conf:2: TIMEOUT_DATA: "));
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	assert_int_equal(count(the_log(), "<reload "), 0);
	assert_int_equal(count(the_log(), "what=\"configuration\""), 1);
	assert_int_equal(table->max_errors[0], 0);
}

static bool first_has_it(void)
{
	return table->max_errors[0] == 8;
}

/* The record is not written before all have it; many signals are one reload, or two. */
static void reload_is_told_when_all_have_it(void **state)
{
	unsigned n;

	(void)state;
	table->behaviour[1] = DEAF;
	start_and_wait(NULL);
	write_file("caronte.conf", "CONFIG_MAX_ERRORS=8\n");
	for (int i = 0; i < 20; i++)
		kill(daemon_pid, SIGHUP);
	assert_true(eventually(first_has_it));
	usleep(700 * 1000);
	assert_int_equal(count(the_log(), "<reload "), 0);
	table->behaviour[1] = OBEY;
	assert_true(eventually(log_is_reloaded));
	assert_int_equal(table->max_errors[1], 8);
	usleep(500 * 1000);
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	n = count(the_log(), "<reload ");
	assert_in_range(n, 1, 2);
}

static void usr2_without_a_program_is_refused(void **state)
{
	(void)state;
	start_and_wait(NULL);
	kill(daemon_pid, SIGUSR2);
	hear("caronte: SIGUSR2: refused, nothing has changed\n");
	assert_int_equal(knock(), 0);
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
}

static void open_relay_is_said(void **state)
{
	(void)state;
	start("RELAY_GUARD=n");
	hear("caronte: RELAY_GUARD is off: everybody may relay through this machine\n");
	hear("ready, listening");
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	assert_int_equal(count(the_log(), "what=\"relay-guard-off\""), 1);
	start("RELAY_NETWORKS=0.0.0.0/0");
	hear("caronte: RELAY_NETWORKS holds all addresses: everybody may relay through this machine\n");
	hear("ready, listening");
	kill(daemon_pid, SIGTERM);
	assert_int_equal(ended(), 0);
	assert_int_equal(count(the_log(), "what=\"relay-guard-off\""), 2);
}

static void taken_address_is_69(void **state)
{
	struct addr a = listen_address(port);
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&a, &ss);
	int other = socket(AF_INET, SOCK_STREAM, 0);
	char expected[96];

	(void)state;
	assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &(int){ 1 }, sizeof(int)), 0);
	assert_int_equal(bind(other, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(listen(other, 1), 0);
	start(NULL);
	snprintf(expected, sizeof(expected),
		 "caronte: 127.0.0.1:%u: another program listens there\n", port);
	hear(expected);
	assert_int_equal(ended(), EX_UNAVAILABLE);
	assert_int_equal(table->starts[0], 0);
	close(other);
}

static pid_t orphans[3];

static bool orphans_are_gone(void)
{
	char path[64];

	/* Who reaps orphans here may be slow: a zombie has ended, too. */
	for (size_t i = 0; i < sizeof(orphans) / sizeof(orphans[0]); i++) {
		char *status;

		snprintf(path, sizeof(path), "/proc/%d/status", orphans[i]);
		status = read_file(path);
		if (*status && !strstr(status, "\nState:\tZ"))
			return false;
	}
	return true;
}

/* A master that is killed leaves nobody behind, and a log that is closed. */
static void killed_master_leaves_nobody(void **state)
{
	(void)state;
	start_and_wait(NULL);
	assert_true(eventually(log_is_there));
	orphans[0] = table->pid[0];
	orphans[1] = table->pid[1];
	orphans[2] = child_named("caronte-log");
	assert_int_not_equal(orphans[2], 0);
	kill(daemon_pid, SIGKILL);
	assert_int_equal(waitpid(daemon_pid, NULL, 0), daemon_pid);
	daemon_pid = 0;
	assert_true(eventually(orphans_are_gone));
	assert_non_null(strstr(the_log(), "</caronte-log>"));
	assert_int_equal(knock(), ECONNREFUSED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(starts_serves_and_stops),
		TEST(no_process_has_a_capability),
		TEST(dead_worker_is_started_again),
		TEST(dying_worker_is_started_ever_later),
		TEST(worker_that_cannot_start_ends_the_start),
		TEST(sessions_go_on_after_term),
		TEST(worker_that_does_not_end_is_killed),
		TEST(dead_log_writer_is_started_again),
		TEST(usr1_reaches_the_log_writer),
		TEST(hup_reads_again),
		TEST(faulty_reload_changes_nothing),
		TEST(reload_is_told_when_all_have_it),
		TEST(usr2_without_a_program_is_refused),
		TEST(open_relay_is_said),
		TEST(taken_address_is_69),
		TEST(killed_master_leaves_nobody),
	};

	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (table == MAP_FAILED)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("master", tests, NULL, NULL);
}
