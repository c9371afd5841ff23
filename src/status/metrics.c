/* SPDX-License-Identifier: ISC */
/* metrics: see metrics.h. libmicrohttpd runs without threads of its own, on one epoll descriptor.
 */
#include "status/metrics.h"

#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>

#include "io/net.h"

#define QUEUE	   16
#define ROOM_OF_IT ((size_t)32 << 10) /* of one connection, its headers */

struct metrics {
	struct MHD_Daemon *daemon;
	struct figures *figures;
	int fd;
};

int metrics_listen(const struct addr *a, int *fd, char *why, size_t cap)
{
	char text[ADDR_TEXT_MAX];
	int err;

	*fd = net_listen(a, false, QUEUE);
	if (*fd >= 0)
		return 0;
	err = -*fd;
	*fd = -1;
	addr_format(a, text);
	snprintf(why, cap, "METRICS_ADDRESS: cannot listen on %s: %s", text, strerror(err));
	return err == EACCES || err == EPERM ? EX_NOPERM : EX_UNAVAILABLE;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *header,
			      const char *value, char *body, size_t n,
			      enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(n, body, mode);
	enum MHD_Result res = MHD_NO;

	if (!r) {
		if (mode == MHD_RESPMEM_MUST_FREE)
			free(body);
		return MHD_NO;
	}
	if (MHD_add_response_header(r, header, value) == MHD_YES)
		res = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return res;
}

static enum MHD_Result answer_figures(struct MHD_Connection *c, struct figures *f)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		return MHD_NO;
	figures_metrics(f, out);
	if (fclose(out) != 0) {
		free(text);
		return MHD_NO;
	}
	return answer(c, MHD_HTTP_OK, MHD_HTTP_HEADER_CONTENT_TYPE,
		      "text/plain; version=0.0.4; charset=utf-8", text, n, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **state)
{
	static char not_here[] = "Only /metrics is here.\n", only_get[] = "Only GET is known.\n";
	struct metrics *m = ctx;

	(void)version;
	(void)upload;
	(void)upload_size;
	(void)state;
	/* Answered at the headers: what a request may carry behind them is never read. */
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
		return answer(c, MHD_HTTP_METHOD_NOT_ALLOWED, MHD_HTTP_HEADER_ALLOW, "GET",
			      only_get, sizeof(only_get) - 1, MHD_RESPMEM_PERSISTENT);
	if (strcmp(url, "/metrics") != 0)
		return answer(c, MHD_HTTP_NOT_FOUND, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain",
			      not_here, sizeof(not_here) - 1, MHD_RESPMEM_PERSISTENT);
	return answer_figures(c, m->figures);
}

struct metrics *metrics_start(int fd, struct figures *f)
{
	struct metrics *m = calloc(1, sizeof(*m));
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	unsigned flags = MHD_USE_EPOLL;

	if (!m)
		return NULL;
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0 && ss.ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	m->figures = f;
	m->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, m, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, METRICS_CLIENTS, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		METRICS_CLIENTS_PER_IP, MHD_OPTION_CONNECTION_TIMEOUT, METRICS_PATIENCE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, ROOM_OF_IT, MHD_OPTION_END);
	const union MHD_DaemonInfo *info =
		m->daemon ? MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;

	if (!info) {
		free(m);
		return NULL;
	}
	m->fd = info->epoll_fd;
	return m;
}

int metrics_fd(struct metrics *m)
{
	return m->fd;
}

int metrics_wait_ms(struct metrics *m)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(m->daemon, &ms) != MHD_YES)
		return -1;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

void metrics_run(struct metrics *m)
{
	/* A failure is one connection's, which the library has closed. */
	(void)MHD_run(m->daemon);
}
