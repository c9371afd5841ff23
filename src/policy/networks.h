/* SPDX-License-Identifier: ISC */
/* networks: a table of IPv4 and IPv6 prefixes: RELAY_NETWORKS, PROXY_FROM, XCLIENT_FROM. */
#ifndef POLICY_NETWORKS_H
#define POLICY_NETWORKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/span.h"
#include "policy/image.h"

struct policy_networks; /* opaque image */

/* The most octets an image for TEXTS (N of them) can take. */
size_t policy_networks_room(const struct span *texts, size_t n);
/*
 * Builds an image in MEM of ROOM octets (zeroed, 16-aligned) from N texts: text i holds one address
 * or network a line, blank lines and lines that begin with `#` skipped. A host part that is not
 * zero ("10.0.0.1/8"), a prefix out of range, a leading zero in IPv4, a zone are faults. Mapped
 * IPv6 networks of /96 and longer are IPv4. Returns the octets used (0 when there were faults).
 * FAULTS is per text: faults[i].
 */
size_t policy_networks_build(void *mem, size_t room, const struct span *texts,
			     struct policy_faults **faults, size_t n);
bool policy_networks_match(const struct policy_networks *t, const struct addr *a);
/* Whether every IPv4 address, or every IPv6 address, is in one of the networks. */
bool policy_networks_everybody(const struct policy_networks *t);
/* Whether an address is in a network of both. */
bool policy_networks_meet(const struct policy_networks *a, const struct policy_networks *b);
/* Checks one entry given in the setting itself; NULL or what is wrong, perhaps in WHY. */
#define POLICY_NETWORK_WHY 160
const char *policy_network_check(struct span entry, char why[POLICY_NETWORK_WHY]);
/* The longest matching prefix as text ("10.0.0.0/8") for `carontectl explain`; false: none. */
bool policy_networks_explain(const struct policy_networks *t, const struct addr *a, char *out,
			     size_t cap);

#endif
