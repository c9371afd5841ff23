/* SPDX-License-Identifier: ISC */
/*
 * runtime: what a session works with: one version of the configuration (version.h) with the state
 * of its destinations, and what is the same for all of them (seats, figures, rings, sockets). The
 * master makes the first before it forks; a reload makes the next. Read-only for workers, but for
 * what is shared on purpose (seats, stats, route_shared, rings).
 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"
#include "io/io.h"
#include "policy/policy.h"
#include "shared/rates.h"
#include "shared/results.h"
#include "shared/seats.h"
#include "shared/slots.h"
#include "shared/stats.h"
#include "route/route.h"
#include "xmllog/xmllog.h"

/*
 * Several generations of workers can run at the same time: after an upgrade the old ones end their
 * sessions. Each worker has a slot, generation by generation, and all slots have their own ring,
 * figures and owner's number in the seats. SLOT % workers is the worker's number, which its
 * listening sockets have.
 */
#define RUNTIME_GENERATIONS 16u

/* Descriptors of what processes have in common, for the next program. */
struct runtime_files {
	int seats, stats, rings, tickets;
};

struct version;
struct resumption;
struct ticket_page;

struct runtime {
	uint64_t number; /* of the version, counted up */
	struct version *version;
	const struct config *config;
	const char *name;      /* what we call ourselves */
	enum io_engine engine; /* probed as USER: IO_ENGINE_URING or IO_ENGINE_EPOLL */
	bool kernel_tls;       /* the same: TLS_KERNEL_AUTO, and it works */
	struct policy policy;
	const struct route *route;
	struct route_shared *route_shared;
	uint8_t slot[DESTINATIONS_MAX]; /* where each destination is counted, in seats and stats */
	struct seats *seats;
	struct stats *stats;
	struct ticket_page *tickets;   /* keys of TLS sessions: the master's to write */
	struct rates *handshakes;      /* full ones, of each address */
	struct resumption *resumption; /* of TLS sessions with destinations, by `slot` */
	struct results *results;       /* of reloads, upgrades and the stop: the master's */
	unsigned workers;
	unsigned slots;	       /* workers * RUNTIME_GENERATIONS */
	unsigned generation;   /* the one that accepts connections */
	unsigned listen_count; /* addresses listened on */
	const int *listen_fds; /* listen_fds[worker * listen_count + i] */
	bool listen_handed;    /* they are another's, who made them, and not ours to end */
	pid_t master;
	struct xmllog_ring **rings; /* [0] the master's, [1 + i] slot i's, the last control's */
	unsigned ring_count;
	int log_wake_fd;
	int ready_fd;	/* see runtime_ready() */
	int channel_fd; /* a worker's own end, see channel.h; -1: none */
	int signer_fd;	/* … and where signatures are had (tls/distant.h); -1: keys are here */
	int keys_fd;	/* then, those of the version that a worker begins with; else -1 */
	struct runtime_files files;
};

/*
 * Called by a worker once, when it accepts connections: the daemon is ready when all have. A worker
 * that ends before its first call ends the start.
 */
void runtime_ready(const struct runtime *rt, unsigned slot);

/*
 * Makes what processes share whatever the configuration (seats, stats, rings, tickets, the eventfd)
 * and fills RT from V and what of it was found; the destinations' state, LISTEN_FDS and READY_FD
 * are the caller's. 0 or -errno. Lives as long as the process.
 */
int runtime_make(struct runtime *rt, struct version *v) __attribute__((warn_unused_result));
/* The same from what the program before has made; WAKE_FD is its eventfd. Of FILES, -1, and what
 * does not fit this program, is made anew, and FILES then says by what. *OTHER_SEATS: a table of
 * another layout that is to be counted too, or NULL. */
int runtime_adopt(struct runtime *rt, struct version *v, const struct runtime_files *files,
		  int wake_fd, struct seats **other_seats) __attribute__((warn_unused_result));
/* RT goes on with V: its settings, tables and destinations. */
void runtime_use(struct runtime *rt, struct version *v);
/* slots_assign() for the destinations of ROUTE. */
int runtime_assign_slots(struct slots *s, const struct route *route, uint64_t version,
			 uint64_t oldest, uint8_t out[DESTINATIONS_MAX])
	__attribute__((warn_unused_result));
/*
 * State for the destinations of V: with the addresses that its check has found, and what is known
 * of the same destinations in BEFORE (may be NULL). Its descriptor, with *STATE, or -errno.
 */
int runtime_route(const struct version *v, const struct runtime *before,
		  struct route_shared **state) __attribute__((warn_unused_result));
/* Unmaps such a state. */
void runtime_forget_route(struct route_shared *state);
/* The ring of a slot, and all those of its generation, are to be used from now on. */
void runtime_begin_generation(struct runtime *rt, unsigned generation);

#endif
