/* SPDX-License-Identifier: ISC */
/*
 * log_filter: see log_filter.h. Client addresses are matched by the tables of policy/, so that a
 * network means here what it means in RELAY_NETWORKS.
 */
#include "ctl/log_filter.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/log_time.h"
#include "check/resolver.h"
#include "xmllog/xmllog.h"

static const char too_many[] = "too many filters of this kind";

const char *log_element_name(size_t i)
{
	return i < XMLLOG_ELEMENTS ? xmllog_element_name((enum xmllog_element)i) : NULL;
}

int log_element_level(struct span name)
{
	for (size_t i = 0; i < XMLLOG_ELEMENTS; i++)
		if (span_eq(name, span_str(xmllog_element_name((enum xmllog_element)i))))
			return xmllog_level_of((enum xmllog_element)i);
	return 0;
}

void log_filter_init(struct log_filter *f)
{
	*f = (struct log_filter){ .since_us = INT64_MIN, .until_us = INT64_MAX };
}

void log_filter_free(struct log_filter *f)
{
	free(f->networks);
	f->networks = NULL;
}

const char *log_filter_add(struct log_choice *c, const char *text)
{
	if (c->n == LOG_FILTER_MAX)
		return too_many;
	c->text[c->n++] = text;
	return NULL;
}

const char *log_filter_client(struct log_filter *f, char *text)
{
	size_t n = strlen(text);
	const char *wrong = policy_network_check(span_str(text), f->why);
	struct addr a;

	/* (Without brackets, what could be a port belongs to an IPv6 address.) */
	if (wrong && resolver_literal(text, &a))
		return log_filter_add(&f->endpoint, text);
	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		text[n - 1] = '\0';
		text++;
	}
	wrong = policy_network_check(span_str(text), f->why);
	return wrong ? wrong : log_filter_add(&f->client, text);
}

const char *log_filter_verdict(struct log_filter *f, const char *text)
{
	if (strcmp(text, "accept") != 0 && strcmp(text, "refuse") != 0)
		return "accept or refuse is wanted";
	return log_filter_add(&f->verdict, text);
}

const char *log_filter_elements(struct log_filter *f, char *text)
{
	char *next = text;

	while (next) {
		char *name = strsep(&next, ",");
		const char *wrong;

		if (log_element_level(span_str(name)) == 0) {
			wrong = *name ? "no such element" : "a name is missing";
			/* It is shown whole. */
			if (next)
				next[-1] = ',';
			while (name-- > text)
				*name = *name ? *name : ',';
			return wrong;
		}
		wrong = log_filter_add(&f->element, name);
		if (wrong)
			return wrong;
	}
	return NULL;
}

const char *log_filter_level(struct log_filter *f, const char *text)
{
	if (text[0] < '1' || text[0] > '4' || text[1])
		return "a level from 1 to 4 is wanted";
	f->level = text[0] - '0';
	return NULL;
}

bool log_filter_ready(struct log_filter *f)
{
	struct span spans[LOG_FILTER_MAX];
	size_t room, n = f->client.n;

	if (!n)
		return true;
	for (size_t i = 0; i < n; i++)
		spans[i] = span_str(f->client.text[i]);
	room = policy_networks_room(spans, n);
	f->networks = aligned_alloc(64, (room + 63) / 64 * 64);
	if (!f->networks)
		return false;
	memset(f->networks, 0, room);
	return policy_networks_build(f->networks, room, spans, NULL, n) > 0;
}

/* The host of "HOST:PORT" or "[HOST]:PORT". */
static struct span host_of(struct span s)
{
	size_t n = s.n;

	while (n && s.p[n - 1] != ':')
		n--;
	if (!n)
		return s;
	s.n = n - 1;
	if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = span_of(s.p + 1, s.n - 2);
	return s;
}

static bool parse_host(struct addr *a, struct span endpoint)
{
	struct span host = host_of(endpoint);
	char text[ADDR_TEXT_MAX];

	if (host.n >= sizeof(text) || (host.n && memchr(host.p, '\0', host.n)))
		return false;
	if (host.n)
		memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	return addr_parse_ip(a, text) == 0;
}

static bool fits(const struct log_choice *c, struct span v,
		 bool (*one)(const char *text, struct span v))
{
	if (!c->n)
		return true;
	for (size_t i = 0; v.p && i < c->n; i++)
		if (one(c->text[i], v))
			return true;
	return false;
}

static bool same_endpoint(const char *wanted, struct span value)
{
	char text[ADDR_TEXT_MAX];
	struct addr a;

	return resolver_literal(wanted, &a) && span_eq(value, span_of(text, addr_format(&a, text)));
}

bool log_filter_fits_peer(const struct log_filter *f, struct span v)
{
	struct addr a;

	if (!v.p)
		return false;
	return (f->client.n && parse_host(&a, v) && policy_networks_match(f->networks, &a)) ||
	       (f->endpoint.n && fits(&f->endpoint, v, same_endpoint));
}

/* The client, or who has named it. */
static bool fits_client(const struct log_filter *f, const struct log_record *r)
{
	if (!f->client.n && !f->endpoint.n)
		return true;
	return log_filter_fits_peer(f, log_record_get(r, "client")) ||
	       log_filter_fits_peer(f, log_record_get(r, "proxy"));
}

/* The text itself, or "@domain" for every address of it; angle brackets around it are forgiven. */
static bool fits_address(const char *text, struct span v)
{
	struct span want = span_str(text);

	if (want.n >= 2 && want.p[0] == '<' && want.p[want.n - 1] == '>')
		want = span_of(want.p + 1, want.n - 2);
	if (want.n && want.p[0] == '@' && v.n > want.n)
		v = span_from(v, v.n - want.n);
	return span_eq_nocase(want, v);
}

static bool fits_text(const char *text, struct span v)
{
	return span_eq(span_str(text), v);
}

/* "HOST:PORT", or the host alone; an IPv6 address with brackets or without. */
static bool fits_endpoint(const char *text, struct span v)
{
	struct span want = span_str(text), host = host_of(v);

	if (span_eq_nocase(want, v))
		return true;
	if (want.n >= 2 && want.p[0] == '[' && want.p[want.n - 1] == ']')
		want = span_of(want.p + 1, want.n - 2);
	return span_eq_nocase(want, host);
}

static bool fits_time(const struct log_filter *f, const struct log_record *r)
{
	struct span v;
	int64_t us;

	if (f->since_us == INT64_MIN && f->until_us == INT64_MAX)
		return true;
	v = log_record_get(r, "time");
	return v.p && log_time_record(v, &us) && us >= f->since_us && us < f->until_us;
}

/* A destination's own records name it by `address`. */
static struct span destination_of(const struct log_record *r)
{
	if (span_eq(r->element, SPAN("destination")))
		return log_record_get(r, "address");
	return log_record_get(r, "destination");
}

/* A message's record names several, with blanks between. */
static bool fits_recipient(const struct log_choice *c, const struct log_record *r)
{
	struct span all = log_record_get(r, "to");

	if (fits(c, log_record_get(r, "recipient"), fits_address))
		return true;
	if (!span_eq(r->element, SPAN("message")))
		return false;
	while (all.n > 0) {
		const uint8_t *blank = memchr(all.p, ' ', all.n);
		size_t n = blank ? (size_t)(blank - all.p) : all.n;

		if (fits(c, span_of(all.p, n), fits_address))
			return true;
		all = span_from(all, blank ? n + 1 : n);
	}
	return false;
}

/* What a refusal is, is in its name, and what became of a message in its reply. */
static struct span verdict_of(const struct log_record *r)
{
	struct span reply = log_record_get(r, "reply");

	if (span_eq(r->element, SPAN("refusal")))
		return SPAN("refuse");
	if (span_eq(r->element, SPAN("message")))
		return reply.n > 0 && reply.p[0] == '2' ? SPAN("accept") : SPAN("refuse");
	return log_record_get(r, "verdict");
}

/* The reply begins with it: "5", "550", "421 4.7.0". */
static bool fits_reply(const char *text, struct span v)
{
	struct span want = span_str(text);

	return v.n >= want.n && span_eq(want, span_of(v.p, want.n));
}

bool log_filter_match(const struct log_filter *f, const struct log_record *r)
{
	if (f->level && log_element_level(r->element) > f->level)
		return false;
	return fits(&f->element, r->element, fits_text) &&
	       fits(&f->session, log_record_get(r, "session"), fits_text) &&
	       fits(&f->reply, log_record_get(r, "reply"), fits_reply) &&
	       fits(&f->verdict, verdict_of(r), fits_text) &&
	       fits(&f->sender, log_record_get(r, "sender"), fits_address) &&
	       fits_recipient(&f->recipient, r) &&
	       fits(&f->destination, destination_of(r), fits_endpoint) && fits_client(f, r) &&
	       fits_time(f, r);
}
