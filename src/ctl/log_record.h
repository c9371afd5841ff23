/* SPDX-License-Identifier: ISC */
/*
 * log_record: one record of the XML log as the parser hands it out: views that are gone after the
 * call. Names are printable ASCII. Values are as an XML parser gives them back, with the log's own
 * \xHH and \\ in them: who prints them makes them safe (log_print.h).
 */
#ifndef CTL_LOG_RECORD_H
#define CTL_LOG_RECORD_H

#include <stdint.h>

#include "base/span.h"

#define LOG_ATTRS_MAX 64 /* the schema knows fewer; those behind are not seen */

struct log_attr {
	struct span name, value;
};

struct log_record {
	struct span element;
	size_t n;
	struct log_attr attr[LOG_ATTRS_MAX];
};

/* The value of the attribute NAME; p NULL: there is none. */
static inline struct span log_record_get(const struct log_record *r, const char *name)
{
	struct span wanted = span_str(name);

	for (size_t i = 0; i < r->n; i++)
		if (span_eq(r->attr[i].name, wanted))
			return r->attr[i].value;
	return (struct span){ 0 };
}

#endif
