/* SPDX-License-Identifier: ISC */
/*
 * xmllog: records. A worker (or the master) writes compact records into a ring of its own in shared
 * memory; the log writer process takes them from all rings, formats them and puts them into the
 * file (writer.h). Nothing here ever waits: a record that does not fit is dropped and counted in
 * the ring. A record becomes visible whole or not at all, also when its writer is killed.
 */
#ifndef XMLLOG_XMLLOG_H
#define XMLLOG_XMLLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"

enum xmllog_element {
	XMLLOG_START,
	XMLLOG_STOP,
	XMLLOG_RELOAD,
	XMLLOG_FAULT,
	XMLLOG_DESTINATION,
	XMLLOG_LOGIN,
	XMLLOG_SESSION,
	XMLLOG_RECIPIENT,
	XMLLOG_MESSAGE,
	XMLLOG_COMMAND,
	XMLLOG_REPLY,
	XMLLOG_DEBUG,
	XMLLOG_REFUSAL,
	XMLLOG_ELEMENTS
};

/* Attribute names of caronte-log(5); the element's own order is that of the calls. A new one comes
 * last: workers from before an upgrade write theirs by number. */
enum xmllog_attr {
	XMLLOG_A_VERSION,
	XMLLOG_A_PID,
	XMLLOG_A_CHANGED,
	XMLLOG_A_WHAT,
	XMLLOG_A_DETAIL,
	XMLLOG_A_COUNT,
	XMLLOG_A_ADDRESS,
	XMLLOG_A_STATE,
	XMLLOG_A_WHY,
	XMLLOG_A_CLIENT,
	XMLLOG_A_PROXY,
	XMLLOG_A_MECHANISM,
	XMLLOG_A_NAME,
	XMLLOG_A_VERDICT,
	XMLLOG_A_REPLY,
	XMLLOG_A_HELO,
	XMLLOG_A_LOGIN,
	XMLLOG_A_TLS,
	XMLLOG_A_CIPHER,
	XMLLOG_A_SNI,
	XMLLOG_A_RESUMED,
	XMLLOG_A_KERNEL,
	XMLLOG_A_PEER,
	XMLLOG_A_START,
	XMLLOG_A_DESTINATION_TLS,
	XMLLOG_A_DESTINATION_CIPHER,
	XMLLOG_A_DESTINATION_TRUST,
	XMLLOG_A_DESTINATION,
	XMLLOG_A_MESSAGES,
	XMLLOG_A_REFUSALS,
	XMLLOG_A_BYTES,
	XMLLOG_A_SECONDS,
	XMLLOG_A_END,
	XMLLOG_A_MESSAGE,
	XMLLOG_A_SENDER,
	XMLLOG_A_RECIPIENT,
	XMLLOG_A_RULE,
	XMLLOG_A_RECIPIENTS,
	XMLLOG_A_BODY,
	XMLLOG_A_LINE,
	XMLLOG_A_FROM,
	XMLLOG_A_TO,
	XMLLOG_A_COPY,
	XMLLOG_A_REASON,
	XMLLOG_A_ERRORS,
	XMLLOG_A_COMMAND,
	XMLLOG_A_BY,
	XMLLOG_A_ID,
	XMLLOG_A_CERTIFICATES,
	XMLLOG_ATTRS
};

/* A session's name, unique across restarts and workers: the worker's epoch (handed out by the
 * master, microseconds since 1970, never twice) and a serial. As text "EPOCH-SERIAL", both hex. */
struct xmllog_session {
	uint64_t epoch_us;
	uint32_t serial;
};
#define XMLLOG_SESSION_TEXT_MAX 32
size_t xmllog_session_text(const struct xmllog_session *s, char *out);

/* The ring, in memory shared with the writer. Its layout is the module's own. */
struct xmllog_ring;
size_t
xmllog_ring_room(size_t data_octets); /* octets of memory for a ring (power of two of data) */
void xmllog_ring_init(struct xmllog_ring *r, size_t data_octets);
/* False for memory that is still zeroed. */
bool xmllog_ring_ready(const struct xmllog_ring *r);
/* Records that did not fit, since the start. Anybody may ask. */
uint64_t xmllog_ring_dropped(const struct xmllog_ring *r);

/* A producer's handle: one per process, on its own ring. */
struct xmllog {
	struct xmllog_ring *ring;
	int wake_fd; /* eventfd that the writer waits on; written only when the writer sleeps */
	int level;
	/* The record being made. */
	uint32_t start, at;
	bool overflow;
};

void xmllog_open(struct xmllog *l, struct xmllog_ring *ring, int wake_fd, int level);
const char *xmllog_element_name(enum xmllog_element e);
/* The level from which the element is written: 1 to 4, as in caronte-log(5). */
int xmllog_level_of(enum xmllog_element e);
static inline bool xmllog_wants(const struct xmllog *l, int level)
{
	return l->level >= level;
}

/* Begins a record, time-stamped now; S may be NULL. False when the level does not want it (then no
 * other call may follow). Attributes follow in the order in which they are to be written. */
bool xmllog_begin(struct xmllog *l, enum xmllog_element e, const struct xmllog_session *s);
/* Any octets; what is no UTF-8 or no XML character is escaped by the writer. Values above
 * XMLLOG_VALUE_MAX are cut there. */
#define XMLLOG_VALUE_MAX 16384
void xmllog_span(struct xmllog *l, enum xmllog_attr a, struct span v);
void xmllog_text(struct xmllog *l, enum xmllog_attr a, const char *v);
void xmllog_num(struct xmllog *l, enum xmllog_attr a, uint64_t v);
void xmllog_seconds(struct xmllog *l, enum xmllog_attr a, uint64_t us); /* "1.000250" */
/* An address without a family is left out. */
void xmllog_addr(struct xmllog *l, enum xmllog_attr a, const struct addr *v);
/* Makes the record visible, or drops and counts it. */
void xmllog_end(struct xmllog *l);

#endif
