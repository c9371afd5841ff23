/* SPDX-License-Identifier: ISC */
/*
 * limits: what a worker may have at the same time, each number once. From them follow the size of
 * its engine, its pools and the descriptors that it needs, which are judged before it is there.
 */
#ifndef CHECK_LIMITS_H
#define CHECK_LIMITS_H

#include "config/config.h"
#include "io/io.h"

/* Blocks in which octets arrive outside of bodies: emptied at once, so a few serve all sessions. */
#define WORKER_BLOCK  16384
#define WORKER_BLOCKS 64
/* Octets of a body moved in one step. Long steps pay: see doc/performance.md. */
#define WORKER_BODY (512 * 1024)
/* Most steps are shorter: so many sessions may have a long one, or hold what it brought. */
#define WORKER_STEP  (128 * 1024)
#define WORKER_LONG  64
#define WORKER_PIPES 256
/* Sessions without a seat that can be told so politely at the same time; more are told and closed.
 */
#define WORKER_REFUSALS 256
/* Addresses that are listened on. */
#define LISTEN_MAX 64
/* Connections of balancers that have not said yet whose they are (PROXY_FROM). */
#define DOOR_MAX 256
/* Idle connections to destinations (DIALOG_GATEWAY). */
#define WARM_MAX 96
/* A connection that ends at a destination with a max= is waited for so long. */
#define PARTING_MS 2000
/* Files for copies of messages, at LOG_LEVEL 4. */
#define COPY_OPEN 64

/* Of a worker's engine. */
struct io_limits limits_io(const struct settings *set);
/* Descriptors that one worker needs: a session has two, a pipe two; every listening socket is open
 * in every process; copies of messages count at every LOG_LEVEL, since a reload can raise it; some
 * are for the process itself. */
uint64_t limits_descriptors(unsigned sessions, unsigned workers, unsigned addresses);

#endif
