/* SPDX-License-Identifier: ISC */
/*
 * RECIPIENTS: a table that was built without a fault matches exactly the addresses that a walk
 * through its lines would find: the address itself, every user of an `@domain` line unless the
 * local part carries routing, and the postmaster of every domain.
 */
#include "fuzz.h"
#include "policy/policy.h"

#define LINES_MAX 60

struct recipient {
	struct span local, domain;
};

struct counted {
	struct policy_faults faults;
	unsigned count, last_line;
};

static void report(struct policy_faults *f, unsigned line, const char *what)
{
	struct counted *c = (struct counted *)(void *)f;

	CHECK(line >= c->last_line && line > 0 && *what);
	c->last_line = line;
	c->count++;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* The lines of a TEXT without faults. */
static size_t read_lines(struct span text, struct recipient *list)
{
	size_t n = 0;

	while (text.n && n < LINES_MAX) {
		const uint8_t *lf = memchr(text.p, '\n', text.n);
		struct span line = span_of(text.p, lf ? (size_t)(lf - text.p) : text.n);
		bool comment = line.n && line.p[0] == '#';
		const uint8_t *at;

		text = span_from(text, line.n + 1);
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		while (line.n && is_blank(line.p[0]))
			line = span_from(line, 1);
		while (line.n && is_blank(line.p[line.n - 1]))
			line.n--;
		if (comment || line.n == 0)
			continue;
		at = memrchr(line.p, '@', line.n); /* no domain holds one */
		CHECK(at);
		list[n].local = span_of(line.p, (size_t)(at - line.p));
		list[n].domain = span_from(line, list[n].local.n + 1);
		if (list[n].domain.n && list[n].domain.p[list[n].domain.n - 1] == '.')
			list[n].domain.n--;
		CHECK(list[n].local.n <= 252 && list[n].domain.n > 0);
		for (size_t i = 0; i < line.n; i++)
			CHECK(!fuzz_is_control(line.p[i]));
		n++;
	}
	return n;
}

static const char *expected(const struct recipient *list, size_t n, const struct policy_address *a)
{
	const char *word = NULL;
	bool postmaster = span_eq_nocase(a->local, SPAN("postmaster"));

	if (a->postmaster)
		return "postmaster";
	for (size_t i = 0; i < n; i++) {
		if (!span_eq_nocase(list[i].domain, a->domain))
			continue;
		if (list[i].local.n && span_eq_nocase(list[i].local, a->local))
			return "address";
		if (!a->routed && list[i].local.n == 0)
			word = "domain";
		else if (!a->routed && postmaster && !word)
			word = "postmaster";
	}
	return word;
}

/* With a delimiter only what is neither quoted nor routed may find more: the user before the first
 * one. */
static void check_extension(const struct policy_recipients *t, const struct recipient *list,
			    size_t n, struct policy_address a, const char *want)
{
	const uint8_t *plus = a.local.n > 1 ? memchr(a.local.p + 1, '+', a.local.n - 1) : NULL;
	const char *which = "none";

	if (!want && plus && !a.routed && !a.quoted) {
		struct policy_address user = a;

		user.local.n = (size_t)(plus - a.local.p);
		want = expected(list, n, &user) ? "extension" : NULL;
	}
	policy_recipients_match(t, &a, "+", &which);
	CHECK(strcmp(which, want ? want : "none") == 0);
	if (a.quoted || a.routed)
		return;
	uint8_t tagged[6 + 252] = "prvs=1=";

	if (a.local.n == 0 || a.local.n > 252 - 7)
		return;
	memcpy(tagged + 7, a.local.p, a.local.n);
	a.local = span_of(tagged, a.local.n + 7);
	a.bounce = true;
	CHECK(!want || policy_recipients_match(t, &a, "+", NULL));
}

static void check_one(const struct policy_recipients *t, const struct recipient *list, size_t n,
		      struct policy_address a)
{
	const char *want = expected(list, n, &a), *which = "none";

	CHECK(policy_recipients_match(t, &a, "", &which) == (want != NULL));
	CHECK(strcmp(which, want ? want : "none") == 0);
	check_extension(t, list, n, a, want);
	CHECK(policy_recipients_match(t, &a, "", NULL) == (want != NULL));
}

static bool routed(struct span local)
{
	for (size_t i = 0; i < local.n; i++)
		if (local.p[i] && strchr("%!@:\\", local.p[i]))
			return true;
	return false;
}

/* Copies S to OUT in the other case. */
static struct span other_case(struct span s, uint8_t *out)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t lower = ascii_lower(s.p[i]);

		out[i] = lower >= 'a' && lower <= 'z' ? s.p[i] ^ 0x20 : s.p[i];
	}
	return span_of(out, s.n);
}

/* Each local part of the list at each domain of it, and what differs from them a little. */
static void check_all(const struct policy_recipients *t, const struct recipient *list, size_t n)
{
	static uint8_t local[252], domain[255];

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			struct policy_address a = { .local = list[i].local,
						    .domain = list[j].domain };

			a.routed = routed(a.local);
			a.quoted = a.local.n && a.local.p[0] == '"';
			if (a.local.n == 0)
				a.local = SPAN("postmaster");
			check_one(t, list, n, a);
			a.routed = !a.routed;
			check_one(t, list, n, a);
			a.routed = !a.routed;
			a.local = other_case(a.local, local);
			a.domain = other_case(a.domain, domain);
			check_one(t, list, n, a);
			local[a.local.n - 1] ^= 1;
			check_one(t, list, n, a);
			local[a.local.n - 1] ^= 1;
			a.domain.n--;
			check_one(t, list, n, a);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct recipient list[LINES_MAX];
	struct span in = span_of(data, size);
	uint8_t *copy = fuzz_copy(in);
	size_t room, used, n, different = 0;
	struct counted c = { .faults = { report } };
	void *mem;

	in.p = copy;
	room = policy_recipients_room(in);
	mem = aligned_alloc(64, (room + 63) & ~(size_t)63);
	CHECK(mem);
	memset(mem, 0, room);
	used = policy_recipients_build(mem, room, in, &c.faults);
	CHECK(used <= room && (used == 0) == (c.count > 0));
	n = used ? read_lines(in, list) : 0;
	if (used && n < LINES_MAX) {
		for (size_t i = 0, k; i < n; i++) {
			for (k = 0; k < i; k++)
				if (span_eq_nocase(list[k].local, list[i].local) &&
				    span_eq_nocase(list[k].domain, list[i].domain))
					break;
			different += k == i;
		}
		CHECK(policy_recipients_count(mem) == different);
		check_all(mem, list, n);
		check_one(mem, list, n, (struct policy_address){ .postmaster = true });
		check_one(
			mem, list, n,
			(struct policy_address){ .local = SPAN("a"), .domain = SPAN("b.example") });
	}
	free(mem);
	free(copy);
	return 0;
}
