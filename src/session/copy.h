/* SPDX-License-Identifier: ISC */
/*
 * copy: at LOG_LEVEL 4, a copy of each message as it goes to the destination (with its end of data,
 * where it has one), in a file of DEBUG_DIR that is named by session and message
 * ("SESSION-MESSAGE.eml") and that only USER may read. Written as the octets pass, which costs the
 * worker time: it is for a search for a fault. A copy that cannot be made or finished is said in
 * the log and never holds up its message.
 *
 * Refuses to follow links, to write over a file, to write more than COPY_MAX octets of a message,
 * and to have more than COPY_OPEN files open in a worker.
 */
#ifndef SESSION_COPY_H
#define SESSION_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "check/limits.h"
#include "session/tap.h"

#define COPY_MAX (64u << 20)

struct copy {
	bool open;
	int fd;
	uint32_t message; /* whose it is, or was: its number in the session */
	uint64_t written;
};

extern const struct tap copy_tap;

#endif
