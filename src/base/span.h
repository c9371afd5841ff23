/* SPDX-License-Identifier: ISC */
/*
 * span: a view of octets that somebody else owns. Never NUL-terminated, never freed here.
 * Case-insensitive comparison is ASCII only (RFC 5321 2.4: commands; caronte(8): addresses).
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *p;
	size_t n;
};

/* A string literal as a span. */
#define SPAN(lit) ((struct span){ (const uint8_t *)(lit), sizeof(lit) - 1 })

static inline struct span span_of(const void *p, size_t n)
{
	return (struct span){ p, n };
}

static inline struct span span_str(const char *s)
{
	return (struct span){ (const uint8_t *)s, strlen(s) };
}

/* The span from FROM (not past its end) to the end. */
static inline struct span span_from(struct span s, size_t from)
{
	return from >= s.n ? (struct span){ s.p + s.n, 0 }
			   : (struct span){ s.p + from, s.n - from };
}

static inline uint8_t ascii_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_eq_nocase(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

static inline bool span_starts_nocase(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq_nocase(span_of(s.p, prefix.n), prefix);
}

#endif
