/* SPDX-License-Identifier: ISC */
/* trace_tell: what stands around a session's story, and all of it together. */
#ifndef CTL_TRACE_TELL_H
#define CTL_TRACE_TELL_H

#include "ctl/trace_story.h"

/* Any record: what it says of destinations and of the daemon. */
void story_look(struct story_teller *t, const struct log_record *r);
/* Appends all of it. SESSION is its name. */
void story_tell(const struct story_teller *t, struct story *s, const char *session,
		struct log_text *out);
void story_teller_free(struct story_teller *t);

#endif
