/* SPDX-License-Identifier: ISC */
/*
 * told: does the log at its default level say why? Looks at all records of one dialog.
 */
#ifndef TOLD_H
#define TOLD_H

#include <stdbool.h>

#include "xmllog/xmllog.h"

/*
 * False when there is a 4xx or 5xx that the client got and that no record of level 2 or lower
 * tells of, or a `refusal` for one that another record tells of already, or none; or when the
 * session's record does not have the last of them and their number. WHAT then says which.
 */
bool told(struct xmllog_ring *ring, char what[512]);

/* True when the last record of an element says what WANT, "ELEMENT ATTRIBUTE TEXT", says; "-" as
 * the text: it has no such attribute. WHAT else says what it says. */
bool told_record(struct xmllog_ring *ring, const char *want, char what[512]);

#endif
