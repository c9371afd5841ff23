/* SPDX-License-Identifier: ISC */
/*
 * check: all that can be found wrong before anything is bound (the contract, "Configuration" and
 * "Start, stop, reload"), in one run, and what the start then works with. It binds, writes and
 * moves nothing; it raises RLIMIT_NOFILE where that is needed and allowed.
 */
#ifndef PROXY_CHECK_H
#define PROXY_CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"
#include "policy/policy.h"
#include "proxy/listen.h"
#include "proxy/privilege.h"
#include "proxy/probe.h"
#include "route/route.h"

struct check {
	struct privilege_id id;
	struct listen_set listen;
	struct route route;
	struct policy policy;
	unsigned workers; /* the number in WORKERS, or one for each processor available */
	struct probe probe;
};

/*
 * Judges C and adds its faults to it: nothing of K is to be used while C has any. 0, or an exit
 * status with a line for the operator in WHY (CAP octets) when the judging itself failed.
 */
int check_run(struct check *k, struct config *c, char *why, size_t cap)
	__attribute__((warn_unused_result));

/* Says on OUT what is no fault but good to know: names that do not resolve now. */
void check_print_notes(const struct check *k, FILE *out);

/* Descriptors that one worker needs: a session has two, a pipe two; every listening socket is open
 * in every process; some are for the process itself. */
uint64_t check_descriptors(unsigned sessions, unsigned workers, unsigned addresses);

#endif
