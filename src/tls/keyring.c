/* SPDX-License-Identifier: ISC */
/* keyring: see keyring.h. Each number is 32 bits, in the machine's order: an image never leaves it.
 */
#include "tls/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MARK_MAX 48

struct head {
	char mark[MARK_MAX];
	uint32_t count, size; /* octets behind the head */
};

static void make_mark(char mark[MARK_MAX])
{
	memset(mark, 0, MARK_MAX);
	snprintf(mark, MARK_MAX, "caronte keyring %s 1", CARONTE_VERSION);
}

/* ---- writing ---- */

/* Room for N octets more, in memory that was wiped before it was given back. */
static uint8_t *grow(uint8_t **p, size_t *n, size_t more)
{
	uint8_t *all = malloc(*n + more);

	if (!all)
		return NULL;
	if (*p) {
		memcpy(all, *p, *n);
		OPENSSL_clear_free(*p, *n);
	}
	*p = all;
	*n += more;
	return all + *n - more;
}

static int add_number(uint8_t **p, size_t *n, size_t number)
{
	uint32_t value = (uint32_t)number;
	uint8_t *at = grow(p, n, sizeof(value));

	if (!at)
		return -ENOMEM;
	memcpy(at, &value, sizeof(value));
	return 0;
}

static int add_octets(uint8_t **p, size_t *n, const uint8_t *octets, size_t len)
{
	int err = add_number(p, n, len);
	uint8_t *at = err ? NULL : grow(p, n, len);

	if (!at)
		return -ENOMEM;
	memcpy(at, octets, len);
	return 0;
}

static int add_certificate(struct keyring *k, const X509 *cert)
{
	unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);
	int err = n > 0 ? add_octets(&k->chains, &k->chains_n, der, (size_t)n) : -ENOMEM;

	OPENSSL_free(der);
	return err;
}

static int add_key(struct keyring *k, const EVP_PKEY *key)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	unsigned char *der = NULL;
	int n = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : 0;
	int err = n > 0 ? add_octets(&k->keys, &k->keys_n, der, (size_t)n) : -ENOMEM;

	OPENSSL_clear_free(der, n > 0 ? (size_t)n : 0);
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}

int keyring_add(struct keyring *k, unsigned group, const struct tls_pair *pair)
{
	int chain = sk_X509_num(pair->chain);
	int err = add_number(&k->chains, &k->chains_n, group);

	if (!err)
		err = add_number(&k->chains, &k->chains_n, (size_t)chain + 1);
	if (!err)
		err = add_certificate(k, pair->own);
	for (int i = 0; i < chain && !err; i++)
		err = add_certificate(k, sk_X509_value(pair->chain, i));
	if (!err)
		err = add_key(k, pair->key);
	if (!err)
		k->count++;
	return err;
}

static int write_all(int fd, const void *octets, size_t n)
{
	for (const uint8_t *at = octets; n > 0;) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			at += done;
			n -= (size_t)done;
		}
	}
	return 0;
}

static int fill(int fd, unsigned count, const uint8_t *octets, size_t n)
{
	struct head head = { .count = count, .size = (uint32_t)n };
	int err;

	make_mark(head.mark);
	err = write_all(fd, &head, sizeof(head));
	if (!err)
		err = write_all(fd, octets, n);
	if (!err &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
		err = -errno;
	return err;
}

static int write_image(const char *name, unsigned count, const uint8_t *octets, size_t n)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	err = fill(fd, count, octets, n);
	if (!err)
		return fd;
	close(fd);
	return err;
}

int keyring_write(const struct keyring *k, int *chains_fd, int *keys_fd)
{
	int chains = write_image("caronte-chains", k->count, k->chains, k->chains_n), keys;

	if (chains < 0)
		return chains;
	keys = write_image("caronte-keys", k->count, k->keys, k->keys_n);
	if (keys < 0) {
		close(chains);
		return keys;
	}
	*chains_fd = chains;
	*keys_fd = keys;
	return 0;
}

void keyring_free(struct keyring *k)
{
	free(k->chains);
	OPENSSL_clear_free(k->keys, k->keys_n);
	*k = (struct keyring){ 0 };
}

/* ---- reading ---- */

int keyring_map(struct keyring_image *image, int fd)
{
	struct head head;
	char mark[MARK_MAX];
	off_t size = lseek(fd, 0, SEEK_END);
	const struct head *mem;

	*image = (struct keyring_image){ 0 };
	make_mark(mark);
	if (pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    memcmp(head.mark, mark, sizeof(mark)) != 0 || size != (off_t)(sizeof(head) + head.size))
		return -EPROTO;
	mem = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	/* No core file has it, nor a child that has no use for it. */
	(void)madvise((void *)(uintptr_t)mem, (size_t)size, MADV_DONTDUMP);
	*image = (struct keyring_image){ mem, (size_t)size, sizeof(head), head.count, 0 };
	return 0;
}

void keyring_unmap(struct keyring_image *image)
{
	if (image->mem)
		munmap((void *)(uintptr_t)image->mem, image->size);
	*image = (struct keyring_image){ 0 };
}

static bool next_number(struct keyring_image *image, uint32_t *number)
{
	if (image->size - image->at < sizeof(*number))
		return false;
	memcpy(number, (const uint8_t *)image->mem + image->at, sizeof(*number));
	image->at += sizeof(*number);
	return true;
}

static bool next_octets(struct keyring_image *image, struct span *octets)
{
	uint32_t n;

	if (!next_number(image, &n) || n > image->size - image->at)
		return false;
	*octets = span_of((const uint8_t *)image->mem + image->at, n);
	image->at += n;
	return true;
}

static X509 *next_certificate(struct keyring_image *image)
{
	struct span der;
	const unsigned char *p;

	if (!next_octets(image, &der))
		return NULL;
	p = der.p;
	return d2i_X509(NULL, &p, (long)der.n);
}

static bool read_pair(struct keyring_image *image, unsigned *group, struct tls_pair *pair)
{
	uint32_t number, certs;

	if (!next_number(image, &number) || !next_number(image, &certs) || certs == 0 ||
	    certs > TLS_CHAIN_MAX)
		return false;
	*group = number;
	pair->own = next_certificate(image);
	for (uint32_t i = 1; i < certs && pair->own; i++) {
		X509 *cert = next_certificate(image);

		if (!cert || sk_X509_push(pair->chain, cert) <= 0) {
			X509_free(cert);
			return false;
		}
	}
	return pair->own;
}

bool keyring_next(struct keyring_image *image, unsigned *group, struct tls_pair *pair)
{
	if (image->next == image->count)
		return false;
	*pair = (struct tls_pair){ .chain = sk_X509_new_null() };
	if (pair->chain && read_pair(image, group, pair)) {
		image->next++;
		return true;
	}
	tls_pair_free(pair);
	return false;
}

bool keyring_next_key(struct keyring_image *image, struct span *der)
{
	if (image->next == image->count || !next_octets(image, der))
		return false;
	image->next++;
	return true;
}
