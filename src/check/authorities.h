/* SPDX-License-Identifier: ISC */
/*
 * authorities: TLS_DESTINATION_CA_FILE, where a destination has tls=verify, and TLS_CLIENT_CA_FILE,
 * where clients are asked for certificates: from an open file to what goes to all workers.
 */
#ifndef CHECK_AUTHORITIES_H
#define CHECK_AUTHORITIES_H

#include "check/tables.h"
#include "route/route.h"

/* Whose certificates they stand for. */
enum authorities { AUTHORITIES_DESTINATIONS, AUTHORITIES_CLIENTS, AUTHORITIES };

/* Adds the files to PLAN that are needed, by R or by C. 0 or -ENOMEM. */
int authorities_plan(struct tables_plan *plan, const struct route *r, struct config *c)
	__attribute__((warn_unused_result));
/* Their contents, empty where they are not needed; what is wrong with one is a fault. */
void authorities_read(struct tables_text text[AUTHORITIES], const struct tables_plan *plan,
		      struct config *c);

#endif
