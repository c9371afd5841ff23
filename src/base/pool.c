/* SPDX-License-Identifier: ISC */
/* pool: see pool.h. */
#include "base/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/diag.h"

#define TRIM_MOST 64 /* objects in one call: 4 ms where they are of 512 KB, all of it used */

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif

/* Under ASan an object that is not handed out is poisoned, so that its use is found; and one that
 * is has garbage in it, so that what nobody has written is found when it is read. */
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define GARBAGE_MOST		(64 << 10)
#define FILL_WITH_GARBAGE(p, n) memset((p), 0xa5, (n) < GARBAGE_MOST ? (n) : GARBAGE_MOST)
#else
#define FILL_WITH_GARBAGE(p, n)		  ((void)(p), (void)(n))
#define ASAN_POISON_MEMORY_REGION(p, n)	  ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t unit)
{
	return (n + unit - 1) & ~(unit - 1);
}

/* Address space for N octets; NULL: there is none. */
static void *reserve(size_t n)
{
	void *mem = mmap(NULL, n, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED)
		return NULL;
	/* Where the kernel gives huge pages to all (Debian's does), a few octets would cost 2 MB.
	 * One that knows none refuses this. */
	(void)madvise(mem, n, MADV_NOHUGEPAGE);
	return mem;
}

int pool_init(struct pool *p, size_t size, size_t count)
{
	size = round_up(size, size > page_size() ? page_size() : 16);
	*p = (struct pool){ .size = size, .count = count };
	if (size == 0 || count == 0 || count > SIZE_MAX / size || count >= UINT32_MAX)
		return -ENOMEM;
	p->mem = reserve(size * count);
	p->next = reserve(sizeof(*p->next) * (count + 1));
	if (p->mem && p->next)
		return 0;
	pool_destroy(p);
	return -ENOMEM;
}

void pool_destroy(struct pool *p)
{
	if (p->mem) {
		ASAN_UNPOISON_MEMORY_REGION(p->mem, p->size * p->fresh);
		munmap(p->mem, p->size * p->count);
	}
	if (p->next)
		munmap(p->next, sizeof(*p->next) * (p->count + 1));
	p->mem = NULL;
	p->next = NULL;
}

static size_t returned(const struct pool *p)
{
	return p->fresh - p->in_use;
}

/* The object with this number, from 1 on. */
static void *object(const struct pool *p, uint32_t number)
{
	return p->mem + p->size * (number - 1);
}

void *pool_get(struct pool *p)
{
	void *obj;

	if (p->free) {
		obj = object(p, p->free);
		ASAN_UNPOISON_MEMORY_REGION(obj, p->size);
		p->free = p->next[p->free];
	} else if (p->fresh < p->count) {
		obj = p->mem + p->size * p->fresh++;
	} else {
		return NULL;
	}
	FILL_WITH_GARBAGE(obj, p->size);
	p->in_use++;
	if (p->unused > returned(p))
		p->unused = returned(p);
	if (p->due > returned(p))
		p->due = returned(p);
	if (p->trimmed > returned(p))
		p->trimmed = returned(p);
	return obj;
}

void pool_put(struct pool *p, void *obj)
{
	uint32_t number;

	if (!obj)
		return;
	CHECK((uint8_t *)obj >= p->mem && (uint8_t *)obj < p->mem + p->size * p->fresh);
	CHECK(((size_t)((uint8_t *)obj - p->mem)) % p->size == 0 && p->in_use > 0);
	number = (uint32_t)((size_t)((uint8_t *)obj - p->mem) / p->size) + 1;
	p->next[number] = p->free;
	p->free = number;
	p->in_use--;
	ASAN_POISON_MEMORY_REGION(obj, p->size);
}

/* What neighbours have a part in stays. */
static void give_back(const struct pool *p, uint8_t *obj)
{
	uintptr_t page = page_size();
	uintptr_t begin = round_up((uintptr_t)obj, page);
	uintptr_t end = ((uintptr_t)obj + p->size) & ~(page - 1);

	if (begin < end) /* where the kernel refuses, they stay */
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

bool pool_trim_more(struct pool *p)
{
	size_t some = p->due > p->trimmed ? p->due - p->trimmed : 0;
	uint32_t number = p->free;

	if (some > TRIM_MOST)
		some = TRIM_MOST;
	for (size_t above = returned(p) - p->trimmed - some; above; above--)
		number = p->next[number];
	for (size_t i = 0; i < some; i++, number = p->next[number])
		give_back(p, object(p, number));
	p->trimmed += some;
	return p->trimmed < p->due;
}

bool pool_trim(struct pool *p)
{
	p->due = p->unused;
	p->unused = returned(p);
	(void)pool_trim_more(p);
	return p->trimmed < p->unused;
}
