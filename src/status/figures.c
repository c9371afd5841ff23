/* SPDX-License-Identifier: ISC */
/* figures: see figures.h. Here: the readings of the last minute, and the JSON document. */
#include "status/figures.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "check/expiry.h"
#include "check/version.h"
#include "route/busy.h"
#include "route/options.h"
#include "route/shared.h"
#include "status/figures_names.h"
#include "tls/keyring.h"

/* ---- readings ---- */

static struct stats_sum *make_sum(const struct figures *f)
{
	return calloc(1, stats_sum_room(f->rt->route->count));
}

static uint64_t clock_us(void)
{
	struct timespec clock = { 0 };

	clock_gettime(CLOCK_REALTIME, &clock);
	return (uint64_t)clock.tv_sec * 1000000 + (uint64_t)clock.tv_nsec / 1000;
}

/* The first minute of a daemon is all that it has done, however late this process looks. */
static void begin_at_start(struct figures *f, uint64_t now_ms)
{
	uint64_t now_us = clock_us(), started_us = f->rt->stats->started_us;
	uint64_t up_ms = now_us > started_us ? (now_us - started_us) / 1000 : 0;

	if (up_ms >= FIGURES_STEP_MS * (FIGURES_READINGS - 1) || up_ms > now_ms)
		return;
	f->past[0].at_ms = now_ms - up_ms; /* when there was nothing yet */
	f->kept = f->next = 1;
}

int figures_init(struct figures *f, const struct runtime *rt, uint64_t now_ms)
{
	*f = (struct figures){ .rt = rt };
	f->now = make_sum(f);
	if (!f->now)
		return -ENOMEM;
	for (unsigned i = 0; i < FIGURES_READINGS; i++) {
		f->past[i].sum = make_sum(f);
		if (!f->past[i].sum) {
			figures_free(f);
			return -ENOMEM;
		}
	}
	begin_at_start(f, now_ms);
	figures_keep(f, now_ms);
	return 0;
}

void figures_free(struct figures *f)
{
	free(f->now);
	for (unsigned i = 0; i < FIGURES_READINGS; i++)
		free(f->past[i].sum);
}

/* Notices records that were lost. */
static void see_dropped(struct figures *f, uint64_t now_ms)
{
	uint64_t dropped = figures_log_dropped(f->rt);

	if (dropped != f->dropped)
		f->dropped_ms = now_ms;
	f->dropped = dropped;
}

unsigned figures_keep(struct figures *f, uint64_t now_ms)
{
	unsigned last = (f->next + FIGURES_READINGS - 1) % FIGURES_READINGS;
	uint64_t due = f->kept ? f->past[last].at_ms + FIGURES_STEP_MS : 0;

	if (now_ms < due)
		return (unsigned)(due - now_ms);
	see_dropped(f, now_ms);
	f->past[f->next].at_ms = now_ms;
	stats_sum_slots(f->rt->stats, f->past[f->next].sum, f->rt->slot, f->rt->route->count);
	f->next = (f->next + 1) % FIGURES_READINGS;
	if (f->kept < FIGURES_READINGS)
		f->kept++;
	return FIGURES_STEP_MS;
}

/* ---- disks ---- */

static void see_disk(struct figures_disk *disk, const char *name, const char *path)
{
	struct statvfs st;

	*disk = (struct figures_disk){ .name = name };
	if (statvfs(path, &st) != 0)
		return;
	disk->free = (uint64_t)st.f_bavail * st.f_frsize;
	disk->size = (uint64_t)st.f_blocks * st.f_frsize;
}

unsigned figures_disks(const struct runtime *rt, struct figures_disk out[FIGURES_DISKS])
{
	const struct settings *set = &rt->config->set;

	if (set->log_level == 0 || strcmp(set->log_file, "-") == 0)
		return 0;
	see_disk(&out[0], "log", set->log_file);
	if (!set->log_rotate_mib && !set->log_rotate_hours)
		return 1;
	see_disk(&out[1], "archive", set->log_archive_dir);
	return 2;
}

/* ---- JSON ---- */

static void put_span(FILE *out, struct span text)
{
	putc('"', out);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = text.p[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ')
			fprintf(out, "\\u%04x", c);
		else if (c > '~')
			putc('?', out); /* what a destination says is not always UTF-8 */
		else
			putc(c, out);
	}
	putc('"', out);
}

static void put_text(FILE *out, const char *text)
{
	put_span(out, span_str(text));
}

static void put_time(FILE *out, const char *name, uint64_t us)
{
	time_t seconds = (time_t)(us / 1000000);
	char text[32];
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
		text[0] = '\0';
	fprintf(out, "\"%s\":\"%s.%06uZ\"", name, text, (unsigned)(us % 1000000));
}

/* "NAME":{"a":1,"b":2} of counters that have names; the RENAMED first one counts as another. */
static void put_counts(FILE *out, const char *name, const uint64_t *counts, unsigned from,
		       unsigned to, const char *(*name_of)(unsigned i))
{
	fprintf(out, "\"%s\":{", name);
	for (unsigned i = from; i < to; i++)
		fprintf(out, "%s\"%s\":%" PRIu64, i > from ? "," : "", name_of(i), counts[i]);
	putc('}', out);
}

static void put_times(FILE *out, const struct stats_times *times)
{
	fputs("\"latency\":{", out);
	for (unsigned i = 0; i < STATS_TIMES; i++) {
		uint64_t n = stats_times_count(&times[i]);

		fprintf(out, "%s\"%s\":{\"count\":%" PRIu64, i ? "," : "", figures_time_name(i), n);
		if (n)
			fprintf(out, ",\"p50\":%.6f,\"p99\":%.6f",
				(double)stats_times_quantile(&times[i], 50) / 1e6,
				(double)stats_times_quantile(&times[i], 99) / 1e6);
		putc('}', out);
	}
	putc('}', out);
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
	return seconds > 0 ? (double)(now - before) / seconds : 0;
}

static uint64_t total(const uint64_t *counts, unsigned from, unsigned to)
{
	uint64_t sum = 0;

	while (from < to)
		sum += counts[from++];
	return sum;
}

static void put_rates(FILE *out, const struct stats_sum *now, const struct stats_sum *before,
		      double seconds)
{
	fprintf(out,
		"\"rates\":{\"seconds\":%.3f,\"sessions\":%.3f,\"messages\":%.3f,\"octets\":%.3f,"
		"\"refusals\":%.3f}",
		seconds, rate(now->sessions, before->sessions, seconds),
		rate(now->messages[STATS_ACCEPTED], before->messages[STATS_ACCEPTED], seconds),
		rate(now->octets, before->octets, seconds),
		rate(total(now->recipients, POLICY_RELAYING_DENIED, STATS_RULES),
		     total(before->recipients, POLICY_RELAYING_DENIED, STATS_RULES), seconds));
}

/* What it said, and for how long it has been busy. */
static void put_busy(FILE *out, const struct runtime *rt, unsigned i, uint64_t now_ms)
{
	uint64_t since_ms = route_busy_since(rt->route_shared, i);
	char words[ROUTE_WORDS_MAX];

	route_busy_words(rt->route_shared, i, words);
	fputs(",\"said\":", out);
	put_text(out, words);
	fprintf(out, ",\"busy_seconds\":%.3f",
		now_ms > since_ms && since_ms ? (double)(now_ms - since_ms) / 1000 : 0.0);
}

static void put_destination(FILE *out, const struct runtime *rt, unsigned i,
			    const struct stats_destination_sum *d, uint64_t refused_before,
			    uint64_t now_ms)
{
	const struct route_destination *r = &rt->route->destination[i];
	enum route_health health = route_health(rt->route_shared, i);

	fputs("{\"name\":", out);
	put_text(out, r->name);
	if (health == ROUTE_BUSY)
		put_busy(out, rt, i, now_ms);
	fprintf(out,
		",\"state\":\"%s\",\"drained\":%s,\"open\":%u,\"weight\":%u,\"max\":%u,\"total\":%" PRIu64
		",\"failures\":%" PRIu64 ",\"refused_greetings\":%" PRIu64 ",\"messages\":%" PRIu64
		",\"octets\":%" PRIu64 ",",
		route_health_name(health), route_drained(rt->route_shared, i) ? "true" : "false",
		seats_of_destination(rt->seats, rt->slot[i]), r->weight, r->max, d->sessions,
		d->failures, d->refused_greetings, d->messages, d->octets);
	fprintf(out, "\"identity\":\"%s\",", route_identity_name(r->identity));
	if (r->secure.tls != ROUTE_TLS_NONE)
		fprintf(out, "\"insecure\":%s,",
			route_insecure(rt->route_shared, i) ? "true" : "false");
	if (r->identity != ROUTE_IDENTITY_NONE)
		fprintf(out, "\"unidentified\":%s,",
			route_unidentified(rt->route_shared, i) ? "true" : "false");
	fprintf(out, "\"refused_in_minute\":%" PRIu64 ",", d->refused_greetings - refused_before);
	put_times(out, d->time); /* of the last minute by now */
	putc('}', out);
}

/* All destinations; what they took in the last minute is added up in ALL. */
static void put_destinations(FILE *out, const struct runtime *rt, struct stats_sum *now,
			     const struct stats_sum *before, struct stats_times *all,
			     uint64_t now_ms)
{
	fputs("\"destinations\":[", out);
	for (unsigned i = 0; i < rt->route->count; i++) {
		struct stats_destination_sum *d = &now->destination[i];

		for (unsigned t = 0; t < STATS_TIMES; t++) {
			stats_times_since(&d->time[t], &before->destination[i].time[t]);
			stats_times_add(&all[t], &d->time[t]);
		}
		if (i)
			putc(',', out);
		put_destination(out, rt, i, d, before->destination[i].refused_greetings, now_ms);
	}
	putc(']', out);
}

static void put_worker(FILE *out, const struct stats_worker *w, unsigned i, unsigned before)
{
	fprintf(out,
		"%s{\"worker\":%u,\"pid\":%" PRIu64 ",\"open\":%" PRIu64 ",\"sessions\":%" PRIu64
		",\"starts\":%" PRIu64 ",",
		before ? "," : "", i, figures_get(&w->pid), figures_get(&w->open),
		figures_get(&w->sessions), figures_get(&w->starts));
	put_time(out, "started", figures_get(&w->started_us));
	putc('}', out);
}

static void put_certificate(FILE *out, const struct keyring_about *about, int64_t now_s)
{
	unsigned names = keyring_name_count(about);

	fputs("{\"names\":[", out);
	for (unsigned i = 0; i < names; i++) {
		if (i)
			putc(',', out);
		put_span(out, keyring_name(about, i));
	}
	fputs("],\"key\":", out);
	put_span(out, about->kind);
	fputs(",\"file\":", out);
	put_span(out, about->file);
	putc(',', out);
	put_time(out, "until", about->until_s > 0 ? (uint64_t)about->until_s * 1000000 : 0);
	fprintf(out, ",\"seconds_left\":%" PRId64 ",\"ends_soon\":%s,\"tlsa\":\"3 1 1 ",
		about->until_s - now_s, expiry_of(about, now_s) == EXPIRY_FAR ? "false" : "true");
	for (size_t i = 0; i < about->digest.n; i++)
		fprintf(out, "%02x", about->digest.p[i]);
	fputs("\"}", out);
}

/* In the order in which clients get them. */
static void put_certificates(FILE *out, const struct runtime *rt)
{
	struct keyring_reader r = { rt->version->chains };
	struct keyring_about about;
	int64_t now_s = (int64_t)time(NULL);
	const char *before = "";

	fputs("\"certificates\":[", out);
	for (; keyring_next_about(&r, &about); before = ",") {
		fputs(before, out);
		put_certificate(out, &about, now_s);
	}
	putc(']', out);
}

static void put_sessions(FILE *out, const struct runtime *rt, const struct stats_sum *sum)
{
	fprintf(out, "\"sessions\":{\"open\":%u,\"max\":%d,\"total\":%" PRIu64 ",",
		seats_sessions(rt->seats), rt->config->set.max_sessions, sum->sessions);
	put_counts(out, "turned_away", sum->turned_away, 0, STATS_LIMITS, figures_limit_name);
	putc(',', out);
	put_counts(out, "ends", sum->ends, END_RUNS + 1, STATS_ENDS, figures_end_name);
	fputs("},", out);
}

static void put_log(FILE *out, struct figures *f, uint64_t now_ms)
{
	struct figures_disk disk[FIGURES_DISKS];
	unsigned n = figures_disks(f->rt, disk);

	see_dropped(f, now_ms);
	fprintf(out, "\"log_dropped\":%" PRIu64 ",", f->dropped);
	if (f->dropped_ms)
		fprintf(out, "\"log_dropped_ago\":%.3f,", (double)(now_ms - f->dropped_ms) / 1e3);
	fputs("\"log_disk\":{", out);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "%s\"%s\":{\"free\":%" PRIu64 ",\"size\":%" PRIu64 "}", i ? "," : "",
			disk[i].name, disk[i].free, disk[i].size);
	fputs("},", out);
}

/* The last one, where there was one. */
static void put_reload(FILE *out, const struct runtime *rt)
{
	uint64_t us = figures_get(&rt->stats->reloaded_us);

	if (!us)
		return;
	fputs("\"reload\":{", out);
	put_time(out, "time", us);
	fprintf(out, ",\"success\":%s},", figures_get(&rt->stats->refused) ? "false" : "true");
}

/* What it is, and for how long. */
static void put_daemon(FILE *out, const struct runtime *rt)
{
	uint64_t us = clock_us();

	fprintf(out, "{\"version\":\"%s\",\"pid\":%d,\"engine\":\"%s\",", CARONTE_VERSION,
		(int)getppid(), figures_engine(rt));
	put_time(out, "started", rt->stats->started_us);
	putc(',', out);
	put_time(out, "time", us);
	fprintf(out, ",\"uptime\":%.3f,",
		us > rt->stats->started_us ? (double)(us - rt->stats->started_us) / 1e6 : 0.0);
	fprintf(out, "\"relay_guard\":%s,\"stress\":%s,\"kernel_tls\":%s,\"renewal_refused\":%s,",
		figures_guard(rt) ? "true" : "false", seats_stressed(rt->seats) ? "true" : "false",
		rt->kernel_tls ? "true" : "false",
		figures_get(&rt->stats->renewal_refused) ? "true" : "false");
}

void figures_json(struct figures *f, uint64_t now_ms, FILE *out)
{
	const struct runtime *rt = f->rt;
	unsigned oldest = (f->next + FIGURES_READINGS - f->kept) % FIGURES_READINGS;
	const struct stats_sum *before = f->past[oldest].sum;
	double seconds = (double)(now_ms - f->past[oldest].at_ms) / 1000;
	struct stats_times all[STATS_TIMES] = { 0 };
	struct stats_sum *now = f->now;

	stats_sum_slots(rt->stats, now, rt->slot, rt->route->count);
	put_daemon(out, rt);
	put_sessions(out, rt, now);
	put_counts(out, "messages", now->messages, 0, STATS_RESULTS, figures_result_name);
	fprintf(out, ",\"octets\":%" PRIu64 ",", now->octets);
	put_counts(out, "accepted", now->recipients, 0, POLICY_RELAYING_DENIED, figures_rule_name);
	putc(',', out);
	put_counts(out, "refused", now->recipients, POLICY_RELAYING_DENIED, STATS_RULES,
		   figures_rule_name);
	putc(',', out);
	put_counts(out, "replies", now->replies, 0, STATS_CLASSES, figures_class_name);
	putc(',', out);
	put_counts(out, "logins", now->logins, 0, 2, figures_login_name);
	putc(',', out);
	put_counts(out, "handshakes", now->handshakes, 0, STATS_HANDSHAKES, figures_handshake_name);
	putc(',', out);
	put_log(out, f, now_ms);
	put_reload(out, rt);
	put_rates(out, now, before, seconds);
	putc(',', out);
	put_destinations(out, rt, now, before, all, now_ms);
	putc(',', out);
	put_times(out, all);
	fputs(",\"workers\":[", out);
	for (unsigned i = 0, shown = 0; i < rt->slots; i++) {
		if (figures_worker(rt, i))
			put_worker(out, &rt->stats->worker[i], i, shown++);
	}
	fputs("],", out);
	put_certificates(out, rt);
	fputs("}\n", out);
}
