/* SPDX-License-Identifier: ISC */
/*
 * reply: see reply.h. Parsing has no state: the caller gives all that has come of the reply, and
 * each line is looked at anew. What has come of a line is held to the same rules as a whole line,
 * and a limit is broken as soon as the shortest possible rest would break it: so a prefix is BAD
 * exactly when nothing that may follow could make it good.
 */
#include "smtp/reply.h"

#define CODE_LEN 3
#define LINE_MIN 5 /* "250" CR LF */

/* Octet I of a line may be C; CODE (0: none yet) is the code of the lines before. */
static bool octet_valid(size_t i, uint8_t c, unsigned code)
{
	static const unsigned scale[CODE_LEN] = { 100, 10, 1 };

	if (i < CODE_LEN) {
		if (c < (i == 0 ? '2' : '0') || c > (i == 0 ? '5' : '9'))
			return false;
		return code == 0 || code / scale[i] % 10 == c - (unsigned)'0';
	}
	if (i == CODE_LEN)
		return c == ' ' || c == '-' || c == '\r';
	return (c >= 0x20 && c != 0x7f) || c == '\t' || c == '\r';
}

/* PART is a line up to and with its LF, or (not WHOLE) what has come of one that has no LF yet. */
static bool line_valid(struct span part, bool whole, unsigned code)
{
	size_t n = whole ? part.n - 1 : part.n;

	if (whole && (part.n < LINE_MIN || part.p[n - 1] != '\r'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!octet_valid(i, part.p[i], code) || (part.p[i] == '\r' && i != n - 1))
			return false;
	return true;
}

/* The fewest octets that the line in PART can end up with, and those of lines that must follow. */
static void least_rest(struct span part, bool whole, size_t *line, size_t *follow)
{
	*line = part.n;
	if (!whole) {
		if (part.n <= CODE_LEN)
			*line = LINE_MIN;
		else
			*line += part.p[part.n - 1] == '\r' ? 1 : 2;
	}
	*follow = part.n > CODE_LEN && part.p[CODE_LEN] == '-' ? LINE_MIN : 0;
}

enum smtp_reply_result smtp_reply_parse(struct span in, struct smtp_reply *reply, size_t *consumed)
{
	size_t at = 0;

	*reply = (struct smtp_reply){ 0 };
	*consumed = 0;
	for (;;) {
		struct span part = span_from(in, at);
		const uint8_t *lf;
		size_t line, follow;

		if (part.n > SMTP_REPLY_LINE_MAX)
			part.n = SMTP_REPLY_LINE_MAX;
		lf = part.n ? memchr(part.p, '\n', part.n) : NULL;
		if (lf)
			part.n = (size_t)(lf - part.p) + 1;
		if (!line_valid(part, lf != NULL, reply->code))
			return SMTP_REPLY_BAD;
		least_rest(part, lf != NULL, &line, &follow);
		if (line > SMTP_REPLY_LINE_MAX || at + line + follow > SMTP_REPLY_MAX)
			return SMTP_REPLY_BAD;
		if (!lf)
			return SMTP_REPLY_MORE;
		reply->code = (uint16_t)((part.p[0] - '0') * 100 + (part.p[1] - '0') * 10 +
					 (part.p[2] - '0'));
		reply->lines++;
		at += part.n;
		if (follow == 0)
			break;
	}
	reply->text = span_of(in.p, at);
	*consumed = at;
	return SMTP_REPLY_OK;
}

/* The line at *AT with its code, without CR LF. */
static bool next_line(const struct smtp_reply *reply, size_t *at, struct span *line)
{
	struct span rest = span_from(reply->text, *at);
	const uint8_t *lf = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;

	if (!lf)
		return false;
	*line = span_of(rest.p, (size_t)(lf - rest.p) - 1);
	*at += line->n + 2;
	return true;
}

bool smtp_reply_line(const struct smtp_reply *reply, size_t *at, struct span *line)
{
	if (!next_line(reply, at, line))
		return false;
	*line = span_from(*line, CODE_LEN + 1);
	return true;
}

size_t smtp_reply_log_text(const struct smtp_reply *reply, char *out, size_t cap)
{
	size_t at = 0, len = 0;
	struct span line;

	while (next_line(reply, &at, &line)) {
		if (len > 0 && len < cap)
			out[len++] = '\n';
		if (line.n > cap - len)
			line.n = cap - len;
		memcpy(out + len, line.p, line.n);
		len += line.n;
	}
	return len;
}
