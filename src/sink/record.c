/* SPDX-License-Identifier: ISC */
/*
 * record: the raw octets (one file for each connection) and the transcript (one line for each line
 * of the dialog, written at once, by one write, so that workers may share the file).
 *
 * Octets of a transcript that are not printable ASCII are \xHH, a backslash is two. A line of ours
 * that does not end in CR LF ends in \c (nothing) or \n (LF alone).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "sink/inner.h"

#define LINE_MAX_OUT 65536

void sink_record_open(struct sink *k)
{
	const struct sink_options *o = k->opt;

	k->raw_dir = k->transcript = -1;
	if (o->raw) {
		if (mkdir(o->raw, 0700) < 0 && errno != EEXIST)
			err(EX_CANTCREAT, "%s", o->raw);
		k->raw_dir = open(o->raw, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (k->raw_dir < 0)
			err(EX_CANTCREAT, "%s", o->raw);
	}
	if (!o->transcript)
		return;
	k->transcript =
		strcmp(o->transcript, "-") == 0
			? STDOUT_FILENO
			: open(o->transcript, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (k->transcript < 0)
		err(EX_CANTCREAT, "%s", o->transcript);
}

static void write_all(int fd, const char *what, struct span s)
{
	ssize_t n;

	while (s.n) {
		n = write(fd, s.p, s.n);
		if (n < 0 && errno != EINTR)
			err(EX_IOERR, "%s", what);
		if (n > 0)
			s = span_from(s, (size_t)n);
	}
}

void sink_raw_open(struct sink_session *s)
{
	char name[48];

	if (s->sink->raw_dir < 0)
		return;
	snprintf(name, sizeof(name), "connection-%llu.raw", (unsigned long long)s->number);
	s->raw = openat(s->sink->raw_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (s->raw < 0)
		err(EX_IOERR, "%s", name);
}

void sink_raw_write(struct sink_session *s, struct span octets)
{
	if (s->raw >= 0)
		write_all(s->raw, "raw record", octets);
}

/* A line on its way into the transcript; what is over-long is cut. */
struct line {
	size_t n;
	char text[LINE_MAX_OUT];
};

static void put_octet(struct line *l, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";

	if (l->n + 8 > sizeof(l->text))
		return;
	if (c >= 0x20 && c < 0x7f) {
		if (c == '\\')
			l->text[l->n++] = '\\';
		l->text[l->n++] = (char)c;
		return;
	}
	l->text[l->n++] = '\\';
	l->text[l->n++] = 'x';
	l->text[l->n++] = hex[c >> 4];
	l->text[l->n++] = hex[c & 15];
}

static void put_line(struct sink_session *s, char tag, struct span text, const char *end)
{
	static struct line l; /* one thread */
	int n = snprintf(l.text, 32, "%llu %c: ", (unsigned long long)s->number, tag);

	l.n = (size_t)n;
	for (size_t i = 0; i < text.n; i++)
		put_octet(&l, text.p[i]);
	for (; *end; end++)
		l.text[l.n++] = *end;
	l.text[l.n++] = '\n';
	write_all(s->sink->transcript, "transcript", span_of(l.text, l.n));
}

void sink_transcript(struct sink_session *s, char tag, struct span line)
{
	if (s->sink->transcript >= 0)
		put_line(s, tag, line, "");
}

void sink_transcript_lines(struct sink_session *s, char tag, struct span text)
{
	if (s->sink->transcript < 0)
		return;
	while (text.n) {
		const uint8_t *lf = memchr(text.p, '\n', text.n);
		size_t n = lf ? (size_t)(lf - text.p) : text.n;
		bool crlf = lf && n > 0 && text.p[n - 1] == '\r';

		put_line(s, tag, span_of(text.p, n - crlf), crlf ? "" : lf ? "\\n" : "\\c");
		text = span_from(text, n + 1);
	}
}

void sink_note(struct sink_session *s, char tag, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (s->sink->transcript < 0)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_line(s, tag, span_str(text), "");
}
