/* SPDX-License-Identifier: ISC */
/*
 * lines: walks the lines of a table's text. A line ends with LF, CR LF or the end of the text;
 * blanks around it are stripped; blank lines are skipped, and so are lines whose first octet is `#`
 * (caronte.conf(5): only at the start of a line, since `#` is a character of local parts: behind a
 * blank it begins an address). Nothing is copied.
 */
#ifndef POLICY_LINES_H
#define POLICY_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct lines {
	struct span rest;
	unsigned number; /* of the line given last, from 1 */
};

static inline struct span lines_strip(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_from(s, 1);
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* The next line that says something, in *LINE, never empty; false at the end. */
static inline bool lines_next(struct lines *l, struct span *line)
{
	while (l->rest.n) {
		const uint8_t *lf = memchr(l->rest.p, '\n', l->rest.n);
		struct span s = l->rest;

		if (lf)
			s.n = (size_t)(lf - l->rest.p);
		l->rest = span_from(l->rest, lf ? s.n + 1 : s.n);
		l->number++;
		if (s.n && s.p[0] == '#')
			continue;
		if (s.n && s.p[s.n - 1] == '\r')
			s.n--;
		*line = lines_strip(s);
		if (line->n)
			return true;
	}
	return false;
}

/* Lines at most, comments and blank ones too. */
static inline size_t lines_count(struct span text)
{
	size_t n = 0;

	while (text.n) {
		const uint8_t *lf = memchr(text.p, '\n', text.n);

		n++;
		if (!lf)
			break;
		text = span_from(text, (size_t)(lf - text.p) + 1);
	}
	return n;
}

/* An editor's byte order mark would silently become part of the first entry. */
static inline bool lines_bom(struct span text)
{
	return text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0;
}

#define LINES_BOM_FAULT "byte order mark at the start of the file, plain text without one is needed"

#endif
