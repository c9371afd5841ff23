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

#define HOST_MAX   253
#define LABEL_MAX  63
#define WEIGHT_MAX 1000
#define LIMIT_MAX  1000000
#define QUOTE_MAX  80 /* octets of an entry that a fault repeats */
#define BLANKS	   " \t\r\n"
/* With all options, of which pins and the name are long. */
#define ENTRY_MAX   (DESTINATION_NAME_MAX + ROUTE_TLS_NAME_MAX + ROUTE_PINS * 70 + 64)
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
	struct parser p = { .report = ignore };

	if (!parse_place(&p, name))
		return -1;
	for (unsigned i = 0; i < r->count; i++)
		if (same_destination(r->destination[i].name, name))
			return (int)i;
	return -1;
}

/* ---- options ---- */

#define OPTIONS_HELP "weight=N, max=N, tls=, pin=, name= and wrap"

static const char *const tls_words[] = {
	[ROUTE_TLS_NONE] = "none",     [ROUTE_TLS_MAY] = "may", [ROUTE_TLS_REQUIRE] = "require",
	[ROUTE_TLS_VERIFY] = "verify", [ROUTE_TLS_PIN] = "pin",
};

static void parse_count(struct parser *p, const char *name, const char *value, unsigned min,
			unsigned max, unsigned *into)
{
	if (!parse_number(value, min, max, into))
		fault(p, "\"%s\": wrong %s, %u to %u is allowed", p->quote, name, min, max);
}

static void parse_tls(struct parser *p, const char *value, struct route_secure *s)
{
	for (unsigned i = 0; i < sizeof(tls_words) / sizeof(tls_words[0]); i++)
		if (strcmp(value, tls_words[i]) == 0) {
			s->tls = (enum route_tls)i;
			return;
		}
	fault(p, "\"%s\": wrong tls, none, may, require, verify or pin is allowed", p->quote);
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, ascii_lower((uint8_t)c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

static void parse_pin(struct parser *p, const char *value, struct route_secure *s)
{
	uint8_t *pin;

	if (s->pins == ROUTE_PINS) {
		fault(p, "\"%s\": too many pins, %d are allowed", p->quote, ROUTE_PINS);
		return;
	}
	pin = s->pin[s->pins];
	for (unsigned i = 0; i < ROUTE_PIN; i++) {
		int high = hex_digit(value[2 * i]);
		int low = high < 0 ? -1 : hex_digit(value[2 * i + 1]);

		if (low < 0) {
			fault(p,
			      "\"%s\": wrong pin, 64 hexadecimal digits are needed: SHA-256 of the "
			      "public key, as in TLSA 3 1 1",
			      p->quote);
			return;
		}
		pin[i] = (uint8_t)(high << 4 | low);
	}
	if (value[2 * ROUTE_PIN])
		fault(p, "\"%s\": wrong pin, it has more than 64 digits", p->quote);
	s->pins++;
}

static void parse_tls_name(struct parser *p, const char *value, struct route_secure *s)
{
	if (is_name(value) && value[strlen(value) - 1] != '.')
		strcpy(s->name, value);
	else
		fault(p, "\"%s\": wrong name, a host name is allowed, without a dot at its end",
		      p->quote);
}

enum option {
	OPTION_WEIGHT,
	OPTION_MAX,
	OPTION_TLS,
	OPTION_PIN,
	OPTION_NAME,
	OPTION_WRAP,
	OPTIONS
};

static const char *const option_names[OPTIONS] = { "weight=", "max=",  "tls=",
						   "pin=",    "name=", "wrap" };

static enum option which_option(const char *option)
{
	for (unsigned i = 0; i < OPTIONS; i++) {
		const char *name = option_names[i];
		size_t n = strlen(name);

		if (strncmp(option, name, n) == 0 && (name[n - 1] == '=' || !option[n]))
			return (enum option)i;
	}
	return OPTIONS;
}

static void unknown_option(struct parser *p, const char *option)
{
	/* "a:25,b:25", and "a:25," of "a:25, b:25" */
	if (!*option || (strchr(option, ':') && !strchr(option, '=')))
		fault(p,
		      "\"%s\": destinations are separated by blanks; behind a comma options like "
		      "weight=N and max=N are allowed",
		      p->quote);
	else if (*option && route_path(p->quote) && !strchr(option, '='))
		fault(p,
		      "\"%s\": the path of a Unix socket cannot hold a comma; behind one options "
		      "like weight=N and max=N are allowed",
		      p->quote);
	else
		fault(p, "\"%s\": unknown option, allowed are " OPTIONS_HELP, p->quote);
}

static void parse_option(struct parser *p, const char *option, struct route_destination *d,
			 unsigned *seen)
{
	enum option which = which_option(option);
	const char *value = which < OPTIONS ? option + strlen(option_names[which]) : NULL;

	if (which < OPTIONS && which != OPTION_PIN && *seen & 1u << which)
		fault(p, "\"%s\": %.*s twice, once is allowed", p->quote,
		      (int)strcspn(option_names[which], "="), option_names[which]);
	*seen |= 1u << which;
	switch (which) {
	case OPTION_WEIGHT:
		parse_count(p, "weight", value, 1, WEIGHT_MAX, &d->weight);
		break;
	case OPTION_MAX:
		parse_count(p, "max", value, 0, LIMIT_MAX, &d->max);
		break;
	case OPTION_TLS:
		parse_tls(p, value, &d->secure);
		break;
	case OPTION_PIN:
		parse_pin(p, value, &d->secure);
		break;
	case OPTION_NAME:
		parse_tls_name(p, value, &d->secure);
		break;
	case OPTION_WRAP:
		d->secure.wrap = true;
		break;
	case OPTIONS:
		unknown_option(p, option);
		break;
	}
}

/* What the options mean together. */
static void judge_secure(struct parser *p, const char *place, struct route_secure *s, unsigned seen)
{
	bool said = seen & 1u << OPTION_TLS;

	if (!said && seen & 1u << OPTION_PIN)
		s->tls = ROUTE_TLS_PIN;
	else if (!said && s->wrap)
		s->tls = ROUTE_TLS_REQUIRE;
	if (s->tls == ROUTE_TLS_PIN && !(seen & 1u << OPTION_PIN))
		fault(p, "\"%s\": tls=pin needs pin= with the SHA-256 of a public key", p->quote);
	if (s->tls != ROUTE_TLS_PIN && seen & 1u << OPTION_PIN)
		fault(p, "\"%s\": pin= and tls=%s, tls=pin is meant", p->quote, tls_words[s->tls]);
	if (s->wrap && s->tls < ROUTE_TLS_REQUIRE)
		fault(p, "\"%s\": wrap and tls=%s, TLS from the first octet on is no choice",
		      p->quote, tls_words[s->tls]);
	if (*s->name && s->tls == ROUTE_TLS_NONE)
		fault(p, "\"%s\": name= says nothing without tls=", p->quote);
	if (s->tls == ROUTE_TLS_VERIFY && route_path(place) && !*s->name)
		fault(p, "\"%s\": tls=verify of a Unix socket needs name=", p->quote);
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
	judge_secure(p, entry, &d.secure, seen);
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
		char entry[ENTRY_MAX];
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
		fault(&p, "\"%s\": too long, HOST:PORT is needed; allowed are " OPTIONS_HELP,
		      p.quote);
	}
	check_count(&p, n, cooperation);
	return p.good;
}
