/* SPDX-License-Identifier: ISC */
/*
 * io_create: which backend an engine has. This file stands above the core (io.c) and the backends,
 * so that the core needs none of them by name. It refuses to take epoll in silence: where io_uring
 * was asked for, or fails for another reason than the kernel's refusal, that is the answer.
 */
#include <errno.h>

#include "io/inner.h"

int io_create(struct io **io, enum io_engine engine, const struct io_limits *limits,
	      const char **why)
{
	const char *lacks = NULL;
	int ret;

	if (why)
		*why = NULL;
	if (engine != IO_ENGINE_EPOLL) {
		ret = io_create_with(io, &io_backend_uring, limits, NULL, &lacks);
		if (ret == 0)
			return 0;
		if (why)
			*why = lacks;
		/* Without a reason it is not the kernel's refusal of io_uring: not to be hidden. */
		if (engine == IO_ENGINE_URING || !lacks)
			return lacks ? -EOPNOTSUPP : ret;
	}
	return io_create_with(io, &io_backend_epoll, limits, NULL, &lacks);
}
