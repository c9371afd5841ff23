/* SPDX-License-Identifier: ISC */
/* options: see options.h. */
#include "route/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "route/parse.h"

#define LABEL_MAX  63
#define WEIGHT_MAX 1000
#define LIMIT_MAX  1000000

void route_fault(struct route_parser *p, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->good = false;
	p->report(p->ctx, text);
}

bool route_number(const char *text, unsigned min, unsigned max, unsigned *value)
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

bool route_is_name(const char *host)
{
	size_t n = strlen(host), label = 0;

	if (n && host[n - 1] == '.')
		n--;
	if (n == 0 || n > ROUTE_HOST_MAX)
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

static const char *const tls_words[] = {
	[ROUTE_TLS_NONE] = "none",     [ROUTE_TLS_MAY] = "may", [ROUTE_TLS_REQUIRE] = "require",
	[ROUTE_TLS_VERIFY] = "verify", [ROUTE_TLS_PIN] = "pin",
};

static void parse_count(struct route_parser *p, const char *name, const char *value, unsigned min,
			unsigned max, unsigned *into)
{
	if (!route_number(value, min, max, into))
		route_fault(p, "\"%s\": wrong %s, %u to %u is allowed", p->quote, name, min, max);
}

static void parse_tls(struct route_parser *p, const char *value, struct route_secure *s)
{
	for (unsigned i = 0; i < sizeof(tls_words) / sizeof(tls_words[0]); i++)
		if (strcmp(value, tls_words[i]) == 0) {
			s->tls = (enum route_tls)i;
			return;
		}
	route_fault(p, "\"%s\": wrong tls, none, may, require, verify or pin is allowed", p->quote);
}

static const char *const identity_words[ROUTE_IDENTITIES] = {
	[ROUTE_IDENTITY_NONE] = "none",		[ROUTE_IDENTITY_PROXY1] = "proxy1",
	[ROUTE_IDENTITY_PROXY2] = "proxy2",	[ROUTE_IDENTITY_XCLIENT] = "xclient",
	[ROUTE_IDENTITY_XFORWARD] = "xforward",
};

const char *route_identity_name(enum route_identity identity)
{
	return identity_words[identity];
}

static void parse_identity(struct route_parser *p, const char *value, struct route_destination *d)
{
	for (unsigned i = 0; i < ROUTE_IDENTITIES; i++)
		if (strcmp(value, identity_words[i]) == 0) {
			d->identity = (enum route_identity)i;
			return;
		}
	route_fault(p,
		    "\"%s\": wrong identity, none, proxy1, proxy2, xclient or xforward is allowed",
		    p->quote);
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, ascii_lower((uint8_t)c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

static void parse_pin(struct route_parser *p, const char *value, struct route_secure *s)
{
	uint8_t *pin;

	if (s->pins == ROUTE_PINS) {
		route_fault(p, "\"%s\": too many pins, %d are allowed", p->quote, ROUTE_PINS);
		return;
	}
	pin = s->pin[s->pins];
	for (unsigned i = 0; i < ROUTE_PIN; i++) {
		int high = hex_digit(value[2 * i]);
		int low = high < 0 ? -1 : hex_digit(value[2 * i + 1]);

		if (low < 0) {
			route_fault(
				p,
				"\"%s\": wrong pin, 64 hexadecimal digits are needed: SHA-256 of the "
				"public key, as in TLSA 3 1 1",
				p->quote);
			return;
		}
		pin[i] = (uint8_t)(high << 4 | low);
	}
	if (value[2 * ROUTE_PIN])
		route_fault(p, "\"%s\": wrong pin, it has more than 64 digits", p->quote);
	s->pins++;
}

static void parse_tls_name(struct route_parser *p, const char *value, struct route_secure *s)
{
	if (route_is_name(value) && value[strlen(value) - 1] != '.')
		strcpy(s->name, value);
	else
		route_fault(p,
			    "\"%s\": wrong name, a host name is allowed, without a dot at its end",
			    p->quote);
}

enum option {
	OPTION_WEIGHT,
	OPTION_MAX,
	OPTION_TLS,
	OPTION_PIN,
	OPTION_NAME,
	OPTION_WRAP,
	OPTION_IDENTITY,
	OPTIONS
};

static const char *const option_names[OPTIONS] = { "weight=", "max=", "tls=",	  "pin=",
						   "name=",   "wrap", "identity=" };

static enum option which_option(const char *option)
{
	for (unsigned i = 0; i < OPTIONS; i++) {
		const char *name = option_names[i];
		size_t n = strlen(name);

		if (strncmp(option, name, n) == 0 &&
		    (name[n - 1] == '=' || strchr(", \t\r\n", option[n])))
			return (enum option)i;
	}
	return OPTIONS;
}

bool route_is_option(const char *word)
{
	return which_option(word + strspn(word, ",")) < OPTIONS;
}

static void unknown_option(struct route_parser *p, const char *option)
{
	/* "a:25,b:25", and "a:25," of "a:25, b:25" */
	if (!*option || (strchr(option, ':') && !strchr(option, '=')))
		route_fault(
			p,
			"\"%s\": destinations are separated by blanks; behind a comma options like "
			"weight=N and max=N are allowed",
			p->quote);
	else if (*option && route_path(p->quote) && !strchr(option, '='))
		route_fault(
			p,
			"\"%s\": the path of a Unix socket cannot hold a comma; behind one options "
			"like weight=N and max=N are allowed",
			p->quote);
	else
		route_fault(p, "\"%s\": unknown option, allowed are " ROUTE_OPTIONS_HELP, p->quote);
}

void route_option(struct route_parser *p, const char *option, struct route_destination *d,
		  unsigned *seen)
{
	enum option which = which_option(option);
	const char *value = which < OPTIONS ? option + strlen(option_names[which]) : NULL;

	if (which < OPTIONS && which != OPTION_PIN && *seen & 1u << which)
		route_fault(p, "\"%s\": %.*s twice, once is allowed", p->quote,
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
	case OPTION_IDENTITY:
		parse_identity(p, value, d);
		break;
	case OPTIONS:
		unknown_option(p, option);
		break;
	}
}

void route_options_judge(struct route_parser *p, const char *place, struct route_destination *d,
			 unsigned seen)
{
	struct route_secure *s = &d->secure;
	bool said = seen & 1u << OPTION_TLS;

	if (!said && seen & 1u << OPTION_PIN)
		s->tls = ROUTE_TLS_PIN;
	else if (!said && s->wrap)
		s->tls = ROUTE_TLS_REQUIRE;
	if (s->tls == ROUTE_TLS_PIN && !(seen & 1u << OPTION_PIN))
		route_fault(p, "\"%s\": tls=pin needs pin= with the SHA-256 of a public key",
			    p->quote);
	if (s->tls != ROUTE_TLS_PIN && seen & 1u << OPTION_PIN)
		route_fault(p, "\"%s\": pin= and tls=%s, tls=pin is meant", p->quote,
			    tls_words[s->tls]);
	if (s->wrap && s->tls < ROUTE_TLS_REQUIRE)
		route_fault(p, "\"%s\": wrap and tls=%s, TLS from the first octet on is no choice",
			    p->quote, tls_words[s->tls]);
	if (*s->name && s->tls == ROUTE_TLS_NONE)
		route_fault(p, "\"%s\": name= says nothing without tls=", p->quote);
	if (s->tls == ROUTE_TLS_VERIFY && route_path(place) && !*s->name)
		route_fault(p, "\"%s\": tls=verify of a Unix socket needs name=", p->quote);
}
