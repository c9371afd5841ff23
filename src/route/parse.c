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

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/diag.h"
#include "route/options.h"

#define ROUTE_HOST_MAX 253
#define LABEL_MAX      63
#define BLANKS	       " \t\r\n"
/* With all options, of which pins and the name are long. */
#define ENTRY_MAX   (DESTINATION_NAME_MAX + ROUTE_TLS_NAME_MAX + ROUTE_PINS * 70 + 96)
#define UNIX_PREFIX "unix:"

#define PATH_HELP "unix:/PATH"
#define HOST_HELP "an IPv4 address, an IPv6 address in brackets or a host name is allowed"

/* Faults go to terminals: an entry's strange octets do not. */
static void set_quote(struct route_parser *p, const char *entry)
{
	size_t n = strlen(entry), kept = n < ROUTE_QUOTE_MAX ? n : ROUTE_QUOTE_MAX;

	for (size_t i = 0; i < kept; i++)
		p->quote[i] = entry[i] >= ' ' && entry[i] <= '~' ? entry[i] : '?';
	strcpy(p->quote + kept, kept < n ? "..." : "");
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
		return route_is_name(host) ? NULL : "no host, " HOST_HELP;
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
	if (route_is_option(text))
		return "an option stands behind HOST:PORT and a comma";
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

static bool parse_path(struct route_parser *p, const char *path)
{
	const char *wrong = check_path(path);

	if (wrong)
		route_fault(p, "\"%s\": %s", p->quote, wrong);
	return !wrong;
}

static bool parse_host_port(struct route_parser *p, const char *text)
{
	const char *colon = strrchr(text, ':'), *wrong;
	char host[DESTINATION_NAME_MAX];
	size_t n = colon ? (size_t)(colon - text) : 0;
	unsigned port;

	if (habit(text)) {
		route_fault(p, "\"%s\": %s", p->quote, habit(text));
		return false;
	}
	if (!colon || colon[1] == ']' || (text[0] == '[' && strchr(colon, ']'))) {
		route_fault(p, "\"%s\": no port, HOST:PORT is needed%s", p->quote,
			    p->after_path ? "; the path of a Unix socket cannot hold a blank" : "");
		return false;
	}
	if (n == 0) {
		route_fault(p, "\"%s\": no host, HOST:PORT is needed", p->quote);
		return false;
	}
	if (n >= sizeof(host) || strlen(text) >= DESTINATION_NAME_MAX) {
		route_fault(p, "\"%s\": host too long, %d octets are allowed", p->quote,
			    ROUTE_HOST_MAX);
		return false;
	}
	memcpy(host, text, n);
	host[n] = '\0';
	wrong = check_host(host, n);
	if (wrong) {
		route_fault(p, "\"%s\": %s", p->quote, wrong);
		return false;
	}
	if (!route_number(colon + 1, 1, UINT16_MAX, &port)) {
		route_fault(p, "\"%s\": wrong port, 1 to 65535 is allowed", p->quote);
		return false;
	}
	return true;
}

static bool parse_place(struct route_parser *p, const char *text)
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
	CHECK(colon && route_number(colon + 1, 1, UINT16_MAX, &port));
	return (uint16_t)port;
}

void route_host(const char *name, char out[DESTINATION_NAME_MAX])
{
	const char *colon = strrchr(name, ':');
	bool brackets = name[0] == '[';
	size_t n;

	*out = '\0';
	if (route_path(name))
		return;
	CHECK(colon);
	n = (size_t)(colon - name) - (brackets ? 2 : 0);
	memcpy(out, name + brackets, n);
	n -= n > 0 && out[n - 1] == '.';
	out[n] = '\0';
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
	struct route_parser p = { .report = ignore };

	if (!parse_place(&p, name))
		return -1;
	for (unsigned i = 0; i < r->count; i++)
		if (same_destination(r->destination[i].name, name))
			return (int)i;
	return -1;
}

/* ---- entries ---- */

static void add(struct route_parser *p, const struct route_destination *d)
{
	struct route *r = p->route;

	if (route_find(r, d->name) >= 0)
		route_fault(p, "\"%s\": stands there twice, each destination is named once",
			    p->quote);
	else if (r->count < DESTINATIONS_MAX)
		r->destination[r->count++] = *d;
	r->identifies = r->identifies || (d->identity != ROUTE_IDENTITY_NONE &&
					  d->identity != ROUTE_IDENTITY_XFORWARD);
}

/* One entry, which is cut up at its commas. */
static void parse_entry(struct route_parser *p, char *entry)
{
	struct route_destination d = { .weight = 1 };
	struct addr literal;
	unsigned seen = 0;
	char *options;

	options = strchr(entry, ',');
	if (options)
		*options++ = '\0';
	bool good = parse_place(p, entry);

	while (options) {
		char *option = options;

		options = strchr(option, ',');
		if (options)
			*options++ = '\0';
		route_option(p, option, &d, &seen);
	}
	route_options_judge(p, entry, &d, seen);
	p->after_path = route_path(entry);
	if (!good)
		return;
	if (!route_path(entry) && route_literal(entry, &literal))
		addr_format(&literal, d.name);
	else
		strcpy(d.name, entry);
	add(p, &d);
}

static void check_count(struct route_parser *p, unsigned n, enum route_cooperation cooperation)
{
	if (n == 0)
		route_fault(p, "no destination, at least one HOST:PORT is needed");
	if (n > 1 && cooperation == ROUTE_SINGLE)
		route_fault(p,
			    "%u destinations, one is allowed with COOPERATION_SINGLE (more with "
			    "COOPERATION_CLUSTER or COOPERATION_BACKUP)",
			    n);
	if (n > DESTINATIONS_MAX)
		route_fault(p, "%u destinations, %d are allowed", n, DESTINATIONS_MAX);
}

/* The word at *LIST, which goes on behind it, is put behind the N octets of ENTRY. */
static size_t take_word(const char **list, char entry[ENTRY_MAX], size_t n)
{
	size_t length = strcspn(*list, BLANKS);
	size_t kept = length < ENTRY_MAX - n ? length : ENTRY_MAX - n - 1;

	memcpy(entry + n, *list, kept);
	entry[n + kept] = '\0';
	*list += length;
	*list += strspn(*list, BLANKS);
	return n + kept;
}

/*
 * The next entry, and the options that stand behind a blank in place of a comma: else each of them
 * would be told of as a destination without a port.
 */
static void take_entry(struct route_parser *p, const char **list, char entry[ENTRY_MAX])
{
	size_t n = take_word(list, entry, 0);
	bool apart = false;

	for (; route_is_option(*list) && n < ENTRY_MAX - 2; apart = true) {
		while (n > 0 && entry[n - 1] == ',')
			n--;
		entry[n++] = ',';
		*list += strspn(*list, ",");
		n = take_word(list, entry, n);
	}
	set_quote(p, entry);
	if (apart)
		route_fault(p, "a blank before an option, allowed is a comma alone: write %s",
			    p->quote);
}

bool route_parse(struct route *r, const char *list, enum route_cooperation cooperation,
		 enum route_balance balance, void (*report)(void *ctx, const char *what), void *ctx)
{
	struct route_parser p = { .route = r, .report = report, .ctx = ctx, .good = true };
	unsigned n = 0;

	*r = (struct route){ .cooperation = cooperation, .balance = balance };
	for (list += strspn(list, BLANKS); *list; n++) {
		char entry[ENTRY_MAX];

		take_entry(&p, &list, entry);
		if (strlen(entry) < ENTRY_MAX - 1) {
			parse_entry(&p, entry);
			continue;
		}
		route_fault(
			&p,
			"\"%s\": too long, HOST:PORT is needed; allowed are " ROUTE_OPTIONS_HELP,
			p.quote);
	}
	check_count(&p, n, cooperation);
	return p.good;
}
