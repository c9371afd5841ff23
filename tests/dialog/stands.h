/* SPDX-License-Identifier: ISC */
/*
 * stands: does the message stand where the order of the client's commands has it? The two are
 * written by different parts of the dialog, and neither may run ahead of the other.
 */
#ifndef STANDS_H
#define STANDS_H

#include "dialog/dialog.h"

static inline bool stands(const struct dialog *d)
{
	const struct message *m = &d->message;
	bool coming = m->state == MESSAGE_COMING, chunks = m->way == MESSAGE_BY_CHUNKS;
	bool over = m->state == MESSAGE_WHOLE || m->state == MESSAGE_GIVEN;

	if (d->end != END_RUNS)
		return true;
	switch (d->server.state) {
	case SMTP_ORDER_BODY:
		return (coming && !chunks) || message_is_refused(m);
	case SMTP_ORDER_CHUNK:
		return (coming && chunks && m->left > 0) || message_is_discarded(m);
	case SMTP_ORDER_CHUNKED:
		return m->state == MESSAGE_NONE || ((coming || over) && chunks && !m->last);
	case SMTP_ORDER_EOD:
		return over && (!chunks || m->last);
	default:
		return m->state == MESSAGE_NONE;
	}
}

#endif
