/* SPDX-License-Identifier: ISC */
/*
 * options: the command line of caronte-sink, read once, constant afterwards. A wrong one ends the
 * program with 64 and a line on standard error.
 */
#ifndef SINK_OPTIONS_H
#define SINK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "io/io.h"
#include "sink/script.h"

#define SINK_EXTS_MAX	 32
#define SINK_WORKERS_MAX 64

enum sink_line_ends { SINK_STRICT, SINK_LAX, SINK_7BIT };

struct sink_options {
	struct addr listen;
	const char *listen_path; /* of a Unix socket in its place; NULL: none */
	const char *name;	 /* as which it greets */
	const char *maildir, *raw, *transcript, *report; /* NULL: not wanted */
	bool fsync, digest;
	bool proxy; /* each connection begins with a PROXY header */
	enum sink_line_ends line_ends;
	enum io_engine engine;
	unsigned sessions; /* at once */
	unsigned workers;
	int rcvbuf;
	uint64_t messages; /* after which it ends; 0: never */
	uint64_t rate;	   /* octets/s; 0: as they come */

	const char *user, *password; /* NULL: no AUTH */
	const char *exts[SINK_EXTS_MAX];
	unsigned ext_count;
	struct sink_script script;

	/* Made of the above. */
	uint32_t offered;  /* enum smtp_ext bits */
	uint64_t size_max; /* of the SIZE extension; 0: no limit */
	struct span greeting, ehlo, helo, bye;
};

void sink_options_read(struct sink_options *o, int argc, char **argv);

#endif
