/* SPDX-License-Identifier: ISC */
/*
 * mechanism: the names of SASL mechanisms (RFC 4422 3.1; IANA's registry, and what mail servers
 * have beside it). Where a client leaves the mechanism out, its credentials stand in that place and
 * look like a name: what is none of these goes into the log only when a destination has let
 * somebody in by it. They decide nothing else. See command.h.
 */
#include "smtp/command.h"

bool smtp_mechanism_known(struct span name)
{
	static const char *const known[] = {
		"PLAIN",	  "LOGIN",
		"CRAM-MD5",	  "DIGEST-MD5",
		"SCRAM-SHA-1",	  "SCRAM-SHA-1-PLUS",
		"SCRAM-SHA-256",  "SCRAM-SHA-256-PLUS",
		"SCRAM-SHA-512",  "SCRAM-SHA-512-PLUS",
		"SCRAM-SHA3-512", "SCRAM-SHA3-512-PLUS",
		"XOAUTH2",	  "XOAUTH",
		"OAUTHBEARER",	  "OAUTH10A",
		"GSSAPI",	  "GSS-SPNEGO",
		"GS2-KRB5",	  "GS2-KRB5-PLUS",
		"KERBEROS_V4",	  "KERBEROS_V5",
		"SPNEGO",	  "SPNEGO-PLUS",
		"NTLM",		  "EXTERNAL",
		"ANONYMOUS",	  "OTP",
		"SKEY",		  "SECURID",
		"OPENID20",	  "SAML20",
		"EAP-AES128",	  "EAP-AES128-PLUS",
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (span_eq_nocase(name, span_str(known[i])))
			return true;
	return false;
}
