/* SPDX-License-Identifier: ISC */
/*
 * probe: see probe.h. Child and parent talk over a SOCK_SEQPACKET pair, one answer a packet, an
 * open file as SCM_RIGHTS; a last packet says that nothing is missing. What the child says is only
 * used as text, descriptors and addresses: it has no more say than the operator's own files.
 */
#include "check/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/diag.h"
#include "check/control_path.h"
#include "check/follow.h"
#include "check/hints.h"
#include "check/pidfile.h"
#include "check/limits.h"
#include "route/parse.h"
#include "tls/offload.h"
#include "xmllog/check.h"
#include "xmllog/writer.h"

enum answer_kind {
	ANSWER_FAULT,	   /* text: a fault at a setting */
	ANSWER_PRIVILEGE,  /* text: why privilege could not be dropped */
	ANSWER_FILE,	   /* the descriptor of a file of the plan */
	ANSWER_LOOKS,	   /* looks */
	ANSWER_LISTED,	   /* text: a file of TLS_CERTIFICATE_DIR; n: a key's */
	ANSWER_DENIED,	   /* USER may not look into it */
	ANSWER_PAIR,	   /* the descriptor of a certificate's file, or a key's; text: why not */
	ANSWER_ENGINE,	   /* n: enum io_engine; text: why not io_uring */
	ANSWER_KERNEL_TLS, /* n: whether it works; text: why not */
	ANSWER_ADDRESSES,  /* n addresses of a destination */
	ANSWER_NAME,	   /* text: what we call ourselves */
	ANSWER_UNREADABLE, /* text: why the configuration file is none for USER */
	ANSWER_DONE
};

struct answer {
	enum answer_kind kind;
	unsigned index; /* setting, file or destination */
	int n;
	union {
		char text[PROBE_TEXT_MAX];
		struct addr addr[NET_RESOLVE_MAX];
		uint64_t looks;
	};
};

/* Room for one descriptor beside an answer, aligned as CMSG_* want it. */
union control {
	char room[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* The child's side. FD -1: none. A parent that is gone ends the child. */
static void tell(int to, const struct answer *a, int fd)
{
	union control control = { .room = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)a, .iov_len = sizeof(*a) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	if (sendmsg(to, &msg, MSG_NOSIGNAL) != (ssize_t)sizeof(*a))
		_exit(EX_OSERR);
}

__attribute__((format(printf, 3, 4))) static void tell_fault(int to, enum setting s,
							     const char *fmt, ...)
{
	struct answer a = { .kind = ANSWER_FAULT, .index = s };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a.text, sizeof(a.text), fmt, ap);
	va_end(ap);
	tell(to, &a, -1);
}

/* WHY of PROBE_TEXT_MAX. */
static void tell_path(int to, enum setting s, char *why)
{
	hints_denied(why, PROBE_TEXT_MAX);
	tell_fault(to, s, "%s", why);
}

static void open_file(int to, struct tables_plan *plan, unsigned i)
{
	struct tables_file *f = &plan->file[i];
	struct answer a = { .kind = ANSWER_FILE, .index = i };
	char why[PROBE_TEXT_MAX];

	int err = tables_open(f, why, sizeof(why));

	if (err) {
		tell_fault(to, f->setting, "%s", why);
		return;
	}
	tell(to, &a, f->fd);
	close(f->fd);
	f->fd = -1;
}

/* What may be root's alone is left to pairs_open_rest(). */
static void open_pair(int to, struct pair_file *f, unsigned i)
{
	struct answer a = { .kind = ANSWER_PAIR, .index = i };
	int err = tables_open(&f->file, a.text, sizeof(a.text));

	if (err == -EACCES)
		return;
	if (!err)
		*a.text = '\0';
	tell(to, &a, f->file.fd);
	if (!err)
		close(f->file.fd);
	f->file.fd = -1;
}

/* Before the files are read: what changes from then on is seen at the next look. */
static void tell_looks(int to, const struct settings *set)
{
	struct answer a = { .kind = ANSWER_LOOKS };

	a.looks = follow_looks(set);
	tell(to, &a, -1);
}

static void list_dir(int to, struct pairs *p, const char *dir)
{
	unsigned before = p->count;
	struct answer a = { .kind = ANSWER_DENIED };
	char why[PROBE_TEXT_MAX];
	int err = pairs_list(p, dir, why, sizeof(why));

	if (err == -EACCES)
		tell(to, &a, -1);
	else if (err)
		tell_fault(to, SETTING_TLS_CERTIFICATE_DIR, "%s", why);
	a.kind = ANSWER_LISTED;
	for (unsigned i = before; i < p->count; i++) {
		a.n = p->file[i].is_key;
		snprintf(a.text, sizeof(a.text), "%s", p->file[i].file.path);
		tell(to, &a, -1);
	}
}

struct xmllog_writer_config probe_log_config(const struct settings *set)
{
	return (struct xmllog_writer_config){
		.file = set->log_file,
		.archive_dir = set->log_archive_dir,
		.rotate_mib = (unsigned)set->log_rotate_mib,
		.rotate_hours = (unsigned)set->log_rotate_hours,
		.syslog = set->log_syslog,
		.json = set->log_json_file,
	};
}

static void try_log(int to, const struct settings *set)
{
	struct xmllog_writer_config log = probe_log_config(set);
	char why[PROBE_TEXT_MAX];

	if (xmllog_writer_check(&log, why, sizeof(why)))
		tell_path(to, SETTING_LOG_FILE, why);
	if (xmllog_json_check(&log, why, sizeof(why)))
		tell_path(to, SETTING_LOG_JSON_FILE, why);
	if (xmllog_archive_check(&log, why, sizeof(why)))
		tell_path(to, SETTING_LOG_ARCHIVE_DIR, why);
}

/* Copies of messages are made at level 4 alone. */
static void try_debug_dir(int to, const struct settings *set)
{
	char why[PROBE_TEXT_MAX];

	if (set->log_level >= 4 && xmllog_dir_check(set->debug_dir, why, sizeof(why)))
		tell_path(to, SETTING_DEBUG_DIR, why);
}

static void try_control(int to, const struct settings *set)
{
	char why[PROBE_TEXT_MAX];

	if (*set->control_socket && control_path_check(set->control_socket, why, sizeof(why)))
		tell_path(to, SETTING_CONTROL_SOCKET, why);
	if (*set->pid_file && pidfile_check(set->pid_file, why, sizeof(why)))
		tell_path(to, SETTING_PID_FILE, why);
}

/* Whether the rings of all workers, and of those that an upgrade puts beside them, may be. */
static bool fits(const struct io *io, unsigned workers, char *why, size_t cap)
{
	uint64_t need = (2 * (uint64_t)workers + 1) * io_locked(io);
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || need <= limit.rlim_cur)
		return true;
	snprintf(why, cap,
		 "%u workers need %llu KB of locked memory, and RLIMIT_MEMLOCK allows %llu KB",
		 workers, (unsigned long long)(need + 1023) / 1024,
		 (unsigned long long)limit.rlim_cur / 1024);
	return false;
}

/* With what a worker has: a smaller engine may work where that does not. */
static void try_engine(int to, const struct settings *set, unsigned workers)
{
	const struct io_limits limits = limits_io(set);
	struct answer a = { .kind = ANSWER_ENGINE, .n = IO_ENGINE_EPOLL };
	const char *why = NULL;
	struct io *io;
	int err;

	if (set->engine == ENGINE_EPOLL) {
		tell(to, &a, -1);
		return;
	}
	err = io_create(&io, IO_ENGINE_AUTO, &limits, &why);
	if (err) {
		tell_fault(to, SETTING_ENGINE_AUTO, "no engine works here: %s", strerror(-err));
		return;
	}
	if (strcmp(io_name(io), "io_uring") != 0)
		snprintf(a.text, sizeof(a.text), "%s", why ? why : "not available");
	else if (fits(io, workers, a.text, sizeof(a.text)))
		a.n = IO_ENGINE_URING;
	io_destroy(io);
	if (set->engine == ENGINE_IO_URING && a.n != IO_ENGINE_URING)
		tell_fault(
			to, SETTING_ENGINE_IO_URING,
			"the kernel refuses io_uring (%s); ENGINE_AUTO or ENGINE_EPOLL do without",
			a.text);
	tell(to, &a, -1);
}

static void try_kernel_tls(int to, const struct settings *set)
{
	struct answer a = { .kind = ANSWER_KERNEL_TLS };

	_Static_assert(PROBE_TEXT_MAX >= TLS_WHY_MAX, "the reason fits");
	if (set->tls_kernel == TLS_KERNEL_AUTO)
		a.n = offload_works(a.text);
	tell(to, &a, -1);
}

/* A fault for each Unix socket that USER may not connect to. No connection is tried: the server
 * would log a client that leaves without a word. */
static void try_sockets(int to, const struct probe *p)
{
	char why[PROBE_TEXT_MAX];

	for (unsigned i = 0; i < p->route->count; i++) {
		const char *path = route_path(p->route->destination[i].name);

		if (path && hints_socket(path, why, sizeof(why)))
			tell_fault(to, SETTING_DESTINATIONS, "%s", why);
	}
}

static void resolve(int to, const struct probe *p)
{
	for (unsigned i = 0; i < p->route->count; i++) {
		struct answer a = { .kind = ANSWER_ADDRESSES, .index = i };

		if (p->resolved[i].n)
			continue;
		a.n = net_resolve(p->route->destination[i].name, a.addr);
		if (a.n > 0)
			tell(to, &a, -1);
	}
}

static void try_configuration(int to, const struct config *c)
{
	struct answer a = { .kind = ANSWER_UNREADABLE };

	if (!c->path || faccessat(AT_FDCWD, c->path, R_OK, AT_EACCESS) == 0)
		return;
	snprintf(a.text, sizeof(a.text), "%s", strerror(errno));
	tell(to, &a, -1);
}

static void find_name(int to, const struct settings *set)
{
	struct answer a = { .kind = ANSWER_NAME };
	char name[NAME_MAX_OCTETS + 1];

	if (*set->server_name)
		return;
	name_find(name);
	snprintf(a.text, sizeof(a.text), "%s", name);
	tell(to, &a, -1);
}

static _Noreturn void child(int to, const struct probe *p, const struct config *c)
{
	struct answer a = { .kind = ANSWER_PRIVILEGE };

	if (privilege_drop(&p->id, a.text, sizeof(a.text)) != 0) {
		tell(to, &a, -1);
		_exit(EX_NOPERM);
	}
	try_configuration(to, c);
	for (unsigned i = 0; i < p->plan->count; i++)
		open_file(to, p->plan, i);
	tell_looks(to, &c->set);
	if (pairs_has_dir(c))
		list_dir(to, p->pairs, c->set.tls_certificate_dir);
	for (unsigned i = 0; i < p->pairs->count; i++)
		open_pair(to, &p->pairs->file[i], i);
	try_log(to, &c->set);
	try_debug_dir(to, &c->set);
	try_control(to, &c->set);
	try_engine(to, &c->set, p->workers);
	try_kernel_tls(to, &c->set);
	find_name(to, &c->set);
	if (p->route) {
		try_sockets(to, p);
		resolve(to, p);
	}
	a = (struct answer){ .kind = ANSWER_DONE };
	tell(to, &a, -1);
	_exit(0);
}

/* The parent's side. 1: an answer; 0: the child is gone; or -errno. *FD is the descriptor or -1. */
static int hear(int from, struct answer *a, int *fd)
{
	union control control;
	struct iovec iov = { .iov_base = a, .iov_len = sizeof(*a) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;
	ssize_t n;

	*fd = -1;
	do {
		n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return n == (ssize_t)sizeof(*a) ? 1 : -EPROTO;
}

static void take_pair(struct pairs *p, struct config *c, const struct answer *a, int fd)
{
	struct pair_file *f;

	CHECK(a->index < p->count && !p->file[a->index].taken);
	f = &p->file[a->index];
	if (fd >= 0) {
		pairs_take(f, fd, c);
	} else if (*a->text) {
		f->taken = true;
		config_fault(c, f->file.setting, "%s", a->text);
	}
}

/* Keeps an answer about the engine, or about the kernel's TLS. */
static void take_means(struct probe *p, const struct answer *a)
{
	if (a->kind == ANSWER_ENGINE) {
		p->engine = a->n == IO_ENGINE_URING ? IO_ENGINE_URING : IO_ENGINE_EPOLL;
		memcpy(p->engine_why, a->text, sizeof(p->engine_why));
	} else {
		p->kernel_tls = a->n;
		memcpy(p->kernel_tls_why, a->text, sizeof(p->kernel_tls_why));
	}
}

static void take(struct probe *p, struct config *c, const struct answer *a, int fd)
{
	switch (a->kind) {
	case ANSWER_FAULT:
		CHECK(a->index < SETTING_COUNT);
		config_fault(c, (enum setting)a->index, "%s", a->text);
		break;
	case ANSWER_FILE:
		CHECK(a->index < p->plan->count && p->plan->file[a->index].fd < 0);
		p->plan->file[a->index].fd = fd;
		break;
	case ANSWER_LOOKS:
		p->looks = a->looks;
		break;
	case ANSWER_LISTED:
		pairs_add(p->pairs, SETTING_TLS_CERTIFICATE_DIR, a->text, strlen(a->text), a->n);
		break;
	case ANSWER_DENIED:
		p->pairs->dir_denied = true;
		break;
	case ANSWER_PAIR:
		take_pair(p->pairs, c, a, fd);
		break;
	case ANSWER_ENGINE:
	case ANSWER_KERNEL_TLS:
		take_means(p, a);
		break;
	case ANSWER_ADDRESSES:
		CHECK(a->index < DESTINATIONS_MAX && a->n > 0 && a->n <= NET_RESOLVE_MAX);
		p->resolved[a->index].n = (unsigned)a->n;
		memcpy(p->resolved[a->index].a, a->addr, sizeof(a->addr));
		break;
	case ANSWER_NAME:
		CHECK(name_valid(a->text));
		memcpy(p->name, a->text, strlen(a->text) + 1);
		break;
	case ANSWER_UNREADABLE:
		memcpy(p->unreadable, a->text, sizeof(p->unreadable));
		break;
	case ANSWER_PRIVILEGE:
	case ANSWER_DONE:
		break;
	}
}

static int take_all(struct probe *p, struct config *c, int from, char *why, size_t cap)
{
	struct answer a;
	int got, fd;

	while ((got = hear(from, &a, &fd)) == 1) {
		if (a.kind == ANSWER_DONE)
			return 0;
		if (a.kind == ANSWER_PRIVILEGE) {
			snprintf(why, cap, "%s", a.text);
			return EX_NOPERM;
		}
		take(p, c, &a, fd);
	}
	snprintf(why, cap, "the process that checks as USER ended early%s%s", got ? ": " : "",
		 got ? strerror(-got) : "");
	return EX_SOFTWARE;
}

int probe_run(struct probe *p, struct config *c, char *why, size_t cap)
{
	int pair[2];
	int status;
	pid_t pid, parent = getpid();

	p->engine = IO_ENGINE_EPOLL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		snprintf(why, cap, "socketpair: %s", strerror(errno));
		return EX_OSERR;
	}
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent) /* it has ended before that line */
			_exit(EX_OSERR);
		child(pair[1], p, c);
	}
	close(pair[1]);
	if (pid < 0) {
		snprintf(why, cap, "fork: %s", strerror(errno));
		close(pair[0]);
		return EX_OSERR;
	}
	status = take_all(p, c, pair[0], why, cap);
	close(pair[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return status;
}
