/* SPDX-License-Identifier: ISC */
/*
 * reason: how and why a session ended, each one word from a fixed list. The log's `reason`
 * (caronte-log(5)) is one of them, so a word is never changed, and a new one is added to the schema
 * and to the manual too. The list stands in this folder because it is the lowest one whose code
 * knows a reason.
 */
#ifndef SMTP_REASON_H
#define SMTP_REASON_H

#include <stdbool.h>

/* NAME, word: first those of end="limit", then "protocol", then "lost-destination". A limit is
 * called as its setting is; SIZE is what the destination announces. */
#define REASONS(X)                                                                                 \
	X(MAX_ERRORS, "MAX_ERRORS")                                                                \
	X(MAX_IDLE_COMMANDS, "MAX_IDLE_COMMANDS")                                                  \
	X(MAX_SESSIONS, "MAX_SESSIONS")                                                            \
	X(MAX_SESSIONS_PER_ADDRESS, "MAX_SESSIONS_PER_ADDRESS")                                    \
	X(TLS_HANDSHAKES, "TLS_HANDSHAKES_PER_ADDRESS")                                            \
	X(MAX_MESSAGE, "MAX_MESSAGE_MIB")                                                          \
	X(MAX_HEADER, "MAX_HEADER_KIB")                                                            \
	X(MAX_LINE, "MAX_LINE_KIB")                                                                \
	X(SIZE, "SIZE")                                                                            \
	X(MAIL_LINES, "mail-lines")                                                                \
	X(UNREAD_REPLIES, "unread-replies")                                                        \
	X(NO_RESOURCES, "no-resources")                                                            \
	X(EARLY_AUTH, "early-auth")                                                                \
	X(EARLY_DATA, "early-data")                                                                \
	X(BAD_LINE, "bad-line")                                                                    \
	X(BARE_NEWLINE, "bare-newline")                                                            \
	X(BAD_CONTINUATION, "bad-continuation")                                                    \
	X(BDAT_UNOFFERED, "bdat-unoffered")                                                        \
	X(BDAT_SIZE, "bdat-size")                                                                  \
	X(BDAT_ALONE, "bdat-alone")                                                                \
	X(HTTP, "http")                                                                            \
	X(PROXY_HEADER, "proxy-header")                                                            \
	X(TLS_HELLO, "tls-hello")                                                                  \
	X(STARTTLS_INJECTION, "starttls-injection")                                                \
	X(XCLIENT, "xclient")                                                                      \
	X(UNKNOWN_VERB, "unknown-verb")                                                            \
	X(NO_CONNECTION, "no-connection")                                                          \
	X(DESTINATION_TLS, "destination-tls")                                                      \
	X(IDENTITY, "identity")                                                                    \
	X(FULL, "full")                                                                            \
	X(CLOSED, "closed")                                                                        \
	X(TIMEOUT, "timeout")                                                                      \
	X(MALFORMED_REPLY, "malformed-reply")                                                      \
	X(OUT_OF_ORDER, "out-of-order")                                                            \
	X(CLOSING, "421")                                                                          \
	X(REFUSED_DATA, "refused-data")                                                            \
	X(NO_RECIPIENTS, "no-recipients")

#define X(name, word) REASON_##name,
enum reason { REASON_NONE, REASONS(X) REASON_COUNT };
#undef X

/* True for those of end="limit". */
static inline bool reason_is_limit(enum reason why)
{
	return why != REASON_NONE && why <= REASON_NO_RESOURCES;
}

enum session_end {
	END_RUNS, /* it has not ended */
	END_QUIT,
	END_REFUSED,
	END_LOST_CLIENT,
	END_LOST_DESTINATION,
	END_TIMEOUT,
	END_LIMIT,
	END_PROTOCOL,
	END_XCLIENT, /* it goes on as another one: session/rename.h */
	END_STOP,
};

/* "quit", "lost-client", …: the `end` of a session record (caronte-log(5)). */
const char *session_end_name(enum session_end end);
/* "" for REASON_NONE. */
const char *reason_name(enum reason why);

#endif
