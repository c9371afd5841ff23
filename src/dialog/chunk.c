/* SPDX-License-Identifier: ISC */
/*
 * The dialog's chunks: BDAT (RFC 3030), dialog.h. A chunk is passed on only when the destination
 * owes nothing: so it is known then whether anybody is left to receive it, its answer can only be
 * its own, and between its command and its last octet nothing else reaches either side.
 *
 * Its octets are the client's own. But a server that counts otherwise than we do is over its limit
 * in the middle of a chunk, and may take the rest for commands: Exim counts a CR on its own, in a
 * header, as two octets. So each newline that is none counts twice towards SIZE, and the octets are
 * looked at for it; but for those of a last chunk that would fit if each of them counted twice.
 *
 * While they come, a chunk is to the rest of the dialog what a DATA body is: a refusal before its
 * end, a 421, a destination that is lost close that connection (without LAST, so nothing is
 * delivered), the rest is thrown away by its number, and then comes the answer. A chunk that is not
 * passed on goes the same way, with the destination left as it is.
 */
#include "dialog/chunk.h"

#include "base/diag.h"
#include "dialog/inner.h"
#include "shared/stats.h"
#include "smtp/words.h"

/* The chunk's last octet has come. */
static void chunk_over(struct dialog *d)
{
	struct message *m = &d->message;

	smtp_order_chunk_done(&d->server, m->last);
	if (message_is_discarded(m)) {
		dialog_discard_over(d);
		return;
	}
	dialog_message_is_whole(d);
	if (!m->last)
		dialog_add_pending(d, SMTP_VERB_BDAT);
}

static void chunk_starts(struct dialog *d, const struct smtp_command *cmd)
{
	d->message.left = cmd->chunk_size;
	d->message.last = cmd->chunk_last;
	if (d->message.left == 0)
		chunk_over(d);
}

static void open_message(struct dialog *d)
{
	if (d->message.state == MESSAGE_NONE)
		dialog_message_begins(d, MESSAGE_BY_CHUNKS);
}

void dialog_chunk_begin(struct dialog *d, const struct smtp_command *cmd)
{
	/* It was alone, and is answered behind its octets. */
	CHECK(d->work->count == 1);
	dialog_take_oldest(d->work);
	open_message(d);
	chunk_starts(d, cmd);
}

/* A server may count a newline that is none as two octets. */
static uint64_t size_so_far(const struct message *m)
{
	return message_is_open(m) ? m->bytes + m->newlines.bare : 0;
}

static bool is_beyond(const struct dialog *d, uint64_t size)
{
	return d->destination.size_max && size > d->destination.size_max;
}

bool dialog_chunk_is_too_big(const struct dialog *d, const struct smtp_command *cmd)
{
	return is_beyond(d, size_so_far(&d->message) + cmd->chunk_size);
}

/* As if the destination had refused it at its first octet: what it is in the middle of is not
 * completed. */
void dialog_chunk_too_big(struct dialog *d, const struct smtp_command *cmd)
{
	smtp_order_passed(&d->server, cmd);
	open_message(d);
	dialog_discard_body(d, span_str(smtp_words(WORD_TOO_BIG)), false, dialog_size_reason(d));
	chunk_starts(d, cmd);
}

void dialog_chunk_refuse(struct dialog *d, const struct smtp_command *cmd, const char *reply)
{
	smtp_order_discards(&d->server);
	dialog_discard_chunk(d, reply);
	chunk_starts(d, cmd);
}

bool dialog_chunk_must_be_seen(const struct dialog *d)
{
	const struct message *m = &d->message;

	return m->looked == m->bytes && (!m->last || is_beyond(d, size_so_far(m) + 2 * m->left));
}

bool dialog_chunk_look(struct dialog *d, struct span octets)
{
	struct message *m = &d->message;
	bool ends = m->last && octets.n == m->left;

	/* Octets before them went by unseen: what these are is not known, and need not be. */
	if (message_is_discarded(m) || m->looked != m->bytes)
		return true;
	m->looked += octets.n;
	smtp_header_take(&m->header, octets, &d->work->letter.id);
	smtp_newlines_count(&m->newlines, octets);
	if (!is_beyond(d, size_so_far(m) + octets.n + (ends && m->newlines.cr)))
		return true;
	dialog_discard_body(d, span_str(smtp_words(WORD_TOO_BIG)), false, dialog_size_reason(d));
	return false;
}

void dialog_chunk(struct dialog *d, uint64_t n, uint64_t sent)
{
	CHECK(d->server.state == SMTP_ORDER_CHUNK && n <= d->message.left && sent <= n);
	d->message.left -= n;
	d->bytes += sent;
	d->message.bytes += sent;
	stats_count(d->env->stats, octets, sent);
	stats_count(d->at, octets, sent);
	if (d->message.left == 0 && d->end == END_RUNS)
		chunk_over(d);
}
