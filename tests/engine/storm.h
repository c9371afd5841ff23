/* SPDX-License-Identifier: ISC */
/*
 * storm: what test_storm.c is played with: clients and destinations over non-blocking sockets,
 * which do what a seed chooses and keep count of what they hear.
 */
#ifndef TESTS_ENGINE_STORM_H
#define TESTS_ENGINE_STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr.h"
#include "harness.h"

enum { SEATS = 6, CLIENTS = 6, CONNS = 512, MAILS = 4096, WAITING = 64 };

struct storm {
	uint64_t seed, random;
	bool gateway, full; /* the destination has a max= */
	bool says;	    /* everything, on standard error */
	bool mischief;	    /* sockets, destinations and sessions come to harm */
	bool lies;	    /* … and destinations say what nobody has asked */
	bool lied;
	struct addr proxy_addr, dest_addr;
	int dest_fd;
	unsigned mails, rcpts; /* numbers that were given away */
	unsigned client_of[MAILS];
	size_t sent[MAILS], taken[MAILS]; /* octets of a message */
	unsigned accepted[MAILS];	  /* times */
	bool spoiled[MAILS];		  /* the client has said it wrong */
	unsigned mail_of[MAILS];	  /* of a recipient */
	bool far[MAILS];		  /* … that a stranger may not have */
};

extern struct storm all;

unsigned storm_below(unsigned n);
void storm_begin(uint64_t seed, bool faults);
void storm_end(void);
/* Everybody does something; MORE: clients may ask for more. */
void storm_clients(bool more);
void storm_destinations(void);
bool storm_clients_are_done(void);
void storm_clients_leave(void);
void storm_destinations_leave(void);

/* ---- what both sides are made of ---- */

#define ROOM (1 << 20) /* of what is to be said */

struct peer {
	int fd; /* -1: none */
	bool said_all;
	char in[1 << 16], *out;
	size_t have, n, left_at; /* octets of `out`, and how many of them have left */
};

void peer_drop(struct peer *p, bool by_reset);
/* Keeps octets to be sent; what there is no room for is lost. */
void peer_say(struct peer *p, const char *text, size_t n);
void peer_say_text(struct peer *p, const char *text);
/* Sends some of what is to be said. */
void peer_push(struct peer *p);
/* Takes what has come; false: there is no more. */
bool peer_pull(struct peer *p);
void peer_consume(struct peer *p, size_t n);
/* Octets of the next line, without CR LF, or -1. */
long peer_next_line(const struct peer *p);
unsigned storm_number(const char *text);
/* Every octet of a message follows from its number and its place. */
char storm_octet(unsigned mail, size_t at);

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			fail_msg("seed %llu, line %d: %s", (unsigned long long)all.seed, __LINE__, \
				 #x);                                                              \
	} while (0)

/* With STORM_SAYS in the environment. */
#define TRACE(...)                                                                                 \
	do {                                                                                       \
		if (all.says)                                                                      \
			fprintf(stderr, __VA_ARGS__);                                              \
	} while (0)

void storm_clients_begin(void);
void storm_clients_end(void);
void storm_destinations_begin(void);
void storm_destinations_end(void);

#endif
