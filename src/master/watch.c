/* SPDX-License-Identifier: ISC */
/* watch: see watch.h. */
#include "master/watch.h"

void watch_begin(struct watch *w, uint64_t in_use, uint64_t now_ms, uint64_t every_ms)
{
	*w = (struct watch){ .in_use = in_use, .seen = in_use, .due_ms = now_ms + every_ms };
}

uint64_t watch_quiet(const struct watch *w, uint64_t now_ms)
{
	return w->seen != w->in_use && now_ms - w->seen_ms >= WATCH_QUIET_MS ? w->seen : 0;
}

bool watch_told(const struct watch *w, enum follow_found kind)
{
	return w->told & 1u << kind;
}

bool watch_tells(struct watch *w, enum follow_found kind)
{
	bool is_first = !watch_told(w, kind);

	w->told |= 1u << kind;
	return is_first;
}

bool watch_saw(struct watch *w, enum follow_found found, uint64_t looks, uint64_t now_ms,
	       uint64_t every_ms)
{
	w->due_ms = now_ms + every_ms;
	if (found == FOLLOW_FAILED)
		return watch_tells(w, found);
	if (found == FOLLOW_SAME) {
		w->in_use = w->seen = looks;
		w->other_ms = 0;
		return false;
	}
	if (!w->other_ms)
		w->other_ms = now_ms;
	if (looks != w->seen) {
		w->seen = looks;
		w->seen_ms = now_ms;
		w->due_ms = now_ms + WATCH_QUIET_MS;
	}
	if (found < FOLLOW_TORN ||
	    (found == FOLLOW_TORN && now_ms - w->other_ms < WATCH_PATIENCE_MS))
		return false;
	return watch_tells(w, found);
}
