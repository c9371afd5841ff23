/* SPDX-License-Identifier: ISC */
/*
 * status_check: what a monitor wants to know of the daemon's document: one line, and an exit status
 * by the convention of Nagios plugins.
 */
#ifndef CTL_STATUS_CHECK_H
#define CTL_STATUS_CHECK_H

#include <jansson.h>
#include <stdio.h>

enum status_check { STATUS_GOOD, STATUS_WARNING, STATUS_CRITICAL };

/* Writes the line; NOW is NULL where the daemon did not answer at SOCKET. */
enum status_check status_check_print(FILE *out, const json_t *now, const char *socket);

#endif
