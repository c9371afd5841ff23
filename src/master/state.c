/* SPDX-License-Identifier: ISC */
/* state: see state.h. Unknown words are faults: what they mean cannot be left out. */
#include "master/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/resolver.h"

#define MARK	     "caronte-state"
#define WORKERS_MOST 256u
#define LISTEN_MOST  64u

/* ---- writing ---- */

static void put_one(FILE *out, const char *word, long long value)
{
	fprintf(out, "%s %lld\n", word, value);
}

/* "WORD NAME OCTETS", two hexadecimal digits for each octet. */
static void put_octets(FILE *out, const char *word, const char *name, const uint8_t *octets,
		       size_t n)
{
	fprintf(out, "%s %s ", word, name);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%02x", octets[i]);
	fputc('\n', out);
}

static void put_lists(FILE *out, const struct state *s)
{
	for (size_t i = 0; i < (size_t)s->workers * s->listen_count; i++)
		put_one(out, "listen", s->listen_fds[i]);
	for (unsigned i = 0; i < s->other_count; i++)
		put_one(out, "other-seats", s->other_seats[i]);
	for (unsigned i = 0; i < s->worker_count; i++)
		fprintf(out, "worker %u %d %d %llu %d\n", s->worker[i].slot, s->worker[i].pid,
			s->worker[i].seats, (unsigned long long)s->worker[i].oldest,
			s->worker[i].grace_s);
	for (unsigned i = 0; i < SEATS_DESTINATIONS; i++)
		if (*s->slots.slot[i].name)
			fprintf(out, "slot %u %llu %s\n", i,
				(unsigned long long)s->slots.slot[i].last, s->slots.slot[i].name);
	for (unsigned i = 0; i < s->drained_count; i++)
		fprintf(out, "drained %s\n", s->drained[i]);
	for (unsigned i = 0; i < s->down_count; i++)
		fprintf(out, "down %s\n", s->down[i]);
	for (unsigned i = 0; i < s->unwell_count; i++)
		fprintf(out, "unwell %s\n", s->unwell[i]);
	for (unsigned i = 0; i < s->address_count; i++) {
		char text[ADDR_TEXT_MAX];

		addr_format(&s->address[i].addr, text);
		fprintf(out, "address %s %s\n", text, s->address[i].name);
	}
	for (unsigned i = 0; i < s->busy_count; i++)
		put_octets(out, "busy", s->busy[i].name, s->busy[i].text, s->busy[i].n);
	for (unsigned i = 0; i < s->note_count; i++)
		put_octets(out, "note", s->note[i].name, s->note[i].text, s->note[i].n);
	for (const char *at = s->fixed, *end; (end = strchr(at, '\n')); at = end + 1)
		fprintf(out, "fixed %.*s\n", (int)(end - at), at);
}

int state_write(int fd, const struct state *s)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *out = copy < 0 ? NULL : fdopen(copy, "w");
	bool good;

	if (!out) {
		if (copy >= 0)
			close(copy);
		return -ENOMEM;
	}
	fprintf(out, MARK " %d\n", STATE_LAYOUT);
	fprintf(out, "workers %u %u\n", s->workers, s->listen_count);
	fprintf(out, "epoch %llu\n", (unsigned long long)s->last_epoch_us);
	fprintf(out, "version %llu\n", (unsigned long long)s->number);
	fprintf(out, "files %d %d %d %d\n", s->files.seats, s->files.stats, s->files.rings,
		s->files.tickets);
	fprintf(out, "life %d %d\n", s->life[0], s->life[1]);
	put_one(out, "wake", s->wake_fd);
	fprintf(out, "control %d %s\n", s->control_fd, s->control_at);
	fprintf(out, "metrics %d %s\n", s->metrics_fd, s->metrics_at);
	fprintf(out, "pidfile %s\n", s->pid_at);
	for (enum results_kind kind = 0; kind < RESULTS_KINDS; kind++)
		fprintf(out, "%s-result %llu\n", results_name(kind),
			(unsigned long long)s->results[kind]);
	fprintf(out, "found %d %d\n", s->found.image, s->found.keys);
	put_one(out, "reload", s->reload);
	put_one(out, "upgrade", s->upgrade);
	put_one(out, "handed", s->handed);
	put_one(out, "writer", s->writer);
	put_lists(out, s);
	fputs("end\n", out);
	good = !ferror(out);
	return fclose(out) == 0 && good ? 0 : -EIO;
}

/* ---- reading ---- */

struct reading {
	struct state *s;
	unsigned listen;
	size_t fixed;
	bool end;
};

/* The next of the numbers at *AT, which goes behind it and its blank. */
static bool next_int(const char **at, int *value)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(*at, &end, 10);
	if (errno || end == *at || (*end && *end != ' ') || n < INT_MIN || n > INT_MAX)
		return false;
	*at = end + (*end == ' ');
	*value = (int)n;
	return true;
}

static bool next_u64(const char **at, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(*at, &end, 10);
	if (errno || **at < '0' || **at > '9' || (*end && *end != ' '))
		return false;
	*at = end + (*end == ' ');
	return true;
}

static bool next_unsigned(const char **at, unsigned *value)
{
	uint64_t n;

	if (!next_u64(at, &n) || n > UINT_MAX)
		return false;
	*value = (unsigned)n;
	return true;
}

/* The lists' room is known from this line on. */
static bool take_workers(struct state *s, const char *rest)
{
	if (s->listen_fds || !next_unsigned(&rest, &s->workers) ||
	    !next_unsigned(&rest, &s->listen_count) || s->workers < 1 ||
	    s->workers > WORKERS_MOST || s->listen_count < 1 || s->listen_count > LISTEN_MOST)
		return false;
	s->listen_fds = calloc((size_t)s->workers * s->listen_count, sizeof(int));
	s->worker = calloc((size_t)s->workers * RUNTIME_GENERATIONS, sizeof(*s->worker));
	s->address = calloc(STATE_ADDRESSES, sizeof(*s->address));
	s->note = calloc(DESTINATIONS_MAX, sizeof(*s->note));
	return s->listen_fds && s->worker && s->address && s->note;
}

static bool take_int(const char *rest, int *value)
{
	return next_int(&rest, value);
}

static bool take_bool(const char *rest, bool *value)
{
	int n;
	bool good = take_int(rest, &n);

	*value = good && n;
	return good;
}

static bool take_u64(const char *rest, uint64_t *value)
{
	return next_u64(&rest, value);
}

static bool take_worker(struct state *s, const char *rest)
{
	struct state_worker w;

	if (!s->worker || s->worker_count == s->workers * RUNTIME_GENERATIONS ||
	    !next_unsigned(&rest, &w.slot) || !next_int(&rest, &w.pid) ||
	    !next_int(&rest, &w.seats) || !next_u64(&rest, &w.oldest) ||
	    !next_int(&rest, &w.grace_s) || w.slot >= s->workers * RUNTIME_GENERATIONS ||
	    w.pid <= 1 || w.grace_s < 0)
		return false;
	s->worker[s->worker_count++] = w;
	return true;
}

static bool take_name(const char *name, char out[DESTINATION_NAME_MAX])
{
	size_t n = strlen(name);

	if (n == 0 || n >= DESTINATION_NAME_MAX)
		return false;
	memcpy(out, name, n + 1);
	return true;
}

static bool take_slot(struct state *s, const char *rest)
{
	uint64_t last;
	unsigned i;

	if (!next_unsigned(&rest, &i) || !next_u64(&rest, &last) || i >= SEATS_DESTINATIONS)
		return false;
	s->slots.slot[i].last = last;
	return take_name(rest, s->slots.slot[i].name);
}

/* "IP:PORT NAME" */
static bool take_address(struct state *s, char *rest)
{
	char *name = strchr(rest, ' ');

	if (!name || !s->address || s->address_count == STATE_ADDRESSES)
		return false;
	*name++ = '\0';
	return resolver_literal(rest, &s->address[s->address_count].addr) &&
	       take_name(name, s->address[s->address_count++].name);
}

/* "NAME OCTETS", two hexadecimal digits for each octet, of which there are *N, CAP at most. */
static bool take_octets(char *rest, char name[DESTINATION_NAME_MAX], uint8_t *octets, size_t cap,
			size_t *n)
{
	char *digits = strchr(rest, ' ');

	if (!digits)
		return false;
	*digits++ = '\0';
	*n = strlen(digits) / 2;
	if (*n == 0 || *n > cap || strspn(digits, "0123456789abcdef") != 2 * *n || digits[2 * *n])
		return false;
	for (size_t i = 0; i < *n; i++) {
		char pair[] = { digits[2 * i], digits[2 * i + 1], '\0' };

		octets[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return take_name(rest, name);
}

static bool take_note(struct state *s, char *rest)
{
	struct state_note *note;

	if (!s->note || s->note_count == DESTINATIONS_MAX)
		return false;
	note = &s->note[s->note_count++];
	return take_octets(rest, note->name, note->text, sizeof(note->text), &note->n);
}

static bool take_busy(struct state *s, char *rest)
{
	struct state_busy *busy;

	if (s->busy_count == DESTINATIONS_MAX)
		return false;
	busy = &s->busy[s->busy_count++];
	/* The last octet stays for the NUL. */
	return take_octets(rest, busy->name, busy->text, sizeof(busy->text) - 1, &busy->n);
}

/* "FD PLACE", the place of a descriptor that is none is empty. */
static bool take_place(const char *rest, int *fd, char at[STATE_PLACE_MAX])
{
	const char *place = strchr(rest, ' ');
	size_t n = place ? strlen(place + 1) : STATE_PLACE_MAX;

	if (n >= STATE_PLACE_MAX || !take_int(rest, fd))
		return false;
	memcpy(at, place + 1, n + 1);
	return true;
}

/* The path may be empty. */
static bool take_pidfile(struct state *s, const char *path)
{
	size_t n = strlen(path);

	if (n >= sizeof(s->pid_at))
		return false;
	memcpy(s->pid_at, path, n + 1);
	return true;
}

/* "KIND-result BEGUN" */
static bool take_result(struct state *s, const char *word, const char *rest)
{
	const char *dash = strchr(word, '-');
	enum results_kind kind = RESULTS_KINDS;

	if (dash && strcmp(dash, "-result") == 0)
		kind = results_kind(word, (size_t)(dash - word));
	return kind < RESULTS_KINDS && take_u64(rest, &s->results[kind]);
}

static bool take_listed(struct reading *r, const char *word, char *rest)
{
	struct state *s = r->s;
	size_t n = strlen(rest);

	if (strcmp(word, "listen") == 0)
		return s->listen_fds && r->listen < s->workers * s->listen_count &&
		       take_int(rest, &s->listen_fds[r->listen++]);
	if (strcmp(word, "other-seats") == 0)
		return s->other_count < STATE_OTHER_TABLES &&
		       take_int(rest, &s->other_seats[s->other_count++]);
	if (strcmp(word, "worker") == 0)
		return take_worker(s, rest);
	if (strcmp(word, "slot") == 0)
		return take_slot(s, rest);
	if (strcmp(word, "drained") == 0)
		return s->drained_count < DESTINATIONS_MAX &&
		       take_name(rest, s->drained[s->drained_count++]);
	if (strcmp(word, "down") == 0)
		return s->down_count < DESTINATIONS_MAX &&
		       take_name(rest, s->down[s->down_count++]);
	if (strcmp(word, "unwell") == 0)
		return s->unwell_count < DESTINATIONS_MAX &&
		       take_name(rest, s->unwell[s->unwell_count++]);
	if (strcmp(word, "address") == 0)
		return take_address(s, rest);
	if (strcmp(word, "note") == 0)
		return take_note(s, rest);
	if (strcmp(word, "busy") == 0)
		return take_busy(s, rest);
	if (strcmp(word, "pidfile") == 0)
		return take_pidfile(s, rest);
	if (strcmp(word, "fixed") != 0)
		return take_result(s, word, rest);
	if (r->fixed + n + 2 > sizeof(s->fixed))
		return false;
	memcpy(s->fixed + r->fixed, rest, n);
	memcpy(s->fixed + r->fixed + n, "\n", 2);
	r->fixed += n + 1;
	return true;
}

static bool take_line(struct reading *r, const char *word, char *rest)
{
	struct state *s = r->s;
	const char *at = rest;

	if (strcmp(word, "workers") == 0)
		return take_workers(s, rest);
	if (strcmp(word, "epoch") == 0)
		return take_u64(rest, &s->last_epoch_us);
	if (strcmp(word, "version") == 0)
		return take_u64(rest, &s->number);
	if (strcmp(word, "files") == 0)
		return next_int(&at, &s->files.seats) && next_int(&at, &s->files.stats) &&
		       next_int(&at, &s->files.rings) && next_int(&at, &s->files.tickets);
	if (strcmp(word, "life") == 0)
		return next_int(&at, &s->life[0]) && next_int(&at, &s->life[1]);
	if (strcmp(word, "wake") == 0)
		return take_int(rest, &s->wake_fd);
	if (strcmp(word, "control") == 0)
		return take_place(rest, &s->control_fd, s->control_at);
	if (strcmp(word, "metrics") == 0)
		return take_place(rest, &s->metrics_fd, s->metrics_at);
	if (strcmp(word, "found") == 0)
		return next_int(&at, &s->found.image) && next_int(&at, &s->found.keys);
	if (strcmp(word, "writer") == 0)
		return take_int(rest, &s->writer);
	if (strcmp(word, "reload") == 0)
		return take_bool(rest, &s->reload);
	if (strcmp(word, "upgrade") == 0)
		return take_bool(rest, &s->upgrade);
	if (strcmp(word, "handed") == 0)
		return take_bool(rest, &s->handed);
	return take_listed(r, word, rest);
}

/* LINE without its line feed. */
static bool read_line(struct reading *r, char *line)
{
	char *rest = strchr(line, ' ');

	if (strcmp(line, "end") == 0) {
		r->end = true;
		return true;
	}
	if (r->end || !rest)
		return false;
	*rest++ = '\0';
	return take_line(r, line, rest);
}

/* The first line, of N octets. */
static bool take_mark(char *line, size_t n)
{
	const char *at = line + sizeof(MARK);
	int layout;

	if (strncmp(line, MARK " ", sizeof(MARK)) != 0 || line[n - 1] != '\n')
		return false;
	line[n - 1] = '\0';
	return next_int(&at, &layout) && layout == STATE_LAYOUT;
}

static bool read_all(struct state *s, FILE *in)
{
	struct reading r = { .s = s };
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = getline(&line, &cap, in);
	bool good = n > 0 && take_mark(line, (size_t)n);

	while (good && (n = getline(&line, &cap, in)) > 0) {
		good = line[n - 1] == '\n';
		line[n - 1] = '\0';
		good = good && read_line(&r, line);
	}
	free(line);
	return good && r.end && s->listen_fds && r.listen == s->workers * s->listen_count;
}

bool state_read(struct state *s, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *in = copy < 0 ? NULL : fdopen(copy, "r");
	bool good;

	*s = (struct state){ .files = { -1, -1, -1, -1 },
			     .wake_fd = -1,
			     .life = { -1, -1 },
			     .control_fd = -1,
			     .metrics_fd = -1,
			     .found = { -1, -1 } };
	if (!in) {
		if (copy >= 0)
			close(copy);
		return false;
	}
	rewind(in);
	good = read_all(s, in);
	fclose(in);
	return good;
}

void state_free(struct state *s)
{
	free(s->listen_fds);
	free(s->worker);
	free(s->address);
	free(s->note);
	*s = (struct state){ 0 };
}

uint64_t state_oldest(const struct state *s)
{
	uint64_t oldest = s->number;

	for (unsigned i = 0; i < s->worker_count; i++)
		if (s->worker[i].oldest < oldest)
			oldest = s->worker[i].oldest;
	return oldest;
}

/* ---- descriptors ---- */

static bool keep_one(int fd, bool keep)
{
	return fd < 0 || fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC) == 0;
}

bool state_keep_descriptors(const struct state *s, bool keep)
{
	const int some[] = { s->files.seats, s->files.stats, s->files.rings, s->files.tickets,
			     s->wake_fd,     s->life[0],     s->life[1],     s->control_fd,
			     s->metrics_fd,  s->found.image, s->found.keys };
	bool good = true;

	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		good &= keep_one(some[i], keep);
	for (size_t i = 0; i < (size_t)s->workers * s->listen_count; i++)
		good &= keep_one(s->listen_fds[i], keep);
	for (unsigned i = 0; i < s->other_count; i++)
		good &= keep_one(s->other_seats[i], keep);
	return good;
}
