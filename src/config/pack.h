/* SPDX-License-Identifier: ISC */
/* pack: settings without pointers, for memory that another process maps. */
#ifndef CONFIG_PACK_H
#define CONFIG_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "config/settings.h"

/* Octets of SET's strings, each with its NUL. */
size_t config_strings(const struct settings *set);
/* Copies SET to OUT and its strings to STRINGS; pointers in OUT become places in STRINGS. */
void config_pack(struct settings *out, char *strings, const struct settings *set);
/* The way back: OUT's strings are those in STRINGS, N octets. False when PACKED is none. */
bool config_unpack(struct settings *out, const struct settings *packed, const char *strings,
		   size_t n) __attribute__((warn_unused_result));
/* The first setting from FROM on that differs; SETTING_COUNT: none. Of a choice it is the member
 * that B has. */
enum setting config_differs(const struct settings *a, const struct settings *b, enum setting from);
/* "NAME=VALUE", as -o takes it, into OUT. False when it does not fit, or S is a member of a choice
 * that is not set. */
bool config_text_of(const struct settings *set, enum setting s, char *out, size_t cap);

#endif
