/* SPDX-License-Identifier: ISC */
/*
 * control: the status process, a child of the master that answers questions about the daemon: on
 * CONTROL_SOCKET for carontectl, on METRICS_ADDRESS for Prometheus. It reads the figures
 * (figures.h) and can do two things: drain a destination, or take it back; and send the master a
 * signal, as any process of USER could. It runs as USER, has none of the mail's sockets, and its
 * death costs nothing but a restart.
 *
 * The socket's protocol: one connection, one request, one line ended by LF; the answer; the end.
 *
 *   status       one JSON document
 *   drain NAME   "ok …" or "error …"; NAME is one of DESTINATIONS
 *   ready NAME   the same
 *   results      what became of the last reload, upgrade and stop (results.h)
 *   reload       asks for it; the answer is the results, as soon as it is over, or as they are
 *                after CONTROL_PATIENCE_MS
 *   upgrade      the same
 *   stop         the same, but the answer waits for the end
 *   wait KIND N  the results as soon as KIND has ended N times, or after CONTROL_PATIENCE_MS
 *
 * A reload or an upgrade that succeeds ends this process: who waits asks the next one, by `wait`.
 *
 * Bounded: CONTROL_CLIENTS at a time, CONTROL_LINE octets of a request, CONTROL_PATIENCE_MS for the
 * whole of it; more clients wait in the socket's queue.
 */
#ifndef STATUS_CONTROL_H
#define STATUS_CONTROL_H

#include <stddef.h>

#include "base/addr.h"
#include "runtime/runtime.h"

#define CONTROL_CLIENTS	    16
#define CONTROL_LINE	    512
#define CONTROL_PATIENCE_MS 5000

/*
 * Makes the socket as USER, who must be who we are already; one that a dead daemon left is
 * replaced. Its descriptor in *FD. 0, or an exit status with a line for the operator in WHY (CAP
 * octets).
 */
int control_open(const char *path, int *fd, char *why, size_t cap)
	__attribute__((warn_unused_result));
/* Removes the socket at PATH, when it is still that of FD. */
void control_remove(const char *path, int fd);

/* The process's whole life. CONTROL_FD and METRICS_FD: listening sockets, -1: none. */
int control_main(const struct runtime *rt, int control_fd, int metrics_fd);

#endif
