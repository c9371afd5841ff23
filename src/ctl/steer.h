/* SPDX-License-Identifier: ISC */
/*
 * steer: how the daemon is found that is to be reloaded, upgraded or stopped, is asked for it, and
 * says what became of it. Two ways, one after the other: its socket (status/control.h), which asks
 * for the right to use it; and its PID_FILE (check/pidfile.h) with a signal, which asks for the
 * right to send one.
 */
#ifndef CTL_STEER_H
#define CTL_STEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl/ask.h"
#include "shared/results.h"

#define STEER_SOCKETS 2

struct steer {
	enum results_kind kind;
	unsigned limit_s; /* 0: without end */
	/* Where it may be asked: -s, and what the configuration says (that may be new). NULL: no.
	 */
	char *socket[STEER_SOCKETS];
	char *pid_file;

	/* Found. */
	unsigned at;	   /* the socket that answers */
	pid_t pid;	   /* of the daemon; 0: not known */
	int pidfd;	   /* -1: none */
	uint64_t until_ms; /* UINT64_MAX: without end */
	uint64_t ended;	   /* the result is there when KIND has ended so often */
};

/* A result, or STEER_*. */
enum steer_end { STEER_RESULT, STEER_GONE, STEER_LATE, STEER_FAILED };

/*
 * Asks for it by the socket, and waits for the result in *R. STEER_GONE: the daemon has ended
 * without one. STEER_FAILED: said, *STATUS is the exit status, 0: no daemon listens there, nothing
 * was said.
 */
enum steer_end steer_by_socket(struct steer *s, struct result *r, int *status);
/* The same by the PID_FILE. */
enum steer_end steer_by_file(struct steer *s, struct result *r, int *status);
/* True when the daemon has ended, looked for up to the time limit where WAIT. */
bool steer_gone(const struct steer *s, bool wait);

#endif
