/* SPDX-License-Identifier: ISC */
/*
 * Which engine is taken: io_uring where this process may use all of it, else epoll with a reason.
 * The refusals are real ones, of a seccomp filter or a limit in a child.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"

static const struct io_limits limits = {
	.ops = 64, .timers = 1, .block_size = 1024, .block_count = 4
};

static void epoll_is_there(void **state)
{
	const char *why = "unset";
	struct io *io;

	(void)state;
	assert_int_equal(io_create(&io, IO_ENGINE_EPOLL, &limits, &why), 0);
	assert_string_equal(io_name(io), "epoll");
	assert_null(why);
	io_destroy(io);
	assert_int_equal(io_create(&io, IO_ENGINE_EPOLL, &limits, NULL), 0);
	io_destroy(io);
	io_destroy(NULL);
}

static void auto_takes_io_uring_or_says_why(void **state)
{
	const char *why = "unset";
	struct io *io, *uring;
	int ret;

	(void)state;
	assert_int_equal(io_create(&io, IO_ENGINE_AUTO, &limits, &why), 0);
	ret = io_create(&uring, IO_ENGINE_URING, &limits, NULL);
	if (ret == 0) {
		assert_string_equal(io_name(io), "io_uring");
		assert_null(why);
		io_destroy(uring);
	} else {
		assert_int_equal(ret, -EOPNOTSUPP);
		assert_string_equal(io_name(io), "epoll");
		assert_non_null(why);
		print_message("io_uring: %s\n", why);
	}
	io_destroy(io);
}

static void bad_limits_are_no_reason_for_epoll(void **state)
{
	struct io_limits bad = limits;
	const char *why = NULL;
	struct io *io;

	(void)state;
	bad.block_count = 40000;
	assert_int_equal(io_create(&io, IO_ENGINE_AUTO, &bad, &why), -EINVAL);
	assert_null(why);
	bad = limits;
	bad.block_size = 0;
	assert_int_equal(io_create(&io, IO_ENGINE_EPOLL, &bad, &why), -EINVAL);
}

static int status_of(pid_t child)
{
	int status = -1;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int forbid(long call, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 ? -errno : 0;
}

static int child_without(long call, int err)
{
	const char *why = NULL;
	struct io *io;

	if (forbid(call, err) < 0)
		return 1;
	if (io_create(&io, IO_ENGINE_URING, &limits, &why) != -EOPNOTSUPP || !why || !*why)
		return 2;
	why = NULL;
	if (io_create(&io, IO_ENGINE_AUTO, &limits, &why) != 0 || !why || !*why)
		return 3;
	if (strcmp(io_name(io), "epoll") != 0)
		return 4;
	io_destroy(io);
	return 0;
}

static void a_sandbox_makes_it_epoll(void **state)
{
	static const struct {
		long call;
		int err;
	} refusals[] = {
		{ SYS_io_uring_setup, EPERM },	   { SYS_io_uring_setup, ENOSYS },
		{ SYS_io_uring_setup, EACCES },	   { SYS_io_uring_enter, EPERM },
		{ SYS_io_uring_enter, ENOSYS },	   { SYS_io_uring_register, EPERM },
		{ SYS_io_uring_register, EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(child_without(refusals[i].call, refusals[i].err));
		assert_int_equal(status_of(child), 0);
	}
}

/* As a user of which nothing else runs, and nothing else has run: a ring is uncounted some time
 * after its process. */
static int leave_root(void)
{
	uid_t lonely = 0x40000000u | (uid_t)getpid();

	return setresuid(lonely, lonely, lonely);
}

/* Whether as many engines as COUNT, and not one more, fit into OCTETS. */
static int child_within(uint64_t octets, int count)
{
	const struct rlimit limit = { .rlim_cur = octets, .rlim_max = octets };
	const char *why = NULL;
	struct io *io;

	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || leave_root() < 0)
		return 1;
	for (int i = 0; i < count; i++)
		if (io_create(&io, IO_ENGINE_URING, &limits, &why) != 0)
			return 2;
	if (io_create(&io, IO_ENGINE_URING, &limits, &why) != -EOPNOTSUPP)
		return 3;
	if (!strstr(why, "RLIMIT_MEMLOCK"))
		return 4;
	if (io_create(&io, IO_ENGINE_AUTO, &limits, &why) != 0 || strcmp(io_name(io), "epoll") != 0)
		return 5;
	return io_locked(io) == 0 ? 0 : 6;
}

/* What the kernel counts for one engine, in pages, as that user sees it; 255: there is none. */
static int child_that_asks(void)
{
	struct rlimit before, after;
	struct io *io;
	uint64_t locked;

	if (leave_root() < 0 || getrlimit(RLIMIT_MEMLOCK, &before) < 0 ||
	    io_create(&io, IO_ENGINE_URING, &limits, NULL) != 0)
		return 255;
	locked = io_locked(io);
	if (getrlimit(RLIMIT_MEMLOCK, &after) < 0 || memcmp(&before, &after, sizeof(after)) != 0)
		return 254;
	return (int)(locked / (uint64_t)sysconf(_SC_PAGESIZE));
}

static void locked_memory_is_foretold(void **state)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t pages;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip(); /* what others of our user have would count */
	child = fork();
	if (child == 0)
		_exit(child_that_asks());
	pages = (uint64_t)status_of(child);
	assert_int_not_equal(pages, 254);
	if (pages == 255 || pages == 0)
		skip(); /* no io_uring here, or a kernel that counts nothing */
	for (int count = 1; count <= 3; count++) {
		child = fork();
		if (child == 0)
			_exit(child_within((uint64_t)count * pages * page, count));
		assert_int_equal(status_of(child), 0);
		child = fork();
		if (child == 0)
			_exit(child_within(((uint64_t)count * pages - 1) * page, count - 1));
		assert_int_equal(status_of(child), 0);
	}
}

static atomic_bool given;

static void *give_memory(void *arg)
{
	const struct timespec soon = { .tv_nsec = 60000000 };

	nanosleep(&soon, NULL);
	(void)!setrlimit(RLIMIT_MEMLOCK, arg);
	given = true;
	return NULL;
}

/* No memory for a ring at first, and some soon after. 3: so late that nothing is shown. */
static int child_with_late_memory(void)
{
	struct rlimit usual, none;
	pthread_t giver;
	struct io *io;
	bool too_late;
	int ret;

	if (getrlimit(RLIMIT_MEMLOCK, &usual) < 0)
		return 1;
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = usual.rlim_max };
	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || leave_root() < 0 ||
	    pthread_create(&giver, NULL, give_memory, &usual) != 0)
		return 1;
	ret = io_create(&io, IO_ENGINE_URING, &limits, NULL);
	too_late = !given;
	if (pthread_join(giver, NULL) != 0)
		return 1;
	return ret == 0 ? 0 : too_late ? 3 : 2;
}

static void late_memory_is_waited_for(void **state)
{
	struct io *io;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip(); /* only root's children are users of their own */
	if (io_create(&io, IO_ENGINE_URING, &limits, NULL) != 0)
		skip(); /* no io_uring here */
	io_destroy(io);
	int status = 3; /* on a busy machine */

	for (int i = 0; status == 3 && i < 10; i++) {
		child = fork();
		if (child == 0)
			_exit(child_with_late_memory());
		status = status_of(child);
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(epoll_is_there),
		cmocka_unit_test(auto_takes_io_uring_or_says_why),
		cmocka_unit_test(bad_limits_are_no_reason_for_epoll),
		cmocka_unit_test(a_sandbox_makes_it_epoll),
		cmocka_unit_test(locked_memory_is_foretold),
		cmocka_unit_test(late_memory_is_waited_for),
	};

	return cmocka_run_group_tests_name("choice of the engine", tests, NULL, NULL);
}
