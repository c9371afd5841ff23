/* SPDX-License-Identifier: ISC */
/*
 * explain: the parts of `carontectl explain` that only say more than the verdict: they never decide
 * it.
 */
#ifndef CTL_EXPLAIN_H
#define CTL_EXPLAIN_H

#include <stddef.h>
#include <stdio.h>

#include "config/config.h"
#include "policy/policy.h"
#include "check/tables.h"

/*
 * Prints where the entry stands that lets the client A (in NETWORK), or the recipient, through:
 * "entry: " with "SETTING: entry" or "FILE:LINE: entry"; where it is not found any more, nothing.
 */
void explain_network(const struct tables_plan *plan, const struct addr *a, const char *network,
		     FILE *out);
void explain_recipient(const struct tables_plan *plan, const struct policy_address *a,
		       const char *delimiters, const char *which, FILE *out);

#endif
