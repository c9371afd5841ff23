/* SPDX-License-Identifier: ISC */
/* diag: see diag.h. */
#include "base/diag.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sysexits.h>
#include <unistd.h>

static bool may_fill_up(void)
{
	struct stat st;

	return fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

/* A pipe that is ready takes PIPE_BUF octets, unless another process was faster: newer kernels see
 * to that as well. */
static ssize_t put(const char *text, size_t n)
{
	struct iovec iov = { (void *)(uintptr_t)text, n };
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t done;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return -1;
	if (may_fill_up()) {
		done = pwritev2(STDERR_FILENO, &iov, 1, -1, RWF_NOWAIT);
		if (done >= 0 || errno != EOPNOTSUPP)
			return done;
	}
	return write(STDERR_FILENO, text, n);
}

void diag_say(const char *text, size_t n)
{
	while (n > 0) {
		size_t some = n < PIPE_BUF ? n : PIPE_BUF;
		const char *end = memrchr(text, '\n', some);
		ssize_t done;

		if (end)
			some = (size_t)(end - text) + 1;
		done = put(text, some);
		if (done <= 0)
			return;
		text += done;
		n -= (size_t)done;
	}
}

_Noreturn void check_failed(const char *file, int line, const char *cond)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "%s: %s:%d: fault in the program: %s\n",
			 program_invocation_short_name, file, line, cond);

	if (n > 0)
		diag_say(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	abort();
}

_Noreturn void die(int status, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(status);
}

int diag_end_output(int status)
{
	bool flushed = fflush(stdout) == 0;

	if (flushed && !ferror(stdout))
		return status;
	fprintf(stderr, "%s: standard output: %s\n", program_invocation_short_name,
		flushed ? "could not be written" : strerror(errno));
	return EX_IOERR;
}
