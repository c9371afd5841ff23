/* SPDX-License-Identifier: ISC */
/*
 * outlet: the records of levels 1 and 2 once more, for the system's log (a syslog daemon or the
 * journal), one datagram each, in the form of RFC 3164 that local sockets take: facility mail,
 * severity warning for faults and informational for the rest, the text the record's own line. The
 * file is the log; this is a courtesy. It refuses to wait: what the socket does not take is lost.
 * (syslog(3) waits where its reader hangs, and would hold up the file with it.)
 */
#ifndef XMLLOG_OUTLET_H
#define XMLLOG_OUTLET_H

#include "base/span.h"

#define OUTLET_PATH_MAX 107 /* octets of a socket's path (unix(7)) */

struct outlet {
	const char *path; /* of a Unix datagram socket, "" is none */
	int fd;		  /* -1: not connected; tried again with the next batch */
	bool met;	  /* somebody came to be there; the caller clears it */
};

void outlet_init(struct outlet *o, const char *path);
/* Passes on the lines of a batch that was written. 0, or -errno: nobody is there (any more: the
 * lines before may have reached somebody). */
int outlet_lines(struct outlet *o, struct span text);
void outlet_close(struct outlet *o);

#endif
