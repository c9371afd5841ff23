/* SPDX-License-Identifier: ISC */
/*
 * pack: settings as plain octets, for another process of the same program, and compared with
 * others. It trusts nothing that it unpacks further than memory safety needs: who packed it is
 * ourselves.
 */
#include "config/pack.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "config/table.h"

static const char *string_of(const struct settings *set, enum setting s)
{
	const char *text;

	memcpy(&text, (const char *)set + setting_rows[s].offset, sizeof(text));
	return text;
}

static void put_string(struct settings *set, enum setting s, const char *text)
{
	memcpy((char *)set + setting_rows[s].offset, &text, sizeof(text));
}

static bool is_string(enum setting s)
{
	return setting_rows[s].type == SETTING_TYPE_STRING;
}

size_t config_strings(const struct settings *set)
{
	size_t n = 0;

	for (enum setting s = 0; s < SETTING_COUNT; s++)
		if (is_string(s))
			n += strlen(string_of(set, s)) + 1;
	return n;
}

void config_pack(struct settings *out, char *strings, const struct settings *set)
{
	size_t at = 0;

	*out = *set;
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		if (!is_string(s))
			continue;
		const char *text = string_of(set, s);
		size_t n = strlen(text) + 1;

		memcpy(strings + at, text, n);
		put_string(out, s, (const char *)(uintptr_t)at);
		at += n;
	}
}

bool config_unpack(struct settings *out, const struct settings *packed, const char *strings,
		   size_t n)
{
	*out = *packed;
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		if (!is_string(s))
			continue;
		uintptr_t at = (uintptr_t)string_of(packed, s);

		if (at >= n || !memchr(strings + at, '\0', n - at))
			return false;
		put_string(out, s, strings + at);
	}
	return true;
}

/* The octets of an int, a bool or a choice. */
static size_t width(enum setting s)
{
	return setting_rows[s].type == SETTING_TYPE_BOOL ? sizeof(bool) : sizeof(int);
}

static int choice_of(const struct settings *set, enum setting s)
{
	int value;

	_Static_assert(sizeof(enum choice_engine) == sizeof(int), "a choice is an int");
	memcpy(&value, (const char *)set + setting_rows[s].offset, sizeof(value));
	return value;
}

static bool member_set(const struct settings *set, enum setting s)
{
	return choice_of(set, s) == setting_rows[s].value;
}

static bool differs(const struct settings *a, const struct settings *b, enum setting s)
{
	size_t at = setting_rows[s].offset;

	switch (setting_rows[s].type) {
	case SETTING_TYPE_STRING:
		return strcmp(string_of(a, s), string_of(b, s)) != 0;
	case SETTING_TYPE_MEMBER:
		return member_set(b, s) && !member_set(a, s);
	case SETTING_TYPE_INT:
	case SETTING_TYPE_BOOL:
		break;
	}
	return memcmp((const char *)a + at, (const char *)b + at, width(s)) != 0;
}

enum setting config_differs(const struct settings *a, const struct settings *b, enum setting from)
{
	while (from < SETTING_COUNT && !differs(a, b, from))
		from++;
	return from;
}

bool config_text_of(const struct settings *set, enum setting s, char *out, size_t cap)
{
	const struct setting_row *row = &setting_rows[s];
	const char *field = (const char *)set + row->offset;
	int value, n = -1;

	CHECK(s < SETTING_COUNT);
	switch (row->type) {
	case SETTING_TYPE_STRING:
		n = snprintf(out, cap, "%s=%s", row->name, string_of(set, s));
		break;
	case SETTING_TYPE_INT:
		memcpy(&value, field, sizeof(value));
		n = snprintf(out, cap, "%s=%d", row->name, value);
		break;
	case SETTING_TYPE_BOOL:
		n = snprintf(out, cap, "%s=%c", row->name, *(const bool *)field ? 'y' : 'n');
		break;
	case SETTING_TYPE_MEMBER:
		if (member_set(set, s))
			n = snprintf(out, cap, "%s=y", row->name);
		break;
	}
	return n >= 0 && (size_t)n < cap;
}
