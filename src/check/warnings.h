/* SPDX-License-Identifier: ISC */
/* warnings: what is legal and probably not meant. */
#ifndef CHECK_WARNINGS_H
#define CHECK_WARNINGS_H

#include <stdbool.h>
#include <stdio.h>

#include "check/check.h"

/* Whether everybody may relay through this machine: then the setting *S *WHY. */
bool check_is_open(const struct policy *p, enum setting *s, const char **why);
/* Says on OUT what is legal and probably not meant, a line with "warning:" for each; their number.
 */
unsigned check_print_warnings(const struct check *k, const struct config *c, FILE *out);

#endif
