/* SPDX-License-Identifier: ISC */
/*
 * buf: a bounded byte queue over memory that the caller gives. Bytes are added at the tail and
 * taken at the head; the live bytes are always one contiguous span. It never grows: an addition
 * that does not fit is refused whole (-ENOBUFS), so that a command or a reply is never half there.
 * While `pinned` its live bytes stay where they are, for an operation that the kernel works on.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/diag.h"
#include "base/span.h"

struct buf {
	uint8_t *data;
	uint32_t cap;
	uint32_t head; /* first live byte */
	uint32_t tail; /* behind the last live byte */
	bool pinned;
};

static inline void buf_init(struct buf *b, void *mem, size_t cap)
{
	*b = (struct buf){ .data = mem, .cap = (uint32_t)cap };
}

static inline size_t buf_len(const struct buf *b)
{
	return b->tail - b->head;
}

static inline struct span buf_span(const struct buf *b)
{
	return span_of(b->data + b->head, buf_len(b));
}

/* Octets that buf_put() would still take. */
static inline size_t buf_space(const struct buf *b)
{
	return b->pinned ? b->cap - b->tail : b->cap - buf_len(b);
}

/* Moves the live bytes to the front, so that all free room is behind them. */
static inline void buf_compact(struct buf *b)
{
	if (b->head == 0)
		return;
	memmove(b->data, b->data + b->head, buf_len(b));
	b->tail -= b->head;
	b->head = 0;
}

static inline void buf_consume(struct buf *b, size_t n)
{
	CHECK(n <= buf_len(b));
	b->head += (uint32_t)n;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

static inline void buf_clear(struct buf *b)
{
	b->head = b->tail = 0;
}

/* Room behind the live bytes of at least N octets, or NULL; buf_added() says how many were used. */
static inline uint8_t *buf_room(struct buf *b, size_t n)
{
	if (buf_space(b) < n)
		return NULL;
	if (b->cap - b->tail < n)
		buf_compact(b); /* not pinned, or buf_space() would have refused */
	return b->data + b->tail;
}

static inline void buf_added(struct buf *b, size_t n)
{
	CHECK(n <= b->cap - b->tail);
	b->tail += (uint32_t)n;
}

/* Adds all of S or nothing. 0 or -ENOBUFS. */
static inline __attribute__((warn_unused_result)) int buf_put(struct buf *b, struct span s)
{
	uint8_t *room = buf_room(b, s.n);

	if (!room)
		return -ENOBUFS;
	if (s.n)
		memcpy(room, s.p, s.n);
	buf_added(b, s.n);
	return 0;
}

#endif
