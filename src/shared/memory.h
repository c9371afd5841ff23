/* SPDX-License-Identifier: ISC */
/*
 * shared: memory that the master makes before it forks and that all processes then have in common,
 * at the same address, or passes on by a descriptor. Zeroed; a page costs memory from its first use
 * on. Never from a file of a file system, which somebody could cut.
 */
#ifndef SHARED_MEMORY_H
#define SHARED_MEMORY_H

#include <stdbool.h>
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

/*
 * The same for processes that do not come of one fork: memory with a descriptor (memfd, close on
 * exec). The descriptor, with *MEM zeroed and writable, or -errno.
 */
int shared_file(const char *name, size_t n, void **mem) __attribute__((warn_unused_result));
/* Maps all of FD, of which at least N octets must be there, and says how many there are in *SIZE
 * (may be NULL). NULL: not so, or no memory. */
void *shared_attach(int fd, size_t n, bool writable, size_t *size);

#endif
