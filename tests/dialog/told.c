/* SPDX-License-Identifier: ISC */
/* told: see told.h. */
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

static const char *const attr_names[XMLLOG_ATTRS] = {
	[XMLLOG_A_SENDER] = "sender",	[XMLLOG_A_RECIPIENT] = "recipient",
	[XMLLOG_A_TO] = "to",		[XMLLOG_A_ID] = "id",
	[XMLLOG_A_LOGIN] = "login",	[XMLLOG_A_REPLY] = "reply",
	[XMLLOG_A_COMMAND] = "command", [XMLLOG_A_BY] = "by",
	[XMLLOG_A_RULE] = "rule",	[XMLLOG_A_LINE] = "line",
	[XMLLOG_A_TLS] = "tls",
};

bool told_record(struct xmllog_ring *ring, const char *want, char what[512])
{
	char element[32], name[32], last[TEXT_MAX] = "-";
	const char *text;
	struct take take;
	struct record r;
	unsigned a = 0;
	int n = 0;

	if (sscanf(want, "%31s %31s %n", element, name, &n) != 2 || n == 0)
		abort();
	text = want + n;
	while (a < XMLLOG_ATTRS && (!attr_names[a] || strcmp(attr_names[a], name) != 0))
		a++;
	if (a == XMLLOG_ATTRS || take_open(&take, &ring, 1) != 0)
		abort();
	take_begin(&take);
	while (take_next(&take, &r)) {
		if (strcmp(xmllog_element_name(r.element), element) != 0)
			continue;
		copy(last, attr(&r, (enum xmllog_attr)a));
		if (!last[0])
			memcpy(last, "-", 2);
	}
	take_close(&take);
	snprintf(what, 512, "the last %s record has %s=\"%.300s\"", element, name, last);
	return strcmp(last, text) == 0;
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
