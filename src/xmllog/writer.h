/* SPDX-License-Identifier: ISC */
/*
 * writer: the log writer process. Takes records from all rings in the order of their time stamps as
 * far as they are at hand, and keeps the file well-formed at every moment at which nobody is
 * writing (caronte-log(5)). Knows no mail. Ends when told and all rings are empty.
 */
#ifndef XMLLOG_WRITER_H
#define XMLLOG_WRITER_H

#include "xmllog/xmllog.h"

struct xmllog_writer_config {
	const char *file; /* "-" is standard output */
	const char *archive_dir;
	unsigned rotate_mib;   /* 0 never */
	unsigned rotate_hours; /* 0 never */
	const char *syslog;    /* socket for levels 1 and 2 (outlet.h), NULL or "": none */
	const char *json;      /* file of the same records (jsonfile.h), NULL or "": none */
};

/*
 * The process's whole life. RINGS: N rings; WAKE_FD: the eventfd; LIFE_FD: the read end of a pipe
 * whose write end every producer holds: at its end of file all of them are gone, the rings are
 * drained, the file is closed and the exit status (sysexits.h) returned. SIGINT, SIGTERM and SIGHUP
 * are ignored; SIGUSR1 opens the file again; at SIGUSR2 it ends at once, and what is in the rings
 * is for the writer that is started next. A restarted writer goes on with the same rings and file,
 * or another file.
 */
int xmllog_writer_main(const struct xmllog_writer_config *c, struct xmllog_ring *const *rings,
		       size_t n, int wake_fd, int life_fd);

#endif
