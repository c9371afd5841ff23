/* SPDX-License-Identifier: ISC */
/*
 * carontectl trace: what matches, what is kept, and how it is told. carontectl is no part of the
 * library: its files are compiled in here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h wants the four above first */
#include <cmocka.h>

#include "ctl/log_filter.c"
#include "ctl/log_print.c"
#include "ctl/log_table.c"
#include "ctl/log_text.c"
#include "ctl/log_time.c"
#include "ctl/trace_ids.c"
#undef FIRST
#include "ctl/trace_lines.c"
#include "ctl/trace_match.c"
#include "ctl/trace_story.c"
#include "ctl/trace_tell.c"
#include "ctl/trace_words.c"

#include "dialog/dialog.h"
#include "smtp/reason.h"

#include "ctl/trace_tell.h"
#include "logcheck.h"

/* ---- words ---- */

/* The sentence of a word is more than the word. */
static void check_word(enum trace_words kind, const char *word)
{
	const char *sentence = trace_words(kind, span_str(word));

	if (!sentence || strlen(sentence) < 4 || strcmp(sentence, word) == 0)
		fail_msg("kind %d: %s has no sentence", kind, word);
}

static void test_words_of_the_daemon(void **state)
{
	(void)state;
	for (int i = END_RUNS; i <= END_STOP; i++)
		check_word(TRACE_END, session_end_name((enum session_end)i));
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++)
		check_word(TRACE_REASON, reason_name((enum reason)i));
	for (int i = 0; i < POLICY_RULES; i++)
		check_word(TRACE_RULE, policy_rule_name((enum policy_rule)i));
	assert_null(trace_words(TRACE_END, SPAN("quits")));
	assert_null(trace_words(TRACE_REASON, SPAN("")));
}

static void expect_verdict(const char *rule, const char *recipient, const char *reply,
			   const char *wanted)
{
	const char *told = trace_verdict(span_str(rule), span_str(recipient), span_str(reply));

	if (!told || !strstr(told, wanted))
		fail_msg("%s %s %s: %s", rule, recipient, reply, told);
}

/* Who has refused shows in the reply, and why in the address. */
static void test_words_of_verdicts(void **state)
{
	static const char *const unanswered[] = {
		"451 4.4.2 Connection to destination lost",
		"421 4.3.2 No destination is available, try later",
		"451 4.3.0 Destination answered something malformed",
		"500 5.5.2 Line too long or not ended by CR LF, closing connection",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(unanswered) / sizeof(unanswered[0]); i++)
		expect_verdict("destination", "a@b.test", unanswered[i], "no answer of the dest");
	expect_verdict("destination", "a@b.test",
		       "451 4.3.0 Destination cannot do that now, try later",
		       "lacks what the message needs");
	expect_verdict("destination", "a@b.test", "", "no answer, since the session ended");
	assert_string_equal(
		trace_verdict(SPAN("destination"), SPAN("a@b.test"), SPAN("550 5.1.1 Unknown")),
		"refused by the destination");
	expect_verdict("destination", "a@b.test", "450 4.2.1 Busy", "destination, for now");
	expect_verdict("recipient", "Postmaster", "", "the postmaster");
	expect_verdict("recipient", "postmaster@b.test", "", "the postmaster");
	assert_null(strstr(trace_verdict(SPAN("recipient"), SPAN("postmasters@b.test"), SPAN("")),
			   "the postmaster"));
	expect_verdict("relaying-denied", "a%c.test@b.test", "550", "carries routing");
	expect_verdict("relaying-denied", "a@c.test@b.test", "550", "carries routing");
	assert_null(strstr(trace_verdict(SPAN("relaying-denied"), SPAN("a@b.test"), SPAN("550")),
			   "routing"));
	assert_null(trace_verdict(SPAN("new"), SPAN("a@b.test"), SPAN("250")));
}

/* The values below NODE, each of them checked; their number. */
static unsigned check_values(xmlNodePtr node, enum trace_words kind)
{
	unsigned n = 0;

	for (xmlNodePtr at = node->children; at; at = at->next) {
		if (at->type != XML_ELEMENT_NODE)
			continue;
		if (strcmp((const char *)at->name, "value") == 0) {
			xmlChar *word = xmlNodeGetContent(at);

			check_word(kind, (const char *)word);
			xmlFree(word);
			n++;
		}
		n += check_values(at, kind);
	}
	return n;
}

/* Those of the node NAME'd so, of which there is one. */
static unsigned check_named(xmlNodePtr node, const char *type, const char *name,
			    enum trace_words kind)
{
	unsigned n = 0;

	for (xmlNodePtr at = node->children; at; at = at->next) {
		xmlChar *named =
			at->type == XML_ELEMENT_NODE ? xmlGetProp(at, BAD_CAST "name") : NULL;

		if (named && strcmp((const char *)at->name, type) == 0 &&
		    strcmp((const char *)named, name) == 0)
			n += check_values(at, kind);
		else
			n += check_named(at, type, name, kind);
		xmlFree(named);
	}
	return n;
}

/* The schema says which words the log may hold at all, and the end-to-end tests hold it to that. */
static void test_words_of_the_schema(void **state)
{
	xmlDocPtr doc = xmlReadFile(LOG_SCHEMA, NULL, 0);

	(void)state;
	assert_non_null(doc);
	xmlNodePtr root = xmlDocGetRootElement(doc);

	assert_in_range(check_named(root, "attribute", "end", TRACE_END), 8, 100);
	assert_in_range(check_named(root, "define", "reason", TRACE_REASON), 32, 200);
	assert_in_range(check_named(root, "attribute", "rule", TRACE_RULE), 7, 100);
	assert_in_range(check_named(root, "attribute", "command", TRACE_COMMAND), 7, 100);
	assert_in_range(check_named(root, "attribute", "by", TRACE_BY), 2, 10);
	xmlFreeDoc(doc);
}

/* ---- what matches ---- */

static void test_queue_ids(void **state)
{
	static const struct {
		const char *word, *reply;
		bool stands;
	} rows[] = {
		{ "C1M1", "250 2.0.0 Ok: queued as C1M1", true },
		{ "4bXYZ12Qz9z1", "250 2.0.0 Ok: queued as 4bXYZ12Qz9z1", true },
		{ "1xXbTx-000019-1n", "250 OK id=1xXbTx-000019-1n", true },
		{ "0e4c9bf5", "250 2.0.0 0e4c9bf5 Message accepted for delivery", true },
		{ "5AT9k1x2", "250 2.0.0 5AT9k1x2 Message accepted for delivery", true },
		{ "<7@ex.test>", "250 2.6.0 <7@ex.test> [InternalId=4711, Hostname=ex] Queued",
		  true },
		{ "4711", "250 2.6.0 <7@ex.test> [InternalId=4711, Hostname=ex] Queued", true },
		{ "InternalId=4711", "250 2.6.0 <7@ex.test> [InternalId=4711, x] Queued", true },
		{ "12345", "250 ok 1711111111 qp 12345", true },
		{ "C1M", "250 2.0.0 Ok: queued as C1M1", false },
		{ "1M1", "250 2.0.0 Ok: queued as C1M1", false },
		{ "c1m1", "250 2.0.0 Ok: queued as C1M1", false },
		{ "1xXbTx", "250 OK id=1xXbTx-000019-1n", false },
		{ "000019", "250 OK id=1xXbTx-000019-1n", false },
		{ "250", "250 ok", false },
		{ "C1M1 ", "250 C1M1", false },
		{ "C1M1", "", false },
		{ "", "250 ok", false },
		{ "x", "250", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (trace_match_word(span_str(rows[i].word), span_str(rows[i].reply)) !=
		    rows[i].stands)
			fail_msg("row %zu: %s in %s", i, rows[i].word, rows[i].reply);
}

/* A record of "element name=value name=value", where + is a blank. TEXT is cut. */
static struct log_record record_of(char *text)
{
	struct log_record r = { 0 };
	char *word = strtok(text, " ");

	r.element = span_str(word);
	while ((word = strtok(NULL, " ")) != NULL) {
		char *value = strchr(word, '=');

		assert_non_null(value);
		*value++ = '\0';
		for (char *p = value; *p; p++)
			*p = *p == '+' ? ' ' : *p;
		r.attr[r.n].name = span_str(word);
		r.attr[r.n++].value = span_str(value);
	}
	return r;
}

static bool matches(const char *what, const char *record)
{
	char text[512];
	struct trace_match m = { 0 };
	struct log_record r;
	bool found;

	snprintf(text, sizeof(text), "%s", record);
	r = record_of(text);
	assert_true(trace_match_init(&m, what));
	found = trace_match(&m, &r);
	trace_match_free(&m);
	return found;
}

#define MESSAGE                                                                                    \
	"message session=1a-2 client=192.0.2.1:4711 sender=ann@example.org "                       \
	"to=joe@example.com+bob@example.net id=<m1@client.test> reply=250+queued+as+C1M1"
#define BOUNCE "recipient session=1a-3 client=[2001:db8::1]:25 sender= recipient=x@far.test"

static void test_kinds(void **state)
{
	static const char *const good[] = {
		"1a-2",
		"192.0.2.1",
		"192.0.2.0/24",
		"192.0.2.1:4711",
		"ANN@example.org",
		"<ann@example.org>",
		"@example.org",
		"joe@example.com",
		"bob@example.net",
		"<m1@client.test>",
		"m1@client.test",
		"C1M1",
	};
	static const char *const bad[] = {
		"1a-22",
		"192.0.2.2",
		"192.0.2.1:4712",
		"nn@example.org",
		"<>",
		"example.org",
		"m2@client.test",
		"C1M2",
		"[",
		"as",
		"250",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!matches(good[i], MESSAGE))
			fail_msg("%s should match", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (matches(bad[i], MESSAGE))
			fail_msg("%s should not match", bad[i]);
	assert_true(matches("<>", BOUNCE));
	assert_true(matches("2001:db8::1", BOUNCE));
	assert_true(matches("[2001:db8::1]:25", BOUNCE));
	assert_true(matches("X@far.test", BOUNCE));
	/* A queue id stands in the reply to a message alone. */
	assert_false(matches("C1M1", "refusal session=1a-2 reply=550+C1M1"));
}

/* ---- names of sessions ---- */

static void test_ids(void **state)
{
	static const char *const bad[] = { "",	   "-",		  "1-",
					   "-1",   "1",		  "g-1",
					   "1-g",  "1-123456789", "12345678901234567-1",
					   "1-1 ", "1-1-1",	  "A-1" };
	struct trace_ids s = { 0 };
	struct trace_id id;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (trace_id_parse(span_str(bad[i]), &id))
			fail_msg("%s is none", bad[i]);
	assert_true(trace_id_parse(SPAN("6441f6a3b2c00-1f"), &id));
	assert_true(id.epoch == 0x6441f6a3b2c00 && id.serial == 0x1f);
	assert_int_equal(trace_ids_find(&s, id), SIZE_MAX);
	/* More than is kept, each of them twice, so that the older half goes. */
	for (size_t i = 0; i < TRACE_IDS_MAX + 10; i++) {
		id = (struct trace_id){ i / 3, (uint32_t)(i % 3), false };
		assert_true(trace_ids_add(&s, id));
		assert_true(trace_ids_add(&s, id));
	}
	assert_int_equal(s.n, TRACE_IDS_MAX / 2 + 10);
	assert_int_equal(s.forgotten, TRACE_IDS_MAX / 2);
	assert_int_equal(trace_ids_find(&s, id), s.n - 1);
	assert_int_equal(trace_ids_find(&s, (struct trace_id){ 0, 0, false }), SIZE_MAX);
	trace_ids_keep(&s, 2);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.forgotten, TRACE_IDS_MAX + 8);
	assert_int_equal(trace_ids_find(&s, id), 1);
	trace_ids_free(&s);
}

/* ---- stories ---- */

static struct story_teller teller;

/* The story of RECORDS, NULL at their end, each as record_of() takes them, about WHAT. */
static char *tell(const char *what, const char *const *records)
{
	static struct log_text out;
	struct trace_match m = { 0 };
	struct story s = { 0 };

	assert_true(trace_match_init(&m, what));
	teller = (struct story_teller){ .match = &m, .states.started_us = INT64_MIN };
	for (; *records; records++) {
		char text[1024];
		struct log_record r;

		snprintf(text, sizeof(text), "%s", *records);
		r = record_of(text);
		story_look(&teller, &r);
		if (log_record_get(&r, "session").p)
			story_add(&teller, &s, &r, false);
	}
	out.n = 0;
	story_tell(&teller, &s, "1a-2", &out);
	log_text_add(&out, "", 1);
	story_free(&s);
	story_teller_free(&teller);
	trace_match_free(&m);
	assert_false(out.failed);
	return out.p;
}

#define AT(s) " time=2026-11-22T20:13:" s "Z session=1a-2 client=192.0.2.1:4711 "

static const char *const whole[] = {
	"login" AT("01.000000") "mechanism=PLAIN name=ann verdict=refuse reply=535+no",
	"recipient" AT("02.000000") "message=1 sender=ann@example.org recipient=joe@example.com "
				    "verdict=accept rule=recipient",
	"recipient" AT(
		"02.100000") "message=1 sender=ann@example.org recipient=x@far.test "
			     "verdict=refuse rule=relaying-denied reply=550+5.7.1+Relaying+denied.",
	"message" AT("03.000000") "message=1 sender=ann@example.org recipients=1 id=<m1@c.test> "
				  "bytes=1234 destination=192.0.2.10:25 reply=250+queued+as+C1M1",
	"recipient" AT("04.000000") "message=2 sender=ann@example.org recipient=bob@example.com "
				    "verdict=accept rule=recipient",
	"message" AT("05.000000") "message=2 sender=ann@example.org recipients=1 bytes=5 "
				  "reply=452+4.3.1+full\nreally",
	"refusal" AT("05.500000") "command=helo by=caronte reply=501+5.5.4+Name",
	"session" AT("06.000000") "helo=c.test messages=1 refusals=1 seconds=5.250000 end=limit "
				  "reason=MAX_ERRORS errors=3 reply=421+4.7.0+Too+many",
	NULL,
};

static void test_whole_story(void **state)
{
	(void)state;
	assert_string_equal(
		tell("1a-2", whole),
		"session 1a-2, 2026-11-22 20:13:00.750 UTC\n"
		"              client 192.0.2.1:4711, HELO c.test\n"
		"20:13:01.000  login by PLAIN as <ann>: refused\n"
		"                | 535 no\n"
		"20:13:02.000  message 1 from <ann@example.org>\n"
		"20:13:02.000    to <joe@example.com>: accepted: the recipient is in RECIPIENTS\n"
		"20:13:02.100    to <x@far.test>: refused here: the recipient is not in RECIPIENTS "
		"and the client is no relay client (no login, not in RELAY_NETWORKS)\n"
		"                | 550 5.7.1 Relaying denied.\n"
		"20:13:03.000    1234 octets for 1 recipient, Message-ID <m1@c.test>, to "
		"192.0.2.10:25: accepted\n"
		"                | 250 queued as C1M1\n"
		"20:13:04.000  message 2 from <ann@example.org>\n"
		"20:13:04.000    to <bob@example.com>: accepted: the recipient is in RECIPIENTS\n"
		"20:13:05.000    5 octets for 1 recipient: refused for now, the client may try "
		"again\n"
		"                | 452 4.3.1 full\n"
		"                | really\n"
		"20:13:05.500  HELO or EHLO was refused here\n"
		"                | 501 5.5.4 Name\n"
		"20:13:06.000  end after 5.250000 s: the client had MAX_ERRORS errors and refusals "
		"[limit, MAX_ERRORS], delivered: 1, refused recipients: 1, 5xx replies: 3\n"
		"                | 421 4.7.0 Too many\n");
}

/* How the client's and the destination's connections were secured. */
static void test_tls(void **state)
{
	static const char *const records[] = {
		"session" AT(
			"06.000000") "helo=c.test tls=TLSv1.3 cipher=X start=starttls peer=Ann "
				     "destination=192.0.2.10:25 destination-tls=TLSv1.2 "
				     "destination-cipher=Y destination-trust=verified "
				     "messages=0 refusals=0 seconds=1.0 end=quit",
		NULL,
	};
	static const char *const implicit[] = {
		"session" AT("06.000000") "tls=TLSv1.2 cipher=X start=implicit "
					  "destination=192.0.2.10:25 destination-tls=TLSv1.3 "
					  "destination-cipher=Y destination-trust=none "
					  "messages=0 refusals=0 seconds=1.0 end=quit",
		NULL,
	};

	(void)state;
	assert_non_null(strstr(tell("1a-2", records),
			       "client 192.0.2.1:4711, HELO c.test, TLSv1.3 by STARTTLS, its "
			       "certificate Ann, destination 192.0.2.10:25 by TLSv1.2, its "
			       "certificate verified\n"));
	assert_non_null(strstr(tell("1a-2", implicit),
			       "client 192.0.2.1:4711, TLSv1.2 from the beginning, destination "
			       "192.0.2.10:25 by TLSv1.3, its certificate not looked at\n"));
}

static void test_one_message_of_several(void **state)
{
	const char *told;

	(void)state;
	told = tell("C1M1", whole);
	assert_non_null(strstr(told, "message 1 from"));
	assert_null(strstr(told, "message 2 from"));
	assert_non_null(strstr(told, "and 1 other message of this session: carontectl log "
				     "--session 1a-2\n"));
	told = tell("bob@example.com", whole);
	assert_null(strstr(told, "message 1 from"));
	assert_non_null(strstr(told, "message 2 from"));
}

static void test_without_an_end(void **state)
{
	const char *records[] = { whole[1], NULL, NULL };

	(void)state;
	assert_non_null(strstr(tell("1a-2", records), "to <joe@example.com>: accepted"));
	assert_non_null(
		strstr(tell("1a-2", records), "still running, or was lost with its worker"));
	records[1] = "start time=2026-11-22T20:20:00.000000Z version=1 pid=2";
	assert_non_null(strstr(tell("1a-2", records), "lost with the daemon"));
}

/* A destination that was not up, and what changed meanwhile; not what was before, or later. */
static void test_destinations(void **state)
{
	static const char *const records[] = {
		"destination time=2026-11-22T19:00:00.000000Z address=a:25 state=down why=old",
		"destination time=2026-11-22T20:00:00.000000Z address=a:25 state=busy why=451+later",
		"destination time=2026-11-22T20:00:00.000000Z address=b:25 state=down why=gone",
		"destination time=2026-11-22T20:01:00.000000Z address=b:25 state=up",
		"destination time=2026-11-22T20:13:03.000000Z address=b:25 state=down why=refused",
		"session" AT(
			"06.000000") "messages=0 refusals=0 seconds=5.000000 end=lost-destination "
				     "reason=no-connection reply=421+4.3.2",
		"destination time=2026-11-22T20:14:00.000000Z address=b:25 state=down why=later",
		NULL,
	};
	const char *told = tell("1a-2", records);

	(void)state;
	assert_non_null(strstr(told,
			       "[lost-destination, no-connection]\n                | 421 4.3.2\n"
			       "(since 2026-11-22) 20:00:00.000  destination a:25 is busy: 451 "
			       "later\n"
			       "20:13:03.000  destination b:25 is down: refused\n"));
	assert_true(strlen(strstr(told, "refused\n")) == strlen("refused\n"));
}

/* A start makes all destinations up: what was before it holds no more. */
static void test_destinations_of_another_start(void **state)
{
	static const char *const records[] = {
		"destination time=2026-11-22T20:00:00.000000Z address=a:25 state=down why=old",
		"start time=2026-11-22T20:10:00.000000Z version=1 pid=2",
		"destination time=2026-11-22T20:11:00.000000Z address=b:25 state=down why=new",
		"session" AT(
			"06.000000") "messages=0 refusals=0 seconds=5.000000 end=lost-destination "
				     "reason=no-connection reply=421+4.3.2",
		NULL,
	};
	const char *told = tell("1a-2", records);

	(void)state;
	assert_non_null(strstr(told, "destination b:25 is down: new\n"));
	assert_null(strstr(told, "a:25"));
}

/* What a client or a destination says can make no line of its own, and obeys no terminal. */
static void test_nothing_dangerous(void **state)
{
	static const char *const records[] = {
		"recipient" AT(
			"02.000000") "message=1 sender=a\nsession recipient=x\x1b[2J@far.test "
				     "verdict=refuse rule=\x1b]0 reply=550+\x1b[1m\nsession+1",
		"message" AT("03.000000") "message=1 sender=a recipients=9\x1b id=\x07 bytes=\x1b[ "
					  "destination=\r reply=999\x1b",
		"session" AT(
			"06.000000") "helo=\x1b login=\r\n messages=\x1b seconds=\x1b[9.5 end=\x1b",
		NULL,
	};
	const char *told = tell("1a-2", records);

	(void)state;
	for (const char *p = told; *p; p++)
		assert_true(*p == '\n' || (*p >= ' ' && *p < 0x7f));
	assert_null(strstr(told + 1, "\nsession"));
}

/* A transaction of many recipients: those that were asked for are all there. */
static void test_many_recipients(void **state)
{
	const char *records[103] = { NULL };
	static char text[102][200];
	const char *told;

	(void)state;
	for (unsigned i = 0; i < 102; i++) {
		snprintf(text[i], sizeof(text[i]),
			 "recipient" AT(
				 "02.000000") "message=1 sender=a@b.test recipient=%u@%s.test "
					      "verdict=%s rule=%s",
			 i, i == 101 ? "wanted" : "other", i % 2 ? "accept" : "refuse",
			 i % 2 ? "login" : "destination");
		records[i] = text[i];
	}
	told = tell("@wanted.test", records);
	assert_non_null(strstr(told, "to <101@wanted.test>: accepted"));
	assert_non_null(strstr(told, "to <19@other.test>"));
	assert_null(strstr(told, "to <20@other.test>"));
	assert_non_null(strstr(told, "and 41 more recipients, refused\n"));
	assert_non_null(strstr(told, "and 40 more recipients, accepted\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_of_the_daemon),
		cmocka_unit_test(test_words_of_verdicts),
		cmocka_unit_test(test_words_of_the_schema),
		cmocka_unit_test(test_queue_ids),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_whole_story),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_one_message_of_several),
		cmocka_unit_test(test_without_an_end),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_destinations_of_another_start),
		cmocka_unit_test(test_nothing_dangerous),
		cmocka_unit_test(test_many_recipients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
