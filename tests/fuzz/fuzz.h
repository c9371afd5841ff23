/* SPDX-License-Identifier: ISC */
/*
 * fuzz: what the fuzz targets share. Each target is one libFuzzer entry point and states with
 * CHECK() what must be true of every input; a broken statement aborts, and the input is kept.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdlib.h>

#include "base/buf.h"
#include "base/diag.h"
#include "base/span.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy whose end ASan knows exactly; to be freed. Never NULL, so that P + 0 is defined. */
static inline uint8_t *fuzz_copy(struct span s)
{
	uint8_t *copy = malloc(s.n ? s.n : 1);

	CHECK(copy);
	if (s.n)
		memcpy(copy, s.p, s.n);
	return copy;
}

/* Takes one octet of choice off the front of the input; 0 when there is none. */
static inline uint8_t fuzz_choice(struct span *in)
{
	uint8_t c = in->n ? in->p[0] : 0;

	if (in->n)
		*in = span_from(*in, 1);
	return c;
}

/* Where the next of a row of cuts falls, from a row of choices that SEED stands for: mostly small
 * steps, now and then a large one. */
static inline size_t fuzz_step(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 24) % 16 ? (*seed >> 16) % 8 : (*seed >> 16) % 200;
}

static inline size_t fuzz_min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* An octet that no line of SMTP may hold but for its CR LF. */
static inline bool fuzz_is_control(uint8_t c)
{
	return c < ' ' || c == 0x7f;
}

#endif
