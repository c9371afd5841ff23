/* SPDX-License-Identifier: ISC */
/*
 * warm_inner: what the two files of the pool (warm.c: what is idle; learn.c: what is said and
 * asked) share and nobody else looks at.
 */
#ifndef UPSTREAM_WARM_INNER_H
#define UPSTREAM_WARM_INNER_H

#include "base/buf.h"
#include "smtp/hello.h"
#include "upstream/connect.h"
#include "upstream/warm.h"

struct warm_conn {
	struct list link; /* of the idle ones of its destination */
	struct warm *pool;
	struct warm_line line;
	struct io_op op;
	struct io_timer timer;
	uint64_t claim;	  /* of the destination's note, which it learns */
	uint64_t idle_ms; /* since when it is idle */
	void (*answered)(struct warm_conn *c, enum smtp_hello_result how);
	/* While it is busy. From here on nothing is set in a new one. */
	struct smtp_hello hello;
	struct connect connect; /* while it learns */
	struct buf in;
	uint8_t mem[SMTP_REPLY_MAX];
};

struct warm_known {
	struct list idle;
	unsigned count;
	uint32_t room_wanted; /* route_room_wanted() when it was last looked at */
	uint64_t wanted_until_ms;
	struct smtp_offer offer;
	uint32_t note; /* the number of the note that `offer` is of; 0: not known */
	uint8_t pause; /* after failures to learn it */
};

struct warm {
	struct context *ctx;
	struct context_version *version;
	struct io_timer timer;
	unsigned idle;
	bool running;
	struct smtp_offer offer;
	struct warm_known at[DESTINATIONS_MAX];
};

static inline const struct runtime *warm_runtime(const struct warm *p)
{
	return &p->version->rt;
}

static inline uint64_t warm_now_ms(const struct warm *p)
{
	return io_now_ms(p->ctx->io);
}

/* A new connection of the pool, busy, which keeps the version alive; NULL: there are enough. */
struct warm_conn *warm_conn_new(struct warm *p, const struct warm_line *line);
/* The end of being busy: idle where it may be kept, else closed; the pool may be gone then. */
void warm_keep(struct warm_conn *c);
void warm_drop(struct warm_conn *c, bool polite);
/* What all eligible destinations offer has changed, perhaps. */
void warm_make_offer(struct warm *p);

#endif
