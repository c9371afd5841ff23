/* SPDX-License-Identifier: ISC */
/* parse: the setting DESTINATIONS, and the names in it. */
#ifndef ROUTE_PARSE_H
#define ROUTE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "route/route.h"

/*
 * Parses DESTINATIONS (`HOST:PORT[,OPTION]`…, separated by blanks) and checks that it
 * fits the cooperation mode. REPORT is called with what is wrong and what is allowed, for each
 * fault. True when there was none.
 */
bool route_parse(struct route *r, const char *list, enum route_cooperation cooperation,
		 enum route_balance balance, void (*report)(void *ctx, const char *what),
		 void *ctx);

/* The destination that NAME ("HOST:PORT", any text) means, or -1: none. */
int route_find(const struct route *r, const char *name);

/* Of a name that route_parse() took, the address, which never changes: an IP address with its port,
 * or ADDR_UNIX. False for a host's name, which is resolved. */
bool route_literal(const char *name, struct addr *a);
/* The host, without brackets and a dot at its end; "" of a Unix socket. */
void route_host(const char *name, char out[DESTINATION_NAME_MAX]);
/* The port; 0: it has none. */
uint16_t route_port(const char *name);
/* The path of a Unix socket; NULL: it is none. */
const char *route_path(const char *name);

#endif
