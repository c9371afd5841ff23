/* SPDX-License-Identifier: ISC */
/*
 * notify: what a service manager is told and what it gives, by the protocols that systemd has
 * published (sd_notify(3), sd_listen_fds(3)). Without one nothing happens. Failing to tell harms
 * nobody and is not reported: the service manager waits, and says so itself.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

#include <stddef.h>

#include "check/listen.h"

enum notify_state { NOTIFY_READY, NOTIFY_RELOADING, NOTIFY_STOPPING };

/* Sends the state, with STATUS for a person to read, to $NOTIFY_SOCKET. */
void notify_send(enum notify_state state, const char *status);

/*
 * The sockets that were handed to this process (LISTEN_PID, LISTEN_FDS), which start at
 * descriptor 3. Their number, 0: none; or -1 with a line for the operator in WHY (CAP octets): one
 * of them is no TCP socket that listens on an IP address, or there are too many. They become
 * non-blocking and close-on-exec, SET is where they listen, FDS has room for LISTEN_MAX. The
 * variables are removed: they are not for our children.
 */
int notify_listen_fds(struct listen_set *set, int *fds, char *why, size_t cap)
	__attribute__((warn_unused_result));

#endif
