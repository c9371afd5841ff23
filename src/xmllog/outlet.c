/* SPDX-License-Identifier: ISC */
/* outlet: see outlet.h. */
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

_Static_assert(OUTLET_PATH_MAX < sizeof(((struct sockaddr_un *)0)->sun_path), "its NUL too");

void outlet_init(struct outlet *o, const char *path)
{
	*o = (struct outlet){ .path = path, .fd = -1 };
}

static int connect_outlet(struct outlet *o)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int err;

	if (o->fd >= 0)
		return 0;
	if (strlen(o->path) > OUTLET_PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, o->path);
	o->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (o->fd >= 0 && connect(o->fd, (struct sockaddr *)&sun, sizeof(sun)) == 0) {
		o->met = true;
		return 0;
	}
	err = -errno;
	outlet_close(o);
	return err;
}

static bool begins_with_element(struct span line, const char *name)
{
	size_t n = strlen(name);

	return line.n > n + 1 && memcmp(line.p + 1, name, n) == 0 && line.p[n + 1] == ' ';
}

/* False: its reader has gone, or was started again. */
static bool send_line(struct outlet *o, struct span line)
{
	char head[48];
	int severity = begins_with_element(line, "fault") ? LOG_WARNING : LOG_INFO;
	int n = snprintf(head, sizeof(head), "<%d>caronte: ", LOG_MAIL | severity);
	struct iovec iov[] = { { head, (size_t)n }, { (void *)line.p, line.n } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	for (size_t i = 0; i < sizeof(kept_back) / sizeof(kept_back[0]); i++)
		if (begins_with_element(line, kept_back[i]))
			return true;
	return sendmsg(o->fd, &msg, MSG_NOSIGNAL) >= 0 || errno == EAGAIN || errno == EMSGSIZE;
}

int outlet_lines(struct outlet *o, struct span text)
{
	while (text.n > 0 && o->path[0]) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n;
		struct span line = span_of(text.p, n > 0 && text.p[0] == '<' ? n : 0);
		int err = connect_outlet(o);

		if (err == 0 && line.n && !send_line(o, line)) {
			outlet_close(o);
			err = connect_outlet(o);
			if (err == 0)
				(void)send_line(o, line);
		}
		if (err < 0)
			return err;
		text = span_from(text, n + 1);
	}
	return 0;
}

void outlet_close(struct outlet *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}
