/* SPDX-License-Identifier: ISC */
/* work: see work.h. */
#include "session/work.h"

#include "base/diag.h"

void session_keep(struct buf *in, struct span octets)
{
	int res = buf_put(in, octets);

	CHECK(res == 0);
}

static void keep_letter(struct session *s)
{
	const struct dialog_letter *l = &s->work->dialog.letter;

	s->letter = pool_get(&s->ctx->letters);
	CHECK(s->letter); /* the pool holds one for each session */
	memcpy(s->letter, l, offsetof(struct dialog_letter, to) + l->to_len);
}

static void take_letter(struct session *s)
{
	if (!s->letter)
		return;
	memcpy(&s->work->dialog.letter, s->letter,
	       offsetof(struct dialog_letter, to) + s->letter->to_len);
	pool_put(&s->ctx->letters, s->letter);
	s->letter = NULL;
}

void session_borrow(struct session *s)
{
	if (s->work)
		return;
	s->work = pool_get(&s->ctx->works);
	CHECK(s->work); /* the pool holds one for each session */
	dialog_work_init(&s->work->dialog);
	buf_init(&s->work->client_in, s->work->client_mem, sizeof(s->work->client_mem));
	buf_init(&s->work->dest_in, s->work->dest_mem, sizeof(s->work->dest_mem));
	s->dialog.work = &s->work->dialog;
	take_letter(s);
}

void session_return_work(struct session *s)
{
	pool_put(&s->ctx->works, s->work);
	s->work = NULL;
	s->dialog.work = NULL;
}

void session_return_idle_work(struct session *s)
{
	if (s->work && !io_in_flight(&s->client.send) && !io_in_flight(&s->dest.send) &&
	    !s->transfer.body && !s->transfer.splice && dialog_rests(&s->dialog) &&
	    buf_len(&s->work->client_in) == 0 && buf_len(&s->work->dest_in) == 0) {
		if (!dialog_idle(&s->dialog))
			keep_letter(s);
		session_return_work(s);
	}
}
