/* SPDX-License-Identifier: ISC */
/* trace_match: see trace_match.h. */
#include "ctl/trace_match.h"

#include <stdlib.h>
#include <string.h>

#define CODE_LEN 4 /* "250 " */

static struct span without_brackets(struct span s)
{
	if (s.n >= 2 && s.p[0] == '<' && s.p[s.n - 1] == '>')
		s = span_of(s.p + 1, s.n - 2);
	return s;
}

bool trace_match_init(struct trace_match *m, const char *what)
{
	struct log_filter *filters[] = { &m->session, &m->peer, &m->sender, &m->recipient };

	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
		log_filter_init(filters[i]);
	m->what = span_str(what);
	m->bare = without_brackets(m->what);
	m->client = strdup(what);
	if (!m->client)
		return false;
	log_filter_add(&m->session.session, what);
	log_filter_add(&m->sender.sender, what);
	log_filter_add(&m->recipient.recipient, what);
	/* What is no address of a client matches none. */
	if (log_filter_client(&m->peer, m->client) != NULL)
		log_filter_init(&m->peer);
	return log_filter_ready(&m->peer);
}

void trace_match_free(struct trace_match *m)
{
	log_filter_free(&m->peer);
	free(m->client);
	*m = (struct trace_match){ 0 };
}

/* What a queue id may hold. */
static bool in_word(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '_';
}

bool trace_match_word(struct span word, struct span reply)
{
	for (size_t at = CODE_LEN; word.n && at + word.n <= reply.n; at++) {
		size_t end = at + word.n;

		if (memcmp(reply.p + at, word.p, word.n) == 0 &&
		    !(in_word(reply.p[at - 1]) && in_word(word.p[0])) &&
		    !(end < reply.n && in_word(reply.p[end]) && in_word(word.p[word.n - 1])))
			return true;
	}
	return false;
}

bool trace_match_proxy(const struct trace_match *m, const struct log_record *r)
{
	return (m->peer.client.n || m->peer.endpoint.n) &&
	       log_filter_fits_peer(&m->peer, log_record_get(r, "proxy"));
}

bool trace_match(const struct trace_match *m, const struct log_record *r)
{
	struct span id;

	if (log_filter_match(&m->session, r) || log_filter_match(&m->sender, r) ||
	    log_filter_match(&m->recipient, r))
		return true;
	if ((m->peer.client.n || m->peer.endpoint.n) && log_filter_match(&m->peer, r))
		return true;
	if (!span_eq(r->element, SPAN("message")))
		return false;
	id = without_brackets(log_record_get(r, "id"));
	if (id.n && span_eq(id, m->bare))
		return true;
	return m->what.n >= TRACE_WORD_MIN && trace_match_word(m->what, log_record_get(r, "reply"));
}
