/* SPDX-License-Identifier: ISC */
/*
 * check_destination_tls: the probe's connection by TLS, where the destination's entry says tls=: as
 * the daemon does it (upstream/secure.h), but for waiting.
 */
#ifndef CTL_CHECK_DESTINATION_TLS_H
#define CTL_CHECK_DESTINATION_TLS_H

#include <openssl/ssl.h>

#include "ctl/check_destination_smtp.h"
#include "route/route.h"

/* How a destination is spoken to by TLS. */
struct probe_tls {
	const struct route_secure *secure;
	struct tls_peer *peer;
	const char *name; /* ours, in EHLO */
	bool header;	  /* one of the PROXY protocol stands before all */
};

/* For D; CA_FILE is TLS_DESTINATION_CA_FILE. False: see WHY. */
bool probe_tls_make(struct probe_tls *t, const struct route_destination *d, const char *ca_file,
		    const char *name, char *why, size_t cap);
void probe_tls_free(struct probe_tls *t);

/* S is connected: TLS begins, or is found not to be there where it may be so. 0, or -EPROTO and
 * S->why. What the destination has greeted with is heard next. */
int probe_tls_begin(struct probe_smtp *s, const struct probe_tls *t)
	__attribute__((warn_unused_result));

/* As recv(2) and send(2), of the octets that TLS carries. */
ssize_t probe_tls_recv(struct probe_smtp *s, void *out, size_t n);
ssize_t probe_tls_send(struct probe_smtp *s, const void *octets, size_t n);

#endif
