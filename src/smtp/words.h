/* SPDX-License-Identifier: ISC */
/*
 * words: every reply that Caronte itself says to a client, in one table. caronte(8) lists the same
 * ones, with when each is said; a test compares the two. An answer to EHLO is not one of them:
 * offer.h puts it together. A new reply gets its row here and its item there, and nothing else.
 */
#ifndef SMTP_WORDS_H
#define SMTP_WORDS_H

#include <stdbool.h>

#include "base/span.h"

/* What a reply answers. */
enum smtp_words_to {
	TO_CONNECTION, /* said in place of a greeting, or as one */
	TO_COMMAND,    /* any command, or what is none */
	TO_HELO,       /* and EHLO */
	TO_MAIL,
	TO_RCPT,
	TO_PATH, /* MAIL or RCPT */
	TO_DATA,
	TO_MESSAGE, /* the end of a message */
	TO_BDAT,
	TO_AUTH,
	TO_STARTTLS,
	TO_HELP,
	TO_QUIT,
	TO_OPEN, /* what waits for an answer of the destination, or nothing: the session ends */
};

/* Whether the session ends with it. */
enum smtp_words_then { THEN_ON, THEN_END };

/*
 * NAME, codes, text, what it answers, and what then. %s is the server's name. The blank at the end
 * of WORD_DENIED belongs to it.
 */
#define SMTP_WORDS(X)                                                                              \
	X(GREETING, "220", "%s ESMTP Caronte", TO_CONNECTION, THEN_ON)                             \
	X(HELLO, "250", "%s", TO_HELO, THEN_ON)                                                    \
	X(OK, "250 2.0.0", "Ok", TO_COMMAND, THEN_ON)                                              \
	X(SENDER, "250 2.1.0", "Ok", TO_MAIL, THEN_ON)                                             \
	X(HELP, "214 2.0.0", "RFC 5321; mail is passed on to the servers behind", TO_HELP,         \
	  THEN_ON)                                                                                 \
	X(BYE, "221 2.0.0", "Bye", TO_QUIT, THEN_END)                                              \
                                                                                                   \
	X(TOO_MANY, "421 4.3.2", "Too many sessions, try later", TO_CONNECTION, THEN_END)          \
	X(BUSY, "421 4.7.0", "Server BUSY", TO_CONNECTION, THEN_END)                               \
	X(NO_DESTINATION, "421 4.3.2", "No destination is available, try later", TO_OPEN,          \
	  THEN_END)                                                                                \
	X(NO_TLS, "421 4.7.5", "The destination cannot be reached by TLS, try later", TO_OPEN,     \
	  THEN_END)                                                                                \
	X(NO_IDENTITY, "421 4.3.2", "The destination does not take your identity, try later",      \
	  TO_OPEN, THEN_END)                                                                       \
	X(SEAT, "421 4.3.2", "Too many sessions, idle ones are ended", TO_OPEN, THEN_END)          \
	X(STOP, "421 4.3.2", "Service is shutting down", TO_OPEN, THEN_END)                        \
	X(CLOSING, "421 4.3.2", "Closing connection", TO_OPEN, THEN_END)                           \
	X(ERRORS, "421 4.7.0", "Too many errors", TO_OPEN, THEN_END)                               \
	X(IDLE, "421 4.7.0", "Too many commands without a message", TO_COMMAND, THEN_END)          \
	X(CLIENT_SLOW, "421 4.4.2", "Timed out waiting for you", TO_OPEN, THEN_END)                \
	X(LOST, "451 4.4.2", "Connection to destination lost", TO_OPEN, THEN_END)                  \
	X(LOST_IDLE, "421 4.4.2", "Connection to destination lost", TO_OPEN, THEN_END)             \
	X(SLOW, "451 4.4.2", "Destination timed out", TO_OPEN, THEN_END)                           \
	X(SLOW_IDLE, "421 4.4.2", "Destination timed out", TO_OPEN, THEN_END)                      \
	X(DESYNC, "451 4.3.0", "Destination answered out of order", TO_OPEN, THEN_END)             \
	X(MALFORMED, "451 4.3.0", "Destination answered something malformed", TO_OPEN, THEN_END)   \
                                                                                                   \
	X(DENIED, "550 5.7.1", "Relaying denied. ", TO_RCPT, THEN_ON)                              \
	X(UNCOVERED, "451 4.3.0", "Destination cannot do that now, try later", TO_PATH, THEN_ON)   \
	X(LONG_ORCPT, "501 5.5.4", "ORCPT is too long once it is encoded", TO_RCPT, THEN_ON)       \
	X(NO_FROM, "501 5.5.4", "Syntax: MAIL FROM:<address>", TO_MAIL, THEN_ON)                   \
	X(NO_TO, "501 5.5.4", "Syntax: RCPT TO:<address>", TO_RCPT, THEN_ON)                       \
	X(BAD_VALUE, "501 5.5.4", "Bad or repeated parameter value", TO_PATH, THEN_ON)             \
	X(BAD_PARAM, "555 5.5.4", "Parameter not known or not offered", TO_PATH, THEN_ON)          \
                                                                                                   \
	X(GO_AHEAD, "354", "End data with <CR><LF>.<CR><LF>", TO_DATA, THEN_ON)                    \
	X(NONE_LEFT, "554 5.5.1", "No valid recipients", TO_DATA, THEN_ON)                         \
	X(BINARY, "503 5.5.1", "BODY=BINARYMIME needs BDAT", TO_DATA, THEN_ON)                     \
	X(EARLY_DATA, "554 5.5.0", "Data sent before the answer to DATA, closing connection",      \
	  TO_DATA, THEN_END)                                                                       \
	X(TOO_BIG, "552 5.3.4", "Message too big", TO_MESSAGE, THEN_ON)                            \
	X(HEADER, "552 5.3.4", "Message header too big, or no empty line ends it", TO_MESSAGE,     \
	  THEN_ON)                                                                                 \
	X(LINE, "552 5.6.0", "Line of message too long", TO_MESSAGE, THEN_ON)                      \
	X(GATES, "554 5.7.0", "Too many lines like a MAIL command in message", TO_MESSAGE,         \
	  THEN_ON)                                                                                 \
	X(BARE, "521 5.5.2", "Bare CR, LF or NUL in message, closing connection", TO_MESSAGE,      \
	  THEN_END)                                                                                \
                                                                                                   \
	X(NO_BDAT, "502 5.5.1", "BDAT not available, closing connection", TO_BDAT, THEN_END)       \
	X(BAD_BDAT, "501 5.5.4", "Bad or missing chunk size, closing connection", TO_BDAT,         \
	  THEN_END)                                                                                \
	X(LONE_BDAT, "503 5.5.1", "BDAT without sender and recipients, closing connection",        \
	  TO_BDAT, THEN_END)                                                                       \
	X(CHUNK_REFUSED, "503 5.5.1", "Message was refused, RSET is needed", TO_BDAT, THEN_ON)     \
                                                                                                   \
	X(NO_AUTH, "503 5.5.1", "Authentication not available", TO_AUTH, THEN_ON)                  \
	X(NO_MECHANISM, "504 5.5.4", "Authentication mechanism not available", TO_AUTH, THEN_ON)   \
	X(LOGGED_IN, "503 5.5.1", "Already authenticated", TO_AUTH, THEN_ON)                       \
	X(BAD_CONTINUATION, "501 5.5.2", "Invalid authentication response, closing connection",    \
	  TO_AUTH, THEN_END)                                                                       \
	X(EARLY_AUTH, "503 5.5.0", "Command sent before the answer to AUTH, closing connection",   \
	  TO_AUTH, THEN_END)                                                                       \
	X(NO_STARTTLS, "502 5.5.1", "STARTTLS not available", TO_STARTTLS, THEN_ON)                \
	X(TLS_LATER, "454 4.7.0", "Too many TLS handshakes from your address, try later",          \
	  TO_STARTTLS, THEN_ON)                                                                    \
	X(START_TLS, "220 2.0.0", "Ready to start TLS", TO_STARTTLS, THEN_ON)                      \
	X(TLS_FIRST, "530 5.7.0", "Must issue a STARTTLS command first", TO_COMMAND, THEN_ON)      \
                                                                                                   \
	X(BAD_NAME, "501 5.5.4",                                                                   \
	  "Name is missing, too long, or holds a blank or control character", TO_HELO, THEN_ON)    \
	X(SEQUENCE, "503 5.5.1", "Bad sequence of commands", TO_COMMAND, THEN_ON)                  \
	X(UNKNOWN, "500 5.5.2", "Command not recognized", TO_COMMAND, THEN_ON)                     \
	X(NOT_SERVED, "502 5.5.1", "Command not served here", TO_COMMAND, THEN_ON)                 \
	X(BAD_ARGUMENT, "501 5.5.4", "Bad or missing argument", TO_COMMAND, THEN_ON)               \
	X(NO_ARGUMENT, "501 5.5.4", "No argument is allowed", TO_COMMAND, THEN_ON)                 \
	X(BAD_TEXT, "501 5.5.4", "Text too long or not printable ASCII", TO_COMMAND, THEN_ON)      \
	X(BAD_LINE, "500 5.5.2", "Line too long or not ended by CR LF, closing connection",        \
	  TO_COMMAND, THEN_END)                                                                    \
	X(FOREIGN, "521 5.5.1", "This is an SMTP server, closing connection", TO_COMMAND,          \
	  THEN_END)                                                                                \
	X(BAD_XCLIENT, "501 5.5.4",                                                                \
	  "XCLIENT must be right, alone and in order, closing connection", TO_COMMAND, THEN_END)   \
	X(NOT_GREETED, "521 5.5.1", "Command not recognized before EHLO, closing connection",      \
	  TO_COMMAND, THEN_END)                                                                    \
	X(UNKNOWN_AGAIN, "521 5.5.1", "Too many unknown commands, closing connection", TO_COMMAND, \
	  THEN_END)

/* What is wrong with a path: a row of 501 5.1.3 for RCPT, and one of 501 5.1.7 for MAIL. */
#define SMTP_WORDS_OF_PATHS(X)                                                                     \
	X(NO_BRACKETS, "Angle brackets are missing")                                               \
	X(NOT_CLOSED, "Closing angle bracket is missing")                                          \
	X(BESIDE, "Text beside the address")                                                       \
	X(BRACKET, "Angle bracket inside the address")                                             \
	X(EMPTY, "Recipient is empty")                                                             \
	X(SOURCE_ROUTE, "Source route, or local part is missing")                                  \
	X(NO_LOCAL, "Local part is missing")                                                       \
	X(LOCAL, "Character not allowed in the local part")                                        \
	X(LOCAL_LONG, "Local part too long")                                                       \
	X(QUOTE, "Quoted string beside other text")                                                \
	X(QUOTE_OPEN, "Quoted string is not closed")                                               \
	X(TWO_AT, "More than one @ outside of quotes")                                             \
	X(ROUTING, ": or \\ outside of quotes")                                                    \
	X(COMMENT, "Comment in the address")                                                       \
	X(BLANK, "Blank outside of quotes")                                                        \
	X(CONTROL, "Control character in the address")                                             \
	X(UTF8, "Octets that are no UTF-8 text of an address")                                     \
	X(NO_DOMAIN, "Domain is missing")                                                          \
	X(DOMAIN, "Character not allowed in the domain")                                           \
	X(LABEL, "Empty label in the domain")                                                      \
	X(LITERAL, "Address literal is no IP address")                                             \
	X(LONG, "Address too long")                                                                \
	X(NEEDS_UTF8, "Address needs SMTPUTF8")

#define X(name, ...)	   WORD_##name,
#define X_PATH(name, text) WORD_RCPT_##name, WORD_MAIL_##name,
enum smtp_words { SMTP_WORDS(X) SMTP_WORDS_OF_PATHS(X_PATH) WORDS_COUNT };
#undef X
#undef X_PATH

/* The whole reply, with CR LF. */
const char *smtp_words(enum smtp_words w);
enum smtp_words_to smtp_words_to(enum smtp_words w);
bool smtp_words_end(enum smtp_words w);
/* Whether REPLY, without CR LF, is that one. */
bool smtp_words_are(enum smtp_words w, struct span reply);
/* Whether REPLY, as the log has it, is one with which Caronte ends a session: whatever had no
 * answer then was answered by it, and not by the destination. */
bool smtp_words_ended(struct span reply);

#endif
