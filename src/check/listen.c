/* SPDX-License-Identifier: ISC */
/* listen: see listen.h. Blocking calls, at start and in the resolver only. */
#include "check/listen.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/diag.h"
#include "io/net.h"
#include "check/hints.h"

/* Connections that wait to be accepted, for each socket; the kernel cuts it to net.core.somaxconn.
 */
#define LISTEN_BACKLOG 4096

#define BLANKS " \t"

static bool kernel_has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void listen_everywhere(struct listen_set *set, uint16_t port)
{
	set->addr[set->count++] = (struct addr){ .family = 4, .port = port };
	if (kernel_has_ipv6())
		set->addr[set->count++] = (struct addr){ .family = 6, .port = port };
}

/* NULL, or what is wrong with ENTRY; appends it when nothing is. */
static const char *add_entry(struct listen_set *set, const char *entry, uint16_t port)
{
	struct addr a;

	if (addr_parse_ip(&a, entry) != 0)
		return hints_listen(entry) ? hints_listen(entry)
					   : "is no IP address; allowed are addresses like "
					     "192.0.2.1 and 2001:db8::1";
	if (a.family == 6 && a.ip[0] == 0xfe && (a.ip[1] & 0xc0) == 0x80)
		return "is a link-local address, good with an interface only; allowed are others";
	a.port = port;
	for (unsigned i = 0; i < set->count; i++)
		if (addr_same_ip(&set->addr[i], &a))
			return "is given twice";
	if (set->count == LISTEN_MAX)
		return "is one address too many; at most 64 are allowed";
	set->addr[set->count++] = a;
	return NULL;
}

bool listen_parse(struct listen_set *set, const char *list, uint16_t port,
		  void (*report)(void *ctx, const char *what), void *ctx)
{
	bool good = true;

	_Static_assert(LISTEN_MAX == 64, "add_entry() says the number");
	*set = (struct listen_set){ 0 };
	list += strspn(list, BLANKS);
	if (!*list)
		listen_everywhere(set, port);
	while (*list) {
		size_t n = strcspn(list, BLANKS);
		char entry[ADDR_TEXT_MAX];
		const char *wrong = memchr(list, ',', n)
					    ? "is no IP address; addresses are separated by blanks"
					    : "is no IP address; it is too long for one";
		char what[192];

		if (n < sizeof(entry)) {
			memcpy(entry, list, n);
			entry[n] = '\0';
			wrong = add_entry(set, entry, port);
		}
		if (wrong) {
			snprintf(what, sizeof(what), "%.*s %s", n < 64 ? (int)n : 64, list, wrong);
			report(ctx, what);
			good = false;
		}
		list += n;
		list += strspn(list, BLANKS);
	}
	return good;
}

bool listen_add_port(struct listen_set *set, uint16_t port)
{
	unsigned n = set->count;

	if (n > LISTEN_MAX - n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		struct addr *a = &set->addr[set->count++];

		*a = set->addr[i];
		a->port = port;
	}
	return true;
}

bool listen_has_port(const struct listen_set *set, uint16_t port)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->addr[i].port == port)
			return true;
	return false;
}

static bool any_ip(const struct addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

/* Whether this machine answers for A itself: its interfaces' addresses and all of 127.0.0.0/8. */
static bool is_local(const struct addr *a)
{
	struct ifaddrs *list, *i;
	bool found = false;

	if (any_ip(a) || (a->family == 4 && a->ip[0] == 127))
		return true;
	if (getifaddrs(&list) != 0)
		return false;
	for (i = list; i && !found; i = i->ifa_next) {
		struct sockaddr_storage ss = { 0 };
		struct addr own;

		if (!i->ifa_addr)
			continue;
		ss.ss_family = i->ifa_addr->sa_family;
		if (ss.ss_family == AF_INET)
			memcpy(&ss, i->ifa_addr, sizeof(struct sockaddr_in));
		else if (ss.ss_family == AF_INET6)
			memcpy(&ss, i->ifa_addr, sizeof(struct sockaddr_in6));
		addr_from_sockaddr(&own, &ss);
		found = own.family && addr_same_ip(&own, a);
	}
	freeifaddrs(list);
	return found;
}

/* The address that connecting to A goes to: the unspecified one is the machine's own loopback. */
static struct addr connect_target(const struct addr *a)
{
	struct addr to = *a;

	if (any_ip(a) && a->family == 4) {
		to.ip[0] = 127;
		to.ip[3] = 1;
	} else if (any_ip(a)) {
		to.ip[15] = 1;
	}
	return to;
}

bool listen_reached_by(const struct listen_set *set, const struct addr *to)
{
	struct addr target = connect_target(to);

	for (unsigned i = 0; i < set->count; i++) {
		const struct addr *own = &set->addr[i];

		if (own->port != target.port || (own->family != target.family && !set->both[i]))
			continue;
		if (addr_same_ip(own, &target) || (any_ip(own) && is_local(&target)))
			return true;
	}
	return false;
}

bool listen_add_socket(struct listen_set *set, int fd)
{
	struct addr *a = &set->addr[set->count];
	int only = 1;
	socklen_t len = sizeof(only);

	net_local(fd, a);
	if (!a->family)
		return false;
	if (a->family == 6)
		(void)getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len);
	set->both[set->count++] = !only;
	return true;
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static int explain(const struct addr *a, int err, char *why, size_t cap)
{
	char text[ADDR_TEXT_MAX];

	addr_format(a, text);
	if (err == -EACCES) {
		snprintf(why, cap,
			 "%s: may not be bound: start as root or with CAP_NET_BIND_SERVICE", text);
		return EX_NOPERM;
	}
	if (err == -EADDRINUSE)
		snprintf(why, cap, "%s: another program listens there", text);
	else if (err == -EADDRNOTAVAIL)
		snprintf(why, cap, "%s: is no address of this machine", text);
	else
		snprintf(why, cap, "%s: cannot be bound: %s", text, strerror(-err));
	return EX_UNAVAILABLE;
}

int listen_open(const struct listen_set *set, unsigned workers, int *fds, char *why, size_t cap)
{
	size_t open = 0;

	/* Before the first of our own: SO_REUSEPORT would share the address with another daemon. */
	for (unsigned i = 0; i < set->count; i++)
		if (net_in_use(&set->addr[i]))
			return explain(&set->addr[i], -EADDRINUSE, why, cap);
	for (unsigned w = 0; w < workers; w++) {
		for (unsigned i = 0; i < set->count; i++) {
			int fd = net_listen(&set->addr[i], true, LISTEN_BACKLOG);

			if (fd < 0) {
				close_all(fds, open);
				return explain(&set->addr[i], fd, why, cap);
			}
			fds[open++] = fd;
		}
	}
	CHECK(open == (size_t)workers * set->count);
	return 0;
}

void listen_end(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		shutdown(fds[i], SHUT_RDWR);
}
