/* SPDX-License-Identifier: ISC */
/* The images of all certificates: what was written is read, keys stand in one of them alone, and
 * nothing but a whole image of this program's is taken. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "certs.h"
#include "tls/keyring.h"

#define PAIRS 3

static void make_pairs(struct tls_pair pair[PAIRS])
{
	static struct tls_pair root;

	if (!root.own)
		root = cert_make(&(struct cert_wish){ .common = "root", .ca = true });
	pair[0] = cert_make(&(struct cert_wish){ .names = "DNS:a.test", .issuer = &root });
	pair[1] = cert_make(&(struct cert_wish){ .names = "DNS:a.test", .rsa = true });
	pair[2] = cert_make(&(struct cert_wish){ .names = "DNS:b.test" });
	assert_true(X509_up_ref(root.own));
	assert_true(sk_X509_push(pair[0].chain, root.own) > 0);
}

static void free_pairs(struct tls_pair pair[PAIRS])
{
	for (unsigned i = 0; i < PAIRS; i++)
		tls_pair_free(&pair[i]);
}

static void write_images(struct tls_pair pair[PAIRS], int *chains, int *keys)
{
	static const unsigned groups[PAIRS] = { 0, 0, 7 };
	struct keyring k = { 0 };

	for (unsigned i = 0; i < PAIRS; i++)
		assert_int_equal(keyring_add(&k, groups[i], &pair[i]), 0);
	assert_int_equal(keyring_write(&k, chains, keys), 0);
	keyring_free(&k);
}

static void what_was_written_is_read(void **state)
{
	struct keyring_image image;
	struct tls_pair pair[PAIRS], got;
	unsigned group;
	struct span der;
	int chains, keys;

	(void)state;
	make_pairs(pair);
	write_images(pair, &chains, &keys);
	assert_int_equal(keyring_map(&image, chains), 0);
	for (unsigned i = 0; i < PAIRS; i++) {
		assert_true(keyring_next(&image, &group, &got));
		assert_int_equal(group, i < 2 ? 0 : 7);
		assert_int_equal(X509_cmp(got.own, pair[i].own), 0);
		assert_int_equal(sk_X509_num(got.chain), i == 0);
		assert_null(got.key);
		tls_pair_free(&got);
	}
	assert_false(keyring_next(&image, &group, &got));
	keyring_unmap(&image);
	assert_int_equal(keyring_map(&image, keys), 0);
	for (unsigned i = 0; i < PAIRS; i++) {
		assert_true(keyring_next_key(&image, &der));
		const unsigned char *p = der.p;
		EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)der.n);

		assert_non_null(key);
		assert_int_equal(EVP_PKEY_eq(key, pair[i].key), 1);
		EVP_PKEY_free(key);
	}
	assert_false(keyring_next_key(&image, &der));
	keyring_unmap(&image);
	close(chains);
	close(keys);
	free_pairs(pair);
}

/* The private number of a key stands nowhere in the image that workers map. */
static void keys_stand_in_one_image(void **state)
{
	struct keyring_image image;
	struct tls_pair pair[PAIRS];
	uint8_t secret[32];
	BIGNUM *number = NULL;
	int chains, keys;

	(void)state;
	make_pairs(pair);
	write_images(pair, &chains, &keys);
	assert_int_equal(EVP_PKEY_get_bn_param(pair[0].key, "priv", &number), 1);
	assert_int_equal(BN_bn2binpad(number, secret, sizeof(secret)), sizeof(secret));
	assert_int_equal(keyring_map(&image, keys), 0);
	assert_non_null(memmem(image.mem, image.size, secret, sizeof(secret)));
	keyring_unmap(&image);
	assert_int_equal(keyring_map(&image, chains), 0);
	assert_null(memmem(image.mem, image.size, secret, sizeof(secret)));
	keyring_unmap(&image);
	BN_clear_free(number);
	close(chains);
	close(keys);
	free_pairs(pair);
}

static void nobody_changes_one(void **state)
{
	struct tls_pair pair[PAIRS];
	int chains, keys;

	(void)state;
	make_pairs(pair);
	write_images(pair, &chains, &keys);
	assert_int_equal(pwrite(chains, "x", 1, 0), -1);
	assert_int_equal(pwrite(keys, "x", 1, 0), -1);
	assert_int_equal(ftruncate(keys, 0), -1);
	close(chains);
	close(keys);
	free_pairs(pair);
}

/* An image that was cut or changed: the head does not fit it, or its pairs end early. */
static void wrong_images(void **state)
{
	struct tls_pair pair[PAIRS], got;
	struct keyring_image image;
	static uint8_t octets[65536];
	unsigned group;
	int chains, keys, fd = memfd_create("image", MFD_CLOEXEC);
	ssize_t n;

	(void)state;
	make_pairs(pair);
	write_images(pair, &chains, &keys);
	n = pread(chains, octets, sizeof(octets), 0);
	assert_in_range(n, 100, sizeof(octets) - 1);
	for (ssize_t cut = 0; cut < n; cut += 13) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, octets, (size_t)cut, 0), cut);
		assert_int_equal(keyring_map(&image, fd), -EPROTO);
	}
	for (ssize_t at = 0; at < n; at++) {
		unsigned count = 0;

		octets[at] ^= 0xff;
		assert_int_equal(pwrite(fd, octets, (size_t)n, 0), n);
		octets[at] ^= 0xff;
		if (keyring_map(&image, fd) < 0)
			continue;
		while (keyring_next(&image, &group, &got) && count++ < 2 * PAIRS)
			tls_pair_free(&got);
		assert_true(count <= PAIRS);
		keyring_unmap(&image);
	}
	close(fd);
	close(chains);
	close(keys);
	free_pairs(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read),
		cmocka_unit_test(keys_stand_in_one_image),
		cmocka_unit_test(nobody_changes_one),
		cmocka_unit_test(wrong_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
