/* SPDX-License-Identifier: ISC */
/*
 * size: how much a test does that tries everything. The plain build does all of it. Under ASan,
 * where it takes ten times as long and only memory is left to look at, it does a part, and all of
 * it where CARONTE_LONG is set (`make check-long`).
 */
#ifndef TESTS_SIZE_H
#define TESTS_SIZE_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define SIZE_ASAN true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIZE_ASAN true
#endif
#endif
#ifndef SIZE_ASAN
#define SIZE_ASAN false
#endif

static inline bool size_is_full(void)
{
	return !SIZE_ASAN || getenv("CARONTE_LONG");
}

/* ALL at full size, else PART. */
static inline unsigned size_of(unsigned all, unsigned part)
{
	return size_is_full() ? all : part;
}

#endif
