/* SPDX-License-Identifier: ISC */
/* offload: see offload.h. */
#include "tls/offload.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/tls1.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union crypto_info {
	struct tls_crypto_info head;
	struct tls12_crypto_info_aes_gcm_128 small;
	struct tls12_crypto_info_aes_gcm_256 large;
};

/* ---- what the kernel is told ---- */

/* DIRECTION: TLS_TX or TLS_RX. VERSION: TLS1_2_VERSION or TLS1_3_VERSION, whose numbers the kernel
 * has too. */
static int give(int fd, int direction, int version, size_t key_n, const struct offload_keys *k)
{
	union crypto_info info = { .head.version = (uint16_t)version };
	socklen_t n;
	int res;

	if (key_n == TLS_CIPHER_AES_GCM_128_KEY_SIZE) {
		info.head.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(info.small.key, k->key, sizeof(info.small.key));
		memcpy(info.small.salt, k->nonce, OFFLOAD_SALT);
		memcpy(info.small.iv, k->nonce + OFFLOAD_SALT, sizeof(info.small.iv));
		memcpy(info.small.rec_seq, k->sequence, OFFLOAD_SEQUENCE);
		n = sizeof(info.small);
	} else {
		info.head.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(info.large.key, k->key, sizeof(info.large.key));
		memcpy(info.large.salt, k->nonce, OFFLOAD_SALT);
		memcpy(info.large.iv, k->nonce + OFFLOAD_SALT, sizeof(info.large.iv));
		memcpy(info.large.rec_seq, k->sequence, OFFLOAD_SEQUENCE);
		n = sizeof(info.large);
	}
	res = setsockopt(fd, SOL_TLS, direction, &info, n) < 0 ? -errno : 0;
	OPENSSL_cleanse(&info, sizeof(info));
	return res;
}

static int stand_on(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0 ? -errno : 0;
}

int offload_give(int fd, const struct offload *o)
{
	int res = stand_on(fd);

	if (res == 0)
		res = give(fd, TLS_TX, o->version, o->key_n, &o->ours);
	if (res < 0)
		return res == -EPROTO ? -EIO : res;
	return give(fd, TLS_RX, o->version, o->key_n, &o->theirs) < 0 ? -EPROTO : 0;
}

/* ---- whether it works ---- */

/* A connection of loopback: its two ends. */
static bool connect_pair(int fd[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof(at);

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd[1] = -1;
	if (listener >= 0 && bind(listener, (struct sockaddr *)&at, n) == 0 &&
	    listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&at, &n) == 0 &&
	    connect(fd[0], (struct sockaddr *)&at, n) == 0)
		fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (listener >= 0)
		close(listener);
	return fd[1] >= 0;
}

/* Sends a word from the first end and reads it at the second. */
static int exchange(const int fd[2])
{
	char word[4] = "";

	if (send(fd[0], "word", 4, MSG_NOSIGNAL) != 4)
		return -errno;
	if (recv(fd[1], word, 4, MSG_WAITALL) != 4)
		return -errno;
	return memcmp(word, "word", 4) == 0 ? 0 : -EBADMSG;
}

static int try_kind(const int fd[2], int version, size_t key_n)
{
	const struct offload_keys k = { { 0 }, { 0 }, { 0 } };
	int res = stand_on(fd[1]);

	for (int i = 0; i < 2 && res == 0; i++) {
		res = give(fd[i], TLS_TX, version, key_n, &k);
		if (res == 0)
			res = give(fd[i], TLS_RX, version, key_n, &k);
	}
	return res < 0 ? res : exchange(fd);
}

static bool works(int version, size_t key_n, char why[TLS_WHY_MAX])
{
	int fd[2];
	int ulp = connect_pair(fd) ? stand_on(fd[0]) : -errno;
	int res = ulp == 0 ? try_kind(fd, version, key_n) : ulp;

	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	if (ulp == -ENOENT)
		snprintf(why, TLS_WHY_MAX,
			 "the kernel has no TLS, or its module is not loaded "
			 "(modprobe tls)");
	else if (res < 0)
		snprintf(why, TLS_WHY_MAX, "TLS %s with AES-%zu-GCM: %s",
			 version == TLS1_3_VERSION ? "1.3" : "1.2", 8 * key_n, strerror(-res));
	return res == 0;
}

bool offload_works(char why[TLS_WHY_MAX])
{
	return works(TLS1_2_VERSION, 16, why) && works(TLS1_2_VERSION, 32, why) &&
	       works(TLS1_3_VERSION, 16, why) && works(TLS1_3_VERSION, 32, why);
}
