/* SPDX-License-Identifier: ISC */
/*
 * Whole sessions, between client threads and a destination that checks what it gets, on each engine
 * and on the fake one, which shortens, delays, reorders and fails what it is asked for. Whatever
 * happens: a message is accepted by the destination whole and unchanged or not at all, what a
 * client was told 250 for was accepted, and afterwards nothing is left in any pool.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "config/load.h"
#include "io/net.h"
#include "route/parse.h"
#include "route/shared.h"
#include "session/session.h"

#define CLIENTS	 8
#define MESSAGES 4 /* of each client, on one connection */
#define BODY_MAX 1200000
#define RING	 (1 << 16)

/* What the destination does instead of taking a message, now and then. */
enum mischief {
	TAKES,
	CLOSES_IN_BODY,
	RESETS_IN_BODY,
	REFUSES_IN_BODY,
	SAYS_421,
	REFUSES_END,
	KINDS
};

struct world {
	uint64_t seed;
	bool mischief;
	int proxy_fd, dest_fd;
	struct addr proxy_addr, dest_addr;
	_Atomic unsigned clients_left;
	_Atomic unsigned dest_open;
	atomic_bool over;
	_Atomic unsigned accepted[CLIENTS * MESSAGES]; /* times the destination has said 250 */
	_Atomic unsigned acknowledged[CLIENTS * MESSAGES];
	atomic_bool by_data[CLIENTS * MESSAGES]; /* how the client sends it */
	_Atomic unsigned damaged;
};

struct task {
	struct world *world;
	unsigned number;
	int fd;
	uint64_t random;
	char in[8192];
	size_t have;
};

/* ---- both peers: blocking sockets, lines ---- */

static bool send_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
		n -= (size_t)sent;
	}
	return true;
}

/* The next line without its CR LF; false at the end. */
static bool read_line(struct task *t, char *line, size_t cap)
{
	for (;;) {
		char *end = memmem(t->in, t->have, "\r\n", 2);

		if (end) {
			size_t n = (size_t)(end - t->in);

			assert_true(n < cap);
			memcpy(line, t->in, n);
			line[n] = '\0';
			t->have -= n + 2;
			memmove(t->in, end + 2, t->have);
			return true;
		}
		assert_true(t->have < sizeof(t->in));
		ssize_t got = recv(t->fd, t->in + t->have, sizeof(t->in) - t->have, 0);

		if (got <= 0)
			return false;
		t->have += (size_t)got;
	}
}

/* ---- the client ---- */

static int read_reply(struct task *t)
{
	char line[600];

	do {
		if (!read_line(t, line, sizeof(line)))
			return -1;
	} while (line[3] == '-');
	return atoi(line);
}

static int ask(struct task *t, const char *line)
{
	char out[300];
	int n = snprintf(out, sizeof(out), "%s\r\n", line);

	return send_all(t->fd, out, (size_t)n) ? read_reply(t) : -1;
}

/* A body whose every octet follows from its number, in lines, some of which begin with a dot. */
static size_t make_body(unsigned id, uint64_t seed, char *out)
{
	uint64_t state = seed * 1000 + id + 1;
	size_t size = fake_below(&state, 10) ? fake_below(&state, 4000)
					     : fake_below(&state, BODY_MAX - 2000);
	size_t n = (size_t)sprintf(out, "message %u\r\n", id);

	while (n < size) {
		unsigned width = fake_below(&state, 120);

		if (fake_below(&state, 8) == 0) {
			out[n++] = '.';
			out[n++] = '.';
		}
		for (unsigned i = 0; i < width; i++)
			out[n++] = (char)(' ' + 1 + (char)fake_below(&state, 90));
		if (width && out[n - width] == '.' && out[n - width - 1] == '\n')
			out[n - width] = 'x';
		out[n++] = '\r';
		out[n++] = '\n';
	}
	return n;
}

static bool send_in_pieces(struct task *t, const char *p, size_t n)
{
	size_t at = 0;

	while (at < n) {
		size_t step = 1 + fake_below(&t->random, n > 50000 ? 50000 : 700);

		step = step < n - at ? step : n - at;
		if (!send_all(t->fd, p + at, step))
			return false;
		at += step;
	}
	return true;
}

/* The answer to the end of data. */
static int send_data(struct task *t, char *body, size_t n)
{
	if (ask(t, "DATA") != 354)
		return -1;
	memcpy(body + n, ".\r\n", 3);
	return send_in_pieces(t, body, n + 3) ? read_reply(t) : -1;
}

/* The answer to the last of some chunks, each of which is waited for, or all go together. */
static int send_chunks(struct task *t, const char *body, size_t n)
{
	bool waits = fake_below(&t->random, 2) == 0;
	unsigned open = 0;
	size_t at = 0;
	int code = 250;
	bool last;

	do {
		size_t size = fake_below(&t->random, 3) ? fake_below(&t->random, (unsigned)n + 1)
							: n - at;
		char line[64];

		size = size < n - at ? size : n - at;
		last = at + size == n && fake_below(&t->random, 2);
		int k = snprintf(line, sizeof(line), "BDAT %zu%s\r\n", size, last ? " LAST" : "");

		if (!send_all(t->fd, line, (size_t)k) || !send_in_pieces(t, body + at, size))
			return -1;
		at += size;
		open++;
		while (open && (waits || last || open > 5)) {
			code = read_reply(t);
			open--;
			if (code != 250)
				return code;
		}
	} while (!last);
	return code;
}

static bool send_message(struct task *t, unsigned id, char *body)
{
	size_t n = make_body(id, t->world->seed, body);

	if (ask(t, "MAIL FROM:<a@example.org>") != 250 || ask(t, "RCPT TO:<b@example.net>") != 250)
		return false;
	bool by_data = fake_below(&t->random, 2) == 0;

	t->world->by_data[id] = by_data;
	int code = by_data ? send_data(t, body, n) : send_chunks(t, body, n);

	if (code == 250)
		t->world->acknowledged[id]++;
	return code == 250;
}

static void *client(void *arg)
{
	struct task *t = arg;
	char *body = malloc(BODY_MAX + 4096);
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&t->world->proxy_addr, &ss);

	assert_non_null(body);
	t->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(t->fd, (struct sockaddr *)&ss, len) == 0 && read_reply(t) == 220 &&
	    ask(t, "EHLO client") == 250) {
		unsigned m = 0;

		while (m < MESSAGES && send_message(t, t->number * MESSAGES + m, body))
			m++;
		if (m == MESSAGES)
			ask(t, "QUIT");
	}
	close(t->fd);
	free(body);
	free(t);
	return NULL;
}

static void *client_thread(void *arg)
{
	struct world *w = ((struct task *)arg)->world;

	client(arg);
	w->clients_left--;
	return NULL;
}

/* ---- the destination ---- */

/* What is done in the middle of a body; false: the connection ends. */
static bool play_mischief(struct task *t, enum mischief *mischief)
{
	const char *text = *mischief == SAYS_421 ? "421 busy\r\n" : "552 no\r\n";

	switch (*mischief) {
	case RESETS_IN_BODY:
		setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
			   sizeof(struct linger));
		return false;
	case CLOSES_IN_BODY:
		return false;
	case REFUSES_IN_BODY:
	case SAYS_421:
		send_all(t->fd, text, strlen(text));
		*mischief = TAKES;
		return true;
	default:
		return true;
	}
}

/* Takes off the dots that stuff lines; how many octets are left. */
static size_t unstuff(char *text, size_t n)
{
	size_t to = 0;

	for (size_t i = 0; i < n; i++)
		if (text[i] != '.' || i == 0 || text[i - 1] != '\n')
			text[to++] = text[i];
	return to;
}

/* The number of a whole message, or -1 where it is none. */
static int number_of(struct task *t, const char *body, size_t n, bool chunked, char *want)
{
	unsigned id = 0;

	if (sscanf(body, "message %u", &id) == 1 && id < CLIENTS * MESSAGES) {
		size_t size = make_body(id, t->world->seed, want);

		if (chunked && t->world->by_data[id])
			size = unstuff(want, size);
		if (size == n && memcmp(body, want, n) == 0)
			return (int)id;
	}
	fprintf(stderr, "seed %llu: %zu octets came, beginning %.20s\n",
		(unsigned long long)t->world->seed, n, body);
	t->world->damaged++;
	return -1;
}

/* Takes a body off; its number, or -1 when the connection ended first. */
static int take_body(struct task *t, enum mischief mischief, char *body, char *want)
{
	char line[600];
	size_t n = 0;
	unsigned lines = 0;

	for (;;) {
		if (!read_line(t, line, sizeof(line)))
			return -1;
		if (strcmp(line, ".") == 0)
			break;
		n += (size_t)sprintf(body + n, "%s\r\n", line);
		if (++lines >= 3 && !play_mischief(t, &mischief))
			return -1;
	}
	return number_of(t, body, n, false, want);
}

static enum mischief choose_mischief(struct task *t)
{
	if (!t->world->mischief || fake_below(&t->random, 3))
		return TAKES;
	return fake_below(&t->random, KINDS);
}

static bool take_octets(struct task *t, char *out, size_t n)
{
	while (n > 0) {
		size_t some = t->have < n ? t->have : n;

		memcpy(out, t->in, some);
		t->have -= some;
		memmove(t->in, t->in + some, t->have);
		out += some;
		n -= some;
		ssize_t got = n ? recv(t->fd, out, n, 0) : 0;

		if (n && got <= 0)
			return false;
		out += got;
		n -= (size_t)got;
	}
	return true;
}

static bool accept_message(struct task *t, int id, enum mischief mischief)
{
	if (mischief == REFUSES_END)
		return send_all(t->fd, "452 full\r\n", 10);
	t->world->accepted[id]++;
	return send_all(t->fd, "250 kept\r\n", 10);
}

/* One chunk of a message, of which *HAVE octets are in BODY. */
static bool serve_chunk(struct task *t, const char *line, char *body, size_t *have, char *want)
{
	enum mischief mischief = choose_mischief(t);
	size_t size = strtoul(line + 5, NULL, 10);
	bool last = strstr(line, " LAST") != NULL;

	assert_true(*have + size <= BODY_MAX + 4000);
	if (!take_octets(t, body + *have, size / 2) || !play_mischief(t, &mischief) ||
	    !take_octets(t, body + *have + size / 2, size - size / 2))
		return false;
	*have += size;
	if (!last)
		return send_all(t->fd, mischief == REFUSES_END ? "452 full\r\n" : "250 more\r\n",
				10);
	int id = number_of(t, body, *have, true, want);

	*have = 0;
	return id >= 0 && accept_message(t, id, mischief);
}

static bool serve_data(struct task *t, char *body, char *want)
{
	enum mischief mischief = choose_mischief(t);

	if (!send_all(t->fd, "354 go\r\n", 8))
		return false;
	int id = take_body(t, mischief, body, want);

	return id >= 0 && accept_message(t, id, mischief);
}

static void *destination(void *arg)
{
	struct task *t = arg;
	char *body = malloc(BODY_MAX + 4096), *want = malloc(BODY_MAX + 4096);
	char line[600];
	size_t have = 0;

	assert_non_null(body);
	assert_non_null(want);
	bool good = send_all(t->fd, "220 dest\r\n", 10);

	while (good && read_line(t, line, sizeof(line))) {
		if (strncmp(line, "EHLO", 4) == 0)
			good = send_all(
				t->fd, "250-dest\r\n250-PIPELINING\r\n250-SIZE\r\n250 CHUNKING\r\n",
				50);
		else if (strncmp(line, "BDAT", 4) == 0)
			good = serve_chunk(t, line, body, &have, want);
		else if (strncmp(line, "DATA", 4) == 0)
			good = serve_data(t, body, want);
		else
			good = send_all(t->fd, "250 ok\r\n", 8);
	}
	close(t->fd);
	free(body);
	free(want);
	t->world->dest_open--;
	free(t);
	return NULL;
}

static void start_thread(struct world *w, void *(*run)(void *), unsigned number, int fd)
{
	struct task *t = calloc(1, sizeof(*t));
	pthread_t thread;

	assert_non_null(t);
	*t = (struct task){ .world = w, .number = number, .fd = fd };
	t->random = w->seed * 7919 + number + 1;
	assert_int_equal(pthread_create(&thread, NULL, run, t), 0);
	pthread_detach(thread);
}

static void *destination_listener(void *arg)
{
	struct world *w = arg;
	unsigned n = 0;

	while (!w->over) {
		struct pollfd p = { .fd = w->dest_fd, .events = POLLIN };

		if (poll(&p, 1, 20) != 1)
			continue;
		int fd = accept(w->dest_fd, NULL, NULL);

		if (fd >= 0) {
			w->dest_open++;
			start_thread(w, destination, 1000 + n++, fd);
		}
	}
	return NULL;
}

/* ---- the proxy ---- */

struct proxy {
	struct context ctx;
	struct context_version version;
	struct runtime rt;
	struct config *config;
	struct route route;
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

static void make_proxy(struct proxy *p, struct world *w, struct io *io, const char *body)
{
	const char *set[] = { body,
			      "LOG_LEVEL=0",
			      "TIMEOUT_CONNECT=5",
			      "TIMEOUT_COMMAND=10",
			      "TIMEOUT_DATA=10",
			      "TIMEOUT_REPLY=10",
			      "TIMEOUT_DATA_DONE=10" };
	char name[64];
	struct context *k = &p->ctx;

	*p = (struct proxy){ 0 };
	p->config = config_load(NULL, set, sizeof(set) / sizeof(*set));
	config_print_faults(p->config, stderr);
	assert_int_equal(p->config->fault_count, 0);
	snprintf(name, sizeof(name), "127.0.0.1:%u", w->dest_addr.port);
	assert_true(
		route_parse(&p->route, name, ROUTE_SINGLE, ROUTE_LEAST_SESSIONS, bad_route, NULL));
	p->rt = (struct runtime){ .config = p->config, .route = &p->route, .workers = 1 };
	p->rt.route_shared = calloc(1, route_shared_room());
	route_shared_init(p->rt.route_shared, &p->route);
	route_set_addresses(p->rt.route_shared, 0, &w->dest_addr, 1);
	p->rt.seats = calloc(1, seats_room(CLIENTS));
	assert_int_equal(seats_init(p->rt.seats, CLIENTS), 0);
	k->io = io;
	list_init(&k->open);
	xmllog_open(&k->log, NULL, -1, 0);
	p->rt.channel_fd = -1;
	k->session_gone = session_gone;
	list_init(&k->versions);
	p->version.rt = p->rt;
	context_version_begin(k, &p->version, NULL);
	assert_int_equal(pool_init(&k->sessions, sizeof(struct session), CLIENTS), 0);
	assert_int_equal(pool_init(&k->more, sizeof(struct dialog_more), CLIENTS), 0);
	assert_int_equal(pool_init(&k->splices, sizeof(struct session_splice), WORKER_PIPES), 0);
	assert_int_equal(pool_init(&k->works, sizeof(struct session_work), CLIENTS), 0);
	assert_int_equal(pool_init(&k->letters, sizeof(struct dialog_letter), CLIENTS), 0);
	assert_int_equal(pool_init(&k->reaches, sizeof(struct session_reach), CLIENTS), 0);
	assert_int_equal(pool_init(&k->bodies, sizeof(struct session_body), 2 * CLIENTS), 0);
	assert_int_equal(io_pipes_init(&k->pipes, 4), 0);
}

static void end_proxy(struct proxy *p)
{
	struct context *k = &p->ctx;

	assert_int_equal(seats_sessions(p->rt.seats), 0);
	assert_int_equal(k->newest->users, 0);
	assert_int_equal(k->sessions.in_use, 0);
	assert_int_equal(k->works.in_use, 0);
	assert_int_equal(k->letters.in_use, 0);
	assert_int_equal(k->reaches.in_use, 0);
	assert_int_equal(k->more.in_use, 0);
	assert_int_equal(k->splices.in_use, 0);
	assert_int_equal(k->bodies.in_use, 0);
	io_pipes_destroy(&k->pipes);
	pool_destroy(&k->sessions);
	pool_destroy(&k->works);
	pool_destroy(&k->letters);
	pool_destroy(&k->reaches);
	pool_destroy(&k->more);
	pool_destroy(&k->splices);
	pool_destroy(&k->bodies);
	free(p->rt.seats);
	free(p->rt.route_shared);
	config_free(p->config);
}

static void accept_clients(struct proxy *p, struct world *w)
{
	for (;;) {
		struct addr addr;
		int fd = net_accept(w->proxy_fd, &addr);
		uint32_t seat;

		if (fd < 0)
			return;
		net_prepare(fd);
		const struct session_client client = { .stream = stream_of(fd), .addr = addr };

		assert_int_equal(seats_take(p->rt.seats, 0, &addr, true, 0, &seat), SEATS_OK);
		assert_true(session_start(&p->ctx, &client, SESSION_SERVE, seat));
	}
}

static void play(const struct io_backend *backend, uint64_t seed, bool mischief, unsigned fail,
		 const char *body)
{
	struct fake_rates rates = { .seed = seed,
				    .shorten = (unsigned)(seed * 13 % 60),
				    .delay = (unsigned)(seed * 29 % 60),
				    .fail = fail };
	struct io_limits limits = { .ops = 256, .block_size = WORKER_BLOCK, .block_count = 4 };
	struct world *w = calloc(1, sizeof(*w));
	struct proxy *p = calloc(1, sizeof(*p));
	const char *why = NULL;
	struct io *io;
	pthread_t listener;
	unsigned all = 0;

	assert_non_null(w);
	assert_non_null(p);
	/* The other backends take something else there, or nothing. */
	void *arg = backend == &fake_backend ? &rates : NULL;

	if (io_create_with(&io, backend, &limits, arg, &why) < 0) {
		assert_ptr_equal(backend, &io_backend_uring);
		free(w);
		free(p);
		skip();
	}
	*w = (struct world){ .seed = seed, .mischief = mischief, .clients_left = CLIENTS };
	w->proxy_fd = tcp_listener(&w->proxy_addr);
	w->dest_fd = tcp_listener(&w->dest_addr);
	set_nonblock(w->proxy_fd);
	make_proxy(p, w, io, body);
	assert_int_equal(pthread_create(&listener, NULL, destination_listener, w), 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		start_thread(w, client_thread, i, -1);
	while (w->clients_left > 0 || p->ctx.open_count > 0) {
		accept_clients(p, w);
		assert_true(io_run_once(io, 1) >= 0);
	}
	w->over = true;
	pthread_join(listener, NULL);
	while (w->dest_open > 0)
		usleep(1000);
	end_proxy(p);
	io_destroy(io);
	close(w->proxy_fd);
	close(w->dest_fd);
	assert_int_equal(w->damaged, 0);
	for (unsigned i = 0; i < CLIENTS * MESSAGES; i++) {
		assert_true(w->acknowledged[i] <= w->accepted[i]);
		assert_true(w->accepted[i] <= 1);
		all += w->acknowledged[i];
	}
	if (!mischief && !fail)
		assert_int_equal(all, CLIENTS * MESSAGES);
	free(w);
	free(p);
}

static const char *const bodies[] = { "BODY_AUTO=y", "BODY_SPLICE=y", "BODY_COPY=y",
				      "BARE_NEWLINE_NORMALIZE=y" };

static void play_bodies(const struct io_backend *backend, uint64_t seed, bool mischief,
			unsigned fail)
{
	for (unsigned i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
		play(backend, seed + i, mischief, fail, bodies[i]);
}

static void on_uring(void **state)
{
	(void)state;
	play_bodies(&io_backend_uring, 1, false, 0);
	for (uint64_t seed = 10; seed < 16; seed += 3)
		play_bodies(&io_backend_uring, seed, true, 0);
}

static void on_epoll(void **state)
{
	(void)state;
	play_bodies(&io_backend_epoll, 1, false, 0);
	for (uint64_t seed = 10; seed < 16; seed += 3)
		play_bodies(&io_backend_epoll, seed, true, 0);
}

static void on_fake(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 10; seed += 3)
		play_bodies(&fake_backend, seed, false, 0);
}

static void on_fake_with_mischief(void **state)
{
	(void)state;
	for (uint64_t seed = 20; seed < 32; seed += 3)
		play_bodies(&fake_backend, seed, true, 0);
}

static void on_fake_with_faults(void **state)
{
	(void)state;
	for (uint64_t seed = 40; seed < 52; seed += 3)
		play_bodies(&fake_backend, seed, true, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_uring),
		cmocka_unit_test(on_epoll),
		cmocka_unit_test(on_fake),
		cmocka_unit_test(on_fake_with_mischief),
		cmocka_unit_test(on_fake_with_faults),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
