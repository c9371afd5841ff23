/* SPDX-License-Identifier: ISC */
/*
 * route: the list and its faults; the three ways to cooperate and the three balances; what a
 * failure does to a session, to the others and to the pauses; who is busy; addresses that change
 * while other processes read them, and a writer that is killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/diag.h"
#include "feed.h"
#include "route/busy.h"
#include "route/note.h"
#include "route/parse.h"
#include "route/pick.h"
#include "route/route.h"
#include "route/shared.h"

/* ---- the list ---- */

struct reported {
	unsigned n;
	char what[8][300];
};

static void report(void *ctx, const char *what)
{
	struct reported *r = ctx;

	if (r->n < 8)
		snprintf(r->what[r->n], sizeof(r->what[0]), "%s", what);
	r->n++;
}

#define LABEL "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk" /* 63 */

static void test_list_faults(void **state)
{
	static const struct {
		const char *list;
		enum route_cooperation cooperation;
		const char *fault; /* the whole of the only one, NULL: good */
	} rows[] = {
		{ "127.0.0.1:225", ROUTE_SINGLE, NULL },
		{ " \t mail.example.com:25\t", ROUTE_SINGLE, NULL },
		{ "[2001:db8::1]:25", ROUTE_SINGLE, NULL },
		{ "[::ffff:10.0.0.1]:25", ROUTE_SINGLE, NULL },
		{ "[10.0.0.1]:25", ROUTE_SINGLE, NULL }, /* Postfix' habit */
		{ "[mail.example.com]:25", ROUTE_SINGLE,
		  "\"[mail.example.com]:25\": no IP address in the brackets, like [2001:db8::1]:25" },
		{ "localhost:65535,weight=1000,max=1000000", ROUTE_SINGLE, NULL },
		{ "mx_1.example.com.:25,max=0,weight=1", ROUTE_SINGLE, NULL },
		{ "3com.example:25", ROUTE_SINGLE, NULL },
		{ LABEL "." LABEL "." LABEL "." LABEL ":25", ROUTE_SINGLE,
		  "\"" LABEL ".abcdefghijklmnop...\": no host, an IPv4 address, an IPv6 address in "
		  "brackets or a host name is allowed" },
		{ LABEL "." LABEL "." LABEL ":65535", ROUTE_SINGLE, NULL },
		{ "a:25 b:25", ROUTE_CLUSTER, NULL },
		{ "a:25 a:26", ROUTE_BACKUP, NULL },
		{ "a:25", ROUTE_CLUSTER, NULL },
		{ "10.0.0.1", ROUTE_SINGLE, "\"10.0.0.1\": no port, HOST:PORT is needed" },
		{ "[::1]", ROUTE_SINGLE, "\"[::1]\": no port, HOST:PORT is needed" },
		{ "[2001:db8::1]", ROUTE_SINGLE,
		  "\"[2001:db8::1]\": no port, HOST:PORT is needed" },
		{ "[::1]25", ROUTE_SINGLE, "\"[::1]25\": no port, HOST:PORT is needed" },
		{ "::1:25", ROUTE_SINGLE,
		  "\"::1:25\": an IPv6 address needs brackets, like [2001:db8::1]:25" },
		{ "[::1:25", ROUTE_SINGLE,
		  "\"[::1:25\": bracket that is not closed, [ADDRESS]:PORT is needed" },
		{ "[]:25", ROUTE_SINGLE,
		  "\"[]:25\": bracket that is not closed, [ADDRESS]:PORT is needed" },
		{ "[10.0.0.256]:25", ROUTE_SINGLE,
		  "\"[10.0.0.256]:25\": no IP address in the brackets, like [2001:db8::1]:25" },
		{ "[fe80::1%lo]:25", ROUTE_SINGLE,
		  "\"[fe80::1%lo]:25\": no IP address in the brackets, like [2001:db8::1]:25" },
		{ ":25", ROUTE_SINGLE, "\":25\": no host, HOST:PORT is needed" },
		{ "a:", ROUTE_SINGLE, "\"a:\": wrong port, 1 to 65535 is allowed" },
		{ "a:0", ROUTE_SINGLE, "\"a:0\": wrong port, 1 to 65535 is allowed" },
		{ "a:65536", ROUTE_SINGLE, "\"a:65536\": wrong port, 1 to 65535 is allowed" },
		{ "a:4294967321", ROUTE_SINGLE,
		  "\"a:4294967321\": wrong port, 1 to 65535 is allowed" },
		{ "a:+25", ROUTE_SINGLE, "\"a:+25\": wrong port, 1 to 65535 is allowed" },
		{ "a:smtp", ROUTE_SINGLE, "\"a:smtp\": wrong port, 1 to 65535 is allowed" },
		{ "0.0.0.0:25", ROUTE_SINGLE,
		  "\"0.0.0.0:25\": the address of no host, an IPv4 address, an IPv6 address in "
		  "brackets or a host name is allowed" },
		{ "10.0.0.256:25", ROUTE_SINGLE,
		  "\"10.0.0.256:25\": no host, an IPv4 address, an IPv6 address in brackets or a host "
		  "name is allowed" },
		{ "-a:25", ROUTE_SINGLE,
		  "\"-a:25\": no host, an IPv4 address, an IPv6 address in brackets or a host name is "
		  "allowed" },
		{ "a..b:25", ROUTE_SINGLE,
		  "\"a..b:25\": no host, an IPv4 address, an IPv6 address in brackets or a host name "
		  "is allowed" },
		{ "a\x1b[m:25", ROUTE_SINGLE,
		  "\"a?[m:25\": no host, an IPv4 address, an IPv6 address in brackets or a host name is "
		  "allowed" },
		{ "a:25,", ROUTE_SINGLE,
		  "\"a:25,\": destinations are separated by blanks; behind a comma weight=N and max=N "
		  "are allowed" },
		{ "a:25,b:25", ROUTE_CLUSTER,
		  "\"a:25,b:25\": destinations are separated by blanks; behind a comma weight=N and "
		  "max=N are allowed" },
		{ "a:25;", ROUTE_CLUSTER, "\"a:25;\": destinations are separated by blanks" },
		{ "smtp://a:25", ROUTE_SINGLE, "\"smtp://a:25\": no URL: write HOST:PORT" },
		{ "smtp:[a]:25", ROUTE_SINGLE,
		  "\"smtp:[a]:25\": no transport in front: write HOST:PORT" },
		{ "inet:a:25", ROUTE_SINGLE,
		  "\"inet:a:25\": no transport in front: write HOST:PORT" },
		{ "unix:/run/lmtp", ROUTE_SINGLE,
		  "\"unix:/run/lmtp\": no Unix socket: write HOST:PORT" },
		{ "smtp:25", ROUTE_SINGLE, NULL }, /* a host may be called so */
		{ "a:25,wight=1", ROUTE_SINGLE,
		  "\"a:25,wight=1\": unknown option, weight=N and max=N are allowed" },
		{ "a:25,max", ROUTE_SINGLE,
		  "\"a:25,max\": unknown option, weight=N and max=N are allowed" },
		{ "a:25,weight=0", ROUTE_SINGLE,
		  "\"a:25,weight=0\": wrong weight, 1 to 1000 is allowed" },
		{ "a:25,weight=1001", ROUTE_SINGLE,
		  "\"a:25,weight=1001\": wrong weight, 1 to 1000 is allowed" },
		{ "a:25,weight=", ROUTE_SINGLE,
		  "\"a:25,weight=\": wrong weight, 1 to 1000 is allowed" },
		{ "a:25,max=1000001", ROUTE_SINGLE,
		  "\"a:25,max=1000001\": wrong max, 0 to 1000000 is allowed" },
		{ "a:25,max=-1", ROUTE_SINGLE,
		  "\"a:25,max=-1\": wrong max, 0 to 1000000 is allowed" },
		{ "a:25,max=1,max=2", ROUTE_SINGLE,
		  "\"a:25,max=1,max=2\": max twice, once is allowed" },
		{ "", ROUTE_SINGLE, "no destination, at least one HOST:PORT is needed" },
		{ " \t", ROUTE_CLUSTER, "no destination, at least one HOST:PORT is needed" },
		{ "a:25 b:25", ROUTE_SINGLE,
		  "2 destinations, one is allowed with COOPERATION_SINGLE (more with "
		  "COOPERATION_CLUSTER or COOPERATION_BACKUP)" },
		{ "a:25 A.:025", ROUTE_CLUSTER,
		  "\"A.:025\": stands there twice, each destination is named once" },
		{ "10.0.0.1:25 [::ffff:10.0.0.1]:25", ROUTE_BACKUP,
		  "\"[::ffff:10.0.0.1]:25\": stands there twice, each destination is named once" },
		{ "[::1]:25 [0:0::1]:25", ROUTE_BACKUP,
		  "\"[0:0::1]:25\": stands there twice, each destination is named once" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span text = feed_guard(span_of(rows[i].list, strlen(rows[i].list) + 1));
		struct reported r = { 0 };
		struct route route;
		bool good = route_parse(&route, (const char *)text.p, rows[i].cooperation,
					ROUTE_LEAST_SESSIONS, report, &r);

		if (r.n != (rows[i].fault != NULL) || good != !rows[i].fault ||
		    (r.n && strcmp(r.what[0], rows[i].fault) != 0))
			fail_msg("\"%s\": %u faults, %s", rows[i].list, r.n, r.what[0]);
	}
}

static void test_names(void **state)
{
	static const struct {
		const char *list, *name;
	} rows[] = {
		{ "Mx.Example.COM.:025", "Mx.Example.COM.:025" },
		{ "192.0.2.1:025,max=3", "192.0.2.1:25" },
		{ "[192.0.2.1]:025,max=3", "192.0.2.1:25" },
		{ "[2001:DB8:0::1]:25", "[2001:db8::1]:25" },
		{ "[::FFFF:192.0.2.1]:26", "192.0.2.1:26" },
		{ "[::FFFF:c000:0201]:26", "192.0.2.1:26" },
	};
	static const char *const same[] = { "mx.example.com:25",     "192.0.2.1:25",
					    "[192.0.2.1]:25",	     "[2001:db8::1]:25",
					    "[::ffff:192.0.2.1]:26", "192.0.2.1:26" };
	static const char *const none[] = {
		"",
		":",
		":25",
		"192.0.2.1",
		"192.0.2.1:25 ",
		" 192.0.2.1:25",
		"192.0.2.1:26",
		"192.0.2.1:25,max=3",
		"[192.0.2.2]:25",
		"mx.example.com:0",
		"2001:db8::1:25",
	};
	struct reported r = { 0 };
	struct route route;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(route_parse(&route, rows[i].list, ROUTE_SINGLE, ROUTE_LEAST_SESSIONS,
					report, &r));
		assert_string_equal(route.destination[0].name, rows[i].name);
		assert_int_equal(route_find(&route, rows[i].name), 0);
		assert_int_equal(route_find(&route, same[i]), 0);
	}
	assert_true(route_parse(&route, "192.0.2.1:25 [2001:DB8::1]:25 mx.example.com:25",
				ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS, report, &r));
	assert_int_equal(route_find(&route, "[2001:DB8:0:0::1]:25"), 1);
	assert_int_equal(route_find(&route, "MX.example.com:25"), 2);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (route_find(&route, none[i]) >= 0)
			fail_msg("\"%s\" is one", none[i]);
}

static void test_all_faults_in_one_run(void **state)
{
	struct reported r = { 0 };
	struct route route;

	(void)state;
	assert_false(route_parse(&route, "a b:0,x=1,weight=0 c:25", ROUTE_SINGLE,
				 ROUTE_LEAST_SESSIONS, report, &r));
	assert_int_equal(r.n, 5);
	assert_non_null(strstr(r.what[0], "no port"));
	assert_non_null(strstr(r.what[1], "wrong port"));
	assert_non_null(strstr(r.what[2], "unknown option"));
	assert_non_null(strstr(r.what[3], "wrong weight"));
	assert_non_null(strstr(r.what[4], "3 destinations"));
}

static void test_most_destinations(void **state)
{
	char list[(DESTINATIONS_MAX + 1) * 16], longest[2 * DESTINATION_NAME_MAX];
	struct reported r = { 0 };
	struct route route;
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < DESTINATIONS_MAX; i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "h%u:%u ", i, i + 1);
	assert_true(route_parse(&route, list, ROUTE_CLUSTER, ROUTE_SOURCE, report, &r));
	assert_int_equal(route.count, DESTINATIONS_MAX);
	assert_int_equal(route.cooperation, ROUTE_CLUSTER);
	assert_int_equal(route.balance, ROUTE_SOURCE);
	assert_string_equal(route.destination[63].name, "h63:64");
	assert_int_equal(route.destination[63].weight, 1);
	assert_int_equal(route.destination[63].max, 0);
	strcat(list, "more:25");
	assert_false(route_parse(&route, list, ROUTE_CLUSTER, ROUTE_SOURCE, report, &r));
	assert_int_equal(r.n, 1);
	assert_string_equal(r.what[0], "65 destinations, 64 are allowed");
	for (size_t length = 1; length < sizeof(longest); length++) {
		memset(longest, 'a', length);
		longest[length] = '\0';
		r.n = 0;
		assert_false(route_parse(&route, longest, ROUTE_SINGLE, ROUTE_SOURCE, report, &r));
		assert_int_equal(r.n, 1);
	}
}

/* ---- picking ---- */

struct world {
	struct route_counts counts; /* first */
	struct route route;
	struct route_shared *shared;
	unsigned sessions[DESTINATIONS_MAX];
	struct addr client;
	uint64_t now;
};

static unsigned count_sessions(struct route_counts *c, unsigned dest)
{
	return ((struct world *)c)->sessions[dest];
}

static bool take(struct route_counts *c, unsigned dest, unsigned max)
{
	struct world *w = (void *)c;

	if (max && w->sessions[dest] >= max)
		return false;
	w->sessions[dest]++;
	return true;
}

static void world_init(struct world *w, const char *list, enum route_cooperation cooperation,
		       enum route_balance balance)
{
	struct reported r = { 0 };

	*w = (struct world){ .counts = { count_sessions, take }, .now = 1000000 };
	if (!route_parse(&w->route, list, cooperation, balance, report, &r))
		fail_msg("%s", r.what[0]);
	w->shared = mmap(NULL, route_shared_room(), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(w->shared != MAP_FAILED);
	route_shared_init(w->shared, &w->route);
	assert_int_equal(addr_parse_ip(&w->client, "192.0.2.1"), 0);
}

static void world_end(struct world *w)
{
	munmap(w->shared, route_shared_room());
}

static struct addr ip(const char *text, uint16_t port)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, text), 0);
	a.port = port;
	return a;
}

#define FULL -1
#define GONE -2

/* The destination picked, FULL or GONE; *A is the address. */
static int pick_address(struct world *w, struct route_search *search, struct addr *a)
{
	unsigned dest;

	switch (route_pick(&w->route, w->shared, search, &w->counts, &w->client, w->now, &dest,
			   a)) {
	case ROUTE_PICKED:
		assert_true(dest < w->route.count);
		return (int)dest;
	case ROUTE_FULL:
		return FULL;
	case ROUTE_NONE:
		break;
	}
	return GONE;
}

static int pick(struct world *w, struct route_search *search)
{
	struct addr a;

	return pick_address(w, search, &a);
}

/* A session of its own; it stays. */
static int pick_new(struct world *w)
{
	struct route_search search = { 0 };

	return pick(w, &search);
}

/* A session of its own that ends at once. */
static int pick_leave(struct world *w)
{
	int dest = pick_new(w);

	if (dest >= 0)
		w->sessions[dest]--;
	return dest;
}

/* The attempt at DEST failed: its seat is given back. */
static bool failed(struct world *w, struct route_search *search, int dest)
{
	w->sessions[dest]--;
	return route_failed(w->shared, search, (unsigned)dest, w->now);
}

/* All of a session's attempts at DEST fail. */
static void break_destination(struct world *w, unsigned dest)
{
	route_failed(w->shared, NULL, dest, w->now);
}

static void test_single(void **state)
{
	struct world w;
	struct route_search search = { 0 };
	struct addr a;

	(void)state;
	world_init(&w, "10.0.0.1:225,max=2", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &(struct addr){ .family = 4, .ip = { 10, 0, 0, 1 } }));
	assert_int_equal(a.port, 225);
	assert_int_equal(pick_new(&w), 0);
	assert_int_equal(pick_new(&w), FULL);
	assert_int_equal(w.sessions[0], 2);
	w.sessions[0]--;
	assert_int_equal(pick_new(&w), 0);
	/* It fails: nothing is left for this session, but the next one tries it all the same. */
	assert_true(route_up(w.shared, 0));
	assert_true(failed(&w, &search, 0));
	assert_false(route_up(w.shared, 0));
	assert_int_equal(pick(&w, &search), GONE);
	search = (struct route_search){ 0 };
	assert_int_equal(pick(&w, &search), 0);
	assert_false(failed(&w, &search, 0)); /* it was down already: no record */
	assert_true(route_connected(w.shared, 0, w.now));
	assert_true(route_up(w.shared, 0));
	assert_false(route_connected(w.shared, 0, w.now));
	assert_int_equal(route_to_resolve(w.shared, &w.route), 0); /* an address is no name */
	world_end(&w);
}

static void test_addresses_in_turn(void **state)
{
	struct addr list[3] = { ip("10.0.0.1", 25), ip("10.0.0.2", 25), ip("2001:db8::3", 0) };
	struct addr got[ROUTE_ADDRESSES], a;
	struct route_search search = { 0 }, other = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "name.example:25,max=1", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	/* The name has no address yet. It is to be resolved, and that is said once. */
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	assert_int_equal(route_to_resolve(w.shared, &w.route), 0);
	assert_int_equal(pick_new(&w), GONE);
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	assert_false(route_set_addresses(w.shared, 0, list, 0));
	assert_true(route_set_addresses(w.shared, 0, list, 3));
	assert_int_equal(route_get_addresses(w.shared, 0, got), 3);
	assert_true(addr_same_ip(&got[2], &list[2]));
	assert_int_equal(got[2].port, 25);

	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &list[0]));
	assert_false(failed(&w, &search, 0)); /* two are left: it is not down */
	assert_true(route_up(w.shared, 0));
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	/* Others begin with the next address from now on, and with it so does the background. */
	assert_int_equal(route_get_addresses(w.shared, 0, got), 3);
	assert_true(addr_same_ip(&got[0], &list[1]));
	assert_int_equal(pick_address(&w, &other, &a), 0);
	assert_true(addr_same_ip(&a, &list[1]));
	/* The only seat is taken: the first session waits, and then goes on where it was. */
	assert_int_equal(pick(&w, &search), FULL);
	w.sessions[0]--;
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &list[1]));
	assert_false(failed(&w, &search, 0));
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &list[2]));
	assert_true(failed(&w, &search, 0)); /* all three */
	assert_false(route_up(w.shared, 0));
	assert_int_equal(pick(&w, &search), GONE);
	world_end(&w);
}

static void test_changed_addresses(void **state)
{
	struct addr list[ROUTE_ADDRESSES + 3], got[ROUTE_ADDRESSES];
	struct addr turned[2] = { ip("10.0.0.2", 25), ip("10.0.0.1", 25) };
	struct world w;

	(void)state;
	world_init(&w, "name.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	for (unsigned i = 0; i < ROUTE_ADDRESSES + 3; i++) {
		list[i] = ip("10.0.0.1", 25);
		list[i].ip[3] = (uint8_t)(i + 1);
	}
	assert_true(route_set_addresses(w.shared, 0, list, 2));
	assert_false(route_set_addresses(w.shared, 0, list, 2));
	assert_false(route_set_addresses(w.shared, 0, turned, 2)); /* another order is no change */
	assert_true(route_set_addresses(w.shared, 0, list, 3));
	assert_true(route_set_addresses(w.shared, 0, list, 2));
	assert_true(route_set_addresses(w.shared, 0, list, ROUTE_ADDRESSES + 3)); /* the first 8 */
	assert_int_equal(route_get_addresses(w.shared, 0, got), ROUTE_ADDRESSES);
	assert_int_equal(got[ROUTE_ADDRESSES - 1].ip[3], ROUTE_ADDRESSES);
	list[0] = list[1] = list[2] = (struct addr){ 0 };
	list[4] = list[3];
	assert_true(route_set_addresses(w.shared, 0, list, 6)); /* none, and twice the same */
	assert_int_equal(route_get_addresses(w.shared, 0, got), 2);
	assert_false(route_set_addresses(w.shared, 0, list, 3));
	assert_int_equal(route_get_addresses(w.shared, 0, got), 2);
	/* New addresses end a pause: they are worth a try. */
	break_destination(&w, 0);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
	assert_true(route_set_addresses(w.shared, 0, turned, 2));
	assert_false(route_up(w.shared, 0));
	assert_int_equal(route_due(w.shared, &w.route, w.now), 1);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
	world_end(&w);
}

static void test_pauses(void **state)
{
	static const uint64_t pauses[] = { 500, 1000, 2000, 4000, 5000, 5000, 5000 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
	for (unsigned round = 0; round < 2; round++) {
		assert_true(route_failed(w.shared, NULL, 1, w.now));
		for (unsigned i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
			uint64_t from = w.now;

			/* Failures in a pause, of those who were at it already, change nothing. */
			w.now = from + pauses[i] - 1;
			assert_false(route_failed(w.shared, NULL, 1, w.now));
			assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
			w.now = from + pauses[i];
			/* One caller gets it; its failure belongs to the pause that began there. */
			assert_int_equal(route_due(w.shared, &w.route, w.now), 2);
			assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
			assert_false(route_failed(w.shared, NULL, 1, w.now));
		}
		assert_true(route_connected(w.shared, 1, w.now)); /* and it begins anew */
		assert_int_equal(route_due(w.shared, &w.route, w.now + 100000), 0);
	}
	world_end(&w);
}

/* What is down is the background's to try, also when its pause is over, while another one is up. */
static void test_no_session_waits(void **state)
{
	struct route_search search = { 0 };
	struct addr a;
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	break_destination(&w, 0);
	assert_int_equal(pick_new(&w), 1);
	w.now += 500;
	assert_int_equal(pick_new(&w), 1);
	w.now += 100000;
	assert_int_equal(pick_new(&w), 1);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 1);
	assert_true(route_try(w.shared, 0, &a));
	assert_true(route_came_back(w.shared, 0, &a, w.now));
	assert_false(route_came_back(w.shared, 0, &a, w.now));
	assert_int_equal(pick_new(&w), 0);
	/* Both down: a session tries, and one whose pause is over has its try by that. */
	break_destination(&w, 0);
	break_destination(&w, 1);
	assert_int_equal(pick(&w, &search), 0);
	assert_int_equal(route_due(w.shared, &w.route, w.now + 500), 3);
	w.now += 1500;
	search = (struct route_search){ 0 };
	assert_int_equal(pick(&w, &search), 0);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 2);
	world_end(&w);
}

/* An attempt that hung while the destination went and came back says nothing about it. */
static void test_old_failures(void **state)
{
	struct route_search old = { 0 }, fresh = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_int_equal(pick(&w, &old), 0);
	w.now += 1000;
	break_destination(&w, 0);
	w.now += 1000;
	assert_true(route_connected(w.shared, 0, w.now));
	assert_false(failed(&w, &old, 0));
	assert_true(route_up(w.shared, 0));
	assert_int_equal(pick(&w, &old), GONE); /* for that session it did fail */
	assert_int_equal(pick(&w, &fresh), 0);
	w.now += 1;
	/* Being up is no news: it does not make later failures old. */
	assert_false(route_connected(w.shared, 0, w.now + 5000));
	assert_true(failed(&w, &fresh, 0));
	assert_false(route_up(w.shared, 0));
	world_end(&w);
}

/* Tries take the addresses of a name in turn, and sessions begin with the one that answered. */
static void test_tries_take_turns(void **state)
{
	struct addr list[3] = { ip("10.0.0.1", 25), ip("10.0.0.2", 25), ip("10.0.0.3", 25) };
	struct route_search search = { 0 };
	struct addr a, good = { 0 };
	unsigned seen = 0;
	struct world w;

	(void)state;
	world_init(&w, "name.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_false(route_try(w.shared, 0, &a));
	assert_true(route_set_addresses(w.shared, 0, list, 3));
	break_destination(&w, 0);
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	for (unsigned i = 0; i < 3; i++) {
		w.now += 10000;
		assert_int_equal(route_due(w.shared, &w.route, w.now), 1);
		assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
		assert_true(route_try(w.shared, 0, &a));
		seen |= 1u << a.ip[3];
		if (i == 1)
			good = a;
	}
	assert_int_equal(seen, 1 << 1 | 1 << 2 | 1 << 3);
	/* The second try answers when the third one is under way already. */
	assert_true(route_came_back(w.shared, 0, &good, w.now));
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &good));
	world_end(&w);
}

/* Who waits for room says so to all who may have some to give. */
static void test_room_wanted(void **state)
{
	struct world w;
	uint32_t before;

	(void)state;
	world_init(&w, "10.0.0.1:25,max=1 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	before = route_room_wanted(w.shared, 1);
	assert_int_equal(route_room_wanted(w.shared, 1), before);
	route_want_room(w.shared, 0);
	assert_int_equal(route_room_wanted(w.shared, 1), before);
	route_want_room(w.shared, 1);
	assert_int_not_equal(route_room_wanted(w.shared, 1), before);
	world_end(&w);
}

static void test_checks(void **state)
{
	struct addr list[2] = { ip("10.0.1.1", 25), ip("10.0.1.2", 25) };
	struct route_search search;
	struct addr a;
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 name.example:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(route_set_addresses(w.shared, 1, list, 2));
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now, 9000), 3);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 8999, 9000), 0);
	/* One is done with; the other one's owner was killed. */
	route_check_done(w.shared, 0, w.now + 1000);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 999, 9000), 0);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 1000, 99000), 1);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 9000, 9000), 2);
	/* It tries every address of its destination and no other destination. */
	assert_true(route_check_begin(w.shared, &search, 1, w.now, &a));
	assert_true(addr_same_ip(&a, &list[0]));
	assert_false(route_failed(w.shared, &search, 1, w.now));
	assert_true(route_check_next(w.shared, &search, &a));
	assert_true(addr_same_ip(&a, &list[1]));
	assert_true(route_failed(w.shared, &search, 1, w.now));
	assert_false(route_check_next(w.shared, &search, &a));
	assert_false(route_up(w.shared, 1));
	/* What is down is tried, not checked. */
	w.now += 1000000;
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now, 9000), 1);
	/* What moves no mail is news once. */
	assert_false(route_check_found(w.shared, 0, true));
	assert_true(route_check_found(w.shared, 0, false));
	assert_false(route_check_found(w.shared, 0, false));
	assert_true(route_up(w.shared, 0));
	assert_true(route_check_found(w.shared, 0, true));
	world_end(&w);
}

static void test_backup(void **state)
{
	struct route_search search = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25,max=2 10.0.0.2:25,max=1 10.0.0.3:25", ROUTE_BACKUP,
		   ROUTE_ROUND_ROBIN);
	assert_int_equal(pick(&w, &search), 0);
	assert_int_equal(pick_new(&w), 0);
	assert_int_equal(pick_new(&w), FULL); /* waited for: a backup is for one that is gone */
	assert_int_equal(w.sessions[1] + w.sessions[2], 0);
	assert_true(failed(&w, &search, 0));
	assert_int_equal(pick(&w, &search), 1);
	assert_int_equal(pick_new(&w), FULL);
	assert_true(failed(&w, &search, 1));
	assert_int_equal(pick(&w, &search), 2);
	assert_true(failed(&w, &search, 2));
	assert_int_equal(pick(&w, &search), GONE);
	/* All are set aside: old news, so they are tried in their order all the same. */
	search = (struct route_search){ 0 };
	w.sessions[0] = 0;
	assert_int_equal(pick(&w, &search), 0);
	assert_false(failed(&w, &search, 0));
	assert_int_equal(pick(&w, &search), 1);
	assert_false(failed(&w, &search, 1));
	assert_int_equal(pick(&w, &search), 2);
	assert_true(route_connected(w.shared, 2, w.now));
	assert_int_equal(pick_new(&w), 2);
	assert_true(route_connected(w.shared, 0, w.now));
	assert_int_equal(pick_new(&w), 0);
	world_end(&w);
}

static void test_cluster_full_and_failed(void **state)
{
	struct route_search search = { 0 };
	struct world w;
	int first, second;

	(void)state;
	for (int balance = ROUTE_LEAST_SESSIONS; balance <= ROUTE_SOURCE; balance++) {
		world_init(&w, "10.0.0.1:25,max=1 10.0.0.2:25,max=1 10.0.0.3:25,max=1",
			   ROUTE_CLUSTER, (enum route_balance)balance);
		search = (struct route_search){ 0 };
		first = pick(&w, &search);
		assert_true(first >= 0);
		assert_true(pick_new(&w) >= 0);
		assert_true(pick_new(&w) >= 0);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(w.sessions[i], 1);
		assert_int_equal(pick_new(&w), FULL);
		/* It fails. The others are full, and they are waited for: not this one again. */
		assert_true(failed(&w, &search, first));
		assert_int_equal(pick(&w, &search), FULL);
		assert_int_equal(pick_new(&w), FULL);
		second = (first + 1) % 3;
		w.sessions[second] = 0;
		assert_int_equal(pick(&w, &search), second);
		assert_true(failed(&w, &search, second));
		w.sessions[(first + 2) % 3] = 0;
		assert_int_equal(pick(&w, &search), (first + 2) % 3);
		assert_true(failed(&w, &search, (first + 2) % 3));
		assert_int_equal(pick(&w, &search), GONE);
		assert_true(pick_new(&w) >= 0); /* all set aside, tried all the same */
		world_end(&w);
	}
}

static void test_cluster_without_addresses(void **state)
{
	struct world w;

	(void)state;
	for (int balance = ROUTE_LEAST_SESSIONS; balance <= ROUTE_SOURCE; balance++) {
		world_init(&w, "silent.example:25 10.0.0.2:25", ROUTE_CLUSTER,
			   (enum route_balance)balance);
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(pick_new(&w), 1);
		assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
		world_end(&w);
	}
}

/* What a destination says is told of once a second, each one's for itself. */
static void test_telling(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(route_may_tell(w.shared, 0, 5000));
	assert_false(route_may_tell(w.shared, 0, 5000));
	assert_false(route_may_tell(w.shared, 0, 5999));
	assert_true(route_may_tell(w.shared, 1, 5999));
	assert_true(route_may_tell(w.shared, 0, 6000));
	assert_false(route_may_tell(w.shared, 0, 6001));
	world_end(&w);
}

/* A drained destination is no candidate, whatever the mode and the state of the others. */
static void test_drained(void **state)
{
	struct route_search search = { 0 };
	struct addr two[2] = { ip("10.0.0.1", 25), ip("10.0.0.9", 25) };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_false(route_drained(w.shared, 0));
	assert_false(route_drain(w.shared, 0, false));
	assert_true(route_drain(w.shared, 0, true));
	assert_false(route_drain(w.shared, 0, true));
	assert_true(route_drained(w.shared, 0));
	assert_true(route_up(w.shared, 0));
	assert_int_equal(pick_new(&w), GONE);
	assert_true(route_drain(w.shared, 0, false));
	assert_int_equal(pick_new(&w), 0);
	world_end(&w);

	/* The backup takes over, also from one that is full; there is none behind the backup. */
	world_init(&w, "10.0.0.1:25,max=1 10.0.0.2:25", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	assert_int_equal(pick_new(&w), 0);
	assert_int_equal(pick_new(&w), FULL);
	assert_true(route_drain(w.shared, 0, true));
	assert_int_equal(w.sessions[0], 1);
	assert_int_equal(pick_new(&w), 1);
	break_destination(&w, 1);
	assert_int_equal(pick_leave(&w), 1);
	assert_true(route_drain(w.shared, 1, true));
	assert_int_equal(pick_new(&w), GONE);
	world_end(&w);

	/* Between two addresses of one name, too. */
	world_init(&w, "a:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_SOURCE);
	assert_true(route_set_addresses(w.shared, 0, two, 2));
	assert_true(route_drain(w.shared, 1, true));
	assert_int_equal(pick(&w, &search), 0);
	assert_false(failed(&w, &search, 0));
	assert_true(route_drain(w.shared, 0, true));
	assert_true(route_drain(w.shared, 1, false));
	assert_int_equal(pick(&w, &search), 1);
	world_end(&w);
}

/* What a drained destination would have got goes to the others, by the same balance. */
static void test_drained_in_cluster(void **state)
{
	static const enum route_balance balances[] = { ROUTE_LEAST_SESSIONS, ROUTE_ROUND_ROBIN,
						       ROUTE_SOURCE };
	struct world w;

	(void)state;
	for (unsigned b = 0; b < 3; b++) {
		unsigned got[3] = { 0 };

		world_init(&w, "10.0.0.1:25 10.0.0.2:25 10.0.0.3:25", ROUTE_CLUSTER, balances[b]);
		assert_true(route_drain(w.shared, 1, true));
		for (unsigned i = 0; i < 200; i++) {
			w.client.ip[3] = (uint8_t)i;
			got[pick_new(&w)]++;
		}
		assert_int_equal(got[1], 0);
		assert_in_range(got[0], balances[b] == ROUTE_SOURCE ? 60 : 100,
				balances[b] == ROUTE_SOURCE ? 140 : 100);
		assert_true(route_drain(w.shared, 1, false));
		for (unsigned i = 0; i < 200; i++) {
			w.client.ip[3] = (uint8_t)i;
			got[pick_new(&w)]++;
		}
		assert_true(got[1] > 30);
		world_end(&w);
	}
}

static void test_least_sessions(void **state)
{
	unsigned got[3] = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25,weight=5 10.0.0.2:25 10.0.0.3:25,weight=2", ROUTE_CLUSTER,
		   ROUTE_LEAST_SESSIONS);
	for (unsigned i = 0; i < 800; i++)
		assert_true(pick_new(&w) >= 0);
	assert_int_equal(w.sessions[0], 500);
	assert_int_equal(w.sessions[1], 100);
	assert_int_equal(w.sessions[2], 200);
	w.sessions[1] = 0;
	assert_int_equal(pick_new(&w), 1);
	/* Equal ones in turn, whatever the third one does. */
	w.sessions[0] = 500;
	w.sessions[1] = 150;
	w.sessions[2] = 200;
	for (unsigned i = 0; i < 100; i++)
		got[pick_leave(&w)]++;
	assert_int_equal(got[0], 50);
	assert_int_equal(got[1], 0);
	assert_int_equal(got[2], 50);
	break_destination(&w, 2);
	w.sessions[2] = 0;
	assert_int_equal(pick_leave(&w), 0);
	world_end(&w);
}

static void sequence(struct world *w, char *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		out[i] = (char)('a' + pick_leave(w));
	out[n] = '\0';
}

static void test_round_robin(void **state)
{
	char got[32];
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25 10.0.0.3:25", ROUTE_CLUSTER, ROUTE_ROUND_ROBIN);
	sequence(&w, got, 9);
	assert_string_equal(got, "abcabcabc");
	/* One that was away does not get what it missed. */
	break_destination(&w, 1);
	sequence(&w, got, 6);
	assert_string_equal(got, "acacac");
	for (unsigned i = 0; i < 1000; i++)
		pick_leave(&w);
	assert_true(route_connected(w.shared, 1, w.now));
	unsigned n[3] = { 0 };

	for (unsigned i = 0; i < 30; i++)
		n[pick_leave(&w)]++;
	assert_in_range(n[1], 10, 11);
	world_end(&w);

	world_init(&w, "10.0.0.1:25,weight=5 10.0.0.2:25 10.0.0.3:25", ROUTE_CLUSTER,
		   ROUTE_ROUND_ROBIN);
	sequence(&w, got, 14);
	assert_string_equal(got, "abaacaaabaacaa");
	world_end(&w);
}

/* Any weights: the shares are right to one turn at every moment. */
static void test_round_robin_is_smooth(void **state)
{
	(void)state;
	srandom(3);
	for (unsigned round = 0; round < 50; round++) {
		unsigned n = 2 + (unsigned)random() % 8, total = 0, got[16] = { 0 };
		char list[512] = "";
		struct world w;

		for (unsigned i = 0; i < n; i++) {
			char one[48];
			unsigned weight = 1 + (unsigned)random() % (round % 2 ? 10 : 1000);

			snprintf(one, sizeof(one), "10.0.0.%u:25,weight=%u ", i + 1, weight);
			strcat(list, one);
			total += weight;
		}
		world_init(&w, list, ROUTE_CLUSTER, ROUTE_ROUND_ROBIN);
		for (unsigned i = 1; i <= 5000; i++) {
			got[pick_leave(&w)]++;
			for (unsigned d = 0; d < n; d++) {
				double fair = (double)i * w.route.destination[d].weight / total;

				if (got[d] > fair + 2 || got[d] + 2 < fair)
					fail_msg("%s: %u of %u picks at %u", list, got[d], i, d);
			}
		}
		world_end(&w);
	}
}

static void test_source(void **state)
{
	enum { CLIENTS = 20000 };
	static int8_t before[CLIENTS];
	unsigned got[4] = { 0 }, moved = 0;
	struct world w, less;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25 10.0.0.3:25,weight=2 10.0.0.4:25,weight=4",
		   ROUTE_CLUSTER, ROUTE_SOURCE);
	/* The second one is gone and the others stand in another order. */
	world_init(&less, "10.0.0.4:25,weight=4 10.0.0.1:25 10.0.0.3:25,weight=2", ROUTE_CLUSTER,
		   ROUTE_SOURCE);
	static const int same[] = { 1, -1, 2, 0 };

	for (unsigned i = 0; i < CLIENTS; i++) {
		w.client = ip("192.0.0.0", (uint16_t)i); /* the port says nothing */
		w.client.ip[2] = (uint8_t)(i >> 8);
		w.client.ip[3] = (uint8_t)i;
		before[i] = (int8_t)pick_leave(&w);
		got[before[i]]++;
		w.client.port++;
		assert_int_equal(pick_leave(&w), before[i]);
		less.client = w.client;
		int now = pick_leave(&less);

		if (before[i] == 1)
			moved++;
		else
			assert_int_equal(now, same[before[i]]);
	}
	for (unsigned d = 0; d < 4; d++) /* 8 shares in all; 4 sigma */
		assert_in_range(got[d], CLIENTS * w.route.destination[d].weight / 8 - 280,
				CLIENTS * w.route.destination[d].weight / 8 + 280);
	assert_int_equal(moved, got[1]);
	/* Down is the same as not there, and its clients come back. */
	break_destination(&w, 1);
	for (unsigned i = 0; i < CLIENTS; i++) {
		w.client.ip[2] = (uint8_t)(i >> 8);
		w.client.ip[3] = (uint8_t)i;
		assert_int_equal(pick_leave(&w) == before[i], before[i] != 1);
	}
	assert_true(route_connected(w.shared, 1, w.now));
	for (unsigned i = 0; i < CLIENTS; i++) {
		w.client.ip[2] = (uint8_t)(i >> 8);
		w.client.ip[3] = (uint8_t)i;
		assert_int_equal(pick_leave(&w), before[i]);
	}
	/* IPv6 by /64. */
	for (unsigned i = 0; i < 1000; i++) {
		w.client = ip("2001:db8:0:1::1", 1);
		w.client.ip[6] = (uint8_t)i;
		int dest = pick_leave(&w);

		memset(w.client.ip + 8, (int)i, 8);
		assert_int_equal(pick_leave(&w), dest);
	}
	world_end(&less);
	world_end(&w);
}

/* ---- busy ---- */

static void busy_for_ms(struct world *w, unsigned dest, uint64_t ms)
{
	assert_true(route_busy(w->shared, dest));
	assert_true(route_busy_rests(w->shared, dest, w->now + ms - 1));
	assert_false(route_busy_rests(w->shared, dest, w->now + ms));
}

/* A session of its own is greeted with a refusal at once. */
static bool turned_away(struct world *w, unsigned dest)
{
	return route_turned_away(w->shared, dest, w->now, w->now, "421 no");
}

static void test_busy_pauses(void **state)
{
	static const unsigned seconds[] = { 2, 4, 8, 16, 32, 60, 60, 60 };
	struct world w;
	char words[ROUTE_WORDS_MAX];

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_int_equal(route_health(w.shared, 0), ROUTE_UP);
	assert_int_equal(route_busy_words(w.shared, 0, words), 0);
	for (unsigned i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		/* Many sessions are turned away at the same time: that is one greeting. */
		for (unsigned k = 0; k < 5; k++)
			assert_int_equal(turned_away(&w, 0), i == 0 && k == 0);
		busy_for_ms(&w, 0, 1000 * seconds[i]);
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now + 1000 * seconds[i] - 1),
				 0);
		w.now += 1000 * seconds[i];
		/* One caller looks; a look that never ends is replaced after the same time. */
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now), 1);
		busy_for_ms(&w, 0, 1000 * seconds[i]);
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now), 0);
	}
	assert_int_equal(route_health(w.shared, 0), ROUTE_BUSY);
	assert_int_equal(route_health(w.shared, 1), ROUTE_UP);
	assert_int_equal(route_busy_since(w.shared, 0), 1000000);
	assert_int_equal(route_busy_words(w.shared, 0, words), 6);
	assert_string_equal(words, "421 no");
	/* What the look found ends it, whenever that was; then all begins anew. */
	assert_true(route_welcomed(w.shared, 0, w.now, w.now + 1));
	assert_false(route_welcomed(w.shared, 0, w.now, w.now + 1));
	assert_int_equal(route_health(w.shared, 0), ROUTE_UP);
	assert_int_equal(route_busy_since(w.shared, 0), 0);
	w.now += 2;
	assert_true(turned_away(&w, 0));
	busy_for_ms(&w, 0, 2000);
	world_end(&w);
}

/* Sessions that were on their way when it changed say nothing about it. */
static void test_busy_old_greetings(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(turned_away(&w, 0));
	assert_false(route_welcomed(w.shared, 0, w.now - 1, w.now + 5000));
	assert_false(route_turned_away(w.shared, 0, w.now - 1, w.now + 5000, "421 no"));
	busy_for_ms(&w, 0, 2000);
	/* Greetings of both kinds at the same time: the first pause holds. */
	assert_false(route_welcomed(w.shared, 0, w.now + 1, w.now + 1999));
	assert_true(route_welcomed(w.shared, 0, w.now + 1, w.now + 2000));
	assert_false(route_turned_away(w.shared, 0, w.now + 1999, w.now + 3000, "421 no"));
	assert_false(route_busy(w.shared, 0));
	assert_true(route_turned_away(w.shared, 0, w.now + 2000, w.now + 3000, "421 no"));
	world_end(&w);
}

static void test_busy_is_no_candidate(void **state)
{
	static const enum route_balance balances[] = { ROUTE_LEAST_SESSIONS, ROUTE_ROUND_ROBIN,
						       ROUTE_SOURCE };

	(void)state;
	for (unsigned b = 0; b < 3; b++) {
		struct route_search search = { 0 };
		struct world w;
		unsigned seen = 0;

		world_init(&w, "10.0.0.1:25 10.0.0.2:25,max=200 10.0.0.3:25", ROUTE_CLUSTER,
			   balances[b]);
		int first = pick_leave(&w);

		assert_true(turned_away(&w, (unsigned)first));
		for (unsigned i = 0; i < 300; i++) {
			w.now += 100; /* nor when the pause is over: to look is the background's */
			assert_int_not_equal(pick_leave(&w), first);
		}
		/* One that is down is worse than one that is busy. */
		for (unsigned i = 0; i < 3; i++)
			if ((int)i != first)
				break_destination(&w, i);
		assert_int_equal(pick_leave(&w), first);
		/* Where the free ones fail a session, it goes to the busy one. */
		for (unsigned i = 0; i < 3; i++)
			if ((int)i != first)
				route_connected(w.shared, i, w.now);
		for (unsigned i = 0; i < 2; i++) {
			int dest = pick(&w, &search);

			assert_int_not_equal(dest, first);
			failed(&w, &search, dest);
		}
		assert_int_equal(pick(&w, &search), first);
		w.sessions[first]--;
		/* All are busy: all are candidates. */
		for (unsigned i = 0; i < 3; i++) {
			route_connected(w.shared, i, w.now);
			turned_away(&w, i);
		}
		for (unsigned i = 0; i < 200; i++) {
			w.client.ip[3] = (uint8_t)i;
			seen |= 1u << pick_leave(&w);
		}
		assert_int_equal(seen, 7);
		world_end(&w);
	}
}

/* A single destination, and one with backups, is used whatever it says. */
static void test_busy_beyond_clusters(void **state)
{
	static const struct {
		const char *list;
		enum route_cooperation cooperation;
	} rows[] = { { "10.0.0.1:25", ROUTE_SINGLE }, { "10.0.0.1:25 10.0.0.2:25", ROUTE_BACKUP } };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world w;

		world_init(&w, rows[i].list, rows[i].cooperation, ROUTE_LEAST_SESSIONS);
		assert_true(turned_away(&w, 0));
		assert_int_equal(route_health(w.shared, 0), ROUTE_BUSY);
		assert_int_equal(pick_leave(&w), 0);
		w.now += 2000;
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now), 0);
		assert_int_equal(pick_leave(&w), 0);
		assert_false(turned_away(&w, 0));
		busy_for_ms(&w, 0, 4000);
		assert_true(route_welcomed(w.shared, 0, w.now, w.now + 2000));
		world_end(&w);
	}
}

/* What goes is forgotten, what stays in the list is known. */
static void test_busy_is_kept(void **state)
{
	struct world was, is;
	char words[ROUTE_WORDS_MAX];

	(void)state;
	world_init(&was, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	world_init(&is, "10.0.0.3:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(turned_away(&was, 0));
	was.now += 10;
	assert_true(turned_away(&was, 1));
	is.now = was.now;
	route_carry_over(is.shared, &is.route, was.shared, &was.route);
	assert_false(route_busy(is.shared, 0));
	busy_for_ms(&is, 1, 2000);
	assert_int_equal(route_busy_since(is.shared, 1), is.now);
	assert_int_equal(route_busy_words(is.shared, 1, words), 6);
	assert_string_equal(words, "421 no");
	/* One that goes down is that, and is not busy when it comes back, whatever those find who
	 * were on their way to it before. */
	break_destination(&is, 1);
	assert_int_equal(route_health(is.shared, 1), ROUTE_DOWN);
	assert_false(turned_away(&is, 1));
	is.now += 10;
	assert_true(route_connected(is.shared, 1, is.now));
	assert_int_equal(route_health(is.shared, 1), ROUTE_UP);
	assert_false(route_turned_away(is.shared, 1, is.now - 1, is.now, "421 no"));
	assert_true(turned_away(&is, 1));
	world_end(&was);
	world_end(&is);
}

/* ---- several processes ---- */

/* A set of addresses that cannot be mistaken for parts of two: all octets are alike. */
static unsigned make_set(struct addr out[ROUTE_ADDRESSES], unsigned seed)
{
	unsigned n = 1 + seed % ROUTE_ADDRESSES;

	for (unsigned i = 0; i < n; i++) {
		out[i] = (struct addr){ .family = 6, .port = (uint16_t)(1 + seed % 60000) };
		memset(out[i].ip, (int)(seed % 251), sizeof(out[i].ip));
		out[i].ip[0] = (uint8_t)i; /* told apart by this alone */
	}
	return n;
}

static _Noreturn void write_forever(struct route_shared *s, unsigned seed)
{
	struct addr set[ROUTE_ADDRESSES];

	for (;; seed++)
		route_set_addresses(s, 0, set, make_set(set, seed));
}

/* Reads once: a whole set, never parts of two. */
static void read_set(struct route_shared *s)
{
	struct addr got[ROUTE_ADDRESSES];
	unsigned n = route_get_addresses(s, 0, got);

	assert_in_range(n, 1, ROUTE_ADDRESSES);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(got[i].port, got[0].port);
		assert_int_equal(got[i].family, 6);
		for (unsigned k = 1; k < sizeof(got[i].ip); k++)
			assert_int_equal(got[i].ip[k], got[0].ip[1]);
		assert_true(got[i].ip[0] < n);
	}
	assert_int_equal(n, 1 + (got[0].port - 1u) % ROUTE_ADDRESSES);
}

static void test_writer_is_killed(void **state)
{
	struct addr set[ROUTE_ADDRESSES];
	struct world w;

	(void)state;
	srandom(5);
	world_init(&w, "name.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	route_set_addresses(w.shared, 0, set, make_set(set, 1));
	for (unsigned round = 0; round < 100; round++) {
		unsigned reads = (unsigned)random() % 3000;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG,
			      SIGKILL); /* a test that fails leaves nobody behind */
			write_forever(w.shared, round * 1000);
		}
		while (reads--)
			read_set(w.shared);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		/* Wherever it died: readers go on, and so does the next writer. */
		read_set(w.shared);
		struct route_search search = { 0 };

		assert_int_equal(pick(&w, &search), 0);
	}
	assert_true(route_set_addresses(w.shared, 0, set, make_set(set, 59000)));
	read_set(w.shared);
	world_end(&w);
}

static void test_one_caller_per_pause(void **state)
{
	enum { CHILDREN = 4, PAUSES = 200 };
	pid_t pid[CHILDREN];
	unsigned handed = 0;
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	break_destination(&w, 0);
	for (unsigned i = 0; i < CHILDREN; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			unsigned mine = 0;

			/* All count the same time: each pause is over once. */
			for (uint64_t t = 0; t < PAUSES; t++)
				mine += route_due(w.shared, &w.route, w.now + 5000 * (t + 1)) != 0;
			_exit((int)mine);
		}
	}
	for (unsigned i = 0; i < CHILDREN; i++) {
		int status;

		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(WIFEXITED(status));
		handed += (unsigned)WEXITSTATUS(status);
	}
	/* Whoever is behind finds the pause of a later time, and gets nothing for its own. */
	assert_in_range(handed, 1, PAUSES);
	world_end(&w);
}

static void test_round_robin_of_many(void **state)
{
	enum { CHILDREN = 4, PICKS = 20000 };
	unsigned *got = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[CHILDREN];
	struct world w;

	(void)state;
	assert_true(got != MAP_FAILED);
	world_init(&w, "10.0.0.1:25,weight=3 10.0.0.2:25,weight=2 10.0.0.3:25", ROUTE_CLUSTER,
		   ROUTE_ROUND_ROBIN);
	for (unsigned i = 0; i < CHILDREN; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			for (unsigned k = 0; k < PICKS; k++)
				__atomic_fetch_add(&got[pick_leave(&w)], 1, __ATOMIC_RELAXED);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < CHILDREN; i++)
		assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
	for (unsigned d = 0; d < 3; d++) {
		unsigned fair = CHILDREN * PICKS * w.route.destination[d].weight / 6;

		assert_in_range(got[d], fair - fair / 50, fair + fair / 50);
	}
	world_end(&w);
	munmap(got, 4096);
}

/* ---- notes ---- */

static void test_note(void **state)
{
	static const char list[] = "a.example:25 b.example:25";
	uint8_t out[ROUTE_NOTE_MAX], longest[ROUTE_NOTE_MAX];
	struct route_shared *s;
	struct world w;

	(void)state;
	world_init(&w, list, ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	assert_int_equal(route_note_number(s, 0), 0);
	assert_int_equal(route_note_read(s, 0, out), 0);
	route_note_write(s, 0, SPAN("one"));
	assert_int_equal(route_note_number(s, 0), 1);
	assert_int_equal(route_note_read(s, 0, out), 3);
	assert_memory_equal(out, "one", 3);
	memset(longest, 'x', sizeof(longest));
	for (size_t n = sizeof(longest); n > 0; n--) {
		route_note_write(s, 0, span_of(longest, n));
		assert_int_equal(route_note_read(s, 0, out), n);
		assert_memory_equal(out, longest, n);
	}
	assert_int_equal(route_note_number(s, 1), 0);
	assert_int_equal(route_note_read(s, 1, out), 0);
	world_end(&w);
}

static void test_note_is_carried_over(void **state)
{
	static const char before[] = "a.example:25 b.example:25",
			  after[] = "c.example:25 b.example:25";
	uint8_t out[ROUTE_NOTE_MAX];
	struct world was, is;
	struct route_shared *old, *s;

	(void)state;
	world_init(&was, before, ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	world_init(&is, after, ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	old = was.shared;
	s = is.shared;
	route_note_write(old, 0, SPAN("a"));
	route_note_write(old, 1, SPAN("b"));
	route_note_next(old, 1, 500);
	assert_true(route_note_claim(old, 1, 0, 1, 1000) > 0);
	route_carry_over(s, &is.route, old, &was.route);
	assert_int_equal(route_note_read(s, 0, out), 0);
	assert_true(route_note_due(s, 0, 0));
	assert_int_equal(route_note_read(s, 1, out), 1);
	assert_int_equal(out[0], 'b');
	assert_false(route_note_due(s, 1, 499));
	assert_true(route_note_due(s, 1, 500));
	/* The claim's holder writes into the state of before. */
	assert_false(route_note_awaited(s, 1, 2));
	world_end(&was);
	world_end(&is);
}

static void test_note_has_one_writer(void **state)
{
	uint64_t claim, other;
	struct route_shared *s;
	struct world w;

	(void)state;
	world_init(&w, "a.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	assert_true(route_note_due(s, 0, 0));
	claim = route_note_claim(s, 0, 7, 100, 50);
	assert_true(claim > 0);
	assert_true(route_note_awaited(s, 0, 149));
	assert_int_equal(route_note_claim(s, 0, 7, 149, 50), 0);
	route_note_hold(s, 0, &claim, 140, 50);
	assert_int_equal(route_note_claim(s, 0, 8, 189, 50), 0);
	/* Its holder does not go on. */
	assert_false(route_note_awaited(s, 0, 190));
	other = route_note_claim(s, 0, 8, 190, 50);
	assert_true(other > 0);
	/* … or only held up: the claim is another's now. */
	route_note_leave(s, 0, claim);
	route_note_hold(s, 0, &claim, 200, 500);
	assert_true(route_note_awaited(s, 0, 239));
	assert_false(route_note_awaited(s, 0, 240));
	route_note_leave(s, 0, other);
	assert_false(route_note_awaited(s, 0, 201));
	assert_int_equal(route_note_since(s, 0), 0);
	route_note_begun(s, 0, 201);
	assert_int_equal(route_note_since(s, 0), 201);
	world_end(&w);
}

static void test_note_claim_ends_with_its_holder(void **state)
{
	const uint64_t long_ms = 1000000;
	struct route_shared *s;
	struct world w;

	(void)state;
	world_init(&w, "a.example:25 b.example:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	assert_true(route_note_claim(s, 0, ROUTE_HOLDERS - 1, 100, long_ms) > 0);
	assert_true(route_note_claim(s, 1, 0, 100, long_ms) > 0);
	route_note_release(s, 1);
	assert_true(route_note_awaited(s, 0, 101));
	assert_true(route_note_awaited(s, 1, 101));
	route_note_release(s, 0);
	assert_true(route_note_awaited(s, 0, 101));
	assert_false(route_note_awaited(s, 1, 101));
	route_note_release(s, ROUTE_HOLDERS - 1);
	assert_true(route_note_claim(s, 0, 1, 101, 50) > 0);
	/* That of before is nobody's, and ends nothing. */
	route_note_release(s, ROUTE_HOLDERS - 1);
	assert_true(route_note_awaited(s, 0, 102));
	world_end(&w);
}

/* Two that write at the same time, each as fast as it can, and a reader: it reads a whole note of
 * one of them, or none. When both are gone, killed anywhere, the next note is read. */
static void test_note_of_two_writers(void **state)
{
	uint8_t out[ROUTE_NOTE_MAX];
	struct route_shared *s;
	struct world w;
	pid_t child[2];

	(void)state;
	world_init(&w, "a.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		assert_true(child[i] >= 0);
		if (child[i] == 0) {
			uint8_t note[ROUTE_NOTE_MAX];

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (unsigned n = 0;; n++) {
				memset(note, 'a' + i + 2 * (int)(n % 10), sizeof(note));
				route_note_write(s, 0, span_of(note, 200 + n % 800));
			}
		}
	}
	for (int i = 0; i < 20000; i++) {
		size_t n = route_note_read(s, 0, out);

		for (size_t k = 1; k < n; k++)
			assert_int_equal(out[k], out[0]);
	}
	for (int i = 0; i < 2; i++) {
		kill(child[i], SIGKILL);
		assert_int_equal(waitpid(child[i], NULL, 0), child[i]);
	}
	route_note_write(s, 0, SPAN("one"));
	assert_int_equal(route_note_read(s, 0, out), 3);
	assert_memory_equal(out, "one", 3);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_faults),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_all_faults_in_one_run),
		cmocka_unit_test(test_most_destinations),
		cmocka_unit_test(test_single),
		cmocka_unit_test(test_addresses_in_turn),
		cmocka_unit_test(test_changed_addresses),
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_no_session_waits),
		cmocka_unit_test(test_old_failures),
		cmocka_unit_test(test_tries_take_turns),
		cmocka_unit_test(test_checks),
		cmocka_unit_test(test_room_wanted),
		cmocka_unit_test(test_backup),
		cmocka_unit_test(test_cluster_full_and_failed),
		cmocka_unit_test(test_cluster_without_addresses),
		cmocka_unit_test(test_telling),
		cmocka_unit_test(test_drained),
		cmocka_unit_test(test_drained_in_cluster),
		cmocka_unit_test(test_least_sessions),
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_round_robin_is_smooth),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_busy_pauses),
		cmocka_unit_test(test_busy_old_greetings),
		cmocka_unit_test(test_busy_is_no_candidate),
		cmocka_unit_test(test_busy_beyond_clusters),
		cmocka_unit_test(test_busy_is_kept),
		cmocka_unit_test(test_writer_is_killed),
		cmocka_unit_test(test_one_caller_per_pause),
		cmocka_unit_test(test_round_robin_of_many),
		cmocka_unit_test(test_note),
		cmocka_unit_test(test_note_is_carried_over),
		cmocka_unit_test(test_note_has_one_writer),
		cmocka_unit_test(test_note_claim_ends_with_its_holder),
		cmocka_unit_test(test_note_of_two_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
