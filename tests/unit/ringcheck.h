/* SPDX-License-Identifier: ISC */
/* ringcheck: rings in shared memory and records that can be told apart, for the tests of the log.
 */
#ifndef TESTS_RINGCHECK_H
#define TESTS_RINGCHECK_H

#include <sys/mman.h>

#include "xmllog/take.h"

static inline struct xmllog_ring *ring_new(size_t octets)
{
	struct xmllog_ring *r = mmap(NULL, xmllog_ring_room(octets), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(r, MAP_FAILED);
	xmllog_ring_init(r, octets);
	return r;
}

static inline void ring_free(struct xmllog_ring *r)
{
	munmap(r, xmllog_ring_room(r->size));
}

/* A record that tells its number twice and carries a text whose length and octets follow from it.
 */
static inline void make_numbered(struct xmllog *l, uint64_t i)
{
	uint8_t text[600];
	size_t n = i * 7 % sizeof(text);

	memset(text, (int)('a' + i % 26), sizeof(text));
	assert_true(xmllog_begin(l, XMLLOG_FAULT, NULL));
	xmllog_num(l, XMLLOG_A_COUNT, i);
	xmllog_span(l, XMLLOG_A_DETAIL, span_of(text, n));
	xmllog_num(l, XMLLOG_A_PID, ~i);
	xmllog_end(l);
}

static inline void commit(struct take *t)
{
	take_prepare(t, 0, 0, 0);
	take_commit(t);
}

#endif
