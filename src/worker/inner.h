/* SPDX-License-Identifier: ISC */
/*
 * inner: what the files of a worker share. admit.c gives one connection a seat and a
 * session; stress.c says whom it takes the seat from; accept.c takes connections from
 * the sockets; drain.c ends the process; versions.c follows the configuration;
 * worker.c begins all that.
 */
#ifndef WORKER_INNER_H
#define WORKER_INNER_H

#include "door/door.h"
#include "worker/stress.h"
#include "worker/worker.h"

#define WORKER_TICK_MS 1000

struct listener {
	struct worker *worker;
	struct io_op op;
	struct io_timer pause;
	struct addr peer; /* of what is being accepted */
	int fd;
	bool tls_first; /* LISTEN_TLS_PORT */
	bool accepting;
	unsigned failures; /* since a connection was accepted */
};

struct worker {
	struct context ctx;
	struct stress stress;
	struct door door;
	struct health *health;

	/* accept.c */
	struct listener listeners[LISTEN_MAX];
	unsigned listener_count;
	struct io_timer look_timer;

	/* drain.c */
	struct io_task done_task;
	struct io_timer drain_timer;
	struct io_op signal_op;
	int signal_fd;
	uint64_t drain_until_ms;
	bool stopping; /* TERM or INT: not only retired */
	bool told;     /* the sessions that outlived STOP_GRACE have been told */

	/* versions.c */
	bool behind; /* there is a newer version, which could not be taken */
	struct io_op channel_op;
	struct context_version *coming; /* whose certificates are being loaded; NULL: none */
	struct tls_loading loading;
	struct io_task load_task;

	/* worker.c: ticks while there are sessions, or buffers to give back */
	struct io_timer tick_timer, trim_timer;
};

/* Takes a seat for a connection and begins its session, or refuses it; but where all seats are
 * taken and this is not the LAST time, nothing happens to it. */
enum seats_verdict worker_admit(struct worker *w, const struct session_client *client, bool last);

/* A proxy has named a client, and HEIR has the connection: context.h. */
void worker_renamed(struct context *ctx, struct session_heir *heir);
/* Its door. 0 or -ENOMEM. */
int worker_door(struct worker *w) __attribute__((warn_unused_result));
/* Accepts on the worker's own sockets. */
void worker_accept(struct worker *w);
/* No more; what an accept that was cancelled brings all the same is still served. */
void worker_accept_end(struct worker *w);
/* Takes what waits at sockets that others accept on too, and whose accepts are pausing here. */
void worker_accept_rest(struct worker *w);
bool worker_accepts(const struct worker *w);

/* Watches for signals from now on. 0 or -errno. */
int worker_drain_begin(struct worker *w) __attribute__((warn_unused_result));
/* Something has ended that the end of the worker may have waited for. */
static inline void worker_look(struct worker *w)
{
	io_defer(w->ctx.io, &w->done_task);
}

/* The version that the worker is started with. 0 or -ENOMEM. */
int worker_versions_begin(struct worker *w, const struct runtime *rt)
	__attribute__((warn_unused_result));
/* Listens to the master from now on; W has its engine. */
void worker_versions_listen(struct worker *w);

#endif
