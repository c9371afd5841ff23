/* SPDX-License-Identifier: ISC */
/*
 * worker_version: see worker_version.h. A version that cannot be taken (no memory, no descriptor)
 * is a fault in the log, and the worker goes on with what it has.
 */
#include "proxy/worker_version.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "proxy/channel.h"
#include "proxy/shared.h"
#include "proxy/warm.h"
#include "proxy/worker.h"

static void make_current(struct worker *w, struct worker_version *v)
{
	const struct settings *set = &v->rt.config->set;

	/* One record at a time is made, so several handles of one ring do not disturb one another.
	 */
	v->log = w->log;
	v->log.level = w->log.level = set->log_level;
	v->env = (struct dialog_env){
		.policy = &v->rt.policy,
		.log = &v->log,
		.stats = w->stats,
		.max_errors = (unsigned)set->max_errors,
		.max_idle = (unsigned)set->max_idle_commands,
		.header_max = (uint64_t)set->max_header_kib << 10,
		.message_max = (uint64_t)set->max_message_mib << 20,
		.line_max = (uint64_t)set->max_line_kib << 10,
		.normalize = set->bare_newline == BARE_NEWLINE_NORMALIZE,
		.offer = v->warm ? warm_offer(v->warm) : NULL,
		.name = v->rt.name,
		.more = &w->more,
	};
	list_init(&v->link);
	list_add_tail(&w->versions, &v->link);
	w->newest = v;
	w->rt = &v->rt;
}

static int make_warm(struct worker *w, struct worker_version *v)
{
	if (v->rt.config->set.dialog != DIALOG_GATEWAY)
		return 0;
	return warm_make(&v->warm, w, v);
}

int worker_version_begin(struct worker *w, const struct runtime *rt)
{
	struct worker_version *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	list_init(&w->versions);
	v->rt = *rt;
	if (make_warm(w, v) < 0) {
		free(v);
		return -ENOMEM;
	}
	make_current(w, v);
	return 0;
}

static void report(const struct worker *w)
{
	const struct worker_version *oldest =
		container_of(w->versions.next, struct worker_version, link);
	struct channel_report r = { .newest = w->rt->number, .oldest = oldest->rt.number };

	if (w->rt->channel_fd >= 0)
		channel_report(w->rt->channel_fd, &r);
}

static void release(struct worker_version *v)
{
	list_del(&v->link);
	warm_free(v->warm);
	runtime_forget_route(v->rt.route_shared);
	version_unmap(v->rt.version);
	free(v);
}

struct worker_version *worker_version_get(struct worker *w)
{
	w->newest->users++;
	return w->newest;
}

void worker_version_put(struct worker *w, struct worker_version *v)
{
	CHECK(v->users > 0);
	if (--v->users > 0 || v == w->newest)
		return;
	release(v);
	report(w);
}

/* 0 or -errno; closes nothing. */
static int take(struct worker *w, const struct channel_news *news, int image, int state)
{
	struct worker_version *v, *before = w->newest;
	int err;

	if (news->number <= before->rt.number)
		return 0; /* told twice */
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	err = version_map(&v->own, image);
	if (err) {
		free(v);
		return err;
	}
	v->rt = *w->rt;
	runtime_use(&v->rt, &v->own);
	v->rt.number = news->number;
	memcpy(v->rt.slot, news->slot, sizeof(v->rt.slot));
	v->rt.route_shared = shared_attach(state, route_shared_room(), true, NULL);
	if (!v->rt.route_shared || make_warm(w, v) < 0) {
		runtime_forget_route(v->rt.route_shared);
		version_unmap(&v->own);
		free(v);
		return -ENOMEM;
	}
	if (before->warm)
		warm_end(before->warm);
	make_current(w, v);
	if (v->warm)
		warm_begin(v->warm);
	if (before->users == 0)
		release(before);
	return 0;
}

/* The master is told in any case, so that it tries again where this failed; the log, once. */
static void took(struct worker *w, int err)
{
	if (err && !w->behind)
		worker_fault_record(w, "reload", strerror(-err));
	w->behind = err != 0;
	report(w);
}

static void on_channel(struct io_op *op, int res)
{
	struct worker *w = container_of(op, struct worker, channel_op);
	struct channel_news news;
	int image, state, got = -EAGAIN;

	if (res == -ECANCELED)
		return;
	while (res > 0 && (got = channel_hear(w->rt->channel_fd, &news, &image, &state)) == 1) {
		int err = take(w, &news, image, state);

		close(image);
		close(state);
		took(w, err);
	}
	if (got < 0 && got != -EAGAIN)
		took(w, got);
	/* At 0 the master is gone, or another program by now: there is no more news. */
	if (res > 0 && got != 0)
		io_poll(w->io, op, w->rt->channel_fd, POLLIN);
}

void worker_version_listen(struct worker *w)
{
	if (w->newest->warm)
		warm_begin(w->newest->warm);
	if (w->rt->channel_fd < 0)
		return;
	w->channel_op.done = on_channel;
	io_poll(w->io, &w->channel_op, w->rt->channel_fd, POLLIN);
}
