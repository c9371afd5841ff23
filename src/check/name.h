/* SPDX-License-Identifier: ISC */
/*
 * name: what Caronte calls itself, in its greeting and in its EHLO to destinations (RFC
 * 5321 4.1.2): SERVER_NAME, or else the host's fully qualified name. May ask a resolver, and so
 * take its time: start and reload only, by the child that probes.
 */
#ifndef CHECK_NAME_H
#define CHECK_NAME_H

#include <stdbool.h>

#define NAME_MAX_OCTETS 255 /* RFC 5321 4.5.3.1.2 */

/* True for labels of letters, digits and hyphens, parted by dots. */
bool name_valid(const char *name);
/* The host's name into OUT: as it is where it has a dot, else the full name that the resolver has
 * for it, else as it is all the same; "localhost" where it is none that may be said. */
void name_find(char out[NAME_MAX_OCTETS + 1]);

#endif
