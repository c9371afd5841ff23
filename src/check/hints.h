/* SPDX-License-Identifier: ISC */
/*
 * hints: what an operator has probably meant, where a value is none of ours: habits of other mail
 * servers, mostly. A hint takes the place of words that would be right and would help nobody. Reads
 * text, and for a file that cannot be opened the names on the way to it; decides nothing.
 */
#ifndef CHECK_HINTS_H
#define CHECK_HINTS_H

#include <stdbool.h>
#include <stddef.h>

/* Of N octets that are no network of RELAY_NETWORKS: what is wrong, or NULL: no idea. */
const char *hints_network(const char *entry, size_t n);
/* Of an entry of LISTEN_ADDRESS that is no address, the same. */
const char *hints_listen(const char *entry);
/* The fault of PATH, N octets, which does not begin with /. */
const char *hints_path(const char *path, size_t n);
/* Why PATH cannot be opened by this process, where ERR is the errno of the try, into OUT. LIST: it
 * is one of several that the setting may name. */
void hints_file(const char *path, bool list, int err, char *out, size_t cap);
/* Whether this process cannot connect to the Unix socket PATH, now or later, and why, into OUT. One
 * that is not there is no fault: its server may come. */
bool hints_socket(const char *path, char *out, size_t cap);

/* "user NAME": who this process is, into OUT. */
void hints_user(char *out, size_t cap);
/* Puts the user behind WHY, where this process was not permitted something: root may wonder. */
void hints_denied(char *why, size_t cap);

#endif
