/* SPDX-License-Identifier: ISC */
/*
 * The versions of the configuration that a worker serves: see context.h and inner.h. The
 * master says over the channel that there is a newer one, and is told what is in use. A version
 * that cannot be taken (no memory, no descriptor) is a fault in the log, and the worker goes on
 * with what it has. Certificates are loaded a few at a time, while sessions go on with what
 * they have.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "route/shared.h"
#include "runtime/channel.h"
#include "shared/memory.h"
#include "upstream/warm.h"
#include "worker/inner.h"

static int make_warm(struct worker *w, struct context_version *v)
{
	if (v->rt.config->set.dialog != DIALOG_GATEWAY)
		return 0;
	return warm_make(&v->warm, &w->ctx, v);
}

static void report(const struct worker *w)
{
	const struct context_version *oldest =
		container_of(w->ctx.versions.next, struct context_version, link);
	/* One that was released is not in the list any more, which the analyzer does not see. */
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	struct channel_report r = { .newest = w->ctx.rt->number, .oldest = oldest->rt.number };

	if (w->ctx.rt->channel_fd >= 0)
		channel_report(w->ctx.rt->channel_fd, &r);
}

static void release(struct context_version *v)
{
	list_del(&v->link);
	warm_free(v->warm);
	context_free_tls(v);
	runtime_forget_route(v->rt.route_shared);
	version_unmap(v->rt.version);
	free(v);
}

/* Those that have lost their last user. */
static void release_unused(struct io_task *t)
{
	struct worker *w = container_of(t, struct worker, ctx.released);
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &w->ctx.versions) {
		struct context_version *v = container_of(pos, struct context_version, link);

		if (v != w->ctx.newest && v->users == 0)
			release(v);
	}
	report(w);
}

int worker_versions_begin(struct worker *w, const struct runtime *rt)
{
	struct context_version *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	list_init(&w->ctx.versions);
	io_task_init(&w->ctx.released, release_unused);
	v->rt = *rt;
	if (context_map_keys(v, rt->keys_fd) != 0 ||
	    context_load_tls(&w->ctx, v, &w->loading, UINT_MAX) != 0 || make_warm(w, v) < 0) {
		context_free_tls(v);
		free(v);
		return -ENOMEM;
	}
	context_version_begin(&w->ctx, v, v->warm ? warm_offer(v->warm) : NULL);
	return 0;
}

/* V, which was not begun. */
static void forget(struct context_version *v)
{
	context_free_tls(v);
	runtime_forget_route(v->rt.route_shared);
	version_unmap(&v->own);
	free(v);
}

/* V has its certificates. 0 or -errno. */
static int begin(struct worker *w, struct context_version *v)
{
	struct context_version *before = w->ctx.newest;

	if (make_warm(w, v) < 0) {
		forget(v);
		return -ENOMEM;
	}
	w->ctx.tls.most = (unsigned)v->rt.config->set.tls_handshakes;
	if (before->warm)
		warm_end(before->warm);
	context_version_begin(&w->ctx, v, v->warm ? warm_offer(v->warm) : NULL);
	if (v->warm)
		warm_begin(v->warm);
	if (before->users == 0)
		release(before);
	return 0;
}

/* One that is coming makes way for a newer one. */
static void give_up_coming(struct worker *w)
{
	if (!w->coming)
		return;
	tls_set_free(w->loading.set);
	w->loading = (struct tls_loading){ 0 };
	forget(w->coming);
	w->coming = NULL;
}

/* 0; 1: it is coming; or -errno. Closes nothing. */
static int take(struct worker *w, const struct channel_news *news,
		const struct channel_files *files)
{
	struct context_version *v;
	int err;

	if (news->number <= w->ctx.newest->rt.number)
		return 0; /* told twice */
	if (w->coming && news->number <= w->coming->rt.number)
		return 1;
	give_up_coming(w);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	err = version_map(&v->own, files->image);
	if (err) {
		free(v);
		return err;
	}
	v->rt = *w->ctx.rt;
	runtime_use(&v->rt, &v->own);
	v->rt.number = news->number;
	memcpy(v->rt.slot, news->slot, sizeof(v->rt.slot));
	v->rt.route_shared = shared_attach(files->state, route_shared_room(), true, NULL);
	if (!v->rt.route_shared || context_map_keys(v, files->keys) != 0) {
		forget(v);
		return -ENOMEM;
	}
	w->coming = v;
	io_defer(w->ctx.io, &w->load_task);
	return 1;
}

/* The master is told in any case, so that it tries again where this failed; the log, once. */
static void took(struct worker *w, int err)
{
	if (err && !w->behind)
		context_fault_record(&w->ctx, "reload", strerror(-err));
	w->behind = err != 0;
	report(w);
}

/* So many certificates in a turn of the loop: sessions wait for them. */
#define AT_A_TIME 2

static void load_some(struct io_task *t)
{
	struct worker *w = container_of(t, struct worker, load_task);
	struct context_version *v = w->coming;
	int left;

	if (!v)
		return;
	left = context_load_tls(&w->ctx, v, &w->loading, AT_A_TIME);
	if (left > 0) {
		io_defer(w->ctx.io, t);
		return;
	}
	w->coming = NULL;
	if (left < 0)
		forget(v);
	took(w, left < 0 ? left : begin(w, v));
}

static void on_channel(struct io_op *op, int res)
{
	struct worker *w = container_of(op, struct worker, channel_op);
	struct channel_news news;
	struct channel_files files;
	int got = -EAGAIN;

	if (res == -ECANCELED)
		return;
	while (res > 0 && (got = channel_hear(w->ctx.rt->channel_fd, &news, &files)) == 1) {
		int err = take(w, &news, &files);

		channel_close_files(&files);
		if (err <= 0)
			took(w, err);
	}
	if (got < 0 && got != -EAGAIN)
		took(w, got);
	/* At 0 the master is gone, or another program by now: there is no more news. */
	if (res > 0 && got != 0)
		io_poll(w->ctx.io, op, w->ctx.rt->channel_fd, POLLIN);
}

void worker_versions_listen(struct worker *w)
{
	io_task_init(&w->load_task, load_some);
	if (w->ctx.newest->warm)
		warm_begin(w->ctx.newest->warm);
	if (w->ctx.rt->channel_fd < 0)
		return;
	w->channel_op.done = on_channel;
	io_poll(w->ctx.io, &w->channel_op, w->ctx.rt->channel_fd, POLLIN);
}
