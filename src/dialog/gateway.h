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
 * The owner looks at where the link stands (link.h) after everything that may change it: PARTING
 * first, then WANTED.
 */
#ifndef DIALOG_GATEWAY_H
#define DIALOG_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "smtp/hello.h"
#include "smtp/owed.h"

struct addr;
struct dialog;

struct dialog_gateway {
	bool on;
	bool refused;		    /* `saved` answers each RCPT of this transaction */
	uint32_t need;		    /* enum smtp_ext: what the transaction uses */
	enum smtp_hello_step hello; /* GREETED, HELLO: what is awaited */
	uint64_t need_size, size_offered;
};

/* The session begins: what the destinations can do is known. */
void dialog_gateway_greet(struct dialog *d);
/* A connection of the pool was of no use, and nothing was given to it: only a fresh one will do. */
void dialog_gateway_wants_fresh(struct dialog *d);
/* A connection that was sought stands: a fresh one; or one that has been used, owes nothing and CAN
 * do what its EHLO said (with our own limits in place of those that it did not say), and over which
 * there were REFUSALS since the last message that was taken. A used one is given at once what is
 * held. */
void dialog_gateway_connected(struct dialog *d, const struct addr *destination);
void dialog_gateway_taken(struct dialog *d, const struct addr *destination,
			  const struct smtp_owed *can, uint32_t refusals);
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
