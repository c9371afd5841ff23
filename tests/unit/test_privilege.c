/* SPDX-License-Identifier: ISC */
/*
 * privilege: what the kernel itself says of a process that has dropped privilege. Each case forks,
 * brings the child into some state, drops, and reads the child's /proc/self/status.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check/privilege.h"

struct outcome {
	int err;
	char why[256];
	char status[8192]; /* /proc/self/status afterwards */
};

static struct privilege_id nobody(void)
{
	const struct passwd *pw = getpwnam("nobody");

	assert_non_null(pw);
	return (struct privilege_id){ .change = true, .uid = pw->pw_uid, .gid = pw->pw_gid };
}

static void read_status(char *out, size_t cap)
{
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = read(fd, out, cap - 1);

	if (n < 0)
		_exit(99);
	out[n] = '\0';
	close(fd);
}

/* Drops in a child that PREPARE (may be NULL) has prepared; false there: the child could not. */
static struct outcome drop(const struct privilege_id *id, bool (*prepare)(void))
{
	static struct outcome o;
	int fds[2], status;
	size_t got = 0;

	memset(&o, 0, sizeof(o));
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		if (prepare && !prepare())
			_exit(98);
		o.err = privilege_drop(id, o.why, sizeof(o.why));
		read_status(o.status, sizeof(o.status));
		_exit(write(fds[1], &o, sizeof(o)) == (ssize_t)sizeof(o) ? 0 : 97);
	}
	close(fds[1]);
	while (got < sizeof(o)) {
		ssize_t n = read(fds[0], (char *)&o + got, sizeof(o) - got);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(got, sizeof(o));
	return o;
}

/* The value of a line of /proc/self/status, blanks around it cut. */
static const char *field(const struct outcome *o, const char *name)
{
	static char value[512];
	const char *at = strstr(o->status, name);
	size_t n;

	assert_non_null(at);
	at += strlen(name);
	at += strspn(at, ": \t");
	n = strcspn(at, "\n");
	while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
		n--;
	assert_true(n < sizeof(value));
	memcpy(value, at, n);
	value[n] = '\0';
	return value;
}

static void assert_no_capability(const struct outcome *o)
{
	assert_string_equal(field(o, "\nCapInh"), "0000000000000000");
	assert_string_equal(field(o, "\nCapPrm"), "0000000000000000");
	assert_string_equal(field(o, "\nCapEff"), "0000000000000000");
	assert_string_equal(field(o, "\nCapAmb"), "0000000000000000");
	assert_string_equal(field(o, "\nNoNewPrivs"), "1");
}

static bool need_root(void)
{
	if (geteuid() == 0)
		return true;
	print_message("skipped: only root has privileges to drop\n");
	return false;
}

/* Inherited groups, inheritable and ambient capabilities: what a careless service manager leaves.
 */
static bool burdened(void)
{
	gid_t groups[] = { 1, 2, 3 };

	if (setgroups(3, groups) != 0 || capng_get_caps_process() != 0)
		return false;
	capng_update(CAPNG_ADD, CAPNG_INHERITABLE, CAP_NET_BIND_SERVICE);
	capng_update(CAPNG_ADD, CAPNG_INHERITABLE, CAP_CHOWN);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return false;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0;
}

static void root_loses_everything(void **state)
{
	struct privilege_id id;
	struct outcome o;
	char expected[64];

	(void)state;
	if (!need_root())
		skip();
	id = nobody();
	for (int i = 0; i < 2; i++) {
		o = drop(&id, i ? burdened : NULL);
		assert_int_equal(o.err, 0);
		assert_no_capability(&o);
		assert_string_equal(field(&o, "\nCapBnd"), "0000000000000000");
		snprintf(expected, sizeof(expected), "%u\t%u\t%u\t%u", id.uid, id.uid, id.uid,
			 id.uid);
		assert_string_equal(field(&o, "\nUid"), expected);
		snprintf(expected, sizeof(expected), "%u\t%u\t%u\t%u", id.gid, id.gid, id.gid,
			 id.gid);
		assert_string_equal(field(&o, "\nGid"), expected);
		assert_string_equal(field(&o, "\nGroups"), "");
	}
}

static bool lose(unsigned cap)
{
	if (capng_get_caps_process() != 0)
		return false;
	capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, cap);
	return capng_apply(CAPNG_SELECT_CAPS) == 0;
}

static bool without_setpcap(void)
{
	return lose(CAP_SETPCAP);
}

static void bounding_set_stays_without_setpcap(void **state)
{
	struct privilege_id id;
	struct outcome o;

	(void)state;
	if (!need_root())
		skip();
	id = nobody();
	o = drop(&id, without_setpcap);
	assert_int_equal(o.err, 0);
	assert_no_capability(&o);
	assert_string_not_equal(field(&o, "\nCapBnd"), "0000000000000000");
}

static bool without_setuid(void)
{
	return lose(CAP_SETUID);
}

static bool without_setgid(void)
{
	return lose(CAP_SETGID);
}

static void root_that_cannot_change_is_refused(void **state)
{
	struct privilege_id id;
	struct outcome o;

	(void)state;
	if (!need_root())
		skip();
	id = nobody();
	o = drop(&id, without_setuid);
	assert_true(o.err < 0);
	assert_ptr_equal(strstr(o.why, "cannot drop privileges: "), o.why);
	o = drop(&id, without_setgid);
	assert_true(o.err < 0);
	assert_ptr_equal(strstr(o.why, "cannot drop privileges: "), o.why);
}

static void root_without_a_user_is_refused(void **state)
{
	struct privilege_id none = { .change = false };
	struct privilege_id super = { .change = true, .uid = 0, .gid = 0 };
	struct outcome o;

	(void)state;
	if (!need_root())
		skip();
	o = drop(&none, NULL);
	assert_int_equal(o.err, -EPERM);
	assert_string_equal(o.why,
			    "cannot drop privileges: no user to become: Operation not permitted");
	assert_string_equal(field(&o, "\nNoNewPrivs"), "0");
	o = drop(&super, NULL);
	assert_int_equal(o.err, -EPERM);
}

/* As a program file with CAP_NET_BIND_SERVICE, or a service manager's ambient set, makes a process.
 */
static bool user_with_capability(void)
{
	struct privilege_id id = nobody();

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setgroups(0, NULL) != 0 ||
	    setresgid(id.gid, id.gid, id.gid) != 0 || setresuid(id.uid, id.uid, id.uid) != 0)
		return false;
	capng_clear(CAPNG_SELECT_CAPS);
	capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE,
		     CAP_NET_BIND_SERVICE);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return false;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0;
}

/* With CAP_SETPCAP the bounding set can go, too. */
static bool user_that_may_empty_the_bounding_set(void)
{
	struct privilege_id id = nobody();

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setresuid(id.uid, id.uid, id.uid) != 0)
		return false;
	capng_clear(CAPNG_SELECT_CAPS);
	capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SETPCAP);
	return capng_apply(CAPNG_SELECT_CAPS) == 0;
}

static void other_user_loses_what_there_is(void **state)
{
	struct privilege_id as_is = { .change = false };
	struct outcome o;

	(void)state;
	if (!need_root())
		skip();
	o = drop(&as_is, user_with_capability);
	assert_int_equal(o.err, 0);
	assert_no_capability(&o);
	assert_string_not_equal(field(&o, "\nCapBnd"), "0000000000000000");
	o = drop(&as_is, user_that_may_empty_the_bounding_set);
	assert_int_equal(o.err, 0);
	assert_no_capability(&o);
	assert_string_equal(field(&o, "\nCapBnd"), "0000000000000000");
}

static bool plain_user(void)
{
	struct privilege_id id = nobody();

	return geteuid() != 0 || setresuid(id.uid, id.uid, id.uid) == 0;
}

static void plain_user_drops_too(void **state)
{
	struct privilege_id as_is = { .change = false };
	struct outcome o = drop(&as_is, plain_user);

	(void)state;
	assert_int_equal(o.err, 0);
	assert_no_capability(&o);
}

static void user_names(void **state)
{
	struct privilege_id id;

	(void)state;
	if (!need_root())
		skip();
	assert_null(privilege_find(&id, "nobody"));
	assert_true(id.change);
	assert_int_equal(id.uid, nobody().uid);
	assert_int_equal(id.gid, nobody().gid);
	assert_string_equal(privilege_find(&id, "no-such-user-here"), "no such user");
	assert_non_null(strstr(privilege_find(&id, ""), "is empty"));
	assert_non_null(strstr(privilege_find(&id, "root"), "is the superuser"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_loses_everything),
		cmocka_unit_test(bounding_set_stays_without_setpcap),
		cmocka_unit_test(root_that_cannot_change_is_refused),
		cmocka_unit_test(root_without_a_user_is_refused),
		cmocka_unit_test(other_user_loses_what_there_is),
		cmocka_unit_test(plain_user_drops_too),
		cmocka_unit_test(user_names),
	};

	return cmocka_run_group_tests_name("privilege", tests, NULL, NULL);
}
