/* SPDX-License-Identifier: ISC */
/*
 * worker: what the sessions of one worker share. Everything is sized at start; a session takes from
 * the pools what it needs while it needs it, and exhaustion is a 421 (invariant 7).
 */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "base/list.h"
#include "base/pool.h"
#include "io/io.h"
#include "io/pipe.h"
#include "proxy/dialog.h"
#include "proxy/limits.h"
#include "proxy/runtime.h"
#include "proxy/stress.h"
#include "proxy/worker_version.h"

struct worker {
	const struct runtime *rt; /* the newest version's: not that of a session */
	struct worker_version *newest;
	struct list versions; /* the oldest first */
	bool behind;	      /* there is a newer one, which could not be taken */
	struct io_op channel_op;
	unsigned slot;
	struct io *io;
	struct xmllog log; /* for what belongs to no session */
	struct stats_worker *stats;
	struct pool sessions, more, works, letters, bodies, splices, partings, warms;
	struct io_pipes pipes;
	struct list open; /* struct session */
	unsigned open_count;
	unsigned refused; /* of these, how many have no seat and are only told so */
	struct xmllog_session next_id;
	bool draining; /* ends with its last session */
	bool stressed; /* strangers are waited for less long */
	struct stress stress;
	uint64_t proxy_header_us; /* when a PROXY header was last told of; 0: never */
	int exit_status;
};

/* Takes a seat for a connection and begins its session, or refuses it; but where all seats are
 * taken and this is not the LAST time, nothing happens to it. */
enum seats_verdict worker_admit(struct worker *w, int fd, const struct addr *client,
				bool in_network, bool last);
/* A session has ended and its memory is free again. */
void worker_session_gone(struct worker *w);
/* The destination's state changed: one `destination` record. */
void worker_destination_record(struct worker *w, const struct runtime *rt, unsigned dest,
			       enum route_health health, const char *why);
void worker_fault_record(struct worker *w, const char *what, const char *detail);

#endif
