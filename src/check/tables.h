/* SPDX-License-Identifier: ISC */
/*
 * tables: RELAY_NETWORKS, PROXY_FROM and RECIPIENTS, from open files into read-only images that all
 * processes have in common. Faults are added to the configuration, each with its file and line. The
 * memory is read-only from then on.
 */
#ifndef CHECK_TABLES_H
#define CHECK_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "policy/policy.h"

/* Settings whose entries are networks, or files of networks. */
enum tables_networks { TABLES_RELAY, TABLES_BALANCERS, TABLES_RENAMERS, TABLES_NETWORKS };

#define TABLES_FILES 64 /* files that one of them may name */
/* With one of RECIPIENTS, and TLS_DESTINATION_CA_FILE. */
#define TABLES_PLAN_MAX (TABLES_NETWORKS * TABLES_FILES + 2)

/* The setting, and the table that is made of it. */
enum setting tables_setting(enum tables_networks which);
const struct policy_networks **tables_of(struct policy *p, enum tables_networks which);

/* A file that a setting names, opened (as USER) by the probe. */
struct tables_file {
	enum setting setting;
	char *path; /* owned */
	int fd;	    /* -1: it could not be opened, and a fault says so */
};

/* Where the tables are: among the settings themselves, and in files. */
struct tables_plan {
	/* Networks given in the settings themselves, one a line; owned. */
	char *entries[TABLES_NETWORKS];
	unsigned count;
	struct tables_file file[TABLES_PLAN_MAX];
};

/* The octets of the images that tables_build() made; 0: none. */
struct tables_size {
	size_t networks[TABLES_NETWORKS], recipients;
};

/* The contents of a file. */
struct tables_text {
	char *data;
	size_t n;
};

/* Adds a file of setting S to the plan. 0 or -ENOMEM. */
int tables_add_file(struct tables_plan *plan, enum setting s, const char *path, size_t n)
	__attribute__((warn_unused_result));
/* Reads FD to its end, or to the size that it had; the caller frees T->data in any case. 0 or
 * -errno. */
int tables_read_whole(int fd, struct tables_text *t) __attribute__((warn_unused_result));
/* The same for an open file of the plan. False: a fault says why, and there is nothing to free. */
bool tables_read(const struct tables_file *f, struct tables_text *t, struct config *c);
/* Reads the settings; what is wrong with an entry is a fault. 0 or -ENOMEM. */
int tables_plan(struct tables_plan *plan, struct config *c) __attribute__((warn_unused_result));
/*
 * Opens a file, a regular one only. 0, or -errno with a line for
 * the operator in WHY (CAP octets).
 */
int tables_open(struct tables_file *f, char *why, size_t cap) __attribute__((warn_unused_result));
/*
 * Builds what the plan's files and entries hold and points P at it. What is wrong in a file is a
 * fault; P is then not to be used. 0 or -errno (no memory).
 */
int tables_build(struct policy *p, const struct tables_plan *plan, struct config *c)
	__attribute__((warn_unused_result));
/* The same, for one who will give them back or copy them. */
int tables_build_sized(struct policy *p, struct tables_size *size, const struct tables_plan *plan,
		       struct config *c) __attribute__((warn_unused_result));
/* The part of P that has no image. */
void tables_delimiters(struct policy *p, const struct settings *set);
/* Gives the images' memory back. */
void tables_release(struct policy *p, const struct tables_size *size);
void tables_free(struct tables_plan *plan);

#endif
