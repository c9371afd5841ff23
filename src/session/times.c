/* SPDX-License-Identifier: ISC */
/* times: see times.h. */
#include "session/times.h"

#include "shared/stats.h"

void session_times_look(struct session_times *t, const struct dialog *d, uint64_t sent_us,
			uint64_t now_us)
{
	bool unanswered = d->server.state == SMTP_ORDER_EOD;

	if (t->waiting && !unanswered) {
		t->waiting = false;
		stats_time(d->at, STATS_REPLY, now_us - t->sent_us);
		stats_time(d->at, STATS_MESSAGE, now_us - t->mail_us);
	} else if (sent_us && unanswered && !t->waiting) {
		t->waiting = true;
		t->sent_us = sent_us;
	}
	if (t->transactions != d->transactions) {
		t->transactions = d->transactions;
		t->mail_us = now_us;
	}
}
