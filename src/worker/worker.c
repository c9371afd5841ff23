/* SPDX-License-Identifier: ISC */
/* worker: see worker.h. */
#include "worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "session/body.h"
#include "upstream/health.h"
#include "upstream/parting.h"
#include "session/session.h"
#include "upstream/warm.h"
#include "worker/inner.h"

#define TRIM_MS 25 /* where more buffers are to be given back than one tick may */

/* What a crowd has needed is given back when it has gone, or has become idle: all that was not
 * needed for a second, but little at a time. */
static void on_trim(struct io_timer *t)
{
	struct worker *w = container_of(t, struct worker, trim_timer);
	bool works = pool_trim_more(&w->ctx.works), bodies = pool_trim_more(&w->ctx.bodies);
	bool records = pool_trim_more(&w->ctx.tls.outs);

	if (works || bodies || records)
		io_timer_set(w->ctx.io, t, TRIM_MS);
}

static void on_tick(struct io_timer *t)
{
	struct worker *w = container_of(t, struct worker, tick_timer);
	bool works = pool_trim(&w->ctx.works), bodies = pool_trim(&w->ctx.bodies);
	bool records = pool_trim(&w->ctx.tls.outs);

	stress_tick(w);
	context_tell_faults(&w->ctx);
	tls_trim(&w->ctx.tls);
	if (works || bodies || records)
		io_timer_set(w->ctx.io, &w->trim_timer, TRIM_MS);
	if (works || bodies || records || w->ctx.open_count)
		io_timer_set(w->ctx.io, t, WORKER_TICK_MS);
}

static void session_gone(struct context *ctx)
{
	struct worker *w = container_of(ctx, struct worker, ctx);

	stress_look(w);
	worker_look(w);
}

/* A session has two; some have none. */
static unsigned tls_connections(const struct runtime *rt)
{
	unsigned max = (unsigned)rt->config->set.max_sessions;

	return 2 * (max + WORKER_REFUSALS) + SEATS_PLACES(max) + WARM_MAX + DESTINATIONS_MAX;
}

static int make_pools(struct worker *w)
{
	size_t max = (size_t)w->ctx.rt->config->set.max_sessions;
	size_t n = max + WORKER_REFUSALS, places = SEATS_PLACES(max);
	int res = pool_init(&w->ctx.sessions, sizeof(struct session), n);

	if (res == 0)
		res = pool_init(&w->ctx.more, sizeof(struct dialog_more), n);
	if (res == 0)
		res = pool_init(&w->ctx.works, sizeof(struct session_work), n);
	if (res == 0)
		res = pool_init(&w->ctx.letters, sizeof(struct dialog_letter), n);
	if (res == 0)
		res = pool_init(&w->ctx.reaches, sizeof(struct session_reach), n);
	if (res == 0)
		res = pool_init(&w->ctx.heirs, sizeof(struct session_heir), n);
	if (res == 0)
		res = connect_pool(&w->ctx.talks, (unsigned)n + WARM_MAX + DESTINATIONS_MAX);
	if (res == 0)
		res = pool_init(&w->ctx.bodies, sizeof(struct session_body), 2 * n);
	if (res == 0)
		res = pool_init(&w->ctx.partings, sizeof(struct parting), places);
	if (res == 0)
		res = warm_pool(&w->ctx.warms);
	if (res == 0)
		res = pool_init(&w->ctx.splices, sizeof(struct session_splice), WORKER_PIPES);
	if (res == 0)
		res = io_pipes_init(&w->ctx.pipes, WORKER_PIPES);
	return res;
}

static int make_engine(struct worker *w, const char **why)
{
	struct io_limits limits = limits_io(&w->ctx.rt->config->set);

	return io_create(&w->ctx.io, w->ctx.rt->engine, &limits, why);
}

static int make(struct worker *w, const char **why)
{
	const struct runtime *rt = w->ctx.rt;
	int res = make_pools(w);

	if (res == 0)
		res = make_engine(w, why);
	if (res == 0)
		res = tls_init(&w->ctx.tls, w->ctx.io, tls_connections(rt),
			       (unsigned)rt->config->set.tls_handshakes, rt->kernel_tls);
	if (res == 0)
		res = worker_door(w);
	if (res == 0)
		res = health_make(&w->health, &w->ctx);
	return res == 0 ? worker_drain_begin(w) : res;
}

int worker_main(const struct runtime *rt, unsigned slot, uint64_t epoch_us)
{
	struct worker *w = calloc(1, sizeof(*w));
	const char *why = NULL;
	int res;

	if (!w)
		return EX_OSERR;
	w->ctx.slot = slot;
	w->ctx.next_id.epoch_us = epoch_us;
	w->ctx.session_gone = session_gone;
	w->ctx.session_renamed = worker_renamed;
	list_init(&w->ctx.open);
	xmllog_open(&w->ctx.log, rt->rings[1 + slot], rt->log_wake_fd, rt->config->set.log_level);
	w->ctx.stats = stats_begin(rt->stats, slot, getpid(), epoch_us);
	if (rt->signer_fd >= 0)
		w->ctx.distant = distant_make(rt->signer_fd);
	res = rt->signer_fd < 0 || w->ctx.distant ? worker_versions_begin(w, rt) : -ENOMEM;
	if (res < 0)
		return EX_OSERR;
	io_timer_init(&w->tick_timer, on_tick);
	io_timer_init(&w->trim_timer, on_trim);
	stress_init(w);
	res = make(w, &why);
	if (res < 0) {
		context_fault_record(&w->ctx, "worker", why ? why : strerror(-res));
		return EX_OSERR;
	}
	worker_accept(w);
	worker_versions_listen(w);
	runtime_ready(rt, slot);
	health_start(w->health);
	res = io_run(w->ctx.io);
	if (res < 0)
		context_fault_record(&w->ctx, "engine", strerror(-res));
	return res < 0 ? EX_SOFTWARE : EX_OK;
}
