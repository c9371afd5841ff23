/* SPDX-License-Identifier: ISC */
/* resolver: see resolver.h. */
#include "check/resolver.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "io/net.h"
#include "route/parse.h"
#include "route/shared.h"
#include "shared/memory.h"

/* Of this run, a bit for each destination. */
struct resolver_answers {
	_Atomic uint64_t begun; /* it was asked for */
	_Atomic uint64_t found; /* and resolved */
};

_Static_assert(NET_RESOLVE_MAX <= ROUTE_ADDRESSES, "all addresses of a name find room");

bool resolver_literal(const char *host_port, struct addr *a)
{
	char host[ADDR_TEXT_MAX];
	const char *colon = strrchr(host_port, ':');
	const char *from = host_port;
	char *end;
	unsigned long port;
	size_t n;

	if (!colon || colon == host_port)
		return false;
	n = (size_t)(colon - from);
	if (*from == '[') {
		if (n < 2 || colon[-1] != ']')
			return false;
		from++;
		n -= 2;
	}
	/* Brackets stand around what has colons, and around nothing else: "::1:25" is an address.
	 */
	if (n >= sizeof(host) || colon[1] < '1' || colon[1] > '9' ||
	    (memchr(from, ':', n) != NULL) != (*host_port == '['))
		return false;
	memcpy(host, from, n);
	host[n] = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (*end || port > UINT16_MAX || addr_parse_ip(a, host) != 0)
		return false;
	a->port = (uint16_t)port;
	return true;
}

int resolver_init(struct resolver *r, const struct route *route, struct route_shared *shared,
		  const struct listen_set *listen)
{
	r->answers = shared_map(sizeof(*r->answers));
	if (!r->answers)
		return -ENOMEM;
	resolver_change(r, route, shared, listen);
	return 0;
}

void resolver_change(struct resolver *r, const struct route *route, struct route_shared *shared,
		     const struct listen_set *listen)
{
	struct addr a;

	*r = (struct resolver){
		.route = route, .shared = shared, .listen = listen, .answers = r->answers
	};
	for (unsigned i = 0; i < route->count; i++)
		if (!route_literal(route->destination[i].name, &a))
			r->names |= UINT64_C(1) << i;
	/* route/ wants every name asked for at first; the check has just done that. */
	(void)route_to_resolve(shared, route);
}

void resolver_missing(struct resolver *r, unsigned dest)
{
	r->silent |= UINT64_C(1) << dest & r->names;
	r->wanted |= UINT64_C(1) << dest & r->names;
}

/* Asks for one name. Addresses at which the daemon itself listens are left out: the check at start
 * could not see them, and mail would run in a circle. */
static bool ask(const struct resolver *r, unsigned dest)
{
	struct addr a[NET_RESOLVE_MAX];
	unsigned kept = 0;
	int n;

	alarm(RESOLVER_PATIENCE_S);
	n = net_resolve(r->route->destination[dest].name, a);
	alarm(0); /* never in the middle of writing what others read */
	for (int i = 0; i < n; i++)
		if (!listen_reached_by(r->listen, &a[i]))
			a[kept++] = a[i];
	if (kept)
		route_set_addresses(r->shared, dest, a, kept);
	return kept != 0;
}

static void ask_all(const struct resolver *r, uint64_t names)
{
	for (; names; names &= names - 1) {
		atomic_fetch_or(&r->answers->begun, names & -names);
		if (ask(r, (unsigned)__builtin_ctzll(names)))
			atomic_fetch_or(&r->answers->found, names & -names);
	}
}

/* Those that did not answer when asked last come last: one that takes all our patience ends us, and
 * the others would never be asked. */
static _Noreturn void child(const struct resolver *r)
{
	ask_all(r, r->asked & ~r->silent);
	ask_all(r, r->asked & r->silent);
	_exit(0);
}

int resolver_run(struct resolver *r, uint64_t now_ms, void (*child_init)(void *ctx), void *ctx)
{
	r->wanted |= route_to_resolve(r->shared, r->route) & r->names;
	if (!r->refresh_ms)
		r->refresh_ms = now_ms + RESOLVER_REFRESH_MS;
	if (now_ms >= r->refresh_ms) {
		r->refresh_ms = now_ms + RESOLVER_REFRESH_MS;
		r->wanted |= r->names;
	}
	if (r->pid || !r->wanted || now_ms < r->not_before_ms)
		return 0;
	r->asked = r->wanted;
	atomic_store(&r->answers->begun, 0);
	atomic_store(&r->answers->found, 0);
	pid_t pid = fork();

	if (pid == 0) {
		child_init(ctx);
		child(r);
	}
	if (pid < 0) {
		r->not_before_ms = now_ms + RESOLVER_PAUSE_MS;
		return -errno;
	}
	r->wanted = 0;
	r->pid = pid;
	return 0;
}

void resolver_ended(struct resolver *r, uint64_t now_ms, uint64_t *lost, uint64_t *found)
{
	uint64_t answered = atomic_load(&r->answers->found) & r->asked;
	uint64_t unanswered = atomic_load(&r->answers->begun) & r->asked & ~answered;

	*lost = unanswered & ~r->silent;
	*found = answered & r->silent;
	r->silent = (r->silent | unanswered) & ~answered;
	r->wanted |= r->asked & ~answered;
	/* Also after a good answer: a destination that is down asks for it at each failure. */
	r->not_before_ms = now_ms + RESOLVER_PAUSE_MS;
	r->pid = 0;
}
