/* SPDX-License-Identifier: ISC */
/* control_path: where CONTROL_SOCKET is to be, and whether it can be there. */
#ifndef CHECK_CONTROL_PATH_H
#define CHECK_CONTROL_PATH_H

#include <stddef.h>

/* Tried as USER: NULL, or what is wrong with PATH, in OUT of CAP octets. Changes nothing. */
const char *control_path_check(const char *path, char *out, size_t cap);

#endif
