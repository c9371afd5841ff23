/* SPDX-License-Identifier: ISC */
/* odd: see odd.h. */
#include "proxy/odd.h"

#include <stdio.h>

void odd_reply(struct worker *w, const struct runtime *rt, unsigned dest,
	       const struct xmllog_session *id, struct span said)
{
	char detail[DESTINATION_NAME_MAX + 2 + DIALOG_ODD_MAX];
	size_t n;

	if (said.n == 0 || !xmllog_wants(&w->log, xmllog_level_of(XMLLOG_FAULT)) ||
	    !route_may_tell(rt->route_shared, dest, io_now_ms(w->io)) ||
	    !xmllog_begin(&w->log, XMLLOG_FAULT, id))
		return;
	n = (size_t)snprintf(detail, sizeof(detail), "%s: ", rt->route->destination[dest].name);
	if (said.n > DIALOG_ODD_MAX)
		said.n = DIALOG_ODD_MAX;
	memcpy(detail + n, said.p, said.n);
	xmllog_text(&w->log, XMLLOG_A_WHAT, "destination-reply");
	xmllog_span(&w->log, XMLLOG_A_DETAIL, span_of(detail, n + said.n));
	xmllog_end(&w->log);
}

void odd_stray(struct worker *w, const struct runtime *rt, unsigned dest,
	       const struct xmllog_session *id, struct span said)
{
	if (!span_starts_nocase(said, SPAN("421")))
		odd_reply(w, rt, dest, id, said);
}
