/* SPDX-License-Identifier: ISC */
/* ends: see ends.h. */
#include "session/ends.h"

#include <errno.h>

#include "session/work.h"
#include "smtp/words.h"

void session_client_ended(struct session *s, int res)
{
	s->client.eof = true;
	session_borrow(s);
	if (res == 0) {
		dialog_client_closed(&s->dialog);
		return;
	}
	s->client.broken = true;
	dialog_client_lost(&s->dialog);
}

bool session_client_gone(struct session *s)
{
	if (io_in_flight(&s->client.recv) || s->client.broken || !stream_gone(&s->client.stream))
		return false;
	if (s->state == SESSION_CONNECTING)
		s->state = SESSION_RUNNING;
	session_client_ended(s, -ECONNRESET);
	session_changed(s);
	return true;
}

void session_dest_broken(struct session *s)
{
	s->dest.broken = true;
	stream_failed(&s->dest.stream);
	stream_cut(&s->dest.stream);
}

void session_refuse(struct session *s, const char *reply, enum session_end end, enum reason why)
{
	s->state = SESSION_RUNNING;
	session_borrow(s);
	dialog_close(&s->dialog, reply, end, why);
	session_changed(s);
}

void session_refuse_insecure(struct session *s)
{
	session_refuse(s, smtp_words(WORD_NO_TLS), END_LOST_DESTINATION, REASON_DESTINATION_TLS);
}

void session_refuse_unidentified(struct session *s)
{
	session_refuse(s, smtp_words(WORD_NO_IDENTITY), END_LOST_DESTINATION, REASON_IDENTITY);
}
