/* SPDX-License-Identifier: ISC */
/*
 * check_destination_smtp: a blocking SMTP connection with a deadline for each step, for
 * `carontectl check-destination`. Replies are judged by the daemon's own parser, so that what it
 * would call malformed is malformed here.
 */
#ifndef CTL_CHECK_DESTINATION_SMTP_H
#define CTL_CHECK_DESTINATION_SMTP_H

#include <stdint.h>

#include "base/addr.h"
#include "smtp/reply.h"

struct probe_smtp {
	int fd;
	unsigned patience_ms;
	size_t taken, got; /* of IN: what the last reply took, what was received */
	uint8_t in[SMTP_REPLY_MAX + 4096];
};

enum probe_heard {
	PROBE_REPLY,
	PROBE_CLOSED,	 /* the end of its stream, or a reset */
	PROBE_SILENT,	 /* out of time */
	PROBE_MALFORMED, /* no reply of RFC 5321 */
};

/* Connects to A. 0 or -errno. */
int probe_dial(struct probe_smtp *s, const struct addr *a, unsigned patience_ms)
	__attribute__((warn_unused_result));
void probe_hang_up(struct probe_smtp *s);
/* Sends N octets. What cannot be sent shows in the reply that does not come. */
void probe_send(struct probe_smtp *s, const void *octets, size_t n);
/* Sends a line; CR LF is added. */
void probe_say(struct probe_smtp *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The next reply, good until the next call. */
enum probe_heard probe_hear(struct probe_smtp *s, struct smtp_reply *reply);
/* "[192.0.2.1]" or "[IPv6:2001:db8::1]": us, as EHLO wants it (RFC 5321 4.1.3), into OUT of 64. */
void probe_own_name(const struct probe_smtp *s, char *out);

#endif
