/* SPDX-License-Identifier: ISC */
/*
 * The client-facing dialog's table (smtp/order.c): what BDAT does in each state, and what the
 * other commands do between two chunks. Every line is given whole, octet by octet and split
 * everywhere: before its end nothing is said of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/order.h"

#define CHUNKS (SMTP_EXT_PIPELINING | SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME | SMTP_EXT_8BITMIME)

static const struct smtp_order_view quiet = { 0 };
static const struct smtp_order_view busy = { .open = true, .pipelining = true };

/* The event of LINE, and what it refuses with. What stands behind the line changes nothing. */
static enum smtp_order_event ask(const struct smtp_order *s, const char *line,
				 struct smtp_order_view view, struct smtp_order_step *step)
{
	size_t n = strlen(line);
	char in[256];
	enum smtp_order_event event;

	memcpy(in, line, n);
	memcpy(in + n, "\r\nRSET\r\n", 8);
	for (size_t part = 0; part < n + 2; part++) {
		uint8_t *piece = malloc(part ? part : 1);

		assert_non_null(piece);
		memcpy(piece, in, part);
		assert_int_equal(smtp_order_next(s, span_of(piece, part), view, step),
				 SMTP_ORDER_MORE);
		free(piece);
	}
	event = smtp_order_next(s, span_of(in, n + 2), view, step);
	assert_true(event == SMTP_ORDER_WAIT || step->consumed == n + 2);
	if (strncmp(line, "DATA", 4) == 0 || strncmp(line, "AUTH", 4) == 0)
		return event;
	struct smtp_order_step more;

	assert_int_equal(smtp_order_next(s, span_of(in, n + 8), view, &more), event);
	assert_true(event == SMTP_ORDER_WAIT || more.consumed == n + 2);
	return event;
}

static void pass(struct smtp_order *s, const char *line)
{
	struct smtp_order_step step;

	assert_int_equal(ask(s, line, quiet, &step), SMTP_ORDER_COMMAND);
	/* The spans of the command are gone, and are not looked at. */
	step.cmd.line = SPAN("");
	smtp_order_passed(s, &step.cmd);
}

static void refused(const struct smtp_order *s, const char *line, enum smtp_order_event event,
		    const char *code)
{
	struct smtp_order_step step = { 0 };

	assert_int_equal(ask(s, line, quiet, &step), event);
	assert_memory_equal(step.reply, code, 3);
	if (event == SMTP_ORDER_FATAL)
		assert_int_not_equal(step.why, REASON_NONE);
}

static void start(struct smtp_order *s, uint32_t offered)
{
	*s = (struct smtp_order){ 0 };
	smtp_order_greeted(s, 220);
	pass(s, "EHLO c");
	smtp_order_answered(s, SMTP_VERB_EHLO, 250);
	s->offered = offered;
}

static void mail(struct smtp_order *s, const char *line, unsigned code)
{
	pass(s, line);
	smtp_order_answered(s, SMTP_VERB_MAIL, code);
}

static void rcpt(struct smtp_order *s, unsigned code)
{
	pass(s, "RCPT TO:<b@c>");
	smtp_order_answered(s, SMTP_VERB_RCPT, code);
}

static void in_transaction(struct smtp_order *s)
{
	start(s, CHUNKS);
	mail(s, "MAIL FROM:<a@b>", 250);
	rcpt(s, 250);
}

static void chunk(struct smtp_order *s, bool last)
{
	struct smtp_order_step step;

	pass(s, last ? "BDAT 5 LAST" : "BDAT 5");
	assert_int_equal(s->state, SMTP_ORDER_CHUNK);
	/* Its octets are not commands. */
	assert_int_equal(smtp_order_next(s, SPAN("QUIT\r\n"), quiet, &step), SMTP_ORDER_WAIT);
	smtp_order_chunk_done(s, last);
	assert_int_equal(s->state, last ? SMTP_ORDER_EOD : SMTP_ORDER_CHUNKED);
}

static void test_chunks(void **state)
{
	struct smtp_order s;

	(void)state;
	in_transaction(&s);
	chunk(&s, false);
	smtp_order_answered(&s, SMTP_VERB_BDAT, 250);
	chunk(&s, false);
	smtp_order_answered(&s, SMTP_VERB_BDAT, 250);
	chunk(&s, true);
	smtp_order_message_answered(&s);
	assert_int_equal(s.state, SMTP_ORDER_READY);
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_FATAL, "503");
}

/* BDAT waits for every open reply, whatever it will be. */
static void test_waits(void **state)
{
	static const char *const lines[] = { "BDAT 5 LAST", "bdat 0", "BDAT", "BDAT -1",
					     "BDAT 99999999999999999999" };
	struct smtp_order_step step;
	struct smtp_order s;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		start(&s, CHUNKS);
		assert_int_equal(ask(&s, lines[i], busy, &step), SMTP_ORDER_WAIT);
		mail(&s, "MAIL FROM:<a@b>", 250);
		assert_int_equal(ask(&s, lines[i], busy, &step), SMTP_ORDER_WAIT);
		rcpt(&s, 250);
		assert_int_equal(ask(&s, lines[i], busy, &step), SMTP_ORDER_WAIT);
		assert_int_equal(step.cmd.verb, SMTP_VERB_BDAT);
		chunk(&s, false);
		assert_int_equal(ask(&s, lines[i], busy, &step), SMTP_ORDER_WAIT);
	}
}

static void test_fatal(void **state)
{
	static const char *const bad[] = { "BDAT",     "BDAT x",	  "BDAT 5 5",
					   "BDAT -1",  "BDAT  5",	  "BDAT 5  LAST",
					   "BDAT 5  ", "BDAT 4294967301", "BDAT\t5" };
	struct smtp_order s;

	(void)state;
	s = (struct smtp_order){ 0 };
	smtp_order_greeted(&s, 554);
	refused(&s, "BDAT 5", SMTP_ORDER_FATAL, "502");
	s = (struct smtp_order){ 0 };
	smtp_order_greeted(&s, 220);
	refused(&s, "BDAT 5", SMTP_ORDER_FATAL, "502");
	start(&s, CHUNKS);
	refused(&s, "BDAT 5", SMTP_ORDER_FATAL, "503");
	mail(&s, "MAIL FROM:<a@b>", 250);
	refused(&s, "BDAT 0 LAST", SMTP_ORDER_FATAL, "503");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		in_transaction(&s);
		refused(&s, bad[i], SMTP_ORDER_FATAL, "501");
		chunk(&s, false);
		refused(&s, bad[i], SMTP_ORDER_FATAL, "501");
		s.offered = SMTP_EXT_BINARYMIME;
		refused(&s, bad[i], SMTP_ORDER_FATAL, "502");
		start(&s, CHUNKS);
		refused(&s, bad[i], SMTP_ORDER_FATAL, "501");
	}
}

/* Chunks of a client that has not seen our refusals yet. */
static void test_thrown_away(void **state)
{
	struct smtp_order s;

	(void)state;
	start(&s, CHUNKS);
	mail(&s, "MAIL FROM:<a@b>", 250);
	rcpt(&s, 550);
	refused(&s, "BDAT 5", SMTP_ORDER_DISCARD, "554");
	smtp_order_discards(&s);
	smtp_order_chunk_done(&s, false);
	assert_int_equal(s.state, SMTP_ORDER_CHUNKED);
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_DISCARD, "503");
	smtp_order_discards(&s);
	smtp_order_chunk_done(&s, true);
	assert_int_equal(s.state, SMTP_ORDER_CHUNKED);
	refused(&s, "MAIL FROM:<a@b>", SMTP_ORDER_LOCAL, "503");
	/* RSET makes all good. */
	pass(&s, "RSET");
	mail(&s, "MAIL FROM:<a@b>", 250);
	rcpt(&s, 250);
	chunk(&s, false);
	/* Refused by the destination. */
	smtp_order_answered(&s, SMTP_VERB_BDAT, 452);
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_DISCARD, "503");
	pass(&s, "EHLO d");
	smtp_order_answered(&s, SMTP_VERB_EHLO, 250);
	s.offered = CHUNKS;
	refused(&s, "BDAT 5", SMTP_ORDER_FATAL, "503");
}

static void test_mail_refused(void **state)
{
	struct smtp_order s;

	(void)state;
	start(&s, CHUNKS);
	mail(&s, "MAIL FROM:<a@b>", 550);
	refused(&s, "BDAT 5", SMTP_ORDER_DISCARD, "503");
	smtp_order_discards(&s);
	smtp_order_chunk_done(&s, false);
	assert_int_equal(s.state, SMTP_ORDER_READY);
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_DISCARD, "503");
	pass(&s, "NOOP");
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_FATAL, "503");
	/* With recipients still open behind it. */
	start(&s, CHUNKS);
	pass(&s, "MAIL FROM:<a@b>");
	pass(&s, "RCPT TO:<a@b>");
	smtp_order_answered(&s, SMTP_VERB_MAIL, 550);
	pass(&s, "RCPT TO:<a@b>");
	smtp_order_answered(&s, SMTP_VERB_RCPT, 503);
	smtp_order_answered(&s, SMTP_VERB_RCPT, 250);
	assert_int_equal(s.state, SMTP_ORDER_READY);
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_DISCARD, "503");
	/* Here. */
	start(&s, CHUNKS);
	smtp_order_mail_refused(&s);
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_DISCARD, "503");
	mail(&s, "MAIL FROM:<a@b>", 250);
	refused(&s, "BDAT 5 LAST", SMTP_ORDER_FATAL, "503");
}

static void test_between_chunks(void **state)
{
	static const struct {
		const char *line;
		enum smtp_order_event when_quiet, when_busy;
		const char *code;
	} rows[] = {
		{ "HELO d", SMTP_ORDER_COMMAND, SMTP_ORDER_WAIT, NULL },
		{ "EHLO d", SMTP_ORDER_COMMAND, SMTP_ORDER_WAIT, NULL },
		{ "MAIL FROM:<a@b>", SMTP_ORDER_LOCAL, SMTP_ORDER_LOCAL, "503" },
		{ "RCPT TO:<a@b>", SMTP_ORDER_LOCAL, SMTP_ORDER_LOCAL, "503" },
		{ "DATA", SMTP_ORDER_LOCAL, SMTP_ORDER_LOCAL, "503" },
		{ "BDAT 5", SMTP_ORDER_COMMAND, SMTP_ORDER_WAIT, NULL },
		{ "RSET", SMTP_ORDER_COMMAND, SMTP_ORDER_WAIT, NULL },
		/* What a server may refuse there is not passed on. */
		{ "NOOP", SMTP_ORDER_LOCAL, SMTP_ORDER_WAIT, "250" },
		{ "HELP", SMTP_ORDER_LOCAL, SMTP_ORDER_WAIT, "214" },
		{ "AUTH PLAIN", SMTP_ORDER_LOCAL, SMTP_ORDER_LOCAL, "503" },
		{ "STARTTLS", SMTP_ORDER_LOCAL, SMTP_ORDER_WAIT, "502" },
		{ "VRFY a", SMTP_ORDER_LOCAL, SMTP_ORDER_LOCAL, "502" },
		{ "WHAT", SMTP_ORDER_LOCAL, SMTP_ORDER_LOCAL, "500" },
		{ "QUIT", SMTP_ORDER_COMMAND, SMTP_ORDER_WAIT, NULL },
	};
	struct smtp_order_step step;
	struct smtp_order s;

	(void)state;
	in_transaction(&s);
	chunk(&s, false);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(ask(&s, rows[i].line, busy, &step), rows[i].when_busy);
		assert_int_equal(ask(&s, rows[i].line, quiet, &step), rows[i].when_quiet);
		if (rows[i].code)
			assert_memory_equal(step.reply, rows[i].code, 3);
	}
}

static void test_binary(void **state)
{
	struct smtp_order s;

	(void)state;
	start(&s, CHUNKS);
	mail(&s, "MAIL FROM:<a@b> BODY=BINARYMIME", 250);
	refused(&s, "DATA", SMTP_ORDER_LOCAL, "503");
	rcpt(&s, 250);
	refused(&s, "DATA", SMTP_ORDER_LOCAL, "503");
	chunk(&s, true);
	smtp_order_message_answered(&s);
	/* The next message is another. */
	mail(&s, "MAIL FROM:<a@b> BODY=8BITMIME", 250);
	rcpt(&s, 250);
	pass(&s, "DATA");
	start(&s, CHUNKS & ~(uint32_t)SMTP_EXT_BINARYMIME);
	refused(&s, "MAIL FROM:<a@b> BODY=BINARYMIME", SMTP_ORDER_LOCAL, "555");
}

/* XCLIENT is a proxy's, between transactions, before a login and with nothing behind it. */
static void test_rename(void **state)
{
	static const struct smtp_order_view proxy = { .may_rename = true };
	static const char line[] = "XCLIENT ADDR=192.0.2.1";
	static const char more[] = "XCLIENT ADDR=192.0.2.1\r\nNOOP\r\n";
	struct smtp_order_step step;
	struct smtp_order s;

	(void)state;
	start(&s, CHUNKS);
	refused(&s, line, SMTP_ORDER_LOCAL, "502");
	refused(&s, "XCLIENT", SMTP_ORDER_LOCAL, "502");
#define ASK(text) smtp_order_next(&s, SPAN(text "\r\n"), proxy, &step)
	assert_int_equal(ASK("XCLIENT ADDR=192.0.2.1"), SMTP_ORDER_RENAME);
	assert_true(step.cmd.identity.has_client);
	assert_int_equal(ASK("XCLIENT ADDR=x"), SMTP_ORDER_FATAL);
	assert_memory_equal(step.reply, "501", 3);
	assert_int_equal(step.why, REASON_XCLIENT);
	assert_int_equal(smtp_order_next(&s, SPAN(more), proxy, &step), SMTP_ORDER_FATAL);
	s.logged_in = true;
	assert_int_equal(ASK("XCLIENT ADDR=192.0.2.1"), SMTP_ORDER_FATAL);
	s.logged_in = false;
	in_transaction(&s);
	assert_int_equal(ASK("XCLIENT ADDR=192.0.2.1"), SMTP_ORDER_FATAL);
	/* Nothing is read once it was taken. */
	start(&s, CHUNKS);
	smtp_order_renamed(&s);
	assert_int_equal(ASK("NOOP"), SMTP_ORDER_WAIT);
#undef ASK
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks),	     cmocka_unit_test(test_waits),
		cmocka_unit_test(test_fatal),	     cmocka_unit_test(test_thrown_away),
		cmocka_unit_test(test_mail_refused), cmocka_unit_test(test_between_chunks),
		cmocka_unit_test(test_binary),	     cmocka_unit_test(test_rename),
	};

	return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
