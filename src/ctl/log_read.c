/* SPDX-License-Identifier: ISC */
/* log_read: see log_read.h. */
#include "ctl/log_read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/diag.h"
#include "ctl/log_archive.h"

#define DAMAGES_SHOWN 3 /* of one file */

static void on_record(void *ctx, const struct log_record *r)
{
	struct log_read *k = ctx;

	k->record(k->ctx, r);
}

static void on_damage(void *ctx, uint64_t line, const char *what)
{
	log_read_damage(ctx, line, what);
}

bool log_read_open(struct log_read *k)
{
	k->newest.fd = -1;
	k->sink = (struct log_sink){ on_record, on_damage, k };
	return log_parse_open(&k->parse, &k->sink);
}

void log_read_close(struct log_read *k)
{
	log_parse_close(&k->parse);
}

void log_read_damage(struct log_read *k, uint64_t line, const char *what)
{
	k->faulty = true;
	if (++k->damages <= DAMAGES_SHOWN && !k->quiet)
		fprintf(stderr, "%s: %s:%" PRIu64 ": %s\n", k->title, k->path, line, what);
}

void log_read_end(struct log_read *k)
{
	if (k->damages > DAMAGES_SHOWN && !k->quiet)
		fprintf(stderr, "%s: %s: and %" PRIu64 " more places\n", k->title, k->path,
			k->damages - DAMAGES_SHOWN);
	k->damages = 0;
}

void log_read_complain(struct log_read *k, const char *path, int err)
{
	k->faulty = true;
	if (k->quiet)
		return;
	if (err == -EACCES && k->user && *k->user)
		fprintf(stderr, "%s: %s: %s (root and user %s may read it)\n", k->title, path,
			strerror(-err), k->user);
	else
		fprintf(stderr, "%s: %s: %s\n", k->title, path, strerror(-err));
}

void log_read_begin(struct log_read *k, const char *path)
{
	CHECK(log_parse_begin(&k->parse));
	k->path = path;
	k->damages = 0;
}

bool log_read_open_file(struct log_read *k, struct log_file *f, const char *path)
{
	int err = log_file_open(f, path);

	if (err)
		log_read_complain(k, path, err);
	return !err;
}

static void read_file(struct log_read *k, struct log_file *f, const char *path)
{
	const char *unpacker = log_file_unpacker(f);
	bool any;
	int err;

	log_read_begin(k, path);
	k->files++;
	if (unpacker) {
		k->faulty = true;
		if (!k->quiet)
			fprintf(stderr, "%s: %s: is compressed: %s %s | %s -\n", k->title, path,
				unpacker, path, k->title);
	} else {
		err = log_file_read(f, &k->parse, false, &any);
		if (err)
			log_read_complain(k, path, err);
		log_read_end(k);
	}
	log_file_close(f);
}

void log_read_rotated(struct log_read *k, const char *path, const struct log_file *next)
{
	struct log_file f;

	if (!log_read_open_file(k, &f, path))
		return;
	if (next->fd >= 0 && f.dev == next->dev && f.ino == next->ino)
		log_file_close(&f);
	else
		read_file(k, &f, path);
}

/* The newest one may be there too by now. */
static void read_directory(struct log_read *k, const char *path)
{
	struct log_archive a;
	int err = log_archive_open(&a, path, k->since_us);

	if (err)
		log_read_complain(k, path, err);
	if (a.compressed) {
		k->faulty = true;
		if (!k->quiet)
			fprintf(stderr,
				"%s: %s: %zu compressed logs are left out: zcat FILE... | %s -\n",
				k->title, path, a.compressed, k->title);
	}
	for (size_t i = 0; i < a.n; i++)
		log_read_rotated(k, a.path[i], &k->newest);
	log_archive_close(&a);
}

bool log_read_is_directory(const char *path)
{
	struct stat st;

	return strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void read_path(struct log_read *k, const char *path)
{
	struct log_file f;

	if (log_read_is_directory(path))
		read_directory(k, path);
	else if (log_read_open_file(k, &f, path))
		read_file(k, &f, path);
}

bool log_read_open_newest(struct log_read *k, const char *path)
{
	bool open = log_read_open_file(k, &k->newest, path);

	if (!open)
		k->newest.fd = -1;
	return open;
}

void log_read_newest(struct log_read *k, const char *path)
{
	read_file(k, &k->newest, path);
	k->newest.fd = -1;
}

void log_read_paths(struct log_read *k, char *const *paths, size_t n)
{
	for (size_t i = 0; i < n; i++)
		read_path(k, paths[i]);
}

void log_read_all(struct log_read *k, char *const *paths, size_t n)
{
	const char *last = paths[n - 1];
	bool directory = log_read_is_directory(last);
	bool open = !directory && log_read_open_newest(k, last);

	log_read_paths(k, paths, n - 1);
	if (open)
		log_read_newest(k, last);
	else if (directory)
		read_directory(k, last);
}
