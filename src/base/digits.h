/* SPDX-License-Identifier: ISC */
/*
 * digits: numbers as text where printf would cost more than all the rest.
 */
#ifndef BASE_DIGITS_H
#define BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define DIGITS_MAX 20 /* of a decimal number */

/* Writes U in BASE (up to 16), in LEAST digits at least (up to DIGITS_MAX), without a NUL. How many
 * there are. */
static inline size_t digits_put(char *out, uint64_t u, unsigned base, unsigned least)
{
	char reversed[64];
	size_t n = 0;

	do {
		reversed[n++] = "0123456789abcdef"[u % base];
		u /= base;
	} while (u || n < least);
	for (size_t i = 0; i < n; i++)
		out[i] = reversed[n - 1 - i];
	return n;
}

#endif
