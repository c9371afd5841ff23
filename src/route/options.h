/* SPDX-License-Identifier: ISC */
/*
 * options: what stands behind the commas of an entry of DESTINATIONS, and what the parser of the
 * whole (parse.h) needs too.
 */
#ifndef ROUTE_OPTIONS_H
#define ROUTE_OPTIONS_H

#include "route/route.h"

#define ROUTE_OPTIONS_HELP "weight=N, max=N, tls=, pin=, name=, wrap and identity="
#define ROUTE_HOST_MAX	   253
#define ROUTE_QUOTE_MAX	   80 /* octets of an entry that a fault repeats */

struct route_parser {
	struct route *route;
	void (*report)(void *ctx, const char *what);
	void *ctx;
	bool good;
	char quote[ROUTE_QUOTE_MAX + 4]; /* the entry, for faults */
	bool after_path;		 /* the entry before is a Unix socket */
};

void route_fault(struct route_parser *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Decimal digits alone, from MIN to MAX. */
bool route_number(const char *text, unsigned min, unsigned max, unsigned *value);
/* A host's name (RFC 1123 2.1). */
bool route_is_name(const char *host);

/* WORD, up to its end or a blank, is an option or several, commas in front of it or not. */
bool route_is_option(const char *word);
/* OPTION is one of D. SEEN: a bit for each that was there before. */
void route_option(struct route_parser *p, const char *option, struct route_destination *d,
		  unsigned *seen);
/* What the options mean together, of a destination at PLACE. */
void route_options_judge(struct route_parser *p, const char *place, struct route_destination *d,
			 unsigned seen);
/* The word of identity= . */
const char *route_identity_name(enum route_identity identity);

#endif
