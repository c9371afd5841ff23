/* SPDX-License-Identifier: ISC */
/*
 * metrics: METRICS_ADDRESS, the figures by HTTP: GET /metrics and nothing else, by GNU
 * libmicrohttpd, driven by the loop of the status process (control.c). Bounded: METRICS_CLIENTS
 * connections, of them METRICS_CLIENTS_PER_IP from one address, each silent for
 * METRICS_PATIENCE_S at most.
 */
#ifndef STATUS_METRICS_H
#define STATUS_METRICS_H

#include <stddef.h>

#include "base/addr.h"
#include "status/figures.h"

#define METRICS_CLIENTS	       16u
#define METRICS_CLIENTS_PER_IP 8u
#define METRICS_PATIENCE_S     10u

/* Listens on A. The socket is in *FD. 0, or an exit status (EX_UNAVAILABLE, EX_NOPERM) with a line
 * for the operator in WHY (CAP octets). */
int metrics_listen(const struct addr *a, int *fd, char *why, size_t cap)
	__attribute__((warn_unused_result));

struct metrics; /* opaque */
/* Serves on FD from F's figures, which must live longer. NULL: no memory. */
struct metrics *metrics_start(int fd, struct figures *f);
/* To be watched for reading; then, and after metrics_wait_ms(), call metrics_run(). */
int metrics_fd(struct metrics *m);
/* Milliseconds until something is due; -1: nothing is. */
int metrics_wait_ms(struct metrics *m);
void metrics_run(struct metrics *m);

#endif
