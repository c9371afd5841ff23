/* SPDX-License-Identifier: ISC */
#include "smtp/header.h"

#include <string.h>

size_t smtp_header_take(struct smtp_header *h, struct span in)
{
	size_t at = 0;

	while (!h->over && at < in.n) {
		const uint8_t *lf = memchr(in.p + at, '\n', in.n - at);

		if (!lf) {
			h->line += (uint32_t)(in.n - at);
			return in.n;
		}
		size_t next = (size_t)(lf - in.p) + 1;

		h->over = h->line + (next - at) == 2;
		h->line = 0;
		at = next;
	}
	return at;
}
