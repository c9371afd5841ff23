/* SPDX-License-Identifier: ISC */
/*
 * Cutting command lines off a client's octets: what came so far decides, not how it came; a line is
 * refused as soon as, and only when, nothing that could follow would make it one.
 */
#include "fuzz.h"
#include "smtp/command.h"
#include "smtp/line.h"

/* The line as defined: up to the first LF, which has the only CR before it, and no NUL. */
static enum smtp_line_result expected(struct span in, size_t max)
{
	size_t i;

	for (i = 0; i < in.n; i++) {
		if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n')
			return i + 2 <= max ? SMTP_LINE_OK : SMTP_LINE_BAD;
		if (in.p[i] == '\n' || in.p[i] == '\0')
			return SMTP_LINE_BAD;
		if (in.p[i] == '\r' && i + 1 < in.n)
			return SMTP_LINE_BAD;
	}
	/* What is still missing of the shortest line that it can become. */
	i += in.n && in.p[in.n - 1] == '\r' ? 1 : 2;
	return i <= max ? SMTP_LINE_MORE : SMTP_LINE_BAD;
}

/* The first line of IN, asked for after each octet that comes; the octets that it took. */
static size_t check_first(struct span in, size_t fixed_max)
{
	for (size_t n = 0; n <= in.n; n++) {
		uint8_t *copy = fuzz_copy(span_of(in.p, n));
		struct span sofar = span_of(copy, n), line = { 0 };
		size_t max = fixed_max ? fixed_max : smtp_line_limit(sofar), consumed = 0;
		enum smtp_line_result got = smtp_line_cut(sofar, max, &line, &consumed);

		CHECK(smtp_line_limit(sofar) >= smtp_line_limit(in));
		CHECK(got == expected(sofar, max));
		/* What comes later changes nothing that is decided. */
		if (got != SMTP_LINE_MORE)
			CHECK(expected(in, max) == got);
		if (got == SMTP_LINE_OK) {
			CHECK(consumed == line.n + 2 && consumed <= n && consumed <= max);
			CHECK(line.p == copy);
			CHECK(memcmp(copy + line.n, "\r\n", 2) == 0);
		}
		free(copy);
		if (got == SMTP_LINE_BAD)
			return 0;
		if (got == SMTP_LINE_OK) {
			struct span all;

			CHECK(smtp_line_cut(in, max, &all, &n) == SMTP_LINE_OK && n == consumed);
			return consumed;
		}
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t limits[] = { 0, 2, 3, 8, 40, 0, 0, 0 };
	struct span in = span_of(data, size);
	size_t max = limits[fuzz_choice(&in) % 8], used;

	/* Quadratic on purpose, so short; the long lines have the unit tests. */
	in.n = fuzz_min(in.n, 300);
	while (in.n && (used = check_first(in, max)) > 0)
		in = span_from(in, used);
	return 0;
}
