/* SPDX-License-Identifier: ISC */
/*
 * shared: memory that the master makes before it forks and that all processes then have in common,
 * at the same address. Zeroed; a page costs memory from its first use on. Never from a file.
 */
#ifndef PROXY_SHARED_H
#define PROXY_SHARED_H

#include <stddef.h>

/* Zeroed memory of at least N octets that all processes write, or NULL. */
void *shared_map(size_t n);
/*
 * Zeroed memory of at least N octets for a table that is filled before the fork, or NULL. The
 * processes then have its pages in common as long as nobody writes them, and none can change what
 * another one reads.
 */
void *shared_table(size_t n);
/* Makes the first USED of a table's N octets read-only, gives the pages behind them back; MEM. */
void *shared_seal(void *mem, size_t n, size_t used);
void shared_unmap(void *mem, size_t n);

#endif
