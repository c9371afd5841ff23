/* SPDX-License-Identifier: ISC */
/*
 * context: what a worker's sessions and connections work with: its engine, log, figures and pools,
 * and the versions of the configuration that it serves. Everything is sized at start; a session
 * takes from the pools what it needs while it needs it, and exhaustion is a 421 (invariant 7).
 *
 * New sessions get the newest version; a session keeps the one that it began with. Whatever keeps
 * the index of a destination over a turn of the loop is a user of its version, since the index
 * means something in that version alone. One without a user is released at the end of the turn, by
 * the worker.
 */
#ifndef RUNTIME_CONTEXT_H
#define RUNTIME_CONTEXT_H

#include "base/list.h"
#include "base/pool.h"
#include "io/io.h"
#include "io/pipe.h"
#include "dialog/dialog.h"
#include "check/limits.h"
#include "route/shared.h"
#include "runtime/runtime.h"
#include "tls/load.h"
#include "tls/peer.h"
#include "tls/set.h"
#include "tls/tls.h"
#include "check/version.h"

struct session_heir;
struct warm;

/* A version that the process serves. */
struct context_version {
	struct list link;
	struct runtime rt;
	struct version own; /* mapped by this worker; else rt.version is the master's */
	struct xmllog log;  /* with this version's LOG_LEVEL */
	struct dialog_env env;
	struct warm *warm;   /* DIALOG_GATEWAY; else NULL */
	struct tls_set *tls; /* certificates for clients; NULL: none */
	/* Private keys while certificates are loaded, where this process has them; NULL: none. */
	void *keys;
	size_t keys_n;
	/* Of each destination; NULL: it is spoken to in clear. */
	struct tls_peer *peers[DESTINATIONS_MAX];
	unsigned users; /* sessions, and whatever else keeps it */
};

struct context {
	const struct runtime *rt; /* the newest version's: not that of a session */
	struct context_version *newest;
	struct list versions;	 /* the oldest first */
	struct io_task released; /* a version has lost its last user: the worker sees to it */
	unsigned slot;
	struct io *io;
	struct xmllog log; /* for what belongs to no session */
	struct stats_worker *stats;
	struct pool sessions, more, works, letters, reaches, bodies, splices, partings, warms;
	struct pool heirs;
	struct pool talks; /* what is said to destinations before mail */
	struct io_pipes pipes;
	struct tls tls;
	struct distant *distant; /* who signs for this process; NULL: it has keys itself */
	struct list open;	 /* struct session */
	unsigned open_count;
	unsigned long_steps; /* sessions that may have one (WORKER_LONG) */
	unsigned refused;    /* of these, how many have no seat and are only told so */
	struct xmllog_session next_id;
	bool draining; /* ends with its last session */
	bool stressed; /* strangers are waited for less long */
	struct {
		unsigned told, left; /* since the last tick */
	} client_faults;
	uint64_t proxy_header_us; /* when a PROXY header was last told of; 0: never */
	/* A session has ended and its memory is free again: the worker's. */
	void (*session_gone)(struct context *ctx);
	/* … and its connection is another one's (session/rename.h). */
	void (*session_renamed)(struct context *ctx, struct session_heir *heir);
};

/* V, whose `rt` is filled in, is the newest version from now on. OFFER is what clients are offered
 * (DIALOG_GATEWAY), or NULL. */
void context_version_begin(struct context *ctx, struct context_version *v,
			   const struct smtp_offer *offer);
/* Takes over private keys, in the file FD; -1: they are not for this process. */
int context_map_keys(struct context_version *v, int fd) __attribute__((warn_unused_result));
/* The certificates of V, whose `rt` is filled in, before it begins: MOST of them at a time, by one
 * LOADING that is all zero at first; and what V asks of destinations. 0: all is there; 1: there is
 * more; or -errno and a record, and nothing is left of it.
 */
int context_load_tls(struct context *ctx, struct context_version *v, struct tls_loading *loading,
		     unsigned most) __attribute__((warn_unused_result));
void context_free_tls(struct context_version *v);
/* The newest version, for one more user. */
struct context_version *context_version_get(struct context *ctx);
void context_version_put(struct context *ctx, struct context_version *v);

/* The destination's state changed: one `destination` record. */
void context_destination_record(struct context *ctx, const struct runtime *rt, unsigned dest,
				enum route_health health, const char *why);
void context_fault_record(struct context *ctx, const char *what, const char *detail);
/* Tells how many faults of clients were left out. Once a second, while there are sessions. */
void context_tell_faults(struct context *ctx);
/* A client's fault, in session ID. There can be many: ten a second are told. */
void context_client_fault(struct context *ctx, const char *what, const struct xmllog_session *id,
			  const struct addr *client, const char *detail);

#endif
