/* SPDX-License-Identifier: ISC */
/*
 * timer: the timing wheel. Four levels of 64 slots, a slot of the lowest being a tick of 8 ms, so
 * that setting, moving and stopping a timer cost the same however many there are; a timer is moved
 * down at most three times in its life. Longer than 37 hours works too: such a timer waits in the
 * last slot and is placed anew when its turn comes.
 *
 * It never fires early: a timer is due in the first tick that begins after its millisecond is over.
 * It allocates nothing: the owner's struct io_timer is the node. A timer that is stopped leaves its
 * slot's bit behind; the search for the next slot clears it.
 */
#include "io/inner.h"

#define LEVEL_SHIFT(level) (6 * (level))

void io_wheel_init(struct io_wheel *w, uint64_t now_ms)
{
	*w = (struct io_wheel){ .tick = now_ms / WHEEL_TICK_MS };
	for (int l = 0; l < WHEEL_LEVELS; l++)
		for (int s = 0; s < WHEEL_SLOTS; s++)
			list_init(&w->slot[l][s]);
}

void io_wheel_add(struct io_wheel *w, struct io_timer *t)
{
	uint64_t tick = t->due_ms / WHEEL_TICK_MS + 1;
	const uint64_t farthest = ((uint64_t)1 << LEVEL_SHIFT(WHEEL_LEVELS)) - 1;
	int level = 0;

	/* While slots are worked through, one that was due earlier still belongs to this tick. */
	if (tick < w->tick)
		tick = w->tick;
	if (tick - w->tick > farthest)
		tick = w->tick + farthest;
	while ((tick - w->tick) >> LEVEL_SHIFT(level + 1))
		level++;

	unsigned slot = (unsigned)(tick >> LEVEL_SHIFT(level)) % WHEEL_SLOTS;

	list_add_tail(&w->slot[level][slot], &t->link);
	w->used[level] |= (uint64_t)1 << slot;
}

static uint64_t rotate_right(uint64_t v, unsigned n)
{
	n %= 64;
	return n ? v >> n | v << (64 - n) : v;
}

/* The tick at which the next used slot of LEVEL begins, or UINT64_MAX. */
static uint64_t level_next(struct io_wheel *w, int level)
{
	uint64_t here = w->tick >> LEVEL_SHIFT(level);

	while (w->used[level]) {
		uint64_t ahead = rotate_right(w->used[level], (unsigned)(here + 1) % WHEEL_SLOTS);
		uint64_t at = here + 1 + (uint64_t)__builtin_ctzll(ahead);
		unsigned slot = (unsigned)at % WHEEL_SLOTS;

		if (list_linked(&w->slot[level][slot]))
			return at << LEVEL_SHIFT(level);
		w->used[level] &= ~((uint64_t)1 << slot);
	}
	return UINT64_MAX;
}

static uint64_t next_tick(struct io_wheel *w)
{
	uint64_t next = UINT64_MAX;

	for (int l = 0; l < WHEEL_LEVELS; l++) {
		uint64_t at = level_next(w, l);

		if (at < next)
			next = at;
	}
	return next;
}

uint64_t io_wheel_next_ms(struct io_wheel *w)
{
	uint64_t tick = next_tick(w);

	return tick == UINT64_MAX ? UINT64_MAX : tick * WHEEL_TICK_MS;
}

/* Moves what the present slot of LEVEL holds to where it belongs by now. */
static void cascade(struct io_wheel *w, int level)
{
	unsigned slot = (unsigned)(w->tick >> LEVEL_SHIFT(level)) % WHEEL_SLOTS;
	struct list moving, *pos, *tmp;

	list_take(&moving, &w->slot[level][slot]);
	w->used[level] &= ~((uint64_t)1 << slot);
	list_for_each (pos, tmp, &moving) {
		list_del(pos);
		io_wheel_add(w, container_of(pos, struct io_timer, link));
	}
}

static void fire_slot(struct io_wheel *w)
{
	unsigned slot = (unsigned)w->tick % WHEEL_SLOTS;
	struct list due;

	list_take(&due, &w->slot[0][slot]);
	w->used[0] &= ~((uint64_t)1 << slot);
	/* From the head each time: a callback may stop or move any of the others. */
	while (list_linked(&due)) {
		struct io_timer *t = container_of(due.next, struct io_timer, link);

		list_del(&t->link);
		t->fire(t);
	}
}

void io_wheel_run(struct io_wheel *w, uint64_t now_ms)
{
	uint64_t now = now_ms / WHEEL_TICK_MS;

	while (w->tick < now) {
		uint64_t next = next_tick(w);

		if (next > now) {
			w->tick = now;
			return;
		}
		w->tick = next;
		for (int l = WHEEL_LEVELS - 1; l > 0; l--)
			if (next % ((uint64_t)1 << LEVEL_SHIFT(l)) == 0)
				cascade(w, l);
		fire_slot(w);
	}
}
