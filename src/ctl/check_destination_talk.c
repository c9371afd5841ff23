/* SPDX-License-Identifier: ISC */
/* check_destination_talk: what is said to a destination, and about one, in every check. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/check_destination.h"

#define ESCAPED 60 /* octets that are shown */

static const char closed[] = "a closed connection";

static void say(const struct destination_check *k, const char *kind, const char *fmt, va_list ap)
{
	printf("%s: %s: ", k->label, kind);
	vprintf(fmt, ap);
	putchar('\n');
	fflush(stdout);
}

void destination_good(struct destination_check *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(k, "good", fmt, ap);
	va_end(ap);
}

void destination_note(struct destination_check *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(k, "note", fmt, ap);
	va_end(ap);
}

void destination_warn(struct destination_check *k, const char *cure, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(k, "warning", fmt, ap);
	va_end(ap);
	if (cure)
		printf("%s: cure: %s\n", k->label, cure);
	fflush(stdout);
	k->warnings++;
}

void destination_escape(struct span octets, char *out)
{
	size_t n = 0;

	out[n++] = '"';
	for (size_t i = 0; i < octets.n && i < ESCAPED && n < DESTINATION_TEXT - 10; i++) {
		uint8_t c = octets.p[i];

		if (c == '\r' || c == '\n')
			n += (size_t)sprintf(out + n, "\\%c", c == '\r' ? 'r' : 'n');
		else if (c == '"' || c == '\\')
			n += (size_t)sprintf(out + n, "\\%c", c);
		else if (c < ' ' || c >= 0x7f)
			n += (size_t)sprintf(out + n, "\\x%02x", c);
		else
			out[n++] = (char)c;
	}
	strcpy(out + n, octets.n > ESCAPED ? "\"..." : "\"");
}

void destination_words(enum probe_heard heard, const struct smtp_reply *reply, char *out)
{
	static const char malformed[] = "a malformed reply: ";
	char octets[DESTINATION_TEXT];
	size_t n = 0;

	switch (heard) {
	case PROBE_CLOSED:
		strcpy(out, closed);
		return;
	case PROBE_SILENT:
		strcpy(out, "silence");
		return;
	case PROBE_MALFORMED:
		destination_escape(reply->text, octets);
		snprintf(out, DESTINATION_TEXT, "%s%.*s", malformed,
			 (int)(DESTINATION_TEXT - sizeof(malformed)), octets);
		return;
	case PROBE_REPLY:
		break;
	}
	/* The first line; a terminal shall not obey what stands there. */
	while (n < reply->text.n && n < DESTINATION_TEXT - 1 && reply->text.p[n] != '\r') {
		uint8_t c = reply->text.p[n];

		out[n++] = c >= ' ' && c < 0x7f ? (char)c : '?';
	}
	out[n] = '\0';
}

bool destination_is_gone(const char *words)
{
	return strcmp(words, closed) == 0;
}

unsigned destination_hear(struct destination_check *k, char *words)
{
	struct smtp_reply reply;
	enum probe_heard heard = probe_hear(&k->smtp, &reply);

	destination_words(heard, &reply, words);
	return heard == PROBE_REPLY ? reply.code : 0;
}

void destination_say(struct destination_check *k, enum smtp_hello_step step)
{
	smtp_hello_begin(&k->hello, step, k->name);
	probe_send(&k->smtp, k->hello.line, strlen(k->hello.line));
}

enum smtp_hello_result destination_answer(struct destination_check *k, enum probe_heard *heard,
					  struct smtp_reply *reply)
{
	*heard = probe_hear(&k->smtp, reply);
	switch (*heard) {
	case PROBE_REPLY:
		return smtp_hello_heard(&k->hello, reply);
	case PROBE_MALFORMED:
		return smtp_hello_malformed(&k->hello, reply->text);
	default:
		return smtp_hello_lost(&k->hello, *heard == PROBE_SILENT);
	}
}

/* Says the step's command. */
static void step(struct destination_check *k, unsigned i, enum smtp_hello_step hello)
{
	switch (i) {
	case 1:
		destination_say(k, hello);
		break;
	case 2:
		probe_say(&k->smtp, "MAIL FROM:<>");
		break;
	case 3:
		probe_say(&k->smtp, "RCPT TO:<%s>", k->recipient);
		break;
	case 4:
		probe_say(&k->smtp, "DATA");
		break;
	}
}

bool destination_begin(struct destination_check *k, const char *what, enum smtp_hello_step hello)
{
	const char *const steps[] = { "the greeting", hello == SMTP_HELLO_EHLO ? "EHLO" : "HELO",
				      "MAIL", "RCPT", "DATA" };
	static const unsigned classes[] = { 2, 2, 2, 2, 3 };
	char words[DESTINATION_TEXT];
	int err = probe_dial(&k->smtp, &k->at, k->patience_ms);

	if (err) {
		destination_warn(k, NULL, "%s: cannot be connected to: %s", what,
				 probe_error(&k->smtp, err));
		k->untried = true;
		return false;
	}
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		step(k, i, hello);
		if (destination_hear(k, words) / 100 == classes[i])
			continue;
		destination_warn(k, NULL, "%s: %s gets %s: not tried", what, steps[i], words);
		k->untried = true;
		return false;
	}
	return true;
}

size_t destination_head(const struct destination_check *k, const char *what, const char *eol,
			char *out, size_t cap)
{
	char date[64] = "";
	time_t now = time(NULL);
	struct tm tm;
	int n;

	if (gmtime_r(&now, &tm))
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	n = snprintf(out, cap,
		     "From: <%s>%sTo: <%s>%sDate: %s%sSubject: carontectl check-destination: %s%s",
		     k->recipient, eol, k->recipient, eol, date, eol, what, eol);
	return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}
