/* SPDX-License-Identifier: ISC */
/*
 * dialog_inner: what the files of the dialog (dialog.c, dialog_client.c, dialog_destination.c)
 * share and nobody else calls.
 */
#ifndef PROXY_DIALOG_INNER_H
#define PROXY_DIALOG_INNER_H

#include "proxy/dialog.h"

/* Says a whole reply to the client, records it, and counts it when it is a refusal. */
void dialog_say(struct dialog *d, struct span reply);
/* The same for static text. */
void dialog_say_text(struct dialog *d, const char *reply);
/* The session ends; what was said so far still reaches the client. The first reason stands. */
void dialog_end_as(struct dialog *d, enum dialog_end why);
/* The two sides disagree: the oldest open command, or the client alone, gets one 451. */
void dialog_desync(struct dialog *d);
/* Answers the end of data, or of the chunk, with REPLY once it comes; until then the body is thrown
 * away. ENDS: the session ends without more words. */
void dialog_discard_body(struct dialog *d, struct span reply, bool ends);
/* The client's end of data, or of a chunk, has come, and the destination did not take it. */
void dialog_answer_untaken(struct dialog *d, struct span reply, bool ends);
/* 421: the session cannot go on without the destination's connection, which was closed. */
void dialog_say_closing(struct dialog *d);
/* The record of the message, once. */
void dialog_record_message(struct dialog *d, struct span reply);
/* The records of what REPLY cuts off: a message, an attempt to log in. */
void dialog_record_cut_off(struct dialog *d, struct span reply);

/* ---- dialog_chunk.c ---- */

/* BDAT was passed on. */
void dialog_chunk_begin(struct dialog *d, const struct smtp_command *cmd);
/* BDAT is not passed on: its octets are thrown away, REPLY answers it. */
void dialog_chunk_refuse(struct dialog *d, const struct smtp_command *cmd, const char *reply);
/* True when the answer to a chunk that was not the last is open. */
bool dialog_chunk_awaits(const struct dialog *d);
/* The destination's answer to such a chunk. */
void dialog_chunk_answered(struct dialog *d, const struct smtp_reply *reply);
/* REPLY is our answer to it; the destination's connection is gone. */
void dialog_chunk_cut_off(struct dialog *d, struct span reply, bool ends);

/* ---- dialog.c ---- */

/* The commands that the client has not been answered yet, oldest first. */
struct dialog_pending *dialog_oldest(struct dialog_work *w);
struct dialog_pending *dialog_add_pending(struct dialog *d, enum smtp_verb verb);
void dialog_take_oldest(struct dialog_work *w);
/* Says the local answers whose turn has come. */
void dialog_drain(struct dialog *d);

#endif
