/* SPDX-License-Identifier: ISC */
/* log_where: see log_where.h. */
#include "ctl/log_where.h"

#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/load.h"

/* Before the first rotation there may be no archive. */
static bool has_archive(const char *path)
{
	struct stat st;

	return *path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The daemon may run on a file that has got faults since, and then its log is wanted most. So they
 * matter only where the file cannot be read. Where it does not say LOG_FILE they are printed, since
 * one of them may be that line. */
static bool may_go_on(const struct log_where *w)
{
	const struct config *c = w->config;

	if (!c->fault_count)
		return true;
	if (access(w->from.file, R_OK) == 0 && c->where[SETTING_LOG_FILE].file)
		return true;
	config_print_faults(c, stderr);
	return access(w->from.file, R_OK) == 0;
}

int log_where_find(struct log_where *w, const char *title, bool current)
{
	const struct settings *set;

	if (w->count)
		return -1;
	w->config = config_load(w->from.file, w->from.overrides, w->from.count);
	if (!may_go_on(w)) {
		fprintf(stderr, "%s: FILE may be named instead\n", title);
		return EX_CONFIG;
	}
	set = &w->config->set;
	if (strcmp(set->log_file, "-") == 0) {
		fprintf(stderr,
			"%s: LOG_FILE is \"-\": the log goes to the daemon's standard output. "
			"Which FILE?\n",
			title);
		return EX_CONFIG;
	}
	w->user = set->user;
	if (!current && has_archive(set->log_archive_dir))
		w->own[w->count++] = (char *)(uintptr_t)set->log_archive_dir;
	w->own[w->count++] = (char *)(uintptr_t)set->log_file;
	w->files = w->own;
	return -1;
}

void log_where_close(struct log_where *w)
{
	if (w->config)
		config_free(w->config);
	ctl_config_close(&w->from);
}
