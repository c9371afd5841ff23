/* SPDX-License-Identifier: ISC */
/*
 * policy: the verdict on one RCPT, a pure function of the tables, the client and the address. It
 * remembers nothing between recipients, so that every one of them is judged. The first rule that
 * lets the recipient through names the verdict: the guard that is off, a login, the client's
 * network, the recipient itself. Of those that are refused, routing through a user of a known
 * domain is an attempt to relay as one to a strange domain is; else the user is not known.
 */
#include "policy/policy.h"

#include "base/diag.h"

enum policy_rule policy_judge(const struct policy *p, const struct policy_client *c,
			      const struct policy_address *a)
{
	if (!p->guard)
		return POLICY_GUARD_OFF;
	if (c->logged_in)
		return POLICY_LOGIN;
	if (c->in_network)
		return POLICY_RELAY_NETWORK;
	if (policy_recipients_match(p->recipients, a, p->delimiters, NULL))
		return POLICY_RECIPIENT;
	if (!a->routed && policy_recipients_domain(p->recipients, a))
		return POLICY_UNKNOWN_USER;
	return POLICY_RELAYING_DENIED;
}

const char *policy_rule_name(enum policy_rule rule)
{
	static const char *const names[] = {
		[POLICY_LOGIN] = "login",
		[POLICY_RELAY_NETWORK] = "relay-network",
		[POLICY_RECIPIENT] = "recipient",
		[POLICY_GUARD_OFF] = "guard-off",
		[POLICY_RELAYING_DENIED] = "relaying-denied",
		[POLICY_UNKNOWN_USER] = "unknown-user",
	};

	CHECK((unsigned)rule < sizeof(names) / sizeof(names[0]));
	return names[rule];
}
