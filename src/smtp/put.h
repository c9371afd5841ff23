/* SPDX-License-Identifier: ISC */
/*
 * put: appends a line piece by piece to a buf, all of it or nothing: after the first piece that
 * does not fit nothing more is added, and smtp_put_done() takes back what was. Private to src/smtp.
 */
#ifndef SMTP_PUT_H
#define SMTP_PUT_H

#include "base/buf.h"
#include "base/digits.h"

struct smtp_put {
	struct buf *out;
	size_t before; /* what was in OUT already */
	int error;     /* the first failure */
};

static inline struct smtp_put smtp_put_start(struct buf *out)
{
	return (struct smtp_put){ .out = out, .before = buf_len(out) };
}

static inline void smtp_put_span(struct smtp_put *w, struct span s)
{
	if (!w->error)
		w->error = buf_put(w->out, s);
}

static inline void smtp_put_str(struct smtp_put *w, const char *s)
{
	smtp_put_span(w, span_str(s));
}

static inline void smtp_put_number(struct smtp_put *w, uint64_t n)
{
	char text[DIGITS_MAX];

	smtp_put_span(w, span_of(text, digits_put(text, n, 10, 1)));
}

/* 0, or -ENOBUFS with OUT as it was. */
static inline __attribute__((warn_unused_result)) int smtp_put_done(struct smtp_put *w)
{
	if (w->error)
		w->out->tail = w->out->head + (uint32_t)w->before;
	return w->error;
}

#endif
