/* SPDX-License-Identifier: ISC */
/*
 * format: records as lines of XML. What comes out is plain ASCII whatever
 * the values hold: other characters are written as references, so that a write which is cut short
 * anywhere leaves no half character behind, and `?>` never appears, so that the text can lie in the
 * padding of the file (logfile.h). Octets that are no UTF-8 or no XML 1.0 character become `\xHH`.
 */
#ifndef XMLLOG_FORMAT_H
#define XMLLOG_FORMAT_H

#include "xmllog/record.h"

struct format {
	char *text;
	size_t n, room;
};

/* "2026-01-02T03:04:05.123456Z", without a NUL; its length. */
#define FORMAT_TIME_MAX 40
size_t format_time(uint64_t time_us, char *out);

/* 0 or -ENOMEM. */
int format_open(struct format *f) __attribute__((warn_unused_result));
void format_close(struct format *f);
/* Adds a line. 0 or -ENOMEM; then the batch is void: format_restart(). */
int format_record(struct format *f, const struct record *r) __attribute__((warn_unused_result));
/* All lines since the last restart. */
struct span format_text(const struct format *f);
/* Empties the text. */
void format_restart(struct format *f);

/* The attribute's name in the log. */
const char *format_attr_name(enum xmllog_attr a);
/* Length of the XML 1.0 character (2.2 Char) in UTF-8 (RFC 3629) at the front of V, which is not
 * empty, and its code; 0: there is none. */
size_t format_character(struct span v, uint32_t *code);
/* Where N octets more can be put, or NULL. */
char *format_room(struct format *f, size_t n);
/* A number, a duration or an address, as both forms of the log have it; the length. */
size_t format_plain_value(const struct record_attr *a, char *out);
/* More than a name and any value that is no text, or the beginning of a record, can take. */
#define FORMAT_FIXED_MAX 256

/* The escaped form of V; OUT has room for FORMAT_EXPAND times its length. The length. */
#define FORMAT_EXPAND 6
size_t format_escape(struct span v, char *out);

#endif
