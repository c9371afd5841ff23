/* SPDX-License-Identifier: ISC */
/*
 * worker: one process that serves sessions (DESIGN "Processes"). Accepts on its own listening
 * sockets, counts in the shared seats, and ends when told.
 */
#include "proxy/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/diag.h"
#include "io/net.h"
#include "proxy/health.h"
#include "proxy/listen.h"
#include "proxy/parting.h"
#include "proxy/session.h"
#include "proxy/stress.h"
#include "proxy/warm.h"

#define ACCEPT_PAUSE_MS	    100
#define DRAIN_TICK_MS	    50
#define TICK_MS		    1000
#define TRIM_MS		    50	 /* where more buffers are to be given back than one tick may */
#define LOOK_MAX	    64	 /* connections; who is woken for more takes them */
#define LEAVE_AFTER_TOLD_MS 3000 /* below the patience of the master, STOP_MARGIN_MS */

struct listener {
	struct worker *worker;
	struct io_op op;
	struct io_timer pause;
	struct addr peer; /* of what is being accepted */
	int fd;
	bool accepting;
	unsigned failures; /* since a connection was accepted */
};

struct process {
	struct worker worker;
	struct listener listeners[LISTEN_MAX];
	unsigned listener_count;
	struct health *health;
	struct io_timer drain_timer, tick_timer, trim_timer, look_timer;
	struct io_op signal_op;
	int signal_fd;
	uint64_t drain_until_ms;
	bool stopping; /* TERM or INT: not only retired */
	bool told;     /* the sessions that outlived STOP_GRACE have been told */
};

/* ---- records ---- */

void worker_destination_record(struct worker *w, const struct runtime *rt, unsigned dest,
			       enum route_health health, const char *why)
{
	if (!xmllog_begin(&w->log, XMLLOG_DESTINATION, NULL))
		return;
	xmllog_text(&w->log, XMLLOG_A_ADDRESS, rt->route->destination[dest].name);
	xmllog_text(&w->log, XMLLOG_A_STATE, route_health_name(health));
	xmllog_text(&w->log, XMLLOG_A_WHY, why);
	xmllog_end(&w->log);
}

void worker_fault_record(struct worker *w, const char *what, const char *detail)
{
	if (!xmllog_begin(&w->log, XMLLOG_FAULT, NULL))
		return;
	xmllog_text(&w->log, XMLLOG_A_WHAT, what);
	xmllog_text(&w->log, XMLLOG_A_DETAIL, detail);
	xmllog_end(&w->log);
}

/* ---- the tick ---- */

/* What a crowd has needed is given back when it has gone, or has become idle: all that was not
 * needed for a second, but little at a time. */
static void on_trim(struct io_timer *t)
{
	struct process *p = container_of(t, struct process, trim_timer);
	bool works = pool_trim_more(&p->worker.works), bodies = pool_trim_more(&p->worker.bodies);

	if (works || bodies)
		io_timer_set(p->worker.io, t, TRIM_MS);
}

static void on_tick(struct io_timer *t)
{
	struct process *p = container_of(t, struct process, tick_timer);
	struct worker *w = &p->worker;
	bool works = pool_trim(&w->works), bodies = pool_trim(&w->bodies);

	stress_look(w);
	if (works || bodies)
		io_timer_set(w->io, &p->trim_timer, TRIM_MS);
	if (works || bodies || w->open_count)
		io_timer_set(w->io, t, TICK_MS);
}

/* ---- ending ---- */

static bool accepting(const struct worker *w)
{
	const struct process *p = container_of(w, struct process, worker);

	for (unsigned i = 0; i < p->listener_count; i++)
		if (p->listeners[i].accepting)
			return true;
	return false;
}

/* Connections without a session that hold places at destinations, which others would take before
 * the destination has seen their end. At a stop there are no others. */
static bool parting(const struct worker *w)
{
	const struct process *p = container_of(w, struct process, worker);
	const struct route *route = w->rt->route;

	if (p->stopping || w->partings.in_use + w->warms.in_use == 0)
		return false;
	for (unsigned i = 0; i < route->count; i++)
		if (route->destination[i].max)
			return true;
	return false;
}

/* What an accept that was cancelled brings all the same is still served. */
static void stop_if_done(struct worker *w)
{
	if (w->draining && w->open_count == 0 && !accepting(w) && !parting(w))
		io_stop(w->io);
}

void worker_session_gone(struct worker *w)
{
	w->open_count--;
	stats_now(w->stats, open, w->open_count);
	stress_look(w);
	stop_if_done(w);
}

static void stop_sessions(struct worker *w, bool polite)
{
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &w->open)
		session_stop(container_of(pos, struct session, link), polite);
}

static void on_drain(struct io_timer *t)
{
	struct process *p = container_of(t, struct process, drain_timer);
	struct worker *w = &p->worker;

	if (p->stopping && io_now_ms(w->io) >= p->drain_until_ms) {
		/* First politely; who has not gone a while later is not waited for. */
		stop_sessions(w, !p->told);
		p->told = true;
		p->drain_until_ms = io_now_ms(w->io) + LEAVE_AFTER_TOLD_MS;
	}
	/* The next program may be one that can only count what is taken here. */
	seats_free_due(w->rt->seats);
	stop_if_done(w);
	io_timer_set(w->io, &p->drain_timer, DRAIN_TICK_MS);
}

/*
 * The master has died without a word. Its sockets would let clients into queues that nobody serves,
 * for as long as a session here goes on.
 */
static void end_without_master(struct worker *w)
{
	const struct runtime *rt = w->rt;

	if (getppid() == rt->master)
		return;
	if (!rt->listen_handed)
		listen_end(rt->listen_fds, (size_t)rt->workers * rt->listen_count);
	worker_fault_record(w, "master-died", "No more connections are taken");
}

static void stop_accepting(struct process *p)
{
	stress_end(&p->worker);
	for (unsigned i = 0; i < p->listener_count; i++) {
		io_timer_stop(p->worker.io, &p->listeners[i].pause);
		io_cancel(p->worker.io, &p->listeners[i].op);
	}
}

static void accept_rest(struct listener *l);

/* No more connections: others accept on the same sockets, or nobody does. */
static void retire(struct process *p)
{
	p->worker.draining = true;
	for (unsigned i = 0; i < p->listener_count; i++)
		if (list_linked(&p->listeners[i].pause.link))
			accept_rest(&p->listeners[i]); /* no accept is there to be cancelled */
	stop_accepting(p);
	io_timer_set(p->worker.io, &p->drain_timer, DRAIN_TICK_MS);
	stop_if_done(&p->worker);
}

static void begin_drain(struct process *p, bool at_once)
{
	struct worker *w = &p->worker;

	if (!p->stopping) {
		p->stopping = true;
		w->draining = true;
		end_without_master(w);
		stop_accepting(p);
		p->drain_until_ms =
			io_now_ms(w->io) + 1000 * (uint64_t)w->rt->config->set.stop_grace;
		io_timer_set(w->io, &p->drain_timer, DRAIN_TICK_MS);
	}
	if (at_once) {
		p->told = true;
		stop_sessions(w, false);
	}
	stop_if_done(w);
}

/* Whoever signals all processes of this name means the master, who tells the workers. What it may
 * refuse, an upgrade say, they are not to do on their own. When it has died, its death tells them.
 */
static bool is_masters(const struct process *p, const struct signalfd_siginfo *si)
{
	pid_t master = p->worker.rt->master;

	return si->ssi_pid == (uint32_t)master || getppid() != master;
}

static void on_signal(struct io_op *op, int res)
{
	struct process *p = container_of(op, struct process, signal_op);
	struct signalfd_siginfo si;

	while (read(p->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (!is_masters(p, &si))
			continue;
		if (si.ssi_signo == SIGUSR2)
			retire(p);
		else
			begin_drain(p, si.ssi_signo == SIGINT);
	}
	if (res != -ECANCELED)
		io_poll(p->worker.io, op, p->signal_fd, POLLIN);
}

/* ---- accepting ---- */

enum seats_verdict worker_admit(struct worker *w, int fd, const struct addr *client,
				bool in_network, bool last)
{
	uint32_t seat = 0;
	enum session_refusal refusal = SESSION_SERVE;
	enum seats_verdict verdict =
		seats_take(w->rt->seats, w->slot, client, !in_network,
			   (unsigned)w->rt->config->set.max_sessions_per_address, &seat);

	if (verdict == SEATS_FULL && !last)
		return verdict;
	if (verdict == SEATS_FULL) {
		refusal = SESSION_TOO_MANY;
		stats_count(w->stats, turned_away[STATS_MAX_SESSIONS], 1);
	} else if (verdict == SEATS_ADDRESS_FULL) {
		refusal = SESSION_ADDRESS_TOO_MANY;
		stats_count(w->stats, turned_away[STATS_MAX_PER_ADDRESS], 1);
	}
	bool started = session_start(w, fd, client, in_network, refusal, seat);

	if (refusal == SESSION_SERVE && started) {
		stats_count(w->stats, sessions, 1);
	} else if (refusal == SESSION_SERVE) {
		/* No room: too many connections that have lost their seats are not closed yet. */
		stats_count(w->stats, turned_away[STATS_MAX_SESSIONS], 1);
		seats_release(w->rt->seats, seat);
	}
	return verdict;
}

static void serve(struct worker *w, int fd, const struct addr *client)
{
	struct io_timer *tick = &container_of(w, struct process, worker)->tick_timer;
	const struct policy_networks *networks = w->rt->policy.networks;

	/* Ours were prepared before they listened, what waits in another's may be older than we. */
	if (w->rt->listen_handed)
		net_prepare(fd);
	if (!list_linked(&tick->link))
		io_timer_set(w->io, tick, TICK_MS);

	bool in_network = networks && policy_networks_match(networks, client);

	stress_admit(w, fd, client, in_network);
	stress_look(w);
}

static void accept_again(struct io_timer *t)
{
	struct listener *l = container_of(t, struct listener, pause);

	l->accepting = true;
	io_accept(l->worker->io, &l->op, l->fd, &l->peer, l->worker->rt->listen_handed);
}

/*
 * A look at a socket that others accept on too: the last one, since a connection that has woken the
 * cancelled accept, and nobody else, would wait there for the next one to come; or one now and
 * then.
 */
static void accept_rest(struct listener *l)
{
	int fd;

	for (unsigned i = 0; i < LOOK_MAX && (fd = net_accept(l->fd, &l->peer)) >= 0; i++)
		serve(l->worker, fd, &l->peer);
}

/* See io_accept(): who shares sockets does not rely on being woken. */
static void on_look(struct io_timer *t)
{
	struct process *p = container_of(t, struct process, look_timer);

	if (p->worker.draining)
		return;
	for (unsigned i = 0; i < p->listener_count; i++)
		if (p->listeners[i].accepting)
			accept_rest(&p->listeners[i]);
	io_timer_set(p->worker.io, t, TICK_MS);
}

/* The record of a want (descriptors, memory) that is over: one for its beginning, one for its end.
 */
static void accepts_again(struct listener *l)
{
	char detail[64];

	if (l->failures == 0)
		return;
	snprintf(detail, sizeof(detail), "Accepting again after %u failures", l->failures);
	worker_fault_record(l->worker, "accept", detail);
	l->failures = 0;
}

static void on_accept(struct io_op *op, int res)
{
	struct listener *l = container_of(op, struct listener, op);
	struct worker *w = l->worker;
	const struct process *p = container_of(w, struct process, worker);

	if (res >= 0) {
		accepts_again(l);
		/* One that was let in at the last moment is served as long as the others. */
		if (p->told)
			io_close(w->io, res);
		else
			serve(w, res, &l->peer);
	} else if (res != -ECANCELED && res != -ECONNABORTED && res != -EINVAL) {
		/* (EINVAL: the master has shut the socket down, and its signal is on the way.) */
		if (l->failures++ == 0)
			worker_fault_record(w, "accept", strerror(-res));
	}
	if (op->more)
		return;
	l->accepting = false;
	if (w->draining && !p->stopping)
		accept_rest(l);
	stop_if_done(w);
	/* Out of descriptors or memory: a pause instead of a spin; what waits in the queue stays.
	 */
	if (!w->draining)
		io_timer_set(w->io, &l->pause, res == -ECONNABORTED ? 0 : ACCEPT_PAUSE_MS);
}

static void start_accepting(struct process *p)
{
	const struct runtime *rt = p->worker.rt;

	CHECK(rt->listen_count <= LISTEN_MAX);
	p->listener_count = rt->listen_count;
	for (unsigned i = 0; i < rt->listen_count; i++) {
		struct listener *l = &p->listeners[i];

		l->worker = &p->worker;
		l->fd = rt->listen_fds[p->worker.slot % rt->workers * rt->listen_count + i];
		l->op.done = on_accept;
		io_timer_init(&l->pause, accept_again);
		accept_again(&l->pause);
	}
}

/* ---- start ---- */

static int make_pools(struct worker *w)
{
	size_t max = (size_t)w->rt->config->set.max_sessions;
	size_t n = max + WORKER_REFUSALS, places = SEATS_PLACES(max);
	int res = pool_init(&w->sessions, sizeof(struct session), n);

	if (res == 0)
		res = pool_init(&w->more, sizeof(struct dialog_more), n);
	if (res == 0)
		res = pool_init(&w->works, sizeof(struct session_work), n);
	if (res == 0)
		res = pool_init(&w->letters, sizeof(struct dialog_letter), n);
	if (res == 0)
		res = pool_init(&w->bodies, sizeof(struct session_body), 2 * n);
	if (res == 0)
		res = pool_init(&w->partings, sizeof(struct parting), places);
	if (res == 0)
		res = warm_pool(&w->warms);
	if (res == 0)
		res = pool_init(&w->splices, sizeof(struct session_splice), WORKER_PIPES);
	if (res == 0)
		res = io_pipes_init(&w->pipes, WORKER_PIPES);
	return res;
}

static int make_engine(struct worker *w, const char **why)
{
	struct io_limits limits = limits_io(&w->rt->config->set);

	return io_create(&w->io, w->rt->engine, &limits, why);
}

static int watch_signals(struct process *p)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (p->signal_fd < 0)
		return -errno;
	p->signal_op.done = on_signal;
	io_poll(p->worker.io, &p->signal_op, p->signal_fd, POLLIN);
	return 0;
}

int worker_main(const struct runtime *rt, unsigned slot, uint64_t epoch_us)
{
	struct process *p = calloc(1, sizeof(*p));
	const char *why = NULL;
	int res;

	if (!p)
		return EX_OSERR;
	struct worker *w = &p->worker;

	w->slot = slot;
	w->next_id.epoch_us = epoch_us;
	list_init(&w->open);
	xmllog_open(&w->log, rt->rings[1 + slot], rt->log_wake_fd, rt->config->set.log_level);
	w->stats = stats_begin(rt->stats, slot, getpid(), epoch_us);
	res = worker_version_begin(w, rt);
	if (res < 0)
		return EX_OSERR;
	io_timer_init(&p->drain_timer, on_drain);
	io_timer_init(&p->tick_timer, on_tick);
	io_timer_init(&p->trim_timer, on_trim);
	io_timer_init(&p->look_timer, on_look);
	stress_init(w);
	res = make_pools(w);
	if (res == 0)
		res = make_engine(w, &why);
	if (res == 0)
		res = health_make(&p->health, w);
	if (res == 0)
		res = watch_signals(p);
	if (res < 0) {
		worker_fault_record(w, "worker", why ? why : strerror(-res));
		return EX_OSERR;
	}
	start_accepting(p);
	if (rt->listen_handed)
		io_timer_set(w->io, &p->look_timer, TICK_MS);
	worker_version_listen(w);
	runtime_ready(rt, slot);
	health_start(p->health);
	res = io_run(w->io);
	if (res < 0)
		worker_fault_record(w, "engine", strerror(-res));
	return res < 0 ? EX_SOFTWARE : EX_OK;
}
