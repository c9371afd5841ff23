/* SPDX-License-Identifier: ISC */
/* fault: see fault.h. */
#include "tls/fault.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <stdbool.h>

const char *tls_fault_name(enum tls_fault fault)
{
	static const char *const names[] = {
		[TLS_FAULT_NONE] = "none",
		[TLS_FAULT_TIMEOUT] = "timeout",
		[TLS_FAULT_CLOSED] = "closed",
		[TLS_FAULT_NOT_TLS] = "not-tls",
		[TLS_FAULT_VERSION] = "version",
		[TLS_FAULT_CIPHER] = "cipher",
		[TLS_FAULT_ALPN] = "alpn",
		[TLS_FAULT_CERTIFICATE] = "certificate",
		[TLS_FAULT_PROTOCOL] = "protocol",
		[TLS_FAULT_RESOURCES] = "resources",
		[TLS_FAULT_KEY_UPDATE] = "key-update",
	};

	return names[fault];
}

static bool is_ours(unsigned long error)
{
	return ERR_GET_LIB(error) == ERR_LIB_USER;
}

const char *tls_fault_reason(unsigned long error)
{
	if (is_ours(error))
		return "the process with the private keys does not sign";
	return error ? ERR_reason_error_string(error) : NULL;
}

enum tls_fault tls_fault_of(unsigned long error)
{
	if (is_ours(error))
		return TLS_FAULT_RESOURCES;
	switch (ERR_GET_REASON(error)) {
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_WRONG_SSL_VERSION:
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return TLS_FAULT_VERSION;
	case SSL_R_NO_SHARED_CIPHER:
	case SSL_R_NO_SHARED_GROUPS:
	case SSL_R_NO_SUITABLE_KEY_SHARE:
	case SSL_R_NO_SUITABLE_GROUPS:
	case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
	case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
		return TLS_FAULT_CIPHER;
	case SSL_R_NO_APPLICATION_PROTOCOL:
	case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
		return TLS_FAULT_ALPN;
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
		return TLS_FAULT_CERTIFICATE;
	default:
		return TLS_FAULT_PROTOCOL;
	}
}
