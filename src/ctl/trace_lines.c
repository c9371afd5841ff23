/* SPDX-License-Identifier: ISC */
/* trace_lines: see trace_lines.h. */
#include "ctl/trace_lines.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "ctl/log_time.h"
#include "ctl/trace_words.h"

#define DATE_LEN 11 /* "2026-11-22 " */
#define MARGIN	 "                | "

void trace_add(struct log_text *out, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	CHECK(n >= 0 && (size_t)n < sizeof(text));
	log_text_add(out, text, (size_t)n);
}

void trace_time(const struct log_print *k, const struct log_record *r, struct log_text *out)
{
	char text[LOG_TIME_TEXT];
	int64_t us;

	if (log_time_record(log_record_get(r, "time"), &us) && log_time_text(us, k->local, text))
		trace_add(out, "%s  ", text + DATE_LEN);
	else
		log_text_str(out, "?             ");
}

void trace_value(const struct log_print *k, const char *before, struct span v, const char *behind,
		 struct log_text *out)
{
	if (!v.p)
		return;
	log_text_str(out, before);
	log_text_safe(out, k->utf8, v);
	log_text_str(out, behind);
}

void trace_reply(const struct log_print *k, struct span reply, struct log_text *out)
{
	while (reply.n) {
		const uint8_t *feed = memchr(reply.p, '\n', reply.n);
		size_t n = feed ? (size_t)(feed - reply.p) : reply.n;

		log_text_str(out, MARGIN);
		log_text_safe(out, k->utf8, span_of(reply.p, n));
		log_text_str(out, "\n");
		reply = span_from(reply, feed ? n + 1 : n);
	}
}

uint64_t trace_number(struct span v)
{
	uint64_t n = 0;

	for (size_t i = 0; i < v.n && i < 18 && v.p[i] >= '0' && v.p[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	return n;
}

int64_t trace_microseconds(struct span seconds)
{
	int64_t us = 0;
	int decimals = -1;

	for (size_t i = 0; i < seconds.n && i < 18 && decimals < 6; i++) {
		if (seconds.p[i] == '.') {
			decimals = 0;
		} else if (seconds.p[i] < '0' || seconds.p[i] > '9') {
			return 0;
		} else {
			us = us * 10 + (seconds.p[i] - '0');
			decimals += decimals >= 0;
		}
	}
	for (decimals = decimals < 0 ? 0 : decimals; decimals < 6; decimals++)
		us *= 10;
	return us;
}

static void put_count(struct log_text *out, const struct log_record *r, const char *name,
		      const char *what)
{
	uint64_t n = trace_number(log_record_get(r, name));

	if (n)
		trace_add(out, "%s %" PRIu64, what, n);
}

/* Of a long one the session's record has the beginning alone. */
static bool is_told(const struct story *s, struct span reply)
{
	return reply.n <= s->reply.n && span_eq(reply, span_of(s->reply.p, reply.n));
}

void trace_end(const struct log_print *k, struct story *s, const struct log_record *r)
{
	struct span end = log_record_get(r, "end"), reason = log_record_get(r, "reason"),
		    reply = log_record_get(r, "reply");
	const char *why = reason.p ? trace_words(TRACE_REASON, reason) : NULL;

	if (!why)
		why = trace_words(TRACE_END, end);
	s->trouble |= span_eq(end, SPAN("lost-destination")) || span_eq(end, SPAN("refused"));
	s->end.n = 0;
	trace_time(k, r, &s->end);
	log_text_str(&s->end, "end");
	trace_value(k, " after ", log_record_get(r, "seconds"), " s", &s->end);
	trace_add(&s->end, "%s%s", why ? ": " : "", why ? why : "");
	trace_value(k, " [", end, "", &s->end);
	trace_value(k, ", ", reason, "", &s->end);
	log_text_str(&s->end, "]");
	put_count(&s->end, r, "messages", ", delivered:");
	put_count(&s->end, r, "refusals", ", refused recipients:");
	put_count(&s->end, r, "errors", ", 5xx replies:");
	log_text_str(&s->end, "\n");
	/* Unless it was told above: at LOG_LEVEL 1 there is nothing above. */
	if (reply.p && !is_told(s, reply))
		trace_reply(k, reply, &s->end);
}
