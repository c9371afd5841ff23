/* SPDX-License-Identifier: ISC */
/*
 * signing: the process with the private keys (tls/signer.h) as a child of the master, which itself
 * holds the files of keys and maps none. It keeps both ends of each pair of sockets, so that the
 * process can be started again: what a worker has asked meanwhile waits in its socket, and what was
 * being answered is asked for again. A worker that has died is followed by one with another pair.
 *
 * Other keys need another process. It has those of earlier versions too, as long as a worker uses
 * one. It ends with the last worker: after an upgrade the one from before goes on for the workers
 * from before, which the next program knows nothing of.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>

#include "master/inner.h"
#include "shared/memory.h"
#include "tls/signer.h"

static void close_pair(struct signing_pair *p)
{
	master_close_fd(&p->worker);
	master_close_fd(&p->signer);
}

bool signing_apart(const struct master *m)
{
	return m->version->config.set.tls_key_process;
}

bool signing_any(const struct master *m)
{
	return m->signing.files > 0 && m->state < CLOSING;
}

/* ---- the process ---- */

/* The descriptors that the process keeps; all others are closed in it. */
struct needs {
	int *fds; /* its ends of the pairs, one for each worker */
	struct signing_file file[SIGNING_FILES];
	unsigned files;
};

static bool take_needs(struct master *m, struct needs *n)
{
	n->fds = calloc(m->rt.workers, sizeof(*n->fds));
	if (!n->fds)
		return false;
	for (unsigned i = 0; i < m->rt.workers; i++) {
		n->fds[i] = m->signing.pair[i].signer;
		m->signing.pair[i].signer = -1;
	}
	memcpy(n->file, m->signing.file, sizeof(n->file));
	n->files = m->signing.files;
	m->signing.files = 0;
	return true;
}

static struct signer *make_signer(const struct needs *n)
{
	struct span packed[SIGNING_FILES];

	for (unsigned i = 0; i < n->files; i++) {
		size_t size;
		const uint8_t *octets = shared_attach(n->file[i].fd, 1, false, &size);

		if (!octets)
			return NULL;
		packed[i] = span_of(octets, size);
		close(n->file[i].fd);
	}
	return signer_make(packed, n->files);
}

static _Noreturn void signer_child(struct master *m)
{
	struct signer *signer;
	struct needs needs;

	if (!take_needs(m, &needs))
		_exit(EX_OSERR);
	children_close(m);
	close(m->ready[1]);
	master_close_fd(&m->life[0]);
	signer = make_signer(&needs);
	if (!signer || signer_serve(signer, needs.fds, m->rt.workers) != 0)
		_exit(EX_OSERR);
	_exit(0);
}

/* The process outlives a master that was killed, and ends with the last worker: sessions may still
 * have to shake hands. */
static void begin(struct master *m)
{
	pid_t pid = process_fork("caronte-keys", 0);

	if (pid == 0)
		signer_child(m);
	if (pid < 0)
		master_fault(m, "fork", "key process: %s", strerror(-pid));
	process_started(&m->signing.process, pid, master_now_ms());
}

void signing_run(struct master *m, uint64_t now_ms)
{
	if (signing_any(m) && !m->signing.process.pid && now_ms >= m->signing.process.due_ms)
		begin(m);
}

void signing_ended(struct master *m, int status)
{
	char text[PROCESS_STATUS_TEXT];

	process_status(status, text);
	process_ended(&m->signing.process, master_now_ms());
	if (signing_any(m))
		master_fault(m, "key-process-died", "%s", text);
}

/* Kills the process and waits for its end. Workers ask again for what it leaves unanswered. */
static void end(struct master *m)
{
	kill(m->signing.process.pid, SIGKILL);
	while (waitpid(m->signing.process.pid, NULL, 0) < 0 && errno == EINTR)
		;
	m->signing.process = (struct process){ 0 };
}

/* ---- its keys ---- */

static void forget(struct signing *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(s->file[i].fd);
	s->files -= n;
	memmove(s->file, s->file + n, s->files * sizeof(*s->file));
}

/* Closes the files that no version from OLDEST on uses. If the list is full, its first file goes in
 * any case. */
static void forget_unused(struct signing *s, uint64_t oldest)
{
	unsigned n = s->files == SIGNING_FILES;

	while (n + 1 < s->files && s->file[n + 1].number <= oldest)
		n++;
	forget(s, n);
}

/* 1: these are others than before; 0 or -errno. */
static int add(struct master *m, uint64_t oldest)
{
	struct signing *s = &m->signing;
	int fd;

	if (!s->pair || m->version->chains.n == 0 ||
	    (s->files && memcmp(s->mark, m->version->keys_mark, TLS_DIGEST) == 0))
		return 0;
	fd = fcntl(m->files.keys, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	forget_unused(s, oldest);
	s->file[s->files++] = (struct signing_file){ m->rt.number, fd };
	memcpy(s->mark, m->version->keys_mark, TLS_DIGEST);
	return 1;
}

void signing_take(struct master *m, uint64_t oldest)
{
	int added = add(m, oldest);

	if (added < 0)
		master_fault(m, "certificate", "the private keys: %s", strerror(-added));
	if (added <= 0)
		return;
	if (m->signing.process.pid)
		end(m);
	begin(m);
}

/* ---- beginning and end ---- */

/* 0 or -errno. */
static int open_pair(struct signing_pair *p)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0)
		return -errno;
	*p = (struct signing_pair){ fd[0], fd[1] };
	return 0;
}

void signing_worker_died(struct master *m, unsigned i)
{
	struct signing_pair pair;

	if (!m->signing.pair || open_pair(&pair) != 0)
		return; /* without descriptors the next one has that of before */
	close_pair(&m->signing.pair[i]);
	m->signing.pair[i] = pair;
	if (m->signing.process.pid) {
		end(m);
		begin(m);
	}
}

int signing_begin(struct master *m)
{
	struct signing *s = &m->signing;
	int added;

	if (!signing_apart(m))
		return 0;
	s->pair = calloc(m->rt.workers, sizeof(*s->pair));
	if (!s->pair)
		return -ENOMEM;
	for (unsigned i = 0; i < m->rt.workers; i++) {
		int err = open_pair(&s->pair[i]);

		if (err)
			return err;
	}
	added = add(m, m->rt.number);
	return added < 0 ? added : 0;
}

void signing_close(struct master *m)
{
	for (unsigned i = 0; m->signing.pair && i < m->rt.workers; i++)
		close_pair(&m->signing.pair[i]);
	forget(&m->signing, m->signing.files);
}
