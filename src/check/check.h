/* SPDX-License-Identifier: ISC */
/*
 * check: all that can be found wrong before anything is bound (caronte(8), caronte.conf(5)), in
 * one run, and what the start then works with. It binds, writes and moves nothing; it raises
 * RLIMIT_NOFILE and RLIMIT_MEMLOCK where that is needed and allowed.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"
#include "policy/policy.h"
#include "check/authorities.h"
#include "check/certificates.h"
#include "check/listen.h"
#include "check/privilege.h"
#include "check/probe.h"
#include "route/route.h"

struct check {
	struct privilege_id id;
	struct listen_set listen;
	struct route route;
	struct policy policy;
	struct tables_size tables;
	struct certificates certificates;
	char denied[PAIR_PATH_MAX]; /* a file of certificates that USER may not read, or "" */
	struct tables_text authorities[AUTHORITIES]; /* none: nobody needs them */
	struct addr metrics;			     /* METRICS_ADDRESS; family 0: none */
	unsigned workers; /* the number in WORKERS, or one for each processor available */
	/* MAX_SESSIONS where it is not set and RLIMIT_NOFILE carries fewer, which the configuration
	 * then says; 0: it was left as it is. */
	unsigned sessions_wished;
	struct probe probe;
};

/* Where the configuration comes from, each time that it is read. */
struct check_source {
	const char *file;
	const char *const *overrides; /* "NAME=VALUE" */
	size_t override_count;
	/* Sockets that were handed to us (their addresses are listened on, whatever LISTEN_* say).
	 * NULL: none. */
	const struct listen_set *handed;
	/* What a running daemon has, as check_fixed() wrote it. NULL: this is a start. */
	const char *running;
};

/*
 * Reads and judges everything. All faults are said on ERR; 0 when there was none, else an exit
 * status. *C is to be freed by the caller in any case.
 */
int check_load(struct check *k, struct config **c, const struct check_source *source, FILE *err)
	__attribute__((warn_unused_result));
/* The settings that need a restart to change, and LOG_FILE, one "NAME=VALUE" a line, into OUT; and
 * whether their MAX_SESSIONS is what RLIMIT_NOFILE carries. False: no room. */
bool check_fixed(const struct settings *set, bool fewer_sessions, char *out, size_t cap);
/* Room for that. */
#define CHECK_FIXED_MAX 8192

/*
 * Judges C and adds its faults to it: nothing of K is to be used while C has any. 0, or an exit
 * status with a line for the operator in WHY (CAP octets) when the judging itself failed.
 */
int check_run(struct check *k, struct config *c, char *why, size_t cap)
	__attribute__((warn_unused_result));
/* Gives back what check_run() has built. */
void check_release(struct check *k);

/* Says on OUT what is no fault of C but good to know: names that do not resolve now, a file that
 * only the superuser can read, and a limit that carries fewer sessions than the default. */
void check_print_notes(const struct check *k, const struct config *c, FILE *out);

#endif
