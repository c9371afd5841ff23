/* SPDX-License-Identifier: ISC */
/* trace_story: see trace_story.h. trace_tell.c puts it together. */
#include "ctl/trace_story.h"

#include <inttypes.h>

#include "ctl/log_time.h"
#include "ctl/trace_lines.h"
#include "ctl/trace_words.h"

static bool is(const struct log_record *r, const char *element)
{
	return span_eq(r->element, span_str(element));
}

/* What the client was told, on lines of its own. */
static void put_reply(const struct story_teller *t, struct story *s, struct log_text *out,
		      struct span reply)
{
	if (!reply.p)
		return;
	trace_reply(&t->print, reply, out);
	s->reply.n = 0;
	log_text_add(&s->reply, reply.p, reply.n);
	s->trouble |= reply.n > 0 && reply.p[0] == '4';
}

static const char *became_of(struct span reply)
{
	if (!reply.n)
		return "no answer, since the session ended before there was one";
	switch (reply.p[0]) {
	case '2':
		return "accepted";
	case '4':
		return "refused for now, the client may try again";
	default:
		return "refused";
	}
}

void story_close(struct story *s)
{
	static const char *const verdicts[] = { "refused", "accepted" };

	if (!s->is_open)
		return;
	if (!s->matched || s->told == STORY_TRANSACTIONS) {
		s->untold++;
	} else {
		s->told++;
		log_text_add(&s->body, s->open.p, s->open.n);
		for (int i = 0; i < 2; i++)
			if (s->hidden[i])
				trace_add(&s->body,
					  "                and %" PRIu64 " more recipients, %s\n",
					  s->hidden[i], verdicts[i]);
	}
	s->open.n = 0;
	s->is_open = s->matched = false;
	s->others = s->matching = s->hidden[0] = s->hidden[1] = 0;
}

/* The transaction to which R belongs is open afterwards. */
static void open_transaction(const struct story_teller *t, struct story *s,
			     const struct log_record *r)
{
	uint64_t number = trace_number(log_record_get(r, "message"));

	if (s->is_open && s->number == number)
		return;
	story_close(s);
	s->is_open = true;
	s->number = number;
	trace_time(&t->print, r, &s->open);
	trace_add(&s->open, "message %" PRIu64 " from <", number);
	log_text_safe(&s->open, t->print.utf8, log_record_get(r, "sender"));
	log_text_str(&s->open, ">\n");
}

static void add_recipient(const struct story_teller *t, struct story *s, const struct log_record *r,
			  bool matches)
{
	struct span rule = log_record_get(r, "rule");
	bool accepted = span_eq(log_record_get(r, "verdict"), SPAN("accept"));
	struct span reply = log_record_get(r, "reply"), recipient = log_record_get(r, "recipient");
	const char *why = trace_verdict(rule, recipient, reply);
	uint64_t *told = matches ? &s->matching : &s->others;

	if (*told == STORY_RECIPIENTS) {
		s->hidden[accepted]++;
		return;
	}
	(*told)++;
	trace_time(&t->print, r, &s->open);
	log_text_str(&s->open, "  to <");
	log_text_safe(&s->open, t->print.utf8, recipient);
	log_text_str(&s->open, ">: ");
	if (why)
		log_text_str(&s->open, why);
	else
		log_text_safe(&s->open, t->print.utf8, rule);
	log_text_str(&s->open, "\n");
	/* What an accepted one was told says nothing more. */
	if (!accepted)
		put_reply(t, s, &s->open, reply);
}

static void add_message(const struct story_teller *t, struct story *s, const struct log_record *r)
{
	struct span reply = log_record_get(r, "reply"), id = log_record_get(r, "id"),
		    destination = log_record_get(r, "destination");
	uint64_t recipients = trace_number(log_record_get(r, "recipients"));

	trace_time(&t->print, r, &s->open);
	trace_add(&s->open, "  %" PRIu64 " octets for %" PRIu64 " recipient%s",
		  trace_number(log_record_get(r, "bytes")), recipients, recipients == 1 ? "" : "s");
	trace_value(&t->print, ", Message-ID ", id, "", &s->open);
	trace_value(&t->print, ", to ", destination, "", &s->open);
	trace_add(&s->open, ": %s\n", became_of(reply));
	put_reply(t, s, &s->open, reply);
	story_close(s);
}

/* Its two words, and the address that it was about, where there is one. */
static void add_refusal(const struct story_teller *t, struct story *s, const struct log_record *r,
			struct log_text *out, bool inside)
{
	const char *command = trace_words(TRACE_COMMAND, log_record_get(r, "command"));
	const char *by = trace_words(TRACE_BY, log_record_get(r, "by"));
	struct span reply = log_record_get(r, "reply");

	trace_time(&t->print, r, out);
	trace_add(out, "%s%s", inside ? "  " : "", command ? command : "a command");
	if (!inside)
		trace_value(&t->print, " from <", log_record_get(r, "sender"), ">", out);
	trace_value(&t->print, " to <", log_record_get(r, "recipient"), ">", out);
	trace_add(out, " was refused %s%s\n", by ? by : "",
		  reply.n && reply.p[0] == '4' ? ", for now" : "");
	put_reply(t, s, out, reply);
}

static void add_login(const struct story_teller *t, struct story *s, const struct log_record *r)
{
	bool accepted = span_eq(log_record_get(r, "verdict"), SPAN("accept"));

	trace_time(&t->print, r, &s->body);
	trace_value(&t->print, "login by ", log_record_get(r, "mechanism"), "", &s->body);
	trace_value(&t->print, " as <", log_record_get(r, "name"), ">", &s->body);
	trace_add(&s->body, ": %s\n", accepted ? "accepted" : "refused");
	if (!accepted)
		put_reply(t, s, &s->body, log_record_get(r, "reply"));
}

/* CLIENT without octets: the story has told it. */
static void add_fault(const struct story_teller *t, const struct log_record *r, struct span client,
		      struct log_text *out)
{
	trace_time(&t->print, r, out);
	trace_value(&t->print, "fault ", log_record_get(r, "what"), "", out);
	trace_value(&t->print, ", client ", client, "", out);
	trace_value(&t->print, ": ", log_record_get(r, "detail"), "", out);
	log_text_str(out, "\n");
}

void story_tell_stray(const struct story_teller *t, const struct log_record *r,
		      struct log_text *out)
{
	char date[LOG_TIME_TEXT];
	int64_t us;

	if (log_time_record(log_record_get(r, "time"), &us) &&
	    log_time_text(us, t->print.local, date))
		trace_add(out, "%.10s ", date);
	add_fault(t, r, log_record_get(r, "client"), out);
}

/* What belongs to no transaction. */
static void add_note(const struct story_teller *t, struct story *s, const struct log_record *r)
{
	if (s->matched)
		story_close(s);
	if (s->notes == STORY_NOTES) {
		s->notes_hidden++;
		return;
	}
	s->notes++;
	if (is(r, "login"))
		add_login(t, s, r);
	else if (is(r, "refusal"))
		add_refusal(t, s, r, &s->body, false);
	else
		add_fault(t, r, (struct span){ 0 }, &s->body);
}

/* How a connection is secured; nothing where it is not. */
static void add_tls(const struct story_teller *t, struct story *s, const struct log_record *r)
{
	bool first = span_eq(log_record_get(r, "start"), SPAN("implicit"));

	trace_value(&t->print, ", ", log_record_get(r, "tls"),
		    first ? " from the beginning" : " by STARTTLS", &s->client);
	trace_value(&t->print, ", its certificate ", log_record_get(r, "peer"), "", &s->client);
}

static void add_destination(const struct story_teller *t, struct story *s,
			    const struct log_record *r)
{
	struct span trust = log_record_get(r, "destination-trust");

	trace_value(&t->print, ", destination ", log_record_get(r, "destination"), "", &s->client);
	trace_value(&t->print, " by ", log_record_get(r, "destination-tls"), "", &s->client);
	if (span_eq(trust, SPAN("none")))
		trace_add(&s->client, ", its certificate not looked at");
	else
		trace_value(&t->print, ", its certificate ", trust, "", &s->client);
}

/* Before the first record of one that has ended, by its own account, is its beginning. */
static void end_session(const struct story_teller *t, struct story *s, const struct log_record *r,
			int64_t us)
{
	story_close(s);
	s->ended = true;
	s->first_us = us - trace_microseconds(log_record_get(r, "seconds"));
	s->client.n = 0;
	trace_value(&t->print, "client ", log_record_get(r, "client"), "", &s->client);
	trace_value(&t->print, ", by the word of ", log_record_get(r, "proxy"), "", &s->client);
	trace_value(&t->print, ", HELO ", log_record_get(r, "helo"), "", &s->client);
	trace_value(&t->print, ", logged in as <", log_record_get(r, "login"), ">", &s->client);
	add_tls(t, s, r);
	add_destination(t, s, r);
	trace_end(&t->print, s, r);
}

void story_add(struct story_teller *t, struct story *s, const struct log_record *r, bool wanted)
{
	bool numbered = log_record_get(r, "message").p != NULL;
	bool matches = wanted || trace_match(t->match, r);
	int64_t us = 0;

	log_time_record(log_record_get(r, "time"), &us);
	if (!s->begun)
		s->first_us = us;
	s->begun = true;
	s->last_us = us;
	if (!s->client.n)
		trace_value(&t->print, "client ", log_record_get(r, "client"), "", &s->client);
	if (is(r, "session")) {
		end_session(t, s, r, us);
	} else if (is(r, "recipient") || is(r, "message") || (is(r, "refusal") && numbered)) {
		open_transaction(t, s, r);
		s->matched |= matches;
		if (is(r, "recipient"))
			add_recipient(t, s, r, matches);
		else if (is(r, "message"))
			add_message(t, s, r);
		else
			add_refusal(t, s, r, &s->open, true);
	} else if (is(r, "refusal") || is(r, "login") || is(r, "fault")) {
		add_note(t, s, r);
	}
}

void story_free(struct story *s)
{
	struct log_text *texts[] = { &s->client, &s->body, &s->end, &s->reply, &s->open };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		log_text_free(texts[i]);
}
