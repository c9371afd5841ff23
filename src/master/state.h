/* SPDX-License-Identifier: ISC */
/*
 * state: what a running daemon hands to the program that takes its place (upgrade.c): descriptors,
 * which the exec leaves open, the children, and what must not be forgotten. Text, a line for each
 * item, in a memfd. A program reads the state of its own STATE_LAYOUT only; of the memory behind
 * the descriptors the rings' layout belongs to it, seats and figures carry their own.
 */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "check/check.h"
#include "check/pidfile.h"
#include "check/version.h"
#include "route/note.h"
#include "runtime/runtime.h"
#include "shared/slots.h"

/* To be changed with what a line means, with the layout of rings and their records, and with what a
 * signal means to a worker or the log writer. */
#define STATE_LAYOUT	   8
#define STATE_OTHER_TABLES 16

/* Room for CONTROL_SOCKET and METRICS_ADDRESS, as far as something is open there. */
#define STATE_PLACE_MAX 128
#define STATE_ADDRESSES (DESTINATIONS_MAX * ROUTE_ADDRESSES)

struct state_worker {
	unsigned slot;
	pid_t pid;
	int seats;	 /* the descriptor of the table that it takes its seats from */
	uint64_t oldest; /* it uses no version before this one */
	int grace_s;	 /* its STOP_GRACE */
};

/* What a name meant last. */
struct state_address {
	char name[DESTINATION_NAME_MAX];
	struct addr addr;
};

/* What was found out about a destination last: route_note_read(). */
struct state_note {
	char name[DESTINATION_NAME_MAX];
	size_t n;
	uint8_t text[ROUTE_NOTE_MAX];
};

/* A destination that greets badly, and what it said: route_busy_words(). */
struct state_busy {
	char name[DESTINATION_NAME_MAX];
	size_t n;
	uint8_t text[ROUTE_WORDS_MAX];
};

struct state {
	uint64_t last_epoch_us;
	uint64_t number; /* of the version */
	unsigned workers;
	struct runtime_files files;
	int wake_fd, life[2], control_fd, metrics_fd;		       /* -1: none */
	char control_at[STATE_PLACE_MAX], metrics_at[STATE_PLACE_MAX]; /* "": none */
	char pid_at[PIDFILE_MAX + 1];				       /* PID_FILE; "": none */
	uint64_t results[RESULTS_KINDS];			       /* how many were begun */
	struct version_files found; /* empty, for what the new program finds */
	bool reload, upgrade;	    /* asked for and not begun: HUP and USR2 that came meanwhile */
	bool handed;		    /* the listening sockets are not ours to end */
	pid_t writer;		    /* 0: not running */
	unsigned listen_count;	    /* addresses */
	int *listen_fds;	    /* workers * listen_count; owned */
	unsigned worker_count;
	struct state_worker *worker; /* owned */
	unsigned other_count;
	int other_seats[STATE_OTHER_TABLES]; /* tables of other layouts that are still in use */
	struct slots slots;
	/* Destinations, by name. */
	unsigned drained_count, down_count, unwell_count;
	char drained[DESTINATIONS_MAX][DESTINATION_NAME_MAX],
		down[DESTINATIONS_MAX][DESTINATION_NAME_MAX];
	char unwell[DESTINATIONS_MAX]
		   [DESTINATION_NAME_MAX]; /* a check finds fault: route_unwell() */
	unsigned busy_count;
	struct state_busy busy[DESTINATIONS_MAX];
	unsigned address_count;
	struct state_address *address; /* owned */
	unsigned note_count;
	struct state_note *note;     /* room for DESTINATIONS_MAX; owned */
	char fixed[CHECK_FIXED_MAX]; /* see check_fixed() */
};

/* Writes it to FD, an empty memfd. 0 or -errno. */
int state_write(int fd, const struct state *s) __attribute__((warn_unused_result));
/* Reads it from FD. False when it is no state, or one of another layout. Free it in any case. */
bool state_read(struct state *s, int fd) __attribute__((warn_unused_result));
void state_free(struct state *s);
/* The oldest version that a worker uses. */
uint64_t state_oldest(const struct state *s);
/* All descriptors in S are kept over an exec, or closed by it. False: one of them is not open. */
bool state_keep_descriptors(const struct state *s, bool keep);

#endif
