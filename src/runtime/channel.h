/* SPDX-License-Identifier: ISC */
/*
 * channel: what the master and a worker say to each other, over a socket pair of packets: the
 * master, that there is a newer version of the configuration (with its memory, as descriptors); the
 * worker, which versions it still uses. Neither side waits for the other. Only the two ends know
 * the layout, and they are of one fork.
 */
#ifndef RUNTIME_CHANNEL_H
#define RUNTIME_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "route/route.h"

struct channel_news {
	uint64_t number;		/* of the version, counted up */
	uint8_t slot[DESTINATIONS_MAX]; /* of its destinations, see slots.h */
};

struct channel_report {
	uint64_t newest, oldest; /* versions: new sessions get, a session still has */
};

/* A pair, non-blocking and close on exec: [0] the master's, [1] the worker's. 0 or -errno. */
int channel_open(int pair[2]) __attribute__((warn_unused_result));
/* IMAGE: see version.h; STATE: the shared state of its destinations. 0 or -errno (-EAGAIN: later).
 */
int channel_tell(int fd, const struct channel_news *news, int image, int state)
	__attribute__((warn_unused_result));
/* 1: *NEWS, *IMAGE and *STATE, which the caller closes; 0: the master is gone; or -errno (-EAGAIN:
 * there is none). */
int channel_hear(int fd, struct channel_news *news, int *image, int *state)
	__attribute__((warn_unused_result));
/* Never waits. What cannot be said is not: the next report says it too. */
void channel_report(int fd, const struct channel_report *report);
/* True when there was a report; *REPORT is the last one. */
bool channel_reported(int fd, struct channel_report *report);

#endif
