/* SPDX-License-Identifier: ISC */
/* shared: see memory.h. */
#include "shared/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

int shared_file(const char *name, size_t n, void **mem)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err;

	if (fd < 0)
		return -errno;
	*mem = MAP_FAILED;
	if (ftruncate(fd, (off_t)pages(n)) == 0)
		*mem = mmap(NULL, pages(n), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*mem != MAP_FAILED)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

void *shared_attach(int fd, size_t n, bool writable, size_t *size)
{
	struct stat st;
	void *mem;

	if (fstat(fd, &st) != 0 || st.st_size < 0 || (size_t)st.st_size < n || st.st_size == 0)
		return NULL;
	mem = mmap(NULL, (size_t)st.st_size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
		   fd, 0);
	if (mem == MAP_FAILED)
		return NULL;
	if (size)
		*size = (size_t)st.st_size;
	return mem;
}
