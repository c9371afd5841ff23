/* SPDX-License-Identifier: ISC */
/*
 * log_text: text that grows, and how characters of a value stand in it. A value comes from an XML
 * parser: it is valid UTF-8.
 */
#ifndef CTL_LOG_TEXT_H
#define CTL_LOG_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* Text that grows. */
struct log_text {
	char *p;
	size_t n, cap;
	bool failed; /* no memory: what was added since is missing */
};

void log_text_free(struct log_text *t);
void log_text_add(struct log_text *t, const void *p, size_t n);
void log_text_str(struct log_text *t, const char *s);
/* \uHHHH of PREFIX and DIGITS, or the like. */
void log_text_hex(struct log_text *t, const char *prefix, int digits, uint32_t value);
/* Takes from the front of V what is printable ASCII and none of SPECIAL: nearly all that there is.
 */
void log_text_plain(struct log_text *t, struct span *v, const char *special);
/* Appends V so that a terminal shows it and obeys none of it; UTF8: its character set. */
void log_text_safe(struct log_text *t, bool utf8, struct span v);
/* The next character of V, which is not empty, and its length. */
uint32_t log_text_character(struct span v, size_t *len);

#endif
