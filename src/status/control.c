/* SPDX-License-Identifier: ISC */
/* control: see control.h. One thread, one loop over poll(2). */
#include "status/control.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "check/control_path.h"
#include "io/net.h"
#include "route/parse.h"
#include "route/shared.h"
#include "status/figures.h"
#include "status/metrics.h"

#define QUEUE		16
#define SOCKET_MODE	0660
#define ACCEPT_PAUSE_MS 100 /* out of descriptors or memory: a pause instead of a spin */
#define LOOK_MS		50  /* between two looks for a result */

struct client {
	int fd; /* -1: the place is free */
	uint64_t until_ms;
	size_t got;
	char line[CONTROL_LINE];
	char *answer; /* NULL: the request is not whole yet, or waits; owned */
	size_t answer_size, sent;
	/* What it waits for, RESULTS_KINDS: nothing; and how often that has ended then. */
	enum results_kind kind;
	uint64_t ended;
};

struct control {
	const struct runtime *rt;
	struct xmllog log;
	struct figures figures;
	struct metrics *metrics; /* NULL: none */
	int fd;			 /* -1: none */
	int term_fd;
	uint64_t rests_until_ms; /* nobody is let in before */
	struct client client[CONTROL_CLIENTS];
};

/* ---- the socket ---- */

static int refuse(char *why, size_t cap, const char *path, const char *what)
{
	snprintf(why, cap, "CONTROL_SOCKET: %s: %s", path, what);
	return EX_UNAVAILABLE;
}

int control_open(const char *path, int *fd, char *why, size_t cap)
{
	char text[1024];
	int res;

	*fd = -1;
	if (control_path_check(path, text, sizeof(text))) {
		snprintf(why, cap, "CONTROL_SOCKET: %s", text);
		return EX_CONFIG;
	}
	res = net_knock(path);
	if (res == 0 || res == -EAGAIN)
		return refuse(why, cap, path, "another process listens there");
	if (res == -ECONNREFUSED || res == -ENOENT)
		res = net_listen_path(path, QUEUE, SOCKET_MODE);
	if (res < 0)
		return refuse(why, cap, path, strerror(-res));
	*fd = res;
	return 0;
}

void control_remove(const char *path, int fd)
{
	/* A name that leads to another socket by now is another daemon's. Ours does not listen any
	 * more once it is shut down. */
	shutdown(fd, SHUT_RDWR);
	if (net_knock(path) == -ECONNREFUSED)
		unlink(path);
}

/* ---- requests ---- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void record_destination(struct control *k, unsigned dest, const char *why)
{
	const struct runtime *rt = k->rt;
	enum route_health health = route_drained(rt->route_shared, dest)
					   ? ROUTE_DOWN
					   : route_health(rt->route_shared, dest);

	if (!xmllog_begin(&k->log, XMLLOG_DESTINATION, NULL))
		return;
	xmllog_text(&k->log, XMLLOG_A_ADDRESS, rt->route->destination[dest].name);
	xmllog_text(&k->log, XMLLOG_A_STATE, route_health_name(health));
	xmllog_text(&k->log, XMLLOG_A_WHY, why);
	xmllog_end(&k->log);
}

static void drain(struct control *k, const char *name, bool on, FILE *out)
{
	const struct runtime *rt = k->rt;
	const char *state = on ? "drained" : "ready";
	int dest = route_find(rt->route, name);

	if (dest < 0) {
		fprintf(out, "error %s is no destination of this daemon\n", name);
		return;
	}
	bool changed = route_drain(rt->route_shared, (unsigned)dest, on);

	if (changed)
		record_destination(k, (unsigned)dest, state);
	fprintf(out, "ok %s is %s%s\n", rt->route->destination[dest].name,
		changed ? "" : "already ", state);
}

/* ---- reload, upgrade, stop ---- */

/* False where the master has died: its number may be another process's by now. */
static bool signal_master(const struct control *k, enum results_kind kind)
{
	static const int signals[RESULTS_KINDS] = { SIGHUP, SIGUSR2, SIGTERM };

	return getppid() == k->rt->master && kill(k->rt->master, signals[kind]) == 0;
}

/* True when the line asks for something that C now waits for. */
static bool wait_for(struct control *k, struct client *c, uint64_t now)
{
	static const char wait[] = "wait ";
	const char *name = c->line;
	size_t n = strlen(name);
	char *end;

	if (strncmp(name, wait, strlen(wait)) == 0) {
		name += strlen(wait);
		n = strcspn(name, " ");
		c->kind = results_kind(name, n);
		c->ended = strtoull(name + n, &end, 10);
		if (*end)
			c->kind = RESULTS_KINDS;
	} else {
		c->kind = results_kind(name, n);
		if (c->kind < RESULTS_KINDS) {
			/* There is one stop: a second one is told what became of the first. */
			c->ended = c->kind == RESULTS_STOP
					   ? 1
					   : results_begun(k->rt->results, c->kind) + 1;
			if (!signal_master(k, c->kind))
				c->kind = RESULTS_KINDS;
		}
	}
	if (c->kind == RESULTS_KINDS)
		return false;
	c->until_ms = now + CONTROL_PATIENCE_MS;
	/* Who has asked for the end keeps his place: there is nobody to ask after it. */
	if (c->kind == RESULTS_STOP && name == c->line)
		c->until_ms = UINT64_MAX;
	return true;
}

static void answer(struct control *k, struct client *c, uint64_t now)
{
	FILE *out = open_memstream(&c->answer, &c->answer_size);

	if (!out) {
		c->answer = NULL;
		return;
	}
	if (strcmp(c->line, "results") == 0)
		results_print(k->rt->results, out);
	else if (strcmp(c->line, "status") == 0)
		figures_json(&k->figures, now, out);
	else if (strncmp(c->line, "drain ", 6) == 0)
		drain(k, c->line + 6, true, out);
	else if (strncmp(c->line, "ready ", 6) == 0)
		drain(k, c->line + 6, false, out);
	else
		fputs("error no such request\n", out);
	if (fclose(out) != 0) {
		free(c->answer);
		c->answer = NULL;
	}
}

static void forget(struct client *c)
{
	close(c->fd);
	free(c->answer);
	*c = (struct client){ .fd = -1, .kind = RESULTS_KINDS };
}

/* An answer that a client has waited for is over with, or out of time. */
static void answer_waiting(struct control *k, uint64_t now, bool all)
{
	static const char results[] = "results";

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *c = &k->client[i];

		if (c->fd < 0 || c->answer || c->kind == RESULTS_KINDS)
			continue;
		if (!all && now < c->until_ms && results_ended(k->rt->results, c->kind) < c->ended)
			continue;
		memcpy(c->line, results, sizeof(results));
		c->until_ms = now + CONTROL_PATIENCE_MS;
		answer(k, c, now);
		if (!c->answer)
			forget(c);
	}
}

/* True while anybody waits: the master does not say when a result is there. */
static bool anybody_waits(const struct control *k)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (k->client[i].fd >= 0 && !k->client[i].answer &&
		    k->client[i].kind < RESULTS_KINDS)
			return true;
	return false;
}

/* What stands before the first LF is the request; a client that ends without one has none. */
static void receive(struct control *k, struct client *c, uint64_t now)
{
	ssize_t n = recv(c->fd, c->line + c->got, sizeof(c->line) - 1 - c->got, 0);
	char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		forget(c);
		return;
	}
	c->got += (size_t)n;
	c->line[c->got] = '\0';
	end = memchr(c->line, '\n', c->got);
	if (!end && c->got < sizeof(c->line) - 1)
		return;
	if (!end || memchr(c->line, '\0', (size_t)(end - c->line)))
		c->line[0] = '\0';
	else
		*end = '\0';
	if (wait_for(k, c, now))
		return;
	answer(k, c, now);
	if (!c->answer)
		forget(c);
}

static void give(struct client *c)
{
	ssize_t n = send(c->fd, c->answer + c->sent, c->answer_size - c->sent, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->sent += (size_t)n;
	if (n < 0 || c->sent == c->answer_size)
		forget(c);
}

/* Of one that waits: it may have gone away. What else it sends is passed over. */
static void look(struct client *c)
{
	char octets[CONTROL_LINE];
	ssize_t n = recv(c->fd, octets, sizeof(octets), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		forget(c);
}

/* ---- the loop ---- */

static struct client *free_place(struct control *k)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (k->client[i].fd < 0)
			return &k->client[i];
	return NULL;
}

static void take_clients(struct control *k, uint64_t now)
{
	struct client *c;

	while ((c = free_place(k))) {
		int fd = accept4(k->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				k->rests_until_ms = now + ACCEPT_PAUSE_MS;
			return;
		}
		c->fd = fd;
		c->until_ms = now + CONTROL_PATIENCE_MS;
	}
}

static void sooner(int *wait, uint64_t ms)
{
	if (*wait < 0 || ms < (uint64_t)*wait)
		*wait = (int)ms;
}

/* Ends clients that are out of time; milliseconds until the next one is. */
static int run_deadlines(struct control *k, uint64_t now)
{
	int wait = -1;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *c = &k->client[i];

		if (c->fd >= 0 && now >= c->until_ms)
			forget(c);
		if (c->fd >= 0)
			sooner(&wait, c->until_ms == UINT64_MAX ? INT_MAX : c->until_ms - now);
	}
	return wait;
}

/* What waits to be let in is polled for only while somebody can be. */
static int listener(struct control *k, uint64_t now, int *wait)
{
	if (k->fd < 0 || !free_place(k))
		return -1;
	if (now >= k->rests_until_ms)
		return k->fd;
	sooner(wait, k->rests_until_ms - now);
	return -1;
}

static void serve_clients(struct control *k, const struct pollfd *fds, uint64_t now)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *c = &k->client[i];

		if (c->fd < 0 || c->fd != fds[i].fd || !fds[i].revents)
			continue;
		if (!c->answer && c->kind == RESULTS_KINDS)
			receive(k, c, now);
		else if (!c->answer)
			look(c);
		if (c->fd >= 0 && c->answer)
			give(c);
	}
}

/* The master ends: whoever waits for that hears what became of it. */
static void say_last_words(struct control *k, uint64_t now)
{
	answer_waiting(k, now, true);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (k->client[i].fd >= 0 && k->client[i].answer)
			give(&k->client[i]);
}

/* Until the master says TERM: EX_OK. */
static int loop(struct control *k)
{
	enum { LISTENER = CONTROL_CLIENTS, METRICS, TERM, COUNT };

	for (;;) {
		struct pollfd fds[COUNT];
		uint64_t now = now_ms();
		int wait;

		answer_waiting(k, now, false);
		wait = run_deadlines(k, now);
		if (anybody_waits(k))
			sooner(&wait, LOOK_MS);
		sooner(&wait, figures_keep(&k->figures, now));
		for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
			fds[i] =
				(struct pollfd){ .fd = k->client[i].fd,
						 .events = k->client[i].answer ? POLLOUT : POLLIN };
		fds[LISTENER] = (struct pollfd){ .fd = listener(k, now, &wait), .events = POLLIN };
		fds[METRICS] = (struct pollfd){ .fd = k->metrics ? metrics_fd(k->metrics) : -1,
						.events = POLLIN };
		fds[TERM] = (struct pollfd){ .fd = k->term_fd, .events = POLLIN };
		if (k->metrics && metrics_wait_ms(k->metrics) >= 0)
			sooner(&wait, (uint64_t)metrics_wait_ms(k->metrics));
		if (poll(fds, COUNT, wait) < 0 && errno != EINTR)
			return EX_OSERR;
		now = now_ms();
		if (fds[TERM].revents) {
			say_last_words(k, now);
			return EX_OK;
		}
		serve_clients(k, fds, now);
		if (fds[LISTENER].revents)
			take_clients(k, now);
		if (k->metrics)
			metrics_run(k->metrics);
	}
}

static int run(struct control *k, const struct runtime *rt, int control_fd, int metrics_fd)
{
	sigset_t term;

	/* TERM comes from the master, or at its death. As a descriptor it is seen beside whatever
	 * else is ready: ppoll(2) lets no signal in while anything is, and a listening socket that
	 * was shut down always is. */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	if ((k->term_fd = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK)) < 0 ||
	    figures_init(&k->figures, rt, now_ms()) != 0)
		return EX_OSERR;
	k->rt = rt;
	k->fd = control_fd;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		k->client[i] = (struct client){ .fd = -1, .kind = RESULTS_KINDS };
	xmllog_open(&k->log, rt->rings[rt->ring_count - 1], rt->log_wake_fd,
		    rt->config->set.log_level);
	if (metrics_fd >= 0) {
		k->metrics = metrics_start(metrics_fd, &k->figures);
		if (!k->metrics)
			return EX_OSERR;
	}
	return loop(k);
}

int control_main(const struct runtime *rt, int control_fd, int metrics_fd)
{
	struct control *k = calloc(1, sizeof(*k));
	int status = k ? run(k, rt, control_fd, metrics_fd) : EX_OSERR;

	free(k);
	return status;
}
