/* SPDX-License-Identifier: ISC */
/*
 * machine: what tests of several modules ask of the machine: a free port, how many descriptors are
 * open, a folder removed with all that is in it. For CMocka programs; each function fails the test.
 */
#ifndef TESTS_MACHINE_H
#define TESTS_MACHINE_H

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"

/* A port on which nobody listens on 127.0.0.1 just now. */
static inline uint16_t free_port(void)
{
	struct addr a;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(addr_parse_ip(&a, "127.0.0.1"), 0);
	a.port = 0;
	len = addr_to_sockaddr(&a, &ss);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	close(fd);
	addr_from_sockaddr(&a, &ss);
	return a.port;
}

static inline unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

/* 0, or what went wrong, as a teardown says it. */
static inline int remove_folder(const char *path)
{
	return nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
