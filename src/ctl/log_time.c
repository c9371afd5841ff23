/* SPDX-License-Identifier: ISC */
/*
 * log_time: see log_time.h. ISO 8601 as far as it is used here; whatever is not exactly one of the
 * forms is refused, a 31st of February too, and not read as something near it.
 */
#include "ctl/log_time.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND	  INT64_C(1000000)
#define DAY	  (86400 * SECOND)
#define RELATIVE  9999999999 /* units at most, of any size */
#define YEAR_LOW  1900
#define YEAR_HIGH 9999

struct cursor {
	const char *p;
};

/* N digits, no more and no fewer. */
static bool take_digits(struct cursor *c, unsigned n, int *value)
{
	int v = 0;

	for (unsigned i = 0; i < n; i++) {
		if (c->p[i] < '0' || c->p[i] > '9')
			return false;
		v = v * 10 + (c->p[i] - '0');
	}
	if (c->p[n] >= '0' && c->p[n] <= '9')
		return false;
	c->p += n;
	*value = v;
	return true;
}

static bool take(struct cursor *c, char octet)
{
	if (*c->p != octet)
		return false;
	c->p++;
	return true;
}

static bool is_date(int year, int month, int day)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 || year % 400 == 0);

	return month >= 1 && month <= 12 && day >= 1 &&
	       day <= days[month - 1] + (month == 2 && leap);
}

static bool take_date(struct cursor *c, struct tm *tm)
{
	if (!take_digits(c, 4, &tm->tm_year) || !take(c, '-') || !take_digits(c, 2, &tm->tm_mon) ||
	    !take(c, '-') || !take_digits(c, 2, &tm->tm_mday))
		return false;
	if (tm->tm_year < YEAR_LOW || !is_date(tm->tm_year, tm->tm_mon, tm->tm_mday))
		return false;
	tm->tm_year -= 1900;
	tm->tm_mon--;
	return true;
}

/* HH:MM[:SS[.fraction]]; of the fraction, microseconds. */
static bool take_clock(struct cursor *c, struct tm *tm, int64_t *fraction)
{
	int64_t unit = SECOND;

	*fraction = 0;
	if (!take_digits(c, 2, &tm->tm_hour) || !take(c, ':') || !take_digits(c, 2, &tm->tm_min))
		return false;
	if (tm->tm_hour > 23 || tm->tm_min > 59)
		return false;
	if (!take(c, ':'))
		return true;
	if (!take_digits(c, 2, &tm->tm_sec) || tm->tm_sec > 60)
		return false;
	if (!take(c, '.'))
		return true;
	if (*c->p < '0' || *c->p > '9')
		return false;
	for (; *c->p >= '0' && *c->p <= '9'; c->p++) {
		unit /= 10;
		*fraction += (*c->p - '0') * unit;
	}
	return true;
}

/* Z, +HH, +HHMM or +HH:MM. *GIVEN: there was one. */
static bool take_zone(struct cursor *c, bool *given, int64_t *east_s)
{
	int sign = *c->p == '-' ? -1 : 1, hours = 0, minutes = 0;

	*given = true;
	*east_s = 0;
	if (take(c, 'Z') || take(c, 'z'))
		return true;
	if (!take(c, '+') && !take(c, '-')) {
		*given = false;
		return true;
	}
	if (strspn(c->p, "0123456789") == 4) {
		if (!take_digits(c, 4, &hours))
			return false;
		minutes = hours % 100;
		hours /= 100;
	} else if (!take_digits(c, 2, &hours) || (take(c, ':') && !take_digits(c, 2, &minutes))) {
		return false;
	}
	*east_s = sign * (hours * 3600 + minutes * 60);
	return hours <= 14 && minutes <= 59;
}

/* Days since 1970 of a date in the Gregorian calendar: years begin in March, so that the leap day
 * is their last. (timegm() takes longer than parsing the record.) */
static int64_t days_of(int year, int month, int day)
{
	int64_t y = year - (month <= 2), m = month > 2 ? month - 3 : month + 9;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

/* TM in its zone as seconds since 1970. */
static int64_t seconds_of(struct tm tm, bool local)
{
	tm.tm_isdst = -1;
	if (local)
		return mktime(&tm);
	return days_of(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday) * 86400 + tm.tm_hour * 3600 +
	       tm.tm_min * 60 + tm.tm_sec;
}

static void broken_down(int64_t us, bool local, struct tm *tm)
{
	/* Towards the past also before 1970. */
	time_t s = (time_t)(us / SECOND - (us % SECOND < 0));

	if (!(local ? localtime_r(&s, tm) : gmtime_r(&s, tm)))
		*tm = (struct tm){ 0 };
}

static bool parse_iso(struct cursor c, bool local, int64_t *us)
{
	struct tm tm = { 0 };
	int64_t fraction = 0, east_s;
	bool given = false;

	if (!take_date(&c, &tm))
		return false;
	if (*c.p &&
	    (!(take(&c, 'T') || take(&c, 't') || take(&c, ' ')) || !take_clock(&c, &tm, &fraction)))
		return false;
	if (!take_zone(&c, &given, &east_s) || *c.p)
		return false;
	*us = (seconds_of(tm, local && !given) - east_s) * SECOND + fraction;
	return true;
}

/* Midnight of the day in which US is. */
static int64_t midnight(int64_t us, bool local)
{
	struct tm tm;

	broken_down(us, local, &tm);
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	return seconds_of(tm, local) * SECOND;
}

static bool parse_clock(struct cursor c, int64_t now_us, bool local, int64_t *us)
{
	struct tm tm, clock = { 0 };
	int64_t fraction;

	if (!take_clock(&c, &clock, &fraction) || *c.p)
		return false;
	broken_down(now_us, local, &tm);
	tm.tm_hour = clock.tm_hour;
	tm.tm_min = clock.tm_min;
	tm.tm_sec = clock.tm_sec;
	*us = seconds_of(tm, local) * SECOND + fraction;
	return true;
}

static bool parse_relative(const char *p, int64_t now_us, int64_t *us)
{
	static const char units[] = "smhdw";
	static const int64_t seconds[] = { 1, 60, 3600, 86400, 604800 };
	int64_t back_s = 0;

	if (!*p)
		return false;
	while (*p) {
		int64_t n = 0;
		const char *unit, *start = p;

		for (; *p >= '0' && *p <= '9' && n <= RELATIVE; p++)
			n = n * 10 + (*p - '0');
		unit = *p ? strchr(units, *p) : NULL;
		if (p == start || n > RELATIVE || !unit)
			return false;
		back_s += n * seconds[unit - units];
		/* Centuries: beyond any log, and within what the sums can hold. */
		if (back_s > RELATIVE)
			return false;
		p++;
	}
	*us = now_us - back_s * SECOND;
	return true;
}

bool log_time_parse(const char *text, int64_t now_us, bool local, int64_t *us)
{
	if (strcmp(text, "now") == 0) {
		*us = now_us;
		return true;
	}
	if (strcmp(text, "today") == 0 || strcmp(text, "yesterday") == 0) {
		*us = midnight(now_us, local);
		/* By the calendar: a day may have 23 hours. */
		if (*text == 'y')
			*us = midnight(*us - DAY / 2, local);
		return true;
	}
	if (*text == '-')
		return parse_relative(text + 1, now_us, us);
	if (strlen(text) > 2 && text[2] == ':')
		return parse_clock((struct cursor){ text }, now_us, local, us);
	return parse_iso((struct cursor){ text }, local, us);
}

bool log_time_record(struct span text, int64_t *us)
{
	char copy[64];

	if (text.n >= sizeof(copy) || text.n < 20 || memchr(text.p, '\0', text.n))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	return parse_iso((struct cursor){ copy }, false, us);
}

bool log_time_text(int64_t us, bool local, char *out)
{
	int64_t fraction = (us % SECOND + SECOND) % SECOND;
	struct tm tm;
	int year;

	broken_down(us, local, &tm);
	year = tm.tm_year + 1900;
	if (year < 1000 || year > YEAR_HIGH)
		return false;
	return snprintf(out, LOG_TIME_TEXT, "%04d-%02d-%02d %02d:%02d:%02d.%03d", year,
			tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
			(int)(fraction / 1000)) == LOG_TIME_TEXT - 1;
}
