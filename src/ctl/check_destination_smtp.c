/* SPDX-License-Identifier: ISC */
/* check_destination_smtp: see check_destination_smtp.h. */
#include "ctl/check_destination_smtp.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io/net.h"
#include "ctl/check_destination_tls.h"
#include "io/stream.h"
#include "smtp/proxy.h"

#define STEPS	  20 /* the time of so many is that of a connection */
#define SETTLE_MS 200
#define QUEUE_MS  20

uint64_t probe_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* What came of EVENTS before UNTIL, 0: none of them. */
static short await(int fd, short events, uint64_t until)
{
	for (;;) {
		uint64_t now = probe_now_ms();
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, now < until ? (int)(until - now) : 0);

		if (n > 0)
			return p.revents;
		if (n == 0 || errno != EINTR)
			return 0;
	}
}

static uint64_t step_end(const struct probe_smtp *s)
{
	uint64_t until = probe_now_ms() + s->patience_ms;

	return until < s->end_ms ? until : s->end_ms;
}

int probe_socket(const struct probe_place *at)
{
	return at->path ? net_path_socket() : net_socket(&at->addr);
}

int probe_connect(int fd, const struct probe_place *at, uint64_t until)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int res = 0;

	if (at->path) {
		while ((res = net_connect_path(fd, at->path)) == -EAGAIN && probe_now_ms() < until)
			poll(NULL, 0, QUEUE_MS);
		return res;
	}
	len = addr_to_sockaddr(&at->addr, &ss);
	return connect(fd, (struct sockaddr *)&ss, len) != 0 ? -errno : 0;
}

/* Waits until connect(2) has ended. */
static int dialled(const struct probe_smtp *s)
{
	socklen_t size = sizeof(int);
	int err = 0;

	if (!await(s->fd, POLLOUT, step_end(s)))
		return -ETIMEDOUT;
	return getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &size) != 0 ? -errno : -err;
}

/* S is connected to AT: says the header that AT's identity wants. 0 or -errno. */
static int present(struct probe_smtp *s, const struct probe_place *at)
{
	static const struct smtp_proxy_more none = { .name = NULL };
	bool line = at->identity == ROUTE_IDENTITY_PROXY1;
	struct addr from = at->client, to = at->addr;
	uint8_t mem[SMTP_PROXY_MAX];
	struct buf out;
	int res;

	if (!route_identity_binds(at->identity))
		return 0;
	if (line && !from.family && !at->path)
		net_local(s->fd, &from); /* as the daemon does: upstream/present.c */
	buf_init(&out, mem, sizeof(mem));
	res = line ? smtp_proxy_write_line(&from, &to, &out)
		   : smtp_proxy_write(&from, &to, &none, &out);
	if (res == 0 && !probe_send(s, mem, buf_len(&out)))
		res = -ETIMEDOUT;
	return res;
}

int probe_dial(struct probe_smtp *s, const struct probe_place *at, unsigned patience_ms)
{
	int res;

	*s = (struct probe_smtp){ .patience_ms = patience_ms, .is_local = at->path };
	s->end_ms = probe_now_ms() + (uint64_t)STEPS * patience_ms;
	s->fd = probe_socket(at);
	if (s->fd < 0)
		return s->fd;
	res = probe_connect(s->fd, at, step_end(s));
	if (res == -EINPROGRESS)
		res = dialled(s);
	if (!res)
		res = present(s, at);
	if (!res && at->tls)
		res = probe_tls_begin(s, at->tls);
	if (res)
		probe_hang_up(s);
	return res;
}

const char *probe_error(const struct probe_smtp *s, int err)
{
	return err == -EPROTO && *s->why ? s->why : strerror(-err);
}

bool probe_await(const struct probe_smtp *s, bool write)
{
	return await(s->fd, write ? POLLOUT : POLLIN, step_end(s));
}

void probe_hang_up(struct probe_smtp *s)
{
	SSL_free(s->ssl);
	s->ssl = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static ssize_t receive(struct probe_smtp *s)
{
	uint8_t *out = s->in + s->got;
	size_t room = sizeof(s->in) - s->got;

	return s->ssl ? probe_tls_recv(s, out, room) : recv(s->fd, out, room, 0);
}

/* Takes what has come. False: there is no room for more. */
static bool take(struct probe_smtp *s)
{
	ssize_t n;

	if (s->got == sizeof(s->in))
		return false;
	n = receive(s);
	if (n > 0)
		s->got += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		s->ended = true;
	return true;
}

/* Until there is room to send, or a reply was taken. Who sends so many replies that they are not
 * all taken does not read one message any more. */
static bool await_room(struct probe_smtp *s, uint64_t until)
{
	short found = await(s->fd, s->ended ? POLLOUT : POLLOUT | POLLIN, until);

	return found && (!(found & POLLIN) || take(s));
}

bool probe_send(struct probe_smtp *s, const void *octets, size_t n)
{
	const char *p = octets;
	uint64_t until = step_end(s);

	while (n > 0) {
		ssize_t sent = s->ssl ? probe_tls_send(s, p, n) : send(s->fd, p, n, MSG_NOSIGNAL);

		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		} else if (errno != EINTR && (errno != EAGAIN || !await_room(s, until))) {
			return false;
		}
	}
	return probe_now_ms() < s->end_ms;
}

bool probe_settle(struct probe_smtp *s)
{
	uint64_t until = step_end(s);
	struct stream st = s->is_local ? stream_of_local(s->fd) : stream_of(s->fd);
	int acked = stream_acked(&st);

	for (; probe_now_ms() < until && acked > STREAM_ACKED_ALL; acked = stream_acked(&st))
		poll(NULL, 0, 10);
	/* Its kernel has all; its program is given the time to read that. */
	poll(NULL, 0, SETTLE_MS);
	return probe_now_ms() < s->end_ms;
}

bool probe_has_heard(struct probe_smtp *s)
{
	/* What TLS says for itself is no word. */
	if (s->ssl && s->got == s->taken)
		(void)take(s);
	return s->got > s->taken || (s->ssl ? s->ended : await(s->fd, POLLIN, 0));
}

void probe_say(struct probe_smtp *s, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 2, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line) - 2)
		return;
	memcpy(line + n, "\r\n", 2);
	probe_send(s, line, (size_t)n + 2);
}

enum probe_heard probe_hear(struct probe_smtp *s, struct smtp_reply *reply)
{
	uint64_t until = step_end(s);

	memmove(s->in, s->in + s->taken, s->got - s->taken);
	s->got -= s->taken;
	s->taken = 0;
	for (;;) {
		ssize_t n;

		switch (smtp_reply_parse(span_of(s->in, s->got), reply, &s->taken)) {
		case SMTP_REPLY_OK:
			return PROBE_REPLY;
		case SMTP_REPLY_BAD:
			s->taken = s->got;
			reply->text = span_of(s->in, s->got);
			return PROBE_MALFORMED;
		case SMTP_REPLY_MORE:
			break;
		}
		s->taken = 0;
		n = receive(s); /* TLS may have it already */
		if (n > 0)
			s->got += (size_t)n;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return PROBE_CLOSED;
		else if (!await(s->fd, POLLIN, until))
			return PROBE_SILENT;
	}
}
