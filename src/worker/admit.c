/* SPDX-License-Identifier: ISC */
/* A connection, its seat and its session: see inner.h. */
#include "session/session.h"
#include "worker/inner.h"

enum seats_verdict worker_admit(struct worker *w, const struct session_client *client, bool last)
{
	uint32_t seat = 0;
	enum session_refusal refusal = SESSION_SERVE;
	enum seats_verdict verdict =
		seats_take(w->ctx.rt->seats, w->ctx.slot, &client->addr, !client->known,
			   (unsigned)w->ctx.rt->config->set.max_sessions_per_address, &seat);

	if (verdict == SEATS_FULL && !last)
		return verdict;
	if (verdict == SEATS_FULL) {
		refusal = SESSION_TOO_MANY;
		stats_count(w->ctx.stats, turned_away[STATS_MAX_SESSIONS], 1);
	} else if (verdict == SEATS_ADDRESS_FULL) {
		refusal = SESSION_ADDRESS_TOO_MANY;
		stats_count(w->ctx.stats, turned_away[STATS_MAX_PER_ADDRESS], 1);
	}
	bool started = session_start(&w->ctx, client, refusal, seat);

	if (refusal == SESSION_SERVE && started) {
		stats_count(w->ctx.stats, sessions, 1);
	} else if (refusal == SESSION_SERVE) {
		/* No room: too many connections that have lost their seats are not closed yet. */
		stats_count(w->ctx.stats, turned_away[STATS_MAX_SESSIONS], 1);
		seats_release(w->ctx.rt->seats, seat);
	}
	return verdict;
}
