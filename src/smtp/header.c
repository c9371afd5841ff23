/* SPDX-License-Identifier: ISC */
/* header: see header.h. */
#include "smtp/header.h"

#include <string.h>

static const uint8_t name[] = "message-id";

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* An octet of the text; blanks of a fold, and within, become one. */
static void add(struct smtp_message_id *id, uint8_t c)
{
	if (c == '\r' || c == '\n')
		return;
	if (is_blank(c)) {
		id->gap = id->n > 0;
		return;
	}
	if (id->gap && id->n < SMTP_MESSAGE_ID_MAX)
		id->text[id->n++] = ' ';
	id->gap = false;
	if (id->n < SMTP_MESSAGE_ID_MAX)
		id->text[id->n++] = (char)c;
	id->text[id->n] = '\0';
}

static void step(struct smtp_message_id *id, uint8_t c)
{
	switch (id->state) {
	case SMTP_MESSAGE_ID_NAME:
		if (ascii_lower(c) != name[id->matched])
			id->state = SMTP_MESSAGE_ID_SKIP;
		else if (name[++id->matched] == '\0')
			id->state = SMTP_MESSAGE_ID_COLON;
		break;
	case SMTP_MESSAGE_ID_COLON:
		if (!is_blank(c)) /* RFC 5322 4.5.8 has blanks there */
			id->state = c == ':' ? SMTP_MESSAGE_ID_TEXT : SMTP_MESSAGE_ID_SKIP;
		break;
	default:
		add(id, c);
	}
}

/* A line begins with FIRST: lines of other fields cost this look alone. */
static void begin_line(struct smtp_message_id *id, uint8_t first)
{
	if (id->state == SMTP_MESSAGE_ID_TEXT) {
		if (!is_blank(first))
			id->state = SMTP_MESSAGE_ID_DONE;
	} else if (id->state != SMTP_MESSAGE_ID_DONE) {
		id->state =
			ascii_lower(first) == name[0] ? SMTP_MESSAGE_ID_NAME : SMTP_MESSAGE_ID_SKIP;
		id->matched = 0;
	}
}

static void look(struct smtp_message_id *id, struct span piece)
{
	for (size_t i = 0; i < piece.n && id->state < SMTP_MESSAGE_ID_SKIP; i++)
		step(id, piece.p[i]);
}

size_t smtp_header_take(struct smtp_header *h, struct span in, struct smtp_message_id *id)
{
	size_t at = 0;

	while (!h->over && at < in.n) {
		const uint8_t *lf = memchr(in.p + at, '\n', in.n - at);
		size_t next = lf ? (size_t)(lf - in.p) + 1 : in.n;

		if (id && h->line == 0)
			begin_line(id, in.p[at]);
		if (id && id->state < SMTP_MESSAGE_ID_SKIP)
			look(id, span_of(in.p + at, next - at));
		h->line += (uint32_t)(next - at);
		at = next;
		if (!lf)
			break;
		h->over = h->line == 2;
		h->line = 0;
	}
	return at;
}

void smtp_newlines_count(struct smtp_newlines *n, struct span in)
{
	uint64_t bare = n->bare;
	bool cr = n->cr;

	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		/* Most octets are neither, behind neither. */
		bare += (uint64_t)((cr ^ (c == '\n')) | (c == '\0'));
		cr = c == '\r';
	}
	n->bare = bare;
	n->cr = cr;
}
