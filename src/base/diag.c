/* SPDX-License-Identifier: ISC */
#include "base/diag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

_Noreturn void check_failed(const char *file, int line, const char *cond)
{
	fprintf(stderr, "%s: %s:%d: fault in the program: %s\n", program_invocation_short_name,
		file, line, cond);
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
