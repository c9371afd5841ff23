/* SPDX-License-Identifier: ISC */
/*
 * net: making sockets and asking them. Every TCP socket that carries a dialog goes through
 * net_prepare() before its first read: urgent data stays in line (SO_OOBINLINE), or splice(2) and
 * recv(2) would disagree about the stream.
 */
#ifndef IO_NET_H
#define IO_NET_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/addr.h"

#define NET_RESOLVE_MAX 8

/* A listening TCP socket on ADDR: SO_REUSEADDR, SO_REUSEPORT when SHARED, IPV6_V6ONLY,
 * non-blocking, close-on-exec. The descriptor or -errno. */
int net_listen(const struct addr *addr, bool shared, int backlog)
	__attribute__((warn_unused_result));
/* True when some socket listens on ADDR already (bound without SO_REUSEPORT for the probe). */
bool net_in_use(const struct addr *addr);
/* A non-blocking, close-on-exec TCP socket for a connection to ADDR, prepared. Or -errno. */
int net_socket(const struct addr *addr) __attribute__((warn_unused_result));
/* SO_OOBINLINE, TCP_NODELAY. */
void net_prepare(int fd);
/* A non-blocking, close-on-exec Unix stream socket, prepared: octets out of band, which Unix
 * sockets have too, stay in line. Or -errno. */
int net_path_socket(void) __attribute__((warn_unused_result));
/* Connects it to the one at PATH, now or not at all: 0 or -errno, which is -EAGAIN where its queue
 * is full. */
int net_connect_path(int fd, const char *path) __attribute__((warn_unused_result));
/* Looks whether somebody listens at PATH: 0 or -errno. -ECONNREFUSED is a socket that a server has
 * left behind, -ENOTSOCK a file that is no socket: connect(2) refuses both alike. */
int net_knock(const char *path) __attribute__((warn_unused_result));
/* A listening Unix socket at PATH with the permissions MODE, which it never exceeds. Nothing may be
 * there, or a socket that was left behind. The descriptor or -errno. */
int net_listen_path(const char *path, int backlog, mode_t mode) __attribute__((warn_unused_result));
/* The next connection of a listening socket, non-blocking, close-on-exec, and whose it is: also
 * where it has been reset already, and getpeername(2) knows nothing any more. The descriptor or
 * -errno. */
int net_accept(int fd, struct addr *peer) __attribute__((warn_unused_result));
void net_local(int fd, struct addr *out);
/* Resolves "HOST:PORT" or "[IPv6]:PORT" (blocking; getaddrinfo). The number of addresses put into
 * OUT (at most NET_RESOLVE_MAX), or -errno: -EINVAL is bad syntax, -ENOENT does not resolve now. */
int net_resolve(const char *host_port, struct addr out[NET_RESOLVE_MAX])
	__attribute__((warn_unused_result));
/* True when the next octet of FD's receive queue is at an urgent mark (SIOCATMARK). */
bool net_at_mark(int fd);

#endif
