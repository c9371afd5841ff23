/* SPDX-License-Identifier: ISC */
/*
 * privilege: losing it, for good (the design's invariant 9). As root: become USER without
 * supplementary groups, empty every capability set, the bounding set too, then no_new_privs. As
 * anybody else: drop what capabilities there are (a file's CAP_NET_BIND_SERVICE), then
 * no_new_privs. What was asked for is read back from the kernel afterwards, not believed. There is
 * no way to get anything back, and no way to drop only a part.
 */
#ifndef CHECK_PRIVILEGE_H
#define CHECK_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct privilege_id {
	bool change; /* started as root: become UID and GID */
	uid_t uid;
	gid_t gid;
};

/* True when one of the process's user ids is 0. */
bool privilege_root(void);
/*
 * Looks NAME up as the user to become. NULL, or what is wrong with it (static text). Started as
 * another user than root, the name is not looked at, and nothing is to be changed.
 */
const char *privilege_find(struct privilege_id *id, const char *name);
/*
 * Drops everything and proves it. 0, or -errno with a line for the operator in WHY (CAP octets):
 * the process must then end, for it may have lost a part.
 */
int privilege_drop(const struct privilege_id *id, char *why, size_t cap)
	__attribute__((warn_unused_result));

#endif
