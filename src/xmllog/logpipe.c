/* SPDX-License-Identifier: ISC */
/* logpipe: see logpipe.h. */
#include "xmllog/logpipe.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

void logpipe_init(struct logpipe *s, int fd)
{
	*s = (struct logpipe){ .fd = fd };
}

void logpipe_close(struct logpipe *s)
{
	free(s->text);
	*s = (struct logpipe){ .fd = -1 };
}

int logpipe_add(struct logpipe *s, struct span text)
{
	if (s->at == s->n)
		s->at = s->n = 0;
	if (s->cap - s->n < text.n) {
		char *more = realloc(s->text, s->n + text.n);

		if (!more)
			return -ENOMEM;
		s->text = more;
		s->cap = s->n + text.n;
	}
	if (text.n)
		memcpy(s->text + s->n, text.p, text.n);
	s->n += text.n;
	return 0;
}

int logpipe_flush(struct logpipe *s, int timeout_ms)
{
	while (s->at < s->n) {
		struct pollfd p = { .fd = s->fd, .events = POLLOUT };
		/* A pipe that is ready takes that much at once even if it blocks. */
		size_t n = s->n - s->at < PIPE_BUF ? s->n - s->at : PIPE_BUF;
		ssize_t done;

		if (poll(&p, 1, timeout_ms) <= 0)
			return -EAGAIN;
		done = write(s->fd, s->text + s->at, n);
		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0)
			s->at += (size_t)done;
	}
	return 0;
}
