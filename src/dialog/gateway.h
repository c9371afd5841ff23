/* SPDX-License-Identifier: ISC */
/*
 * gateway: the dialog of DIALOG_GATEWAY, where Caronte answers the client itself and needs a
 * destination only for a transaction with a recipient, or for AUTH. What the destination is to hear
 * of a transaction is held until there is a connection, and then given to it as fast as it may be;
 * a connection that was used before and turns out dead, or says 421 to the first command, is
 * replaced by a fresh one, once, as long as nothing else has been answered (RFC 5321 4.5.4.1 has
 * the client do that; here it need not).
 *
 * It refuses to let a transaction go over a connection whose own EHLO does not cover what it uses,
 * and to give a connection back that may owe anything. With a login the connection is the client's
 * until the end, and the session goes on as in DIALOG_SNIFF (`on` is false then).
 *
 * The owner looks at `release` first, then at `wanted`, after everything that may change them.
 */
#ifndef DIALOG_GATEWAY_H
#define DIALOG_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "smtp/hello.h"
#include "smtp/mechanism.h"

struct addr;
struct dialog;

/* How far the session and a destination's connection have come together. */
enum dialog_stage {
	DIALOG_APART,
	DIALOG_MEETS, /* a fresh one: its greeting is awaited, or the answer to our EHLO or HELO */
	DIALOG_TOGETHER,
};

/* What is to become of the connection that the dialog has done with. */
enum dialog_release {
	DIALOG_KEEPS,
	DIALOG_GIVES_CLEAN,
	DIALOG_GIVES_BEGUN, /* a transaction has begun there: RSET must end it */
	DIALOG_CLOSES,
};

struct dialog_gateway {
	bool on;
	uint8_t stage;	 /* enum dialog_stage */
	uint8_t release; /* enum dialog_release; the connection is the owner's from then on */
	bool wanted;	 /* a connection is to be looked for */
	bool fresh;	 /* … and one that was used before will not do */
	bool pooled;	 /* this one was used before */
	bool answered;	 /* an octet of an answer has come over it */
	bool replied;	 /* … and a whole answer that was no 421: nothing is given twice */
	bool mail_open;	 /* it owes the answer to MAIL, which the client does not wait for */
	bool begun;	 /* MAIL was given to it, and the transaction is not over */
	bool tried;	 /* AUTH was given to it, or it has refused a message */
	bool refused;	 /* `saved` answers each RCPT of this transaction */
	uint32_t need;	 /* enum smtp_ext: what the transaction uses */
	enum smtp_hello_step hello; /* MEETS: what is awaited */
	uint64_t need_size, size_offered;
	/* Of this connection, since it last took a message; its owner carries it to the next. */
	uint32_t refusals;
};

/* No connection's octets are for this session. */
static inline bool dialog_gateway_apart(const struct dialog_gateway *g)
{
	return g->on && g->stage == DIALOG_APART;
}

/* The session begins: what the destinations can do is known. */
void dialog_gateway_greet(struct dialog *d);
/* A fresh connection stands; or one that has been used, and whose EHLO said EXT, SIZE_MAX (or our
 * own limit in its place) and MECHANISMS. */
void dialog_gateway_connected(struct dialog *d, const struct addr *destination);
void dialog_gateway_taken(struct dialog *d, const struct addr *destination, uint32_t ext,
			  uint64_t size_max, const struct smtp_mechanisms *mechanisms);
/* The mechanism of the login that is held; empty: none is. */
struct span dialog_gateway_login(const struct dialog *d);
/* The connection is closed or given back, no operation uses it any more. */
void dialog_gateway_parted(struct dialog *d);

/* Goes on after anything has changed, be it that the client has taken what was said: gives, answers
 * what was refused, asks for a connection, or has done with it. */
void dialog_gateway_step(struct dialog *d);
/* True while a refusal has yet to answer more recipients: then it waits for room only. */
bool dialog_gateway_owes(const struct dialog *d);
/* True while what Caronte has answered itself had better leave together with the destination's
 * first answer, which is on its way: a client that has pipelined waits for that anyway. */
bool dialog_gateway_gathers(const struct dialog *d);

/* True while a connection that no operation uses may be given to others: it owes nothing. */
bool dialog_gateway_clean(const struct dialog *d);

#endif
