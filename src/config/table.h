/* SPDX-License-Identifier: ISC */
/*
 * table: what the build writes of the Kconfig tree for the reader (tools/gen-settings makes
 * settings.h and settings.c). Constant data; nobody but src/config looks at it.
 */
#ifndef CONFIG_TABLE_H
#define CONFIG_TABLE_H

#include <stddef.h>

#include "config/settings.h"

enum setting_type { SETTING_TYPE_INT, SETTING_TYPE_BOOL, SETTING_TYPE_STRING, SETTING_TYPE_MEMBER };

struct setting_row {
	const char *name;
	enum setting_type type;
	size_t offset; /* of the field in struct settings; a member's is that of its choice */
	int min, max;  /* of an int */
	int choice;    /* a member's: index into choice_rows; else -1 */
	int value;     /* a member's: what the choice's field then holds */
};

struct choice_row {
	const char *name;
	const char *members; /* "BODY_AUTO, BODY_SPLICE or BODY_COPY" */
	enum setting first;  /* the members follow one another in enum setting */
	int count;
};

extern const struct setting_row setting_rows[SETTING_COUNT];
extern const struct choice_row choice_rows[];
extern const int choice_count;
extern const struct settings settings_default;

#endif
