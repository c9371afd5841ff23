/* SPDX-License-Identifier: ISC */
/*
 * log_parse: the text of a log, line by line, into records, by libxml2's push parser: constant
 * memory however long the log is, and a record is there as soon as its line is, which a log that is
 * being written needs. (An xmlTextReader hands an element out only once it has seen what follows.)
 *
 * Damage costs the line that it is in, and is told: the parser begins anew behind it, inside the
 * root element. Refused are document types, so that there are no entities but XML's own, text
 * between records, elements without a time, and elements more than some levels deep. Records alone,
 * without a head, as grep gives them, are read as if they stood in a log. Namespaces mean nothing
 * here.
 */
#ifndef CTL_LOG_PARSE_H
#define CTL_LOG_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include <libxml/parser.h>

#include "ctl/log_record.h"

struct log_sink {
	void (*record)(void *ctx, const struct log_record *r);
	/* WHAT is wrong, in or before line LINE. */
	void (*damage)(void *ctx, uint64_t line, const char *what);
	void *ctx;
};

struct log_parse {
	const struct log_sink *sink;
	xmlParserCtxtPtr xml;
	xmlSAXHandler handlers;
	unsigned depth;	  /* of open elements */
	unsigned records; /* handed out from the piece that is being read */
	uint64_t line;	  /* of the piece, from 1 */
	const char *why;  /* what we refuse ourselves in the piece */
	bool head;	  /* nothing but blanks has been read */
	bool headless;	  /* there is no root element */
	bool alien;	  /* another document: nothing of it is read */
	bool fresh;	  /* nothing has been read since the parser began anew */
	bool midline;	  /* the piece before did not end its line */
	bool skipping;	  /* the rest of this line is left out */
	struct log_record record;
};

/* SINK is kept. False: no memory. */
bool log_parse_open(struct log_parse *p, const struct log_sink *sink);
void log_parse_close(struct log_parse *p);
/* At the start of a document. False: no memory. */
bool log_parse_begin(struct log_parse *p);
/* The next line, with its line feed, or a piece of one: then ENDS_LINE is false. */
void log_parse_piece(struct log_parse *p, struct span piece, bool ends_line);
/*
 * The document is over: with its closing tag, which is not to be fed, or (CUT_OFF) without. Damage
 * is told where something is open still, or no tag is there that should be. log_parse_begin() may
 * follow.
 */
void log_parse_end(struct log_parse *p, bool cut_off);

#endif
