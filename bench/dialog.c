/* SPDX-License-Identifier: ISC */
/*
 * dialog: the client's side of RFC 5321, 2920 and 3030, as two switches: what is said at each step,
 * and what must be answered. Without pipelining a command waits for the answer to the one before
 * it; with it, MAIL, RCPT and DATA leave together, and so do MAIL, RCPT and chunks. QUIT and RSET
 * always wait. A reply that was not expected closes the connection: nothing is repaired.
 */
#include "inner.h"

#include <err.h>
#include <stdarg.h>
#include <string.h>
#include <sysexits.h>

#include "smtp/reply.h"

static void want(struct load_connection *c, enum load_reply reply)
{
	CHECK(c->want_count < LOAD_WANTS);
	c->wants[c->want_count++] = (uint8_t)reply;
}

static void add(struct load_connection *c, const void *p, size_t n)
{
	CHECK(c->piece_count < LOAD_PIECES);
	c->pieces[c->piece_count++] = (struct iovec){ (void *)p, n };
}

__attribute__((format(printf, 3, 4))) static void say(struct load_connection *c,
						      enum load_reply reply, const char *fmt, ...)
{
	size_t room = LOAD_TEXT - c->text_used;
	char *at = c->text + c->text_used;
	struct iovec *last;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(at, room, fmt, ap);
	va_end(ap);
	CHECK(n > 0 && (size_t)n < room); /* options.c bounds what stands in a command */
	c->text_used += (size_t)n;
	want(c, reply);
	last = c->piece_count ? &c->pieces[c->piece_count - 1] : NULL;
	if (last && (char *)last->iov_base + last->iov_len == at)
		last->iov_len += (size_t)n;
	else
		add(c, at, (size_t)n);
}

void load_dialog_begin(struct load_connection *c)
{
	c->want_count = c->piece_at = c->piece_count = 0;
	c->text_used = 0;
	c->step = LOAD_NOTHING;
	c->up = c->pipelining = c->dirty = false;
	buf_init(&c->in, c->in_mem, sizeof(c->in_mem));
	want(c, LOAD_WANT_GREETING);
}

void load_dialog_message(struct load_connection *c)
{
	c->step = c->dirty ? LOAD_RSET : LOAD_MAIL;
}

void load_dialog_quit(struct load_connection *c)
{
	c->step = LOAD_QUIT;
}

static void add_content(struct load_connection *c, uint32_t from, uint32_t n)
{
	uint32_t head = from < LOAD_HEAD ? LOAD_HEAD - from : 0;

	if (head > n)
		head = n;
	if (head)
		add(c, c->head + from, head);
	if (n > head)
		add(c, c->body->content.p + (from + head - LOAD_HEAD), n - head);
}

static void say_chunk(struct load_connection *c)
{
	uint32_t left = c->body->octets - c->chunked;
	uint32_t n = c->load->opt->chunk && c->load->opt->chunk < left ? c->load->opt->chunk : left;

	say(c, n == left ? LOAD_WANT_END : LOAD_WANT_CHUNK, "BDAT %u%s\r\n", n,
	    n == left ? " LAST" : "");
	add_content(c, c->chunked, n);
	c->chunked += n;
	if (n == left)
		c->step = LOAD_NOTHING;
}

/* Whether the step may be taken while so many replies are outstanding. */
static bool may_say(const struct load_connection *c)
{
	switch (c->step) {
	case LOAD_NOTHING:
		return false;
	case LOAD_RCPT:
	case LOAD_DATA:
		return c->want_count == 0 || c->pipelining;
	case LOAD_CHUNK:
		return c->want_count == 0 || (c->pipelining && c->want_count < LOAD_WANTS &&
					      c->piece_count + 3 <= LOAD_PIECES);
	default:
		return c->want_count == 0;
	}
}

static void say_alone(struct load_connection *c, enum load_reply reply, const char *verb)
{
	say(c, reply, "%s\r\n", verb);
	c->step = LOAD_NOTHING;
}

static void say_step(struct load_connection *c)
{
	const struct load_options *o = c->load->opt;

	switch (c->step) {
	case LOAD_NOTHING:
		break;
	case LOAD_EHLO:
		say(c, LOAD_WANT_EHLO, "EHLO %s\r\n", o->helo);
		c->step = LOAD_NOTHING;
		break;
	case LOAD_SAY_STARTTLS:
		say_alone(c, LOAD_WANT_STARTTLS, "STARTTLS");
		break;
	case LOAD_MAIL:
		say(c, LOAD_WANT_MAIL, "MAIL FROM:<%s>\r\n", o->sender);
		c->step = LOAD_RCPT;
		break;
	case LOAD_RCPT:
		say(c, LOAD_WANT_RCPT, "RCPT TO:<%s>\r\n", o->recipient);
		c->step = o->refused ? LOAD_NOTHING : o->bdat ? LOAD_CHUNK : LOAD_DATA;
		break;
	case LOAD_DATA:
		say_alone(c, LOAD_WANT_DATA, "DATA");
		break;
	case LOAD_BODY:
		add(c, c->head, LOAD_HEAD);
		add(c, c->body->wire.p, c->body->wire.n);
		want(c, LOAD_WANT_END);
		c->step = LOAD_NOTHING;
		break;
	case LOAD_CHUNK:
		say_chunk(c);
		break;
	case LOAD_RSET:
		say_alone(c, LOAD_WANT_RSET, "RSET");
		break;
	case LOAD_QUIT:
		say_alone(c, LOAD_WANT_QUIT, "QUIT");
		break;
	}
}

bool load_dialog_say(struct load_connection *c)
{
	c->piece_at = c->piece_count = 0;
	c->text_used = 0;
	while (may_say(c))
		say_step(c);
	return c->piece_count > 0;
}

static void failed(struct load_connection *c)
{
	if (c->carries)
		c->load->figures.failed++;
	c->carries = false;
}

void load_dialog_fail(struct load_connection *c, enum load_trouble why)
{
	/* The end of a connection that had nothing more to say is no trouble. */
	if (!c->carries && c->want_count == 0 && !c->load->opt->idle)
		return;
	if (why == LOAD_LOST && c->want_count == 1 && c->wants[0] == LOAD_WANT_QUIT)
		why = LOAD_NO_221;
	c->load->figures.troubles[why]++;
	failed(c);
}

static void message_over(struct load_connection *c, bool refused)
{
	struct load *l = c->load;
	struct load_figures *g = &l->figures;

	if (refused)
		g->refused++;
	else
		g->octets += c->body->octets;
	g->done++;
	g->ended_us = load_clock_us();
	load_histogram_add(&g->latency, g->ended_us - c->began_us);
	if (l->acknowledged && !refused)
		l->acknowledged[c->number / 8] |= (uint8_t)(1u << (c->number % 8));
	c->carries = false;
	c->dirty = refused;
	if (load_take(c))
		load_dialog_message(c);
	else
		load_wait(c);
}

static bool offers(const struct smtp_reply *r, struct span keyword)
{
	struct span line;
	size_t at = 0;

	while (smtp_reply_line(r, &at, &line))
		if (span_starts_nocase(line, keyword) &&
		    (line.n == keyword.n || line.p[keyword.n] == ' '))
			return true;
	return false;
}

/* The server does not offer what the load needs: no further message begins. */
static enum load_verdict not_offered(struct load_connection *c)
{
	c->load->figures.troubles[LOAD_NOT_OFFERED]++;
	c->load->stop = true;
	failed(c);
	c->step = LOAD_QUIT;
	return LOAD_GO_ON;
}

static enum load_verdict on_ehlo(struct load_connection *c, const struct smtp_reply *r)
{
	const struct load_options *o = c->load->opt;

	if (o->tls == LOAD_STARTTLS && !c->ssl) {
		if (!offers(r, SPAN("STARTTLS")))
			return not_offered(c);
		c->step = LOAD_SAY_STARTTLS;
		return LOAD_GO_ON;
	}
	c->up = true;
	if (o->idle) {
		load_idle(c);
		return LOAD_GO_ON;
	}
	if (o->bdat && !offers(r, SPAN("CHUNKING")))
		return not_offered(c);
	c->pipelining = o->pipelining && offers(r, SPAN("PIPELINING"));
	c->step = LOAD_MAIL;
	return LOAD_GO_ON;
}

/* What must be answered. */
static unsigned expected(const struct load_connection *c, enum load_reply w)
{
	static const uint16_t codes[] = {
		[LOAD_WANT_GREETING] = 220, [LOAD_WANT_EHLO] = 250,  [LOAD_WANT_MAIL] = 250,
		[LOAD_WANT_STARTTLS] = 220, [LOAD_WANT_RCPT] = 250,  [LOAD_WANT_DATA] = 354,
		[LOAD_WANT_END] = 250,	    [LOAD_WANT_CHUNK] = 250, [LOAD_WANT_RSET] = 250,
		[LOAD_WANT_QUIT] = 221,
	};

	return w == LOAD_WANT_RCPT && c->load->opt->refused ? 550 : codes[w];
}

static enum load_verdict on_reply(struct load_connection *c, enum load_reply w,
				  const struct smtp_reply *r)
{
	if (r->code != expected(c, w)) {
		c->load->figures.replies[r->code]++;
		failed(c);
		return LOAD_CLOSE;
	}
	switch (w) {
	case LOAD_WANT_GREETING:
		c->step = LOAD_EHLO;
		return LOAD_GO_ON;
	case LOAD_WANT_EHLO:
		return on_ehlo(c, r);
	case LOAD_WANT_STARTTLS:
		load_secure_begin(c);
		c->step = LOAD_EHLO;
		return LOAD_GO_ON;
	case LOAD_WANT_RCPT:
		if (c->load->opt->refused)
			message_over(c, true);
		return LOAD_GO_ON;
	case LOAD_WANT_DATA:
		c->step = LOAD_BODY;
		return LOAD_GO_ON;
	case LOAD_WANT_END:
		message_over(c, false);
		return LOAD_GO_ON;
	case LOAD_WANT_RSET:
		c->dirty = false;
		c->step = LOAD_MAIL;
		return LOAD_GO_ON;
	default:
		return LOAD_GO_ON;
	}
}

enum load_verdict load_dialog_hear(struct load_connection *c)
{
	struct smtp_reply r;
	enum load_reply w;
	size_t used;

	while (buf_len(&c->in)) {
		switch (smtp_reply_parse(buf_span(&c->in), &r, &used)) {
		case SMTP_REPLY_MORE:
			return LOAD_GO_ON;
		case SMTP_REPLY_BAD:
			c->load->figures.troubles[LOAD_MALFORMED]++;
			failed(c);
			return LOAD_CLOSE;
		case SMTP_REPLY_OK:
			break;
		}
		if (c->want_count == 0) { /* said without having been asked: 421, as a rule */
			c->load->figures.replies[r.code]++;
			failed(c);
			return LOAD_CLOSE;
		}
		w = c->wants[0];
		memmove(c->wants, c->wants + 1, --c->want_count);
		if (on_reply(c, w, &r) == LOAD_CLOSE)
			return LOAD_CLOSE;
		buf_consume(&c->in, used);
	}
	return LOAD_GO_ON;
}
