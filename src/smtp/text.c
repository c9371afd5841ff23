/* SPDX-License-Identifier: ISC */
/*
 * text: see text.h. Only one LF in each MAX octets is looked for, from their end: a line of usual
 * length costs nothing.
 */
#include "smtp/text.h"

#include <string.h>

bool smtp_text_fits(struct smtp_text *t, struct span in, uint64_t max)
{
	const uint8_t *lf;

	while (in.n > max - t->line) {
		lf = memrchr(in.p, '\n', (size_t)(max - t->line) + 1);
		if (!lf)
			return false;
		in = span_from(in, (size_t)(lf + 1 - in.p));
		t->line = 0;
	}
	lf = in.n ? memrchr(in.p, '\n', in.n) : NULL;
	t->line = lf ? (uint64_t)(in.p + in.n - (lf + 1)) : t->line + in.n;
	return true;
}
