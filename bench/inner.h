/* SPDX-License-Identifier: ISC */
/*
 * inner: what the files of caronte-load share: the options, the bodies, the figures, a connection.
 *
 * caronte-load is an SMTP client for measuring. It is one thread around one epoll descriptor; it
 * makes every body once, at start, and sends from that memory, so that it costs less than what it
 * measures. It believes nothing: a reply that was not expected is a failed message, counted by its
 * code, and the connection is closed. It is no mail client: it retries nothing and resolves no
 * names.
 *
 * struct load owns everything; a connection owns its descriptor and refers to the message that it
 * carries by number. Faults of the surroundings at start end the program (sysexits.h), later ones
 * are counted.
 */
#ifndef INNER_H
#define INNER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/span.h"

#define LOAD_SIZES_MAX	 64
#define LOAD_SOURCES_MAX 64
#define LOAD_SIZE_MIN	 128u
#define LOAD_SIZE_MAX	 (256u << 20)

/* One size of the distribution. */
struct load_size {
	uint32_t octets, weight;
};

enum load_tls {
	LOAD_CLEAR,
	LOAD_TLS_FIRST, /* from the first octet (RFC 8314) */
	LOAD_STARTTLS,	/* RFC 3207 */
};

/* Where connections that are held stop. */
enum load_half_open {
	LOAD_NOT_HALF,
	LOAD_BEFORE_HELLO,
	LOAD_BEHIND_HELLO,
};

struct load_options {
	struct addr to;
	struct addr from[LOAD_SOURCES_MAX]; /* addresses to come from, in turn */
	unsigned from_count;
	struct addr proxied[LOAD_SOURCES_MAX]; /* clients of whom PROXY headers tell, in turn */
	unsigned proxied_count;
	uint64_t messages;
	unsigned connections, per_connection;
	struct load_size sizes[LOAD_SIZES_MAX];
	unsigned size_count;
	bool bdat, pipelining, refused;
	uint32_t chunk; /* octets; 0: the whole message is one chunk */
	double rate;	/* messages a second; 0: closed loop */
	unsigned idle;	/* connections to hold; 0: send mail */
	enum load_tls tls;
	bool resume; /* the session of a connection before */
	enum load_half_open half_open;
	unsigned timeout_s;
	uint64_t seed;
	const char *helo, *sender, *recipient;
	const char *digests; /* file; NULL: none */
};

/* Reads the command line; ends the program where it is at fault. */
void load_options_read(struct load_options *o, int argc, char **argv);

/*
 * The bodies. A message is a first line that holds its number, LOAD_HEAD octets, and a rest that
 * all messages of the size share. CONTENT is the rest as it must arrive, WIRE as DATA carries it:
 * dots doubled, the end of data behind it.
 */
#define LOAD_HEAD 28u

struct load_body {
	uint32_t octets; /* of a whole message, as it must arrive */
	struct span content, wire;
};

struct load_bodies {
	struct load_body body[LOAD_SIZES_MAX];
	uint64_t weights;
	const struct load_options *opt;
};

void load_bodies_make(struct load_bodies *b, const struct load_options *o);
/* The body of message NUMBER: the same for the same seed. */
const struct load_body *load_body_of(const struct load_bodies *b, uint64_t number);
void load_head(char out[LOAD_HEAD + 1], uint64_t number);
/* SHA-256 of message NUMBER as it must arrive, in hexadecimal digits. 0 or -ENOMEM. */
int load_digest(const struct load_bodies *b, uint64_t number, char out[65])
	__attribute__((warn_unused_result));

/* A log-linear histogram of microseconds: exact below 128, then 64 steps for each doubling. */
#define LOAD_BUCKETS (64 * 40)

struct load_histogram {
	uint64_t count, max_us, sum_us;
	uint32_t bucket[LOAD_BUCKETS];
};

void load_histogram_add(struct load_histogram *h, uint64_t us);
/* The least upper bound of the given share of all values; 0 where there are none. */
uint64_t load_histogram_at(const struct load_histogram *h, double share);

/* What went wrong, beside replies that were not expected. */
enum load_trouble {
	LOAD_NO_CONNECTION,
	LOAD_LOST,	/* closed or reset by the other side */
	LOAD_TIMED_OUT, /* nothing came, or nothing could be sent, for so long */
	LOAD_MALFORMED, /* no reply of RFC 5321 */
	LOAD_NOT_OFFERED,
	LOAD_NO_TLS, /* the handshake failed */
	LOAD_NO_221, /* closed in place of an answer to QUIT: no message fails by it */
	LOAD_TROUBLES
};

struct load_figures {
	uint64_t done, refused, failed, octets;
	uint64_t connections; /* made */
	uint64_t handshakes, resumed;
	uint64_t replies[600];
	uint64_t troubles[LOAD_TROUBLES];
	uint64_t began_us, ended_us; /* CLOCK_MONOTONIC */
	double began_cpu_s, ended_cpu_s;
	unsigned idle; /* connections that were up at once */
	uint64_t late; /* messages that began late though a connection was free */
	struct load_histogram latency;
};

void load_report(FILE *f, const struct load_options *o, const struct load_figures *g);

/* A connection. */

/* What is to be sent next. */
enum load_step {
	LOAD_NOTHING,
	LOAD_EHLO,
	LOAD_SAY_STARTTLS,
	LOAD_MAIL,
	LOAD_RCPT,
	LOAD_DATA,
	LOAD_BODY,
	LOAD_CHUNK,
	LOAD_RSET,
	LOAD_QUIT,
};

/* What is being waited for. */
enum load_reply {
	LOAD_WANT_GREETING,
	LOAD_WANT_EHLO,
	LOAD_WANT_STARTTLS,
	LOAD_WANT_MAIL,
	LOAD_WANT_RCPT,
	LOAD_WANT_DATA,
	LOAD_WANT_END,
	LOAD_WANT_CHUNK,
	LOAD_WANT_RSET,
	LOAD_WANT_QUIT,
};

#define LOAD_WANTS  32
#define LOAD_PIECES 8
#define LOAD_TEXT   2048
#define LOAD_IN	    16384 /* more than smtp/reply.h takes for a reply */

struct load;

struct load_connection {
	struct load *load;
	struct list link; /* load.busy by last activity, load.waiting, or load.unused */
	int fd;		  /* -1: none */
	bool connecting;
	bool shaking;	    /* hands: nothing else is said or heard */
	SSL *ssl;	    /* NULL: in clear */
	bool pipelining;    /* wanted and offered */
	bool carries;	    /* a message */
	bool up;	    /* EHLO has been answered */
	bool dirty;	    /* a refused message's MAIL still stands */
	unsigned sent;	    /* messages begun in this connection */
	uint64_t active_us; /* last activity */

	enum load_step step;
	uint8_t wants[LOAD_WANTS]; /* replies outstanding, in order */
	unsigned want_count;

	uint64_t number, began_us; /* the message; when it began, or should have */
	const struct load_body *body;
	uint32_t chunked; /* octets of the message that stand in chunks already */

	struct iovec pieces[LOAD_PIECES]; /* what leaves next */
	unsigned piece_at, piece_count;
	char head[LOAD_HEAD + 1];
	char text[LOAD_TEXT]; /* commands among the pieces */
	size_t text_used;
	struct buf in;
	uint8_t in_mem[LOAD_IN];
};

struct load {
	const struct load_options *opt;
	struct load_bodies bodies;
	struct load_figures figures;
	uint8_t *acknowledged; /* a bit for each message, where digests are wanted */
	int epoll;
	SSL_CTX *tls;
	SSL_SESSION *session; /* the last that a server has offered, or NULL */
	uint64_t now_us;
	uint64_t next; /* messages given out */
	unsigned active, from_next, proxied_next, rising;
	bool stop; /* nothing new is begun */
	struct list busy, waiting, unused;
	struct load_connection *connections;
};

/* loop.c: connections and time. */
void load_run(struct load *l);
/* Another message for C, whose turn it is: true, and the message is C's. */
bool load_take(struct load_connection *c);
/* C has nothing to do until a message is due. */
void load_wait(struct load_connection *c);
/* C's EHLO has been answered, where connections are only held. */
void load_idle(struct load_connection *c);
uint64_t load_clock_us(void);

/* secure.c: TLS. Nobody's certificate is verified. */
void load_secure_make(struct load *l);
/* The connection shakes hands from now on. */
void load_secure_begin(struct load_connection *c);
enum load_shaken { LOAD_SHAKES, LOAD_SHAKEN, LOAD_SHAKE_FAILED };
enum load_shaken load_secure_shake(struct load_connection *c);
/* As sendmsg(2) of C's pieces and recv(2), with errno. */
ssize_t load_secure_send(struct load_connection *c);
ssize_t load_secure_receive(struct load_connection *c, void *room, size_t n);
/* Says close_notify where TIDY. */
void load_secure_end(struct load_connection *c, bool tidy);

/* dialog.c: what is said and answered. */
void load_dialog_begin(struct load_connection *c);
/* Gives C, which waited, the message that it has just taken. */
void load_dialog_message(struct load_connection *c);
void load_dialog_quit(struct load_connection *c);
/* Fills C's pieces with what may leave now. False: nothing may. */
bool load_dialog_say(struct load_connection *c);
enum load_verdict { LOAD_GO_ON, LOAD_CLOSE };
/* Sees to the replies that stand in C's buffer. */
enum load_verdict load_dialog_hear(struct load_connection *c);
/* The connection is over for a reason of its own: what it carried has failed. */
void load_dialog_fail(struct load_connection *c, enum load_trouble why);

#endif
