/* SPDX-License-Identifier: ISC */
/*
 * message: where one message goes. In a Maildir: written to tmp/, then (--fsync: synced and)
 * renamed into new/, octets exactly as they came after un-stuffing, line ends untouched, nothing
 * added. With --digest a SHA-256 is made on the way. Else octets are only counted.
 *
 * A message that is not kept leaves nothing behind. A fault of the file system is remembered and
 * comes out of sink_message_keep(), so that nobody is told 250 for it.
 */
#ifndef SINK_MESSAGE_H
#define SINK_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/span.h"
#include "sink/options.h"
#include "sink/scan.h"

struct sink_store {
	int tmp, fresh; /* the directories; -1: no Maildir */
	bool fsync;
	bool digest;
	char host[64];
};

#define SINK_PIECES 32

struct sink_message {
	struct sink_store *store;
	int fd;
	int error; /* the first fault, -errno */
	uint64_t octets;
	struct iovec pieces[SINK_PIECES];
	int piece_count;
	void *digest; /* EVP_MD_CTX, made for the first message of a connection */
	uint8_t sha256[32];
	char name[160];
};

/* Opens (makes, where missing) the Maildir. 0 or -errno. */
int sink_store_open(struct sink_store *st, const struct sink_options *opt)
	__attribute__((warn_unused_result));
void sink_store_close(struct sink_store *st);
/* Begins message NUMBER of CONNECTION. */
void sink_message_begin(struct sink_message *m, struct sink_store *st, uint64_t connection,
			unsigned number);
/* Adds octets, which must stay until sink_message_flush(). */
void sink_message_add(struct sink_message *m, struct span piece);
void sink_message_flush(struct sink_message *m);
/* It is in new/ when this returns 0; else -errno, and it is nowhere. */
int sink_message_keep(struct sink_message *m) __attribute__((warn_unused_result));
void sink_message_discard(struct sink_message *m);
/* Frees what a connection's messages shared. */
void sink_message_end(struct sink_message *m);

#endif
