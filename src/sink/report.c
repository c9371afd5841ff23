/* SPDX-License-Identifier: ISC */
/*
 * report: the counters, added up over the workers, as JSON for programs and as a line for people.
 * A report appears whole (written beside, then renamed). One that cannot be written is said on
 * standard error.
 */
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "sink/inner.h"

uint64_t sink_clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static const struct field {
	const char *name;
	size_t at;
} fields[] = {
#define FIELD(f)                                                                                   \
	{                                                                                          \
#f, offsetof(struct sink_stats, f)                                                 \
	}
	FIELD(connections),	FIELD(turned_away), FIELD(lost),   FIELD(commands),
	FIELD(refusals),	FIELD(messages),    FIELD(octets), FIELD(refused_messages),
	FIELD(broken_messages), FIELD(received),    FIELD(logins), FIELD(failed_logins),
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static uint64_t sum(const struct sink_shared *sh, size_t at)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < SINK_WORKERS_MAX; i++)
		n += *(const uint64_t *)((const char *)&sh->stats[i] + at);
	return n;
}

/* Seconds between the first and the last message. */
static double busy_seconds(const struct sink_shared *sh)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (unsigned i = 0; i < SINK_WORKERS_MAX; i++) {
		const struct sink_stats *st = &sh->stats[i];

		if (!st->first_us)
			continue;
		first = st->first_us < first ? st->first_us : first;
		last = st->last_us > last ? st->last_us : last;
	}
	return last > first ? (double)(last - first) / 1e6 : 0;
}

static double seconds_of(clockid_t clock)
{
	struct timespec t;

	return clock_gettime(clock, &t) == 0 ? (double)t.tv_sec + (double)t.tv_nsec / 1e9 : 0;
}

/* Processor time of this process, of workers that have ended, and of those that run. */
static double cpu_seconds(const pid_t *workers)
{
	struct rusage ended;
	clockid_t clock;
	double s = seconds_of(CLOCK_PROCESS_CPUTIME_ID);

	if (getrusage(RUSAGE_CHILDREN, &ended) == 0)
		s += (double)(ended.ru_utime.tv_sec + ended.ru_stime.tv_sec) +
		     (double)(ended.ru_utime.tv_usec + ended.ru_stime.tv_usec) / 1e6;
	for (; workers && *workers; workers++)
		if (clock_getcpuclockid(*workers, &clock) == 0)
			s += seconds_of(clock);
	return s;
}

static void write_digests(const struct sink_shared *sh, FILE *f)
{
	uint64_t count = atomic_load(&sh->digest_count);
	const char *before = "";

	fprintf(f, ",\n \"digests\": [");
	for (uint64_t i = 0; i < count && i < SINK_DIGESTS_MAX; i++) {
		const struct sink_digest *d = &sh->digests[i];

		if (!atomic_load(&d->ready))
			continue;
		fprintf(f,
			"%s\n  {\"connection\": %llu, \"message\": %llu, \"octets\": %llu, \"sha256\": \"",
			before, (unsigned long long)d->connection, (unsigned long long)d->message,
			(unsigned long long)d->octets);
		for (size_t b = 0; b < sizeof(d->sha256); b++)
			fprintf(f, "%02x", d->sha256[b]);
		fprintf(f, "\"}");
		before = ",";
	}
	fprintf(f, "],\n \"digests_dropped\": %llu",
		(unsigned long long)(count > SINK_DIGESTS_MAX ? count - SINK_DIGESTS_MAX : 0));
}

static void write_json(const struct sink_shared *sh, const pid_t *workers, FILE *f)
{
	fprintf(f, "{");
	for (size_t i = 0; i < FIELDS; i++)
		fprintf(f, "\"%s\": %llu, ", fields[i].name,
			(unsigned long long)sum(sh, fields[i].at));
	fprintf(f, "\"open\": %u, \"peak\": %u, ", atomic_load(&sh->open), atomic_load(&sh->peak));
	fprintf(f, "\"seconds\": %.6f, \"busy_seconds\": %.6f, \"cpu_seconds\": %.6f",
		(double)(sink_clock_us() - sh->began_us) / 1e6, busy_seconds(sh),
		cpu_seconds(workers));
	write_digests(sh, f);
	fprintf(f, "}\n");
}

/* The file that PATH is made of, by renaming. False: said. */
static bool name_beside(const char *path, char *out, size_t cap)
{
	if (snprintf(out, cap, "%s.part", path) < (int)cap)
		return true;
	warnx("%s: name too long", path);
	return false;
}

bool sink_report_possible(const char *path)
{
	char beside[PATH_MAX];
	FILE *f;

	if (strcmp(path, "-") == 0)
		return true;
	if (!name_beside(path, beside, sizeof(beside)))
		return false;
	f = fopen(beside, "we");
	if (!f) {
		warn("%s", beside);
		return false;
	}
	fclose(f);
	unlink(beside);
	return true;
}

bool sink_report_write(const struct sink_shared *sh, const char *path, const pid_t *workers)
{
	char beside[PATH_MAX];
	FILE *f;
	bool bad;

	if (strcmp(path, "-") == 0) {
		write_json(sh, workers, stdout);
		return diag_end_output(0) == 0;
	}
	if (!name_beside(path, beside, sizeof(beside)))
		return false;
	f = fopen(beside, "we");
	if (!f) {
		warn("%s", beside);
		return false;
	}
	write_json(sh, workers, f);
	bad = ferror(f) != 0;
	if (fclose(f) == 0 && !bad && rename(beside, path) == 0)
		return true;
	warn("%s", path);
	return false;
}

void sink_report_say(const struct sink_shared *sh)
{
	fprintf(stderr,
		"caronte-sink: %llu connections, %llu messages, %llu octets, %llu refusals, "
		"%llu lost connections\n",
		(unsigned long long)sum(sh, offsetof(struct sink_stats, connections)),
		(unsigned long long)sum(sh, offsetof(struct sink_stats, messages)),
		(unsigned long long)sum(sh, offsetof(struct sink_stats, octets)),
		(unsigned long long)sum(sh, offsetof(struct sink_stats, refusals)),
		(unsigned long long)sum(sh, offsetof(struct sink_stats, lost)));
}
