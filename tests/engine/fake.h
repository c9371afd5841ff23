/* SPDX-License-Identifier: ISC */
/*
 * fake: an engine's backend for tests, which does what a kernel under pressure may do. It makes
 * real non-blocking system calls on real descriptors, and a seeded generator shortens them, puts
 * them off, changes their order and fails them. The same seed and the same input give the same run.
 */
#ifndef TESTS_ENGINE_FAKE_H
#define TESTS_ENGINE_FAKE_H

#include "io/inner.h"

/* The `arg` of io_create_with(). Rates are in percent of the occasions. */
struct fake_rates {
	uint64_t seed;
	unsigned shorten; /* a transfer moves a few octets only */
	unsigned delay;	  /* what could be done is left for a later turn */
	unsigned fail;	  /* an operation ends with an error that it may meet in life */
};

extern const struct io_backend fake_backend;

/* The generator, for tests too: the next of its numbers, and one below N (> 0). */
uint64_t fake_random(uint64_t *state);
unsigned fake_below(uint64_t *state, unsigned n);

#endif
