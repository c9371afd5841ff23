/* SPDX-License-Identifier: ISC */
/*
 * net: see net.h. Sockets for TCP, and Unix stream sockets. It refuses host names that a resolver
 * would take for odd spellings of an address ("127.1", "0x7f.1"): what the operator reads is what
 * is used.
 */
#include "io/net.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST_MAX 253 /* RFC 1035 2.3.4, as text without the final dot */

static int set(int fd, int level, int option)
{
	int on = 1;

	return setsockopt(fd, level, option, &on, sizeof(on));
}

static int stream_socket(const struct addr *addr)
{
	int family = addr->family == 4 ? AF_INET : AF_INET6;
	int fd;

	if (addr->family != 4 && addr->family != 6)
		return -EAFNOSUPPORT;
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	return fd < 0 ? -errno : fd;
}

/* A socket bound to ADDR, for listening. */
static int bound_socket(const struct addr *addr, bool shared)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(addr, &ss);
	int fd = stream_socket(addr);
	int err;

	if (fd < 0)
		return fd;
	if (set(fd, SOL_SOCKET, SO_REUSEADDR) < 0 ||
	    (shared && set(fd, SOL_SOCKET, SO_REUSEPORT) < 0) ||
	    (addr->family == 6 && set(fd, IPPROTO_IPV6, IPV6_V6ONLY) < 0) ||
	    bind(fd, (struct sockaddr *)&ss, len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int net_listen(const struct addr *addr, bool shared, int backlog)
{
	int fd = bound_socket(addr, shared);

	if (fd < 0)
		return fd;
	/* Inherited by what it accepts, so that no octet can be read before they are set. */
	net_prepare(fd);
	if (listen(fd, backlog) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

bool net_in_use(const struct addr *addr)
{
	int fd;

	if (addr->port == 0)
		return false;
	fd = bound_socket(addr, false);
	if (fd >= 0)
		close(fd);
	return fd == -EADDRINUSE;
}

int net_socket(const struct addr *addr)
{
	int fd = stream_socket(addr);

	if (fd >= 0)
		net_prepare(fd);
	return fd;
}

void net_prepare(int fd)
{
	/* Neither fails on a TCP socket, and on any other there is nothing to prepare. */
	(void)set(fd, SOL_SOCKET, SO_OOBINLINE);
	(void)set(fd, IPPROTO_TCP, TCP_NODELAY);
}

/* ---- Unix sockets ---- */

static socklen_t path_address(struct sockaddr_un *un, const char *path)
{
	size_t n = strlen(path);

	if (n == 0 || n > ADDR_PATH_MAX)
		return 0;
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(un->sun_path, path, n);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
}

int net_path_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	(void)set(fd, SOL_SOCKET, SO_OOBINLINE);
	return fd;
}

int net_connect_path(int fd, const char *path)
{
	struct sockaddr_un un;
	socklen_t len = path_address(&un, path);
	int res;

	if (!len)
		return -EINVAL;
	do
		res = connect(fd, (struct sockaddr *)&un, len);
	while (res < 0 && errno == EINTR);
	return res < 0 ? -errno : 0;
}

int net_knock(const char *path)
{
	struct stat st;
	int fd = net_path_socket();
	int res = fd < 0 ? fd : net_connect_path(fd, path);

	if (fd >= 0)
		close(fd);
	if (res == -ECONNREFUSED && lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return res;
}

static int listen_at(int fd, const char *path, int backlog, mode_t mode)
{
	struct sockaddr_un un;
	socklen_t len = path_address(&un, path);
	mode_t mask = umask(0777 & ~mode);
	int err = bind(fd, (const struct sockaddr *)&un, len) < 0 ? errno : 0;

	umask(mask);
	if (!err && listen(fd, backlog) < 0)
		err = errno;
	return -err;
}

int net_listen_path(const char *path, int backlog, mode_t mode)
{
	int fd, res = net_knock(path);

	if (res == -EINVAL)
		return res;
	if (res == -ECONNREFUSED && unlink(path) < 0 && errno != ENOENT)
		return -errno;
	fd = net_path_socket();
	if (fd < 0)
		return fd;
	res = listen_at(fd, path, backlog, mode);
	if (res == 0)
		return fd;
	close(fd);
	return res;
}

int net_accept(int fd, struct addr *peer)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	int res = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (res < 0)
		return -errno;
	addr_from_sockaddr(peer, &ss);
	return res;
}

void net_local(int fd, struct addr *out)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		ss.ss_family = AF_UNSPEC;
	addr_from_sockaddr(out, &ss);
}

bool net_at_mark(int fd)
{
	int at = 0;

	return ioctl(fd, SIOCATMARK, &at) == 0 && at;
}

/* Resolving. */

static int parse_port(const char *text, uint16_t *port)
{
	unsigned value = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 5 || text[digits])
		return -EINVAL;
	for (size_t i = 0; i < digits; i++)
		value = value * 10 + (unsigned)(text[i] - '0');
	if (value == 0 || value > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

/* A name of DNS characters whose last label is no number (such a name would be an address). */
static bool is_name(const char *host)
{
	size_t n = strlen(host);
	const char *last;

	if (n && host[n - 1] == '.')
		n--;
	if (n == 0 || n > HOST_MAX || host[0] == '.' || host[n - 1] == '.')
		return false;
	if (strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") < n)
		return false;
	last = memrchr(host, '.', n);
	last = last ? last + 1 : host;
	return last[0] < '0' || last[0] > '9';
}

/* Splits TEXT into HOST (of HOST_MAX + 2) and *PORT; *BRACKETS when the host stood in them. */
static int split(const char *text, char *host, bool *brackets, uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	const char *from = text, *to = colon;

	if (!colon)
		return -EINVAL;
	*brackets = text[0] == '[';
	if (*brackets) {
		if (colon - text < 3 || colon[-1] != ']')
			return -EINVAL;
		from++;
		to--;
	}
	if (to == from || to - from > HOST_MAX + 1)
		return -EINVAL;
	memcpy(host, from, (size_t)(to - from));
	host[to - from] = '\0';
	return parse_port(colon + 1, port);
}

static int look_up(const char *host, uint16_t port, struct addr *out)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *ai;
	int count = 0;
	int ret = getaddrinfo(host, NULL, &hints, &list);

	if (ret)
		return ret == EAI_MEMORY ? -ENOMEM : -ENOENT;
	for (ai = list; ai && count < NET_RESOLVE_MAX; ai = ai->ai_next) {
		struct sockaddr_storage ss = { 0 };
		struct addr a;
		bool known = false;

		if (ai->ai_addrlen > sizeof(ss))
			continue;
		memcpy(&ss, ai->ai_addr, ai->ai_addrlen);
		addr_from_sockaddr(&a, &ss);
		a.port = port;
		for (int i = 0; i < count; i++)
			known |= addr_same_ip(&out[i], &a);
		if (a.family && !known)
			out[count++] = a;
	}
	freeaddrinfo(list);
	return count ? count : -ENOENT;
}

int net_resolve(const char *host_port, struct addr out[NET_RESOLVE_MAX])
{
	char host[HOST_MAX + 2];
	bool brackets;
	uint16_t port;
	int ret = split(host_port, host, &brackets, &port);

	if (ret < 0)
		return ret;
	if (brackets != (strchr(host, ':') != NULL))
		return -EINVAL;
	if (addr_parse_ip(&out[0], host) == 0) {
		out[0].port = port;
		return 1;
	}
	if (brackets || !is_name(host))
		return -EINVAL;
	return look_up(host, port, out);
}
