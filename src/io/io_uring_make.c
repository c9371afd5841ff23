/* SPDX-License-Identifier: ISC */
/*
 * io_uring_make: how the ring is made. Every step is one that a kernel or a sandbox may refuse:
 * each is tried at start, in this process, and what is refused is named, so that the engine can be
 * another. It needs kernel 5.19 (buffer rings) and takes more where there is more.
 */
#include "io/io_uring_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SQ_ENTRIES 1024u
#define CQ_MAX	   16384u /* more than that at once waits in the kernel's overflow list */
#define FED_MAX	   256u	  /* blocks in the kernel's hands */
#define STUCK_MAX  4u	  /* kernel threads */

/* For a worker that starts, and for nobody else. */
#define MEMORY_TRIES	20
#define MEMORY_PAUSE_MS 20

#define NEEDED                                                                                     \
	(IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |                  \
	 IORING_FEAT_EXT_ARG)

static unsigned power_of_two(unsigned n)
{
	unsigned p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static const char no_memory[] = "no memory for a ring, or RLIMIT_MEMLOCK leaves none";

/* The kernel gives back what rings of processes that have ended had locked when it comes to it, and
 * where no pages lie free for a new one, it says so in place of dropping what it has cached (6.14
 * and later). */
static int init_patiently(struct io_uring *ring, struct io_uring_params *p)
{
	const struct timespec pause = { .tv_nsec = MEMORY_PAUSE_MS * 1000000L };
	const struct io_uring_params wanted = *p;
	int ret = io_uring_queue_init_params(SQ_ENTRIES, ring, p);

	for (int i = 0; ret == -ENOMEM && i < MEMORY_TRIES; i++) {
		nanosleep(&pause, NULL);
		*p = wanted;
		ret = io_uring_queue_init_params(SQ_ENTRIES, ring, p);
	}
	return ret;
}

static int make_ring(struct uring *u, unsigned ops, bool plain, const char **why)
{
	static const unsigned wishes[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
			IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
		0,
	};
	const size_t count = sizeof(wishes) / sizeof(wishes[0]);
	unsigned cq = power_of_two(ops < CQ_MAX / 2 ? ops * 2 : CQ_MAX);
	int ret = -EINVAL;

	if (cq < 2 * SQ_ENTRIES)
		cq = 2 * SQ_ENTRIES;
	for (size_t i = plain ? count - 1 : 0; i < count && ret == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = wishes[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
			.cq_entries = cq,
		};

		ret = init_patiently(&u->ring, &p);
		if (ret == 0 && (p.features & NEEDED) != NEEDED) {
			io_uring_queue_exit(&u->ring);
			*why = "the kernel's io_uring is too old";
			return -EOPNOTSUPP;
		}
		u->skips = p.features & IORING_FEAT_CQE_SKIP;
	}
	if (ret == -ENOSYS)
		*why = "the kernel has no io_uring";
	else if (ret == -EPERM || ret == -EACCES)
		*why = "io_uring is forbidden here (kernel.io_uring_disabled, or a sandbox)";
	else if (ret == -ENOMEM)
		*why = no_memory;
	else if (ret < 0)
		*why = "io_uring_setup failed";
	return ret;
}

/* What only helps: refusal of either is no fault. */
static void tune(struct uring *u)
{
	/*
	 * A send that waits for room towards a peer that has closed its own direction is given to a
	 * thread of the kernel. Few honest peers do that: their number is bounded, and the rest
	 * wait.
	 */
	unsigned threads[2] = { 0, STUCK_MAX };

	(void)io_uring_register_iowq_max_workers(&u->ring, threads);
	/* Saves the look-up of the ring's descriptor at each call; 5.18 and later. */
	(void)io_uring_register_ring_fd(&u->ring);
}

static int check_operations(struct uring *u, const char **why)
{
	static const int needed[] = { IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_SEND,
				      IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL };
	struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
	bool all = probe != NULL;

	for (size_t i = 0; all && i < sizeof(needed) / sizeof(needed[0]); i++)
		all = io_uring_opcode_supported(probe, needed[i]);
	io_uring_free_probe(probe);
	if (all)
		return 0;
	*why = "io_uring lacks operations that are needed";
	return -EOPNOTSUPP;
}

static int make_feed(struct io *io, struct uring *u, const char **why)
{
	struct io_uring_buf_reg reg = { .bgid = BLOCK_GROUP };
	unsigned blocks = io->limits.block_count;

	if (blocks == 0)
		return 0;
	u->feed_want = blocks < FED_MAX ? blocks : FED_MAX;
	u->feed_size = power_of_two(u->feed_want);
	u->feed = io_map(u->feed_size, sizeof(struct io_uring_buf));
	if (!u->feed)
		return -ENOMEM;
	reg.ring_addr = (uint64_t)(uintptr_t)u->feed;
	reg.ring_entries = u->feed_size;
	int ret = io_uring_register_buf_ring(&u->ring, &reg, 0);

	if (ret < 0) {
		*why = ret == -ENOMEM ? no_memory
				      : "io_uring has no rings of provided buffers (kernel 5.19)";
		return -EOPNOTSUPP;
	}
	io_uring_buf_ring_init(u->feed);
	return 0;
}

static void on_trial(struct io_op *op, int res)
{
	op->res = res;
}

/* Receives an octet as the engine does: a sandbox may let a ring be made and not be entered. */
static int trial(struct io *io, const char **why)
{
	struct io_op op = { .done = on_trial };
	uint8_t octet = 0;
	int sv[2], ret = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	if (io->blocks)
		io_recv_block(io, &op, sv[0]);
	else
		io_recv(io, &op, sv[0], &octet, 1);
	op.flags |= OP_POLL_FIRST;
	if (write(sv[1], &octet, 1) != 1)
		ret = -errno;
	for (int i = 0; ret == 0 && op.active && i < 100; i++)
		ret = io_run_once(io, 10);
	if (ret < 0 || op.active || op.res != 1) {
		*why = "io_uring does not receive";
		ret = -EOPNOTSUPP;
	}
	io_block_put(io, &op.block);
	close(sv[0]);
	close(sv[1]);
	return ret;
}

static void free_uring(struct uring *u)
{
	io_unmap(u->feed, u->feed_size, sizeof(struct io_uring_buf));
	io_unmap(u->addrs, u->addr_count, sizeof(*u->addrs));
	free(u);
}

void uring_shut(struct io *io)
{
	struct uring *u = io->priv;

	io_uring_queue_exit(&u->ring);
	free_uring(u);
	io->priv = NULL;
}

int uring_make(struct io *io, struct uring *u, const char **why)
{
	const struct io_uring_less *less = io->arg;
	int ret = make_ring(u, io->limits.ops, less && less->setup_flags, why);

	u->skips = u->skips && !(less && less->cqe_skip);
	if (ret < 0) {
		free_uring(u);
		return ret;
	}
	io->priv = u;
	tune(u);
	u->addr_count = *u->ring.sq.kring_entries;
	u->addrs = io_map(u->addr_count, sizeof(*u->addrs));
	ret = u->addrs ? check_operations(u, why) : -ENOMEM;
	if (ret == 0)
		ret = make_feed(io, u, why);
	if (ret == 0)
		ret = trial(io, why);
	if (ret < 0)
		uring_shut(io);
	return ret;
}

static bool is_counted(void)
{
	struct rlimit limit, none;
	struct io_uring ring;
	int ret;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return false;
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = limit.rlim_max };
	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
		return false;
	ret = io_uring_queue_init(1, &ring, 0);
	(void)!setrlimit(RLIMIT_MEMLOCK, &limit);
	if (ret == 0)
		io_uring_queue_exit(&ring);
	return ret == -ENOMEM;
}

static uint64_t pages(uint64_t octets)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return (octets + page - 1) / page * page;
}

/* Each of them is whole pages of its own: the two rings (one mapping), the submission queue's
 * entries, the buffers' ring. */
uint64_t uring_locked(const struct io *io)
{
	const struct uring *u = io->priv;

	if (!is_counted())
		return 0;
	return pages(u->ring.sq.ring_sz) +
	       pages((uint64_t)u->addr_count * sizeof(struct io_uring_sqe)) +
	       pages((uint64_t)u->feed_size * sizeof(struct io_uring_buf));
}
