/* SPDX-License-Identifier: ISC */
/* reason: see reason.h. */
#include "smtp/reason.h"

#include "base/diag.h"

#define X(name, word) [REASON_##name] = (word),

static const char *const words[REASON_COUNT] = { [REASON_NONE] = "", REASONS(X) };

const char *session_end_name(enum session_end end)
{
	static const char *const names[] = {
		[END_RUNS] = "stop",
		[END_QUIT] = "quit",
		[END_REFUSED] = "refused",
		[END_LOST_CLIENT] = "lost-client",
		[END_LOST_DESTINATION] = "lost-destination",
		[END_TIMEOUT] = "timeout",
		[END_LIMIT] = "limit",
		[END_PROTOCOL] = "protocol",
		[END_XCLIENT] = "xclient",
		[END_STOP] = "stop",
	};

	return names[end];
}

const char *reason_name(enum reason why)
{
	CHECK((unsigned)why < REASON_COUNT);
	return words[why];
}
