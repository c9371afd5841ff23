/* SPDX-License-Identifier: ISC */
#include "xmllog/outlet.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

/* Elements of levels 3 and 4 stay in the file. */
static const char *const kept_back[] = { "command", "reply", "debug" };

void outlet_init(struct outlet *o, const char *path)
{
	*o = (struct outlet){ .path = path, .fd = -1 };
}

static bool connect_outlet(struct outlet *o)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	if (o->fd >= 0)
		return true;
	if (o->path[0] == '\0' || strlen(o->path) >= sizeof(sun.sun_path))
		return false;
	strcpy(sun.sun_path, o->path);
	o->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (o->fd >= 0 && connect(o->fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return true;
	outlet_close(o);
	return false;
}

static bool begins_with_element(struct span line, const char *name)
{
	size_t n = strlen(name);

	return line.n > n + 1 && memcmp(line.p + 1, name, n) == 0 && line.p[n + 1] == ' ';
}

static void send_line(struct outlet *o, struct span line)
{
	char head[48];
	int severity = begins_with_element(line, "fault") ? LOG_WARNING : LOG_INFO;
	int n = snprintf(head, sizeof(head), "<%d>caronte: ", LOG_MAIL | severity);
	struct iovec iov[] = { { head, (size_t)n }, { (void *)line.p, line.n } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	for (size_t i = 0; i < sizeof(kept_back) / sizeof(kept_back[0]); i++)
		if (begins_with_element(line, kept_back[i]))
			return;
	if (sendmsg(o->fd, &msg, MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != EMSGSIZE)
		outlet_close(o); /* its reader was started again */
}

void outlet_lines(struct outlet *o, struct span text)
{
	while (text.n > 0 && connect_outlet(o)) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n;

		if (n > 0 && text.p[0] == '<')
			send_line(o, span_of(text.p, n));
		text = span_from(text, n + 1);
	}
}

void outlet_close(struct outlet *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}
