/* SPDX-License-Identifier: ISC */
/*
 * routeworld: destinations, their shared state, and a clock that the test moves, for the tests of
 * route. Include after cmocka.h.
 */
#ifndef TESTS_ROUTEWORLD_H
#define TESTS_ROUTEWORLD_H

#include <sys/mman.h>

#include "route/parse.h"
#include "route/pick.h"
#include "route/shared.h"

struct world {
	struct route_counts counts; /* first */
	struct route route;
	struct route_shared *shared;
	unsigned sessions[DESTINATIONS_MAX];
	struct addr client;
	uint64_t now;
};

static inline unsigned count_sessions(struct route_counts *c, unsigned dest)
{
	return ((struct world *)c)->sessions[dest];
}

static inline bool take(struct route_counts *c, unsigned dest, unsigned max)
{
	struct world *w = (void *)c;

	if (max && w->sessions[dest] >= max)
		return false;
	w->sessions[dest]++;
	return true;
}

static inline void world_fault(void *ctx, const char *what)
{
	(void)ctx;
	fail_msg("%s", what);
}

static inline void world_init(struct world *w, const char *list, enum route_cooperation cooperation,
			      enum route_balance balance)
{
	*w = (struct world){ .counts = { count_sessions, take }, .now = 1000000 };
	assert_true(route_parse(&w->route, list, cooperation, balance, world_fault, NULL));
	w->shared = mmap(NULL, route_shared_room(), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(w->shared != MAP_FAILED);
	route_shared_init(w->shared, &w->route);
	assert_int_equal(addr_parse_ip(&w->client, "192.0.2.1"), 0);
}

static inline void world_end(struct world *w)
{
	munmap(w->shared, route_shared_room());
}

static inline struct addr ip(const char *text, uint16_t port)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, text), 0);
	a.port = port;
	return a;
}

#define FULL -1
#define GONE -2

/* The destination picked, FULL or GONE; *A is the address. */
static inline int pick_address(struct world *w, struct route_search *search, struct addr *a)
{
	unsigned dest;

	switch (route_pick(&w->route, w->shared, search, &w->counts, &w->client, w->now, &dest,
			   a)) {
	case ROUTE_PICKED:
		assert_true(dest < w->route.count);
		return (int)dest;
	case ROUTE_FULL:
		return FULL;
	case ROUTE_NONE:
		break;
	}
	return GONE;
}

static inline int pick(struct world *w, struct route_search *search)
{
	struct addr a;

	return pick_address(w, search, &a);
}

/* A session of its own; it stays. */
static inline int pick_new(struct world *w)
{
	struct route_search search = { 0 };

	return pick(w, &search);
}

/* A session of its own that ends at once. */
static inline int pick_leave(struct world *w)
{
	int dest = pick_new(w);

	if (dest >= 0)
		w->sessions[dest]--;
	return dest;
}

/* The attempt at DEST failed: its seat is given back. */
static inline bool failed(struct world *w, struct route_search *search, int dest)
{
	w->sessions[dest]--;
	return route_failed(w->shared, search, (unsigned)dest, w->now);
}

/* All of a session's attempts at DEST fail. */
static inline void break_destination(struct world *w, unsigned dest)
{
	route_failed(w->shared, NULL, dest, w->now);
}

#endif
