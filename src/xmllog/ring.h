/* SPDX-License-Identifier: ISC */
/*
 * ring: the layout that the producer (xmllog.c) and the writer (take.c) share. One producer and one
 * consumer; positions are free-running 32-bit counters, so tail - head is what is in the ring, and
 * a record may wrap around its end. The producer owns tail and dropped, the writer the rest, but
 * for wake_at, which a producer sets back to RING_AWAKE when it wakes the writer. The layout never
 * leaves the machine: both sides are the same program, or in an upgrade two of the same
 * STATE_LAYOUT (master/state.h).
 */
#ifndef XMLLOG_RING_H
#define XMLLOG_RING_H

#include <stdatomic.h>

#include "xmllog/xmllog.h"

#define RING_MIN   4096u
#define RING_MAX   (1u << 30)
#define RING_AWAKE UINT32_MAX /* wake_at: the writer is awake, never wake it */

/* A record with all its values; a larger one is dropped and counted. */
#define RECORD_MAX   (128u << 10)
#define RECORD_MAGIC 0xca0eu

struct xmllog_ring {
	uint32_t size;	     /* octets of data, a power of two */
	uint32_t size_check; /* ~size: a scribbled head is noticed */

	_Alignas(64) _Atomic uint32_t tail; /* behind the last whole record; stored last */
	_Atomic uint64_t dropped;

	_Alignas(64) _Atomic uint32_t head;
	_Atomic uint32_t wake_at; /* wake the writer when more octets than this wait */
	uint64_t reported;	  /* of dropped, how many the log already says */

	/* What head and reported become when the batch that is being written is in the file. */
	uint32_t next_head;
	uint64_t next_reported;

	/* In the first ring only: where the file's tail will then be, so that a restarted writer
	 * knows whether that batch got into the file; and whether standard output has its head. */
	uint32_t commit_valid;
	uint32_t stream_begun;
	uint64_t commit_dev, commit_ino, commit_tail;
	/* Likewise of the JSON file: which one it is, and its size before the batch. */
	uint32_t json_valid;
	uint64_t json_dev, json_ino, json_size;

	_Alignas(64) uint8_t data[];
};

enum record_kind { KIND_TEXT, KIND_NUM, KIND_SECONDS, KIND_ADDR, KINDS };

struct record_header {
	uint32_t len; /* of the whole record */
	uint16_t magic;
	uint8_t element;
	uint8_t has_session;
	uint64_t time_us;
	uint64_t epoch_us;
	uint32_t serial;
	uint32_t zero;
};

struct attr_header {
	uint8_t attr;
	uint8_t kind;
	uint16_t len; /* of the value that follows */
};

#endif
