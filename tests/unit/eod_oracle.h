/* SPDX-License-Identifier: ISC */
/*
 * eod_oracle: what the end-of-data scanner and the repair must do, said over a whole body by its
 * definition (search, split into lines) and not by an automaton, so that the two cannot be wrong in
 * the same way. For the unit tests and the fuzz targets of both. Slow on purpose.
 */
#ifndef TESTS_EOD_ORACLE_H
#define TESTS_EOD_ORACLE_H

#include "smtp/eod.h"

/* A body as seen behind the CR LF of DATA: octet -2 is a CR, -1 an LF, and none behind the last. */
static inline int oracle_at(struct span body, long i)
{
	if (i < 0)
		return i == -1 ? '\n' : '\r';
	return (size_t)i < body.n ? body.p[i] : -1;
}

/* Where the first CR LF dot CR LF ends; 0: nowhere. */
static inline size_t oracle_end(struct span body)
{
	for (long i = -2; i + 5 <= (long)body.n; i++)
		if (oracle_at(body, i) == '\r' && oracle_at(body, i + 1) == '\n' &&
		    oracle_at(body, i + 2) == '.' && oracle_at(body, i + 3) == '\r' &&
		    oracle_at(body, i + 4) == '\n')
			return (size_t)(i + 5);
	return 0;
}

/* The first NUL, CR without LF behind it or LF without CR before it; body.n: none (yet). */
static inline size_t oracle_bare(struct span body)
{
	for (long i = 0; i < (long)body.n; i++) {
		int c = body.p[i], next = oracle_at(body, i + 1);

		if (c == '\0' || (c == '\n' && (i == 0 || body.p[i - 1] != '\r')) ||
		    (c == '\r' && next != '\n' && next != -1))
			return (size_t)i;
	}
	return body.n;
}

/* The verdict on a body of which no more than BODY has come, and how much of it may be forwarded.
 */
static inline enum smtp_eod_result oracle_scan(struct span body, size_t *forward)
{
	size_t end = oracle_end(body), bare = oracle_bare(body);

	if (end && end <= bare) {
		*forward = end;
		return SMTP_EOD_END;
	}
	*forward = bare;
	if (bare < body.n)
		return SMTP_EOD_BARE;
	if (body.n && body.p[body.n - 1] == '\r')
		*forward = body.n - 1;
	return SMTP_EOD_MORE;
}

/*
 * The whole output of repair for a BODY that has its end of data in it, into OUT (room for 3 octets
 * for each of the body, and 8); the length. *USED is where the end is.
 */
static inline size_t oracle_repair(struct span body, uint8_t *out, size_t *used)
{
	size_t n = 0, i = 0, text = oracle_end(body) - 3;
	bool own_start = true; /* the line is the first, or behind the client's own CR LF */

	*used = text + 3;
	while (i < text) {
		bool own_dot = own_start && body.p[i] == '.';
		size_t line = n;

		for (; i < text && body.p[i] != '\r' && body.p[i] != '\n'; i++)
			if (body.p[i] != '\0')
				out[n++] = body.p[i];
		if (n > line && out[line] == '.' && (!own_dot || n == line + 1)) {
			memmove(out + line + 1, out + line, n - line);
			n++;
		}
		if (i == text) /* cannot be: the end of data has a CR LF before it */
			__builtin_trap();
		size_t crs = 0; /* CRs directly before CR LF go with it */

		while (i + crs < text && body.p[i + crs] == '\r')
			crs++;
		own_start = crs > 0 && i + crs < text && body.p[i + crs] == '\n';
		i += own_start ? crs + 1 : 1;
		memcpy(out + n, "\r\n", 2);
		n += 2;
	}
	memcpy(out + n, ".\r\n", 3);
	return n + 3;
}

/* All that the scanner tells apart: every body of some octets of these is tried. */
static const char alphabet[] = { '\r', '\n', '.', '\0', 'a' };

/* The I-th string of N octets over the alphabet. */
static inline void word(uint8_t *out, size_t n, unsigned i)
{
	for (size_t k = 0; k < n; k++, i /= sizeof(alphabet))
		out[k] = (uint8_t)alphabet[i % sizeof(alphabet)];
}

/* How many there are. */
static inline unsigned words(size_t n)
{
	unsigned count = 1;

	while (n--)
		count *= sizeof(alphabet);
	return count;
}

#endif
