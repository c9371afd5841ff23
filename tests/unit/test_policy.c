/* SPDX-License-Identifier: ISC */
/* policy: the verdict for every combination of guard, login, network and recipient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/policy.h"

static _Alignas(64) uint8_t room[65536];

static struct policy make_policy(bool guard)
{
	struct span text = SPAN("user@local.example\n@all.example\n");

	memset(room, 0, sizeof(room));
	assert_true(policy_recipients_room(text) <= sizeof(room));
	assert_true(policy_recipients_build(room, sizeof(room), text, NULL) > 0);
	return (struct policy){ .guard = guard, .recipients = (const void *)room };
}

static void test_order_of_rules(void **state)
{
	struct policy_address local = { .local = SPAN("user"), .domain = SPAN("local.example") };
	struct policy_address strange = { .local = SPAN("user"), .domain = SPAN("else.example") };

	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		bool guard = i & 1, login = i & 2, network = i & 4, listed = i & 8;
		struct policy p = make_policy(guard);
		struct policy_client c = { .logged_in = login, .in_network = network };
		enum policy_rule rule = policy_judge(&p, &c, listed ? &local : &strange);
		enum policy_rule want = !guard	  ? POLICY_GUARD_OFF
					: login	  ? POLICY_LOGIN
					: network ? POLICY_RELAY_NETWORK
					: listed  ? POLICY_RECIPIENT
						  : POLICY_RELAYING_DENIED;

		assert_int_equal(rule, want);
		assert_int_equal(policy_accepts(rule), i != 1);
	}
}

static void test_strangers(void **state)
{
	struct policy p = make_policy(true);
	struct policy_client c = { 0 };
	struct policy_address a = { .local = SPAN("u%else.example"),
				    .domain = SPAN("all.example"),
				    .routed = true };

	(void)state;
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RELAYING_DENIED);
	c.logged_in = true;
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_LOGIN);
	c.logged_in = false; /* nothing is remembered from recipient to recipient */
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RELAYING_DENIED);
}

static void test_unknown_user(void **state)
{
	struct policy p = make_policy(true);
	struct policy_client c = { 0 };
	struct policy_address a = { .local = SPAN("user+x"), .domain = SPAN("Local.Example") };

	(void)state;
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_UNKNOWN_USER);
	assert_false(policy_accepts(POLICY_UNKNOWN_USER));
	strcpy(p.delimiters, "+");
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RECIPIENT);
	a.local = SPAN("other");
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_UNKNOWN_USER);
	a.routed = true; /* an attempt to relay */
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RELAYING_DENIED);
	a = (struct policy_address){ .local = SPAN("user"), .domain = SPAN("x.local.example") };
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RELAYING_DENIED);
	a = (struct policy_address){ .local = SPAN("prvs=0123abc=user"),
				     .domain = SPAN("local.example") };
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_UNKNOWN_USER);
	a.bounce = true;
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RECIPIENT);
}

static void test_without_tables(void **state)
{
	struct policy p = { .guard = true };
	struct policy_client c = { 0 };
	struct policy_address a = { .local = SPAN("user"), .domain = SPAN("local.example") };

	(void)state;
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RELAYING_DENIED);
	a = (struct policy_address){ .local = SPAN("postmaster"), .domain = SPAN("local.example") };
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RELAYING_DENIED);
	a = (struct policy_address){ .postmaster = true };
	assert_int_equal(policy_judge(&p, &c, &a), POLICY_RECIPIENT);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(policy_rule_name(POLICY_LOGIN), "login");
	assert_string_equal(policy_rule_name(POLICY_RELAY_NETWORK), "relay-network");
	assert_string_equal(policy_rule_name(POLICY_RECIPIENT), "recipient");
	assert_string_equal(policy_rule_name(POLICY_GUARD_OFF), "guard-off");
	assert_string_equal(policy_rule_name(POLICY_RELAYING_DENIED), "relaying-denied");
	assert_string_equal(policy_rule_name(POLICY_UNKNOWN_USER), "unknown-user");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_of_rules), cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_unknown_user),   cmocka_unit_test(test_without_tables),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
