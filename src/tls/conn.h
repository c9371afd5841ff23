/* SPDX-License-Identifier: ISC */
/*
 * conn: a TLS connection: a layer between a stream and its socket (io/stream.h), on either side of
 * a handshake. It keeps the engine's completion contract for its callers, and needs one or more
 * operations of the engine's for each of theirs.
 *
 * What comes is read by OpenSSL itself, from the socket into its own buffer, and decrypted from
 * there into the caller's memory. What goes is encrypted into a buffer of ours, of some records,
 * and sent as one. So a stream that waits for its peer holds no buffer. OpenSSL never hears of the
 * end of the peer's stream: tls/conn sees it, and whether the peer said so before (close_notify).
 *
 * A handshake costs memory (50 KiB) and time, and the peer chooses when it begins. So:
 *   - nothing of OpenSSL's is made before a whole ClientHello is here (hello.h);
 *   - at most `most` handshakes of a process are under way, the next ones wait in their order. Our
 *     own, with servers, do not wait: they are as many as sessions, and clients that do not go on
 *     must not keep them from their place;
 *   - in one turn of the loop a few steps are made, and the others in the next.
 * How long one may take is its owner's to say: stream_cancel().
 *
 * Behind the handshake the kernel may take over (kernel.h): then all of this is its socket's work,
 * and OpenSSL's object is no more.
 *
 * Refuses to know what TLS is for: certificates, names and versions are those of the SSL_CTX.
 */
#ifndef TLS_CONN_H
#define TLS_CONN_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "io/stream.h"
#include "tls/fault.h"
#include "tls/tls.h"

/* The beginning of a ClientHello. One that has come as a whole is left in the socket, since many
 * may wait for their turn; so this is for those that come in pieces. */
struct tls_came {
	uint8_t *octets; /* NULL: none */
	uint16_t n, used;
};

/* Records on their way, or to go. */
#define TLS_OUT_RECORDS 8
#define TLS_OUT_RECORD	(16384 + 64)
struct tls_out {
	uint32_t n;
	uint8_t spare[2048 - 4]; /* they begin in the middle of a page: see session/transfer.h */
	uint8_t octets[TLS_OUT_RECORDS * TLS_OUT_RECORD];
};

/* How a handshake is made. */
struct tls_role {
	SSL_CTX *ctx;
	bool server; /* it begins with the peer's ClientHello */
	bool alpn;   /* a client that offers protocols must offer SMTP (server) */
	/* The last word about a fresh SSL object (names, a session). NULL: none. False: it fails.
	 */
	bool (*prepare)(SSL *ssl, const void *arg);
	const void *arg; /* stays until the handshake is over */
};

enum tls_state {
	TLS_HELLO,   /* a ClientHello is awaited */
	TLS_WAITING, /* for its turn */
	TLS_SHAKING,
	TLS_OPEN,
	TLS_FAILED, /* nothing can be read or written */
};

/* What the layer does for its owner. */
struct tls_reading {
	struct io_op *op; /* NULL: nothing */
	uint8_t how;	  /* conn.c */
	bool cancelled;
	bool rested; /* it has waited in vain: see wait_again() */
	void *buf;
	size_t len;
};
struct tls_writing {
	struct io_op *op;
	const uint8_t *octets;
	size_t left, len;
	unsigned how; /* enum io_send_how */
	int fault;    /* -errno that ends it; 0: none */
};

struct tls_conn {
	struct stream_layer layer;
	struct tls *tls;
	SSL *ssl; /* NULL: none yet, or none any more */
	struct tls_role role;
	int fd;
	enum tls_state state;
	enum tls_fault fault;
	unsigned long reason; /* OpenSSL's error code; 0: none */
	int error;	      /* -errno that the socket has ended with; 0: none */
	bool eof;	      /* the peer's stream has ended */
	bool tidy;	      /* … or the peer said that it will */
	bool counted;	      /* among those under way */
	bool kernel;	      /* has the records: kernel.h */
	uint16_t late;	      /* handshake messages of the peer behind the handshake */
	char *name;	      /* that the client has asked for, where the kernel has the records */
	const char *version, *cipher; /* once TLS_OPEN: "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
	/* Of the record that has begun to come: octets of its header, and of the rest to come. */
	uint8_t header[5], header_n;
	uint16_t record_left;
	/* For kernel.c: what it must know of the handshake, */
	struct tls_secrets *secrets; /* NULL: none */
	bool finished;		     /* our Finished of TLS 1.2 has gone, with this nonce */
	uint8_t nonce[8];
	uint8_t tickets; /* that we have sent in TLS 1.3 */
	/* … and of what comes beside octets: the beginning of an alert, or of a message and how
	 * much of it is to come. */
	bool is_1_3;
	uint8_t renewals, beside[4], beside_n, beside_type;
	uint32_t beside_left;
	struct io_op rx, tx;
	struct io_task read_task;  /* octets wait inside for a reader, or it was cancelled */
	struct io_timer pause;	   /* of a reader that waits in vain */
	struct io_task write_task; /* what was to be sent cannot be */
	struct list link;	   /* among those that wait, or are due */
	struct tls_reading reading;
	struct tls_writing writing;
	struct io_op *shaking;
	struct tls_came came;
	struct tls_out *out, *flying;
	void (*done)(struct tls_conn *c, int res); /* what is flying was sent, or was not */
	uint64_t sent;				   /* octets that the kernel was given */
	uint64_t said; /* … up to the caller's last one: what is behind it is TLS's own */
};

/* A connection over FD, a connected socket, on which nothing is in flight. NULL: there are too many
 * already. It is over when the layer is dropped (stream_close()), or by tls_end(). */
struct tls_conn *tls_begin(struct tls *t, int fd, const struct tls_role *role);
/* Ends one that was never put on a stream; nothing of it is in flight. */
void tls_end(struct tls_conn *c);
/* The connection that stands on ST, or NULL. */
struct tls_conn *tls_of(const struct stream *st);

/* Room for what tls_conn_why() says. */
#define TLS_FAULT_TEXT 160
/* Why it failed: the fault's name, and OpenSSL's reason, if there is one. Returns OUT. */
const char *tls_conn_why(const struct tls_conn *c, char out[TLS_FAULT_TEXT]);

#endif
