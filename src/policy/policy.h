/* SPDX-License-Identifier: ISC */
/*
 * policy: who may relay. Tables are built once into memory that the caller gives and are then
 * read-only and free of pointers (offsets only), so that they can lie in memory shared between
 * processes and be mapped anywhere. No descriptor, clock or allocation of its own: files come as
 * text, room comes from the caller.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"

/* Of the images: one of another number is not understood. */
#define POLICY_LAYOUT 2

/* A fault in a table: LINE counts from 1. Called for each, in order; building goes on. */
struct policy_faults {
	void (*report)(struct policy_faults *f, unsigned line, const char *what);
};

/* Networks: IPv4 and IPv6 prefixes. */
struct policy_networks; /* opaque image */

/* The most octets an image for TEXTS (N of them) can take. */
size_t policy_networks_room(const struct span *texts, size_t n);
/*
 * Builds an image in MEM of ROOM octets (zeroed, 16-aligned) from N texts: text i holds one address
 * or network a line, blank lines and lines that begin with `#` skipped. A host part that is not
 * zero
 * ("10.0.0.1/8"), a prefix out of range, a leading zero in IPv4, a zone are faults. Mapped IPv6
 * networks of /96 and longer are IPv4. Returns the octets used (0 when there were faults).
 * FAULTS is per text: faults[i].
 */
size_t policy_networks_build(void *mem, size_t room, const struct span *texts,
			     struct policy_faults **faults, size_t n);
bool policy_networks_match(const struct policy_networks *t, const struct addr *a);
/* Whether every IPv4 address, or every IPv6 address, is in one of the networks. */
bool policy_networks_everybody(const struct policy_networks *t);
/* Checks one entry of RELAY_NETWORKS given in the setting itself; NULL or what is wrong. */
const char *policy_network_check(struct span entry);
/* The longest matching prefix as text ("10.0.0.0/8") for `carontectl explain`; false: none. */
bool policy_networks_explain(const struct policy_networks *t, const struct addr *a, char *out,
			     size_t cap);

/* Recipients: `user@domain` or `@domain`, compared in ASCII without case. */
struct policy_recipients; /* opaque image */

/* Room and image as for networks: zeroed, 64-aligned at best; the octets used, 0: faults. */
size_t policy_recipients_room(struct span text);
size_t policy_recipients_build(void *mem, size_t room, struct span text,
			       struct policy_faults *faults);

/* An address to look up; spans as in smtp/path.h, the domain without its final dot. */
struct policy_address {
	struct span local, domain;
	bool postmaster; /* <postmaster> without a domain */
	bool routed;	 /* the local part carries routing, or is quoted and holds such */
	bool quoted;
	bool bounce; /* the sender of its message is the null one */
};

/*
 * True when the address is a valid local recipient: it stands in the table itself; or, unless
 * `routed`, an `@domain` line does; or it is <postmaster>, or postmaster@D for a domain D of any
 * line. A quoted local part equals only one that is quoted in the table too. T may be NULL (no
 * table).
 *
 * DELIMITERS (RECIPIENT_DELIMITER): the local part, neither quoted nor `routed`, is also looked up
 * without what follows the first of these characters, and of a bounce also without a "prvs=TAG="
 * before it; "": neither.
 *
 * *WHICH, when not NULL: a word for explain: "address", "domain", "postmaster", "extension",
 * "bounce".
 */
bool policy_recipients_match(const struct policy_recipients *t, const struct policy_address *a,
			     const char *delimiters, const char **which);
/* True when any line is of the address's domain. */
bool policy_recipients_domain(const struct policy_recipients *t, const struct policy_address *a);
/* Checks RECIPIENT_DELIMITER; NULL or what is wrong. */
#define POLICY_DELIMITERS_MAX 16
const char *policy_delimiter_check(const char *delimiters);
size_t policy_recipients_count(const struct policy_recipients *t);

/* The verdict on one RCPT. */
enum policy_rule {
	POLICY_LOGIN,	      /* accept */
	POLICY_RELAY_NETWORK, /* accept */
	POLICY_RECIPIENT,     /* accept */
	POLICY_GUARD_OFF,     /* accept */
	POLICY_RELAYING_DENIED,
	POLICY_UNKNOWN_USER, /* the same of a domain of RECIPIENTS */
	POLICY_RULES
};

struct policy {
	bool guard;				    /* RELAY_GUARD */
	const struct policy_networks *networks;	    /* NULL: none */
	const struct policy_recipients *recipients; /* NULL: none */
	char delimiters[POLICY_DELIMITERS_MAX + 1]; /* RECIPIENT_DELIMITER */
};

/* A client as the policy sees it: IN_NETWORK is policy_networks_match(), asked once a session. */
struct policy_client {
	bool logged_in;
	bool in_network;
};

enum policy_rule policy_judge(const struct policy *p, const struct policy_client *c,
			      const struct policy_address *a);
/* "login", "relay-network", "recipient", "guard-off", "relaying-denied", "unknown-user". */
const char *policy_rule_name(enum policy_rule rule);
static inline bool policy_accepts(enum policy_rule rule)
{
	return rule < POLICY_RELAYING_DENIED;
}

#endif
