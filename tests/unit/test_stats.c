/* SPDX-License-Identifier: ISC */
/*
 * stats: buckets and quantiles at their limits, what outlives a worker, sums over workers while
 * they count, which times are taken of a dialog; and the two documents made of it all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "certs.h"
#include "check/version.h"
#include "route/parse.h"
#include "route/shared.h"
#include "status/figures.h"
#include "session/times.h"
#include "shared/memory.h"
#include "shared/stats.h"

static struct stats *make_stats(unsigned workers)
{
	struct stats *s = shared_map(stats_room(workers));

	assert_non_null(s);
	stats_init(s, workers, 1000000);
	return s;
}

static struct stats_sum *sum_of(const struct stats *s, unsigned destinations)
{
	struct stats_sum *sum = malloc(stats_sum_room(destinations));

	assert_non_null(sum);
	memset(sum, 0xff, stats_sum_room(destinations));
	stats_sum(s, sum, destinations);
	return sum;
}

/* The one bucket that a duration falls into. */
static unsigned bucket_of(uint64_t us)
{
	struct stats_destination *d = calloc(1, sizeof(*d));
	unsigned found = STATS_BUCKETS;

	assert_non_null(d);
	stats_time(d, STATS_REPLY, us);
	for (unsigned i = 0; i < STATS_BUCKETS; i++) {
		if (!d->time[STATS_REPLY].bucket[i])
			continue;
		assert_int_equal(found, STATS_BUCKETS);
		found = i;
	}
	assert_int_equal(d->time[STATS_REPLY].sum_us, us);
	free(d);
	return found;
}

static void buckets_meet(void **state)
{
	(void)state;
	assert_int_equal(bucket_of(0), 0);
	assert_int_equal(bucket_of(STATS_FIRST_US - 1), 0);
	assert_int_equal(bucket_of(STATS_FIRST_US), 1);
	assert_int_equal(bucket_of(UINT64_MAX), STATS_BUCKETS - 1);
	assert_int_equal(stats_bucket_end(STATS_BUCKETS - 1), UINT64_MAX);
	assert_int_equal(stats_bucket_end(STATS_BUCKETS - 2), UINT64_C(1) << 32);
	for (unsigned i = 0; i < STATS_BUCKETS - 1; i++) {
		assert_int_equal(bucket_of(stats_bucket_end(i) - 1), i);
		assert_int_equal(bucket_of(stats_bucket_end(i)), i + 1);
		/* A quarter at most between one end and the next. */
		if (i)
			assert_in_range(stats_bucket_end(i), stats_bucket_end(i - 1) + 1,
					stats_bucket_end(i - 1) * 5 / 4);
	}
}

static void quantiles(void **state)
{
	struct stats *s = make_stats(1);
	struct stats_worker *w = stats_begin(s, 0, 1, 0);
	struct stats_sum *sum = sum_of(s, 1);
	struct stats_times *t = &sum->destination[0].time[STATS_CONNECT];

	(void)state;
	assert_int_equal(stats_times_quantile(t, 50), 0);
	stats_time(&w->destination[0], STATS_CONNECT, 0);
	stats_sum(s, sum, 1);
	for (unsigned p = 0; p <= 100; p++)
		assert_int_equal(stats_times_quantile(t, p), STATS_FIRST_US);
	for (unsigned i = 0; i < 98; i++)
		stats_time(&w->destination[0], STATS_CONNECT, 1000);
	stats_time(&w->destination[0], STATS_CONNECT, 900000);
	stats_sum(s, sum, 1);
	assert_int_equal(stats_times_count(t), 100);
	assert_int_equal(stats_times_quantile(t, 1), STATS_FIRST_US);
	assert_int_equal(stats_times_quantile(t, 2), 1024);
	assert_int_equal(stats_times_quantile(t, 99), 1024);
	assert_in_range(stats_times_quantile(t, 100), 900001, 900000 * 5 / 4);
	stats_time(&w->destination[0], STATS_CONNECT, UINT64_MAX / 2);
	stats_sum(s, sum, 1);
	assert_int_equal(stats_times_quantile(t, 100), UINT64_C(1) << 32);
	free(sum);
	shared_unmap(s, stats_room(1));
}

static void since_is_the_difference(void **state)
{
	struct stats *s = make_stats(1);
	struct stats_worker *w = stats_begin(s, 0, 1, 0);
	struct stats_sum *before, *now;
	struct stats_times all = { 0 };

	(void)state;
	stats_time(&w->destination[0], STATS_REPLY, 5000);
	before = sum_of(s, 1);
	stats_time(&w->destination[0], STATS_REPLY, 100);
	now = sum_of(s, 1);
	stats_times_since(&now->destination[0].time[STATS_REPLY],
			  &before->destination[0].time[STATS_REPLY]);
	stats_times_add(&all, &now->destination[0].time[STATS_REPLY]);
	stats_times_add(&all, &now->destination[0].time[STATS_REPLY]);
	assert_int_equal(stats_times_count(&all), 2);
	assert_int_equal(all.sum_us, 200);
	assert_int_equal(stats_times_quantile(&all, 99), 112);
	free(before);
	free(now);
	shared_unmap(s, stats_room(1));
}

static void counters_outlive_their_worker(void **state)
{
	struct stats *s = make_stats(2);
	struct stats_worker *w = stats_begin(s, 1, 4711, 5);
	struct stats_sum *sum;

	(void)state;
	assert_ptr_equal(w, &s->worker[1]);
	stats_count(w, sessions, 3);
	stats_now(w, open, 2);
	stats_count(stats_at(w, DESTINATIONS_MAX - 1), messages, 7);
	stats_ended(s, 1, 0);
	assert_int_equal(w->pid, 0);
	assert_int_equal(w->open, 0);
	assert_int_equal(w->starts, 1);
	w = stats_begin(s, 1, 4712, 9);
	assert_int_equal(w->pid, 4712);
	assert_int_equal(w->started_us, 9);
	assert_int_equal(w->starts, 2);
	stats_count(w, sessions, 1);
	sum = sum_of(s, DESTINATIONS_MAX);
	assert_int_equal(sum->sessions, 4);
	assert_int_equal(sum->destination[DESTINATIONS_MAX - 1].messages, 7);
	free(sum);
	shared_unmap(s, stats_room(2));
}

static void number_of_another_destination_begins_anew(void **state)
{
	struct stats *s = make_stats(3);
	struct stats_sum *sum;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct stats_worker *w = stats_begin(s, i, 4711, 5);

		stats_count(w, sessions, 1);
		for (unsigned d = 4; d < 7; d++) {
			stats_count(stats_at(w, d), messages, 7);
			stats_time(stats_at(w, d), STATS_CONNECT, 100);
		}
	}
	stats_forget(s, 5);
	stats_forget(s, SEATS_DESTINATIONS - 1);
	sum = sum_of(s, 8);
	assert_int_equal(sum->sessions, 2);
	for (unsigned d = 4; d < 7; d++) {
		assert_int_equal(sum->destination[d].messages, d == 5 ? 0 : 14);
		assert_int_equal(stats_times_count(&sum->destination[d].time[STATS_CONNECT]),
				 d == 5 ? 0 : 2);
	}
	free(sum);
	shared_unmap(s, stats_room(3));
}

static void nobody_counts_nothing(void **state)
{
	struct stats_worker *none = NULL;

	(void)state;
	stats_count(none, sessions, 1);
	stats_now(none, open, 1);
	stats_time(stats_at(none, 3), STATS_CONNECT, 1);
	assert_null(stats_at(none, 3));
}

/* Each worker has a block of its own, so nothing is lost though nothing is locked; and what a
 * reader sees never goes back. */
static void workers_count_at_the_same_time(void **state)
{
	enum { WORKERS = 4, EVENTS = 200000 };
	struct stats *s = make_stats(WORKERS);
	struct stats_sum *sum = sum_of(s, 2);
	uint64_t seen = 0;
	unsigned left = WORKERS;

	(void)state;
	for (unsigned i = 0; i < WORKERS; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid > 0)
			continue;
		struct stats_worker *w = stats_begin(s, i, getpid(), 0);

		for (unsigned n = 0; n < EVENTS; n++) {
			stats_count(w, sessions, 1);
			stats_time(stats_at(w, n % 2), STATS_MESSAGE, n);
		}
		_exit(0);
	}
	while (left > 0) {
		if (waitpid(-1, NULL, WNOHANG) > 0)
			left--;
		stats_sum(s, sum, 2);
		assert_true(sum->sessions >= seen);
		seen = sum->sessions;
	}
	stats_sum(s, sum, 2);
	assert_int_equal(sum->sessions, WORKERS * EVENTS);
	assert_int_equal(stats_times_count(&sum->destination[0].time[STATS_MESSAGE]) +
				 stats_times_count(&sum->destination[1].time[STATS_MESSAGE]),
			 WORKERS * EVENTS);
	free(sum);
	shared_unmap(s, stats_room(WORKERS));
}

/* ---- a dialog's messages ---- */

static void messages_by_their_answer(void **state)
{
	struct stats *s = make_stats(1);
	struct stats_worker *w = stats_begin(s, 0, 1, 0);
	struct stats_destination *at = stats_at(w, 2);

	(void)state;
	stats_message(w, at, SPAN("250 2.0.0 Ok\r\n"));
	stats_message(w, at, SPAN("451 4.3.0 Later\r\n"));
	stats_message(w, at, SPAN("554 5.7.1 No\r\n"));
	stats_message(w, at, (struct span){ 0 });
	assert_int_equal(w->messages[STATS_ACCEPTED], 1);
	assert_int_equal(w->messages[STATS_DEFERRED], 2);
	assert_int_equal(w->messages[STATS_REFUSED], 1);
	assert_int_equal(w->destination[2].messages, 1);
	shared_unmap(s, stats_room(1));
}

static void times_of_messages(void **state)
{
	struct stats_destination *at = calloc(1, sizeof(*at));
	struct dialog d = { .at = at };
	struct session_times t = { 0 };

	(void)state;
	assert_non_null(at);
	d.transactions = 1;
	session_times_look(&t, &d, 0, 1000);
	d.server.state = SMTP_ORDER_EOD;
	session_times_look(&t, &d, 0, 2000); /* its octets are still on their way */
	session_times_look(&t, &d, 2500, 3000);
	session_times_look(&t, &d, 2500, 4000);
	/* The answer, and the next MAIL with it. */
	d.server.state = SMTP_ORDER_READY;
	d.transactions = 2;
	session_times_look(&t, &d, 0, 9000);
	assert_int_equal(at->time[STATS_REPLY].sum_us, 6500);
	assert_int_equal(at->time[STATS_MESSAGE].sum_us, 8000);
	session_times_look(&t, &d, 0, 9500);
	assert_int_equal(at->time[STATS_REPLY].sum_us, 6500);
	d.server.state = SMTP_ORDER_EOD;
	session_times_look(&t, &d, 9600, 9700);
	d.server.state = SMTP_ORDER_READY;
	session_times_look(&t, &d, 0, 9800);
	assert_int_equal(at->time[STATS_REPLY].sum_us, 6700);
	assert_int_equal(at->time[STATS_MESSAGE].sum_us, 8800);
	/* A session that ends instead of the answer is no measure. */
	d.server.state = SMTP_ORDER_EOD;
	session_times_look(&t, &d, 9900, 9900);
	d.end = END_LOST_DESTINATION;
	session_times_look(&t, &d, 0, 99999);
	assert_int_equal(at->time[STATS_REPLY].sum_us, 6700);
	free(at);
}

/* ---- documents ---- */

static void report(void *ctx, const char *what)
{
	(void)ctx;
	fail_msg("%s", what);
}

struct world {
	struct config config;
	struct version version; /* no more of it than certificates */
	struct route route;
	struct xmllog_ring *ring;
	struct runtime rt;
	char *text;
	size_t n;
};

static void world_make(struct world *w, unsigned workers)
{
	*w = (struct world){ .config = { .set = { .max_sessions = 10 } } };
	assert_true(route_parse(&w->route, "10.0.0.1:25 mx.example.com:26,weight=3,max=2",
				ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS, report, NULL));
	w->rt = (struct runtime){ .config = &w->config,
				  .version = &w->version,
				  .engine = IO_ENGINE_EPOLL,
				  .route = &w->route,
				  .route_shared = shared_map(route_shared_room()),
				  .seats = shared_map(seats_room(10)),
				  .stats = make_stats(workers),
				  .slot = { 0, 1 },
				  .workers = workers,
				  .slots = workers,
				  .rings = &w->ring,
				  .ring_count = 1 };
	w->ring = shared_map(xmllog_ring_room(4096));
	assert_non_null(w->ring);
	xmllog_ring_init(w->ring, 4096);
	route_shared_init(w->rt.route_shared, &w->route);
	assert_int_equal(seats_init(w->rt.seats, 10), 0);
}

static void world_end(struct world *w)
{
	shared_unmap(w->rt.route_shared, route_shared_room());
	shared_unmap(w->rt.seats, seats_room(10));
	shared_unmap(w->rt.stats, stats_room(w->rt.workers));
	shared_unmap(w->ring, xmllog_ring_room(4096));
	free(w->text);
}

static void json_at(struct world *w, struct figures *f, uint64_t now_ms)
{
	FILE *out;

	free(w->text);
	out = open_memstream(&w->text, &w->n);
	assert_non_null(out);
	figures_json(f, now_ms, out);
	assert_int_equal(fclose(out), 0);
}

#define assert_holds(w, part)                                                                      \
	do {                                                                                       \
		if (!strstr((w)->text, (part)))                                                    \
			fail_msg("%s is not in %s", (part), (w)->text);                            \
	} while (0)

/* Rates and latencies are those of the last minute, however long there were no readings. */
static void last_minute(void **state)
{
	struct figures f;
	struct world w;
	struct stats_worker *worker;

	(void)state;
	world_make(&w, 1);
	worker = stats_begin(w.rt.stats, 0, 1, 0);
	stats_count(worker, sessions, 1000);
	assert_int_equal(figures_init(&f, &w.rt, 100000), 0);
	json_at(&w, &f, 100000);
	assert_holds(&w, "\"rates\":{\"seconds\":0.000,\"sessions\":0.000,");
	assert_int_equal(figures_keep(&f, 100001), FIGURES_STEP_MS - 1);
	stats_count(worker, sessions, 10);
	stats_time(stats_at(worker, 1), STATS_CONNECT, 1000);
	json_at(&w, &f, 102000);
	assert_holds(&w, "\"rates\":{\"seconds\":2.000,\"sessions\":5.000,");
	assert_holds(&w, "\"connect\":{\"count\":1,\"p50\":0.001024,\"p99\":0.001024}");
	for (uint64_t now = 105000; now <= 165000; now += FIGURES_STEP_MS)
		assert_int_equal(figures_keep(&f, now), FIGURES_STEP_MS);
	json_at(&w, &f, 167000);
	assert_holds(&w, "\"rates\":{\"seconds\":62.000,\"sessions\":0.000,");
	assert_holds(&w, "\"total\":1010,");
	assert_null(strstr(w.text, "\"connect\":{\"count\":1"));
	figures_free(&f);
	world_end(&w);
}

static void states_of_destinations(void **state)
{
	struct addr client = { .family = 4, .ip = { 192, 0, 2, 1 } };
	struct figures f;
	struct world w;
	uint32_t seat;

	(void)state;
	world_make(&w, 2);
	stats_begin(w.rt.stats, 0, 1, 0);
	route_failed(w.rt.route_shared, NULL, 0, 5);
	route_drain(w.rt.route_shared, 1, true);
	assert_int_equal(seats_take(w.rt.seats, 0, &client, true, 0, &seat), SEATS_OK);
	assert_true(seats_at_destination(w.rt.seats, seat, 1, 0));
	assert_int_equal(figures_init(&f, &w.rt, 0), 0);
	json_at(&w, &f, 0);
	assert_holds(&w, "\"sessions\":{\"open\":1,\"max\":10,");
	assert_holds(&w,
		     "{\"name\":\"10.0.0.1:25\",\"state\":\"down\",\"drained\":false,\"open\":0,"
		     "\"weight\":1,\"max\":0,");
	assert_holds(&w, "{\"name\":\"mx.example.com:26\",\"state\":\"up\",\"drained\":true,"
			 "\"open\":1,\"weight\":3,\"max\":2,");
	assert_holds(&w, "{\"worker\":1,\"pid\":0,");
	figures_free(&f);
	world_end(&w);
}

/* Whatever their files are called. */
static void certificates(void **state)
{
	struct tls_pair pair =
		cert_make(&(struct cert_wish){ .names = "DNS:mx.test,DNS:*.x.test" });
	struct keyring keyring = { 0 };
	struct figures f;
	struct world w;
	FILE *out;

	(void)state;
	world_make(&w, 1);
	assert_int_equal(figures_init(&f, &w.rt, 0), 0);
	json_at(&w, &f, 0);
	assert_holds(&w, "\"certificates\":[]}\n");
	assert_int_equal(keyring_add(&keyring, 0, "/a\"b\\c\n.pem", &pair), 0);
	assert_int_equal(keyring_add(&keyring, 1, "/b", &pair), 0);
	w.version.chains = span_of(keyring.chains, keyring.chains_n);
	json_at(&w, &f, 0);
	assert_holds(&w, "[{\"names\":[\"mx.test\",\"*.x.test\"],\"key\":\"ECDSA P-256\","
			 "\"file\":\"/a\\\"b\\\\c\\u000a.pem\",\"until\":\"20");
	assert_holds(&w, "},{\"names\":[");
	free(w.text);
	out = open_memstream(&w.text, &w.n);
	assert_non_null(out);
	figures_metrics(&f, out);
	assert_int_equal(fclose(out), 0);
	assert_holds(&w,
		     "\ncaronte_certificate_expiry_seconds{name=\"mx.test\",key=\"ECDSA P-256\","
		     "file=\"/a\\\"b\\\\c?.pem\"} 8");
	figures_free(&f);
	world_end(&w);
	keyring_free(&keyring);
	tls_pair_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_meet),
		cmocka_unit_test(quantiles),
		cmocka_unit_test(since_is_the_difference),
		cmocka_unit_test(counters_outlive_their_worker),
		cmocka_unit_test(number_of_another_destination_begins_anew),
		cmocka_unit_test(nobody_counts_nothing),
		cmocka_unit_test(workers_count_at_the_same_time),
		cmocka_unit_test(messages_by_their_answer),
		cmocka_unit_test(times_of_messages),
		cmocka_unit_test(last_minute),
		cmocka_unit_test(states_of_destinations),
		cmocka_unit_test(certificates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
