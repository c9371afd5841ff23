/* SPDX-License-Identifier: ISC */
/* results: see results.h. */
#include "shared/results.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/memory.h"

#define TRIES 1000 /* a writer that died in the middle is not waited for */

/* TURN is odd while the master writes. */
struct results {
	_Atomic uint64_t turn;
	struct result of[RESULTS_KINDS];
};

static const char *const names[RESULTS_KINDS] = { "reload", "upgrade", "stop" };
static const char *const hows[RESULTS_HOWS] = { "none", "done", "refused" };

const char *results_name(enum results_kind kind)
{
	return names[kind];
}

enum results_kind results_kind(const char *name, size_t n)
{
	enum results_kind kind = 0;

	while (kind < RESULTS_KINDS &&
	       (strlen(names[kind]) != n || memcmp(names[kind], name, n) != 0))
		kind++;
	return kind;
}

struct results *results_make(void)
{
	return shared_map(sizeof(struct results));
}

static void enter(struct results *r)
{
	atomic_fetch_add_explicit(&r->turn, 1, memory_order_acq_rel);
	atomic_thread_fence(memory_order_release);
}

static void leave(struct results *r)
{
	atomic_fetch_add_explicit(&r->turn, 1, memory_order_release);
}

void results_continue(struct results *r, const uint64_t begun[RESULTS_KINDS])
{
	enter(r);
	for (enum results_kind kind = 0; kind < RESULTS_KINDS; kind++) {
		bool goes_on = kind == RESULTS_UPGRADE && begun[kind];

		r->of[kind].begun = begun[kind];
		r->of[kind].ended = begun[kind] - goes_on;
	}
	leave(r);
}

void results_begin(struct results *r, enum results_kind kind)
{
	enter(r);
	r->of[kind].begun++;
	leave(r);
}

void results_end(struct results *r, enum results_kind kind, enum results_how how, const char *text)
{
	struct result *x = &r->of[kind];
	time_t now = time(NULL);

	enter(r);
	x->ended = x->begun;
	x->how = how;
	x->at_s = (uint64_t)now;
	snprintf(x->text, sizeof(x->text) - 1, "%s", text); /* with room for a last line feed */
	leave(r);
}

/* As it was at one moment. */
static void look(const struct results *r, enum results_kind kind, struct result *out)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t before = atomic_load_explicit(&r->turn, memory_order_acquire);

		memcpy(out, &r->of[kind], sizeof(*out));
		atomic_thread_fence(memory_order_acquire);
		if (!(before & 1) && before == atomic_load_explicit(&r->turn, memory_order_relaxed))
			break;
	}
	out->text[sizeof(out->text) - 1] = '\0';
}

uint64_t results_begun(const struct results *r, enum results_kind kind)
{
	struct result x;

	look(r, kind, &x);
	return x.begun;
}

uint64_t results_ended(const struct results *r, enum results_kind kind)
{
	struct result x;

	look(r, kind, &x);
	return x.ended;
}

void results_print(const struct results *r, FILE *out)
{
	for (enum results_kind kind = 0; kind < RESULTS_KINDS; kind++) {
		struct result x;

		look(r, kind, &x);
		fprintf(out, "%s %llu %llu %s %llu\n", names[kind], (unsigned long long)x.begun,
			(unsigned long long)x.ended, hows[x.how < RESULTS_HOWS ? x.how : 0],
			(unsigned long long)x.at_s);
		for (char *at = x.text, *line; (line = strsep(&at, "\n"));)
			if (*line)
				fprintf(out, " %s\n", line);
	}
}

/* ---- reading ---- */

/* A number at *AT, which moves to what follows it: behind a blank, or the end of the line. */
static bool parse_number(const char **at, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(*at, &end, 10);
	if (end == *at || errno || (*end && *end != ' ' && *end != '\n'))
		return false;
	*at = end + (*end == ' ');
	return true;
}

static bool parse_how(const char **at, enum results_how *out)
{
	size_t n = strcspn(*at, " ");

	for (*out = 0; *out < RESULTS_HOWS; (*out)++)
		if (strlen(hows[*out]) == n && strncmp(hows[*out], *at, n) == 0)
			break;
	*at += n + ((*at)[n] == ' ');
	return *out < RESULTS_HOWS;
}

static bool parse_head(const char *at, struct result *x)
{
	*x = (struct result){ 0 };
	return parse_number(&at, &x->begun) && parse_number(&at, &x->ended) &&
	       parse_how(&at, &x->how) && parse_number(&at, &x->at_s);
}

bool results_parse(const char *text, enum results_kind kind, struct result *out)
{
	size_t name = strlen(names[kind]), used = 0;
	bool mine = false;

	for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		size_t n = strcspn(at, "\n");

		if (*at != ' ') {
			if (mine)
				return true;
			mine = strncmp(at, names[kind], name) == 0 && at[name] == ' ';
			if (mine && !parse_head(at + name + 1, out))
				return false;
		} else if (mine && used + n < sizeof(out->text)) {
			memcpy(out->text + used, at + 1, n - 1);
			out->text[used + n - 1] = '\n';
			used += n;
			out->text[used] = '\0';
		}
	}
	return mine;
}
