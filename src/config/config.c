/* SPDX-License-Identifier: ISC */
/*
 * config: owns struct config: its memory, its faults and their order, and the names of settings,
 * which all that read one (load.c, lines.c, value.c) and all that judge one use. It refuses nothing
 * itself and never fails. Running out of memory while reading a megabyte at most is treated as a
 * broken invariant.
 */
#include "config/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "config/inner.h"

const char config_argument_place[] = "-o";

/* One string of a configuration, in a chain from config->memory. */
struct text {
	struct text *next;
	char octets[];
};

static char *text_room(struct config *c, size_t n)
{
	struct text *t = malloc(sizeof(*t) + n);

	CHECK(t);
	t->next = c->memory;
	c->memory = t;
	return t->octets;
}

char *config_text(struct config *c, const char *text, size_t n)
{
	char *copy = text_room(c, n + 1);

	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

const char *config_show(const char *text, char *out)
{
	int n = snprintf(out, CONFIG_SHOW_MAX, "%s", text);

	if ((size_t)n >= CONFIG_SHOW_MAX)
		strcpy(out + CONFIG_SHOW_MAX - sizeof("..."), "...");
	return out;
}

/* Control characters become \xHH, so that a fault is one line and nothing acts on a terminal. */
static char *printable(struct config *c, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	char *out = text_room(c, 4 * strlen(text) + 1), *to = out;

	for (; *text; text++) {
		unsigned char octet = (unsigned char)*text;

		if (octet >= ' ' && octet != 0x7f) {
			*to++ = *text;
			continue;
		}
		*to++ = '\\';
		*to++ = 'x';
		*to++ = hex[octet >> 4];
		*to++ = hex[octet & 15];
	}
	*to = '\0';
	return out;
}

static bool comes_before(const struct config_fault *a, const struct config_fault *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (a->rank == 2 && strcmp(a->file, b->file) != 0)
		return strcmp(a->file, b->file) < 0;
	return a->line < b->line;
}

/* Faults are kept in the order of their places; those of one place as they were found. */
static void insert_fault(struct config *c, struct config_fault fault)
{
	size_t at = c->fault_count;

	if ((at & (at - 1)) == 0) { /* full at every power of two */
		c->faults = realloc(c->faults, (at ? 2 * at : 1) * sizeof(*c->faults));
		CHECK(c->faults);
	}
	while (at > 0 && comes_before(&fault, &c->faults[at - 1]))
		at--;
	memmove(c->faults + at + 1, c->faults + at, (c->fault_count - at) * sizeof(fault));
	c->faults[at] = fault;
	c->fault_count++;
}

__attribute__((format(printf, 4, 0))) static void
add_fault(struct config *c, struct place at, const char *name, const char *fmt, va_list args)
{
	struct config_fault fault = { .file = at.file, .line = at.line };
	char *what, *all, line[16] = "";
	int n;

	if (at.line)
		snprintf(line, sizeof(line), ":%u", at.line);
	n = vasprintf(&what, fmt, args);
	CHECK(n >= 0);
	n = asprintf(&all, "%s%s: %s%s%s", at.file, line, name ? name : "", name ? ": " : "", what);
	CHECK(n >= 0);
	fault.text = printable(c, all);
	free(what);
	free(all);
	if (at.file == config_argument_place)
		fault.rank = 1;
	else if (!c->path || strcmp(at.file, c->path) != 0)
		fault.rank = 2;
	insert_fault(c, fault);
}

void config_fault_at(struct config *c, struct place at, const char *name, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_fault(c, at, name, fmt, args);
	va_end(args);
}

void config_fault(struct config *c, enum setting s, const char *fmt, ...)
{
	struct place at = { c->where[s].file, c->where[s].line };
	va_list args;

	if (!at.file) /* the default is what is wrong: there is no line to point at */
		at.file = c->path ? c->path : "default";
	va_start(args, fmt);
	add_fault(c, at, config_name(s), fmt, args);
	va_end(args);
}

void config_fault_in(struct config *c, enum setting s, const char *file, unsigned line,
		     const char *what)
{
	struct place at = { config_text(c, file, strlen(file)), line };

	config_fault_at(c, at, config_name(s), "%s", what);
}

void config_print_faults(const struct config *c, FILE *out)
{
	for (size_t i = 0; i < c->fault_count; i++)
		fprintf(out, "%s\n", c->faults[i].text);
}

const char *config_name(enum setting s)
{
	CHECK(s < SETTING_COUNT);
	return setting_rows[s].name;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (struct text *t = c->memory, *next; t; t = next) {
		next = t->next;
		free(t);
	}
	free(c->faults);
	free(c->path);
	free(c);
}
