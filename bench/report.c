/* SPDX-License-Identifier: ISC */
/* report: the figures as one JSON object. */
#include "inner.h"

static const char *const troubles[LOAD_TROUBLES] = {
	[LOAD_NO_CONNECTION] = "no-connection",
	[LOAD_LOST] = "lost",
	[LOAD_TIMED_OUT] = "timeout",
	[LOAD_MALFORMED] = "malformed",
	[LOAD_NOT_OFFERED] = "not-offered",
	[LOAD_NO_221] = "no-221",
	[LOAD_NO_TLS] = "no-tls",
};

static void errors(FILE *f, const struct load_figures *g)
{
	const char *before = "";

	fprintf(f, ", \"errors\": {");
	for (unsigned i = 0; i < LOAD_TROUBLES; i++)
		if (g->troubles[i]) {
			fprintf(f, "%s\"%s\": %llu", before, troubles[i],
				(unsigned long long)g->troubles[i]);
			before = ", ";
		}
	for (unsigned i = 0; i < sizeof(g->replies) / sizeof(g->replies[0]); i++)
		if (g->replies[i]) {
			fprintf(f, "%s\"%u\": %llu", before, i, (unsigned long long)g->replies[i]);
			before = ", ";
		}
	fprintf(f, "}");
}

static void latency(FILE *f, const struct load_histogram *h)
{
	fprintf(f,
		", \"latency_us\": {\"mean\": %.1f, \"p50\": %llu, \"p90\": %llu, \"p99\": %llu, "
		"\"p99.9\": %llu, \"max\": %llu}",
		h->count ? (double)h->sum_us / (double)h->count : 0.0,
		(unsigned long long)load_histogram_at(h, 0.5),
		(unsigned long long)load_histogram_at(h, 0.9),
		(unsigned long long)load_histogram_at(h, 0.99),
		(unsigned long long)load_histogram_at(h, 0.999), (unsigned long long)h->max_us);
}

void load_report(FILE *f, const struct load_options *o, const struct load_figures *g)
{
	double seconds = (double)(g->ended_us - g->began_us) / 1e6;
	double per_second = seconds > 0 ? 1 / seconds : 0;

	fprintf(f,
		"{\"mode\": \"%s\", \"pipelining\": %s, \"connections\": %u, "
		"\"per_connection\": %u, \"rate\": %.3f, ",
		o->idle	     ? "idle"
		: o->refused ? "refused"
		: o->bdat    ? "bdat"
			     : "data",
		o->pipelining ? "true" : "false", o->idle ? o->idle : o->connections,
		o->per_connection, o->rate);
	fprintf(f,
		"\"messages\": %llu, \"refused\": %llu, \"failed\": %llu, \"idle\": %u, "
		"\"connected\": %llu, \"octets\": %llu, \"seconds\": %.6f, ",
		(unsigned long long)(g->done - g->refused), (unsigned long long)g->refused,
		(unsigned long long)g->failed, g->idle, (unsigned long long)g->connections,
		(unsigned long long)g->octets, seconds);
	fprintf(f, "\"handshakes\": %llu, \"resumed\": %llu, ", (unsigned long long)g->handshakes,
		(unsigned long long)g->resumed);
	fprintf(f,
		"\"messages_per_second\": %.3f, \"megabytes_per_second\": %.6f, "
		"\"cpu_seconds\": %.6f, \"late\": %llu",
		(double)g->done * per_second, (double)g->octets * per_second / 1e6,
		g->ended_cpu_s - g->began_cpu_s, (unsigned long long)g->late);
	errors(f, g);
	latency(f, &g->latency);
	fprintf(f, "}\n");
}
