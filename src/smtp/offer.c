/* SPDX-License-Identifier: ISC */
/* offer: see offer.h. Lines are read by ehlo.c, as for the client of a sniffing dialog. */
#include "smtp/offer.h"

#include "smtp/ehlo.h"
#include "smtp/put.h"

static struct span next_word(const char **at)
{
	struct span word;

	while (**at == ' ')
		++*at;
	word = span_of(*at, strcspn(*at, " "));
	*at += word.n;
	return word;
}

static bool has_word(const char *words, struct span word)
{
	struct span each;

	while ((each = next_word(&words)).n > 0)
		if (span_eq(each, word))
			return true;
	return false;
}

/* WORD is in upper case. */
static void add_mechanism(struct smtp_offer *o, struct span word)
{
	size_t n = strlen(o->mechanisms), blank = n > 0;

	if (n + blank + word.n >= SMTP_MECHANISMS_MAX || has_word(o->mechanisms, word) ||
	    !smtp_mechanisms_add(&o->login, word))
		return;
	if (blank)
		o->mechanisms[n++] = ' ';
	memcpy(o->mechanisms + n, word.p, word.n);
	o->mechanisms[n + word.n] = '\0';
}

static void add_mechanisms(struct smtp_offer *o, struct span args)
{
	char name[SMTP_MECHANISM_MAX];

	while (args.n > 0) {
		size_t n = 0;

		while (n < args.n && args.p[n] != ' ')
			n++;
		if (smtp_mechanism_name(span_of(args.p, n), name))
			add_mechanism(o, span_of(name, n));
		args = span_from(args, n + 1);
	}
}

/*
 * AUTH without a mechanism; CHUNKING without SIZE: a limit of which nothing is said can lie in the
 * middle of a chunk, and Exim takes what comes behind its own for commands; BINARYMIME without
 * CHUNKING (RFC 3030 3).
 */
static void leave_out_useless(struct smtp_offer *o)
{
	if (!*o->mechanisms)
		o->ext &= ~(uint32_t)SMTP_EXT_AUTH;
	if (!(o->ext & SMTP_EXT_SIZE))
		o->ext &= ~(uint32_t)SMTP_EXT_CHUNKING;
	if (!(o->ext & SMTP_EXT_CHUNKING))
		o->ext &= ~(uint32_t)SMTP_EXT_BINARYMIME;
}

void smtp_offer_read(struct smtp_offer *o, const struct smtp_reply *reply)
{
	struct smtp_ehlo_line line;
	struct span text;
	size_t at = 0;

	*o = (struct smtp_offer){ 0 };
	if (reply->code != 250 || !smtp_reply_line(reply, &at, &text))
		return;
	while (smtp_reply_line(reply, &at, &text)) {
		if (!smtp_ehlo_line(text, &line))
			continue;
		if (line.ext == SMTP_EXT_SIZE && !(o->ext & SMTP_EXT_SIZE))
			o->size_max = line.size;
		if (line.ext == SMTP_EXT_AUTH)
			add_mechanisms(o, line.args);
		o->old_auth = o->old_auth || line.old_auth;
		o->ext |= line.ext;
	}
	leave_out_useless(o);
}

void smtp_offer_meet(struct smtp_offer *o, const struct smtp_offer *with)
{
	char before[SMTP_MECHANISMS_MAX];
	const char *at = before;
	struct span word;

	o->ext &= with->ext;
	o->old_auth = o->old_auth && with->old_auth;
	if (with->size_max && (!o->size_max || with->size_max < o->size_max))
		o->size_max = with->size_max;
	memcpy(before, o->mechanisms, sizeof(before));
	*o->mechanisms = '\0';
	o->login = (struct smtp_mechanisms){ 0 };
	while ((word = next_word(&at)).n > 0)
		if (has_word(with->mechanisms, word))
			add_mechanism(o, word);
	leave_out_useless(o);
}

/* The last line, with its hyphen, becomes the end. */
static int end_answer(struct smtp_put *w, size_t last)
{
	if (!w->error)
		w->out->data[w->out->head + last + 3] = ' ';
	return smtp_put_done(w);
}

int smtp_offer_write(const struct smtp_offer *o, uint32_t mask, const char *name, struct buf *out)
{
	struct smtp_put w = smtp_put_start(out);
	size_t last = buf_len(out);

	smtp_put_str(&w, "250-");
	smtp_put_str(&w, name);
	smtp_put_str(&w, "\r\n");
	for (uint32_t left = o->ext & mask; left; left &= left - 1) {
		uint32_t ext = left & -left;

		last = buf_len(out);
		smtp_put_str(&w, "250-");
		smtp_put_str(&w, smtp_ehlo_keyword(ext));
		if (ext == SMTP_EXT_SIZE && o->size_max) {
			smtp_put_str(&w, " ");
			smtp_put_number(&w, o->size_max);
		} else if (ext == SMTP_EXT_AUTH) {
			smtp_put_str(&w, " ");
			smtp_put_str(&w, o->mechanisms);
		} else if (ext == SMTP_EXT_XCLIENT) {
			smtp_put_str(&w, " ");
			smtp_put_str(&w, smtp_identity_offer);
		}
		smtp_put_str(&w, "\r\n");
		if (ext == SMTP_EXT_AUTH && o->old_auth) {
			last = buf_len(out);
			smtp_put_str(&w, "250-AUTH=");
			smtp_put_str(&w, o->mechanisms);
			smtp_put_str(&w, "\r\n");
		}
	}
	return end_answer(&w, last);
}
