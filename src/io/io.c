/* SPDX-License-Identifier: ISC */
/*
 * io: the part of the engine that all backends share: bookkeeping of operations, blocks, timers,
 * tasks and the turn of the loop. It knows no backend; io_create.c chooses one.
 *
 * A turn: wait and complete (the backend), complete what was refused, fire timers, run tasks. All
 * memory is taken in io_create(); tables are address space that costs nothing until it is used. It
 * refuses more operations than limits.ops: those complete with -ENOBUFS, from the loop as any
 * other. Misuse (an operation submitted twice, two readers of a descriptor, closing a descriptor
 * that is in use) is a fault of the program and aborts.
 */
#include "io/inner.h"
#include "io/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"

#define FDS_MAX	    (1u << 20) /* the kernel's own fs.nr_open, unless somebody raised it */
#define BLOCKS_MAX  32768u     /* what a ring of provided buffers can number */
#define BLOCK_ALIGN 64u
#define AFTER_MAX   ((uint64_t)1 << 48) /* ms; keeps sums from wrapping */

void *io_map(size_t count, size_t size)
{
	void *p;

	if (count == 0 || size > SIZE_MAX / count)
		return NULL;
	p = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

void io_unmap(void *p, size_t count, size_t size)
{
	if (p)
		munmap(p, count * size);
}

void io_tick(struct io *io)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	io->now_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t io_now_us(const struct io *io)
{
	return io->now_us;
}

uint64_t io_now_ms(const struct io *io)
{
	return io->now_us / 1000;
}

const char *io_name(const struct io *io)
{
	return io->backend->name;
}

uint64_t io_locked(const struct io *io)
{
	return io->backend->locked ? io->backend->locked(io) : 0;
}

/* Making and destroying. */

static unsigned fd_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_max > FDS_MAX)
		return FDS_MAX;
	return r.rlim_max < 64 ? 64 : (unsigned)r.rlim_max;
}

static int make_blocks(struct io *io)
{
	unsigned count = io->limits.block_count;

	if (count == 0)
		return 0;
	if (count > BLOCKS_MAX || io->limits.block_size == 0)
		return -EINVAL;
	io->block_stride = (io->limits.block_size + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
	io->blocks = io_map(count, io->block_stride);
	io->block_stack = io_map(count, sizeof(*io->block_stack));
	if (!io->blocks || !io->block_stack)
		return -ENOMEM;
	while (io->blocks_free < count) {
		io->block_stack[io->blocks_free] = (uint16_t)(count - 1 - io->blocks_free);
		io->blocks_free++;
	}
	return 0;
}

static void free_io(struct io *io)
{
	io_unmap(io->block_stack, io->limits.block_count, sizeof(*io->block_stack));
	io_unmap(io->blocks, io->limits.block_count, io->block_stride);
	io_unmap(io->fds, io->fd_count, sizeof(*io->fds));
	free(io);
}

int io_create_with(struct io **out, const struct io_backend *backend,
		   const struct io_limits *limits, void *arg, const char **why)
{
	struct io *io = calloc(1, sizeof(*io));
	int ret;

	if (!io)
		return -ENOMEM;
	*io = (struct io){ .backend = backend, .arg = arg, .limits = *limits };
	list_init(&io->refused);
	list_init(&io->tasks);
	io_queue_init(io);
	io_tick(io);
	io_wheel_init(&io->wheel, io_now_ms(io));
	io->fd_count = fd_limit();
	io->fds = io_map(io->fd_count, sizeof(*io->fds));
	ret = io->fds ? make_blocks(io) : -ENOMEM;
	if (ret == 0)
		ret = backend->open(io, why);
	if (ret < 0) {
		free_io(io);
		return ret;
	}
	*out = io;
	return 0;
}

void io_destroy(struct io *io)
{
	if (!io)
		return;
	CHECK(!io->running);
	io->backend->shut(io);
	free_io(io);
}

/* Operations. */

static bool reads(uint8_t kind)
{
	return kind == IO_KIND_ACCEPT || kind == IO_KIND_RECV || kind == IO_KIND_RECV_BLOCK;
}

static void take_fd(struct io *io, const struct io_op *op)
{
	struct io_fd *f = &io->fds[op->fd];

	if (op->kind == IO_KIND_POLL) {
		f->polls++;
		CHECK(f->polls);
	} else if (reads(op->kind)) {
		CHECK(!f->reading);
		f->reading = true;
	} else {
		CHECK(!f->writing);
		f->writing = true;
	}
}

static void release_fd(struct io *io, const struct io_op *op)
{
	struct io_fd *f = &io->fds[op->fd];

	if (op->kind == IO_KIND_POLL)
		f->polls--;
	else if (reads(op->kind))
		f->reading = false;
	else
		f->writing = false;
}

static void refuse(struct io *io, struct io_op *op, int res)
{
	op->flags |= IO_OP_REFUSED;
	op->res = res;
	list_add_tail(&io->refused, &op->link);
}

static void submit(struct io *io, struct io_op *op, enum io_kind kind, int fd)
{
	CHECK(!op->active && op->done && fd >= 0);
	op->active = true;
	op->more = false;
	op->kind = (uint8_t)kind;
	op->fd = fd;
	op->moved = 0;
	op->res = 0;
	list_init(&op->link);
	if (io->in_flight >= io->limits.ops) {
		refuse(io, op, -ENOBUFS);
	} else if ((unsigned)fd >= io->fd_count) {
		refuse(io, op, -EMFILE);
	} else {
		io->in_flight++;
		take_fd(io, op);
		if (op->flags & IO_OP_PATH)
			io_queue_submit(io, op);
		else
			io->backend->submit(io, op);
	}
}

void io_finish(struct io *io, struct io_op *op, int res)
{
	CHECK(op->active && io->running);
	if (!(op->flags & IO_OP_REFUSED)) {
		io->in_flight--;
		release_fd(io, op);
	}
	list_del(&op->link);
	op->active = false;
	op->more = false;
	op->done(op, res);
}

void io_report(struct io_op *op, int res)
{
	op->more = true;
	op->done(op, res);
}

bool io_accept_goes_on(int err)
{
	switch (err) {
	case -EINTR:
	case -ECONNABORTED:
	case -EPROTO:
	case -ENETDOWN:
	case -ENETUNREACH:
	case -EHOSTDOWN:
	case -EHOSTUNREACH:
		return true;
	default:
		return false;
	}
}

void io_accept(struct io *io, struct io_op *op, int fd, struct addr *peer, bool shared)
{
	op->flags = shared ? IO_OP_SHARED : 0;
	op->peer = peer;
	submit(io, op, IO_KIND_ACCEPT, fd);
}

void io_connect(struct io *io, struct io_op *op, int fd, const struct addr *addr)
{
	op->flags = 0;
	op->addr = addr;
	submit(io, op, IO_KIND_CONNECT, fd);
}

void io_connect_path(struct io *io, struct io_op *op, int fd, const char *path)
{
	op->flags = IO_OP_PATH;
	op->path = path;
	submit(io, op, IO_KIND_CONNECT, fd);
}

void io_recv(struct io *io, struct io_op *op, int fd, void *buf, size_t len)
{
	CHECK(len > 0);
	op->flags = 0;
	op->buf = buf;
	op->len = len;
	submit(io, op, IO_KIND_RECV, fd);
}

void io_recv_block(struct io *io, struct io_op *op, int fd)
{
	CHECK(io->blocks);
	op->flags = 0;
	op->block = (struct io_block){ 0 };
	submit(io, op, IO_KIND_RECV_BLOCK, fd);
}

void io_send(struct io *io, struct io_op *op, int fd, const void *buf, size_t len, unsigned how)
{
	CHECK(len > 0 && len <= INT32_MAX);
	op->flags = (how & IO_SEND_MORE ? IO_OP_MORE : 0) | (how & IO_SEND_LAZY ? IO_OP_LAZY : 0) |
		    (how & IO_SEND_PARTS ? IO_OP_PARTS : 0);
	op->buf = (uint8_t *)(uintptr_t)buf;
	op->len = len;
	submit(io, op, IO_KIND_SEND, fd);
}

void io_poll(struct io *io, struct io_op *op, int fd, unsigned events)
{
	op->flags = 0;
	op->len = events;
	submit(io, op, IO_KIND_POLL, fd);
}

void io_cancel(struct io *io, struct io_op *op)
{
	if (!op->active || op->flags & (IO_OP_CANCEL | IO_OP_REFUSED))
		return;
	op->flags |= IO_OP_CANCEL;
	if (op->flags & IO_OP_PATH)
		io_queue_cancel(io, op);
	else
		io->backend->cancel(io, op);
}

void io_close(struct io *io, int fd)
{
	CHECK(fd >= 0);
	if ((unsigned)fd < io->fd_count) {
		const struct io_fd *f = &io->fds[fd];

		CHECK(!f->reading && !f->writing && !f->polls);
		io->backend->forget(io, fd);
	}
	close(fd);
}

/* Blocks. */

struct io_block io_block_at(const struct io *io, uint16_t id)
{
	return (struct io_block){ .data = io->blocks + id * io->block_stride, .id = id };
}

bool io_block_take(struct io *io, struct io_block *block)
{
	if (io->blocks_free == 0)
		return false;
	*block = io_block_at(io, io->block_stack[--io->blocks_free]);
	return true;
}

void io_block_put(struct io *io, struct io_block *block)
{
	if (!block->data || block->id == IO_BLOCK_FOREIGN)
		return;
	CHECK(block->id < io->limits.block_count && io->blocks_free < io->limits.block_count);
	io->block_stack[io->blocks_free++] = block->id;
	block->data = NULL;
}

/* Timers and tasks. */

void io_timer_init(struct io_timer *t, void (*fire)(struct io_timer *t))
{
	*t = (struct io_timer){ .fire = fire };
	list_init(&t->link);
}

void io_timer_set(struct io *io, struct io_timer *t, uint64_t after_ms)
{
	list_del(&t->link);
	t->due_ms = io_now_ms(io) + (after_ms < AFTER_MAX ? after_ms : AFTER_MAX);
	io_wheel_add(&io->wheel, t);
}

void io_timer_stop(struct io *io, struct io_timer *t)
{
	(void)io;
	list_del(&t->link);
}

void io_task_init(struct io_task *t, void (*run)(struct io_task *t))
{
	t->run = run;
	list_init(&t->link);
}

void io_defer(struct io *io, struct io_task *t)
{
	if (!list_linked(&t->link))
		list_add_tail(&io->tasks, &t->link);
}

void io_undefer(struct io_task *t)
{
	list_del(&t->link);
}

/* The loop. */

static int64_t turn_wait_us(struct io *io, int wait_ms)
{
	int64_t wait_us = wait_ms < 0 ? -1 : (int64_t)wait_ms * 1000;
	uint64_t next_ms;

	if (list_linked(&io->tasks) || list_linked(&io->refused) || io->stop)
		return 0;
	next_ms = io_wheel_next_ms(&io->wheel);
	if (next_ms != UINT64_MAX) {
		int64_t until = (int64_t)(next_ms * 1000) - (int64_t)io->now_us;

		if (until < 0)
			until = 0;
		if (wait_us < 0 || until < wait_us)
			wait_us = until;
	}
	return wait_us;
}

static void finish_refused(struct io *io)
{
	struct list batch;

	list_take(&batch, &io->refused);
	while (list_linked(&batch)) {
		struct io_op *op = container_of(batch.next, struct io_op, link);

		io_finish(io, op, op->res);
	}
}

/* Those at hand now; what a task defers waits for the next turn. */
static void run_tasks(struct io *io)
{
	struct list batch;

	list_take(&batch, &io->tasks);
	while (list_linked(&batch)) {
		struct io_task *t = container_of(batch.next, struct io_task, link);

		list_del(&t->link);
		t->run(t);
	}
}

int io_run_once(struct io *io, int wait_ms)
{
	int ret;

	CHECK(!io->running);
	io->running = true;
	io_tick(io);
	ret = io->backend->wait(io, turn_wait_us(io, wait_ms));
	if (ret == 0) {
		finish_refused(io);
		io_wheel_run(&io->wheel, io_now_ms(io));
		run_tasks(io);
	}
	io->running = false;
	return ret;
}

int io_run(struct io *io)
{
	int ret = 0;

	while (!io->stop && ret == 0)
		ret = io_run_once(io, -1);
	io->stop = false;
	return ret;
}

void io_stop(struct io *io)
{
	io->stop = true;
}
