/* SPDX-License-Identifier: ISC */
/*
 * loop: connections, time, and who gets which message.
 *
 * Closed loop: every connection takes the next message as soon as it is done with its last one, or
 * is replaced by a new connection where it has carried its share. Open loop: message N is due at
 * start + N / rate, whatever became of those before; it is carried by a connection that waits, else
 * by a new one, else, where all are busy, by the first that gets free. Its latency begins when it
 * was due, so that a proxy that stalls pays for every message that should have come meanwhile.
 *
 * One edge-triggered registration for each connection serves its whole life. What a system call
 * reports as a failure ends that connection and is counted.
 */
#include "inner.h"

#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "io/net.h"
#include "smtp/proxy.h"

#define EVENTS	   512
#define SWEEP_US   100000u /* how often deadlines are looked at */
#define RISING_MAX 256u	   /* connections of --idle that are on their way up at a time */
#define LATE_US	   1000u   /* a message that begins so long after it was due is late */

static volatile sig_atomic_t asked_to_end;

uint64_t load_clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint64_t due_us(const struct load *l, uint64_t number)
{
	return l->figures.began_us + (uint64_t)((double)number * 1e6 / l->opt->rate);
}

static bool is_due(const struct load *l)
{
	if (l->stop || l->next >= l->opt->messages)
		return false;
	return l->opt->rate <= 0 || due_us(l, l->next) <= l->now_us;
}

static void give(struct load_connection *c)
{
	struct load *l = c->load;

	c->number = l->next++;
	c->began_us = l->opt->rate > 0 ? due_us(l, c->number) : load_clock_us();
	c->body = load_body_of(&l->bodies, c->number);
	c->chunked = 0;
	c->carries = true;
	c->sent++;
	load_head(c->head, c->number);
}

bool load_take(struct load_connection *c)
{
	if (c->sent >= c->load->opt->per_connection || !is_due(c->load))
		return false;
	give(c);
	return true;
}

void load_wait(struct load_connection *c)
{
	struct load *l = c->load;

	if (l->stop || l->next >= l->opt->messages || c->sent >= l->opt->per_connection) {
		load_dialog_quit(c);
		return;
	}
	list_del(&c->link);
	list_add_tail(&l->waiting, &c->link);
}

void load_idle(struct load_connection *c)
{
	c->load->figures.idle++;
	c->load->rising--;
	list_del(&c->link);
	list_add_tail(&c->load->waiting, &c->link);
}

static void lower(struct load_connection *c)
{
	if (!c->load->opt->idle)
		return;
	if (c->up)
		c->load->figures.idle--;
	else
		c->load->rising--;
}

static void drop(struct load_connection *c)
{
	struct load *l = c->load;

	lower(c);
	load_secure_end(c, c->want_count == 0);
	close(c->fd);
	c->fd = -1;
	l->active--;
	list_del(&c->link);
	list_add_tail(&l->unused, &c->link);
}

static void fail(struct load_connection *c, enum load_trouble why)
{
	load_dialog_fail(c, why);
	drop(c);
}

static void touch(struct load_connection *c)
{
	c->active_us = c->load->now_us;
	if (c->load->opt->idle && c->up)
		return;
	list_del(&c->link);
	list_add_tail(&c->load->busy, &c->link);
}

/* Sends what may leave. False: the connection is gone. */
static bool flush(struct load_connection *c)
{
	struct msghdr msg = { 0 };
	struct iovec *v;
	ssize_t n;

	for (;;) {
		if (c->piece_at == c->piece_count && !load_dialog_say(c))
			return true;
		msg.msg_iov = &c->pieces[c->piece_at];
		msg.msg_iovlen = c->piece_count - c->piece_at;
		n = c->ssl ? load_secure_send(c) : sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			fail(c, LOAD_LOST);
			return false;
		}
		touch(c);
		for (v = msg.msg_iov; c->piece_at < c->piece_count; v++, c->piece_at++) {
			if ((size_t)n < v->iov_len) {
				v->iov_base = (char *)v->iov_base + n;
				v->iov_len -= (size_t)n;
				break;
			}
			n -= (ssize_t)v->iov_len;
		}
	}
}

/* Receives all that is there. False: the connection is gone. */
static bool hear(struct load_connection *c)
{
	uint8_t *room;
	ssize_t n;

	for (;;) {
		room = buf_room(&c->in, 1);
		CHECK(room); /* a reply that fills the buffer is malformed */
		n = c->ssl ? load_secure_receive(c, room, c->in.cap - c->in.tail)
			   : recv(c->fd, room, c->in.cap - c->in.tail, 0);
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			fail(c, LOAD_LOST);
			return false;
		}
		buf_added(&c->in, (size_t)n);
		touch(c);
		if (load_dialog_hear(c) == LOAD_CLOSE) {
			drop(c);
			return false;
		}
		if (c->shaking || (!c->ssl && c->in.tail < c->in.cap))
			return true; /* the next octet is another edge */
	}
}

/* False: nothing else may be done yet, or the connection is gone. */
static bool shake(struct load_connection *c)
{
	const struct load_options *o = c->load->opt;

	switch (load_secure_shake(c)) {
	case LOAD_SHAKEN:
		touch(c);
		return true;
	case LOAD_SHAKE_FAILED:
		fail(c, LOAD_NO_TLS);
		return false;
	default:
		if (o->half_open == LOAD_BEHIND_HELLO && !c->up) {
			c->up = true;
			load_idle(c);
		}
		return false;
	}
}

/* The first octets of a connection, which has room for them. 0 or -errno. */
static int send_header(struct load *l, int fd)
{
	struct addr from = l->opt->proxied[l->proxied_next++ % l->opt->proxied_count];
	const struct smtp_proxy_more nothing = { 0 };
	uint8_t mem[SMTP_PROXY_MAX];
	struct span header;
	struct addr local;
	struct buf out;

	net_local(fd, &local);
	from.port = local.port;
	buf_init(&out, mem, sizeof(mem));
	CHECK(smtp_proxy_write(&from, &l->opt->to, &nothing, &out) == 0);
	header = buf_span(&out);
	return send(fd, header.p, header.n, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The connection stands. False: nothing else may be done yet, or it is gone. */
static bool connected(struct load_connection *c)
{
	const struct load_options *o = c->load->opt;

	c->connecting = false;
	if (o->proxied_count && send_header(c->load, c->fd) < 0) {
		fail(c, LOAD_LOST);
		return false;
	}
	if (o->half_open == LOAD_BEFORE_HELLO) {
		c->up = true;
		load_idle(c);
		return false;
	}
	if (o->tls == LOAD_TLS_FIRST)
		load_secure_begin(c);
	return true;
}

static int connect_from(struct load *l, int fd)
{
	const struct load_options *o = l->opt;
	struct sockaddr_storage ss;
	socklen_t n;
	int one = 1;

	if (o->from_count) {
		n = addr_to_sockaddr(&o->from[l->from_next++ % o->from_count], &ss);
		/* The port is chosen at connect, or a source would have too few. */
		if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0 ||
		    bind(fd, (struct sockaddr *)&ss, n) < 0)
			return -errno;
	}
	n = addr_to_sockaddr(&o->to, &ss);
	return connect(fd, (struct sockaddr *)&ss, n) < 0 ? -errno : 0;
}

static void watch(struct load *l, struct load_connection *c)
{
	struct epoll_event e = { EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, { .ptr = c } };

	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
		err(EX_OSERR, "epoll_ctl");
}

/* A new connection, with the next message where mail is sent. */
static void open_connection(struct load *l)
{
	struct load_connection *c = container_of(l->unused.next, struct load_connection, link);
	int res;

	c->fd = net_socket(&l->opt->to);
	if (c->fd < 0) {
		errno = -c->fd;
		err(EX_OSERR, "socket");
	}
	l->active++;
	l->figures.connections++;
	c->sent = 0;
	c->carries = false;
	c->connecting = true;
	load_dialog_begin(c);
	touch(c);
	if (l->opt->idle)
		l->rising++;
	else
		give(c);
	res = connect_from(l, c->fd);
	if (res < 0 && res != -EINPROGRESS)
		fail(c, LOAD_NO_CONNECTION);
	else
		watch(l, c);
}

static void on_event(struct load_connection *c, uint32_t events)
{
	if (c->fd < 0)
		return; /* ended by an event of the same turn */
	if (c->connecting) {
		int error = 0;
		socklen_t n = sizeof(error);

		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error) {
			fail(c, LOAD_NO_CONNECTION);
			return;
		}
		if (!connected(c))
			return;
	}
	if (c->up && c->load->opt->half_open) {
		if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			fail(c, LOAD_LOST);
		return;
	}
	if (c->shaking && !shake(c))
		return;
	/* TLS may have received octets of a reply with the end of the handshake. */
	if ((c->ssl || events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && !hear(c))
		return;
	if (c->shaking && !shake(c))
		return;
	if (!flush(c))
		return;
	/* With an edge for each change, the end is looked for where it has been announced. */
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		(void)hear(c);
}

static void begin_what_is_due(struct load *l)
{
	const struct load_options *o = l->opt;
	struct load_connection *c;

	if (o->idle) {
		while (!l->stop && l->active < o->idle && l->rising < RISING_MAX)
			open_connection(l);
		return;
	}
	while (is_due(l)) {
		if (o->rate > 0 && l->now_us - due_us(l, l->next) > LATE_US &&
		    l->active < o->connections)
			l->figures.late++;
		if (list_linked(&l->waiting)) {
			c = container_of(l->waiting.prev, struct load_connection, link);
			give(c);
			load_dialog_message(c);
			touch(c);
			(void)flush(c);
		} else if (l->active < o->connections) {
			open_connection(l);
		} else {
			return;
		}
	}
}

/* Nobody needs the connections that wait any more. */
static void send_home(struct load *l)
{
	struct load_connection *c;
	struct list *at, *tmp;

	if (!l->stop && l->next < l->opt->messages)
		return;
	list_for_each (at, tmp, &l->waiting) {
		c = container_of(at, struct load_connection, link);
		load_dialog_quit(c);
		touch(c);
		(void)flush(c);
	}
}

static void sweep(struct load *l)
{
	uint64_t patience = (uint64_t)l->opt->timeout_s * 1000000u;
	struct load_connection *c;

	while (list_linked(&l->busy)) {
		c = container_of(l->busy.next, struct load_connection, link);
		if (l->now_us - c->active_us < patience)
			return;
		fail(c, LOAD_TIMED_OUT);
	}
}

/* How long nothing is due. */
static struct timespec pause_until_due(const struct load *l)
{
	uint64_t us = SWEEP_US, due;

	if (l->opt->rate > 0 && !l->stop && l->next < l->opt->messages) {
		due = due_us(l, l->next);
		/* What is due and has no connection waits for one that gets free. */
		if (due > l->now_us && due - l->now_us < us)
			us = due - l->now_us;
	}
	return (struct timespec){ (time_t)(us / 1000000u), (long)(us % 1000000u) * 1000 };
}

static void turn(struct load *l)
{
	static struct epoll_event events[EVENTS];
	struct timespec pause = pause_until_due(l);
	int n = epoll_pwait2(l->epoll, events, EVENTS, &pause, NULL);

	if (n < 0 && errno != EINTR)
		err(EX_OSERR, "epoll_pwait2");
	l->now_us = load_clock_us();
	for (int i = 0; i < n; i++)
		on_event(events[i].data.ptr, events[i].events);
	begin_what_is_due(l);
	if (!l->opt->idle)
		send_home(l);
	sweep(l);
}

static void on_signal(int sig)
{
	(void)sig;
	asked_to_end = 1;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void make_connections(struct load *l, unsigned count)
{
	list_init(&l->busy);
	list_init(&l->waiting);
	list_init(&l->unused);
	l->connections = calloc(count, sizeof(*l->connections));
	if (!l->connections)
		err(EX_OSERR, "connections");
	for (unsigned i = 0; i < count; i++) {
		l->connections[i].load = l;
		l->connections[i].fd = -1;
		list_init(&l->connections[i].link);
		list_add_tail(&l->unused, &l->connections[i].link);
	}
}

/* --idle: until all are up (which is said), and then until told to end. */
static void run_idle(struct load *l)
{
	while (!asked_to_end && l->figures.idle < l->opt->idle && !l->stop) {
		turn(l);
		/* They do not come up, or not for long. */
		l->stop = l->figures.connections > 2 * (uint64_t)l->opt->idle;
	}
	l->figures.ended_us = load_clock_us();
	printf("caronte-load: idle, %u connections\n", l->figures.idle);
	fflush(stdout);
	l->stop = true; /* what is lost from now on is not replaced */
	while (!asked_to_end && l->active)
		turn(l);
}

void load_run(struct load *l)
{
	struct sigaction ends = { .sa_handler = on_signal };

	sigaction(SIGINT, &ends, NULL);
	sigaction(SIGTERM, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	make_connections(l, l->opt->idle ? l->opt->idle : l->opt->connections);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		err(EX_OSERR, "epoll_create1");
	l->figures.began_cpu_s = cpu_seconds();
	l->figures.began_us = l->figures.ended_us = l->now_us = load_clock_us();
	if (l->opt->idle) {
		run_idle(l);
	} else {
		begin_what_is_due(l);
		while ((l->active || (!l->stop && l->next < l->opt->messages)) && !asked_to_end)
			turn(l);
	}
	l->figures.ended_cpu_s = cpu_seconds();
}
