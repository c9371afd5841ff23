/* SPDX-License-Identifier: ISC */
/*
 * set: the certificates that a process serves, and which of them a client gets. Certificates are
 * grouped: those of TLS_CERTIFICATE are the first group, those of TLS_CERTIFICATE_DIR for the same
 * names one each (grouping.h). A group has one certificate of each kind of key at most, and OpenSSL
 * chooses among them by what the client can verify; the group is chosen by the name that the client
 * asks for (server_name, RFC 6066 3). An unknown name, or none, gets the first group.
 *
 * All contexts come from one function and differ in their certificates alone: OpenSSL does not
 * switch the other settings with the context (openssl/openssl#1652).
 */
#ifndef TLS_SET_H
#define TLS_SET_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "tls/pair.h"
#include "tls/ticket.h"

/* How clients are met, whatever the certificate. */
struct tls_policy {
	int min_version;     /* TLS1_2_VERSION */
	int level;	     /* OpenSSL's security level */
	const char *ciphers; /* of TLS 1.2 and before */
	const char *groups;
	unsigned ticket_hours;		   /* 0: no tickets */
	const struct ticket_page *tickets; /* there as long as the set */
	bool client_asked;		   /* for a certificate: client.h */
	X509_STORE *client_authorities;	   /* then; NULL: none. The caller's */
	bool kernel;			   /* may have the records: kernel.h */
};

/* What is taken where a list is empty. */
#define TLS_CIPHERS_USUAL                                                                          \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define TLS_GROUPS_USUAL "X25519:P-256"

/* What any context of ours has, on either side: conn.h counts on it. */
void tls_context_usual(SSL_CTX *ctx, bool kernel);

struct tls_set;

/* Of a policy. */
enum tls_part { TLS_PART_VERSION, TLS_PART_CIPHERS, TLS_PART_GROUPS, TLS_PART_OTHER };

/* Makes a set for POLICY, without certificates. NULL: OpenSSL does not take that part of it, and
 * WHY says why not. */
struct tls_set *tls_set_make(const struct tls_policy *policy, enum tls_part *part,
			     char why[TLS_WHY_MAX]);
/* Adds PAIR to the group of that number, which are added in their order from 0 on; it stays the
 * caller's. False: see WHY. */
bool tls_set_add(struct tls_set *set, unsigned group, const struct tls_pair *pair,
		 char why[TLS_WHY_MAX]);
/* All were added: clients can be met from now on. */
bool tls_set_ready(struct tls_set *set) __attribute__((warn_unused_result));
/* What a new connection begins with. Its name chooses another one. */
SSL_CTX *tls_set_context(const struct tls_set *set);
void tls_set_free(struct tls_set *set);

#endif
