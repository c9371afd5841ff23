/* SPDX-License-Identifier: ISC */
/* runtime: see runtime.h. Made by the master before it forks, as whoever it was started. */
#include "proxy/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy/check.h"
#include "proxy/shared.h"

/* Octets of records that may wait for the log writer, for each process. */
#define RING_OCTETS ((size_t)4 << 20)

static int make_rings(struct runtime *rt)
{
	rt->rings = calloc(1 + rt->workers, sizeof(struct xmllog_ring *));
	if (!rt->rings)
		return -ENOMEM;
	for (unsigned i = 0; i <= rt->workers; i++) {
		rt->rings[i] = shared_map(xmllog_ring_room(RING_OCTETS));
		if (!rt->rings[i])
			return -ENOMEM;
		xmllog_ring_init(rt->rings[i], RING_OCTETS);
	}
	return 0;
}

static int make_route(struct runtime *rt, const struct check *k)
{
	rt->route = &k->route;
	rt->route_shared = shared_map(route_shared_room());
	if (!rt->route_shared)
		return -ENOMEM;
	route_shared_init(rt->route_shared, rt->route);
	for (unsigned i = 0; i < k->route.count; i++)
		route_set_addresses(rt->route_shared, i, k->probe.resolved[i].a,
				    k->probe.resolved[i].n);
	return 0;
}

int runtime_make(struct runtime *rt, const struct config *c, const struct check *k)
{
	int err;

	*rt = (struct runtime){
		.config = c,
		.engine = k->probe.engine,
		.policy = k->policy,
		.workers = k->workers,
		.listen_count = k->listen.count,
		.ready_fd = -1,
	};
	rt->seats = shared_map(seats_room((unsigned)c->set.max_sessions));
	if (!rt->seats)
		return -ENOMEM;
	err = seats_init(rt->seats, (unsigned)c->set.max_sessions);
	if (!err)
		err = make_route(rt, k);
	if (!err)
		err = make_rings(rt);
	if (err)
		return err;
	rt->log_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return rt->log_wake_fd < 0 ? -errno : 0;
}

void runtime_ready(const struct runtime *rt, unsigned worker)
{
	ssize_t n;

	/* Fails only when the master is gone, and then its death signal is on its way. */
	do {
		n = write(rt->ready_fd, &worker, sizeof(worker));
	} while (n < 0 && errno == EINTR);
}
