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

static void add_word(char *words, struct span word)
{
	size_t n = strlen(words), blank = n > 0;

	if (n + blank + word.n >= SMTP_MECHANISMS_MAX)
		return;
	if (blank)
		words[n++] = ' ';
	memcpy(words + n, word.p, word.n);
	words[n + word.n] = '\0';
}

/* A SASL mechanism's name (RFC 4422 3.1), into OUT in upper case. */
static bool mechanism(struct span word, char out[20])
{
	if (word.n > 20)
		return false;
	for (size_t i = 0; i < word.n; i++) {
		uint8_t c = word.p[i];

		if (c >= 'a' && c <= 'z')
			c = (uint8_t)(c - 32);
		if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
			return false;
		out[i] = (char)c;
	}
	return true;
}

static void add_mechanisms(struct smtp_offer *o, struct span args)
{
	char name[20];

	while (args.n > 0) {
		size_t n = 0;

		while (n < args.n && args.p[n] != ' ')
			n++;
		if (n > 0 && mechanism(span_of(args.p, n), name) &&
		    !has_word(o->mechanisms, span_of(name, n)))
			add_word(o->mechanisms, span_of(name, n));
		args = span_from(args, n + 1);
	}
}

/* AUTH without a mechanism, BINARYMIME without CHUNKING (RFC 3030 3). */
static void leave_out_useless(struct smtp_offer *o)
{
	if (!*o->mechanisms)
		o->ext &= ~(uint32_t)SMTP_EXT_AUTH;
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
	while ((word = next_word(&at)).n > 0)
		if (has_word(with->mechanisms, word))
			add_word(o->mechanisms, word);
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
