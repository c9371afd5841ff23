/* SPDX-License-Identifier: ISC */
/*
 * xmllog: the producer's side. A record is written behind the published tail, where the writer does
 * not look, and becomes visible by one store of the tail. A producer that is killed before that
 * store has written nothing; the next one on the same ring goes on at the tail.
 *
 * Never waits, allocates or escapes (the writer does that). The only system call is the write to
 * the eventfd, and that only when the writer sleeps. What does not fit is dropped whole and
 * counted.
 */
#include "xmllog/xmllog.h"

#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/digits.h"
#include "xmllog/ring.h"

size_t xmllog_session_text(const struct xmllog_session *s, char *out)
{
	size_t n = digits_put(out, s->epoch_us, 16, 1);

	out[n++] = '-';
	n += digits_put(out + n, s->serial, 16, 1);
	out[n] = '\0';
	return n;
}

size_t xmllog_ring_room(size_t data_octets)
{
	return sizeof(struct xmllog_ring) + data_octets;
}

void xmllog_ring_init(struct xmllog_ring *r, size_t data_octets)
{
	CHECK(data_octets >= RING_MIN && data_octets <= RING_MAX);
	CHECK((data_octets & (data_octets - 1)) == 0);
	CHECK(((uintptr_t)r & (_Alignof(struct xmllog_ring) - 1)) == 0);
	memset(r, 0, sizeof(*r));
	r->size = (uint32_t)data_octets;
	r->size_check = ~r->size;
	atomic_store(&r->wake_at, RING_AWAKE);
}

uint64_t xmllog_ring_dropped(const struct xmllog_ring *r)
{
	return atomic_load_explicit(&r->dropped, memory_order_relaxed);
}

bool xmllog_ring_ready(const struct xmllog_ring *r)
{
	return r->size != 0;
}

void xmllog_open(struct xmllog *l, struct xmllog_ring *ring, int wake_fd, int level)
{
	*l = (struct xmllog){ .ring = ring, .wake_fd = wake_fd, .level = level };
}

const char *xmllog_element_name(enum xmllog_element e)
{
	static const char *const names[XMLLOG_ELEMENTS] = {
		[XMLLOG_START] = "start",
		[XMLLOG_STOP] = "stop",
		[XMLLOG_RELOAD] = "reload",
		[XMLLOG_FAULT] = "fault",
		[XMLLOG_DESTINATION] = "destination",
		[XMLLOG_LOGIN] = "login",
		[XMLLOG_SESSION] = "session",
		[XMLLOG_RECIPIENT] = "recipient",
		[XMLLOG_MESSAGE] = "message",
		[XMLLOG_COMMAND] = "command",
		[XMLLOG_REPLY] = "reply",
		[XMLLOG_DEBUG] = "debug",
		[XMLLOG_REFUSAL] = "refusal",
	};

	return names[e];
}

int xmllog_level_of(enum xmllog_element e)
{
	switch (e) {
	case XMLLOG_START:
	case XMLLOG_STOP:
	case XMLLOG_RELOAD:
	case XMLLOG_FAULT:
	case XMLLOG_DESTINATION:
	case XMLLOG_LOGIN:
	case XMLLOG_SESSION:
		return 1;
	case XMLLOG_RECIPIENT:
	case XMLLOG_REFUSAL:
	case XMLLOG_MESSAGE:
		return 2;
	case XMLLOG_COMMAND:
	case XMLLOG_REPLY:
		return 3;
	case XMLLOG_DEBUG:
	case XMLLOG_ELEMENTS:
		break;
	}
	CHECK(e == XMLLOG_DEBUG);
	return 4;
}

static void copy_in(struct xmllog_ring *r, uint32_t at, const void *p, uint32_t n)
{
	uint32_t from = at & (r->size - 1);
	uint32_t first = r->size - from < n ? r->size - from : n;

	memcpy(r->data + from, p, first);
	memcpy(r->data, (const uint8_t *)p + first, n - first);
}

static void put(struct xmllog *l, const void *p, uint32_t n)
{
	struct xmllog_ring *r = l->ring;
	uint32_t behind = l->at + n;

	/* Acquire: what the writer has taken out of that room it has read before. */
	if (l->overflow || behind - l->start > RECORD_MAX ||
	    behind - atomic_load_explicit(&r->head, memory_order_acquire) > r->size) {
		l->overflow = true;
		return;
	}
	if (n)
		copy_in(r, l->at, p, n);
	l->at = behind;
}

static void put_attr(struct xmllog *l, enum xmllog_attr a, enum record_kind kind, const void *p,
		     size_t n)
{
	struct attr_header h = { .attr = (uint8_t)a, .kind = (uint8_t)kind, .len = (uint16_t)n };

	put(l, &h, sizeof(h));
	put(l, p, (uint32_t)n);
}

bool xmllog_begin(struct xmllog *l, enum xmllog_element e, const struct xmllog_session *s)
{
	struct record_header h = { .magic = RECORD_MAGIC, .element = (uint8_t)e };
	struct timespec now;

	if (!xmllog_wants(l, xmllog_level_of(e)))
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	h.time_us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
	if (s) {
		h.has_session = 1;
		h.epoch_us = s->epoch_us;
		h.serial = s->serial;
	}
	l->start = l->at = atomic_load_explicit(&l->ring->tail, memory_order_relaxed);
	l->overflow = false;
	put(l, &h, sizeof(h));
	return true;
}

void xmllog_span(struct xmllog *l, enum xmllog_attr a, struct span v)
{
	if (v.n > XMLLOG_VALUE_MAX) {
		v.n = XMLLOG_VALUE_MAX;
		/* Not in the middle of an UTF-8 character. */
		for (int i = 0; i < 3 && (v.p[v.n] & 0xc0) == 0x80; i++)
			v.n--;
	}
	put_attr(l, a, KIND_TEXT, v.p, v.n);
}

void xmllog_text(struct xmllog *l, enum xmllog_attr a, const char *v)
{
	xmllog_span(l, a, span_str(v));
}

void xmllog_num(struct xmllog *l, enum xmllog_attr a, uint64_t v)
{
	put_attr(l, a, KIND_NUM, &v, sizeof(v));
}

void xmllog_seconds(struct xmllog *l, enum xmllog_attr a, uint64_t us)
{
	put_attr(l, a, KIND_SECONDS, &us, sizeof(us));
}

void xmllog_addr(struct xmllog *l, enum xmllog_attr a, const struct addr *v)
{
	if (v->family)
		put_attr(l, a, KIND_ADDR, v, sizeof(*v));
}

/*
 * The writer says that it sleeps (wake_at) and then looks at the tail once more; the tail is stored
 * here and then wake_at looked at. With a full fence between the two on both sides at least one of
 * them sees the other, so no record lies there unseen. One that is killed between the exchange and
 * the write costs the writer's next time-out, no record.
 */
static void wake(struct xmllog *l, uint32_t waiting)
{
	struct xmllog_ring *r = l->ring;
	uint64_t one = 1;

	atomic_thread_fence(memory_order_seq_cst);
	if (waiting <= atomic_load_explicit(&r->wake_at, memory_order_relaxed))
		return;
	if (atomic_exchange(&r->wake_at, RING_AWAKE) == RING_AWAKE)
		return;
	if (write(l->wake_fd, &one, sizeof(one)) < 0)
		return; /* only a full counter refuses, and that has woken it already */
}

void xmllog_end(struct xmllog *l)
{
	struct xmllog_ring *r = l->ring;
	uint32_t len = l->at - l->start;

	if (l->overflow) {
		atomic_fetch_add_explicit(&r->dropped, 1, memory_order_relaxed);
		wake(l, RING_AWAKE - 1);
		return;
	}
	copy_in(r, l->start + (uint32_t)offsetof(struct record_header, len), &len, sizeof(len));
	atomic_store_explicit(&r->tail, l->at, memory_order_release);
	wake(l, l->at - atomic_load_explicit(&r->head, memory_order_relaxed));
}
