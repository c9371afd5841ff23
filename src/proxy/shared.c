/* SPDX-License-Identifier: ISC */
/* shared: see shared.h. */
#include "proxy/shared.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/diag.h"

static size_t pages(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return n ? (n + page - 1) / page * page : page;
}

static void *map(size_t n, int kind)
{
	void *mem = mmap(NULL, pages(n), PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}

void *shared_map(size_t n)
{
	return map(n, MAP_SHARED);
}

/* MAP_NORESERVE: the room asked for is a worst case, most of it is given back. */
void *shared_table(size_t n)
{
	return map(n, MAP_PRIVATE | MAP_NORESERVE);
}

void shared_unmap(void *mem, size_t n)
{
	CHECK(munmap(mem, pages(n)) == 0);
}

void *shared_seal(void *mem, size_t n, size_t used)
{
	size_t kept = pages(used);

	CHECK(kept <= pages(n));
	if (kept < pages(n))
		CHECK(munmap((char *)mem + kept, pages(n) - kept) == 0);
	CHECK(mprotect(mem, kept, PROT_READ) == 0);
	return mem;
}
