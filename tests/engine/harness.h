/* SPDX-License-Identifier: ISC */
/*
 * harness: what the engine's tests share. A case is a function over a struct env, which holds a
 * fresh engine over one of the backends; the harness runs it for each backend, for the fake with
 * many seeds, and checks afterwards that it left no operation, block or descriptor behind.
 */
#ifndef TESTS_ENGINE_HARNESS_H
#define TESTS_ENGINE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake.h"
#include "io/inner.h"
#include "io/pipe.h"

#define BLOCK_SIZE  4096
#define BLOCK_COUNT 8

struct env {
	const struct io_backend *backend;
	struct io *io;
	struct fake_rates rates;
	uint64_t random; /* the case's own */
	bool faults;	 /* the fake may fail operations */
};

/* Limits of a case; zero fields are the usual ones. */
struct engine_case {
	const char *name;
	void (*run)(struct env *e);
	unsigned seeds; /* of the fake; 0 is the usual number */
	unsigned ops;
	unsigned fail; /* percent; the case expects faults */
};

/* An operation that notes what became of it. */
struct watch {
	struct io_op op;
	struct addr peer;
	unsigned calls;
	int res;
	bool over; /* the last completion has come */
};

void watch_init(struct watch *w);
/* Forgets the last result, for another submission. */
void watch_again(struct watch *w);

/* Turns the loop until *FLAG; fails the test after some seconds. */
void run_until(struct env *e, const bool *flag);
/* Turns the loop until W is over and gives its result, which came by one call. */
int await(struct env *e, struct watch *w);
/* Turns the loop for MS, and once more after that. */
void run_for(struct env *e, unsigned ms);

/* Every block can be had, so the case has left none behind. */
void all_blocks_are_back(struct env *e);

/* Two ends of a TCP connection over loopback, or of a socketpair; non-blocking. */
void tcp_pair(int sv[2]);
/* The same, of which the engine has connected the one end and accepted the other. */
void engine_pair(struct env *e, int sv[2]);
void unix_pair(int sv[2]);
/* A listening socket on loopback and its address. */
int tcp_listener(struct addr *addr);
/* Closes with a reset. */
void reset(struct env *e, int fd);
/* Takes all that is in FD's queue; octets. */
size_t discard(int fd);
/* Fills FD's queue towards its peer: takes no octet more before the peer reads. TCP only. */
size_t stuff(int fd);
void small_buffer(int fd);
void set_nonblock(int fd);

/* A splice and how it has ended: `s.done` is moved(). */
struct moved {
	struct io_splice s;
	bool over;
	int res;
};
void moved(struct io_splice *s, int res);

/* Octet I of a stream named SEED: tells a wrong, lost or doubled octet. */
uint8_t pattern(uint64_t seed, uint64_t i);
void fill_pattern(uint8_t *buf, size_t n, uint64_t seed, uint64_t from);
bool has_pattern(const uint8_t *buf, size_t n, uint64_t seed, uint64_t from);

extern const struct engine_case basic_cases[], connect_cases[], cancel_cases[], loop_cases[],
	splice_cases[], stream_cases[], local_cases[], load_cases[], tls_cases[];

#endif
