/* SPDX-License-Identifier: ISC */
/* image: what the tables of networks and of recipients have in common. */
#ifndef POLICY_IMAGE_H
#define POLICY_IMAGE_H

/* Of the images: one of another number is not understood. */
#define POLICY_LAYOUT 2

/* A fault in a table: LINE counts from 1. Called for each, in order; building goes on. */
struct policy_faults {
	void (*report)(struct policy_faults *f, unsigned line, const char *what);
};

#endif
