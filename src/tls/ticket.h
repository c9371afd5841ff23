/* SPDX-License-Identifier: ISC */
/*
 * ticket: the keys of session tickets (RFC 5077 4, RFC 8446 4.6.1), which all workers share: a
 * client may come back to another one. They lie in a page of shared memory that the master writes
 * and workers only read. There are two, the current and the previous one; a key is used for half of
 * TLS_TICKET_HOURS and taken for as long again, then it is gone. So what was said in a session
 * stays secret from anybody who gets hold of the page that long afterwards.
 */
#ifndef TLS_TICKET_H
#define TLS_TICKET_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#define TICKET_NAME 16
#define TICKET_KEYS 2

/* How the page is laid out: another one is not taken over. */
#define TICKET_LAYOUT 1

struct ticket_page;

#define TICKET_PAGE_SIZE 4096

/* Makes the page ready that was zero before. */
void ticket_begin(struct ticket_page *page);
/* It was made by a program with the same layout. */
bool ticket_fits(const struct ticket_page *page);
/* The master's: a new key where it is due, and none that is too old for HOURS any more. NOW_MS is
 * of a clock that never goes back, the same one each time. Returns when it is to be called next. */
uint64_t ticket_turn(struct ticket_page *page, unsigned hours, uint64_t now_ms);

/* What a process that uses the keys needs: encryption is looked for once, not for each ticket. */
struct ticket_user {
	const struct ticket_page *page;
	EVP_CIPHER *cipher;
};

bool ticket_open(struct ticket_user *u, const struct ticket_page *page)
	__attribute__((warn_unused_result));
void ticket_close(struct ticket_user *u);
/* Server sessions of CTX are kept in tickets, with the keys of U, which is there as long as CTX
 * (its application data); NULL: they are not kept. Nothing else resumes one. */
void ticket_use(SSL_CTX *ctx, const struct ticket_user *u);

#endif
