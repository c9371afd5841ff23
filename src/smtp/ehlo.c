/* SPDX-License-Identifier: ISC */
/*
 * ehlo: the answer to EHLO as the client sees it (RFC 5321 4.1.1.1): written anew from the lines
 * that both sides can live up to, so that no extension of the destination is ever used without us
 * knowing it. See ehlo.h.
 */
#include "smtp/ehlo.h"

#include "base/diag.h"
#include "smtp/identity.h"
#include "smtp/offer.h"
#include "smtp/param.h"
#include "smtp/put.h"

/* The line "AUTH=LOGIN" is another one than "AUTH LOGIN", for clients that know only that. */
#define OLD_AUTH (1u << 31)

enum args { ARGS_NONE, ARGS_SIZE, ARGS_WORDS, ARGS_OURS };

static const struct keyword {
	const char *name;
	uint32_t ext;
	enum args args; /* what is passed on; the rest of the line is left out */
} keywords[] = {
	{ "PIPELINING", SMTP_EXT_PIPELINING, ARGS_NONE },
	{ "SIZE", SMTP_EXT_SIZE, ARGS_SIZE },
	{ "8BITMIME", SMTP_EXT_8BITMIME, ARGS_NONE },
	{ "SMTPUTF8", SMTP_EXT_SMTPUTF8, ARGS_NONE },
	{ "DSN", SMTP_EXT_DSN, ARGS_NONE },
	{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCED, ARGS_NONE },
	{ "AUTH", SMTP_EXT_AUTH, ARGS_WORDS },
	{ "HELP", SMTP_EXT_HELP, ARGS_NONE },
	{ "CHUNKING", SMTP_EXT_CHUNKING, ARGS_NONE },
	{ "BINARYMIME", SMTP_EXT_BINARYMIME, ARGS_NONE },
	{ "STARTTLS", SMTP_EXT_STARTTLS, ARGS_NONE },
	{ "XCLIENT", SMTP_EXT_XCLIENT, ARGS_OURS },
};

/* What is offered whether or not the destination does. */
#define OURS (SMTP_EXT_STARTTLS | SMTP_EXT_XCLIENT)

/* One line that the client will see. Each extension once, AUTH in two forms. */
struct offer {
	const struct keyword *keyword;
	struct span args;
	uint64_t size;
	bool old_auth;
};

#define OFFERS_MAX (sizeof(keywords) / sizeof(keywords[0]) + 1)

/* Words of printable ASCII with blanks between (ehlo-param). */
static bool words_valid(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return true;
}

/* Reads LINE, the text behind the code. False: it is nothing that we know, or not well-formed. */
static bool read_offer(struct span line, struct offer *o)
{
	struct span word;

	*o = (struct offer){ 0 };
	while (line.n > 0 && line.p[line.n - 1] == ' ')
		line.n--;
	if (span_starts_nocase(line, SPAN("AUTH="))) {
		o->old_auth = true;
		word = SPAN("AUTH");
		line = span_from(line, 5);
		if (line.n == 0 || line.p[0] == ' ')
			return false;
	} else {
		word = smtp_word(&line);
	}
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (span_eq_nocase(word, span_str(keywords[i].name)))
			o->keyword = &keywords[i];
	if (!o->keyword || !words_valid(line))
		return false;
	o->args = line;
	return o->keyword->args != ARGS_SIZE || line.n == 0 || smtp_number(line, &o->size);
}

static void put_offer(struct smtp_put *w, const struct offer *each, const struct smtp_offer *all)
{
	smtp_put_str(w, each->keyword->name);
	if (each->keyword->args == ARGS_WORDS) {
		smtp_put_str(w, each->old_auth ? "=" : " ");
		smtp_put_str(w, all->mechanisms);
	} else if (each->keyword->args == ARGS_SIZE && all->size_max) {
		smtp_put_str(w, " ");
		smtp_put_number(w, all->size_max);
	} else if (each->keyword->args == ARGS_OURS) {
		smtp_put_str(w, " ");
		smtp_put_str(w, smtp_identity_offer);
	}
}

/* The first line to the letter, but with the hyphen or the blank that its place now asks for. */
static int put_answer(const struct smtp_reply *reply, struct span greeting,
		      const struct offer *offers, size_t n, const struct smtp_offer *all,
		      struct buf *out)
{
	struct smtp_put w = smtp_put_start(out);

	if (reply->lines == 1 && n == 0) {
		smtp_put_span(&w, reply->text);
		return smtp_put_done(&w);
	}
	smtp_put_str(&w, n > 0 ? "250-" : "250 ");
	smtp_put_span(&w, greeting);
	smtp_put_str(&w, "\r\n");
	for (size_t i = 0; i < n; i++) {
		smtp_put_str(&w, i + 1 < n ? "250-" : "250 ");
		put_offer(&w, &offers[i], all);
		smtp_put_str(&w, "\r\n");
	}
	return smtp_put_done(&w);
}

static const struct keyword *keyword_of(uint32_t ext)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (keywords[i].ext == ext)
			return &keywords[i];
	CHECK(false);
	return NULL;
}

int smtp_ehlo_filter(const struct smtp_reply *reply, const struct smtp_offer *all, uint32_t mask,
		     struct buf *out)
{
	struct offer offers[OFFERS_MAX], o;
	struct span greeting, line;
	uint32_t seen = 0;
	size_t at = 0, n = 0;

	if (reply->code != 250 || !smtp_reply_line(reply, &at, &greeting))
		return buf_put(out, reply->text);
	while (smtp_reply_line(reply, &at, &line)) {
		if (!read_offer(line, &o) || (seen & (o.old_auth ? OLD_AUTH : o.keyword->ext)))
			continue;
		seen |= o.old_auth ? OLD_AUTH : o.keyword->ext;
		if (o.keyword->ext & mask & all->ext)
			offers[n++] = o;
	}
	for (uint32_t ours = mask & all->ext & ~seen & OURS; ours; ours &= ours - 1)
		offers[n++] = (struct offer){ .keyword = keyword_of(ours & -ours) };
	return put_answer(reply, greeting, offers, n, all, out);
}

bool smtp_ehlo_line(struct span text, struct smtp_ehlo_line *line)
{
	struct offer o;

	if (!read_offer(text, &o))
		return false;
	*line = (struct smtp_ehlo_line){ o.keyword->ext, o.old_auth, o.args, o.size };
	return true;
}

const char *smtp_ehlo_keyword(uint32_t ext)
{
	return keyword_of(ext)->name;
}
