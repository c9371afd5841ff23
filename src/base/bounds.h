/* SPDX-License-Identifier: ISC */
/*
 * bounds: how many destinations a configuration may have, and how long their names may be. Memory
 * that processes share is laid out by these numbers as much as the configuration is.
 */
#ifndef BASE_BOUNDS_H
#define BASE_BOUNDS_H

#define DESTINATIONS_MAX     64
#define DESTINATION_NAME_MAX 264 /* "HOST:PORT" with its NUL */

#endif
