/* SPDX-License-Identifier: ISC */
/* log_table: a record as a line for a person to read. */
#ifndef CTL_LOG_TABLE_H
#define CTL_LOG_TABLE_H

#include "ctl/log_print.h"

void log_print_table(const struct log_print *k, const struct log_record *r, struct log_text *out);

#endif
