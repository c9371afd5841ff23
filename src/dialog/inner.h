/* SPDX-License-Identifier: ISC */
/*
 * inner: what the files of the dialog share and nobody else calls. They stand here in the order in
 * which they may call one another: a file calls those before it.
 */
#ifndef DIALOG_INNER_H
#define DIALOG_INNER_H

#include "dialog/dialog.h"

/* Extensions that a client may be offered through us in this dialog. */
#define DIALOG_EXTENSIONS                                                                          \
	(SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8 |             \
	 SMTP_EXT_DSN | SMTP_EXT_ENHANCED | SMTP_EXT_AUTH | SMTP_EXT_HELP | SMTP_EXT_CHUNKING |    \
	 SMTP_EXT_BINARYMIME | SMTP_EXT_STARTTLS | SMTP_EXT_XCLIENT)

/* ---- more.c: what only some sessions keep ---- */

/* NAME as a string, of which DIALOG_NAME_MAX - 1 octets count. */
void dialog_copy_name(char *out, struct span name);
/* Keeps a name. */
void dialog_note_helo(struct dialog *d, struct span name);
void dialog_note_login(struct dialog *d, struct span name);
/* Keeps what the handshake has agreed on. */
void dialog_keep_secure(struct dialog *d, const struct dialog_secure *how);
/* Keeps the last 4xx or 5xx that the client got, for the session's record. */
void dialog_keep_refusal(struct dialog *d, struct span reply);

/* ---- pending.c: commands that the client has not been answered yet ---- */

/* The oldest, or NULL; the youngest, where there is one. */
struct dialog_pending *dialog_oldest(struct dialog_work *w);
struct dialog_pending *dialog_youngest(struct dialog_work *w);
/* One more, which the destination answers. */
struct dialog_pending *dialog_add_pending(struct dialog *d, enum smtp_verb verb);
/* P is answered by REPLY, once its turn has come. WHY, if any: the session ends then. TOLD: a
 * record tells of it already. */
void dialog_answer_here(struct dialog_pending *p, const char *reply, enum reason why, bool told);
void dialog_take_oldest(struct dialog_work *w);
/* Keeps the address of a MAIL or RCPT that is refused here, as it came: it may be none. */
void dialog_note_address(struct dialog_pending *p, const struct smtp_command *cmd);

/* ---- offer.c: what the destination offers, and its limits ---- */

/* What REPLY, an answer to EHLO, says that the destination can do. What it does not say is bounded
 * by our own limits, whatever the client has said (HELO for EHLO). */
void dialog_learn(struct dialog *d, const struct smtp_reply *reply, struct smtp_offer *offer);
/* A destination that has not answered EHLO yet, or refuses it. */
void dialog_learn_nothing(struct dialog *d);
/* True where our own limit stands for one that the destination has not told. */
bool dialog_size_is_ours(const struct dialog *d);
/* Whose limit it is. */
enum reason dialog_size_reason(const struct dialog *d);

/* ---- starttls.c: the client's TLS ---- */

/* O is what a destination offers: what the client is offered of it now, with STARTTLS and XCLIENT,
 * which are ours. */
void dialog_offer_ours(const struct dialog *d, struct smtp_offer *o);
/* STARTTLS is in order. */
void dialog_starttls(struct dialog *d);

/* ---- message.c: where the message stands ---- */

/* A message begins, of which no octet has come. */
void dialog_message_begins(struct dialog *d, enum message_way way);
/* The last octet of the message, or of a chunk, has come. */
void dialog_message_is_whole(struct dialog *d);
/* The chunk was taken, and more of the message is to come. */
void dialog_message_goes_on(struct dialog *d);
/* It is refused, and what still comes of it is thrown away. */
void dialog_message_is_refused(struct dialog *d, enum message_discard how, enum reason why);
/* It is over and has no record: the client has given it up (RSET, or EHLO, between two chunks), or
 * it was none. */
void dialog_message_is_given_up(struct dialog *d);
/* The record of the message, which REPLY answers: it is over. */
void dialog_record_message(struct dialog *d, struct span reply);
/* True when the answer to a chunk that was not the last is open. */
bool dialog_chunk_awaits(const struct dialog *d);

/* ---- refusal.c: who tells the operator of a 4xx or 5xx ---- */

/* Another record tells of it, or it is no refusal. */
extern const struct dialog_asked dialog_told;

/* The answer to VERB; DESTINATION: it is the destination's. */
struct dialog_asked dialog_asked(const struct dialog *d, enum smtp_verb verb, bool destination);
/* The answer to what is open, or under way, now. */
struct dialog_asked dialog_asked_now(const struct dialog *d, bool destination);
/* The client was told REPLY, a 4xx or 5xx. */
void dialog_refused(struct dialog *d, struct span reply, struct dialog_asked what);

/* ---- greeting.c: what the greeting says about the destination (dialog.greeting) ---- */

/* REPLY is a reply of the destination, which is not judged yet. */
void dialog_greeting_reply(struct dialog *d, const struct smtp_reply *reply);
/* IN is no reply. */
void dialog_greeting_malformed(struct dialog *d, struct span in);
/* The destination is lost, or out of time. */
void dialog_greeting_lost(struct dialog *d, bool timeout);
/* The client's EHLO was refused. */
void dialog_greeting_refused(struct dialog *d, const struct smtp_reply *reply);

/* ---- say.c: what the client is told ---- */

/* The session ends; what was said so far still reaches the client. The first end stands, with its
 * reason: LIMIT, PROTOCOL and LOST_DESTINATION have one, the others REASON_NONE. */
void dialog_end_as(struct dialog *d, enum session_end end, enum reason why);
/* Says a whole reply to the client, records it, and counts it when it is a refusal: of WHAT. */
void dialog_say(struct dialog *d, struct span reply, struct dialog_asked what);
/* The same for static text that refuses nothing. */
void dialog_say_good(struct dialog *d, const char *reply);
/* The client's turn to send it, which REPLY says. */
void dialog_go_ahead(struct dialog *d, struct span reply);
/* Says the answers of our own whose turn has come. */
void dialog_drain(struct dialog *d);

/* ---- discard.c: what cannot go on ---- */

/* The records of what REPLY cuts off: recipients, a message, an attempt to log in. False: there
 * was none of these. */
bool dialog_record_cut_off(struct dialog *d, struct span reply);
/* 421 where the session cannot go on without the destination's connection, which was closed. */
void dialog_say_closing(struct dialog *d, enum reason why);
/* The client's end of data, or of a chunk, has come, and the destination did not take it. */
void dialog_answer_untaken(struct dialog *d, struct span reply, bool ends, enum reason why);
/* Answers the end of data, or of the chunk, with REPLY once it comes; until then the body is thrown
 * away. ENDS: the session ends without more words. WHY it cannot go on with that connection. */
void dialog_discard_body(struct dialog *d, struct span reply, bool ends, enum reason why);
/* Octets of a chunk that no message takes are thrown away; REPLY answers it. */
void dialog_discard_chunk(struct dialog *d, const char *reply);
/* The end of what was thrown away has come. */
void dialog_discard_over(struct dialog *d);
/* The two sides disagree, by what the destination SAID: the oldest open command, or the client
 * alone, gets one 451. */
void dialog_desync(struct dialog *d, struct span said, enum reason why);

/* Keeps what the destination SAID against the protocol, or its beginning: its owner tells of it. */
void dialog_note_odd(struct dialog *d, struct span said);

/* ---- identity.c: whom the destination takes us for, and who the client is ---- */

/* XCLIENT is in order. */
void dialog_rename(struct dialog *d, const struct smtp_identity *said);

/* What we call ourselves in our own EHLO: the client's name where we speak as the client. */
const char *dialog_own_name(const struct dialog *d);
/* MAIL cannot go there: see dialog_can_forward(). */
void dialog_cannot_forward(struct dialog *d);
/* REPLY came when OWED was the oldest open command. True: it says that the destination does not
 * take the client's identity, and that was seen to. */
bool dialog_identity_reply(struct dialog *d, const struct smtp_reply *reply, enum smtp_owes owed);
/* False: MAIL may not go there, since XFORWARD cannot go with it (it is not offered, or no command
 * may follow it at once). */
bool dialog_can_forward(const struct dialog *d);
/* Queues XFORWARD for the destination, where it is told so: its octets; 0: none. */
size_t dialog_forward(struct dialog *d);

/* ---- trace.c: ADD_RECEIVED ---- */

/* The message's trace, once: how many octets; 0: it has none, or had it. ENDS_HEADER: with the
 * empty line behind it. */
size_t dialog_trace(struct dialog *d, bool ends_header, char out[DIALOG_TRACE_MAX]);

/* ---- body.c, chunk.c: a message's octets ---- */

/* True where a message that comes by DATA goes to this destination (or, before the gateway dialog
 * has one, to whichever it gets) in chunks. */
bool dialog_is_counted(const struct dialog *d);
/* The DATA of such a message, with nothing open and a recipient accepted: it is answered here. */
void dialog_counted_begin(struct dialog *d, const struct smtp_command *cmd);
/* BDAT was passed on. */
void dialog_chunk_begin(struct dialog *d, const struct smtp_command *cmd);
/* With this chunk the message is larger than the destination takes. */
bool dialog_chunk_is_too_big(const struct dialog *d, const struct smtp_command *cmd);
/* Such a BDAT is not passed on: the destination's connection is closed, its octets are thrown away,
 * and then it is answered. */
void dialog_chunk_too_big(struct dialog *d, const struct smtp_command *cmd);
/* BDAT is not passed on: its octets are thrown away, REPLY answers it. */
void dialog_chunk_refuse(struct dialog *d, const struct smtp_command *cmd, const char *reply);

/* ---- answer.c: the destination's answers to commands ---- */

/* The destination's answer to the oldest open command, or (DESTINATION is false) what stands for
 * it. */
void dialog_answer(struct dialog *d, const struct smtp_reply *reply, bool destination);
/* The answer to each RCPT of a refused transaction. */
struct smtp_reply dialog_saved(const struct dialog *d);

/* ---- gateway.c: DIALOG_GATEWAY ---- */

/* A judged command: what the destination answers is held for it (unless its transaction is refused
 * already); all else is answered here (false). */
bool dialog_gateway_pass(struct dialog *d, const struct smtp_command *cmd);
/* NULL, or the reply to a MAIL, RCPT or BDAT that asks for more than the client was offered, or for
 * which the connection at hand is not good enough. */
const char *dialog_gateway_lacks(const struct dialog *d, const struct smtp_command *cmd);
/* True: it answers what the client has not asked, and was dealt with. */
bool dialog_gateway_answer(struct dialog *d, const struct smtp_reply *reply);
/* The connection was lost: true where a fresh one is to take its place. */
bool dialog_gateway_again(struct dialog *d, bool timeout);
/* The same where it has said 421, as the answer to what OWED stands for: it goes away, and has done
 * nothing of what it was given. */
bool dialog_gateway_again_after(struct dialog *d, enum smtp_owes owed);

#endif
