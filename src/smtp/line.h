/* SPDX-License-Identifier: ISC */
/* line: cuts a client's octets into lines (RFC 5321 2.3.8, 4.5.3.1), each with its bound. */
#ifndef SMTP_LINE_H
#define SMTP_LINE_H

#include <stddef.h>

#include "base/span.h"

/* Limits of one line with its CR LF. RFC 5321 4.5.3.1.4 asks for 512 and what extensions add;
 * RFC 4954 4 asks for 12288 for AUTH and its continuations. */
#define SMTP_LINE_MAX	   4096
#define SMTP_AUTH_LINE_MAX 12288

enum smtp_line_result {
	SMTP_LINE_MORE, /* no whole line in IN yet */
	SMTP_LINE_OK,	/* *LINE is the line without CR LF, *CONSUMED with it */
	SMTP_LINE_BAD,	/* too long, a NUL, a CR or LF on its own: the connection cannot go on */
};

/* Cuts the first line off IN. MAX counts the CR LF. BAD as soon as it is certain, not later; the
 * result does not depend on how the octets arrived. */
enum smtp_line_result smtp_line_cut(struct span in, size_t max, struct span *line,
				    size_t *consumed);
/* The limit for the line that begins with IN: SMTP_AUTH_LINE_MAX for AUTH, else SMTP_LINE_MAX.
 * (With too few octets to know, the larger one.) */
size_t smtp_line_limit(struct span in);

#endif
