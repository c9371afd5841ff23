/* SPDX-License-Identifier: ISC */
/* channel: see channel.h. */
#include "runtime/channel.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DESCRIPTORS 3

union control {
	char room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
	struct cmsghdr align;
};

int channel_open(int pair[2])
{
	int kind = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;

	return socketpair(AF_UNIX, kind, 0, pair) == 0 ? 0 : -errno;
}

int channel_tell(int fd, const struct channel_news *news, const struct channel_files *files)
{
	union control control = { .room = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)news, .iov_len = sizeof(*news) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	const int fds[DESCRIPTORS] = { files->image, files->state, files->keys };
	size_t n = (files->keys < 0 ? 2 : 3) * sizeof(int);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n);
	msg.msg_controllen = CMSG_SPACE(n);
	memcpy(CMSG_DATA(c), fds, n);
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(*news) ? 0 : -errno;
}

void channel_close_files(struct channel_files *files)
{
	const int fds[] = { files->image, files->state, files->keys };

	for (unsigned i = 0; i < DESCRIPTORS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*files = (struct channel_files){ -1, -1, -1 };
}

int channel_hear(int fd, struct channel_news *news, struct channel_files *files)
{
	union control control;
	struct iovec iov = { .iov_base = news, .iov_len = sizeof(*news) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fds[DESCRIPTORS] = { -1, -1, -1 };
	struct cmsghdr *c;
	ssize_t n;

	/* A master that went with reports unread is told of by one error, ahead of what it had said
	 * and of its end. */
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == ECONNRESET);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len <= CMSG_LEN(sizeof(fds)))
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	*files = (struct channel_files){ fds[0], fds[1], fds[2] };
	/* Without the first two (no descriptor was left) there is nothing to use. */
	if (n == (ssize_t)sizeof(*news) && files->image >= 0 && files->state >= 0)
		return 1;
	channel_close_files(files);
	return -EMFILE;
}

void channel_report(int fd, const struct channel_report *report)
{
	(void)!send(fd, report, sizeof(*report), MSG_NOSIGNAL);
}

bool channel_reported(int fd, struct channel_report *report)
{
	struct channel_report got;
	bool any = false;

	while (recv(fd, &got, sizeof(got), 0) == (ssize_t)sizeof(got)) {
		*report = got;
		any = true;
	}
	return any;
}
