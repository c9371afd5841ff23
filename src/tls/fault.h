/* SPDX-License-Identifier: ISC */
/* fault: why a TLS connection failed, as records and people are told. */
#ifndef TLS_FAULT_H
#define TLS_FAULT_H

/* Why a handshake failed, or the connection behind it. */
enum tls_fault {
	TLS_FAULT_NONE,
	TLS_FAULT_TIMEOUT,     /* it was cancelled */
	TLS_FAULT_CLOSED,      /* the peer went away */
	TLS_FAULT_NOT_TLS,     /* what came is no ClientHello */
	TLS_FAULT_VERSION,     /* no version that both speak */
	TLS_FAULT_CIPHER,      /* no cipher or group that both have */
	TLS_FAULT_ALPN,	       /* no protocol that both speak */
	TLS_FAULT_CERTIFICATE, /* one side does not take the other one's */
	TLS_FAULT_PROTOCOL,    /* anything else, and what is against the protocol later */
	TLS_FAULT_RESOURCES,   /* ours were used up */
	TLS_FAULT_KEY_UPDATE,  /* too many handshake messages behind the handshake */
};

/* As records name it: "timeout", "closed", "not-tls", … */
const char *tls_fault_name(enum tls_fault fault);

/* An error of ours in OpenSSL's queue, in its ERR_LIB_USER: whoever has the private key (distant.h)
 * did not sign. */
#define TLS_REASON_NO_SIGNATURE 1

/* The one that OpenSSL's error code stands for. */
enum tls_fault tls_fault_of(unsigned long error);
/* What people are told of such a code; NULL: nothing. */
const char *tls_fault_reason(unsigned long error);

#endif
