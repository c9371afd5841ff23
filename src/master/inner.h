/* SPDX-License-Identifier: ISC */
/*
 * inner: what the files of the master share: start.c and adopt.c (how it begins) are above
 * master.c (signals, states, what is begun when), that is above reload.c (another configuration)
 * and upgrade.c (another program) and following.c (other certificates, by reload.c); and these are
 * above children.c and say.c.
 */
#ifndef MASTER_INNER_H
#define MASTER_INNER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "master/asked.h"
#include "check/check.h"
#include "check/follow.h"
#include "master/master.h"
#include "check/pairs.h"
#include "check/pidfile.h"
#include "check/renewal.h"
#include "master/process.h"
#include "check/resolver.h"
#include "runtime/runtime.h"
#include "shared/slots.h"
#include "master/state.h"
#include "check/version.h"
#include "master/signing.h"
#include "master/watch.h"

#define MASTER_CERTIFICATES (PAIRS_OF_SETTING + PAIRS_OF_DIR)

enum asked_for { ASKED_NOTHING, ASKED_RELOAD, ASKED_UPGRADE, ASKED_FOLLOW };
enum master_state { STARTING, RUNNING, STOPPING, CLOSING };

/* A worker, by slot (runtime.h). */
struct child {
	struct process process;
	bool ready;		 /* has reported at least once */
	int channel;		 /* -1: none */
	uint64_t told;		 /* the newest version that it was told of */
	uint64_t tell_ms;	 /* not to be told again before */
	uint64_t newest, oldest; /* what it says that it uses */
	struct seats *seats;	 /* the table it takes its seats from */
	int grace_s;		 /* from before an upgrade: its STOP_GRACE, which stays */
};

/* A table of seats of another layout, in use until the last of its workers has ended. */
struct other_seats {
	struct seats *seats;
	int fd;
};

struct master {
	struct check_source source;
	const char *program;	    /* the path of what runs */
	struct listen_set handed;   /* source.handed points here */
	struct version *version;    /* allocated: it does not move */
	struct version_files files; /* of the version */
	int route_fd;		    /* state of its destinations, for the workers */
	struct runtime rt;
	struct slots slots;
	struct xmllog log;
	struct resolver resolver;
	struct process writer, control;
	struct signing signing;
	struct child *children; /* rt.slots of them */
	unsigned generation;	/* the one that is served by: children[generation * workers + i] */
	int *listen_fds;
	int control_fd, metrics_fd; /* -1: none */
	int pid_fd;		    /* PID_FILE, locked; -1: none */
	int signal_fd;
	int life[2];  /* its end of file tells the log writer that nobody is left */
	int ready[2]; /* slots of workers that accept connections */
	enum master_state state;
	bool upgraded;	      /* STARTING: not the first program: those before still serve */
	uint64_t deadline_ms; /* STOPPING, CLOSING: who is left is killed; 0: was done */
	int stop_signal;      /* STOPPING: what the workers are told */
	uint64_t tickets_ms;  /* when the keys of TLS sessions turn; 0: at once */
	uint64_t expiry_ms;   /* when certificates are looked at; 0: at once */
	uint8_t expiry_told[MASTER_CERTIFICATES]; /* enum expiry, of each in the version's order */
	uint64_t tell_ms;			  /* when workers that are to go are told again */
	uint64_t stopped_before[2]; /* sessions that had ended when the stop began: all, cut off */
	uint64_t last_epoch_us;
	struct other_seats other[STATE_OTHER_TABLES];
	unsigned other_count;
	bool writer_failed; /* CLOSING: has died once by a signal and was started again */
	/* They were told to end, and the next ones are to be started at once. */
	bool writer_leaves, control_leaves;
	struct pollfd *polled;
	bool over;
	int exit_status;

	/* Reload, upgrade and a look at certificates, one at a time: a child that checks, and then
	 * what it found. */
	struct asked asked;
	enum asked_for asked_for;
	struct version_files asked_files; /* where it writes it */
	int asked_program;		  /* ASKED_UPGRADE: the program's file, open */
	bool reload_again;		  /* HUP came meanwhile */
	bool upgrade_again;		  /* USR2 came meanwhile */
	bool reloading;			  /* workers do not all have the newest version yet */
	uint64_t told_ms;		  /* when they were told */
	bool follows;			  /* it is one that nobody has asked for */
	char changed[1024];		  /* what the `reload` record is to say */
	char renewed[RENEWAL_WORDS];	  /* … of certificates */

	struct watch watch;
	struct follow_answer *answer; /* shared with the child that looks; NULL: none has yet */
};

static inline void master_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

uint64_t master_now_ms(void);
/* Since 1970. */
uint64_t master_clock_us(void);
/* A line on standard error; like all that a running master says, it is dropped where there is no
 * room for it (diag_say()): who does not read is not waited for. */
void master_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What a child has said, and the end of its last line where that is missing. */
void master_say_lines(const char *text);
void master_fault(struct master *m, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The `start`, `stop` and `reload` records. CHANGED may be NULL, CERTIFICATES empty. */
void master_record(struct master *m, enum xmllog_element e, const char *changed,
		   const char *certificates);
/* A reload, an upgrade or the stop begins, or is over with these words, for whoever waits for it.
 */
void master_begin(struct master *m, enum results_kind kind);
void master_end(struct master *m, enum results_kind kind, enum results_how how, const char *text);
/* Says why a reload or an upgrade changes nothing: the record, the signal on standard error, and
 * the result. */
void master_refuse(struct master *m, enum results_kind kind, const char *why);
/* Into the file beside PID_FILE, where there is one. */
void master_write_results(struct master *m);
/* The worker's own number: the one that its listening sockets have. */
static inline struct child *master_current(struct master *m, unsigned i)
{
	return &m->children[m->generation * m->rt.workers + i];
}

/* An open relay is said, at each start and whenever it is read again. */
void master_warn_guard(struct master *m);
/* Destinations whose names do not resolve are said likewise. */
void master_name_missing(struct master *m);
/* From here on records can be made. */
void master_open_log(struct master *m);
/* Serves until the end, from a state that start.c or adopt.c has made; the exit status. */
int master_live(struct master *m);

/* ---- children.c: each says in the log what could not be started, and when it is due again ---- */

void children_start_writer(struct master *m);
void children_start_control(struct master *m);
/* Of the generation that serves. */
void children_start_worker(struct master *m, unsigned i);
/* The log writer, or the status process, ends at once, and another one begins with what the master
 * has by then. */
void children_change_writer(struct master *m);
/* The status process has ended when this returns, though master.c has not heard of it: what it has
 * told an operator of destinations is in their state, and stays so. */
void children_change_control(struct master *m);
/* In a child that carries no mail: closes what the others count on to be closed. */
void children_close(struct master *m);
void children_resolver(void *ctx);
/* A generation without a process, or RUNTIME_GENERATIONS. */
unsigned children_free_generation(const struct master *m);
/* The STOP_GRACE that the worker of a slot knows, in seconds. */
int children_grace(const struct master *m, unsigned slot);

/* ---- signing.c: the process with the private keys ---- */

/* Makes a pair of sockets for each worker, and takes the keys of the version. signing_run() starts
 * the process. 0 or -errno. */
int signing_begin(struct master *m) __attribute__((warn_unused_result));
/* The version is another one; OLDEST: the oldest that a worker uses. What it signs with is there
 * when this returns, and whoever asks meanwhile is answered. */
void signing_take(struct master *m, uint64_t oldest);
/* A worker, of that number, has died: whoever takes its place speaks over another pair, since this
 * one may have been tampered with. */
void signing_worker_died(struct master *m, unsigned i);
/* Starts the process if it should be running and is not. */
void signing_run(struct master *m, uint64_t now_ms);
/* Keys are apart from the workers (TLS_KEY_PROCESS). */
bool signing_apart(const struct master *m);
/* There are keys, so the process should be running. */
bool signing_any(const struct master *m);
void signing_ended(struct master *m, int status);
/* In a child: closes all of it. */
void signing_close(struct master *m);

/* ---- expiring.c ---- */

/* The version has other certificates. */
void expiring_begin(struct master *m);
/* The same, where those that are also in BEFORE have been told of. */
void expiring_go_on(struct master *m, const struct version *before);
/* Tells of those that end soon, where it is time to look. */
void expiring_run(struct master *m, uint64_t now_ms);
/* It will be, at m->expiry_ms. */
bool expiring_any(const struct master *m);

/* ---- start.c ---- */

/* Nothing is open, nobody is a child. */
void start_nothing(struct master *m, const struct master_start *start);
/* Descriptors and memory that every master has. 0 or -errno. */
int start_tools(struct master *m) __attribute__((warn_unused_result));
/* The state of the version's destinations. BEFORE: what is known of them, or NULL. 0 or -errno. */
int start_route(struct master *m, const struct runtime *before) __attribute__((warn_unused_result));

/* ---- reload.c ---- */

/* HUP. */
void reload_ask(struct master *m);
/* The child that checks has ended with STATUS (of waitpid). */
void reload_answered(struct master *m, int status);
/* Figures of destinations whose number is another one's now, WAS being those of before, are his no
 * more. */
void reload_forget_figures(struct master *m, const struct slots *was);
/* In each turn: tells workers that could not be told, notices that all have it. */
void reload_run(struct master *m);
/* Milliseconds until that is to be called; -1: when something happens. */
int reload_wait_ms(const struct master *m);
/* What workers have said. */
void reload_hear(struct master *m);
/* The oldest version that a worker still uses. */
uint64_t reload_oldest(const struct master *m);

/*
 * Takes the version in FILES, and the descriptors; 0, or a status with a line in WHY (CAP octets),
 * and nothing has changed. FOLLOWS: it has other certificates and nothing else, and nobody waits.
 */
int reload_take(struct master *m, const struct version_files *files, bool follows, char *why,
		size_t cap) __attribute__((warn_unused_result));

/* ---- following.c ---- */

/* The certificates in use are those of the version. */
void following_begin(struct master *m);
/* Looks at them, where it is time. */
void following_run(struct master *m, uint64_t now_ms);
/* It will be, at m->watch.due_ms. */
bool following_any(const struct master *m);
void following_answered(struct master *m, int status);

/* ---- upgrade.c ---- */

/* USR2. */
void upgrade_ask(struct master *m);
void upgrade_answered(struct master *m, int status);

#endif
