/* SPDX-License-Identifier: ISC */
/*
 * order: which command may come when (RFC 5321 4.1.4, RFC 2920, RFC 4954, RFC 3030). Takes the
 * client's octets and says, a command at a time, what is to be done with them: answer here, pass
 * on, wait, end. The table in order.c tells the protocol; the functions below are the only writers
 * of the state.
 *
 * It refuses to guess: a command whose verdict hangs on a reply that is still open waits for it,
 * and octets that come where the protocol has none end the session. It owns no memory and does no
 * I/O.
 */
#ifndef SMTP_ORDER_H
#define SMTP_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "smtp/command.h"
#include "smtp/mechanism.h"
#include "smtp/reason.h"

enum smtp_order_state {
	SMTP_ORDER_CONNECT,   /* no greeting yet: nothing is read */
	SMTP_ORDER_REFUSED,   /* greeted with a refusal: only QUIT is left (RFC 5321 3.1) */
	SMTP_ORDER_START,     /* greeted */
	SMTP_ORDER_READY,     /* HELO or EHLO done, no transaction */
	SMTP_ORDER_MAIL,      /* in a transaction, MAIL accepted or still open */
	SMTP_ORDER_DATA,      /* DATA passed on: the client must wait for its answer */
	SMTP_ORDER_BODY,      /* the client sends its message */
	SMTP_ORDER_CHUNK,     /* the client sends the octets of a chunk (BDAT) */
	SMTP_ORDER_CHUNKED,   /* in a transaction: a chunk has come, and it was not the last */
	SMTP_ORDER_EOD,	      /* the message is complete and not answered yet */
	SMTP_ORDER_AUTH,      /* AUTH or a continuation passed on: the client must wait */
	SMTP_ORDER_AUTH_MORE, /* 334 was given: the next line is a continuation */
	SMTP_ORDER_QUIT,      /* QUIT passed on: nothing more is read */
	SMTP_ORDER_TLS,	      /* STARTTLS: nothing is read before the handshake is over */
	SMTP_ORDER_STATES
};

struct smtp_order {
	enum smtp_order_state state;
	uint32_t offered; /* enum smtp_ext: what the last EHLO answer offered, after HELO none */
	/* What AUTH may name, after HELO too (there are devices that log in after HELO). */
	struct smtp_mechanisms mechanisms;
	bool greeted; /* a HELO or EHLO was accepted */
	bool logged_in;
	bool tls;	     /* STARTTLS was done, or TLS came first */
	bool auth_cancelled; /* the continuation passed on was "*" */
	bool mail_refused;   /* of this transaction: later 2xx of RCPT count for nothing */
	bool smtputf8;	     /* of this transaction */
	bool binary;	     /* BODY=BINARYMIME: the message can only come in chunks */
	bool chunk_refused;  /* of this transaction: later chunks are not passed on */
	bool mail_failed;    /* the last MAIL was, and nothing was passed on since */
	uint8_t unknown;     /* verbs that are none of SMTP, in the whole session */
	uint32_t rcpt_tried, rcpt_open, rcpt_accepted;
};

enum smtp_order_event {
	SMTP_ORDER_MORE,      /* no whole command in the input */
	SMTP_ORDER_WAIT,      /* the next command must wait: ask again when a reply has come */
	SMTP_ORDER_COMMAND,   /* well-formed and in order: judge it, pass it on */
	SMTP_ORDER_LINE,      /* a well-formed AUTH continuation: pass `line` on */
	SMTP_ORDER_DISCARD,   /* a chunk that is not passed on: throw its octets away, then answer
				with `reply` */
	SMTP_ORDER_START_TLS, /* STARTTLS, in order */
	SMTP_ORDER_RENAME,    /* XCLIENT, in order */
	SMTP_ORDER_LOCAL,     /* answer with `reply` */
	SMTP_ORDER_FATAL,     /* answer with `reply` and end the session */
	SMTP_ORDER_EARLY,     /* octets where the client had to wait: the open command is answered
				with `reply` and the session ends */
};

struct smtp_order_step {
	struct smtp_command cmd;
	struct span line;  /* the line as received; empty where it was no line */
	const char *reply; /* static, with CR LF */
	enum reason why;   /* FATAL, EARLY: what ends the session */
	size_t consumed;
};

/* What the destination's side is like now, and who the client is. */
struct smtp_order_view {
	bool open;	  /* it owes replies, or is in the middle of one */
	bool pipelining;  /* it takes a command while it owes replies */
	bool trusted;	  /* the client is in a relay network */
	bool tls_offered; /* STARTTLS */
	bool may_rename;  /* by XCLIENT */
	bool needs_tls;	  /* before a message */
	bool needs_tls_for_login;
	bool counted; /* DATA is answered here, when it is known that a recipient was accepted */
};

/* The next event of the client's input IN. STEP is defined only for the events that name it. */
enum smtp_order_event smtp_order_next(const struct smtp_order *s, struct span in,
				      struct smtp_order_view view, struct smtp_order_step *step);
/* The command (or, with verb AUTH, a continuation) was passed on. */
void smtp_order_passed(struct smtp_order *s, const struct smtp_command *cmd);
/* A RCPT that was answered here and never passed on. */
void smtp_order_rcpt_refused(struct smtp_order *s);
/* The same of a MAIL. */
void smtp_order_mail_refused(struct smtp_order *s);
/* An unknown verb was answered here. */
void smtp_order_unknown(struct smtp_order *s);
/* The chunk of SMTP_ORDER_DISCARD begins. */
void smtp_order_discards(struct smtp_order *s);
/* XCLIENT was accepted: nothing more is read in this session. */
void smtp_order_renamed(struct smtp_order *s);
/* STARTTLS was accepted: the client is not read until smtp_order_tls_done(). */
void smtp_order_starts_tls(struct smtp_order *s);
/* The session begins anew, but for what it has done wrong (RFC 3207 4.2). */
void smtp_order_tls_done(struct smtp_order *s);
/* It is not to be now. */
void smtp_order_tls_refused(struct smtp_order *s);
/* TLS stands before the greeting. */
void smtp_order_tls_first(struct smtp_order *s);
/* All octets of the chunk have come; one that was passed on is not answered yet. */
void smtp_order_chunk_done(struct smtp_order *s, bool last);
/* The destination's greeting. */
void smtp_order_greeted(struct smtp_order *s, unsigned code);
/* The destination's answer to a command that was passed on. For an accepted EHLO the caller then
 * sets `offered` and `mechanisms`, for HELO `mechanisms` alone. 354 to DATA is the client's turn
 * only while a recipient is accepted. 235 to AUTH logs in; the caller has seen to it that it
 * answers that AUTH. */
void smtp_order_answered(struct smtp_order *s, enum smtp_verb verb, unsigned code);
/* The client's end of data has come; its answer is open. */
void smtp_order_body_done(struct smtp_order *s);
/* The answer to a message was given. */
void smtp_order_message_answered(struct smtp_order *s);

#endif
