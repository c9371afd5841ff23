/* SPDX-License-Identifier: ISC */
/*
 * authorities: TLS_DESTINATION_CA_FILE, from an open file to what goes to all workers, where a
 * destination has tls=verify.
 */
#ifndef CHECK_AUTHORITIES_H
#define CHECK_AUTHORITIES_H

#include "check/tables.h"
#include "route/route.h"

/* Adds the file to PLAN, where R needs it. 0 or -ENOMEM. */
int authorities_plan(struct tables_plan *plan, const struct route *r, struct config *c)
	__attribute__((warn_unused_result));
/* Its contents; what is wrong with it is a fault. */
void authorities_read(struct tables_text *t, const struct tables_plan *plan, struct config *c);

#endif
