/* SPDX-License-Identifier: ISC */
/*
 * siphash: SipHash-2-4 (Aumasson, Bernstein), for tables whose keys strangers choose: who does not
 * know the key cannot make keys that fall together. It only finds; whoever uses it compares the
 * keys themselves. No proof of anything against somebody who can read the memory.
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct siphash_key {
	uint64_t k[2];
};

static inline void siphash_rounds(uint64_t v[4], unsigned rounds)
{
	while (rounds--) {
		v[0] += v[1];
		v[1] = (v[1] << 13 | v[1] >> 51) ^ v[0];
		v[0] = v[0] << 32 | v[0] >> 32;
		v[2] += v[3];
		v[3] = (v[3] << 16 | v[3] >> 48) ^ v[2];
		v[0] += v[3];
		v[3] = (v[3] << 21 | v[3] >> 43) ^ v[0];
		v[2] += v[1];
		v[1] = (v[1] << 17 | v[1] >> 47) ^ v[2];
		v[2] = v[2] << 32 | v[2] >> 32;
	}
}

/* N octets, fewer than 8. */
static inline uint64_t siphash_tail(const uint8_t *p, size_t n)
{
	uint64_t w = 0;

	if (n) /* an empty span may have no address */
		memcpy(&w, p, n);
	return le64toh(w);
}

static inline uint64_t siphash_word(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return le64toh(w);
}

/* The hash of the N octets at DATA, the same on every machine. */
static inline uint64_t siphash(struct siphash_key key, const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t v[4] = { key.k[0] ^ 0x736f6d6570736575u, key.k[1] ^ 0x646f72616e646f6du,
			  key.k[0] ^ 0x6c7967656e657261u, key.k[1] ^ 0x7465646279746573u };
	size_t whole = n / 8;

	for (size_t i = 0; i < whole; i++, p += 8) {
		uint64_t w = siphash_word(p);

		v[3] ^= w;
		siphash_rounds(v, 2);
		v[0] ^= w;
	}
	uint64_t last = (uint64_t)n << 56 | siphash_tail(p, n % 8);

	v[3] ^= last;
	siphash_rounds(v, 2);
	v[0] ^= last;
	v[2] ^= 0xff;
	siphash_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
