/* SPDX-License-Identifier: ISC */
/*
 * A storm: whole sessions of both dialogs, clients and destinations that do what a seed chooses,
 * at any time. Clients pipeline, cut off, reset and log in; destinations refuse, stall, close,
 * reset, say 421 or what nobody asked; sessions are stopped, out of time, and wait for a place.
 * One thread plays all; what the kernel does meanwhile is not the seed's, so a run may differ from
 * the next one of its seed.
 *
 * Whatever happens, no worker dies of it, a reply answers its own command, a message is accepted
 * whole and for those alone of whom its client was told, 250 is the destination's, no other client
 * has a connection over which one has tried to log in, and afterwards nothing is left in any pool.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "storm.h"
#include "../fuzz/local.h"
#include "base/diag.h"
#include "config/load.h"
#include "io/net.h"
#include "route/parse.h"
#include "route/shared.h"
#include "session/session.h"
#include "session/work.h"
#include "upstream/connect.h"
#include "upstream/parting.h"
#include "upstream/warm_inner.h"

#define IN_ALL	 (SEATS + WORKER_REFUSALS)
#define STEPS	 1500
#define VERSIONS 6
#define CALM_MS	 20000 /* in which all that was asked is answered, where nobody does mischief */

struct proxy {
	struct context ctx;
	struct context_version version[VERSIONS]; /* the newest last */
	unsigned versions;
	struct runtime rt;
	struct config *config;
	struct route route;
	int fd;
};

static void bad_route(void *ctx, const char *what)
{
	(void)ctx;
	fail_msg("%s", what);
}

static void session_gone(struct context *ctx)
{
	(void)ctx;
}

static void released(struct io_task *t)
{
	(void)t;
}

static void make_pools(struct context *k)
{
	assert_int_equal(pool_init(&k->sessions, sizeof(struct session), IN_ALL), 0);
	assert_int_equal(pool_init(&k->more, sizeof(struct dialog_more), IN_ALL), 0);
	assert_int_equal(pool_init(&k->splices, sizeof(struct session_splice), WORKER_PIPES), 0);
	assert_int_equal(pool_init(&k->works, sizeof(struct session_work), IN_ALL), 0);
	assert_int_equal(pool_init(&k->letters, sizeof(struct dialog_letter), IN_ALL), 0);
	assert_int_equal(pool_init(&k->reaches, sizeof(struct session_reach), IN_ALL), 0);
	assert_int_equal(pool_init(&k->bodies, sizeof(struct session_body), 2 * IN_ALL), 0);
	assert_int_equal(pool_init(&k->partings, sizeof(struct parting), SEATS_PLACES(SEATS)), 0);
	assert_int_equal(warm_pool(&k->warms), 0);
	assert_int_equal(io_pipes_init(&k->pipes, 4), 0);
}

static void end_pools(struct context *k)
{
	struct pool *pools[] = { &k->sessions, &k->more,   &k->splices,	 &k->works, &k->letters,
				 &k->reaches,  &k->bodies, &k->partings, &k->warms };

	for (unsigned i = 0; i < sizeof(pools) / sizeof(*pools); i++) {
		if (pools[i]->in_use)
			fail_msg("seed %llu: pool %u has %u in use", (unsigned long long)all.seed,
				 i, (unsigned)pools[i]->in_use);
		pool_destroy(pools[i]);
	}
	io_pipes_destroy(&k->pipes);
}

/* Sessions that have begun go on with what they have. */
static void reload(struct proxy *p)
{
	struct context_version *v = &p->version[p->versions];

	if (p->versions == VERSIONS)
		return;
	v->rt = p->rt;
	if (all.gateway)
		assert_int_equal(warm_make(&v->warm, &p->ctx, v), 0);
	if (v->warm && p->versions)
		warm_end(p->ctx.newest->warm);
	context_version_begin(&p->ctx, v, v->warm ? warm_offer(v->warm) : NULL);
	if (v->warm)
		warm_begin(v->warm);
	p->versions++;
}

static void make_proxy(struct proxy *p, struct io *io, const char *const *set, size_t count)
{
	struct context *k = &p->ctx;
	char name[64];

	*p = (struct proxy){ 0 };
	p->config = config_load(NULL, set, count);
	config_print_faults(p->config, stderr);
	assert_int_equal(p->config->fault_count, 0);
	snprintf(name, sizeof(name), "127.0.0.1:%u%s", all.dest_addr.port,
		 all.full ? ",max=2" : "");
	assert_true(
		route_parse(&p->route, name, ROUTE_SINGLE, ROUTE_LEAST_SESSIONS, bad_route, NULL));
	p->rt = (struct runtime){
		.config = p->config,
		.route = &p->route,
		.workers = 1,
		.name = "storm",
		.channel_fd = -1,
		.policy = { .guard = true, .recipients = local_recipients() },
	};
	p->rt.route_shared = calloc(1, route_shared_room());
	route_shared_init(p->rt.route_shared, &p->route);
	route_set_addresses(p->rt.route_shared, 0, &all.dest_addr, 1);
	p->rt.seats = calloc(1, seats_room(SEATS));
	assert_int_equal(seats_init(p->rt.seats, SEATS), 0);
	k->io = io;
	list_init(&k->open);
	xmllog_open(&k->log, NULL, -1, 0);
	k->session_gone = session_gone;
	list_init(&k->versions);
	io_task_init(&k->released, released);
	make_pools(k);
	reload(p);
}

static void end_proxy(struct proxy *p)
{
	assert_int_equal(seats_sessions(p->rt.seats), 0);
	for (unsigned i = 0; i < p->versions; i++) {
		assert_int_equal(p->version[i].users, 0);
		warm_free(p->version[i].warm);
	}
	end_pools(&p->ctx);
	free(p->rt.seats);
	free(p->rt.route_shared);
	config_free(p->config);
}

static void accept_clients(struct proxy *p)
{
	for (;;) {
		struct addr addr;
		int fd = net_accept(p->fd, &addr);
		uint32_t seat;

		if (fd < 0)
			return;
		net_prepare(fd);
		const struct session_client client = { .stream = stream_of(fd), .addr = addr };

		if (seats_take(p->rt.seats, 0, &addr, true, 0, &seat) == SEATS_OK)
			assert_true(session_start(&p->ctx, &client, SESSION_SERVE, seat));
		else
			session_start(&p->ctx, &client, SESSION_TOO_MANY, 0);
	}
}

/* ---- what befalls sessions from outside ---- */

static struct session *a_session(struct proxy *p)
{
	unsigned n = p->ctx.open_count ? storm_below(p->ctx.open_count) : 0;
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &p->ctx.open)
		if (n-- == 0)
			return container_of(pos, struct session, link);
	return NULL;
}

/* The time of what it waits for is over. */
static void out_of_time(struct session *s)
{
	if (s->wait == WAIT_CONNECT && session_is_connecting(s)) {
		connect_expire(&s->reach->connect);
	} else if (s->wait != WAIT_NOTHING) {
		s->due_ms = 0;
		io_timer_set(s->ctx->io, &s->timer, 0);
	}
}

static void befall(struct proxy *p)
{
	struct session *s = a_session(p);

	if (!s)
		return;
	switch (storm_below(7)) {
	case 0:
		session_stop(s, true);
		break;
	case 1:
		session_stop(s, false);
		break;
	case 2: /* as if a newcomer took its seat */
		if (s->seat_is == SEAT_COUNTED && s->state == SESSION_RUNNING) {
			s->seat_is = SEAT_GIVEN_UP;
			session_borrow(s);
			dialog_close(&s->dialog, "421 4.3.2 seat\r\n", END_LIMIT,
				     REASON_MAX_SESSIONS);
			session_changed(s);
		}
		break;
	case 3:
		reload(p);
		break;
	default:
		out_of_time(s);
	}
}

/* ---- the run ---- */

static void turn(struct proxy *p, int wait_ms)
{
	accept_clients(p);
	assert_true(io_run_once(p->ctx.io, wait_ms) >= 0);
	storm_destinations();
}

/* Nobody asks for more: all that was asked is answered. */
static void calm(struct proxy *p)
{
	uint64_t end = io_now_ms(p->ctx.io) + CALM_MS;

	while (!storm_clients_are_done()) {
		if (io_now_ms(p->ctx.io) > end)
			fail_msg("seed %llu: something is not answered",
				 (unsigned long long)all.seed);
		turn(p, 1);
		storm_clients(false);
	}
}

static void end_all(struct proxy *p)
{
	struct context *k = &p->ctx;
	uint64_t end = io_now_ms(k->io) + CALM_MS;
	struct list *pos, *tmp;

	storm_clients_leave();
	while (k->open_count > 0) {
		list_for_each (pos, tmp, &k->open)
			out_of_time(container_of(pos, struct session, link));
		turn(p, 1);
		assert_true(io_now_ms(k->io) < end);
	}
	if (k->newest->warm)
		warm_end(k->newest->warm);
	storm_destinations_leave();
	while (k->warms.in_use + k->partings.in_use > 0) {
		turn(p, 1);
		assert_true(io_now_ms(k->io) < end);
	}
}

static void play(const struct io_backend *backend, uint64_t seed)
{
	static const char *const bodies[] = { "BODY_AUTO=y", "BODY_SPLICE=y", "BODY_COPY=y",
					      "BARE_NEWLINE_NORMALIZE=y" };
	struct fake_rates rates = { .seed = seed,
				    .shorten = (unsigned)(seed * 13 % 60),
				    .delay = (unsigned)(seed * 29 % 60),
				    .fail = seed % 5 == 4 };
	struct io_limits limits = { .ops = 512, .block_size = WORKER_BLOCK, .block_count = 8 };
	struct proxy *p = calloc(1, sizeof(*p));
	struct addr proxy_addr;
	const char *why = NULL;
	struct io *io;

	assert_non_null(p);
	if (io_create_with(&io, backend, &limits, backend == &fake_backend ? &rates : NULL, &why) <
	    0) {
		assert_ptr_equal(backend, &io_backend_uring);
		free(p);
		skip();
	}
	storm_begin(seed, backend == &fake_backend && rates.fail);
	const char *set[] = { bodies[storm_below(4)],
			      all.gateway ? "DIALOG_GATEWAY=y" : "DIALOG_SNIFF=y",
			      storm_below(2) ? "DATA_AS_BDAT=y" : "DATA_AS_BDAT=n",
			      "LOG_LEVEL=0",
			      "MAX_ERRORS=200",
			      "MAX_IDLE_COMMANDS=1000",
			      storm_below(4) ? "MAX_LINE_KIB=64" : "MAX_MESSAGE_MIB=1" };

	p->fd = -1;
	make_proxy(p, io, set, sizeof(set) / sizeof(*set));
	p->fd = tcp_listener(&proxy_addr);
	set_nonblock(p->fd);
	all.proxy_addr = proxy_addr;
	for (unsigned i = 0; i < STEPS; i++) {
		turn(p, 0);
		storm_clients(true);
		if (all.mischief && storm_below(150) == 0)
			befall(p);
	}
	if (!all.mischief)
		calm(p);
	end_all(p);
	end_proxy(p);
	close(p->fd);
	io_destroy(io);
	storm_end();
	free(p);
}

/* STORM_SEED=N[-M] in the environment: those seeds alone. (STORM_ENGINE=on_fake: that engine.) */
static void play_seeds(const struct io_backend *backend, uint64_t from, uint64_t to)
{
	const char *asked = getenv("STORM_SEED");

	if (asked) {
		char *end;

		from = strtoull(asked, &end, 10);
		to = *end == '-' ? strtoull(end + 1, NULL, 10) + 1 : from + 1;
	}
	for (uint64_t seed = from; seed < to; seed++)
		play(backend, seed);
}

static void on_uring(void **state)
{
	(void)state;
	play_seeds(&io_backend_uring, 100, 103);
}

static void on_epoll(void **state)
{
	(void)state;
	play_seeds(&io_backend_epoll, 200, 203);
}

static void on_fake(void **state)
{
	(void)state;
	play_seeds(&fake_backend, 300, 308);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_uring),
		cmocka_unit_test(on_epoll),
		cmocka_unit_test(on_fake),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("STORM_ENGINE"));
	return cmocka_run_group_tests_name("storm", tests, NULL, NULL);
}
