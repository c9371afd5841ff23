/* SPDX-License-Identifier: ISC */
/* certificates: see certificates.h. */
#include "check/certificates.h"

#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/diag.h"
#include "shared/memory.h"
#include "tls/distant.h"
#include "tls/grouping.h"

/* The reader process fills this in. Certificates, keys and faults come back in files. */
struct answer {
	int err; /* -errno; 0: whole */
	unsigned count, torn;
	size_t chains_n, named;
	uint8_t mark[TLS_DIGEST], named_mark[TLS_DIGEST];
};

/* A pair, and where it comes from. */
struct source {
	const struct pair_file *chain, *key;
};

/* The reader's work so far: the certificates that it has read, and where it writes faults. */
struct building {
	const struct settings *settings;
	struct keyring keyring;
	struct grouping grouping;
	struct tls_set *set; /* tries them; NULL: it has no chance */
	FILE *faults;	     /* a setting's number, the text and a NUL for each */
	struct answer *answer;
};

__attribute__((format(printf, 3, 4))) static void fault(struct building *b, enum setting s,
							const char *fmt, ...)
{
	va_list args;

	fprintf(b->faults, "%d ", (int)s);
	va_start(args, fmt);
	vfprintf(b->faults, fmt, args);
	va_end(args);
	putc('\0', b->faults);
}

/* ---- each pair ---- */

static bool is_private(struct building *b, const struct pair_file *f)
{
	if (!f->shared)
		return true;
	fault(b, f->file.setting,
	      "%s: has a private key, and others than its owner and its group may read it: "
	      "chmod o= %s",
	      f->file.path, f->file.path);
	return false;
}

static bool may_be_apart(struct building *b, const struct pair_file *f, const EVP_PKEY *key)
{
	if (!b->settings->tls_key_process || distant_takes(key))
		return true;
	fault(b, f->file.setting,
	      "%s: a key of this kind cannot be in a process of its own: make one of ECDSA or RSA, "
	      "or set TLS_KEY_PROCESS=n",
	      f->file.path);
	return false;
}

static struct span text_of(const struct pair_file *f)
{
	return span_of(f->text.data, f->text.n);
}

/* WHY a pair is none. Of a key, which file it is in. */
static void pair_fault(struct building *b, const struct source *from, const char *why)
{
	const struct tables_file *at = &from->chain->file;

	if (!strstr(why, "private key"))
		fault(b, at->setting, "%s: %s", at->path, why);
	else if (from->key != from->chain)
		fault(b, at->setting, "%s: %s; the key is in %s", at->path, why,
		      from->key->file.path);
	else
		fault(b, at->setting, "%s: %s%s", at->path, why,
		      at->setting == SETTING_TLS_CERTIFICATE
			      ? "; TLS_KEY names the files of keys that stand apart"
			      : "");
}

/* The pair in the contents of both files; what is wrong is a fault. */
static bool read_pair(struct building *b, const struct source *from, struct tls_pair *pair)
{
	char why[TLS_WHY_MAX];

	if (!from->chain->text.data || !from->key->text.data)
		return false; /* a fault says why */
	if (!tls_pair_read(pair, text_of(from->chain), text_of(from->key), why)) {
		b->answer->torn++;
		pair_fault(b, from, why);
		return false;
	}
	if (is_private(b, from->key) && may_be_apart(b, from->key, pair->key))
		return true;
	tls_pair_free(pair);
	return false;
}

/* OpenSSL tries all settings of TLS together; what it refuses is a fault. */
static struct tls_set *try_policy(struct building *b)
{
	const struct tls_policy policy = certificates_policy(b->settings, NULL);
	static const enum setting settings[] = {
		[TLS_PART_VERSION] = SETTING_TLS_SECURITY_LEVEL,
		[TLS_PART_CIPHERS] = SETTING_TLS_CIPHERS,
		[TLS_PART_GROUPS] = SETTING_TLS_GROUPS,
		[TLS_PART_OTHER] = SETTING_TLS_CERTIFICATE,
	};
	char why[TLS_WHY_MAX];
	enum tls_part part = TLS_PART_OTHER;
	struct tls_set *set = tls_set_make(&policy, &part, why);

	if (!set)
		fault(b, settings[part], "%s", why);
	return set;
}

/* 0; 1: it is not to be added; or -ENOMEM. */
static int find_group(struct building *b, const struct tables_file *at, const struct tls_pair *pair,
		      unsigned *group)
{
	const char *other = NULL;
	int err;

	*group = 0;
	if (at->setting == SETTING_TLS_CERTIFICATE)
		return grouping_first(&b->grouping, pair, at->path);
	err = grouping_find(&b->grouping, pair, at->path, group, &other);
	if (err == -ENOTUNIQ)
		fault(b, at->setting,
		      "%s: is for the same names, with the same kind of key, as %s; take one of "
		      "them away",
		      at->path, other);
	return err == -ENOTUNIQ || err == -EEXIST ? 1 : err;
}

static bool put_mark(const struct keyring *k, uint8_t mark[TLS_DIGEST])
{
	return EVP_Digest(k->keys, k->keys_n, mark, NULL, EVP_sha256(), NULL) == 1;
}

static int add(struct building *b, const struct source *from)
{
	const struct tables_file *at = &from->chain->file;
	struct tls_pair pair;
	char why[TLS_WHY_MAX];
	unsigned group;
	int err;

	if (!read_pair(b, from, &pair))
		return 0;
	err = find_group(b, at, &pair, &group);
	if (!err && b->set && !tls_set_add(b->set, group, &pair, why))
		fault(b, at->setting, "%s: %s", at->path, why);
	else if (!err)
		err = keyring_add(&b->keyring, group, at->path, &pair);
	if (at->setting == SETTING_TLS_CERTIFICATE) {
		b->answer->named = b->keyring.chains_n;
		if (!err && !put_mark(&b->keyring, b->answer->named_mark))
			err = -ENOMEM;
	}
	tls_pair_free(&pair);
	return err < 0 ? err : 0;
}

static int add_all(struct building *b, const struct pairs *pairs)
{
	int err = 0;

	b->set = try_policy(b);
	for (unsigned i = 0; !err && i < pairs->count; i++) {
		const struct pair_file *f = &pairs->file[i];
		bool apart = i + 1 < pairs->count && f[1].is_key;

		if (!f->is_key)
			err = add(b, &(struct source){ f, apart ? f + 1 : f });
	}
	if (!err && b->keyring.count && !put_mark(&b->keyring, b->answer->mark))
		err = -ENOMEM;
	return err;
}

/* ---- the process that reads them ---- */

/* The files that it writes, empty at first. */
enum { CHAINS, KEYS, FAULTS, FILES };

static int write_all(int fd, const uint8_t *octets, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, octets, n);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			octets += done;
			n -= (size_t)done;
		}
	}
	return 0;
}

static _Noreturn void reader(const struct pairs *pairs, const struct settings *set,
			     const int file[FILES], struct answer *answer)
{
	struct building b = { .settings = set, .answer = answer };
	int err;

	prctl(PR_SET_NAME, "caronte-check");
	b.faults = fdopen(file[FAULTS], "w");
	err = b.faults ? add_all(&b, pairs) : -ENOMEM;
	answer->count = b.keyring.count;
	answer->chains_n = b.keyring.chains_n;
	if (!err)
		err = write_all(file[CHAINS], b.keyring.chains, b.keyring.chains_n);
	if (!err)
		err = write_all(file[KEYS], b.keyring.keys, b.keyring.keys_n);
	if (!err && fflush(b.faults) != 0)
		err = -ENOMEM;
	answer->err = err;
	_exit(0);
}

/* Runs it; 0, or -errno and a fault. */
static int run(const struct pairs *pairs, struct config *c, const int file[FILES],
	       struct answer *answer)
{
	pid_t parent = getpid(), pid;
	int status;

	answer->err = -EPROTO; /* until it has come to its end */
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		reader(pairs, &c->set, file, answer);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (answer->err == -EPROTO)
		config_fault(c, SETTING_TLS_CERTIFICATE,
			     "the process that reads the certificates has ended early (%s %d)",
			     WIFSIGNALED(status) ? "signal" : "status",
			     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return answer->err == -EPROTO ? 0 : answer->err;
}

/* ---- and who asked it ---- */

/* All that the reader process has written to FD. 0 or -errno. */
static int read_back(int fd, struct tables_text *t)
{
	*t = (struct tables_text){ 0 };
	return lseek(fd, 0, SEEK_SET) == 0 ? tables_read_whole(fd, t) : -errno;
}

static int take_faults(int fd, struct config *c)
{
	struct tables_text all;
	int err = read_back(fd, &all);

	for (char *at = all.data; !err && at < all.data + all.n; at += strlen(at) + 1) {
		char *text;
		long s = strtol(at, &text, 10);

		CHECK(all.data[all.n - 1] == '\0' && s >= 0 && s < SETTING_COUNT && *text == ' ');
		config_fault(c, (enum setting)s, "%s", text + 1);
	}
	free(all.data);
	return err;
}

static int take(struct certificates *found, const struct answer *a, int chains)
{
	struct tables_text all;
	int err = read_back(chains, &all);

	found->count = a->count;
	found->named = a->named;
	memcpy(found->mark, a->mark, TLS_DIGEST);
	memcpy(found->named_mark, a->named_mark, TLS_DIGEST);
	found->chains = (uint8_t *)all.data;
	found->chains_n = all.n;
	return err || all.n == a->chains_n ? err : -EIO;
}

static int build(struct certificates *found, const struct pairs *pairs, struct config *c,
		 const int file[FILES], struct answer *answer)
{
	int err = run(pairs, c, file, answer);

	if (err || answer->err) /* what an early end has left is not whole */
		return err;
	err = take_faults(file[FAULTS], c);
	return err ? err : take(found, answer, file[CHAINS]);
}

int certificates_build(struct certificates *found, const struct pairs *pairs, struct config *c,
		       unsigned *torn)
{
	static const char *const names[FILES] = { "caronte-chains", "caronte-keys",
						  "caronte-faults" };
	struct answer *answer;
	int file[FILES], err = 0;

	*found = (struct certificates){ .keys = -1 };
	*torn = 0;
	if (pairs->count == 0)
		return 0;
	answer = shared_map(sizeof(*answer));
	if (!answer)
		return -ENOMEM;
	for (unsigned i = 0; i < FILES; i++) {
		file[i] = memfd_create(names[i], MFD_CLOEXEC);
		if (file[i] < 0)
			err = -errno;
	}
	if (!err)
		err = build(found, pairs, c, file, answer);
	*torn = answer->torn;
	found->keys = file[KEYS];
	file[KEYS] = -1;
	for (unsigned i = 0; i < FILES; i++)
		if (file[i] >= 0)
			close(file[i]);
	shared_unmap(answer, sizeof(*answer));
	if (err)
		certificates_free(found);
	return err;
}

void certificates_free(struct certificates *found)
{
	free(found->chains);
	if (found->keys > 0) /* 0: nothing has been built yet */
		close(found->keys);
	*found = (struct certificates){ .keys = -1 };
}

static int min_version(const struct settings *set)
{
	switch (set->tls_min_version) {
	case TLS_MIN_VERSION_1_0:
		return TLS1_VERSION;
	case TLS_MIN_VERSION_1_1:
		return TLS1_1_VERSION;
	case TLS_MIN_VERSION_1_3:
		return TLS1_3_VERSION;
	case TLS_MIN_VERSION_1_2:
		break;
	}
	return TLS1_2_VERSION;
}

struct tls_policy certificates_policy(const struct settings *set, const struct ticket_page *page)
{
	return (struct tls_policy){
		.min_version = min_version(set),
		.level = set->tls_security_level,
		.ciphers = set->tls_ciphers,
		.groups = set->tls_groups,
		.ticket_hours = page ? (unsigned)set->tls_ticket_hours : 0,
		.tickets = page,
		.client_asked = set->tls_client_certificates == TLS_CLIENT_CERTIFICATES_ASK,
	};
}
