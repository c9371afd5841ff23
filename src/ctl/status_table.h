/* SPDX-License-Identifier: ISC */
/* status_table: the daemon's document (status/figures.h) as a table for a person. */
#ifndef CTL_STATUS_TABLE_H
#define CTL_STATUS_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * Prints NOW. Rates are those since BEFORE, an earlier document of the same daemon, or where that
 * is NULL those of the last minute that the daemon gives. False: it is no such document.
 */
bool status_table_print(FILE *out, const json_t *now, const json_t *before);

#endif
