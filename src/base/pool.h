/* SPDX-License-Identifier: ISC */
/*
 * pool: objects of one size, all room for them reserved at start (invariant 7: bounded everything).
 * The reservation is address space only; a page costs memory from its first use on, until
 * pool_trim() gives it back. Last in, first out, so that the pages in use stay few and warm. One
 * thread. Exhaustion is NULL, never a fault.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool {
	uint8_t *mem;
	size_t size;   /* octets of one object, rounded up to 16, or to pages if it is of several */
	size_t count;  /* objects in all */
	size_t fresh;  /* objects never handed out yet begin at this index */
	size_t in_use; /* objects handed out now */
	/* The chain of returned objects, by their number from 1 on; 0 ends it. It is not in them,
	 * so that one that was given back costs nothing. */
	uint32_t free, *next;
	/* Of the returned objects, counted from the chain's end: */
	size_t unused;	/* not handed out since the last pool_trim() */
	size_t due;	/* not handed out in the time before it, nor since */
	size_t trimmed; /* without their pages */
};

/* Reserves room for COUNT objects of SIZE octets. 0 or -ENOMEM. */
int pool_init(struct pool *p, size_t size, size_t count) __attribute__((warn_unused_result));
void pool_destroy(struct pool *p);
/* An object with undefined content, or NULL when all are out. */
void *pool_get(struct pool *p);
/* Returns OBJ, which pool_get() gave; NULL is allowed and does nothing. */
void pool_put(struct pool *p, void *obj);
/*
 * Called from time to time: gives back to the kernel the whole pages of objects that were not
 * handed out since the call before, of a few in each call, for it must not hold up its caller.
 * True: there may be more of them next time. Worth a call only where an object is of several pages.
 */
bool pool_trim(struct pool *p);
/* The same for a few more of those that the last pool_trim() found, and that are still not handed
 * out. True: there are more of them. */
bool pool_trim_more(struct pool *p);

#endif
