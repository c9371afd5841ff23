/* SPDX-License-Identifier: ISC */
/*
 * trace_words: what the words of the log's records mean, as sentences for `carontectl trace`. The
 * words are those of caronte-log(5); a test compares the tables with the daemon's own lists and
 * with the schema, so that no word lacks its sentence.
 */
#ifndef CTL_TRACE_WORDS_H
#define CTL_TRACE_WORDS_H

#include "base/span.h"

enum trace_words {
	TRACE_END,     /* `end` of a session */
	TRACE_REASON,  /* `reason` of a session */
	TRACE_RULE,    /* `rule` of a recipient */
	TRACE_COMMAND, /* `command` of a refusal */
	TRACE_BY,      /* `by` of a refusal */
};

/* NULL: the word is not known. */
const char *trace_words(enum trace_words kind, struct span word);

/*
 * The sentence for RULE of a recipient, where RECIPIENT or REPLY tell more than the word. Whether
 * the destination or Caronte has said REPLY under the rule `destination` shows only in its words.
 */
const char *trace_verdict(struct span rule, struct span recipient, struct span reply);

#endif
