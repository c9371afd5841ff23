/* SPDX-License-Identifier: ISC */
/* record: see record.h. */
#include "xmllog/record.h"

#include <time.h>

/* The last microsecond that the log's time format can say: the end of the year 9999. */
#define TIME_MAX_US 253402300799999999u

static bool parse_value(struct record_attr *a, uint8_t kind, struct span v)
{
	switch (kind) {
	case KIND_TEXT:
		a->text = v;
		return v.n <= XMLLOG_VALUE_MAX;
	case KIND_NUM:
	case KIND_SECONDS:
		if (v.n != sizeof(a->num))
			return false;
		memcpy(&a->num, v.p, v.n);
		return true;
	case KIND_ADDR:
		if (v.n != sizeof(a->addr))
			return false;
		memcpy(&a->addr, v.p, v.n);
		return a->addr.family == 4 || a->addr.family == 6;
	default:
		return false;
	}
}

static bool parse_attrs(struct record *r, struct span in)
{
	_Static_assert(XMLLOG_ATTRS <= 64, "one bit for each attribute");
	uint64_t seen = 0;

	while (in.n) {
		struct attr_header h;
		struct record_attr *a = &r->attr[r->attrs];

		if (in.n < sizeof(h))
			return false;
		memcpy(&h, in.p, sizeof(h));
		in = span_from(in, sizeof(h));
		/* The same attribute twice would be no XML. */
		if (h.attr >= XMLLOG_ATTRS || (seen & (uint64_t)1 << h.attr) || h.len > in.n)
			return false;
		seen |= (uint64_t)1 << h.attr;
		a->attr = h.attr;
		a->kind = h.kind;
		if (!parse_value(a, h.kind, span_of(in.p, h.len)))
			return false;
		in = span_from(in, h.len);
		r->attrs++;
	}
	return true;
}

bool record_parse(struct record *r, struct span raw)
{
	struct record_header h;

	if (raw.n < sizeof(h))
		return false;
	memcpy(&h, raw.p, sizeof(h));
	if (h.magic != RECORD_MAGIC || h.len != raw.n || h.element >= XMLLOG_ELEMENTS ||
	    h.time_us > TIME_MAX_US || h.has_session > 1)
		return false;
	r->element = h.element;
	r->has_session = h.has_session;
	r->session = (struct xmllog_session){ .epoch_us = h.epoch_us, .serial = h.serial };
	r->time_us = h.time_us;
	r->attrs = 0;
	return parse_attrs(r, span_from(raw, sizeof(h)));
}

uint64_t record_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

void record_fault(struct record *r, const char *what, const char *detail, uint64_t count)
{
	r->element = XMLLOG_FAULT;
	r->has_session = false;
	r->time_us = record_now();
	r->attrs = 0;
	r->attr[r->attrs++] = (struct record_attr){ .attr = XMLLOG_A_WHAT,
						    .kind = KIND_TEXT,
						    .text = span_str(what) };
	if (detail)
		r->attr[r->attrs++] = (struct record_attr){ .attr = XMLLOG_A_DETAIL,
							    .kind = KIND_TEXT,
							    .text = span_str(detail) };
	if (count)
		r->attr[r->attrs++] = (struct record_attr){ .attr = XMLLOG_A_COUNT,
							    .kind = KIND_NUM,
							    .num = count };
}
