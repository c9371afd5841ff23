/* SPDX-License-Identifier: ISC */
/*
 * trace_ids: the names of sessions, each once, in the order in which they were added. Memory is
 * bounded: of more than a million the older half is forgotten.
 */
#ifndef CTL_TRACE_IDS_H
#define CTL_TRACE_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define TRACE_IDS_MAX ((size_t)1 << 20)

struct trace_id {
	uint64_t epoch;
	uint32_t serial;
	bool whole; /* all of the session is asked for, whatever each record says */
};

struct trace_ids {
	struct trace_id *id;
	size_t n, cap;
	uint32_t *slot; /* of `slots`, a power of two: 1 + number in `id`, 0: free */
	size_t slots;
	uint64_t forgotten;
};

/* "EPOCH-SERIAL". False: it is no session's name. */
bool trace_id_parse(struct span text, struct trace_id *id);
/* Adds ID, or what it asks for where it is there already. False: no memory. */
bool trace_ids_add(struct trace_ids *s, struct trace_id id);
/* Its number; SIZE_MAX: it is not there. */
size_t trace_ids_find(const struct trace_ids *s, struct trace_id id);
/* Forgets all but the last N. */
void trace_ids_keep(struct trace_ids *s, size_t n);
void trace_ids_free(struct trace_ids *s);

#endif
