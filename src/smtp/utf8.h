/* SPDX-License-Identifier: ISC */
/*
 * utf8: code points of RFC 3629 text, strictly: no overlong form, no surrogate, nothing above
 * U+10FFFF, nothing cut short. Private to src/smtp. It judges no character.
 */
#ifndef SMTP_UTF8_H
#define SMTP_UTF8_H

#include "base/span.h"

/* The code point at *AT, which is moved behind it; -1 when there is none that is well-formed. */
int32_t smtp_utf8_next(struct span s, size_t *at);

#endif
