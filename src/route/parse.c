/* SPDX-License-Identifier: ISC */
/*
 * parse: DESTINATIONS to struct route. A host is an IPv4 address, an IPv6 address in brackets, or a
 * name of DNS characters whose last label begins with no digit (one that does is meant as an
 * address). The path of a Unix socket is one from / on, of ASCII's visible characters without those
 * that end an entry or would have to be escaped in logs and figures. Each entry is judged as far as
 * it goes, so that all faults are found in one run. Takes no list that does not fit the cooperation
 * mode, and no destination twice. RFC 1123 2.1 (names; an underscore is forgiven: container
 * networks make such).
 */
#include "route/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/diag.h"
#include "route/inner.h"

#define HOST_MAX    253
#define LABEL_MAX   63
#define WEIGHT_MAX  1000
#define LIMIT_MAX   1000000
#define QUOTE_MAX   80 /* octets of an entry that a fault repeats */
#define BLANKS	    " \t\r\n"
#define UNIX_PREFIX "unix:"

#define PATH_HELP "unix:/PATH"
#define HOST_HELP "an IPv4 address, an IPv6 address in brackets or a host name is allowed"

struct parser {
	struct route *route;
	void (*report)(void *ctx, const char *what);
	void *ctx;
	bool good;
	char quote[QUOTE_MAX + 4]; /* the entry, for faults */
	bool after_path;	   /* the entry before is a Unix socket */
};

static void fault(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fault(struct parser *p, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->good = false;
	p->report(p->ctx, text);
}

/* Faults go to terminals: an entry's strange octets do not. */
static void set_quote(struct parser *p, const char *entry)
{
	size_t n = strlen(entry), kept = n < QUOTE_MAX ? n : QUOTE_MAX;

	for (size_t i = 0; i < kept; i++)
		p->quote[i] = entry[i] >= ' ' && entry[i] <= '~' ? entry[i] : '?';
	strcpy(p->quote + kept, kept < n ? "..." : "");
}

/* Decimal digits alone, up to MAX. */
static bool parse_number(const char *text, unsigned min, unsigned max, unsigned *value)
{
	size_t n = strlen(text);
	unsigned v = 0;

	if (n == 0 || n > 7 || strspn(text, "0123456789") != n)
		return false;
	for (; *text; text++)
		v = v * 10 + (unsigned)(*text - '0');
	*value = v;
	return v >= min && v <= max;
}

static bool is_label(const char *label, size_t n)
{
	static const char octets[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789-_";

	return n > 0 && n <= LABEL_MAX && strspn(label, octets) >= n && label[0] != '-' &&
	       label[n - 1] != '-';
}

static bool is_name(const char *host)
{
	size_t n = strlen(host), label = 0;

	if (n && host[n - 1] == '.')
		n--;
	if (n == 0 || n > HOST_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		if (i < n && host[i] != '.')
			continue;
		if (!is_label(host + label, i - label))
			return false;
		if (i < n)
			label = i + 1;
	}
	return host[label] < '0' || host[label] > '9';
}

static bool is_unspecified(const struct addr *a)
{
	static const uint8_t zero[sizeof(a->ip)];

	return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

/* HOST without its port; brackets are still there. NULL or what is wrong. */
static const char *check_host(char *host, size_t n)
{
	struct addr a;

	if (host[0] == '[') {
		if (n < 3 || host[n - 1] != ']')
			return "bracket that is not closed, [ADDRESS]:PORT is needed";
		host[n - 1] = '\0';
		/* IPv6 needs them; an IPv4 address may have them, as in Postfix' tables. */
		if (addr_parse_ip(&a, host + 1) != 0)
			return "no IP address in the brackets, like [2001:db8::1]:25";
	} else if (strchr(host, ':')) {
		return "an IPv6 address needs brackets, like [2001:db8::1]:25";
	} else if (addr_parse_ip(&a, host) != 0) {
		return is_name(host) ? NULL : "no host, " HOST_HELP;
	}
	return is_unspecified(&a) ? "the address of no host, " HOST_HELP : NULL;
}

/* What TEXT was probably meant as, where other programs write their servers in another way; NULL.
 */
static const char *habit(const char *text)
{
	static const char *const words[] = { "smtp:", "esmtp:", "lmtp:", "relay:",
					     "inet:", "tcp:",	"inet6:" };

	if (strncasecmp(text, "unix:", 5) == 0 || strncasecmp(text, "unix@", 5) == 0 ||
	    *text == '/')
		return "a Unix socket is written " PATH_HELP;
	if (strstr(text, "://"))
		return "no URL: write HOST:PORT";
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i]);

		if (strncasecmp(text, words[i], n) == 0 && strchr(text + n, ':'))
			return "no transport in front: write HOST:PORT";
	}
	return strchr(text, ';') ? "destinations are separated by blanks" : NULL;
}

/* What is wrong with the path of a Unix socket; NULL. */
static const char *check_path(const char *path)
{
	size_t n = strlen(path);

	if (*path != '/')
		return "no path from / on, " PATH_HELP " is needed";
	if (path[n - 1] == '/')
		return "the path of no socket: nothing stands after its last /";
	if (n > ADDR_PATH_MAX)
		return "path too long, 107 octets are allowed (unix(7))";
	for (; *path; path++)
		if (*path <= ' ' || *path > '~' || *path == '"' || *path == '\\')
			return "a path may hold visible ASCII characters but a comma, a quotation "
			       "mark and a backslash";
	return NULL;
}

static bool parse_path(struct parser *p, const char *path)
{
	const char *wrong = check_path(path);

	if (wrong)
		fault(p, "\"%s\": %s", p->quote, wrong);
	return !wrong;
}

static bool parse_host_port(struct parser *p, const char *text)
{
	const char *colon = strrchr(text, ':'), *wrong;
	char host[DESTINATION_NAME_MAX];
	size_t n = colon ? (size_t)(colon - text) : 0;
	unsigned port;

	if (habit(text)) {
		fault(p, "\"%s\": %s", p->quote, habit(text));
		return false;
	}
	if (!colon || colon[1] == ']' || (text[0] == '[' && strchr(colon, ']'))) {
		fault(p, "\"%s\": no port, HOST:PORT is needed%s", p->quote,
		      p->after_path ? "; the path of a Unix socket cannot hold a blank" : "");
		return false;
	}
	if (n == 0) {
		fault(p, "\"%s\": no host, HOST:PORT is needed", p->quote);
		return false;
	}
	if (n >= sizeof(host) || strlen(text) >= DESTINATION_NAME_MAX) {
		fault(p, "\"%s\": host too long, %d octets are allowed", p->quote, HOST_MAX);
		return false;
	}
	memcpy(host, text, n);
	host[n] = '\0';
	wrong = check_host(host, n);
	if (wrong) {
		fault(p, "\"%s\": %s", p->quote, wrong);
		return false;
	}
	if (!parse_number(colon + 1, 1, UINT16_MAX, &port)) {
		fault(p, "\"%s\": wrong port, 1 to 65535 is allowed", p->quote);
		return false;
	}
	return true;
}

static bool parse_place(struct parser *p, const char *text)
{
	return route_path(text) ? parse_path(p, route_path(text)) : parse_host_port(p, text);
}

const char *route_path(const char *name)
{
	return strncmp(name, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0 ? name + strlen(UNIX_PREFIX)
								    : NULL;
}

bool route_literal(const char *name, struct addr *a)
{
	if (route_path(name)) {
		*a = (struct addr){ .family = ADDR_UNIX };
		return true;
	}

	const char *colon = strrchr(name, ':');
	bool brackets = name[0] == '[';
	char host[ADDR_TEXT_MAX];

	CHECK(colon);
	size_t n = (size_t)(colon - name) - (brackets ? 2 : 0);

	if (n >= sizeof(host))
		return false;
	memcpy(host, name + brackets, n);
	host[n] = '\0';
	if (addr_parse_ip(a, host) != 0)
		return false;
	a->port = route_port(name);
	return true;
}

uint16_t route_port(const char *name)
{
	const char *colon = strrchr(name, ':');
	unsigned port = 0;

	if (route_path(name))
		return 0;
	CHECK(colon && parse_number(colon + 1, 1, UINT16_MAX, &port));
	return (uint16_t)port;
}

static bool same_destination(const char *a, const char *b)
{
	struct addr x, y;
	bool literal = route_literal(a, &x);

	if (route_path(a) || route_path(b))
		return strcmp(a, b) == 0;

	if (literal != route_literal(b, &y) || route_port(a) != route_port(b))
		return false;
	if (literal)
		return addr_same_ip(&x, &y);
	size_t n = (size_t)(strrchr(a, ':') - a), m = (size_t)(strrchr(b, ':') - b);

	n -= a[n - 1] == '.';
	m -= b[m - 1] == '.';
	return n == m && strncasecmp(a, b, n) == 0;
}

static void ignore(void *ctx, const char *what)
{
	(void)ctx;
	(void)what;
}

int route_find(const struct route *r, const char *name)
{
	struct parser p = { .report = ignore };

	if (!parse_place(&p, name))
		return -1;
	for (unsigned i = 0; i < r->count; i++)
		if (same_destination(r->destination[i].name, name))
			return (int)i;
	return -1;
}

static void parse_option(struct parser *p, const char *option, struct route_destination *d,
			 unsigned *seen)
{
	static const struct {
		const char *name;
		unsigned min, max;
	} known[] = { { "weight", 1, WEIGHT_MAX }, { "max", 0, LIMIT_MAX } };
	unsigned *const values[] = { &d->weight, &d->max };

	for (unsigned i = 0; i < 2; i++) {
		size_t n = strlen(known[i].name);

		if (strncmp(option, known[i].name, n) != 0 || option[n] != '=')
			continue;
		if (*seen & 1u << i)
			fault(p, "\"%s\": %s twice, once is allowed", p->quote, known[i].name);
		*seen |= 1u << i;
		if (!parse_number(option + n + 1, known[i].min, known[i].max, values[i]))
			fault(p, "\"%s\": wrong %s, %u to %u is allowed", p->quote, known[i].name,
			      known[i].min, known[i].max);
		return;
	}
	/* "a:25,b:25", and "a:25," of "a:25, b:25" */
	if (!*option || (strchr(option, ':') && !strchr(option, '=')))
		fault(p,
		      "\"%s\": destinations are separated by blanks; behind a comma weight=N and "
		      "max=N are allowed",
		      p->quote);
	else if (*option && route_path(p->quote) && !strchr(option, '='))
		fault(p,
		      "\"%s\": the path of a Unix socket cannot hold a comma; behind one weight=N "
		      "and max=N are allowed",
		      p->quote);
	else
		fault(p, "\"%s\": unknown option, weight=N and max=N are allowed", p->quote);
}

static void add(struct parser *p, const struct route_destination *d)
{
	struct route *r = p->route;

	if (route_find(r, d->name) >= 0)
		fault(p, "\"%s\": stands there twice, each destination is named once", p->quote);
	else if (r->count < DESTINATIONS_MAX)
		r->destination[r->count++] = *d;
}

/* One entry, which is cut up at its commas. */
static void parse_entry(struct parser *p, char *entry)
{
	struct route_destination d = { .weight = 1 };
	struct addr literal;
	unsigned seen = 0;
	char *options;

	set_quote(p, entry);
	options = strchr(entry, ',');
	if (options)
		*options++ = '\0';
	bool good = parse_place(p, entry);

	while (options) {
		char *option = options;

		options = strchr(option, ',');
		if (options)
			*options++ = '\0';
		parse_option(p, option, &d, &seen);
	}
	p->after_path = route_path(entry);
	if (!good)
		return;
	if (!route_path(entry) && route_literal(entry, &literal))
		addr_format(&literal, d.name);
	else
		strcpy(d.name, entry);
	add(p, &d);
}

static void check_count(struct parser *p, unsigned n, enum route_cooperation cooperation)
{
	if (n == 0)
		fault(p, "no destination, at least one HOST:PORT is needed");
	if (n > 1 && cooperation == ROUTE_SINGLE)
		fault(p,
		      "%u destinations, one is allowed with COOPERATION_SINGLE (more with "
		      "COOPERATION_CLUSTER or COOPERATION_BACKUP)",
		      n);
	if (n > DESTINATIONS_MAX)
		fault(p, "%u destinations, %d are allowed", n, DESTINATIONS_MAX);
}

bool route_parse(struct route *r, const char *list, enum route_cooperation cooperation,
		 enum route_balance balance, void (*report)(void *ctx, const char *what), void *ctx)
{
	struct parser p = { .route = r, .report = report, .ctx = ctx, .good = true };
	unsigned n = 0;

	*r = (struct route){ .cooperation = cooperation, .balance = balance };
	for (list += strspn(list, BLANKS); *list; list += strspn(list, BLANKS)) {
		char entry[DESTINATION_NAME_MAX + 64];
		size_t length = strcspn(list, BLANKS);
		size_t kept = length < sizeof(entry) ? length : sizeof(entry) - 1;

		memcpy(entry, list, kept);
		entry[kept] = '\0';
		list += length;
		n++;
		if (kept == length) {
			parse_entry(&p, entry);
			continue;
		}
		set_quote(&p, entry);
		fault(&p, "\"%s\": too long, HOST:PORT[,weight=N][,max=N] is needed", p.quote);
	}
	check_count(&p, n, cooperation);
	return p.good;
}
