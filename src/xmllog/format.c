/* SPDX-License-Identifier: ISC */
/* format: see format.h. */
#include "xmllog/format.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/digits.h"

#define DATE 19 /* octets of "2026-01-02T03:04:05" */

static const char *const attr_names[XMLLOG_ATTRS] = {
	[XMLLOG_A_VERSION] = "version",
	[XMLLOG_A_PID] = "pid",
	[XMLLOG_A_CHANGED] = "changed",
	[XMLLOG_A_WHAT] = "what",
	[XMLLOG_A_DETAIL] = "detail",
	[XMLLOG_A_COUNT] = "count",
	[XMLLOG_A_ADDRESS] = "address",
	[XMLLOG_A_STATE] = "state",
	[XMLLOG_A_WHY] = "why",
	[XMLLOG_A_CLIENT] = "client",
	[XMLLOG_A_PROXY] = "proxy",
	[XMLLOG_A_MECHANISM] = "mechanism",
	[XMLLOG_A_NAME] = "name",
	[XMLLOG_A_VERDICT] = "verdict",
	[XMLLOG_A_REPLY] = "reply",
	[XMLLOG_A_HELO] = "helo",
	[XMLLOG_A_LOGIN] = "login",
	[XMLLOG_A_TLS] = "tls",
	[XMLLOG_A_CIPHER] = "cipher",
	[XMLLOG_A_SNI] = "sni",
	[XMLLOG_A_RESUMED] = "resumed",
	[XMLLOG_A_KERNEL] = "kernel",
	[XMLLOG_A_PEER] = "peer",
	[XMLLOG_A_START] = "start",
	[XMLLOG_A_DESTINATION_TLS] = "destination-tls",
	[XMLLOG_A_DESTINATION_CIPHER] = "destination-cipher",
	[XMLLOG_A_DESTINATION_TRUST] = "destination-trust",
	[XMLLOG_A_DESTINATION] = "destination",
	[XMLLOG_A_MESSAGES] = "messages",
	[XMLLOG_A_REFUSALS] = "refusals",
	[XMLLOG_A_BYTES] = "bytes",
	[XMLLOG_A_SECONDS] = "seconds",
	[XMLLOG_A_END] = "end",
	[XMLLOG_A_MESSAGE] = "message",
	[XMLLOG_A_SENDER] = "sender",
	[XMLLOG_A_RECIPIENT] = "recipient",
	[XMLLOG_A_RULE] = "rule",
	[XMLLOG_A_RECIPIENTS] = "recipients",
	[XMLLOG_A_BODY] = "body",
	[XMLLOG_A_LINE] = "line",
	[XMLLOG_A_FROM] = "from",
	[XMLLOG_A_TO] = "to",
	[XMLLOG_A_COPY] = "copy",
	[XMLLOG_A_REASON] = "reason",
	[XMLLOG_A_ERRORS] = "errors",
	[XMLLOG_A_COMMAND] = "command",
	[XMLLOG_A_BY] = "by",
	[XMLLOG_A_ID] = "id",
	[XMLLOG_A_CERTIFICATES] = "certificates",
};

const char *format_attr_name(enum xmllog_attr a)
{
	return attr_names[a];
}

size_t format_character(struct span v, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t c = v.p[0];
	size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : 4;
	uint32_t u = n == 1 ? c : c & (0xffu >> (n + 1));

	if (n == 4 && (c & 0xf8) != 0xf0)
		return 0;
	if (n > v.n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((v.p[i] & 0xc0) != 0x80)
			return 0;
		u = u << 6 | (v.p[i] & 0x3fu);
	}
	if (u < least[n] || u > 0x10ffff || (u >= 0xd800 && u <= 0xdfff) || u == 0xfffe ||
	    u == 0xffff || (u < 0x20 && u != '\t' && u != '\n' && u != '\r'))
		return 0;
	*code = u;
	return n;
}

static size_t put_text(char *out, const char *s)
{
	size_t n = strlen(s);

	memcpy(out, s, n);
	return n;
}

static size_t put_hex(char *out, uint32_t u)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;
	int shift = 20;

	while (shift > 4 && u >> shift == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		out[n++] = digits[u >> shift & 15];
	return n;
}

static size_t put_character(char *out, uint32_t u)
{
	size_t n;

	switch (u) {
	case '&':
		return put_text(out, "&amp;");
	case '<':
		return put_text(out, "&lt;");
	case '>':
		return put_text(out, "&gt;");
	case '"':
		return put_text(out, "&quot;");
	case '\\':
		return put_text(out, "\\\\");
	/* As they are, a parser would make blanks of them (XML 1.0, 3.3.3). */
	case '\t':
		return put_text(out, "&#9;");
	case '\n':
		return put_text(out, "&#10;");
	case '\r':
		return put_text(out, "&#13;");
	default:
		break;
	}
	n = put_text(out, "&#x");
	n += put_hex(out + n, u);
	out[n++] = ';';
	return n;
}

/* Octets that stand for themselves. */
static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '&' && c != '<' && c != '>' && c != '"' && c != '\\';
}

size_t format_escape(struct span v, char *out)
{
	size_t n = 0, len;
	uint32_t u;

	for (; v.n; v = span_from(v, len)) {
		if (is_plain(v.p[0])) {
			out[n++] = (char)v.p[0];
			len = 1;
			continue;
		}
		len = format_character(v, &u);
		if (len) {
			n += put_character(out + n, u);
		} else {
			n += put_text(out + n, "\\x");
			n += put_hex(out + n, v.p[0]);
			len = 1;
		}
	}
	return n;
}

size_t format_time(uint64_t time_us, char *out)
{
	static time_t last = -1;
	static char date[DATE + 1];
	time_t sec = (time_t)(time_us / 1000000u);
	struct tm tm;
	size_t n;

	if (sec != last) {
		gmtime_r(&sec, &tm);
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
		last = sec;
	}
	memcpy(out, date, DATE);
	out[DATE] = '.';
	n = DATE + 1;
	n += digits_put(out + n, time_us % 1000000u, 10, 6);
	out[n++] = 'Z';
	return n;
}

int format_open(struct format *f)
{
	*f = (struct format){ .room = 256u << 10 };
	f->text = malloc(f->room);
	return f->text ? 0 : -ENOMEM;
}

void format_close(struct format *f)
{
	free(f->text);
	*f = (struct format){ 0 };
}

void format_restart(struct format *f)
{
	f->n = 0;
}

char *format_room(struct format *f, size_t n)
{
	if (f->room - f->n < n) {
		size_t room = 2 * (f->n + n);
		char *text = realloc(f->text, room);

		if (!text)
			return NULL;
		f->text = text;
		f->room = room;
	}
	return f->text + f->n;
}

size_t format_plain_value(const struct record_attr *a, char *out)
{
	size_t n;

	switch (a->kind) {
	case KIND_NUM:
		return digits_put(out, a->num, 10, 1);
	case KIND_SECONDS:
		n = digits_put(out, a->num / 1000000u, 10, 1);
		out[n++] = '.';
		return n + digits_put(out + n, a->num % 1000000u, 10, 6);
	case KIND_ADDR:
		return addr_format(&a->addr, out);
	case KIND_TEXT:
	case KINDS:
		break;
	}
	return 0;
}

/* Opens an attribute; what follows is its value and a quotation mark. */
static size_t put_name(char *out, const char *name)
{
	size_t n = 0;

	out[n++] = ' ';
	n += put_text(out + n, name);
	n += put_text(out + n, "=\"");
	return n;
}

int format_record(struct format *f, const struct record *r)
{
	char *out = format_room(f, FORMAT_FIXED_MAX);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	out[n++] = '<';
	n += put_text(out + n, xmllog_element_name(r->element));
	n += put_name(out + n, "time");
	n += format_time(r->time_us, out + n);
	out[n++] = '"';
	if (r->has_session) {
		n += put_name(out + n, "session");
		n += xmllog_session_text(&r->session, out + n);
		out[n++] = '"';
	}
	f->n += n;
	for (size_t i = 0; i < r->attrs; i++) {
		const struct record_attr *a = &r->attr[i];
		size_t text = a->kind == KIND_TEXT ? a->text.n * FORMAT_EXPAND : 0;

		out = format_room(f, FORMAT_FIXED_MAX + text);
		if (!out)
			return -ENOMEM;
		n = put_name(out, attr_names[a->attr]);
		n += a->kind == KIND_TEXT ? format_escape(a->text, out + n)
					  : format_plain_value(a, out + n);
		out[n++] = '"';
		f->n += n;
	}
	out = format_room(f, FORMAT_FIXED_MAX);
	if (!out)
		return -ENOMEM;
	f->n += put_text(out, "/>\n");
	return 0;
}

struct span format_text(const struct format *f)
{
	return span_of(f->text, f->n);
}
