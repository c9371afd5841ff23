/* SPDX-License-Identifier: ISC */
/* message: see message.h. */
#include "sink/message.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* NAME below PARENT, made where missing. The descriptor or -errno. */
static int open_dir(int parent, const char *name)
{
	int fd;

	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sink_store_open(struct sink_store *st, const struct sink_options *opt)
{
	int top, cur;

	*st = (struct sink_store){ -1, -1, .fsync = opt->fsync, .digest = opt->digest };
	if (gethostname(st->host, sizeof(st->host) - 1) < 0 || strchr(st->host, '/'))
		strcpy(st->host, "localhost");
	if (!opt->maildir)
		return 0;
	top = open_dir(AT_FDCWD, opt->maildir);
	if (top < 0)
		return top;
	cur = open_dir(top, "cur");
	st->tmp = cur < 0 ? cur : open_dir(top, "tmp");
	st->fresh = st->tmp < 0 ? st->tmp : open_dir(top, "new");
	if (cur >= 0)
		close(cur);
	close(top);
	return st->fresh < 0 ? st->fresh : 0;
}

void sink_store_close(struct sink_store *st)
{
	if (st->tmp >= 0)
		close(st->tmp);
	if (st->fresh >= 0)
		close(st->fresh);
	st->tmp = st->fresh = -1;
}

static void fault(struct sink_message *m, int error)
{
	if (!m->error)
		m->error = error;
}

static void digest_begin(struct sink_message *m)
{
	if (!m->digest)
		m->digest = EVP_MD_CTX_new();
	if (!m->digest || EVP_DigestInit_ex(m->digest, EVP_sha256(), NULL) != 1)
		fault(m, -ENOMEM);
}

static void file_begin(struct sink_message *m, uint64_t connection, unsigned number)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(m->name, sizeof(m->name), "%lld.M%06ldP%dC%lluM%u.%s", (long long)now.tv_sec,
		 now.tv_nsec / 1000, (int)getpid(), (unsigned long long)connection, number,
		 m->store->host);
	m->fd = openat(m->store->tmp, m->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (m->fd < 0)
		fault(m, -errno);
}

void sink_message_begin(struct sink_message *m, struct sink_store *st, uint64_t connection,
			unsigned number)
{
	m->store = st;
	m->fd = -1;
	m->error = 0;
	m->octets = 0;
	m->piece_count = 0;
	if (st->tmp >= 0)
		file_begin(m, connection, number);
	if (st->digest)
		digest_begin(m);
}

void sink_message_add(struct sink_message *m, struct span piece)
{
	m->octets += piece.n;
	if (m->store->digest && !m->error && EVP_DigestUpdate(m->digest, piece.p, piece.n) != 1)
		fault(m, -EIO);
	if (m->fd < 0 || piece.n == 0)
		return;
	if (m->piece_count == SINK_PIECES)
		sink_message_flush(m);
	m->pieces[m->piece_count++] = (struct iovec){ (void *)piece.p, piece.n };
}

void sink_message_flush(struct sink_message *m)
{
	struct iovec *v = m->pieces;
	int left = m->piece_count;
	ssize_t n;

	m->piece_count = 0;
	while (left > 0 && !m->error) {
		n = writev(m->fd, v, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fault(m, -errno);
			return;
		}
		for (; left > 0 && (size_t)n >= v->iov_len; v++, left--)
			n -= (ssize_t)v->iov_len;
		if (left > 0) {
			v->iov_base = (uint8_t *)v->iov_base + n;
			v->iov_len -= (size_t)n;
		}
	}
}

/* From tmp/ into new/. */
static void deliver(struct sink_message *m)
{
	if (m->store->fsync && fsync(m->fd) < 0)
		fault(m, -errno);
	if (close(m->fd) < 0)
		fault(m, -errno);
	m->fd = -1;
	if (!m->error && renameat(m->store->tmp, m->name, m->store->fresh, m->name) < 0)
		fault(m, -errno);
	if (m->error) {
		unlinkat(m->store->tmp, m->name, 0);
		return;
	}
	if (m->store->fsync && fsync(m->store->fresh) < 0) {
		fault(m, -errno);
		unlinkat(m->store->fresh, m->name, 0);
	}
}

int sink_message_keep(struct sink_message *m)
{
	sink_message_flush(m);
	if (m->store->digest && !m->error && EVP_DigestFinal_ex(m->digest, m->sha256, NULL) != 1)
		fault(m, -EIO);
	if (m->fd >= 0)
		deliver(m);
	return m->error;
}

void sink_message_discard(struct sink_message *m)
{
	m->piece_count = 0;
	if (m->fd < 0)
		return;
	close(m->fd);
	m->fd = -1;
	unlinkat(m->store->tmp, m->name, 0);
}

void sink_message_end(struct sink_message *m)
{
	EVP_MD_CTX_free(m->digest);
	m->digest = NULL;
}
