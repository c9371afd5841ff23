/* SPDX-License-Identifier: ISC */
/* ehlo: one line of an answer to EHLO, for the files of this folder alone. */
#ifndef SMTP_EHLO_H
#define SMTP_EHLO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct smtp_ehlo_line {
	uint32_t ext; /* enum smtp_ext */
	bool old_auth;
	struct span args; /* behind the keyword */
	uint64_t size;
};

/* Reads TEXT, what stands behind the code. False: it is nothing that we know, or not well-formed.
 */
bool smtp_ehlo_line(struct span text, struct smtp_ehlo_line *line);
/* The keyword of one extension; never NULL. */
const char *smtp_ehlo_keyword(uint32_t ext);

#endif
