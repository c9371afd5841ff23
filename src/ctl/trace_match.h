/* SPDX-License-Identifier: ISC */
/*
 * trace_match: which records speak of what `carontectl trace` was asked about. Nothing says which
 * kind of name WHAT is, so it is tried as each:
 *
 *	session		the session's own name
 *	client		an IP address, with a port or without, or a network
 *	address		of a sender or a recipient; @DOMAIN is every address of it, <> the empty
 *			sender
 *	Message-ID	with angle brackets or without
 *	queue id	a word of the reply to a message
 */
#ifndef CTL_TRACE_MATCH_H
#define CTL_TRACE_MATCH_H

#include <stdbool.h>

#include "ctl/log_filter.h"

struct trace_match {
	struct span what, bare; /* as it was given; without angle brackets */
	char *client;		/* a copy, owned */
	struct log_filter session, peer, sender, recipient;
};

#define TRACE_WORD_MIN 3 /* octets of a queue id: shorter words are parts of any reply */

/* WHAT must live as long as M. False: no memory. trace_match_free() in both cases. */
bool trace_match_init(struct trace_match *m, const char *what);
void trace_match_free(struct trace_match *m);
bool trace_match(const struct trace_match *m, const struct log_record *r);
/* Whether it is the address of who has named the client, which only a session's record has. */
bool trace_match_proxy(const struct trace_match *m, const struct log_record *r);
/* Whether WORD stands in a destination's REPLY as a word of its own, after the reply's code. */
bool trace_match_word(struct span word, struct span reply);

#endif
