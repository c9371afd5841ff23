/* SPDX-License-Identifier: ISC */
/*
 * take: the writer's side of the rings. A batch is what is at hand when it begins, merged by time
 * stamp. Nothing is taken for good before the batch is in the file: until take_commit() the rings
 * still hold it, so a failed write or a killed writer loses no record.
 */
#ifndef XMLLOG_TAKE_H
#define XMLLOG_TAKE_H

#include "xmllog/record.h"

/* When producers are to wake the writer. */
enum take_wake { TAKE_AWAKE, TAKE_HALF_FULL, TAKE_ASLEEP };

struct take_source {
	struct xmllog_ring *ring;
	uint32_t size;
	uint32_t at;	  /* next record of this batch */
	uint32_t end;	  /* of what is at hand in this batch */
	uint32_t front;	  /* length of the record at AT, 0: none */
	uint64_t time_us; /* its time stamp */
	uint32_t damaged; /* octets skipped in this batch, not yet reported */
	bool lost;	  /* the ring's head is scribbled: not touched any more */
	bool told;	  /* and that was reported */
};

struct take {
	struct take_source *src;
	size_t n;
	uint8_t *copy;	 /* the record handed out, RECORD_MAX octets */
	char text[96];	 /* detail of a fault handed out */
	uint32_t octets; /* taken in this batch */
};

/* 0 or -ENOMEM. */
int take_open(struct take *t, struct xmllog_ring *const *rings, size_t n)
	__attribute__((warn_unused_result));
void take_close(struct take *t);

/* Begins a batch with all that is at hand (a batch begun and not committed is forgotten). */
void take_begin(struct take *t);
/* The earliest record of the batch that is not taken yet, or false. From a damaged record on, the
 * rest of its ring is skipped. *R points into T and is good until the next call. */
bool take_next(struct take *t, struct record *r);
/* A fault record about what was skipped since take_begin(), one for each ring, or false. */
bool take_damage(struct take *t, struct record *r);
/* How many records producers have dropped that the log does not say yet; with the batch it does. */
uint64_t take_dropped(struct take *t);

/* Notes that the batch is in the file as soon as file DEV, INO has its tail at TAIL. */
void take_prepare(struct take *t, uint64_t dev, uint64_t ino, uint64_t tail);
/* Notes that the same batch is about to be appended to JSON file DEV, INO of SIZE octets. */
void take_prepare_json(struct take *t, uint64_t dev, uint64_t ino, uint64_t size);
/* The batch is in the file: frees its room. */
void take_commit(struct take *t);
/*
 * At start: true when the last batch of a killed writer did get into this file. take_next() then
 * hands out its records once more, for whoever else should have had them, and take_commit() does
 * what the killed one had no time for.
 */
bool take_recover(struct take *t, uint64_t dev, uint64_t ino, uint64_t tail);
/* After it: octets of that batch that JSON file DEV, INO, of SIZE octets now, has already. */
uint64_t take_json_has(const struct take *t, uint64_t dev, uint64_t ino, uint64_t size);

/* Says when to be woken, and then whether the rings hold anything: if so, do not sleep. */
bool take_wake_at(struct take *t, enum take_wake when);

#endif
