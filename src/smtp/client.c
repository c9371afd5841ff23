/* SPDX-License-Identifier: ISC */
/* client: see client.h. */
#include "smtp/client.h"

#include "base/diag.h"

enum class { CLASS_2XX, CLASS_3XX, CLASS_4XX, CLASS_5XX, CLASS_421, CLASSES };

#define A SMTP_CLIENT_ANSWER
#define E SMTP_CLIENT_EARLY
#define C SMTP_CLIENT_CLOSING
#define D SMTP_CLIENT_DESYNC

/* The protocol, seen from here (RFC 5321 4.3.2; caronte(8)). */
static const uint8_t verdicts[SMTP_OWES_KINDS][CLASSES] = {
	/*                       2xx 3xx 4xx 5xx 421 */
	[SMTP_OWES_NOTHING] = { D, D, D, D, C }, [SMTP_OWES_GREETING] = { A, D, A, A, C },
	[SMTP_OWES_COMMAND] = { A, D, A, A, C }, [SMTP_OWES_DATA] = { D, A, A, A, C },
	[SMTP_OWES_BODY] = { D, D, E, E, C },	 [SMTP_OWES_EOD] = { A, D, A, A, C },
	[SMTP_OWES_AUTH] = { A, A, A, A, C },	 [SMTP_OWES_CHUNK] = { A, D, E, E, C },
};

#undef A
#undef E
#undef C
#undef D

static enum class class_of(unsigned code) {
	return code == 421 ? CLASS_421 : (enum class)(code / 100 - 2);
}

void smtp_client_start(struct smtp_client *c)
{
	*c = (struct smtp_client){ .owed = { SMTP_OWES_GREETING }, .count = 1 };
}

void smtp_client_queued(struct smtp_client *c, enum smtp_owed what)
{
	CHECK(c->count < SMTP_OPEN_MAX);
	c->owed[(c->head + c->count) % SMTP_OPEN_MAX] = (uint8_t)what;
	c->count++;
	c->unsent++;
}

void smtp_client_flushed(struct smtp_client *c, unsigned n)
{
	CHECK(n <= c->unsent);
	c->unsent = (uint8_t)(c->unsent - n);
}

enum smtp_owed smtp_client_oldest(const struct smtp_client *c)
{
	/* What has not left cannot be answered yet; a body is open from the 354 on. */
	if (c->count == c->unsent)
		return SMTP_OWES_NOTHING;
	return (enum smtp_owed)c->owed[c->head];
}

static void take_oldest(struct smtp_client *c)
{
	c->head = (uint8_t)((c->head + 1) % SMTP_OPEN_MAX);
	c->count--;
}

enum smtp_client_verdict smtp_client_judge(struct smtp_client *c, const struct smtp_reply *reply,
					   enum smtp_owed begun)
{
	enum class class = class_of(reply->code);
	enum smtp_client_verdict verdict = (enum smtp_client_verdict)verdicts[begun][class];

	if (class == CLASS_3XX && reply->code != (begun == SMTP_OWES_DATA ? 354 : 334))
		return SMTP_CLIENT_DESYNC;
	if (verdict != SMTP_CLIENT_ANSWER)
		return verdict;
	CHECK(smtp_client_oldest(c) == begun);
	take_oldest(c);
	if (begun == SMTP_OWES_DATA && class == CLASS_3XX) {
		CHECK(c->count == 0);
		c->owed[c->head] = SMTP_OWES_BODY;
		c->count = 1;
	}
	return verdict;
}

static uint8_t *youngest(struct smtp_client *c)
{
	CHECK(c->count > 0 && c->unsent == 0);
	return &c->owed[(c->head + c->count - 1) % SMTP_OPEN_MAX];
}

bool smtp_client_in_body(const struct smtp_client *c)
{
	return c->count > 0 && c->unsent == 0 &&
	       c->owed[(c->head + c->count - 1) % SMTP_OPEN_MAX] == SMTP_OWES_BODY;
}

void smtp_client_body_begun(struct smtp_client *c)
{
	CHECK(c->count == 0);
	c->owed[c->head] = SMTP_OWES_BODY;
	c->count = 1;
}

void smtp_client_chunk_reached(struct smtp_client *c)
{
	CHECK(c->count < SMTP_OPEN_MAX && *youngest(c) == SMTP_OWES_BODY);
	*youngest(c) = SMTP_OWES_CHUNK;
	c->count++;
	*youngest(c) = SMTP_OWES_BODY;
}

void smtp_client_body_sent(struct smtp_client *c)
{
	CHECK(*youngest(c) == SMTP_OWES_BODY);
	*youngest(c) = SMTP_OWES_EOD;
}

void smtp_client_chunk_sent(struct smtp_client *c, bool last)
{
	CHECK(c->count == 1 && c->unsent == 0 && c->owed[c->head] == SMTP_OWES_BODY);
	c->owed[c->head] = last ? SMTP_OWES_EOD : SMTP_OWES_COMMAND;
}
