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

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* True when EVENTS came about before UNTIL. */
static bool await(int fd, short events, uint64_t until)
{
	for (;;) {
		uint64_t now = now_ms();
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, now < until ? (int)(until - now) : 0);

		if (n > 0)
			return true;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

int probe_dial(struct probe_smtp *s, const struct addr *a, unsigned patience_ms)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss), size = sizeof(int);
	int err = 0;

	*s = (struct probe_smtp){ .patience_ms = patience_ms };
	s->fd = net_socket(a);
	if (s->fd < 0)
		return s->fd;
	if (connect(s->fd, (struct sockaddr *)&ss, len) != 0) {
		err = errno;
		if (err == EINPROGRESS && !await(s->fd, POLLOUT, now_ms() + patience_ms))
			err = ETIMEDOUT;
		else if (err == EINPROGRESS &&
			 getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &size) != 0)
			err = errno;
	}
	if (err)
		probe_hang_up(s);
	return -err;
}

void probe_hang_up(struct probe_smtp *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void probe_send(struct probe_smtp *s, const void *octets, size_t n)
{
	const char *p = octets;
	uint64_t until = now_ms() + s->patience_ms;

	while (n > 0) {
		ssize_t sent = send(s->fd, p, n, MSG_NOSIGNAL);

		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		} else if (errno != EINTR && (errno != EAGAIN || !await(s->fd, POLLOUT, until))) {
			return;
		}
	}
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
	uint64_t until = now_ms() + s->patience_ms;

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
			return PROBE_MALFORMED;
		case SMTP_REPLY_MORE:
			break;
		}
		s->taken = 0;
		if (!await(s->fd, POLLIN, until))
			return PROBE_SILENT;
		n = recv(s->fd, s->in + s->got, sizeof(s->in) - s->got, 0);
		if (n > 0)
			s->got += (size_t)n;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return PROBE_CLOSED;
	}
}

void probe_own_name(const struct probe_smtp *s, char *out)
{
	struct addr a;
	char ip[ADDR_TEXT_MAX];

	net_local(s->fd, &a);
	addr_format_ip(&a, ip);
	snprintf(out, 64, a.family == 6 ? "[IPv6:%s]" : "[%s]", ip);
}
