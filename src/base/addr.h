/* SPDX-License-Identifier: ISC */
/*
 * addr: an IP address with a port, as plain data. IPv4 is held as itself and never as a mapped IPv6
 * address, so that one client has one form everywhere (caronte(8): a mapped address is IPv4).
 * Text forms are those of caronte-log(5): `IP:PORT` and `[IPv6]:PORT`. No sockets here: see
 * io/net.h.
 *
 * A Unix socket has an address too, which says that it is one and no more: a path is much longer
 * than what is kept for each connection. Whoever keeps such an address knows whose it is, and finds
 * the path there (a destination's in its name).
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_TEXT_MAX 56 /* "[" 45 "]:65535" NUL, rounded up */

#define ADDR_UNIX     1	  /* family: a Unix socket; all else is 0 */
#define ADDR_PATH_MAX 107 /* octets of a Unix socket's path: unix(7), sun_path with its NUL */

struct addr {
	uint8_t family; /* 0 none, 4, 6, ADDR_UNIX */
	uint16_t port;	/* host order */
	uint8_t ip[16]; /* network order; IPv4 uses the first four, the rest is 0 */
};

/* From a kernel address; a mapped IPv6 address becomes IPv4, an unknown family 0. */
void addr_from_sockaddr(struct addr *a, const struct sockaddr_storage *ss);
/* Length of the sockaddr written. Of an IP address only. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss);
/* Parses an IP address without port ("192.0.2.1", "2001:db8::1"). 0 or -EINVAL. */
int addr_parse_ip(struct addr *a, const char *text) __attribute__((warn_unused_result));
/* "IP:PORT" or "[IPv6]:PORT" into OUT of ADDR_TEXT_MAX; the length. */
size_t addr_format(const struct addr *a, char *out);
/* The IP alone; the length. */
size_t addr_format_ip(const struct addr *a, char *out);
/* Same family and IP, ports not compared. */
bool addr_same_ip(const struct addr *a, const struct addr *b);
/* The same in all. */
static inline bool addr_same(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && addr_same_ip(a, b);
}

#endif
