/* SPDX-License-Identifier: ISC */
/* more: see more.h. */
#include "dialog/more.h"

#include "base/diag.h"
#include "dialog/inner.h"

const char *dialog_helo(const struct dialog *d)
{
	return d->more ? d->more->helo : d->helo;
}

const char *dialog_login(const struct dialog *d)
{
	return d->more ? d->more->login : d->login;
}

struct span dialog_last_refusal(const struct dialog *d)
{
	return d->more ? span_of(d->more->reply, d->more->reply_len) : SPAN("");
}

static void borrow(struct dialog *d)
{
	if (d->more)
		return;
	d->more = pool_get(d->env->more);
	CHECK(d->more); /* the pool holds one for each dialog */
	memcpy(d->more->helo, d->helo, sizeof(d->helo));
	memcpy(d->more->login, d->login, sizeof(d->login));
	d->more->reply_len = 0;
	d->more->peer = (struct dialog_peer){ 0 };
	d->more->secure = (struct dialog_secure){ 0 };
}

/* Makes room for a name of N octets, whichever it is. */
static void make_room(struct dialog *d, size_t n)
{
	if (n >= DIALOG_NAME_USUAL)
		borrow(d);
}

static size_t length(struct span name)
{
	return name.n < DIALOG_NAME_MAX ? name.n : DIALOG_NAME_MAX - 1;
}

void dialog_copy_name(char *out, struct span name)
{
	if (length(name))
		memcpy(out, name.p, length(name));
	out[length(name)] = '\0';
}

void dialog_note_helo(struct dialog *d, struct span name)
{
	make_room(d, length(name));
	dialog_copy_name(d->more ? d->more->helo : d->helo, name);
}

void dialog_note_login(struct dialog *d, struct span name)
{
	make_room(d, length(name));
	dialog_copy_name(d->more ? d->more->login : d->login, name);
}

void dialog_note_peer(struct dialog *d, const struct dialog_peer *peer)
{
	if (!peer->version && !d->more)
		return;
	borrow(d);
	d->more->peer = *peer;
}

void dialog_keep_secure(struct dialog *d, const struct dialog_secure *how)
{
	borrow(d);
	d->more->secure = *how;
}

/* The beginning of REPLY that is kept for the session's record: never half of a UTF-8 character. */
static size_t kept(struct span reply)
{
	size_t n = reply.n;

	if (n <= DIALOG_REPLY_KEPT)
		return n;
	n = DIALOG_REPLY_KEPT;
	while (n > 0 && (reply.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

void dialog_keep_refusal(struct dialog *d, struct span reply)
{
	size_t n = kept(reply);

	borrow(d);
	memcpy(d->more->reply, reply.p, n);
	d->more->reply_len = (uint16_t)n;
}
