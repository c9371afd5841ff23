/* SPDX-License-Identifier: ISC */
/* notify: see notify.h. */
#include "master/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "io/net.h"

#define FIRST_FD 3

/* False: there is no socket, or its name is none. */
static bool notify_address(struct sockaddr_un *un, socklen_t *len)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;

	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (n < 2 || n >= sizeof(un->sun_path) || (*path != '/' && *path != '@'))
		return false;
	memcpy(un->sun_path, path, n);
	if (*path == '@')
		un->sun_path[0] = '\0'; /* the abstract name space */
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return true;
}

void notify_send(enum notify_state state, const char *status)
{
	static const char *const words[] = {
		[NOTIFY_READY] = "READY=1",
		[NOTIFY_RELOADING] = "RELOADING=1",
		[NOTIFY_STOPPING] = "STOPPING=1",
	};
	struct sockaddr_un un;
	struct timespec now;
	char text[512];
	socklen_t len;
	int fd, n;

	if (!notify_address(&un, &len) || clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		return;
	n = snprintf(text, sizeof(text), "%s\nMONOTONIC_USEC=%lld\nMAINPID=%d\nSTATUS=%.300s\n",
		     words[state], (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000, getpid(),
		     status);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&un,
		      len);
	close(fd);
}

static bool number(const char *text, long *value)
{
	char *end;

	errno = 0;
	*value = text ? strtol(text, &end, 10) : 0;
	return text && *text && !*end && errno == 0;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

/* NULL, or what is wrong with FD. */
static const char *take_socket(int fd, struct listen_set *set)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return "is not open";
	if (option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1)
		return "is no stream socket that listens (ListenStream=)";
	if (!listen_add_socket(set, fd))
		return "listens on no IP address";
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return "cannot be used";
	return NULL;
}

int notify_listen_fds(struct listen_set *set, int *fds, char *why, size_t cap)
{
	long pid, n;
	bool ours = number(getenv("LISTEN_PID"), &pid) && pid == (long)getpid() &&
		    number(getenv("LISTEN_FDS"), &n) && n > 0;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	*set = (struct listen_set){ 0 };
	if (!ours)
		return 0;
	if (n > LISTEN_MAX) {
		snprintf(why, cap, "%ld sockets were handed over, at most %d are allowed", n,
			 LISTEN_MAX);
		return -1;
	}
	for (int i = 0; i < (int)n; i++) {
		const char *wrong = take_socket(FIRST_FD + i, set);

		if (wrong) {
			snprintf(why, cap, "descriptor %d, handed over as a socket, %s",
				 FIRST_FD + i, wrong);
			return -1;
		}
		fds[i] = FIRST_FD + i;
	}
	return (int)n;
}
