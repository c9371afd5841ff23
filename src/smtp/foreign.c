/* SPDX-License-Identifier: ISC */
/*
 * foreign: see foreign.h. HTTP methods are those of RFC 9110 9 and RFC 5789; the PROXY header is
 * HAProxy's doc/proxy-protocol.txt 2; a TLS record is RFC 8446 5.1: handshake, version 3.
 */
#include "smtp/foreign.h"

enum reason smtp_foreign_octets(struct span in, bool first, bool *more)
{
	static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
	size_t n = in.n < sizeof(signature) ? in.n : sizeof(signature);

	*more = false;
	if (in.n >= 2 && in.p[0] == 0x16 && in.p[1] == 0x03)
		return REASON_TLS_HELLO;
	if (!first || n == 0 || memcmp(in.p, signature, n) != 0)
		return REASON_NONE;
	*more = n < sizeof(signature);
	return *more ? REASON_NONE : REASON_PROXY_HEADER;
}

enum reason smtp_foreign_word(struct span line)
{
	static const char *const methods[] = { "GET",	  "POST",  "PUT",    "HEAD", "CONNECT",
					       "OPTIONS", "PATCH", "DELETE", "TRACE" };
	struct span word = line;

	for (word.n = 0; word.n < line.n && line.p[word.n] > ' '; word.n++)
		;
	if (span_eq_nocase(word, SPAN("PROXY")))
		return REASON_PROXY_HEADER;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (span_eq_nocase(word, span_str(methods[i])))
			return REASON_HTTP;
	return REASON_NONE;
}
