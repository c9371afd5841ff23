/* SPDX-License-Identifier: ISC */
/*
 * shared: the state of the destinations: addresses, up or down, pauses. See inner.h for the
 * layout.
 *
 * Addresses: two copies, each under a sequence count. The writer (one process) writes the copy that
 * nobody reads and then makes it current; a reader copies the current one and takes it only when
 * its count was even and the same before and after. So a writer that is killed leaves the copy that
 * is read whole, and no reader ever waits for it; a reader that is overtaken too often gives up
 * with "no addresses", never with torn ones.
 *
 * Health: one word, changed by compare and swap: up, and since when, or down, how long the pause is
 * and when it ends. Whoever tries a destination whose pause is over begins the next pause by that
 * (route_claim), so that one process tries it. An attempt that began before the destination came
 * back and fails afterwards (dropped packets take their time) says nothing about it.
 *
 * Checks: the time of the next one, moved on by whoever takes it (a lease, since a process may be
 * killed), and whether the last one found a fault that is no reason to set aside.
 */
#include "route/shared.h"

#include <string.h>

#include "base/diag.h"
#include "route/inner.h"
#include "route/parse.h"

#define HEALTH_DOWN	  (UINT64_C(1) << 63)
#define HEALTH_STEP_SHIFT 56
#define HEALTH_STEP_MASK  0x7f
#define HEALTH_TIME_MASK  ((UINT64_C(1) << HEALTH_STEP_SHIFT) - 1)
#define READ_TRIES	  1000
#define TELL_MS		  1000

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
	       "atomics in shared memory need no lock");

static const uint16_t pauses_ms[] = { 500, 1000, 2000, 4000, 5000 };

#define LAST_STEP (sizeof(pauses_ms) / sizeof(pauses_ms[0]) - 1)

size_t route_shared_room(void)
{
	return sizeof(struct route_shared);
}

void route_shared_init(struct route_shared *s, const struct route *r)
{
	struct addr a;

	CHECK(r->count <= DESTINATIONS_MAX);
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < r->count; i++) {
		s->state[i].port = route_port(r->destination[i].name);
		s->state[i].literal = route_literal(r->destination[i].name, &a);
		if (s->state[i].literal)
			route_set_addresses(s, i, &a, 1);
		else
			route_want_resolved(s, i);
	}
}

/* ---- what is told of a destination ---- */

bool route_may_tell(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	_Atomic uint64_t *last = &s->state[dest].odd_ms;
	uint64_t then = atomic_load(last);

	CHECK(dest < DESTINATIONS_MAX);
	return (then == 0 || now_ms - then >= TELL_MS) &&
	       atomic_compare_exchange_strong(last, &then, now_ms);
}

/* ---- addresses ---- */

static void store_address(struct route_copy *c, unsigned i, const struct addr *a)
{
	uint64_t half[2];

	memcpy(half, a->ip, sizeof(half));
	atomic_store_explicit(&c->word[i][0], half[0], memory_order_relaxed);
	atomic_store_explicit(&c->word[i][1], half[1], memory_order_relaxed);
	atomic_store_explicit(&c->word[i][2], (uint64_t)a->family << 16 | a->port,
			      memory_order_relaxed);
}

static void load_address(struct route_copy *c, unsigned i, struct addr *a)
{
	uint64_t half[2] = { atomic_load_explicit(&c->word[i][0], memory_order_relaxed),
			     atomic_load_explicit(&c->word[i][1], memory_order_relaxed) };
	uint64_t rest = atomic_load_explicit(&c->word[i][2], memory_order_relaxed);

	*a = (struct addr){ .family = (uint8_t)(rest >> 16), .port = (uint16_t)rest };
	memcpy(a->ip, half, sizeof(half));
}

/* Copies C when nobody wrote it meanwhile. */
static bool read_copy(struct route_copy *c, struct addr out[ROUTE_ADDRESSES], unsigned *n)
{
	uint32_t before = atomic_load_explicit(&c->sequence, memory_order_acquire);
	uint32_t count = atomic_load_explicit(&c->n, memory_order_relaxed);

	if (before & 1 || count > ROUTE_ADDRESSES)
		return false;
	for (unsigned i = 0; i < count; i++)
		load_address(c, i, &out[i]);
	atomic_thread_fence(memory_order_acquire);
	*n = count;
	return atomic_load_explicit(&c->sequence, memory_order_relaxed) == before;
}

unsigned route_read_addresses(struct route_shared *s, unsigned dest,
			      struct addr out[ROUTE_ADDRESSES])
{
	struct route_state *state = &s->state[dest];
	unsigned n;

	CHECK(dest < DESTINATIONS_MAX);
	for (unsigned i = 0; i < READ_TRIES; i++) {
		uint32_t current = atomic_load(&state->current);

		if (read_copy(&state->copy[current & 1], out, &n))
			return n;
	}
	return 0;
}

bool route_has_addresses(struct route_shared *s, unsigned dest)
{
	struct route_state *state = &s->state[dest];

	return atomic_load(&state->copy[atomic_load(&state->current) & 1].n) > 0;
}

unsigned route_get_addresses(struct route_shared *s, unsigned dest,
			     struct addr out[ROUTE_ADDRESSES])
{
	struct addr list[ROUTE_ADDRESSES];
	unsigned n = route_read_addresses(s, dest, list);
	uint32_t first = atomic_load(&s->state[dest].first);

	for (unsigned i = 0; i < n; i++)
		out[i] = list[(first % n + i) % n];
	return n;
}

static bool holds(const struct addr *list, unsigned n, const struct addr *a)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].port == a->port && addr_same_ip(&list[i], a))
			return true;
	return false;
}

static void write_copy(struct route_copy *c, const struct addr *list, unsigned n)
{
	/* One that was killed in the middle left it odd. */
	uint32_t odd = atomic_load(&c->sequence) | 1;

	atomic_store_explicit(&c->sequence, odd, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (unsigned i = 0; i < n; i++)
		store_address(c, i, &list[i]);
	atomic_store_explicit(&c->n, n, memory_order_relaxed);
	atomic_store_explicit(&c->sequence, odd + 1, memory_order_release);
}

bool route_set_addresses(struct route_shared *s, unsigned dest, const struct addr *a, unsigned n)
{
	struct addr old[ROUTE_ADDRESSES], list[ROUTE_ADDRESSES];
	struct route_state *state = &s->state[dest];
	unsigned kept = 0, same = 0;
	unsigned before = route_read_addresses(s, dest, old);

	for (unsigned i = 0; i < n && kept < ROUTE_ADDRESSES; i++) {
		struct addr one = a[i];

		if (one.port == 0)
			one.port = state->port;
		if (one.family == 0 || holds(list, kept, &one))
			continue;
		same += holds(old, before, &one);
		list[kept++] = one;
	}
	/* Name servers turn the order from answer to answer: that is no change. */
	if (kept == 0 || (kept == before && same == kept))
		return false;
	uint32_t spare = ~atomic_load(&state->current) & 1;

	write_copy(&state->copy[spare], list, kept);
	atomic_store(&state->first, 0);
	atomic_store(&state->current, spare);
	/* New addresses are worth a try at once: the pause, if there is one, is over. */
	atomic_fetch_and(&state->health, ~HEALTH_TIME_MASK);
	return true;
}

/* ---- up and down ---- */

static bool is_down(uint64_t health)
{
	return health & HEALTH_DOWN;
}

static bool pause_over(uint64_t health, uint64_t now_ms)
{
	return now_ms >= (health & HEALTH_TIME_MASK);
}

static size_t step_of(uint64_t health)
{
	return health >> HEALTH_STEP_SHIFT & HEALTH_STEP_MASK;
}

static uint64_t down_for(size_t step, uint64_t now_ms)
{
	return HEALTH_DOWN | (uint64_t)step << HEALTH_STEP_SHIFT |
	       ((now_ms + pauses_ms[step]) & HEALTH_TIME_MASK);
}

static size_t next_step(uint64_t health)
{
	size_t step = step_of(health);

	return step < LAST_STEP ? step + 1 : LAST_STEP;
}

bool route_up(struct route_shared *s, unsigned dest)
{
	return !is_down(atomic_load(&s->state[dest].health));
}

enum route_health route_health(struct route_shared *s, unsigned dest)
{
	return !route_up(s, dest) ? ROUTE_DOWN : route_busy(s, dest) ? ROUTE_BUSY : ROUTE_UP;
}

const char *route_health_name(enum route_health health)
{
	return health == ROUTE_UP ? "up" : health == ROUTE_BUSY ? "busy" : "down";
}

bool route_claim(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	uint64_t health = atomic_load(&s->state[dest].health);

	return is_down(health) && pause_over(health, now_ms) &&
	       atomic_compare_exchange_strong(&s->state[dest].health, &health,
					      down_for(next_step(health), now_ms));
}

bool route_connected(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	_Atomic uint64_t *health = &s->state[dest].health;
	uint64_t old = atomic_load(health);

	do {
		if (!is_down(old))
			return false;
	} while (!atomic_compare_exchange_weak(health, &old, now_ms & HEALTH_TIME_MASK));
	route_busy_forget(s, dest, now_ms);
	return true;
}

/* Sets aside. True when it was up. Failures during a pause, of many sessions at once, do not make
 * it longer; one that comes when it is over begins the next. */
static bool set_down(struct route_shared *s, unsigned dest, uint64_t began_ms, uint64_t now_ms)
{
	_Atomic uint64_t *health = &s->state[dest].health;
	uint64_t old = atomic_load(health), new;

	do {
		if (!is_down(old) && began_ms >= (old & HEALTH_TIME_MASK))
			new = down_for(0, now_ms);
		else if (is_down(old) && pause_over(old, now_ms))
			new = down_for(next_step(old), now_ms);
		else
			return false;
	} while (!atomic_compare_exchange_weak(health, &old, new));
	return !is_down(old);
}

bool route_begin(struct route_shared *s, struct route_search *search, unsigned dest,
		 uint64_t now_ms, struct addr *address)
{
	struct addr list[ROUTE_ADDRESSES];
	unsigned n = route_read_addresses(s, dest, list);

	if (n == 0)
		return false;
	search->dest = dest;
	search->tried_any = 1;
	search->address = 0;
	search->first = (uint8_t)(atomic_load(&s->state[dest].first) % n);
	search->began_ms = now_ms;
	*address = list[search->first];
	return true;
}

bool route_next_address(struct route_shared *s, const struct route_search *search,
			struct addr *address)
{
	struct addr list[ROUTE_ADDRESSES];
	unsigned n = route_read_addresses(s, search->dest, list);

	if (n)
		*address = list[(unsigned)(search->first + search->address) % n];
	return n;
}

/* The search's address failed. True when it was the last one of its destination. */
static bool search_failed(struct route_shared *s, struct route_search *search)
{
	_Atomic uint32_t *first = &s->state[search->dest].first;
	struct addr list[ROUTE_ADDRESSES];
	unsigned n = route_read_addresses(s, search->dest, list);
	uint32_t begins = atomic_load(first);
	uint32_t failed = n ? (uint32_t)(search->first + search->address) % n : 0;

	if (++search->address < n) {
		/* Those who come later begin with the next one, if nobody saw to that yet. */
		if (begins % n == failed)
			atomic_compare_exchange_strong(first, &begins, begins + 1);
		return false;
	}
	search->tried |= route_bit(search->dest);
	search->tried_any = 0;
	search->address = 0;
	return true;
}

bool route_failed(struct route_shared *s, struct route_search *search, unsigned dest,
		  uint64_t now_ms)
{
	uint64_t began_ms = now_ms;

	CHECK(dest < DESTINATIONS_MAX);
	route_want_resolved(s, dest);
	if (search && search->tried_any && search->dest == dest) {
		began_ms = search->began_ms;
		if (!search_failed(s, search))
			return false;
	} else if (search) {
		search->tried |= route_bit(dest);
	}
	/* The next try, after the pause, begins with another address. */
	atomic_fetch_add(&s->state[dest].first, 1);
	if (!set_down(s, dest, began_ms, now_ms))
		return false;
	route_busy_forget(s, dest, now_ms);
	return true;
}

uint64_t route_due(struct route_shared *s, const struct route *r, uint64_t now_ms)
{
	uint64_t due = 0;

	for (unsigned i = 0; i < r->count; i++)
		if (route_claim(s, i, now_ms)) {
			route_want_resolved(s, i);
			due |= route_bit(i);
		}
	return due;
}

bool route_try(struct route_shared *s, unsigned dest, struct addr *address)
{
	struct addr list[ROUTE_ADDRESSES];
	unsigned n = route_read_addresses(s, dest, list);

	if (n)
		*address = list[atomic_fetch_add(&s->state[dest].first, 1) % n];
	return n;
}

bool route_came_back(struct route_shared *s, unsigned dest, const struct addr *address,
		     uint64_t now_ms)
{
	struct addr list[ROUTE_ADDRESSES];
	unsigned n = route_read_addresses(s, dest, list);

	for (unsigned i = 0; i < n; i++)
		if (list[i].port == address->port && addr_same_ip(&list[i], address))
			atomic_store(&s->state[dest].first, i);
	return route_connected(s, dest, now_ms);
}

/* ---- checks ---- */

uint64_t route_checks_due(struct route_shared *s, const struct route *r, uint64_t now_ms,
			  uint64_t lease_ms)
{
	uint64_t due = 0;

	for (unsigned i = 0; i < r->count; i++) {
		_Atomic uint64_t *check_ms = &s->state[i].check_ms;
		uint64_t when = atomic_load(check_ms);

		if (now_ms >= when && route_up(s, i) &&
		    atomic_compare_exchange_strong(check_ms, &when, now_ms + lease_ms))
			due |= route_bit(i);
	}
	return due;
}

void route_check_done(struct route_shared *s, unsigned dest, uint64_t next_ms)
{
	atomic_store(&s->state[dest].check_ms, next_ms);
}

bool route_check_begin(struct route_shared *s, struct route_search *search, unsigned dest,
		       uint64_t now_ms, struct addr *address)
{
	*search = (struct route_search){ 0 };
	return route_begin(s, search, dest, now_ms, address);
}

bool route_check_next(struct route_shared *s, const struct route_search *search,
		      struct addr *address)
{
	return search->tried_any && route_next_address(s, search, address);
}

bool route_check_found(struct route_shared *s, unsigned dest, bool good)
{
	return atomic_exchange(&s->state[dest].unwell, !good) != !good;
}

bool route_unwell(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load(&s->state[dest].unwell);
}

void route_note_insecure(struct route_shared *s, unsigned dest, bool on)
{
	CHECK(dest < DESTINATIONS_MAX);
	atomic_store(&s->state[dest].insecure, on);
}

bool route_insecure(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load(&s->state[dest].insecure);
}

void route_note_unidentified(struct route_shared *s, unsigned dest, bool on)
{
	CHECK(dest < DESTINATIONS_MAX);
	if (atomic_load(&s->state[dest].unidentified) != on) /* each session says so */
		atomic_store(&s->state[dest].unidentified, on);
}

bool route_unidentified(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load(&s->state[dest].unidentified);
}

/* ---- drained by the operator ---- */

bool route_drain(struct route_shared *s, unsigned dest, bool on)
{
	CHECK(dest < DESTINATIONS_MAX);
	uint64_t bit = route_bit(dest);
	uint64_t before =
		on ? atomic_fetch_or(&s->drained, bit) : atomic_fetch_and(&s->drained, ~bit);

	return !(before & bit) == on;
}

bool route_drained(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load(&s->drained) & route_bit(dest);
}

/* ---- room at a destination ---- */

void route_want_room(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	atomic_fetch_add(&s->state[dest].room_wanted, 1);
}

uint32_t route_room_wanted(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load(&s->state[dest].room_wanted);
}

/* ---- another list of destinations ---- */

/* Not the claim: who holds it writes into OLD. */
static void carry_note(struct route_shared *s, unsigned to, struct route_shared *old, unsigned from)
{
	uint8_t note[ROUTE_NOTE_MAX];
	size_t n = route_note_read(old, from, note);

	if (n == 0)
		return;
	route_note_write(s, to, span_of(note, n));
	route_note_next(s, to, atomic_load(&old->state[from].note_due_ms));
}

/* SAME: it is spoken to as before. What it has said in another way counts for nothing. */
static void carry_one(struct route_shared *s, unsigned to, struct route_shared *old, unsigned from,
		      bool same)
{
	struct addr list[ROUTE_ADDRESSES];
	unsigned n = route_read_addresses(old, from, list);

	route_set_addresses(s, to, list, n);
	atomic_store(&s->state[to].first, atomic_load(&old->state[from].first));
	atomic_store(&s->state[to].health, atomic_load(&old->state[from].health));
	atomic_store(&s->state[to].check_ms, atomic_load(&old->state[from].check_ms));
	atomic_store(&s->state[to].unwell, atomic_load(&old->state[from].unwell));
	route_busy_carry(s, to, old, from);
	if (same)
		carry_note(s, to, old, from);
	if (route_drained(old, from))
		route_drain(s, to, true);
}

static bool same_secure(const struct route_secure *a, const struct route_secure *b)
{
	return a->tls == b->tls && a->wrap == b->wrap && strcmp(a->name, b->name) == 0 &&
	       a->pins == b->pins && memcmp(a->pin, b->pin, a->pins * sizeof(a->pin[0])) == 0;
}

void route_carry_over(struct route_shared *s, const struct route *r, struct route_shared *old,
		      const struct route *old_route)
{
	for (unsigned i = 0; i < r->count; i++)
		for (unsigned k = 0; k < old_route->count; k++)
			if (strcmp(r->destination[i].name, old_route->destination[k].name) == 0)
				carry_one(s, i, old, k,
					  same_secure(&r->destination[i].secure,
						      &old_route->destination[k].secure));
}

/* ---- resolving ---- */

void route_want_resolved(struct route_shared *s, unsigned dest)
{
	if (!s->state[dest].literal)
		atomic_fetch_or(&s->resolve, route_bit(dest));
}

uint64_t route_to_resolve(struct route_shared *s, const struct route *r)
{
	uint64_t all = r->count < DESTINATIONS_MAX ? route_bit(r->count) - 1 : UINT64_MAX;

	return atomic_exchange(&s->resolve, 0) & all;
}
