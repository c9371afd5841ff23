/* SPDX-License-Identifier: ISC */
/*
 * check_destination_smtp: a blocking SMTP connection with a deadline for each step, for
 * `carontectl check-destination`. Replies are judged by the daemon's own parser, so that what it
 * would call malformed is malformed here.
 */
#ifndef CTL_CHECK_DESTINATION_SMTP_H
#define CTL_CHECK_DESTINATION_SMTP_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "route/route.h"
#include "smtp/reply.h"

struct probe_tls;

struct probe_smtp {
	int fd;
	SSL *ssl;      /* NULL: in clear */
	char how[400]; /* it is spoken to by TLS, or why not; "": nobody has asked for that */
	char why[400]; /* there is no TLS */
	bool not_tls;  /* since what it says first is none */
	bool astray;   /* since it takes the PROXY header for a command, it seems */
	unsigned patience_ms;
	uint64_t end_ms;   /* nothing is sent or heard any more */
	bool ended;	   /* the end of its stream has come */
	bool is_local;	   /* over a Unix socket */
	size_t taken, got; /* of IN: what the last reply took, what was received */
	uint8_t in[SMTP_REPLY_MAX + 4096];
};

enum probe_heard {
	PROBE_REPLY,
	PROBE_CLOSED,	 /* the end of its stream, or a reset */
	PROBE_SILENT,	 /* out of time */
	PROBE_MALFORMED, /* no reply of RFC 5321 */
};

/* Where a destination is. */
struct probe_place {
	struct addr addr;
	const char *path;	     /* of its Unix socket; NULL: it has none */
	const struct probe_tls *tls; /* NULL: it is spoken to in clear */
	enum route_identity identity;
	struct addr client; /* whom it is told of; family 0: us */
};

/* Of the clock that deadlines are set by. */
uint64_t probe_now_ms(void);
/* A non-blocking socket for AT, or -errno; and begins to connect it: 0, -EINPROGRESS, or another
 * -errno. A full queue of a Unix socket is waited at until UNTIL. */
int probe_socket(const struct probe_place *at) __attribute__((warn_unused_result));
int probe_connect(int fd, const struct probe_place *at, uint64_t until)
	__attribute__((warn_unused_result));
/* Connects to AT, for the time of some steps at most. 0 or -errno; -EPROTO: S->why there is no TLS.
 */
int probe_dial(struct probe_smtp *s, const struct probe_place *at, unsigned patience_ms)
	__attribute__((warn_unused_result));
void probe_hang_up(struct probe_smtp *s);
/* What ERR of probe_dial() means. */
const char *probe_error(const struct probe_smtp *s, int err);
/* Waits until it can be written to (WRITE), or something has come, for the time of a step. */
bool probe_await(const struct probe_smtp *s, bool write);
/* Sends N octets, and takes replies meanwhile. False: the rest cannot be sent, as the reply shows
 * that comes or does not. */
bool probe_send(struct probe_smtp *s, const void *octets, size_t n);
/* Waits until the peer has most likely read all that was sent, as a piece
 * of its own. False: the connection's time is up. */
bool probe_settle(struct probe_smtp *s);
/* Something has come, perhaps a reply. */
bool probe_has_heard(struct probe_smtp *s);
/* Sends a line; CR LF is added. */
void probe_say(struct probe_smtp *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The next reply, good until the next call; of PROBE_MALFORMED the text is what came. */
enum probe_heard probe_hear(struct probe_smtp *s, struct smtp_reply *reply);

#endif
