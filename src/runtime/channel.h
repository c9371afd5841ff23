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

/* Its memory, as descriptors. */
struct channel_files {
	int image; /* check/version.h */
	int state; /* the shared state of its destinations */
	int keys;  /* private keys; -1: they are not for workers */
};

struct channel_report {
	uint64_t newest, oldest; /* versions: new sessions get, a session still has */
};

/* A pair, non-blocking and close on exec: [0] the master's, [1] the worker's. 0 or -errno. */
int channel_open(int pair[2]) __attribute__((warn_unused_result));
/* 0 or -errno (-EAGAIN: later). */
int channel_tell(int fd, const struct channel_news *news, const struct channel_files *files)
	__attribute__((warn_unused_result));
/* 1: *NEWS and *FILES, which the caller closes; 0: the master is gone; or -errno (-EAGAIN: there is
 * none). */
int channel_hear(int fd, struct channel_news *news, struct channel_files *files)
	__attribute__((warn_unused_result));
void channel_close_files(struct channel_files *files);
/* Never waits. What cannot be said is not: the next report says it too. */
void channel_report(int fd, const struct channel_report *report);
/* True when there was a report; *REPORT is the last one. */
bool channel_reported(int fd, struct channel_report *report);

#endif
