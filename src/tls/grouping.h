/* SPDX-License-Identifier: ISC */
/*
 * grouping: which certificates are one group (set.h): those for the same names, in whatever order,
 * if their keys are of different kinds. The very same certificate is there once. Two others for the
 * same names with the same kind of key are a fault: which one is meant, nobody knows.
 */
#ifndef TLS_GROUPING_H
#define TLS_GROUPING_H

#include "tls/pair.h"

struct grouped; /* opaque */

/* All zero: no certificate, and no group. */
struct grouping {
	struct grouped *all;
	unsigned count;
	unsigned groups;
};

/* PAIR is in the group 0, whatever its names. LABEL, for people, stays the caller's and is there as
 * long as G. 0 or -ENOMEM. */
int grouping_first(struct grouping *g, const struct tls_pair *pair, const char *label)
	__attribute__((warn_unused_result));
/*
 * Finds the group of PAIR, or makes one of its own. 0; -EEXIST: the very same certificate is there;
 * -ENOTUNIQ: another one for the same names, of the same kind, that *OTHER is the label of; or
 * -ENOMEM.
 */
int grouping_find(struct grouping *g, const struct tls_pair *pair, const char *label,
		  unsigned *group, const char **other) __attribute__((warn_unused_result));
void grouping_free(struct grouping *g);

#endif
