/* SPDX-License-Identifier: ISC */
/*
 * logpipe: the log on standard output. Plain text with the closing tag at the end; what has been
 * handed over waits here until the reader takes it, and the records behind it wait in their rings.
 * Never blocks for longer than it is told to.
 */
#ifndef XMLLOG_LOGPIPE_H
#define XMLLOG_LOGPIPE_H

#include "base/span.h"

struct logpipe {
	int fd;
	char *text;
	size_t n, at, cap;
};

void logpipe_init(struct logpipe *s, int fd);
void logpipe_close(struct logpipe *s);
/* Takes TEXT over. 0 or -ENOMEM. */
int logpipe_add(struct logpipe *s, struct span text) __attribute__((warn_unused_result));
/* Writes what waits. 0: all of it; -EAGAIN: the reader took no octet for TIMEOUT_MS; or -errno. */
int logpipe_flush(struct logpipe *s, int timeout_ms) __attribute__((warn_unused_result));

#endif
