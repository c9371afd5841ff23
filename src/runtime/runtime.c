/* SPDX-License-Identifier: ISC */
/* runtime: see runtime.h. Made by the master before it forks, as whoever it was started. */
#include "runtime/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "check/listen.h"
#include "route/shared.h"
#include "shared/memory.h"
#include "shared/resumption.h"
#include "check/version.h"
#include "tls/ticket.h"

/* Octets of records that may wait for the log writer, for each process. */
#define RING_OCTETS ((size_t)4 << 20)
#define PAGE	    ((size_t)4096)

static size_t ring_room(void)
{
	return (xmllog_ring_room(RING_OCTETS) + PAGE - 1) / PAGE * PAGE;
}

static int find_rings(struct runtime *rt, char *base)
{
	rt->rings = calloc(rt->ring_count, sizeof(struct xmllog_ring *));
	if (!rt->rings)
		return -ENOMEM;
	for (unsigned i = 0; i < rt->ring_count; i++)
		rt->rings[i] = (void *)(base + i * ring_room());
	return 0;
}

static int make_rings(struct runtime *rt)
{
	void *mem;
	int err;

	rt->files.rings = shared_file("caronte-rings", rt->ring_count * ring_room(), &mem);
	if (rt->files.rings < 0)
		return rt->files.rings;
	err = find_rings(rt, mem);
	if (err)
		return err;
	xmllog_ring_init(rt->rings[0], RING_OCTETS);
	xmllog_ring_init(rt->rings[rt->ring_count - 1], RING_OCTETS);
	return 0;
}

/* Their layout belongs to that of the whole state (state.h): a program that has another one did not
 * get here. */
static int adopt_rings(struct runtime *rt, int fd)
{
	void *mem = shared_attach(fd, rt->ring_count * ring_room(), true, NULL);

	if (!mem)
		return -EPROTO;
	rt->files.rings = fd;
	return find_rings(rt, mem);
}

void runtime_begin_generation(struct runtime *rt, unsigned generation)
{
	CHECK(generation < RUNTIME_GENERATIONS);
	for (unsigned i = 0; i < rt->workers; i++) {
		struct xmllog_ring *ring = rt->rings[1 + generation * rt->workers + i];

		/* One that was used before may still hold records. */
		if (!xmllog_ring_ready(ring))
			xmllog_ring_init(ring, RING_OCTETS);
	}
}

static int make_seats(struct runtime *rt, unsigned max_sessions)
{
	void *mem;

	rt->files.seats = shared_file("caronte-seats", seats_room(max_sessions), &mem);
	if (rt->files.seats < 0)
		return rt->files.seats;
	rt->seats = mem;
	return seats_init(rt->seats, max_sessions);
}

/* 0: adopted, 1: it is another's, to be counted beside, or -errno. */
static int adopt_seats(struct runtime *rt, int fd, unsigned max_sessions, struct seats **other)
{
	size_t size;
	void *mem = shared_attach(fd, PAGE, true, &size);

	if (!mem)
		return -EPROTO;
	if (seats_fits(mem, size, max_sessions)) {
		rt->seats = mem;
		rt->files.seats = fd;
		return 0;
	}
	*other = mem;
	return 1;
}

static int make_stats(struct runtime *rt)
{
	struct timespec now;
	void *mem;

	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return -errno;
	rt->files.stats = shared_file("caronte-stats", stats_room(rt->slots), &mem);
	if (rt->files.stats < 0)
		return rt->files.stats;
	rt->stats = mem;
	stats_init(rt->stats, rt->slots,
		   (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	return 0;
}

/* Figures of another layout begin anew. */
static bool adopt_stats(struct runtime *rt, int fd)
{
	size_t size, room = stats_room(rt->slots);
	struct stats *mem = shared_attach(fd, room, true, &size);

	if (!mem)
		return false;
	if (!stats_fits(mem, rt->slots)) {
		shared_unmap(mem, size);
		return false;
	}
	rt->stats = mem;
	rt->files.stats = fd;
	return true;
}

/* A dump of a process that fell over has no keys. */
static void use_tickets(struct runtime *rt, int fd, void *mem)
{
	madvise(mem, TICKET_PAGE_SIZE, MADV_DONTDUMP);
	rt->tickets = mem;
	rt->files.tickets = fd;
}

static int make_tickets(struct runtime *rt)
{
	void *mem;
	int fd = shared_file("caronte-tickets", TICKET_PAGE_SIZE, &mem);

	if (fd < 0)
		return fd;
	ticket_begin(mem);
	use_tickets(rt, fd, mem);
	return 0;
}

/* Keys of another layout are forgotten: clients shake hands in full once. */
static bool adopt_tickets(struct runtime *rt, int fd)
{
	size_t size;
	void *mem = shared_attach(fd, TICKET_PAGE_SIZE, true, &size);

	if (!mem)
		return false;
	if (!ticket_fits(mem)) {
		shared_unmap(mem, size);
		return false;
	}
	use_tickets(rt, fd, mem);
	return true;
}

void runtime_use(struct runtime *rt, struct version *v)
{
	rt->version = v;
	rt->config = &v->config;
	rt->name = v->probe->name;
	rt->policy = v->policy;
	rt->route = v->route;
}

int runtime_assign_slots(struct slots *s, const struct route *route, uint64_t version,
			 uint64_t oldest, uint8_t out[DESTINATIONS_MAX])
{
	struct slots_names names = { .count = route->count };

	for (unsigned i = 0; i < route->count; i++)
		names.name[i] = route->destination[i].name;
	return slots_assign(s, &names, version, oldest, out);
}

static void begin(struct runtime *rt, struct version *v)
{
	*rt = (struct runtime){
		.number = 1,
		.engine = v->probe->engine,
		.kernel_tls = v->probe->kernel_tls,
		.workers = v->workers,
		.slots = v->workers * RUNTIME_GENERATIONS,
		.listen_count = v->listen->count,
		.ring_count = v->workers * RUNTIME_GENERATIONS + 2,
		.log_wake_fd = -1,
		.ready_fd = -1,
		.channel_fd = -1,
		.signer_fd = -1,
		.keys_fd = -1,
		.files = { -1, -1, -1, -1 },
		.results = results_make(),
		.handshakes = shared_map(sizeof(struct rates)),
		.resumption = resumption_make(),
	};
	uint64_t seed = 0;

	if (rt->handshakes && getrandom(&seed, sizeof(seed), 0) == sizeof(seed))
		rates_init(rt->handshakes, seed);
	runtime_use(rt, v);
}

int runtime_make(struct runtime *rt, struct version *v)
{
	int err;

	begin(rt, v);
	err = rt->results && rt->handshakes && rt->resumption
		      ? make_seats(rt, (unsigned)v->config.set.max_sessions)
		      : -ENOMEM;
	if (!err)
		err = make_stats(rt);
	if (!err)
		err = make_tickets(rt);
	if (!err)
		err = make_rings(rt);
	if (err)
		return err;
	runtime_begin_generation(rt, 0);
	rt->log_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return rt->log_wake_fd < 0 ? -errno : 0;
}

int runtime_adopt(struct runtime *rt, struct version *v, const struct runtime_files *files,
		  int wake_fd, struct seats **other_seats)
{
	unsigned max = (unsigned)v->config.set.max_sessions;
	int err;

	begin(rt, v);
	*other_seats = NULL;
	rt->log_wake_fd = wake_fd;
	if (!rt->results || !rt->handshakes || !rt->resumption)
		return -ENOMEM;
	err = adopt_seats(rt, files->seats, max, other_seats);
	if (err == 1)
		err = make_seats(rt, max);
	if (!err && !adopt_stats(rt, files->stats)) {
		close(files->stats);
		err = make_stats(rt);
	}
	if (!err && !adopt_tickets(rt, files->tickets)) {
		close(files->tickets);
		err = make_tickets(rt);
	}
	return err ? err : adopt_rings(rt, files->rings);
}

int runtime_route(const struct version *v, const struct runtime *before,
		  struct route_shared **state)
{
	void *mem;
	int fd = shared_file("caronte-route", route_shared_room(), &mem);

	if (fd < 0)
		return fd;
	*state = mem;
	route_shared_init(*state, v->route);
	if (before)
		route_carry_over(*state, v->route, before->route_shared, before->route);
	for (unsigned i = 0; i < v->route->count; i++)
		route_set_addresses(*state, i, v->probe->resolved[i].a, v->probe->resolved[i].n);
	return fd;
}

void runtime_forget_route(struct route_shared *state)
{
	if (state)
		shared_unmap(state, route_shared_room());
}

void runtime_ready(const struct runtime *rt, unsigned slot)
{
	ssize_t n;

	/* Fails only when the master is gone, and then its death signal is on its way. */
	do {
		n = write(rt->ready_fd, &slot, sizeof(slot));
	} while (n < 0 && errno == EINTR);
}
