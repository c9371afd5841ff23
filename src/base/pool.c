/* SPDX-License-Identifier: ISC */
#include "base/pool.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/diag.h"

#define TRIM_MOST 128 /* objects in one call: 2 ms where they are of 128 KB, all of it used */

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif

/* Under ASan an object that is not handed out is poisoned, so that its use is found. */
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)	  ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

int pool_init(struct pool *p, size_t size, size_t count)
{
	size = (size + 15) & ~(size_t)15;
	*p = (struct pool){ .size = size, .count = count };
	if (size == 0 || count == 0 || count > SIZE_MAX / size)
		return -ENOMEM;
	p->mem = mmap(NULL, size * count, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->mem == MAP_FAILED) {
		p->mem = NULL;
		return -ENOMEM;
	}
	/* Where the kernel gives huge pages to all (Debian's does), a few octets would cost 2 MB.
	 * One that knows none refuses this. */
	(void)madvise(p->mem, size * count, MADV_NOHUGEPAGE);
	return 0;
}

void pool_destroy(struct pool *p)
{
	if (!p->mem)
		return;
	ASAN_UNPOISON_MEMORY_REGION(p->mem, p->size * p->fresh);
	munmap(p->mem, p->size * p->count);
	p->mem = NULL;
}

static size_t returned(const struct pool *p)
{
	return p->fresh - p->in_use;
}

void *pool_get(struct pool *p)
{
	void *obj = p->free;

	if (obj) {
		ASAN_UNPOISON_MEMORY_REGION(obj, p->size);
		p->free = *(void **)obj;
	} else if (p->fresh < p->count) {
		obj = p->mem + p->size * p->fresh++;
	} else {
		return NULL;
	}
	p->in_use++;
	if (p->unused > returned(p))
		p->unused = returned(p);
	if (p->trimmed > returned(p))
		p->trimmed = returned(p);
	return obj;
}

void pool_put(struct pool *p, void *obj)
{
	if (!obj)
		return;
	CHECK((uint8_t *)obj >= p->mem && (uint8_t *)obj < p->mem + p->size * p->fresh);
	CHECK(((size_t)((uint8_t *)obj - p->mem)) % p->size == 0 && p->in_use > 0);
	*(void **)obj = p->free;
	p->free = obj;
	p->in_use--;
	ASAN_POISON_MEMORY_REGION(obj, p->size);
}

/* The one behind OBJ in the chain. */
static void *behind(void *obj)
{
	void *next;

	ASAN_UNPOISON_MEMORY_REGION(obj, sizeof(next));
	next = *(void **)obj;
	ASAN_POISON_MEMORY_REGION(obj, sizeof(next));
	return next;
}

/* The chain's word and what neighbours have a part in stay. */
static void give_back(const struct pool *p, uint8_t *obj)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = ((uintptr_t)obj + sizeof(void *) + page - 1) & ~(page - 1);
	uintptr_t end = ((uintptr_t)obj + p->size) & ~(page - 1);

	if (begin < end) /* where the kernel refuses, they stay */
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

bool pool_trim(struct pool *p)
{
	size_t some = p->unused - p->trimmed;
	void *obj = p->free;

	if (some > TRIM_MOST)
		some = TRIM_MOST;
	for (size_t above = returned(p) - p->trimmed - some; above; above--)
		obj = behind(obj);
	for (size_t i = 0; i < some; i++, obj = behind(obj))
		give_back(p, obj);
	p->trimmed += some;
	p->unused = returned(p);
	return p->trimmed < p->unused;
}
