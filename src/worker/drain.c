/* SPDX-License-Identifier: ISC */
/*
 * The end of a worker: see inner.h. TERM and INT stop it, USR2 retires it; it ends with its
 * last session and, where a destination has a max=, with the last connection that has a place
 * there.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "check/listen.h"
#include "session/session.h"
#include "worker/inner.h"

#define DRAIN_TICK_MS	    50
#define LEAVE_AFTER_TOLD_MS 3000 /* below the patience of the master, STOP_MARGIN_MS */

/* Connections without a session that hold places at destinations, which others would take before
 * the destination has seen their end. At a stop there are no others. */
static bool parting(const struct worker *w)
{
	const struct route *route = w->ctx.rt->route;

	if (w->stopping || w->ctx.partings.in_use + w->ctx.warms.in_use == 0)
		return false;
	for (unsigned i = 0; i < route->count; i++)
		if (route->destination[i].max)
			return true;
	return false;
}

/* What an accept that was cancelled brings all the same is still served. */
static void stop_if_done(struct io_task *t)
{
	struct worker *w = container_of(t, struct worker, done_task);

	if (w->ctx.draining && w->ctx.open_count == 0 && !worker_accepts(w) &&
	    door_is_empty(&w->door) && !parting(w))
		io_stop(w->ctx.io);
}

static void stop_sessions(struct worker *w, bool polite)
{
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &w->ctx.open)
		session_stop(container_of(pos, struct session, link), polite);
}

static void on_drain(struct io_timer *t)
{
	struct worker *w = container_of(t, struct worker, drain_timer);

	if (w->stopping && io_now_ms(w->ctx.io) >= w->drain_until_ms) {
		/* First politely; who has not gone a while later is not waited for. */
		stop_sessions(w, !w->told);
		w->told = true;
		w->drain_until_ms = io_now_ms(w->ctx.io) + LEAVE_AFTER_TOLD_MS;
	}
	/* The next program may be one that can only count what is taken here. */
	seats_free_due(w->ctx.rt->seats);
	worker_look(w);
	io_timer_set(w->ctx.io, &w->drain_timer, DRAIN_TICK_MS);
}

/*
 * The master has died without a word. Its sockets would let clients into queues that nobody serves,
 * for as long as a session here goes on.
 */
static void end_without_master(struct worker *w)
{
	const struct runtime *rt = w->ctx.rt;

	if (getppid() == rt->master)
		return;
	if (!rt->listen_handed)
		listen_end(rt->listen_fds, (size_t)rt->workers * rt->listen_count);
	context_fault_record(&w->ctx, "master-died", "No more connections are taken");
}

/* No more connections: others accept on the same sockets, or nobody does. */
static void retire(struct worker *w)
{
	w->ctx.draining = true;
	worker_accept_rest(w);
	stress_end(w);
	worker_accept_end(w);
	io_timer_set(w->ctx.io, &w->drain_timer, DRAIN_TICK_MS);
	worker_look(w);
}

static void begin_drain(struct worker *w, bool at_once)
{
	if (!w->stopping) {
		w->stopping = true;
		w->ctx.draining = true;
		end_without_master(w);
		door_end(&w->door);
		stress_end(w);
		worker_accept_end(w);
		w->drain_until_ms =
			io_now_ms(w->ctx.io) + 1000 * (uint64_t)w->ctx.rt->config->set.stop_grace;
		io_timer_set(w->ctx.io, &w->drain_timer, DRAIN_TICK_MS);
	}
	if (at_once) {
		w->told = true;
		stop_sessions(w, false);
	}
	worker_look(w);
}

/* Whoever signals all processes of this name means the master, who tells the workers. What it may
 * refuse, an upgrade say, they are not to do on their own. When it has died, its death tells them.
 */
static bool is_masters(const struct worker *w, const struct signalfd_siginfo *si)
{
	pid_t master = w->ctx.rt->master;

	return si->ssi_pid == (uint32_t)master || getppid() != master;
}

static void on_signal(struct io_op *op, int res)
{
	struct worker *w = container_of(op, struct worker, signal_op);
	struct signalfd_siginfo si;

	while (read(w->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (!is_masters(w, &si))
			continue;
		if (si.ssi_signo == SIGUSR2)
			retire(w);
		else
			begin_drain(w, si.ssi_signo == SIGINT);
	}
	if (res != -ECANCELED)
		io_poll(w->ctx.io, op, w->signal_fd, POLLIN);
}

int worker_drain_begin(struct worker *w)
{
	sigset_t set;

	io_timer_init(&w->drain_timer, on_drain);
	io_task_init(&w->done_task, stop_if_done);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	w->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (w->signal_fd < 0)
		return -errno;
	w->signal_op.done = on_signal;
	io_poll(w->ctx.io, &w->signal_op, w->signal_fd, POLLIN);
	return 0;
}
