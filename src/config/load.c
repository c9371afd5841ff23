/* SPDX-License-Identifier: ISC */
/*
 * load: see load.h. The file comes first, then the arguments, and last the choices. The grammar of
 * lines is in lines.c, that of values in value.c; what either finds wrong goes into the faults
 * (config.c), and reading goes on.
 */
#include "config/load.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "config/inner.h"

struct config *config_load(const char *file, const char *const *overrides, size_t n)
{
	struct config *c = calloc(1, sizeof(*c));
	struct reader r = { .config = c };

	CHECK(c);
	c->set = settings_default;
	if (file) {
		c->path = strdup(file);
		CHECK(c->path);
		config_read_file(&r, c->path);
	}
	r.at = (struct place){ config_argument_place, 0 };
	for (size_t i = 0; i < n; i++)
		config_read_argument(&r, overrides[i]);
	config_settle_choices(&r);
	return c;
}
