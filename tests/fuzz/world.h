/* SPDX-License-Identifier: ISC */
/*
 * world: what fuzz_gateway.c is played with: clients, what each has asked for and been told, and
 * the destinations' side of the connections, which keeps count and names in each reply the command
 * that it answers.
 */
#ifndef WORLD_H
#define WORLD_H

#include "dialog/dialog.h"

enum { CLIENTS = 3, CONNS = 64, COMMANDS = 500, RCPTS = 64, OCTETS = 1 << 15, EVENTS = 400 };

#define MESSAGE_MAX 450 /* of a destination that says no SIZE */

enum kind { OTHER, MAIL, RCPT, DATA, MESSAGE, CHUNK, AUTH, CONTINUATION };

struct octets {
	uint8_t p[OCTETS];
	size_t n, taken;
};

/* A command of a client, by its number; what it has come to. */
struct asked {
	uint8_t kind;
	bool answered, good;
	bool delivered; /* MAIL: its message was taken by a destination */
	unsigned client;
	uint32_t uses;
};

enum mode { LINE, BODY, SWALLOWING, CHUNKED, CREDENTIALS };

struct conn {
	enum mode mode;
	bool idle, dead, closing, login, refuses_ehlo, greeted, last;
	bool refused;	     /* a chunk of the message, so the others too */
	bool odd;	     /* it has said more than it should */
	bool lied;	     /* … out of the blue, perhaps 250 for a message */
	bool lost, smuggled; /* it has given up a message; and then heard MAIL */
	unsigned gives_up;   /* after so many octets of the next message; 0: never */
	uint32_t ext;
	unsigned owner, mail;
	unsigned rcpt[RCPTS], rcpts;
	uint64_t left;
	struct octets in, out; /* what it was sent; its replies */
};

struct client {
	struct dialog d;
	struct dialog_work work;
	struct conn *conn;
	struct octets in, out;	    /* what it has sent; the replies to it */
	unsigned waiting[COMMANDS]; /* numbers of what is not answered, oldest first */
	unsigned first, last, number;
	unsigned starttls; /* the number of the last one; 0: none */
	unsigned secure;   /* … of the first command behind the handshake; 0: it is in clear */
	bool injected;	   /* something has come behind STARTTLS */
	bool in_body, gone, at_gate;
	bool odd;	  /* so was a destination of it */
	size_t chunk_end; /* of a counted body's chunk that has not reached the destination */
};

struct world {
	struct span choices;
	uint32_t seed;
	struct dialog_env env;
	struct policy policy;
	struct xmllog log;
	struct smtp_offer offer;
	struct asked asked[COMMANDS];
	unsigned count, conns, clients;
	struct client client[CLIENTS];
	struct conn conn[CONNS];
};

extern struct world *all;

#define EXTENSIONS                                                                                 \
	(SMTP_EXT_PIPELINING | SMTP_EXT_8BITMIME | SMTP_EXT_DSN | SMTP_EXT_CHUNKING |              \
	 SMTP_EXT_AUTH | SMTP_EXT_SIZE)

/* The input's choices, and behind its end as many more as EVENTS needs, which it stands for. */
unsigned choose(unsigned n);
void put(struct octets *o, struct span s);
void put_text(struct octets *o, const char *text);
struct span rest(const struct octets *o);
/* The MAIL of the transaction that a command belongs to; 0: none. */
unsigned mail_of(const struct asked *a);
void reply(struct conn *c, unsigned code, char what, unsigned number);
/* It deals with one thing that it was sent; false: it needs more. */
bool conn_step(struct conn *c);

#endif
