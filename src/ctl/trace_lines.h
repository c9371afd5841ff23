/* SPDX-License-Identifier: ISC */
/* trace_lines: the lines of which a story is made. */
#ifndef CTL_TRACE_LINES_H
#define CTL_TRACE_LINES_H

#include "ctl/trace_story.h"

/* Appends what FMT says: nothing in it may come from outside. */
void trace_add(struct log_text *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The time of day at which a line begins. */
void trace_time(const struct log_print *k, const struct log_record *r, struct log_text *out);
/* BEFORE, V made safe, BEHIND; nothing where there is no V. */
void trace_value(const struct log_print *k, const char *before, struct span v, const char *behind,
		 struct log_text *out);
/* The lines of REPLY, each a line of its own. */
void trace_reply(const struct log_print *k, struct span reply, struct log_text *out);
/* The digits at V's beginning; 0: there are none. */
uint64_t trace_number(struct span v);
/* "1.000250" */
int64_t trace_microseconds(struct span seconds);
/* The end of the session by its own record, into S. */
void trace_end(const struct log_print *k, struct story *s, const struct log_record *r);

#endif
