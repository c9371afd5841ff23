/* SPDX-License-Identifier: ISC */
/*
 * session: one client's connection, its destination's, and the dialog between them. Moves octets
 * between the sockets and the dialog (dialog.h), which decides everything: one turn at the end of
 * the loop's turn (turn.h), and the steps of a body (transfer.h). Keeps the deadlines (deadline.h);
 * ends politely (leave.h; invariant 10).
 *
 * Refuses to judge anything. Owns both descriptors, its seat and what it took from the worker's
 * pools; frees itself once no operation of its own is in flight.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "dialog/dialog.h"
#include "io/stream.h"
#include "session/body.h"
#include "session/copy.h"
#include "session/counted.h"
#include "session/gate.h"
#include "session/times.h"
#include "session/transfer.h"
#include "session/window.h"
#include "smtp/line.h"
#include "upstream/connect.h"
#include "upstream/present.h"
#include "upstream/warm.h"
#include "runtime/context.h"

/* Input that could not be dealt with yet: a whole line, or reply, and what one step brings behind
 * it (a body's last step may bring commands). Address space; pages are used as octets come. */
#define SESSION_CLIENT_IN (SMTP_AUTH_LINE_MAX + WORKER_BODY)
/* … of which commands that come by themselves fill no more than this. */
#define SESSION_COMMANDS (SMTP_AUTH_LINE_MAX + WORKER_STEP)
#define SESSION_DEST_IN	 (SMTP_REPLY_MAX + WORKER_BLOCK)

struct session_work {
	struct dialog_work dialog;
	struct buf client_in, dest_in;
	uint8_t client_mem[SESSION_CLIENT_IN], dest_mem[SESSION_DEST_IN];
};

/* On the way to a destination. */
struct session_reach {
	struct connect connect;
	struct session *session;
	struct identity identity;
	char id[XMLLOG_SESSION_TEXT_MAX]; /* of the session, as the log has it */
};

/* What a session waits for; each has its deadline. */
enum session_wait {
	WAIT_NOTHING,
	WAIT_CONNECT, /* whose deadline is connect.h's */
	WAIT_SEAT,    /* all destinations are at their max= */
	WAIT_GREETING,
	WAIT_REPLY,
	WAIT_DONE, /* the answer to the end of data */
	WAIT_COMMAND,
	WAIT_BLOCK, /* the client's next octets of a body */
	WAIT_BODY,  /* the destination taking them */
	WAIT_GATE,  /* the destination's silence, before a line goes to it */
	WAIT_TLS,   /* the client's handshake */
	WAIT_LEAVE,
};

enum session_state {
	SESSION_CONNECTING,
	SESSION_RUNNING,
	SESSION_LEAVING,   /* the last words are on their way; input is thrown away */
	SESSION_LINGERING, /* … and were said: until the client has read them */
	SESSION_CLOSING,   /* operations in flight are awaited */
};

/* The session's seat. */
enum session_seat {
	SEAT_NONE, /* a session that is refused */
	SEAT_KNOWN,
	SEAT_COUNTED,  /* … and it counts against those of its client's address */
	SEAT_GIVEN_UP, /* … but it is a newcomer's, once the session has said its last words */
};

/* One of the two connections. */
struct session_side {
	struct stream stream;
	bool eof;    /* no more octets will come (end of stream or fault) */
	bool broken; /* nothing more can be sent: what was received before still counts */
	struct io_op recv, send;
};

/* A connection that was accepted. */
struct session_client {
	struct stream stream; /* over a prepared socket */
	struct addr addr;
	bool in_network; /* ADDR is in RELAY_NETWORKS */
	bool known;	 /* it is no stranger: one address may have any number of seats */
	bool tls_first;	 /* it came to LISTEN_TLS_PORT */
	/* Of a connection that a balancer has passed on (PROXY_FROM): whose it is, and what the
	 * client has connected to; family 0: there is none, nobody has said. */
	struct addr proxy, to;
	bool may_rename; /* it is a proxy of XCLIENT_FROM */
	/* TLS that it has begun in a session before this one (rename.h); NULL: none. */
	const struct dialog_secure *secure;
};

/* A client that a proxy has named, and its connection, until the proxy's own session is over. */
struct session_heir {
	struct session_client client;
	struct dialog_secure secure;
};

struct session {
	struct context *ctx;
	struct context_version *version; /* the one that it began with */
	const struct runtime *rt;	 /* that version's */
	struct list link;
	struct dialog dialog;
	struct session_work *work;
	struct dialog_letter *letter; /* while there is no work, within a transaction */
	struct session_side client, dest;
	struct io_timer timer;
	struct io_task task;
	struct session_heir *heir;   /* whose connection it is once this session is over */
	struct session_reach *reach; /* while a destination is looked for or connected to */

	enum session_state state;
	enum session_wait wait;
	enum session_seat seat_is;
	uint32_t progress, wait_progress; /* a new wait of the same kind has its own deadline */
	unsigned dest_index;
	struct addr to; /* what the client has connected to; family 0: nobody has asked yet */
	bool presented; /* to the destination, which has greeted the client since */
	struct warm_line line; /* DIALOG_GATEWAY: the connection of this transaction */
	uint64_t taken_ms;     /* … and since when it is */
	uint32_t seat;
	uint8_t flushing;	  /* commands in the send that is under way */
	struct transfer transfer; /* of a message's octets, and what its movers keep */
	struct body_step step;
	struct gate gate;
	struct counted counted_body;
	struct window window;
	struct copy copy;
	uint64_t wait_since_ms;
	uint64_t due_ms;       /* the end of what is waited for; the timer may ring before */
	uint64_t left_bytes;   /* thrown away while leaving */
	uint32_t useful;       /* of the dialog's, when the seat was last told */
	uint64_t useful_bytes; /* … and how many octets of messages had come */
	uint64_t started_us, patience_ms;
	uint64_t reach_ms; /* when the attempts at the destination that was reached began */
	struct session_times times;
};

/* What a connection that may not be served is told. */
enum session_refusal { SESSION_SERVE, SESSION_TOO_MANY, SESSION_ADDRESS_TOO_MANY };

/*
 * Begins a session with CLIENT, whose descriptor it owns from here on. SEAT is its seat (not for a
 * refused one). False when the worker has no room for it: the connection was closed.
 */
bool session_start(struct context *ctx, const struct session_client *client,
		   enum session_refusal refusal, uint32_t seat);
/* Ends it with `421 4.3.2` (POLITE) or at once. */
void session_stop(struct session *s, bool polite);

/* It has come to its end; no octet of the client's matters any more. */
static inline bool session_is_leaving(const struct session *s)
{
	return s->state == SESSION_LEAVING || s->state == SESSION_LINGERING;
}

static inline bool session_has_seat(const struct session *s)
{
	return s->seat_is != SEAT_NONE;
}

/* Something has changed: session_turn() sees to it in this turn of the loop. */
static inline void session_changed(struct session *s)
{
	io_defer(s->ctx->io, &s->task);
}

/* A connection is on its way: it is not yet the session's. */
static inline bool session_is_connecting(const struct session *s)
{
	return s->reach && connect_is_under_way(&s->reach->connect);
}

#endif
