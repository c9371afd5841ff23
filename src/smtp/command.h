/* SPDX-License-Identifier: ISC */
/*
 * command: one command line of a client, parsed into what we understood of it, and rebuilt from
 * that for the destination (invariant 2: what is judged is what is sent; the client's own bytes
 * never go on, but for opaque text of NOOP, HELP and base64 of AUTH, which are checked octet by
 * octet). RFC 5321 4.1, 4.5.3.1; RFC 1870 SIZE; RFC 6152 8BITMIME; RFC 6531 SMTPUTF8; RFC 3461 DSN;
 * RFC 4954 AUTH. No I/O, no memory of its own: spans point into the line that was given.
 */
#ifndef SMTP_COMMAND_H
#define SMTP_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "smtp/path.h"

/* Limits of one line with its CR LF. RFC 5321 4.5.3.1.4 asks for 512 and what extensions add;
 * RFC 4954 4 asks for 12288 for AUTH and its continuations. */
#define SMTP_LINE_MAX	   4096
#define SMTP_AUTH_LINE_MAX 12288
/* Octets of one BDAT chunk. Servers there are that count in 32 bits (Exim reads the size with %u)
 * and would see another, smaller chunk in a larger number: what they then read as commands nobody
 * has judged. A message may have any number of chunks. */
#define SMTP_CHUNK_MAX 0x7fffffffu

enum smtp_line_result {
	SMTP_LINE_MORE, /* no whole line in IN yet */
	SMTP_LINE_OK,	/* *LINE is the line without CR LF, *CONSUMED with it */
	SMTP_LINE_BAD,	/* too long, a NUL, a CR or LF on its own: the connection cannot go on */
};

/* Cuts the first line off IN. MAX counts the CR LF. BAD as soon as it is certain, not later; the
 * result does not depend on how the octets arrived. */
enum smtp_line_result smtp_line_cut(struct span in, size_t max, struct span *line,
				    size_t *consumed);
/* The limit for the line that begins with IN: SMTP_AUTH_LINE_MAX for AUTH, else SMTP_LINE_MAX.
 * (With too few octets to know, the larger one.) */
size_t smtp_line_limit(struct span in);

enum smtp_verb {
	SMTP_VERB_UNKNOWN, /* 500 5.5.2 */
	SMTP_VERB_REFUSED, /* known and never served (VRFY, ETRN, …): 502 5.5.1 */
	SMTP_VERB_HELO,
	SMTP_VERB_EHLO,
	SMTP_VERB_MAIL,
	SMTP_VERB_RCPT,
	SMTP_VERB_DATA,
	SMTP_VERB_BDAT,
	SMTP_VERB_RSET,
	SMTP_VERB_NOOP,
	SMTP_VERB_HELP,
	SMTP_VERB_AUTH,
	SMTP_VERB_STARTTLS,
	SMTP_VERB_QUIT,
	SMTP_VERB_COUNT
};

/* Extensions, as offered in an EHLO answer and as used by parameters. */
enum smtp_ext {
	SMTP_EXT_PIPELINING = 1 << 0,
	SMTP_EXT_SIZE = 1 << 1,
	SMTP_EXT_8BITMIME = 1 << 2,
	SMTP_EXT_SMTPUTF8 = 1 << 3,
	SMTP_EXT_DSN = 1 << 4,
	SMTP_EXT_ENHANCED = 1 << 5, /* ENHANCEDSTATUSCODES */
	SMTP_EXT_AUTH = 1 << 6,
	SMTP_EXT_HELP = 1 << 7,
	SMTP_EXT_CHUNKING = 1 << 8,
	SMTP_EXT_BINARYMIME = 1 << 9,
	SMTP_EXT_STARTTLS = 1 << 10,
};

enum smtp_notify {
	SMTP_NOTIFY_NEVER = 1 << 0,
	SMTP_NOTIFY_SUCCESS = 1 << 1,
	SMTP_NOTIFY_FAILURE = 1 << 2,
	SMTP_NOTIFY_DELAY = 1 << 3,
};

struct smtp_command {
	enum smtp_verb verb;
	struct span line;      /* the whole line without CR LF */
	struct span arg;       /* EHLO/HELO: the name; NOOP/HELP: the text; AUTH: the mechanism */
	struct span rest;      /* AUTH: the initial response ("=" is empty); absent: p == NULL */
	struct smtp_path path; /* MAIL, RCPT */
	/* What the command needs of the destination (enum smtp_ext): the extensions of its
	 * parameters, and SMTPUTF8 for a path or an ORCPT= with octets above 0x7f. RCPT has no
	 * SMTPUTF8 parameter: the dialog asks that the transaction's MAIL had it (RFC 6531 3.4). */
	uint32_t ext;
	bool has_size, has_body, body_8bit, body_binary, smtputf8, has_auth;
	bool ret_full, ret_hdrs;
	bool has_notify;
	uint8_t notify;	     /* enum smtp_notify */
	uint64_t size;	     /* SIZE= */
	struct span envid;   /* ENVID=, xtext as given; p == NULL: absent */
	struct span auth;    /* AUTH=, xtext as given, "<>" too */
	struct span orcpt;   /* ORCPT=, "type;xtext" as given; p == NULL: absent */
	uint64_t chunk_size; /* BDAT */
	bool chunk_last;
};

/*
 * Parses one line. OFFERED (enum smtp_ext bits) is what our EHLO answer offered: a parameter of
 * another extension is 555 5.5.4, a bad value 501 5.5.4, a bad path what path.h says. On any
 * fault the return value is the whole reply to give (static text with CR LF, "" never), cmd->verb
 * still says which command it was, and of the rest only `line` counts; NULL when all is well. For
 * UNKNOWN and REFUSED it is the 500 and 502. AUTH's and BDAT's arguments are judged syntactically
 * only.
 *
 * Forgiven, since a rebuilt line does not have it: white space at the end of the line, several
 * blanks where one belongs (but not between the colon of FROM: or TO: and the path: path.h).
 * Nothing but one blank at the end is forgiven in BDAT: whoever sends octets behind it must mean
 * the number that we read.
 */
const char *smtp_command_parse(struct smtp_command *cmd, struct span line, uint32_t offered);

/* What the destination's connection knows, for rebuilding. */
struct smtp_rebuild {
	uint32_t ext;	/* what the destination offers: parameters of nothing else are sent */
	bool logged_in; /* AUTH= as given; else AUTH=<> (RFC 4954 5) */
	/* Logged in or relay network: NOTIFY, ENVID and ORCPT as given; else SUCCESS is taken out
	 * of NOTIFY, and the octets < > " \ , ; ( ) of the other two are written as +HH. */
	bool trusted;
};

/* False: ORCPT, written as a stranger's, would be longer than it may be: 501 5.5.4. */
bool smtp_stranger_fits(const struct smtp_command *cmd);

/* How much longer than its line a command that is built may be: each octet of ENVID (100) and AUTH
 * (500), or of ORCPT (500), may become three, within those limits. */
#define SMTP_REBUILT_MORE 600

/* Appends the command as the destination gets it, with CR LF. 0, or -ENOBUFS with OUT as it was.
 * AUTH is the mechanism in upper case and the checked initial response. xtext is written in the
 * strict form (RFC 3461 4). What is built is at most SMTP_REBUILT_MORE octets longer than the line
 * that was parsed, and no longer than RFC 5321 and the extensions allow. UNKNOWN and REFUSED, which
 * never go on, are a fault of the caller. */
int smtp_command_build(const struct smtp_command *cmd, const struct smtp_rebuild *how,
		       struct buf *out) __attribute__((warn_unused_result));

/* RFC 4648 4 with padding (nothing at all too), "=" alone for an empty initial response, or "*"
 * alone, which cancels (RFC 4954 4): all that a continuation line may be. */
bool smtp_base64_valid(struct span s);
/* Decodes at most CAP octets of valid base64 into OUT; the number of octets. "=" and "*" are none.
 */
size_t smtp_base64_decode(struct span s, uint8_t *out, size_t cap);
/* True for the name of a SASL mechanism that there is (mechanism.c), whatever its case. */
bool smtp_mechanism_known(struct span name);
/* "MAIL", "RCPT", … for the log; never NULL. */
const char *smtp_verb_name(enum smtp_verb verb);

#endif
