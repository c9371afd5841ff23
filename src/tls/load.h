/* SPDX-License-Identifier: ISC */
/* load: a set of certificates (set.h) from what was packed of them (keyring.h). */
#ifndef TLS_LOAD_H
#define TLS_LOAD_H

#include "base/span.h"
#include "tls/set.h"

/* NULL: see WHY. */
struct tls_set *tls_load(const struct tls_policy *policy, struct span chains, struct span keys,
			 char why[TLS_WHY_MAX]);

#endif
