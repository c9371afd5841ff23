/* SPDX-License-Identifier: ISC */
/*
 * probe: what can only be found out as the user that the daemon will be. A child process drops
 * privilege as the daemon will, then opens tables and certificates (and hands the descriptors
 * over), tries the log, io_uring, the destinations' Unix sockets and the resolver, and ends.
 * Nothing stays behind but the answers.
 */
#ifndef CHECK_PROBE_H
#define CHECK_PROBE_H

#include <stddef.h>

#include "config/config.h"
#include "io/io.h"
#include "io/net.h"
#include "check/name.h"
#include "check/pairs.h"
#include "check/privilege.h"
#include "check/tables.h"
#include "route/route.h"
#include "xmllog/writer.h"

#define PROBE_TEXT_MAX 1024

struct probe {
	/* Asked. */
	struct privilege_id id;
	unsigned workers;
	struct tables_plan *plan;  /* its descriptors are answers */
	struct pairs *pairs;	   /* what is in its files, and in the directory, too */
	const struct route *route; /* NULL: the list is at fault, nothing to resolve */

	/* Answered. */
	enum io_engine engine;
	char engine_why[PROBE_TEXT_MAX]; /* what io_uring lacked when epoll was taken for it, or ""
					  */
	bool kernel_tls;		 /* TLS_KERNEL_AUTO, and it works */
	char kernel_tls_why[PROBE_TEXT_MAX]; /* why not, or "" */
	uint64_t looks;			 /* follow_looks(), from before certificates were read */
	char unreadable[PROBE_TEXT_MAX]; /* why USER cannot read the configuration file, or "" */
	char name[NAME_MAX_OCTETS + 1];	 /* SERVER_NAME, or else what name_find() found */
	struct {
		unsigned n; /* 0: does not resolve now */
		struct addr a[NET_RESOLVE_MAX];
	} resolved[DESTINATIONS_MAX]; /* those that have addresses before are not asked */
};

/*
 * Runs the child and takes its answers; faults are added to C. 0, or an exit status (EX_NOPERM:
 * privilege could not be dropped; EX_OSERR, EX_SOFTWARE) with a line for the operator in WHY (CAP
 * octets).
 */
int probe_run(struct probe *p, struct config *c, char *why, size_t cap)
	__attribute__((warn_unused_result));
/* The log writer's part of the settings. */
struct xmllog_writer_config probe_log_config(const struct settings *set);

#endif
