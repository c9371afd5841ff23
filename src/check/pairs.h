/* SPDX-License-Identifier: ISC */
/*
 * pairs: the files of certificates and their private keys: those that TLS_CERTIFICATE and TLS_KEY
 * name, and behind them those in TLS_CERTIFICATE_DIR, in the order of their names there:
 *
 *   NAME.pem             a certificate, its chain and its key
 *   NAME.crt, NAME.key   as lego writes them; NAME.issuer.crt, which it writes too, is none
 *   NAME/fullchain.pem, NAME/privkey.pem   as certbot has them in live/
 *
 * A name without a slash in TLS_CERTIFICATE or TLS_KEY is a credential of the service manager's.
 *
 * Symbolic links are followed. A name that begins with a dot, and everything else, is passed over.
 *
 * The probe opens them as USER, and what USER may not read, whoever has started opens. Each is read
 * as soon as it is open, so that a thousand of them need no descriptors; what was read is wiped.
 */
#ifndef CHECK_PAIRS_H
#define CHECK_PAIRS_H

#include <stdbool.h>
#include <stddef.h>

#include "check/tables.h"
#include "config/config.h"

#define PAIRS_OF_SETTING 8    /* files in TLS_CERTIFICATE */
#define PAIRS_OF_DIR	 1000 /* certificates in TLS_CERTIFICATE_DIR */
/* Octets of a file: a chain has 3 to 10 KB. */
#define PAIR_FILE_MAX (256 << 10)
/* Of the path of one in the directory, with its NUL. */
#define PAIR_PATH_MAX 1024

struct pair_file {
	struct tables_file file; /* setting: the one that names it, or its directory */
	bool is_key;		 /* of the certificate before it */
	bool taken;		 /* it was read, or a fault says why not */
	bool shared;		 /* others than its owner and its group may read it */
	struct tables_text text; /* data NULL: it was not read */
};

struct pairs {
	unsigned count;
	struct pair_file *file;
	bool dir_denied; /* USER may not see what is in TLS_CERTIFICATE_DIR */
};

/* The files of TLS_CERTIFICATE and TLS_KEY; what is wrong with the settings is a fault. */
void pairs_plan(struct pairs *p, struct config *c);
/* The directory is one that can be looked into; else there is none, or a fault says why not. */
bool pairs_has_dir(const struct config *c);
/*
 * Adds the files of DIR. 0, or -errno with a line for the operator in WHY (CAP octets), and then
 * none was added: -EACCES where this process may not look into it, or into a directory in it.
 */
int pairs_list(struct pairs *p, const char *dir, char *why, size_t cap)
	__attribute__((warn_unused_result));
/* Adds one. */
void pairs_add(struct pairs *p, enum setting s, const char *path, size_t n, bool is_key);
/* Reads what was opened as FD and closes it; what is wrong is a fault. */
void pairs_take(struct pair_file *f, int fd, struct config *c);
/* Opens, as who we are, those that USER may not read. Returns the path of one of them, NULL: there
 * is none. */
const char *pairs_open_rest(struct pairs *p, struct config *c);
void pairs_free(struct pairs *p);

#endif
