/* SPDX-License-Identifier: ISC */
/*
 * carontectl tlsa: the records for DANE (RFC 7672) of the certificates that a running daemon
 * serves, as they go into the zone: of each name, the digest of each key that a client may meet.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "ctl/ask.h"
#include "ctl/inner.h"

#define STATUS_NONE 1

static void usage(FILE *out, const char *name)
{
	fprintf(out,
		"usage: %s [OPTION]...\n" ASK_USAGE "  -h, --help               print this, end\n",
		name);
}

/* -1: go on; else the exit status. */
static int read_arguments(struct ask_where *where, int argc, char **argv)
{
	int status = ask_options(where, argc, argv, usage);

	if (status >= 0)
		return status;
	if (optind == argc)
		return -1;
	fprintf(stderr, "%s: %s: no such argument\n", argv[0], argv[optind]);
	usage(stderr, argv[0]);
	return EX_USAGE;
}

/* A wildcard stands for hosts that have names of their own, at which clients look. */
static void put_record(const char *name, const char *data)
{
	if (name[0] == '*')
		printf("; %s is for hosts of other names: _25._tcp.HOST. IN TLSA %s\n", name, data);
	else
		printf("_25._tcp.%s. IN TLSA %s\n", name, data);
}

/* A file may be called what it likes: a comment ends with its line. */
static void put_comment(const char *file, const char *key)
{
	fputs("; ", stdout);
	for (; *file; file++)
		putchar((unsigned char)*file < ' ' ? '?' : *file);
	printf(", %s\n", key);
}

static bool put_certificate(const json_t *c)
{
	const json_t *names = json_object_get(c, "names");
	const char *data = json_string_value(json_object_get(c, "tlsa"));
	const char *key = json_string_value(json_object_get(c, "key"));
	const char *file = json_string_value(json_object_get(c, "file"));
	size_t i;
	json_t *name;

	if (!data || !key || !file)
		return false;
	put_comment(file, key);
	json_array_foreach((json_t *)(uintptr_t)names, i, name)
	{
		if (!json_is_string(name))
			return false;
		put_record(json_string_value(name), data);
	}
	return true;
}

/* The exit status; -1: it is no document of a daemon's. */
static int put_all(const char *document)
{
	json_t *now = json_loads(document, 0, NULL);
	const json_t *all = json_object_get(now, "certificates");
	int status = json_is_array(all) ? EX_OK : -1;
	size_t i;
	json_t *c;

	json_array_foreach((json_t *)(uintptr_t)all, i, c) if (!put_certificate(c)) status = -1;
	if (status == EX_OK && json_array_size(all) == 0) {
		fputs("carontectl: the daemon has no certificate\n", stderr);
		status = STATUS_NONE;
	}
	json_decref(now);
	return status;
}

static int run(const struct ask_where *where)
{
	char *socket, *document;
	int status;

	socket = ask_socket(where, &status);
	if (!socket)
		return status;
	document = ask(socket, "status", &status);
	if (document)
		status = put_all(document);
	if (status < 0)
		status = ask_foreign(socket);
	free(document);
	free(socket);
	return status;
}

int ctl_tlsa(int argc, char **argv)
{
	struct ask_where where = { 0 };
	int status;

	if (!ctl_config_open(&where.config, argc))
		return EX_OSERR;
	status = read_arguments(&where, argc, argv);
	if (status < 0)
		status = run(&where);
	ctl_config_close(&where.config);
	return status;
}
