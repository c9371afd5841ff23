/* SPDX-License-Identifier: ISC */
/*
 * listen: the addresses that mail is taken on, and their sockets: one for each worker and address,
 * joined by SO_REUSEPORT, made before privilege is dropped and never closed while workers live
 * (closing one resets what waits in it). IPv4 and IPv6 have separate sockets.
 */
#ifndef CHECK_LISTEN_H
#define CHECK_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "check/limits.h"

struct listen_set {
	unsigned count;
	struct addr addr[LISTEN_MAX];
	bool both[LISTEN_MAX]; /* an IPv6 socket that IPv4 comes to as well: another's */
};

/* Appends where the listening socket FD takes connections; false: on no IP address. */
bool listen_add_socket(struct listen_set *set, int fd);

/*
 * Reads LIST (IP addresses separated by blanks; none: every address, IPv6 only where the kernel has
 * it). REPORT is called with what is wrong, for each fault. True when there was none.
 */
bool listen_parse(struct listen_set *set, const char *list, uint16_t port,
		  void (*report)(void *ctx, const char *what), void *ctx);
/* Appends each address once more, with PORT. False: they are too many. */
bool listen_add_port(struct listen_set *set, uint16_t port);
/* One of the sockets is at PORT. */
bool listen_has_port(const struct listen_set *set, uint16_t port);
/* True when a connection to TO would reach one of the addresses of SET on this machine. */
bool listen_reached_by(const struct listen_set *set, const struct addr *to);
/*
 * Opens a socket for each of WORKERS and each address, into FDS[worker * set->count + i]. 0, or an
 * exit status (EX_UNAVAILABLE, EX_NOPERM) with a line for the operator in WHY (CAP octets); no
 * socket is left open then.
 */
int listen_open(const struct listen_set *set, unsigned workers, int *fds, char *why, size_t cap)
	__attribute__((warn_unused_result));
/* Ends listening on all N sockets, in every process that shares them; new connections are refused.
 */
void listen_end(const int *fds, size_t n);

#endif
