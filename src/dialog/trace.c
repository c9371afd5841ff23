/* SPDX-License-Identifier: ISC */
/*
 * ADD_RECEIVED: the trace of RFC 5321 4.4 on top of a message that came by DATA, for destinations
 * that learn of the client in no other way. Nothing of the client's stands in it but a name that is
 * a domain or an address by its octets, so that nobody writes a header by it.
 */
#include "dialog/inner.h"

#include <stdio.h>
#include <time.h>

#include "base/diag.h"

#define DOMAIN_OCTETS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
#define LITERAL_OCTETS "0123456789abcdefABCDEF:.IPv"
#define DOMAIN_MAX     255

/* A domain, or an address literal (RFC 5321 4.1.2, 4.1.3), as far as its octets go. */
static bool is_domain(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > DOMAIN_MAX)
		return false;
	if (*name == '[')
		return n > 2 && strspn(name + 1, LITERAL_OCTETS) == n - 2 && name[n - 1] == ']';
	return strspn(name, DOMAIN_OCTETS) == n;
}

static void write_literal(const struct addr *a, char out[ADDR_TEXT_MAX + 8])
{
	char ip[ADDR_TEXT_MAX];

	addr_format_ip(a, ip);
	sprintf(out, "[%s%s]", a->family == 6 ? "IPv6:" : "", ip);
}

/* RFC 3848. */
static const char *protocol_of(const struct dialog *d)
{
	bool extended = d->server.offered != 0, tls = d->tls == DIALOG_SECURE;

	if (!extended)
		return "SMTP";
	if (d->server.logged_in)
		return tls ? "ESMTPSA" : "ESMTPA";
	return tls ? "ESMTPS" : "ESMTP";
}

static void write_date(uint64_t seconds, char *out, size_t cap)
{
	time_t at = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&at, &tm) || strftime(out, cap, "%a, %d %b %Y %H:%M:%S +0000", &tm) == 0)
		*out = '\0';
}

void dialog_trace_at(struct dialog *d, uint64_t seconds)
{
	if (d->env->add_received && !message_is_discarded(&d->message))
		d->message.trace_s = seconds;
}

size_t dialog_trace(struct dialog *d, bool ends_header, char out[DIALOG_TRACE_MAX])
{
	char literal[ADDR_TEXT_MAX + 8], id[XMLLOG_SESSION_TEXT_MAX], date[40];
	const char *helo = dialog_helo(d);
	int n;

	if (!d->message.trace_s)
		return 0;
	write_literal(&d->client_addr, literal);
	write_date(d->message.trace_s, date, sizeof(date));
	xmllog_session_text(&d->id, id);
	n = snprintf(out, DIALOG_TRACE_MAX,
		     "Received: from %s (%s)\r\n\tby %s (Caronte) with %s id %s.%u;\r\n\t%s\r\n%s",
		     is_domain(helo) ? helo : literal, literal, d->env->name, protocol_of(d), id,
		     d->transactions, date, ends_header ? "\r\n" : "");
	CHECK(n > 0 && n < DIALOG_TRACE_MAX);
	d->message.trace_s = 0;
	return (size_t)n;
}
