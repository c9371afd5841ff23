/* SPDX-License-Identifier: ISC */
/* log_text: see log_text.h. Where there is no memory, the text says so, and the rest is missing. */
#include "ctl/log_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"

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

void log_text_hex(struct log_text *t, const char *prefix, int digits, uint32_t value)
{
	char s[24];
	int n = snprintf(s, sizeof(s), "%s%0*x", prefix, digits, value);

	CHECK(n > 0 && (size_t)n < sizeof(s));
	log_text_add(t, s, (size_t)n);
}

uint32_t log_text_character(struct span v, size_t *len)
{
	uint8_t c = v.p[0];
	size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	uint32_t u = n == 1 ? c : c & (0xffu >> (n + 1));

	for (size_t i = 1; i < n && i < v.n; i++)
		u = u << 6 | (v.p[i] & 0x3fu);
	*len = n < v.n ? n : v.n;
	return u;
}

void log_text_plain(struct log_text *t, struct span *v, const char *special)
{
	size_t n = 0;

	while (n < v->n && v->p[n] >= 0x20 && v->p[n] < 0x7f && !strchr(special, v->p[n]))
		n++;
	log_text_add(t, v->p, n);
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

static void add_safe(struct log_text *t, bool utf8, uint32_t u, struct span as_is)
{
	if (u == '\n')
		log_text_str(t, "\\n");
	else if (u == '\t')
		log_text_str(t, "\\t");
	else if (u == '\r')
		log_text_str(t, "\\r");
	else if (u < 0x80 ? !is_unsafe(u) : utf8 && !is_unsafe(u))
		log_text_add(t, as_is.p, as_is.n);
	else if (u <= 0xffff)
		log_text_hex(t, "\\u", 4, u);
	else
		log_text_hex(t, "\\U", 8, u);
}

void log_text_safe(struct log_text *t, bool utf8, struct span v)
{
	size_t len;

	for (; log_text_plain(t, &v, ""), v.n; v = span_from(v, len)) {
		uint32_t u = log_text_character(v, &len);

		add_safe(t, utf8, u, span_of(v.p, len));
	}
}
