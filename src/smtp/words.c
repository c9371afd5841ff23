/* SPDX-License-Identifier: ISC */
/* words: see words.h. */
#include "smtp/words.h"

#include <stdint.h>

#include "base/diag.h"

#define X(name, codes, text, to, then) [WORD_##name] = { codes " " text "\r\n", to, then },
#define X_PATH(name, text)                                                                         \
	[WORD_RCPT_##name] = { "501 5.1.3 " text "\r\n", TO_RCPT, THEN_ON },                       \
	[WORD_MAIL_##name] = { "501 5.1.7 " text "\r\n", TO_MAIL, THEN_ON },

static const struct {
	const char *text;
	uint8_t to, then;
} rows[WORDS_COUNT] = { SMTP_WORDS(X) SMTP_WORDS_OF_PATHS(X_PATH) };

const char *smtp_words(enum smtp_words w)
{
	CHECK((unsigned)w < WORDS_COUNT);
	return rows[w].text;
}

enum smtp_words_to smtp_words_to(enum smtp_words w)
{
	CHECK((unsigned)w < WORDS_COUNT);
	return rows[w].to;
}

bool smtp_words_end(enum smtp_words w)
{
	CHECK((unsigned)w < WORDS_COUNT);
	return rows[w].then == THEN_END;
}

bool smtp_words_are(enum smtp_words w, struct span reply)
{
	struct span text = span_str(smtp_words(w));

	text.n -= 2; /* CR LF */
	return span_eq(reply, text);
}

bool smtp_words_ended(struct span reply)
{
	for (unsigned w = 0; w < WORDS_COUNT; w++)
		if (smtp_words_end(w) && smtp_words_are(w, reply))
			return true;
	return false;
}
