/* SPDX-License-Identifier: ISC */
/* session: see session.h. Here: its start, and its stop from outside. */
#include "session/session.h"

#include "session/ends.h"
#include "session/leave.h"
#include "session/reach.h"
#include "session/secure.h"
#include "session/timeout.h"
#include "session/turn.h"
#include "session/work.h"
#include "smtp/words.h"

/* There is no room for a session that would wait until the client has read WORDS. */
static void turn_away(struct context *ctx, const struct session_client *client, const char *words)
{
	struct stream st = client->stream;

	if (!client->tls_first) {
		stream_say(&st, words, strlen(words));
		stats_reply(ctx->stats, span_str(words));
	}
	stream_close(ctx->io, &st);
}

static void begin(struct session *s, const struct session_client *client)
{
	struct context *ctx = s->ctx;

	s->version = context_version_get(ctx);
	s->rt = &s->version->rt;
	ctx->next_id.serial++;
	dialog_init(&s->dialog, &s->version->env, &client->addr, client->in_network, &ctx->next_id);
	s->dialog.proxy_addr = client->proxy;
	s->dialog.may_rename = client->may_rename;
	if (client->secure) {
		dialog_tls_comes_first(&s->dialog);
		dialog_tls_done(&s->dialog, client->secure);
	}
	session_timer_init(s);
	io_task_init(&s->task, session_turn);
	list_init(&s->link);
	list_add_tail(&ctx->open, &s->link);
	ctx->open_count++;
	stats_now(ctx->stats, open, ctx->open_count);
	s->started_us = io_now_us(ctx->io);
}

bool session_start(struct context *ctx, const struct session_client *client,
		   enum session_refusal refusal, uint32_t seat)
{
	const char *words =
		smtp_words(refusal == SESSION_ADDRESS_TOO_MANY ? WORD_BUSY : WORD_TOO_MANY);
	struct session *s = NULL;

	/* However many are refused, they take no room from those who are served. */
	if (refusal == SESSION_SERVE || ctx->refused < WORKER_REFUSALS)
		s = pool_get(&ctx->sessions);
	if (!s) {
		turn_away(ctx, client, words);
		return false;
	}
	*s = (struct session){
		.ctx = ctx,
		.client.stream = client->stream,
		.dest.stream = stream_of(-1),
		.line.stream = stream_of(-1),
		.seat = seat,
		.to = client->to,
	};
	begin(s, client);
	if (refusal == SESSION_SERVE) {
		s->seat_is = client->known ? SEAT_KNOWN : SEAT_COUNTED;
		if (client->tls_first)
			session_secure_first(s);
		else
			session_begin(s);
	} else {
		ctx->refused++;
		s->client.broken = client->tls_first; /* nothing is said in clear there */
		session_refuse(s, words, END_LIMIT,
			       refusal == SESSION_ADDRESS_TOO_MANY ? REASON_MAX_SESSIONS_PER_ADDRESS
								   : REASON_MAX_SESSIONS);
	}
	return true;
}

void session_stop(struct session *s, bool polite)
{
	if (s->state == SESSION_CLOSING)
		return;
	if (s->dialog.end == END_RUNS && !polite)
		s->dialog.end = END_STOP;
	if (!polite) {
		session_close_all(s);
		return;
	}
	session_borrow(s);
	if (s->state == SESSION_CONNECTING)
		s->state = SESSION_RUNNING;
	dialog_close(&s->dialog, smtp_words(WORD_STOP), END_STOP, REASON_NONE);
	session_changed(s);
}
