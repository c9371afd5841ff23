/* SPDX-License-Identifier: ISC */
/*
 * runtime: what the master makes before it drops privilege and forks, and what every worker then
 * works with. Read-only for workers, but for what is shared on purpose (seats, route_shared,
 * rings).
 */
#ifndef PROXY_RUNTIME_H
#define PROXY_RUNTIME_H

#include <stdint.h>

#include "config/config.h"
#include "io/io.h"
#include "policy/policy.h"
#include "proxy/seats.h"
#include "route/route.h"
#include "xmllog/xmllog.h"

struct runtime {
	const struct config *config;
	enum io_engine engine; /* probed as USER: IO_ENGINE_URING or IO_ENGINE_EPOLL */
	struct policy policy;
	const struct route *route;
	struct route_shared *route_shared;
	struct seats *seats;
	unsigned workers;
	unsigned listen_count;	    /* addresses listened on */
	const int *listen_fds;	    /* listen_fds[worker * listen_count + i] */
	struct xmllog_ring **rings; /* [0] the master's, [1 + i] worker i's */
	int log_wake_fd;
	int ready_fd; /* see runtime_ready() */
};

/*
 * A worker process's whole life; the exit status. TERM: stops accepting, lets sessions run for
 * STOP_GRACE, ends. INT: ends at once. EPOCH_US: see xmllog.h. The listening sockets stay open
 * (closing one would reset what waits in it; the master holds them anyway).
 */
int worker_main(const struct runtime *rt, unsigned worker, uint64_t epoch_us);
/*
 * Called by a worker once, when it accepts connections: the daemon is ready when all have. A worker
 * that ends before its first call ends the start.
 */
void runtime_ready(const struct runtime *rt, unsigned worker);

struct check;
/*
 * Makes what processes share (seats, route_shared with the addresses that the check found, rings,
 * the eventfd) and fills RT; LISTEN_FDS and READY_FD are the caller's. 0 or -errno. Lives as long
 * as the process.
 */
int runtime_make(struct runtime *rt, const struct config *c, const struct check *k)
	__attribute__((warn_unused_result));

#endif
