/* SPDX-License-Identifier: ISC */
/*
 * inner: what the files of src/config share while one configuration is read. Nobody else includes
 * it. Everything it allocates hangs on struct config and goes with config_free().
 */
#ifndef CONFIG_INNER_H
#define CONFIG_INNER_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/table.h"

#define CONFIG_LINE_MAX 16384u		/* octets of one line, its end not counted */
#define CONFIG_FILE_MAX (1024u * 1024u) /* octets of a configuration file */

#define CONFIG_SHOW_MAX	   64u /* a value in a message, cut off */
#define CONFIG_ALLOWED_MAX 64u

struct place {
	const char *file; /* the configuration file's name or "-o" */
	unsigned line;	  /* 0: none */
};

enum member_state { MEMBER_NOT_GIVEN, MEMBER_N, MEMBER_Y };

struct reader {
	struct config *config;
	struct place at; /* the line or argument being read */
	/* Members of choices are gathered first; what a choice is stands fast at the end. */
	enum member_state member[SETTING_COUNT];
	bool choice_at_fault[SETTING_COUNT]; /* by choice: said already, no second fault */
};

/* The place of every argument, known by its address: a file may have the same name. */
extern const char config_argument_place[];

/* A copy of N octets and a NUL that lives as long as the configuration. */
char *config_text(struct config *c, const char *text, size_t n);
/* Adds a fault; NAME may be NULL (a line or a file as a whole). */
void config_fault_at(struct config *c, struct place at, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The setting of that name, or SETTING_COUNT. */
enum setting config_lookup(const char *name);
/* The known setting whose name is the fewest changes away, case ignored: one for each third of the
 * name at most. SETTING_COUNT: none is near. */
enum setting config_nearest(const char *name);
/* Sets S from TEXT, a string already without quotes; a value that is not allowed is a fault. */
void config_set(struct reader *r, enum setting s, const char *text);
/* What a faulty line says of S's values: "an integer from 1 to 65535". OUT holds
 * CONFIG_ALLOWED_MAX. */
const char *config_allowed(enum setting s, char *out);
/* After the last value: each choice becomes its member that is y, or its default. */
void config_settle_choices(struct reader *r);

/* Reads the lines of PATH into the reader's configuration. */
void config_read_file(struct reader *r, const char *path);
/* Reads one -o argument. */
void config_read_argument(struct reader *r, const char *argument);

/*
 * TEXT for a message, in OUT of CONFIG_SHOW_MAX: cut off with "..." where it is long, so that a
 * faulty file cannot flood the operator's screen.
 */
const char *config_show(const char *text, char *out);

#endif
