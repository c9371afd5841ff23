/* SPDX-License-Identifier: ISC */
/* reason: see reason.h. */
#include "smtp/reason.h"

#include "base/diag.h"

#define X(name, word) [REASON_##name] = (word),

static const char *const words[REASON_COUNT] = { [REASON_NONE] = "", REASONS(X) };

const char *reason_name(enum reason why)
{
	CHECK((unsigned)why < REASON_COUNT);
	return words[why];
}
