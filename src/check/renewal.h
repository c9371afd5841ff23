/* SPDX-License-Identifier: ISC */
/*
 * renewal: which certificates were renewed, and whether those that were found on disk may take the
 * place of those in use without anybody's word: never one that ends sooner for the same names and
 * kind of key, none that has ended, and none in use may be missing. One that is in use already is
 * not judged. Knows no file and no clock.
 */
#ifndef CHECK_RENEWAL_H
#define CHECK_RENEWAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define RENEWAL_WHY 1024

/* IN_USE and NEXT: the chains of a keyring (tls/keyring.h). NOW_S is since 1970. False: WHY says
 * what is wrong with NEXT. */
bool renewal_fits(struct span in_use, struct span next, int64_t now_s, char why[RENEWAL_WHY]);

#define RENEWAL_WORDS 512
/*
 * Which certificates of NOW differ from those of BEFORE, by their first names, for the `reload`
 * record: "mx.test (ECDSA P-256)" was renewed, and "(ECDSA P-256, another key)", "(…, new)",
 * "(…, gone)"; those beyond the room by their number. Empty: none.
 */
void renewal_words(struct span before, struct span now, char out[RENEWAL_WORDS]);

#endif
