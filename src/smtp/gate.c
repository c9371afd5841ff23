/* SPDX-License-Identifier: ISC */
/* gate: see gate.h. */
#include "smtp/gate.h"

#include <string.h>

static const char words[] = "mailfrom";

static bool word_at(const uint8_t *p, size_t n, const char *word)
{
	for (size_t i = 0; i < 4; i++)
		if (i == n || (p[i] | 0x20) != word[i])
			return false;
	return true;
}

static size_t blanks_at(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && smtp_gate_blank(p[i]))
		i++;
	return i;
}

bool smtp_gate_is_mail(const uint8_t *p, size_t n)
{
	size_t i;

	if (!word_at(p, n, words))
		return false;
	i = 4 + blanks_at(p + 4, n - 4);
	if (!word_at(p + i, n - i, words + 4))
		return false;
	i += 4;
	i += blanks_at(p + i, n - i);
	return i < n && p[i] == ':';
}

/* C does not go on with what was found. Far behind the line's start it may begin anew, with the
 * last letter of FROM too. */
static void begin_anew(struct smtp_gate *g, uint8_t c)
{
	uint8_t before = g->at;

	g->at = SMTP_GATE_TEXT;
	if (g->column == SMTP_GATE_FAR && (c | 0x20) == 'm')
		g->at = 1;
	else if (g->column == SMTP_GATE_FAR && (c | 0x20) == 'a' && before == SMTP_GATE_FROM)
		g->at = 2;
	/* What may pass begins here. */
	g->open = g->open && (g->at == 2 || (g->at == 1 && before == SMTP_GATE_TEXT));
}

bool smtp_gate_step(struct smtp_gate *g, uint8_t c)
{
	bool may_end = g->at == SMTP_GATE_FROM || g->at == SMTP_GATE_BLANKS;

	if (may_end && c == ':' && !g->open)
		return true;
	if (c == '\n') {
		*g = (struct smtp_gate){ .at = SMTP_GATE_START };
		return false;
	}
	smtp_gate_count(g);
	if (g->at < SMTP_GATE_FROM && (c | 0x20) == words[g->at])
		g->at++;
	else if (smtp_gate_blank(c) && may_end)
		g->at = SMTP_GATE_BLANKS;
	else if (!(smtp_gate_blank(c) && (g->at == SMTP_GATE_START || g->at == SMTP_GATE_MAIL)) &&
		 !(c == '.' && g->at == SMTP_GATE_START))
		begin_anew(g, c);
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
	size_t i = 0;

	if (lf) {
		*g = (struct smtp_gate){ .at = SMTP_GATE_START };
		n -= (size_t)(lf + 1 - p);
		p = lf + 1;
	}
	for (; i < n; i++) {
		if (g->at == SMTP_GATE_TEXT && g->column + (n - i) < SMTP_GATE_FAR) {
			g->column = (uint16_t)(g->column + (n - i));
			return;
		}
		(void)smtp_gate_step(g, p[i]);
	}
}

void smtp_gate_open(struct smtp_gate *g)
{
	g->open = true;
}
