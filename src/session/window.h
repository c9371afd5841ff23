/* SPDX-License-Identifier: ISC */
/*
 * window: MIN_RATE. A window of a minute, in which the client's octets of a message are counted. It
 * begins with a body, stands while others than the client are waited for, and ends with a verdict,
 * when another begins.
 */
#ifndef SESSION_WINDOW_H
#define SESSION_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct session;

struct window {
	uint64_t began_us, bytes;
	uint64_t stood_us; /* since when the client is not to blame; 0: he is */
	uint64_t message;  /* in chunks: whose octets they are, its transaction */
};

void window_begin(struct session *s);
void window_stand(struct session *s);
void window_go(struct session *s);
/* Milliseconds until it is over. */
uint64_t window_left_ms(const struct session *s);
/* It is over, and there is a MIN_RATE. */
bool window_is_over(const struct session *s);
/* True where it is over and there were too few octets; where it is over, the next has begun. */
bool window_was_too_slow(struct session *s);

#endif
