/* SPDX-License-Identifier: ISC */
/* rename: see rename.h. */
#include "session/rename.h"

#include "base/diag.h"
#include "io/net.h"
#include "session/leave.h"
#include "session/session.h"
#include "session/work.h"
#include "smtp/words.h"

/* Whom the proxy has named; what it has not said stays. */
static struct session_client named(struct session *s)
{
	const struct smtp_identity *said = &s->work->dialog.identity;
	const struct dialog *d = &s->dialog;
	struct session_client client = {
		.addr = d->client_addr,
		.proxy = d->proxy_addr.family ? d->proxy_addr : d->client_addr,
		.to = s->to,
	};

	if (!client.to.family)
		net_local(s->client.stream.fd, &client.to);
	if (said->has_client)
		client.addr = said->client;
	if (said->has_to && said->to.family)
		client.to = said->to;
	return client;
}

static void hand_on(struct session *s)
{
	struct session_heir *heir = pool_get(&s->ctx->heirs);
	const struct dialog *d = &s->dialog;

	CHECK(heir); /* the pool holds one for each session */
	heir->client = named(s);
	if (d->tls == DIALOG_SECURE) {
		heir->secure = d->more->secure;
		heir->client.secure = &heir->secure;
	}
	heir->client.stream = stream_move(&s->client.stream);
	s->heir = heir;
	dialog_end_renamed(&s->dialog);
}

void session_rename(struct session *s)
{
	if (!s->dialog.renamed || s->dialog.end != END_RUNS || s->heir)
		return;
	if (io_in_flight(&s->client.recv)) {
		stream_cancel(s->ctx->io, &s->client.stream, &s->client.recv);
		return;
	}
	session_borrow(s);
	/* What it is told of before is said first. */
	if (io_in_flight(&s->client.send) || buf_len(&s->work->dialog.to_client) > 0)
		return;
	if (buf_len(&s->work->client_in) > 0) /* behind it: whose words would they be? */
		dialog_close(&s->dialog, smtp_words(WORD_BAD_XCLIENT), END_PROTOCOL,
			     REASON_XCLIENT);
	else if (s->client.eof)
		dialog_client_lost(&s->dialog);
	else
		hand_on(s);
}
