/* SPDX-License-Identifier: ISC */
/*
 * log_summary: how many records of each kind there are: by element and by what tells apart within
 * it (verdict and rule, end, state, first digit of a reply). In bounded memory: kinds beyond a
 * fixed number, which no log of a daemon has, are counted together.
 */
#ifndef CTL_LOG_SUMMARY_H
#define CTL_LOG_SUMMARY_H

#include "ctl/log_print.h"

#define LOG_SUMMARY_ROWS 256
#define LOG_SUMMARY_KEY	 96

struct log_summary_row {
	uint64_t count;
	char element[LOG_SUMMARY_KEY], kind[2][LOG_SUMMARY_KEY];
};

struct log_summary {
	struct log_summary_row row[LOG_SUMMARY_ROWS];
	size_t rows;
	uint64_t records, others; /* all; and those that have no row */
	char first[32], last[32]; /* times */
};

void log_summary_add(struct log_summary *s, const struct log_record *r);
/* Sorts the rows. */
void log_summary_print(struct log_summary *s, const struct log_print *k, struct log_text *out);

#endif
