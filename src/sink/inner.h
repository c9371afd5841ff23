/* SPDX-License-Identifier: ISC */
/*
 * inner: what the files of caronte-sink share: the context of a process, the counters, a session.
 *
 * caronte-sink is a destination for `make run`, tests and benchmarks: it takes all mail, keeps or
 * counts it, records what came, and misbehaves where its script says so. It refuses nothing for
 * policy's sake and is no server for real mail: it has no deadlines and no limits per client.
 *
 * A process has one engine and owns its sessions; a session owns its descriptor, its one operation
 * (it receives, sends or waits, never two at once) and its message. Counters lie in shared memory,
 * one set for each worker, written by that worker alone; the supervisor adds them up.
 */
#ifndef SINK_INNER_H
#define SINK_INNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/pool.h"
#include "io/io.h"
#include "sink/message.h"
#include "sink/options.h"
#include "sink/scan.h"
#include "sink/script.h"

struct sink_stats {
	uint64_t connections, turned_away, lost, commands, refusals;
	uint64_t messages, octets; /* kept or counted; octets of their contents */
	uint64_t refused_messages, broken_messages;
	uint64_t received; /* octets from the network */
	uint64_t logins, failed_logins;
	uint64_t first_us, last_us; /* first and last message, CLOCK_MONOTONIC; 0: none yet */
};

/* One kept message, for --digest. */
struct sink_digest {
	uint64_t connection, message, octets;
	uint8_t sha256[32];
	_Atomic bool ready;
};

#define SINK_DIGESTS_MAX (1u << 20)

struct sink_shared {
	_Atomic uint64_t connections; /* numbers given out */
	_Atomic uint64_t messages;
	_Atomic unsigned open, peak; /* sessions, all workers */
	_Atomic unsigned ready;	     /* workers that accept */
	_Atomic uint64_t digest_count;
	uint64_t began_us;
	struct sink_stats stats[SINK_WORKERS_MAX];
	struct sink_digest digests[SINK_DIGESTS_MAX];
};

struct sink {
	const struct sink_options *opt;
	struct sink_shared *shared;
	struct sink_stats *stats; /* this process's */
	struct io *io;
	struct sink_store *store;
	int raw_dir, transcript; /* -1: not wanted */

	struct pool pool;
	struct list sessions;
	int listener;
	struct io_op accept;
	struct addr peer; /* of what is being accepted */
	struct io_timer accept_again;

	bool full; /* the number of --messages has been reached */
	struct io_timer leave;
	uint64_t leave_by_ms;

	int signals;
	struct io_op signal_op;
};

enum sink_phase {
	SINK_CONNECTED,
	SINK_HEADER, /* of the PROXY protocol: it is to come */
	SINK_COMMAND,
	SINK_AUTHDATA,
	SINK_DATA,
	SINK_CHUNK,
	SINK_PHASES
};
enum sink_login { SINK_LOGIN_NONE, SINK_LOGIN_PLAIN, SINK_LOGIN_NAME, SINK_LOGIN_PASSWORD };

#define SINK_IN	 65536
#define SINK_OUT 4096

struct sink_session {
	struct sink *sink;
	struct list link;
	struct io_op op;
	struct io_timer timer;
	int fd, raw;
	uint64_t number;

	/* What it is about to do, in the order in which the session's loop looks at it. */
	bool flush; /* what stands in `out` leaves first */
	bool stall;
	uint32_t wait_ms;
	const struct sink_step *steps; /* what is being said */
	unsigned steps_left;
	size_t step_at;
	enum sink_ending ending;
	bool draining;
	bool watch_early; /* tell what has come before the answer at hand */
	uint32_t drained;
	const char *why; /* the connection ended */

	/* The dialog. */
	enum sink_phase phase;
	unsigned seen[SINK_EV_COUNT], commands;
	bool greeted, mail, logged_in, said_quit;
	uint32_t offered;
	unsigned recipients;
	bool seven; /* it takes the eighth bit off a message by DATA */
	bool binary, chunked, chunk_failed, chunk_last, chunk_void;
	uint64_t chunk_size, chunk_left;
	enum sink_login login; /* what the next line of AUTH will be */
	bool login_name_right;

	/* The body. */
	struct sink_message message;
	bool in_message;
	unsigned message_number;
	uint64_t body_octets; /* as they came, dots and end of data included */
	const struct sink_rule *body_rule, *body_last;
	struct sink_scan scan;

	struct sink_step own; /* a default reply as a step */
	char text[128];	      /* room for one that is not static */
	struct buf in, out;
	uint8_t out_mem[SINK_OUT];
	uint8_t in_mem[SINK_IN];
};

/* session.c: connections. */
int sink_listen_start(struct sink *k) __attribute__((warn_unused_result));
/* Takes away what is half there; the descriptors go with the process. */
void sink_sessions_abandon(struct sink *k);

/* dialog.c: commands. */
/* Sees to what stands in s->in; false when it needs more. */
bool sink_dialog_step(struct sink_session *s);
void sink_dialog_connect(struct sink_session *s);

/* body.c: DATA and BDAT. */
void sink_body_begin(struct sink_session *s);
/* A well-formed BDAT command: its octets follow. */
void sink_chunk_begin(struct sink_session *s, uint64_t octets, bool last);
bool sink_body_data_step(struct sink_session *s);
bool sink_body_chunk_step(struct sink_session *s);
/* Forgets the transaction; a message that is half there is thrown away, and noted. */
void sink_transaction_reset(struct sink_session *s);

/* answer.c: what is said at a moment. */
/* What shall be answered at a moment: a rule's words or the server's own. */
struct sink_choice {
	const struct sink_step *steps;
	unsigned count;
	uint32_t wait_ms;
	enum sink_ending drop;
	bool stall;
	uint8_t digit; /* the first octet of what will be said; 0: nothing */
};
/* LINE is what rules compare, TEXT the server's own answer, which must stay until it is said. */
struct sink_choice sink_choose(struct sink_session *s, enum sink_event event, struct span line,
			       struct span text);
/* Puts the choice into the session, whose loop says it. */
void sink_commit(struct sink_session *s, const struct sink_choice *c);
/* Both, for moments on which nothing else depends: the digit. */
uint8_t sink_answer(struct sink_session *s, enum sink_event event, struct span line,
		    struct span text);

/* limit.c: --messages. */
void sink_limit_init(struct sink *k);
/* One more message has been kept; with the last of --messages the process prepares to leave. */
void sink_limit_count(struct sink *k);

/* auth.c: AUTH PLAIN and LOGIN. The answer to the command, to a line that follows it, and what the
 * answer that was really given (a rule may have changed it) does. */
struct span sink_auth_begin(struct sink_session *s, struct span arg);
struct span sink_auth_go_on(struct sink_session *s, struct span line);
void sink_auth_done(struct sink_session *s, uint8_t digit);

/* record.c: what came and went, for tests to read. A record that cannot be written ends the program
 * (74): a test must not take it for silence. */
void sink_record_open(struct sink *k);
void sink_raw_open(struct sink_session *s);
void sink_raw_write(struct sink_session *s, struct span octets);
/* One line for LINE without its end. */
void sink_transcript(struct sink_session *s, char tag, struct span line);
/* One line for each line of TEXT. */
void sink_transcript_lines(struct sink_session *s, char tag, struct span text);
void sink_note(struct sink_session *s, char tag, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* report.c: whether there can be a report at PATH; false: said. */
bool sink_report_possible(const char *path);
/* WORKERS are child processes still running, up to a 0; NULL: there are none. False: said. */
bool sink_report_write(const struct sink_shared *sh, const char *path, const pid_t *workers);
/* One line on standard error. */
void sink_report_say(const struct sink_shared *sh);
uint64_t sink_clock_us(void);

#endif
