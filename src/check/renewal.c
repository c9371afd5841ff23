/* SPDX-License-Identifier: ISC */
/* renewal: see renewal.h. */
#include "check/renewal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls/keyring.h"

static bool same(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static bool has_name(const struct keyring_about *about, struct span name)
{
	unsigned count = keyring_name_count(about);

	for (unsigned i = 0; i < count; i++)
		if (same(keyring_name(about, i), name))
			return true;
	return false;
}

/* In whatever order. */
static bool same_names(const struct keyring_about *a, const struct keyring_about *b)
{
	unsigned count = keyring_name_count(a);

	if (same(a->names, b->names))
		return true;
	if (count != keyring_name_count(b))
		return false;
	for (unsigned i = 0; i < count; i++)
		if (!has_name(b, keyring_name(a, i)) || !has_name(a, keyring_name(b, i)))
			return false;
	return true;
}

/* "RSA" of "RSA 2048": a larger key is of the same kind. */
static struct span kind_of(const struct keyring_about *about)
{
	const uint8_t *blank = about->kind.n ? memchr(about->kind.p, ' ', about->kind.n) : NULL;

	return span_of(about->kind.p, blank ? (size_t)(blank - about->kind.p) : about->kind.n);
}

static bool for_the_same(const struct keyring_about *a, const struct keyring_about *b)
{
	return same(kind_of(a), kind_of(b)) && same_names(a, b);
}

static bool is_the_same(const struct keyring_about *a, const struct keyring_about *b)
{
	return a->until_s == b->until_s && same(a->digest, b->digest) && for_the_same(a, b);
}

static bool is_among(const struct keyring_about *about, struct span chains)
{
	struct keyring_reader r = { chains };
	struct keyring_about each;

	while (keyring_next_about(&r, &each))
		if (is_the_same(about, &each))
			return true;
	return false;
}

static void say_time(char out[40], int64_t at_s)
{
	time_t at = (time_t)at_s;
	struct tm tm;

	snprintf(out, 40, "?");
	if (gmtime_r(&at, &tm))
		strftime(out, 40, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void say(char why[RENEWAL_WHY], const struct keyring_about *about, const char *what,
		const char *than)
{
	char until[40];

	say_time(until, about->until_s);
	snprintf(why, RENEWAL_WHY, "%.*s: %s %s%s; a reload takes it all the same",
		 (int)about->file.n, (const char *)about->file.p, what, until, than);
}

/* The one in IN_USE for the same names and kind of key that ends last, after ABOUT does. */
static bool ends_sooner(const struct keyring_about *about, struct span in_use, int64_t *last_s)
{
	struct keyring_reader r = { in_use };
	struct keyring_about each;

	*last_s = about->until_s;
	while (keyring_next_about(&r, &each))
		if (each.until_s > *last_s && for_the_same(about, &each))
			*last_s = each.until_s;
	return *last_s > about->until_s;
}

static bool may_be_taken(const struct keyring_about *about, struct span in_use, int64_t now_s,
			 char why[RENEWAL_WHY])
{
	char than[96], last[40];
	int64_t last_s;

	if (is_among(about, in_use))
		return true;
	if (about->until_s <= now_s) {
		say(why, about, "has ended", "");
		return false;
	}
	if (!ends_sooner(about, in_use, &last_s))
		return true;
	say_time(last, last_s);
	snprintf(than, sizeof(than), ", before the one in use, which ends %s", last);
	say(why, about, "ends", than);
	return false;
}

/* Whether its file, or another one for the same, is still there. */
static bool has_successor(const struct keyring_about *about, struct span next)
{
	struct keyring_reader r = { next };
	struct keyring_about each;

	while (keyring_next_about(&r, &each))
		if (same(about->file, each.file) || for_the_same(about, &each))
			return true;
	return false;
}

bool renewal_fits(struct span in_use, struct span next, int64_t now_s, char why[RENEWAL_WHY])
{
	struct keyring_reader r = { next };
	struct keyring_about about;

	while (keyring_next_about(&r, &about))
		if (!may_be_taken(&about, in_use, now_s, why))
			return false;
	r = (struct keyring_reader){ in_use };
	while (keyring_next_about(&r, &about)) {
		if (has_successor(&about, next))
			continue;
		snprintf(why, RENEWAL_WHY,
			 "%.*s: is not there any more, and its certificate is in use: nothing is "
			 "renewed until a reload, which goes on without it",
			 (int)about.file.n, (const char *)about.file.p);
		return false;
	}
	return true;
}

/* ---- in words ---- */

/* A list that is being written: add_words() keeps room in OUT for the number of the rest. */
struct words {
	char *out;
	size_t used;
	unsigned more; /* that did not fit */
};

static void add_words(struct words *w, const struct keyring_about *about, const char *how)
{
	size_t room = RENEWAL_WORDS - sizeof(" and 1000 more") - w->used;
	struct span name = keyring_name(about, 0);
	int n = snprintf(w->out + w->used, room, "%s%.*s (%.*s%s)", w->used ? ", " : "",
			 (int)name.n, (const char *)name.p, (int)about->kind.n,
			 (const char *)about->kind.p, how);

	if (w->more == 0 && n >= 0 && (size_t)n < room)
		w->used += (size_t)n;
	else
		w->more++;
	w->out[w->used] = '\0';
}

/* The one of CHAINS that is for the same as this. */
static bool find(const struct keyring_about *about, struct span chains, struct keyring_about *found)
{
	struct keyring_reader r = { chains };

	while (keyring_next_about(&r, found))
		if (for_the_same(about, found))
			return true;
	return false;
}

void renewal_words(struct span before, struct span now, char out[RENEWAL_WORDS])
{
	struct words w = { .out = out };
	struct keyring_about about, other;
	struct keyring_reader r = { now };

	*out = '\0';
	while (keyring_next_about(&r, &about)) {
		if (is_among(&about, before))
			continue;
		if (!find(&about, before, &other))
			add_words(&w, &about, ", new");
		else
			add_words(&w, &about,
				  same(about.digest, other.digest) ? "" : ", another key");
	}
	r = (struct keyring_reader){ before };
	while (keyring_next_about(&r, &about))
		if (!find(&about, now, &other))
			add_words(&w, &about, ", gone");
	if (w.more)
		snprintf(out + w.used, RENEWAL_WORDS - w.used, " and %u more", w.more);
}
