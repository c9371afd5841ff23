/* SPDX-License-Identifier: ISC */
/*
 * results: what became of the last reload, upgrade and stop, for an operator who waits for it. The
 * master writes; the status process reads the same memory, and where PID_FILE is set the text also
 * stands in the file PID_FILE.result.
 *
 * Each kind is counted twice: when the master begins with it and when it is over. So an operator
 * who has read BEGUN before he asks knows his result: it is the first one with ENDED above that.
 *
 * The text: one line "KIND BEGUN ENDED HOW SECONDS" for each kind, SECONDS since 1970, and behind
 * it the lines that were said, each after a blank.
 */
#ifndef SHARED_RESULTS_H
#define SHARED_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define RESULTS_TEXT	8192 /* with its NUL: what is said of one; more is cut off */
#define RESULTS_DOC_MAX (RESULTS_KINDS * (2 * RESULTS_TEXT + 128))

enum results_kind { RESULTS_RELOAD, RESULTS_UPGRADE, RESULTS_STOP, RESULTS_KINDS };
enum results_how { RESULTS_NONE, RESULTS_DONE, RESULTS_REFUSED, RESULTS_HOWS };

struct result {
	uint64_t begun, ended;
	enum results_how how; /* the last one that has ended */
	uint64_t at_s;	      /* when, in seconds since 1970 */
	char text[RESULTS_TEXT];
};

struct results;

/* "reload", "upgrade", "stop". */
const char *results_name(enum results_kind kind);
/* The kind of that name; RESULTS_KINDS: none. */
enum results_kind results_kind(const char *name, size_t n);

/* Memory that the processes forked afterwards have in common; NULL: none. */
struct results *results_make(void);
/* From the program before: BEGUN of each kind. All but an upgrade have ended. */
void results_continue(struct results *r, const uint64_t begun[RESULTS_KINDS]);

/* By the master alone. */
void results_begin(struct results *r, enum results_kind kind);
void results_end(struct results *r, enum results_kind kind, enum results_how how, const char *text);

uint64_t results_begun(const struct results *r, enum results_kind kind);
uint64_t results_ended(const struct results *r, enum results_kind kind);
void results_print(const struct results *r, FILE *out);
/* Takes one kind out of such a text. False: it is none. */
bool results_parse(const char *text, enum results_kind kind, struct result *out);

#endif
