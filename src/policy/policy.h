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

#include "policy/networks.h"
#include "policy/recipients.h"

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
	const struct policy_networks *networks;	    /* RELAY_NETWORKS; NULL: none */
	const struct policy_networks *balancers;    /* PROXY_FROM; NULL: none */
	const struct policy_networks *renamers;	    /* XCLIENT_FROM; NULL: none */
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
