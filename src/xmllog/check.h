/* SPDX-License-Identifier: ISC */
/* check: whether the log can be written where the configuration wants it. */
#ifndef XMLLOG_CHECK_H
#define XMLLOG_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "xmllog/writer.h"

/*
 * Tries, as the user that will write, whether the file can be written; changes nothing that is
 * there, moves nothing. NULL, or what is wrong with which path, in OUT of CAP octets.
 */
const char *xmllog_writer_check(const struct xmllog_writer_config *c, char *out, size_t cap);
/* The same for the archive, where rotation needs it. */
const char *xmllog_archive_check(const struct xmllog_writer_config *c, char *out, size_t cap);
/* The same for the file of JSON. */
const char *xmllog_json_check(const struct xmllog_writer_config *c, char *out, size_t cap);
/* The same for any directory in which files are to be made. */
const char *xmllog_dir_check(const char *dir, char *out, size_t cap);

/* True when another process writes the log now. Apart from the check, since a configuration may be
 * checked while its daemon runs. */
bool xmllog_writer_busy(const struct xmllog_writer_config *c);

#endif
