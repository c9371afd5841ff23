/* SPDX-License-Identifier: ISC */
/*
 * dialog: one session without its sockets. Joins the client-facing dialog, the verdicts and the
 * destination-facing dialog: octets of either side in, octets for either side and a few decisions
 * out. Replies reach the client in the order of its commands, local and destination's mixed.
 *
 * It refuses to do I/O, to know the time, or to allocate: its owner lends it a struct dialog_work
 * while anything is under way, and takes it back when dialog_rests() says so. It writes the records
 * of everything but the session itself. Invariants 1 to 7 of the design are kept here.
 *
 * This header is the room's face: it has what a dialog is, and includes what its files are for.
 */
#ifndef DIALOG_DIALOG_H
#define DIALOG_DIALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/pool.h"
#include "base/span.h"
#include "policy/policy.h"
#include "smtp/owed.h"
#include "smtp/command.h"
#include "dialog/body.h"
#include "dialog/chunk.h"
#include "dialog/client.h"
#include "dialog/destination.h"
#include "dialog/discard.h"
#include "dialog/gateway.h"
#include "dialog/held.h"
#include "dialog/identity.h"
#include "dialog/link.h"
#include "dialog/message.h"
#include "dialog/more.h"
#include "dialog/say.h"
#include "dialog/starttls.h"
#include "dialog/trace.h"
#include "smtp/offer.h"
#include "smtp/order.h"
#include "xmllog/xmllog.h"

/* Octets of the two output buffers: a whole reply, or a whole AUTH line, and what goes with it. */
#define DIALOG_OUT_MAX 20480
/* Lines of a message that wait at the gate, a second each at most: a client waits three minutes for
 * a block of its message to be taken (RFC 5321 4.5.3.2.5). */
#define DIALOG_GATES_MAX  100
#define DIALOG_NAME_MAX	  256 /* HELO names and login names, with their NUL */
#define DIALOG_NAME_USUAL 48  /* most of them are not longer */
#define DIALOG_WORDS_MAX  256 /* of a destination that greets badly, with their NUL */
#define DIALOG_REPLY_KEPT 510 /* octets of the last refusal */
#define DIALOG_TO_MAX	  10  /* recipients that a message's record names */
#define DIALOG_ODD_MAX	  256 /* octets that are kept of words against the protocol */

struct stats_destination;
struct stats_worker;

/* What is the same for all sessions of a worker. */
struct dialog_env {
	const struct policy *policy;
	struct xmllog *log;
	struct stats_worker *stats; /* NULL: nothing is counted */
	unsigned max_errors;	    /* MAX_ERRORS; 0: no limit */
	unsigned max_idle;	    /* MAX_IDLE_COMMANDS; 0: no limit */
	bool normalize;		    /* BARE_NEWLINE_NORMALIZE */
	bool data_as_bdat;	    /* DATA_AS_BDAT */
	bool add_received;	    /* ADD_RECEIVED */
	bool starttls;		    /* there is a certificate */
	bool tls_required;	    /* TLS_CLIENTS_REQUIRED */
	bool tls_for_login;	    /* TLS_REQUIRED_FOR_LOGIN, and there is a certificate */
	/* Octets; 0: no limit. MAX_HEADER_KIB, MAX_MESSAGE_MIB, MAX_LINE_KIB. */
	uint64_t header_max, message_max, line_max;
	/* DIALOG_GATEWAY: what clients are offered now, NULL for DIALOG_SNIFF; our own name. */
	const struct smtp_offer *offer;
	const char *name;
	struct pool *more; /* of struct dialog_more, one for each dialog */
};

/* The client's TLS (RFC 3207). */
enum dialog_tls {
	DIALOG_CLEAR,	/* none; STARTTLS is offered where `starttls` says so */
	DIALOG_ASKED,	/* STARTTLS was said: the owner sees to it that nothing more has come */
	DIALOG_SHAKING, /* 220 was said, or TLS comes first */
	DIALOG_SECURE,
};

/* The result of a handshake, for the log. Its texts live as long as the dialog. */
struct dialog_secure {
	const char *version, *cipher; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
	const char *name;	      /* that the client has asked for; NULL: none */
	char client[80];	      /* what its certificate says: tls/client.h; "": it has none */
	bool resumed;
	bool first;  /* it stood before the greeting (RFC 8314 3.3) */
	bool kernel; /* has the records */
};

/* The destination's TLS, for the log; all NULL: it is spoken to in clear. Texts are constants. */
struct dialog_peer {
	const char *version, *cipher;
	const char *trust; /* "none", "verified", "pinned" */
};

/* How a destination has greeted, for sessions that come later: the owner looks, and sets it back.
 */
enum dialog_greeting { DIALOG_UNGREETED, DIALOG_WELCOMED, DIALOG_TURNED_AWAY };

/* What a reply to the client answers, for the record of a refusal. */
enum record_command {
	RECORD_TOLD, /* another record tells of it */
	RECORD_CONNECT,
	RECORD_HELO,
	RECORD_MAIL,
	RECORD_RCPT,
	RECORD_DATA,
	RECORD_BDAT,
	RECORD_OTHER,
};
struct dialog_asked {
	uint8_t command;     /* enum record_command */
	bool destination;    /* who refuses; else Caronte does */
	bool transaction;    /* it belongs to the session's latest message */
	const char *address; /* of a MAIL or RCPT that has never been in order; NULL or "": none */
};

/* Who answers a command. (One whose verdict is not known yet is neither's: a value of its own.) */
enum answered_by { ANSWERED_BY_DESTINATION, ANSWERED_BY_US };

/* One command that the client has not been answered yet. */
struct dialog_pending {
	uint8_t verb;			 /* enum smtp_verb */
	uint8_t rule;			 /* enum policy_rule, of a RCPT */
	uint8_t answered_by;		 /* enum answered_by */
	uint8_t why;			 /* BY_US, enum reason: why the session ends after REPLY */
	bool told;			 /* BY_US: a record tells of REPLY already */
	bool as_ehlo;			 /* of a HELO: the destination was told EHLO */
	const char *reply;		 /* BY_US: static text with CR LF */
	char address[SMTP_PATH_MAX + 1]; /* of a RCPT, or a refused MAIL */
};

/* What a message's record says of it: needed until its end, however long nothing is under way. */
struct dialog_letter {
	char sender[SMTP_PATH_MAX + 1];
	struct smtp_message_id id;
	uint16_t to_len; /* the message's first recipients, parted by blanks */
	char to[DIALOG_TO_MAX * (SMTP_PATH_MAX + 1)];
};

/* What a session needs only while something is under way. */
struct dialog_work {
	struct buf to_client, to_destination;
	uint8_t head, count;
	struct dialog_pending pending[SMTP_OPEN_MAX];
	struct dialog_letter letter;
	/* Of the destination's words against the protocol: the owner takes them, and forgets them
	 * by odd_len. */
	uint16_t odd_len;
	uint8_t odd[DIALOG_ODD_MAX];
	bool unfit; /* of REASON_IDENTITY: the destination is of no use, whoever the client is */
	char auth_mechanism[24], auth_name[DIALOG_NAME_MAX];
	bool auth_name_known;
	/* What a destination has said that greets badly, or takes no client's identity. */
	char words[DIALOG_WORDS_MAX];
	uint16_t saved_len;
	char saved[SMTP_REPLY_MAX]; /* the answer that waits for the end of a body */
	struct held held;
	struct smtp_identity identity;
	uint8_t client_mem[DIALOG_OUT_MAX], destination_mem[DIALOG_OUT_MAX];
	uint8_t held_mem[DIALOG_OUT_MAX];
};

void dialog_work_init(struct dialog_work *w);

/* What only some sessions keep: long names, and the last 4xx or 5xx that was said. */
struct dialog_more {
	char helo[DIALOG_NAME_MAX], login[DIALOG_NAME_MAX];
	struct dialog_peer peer;
	uint16_t reply_len;
	char reply[DIALOG_REPLY_KEPT];
	struct dialog_secure secure; /* where DIALOG_SECURE */
};

struct dialog {
	const struct dialog_env *env;
	struct dialog_work *work; /* lent by the owner before any call that may produce octets */
	struct smtp_order server;
	struct smtp_owed destination;
	struct dialog_gateway gateway;
	struct policy_client who;
	struct addr client_addr, destination_addr; /* family 0: none */
	struct addr proxy_addr; /* of the balancer that has passed the client on; family 0: none */
	const char *destination_name; /* what records call one of ADDR_UNIX; the owner sets it */
	struct xmllog_session id;
	struct stats_destination *at; /* figures of the destination; NULL: none */

	enum session_end end; /* other than END_RUNS: say what is in to_client, then close */
	enum reason reason;   /* … why, where end is LIMIT, PROTOCOL or LOST_DESTINATION */
	bool turned_away;     /* the destination greeted with a refusal */
	bool partial;	      /* a reply has begun and was not dealt with yet */
	uint8_t begun;	      /* enum smtp_owes: what was owed when it began */
	uint8_t greeting;     /* enum dialog_greeting; `words` when it is DIALOG_TURNED_AWAY */
	uint8_t tls;	      /* enum dialog_tls */
	uint8_t told;	      /* enum dialog_told: of whom the destination knows */
	bool lmtp;	      /* it has said that it speaks LMTP */
	bool unforwarded;     /* XFORWARD was refused, and the MAIL that goes with it is not yet */
	bool auth_seen;	      /* an AUTH was tried: unknown verbs may be passwords */
	bool auth_open;	      /* an attempt to log in has no record yet */
	bool client_closed;   /* the client has sent its last octet */
	bool chunk_waits;     /* the client's next command is BDAT, and it must wait */
	bool proxy_header;    /* the client began one: what stands before us is set up wrong */
	bool may_rename;      /* it is a proxy of XCLIENT_FROM */
	bool renamed;	      /* it has said whose session it is: `work` has what it said */

	uint32_t errors, refusals, messages, transactions, recipients;
	uint32_t useful;	/* recipients and messages that were taken in all */
	uint32_t idle_commands; /* of a stranger, since the last message that was taken */
	uint64_t bytes;		/* of messages that went on */
	struct message message;
	struct link link;
	/* NULL: none. With it both names are there: see dialog_helo() and dialog_login(). */
	struct dialog_more *more;
	char helo[DIALOG_NAME_USUAL], login[DIALOG_NAME_USUAL];
};

void dialog_init(struct dialog *d, const struct dialog_env *env, const struct addr *client,
		 bool in_network, const struct xmllog_session *id);
/* Gives back what the dialog has borrowed; its last call. */
void dialog_release(struct dialog *d);
/* The destination's connection stands; its greeting is awaited. */
void dialog_connected(struct dialog *d, const struct addr *destination);

/* N commands of to_destination were given to the kernel: from now on they can be answered. */
void dialog_flushed(struct dialog *d, unsigned n);

/* The client sends octets that are counted: dialog_chunk() takes `message.left` of them at most. */
static inline bool dialog_in_chunk(const struct dialog *d)
{
	return d->end == END_RUNS && d->server.state == SMTP_ORDER_CHUNK;
}

/* The client's turn to send a message: give its octets to dialog_body(), or to dialog_chunk(). */
static inline bool dialog_in_body(const struct dialog *d)
{
	return (d->end == END_RUNS && d->server.state == SMTP_ORDER_BODY) || dialog_in_chunk(d);
}

/* True while the client's message goes on in chunks of our own making, each with its answer. */
static inline bool dialog_counts(const struct dialog *d)
{
	return d->message.way == MESSAGE_COUNTED && !message_is_discarded(&d->message) &&
	       smtp_owed_in_body(&d->destination);
}

/* The kernel was given all of the message, or of the chunk, and the destination may not have it. */
static inline bool dialog_message_leaves(const struct dialog *d)
{
	return d->message.state == MESSAGE_GIVEN && smtp_owed_in_body(&d->destination);
}

/* All octets of the chunk were taken, and the kernel was not given all of them yet. */
static inline bool dialog_chunk_leaves(const struct dialog *d)
{
	return d->message.state == MESSAGE_WHOLE && d->message.way == MESSAGE_BY_CHUNKS;
}

/* The client's stream ended (FIN): what is under way is still answered, but not in a body. */
void dialog_client_closed(struct dialog *d);
/* The client is gone (reset). */
void dialog_client_lost(struct dialog *d);
void dialog_client_timeout(struct dialog *d);
/* The destination closed, failed, or was out of time; no further call of its octets follows. */
void dialog_destination_lost(struct dialog *d, bool timeout);

/* True when nothing is under way. */
bool dialog_idle(const struct dialog *d);
/* True when nothing in `work` is still needed but, unless it is idle, the `letter`, and it may be
 * taken back: idle, or the client takes its time within a transaction or a body. */
bool dialog_rests(const struct dialog *d);
/* True when the client is to be read: its next command is of use, or, behind AUTH and DATA, octets
 * that come too early must be noticed. What follows a BDAT that waits is left where it is: it is to
 * be moved without being read. */
bool dialog_wants_client(const struct dialog *d);

#endif
