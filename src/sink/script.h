/* SPDX-License-Identifier: ISC */
/*
 * script: what the command line tells the sink to do otherwise than a plain server would, and when.
 *
 * A rule is `[CONNECTION/]EVENT[#N[+]][@OCTETS][:SUBSTRING]` and a deed. The first rule of a deed
 * that fits the moment counts. Texts are compiled once, at start, into steps: octets to the letter,
 * a pause, an ending. Nothing is allocated afterwards. Rules live as long as the process.
 */
#ifndef SINK_SCRIPT_H
#define SINK_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum sink_event {
	SINK_EV_UNKNOWN,
	SINK_EV_HELO,
	SINK_EV_EHLO,
	SINK_EV_MAIL,
	SINK_EV_RCPT,
	SINK_EV_DATA,
	SINK_EV_BDAT,
	SINK_EV_RSET,
	SINK_EV_NOOP,
	SINK_EV_HELP,
	SINK_EV_VRFY,
	SINK_EV_AUTH,
	SINK_EV_STARTTLS,
	SINK_EV_QUIT,
	SINK_EV_VERBS, /* how many of the above there are; below: what is no command by itself */
	SINK_EV_AUTHDATA = SINK_EV_VERBS, /* a continuation line of AUTH */
	SINK_EV_ANY,			  /* any command; in rules only */
	SINK_EV_EOD,			  /* the end of data, BDAT's LAST too */
	SINK_EV_BODY,			  /* @OCTETS of a body have come */
	SINK_EV_CONNECT,
	SINK_EV_GREETING,
	SINK_EV_COUNT
};

enum sink_deed { SINK_REPLY, SINK_DELAY, SINK_DROP, SINK_STALL, SINK_SAY };

/* How a connection is ended by us. */
enum sink_ending {
	SINK_GO_ON,
	SINK_POLITE, /* shutdown(SHUT_WR), input thrown away until the peer closes */
	SINK_CLOSE,  /* close(), as when the process dies */
	SINK_RESET,  /* RST */
};

struct sink_step {
	struct span octets;
	uint32_t pause_ms; /* after them */
	enum sink_ending ending;
};

struct sink_rule {
	enum sink_deed deed;
	enum sink_event event;
	uint64_t connection; /* 0: every one */
	unsigned nth;	     /* 0: every time */
	bool onwards;	     /* nth and all later ones */
	uint64_t at;	     /* SINK_EV_BODY */
	struct span needle;  /* n == 0: every line */
	struct sink_step *steps;
	unsigned step_count;
	uint32_t ms;
	enum sink_ending ending;
};

#define SINK_RULES_MAX 256

struct sink_script {
	struct sink_rule rules[SINK_RULES_MAX];
	unsigned count;
	uint32_t events; /* bit per event that some rule names */
};

/* What a rule is compared with. */
struct sink_moment {
	enum sink_event event;
	uint64_t connection;
	unsigned nth; /* this event's number in the connection, from 1 */
	unsigned any; /* the command's number in the connection, from 1; 0: no command */
	struct span line;
};

/* Adds the rule that ARG spells, "WHEN" or "WHEN=VALUE" as DEED wants it. NULL or what is wrong
 * with it (static text). */
const char *sink_script_add(struct sink_script *script, enum sink_deed deed, const char *arg);
/* The first rule of DEED that fits, or NULL. */
const struct sink_rule *sink_script_find(const struct sink_script *script, enum sink_deed deed,
					 const struct sink_moment *m);
/* The rule for a body that follows AFTER (NULL: the first one) in the order of position, then of
 * the command line; M's event is SINK_EV_BODY and its nth the message's number. NULL: none. */
const struct sink_rule *sink_script_body(const struct sink_script *script,
					 const struct sink_rule *after,
					 const struct sink_moment *m);
/* The event of a verb, SINK_EV_UNKNOWN when it is none. */
enum sink_event sink_event_of_verb(struct span verb);

#endif
