/* SPDX-License-Identifier: ISC */
/*
 * check: see check.h. A setting whose own line was at fault already is judged all the same, by the
 * value that it has instead, so that one run shows as much as it can.
 */
#include "check/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/diag.h"
#include "check/limits.h"
#include "check/resolver.h"
#include "check/tables.h"
#include "config/load.h"
#include "config/pack.h"
#include "route/parse.h"
#include "xmllog/check.h"
#include "xmllog/outlet.h"

#define WORKERS_MOST 256

/* Among what check_fixed() writes: MAX_SESSIONS is what RLIMIT_NOFILE carries. */
static const char follows_limit[] = "MAX_SESSIONS follows RLIMIT_NOFILE";

struct report_to {
	struct config *config;
	enum setting setting;
};

static void report(void *ctx, const char *what)
{
	struct report_to *to = ctx;

	config_fault(to->config, to->setting, "%s", what);
}

static unsigned processors(void)
{
	cpu_set_t set;
	long n;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	else
		n = sysconf(_SC_NPROCESSORS_ONLN);
	if (n < 1)
		return 1;
	return n > WORKERS_MOST ? WORKERS_MOST : (unsigned)n;
}

/* Behind START, at the beginning of one of LINES; NULL: none begins so. */
static const char *behind(const char *lines, const char *start)
{
	size_t n = strlen(start);

	for (const char *at = lines; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		if (strncmp(at, start, n) == 0)
			return at + n;
	return NULL;
}

static void check_user(struct check *k, struct config *c)
{
	const char *wrong = privilege_find(&k->id, c->set.user);

	if (wrong && *c->set.user)
		config_fault(c, SETTING_USER, "%s: %s", c->set.user, wrong);
	else if (wrong)
		config_fault(c, SETTING_USER, "%s", wrong);
	if (wrong)
		k->id.uid = 0;
}

static uint64_t descriptors(const struct check *k, unsigned sessions)
{
	return limits_descriptors(sessions, k->workers, k->listen.count);
}

/* The most sessions, up to MOST, that so many open files carry; 0: not even one. */
static unsigned carried(const struct check *k, uint64_t files, unsigned most)
{
	unsigned least = 0;

	while (least < most) {
		unsigned middle = least + (most - least + 1) / 2;

		if (descriptors(k, middle) <= files)
			least = middle;
		else
			most = middle - 1;
	}
	return least;
}

/* Raises the soft limit to the hard one's height, as root that one too. */
static bool raise_files(struct rlimit limit, uint64_t need)
{
	if (limit.rlim_cur >= need)
		return true;
	limit.rlim_cur = need;
	if (limit.rlim_max < need)
		limit.rlim_max = need;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/*
 * Whoever has not set MAX_SESSIONS is content with what the limit carries. A running daemon that
 * has taken its number so keeps it: the limit, or what this program needs, may differ from that of
 * its start.
 */
static bool follow_limit(struct check *k, struct config *c, const char *running, uint64_t files)
{
	unsigned wished = (unsigned)c->set.max_sessions, most = carried(k, files, wished);
	const char *number = behind(running, "MAX_SESSIONS=");

	if (c->where[SETTING_MAX_SESSIONS].file)
		return false;
	if (number && behind(running, follows_limit))
		most = (unsigned)strtoul(number, NULL, 10);
	if (most == 0 || most >= wished)
		return false;
	c->set.max_sessions = (int)most;
	k->sessions_wished = wished;
	return true;
}

/* The number that was given is wrong, and another one stands in its place. */
static bool sessions_are_wrong(const struct config *c)
{
	for (size_t i = 0; i < c->fault_count; i++)
		if (strstr(c->faults[i].text, ": MAX_SESSIONS: "))
			return true;
	return false;
}

/*
 * Raises the limit as far as needed. A daemon that runs has the limit of its start, and no more
 * than that; it is to be refused nothing for the copies of messages, without which it serves.
 */
static void check_limit(struct check *k, struct config *c, const char *running)
{
	unsigned sessions = (unsigned)c->set.max_sessions;
	uint64_t spare = running ? COPY_OPEN : 0, need = descriptors(k, sessions) - spare;
	struct rlimit limit;

	if (sessions_are_wrong(c))
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
		config_fault(c, SETTING_MAX_SESSIONS, "RLIMIT_NOFILE cannot be read: %s",
			     strerror(errno));
		return;
	}
	if (raise_files(limit, need))
		return;
	if (follow_limit(k, c, running, limit.rlim_max) &&
	    raise_files(limit, descriptors(k, (unsigned)c->set.max_sessions) - spare))
		return;
	config_fault(c, SETTING_MAX_SESSIONS,
		     "%u sessions need %llu open files, and RLIMIT_NOFILE allows %llu; raise the "
		     "limit or lower the number",
		     sessions, (unsigned long long)need, (unsigned long long)limit.rlim_max);
}

/*
 * The rings of io_uring count against it on newer kernels, those of all processes of USER and of
 * all versions that still serve together: as root there is no limit then, else as high a one as is
 * allowed. Where that is not enough shows when io_uring is tried.
 */
static void lift_locked(void)
{
	const struct rlimit none = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	struct rlimit limit;

	if (setrlimit(RLIMIT_MEMLOCK, &none) == 0 || getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)!setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* Whether a destination is Caronte itself: mail would run in a circle. */
static void check_circle(const struct check *k, struct config *c)
{
	for (unsigned d = 0; d < k->route.count; d++) {
		for (unsigned i = 0; i < k->probe.resolved[d].n; i++) {
			char text[ADDR_TEXT_MAX];

			if (!listen_reached_by(&k->listen, &k->probe.resolved[d].a[i]))
				continue;
			addr_format(&k->probe.resolved[d].a[i], text);
			bool named = strcmp(k->route.destination[d].name, text) != 0;

			config_fault(
				c, SETTING_DESTINATIONS,
				"%s%s%s, where this daemon listens itself: mail would run in a "
				"circle; allowed is any other address or port",
				named ? k->route.destination[d].name : "", named ? " is " : "is ",
				text);
			break;
		}
	}
}

static void check_own_socket(const struct check *k, struct config *c)
{
	for (unsigned d = 0; d < k->route.count; d++) {
		const char *path = route_path(k->route.destination[d].name);

		if (path && strcmp(path, c->set.control_socket) == 0)
			config_fault(c, SETTING_DESTINATIONS,
				     "%s is CONTROL_SOCKET of this daemon, where no mail is taken; "
				     "allowed is any other socket",
				     k->route.destination[d].name);
	}
}

/* The port where TLS comes first: on the same addresses, or of a socket that was handed over. */
static void check_tls_port(struct check *k, struct config *c, bool handed)
{
	uint16_t port = (uint16_t)c->set.listen_tls_port;

	if (!port)
		return;
	if (!c->set.tls_certificate[strspn(c->set.tls_certificate, " \t")] &&
	    !*c->set.tls_certificate_dir)
		config_fault(c, SETTING_LISTEN_TLS_PORT,
			     "needs a certificate: TLS_CERTIFICATE or TLS_CERTIFICATE_DIR");
	if (!handed && port == c->set.listen_port)
		config_fault(c, SETTING_LISTEN_TLS_PORT,
			     "is LISTEN_PORT too, where clients begin with SMTP");
	else if (handed && !listen_has_port(&k->listen, port))
		config_fault(c, SETTING_LISTEN_TLS_PORT,
			     "none of the sockets that were handed over listens there: "
			     "caronte.socket wants a ListenStream= with this port, too");
	else if (!handed && !listen_add_port(&k->listen, port))
		config_fault(c, SETTING_LISTEN_TLS_PORT,
			     "with it, %d addresses are allowed at most in LISTEN_ADDRESS",
			     LISTEN_MAX / 2);
}

static void check_listen(struct check *k, struct config *c, const struct listen_set *handed)
{
	struct report_to to = { .config = c, .setting = SETTING_LISTEN_ADDRESS };

	if (handed)
		k->listen = *handed;
	else
		listen_parse(&k->listen, c->set.listen_address, (uint16_t)c->set.listen_port,
			     report, &to);
	check_tls_port(k, c, handed);
}

static void check_metrics(struct check *k, struct config *c)
{
	const char *text = c->set.metrics_address;

	if (!*text)
		return;
	if (!resolver_literal(text, &k->metrics))
		config_fault(c, SETTING_METRICS_ADDRESS,
			     "\"%s\": allowed is IP:PORT, [IPv6]:PORT or nothing", text);
	else if (listen_reached_by(&k->listen, &k->metrics))
		config_fault(c, SETTING_METRICS_ADDRESS,
			     "%s is where this daemon takes mail; allowed is any other address or "
			     "port",
			     text);
}

static void check_syslog(struct config *c)
{
	const char *path = c->set.log_syslog;
	struct stat st;

	if (*path && (*path != '/' || strlen(path) > OUTLET_PATH_MAX))
		config_fault(c, SETTING_LOG_SYSLOG,
			     "\"%s\": allowed is the path of a socket from / on, of %d octets at "
			     "most, or nothing",
			     path, OUTLET_PATH_MAX);
	else if (*path && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		config_fault(c, SETTING_LOG_SYSLOG, "%s: is there and is no socket", path);
}

static enum route_cooperation cooperation(const struct settings *set)
{
	switch (set->cooperation) {
	case COOPERATION_CLUSTER:
		return ROUTE_CLUSTER;
	case COOPERATION_BACKUP:
		return ROUTE_BACKUP;
	case COOPERATION_SINGLE:
		break;
	}
	return ROUTE_SINGLE;
}

static enum route_balance balance(const struct settings *set)
{
	switch (set->balance) {
	case BALANCE_ROUND_ROBIN:
		return ROUTE_ROUND_ROBIN;
	case BALANCE_SOURCE:
		return ROUTE_SOURCE;
	case BALANCE_LEAST_SESSIONS:
		break;
	}
	return ROUTE_LEAST_SESSIONS;
}

static void check_name(struct check *k, struct config *c)
{
	const char *name = c->set.server_name;

	if (*name && !name_valid(name))
		config_fault(c, SETTING_SERVER_NAME,
			     name[strlen(name) - 1] == '.'
				     ? "%s: write it without the dot at its end"
				     : "%s: is no host name, letters, digits, hyphens and dots are "
				       "allowed",
			     name);
	else
		snprintf(k->probe.name, sizeof(k->probe.name), "%s", name);
}

/* Addresses need no resolver, so a circle through one is found whatever else is wrong. */
static void take_literals(struct check *k)
{
	for (unsigned d = 0; d < k->route.count; d++)
		if (route_literal(k->route.destination[d].name, &k->probe.resolved[d].a[0]))
			k->probe.resolved[d].n = 1;
}

/* The part that is done as USER, and what its answers are needed for. */
static bool has_user(const struct check *k)
{
	return !k->id.change || k->id.uid != 0;
}

static void note_denied(struct check *k, const char *path)
{
	if (path)
		snprintf(k->denied, sizeof(k->denied), "%s", path);
}

static int check_files(struct check *k, struct config *c, char *why, size_t cap)
{
	struct tables_plan plan;
	struct pairs pairs;
	unsigned torn;
	int status = 0;
	int err = tables_plan(&plan, c);

	pairs_plan(&pairs, c);
	if (!err)
		err = authorities_plan(&plan, &k->route, c);
	k->probe.plan = &plan;
	k->probe.pairs = &pairs;
	/* Nothing is opened or made as root: without a user to become there is nothing to see. */
	if (!err && has_user(k)) {
		status = probe_run(&k->probe, c, why, cap);
		if (!status)
			err = tables_build_sized(&k->policy, &k->tables, &plan, c);
		if (!status && !err) {
			note_denied(k, pairs_open_rest(&pairs, c));
			err = certificates_build(&k->certificates, &pairs, c, &torn);
			authorities_read(k->authorities, &plan, c);
		}
	}
	k->probe.plan = NULL;
	k->probe.pairs = NULL;
	tables_free(&plan);
	pairs_free(&pairs);
	if (err) {
		snprintf(why, cap, "the tables cannot be built: %s", strerror(-err));
		return EX_OSERR;
	}
	return status;
}

static int judge(struct check *k, struct config *c, const struct listen_set *handed,
		 const char *running, char *why, size_t cap)
{
	struct report_to to = { .config = c, .setting = SETTING_DESTINATIONS };
	bool routed;
	int status;

	*k = (struct check){ .certificates = { .keys = -1 } };
	k->workers = c->set.workers > 0 ? (unsigned)c->set.workers : processors();
	check_listen(k, c, handed);
	routed = route_parse(&k->route, c->set.destinations, cooperation(&c->set), balance(&c->set),
			     report, &to);
	check_metrics(k, c);
	check_name(k, c);
	check_syslog(c);
	check_user(k, c);
	check_limit(k, c, running);
	if (c->set.engine != ENGINE_EPOLL)
		lift_locked();
	k->probe.id = k->id;
	k->probe.workers = k->workers;
	if (routed) {
		k->probe.route = &k->route;
		take_literals(k);
		check_own_socket(k, c);
	}
	status = check_files(k, c, why, cap);
	if (!status && routed)
		check_circle(k, c);
	return status;
}

int check_run(struct check *k, struct config *c, char *why, size_t cap)
{
	return judge(k, c, NULL, NULL, why, cap);
}

void check_release(struct check *k)
{
	tables_release(&k->policy, &k->tables);
	certificates_free(&k->certificates);
	for (unsigned i = 0; i < AUTHORITIES; i++) {
		free(k->authorities[i].data);
		k->authorities[i] = (struct tables_text){ 0 };
	}
}

/* ---- a running daemon ---- */

static bool needs_restart(enum setting s)
{
	switch (s) {
	case SETTING_LISTEN_ADDRESS:
	case SETTING_LISTEN_PORT:
	case SETTING_LISTEN_TLS_PORT:
	case SETTING_USER:
	case SETTING_WORKERS:
	case SETTING_MAX_SESSIONS:
	case SETTING_ENGINE_AUTO:
	case SETTING_ENGINE_IO_URING:
	case SETTING_ENGINE_EPOLL:
	case SETTING_TLS_KEY_PROCESS:
	case SETTING_TLS_KERNEL_OFF:
	case SETTING_TLS_KERNEL_AUTO:
		return true;
	default:
		return false;
	}
}

bool check_fixed(const struct settings *set, bool fewer_sessions, char *out, size_t cap)
{
	size_t used = 0;

	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		char line[CHECK_FIXED_MAX];

		if (!needs_restart(s) && s != SETTING_LOG_FILE)
			continue;
		if (!config_text_of(set, s, line, sizeof(line)))
			continue;
		int n = snprintf(out + used, cap - used, "%s\n", line);

		if (n < 0 || (size_t)n >= cap - used)
			return false;
		used += (size_t)n;
	}
	if (!fewer_sessions)
		return true;
	int n = snprintf(out + used, cap - used, "%s\n", follows_limit);

	return n >= 0 && (size_t)n < cap - used;
}

static bool has_line(const char *lines, const char *line)
{
	const char *end = behind(lines, line);

	return end && (*end == '\n' || !*end);
}

/* The log goes on in another file: it may be another daemon's. (A program of earlier days does not
 * say which one it writes.) */
static void check_new_log(struct config *c, const char *running)
{
	struct xmllog_writer_config log = probe_log_config(&c->set);
	char line[CHECK_FIXED_MAX];

	if (behind(running, "LOG_FILE=") &&
	    config_text_of(&c->set, SETTING_LOG_FILE, line, sizeof(line)) &&
	    !has_line(running, line) && xmllog_writer_busy(&log))
		config_fault(c, SETTING_LOG_FILE, "%s: another process writes this log", log.file);
}

/* A program of earlier days has no such port and does not speak of it. */
static bool is_as_before(const struct config *c, enum setting s, const char *running)
{
	return s == SETTING_LISTEN_TLS_PORT && c->set.listen_tls_port == 0 &&
	       !behind(running, "LISTEN_TLS_PORT=");
}

static void check_unchanged(struct config *c, const char *running)
{
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		char line[CHECK_FIXED_MAX];

		if (needs_restart(s) && config_text_of(&c->set, s, line, sizeof(line)) &&
		    !has_line(running, line) && !is_as_before(c, s, running))
			config_fault(c, s, "needs a restart: the running daemon has another value");
	}
	check_new_log(c, running);
}

/* A file that cannot be read at all leaves nothing to judge but defaults: only that is said. */
static bool readable(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	bool can;

	if (fd < 0)
		return false;
	can = fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode);
	close(fd);
	return can;
}

int check_load(struct check *k, struct config **c, const struct check_source *source, FILE *err)
{
	char why[PROBE_TEXT_MAX];
	int status = 0;
	bool judged;

	*c = config_load(source->file, source->overrides, source->override_count);
	judged = readable(source->file);
	if (judged) {
		status = judge(k, *c, source->handed, source->running, why, sizeof(why));
		if (source->running)
			check_unchanged(*c, source->running);
	}
	config_print_faults(*c, err);
	if (judged && !has_user(k))
		fputs("caronte: the files that other settings name were not looked at: that is done as "
		      "USER\n",
		      err);
	if (status)
		fprintf(err, "caronte: %s\n", why);
	return (*c)->fault_count ? EX_CONFIG : status;
}

void check_print_notes(const struct check *k, const struct config *c, FILE *out)
{
	if (*k->probe.unreadable)
		fprintf(out,
			"caronte: %s: cannot be read by user %s (%s): each reload will be refused\n",
			c->path, c->set.user, k->probe.unreadable);
	if (*k->denied)
		fprintf(out,
			"caronte: %s: cannot be read by user %s: a renewal is not noticed, and each reload "
			"and upgrade will be refused; \"Certificates by ACME\" in recipes.md has a way\n",
			k->denied, c->set.user);
	if (k->sessions_wished)
		fprintf(out,
			"caronte: MAX_SESSIONS is %d and not %u: RLIMIT_NOFILE allows no more open "
			"files\n",
			c->set.max_sessions, k->sessions_wished);
	for (unsigned i = 0; i < k->route.count; i++) {
		const char *name = k->route.destination[i].name, *path = route_path(name);

		if (!k->probe.resolved[i].n)
			fprintf(out, "caronte: %s does not resolve now; it is asked for again\n",
				name);
		if (path && access(path, F_OK) != 0 && errno != EACCES)
			fprintf(out, "caronte: %s is not there now; it is tried again\n", name);
	}
}
