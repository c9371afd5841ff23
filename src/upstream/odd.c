/* SPDX-License-Identifier: ISC */
/* odd: see odd.h. */
#include "upstream/odd.h"

#include <stdio.h>

#include "route/shared.h"
#include "tls/conn.h"

/* The fault WHAT of destination DEST. */
static void tell(struct context *ctx, const struct runtime *rt, unsigned dest,
		 const struct xmllog_session *id, const char *what, struct span said)
{
	char detail[DESTINATION_NAME_MAX + 2 + DIALOG_ODD_MAX];
	size_t n;

	if (!xmllog_wants(&ctx->log, xmllog_level_of(XMLLOG_FAULT)) ||
	    !route_may_tell(rt->route_shared, dest, io_now_ms(ctx->io)) ||
	    !xmllog_begin(&ctx->log, XMLLOG_FAULT, id))
		return;
	n = (size_t)snprintf(detail, sizeof(detail), "%s: ", rt->route->destination[dest].name);
	if (said.n > DIALOG_ODD_MAX)
		said.n = DIALOG_ODD_MAX;
	memcpy(detail + n, said.p, said.n);
	xmllog_text(&ctx->log, XMLLOG_A_WHAT, what);
	xmllog_span(&ctx->log, XMLLOG_A_DETAIL, span_of(detail, n + said.n));
	xmllog_end(&ctx->log);
}

void odd_reply(struct context *ctx, const struct runtime *rt, unsigned dest,
	       const struct xmllog_session *id, struct span said)
{
	if (said.n > 0)
		tell(ctx, rt, dest, id, "destination-reply", said);
}

void odd_identity(struct context *ctx, const struct runtime *rt, unsigned dest,
		  const struct xmllog_session *id, struct span said)
{
	route_note_unidentified(rt->route_shared, dest, true);
	tell(ctx, rt, dest, id, "identity", said);
}

void odd_tls(struct context *ctx, const struct runtime *rt, unsigned dest,
	     const struct xmllog_session *id, const struct stream *st)
{
	const struct tls_conn *c = tls_of(st);
	char why[TLS_FAULT_TEXT];

	if (c && c->state == TLS_FAILED)
		tell(ctx, rt, dest, id, "destination-tls", span_str(tls_conn_why(c, why)));
}

void odd_stray(struct context *ctx, const struct runtime *rt, unsigned dest,
	       const struct xmllog_session *id, struct span said)
{
	if (!span_starts_nocase(said, SPAN("421")))
		odd_reply(ctx, rt, dest, id, said);
}
