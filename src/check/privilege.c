/* SPDX-License-Identifier: ISC */
/*
 * privilege: see privilege.h. libcap-ng does the dropping; the proof asks the kernel itself, by
 * capget(2), prctl(2) and the getters of the ids, so that a fault of the library or of its use
 * shows.
 *
 * The bounding set can only be emptied with CAP_SETPCAP. Started without it the set stays as it
 * was; under no_new_privs, with all other sets empty, nothing can be gained from it.
 */
#include "check/privilege.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Capabilities have numbers below this; the kernel's last one is found by asking. */
#define CAPABILITIES_MAX 64

bool privilege_root(void)
{
	uid_t real, effective, saved;

	if (getresuid(&real, &effective, &saved) != 0)
		return geteuid() == 0;
	return real == 0 || effective == 0 || saved == 0;
}

const char *privilege_find(struct privilege_id *id, const char *name)
{
	const struct passwd *pw;

	*id = (struct privilege_id){ .change = privilege_root() };
	if (!id->change)
		return NULL;
	if (!*name)
		return "is empty; started as root, a user to become is needed";
	errno = 0;
	pw = getpwnam(name);
	if (!pw)
		return errno == 0 || errno == ENOENT || errno == ESRCH ? "no such user"
								       : "cannot be looked up";
	if (pw->pw_uid == 0)
		return "is the superuser; a user with another uid than 0 is needed";
	if (pw->pw_gid == 0)
		return "has root's group; a user with another primary group is needed";
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	return NULL;
}

/* What capng_change_id() could not do, by its return value. */
static const char *change_step(int ret)
{
	switch (ret) {
	case -2:
	case -7:
		return "keeping capabilities over the change of user";
	case -4:
		return "changing the group";
	case -5:
		return "dropping the supplementary groups";
	case -6:
		return "changing the user";
	case -8:
		return "emptying the bounding set";
	default:
		return "setting the capabilities";
	}
}

static int fail(char *why, size_t cap, const char *step)
{
	int err = errno ? errno : EPERM;

	snprintf(why, cap, "cannot drop privileges: %s: %s", step, strerror(err));
	return -err;
}

static int become_user(const struct privilege_id *id, bool bounding, char *why, size_t cap)
{
	unsigned flags = CAPNG_DROP_SUPP_GRP | (bounding ? CAPNG_CLEAR_BOUNDING : 0U);
	int ret;

	capng_clear(CAPNG_SELECT_ALL);
	errno = 0;
	ret = capng_change_id((int)id->uid, (int)id->gid, (capng_flags_t)flags);
	return ret == 0 ? 0 : fail(why, cap, change_step(ret));
}

static int drop_capabilities(bool bounding, char *why, size_t cap)
{
	capng_clear(CAPNG_SELECT_ALL);
	errno = 0;
	if (bounding && capng_apply(CAPNG_SELECT_BOUNDS) != 0)
		return fail(why, cap, change_step(-8));
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return fail(why, cap, change_step(0));
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		return fail(why, cap, "emptying the ambient set");
	return 0;
}

static bool ids_are(const struct privilege_id *id)
{
	uid_t uid[3];
	gid_t gid[3];

	if (getresuid(&uid[0], &uid[1], &uid[2]) != 0 || getresgid(&gid[0], &gid[1], &gid[2]) != 0)
		return false;
	for (int i = 0; i < 3; i++)
		if (uid[i] != id->uid || gid[i] != id->gid)
			return false;
	return getgroups(0, NULL) == 0;
}

/* Effective, permitted, inheritable, ambient; the bounding set when it was to be emptied. */
static bool sets_are_empty(bool bounding)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &head, data) != 0)
		return false;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		if (data[i].effective || data[i].permitted || data[i].inheritable)
			return false;
	for (unsigned long c = 0; c < CAPABILITIES_MAX; c++) {
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) > 0)
			return false;
		if (bounding && prctl(PR_CAPBSET_READ, c, 0, 0, 0) > 0)
			return false;
	}
	return true;
}

/* The way back must be shut: tried, since it is what an intruder would try. */
static bool root_is_gone(void)
{
	return setresuid(0, 0, 0) != 0 && seteuid(0) != 0 && setresgid(0, 0, 0) != 0 &&
	       !privilege_root();
}

int privilege_drop(const struct privilege_id *id, char *why, size_t cap)
{
	bool root = privilege_root();
	bool bounding;
	int err;

	errno = EPERM;
	if (root && (!id->change || id->uid == 0))
		return fail(why, cap, "no user to become");
	errno = 0;
	if (capng_get_caps_process() != 0)
		return fail(why, cap, "reading the capabilities");
	bounding = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
	err = root ? become_user(id, bounding, why, cap) : drop_capabilities(bounding, why, cap);
	if (err)
		return err;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail(why, cap, "no_new_privs");
	/* A change of user leaves this to fs.suid_dumpable. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return fail(why, cap, "forbidding core files");
	errno = EPERM;
	if (root && !ids_are(id))
		return fail(why, cap, "the user or group ids are not those asked for");
	if (!sets_are_empty(bounding))
		return fail(why, cap, "a capability is left");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return fail(why, cap, "no_new_privs is not set");
	if (root && !root_is_gone())
		return fail(why, cap, "the superuser can be had back");
	return 0;
}
