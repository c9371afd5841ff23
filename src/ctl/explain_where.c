/* SPDX-License-Identifier: ISC */
/*
 * explain_where: in which line of which file the entry stands that decided. The tables do not know
 * that any more, so the files are read once more, and each line that could be the one is made a
 * table of its own and asked the same question, by the same code.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/explain.h"

#define IMAGE_ALIGN 64
#define PREFIX_MAX  64
#define ENTRY	    "entry:    "

static void *image(size_t room)
{
	size_t n = (room + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN;
	void *mem = aligned_alloc(IMAGE_ALIGN, n);

	if (mem)
		memset(mem, 0, n);
	return mem;
}

/* Whether this line alone would give A the same network. */
static bool is_network(struct span line, const struct addr *a, const char *network)
{
	size_t room = policy_networks_room(&line, 1);
	void *mem = image(room);
	char prefix[PREFIX_MAX];
	bool same = mem && policy_networks_build(mem, room, &line, NULL, 1) &&
		    policy_networks_explain(mem, a, prefix, sizeof(prefix)) &&
		    strcmp(prefix, network) == 0;

	free(mem);
	return same;
}

/* Whether this line alone would let A through in the same way. */
static bool is_recipient(struct span line, const struct policy_address *a, const char *delimiters,
			 const char *which)
{
	size_t room = policy_recipients_room(line);
	void *mem = image(room);
	const char *how = NULL;
	bool same = mem && policy_recipients_build(mem, room, line, NULL) &&
		    policy_recipients_match(mem, a, delimiters, &how) && strcmp(how, which) == 0;

	free(mem);
	return same;
}

/* What is asked of each line. */
struct question {
	enum setting setting;
	const struct addr *client;
	const char *network; /* NULL: it is about the recipient */
	const struct policy_address *recipient;
	const char *delimiters;
	const char *which;
};

/* Nearly all lines of a long file are of another domain: told apart without a table. */
static bool holds(struct span line, struct span text)
{
	for (size_t i = 0; i + text.n <= line.n; i++)
		if (span_eq_nocase(span_of(line.p + i, text.n), text))
			return true;
	return false;
}

static bool fits(const struct question *q, struct span line)
{
	if (q->network)
		return is_network(line, q->client, q->network);
	return holds(line, q->recipient->domain) &&
	       is_recipient(line, q->recipient, q->delimiters, q->which);
}

static bool find_in_file(const struct question *q, const struct tables_file *f, FILE *out)
{
	FILE *in = fopen(f->path, "re");
	char *line = NULL;
	size_t cap = 0;
	unsigned number = 0;
	ssize_t n;
	bool found = false;

	while (in && !found && (n = getline(&line, &cap, in)) > 0) {
		struct span s = span_of(line, (size_t)n);

		number++;
		while (s.n && strchr("\r\n", s.p[s.n - 1]) && s.p[s.n - 1])
			s.n--;
		found = fits(q, s);
		if (found)
			fprintf(out, ENTRY "%s:%u: %.*s\n", f->path, number, (int)s.n, s.p);
	}
	free(line);
	if (in)
		fclose(in);
	return found;
}

/* Networks that the setting itself gives, one a line. */
static bool find_in_setting(const struct question *q, const char *entries, FILE *out)
{
	while (*entries) {
		struct span s = span_of(entries, strcspn(entries, "\n"));

		if (fits(q, s)) {
			fprintf(out, ENTRY "RELAY_NETWORKS: %.*s\n", (int)s.n, s.p);
			return true;
		}
		entries += s.n + (entries[s.n] == '\n');
	}
	return false;
}

static void find(const struct question *q, const struct tables_plan *plan, FILE *out)
{
	bool found = q->network && find_in_setting(q, plan->entries[TABLES_RELAY], out);

	for (unsigned i = 0; i < plan->count && !found; i++)
		if (plan->file[i].setting == q->setting)
			found = find_in_file(q, &plan->file[i], out);
}

void explain_network(const struct tables_plan *plan, const struct addr *a, const char *network,
		     FILE *out)
{
	struct question q = { .setting = SETTING_RELAY_NETWORKS, .client = a, .network = network };

	find(&q, plan, out);
}

void explain_recipient(const struct tables_plan *plan, const struct policy_address *a,
		       const char *delimiters, const char *which, FILE *out)
{
	struct question q = { .setting = SETTING_RECIPIENTS,
			      .recipient = a,
			      .delimiters = delimiters,
			      .which = which };

	/* <postmaster> is local by itself. */
	if (a->domain.n)
		find(&q, plan, out);
}
