/* SPDX-License-Identifier: ISC */
/*
 * The octets of a message that comes by DATA, on their way to the destination: by DATA, or in
 * chunks of our own making (body.h). Chunks that the client makes are in chunk.c.
 */
#include "dialog/body.h"

#include <stdio.h>

#include "base/diag.h"
#include "dialog/inner.h"
#include "dialog/records.h"
#include "shared/stats.h"
#include "smtp/repair.h"
#include "smtp/words.h"

#define CLOSING 3 /* octets of the dot line behind a message */

/* ---- one that goes on in chunks ---- */

bool dialog_is_counted(const struct dialog *d)
{
	const struct dialog_gateway *g = &d->gateway;
	uint32_t ext =
		g->on && d->link.state != LINK_TOGETHER ? d->env->offer->ext : d->destination.ext;

	return d->env->data_as_bdat && (ext & SMTP_EXT_CHUNKING);
}

void dialog_counted_begin(struct dialog *d, const struct smtp_command *cmd)
{
	smtp_order_passed(&d->server, cmd);
	smtp_order_answered(&d->server, SMTP_VERB_DATA, 354);
	CHECK(d->server.state == SMTP_ORDER_BODY); /* it waited until a recipient was accepted */
	smtp_owed_body_begun(&d->destination);
	dialog_message_begins(d, MESSAGE_COUNTED);
	dialog_go_ahead(d, span_str(smtp_words(WORD_GO_AHEAD)));
}

/* ---- its octets ---- */

/* A CR that was held back goes before the octets. */
static bool lines_fit(struct dialog *d, struct span octets, bool cr_first)
{
	uint64_t max = d->env->line_max;

	return !max || ((!cr_first || smtp_text_fits(&d->message.text, SPAN("\r"), max)) &&
			smtp_text_fits(&d->message.text, octets, max));
}

/*
 * What is too big for the destination does not reach it. One that gives up a message in the middle
 * of a line may take the next octet for the beginning of one (Exim does: at its header_maxsize and
 * its message_size_limit; hMailServer does after 100,000 octets of a line): then a dot ends the
 * message there and is text here. NULL or the refusal. Dots that stuff lines count too.
 *
 * A counted body needs this as much: Exim at its message_size_limit has read one octet too many of
 * the next chunk, and then takes the rest of that for commands.
 */
static const char *too_big(struct dialog *d, struct span octets, bool cr_first, bool ends,
			   enum reason *why)
{
	uint64_t size = d->message.bytes + (cr_first ? 1 : 0) + octets.n, header = d->message.bytes;
	/* A dot that begins a line may turn out to be the closing one. */
	unsigned closing = d->message.way == MESSAGE_COUNTED ? 0 : ends ? CLOSING : 1;

	*why = dialog_size_reason(d);
	if (d->destination.size_max && size > closing && size - closing > d->destination.size_max)
		return smtp_words(WORD_TOO_BIG);
	*why = REASON_MAX_LINE;
	if (!lines_fit(d, octets, cr_first))
		return smtp_words(WORD_LINE);
	*why = REASON_MAX_HEADER;
	if (d->message.header.over)
		return NULL;
	if (cr_first)
		header += smtp_header_take(&d->message.header, SPAN("\r"), &d->work->letter.id);
	header += smtp_header_take(&d->message.header, octets, &d->work->letter.id);
	return d->env->header_max && header > d->env->header_max ? smtp_words(WORD_HEADER) : NULL;
}

static void forward(struct dialog *d, struct span octets, bool cr_first, bool spliced,
		    struct dialog_forward *out)
{
	size_t n = octets.n + (cr_first ? 1 : 0);

	d->bytes += n;
	d->message.bytes += n;
	if (n == 0)
		return;
	stats_count(d->env->stats, octets, n);
	stats_count(d->at, octets, n);
	out->cr_first = cr_first;
	out->octets = octets;
	d->message.moved |= spliced ? MESSAGE_SPLICED : MESSAGE_COPIED;
}

/* Why the message may not go on, whose next OCTETS the scanner let through with RESULT; or NULL. */
static const char *too_much(struct dialog *d, struct span octets, bool cr_first,
			    enum smtp_eod_result result, enum reason *why)
{
	if (result == SMTP_EOD_GATE && d->message.gates == DIALOG_GATES_MAX) {
		*why = REASON_MAIL_LINES;
		return smtp_words(WORD_GATES);
	}
	return too_big(d, octets, cr_first, result == SMTP_EOD_END, why);
}

/* The message is complete. */
static void end_of_data(struct dialog *d)
{
	struct message *m = &d->message;

	smtp_order_body_done(&d->server);
	if (message_is_discarded(m)) {
		dialog_discard_over(d);
		return;
	}
	if (m->way != MESSAGE_COUNTED) {
		d->bytes -= CLOSING; /* it is no part of it */
		m->bytes -= CLOSING;
	}
	dialog_message_is_whole(d);
}

static void open_gate(struct dialog *d)
{
	smtp_gate_open(d->env->normalize ? &d->message.repair.gate : &d->message.eod.gate);
}

void dialog_gate_open(struct dialog *d)
{
	d->message.gates++;
	open_gate(d);
}

/* Scans N octets at P. OUT gets those that may go on; with NORMALIZE they lie in REPAIRED. */
static enum smtp_eod_result scan(struct dialog *d, uint8_t *p, size_t n, struct buf *repaired,
				 struct dialog_forward *out)
{
	enum smtp_eod_result result;
	size_t safe = 0;

	if (d->env->normalize) {
		buf_clear(repaired);
		result = smtp_repair(&d->message.repair, span_of(p, n), &out->consumed, repaired);
		out->octets = buf_span(repaired);
	} else {
		result = smtp_eod_scan(&d->message.eod, span_of(p, n), &out->consumed, &safe,
				       &out->cr_first);
		out->octets = span_of(p, safe);
	}
	return result;
}

/* Repairs octets of a counted body, none of whose lines waits at the gate. */
static enum smtp_eod_result repair_counted(struct dialog *d, struct span in, size_t *consumed,
					   struct buf *repaired)
{
	enum smtp_eod_result result;

	buf_clear(repaired);
	*consumed = 0;
	do {
		size_t n;

		result = smtp_repair(&d->message.repair, span_from(in, *consumed), &n, repaired);
		*consumed += n;
		if (result == SMTP_EOD_GATE)
			smtp_gate_open(&d->message.repair.gate);
	} while (result == SMTP_EOD_GATE);
	return result;
}

/* The same for a counted body, whose stuffed dots are taken off. */
static enum smtp_eod_result scan_counted(struct dialog *d, uint8_t *p, size_t n,
					 struct buf *repaired, struct dialog_forward *out)
{
	enum smtp_eod_result result;
	struct smtp_unstuffed found;

	if (d->env->normalize) {
		result = repair_counted(d, span_of(p, n), &out->consumed, repaired);
		p = repaired->data + repaired->head;
		n = buf_len(repaired);
		/* What was repaired has the same end, and no bare newline. */
		CHECK(smtp_eod_unstuff(&d->message.eod, p, n, &found) == result);
	} else {
		result = smtp_eod_unstuff(&d->message.eod, p, n, &found);
		out->consumed = found.scanned;
	}
	out->octets = span_of(p, found.octets);
	out->cr_first = found.cr_first;
	out->changed = found.changed;
	return result;
}

/* The command of a chunk of our own. */
static void begin_chunk(struct dialog *d, struct dialog_forward *out, bool last)
{
	size_t n = out->octets.n + (out->cr_first ? 1 : 0) + out->trace_len;
	int len;

	if (n == 0 && !last)
		return;
	len = snprintf(out->command, sizeof(out->command), "BDAT %zu%s\r\n", n,
		       last ? " LAST" : "");
	CHECK(len > 0 && (size_t)len < sizeof(out->command));
	out->command_len = (uint8_t)len;
	record_given(d, span_of(out->command, (size_t)len - 2), (size_t)len - 2);
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* Whether OCTETS, the first ones, would be taken for more of the line before them: a blank, or one
 * behind a stuffed dot, perhaps the next octet. */
static bool goes_on_line(const struct dialog *d, struct span octets)
{
	bool stuffed = d->message.way != MESSAGE_COUNTED;

	if (octets.n == 0)
		return false;
	return is_blank(octets.p[0]) ||
	       (stuffed && octets.p[0] == '.' && (octets.n == 1 || is_blank(octets.p[1])));
}

/* The first octets of a message go on: behind its trace, which counts as its header. */
static void begin_with_trace(struct dialog *d, struct span octets, bool cr_first,
			     enum smtp_eod_result result, struct dialog_forward *out)
{
	if (octets.n == 0 && !cr_first && result != SMTP_EOD_END)
		return;
	out->trace_len = (uint16_t)dialog_trace(d, goes_on_line(d, octets), out->trace);
	d->message.bytes += out->trace_len;
	d->bytes += out->trace_len;
}

/* OCTETS, which the scanner let through with RESULT, go on, unless that is too much. */
static void pass_on(struct dialog *d, struct span octets, bool cr_first,
		    enum smtp_eod_result result, bool spliced, struct dialog_forward *out)
{
	const char *refusal;
	enum reason why;

	begin_with_trace(d, octets, cr_first, result, out);
	refusal = too_much(d, octets, cr_first, result, &why);
	if (refusal) {
		out->trace_len = 0;
		dialog_discard_body(d, span_str(refusal), false, why);
		return;
	}
	forward(d, octets, cr_first, spliced, out);
	if (d->message.way == MESSAGE_COUNTED)
		begin_chunk(d, out, result == SMTP_EOD_END);
}

void dialog_body(struct dialog *d, uint8_t *p, size_t n, struct buf *repaired, bool spliced,
		 struct dialog_forward *out)
{
	enum smtp_eod_result result;
	struct span octets;
	bool cr_first;

	memset(out, 0, offsetof(struct dialog_forward, trace));
	result = d->message.way == MESSAGE_COUNTED ? scan_counted(d, p, n, repaired, out)
						   : scan(d, p, n, repaired, out);
	octets = out->octets;
	cr_first = out->cr_first;
	out->octets = (struct span){ 0 };
	out->cr_first = false;
	if (!message_is_discarded(&d->message) && result != SMTP_EOD_BARE)
		pass_on(d, octets, cr_first, result, spliced, out);
	switch (result) {
	case SMTP_EOD_MORE:
		break;
	case SMTP_EOD_END:
		end_of_data(d);
		break;
	case SMTP_EOD_GATE:
		if (message_is_discarded(&d->message))
			open_gate(d); /* nothing goes on that could be taken for a command */
		else
			out->gate = true;
		break;
	case SMTP_EOD_BARE:
		*out = (struct dialog_forward){ .consumed = n };
		smtp_order_body_done(&d->server);
		dialog_close(d, smtp_words(WORD_BARE), END_PROTOCOL, REASON_BARE_NEWLINE);
		break;
	}
}

void dialog_chunk_reached(struct dialog *d)
{
	smtp_owed_chunk_reached(&d->destination);
}

bool dialog_chunk_unanswered(const struct dialog *d)
{
	return dialog_counts(d) && d->destination.count > 1;
}
