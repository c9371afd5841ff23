/* SPDX-License-Identifier: ISC */
/*
 * log_print: see log_print.h. Values come from an XML parser, so they are valid UTF-8.
 */
#include "ctl/log_print.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "ctl/log_table.h"
#include "xmllog/logfile.h"

#define TEXT_FIRST 256

void log_text_free(struct log_text *t)
{
	free(t->p);
	*t = (struct log_text){ 0 };
}

void log_text_add(struct log_text *t, const void *p, size_t n)
{
	if (t->cap - t->n < n) {
		size_t cap = t->cap ? t->cap : TEXT_FIRST;
		char *more;

		while (cap - t->n < n)
			cap *= 2;
		more = realloc(t->p, cap);
		if (!more) {
			t->failed = true;
			return;
		}
		t->p = more;
		t->cap = cap;
	}
	if (n)
		memcpy(t->p + t->n, p, n);
	t->n += n;
}

void log_text_str(struct log_text *t, const char *s)
{
	log_text_add(t, s, strlen(s));
}

/* \uHHHH of PREFIX and DIGITS, or the like. */
static void add_hex(struct log_text *t, const char *prefix, int digits, uint32_t value)
{
	char s[24];
	int n = snprintf(s, sizeof(s), "%s%0*x", prefix, digits, value);

	CHECK(n > 0 && (size_t)n < sizeof(s));
	log_text_add(t, s, (size_t)n);
}

/* The next character of V, which is valid UTF-8 and not empty, and its length. */
static uint32_t next_character(struct span v, size_t *len)
{
	uint8_t c = v.p[0];
	size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	uint32_t u = n == 1 ? c : c & (0xffu >> (n + 1));

	for (size_t i = 1; i < n && i < v.n; i++)
		u = u << 6 | (v.p[i] & 0x3fu);
	*len = n < v.n ? n : v.n;
	return u;
}

/* Takes from the front of V what is printable ASCII and none of SPECIAL: nearly all that there is.
 */
static void add_plain(struct span *v, const char *special, struct log_text *out)
{
	size_t n = 0;

	while (n < v->n && v->p[n] >= 0x20 && v->p[n] < 0x7f && !strchr(special, v->p[n]))
		n++;
	log_text_add(out, v->p, n);
	*v = span_from(*v, n);
}

/* Obeyed by terminals, or not to be seen, or makes text appear in another order. */
static bool is_unsafe(uint32_t u)
{
	static const struct {
		uint32_t from, to;
	} ranges[] = {
		{ 0x0, 0x1f },	      { 0x7f, 0x9f },	    { 0xad, 0xad },
		{ 0x600, 0x605 },     { 0x61c, 0x61c },	    { 0x6dd, 0x6dd },
		{ 0x70f, 0x70f },     { 0x890, 0x891 },	    { 0x8e2, 0x8e2 },
		{ 0x115f, 0x1160 },   { 0x17b4, 0x17b5 },   { 0x180b, 0x180f },
		{ 0x200b, 0x200f },   { 0x2028, 0x202e },   { 0x2060, 0x206f },
		{ 0x3164, 0x3164 },   { 0xd800, 0xf8ff },   { 0xfe00, 0xfe0f },
		{ 0xfeff, 0xfeff },   { 0xffa0, 0xffa0 },   { 0xfff0, 0xfffb },
		{ 0x110bd, 0x110bd }, { 0x110cd, 0x110cd }, { 0x13430, 0x1343f },
		{ 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, UINT32_MAX },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (u >= ranges[i].from && u <= ranges[i].to)
			return true;
	return false;
}

static void add_safe(const struct log_print *k, uint32_t u, struct span as_is, struct log_text *out)
{
	if (u == '\n')
		log_text_str(out, "\\n");
	else if (u == '\t')
		log_text_str(out, "\\t");
	else if (u == '\r')
		log_text_str(out, "\\r");
	else if (u < 0x80 ? !is_unsafe(u) : k->utf8 && !is_unsafe(u))
		log_text_add(out, as_is.p, as_is.n);
	else if (u <= 0xffff)
		add_hex(out, "\\u", 4, u);
	else
		add_hex(out, "\\U", 8, u);
}

void log_print_safe(const struct log_print *k, struct span v, struct log_text *out)
{
	size_t len;

	for (; add_plain(&v, "", out), v.n; v = span_from(v, len)) {
		uint32_t u = next_character(v, &len);

		add_safe(k, u, span_of(v.p, len), out);
	}
}

/* ---- JSON (RFC 8259) ---- */

static void add_json_string(struct span v, struct log_text *out)
{
	size_t len;

	log_text_str(out, "\"");
	for (; add_plain(&v, "\"\\", out), v.n; v = span_from(v, len)) {
		uint32_t u = next_character(v, &len);

		if (u == '"' || u == '\\') {
			log_text_str(out, u == '"' ? "\\\"" : "\\\\");
		} else if (u <= 0xffff) {
			add_hex(out, "\\u", 4, u);
		} else {
			add_hex(out, "\\u", 4, 0xd800 + ((u - 0x10000) >> 10));
			add_hex(out, "\\u", 4, 0xdc00 + (u & 0x3ff));
		}
	}
	log_text_str(out, "\"");
}

/* Values that the schema calls numbers, as long as they are such that any reader holds exactly. */
static bool is_number(struct span name, struct span v)
{
	static const char *const names[] = { "pid",	   "count",    "message",
					     "messages",   "refusals", "bytes",
					     "recipients", "seconds",  "errors" };
	bool numeric = false, dot = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		numeric |= span_eq(name, span_str(names[i]));
	if (!numeric || !v.n || v.n > 15 || (v.p[0] == '0' && v.n > 1 && v.p[1] != '.'))
		return false;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] == '.' && !dot && i && i + 1 < v.n)
			dot = true;
		else if (v.p[i] < '0' || v.p[i] > '9')
			return false;
	}
	return true;
}

static void print_json(const struct log_record *r, struct log_text *out)
{
	log_text_str(out, "{\"element\":");
	add_json_string(r->element, out);
	for (size_t i = 0; i < r->n; i++) {
		bool number = span_eq(r->attr[i].name, SPAN("message"));

		log_text_str(out, ",");
		/* As LOG_JSON_FILE has it (xmllog/json.h). */
		add_json_string(number ? SPAN("message_no") : r->attr[i].name, out);
		log_text_str(out, ":");
		if (is_number(r->attr[i].name, r->attr[i].value))
			log_text_add(out, r->attr[i].value.p, r->attr[i].value.n);
		else
			add_json_string(r->attr[i].value, out);
	}
	log_text_str(out, "}\n");
}

/* ---- XML, as xmllog/format.c writes it; the log's own escapes are in the value already ---- */

static void add_reference(uint32_t u, struct log_text *out)
{
	char s[24];
	int n = snprintf(s, sizeof(s), u < 0x20 ? "&#%u;" : "&#x%X;", u);

	CHECK(n > 0 && (size_t)n < sizeof(s));
	log_text_add(out, s, (size_t)n);
}

static void add_xml(struct span v, struct log_text *out)
{
	size_t len;

	for (; add_plain(&v, "&<>\"", out), v.n; v = span_from(v, len)) {
		uint32_t u = next_character(v, &len);

		if (u == '&')
			log_text_str(out, "&amp;");
		else if (u == '<')
			log_text_str(out, "&lt;");
		else if (u == '>')
			log_text_str(out, "&gt;");
		else if (u == '"')
			log_text_str(out, "&quot;");
		else
			add_reference(u, out);
	}
}

static void print_xml(const struct log_record *r, struct log_text *out)
{
	log_text_str(out, "<");
	log_text_add(out, r->element.p, r->element.n);
	for (size_t i = 0; i < r->n; i++) {
		log_text_str(out, " ");
		log_text_add(out, r->attr[i].name.p, r->attr[i].name.n);
		log_text_str(out, "=\"");
		add_xml(r->attr[i].value, out);
		log_text_str(out, "\"");
	}
	log_text_str(out, "/>\n");
}

/* ---- all ---- */

void log_print_head(const struct log_print *k, struct log_text *out)
{
	if (k->format == LOG_XML)
		log_text_str(out, LOGFILE_HEAD);
	if (k->format == LOG_TABLE)
		log_text_str(out,
			     k->local ? "TIME (LOCAL)             " : "TIME (UTC)               ");
	if (k->format == LOG_TABLE)
		log_text_str(out, "SESSION             RECORD       WHAT\n");
}

void log_print_foot(const struct log_print *k, struct log_text *out)
{
	if (k->format == LOG_XML)
		log_text_str(out, "</caronte-log>\n");
}

void log_print_record(const struct log_print *k, const struct log_record *r, struct log_text *out)
{
	switch (k->format) {
	case LOG_TABLE:
		log_print_table(k, r, out);
		break;
	case LOG_JSON:
		print_json(r, out);
		break;
	case LOG_XML:
		print_xml(r, out);
		break;
	}
}
