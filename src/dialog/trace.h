/* SPDX-License-Identifier: ISC */
/* trace: ADD_RECEIVED. */
#ifndef DIALOG_TRACE_H
#define DIALOG_TRACE_H

#include <stdint.h>

struct dialog;

/* A message begins, at SECONDS since 1970: with ADD_RECEIVED its first octets get its trace. */
void dialog_trace_at(struct dialog *d, uint64_t seconds);

#endif
