/* SPDX-License-Identifier: ISC */
/*
 * limit: --messages. All workers count into one number; a process that sees it reached accepts no
 * more, and ends when its sessions have, or LEAVE_MS later. A process whose sessions keep nothing
 * more does not see it: the supervisor ends that one.
 */
#include "sink/inner.h"

#define LEAVE_MS      1000
#define LEAVE_TURN_MS 10

/* Full: sessions may end by themselves for a second. */
static void on_leave(struct io_timer *t)
{
	struct sink *k = container_of(t, struct sink, leave);

	if (!list_linked(&k->sessions) || io_now_ms(k->io) >= k->leave_by_ms)
		io_stop(k->io);
	else
		io_timer_set(k->io, &k->leave, LEAVE_TURN_MS);
}

void sink_limit_init(struct sink *k)
{
	io_timer_init(&k->leave, on_leave);
}

void sink_limit_count(struct sink *k)
{
	uint64_t n = atomic_fetch_add(&k->shared->messages, 1) + 1;

	if (k->opt->messages == 0 || n < k->opt->messages || k->full)
		return;
	k->full = true;
	k->leave_by_ms = io_now_ms(k->io) + LEAVE_MS;
	io_cancel(k->io, &k->accept);
	io_timer_set(k->io, &k->leave, LEAVE_TURN_MS);
}
