/* SPDX-License-Identifier: ISC */
/*
 * json: records as lines of JSON (RFC 8259), for LOG_JSON_FILE. An object a line, in plain ASCII:
 * the element's name, then its attributes in the order and with the values of the XML form, its
 * escapes `\xHH` and `\\` included. Numbers and durations are numbers. The attribute `message` is
 * called `message_no`, since shippers of logs take a member `message` for the text of the whole
 * line.
 */
#ifndef XMLLOG_JSON_H
#define XMLLOG_JSON_H

#include "xmllog/format.h"

/* Adds a line. 0 or -ENOMEM; then the batch is void: format_restart(). */
int json_record(struct format *f, const struct record *r) __attribute__((warn_unused_result));

#endif
