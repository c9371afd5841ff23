/* SPDX-License-Identifier: ISC */
/* copy: see copy.h. */
#include "session/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "session/session.h"

static unsigned open_copies; /* of this worker */

static void path_of(const struct session *s, char *path)
{
	char session[XMLLOG_SESSION_TEXT_MAX];

	xmllog_session_text(&s->dialog.id, session);
	snprintf(path, PATH_MAX, "%s/%s-%u.eml", s->rt->config->set.debug_dir, session,
		 s->copy.message);
}

static void say_copy(const struct session *s, const char *what, const char *detail,
		     const char *path)
{
	struct xmllog *log = s->dialog.env->log;

	if (!xmllog_begin(log, XMLLOG_DEBUG, &s->dialog.id))
		return;
	xmllog_text(log, XMLLOG_A_WHAT, what);
	xmllog_num(log, XMLLOG_A_MESSAGE, s->copy.message);
	if (detail)
		xmllog_text(log, XMLLOG_A_DETAIL, detail);
	if (path)
		xmllog_text(log, XMLLOG_A_COPY, path);
	xmllog_end(log);
}

static void end(struct session *s)
{
	struct copy *c = &s->copy;
	char path[PATH_MAX];

	if (!c->open)
		return;
	if (c->fd >= 0)
		close(c->fd);
	c->open = false;
	open_copies--;
	path_of(s, path);
	say_copy(s, "copy", NULL, path);
}

static void begin(struct session *s)
{
	struct copy *c = &s->copy;
	char path[PATH_MAX];

	if (c->message == s->dialog.transactions)
		return; /* the next chunk */
	end(s);		/* of a message that was given up between two chunks */
	*c = (struct copy){ .message = s->dialog.transactions };
	if (!xmllog_wants(s->dialog.env->log, 4))
		return;
	if (open_copies >= COPY_OPEN) {
		say_copy(s, "no-copy", "too many copies are being written", NULL);
		return;
	}
	path_of(s, path);
	c->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (c->fd < 0) {
		say_copy(s, "no-copy", strerror(errno), NULL);
		return;
	}
	c->open = true;
	open_copies++;
}

/* The copy ends here, short, and the log says why. */
static void give_up(struct session *s, const char *why)
{
	say_copy(s, "copy-cut", why, NULL);
	close(s->copy.fd);
	s->copy.fd = -1;
}

static void add(struct session *s, struct span octets)
{
	struct copy *c = &s->copy;

	if (!c->open || c->fd < 0)
		return;
	while (octets.n > 0) {
		ssize_t n = c->written < COPY_MAX ? write(c->fd, octets.p, octets.n) : -EFBIG;

		if (n < 0 && errno == EINTR && c->written < COPY_MAX)
			continue;
		if (n <= 0) {
			give_up(s, c->written < COPY_MAX ? strerror(errno) : "too large");
			return;
		}
		c->written += (uint64_t)n;
		octets = span_from(octets, (size_t)n);
	}
}

static bool reads(const struct session *s)
{
	return s->copy.open;
}

const struct tap copy_tap = { begin, add, end, reads };
