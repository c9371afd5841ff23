/* SPDX-License-Identifier: ISC */
/*
 * config: arguments that several subcommands take (inner.h): -c and -o of those that ask about a
 * configuration, whose faults are printed as the daemon would print them, and seconds.
 */
#include <stdlib.h>

#include "config/load.h"
#include "ctl/inner.h"

#define SECONDS_MAX 86400

bool ctl_config_open(struct ctl_config *k, int argc)
{
	*k = (struct ctl_config){ .file = CTL_CONFIG_FILE };
	k->overrides = calloc((size_t)argc, sizeof(*k->overrides));
	if (!k->overrides)
		fputs("carontectl: no memory\n", stderr);
	return k->overrides;
}

void ctl_config_close(struct ctl_config *k)
{
	free(k->overrides);
	*k = (struct ctl_config){ 0 };
}

bool ctl_config_option(struct ctl_config *k, int c, const char *argument)
{
	if (c == 'c')
		k->file = argument;
	else if (c == 'o')
		k->overrides[k->count++] = argument;
	else
		return false;
	return true;
}

struct config *ctl_config_load(const struct ctl_config *k)
{
	struct config *c = config_load(k->file, k->overrides, k->count);

	if (c->fault_count == 0)
		return c;
	config_print_faults(c, stderr);
	config_free(c);
	return NULL;
}

bool ctl_seconds(const char *name, const char *text, unsigned *seconds)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > SECONDS_MAX) {
		fprintf(stderr, "carontectl %s: %s: a number of seconds from 1 to %d is wanted\n",
			name, text, SECONDS_MAX);
		return false;
	}
	*seconds = (unsigned)n;
	return true;
}
