/* SPDX-License-Identifier: ISC */
/*
 * stream: the log on standard output. Plain text with the closing tag at the end; what has been
 * handed over waits here until the reader takes it, and the records behind it wait in their rings.
 * Never blocks for longer than it is told to.
 */
#ifndef XMLLOG_STREAM_H
#define XMLLOG_STREAM_H

#include "base/span.h"

struct stream {
	int fd;
	char *text;
	size_t n, at, cap;
};

void stream_init(struct stream *s, int fd);
void stream_close(struct stream *s);
/* Takes TEXT over. 0 or -ENOMEM. */
int stream_add(struct stream *s, struct span text) __attribute__((warn_unused_result));
/* Writes what waits. 0: all of it; -EAGAIN: the reader took no octet for TIMEOUT_MS; or -errno. */
int stream_flush(struct stream *s, int timeout_ms) __attribute__((warn_unused_result));

#endif
