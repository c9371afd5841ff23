/* SPDX-License-Identifier: ISC */
#include "told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xmllog/take.h"

#define REPLIES_MAX 4096
#define TEXT_MAX    512 /* more than any text in the transcripts */

struct reply {
	char text[TEXT_MAX];
	unsigned said, refusals, others;
};

struct tally {
	struct reply *reply;
	size_t n;
	unsigned errors, session_errors;
	char last[TEXT_MAX], session_last[TEXT_MAX];
};

static struct span attr(const struct record *r, enum xmllog_attr a)
{
	for (size_t i = 0; i < r->attrs; i++)
		if (r->attr[i].attr == a)
			return r->attr[i].text;
	return SPAN("");
}

static unsigned number(const struct record *r, enum xmllog_attr a)
{
	for (size_t i = 0; i < r->attrs; i++)
		if (r->attr[i].attr == a)
			return (unsigned)r->attr[i].num;
	return 0;
}

static void copy(char out[TEXT_MAX], struct span v)
{
	size_t n = v.n < TEXT_MAX - 1 ? v.n : TEXT_MAX - 1;

	if (n)
		memcpy(out, v.p, n);
	out[n] = '\0';
}

/* The replies with this text; NULL where it refuses nothing. */
static struct reply *of(struct tally *t, struct span v)
{
	char text[TEXT_MAX];

	if (v.n == 0 || (v.p[0] != '4' && v.p[0] != '5'))
		return NULL;
	copy(text, v);
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->reply[i].text, text) == 0)
			return &t->reply[i];
	if (t->n == REPLIES_MAX)
		abort();
	memcpy(t->reply[t->n].text, text, sizeof(text));
	return &t->reply[t->n++];
}

static void add(struct tally *t, const struct record *r)
{
	struct reply *reply;

	switch (r->element) {
	case XMLLOG_REPLY:
		reply = span_eq(attr(r, XMLLOG_A_TO), SPAN("client"))
				? of(t, attr(r, XMLLOG_A_LINE))
				: NULL;
		if (!reply)
			break;
		reply->said++;
		t->errors += reply->text[0] == '5';
		memcpy(t->last, reply->text, sizeof(t->last));
		break;
	case XMLLOG_REFUSAL:
		reply = of(t, attr(r, XMLLOG_A_REPLY));
		if (reply)
			reply->refusals++;
		break;
	case XMLLOG_RECIPIENT:
	case XMLLOG_MESSAGE:
	case XMLLOG_LOGIN:
		reply = of(t, attr(r, XMLLOG_A_REPLY));
		if (reply)
			reply->others++;
		break;
	case XMLLOG_SESSION:
		copy(t->session_last, attr(r, XMLLOG_A_REPLY));
		t->session_errors = number(r, XMLLOG_A_ERRORS);
		break;
	default:
		break;
	}
}

static bool judge(const struct tally *t, char what[512])
{
	for (size_t i = 0; i < t->n; i++) {
		const struct reply *r = &t->reply[i];
		unsigned left = r->said > r->others ? r->said - r->others : 0;

		if (r->refusals == left)
			continue;
		snprintf(what, 512,
			 "\"%.200s\" was said %u times, %u records tell of it, and %u refusals",
			 r->text, r->said, r->others, r->refusals);
		return false;
	}
	if (strncmp(t->last, t->session_last, 500) == 0 && t->errors == t->session_errors)
		return true;
	snprintf(what, 512,
		 "the session's record has %u errors and \"%.150s\", it was %u and \"%.150s\"",
		 t->session_errors, t->session_last, t->errors, t->last);
	return false;
}

bool told(struct xmllog_ring *ring, char what[512])
{
	struct tally t = { .reply = calloc(REPLIES_MAX, sizeof(struct reply)) };
	struct take take;
	struct record r;

	if (!t.reply || take_open(&take, &ring, 1) != 0)
		abort();
	take_begin(&take);
	while (take_next(&take, &r))
		add(&t, &r);
	take_close(&take);

	bool good = judge(&t, what);

	free(t.reply);
	return good;
}
