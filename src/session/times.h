/* SPDX-License-Identifier: ISC */
/*
 * times: the times of one session's messages, for the figures: what a dialog shows, which
 * knows no time itself.
 */
#ifndef SESSION_TIMES_H
#define SESSION_TIMES_H

#include "dialog/dialog.h"

struct session_times {
	uint64_t mail_us, sent_us;
	uint32_t transactions;
	bool waiting; /* for the answer to the end of data */
};

/* Looks at the dialog, before and after octets were given to it. SENT_US: when the last of a whole
 * message was given to the kernel, 0: not yet. A session that ends instead of an answer has nothing
 * to measure. */
void session_times_look(struct session_times *t, const struct dialog *d, uint64_t sent_us,
			uint64_t now_us);

#endif
