/* SPDX-License-Identifier: ISC */
/* json: see json.h. */
#include "xmllog/json.h"

#include <errno.h>

#define EXPAND 6 /* octets that one octet of a text can become: "\u00e4" */

static size_t put_text(char *out, const char *s)
{
	size_t n = strlen(s);

	memcpy(out, s, n);
	return n;
}

static size_t put_hex(char *out, uint32_t value, int digits)
{
	for (int i = 0; i < digits; i++)
		out[i] = "0123456789abcdef"[value >> 4 * (digits - 1 - i) & 15];
	return (size_t)digits;
}

static size_t put_unit(char *out, uint32_t unit)
{
	return 2 + put_hex(out + put_text(out, "\\u"), unit, 4);
}

static size_t put_character(char *out, uint32_t u)
{
	if (u == '\\')
		return put_text(out, "\\\\\\\\"); /* the log's escape of a backslash, in JSON */
	if (u == '"')
		return put_text(out, "\\\"");
	if (u >= 0x20 && u < 0x7f) {
		*out = (char)u;
		return 1;
	}
	if (u <= 0xffff)
		return put_unit(out, u);
	size_t n = put_unit(out, 0xd800 + ((u - 0x10000) >> 10));

	return n + put_unit(out + n, 0xdc00 + (u & 0x3ff));
}

static size_t put_string(char *out, struct span v)
{
	size_t n = 0, len;
	uint32_t u;

	for (; v.n; v = span_from(v, len)) {
		len = format_character(v, &u);
		if (len) {
			n += put_character(out + n, u);
		} else {
			n += put_text(out + n, "\\\\x");
			out[n++] = "0123456789ABCDEF"[v.p[0] >> 4];
			out[n++] = "0123456789ABCDEF"[v.p[0] & 15];
			len = 1;
		}
	}
	return n;
}

/* Opens a member; its value follows. */
static size_t put_name(char *out, const char *name)
{
	size_t n = put_text(out, ",\"");

	n += put_text(out + n, name);
	return n + put_text(out + n, "\":");
}

static int put_head(struct format *f, const struct record *r)
{
	char *out = format_room(f, FORMAT_FIXED_MAX);
	size_t n;

	if (!out)
		return -ENOMEM;
	n = put_text(out, "{\"element\":\"");
	n += put_text(out + n, xmllog_element_name(r->element));
	out[n++] = '"';
	n += put_name(out + n, "time");
	out[n++] = '"';
	n += format_time(r->time_us, out + n);
	out[n++] = '"';
	if (r->has_session) {
		n += put_name(out + n, "session");
		out[n++] = '"';
		n += xmllog_session_text(&r->session, out + n);
		out[n++] = '"';
	}
	f->n += n;
	return 0;
}

static int put_attr(struct format *f, const struct record_attr *a)
{
	bool quoted = a->kind == KIND_TEXT || a->kind == KIND_ADDR;
	char *out =
		format_room(f, FORMAT_FIXED_MAX + (a->kind == KIND_TEXT ? a->text.n * EXPAND : 0));
	size_t n;

	if (!out)
		return -ENOMEM;
	n = put_name(out, a->attr == XMLLOG_A_MESSAGE ? "message_no" : format_attr_name(a->attr));
	if (quoted)
		out[n++] = '"';
	n += a->kind == KIND_TEXT ? put_string(out + n, a->text) : format_plain_value(a, out + n);
	if (quoted)
		out[n++] = '"';
	f->n += n;
	return 0;
}

int json_record(struct format *f, const struct record *r)
{
	int rc = put_head(f, r);

	for (size_t i = 0; rc == 0 && i < r->attrs; i++)
		rc = put_attr(f, &r->attr[i]);
	if (rc < 0)
		return rc;
	char *out = format_room(f, FORMAT_FIXED_MAX);

	if (!out)
		return -ENOMEM;
	f->n += put_text(out, "}\n");
	return 0;
}
