/* SPDX-License-Identifier: ISC */
#include "xmllog/format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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
	[XMLLOG_A_MECHANISM] = "mechanism",
	[XMLLOG_A_NAME] = "name",
	[XMLLOG_A_VERDICT] = "verdict",
	[XMLLOG_A_REPLY] = "reply",
	[XMLLOG_A_HELO] = "helo",
	[XMLLOG_A_LOGIN] = "login",
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
};

/* Length of the XML 1.0 character (2.2 Char) in UTF-8 (RFC 3629) at V, and its code; 0: none. */
static size_t character(struct span v, uint32_t *code)
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
	if (u >= 0x20 && u < 0x7f) {
		out[0] = (char)u;
		return 1;
	}
	n = put_text(out, "&#x");
	n += put_hex(out + n, u);
	out[n++] = ';';
	return n;
}

size_t format_escape(struct span v, char *out)
{
	size_t n = 0, len;
	uint32_t u;

	for (; v.n; v = span_from(v, len)) {
		len = character(v, &u);
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
	static char date[24];
	time_t sec = (time_t)(time_us / 1000000u);
	struct tm tm;

	if (sec != last) {
		gmtime_r(&sec, &tm);
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
		last = sec;
	}
	return (size_t)snprintf(out, FORMAT_TIME_MAX, "%s.%06uZ", date,
				(unsigned)(time_us % 1000000u));
}

int format_open(struct format *f)
{
	*f = (struct format){ 0 };
	f->scratch = malloc((size_t)XMLLOG_VALUE_MAX * FORMAT_EXPAND);
	f->text = xmlBufferCreateSize(256u << 10);
	if (!f->scratch || !f->text || format_restart(f) < 0) {
		format_close(f);
		return -ENOMEM;
	}
	xmlBufferSetAllocationScheme(f->text, XML_BUFFER_ALLOC_DOUBLEIT);
	return 0;
}

void format_close(struct format *f)
{
	if (f->writer)
		xmlFreeTextWriter(f->writer);
	if (f->text)
		xmlBufferFree(f->text);
	free(f->scratch);
	*f = (struct format){ 0 };
}

int format_restart(struct format *f)
{
	if (f->writer)
		xmlFreeTextWriter(f->writer);
	xmlBufferEmpty(f->text);
	f->writer = xmlNewTextWriterMemory(f->text, 0);
	return f->writer ? 0 : -ENOMEM;
}

static bool write_attr(struct format *f, const char *name, const char *value, size_t n)
{
	return xmlTextWriterStartAttribute(f->writer, BAD_CAST name) >= 0 &&
	       xmlTextWriterWriteRawLen(f->writer, BAD_CAST value, (int)n) >= 0 &&
	       xmlTextWriterEndAttribute(f->writer) >= 0;
}

static size_t format_value(const struct record_attr *a, char *out)
{
	switch (a->kind) {
	case KIND_NUM:
		return (size_t)sprintf(out, "%llu", (unsigned long long)a->num);
	case KIND_SECONDS:
		return (size_t)sprintf(out, "%llu.%06u", (unsigned long long)(a->num / 1000000u),
				       (unsigned)(a->num % 1000000u));
	case KIND_ADDR:
		return addr_format(&a->addr, out);
	case KIND_TEXT:
	case KINDS:
		break;
	}
	return format_escape(a->text, out);
}

int format_record(struct format *f, const struct record *r)
{
	size_t n;

	if (xmlTextWriterStartElement(f->writer, BAD_CAST xmllog_element_name(r->element)) < 0)
		return -ENOMEM;
	n = format_time(r->time_us, f->scratch);
	if (!write_attr(f, "time", f->scratch, n))
		return -ENOMEM;
	if (r->has_session) {
		n = xmllog_session_text(&r->session, f->scratch);
		if (!write_attr(f, "session", f->scratch, n))
			return -ENOMEM;
	}
	for (size_t i = 0; i < r->attrs; i++) {
		n = format_value(&r->attr[i], f->scratch);
		if (!write_attr(f, attr_names[r->attr[i].attr], f->scratch, n))
			return -ENOMEM;
	}
	if (xmlTextWriterEndElement(f->writer) < 0 ||
	    xmlTextWriterWriteRawLen(f->writer, BAD_CAST "\n", 1) < 0)
		return -ENOMEM;
	return 0;
}

int format_text(struct format *f, struct span *text)
{
	*text = (struct span){ 0 };
	if (xmlTextWriterFlush(f->writer) < 0)
		return -ENOMEM;
	*text = span_of(xmlBufferContent(f->text), (size_t)xmlBufferLength(f->text));
	return 0;
}
