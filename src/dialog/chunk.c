/* SPDX-License-Identifier: ISC */
/*
 * The dialog's chunks: BDAT (RFC 3030), dialog.h. A chunk is passed on only when the destination
 * owes nothing: so it is known then whether anybody is left to receive it, its answer can only be
 * its own, and between its command and its last octet nothing else reaches either side. Its octets
 * are counted and never looked at.
 *
 * While they come, a chunk is to the rest of the dialog what a DATA body is: a refusal before its
 * end, a 421, a destination that is lost close that connection (without LAST, so nothing is
 * delivered), the rest is thrown away by its number, and then comes the answer. A chunk that is not
 * passed on goes the same way, with the destination left as it is.
 */
#include "dialog/inner.h"

#include "base/diag.h"
#include "shared/stats.h"
#include "smtp/words.h"

/* The chunk's last octet has come. */
static void chunk_over(struct dialog *d)
{
	struct span saved = span_of(d->work->saved, d->work->saved_len);
	bool discarded = d->discard, refused = d->chunk_void;

	d->discard = d->chunk_void = false;
	smtp_order_chunk_done(&d->server, d->chunk_last);
	if (refused) {
		dialog_say(d, saved, dialog_asked(d, SMTP_VERB_BDAT, false));
		return;
	}
	if (!discarded) {
		if (!d->chunk_last)
			dialog_add_pending(d, SMTP_VERB_BDAT)->passed = true;
		return;
	}
	if (d->server.state == SMTP_ORDER_EOD)
		smtp_order_message_answered(&d->server);
	else if (d->server.state == SMTP_ORDER_CHUNKED)
		smtp_order_answered(&d->server, SMTP_VERB_BDAT, 550);
	dialog_answer_untaken(d, saved, d->discard_ends, (enum reason)d->discard_why);
}

static void chunk_starts(struct dialog *d, const struct smtp_command *cmd)
{
	d->chunk_left = cmd->chunk_size;
	d->chunk_last = cmd->chunk_last;
	if (d->chunk_left == 0)
		chunk_over(d);
}

static void open_message(struct dialog *d)
{
	if (d->message_open)
		return;
	d->message_open = d->chunked = true;
	d->counted = false;
	d->body_bytes = 0;
	dialog_header_begin(d);
}

void dialog_chunk_begin(struct dialog *d, const struct smtp_command *cmd)
{
	/* It was alone, and is answered behind its octets. */
	CHECK(d->work->count == 1);
	dialog_take_oldest(d->work);
	open_message(d);
	d->discard = d->discard_ends = d->chunk_void = false;
	chunk_starts(d, cmd);
}

bool dialog_chunk_is_too_big(const struct dialog *d, const struct smtp_command *cmd)
{
	uint64_t size = cmd->chunk_size + (d->message_open ? d->body_bytes : 0);

	return d->destination.size_max && size > d->destination.size_max;
}

/* As if the destination had refused it at its first octet: what it is in the middle of is not
 * completed. */
void dialog_chunk_too_big(struct dialog *d, const struct smtp_command *cmd)
{
	smtp_order_passed(&d->server, cmd);
	open_message(d);
	d->discard = d->chunk_void = false;
	dialog_discard_body(d, span_str(smtp_words(WORD_TOO_BIG)), false, dialog_size_reason(d));
	chunk_starts(d, cmd);
}

void dialog_chunk_refuse(struct dialog *d, const struct smtp_command *cmd, const char *reply)
{
	struct dialog_work *w = d->work;
	size_t n = strlen(reply);

	smtp_order_discards(&d->server);
	d->discard = d->chunk_void = true;
	memcpy(w->saved, reply, n);
	w->saved_len = (uint16_t)n;
	chunk_starts(d, cmd);
}

void dialog_chunk_look(struct dialog *d, struct span octets)
{
	/* Octets before them went by unseen: what these are is not known. */
	if (d->discard || d->looked != d->body_bytes)
		return;
	d->looked += octets.n;
	smtp_header_take(&d->header, octets, &d->work->letter.id);
}

void dialog_chunk(struct dialog *d, uint64_t n, uint64_t sent)
{
	CHECK(d->server.state == SMTP_ORDER_CHUNK && n <= d->chunk_left && sent <= n);
	d->chunk_left -= n;
	d->bytes += sent;
	d->body_bytes += sent;
	stats_count(d->env->stats, octets, sent);
	stats_count(d->at, octets, sent);
	if (d->chunk_left == 0 && d->end == END_RUNS)
		chunk_over(d);
}

bool dialog_chunk_leaves(const struct dialog *d)
{
	return d->chunked && d->server.state != SMTP_ORDER_CHUNK &&
	       smtp_owed_oldest(&d->destination) == SMTP_OWES_BODY;
}

bool dialog_chunk_awaits(const struct dialog *d)
{
	struct dialog_work *w = d->work;

	/* Nothing is passed on beside it, so it is the oldest. */
	return d->server.state == SMTP_ORDER_CHUNKED && w->count > 0 &&
	       dialog_oldest(w)->verb == SMTP_VERB_BDAT && dialog_oldest(w)->passed;
}

void dialog_chunk_answered(struct dialog *d, const struct smtp_reply *reply)
{
	if (reply->code / 100 != 2)
		dialog_record_message(d, reply->text);
}

void dialog_chunk_cut_off(struct dialog *d, struct span reply, bool ends, enum reason why)
{
	CHECK(dialog_chunk_awaits(d));
	dialog_take_oldest(d->work);
	smtp_order_answered(&d->server, SMTP_VERB_BDAT, 550);
	dialog_answer_untaken(d, reply, ends, why);
}
