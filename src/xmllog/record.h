/* SPDX-License-Identifier: ISC */
/*
 * record: one record as the writer sees it, a view into octets that the writer has copied out of a
 * ring. Those octets are never believed: a worker that went wrong may have scribbled over them.
 */
#ifndef XMLLOG_RECORD_H
#define XMLLOG_RECORD_H

#include "xmllog/ring.h"

struct record_attr {
	enum xmllog_attr attr;
	enum record_kind kind;
	union {
		struct span text;
		uint64_t num; /* KIND_SECONDS: microseconds */
		struct addr addr;
	};
};

struct record {
	enum xmllog_element element;
	bool has_session;
	struct xmllog_session session;
	uint64_t time_us;
	size_t attrs;
	struct record_attr attr[XMLLOG_ATTRS];
};

/* Reads the record that RAW holds, the whole of it and nothing else; false when it is none. */
bool record_parse(struct record *r, struct span raw);

/* A fault of the writer's own, time-stamped now. DETAIL may be NULL; COUNT 0: no such attribute. */
void record_fault(struct record *r, const char *what, const char *detail, uint64_t count);

/* Microseconds since 1970. */
uint64_t record_now(void);

#endif
