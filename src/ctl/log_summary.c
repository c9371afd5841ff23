/* SPDX-License-Identifier: ISC */
/*
 * log_summary: see log_summary.h. Keys that are too long are cut; the rows are few, so they are
 * searched one by one.
 */
#include "ctl/log_summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/log_filter.h"

/* By which attributes an element's records are told apart. */
static const struct {
	const char *element, *kind[2];
} kinds[] = {
	{ "fault", { "what", NULL } },		{ "destination", { "address", "state" } },
	{ "login", { "verdict", NULL } },	{ "session", { "end", "reason" } },
	{ "recipient", { "verdict", "rule" } }, { "message", { "reply", NULL } },
	{ "refusal", { "command", "by" } },	{ "command", { "from", "to" } },
	{ "reply", { "from", "to" } },
};

/* V, cut between characters where it is too long. */
static void copy(char *out, struct span v, size_t cap)
{
	size_t n = v.n < cap - 1 ? v.n : cap - 1;

	while (n < v.n && n && (v.p[n] & 0xc0) == 0x80)
		n--;
	if (n)
		memcpy(out, v.p, n);
	out[n] = '\0';
}

/* Of a reply only what it means: "2xx". */
static void take_kind(char *out, const struct log_record *r, const char *name)
{
	struct span v = log_record_get(r, name);

	copy(out, v, LOG_SUMMARY_KEY);
	if (strcmp(name, "reply") == 0)
		snprintf(out, LOG_SUMMARY_KEY, "%s",
			 v.n && v.p[0] >= '2' && v.p[0] <= '5'
				 ? (const char *const[]){ "2xx", "3xx", "4xx", "5xx" }[v.p[0] - '2']
				 : "no reply");
}

static bool same(const struct log_summary_row *a, const struct log_summary_row *b)
{
	return strcmp(a->element, b->element) == 0 && strcmp(a->kind[0], b->kind[0]) == 0 &&
	       strcmp(a->kind[1], b->kind[1]) == 0;
}

static void note_time(struct log_summary *s, struct span time)
{
	char text[sizeof(s->first)];

	copy(text, time, sizeof(text));
	/* UTC in one shape, so text is in the order of time. */
	if (!s->first[0] || strcmp(text, s->first) < 0)
		memcpy(s->first, text, sizeof(text));
	if (strcmp(text, s->last) > 0)
		memcpy(s->last, text, sizeof(text));
}

void log_summary_add(struct log_summary *s, const struct log_record *r)
{
	struct log_summary_row row = { .count = 1 };

	s->records++;
	note_time(s, log_record_get(r, "time"));
	copy(row.element, r->element, sizeof(row.element));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(row.element, kinds[i].element) != 0)
			continue;
		for (size_t j = 0; j < 2 && kinds[i].kind[j]; j++)
			take_kind(row.kind[j], r, kinds[i].kind[j]);
	}
	for (size_t i = 0; i < s->rows; i++) {
		if (same(&s->row[i], &row)) {
			s->row[i].count++;
			return;
		}
	}
	if (s->rows < LOG_SUMMARY_ROWS)
		s->row[s->rows++] = row;
	else
		s->others++;
}

static size_t rank(const char *element)
{
	size_t i = 0;

	while (log_element_name(i) && strcmp(log_element_name(i), element) != 0)
		i++;
	return i;
}

/* In the order of caronte-log(5), the most frequent first. */
static int compare(const void *one, const void *other)
{
	const struct log_summary_row *a = one, *b = other;
	size_t ra = rank(a->element), rb = rank(b->element);

	if (ra != rb)
		return ra < rb ? -1 : 1;
	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	if (strcmp(a->element, b->element) != 0)
		return strcmp(a->element, b->element);
	return strcmp(a->kind[0], b->kind[0]) ? strcmp(a->kind[0], b->kind[0])
					      : strcmp(a->kind[1], b->kind[1]);
}

static void print_count(struct log_text *out, uint64_t count)
{
	char text[32];

	snprintf(text, sizeof(text), "%12" PRIu64, count);
	log_text_str(out, text);
}

void log_summary_print(struct log_summary *s, const struct log_print *k, struct log_text *out)
{
	qsort(s->row, s->rows, sizeof(s->row[0]), compare);
	for (size_t i = 0; i < s->rows; i++) {
		const struct log_summary_row *row = &s->row[i];

		print_count(out, row->count);
		log_text_str(out, "  ");
		log_text_safe(out, k->utf8, span_str(row->element));
		for (size_t j = 0; j < 2 && row->kind[j][0]; j++) {
			log_text_str(out, " ");
			log_text_safe(out, k->utf8, span_str(row->kind[j]));
		}
		log_text_str(out, "\n");
	}
	if (s->others) {
		print_count(out, s->others);
		log_text_str(out, "  of more kinds\n");
	}
	print_count(out, s->records);
	log_text_str(out, "  records");
	if (s->records) {
		log_text_str(out, " from ");
		log_text_safe(out, k->utf8, span_str(s->first));
		log_text_str(out, " to ");
		log_text_safe(out, k->utf8, span_str(s->last));
	}
	log_text_str(out, "\n");
}
