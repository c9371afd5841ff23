/* SPDX-License-Identifier: ISC */
/*
 * expiry: when the end of a certificate is told of, and in which words: when 21, 7 or 1 days are
 * left, and when it has ended. A step that is more than a third of its life is passed over, since
 * certificates for 45 days, or for six, are renewed later than others. It is no fault of a
 * configuration: most clients of a mail server do not look, and no certificate at all would be
 * worse.
 */
#ifndef CHECK_EXPIRY_H
#define CHECK_EXPIRY_H

#include <stddef.h>
#include <stdint.h>

#include "tls/keyring.h"

enum expiry { EXPIRY_FAR, EXPIRY_21_DAYS, EXPIRY_7_DAYS, EXPIRY_1_DAY, EXPIRY_OVER };

/* How near its end a certificate is at NOW_S, since 1970. */
enum expiry expiry_of(const struct keyring_about *about, int64_t now_s);
/* How many seconds are left when the one after NOW begins. NOW is not EXPIRY_OVER. */
int64_t expiry_next_s(const struct keyring_about *about, enum expiry now);

#define EXPIRY_WORDS 1024
/* What is told of ABOUT at NOW_S, since 1970: names, the file, when it ends and what to do. */
void expiry_words(const struct keyring_about *about, int64_t now_s, char out[EXPIRY_WORDS]);

#endif
