/* SPDX-License-Identifier: ISC */
/*
 * figures_metrics: the figures for Prometheus (exposition format 0.0.4: HELP and TYPE before the
 * samples of a family, base units, counters end in _total, times in _seconds). What a label means
 * is the same in all families, and its words are the log's where the log has them. Names once
 * published stay.
 */
#include "status/figures.h"

#include <inttypes.h>
#include <time.h>

#include "check/version.h"
#include "route/shared.h"
#include "status/figures_names.h"
#include "tls/keyring.h"

/* Bounds of the histograms: the powers of two from 256 microseconds to 67 seconds. */
#define FIRST_BOUND_LOG 8
#define LAST_BOUND_LOG	26

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP caronte_%s %s\n# TYPE caronte_%s %s\n", name, help, name, type);
}

static void counter(FILE *out, const char *name, const char *help, uint64_t n)
{
	family(out, name, "counter", help);
	fprintf(out, "caronte_%s %" PRIu64 "\n", name, n);
}

static void gauge(FILE *out, const char *name, const char *help, double value)
{
	family(out, name, "gauge", help);
	fprintf(out, "caronte_%s %.15g\n", name, value);
}

/* A sample for each of some counters that have names. */
static void counters(FILE *out, const char *name, const char *label, const uint64_t *counts,
		     unsigned from, unsigned to, const char *(*name_of)(unsigned i))
{
	for (unsigned i = from; i < to; i++)
		fprintf(out, "caronte_%s{%s=\"%s\"} %" PRIu64 "\n", name, label, name_of(i),
			counts[i]);
}

static void recipients(FILE *out, const struct stats_sum *sum)
{
	family(out, "recipients_total", "counter", "Recipients judged, by the rule that decided.");
	for (unsigned i = 0; i < STATS_RULES; i++)
		fprintf(out, "caronte_recipients_total{verdict=\"%s\",rule=\"%s\"} %" PRIu64 "\n",
			i < POLICY_RELAYING_DENIED ? "accept" : "refuse", figures_rule_name(i),
			sum->recipients[i]);
}

static void sessions(FILE *out, const struct runtime *rt, const struct stats_sum *sum)
{
	gauge(out, "sessions_open", "Sessions that are open now.", seats_sessions(rt->seats));
	gauge(out, "sessions_max", "MAX_SESSIONS.", rt->config->set.max_sessions);
	counter(out, "sessions_total", "Sessions served.", sum->sessions);
	family(out, "turned_away_total", "counter", "Connections refused at a limit.");
	counters(out, "turned_away_total", "limit", sum->turned_away, 0, STATS_LIMITS,
		 figures_limit_name);
	family(out, "session_ends_total", "counter",
	       "Sessions ended, by reason; those that were turned away too.");
	counters(out, "session_ends_total", "end", sum->ends, END_RUNS + 1, STATS_ENDS,
		 figures_end_name);
}

static void messages(FILE *out, const struct stats_sum *sum)
{
	family(out, "messages_total", "counter", "Messages, by what their client was told.");
	counters(out, "messages_total", "result", sum->messages, 0, STATS_RESULTS,
		 figures_result_name);
	counter(out, "message_bytes_total",
		"Octets of message bodies sent on, with the line that ends each.", sum->octets);
	recipients(out, sum);
	family(out, "replies_total", "counter", "Replies to clients, by their first digit.");
	counters(out, "replies_total", "class", sum->replies, 0, STATS_CLASSES, figures_class_name);
	family(out, "logins_total", "counter", "Attempts to log in.");
	counters(out, "logins_total", "verdict", sum->logins, 0, 2, figures_login_name);
	family(out, "handshakes_total", "counter", "TLS handshakes with clients.");
	counters(out, "handshakes_total", "result", sum->handshakes, 0, STATS_HANDSHAKES,
		 figures_handshake_name);
}

/* Names of destinations hold nothing that a label would have to escape: route_parse() sees to it.
 */
static void of_destination(FILE *out, const struct runtime *rt, unsigned i, const char *name)
{
	fprintf(out, "caronte_destination_%s{destination=\"%s\"} ", name,
		rt->route->destination[i].name);
}

static void destination_states(FILE *out, const struct runtime *rt)
{
	unsigned n = rt->route->count;

	family(out, "destination_up", "gauge", "1 unless the destination is set aside.");
	for (unsigned i = 0; i < n; i++) {
		of_destination(out, rt, i, "up");
		fprintf(out, "%d\n", route_up(rt->route_shared, i));
	}
	family(out, "destination_busy", "gauge", "1 while it greets with a refusal or worse.");
	for (unsigned i = 0; i < n; i++) {
		of_destination(out, rt, i, "busy");
		fprintf(out, "%d\n", route_health(rt->route_shared, i) == ROUTE_BUSY);
	}
	family(out, "destination_insecure", "gauge",
	       "1 while TLS cannot be had with one that must have it.");
	for (unsigned i = 0; i < n; i++) {
		of_destination(out, rt, i, "insecure");
		fprintf(out, "%d\n", route_insecure(rt->route_shared, i));
	}
	family(out, "destination_unidentified", "gauge",
	       "1 while clients cannot be told to one that has identity=.");
	for (unsigned i = 0; i < n; i++) {
		of_destination(out, rt, i, "unidentified");
		fprintf(out, "%d\n", route_unidentified(rt->route_shared, i));
	}
	family(out, "destination_drained", "gauge", "1 while it gets no new sessions.");
	for (unsigned i = 0; i < n; i++) {
		of_destination(out, rt, i, "drained");
		fprintf(out, "%d\n", route_drained(rt->route_shared, i));
	}
	family(out, "destination_sessions_open", "gauge", "Sessions that are open there now.");
	for (unsigned i = 0; i < n; i++) {
		of_destination(out, rt, i, "sessions_open");
		fprintf(out, "%u\n", seats_of_destination(rt->seats, rt->slot[i]));
	}
}

static void destination_counts(FILE *out, const struct runtime *rt, const struct stats_sum *sum)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} rows[] = {
		{ "sessions_total", "Sessions that were connected to it.",
		  offsetof(struct stats_destination_sum, sessions) },
		{ "failures_total", "Connections to it that failed.",
		  offsetof(struct stats_destination_sum, failures) },
		{ "refused_greetings_total", "Connections that it greeted with a refusal or worse.",
		  offsetof(struct stats_destination_sum, refused_greetings) },
		{ "messages_total", "Messages that it accepted.",
		  offsetof(struct stats_destination_sum, messages) },
		{ "message_bytes_total", "Octets of messages sent to it.",
		  offsetof(struct stats_destination_sum, octets) },
	};
	char name[64];

	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		snprintf(name, sizeof(name), "destination_%s", rows[r].name);
		family(out, name, "counter", rows[r].help);
		for (unsigned i = 0; i < rt->route->count; i++) {
			const char *d = (const char *)&sum->destination[i];

			of_destination(out, rt, i, rows[r].name);
			fprintf(out, "%" PRIu64 "\n", *(const uint64_t *)(d + rows[r].offset));
		}
	}
}

static void histogram(FILE *out, const char *name, const char *destination,
		      const struct stats_times *t)
{
	uint64_t seen = 0;
	unsigned b = 0;

	for (unsigned log = FIRST_BOUND_LOG; log <= LAST_BOUND_LOG; log++) {
		uint64_t bound = UINT64_C(1) << log;

		while (stats_bucket_end(b) <= bound)
			seen += t->bucket[b++];
		fprintf(out, "caronte_%s_bucket{destination=\"%s\",le=\"%.6f\"} %" PRIu64 "\n",
			name, destination, (double)bound / 1e6, seen);
	}
	seen = stats_times_count(t);
	fprintf(out, "caronte_%s_bucket{destination=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name,
		destination, seen);
	fprintf(out, "caronte_%s_sum{destination=\"%s\"} %.6f\n", name, destination,
		(double)t->sum_us / 1e6);
	fprintf(out, "caronte_%s_count{destination=\"%s\"} %" PRIu64 "\n", name, destination, seen);
}

static void latencies(FILE *out, const struct runtime *rt, const struct stats_sum *sum)
{
	static const struct {
		const char *name, *help;
	} rows[] = {
		[STATS_CONNECT] = { "connect_duration_seconds",
				    "Time to connect to the destination." },
		[STATS_REPLY] = { "reply_duration_seconds",
				  "Time from the end of data to the destination's answer." },
		[STATS_MESSAGE] = { "message_duration_seconds",
				    "Time from MAIL to the answer to the end of data." },
	};

	for (unsigned r = 0; r < STATS_TIMES; r++) {
		family(out, rows[r].name, "histogram", rows[r].help);
		for (unsigned i = 0; i < rt->route->count; i++)
			histogram(out, rows[r].name, rt->route->destination[i].name,
				  &sum->destination[i].time[r]);
	}
}

static void disks(FILE *out, const struct runtime *rt)
{
	struct figures_disk disk[FIGURES_DISKS];
	unsigned n = figures_disks(rt, disk);

	family(out, "log_disk_free_bytes", "gauge", "Room in the file system of the log's files.");
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "caronte_log_disk_free_bytes{files=\"%s\"} %" PRIu64 "\n",
			disk[i].name, disk[i].free);
	family(out, "log_disk_size_bytes", "gauge", "Its size.");
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "caronte_log_disk_size_bytes{files=\"%s\"} %" PRIu64 "\n",
			disk[i].name, disk[i].size);
}

/* Whether it is as its operator means it to be. */
static void settings(FILE *out, const struct runtime *rt)
{
	uint64_t us = figures_get(&rt->stats->reloaded_us);

	gauge(out, "relay_guard", "0 while everybody may relay.", figures_guard(rt));
	gauge(out, "stress", "1 while most of MAX_SESSIONS is in use.", seats_stressed(rt->seats));
	gauge(out, "last_reload_successful", "0 when the last reload or upgrade was refused.",
	      !figures_get(&rt->stats->refused));
	gauge(out, "certificates_taken", "0 while certificates that have changed are not taken.",
	      !figures_get(&rt->stats->renewal_refused));
	gauge(out, "last_reload_timestamp_seconds",
	      "When the last reload or upgrade was, or the start, since 1970.",
	      (double)(us ? us : rt->stats->started_us) / 1e6);
}

/* The value of a label, with the escapes that it has to have. */
static void label(FILE *out, const char *name, struct span value)
{
	fprintf(out, "%s=\"", name);
	for (size_t i = 0; i < value.n; i++) {
		uint8_t c = value.p[i];

		if (c == '\\' || c == '"')
			putc('\\', out);
		putc(c < ' ' || c > '~' ? '?' : c, out);
	}
	putc('"', out);
}

/* A name can be in several, of which each has a file of its own. */
static void certificates(FILE *out, const struct runtime *rt)
{
	struct keyring_reader r = { rt->version->chains };
	struct keyring_about about;
	int64_t now_s = (int64_t)time(NULL);

	family(out, "certificate_expiry_seconds", "gauge",
	       "Seconds until the certificate ends; below 0 since it has.");
	while (keyring_next_about(&r, &about)) {
		fputs("caronte_certificate_expiry_seconds{", out);
		label(out, "name", keyring_name(&about, 0));
		putc(',', out);
		label(out, "key", about.kind);
		putc(',', out);
		label(out, "file", about.file);
		fprintf(out, "} %" PRId64 "\n", about.until_s - now_s);
	}
}

static void workers(FILE *out, const struct runtime *rt)
{
	const struct stats_worker *w = rt->stats->worker;

	family(out, "worker_up", "gauge", "1 while the worker runs.");
	for (unsigned i = 0; i < rt->slots; i++)
		if (figures_worker(rt, i))
			fprintf(out, "caronte_worker_up{worker=\"%u\"} %d\n", i,
				figures_get(&w[i].pid) != 0);
	family(out, "worker_sessions_open", "gauge", "Connections that the worker holds now.");
	for (unsigned i = 0; i < rt->slots; i++)
		if (figures_worker(rt, i))
			fprintf(out, "caronte_worker_sessions_open{worker=\"%u\"} %" PRIu64 "\n", i,
				figures_get(&w[i].open));
	family(out, "worker_starts_total", "counter", "How often the worker was started.");
	for (unsigned i = 0; i < rt->slots; i++)
		if (figures_worker(rt, i))
			fprintf(out, "caronte_worker_starts_total{worker=\"%u\"} %" PRIu64 "\n", i,
				figures_get(&w[i].starts));
}

void figures_metrics(struct figures *f, FILE *out)
{
	const struct runtime *rt = f->rt;

	stats_sum_slots(rt->stats, f->now, rt->slot, rt->route->count);
	family(out, "build_info", "gauge", "Always 1; the version and the engine in use.");
	fprintf(out, "caronte_build_info{version=\"%s\",engine=\"%s\"} 1\n", CARONTE_VERSION,
		figures_engine(rt));
	gauge(out, "start_time_seconds", "When the daemon was started, since 1970.",
	      (double)rt->stats->started_us / 1e6);
	settings(out, rt);
	sessions(out, rt, f->now);
	messages(out, f->now);
	counter(out, "log_dropped_total", "Records that the log lost.", figures_log_dropped(rt));
	disks(out, rt);
	destination_states(out, rt);
	destination_counts(out, rt, f->now);
	latencies(out, rt, f->now);
	workers(out, rt);
	certificates(out, rt);
}
