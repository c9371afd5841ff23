/* SPDX-License-Identifier: ISC */
/*
 * log_time: the times of records and of --since and --until. One zone for all that an operator
 * reads and types: UTC, as in the log, or the local one.
 */
#ifndef CTL_LOG_TIME_H
#define CTL_LOG_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/*
 * Reads TEXT, any of
 *	2026-11-22[T20:13[:54[.123456]][Z|+01:00]]	a blank may stand for the T
 *	20:13[:54]					of today
 *	now, today, yesterday				the latter two begin at midnight
 *	-2h, -1h30m, -7d				before now: w, d, h, m, s
 * into microseconds since 1970. Where no zone is given it is UTC, or with LOCAL the local one; NOW
 * is the present. False: it is none of these.
 */
bool log_time_parse(const char *text, int64_t now_us, bool local, int64_t *us);
/* The time of a record: the first form, whole, in UTC. */
bool log_time_record(struct span text, int64_t *us);

#define LOG_TIME_TEXT 24 /* "2026-11-22 20:13:54.123" and NUL */
/* For a table, into OUT of LOG_TIME_TEXT octets. False: the year has no four digits. */
bool log_time_text(int64_t us, bool local, char *out);

#endif
