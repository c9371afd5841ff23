/* SPDX-License-Identifier: ISC */
#include "base/pool.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/diag.h"

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
