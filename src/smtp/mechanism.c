/* SPDX-License-Identifier: ISC */
/*
 * mechanism: see mechanism.h. The names are those of IANA's registry, and what mail servers have
 * beside it. Where a client leaves the mechanism out, its credentials stand in that place and look
 * like a name: what is none of these goes into the log only when a destination has let somebody in
 * by it (smtp_mechanism_known()).
 */
#include "smtp/mechanism.h"

#include "smtp/command.h"

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

#define KNOWN (sizeof(known) / sizeof(known[0]))

_Static_assert(KNOWN <= 64, "a bit for each");

/* Its place among those that are known, or KNOWN. */
static size_t place(struct span name)
{
	size_t i = 0;

	while (i < KNOWN && !span_eq_nocase(name, span_str(known[i])))
		i++;
	return i;
}

bool smtp_mechanism_known(struct span name)
{
	return place(name) < KNOWN;
}

bool smtp_mechanism_forbidden(struct span name)
{
	static const struct span plus = SPAN("-PLUS");

	return span_eq_nocase(name, SPAN("ANONYMOUS")) || span_eq_nocase(name, SPAN("EXTERNAL")) ||
	       (name.n > plus.n && span_eq_nocase(span_from(name, name.n - plus.n), plus));
}

bool smtp_mechanism_name(struct span name, char out[SMTP_MECHANISM_MAX])
{
	if (name.n < 1 || name.n > SMTP_MECHANISM_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];

		if (c >= 'a' && c <= 'z')
			c = (uint8_t)(c - 32);
		if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
			return false;
		out[i] = (char)c;
	}
	return true;
}

/* FNV-1a of the name in upper case, never 0. */
static uint32_t hash_of(const char *name, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)name[i]) * 16777619u;
	return h ? h : 1;
}

bool smtp_mechanisms_add(struct smtp_mechanisms *m, struct span name)
{
	char upper[SMTP_MECHANISM_MAX];
	size_t at = place(name), i = 0;
	uint32_t hash;

	if (!smtp_mechanism_name(name, upper) || smtp_mechanism_forbidden(name))
		return false;
	if (at < KNOWN) {
		m->known |= UINT64_C(1) << at;
		return true;
	}
	hash = hash_of(upper, name.n);
	while (i < SMTP_MECHANISMS_NEW && m->other[i] && m->other[i] != hash)
		i++;
	if (i == SMTP_MECHANISMS_NEW)
		return false;
	m->other[i] = hash;
	return true;
}

bool smtp_mechanisms_have(const struct smtp_mechanisms *m, struct span name)
{
	char upper[SMTP_MECHANISM_MAX];
	size_t at = place(name);
	uint32_t hash;

	if (at < KNOWN)
		return m->known & UINT64_C(1) << at;
	if (!smtp_mechanism_name(name, upper))
		return false;
	hash = hash_of(upper, name.n);
	for (size_t i = 0; i < SMTP_MECHANISMS_NEW; i++)
		if (m->other[i] == hash)
			return true;
	return false;
}

bool smtp_mechanisms_empty(const struct smtp_mechanisms *m)
{
	return m->known == 0 && m->other[0] == 0;
}
