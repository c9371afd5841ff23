/* SPDX-License-Identifier: ISC */
/*
 * records: what a dialog writes to the log (caronte-log(5)). Refuses to write anything
 * that carries a password: of an AUTH line only what stands before the initial response, of a
 * continuation nothing, and of an unknown verb nothing once an AUTH was tried.
 */
#ifndef DIALOG_RECORDS_H
#define DIALOG_RECORDS_H

#include "dialog/dialog.h"

/* A line that the client sent; CMD NULL: an AUTH continuation. */
void record_received(struct dialog *d, const struct smtp_command *cmd, struct span line);
/* A command as the destination gets it. What comes after the first SHOWN octets are credentials. */
void record_given(struct dialog *d, struct span line, size_t shown);
/* How many octets of CMD may be shown, which is N octets long when it is rebuilt. */
size_t record_shows(const struct smtp_command *cmd, size_t n);
/* WAY "from" or "to", WHOM "client" or "destination". */
void record_reply(struct dialog *d, struct span reply, const char *way, const char *whom);
/* The verdict on a recipient that RULE let through or refused; REPLY is what the client is told,
 * ACCEPTED what came of it: a destination's refusal is the rule `destination`. */
void record_recipient(struct dialog *d, const char *recipient, enum policy_rule rule,
		      struct span reply, bool accepted);
/* MACHINE of the session goes FROM one state TO another. */
void record_transition(struct dialog *d, const char *machine, const char *from, const char *to);
void record_message(struct dialog *d, struct span reply);
/* The outcome of the attempt to log in that is open; nothing when none is. An empty REPLY: none. */
void record_login(struct dialog *d, bool accepted, struct span reply);
/* REPLY, a 4xx or 5xx that no other record tells of, as the answer to WHAT. */
void record_refusal(struct dialog *d, struct span reply, const struct dialog_asked *what);
/* At the end of the session, which lasted US microseconds. */
void record_session(struct dialog *d, uint64_t us);

#endif
