/* SPDX-License-Identifier: ISC */
/* greeting: see greeting.h. */
#include "smtp/greeting.h"

#include "base/diag.h"

const char smtp_greeting_none[] = "no greeting in time";
const char smtp_greeting_closed[] = "connection closed in place of a greeting";

static const char lmtp_port[] = "this is an LMTP port, SMTP is needed: ";
static const char no_reply[] = "malformed greeting: ";

static bool is_letter(uint8_t c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* WORD stands in TEXT and is no part of a longer word. */
static bool has_word(struct span text, struct span word)
{
	for (size_t i = 0; i + word.n <= text.n; i++) {
		if ((i == 0 || !is_letter(text.p[i - 1])) &&
		    (i + word.n == text.n || !is_letter(text.p[i + word.n])) &&
		    span_eq_nocase(span_of(text.p + i, word.n), word))
			return true;
	}
	return false;
}

bool smtp_greeting_is_lmtp(const struct smtp_reply *reply)
{
	size_t at = 0;
	struct span line;

	while (smtp_reply_line(reply, &at, &line)) {
		/* A greeting's first word is a host's name (RFC 5321 4.2). */
		while (reply->code == 220 && line.n > 0 && line.p[0] != ' ')
			line = span_from(line, 1);
		if (has_word(line, SPAN("LMTP")) || has_word(line, SPAN("LHLO")))
			return true;
	}
	return false;
}

void smtp_greeting_refusal(char *out, size_t cap, const struct smtp_reply *reply, bool lmtp)
{
	size_t n = lmtp ? sizeof(lmtp_port) - 1 : 0;

	CHECK(cap > n);
	memcpy(out, lmtp_port, n);
	out[n + smtp_reply_log_text(reply, out + n, cap - 1 - n)] = '\0';
}

void smtp_first_line(char *out, size_t cap, struct span in)
{
	size_t n = 0;

	for (size_t i = 0; i < in.n && n < cap - 1; i++) {
		if (in.p[i] == '\r' || in.p[i] == '\n')
			break;
		out[n++] = in.p[i] ? (char)in.p[i] : '?';
	}
	out[n] = '\0';
}

void smtp_greeting_malformed(char *out, size_t cap, struct span in)
{
	size_t n = sizeof(no_reply) - 1;

	CHECK(cap > n);
	memcpy(out, no_reply, n);
	smtp_first_line(out + n, cap - n, in);
}
