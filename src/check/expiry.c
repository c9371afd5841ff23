/* SPDX-License-Identifier: ISC */
/* expiry: see expiry.h. */
#include "check/expiry.h"

#include <stdio.h>
#include <time.h>

#define DAY 86400

static const int64_t left[] = {
	[EXPIRY_21_DAYS] = 21 * DAY,
	[EXPIRY_7_DAYS] = 7 * DAY,
	[EXPIRY_1_DAY] = DAY,
	[EXPIRY_OVER] = 0,
};

static bool is_step_of(const struct keyring_about *about, enum expiry e)
{
	return 3 * left[e] <= about->until_s - about->from_s;
}

enum expiry expiry_of(const struct keyring_about *about, int64_t now_s)
{
	int64_t left_s = about->until_s - now_s;
	enum expiry e = EXPIRY_FAR;

	if (left_s <= 0)
		return EXPIRY_OVER;
	while (e + 1 < EXPIRY_OVER && left_s <= left[e + 1])
		e++;
	return e > EXPIRY_FAR && is_step_of(about, e) ? e : EXPIRY_FAR;
}

int64_t expiry_next_s(const struct keyring_about *about, enum expiry now)
{
	enum expiry e = now + 1;

	while (e < EXPIRY_OVER && !is_step_of(about, e))
		e++;
	return left[e];
}

/* "6 days", to the nearest; less than two of them in hours, and so on. */
static void say_span(char *out, size_t cap, int64_t s)
{
	static const struct {
		int64_t s;
		const char *name;
	} units[] = { { DAY, "days" }, { 3600, "hours" }, { 60, "minutes" }, { 1, "seconds" } };
	size_t i = 0;

	while (i < 3 && s < 2 * units[i].s)
		i++;
	snprintf(out, cap, "%lld %s", (long long)((s + units[i].s / 2) / units[i].s),
		 units[i].name);
}

void expiry_words(const struct keyring_about *about, int64_t now_s, char out[EXPIRY_WORDS])
{
	struct span name = keyring_name(about, 0);
	unsigned more = keyring_name_count(about) - 1;
	int64_t left_s = about->until_s - now_s;
	time_t until = (time_t)about->until_s;
	char span[48], others[48] = "", when[40] = "?";
	struct tm tm;

	say_span(span, sizeof(span), left_s > 0 ? left_s : -left_s);
	if (more > 0)
		snprintf(others, sizeof(others), " (and %u name%s more)", more,
			 more == 1 ? "" : "s");
	if (gmtime_r(&until, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	snprintf(out, EXPIRY_WORDS, "%.*s%s, %.*s: %s%s%s, %s; renew it", (int)name.n,
		 (const char *)name.p, others, (int)about->file.n, (const char *)about->file.p,
		 left_s > 0 ? "ends in " : "has ended ", span, left_s > 0 ? "" : " ago", when);
}
