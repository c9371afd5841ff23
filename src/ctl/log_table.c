/* SPDX-License-Identifier: ISC */
/*
 * log_table: a record as a line of the table: time, session, element, and then what the element's
 * template says. An attribute that the template does not name is printed behind it, so that
 * nothing of a record is hidden. In a template
 *
 *	{name}		is a value, - where there is none
 *	{name:N}	the same, in N columns
 *	[ text {name}]	is left out where one of its values is missing
 */
#include "ctl/log_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "ctl/log_print.h"
#include "ctl/log_time.h"

#define NAME_MAX_LEN	16
#define SESSION_COLUMNS 18
#define ELEMENT_COLUMNS 11
#define CLIENT		"{client:22}"

static const struct template
{
	const char *element, *text;
}
templates[] = {
	{ "start", "version {version}, pid {pid}[, changed: {changed}]" },
	{ "stop", "version {version}, pid {pid}[, changed: {changed}]" },
	{ "reload", "version {version}, pid {pid}[, changed: {changed}]"
		    "[; certificates: {certificates}]" },
	{ "fault", "{what}[ ({count})][: {detail}]" },
	{ "destination", "{address:22} {state:6}[ {why}]" },
	{ "login", CLIENT " {verdict:6} {mechanism}[ <{name}>][: {reply}]" },
	{ "session", CLIENT " {end:16} {messages} messages, {refusals} refusals, {bytes} octets, "
			    "{seconds} s[, helo {helo}][, login <{login}>][, to {destination}]"
			    "[, {reason}][: {reply}]" },
	{ "recipient",
	  CLIENT " #{message:2} {verdict:6} {rule:15} <{sender}> -> <{recipient}>[: {reply}]" },
	{ "refusal", CLIENT "[ #{message:2}] {command:7} by {by:11}[ <{sender}>][ -> <{recipient}>]"
			    "[: {reply}]" },
	{ "message",
	  CLIENT " #{message:2} <{sender}>, {recipients} recipients, {bytes} octets, {body}"
		 "[, id {id}][, for {to}][, login <{login}>][, to {destination}][: {reply}]" },
	{ "command", "[from {from:11} ][to {to:13} ]{line}" },
	{ "reply", "[from {from:11} ][to {to:13} ]{line}" },
	{ "debug", "{what}[ #{message}][: {detail}][: {copy}]" },
};

struct table {
	const struct log_print *print;
	const struct log_record *record;
	struct log_text *out;
	uint64_t shown; /* a bit for each attribute */
};

_Static_assert(LOG_ATTRS_MAX <= 64, "a bit each");

/* Columns of the text from FROM on: a character is one, which is true of nearly all. */
static size_t columns(const struct log_text *t, size_t from)
{
	size_t n = 0;

	for (size_t i = from; i < t->n; i++)
		n += ((uint8_t)t->p[i] & 0xc0) != 0x80;
	return n;
}

static void pad(struct log_text *t, size_t from, size_t width)
{
	for (size_t n = columns(t, from); n < width; n++)
		log_text_str(t, " ");
}

/* The value and marks it as shown. */
static struct span value(struct table *t, struct span name)
{
	const struct log_record *r = t->record;

	for (size_t i = 0; i < r->n; i++) {
		if (!span_eq(r->attr[i].name, name))
			continue;
		t->shown |= (uint64_t)1 << i;
		return r->attr[i].value;
	}
	return (struct span){ 0 };
}

static void put(struct table *t, struct span v, size_t width)
{
	size_t from = t->out->n;

	if (v.p)
		log_text_safe(t->out, t->print->utf8, v);
	else
		log_text_str(t->out, "-");
	pad(t->out, from, width);
}

/* From behind the opening brace to behind the closing one. */
static const char *put_field(struct table *t, const char *p, bool *missing)
{
	size_t n = strcspn(p, ":}"), width = 0;
	struct span v = value(t, span_of(p, n));
	char *end = (char *)(uintptr_t)(p + n);

	if (*end == ':')
		width = strtoul(end + 1, &end, 10);
	CHECK(*end == '}');
	*missing |= !v.p;
	put(t, v, width);
	return end + 1;
}

static void put_template(struct table *t, const char *p)
{
	size_t option = 0;
	bool missing = false;

	while (*p) {
		if (*p == '{') {
			p = put_field(t, p + 1, &missing);
			continue;
		}
		if (*p == '[') {
			option = t->out->n;
			missing = false;
		} else if (*p != ']') {
			log_text_add(t->out, p, 1);
		} else if (missing) {
			t->out->n = option;
		}
		p++;
	}
}

static void put_time(struct table *t)
{
	struct span v = value(t, SPAN("time"));
	char text[LOG_TIME_TEXT];
	int64_t us;

	if (log_time_record(v, &us) && log_time_text(us, t->print->local, text))
		v = span_str(text);
	put(t, v, LOG_TIME_TEXT + 1);
}

static void put_rest(struct table *t)
{
	const struct log_record *r = t->record;

	for (size_t i = 0; i < r->n; i++) {
		if (t->shown >> i & 1)
			continue;
		log_text_str(t->out, " ");
		log_text_safe(t->out, t->print->utf8, r->attr[i].name);
		log_text_str(t->out, "=");
		log_text_safe(t->out, t->print->utf8, r->attr[i].value);
	}
}

void log_print_table(const struct log_print *k, const struct log_record *r, struct log_text *out)
{
	struct table t = { .print = k, .record = r, .out = out };
	size_t line = out->n;

	put_time(&t);
	put(&t, value(&t, SPAN("session")), SESSION_COLUMNS);
	log_text_str(out, "  ");
	put(&t, r->element, ELEMENT_COLUMNS);
	log_text_str(out, "  ");
	for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
		if (span_eq(r->element, span_str(templates[i].element)))
			put_template(&t, templates[i].text);
	put_rest(&t);
	/* No blanks at the end. */
	while (out->n > line && out->p[out->n - 1] == ' ')
		out->n--;
	log_text_str(out, "\n");
}
