/* SPDX-License-Identifier: ISC */
/* addr: see addr.h. Here: text to address and back. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/digits.h"

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
	size_t n = 0;

	out[0] = '\0';
	if (a->family == 6)
		inet_ntop(AF_INET6, a->ip, out, ADDR_TEXT_MAX);
	if (a->family != 4)
		return strlen(out);
	for (int i = 0; i < 4; i++) {
		if (i)
			out[n++] = '.';
		n += digits_put(out + n, a->ip[i], 10, 1);
	}
	out[n] = '\0';
	return n;
}

size_t addr_format(const struct addr *a, char *out)
{
	bool brackets = a->family == 6;
	size_t n = 0;

	if (brackets)
		out[n++] = '[';
	n += addr_format_ip(a, out + n);
	if (brackets)
		out[n++] = ']';
	out[n++] = ':';
	n += digits_put(out + n, a->port, 10, 1);
	out[n] = '\0';
	return n;
}

bool addr_same_ip(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}
