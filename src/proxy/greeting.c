/* SPDX-License-Identifier: ISC */
/* greeting: see greeting.h. */
#include "proxy/greeting.h"

#include "proxy/stats.h"

_Static_assert(DIALOG_WORDS_MAX == ROUTE_WORDS_MAX, "what the dialog keeps is what route/ takes");

bool greeting_bad(struct worker *w, const struct runtime *rt, unsigned dest, uint64_t began_ms,
		  const char *words)
{
	stats_count(stats_at(w->stats, rt->slot[dest]), refused_greetings, 1);
	if (rt->route->cooperation != ROUTE_CLUSTER)
		return false;
	return route_turned_away(rt->route_shared, dest, began_ms, io_now_ms(w->io), words);
}

bool greeting_good(struct worker *w, const struct runtime *rt, unsigned dest, uint64_t began_ms)
{
	return route_welcomed(rt->route_shared, dest, began_ms, io_now_ms(w->io));
}

void greeting_record_bad(struct worker *w, const struct runtime *rt, unsigned dest,
			 uint64_t began_ms, const char *words)
{
	if (greeting_bad(w, rt, dest, began_ms, words))
		worker_destination_record(w, rt, dest, ROUTE_BUSY, words);
}

void greeting_record_good(struct worker *w, const struct runtime *rt, unsigned dest,
			  uint64_t began_ms)
{
	if (greeting_good(w, rt, dest, began_ms))
		worker_destination_record(w, rt, dest, ROUTE_UP, "greeted");
}
