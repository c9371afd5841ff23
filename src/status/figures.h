/* SPDX-License-Identifier: ISC */
/*
 * figures: what the status process tells: the counters of all workers added up, rates and latencies
 * of the last minute, and the state of destinations and workers; as one JSON document or in the
 * text format of Prometheus. Reads shared memory and changes nothing. Allocates, as no process on
 * the way of mail may.
 */
#ifndef STATUS_FIGURES_H
#define STATUS_FIGURES_H

#include <stdint.h>
#include <stdio.h>

#include "runtime/runtime.h"

/* The last minute: readings at this distance, and how many of them. */
#define FIGURES_STEP_MS	 5000
#define FIGURES_READINGS 13

struct figures {
	const struct runtime *rt;
	struct stats_sum *now;
	uint64_t dropped,
		dropped_ms;  /* records that the log has lost; when that was noticed last */
	unsigned kept, next; /* readings there are, the place of the next one */
	struct {
		uint64_t at_ms;
		struct stats_sum *sum;
	} past[FIGURES_READINGS];
};

/* 0 or -ENOMEM. */
int figures_init(struct figures *f, const struct runtime *rt, uint64_t now_ms)
	__attribute__((warn_unused_result));
void figures_free(struct figures *f);
/* Keeps a reading when one is due; milliseconds until the next one is. */
unsigned figures_keep(struct figures *f, uint64_t now_ms);
/* A file system that the log is written to. */
struct figures_disk {
	const char *name;    /* "log", "archive" */
	uint64_t free, size; /* octets; 0 and 0 where that is not to be had */
};
#define FIGURES_DISKS 2
/* How many there are: none where the log goes to standard output. */
unsigned figures_disks(const struct runtime *rt, struct figures_disk out[FIGURES_DISKS]);
/* One JSON object and a line feed (carontectl(8) lists the members). */
void figures_json(struct figures *f, uint64_t now_ms, FILE *out);
/* The exposition format of Prometheus, version 0.0.4; since the daemon's start. */
void figures_metrics(struct figures *f, FILE *out);

#endif
