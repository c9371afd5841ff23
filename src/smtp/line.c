/* SPDX-License-Identifier: ISC */
/*
 * line: cuts command lines off a client's octets. The one end of a line is CR LF (RFC 5321 2.3.8);
 * a CR or LF on its own and a NUL are refused, never repaired, since another server may see another
 * line there. No state: the caller gives all that has come of the line.
 */
#include "smtp/line.h"

static size_t find(struct span in, int octet)
{
	const uint8_t *at = in.n ? memchr(in.p, octet, in.n) : NULL;

	return at ? (size_t)(at - in.p) : in.n;
}

/* The first LEN octets of IN, which hold no LF, as the beginning of a line. */
static enum smtp_line_result unfinished(struct span in, size_t max)
{
	size_t cr = find(in, '\r');
	size_t least = in.n + 2; /* the shortest that this line can become */

	if (cr < in.n) {
		if (cr + 1 < in.n)
			return SMTP_LINE_BAD;
		least = in.n + 1;
	}
	if (least > max || find(in, '\0') < in.n)
		return SMTP_LINE_BAD;
	return SMTP_LINE_MORE;
}

enum smtp_line_result smtp_line_cut(struct span in, size_t max, struct span *line, size_t *consumed)
{
	struct span window = span_of(in.p, in.n < max ? in.n : max);
	size_t lf = find(window, '\n');
	struct span body;

	*line = span_of(in.p, 0);
	*consumed = 0;
	if (lf == window.n)
		return unfinished(in, max);
	if (lf == 0)
		return SMTP_LINE_BAD;
	body = span_of(in.p, lf - 1);
	if (in.p[lf - 1] != '\r' || find(body, '\r') < body.n || find(body, '\0') < body.n)
		return SMTP_LINE_BAD;
	*line = body;
	*consumed = lf + 1;
	return SMTP_LINE_OK;
}

size_t smtp_line_limit(struct span in)
{
	static const char verb[] = "auth";
	size_t known = in.n < 4 ? in.n : 4;

	for (size_t i = 0; i < known; i++)
		if (ascii_lower(in.p[i]) != (uint8_t)verb[i])
			return SMTP_LINE_MAX;
	/* AUTHX is another, unknown verb. */
	if (in.n > 4 && in.p[4] != ' ' && in.p[4] != '\r')
		return SMTP_LINE_MAX;
	return SMTP_AUTH_LINE_MAX;
}
