/* SPDX-License-Identifier: ISC */
/*
 * worker: one process that serves sessions. Accepts connections, gives each a seat and a session,
 * follows the versions of the configuration, and ends when told.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "runtime/context.h"

/*
 * A worker process's whole life; the exit status. TERM: stops accepting, lets sessions run for
 * STOP_GRACE, ends. INT: ends at once. USR2: stops accepting, serves what it has accepted, and ends
 * with its last session. EPOCH_US: see xmllog.h. The listening sockets stay open
 * (closing one would reset what waits in it; the master holds them anyway). These signals mean the
 * same in every release: the program that sends them may be a newer one.
 */
int worker_main(const struct runtime *rt, unsigned slot, uint64_t epoch_us);

#endif
