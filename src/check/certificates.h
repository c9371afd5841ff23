/* SPDX-License-Identifier: ISC */
/*
 * certificates: those of TLS_CERTIFICATE and TLS_CERTIFICATE_DIR, from files that were read
 * (pairs.h) into what goes to all processes (tls/keyring.h), and what else is asked of TLS with
 * clients. Everything is read anew each time, whole or not at all.
 */
#ifndef CHECK_CERTIFICATES_H
#define CHECK_CERTIFICATES_H

#include "check/pairs.h"
#include "config/config.h"
#include "tls/keyring.h"
#include "tls/set.h"

/* Puts all of them into K, and judges the other settings of TLS. TORN: how many of the faults are
 * pairs that do not match or are not whole. 0 or -ENOMEM. */
int certificates_build(struct keyring *k, const struct pairs *pairs, struct config *c,
		       unsigned *torn) __attribute__((warn_unused_result));

/* How clients are met with SET; PAGE: the keys of session tickets. */
struct tls_policy certificates_policy(const struct settings *set, const struct ticket_page *page);

#endif
