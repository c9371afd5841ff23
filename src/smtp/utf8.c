/* SPDX-License-Identifier: ISC */
/* utf8: see utf8.h. */
#include "smtp/utf8.h"

int32_t smtp_utf8_next(struct span s, size_t *at)
{
	/* The smallest code point that needs that many octets behind the first: less is overlong.
	 */
	static const int32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	size_t more, i = *at;
	int32_t code;
	uint8_t lead;

	if (i >= s.n)
		return -1;
	lead = s.p[i++];
	if (lead < 0x80)
		more = 0, code = lead;
	else if (lead >= 0xc2 && lead < 0xe0)
		more = 1, code = lead & 0x1f;
	else if (lead >= 0xe0 && lead < 0xf0)
		more = 2, code = lead & 0x0f;
	else if (lead >= 0xf0 && lead < 0xf5)
		more = 3, code = lead & 0x07;
	else
		return -1;
	if (s.n - i < more)
		return -1;
	for (size_t k = 0; k < more; k++, i++) {
		if ((s.p[i] & 0xc0) != 0x80)
			return -1;
		code = code << 6 | (s.p[i] & 0x3f);
	}
	if (code < least[more] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
		return -1;
	*at = i;
	return code;
}
