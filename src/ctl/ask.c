/* SPDX-License-Identifier: ISC */
/* ask: see ask.h. Blocking, with a deadline for each step. */
#include "ctl/ask.h"

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "config/load.h"

#define PATIENCE_S 10
#define ANSWER_MAX ((size_t)16 << 20)
#define TRIES	   20 /* with the pauses: two seconds */
#define PAUSE_NS   100000000

bool ask_option(struct ask_where *where, int c, const char *argument)
{
	if (c != 's')
		return ctl_config_option(&where->config, c, argument);
	where->socket = argument;
	return true;
}

int ask_options(struct ask_where *where, int argc, char **argv,
		void (*usage)(FILE *out, const char *name))
{
	static const struct option options[] = {
		ASK_LONG,
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, ASK_SHORT "h", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout, argv[0]);
			return EX_OK;
		}
		if (!ask_option(where, c, optarg)) {
			usage(stderr, argv[0]);
			return EX_USAGE;
		}
	}
	return -1;
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

static int dial(const char *path, unsigned patience_s)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = (time_t)patience_s };
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

/* Room for more behind N octets. 0 or -errno. */
static int make_room(char **text, size_t n, size_t *cap)
{
	char *more;

	if (*cap - n >= 2)
		return 0;
	if (*cap >= ANSWER_MAX)
		return -EFBIG;
	more = realloc(*text, *cap + 65536);
	if (!more)
		return -ENOMEM;
	*text = more;
	*cap += 65536;
	return 0;
}

/* All that comes until the end of the stream, or NULL and *ERR. */
static char *read_all(int fd, int *err)
{
	char *text = NULL;
	size_t n = 0, cap = 0;

	while ((*err = make_room(&text, n, &cap)) == 0) {
		ssize_t got = recv(fd, text + n, cap - n - 1, 0);

		if (got == 0) {
			text[n] = '\0';
			return text;
		}
		if (got < 0 && errno != EINTR) {
			*err = -errno;
			break;
		}
		n += got > 0 ? (size_t)got : 0;
	}
	free(text);
	return NULL;
}

/* REQUEST and its LF, at once: who answers before the LF is there would end the connection with it
 * unread, which takes the answer back. 0 or -errno. */
static int send_request(int fd, const char *request)
{
	size_t n = strlen(request);
	struct iovec part[] = { { (void *)(uintptr_t)request, n },
				{ (void *)(uintptr_t) "\n", 1 } };
	struct msghdr msg = { .msg_iov = part, .msg_iovlen = 2 };
	ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL);

	if (sent < 0)
		return -errno;
	return (size_t)sent == n + 1 ? 0 : -EAGAIN;
}

static pid_t peer_of(int fd)
{
	struct ucred peer = { 0 };
	socklen_t n = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 ? peer.pid : 0;
}

char *ask_once(const char *socket, const char *request, unsigned patience_s, pid_t *pid, int *err)
{
	int fd = dial(socket, patience_s);
	char *text = NULL;
	size_t n;

	*err = fd;
	if (fd < 0)
		return NULL;
	if (pid)
		*pid = peer_of(fd);
	*err = send_request(fd, request);
	if (!*err)
		text = read_all(fd, err);
	close(fd);
	n = text ? strlen(text) : 0;
	if (n && text[n - 1] == '\n') {
		text[n - 1] = '\0';
		return text;
	}
	if (text || *err == -EPIPE || *err == -ECONNRESET)
		*err = -EPROTO;
	free(text);
	return NULL;
}

static int status_of(int err)
{
	if (err == -EACCES || err == -EPERM)
		return EX_NOPERM;
	return err == -EPROTO || err == -EFBIG ? EX_PROTOCOL : EX_UNAVAILABLE;
}

static const char *text_of(int err)
{
	switch (err) {
	case -EAGAIN:
		return "no answer in 10 seconds";
	case -EFBIG:
		return "an answer that does not end";
	case -EPROTO:
		return "the daemon gave no whole answer";
	case -ECONNREFUSED:
		return "no daemon listens there";
	case -ENOENT:
		return "there is no such file: no daemon listens there";
	default:
		return strerror(-err);
	}
}

int ask_failed(const char *socket, int err)
{
	fprintf(stderr, "carontectl: %s: %s\n", socket, text_of(err));
	return status_of(err);
}

int ask_foreign(const char *socket)
{
	fprintf(stderr, "carontectl: %s: this is no answer of this version\n", socket);
	return EX_PROTOCOL;
}

char *ask(const char *socket, const char *request, int *status)
{
	struct timespec pause = { .tv_nsec = PAUSE_NS };
	char *text = NULL;
	int err = -EPROTO;

	/* A reload may have ended the process that was asked: the next one answers. Nothing that
	 * can be asked for does harm a second time. */
	for (unsigned i = 0; i < TRIES && !text && err == -EPROTO; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		text = ask_once(socket, request, PATIENCE_S, NULL, &err);
	}
	if (text)
		return text;
	*status = ask_failed(socket, err);
	return NULL;
}
