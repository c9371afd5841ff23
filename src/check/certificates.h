/* SPDX-License-Identifier: ISC */
/*
 * certificates: TLS_CERTIFICATE and TLS_KEY, from open files into what goes to all processes
 * (tls/keyring.h), and what else is asked of TLS with clients. Everything is read anew each time,
 * whole or not at all.
 */
#ifndef CHECK_CERTIFICATES_H
#define CHECK_CERTIFICATES_H

#include "check/tables.h"
#include "config/config.h"
#include "tls/keyring.h"
#include "tls/set.h"

#define CERTIFICATES_MAX 8 /* files in TLS_CERTIFICATE */

/* Adds the files of both settings to PLAN. 0 or -ENOMEM. */
int certificates_plan(struct tables_plan *plan, struct config *c)
	__attribute__((warn_unused_result));
/* Opens, as who we are, those that USER may not read. */
void certificates_open_rest(struct tables_plan *plan, struct config *c);
/* Reads all of them into K, and judges the other settings of TLS. 0 or -ENOMEM. */
int certificates_build(struct keyring *k, const struct tables_plan *plan, struct config *c)
	__attribute__((warn_unused_result));

/* How clients are met with SET; PAGE: the keys of session tickets. */
struct tls_policy certificates_policy(const struct settings *set, const struct ticket_page *page);

#endif
