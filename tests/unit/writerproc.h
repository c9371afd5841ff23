/* SPDX-License-Identifier: ISC */
/*
 * writerproc: the log writer in a process of its own, and producers beside it, for the tests of the
 * writer. Every test has a directory, an archive, rings and the two file descriptors of its own.
 * Include after cmocka.h.
 */
#ifndef TESTS_WRITERPROC_H
#define TESTS_WRITERPROC_H

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>

#include "logcheck.h"
#include "xmllog/ring.h"
#include "xmllog/writer.h"

#define RINGS	  3
#define RING_SIZE (256u << 10)
#define WAIT_MS	  20000

static char dir[64], path[96], archive[96];
static struct xmllog_writer_config config;
static struct xmllog_ring *rings[RINGS];
static int wake_fd, life[2];

static inline int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/caronte-writer-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/log.xml", dir);
	snprintf(archive, sizeof(archive), "%s/archive", dir);
	config = (struct xmllog_writer_config){ .file = path, .archive_dir = archive };
	for (int i = 0; i < RINGS; i++) {
		rings[i] = mmap(NULL, xmllog_ring_room(RING_SIZE), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (rings[i] == MAP_FAILED)
			return -1;
		xmllog_ring_init(rings[i], RING_SIZE);
	}
	wake_fd = eventfd(0, EFD_CLOEXEC);
	if (wake_fd < 0 || pipe2(life, O_CLOEXEC) < 0)
		return -1;
	return mkdir(archive, 0700);
}

static inline int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < RINGS; i++)
		munmap(rings[i], xmllog_ring_room(RING_SIZE));
	close(wake_fd);
	close(life[0]);
	if (life[1] >= 0)
		close(life[1]);
	remove_tree(dir);
	return 0;
}

/* A writer in a process of its own. OUT: its standard output, -1: ours; ERR: -1: it is not heard.
 */
static inline pid_t start_writer_on(int out, int err)
{
	pid_t pid = fork();

	if (pid == 0) {
		dup2(err >= 0 ? err : open("/dev/null", O_WRONLY), STDERR_FILENO);
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		if (life[1] >= 0)
			close(life[1]);
		_exit(xmllog_writer_main(&config, rings, RINGS, wake_fd, life[0]));
	}
	assert_true(pid > 0);
	return pid;
}

static inline pid_t start_writer(void)
{
	return start_writer_on(-1, -1);
}

static inline int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline void kill_writer(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(wait_for(pid), -SIGKILL);
}

/*
 * A writer that is killed as it enters or leaves its STOPth system call. False when it came to its
 * end before that; *REFUSED when we may not trace.
 */
static inline bool killed_at_call(int stop, bool *refused)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(99);
		raise(SIGSTOP);
		_exit(xmllog_writer_main(&config, rings, RINGS, wake_fd, life[0]));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*refused = !WIFSTOPPED(status);
	while (WIFSTOPPED(status) && stop-- > 0) {
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	if (!WIFSTOPPED(status))
		return false;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return true;
}

/* The last producer goes, and the writer ends. */
static inline int end_writer(pid_t pid)
{
	if (life[1] >= 0)
		close(life[1]);
	life[1] = -1;
	return wait_for(pid);
}

static inline void pause_us(long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&t, NULL);
}

static inline bool drained(void)
{
	for (int i = 0; i < RINGS; i++)
		if (atomic_load(&rings[i]->head) != atomic_load(&rings[i]->tail) ||
		    atomic_load(&rings[i]->dropped) != rings[i]->reported)
			return false;
	return true;
}

static inline void wait_drained(void)
{
	for (int ms = 0; !drained(); ms++) {
		assert_true(ms < WAIT_MS);
		pause_us(1000);
	}
}

/* Record number I of ring K; COUNT tells which. */
static inline void numbered(struct xmllog *l, unsigned k, uint64_t i)
{
	static const char filler[4000] = { [0 ... 3998] = '?' };

	assert_true(xmllog_begin(l, XMLLOG_FAULT, NULL));
	xmllog_text(l, XMLLOG_A_WHAT, k == 0 ? "r0" : k == 1 ? "r1" : "r2");
	xmllog_num(l, XMLLOG_A_COUNT, i);
	xmllog_text(l, XMLLOG_A_DETAIL, filler + sizeof(filler) - 1 - i * 37 % 3999);
	xmllog_end(l);
}

static inline void open_producers(struct xmllog l[RINGS], int level)
{
	for (int i = 0; i < RINGS; i++)
		xmllog_open(&l[i], rings[i], wake_fd, level);
}

#endif
