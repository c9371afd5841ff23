/* SPDX-License-Identifier: ISC */
/*
 * base64: RFC 4648 4, as AUTH uses it (RFC 4954 4), strictly: whole groups of four, padding only at
 * the end, the bits under the padding zero (3.5), no white space.
 */
#include "smtp/base64.h"

/* The six bits of C, or -1. */
static int sextet(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool smtp_base64_valid(struct span s)
{
	size_t pad = 0;
	int last = 0;

	if (s.n == 1)
		return s.p[0] == '=' || s.p[0] == '*';
	if (s.n % 4 != 0)
		return false;
	while (pad < 2 && pad < s.n && s.p[s.n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < s.n - pad; i++) {
		last = sextet(s.p[i]);
		if (last < 0)
			return false;
	}
	return pad == 0 || (last & (pad == 1 ? 0x03 : 0x0f)) == 0;
}

size_t smtp_base64_decode(struct span s, uint8_t *out, size_t cap)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t len = 0;

	for (size_t i = 0; i < s.n && len < cap; i++) {
		int six = sextet(s.p[i]);

		if (six < 0)
			break;
		bits = (bits << 6 | (uint32_t)six) & 0xffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[len++] = (uint8_t)(bits >> have);
		}
	}
	return len;
}
