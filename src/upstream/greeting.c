/* SPDX-License-Identifier: ISC */
/* greeting: see greeting.h. */
#include "upstream/greeting.h"

#include "route/busy.h"
#include "route/shared.h"
#include "shared/stats.h"
#include "smtp/hello.h"

_Static_assert(DIALOG_WORDS_MAX == ROUTE_WORDS_MAX && SMTP_HELLO_WORDS_MAX == ROUTE_WORDS_MAX,
	       "what is kept of a destination's words is what route/ takes");

bool greeting_bad(struct context *ctx, const struct runtime *rt, unsigned dest, uint64_t began_ms,
		  const char *words)
{
	stats_count(stats_at(ctx->stats, rt->slot[dest]), refused_greetings, 1);
	if (rt->route->cooperation != ROUTE_CLUSTER)
		return false;
	return route_turned_away(rt->route_shared, dest, began_ms, io_now_ms(ctx->io), words);
}

bool greeting_good(struct context *ctx, const struct runtime *rt, unsigned dest, uint64_t began_ms)
{
	return route_welcomed(rt->route_shared, dest, began_ms, io_now_ms(ctx->io));
}

void greeting_record_bad(struct context *ctx, const struct runtime *rt, unsigned dest,
			 uint64_t began_ms, const char *words)
{
	if (greeting_bad(ctx, rt, dest, began_ms, words))
		context_destination_record(ctx, rt, dest, ROUTE_BUSY, words);
}

void greeting_record_good(struct context *ctx, const struct runtime *rt, unsigned dest,
			  uint64_t began_ms)
{
	if (greeting_good(ctx, rt, dest, began_ms))
		context_destination_record(ctx, rt, dest, ROUTE_UP, "greeted");
}
