/* SPDX-License-Identifier: ISC */
/*
 * load: reads a configuration, from a file of Kconfig lines and from -o arguments. A configuration
 * with faults is returned like any other: whoever loads it looks at fault_count before using it.
 */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include "config/config.h"

/*
 * Reads FILE (NULL: defaults alone) and then OVERRIDES ("NAME=VALUE", N of them). Never fails by
 * itself: what is wrong, a file that cannot be opened too, is in the faults. Allocates (start and
 * reload only).
 */
struct config *config_load(const char *file, const char *const *overrides, size_t n);

#endif
