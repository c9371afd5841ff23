/* SPDX-License-Identifier: ISC */
/* check_destination: what the parts of `carontectl check-destination` share. */
#ifndef CTL_CHECK_DESTINATION_H
#define CTL_CHECK_DESTINATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "ctl/check_destination_smtp.h"
#include "smtp/hello.h"

/* One address of one destination. */
struct destination_check {
	const char *label; /* "HOST:PORT", with the address where HOST is a name; "unix:/PATH" */
	struct probe_place at;
	const char *name; /* ours, in EHLO */
	unsigned patience_ms;
	const char *recipient; /* NULL: no message is sent */
	unsigned crowd;	       /* so many connections at a time are tried */
	struct {
		unsigned message_mib, line_kib, header_kib; /* Caronte's own, 0: none */
	} limits;
	unsigned warnings;
	bool pipelining;   /* it offers it */
	uint64_t size_max; /* it announces, 0: none */
	bool ipv6;	   /* clients of IPv6 may come, or be told of */
	uint32_t forward;  /* enum smtp_attribute: what it offers of XFORWARD */
	bool untried;	   /* it took no message to the recipient */
	struct probe_smtp smtp;
	struct smtp_hello hello;
};

/* One line on standard output. */
void destination_good(struct destination_check *k, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A warning, and what cures it, NULL: nothing that is known here. */
void destination_warn(struct destination_check *k, const char *cure, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What is worth knowing and no reason to do something. */
void destination_note(struct destination_check *k, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* What came in place of a reply, or its first line, printable, into OUT of DESTINATION_TEXT. */
#define DESTINATION_TEXT 200
void destination_words(enum probe_heard heard, const struct smtp_reply *reply, char *out);
/*
 * Hears a reply and gives its words; the code, 0: none came.
 */
unsigned destination_hear(struct destination_check *k, char *words);

/* Octets as C writes them, in quotes, the first of them where there are many. OUT as above. */
void destination_escape(struct span octets, char *out);
/* The words are those of a connection that was closed. */
bool destination_is_gone(const char *words);

/* Says the line of this step, if it has one. */
void destination_say(struct destination_check *k, enum smtp_hello_step step);
/* Hears the reply to that, and says what it means. */
enum smtp_hello_result destination_answer(struct destination_check *k, enum probe_heard *heard,
					  struct smtp_reply *reply);
/* In a new connection up to the answer to DATA, for a message WHAT; HELLO is EHLO or HELO. False:
 * said. */
bool destination_begin(struct destination_check *k, const char *what, enum smtp_hello_step hello);
/* The fields of its header, without the empty line, each line with its EOL; the length, 0: no room.
 */
size_t destination_head(const struct destination_check *k, const char *what, const char *eol,
			char *out, size_t cap);

/* Whether it goes by the client that it is told of. */
void destination_check_identity(struct destination_check *k);
/* Which other ends of data it takes: so many messages to the recipient at most. */
#define DESTINATION_ENDS 9
void destination_check_ends(struct destination_check *k);
/* Where it loses its place in a message: so many messages more at most. */
#define DESTINATION_PLACES 67
void destination_check_places(struct destination_check *k);
#define DESTINATION_MESSAGES (2 * DESTINATION_ENDS + DESTINATION_PLACES)
/* How many connections at a time it takes. */
#define DESTINATION_CROWD_MAX 1000
void destination_check_crowd(struct destination_check *k);

#endif
