/* SPDX-License-Identifier: ISC */
/*
 * A destination's replies: what came so far decides, not how it came; a reply is malformed as soon
 * as, and only when, nothing that could follow would make it one.
 */
#include <stdio.h>

#include "fuzz.h"
#include "smtp/reply.h"

/* The shortest that makes a whole reply of IN, of which nothing was malformed so far, into END. */
static size_t shortest_end(struct span in, char *end)
{
	size_t line = in.n, n = 0;
	char code[] = "200";
	bool more;

	memcpy(code, in.p, in.n < 3 ? in.n : 3);
	while (line > 0 && in.p[line - 1] != '\n')
		line--;
	if (in.n - line == 0 && in.n > 0)
		return (size_t)sprintf(end, "%s\r\n", code);
	more = in.n - line > 3 && in.p[line + 3] == '-';
	if (in.n - line < 3)
		n = (size_t)sprintf(end, "%s", code + (in.n - line));
	n += (size_t)sprintf(end + n, "%s", in.n && in.p[in.n - 1] == '\r' ? "\n" : "\r\n");
	if (more)
		n += (size_t)sprintf(end + n, "%s\r\n", code);
	return n;
}

static void check_can_end(struct span in)
{
	uint8_t *whole = malloc(in.n + 16);
	struct smtp_reply reply;
	size_t used, n;

	CHECK(whole);
	if (in.n)
		memcpy(whole, in.p, in.n);
	n = in.n + shortest_end(in, (char *)whole + in.n);
	CHECK(smtp_reply_parse(span_of(whole, n), &reply, &used) == SMTP_REPLY_OK && used == n);
	free(whole);
}

static void check_log_text(const struct smtp_reply *reply)
{
	char *log = malloc(SMTP_REPLY_MAX);
	size_t n, breaks = 0;

	CHECK(log);
	n = smtp_reply_log_text(reply, log, SMTP_REPLY_MAX);
	CHECK(n == reply->text.n - reply->lines - 1);
	for (size_t i = 0; i < n; i++) {
		CHECK(log[i] != '\r' && log[i] != '\0');
		breaks += log[i] == '\n';
	}
	CHECK(breaks + 1 == reply->lines);
	/* A short room takes the same beginning. */
	char *part = malloc(n / 2 + 1);

	CHECK(part && smtp_reply_log_text(reply, part, n / 2) <= n / 2);
	CHECK(memcmp(part, log, smtp_reply_log_text(reply, part, n / 2)) == 0);
	free(part);
	free(log);
}

static void check_reply(const struct smtp_reply *reply, struct span in, size_t used)
{
	struct span line;
	size_t at = 0, lines = 0, text = 0;

	CHECK(used <= in.n && used <= SMTP_REPLY_MAX && span_eq(reply->text, span_of(in.p, used)));
	CHECK(used >= 5 && memcmp(in.p + used - 2, "\r\n", 2) == 0);
	CHECK(reply->code >= 200 && reply->code <= 599);
	CHECK((in.p[0] - '0') * 100 + (in.p[1] - '0') * 10 + in.p[2] - '0' == reply->code);
	while (smtp_reply_line(reply, &at, &line)) {
		lines++;
		text += line.n;
		CHECK(at <= used && line.n <= SMTP_REPLY_LINE_MAX - 5);
		CHECK(line.n == 0 ||
		      (!memchr(line.p, '\r', line.n) && !memchr(line.p, '\n', line.n) &&
		       !memchr(line.p, '\0', line.n)));
	}
	CHECK(lines == reply->lines && at == used);
	/* Each line has five octets beside its text, or six with blank or hyphen. */
	CHECK(used == text + 6 * lines || used == text + 6 * lines - 1);
	check_log_text(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	enum smtp_reply_result first = SMTP_REPLY_MORE;
	struct smtp_reply reply;
	size_t used, decided = 0;
	/* All prefixes of a short input, some of a long one. */
	size_t step = 1 + size / 256;

	for (size_t n = 0; n <= size; n = n < size && n + step > size ? size : n + step) {
		uint8_t *copy = fuzz_copy(span_of(in.p, n));
		enum smtp_reply_result got = smtp_reply_parse(span_of(copy, n), &reply, &used);

		if (first != SMTP_REPLY_MORE)
			CHECK(got == first && (got == SMTP_REPLY_BAD || used == decided));
		if (got == SMTP_REPLY_OK)
			check_reply(&reply, span_of(copy, n), used);
		if (got == SMTP_REPLY_MORE)
			check_can_end(span_of(copy, n));
		first = got;
		decided = used;
		free(copy);
	}
	return 0;
}
