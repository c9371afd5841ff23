/* SPDX-License-Identifier: ISC */
/* base64: what a client answers to a challenge of AUTH (RFC 4954 4). */
#ifndef SMTP_BASE64_H
#define SMTP_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* RFC 4648 4 with padding (nothing at all too), "=" alone for an empty initial response, or "*"
 * alone, which cancels (RFC 4954 4): all that a continuation line may be. */
bool smtp_base64_valid(struct span s);
/* Decodes at most CAP octets of valid base64 into OUT; the number of octets. "=" and "*" are none.
 */
size_t smtp_base64_decode(struct span s, uint8_t *out, size_t cap);

#endif
