/* SPDX-License-Identifier: ISC */
/*
 * value: one setting from its text, judged by its row of the generated table: type, range, choice.
 * It refuses whatever Kconfig's own tools would quietly turn into something else (`yes`, `0x19`,
 * `25 `, 70000), and keeps the default then, so that the rest of the file can still be judged.
 */
#include <stdint.h>
#include <string.h>

#include "base/span.h"
#include "config/inner.h"

#define NAME_MAX_OCTETS 64u /* of an unknown name, for the search of the nearest */

enum setting config_lookup(const char *name)
{
	enum setting s = 0;

	while (s < SETTING_COUNT && strcmp(setting_rows[s].name, name) != 0)
		s++;
	return s;
}

/* Levenshtein's distance, ASCII case ignored; the row of the table so far is enough. */
static unsigned distance(const char *a, const char *b)
{
	size_t na = strnlen(a, NAME_MAX_OCTETS), nb = strnlen(b, NAME_MAX_OCTETS);
	unsigned row[NAME_MAX_OCTETS + 1];

	for (unsigned j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 0; i < na; i++) {
		unsigned diagonal = row[0]++;

		for (size_t j = 0; j < nb; j++) {
			bool same = ascii_lower((uint8_t)a[i]) == ascii_lower((uint8_t)b[j]);
			unsigned best = diagonal + !same;

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j + 1] + 1 < best)
				best = row[j + 1] + 1;
			diagonal = row[j + 1];
			row[j + 1] = best;
		}
	}
	return row[nb];
}

enum setting config_nearest(const char *name)
{
	unsigned best = ((unsigned)strlen(name) + 2) / 3 + 1;
	enum setting nearest = SETTING_COUNT;

	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		unsigned d = distance(name, setting_rows[s].name);

		if (d < best) {
			best = d;
			nearest = s;
		}
	}
	return nearest;
}

const char *config_allowed(enum setting s, char *out)
{
	const struct setting_row *row = &setting_rows[s];

	if (row->type == SETTING_TYPE_STRING)
		return "a string in double quotes";
	if (row->type != SETTING_TYPE_INT)
		return "y or n";
	snprintf(out, CONFIG_ALLOWED_MAX, "an integer from %d to %d", row->min, row->max);
	return out;
}

static void refuse(struct reader *r, enum setting s, const char *text, const char *what)
{
	char shown[CONFIG_SHOW_MAX], allowed[CONFIG_ALLOWED_MAX];

	config_fault_at(r->config, r->at, config_name(s), "%s%s, allowed is %s",
			config_show(text, shown), what, config_allowed(s, allowed));
}

/* TEXT is none: "64M", "10 s" without its blank, a number in quotes. */
static const char *integer_fault(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	if (*text == '"')
		return " stands in quotes, a number has none";
	if (digits && text[digits + strspn(text + digits, "kKmMgGiIbBsShHdD")] == '\0')
		return " has a unit, a number has none";
	return *text ? " is not an integer" : "no value";
}

static void set_int(struct reader *r, enum setting s, const char *text)
{
	const struct setting_row *row = &setting_rows[s];
	const char *digits = text + (*text == '-');
	bool outside = false;
	long long value = 0;
	int result;

	if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0') {
		refuse(r, s, text, integer_fault(text));
		return;
	}
	for (; *digits && !outside; digits++) {
		value = 10 * value + (*digits - '0');
		outside = value > INT32_MAX;
	}
	if (*text == '-')
		value = -value;
	if (outside || value < row->min || value > row->max) {
		refuse(r, s, text, " is out of range");
		return;
	}
	result = (int)value;
	memcpy((char *)&r->config->set + row->offset, &result, sizeof(result));
}

static bool read_bool(struct reader *r, enum setting s, const char *text, bool *value)
{
	if (strcmp(text, "y") != 0 && strcmp(text, "n") != 0) {
		refuse(r, s, text, *text ? " is neither y nor n" : "no value");
		return false;
	}
	*value = *text == 'y';
	return true;
}

static void set_bool(struct reader *r, enum setting s, const char *text)
{
	bool value;

	if (read_bool(r, s, text, &value))
		memcpy((char *)&r->config->set + setting_rows[s].offset, &value, sizeof(value));
}

static void set_string(struct reader *r, enum setting s, const char *text)
{
	const char *copy;

	for (const char *p = text; *p; p++) {
		unsigned char octet = (unsigned char)*p;

		if ((octet < ' ' && octet != '\t') || octet == 0x7f) {
			config_fault_at(r->config, r->at, config_name(s),
					"control character %c in the string, allowed is none but "
					"the tab",
					octet);
			return;
		}
	}
	copy = config_text(r->config, text, strlen(text));
	memcpy((char *)&r->config->set + setting_rows[s].offset, &copy, sizeof(copy));
}

/* The member of S's choice that is y, S itself left out, or SETTING_COUNT. */
static enum setting other_that_is_y(const struct reader *r, enum setting s)
{
	const struct choice_row *choice = &choice_rows[setting_rows[s].choice];

	for (int i = 0; i < choice->count; i++) {
		enum setting m = choice->first + (enum setting)i;

		if (m != s && r->member[m] == MEMBER_Y)
			return m;
	}
	return SETTING_COUNT;
}

/* In the file a second member that is y is a fault; an argument takes the place of the first. */
static void set_member(struct reader *r, enum setting s, const char *text)
{
	const struct choice_row *choice = &choice_rows[setting_rows[s].choice];
	struct config *c = r->config;
	enum setting other;
	bool value;

	if (!read_bool(r, s, text, &value)) {
		r->choice_at_fault[setting_rows[s].choice] = true;
		return;
	}
	r->member[s] = value ? MEMBER_Y : MEMBER_N;
	other = value ? other_that_is_y(r, s) : SETTING_COUNT;
	if (other == SETTING_COUNT)
		return;
	if (r->at.line) {
		config_fault_at(c, r->at, config_name(s),
				"y, but %s is y already on line %u, allowed is one of %s",
				config_name(other), c->where[other].line, choice->members);
		r->member[s] = MEMBER_N;
	} else {
		r->member[other] = MEMBER_N;
		c->where[other].file = r->at.file;
		c->where[other].line = r->at.line;
	}
}

void config_set(struct reader *r, enum setting s, const char *text)
{
	r->config->where[s].file = r->at.file;
	r->config->where[s].line = r->at.line;
	switch (setting_rows[s].type) {
	case SETTING_TYPE_INT:
		set_int(r, s, text);
		break;
	case SETTING_TYPE_BOOL:
		set_bool(r, s, text);
		break;
	case SETTING_TYPE_STRING:
		set_string(r, s, text);
		break;
	case SETTING_TYPE_MEMBER:
		set_member(r, s, text);
		break;
	}
}

static void settle(struct reader *r, int index)
{
	const struct choice_row *choice = &choice_rows[index];
	const struct setting_row *row = &setting_rows[choice->first];
	struct config *c = r->config;
	enum setting fallback;
	int value;

	for (int i = 0; i < choice->count; i++)
		if (r->member[choice->first + (enum setting)i] == MEMBER_Y) {
			memcpy((char *)&c->set + row->offset, &i, sizeof(i));
			return;
		}
	/* None is y. The default stands, unless it has been switched off and nothing put for it. */
	memcpy(&value, (const char *)&c->set + row->offset, sizeof(value));
	fallback = choice->first + (enum setting)value;
	if (r->member[fallback] == MEMBER_N && !r->choice_at_fault[index])
		config_fault(c, fallback,
			     "n, and no other member of its choice is y, allowed is one of %s",
			     choice->members);
}

void config_settle_choices(struct reader *r)
{
	for (int i = 0; i < choice_count; i++)
		settle(r, i);
}
