/* SPDX-License-Identifier: ISC */
/* build: a parsed command as the destination gets it. */
#ifndef SMTP_BUILD_H
#define SMTP_BUILD_H

#include "base/buf.h"
#include "smtp/command.h"

/* What the destination's connection knows, for rebuilding. */
struct smtp_rebuild {
	uint32_t ext;	/* what the destination offers: parameters of nothing else are sent */
	bool logged_in; /* AUTH= as given; else AUTH=<> (RFC 4954 5) */
	/* Logged in or relay network: NOTIFY, ENVID and ORCPT as given; else SUCCESS is taken out
	 * of NOTIFY, and the octets < > " \ , ; ( ) of the other two are written as +HH. */
	bool trusted;
};

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

#endif
