/* SPDX-License-Identifier: ISC */
/* copy: see copy.h. */
#include "session/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static unsigned open_copies; /* of this worker */

static void path_of(const struct copy *c, const struct dialog *d, const char *dir, char *path)
{
	char session[XMLLOG_SESSION_TEXT_MAX];

	xmllog_session_text(&d->id, session);
	snprintf(path, PATH_MAX, "%s/%s-%u.eml", dir, session, c->message);
}

static void say_copy(const struct copy *c, const struct dialog *d, const char *what,
		     const char *detail, const char *path)
{
	struct xmllog *log = d->env->log;

	if (!xmllog_begin(log, XMLLOG_DEBUG, &d->id))
		return;
	xmllog_text(log, XMLLOG_A_WHAT, what);
	xmllog_num(log, XMLLOG_A_MESSAGE, c->message);
	if (detail)
		xmllog_text(log, XMLLOG_A_DETAIL, detail);
	if (path)
		xmllog_text(log, XMLLOG_A_COPY, path);
	xmllog_end(log);
}

void copy_end(struct copy *c, const struct dialog *d, const char *dir)
{
	char path[PATH_MAX];

	if (!c->open)
		return;
	if (c->fd >= 0)
		close(c->fd);
	c->open = false;
	open_copies--;
	path_of(c, d, dir, path);
	say_copy(c, d, "copy", NULL, path);
}

void copy_begin(struct copy *c, const struct dialog *d, const char *dir)
{
	char path[PATH_MAX];

	copy_end(c, d, dir); /* of a message that was given up between two chunks */
	*c = (struct copy){ .message = d->transactions };
	if (!xmllog_wants(d->env->log, 4))
		return;
	if (open_copies >= COPY_OPEN) {
		say_copy(c, d, "no-copy", "too many copies are being written", NULL);
		return;
	}
	path_of(c, d, dir, path);
	c->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (c->fd < 0) {
		say_copy(c, d, "no-copy", strerror(errno), NULL);
		return;
	}
	c->open = true;
	open_copies++;
}

/* The copy ends here, short, and the log says why. */
static void give_up(struct copy *c, const struct dialog *d, const char *why)
{
	say_copy(c, d, "copy-cut", why, NULL);
	close(c->fd);
	c->fd = -1;
}

void copy_add(struct copy *c, const struct dialog *d, struct span octets)
{
	if (!c->open || c->fd < 0)
		return;
	while (octets.n > 0) {
		ssize_t n = c->written < COPY_MAX ? write(c->fd, octets.p, octets.n) : -EFBIG;

		if (n < 0 && errno == EINTR && c->written < COPY_MAX)
			continue;
		if (n <= 0) {
			give_up(c, d, c->written < COPY_MAX ? strerror(errno) : "too large");
			return;
		}
		c->written += (uint64_t)n;
		octets = span_from(octets, (size_t)n);
	}
}
