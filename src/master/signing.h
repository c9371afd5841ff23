/* SPDX-License-Identifier: ISC */
/* signing: what the master has of the process with the private keys: see signing.c. */
#ifndef MASTER_SIGNING_H
#define MASTER_SIGNING_H

#include <stdint.h>

#include "master/process.h"
#include "tls/pair.h"

/* Of so many different keys at most sessions can have been begun with that still have to shake
 * hands: each renewal makes others. */
#define SIGNING_FILES 16

/* Keys that came with a version, and are those of the next ones too, up to the next file. */
struct signing_file {
	uint64_t number;
	int fd;
};

/* The two ends of what a worker and the process speak over. */
struct signing_pair {
	int worker, signer;
};

struct signing {
	struct process process;
	struct signing_pair *pair; /* one for each worker; NULL: keys are in the workers */
	struct signing_file file[SIGNING_FILES];
	unsigned files;		  /* 0: there are no keys, and no process */
	uint8_t mark[TLS_DIGEST]; /* of the newest */
};

#endif
