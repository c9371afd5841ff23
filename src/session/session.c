/* SPDX-License-Identifier: ISC */
/* session: see session.h. Here: its start, and its stop from outside. */
#include "session/session.h"

#include "session/ends.h"
#include "session/leave.h"
#include "session/reach.h"
#include "session/timeout.h"
#include "session/turn.h"
#include "session/work.h"
#include "smtp/words.h"

/* There is no room for a session that would wait until the client has read WORDS. */
static void turn_away(struct context *ctx, struct stream st, const char *words)
{
	stream_say(&st, words, strlen(words));
	stats_reply(ctx->stats, span_str(words));
	stream_close(ctx->io, &st);
}

bool session_start(struct context *ctx, int fd, const struct addr *client, bool in_network,
		   enum session_refusal refusal, uint32_t seat)
{
	const char *words =
		smtp_words(refusal == SESSION_ADDRESS_TOO_MANY ? WORD_BUSY : WORD_TOO_MANY);
	struct session *s = NULL;

	/* However many are refused, they take no room from those who are served. */
	if (refusal == SESSION_SERVE || ctx->refused < WORKER_REFUSALS)
		s = pool_get(&ctx->sessions);
	if (!s) {
		turn_away(ctx, stream_of(fd), words);
		return false;
	}
	*s = (struct session){
		.ctx = ctx,
		.client.stream = stream_of(fd),
		.dest.stream = stream_of(-1),
		.line.stream = stream_of(-1),
	};
	s->version = context_version_get(ctx);
	s->rt = &s->version->rt;
	ctx->next_id.serial++;
	dialog_init(&s->dialog, &s->version->env, client, in_network, &ctx->next_id);
	session_timer_init(s);
	io_task_init(&s->task, session_turn);
	list_init(&s->link);
	list_add_tail(&ctx->open, &s->link);
	ctx->open_count++;
	stats_now(ctx->stats, open, ctx->open_count);
	s->started_us = io_now_us(ctx->io);
	s->patience_ms = io_now_ms(ctx->io) + 1000 * (uint64_t)s->rt->config->set.timeout_connect;
	if (refusal == SESSION_SERVE)
		s->seat_is = in_network ? SEAT_KNOWN : SEAT_COUNTED;
	s->seat = seat;
	if (refusal == SESSION_SERVE) {
		session_connect(s);
	} else {
		ctx->refused++;
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
