/* SPDX-License-Identifier: ISC */
/* trace_ids: see trace_ids.h. */
#include "ctl/trace_ids.h"

#include <stdlib.h>
#include <string.h>

#define FIRST 64

static bool take_hex(struct span *s, size_t most, uint64_t *value)
{
	size_t n = 0;

	*value = 0;
	for (; n < s->n && n <= most; n++) {
		uint8_t c = s->p[n];

		if (c >= '0' && c <= '9')
			*value = *value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*value = *value << 4 | (uint64_t)(c - 'a' + 10);
		else
			break;
	}
	*s = span_from(*s, n);
	return n >= 1 && n <= most;
}

bool trace_id_parse(struct span text, struct trace_id *id)
{
	uint64_t serial;

	id->whole = false;
	if (!take_hex(&text, 16, &id->epoch) || !text.n || text.p[0] != '-')
		return false;
	text = span_from(text, 1);
	if (!take_hex(&text, 8, &serial) || text.n)
		return false;
	id->serial = (uint32_t)serial;
	return true;
}

/* Where ID stands, or the free slot where it would. */
static size_t place(const struct trace_ids *s, struct trace_id id)
{
	uint64_t h = (id.epoch ^ ((uint64_t)id.serial << 32 | id.serial)) * 0x9e3779b97f4a7c15;
	size_t at = (size_t)(h >> 20) & (s->slots - 1);

	while (s->slot[at]) {
		const struct trace_id *there = &s->id[s->slot[at] - 1];

		if (there->epoch == id.epoch && there->serial == id.serial)
			break;
		at = (at + 1) & (s->slots - 1);
	}
	return at;
}

static void fill(struct trace_ids *s)
{
	memset(s->slot, 0, s->slots * sizeof(*s->slot));
	for (size_t i = 0; i < s->n; i++)
		s->slot[place(s, s->id[i])] = (uint32_t)i + 1;
}

static bool grow(struct trace_ids *s)
{
	size_t cap = s->cap ? 2 * s->cap : FIRST;
	struct trace_id *id = realloc(s->id, cap * sizeof(*id));
	uint32_t *slot;

	if (!id)
		return false;
	s->id = id;
	slot = realloc(s->slot, 2 * cap * sizeof(*slot));
	if (!slot)
		return false;
	s->slot = slot;
	s->slots = 2 * cap;
	s->cap = cap;
	fill(s);
	return true;
}

void trace_ids_keep(struct trace_ids *s, size_t n)
{
	size_t gone = s->n > n ? s->n - n : 0;

	if (!gone)
		return;
	s->n -= gone;
	memmove(s->id, s->id + gone, s->n * sizeof(*s->id));
	s->forgotten += gone;
	fill(s);
}

bool trace_ids_add(struct trace_ids *s, struct trace_id id)
{
	size_t there = trace_ids_find(s, id);

	if (there != SIZE_MAX) {
		s->id[there].whole |= id.whole;
		return true;
	}
	if (s->n == TRACE_IDS_MAX)
		trace_ids_keep(s, TRACE_IDS_MAX / 2);
	if (s->n == s->cap && !grow(s))
		return false;
	s->id[s->n] = id;
	s->slot[place(s, id)] = (uint32_t)++s->n;
	return true;
}

size_t trace_ids_find(const struct trace_ids *s, struct trace_id id)
{
	uint32_t there = s->slots ? s->slot[place(s, id)] : 0;

	return there ? there - 1 : SIZE_MAX;
}

void trace_ids_free(struct trace_ids *s)
{
	free(s->id);
	free(s->slot);
	*s = (struct trace_ids){ 0 };
}
