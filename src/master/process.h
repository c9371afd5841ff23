/* SPDX-License-Identifier: ISC */
/*
 * process: a child of the master that is started again when it ends. The pause before a start
 * grows from nothing to a second while the child keeps ending soon after it was started, so that
 * nothing ever spins; a child that has lived a while is started again at once.
 */
#ifndef MASTER_PROCESS_H
#define MASTER_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_PAUSE_MS    1000  /* the longest pause */
#define PROCESS_YOUNG_MS    10000 /* a life that is shorter makes the pause grow */
#define PROCESS_STATUS_TEXT 32

struct process {
	pid_t pid; /* 0: not running */
	uint64_t started_ms;
	uint64_t due_ms; /* when it may be started (again) */
	unsigned pause_ms;
};

/*
 * Forks. In the child (0): it is called NAME, DEATH_SIGNAL (0: none) comes when the master is gone,
 * and signals are as process_signals() left them. Else the child's pid, or -errno.
 */
pid_t process_fork(const char *name, int death_signal);
/* PID was started now, or (negative) could not be. */
void process_started(struct process *p, pid_t pid, uint64_t now_ms);
/* It has ended: says when it is due again. */
void process_ended(struct process *p, uint64_t now_ms);
/* "signal 11" or "exit status 70", for a status of waitpid(2), into OUT of PROCESS_STATUS_TEXT. */
void process_status(int status, char *out);

/*
 * The signals of the master: TERM, INT, HUP, USR1, USR2 and CHLD are blocked and come by the
 * signalfd returned (or -errno); SIGPIPE is ignored; the rest is as at a fresh start, whatever the
 * parent ignored. Children inherit this but for CHLD.
 */
int process_signals(void) __attribute__((warn_unused_result));

#endif
