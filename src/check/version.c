/* SPDX-License-Identifier: ISC */
/*
 * version: see version.h. The image begins with a mark that names the program's version and the
 * size of everything in it: an image is only ever read by the program that wrote it, and another
 * one is refused, not guessed at.
 */
#include "check/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "config/pack.h"
#include "shared/memory.h"

#define MARK_MAX 64
#define ALIGN	 64

struct part {
	uint64_t at, n; /* in octets from the image's begin */
};

struct version_image {
	char mark[MARK_MAX];
	uint64_t size;
	struct part strings, networks[TABLES_NETWORKS], recipients, chains,
		authorities[AUTHORITIES];
	uint64_t named_chains; /* octets of them, of TLS_CERTIFICATE */
	uint8_t keys_mark[TLS_DIGEST], named_keys_mark[TLS_DIGEST];
	struct settings set;
	struct listen_set listen;
	struct route route;
	struct probe probe;
	struct addr metrics;
	unsigned workers;
	bool fewer_sessions;
};

static void make_mark(char out[MARK_MAX])
{
	memset(out, 0, MARK_MAX);
	snprintf(out, MARK_MAX, "caronte version image %s %d %zu", CARONTE_VERSION, POLICY_LAYOUT,
		 sizeof(struct version_image));
}

int version_make_files(struct version_files *files)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	files->image = memfd_create("caronte-version", flags);
	files->keys = memfd_create("caronte-keys", flags);
	if (files->image >= 0 && files->keys >= 0)
		return 0;
	version_close_files(files);
	return -EMFILE;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void version_close_files(struct version_files *files)
{
	close_one(&files->image);
	close_one(&files->keys);
}

static struct part place(uint64_t *end, uint64_t n)
{
	struct part p = { (*end + ALIGN - 1) / ALIGN * ALIGN, n };

	*end = p.at + n;
	return p;
}

static void fill(struct version_image *i, const struct config *c, const struct check *k)
{
	struct policy policy = k->policy;
	char *base = (char *)i;

	make_mark(i->mark);
	config_pack(&i->set, base + i->strings.at, &c->set);
	i->listen = k->listen;
	i->route = k->route;
	i->probe = k->probe;
	i->probe.plan = NULL;
	i->probe.pairs = NULL;
	i->probe.route = NULL;
	i->metrics = k->metrics;
	i->workers = k->workers;
	i->fewer_sessions = k->sessions_wished != 0;
	i->named_chains = k->certificates.named;
	memcpy(i->keys_mark, k->certificates.mark, TLS_DIGEST);
	memcpy(i->named_keys_mark, k->certificates.named_mark, TLS_DIGEST);
	for (unsigned t = 0; t < TABLES_NETWORKS; t++)
		if (i->networks[t].n)
			memcpy(base + i->networks[t].at,
			       *tables_of(&policy, (enum tables_networks)t), i->networks[t].n);
	if (k->policy.recipients)
		memcpy(base + i->recipients.at, k->policy.recipients, i->recipients.n);
	for (unsigned a = 0; a < AUTHORITIES; a++)
		if (k->authorities[a].n)
			memcpy(base + i->authorities[a].at, k->authorities[a].data,
			       i->authorities[a].n);
	if (k->certificates.count)
		memcpy(base + i->chains.at, k->certificates.chains, i->chains.n);
}

static int seal(int fd)
{
	unsigned seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

	return fcntl(fd, F_ADD_SEALS, seals) == 0 ? 0 : -errno;
}

/* From file to file: they are not to be in this process. */
static int copy_keys(int to, int from)
{
	off_t at = 0;
	ssize_t n = 1;

	while (from > 0 && n > 0) {
		n = sendfile(to, from, &at, 1 << 20);
		if (n < 0 && errno == EINTR)
			n = 1;
	}
	return n < 0 ? -errno : seal(to);
}

static int write_image(int fd, const struct config *c, const struct check *k)
{
	struct version_image head = { 0 }, *i;
	uint64_t end = sizeof(head);

	head.strings = place(&end, config_strings(&c->set));
	for (unsigned t = 0; t < TABLES_NETWORKS; t++)
		head.networks[t] = place(&end, k->tables.networks[t]);
	head.recipients = place(&end, k->tables.recipients);
	head.chains = place(&end, k->certificates.chains_n);
	for (unsigned a = 0; a < AUTHORITIES; a++)
		head.authorities[a] = place(&end, k->authorities[a].n);
	head.size = end;
	/* With the room taken first, a lack of memory is an error and no SIGBUS. */
	if (fallocate(fd, 0, 0, (off_t)end) != 0)
		return -errno;
	i = mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (i == MAP_FAILED)
		return -errno;
	*i = head;
	fill(i, c, k);
	munmap(i, end);
	return seal(fd);
}

int version_write(const struct version_files *files, const struct config *c, const struct check *k)
{
	int err = write_image(files->image, c, k);

	return err ? err : copy_keys(files->keys, k->certificates.keys);
}

int version_renew(const struct version_files *files, const struct version *v,
		  const struct certificates *k, uint64_t looks)
{
	static struct check check;

	check = (struct check){
		.listen = *v->listen,
		.route = *v->route,
		.policy = v->policy,
		.tables.recipients = v->image->recipients.n,
		.certificates = *k,
		.metrics = v->metrics,
		.workers = v->workers,
		.sessions_wished = v->fewer_sessions,
		.probe = *v->probe,
	};
	check.probe.looks = looks;
	for (unsigned t = 0; t < TABLES_NETWORKS; t++)
		check.tables.networks[t] = v->image->networks[t].n;
	for (unsigned a = 0; a < AUTHORITIES; a++)
		check.authorities[a] = (struct tables_text){ (char *)(uintptr_t)v->authorities[a].p,
							     v->authorities[a].n };
	return version_write(files, &v->config, &check);
}

static bool inside(const struct version_image *i, struct part p)
{
	return p.at >= sizeof(*i) && p.at <= i->size && p.n <= i->size - p.at;
}

static bool is_image(const struct version_image *i, size_t size)
{
	char mark[MARK_MAX];

	make_mark(mark);
	return memcmp(i->mark, mark, MARK_MAX) == 0 && i->size <= size && inside(i, i->strings) &&
	       inside(i, i->networks[TABLES_RELAY]) && inside(i, i->networks[TABLES_BALANCERS]) &&
	       inside(i, i->networks[TABLES_RENAMERS]) && inside(i, i->recipients) &&
	       inside(i, i->chains) && inside(i, i->authorities[0]) &&
	       inside(i, i->authorities[1]) && i->named_chains <= i->chains.n;
}

int version_map(struct version *v, int fd)
{
	const struct version_image *i;
	const char *base;
	size_t size;

	*v = (struct version){ 0 };
	i = shared_attach(fd, sizeof(*i), false, &size);
	if (!i)
		return errno == ENOMEM ? -ENOMEM : -EPROTO;
	base = (const char *)i;
	v->image = i;
	v->size = size;
	if (!is_image(i, size) ||
	    !config_unpack(&v->config.set, &i->set, base + i->strings.at, i->strings.n)) {
		version_unmap(v);
		return -EPROTO;
	}
	v->policy = (struct policy){
		.guard = v->config.set.relay_guard,
		.recipients = i->recipients.n ? (const void *)(base + i->recipients.at) : NULL,
	};
	for (unsigned t = 0; t < TABLES_NETWORKS; t++)
		if (i->networks[t].n)
			*tables_of(&v->policy, (enum tables_networks)t) =
				(const void *)(base + i->networks[t].at);
	tables_delimiters(&v->policy, &v->config.set);
	v->chains = span_of(base + i->chains.at, i->chains.n);
	v->keys_mark = i->keys_mark;
	for (unsigned a = 0; a < AUTHORITIES; a++)
		v->authorities[a] = span_of(base + i->authorities[a].at, i->authorities[a].n);
	v->route = &i->route;
	v->listen = &i->listen;
	v->probe = &i->probe;
	v->metrics = i->metrics;
	v->workers = i->workers;
	v->fewer_sessions = i->fewer_sessions;
	return 0;
}

void version_unmap(struct version *v)
{
	if (v->image)
		shared_unmap((void *)(uintptr_t)v->image, v->size);
	*v = (struct version){ 0 };
}

static bool same_part(const struct version_image *a, struct part x, const struct version_image *b,
		      struct part y)
{
	return x.n == y.n && memcmp((const char *)a + x.at, (const char *)b + y.at, x.n) == 0;
}

static struct part begin_of(struct part p, uint64_t n)
{
	return (struct part){ p.at, n };
}

static struct part behind(struct part p, uint64_t n)
{
	return (struct part){ p.at + n, p.n - n };
}

static bool same_certificates(const struct version_image *a, const struct version_image *b,
			      enum setting s)
{
	if (s == SETTING_TLS_KEY)
		return memcmp(a->named_keys_mark, b->named_keys_mark, TLS_DIGEST) == 0;
	if (s == SETTING_TLS_CERTIFICATE)
		return same_part(a, begin_of(a->chains, a->named_chains), b,
				 begin_of(b->chains, b->named_chains));
	return same_part(a, behind(a->chains, a->named_chains), b,
			 behind(b->chains, b->named_chains));
}

static bool same_authorities(const struct version_image *a, const struct version_image *b,
			     enum authorities of)
{
	return same_part(a, a->authorities[of], b, b->authorities[of]);
}

static bool changed(const struct version *a, const struct version *b, enum setting s)
{
	if (config_differs(&a->config.set, &b->config.set, s) == s)
		return true;
	for (unsigned t = 0; t < TABLES_NETWORKS; t++)
		if (s == tables_setting((enum tables_networks)t))
			return !same_part(a->image, a->image->networks[t], b->image,
					  b->image->networks[t]);
	if (s == SETTING_RECIPIENTS)
		return !same_part(a->image, a->image->recipients, b->image, b->image->recipients);
	if (s == SETTING_TLS_CERTIFICATE || s == SETTING_TLS_KEY ||
	    s == SETTING_TLS_CERTIFICATE_DIR)
		return !same_certificates(a->image, b->image, s);
	if (s == SETTING_TLS_DESTINATION_CA_FILE)
		return !same_authorities(a->image, b->image, AUTHORITIES_DESTINATIONS);
	if (s == SETTING_TLS_CLIENT_CA_FILE)
		return !same_authorities(a->image, b->image, AUTHORITIES_CLIENTS);
	return false;
}

void version_changes(const struct version *before, const struct version *now, char *out, size_t cap)
{
	size_t used = 0;

	*out = '\0';
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		int n;

		if (!changed(before, now, s))
			continue;
		n = snprintf(out + used, cap - used, "%s%s", used ? " " : "", config_name(s));
		if (n < 0 || (size_t)n >= cap - used) {
			out[used] = '\0';
			return;
		}
		used += (size_t)n;
	}
}
