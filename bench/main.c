/* SPDX-License-Identifier: ISC */
/*
 * caronte-load: start and end. Exit: 0 every message went as it should; 64 wrong arguments; 69
 * nothing answers, or BDAT or STARTTLS is not offered; 71 the system refused something; 73, 74 the
 * file of digests cannot be opened, written; 76 some message did not go as it should.
 */
#include "inner.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#define OTHER_FILES 16u

static void raise_files(const struct load_options *o)
{
	unsigned needed = (o->idle ? o->idle : o->connections) + OTHER_FILES;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		err(EX_OSERR, "getrlimit");
	if (files.rlim_max < needed)
		errx(EX_USAGE, "%u connections need %u open files, the limit is %llu",
		     needed - OTHER_FILES, needed, (unsigned long long)files.rlim_max);
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		err(EX_OSERR, "setrlimit");
}

static void write_digests(const struct load *l)
{
	FILE *f = fopen(l->opt->digests, "we");
	char hex[65];

	if (!f)
		err(EX_CANTCREAT, "%s", l->opt->digests);
	for (uint64_t i = 0; i < l->next; i++) {
		if (!(l->acknowledged[i / 8] & 1u << (i % 8)))
			continue;
		if (load_digest(&l->bodies, i, hex) < 0)
			errx(EX_OSERR, "SHA-256 cannot be had");
		fprintf(f, "%s\n", hex);
	}
	if (ferror(f) || fclose(f) != 0)
		err(EX_IOERR, "%s", l->opt->digests);
}

static int status(const struct load *l)
{
	const struct load_figures *g = &l->figures;

	if (g->troubles[LOAD_NOT_OFFERED])
		return EX_UNAVAILABLE;
	if (l->opt->idle)
		return g->idle == l->opt->idle ? 0 : EX_PROTOCOL;
	if (g->done == 0 && g->troubles[LOAD_NO_CONNECTION])
		return EX_UNAVAILABLE;
	return g->done == l->opt->messages && g->failed == 0 ? 0 : EX_PROTOCOL;
}

int main(int argc, char **argv)
{
	static struct load_options options;
	static struct load load;

	load_options_read(&options, argc, argv);
	load.opt = &options;
	raise_files(&options);
	load_bodies_make(&load.bodies, &options);
	if (options.digests) {
		load.acknowledged = calloc(1, options.messages / 8 + 1);
		if (!load.acknowledged)
			err(EX_OSERR, "digests");
	}
	if (options.tls)
		load_secure_make(&load);
	load_run(&load);
	load_report(stdout, &options, &load.figures);
	if (load.acknowledged)
		write_digests(&load);
	if (fflush(stdout) != 0)
		err(EX_IOERR, "standard output");
	return status(&load);
}
