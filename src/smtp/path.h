/* SPDX-License-Identifier: ISC */
/*
 * path: reverse-path and forward-path (RFC 5321 4.1.2, RFC 6531 3.3), taken in one unambiguous form
 * or refused. Refused with 501 5.1.3 (5.1.7 for a sender): source routes, several paths, text
 * beside the path, missing angle brackets, over-long parts (4.5.3.1: domain 255, path 256),
 * comments, control characters, an unquoted blank, a recipient without a domain other than
 * <postmaster>. One blank between the colon and the angle bracket is forgiven. A final dot of the
 * domain is dropped.
 *
 * Where mail servers read one form differently, the form is refused and not judged: an unquoted
 * second @, an unquoted `:` or `\` (RFC 821 let it quote, and `u\@a@b` has two domains), a quoted
 * string beside other text, `<` or `>` inside one (OpenSMTPD ends the path at the first `>`), an
 * empty local part, quoted or not, a UTF-8 control or line separator, an address literal that is no
 * address. Wider than the RFC, because such addresses exist and no server reads them otherwise:
 * dots anywhere in an unquoted local part, underscores and outer hyphens in a domain, and local
 * parts of more than 64 octets, up to what the path's limit leaves (mailing lists and SRS pack
 * another address into one).
 */
#ifndef SMTP_PATH_H
#define SMTP_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

#define SMTP_DOMAIN_MAX 255
#define SMTP_PATH_MAX	256		    /* with the angle brackets, as rebuilt */
#define SMTP_LOCAL_MAX	(SMTP_PATH_MAX - 4) /* "<", "@d>" */

/* Why a path is refused. */
enum smtp_path_fault {
	SMTP_PATH_OK,
	SMTP_PATH_NO_BRACKETS,
	SMTP_PATH_NOT_CLOSED,
	SMTP_PATH_BESIDE,  /* text beside the path */
	SMTP_PATH_BRACKET, /* an angle bracket inside */
	SMTP_PATH_EMPTY,   /* <> as a recipient */
	SMTP_PATH_SOURCE_ROUTE,
	SMTP_PATH_NO_LOCAL,
	SMTP_PATH_LOCAL, /* a character that no local part holds */
	SMTP_PATH_LOCAL_LONG,
	SMTP_PATH_QUOTE, /* a quoted string beside other text */
	SMTP_PATH_QUOTE_OPEN,
	SMTP_PATH_TWO_AT,
	SMTP_PATH_ROUTING, /* : or \ outside of quotes */
	SMTP_PATH_COMMENT,
	SMTP_PATH_BLANK,
	SMTP_PATH_CONTROL,
	SMTP_PATH_UTF8, /* no UTF-8, or a character that no address holds */
	SMTP_PATH_NO_DOMAIN,
	SMTP_PATH_DOMAIN, /* a character that no domain holds */
	SMTP_PATH_LABEL,
	SMTP_PATH_LITERAL,
	SMTP_PATH_LONG,
	SMTP_PATH_NEEDS_UTF8, /* never by the parser: SMTPUTF8 was not asked for */
};

struct smtp_path {
	bool null;	 /* <> */
	bool postmaster; /* <postmaster>, no domain; any case */
	bool bare;	 /* a sender without a domain, <root>: the caller says who may have it */
	bool quoted;	 /* the local part is a quoted string */
	/* The local part holds % ! @ : \ (quoted or not), or a character that Unicode's
	 * compatibility forms make one of these; or it is an address of another mail system packed
	 * by Exchange ("IMCEASMTP-user+40domain"), or encoded as in headers
	 * ("=?utf-8?q?user=40domain?="): a server may find another domain in it. */
	bool routed;
	bool eight_bit;	    /* holds octets above 0x7f (allowed only with SMTPUTF8) */
	bool literal;	    /* the domain is an address literal, [...] */
	struct span local;  /* as given, quotes included */
	struct span domain; /* as given, without a final dot */
};

/*
 * Parses IN, which begins behind the colon of "MAIL FROM:" or "RCPT TO:". REVERSE allows <> and
 * <local>, not quoted and without routing; otherwise <postmaster> is allowed. *USED is how many
 * octets the path took, blanks before it included; what follows is nothing or a blank (and
 * parameters). SMTP_PATH_OK, or the first fault; PATH is all zero then.
 */
enum smtp_path_fault smtp_path_parse(struct smtp_path *path, struct span in, bool reverse,
				     size_t *used);
/* The whole reply that refuses a path for FAULT: 501 5.1.7 for a sender (REVERSE), else 501 5.1.3.
 * Static, with CR LF. */
const char *smtp_path_reply(enum smtp_path_fault fault, bool reverse);
/* Appends "<local@domain>", "<local>", "<>" or "<postmaster>" as rebuilt. 0 or -ENOBUFS. */
int smtp_path_build(const struct smtp_path *path, struct buf *out)
	__attribute__((warn_unused_result));
/* The address without angle brackets, for the log and the tables, into OUT of SMTP_PATH_MAX + 1
 * octets (NUL-terminated); the length. Of a path that was refused: nothing. */
size_t smtp_path_text(const struct smtp_path *path, char *out);

#endif
