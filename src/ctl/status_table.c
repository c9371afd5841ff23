/* SPDX-License-Identifier: ISC */
/*
 * The table of `carontectl status`, from the daemon's document. A member that is missing, as in the
 * document of another version, is shown as 0 or "-"; only what is no document at all is refused.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ctl/status_table.h"

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static uint64_t whole(const json_t *object, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(object, name));

	return n > 0 ? (uint64_t)n : 0;
}

static const char *text(const json_t *object, const char *name)
{
	const char *found = json_string_value(json_object_get(object, name));

	return found ? found : "-";
}

static void put_octets(FILE *out, double n, const char *behind)
{
	static const char *const units[] = { "B", "KB", "MB", "GB", "TB", "PB" };
	unsigned unit = 0;

	while (n >= 1000 && unit < 5) {
		n /= 1000;
		unit++;
	}
	fprintf(out, "%.*f %s%s", unit ? 1 : 0, n, units[unit], behind);
}

/* "350us", "12.5ms", "3.21s". */
static void format_time(char out[16], const json_t *latency, const char *quantile)
{
	const json_t *value = json_object_get(latency, quantile);
	double s = json_number_value(value);

	if (!value)
		strcpy(out, "-");
	else if (s < 0.001)
		snprintf(out, 16, "%.0fus", s * 1e6);
	else if (s < 1)
		snprintf(out, 16, "%.*fms", s < 0.1, s * 1e3);
	else
		snprintf(out, 16, "%.*fs", s < 100, s);
}

static void put_latency(FILE *out, const json_t *latencies, const char *name)
{
	const json_t *latency = json_object_get(latencies, name);
	char half[16], most[16];
	char both[40];

	format_time(half, latency, "p50");
	format_time(most, latency, "p99");
	snprintf(both, sizeof(both), "%s/%s", half, most);
	fprintf(out, " %15s", both);
}

static uint64_t sum(const json_t *counts)
{
	uint64_t n = 0;
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)counts, name, value) n +=
		(uint64_t)json_integer_value(value);
	return n;
}

/* "7: recipient 4, login 3". */
static void put_counts(FILE *out, const char *label, const json_t *counts)
{
	const char *name, *before = ": ";
	json_t *value;

	fprintf(out, "%-12s%" PRIu64, label, sum(counts));
	json_object_foreach((json_t *)(uintptr_t)counts, name, value)
	{
		if (json_integer_value(value) == 0)
			continue;
		fprintf(out, "%s%s %lld", before, name, (long long)json_integer_value(value));
		before = ", ";
	}
	putc('\n', out);
}

/* Between two documents, a second. */
static double rate(const json_t *now, const json_t *before, const char *object, const char *name,
		   double seconds)
{
	const json_t *a = object ? json_object_get(before, object) : before;
	const json_t *b = object ? json_object_get(now, object) : now;

	return (number(b, name) - number(a, name)) / seconds;
}

static void put_rates(FILE *out, const json_t *now, const json_t *before)
{
	const json_t *minute = json_object_get(now, "rates");
	double seconds = before ? number(now, "uptime") - number(before, "uptime")
				: number(minute, "seconds");
	double sessions, messages, octets, refusals;

	if (before && seconds > 0) {
		sessions = rate(now, before, "sessions", "total", seconds);
		messages = rate(now, before, "messages", "accepted", seconds);
		octets = rate(now, before, NULL, "octets", seconds);
		refusals = ((double)sum(json_object_get(now, "refused")) -
			    (double)sum(json_object_get(before, "refused"))) /
			   seconds;
	} else {
		sessions = number(minute, "sessions");
		messages = number(minute, "messages");
		octets = number(minute, "octets");
		refusals = number(minute, "refusals");
	}
	fprintf(out, "%-12s%.1f sessions, %.1f messages, %.1f refusals, ", "per second", sessions,
		messages, refusals);
	put_octets(out, octets, "");
	fprintf(out, " (last %.0f s)\n", seconds);
}

static void put_head(FILE *out, const json_t *now)
{
	unsigned long up = (unsigned long)number(now, "uptime");

	fprintf(out, "Caronte %s, %s, pid %" PRIu64 ", up ", text(now, "version"),
		text(now, "engine"), whole(now, "pid"));
	if (up >= 86400)
		fprintf(out, "%lu days ", up / 86400);
	fprintf(out, "%02lu:%02lu:%02lu\n\n", up / 3600 % 24, up / 60 % 60, up % 60);
}

static void put_reload(FILE *out, const json_t *reload)
{
	if (reload)
		fprintf(out, "%-12s%s, %s\n", "last reload", text(reload, "time"),
			json_is_true(json_object_get(reload, "success")) ? "done" : "refused");
}

static void put_totals(FILE *out, const json_t *now, const json_t *before)
{
	const json_t *sessions = json_object_get(now, "sessions");

	fprintf(out, "%-12s%" PRIu64 " open of %" PRIu64 ", %" PRIu64 " in all\n", "sessions",
		whole(sessions, "open"), whole(sessions, "max"), whole(sessions, "total"));
	put_rates(out, now, before);
	put_counts(out, "ended", json_object_get(sessions, "ends"));
	put_counts(out, "turned away", json_object_get(sessions, "turned_away"));
	put_counts(out, "messages", json_object_get(now, "messages"));
	fprintf(out, "%-12s", "octets");
	put_octets(out, number(now, "octets"), "\n");
	put_counts(out, "accepted", json_object_get(now, "accepted"));
	put_counts(out, "refused", json_object_get(now, "refused"));
	put_counts(out, "logins", json_object_get(now, "logins"));
	put_counts(out, "handshakes", json_object_get(now, "handshakes"));
	put_counts(out, "replies", json_object_get(now, "replies"));
	if (json_is_false(json_object_get(now, "relay_guard")))
		fprintf(out, "%-12soff: everybody may relay\n", "relay guard");
	if (json_is_true(json_object_get(now, "renewal_refused")))
		fprintf(out, "%-12scertificates that have changed are not taken: see the log\n",
			"renewal");
	put_reload(out, json_object_get(now, "reload"));
	if (whole(now, "log_dropped"))
		fprintf(out, "%-12s%" PRIu64 " records lost\n", "log", whole(now, "log_dropped"));
}

static const char *state_of(const json_t *destination)
{
	const char *state = text(destination, "state");

	if (!json_is_true(json_object_get(destination, "drained")))
		return state;
	return strcmp(state, "up") == 0	    ? "draining"
	       : strcmp(state, "busy") == 0 ? "draining, busy"
					    : "draining, down";
}

/* How it is told of clients, what is wrong with it, what a busy one said: a line each. */
static void put_said(FILE *out, const json_t *destination)
{
	const char *said = json_string_value(json_object_get(destination, "said"));
	const char *identity = json_string_value(json_object_get(destination, "identity"));

	if (identity && strcmp(identity, "none") != 0)
		fprintf(out, "  is told of the clients by %s\n", identity);
	if (json_is_true(json_object_get(destination, "insecure")))
		fputs("  there is no TLS with it, and must be: see the fault destination-tls\n",
		      out);
	if (json_is_true(json_object_get(destination, "unidentified")))
		fputs("  the last client could not be told to it: see the fault identity\n", out);
	if (!said)
		return;
	fprintf(out, "  busy for %.0f s: ", number(destination, "busy_seconds"));
	for (; *said; said++)
		putc((unsigned char)*said < ' ' ? ' ' : *said, out);
	putc('\n', out);
}

static int name_width(const json_t *destinations)
{
	size_t width = strlen("destination"), i;
	json_t *d;

	json_array_foreach((json_t *)(uintptr_t)destinations, i, d)
	{
		size_t n = strlen(text(d, "name"));

		width = n > width ? n : width;
	}
	return (int)(width < 270 ? width : 270);
}

/* Sessions there now; of how many, where there is a limit. */
static void put_open(FILE *out, const json_t *destination)
{
	char both[48];

	if (whole(destination, "max"))
		snprintf(both, sizeof(both), "%" PRIu64 "/%" PRIu64, whole(destination, "open"),
			 whole(destination, "max"));
	else
		snprintf(both, sizeof(both), "%" PRIu64, whole(destination, "open"));
	fprintf(out, " %11s", both);
}

static void put_destinations(FILE *out, const json_t *destinations)
{
	int width = name_width(destinations);
	size_t i;
	json_t *d;

	fprintf(out, "\n%-*s %-14s %11s %10s %9s %8s %10s %15s %15s %15s\n", width, "destination",
		"state", "open", "total", "failures", "refused", "messages", "connect 50/99",
		"reply 50/99", "message 50/99");
	json_array_foreach((json_t *)(uintptr_t)destinations, i, d)
	{
		const json_t *latency = json_object_get(d, "latency");

		fprintf(out, "%-*s %-14s", width, text(d, "name"), state_of(d));
		put_open(out, d);
		fprintf(out, " %10" PRIu64 " %9" PRIu64 " %8" PRIu64 " %10" PRIu64,
			whole(d, "total"), whole(d, "failures"), whole(d, "refused_greetings"),
			whole(d, "messages"));
		put_latency(out, latency, "connect");
		put_latency(out, latency, "reply");
		put_latency(out, latency, "message");
		putc('\n', out);
		put_said(out, d);
	}
}

static void put_workers(FILE *out, const json_t *workers)
{
	size_t i;
	json_t *w;

	fprintf(out, "\n%-8s %10s %8s %12s %8s\n", "worker", "pid", "open", "sessions", "starts");
	json_array_foreach((json_t *)(uintptr_t)workers, i, w) fprintf(
		out, "%-8" PRIu64 " %10" PRIu64 " %8" PRIu64 " %12" PRIu64 " %8" PRIu64 "\n",
		whole(w, "worker"), whole(w, "pid"), whole(w, "open"), whole(w, "sessions"),
		whole(w, "starts"));
}

static const char *first_name(const json_t *certificate)
{
	const char *name =
		json_string_value(json_array_get(json_object_get(certificate, "names"), 0));

	return name ? name : "-";
}

static int first_name_width(const json_t *certificates)
{
	size_t width = strlen("certificate"), i;
	json_t *c;

	json_array_foreach((json_t *)(uintptr_t)certificates, i, c)
	{
		size_t n = strlen(first_name(c));

		width = n > width ? n : width;
	}
	return (int)width;
}

/* Days are whole ones that are left, as in "0": less than one. */
static void put_certificates(FILE *out, const json_t *certificates)
{
	int width = first_name_width(certificates);
	size_t i;
	json_t *c;

	if (json_array_size(certificates) == 0)
		return;
	fprintf(out, "\n%-*s %6s %-12s %6s %-20s %s\n", width, "certificate", "names", "key",
		"days", "until", "file");
	json_array_foreach((json_t *)(uintptr_t)certificates, i, c)
	{
		double left = number(c, "seconds_left");
		char days[32] = "over";

		if (left > 0)
			snprintf(days, sizeof(days), "%llu", (unsigned long long)left / 86400);
		fprintf(out, "%-*s %6zu %-12s %6s %.19sZ %s\n%*s %s\n", width, first_name(c),
			json_array_size(json_object_get(c, "names")), text(c, "key"), days,
			text(c, "until"), text(c, "file"), 6, "TLSA", text(c, "tlsa"));
	}
}

bool status_table_print(FILE *out, const json_t *now, const json_t *before)
{
	if (!json_is_object(now) || !json_object_get(now, "version"))
		return false;
	put_head(out, now);
	put_totals(out, now, before);
	put_destinations(out, json_object_get(now, "destinations"));
	put_workers(out, json_object_get(now, "workers"));
	put_certificates(out, json_object_get(now, "certificates"));
	return true;
}
