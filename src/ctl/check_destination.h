/* SPDX-License-Identifier: ISC */
/* check_destination: what the parts of `carontectl check-destination` share. */
#ifndef CTL_CHECK_DESTINATION_H
#define CTL_CHECK_DESTINATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "ctl/check_destination_smtp.h"

/* One address of one destination. */
struct destination_check {
	const char *label; /* "HOST:PORT", with the address where HOST is a name */
	struct addr addr;
	unsigned patience_ms;
	const char *recipient; /* NULL: no message is sent */
	unsigned warnings;
	bool pipelining; /* it offers it */
	struct probe_smtp smtp;
};

/* One line on standard output; a warning is counted. */
void destination_say(struct destination_check *k, bool good, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What came in place of a reply, or its first line, printable, into OUT of DESTINATION_TEXT. */
#define DESTINATION_TEXT 200
void destination_words(enum probe_heard heard, const struct smtp_reply *reply, char *out);
/*
 * Hears a reply and gives its words; the code, 0: none came.
 */
unsigned destination_hear(struct destination_check *k, char *words);

/* Which other ends of data it takes: so many messages to the recipient at most. */
#define DESTINATION_ENDS     9
#define DESTINATION_MESSAGES (2 * DESTINATION_ENDS)
void destination_check_ends(struct destination_check *k);

#endif
