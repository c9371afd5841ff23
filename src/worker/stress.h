/* SPDX-License-Identifier: ISC */
/*
 * stress: what a worker does while there are more than three quarters of all sessions
 * (seats.h). Strangers are waited for less long (deadline.c); a newcomer takes the seat of the
 * stranger who has gone longest without being of use; and where all seats are taken, it waits a
 * moment for that one. Refuses to choose: seats_stress.c does. A newcomer that waits has no session
 * yet, and its connection is owned here.
 */
#ifndef WORKER_STRESS_H
#define WORKER_STRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/io.h"
#include "session/session.h"

#define STRESS_WAITING 64

struct worker;

struct stress_newcomer {
	struct session_client client;
	uint64_t until_ms;
};

struct stress {
	struct io_timer timer;
	uint32_t asked; /* seats_asked() when the sessions were last looked at */
	unsigned waiting_count;
	struct stress_newcomer waiting[STRESS_WAITING]; /* the longest waiting first */
};

void stress_init(struct worker *w);
/* Sessions have come or gone, here or elsewhere. */
void stress_look(struct worker *w);
/* The same once a second, while there are sessions; and seats that others wait for are given up. */
void stress_tick(struct worker *w);
/* A newcomer: it is admitted, refused, or waits. */
void stress_admit(struct worker *w, const struct session_client *client);
/* Nobody waits any more: who does is refused. */
void stress_end(struct worker *w);

#endif
