/* SPDX-License-Identifier: ISC */
/* gate: see gate.h. */
#include "smtp/gate.h"

#include <string.h>

bool smtp_gate_step(struct smtp_gate *g, uint8_t c)
{
	static const char words[] = "mailfrom";

	if (g->at == SMTP_GATE_FROM && c == ':' && !g->open)
		return true;
	if (c == '\n') {
		*g = (struct smtp_gate){ .at = SMTP_GATE_START };
	} else if (g->at < SMTP_GATE_FROM && (c | 0x20) == words[g->at]) {
		g->at++;
	} else if (!(smtp_gate_blank(c) && g->at % 4 == 0) &&
		   !(c == '.' && g->at == SMTP_GATE_START)) {
		*g = (struct smtp_gate){ .at = SMTP_GATE_TEXT };
	}
	return false;
}

size_t smtp_gate_run(struct smtp_gate *g, const uint8_t *p, size_t n, bool *shut)
{
	size_t i = 0;

	*shut = false;
	while (i < n && smtp_gate_busy(g)) {
		*shut = smtp_gate_step(g, p[i]);
		if (*shut)
			break;
		i++;
	}
	return i;
}

void smtp_gate_skip(struct smtp_gate *g, const uint8_t *p, size_t n)
{
	const uint8_t *lf = n ? memrchr(p, '\n', n) : NULL;

	if (lf) {
		*g = (struct smtp_gate){ .at = SMTP_GATE_START };
		n -= (size_t)(lf + 1 - p);
		p = lf + 1;
	}
	for (size_t i = 0; i < n && g->at != SMTP_GATE_TEXT; i++)
		(void)smtp_gate_step(g, p[i]);
}

void smtp_gate_open(struct smtp_gate *g)
{
	g->open = true;
}
