/* SPDX-License-Identifier: ISC */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void set_ip6(struct addr *a, const struct in6_addr *in6)
{
	if (IN6_IS_ADDR_V4MAPPED(in6)) {
		a->family = 4;
		memcpy(a->ip, in6->s6_addr + 12, 4);
	} else {
		a->family = 6;
		memcpy(a->ip, in6->s6_addr, 16);
	}
}

void addr_from_sockaddr(struct addr *a, const struct sockaddr_storage *ss)
{
	*a = (struct addr){ 0 };
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ss;

		a->family = 4;
		a->port = ntohs(in->sin_port);
		memcpy(a->ip, &in->sin_addr, 4);
	} else if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)ss;

		a->port = ntohs(in6->sin6_port);
		set_ip6(a, &in6->sin6_addr);
	}
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->family == 4) {
		struct sockaddr_in *in = (void *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (void *)ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(a->port);
	memcpy(&in6->sin6_addr, a->ip, 16);
	return sizeof(*in6);
}

int addr_parse_ip(struct addr *a, const char *text)
{
	struct in6_addr in6;

	*a = (struct addr){ 0 };
	if (inet_pton(AF_INET, text, a->ip) == 1) {
		a->family = 4;
		return 0;
	}
	if (inet_pton(AF_INET6, text, &in6) != 1)
		return -EINVAL;
	set_ip6(a, &in6);
	return 0;
}

size_t addr_format_ip(const struct addr *a, char *out)
{
	out[0] = '\0';
	if (a->family)
		inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, out, ADDR_TEXT_MAX);
	return strlen(out);
}

size_t addr_format(const struct addr *a, char *out)
{
	char ip[ADDR_TEXT_MAX];

	addr_format_ip(a, ip);
	return (size_t)snprintf(out, ADDR_TEXT_MAX, a->family == 6 ? "[%.45s]:%u" : "%.45s:%u", ip,
				a->port);
}

bool addr_same_ip(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}
