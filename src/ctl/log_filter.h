/* SPDX-License-Identifier: ISC */
/*
 * log_filter: which records are printed. Each kind of filter may be given often: a record passes
 * when it fits one of each kind that is given. One that lacks the attribute that is asked for does
 * not fit. Values are compared as they stand in the log (\xHH, \\).
 */
#ifndef CTL_LOG_FILTER_H
#define CTL_LOG_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/log_record.h"
#include "policy/policy.h"

#define LOG_FILTER_MAX 64 /* filters of a kind */

struct log_choice {
	const char *text[LOG_FILTER_MAX];
	size_t n;
};

struct log_filter {
	int64_t since_us, until_us; /* INT64_MIN, INT64_MAX: any time */
	int level;		    /* elements of this level and below; 0: all */
	struct log_choice client, endpoint, sender, recipient, session, verdict, reply, destination,
		element;
	char why[POLICY_NETWORK_WHY];	  /* what log_filter_client() finds wrong */
	struct policy_networks *networks; /* made of client by log_filter_ready(), owned */
};

void log_filter_init(struct log_filter *f);
void log_filter_free(struct log_filter *f);

/* Each takes one argument, which must live as long as the filter. NULL, or what is wrong. */
/* An IP address or a network; IP:PORT and [IPv6]:PORT, as the log has it, is that port alone. Cuts
 * TEXT. */
const char *log_filter_client(struct log_filter *f, char *text);
const char *log_filter_verdict(struct log_filter *f, const char *text);
/* Names with commas between; cuts TEXT in pieces. */
const char *log_filter_elements(struct log_filter *f, char *text);
const char *log_filter_level(struct log_filter *f, const char *text);
/* For the kinds that may be any text. */
const char *log_filter_add(struct log_choice *c, const char *text);

/* Once, when all are given. False: no memory. */
bool log_filter_ready(struct log_filter *f);
bool log_filter_match(const struct log_filter *f, const struct log_record *r);
/* Whether V, an address as the log has it, is one of the clients that are asked for. */
bool log_filter_fits_peer(const struct log_filter *f, struct span v);

/* The level from which an element is written, 0 for one that this program does not know. */
int log_element_level(struct span name);
/* The name of element number I, in the order of caronte-log(5); NULL behind the last. */
const char *log_element_name(size_t i);

#endif
