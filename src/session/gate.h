/* SPDX-License-Identifier: ISC */
/* gate: a line that waits for the destination's silence. */
#ifndef SESSION_GATE_H
#define SESSION_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct session;

enum gate_state {
	GATE_OPEN,
	GATE_SHUT,  /* the body's next line waits; what is before it is still being sent */
	GATE_LOOKS, /* … and was sent: the destination is listened for */
};

struct gate {
	enum gate_state state;
	uint16_t look_ms;  /* GATE_LOOKS: until the next look */
	uint64_t since_ms; /* … and since when */
};

/* There is no line that waits. */
void gate_reset(struct session *s);
/* The next line waits at the gate from now on. */
void gate_shut(struct session *s);
/* True while it does. */
bool gate_waits(struct session *s);
/* The time until the next look is over. */
void gate_timed_out(struct session *s);

#endif
