/* SPDX-License-Identifier: ISC */
/* logopen: how a log file is begun, continued, and makes way for the next one. */
#ifndef XMLLOG_LOGOPEN_H
#define XMLLOG_LOGOPEN_H

#include "xmllog/logfile.h"

/*
 * Opens, or makes, and locks the file. One that is there is continued; one that is no well-formed
 * log is first moved to the archive. -EBUSY: another process writes it.
 */
int logfile_open(struct logfile *f) __attribute__((warn_unused_result));
/*
 * Makes a new file, whole, moves the one so far to the archive and goes on in the new one; where
 * somebody has moved it away already, it is only closed, for logfile_open(). On failure (no room
 * for a new one, an archive that cannot take the old one) it stays open, at its place and as it
 * was.
 */
int logfile_rotate(struct logfile *f) __attribute__((warn_unused_result));

#endif
