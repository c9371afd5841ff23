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
#include "smtp/identity.h"
#include "smtp/path.h"

/* Octets of one BDAT chunk. Servers there are that count in 32 bits (Exim reads the size with %u)
 * and would see another, smaller chunk in a larger number: what they then read as commands nobody
 * has judged. A message may have any number of chunks. */
#define SMTP_CHUNK_MAX 0x7fffffffu

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
	/* identity.h: of a client's, the first is for proxies of XCLIENT_FROM. */
	SMTP_VERB_XCLIENT,
	SMTP_VERB_XFORWARD,
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
	SMTP_EXT_XCLIENT = 1 << 11, /* ours, as STARTTLS is: see identity.h of what others offer */
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
	struct smtp_identity identity; /* XCLIENT */
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

/* "MAIL", "RCPT", … for the log; never NULL. */
const char *smtp_verb_name(enum smtp_verb verb);

#endif
