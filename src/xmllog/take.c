/* SPDX-License-Identifier: ISC */
/* take: see take.h. */
#include "xmllog/take.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/diag.h"

int take_open(struct take *t, struct xmllog_ring *const *rings, size_t n)
{
	CHECK(n > 0);
	*t = (struct take){ .n = n };
	t->src = calloc(n, sizeof(*t->src));
	t->copy = malloc(RECORD_MAX);
	if (!t->src || !t->copy) {
		take_close(t);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		t->src[i].ring = rings[i];
		t->src[i].size = rings[i]->size;
	}
	return 0;
}

void take_close(struct take *t)
{
	free(t->src);
	free(t->copy);
	*t = (struct take){ 0 };
}

static void copy_out(const struct take_source *s, uint32_t at, void *p, uint32_t n)
{
	uint32_t from = at & (s->size - 1);
	uint32_t first = s->size - from < n ? s->size - from : n;

	memcpy(p, s->ring->data + from, first);
	memcpy((uint8_t *)p + first, s->ring->data, n - first);
}

/* The whole rest of the batch is not to be believed: lengths lead from record to record. */
static void skip_damage(struct take_source *s)
{
	s->damaged += s->end - s->at;
	s->at = s->end;
	s->front = 0;
}

static void look_at_front(struct take_source *s)
{
	struct record_header h;
	uint32_t have = s->end - s->at;

	s->front = 0;
	if (have == 0)
		return;
	if (have < sizeof(h)) {
		skip_damage(s);
		return;
	}
	copy_out(s, s->at, &h, sizeof(h));
	if (h.magic != RECORD_MAGIC || h.len < sizeof(h) || h.len > have || h.len > RECORD_MAX) {
		skip_damage(s);
		return;
	}
	s->front = h.len;
	s->time_us = h.time_us;
}

static void begin_source(struct take_source *s)
{
	struct xmllog_ring *r = s->ring;

	s->damaged = 0;
	s->front = 0;
	s->lost = r->size != ~r->size_check || r->size != s->size || s->size < RING_MIN ||
		  s->size > RING_MAX || (s->size & (s->size - 1));
	if (s->lost) {
		s->damaged = !s->told;
		return;
	}
	s->at = atomic_load_explicit(&r->head, memory_order_relaxed);
	s->end = atomic_load_explicit(&r->tail, memory_order_acquire);
	if (s->end - s->at > s->size) {
		s->damaged = s->size;
		s->at = s->end;
	}
	look_at_front(s);
}

void take_begin(struct take *t)
{
	t->octets = 0;
	for (size_t i = 0; i < t->n; i++) {
		begin_source(&t->src[i]);
		t->src[i].ring->next_reported = t->src[i].ring->reported;
	}
}

static struct take_source *earliest(struct take *t)
{
	struct take_source *best = NULL;

	for (size_t i = 0; i < t->n; i++) {
		struct take_source *s = &t->src[i];

		if (s->front && (!best || s->time_us < best->time_us))
			best = s;
	}
	return best;
}

bool take_next(struct take *t, struct record *r)
{
	struct take_source *s;

	while ((s = earliest(t))) {
		uint32_t len = s->front;

		copy_out(s, s->at, t->copy, len);
		t->octets += len;
		if (record_parse(r, span_of(t->copy, len))) {
			s->at += len;
			look_at_front(s);
			return true;
		}
		skip_damage(s);
	}
	return false;
}

bool take_damage(struct take *t, struct record *r)
{
	for (size_t i = 0; i < t->n; i++) {
		struct take_source *s = &t->src[i];

		if (!s->damaged)
			continue;
		if (s->lost)
			snprintf(t->text, sizeof(t->text), "ring %zu is lost", i);
		else
			snprintf(t->text, sizeof(t->text),
				 "ring %zu: records were damaged, %u octets skipped", i,
				 s->damaged);
		s->damaged = 0;
		record_fault(r, "log-damaged", t->text, 0);
		return true;
	}
	return false;
}

uint64_t take_dropped(struct take *t)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct xmllog_ring *r = t->src[i].ring;

		if (t->src[i].lost)
			continue;
		r->next_reported = atomic_load_explicit(&r->dropped, memory_order_relaxed);
		/* A scribbled counter may run backwards; a huge difference is no count. */
		if (r->next_reported - r->reported < (uint64_t)1 << 48)
			sum += r->next_reported - r->reported;
	}
	return sum;
}

void take_prepare(struct take *t, uint64_t dev, uint64_t ino, uint64_t tail)
{
	struct xmllog_ring *first = t->src[0].ring;

	for (size_t i = 0; i < t->n; i++)
		if (!t->src[i].lost)
			t->src[i].ring->next_head = t->src[i].at;
	first->commit_dev = dev;
	first->commit_ino = ino;
	first->commit_tail = tail;
	/* The order matters only to a writer that is killed, so to the compiler. */
	atomic_signal_fence(memory_order_seq_cst);
	first->commit_valid = 1;
	atomic_signal_fence(memory_order_seq_cst);
}

void take_prepare_json(struct take *t, uint64_t dev, uint64_t ino, uint64_t size)
{
	struct xmllog_ring *first = t->src[0].ring;

	first->json_dev = dev;
	first->json_ino = ino;
	first->json_size = size;
	atomic_signal_fence(memory_order_seq_cst);
	first->json_valid = 1;
	atomic_signal_fence(memory_order_seq_cst);
}

void take_commit(struct take *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct xmllog_ring *r = t->src[i].ring;

		if (t->src[i].lost) {
			t->src[i].told |= !t->src[i].damaged;
			continue;
		}
		atomic_store_explicit(&r->head, r->next_head, memory_order_release);
		r->reported = r->next_reported;
	}
	atomic_signal_fence(memory_order_seq_cst);
	t->src[0].ring->commit_valid = 0;
	t->src[0].ring->json_valid = 0;
}

/* The source as it was in the batch that ended at its ring's next_head. */
static void begin_again(struct take_source *s)
{
	struct xmllog_ring *r = s->ring;

	begin_source(s);
	if (s->lost)
		return;
	if (r->next_head - s->at <= s->end - s->at) {
		s->end = r->next_head;
	} else {
		s->end = r->next_head = s->at;
		r->next_reported = r->reported;
	}
	look_at_front(s);
}

bool take_recover(struct take *t, uint64_t dev, uint64_t ino, uint64_t tail)
{
	struct xmllog_ring *first = t->src[0].ring;

	if (first->commit_valid != 1 || first->commit_dev != dev || first->commit_ino != ino ||
	    first->commit_tail != tail) {
		first->commit_valid = first->json_valid = 0;
		return false;
	}
	t->octets = 0;
	for (size_t i = 0; i < t->n; i++)
		begin_again(&t->src[i]);
	return true;
}

uint64_t take_json_has(const struct take *t, uint64_t dev, uint64_t ino, uint64_t size)
{
	const struct xmllog_ring *first = t->src[0].ring;
	bool same = first->json_valid == 1 && first->json_dev == dev && first->json_ino == ino;

	return same && size > first->json_size ? size - first->json_size : 0;
}

bool take_wake_at(struct take *t, enum take_wake when)
{
	bool any = false;

	for (size_t i = 0; i < t->n; i++) {
		struct take_source *s = &t->src[i];
		uint32_t at = when == TAKE_AWAKE    ? RING_AWAKE
			      : when == TAKE_ASLEEP ? 0
						    : s->size / 2;

		atomic_store_explicit(&s->ring->wake_at, at, memory_order_relaxed);
	}
	/* See wake() in xmllog.c: first say that we sleep, then look once more. */
	atomic_thread_fence(memory_order_seq_cst);
	for (size_t i = 0; i < t->n; i++) {
		struct xmllog_ring *r = t->src[i].ring;

		if (t->src[i].lost)
			continue;
		any |= atomic_load_explicit(&r->tail, memory_order_relaxed) !=
			       atomic_load_explicit(&r->head, memory_order_relaxed) ||
		       atomic_load_explicit(&r->dropped, memory_order_relaxed) != r->reported;
	}
	return any;
}
