/* SPDX-License-Identifier: ISC */
/*
 * pidfile: see pidfile.h. A lock of fcntl(2) belongs to a process: children have no part in it, and
 * it is lost as soon as this process closes any descriptor of that file. So the file is opened
 * once, and others are looked at only where it is not ours.
 */
#include "check/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define MODE	   0644
#define BESIDE_MAX (PIDFILE_MAX + 32)

static void directory_of(const char *path, char *out, size_t cap)
{
	size_t n = (size_t)(strrchr(path, '/') - path);

	snprintf(out, cap, "%.*s", n ? (int)n : 1, path);
}

const char *pidfile_check(const char *path, char *out, size_t cap)
{
	char dir[PIDFILE_MAX + 1];
	struct stat st;

	if (*path != '/') {
		snprintf(out, cap, "\"%s\": is no absolute path; write it from / on", path);
		return out;
	}
	if (strlen(path) > PIDFILE_MAX) {
		snprintf(out, cap, "%s: too long, at most %d octets", path, PIDFILE_MAX);
		return out;
	}
	directory_of(path, dir, sizeof(dir));
	if (access(dir, W_OK | X_OK) != 0) {
		snprintf(
			out, cap,
			"%s: cannot be made in %s: %s; USER writes this file and needs a directory "
			"of its own for it",
			path, dir, strerror(errno));
		return out;
	}
	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		snprintf(out, cap, "%s: is there already and is no regular file", path);
		return out;
	}
	return NULL;
}

/* Only a lock for writing counts, which USER alone can have: everybody who can read the file can
 * lock it for reading, once its daemon has died. */
pid_t pidfile_owner(const char *path)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	int err;

	if (fd < 0)
		return -errno;
	err = fcntl(fd, F_GETLK, &lock) == 0 ? 0 : errno;
	close(fd);
	if (err)
		return -err;
	if (lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid > 0 ? lock.l_pid : -ESRCH; /* a process of another container */
}

static int write_whole(int fd, const char *text, size_t n)
{
	ssize_t done = write(fd, text, n);

	if (done < 0)
		return -errno;
	return (size_t)done == n ? 0 : -ENOSPC;
}

int pidfile_replace(const char *path, const char *text, size_t n, int *fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char beside[BESIDE_MAX];
	int err;

	snprintf(beside, sizeof(beside), "%s.new", path);
	unlink(beside);
	/* Nobody else may open it, and lock it, before our lock is there. */
	*fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return -errno;
	err = fcntl(*fd, F_SETLK, &lock) == 0 ? 0 : -errno;
	/* Whatever the umask: it is to be read by everybody who looks for the daemon. */
	if (!err && fchmod(*fd, MODE) != 0)
		err = -errno;
	if (!err)
		err = write_whole(*fd, text, n);
	if (!err && rename(beside, path) != 0)
		err = -errno;
	if (!err)
		return 0;
	unlink(beside);
	close(*fd);
	*fd = -1;
	return err;
}

int pidfile_take(const char *path, int *fd, char *why, size_t cap)
{
	char text[1024], number[32];
	pid_t owner;
	int err, n;

	if (pidfile_check(path, text, sizeof(text))) {
		snprintf(why, cap, "PID_FILE: %s", text);
		return EX_CONFIG;
	}
	owner = pidfile_owner(path);
	if (owner > 0 || owner == -ESRCH) {
		snprintf(why, cap, "PID_FILE: %s: a daemon that runs has it, process %d", path,
			 owner > 0 ? (int)owner : 0);
		return EX_CONFIG;
	}
	n = snprintf(number, sizeof(number), "%d\n", (int)getpid());
	err = pidfile_replace(path, number, (size_t)n, fd);
	if (!err)
		return 0;
	snprintf(why, cap, "PID_FILE: %s: %s", path, strerror(-err));
	return EX_CANTCREAT;
}

void pidfile_remove(const char *path, int fd)
{
	struct stat ours, there;

	if (fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
	    ours.st_ino == there.st_ino)
		unlink(path);
	close(fd);
}
