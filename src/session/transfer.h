/* SPDX-License-Identifier: ISC */
/*
 * transfer: how octets of a message get from the client's socket to the destination's. There are
 * two movers, which do not know each other: body.h scans what comes by DATA, chunk.h counts what
 * comes by BDAT. Here is what both need: a buffer, a pipe, and the time that the destination takes
 * (which is not the client's, MIN_RATE). All of it is the worker's, and borrowed while octets move.
 */
#ifndef SESSION_TRANSFER_H
#define SESSION_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "check/limits.h"
#include "io/stream.h"

struct session;

struct mover {
	/* The dialog wants octets of a message, and none is on its way. */
	void (*begin)(struct session *s);
	/* Goes on after anything has changed. One step at a time: a slow destination slows its
	 * client. At the message's end, transfer_over(). */
	void (*step)(struct session *s);
	/* Octets have come as a block. NULL: they are kept, as commands are. */
	void (*take)(struct session *s, struct span octets);
	bool sends_alone; /* what is queued for the destination waits until it is over */
};

/*
 * Octets of a body on their way. What goes before them stands at the end of `spare`: the command of
 * a chunk, and a CR that was held back.
 *
 * They begin in the middle of a page. The kernel copies with `rep movsb` where the processor says
 * that it is fast; AMD's of today take 15 times as long where the target is 1 to 31 octets behind
 * the source, each counted from the beginning of its page. The kernel's own buffers often begin a
 * few octets behind that, so ours must not (doc/performance.md).
 */
struct session_body {
	uint8_t spare[2048];
	uint8_t data[WORKER_BODY];
};

/* Octets on their way through a pipe: there is one for each pipe. */
struct session_splice {
	struct io_splice io;
	struct session *session;
	void (*spliced)(struct session *s, const struct io_splice *how, int res);
};

/* What is known of the octets in the client's socket, which are left there. */
enum transfer_queue {
	QUEUE_UNKNOWN,
	QUEUE_READABLE, /* there are some, or its end */
	QUEUE_AT_MARK,	/* they stand at an urgent mark, which splice does not pass */
};

struct transfer {
	const struct mover *mover; /* NULL: nothing is on its way */
	struct session_body *body, *repaired;
	struct io_pipe *pipe;
	struct session_splice *splice; /* while octets move through the pipe */
	struct span rest;	       /* octets in `body` that were not dealt with yet */
	enum transfer_queue queue;
	uint32_t came;	    /* octets that the last step brought */
	uint32_t most;	    /* … and at most the next, into a buffer that is not borrowed yet */
	uint64_t taking_us; /* since when the destination is taking octets */
	uint64_t took_us;   /* … and how long it took the last time */
	bool has_long;	    /* one of WORKER_LONG is its own */
};

/* The dialog wants octets: MOVER sees to them until transfer_over(). */
void transfer_begin(struct session *s, const struct mover *mover);
void transfer_over(struct session *s);

void transfer_borrow(struct session *s);
void transfer_borrow_repaired(struct session *s);
/* Gives back the buffers; all that was borrowed. */
void transfer_return_buffers(struct session *s);
void transfer_return(struct session *s);
/* No octets have come for a while: a receive that waits with a buffer gives it back. */
void transfer_stalled(struct session *s);

/* How many octets the next step may bring: a long step is for a body that flows on both sides, and
 * for WORKER_LONG sessions at a time, since what a step brings may have to be kept: by a slow
 * destination, at the gate, or as commands behind a message. */
size_t transfer_room(struct session *s);
/* Nothing is held any more that takes more room than a usual step. */
void transfer_settle(struct session *s);

/* N octets have come. */
void transfer_came(struct session *s, size_t n);
/* Takes what is in the client's socket into the buffer, MOST octets at most; LOOKING leaves them in
 * the queue. How many; 0: none, or the end of the stream, which the dialog was told. */
size_t transfer_take(struct session *s, size_t most, bool looking);
/* A receive is over: true where the session still cares for what has come. */
bool transfer_woken(struct session *s, int res);
/* Receives MOST octets at most, into a buffer that is borrowed once they have come: they are `rest`
 * from then on. */
void transfer_receive(struct session *s, size_t most);

/* The destination begins to take octets, and has taken them. */
void transfer_dest_takes(struct session *s);
void transfer_dest_took(struct session *s);
/* Sends octets to the destination; DONE is called as io's are. MORE: others follow at once. */
void transfer_send(struct session *s, struct span octets, bool more,
		   void (*done)(struct io_op *op, int res));
/* Whether the kernel can move octets from the client to the destination. */
bool transfer_can_splice(const struct session *s);
/* Takes a pipe, false where there is none; and gives it back. */
bool transfer_take_pipe(struct session *s);
void transfer_return_pipe(struct session *s);
/* Moves N octets from the client's socket to the destination's, through the session's pipe; then,
 * or when that fails, SPLICED is called as io_splice's `done` is (pipe.h). */
void transfer_splice(struct session *s, uint64_t n,
		     void (*spliced)(struct session *s, const struct io_splice *how, int res));

#endif
