/* SPDX-License-Identifier: ISC */
/* acked: see acked.h. */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "io/acked.h"

int stream_octets_acked(const struct stream *st, uint64_t *octets)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(st->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	if (len < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
		return -EOPNOTSUPP;
	*octets = info.tcpi_bytes_acked;
	return 0;
}
