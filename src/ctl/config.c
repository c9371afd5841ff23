/* SPDX-License-Identifier: ISC */
/*
 * config: -c and -o of the subcommands that ask about a configuration (ctl.h). The faults that it
 * prints are those that the daemon would print for the same arguments.
 */
#include <stdlib.h>

#include "ctl/ctl.h"

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
