/* SPDX-License-Identifier: ISC */
/* owed: see owed.h. */
#include "smtp/owed.h"

#include "base/diag.h"

enum class { CLASS_2XX, CLASS_3XX, CLASS_4XX, CLASS_5XX, CLASS_421, CLASSES };

#define A SMTP_OWED_ANSWER
#define E SMTP_OWED_EARLY
#define C SMTP_OWED_CLOSING
#define D SMTP_OWED_DESYNC

/* The protocol, seen from here (RFC 5321 4.3.2; caronte(8)). */
static const uint8_t verdicts[SMTP_OWES_KINDS][CLASSES] = {
	/*                       2xx 3xx 4xx 5xx 421 */
	[SMTP_OWES_NOTHING] = { D, D, D, D, C }, [SMTP_OWES_GREETING] = { A, D, A, A, C },
	[SMTP_OWES_COMMAND] = { A, D, A, A, C }, [SMTP_OWES_DATA] = { D, A, A, A, C },
	[SMTP_OWES_BODY] = { D, D, E, E, C },	 [SMTP_OWES_EOD] = { A, D, A, A, C },
	[SMTP_OWES_AUTH] = { A, A, A, A, C },	 [SMTP_OWES_CHUNK] = { A, D, E, E, C },
	[SMTP_OWES_FORWARD] = { A, D, A, A, C },
};

#undef A
#undef E
#undef C
#undef D

static enum class class_of(unsigned code) {
	return code == 421 ? CLASS_421 : (enum class)(code / 100 - 2);
}

void smtp_owed_start(struct smtp_owed *c)
{
	*c = (struct smtp_owed){ .owed = { SMTP_OWES_GREETING }, .count = 1 };
}

void smtp_owed_queued(struct smtp_owed *c, enum smtp_owes what)
{
	CHECK(c->count < SMTP_OPEN_MAX);
	c->owed[(c->head + c->count) % SMTP_OPEN_MAX] = (uint8_t)what;
	c->count++;
	c->unsent++;
}

void smtp_owed_flushed(struct smtp_owed *c, unsigned n)
{
	CHECK(n <= c->unsent);
	c->unsent = (uint8_t)(c->unsent - n);
}

enum smtp_owes smtp_owed_oldest(const struct smtp_owed *c)
{
	/* What has not left cannot be answered yet; a body is open from the 354 on. */
	if (c->count == c->unsent)
		return SMTP_OWES_NOTHING;
	return (enum smtp_owes)c->owed[c->head];
}

static void take_oldest(struct smtp_owed *c)
{
	c->head = (uint8_t)((c->head + 1) % SMTP_OPEN_MAX);
	c->count--;
}

enum smtp_owed_verdict smtp_owed_judge(struct smtp_owed *c, const struct smtp_reply *reply,
				       enum smtp_owes begun)
{
	enum class class = class_of(reply->code);
	enum smtp_owed_verdict verdict = (enum smtp_owed_verdict)verdicts[begun][class];

	if (class == CLASS_3XX && reply->code != (begun == SMTP_OWES_DATA ? 354 : 334))
		return SMTP_OWED_DESYNC;
	if (verdict != SMTP_OWED_ANSWER)
		return verdict;
	CHECK(smtp_owed_oldest(c) == begun);
	take_oldest(c);
	if (begun == SMTP_OWES_DATA && class == CLASS_3XX) {
		CHECK(c->count == 0);
		c->owed[c->head] = SMTP_OWES_BODY;
		c->count = 1;
	}
	return verdict;
}

static uint8_t *youngest(struct smtp_owed *c)
{
	CHECK(c->count > 0 && c->unsent == 0);
	return &c->owed[(c->head + c->count - 1) % SMTP_OPEN_MAX];
}

bool smtp_owed_in_body(const struct smtp_owed *c)
{
	return c->count > 0 && c->unsent == 0 &&
	       c->owed[(c->head + c->count - 1) % SMTP_OPEN_MAX] == SMTP_OWES_BODY;
}

void smtp_owed_body_begun(struct smtp_owed *c)
{
	CHECK(c->count == 0);
	c->owed[c->head] = SMTP_OWES_BODY;
	c->count = 1;
}

void smtp_owed_chunk_reached(struct smtp_owed *c)
{
	CHECK(c->count < SMTP_OPEN_MAX && *youngest(c) == SMTP_OWES_BODY);
	*youngest(c) = SMTP_OWES_CHUNK;
	c->count++;
	*youngest(c) = SMTP_OWES_BODY;
}

void smtp_owed_body_sent(struct smtp_owed *c)
{
	CHECK(*youngest(c) == SMTP_OWES_BODY);
	*youngest(c) = SMTP_OWES_EOD;
}

void smtp_owed_chunk_sent(struct smtp_owed *c, bool last)
{
	CHECK(c->count == 1 && c->unsent == 0 && c->owed[c->head] == SMTP_OWES_BODY);
	c->owed[c->head] = last ? SMTP_OWES_EOD : SMTP_OWES_COMMAND;
}
