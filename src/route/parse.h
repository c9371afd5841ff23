/* SPDX-License-Identifier: ISC */
/* parse: the setting DESTINATIONS, and the names in it. */
#ifndef ROUTE_PARSE_H
#define ROUTE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "route/route.h"

/*
 * Parses DESTINATIONS (`HOST:PORT[,weight=N][,max=N]`…, separated by blanks) and checks that it
 * fits the cooperation mode. REPORT is called with what is wrong and what is allowed, for each
 * fault. True when there was none.
 */
bool route_parse(struct route *r, const char *list, enum route_cooperation cooperation,
		 enum route_balance balance, void (*report)(void *ctx, const char *what),
		 void *ctx);

/* The destination that NAME ("HOST:PORT", any text) means, or -1: none. */
int route_find(const struct route *r, const char *name);

/* Parses "HOST:PORT" with an IP address as the host; false for a name. */
bool route_literal(const char *name, struct addr *a);
/* The port of a "HOST:PORT" that route_parse() took. */
uint16_t route_port(const char *name);

#endif
