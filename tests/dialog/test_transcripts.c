/* SPDX-License-Identifier: ISC */
/*
 * Replays the transcripts beside this file (*.txt) against the whole dialog, without a socket. Each
 * is played three times: with the octets of one turn in one piece, one by one, and cut at random.
 *
 *   # text            a comment
 *   set NAME VALUE    before the first turn: networks, recipients, guard, normalize, max-errors,
 *                     max-header, delimiter, max-message, max-line (octets), client (an address);
 *                     recipients are separated by blanks
 *   C: line           the client sends the line and CR LF; lines that follow one another are one
 *                     turn
 *   C! octets         the same without CR LF; \r \n \0 \\ \xHH are understood
 *   D< line, D<! …    the destination sends
 *   S: line           the client receives exactly this line next
 *   D> line, D>! …    the destination receives exactly this next
 *   nothing           neither side receives anything now
 *   canonical         what the destination received are whole lines or parts of lines, no other
 *                     CR, LF or NUL, and no end of data; it is then forgotten
 *   dropped           the destination's connection is closed by now
 *   lost, slow        the destination's connection ends, or it is out of time
 *   closed, reset     the client's stream ends, or breaks
 *   idle              nothing is under way
 *   link STATE        where the destination's connection stands: APART, WANTED, FULL, REACHING,
 *                     GREETED, HELLO, TOGETHER, PARTING, CLOSING
 *   message STATE     where the message stands: NONE, COMING, DISCARDED, WHOLE, GIVEN
 *   set max-idle N    MAX_IDLE_COMMANDS; without it there is no such limit
 *   gate              the body's next line waits at the gate; it may go now
 *   set tls WHAT      clients are offered STARTTLS; login: AUTH needs it, required: all strangers
 *                     need it, offered: nobody does
 *   starttls          STARTTLS waits for quiet, and nothing more has come; injected: more has
 *   secured           the handshake is over
 *   tls-first         … before the greeting, at a port where TLS comes first
 *   set cut whole     this transcript is about octets that come together: it is played in one way
 *   set secret TEXT   this text never appears in the log
 *   set counted y     DATA_AS_BDAT: a body's octets stand for themselves, whatever chunks they come
 *                     in; at its end comes "BDAT SIZE LAST", with the message's size; the other
 *                     chunks are answered by themselves
 *   set counted chunks  … each chunk as it comes (with `set cut whole`), and no answer
 *   set gateway LINES the gateway dialog; LINES, parted by |, are what destinations offer:
 *                     set gateway PIPELINING|SIZE 1000
 *   set told HOW      whom the destination takes us for: ahead (it was told by a header), client,
 *                     forwards (by XFORWARD, of which a connection of the pool has offered ADDR)
 *   set received y    ADD_RECEIVED, at 1000000000 s
 *   connect           it gets a fresh connection; take LINES: one that was used before, whose EHLO
 *                     said so
 *   gives HOW         it has done with its connection: clean, begun (a transaction), closed
 *   logins N          so many attempts to log in are in the log by now
 *   login NAME        that is who has logged in ("-": nobody)
 *   record ELEMENT ATTRIBUTE TEXT  the last such record says this ("-": it has no such attribute)
 *   odd OCTETS        the destination has said this against the protocol; it is then forgotten
 *   unfit yes|no      it is of no use to any client
 *   end END [REASON]  the session ends by now, in this way ("runs": it goes on), for this reason
 *
 * At the end nothing may be left that was not expected, and each 4xx and 5xx that the client got
 * must have one record that says so at the log's default level (told.h).
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dialog/dialog.h"
#include "dialog/records.h"
#include "smtp/line.h"
#include "stands.h"
#include "told.h"
#include "xmllog/take.h"

#define RING_OCTETS (1 << 20)
#define MAX_OUT	    (1 << 20)

enum cut { CUT_WHOLE, CUT_OCTETS, CUT_RANDOM, CUTS };

struct octets {
	uint8_t *p;
	size_t n, cap;
};

struct play {
	const char *file;
	unsigned line;
	enum cut cut;
	unsigned seed;
	struct policy policy;
	struct dialog_env env;
	struct pool more;
	struct smtp_offer offer;
	struct xmllog log;
	struct dialog d;
	struct dialog_work work;
	bool started, at_gate;
	struct addr client;
	void *networks, *recipients;
	struct octets from_client, from_dest; /* what the dialog left for later */
	struct octets to_client, to_dest;     /* what it said and nobody expected yet */
	bool chunks;			      /* set counted chunks */
	enum dialog_told told;
	unsigned traced; /* transactions */
	uint8_t repaired[8192];
	struct xmllog_ring *ring;
	char secrets[4][64];
	unsigned secret_count;
};

static void add(struct octets *o, const void *p, size_t n)
{
	if (o->n + n > o->cap) {
		o->cap = (o->n + n) * 2 + 256;
		o->p = realloc(o->p, o->cap);
		assert_non_null(o->p);
	}
	if (n)
		memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void take(struct octets *o, size_t n)
{
	assert_true(n <= o->n);
	if (n < o->n)
		memmove(o->p, o->p + n, o->n - n);
	o->n -= n;
}

_Noreturn static void wrong(const struct play *p, const char *what, const struct octets *got,
			    const uint8_t *want, size_t want_n)
{
	static const char *const cuts[] = { "whole", "octet by octet", "cut at random" };

	fprintf(stderr, "%s:%u (%s): %s\n", p->file, p->line, cuts[p->cut], what);
	if (want)
		fprintf(stderr, "  wanted: %.*s\n", (int)want_n, (const char *)want);
	if (got)
		fprintf(stderr, "  at hand: %.*s\n", (int)got->n, (const char *)got->p);
	fail();
	abort();
}

/* ---- the session's part, without sockets ---- */

/* All octets of the message, or of the chunk, are with the destination. */
static void message_left(struct play *p)
{
	dialog_message_given(&p->d);
	dialog_message_reached(&p->d);
}

static void collect(struct play *p)
{
	struct span c = buf_span(&p->work.to_client), s = buf_span(&p->work.to_destination);

	if (!p->started)
		return;
	add(&p->to_client, c.p, c.n);
	buf_consume(&p->work.to_client, c.n);
	if (!link_closes(&p->d.link))
		add(&p->to_dest, s.p, s.n);
	buf_consume(&p->work.to_destination, s.n);
	dialog_flushed(&p->d, p->d.destination.unsent);
	if (dialog_chunk_leaves(&p->d))
		message_left(p);
}

static void move_chunk(struct play *p)
{
	size_t n =
		p->d.message.left < p->from_client.n ? (size_t)p->d.message.left : p->from_client.n;
	bool sent = !message_is_discarded(&p->d.message);

	if (n == 0) {
		if (p->d.client_closed)
			dialog_client_lost(&p->d);
		return;
	}
	sent = sent && dialog_chunk_look(&p->d, span_of(p->from_client.p, n));
	if (sent)
		add(&p->to_dest, p->from_client.p, n);
	take(&p->from_client, n);
	dialog_chunk(&p->d, n, sent ? n : 0);
}

/* A chunk of Caronte's own making. */
static void chunk_went(struct play *p)
{
	char text[64];

	if (dialog_in_body(&p->d)) {
		dialog_chunk_reached(&p->d);
		if (!p->chunks)
			add(&p->from_dest, "250 chunk\r\n", 11);
	} else if (!p->chunks) {
		snprintf(text, sizeof(text), "BDAT %llu LAST\r\n",
			 (unsigned long long)p->d.message.bytes);
		add(&p->to_dest, text, strlen(text));
	}
}

static void move_body(struct play *p)
{
	p->at_gate = p->at_gate && !message_is_discarded(&p->d.message);
	if (p->traced != p->d.transactions && dialog_in_body(&p->d) && !dialog_in_chunk(&p->d)) {
		p->traced = p->d.transactions;
		dialog_trace_at(&p->d, 1000000000);
	}
	while (dialog_in_body(&p->d) && p->from_client.n > 0 && !p->at_gate &&
	       !dialog_chunk_unanswered(&p->d)) {
		struct dialog_forward f;
		struct buf out;

		buf_init(&out, p->repaired, sizeof(p->repaired));
		dialog_body(&p->d, p->from_client.p, p->from_client.n, &out, false, &f);
		if (p->chunks)
			add(&p->to_dest, f.command, f.command_len);
		add(&p->to_dest, f.trace, f.trace_len);
		if (f.cr_first)
			add(&p->to_dest, "\r", 1);
		add(&p->to_dest, f.octets.p, f.octets.n);
		take(&p->from_client, f.consumed);
		p->at_gate = f.gate;
		if (f.command_len)
			chunk_went(p);
		if (!dialog_in_body(&p->d))
			message_left(p);
	}
}

/* What is lent is taken back whenever it may be, and comes again with other content. */
static void take_back(struct play *p)
{
	struct dialog_letter letter = p->work.letter;

	if (!p->started || p->work.odd_len || !dialog_rests(&p->d))
		return;
	memset(&p->work, 0xa5, sizeof(p->work));
	dialog_work_init(&p->work);
	if (!dialog_idle(&p->d))
		p->work.letter = letter;
}

static void settle(struct play *p)
{
	size_t before;

	do {
		before = p->from_client.n + p->from_dest.n;
		if (dialog_in_chunk(&p->d))
			move_chunk(p);
		else if (dialog_in_body(&p->d))
			move_body(p);
		else
			take(&p->from_client, dialog_from_client(&p->d, span_of(p->from_client.p,
										p->from_client.n)));
		collect(p);
		take(&p->from_dest,
		     dialog_from_destination(&p->d, span_of(p->from_dest.p, p->from_dest.n)));
		collect(p);
	} while (before != p->from_client.n + p->from_dest.n);
	if (p->d.client_closed && dialog_in_chunk(&p->d))
		move_chunk(p);
	else if (p->d.client_closed)
		take(&p->from_client,
		     dialog_from_client(&p->d, span_of(p->from_client.p, p->from_client.n)));
	collect(p);
	if (!stands(&p->d))
		wrong(p, message_state_name((enum message_state)p->d.message.state), NULL, NULL, 0);
	take_back(p);
}

static void give(struct play *p, struct octets *to, const uint8_t *in, size_t n)
{
	while (n > 0) {
		size_t now = p->cut == CUT_WHOLE    ? n
			     : p->cut == CUT_OCTETS ? 1
						    : 1 + (size_t)rand_r(&p->seed) % n;

		if (p->d.end == END_RUNS) {
			add(to, in, now);
			settle(p);
		}
		in += now;
		n -= now;
	}
}

/* ---- the transcript's lines ---- */

static void *image(size_t room)
{
	void *p = aligned_alloc(64, (room + 63) / 64 * 64);

	assert_non_null(p);
	memset(p, 0, (room + 63) / 64 * 64);
	return p;
}

static struct span one_a_line(char *list)
{
	for (char *c = list; *c; c++)
		if (*c == ' ')
			*c = '\n';
	return span_str(list);
}

struct no_faults {
	struct policy_faults faults;
};

static void report(struct policy_faults *f, unsigned line, const char *what)
{
	(void)f;
	fail_msg("fault in a transcript's table, line %u: %s", line, what);
}

/* An answer to EHLO with these lines, parted by |. */
static void read_offer(const struct play *p, const char *lines, struct smtp_offer *offer)
{
	char text[2048];
	size_t n = (size_t)snprintf(text, sizeof(text), "250-d.example\r\n250-%s\r\n", lines);
	size_t last = strlen("250-d.example\r\n"), consumed;
	struct smtp_reply reply;

	for (char *bar; (bar = strchr(text, '|')) != NULL; n += 5) {
		memmove(bar + 6, bar + 1, strlen(bar));
		memcpy(bar, "\r\n250-", 6);
		last = (size_t)(bar - text) + 2;
	}
	text[last + 3] = ' ';
	assert_int_equal(smtp_reply_parse(span_of(text, n), &reply, &consumed), SMTP_REPLY_OK);
	smtp_offer_read(offer, &reply);
	offer->size_max = smtp_size_bound(offer->size_max, p->env.message_max);
}

static void setting(struct play *p, char *name, char *value)
{
	struct policy_faults faults = { report };
	struct policy_faults *each = &faults;

	if (strcmp(name, "networks") == 0) {
		struct span text = one_a_line(value);
		size_t room = policy_networks_room(&text, 1);

		p->networks = image(room);
		assert_true(policy_networks_build(p->networks, room, &text, &each, 1) > 0);
		p->policy.networks = p->networks;
	} else if (strcmp(name, "recipients") == 0) {
		struct span text = one_a_line(value);
		size_t room = policy_recipients_room(text);

		p->recipients = image(room);
		assert_true(policy_recipients_build(p->recipients, room, text, &faults) > 0);
		p->policy.recipients = p->recipients;
	} else if (strcmp(name, "delimiter") == 0) {
		snprintf(p->policy.delimiters, sizeof(p->policy.delimiters), "%s", value);
	} else if (strcmp(name, "guard") == 0) {
		p->policy.guard = strcmp(value, "y") == 0;
	} else if (strcmp(name, "normalize") == 0) {
		p->env.normalize = strcmp(value, "y") == 0;
	} else if (strcmp(name, "max-header") == 0) {
		p->env.header_max = (uint64_t)atoi(value);
	} else if (strcmp(name, "max-message") == 0) {
		p->env.message_max = (uint64_t)atoi(value);
	} else if (strcmp(name, "max-line") == 0) {
		p->env.line_max = (uint64_t)atoi(value);
	} else if (strcmp(name, "counted") == 0) {
		p->env.data_as_bdat = true;
		p->chunks = strcmp(value, "chunks") == 0;
	} else if (strcmp(name, "tls") == 0) {
		p->env.starttls = true;
		p->env.tls_for_login = strcmp(value, "login") == 0;
		p->env.tls_required = strcmp(value, "required") == 0;
	} else if (strcmp(name, "max-errors") == 0) {
		p->env.max_errors = (unsigned)atoi(value);
	} else if (strcmp(name, "max-idle") == 0) {
		p->env.max_idle = (unsigned)atoi(value);
	} else if (strcmp(name, "gateway") == 0) {
		read_offer(p, value, &p->offer);
		p->env.offer = &p->offer;
		p->env.name = "proxy.example";
	} else if (strcmp(name, "told") == 0) {
		p->told = strcmp(value, "ahead") == 0	 ? DIALOG_TOLD_AHEAD
			  : strcmp(value, "client") == 0 ? DIALOG_TOLD
							 : DIALOG_FORWARDS;
	} else if (strcmp(name, "received") == 0) {
		p->env.add_received = true;
		p->env.name = "proxy.example";
	} else if (strcmp(name, "client") == 0) {
		assert_int_equal(addr_parse_ip(&p->client, value), 0);
	} else if (strcmp(name, "secret") == 0) {
		assert_true(p->secret_count < 4);
		snprintf(p->secrets[p->secret_count++], 64, "%s", value);
	} else if (strcmp(name, "cut") != 0) {
		wrong(p, "unknown setting", NULL, NULL, 0);
	}
}

static struct addr destination(void)
{
	struct addr dest;

	assert_int_equal(addr_parse_ip(&dest, "192.0.2.25"), 0);
	dest.port = 225;
	return dest;
}

static void start(struct play *p)
{
	struct xmllog_session id = { 1, 1 };
	struct addr dest = destination();

	if (p->started)
		return;
	p->started = true;
	dialog_work_init(&p->work);
	dialog_init(&p->d, &p->env, &p->client,
		    p->policy.networks && policy_networks_match(p->policy.networks, &p->client),
		    &id);
	p->d.work = &p->work;
	if (p->d.gateway.on) {
		dialog_gateway_greet(&p->d);
	} else {
		link_enter(&p->d, LINK_REACHING);
		dialog_note_told(&p->d, p->told);
		dialog_connected(&p->d, &dest);
	}
	collect(p);
}

static int hex(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static size_t unescape(const char *in, uint8_t *out)
{
	size_t n = 0;

	for (; *in; in++) {
		if (*in != '\\') {
			out[n++] = (uint8_t)*in;
			continue;
		}
		switch (*++in) {
		case 'r':
			out[n++] = '\r';
			break;
		case 'n':
			out[n++] = '\n';
			break;
		case '0':
			out[n++] = 0;
			break;
		case 'x':
			out[n++] = (uint8_t)(hex(in[1]) * 16 + hex(in[2]));
			in += 2;
			break;
		default:
			out[n++] = (uint8_t)*in;
		}
	}
	return n;
}

/* The octets that a line names: with CR LF, or (behind `!`) unescaped and without. */
static size_t line_octets(const char *text, bool raw, uint8_t *out)
{
	size_t n = raw ? unescape(text, out) : strlen(text);

	if (!raw) {
		memcpy(out, text, n);
		memcpy(out + n, "\r\n", 2);
		n += 2;
	}
	return n;
}

static void expect(struct play *p, struct octets *o, const uint8_t *want, size_t n, const char *who)
{
	if (o->n < n || memcmp(o->p, want, n) != 0)
		wrong(p, who, o, want, n);
	take(o, n);
}

static void check_canonical(struct play *p)
{
	struct smtp_eod eod = { 0 };
	struct octets *o = &p->to_dest;
	enum smtp_eod_result result;
	size_t scanned, safe, at = 0;
	bool cr_first;

	do {
		result = smtp_eod_scan_plain(&eod, span_of(o->p + at, o->n - at), &scanned, &safe,
					     &cr_first);
		at += safe;
		smtp_gate_open(&eod.gate);
	} while (result == SMTP_EOD_GATE);
	if (result != SMTP_EOD_MORE || at != o->n)
		wrong(p, "the destination received more than canonical text", o, NULL, 0);
	o->n = 0;
}

/* Reads the log so far: how many records of ELEMENT it has, and that no secret is in it. */
static unsigned read_log(struct play *p, enum xmllog_element element)
{
	struct take t;
	struct record r;
	unsigned n = 0;

	assert_int_equal(take_open(&t, &p->ring, 1), 0);
	take_begin(&t);
	while (take_next(&t, &r)) {
		n += r.element == element;
		for (size_t i = 0; i < r.attrs; i++)
			for (unsigned k = 0; k < p->secret_count; k++)
				if (r.attr[i].kind == KIND_TEXT &&
				    memmem(r.attr[i].text.p, r.attr[i].text.n, p->secrets[k],
					   strlen(p->secrets[k])))
					wrong(p, "a secret is in the log", NULL, r.attr[i].text.p,
					      r.attr[i].text.n);
	}
	take_close(&t);
	return n;
}

/* The connection is the owner's now: clean, begun or closed; it takes it away. */
static void check_gives(struct play *p, const char *how)
{
	static const char *const ways[] = { "closed", "clean", "begun" };
	struct dialog *d = &p->d;
	const char *is = d->link.state == LINK_PARTING ? ways[d->link.parting] : "nothing";

	if (strcmp(is, how) != 0)
		wrong(p, is, NULL, (const uint8_t *)how, strlen(how));
	if (d->link.parting != LINK_CLOSES)
		assert_true(dialog_gateway_clean(d));
	p->from_dest.n = 0;
	dialog_gateway_parted(d);
	settle(p);
}

/* The lines about the gateway dialog's connections; false: it is another one. */
static bool check_connection(struct play *p, const char *word, const char *arg)
{
	struct dialog *d = &p->d;
	struct addr dest = destination();
	struct smtp_offer offer;

	if (strcmp(word, "connect") == 0) {
		link_enter(d, LINK_REACHING);
		dialog_note_told(d, p->told);
		dialog_gateway_connected(d, &dest);
	} else if (strcmp(word, "take") == 0) {
		read_offer(p, arg, &offer);
		assert_int_not_equal(d->link.kind, LINK_FRESH);
		link_enter(d, LINK_REACHING);
		dialog_note_told(d, p->told);
		dialog_gateway_taken(d, &dest,
				     &(struct smtp_owed){ .ext = offer.ext,
							  .size_max = offer.size_max,
							  .mechanisms = offer.login,
							  .forward = SMTP_ATTRIBUTE_ADDR },
				     0);
	} else if (strcmp(word, "gives") == 0) {
		check_gives(p, arg);
	} else {
		return false;
	}
	settle(p);
	return true;
}

/* The lines about TLS; false: it is another one. */
static bool check_tls(struct play *p, const char *word)
{
	struct dialog_secure how = { .version = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384" };
	struct dialog *d = &p->d;
	bool begins = strcmp(word, "starttls") == 0, injected = strcmp(word, "injected") == 0;

	if (strcmp(word, "tls-first") == 0) {
		dialog_tls_comes_first(d);
		how.first = true;
		dialog_tls_done(d, &how);
	} else if (strcmp(word, "secured") == 0 && d->tls == DIALOG_SHAKING)
		dialog_tls_done(d, &how);
	else if ((begins || injected) && !dialog_tls_is_asked(d))
		wrong(p, "STARTTLS waits for nothing", NULL, NULL, 0);
	else if (begins)
		dialog_tls_begins(d);
	else if (injected)
		dialog_tls_injected(d);
	else
		return false;
	settle(p);
	return true;
}

static void check_word(struct play *p, const char *word, const char *arg)
{
	struct dialog *d = &p->d;

	if (check_connection(p, word, arg) || check_tls(p, word))
		return;
	if (strcmp(word, "nothing") == 0) {
		if (p->to_client.n)
			wrong(p, "the client received something", &p->to_client, NULL, 0);
		if (p->to_dest.n)
			wrong(p, "the destination received something", &p->to_dest, NULL, 0);
	} else if (strcmp(word, "canonical") == 0) {
		check_canonical(p);
	} else if (strcmp(word, "dropped") == 0) {
		if (link_talks(&d->link))
			wrong(p, "the destination is still connected", NULL, NULL, 0);
	} else if (strcmp(word, "lost") == 0 || strcmp(word, "slow") == 0) {
		dialog_destination_lost(d, *word == 's');
		collect(p);
	} else if (strcmp(word, "closed") == 0) {
		dialog_client_closed(d);
		settle(p);
	} else if (strcmp(word, "reset") == 0) {
		dialog_client_lost(d);
		settle(p);
	} else if (strcmp(word, "idle") == 0) {
		if (!dialog_idle(d))
			wrong(p, "something is under way", NULL, NULL, 0);
	} else if (strcmp(word, "link") == 0) {
		const char *is = link_state_name((enum link_state)d->link.state);

		if (strcmp(is, arg) != 0)
			wrong(p, is, NULL, (const uint8_t *)arg, strlen(arg));
	} else if (strcmp(word, "message") == 0) {
		const char *is = message_state_name((enum message_state)d->message.state);

		if (strcmp(is, arg) != 0)
			wrong(p, is, NULL, (const uint8_t *)arg, strlen(arg));
	} else if (strcmp(word, "gate") == 0) {
		if (!p->at_gate)
			wrong(p, "nothing waits at the gate", NULL, NULL, 0);
		p->at_gate = false;
		dialog_gate_open(d);
		settle(p);
	} else if (strcmp(word, "logins") == 0) {
		if (read_log(p, XMLLOG_LOGIN) != (unsigned)atoi(arg))
			wrong(p, "the log has another number of login records", NULL, NULL, 0);
	} else if (strcmp(word, "login") == 0) {
		if (strcmp(*dialog_login(d) ? dialog_login(d) : "-", arg) != 0 ||
		    d->server.logged_in != (strcmp(arg, "-") != 0))
			wrong(p, "somebody else has logged in", NULL, (const uint8_t *)arg,
			      strlen(arg));
	} else if (strcmp(word, "record") == 0) {
		char what[512];

		if (!told_record(p->ring, arg, what))
			wrong(p, what, NULL, NULL, 0);
	} else if (strcmp(word, "odd") == 0) {
		uint8_t want[DIALOG_ODD_MAX * 2];
		struct octets odd = { p->work.odd, p->work.odd_len, 0 };
		size_t n = unescape(arg, want);

		/* Where octets come one by one, the first that are wrong are enough. */
		if (odd.n == 0 || odd.n > n || memcmp(odd.p, want, odd.n) != 0 ||
		    (p->cut == CUT_WHOLE && odd.n != n))
			wrong(p, "the destination has said something else", &odd, want, n);
		p->work.odd_len = 0;
	} else if (strcmp(word, "unfit") == 0) {
		if (p->work.unfit != (strcmp(arg, "yes") == 0))
			wrong(p, "whether it is of use", NULL, (const uint8_t *)arg, strlen(arg));
	} else if (strcmp(word, "end") == 0) {
		char is[64];

		snprintf(is, sizeof(is), "%s%s%s",
			 d->end == END_RUNS ? "runs" : session_end_name(d->end),
			 d->reason ? " " : "", reason_name(d->reason));
		if (strcmp(is, arg) != 0)
			wrong(p, is, NULL, (const uint8_t *)arg, strlen(arg));
	} else {
		wrong(p, "unknown line", NULL, NULL, 0);
	}
}

/* Lines that begin alike and send are gathered into one turn. */
static void play_line(struct play *p, char *line, struct octets *turn, char *turn_of)
{
	static const char *const sends[] = { "C: ", "C! ", "D< ", "D<! ", NULL };
	uint8_t out[SMTP_AUTH_LINE_MAX * 2];
	char kind = 0;
	size_t skip = 0;

	for (int i = 0; line && sends[i]; i++)
		if (strncmp(line, sends[i], strlen(sends[i])) == 0) {
			kind = sends[i][0];
			skip = strlen(sends[i]);
		}
	if (turn->n && kind != *turn_of) {
		give(p, *turn_of == 'C' ? &p->from_client : &p->from_dest, turn->p, turn->n);
		turn->n = 0;
	}
	*turn_of = kind;
	if (!line)
		return;
	if (kind) {
		start(p);
		add(turn, out, line_octets(line + skip, strchr("!", line[skip - 2]) != NULL, out));
	} else if (strncmp(line, "set ", 4) == 0) {
		char *value = strchr(line + 4, ' ');

		assert_non_null(value);
		*value++ = '\0';
		setting(p, line + 4, value);
	} else if (strncmp(line, "S: ", 3) == 0) {
		start(p);
		expect(p, &p->to_client, out, line_octets(line + 3, false, out), "the client");
	} else if (strncmp(line, "D> ", 3) == 0) {
		expect(p, &p->to_dest, out, line_octets(line + 3, false, out), "the destination");
	} else if (strncmp(line, "D>! ", 4) == 0) {
		expect(p, &p->to_dest, out, line_octets(line + 4, true, out), "the destination");
	} else {
		char *arg = strchr(line, ' ');

		start(p);
		if (arg)
			*arg++ = '\0';
		check_word(p, line, arg ? arg : "");
	}
}

/* Whatever the client was refused, the log says it, once. */
static void check_told(struct play *p)
{
	char what[512];

	if (!p->started)
		return;
	record_session(&p->d, 0);
	if (!told(p->ring, what))
		wrong(p, what, NULL, NULL, 0);
}

static void play_file(const char *path, enum cut cut, unsigned seed)
{
	struct play *p = calloc(1, sizeof(*p));
	void *ring = image(xmllog_ring_room(RING_OCTETS));
	FILE *f = fopen(path, "r");
	struct octets turn = { 0 };
	char turn_of = 0;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	assert_non_null(p);
	assert_non_null(f);
	p->file = path;
	p->cut = cut;
	p->seed = seed;
	p->policy.guard = true;
	p->env = (struct dialog_env){ .policy = &p->policy, .log = &p->log, .more = &p->more };
	assert_int_equal(pool_init(&p->more, sizeof(struct dialog_more), 1), 0);
	p->ring = ring;
	xmllog_ring_init(ring, RING_OCTETS);
	xmllog_open(&p->log, ring, -1, 3);
	assert_int_equal(addr_parse_ip(&p->client, "198.51.100.7"), 0);
	while ((n = getline(&line, &cap, f)) >= 0) {
		p->line++;
		if (n > 0 && line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (strcmp(line, "set cut whole") == 0 && cut != CUT_WHOLE)
			break;
		if (line[0] != '#' && line[0] != '\0')
			play_line(p, line, &turn, &turn_of);
	}
	play_line(p, NULL, &turn, &turn_of);
	check_word(p, "nothing", "");
	read_log(p, XMLLOG_LOGIN);
	check_told(p);
	fclose(f);
	free(line);
	free(turn.p);
	free(p->from_client.p);
	free(p->from_dest.p);
	free(p->to_client.p);
	free(p->to_dest.p);
	free(p->networks);
	free(p->recipients);
	free(ring);
	dialog_release(&p->d);
	assert_int_equal(p->more.in_use, 0);
	pool_destroy(&p->more);
	free(p);
}

static void replay(void **state)
{
	const char *path = *state;

	play_file(path, CUT_WHOLE, 0);
	play_file(path, CUT_OCTETS, 0);
	for (unsigned seed = 1; seed <= 20; seed++)
		play_file(path, CUT_RANDOM, seed);
}

static int is_transcript(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > 4 && strcmp(e->d_name + n - 4, ".txt") == 0;
}

int main(void)
{
	const char *dir = "tests/dialog";
	struct dirent **names;
	int n = scandir(dir, &names, is_transcript, alphasort);
	struct CMUnitTest *tests = calloc((size_t)(n > 0 ? n : 1), sizeof(*tests));

	if (n <= 0 || !tests) {
		fprintf(stderr, "no transcripts in %s: run this from the top of the tree\n", dir);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char *path = malloc(512);

		snprintf(path, 512, "%s/%s", dir, names[i]->d_name);
		tests[i] = (struct CMUnitTest){ names[i]->d_name, replay, NULL, NULL, path };
	}
	int res = _cmocka_run_group_tests("dialog", tests, (size_t)n, NULL, NULL);

	for (int i = 0; i < n; i++) {
		free(tests[i].initial_state);
		free(names[i]);
	}
	free(names);
	free(tests);
	return res;
}
