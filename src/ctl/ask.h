/* SPDX-License-Identifier: ISC */
/*
 * ask: one question to the running daemon, over CONTROL_SOCKET (status/control.h has the protocol).
 * What goes wrong is said on standard error, with "carontectl: " before it.
 */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "ctl/inner.h"

/* How the daemon is found: the socket itself, or the configuration that names it. */
struct ask_where {
	const char *socket; /* NULL: as the configuration says */
	struct ctl_config config;
};

#define ASK_LONG                                                                                   \
	CTL_CONFIG_LONG,                                                                           \
	{                                                                                          \
		"socket", required_argument, NULL, 's'                                             \
	}
#define ASK_SHORT CTL_CONFIG_SHORT "s:"
#define ASK_USAGE                                                                                  \
	CTL_CONFIG_USAGE                                                                           \
	"  -s, --socket PATH        the daemon's socket, in place of its CONTROL_SOCKET\n"

/* Takes the option C with its argument; false: it is not one of these. */
bool ask_option(struct ask_where *where, int c, const char *argument);
/*
 * For a subcommand that has these options and --help alone, up to its first argument (optind).
 * -1: go on; else USAGE, which is called with argv[0], has been said, and this is the exit status.
 */
int ask_options(struct ask_where *where, int argc, char **argv,
		void (*usage)(FILE *out, const char *name));
/* The socket's path, to be freed; NULL: said, *STATUS is the exit status. */
char *ask_socket(const struct ask_where *where, int *status);
/*
 * The daemon's whole answer to the line REQUEST, without LF, to be freed. NULL: said, *STATUS is
 * the exit status: EX_UNAVAILABLE, EX_NOPERM, EX_PROTOCOL.
 */
char *ask(const char *socket, const char *request, int *status);
/*
 * One try, which says nothing, with so many seconds for each step; 0: without end. The answer, or
 * NULL and *ERR: -EPROTO where the daemon left in the middle, -EAGAIN where it gave none in time.
 * *PID (may be NULL): the process that made the socket, 0: not known.
 */
char *ask_once(const char *socket, const char *request, unsigned patience_s, pid_t *pid, int *err);
/* Says what went wrong there; the exit status. */
int ask_failed(const char *socket, int err);
/* Says that the answer is not the daemon's; EX_PROTOCOL. */
int ask_foreign(const char *socket);

#endif
