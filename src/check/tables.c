/* SPDX-License-Identifier: ISC */
/*
 * tables: see tables.h. A file is read whole into private memory, never mapped: a mapped file that
 * somebody cuts would end the process by SIGBUS. The images become
 * read-only before any other process exists.
 */
#include "check/tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/list.h"
#include "policy/lines.h"
#include "check/hints.h"
#include "shared/memory.h"

#define BLANKS	  " \t"
#define FILE_MOST ((size_t)1 << 30) /* octets of one file */
/* Faults told of one file: a wrong file has one on each of its million lines. */
#define FAULTS_MOST 50

struct table_faults {
	struct policy_faults base;
	struct config *config;
	enum setting setting;
	const struct tables_file *file; /* NULL: the setting itself */
	struct span text;
	unsigned count;
};

enum setting tables_setting(enum tables_networks which)
{
	static const enum setting settings[TABLES_NETWORKS] = {
		[TABLES_RELAY] = SETTING_RELAY_NETWORKS,
		[TABLES_BALANCERS] = SETTING_PROXY_FROM,
		[TABLES_RENAMERS] = SETTING_XCLIENT_FROM,
	};

	return settings[which];
}

static const char *text_of(const struct config *c, enum tables_networks which)
{
	const char *const texts[TABLES_NETWORKS] = {
		[TABLES_RELAY] = c->set.relay_networks,
		[TABLES_BALANCERS] = c->set.proxy_from,
		[TABLES_RENAMERS] = c->set.xclient_from,
	};

	return texts[which];
}

const struct policy_networks **tables_of(struct policy *p, enum tables_networks which)
{
	const struct policy_networks **const tables[TABLES_NETWORKS] = {
		[TABLES_RELAY] = &p->networks,
		[TABLES_BALANCERS] = &p->balancers,
		[TABLES_RENAMERS] = &p->renamers,
	};

	return tables[which];
}

int tables_add_file(struct tables_plan *plan, enum setting s, const char *path, size_t n)
{
	struct tables_file *f = &plan->file[plan->count];

	CHECK(plan->count < TABLES_PLAN_MAX);
	f->setting = s;
	f->fd = -1;
	f->path = strndup(path, n);
	if (!f->path)
		return -ENOMEM;
	plan->count++;
	return 0;
}

static void add_entry(struct tables_plan *plan, struct config *c, enum tables_networks which,
		      const char *entry, size_t n)
{
	char why[POLICY_NETWORK_WHY];
	const char *wrong = policy_network_check(span_of(entry, n), why);
	char *into = plan->entries[which];
	size_t used = strlen(into);

	if (wrong) {
		const char *hint = hints_network(entry, n);

		config_fault(c, tables_setting(which), "%.*s: %s", n < 64 ? (int)n : 64, entry,
			     hint ? hint : wrong);
		return;
	}
	memcpy(into + used, entry, n);
	memcpy(into + used + n, "\n", 2);
}

static int plan_networks(struct tables_plan *plan, struct config *c, enum tables_networks which)
{
	const char *at = text_of(c, which) + strspn(text_of(c, which), BLANKS);
	unsigned files = 0;
	int err = 0;

	plan->entries[which] = calloc(1, strlen(at) + 2);
	if (!plan->entries[which])
		return -ENOMEM;
	while (*at && !err) {
		size_t n = strcspn(at, BLANKS);

		if (*at != '/')
			add_entry(plan, c, which, at, n);
		else if (files++ < TABLES_FILES)
			err = tables_add_file(plan, tables_setting(which), at, n);
		else
			config_fault(c, tables_setting(which),
				     "%.*s: is one file too many, at most %d are allowed",
				     n < 255 ? (int)n : 255, at, TABLES_FILES);
		at += n;
		at += strspn(at, BLANKS);
	}
	return err;
}

int tables_plan(struct tables_plan *plan, struct config *c)
{
	const char *wrong = policy_delimiter_check(c->set.recipient_delimiter);
	int err = 0;

	*plan = (struct tables_plan){ 0 };
	if (wrong)
		config_fault(c, SETTING_RECIPIENT_DELIMITER, "%s", wrong);
	for (unsigned i = 0; i < TABLES_NETWORKS && !err; i++)
		err = plan_networks(plan, c, (enum tables_networks)i);
	if (!err && *c->set.recipients)
		err = tables_add_file(plan, SETTING_RECIPIENTS, c->set.recipients,
				      strlen(c->set.recipients));
	return err;
}

/* S may name several files. */
static bool is_listed(enum setting s)
{
	for (unsigned i = 0; i < TABLES_NETWORKS; i++)
		if (s == tables_setting((enum tables_networks)i))
			return true;
	return s == SETTING_TLS_CERTIFICATE || s == SETTING_TLS_KEY;
}

int tables_open(struct tables_file *f, char *why, size_t cap)
{
	struct stat st;
	/* Non-blocking: a FIFO must not stop the start. */
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), err;

	if (fd < 0) {
		err = -errno;
		hints_file(f->path, is_listed(f->setting), -err, why, cap);
		return err;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		snprintf(why, cap, "%s: is no regular file", f->path);
		close(fd);
		return -EINVAL;
	}
	f->fd = fd;
	return 0;
}

void tables_free(struct tables_plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++) {
		free(plan->file[i].path);
		if (plan->file[i].fd >= 0)
			close(plan->file[i].fd);
	}
	for (unsigned i = 0; i < TABLES_NETWORKS; i++)
		free(plan->entries[i]);
	*plan = (struct tables_plan){ 0 };
}

int tables_read_whole(int fd, struct tables_text *t)
{
	struct stat st;

	*t = (struct tables_text){ 0 };
	if (fstat(fd, &st) != 0)
		return -errno;
	if ((size_t)st.st_size > FILE_MOST)
		return -EFBIG;
	t->data = malloc((size_t)st.st_size + 1);
	if (!t->data)
		return -ENOMEM;
	while (t->n < (size_t)st.st_size) {
		ssize_t n = read(fd, t->data + t->n, (size_t)st.st_size - t->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		t->n += (size_t)n;
	}
	return 0;
}

static size_t octets_of(struct span s, const char *set)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] && strchr(set, s.p[i]);
	return n;
}

/* "192.0.2.10 # office" */
static bool has_comment(struct span entry)
{
	const uint8_t *at = memchr(entry.p, '#', entry.n);

	return at && at > entry.p && strchr(BLANKS, at[-1]);
}

/*
 * What was probably meant by a line of a file of networks, or WHAT. The hints are for the setting,
 * where entries stand side by side and may be files: of a line they know what looks like a network.
 */
static const char *meant(const struct table_faults *f, unsigned line, const char *what)
{
	struct lines l = { .rest = f->text };
	struct span entry = { NULL, 0 };
	const char *hint = NULL;

	if (f->file->setting == SETTING_RECIPIENTS)
		return what;
	while (lines_next(&l, &entry) && l.number < line)
		;
	if (l.number != line)
		return what;
	if (octets_of(entry, " \t,;"))
		return has_comment(entry)
			       ? "one address or network a line is needed, and nothing after it: a "
				 "comment stands on a line of its own"
			       : "one address or network a line is needed, and nothing after it";
	if (octets_of(entry, "0123456789abcdefABCDEF:./*![]-") == entry.n)
		hint = hints_network((const char *)entry.p, entry.n);
	return hint ? hint : what;
}

static void on_fault(struct policy_faults *base, unsigned line, const char *what)
{
	struct table_faults *f = container_of(base, struct table_faults, base);

	if (!f->file) {
		config_fault(f->config, f->setting, "%s", what);
		return;
	}
	if (f->count++ < FAULTS_MOST)
		config_fault_in(f->config, f->file->setting, f->file->path, line,
				meant(f, line, what));
	else if (f->count == FAULTS_MOST + 1)
		config_fault_in(f->config, f->file->setting, f->file->path, line,
				"and more lines from here on are wrong");
}

bool tables_read(const struct tables_file *f, struct tables_text *t, struct config *c)
{
	int err = tables_read_whole(f->fd, t);

	if (!err)
		return true;
	config_fault(c, f->setting, "%s: cannot be read: %s", f->path, strerror(-err));
	free(t->data);
	*t = (struct tables_text){ 0 };
	return false;
}

/* The text of a file of the plan; none where it was not opened, or cannot be read. */
static void take_text(struct tables_text *t, const struct tables_file *f, struct config *c)
{
	*t = (struct tables_text){ 0 };
	if (f->fd >= 0)
		(void)tables_read(f, t, c);
}

struct networks_input {
	struct tables_text text[TABLES_FILES + 1]; /* [0] the setting itself */
	struct span span[TABLES_FILES + 1];
	struct table_faults faults[TABLES_FILES + 1];
	struct policy_faults *report[TABLES_FILES + 1];
	size_t n;
};

static void add_input(struct networks_input *in, struct config *c, enum setting setting,
		      const struct tables_file *f)
{
	struct tables_text *t = &in->text[in->n];

	if (f)
		take_text(t, f, c);
	in->span[in->n] = span_of(t->data, t->n);
	in->faults[in->n] = (struct table_faults){
		.base = { on_fault },
		.config = c,
		.setting = setting,
		.file = f,
		.text = in->span[in->n],
	};
	in->report[in->n] = &in->faults[in->n].base;
	in->n++;
}

static int build_networks(struct policy *p, struct tables_size *size,
			  const struct tables_plan *plan, enum tables_networks which,
			  struct config *c)
{
	struct networks_input *in = calloc(1, sizeof(*in));
	enum setting setting = tables_setting(which);
	char *entries = plan->entries[which];
	size_t room, used;
	int err = -ENOMEM;

	if (!in)
		return -ENOMEM;
	in->text[0] = (struct tables_text){ entries, strlen(entries) };
	add_input(in, c, setting, NULL);
	for (unsigned i = 0; i < plan->count; i++)
		if (plan->file[i].setting == setting)
			add_input(in, c, setting, &plan->file[i]);
	room = policy_networks_room(in->span, in->n);
	void *mem = shared_table(room);

	if (mem) {
		err = 0;
		used = policy_networks_build(mem, room, in->span, in->report, in->n);
		size->networks[which] = used;
		if (used)
			*tables_of(p, which) = shared_seal(mem, room, used);
		else
			shared_unmap(mem, room);
	}
	for (size_t i = 1; i < in->n; i++)
		free(in->text[i].data);
	free(in);
	return err;
}

static int build_recipients(struct policy *p, struct tables_size *size, const struct tables_file *f,
			    struct config *c)
{
	struct table_faults faults = {
		.base = { on_fault },
		.config = c,
		.setting = SETTING_RECIPIENTS,
		.file = f,
	};
	struct tables_text text;
	struct span span;
	size_t room, used;
	void *mem;

	take_text(&text, f, c);
	span = span_of(text.data, text.n);
	room = policy_recipients_room(span);
	mem = shared_table(room);
	if (mem) {
		used = policy_recipients_build(mem, room, span, &faults.base);
		size->recipients = used;
		if (used)
			p->recipients = shared_seal(mem, room, used);
		else
			shared_unmap(mem, room);
	}
	free(text.data);
	return mem ? 0 : -ENOMEM;
}

void tables_delimiters(struct policy *p, const struct settings *set)
{
	snprintf(p->delimiters, sizeof(p->delimiters), "%s", set->recipient_delimiter);
}

int tables_build(struct policy *p, const struct tables_plan *plan, struct config *c)
{
	struct tables_size size;

	return tables_build_sized(p, &size, plan, c);
}

/* There is anything to make a table of. */
static bool is_planned(const struct tables_plan *plan, enum tables_networks which)
{
	for (unsigned i = 0; i < plan->count; i++)
		if (plan->file[i].setting == tables_setting(which))
			return true;
	return *plan->entries[which];
}

int tables_build_sized(struct policy *p, struct tables_size *size, const struct tables_plan *plan,
		       struct config *c)
{
	int err = 0;

	*size = (struct tables_size){ 0 };
	*p = (struct policy){ .guard = c->set.relay_guard };
	tables_delimiters(p, &c->set);
	for (unsigned i = 0; i < TABLES_NETWORKS && !err; i++)
		if (is_planned(plan, (enum tables_networks)i))
			err = build_networks(p, size, plan, (enum tables_networks)i, c);
	for (unsigned i = 0; i < plan->count && !err; i++)
		if (plan->file[i].setting == SETTING_RECIPIENTS)
			err = build_recipients(p, size, &plan->file[i], c);
	return err;
}

void tables_release(struct policy *p, const struct tables_size *size)
{
	for (unsigned i = 0; i < TABLES_NETWORKS; i++) {
		const struct policy_networks *t = *tables_of(p, (enum tables_networks)i);

		if (t)
			shared_unmap((void *)(uintptr_t)t, size->networks[i]);
	}
	if (p->recipients)
		shared_unmap((void *)(uintptr_t)p->recipients, size->recipients);
	*p = (struct policy){ 0 };
}
