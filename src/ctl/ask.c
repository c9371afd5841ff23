/* SPDX-License-Identifier: ISC */
/* ask: see ask.h. Blocking, with a deadline for each step. */
#include "ctl/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/config.h"

#define PATIENCE_S 10
#define ANSWER_MAX ((size_t)16 << 20)

bool ask_option(struct ask_where *where, int c, const char *argument)
{
	if (c != 's')
		return ctl_config_option(&where->config, c, argument);
	where->socket = argument;
	return true;
}

char *ask_socket(const struct ask_where *where, int *status)
{
	struct config *c;
	char *path = NULL;

	*status = EX_CONFIG;
	if (where->socket)
		return strdup(where->socket);
	/* The daemon may run on a file that has got faults since: they matter only where the socket
	 * cannot be found. */
	c = config_load(where->config.file, where->config.overrides, where->config.count);
	if (*c->set.control_socket) {
		path = strdup(c->set.control_socket);
	} else if (c->fault_count) {
		config_print_faults(c, stderr);
	} else {
		fprintf(stderr,
			"carontectl: %s: CONTROL_SOCKET is not set: there is no daemon to ask\n",
			where->config.file);
	}
	config_free(c);
	return path;
}

static char *fail(int fd, const char *socket, const char *what)
{
	if (fd >= 0)
		close(fd);
	fprintf(stderr, "carontectl: %s: %s\n", socket, what);
	return NULL;
}

static int dial(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd, err;

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
	    connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	err = errno;
	close(fd);
	return -err;
}

/* All that comes until the end of the stream, or NULL with errno. */
static char *read_all(int fd)
{
	char *text = NULL;
	size_t n = 0, cap = 0;

	for (;;) {
		if (cap - n < 2) {
			char *more = cap < ANSWER_MAX ? realloc(text, cap + 65536) : NULL;

			if (!more)
				break;
			text = more;
			cap += 65536;
		}
		ssize_t got = recv(fd, text + n, cap - n - 1, 0);

		if (got == 0) {
			text[n] = '\0';
			return text;
		}
		if (got < 0 && errno != EINTR)
			break;
		n += got > 0 ? (size_t)got : 0;
	}
	free(text);
	return NULL;
}

char *ask(const char *socket, const char *request, int *status)
{
	int fd = dial(socket);
	size_t n = strlen(request);
	char *text;

	*status = fd == -EACCES || fd == -EPERM ? EX_NOPERM : EX_UNAVAILABLE;
	if (fd < 0)
		return fail(-1, socket, strerror(-fd));
	if (send(fd, request, n, MSG_NOSIGNAL) != (ssize_t)n ||
	    send(fd, "\n", 1, MSG_NOSIGNAL) != 1 || !(text = read_all(fd)))
		return fail(fd, socket, strerror(errno));
	close(fd);
	*status = EX_PROTOCOL;
	n = strlen(text);
	if (n == 0 || text[n - 1] != '\n') {
		free(text);
		return fail(-1, socket, "the daemon gave no whole answer");
	}
	text[n - 1] = '\0';
	return text;
}
