/* SPDX-License-Identifier: ISC */
/*
 * log_print: a record as a line of a table, of JSON or of XML. What a client chose can stand in any
 * value, so nothing that a terminal would obey, or that would make a line look like another one,
 * is printed as it is:
 *
 *	table	control characters, line separators and what reverses or hides text become \n, \t,
 *		\r or \uHHHH, which cannot be mistaken, as the log writes a backslash as \\; so does
 *		all that is not ASCII where the locale's character set is not UTF-8
 *	JSON	all of it is \uHHHH, as JSON has it: the output is ASCII
 *	XML	character references, as in the log: the output is ASCII
 */
#ifndef CTL_LOG_PRINT_H
#define CTL_LOG_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "ctl/log_record.h"
#include "ctl/log_text.h"

enum log_format { LOG_TABLE, LOG_JSON, LOG_XML };

struct log_print {
	enum log_format format;
	bool local; /* times of a table in the local zone */
	bool utf8;  /* the terminal's character set */
};

/* What stands before the first and behind the last record. */
void log_print_head(const struct log_print *k, struct log_text *out);
void log_print_foot(const struct log_print *k, struct log_text *out);
/* Appends the record, one line. */
void log_print_record(const struct log_print *k, const struct log_record *r, struct log_text *out);

#endif
