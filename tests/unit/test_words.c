/* SPDX-License-Identifier: ISC */
/* words: the table of replies is well-formed, and caronte(8) lists the same ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/reason.h"
#include "smtp/reply.h"
#include "smtp/words.h"

#define MANUAL	"doc/caronte.8"
#define SECTION ".Ss Replies of its own\n"

/* The manual's name of what a reply answers. */
static const char *const to_names[] = {
	[TO_CONNECTION] = "a connection",
	[TO_COMMAND] = "any command",
	[TO_HELO] = "HELO or EHLO",
	[TO_MAIL] = "MAIL",
	[TO_RCPT] = "RCPT",
	[TO_PATH] = "MAIL or RCPT",
	[TO_DATA] = "DATA",
	[TO_MESSAGE] = "the end of a message",
	[TO_BDAT] = "BDAT",
	[TO_AUTH] = "AUTH",
	[TO_STARTTLS] = "STARTTLS",
	[TO_HELP] = "HELP",
	[TO_QUIT] = "QUIT",
	[TO_OPEN] = "what is open",
};

static char *section;

static int read_section(void **state)
{
	static char text[1u << 18];
	FILE *f = fopen(MANUAL, "r");
	size_t n;
	char *end;

	(void)state;
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	assert_true(n > 0 && n < sizeof(text) - 1);
	fclose(f);
	section = strstr(text, SECTION);
	assert_non_null(section);
	end = strstr(section + 1, "\n.Ss ");
	assert_non_null(end);
	*end = '\0';
	return 0;
}

static void each_is_a_reply(void **state)
{
	(void)state;
	for (unsigned w = 0; w < WORDS_COUNT; w++) {
		struct span text = span_str(smtp_words(w));
		struct smtp_reply reply;
		size_t n;

		assert_int_equal(smtp_reply_parse(text, &reply, &n), SMTP_REPLY_OK);
		assert_int_equal(n, text.n);
		assert_int_equal(reply.lines, 1);
		for (unsigned other = 0; other < w; other++)
			assert_string_not_equal(smtp_words(w), smtp_words(other));
		assert_true(smtp_words_are(w, span_of(text.p, text.n - 2)));
		assert_false(smtp_words_are(w, text));
		assert_int_equal(smtp_words_ended(span_of(text.p, text.n - 2)), smtp_words_end(w));
	}
	assert_false(smtp_words_ended(SPAN("421 4.3.2 Something else")));
}

/* The text as the manual has it, between the quotes of its item. */
static void manual_text(enum smtp_words w, char *out, size_t cap)
{
	const char *name = w == WORD_GREETING || w == WORD_HELLO ? "NAME" : "";

	snprintf(out, cap, smtp_words(w), name);
	out[strcspn(out, "\r")] = '\0';
}

/* What follows the item ITEM in the section; NULL: it is not there. */
static const char *find_item(const char *item)
{
	char line[160];
	const char *at;

	snprintf(line, sizeof(line), "\n.It Li \"%s\"\n", item);
	at = strstr(section, line);
	return at ? at + strlen(line) : NULL;
}

static void the_manual_has_each(void **state)
{
	(void)state;
	for (unsigned w = 0; w < WORD_RCPT_NO_BRACKETS; w++) {
		char text[128], first[128];
		const char *said;

		manual_text(w, text, sizeof(text));
		said = find_item(text);
		if (!said)
			fail_msg("%s lacks \"%s\"", MANUAL, text);
		snprintf(first, sizeof(first), "To %s%s:\n", to_names[smtp_words_to(w)],
			 smtp_words_end(w) ? ", and the session ends" : "");
		if (strncmp(said, first, strlen(first)) != 0)
			fail_msg("%s: \"%s\" is said %s", MANUAL, text, first);
	}
	assert_non_null(find_item("501 5.1.3"));
	assert_non_null(find_item("501 5.1.7"));
}

/* A path's text, as a line of the list at the end: in its quotes a backslash is \e. */
static bool has_path_text(const char *text)
{
	char line[128] = "\n.Li \"";
	size_t n = strlen(line);

	for (; *text; text++) {
		line[n++] = *text;
		if (*text == '\\')
			line[n++] = 'e';
	}
	snprintf(line + n, sizeof(line) - n, "\"\n");
	return strstr(section, line) != NULL;
}

static void the_manual_has_each_path(void **state)
{
	(void)state;
	for (unsigned w = WORD_RCPT_NO_BRACKETS; w < WORDS_COUNT; w++) {
		char text[128];

		manual_text(w, text, sizeof(text));
		if (!has_path_text(text + strlen("501 5.1.3 ")))
			fail_msg("%s lacks \"%s\"", MANUAL, text);
	}
}

static unsigned count(const char *what)
{
	unsigned n = 0;

	for (const char *at = section; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static void the_manual_has_no_other(void **state)
{
	(void)state;
	assert_int_equal(count("\n.It Li \""), WORD_RCPT_NO_BRACKETS + 2);
	assert_int_equal(count("\n.Li \""), (WORDS_COUNT - WORD_RCPT_NO_BRACKETS) / 2);
}

/* Quoted words of the section are reasons, and all reasons but those without a reply of ours. */
static void reasons_are_those_of_the_log(void **state)
{
	(void)state;
	for (const char *at = section; (at = strstr(at, "Ql ")); at++) {
		size_t n = strcspn(at + 3, " \n");
		bool known = false;

		for (unsigned why = REASON_NONE + 1; why < REASON_COUNT; why++)
			known |= span_eq(span_of((const uint8_t *)at + 3, n),
					 span_str(reason_name(why)));
		if (!known)
			fail_msg("%s: \"%.*s\" is no reason", MANUAL, (int)n, at + 3);
	}
	for (unsigned why = REASON_NONE + 1; why < REASON_COUNT; why++) {
		bool ours = why != REASON_UNREAD_REPLIES && why != REASON_CLOSING &&
			    why != REASON_STARTTLS_INJECTION;
		char word[64];

		snprintf(word, sizeof(word), "Ql %s", reason_name(why));
		if ((count(word) > 0) != ours)
			fail_msg("%s: reason \"%s\"", MANUAL, reason_name(why));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_a_reply),
		cmocka_unit_test(the_manual_has_each),
		cmocka_unit_test(the_manual_has_each_path),
		cmocka_unit_test(the_manual_has_no_other),
		cmocka_unit_test(reasons_are_those_of_the_log),
	};

	return cmocka_run_group_tests(tests, read_section, NULL);
}
